//! Nodes, relay, bank and clock, and the laws that hold after every step.

mod cast;
mod kept;
mod late;
mod laws;
mod notice;
mod rails;
mod zaps;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashMap},
};

use openagents_engine::{
    Action, Ask, AskOptions, Direction, Input, InputSize, InvoiceFor, Outgoing, RunFault, Sent, Shift,
    Transfer, Zapped, credit::Credit, customer::Phase, receipt::Received,
};
use openagents_types::{
    Cancel, ContentHash, CustomerKey, Draft, EcashPayment, EcashRelease, EcashToken, Encryption, EventId,
    Feedback, JobId, JobInput, JobKind, JobRequest, JobResult, JobSpec, Millis, Msat, Notice, PaymentHash,
    ProviderKey, Quote, Receipt, ReleasedEcash, Timestamp, Usage,
};

use cast::{day_limit, new_node, provider_key, steady_key};

use crate::{
    bank::{Bank, Stage, Wanted},
    node::Node,
    report::Report,
    rng::Rng,
    weather::Weather,
};

const START: u64 = 1_700_000_000_000;
/// After this nothing goes wrong any more, and everything has to come to an end.
const CALM_FROM: u64 = START + 120_000;
/// When every job must have ended and no money be under way.
const END: u64 = CALM_FROM + 4_000_000;
/// When every bill of the storm is paid or counts as a debt.
const DEBTS_FROM: u64 = CALM_FROM + 1_300_000;
const FUNDS: u64 = 1_000_000;
/// How much unpaid work a customer may have where there is credit.
const CREDIT: Msat = Msat::new(30_000);

/// Something said on the relay.
#[derive(Clone, Debug)]
enum Word {
    Request(JobRequest),
    Cancel(Cancel),
    Claim { job: JobId, by: CustomerKey, to: ProviderKey, hash: PaymentHash },
    Ecash { to: ProviderKey, payment: EcashPayment },
    Release(ReleasedEcash),
    Quote(Quote),
    Feedback(Feedback),
    Result(JobResult),
    Receipt(Box<Received>),
    Zap { to: ProviderKey, zapped: Zapped },
}

#[derive(Debug)]
enum Event {
    /// A node hears something.
    Hear {
        node: usize,
        life: Option<u32>,
        input: Box<Input>,
    },
    /// A word reaches a node from the relay, whichever life it is in.
    Deliver {
        node: usize,
        word: usize,
    },
    /// A node's relay connection comes back and everything stored is sent again.
    Refetch {
        node: usize,
    },
    /// A node's owner says something by hand.
    Say {
        node: usize,
        word: Box<Word>,
    },
    Wake {
        node: usize,
    },
    Start {
        node: usize,
    },
    /// A wallet reads late what it was told.
    Order {
        node: usize,
        life: u32,
        action: Box<Action>,
    },
    /// A wallet's answer comes.
    Answer {
        node: usize,
        life: u32,
        question: String,
        input: Box<Input>,
    },
    /// An operator speaks.
    Shift {
        node: usize,
        shift: Shift,
    },
    Bank,
}

pub(crate) struct World {
    rng: Rng,
    weather: Weather,
    now: u64,
    sequence: u64,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    events: HashMap<u64, Event>,
    nodes: Vec<Node>,
    providers: usize,
    bank: Bank,
    words: Vec<(usize, Word)>,
    owners: HashMap<JobId, usize>,
    requests: BTreeMap<JobId, JobRequest>,
    finished: HashMap<(usize, JobId), u32>,
    sent: HashMap<PaymentHash, u32>,
    flipped: HashMap<PaymentHash, bool>,
    wakes: Vec<Option<u64>>,
    /// Receipts that were said as they are, by job and provider. A provider whose records are older than a receipt
    /// says another.
    receipts: HashMap<(JobId, ProviderKey), Vec<(EventId, Receipt)>>,
    /// Orders on their way, where wallets read some of them late.
    late: Option<late::Late>,
    /// What was zapped, at which provider and for which job; also what was made up.
    zaps: HashMap<PaymentHash, (usize, JobId)>,
    report: Report,
}

