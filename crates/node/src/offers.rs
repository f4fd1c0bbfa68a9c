//! What this machine can sell: which backend does which kind, and at what price.

use std::{collections::HashMap, path::PathBuf, sync::Arc};

use openagents_backend::{Backend, BuildError, PriceHint, Rejection, market_name};
use openagents_engine::{ModelOffer, Offer, bidding::PriceRule};
use openagents_types::{JobKind, Millis};

use crate::{
    config::{Config, Proposed},
    moderation::{self, Moderation},
    nostr_work,
    router::Gauge,
    runtime::Tasks,
    templates,
};

/// A backend cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("backend {name} cannot be used: {reason}; correct it in config.toml or remove it")]
pub struct OffersError {
    /// Which.
    name: String,
    /// Why.
    reason: String,
}

impl From<BuildError> for OffersError {
    fn from(error: BuildError) -> Self {
        Self { name: error.name, reason: error.reason }
    }
}

/// A backend, and the name by which the operator tells it from others.
#[derive(Clone)]
pub(crate) struct Seat {
    /// Its name, with a number if there are several of it: `openai`, `openai-2`.
    pub(crate) label: Arc<str>,
    /// Itself.
    pub(crate) backend: Arc<dyn Backend>,
    /// What it is doing.
    pub(crate) gauge: Arc<Gauge>,
}

/// The backends for each kind, in the order of the settings.
pub(crate) type Table = HashMap<JobKind, Vec<Seat>>;

/// The backends that stand on a model server.
pub(crate) type Servers = Vec<Seat>;

/// The backends for each kind, with those of the node's `own`. A model server that does not answer, or a tool that is
/// missing, sells nothing.
///
/// What a backend has to do beside its jobs is done in `tasks`; the model servers among them are given back too.
pub(crate) async fn backends(
    config: &Config,
    own: Vec<Arc<dyn Backend>>,
    logs: PathBuf,
    tasks: &Tasks,
) -> Result<(Table, Servers), OffersError> {
    let mut table = Table::new();
    let mut settings = config.backend.settings();
    settings.place.logs = Some(logs);
    let built = openagents_backend::build_all(&settings).into_iter();
    let mut built = built.collect::<Result<Vec<_>, _>>().map_err(OffersError::from)?;
    built.extend(own);
    let built = seats(built, config);
    // At once, because a scanner takes its time to load what it knows.
    let healths = futures::future::join_all(built.iter().map(|seat| seat.backend.probe())).await;
    let mut servers = Servers::new();
    for (seat, health) in built.into_iter().zip(healths) {
        let (tended, stop) = (seat.backend.clone(), tasks.stop_token());
        tasks.spawn(async move { tended.tend(stop).await });
        if seat.backend.server().is_some() {
            servers.push(seat.clone());
        }
        if !health.is_ready() && !seat.backend.comes_back() {
            tracing::warn!(
                backend = &*seat.label,
                ?health,
                "a backend is not ready; its kinds are not offered"
            );
            continue;
        }
        for kind in seat.backend.kinds() {
            table.entry(kind).or_default().push(seat.clone());
        }
    }
    Ok((table, servers))
}

/// Names the backends, and leaves out what is switched off.
fn seats(built: Vec<Arc<dyn Backend>>, config: &Config) -> Vec<Seat> {
    let mut counts: HashMap<String, usize> = HashMap::new();
    let mut seats = Vec::new();
    for backend in built.into_iter().chain([Arc::new(Moderation) as Arc<dyn Backend>]) {
        let label = numbered(&mut counts, backend.name());
        if !config.router.is_off(&label) {
            seats.push(Seat { label: label.into(), backend, gauge: Arc::default() });
        }
    }
    seats
}

/// The name of the next backend that is called `name`: the second is `name-2`.
pub(crate) fn numbered(counts: &mut HashMap<String, usize>, name: &str) -> String {
    let count = counts.entry(name.to_owned()).or_default();
    *count += 1;
    if *count == 1 { name.to_owned() } else { format!("{name}-{count}") }
}

/// The names of the backends for each kind, in the order of the settings.
pub(crate) type Labels = HashMap<JobKind, Vec<String>>;

/// See [`Labels`].
pub(crate) fn labels(backends: &Table) -> Labels {
    let names = |seats: &[Seat]| seats.iter().map(|seat| seat.label.to_string()).collect();
    backends.iter().map(|(kind, seats)| (*kind, names(seats))).collect()
}

