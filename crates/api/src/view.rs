//! The shapes themselves.

use openagents_types::{EventId, JobId, JobInput, JobKind, MadeBy, Param, ProviderKey, Receipt};
use serde::{Deserialize, Serialize};

use crate::{FiatSourceView, FiatView};

/// The node as a whole (`GET /api/v1/node`).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeView {
    /// [`crate::SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The program's version.
    pub version: String,
    /// The node's public key (NIP-19).
    pub npub: String,
    /// Where the app and the API listen.
    pub app: String,
    /// The embedded relay's address, if it runs.
    pub relay: Option<String>,
    /// Since when it runs.
    pub started_at: u64,
    /// Whether all money here is test money.
    pub test_money: bool,
    /// The relays it talks to.
    pub relays: Vec<RelayView>,
    /// What it sells, if it sells.
    pub provider: Option<ProviderView>,
    /// Its wallet, if one is connected.
    pub wallet: Option<WalletView>,
    /// Jobs by side and state.
    pub counts: Vec<(Side, String, u64)>,
    /// Who tells what a bitcoin costs, if anybody is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fiat: Option<FiatSourceView>,
}

/// A relay as the node sees it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RelayView {
    /// Its address.
    pub url: String,
    /// `connected`, `connecting`, or why not.
    pub state: String,
    /// Whether events pass.
    pub connected: bool,
}

/// The provider's half.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProviderView {
    /// What is for sale.
    pub offers: Vec<OfferView>,
    /// Jobs waiting for a slot.
    pub queued: usize,
    /// Jobs being worked on.
    pub running: usize,
    /// Jobs that may run at once.
    pub slots: usize,
    /// Whether new jobs are turned away because the node ends when those in hand are done.
    pub draining: bool,
    /// What its operator has told it: `open`, `paused` or `stopped`.
    #[serde(default)]
    pub shift: String,
    /// The model servers that work is done on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<ServerView>,
    /// What its machine allows.
    #[serde(default)]
    pub machine: Option<MachineView>,
}

/// A model server that work is done on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ServerView {
    /// The kind of backend, such as `ollama`.
    pub backend: String,
    /// Its address, or the model that it is run for.
    pub place: String,
    /// What it says of itself.
    pub about: String,
    /// `ready`, `starting` or `down`.
    pub state: String,
    /// Why it is down.
    pub why: String,
    /// What is sold of it.
    pub models: Vec<ServedModelView>,
    /// What its operator should know.
    pub warning: Option<String>,
}

/// A model that is sold.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ServedModelView {
    /// Its name, as jobs name it.
    pub id: String,
    /// The hash of its weights, if it is known.
    pub digest: Option<String>,
    /// Tokens of a question and its answer together, if it is known.
    pub context: Option<u64>,
}

/// The machine of a provider, as it was seen last.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MachineView {
    /// `allowed`, `eased` (half of the slots) or `paused`.
    pub state: String,
    /// Why it pauses, in a word, such as `battery`.
    pub reason: Option<String>,
    /// The same for a person.
    pub message: Option<String>,
    /// What would let it go on.
    pub remedy: Option<String>,
    /// What was seen; what is not known is null.
    pub sample: serde_json::Value,
}

/// What an operator can tell a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ShiftOrder {
    /// Take jobs again.
    Resume,
    /// Take no new jobs; do those in hand.
    Pause,
    /// Take no new jobs; when those in hand are done, end the node.
    Drain,
    /// Stop all work now; payments of jobs in hand go back.
    Kill,
}

impl ShiftOrder {
    /// Its word, such as `pause`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Resume => "resume",
            Self::Pause => "pause",
            Self::Drain => "drain",
            Self::Kill => "kill",
        }
    }
}

