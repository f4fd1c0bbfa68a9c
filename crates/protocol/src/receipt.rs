//! Work receipts, ours: kind 7010 is a provider's receipt, kind 7011 its customer's countersignature, kind 7012
//! both in the open.
//!
//! A receipt is sealed for its customer alone, and its tag `x` says the SHA-256 of what is sealed: so one
//! signature binds the provider to words that only the two parties know, and whoever is shown the words later
//! can check them. The countersignature names the receipt and the same `x`. A [`Proof`] is the words and both
//! events; it needs no relay and no node to be checked.

use nostr::{Event, JsonUtil, Keys};
use openagents_types::{
    ContentHash, CustomerKey, Draft, EventId, JobId, JobRequest, ProviderKey, Receipt, ReceiptFault,
    Timestamp,
};
use serde::{Deserialize, Serialize};

use crate::{
    DecodeError, EncodeError, IngressError, Keyring, Limits, Verified, accept,
    feedback::{job_of, opened},
    message::{author, public_key, sendable},
    tags::{self, make},
};

/// A provider's receipt.
pub const RECEIPT: u16 = 7010;

/// A customer's countersignature.
pub const COUNTERSIGNATURE: u16 = 7011;

/// A proof in the open.
pub const PUBLISHED: u16 = 7012;

/// How long relays keep the copies that the parties send each other, in seconds: long enough for one that is
/// away for a night, and no longer, since a peer that does not know receipts never fetches them.
const COPY_LIFETIME: u64 = 86_400;

/// The longest name of a backend or a model that is read, in bytes.
const LONGEST_NAME: usize = 200;

/// A receipt as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedReceipt {
    /// What it says; provider, customer and job are those of the event.
    pub receipt: Receipt,
    /// The same to the letter, as it was signed.
    pub body: String,
    /// The event that carried it.
    pub event: EventId,
    /// The hash of `body`.
    pub digest: ContentHash,
}

/// A countersignature as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Countersignature {
    /// The job.
    pub job: JobId,
    /// Who countersigns.
    pub by: CustomerKey,
    /// The event of the receipt.
    pub receipt: EventId,
    /// The hash of what the receipt says.
    pub digest: ContentHash,
}

/// The words that a receipt is signed with.
///
/// # Errors
/// It cannot be written as JSON.
pub fn body(receipt: &Receipt) -> Result<String, EncodeError> {
    serde_json::to_string(receipt).map_err(|_| EncodeError::Seal)
}

pub(crate) fn encode(
    request: &JobRequest,
    receipt: &Receipt,
    keys: &Keys,
    ring: &mut Keyring,
    now: Timestamp,
) -> Result<Verified, EncodeError> {
    let body = body(receipt)?;
    let digest = ContentHash::of(body.as_bytes());
    let sealed = ring.seal(&keys.public_key(), &public_key(request.customer.as_bytes())?, &body)?;
    let raw = vec![
        make([tags::EVENT, &receipt.job.to_hex()]),
        make([tags::KEY, &request.customer.to_hex()]),
        make([tags::DIGEST, &digest.to_hex()]),
        expiration(now),
        make([tags::ENCRYPTED]),
    ];
    sendable(Verified::sign(keys, RECEIPT, tags::to_tags(raw), sealed, now.secs()))
}

pub(crate) fn countersign(
    job: JobId,
    draft: &Draft,
    keys: &Keys,
    now: Timestamp,
) -> Result<Verified, EncodeError> {
    let Draft::Countersign { provider, receipt, digest } = draft else { return Err(EncodeError::WrongSide) };
    let raw = vec![
        make([tags::EVENT, &job.to_hex(), "", tags::JOB_MARKER]),
        make([tags::EVENT, &receipt.to_hex(), "", tags::RECEIPT_MARKER]),
        make([tags::KEY, &provider.to_hex()]),
        make([tags::DIGEST, &digest.to_hex()]),
        expiration(now),
    ];
    Ok(Verified::sign(keys, COUNTERSIGNATURE, tags::to_tags(raw), String::new(), now.secs()))
}

fn expiration(now: Timestamp) -> tags::Raw {
    make([tags::EXPIRATION, &now.secs().saturating_add(COPY_LIFETIME).to_string()])
}

/// The job that an event of kind 7010 is about and who signed it, before anything is opened: opening one costs
/// more than to see that nobody waits for it.
pub fn addressed(event: &Verified) -> Option<(JobId, ProviderKey)> {
    if event.event().kind.as_u16() != RECEIPT {
        return None;
    }
    let found = tags::from_tags(event.event().tags.iter());
    Some((job_of(&found)?, ProviderKey::from_bytes(author(event))))
}

