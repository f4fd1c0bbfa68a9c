//! Inputs that are the results of earlier jobs (NIP-90, job chaining): waited for, and believed only
//! from somebody whom the earlier job itself ties to it.
//!
//! Anybody can publish an answer to any job. A request that names providers is answered by those; one
//! that names nobody is answered if exactly one key has answered it. Nothing here can open what was
//! encrypted, so that nobody is sent what was written for somebody else.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    time::Duration,
};

use nostr::Keys;
use openagents_protocol::{DecodeError, Keyring, Limits, Message, Verified, accept, decode, filters};
use openagents_types::{
    Feedback, InputType, JobId, JobInput, JobRequest, ProviderKey, ResolvedInput, Status, Timestamp,
};
use tokio::time::Instant;

use super::{
    ResolveError, Resolver,
    events::{EventError, Events, Hint, parse, plain, readable},
};
use crate::clock;

/// How long the result of an earlier job is waited for: less than a job may take, so that the customer
/// hears why.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);
/// When the request of an earlier job is looked for again: it may have been sent a moment before ours.
const REQUEST_PAUSES: [Duration; 3] = [Duration::ZERO, Duration::from_secs(1), Duration::from_secs(2)];
/// The longest pause between two looks for a result.
const LONGEST_PAUSE: Duration = Duration::from_secs(4);
/// How deep jobs may wait for each other.
const DEEPEST: usize = 8;
/// How many earlier jobs are looked at to find that out.
const MOST_ANCESTORS: usize = 24;
/// The longest reason of a stranger that is passed on, in characters.
const LONGEST_REASON: usize = 200;

/// Why the result of an earlier job cannot be an input.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EarlierError {
    /// Its request is nowhere.
    #[error("no request of job {job} was found{on}; name a relay that has it, or send the text itself")]
    NotFound {
        /// The job.
        job: JobId,
        /// What became of the relay that the input names.
        on: Hint,
    },
    /// The id names something else.
    #[error("{0} is no job; name any other event as type event")]
    NotAJob(JobId),
    /// Nobody can say whose answer is meant.
    #[error("job {0} has several answers; name the one you mean by the id of its result, as type event")]
    Several(JobId),
    /// Its result is for its customer alone.
    #[error("the result of job {0} is encrypted, and only its customer can read it; send its text itself")]
    Sealed(JobId),
    /// Whoever did it could not.
    #[error("job {job}, whose result this one needs, failed: {reason}")]
    Failed {
        /// The job.
        job: JobId,
        /// Its provider's own words.
        reason: String,
    },
    /// Its customer does not want it any more.
    #[error("job {0}, whose result this one needs, was taken back")]
    Withdrawn(JobId),
    /// It was not done in time.
    #[error("job {job} has had no result for {waited} s{said}; ask again when it has one")]
    Late {
        /// The job.
        job: JobId,
        /// How long it was waited for, in seconds.
        waited: u64,
        /// What was said about it.
        said: String,
    },
    /// More jobs wait for each other than is waited for.
    #[error(
        "the jobs this one needs wait for each other more than {DEEPEST} deep; ask again when they are done"
    )]
    TooDeep,
    /// Jobs wait for each other in a circle.
    #[error("job {0} waits for its own result")]
    Cycle(JobId),
    /// Too many wait already.
    #[error("too many jobs wait here for earlier ones; ask again when job {0} is done")]
    Busy(JobId),
}

/// Where an earlier job stands, as far as an onlooker can tell.
#[derive(Debug)]
pub(super) enum Standing {
    Done(Verified),
    Never(EarlierError),
    /// It may yet be done. The last objection, if there was one.
    Open(Option<String>),
}

impl Events {
    /// The result of the job that an input names, once it is there.
    pub(super) async fn result(
        &self,
        resolver: &Resolver,
        input: &JobInput,
    ) -> Result<ResolvedInput, ResolveError> {
        let job: JobId = parse(&input.data)?;
        let hint = input.relay.as_deref();
        let request = self.request(resolver, job, hint).await?;
        let until = Instant::now() + self.patience_for(&request);
        let (started, mut place) = (Instant::now(), None);
        for round in 0_u32.. {
            let asked = hint.filter(|_| asks_stranger(round));
            let objection = match standing(&request, &self.answers(resolver, &request, asked).await) {
                Standing::Done(event) => return readable(&event),
                Standing::Never(error) => return Err(error.into()),
                Standing::Open(objection) => objection,
            };
            if place.is_none() {
                place = Some(self.waiting.try_acquire().map_err(|_| EarlierError::Busy(job))?);
                self.check_lineage(&request).await?;
            }
            let again = Instant::now() + pause(round);
            if again > until {
                let said = objection.map(|words| format!("; it was answered: {words}")).unwrap_or_default();
                return Err(EarlierError::Late { job, waited: started.elapsed().as_secs(), said }.into());
            }
            tokio::time::sleep_until(again).await;
        }
        Err(EarlierError::Busy(job).into())
    }

