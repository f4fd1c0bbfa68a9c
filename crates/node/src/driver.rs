//! The driver: one thread that owns the engine and the store, and keeps the engine's promises.
//!
//! It takes whatever has arrived as one batch, lets the engine decide, signs what is to be said,
//! commits every record and every event of the batch in one transaction, and only then sends, pays
//! and runs. It never waits for anything but its inbox and the disk; all waiting is done by tasks
//! that report back. It ends when told to ([`Command::Stop`]) or when the disk refuses.

mod batch;
mod ingress;
mod recall;
mod receipts;
mod say;
mod transfers;
mod zaps;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use nostr::Keys;
use openagents_api::Side;
use openagents_engine::{
    Action, Ask, AskOptions, Config, Engine, HeldPayment, Incoming, Input, Record, RunFault, Sent,
    SentPayment, Transfer,
};
use openagents_protocol::{Keyring, Verified};
use openagents_types::{
    EventId, JobId, JobKind, JobSpec, Millis, Msat, ProviderKey, ReceiptRule, Timestamp, refusal,
};
use tokio::sync::{mpsc, oneshot, watch};

use self::{batch::Pending, zaps::Zaps};
pub use self::{
    ingress::{Allowance, Rate},
    receipts::PublishRefused,
    transfers::{Begun, NotBegun},
};
use crate::{
    audit::AuditLog,
    bus::Bus,
    clock,
    fiat::Prices,
    identity::Identity,
    payback::Payback,
    relays::Relays,
    store::{Batch, Store, StoreError},
    till::Till,
    workers::Workers,
    zaps::ZapServer,
};

/// How many inputs one transaction may carry. Enough that 10,000 jobs a second share their syncs,
/// few enough that the first of them does not wait long.
const BATCH: usize = 512;

/// How many unconfirmed events are sent again at once, oldest first.
const RESENT: u32 = 10_000;

/// How many equal jobs one key may ask in one second; each is dated a second later than the one before.
const MOST_OF_A_SECOND: u64 = 16;

/// How many inputs may wait. Relays are slowed down beyond that.
pub const INBOX: usize = 16_384;

/// What the driver can be told.
#[derive(Debug)]
pub enum Command {
    /// A verified event from a relay.
    Wire(Verified),
    /// Something a task of ours reports.
    Input(Box<Input>),
    /// Buy a job.
    Ask {
        /// What and how.
        order: Box<Order>,
        /// The job's name, or why it was not asked.
        reply: oneshot::Sender<Result<JobId, AskRefused>>,
    },
    /// Begin a payment by hand.
    Transfer {
        /// What.
        transfer: Box<Transfer>,
        /// Whether it is begun, once that is written down.
        reply: oneshot::Sender<Begun>,
    },
    /// Make the receipt for a job public.
    PublishReceipt {
        /// The job.
        job: JobId,
        /// Which half's.
        side: Side,
        /// The event's id, or why not.
        reply: oneshot::Sender<Result<EventId, PublishRefused>>,
    },
    /// Write down the checks that wait, although no job comes of them, and say when that is done.
    WriteAudit(oneshot::Sender<()>),
    /// Forget all checks, and say how many there were.
    ClearAudit(oneshot::Sender<u64>),
    /// A relay has an event.
    Sent(EventId),
    /// A relay is there again: send once more what none has confirmed.
    Resend,
    /// Events were missed: subscribe again, a little further back.
    Relisten,
    /// Believe receipts of zaps by this one, and by nobody else.
    Zaps(Option<ZapServer>),
    /// Take no new requests any more.
    Drain,
    /// End.
    Stop,
}

/// A job to buy.
#[derive(Clone, Debug)]
pub struct Order {
    /// What is wanted.
    pub spec: JobSpec,
    /// How it is bought.
    pub options: AskOptions,
    /// The earlier job whose key signs this one as well, so that a balance of that key pays; a key of its own if none.
    pub key_of: Option<JobId>,
    /// Whether the wallet pays where that balance does not cover the price.
    pub or_wallet: bool,
}

/// Why a job was not asked. Nothing was sent and nothing spent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskRefused {
    /// The request cannot be written.
    #[error("{0}")]
    Request(String),
    /// Too little is left of the day's budget to pay anything and its routing.
    #[error("{left} of the {limit} that may be spent in a day are left; the next day begins at 00:00 UTC")]
    DailyLimit {
        /// What is left today.
        left: Msat,
        /// The limit.
        limit: Msat,
    },
    /// The node is stopping.
    #[error("the node is stopping")]
    Stopping,
}