pub(crate) fn decode(event: &Verified, keys: &mut Keyring) -> Result<ReceivedReceipt, DecodeError> {
    let (_, body) = opened(event, keys)?;
    let receipt = signed(event, &body).map_err(|fault| match fault {
        ProofError::Digest => DecodeError::Content("what its tag x is the hash of"),
        ProofError::Foreign(_) => {
            DecodeError::Content("a receipt by its author for its job and its customer")
        }
        _ => DecodeError::Content("a receipt"),
    })?;
    let digest = ContentHash::of(body.as_bytes());
    Ok(ReceivedReceipt { receipt, body, event: event.id(), digest })
}

pub(crate) fn decode_countersignature(event: &Verified) -> Result<Countersignature, DecodeError> {
    let found = tags::from_tags(event.event().tags.iter());
    let receipt = tags::all(&found, tags::EVENT)
        .find(|values| values.iter().skip(1).any(|value| value == tags::RECEIPT_MARKER))
        .and_then(|values| values.first()?.parse().ok())
        .ok_or(DecodeError::Missing(tags::EVENT))?;
    Ok(Countersignature {
        job: job_of(&found).ok_or(DecodeError::Missing(tags::EVENT))?,
        by: CustomerKey::from_bytes(author(event)),
        receipt,
        digest: digest(&found).ok_or(DecodeError::Missing(tags::DIGEST))?,
    })
}

fn digest(found: &[tags::Raw]) -> Option<ContentHash> {
    tags::first(found, tags::DIGEST)?.parse().ok()
}

/// What a receipt says, if its event binds its author to it.
fn signed(event: &Verified, body: &str) -> Result<Receipt, ProofError> {
    let found = tags::from_tags(event.event().tags.iter());
    if digest(&found) != Some(ContentHash::of(body.as_bytes())) {
        return Err(ProofError::Digest);
    }
    let receipt: Receipt = serde_json::from_str(body).map_err(|error| ProofError::Body(error.to_string()))?;
    let usage = &receipt.usage;
    let names = [Some(&usage.backend), usage.model.as_ref(), usage.digest.as_ref()];
    if names.into_iter().flatten().any(|name| name.len() > LONGEST_NAME) {
        return Err(ProofError::Body("the name of its backend or model, or its digest, is too long".into()));
    }
    let customer = tags::first(&found, tags::KEY).and_then(|key| key.parse().ok());
    if author(event) != *receipt.provider.as_bytes() {
        Err(ProofError::Foreign("provider"))
    } else if job_of(&found) != Some(receipt.job) {
        Err(ProofError::Foreign("job"))
    } else if customer != Some(receipt.customer) {
        Err(ProofError::Foreign("customer"))
    } else {
        Ok(receipt)
    }
}

/// Why a proof proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// Not the JSON of a proof.
    #[error("it is no receipt: {0}")]
    Malformed(String),
    /// An event is not what its signature covers, or not an event.
    #[error("its {part} does not stand: {reason}")]
    Event {
        /// `receipt` or `countersignature`.
        part: &'static str,
        /// Why.
        reason: IngressError,
    },
    /// An event of another kind.
    #[error("its {part} is an event of kind {found}, and that is none")]
    Kind {
        /// `receipt` or `countersignature`.
        part: &'static str,
        /// What it is.
        found: u16,
    },
    /// The words are not those that were signed.
    #[error("its body was altered: the signed hash is another")]
    Digest,
    /// The words are not those of a receipt.
    #[error("its body cannot be read: {0}")]
    Body(String),
    /// The event belongs to another receipt.
    #[error("its {0} is not the one that the signed event names")]
    Foreign(&'static str),
    /// What it says cannot be.
    #[error("it contradicts itself: {0}")]
    Fault(#[from] ReceiptFault),
    /// A countersignature of something else.
    #[error("its countersignature is for another {0}")]
    Countersigned(&'static str),
}

/// A receipt to show to others: what it says, to the letter, and who signed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// What the provider signed, as text: the hash is of these bytes.
    pub body: String,
    /// The provider's event, as JSON.
    pub receipt: serde_json::Value,
    /// The customer's event, if it has countersigned.
    #[serde(default)]
    pub countersignature: Option<serde_json::Value>,
}

/// What a proof has shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proven {
    /// What the provider says.
    pub receipt: Receipt,
    /// The provider's event.
    pub event: EventId,
    /// Whether the customer says so too.
    pub countersigned: bool,
}