impl World {
    pub(crate) fn new(seed: u64, weather: Weather) -> Self {
        let mut rng = Rng(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ 0x5eed);
        let providers = rng.between(2, 4) as usize;
        let customers = rng.between(1, 2) as usize;
        let limited = matches!(weather, Weather::Storm | Weather::ByHand | Weather::Rails);
        let limit = if limited { day_limit(seed) } else { None };
        let nodes: Vec<Node> =
            (0..providers + customers).map(|i| new_node(&mut rng, i, providers, limit)).collect();
        let mut nodes = if weather.has_ecash() { rails::with_ecash(nodes, seed) } else { nodes };
        if weather.keeps_balances() {
            for provider in nodes.iter_mut().filter_map(|node| node.config.provider.as_mut()) {
                provider.escrow = false;
                provider.credit_after = Some(Millis(1_000));
            }
        }
        if weather.has_zaps() {
            zaps::with_zaps(&mut nodes, seed, weather);
        }
        if weather.has_bills() {
            for provider in nodes.iter_mut().filter_map(|node| node.config.provider.as_mut()) {
                provider.credit =
                    Credit { each: CREDIT, lifetime: Millis::from_secs(60), ..Credit::default() };
            }
        }
        let mut world = Self {
            weather,
            now: START,
            sequence: 0,
            queue: BinaryHeap::new(),
            events: HashMap::new(),
            providers,
            // One account more: where refunds go that are paid to an address.
            bank: Bank::new(nodes.len() + 1, FUNDS),
            words: Vec::new(),
            owners: HashMap::new(),
            requests: BTreeMap::new(),
            finished: HashMap::new(),
            sent: HashMap::new(),
            flipped: HashMap::new(),
            wakes: vec![None; nodes.len()],
            receipts: HashMap::new(),
            late: None,
            zaps: HashMap::new(),
            nodes,
            rng,
            report: Report::default(),
        };
        for node in 0..world.nodes.len() {
            world.at(0, Event::Start { node });
            if weather.keeps_balances() {
                world.at(CALM_FROM - START + 1, Event::Refetch { node });
            }
        }
        for node in providers..world.nodes.len() {
            let most = if weather.is_faithful() { 12 } else { 4 };
            for _ in 0..world.rng.between(1, most) {
                let delay = world.rng.between(10, 60_000);
                world.plan_job(node, delay);
            }
        }
        if weather.has_bills() {
            // Once the bills of the storm are over: what is owed from then is asked for with these.
            for node in providers..world.nodes.len() {
                for nth in 0..6 {
                    world.plan_job(node, DEBTS_FROM - START + nth * 400_000);
                }
            }
        }
        if weather == Weather::Shifts {
            world.plan_shifts();
        }
        if weather == Weather::ByHand {
            for payer in 0..world.nodes.len() {
                for _ in 0..world.rng.between(1, 3) {
                    world.plan_transfer(payer);
                }
            }
        }
        world
    }

    /// Providers are paused or stopped for a while, and open when the storm is over.
    fn plan_shifts(&mut self) {
        for node in 0..self.providers {
            for _ in 0..self.rng.between(1, 3) {
                let from = self.rng.between(10, 60_000);
                let shift = if self.rng.chance(60) { Shift::Stopped } else { Shift::Paused };
                self.at(from, Event::Shift { node, shift });
                let until = from + self.rng.between(1_000, 30_000);
                self.at(until, Event::Shift { node, shift: Shift::Open });
            }
        }
    }

    pub(crate) fn run(mut self) -> Report {
        while let Some(Reverse((at, sequence))) = self.queue.pop() {
            if at > END {
                break;
            }
            self.now = self.now.max(at);
            let event = self.events.remove(&sequence).unwrap();
            self.step(event);
            self.bank.assert_conserved();
        }
        self.assert_all_is_well();
        self.report
    }

    fn stormy(&self) -> bool {
        !self.weather.is_fair() && self.now < CALM_FROM
    }

    fn trouble(&mut self, percent: u64) -> bool {
        self.stormy() && self.rng.chance(percent)
    }

    fn time(&self) -> Timestamp {
        Timestamp::from_millis(self.now)
    }

