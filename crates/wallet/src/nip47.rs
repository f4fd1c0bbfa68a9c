//! What any wallet that speaks NIP-47 is to us, whatever carries the words: a relay ([`crate::nwc`]) or
//! the pipes of a child process ([`crate::child`]).
//!
//! NIP-47 has no idempotence of its own, so `pay` asks whether the wallet knows the hash before it is
//! told to pay, unless the caller knows that it cannot; and one hash is being sent by one call at a time.

pub(crate) mod words;

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use openagents_types::{DayBudget, Invoice, Msat, PaymentHash, Preimage, Timestamp};
use serde_json::{Value, json};
use tokio::sync::{broadcast, mpsc};

use crate::{
    HistoryFilter, Incoming, Info, MakeInvoice, Outgoing, Pay, Transaction, Wallet, WalletError, WalletEvent,
    Which, bolt11,
    ecash::{self, Ecash, Locked},
};

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

/// How many events may wait for a slow listener.
pub(crate) const EVENTS: usize = 4_096;

/// What a wallet that speaks NIP-47 remembers on our side.
pub(crate) struct Desk {
    patience: Patience,
    sending: Mutex<HashSet<PaymentHash>>,
    budget: Mutex<Option<DayBudget>>,
    clock: fn() -> Timestamp,
}

impl Desk {
    pub(crate) fn new(clock: fn() -> Timestamp) -> Self {
        Self { patience: Patience::default(), sending: Mutex::default(), budget: Mutex::default(), clock }
    }

    pub(crate) fn set_budget(&mut self, budget: DayBudget) {
        *lock(&self.budget) = Some(budget);
    }

    pub(crate) fn set_patience(&mut self, patience: Patience) {
        self.patience = patience;
    }

    pub(crate) const fn patience(&self) -> Patience {
        self.patience
    }

