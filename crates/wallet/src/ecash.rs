//! Ecash of mints (Cashu), locked until a preimage is shown: the second port of a wallet that has some.
//!
//! A provider's wallet makes a request that names a payment hash, its own key and the end of the lock (NUT-14,
//! NUT-18); a customer's wallet locks ecash so, and gives a token; the provider's wallet checks the token and holds
//! it. From then on it is a held payment like one by invoice: [`Wallet::settle_hold`], [`Wallet::cancel_hold`] and
//! the look-ups take its hash.

use async_trait::async_trait;
use openagents_types::{EcashAsk, EcashRelease, EcashToken, Msat, PaymentHash, Preimage, Timestamp};
use serde_json::{Value, json};

use crate::{
    Incoming, Wallet, WalletError,
    nip47::{Speaks, words},
};

/// What a wallet with ecash can do besides. All amounts are in millisatoshis.
#[async_trait]
pub trait Ecash: Send + Sync {
    /// Makes a request for ecash; the same for the same hash.
    ///
    /// # Errors
    /// It cannot, or does not answer.
    async fn request(&self, request: RequestEcash) -> Result<EcashAsk, WalletError>;

    /// Locks ecash as asked, once for each hash, and gives the same token however often it is asked.
    ///
    /// # Errors
    /// It refused, or the payment is over ([`WalletError::is_definitive`]: a look-up says how), or no answer came.
    async fn lock(&self, request: LockEcash<'_>) -> Result<Locked, WalletError>;

    /// Checks a token against the request that it is to pay, and holds it. Nothing is spent.
    ///
    /// # Errors
    /// It is not what was asked for ([`WalletError::is_definitive`]), or no answer came.
    async fn accept(&self, hash: PaymentHash, token: &EcashToken) -> Result<Incoming, WalletError>;

    /// Gives up what is held, and says what the payer can take it back with before the lock ends.
    ///
    /// # Errors
    /// It cannot ([`WalletError::is_definitive`]: give it up with [`Wallet::cancel_hold`]), or no answer came.
    async fn release(&self, preimage: Preimage) -> Result<EcashRelease, WalletError>;

    /// Takes back what was locked, with what its receiver gave up. Safe to repeat.
    ///
    /// # Errors
    /// It cannot, or no answer came; a look-up says how the payment stands.
    async fn take_back(&self, hash: PaymentHash, release: &EcashRelease) -> Result<(), WalletError>;

    /// What the mints have kept of a payment by us so far: of one that came back, for locking it and taking it back.
    ///
    /// # Errors
    /// It knows no such payment, or does not answer.
    async fn cost(&self, hash: PaymentHash) -> Result<Msat, WalletError>;
}

/// Ecash to ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestEcash {
    /// How much.
    pub amount: Msat,
    /// The hash to lock it by.
    pub hash: PaymentHash,
    /// When whoever locked it can take it back; whole seconds.
    pub locktime: Timestamp,
    /// Until when it can be paid.
    pub expires_at: Timestamp,
    /// What it is for; the payer sees this.
    pub description: String,
}

/// Ecash to lock.
#[derive(Clone, Copy, Debug)]
pub struct LockEcash<'a> {
    /// What is asked.
    pub ask: &'a EcashAsk,
    /// How much: what the request has to say.
    pub amount: Msat,
    /// The most that the mint may take on top.
    pub max_fee: Msat,
    /// True if the caller knows that this was never locked.
    pub first_attempt: bool,
}

/// Ecash that is locked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Locked {
    /// What to hand over.
    pub token: EcashToken,
    /// What the mint took on top.
    pub fee: Msat,
}

