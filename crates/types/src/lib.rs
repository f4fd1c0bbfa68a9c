//! The nouns of the market: money, keys, times, jobs, quotes, results.
//!
//! Everything here is plain data that another crate moves about. There is no I/O, no clock, no
//! randomness and no Nostr: an event becomes these types in `openagents-protocol`, and nothing
//! below that crate knows which wire carried a job.
//!
//! Read in this order: [`Msat`] and [`Timestamp`], the keys, [`JobRequest`] and [`JobSpec`], then
//! what comes back: [`Quote`], [`Feedback`], [`JobResult`]. [`Draft`] is what a node says.

mod budget;
mod draft;
mod ecash;
mod id;
mod invoice;
mod job;
mod kind;
mod msat;
mod receipt;
pub mod refusal;
mod reply;
mod time;

pub use budget::{DayBudget, OverBudget};
pub use draft::{Draft, Notice};
pub use ecash::{EcashAsk, EcashPayment, EcashRelease, EcashToken, LOCK_MARGIN, Rail, ReleasedEcash};
pub use id::{
    ContentHash, CustomerKey, EventId, HexError, JobId, PaymentHash, Preimage, ProviderKey, ReceiptSalt,
};
pub use invoice::{Invoice, Network};
pub use job::{Encryption, InputType, JobInput, JobRequest, JobSpec, Param, ResolvedInput};
pub use kind::{JobKind, KindError};
pub use msat::{AmountError, Msat};
pub use receipt::{CLOCK_SKEW, Receipt, ReceiptFault, ReceiptRule};
pub use reply::{Cancel, Feedback, JobResult, MadeBy, Quote, RefundClaim, Status, Terms, Usage};
pub use time::{Millis, Timestamp};