/// One kind of work for sale.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OfferView {
    /// The kind.
    pub kind: JobKind,
    /// What does the work.
    pub backend: String,
    /// The price of any job.
    pub base_msat: u64,
    /// The same as it is asked now, under this load and at this hour, where that differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now_base_msat: Option<u64>,
    /// The price of each KiB of input begun.
    pub per_kib_msat: u64,
    /// The price of a thousand tokens that a job lets be written.
    #[serde(default)]
    pub per_1000_output_msat: u64,
    /// The price of each second that a job usually takes.
    #[serde(default)]
    pub per_second_msat: u64,
    /// The models there are.
    #[serde(default)]
    pub models: Vec<ModelView>,
    /// The names of the backends that do it, as the settings name them.
    #[serde(default)]
    pub backends: Vec<String>,
}

/// What another provider asks for a kind of work, by its advertisement.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AdView {
    /// Whose.
    pub provider: ProviderKey,
    /// The kind.
    pub kind: JobKind,
    /// The name it gives itself.
    pub name: String,
    /// The price of any job.
    pub base_msat: u64,
    /// The price of each KiB of input begun.
    pub per_kib_msat: u64,
    /// The price of a thousand tokens that a job lets be written.
    pub per_1000_output_msat: u64,
    /// The price of each second that a job usually takes.
    pub per_second_msat: u64,
    /// The models it has.
    pub models: Vec<ModelView>,
}

/// A model for sale.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ModelView {
    /// Its name.
    pub name: String,
    /// The price of any job by it.
    pub base_msat: u64,
    /// The same as it is asked now, where that differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now_base_msat: Option<u64>,
    /// The price of each KiB of input begun.
    pub per_kib_msat: u64,
    /// The price of a thousand tokens that a job lets be written.
    pub per_1000_output_msat: u64,
}

/// The wallet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WalletView {
    /// What it is, such as `nwc` or `testnet`.
    pub kind: String,
    /// Its own name for itself.
    pub alias: String,
    /// Its network.
    pub network: String,
    /// What it holds, if it answered.
    pub balance_msat: Option<u64>,
    /// What that is worth now, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub balance_fiat: Option<FiatView>,
    /// Whether it can lock payments until delivery.
    pub escrow: bool,
}

/// The money seeds of a node's home (`GET /api/v1/wallet/seed/status`). No word of one is ever told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SeedsView {
    /// [`crate::SCHEMA_VERSION`].
    pub schema_version: u32,
    /// One for each network that has one.
    pub seeds: Vec<SeedView>,
}

/// A money seed, from outside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeedView {
    /// Whose money it keeps: `mainnet`, `testnet`, `signet` or `regtest`.
    pub network: String,
    /// The fingerprint of its master key (BIP32).
    pub fingerprint: String,
    /// How many words it has.
    pub words: usize,
    /// Whether a passphrase (BIP39) belongs to them.
    #[serde(default)]
    pub passphrase: bool,
    /// When it was made or first taken in.
    pub created_at: u64,
    /// What unlocks it: `keyring`, `device-key` or `passphrase`.
    pub storage: String,
    /// When its owner last showed that they could restore it; `None` if it is not backed up.
    pub verified_at: Option<u64>,
    /// How: `quiz`, `words` or `backup`.
    pub verified_by: Option<String>,
}

/// A movement in the wallet's own history.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TransactionView {
    /// The payment hash.
    pub hash: String,
    /// `in` or `out`.
    pub direction: String,
    /// `pending`, `held`, `settled`, `failed`, `cancelled` or `expired`.
    pub state: String,
    /// How much.
    pub amount_msat: u64,
    /// What routing cost.
    pub fee_msat: u64,
    /// What it was for.
    pub description: String,
    /// When.
    pub at: u64,
    /// Which way it took: `bolt11` or `cashu`.
    #[serde(default)]
    pub rail: String,
    /// What the amount was worth when the books noted it, if that was known then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fiat: Option<FiatView>,
}

