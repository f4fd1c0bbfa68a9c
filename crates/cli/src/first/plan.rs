//! What a provider could sell, at which price and in which limits, from what its machine turned out to do.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use openagents_backend::Backend;
use openagents_node::{
    config::{Config, NOSTR_KINDS},
    detect::{FoundServer, ServerKind},
};
use openagents_types::{JobKind, Msat};
use toml_edit::{ArrayOfTables, DocumentMut, Item, Table, value};

use super::{Purse, named};
use crate::text::one_line;

/// What the price of a job begins with where no market is seen, in millisatoshis: the default of all kinds.
const START: u64 = 1_000;

/// What each second of a usual answer adds to it.
const PER_SECOND: f64 = 100.0;

/// A usual answer, in tokens: what a job gets that does not say how long it may be.
const USUAL_TOKENS: f64 = 512.0;

/// Answers that are written at once, at most: more only slow each other down on one machine.
const MOST_SLOTS: usize = 8;

/// What a chat server does besides text generation: what is short, and of a shape that can be checked.
const TEMPLATES: [u16; 4] = [6501, 6502, 6508, 6509];

/// A server, and how many tokens a second it writes or why that is not known.
#[derive(Clone, Debug)]
pub(super) struct Measured {
    pub(super) server: FoundServer,
    pub(super) pace: Result<f64, String>,
}

/// What the price depends on besides the machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// Whether everything was said to be free.
    pub(super) free: bool,
    /// Where the money is.
    pub(super) purse: Purse,
    /// What others ask, and how many they are.
    pub(super) market: Option<(Msat, usize)>,
}

/// What is proposed.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    servers: Vec<Measured>,
    free: Option<&'static str>,
    /// The price of a job of text generation, and where it comes from.
    price: Option<(Msat, String)>,
    slots: usize,
}

impl Plan {
    pub(super) fn new(measured: Vec<Measured>, terms: Terms) -> Self {
        let paces = measured.iter().filter_map(|it| it.pace.as_ref().ok());
        let fastest = paces.copied().max_by(f64::total_cmp);
        let working = measured.iter().filter(|it| it.pace.is_ok());
        let slots: usize = working.map(|it| it.server.slots.unwrap_or(1)).sum();
        let free = match terms {
            Terms { free: true, .. } => Some("as you said"),
            Terms { purse: Purse::None, .. } => Some(
                "no wallet is connected; afterwards: openagents wallet connect, and free = false under [provider]",
            ),
            Terms { purse: Purse::Test | Purse::Wallet, .. } => None,
        };
        Self {
            price: fastest.map(|pace| price(pace, terms.market)),
            free,
            slots: if slots == 0 { Config::default().provider.slots } else { slots.min(MOST_SLOTS) },
            servers: measured,
        }
    }

    fn working(&self) -> impl Iterator<Item = &FoundServer> {
        self.servers.iter().filter(|it| it.pace.is_ok()).map(|it| &it.server)
    }

    /// Those that do the market's own kinds too: each model that they are asked for is named.
    fn templated(&self) -> impl Iterator<Item = &FoundServer> {
        self.working().filter(|it| !matches!(it.kind, ServerKind::Mlx | ServerKind::Apple))
    }

    /// The proposal, for whoever has to say yes.
    pub(super) fn told(&self, file: &Path) -> String {
        let mut lines: Vec<String> = self.servers.iter().map(found).collect();
        if lines.is_empty() {
            lines.push("found no model server on this machine; what is built in is sold".into());
        }
        let defaults = Config::default().provider;
        let usual =
            format!("{} and {} per KiB", Msat::new(defaults.base_msat), Msat::new(defaults.per_kib_msat));
        lines.push("to be sold:".into());
        match self.free {
            Some(why) => lines.push(format!("  everything for free ({why})")),
            None => lines.push(format!(
                "  text extraction, summaries, moderation; search, count, publishing later and proof of work on Nostr: \
                 {usual}"
            )),
        }
        if let (Some((price, from)), None) = (&self.price, self.free) {
            let more = Msat::new(defaults.per_kib_msat);
            lines.push(format!("  text generation: {price} and {more} per KiB ({from})"));
        }
        if self.templated().next().is_some() {
            lines.push(
                "  code review, refactoring, classification, extraction by the same models: as all else"
                    .into(),
            );
        }
        lines.push(format!(
            "  at most {} at once, {} s a job, {} bytes of input",
            self.slots, defaults.job_timeout_s, defaults.max_input_bytes
        ));
        lines.push(format!("this is written to {}, where each can be changed", file.display()));
        lines.join("\n")
    }

