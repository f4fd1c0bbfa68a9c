//! Nostr Wallet Connect (NIP-47), the client's side.
//!
//! One subscription hears every answer; calls are matched by the `e` tag. An answer counts only if
//! its id and signature hold, its author is the wallet, and we are waiting for it. NIP-47 has no
//! idempotence of its own, so `pay` asks whether the wallet knows the hash before it is told to pay,
//! unless the caller knows that it cannot; and one hash is being sent by one call at a time.

mod connection;
pub(crate) mod wire;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use nostr::{Event, EventId, Filter, Kind};
use openagents_types::{DayBudget, Invoice, Msat, PaymentHash, Preimage, Timestamp};
use serde_json::{Value, json};
use tokio::sync::{broadcast, mpsc, oneshot};

use crate::{
    HistoryFilter, Incoming, Info, MakeInvoice, Outgoing, Pay, Transaction, Wallet, WalletError, WalletEvent,
    WalletKind, bolt11, link::Link,
};

pub use connection::{Connection, ConnectionError};
use wire::{Cipher, Scheme};

/// The row of [`crate::WALLETS`].
pub const KIND: WalletKind =
    WalletKind { name: "nwc", about: "any wallet that speaks Nostr Wallet Connect (NIP-47)" };

/// How long the wallet is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// An ordinary call.
    pub call: Duration,
    /// A payment, before it counts as pending. A held one answers only when it is settled or given back.
    pub pay: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { call: Duration::from_secs(10), pay: Duration::from_secs(60) }
    }
}

/// How long the wallet's description of itself is waited for.
const INFO_TIMEOUT: Duration = Duration::from_secs(3);

/// How many events may wait for a slow listener.
const EVENTS: usize = 4_096;

/// How many answers are still listened for after their caller has gone.
const LATE: usize = 16_384;

const INFO_KIND: u16 = 13_194;
const REQUEST_KIND: u16 = 23_194;
const RESPONSE_KIND: u16 = 23_195;
const NOTIFICATION_KINDS: [u16; 2] = [23_196, 23_197];

/// A wallet behind a NIP-47 connection.
pub struct Nwc {
    cipher: Cipher,
    link: Arc<dyn Link>,
    waiting: Waiting,
    events: broadcast::Sender<WalletEvent>,
    info: Info,
    patience: Patience,
    sending: Mutex<HashSet<PaymentHash>>,
    budget: Mutex<Option<DayBudget>>,
    clock: fn() -> Timestamp,
}

/// Who wants an answer.
#[derive(Debug)]
enum Waiter {
    /// The caller.
    Caller(oneshot::Sender<Value>),
    /// Nobody any more, but it says how a payment ended: a hint for whoever listens to events.
    Late(PaymentHash),
}

type Waiting = Arc<Mutex<HashMap<EventId, Waiter>>>;

/// The right to send one payment; given back when dropped.
struct Sending<'a> {
    all: &'a Mutex<HashSet<PaymentHash>>,
    hash: PaymentHash,
}

impl<'a> Sending<'a> {
    /// `None` if another call is sending it.
    fn begin(all: &'a Mutex<HashSet<PaymentHash>>, hash: PaymentHash) -> Option<Self> {
        // Made only when the hash is new: dropping it takes the same lock, and frees the hash.
        let new = lock(all).insert(hash);
        new.then(|| Self { all, hash })
    }
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        lock(self.all).remove(&self.hash);
    }
}

impl std::fmt::Debug for Nwc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Nwc").field("info", &self.info).finish_non_exhaustive()
    }
}

/// What hears the wallet's answers. Whoever connects runs it for as long as the wallet is used.
pub struct Listener {
    cipher: Cipher,
    heard: mpsc::Receiver<Event>,
    /// Whether the link has checked id and signature of every event with our own ingress.
    checked: bool,
    waiting: Waiting,
    events: broadcast::Sender<WalletEvent>,
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Listener")
    }
}