/// A movement of money in the books, or a payment that did not move any.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MovementView {
    /// When.
    pub at: u64,
    /// The job; `None` for a payment by hand.
    pub job: Option<JobId>,
    /// Which half it belongs to; `None` for a payment by hand.
    pub side: Option<Side>,
    /// The job's kind.
    pub kind: Option<JobKind>,
    /// The key of the customer or provider on the other side, in hexadecimal; of a payment by hand whom it went to or
    /// what it was for.
    pub counterparty: Option<String>,
    /// `earned`, `spent`, `fee`, `refund-paid`, `refund-received`, or by hand `sent` or `received`.
    pub movement: String,
    /// How much; negative if it left us.
    pub msat: i64,
    /// `settled`; `pending` if it is under way or locked, `failed` if it came back: these moved nothing.
    pub state: String,
    /// The payment's name.
    pub hash: String,
    /// Which way it took: `bolt11` or `cashu`.
    #[serde(default)]
    pub rail: String,
    /// What it was worth when it was booked, signed like it, if that was known then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fiat: Option<FiatView>,
}

/// What books and wallet say about each other (`POST /api/v1/wallet/reconcile`).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReconcileView {
    /// [`crate::SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Each payment whose end the books did not know, and what became of it.
    pub payments: Vec<ReconciledView>,
    /// What books and wallet say differently; nothing is done about it.
    pub differences: Vec<DifferenceView>,
    /// How many payments were compared.
    pub compared: usize,
    /// Whether nothing differs.
    pub agree: bool,
}

/// A payment whose end the books did not know.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReconciledView {
    /// The payment's name.
    pub hash: String,
    /// The job; `None` for a payment by hand.
    pub job: Option<JobId>,
    /// Which half it belongs to; `None` for a payment by hand.
    pub side: Option<Side>,
    /// `in` or `out`.
    pub direction: String,
    /// How much, without fees.
    pub amount_msat: u64,
    /// How it stood in the books.
    pub books: String,
    /// How it stands in the wallet; `no answer` if that is not known.
    pub wallet: String,
    /// `settled`, `returned`, `sent again` or `still pending`.
    pub done: String,
}

/// Something that books and wallet say differently.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DifferenceView {
    /// `not-in-books`, `not-in-wallet`, `amount` or `not-booked`.
    pub what: String,
    /// The payment's name.
    pub hash: String,
    /// `in` or `out`.
    pub direction: String,
    /// What the books say it was, if they know it.
    pub books_msat: Option<u64>,
    /// What the wallet says it was, if it knows it.
    pub wallet_msat: Option<u64>,
    /// The job, if the books know it.
    pub job: Option<JobId>,
    /// What it was for, in the wallet's words.
    pub description: String,
    /// When.
    pub at: u64,
}

/// Which half of the market a job belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// We do the work.
    Sold,
    /// We pay for it.
    Bought,
}

impl Side {
    /// `sold` or `bought`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Sold => "sold",
            Self::Bought => "bought",
        }
    }
}

/// Which rows of a list are wanted (the query of `GET /api/v1/jobs` and of other lists).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// At most this many, newest first; a node gives no more than 500 at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Only this half.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub side: Option<Side>,
    /// Only jobs that are not over.
    #[serde(default)]
    pub open: bool,
    /// Only jobs older than this one: the last of the page before. Needs `side`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<JobId>,
}

