//! What every backend promises, as tests: `backend_tests!(name, factory, sample)`.

pub mod servers;

use std::sync::Arc;

use openagents_types::{JobKind, Param};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{Backend, BackendError, Output, Work};

/// Runs a backend and gives back its output and the pieces it streamed.
///
/// # Errors
/// The backend's own.
pub async fn run(backend: &Arc<dyn Backend>, work: Work) -> Result<(Output, Vec<String>), BackendError> {
    let (pieces, mut heard) = mpsc::channel(1_024);
    let output = backend.run(work, pieces, CancellationToken::new()).await?;
    let mut streamed = Vec::new();
    while let Ok(piece) = heard.try_recv() {
        streamed.push(piece);
    }
    Ok((output, streamed))
}

/// A backend delivers something, and what it streamed is what it delivered.
///
/// # Panics
/// It does not.
pub async fn delivers(backend: Arc<dyn Backend>, work: Work) {
    let (output, pieces) = run(&backend, work).await.unwrap_or_else(|error| panic!("{error:?}"));
    let made = output.file.as_ref().map_or(output.content.len(), |file| file.bytes.len());
    assert!(made > 0, "an empty result");
    assert!(output.file.is_none() || output.content.is_empty(), "either a text or a file");
    assert!(pieces.is_empty() || pieces.concat() == output.content, "the pieces are not the result");
    assert!(output.usage.output_tokens > 0, "no usage was counted");
    assert_eq!(output.usage.backend, backend.name());
}

/// A backend that is told to stop stops, and says so.
///
/// # Panics
/// It does not.
pub async fn stops(backend: Arc<dyn Backend>, work: Work) {
    let stop = CancellationToken::new();
    stop.cancel();
    let (pieces, _heard) = mpsc::channel(1_024);
    let stopped =
        tokio::time::timeout(std::time::Duration::from_secs(5), backend.run(work, pieces, stop)).await;
    assert_eq!(stopped.unwrap_or_else(|_| panic!("it did not stop")), Err(BackendError::Cancelled));
}

/// A backend turns away no input and too much input before anybody pays.
///
/// # Panics
/// It does not.
pub fn checks(backend: &Arc<dyn Backend>, kind: JobKind, bad: &Param) {
    assert!(backend.kinds().contains(&kind));
    assert!(backend.check(kind, &[], 100).is_ok());
    assert!(backend.check(kind, &[], 0).is_err(), "nothing to work on");
    assert!(backend.check(kind, &[], u64::MAX).is_err(), "too much to work on");
    let error = backend
        .check(kind, std::slice::from_ref(bad), 100)
        .map_or_else(|e| e.to_string(), |()| String::new());
    assert!(error.contains(&bad.name), "a bad parameter has to be named: {error:?}");
}

/// Proves the rules of [`Backend`] for one backend.
///
/// `$make` builds an `Arc<dyn Backend>`, `$work` a [`Work`] it can do, `$bad` a [`Param`] it cannot take.
#[macro_export]
macro_rules! backend_tests {
    ($name:ident, $make:expr, $work:expr, $bad:expr) => {
        mod $name {
            use super::*;

            #[tokio::test]
            async fn it_delivers_what_it_streams() {
                $crate::conformance::delivers($make, $work).await;
            }

            #[tokio::test]
            async fn it_stops_when_told() {
                $crate::conformance::stops($make, $work).await;
            }

            #[tokio::test]
            async fn it_turns_away_what_it_cannot_do() {
                $crate::conformance::checks(&$make, $work.kind, &$bad);
            }
        }
    };
}