impl Nwc {
    /// Connects: subscribes for answers, and reads what the wallet can do. The listener has to run
    /// while [`Self::introduce`] is called.
    ///
    /// # Errors
    /// The relay cannot be reached.
    pub async fn connect(
        connection: Connection,
        link: Arc<dyn Link>,
        clock: fn() -> Timestamp,
    ) -> Result<(Self, Listener), WalletError> {
        let scheme = offered_scheme(&connection, link.as_ref()).await?;
        let cipher = Cipher::new(&connection, scheme);
        let kinds = [RESPONSE_KIND, NOTIFICATION_KINDS[0], NOTIFICATION_KINDS[1]].map(Kind::from);
        let answers = Filter::new().kinds(kinds).author(cipher.wallet()).pubkey(cipher.own());
        let heard = subscribe(link.as_ref(), answers).await?;
        let waiting = Waiting::default();
        let (events, _) = broadcast::channel(EVENTS);
        let listener = Listener {
            cipher: cipher.clone(),
            heard,
            checked: link.verifies(),
            waiting: waiting.clone(),
            events: events.clone(),
        };
        let info = Info {
            alias: String::new(),
            network: openagents_types::Network::Mainnet,
            hold: false,
            notifications: false,
        };
        let (patience, sending, budget) = (Patience::default(), Mutex::default(), Mutex::default());
        Ok((Self { cipher, link, waiting, events, info, patience, sending, budget, clock }, listener))
    }

    /// Spends within this budget from now on, whatever the wallet itself allows the connection.
    pub fn set_budget(&mut self, budget: DayBudget) {
        *lock(&self.budget) = Some(budget);
    }

    /// Waits for the wallet this long from now on.
    pub fn set_patience(&mut self, patience: Patience) {
        self.patience = patience;
    }

