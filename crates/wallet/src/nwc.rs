//! Nostr Wallet Connect (NIP-47), the client's side.
//!
//! One subscription hears every answer; calls are matched by the `e` tag. An answer counts only if
//! its id and signature hold, its author is the wallet, and we are waiting for it. NIP-47 has no
//! idempotence of its own, so `pay` asks whether the wallet knows the hash before it is told to pay,
//! unless the caller knows that it cannot.

mod connection;
pub(crate) mod wire;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use nostr::{Event, EventId, Filter, Kind};
use openagents_types::{Invoice, Msat, PaymentHash, Preimage, Timestamp};
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

/// How long an ordinary call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a payment is waited for before it counts as pending. A held one answers only when it is
/// settled or given back.
const PAY_TIMEOUT: Duration = Duration::from_secs(60);

/// How long the wallet's description of itself is waited for.
const INFO_TIMEOUT: Duration = Duration::from_secs(3);

/// How many events may wait for a slow listener.
const EVENTS: usize = 4_096;

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
    clock: fn() -> Timestamp,
}

type Waiting = Arc<Mutex<HashMap<EventId, oneshot::Sender<Value>>>>;

impl std::fmt::Debug for Nwc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Nwc").field("info", &self.info).finish_non_exhaustive()
    }
}

/// What hears the wallet's answers. Whoever connects runs it for as long as the wallet is used.
pub struct Listener {
    cipher: Cipher,
    heard: mpsc::Receiver<Event>,
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
        let listener =
            Listener { cipher: cipher.clone(), heard, waiting: waiting.clone(), events: events.clone() };
        let info = Info {
            alias: String::new(),
            network: openagents_types::Network::Mainnet,
            hold: false,
            notifications: false,
        };
        Ok((Self { cipher, link, waiting, events, info, clock }, listener))
    }

    /// Asks the wallet who it is. To be called once, before the wallet is used.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn introduce(&mut self) -> Result<Info, WalletError> {
        let result = self.call("get_info", json!({}), CALL_TIMEOUT).await?;
        self.info = wire::info(&result);
        Ok(self.info.clone())
    }

    async fn call(&self, method: &str, params: Value, patience: Duration) -> Result<Value, WalletError> {
        let body = json!({ "method": method, "params": params }).to_string();
        let now = (self.clock)();
        let event = self.cipher.request(REQUEST_KIND, &body, now, patience)?;
        let (sender, answer) = oneshot::channel();
        lock(&self.waiting).insert(event.id, sender);
        let id = event.id;
        let sent = self.link.publish(event).await;
        let outcome = match sent {
            Ok(()) => tokio::time::timeout(patience, answer).await,
            Err(error) => {
                lock(&self.waiting).remove(&id);
                return Err(WalletError::Unreachable(error.0));
            }
        };
        lock(&self.waiting).remove(&id);
        match outcome {
            Ok(Ok(value)) => wire::result(value),
            Ok(Err(_)) | Err(_) => Err(WalletError::Timeout),
        }
    }

    async fn lookup(&self, hash: PaymentHash) -> Result<Option<Value>, WalletError> {
        match self.call("lookup_invoice", json!({ "payment_hash": hash.to_hex() }), CALL_TIMEOUT).await {
            Ok(value) => Ok(Some(value)),
            Err(WalletError::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn send_payment(&self, invoice: &Invoice) -> Result<Outgoing, WalletError> {
        let hash = invoice.payment_hash;
        match self.call("pay_invoice", json!({ "invoice": invoice.bolt11 }), PAY_TIMEOUT).await {
            Ok(result) => wire::paid(&result, hash),
            Err(WalletError::Timeout) => Ok(Outgoing::Pending),
            Err(WalletError::PaymentFailed(reason)) => Ok(Outgoing::Failed { reason }),
            Err(error) => Err(error),
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
        if event.pubkey != self.cipher.wallet() || event.verify().is_err() {
            return;
        }
        let Ok(text) = self.cipher.open(&event.content) else { return };
        let Ok(value) = serde_json::from_str::<Value>(&text) else { return };
        if event.kind.as_u16() == RESPONSE_KIND {
            let asked = event.tags.event_ids().next().copied();
            if let Some(sender) = asked.and_then(|id| lock(&self.waiting).remove(&id)) {
                let _ = sender.send(value);
            }
        } else if let Some(news) = wire::notification(&value) {
            let _ = self.events.send(news);
        }
    }
}

#[async_trait]
impl Wallet for Nwc {
    async fn info(&self) -> Result<Info, WalletError> {
        Ok(self.info.clone())
    }

    async fn balance(&self) -> Result<Msat, WalletError> {
        let result = self.call("get_balance", json!({}), CALL_TIMEOUT).await?;
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
        let result = self.call(method, params, CALL_TIMEOUT).await?;
        let text = result["invoice"].as_str().ok_or_else(|| WalletError::Garbled("no invoice".into()))?;
        let invoice =
            bolt11::decode(text, (self.clock)()).map_err(|error| WalletError::Garbled(error.to_string()))?;
        if invoice.amount != request.amount || request.hold.is_some_and(|hash| hash != invoice.payment_hash) {
            return Err(WalletError::Garbled("its invoice is for something else".into()));
        }
        Ok(invoice)
    }

    async fn settle_hold(&self, preimage: Preimage) -> Result<(), WalletError> {
        let params = json!({ "preimage": preimage.to_hex() });
        self.call("settle_hold_invoice", params, CALL_TIMEOUT).await.map(drop)
    }

    async fn cancel_hold(&self, hash: PaymentHash) -> Result<(), WalletError> {
        let params = json!({ "payment_hash": hash.to_hex() });
        self.call("cancel_hold_invoice", params, CALL_TIMEOUT).await.map(drop)
    }

    async fn pay(&self, request: Pay<'_>) -> Result<Outgoing, WalletError> {
        if !request.first_attempt {
            let known = self.lookup_outgoing(request.invoice.payment_hash).await?;
            if known != Outgoing::Unknown {
                return Ok(known);
            }
        }
        self.send_payment(request.invoice).await
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
            Some(value) => wire::outgoing(&value, hash),
            None => Ok(Outgoing::Unknown),
        }
    }

    async fn history(&self, filter: HistoryFilter) -> Result<Vec<Transaction>, WalletError> {
        let mut params = json!({ "offset": filter.offset });
        if filter.limit > 0 {
            params["limit"] = filter.limit.into();
        }
        let result = self.call("list_transactions", params, CALL_TIMEOUT).await?;
        let list = result["transactions"].as_array().cloned().unwrap_or_default();
        Ok(list.iter().filter_map(wire::transaction).collect())
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
