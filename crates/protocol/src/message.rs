//! From an event to what it says, and from what we want to say to an event.

use nostr::{Keys, PublicKey};
use openagents_types::{
    Cancel, CustomerKey, Draft, EcashPayment, Encryption, Feedback, JobId, JobRequest, JobResult,
    ProviderKey, RefundClaim, ReleasedEcash, Timestamp,
};

use crate::{
    Keyring, Limits, Verified,
    ad::Ad,
    cancel, ecash, feedback, heartbeat,
    ingress::check_tags,
    keyring::Sealed,
    receipt::{self, Countersignature, ReceivedReceipt},
    refund, request, result, tags,
};

/// What an event says.
#[derive(Clone, Debug)]
pub enum Message {
    /// A job request (kinds 5000-5999 and 6500-6599).
    Request(Box<JobRequest>),
    /// A feedback (kind 7000).
    Feedback(Feedback),
    /// A result (kinds 6000-6999 and 7500-7599).
    Result(JobResult),
    /// Jobs taken back (kind 5).
    Cancels(Vec<Cancel>),
    /// A refund claimed (kind 7009).
    RefundClaim(RefundClaim),
    /// Ecash handed over (kind 7013).
    Ecash(EcashPayment),
    /// Ecash given up (kind 7013).
    Release(ReleasedEcash),
    /// A work receipt (kind 7010).
    Receipt(Box<ReceivedReceipt>),
    /// A customer's word that a receipt is right (kind 7011).
    Countersignature(Countersignature),
    /// An advertisement (kind 31990).
    Ad(Box<Ad>),
    /// A sign of life (kind 11998).
    Heartbeat(heartbeat::Seen),
    /// Something else.
    Other,
}

/// Why an event was not understood. The text names what is missing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A tag that the event needs is missing.
    #[error("tag {0:?} is missing")]
    Missing(&'static str),
    /// A tag's value is not what it should be.
    #[error("tag {tag:?} is {found:?}, expected {expected}")]
    Invalid {
        /// The tag.
        tag: &'static str,
        /// What came, shortened.
        found: String,
        /// What was expected.
        expected: &'static str,
    },
    /// The content is encrypted and not for us.
    #[error("the content is not encrypted to any of our keys")]
    Sealed,
    /// The content is not what it should be.
    #[error("the content is not {0}")]
    Content(&'static str),
}

/// Why something cannot be said.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// There is nobody to encrypt to.
    #[error("an encrypted job needs a provider to encrypt to; name one, or send it in the open")]
    NoRecipient,
    /// A key is not a point of the curve.
    #[error("{0} is not a public key")]
    Key(String),
    /// The peer's key does not work, or the text is too long to encrypt.
    #[error("the text cannot be encrypted; it may be longer than 65,535 bytes")]
    Seal,
    /// The event would be larger than relays take.
    #[error("the event has {bytes} bytes, relays take {most}; send a URL instead of the text itself")]
    TooLarge {
        /// What it has.
        bytes: usize,
        /// What is taken.
        most: usize,
    },
    /// A tag is larger than is taken, or there are too many.
    #[error("{0}; send a URL instead of the text itself")]
    Tags(String),
    /// The draft belongs to the other half of the market.
    #[error("this cannot be said by that side")]
    WrongSide,
}

impl From<Sealed> for DecodeError {
    fn from(_: Sealed) -> Self {
        Self::Sealed
    }
}

impl From<Sealed> for EncodeError {
    fn from(_: Sealed) -> Self {
        Self::Seal
    }
}

/// Whether an event of this kind and with these tags asks for a job.
///
/// The market's own kinds, 6500-6599, lie among the results of 5500-5599 (6500 is also what answers
/// 5500). There the shape decides: a result quotes its request in a `request` tag or names it in an `e`
/// tag, and a request does neither. The order of tags does not matter. Results of the market's own kinds
/// are 7500-7599 and collide with nothing.
pub fn is_request(kind: u16, tags: &[Vec<String>]) -> bool {
    match kind {
        5000..=5999 => true,
        6500..=6599 => !result::has_shape(tags),
        _ => false,
    }
}

/// Reads an event.
///
/// # Errors
/// It is of a kind we know and not what that kind should be.
pub fn decode(event: &Verified, keys: &mut Keyring) -> Result<Message, DecodeError> {
    let kind = event.event().kind.as_u16();
    match kind {
        5 => Ok(Message::Cancels(cancel::decode(event))),
        5000..=5999 | 6500..=6599 if is_request(kind, &tags::from_tags(event.event().tags.iter())) => {
            request::decode(event, keys).map(|request| Message::Request(Box::new(request)))
        }
        6000..=6999 | 7500..=7599 => result::decode(event, keys).map(Message::Result),
        7000 => feedback::decode(event, keys).map(Message::Feedback),
        refund::KIND => refund::decode(event, keys).map(Message::RefundClaim),
        ecash::KIND => ecash::decode(event, keys),
        receipt::RECEIPT => receipt::decode(event, keys).map(|receipt| Message::Receipt(Box::new(receipt))),
        receipt::COUNTERSIGNATURE => receipt::decode_countersignature(event).map(Message::Countersignature),
        heartbeat::KIND => Ok(Message::Heartbeat(heartbeat::decode(event))),
        crate::ad::KIND => crate::ad::decode(event).map(|ad| Message::Ad(Box::new(ad))),
        _ => Ok(Message::Other),
    }
}

