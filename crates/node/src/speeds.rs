//! How fast each backend was: a moving average of our own runs, kept across restarts. Nothing of a job is in it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use openagents_backend::{Health, Work};
use openagents_types::{JobKind, Millis, Param, ResolvedInput};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::{
    config::Config,
    home::{Home, write_private},
    offers::{self, OffersError},
    runtime::Tasks,
};

/// How much a new run counts against all before it: the last ten or so make the average.
const WEIGHT: f64 = 0.2;

/// Runs shorter than this tell more of the clock than of the backend.
const SHORTEST: Millis = Millis(2);

/// How often it is written down. What a crash loses is measured again.
const KEEP_EVERY: Duration = Duration::from_secs(30);

/// How long a measurement may take.
const MEASURED_FOR: Duration = Duration::from_secs(120);

/// How long a server that is starting is waited for: a large model from a slow disk.
const LOADED_WITHIN: Duration = Duration::from_secs(900);

/// How often it is looked whether it is there.
const LOOK: Duration = Duration::from_millis(100);

/// How many rows are kept; a provider has a few backends with a few models each.
const MOST: usize = 512;

/// What was measured.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Track {
    /// The backend.
    pub backend: String,
    /// The kind of work.
    pub kind: JobKind,
    /// The model, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

/// How fast it was.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Speed {
    /// Tokens or words made in a second, or bytes where none are counted.
    pub per_second: f64,
    /// How many runs were measured.
    pub runs: u64,
}

impl Speed {
    /// With one more run that made so much in a second.
    fn with(earlier: Option<Self>, per_second: f64) -> Self {
        match earlier {
            None => Self { per_second, runs: 1 },
            Some(Self { per_second: before, runs }) => {
                Self { per_second: before + WEIGHT * (per_second - before), runs: runs.saturating_add(1) }
            }
        }
    }
}

/// One row of the file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Measured {
    /// What was measured.
    #[serde(flatten)]
    pub track: Track,
    /// How fast it was.
    #[serde(flatten)]
    pub speed: Speed,
}

/// All that was measured. Clones share it.
#[derive(Clone, Debug)]
pub struct SpeedBook {
    path: Option<PathBuf>,
    rows: Arc<Mutex<BTreeMap<Track, Speed>>>,
    /// Whether anything was measured since it was last written down.
    news: Arc<AtomicBool>,
}

impl SpeedBook {
    /// What earlier runs of the program wrote down. A file that cannot be read is begun anew: it is a measurement.
    pub fn open(home: &Home) -> Self {
        let path = home.data_file("speeds.json");
        let rows = read(&path).into_iter().map(|row| (row.track, row.speed)).collect();
        Self { path: Some(path), rows: Arc::new(Mutex::new(rows)), news: Arc::default() }
    }

    /// Nothing yet, and nothing written down.
    pub fn in_memory() -> Self {
        Self { path: None, rows: Arc::default(), news: Arc::default() }
    }

    /// What a backend makes in a second.
    pub fn per_second(&self, track: &Track) -> Option<f64> {
        self.lock().get(track).map(|speed| speed.per_second)
    }

    /// Counts a run that made so much in so long.
    pub fn note(&self, track: Track, made: u64, elapsed: Millis) {
        if made == 0 || elapsed < SHORTEST {
            return;
        }
        let mut rows = self.lock();
        if rows.len() >= MOST && !rows.contains_key(&track) {
            return;
        }
        #[expect(clippy::cast_precision_loss, reason = "a measurement")]
        let per_second = made as f64 * 1_000.0 / elapsed.0 as f64;
        let earlier = rows.get(&track).copied();
        rows.insert(track, Speed::with(earlier, per_second));
        self.news.store(true, Ordering::Relaxed);
    }

    /// Everything that was measured.
    pub fn rows(&self) -> Vec<Measured> {
        self.lock().iter().map(|(track, speed)| Measured { track: track.clone(), speed: *speed }).collect()
    }

