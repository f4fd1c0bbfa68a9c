//! What a node's owner has decided: every setting with its default, and where a value came from.
//!
//! A value is taken from the first of these that names it: a flag, the environment
//! ([`ENVIRONMENT`]), `config.toml`, the default written here.

mod credit;
mod energy;
mod error;
mod fiat;
mod layers;
mod media;
mod models;
mod price;
mod resources;
mod router;
mod servers;
mod wallet;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use openagents_backend::CommandSettings;
use openagents_engine::credit::Credit;
use openagents_policy::{Mode, PolicyConfig};
use openagents_types::{JobKind, Millis, Msat, ReceiptRule};
use openagents_wallet::{destination::check_refund, lnurl::PayCode};
use serde::{Deserialize, Serialize};

use crate::{
    driver::{Allowance, Rate},
    home::Home,
    resolve::check_allowed,
    zaps,
};

pub use credit::KeyCredit;
pub use energy::EnergySettings;
pub use error::ConfigError;
pub use fiat::FiatSettings;
pub use layers::{ENVIRONMENT, Origin, Origins};
pub use media::MediaSettings;
pub use models::{ModelSettings, model_store};
pub use price::{HourPrice, KindPrice, Proposed};
pub use resources::{BackendLimit, OnBattery, ResourceSettings};
pub use router::{Chain, RouterSettings, UsualModel};
pub use servers::{FoundationModelsBridge, LlamaCppServer, MlxServer, OllamaServer, ServerFault};
pub use wallet::{CashuSettings, LdkSettings, SparkLog, SparkSettings, WalletChosen, WalletSettings};

/// All settings.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the app, the API and the embedded relay listen. Loopback unless you say otherwise.
    pub listen: SocketAddr,
    /// Other names this machine may be called by in a browser.
    pub hosts: Vec<String>,
    /// The relays the market is reached on.
    pub relays: Vec<String>,
    /// Hosts or networks (CIDR) on which jobs may fetch URLs although they are private.
    pub allow_private_urls: Vec<String>,
    /// What is sold, and how.
    pub provider: Provider,
    /// How jobs are bought.
    pub customer: Customer,
    /// What does the work.
    pub backend: Backends,
    /// Which backend does a job that several could do.
    pub router: RouterSettings,
    /// When this machine may work for others.
    pub resources: ResourceSettings,
    /// What this machine's work costs its owner.
    pub energy: EnergySettings,
    /// What money is worth in a currency, if that shall be noted.
    pub fiat: FiatSettings,
    /// Files that are results: how long they are kept, and where strangers get them.
    pub media: MediaSettings,
    /// The model store: where models are fetched, and how much is kept.
    pub models: ModelSettings,
    /// What is signed about work that is done.
    pub receipts: Receipts,
    /// How much strangers may ask.
    pub limits: Limits,
    /// What is acceptable, to buy and to sell.
    pub policy: PolicyConfig,
    /// Which wallet holds the money.
    pub wallet: WalletSettings,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 9099)),
            hosts: Vec::new(),
            relays: [
                "wss://relay.damus.io",
                "wss://nos.lol",
                "wss://relay.nostr.band",
                "wss://relay.snort.social",
            ]
            .map(String::from)
            .to_vec(),
            allow_private_urls: Vec::new(),
            provider: Provider::default(),
            customer: Customer::default(),
            backend: Backends::default(),
            router: RouterSettings::default(),
            resources: ResourceSettings::default(),
            energy: EnergySettings::default(),
            fiat: FiatSettings::default(),
            media: MediaSettings::default(),
            models: ModelSettings::default(),
            receipts: Receipts::default(),
            limits: Limits::default(),
            policy: PolicyConfig::default(),
            wallet: WalletSettings::default(),
        }
    }
}

