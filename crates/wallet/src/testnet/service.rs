//! The testnet's voice: NIP-47 on a relay, for every account of the ledger.
//!
//! One task hears requests and answers them in order. A payment that is held answers when it is
//! settled or given back, as on a real wallet. Replayed requests are answered once.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use nostr::{Event, EventId, Filter, Keys, Kind, PublicKey, RelayUrl};
use openagents_types::{Msat, PaymentHash, Preimage, Timestamp};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{
    Account, Audit, Fault, Faults, Ledger, LedgerError,
    ledger::{Opening, incoming_word, outgoing_word},
};
use crate::{
    Incoming, MakeInvoice, Outgoing, WalletError,
    link::Link,
    nwc::{
        Connection,
        wire::{Cipher, Scheme, sign},
    },
};

const INFO_KIND: u16 = 13_194;
const REQUEST_KIND: u16 = 23_194;
const RESPONSE_KIND: u16 = 23_195;
const METHODS: [&str; 9] = [
    "get_info",
    "get_balance",
    "make_invoice",
    "make_hold_invoice",
    "settle_hold_invoice",
    "cancel_hold_invoice",
    "pay_invoice",
    "lookup_invoice",
    "list_transactions",
];

/// What an account that cannot lock payments does not do.
const HOLDING: [&str; 3] = ["make_hold_invoice", "settle_hold_invoice", "cancel_hold_invoice"];

/// How many request ids are remembered against replays.
const REMEMBERED: usize = 100_000;

/// How often held payments are looked at for having been held too long.
const LAPSE_EVERY: Duration = Duration::from_millis(250);

/// The service. Clones are the same one.
#[derive(Clone)]
pub struct Service(Arc<Inner>);

struct Inner {
    keys: Keys,
    link: Arc<dyn Link>,
    clock: fn() -> Timestamp,
    ledger: Mutex<Ledger>,
    clients: Mutex<HashMap<PublicKey, Client>>,
    waiting: Mutex<HashMap<PaymentHash, Asked>>,
    faults: Mutex<Faults>,
    seen: Mutex<(HashSet<EventId>, VecDeque<EventId>)>,
}

/// A client of an account, and how to talk to it.
#[derive(Clone)]
struct Client {
    key: PublicKey,
    account: Account,
    cipher: Cipher,
}

/// A request that waits for its payment.
#[derive(Clone)]
struct Asked {
    client: Client,
    request: EventId,
}

/// What an answer needs.
type Answer = Result<Value, WalletError>;

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").field("key", &self.0.keys.public_key()).finish_non_exhaustive()
    }
}

impl Service {
    /// A service for `ledger` that signs with `keys` and is reached over `link`.
    pub fn new(ledger: Ledger, keys: Keys, link: Arc<dyn Link>, clock: fn() -> Timestamp) -> Self {
        Self(Arc::new(Inner {
            keys,
            link,
            clock,
            ledger: Mutex::new(ledger),
            clients: Mutex::default(),
            waiting: Mutex::default(),
            faults: Mutex::default(),
            seen: Mutex::default(),
        }))
    }

    /// Misbehaves from now on as planned.
    pub fn set_faults(&self, faults: Faults) {
        *lock(&self.0.faults) = faults;
    }

    /// Gives held payments back after this long from now on.
    pub fn set_hold_limit(&self, limit: openagents_types::Millis) {
        lock(&self.0.ledger).set_hold_limit(limit);
    }