    pub(crate) fn now(&self) -> Timestamp {
        (self.clock)()
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

/// Carries NIP-47's words to a wallet and back.
#[async_trait]
pub(crate) trait Speaks: Send + Sync {
    /// Asks, and waits this long for the answer's `result`. If it is about a payment, its answer is still
    /// heard after the time is up.
    async fn ask(
        &self,
        payment: Option<PaymentHash>,
        method: &str,
        params: Value,
        patience: Duration,
    ) -> Result<Value, WalletError>;

    fn desk(&self) -> &Desk;

    /// What the wallet said of itself.
    fn introduced(&self) -> Info;

    fn hear(&self) -> broadcast::Receiver<WalletEvent>;

    /// The parameters of `pay_invoice`. NIP-47 has no word for the most that routing may cost.
    fn payment(&self, request: Pay<'_>) -> Value {
        json!({ "invoice": request.invoice.bolt11 })
    }

    /// Whether it may be asked for what is beyond NIP-47.
    fn extends(&self) -> bool {
        false
    }

    async fn call(&self, method: &str, params: Value) -> Result<Value, WalletError> {
        self.ask(None, method, params, self.desk().patience.call).await
    }

    /// What the wallet knows of a hash. A wallet that will not say leaves open what became of the
    /// payment, so no refusal to look up is definitive.
    async fn lookup(&self, hash: PaymentHash) -> Result<Option<Value>, WalletError> {
        match self.call("lookup_invoice", json!({ "payment_hash": hash.to_hex() })).await {
            Ok(value) => Ok(Some(value)),
            Err(WalletError::NotFound) => Ok(None),
            Err(error) if error.is_definitive() => {
                Err(WalletError::Internal(format!("it does not say how a payment stands: {error}")))
            }
            Err(error) => Err(error),
        }
    }

    async fn outgoing(&self, hash: PaymentHash) -> Result<Outgoing, WalletError> {
        match self.lookup(hash).await? {
            // A node that pays itself finds its own invoice; that is not a payment sent.
            Some(value) if value["type"] == "incoming" && value["paid_by_us"] != true => {
                Ok(Outgoing::Unknown)
            }
            Some(value) => words::outgoing(&value, hash).inspect(|state| self.desk().account(hash, state)),
            None => Ok(Outgoing::Unknown),
        }
    }

    async fn send_payment(&self, request: Pay<'_>) -> Result<Outgoing, WalletError> {
        let hash = request.invoice.payment_hash;
        let (params, patience) = (self.payment(request), self.desk().patience.pay);
        match self.ask(Some(hash), "pay_invoice", params, patience).await {
            Ok(result) => words::paid(&result, hash),
            Err(WalletError::Timeout) => Ok(Outgoing::Pending),
            Err(WalletError::PaymentFailed(reason)) => self.after_failure(hash, reason).await,
            Err(error) => Err(error),
        }
    }

    /// Wallets say "failed" of payments that are still under way, and of those they sent before; what
    /// they say of the hash counts (P7).
    async fn after_failure(&self, hash: PaymentHash, reason: String) -> Result<Outgoing, WalletError> {
        Ok(match self.outgoing(hash).await? {
            Outgoing::Unknown | Outgoing::Failed { .. } => Outgoing::Failed { reason },
            known @ (Outgoing::Pending | Outgoing::Settled { .. }) => known,
        })
    }

    /// Locks ecash within the budget, once at a time. What an earlier run began was within it then.
    async fn lock_within_budget(
        &self,
        hash: PaymentHash,
        params: Value,
        (amount, max_fee): (Msat, Msat),
        first_attempt: bool,
    ) -> Result<Locked, WalletError> {
        let desk = self.desk();
        let Some(_sending) = Sending::begin(&desk.sending, hash) else {
            return Err(WalletError::RateLimited);
        };
        if first_attempt && let Some(budget) = &mut *lock(&desk.budget) {
            budget.take(desk.now(), hash, amount, max_fee)?;
        }
        // It asks the mint, which takes as long as a payment.
        let answer = self.ask(None, "lock_ecash", params, desk.patience.pay).await;
        let locked = answer.and_then(|answer| ecash::locked(&answer));
        if locked.as_ref().is_err_and(WalletError::is_definitive) {
            desk.account(hash, &Outgoing::Failed { reason: String::new() });
        }
        locked
    }

    /// Sends within the budget. One that an earlier run began was within it then.
    async fn spend(&self, request: Pay<'_>) -> Result<Outgoing, WalletError> {
        let (desk, hash) = (self.desk(), request.invoice.payment_hash);
        if request.first_attempt
            && let Some(budget) = &mut *lock(&desk.budget)
        {
            budget.take(desk.now(), hash, request.invoice.amount, request.max_fee)?;
        }
        let outcome = self.send_payment(request).await;
        match &outcome {
            Ok(state) => desk.account(hash, state),
            Err(error) if error.is_definitive() => {
                desk.account(hash, &Outgoing::Failed { reason: String::new() });
            }
            Err(_) => {}
        }
        outcome
    }
}

#[async_trait]
impl<T: Speaks> Wallet for T {
    async fn info(&self) -> Result<Info, WalletError> {
        Ok(self.introduced())
    }

    async fn balance(&self) -> Result<Msat, WalletError> {
        let result = self.call("get_balance", json!({})).await?;
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
        let result = self.call(method, params).await?;
        let text = result["invoice"].as_str().ok_or_else(|| WalletError::Garbled("no invoice".into()))?;
        let invoice = bolt11::decode(text).map_err(|error| WalletError::Garbled(error.to_string()))?;
        if invoice.amount != request.amount || request.hold.is_some_and(|hash| hash != invoice.payment_hash) {
            return Err(WalletError::Garbled("its invoice is for something else".into()));
        }
        Ok(invoice)
    }

    async fn settle_hold(&self, preimage: Preimage) -> Result<(), WalletError> {
        self.call("settle_hold_invoice", json!({ "preimage": preimage.to_hex() })).await.map(drop)
    }

    async fn cancel_hold(&self, hash: PaymentHash) -> Result<(), WalletError> {
        self.call("cancel_hold_invoice", json!({ "payment_hash": hash.to_hex() })).await.map(drop)
    }

    async fn pay(&self, request: Pay<'_>) -> Result<Outgoing, WalletError> {
        let hash = request.invoice.payment_hash;
        let Some(_sending) = Sending::begin(&self.desk().sending, hash) else {
            // The wallet may not have read the other call's request yet.
            let known = self.outgoing(hash).await?;
            return Ok(if known == Outgoing::Unknown { Outgoing::Pending } else { known });
        };
        if !request.first_attempt {
            let known = self.outgoing(hash).await?;
            if known != Outgoing::Unknown {
                return Ok(known);
            }
        }
        self.spend(request).await
    }

    async fn lookup_incoming(&self, hash: PaymentHash) -> Result<Incoming, WalletError> {
        Ok(self.lookup(hash).await?.map_or(Incoming::Unknown, |value| words::incoming(&value)))
    }

    async fn lookup_outgoing(&self, hash: PaymentHash) -> Result<Outgoing, WalletError> {
        // While it is being sent, a wallet that does not know it may not have read the request yet.
        let is_sending = lock(&self.desk().sending).contains(&hash);
        let known = self.outgoing(hash).await?;
        Ok(if is_sending && known == Outgoing::Unknown { Outgoing::Pending } else { known })
    }

    async fn history(&self, filter: HistoryFilter) -> Result<Vec<Transaction>, WalletError> {
        let mut params = json!({ "offset": filter.offset });
        if filter.limit > 0 {
            params["limit"] = filter.limit.into();
        }
        let only = match filter.which {
            Which::Arrived => None,
            Which::Outgoing => Some("outgoing"),
            Which::Incoming => Some("incoming"),
        };
        if let Some(only) = only {
            params["type"] = only.into();
            params["unpaid"] = true.into();
        }
        if let Some(since) = filter.since {
            params["from"] = since.secs().into();
        }
        let result = self.call("list_transactions", params).await?;
        let list = result["transactions"].as_array().cloned().unwrap_or_default();
        let mut transactions: Vec<Transaction> = list.iter().filter_map(words::transaction).collect();
        // NIP-47 wants descending order; not every wallet keeps to it.
        transactions.sort_by_key(|transaction| std::cmp::Reverse(transaction.at));
        Ok(transactions)
    }

    async fn extension(&self, method: &str, params: Value) -> Result<Value, WalletError> {
        if !self.extends() {
            return Err(WalletError::NotImplemented(method.into()));
        }
        // It may speak to peers, which takes as long as a payment.
        self.ask(None, method, params, self.desk().patience.pay).await
    }

    fn ecash(&self) -> Option<&dyn Ecash> {
        ecash::of(self)
    }

    fn events(&self) -> mpsc::Receiver<WalletEvent> {
        bridge(self.hear())
    }
}

/// Carries a broadcast into a channel of its own; a listener that falls behind misses hints, and
/// look-ups make up for them.
fn bridge(mut from: broadcast::Receiver<WalletEvent>) -> mpsc::Receiver<WalletEvent> {
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

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
