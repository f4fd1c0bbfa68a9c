//! Money: every call to the wallet, checked once more before anything is sent, and reported in the
//! engine's words; `ecash` has what a wallet of ecash can do besides. A call that times out is not reported at all; the engine asks again.

mod ecash;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use openagents_engine::{Action, HeldPayment, Incoming, Input, InvoiceFor, Outgoing, Sent, SentPayment};
use openagents_types::{Invoice, Millis, Msat, Network, PaymentHash, Preimage, Timestamp};
use openagents_wallet::{
    HistoryFilter, MakeInvoice, Pay, Transaction, Wallet, WalletError, WalletEvent, Which, bolt11,
    ecash::RequestEcash,
};
use tokio::sync::Semaphore;

use crate::{clock, driver::DriverHandle, runtime::Tasks};

/// How many wallet calls may be under way at once.
const CALLS: usize = 256;

/// And how many payments: one that is held answers only when it is settled, so payments must never
/// stand in the way of the calls that settle them.
const PAYMENTS: usize = 4_096;

/// How a wallet's history is read: payments a page, so that a page with its invoices fits into what NIP-44 encrypts
/// (65,535 bytes), and pages at most.
const PAGE: u32 = 50;
const PAGES: u32 = 400;

/// How many pages are read to find what is held.
const HELD_PAGES: u32 = 40;

/// The node's wallet. Clones share it.
#[derive(Clone)]
pub struct Till(Arc<Inner>);

struct Inner {
    wallet: Option<Arc<dyn Wallet>>,
    network: Network,
    calls: Semaphore,
    payments: Semaphore,
    asked: Mutex<HashSet<Question>>,
    tasks: Tasks,
    driver: OnceLock<DriverHandle>,
}

impl Till {
    /// A till on this wallet, which pays on this network and on no other.
    pub fn new(wallet: Option<Arc<dyn Wallet>>, network: Network, tasks: Tasks) -> Self {
        let (calls, payments) = (Semaphore::new(CALLS), Semaphore::new(PAYMENTS));
        let asked = Mutex::default();
        Self(Arc::new(Inner { wallet, network, calls, payments, asked, tasks, driver: OnceLock::new() }))
    }

    /// Whom to report to. Called once, before any money moves.
    pub fn attach(&self, driver: DriverHandle) {
        let _ = self.0.driver.set(driver);
    }

    /// The wallet, if one is connected.
    pub fn wallet(&self) -> Option<Arc<dyn Wallet>> {
        self.0.wallet.clone()
    }

    /// Carries out one of the engine's actions about money, unless the wallet has yet to answer to the same.
    pub fn take(&self, action: Action) {
        let inner = self.0.clone();
        let Some(asking) = Asking::begin(&inner, &action) else { return };
        self.0.tasks.spawn_until_stop(async move {
            let lane = if matches!(action, Action::Pay { .. } | Action::LockEcash { .. }) {
                &inner.payments
            } else {
                &inner.calls
            };
            let Ok(_permit) = lane.acquire().await else { return };
            let answer = inner.carry_out(action).await;
            // The engine may ask the same at once, now that it hears the answer.
            drop(asking);
            if let Some(input) = answer
                && let Some(driver) = inner.driver.get()
            {
                driver.report(input).await;
            }
        });
    }

    /// Asks the wallet one of the engine's questions, for whoever wants to know before it is reported.
    pub async fn ask(&self, question: Action) -> Option<Input> {
        let _permit = self.0.calls.acquire().await.ok()?;
        self.0.carry_out(question).await
    }

    /// Passes on what the wallet says by itself, until it says no more.
    pub async fn listen(self) {
        let (Some(wallet), Some(driver)) = (self.0.wallet.clone(), self.0.driver.get()) else { return };
        let mut events = wallet.events();
        while let Some(event) = events.recv().await {
            driver.report(heard(event)).await;
        }
    }
}

/// What a wallet can be asked for. The engine asks again as long as it hears nothing; a wallet that is silent
/// is asked once at a time, so that many open payments do not pile up in front of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Question {
    Invoice(InvoiceFor),
    Settle(PaymentHash),
    Cancel(PaymentHash),
    LookUpIncoming(PaymentHash),
    LookUpOutgoing(PaymentHash),
    ReadSent,
    ReadHeld,
    Pay(PaymentHash),
    RequestEcash(PaymentHash),
    AcceptEcash(PaymentHash),
    TakeBackEcash(PaymentHash),
}