    /// Opens an account for a client key derived by the caller, with test money, and gives the
    /// connection to it. Opening it again gives the same account, without more money.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub fn open_account(
        &self,
        opening: Opening<'_>,
        secret: nostr::SecretKey,
        relays: Vec<RelayUrl>,
    ) -> Result<Connection, LedgerError> {
        let key = Keys::new(secret.clone()).public_key();
        lock(&self.0.ledger).open_account(key, opening)?;
        Ok(Connection::new(self.0.keys.public_key(), relays, secret))
    }

    /// Whether all money is where it should be.
    pub fn audit(&self) -> Audit {
        lock(&self.0.ledger).audit()
    }

    /// Announces the service and answers until told to stop or the relay is gone.
    ///
    /// # Errors
    /// The relay cannot be reached.
    pub async fn run(self, stop: CancellationToken) -> Result<(), WalletError> {
        let wanted = Filter::new().kind(Kind::from(REQUEST_KIND)).pubkey(self.0.keys.public_key());
        let unreachable = |error: crate::link::LinkError| WalletError::Unreachable(error.0);
        let mut heard = self.0.link.subscribe(wanted).await.map_err(unreachable)?;
        self.0.announce().await;
        let mut lapse = tokio::time::interval(LAPSE_EVERY);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                event = heard.recv() => match event {
                    Some(event) => self.0.hear(event).await,
                    None => return Ok(()),
                },
                _ = lapse.tick() => self.0.lapse().await,
            }
        }
    }
}

impl Inner {
    async fn announce(&self) {
        let tags = vec![
            vec!["encryption".to_owned(), "nip44_v2 nip04".to_owned()],
            vec!["notifications".to_owned(), "payment_received hold_invoice_accepted".to_owned()],
        ];
        self.publish(sign(&self.keys, INFO_KIND, tags, METHODS.join(" "), (self.clock)())).await;
    }

    async fn publish(&self, event: Event) {
        if let Err(error) = self.link.publish(event).await {
            tracing::warn!(%error, "the testnet could not answer");
        }
    }

    fn is_new(&self, id: EventId) -> bool {
        let mut seen = lock(&self.seen);
        let (set, order) = &mut *seen;
        if !set.insert(id) {
            return false;
        }
        order.push_back(id);
        if order.len() > REMEMBERED
            && let Some(oldest) = order.pop_front()
        {
            set.remove(&oldest);
        }
        true
    }

    async fn hear(&self, event: Event) {
        let verified = self.link.verifies() || event.verify().is_ok();
        if !verified || !self.is_new(event.id) {
            return;
        }
        let Some(client) = self.client(&event) else { return };
        let Some((method, params)) = read(&client.cipher, &event) else { return };
        if expired(&event, (self.clock)()) {
            return;
        }
        let fault = lock(&self.faults).draw();
        if fault == Some(Fault::Lose) {
            return;
        }
        let asked = Asked { client, request: event.id };
        let answer = self.execute(&asked, &method, &params).await;
        if let Some(answer) = answer {
            self.answer_with(&asked, &method, answer, fault).await;
        }
    }

    async fn answer_with(&self, asked: &Asked, method: &str, answer: Answer, fault: Option<Fault>) {
        match fault {
            Some(Fault::Timeout | Fault::Lose) => {}
            Some(Fault::FailThenSettle) if method == "pay_invoice" => {
                self.answer(asked, method, Err(WalletError::PaymentFailed("no route (so it says)".into())))
                    .await;
            }
            Some(Fault::Lie) if method == "pay_invoice" => {
                let proof = json!({ "preimage": "00".repeat(32), "fees_paid": 0 });
                self.answer(asked, method, Ok(proof)).await;
            }
            Some(Fault::Late(delay)) => {
                tokio::time::sleep(delay).await;
                self.answer(asked, method, answer).await;
            }
            Some(Fault::Repeat) => {
                self.answer(asked, method, answer.clone()).await;
                self.answer(asked, method, answer).await;
            }
            Some(Fault::FailThenSettle | Fault::Lie) | None => self.answer(asked, method, answer).await,
        }
    }

    /// The client that wrote a request, with its cipher derived once.
    fn client(&self, event: &Event) -> Option<Client> {
        let mut clients = lock(&self.clients);
        let scheme = if event.content.contains("?iv=") { Scheme::Nip04 } else { Scheme::Nip44 };
        if let Some(known) = clients.get(&event.pubkey).filter(|client| client.cipher.scheme() == scheme) {
            return Some(known.clone());
        }
        let account = lock(&self.ledger).account(&event.pubkey)?;
        let cipher = Cipher::between(self.keys.clone(), event.pubkey, scheme);
        let client = Client { key: event.pubkey, account, cipher };
        clients.insert(event.pubkey, client.clone());
        Some(client)
    }