    fn at(&mut self, delay: u64, event: Event) {
        self.sequence += 1;
        self.events.insert(self.sequence, event);
        self.queue.push(Reverse((self.now + delay, self.sequence)));
    }

    fn step(&mut self, event: Event) {
        match event {
            Event::Hear { node, life, input } => {
                if life.is_none_or(|life| life == self.nodes[node].life) {
                    self.hear(node, *input);
                }
            }
            Event::Deliver { node, word } => self.deliver(node, word),
            Event::Say { node, word } => self.say(node, *word),
            Event::Order { node, life, action } => self.read_order(node, life, *action),
            Event::Answer { node, life, question, input } => self.answered(node, life, question, *input),
            Event::Shift { node, shift } => {
                // Written down before it is said, so that it also holds after a crash.
                if let Some(provider) = &mut self.nodes[node].config.provider {
                    provider.shift = shift;
                }
                self.report.stops += u64::from(shift == Shift::Stopped);
                self.hear(node, Input::Shift(shift));
            }
            Event::Refetch { node } => self.refetch(node),
            // A busy machine hears what came in meanwhile before it looks at the clock.
            Event::Wake { node } if self.trouble(10) => {
                let late = self.rng.between(1, 3_000);
                self.wakes[node] = Some(self.now + late);
                self.at(late, Event::Wake { node });
            }
            Event::Wake { node } => {
                self.wakes[node] = None;
                self.hear(node, Input::Tick);
            }
            Event::Start { node } => {
                let time = self.time();
                let actions = self.nodes[node].start(time);
                self.perform(node, actions);
                self.refetch(node);
            }
            Event::Bank => {}
        }
        for hash in self.bank.advance(self.time()) {
            self.notify(hash);
        }
        if let Some(at) = self.bank.next_change() {
            self.at(at.saturating_sub(self.now), Event::Bank);
        }
    }

    fn hear(&mut self, node: usize, input: Input) {
        if let Input::Transfer(transfer) = &input
            && !self.may_begin(node, transfer)
        {
            return;
        }
        if let Input::Sent(Sent::Told(sent)) = &input {
            self.report.recognised += self.nodes[node].disk.offered(sent);
        }
        let asks_for_strays = matches!(input, Input::Held(_));
        let time = self.time();
        let actions = self.nodes[node].handle(time, input);
        if asks_for_strays {
            self.report.strays +=
                actions.iter().filter(|a| matches!(a, Action::CancelHold(_))).count() as u64;
        }
        self.perform(node, actions);
    }

    /// What the driver looks up: a hash is used once. And nobody has seen an invoice before it was written down.
    fn may_begin(&self, node: usize, transfer: &Transfer) -> bool {
        let hash = transfer.hash();
        let seen = transfer.direction == Direction::In
            || matches!(self.bank.bills[&hash].purpose, InvoiceFor::Quote(job) if self.owners.contains_key(&job))
            || self.nodes[self.bank.bills[&hash].payee].disk.transfers.contains_key(&hash);
        seen && !self.nodes[node].disk.payments.contains_key(&hash)
    }

    /// Commits, then acts; the process may die before the commit and between any two actions.
    fn perform(&mut self, node: usize, actions: Vec<Action>) {
        if self.nodes[node].engine.is_none() {
            return;
        }
        if !actions.is_empty() && self.trouble(1) {
            return self.die(node);
        }
        let todo = self.nodes[node].commit(actions);
        if self.weather.restores() && self.trouble(8) {
            self.nodes[node].back_up();
        }
        for (job, draft) in todo.publish {
            self.publish(node, job, &draft);
        }
        for action in todo.act {
            if self.trouble(2) {
                return self.die(node);
            }
            self.act(node, action);
        }
        self.arm(node);
    }

    fn arm(&mut self, node: usize) {
        let Some(at) = self.nodes[node].engine.as_ref().and_then(openagents_engine::Engine::next_wake) else {
            return;
        };
        self.assert_offers_are_looked_at(node, at);
        self.assert_balances_agree(node);
        self.assert_credit_is_limited(node);
        let at = at.millis().max(self.now + 1);
        if self.wakes[node].is_none_or(|armed| at < armed) {
            self.wakes[node] = Some(at);
            self.at(at - self.now, Event::Wake { node });
        }
    }

