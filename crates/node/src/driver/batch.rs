//! One batch on its way: sorted into what is written, what is sent and what is done.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use openagents_engine::{Action, Input, Job, Record};
use openagents_protocol::Verified;
use openagents_types::{Draft, JobId, JobRequest, Timestamp};
use tokio::sync::oneshot;

use super::{AskRefused, Driver, receipts::Published, say, transfers::Begun};
use crate::{
    bus::News,
    store::{Batch, Outgoing, StoreError},
};

/// What whoever asked a job is told.
type Asked = Result<JobId, AskRefused>;

/// What a batch has come to so far.
#[derive(Debug, Default)]
pub(super) struct Pending {
    pub(super) batch: Batch,
    /// Events to send after the commit, with the request each answers, if it does.
    pub(super) send: Vec<(Verified, Option<Arc<JobRequest>>)>,
    /// What to do after the commit.
    act: Vec<Action>,
    /// What to sign and send once all that is done: nobody waits for it.
    announce: Vec<(JobId, Draft)>,
    /// Jobs of this batch, for drafts about those that have left the desk already.
    jobs: HashMap<JobId, Job>,
    /// Requests signed in this batch.
    pub(super) requests: HashMap<JobId, Verified>,
    /// Who is told after the commit that its job is asked.
    pub(super) replies: Vec<(oneshot::Sender<Asked>, Asked)>,
    /// Who is told after the commit that a payment by hand is begun.
    pub(super) begun: Vec<(oneshot::Sender<Begun>, Begun)>,
    /// Who is told after the commit that a receipt is on its way to the public.
    pub(super) published: Vec<(oneshot::Sender<Published>, Published)>,
    /// Who is told after the commit that all checks are written down.
    pub(super) audited: Vec<oneshot::Sender<()>>,
    /// Results signed in this batch, before the engine took them as finished.
    pub(super) results: HashMap<JobId, Verified>,
    pub(super) said: HashSet<(JobId, String)>,
}

impl Pending {
    /// A job that we sell, as this batch leaves it.
    pub(super) fn job(&self, id: JobId) -> Option<&Job> {
        self.jobs.get(&id)
    }
}

impl Driver {
    /// Sorts an input's actions into the batch. Records come first, since drafts speak of them.
    pub(super) fn sort(&mut self, now: Timestamp, actions: Vec<Action>, pending: &mut Pending) {
        let (saves, others): (Vec<_>, Vec<_>) =
            actions.into_iter().partition(|action| matches!(action, Action::Save(_)));
        for action in saves {
            if let Action::Save(record) = action {
                self.note(&record, pending);
                pending.batch.records.push(record);
            }
        }
        for action in others {
            match action {
                Action::Publish { job, draft } => self.publish(now, job, &draft, pending),
                Action::Announce { job, draft } => pending.announce.push((job, draft)),
                Action::PublishRequest(job) => publish_request(job, pending),
                Action::Resolve(job) => self.resolve(now, job, pending),
                action => pending.act.push(action),
            }
        }
    }

    fn note(&self, record: &Record, pending: &mut Pending) {
        match record {
            Record::Job(job) => {
                self.bus.tell(News::Sold { job: job.id(), word: job.state.word(), at: job.changed_at });
                if job.state.is_closed() {
                    self.workers.forget(job.id());
                }
                pending.jobs.insert(job.id(), job.as_ref().clone());
            }
            Record::Ask(ask) => {
                self.bus.tell(News::Bought { job: ask.id, word: ask.word(), at: ask.changed_at });
            }
            Record::Payment(_)
            | Record::Entry(_)
            | Record::Transfer(_)
            | Record::Standing(_)
            | Record::Balance(_)
            | Record::Content { .. }
            | Record::Receipt(_) => {}
        }
    }

    /// Signs an event once. The same thing is never said twice, not even after a crash.
    fn publish(&mut self, now: Timestamp, job: JobId, draft: &Draft, pending: &mut Pending) {
        let slot = say::slot(draft);
        if !pending.said.insert((job, slot.clone())) || self.store.has_said(job, &slot).unwrap_or(false) {
            return;
        }
        let signed = matches!(draft, Draft::Result { .. } | Draft::Bill { .. })
            .then(|| pending.results.remove(&job))
            .flatten();
        if let Some(event) = signed.or_else(|| self.encode(now, job, draft, pending)) {
            pending.batch.outbox.push(Outgoing {
                event: event.id(),
                job,
                slot,
                json: event.json().to_owned(),
            });
            let asked = self.request_of(job, draft, pending).cloned();
            pending.send.push((event, asked));
        }
    }

