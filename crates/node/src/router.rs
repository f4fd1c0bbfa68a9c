//! Which backend does a job, and which comes next if that one fails: the deciding half is [`route`], a function of what is known;
//! the rest of the file knows it: what runs where, what failed lately, how fast each was.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use openagents_backend::{Feature, Model, Output, Reads, Rejection, market_name};
use openagents_types::{JobKind, Param};
use tokio::sync::Notify;

use crate::{
    config::{Config, ResourceSettings, RouterSettings},
    offers::{Seat, Table},
    speeds::{SpeedBook, Track},
};

/// How long a backend that failed comes last: a server that is restarted is back by then.
const LIMITED_FOR: Duration = Duration::from_secs(30);

/// Tokens of an answer that names no limit, as the model servers are asked for.
const USUAL_ANSWER: u64 = 512;

/// Bytes of text that a token stands for at least in what people write; more would turn away jobs that fit.
const BYTES_A_TOKEN: u64 = 4;

/// What a job needs of whoever does it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Need {
    /// The model it names.
    pub(crate) model: Option<String>,
    /// About how many tokens prompt and answer have together.
    pub(crate) tokens: u64,
    /// What not every backend can.
    pub(crate) features: Vec<Feature>,
}

impl Need {
    /// Reads it from parameters under their registered names, and the inputs' size.
    pub(crate) fn of(kind: JobKind, params: &[Param], bytes: u64) -> Self {
        let value = |name: &str| params.iter().find(|param| param.name == name)?.values.first();
        let answer = value("max_tokens").and_then(|text| text.trim().parse().ok()).unwrap_or(USUAL_ANSWER);
        // Embeddings have no answer, and each input is by itself: the model server sees whether one is too long.
        let tokens = match kind.get() {
            6511 => 0,
            _ => (bytes / BYTES_A_TOKEN).saturating_add(answer),
        };
        Self {
            model: value("model").filter(|name| !name.is_empty()).cloned(),
            tokens,
            features: Feature::wanted(params),
        }
    }
}

/// Whether a backend could work now, as far as its last jobs tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Availability {
    /// Nothing speaks against it.
    Ready,
    /// Its last job failed a moment ago: it is the last choice.
    Limited,
}

/// A backend, as [`route`] sees it.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    /// Its place in the operator's order; those of one place are compared by speed and load.
    pub(crate) tier: usize,
    pub(crate) models: Vec<Model>,
    /// What it calls the model that the job names.
    pub(crate) meant: Option<String>,
    /// Its model for jobs that name none.
    pub(crate) usual: Option<String>,
    pub(crate) features: &'static [Feature],
    pub(crate) availability: Availability,
    pub(crate) running: usize,
    pub(crate) slots: Option<usize>,
    /// What it makes in a second; `None` if it has not worked yet.
    pub(crate) speed: Option<f64>,
}

impl Candidate {
    /// The model it would use; `None` if it has none, or not the one that is named.
    fn model(&self, need: &Need) -> Option<&Model> {
        let wanted = self.meant.as_ref().or(need.model.as_ref()).or(self.usual.as_ref());
        match wanted {
            Some(name) => self.models.iter().find(|model| model.name == *name),
            None => self.models.first(),
        }
    }

    fn is_full(&self) -> bool {
        self.slots.is_some_and(|slots| self.running >= slots)
    }
}

/// Why no backend could do a job.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Misfit {
    /// Nobody has the model.
    #[error(
        "model {wanted:?} is not among those of this provider: {known}; nothing was charged, name one of them or none"
    )]
    NoSuchModel {
        /// What was named, shortened.
        wanted: String,
        /// What could be.
        known: String,
    },
    /// There are no models to choose from.
    #[error(
        "this provider has no models to choose from for this kind, and {wanted:?} was named; nothing was charged, name none"
    )]
    NoModels {
        /// What was named, shortened.
        wanted: String,
    },
    /// Too long for every model that could be used.
    #[error("the job has about {tokens} tokens with its answer, the model takes {most}; nothing was charged")]
    TooLong {
        /// About how many there are.
        tokens: u64,
        /// The most of any.
        most: u64,
    },
    /// Nobody does what a parameter asks for.
    #[error(
        "this provider does not do what the parameter {param:?} asks for; nothing was charged, leave it out"
    )]
    Unable {
        /// Which.
        param: &'static str,
    },
}