/// What is sold, and how. Times in seconds, money in millisatoshis.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Provider {
    /// The name in advertisements.
    pub name: String,
    /// What advertisements say about it.
    pub about: String,
    /// The address of a picture in advertisements; empty for none.
    pub picture: String,
    /// Whether a profile and a relay list are published for the key. One of another program's making is never
    /// overwritten.
    pub profile: bool,
    /// Whether everything is free.
    pub free: bool,
    /// The price of any job.
    pub base_msat: u64,
    /// The price of each KiB of input begun.
    pub per_kib_msat: u64,
    /// Prices of single kinds and models, where they differ: `[[provider.price]]` with `kind`, perhaps `model`,
    /// `base_msat`, `per_kib_msat`, `per_1000_output_msat`, `per_second_msat`.
    pub price: Vec<KindPrice>,
    /// Never less than this, discounts included.
    pub floor_msat: u64,
    /// From this many waiting jobs on (inclusive) `surge_percent` is asked; 0 never.
    pub surge_from: usize,
    /// Percent of the price then asked.
    pub surge_percent: u32,
    /// Percent of the price asked when nothing waits or runs.
    pub idle_percent: u32,
    /// Percent of the price added for each waiting job.
    pub backlog_percent: u32,
    /// Percent of the price asked of a hot machine (heat level 2 or more).
    pub heat_percent: u32,
    /// Percent of the price asked while the processors are 90 percent busy.
    pub cpu_percent: u32,
    /// Percent of the price asked while 90 percent of the memory is in use.
    pub memory_percent: u32,
    /// Percent of the price asked in some hours of the day: `[[provider.hours]]` with `hours`, `percent`.
    pub hours: Vec<HourPrice>,
    /// Whether jobs that cost something have to name a bid; those that name none are told the price and how to pay it.
    pub require_bid: bool,
    /// Whether what a job did not use of a price by tokens is kept for its customer, as balance for its next jobs.
    pub metered: bool,
    /// Jobs that run at once.
    pub slots: usize,
    /// Jobs that may wait.
    pub queue_limit: usize,
    /// The largest input taken, in bytes.
    pub max_input_bytes: u64,
    /// How long a job may run.
    pub job_timeout_s: u64,
    /// How long a quote stands.
    pub quote_lifetime_s: u64,
    /// How long to wait before a silent wallet is asked again, in milliseconds.
    pub recheck_ms: u64,
    /// How many relays that customers name are answered on at once, and how many are asked for inputs,
    /// besides ours; 0 speaks to ours alone.
    pub customer_relays: usize,
    /// How long a refund waits for its customer's claim before it is paid to the address that the job names.
    pub claim_time_s: u64,
    /// How long a refund without an address waits for a claim before it becomes the customer's balance, which its next
    /// jobs run from; 0: never, and it stays owed.
    pub credit_after_s: u64,
    /// Where a job may be zapped instead of its invoice being paid (NIP-57): the Lightning address, or the LNURL, of the
    /// wallet that this node uses; empty: nowhere.
    pub zaps: String,
    /// How much unpaid work any key may have, and pay after the work; 0: none. A key costs nothing, so that whoever
    /// means some customers names them in `credit`.
    pub credit_msat: u64,
    /// Customers that may have another amount: `[[provider.credit]]` with `customer` and `msat`.
    pub credit: Vec<KeyCredit>,
}

impl Default for Provider {
    fn default() -> Self {
        Self {
            name: "OpenAgents provider".into(),
            about: "Sells compute for bitcoin".into(),
            picture: String::new(),
            profile: true,
            free: false,
            base_msat: 1_000,
            per_kib_msat: 10,
            price: Vec::new(),
            floor_msat: 0,
            surge_from: 5,
            surge_percent: 200,
            idle_percent: 100,
            backlog_percent: 0,
            heat_percent: 150,
            cpu_percent: 100,
            memory_percent: 100,
            hours: Vec::new(),
            require_bid: false,
            metered: true,
            slots: 2,
            queue_limit: 1_000,
            max_input_bytes: 5_000_000,
            job_timeout_s: 300,
            quote_lifetime_s: 90,
            recheck_ms: 5_000,
            customer_relays: 16,
            claim_time_s: 60,
            credit_after_s: 86_400,
            zaps: String::new(),
            credit_msat: 0,
            credit: Vec::new(),
        }
    }
}

