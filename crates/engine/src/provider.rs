//! The provider's desk: every job in hand, and which rule an input belongs to.

use std::collections::{BTreeSet, HashMap, HashSet};

use openagents_types::{CustomerKey, Draft, Invoice, JobId, Millis, Notice, PaymentHash, Timestamp};

use crate::{
    Action, Actions, Input, Job, ProviderConfig, Record, Shift,
    balance::Balances,
    job::{Funds, Outcome, State, Why, note_step},
    queue::Place,
    schedule::Schedule,
};

/// All jobs a provider has in hand. Closed ones leave memory; the store keeps them.
#[derive(Debug)]
pub(crate) struct ProviderDesk {
    pub(crate) config: ProviderConfig,
    pub(crate) jobs: HashMap<JobId, Job>,
    pub(crate) by_hash: HashMap<PaymentHash, JobId>,
    pub(crate) waiting: BTreeSet<Place>,
    /// Of those waiting, how many cost nothing.
    pub(crate) waiting_free: usize,
    pub(crate) running: usize,
    pub(crate) offered: usize,
    pub(crate) schedule: Schedule,
    /// Jobs in hand that this process has from its records, which may be older than what the wallet knows.
    pub(crate) restored: HashSet<JobId>,
    /// Since when the machine may not work.
    pub(crate) paused_since: Option<Timestamp>,
    /// When to ask the wallet for payments that it holds and no record names.
    pub(crate) strays: Option<Timestamp>,
    /// Jobs from before the start, until the wallet has said what it paid lately.
    pub(crate) unreconciled: BTreeSet<JobId>,
    /// What is kept for customers' next jobs.
    pub(crate) balances: Balances,
    /// Bills that customers did not pay in time.
    pub(crate) debts: Balances,
    /// Customers whose last offer asked for their debt as well.
    pub(crate) asked_for_arrears: HashSet<CustomerKey>,
}

impl ProviderDesk {
    pub(crate) fn new(config: ProviderConfig) -> Self {
        Self {
            config,
            jobs: HashMap::new(),
            by_hash: HashMap::new(),
            waiting: BTreeSet::new(),
            waiting_free: 0,
            running: 0,
            offered: 0,
            schedule: Schedule::default(),
            restored: HashSet::new(),
            paused_since: None,
            strays: None,
            unreconciled: BTreeSet::new(),
            balances: Balances::default(),
            debts: Balances::default(),
            asked_for_arrears: HashSet::new(),
        }
    }

    pub(crate) fn handle(&mut self, now: Timestamp, input: Input, out: &mut Actions) {
        match input {
            Input::Request(request) => self.request(now, *request, out),
            Input::Resolved { job, outcome } => self.resolved(now, job, outcome, out),
            Input::Cancel(cancel) => self.cancel(now, &cancel, out),
            Input::RefundClaim { job, by, invoice } => self.claim(now, job, by, invoice, out),
            Input::AddressAnswered { job, outcome } => self.address_answered(now, job, outcome, out),
            Input::Progress { job, text } => self.progress(now, job, text, out),
            Input::Finished { job, content, usage } => self.finished(now, job, content, usage, out),
            Input::RunFailed { job, fault } => self.run_failed(now, job, fault, out),
            Input::Held(held) => self.held(now, &held, out),
            Input::Shift(shift) => self.shift(now, shift, out),
            Input::EcashRequested { job, outcome } => self.ecash_requested(job, outcome, out),
            Input::Token(payment) => self.token(now, payment, out),
            Input::Released { hash, release } => {
                if let Some(id) = self.job_for(hash) {
                    self.released(now, id, hash, release, out);
                }
            }
            Input::TokenRefused { hash, reason } => {
                if let Some(id) = self.job_for(hash) {
                    self.token_refused(id, hash, &reason, out);
                }
            }
            Input::Host(host) => self.host(now, host, out),
            Input::Stock(offers) => self.config.restock(offers),
            _ => {}
        }
        self.start_waiting(now, out);
    }

    /// Puts a saved job back on the desk, without acting on it.
    pub(crate) fn recall(&mut self, job: Job) {
        self.put(job);
    }