    /// Nobody answers a job after its own deadline.
    fn patience_for(&self, request: &JobRequest) -> Duration {
        let left = request.expires_at.map_or(Duration::MAX, |end| end.since(clock::now()).duration());
        self.patience.min(left)
    }

    async fn request(
        &self,
        resolver: &Resolver,
        job: JobId,
        hint: Option<&str>,
    ) -> Result<JobRequest, ResolveError> {
        let mut on = Hint::None;
        for pause in REQUEST_PAUSES {
            tokio::time::sleep(pause).await;
            let (mut found, became) = self.by_id(resolver, job.event(), hint).await;
            if found.is_none() {
                // Relays forget a request at its deadline. Its answers quote it.
                found = quoted(job, &self.own(filters::about(job)).await);
            }
            if let Some(event) = found {
                return read(&event);
            }
            on = became;
        }
        Err(EarlierError::NotFound { job, on }.into())
    }

    async fn answers(&self, resolver: &Resolver, request: &JobRequest, hint: Option<&str>) -> Vec<Verified> {
        let wanted = || filters::for_onlooker(request.id, request.kind);
        let mut said = self.said_about(request.id).await;
        said.extend(self.own(wanted()).await);
        said.extend(self.hinted(resolver, hint, wanted()).await.0);
        said
    }

    /// Whether the jobs that this one waits for wait for others in turn, too deep or in a circle.
    async fn check_lineage(&self, first: &JobRequest) -> Result<(), EarlierError> {
        let mut parents = HashMap::from([(first.id, earlier(first))]);
        let mut ahead = VecDeque::from(earlier(first));
        while let Some(job) = ahead.pop_front() {
            if parents.contains_key(&job) {
                continue;
            }
            if parents.len() >= MOST_ANCESTORS {
                return Err(EarlierError::TooDeep);
            }
            let found = self.own(filters::for_event(job.event())).await;
            let request = found.iter().find(|event| event.id() == job.event()).and_then(|e| read(e).ok());
            let jobs = request.as_ref().map(earlier).unwrap_or_default();
            ahead.extend(&jobs);
            parents.insert(job, jobs);
        }
        depth(first.id, &parents, &mut HashMap::new()).map(drop)
    }
}

/// How long jobs wait for each other behind `job`, itself included.
pub(super) fn depth(
    job: JobId,
    parents: &HashMap<JobId, Vec<JobId>>,
    known: &mut HashMap<JobId, Option<usize>>,
) -> Result<usize, EarlierError> {
    match known.get(&job) {
        Some(Some(depth)) => return Ok(*depth),
        // It is being looked at: we came back to it.
        Some(None) => return Err(EarlierError::Cycle(job)),
        None => drop(known.insert(job, None)),
    }
    let mut deepest = 0;
    for parent in parents.get(&job).into_iter().flatten() {
        deepest = deepest.max(depth(*parent, parents, known)?);
    }
    if deepest >= DEEPEST {
        return Err(EarlierError::TooDeep);
    }
    known.insert(job, Some(deepest + 1));
    Ok(deepest + 1)
}

/// The earlier jobs whose results a job needs.
fn earlier(request: &JobRequest) -> Vec<JobId> {
    let jobs = request.inputs.iter().filter(|input| input.input_type == InputType::Job);
    jobs.filter_map(|input| input.data.trim().parse().ok()).collect()
}

/// A keyring that opens nothing.
fn no_keys() -> Keyring {
    Keyring::new(Keys::generate())
}

fn read(event: &Verified) -> Result<JobRequest, ResolveError> {
    let job = JobId::from(event.id());
    match decode(event, &mut no_keys()) {
        Ok(Message::Request(request)) => Ok(*request),
        Err(DecodeError::Sealed) => Err(EarlierError::Sealed(job).into()),
        Ok(_) | Err(_) => Err(EarlierError::NotAJob(job).into()),
    }
}