    /// Does what is asked; `None` if the answer comes later.
    async fn execute(&self, asked: &Asked, method: &str, params: &Value) -> Option<Answer> {
        let (now, account) = ((self.clock)(), asked.client.account);
        Some(match method {
            "get_info" => Ok(info(lock(&self.ledger).is_plain(account))),
            name if HOLDING.contains(&name) && lock(&self.ledger).is_plain(account) => {
                Err(WalletError::NotImplemented(name.to_owned()))
            }
            "get_balance" => Ok(json!({ "balance": lock(&self.ledger).balance(account).get() })),
            "make_invoice" | "make_hold_invoice" => self.make_invoice(now, account, params),
            "settle_hold_invoice" => self.settle(account, params).await,
            "cancel_hold_invoice" => self.cancel(account, params).await,
            "pay_invoice" => return self.pay(now, asked, params).await,
            "lookup_invoice" => self.lookup(now, account, params),
            "list_transactions" => Ok(self.list(now, account, params)),
            other => Err(WalletError::NotImplemented(other.chars().take(40).collect())),
        })
    }

    fn make_invoice(&self, now: Timestamp, account: Account, params: &Value) -> Answer {
        let hold = match params["payment_hash"].as_str() {
            Some(text) => Some(text.parse().map_err(|_| WalletError::Garbled("payment_hash".into()))?),
            None => None,
        };
        let request = MakeInvoice {
            amount: Msat::new(params["amount"].as_u64().unwrap_or(0)),
            description: params["description"].as_str().unwrap_or_default().to_owned(),
            expiry: openagents_types::Millis::from_secs(params["expiry"].as_u64().unwrap_or(3_600)),
            hold,
        };
        let invoice = lock(&self.ledger)
            .invoice(now, account, &request, rand::random())
            .map_err(|error| refusal(&error))?;
        Ok(json!({
            "type": "incoming",
            "invoice": invoice.bolt11,
            "payment_hash": invoice.payment_hash.to_hex(),
            "amount": invoice.amount.get(),
            "created_at": now.secs(),
            "expires_at": invoice.expires_at.secs(),
        }))
    }

    async fn settle(&self, account: Account, params: &Value) -> Answer {
        let preimage: Preimage =
            params["preimage"].as_str().and_then(|text| text.parse().ok()).ok_or(WalletError::NotFound)?;
        lock(&self.ledger).settle(account, preimage).map_err(|error| refusal(&error))?;
        self.resolve(preimage.hash()).await;
        Ok(json!({}))
    }

    async fn cancel(&self, account: Account, params: &Value) -> Answer {
        let hash = hash(params).ok_or(WalletError::NotFound)?;
        lock(&self.ledger).cancel(account, hash).map_err(|error| refusal(&error))?;
        self.resolve(hash).await;
        Ok(json!({}))
    }

    /// Answers whoever waits for a payment that is no longer held.
    async fn resolve(&self, hash: PaymentHash) {
        let asked = lock(&self.waiting).remove(&hash);
        if let Some(asked) = asked {
            let state = lock(&self.ledger).outgoing(asked.client.account, hash);
            if let Some(answer) = paid(&state) {
                self.answer(&asked, "pay_invoice", answer).await;
            }
        }
    }

    async fn pay(&self, now: Timestamp, asked: &Asked, params: &Value) -> Option<Answer> {
        let text = params["invoice"].as_str().unwrap_or_default();
        let known = lock(&self.ledger).hash_of(text);
        let hash = match known.map_or_else(|| crate::bolt11::decode(text).map(|i| i.payment_hash), Ok) {
            Ok(hash) => hash,
            Err(error) => return Some(Err(WalletError::PaymentFailed(error.to_string()))),
        };
        let state = match lock(&self.ledger).pay(now, asked.client.account, hash) {
            Ok(state) => state,
            Err(error) => return Some(Err(refusal(&error))),
        };
        if state == Outgoing::Pending {
            lock(&self.waiting).insert(hash, asked.clone());
        }
        self.tell_payee(now, hash).await;
        paid(&state)
    }