    /// Whoever has an offer in hand chooses at the end of the window, whatever else is heard by then.
    fn assert_offers_are_looked_at(&self, node: usize, wake: Timestamp) {
        for ask in self.nodes[node].disk.asks.values() {
            if let Phase::Collecting { until } = ask.phase
                && !ask.quotes.is_empty()
            {
                let due = until.max(self.time().after(Millis(1)));
                assert!(wake <= due, "customer {node} sleeps until {wake:?} on the offers of {ask:#?}");
            }
        }
    }

    fn die(&mut self, node: usize) {
        self.report.deaths += 1;
        self.nodes[node].engine = None;
        self.nodes[node].life += 1;
        let copies = self.nodes[node].backups();
        let restores = copies > 0 && self.rng.chance(60);
        if restores {
            self.report.restores += 1;
            let which = self.rng.between(0, copies as u64 - 1) as usize;
            self.nodes[node].restore_backup(which);
        }
        // Whoever puts a backup back waits until no order of a lost history can be carried out any more.
        let wait = if restores && self.late.is_some() { late::PAYMENT } else { 0 };
        let delay = wait + self.rng.between(10, 20_000);
        self.at(delay, Event::Start { node });
    }

    fn answer(&mut self, node: usize, delay: u64, input: Input) {
        let life = Some(self.nodes[node].life);
        self.at(delay, Event::Hear { node, life, input: Box::new(input) });
    }

    fn act(&mut self, node: usize, action: Action) {
        let shift = self.nodes[node].config.provider.as_ref().map_or(Shift::Open, |provider| provider.shift);
        let runs = matches!(action, Action::Run { .. });
        assert!(!(runs && shift == Shift::Stopped), "provider {node} works although it was stopped");
        let delay = self.rng.between(1, 400);
        match action {
            Action::Announce { job, draft } => self.publish(node, job, &draft),
            Action::PublishRequest(job) => {
                let request = self.requests[&job].clone();
                self.zap_unseen(job);
                self.say(node, Word::Request(request));
            }
            Action::Resolve(job) => {
                let outcome = Ok(InputSize { bytes: 100 });
                self.answer(node, delay, Input::Resolved { job, outcome });
            }
            Action::Run { job, .. } => self.work(node, job),
            Action::AskAddress { job, amount, .. } => self.ask_address(node, delay, job, amount),
            Action::Stop(_) | Action::Show { .. } | Action::Hear { .. } | Action::Unfollow(_) => {}
            wallet => self.wallet(node, delay, wallet),
        }
    }

    fn work(&mut self, node: usize, job: JobId) {
        let delay = self.rng.between(20, 3_000);
        if self.trouble(10) {
            let retryable = self.rng.chance(50);
            let fault = RunFault { code: "failed".into(), message: "the model stumbled".into(), retryable };
            self.answer(node, delay, Input::RunFailed { job, fault });
        } else if !self.trouble(5) {
            let content = format!("done by {node}");
            // Some write all that they may, some nothing.
            let output_tokens = u64::from(job.as_bytes()[0]) * 3;
            let usage = Usage { output_tokens, ..Usage::default() };
            self.answer(node, delay, Input::Finished { job, content, usage });
        }
    }

    /// A call to a wallet: it may be lost on the way there or on the way back.
    fn wallet(&mut self, node: usize, delay: u64, action: Action) {
        if self.trouble(10) {
            self.report.timeouts += 1;
            return;
        }
        if self.is_late(node, &action) {
            return;
        }
        let heard = !self.trouble(10);
        if !heard {
            self.report.timeouts += 1;
        }
        let question = late::question(&action);
        let answer = self.wallet_does(node, action);
        if let (Some(input), true) = (answer, heard) {
            self.answer_late(node, delay, question, input);
        }
    }