/// What everybody may read of the driver without asking it.
#[derive(Debug, Default)]
pub struct Gauges {
    /// Jobs waiting for a slot.
    pub queued: AtomicUsize,
    /// Jobs being worked on.
    pub running: AtomicUsize,
    /// Whether anything that was promised is still to be done; counted while no jobs are taken.
    pub promised: AtomicBool,
    /// Jobs in memory.
    pub in_hand: AtomicUsize,
    /// Whether new requests are turned away.
    pub draining: AtomicBool,
}

/// The way to the driver.
#[derive(Clone, Debug)]
pub struct DriverHandle {
    inbox: mpsc::Sender<Command>,
    /// What it is doing.
    pub gauges: Arc<Gauges>,
}

impl DriverHandle {
    /// Tells the driver something; waits while its inbox is full. A driver that has ended hears
    /// nothing, which is what a report to a dead process would come to.
    pub async fn tell(&self, command: Command) {
        let _ = self.inbox.send(command).await;
    }

    /// Reports an input.
    pub async fn report(&self, input: Input) {
        self.tell(Command::Input(Box::new(input))).await;
    }

    /// Writes down the checks that wait; gives up if the node is stopping.
    pub async fn write_audit(&self) {
        let (reply, written) = oneshot::channel();
        self.tell(Command::WriteAudit(reply)).await;
        let _ = written.await;
    }

    /// Forgets all checks: how many there were, or `None` if the disk refused or the node is stopping.
    pub async fn clear_audit(&self) -> Option<u64> {
        let (reply, cleared) = oneshot::channel();
        self.tell(Command::ClearAudit(reply)).await;
        cleared.await.ok()
    }

    /// Makes the receipt for a job public; gives the event's id.
    ///
    /// # Errors
    /// There is none, it must not be public, or the node is stopping.
    pub async fn publish_receipt(&self, job: JobId, side: Side) -> Result<EventId, PublishRefused> {
        let (reply, answer) = oneshot::channel();
        self.tell(Command::PublishReceipt { job, side, reply }).await;
        answer.await.unwrap_or(Err(PublishRefused::Stopping))
    }

    /// Begins a payment by hand: once this says so, it is written down and told to the wallet.
    ///
    /// # Errors
    /// Its hash was used before, the rules refuse it, or the node is stopping.
    pub async fn transfer(&self, transfer: Transfer) -> Begun {
        let (reply, answer) = oneshot::channel();
        self.tell(Command::Transfer { transfer: Box::new(transfer), reply }).await;
        answer.await.unwrap_or(Err(NotBegun::Stopping))
    }

    /// Buys a job.
    ///
    /// # Errors
    /// The request cannot be written, or the node is stopping.
    pub async fn ask(&self, order: Order) -> Result<JobId, AskRefused> {
        let (reply, answer) = oneshot::channel();
        self.tell(Command::Ask { order: Box::new(order), reply }).await;
        answer.await.unwrap_or(Err(AskRefused::Stopping))
    }
}

/// Everything the driver needs besides its inbox.
pub struct Parts {
    /// Where records are kept.
    pub store: Store,
    /// The engine's settings.
    pub config: Config,
    /// Who we are.
    pub identity: Arc<Identity>,
    /// The way to the relays.
    pub relays: Relays,
    /// The way to the wallet.
    pub till: Till,
    /// The way to the backends.
    pub workers: Workers,
    /// Whoever watches.
    pub bus: Bus,
    /// Checks to write down.
    pub audit: AuditLog,
    /// How many requests one key may make.
    pub allowance: Allowance,
    /// Whoever asks the addresses that refunds go to.
    pub payback: Payback,
    /// What a bitcoin costs.
    pub prices: Prices,
}

/// A driver that is about to run.
pub struct Restored {
    /// The driver.
    pub driver: Driver,
    /// The way to it.
    pub handle: DriverHandle,
    /// When it wants a tick.
    pub wake: watch::Receiver<Option<Timestamp>>,
    /// What the records still owe.
    pub owed: Vec<Action>,
}

/// The driver itself; see the module.
pub struct Driver {
    engine: Engine,
    store: Store,
    identity: Arc<Identity>,
    keys: Keys,
    keyring: Keyring,
    relays: Relays,
    till: Till,
    workers: Workers,
    bus: Bus,
    audit: AuditLog,
    allowance: Allowance,
    payback: Payback,
    prices: Prices,
    inbox: mpsc::Receiver<Command>,
    gauges: Arc<Gauges>,
    wake: watch::Sender<Option<Timestamp>>,
    /// What we sell.
    kinds: Vec<JobKind>,
    freshness: Millis,
    /// Keys of the jobs we buy, by job.
    ask_keys: HashMap<JobId, Keys>,
    zaps: Zaps,
}

