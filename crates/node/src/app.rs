//! What others see of a node: pages, the API, live news. Nothing is computed here; pages and API show
//! the same views.

mod archive;
mod balances;
mod files;
mod guard;
mod live;
mod movements;
mod pages;
mod receipts;
mod routes;
#[cfg(test)]
mod tests;
mod view;

use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use openagents_api::{
    AdView, AdsReport, AdsView, AskBody, Asked, DestinationBody, DestinationView, NodeView, PayBody, Problem,
    ReceiveBody, ReconcileView, SeedView, ShiftOrder, Side, TestWalletBody, TransactionView, TransferView,
};
use openagents_types::{EventId, JobId, ProviderKey};

use crate::{bus::Bus, media::Media, store::Reader};

pub use archive::Archive;
pub(crate) use view::clean;

/// What the pages and the API draw on.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) reader: Arc<Reader>,
    pub(crate) bus: Bus,
    pub(crate) media: Media,
    pub(crate) token: Arc<str>,
    pub(crate) facts: Arc<dyn Facts>,
    pub(crate) desk: Arc<dyn Desk>,
    /// The values of `Host` that mean this node.
    pub(crate) hosts: Arc<Vec<String>>,
}

/// What is so.
#[async_trait]
pub(crate) trait Facts: Send + Sync {
    /// The node as a whole.
    async fn node(&self) -> NodeView;
    /// The key the provider's half signs with, if the node sells.
    async fn provider_key(&self) -> Option<ProviderKey>;
    /// What others ask for the kinds of work that the node sells.
    async fn ads(&self) -> Vec<AdView>;
    /// The wallet's own history.
    async fn history(&self, limit: u32) -> Result<Vec<TransactionView>, Problem>;
    /// Which money seeds the home has. Their words are nobody's business here.
    async fn seeds(&self) -> Result<Vec<SeedView>, Problem>;
}

/// What can be asked for.
#[async_trait]
pub(crate) trait Desk: Send + Sync {
    /// Buys a job.
    async fn ask(&self, body: AskBody) -> Result<Asked, Problem>;
    /// Takes a job back.
    async fn cancel(&self, id: JobId) -> Result<(), Problem>;
    /// Tells the provider to work, to pause or to stop.
    async fn shift(&self, order: ShiftOrder) -> Result<NodeView, Problem>;
    /// What would be published of this provider now.
    async fn ads(&self) -> Result<AdsView, Problem>;
    /// What viewers see of this provider, after it was published anew if that is wanted.
    async fn ads_report(&self, publish: bool) -> Result<AdsReport, Problem>;
    /// Asks the wallet about every payment whose end is not known, and compares it with the books.
    async fn reconcile(&self) -> Result<ReconcileView, Problem>;
    /// Forgets all checks by the policy; gives their number.
    async fn clear_audit(&self) -> Result<u64, Problem>;
    /// Makes the receipt for a job public; gives the event.
    async fn publish_receipt(&self, job: JobId, side: Side) -> Result<EventId, Problem>;
    /// Reads what was pasted to be paid by hand. Nothing is paid.
    async fn destination(&self, body: &DestinationBody) -> Result<DestinationView, Problem>;
    /// Pays an invoice by hand, once.
    async fn pay(&self, body: &PayBody) -> Result<TransferView, Problem>;
    /// Makes an invoice to be paid by hand.
    async fn receive(&self, body: &ReceiveBody) -> Result<TransferView, Problem>;
    /// Asks the Lightning node that is this node's wallet about its coins and channels.
    async fn lightning(&self, method: &str, params: serde_json::Value) -> Result<serde_json::Value, Problem>;
    /// Asks the ecash wallet that is this node's wallet about its mints and tokens.
    async fn ecash(&self, method: &str, params: serde_json::Value) -> Result<serde_json::Value, Problem>;
    /// Opens a testnet wallet; gives its connection.
    async fn testnet_wallet(&self, wanted: &TestWalletBody) -> Result<String, Problem>;
    /// Where all test money is, if this node serves the testnet.
    async fn testnet_audit(&self) -> Option<serde_json::Value>;
}

/// Every route but the embedded relay's, guarded.
pub(crate) fn router(app: App) -> Router {
    routes::router(app)
}
