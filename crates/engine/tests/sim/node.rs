//! One process of the worlds: an engine, what it has saved, and what it has told the relay.

use std::collections::{BTreeMap, HashMap, HashSet};

use openagents_engine::{
    Action, Ask, BalanceEntry, Config, Direction, Engine, Entry, Input, Job, Movement, PaymentRow, Record,
    Sent, SentPayment, Transfer,
    receipt::{Dispute, ReceiptRecord},
    transfer::in_place_of_a_job,
};
use openagents_types::{CustomerKey, DayBudget, Draft, JobId, Msat, PaymentHash, Receipt, Timestamp};

/// Everything that survives the process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    pub(crate) jobs: BTreeMap<JobId, Job>,
    pub(crate) asks: BTreeMap<JobId, Ask>,
    pub(crate) payments: BTreeMap<PaymentHash, PaymentRow>,
    pub(crate) transfers: BTreeMap<PaymentHash, Transfer>,
    pub(crate) entries: Vec<Entry>,
    pub(crate) contents: HashMap<JobId, String>,
    /// Receipts given, by job.
    pub(crate) issued: BTreeMap<JobId, Receipt>,
    /// Receipts taken, by job, and what is disputed about each.
    pub(crate) received: BTreeMap<JobId, (Receipt, Option<Dispute>)>,
    pub(crate) balances: Vec<BalanceEntry>,
    others: Vec<Record>,
    published: HashSet<String>,
}

impl Disk {
    /// Writes a record, as the store does: replacing jobs, refusing to give a payment to a second
    /// job, keeping each movement once.
    fn write(&mut self, record: Record) {
        match record {
            Record::Job(job) => drop(self.jobs.insert(job.id(), *job)),
            Record::Ask(ask) => drop(self.asks.insert(ask.id, *ask)),
            Record::Transfer(transfer) => drop(self.transfers.insert(transfer.hash(), *transfer)),
            Record::Payment(row) => {
                let kept = self.payments.entry(row.hash).or_insert_with(|| row.clone());
                assert_eq!(kept.job, row.job, "one payment hash for two jobs");
                assert_eq!(kept.direction, row.direction);
            }
            Record::Entry(entry) => {
                let known = |e: &Entry| e.hash == entry.hash && e.movement == entry.movement;
                if !self.entries.iter().any(known) {
                    self.entries.push(entry);
                }
            }
            Record::Content { job, content } => {
                assert!(self.contents.insert(job, content).is_none(), "two results were taken for one job");
            }
            Record::Standing(_) => self.others.push(record),
            Record::Balance(entry) => {
                self.balances.push(entry);
                assert!(
                    self.balance(entry.customer) >= 0 && self.debt(entry.customer) >= 0,
                    "a negative balance: {:?}",
                    self.balances
                );
            }
            Record::Receipt(ReceiptRecord::Issued { receipt }) => {
                let job = receipt.job;
                assert!(self.issued.insert(job, *receipt).is_none(), "two receipts for job {job}");
            }
            Record::Receipt(ReceiptRecord::Received { receipt, dispute, .. }) => {
                self.received.entry(receipt.job).or_insert((*receipt, dispute));
            }
        }
    }

    fn open_records(&self) -> Vec<Record> {
        let jobs = self.jobs.values().filter(|job| !job.is_over());
        let unreceipted = |ask: &Ask| ask.word() == "settled" && !self.received.contains_key(&ask.id);
        let asks = self.asks.values().filter(|ask| !ask.is_over() || unreceipted(ask));
        jobs.map(|job| Record::Job(Box::new(job.clone())))
            .chain(asks.map(|ask| Record::Ask(Box::new(ask.clone()))))
            .chain(self.open_transfers().map(|transfer| Record::Transfer(Box::new(transfer.clone()))))
            .chain(self.balances.iter().map(|entry| Record::Balance(*entry)))
            .chain(self.others.iter().cloned())
            .collect()
    }

    fn open_transfers(&self) -> impl Iterator<Item = &Transfer> {
        self.transfers.values().filter(|transfer| !transfer.state.is_final())
    }

