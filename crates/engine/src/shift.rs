//! Whether a provider works: open, paused or stopped by its operator.

use openagents_types::{Draft, JobId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    Actions, Job,
    job::{State, Why},
    provider::{ProviderDesk, refusal},
};

/// What an operator has told a provider to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shift {
    /// Jobs are taken and done.
    #[default]
    Open,
    /// No new jobs are taken; those in hand, and offers that are paid, are done.
    Paused,
    /// Nothing is done. Jobs in hand were given up, and their payments go back.
    Stopped,
}

impl Shift {
    /// The same, but no more than paused.
    pub const fn max_paused(self) -> Self {
        match self {
            Self::Open | Self::Paused => Self::Paused,
            Self::Stopped => Self::Stopped,
        }
    }

    /// Its word, such as `paused`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

/// Why a job ends that its provider's operator has stopped.
pub(crate) fn stopped() -> Why {
    Why::new("stopped", "this provider was stopped by its operator")
}

impl ProviderDesk {
    /// The operator has spoken.
    pub(crate) fn shift(&mut self, now: Timestamp, shift: Shift, out: &mut Actions) {
        self.config.shift = shift;
        if shift == Shift::Stopped {
            self.give_up_all(now, out);
        }
    }

    /// Ends every job that is not delivered, tells each customer, and sends the money on its way back. What is
    /// delivered is still settled, and what is owed is still paid.
    pub(crate) fn give_up_all(&mut self, now: Timestamp, out: &mut Actions) {
        let mut ids: Vec<JobId> = self.jobs.keys().copied().collect();
        ids.sort_unstable();
        for id in ids {
            let why = stopped();
            match self.jobs.get(&id).map(|job| &job.state) {
                Some(State::Resolving | State::Invoicing { .. }) => self.refuse(now, id, why, out),
                Some(State::Offered { invoice, .. }) => {
                    let (hash, amount) = (invoice.payment_hash, invoice.amount);
                    out.publish(id, Draft::Notice(refusal(&why)));
                    self.void(now, id, hash, amount, why, out);
                }
                Some(State::Queued { .. } | State::Running { .. }) => self.fail(now, id, why, out),
                _ => {}
            }
        }
    }

    /// Why a request that comes in now is not taken up; `None` if jobs are taken.
    pub(crate) fn off_duty(&self) -> Option<Why> {
        let message = "this provider takes no new jobs at the moment; nothing was charged, ask again later";
        let is_off = self.config.shift != Shift::Open || self.config.host.verdict.pause().is_some();
        is_off.then(|| Why::new("paused", message))
    }

    pub(crate) fn promised(&self) -> usize {
        let waits = |job: &&Job| {
            !matches!(
                job.state,
                State::Lapsing { .. }
                    | State::Billed { .. }
                    | State::RefundOwed { .. }
                    | State::Refunding { .. }
                    | State::Closed { .. }
            )
        };
        self.jobs.values().filter(waits).count()
    }
}