impl Question {
    fn of(action: &Action) -> Option<Self> {
        Some(match action {
            Action::Invoice { invoice_for, .. } => Self::Invoice(*invoice_for),
            Action::SettleHold { preimage, .. } => Self::Settle(preimage.hash()),
            Action::CancelHold(hash) => Self::Cancel(*hash),
            Action::LookUpIncoming(hash) => Self::LookUpIncoming(*hash),
            Action::LookUpOutgoing(hash) => Self::LookUpOutgoing(*hash),
            Action::ReadSent { .. } => Self::ReadSent,
            Action::ReadHeld { .. } => Self::ReadHeld,
            Action::Pay { invoice, .. } => Self::Pay(invoice.payment_hash),
            Action::LockEcash { ask, .. } => Self::Pay(ask.hash),
            Action::RequestEcash { hash, .. } => Self::RequestEcash(*hash),
            Action::AcceptEcash { hash, .. } => Self::AcceptEcash(*hash),
            Action::ReleaseEcash { preimage } => Self::Cancel(preimage.hash()),
            Action::TakeBackEcash { hash, .. } => Self::TakeBackEcash(*hash),
            _ => return None,
        })
    }
}

/// A question that waits for its answer, until this is dropped.
struct Asking {
    till: Arc<Inner>,
    question: Question,
}

impl Asking {
    /// `None` if it waits already, or if the action is nothing to ask a wallet for.
    fn begin(till: &Arc<Inner>, action: &Action) -> Option<Self> {
        let question = Question::of(action)?;
        let is_new = till.asked.lock().unwrap_or_else(PoisonError::into_inner).insert(question);
        is_new.then(|| Self { till: till.clone(), question })
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.till.asked.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.question);
    }
}

impl Inner {
    async fn carry_out(&self, action: Action) -> Option<Input> {
        let Some(wallet) = &self.wallet else { return without_wallet(action) };
        match action {
            Action::Invoice { invoice_for, amount, lifetime, hold } => {
                crate::failpoint::hit("wallet.invoice.before");
                let input = self.invoice(wallet, invoice_for, amount, lifetime, hold).await;
                crate::failpoint::hit("wallet.invoice.after");
                input
            }
            Action::SettleHold { preimage, amount } => settle(wallet, preimage, amount).await,
            Action::CancelHold(hash) => cancel(wallet, hash).await,
            Action::LookUpIncoming(hash) => look_up_incoming(wallet, hash).await,
            Action::LookUpOutgoing(hash) => {
                crate::failpoint::hit("wallet.lookup");
                let state = wallet.lookup_outgoing(hash).await;
                Some(ecash::with_cost(wallet, outgoing(hash, state)?).await)
            }
            Action::ReadSent { since } => read_sent(wallet, since).await,
            Action::ReadHeld { since } => read_held(wallet, since).await,
            Action::Pay { invoice, max_fee, first } => {
                crate::failpoint::hit("wallet.pay.before");
                let input = self.pay(wallet, invoice, max_fee, first).await;
                crate::failpoint::hit("wallet.pay.after");
                input
            }
            Action::RequestEcash { job, amount, hash, locktime, expires_at } => {
                let description = format!("job {job}");
                let request = RequestEcash { amount, hash, locktime, expires_at, description };
                ecash::request(wallet, job, request).await
            }
            Action::LockEcash { ask, amount, max_fee, first } => {
                ecash::lock(wallet, ecash::Lock { ask, amount, max_fee, first }).await
            }
            Action::AcceptEcash { hash, token } => ecash::accept(wallet, hash, &token).await,
            Action::ReleaseEcash { preimage } => ecash::release(wallet, preimage).await,
            Action::TakeBackEcash { hash, release } => ecash::take_back(wallet, hash, &release).await,
            _ => None,
        }
    }

