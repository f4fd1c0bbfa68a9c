//! Receipts at the wire: which are opened at all, whose signature counts under ours, and which become public.

use openagents_api::Side;
use openagents_engine::{Input, receipt::Received};
use openagents_protocol::{
    EncodeError, Verified,
    receipt::{Countersignature, Proof, ReceivedReceipt, addressed},
};
use openagents_types::{ContentHash, Encryption, EventId, JobId, Timestamp};

use super::{Driver, batch::Pending, say};
use crate::store::{Outgoing, ReceiptRow, StoreError};

/// What whoever publishes a receipt is told.
pub(super) type Published = Result<EventId, PublishRefused>;

/// Why a receipt does not become public.
#[derive(Debug, thiserror::Error)]
pub enum PublishRefused {
    /// There is none.
    #[error("There is no receipt for this job here.")]
    Unknown,
    /// We say ourselves that it is wrong.
    #[error("This receipt is disputed: it is not ours to show as true.")]
    Disputed,
    /// The job was encrypted.
    #[error(
        "The job was encrypted, and a public receipt would tell that it was done, when and for how much."
    )]
    Encrypted,
    /// The key of the job is not there.
    #[error("The key that would sign it is not here.")]
    NoKey,
    /// It cannot be written.
    #[error("It cannot be written: {0}.")]
    Encode(#[from] EncodeError),
    /// The database cannot be read.
    #[error("The database cannot be read: {0}.")]
    Store(#[from] StoreError),
    /// The events of the receipt do not stand.
    #[error("It proves nothing: {0}.")]
    Proof(#[from] openagents_protocol::receipt::ProofError),
    /// The node is stopping.
    #[error("The node is stopping.")]
    Stopping,
}

impl Driver {
    /// Whether an event is a receipt that we do not wait for from its author: then it is not even opened.
    pub(super) fn is_uncalled_for(&self, event: &Verified) -> bool {
        addressed(event).is_some_and(|(job, by)| !self.engine.awaits_receipt(job, by))
    }

    pub(super) fn receipt(
        &mut self,
        now: Timestamp,
        event: &Verified,
        received: ReceivedReceipt,
        pending: &mut Pending,
    ) {
        let ReceivedReceipt { receipt, body, event: id, digest } = received;
        let received = Received { receipt, body: body.into(), event: id, digest, raw: event.shared_json() };
        self.input(now, Input::Receipt(Box::new(received)), pending);
    }

    /// Keeps a customer's signature under a receipt of ours, if it is that customer's and that receipt.
    pub(super) fn countersigned(&self, event: &Verified, signed: &Countersignature, pending: &mut Pending) {
        let Ok(Some(row)) = self.store.receipt(signed.job, Side::Sold) else { return };
        if row.countersigned.is_some() {
            return;
        }
        let Some(ours) = row.signed.as_deref().and_then(say::reread) else { return };
        let digest = ContentHash::of(row.body.as_bytes());
        match signed.differs(&row.receipt, ours.id(), digest) {
            Some(other) => {
                tracing::debug!(event = %event.id(), other, "a countersignature that is not of our receipt");
            }
            None => pending.batch.countersigned.push((signed.job, event.json().to_owned())),
        }
    }

    /// Signs a receipt's proof for everybody, once.
    pub(super) fn publish_receipt(
        &self,
        now: Timestamp,
        job: JobId,
        side: Side,
        pending: &mut Pending,
    ) -> Published {
        let row = self.store.receipt(job, side)?.ok_or(PublishRefused::Unknown)?;
        if row.dispute.is_some() {
            return Err(PublishRefused::Disputed);
        }
        let keys = match side {
            Side::Sold => {
                let sold = self.store.sold(job)?.ok_or(PublishRefused::Unknown)?;
                let open = sold.request.encryption == Encryption::None;
                open.then(|| self.keys.clone()).ok_or(PublishRefused::Encrypted)?
            }
            Side::Bought => {
                let ask = self.store.bought(job)?.ok_or(PublishRefused::Unknown)?;
                if ask.spec.encrypt {
                    return Err(PublishRefused::Encrypted);
                }
                self.identity.ask_key(&ask.key_ref).ok_or(PublishRefused::NoKey)?
            }
        };
        let proof = proof(&row)?;
        let slot = format!("{}-{}", say::PUBLISHED, side.word());
        if let Some(said) = self.store.said(job, &slot)? {
            return Ok(said);
        }
        let event = proof.publish(&row.receipt, &keys, now)?;
        if pending.said.insert((job, slot.clone())) {
            let json = event.json().to_owned();
            pending.batch.outbox.push(Outgoing { event: event.id(), job, slot, json });
            pending.send.push((event.clone(), None));
        }
        Ok(event.id())
    }
}

/// The proof of a receipt, checked as a stranger would.
fn proof(row: &ReceiptRow) -> Result<Proof, PublishRefused> {
    let signed = row.signed.as_deref().ok_or(PublishRefused::Unknown)?;
    let proof = Proof::new(&row.body, signed, row.countersigned.as_deref())?;
    proof.check()?;
    Ok(proof)
}