/// A job (`GET /api/v1/jobs`, `GET /api/v1/jobs/{id}`).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JobView {
    /// Its name.
    pub id: JobId,
    /// Which half it belongs to.
    pub side: Side,
    /// Its kind.
    pub kind: JobKind,
    /// Where it stands, in one word.
    pub state: String,
    /// The same for a person: what happens now, where the money is, what comes next.
    pub explanation: String,
    /// Whether something is still to happen.
    pub open: bool,
    /// Who asked.
    pub customer: String,
    /// Who does the work, once that is decided.
    pub provider: Option<ProviderKey>,
    /// The most the customer would pay.
    pub bid_msat: Option<u64>,
    /// What it costs, once that is decided.
    pub price_msat: Option<u64>,
    /// What the provider has and keeps.
    pub paid_msat: u64,
    /// What routing cost.
    pub fee_msat: u64,
    /// What is locked or under way.
    pub in_flight_msat: u64,
    /// The payment's name.
    pub payment_hash: Option<String>,
    /// The proof that it was paid.
    pub preimage: Option<String>,
    /// SHA-256 of the result's payload.
    pub result_sha256: Option<String>,
    /// Which way it is paid: `bolt11` or `cashu`.
    #[serde(default)]
    pub rail: Option<String>,
    /// When the provider has the money: `escrow` (locked until delivery) or `prepaid`.
    #[serde(default)]
    pub terms: Option<String>,
    /// The event that carried the result, by which a later job may refer to it (bought jobs).
    pub result_event: Option<EventId>,
    /// What made the result, in the provider's words (bought jobs).
    #[serde(default)]
    pub made_by: Option<MadeBy>,
    /// Offers not taken (bought jobs).
    pub quotes: Vec<QuoteView>,
    /// Providers that said no, and why (bought jobs).
    pub refusals: Vec<RefusalView>,
    /// When it was asked or first seen.
    pub asked_at: u64,
    /// When anything about it last changed.
    pub changed_at: u64,
    /// Its states so far, oldest first.
    pub steps: Vec<StepView>,
}

/// One step of a job's way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepView {
    /// When.
    pub at: u64,
    /// The state entered.
    pub state: String,
}

/// An offer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct QuoteView {
    /// Who offers.
    pub provider: ProviderKey,
    /// The price.
    pub price_msat: u64,
    /// How long it would take, in milliseconds, if it says.
    pub eta_ms: Option<u64>,
    /// The ways it can be paid.
    #[serde(default)]
    pub rails: Vec<RailView>,
}

/// A way to pay an offer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RailView {
    /// `bolt11` (a Lightning invoice) or `cashu` (ecash).
    pub rail: String,
    /// `escrow` (locked until delivery) or `prepaid`.
    pub terms: String,
    /// The same for a person.
    pub words: String,
    /// The mints whose ecash is taken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mints: Vec<String>,
}

/// A refusal.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RefusalView {
    /// Who.
    pub provider: ProviderKey,
    /// Why, for programs.
    pub code: String,
    /// Why, for people.
    pub message: String,
}

/// The payload of a result (`GET /api/v1/jobs/{id}/result`).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ResultView {
    /// The job.
    pub id: JobId,
    /// The payload.
    pub content: String,
    /// Its SHA-256.
    pub sha256: String,
}

/// A testnet account to open (`POST /api/v1/testnet/wallets`).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestWalletBody {
    /// What it is called in the audit.
    #[serde(default = "guest")]
    pub label: String,
    /// The test money it starts with, in satoshis.
    pub sats: u64,
    /// Whether it is like most wallets, which cannot lock payments.
    #[serde(default)]
    pub plain: bool,
}

fn guest() -> String {
    "guest".into()
}

impl Default for TestWalletBody {
    fn default() -> Self {
        Self { label: guest(), sats: 0, plain: false }
    }
}

