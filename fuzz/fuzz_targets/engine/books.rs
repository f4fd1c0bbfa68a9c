//! The store of one engine, and the laws: what it may ask for, given what it was told.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use openagents_engine::{
    Action, Ask, Direction, Engine, Entry, Incoming, Input, InvoiceFor, Job, Movement, Outgoing, PaymentRow,
    Record,
    customer::{Money, Phase, Reclaim},
    job::State,
};
use openagents_types::{Draft, Invoice, JobId, Msat, Network, PaymentHash};

/// Everything that survives the process, and what was seen of it from outside.
#[derive(Default)]
pub struct Books {
    escrow: bool,
    jobs: BTreeMap<JobId, Job>,
    asks: BTreeMap<JobId, Ask>,
    payments: BTreeMap<PaymentHash, PaymentRow>,
    entries: Vec<Entry>,
    standings: Vec<Record>,
    contents: BTreeSet<JobId>,
    results: BTreeSet<JobId>,
    receipts: BTreeSet<JobId>,
    begun: BTreeSet<PaymentHash>,
    came: HashMap<PaymentHash, BTreeSet<Msat>>,
    left: BTreeSet<PaymentHash>,
    closed: BTreeSet<JobId>,
}

impl Books {
    pub fn new(escrow: bool) -> Self {
        Self { escrow, ..Self::default() }
    }

    /// What the driver would hand in: a request and an invoice are looked at once, and work is
    /// reported by whoever does it.
    pub fn admissible(&self, engine: &Engine, input: Input) -> Option<Input> {
        let new = |invoice: &Invoice| {
            self.payments.get(&invoice.payment_hash).is_none_or(|row| row.direction != Direction::Out)
        };
        let fresh = |invoice: &Invoice| !self.payments.contains_key(&invoice.payment_hash);
        let good = match &input {
            Input::Request(request) => !self.jobs.contains_key(&request.id),
            Input::Ask(ask) => !self.asks.contains_key(&ask.id),
            Input::Quote(quote) => new(&quote.invoice) && engine.follows(quote.job),
            Input::Result { invoice, .. } => invoice.as_ref().is_none_or(new),
            Input::RefundClaim { invoice, .. } => new(invoice),
            // Our own wallet never gives two invoices the same hash, but asked to hold by one.
            Input::Invoiced { invoice_for: InvoiceFor::Refund { .. }, outcome: Ok(invoice) } => {
                fresh(invoice) && !self.offered(invoice.payment_hash)
            }
            Input::Invoiced { outcome: Ok(invoice), .. } => self.escrow || fresh(invoice),
            // Money that no wallet was ever told of is no input.
            Input::Incoming { hash, .. } => self.knows(*hash, Direction::In),
            Input::Outgoing { hash, .. } => self.knows(*hash, Direction::Out),
            _ => true,
        };
        good.then_some(input)
    }

    fn knows(&self, hash: PaymentHash, direction: Direction) -> bool {
        self.payments.get(&hash).is_some_and(|row| row.direction == direction)
    }

    fn offered(&self, hash: PaymentHash) -> bool {
        self.asks.values().flat_map(|ask| &ask.quotes).any(|quote| quote.invoice.payment_hash == hash)
    }

    /// The record that the driver looks up for a payment whose job has left memory.
    pub fn forgotten(&self, engine: &Engine, input: &Input) -> Option<Record> {
        let (Input::Incoming { hash, .. } | Input::Outgoing { hash, .. }) = input else { return None };
        if engine.knows(*hash) {
            return None;
        }
        let job = self.payments.get(hash)?.job;
        let sold = self.jobs.get(&job).map(|job| Record::Job(Box::new(job.clone())));
        sold.or_else(|| self.asks.get(&job).map(|ask| Record::Ask(Box::new(ask.clone()))))
    }

    pub fn note_recall(&mut self, record: &Record) {
        if let Record::Job(job) = record {
            self.closed.remove(&job.id());
        }
    }

    /// Notes what the wallet said, and which jobs are closed and stay so.
    pub fn before(&mut self, input: &Input) {
        match input {
            Input::Incoming { hash, state: Incoming::Held { amount } | Incoming::Settled { amount } } => {
                self.came.entry(*hash).or_default().insert(*amount);
            }
            Input::Outgoing { hash, state: Outgoing::Settled { .. } } => drop(self.left.insert(*hash)),
            _ => {}
        }
        let late = match input {
            Input::Incoming { hash, .. } => self.payments.get(hash).map(|row| row.job),
            _ => None,
        };
        let closed = self.jobs.iter().filter(|(id, job)| job.state.is_closed() && Some(**id) != late);
        self.closed = closed.map(|(id, _)| *id).collect();
    }