    /// The same as settings: only what differs from the defaults.
    pub(super) fn settings(&self) -> String {
        let defaults = Config::default().provider;
        let mut text = DocumentMut::new();
        text.decor_mut()
            .set_prefix("# Written at the first start. See every key: openagents config show\n\n");
        let mut provider = Table::new();
        provider["free"] = value(self.free.is_some());
        provider["slots"] = value(i64::try_from(self.slots).unwrap_or(1));
        if let (Some((price, _)), None) = (&self.price, self.free) {
            let mut prices = ArrayOfTables::new();
            let mut one = Table::new();
            one["kind"] = value(i64::from(JobKind::TEXT_GENERATION.get()));
            one["base_msat"] = value(i64::try_from(price.get()).unwrap_or(i64::MAX));
            one["per_kib_msat"] = value(i64::try_from(defaults.per_kib_msat).unwrap_or(0));
            prices.push(one);
            provider["price"] = Item::ArrayOfTables(prices);
        }
        text["provider"] = Item::Table(provider);
        let servers = sections(self.working());
        let kinds =
            |kinds: &[u16]| value(kinds.iter().map(|kind| i64::from(*kind)).collect::<toml_edit::Array>());
        let mut backend = Table::new();
        // Strangers get no machine time for nothing that is worth nothing to them.
        if self.free.is_none() {
            backend["nostr"] = kinds(&NOSTR_KINDS);
        }
        if self.templated().next().is_some() {
            backend["templates"] = kinds(&TEMPLATES);
        }
        for (name, tables) in servers {
            backend[name] = Item::ArrayOfTables(tables);
        }
        if !backend.is_empty() {
            text["backend"] = Item::Table(backend);
        }
        text.to_string()
    }
}

/// What a start without questions sells, and for how much: what the defaults say.
pub(super) fn built_in(free: bool) -> String {
    let defaults = Config::default().provider;
    let (base, per_kib) = (Msat::new(defaults.base_msat), Msat::new(defaults.per_kib_msat));
    let price = if free { "nothing".into() } else { format!("{base} and {per_kib} per KiB of input a job") };
    format!(
        "what is built in is sold for {price}; `openagents provider status` shows prices, `openagents provider price set` \
         changes them"
    )
}

/// The sections of servers, each under what knows best which of its models can be sold.
fn sections<'a>(servers: impl Iterator<Item = &'a FoundServer>) -> BTreeMap<&'static str, ArrayOfTables> {
    let mut sections: BTreeMap<&str, ArrayOfTables> = BTreeMap::new();
    for server in servers {
        let mut one = Table::new();
        one["url"] = value(server.url.as_str());
        match server.kind {
            ServerKind::LlamaCpp => {
                if let Some(model) = server.models.first() {
                    one["name"] = value(model.as_str());
                }
            }
            // An MLX server loads whatever it is asked for, and is asked for what it was started with.
            ServerKind::Mlx | ServerKind::Apple => {}
            ServerKind::Ollama | ServerKind::LmStudio | ServerKind::Vllm | ServerKind::OpenAi => {
                one["models"] = value(server.models.iter().map(String::as_str).collect::<toml_edit::Array>());
            }
        }
        sections.entry(server.kind.section()).or_default().push(one);
    }
    sections
}

/// The backend that would sell a server's answers.
pub(super) fn backend(server: &FoundServer) -> Result<Arc<dyn Backend>, String> {
    let mut text = DocumentMut::new();
    let mut sold = Table::new();
    for (name, tables) in sections(std::iter::once(server)) {
        sold[name] = Item::ArrayOfTables(tables);
    }
    text["backend"] = Item::Table(sold);
    let config = Config::read(Path::new("config.toml"), &text.to_string(), |_| None, &[]);
    let settings = config.map_err(|error| error.to_string())?.0.backend.settings();
    let mut built = openagents_backend::build_all(&settings).into_iter().flatten();
    built.find(|it| it.server().is_some()).ok_or_else(|| "no backend speaks with it".into())
}

fn found(measured: &Measured) -> String {
    let what = named(&measured.server);
    match &measured.pace {
        Ok(pace) => format!("{what}; {pace:.0} tokens/s"),
        Err(why) => format!("{what}; left out: {}", one_line(why, 120)),
    }
}

