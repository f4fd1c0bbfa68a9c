//! What a provider's notice is once it has gone over the wire.

use openagents_types::{EventId, Feedback, JobId, Notice, ProviderKey, Status, Terms, Timestamp, refusal};

pub(super) fn feedback(
    job: JobId,
    provider: ProviderKey,
    event: EventId,
    notice: &Notice,
    now: Timestamp,
) -> Feedback {
    let (status, code, message, amount) = match notice {
        Notice::Processing { message } => (Status::Processing, None, message.clone(), None),
        Notice::Success => (Status::Success, None, String::new(), None),
        Notice::Refused { code, message, minimum } => {
            (Status::Error, Some(code.clone()), message.clone(), *minimum)
        }
        Notice::RefundOwed { amount, message, .. } => {
            (Status::Error, Some("refund-owed".into()), message.clone(), Some(*amount))
        }
        Notice::Credited { amount, .. } => {
            (Status::Error, Some(refusal::CREDITED.into()), String::new(), Some(*amount))
        }
        Notice::Overpaid { amount } => {
            (Status::Processing, Some(refusal::CREDITED.into()), String::new(), Some(*amount))
        }
        Notice::FromBalance { amount, .. } => {
            (Status::Processing, Some(refusal::FROM_BALANCE.into()), String::new(), Some(*amount))
        }
        Notice::RefundedTo { amount, .. } => {
            (Status::Error, Some(refusal::REFUNDED_TO.into()), String::new(), Some(*amount))
        }
        Notice::Refunded { amount, .. } => {
            (Status::Error, Some("refunded".into()), String::new(), Some(*amount))
        }
    };
    Feedback {
        job,
        provider,
        event,
        status,
        message,
        content: String::new(),
        amount,
        bolt11: None,
        expires_at: None,
        eta: None,
        terms: Terms::Prepaid,
        ecash: None,
        code,
        created_at: now,
    }
}
