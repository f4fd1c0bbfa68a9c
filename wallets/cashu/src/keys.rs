//! The keys and secrets of ecash in escrow, each from the seed and the payment hash by a one-way function: they
//! are found again without a record, and two hashes share none.

use cdk::nuts::SecretKey;
use cdk_common::bitcoin::hashes::{Hash as _, HashEngine as _, Hmac, HmacEngine, sha256};
use zeroize::Zeroizing;

use crate::book::Bytes;

/// What all of them come from.
pub(crate) struct EscrowKeys(Zeroizing<Bytes>);

/// Why a key is none; one in 2^128 is not.
type KeyError = cdk::nuts::nut01::Error;

fn hmac(key: &[u8], parts: &[&[u8]]) -> Bytes {
    let mut engine = HmacEngine::<sha256::Hash>::new(key);
    for part in parts {
        engine.input(part);
    }
    Hmac::from_engine(engine).to_byte_array()
}

impl EscrowKeys {
    pub(crate) fn new(seed: &[u8; 64]) -> Self {
        Self(Zeroizing::new(hmac(seed, &[b"openagents cashu escrow 1"])))
    }

    /// What ecash for us is locked to.
    pub(crate) fn claim(&self, hash: Bytes) -> Result<SecretKey, KeyError> {
        SecretKey::from_slice(&hmac(&*self.0, &[b"claim", &hash]))
    }

    /// What ecash that we lock comes back to.
    pub(crate) fn refund(&self, hash: Bytes) -> Result<SecretKey, KeyError> {
        SecretKey::from_slice(&hmac(&*self.0, &[b"refund", &hash]))
    }

    /// The secret number of the `index`th piece of ecash that we lock, of a keyset. A mint signs the same piece
    /// once, so one hash is locked once, whatever was forgotten here.
    pub(crate) fn nonce(&self, hash: Bytes, keyset: &[u8], index: u32) -> String {
        hex::encode(hmac(&*self.0, &[b"nonce", &hash, keyset, &index.to_be_bytes()]))
    }

    /// What blinds it.
    pub(crate) fn blind(&self, hash: Bytes, keyset: &[u8], index: u32) -> Result<SecretKey, KeyError> {
        SecretKey::from_slice(&hmac(&*self.0, &[b"blind", &hash, keyset, &index.to_be_bytes()]))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]
    use super::*;

    #[test]
    fn no_two_of_them_are_the_same_and_each_is_found_again() {
        let (keys, again, other) =
            (EscrowKeys::new(&[1; 64]), EscrowKeys::new(&[1; 64]), EscrowKeys::new(&[2; 64]));
        let of = |keys: &EscrowKeys, hash: Bytes| {
            let key = |key: SecretKey| key.to_secret_hex();
            vec![
                key(keys.claim(hash).unwrap()),
                key(keys.refund(hash).unwrap()),
                keys.nonce(hash, &[0; 8], 0),
                keys.nonce(hash, &[0; 8], 1),
                keys.nonce(hash, &[1; 8], 0),
                key(keys.blind(hash, &[0; 8], 0).unwrap()),
                key(keys.blind(hash, &[0; 8], 1).unwrap()),
            ]
        };
        assert_eq!(of(&keys, [7; 32]), of(&again, [7; 32]));
        let mut all = [of(&keys, [7; 32]), of(&keys, [8; 32]), of(&other, [7; 32])].concat();
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
