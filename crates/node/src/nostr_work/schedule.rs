//! Scheduled publishing (kind 5905): signed events are kept until the time they are dated, then published.
//!
//! Each is a file until a relay has it, so a restart forgets none. Nothing is signed here, and nothing is changed.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use openagents_backend::{Backend, BackendError, Health, Output, Rejection, Work};
use openagents_protocol::{Limits, Verified, accept, filters};
use openagents_types::{EventId, JobKind, Millis, Param, Timestamp};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{check_relays, sized, texts, usage};
use crate::{clock, home::write_private, relays::Relays};

/// How far ahead an event may be dated.
const LONGEST: Millis = Millis::from_secs(7 * 24 * 3_600);

/// How late it may be: the way from its author to here.
const LATE: Millis = Millis::from_secs(3_600);

/// How long relays are tried after its time.
const GIVEN_UP: Millis = Millis::from_secs(24 * 3_600);

/// Events of one job, and of all.
const MOST_OF_A_JOB: usize = 16;
const MOST: usize = 5_000;

/// How often it is looked what is due, and how often a relay is asked for what was sent.
const LOOK: Duration = Duration::from_secs(1);
const SEND_AGAIN: Millis = Millis::from_secs(30);

/// How long relays have to say whether they have an event.
const PATIENCE: Duration = Duration::from_secs(4);

const NAME: &str = "schedule";

/// The events that wait, each a file named by when it is due and its id. Clones are the same schedule.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    folder: PathBuf,
    relays: Relays,
}

/// One that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Waiting {
    due: Timestamp,
    file: PathBuf,
}

impl Schedule {
    pub(super) const fn new(folder: PathBuf, relays: Relays) -> Self {
        Self { folder, relays }
    }

    /// Keeps an event until it is due. The same one again changes nothing.
    fn keep(&self, event: &Verified) -> Result<(), BackendError> {
        let failed = |error: &dyn std::fmt::Display| {
            tracing::error!(%error, "an event to be published later cannot be kept");
            BackendError::Died
        };
        std::fs::create_dir_all(&self.folder).map_err(|error| failed(&error))?;
        let name = format!("{}-{}.json", event.event().created_at.as_secs(), event.id().to_hex());
        write_private(&self.folder.join(name), event.json().as_bytes()).map_err(|error| failed(&error))
    }

    /// All that wait, the first due first.
    fn waiting(&self) -> Vec<Waiting> {
        let entries = std::fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let read = |file: PathBuf| {
            let due = file.file_name()?.to_str()?.strip_suffix(".json")?.split_once('-')?.0.parse().ok()?;
            Some(Waiting { due: Timestamp::from_secs(due), file })
        };
        let mut waiting: Vec<Waiting> = entries.filter_map(|entry| read(entry.path())).collect();
        waiting.sort_by_key(|one| one.due);
        waiting
    }