/// What a job of text generation should cost on a machine of this pace (tokens a second), and why.
fn price(pace: f64, market: Option<(Msat, usize)>) -> (Msat, String) {
    if let Some((median, providers)) = market {
        return (median, format!("the median of {providers} providers seen"));
    }
    let seconds = (USUAL_TOKENS / pace.max(0.1)).ceil();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most 512,000")]
    let work = (seconds * PER_SECOND) as u64;
    let price = (START + work).div_ceil(1_000) * 1_000;
    let why = format!(
        "no usual price is seen, so {} and {} msat for each of the {seconds:.0} s of a usual answer",
        Msat::new(START),
        PER_SECOND
    );
    (Msat::new(price), why)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]
    use openagents_node::detect::ServerKind;

    use super::*;

    fn measured(pace: Result<f64, String>, slots: Option<usize>) -> Measured {
        let server = FoundServer {
            url: "http://127.0.0.1:8080".into(),
            kind: ServerKind::LlamaCpp,
            version: None,
            models: vec!["ti\"ny".into()],
            slots,
        };
        Measured { server, pace }
    }

    fn read(plan: &Plan) -> Config {
        Config::read(Path::new("config.toml"), &plan.settings(), |_| None, &[]).unwrap().0
    }

    const PAID: Terms = Terms { free: false, purse: Purse::Wallet, market: None };

    #[test]
    fn a_plan_reads_back_as_the_settings_it_told() {
        let plan = Plan::new(vec![measured(Ok(51.2), Some(4)), measured(Err("no".into()), Some(9))], PAID);
        let config = read(&plan);
        let server = &config.backend.llamacpp[0];
        assert_eq!((config.backend.llamacpp.len(), server.name.as_str()), (1, "ti\"ny"));
        let chat = config.backend.chat_servers();
        assert_eq!((chat.len(), chat[0].models.as_slice()), (1, &["ti\"ny".to_owned()][..]));
        let price = &config.provider.price[0];
        assert_eq!((price.kind, price.base_msat, price.per_kib_msat), (JobKind::TEXT_GENERATION, 2_000, 10));
        assert_eq!((config.provider.slots, config.provider.free), (4, false));
        assert_eq!(
            (config.backend.nostr.len(), config.backend.templates.len()),
            (NOSTR_KINDS.len(), TEMPLATES.len())
        );
        let told = plan.told(Path::new("/c"));
        for word in ["51 tokens/s", "2 sat", "10 s of a usual answer", "left out: no", "/c", "4 at once"] {
            assert!(told.contains(word), "{word}: {told}");
        }
    }

    #[test]
    fn a_server_is_sold_by_what_knows_its_models() {
        let of = |kind: ServerKind| {
            let mut measured = measured(Ok(9.0), None);
            measured.server.kind = kind;
            read(&Plan::new(vec![measured], PAID)).backend
        };
        let (ollama, mlx, apple) = (of(ServerKind::Ollama), of(ServerKind::Mlx), of(ServerKind::Apple));
        assert_eq!((ollama.ollama.len(), ollama.chat_servers().len()), (1, 1));
        assert!(!ollama.templates.is_empty() && mlx.templates.is_empty() && apple.templates.is_empty());
        assert!(mlx.mlx[0].models.is_empty(), "none but the one that it was started with");
        assert_eq!((mlx.mlx.len(), apple.foundation_models.len()), (1, 1));
        for other in [&ollama, &mlx, &apple] {
            assert!(other.openai.is_empty());
        }
        assert_eq!(of(ServerKind::Vllm).openai.len(), 1);
    }

    #[test]
    fn without_a_wallet_everything_is_free_and_that_is_said() {
        let terms = Terms { purse: Purse::None, ..PAID };
        let plan = Plan::new(vec![measured(Ok(9.0), None)], terms);
        assert!(read(&plan).provider.free && read(&plan).provider.price.is_empty());
        assert!(read(&plan).backend.nostr.is_empty(), "proof of work is not given away");
        assert!(plan.told(Path::new("/c")).contains("openagents wallet connect"));
    }

    #[test]
    fn where_a_market_is_seen_its_price_is_taken() {
        let terms = Terms { market: Some((Msat::new(7_000), 5)), ..PAID };
        let plan = Plan::new(vec![measured(Ok(9.0), None)], terms);
        assert_eq!(read(&plan).provider.price[0].base_msat, 7_000);
        assert!(plan.told(Path::new("/c")).contains("5 providers"));
    }

    #[test]
    fn a_machine_without_servers_sells_what_is_built_in() {
        let plan = Plan::new(Vec::new(), PAID);
        let config = read(&plan);
        assert!(config.backend.templates.is_empty());
        assert!(config.backend.openai.is_empty() && config.provider.price.is_empty());
        assert_eq!(config.provider.slots, Config::default().provider.slots);
        assert!(plan.told(Path::new("/c")).contains("found no model server"));
    }
}