/// Writes what a provider says about a job, hidden the way the request was.
///
/// # Errors
/// The draft is a customer's, or the answer cannot be encrypted.
pub fn encode_provider(
    request: &JobRequest,
    draft: &Draft,
    keys: &Keys,
    ring: &mut Keyring,
    now: Timestamp,
) -> Result<Verified, EncodeError> {
    match draft {
        Draft::Result { content, price, unused, made_by } => {
            let (price, unused) = (*price, *unused);
            let made = result::Made { content, price, unused, bolt11: None, by: made_by.as_ref() };
            result::encode(request, made, keys, ring, now)
        }
        Draft::Bill { content, invoice, unused, made_by } => {
            let (bolt11, unused) = (Some(invoice.bolt11.as_str()), *unused);
            let made = result::Made { content, price: invoice.amount, unused, bolt11, by: made_by.as_ref() };
            result::encode(request, made, keys, ring, now)
        }
        Draft::Quote { .. } | Draft::Notice(_) | Draft::Partial { .. } => {
            feedback::encode(request, draft, keys, ring, now)
        }
        Draft::Release { hash, release } => ecash::encode_release(request, (*hash, release), keys, now),
        Draft::Receipt(said) => receipt::encode(request, said, keys, ring, now),
        Draft::Cancel { .. }
        | Draft::RefundClaim { .. }
        | Draft::Ecash { .. }
        | Draft::Countersign { .. } => Err(EncodeError::WrongSide),
    }
}

/// Writes what a customer says about its job.
///
/// # Errors
/// The draft is a provider's, or the claim cannot be encrypted.
pub fn encode_customer(
    job: JobId,
    draft: &Draft,
    keys: &Keys,
    now: Timestamp,
) -> Result<Verified, EncodeError> {
    match draft {
        Draft::Cancel { provider, reason } => Ok(cancel::encode(job, *provider, reason, keys, now)),
        Draft::RefundClaim { provider, invoice } => refund::encode(job, *provider, invoice, keys, now),
        Draft::Ecash { provider, hash, token } => ecash::encode(job, *provider, (*hash, token), keys, now),
        Draft::Countersign { .. } => receipt::countersign(job, draft, keys, now),
        Draft::Quote { .. }
        | Draft::Notice(_)
        | Draft::Partial { .. }
        | Draft::Result { .. }
        | Draft::Release { .. }
        | Draft::Bill { .. }
        | Draft::Receipt(_) => Err(EncodeError::WrongSide),
    }
}

/// An event that relays, and our own gate, will take.
pub(crate) fn sendable(event: Verified) -> Result<Verified, EncodeError> {
    let limits = Limits::default();
    let (bytes, most) = (event.json().len(), limits.event_bytes);
    if bytes > most {
        return Err(EncodeError::TooLarge { bytes, most });
    }
    check_tags(event.event(), &limits).map_err(|error| EncodeError::Tags(error.to_string()))?;
    Ok(event)
}

pub(crate) fn public_key(bytes: &[u8; 32]) -> Result<PublicKey, EncodeError> {
    PublicKey::from_slice(bytes).map_err(|_| EncodeError::Key(hex::encode(bytes)))
}

pub(crate) fn author(event: &Verified) -> [u8; 32] {
    event.event().pubkey.to_bytes()
}

pub(crate) fn customer(event: &Verified) -> CustomerKey {
    CustomerKey::from_bytes(author(event))
}

pub(crate) fn provider(event: &Verified) -> ProviderKey {
    ProviderKey::from_bytes(author(event))
}

pub(crate) fn created_at(event: &Verified) -> Timestamp {
    Timestamp::from_secs(event.event().created_at.as_secs())
}

/// Seals a text the way a request was sealed.
pub(crate) fn seal(
    ring: &mut Keyring,
    own: &Keys,
    peer: &[u8; 32],
    encryption: Encryption,
    text: &str,
) -> Result<String, EncodeError> {
    let (own, peer) = (own.public_key(), public_key(peer)?);
    Ok(match encryption {
        Encryption::Nip04 => ring.seal_nip04(&own, &peer, text)?,
        Encryption::None | Encryption::Nip44 => ring.seal(&own, &peer, text)?,
    })
}