    fn wallet_does(&mut self, node: usize, action: Action) -> Option<Input> {
        let time = self.time();
        match action {
            Action::Invoice { invoice_for, amount, lifetime, hold } => {
                let invoice = self.bank.make(
                    &mut self.rng,
                    time,
                    node,
                    Wanted { amount, lifetime, hold, purpose: invoice_for },
                );
                Some(Input::Invoiced { invoice_for, outcome: Ok(invoice) })
            }
            Action::SettleHold { preimage, .. } => {
                self.bank.settle(preimage);
                self.notify(preimage.hash());
                Some(self.word_on_incoming(preimage.hash()))
            }
            Action::CancelHold(hash) => {
                if self.bank.bills.get(&hash).is_some_and(|bill| bill.stage == Stage::Held) {
                    self.report.releases += 1;
                }
                self.bank.cancel(hash);
                self.notify(hash);
                Some(self.word_on_incoming(hash))
            }
            Action::LookUpIncoming(hash) => Some(self.word_on_incoming(hash)),
            Action::LookUpOutgoing(hash) => Some(self.looked_up(node, hash)),
            Action::ReadSent { since } => Some(Input::Sent(Sent::Told(self.bank.sent(node, since)))),
            Action::ReadHeld { .. } => Some(Input::Held(self.bank.held(node))),
            Action::Pay { invoice, first, .. } => self.pay(node, invoice.payment_hash, first),
            Action::RequestEcash { job, amount, hash, locktime, expires_at } => {
                let lifetime = expires_at.since(time);
                let wanted = Wanted { amount, lifetime, hold: Some(hash), purpose: InvoiceFor::Quote(job) };
                let asked = self.bank.request_ecash(&mut self.rng, time, node, wanted, locktime);
                Some(Input::EcashRequested { job, outcome: asked.ok_or_else(|| "no mint answers".into()) })
            }
            Action::LockEcash { ask, amount, first, .. } => self.lock(node, &ask, amount, first),
            Action::AcceptEcash { hash, token } => self.accept(node, hash, &token),
            Action::ReleaseEcash { preimage } => {
                let hash = preimage.hash();
                if self.bank.release(hash) {
                    self.report.released += 1;
                    return Some(Input::Released { hash, release: EcashRelease::new("away".into()) });
                }
                self.bank.cancel(hash);
                Some(self.word_on_incoming(hash))
            }
            Action::TakeBackEcash { hash, .. } => {
                self.bank.take_back(hash);
                Some(self.word_on_outgoing(node, hash))
            }
            other => panic!("not a wallet's business: {other:?}"),
        }
    }

    fn pay(&mut self, node: usize, hash: PaymentHash, first: bool) -> Option<Input> {
        let known = self.bank.outgoing(node, hash) != Outgoing::Unknown;
        let knew = !self.nodes[node].restored;
        assert!(!(first && known && knew), "a payment that may have been sent before was sent unasked");
        if known {
            return Some(self.word_on_outgoing(node, hash));
        }
        let lifetime_left = self.bank.bills.get(&hash).is_some_and(|bill| bill.stage == Stage::Open);
        let time = self.time();
        let delay = if self.trouble(5) { self.rng.between(5_000, 100_000) } else { self.rng.between(5, 300) };
        if !self.bank.pay(time, node, hash, delay) {
            // Its provider may have withdrawn it. And a customer may have called its job off, and been put back to before
            // it did.
            let withdrawn = self.withdraws_offers() || self.nodes[node].restored;
            assert!(lifetime_left || !first || withdrawn, "a dead invoice was paid");
            return Some(Input::Outgoing { hash, state: Outgoing::Failed { reason: "unpayable".into() } });
        }
        *self.sent.entry(hash).or_default() += 1;
        self.assert_only_payment(node, hash);
        if self.trouble(8) {
            self.report.flips += 1;
            self.flipped.insert(hash, true);
            return Some(Input::Outgoing {
                hash,
                state: Outgoing::Failed { reason: "no route (so it says)".into() },
            });
        }
        Some(Input::Outgoing { hash, state: Outgoing::Pending })
    }

    fn word_on_incoming(&self, hash: PaymentHash) -> Input {
        Input::Incoming { hash, state: self.bank.incoming(self.time(), hash) }
    }

    fn word_on_outgoing(&self, payer: usize, hash: PaymentHash) -> Input {
        Input::Outgoing { hash, state: self.bank.outgoing(payer, hash) }
    }

