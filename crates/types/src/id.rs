//! 32-byte names: events, jobs, payments, and the keys of the two parties.
//!
//! Each is its own type, so that a customer's key cannot be passed where a provider's belongs.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

/// The text is not 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected 64 hexadecimal digits")]
pub struct HexError;

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 32]);

        impl $name {
            /// From its 32 bytes.
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// Its 32 bytes.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// 64 hexadecimal digits, lower case.
            pub fn to_hex(self) -> String {
                hex::encode(self.0)
            }
        }

        impl FromStr for $name {
            type Err = HexError;

            fn from_str(text: &str) -> Result<Self, HexError> {
                let mut bytes = [0; 32];
                hex::decode_to_slice(text, &mut bytes).map_err(|_| HexError)?;
                Ok(Self(bytes))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.to_hex())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

names! {
    /// The id of a Nostr event (NIP-01): the SHA-256 of its serialisation.
    EventId
    /// A job, named by the id of the event that asked for it.
    JobId
    /// The x-only public key a provider signs with (BIP 340).
    ProviderKey
    /// The x-only public key a customer signs a job with (BIP 340); a new one for each job.
    CustomerKey
    /// The SHA-256 of a [`Preimage`]: names a Lightning payment, forever (BOLT 11).
    PaymentHash
    /// The secret whose hash is a [`PaymentHash`]: proof that the payment was settled.
    Preimage
    /// The SHA-256 of a payload or of a receipt.
    ContentHash
    /// What makes the hash of a receipt unguessable.
    ReceiptSalt
}

macro_rules! printed_as_hex {
    ($($name:ident)*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.to_hex())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), &self.to_hex()[..8])
            }
        }
    )*};
}

printed_as_hex! { EventId JobId ProviderKey CustomerKey PaymentHash ContentHash ReceiptSalt }

/// A preimage is a secret until its payment is settled, so it never prints itself.
impl fmt::Debug for Preimage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Preimage(…)")
    }
}

impl JobId {
    /// The id of the event that asked for the job.
    pub const fn event(self) -> EventId {
        EventId(self.0)
    }
}

impl From<EventId> for JobId {
    fn from(id: EventId) -> Self {
        Self(id.0)
    }
}

impl ContentHash {
    /// The hash of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl Preimage {
    /// The payment hash this preimage proves: `sha256(preimage)`.
    pub fn hash(&self) -> PaymentHash {
        PaymentHash(Sha256::digest(self.0).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_back_what_they_print() {
        let id = JobId::from_bytes([0xab; 32]);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!("zz".parse::<JobId>(), Err(HexError));
    }

    #[test]
    fn a_preimage_never_prints_itself() {
        let secret = Preimage::from_bytes([0x5e; 32]);
        assert!(!format!("{secret:?}").contains("5e"));
    }
}
