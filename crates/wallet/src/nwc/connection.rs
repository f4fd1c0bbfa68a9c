//! A `nostr+walletconnect://` address: who the wallet is, where to find it, and the secret that spends.

use std::{fmt, str::FromStr};

use nostr::{Keys, PublicKey, RelayUrl, nips::nip47::NostrWalletConnectURI};

/// A NIP-47 connection. Its secret can spend, so it never prints itself; see [`Self::expose`].
#[derive(Clone)]
pub struct Connection(NostrWalletConnectURI);

/// The text is not a connection. It is not repeated here, since it may be a secret all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a wallet connection; it begins with nostr+walletconnect:// and your wallet shows it once")]
pub struct ConnectionError;

impl Connection {
    /// A connection made of its parts.
    pub fn new(wallet: PublicKey, relays: Vec<RelayUrl>, secret: nostr::SecretKey) -> Self {
        Self(NostrWalletConnectURI::new(wallet, relays, secret, None))
    }

    /// The wallet's key.
    pub fn wallet(&self) -> PublicKey {
        self.0.public_key
    }

    /// Where the wallet listens.
    pub fn relays(&self) -> Vec<String> {
        self.0.relays.iter().map(ToString::to_string).collect()
    }

    pub(crate) fn keys(&self) -> Keys {
        Keys::new(self.0.secret.clone())
    }

    /// The connection as text, secret included: for a file that only its owner can read, or for the
    /// person it belongs to.
    pub fn expose(&self) -> String {
        self.0.to_string()
    }
}

impl FromStr for Connection {
    type Err = ConnectionError;

    fn from_str(text: &str) -> Result<Self, ConnectionError> {
        let uri = NostrWalletConnectURI::parse(text.trim()).map_err(|_| ConnectionError)?;
        // It is kept as text: one that loses a relay when it is written is refused while its owner looks on.
        let written = NostrWalletConnectURI::parse(uri.to_string()).map_err(|_| ConnectionError)?;
        if written.relays.len() == uri.relays.len() { Ok(Self(uri)) } else { Err(ConnectionError) }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connection({}…)", &self.0.public_key.to_hex()[..8])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(relay: &str) -> Result<Connection, ConnectionError> {
        let (key, secret) =
            ("b889ff5b1513b641e2a139f661a661364979c5beee91842f8f0ef42ab558e9d4", "2".repeat(64));
        format!("nostr+walletconnect://{key}?relay={relay}&secret={secret}").parse()
    }

    #[test]
    fn what_is_read_can_be_written_and_read() {
        for relay in ["wss://relay.example", "wss://relay.example/", "wss%3A%2F%2Frelay.example%2Fv1%2F"] {
            let written = read(relay).expect("a relay of every spelling").expose();
            assert_eq!(written.parse::<Connection>().map(|again| again.expose()), Ok(written));
        }
        for relay in ["", "https://relay.example", "relay.example"] {
            assert!(read(relay).is_err(), "{relay} was read");
        }
        // The library reads this one and cannot read what it writes of it.
        let odd = "ws%3Ae2F%2F127ccd0ad506f1f2etconnect://bdc73b5100e4f3le";
        assert!(read(odd).is_err());
    }
}
