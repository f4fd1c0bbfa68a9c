//! How a wallet reaches a relay: two verbs. The node implements them on its relays.

use async_trait::async_trait;
use nostr::{Event, Filter};
use tokio::sync::mpsc;

/// The way to a relay.
#[async_trait]
pub trait Link: Send + Sync {
    /// Sends an event.
    ///
    /// # Errors
    /// It was not sent.
    async fn publish(&self, event: Event) -> Result<(), LinkError>;

    /// Hears every event that matches from now on, until the receiver is dropped.
    ///
    /// # Errors
    /// The relay cannot be asked.
    async fn subscribe(&self, filter: Filter) -> Result<mpsc::Receiver<Event>, LinkError>;

    /// Whether every event heard here has passed our own check of id and signature already.
    fn verifies(&self) -> bool {
        false
    }
}

/// The relay cannot be reached.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the wallet's relay cannot be reached: {0}")]
pub struct LinkError(pub String);