#[async_trait]
impl<T: Speaks> Ecash for T {
    async fn request(&self, request: RequestEcash) -> Result<EcashAsk, WalletError> {
        let params = json!({
            "amount": request.amount.get(),
            "payment_hash": request.hash.to_hex(),
            "locktime": request.locktime.secs(),
            "expires_at": request.expires_at.secs(),
            "description": request.description,
        });
        let made = self.call("make_ecash_request", params).await?;
        let text = text(&made, "request")?;
        // One that was made before may have another lock: what it says counts.
        let read = self.call("read_ecash_request", json!({ "request": text })).await?;
        let says = Says::of(&read)?;
        if says.amount != request.amount || says.hash != request.hash {
            return Err(WalletError::Garbled("its request is for something else".into()));
        }
        Ok(EcashAsk { request: text, hash: says.hash, locktime: says.locktime, mints: mints(&made) })
    }

    async fn lock(&self, request: LockEcash<'_>) -> Result<Locked, WalletError> {
        let LockEcash { ask, amount, max_fee, first_attempt } = request;
        let params = json!({
            "request": ask.request,
            "amount": amount.get(),
            "payment_hash": ask.hash.to_hex(),
            "locktime": ask.locktime.secs(),
            "max_fee": max_fee.get(),
        });
        self.lock_within_budget(ask.hash, params, (amount, max_fee), first_attempt).await
    }

    async fn accept(&self, hash: PaymentHash, token: &EcashToken) -> Result<Incoming, WalletError> {
        let params = json!({ "payment_hash": hash.to_hex(), "token": token.expose() });
        Ok(words::incoming(&self.call("accept_ecash", params).await?))
    }

    async fn release(&self, preimage: Preimage) -> Result<EcashRelease, WalletError> {
        let params = json!({ "payment_hash": preimage.hash().to_hex(), "preimage": preimage.to_hex() });
        Ok(EcashRelease::new(text(&self.call("release_ecash", params).await?, "release")?))
    }

    async fn take_back(&self, hash: PaymentHash, release: &EcashRelease) -> Result<(), WalletError> {
        let params = json!({ "payment_hash": hash.to_hex(), "release": release.expose() });
        // It asks the mint, which takes as long as a payment.
        self.ask(None, "take_back_ecash", params, self.desk().patience().pay).await.map(drop)
    }

    async fn cost(&self, hash: PaymentHash) -> Result<Msat, WalletError> {
        let known = self.lookup(hash).await?.ok_or(WalletError::NotFound)?;
        Ok(Msat::new(known["fees_paid"].as_u64().unwrap_or(0)))
    }
}

/// What a request says, by the wallet's own reading.
struct Says {
    amount: Msat,
    hash: PaymentHash,
    locktime: Timestamp,
}

impl Says {
    fn of(read: &Value) -> Result<Self, WalletError> {
        let number = |name: &'static str| read[name].as_u64().ok_or_else(|| missing(name));
        let hash = read["payment_hash"].as_str().and_then(|hash| hash.parse().ok());
        Ok(Self {
            amount: Msat::new(number("amount")?),
            hash: hash.ok_or_else(|| missing("payment_hash"))?,
            locktime: Timestamp::from_secs(number("locktime")?),
        })
    }
}

/// The token of an answer.
pub(crate) fn locked(answer: &Value) -> Result<Locked, WalletError> {
    let token = EcashToken::new(text(answer, "token")?);
    Ok(Locked { token, fee: Msat::new(answer["fees_paid"].as_u64().unwrap_or(0)) })
}

fn mints(made: &Value) -> Vec<String> {
    let named = made["mints"].as_array().into_iter().flatten().filter_map(Value::as_str);
    named.map(str::to_owned).collect()
}

fn text(answer: &Value, name: &'static str) -> Result<String, WalletError> {
    answer[name].as_str().map(str::to_owned).ok_or_else(|| missing(name))
}

fn missing(name: &'static str) -> WalletError {
    WalletError::Garbled(format!("it says no {name}"))
}

/// The ecash of a wallet, if it has some.
pub(crate) fn of<T: Speaks + Wallet>(wallet: &T) -> Option<&dyn Ecash> {
    (wallet.extends() && wallet.introduced().ecash).then_some(wallet as &dyn Ecash)
}
