//! The address of a relay, checked once so that nothing downstream dials plain text by accident.

use std::{fmt, str::FromStr, sync::Arc};

use url::{Host, Url};

/// Longest address that is kept, in bytes. Real ones are far shorter.
const LONGEST: usize = 512;

/// The address of a relay: `wss://…`, or `ws://…` on this machine.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelayUrl(Arc<str>);

/// The text is not an address this program would dial.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RelayUrlError {
    /// It is no URL, or has no host.
    #[error("{0:?} is not a relay address; write wss://host")]
    Malformed(String),
    /// The scheme is neither `ws` nor `wss`.
    #[error("relays are reached by wss://, not {0:?}; write wss://host")]
    Scheme(String),
    /// Plain text to another machine.
    #[error("{0:?} would be reached in plain text; use wss://, or allow plaintext relays")]
    Plaintext(String),
    /// It carries a user name or a password, which would be printed and sent about.
    #[error("a relay address must not contain a user name or password")]
    Credentials,
}

impl RelayUrl {
    /// Reads an address: `wss://` anywhere, `ws://` only on this machine.
    ///
    /// # Errors
    /// See [`RelayUrlError`].
    pub fn parse(text: &str) -> Result<Self, RelayUrlError> {
        let url = read(text)?;
        if url.scheme() == "ws" && !is_loopback(&url) {
            return Err(RelayUrlError::Plaintext(shown(text)));
        }
        Ok(Self::from_url(&url))
    }

    /// Reads an address that may be `ws://` to any machine, for networks the operator trusts.
    ///
    /// # Errors
    /// See [`RelayUrlError`]; never [`RelayUrlError::Plaintext`].
    pub fn parse_plaintext(text: &str) -> Result<Self, RelayUrlError> {
        read(text).map(|url| Self::from_url(&url))
    }

    /// The address as text, without a trailing slash after the host.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is spoken to in plain text (`ws://`).
    pub fn is_plaintext(&self) -> bool {
        self.0.starts_with("ws://")
    }

    /// Host (without brackets) and port to dial.
    pub fn authority(&self) -> Option<(String, u16)> {
        let url = Url::parse(&self.0).ok()?;
        let host = match url.host()? {
            Host::Domain(name) => name.to_owned(),
            Host::Ipv4(ip) => ip.to_string(),
            Host::Ipv6(ip) => ip.to_string(),
        };
        Some((host, url.port_or_known_default()?))
    }

    /// The same place spoken to by HTTP, where NIP-11 puts the relay's description.
    pub(crate) fn http(&self) -> String {
        format!("http{}", &self.0[2..])
    }

    fn from_url(url: &Url) -> Self {
        let text = if url.path() == "/" && url.query().is_none() {
            url.as_str().trim_end_matches('/')
        } else {
            url.as_str()
        };
        Self(text.into())
    }
}

fn read(text: &str) -> Result<Url, RelayUrlError> {
    if text.len() > LONGEST {
        return Err(RelayUrlError::Malformed(shown(text)));
    }
    let mut url = Url::parse(text.trim()).map_err(|_| RelayUrlError::Malformed(shown(text)))?;
    url.set_fragment(None);
    if !matches!(url.scheme(), "ws" | "wss") {
        return Err(RelayUrlError::Scheme(shown(url.scheme())));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(RelayUrlError::Credentials);
    }
    // Written out, escapes make it longer.
    if url.host().is_none() || url.as_str().len() > LONGEST {
        return Err(RelayUrlError::Malformed(shown(text)));
    }
    Ok(url)
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

fn shown(text: &str) -> String {
    crate::text::printable(text, 64)
}

impl FromStr for RelayUrl {
    type Err = RelayUrlError;

    fn from_str(text: &str) -> Result<Self, RelayUrlError> {
        Self::parse(text)
    }
}

impl fmt::Display for RelayUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RelayUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;

    #[test]
    fn plain_text_stays_on_this_machine() {
        for good in ["wss://relay.example", "ws://127.0.0.1:9099/relay", "ws://[::1]:7", "ws://localhost"] {
            assert_eq!(RelayUrl::parse(good).unwrap().as_str(), good);
        }
        assert!(matches!(RelayUrl::parse("ws://relay.example"), Err(RelayUrlError::Plaintext(_))));
        assert!(RelayUrl::parse_plaintext("ws://192.168.1.2:80").is_ok());
    }

    #[test]
    fn other_schemes_credentials_and_junk_are_refused() {
        assert!(matches!(RelayUrl::parse("https://x.example"), Err(RelayUrlError::Scheme(_))));
        assert_eq!(RelayUrl::parse("wss://a:b@x.example"), Err(RelayUrlError::Credentials));
        for bad in ["", "wss://", "relay.example", "\u{0}"] {
            assert!(RelayUrl::parse(bad).is_err(), "{bad:?} was read");
        }
    }

    #[test]
    fn an_address_that_is_too_long_when_written_out_is_refused() {
        assert!(RelayUrl::parse(&format!("wss://a.example/{}", "ü".repeat(200))).is_err());
        let kept = RelayUrl::parse(&format!("wss://a.example/{}", "ü".repeat(50))).unwrap();
        assert_eq!(RelayUrl::parse(kept.as_str()), Ok(kept));
    }

    #[test]
    fn one_relay_has_one_spelling() {
        assert_eq!(RelayUrl::parse("WSS://Relay.Example:443/").unwrap().as_str(), "wss://relay.example");
        assert_eq!(RelayUrl::parse("wss://relay.example").unwrap().http(), "https://relay.example");
    }
}