/// The backends that could do a job, the first choice first, by their places among `candidates`: those that failed lately
/// come last, then the operator's order counts, then a free slot, then when each would be done with all it has.
pub(crate) fn route(need: &Need, candidates: &[Candidate]) -> Result<Vec<usize>, Misfit> {
    let all: Vec<usize> = (0..candidates.len()).collect();
    let named = keep(&all, |at| need.model.is_none() || candidates[at].model(need).is_some());
    if named.is_empty() && !all.is_empty() {
        return Err(no_model(need, candidates));
    }
    let most = |at: usize| candidates[at].model(need).and_then(|model| model.context);
    let roomy = keep(&named, |at| most(at).is_none_or(|most| need.tokens <= most));
    if roomy.is_empty() && !named.is_empty() {
        let most = named.iter().filter_map(|at| most(*at)).max().unwrap_or_default();
        return Err(Misfit::TooLong { tokens: need.tokens, most });
    }
    let mut able = roomy;
    for feature in &need.features {
        able = keep(&able, |at| candidates[at].features.contains(feature));
        if able.is_empty() && !named.is_empty() {
            return Err(Misfit::Unable { param: feature.param() });
        }
    }
    let wait = |at: usize| expected_wait(&candidates[at], &able, candidates);
    let mut ordered: Vec<(usize, f64)> = able.iter().map(|at| (*at, wait(*at))).collect();
    ordered.sort_by(|(a, a_wait), (b, b_wait)| {
        let rank = |at: usize| {
            let it = &candidates[at];
            (it.availability, it.tier, it.is_full())
        };
        rank(*a).cmp(&rank(*b)).then(a_wait.total_cmp(b_wait)).then(a.cmp(b))
    });
    Ok(ordered.into_iter().map(|(at, _)| at).collect())
}

fn keep(from: &[usize], wanted: impl Fn(usize) -> bool) -> Vec<usize> {
    from.iter().copied().filter(|at| wanted(*at)).collect()
}

fn no_model(need: &Need, candidates: &[Candidate]) -> Misfit {
    let wanted: String = need.model.iter().flat_map(|name| name.chars()).take(64).collect();
    let models = candidates.iter().flat_map(|it| &it.models);
    let mut known: Vec<&str> = models.map(|model| market_name(&model.name)).collect();
    known.dedup();
    if known.is_empty() {
        Misfit::NoModels { wanted }
    } else {
        Misfit::NoSuchModel { wanted, known: known.join(", ") }
    }
}

/// How long a backend would take over all it has and this job, in units of work by speed. One that has not been measured
/// counts as the fastest of its place, so that it is measured soon.
fn expected_wait(it: &Candidate, able: &[usize], candidates: &[Candidate]) -> f64 {
    let peers = able.iter().map(|at| &candidates[*at]).filter(|peer| peer.tier == it.tier);
    let best = peers
        .filter_map(|peer| peer.speed)
        .fold(None, |best: Option<f64>, speed| Some(best.map_or(speed, |best| best.max(speed))));
    let speed = it.speed.or(best).filter(|speed| *speed > 0.0).unwrap_or(1.0);
    let jobs = u32::try_from(it.running).unwrap_or(u32::MAX);
    (f64::from(jobs) + 1.0) / speed
}

/// A job's requirements besides those of [`Need`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) kind: JobKind,
    /// Under their registered names.
    pub(crate) params: &'a [Param],
    pub(crate) mimes: &'a [&'a str],
    /// The inputs together.
    pub(crate) bytes: u64,
    /// Whether its price is agreed: then it waits for a server that starts again, where a new one is refused.
    pub(crate) agreed: bool,
}

