//! Documents that were fetched become the text that is in them: once, before anybody reads or prices them.
//!
//! What the policy has read is then what the backend works on. The parsers run in a child process with limits
//! (`openagents_backend::Extraction`); how many of them at once, and how long for one job, is decided here.

use std::time::Duration;

use openagents_backend::{BackendError, Extraction};
use openagents_types::{InputType, JobInput, ResolvedInput};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Parsers that run at once. They run before anything is paid, so strangers must not be able to take the whole machine.
const AT_ONCE: usize = 2;

/// How long reading all documents of one job may take, waiting included.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why a document cannot be worked on. Fit for the customer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DocumentError {
    /// Its parser gave up.
    #[error("{0}; nothing was charged, send the text itself")]
    Unreadable(BackendError),
    /// It holds pictures only, or nothing.
    #[error("there is no text in the document; nothing was charged, send the text itself")]
    NoText,
    /// Others came first, or it is too large.
    #[error("the documents could not be read in time; nothing was charged, ask again later")]
    Late,
}

/// Reads documents.
#[derive(Debug)]
pub(crate) struct Documents {
    extraction: Extraction,
    turns: Semaphore,
}

impl Default for Documents {
    fn default() -> Self {
        Self { extraction: Extraction::this_program(), turns: Semaphore::new(AT_ONCE) }
    }
}

impl Documents {
    /// Puts its text in the place of each document among what was fetched for `asked`.
    ///
    /// # Errors
    /// One of them cannot be read.
    pub(crate) async fn read(
        &self,
        asked: &[JobInput],
        fetched: &mut [ResolvedInput],
    ) -> Result<(), DocumentError> {
        let reading = async {
            for (input, document) in asked.iter().zip(fetched) {
                if input.input_type != InputType::Text && Extraction::is_document(document) {
                    let text = self.text(document).await?;
                    *document = ResolvedInput {
                        source: std::mem::take(&mut document.source),
                        ..ResolvedInput::text(&text)
                    };
                }
            }
            Ok(())
        };
        tokio::time::timeout(PATIENCE, reading).await.unwrap_or(Err(DocumentError::Late))
    }

    async fn text(&self, document: &ResolvedInput) -> Result<String, DocumentError> {
        let _turn = self.turns.acquire().await.map_err(|_| DocumentError::Late)?;
        let read = self.extraction.text(document, &CancellationToken::new()).await;
        let text = read.map_err(DocumentError::Unreadable)?;
        if text.trim().is_empty() { Err(DocumentError::NoText) } else { Ok(text) }
    }
}