    /// Asks the wallet who it is. To be called once, before the wallet is used.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn introduce(&mut self) -> Result<Info, WalletError> {
        let result = self.call("get_info", json!({}), self.patience.call).await?;
        self.info = wire::info(&result);
        Ok(self.info.clone())
    }

    async fn call(&self, method: &str, params: Value, patience: Duration) -> Result<Value, WalletError> {
        self.call_for(None, method, params, patience).await
    }

    /// A call; if it is about a payment, its answer is still heard after the time is up.
    async fn call_for(
        &self,
        payment: Option<PaymentHash>,
        method: &str,
        params: Value,
        patience: Duration,
    ) -> Result<Value, WalletError> {
        let body = json!({ "method": method, "params": params }).to_string();
        let now = (self.clock)();
        let event = self.cipher.request(REQUEST_KIND, &body, now, patience)?;
        let (sender, answer) = oneshot::channel();
        lock(&self.waiting).insert(event.id, Waiter::Caller(sender));
        let id = event.id;
        let sent = self.link.publish(event).await;
        let outcome = match sent {
            Ok(()) => tokio::time::timeout(patience, answer).await,
            Err(error) => {
                lock(&self.waiting).remove(&id);
                return Err(WalletError::Unreachable(error.0));
            }
        };
        if let Ok(Ok(value)) = outcome {
            return wire::result(value);
        }
        let mut waiting = lock(&self.waiting);
        waiting.remove(&id);
        if let Some(hash) = payment.filter(|_| waiting.len() < LATE) {
            waiting.insert(id, Waiter::Late(hash));
        }
        Err(WalletError::Timeout)
    }

    /// What the wallet knows of a hash. A wallet that will not say leaves open what became of the
    /// payment, so no refusal to look up is definitive.
    async fn lookup(&self, hash: PaymentHash) -> Result<Option<Value>, WalletError> {
        match self.call("lookup_invoice", json!({ "payment_hash": hash.to_hex() }), self.patience.call).await
        {
            Ok(value) => Ok(Some(value)),
            Err(WalletError::NotFound) => Ok(None),
            Err(error) if error.is_definitive() => {
                Err(WalletError::Internal(format!("it does not say how a payment stands: {error}")))
            }
            Err(error) => Err(error),
        }
    }

    async fn send_payment(&self, invoice: &Invoice) -> Result<Outgoing, WalletError> {
        let hash = invoice.payment_hash;
        let params = json!({ "invoice": invoice.bolt11 });
        match self.call_for(Some(hash), "pay_invoice", params, self.patience.pay).await {
            Ok(result) => wire::paid(&result, hash),
            Err(WalletError::Timeout) => Ok(Outgoing::Pending),
            Err(WalletError::PaymentFailed(reason)) => self.after_failure(hash, reason).await,
            Err(error) => Err(error),
        }
    }

    /// Wallets say "failed" of payments that are still under way, and of those they sent before; what
    /// they say of the hash counts (P7).
    async fn after_failure(&self, hash: PaymentHash, reason: String) -> Result<Outgoing, WalletError> {
        Ok(match self.lookup_outgoing(hash).await? {
            Outgoing::Unknown | Outgoing::Failed { .. } => Outgoing::Failed { reason },
            known @ (Outgoing::Pending | Outgoing::Settled { .. }) => known,
        })
    }

    /// Sends within the budget. One that an earlier run began was within it then.
    async fn spend(&self, request: Pay<'_>) -> Result<Outgoing, WalletError> {
        let hash = request.invoice.payment_hash;
        if request.first_attempt
            && let Some(budget) = &mut *lock(&self.budget)
        {
            budget.take((self.clock)(), hash, request.invoice.amount, request.max_fee)?;
        }
        let outcome = self.send_payment(request.invoice).await;
        match &outcome {
            Ok(state) => self.account(hash, state),
            Err(error) if error.is_definitive() => {
                self.account(hash, &Outgoing::Failed { reason: String::new() });
            }
            Err(_) => {}
        }
        outcome
    }

    /// Puts what the wallet says of a payment into today's account.
    fn account(&self, hash: PaymentHash, state: &Outgoing) {
        let mut budget = lock(&self.budget);
        let Some(budget) = budget.as_mut() else { return };
        match state {
            Outgoing::Settled { fee, .. } => budget.settled(hash, *fee),
            Outgoing::Failed { .. } => budget.came_back(hash),
            Outgoing::Pending | Outgoing::Unknown => {}
        }
    }
}

async fn subscribe(link: &dyn Link, filter: Filter) -> Result<mpsc::Receiver<Event>, WalletError> {
    link.subscribe(filter).await.map_err(|error| WalletError::Unreachable(error.0))
}

/// NIP-44 if the wallet says it speaks it, else NIP-04, which all of them do.
async fn offered_scheme(connection: &Connection, link: &dyn Link) -> Result<Scheme, WalletError> {
    let filter = Filter::new().kind(Kind::from(INFO_KIND)).author(connection.wallet()).limit(1);
    let mut heard = subscribe(link, filter).await?;
    let read = async {
        while let Some(event) = heard.recv().await {
            if event.verify().is_ok() && event.pubkey == connection.wallet() {
                return Some(event);
            }
        }
        None
    };
    let event = tokio::time::timeout(INFO_TIMEOUT, read).await.ok().flatten();
    Ok(event.map_or(Scheme::Nip04, |event| wire::scheme(&event)))
}

impl Listener {
    /// Hears answers and notifications until the relay is gone.
    pub async fn run(mut self) {
        while let Some(event) = self.heard.recv().await {
            self.hear(&event);
        }
    }

    fn hear(&self, event: &Event) {
        // Two libraries have called events verified that were not; this is money.
        if event.pubkey != self.cipher.wallet() || !(self.checked || event.verify().is_ok()) {
            return;
        }
        let Ok(text) = self.cipher.open(&event.content) else { return };
        let Ok(value) = serde_json::from_str::<Value>(&text) else { return };
        if event.kind.as_u16() == RESPONSE_KIND {
            let asked = event.tags.event_ids().next().copied();
            match asked.and_then(|id| lock(&self.waiting).remove(&id)) {
                Some(Waiter::Caller(sender)) => drop(sender.send(value)),
                Some(Waiter::Late(hash)) => self.hear_late(hash, value),
                None => {}
            }
        } else if let Some(news) = wire::notification(&value) {
            let _ = self.events.send(news);
        }
    }

