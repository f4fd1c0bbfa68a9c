//! NIP-47's methods on ecash. What is asked for is in the book before it is done, and look-ups answer from
//! the book; what is open there is asked of its mint again and again until it is over.

use std::{
    collections::{HashMap, HashSet},
    str::FromStr as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use cdk::nuts::SecretKey;
use lightning_invoice::Bolt11Invoice;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::{
    book::{Book, BookError, Bytes, Payment, State, escrows::Entry, now},
    eprint,
    keys::EscrowKeys,
    mint::Mint,
    setup::{Network, Setup, SetupError},
    talk::{Mouth, Refusal, Request},
    tokens,
};

/// The methods of NIP-47 that this wallet has, and those of its own. It cannot hold payments over Lightning,
/// so it has no `make_hold_invoice`; what it settles and cancels is ecash in escrow.
const METHODS: [&str; 19] = [
    "get_info",
    "get_balance",
    "make_invoice",
    "pay_invoice",
    "lookup_invoice",
    "list_transactions",
    "list_mints",
    "send_token",
    "receive_token",
    "list_tokens",
    "reclaim_token",
    "make_ecash_request",
    "read_ecash_request",
    "lock_ecash",
    "accept_ecash",
    "settle_hold_invoice",
    "cancel_hold_invoice",
    "release_ecash",
    "take_back_ecash",
];

/// How many payments a page of the history has, unless it is said, and at most.
const PAGE: (u32, u32) = (50, 500);

/// How often what is open is looked through.
const PERIOD: Duration = Duration::from_secs(1);

/// How long a look-up waits for a mint before it answers from the book.
pub(crate) const GLANCE: Duration = Duration::from_secs(3);

/// How long a breath is, for whoever waits for another task.
pub(crate) const BREATH: Duration = Duration::from_millis(20);

/// The wallet.
pub(crate) struct Wallet {
    pub(crate) network: Network,
    /// In the order of trust; the first receives.
    pub(crate) mints: Vec<Arc<Mint>>,
    pub(crate) max_msat_per_mint: u64,
    /// What tokens can be locked to (NUT-11).
    pub(crate) key: SecretKey,
    /// What ecash in escrow is locked to.
    pub(crate) escrow_keys: EscrowKeys,
    /// For the secrets of ecash that this wallet changes by itself.
    pub(crate) seed: Zeroizing<[u8; 64]>,
    pub(crate) mouth: Mouth,
    /// Held between the look at how much a mint may hold and the note that it holds more.
    pub(crate) accepting: tokio::sync::Mutex<()>,
    book: Mutex<Book>,
    /// Payments that a task is working on: whatever their mint says meanwhile, only that task concludes them.
    busy: Mutex<HashSet<Bytes>>,
    /// When an open payment was last asked about.
    pub(crate) asked: Mutex<HashMap<Bytes, u64>>,
}

/// The right to work on one payment; given back when dropped.
pub(crate) struct Busy<'a> {
    all: &'a Mutex<HashSet<Bytes>>,
    hash: Bytes,
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        lock(self.all).remove(&self.hash);
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Wallet {
    pub(crate) fn new(
        setup: &Setup,
        book: Book,
        mints: Vec<Arc<Mint>>,
        seed: Zeroizing<[u8; 64]>,
        mouth: Mouth,
    ) -> Result<Self, SetupError> {
        Ok(Self {
            network: setup.network,
            mints,
            max_msat_per_mint: setup.max_msat_per_mint,
            key: tokens::key(&seed).map_err(|error| SetupError::Build(error.to_string()))?,
            escrow_keys: EscrowKeys::new(&seed),
            seed,
            mouth,
            accepting: tokio::sync::Mutex::default(),
            book: Mutex::new(book),
            busy: Mutex::default(),
            asked: Mutex::default(),
        })
    }

    pub(crate) fn book(&self) -> MutexGuard<'_, Book> {
        lock(&self.book)
    }

    /// For whoever reads it between awaits.
    pub(crate) fn shared_book(&self) -> &Mutex<Book> {
        &self.book
    }

    /// `None` if another task works on it.
    pub(crate) fn work_on(&self, hash: Bytes) -> Option<Busy<'_>> {
        // Made only when the hash is new: dropping it takes the same lock, and frees the hash.
        let new = lock(&self.busy).insert(hash);
        new.then(|| Busy { all: &self.busy, hash })
    }

    /// A trusted mint by its address.
    pub(crate) fn mint(&self, name: &str) -> Option<&Arc<Mint>> {
        self.mints.iter().find(|mint| mint.name() == name)
    }

    /// Does what is asked, and answers.
    pub(crate) async fn take(self: Arc<Self>, request: Request) {
        let answer = self.clone().execute(&request).await;
        self.mouth.answer(request.id, &request.method, answer);
    }

    async fn execute(self: Arc<Self>, request: &Request) -> Result<Value, Refusal> {
        let params = &request.params;
        match request.method.as_str() {
            "get_info" => Ok(self.info()),
            "get_balance" => self.balance().await,
            "make_invoice" => self.make_invoice(params).await,
            "pay_invoice" => self.pay(params).await,
            "lookup_invoice" => self.lookup(params).await,
            "list_transactions" => self.list(params),
            "list_mints" => self.list_mints().await,
            "send_token" => self.send_token(params).await,
            "receive_token" => self.receive_token(params).await,
            "list_tokens" => self.list_tokens().await,
            "reclaim_token" => self.reclaim_token(params).await,
            "make_ecash_request" => self.make_ecash_request(params).await,
            "read_ecash_request" => self.read_ecash_request(params).await,
            "lock_ecash" => self.lock_ecash(params).await,
            "accept_ecash" => self.accept_ecash(params).await,
            "settle_hold_invoice" => self.settle(params).await,
            "cancel_hold_invoice" => self.cancel(params).await,
            "release_ecash" => self.release_ecash(params).await,
            "take_back_ecash" => self.take_back_ecash(params).await,
            other => Err(Refusal::unknown_method(other)),
        }
    }

    /// Who this is and what it can do.
    pub(crate) fn info(&self) -> Value {
        json!({
            "alias": "Cashu wallet",
            "pubkey": self.key.public_key().to_string(),
            "network": self.network.name(),
            "methods": METHODS,
            "notifications": ["payment_received", "payment_sent", "hold_invoice_accepted"],
        })
    }

    /// What could be spent now, in millisatoshis, at all mints together.
    async fn balance(&self) -> Result<Value, Refusal> {
        let mut sats = 0;
        for mint in &self.mints {
            sats += mint.balance().await?;
        }
        Ok(json!({ "balance": sats * 1_000 }))
    }

    /// What each mint holds.
    async fn list_mints(&self) -> Result<Value, Refusal> {
        let mut mints = Vec::new();
        for mint in &self.mints {
            let (balance, holding) = (mint.balance().await?, mint.holding().await?);
            mints.push(json!({
                "url": mint.name(),
                "balance": balance * 1_000,
                "in_use": holding.saturating_sub(balance) * 1_000,
                "held": self.book().locked_at(&mint.name(), true)?,
                "locked": self.book().locked_at(&mint.name(), false)?,
                "max": self.max_msat_per_mint,
            }));
        }
        Ok(json!({ "mints": mints, "pubkey": self.key.public_key().to_string() }))
    }

    /// How a payment stands. One that is open is asked of its mint first, but not for long.
    async fn lookup(self: &Arc<Self>, params: &Value) -> Result<Value, Refusal> {
        let of_invoice = || {
            let invoice = Bolt11Invoice::from_str(params["invoice"].as_str()?).ok()?;
            Some(hash_of(&invoice))
        };
        let hash = bytes(params, "payment_hash").or_else(of_invoice).ok_or_else(Refusal::not_found)?;
        if let Some(escrow) = self.look_at_escrow(hash).await? {
            return Ok(escrow.value());
        }
        let payment = self.book().get(hash)?.ok_or_else(Refusal::not_found)?;
        if matches!(payment.state, State::Open | State::Sent) {
            let wallet = self.clone();
            let asking = tokio::spawn(async move { wallet.see_to(payment).await });
            // A mint that is silent leaves open how it stands; the book says that it is.
            let _ = tokio::time::timeout(GLANCE, asking).await;
        }
        Ok(self.book().get(hash)?.ok_or_else(Refusal::not_found)?.value())
    }

    fn list(&self, params: &Value) -> Result<Value, Refusal> {
        let number = |name: &str| u32::try_from(params[name].as_u64().unwrap_or(0)).unwrap_or(u32::MAX);
        let limit = if number("limit") == 0 { PAGE.0 } else { number("limit").min(PAGE.1) };
        let page = self.book().page(limit, number("offset"))?;
        Ok(json!({ "transactions": page.iter().map(Entry::value).collect::<Vec<_>>() }))
    }

    /// Takes up what an earlier run left open, and keeps at it for as long as the process lives.
    pub(crate) fn begin_again(self: &Arc<Self>) {
        if let Err(error) = self.forget_unsent() {
            eprint(format_args!("{error}"));
        }
        for mint in self.mints.clone() {
            let wallet = self.clone();
            tokio::spawn(async move { wallet.keep_time(&mint).await });
        }
    }

    /// What was only wanted was never sent.
    fn forget_unsent(&self) -> Result<(), BookError> {
        let book = self.book();
        for payment in book.all(State::Begun)? {
            book.remove_unsent(payment.hash)?;
        }
        book.remove_begun(None)
    }

    async fn keep_time(self: &Arc<Self>, mint: &Arc<Mint>) {
        loop {
            mint.tidy(self.shared_book()).await;
            if let Err(error) = self.look_through(mint).await {
                eprint(format_args!("{error}"));
            }
            tokio::time::sleep(PERIOD).await;
        }
    }

    /// Everything that is open at a mint, each as often as its age allows.
    async fn look_through(self: &Arc<Self>, mint: &Arc<Mint>) -> Result<(), BookError> {
        let restored = self.book().is_restored(&mint.name())?;
        if !restored {
            match mint.restore().await {
                Ok(_) => self.book().put_restored(&mint.name())?,
                Err(_) => return Ok(()),
            }
        }
        self.find_unseen(mint).await?;
        for state in [State::Sent, State::Open] {
            let open = self.book().all(state)?;
            for payment in open.into_iter().filter(|payment| payment.mint == mint.name()) {
                if self.is_due(&payment) {
                    self.ask_about(payment).await;
                }
            }
        }
        self.look_through_escrows(mint).await
    }

    /// The older, the rarer; an invoice that nobody can pay any more is let go after a day.
    fn is_due(&self, payment: &Payment) -> bool {
        let now = now();
        let age = now.saturating_sub(payment.created_at);
        let over = now.saturating_sub(payment.expires_at);
        let pause = match payment.incoming {
            true if over > 86_400 => return false,
            true if over > 0 => 600,
            _ => (age / 30).clamp(1, 60),
        };
        lock(&self.asked).get(&payment.hash).is_none_or(|at| now >= at + pause)
    }

    /// Asks about an open payment, or waits for whoever is asking. A payment by us that is being made is open
    /// for as long as that takes.
    async fn see_to(&self, payment: Payment) {
        while payment.incoming && lock(&self.busy).contains(&payment.hash) {
            tokio::time::sleep(BREATH).await;
        }
        self.ask_about(payment).await;
    }

    /// Asks the mint about an open payment, and writes down what that says.
    async fn ask_about(&self, payment: Payment) {
        let Some(_busy) = self.work_on(payment.hash) else { return };
        // It may be over since it was read.
        let Ok(Some(payment)) = self.book().get(payment.hash) else { return };
        if !matches!(payment.state, State::Open | State::Sent) {
            return;
        }
        let Some(mint) = self.mint(&payment.mint).cloned() else { return };
        let hash = payment.hash;
        lock(&self.asked).insert(hash, now());
        let answer = if payment.incoming {
            self.collect(&mint, payment).await
        } else {
            self.conclude(&mint, payment).await
        };
        match answer {
            Ok(()) => {}
            Err(refusal) => eprint(format_args!("{}: {refusal:?}", mint.url)),
        }
        let is_over = self
            .book()
            .get(hash)
            .ok()
            .flatten()
            .is_none_or(|payment| !matches!(payment.state, State::Open | State::Sent));
        if is_over {
            lock(&self.asked).remove(&hash);
        }
    }
}