    async fn invoice(
        &self,
        wallet: &Arc<dyn Wallet>,
        invoice_for: InvoiceFor,
        amount: Msat,
        lifetime: Millis,
        hold: Option<PaymentHash>,
    ) -> Option<Input> {
        let description = match invoice_for {
            InvoiceFor::Quote(job) => format!("job {job}"),
            InvoiceFor::Refund { job, .. } => format!("refund of job {job}"),
        };
        match wallet.make_invoice(MakeInvoice { amount, description, expiry: lifetime, hold }).await {
            Ok(invoice) if invoice.network == self.network => {
                Some(Input::Invoiced { invoice_for, outcome: Ok(invoice) })
            }
            Ok(invoice) => {
                let message = format!("the wallet is on {}, this node on {}", invoice.network, self.network);
                Some(Input::Invoiced { invoice_for, outcome: Err(message) })
            }
            Err(error) if is_unknown(&error) => None,
            Err(error) => Some(Input::Invoiced { invoice_for, outcome: Err(error.to_string()) }),
        }
    }

    /// Pays, after the invoice was decoded once more and says what was decided.
    async fn pay(
        &self,
        wallet: &Arc<dyn Wallet>,
        invoice: Invoice,
        max_fee: Msat,
        first: bool,
    ) -> Option<Input> {
        let hash = invoice.payment_hash;
        if let Some(reason) = self.objection(&invoice, first) {
            tracing::error!(%hash, %reason, "a payment was not sent");
            return Some(Input::Outgoing { hash, state: Outgoing::Failed { reason } });
        }
        let paid = wallet.pay(Pay { invoice: &invoice, max_fee, first_attempt: first }).await;
        outgoing(hash, paid)
    }

    /// Why an invoice must not be paid now. One that may have been sent before is never objected to
    /// for being late: its payment has to be followed, not forgotten.
    fn objection(&self, invoice: &Invoice, first: bool) -> Option<String> {
        let now = clock::now();
        match bolt11::decode(&invoice.bolt11) {
            Err(error) => Some(error.to_string()),
            Ok(decoded) if decoded != *invoice => Some("its invoice does not say what was quoted".into()),
            Ok(decoded) if decoded.network != self.network => Some(format!("it is for {}", decoded.network)),
            Ok(decoded) if first => bolt11::payable(&decoded, now).err().map(|error| error.to_string()),
            Ok(_) => None,
        }
    }
}

/// All that the wallet has sent since a time and that has arrived or may yet.
async fn read_sent(wallet: &Arc<dyn Wallet>, since: Timestamp) -> Option<Input> {
    crate::failpoint::hit("wallet.lookup");
    match read_history(
        wallet,
        HistoryFilter { which: Which::Outgoing, since: Some(since), ..HistoryFilter::default() },
    )
    .await
    {
        Ok(history) => {
            let sent = history.iter().filter(|row| !row.incoming && may_have_arrived(row));
            let sent =
                sent.map(|row| SentPayment { hash: row.hash, amount: row.amount, at: row.at }).collect();
            Some(Input::Sent(Sent::Told(sent)))
        }
        Err(error) if is_unknown(&error) => {
            tracing::warn!(%error, "the wallet was asked what it has sent and gave no answer");
            None
        }
        Err(error) => {
            tracing::warn!(%error, "the wallet does not say what it has sent; open jobs choose no other offer");
            Some(Input::Sent(Sent::Withheld))
        }
    }
}

/// All that the wallet holds for jobs. If it does not say, nothing is reported: what it holds goes back by itself.
async fn read_held(wallet: &Arc<dyn Wallet>, since: Timestamp) -> Option<Input> {
    let filter = HistoryFilter { which: Which::Incoming, since: Some(since), ..HistoryFilter::default() };
    let history = read_newest(wallet, filter, HELD_PAGES)
        .await
        .inspect_err(|error| tracing::warn!(%error, "the wallet does not say what it holds"))
        .ok()?;
    let held = history.rows.iter().filter(|row| row.incoming && row.state == "held").filter_map(|row| {
        let job = row.description.strip_prefix("job ")?.parse().ok()?;
        Some(HeldPayment { hash: row.hash, amount: row.amount, job })
    });
    Some(Input::Held(held.collect()))
}

/// Whether the money of a payment has arrived, is locked or is under way.
pub(crate) fn may_have_arrived(row: &Transaction) -> bool {
    matches!(row.state, "pending" | "held" | "settled")
}

