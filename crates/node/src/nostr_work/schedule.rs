//! Scheduled publishing (kind 5905): signed events are kept until the time they are dated, then published.
//!
//! Each is a file until a relay has it, so a restart forgets none. Nothing is signed here, and nothing is changed.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
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

/// Events that wait of one author.
const MOST_OF_AN_AUTHOR: usize = 100;

/// How often an event is sent while a relay is connected. One that none has by then is one that they do not keep.
const TRIES: u32 = 10;

/// How often it is looked what is due, and how often a relay is asked for what was sent.
const LOOK: Duration = Duration::from_secs(1);
const SEND_AGAIN: Millis = Millis::from_secs(30);

/// How long relays have to say whether they have an event.
const PATIENCE: Duration = Duration::from_secs(4);

pub(super) const NAME: &str = "schedule";

/// The events that wait, each a file named by when it is due and its id. Clones are the same schedule.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    folder: PathBuf,
    relays: Relays,
    /// How many waited when it was looked last.
    waited: Arc<AtomicUsize>,
}

/// One that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Waiting {
    due: Timestamp,
    file: PathBuf,
}

impl Waiting {
    /// Whether this key signed it, by the file's name; those of earlier versions do not say.
    fn is_by(&self, author: &str) -> bool {
        self.file.file_stem().and_then(|stem| stem.to_str()).is_some_and(|stem| stem.ends_with(author))
    }
}

/// How often one that is due was sent, and when it is sent again.
#[derive(Clone, Copy, Debug, Default)]
struct Tried {
    times: u32,
    again: Timestamp,
}

impl Schedule {
    pub(super) fn new(folder: PathBuf, relays: Relays) -> Self {
        Self { folder, relays, waited: Arc::default() }
    }

    fn path(&self, event: &Verified) -> PathBuf {
        let (due, author) = (event.event().created_at.as_secs(), event.event().pubkey.to_hex());
        self.folder.join(format!("{due}-{}-{author}.json", event.id().to_hex()))
    }

    /// Keeps an event until it is due. The same one again changes nothing.
    fn keep(&self, event: &Verified) -> Result<(), BackendError> {
        let failed = |error: &dyn std::fmt::Display| {
            tracing::error!(%error, "an event to be published later cannot be kept");
            BackendError::Died
        };
        std::fs::create_dir_all(&self.folder).map_err(|error| failed(&error))?;
        write_private(&self.path(event), event.json().as_bytes()).map_err(|error| failed(&error))
    }

    /// Whether there is a place for each of these, of which some may be here from a first try.
    fn has_room(&self, events: &[Verified]) -> Result<(), BackendError> {
        let waiting = self.waiting();
        let fresh: Vec<&Verified> = events.iter().filter(|event| !self.path(event).exists()).collect();
        if waiting.len() + fresh.len() > MOST {
            return Err(BackendError::Busy);
        }
        for event in &fresh {
            let author = event.event().pubkey;
            let here = waiting.iter().filter(|one| one.is_by(&author.to_hex())).count();
            let more = fresh.iter().filter(|other| other.event().pubkey == author).count();
            if here + more > MOST_OF_AN_AUTHOR {
                let why = format!("{here} events of {author} wait here, at most {MOST_OF_AN_AUTHOR} may");
                return Err(BackendError::BadInput(why));
            }
        }
        Ok(())
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
        self.waited.store(waiting.len(), Ordering::Relaxed);
        waiting
    }

    /// Publishes what is due, until it is dropped with the node's tasks. What waits then is published after the next
    /// start.
    pub(crate) async fn run(self) {
        let mut tried: HashMap<PathBuf, Tried> = HashMap::new();
        loop {
            let now = clock::now();
            let waiting = self.waiting();
            tried.retain(|file, _| waiting.iter().any(|one| one.file == *file));
            for one in waiting.into_iter().take_while(|one| one.due <= now) {
                let before = tried.get(&one.file).copied().unwrap_or_default();
                if before.again <= now {
                    let times = self.publish(&one, before.times, now).await;
                    tried.insert(one.file, Tried { times, again: now.after(SEND_AGAIN) });
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Sends one, or lets it go once a relay has it, none keeps it or its time is long over. Gives back how often it has
    /// been sent.
    async fn publish(&self, one: &Waiting, times: u32, now: Timestamp) -> u32 {
        let Some(event) = stored(&one.file) else {
            remove(&one.file);
            return times;
        };
        let is_done = (times > 0 && self.has(event.id()).await) || self.is_given_up(one, &event, times, now);
        if is_done {
            remove(&one.file);
            return times;
        }
        if !self.relays.states().values().any(|state| state.connected) {
            return times;
        }
        // Nobody keeps such an event, so no relay could be asked for it.
        let is_said_once = event.event().kind.is_ephemeral();
        self.relays.publish(event);
        if is_said_once {
            remove(&one.file);
        }
        times + 1
    }

    fn is_given_up(&self, one: &Waiting, event: &Verified, times: u32, now: Timestamp) -> bool {
        let why = if now.since(one.due) > GIVEN_UP {
            "no relay of ours took it for a day"
        } else if times >= TRIES {
            "no relay of ours keeps it"
        } else {
            return false;
        };
        tracing::warn!(event = %event.id(), why, "a scheduled event is let go");
        true
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
        if self.schedule.waited.load(Ordering::Relaxed) >= MOST {
            return Err(Rejection::NotReady(format!("keeps {MOST} events already, as many as it can")));
        }
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
        self.schedule.has_room(&events)?;
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
    fn schedule(folder: &tempfile::TempDir) -> Schedule {
        Schedule::new(folder.path().join("s"), Relays::new(Vec::new(), None))
    }

    #[test]
    fn an_author_has_a_share_of_the_places_and_a_job_that_is_done_again_takes_none() {
        let folder = tempfile::tempdir().unwrap();
        let schedule = schedule(&folder);
        let keys = Keys::generate();
        let by = |n: usize| Verified::sign(&keys, 1, Vec::new(), n.to_string(), NOW.secs());
        let all: Vec<Verified> = (0..=MOST_OF_AN_AUTHOR).map(by).collect();
        for event in &all[..MOST_OF_AN_AUTHOR] {
            schedule.keep(event).unwrap();
        }
        assert_eq!(schedule.has_room(&all[..16]), Ok(()));
        let error = schedule.has_room(&all[MOST_OF_AN_AUTHOR..]).unwrap_err().to_string();
        assert!(error.contains("100 events of"), "{error}");
        assert_eq!(schedule.has_room(&[note(NOW)]), Ok(()), "another's place is not taken");
    }

    #[test]
    fn a_full_schedule_is_said_before_anything_is_paid() {
        let folder = tempfile::tempdir().unwrap();
        let later = Later::new(schedule(&folder));
        let check = || later.check(JobKind::try_from(5905).unwrap(), &[], 100);
        assert_eq!(check(), Ok(()));
        later.schedule.waited.store(MOST, Ordering::Relaxed);
        assert!(matches!(check(), Err(Rejection::NotReady(_))));
    }

    #[tokio::test]
    async fn what_no_relay_keeps_is_let_go() {
        let folder = tempfile::tempdir().unwrap();
        let schedule = schedule(&folder);
        schedule.keep(&note(NOW)).unwrap();
        let one = schedule.waiting().remove(0);
        assert_eq!(schedule.publish(&one, 0, NOW).await, 0, "without a relay it is not sent");
        assert_eq!(schedule.waiting().len(), 1);
        schedule.publish(&one, TRIES, NOW).await;
        assert!(schedule.waiting().is_empty());
    }
}
