//! One question to one relay: connect, ask, take what is stored, leave.

use std::time::Duration;

use nostr::Filter;
use openagents_protocol::Verified;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{RelayActor, RelayConfig, RelayNews, SubId};

/// News that may wait: the relay is not read while they do.
const BACKLOG: usize = 16;

/// Why a relay gave no answer, or only a part of one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// It cannot be reached, or broke off.
    #[error("the relay cannot be asked: {0}")]
    Unreachable(String),
    /// It does not want to answer.
    #[error("the relay does not answer: {0}")]
    Refused(String),
    /// It did not answer in time.
    #[error("the relay did not answer within {0:?}")]
    Silent(Duration),
}

/// What `filters` find on a relay, at most `most` events, each verified. Dialled once, with the gate of
/// `config`, and left after at most `within`.
///
/// # Errors
/// The relay gave no full answer.
pub async fn query(
    config: RelayConfig,
    filters: Vec<Filter>,
    most: usize,
    within: Duration,
) -> Result<Vec<Verified>, QueryError> {
    let (news, heard) = mpsc::channel(BACKLOG);
    let (handle, actor) = RelayActor::new(config, news);
    let asked = handle.subscribe(SubId::named("query"), filters);
    asked.map_err(|error| QueryError::Unreachable(error.to_string()))?;
    let connection = Box::pin(actor.run(CancellationToken::new()));
    tokio::select! {
        biased;
        found = tokio::time::timeout(within, stored(heard, most)) => {
            found.unwrap_or(Err(QueryError::Silent(within)))
        }
        () = connection => Err(QueryError::Unreachable("the connection ended".into())),
    }
}

async fn stored(
    mut heard: mpsc::Receiver<(crate::RelayUrl, RelayNews)>,
    most: usize,
) -> Result<Vec<Verified>, QueryError> {
    let mut found = Vec::new();
    while let Some((_, news)) = heard.recv().await {
        match news {
            RelayNews::Event(_, event) => found.push(event),
            RelayNews::Stored(_) => return Ok(found),
            RelayNews::Closed { reason, .. } => return Err(QueryError::Refused(reason)),
            RelayNews::Disconnected { reason, .. } => return Err(QueryError::Unreachable(reason)),
            RelayNews::Connected | RelayNews::Ok { .. } | RelayNews::Notice(_) | RelayNews::Lagged => {}
        }
        if found.len() >= most {
            return Ok(found);
        }
    }
    Err(QueryError::Unreachable("the connection ended".into()))
}