impl Payment {
    /// In NIP-47's words. One that the mint calls paid and cannot prove has no preimage, so nobody who looks
    /// for the proof takes it for settled.
    pub(crate) fn value(&self) -> Value {
        let state = match self.state {
            State::Open if self.expires_at <= now() => "expired",
            State::Open | State::Begun | State::Sent => "pending",
            State::Settled | State::Unproven => "settled",
            State::Failed => "failed",
        };
        let mut value = json!({
            "type": if self.incoming { "incoming" } else { "outgoing" },
            "state": state,
            "invoice": self.bolt11,
            "description": self.description,
            "payment_hash": hex::encode(self.hash),
            "amount": self.amount,
            "fees_paid": self.fee,
            "created_at": self.created_at,
            "expires_at": self.expires_at,
            "mint": self.mint,
        });
        if matches!(self.state, State::Settled | State::Unproven) {
            value["settled_at"] = self.settled_at.into();
            value["preimage"] = self.preimage.map(hex::encode).into();
        }
        value
    }
}

/// The name of an invoice's payment.
pub(crate) fn hash_of(invoice: &Bolt11Invoice) -> Bytes {
    *invoice.payment_hash().as_ref()
}

pub(crate) fn bytes(params: &Value, name: &str) -> Option<Bytes> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(params[name].as_str()?, &mut bytes).ok()?;
    Some(bytes)
}