    /// Passes on that a payment arrived after all. A late "failed" is left to a look-up.
    fn hear_late(&self, hash: PaymentHash, answer: Value) {
        if let Ok(state) = wire::result(answer).and_then(|result| wire::paid(&result, hash)) {
            let _ = self.events.send(WalletEvent::Outgoing { hash, state });
        }
    }
}

#[async_trait]
impl Wallet for Nwc {
    async fn info(&self) -> Result<Info, WalletError> {
        Ok(self.info.clone())
    }

    async fn balance(&self) -> Result<Msat, WalletError> {
        let result = self.call("get_balance", json!({}), self.patience.call).await?;
        let balance = result["balance"].as_u64().ok_or_else(|| WalletError::Garbled("no balance".into()))?;
        Ok(Msat::new(balance))
    }

    async fn make_invoice(&self, request: MakeInvoice) -> Result<Invoice, WalletError> {
        let mut params = json!({
            "amount": request.amount.get(),
            "description": request.description,
            "expiry": request.expiry.0.div_ceil(1000),
        });
        let method = match request.hold {
            Some(hash) => {
                params["payment_hash"] = hash.to_hex().into();
                "make_hold_invoice"
            }
            None => "make_invoice",
        };
        let result = self.call(method, params, self.patience.call).await?;
        let text = result["invoice"].as_str().ok_or_else(|| WalletError::Garbled("no invoice".into()))?;
        let invoice = bolt11::decode(text).map_err(|error| WalletError::Garbled(error.to_string()))?;
        if invoice.amount != request.amount || request.hold.is_some_and(|hash| hash != invoice.payment_hash) {
            return Err(WalletError::Garbled("its invoice is for something else".into()));
        }
        Ok(invoice)
    }

    async fn settle_hold(&self, preimage: Preimage) -> Result<(), WalletError> {
        let params = json!({ "preimage": preimage.to_hex() });
        self.call("settle_hold_invoice", params, self.patience.call).await.map(drop)
    }

    async fn cancel_hold(&self, hash: PaymentHash) -> Result<(), WalletError> {
        let params = json!({ "payment_hash": hash.to_hex() });
        self.call("cancel_hold_invoice", params, self.patience.call).await.map(drop)
    }

    async fn pay(&self, request: Pay<'_>) -> Result<Outgoing, WalletError> {
        let hash = request.invoice.payment_hash;
        let Some(_sending) = Sending::begin(&self.sending, hash) else {
            // The wallet may not have read the other call's request yet.
            let known = self.lookup_outgoing(hash).await?;
            return Ok(if known == Outgoing::Unknown { Outgoing::Pending } else { known });
        };
        if !request.first_attempt {
            let known = self.lookup_outgoing(hash).await?;
            if known != Outgoing::Unknown {
                return Ok(known);
            }
        }
        self.spend(request).await
    }

    async fn lookup_incoming(&self, hash: PaymentHash) -> Result<Incoming, WalletError> {
        Ok(self.lookup(hash).await?.map_or(Incoming::Unknown, |value| wire::incoming(&value)))
    }

    async fn lookup_outgoing(&self, hash: PaymentHash) -> Result<Outgoing, WalletError> {
        match self.lookup(hash).await? {
            // A node that pays itself finds its own invoice; that is not a payment sent.
            Some(value) if value["type"] == "incoming" && value["paid_by_us"] != true => {
                Ok(Outgoing::Unknown)
            }
            Some(value) => wire::outgoing(&value, hash).inspect(|state| self.account(hash, state)),
            None => Ok(Outgoing::Unknown),
        }
    }