/// The request of a job as one of its answers quotes it. Its id and signature are checked like those of
/// every other event.
fn quoted(job: JobId, answers: &[Verified]) -> Option<Verified> {
    let tags = answers.iter().flat_map(|event| event.event().tags.iter());
    let quotes = tags.filter_map(|tag| match tag.as_slice() {
        [name, request, ..] if name == "request" => Some(request),
        _ => None,
    });
    let mut requests = quotes.filter_map(|json| accept(json, &Limits::default()).ok());
    requests.find(|request| request.id() == job.event())
}

/// How much one provider has said of a job.
#[derive(Debug, Default)]
struct Voice {
    began: bool,
    refused: Option<String>,
}

impl Voice {
    fn hear(&mut self, feedback: &Feedback) {
        match feedback.status {
            Status::Error => {
                let words =
                    if feedback.message.is_empty() { "no reason was given" } else { &feedback.message };
                self.refused = Some(plain(words, LONGEST_REASON));
            }
            Status::PaymentRequired | Status::Processing | Status::Partial | Status::Success => {
                self.began = true;
            }
        }
    }
}

/// Where a job stands by what was said about it.
pub(super) fn standing(request: &JobRequest, said: &[Verified]) -> Standing {
    let job = request.id;
    let named = &request.providers;
    let mut keys = no_keys();
    let mut results: BTreeMap<ProviderKey, (Timestamp, &Verified)> = BTreeMap::new();
    let mut voices: BTreeMap<ProviderKey, Voice> = named.iter().map(|key| (*key, Voice::default())).collect();
    let (mut sealed, mut withdrawn) = (false, false);
    let tied = |key: &ProviderKey| named.is_empty() || named.contains(key);
    for event in said {
        match decode(event, &mut keys) {
            Ok(Message::Result(result)) if result.job == job && tied(&result.provider) => {
                if result.kind == request.kind.result() {
                    let first = results.entry(result.provider).or_insert((result.created_at, event));
                    // The first answer stands, so that nobody can change what a chain has read.
                    if result.created_at < first.0 {
                        *first = (result.created_at, event);
                    }
                }
            }
            Ok(Message::Feedback(feedback)) if feedback.job == job && tied(&feedback.provider) => {
                voices.entry(feedback.provider).or_default().hear(&feedback);
            }
            Ok(Message::Cancels(cancels)) => {
                let whole = |c: &openagents_types::Cancel| c.by == request.customer && c.providers.is_empty();
                withdrawn |= cancels.iter().any(|cancel| cancel.job == job && whole(cancel));
            }
            Err(DecodeError::Sealed) => {
                let author = ProviderKey::from_bytes(event.event().pubkey.to_bytes());
                sealed |= event.event().kind.as_u16() == request.kind.result() && tied(&author);
            }
            Ok(_) | Err(_) => {}
        }
    }
    let mut found = results.into_values();
    match (found.next(), found.next()) {
        (Some((_, event)), None) => Standing::Done(event.clone()),
        (Some(_), Some(_)) => Standing::Never(EarlierError::Several(job)),
        (None, _) if sealed => Standing::Never(EarlierError::Sealed(job)),
        (None, _) if withdrawn => Standing::Never(EarlierError::Withdrawn(job)),
        (None, _) => unfinished(request, &voices),
    }
}

/// A job without a result has failed if everybody it names has given up; or, if it names nobody, if
/// whoever offered to do it has. That others refuse an open job says nothing.
fn unfinished(request: &JobRequest, voices: &BTreeMap<ProviderKey, Voice>) -> Standing {
    let counts = |voice: &&Voice| voice.began || !request.providers.is_empty();
    let mut concerned = voices.values().filter(counts).peekable();
    let over = concerned.peek().is_some() && concerned.all(|voice| voice.refused.is_some());
    let objection =
        voices.values().filter(counts).chain(voices.values()).find_map(|voice| voice.refused.clone());
    match objection {
        Some(reason) if over => Standing::Never(EarlierError::Failed { job: request.id, reason }),
        objection => Standing::Open(objection),
    }
}

/// Our own relays are asked every round; a stranger's, which is dialled each time, ever more rarely.
const fn asks_stranger(round: u32) -> bool {
    (round + 1).is_power_of_two() || round % 16 == 15
}

/// Half a second, and twice as long each time.
fn pause(round: u32) -> Duration {
    Duration::from_millis(500).saturating_mul(1 << round.min(8)).min(LONGEST_PAUSE)
}

impl From<EarlierError> for ResolveError {
    fn from(error: EarlierError) -> Self {
        Self::Earlier(error)
    }
}

impl From<EventError> for ResolveError {
    fn from(error: EventError) -> Self {
        Self::Event(error)
    }
}
