//! From a draft to a signed event.

use nostr::Keys;
use openagents_protocol::{EncodeError, Keyring, Limits, Verified};
use openagents_types::{CustomerKey, Draft, JobId, JobRequest, JobSpec, Notice, Timestamp};

/// What an event says, as the outbox names it: the same thing is said about a job only once.
pub(super) fn slot(draft: &Draft) -> String {
    match draft {
        Draft::Quote { .. } => "quote".into(),
        Draft::Result { .. } => "result".into(),
        Draft::Partial { index, .. } => format!("partial-{index}"),
        Draft::Cancel { provider, .. } => match provider {
            Some(provider) => format!("cancel-{provider}"),
            None => "cancel".into(),
        },
        Draft::RefundClaim { invoice, .. } => format!("claim-{}", invoice.payment_hash),
        Draft::Notice(notice) => match notice {
            Notice::Processing { .. } => "processing".into(),
            Notice::Success => "success".into(),
            Notice::Refused { code, .. } => format!("refused-{code}"),
            Notice::RefundOwed { .. } => "refund-owed".into(),
            Notice::Refunded { .. } => "refunded".into(),
        },
    }
}

/// A stored event, as it was signed. It was checked before it was stored, and is checked again,
/// since the file may have been touched.
pub(super) fn reread(json: &str) -> Option<Verified> {
    openagents_protocol::accept(json, &Limits::default())
        .inspect_err(|error| tracing::error!(%error, "an event in the outbox is damaged"))
        .ok()
}

pub(super) fn customer_key(keys: &Keys) -> CustomerKey {
    CustomerKey::from_bytes(keys.public_key().to_bytes())
}

pub(super) fn request(spec: &JobSpec, keys: &Keys, now: Timestamp) -> Result<Verified, EncodeError> {
    openagents_protocol::request::encode(spec, keys, now)
}

pub(super) fn by_customer(
    job: JobId,
    draft: &Draft,
    keys: &Keys,
    now: Timestamp,
) -> Result<Verified, EncodeError> {
    openagents_protocol::encode_customer(job, draft, keys, now)
}

pub(super) fn by_provider(
    request: &JobRequest,
    draft: &Draft,
    keys: &Keys,
    keyring: &mut Keyring,
    now: Timestamp,
) -> Result<Verified, EncodeError> {
    openagents_protocol::encode_provider(request, draft, keys, keyring, now)
}
