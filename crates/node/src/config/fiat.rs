//! `[fiat]`: what money is worth in a currency.

use serde::{Deserialize, Serialize};
use url::{Host, Url};

use super::ConfigError;
use crate::fiat::Currency;

/// What money is worth in a currency when it moves. Nobody is asked unless a source is named.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FiatSettings {
    /// The currency, by its three letters.
    pub currency: Currency,
    /// An address that answers JSON with the price of a bitcoin: over https, or on this machine. It is asked at the
    /// start of the node and every five minutes, and told nothing. Empty: nobody is asked.
    pub source: String,
    /// Where in the answer the price stands (RFC 6901), such as `/bitcoin/eur`; empty if the answer is the price.
    pub pointer: String,
}

impl Default for FiatSettings {
    fn default() -> Self {
        Self { currency: Currency::EUR, source: String::new(), pointer: String::new() }
    }
}

impl FiatSettings {
    /// The source's name, for people.
    pub(crate) fn host(&self) -> String {
        let url = Url::parse(&self.source).ok();
        url.and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default()
    }

    /// Host and port of the source, if it is on this machine.
    pub(crate) fn own_machine(&self) -> Option<String> {
        let url = Url::parse(&self.source).ok()?;
        let is_here = match url.host()? {
            Host::Domain(name) => name == "localhost",
            Host::Ipv4(ip) => ip.is_loopback(),
            Host::Ipv6(ip) => ip.is_loopback(),
        };
        is_here.then(|| {
            format!("{}:{}", url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or(0))
        })
    }

    /// What the types cannot say.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let wrong = |key, text: &str, rule| Err(ConfigError::Text { key, text: text.into(), rule });
        let url = Url::parse(&self.source).ok();
        let is_usable = url.is_some_and(|url| {
            let is_named = url.host().is_some() && url.username().is_empty() && url.password().is_none();
            is_named && (url.scheme() == "https" || (url.scheme() == "http" && self.own_machine().is_some()))
        });
        if !self.source.is_empty() && !is_usable {
            let rule = "an https address, or an http address on this machine, without a user name";
            return wrong("fiat.source", &self.source, rule);
        }
        if !(self.pointer.is_empty() || self.pointer.starts_with('/')) {
            return wrong("fiat.pointer", &self.pointer, "a JSON pointer (RFC 6901), such as /bitcoin/eur");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(source: &str, pointer: &str) -> Result<(), String> {
        let settings =
            FiatSettings { source: source.into(), pointer: pointer.into(), ..FiatSettings::default() };
        settings.check().map_err(|error| error.to_string())
    }

    #[test]
    fn a_source_is_asked_over_https_or_on_this_machine() {
        for source in [
            "",
            "https://prices.example/v1?ids=bitcoin",
            "http://127.0.0.1:8080/",
            "http://[::1]:1/",
            "http://localhost:9/x",
        ] {
            assert_eq!(check(source, "/bitcoin/eur"), Ok(()), "{source}");
        }
        for source in [
            "http://prices.example/",
            "http://10.0.0.1/",
            "http://localhost.example/",
            "ftp://127.0.0.1/",
            "prices.example",
            "https://ann:secret@prices.example/",
            "file:///etc/passwd",
        ] {
            assert!(check(source, "").unwrap_err().contains("fiat.source"), "{source}");
        }
        assert!(check("", "bitcoin.eur").unwrap_err().contains("/bitcoin/eur"));
    }
}
