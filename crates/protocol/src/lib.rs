//! Nostr events to the market's nouns and back: our own NIP-90 codec.
//!
//! [`ingress`] is the only way to a [`Verified`] event. [`decode`] turns one into a [`Message`],
//! accepting every malformed shape that peers are known to send; the encoders emit only the clean
//! one. `tags` is the only place where a tag's name is spelled. There is no clock and no I/O here.

pub mod ad;
mod cancel;
mod ecash;
mod feedback;
pub mod filters;
pub mod heartbeat;
pub mod ingress;
mod keyring;
pub mod listing;
mod message;
pub mod profile;
pub mod receipt;
mod refund;
pub mod request;
mod result;
mod tags;
pub mod zap;

pub use ingress::{IngressError, Limits, Verified, accept};
pub use keyring::Keyring;
pub use message::{DecodeError, EncodeError, Message, decode, encode_customer, encode_provider, is_request};