/// Page after page, until the wallet has no more or only older ones.
///
/// # Errors
/// The wallet does not answer, or has more than is read.
pub(crate) async fn read_history(
    wallet: &Arc<dyn Wallet>,
    filter: HistoryFilter,
) -> Result<Vec<Transaction>, WalletError> {
    let history = read_newest(wallet, filter, PAGES).await?;
    if history.whole {
        return Ok(history.rows);
    }
    Err(WalletError::Garbled(format!("its history has more than {} payments", PAGES * PAGE)))
}

/// Some of a wallet's history.
struct History {
    /// The newest first.
    rows: Vec<Transaction>,
    /// Whether there is no more.
    whole: bool,
}

/// Page after page, and no more than so many.
async fn read_newest(
    wallet: &Arc<dyn Wallet>,
    filter: HistoryFilter,
    pages: u32,
) -> Result<History, WalletError> {
    let since = filter.since.unwrap_or(Timestamp::from_millis(0));
    let mut history: Vec<Transaction> = Vec::new();
    let mut known = HashSet::new();
    for _ in 0..pages {
        let offset = u32::try_from(history.len()).unwrap_or(u32::MAX);
        let page = wallet.history(HistoryFilter { limit: PAGE, offset, ..filter }).await?;
        let before = history.len();
        // A wallet that knows no offset gives the same page again.
        history.extend(page.into_iter().filter(|row| known.insert((row.hash, row.incoming))));
        let reached = history.last().is_some_and(|row| row.at < since.before(Millis::from_secs(1)));
        if history.len() == before || reached {
            history.retain(|row| row.at >= since.before(Millis::from_secs(1)));
            return Ok(History { rows: history, whole: true });
        }
    }
    Ok(History { rows: history, whole: false })
}

async fn settle(wallet: &Arc<dyn Wallet>, preimage: Preimage, amount: Msat) -> Option<Input> {
    crate::failpoint::hit("wallet.settle.before");
    let settled = wallet.settle_hold(preimage).await;
    crate::failpoint::hit("wallet.settle.after");
    let hash = preimage.hash();
    match settled {
        Ok(()) => Some(Input::Incoming { hash, state: Incoming::Settled { amount } }),
        Err(error) => {
            tracing::warn!(%error, %hash, "a held payment was not taken yet");
            look_up_incoming(wallet, hash).await
        }
    }
}

async fn cancel(wallet: &Arc<dyn Wallet>, hash: PaymentHash) -> Option<Input> {
    crate::failpoint::hit("wallet.cancel.before");
    let cancelled = wallet.cancel_hold(hash).await;
    crate::failpoint::hit("wallet.cancel.after");
    match cancelled {
        Ok(()) => Some(Input::Incoming { hash, state: Incoming::Cancelled }),
        Err(_) => look_up_incoming(wallet, hash).await,
    }
}

async fn look_up_incoming(wallet: &Arc<dyn Wallet>, hash: PaymentHash) -> Option<Input> {
    crate::failpoint::hit("wallet.lookup");
    match wallet.lookup_incoming(hash).await {
        Ok(state) => Some(Input::Incoming { hash, state: incoming(state) }),
        Err(error) => {
            tracing::warn!(%error, %hash, "the wallet was asked about a payment and gave no answer");
            None
        }
    }
}

fn outgoing(hash: PaymentHash, state: Result<openagents_wallet::Outgoing, WalletError>) -> Option<Input> {
    let state = match state {
        Ok(openagents_wallet::Outgoing::Pending) => Outgoing::Pending,
        Ok(openagents_wallet::Outgoing::Settled { preimage, fee }) => Outgoing::Settled { preimage, fee },
        Ok(openagents_wallet::Outgoing::Failed { reason }) => Outgoing::Failed { reason },
        Ok(openagents_wallet::Outgoing::Unknown) => Outgoing::Unknown,
        Err(error) if is_unknown(&error) => return None,
        Err(error) => {
            tracing::warn!(%error, %hash, "a payment was not made");
            Outgoing::Failed { reason: error.to_string() }
        }
    };
    Some(Input::Outgoing { hash, state })
}

const fn incoming(state: openagents_wallet::Incoming) -> Incoming {
    match state {
        openagents_wallet::Incoming::Open => Incoming::Open,
        openagents_wallet::Incoming::Held { amount } => Incoming::Held { amount },
        openagents_wallet::Incoming::Settled { amount } => Incoming::Settled { amount },
        openagents_wallet::Incoming::Cancelled => Incoming::Cancelled,
        openagents_wallet::Incoming::Expired => Incoming::Expired,
        openagents_wallet::Incoming::Unknown => Incoming::Unknown,
    }
}

