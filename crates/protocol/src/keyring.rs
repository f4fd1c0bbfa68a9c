//! Our secret keys, and the conversation keys derived from them, so that a second message to the
//! same peer costs a fraction of the first.

use std::{collections::HashMap, fmt};

use nostr::{
    Keys, PublicKey,
    nips::{nip04, nip44},
};

/// How many conversation keys are remembered; beyond that all are derived anew.
const REMEMBERED: usize = 4_096;

/// The first byte of every NIP-44 version 2 payload.
const NIP44_VERSION: u8 = 2;

/// The keys a node can read and write with.
pub struct Keyring {
    own: Keys,
    others: HashMap<PublicKey, Keys>,
    conversations: HashMap<(PublicKey, PublicKey), nip44::v2::ConversationKey>,
}

/// A message could not be opened: it is not for any of our keys, or was altered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the message cannot be decrypted")]
pub struct Sealed;

impl Keyring {
    /// A keyring with one key.
    pub fn new(own: Keys) -> Self {
        Self { own, others: HashMap::new(), conversations: HashMap::new() }
    }

    /// Adds the key of a job.
    pub fn add(&mut self, keys: Keys) {
        self.others.insert(keys.public_key(), keys);
    }

    /// Forgets the key of a job.
    pub fn remove(&mut self, key: &PublicKey) {
        self.others.remove(key);
        self.conversations.retain(|(own, _), _| own != key);
    }

    /// The secret key for a public one of ours.
    pub(crate) fn find(&self, key: &PublicKey) -> Option<&Keys> {
        if self.own.public_key() == *key { Some(&self.own) } else { self.others.get(key) }
    }

    fn conversation(
        &mut self,
        own: &PublicKey,
        peer: &PublicKey,
    ) -> Result<&nip44::v2::ConversationKey, Sealed> {
        let secret = self.find(own).ok_or(Sealed)?.secret_key().clone();
        if self.conversations.len() >= REMEMBERED {
            self.conversations.clear();
        }
        match self.conversations.entry((*own, *peer)) {
            std::collections::hash_map::Entry::Occupied(known) => Ok(known.into_mut()),
            std::collections::hash_map::Entry::Vacant(space) => {
                let key = nip44::v2::ConversationKey::derive(&secret, peer).map_err(|_| Sealed)?;
                Ok(space.insert(key))
            }
        }
    }

    /// Opens a message to one of our keys, NIP-44 or NIP-04 (told by its `?iv=`).
    pub(crate) fn open(&mut self, own: &PublicKey, peer: &PublicKey, text: &str) -> Result<String, Sealed> {
        if text.contains("?iv=") {
            let secret = self.find(own).ok_or(Sealed)?.secret_key();
            return nip04::decrypt(secret, peer, text).map_err(|_| Sealed);
        }
        let payload = base64(text)?;
        // The library skips the version byte; another version is another cipher.
        if payload.first() != Some(&NIP44_VERSION) {
            return Err(Sealed);
        }
        let bytes =
            nip44::v2::decrypt_to_bytes(self.conversation(own, peer)?, &payload).map_err(|_| Sealed)?;
        String::from_utf8(bytes).map_err(|_| Sealed)
    }

    /// Seals a message with NIP-44.
    pub(crate) fn seal(&mut self, own: &PublicKey, peer: &PublicKey, text: &str) -> Result<String, Sealed> {
        use base64::Engine as _;
        let key = self.conversation(own, peer)?;
        let bytes = nip44::v2::encrypt_to_bytes(key, text.as_bytes()).map_err(|_| Sealed)?;
        Ok(base64::engine::general_purpose::STANDARD.encode(bytes))
    }

    /// Seals a message with NIP-04, for a peer that speaks nothing else.
    pub(crate) fn seal_nip04(&self, own: &PublicKey, peer: &PublicKey, text: &str) -> Result<String, Sealed> {
        let secret = self.find(own).ok_or(Sealed)?.secret_key();
        nip04::encrypt(secret, peer, text).map_err(|_| Sealed)
    }
}

fn base64(text: &str) -> Result<Vec<u8>, Sealed> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).map_err(|_| Sealed)
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keyring({} keys)", 1 + self.others.len())
    }
}