    /// Takes one action as the driver would.
    pub fn take(&mut self, input: Option<&Input>, action: &Action) {
        match action {
            Action::Save(record) => self.save(record),
            Action::Publish { job, draft } => self.publish(*job, draft),
            Action::Pay { invoice, max_fee, first } => self.pay(input, invoice, *max_fee, *first),
            Action::Run { job, .. } | Action::Resolve(job) => self.open(*job),
            Action::Invoice { invoice_for: InvoiceFor::Quote(job), amount, .. } => {
                self.open(*job);
                let bid = self.jobs[job].request.bid;
                assert!(bid.is_none_or(|bid| *amount <= bid), "{amount} is more than the bid of {bid:?}");
            }
            Action::SettleHold { preimage, .. } => {
                let job = self.payments[&preimage.hash()].job;
                assert!(self.results.contains(&job), "{job} is charged and not delivered");
            }
            Action::CancelHold(hash) => {
                let job = self.payments[hash].job;
                assert!(!self.results.contains(&job), "{job} is delivered and given back");
            }
            _ => {}
        }
    }

    fn open(&self, job: JobId) {
        assert!(!self.closed.contains(&job), "{job} is closed and acts again");
    }

    fn publish(&mut self, job: JobId, draft: &Draft) {
        if self.asks.contains_key(&job) {
            return;
        }
        self.open(job);
        match draft {
            Draft::Result { price, .. } => {
                assert!(self.results.insert(job), "two results for {job}");
                let state = &self.jobs[&job].state;
                match state.hash() {
                    None => assert!(price.is_zero(), "{job} is charged for free work"),
                    Some(hash) => {
                        assert!(
                            self.came[&hash].iter().any(|came| came >= price),
                            "{price} never came for {job}"
                        );
                    }
                }
            }
            Draft::Quote { invoice, .. } => {
                let bid = self.jobs[&job].request.bid;
                assert!(bid.is_none_or(|bid| invoice.amount <= bid), "quoted above the bid");
            }
            _ => {}
        }
    }

    fn pay(&mut self, input: Option<&Input>, invoice: &Invoice, max_fee: Msat, first: bool) {
        let hash = invoice.payment_hash;
        if first {
            assert!(self.begun.insert(hash), "{hash} is paid twice: {input:?}");
        }
        assert_eq!(
            self.payments.get(&hash).map(|row| row.direction),
            Some(Direction::Out),
            "unsaved payment"
        );
        let job = self.payments[&hash].job;
        match self.asks.get(&job) {
            Some(ask) => {
                assert!(invoice.amount <= ask.spec.bid, "paid above the bid");
                assert_eq!((invoice.network, max_fee), (Network::Regtest, ask.options.max_fee));
            }
            None => {
                let earned = self.moved(job, Movement::Earned);
                assert!(invoice.amount <= earned, "a refund of {} for {earned}", invoice.amount);
                assert!(!self.results.contains(&job), "{job} is delivered and refunded");
            }
        }
    }

    fn moved(&self, job: JobId, movement: Movement) -> Msat {
        self.entries.iter().filter(|e| e.job == job && e.movement == movement).map(|e| e.amount).sum()
    }

    fn save(&mut self, record: &Record) {
        match record {
            Record::Job(job) => {
                self.open(job.id());
                self.jobs.insert(job.id(), (**job).clone());
            }
            Record::Ask(ask) => drop(self.asks.insert(ask.id, (**ask).clone())),
            Record::Payment(row) => {
                let kept = self.payments.entry(row.hash).or_insert_with(|| row.clone());
                assert_eq!((kept.job, kept.direction), (row.job, row.direction), "one hash for two payments");
            }
            Record::Entry(entry) => self.enter(entry),
            Record::Standing(_) | Record::Balance(_) => self.standings.push(record.clone()),
            Record::Transfer(transfer) => panic!("nobody here pays by hand: {transfer:?}"),
            Record::Content { job, .. } => assert!(self.contents.insert(*job), "two results taken for {job}"),
            Record::Receipt(record) => {
                let receipt = record.receipt();
                assert!(self.receipts.insert(receipt.job), "two receipts for {}", receipt.job);
                assert!(self.results.contains(&receipt.job), "a receipt for what was not delivered");
                assert!(receipt.price <= self.moved(receipt.job, Movement::Earned), "{receipt:?}");
            }
        }
    }