    /// What is kept for a customer, by the rows.
    pub(crate) fn balance(&self, customer: CustomerKey) -> i64 {
        let of = self.balances.iter().filter(|entry| entry.customer == customer && !entry.change.is_debt());
        of.map(signed).sum()
    }

    /// What a customer has not paid in time, by the rows.
    pub(crate) fn debt(&self, customer: CustomerKey) -> i64 {
        let of = self.balances.iter().filter(|entry| entry.customer == customer && entry.change.is_debt());
        of.map(signed).sum()
    }

    /// What is kept for all customers together.
    pub(crate) fn all_balances(&self) -> i64 {
        self.balances.iter().filter(|entry| !entry.change.is_debt()).map(signed).sum()
    }

    /// What the node believes the market did to its balance.
    pub(crate) fn net(&self) -> i64 {
        self.entries
            .iter()
            .map(|entry| {
                let amount = i64::try_from(entry.amount.get()).unwrap();
                if entry.movement.adds() { amount } else { -amount }
            })
            .sum()
    }

    pub(crate) fn count(&self, movement: Movement) -> u64 {
        self.entries.iter().filter(|entry| entry.movement == movement).count() as u64
    }
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) config: Config,
    pub(crate) engine: Option<Engine>,
    pub(crate) disk: Disk,
    /// Which life of the process this is; answers meant for an earlier one are lost.
    pub(crate) life: u32,
    pub(crate) day_limit: Option<Msat>,
    /// Earlier disks, oldest first.
    backups: Vec<Disk>,
    /// Whether an earlier disk was ever put back.
    pub(crate) restored: bool,
}

/// What is left to do after a commit.
pub(crate) struct Todo {
    pub(crate) publish: Vec<(JobId, Draft)>,
    pub(crate) act: Vec<Action>,
}

impl Node {
    pub(crate) fn new(config: Config, day_limit: Option<Msat>) -> Self {
        Self {
            config,
            engine: None,
            disk: Disk::default(),
            life: 0,
            day_limit,
            backups: Vec::new(),
            restored: false,
        }
    }

    /// Starts the process from its disk. Half of the time the records take the way through JSON.
    pub(crate) fn start(&mut self, now: Timestamp) -> Vec<Action> {
        let mut records = self.disk.open_records();
        if self.life.is_multiple_of(2) {
            let text = serde_json::to_string(&records).unwrap();
            records = serde_json::from_str(&text).unwrap();
        }
        self.life += 1;
        self.config.customer.budget =
            self.day_limit.map(|limit| DayBudget::new(limit, now, self.disk.begun()));
        let (engine, actions) = Engine::restore(now, self.config.clone(), records);
        self.engine = Some(engine);
        actions
    }

    /// Keeps a copy of the disk as it is.
    pub(crate) fn back_up(&mut self) {
        self.backups.push(self.disk.clone());
    }

    /// Puts one of the copies back; the newer ones are of another history.
    pub(crate) fn restore_backup(&mut self, which: usize) {
        self.backups.truncate(which + 1);
        self.disk = self.backups[which].clone();
        self.restored = true;
    }

    pub(crate) fn backups(&self) -> usize {
        self.backups.len()
    }

    pub(crate) fn handle(&mut self, now: Timestamp, input: Input) -> Vec<Action> {
        let Some(engine) = &mut self.engine else { return Vec::new() };
        let hash = match &input {
            Input::Incoming { hash, .. }
            | Input::Outgoing { hash, .. }
            | Input::Locked { hash, .. }
            | Input::TakenBack { hash, .. }
            | Input::Released { hash, .. }
            | Input::TokenRefused { hash, .. } => Some(*hash),
            Input::Token(payment) => Some(payment.hash),
            _ => None,
        };
        if let Some(hash) = &hash
            && !engine.knows(*hash)
            && let Some(record) = self.disk.payments.get(hash).and_then(|row| self.disk.record(row))
        {
            engine.handle(now, Input::Recall(Box::new(record)));
        }
        if let Input::Zapped(zapped) = &input {
            // What the driver looks up: a payment serves one job, and one that is known is no news.
            if self.disk.payments.contains_key(&zapped.hash) {
                return Vec::new();
            }
            if engine.job(zapped.job).is_none()
                && let Some(job) = self.disk.jobs.get(&zapped.job)
            {
                engine.handle(now, Input::Recall(Box::new(Record::Job(Box::new(job.clone())))));
            }
        }
        let input = match input {
            Input::Sent(Sent::Told(sent)) => Input::Sent(Sent::Told(self.disk.unnamed(sent))),
            Input::Held(mut held) => {
                held.retain(|payment| !self.disk.payments.contains_key(&payment.hash));
                Input::Held(held)
            }
            input => input,
        };
        engine.handle(now, input)
    }