    /// Publishes what is due, until it is dropped with the node's tasks. What waits then is published after the next
    /// start.
    pub(crate) async fn run(self) {
        let mut next_try: std::collections::HashMap<PathBuf, Timestamp> = std::collections::HashMap::new();
        loop {
            let now = clock::now();
            let waiting = self.waiting();
            next_try.retain(|file, _| waiting.iter().any(|one| one.file == *file));
            for one in waiting.into_iter().take_while(|one| one.due <= now) {
                let sent_before = next_try.get(&one.file).copied();
                if sent_before.is_none_or(|at| at <= now) {
                    self.publish(&one, sent_before.is_some(), now).await;
                    next_try.insert(one.file, now.after(SEND_AGAIN));
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Sends one, or lets it go once a relay has it or its time is long over.
    async fn publish(&self, one: &Waiting, sent_before: bool, now: Timestamp) {
        let Some(event) = stored(&one.file) else { return remove(&one.file) };
        if sent_before && self.has(event.id()).await {
            return remove(&one.file);
        }
        if now.since(one.due) > GIVEN_UP {
            tracing::warn!(event = %event.id(), "no relay of ours took a scheduled event for a day; it is let go");
            return remove(&one.file);
        }
        self.relays.publish(event);
    }

    async fn has(&self, id: EventId) -> bool {
        !self.relays.query(&filters::for_event(id), 1, PATIENCE).await.is_empty()
    }
}

/// A file that is no event was not written here.
fn stored(file: &Path) -> Option<Verified> {
    let text = std::fs::read_to_string(file).ok()?;
    accept(&text, &Limits::default()).ok()
}

fn remove(file: &Path) {
    if let Err(error) = std::fs::remove_file(file) {
        tracing::warn!(%error, file = %file.display(), "a scheduled event that was published is still on the disk");
    }
}

/// The events of a job, each checked.
fn events(texts: &[String], now: Timestamp) -> Result<Vec<Verified>, BackendError> {
    let bad = |why: String| Err(BackendError::BadInput(why));
    let mut events = Vec::new();
    for text in texts {
        let value: serde_json::Value = serde_json::from_str(text)
            .map_err(|error| BackendError::BadInput(format!("no event: {error}")))?;
        let values = value.as_array().cloned().unwrap_or_else(|| vec![value]);
        for value in values {
            let event = accept(&value.to_string(), &Limits::default())
                .map_err(|error| BackendError::BadInput(error.to_string()))?;
            let due = Timestamp::from_secs(event.event().created_at.as_secs());
            if due.since(now) > LONGEST {
                return bad(format!("event {} is dated more than 7 days ahead", event.id()));
            }
            if now.since(due) > LATE {
                return bad(format!("event {} is dated more than an hour ago", event.id()));
            }
            events.push(event);
        }
    }
    match events.len() {
        0 => bad("there is no event to publish".into()),
        many if many > MOST_OF_A_JOB => bad(format!("more than {MOST_OF_A_JOB} events in one job")),
        _ => Ok(events),
    }
}

/// The backend: takes events into the schedule.
#[derive(Clone, Debug)]
pub(super) struct Later {
    schedule: Schedule,
}

impl Later {
    pub(super) const fn new(schedule: Schedule) -> Self {
        Self { schedule }
    }
}

#[async_trait]
impl Backend for Later {
    fn name(&self) -> &'static str {
        NAME
    }

    fn kinds(&self) -> Vec<JobKind> {
        JobKind::try_from(5905).into_iter().collect()
    }

    async fn probe(&self) -> Health {
        Health::Ready
    }

    fn check(&self, _: JobKind, params: &[Param], input_bytes: u64) -> Result<(), Rejection> {
        sized(input_bytes, 1)?;
        check_relays(&self.schedule.relays, params, "relays")
    }

    async fn run(
        &self,
        work: Work,
        _pieces: mpsc::Sender<String>,
        stop: CancellationToken,
    ) -> Result<Output, BackendError> {
        let started = Instant::now();
        if stop.is_cancelled() {
            return Err(BackendError::Cancelled);
        }
        let events = events(&texts(&work)?, clock::now())?;
        if self.schedule.waiting().len() + events.len() > MOST {
            return Err(BackendError::Busy);
        }
        // The same job may be done again after a crash: the same files are written.
        events.iter().try_for_each(|event| self.schedule.keep(event))?;
        let ids: Vec<String> = events.iter().map(|event| event.id().to_hex()).collect();
        Ok(Output::text(ids.join("\n"), usage(NAME, events.len(), events.len(), started)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]
    use nostr::Keys;

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn note(at: Timestamp) -> Verified {
        Verified::sign(&Keys::generate(), 1, Vec::new(), "later".into(), at.secs())
    }

    #[test]
    fn only_signed_events_of_the_next_days_are_taken() {
        let soon = note(NOW.after(Millis::from_secs(60)));
        let read = |text: String| events(&[text], NOW).map(|events| events.len());
        assert_eq!(read(soon.json().into()), Ok(1));
        assert_eq!(read(format!("[{},{}]", soon.json(), note(NOW).json())), Ok(2));
        let forged = soon.json().replace("later", "never");
        let (far, old) =
            (note(NOW.after(Millis::from_secs(8 * 86_400))), note(NOW.before(Millis::from_secs(7_200))));
        for (text, word) in [
            (forged, "wrong"),
            (far.json().to_owned(), "7 days"),
            (old.json().to_owned(), "an hour"),
            ("[]".into(), "no event"),
            ("hello".into(), "no event"),
            (format!("[{}]", vec![soon.json(); 17].join(",")), "more than 16"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(word), "{word}: {error}");
        }
    }

    #[test]
    fn what_is_kept_is_found_again_by_another_process() {
        let folder = tempfile::tempdir().unwrap();
        let schedule = || Schedule::new(folder.path().join("s"), Relays::new(Vec::new(), None));
        let (second, first) = (note(NOW.after(Millis::from_secs(9))), note(NOW));
        for event in [&second, &first, &first] {
            schedule().keep(event).unwrap();
        }
        let waiting = schedule().waiting();
        assert_eq!(
            waiting.iter().map(|one| one.due).collect::<Vec<_>>(),
            [NOW, NOW.after(Millis::from_secs(9))]
        );
        assert_eq!(stored(&waiting[0].file).unwrap().id(), first.id());
    }
}
