//! What a node tells others: the views that its pages, its program and strangers read, the requests
//! they send, and a typed [`Client`].
//!
//! All money is in millisatoshis (`_msat`), all times are milliseconds since the Unix epoch (`_at`).
//! Fields are only ever added; [`SCHEMA_VERSION`] changes if one has to go.

mod ads;
mod balances;
mod client;
mod fiat;
mod view;

pub use ads::{AdState, AdsReport, AdsView, FaultView, RelayAds};
pub use balances::{BalanceView, BalancesView};
pub use client::{Client, ClientError};
pub use fiat::{FiatSourceView, FiatView};
pub use view::{
    AdView, AskBody, Asked, AuditQuery, AuditView, Cleared, DestinationBody, DestinationView, DifferenceView,
    DisputeView, JobView, LedgerLine, LedgerView, Listing, MachineView, ModelView, MovementView, NewsView,
    NodeView, OfferView, PayBody, Problem, ProviderView, PublishedReceipt, QuoteView, RailView, ReceiptQuery,
    ReceiptView, ReceiveBody, ReconcileView, ReconciledView, RefusalView, RelayView, ResultView, SeedView,
    SeedsView, ServedModelView, ServerView, ShiftOrder, Side, StepView, TestWalletBody, TransactionView,
    TransferView, WalletView,
};

/// The version of the shapes in this crate, in every answer's `schema_version`.
pub const SCHEMA_VERSION: u32 = 1;