    /// States what every job on the desk still owes, after a restart.
    pub(crate) fn restate(&mut self, now: Timestamp, out: &mut Actions) {
        let mut ids: Vec<JobId> = self.jobs.keys().copied().collect();
        ids.sort_unstable();
        self.restored.extend(&ids);
        for id in ids {
            self.resume(now, id, out);
        }
        if self.config.shift == Shift::Stopped {
            self.give_up_all(now, out);
        }
        self.expect_strays(now);
        self.start_waiting(now, out);
    }

    fn resume(&mut self, now: Timestamp, id: JobId, out: &mut Actions) {
        let Some(state) = self.jobs.get(&id).map(|job| job.state.clone()) else { return };
        match state {
            State::Running { funds, rank, attempts, .. } => {
                if attempts >= self.config.attempts {
                    let why = Why::new("crashed", "the provider stopped while it worked");
                    return self.fail(now, id, why, out);
                }
                self.move_to(now, id, State::Queued { funds, rank, attempts }, out);
            }
            State::Closed { .. } if self.jobs.get(&id).is_none_or(Job::is_over) => return self.forget(id),
            _ => {}
        }
        self.watch_beside(id, out);
        self.nudge(now, id, out);
    }

    /// Asks once more for whatever a job waits for, and says when to ask again.
    pub(crate) fn nudge(&mut self, now: Timestamp, id: JobId, out: &mut Actions) {
        let Some(job) = self.jobs.get(&id) else { return };
        match &job.state {
            State::Resolving => out.push(Action::Resolve(id)),
            State::Invoicing { price, .. } => {
                let action = self.invoice_action(id, *price);
                let ecash = self.ecash_action(id);
                ecash.into_iter().chain([action]).for_each(|action| out.push(action));
            }
            State::Offered { invoice, .. } => {
                out.push(Action::LookUpIncoming(invoice.payment_hash));
                match (job.awaits_ecash(now), job.ecash_hash()) {
                    (Some((hash, token)), _) => {
                        out.push(Action::AcceptEcash { hash, token: token.clone() });
                    }
                    (None, Some(hash)) => out.push(Action::LookUpIncoming(hash)),
                    (None, None) => {}
                }
            }
            State::Lapsing { hash, .. } | State::Billed { hash, .. } => {
                out.push(Action::LookUpIncoming(*hash));
            }
            State::Queued { funds, .. } | State::Running { funds, .. } => {
                if let Some(hash) = funds.hash() {
                    out.push(Action::LookUpIncoming(hash));
                }
            }
            State::Delivered { hash, amount, .. } => {
                let action = self.settle_action(id, *hash, *amount);
                out.push(action);
            }
            State::Returning { hash, .. } => {
                let action = self.give_up_action(id, *hash);
                out.push(action);
            }
            State::Refunding { claim, .. } => out.push(Action::LookUpOutgoing(claim.payment_hash)),
            State::RefundOwed { .. } => {
                for hash in &job.payback.tried {
                    out.push(Action::LookUpOutgoing(*hash));
                }
                self.ask_address(now, id, out);
                self.credit(now, id, out);
            }
            State::Closed { .. } => {}
        }
        self.reschedule(now, id);
    }

    /// Looks at every job whose time has come.
    pub(crate) fn tick(&mut self, now: Timestamp, out: &mut Actions) {
        while let Some(id) = self.schedule.pop_due(now) {
            self.due(now, id, out);
        }
        self.look_for_strays(now, out);
        self.start_waiting(now, out);
    }