/// Whether an error leaves open what happened; then nothing is reported.
fn is_unknown(error: &WalletError) -> bool {
    !error.is_definitive()
}

/// The wallet's own words, which it signs and encrypts like its answers.
fn heard(event: WalletEvent) -> Input {
    match event {
        WalletEvent::Incoming { hash, state } => Input::Incoming { hash, state: incoming(state) },
        WalletEvent::Outgoing { hash, state } => {
            outgoing(hash, Ok(state)).unwrap_or(Input::Outgoing { hash, state: Outgoing::Pending })
        }
    }
}

/// What a node without a wallet can say: it cannot be paid, and has never paid anything.
fn without_wallet(action: Action) -> Option<Input> {
    match action {
        Action::Invoice { invoice_for, .. } => {
            Some(Input::Invoiced { invoice_for, outcome: Err("no wallet is connected".into()) })
        }
        Action::Pay { invoice, .. } => {
            let reason = String::from("no wallet is connected");
            Some(Input::Outgoing { hash: invoice.payment_hash, state: Outgoing::Failed { reason } })
        }
        Action::RequestEcash { job, .. } => Some(ecash::not_requested(job, "no wallet is connected".into())),
        Action::LockEcash { ask, .. } => Some(ecash::failed(ask.hash, "no wallet is connected".into())),
        Action::ReadSent { .. } => Some(Input::Sent(Sent::Told(Vec::new()))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::pending,
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };

    use async_trait::async_trait;
    use openagents_wallet::{HistoryFilter, Incoming, Info, Outgoing, Transaction};
    use tokio::sync::mpsc;

    use super::*;

    #[test]
    fn an_order_to_pay_ends_before_the_next_run_believes_that_it_was_never_carried_out() {
        let expires = openagents_wallet::nwc::Patience::default().pay + Duration::from_secs(1);
        assert!(expires < Duration::from_millis(openagents_engine::earlier::ORDER_LIFE.0));
    }

    /// A wallet that takes every question and answers none.
    #[derive(Default)]
    struct Silent(AtomicUsize);

    impl Silent {
        async fn hear<T>(&self) -> T {
            self.0.fetch_add(1, Ordering::Relaxed);
            pending().await
        }
    }

    #[async_trait]
    impl Wallet for Silent {
        async fn info(&self) -> Result<Info, WalletError> {
            self.hear().await
        }
        async fn balance(&self) -> Result<Msat, WalletError> {
            self.hear().await
        }
        async fn make_invoice(&self, _: MakeInvoice) -> Result<Invoice, WalletError> {
            self.hear().await
        }
        async fn settle_hold(&self, _: Preimage) -> Result<(), WalletError> {
            self.hear().await
        }
        async fn cancel_hold(&self, _: PaymentHash) -> Result<(), WalletError> {
            self.hear().await
        }
        async fn pay(&self, _: Pay<'_>) -> Result<Outgoing, WalletError> {
            self.hear().await
        }
        async fn lookup_incoming(&self, _: PaymentHash) -> Result<Incoming, WalletError> {
            self.hear().await
        }
        async fn lookup_outgoing(&self, _: PaymentHash) -> Result<Outgoing, WalletError> {
            self.hear().await
        }
        async fn history(&self, _: HistoryFilter) -> Result<Vec<Transaction>, WalletError> {
            self.hear().await
        }
        fn events(&self) -> mpsc::Receiver<WalletEvent> {
            mpsc::channel(1).1
        }
    }

    #[tokio::test]
    async fn a_silent_wallet_is_asked_the_same_once_at_a_time() {
        let wallet = Arc::new(Silent::default());
        let till = Till::new(Some(wallet.clone()), Network::Regtest, Tasks::new());
        let hash = |n: u8| PaymentHash::from_bytes([n; 32]);
        for _ in 0..1_000 {
            till.take(Action::LookUpIncoming(hash(1)));
            till.take(Action::LookUpOutgoing(hash(1)));
            till.take(Action::LookUpIncoming(hash(2)));
            till.take(Action::CancelHold(hash(1)));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(wallet.0.load(Ordering::Relaxed), 4);
    }
}