impl Provider {
    /// How long a quote stands.
    pub const fn quote_lifetime(&self) -> Millis {
        Millis::from_secs(self.quote_lifetime_s)
    }

    /// How long a refund waits for a claim.
    pub const fn claim_time(&self) -> Millis {
        Millis::from_secs(self.claim_time_s)
    }

    /// How much unpaid work customers may have; a key that is none has none, which [`Config::read`] refuses.
    pub fn credit(&self) -> Credit {
        let named = credit::named(&self.credit).unwrap_or_default();
        Credit { each: Msat::new(self.credit_msat), named, ..Credit::default() }
    }

    /// When a refund becomes a balance, if ever.
    pub const fn credit_after(&self) -> Option<Millis> {
        match self.credit_after_s {
            0 => None,
            seconds => Some(Millis::from_secs(seconds)),
        }
    }

    /// Where jobs may be zapped, if anywhere.
    pub(crate) fn zaps(&self) -> Result<Option<PayCode>, ConfigError> {
        let text = self.zaps.trim();
        if text.is_empty() {
            return Ok(None);
        }
        let code = zaps::read(text);
        code.map(Some).map_err(|reason| ConfigError::Zaps { text: text.to_owned(), reason })
    }

    /// How long a job may run.
    pub const fn job_timeout(&self) -> Millis {
        Millis::from_secs(self.job_timeout_s)
    }

    /// How long to wait before a silent wallet is asked again.
    pub const fn recheck(&self) -> Millis {
        Millis(self.recheck_ms)
    }
}

/// How jobs are bought.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Customer {
    /// How long offers are collected, in milliseconds.
    pub window_ms: u64,
    /// How long a result is waited for, in seconds.
    pub deadline_s: u64,
    /// The most that routing may cost on top of a price, in millisatoshis.
    pub max_fee_msat: u64,
    /// The most that this node pays in a day (UTC), fees and refunds included, whatever the wallet
    /// itself allows, in millisatoshis; 0 sets no limit.
    pub daily_limit_msat: u64,
    /// The most that may be with a provider that has delivered nothing yet, paid in advance, in millisatoshis.
    /// It grows with each delivery. Payments that are locked until delivery do not count.
    pub advance_newcomer_msat: u64,
    /// The most that may be with any one provider, paid in advance, in millisatoshis; 0 pays nothing in advance.
    pub advance_most_msat: u64,
    /// How long to wait before a silent wallet is asked again, in milliseconds.
    pub recheck_ms: u64,
    /// Where refunds go that this node does not claim itself: a Lightning address or an LNURL; empty: nowhere else.
    /// Every job then names it to its providers, so that jobs can be told to be of one customer.
    pub refund_to: String,
}

impl Default for Customer {
    fn default() -> Self {
        Self {
            window_ms: 1_500,
            deadline_s: 300,
            max_fee_msat: 5_000,
            // A day's work of a busy agent at a few satoshis a job, and no fortune if it runs wild.
            daily_limit_msat: 100_000_000,
            advance_newcomer_msat: 1_000_000,
            advance_most_msat: 20_000_000,
            recheck_ms: 5_000,
            refund_to: String::new(),
        }
    }
}

impl Customer {
    /// Where refunds go that are not claimed, if anywhere.
    pub fn refund_to(&self) -> Option<String> {
        Some(self.refund_to.trim().to_owned()).filter(|to| !to.is_empty())
    }

    /// How long offers are collected.
    pub const fn window(&self) -> Millis {
        Millis(self.window_ms)
    }

    /// How long a result is waited for.
    pub const fn deadline(&self) -> Millis {
        Millis::from_secs(self.deadline_s)
    }

    /// The most that is paid in a day, if there is a limit.
    pub const fn daily_limit(&self) -> Option<Msat> {
        match self.daily_limit_msat {
            0 => None,
            limit => Some(Msat::new(limit)),
        }
    }