/// A job to buy (`POST /api/v1/jobs`).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AskBody {
    /// The kind of work.
    pub kind: JobKind,
    /// What to work on.
    pub inputs: Vec<JobInput>,
    /// How to do it.
    #[serde(default)]
    pub params: Vec<Param>,
    /// The most to pay. Zero takes free offers only.
    pub bid_msat: u64,
    /// The one provider to ask; everybody if absent.
    #[serde(default)]
    pub provider: Option<ProviderKey>,
    /// Whether to hide inputs and parameters from relays; needs `provider`.
    #[serde(default)]
    pub encrypt: bool,
    /// How long to collect offers, in milliseconds; the node's default if absent.
    #[serde(default)]
    pub window_ms: Option<u64>,
    /// How long the result is of use, in milliseconds; the node's default if absent.
    #[serde(default)]
    pub deadline_ms: Option<u64>,
    /// How long a chosen provider has before the next is tried, in milliseconds.
    #[serde(default)]
    pub patience_ms: Option<u64>,
    /// Where a refund goes that the node does not claim itself, a Lightning address or an LNURL; the node's setting
    /// `customer.refund_to` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refund_to: Option<String>,
    /// An earlier job whose key signs this one too, so that what its provider keeps as a balance pays for it. Needs
    /// `provider`; relays can tell that both jobs are of one customer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub balance_of: Option<JobId>,
    /// With `balance_of`: the wallet pays, as for any job, where that balance does not cover the price.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub or_wallet: bool,
}

/// The answer to [`AskBody`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Asked {
    /// The job's name.
    pub id: JobId,
}

/// Which receipts are wanted (the query of `GET /api/v1/receipts`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReceiptQuery {
    /// Only those of this half.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub side: Option<Side>,
    /// Only those older than this one: the `seq` of the last of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<i64>,
    /// At most this many, newest first; a node gives no more than 500 at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// A receipt (`GET /api/v1/receipts`, `GET /api/v1/receipts/{job}`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptView {
    /// Its place in the list.
    pub seq: i64,
    /// Which half of the market it belongs to.
    pub side: Side,
    /// `issued` (we signed, the customer has not yet), `countersigned` or `disputed`.
    pub state: String,
    /// What it says. Money in millisatoshis, times in milliseconds since 1970.
    pub receipt: Receipt,
    /// What about it is not so by our own records, if it is disputed.
    pub dispute: Option<DisputeView>,
    /// What was signed and who signed it, for `openagents receipts verify`: `body`, `receipt` and
    /// `countersignature`.
    pub proof: serde_json::Value,
}

/// Where a receipt contradicts what its customer knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DisputeView {
    /// The field, as the receipt names it.
    pub field: String,
    /// What the receipt says.
    pub says: String,
    /// What the customer knows.
    pub known: String,
}

/// The answer to `POST /api/v1/receipts/{job}/publish`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedReceipt {
    /// The job.
    pub job: JobId,
    /// The public event.
    pub event: EventId,
}

/// The ledger (`GET /api/v1/ledger`).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LedgerView {
    /// Movements, newest first.
    pub lines: Vec<LedgerLine>,
    /// The sum of all movements, shown or not.
    pub net_msat: i64,
    /// What the wallet says it holds.
    pub balance_msat: Option<u64>,
}

/// One movement of money.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LedgerLine {
    /// When.
    pub at: u64,
    /// The job; `None` for a payment by hand.
    pub job: Option<JobId>,
    /// The payment's name.
    pub hash: String,
    /// `earned`, `spent`, `fee`, `refund-paid`, `refund-received`, or by hand `sent` or `received`.
    pub movement: String,
    /// How much; negative if it left us.
    pub msat: i64,
}

/// Something to pay by hand, as it was pasted (`POST /api/v1/wallet/destination`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DestinationBody {
    /// A BOLT11 invoice, an LNURL, a Lightning address, or a `bitcoin:` address with one of them in it.
    pub to: String,
    /// How much, where that is for the payer to choose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amount_msat: Option<u64>,
    /// A word to the receiver; empty for none.
    pub comment: String,
}

/// What would be paid: an invoice that was checked. Nothing is paid yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DestinationView {
    /// [`crate::SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The invoice.
    pub bolt11: String,
    /// The payment's name.
    pub hash: String,
    /// How much, without fees.
    pub amount_msat: u64,
    /// Whom it goes to, if that is known: a Lightning address or the name of a server.
    pub to: Option<String>,
    /// What it is for, in the receiver's words.
    pub description: String,
    /// Until when it can be paid.
    pub expires_at: u64,
    /// The most that routing may cost, unless the payer says otherwise.
    pub max_fee_msat: u64,
    /// How it stands, if it was begun before.
    pub known: Option<TransferView>,
}