    async fn history(&self, filter: HistoryFilter) -> Result<Vec<Transaction>, WalletError> {
        let mut params = json!({ "offset": filter.offset });
        if filter.limit > 0 {
            params["limit"] = filter.limit.into();
        }
        if filter.outgoing {
            params["type"] = "outgoing".into();
            params["unpaid"] = true.into();
        }
        if let Some(since) = filter.since {
            params["from"] = since.secs().into();
        }
        let result = self.call("list_transactions", params, self.patience.call).await?;
        let list = result["transactions"].as_array().cloned().unwrap_or_default();
        let mut transactions: Vec<Transaction> = list.iter().filter_map(wire::transaction).collect();
        // NIP-47 wants descending order; not every wallet keeps to it.
        transactions.sort_by_key(|transaction| std::cmp::Reverse(transaction.at));
        Ok(transactions)
    }

    fn events(&self) -> mpsc::Receiver<WalletEvent> {
        crate::nwc::bridge(self.events.subscribe())
    }
}

/// Carries a broadcast into a channel of its own; a listener that falls behind misses hints, and
/// look-ups make up for them.
pub(crate) fn bridge(mut from: broadcast::Receiver<WalletEvent>) -> mpsc::Receiver<WalletEvent> {
    let (to, events) = mpsc::channel(EVENTS);
    tokio::spawn(async move {
        loop {
            match from.recv().await {
                Ok(event) => {
                    if to.send(event).await.is_err() {
                        return;
                    }
                }
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return,
            }
        }
    });
    events
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

    /// A wallet that refuses everything for good.
    struct Refuser {
        cipher: Cipher,
        answers: Mutex<Option<mpsc::Sender<Event>>>,
    }

    #[async_trait]
    impl Link for Refuser {
        async fn publish(&self, event: Event) -> Result<(), crate::link::LinkError> {
            let body = json!({ "error": { "code": "RESTRICTED", "message": "no" } }).to_string();
            let tags = vec![vec!["e".to_owned(), event.id.to_hex()]];
            let answer = self.cipher.event(RESPONSE_KIND, tags, &body, NOW).unwrap();
            let sender = lock(&self.answers).clone().unwrap();
            sender.send(answer).await.unwrap();
            Ok(())
        }

        async fn subscribe(&self, filter: Filter) -> Result<mpsc::Receiver<Event>, crate::link::LinkError> {
            let (sender, receiver) = mpsc::channel(8);
            // It has no description of itself, and says so at once by ending that subscription.
            if filter.kinds.is_some_and(|kinds| kinds.contains(&Kind::from(RESPONSE_KIND))) {
                *lock(&self.answers) = Some(sender);
            }
            Ok(receiver)
        }
    }

    /// Where a payment may have been sent before, a wallet that will not look it up must not make it
    /// look failed.
    #[tokio::test]
    async fn a_refusal_to_look_up_says_nothing_about_the_payment() {
        let (wallet, client) = (nostr::Keys::generate(), nostr::Keys::generate());
        let relay = nostr::RelayUrl::parse("ws://127.0.0.1:1").unwrap();
        let cipher = Cipher::between(wallet.clone(), client.public_key(), Scheme::Nip04);
        let link = Arc::new(Refuser { cipher, answers: Mutex::default() });
        let connection = Connection::new(wallet.public_key(), vec![relay], client.secret_key().clone());
        let (nwc, listener) = Nwc::connect(connection, link, || NOW).await.unwrap();
        tokio::spawn(listener.run());
        assert!(nwc.balance().await.unwrap_err().is_definitive());
        let invoice = Invoice {
            bolt11: String::new(),
            payment_hash: PaymentHash::from_bytes([3; 32]),
            amount: Msat::new(1),
            expires_at: NOW,
            network: openagents_types::Network::Regtest,
        };
        let again = Pay { invoice: &invoice, max_fee: Msat::ZERO, first_attempt: false };
        assert!(!nwc.pay(again).await.unwrap_err().is_definitive());
        assert!(!nwc.lookup_outgoing(invoice.payment_hash).await.unwrap_err().is_definitive());
    }
}