    /// Tells the receiver's clients that a payment is held or has arrived.
    async fn tell_payee(&self, now: Timestamp, hash: PaymentHash) {
        let Some((payee, state)) = ({
            let ledger = lock(&self.ledger);
            ledger.payee(hash).map(|payee| (payee, ledger.incoming(now, payee, hash)))
        }) else {
            return;
        };
        let (name, amount) = match state {
            Incoming::Held { amount } => ("hold_invoice_accepted", amount),
            Incoming::Settled { amount } => ("payment_received", amount),
            Incoming::Open | Incoming::Cancelled | Incoming::Expired | Incoming::Unknown => return,
        };
        let body = json!({
            "notification_type": name,
            "notification": { "type": "incoming", "payment_hash": hash.to_hex(), "amount": amount.get(),
                              "state": incoming_word(state), "created_at": now.secs() },
        });
        let clients: Vec<Client> =
            lock(&self.clients).values().filter(|c| c.account == payee).cloned().collect();
        for client in clients {
            let kind = if client.cipher.scheme() == Scheme::Nip44 { 23_197 } else { 23_196 };
            let tags = vec![vec!["p".to_owned(), client.key.to_hex()]];
            if let Ok(event) = client.cipher.event(kind, tags, &body.to_string(), now) {
                self.publish(event).await;
            }
        }
    }

    fn lookup(&self, now: Timestamp, account: Account, params: &Value) -> Answer {
        let hash = hash(params).ok_or(WalletError::NotFound)?;
        let ledger = lock(&self.ledger);
        let (incoming, outgoing) = (ledger.incoming(now, account, hash), ledger.outgoing(account, hash));
        match (incoming, &outgoing) {
            (Incoming::Unknown, Outgoing::Unknown) => Err(WalletError::NotFound),
            (Incoming::Unknown, state) => Ok(outgoing_value(hash, state)),
            (state, outgoing) => {
                let mut value = incoming_value(hash, state);
                // An account that pays itself has both sides of the payment in one answer.
                value["paid_by_us"] = (*outgoing != Outgoing::Unknown).into();
                if let Outgoing::Settled { preimage, .. } = outgoing {
                    value["preimage"] = preimage.to_hex().into();
                }
                Ok(value)
            }
        }
    }

    fn list(&self, now: Timestamp, account: Account, params: &Value) -> Value {
        let number = |name: &str| usize::try_from(params[name].as_u64().unwrap_or(0)).unwrap_or(0);
        let limit = if number("limit") == 0 { 50 } else { number("limit").min(500) };
        let rows = lock(&self.ledger).history(now, account);
        let page: Vec<Value> =
            rows.iter().skip(number("offset")).take(limit).map(transaction_value).collect();
        json!({ "transactions": page })
    }

    async fn lapse(&self) {
        let lapsed = lock(&self.ledger).lapse((self.clock)());
        for (hash, _) in lapsed {
            self.resolve(hash).await;
        }
    }

    async fn answer(&self, asked: &Asked, method: &str, answer: Answer) {
        let body = match answer {
            Ok(result) => json!({ "result_type": method, "error": null, "result": result }),
            Err(error) => json!({
                "result_type": method,
                "error": { "code": code(&error), "message": error.to_string() },
                "result": null,
            }),
        };
        let tags = vec![
            vec!["p".to_owned(), asked.client.key.to_hex()],
            vec!["e".to_owned(), asked.request.to_hex()],
        ];
        if let Ok(event) = asked.client.cipher.event(RESPONSE_KIND, tags, &body.to_string(), (self.clock)()) {
            self.publish(event).await;
        }
    }
}

fn info(plain: bool) -> Value {
    let methods: Vec<&str> =
        METHODS.into_iter().filter(|method| !plain || !HOLDING.contains(method)).collect();
    json!({
        "alias": "testnet (test money)",
        "network": "regtest",
        "methods": methods,
        "notifications": if plain { vec!["payment_received"] } else { vec!["payment_received", "hold_invoice_accepted"] },
    })
}