    /// Both wallets tell their owners that a payment changed; either word may be lost.
    fn notify(&mut self, hash: PaymentHash) {
        let Some(bill) = self.bank.bills.get(&hash) else { return };
        let (payee, payer) = (bill.payee, bill.payer);
        if payee < self.nodes.len() && !self.trouble(20) {
            let input = self.word_on_incoming(hash);
            self.at(5, Event::Hear { node: payee, life: None, input: Box::new(input) });
        }
        if let Some(payer) = payer
            && !self.trouble(20)
        {
            let input = self.word_on_outgoing(payer, hash);
            self.at(5, Event::Hear { node: payer, life: None, input: Box::new(input) });
        }
    }

    fn say(&mut self, from: usize, word: Word) {
        self.words.push((from, word));
        let index = self.words.len() - 1;
        for node in 0..self.nodes.len() {
            self.pass_on(node, index);
        }
    }

    fn pass_on(&mut self, node: usize, word: usize) {
        if self.trouble(15) {
            let delay = self.rng.between(1_000, 30_000);
            return self.at(delay, Event::Refetch { node });
        }
        for _ in 0..if self.trouble(10) { 3 } else { 1 } {
            let delay = if self.trouble(10) { self.rng.between(100, 9_000) } else { self.rng.between(1, 60) };
            self.at(delay, Event::Deliver { node, word });
        }
    }

    fn refetch(&mut self, node: usize) {
        for word in 0..self.words.len() {
            self.at(1, Event::Deliver { node, word });
        }
    }

    /// What the driver's ingress does: decode, drop what is for others, decode invoices, and not
    /// take up a job that the store already knows.
    fn deliver(&mut self, node: usize, index: usize) {
        let (from, word) = self.words[index].clone();
        if from == node || self.nodes[node].engine.is_none() {
            return;
        }
        let selling = node < self.providers;
        if let Word::Claim { job, .. } = &word {
            self.recall_credited(node, *job);
        }
        let input = match word {
            Word::Request(request) if selling && !self.nodes[node].disk.jobs.contains_key(&request.id) => {
                Input::Request(Box::new(request))
            }
            Word::Cancel(cancel) if selling => Input::Cancel(cancel),
            // Most who have a balance are away until the storm is over.
            Word::Claim { job, .. } if self.is_away(job) => return,
            Word::Claim { job, by, to, hash } if selling && to == provider_key(node) => {
                let invoice = self.bank.bills[&hash].invoice.clone();
                Input::RefundClaim { job, by, invoice }
            }
            Word::Ecash { to, payment } if selling && to == provider_key(node) => Input::Token(payment),
            Word::Release(released) if self.owners.get(&released.job) == Some(&node) => {
                Input::Release(released)
            }
            Word::Quote(quote) if self.owners.get(&quote.job) == Some(&node) => {
                if self.nodes[node].disk.payments.contains_key(&quote.invoice.payment_hash) {
                    return;
                }
                Input::Quote(quote)
            }
            Word::Feedback(feedback) if self.owners.get(&feedback.job) == Some(&node) => {
                Input::Feedback(feedback)
            }
            // Some bills of the storm never reach their customers.
            Word::Result(result) if result.bolt11.is_some() && self.is_lost(&result) => return,
            Word::Result(result) if self.owners.get(&result.job) == Some(&node) => {
                let bill: Option<PaymentHash> = result.bolt11.as_ref().map(|hash| hash.parse().unwrap());
                let known = |hash| self.nodes[node].disk.payments.contains_key(&hash);
                if bill.is_some_and(known) {
                    return;
                }
                let invoice = bill.map(|hash| self.bank.bills[&hash].invoice.clone());
                Input::Result { result, invoice }
            }
            Word::Receipt(received) if self.owners.get(&received.receipt.job) == Some(&node) => {
                Input::Receipt(received)
            }
            Word::Zap { to, zapped } if selling && to == provider_key(node) => {
                if !self.nodes[node].disk.jobs.contains_key(&zapped.job) {
                    return self.tell_again(node, index);
                }
                Input::Zapped(zapped)
            }
            _ => return,
        };
        self.hear(node, input);
    }