    /// What may be with one provider in advance: the most before its first delivery, and the most ever.
    pub const fn advance(&self) -> (Msat, Msat) {
        (Msat::new(self.advance_newcomer_msat), Msat::new(self.advance_most_msat))
    }

    /// The most that routing may cost.
    pub const fn max_fee(&self) -> Msat {
        Msat::new(self.max_fee_msat)
    }

    /// How long to wait before a silent wallet is asked again.
    pub const fn recheck(&self) -> Millis {
        Millis(self.recheck_ms)
    }
}

/// What does the work besides the embedded backends.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Backends {
    /// Work on Nostr itself that the node does without a model: any of 5302 and 5303 (search of content and people on
    /// our relays), 5400 (count of events there), 5905 (publishing signed events later), 5970 (proof of work).
    pub nostr: Vec<JobKind>,
    /// Kinds of this market that chat servers do by templates: any of 6500 (code), 6501 (review), 6502 (refactoring),
    /// 6506 (explanation), 6507 (tests), 6508 (classification), 6509 (extraction).
    pub templates: Vec<JobKind>,
    /// OpenAI-compatible servers: `[[backend.openai]]` with `url`, `models` and perhaps `key_file`.
    pub openai: Vec<OpenAiServer>,
    /// Ollamas: `[[backend.ollama]]`, perhaps with `url` and `models`.
    pub ollama: Vec<OllamaServer>,
    /// llama.cpp's servers: `[[backend.llamacpp]]` with `model`, a file, or `url`.
    pub llamacpp: Vec<LlamaCppServer>,
    /// MLX's servers: `[[backend.mlx]]` with `model`, a folder, or `url`.
    pub mlx: Vec<MlxServer>,
    /// Bridges to Apple's on-device model: `[[backend.foundation_models]]` with `url`.
    pub foundation_models: Vec<FoundationModelsBridge>,
    /// The operator's own tools: `[[backend.command]]` with `recipe`, or with `program`, `args` and `kinds`.
    pub command: Vec<CommandSettings>,
}

/// The kinds that [`Backends::templates`] may name.
pub const TEMPLATE_KINDS: [u16; 7] = [6500, 6501, 6502, 6506, 6507, 6508, 6509];

/// The kinds that [`Backends::nostr`] may name.
pub const NOSTR_KINDS: [u16; 5] = [5302, 5303, 5400, 5905, 5970];

impl Backends {
    /// As the backends take them.
    pub fn settings(&self) -> openagents_backend::Settings {
        openagents_backend::Settings {
            openai: self.openai.iter().map(OpenAiServer::settings).collect(),
            ollama: self.ollama.iter().map(OllamaServer::settings).collect(),
            llamacpp: self.llamacpp.iter().map(LlamaCppServer::settings).collect(),
            mlx: self.mlx.iter().map(MlxServer::settings).collect(),
            foundation_models: self.foundation_models.iter().map(FoundationModelsBridge::settings).collect(),
            command: self.command.clone(),
            ..openagents_backend::Settings::default()
        }
    }

    /// The chat servers that do templates, by the OpenAI-compatible side that each has: those with an address, and of an
    /// Ollama or a llama.cpp only what its section names, because it may list what is not sold.
    pub fn chat_servers(&self) -> Vec<openagents_backend::OpenAiSettings> {
        let chat = |url: &str, models: Vec<String>, key_file: Option<PathBuf>| {
            openagents_backend::OpenAiSettings { url: url.to_owned(), models, key_file }
        };
        let unpinned = |name: &String| name.split('@').next().unwrap_or(name).to_owned();
        let ollamas = self.ollama.iter().map(|it| {
            let models = it.models.iter().map(unpinned).collect();
            chat(&it.url, models, None)
        });
        let llamas = self.llamacpp.iter().filter(|it| !it.is_ours() && !it.embeddings).map(|it| {
            let models = Some(it.name.clone()).filter(|name| !name.is_empty()).into_iter().collect();
            chat(&it.url, models, it.key_file.clone())
        });
        let named = ollamas.chain(llamas).filter(|it| !it.models.is_empty());
        self.openai.iter().map(OpenAiServer::settings).chain(named).collect()
    }

