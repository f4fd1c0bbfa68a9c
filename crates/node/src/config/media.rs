//! `[media]`: files that are results.

use serde::{Deserialize, Serialize};

use super::ConfigError;

/// Files that are results: how long they are kept, and where strangers get them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MediaSettings {
    /// How strangers reach this node, such as `https://media.example`: a proxy in front of it, or the node itself.
    /// Empty: only files that fit into a result are sent, as `data:` addresses.
    pub public_url: String,
    /// How long files are kept, in days.
    pub keep_days: u64,
    /// How much is kept, in MiB; the oldest go first.
    pub quota_mb: u64,
}

impl Default for MediaSettings {
    fn default() -> Self {
        Self { public_url: String::new(), keep_days: 7, quota_mb: 1_024 }
    }
}

impl MediaSettings {
    /// What the types cannot say.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let url = self.public_url.as_str();
        let web = url.starts_with("https://") || url.starts_with("http://");
        let host = url.split_once("://").map_or("", |(_, rest)| rest.trim_end_matches('/'));
        let plain = !host.is_empty() && !host.contains(['/', '?', '#', '@', ' ']);
        let is_usable = url.is_empty() || (web && plain);
        if !is_usable {
            return Err(ConfigError::PublicUrl(url.into()));
        }
        let least = |key, value| match value {
            0 => Err(ConfigError::Unusable { key, value, rule: "it must be at least 1" }),
            _ => Ok(()),
        };
        least("media.keep_days", self.keep_days)?;
        least("media.quota_mb", self.quota_mb)
    }
}