    /// The request that a draft answers, unless the draft is a customer's.
    fn request_of<'a>(
        &'a self,
        job: JobId,
        draft: &Draft,
        pending: &'a Pending,
    ) -> Option<&'a Arc<JobRequest>> {
        match draft {
            Draft::Cancel { .. }
            | Draft::RefundClaim { .. }
            | Draft::Ecash { .. }
            | Draft::Countersign { .. } => None,
            Draft::Quote { .. }
            | Draft::Notice(_)
            | Draft::Partial { .. }
            | Draft::Result { .. }
            | Draft::Release { .. }
            | Draft::Bill { .. }
            | Draft::Receipt(_) => {
                pending.jobs.get(&job).or_else(|| self.engine.job(job)).map(|job| &job.request)
            }
        }
    }

    pub(super) fn encode(
        &mut self,
        now: Timestamp,
        job: JobId,
        draft: &Draft,
        pending: &Pending,
    ) -> Option<Verified> {
        let encoded = match draft {
            Draft::Cancel { .. }
            | Draft::RefundClaim { .. }
            | Draft::Ecash { .. }
            | Draft::Countersign { .. } => {
                let keys = self.ask_keys.get(&job)?;
                say::by_customer(job, draft, keys, now)
            }
            Draft::Quote { .. }
            | Draft::Notice(_)
            | Draft::Partial { .. }
            | Draft::Result { .. }
            | Draft::Release { .. }
            | Draft::Bill { .. }
            | Draft::Receipt(_) => {
                let job = pending.jobs.get(&job).or_else(|| self.engine.job(job))?;
                say::by_provider(&job.request, draft, &self.keys, &mut self.keyring, now)
            }
        };
        encoded.inspect_err(|error| tracing::error!(%error, %job, "an event cannot be written")).ok()
    }

    /// Commits, then acts.
    pub(super) fn carry_out(&mut self, now: Timestamp, mut pending: Pending) -> Result<(), StoreError> {
        coalesce(&mut pending.batch.records);
        if !pending.batch.can_wait() || !pending.audited.is_empty() {
            pending.batch.audit = self.audit.take();
        }
        pending.batch.price = self.prices.at(now);
        self.store.commit(&pending.batch)?;
        for reply in pending.audited.drain(..) {
            let _ = reply.send(());
        }
        for (reply, outcome) in pending.published.drain(..) {
            // Whoever asked may have gone; the receipt is public all the same.
            let _ = reply.send(outcome);
        }
        for (reply, outcome) in pending.begun.drain(..) {
            // The same: the payment is begun, and asking again says how it stands.
            let _ = reply.send(outcome);
        }
        for (reply, outcome) in pending.replies.drain(..) {
            // The caller may have gone; the job is asked all the same and can be looked up.
            let _ = reply.send(outcome);
        }
        for (event, asked) in pending.send.drain(..) {
            crate::failpoint::hit("relay.publish");
            self.relays.answer(event, asked.as_deref().map_or(&[], |request| &request.relays));
        }
        for action in pending.act.drain(..) {
            self.act(action);
        }
        for (job, draft) in std::mem::take(&mut pending.announce) {
            if let Some(event) = self.encode(now, job, &draft, &pending) {
                let asked = self.request_of(job, &draft, &pending);
                self.relays.answer(event, asked.map_or(&[], |request| &request.relays));
            }
        }
        self.measure();
        Ok(())
    }

    /// Inputs that came with the request need no fetching, so the job goes on in the same batch.
    fn resolve(&mut self, now: Timestamp, id: JobId, pending: &mut Pending) {
        let Some(job) = self.engine.job(id) else { return };
        match self.workers.resolve_at_once(&job.request) {
            Some(outcome) => self.input(now, Input::Resolved { job: id, outcome }, pending),
            None => pending.act.push(Action::Resolve(id)),
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Resolve(job) => {
                if let Some(job) = self.engine.job(job) {
                    self.workers.resolve(&job.request);
                }
            }
            Action::Run { job, limit, .. } => {
                if let Some(job) = self.engine.job(job) {
                    self.workers.run(&job.request, limit);
                }
            }
            Action::Stop(job) => self.workers.stop(job),
            Action::AskAddress { job, to, amount } => self.payback.ask(job, to, amount),
            Action::Show { job, text } => self.bus.tell(News::Piece { job, text }),
            Action::Hear { job, provider, message } => {
                self.bus.tell(News::Word { job, provider, message });
            }
            Action::Unfollow(job) => {
                self.relays.unfollow(job);
                // Another open job may have the same key: see `Order::key_of`.
                if let Some(keys) = self.ask_keys.remove(&job)
                    && !self.ask_keys.values().any(|key| key.public_key() == keys.public_key())
                {
                    self.keyring.remove(&keys.public_key());
                }
            }
            Action::Save(_)
            | Action::Publish { .. }
            | Action::Announce { .. }
            | Action::PublishRequest(_) => {}
            money => self.till.take(money),
        }
    }
}

/// Puts a request that was signed in this batch into the outbox.
fn publish_request(job: JobId, pending: &mut Pending) {
    if let Some(event) = pending.requests.remove(&job) {
        let json = event.json().to_owned();
        pending.batch.outbox.push(Outgoing { event: event.id(), job, slot: "request".into(), json });
        pending.send.push((event, None));
    }
}

/// Of several records of one job in a batch only the last is written; all of them are one
/// transaction anyway.
fn coalesce(records: &mut Vec<Record>) {
    let mut seen = HashSet::new();
    let mut keep: Vec<bool> = records
        .iter()
        .rev()
        .map(|record| match record {
            Record::Job(job) => seen.insert((true, job.id())),
            Record::Ask(ask) => seen.insert((false, ask.id)),
            Record::Payment(_)
            | Record::Entry(_)
            | Record::Transfer(_)
            | Record::Standing(_)
            | Record::Balance(_)
            | Record::Content { .. }
            | Record::Receipt(_) => true,
        })
        .collect();
    records.retain(|_| keep.pop().unwrap_or(true));
}
