//! Who is next: paid work before free work, then rank, then arrival, and each of these only for so long.
//!
//! A job's place is when it arrived, put off by what speaks for others: one rank less by [`ProviderConfig::rank_wait`],
//! costing nothing by [`ProviderConfig::free_waits`]. What arrives later than a job's place comes after it whatever it pays, so
//! everything ages at the same pace and the order of what waits never changes.

use openagents_types::{Draft, JobId, Millis, Notice, Timestamp};

use crate::{
    Action, Actions, Job, ProviderConfig,
    job::{Funds, State, Why},
    provider::ProviderDesk,
};

/// A waiting job's place. The smallest place is served first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// When it would have had to arrive, had it the highest rank and been paid for, to be as far ahead.
    due: Timestamp,
    arrived: Timestamp,
    job: JobId,
}

impl Place {
    pub(crate) fn of(funds: &Funds, rank: u8, job: &Job, config: &ProviderConfig) -> Self {
        let below = u64::from(100_u8.saturating_sub(rank));
        let wait = Millis(config.rank_wait.0.saturating_mul(below));
        let due = job.received_at.after(wait);
        let due = if matches!(funds, Funds::Free) { due.after(config.free_waits) } else { due };
        Self { due, arrived: job.received_at, job: job.id() }
    }
}

impl ProviderDesk {
    /// Lets a job wait for a slot. Nobody is left to wonder: if it cannot start at once, or money
    /// arrived, the customer is told.
    pub(crate) fn enqueue(
        &mut self,
        now: Timestamp,
        id: JobId,
        funds: Funds,
        rank: u8,
        attempts: u32,
        out: &mut Actions,
    ) {
        let ahead = self.waiting.len();
        self.move_to(now, id, State::Queued { funds, rank, attempts }, out);
        let waits = self.running >= self.slots() || ahead > 0;
        if waits {
            let pauses =
                if self.config.host.verdict.pause().is_some() { ", and the machine pauses" } else { "" };
            let message = format!("{ahead} jobs are ahead of yours{pauses}");
            out.push(Action::Announce { job: id, draft: Draft::Notice(Notice::Processing { message }) });
        }
    }

    /// Starts waiting jobs while there are slots.
    pub(crate) fn start_waiting(&mut self, now: Timestamp, out: &mut Actions) {
        while self.running < self.slots() {
            let Some(place) = self.waiting.first().copied() else { return };
            if self.is_too_late(now, place.job) {
                let why = Why::new("expired", "the job's own deadline passed while it waited");
                self.fail(now, place.job, why, out);
            } else {
                self.start(now, place.job, out);
            }
        }
    }

    fn start(&mut self, now: Timestamp, id: JobId, out: &mut Actions) {
        let Some(Job { state: State::Queued { funds, rank, attempts }, request, .. }) = self.jobs.get(&id)
        else {
            return;
        };
        let kind = request.kind;
        let state = State::Running {
            funds: *funds,
            rank: *rank,
            attempts: attempts + 1,
            since: now,
            pieces: 0,
            announced: false,
        };
        self.move_to(now, id, state, out);
        out.push(Action::Run { job: id, kind, limit: self.run_limit(id, now) });
    }

    /// How long a run that began at `since` may take: the timeout, or less if the customer's own
    /// deadline comes earlier.
    pub(crate) fn run_limit(&self, id: JobId, since: Timestamp) -> Millis {
        let deadline = self.jobs.get(&id).map_or(Timestamp::NEVER, Job::deadline);
        Millis(self.config.job_timeout.0.min(deadline.since(since).0))
    }
}
