//! Books against wallet, on demand: every payment whose end is not known is asked of the wallet and
//! reported to the engine, which draws the consequences; then all that the wallet knows is compared
//! with all that the books know. Nothing is written here, and what differs is only told.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use openagents_api::{DifferenceView, ReconcileView, ReconciledView, SCHEMA_VERSION, Side};
use openagents_engine::{
    Action, Ask, Direction, Incoming, Input, Job, Outgoing, Transfer,
    customer::{Money, Reclaim},
};
use openagents_types::{JobId, Millis, Msat, PaymentHash, Timestamp};
use openagents_wallet::{HistoryFilter, Transaction, Wallet, WalletError};

use crate::{
    clock,
    driver::DriverHandle,
    store::{BookedPayment, Page, Reader, StoreError, Transfers},
    till::{Till, may_have_arrived, read_history},
};

/// A payment sent less than this long ago may not have reached the wallet yet; asking would prove nothing.
const ON_ITS_WAY: Millis = Millis::from_secs(10);

/// How often a payment is asked about: what a wallet calls failed is believed the second time, and what was sent
/// again has to be looked at.
const ROUNDS: usize = 2;

/// The longest that an invoice waits for its payment.
const INVOICES: Millis = Millis::from_secs(3_600);

/// How many jobs are read at once.
const JOBS: u32 = 500;

/// What a node needs to compare its books with its wallet.
pub(crate) struct Reconciliation<'a> {
    pub(crate) wallet: Arc<dyn Wallet>,
    pub(crate) till: &'a Till,
    pub(crate) driver: &'a DriverHandle,
    pub(crate) reader: &'a Reader,
}

/// Why there is no comparison. What was found so far is in the books all the same.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReconcileError {
    #[error(transparent)]
    Wallet(#[from] WalletError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A payment: its name, and whether it comes to us.
type Name = (PaymentHash, bool);

/// A payment whose end the books do not know.
#[derive(Clone, Debug)]
struct Open {
    /// Its job and half; `None` if it is by hand.
    of: Option<(JobId, Side)>,
    amount: Msat,
    since: Timestamp,
    word: &'static str,
}

impl Reconciliation<'_> {
    /// See the module.
    pub(crate) async fn run(&self) -> Result<ReconcileView, ReconcileError> {
        let before = self.open()?;
        let mut heard: HashMap<Name, Heard> = HashMap::new();
        for _ in 0..ROUNDS {
            let open = self.open()?;
            for (name, payment) in before.iter().filter(|(name, _)| open.contains_key(*name)) {
                if asks_again(heard.get(name))
                    && let Some(answer) = self.ask(*name, payment).await
                {
                    heard.insert(*name, answer);
                }
            }
            // Answered once all that was reported is written down.
            self.driver.write_audit().await;
        }
        let after = self.open()?;
        let booked = self.reader.payments()?;
        let moved: HashSet<Name> =
            booked.iter().filter(|row| row.moved.is_some()).map(|row| (row.hash, row.incoming)).collect();
        let payments = before.iter().map(|(name, open)| {
            let heard = heard.get(name);
            let end = if moved.contains(name) {
                "settled"
            } else if !after.contains_key(name) {
                "returned"
            } else if heard.is_some_and(|heard| heard.sent_again) {
                "sent again"
            } else {
                "still pending"
            };
            reconciled(*name, open, heard, end)
        });
        let payments = payments.collect();
        let (differences, compared) = self.compare(&booked, &after).await?;
        Ok(ReconcileView {
            schema_version: SCHEMA_VERSION,
            payments,
            agree: differences.is_empty(),
            differences,
            compared,
        })
    }

    /// Every payment whose end the books do not know.
    fn open(&self) -> Result<BTreeMap<Name, Open>, StoreError> {
        let transfers = self.reader.transfers(Transfers::Open)?;
        let mut open: BTreeMap<Name, Open> = transfers.iter().map(open_by_hand).collect();
        let mut page = Page { limit: JOBS, open: true, after: None };
        loop {
            let jobs = self.reader.jobs_in_hand(page)?;
            jobs.iter().for_each(|job| open.extend(open_of_sold(job)));
            match jobs.last() {
                Some(job) => page.after = Some(job.id()),
                None => break,
            }
        }
        page.after = None;
        loop {
            let asks = self.reader.asks_in_hand(page)?;
            asks.iter().for_each(|ask| open.extend(open_of_bought(ask)));
            match asks.last() {
                Some(ask) => page.after = Some(ask.id),
                None => return Ok(open),
            }
        }
    }

    /// Asks the wallet about a payment, and tells the engine.
    async fn ask(&self, (hash, incoming): Name, open: &Open) -> Option<Heard> {
        if !incoming && clock::now() < open.since.after(ON_ITS_WAY) {
            return None;
        }
        let question = if incoming { Action::LookUpIncoming(hash) } else { Action::LookUpOutgoing(hash) };
        let input = self.till.ask(question).await?;
        let heard = Heard::of(&input)?;
        self.driver.report(input).await;
        Some(heard)
    }

    /// What books and wallet say differently, and how many payments were compared. Only the time since these books
    /// begin is compared.
    async fn compare(
        &self,
        booked: &[BookedPayment],
        open: &BTreeMap<Name, Open>,
    ) -> Result<(Vec<DifferenceView>, usize), ReconcileError> {
        let Some(began) = booked.first().map(|row| row.at) else { return Ok((Vec::new(), 0)) };
        // Wallets date a payment by its invoice, which is older than our record of it.
        let filter = HistoryFilter { since: Some(began.before(INVOICES)), ..HistoryFilter::default() };
        let history = read_history(&self.wallet, filter).await?;
        let known: HashMap<Name, &BookedPayment> =
            booked.iter().map(|row| ((row.hash, row.incoming), row)).collect();
        let relevant =
            |row: &&Transaction| may_have_arrived(row) && !(row.incoming && row.state == "pending");
        let mut seen = HashSet::new();
        let mut differences = Vec::new();
        for row in history.iter().filter(relevant) {
            let name = (row.hash, row.incoming);
            seen.insert(name);
            if row.at < began.before(Millis::from_secs(1)) && !known.contains_key(&name) {
                continue;
            }
            differences.extend(difference(row, known.get(&name).copied(), open.contains_key(&name)));
        }
        let missing =
            booked.iter().filter(|row| row.moved.is_some() && !seen.contains(&(row.hash, row.incoming)));
        for row in missing {
            differences.push(DifferenceView { what: "not-in-wallet".into(), ..booked_view(row) });
        }
        Ok((differences, seen.len()))
    }
}

