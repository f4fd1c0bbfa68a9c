//! News for whoever watches this node: pages, `openagents ask`, tests.

use openagents_types::{JobId, ProviderKey, Timestamp};
use tokio::sync::broadcast;

/// Something changed.
#[derive(Clone, Debug)]
pub enum News {
    /// A job of the provider's half is in a new state.
    Sold {
        /// The job.
        job: JobId,
        /// The state's word.
        word: &'static str,
        /// When.
        at: Timestamp,
    },
    /// A job of the customer's half is in a new state, or something about it changed.
    Bought {
        /// The job.
        job: JobId,
        /// The state's word.
        word: &'static str,
        /// When.
        at: Timestamp,
    },
    /// A piece of a result arrived for a job of the customer's half.
    Piece {
        /// The job.
        job: JobId,
        /// The text to append.
        text: String,
    },
    /// A provider's word on a job of the customer's half.
    Word {
        /// The job.
        job: JobId,
        /// Whose word.
        provider: ProviderKey,
        /// What it says.
        message: String,
    },
}

/// The sender's side. A watcher that falls behind is told so and reads the store again.
#[derive(Clone, Debug)]
pub struct Bus(broadcast::Sender<News>);

/// How far a watcher may fall behind.
const BACKLOG: usize = 4_096;

impl Bus {
    /// A bus that nobody watches yet.
    pub fn new() -> Self {
        Self(broadcast::Sender::new(BACKLOG))
    }

    /// Tells everybody.
    pub fn tell(&self, news: News) {
        // Nobody watching is fine.
        let _ = self.0.send(news);
    }

    /// Watches from now on.
    pub fn watch(&self) -> broadcast::Receiver<News> {
        self.0.subscribe()
    }

    /// Whether anybody watches.
    pub fn is_watched(&self) -> bool {
        self.0.receiver_count() > 0
    }
}

impl Default for Bus {
    fn default() -> Self {
        Self::new()
    }
}
