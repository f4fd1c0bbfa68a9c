//! Payments by hand on their way to the engine: a hash that the books know is never used again.

use openagents_engine::{Input, Record, Transfer, TransferRefused};
use openagents_types::Timestamp;

use super::{Driver, batch::Pending};

/// Whether a payment by hand is begun: as it was written down, or why not.
pub type Begun = Result<(), NotBegun>;

/// Why a payment by hand was not begun. Nothing was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotBegun {
    /// It was begun before, by hand; this is how it stands.
    #[error("this invoice was paid or made by hand before; it is not sent again")]
    Known(Box<Transfer>),
    /// A payment of the market has this hash.
    #[error("this invoice belongs to a job of this node")]
    OfAJob,
    /// The rules refuse it.
    #[error(transparent)]
    Refused(#[from] TransferRefused),
    /// The books cannot be read.
    #[error("the books cannot be read")]
    Store,
    /// The node is stopping.
    #[error("the node is stopping")]
    Stopping,
}

impl Driver {
    /// Begins a payment by hand, unless its hash was ever used.
    pub(super) fn transfer(&mut self, now: Timestamp, transfer: Transfer, pending: &mut Pending) -> Begun {
        let hash = transfer.hash();
        let in_batch = pending.batch.records.iter().rev().find_map(|record| match record {
            Record::Transfer(known) if known.hash() == hash => Some(known.clone()),
            _ => None,
        });
        let unreadable = |error: crate::store::StoreError| {
            tracing::error!(%error, %hash, "a payment by hand cannot be looked up");
            NotBegun::Store
        };
        if let Some(known) = in_batch {
            return Err(NotBegun::Known(known));
        }
        if let Some(known) = self.store.transfer(hash).map_err(unreadable)? {
            return Err(NotBegun::Known(Box::new(known)));
        }
        if pending.names(hash) || self.store.knows_payment(hash).map_err(unreadable)? {
            return Err(NotBegun::OfAJob);
        }
        self.engine.may_transfer(now, &transfer)?;
        self.input(now, Input::Transfer(Box::new(transfer)), pending);
        Ok(())
    }
}

impl Pending {
    /// Whether a payment with this hash is written in this batch.
    pub(super) fn names(&self, hash: openagents_types::PaymentHash) -> bool {
        let is_it = |record: &Record| matches!(record, Record::Payment(row) if row.hash == hash);
        self.batch.records.iter().any(is_it)
    }
}