/// What a wallet said about a payment.
#[derive(Clone, Copy, Debug)]
struct Heard {
    word: &'static str,
    sent_again: bool,
    is_last: bool,
}

impl Heard {
    fn of(input: &Input) -> Option<Self> {
        let heard = |word, sent_again, is_last| Some(Self { word, sent_again, is_last });
        match input {
            Input::Outgoing { state, .. } => match state {
                Outgoing::Pending => heard("pending", false, true),
                Outgoing::Settled { .. } => heard("settled", false, true),
                Outgoing::Failed { .. } => heard("failed", false, false),
                Outgoing::Unknown => heard("unknown", true, false),
            },
            Input::Incoming { state, .. } => match state {
                Incoming::Open => heard("unpaid", false, true),
                Incoming::Held { .. } => heard("held", false, true),
                Incoming::Settled { .. } => heard("settled", false, true),
                Incoming::Cancelled => heard("cancelled", false, true),
                Incoming::Expired => heard("expired", false, true),
                Incoming::Unknown => heard("unknown", false, true),
            },
            _ => None,
        }
    }
}

/// Whether a payment has to be asked about in this round.
fn asks_again(heard: Option<&Heard>) -> bool {
    heard.is_none_or(|heard| !heard.is_last)
}

fn open_of_sold(job: &Job) -> Vec<(Name, Open)> {
    let of = Some((job.id(), Side::Sold));
    let open = |amount, word| Open { of, amount, since: job.changed_at, word };
    let mut all = Vec::new();
    if let (Some(hash), Some(amount)) = (job.state.hash(), job.state.awaited()) {
        all.push(((hash, true), open(amount, job.state.word())));
    }
    let beside = job.beside_awaited().map(|(hash, amount, word)| ((hash, true), open(amount, word)));
    all.extend(beside);
    if let openagents_engine::job::State::Refunding { claim, .. } = &job.state {
        all.push(((claim.payment_hash, false), open(claim.amount, job.state.word())));
    }
    if let openagents_engine::job::State::RefundOwed { amount, .. } = &job.state {
        all.extend(job.payback.tried.iter().map(|hash| ((*hash, false), open(*amount, "denied"))));
    }
    all
}

fn open_of_bought(ask: &Ask) -> Vec<(Name, Open)> {
    let mut all = Vec::new();
    for attempt in &ask.attempts {
        let open = |word| Open {
            of: Some((ask.id, Side::Bought)),
            amount: attempt.quote.price,
            since: attempt.since,
            word,
        };
        match &attempt.money {
            Money::Pending => all.push(((attempt.hash(), false), open("pending"))),
            Money::Doubtful => all.push(((attempt.hash(), false), open("doubtful"))),
            Money::Settled { reclaim: Reclaim::Claimed { claim }, .. } => {
                all.push(((claim.payment_hash, true), open("claimed back")));
            }
            Money::Returned | Money::Settled { .. } => {}
        }
    }
    for claim in &ask.dropped {
        let of = Some((ask.id, Side::Bought));
        let open = Open { of, amount: claim.amount, since: ask.changed_at, word: "no longer claimed" };
        all.push(((claim.hash, true), open));
    }
    all
}