/// Why a job is not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoRoute {
    /// Not what is sold.
    #[error("this provider does not do jobs of kind {0}")]
    Kind(JobKind),
    /// The inputs are of no use.
    #[error("this provider reads no {mimes} for jobs of kind {kind}")]
    Inputs {
        /// The kind.
        kind: JobKind,
        /// What came.
        mimes: String,
    },
    /// See [`Misfit`].
    #[error(transparent)]
    Misfit(#[from] Misfit),
    /// The backend itself says no.
    #[error(transparent)]
    Rejected(#[from] Rejection),
}

impl NoRoute {
    /// Whether another provider, with other models, may do the job as it is.
    pub(crate) fn is_about_the_model(&self) -> bool {
        match self {
            Self::Misfit(_) => true,
            Self::Rejected(Rejection::Parameter { name, .. }) => name == "model",
            Self::Kind(_) | Self::Inputs { .. } | Self::Rejected(_) => false,
        }
    }
}

/// A backend for a job.
#[derive(Clone)]
pub(crate) struct Route {
    pub(crate) seat: Seat,
    pub(crate) reads: Reads,
    /// The job's parameters, with the backend's usual model where none is named.
    pub(crate) params: Vec<Param>,
}

/// What runs where, and what is known of each backend.
pub(crate) struct Router {
    table: Table,
    settings: RouterSettings,
    limits: ResourceSettings,
    speeds: SpeedBook,
}

impl Router {
    pub(crate) fn new(table: Table, config: &Config, speeds: SpeedBook) -> Self {
        Self { table, settings: config.router.clone(), limits: config.resources.clone(), speeds }
    }

    /// How many jobs a backend does at once, by its own word and the operator's.
    pub(crate) fn slots(&self, seat: &Seat) -> Option<usize> {
        let limit = self.limits.limit(&seat.label).and_then(|limit| limit.slots);
        limit.into_iter().chain(seat.backend.slots()).min()
    }

    /// Its models, none with more context than the operator allows.
    fn models(&self, seat: &Seat, kind: JobKind) -> Vec<Model> {
        let mut models = seat.backend.models(kind);
        if let Some(most) = self.limits.limit(&seat.label).and_then(|limit| limit.context) {
            for model in &mut models {
                model.context = Some(model.context.map_or(most, |context| context.min(most)));
            }
        }
        models
    }

    /// The backends for a job, the first choice first; never none.
    pub(crate) fn routes(&self, asked: Asked<'_>) -> Result<Vec<Route>, NoRoute> {
        let Asked { kind, mimes, .. } = asked;
        let all = self.table.get(&kind).ok_or(NoRoute::Kind(kind))?;
        let reading = |wanted: Reads| {
            let reads = |seat: &&Seat| seat.backend.reads(kind, mimes) == wanted;
            all.iter().filter(reads).collect::<Vec<_>>()
        };
        // Inputs are read one way for all of a job's backends: as they came, or as text.
        let mut no = NoRoute::Inputs { kind, mimes: mimes.join(" with ") };
        for reads in [Reads::Files, Reads::Text] {
            let seats = reading(reads);
            if seats.is_empty() {
                continue;
            }
            match self.among(&seats, asked) {
                Ok(found) => {
                    let routes = found.into_iter();
                    return Ok(routes.map(|(seat, params)| Route { seat, reads, params }).collect());
                }
                Err(error) => no = error,
            }
        }
        Err(no)
    }

    fn among(&self, seats: &[&Seat], asked: Asked<'_>) -> Result<Vec<(Seat, Vec<Param>)>, NoRoute> {
        let Asked { kind, params, bytes, agreed, .. } = asked;
        let need = Need::of(kind, params, bytes);
        let candidates: Vec<Candidate> =
            seats.iter().map(|seat| self.candidate(seat, kind, &need, agreed)).collect();
        let (mut routes, mut late, mut rejected) = (Vec::new(), Vec::new(), None);
        for at in route(&need, &candidates)? {
            let mut params = params.to_vec();
            if let (None, Some(usual)) = (&need.model, &candidates[at].usual) {
                params.push(Param::new("model", usual));
            }
            match seats[at].backend.check(kind, &params, bytes) {
                Ok(()) => routes.push((seats[at].clone(), params)),
                Err(Rejection::NotReady(_)) if agreed => late.push((seats[at].clone(), params)),
                Err(no) => rejected = rejected.or(Some(no)),
            }
        }
        routes.append(&mut late);
        match (routes.is_empty(), rejected) {
            (true, Some(no)) => Err(no.into()),
            _ => Ok(routes),
        }
    }

    fn candidate(&self, seat: &Seat, kind: JobKind, need: &Need, agreed: bool) -> Candidate {
        let mut models = self.models(seat, kind);
        // What a server has that is not there is not known; the job was agreed on when it was.
        let is_away = || seat.backend.server().is_some_and(|server| !server.health.is_ready());
        let meant = need.model.as_ref().and_then(|name| seat.backend.meant(kind, name));
        if let (Some(name), None) = (&need.model, &meant)
            && agreed
            && is_away()
        {
            models.push(Model::named(name));
        }
        let usual = self.settings.usual_model(kind, &seat.label).map(str::to_owned);
        // What has models comes before what has none: a summary by a model before one without.
        let unsaid = if models.is_empty() { usize::MAX } else { usize::MAX - 1 };
        let model = meant
            .clone()
            .or_else(|| need.model.clone())
            .or_else(|| usual.clone())
            .or(models.first().map(|model| model.name.clone()));
        let track = Track { backend: seat.label.to_string(), kind, model };
        Candidate {
            tier: self.settings.place(kind, &seat.label).unwrap_or(unsaid),
            meant,
            usual,
            features: seat.backend.features(kind),
            availability: seat.gauge.availability(Instant::now()),
            running: seat.gauge.running.load(Ordering::Relaxed),
            slots: self.slots(seat),
            speed: self.speeds.per_second(&track),
            models,
        }
    }

    /// Notes how a run went: the speed of one that came to an end, or that the backend cannot be relied on for a while.
    pub(crate) fn note(&self, seat: &Seat, kind: JobKind, outcome: Result<&Output, Instant>) {
        match outcome {
            Ok(output) => {
                seat.gauge.limit(None);
                let track =
                    Track { backend: seat.label.to_string(), kind, model: output.usage.model.clone() };
                self.speeds.note(track, made(output), output.usage.elapsed);
            }
            Err(now) => seat.gauge.limit(Some(now + LIMITED_FOR)),
        }
    }

    /// What is known of the model that made an output, and its backend by the name it goes by here.
    pub(crate) fn sign(&self, seat: &Seat, kind: JobKind, output: &mut Output) {
        let Some(name) = &output.usage.model else { return };
        let models = seat.backend.models(kind);
        if let Some(model) = models.into_iter().find(|model| model.name == *name) {
            let usage = &mut output.usage;
            usage.digest = usage.digest.take().or(model.digest);
            usage.quantization = usage.quantization.take().or(model.quantization);
        }
    }
}

/// How much was made: tokens or words where they are counted, else bytes.
fn made(output: &Output) -> u64 {
    let bytes = output.file.as_ref().map_or(output.content.len(), |file| file.bytes.len()) as u64;
    if output.usage.output_tokens > 0 { output.usage.output_tokens } else { bytes }
}

/// What a backend is doing.
#[derive(Debug, Default)]
pub(crate) struct Gauge {
    running: AtomicUsize,
    /// Tells one that waits that a run has ended.
    left: Notify,
    limited_until: Mutex<Option<Instant>>,
}

impl Gauge {
    fn availability(&self, now: Instant) -> Availability {
        let until = *self.limited_until.lock().unwrap_or_else(PoisonError::into_inner);
        if until.is_some_and(|until| now < until) { Availability::Limited } else { Availability::Ready }
    }

    fn limit(&self, until: Option<Instant>) {
        *self.limited_until.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }

    /// Waits until fewer than `slots` run, and counts a run until what it gives is dropped.
    pub(crate) async fn enter(self: &Arc<Self>, slots: Option<usize>) -> Run {
        loop {
            // Before the look, so that a run that ends right after it is heard.
            let left = self.left.notified();
            let most = slots.unwrap_or(usize::MAX);
            let free = |running: usize| (running < most).then_some(running + 1);
            if self.running.fetch_update(Ordering::AcqRel, Ordering::Acquire, free).is_ok() {
                return Run(self.clone());
            }
            left.await;
        }
    }
}

/// A run that is counted.
#[derive(Debug)]
pub(crate) struct Run(Arc<Gauge>);

impl Drop for Run {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::AcqRel);
        self.0.left.notify_waiters();
    }
}

#[cfg(test)]
mod tests;
