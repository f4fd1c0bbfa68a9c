//! What a node's owner has decided: `config.toml`, every key with a default that is written here.

use std::{net::SocketAddr, path::PathBuf};

use openagents_engine::bidding::PriceRule;
use openagents_types::{JobKind, Millis, Msat};
use serde::{Deserialize, Serialize};

use crate::{
    driver::{Allowance, Rate},
    home::Home,
};

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
    /// How much strangers may ask.
    pub limits: Limits,
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
            limits: Limits::default(),
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
    /// Whether everything is free.
    pub free: bool,
    /// The price of any job.
    pub base_msat: u64,
    /// The price of each KiB of input begun.
    pub per_kib_msat: u64,
    /// Prices of single kinds, where they differ: `[[provider.price]]` with `kind`, `base_msat`, `per_kib_msat`.
    pub price: Vec<KindPrice>,
    /// Never less than this, discounts included.
    pub floor_msat: u64,
    /// From this many waiting jobs on, prices are multiplied; 0 never.
    pub surge_from: usize,
    /// Percent of the price then asked.
    pub surge_percent: u32,
    /// Percent of the price asked when nothing waits or runs.
    pub idle_percent: u32,
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
}

/// The price of one kind.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KindPrice {
    /// The kind.
    pub kind: JobKind,
    /// For any job.
    pub base_msat: u64,
    /// For each KiB of input begun.
    #[serde(default)]
    pub per_kib_msat: u64,
}

impl Default for Provider {
    fn default() -> Self {
        Self {
            name: "OpenAgents provider".into(),
            about: "Sells compute for bitcoin".into(),
            free: false,
            base_msat: 1_000,
            per_kib_msat: 10,
            price: Vec::new(),
            floor_msat: 0,
            surge_from: 5,
            surge_percent: 200,
            idle_percent: 100,
            slots: 2,
            queue_limit: 1_000,
            max_input_bytes: 5_000_000,
            job_timeout_s: 300,
            quote_lifetime_s: 90,
            recheck_ms: 5_000,
        }
    }
}

impl Provider {
    /// How long a quote stands.
    pub const fn quote_lifetime(&self) -> Millis {
        Millis::from_secs(self.quote_lifetime_s)
    }

    /// How long a job may run.
    pub const fn job_timeout(&self) -> Millis {
        Millis::from_secs(self.job_timeout_s)
    }

    /// How long to wait before a silent wallet is asked again.
    pub const fn recheck(&self) -> Millis {
        Millis(self.recheck_ms)
    }

    /// The price of a kind.
    pub fn price(&self, kind: JobKind) -> PriceRule {
        let own = self.price.iter().find(|price| price.kind == kind);
        PriceRule {
            base: Msat::new(own.map_or(self.base_msat, |price| price.base_msat)),
            per_kib: Msat::new(own.map_or(self.per_kib_msat, |price| price.per_kib_msat)),
            floor: Msat::new(self.floor_msat),
            surge_from: self.surge_from,
            surge_percent: self.surge_percent,
            idle_percent: self.idle_percent,
        }
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
    /// How long to wait before a silent wallet is asked again, in milliseconds.
    pub recheck_ms: u64,
}

impl Default for Customer {
    fn default() -> Self {
        Self { window_ms: 1_500, deadline_s: 300, max_fee_msat: 5_000, recheck_ms: 5_000 }
    }
}

impl Customer {
    /// How long offers are collected.
    pub const fn window(&self) -> Millis {
        Millis(self.window_ms)
    }

    /// How long a result is waited for.
    pub const fn deadline(&self) -> Millis {
        Millis::from_secs(self.deadline_s)
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
    /// OpenAI-compatible servers: `[[backend.openai]]` with `url`, `models` and perhaps `key_file`.
    pub openai: Vec<OpenAiServer>,
}

impl Backends {
    /// As the backends take them.
    pub fn settings(&self) -> openagents_backend::Settings {
        let server = |server: &OpenAiServer| openagents_backend::OpenAiSettings {
            url: server.url.clone(),
            models: server.models.clone(),
            key_file: server.key_file.clone(),
        };
        openagents_backend::Settings { openai: self.openai.iter().map(server).collect() }
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

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}: {reason}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: std::io::Error,
    },
    /// The file says something that is no setting. TOML's own message names line and key.
    #[error("{path} is not valid:\n{reason}\ncorrect it, or look at every key with `openagents config show`")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Where and why.
        reason: String,
    },
}

impl Config {
    /// What `config.toml` says, over the defaults. No file is no error.
    ///
    /// # Errors
    /// The file cannot be read, or has a key or value that is no setting.
    pub fn load(home: &Home) -> Result<Self, ConfigError> {
        let path = home.config_file();
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(reason) => return Err(ConfigError::Read { path, reason }),
        };
        toml::from_str(&text).map_err(|error| ConfigError::Invalid { path, reason: error.to_string() })
    }

    /// The settings as TOML.
    pub fn to_toml(&self) -> String {
        toml::to_string_pretty(self).unwrap_or_default()
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

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(Some(dir.path().into())).unwrap();
        std::fs::write(home.config_file(), "[provider]\nslotz = 3\n").unwrap();
        let error = Config::load(&home).unwrap_err().to_string();
        assert!(error.contains("slotz") && error.contains("line 2"), "{error}");
    }
}