    fn due(&mut self, now: Timestamp, id: JobId, out: &mut Actions) {
        self.watch_beside(id, out);
        let Some(job) = self.jobs.get(&id) else { return };
        let (received_at, changed_at) = (job.received_at, job.changed_at);
        match &job.state {
            State::Resolving if now >= received_at.after(self.config.job_timeout) => {
                self.refuse(now, id, Why::new("timeout", "the inputs could not be read in time"), out);
            }
            State::Resolving => self.announce_wait(now, id, out),
            State::Invoicing { .. } if now >= changed_at.after(self.config.quote_lifetime) => {
                self.refuse(now, id, Why::new("wallet", "the provider's wallet does not answer"), out);
            }
            State::Queued { .. } if self.is_too_late(now, id) => {
                self.fail(now, id, Why::new("expired", "the job's own deadline passed while it waited"), out);
            }
            State::Running { since, announced, .. } => {
                if now >= since.after(self.run_limit(id, *since)) {
                    self.fail(now, id, Why::new("timeout", "the work took too long"), out);
                } else if !announced {
                    self.announce_work(now, id, out);
                } else {
                    self.reschedule(now, id);
                }
            }
            _ => self.nudge(now, id, out),
        }
    }

    /// Whether the customer has no more use for a result.
    pub(crate) fn is_too_late(&self, now: Timestamp, id: JobId) -> bool {
        self.jobs.get(&id).is_some_and(|job| now >= job.deadline())
    }

    /// When a job has to be looked at although nothing was heard.
    fn wake(&self, now: Timestamp, job: &Job) -> Timestamp {
        let again = now.after(self.config.recheck);
        let slow = now.after(self.slowly());
        let next = match &job.state {
            State::Resolving => {
                // A word is due once: when its time has come, only the end is waited for.
                let (word, end) = (self.config.resolving_silence, self.config.job_timeout);
                let word = job.received_at.after(word);
                if now < word { word.min(job.received_at.after(end)) } else { job.received_at.after(end) }
            }
            State::Invoicing { .. } => again.min(job.changed_at.after(self.config.quote_lifetime)),
            State::Offered { .. } if job.awaits_ecash(now).is_some() => again,
            State::Offered { expires_at, .. } => {
                if now < *expires_at {
                    *expires_at
                } else {
                    again
                }
            }
            State::Lapsing { until, .. } | State::Billed { until, .. } => {
                if now < *until {
                    slow.min(*until)
                } else {
                    again
                }
            }
            State::Queued { .. } => job.deadline(),
            State::Running { since, announced: false, .. } => {
                since.after(self.config.silence).max(now.after(Millis(1)))
            }
            State::Running { since, .. } => since.after(self.run_limit(job.id(), *since)),
            State::Delivered { .. } | State::Returning { .. } | State::Refunding { .. } => again,
            State::RefundOwed { .. } => {
                let asks_again = if job.payback.tried.is_empty() { Timestamp::NEVER } else { slow };
                self.asks_address_at(job).min(self.credits_at(job)).min(asks_again)
            }
            State::Closed { .. } => Timestamp::NEVER,
        };
        next.min(self.wake_for_beside(now, job))
    }

    /// How often the wallet is asked about what may come and need not.
    pub(crate) fn slowly(&self) -> Millis {
        Millis(self.config.late_window.0 / 5).max(self.config.recheck)
    }

    pub(crate) fn reschedule(&mut self, now: Timestamp, id: JobId) {
        if let Some(job) = self.jobs.get(&id) {
            let at = self.wake(now, job);
            self.schedule.set(id, at);
        }
    }

    /// Changes a job's state, saves it, and keeps every index of the desk true.
    pub(crate) fn move_to(&mut self, now: Timestamp, id: JobId, state: State, out: &mut Actions) {
        let Some(mut job) = self.jobs.remove(&id) else { return };
        self.unindex(&job);
        let state = self.divert(now, &mut job, state, out);
        note_step(&mut job.steps, now, state.word());
        job.state = state;
        job.changed_at = now;
        out.save(Record::Job(Box::new(job.clone())));
        if job.is_over() {
            self.leave(id);
        } else {
            self.put(job);
            self.reschedule(now, id);
        }
    }

    /// Changes what is noted about a job whose state stays, and saves it.
    pub(crate) fn amend(&mut self, id: JobId, change: impl FnOnce(&mut Job), out: &mut Actions) {
        let Some(mut job) = self.jobs.remove(&id) else { return };
        self.unindex(&job);
        change(&mut job);
        out.save(Record::Job(Box::new(job.clone())));
        self.put(job);
    }

