//! Bringing a job back that has left memory, because a payment of it is heard of.
//!
//! A job that was changed in the batch at hand comes back as the batch leaves it: the store still has it as it was
//! before, and a job that came back older than it is would do again what it has done, and be written down so.

use openagents_engine::{Input, Record};
use openagents_types::{JobId, PaymentHash};

/// The payment that an input is about, if it can be one whose job has left memory.
pub(super) const fn payment(input: &Input) -> Option<&PaymentHash> {
    match input {
        Input::Incoming { hash, .. }
        | Input::Outgoing { hash, .. }
        | Input::Locked { hash, .. }
        | Input::TakenBack { hash, .. }
        | Input::Released { hash, .. }
        | Input::TokenRefused { hash, .. } => Some(hash),
        Input::Token(payment) => Some(&payment.hash),
        _ => None,
    }
}

/// The records of the job that a payment belongs to, as they will be once `batch` is written over `stored`.
pub(super) fn newest(hash: PaymentHash, stored: Vec<Record>, batch: &[Record]) -> Vec<Record> {
    let by_hand = |record: &&Record| matches!(record, Record::Transfer(transfer) if transfer.hash() == hash);
    if let Some(transfer) = batch.iter().rfind(by_hand).or_else(|| stored.iter().find(by_hand)) {
        return vec![transfer.clone()];
    }
    let begun = batch.iter().find_map(|record| match record {
        Record::Payment(row) if row.hash == hash => Some(row.job),
        _ => None,
    });
    let Some(job) = begun.or_else(|| stored.iter().find_map(|record| Half::of(record).map(|(_, job)| job)))
    else {
        return stored;
    };
    [Half::Sold, Half::Bought]
        .into_iter()
        .filter_map(|half| {
            let is_it = |record: &&Record| Half::of(record) == Some((half, job));
            batch.iter().rfind(is_it).or_else(|| stored.iter().find(is_it)).cloned()
        })
        .collect()
}

/// Which half of the market a record is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Half {
    Sold,
    Bought,
}

impl Half {
    fn of(record: &Record) -> Option<(Self, JobId)> {
        match record {
            Record::Job(job) => Some((Self::Sold, job.id())),
            Record::Ask(ask) => Some((Self::Bought, ask.id)),
            Record::Payment(_)
            | Record::Entry(_)
            | Record::Transfer(_)
            | Record::Standing(_)
            | Record::Balance(_)
            | Record::Content { .. }
            | Record::Receipt(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use openagents_engine::{
        Ask, AskOptions, Direction, PaymentRow,
        customer::{AskOutcome, Phase},
    };
    use openagents_types::{CustomerKey, JobKind, JobSpec, Millis, Msat, Timestamp};

    use super::*;

    const HASH: PaymentHash = PaymentHash::from_bytes([3; 32]);

    fn ask(job: u8, phase: Phase) -> Record {
        let spec = JobSpec::new(JobKind::SUMMARIZATION, Msat::new(1_000), Timestamp::from_secs(300));
        let options = AskOptions { window: Millis(100), patience: None, max_fee: Msat::ZERO };
        let (id, key) = (JobId::from_bytes([job; 32]), CustomerKey::from_bytes([job; 32]));
        let ask = Ask::new(id, key, Arc::from(""), spec, options, Timestamp::from_secs(0));
        Record::Ask(Box::new(Ask { phase, ..ask }))
    }

    fn payment(job: u8) -> Record {
        Record::Payment(PaymentRow {
            hash: HASH,
            job: JobId::from_bytes([job; 32]),
            direction: Direction::Out,
            amount: Msat::new(1_000),
            bolt11: String::new(),
            at: Timestamp::from_secs(0),
        })
    }

    const DELIVERED: Phase = Phase::Closed { outcome: AskOutcome::Delivered };

    #[test]
    fn a_job_that_was_delivered_in_this_batch_does_not_come_back_as_one_that_waits() {
        let stored = vec![ask(1, Phase::Waiting)];
        let batch = [ask(1, Phase::Waiting), ask(2, Phase::Abandoning), ask(1, DELIVERED)];
        assert_eq!(newest(HASH, stored, &batch), [ask(1, DELIVERED)]);
    }

    #[test]
    fn a_job_that_was_paid_and_ended_in_one_batch_is_found_there() {
        let batch = [ask(1, Phase::Waiting), payment(1), ask(1, DELIVERED)];
        assert_eq!(newest(HASH, Vec::new(), &batch), [ask(1, DELIVERED)]);
    }

    #[test]
    fn a_job_that_the_batch_does_not_touch_is_as_the_store_has_it() {
        let stored = vec![ask(1, DELIVERED)];
        assert_eq!(newest(HASH, stored.clone(), &[ask(2, Phase::Waiting)]), stored);
        assert_eq!(newest(HASH, Vec::new(), &[ask(2, Phase::Waiting)]), []);
    }
}