/// What does the work of each kind, for advertisements.
pub(crate) fn makers(backends: &Table) -> HashMap<JobKind, String> {
    let first = |seats: &[Seat]| seats.first().map(|seat| seat.backend.name().to_owned());
    let word = |kind: JobKind, seats: &[Seat]| backend_word(kind, first(seats).as_deref()).to_owned();
    backends.iter().map(|(kind, seats)| (*kind, word(*kind, seats))).collect()
}

/// One offer for each kind that a backend does, at the configured price.
pub(crate) fn offers(config: &Config, backends: &Table) -> Vec<Offer> {
    let mut kinds: Vec<JobKind> = backends.keys().copied().collect();
    kinds.sort_unstable();
    let seats = |kind| backends.get(&kind).map_or(&[][..], Vec::as_slice);
    let proposed = |kind| seats(kind).first()?.backend.price(kind);
    let with_limit = |kind| {
        let mut offer = offer(config, kind, proposed(kind), &models(seats(kind), kind));
        offer.max_input_bytes = offer.max_input_bytes.min(largest(kind, seats(kind)));
        offer
    };
    kinds.into_iter().map(with_limit).collect()
}

/// The largest input that any of these backends takes.
fn largest(kind: JobKind, seats: &[Seat]) -> u64 {
    let most = |seat: &Seat| match seat.backend.check(kind, &[], u64::MAX) {
        Err(Rejection::TooLarge { most, .. }) => most,
        // It has another objection to a job without parameters, or none.
        _ => u64::MAX,
    };
    seats.iter().map(most).max().unwrap_or(u64::MAX)
}

/// The names of all models for a kind, each once, as strangers call them.
fn models(seats: &[Seat], kind: JobKind) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for model in seats.iter().flat_map(|seat| seat.backend.models(kind)) {
        let name = market_name(&model.name);
        if !names.iter().any(|other| other == name) {
            names.push(name.to_owned());
        }
    }
    names
}

fn offer(config: &Config, kind: JobKind, proposed: Option<PriceHint>, models: &[String]) -> Offer {
    let provider = &config.provider;
    let hint = proposed.map(|it| Proposed {
        base_msat: it.base_msat,
        per_kib_msat: it.per_kib_msat,
        per_second_msat: it.per_second_msat,
    });
    let price = |model: Option<&str>| {
        if provider.free { PriceRule::FREE } else { provider.price(kind, model, hint) }
    };
    let usual = if kind == JobKind::TEXT_GENERATION { Millis(10_000) } else { Millis(1_000) };
    let eta = proposed.map_or(usual, |it| Millis::from_secs(it.eta_s.max(1)));
    let models = models.iter().map(|name| ModelOffer { name: name.clone(), price: price(Some(name)) });
    let models = models.collect();
    Offer { kind, price: price(None), models, max_input_bytes: provider.max_input_bytes, eta }
}

/// The backends that are model servers.
const SERVERS: [&str; 5] = ["openai", "ollama", "llamacpp", "mlx", "foundation_models"];

/// What does a kind's work, for pages, by the name or label of the backend that comes first.
pub(crate) fn backend_word(kind: JobKind, first: Option<&str>) -> &'static str {
    // A label may end in a number: `openai-2`.
    let first = first.map(|label| label.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches('-'));
    match first {
        Some("extraction") => "text extraction",
        Some("extractive") => "extractive summary (LexRank)",
        Some(moderation::NAME) => "rules of the policy",
        Some(templates::NAME) => "model server with a template",
        Some(name) if SERVERS.contains(&name) => "model server",
        Some(name) if nostr_work::name(kind) != Some(name) => "the operator's tool",
        _ => match kind.get() {
            5302 | 5303 => "search of the provider's relays",
            5400 => "count on the provider's relays",
            5905 => "scheduled publishing",
            5970 => "proof of work",
            _ => "backend",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_the_work_is_said_by_who_does_it() {
        let word = |kind: u16, first: &str| backend_word(JobKind::try_from(kind).unwrap(), Some(first));
        assert_eq!(word(6509, templates::NAME), "model server with a template");
        assert_eq!((word(6509, "llamacpp"), word(6511, "ollama-2")), ("model server", "model server"));
        assert_eq!((word(5050, "openai"), word(5050, "tr")), ("model server", "the operator's tool"));
        assert_eq!(
            (word(5250, "espeak-ng"), word(5500, "clamav")),
            ("the operator's tool", "the operator's tool")
        );
        assert_eq!(word(5302, "relay-search-2"), "search of the provider's relays");
        assert_eq!(
            (word(5000, "extraction"), word(6513, "rules")),
            ("text extraction", "rules of the policy")
        );
        assert_eq!(
            (word(5970, "proof-of-work"), word(5001, "summer")),
            ("proof of work", "the operator's tool")
        );
    }
}
