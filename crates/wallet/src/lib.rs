//! Wallets: one trait in NIP-47's words, and what stands behind it.
//!
//! A payment is named by its hash, here and everywhere. [`Wallet::pay`] may be called again with the
//! same hash and never sends twice. An answer that did not come is an error that says so
//! ([`WalletError::is_definitive`]), never a failure.
//!
//! [`nwc`] speaks NIP-47 to any wallet that does, [`child`] to one that is a program of its own; [`testnet`] is a wallet service that speaks it back,
//! with real BOLT11 invoices and real preimages and no network behind them. [`bolt11`] reads
//! invoices, [`ecash`] is what a wallet with ecash of mints can do besides, [`destination`] whatever else a person may paste to have it paid, and [`lnurl`] what servers that make
//! invoices say. [`link`] is how a wallet reaches a relay.

pub mod bolt11;
pub mod child;
pub mod destination;
pub mod ecash;
pub mod link;
pub mod lnurl;
mod nip47;
pub mod nwc;
pub mod testnet;

use async_trait::async_trait;
use openagents_types::{Invoice, Millis, Msat, Network, OverBudget, PaymentHash, Preimage, Rail, Timestamp};
use tokio::sync::mpsc;

/// A wallet. All amounts are in millisatoshis.
#[async_trait]
pub trait Wallet: Send + Sync {
    /// What it is and can do.
    ///
    /// # Errors
    /// It does not answer.
    async fn info(&self) -> Result<Info, WalletError>;

    /// What it could spend now.
    ///
    /// # Errors
    /// It does not answer.
    async fn balance(&self) -> Result<Msat, WalletError>;

    /// Makes an invoice. With a hash to hold by, the payment is locked until settled or cancelled,
    /// and asking again for the same hash gives the same invoice.
    ///
    /// # Errors
    /// It cannot, or does not answer.
    async fn make_invoice(&self, request: MakeInvoice) -> Result<Invoice, WalletError>;

    /// Takes a held payment.
    ///
    /// # Errors
    /// Nothing is held for this preimage, or no answer came.
    async fn settle_hold(&self, preimage: Preimage) -> Result<(), WalletError>;

    /// Gives a held payment back, or voids its invoice.
    ///
    /// # Errors
    /// It cannot be cancelled any more, or no answer came.
    async fn cancel_hold(&self, hash: PaymentHash) -> Result<(), WalletError>;

    /// Pays, unless the wallet knows the hash already; then says how that payment stands.
    ///
    /// # Errors
    /// It refused ([`WalletError::is_definitive`]: nothing was sent), or no answer came.
    async fn pay(&self, request: Pay<'_>) -> Result<Outgoing, WalletError>;

    /// How a payment to us stands.
    ///
    /// # Errors
    /// It does not answer.
    async fn lookup_incoming(&self, hash: PaymentHash) -> Result<Incoming, WalletError>;

    /// How a payment by us stands.
    ///
    /// # Errors
    /// It does not answer, or its proof is false.
    async fn lookup_outgoing(&self, hash: PaymentHash) -> Result<Outgoing, WalletError>;

    /// Past payments, newest first.
    ///
    /// # Errors
    /// It does not answer.
    async fn history(&self, filter: HistoryFilter) -> Result<Vec<Transaction>, WalletError>;

    /// Asks for something beyond NIP-47 that this kind of wallet has, such as a Lightning node's channels.
    ///
    /// # Errors
    /// It has no such thing ([`WalletError::NotImplemented`]), refuses, or does not answer.
    async fn extension(
        &self,
        method: &str,
        params: serde_json::Value,
    ) -> Result<serde_json::Value, WalletError> {
        let _ = params;
        Err(WalletError::NotImplemented(method.into()))
    }

    /// The ecash that it has and can lock, if it is such a wallet.
    fn ecash(&self) -> Option<&dyn ecash::Ecash> {
        None
    }

    /// What the wallet says by itself from now on: hints that come sooner than a look-up would.
    fn events(&self) -> mpsc::Receiver<WalletEvent>;
}

/// What a wallet is and can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// Its name for itself.
    pub alias: String,
    /// The network it pays on.
    pub network: Network,
    /// Whether it can lock payments.
    pub hold: bool,
    /// Whether it can lock ecash, and take what is locked for it ([`Wallet::ecash`]).
    pub ecash: bool,
    /// Whether it says by itself when payments change.
    pub notifications: bool,
}

/// An invoice to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MakeInvoice {
    /// What it asks.
    pub amount: Msat,
    /// What it is for; the payer sees this.
    pub description: String,
    /// How long it can be paid.
    pub expiry: Millis,
    /// The hash to hold the payment by.
    pub hold: Option<PaymentHash>,
}

/// An invoice to pay.
#[derive(Clone, Copy, Debug)]
pub struct Pay<'a> {
    /// The invoice.
    pub invoice: &'a Invoice,
    /// The most that routing may cost on top.
    pub max_fee: Msat,
    /// True if the caller knows that this payment was never sent, so that the wallet need not be
    /// asked first.
    pub first_attempt: bool,
}

