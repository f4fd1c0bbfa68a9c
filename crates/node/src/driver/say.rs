//! From a draft to a signed event.

use nostr::Keys;
use openagents_protocol::{EncodeError, Keyring, Limits, Verified};
use openagents_types::{CustomerKey, Draft, JobId, JobRequest, JobSpec, Notice, Timestamp, refusal};

/// How long an event without an end of its own is sent again, in seconds: a week without any relay.
const KEPT: u64 = 7 * 86_400;

/// The slot of our offer for a job.
pub(super) const QUOTE: &str = "quote";

/// The slot of our receipt for a job.
pub(super) const RECEIPT: &str = "receipt";

/// The slot of our countersignature of the receipt for a job.
pub(super) const COUNTERSIGNATURE: &str = "countersignature";

/// The slot of a receipt that we made public, before the word for our half.
pub(super) const PUBLISHED: &str = "published-receipt";

/// What an event says, as the outbox names it: the same thing is said about a job only once.
pub(super) fn slot(draft: &Draft) -> String {
    match draft {
        Draft::Quote { .. } => QUOTE.into(),
        Draft::Result { .. } | Draft::Bill { .. } => "result".into(),
        Draft::Partial { index, .. } => format!("partial-{index}"),
        Draft::Cancel { provider, .. } => match provider {
            Some(provider) => format!("cancel-{provider}"),
            None => "cancel".into(),
        },
        Draft::RefundClaim { invoice, .. } => format!("claim-{}", invoice.payment_hash),
        Draft::Ecash { hash, .. } => format!("ecash-{hash}"),
        Draft::Release { hash, .. } => format!("release-{hash}"),
        Draft::Receipt(_) => RECEIPT.into(),
        Draft::Countersign { .. } => COUNTERSIGNATURE.into(),
        Draft::Notice(notice) => match notice {
            Notice::Processing { .. } => "processing".into(),
            Notice::Success => "success".into(),
            Notice::Refused { code, .. } => format!("refused-{code}"),
            Notice::RefundOwed { paid, .. } => format!("refund-owed-{paid}"),
            Notice::Credited { paid, .. } => format!("{}-{paid}", refusal::CREDITED),
            Notice::Overpaid { .. } => "overpaid".into(),
            Notice::FromBalance { .. } => refusal::FROM_BALANCE.into(),
            Notice::Refunded { paid, .. } | Notice::RefundedTo { paid, .. } => format!("refunded-{paid}"),
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

/// Whether no relay would take an event any more: its own end has passed (NIP-40), or it is so old that no
/// party to its job still waits.
pub(super) fn is_stale(event: &Verified, now: Timestamp) -> bool {
    let (said_at, now) = (event.event().created_at.as_secs(), now.secs());
    event.event().is_expired_at(&nostr::Timestamp::from_secs(now)) || said_at.saturating_add(KEPT) < now
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]
    use nostr::{Keys, Tag};

    use super::*;

    #[test]
    fn two_refunds_of_one_job_are_told_of_apart() {
        let amount = openagents_types::Msat::new(1_000);
        let of = |byte: u8| {
            let paid = openagents_types::PaymentHash::from_bytes([byte; 32]);
            let message = String::from("it is owed to you");
            [
                Notice::RefundOwed { paid, amount, message },
                Notice::Credited { paid, amount },
                Notice::Refunded { paid, amount },
            ]
            .map(|notice| slot(&Draft::Notice(notice)))
        };
        assert_eq!(of(1), of(1), "the same is said once");
        assert!(of(1).iter().all(|said| !of(2).contains(said)));
    }

    #[test]
    fn an_event_is_sent_again_until_its_end_or_for_a_week() {
        const SAID: u64 = 1_000_000;
        let event = |tags: Vec<Tag>| Verified::sign(&Keys::generate(), 7_000, tags, String::new(), SAID);
        let ending = event(vec![Tag::parse(["expiration", &(SAID + 60).to_string()]).unwrap()]);
        let lasting = event(Vec::new());
        let stale = |event: &Verified, after: u64| is_stale(event, Timestamp::from_secs(SAID + after));
        assert!(!stale(&ending, 59) && stale(&ending, 61));
        assert!(!stale(&lasting, 61) && !stale(&lasting, KEPT) && stale(&lasting, KEPT + 1));
    }
}