    fn enter(&mut self, entry: &Entry) {
        match entry.movement {
            Movement::Earned | Movement::RefundReceived | Movement::Received => {
                assert!(self.came[&entry.hash].contains(&entry.amount), "{entry:?} never came");
            }
            Movement::Spent | Movement::Fee | Movement::RefundPaid | Movement::Sent => {
                assert!(self.left.contains(&entry.hash), "{entry:?} never left");
            }
        }
        let known = |e: &&Entry| e.hash == entry.hash && e.movement == entry.movement;
        if self.entries.iter().find(known).is_none() {
            self.entries.push(entry.clone());
        }
    }

    /// What holds between two steps.
    pub fn hold(&self, engine: &Engine) {
        assert!(engine.queue_depth().1 <= 2, "more jobs run than there are slots");
        for (id, job) in &self.jobs {
            assert_eq!(engine.job(*id).is_some(), !job.state.is_closed(), "{id}: {:?}", job.state);
        }
        for (id, ask) in &self.asks {
            assert_eq!(
                engine.ask(*id).is_some(),
                !ask.is_over(),
                "{id}: {ask:?} in memory {:?}",
                engine.ask(*id)
            );
            let out = ask.attempts.iter().filter(|a| matches!(a.money, Money::Pending | Money::Doubtful));
            assert!(out.count() <= 1, "two payments of {id} are out at once");
            if matches!(ask.phase, Phase::Collecting { .. }) {
                let kept = ask.attempts.iter().all(|a| !matches!(a.money, Money::Pending | Money::Doubtful));
                assert!(kept, "{id} looks for an offer while a payment is out");
            }
        }
    }

    /// What a restart reads.
    pub fn open_records(&self) -> Vec<Record> {
        let jobs = self.jobs.values().filter(|job| !job.state.is_closed()).cloned();
        let asks = self.asks.values().filter(|ask| !ask.is_over()).cloned();
        let jobs = jobs.map(|job| Record::Job(Box::new(job)));
        jobs.chain(asks.map(|ask| Record::Ask(Box::new(ask)))).chain(self.standings.iter().cloned()).collect()
    }

    /// An engine made of the records stands where the one that wrote them stood. Only work that ran
    /// begins again, or ends, as often as it may.
    pub fn same(&self, live: &Engine, restored: &Engine) {
        let works = |state: &State| matches!(state, State::Queued { .. } | State::Running { .. });
        for id in self.jobs.keys() {
            match (live.job(*id), restored.job(*id)) {
                (Some(a), Some(b)) if !works(&a.state) => assert_eq!(a.state, b.state),
                (Some(a), _) => assert!(works(&a.state), "{id} was lost in {:?}", a.state),
                (None, b) => assert!(b.is_none(), "{id} came back: {b:?}"),
            }
        }
        for id in self.asks.keys() {
            match (live.ask(*id), restored.ask(*id)) {
                (Some(a), Some(b)) => assert_eq!((&a.phase, &a.attempts), (&b.phase, &b.attempts)),
                (a, b) => assert_eq!(a.is_some(), b.is_some(), "{id}"),
            }
        }
    }

    /// Everything that is still owed to a wallet, or by one, is asked for again.
    pub fn restated(&self, live: &Engine, owed: &[Action]) {
        let asked = |wanted: &dyn Fn(&Action) -> bool, what: &str| {
            assert!(owed.iter().any(wanted), "a restart forgets {what}: {owed:?}");
        };
        for job in self.jobs.keys().filter_map(|id| live.job(*id)) {
            match &job.state {
                State::Delivered { hash, .. } => asked(
                    &|a| matches!(a, Action::SettleHold { preimage, .. } if preimage.hash() == *hash),
                    "to take a payment",
                ),
                State::Returning { hash, .. } => {
                    asked(&|a| *a == Action::CancelHold(*hash), "to give a payment back");
                }
                State::Refunding { claim, .. } => {
                    asked(&|a| *a == Action::LookUpOutgoing(claim.payment_hash), "a refund");
                }
                State::Offered { invoice, .. } => {
                    asked(&|a| *a == Action::LookUpIncoming(invoice.payment_hash), "an offer");
                }
                _ => {}
            }
        }
        for attempt in self.asks.keys().filter_map(|id| live.ask(*id)).flat_map(|ask| &ask.attempts) {
            let hash = attempt.quote.invoice.payment_hash;
            match &attempt.money {
                Money::Pending | Money::Doubtful => {
                    asked(&|a| *a == Action::LookUpOutgoing(hash), "a payment");
                }
                Money::Settled { reclaim: Reclaim::Claimed { claim }, .. } => {
                    asked(&|a| *a == Action::LookUpIncoming(claim.payment_hash), "a claim");
                }
                _ => {}
            }
        }
    }
}
