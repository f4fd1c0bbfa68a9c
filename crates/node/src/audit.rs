//! Checks that are still to be written down. They wait for a batch that is written anyway, so that no job costs a
//! transaction for its check alone.

use std::sync::{Arc, Mutex, PoisonError};

use openagents_api::Side;
use openagents_policy::AuditEntry;

/// One check, and whose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audited {
    /// The half of the market that checked.
    pub side: Side,
    /// What came out.
    pub entry: AuditEntry,
}

/// What waits. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct AuditLog(Arc<Mutex<Vec<Audited>>>);

impl AuditLog {
    /// Adds a check. The driver takes it with its next batch, which every check but a customer's refusal brings about.
    pub(crate) fn add(&self, side: Side, entry: AuditEntry) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Audited { side, entry });
    }

    /// All that waits, oldest first.
    pub(crate) fn take(&self) -> Vec<Audited> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