/// An invoice to pay by hand (`POST /api/v1/wallet/pay`). The same one again is never paid twice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PayBody {
    /// The invoice.
    pub bolt11: String,
    /// Whom it goes to or what it is for, for the books.
    pub about: String,
    /// The most that routing may cost; the node's own limit if it is not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_fee_msat: Option<u64>,
}

/// An invoice to make (`POST /api/v1/wallet/receive`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReceiveBody {
    /// What it asks.
    pub amount_msat: u64,
    /// What it is for; the payer sees this.
    pub description: String,
    /// How long it can be paid, in milliseconds; an hour if it is not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifetime_ms: Option<u64>,
}

/// A payment by hand (`GET /api/v1/wallet/payments/{hash}`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferView {
    /// [`crate::SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Its name.
    pub hash: String,
    /// `in` or `out`.
    pub direction: String,
    /// `pending`; `doubtful` if the wallet called it failed once and is asked again; or for good `settled`, `returned`
    /// or, if nobody paid it in time, `expired`.
    pub state: String,
    /// How much, without fees.
    pub amount_msat: u64,
    /// What routing cost, once that is known.
    pub fee_msat: u64,
    /// Whom it goes to or what it is for.
    pub about: String,
    /// Why it did not arrive.
    pub reason: Option<String>,
    /// The proof of payment, in hexadecimal, if we sent it.
    pub preimage: Option<String>,
    /// The invoice.
    pub bolt11: String,
    /// When it was begun.
    pub since: u64,
    /// Until when the invoice can be paid.
    pub expires_at: u64,
}

/// Which checks are wanted (the query of `GET /api/v1/policy/audit`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuditQuery {
    /// Only those since then, in seconds since 1970.
    pub since: u64,
    /// Only those after this one: the `seq` of the last of the page before.
    pub after: i64,
    /// At most this many, oldest first; a node gives no more than 5,000 at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// A check of a job by the policy. It holds nothing of what the job's customer wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditView {
    /// Its place in the log.
    pub seq: i64,
    /// When, in seconds since 1970.
    pub time: u64,
    /// Which half checked.
    pub side: Side,
    /// The job's kind.
    pub kind: u16,
    /// `allowed`, `flagged` or `denied`.
    pub result: String,
    /// The gravest category.
    pub category: Option<String>,
    /// What whoever asked was told, or the rules that hit.
    pub reason: String,
    /// The first 8 hexadecimal digits of SHA-256 of what was checked.
    pub content: String,
}

/// The answer to `DELETE /api/v1/policy/audit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cleared {
    /// How many checks were forgotten.
    pub cleared: u64,
}

/// An event of the stream `GET /api/v1/events` (SSE).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "news")]
pub enum NewsView {
    /// A job entered a new state.
    Job {
        /// The job.
        id: JobId,
        /// Which half it belongs to.
        side: Side,
        /// The state.
        state: String,
        /// When.
        at: u64,
    },
    /// A piece of a result arrived.
    Piece {
        /// The job.
        id: JobId,
        /// The text to append.
        text: String,
    },
    /// A provider says something about a job that is under way, such as what it waits for.
    Word {
        /// The job.
        id: JobId,
        /// Whose word.
        provider: ProviderKey,
        /// What it says, for a person; a stranger wrote it.
        message: String,
    },
    /// The watcher fell behind; read everything again.
    Lagged,
}

/// What went wrong: every error of the API has this shape.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// For programs, such as `no-wallet`.
    pub code: String,
    /// What happened.
    pub message: String,
    /// Whether money is safe.
    pub money: String,
    /// What to do next.
    pub next: String,
}