fn read(cipher: &Cipher, event: &Event) -> Option<(String, Value)> {
    let text = cipher.open(&event.content).ok()?;
    let mut value: Value = serde_json::from_str(&text).ok()?;
    let method = value["method"].as_str()?.to_owned();
    Some((method, value["params"].take()))
}

fn expired(event: &Event, now: Timestamp) -> bool {
    event.tags.expiration().is_some_and(|at| at.as_secs() < now.secs())
}

fn hash(params: &Value) -> Option<PaymentHash> {
    if let Some(text) = params["payment_hash"].as_str() {
        return text.parse().ok();
    }
    let invoice = crate::bolt11::decode(params["invoice"].as_str()?).ok()?;
    Some(invoice.payment_hash)
}

/// The answer to a payment, unless it is still held.
fn paid(state: &Outgoing) -> Option<Answer> {
    match state {
        Outgoing::Pending | Outgoing::Unknown => None,
        Outgoing::Settled { preimage, fee } => {
            Some(Ok(json!({ "preimage": preimage.to_hex(), "fees_paid": fee.get() })))
        }
        Outgoing::Failed { reason } => Some(Err(WalletError::PaymentFailed(reason.clone()))),
    }
}

fn incoming_value(hash: PaymentHash, state: Incoming) -> Value {
    let amount = match state {
        Incoming::Held { amount } | Incoming::Settled { amount } => amount,
        Incoming::Open | Incoming::Cancelled | Incoming::Expired | Incoming::Unknown => Msat::ZERO,
    };
    let word = if incoming_word(state) == "held" { "accepted" } else { incoming_word(state) };
    json!({ "type": "incoming", "state": word, "payment_hash": hash.to_hex(), "amount": amount.get(),
            "fees_paid": 0, "created_at": 0 })
}

fn outgoing_value(hash: PaymentHash, state: &Outgoing) -> Value {
    let mut value = json!({ "type": "outgoing", "state": outgoing_word(state), "payment_hash": hash.to_hex(),
                            "amount": 0, "fees_paid": 0, "created_at": 0 });
    if let Outgoing::Settled { preimage, .. } = state {
        value["preimage"] = preimage.to_hex().into();
    }
    value
}

fn transaction_value(row: &crate::Transaction) -> Value {
    json!({
        "type": if row.incoming { "incoming" } else { "outgoing" },
        "state": row.state,
        "payment_hash": row.hash.to_hex(),
        "amount": row.amount.get(),
        "fees_paid": row.fee.get(),
        "description": row.description,
        "created_at": row.at.secs(),
    })
}

/// A refusal of the ledger in NIP-47's words. All of them are definitive: nothing moved.
fn refusal(error: &LedgerError) -> WalletError {
    match error {
        LedgerError::Insufficient { .. } => WalletError::InsufficientBalance(error.to_string()),
        LedgerError::UnknownInvoice | LedgerError::NotHeld => WalletError::NotFound,
        LedgerError::NotPayable | LedgerError::AlreadyPaid => WalletError::PaymentFailed(error.to_string()),
        LedgerError::HashInUse | LedgerError::Invoice(_) | LedgerError::Journal(_) => {
            WalletError::Restricted(error.to_string())
        }
    }
}

const fn code(error: &WalletError) -> &'static str {
    match error {
        WalletError::InsufficientBalance(_) => "INSUFFICIENT_BALANCE",
        WalletError::PaymentFailed(_) => "PAYMENT_FAILED",
        WalletError::NotFound => "NOT_FOUND",
        WalletError::QuotaExceeded(_) | WalletError::OverBudget(_) => "QUOTA_EXCEEDED",
        WalletError::Restricted(_) => "RESTRICTED",
        WalletError::NotImplemented(_) => "NOT_IMPLEMENTED",
        WalletError::RateLimited => "RATE_LIMITED",
        WalletError::Internal(_)
        | WalletError::Timeout
        | WalletError::Unreachable(_)
        | WalletError::FalseProof
        | WalletError::Garbled(_) => "INTERNAL",
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