    /// What the types cannot say.
    fn check(&self) -> Result<(), ServerFault> {
        self.ollama.iter().try_for_each(OllamaServer::check)?;
        self.llamacpp.iter().try_for_each(LlamaCppServer::check)?;
        self.mlx.iter().try_for_each(MlxServer::check)?;
        self.foundation_models.iter().try_for_each(FoundationModelsBridge::check)
    }
}

/// One OpenAI-compatible server.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenAiServer {
    /// Its address up to and without `/v1`, such as `http://127.0.0.1:8080`.
    pub url: String,
    /// The models sold; the first is the default. Empty sells all that the server lists.
    #[serde(default)]
    pub models: Vec<String>,
    /// A file with its API key.
    #[serde(default)]
    pub key_file: Option<PathBuf>,
}

impl OpenAiServer {
    /// As the backend takes it.
    fn settings(&self) -> openagents_backend::OpenAiSettings {
        openagents_backend::OpenAiSettings {
            url: self.url.clone(),
            models: self.models.clone(),
            key_file: self.key_file.clone(),
        }
    }

    /// Whether this is its address, with or without `/v1`.
    fn is_at(&self, address: &str) -> bool {
        let plain = |url: &str| url.trim_end_matches('/').trim_end_matches("/v1").to_owned();
        plain(&self.url) == plain(address)
    }
}

/// Who judges jobs that the rules leave open.
#[derive(Clone, Debug)]
pub struct JudgeSettings {
    /// The chat server.
    pub server: openagents_backend::OpenAiSettings,
    /// Its model; `None` is the first that it has.
    pub model: Option<String>,
    /// How long it may take over one job.
    pub patience: Duration,
}

/// What is signed about work that is done.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Receipts {
    /// Which jobs get a receipt: `paid`, `all` or `none`. Where we do the work it is sent, where we pay for it
    /// it is waited for, checked and countersigned.
    pub send: ReceiptRule,
}

/// How much strangers may ask.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Requests of one key.
    pub requests_per_key: RateSetting,
    /// Requests of all keys together.
    pub requests: RateSetting,
    /// Messages of one connection to the embedded relay.
    pub relay_messages: RateSetting,
}

/// A rate; `per_second = 0` is no limit.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateSetting {
    /// How many at once.
    pub burst: u32,
    /// How many more each second.
    pub per_second: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            requests_per_key: RateSetting { burst: 20, per_second: 2 },
            requests: RateSetting { burst: 2_000, per_second: 500 },
            relay_messages: RateSetting { burst: 20_000, per_second: 5_000 },
        }
    }
}

impl Limits {
    /// As the driver counts them.
    pub fn allowance(&self) -> Allowance {
        let rate = |setting: RateSetting| Rate { burst: setting.burst, per_second: setting.per_second };
        Allowance::new(rate(self.requests_per_key), rate(self.requests))
    }

    /// As the embedded relay counts them.
    pub fn relay_rate(&self) -> Option<openagents_relay::Rate> {
        let RateSetting { burst, per_second } = self.relay_messages;
        (per_second > 0).then_some(openagents_relay::Rate { burst, per_second })
    }
}

/// The longest a quote may stand, in seconds: as long as its invoice can be paid.
const LONGEST_QUOTE: u64 = 900;

impl Config {
    /// What the environment and `config.toml` say, over the defaults. No file is no error.
    ///
    /// # Errors
    /// The file cannot be read, or a key or a value is no setting.
    pub fn load(home: &Home) -> Result<Self, ConfigError> {
        Self::load_with(home, &[]).map(|(config, _)| config)
    }