    fn publish(&mut self, node: usize, job: JobId, draft: &Draft) {
        let event = EventId::from_bytes(self.rng.bytes());
        let customer = self.requests[&job].customer;
        let provider = provider_key(node);
        self.zap_seen(node, job, draft);
        let word = match draft {
            Draft::Quote { invoice, expires_at, eta, terms, ecash } => Word::Quote(Quote {
                job,
                provider,
                event,
                price: invoice.amount,
                invoice: invoice.clone(),
                expires_at: *expires_at,
                eta: *eta,
                terms: *terms,
                ecash: ecash.clone(),
            }),
            Draft::Release { hash, release } => {
                let (hash, release) = (*hash, release.clone());
                Word::Release(ReleasedEcash { job, provider, hash, release })
            }
            Draft::Ecash { provider, hash, token } => {
                self.bank.hand_over(*hash);
                self.assert_only_payment(node, *hash);
                if self.trouble(8) {
                    self.pay_the_other_way(*provider, job);
                }
                let forged = self.trouble(5);
                let token = if forged { EcashToken::new("cashuBshort".into()) } else { token.clone() };
                let payment = EcashPayment { job, by: customer, hash: *hash, token };
                Word::Ecash { to: *provider, payment }
            }
            Draft::Result { content, price, unused, .. } => {
                self.result(node, job, content, (*price, *unused, None))
            }
            Draft::Bill { content, invoice, unused, .. } => {
                self.result(node, job, content, (invoice.amount, *unused, Some(invoice.payment_hash)))
            }
            Draft::Cancel { provider, .. } => {
                Word::Cancel(Cancel { job, by: customer, providers: provider.iter().copied().collect() })
            }
            Draft::RefundClaim { provider, invoice } => {
                Word::Claim { job, by: customer, to: *provider, hash: invoice.payment_hash }
            }
            Draft::Notice(notice) => {
                if let Notice::RefundOwed { paid, amount, .. } = notice {
                    self.claim_by_hand(node, job, *paid, *amount);
                }
                Word::Feedback(notice::feedback(job, provider, event, notice, self.time()))
            }
            Draft::Partial { .. } => return,
            Draft::Receipt(receipt) => return self.say_receipt(node, event, receipt),
            Draft::Countersign { provider, receipt, .. } => {
                let said = self.receipts.get(&(job, *provider)).map(Vec::as_slice).unwrap_or_default();
                assert!(said.iter().any(|(event, _)| event == receipt), "a false receipt was agreed to");
                assert!(said.len() == 1 || self.weather.restores(), "two receipts were said");
                return;
            }
        };
        self.say(node, word);
    }

    fn result(
        &mut self,
        node: usize,
        job: JobId,
        content: &str,
        (price, unused, bill): (Msat, Msat, Option<PaymentHash>),
    ) -> Word {
        let times = self.finished.entry((node, job)).or_default();
        *times += 1;
        assert!(*times == 1 || self.nodes[node].restored, "provider {node} finished {job} twice");
        Word::Result(JobResult {
            job,
            provider: provider_key(node),
            event: EventId::from_bytes(self.rng.bytes()),
            kind: self.requests[&job].kind.result(),
            content: content.to_owned(),
            amount: Some(price),
            made_by: None,
            unused,
            bolt11: bill.map(PaymentHash::to_hex),
            created_at: self.time(),
        })
    }

    /// Some providers lie about what they did, and some receipts are meant for another job.
    fn say_receipt(&mut self, node: usize, event: EventId, receipt: &Receipt) {
        let mut said = receipt.clone();
        if self.trouble(30) {
            let known: Vec<JobId> = self.requests.keys().copied().filter(|job| *job != said.job).collect();
            match self.rng.between(0, 5) {
                0 => said.price = Msat::new(said.price.get() + 1),
                1 => said.result_sha256 = ContentHash::of(b"something else"),
                2 => said.payment_hash = Some(PaymentHash::from_bytes([9; 32])),
                3 => said.settled_at = said.settled_at.after(Millis::from_secs(86_400)),
                4 => said.asked_at = said.asked_at.before(Millis::from_secs(60)),
                _ => said.job = known.first().copied().unwrap_or(JobId::from_bytes([9; 32])),
            }
        }
        if said == *receipt {
            self.receipts.entry((said.job, said.provider)).or_default().push((event, said.clone()));
        }
        let digest = ContentHash::of(b"what it says");
        let received = Received { receipt: said, body: "".into(), event, digest, raw: "".into() };
        self.say(node, Word::Receipt(Box::new(received)));
    }

