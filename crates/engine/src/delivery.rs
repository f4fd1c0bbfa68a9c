//! What happens to the work: pieces, results, failures, second attempts.

use openagents_registry::Fault;
use openagents_types::{ContentHash, Draft, JobId, MadeBy, Msat, Notice, PaymentHash, Timestamp, Usage};

use crate::{
    Action, Actions, Job, RunFault,
    credit::Bill,
    job::{Funds, State, Why},
    provider::ProviderDesk,
    receipt::Work,
};

impl Job {
    /// The result of a job that is being worked on, as it will be said.
    pub fn result(&self, content: String, usage: &Usage) -> Option<Draft> {
        let (made_by, unused) = (Some(MadeBy::from(usage)), self.unused(usage));
        match (&self.state, &self.bill) {
            (State::Running { funds: Funds::Credit { .. }, .. }, Some(Bill::Made(invoice))) => {
                Some(Draft::Bill { content, invoice: (**invoice).clone(), unused, made_by })
            }
            (State::Running { funds: Funds::Credit { .. }, .. }, _) => None,
            (State::Running { funds, .. }, _) => {
                Some(Draft::Result { content, price: funds.named(), unused, made_by })
            }
            _ => None,
        }
    }
}

impl ProviderDesk {
    pub(crate) fn progress(&mut self, now: Timestamp, id: JobId, text: String, out: &mut Actions) {
        let Some(Job { state: State::Running { pieces, announced, .. }, .. }) = self.jobs.get_mut(&id) else {
            return;
        };
        out.push(Action::Announce { job: id, draft: Draft::Partial { index: *pieces, text } });
        *pieces += 1;
        *announced = true;
        self.reschedule(now, id);
    }

    /// Breaks the silence of a job that takes a while.
    pub(crate) fn announce_work(&mut self, now: Timestamp, id: JobId, out: &mut Actions) {
        if let Some(Job { state: State::Running { announced, .. }, .. }) = self.jobs.get_mut(&id) {
            *announced = true;
            let message = String::from("the work has begun");
            out.push(Action::Announce { job: id, draft: Draft::Notice(Notice::Processing { message }) });
        }
        self.reschedule(now, id);
    }

    /// The work is done: the result is published in the transaction that says so, then the locked
    /// payment is taken.
    pub(crate) fn finished(
        &mut self,
        now: Timestamp,
        id: JobId,
        content: String,
        usage: Usage,
        out: &mut Actions,
    ) {
        let Some(Job { state: State::Running { funds, .. }, .. }) = self.jobs.get(&id) else { return };
        let funds = *funds;
        if let Some(fault) = self.unpromised(id, &content) {
            return self.fail(now, id, Why::new("invalid-result", fault.to_string()), out);
        }
        if self.jobs.get(&id).is_some_and(|job| !matches!(funds, Funds::Free) && now >= job.deadline()) {
            // This machine may have slept since the work began.
            return self.fail(now, id, Why::new("late", "the work was done too late to be paid for"), out);
        }
        let result_sha256 = ContentHash::of(content.as_bytes());
        let Some(draft) = self.jobs.get(&id).and_then(|job| job.result(content, &usage)) else { return };
        out.publish(id, draft);
        out.push(Action::Announce { job: id, draft: Draft::Notice(Notice::Success) });
        let work = Work { usage, result_sha256, delivered_at: now };
        match funds {
            Funds::Held { hash, amount } => {
                let work = Some(Box::new(work));
                self.move_to(now, id, State::Delivered { hash, amount, work }, out);
                out.push(self.settle_action(id, hash, amount));
            }
            Funds::Free | Funds::Paid { .. } | Funds::Balance { .. } => {
                self.settle(now, id, funds.amount(), Some(Box::new(work)), out);
            }
            Funds::Credit { .. } => self.billed(now, id, work, out),
        }
    }

    /// What about a result is not as its kind promises, so that it must not be charged for.
    fn unpromised(&self, id: JobId, content: &str) -> Option<Fault> {
        let request = &self.jobs.get(&id)?.request;
        let schema = openagents_registry::find(request.kind).ok()?;
        let params = schema.read_request(request).ok()?;
        schema.check_result(content, &params).err()
    }

    pub(crate) fn run_failed(&mut self, now: Timestamp, id: JobId, fault: RunFault, out: &mut Actions) {
        let Some(Job { state: State::Running { funds, rank, attempts, .. }, .. }) = self.jobs.get(&id) else {
            return;
        };
        let (funds, rank, attempts) = (*funds, *rank, *attempts);
        if fault.retryable && attempts < self.config.attempts && !self.is_too_late(now, id) {
            self.enqueue(now, id, funds, rank, attempts, out);
        } else {
            self.fail(now, id, Why { code: fault.code, message: fault.message }, out);
        }
    }

    /// Ends work that will not be delivered, and sends the money on its way back.
    pub(crate) fn fail(&mut self, now: Timestamp, id: JobId, why: Why, out: &mut Actions) {
        let Some(Job { state: State::Queued { funds, .. } | State::Running { funds, .. }, .. }) =
            self.jobs.get(&id)
        else {
            return;
        };
        let funds = *funds;
        self.stop_work(id, out);
        self.give_back(now, id, funds, why, out);
    }

    /// Takes a locked payment with the preimage that only we know.
    pub(crate) fn settle_action(&self, id: JobId, hash: PaymentHash, amount: Msat) -> Action {
        let ecash = self.config.seed.ecash_preimage(id);
        let preimage = if ecash.hash() == hash { ecash } else { self.config.seed.preimage(id) };
        Action::SettleHold { preimage, amount }
    }

    pub(crate) fn stop_work(&self, id: JobId, out: &mut Actions) {
        if let Some(Job { state: State::Running { .. }, .. }) = self.jobs.get(&id) {
            out.push(Action::Stop(id));
        }
    }
}