    /// Writes down what is new now and then, and at the end.
    pub(crate) async fn keep_up(self, stop: CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(KEEP_EVERY)).await.is_some() {
            self.keep();
        }
        self.keep();
    }

    /// Writes down what is new.
    pub fn keep(&self) {
        let Some(path) = &self.path else { return };
        if !self.news.swap(false, Ordering::Relaxed) {
            return;
        }
        let kept = serde_json::to_vec_pretty(&self.rows()).map(|bytes| write_private(path, &bytes));
        if let Ok(Err(error)) = kept {
            tracing::warn!(%error, "how fast the backends are cannot be written down");
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Track, Speed>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Does a short job with each model that was never measured, and counts it.
///
/// # Errors
/// A backend cannot be built from its settings.
pub async fn measure(config: &Config, home: &Home, book: &SpeedBook) -> Result<(), OffersError> {
    let tasks = Tasks::new();
    let measured = match offers::backends(config, Vec::new(), home.data_file("logs"), &tasks).await {
        Ok((table, _)) => {
            measure_each(&table, book).await;
            Ok(())
        }
        Err(error) => Err(error),
    };
    tasks.finish().await;
    measured
}

async fn measure_each(table: &offers::Table, book: &SpeedBook) {
    const PROMPT: &str = "Write a short text about a river, from its spring to the sea.";
    let kind = JobKind::TEXT_GENERATION;
    for seat in table.get(&kind).into_iter().flatten() {
        // Which models a server has is known once it is there.
        let _ = tokio::time::timeout(LOADED_WITHIN, started(seat)).await;
        for model in seat.backend.models(kind) {
            let track = Track { backend: seat.label.to_string(), kind, model: Some(model.name.clone()) };
            if book.per_second(&track).is_some() {
                continue;
            }
            let params = vec![Param::new("model", &model.name), Param::new("max_tokens", "64")];
            let work = Work { kind, inputs: vec![ResolvedInput::text(PROMPT)], params, output: Vec::new() };
            let (pieces, mut heard) = tokio::sync::mpsc::channel(64);
            let run = seat.backend.run(work, pieces, CancellationToken::new());
            let unheard = async { while heard.recv().await.is_some() {} };
            let (outcome, ()) = tokio::join!(tokio::time::timeout(MEASURED_FOR, run), unheard);
            match outcome {
                Ok(Ok(output)) => book.note(track, output.usage.output_tokens, output.usage.elapsed),
                Ok(Err(error)) => {
                    tracing::warn!(backend = &*seat.label, model = model.name, %error, "not measured")
                }
                Err(_) => {
                    tracing::warn!(backend = &*seat.label, model = model.name, "too slow to be measured")
                }
            }
        }
    }
}

/// Waits while a server is starting.
async fn started(seat: &offers::Seat) {
    let is_starting = || seat.backend.server().is_some_and(|server| server.health == Health::Starting);
    while is_starting() {
        tokio::time::sleep(LOOK).await;
    }
}

fn read(path: &Path) -> Vec<Measured> {
    let bytes = std::fs::read(path).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]
    use super::*;

    fn track(model: &str) -> Track {
        Track { backend: "b".into(), kind: JobKind::TEXT_GENERATION, model: Some(model.into()) }
    }

    #[test]
    fn the_average_moves_with_the_runs_and_survives_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(Some(dir.path().into())).unwrap();
        let book = SpeedBook::open(&home);
        book.note(track("m"), 100, Millis(1_000));
        assert_eq!(book.per_second(&track("m")), Some(100.0));
        book.note(track("m"), 200, Millis(1_000));
        assert_eq!(book.per_second(&track("m")), Some(120.0));
        for _ in 0..50 {
            book.note(track("m"), 200, Millis(1_000));
        }
        assert!((book.per_second(&track("m")).unwrap() - 200.0).abs() < 0.01);
        book.keep();
        let again = SpeedBook::open(&home);
        assert_eq!(again.rows().len(), 1);
        assert_eq!(again.rows()[0].speed.runs, 52);
        std::fs::write(home.data_file("speeds.json"), "{").unwrap();
        assert!(SpeedBook::open(&home).rows().is_empty());
    }

    #[test]
    fn what_cannot_be_measured_counts_for_nothing() {
        let book = SpeedBook::in_memory();
        book.note(track("m"), 0, Millis(1_000));
        book.note(track("m"), 100, Millis(1));
        assert_eq!(book.per_second(&track("m")), None);
    }
}