impl Driver {
    /// Restores the engine from the store.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn restore(parts: Parts) -> Result<Restored, StoreError> {
        let (sender, inbox) = mpsc::channel(INBOX);
        let (wake, woken) = watch::channel(None);
        let mut records = parts.store.open_records()?;
        if parts.config.customer.receipts != ReceiptRule::None {
            records.extend(parts.store.unreceipted(clock::now())?);
        }
        let keys = parts.identity.keys().clone();
        let mut ask_keys = HashMap::new();
        let mut keyring = Keyring::new(keys.clone());
        for record in &records {
            if let Record::Ask(ask) = record
                && let Some(key) = parts.identity.ask_key(&ask.key_ref)
            {
                keyring.add(key.clone());
                ask_keys.insert(ask.id, key);
            }
        }
        let kinds = parts.config.provider.iter().flat_map(|p| p.offers.iter().map(|o| o.kind)).collect();
        let freshness = parts.config.provider.as_ref().map_or(Millis::default(), |p| p.freshness);
        let (engine, owed) = Engine::restore(clock::now(), parts.config, records);
        let gauges = Arc::new(Gauges::default());
        let driver = Self {
            engine,
            store: parts.store,
            identity: parts.identity,
            keys,
            keyring,
            relays: parts.relays,
            till: parts.till,
            workers: parts.workers,
            bus: parts.bus,
            audit: parts.audit,
            allowance: parts.allowance,
            payback: parts.payback,
            prices: parts.prices,
            inbox,
            gauges: gauges.clone(),
            wake,
            kinds,
            freshness,
            ask_keys,
            zaps: Zaps::default(),
        };
        let handle = DriverHandle { inbox: sender, gauges };
        Ok(Restored { driver, handle, wake: woken, owed })
    }

    /// Runs until told to stop. `owed` is what [`Self::restore`] found.
    ///
    /// # Errors
    /// The disk refused; nothing was done about what could not be written down.
    pub fn run(mut self, owed: Vec<Action>) -> Result<(), StoreError> {
        self.resume(owed)?;
        let mut commands = Vec::with_capacity(BATCH);
        loop {
            commands.clear();
            if self.inbox.blocking_recv_many(&mut commands, BATCH) == 0 {
                return Ok(());
            }
            let now = clock::now();
            let mut pending = Pending::default();
            let (mut stopping, mut resends) = (false, false);
            for command in commands.drain(..) {
                stopping |= matches!(command, Command::Stop);
                resends |= matches!(command, Command::Resend);
                self.take(now, command, &mut pending);
            }
            self.carry_out(now, pending)?;
            if resends {
                self.resend(now)?;
            }
            if stopping {
                return self.store.finish(self.audit.take());
            }
        }
    }

    /// After a restart: follow every open job again, send what was not confirmed, and do what the
    /// records still owe.
    fn resume(&mut self, owed: Vec<Action>) -> Result<(), StoreError> {
        let now = clock::now();
        self.listen(now);
        self.resend(now)?;
        let mut pending = Pending::default();
        self.sort(now, owed, &mut pending);
        self.carry_out(now, pending)
    }

    /// Hears requests from as far back as they are still fresh, and answers to every open job.
    fn listen(&self, now: Timestamp) {
        if !self.kinds.is_empty() {
            let provider = ProviderKey::from_bytes(self.keys.public_key().to_bytes());
            self.relays.sell(&self.kinds, provider, now.before(self.freshness));
        }
        for id in self.ask_keys.keys() {
            if let Some(ask) = self.engine.ask(*id) {
                self.relays.follow(*id, ask.spec.kind);
            }
        }
        for (job, kind) in self.engine.awaited() {
            self.relays.follow(job, kind);
        }
    }

    /// Sends what no relay has confirmed. What nobody would take any more is let go, so that it does not stand
    /// before what is new each time a relay comes back.
    fn resend(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let unsent = self.store.unsent(RESENT).unwrap_or_else(|error| {
            tracing::error!(%error, "the outbox cannot be read");
            Vec::new()
        });
        let mut stale = Vec::new();
        for (job, json) in unsent {
            let Some(event) = say::reread(&json) else { continue };
            if say::is_stale(&event, now) {
                stale.push(event.id());
            } else {
                self.relays.answer(event, &self.relays_named(job));
            }
        }
        self.store.commit(&Batch { sent: stale, ..Batch::default() })
    }

    /// The relays that the customer of a job we sold reads; none if we bought it.
    fn relays_named(&self, job: JobId) -> Vec<String> {
        if !self.relays.answers_guests() {
            return Vec::new();
        }
        match self.engine.job(job) {
            Some(job) => job.request.relays.clone(),
            None => self.store.sold(job).ok().flatten().map_or(Vec::new(), |job| job.request.relays.clone()),
        }
    }

    fn take(&mut self, now: Timestamp, command: Command, pending: &mut Pending) {
        match command {
            Command::Wire(event) => self.wire(now, &event, pending),
            Command::Input(input) => self.input(now, *input, pending),
            Command::Ask { order, reply } => {
                let outcome = self.ask(now, *order, pending);
                pending.replies.push((reply, outcome));
            }
            Command::Transfer { transfer, reply } => {
                let outcome = self.transfer(now, *transfer, pending);
                pending.begun.push((reply, outcome));
            }
            Command::PublishReceipt { job, side, reply } => {
                let outcome = self.publish_receipt(now, job, side, pending);
                pending.published.push((reply, outcome));
            }
            Command::WriteAudit(reply) => pending.audited.push(reply),
            Command::ClearAudit(reply) => self.clear_audit(reply),
            Command::Sent(event) => pending.batch.sent.push(event),
            // Once a batch, however many relays came back: see `run`.
            Command::Resend => {}
            Command::Relisten => {
                self.listen(now);
                self.listen_for_zaps(now);
            }
            Command::Zaps(server) => self.zaps_by(now, server),
            Command::Drain => self.gauges.draining.store(true, Ordering::Relaxed),
            Command::Stop => {}
        }
    }

    /// Hands one input to the engine. A payment that no job in memory knows is looked up first.
    fn input(&mut self, now: Timestamp, input: Input, pending: &mut Pending) {
        if let Some(hash) = recall::payment(&input)
            && !self.engine.knows(*hash)
        {
            match self.store.record_for(*hash) {
                Ok(stored) => {
                    for record in recall::newest(*hash, stored, &pending.batch.records) {
                        self.engine.handle(now, Input::Recall(Box::new(record)));
                    }
                }
                Err(error) => tracing::error!(%error, %hash, "a payment cannot be matched to its job"),
            }
        }
        let Some(input) = self.unnamed(input) else { return };
        let input = self.strays(now, input, pending);
        let input = self.unused(input, pending);
        let input = self.deliverable(now, input, pending);
        let actions = self.engine.handle(now, input);
        self.sort(now, actions, pending);
    }

    /// Leaves out what our records name, of all that the wallet has sent. If they cannot be read the engine is not
    /// told, and asks again.
    fn unnamed(&self, input: Input) -> Option<Input> {
        let Input::Sent(Sent::Told(sent)) = input else { return Some(input) };
        let mut unnamed = Vec::new();
        for payment in sent {
            match self.store.meant_to_pay(payment.hash) {
                Ok(true) => {}
                Ok(false) => unnamed.push(payment),
                Err(error) => {
                    tracing::error!(%error, "the payments that the wallet has sent cannot be matched");
                    return None;
                }
            }
        }
        for SentPayment { hash, amount, .. } in &unnamed {
            tracing::warn!(%hash, %amount, "the wallet has sent a payment that no record here names");
        }
        Some(Input::Sent(Sent::Told(unnamed)))
    }

    /// Leaves out the held payments that our records name; their jobs are told what the wallet says.
    fn strays(&mut self, now: Timestamp, input: Input, pending: &mut Pending) -> Input {
        let Input::Held(held) = input else { return input };
        let mut strays = Vec::new();
        for payment in held {
            let HeldPayment { hash, amount, job } = payment;
            if self.engine.knows(hash) {
                continue;
            }
            match self.store.record_for(hash) {
                Ok(records) if records.is_empty() => {
                    tracing::warn!(%hash, %amount, %job, "a payment is locked that no record here names");
                    strays.push(payment);
                }
                Ok(_) => self.input(now, Input::Incoming { hash, state: Incoming::Held { amount } }, pending),
                Err(error) => tracing::error!(%error, %hash, "a payment cannot be matched to its job"),
            }
        }
        Input::Held(strays)
    }

    /// A result counts as finished only once its event could be written: one that no relay would
    /// carry fails the job, so that its payment goes back instead of being taken for nothing.
    fn deliverable(&mut self, now: Timestamp, input: Input, pending: &mut Pending) -> Input {
        let Input::Finished { job, content, usage } = input else { return input };
        let Some(draft) = self.engine.job(job).and_then(|job| job.result(content.clone(), &usage)) else {
            return Input::Finished { job, content, usage };
        };
        match self.encode(now, job, &draft, pending) {
            Some(event) => {
                pending.results.insert(job, event);
                Input::Finished { job, content, usage }
            }
            None => {
                let message =
                    String::from("the result cannot be sent: it is empty or larger than relays carry");
                let code = refusal::FAILED.into();
                Input::RunFailed { job, fault: RunFault { code, message, retryable: false } }
            }
        }
    }

    /// Signs and names a job, and asks it.
    fn ask(&mut self, now: Timestamp, order: Order, pending: &mut Pending) -> Result<JobId, AskRefused> {
        if self.gauges.draining.load(Ordering::Relaxed) {
            return Err(AskRefused::Stopping);
        }
        if let Some(budget) = self.engine.budget()
            && !order.spec.bid.is_zero()
            && budget.left(now) <= order.options.max_fee
        {
            return Err(AskRefused::DailyLimit { left: budget.left(now), limit: budget.per_day() });
        }
        let (key_ref, keys) = self.key_for(&order)?;
        let (request, at) = self.new_request(&order, &keys, now, pending)?;
        let id = JobId::from(request.id());
        let customer = say::customer_key(&keys);
        let ask = Ask::new(id, customer, request.shared_json(), order.spec, order.options, at);
        let ask = Ask { key_ref, from_balance: order.key_of.is_some() && !order.or_wallet, ..ask };
        self.keyring.add(keys.clone());
        self.ask_keys.insert(id, keys);
        self.relays.follow(id, ask.spec.kind);
        pending.requests.insert(id, request);
        self.input(now, Input::Ask(Box::new(ask)), pending);
        Ok(id)
    }

    /// An order's request, and the time that it is dated. A key that is used again may say the same in the same second,
    /// which would be the same event, and so the same job: then it is dated a second later.
    fn new_request(
        &self,
        order: &Order,
        keys: &Keys,
        now: Timestamp,
        pending: &Pending,
    ) -> Result<(Verified, Timestamp), AskRefused> {
        let refused = |error: &dyn std::error::Error| AskRefused::Request(error.to_string());
        for later in 0..MOST_OF_A_SECOND {
            let at = now.after(Millis::from_secs(later));
            let request = say::request(&order.spec, keys, at).map_err(|error| refused(&error))?;
            let id = JobId::from(request.id());
            let is_known = order.key_of.is_some()
                && (self.engine.ask(id).is_some()
                    || pending.knows_ask(id)
                    || self.store.bought(id).map_err(|error| refused(&error))?.is_some());
            if !is_known {
                return Ok((request, at));
            }
        }
        Err(AskRefused::Request("this key has asked for just that too often in this moment".into()))
    }

    /// The key that signs an order, and how it is found again.
    fn key_for(&self, order: &Order) -> Result<(String, Keys), AskRefused> {
        let Some(earlier) = order.key_of else { return Ok(self.identity.new_ask_key()) };
        let known = self.store.bought(earlier).map_err(|error| AskRefused::Request(error.to_string()))?;
        let key = known.and_then(|ask| self.identity.ask_key(&ask.key_ref).map(|key| (ask.key_ref, key)));
        key.ok_or_else(|| AskRefused::Request(format!("no job {earlier} was bought here")))
    }

    fn clear_audit(&mut self, reply: oneshot::Sender<u64>) {
        drop(self.audit.take());
        match self.store.clear_audit() {
            Ok(count) => drop(reply.send(count)),
            Err(error) => tracing::error!(%error, "the audit cannot be cleared"),
        }
    }

    fn measure(&self) {
        let (queued, running) = self.engine.queue_depth();
        let (sold, bought) = self.engine.load();
        self.gauges.queued.store(queued, Ordering::Relaxed);
        self.gauges.running.store(running, Ordering::Relaxed);
        // Counted only when it matters: it takes a look at every job.
        let promised = !self.engine.is_open() && self.engine.promised() > 0;
        self.gauges.promised.store(promised, Ordering::Relaxed);
        self.gauges.in_hand.store(sold + bought, Ordering::Relaxed);
        let next = self.engine.next_wake();
        self.wake.send_if_modified(|wake| std::mem::replace(wake, next) != next);
    }
}

/// Sends a tick whenever the driver wants one; ends with the driver.
pub async fn keep_time(mut wake: watch::Receiver<Option<Timestamp>>, driver: DriverHandle) {
    loop {
        let next = *wake.borrow_and_update();
        let sleep = async {
            match next {
                Some(at) => tokio::time::sleep(at.since(clock::now()).duration()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            changed = wake.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            () = sleep => {
                driver.report(Input::Tick).await;
                // The driver answers every tick with a new time; without one, look again soon.
                let _ = tokio::time::timeout(std::time::Duration::from_secs(1), wake.changed()).await;
            }
        }
    }
}
