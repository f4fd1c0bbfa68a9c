//! Which job has to be looked at next: one wake-up time a job, cheap to move.

use std::collections::{BTreeSet, HashMap};

use openagents_types::{JobId, Timestamp};

/// Wake-up times, at most one a job.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    order: BTreeSet<(Timestamp, JobId)>,
    by_job: HashMap<JobId, Timestamp>,
}

impl Schedule {
    /// Sets the wake-up time of a job; [`Timestamp::NEVER`] clears it.
    pub(crate) fn set(&mut self, job: JobId, at: Timestamp) {
        if self.by_job.get(&job) == Some(&at) {
            return;
        }
        self.clear(job);
        if at < Timestamp::NEVER {
            self.by_job.insert(job, at);
            self.order.insert((at, job));
        }
    }

    pub(crate) fn clear(&mut self, job: JobId) {
        if let Some(at) = self.by_job.remove(&job) {
            self.order.remove(&(at, job));
        }
    }

    /// Takes one job whose time has come.
    pub(crate) fn pop_due(&mut self, now: Timestamp) -> Option<JobId> {
        let &(at, job) = self.order.first()?;
        if at > now {
            return None;
        }
        self.clear(job);
        Some(job)
    }

    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.order.first().map(|(at, _)| *at)
    }
}