    /// The same under `flags` (key such as `provider.slots`, and value), and where each value came from.
    ///
    /// # Errors
    /// The file cannot be read, or a key or a value is no setting.
    pub fn load_with(home: &Home, flags: &[(&str, &str)]) -> Result<(Self, Origins), ConfigError> {
        let path = home.config_file();
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(reason) => return Err(ConfigError::Read { path, reason }),
        };
        Self::read(&path, &text, |name| std::env::var(name).ok(), flags)
    }

    /// The same from the `text` of a file named `path`, and from variables looked up by `variable`.
    ///
    /// # Errors
    /// A key or a value is no setting.
    pub fn read(
        path: &Path,
        text: &str,
        variable: impl Fn(&str) -> Option<String>,
        flags: &[(&str, &str)],
    ) -> Result<(Self, Origins), ConfigError> {
        let (config, origins) = layers::merge(path, text, variable, flags)?;
        config.check()?;
        Ok((config, origins))
    }

    /// What the types cannot say.
    fn check(&self) -> Result<(), ConfigError> {
        let provider = &self.provider;
        let least = |key, value: u64| match value {
            0 => Err(ConfigError::Unusable { key, value, rule: "it must be at least 1" }),
            _ => Ok(()),
        };
        if let Some(kind) = self.backend.nostr.iter().find(|kind| !NOSTR_KINDS.contains(&kind.get())) {
            let value = u64::from(kind.get());
            let rule = "it may name 5302, 5303, 5400, 5905 and 5970";
            return Err(ConfigError::Unusable { key: "backend.nostr", value, rule });
        }
        if let Some(kind) = self.backend.templates.iter().find(|kind| !TEMPLATE_KINDS.contains(&kind.get())) {
            let value = u64::from(kind.get());
            let rule = "it may name 6500, 6501, 6502, 6506, 6507, 6508 and 6509";
            return Err(ConfigError::Unusable { key: "backend.templates", value, rule });
        }
        self.judge()?;
        self.media.check()?;
        self.models.check()?;
        self.resources.check()?;
        self.provider.check_prices()?;
        self.energy.check()?;
        self.fiat.check()?;
        credit::named(&provider.credit)?;
        if let Some(to) = self.customer.refund_to() {
            check_refund(&to).map_err(|reason| ConfigError::RefundTo { to, reason })?;
        }
        if provider.zaps()?.is_some() && self.wallet.kind == WalletChosen::Cashu {
            return Err(ConfigError::ZapsOnEcash);
        }
        self.backend.check().map_err(ConfigError::Server)?;
        least("policy.judge_timeout_s", self.policy.judge_timeout_s)?;
        least("provider.slots", provider.slots as u64)?;
        least("provider.job_timeout_s", provider.job_timeout_s)?;
        least("provider.quote_lifetime_s", provider.quote_lifetime_s)?;
        least("provider.recheck_ms", provider.recheck_ms)?;
        least("customer.recheck_ms", self.customer.recheck_ms)?;
        least("customer.deadline_s", self.customer.deadline_s)?;
        price::most("provider.credit_msat", provider.credit_msat)?;
        let (key, text) = ("customer.window_ms", self.customer.window_ms.to_string());
        if self.customer.window() >= self.customer.deadline() {
            return Err(ConfigError::Number { key, text, rule: "shorter than customer.deadline_s" });
        }
        if provider.quote_lifetime_s > LONGEST_QUOTE {
            let (key, value) = ("provider.quote_lifetime_s", provider.quote_lifetime_s);
            return Err(ConfigError::Unusable { key, value, rule: "it must be at most 900" });
        }
        check_allowed(&self.allow_private_urls).map_err(ConfigError::Allow)
    }

    /// Who judges jobs, where the policy's mode asks a judge: the server or the model that `policy.judge` names, else
    /// the first server. A server without a list of models may have any.
    ///
    /// # Errors
    /// There is no chat server, or none that is meant.
    pub fn judge(&self) -> Result<Option<JudgeSettings>, ConfigError> {
        if self.policy.mode == Mode::Rules {
            return Ok(None);
        }
        let (servers, judge) = (&self.backend.openai, self.policy.judge.as_str());
        let first = servers.first().ok_or(ConfigError::NoJudge)?;
        let named = || Some(judge.to_owned());
        let sells = |server: &&OpenAiServer| server.models.iter().any(|model| model == judge);
        let found = if judge.is_empty() {
            Some((first, first.models.first().cloned()))
        } else if let Some(server) = servers.iter().find(|server| server.is_at(judge)) {
            Some((server, server.models.first().cloned()))
        } else {
            let open = || servers.iter().find(|server| server.models.is_empty());
            servers.iter().find(sells).or_else(open).map(|server| (server, named()))
        };
        let Some((server, model)) = found else {
            let known = servers.iter().flat_map(|server| [&server.url].into_iter().chain(&server.models));
            let known = known.map(String::as_str).collect::<Vec<_>>().join(", ");
            return Err(ConfigError::UnknownJudge { judge: judge.into(), known });
        };
        let patience = Duration::from_secs(self.policy.judge_timeout_s);
        Ok(Some(JudgeSettings { server: server.settings(), model, patience }))
    }

    /// The settings as TOML.
    pub fn to_toml(&self) -> String {
        toml::to_string_pretty(self).unwrap_or_default()
    }

    /// Every setting, `provider.slots` and its value as TOML writes it, in the order of [`Origins::iter`].
    pub fn rows(&self) -> Vec<(String, String)> {
        layers::leaves(&layers::table(self))
            .into_iter()
            .map(|(key, value)| (key, value.to_string()))
            .collect()
    }

    /// The values of `Host` that mean this node.
    pub fn hosts(&self, address: SocketAddr) -> Vec<String> {
        let port = address.port();
        let mut hosts: Vec<String> =
            ["127.0.0.1", "localhost", "[::1]"].iter().map(|host| format!("{host}:{port}")).collect();
        hosts.push(address.to_string());
        hosts.extend(self.hosts.iter().flat_map(|host| [host.clone(), format!("{host}:{port}")]));
        hosts
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]
    use super::*;

    #[test]
    fn the_defaults_read_back_what_they_print() {
        let text = Config::default().to_toml();
        let read: Config = toml::from_str(&text).unwrap();
        assert_eq!(read.to_toml(), text);
    }

    fn loaded(file: &str, flags: &[(&str, &str)]) -> Result<(Config, Origins), ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(Some(dir.path().into())).unwrap();
        std::fs::write(home.config_file(), file).unwrap();
        Config::load_with(&home, flags)
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place_and_what_was_meant() {
        for (file, words) in [
            ("[provider]\nslotz = 3\n", &["slotz", "line 2", "config.toml", "`provider.slots`"][..]),
            ("lisen = \"127.0.0.1:1\"\n", &["lisen", "line 1", "`listen`"]),
            ("[provder]\nslots = 3\n", &["provder", "line 1", "`provider`"]),
            ("[provider]\nslots = \"three\"\n", &["line 2", "slots"]),
            ("[provider\n", &["line 1"]),
            ("[provider]\nslots = 0\n", &["provider.slots", "at least 1"]),
            ("[provider]\nzaps = \"ann\"\n", &["provider.zaps", "\"ann\"", "Lightning address"]),
            (
                "[provider]\nzaps = \"ann@wallet.example\"\n[wallet]\nkind = \"cashu\"\n",
                &["provider.zaps", "cashu", "empty one of the two"],
            ),
            (
                "[customer]\nwindow_ms = 10000\ndeadline_s = 10\n",
                &["customer.window_ms", "customer.deadline_s"],
            ),
            ("[provider]\nper_kib_msat = 100000000001\n", &["provider.per_kib_msat", "1 BTC"]),
            ("[provider]\ncredit_msat = 100000000001\n", &["provider.credit_msat", "1 BTC"]),
            ("[provider]\nquote_lifetime_s = 3600\n", &["provider.quote_lifetime_s", "at most 900"]),
            (
                "[media]\npublic_url = \"media.example\"\n",
                &["media.public_url", "media.example", "https://name"],
            ),
            ("[[provider.credit]]\ncustomer = \"ann\"\nmsat = 1\n", &["provider.credit", "ann", "npub"]),
            (
                "[customer]\nrefund_to = \"bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq\"\n",
                &["customer.refund_to", "on-chain"],
            ),
            ("[[backend.command]]\nrecipee = \"ffmpeg\"\n", &["line 2", "recipee"]),
            ("allow_private_urls = [\"10.0.0.0/99\"]\n", &["allow_private_urls", "10.0.0.0/99"]),
        ] {
            let error = loaded(file, &[]).unwrap_err().to_string();
            assert!(words.iter().all(|word| error.contains(word)), "{file}: {error}");
        }
    }

    #[test]
    fn a_judge_is_a_chat_server_or_a_model_of_one() {
        let llm = "[policy]\nmode = \"llm\"\n";
        let one = "[[backend.openai]]\nurl = \"http://127.0.0.1:1\"\nmodels = [\"a\", \"b\"]\n";
        let any = "[[backend.openai]]\nurl = \"http://127.0.0.1:2/v1\"\n";
        let judge = |text: String| {
            let settings = loaded(&text, &[]).map(|(config, _)| config.judge().unwrap());
            settings.map(|found| found.map(|judge| (judge.server.url, judge.model)))
        };
        let found = |url: &str, model: Option<&str>| Some((url.to_owned(), model.map(str::to_owned)));
        assert!(judge(llm.into()).unwrap_err().to_string().contains("[[backend.openai]]"));
        assert_eq!(judge(one.into()).unwrap(), None, "the rules ask nobody");
        for (name, servers, expected) in [
            ("", one.to_owned(), found("http://127.0.0.1:1", Some("a"))),
            ("b", one.to_owned(), found("http://127.0.0.1:1", Some("b"))),
            ("http://127.0.0.1:2/", format!("{one}{any}"), found("http://127.0.0.1:2/v1", None)),
            ("c", format!("{one}{any}"), found("http://127.0.0.1:2/v1", Some("c"))),
        ] {
            assert_eq!(judge(format!("{llm}judge = \"{name}\"\n{servers}")).unwrap(), expected, "{name}");
        }
        let error = judge(format!("{llm}judge = \"c\"\n{one}")).unwrap_err().to_string();
        assert!(
            error.contains("\"c\"") && error.contains("name one of: http://127.0.0.1:1, a, b"),
            "{error}"
        );
    }

    #[test]
    fn a_flag_that_is_no_setting_is_named() {
        for (key, value, word) in [
            ("provider.slots", "many", "provider.slots"),
            ("provider.slotz", "3", "provider.slots"),
            ("listen", "here", "listen"),
            ("provider", "3", "provider"),
        ] {
            let error = loaded("", &[(key, value)]).unwrap_err().to_string();
            assert!(error.contains(word) && error.contains("flag"), "{key}: {error}");
        }
    }

    #[test]
    fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
        let file = "relays = [\"wss://a.example\"]\n[provider]\nslots = 3\nname = \"n\"\n";
        let flags = [
            ("provider.slots", "7"),
            ("provider.free", "true"),
            ("relays", "wss://b.example,wss://c.example"),
        ];
        let (config, origins) = loaded(file, &flags).unwrap();
        assert_eq!((config.provider.slots, config.provider.free, config.relays.len()), (7, true, 2));
        assert_eq!((config.provider.name.as_str(), config.provider.queue_limit), ("n", 1_000));
        for (key, origin) in [
            ("provider.slots", Origin::Flag),
            ("relays", Origin::Flag),
            ("provider.name", Origin::File),
            ("provider.queue_limit", Origin::Default),
        ] {
            assert_eq!(origins.of(key), Some(origin), "{key}");
        }
    }

    #[test]
    fn every_printed_key_has_an_origin_and_can_be_set() {
        let (config, origins) = loaded("", &[]).unwrap();
        assert!(origins.iter().all(|(_, origin)| origin == Origin::Default));
        let rows = config.rows();
        assert_eq!(rows.len(), origins.iter().count());
        for (key, _) in rows {
            assert!(origins.of(&key).is_some(), "{key}");
        }
    }
}
