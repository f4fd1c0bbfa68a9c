//! From a zap receipt to an input: checked as NIP-57 says, matched to the job that was zapped, and to what we know of its
//! payment. What does not pass is told in the log and moves nothing.

use std::collections::VecDeque;

use openagents_engine::{Input, Record, Zapped};
use openagents_protocol::{
    Verified,
    zap::{self, Expected, ZapError},
};
use openagents_types::{EventId, JobId, Millis, Msat, PaymentHash, ProviderKey, Timestamp};

use super::{Driver, batch::Pending, say};
use crate::zaps::ZapServer;

/// How many receipts are kept whose request has not been heard of: relays tell things in any order.
const EARLY: usize = 64;

/// How far back receipts are heard: a node that was down for a day has no offer left that was zapped before.
const REACH: Millis = Millis::from_secs(86_400);

/// What a driver knows of zaps.
#[derive(Debug, Default)]
pub(super) struct Zaps {
    /// Whose receipts are believed.
    pub(super) server: Option<ZapServer>,
    /// Receipts of requests that were not heard of yet, oldest first.
    early: VecDeque<Zapped>,
}

impl Driver {
    /// Takes the word of the address on who signs receipts, and hears them from then on.
    pub(super) fn zaps_by(&mut self, now: Timestamp, server: Option<ZapServer>) {
        self.zaps.server = server;
        self.listen_for_zaps(now);
    }

    pub(super) fn listen_for_zaps(&self, now: Timestamp) {
        match &self.zaps.server {
            Some(server) => self.relays.hear_zaps(self.provider_key(), &server.key, now.before(REACH)),
            None => self.relays.hear_no_zaps(),
        }
    }

    fn provider_key(&self) -> ProviderKey {
        ProviderKey::from_bytes(self.keys.public_key().to_bytes())
    }

    /// A receipt.
    pub(super) fn zap(&mut self, now: Timestamp, event: &Verified, pending: &mut Pending) {
        let receipt = match self.checked(event) {
            Some(Ok(receipt)) => receipt,
            Some(Err(error @ ZapError::Author(_))) => {
                return tracing::debug!(%error, event = %event.id(), "a zap receipt is not believed");
            }
            Some(Err(error)) => {
                return tracing::warn!(%error, event = %event.id(), "a zap receipt is not believed");
            }
            None => return,
        };
        let Some(about) = receipt.about else {
            return tracing::debug!(event = %event.id(), "a zap of no job");
        };
        let at = Timestamp::from_secs(event.event().created_at.as_secs());
        let zap::Receipt { payment_hash: hash, amount, bolt11, sender: by, .. } = receipt;
        let zapped = |job| Zapped { job, hash, amount, bolt11, by, at };
        match self.zapped_job(about, pending) {
            Some(job) => self.zapped(now, zapped(job), pending),
            // It may be a request that is still to be heard of.
            None => self.zaps.keep(zapped(JobId::from(about))),
        }
    }

    /// What a receipt says, if it is believed; `None` while none is.
    fn checked(&self, event: &Verified) -> Option<Result<zap::Receipt, ZapError>> {
        let server = self.zaps.server.as_ref()?;
        let expected = Expected {
            server: server.key,
            recipient: self.provider_key(),
            about: zap::about(event),
            lnurl: Some(server.lnurl.as_str()).filter(|lnurl| !lnurl.is_empty()),
        };
        Some(zap::check(event, &expected))
    }

    /// The job that an event is the request of, or our offer for.
    fn zapped_job(&self, about: EventId, pending: &Pending) -> Option<JobId> {
        let id = JobId::from(about);
        if self.engine.job(id).is_some() || pending.job(id).is_some() {
            return Some(id);
        }
        let offered = self.store.about(about, say::QUOTE);
        let known = self.store.sold(id).map(|job| job.map(|_| id));
        known.and_then(|known| Ok(known.or(offered?))).unwrap_or_else(|error| {
            tracing::error!(%error, %about, "a zap cannot be matched to its job");
            None
        })
    }

    /// A receipt that is believed, of a job that we know. A payment that the books know already is no news.
    fn zapped(&mut self, now: Timestamp, zapped: Zapped, pending: &mut Pending) {
        let (job, hash, amount) = (zapped.job, zapped.hash, zapped.amount);
        if pending.names(hash) || self.store.knows_payment(hash).unwrap_or(true) {
            return tracing::debug!(%job, %hash, "a zap that the books know");
        }
        log(job, hash, amount);
        self.recall_sold(now, job, pending);
        self.input(now, Input::Zapped(zapped), pending);
    }

    /// A request was heard of: what was said of it before is looked at now.
    pub(super) fn zapped_before(&mut self, now: Timestamp, job: JobId, pending: &mut Pending) {
        for zapped in self.zaps.take(job) {
            self.zapped(now, zapped, pending);
        }
    }

    fn recall_sold(&mut self, now: Timestamp, id: JobId, pending: &Pending) {
        if self.engine.job(id).is_none()
            && let Some(job) = self.sold(id, pending)
        {
            self.engine.handle(now, Input::Recall(Box::new(Record::Job(Box::new(job)))));
        }
    }
}

fn log(job: JobId, hash: PaymentHash, amount: Msat) {
    tracing::info!(%job, %hash, %amount, "a job was zapped, it is said; the wallet is asked");
}

impl Zaps {
    fn keep(&mut self, zapped: Zapped) {
        if self.early.iter().any(|kept| kept.hash == zapped.hash) {
            return;
        }
        if self.early.len() >= EARLY {
            self.early.pop_front();
        }
        self.early.push_back(zapped);
    }

    fn take(&mut self, job: JobId) -> VecDeque<Zapped> {
        let (taken, left) = std::mem::take(&mut self.early).into_iter().partition(|zapped| zapped.job == job);
        self.early = left;
        taken
    }
}