    /// The transaction: all saves and publications, or, if the process dies first, none.
    pub(crate) fn commit(&mut self, actions: Vec<Action>) -> Todo {
        let mut todo = Todo { publish: Vec::new(), act: Vec::new() };
        for action in actions {
            match action {
                Action::Save(record) => self.disk.write(record),
                Action::Publish { job, draft } => {
                    if self.disk.published.insert(slot(job, &draft)) {
                        todo.publish.push((job, draft));
                    }
                }
                action => todo.act.push(action),
            }
        }
        todo
    }
}

impl Disk {
    /// Payments begun by us that have not come back, as the store tells them after a restart.
    fn begun(&self) -> HashMap<PaymentHash, Msat> {
        let spent = |row: &PaymentRow| self.entries.iter().any(|entry| entry.hash == row.hash);
        let open = |row: &PaymentRow| self.asks.get(&row.job).is_some_and(|ask| !ask.is_over());
        let open =
            |row: &PaymentRow| open(row) || self.open_transfers().any(|transfer| transfer.hash() == row.hash);
        let rows = self.payments.values().filter(|row| row.direction == Direction::Out);
        rows.filter(|row| spent(row) || open(row)).map(|row| (row.hash, row.amount)).collect()
    }

    /// How many payments that no record names pay an offer that is written down.
    pub(crate) fn offered(&self, sent: &[SentPayment]) -> u64 {
        let offers = || self.asks.values().flat_map(|ask| &ask.quotes);
        let offered = |hash| offers().any(|quote| quote.invoice.payment_hash == hash);
        self.unnamed(sent.to_vec()).iter().filter(|payment| offered(payment.hash)).count() as u64
    }

    /// The payments that no record names.
    fn unnamed(&self, mut sent: Vec<SentPayment>) -> Vec<SentPayment> {
        sent.retain(|payment| {
            self.payments.get(&payment.hash).is_none_or(|row| row.direction == Direction::In)
        });
        sent
    }

    fn record(&self, row: &PaymentRow) -> Option<Record> {
        let job = row.job;
        if job == in_place_of_a_job(row.hash) {
            return self
                .transfers
                .get(&row.hash)
                .map(|transfer| Record::Transfer(Box::new(transfer.clone())));
        }
        let job_record = self.jobs.get(&job).map(|job| Record::Job(Box::new(job.clone())));
        job_record.or_else(|| self.asks.get(&job).map(|ask| Record::Ask(Box::new(ask.clone()))))
    }
}

/// What an event is, so that the same thing is said only once.
fn slot(job: JobId, draft: &Draft) -> String {
    match draft {
        Draft::Result { .. } | Draft::Bill { .. } => format!("{job}/result"),
        Draft::Quote { .. } => format!("{job}/quote"),
        Draft::Ecash { hash, .. } => format!("{job}/ecash-{hash}"),
        Draft::Release { hash, .. } => format!("{job}/release-{hash}"),
        Draft::Receipt(_) => format!("{job}/receipt"),
        Draft::Countersign { .. } => format!("{job}/countersignature"),
        other => format!("{job}/{}", serde_json::to_string(other).unwrap()),
    }
}

fn signed(entry: &BalanceEntry) -> i64 {
    let amount = i64::try_from(entry.amount.get()).unwrap();
    if entry.change.adds() { amount } else { -amount }
}
