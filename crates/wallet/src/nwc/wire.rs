//! NIP-47's events: sealed, signed and opened.

use std::{fmt, sync::Arc, time::Duration};

use nostr::{
    Event, EventId, Keys, Kind, PublicKey, Tag, Tags, Timestamp as Seconds,
    nips::{nip04, nip44::v2},
    secp256k1::Message,
};
use openagents_types::Timestamp;

use super::Connection;
use crate::WalletError;

/// How messages are sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Nip04,
    Nip44,
}

/// Seals and opens messages between two keys. The conversation key is derived once.
#[derive(Clone)]
pub(crate) struct Cipher(Arc<Inner>);

struct Inner {
    own: Keys,
    peer: PublicKey,
    scheme: Scheme,
    conversation: Option<v2::ConversationKey>,
}

impl fmt::Debug for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cipher(…)")
    }
}

/// A message could not be sealed or opened.
#[derive(Debug)]
pub(crate) struct Sealed;

impl Cipher {
    pub(crate) fn new(connection: &Connection, scheme: Scheme) -> Self {
        Self::between(connection.keys(), connection.wallet(), scheme)
    }

    pub(crate) fn between(own: Keys, peer: PublicKey, scheme: Scheme) -> Self {
        let conversation = v2::ConversationKey::derive(own.secret_key(), &peer).ok();
        Self(Arc::new(Inner { own, peer, scheme, conversation }))
    }

    pub(crate) fn own(&self) -> PublicKey {
        self.0.own.public_key()
    }

    pub(crate) fn wallet(&self) -> PublicKey {
        self.0.peer
    }

    pub(crate) fn scheme(&self) -> Scheme {
        self.0.scheme
    }

    /// Opens a message, whichever way it was sealed.
    pub(crate) fn open(&self, text: &str) -> Result<String, Sealed> {
        if text.contains("?iv=") {
            return nip04::decrypt(self.0.own.secret_key(), &self.0.peer, text).map_err(|_| Sealed);
        }
        use base64::Engine as _;
        let bytes = base64::engine::general_purpose::STANDARD.decode(text).map_err(|_| Sealed)?;
        let key = self.0.conversation.as_ref().ok_or(Sealed)?;
        String::from_utf8(v2::decrypt_to_bytes(key, &bytes).map_err(|_| Sealed)?).map_err(|_| Sealed)
    }

    fn seal(&self, text: &str) -> Result<String, Sealed> {
        if self.0.scheme == Scheme::Nip04 {
            return nip04::encrypt(self.0.own.secret_key(), &self.0.peer, text).map_err(|_| Sealed);
        }
        use base64::Engine as _;
        let key = self.0.conversation.as_ref().ok_or(Sealed)?;
        let bytes = v2::encrypt_to_bytes(key, text.as_bytes()).map_err(|_| Sealed)?;
        Ok(base64::engine::general_purpose::STANDARD.encode(bytes))
    }

    /// A sealed and signed request.
    pub(crate) fn request(
        &self,
        kind: u16,
        body: &str,
        now: Timestamp,
        patience: Duration,
    ) -> Result<Event, WalletError> {
        let expires = now.secs() + patience.as_secs() + 1;
        let mut tags = vec![vec!["p".to_owned(), self.0.peer.to_hex()]];
        tags.push(vec!["expiration".into(), expires.to_string()]);
        if self.0.scheme == Scheme::Nip44 {
            tags.push(vec!["encryption".into(), "nip44_v2".into()]);
        }
        self.event(kind, tags, body, now)
            .map_err(|_| WalletError::Garbled("the request cannot be sealed".into()))
    }

    /// A sealed and signed event of any kind.
    pub(crate) fn event(
        &self,
        kind: u16,
        tags: Vec<Vec<String>>,
        body: &str,
        now: Timestamp,
    ) -> Result<Event, Sealed> {
        Ok(sign(&self.0.own, kind, tags, self.seal(body)?, now))
    }
}

/// Signs an event once; the library's builder hashes twice and verifies what it signed.
pub(crate) fn sign(keys: &Keys, kind: u16, tags: Vec<Vec<String>>, content: String, now: Timestamp) -> Event {
    let (kind, at) = (Kind::from(kind), Seconds::from(now.secs()));
    let tags = Tags::from_list(tags.into_iter().filter_map(|tag| Tag::parse(tag).ok()).collect());
    let id = EventId::new(&keys.public_key(), &at, &kind, &tags, &content);
    let signature = keys.sign_schnorr(&Message::from_digest(id.to_bytes()));
    Event::new(id, keys.public_key(), at, kind, tags, content, signature)
}

/// What the wallet's info event says it speaks.
pub(crate) fn scheme(info: &Event) -> Scheme {
    let offers = info.tags.iter().map(Tag::as_slice).any(|tag| {
        tag.first().is_some_and(|name| name == "encryption")
            && tag.iter().skip(1).any(|value| value.contains("nip44_v2"))
    });
    if offers { Scheme::Nip44 } else { Scheme::Nip04 }
}