fn open_by_hand(transfer: &Transfer) -> (Name, Open) {
    let name = (transfer.hash(), transfer.direction == Direction::In);
    let (amount, since, word) = (transfer.invoice.amount, transfer.since, transfer.state.word());
    (name, Open { of: None, amount, since, word })
}

fn reconciled((hash, incoming): Name, open: &Open, heard: Option<&Heard>, done: &str) -> ReconciledView {
    ReconciledView {
        hash: hash.to_hex(),
        job: open.of.map(|(job, _)| job),
        side: open.of.map(|(_, side)| side),
        direction: direction(incoming),
        amount_msat: open.amount.get(),
        books: open.word.into(),
        wallet: heard.map_or("no answer", |heard| heard.word).into(),
        done: done.into(),
    }
}

fn direction(incoming: bool) -> String {
    if incoming { "in" } else { "out" }.into()
}

/// What the books say differently about a payment that the wallet knows.
fn difference(row: &Transaction, booked: Option<&BookedPayment>, open: bool) -> Option<DifferenceView> {
    let what = match booked {
        None => "not-in-books",
        Some(booked) if booked.moved.unwrap_or(booked.amount) != row.amount => "amount",
        // What is locked or under way is booked when it has arrived.
        Some(booked) if booked.moved.is_none() && row.state == "settled" && !open => "not-booked",
        Some(_) => return None,
    };
    Some(DifferenceView {
        what: what.into(),
        hash: row.hash.to_hex(),
        direction: direction(row.incoming),
        books_msat: booked.map(|booked| booked.moved.unwrap_or(booked.amount).get()),
        wallet_msat: Some(row.amount.get()),
        job: booked.and_then(|booked| booked.job),
        description: row.description.clone(),
        at: row.at.millis(),
    })
}

fn booked_view(row: &BookedPayment) -> DifferenceView {
    DifferenceView {
        what: String::new(),
        hash: row.hash.to_hex(),
        direction: direction(row.incoming),
        books_msat: Some(row.moved.unwrap_or(row.amount).get()),
        wallet_msat: None,
        job: row.job,
        description: String::new(),
        at: row.at.millis(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]
    use openagents_engine::{
        beside::{Beside, BesideState},
        ecash::EcashOffer,
        job::{Outcome, State},
    };
    use openagents_types::{CustomerKey, EcashAsk, Invoice, JobKind, JobRequest, Network, Terms};

    use super::*;

    const PRICE: Msat = Msat::new(1_000);

    fn hash(byte: u8) -> PaymentHash {
        PaymentHash::from_bytes([byte; 32])
    }

    /// A job that is offered with an invoice (hash 1) and for ecash (hash 2).
    fn job(state: State, beside: Option<Beside>) -> Job {
        let now = Timestamp::from_secs(1_800_000_000);
        let customer = CustomerKey::from_bytes([2; 32]);
        let request = JobRequest::new(JobId::from_bytes([1; 32]), customer, JobKind::SUMMARIZATION, now);
        let ask = EcashAsk { request: "creqA".into(), hash: hash(2), locktime: now, mints: Vec::new() };
        Job {
            request: Arc::new(request),
            received_at: now,
            changed_at: now,
            state,
            steps: Vec::new(),
            doubts: Vec::new(),
            ecash: Some(Box::new(EcashOffer { ask, price: PRICE, token: None, beside })),
            zaps: Vec::new(),
            payback: openagents_engine::payback::Payback::default(),
            bill: None,
            arrears: Msat::ZERO,
            meter: None,
        }
    }

    fn named(job: &Job) -> Vec<(PaymentHash, &'static str)> {
        let mut named: Vec<_> =
            open_of_sold(job).into_iter().map(|((hash, _), open)| (hash, open.word)).collect();
        named.sort_unstable();
        named
    }

    #[test]
    fn both_rails_of_an_offer_are_asked_about_and_an_invoice_that_is_left_over() {
        let terms = Terms::Prepaid;
        let invoice = Invoice {
            bolt11: "lnbcrt1".into(),
            payment_hash: hash(1),
            amount: PRICE,
            expires_at: Timestamp::NEVER,
            network: Network::Regtest,
        };
        let offered = State::Offered { invoice, terms, expires_at: Timestamp::NEVER };
        assert_eq!(named(&job(offered, None)), [(hash(1), "offered"), (hash(2), "ecash offered")]);

        let settled = State::Closed { outcome: Outcome::Settled { paid: PRICE }, hash: Some(hash(2)) };
        let beside = |state| Some(Beside { hash: hash(1), terms, until: Timestamp::NEVER, state });
        assert_eq!(named(&job(settled.clone(), beside(BesideState::Open))), [(hash(1), "left over")]);
        assert!(named(&job(settled, beside(BesideState::Over))).is_empty());
    }
}