    fn plan_job(&mut self, node: usize, delay: u64) {
        let id = JobId::from_bytes(self.rng.bytes());
        let drawn = CustomerKey::from_bytes(self.rng.bytes());
        let faithful = self.weather.is_faithful();
        let customer = if faithful { steady_key(node) } else { drawn };
        let wanted = faithful.then(|| provider_key(usize::from(id.as_bytes()[1]) % self.providers));
        let asked_at = Timestamp::from_millis(self.now + delay);
        let expires_at = asked_at.after(Millis(self.rng.between(30_000, 300_000)));
        let generous = self.weather.is_fair() || self.rng.chance(85);
        let bid = Msat::new(if generous { 50_000 } else { 500 });
        let spec = JobSpec {
            kind: JobKind::SUMMARIZATION,
            inputs: vec![JobInput::text("some text")],
            params: Vec::new(),
            output: Vec::new(),
            bid,
            provider: wanted,
            encrypt: false,
            relays: Vec::new(),
            expires_at,
            // Not drawn, so that every seed still makes the world it always made.
            refund_to: (!faithful && id.as_bytes()[0].is_multiple_of(3)).then(|| "ann@wallet.example".into()),
        };
        let request = JobRequest {
            id,
            customer,
            kind: spec.kind,
            inputs: spec.inputs.clone(),
            params: Vec::new(),
            output: Vec::new(),
            bid: Some(bid),
            providers: wanted.into_iter().collect(),
            encryption: Encryption::None,
            relays: Vec::new(),
            created_at: asked_at,
            expires_at: Some(expires_at),
            refund_to: spec.refund_to.clone(),
            raw: "".into(),
        };
        let hasty = self.weather.is_hasty() && self.rng.chance(60);
        let patience = hasty.then(|| Millis(self.rng.between(3_000, 20_000)));
        let options =
            AskOptions { window: Millis(self.rng.between(100, 1_500)), patience, max_fee: Msat::ZERO };
        let ask = Ask::new(id, customer, "".into(), spec, options, asked_at);
        self.owners.insert(id, node);
        self.requests.insert(id, request);
        self.report.asked += 1;
        self.at(delay, Event::Hear { node, life: None, input: Box::new(Input::Ask(Box::new(ask))) });
        if self.weather.is_hasty() && self.rng.chance(15) {
            let later = delay + self.rng.between(10, 8_000);
            let input = Input::Withdraw { job: id, reason: "changed my mind".into() };
            self.at(later, Event::Hear { node, life: None, input: Box::new(input) });
        }
    }

    /// Somebody makes an invoice by hand, and somebody else pays it by hand: perhaps late, perhaps twice.
    fn plan_transfer(&mut self, payer: usize) {
        let payee = (payer + self.rng.between(1, self.nodes.len() as u64 - 1) as usize) % self.nodes.len();
        let (made, paid) = (self.rng.between(10, 60_000), self.rng.between(10, 90_000));
        let lifetime = Millis(made + self.rng.between(40_000, 600_000));
        let amount = Msat::new(if self.rng.chance(10) { 2 * FUNDS } else { self.rng.between(1, 20_000) });
        let purpose = InvoiceFor::Quote(JobId::from_bytes(self.rng.bytes()));
        let wanted = Wanted { amount, lifetime, hold: None, purpose };
        let time = self.time();
        let invoice = self.bank.make(&mut self.rng, time, payee, wanted);
        let plan = |world: &mut Self, node, direction, delay| {
            let at = Timestamp::from_millis(world.now + delay);
            let transfer = Transfer::new(invoice.clone(), direction, "by hand".into(), at);
            let input = Box::new(Input::Transfer(Box::new(transfer)));
            world.at(delay, Event::Hear { node, life: None, input });
        };
        plan(self, payee, Direction::In, made);
        plan(self, payer, Direction::Out, made + paid);
        if self.rng.chance(40) {
            let again = self.rng.between(0, 30_000);
            plan(self, payer, Direction::Out, made + paid + again);
        }
    }
}