impl Proof {
    /// A proof of events as they were signed.
    ///
    /// # Errors
    /// One of them is not JSON.
    pub fn new(body: &str, receipt: &str, countersignature: Option<&str>) -> Result<Self, ProofError> {
        let value =
            |text: &str| serde_json::from_str(text).map_err(|error| ProofError::Malformed(error.to_string()));
        let countersignature = countersignature.map(value).transpose()?;
        Ok(Self { body: body.into(), receipt: value(receipt)?, countersignature })
    }

    /// Reads a proof: by itself, under `proof` in what a program printed, or in an event of kind 7012.
    ///
    /// # Errors
    /// It is none of these, or the event's signature is wrong.
    pub fn read(text: &str) -> Result<Self, ProofError> {
        #[derive(Deserialize)]
        struct Printed {
            proof: Proof,
        }
        let malformed = |error: serde_json::Error| ProofError::Malformed(error.to_string());
        if let Ok(event) = Event::from_json(text) {
            let found = event.kind.as_u16();
            if found != PUBLISHED {
                return Err(ProofError::Kind { part: "proof", found });
            }
            let event = accept(text, &Limits::default())
                .map_err(|reason| ProofError::Event { part: "proof", reason })?;
            return serde_json::from_str(&event.event().content).map_err(malformed);
        }
        if let Ok(printed) = serde_json::from_str::<Printed>(text) {
            return Ok(printed.proof);
        }
        serde_json::from_str(text).map_err(malformed)
    }

    /// Checks ids, signatures, hashes, and that what is said can be.
    ///
    /// # Errors
    /// What does not hold.
    pub fn check(&self) -> Result<Proven, ProofError> {
        let event = gate("receipt", &self.receipt, RECEIPT)?;
        let receipt = signed(&event, &self.body)?;
        if let Some(fault) = receipt.fault() {
            return Err(fault.into());
        }
        if let Some(countersignature) = &self.countersignature {
            let countersigned = gate("countersignature", countersignature, COUNTERSIGNATURE)?;
            let read = decode_countersignature(&countersigned)
                .map_err(|error| ProofError::Malformed(error.to_string()))?;
            let digest = ContentHash::of(self.body.as_bytes());
            if let Some(other) = read.differs(&receipt, event.id(), digest) {
                return Err(ProofError::Countersigned(other));
            }
        }
        Ok(Proven { receipt, event: event.id(), countersigned: self.countersignature.is_some() })
    }

    /// The proof as an event that anybody may read.
    ///
    /// # Errors
    /// It is larger than relays take.
    pub fn publish(&self, receipt: &Receipt, keys: &Keys, now: Timestamp) -> Result<Verified, EncodeError> {
        let content = serde_json::to_string(self).map_err(|_| EncodeError::Seal)?;
        let digest = ContentHash::of(self.body.as_bytes());
        let raw = vec![
            make([tags::EVENT, &receipt.job.to_hex()]),
            make([tags::KEY, &receipt.provider.to_hex()]),
            make([tags::KEY, &receipt.customer.to_hex()]),
            make([tags::KIND, &receipt.kind.get().to_string()]),
            make([tags::DIGEST, &digest.to_hex()]),
        ];
        sendable(Verified::sign(keys, PUBLISHED, tags::to_tags(raw), content, now.secs()))
    }
}

impl Countersignature {
    /// What about it belongs to another receipt than this one: `job`, `customer`, `event` or `hash`.
    pub fn differs(&self, receipt: &Receipt, event: EventId, digest: ContentHash) -> Option<&'static str> {
        if self.job != receipt.job {
            Some("job")
        } else if self.by != receipt.customer {
            Some("customer")
        } else if self.receipt != event {
            Some("event")
        } else if self.digest != digest {
            Some("hash")
        } else {
            None
        }
    }
}

/// An event of a proof, checked as if it had come from a relay. How long it was to be kept does not matter.
fn gate(part: &'static str, event: &serde_json::Value, kind: u16) -> Result<Verified, ProofError> {
    let event = accept(&event.to_string(), &Limits::default())
        .map_err(|reason| ProofError::Event { part, reason })?;
    let found = event.event().kind.as_u16();
    if found == kind { Ok(event) } else { Err(ProofError::Kind { part, found }) }
}