    /// Puts a job on the desk and saves it for the first time.
    pub(crate) fn open(&mut self, now: Timestamp, mut job: Job, out: &mut Actions) {
        let id = job.id();
        note_step(&mut job.steps, now, job.state.word());
        out.save(Record::Job(Box::new(job.clone())));
        if !job.state.is_closed() {
            self.put(job);
            self.reschedule(now, id);
        }
    }

    fn put(&mut self, job: Job) {
        let id = job.id();
        for hash in job.hashes() {
            self.by_hash.insert(hash, id);
        }
        match &job.state {
            State::Queued { funds, rank, .. } => {
                self.waiting_free += usize::from(matches!(funds, Funds::Free));
                self.waiting.insert(Place::of(funds, *rank, &job, &self.config));
            }
            State::Running { .. } => self.running += 1,
            State::Offered { .. } => self.offered += 1,
            _ => {}
        }
        if let Some(previous) = self.jobs.insert(id, job) {
            self.unindex_counts(&previous);
        }
    }

    fn unindex(&mut self, job: &Job) {
        for hash in job.hashes() {
            self.by_hash.remove(&hash);
        }
        self.unindex_counts(job);
    }

    fn unindex_counts(&mut self, job: &Job) {
        match &job.state {
            State::Queued { funds, rank, .. } => {
                self.waiting_free -= usize::from(matches!(funds, Funds::Free));
                self.waiting.remove(&Place::of(funds, *rank, job, &self.config));
            }
            State::Running { .. } => self.running -= 1,
            State::Offered { .. } => self.offered -= 1,
            _ => {}
        }
    }

    /// Lets a recalled job go again, if it is still closed.
    pub(crate) fn dismiss(&mut self, id: JobId) {
        if self.jobs.get(&id).is_some_and(Job::is_over) {
            self.forget(id);
        }
    }

    pub(crate) fn forget(&mut self, id: JobId) {
        if let Some(job) = self.jobs.remove(&id) {
            self.unindex(&job);
            self.leave(id);
        }
    }

    /// Nothing is due any more about a job that has left memory.
    fn leave(&mut self, id: JobId) {
        self.schedule.clear(id);
        self.restored.remove(&id);
    }

    /// Ends a job that no money came in for, and tells the customer why.
    pub(crate) fn refuse(&mut self, now: Timestamp, id: JobId, why: Why, out: &mut Actions) {
        out.publish(id, Draft::Notice(refusal(&why)));
        let hash = self.jobs.get(&id).and_then(|job| job.state.hash());
        self.move_to(now, id, State::Closed { outcome: Outcome::Refused(why), hash }, out);
    }

    pub(crate) fn knows(&self, hash: PaymentHash) -> bool {
        self.by_hash.contains_key(&hash)
    }

    /// Whether a refund is being paid to this invoice.
    pub(crate) fn refunds_to(&self, hash: PaymentHash) -> bool {
        let job = self.job_for(hash).and_then(|id| self.jobs.get(&id));
        job.is_some_and(|job| job.state.claim_hash() == Some(hash))
    }

    pub(crate) fn next_wake(&self) -> Option<Timestamp> {
        self.schedule.next().into_iter().chain(self.strays).min()
    }

    pub(crate) fn len(&self) -> usize {
        self.jobs.len()
    }

    pub(crate) fn queue_depth(&self) -> (usize, usize) {
        (self.waiting.len(), self.running)
    }

    pub(crate) fn job_for(&self, hash: PaymentHash) -> Option<JobId> {
        self.by_hash.get(&hash).copied()
    }

    /// The invoice of a job that is offered.
    pub(crate) fn offered_invoice(&self, id: JobId) -> Option<&Invoice> {
        match &self.jobs.get(&id)?.state {
            State::Offered { invoice, .. } => Some(invoice),
            _ => None,
        }
    }
}

/// The word to a customer that a job will not be done, with no least price to name.
pub(crate) fn refusal(why: &Why) -> Notice {
    Notice::Refused { code: why.code.clone(), message: why.message.clone(), minimum: None }
}