/// How a payment to us stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// Unpaid, and payable.
    Open,
    /// Locked until settled or cancelled.
    Held {
        /// How much.
        amount: Msat,
    },
    /// Ours.
    Settled {
        /// How much.
        amount: Msat,
    },
    /// Cancelled by us, or lapsed; any money went back.
    Cancelled,
    /// Expired unpaid.
    Expired,
    /// Never heard of.
    Unknown,
}

/// How a payment by us stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outgoing {
    /// Under way or locked.
    Pending,
    /// Arrived. `sha256(preimage)` is the payment hash; a wallet that says otherwise is not believed.
    Settled {
        /// The proof.
        preimage: Preimage,
        /// What routing cost.
        fee: Msat,
    },
    /// Came back.
    Failed {
        /// Why, in the wallet's words.
        reason: String,
    },
    /// Never heard of, so never sent.
    Unknown,
}

/// Something a wallet said by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WalletEvent {
    /// A payment to us changed.
    Incoming {
        /// Which.
        hash: PaymentHash,
        /// How it stands.
        state: Incoming,
    },
    /// A payment by us changed.
    Outgoing {
        /// Which.
        hash: PaymentHash,
        /// How it stands.
        state: Outgoing,
    },
}

/// Which way the payments go that are listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Which {
    /// Either; a wallet may leave out those that have not arrived.
    #[default]
    Arrived,
    /// Those by us, whether they have arrived or not.
    Outgoing,
    /// Those to us, whether they have arrived or not; a wallet may list the other ones as well.
    Incoming,
}

/// Which past payments to list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HistoryFilter {
    /// At most so many; 0 for the wallet's own choice.
    pub limit: u32,
    /// How many to skip.
    pub offset: u32,
    /// Which way they go.
    pub which: Which,
    /// Only those since then; a wallet may give older ones as well.
    pub since: Option<Timestamp>,
}

/// A past payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// Its name.
    pub hash: PaymentHash,
    /// Whether it came to us.
    pub incoming: bool,
    /// `pending`, `held`, `settled`, `failed`, `cancelled` or `expired`.
    pub state: &'static str,
    /// How much.
    pub amount: Msat,
    /// What routing cost.
    pub fee: Msat,
    /// What it was for.
    pub description: String,
    /// When it began.
    pub at: Timestamp,
    /// Which way it took.
    pub rail: Rail,
}

/// Why a wallet call has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WalletError {
    /// Not enough money (NIP-47 `INSUFFICIENT_BALANCE`).
    #[error("the wallet does not hold enough: {0}")]
    InsufficientBalance(String),
    /// The payment failed and came back (`PAYMENT_FAILED`).
    #[error("the payment failed and came back: {0}")]
    PaymentFailed(String),
    /// No such invoice or payment (`NOT_FOUND`).
    #[error("the wallet knows no such payment")]
    NotFound,
    /// The connection's budget is used up (`QUOTA_EXCEEDED`).
    #[error("the wallet connection's budget is used up: {0}")]
    QuotaExceeded(String),
    /// The connection may not do this (`RESTRICTED`, `UNAUTHORIZED`).
    #[error("the wallet connection may not do this: {0}")]
    Restricted(String),
    /// The wallet cannot do this (`NOT_IMPLEMENTED`).
    #[error("the wallet cannot do this: {0}")]
    NotImplemented(String),
    /// The wallet had a fault (`INTERNAL`, `OTHER`); what became of the call is unknown.
    #[error("the wallet had a fault: {0}")]
    Internal(String),
    /// Too much at once (`RATE_LIMITED`); nothing was done.
    #[error("the wallet is asked too often; try again later")]
    RateLimited,
    /// No answer came in time; what became of the call is unknown.
    #[error("the wallet did not answer in time; what became of the call is unknown")]
    Timeout,
    /// The wallet cannot be reached; nothing was sent.
    #[error("the wallet cannot be reached: {0}")]
    Unreachable(String),
    /// It says settled, with a preimage that proves nothing.
    #[error("the wallet's proof of payment is false")]
    FalseProof,
    /// It answered something else than was asked.
    #[error("the wallet's answer makes no sense: {0}")]
    Garbled(String),
    /// Our own limit for this wallet is reached; nothing was sent.
    #[error(transparent)]
    OverBudget(#[from] OverBudget),
}

impl WalletError {
    /// Whether the error is the wallet's last word: what was asked was not done. Anything else may
    /// have been done, and only a look-up can tell.
    pub const fn is_definitive(&self) -> bool {
        match self {
            Self::InsufficientBalance(_)
            | Self::PaymentFailed(_)
            | Self::NotFound
            | Self::QuotaExceeded(_)
            | Self::Restricted(_)
            | Self::NotImplemented(_)
            | Self::OverBudget(_) => true,
            Self::Internal(_)
            | Self::RateLimited
            | Self::Timeout
            | Self::Unreachable(_)
            | Self::FalseProof
            | Self::Garbled(_) => false,
        }
    }
}

/// A kind of wallet.
#[derive(Clone, Copy, Debug)]
pub struct WalletKind {
    /// Its name in the configuration.
    pub name: &'static str,
    /// What it is, in a line.
    pub about: &'static str,
}

/// Every kind of wallet in this build, in the order `doctor` prints them. Add yours here.
pub const WALLETS: &[WalletKind] = &[nwc::KIND, child::LDK, child::SPARK, child::CASHU, testnet::KIND];
