//! Work on model servers: the rules that hold for every one, whatever it speaks.
//!
//! A job gets a model that is sold, never whatever it names. An answer has exactly one end, and counts as whole only
//! if the server says so. Stop texts and length are cut here, tokens are counted here if the server counts none, and
//! a job that is called off hangs up. What a server cannot do is refused before there is a price.

mod exposure;
mod options;
mod reading;
mod wire;

use std::{
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use futures::StreamExt;
use openagents_types::{JobKind, Millis, Param, Usage};
use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value, json};
use tokio::sync::{OnceCell, Semaphore, SemaphorePermit, mpsc};
use tokio_util::sync::CancellationToken;

use crate::{
    Backend, BackendError, Feature, Health, Output, Rejection, ServedModel, ServerState, Work, bad_param,
    managed, market_name, param,
};
use options::Options;

pub use exposure::is_loopback;
pub(crate) use exposure::warning as exposure;
pub use reading::{ReadLine, Reading, Said};
pub(crate) use wire::Model;
pub use wire::{Ask, Embed, Seen, Vectors, Wire};

/// Input taken, in bytes.
const LARGEST: u64 = 1 << 20;
/// Vectors taken, in bytes of JSON.
const LARGEST_VECTORS: usize = 8 << 20;
/// Vectors given back, in bytes of JSON: more is longer than a result can carry.
const LARGEST_RESULT: usize = 48 << 10;
/// Of an error's body, how many bytes are read.
const LARGEST_ERROR: usize = 16 << 10;
/// How long a look at a server may take.
pub(crate) const PROBE: Duration = Duration::from_secs(3);
/// How often a server is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// How often one is looked at that may be far away, and count what it is asked.
const LOOK_SELDOM: Duration = Duration::from_secs(60);
/// How soon a server is looked at again that a job waits for.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How long it may take until it is seen that a server of ours has ended.
const NOTICED: Duration = Duration::from_secs(1);
/// As many jobs at once as a server that queues by itself is given.
pub(crate) const UNLIMITED: usize = 1_024;
/// Longest digest that is shown, `sha256:` not counted.
const DIGEST: usize = 64;

/// Kinds beside text generation: facts in a form that the customer describes, and vectors.
fn extraction() -> Option<JobKind> {
    JobKind::try_from(6509).ok()
}
fn embedding() -> Option<JobKind> {
    JobKind::try_from(6511).ok()
}

/// How long a server is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Until the first token: a large prompt on a slow machine, or a queue before us.
    pub first: Duration,
    /// From one sign of work to the next after that.
    pub idle: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { first: Duration::from_secs(120), idle: Duration::from_secs(30) }
    }
}

/// A model server whose work is sold.
pub struct Served<W: Wire> {
    pub(crate) wire: W,
    /// The models sold; empty sells all.
    sold: Vec<String>,
    patience: Patience,
    /// What the last look found; `None` before the first.
    found: RwLock<Option<Result<Seen, Health>>>,
    /// Looks in a row that failed.
    failures: AtomicUsize,
    /// Jobs in hand.
    busy: AtomicUsize,
    turns: Semaphore,
    /// Turns are given out once it is known how many there are.
    counted: OnceCell<()>,
}

impl<W: Wire> std::fmt::Debug for Served<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Served")
            .field("kind", &self.wire.kind())
            .field("place", &self.wire.place())
            .field("sold", &self.sold)
            .finish_non_exhaustive()
    }
}

impl<W: Wire> Served<W> {
    /// Sells these models of a server; all that it has if none is named.
    pub(crate) fn of(wire: W, sold: Vec<String>) -> Self {
        Self {
            wire,
            sold,
            patience: Patience::default(),
            found: RwLock::default(),
            failures: AtomicUsize::new(0),
            busy: AtomicUsize::new(0),
            turns: Semaphore::new(0),
            counted: OnceCell::new(),
        }
    }

    /// Waits so long for it.
    #[must_use]
    pub const fn with_patience(mut self, patience: Patience) -> Self {
        self.patience = patience;
        self
    }

    fn found(&self) -> Option<Result<Seen, Health>> {
        self.found.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Looks at the server, and remembers what was found.
    pub(crate) async fn look(&self) -> Result<Seen, Health> {
        let found = self.wire.look().await;
        self.count(found.is_ok());
        self.remember(found)
    }

    /// Looks at the server as often as it is done beside jobs. One that does not answer may have no time to, so what
    /// was found before holds while it works, and until it does not answer twice.
    async fn watch(&self) -> Result<Seen, Health> {
        let found = self.wire.look().await;
        let failures = self.count(found.is_ok());
        let may_be_busy = failures == 1 || self.busy.load(Ordering::Relaxed) > 0;
        let runs = self.wire.managed().is_none_or(managed::Managed::is_up);
        match (self.found(), &found) {
            (Some(Ok(before)), Err(Health::Down(_))) if runs && may_be_busy => Ok(before),
            _ => self.remember(found),
        }
    }

    /// Counts a look; how many in a row have failed.
    fn count(&self, answers: bool) -> usize {
        let failures = if answers { 0 } else { self.failures.load(Ordering::Relaxed).saturating_add(1) };
        self.failures.store(failures, Ordering::Relaxed);
        failures
    }

    fn remember(&self, found: Result<Seen, Health>) -> Result<Seen, Health> {
        let found = found.and_then(|seen| match self.sold_of(&seen).is_empty() {
            true => Err(Health::Down(self.nothing_to_sell(&seen))),
            false => Ok(seen),
        });
        *self.found.write().unwrap_or_else(PoisonError::into_inner) = Some(found.clone());
        found
    }

    fn nothing_to_sell(&self, seen: &Seen) -> String {
        if self.sold.is_empty() {
            return format!("{} lists no models", self.wire.place());
        }
        let has = seen.models.iter().map(|model| model.id.as_str()).collect::<Vec<_>>().join(", ");
        let has = if has.is_empty() { "none".into() } else { has };
        format!(
            "{} has not the models that are to be sold ({}); it has: {has}",
            self.wire.place(),
            self.sold.join(", ")
        )
    }

    /// What is sold of what was seen, in the order of the settings.
    fn sold_of(&self, seen: &Seen) -> Vec<Model> {
        if self.sold.is_empty() {
            return seen.models.clone();
        }
        let found =
            self.sold.iter().filter_map(|name| seen.models.iter().find(|model| is_meant(name, model)));
        found.cloned().collect()
    }

    /// What the settings name, before anybody has looked.
    fn expected(&self) -> Vec<Model> {
        if self.sold.is_empty() {
            return self.wire.named();
        }
        self.sold.iter().map(|id| Model { id: name_of(id).into(), ..self.wire.expects() }).collect()
    }

    /// What is sold for a kind. What the settings name may be asked for before the server is there.
    fn able(&self, kind: JobKind) -> impl Iterator<Item = Model> {
        let sold = match self.found() {
            Some(Ok(seen)) => self.sold_of(&seen),
            Some(Err(_)) | None => self.expected(),
        };
        sold.into_iter().filter(move |model| does(model, kind))
    }

    /// The model that a job gets.
    fn model(&self, kind: JobKind, params: &[Param]) -> Result<Model, Rejection> {
        let sold = match self.found() {
            Some(Ok(seen)) => self.sold_of(&seen),
            Some(Err(health)) => return Err(Rejection::NotReady(said_of(&health).into())),
            // Nobody has looked yet: what the settings say is believed.
            None => self.expected(),
        };
        let able: Vec<&Model> = sold.iter().filter(|model| does(model, kind)).collect();
        let wanted = param(params, &["model"]);
        let found = match wanted {
            Some(name) => able.iter().find(|model| model.id == name || is_meant(name, model)),
            None => able.first(),
        };
        found.map(|model| (*model).clone()).ok_or_else(|| {
            let names = able.iter().map(|model| market_name(&model.id)).collect::<Vec<_>>().join(", ");
            bad_param("model", wanted.unwrap_or_default(), &format!("one of: {names}"))
        })
    }

    /// The model that answers who names none: the first that is sold.
    pub(crate) async fn usual_model(&self) -> Option<String> {
        if let Ok(model) = self.model(JobKind::TEXT_GENERATION, &[]) {
            return Some(model.id);
        }
        self.look().await.ok()?;
        self.model(JobKind::TEXT_GENERATION, &[]).ok().map(|model| model.id)
    }

    /// Waits for a turn; a server holds the headers back of what it cannot work on yet, and we would not know why.
    async fn turn(&self) -> Result<SemaphorePermit<'_>, BackendError> {
        self.counted
            .get_or_init(|| async {
                let own = match self.wire.slots() {
                    Some(slots) => slots,
                    None => {
                        let seen = match self.found() {
                            Some(Ok(seen)) => Some(seen),
                            Some(Err(_)) | None => self.look().await.ok(),
                        };
                        seen.and_then(|seen| seen.slots).unwrap_or(1)
                    }
                };
                self.turns.add_permits(own.clamp(1, Semaphore::MAX_PERMITS));
            })
            .await;
        self.turns.acquire().await.map_err(|_| BackendError::Busy)
    }

    /// Waits for a server that is not there: it is paid for, and may be starting. Whoever runs the job ends the wait.
    async fn is_back(&self) -> Result<(), BackendError> {
        let mut was_away = matches!(self.found(), Some(Err(_)));
        loop {
            if let Some(managed) = self.wire.managed() {
                was_away |= !managed.is_up();
                managed.up().await.map_err(|_| BackendError::Died)?;
            }
            if !was_away || self.look().await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// After a server has died in the middle, so that whoever tries again waits for it to be back.
    async fn has_died(&self) {
        if let Some(managed) = self.wire.managed() {
            managed.fell(NOTICED).await;
        }
        // What is found is remembered.
        let _ = self.look().await;
    }

    async fn work(&self, work: &Work, pieces: &mpsc::Sender<String>) -> Result<Output, BackendError> {
        let started = Instant::now();
        let _turn = self.turn().await?;
        self.is_back().await?;
        let model = self.model(work.kind, &work.params).map_err(|no| match no {
            Rejection::NotReady(_) => BackendError::Died,
            Rejection::Parameter { .. } | Rejection::NoInput | Rejection::TooLarge { .. } => {
                BackendError::BadInput(no.to_string())
            }
        })?;
        match Some(work.kind) == embedding() {
            true => self.embed(work, model, started).await,
            false => self.answer(work, model, pieces, started).await,
        }
    }

    /// A streamed answer, from the question to its one end.
    async fn answer(
        &self,
        work: &Work,
        model: Model,
        pieces: &mpsc::Sender<String>,
        started: Instant,
    ) -> Result<Output, BackendError> {
        let options = Options::of(&work.params).map_err(|error| BackendError::BadInput(error.to_string()))?;
        let prompt = texts(work).join("\n\n");
        let system = instructions(work.kind, options.system.as_deref());
        let ask = Ask {
            model: &model.id,
            context: model.context,
            system: system.as_deref(),
            prompt: &prompt,
            max_tokens: options.max_tokens,
            options: &options.sampling,
            stop: &options.stop,
            schema: options.schema.as_ref().filter(|_| Some(work.kind) == extraction()),
        };
        let read = estimate(&prompt) + system.as_deref().map_or(0, estimate);
        if !self.wire.checks_length() && model.context.is_some_and(|most| read + options.max_tokens > most) {
            return Err(BackendError::ContextOverflow);
        }
        let asked = Instant::now();
        let response = self.sent(self.wire.ask(&ask)?).await?;
        let mut reading = Reading::new(self.wire.line(), options.stop.clone(), options.max_tokens);
        let mut stream = response.bytes_stream();
        let mut until = asked + self.patience.first;
        while !reading.has_ended() {
            let next = tokio::time::timeout_at(until.into(), stream.next()).await;
            let chunk = match next {
                Ok(Some(Ok(chunk))) => chunk,
                // What comes after the end of the text is only how much was counted.
                Ok(_) | Err(_) if reading.is_whole() => break,
                Ok(None) => break,
                Ok(Some(Err(_))) => return Err(BackendError::Died),
                Err(_) => return Err(BackendError::Timeout),
            };
            let before = reading.progress();
            for text in reading.take(&chunk)? {
                // Nobody listening is no reason to stop working.
                let _ = pieces.send(text).await;
            }
            if reading.progress() > before {
                until = Instant::now() + self.patience.idle;
            }
        }
        if reading.is_cut() && Some(work.kind) == extraction() {
            // Half of a form keeps to no schema.
            return Err(BackendError::Truncated);
        }
        reading.whole(self.usage(&model), read, started)
    }

    /// Vectors, as the result of their kind.
    async fn embed(&self, work: &Work, model: Model, started: Instant) -> Result<Output, BackendError> {
        let texts = texts(work);
        let dimensions = param(&work.params, &["dimensions"]).and_then(|n| n.trim().parse().ok());
        let embed = Embed { model: &model.id, texts: &texts, dimensions };
        let response = self.sent(self.wire.embed(&embed)?).await?;
        let body = tokio::time::timeout(self.patience.first, whole_body(response, LARGEST_VECTORS));
        let body = body.await.map_err(|_| BackendError::Timeout)??;
        let value: Value =
            serde_json::from_slice(&body).map_err(|_| BackendError::Protocol("not JSON".into()))?;
        let found = self.wire.vectors(&value).filter(|found| found.vectors.len() == texts.len());
        let found = found.ok_or_else(|| BackendError::Protocol("not one vector for each text".into()))?;
        let length = found.vectors.first().map_or(0, Vec::len);
        let is_asked = dimensions.is_none_or(|wanted: u64| wanted == length as u64);
        if length == 0 || found.vectors.iter().any(|vector| vector.len() != length) {
            return Err(BackendError::Protocol("vectors of different lengths".into()));
        }
        if !is_asked {
            return Err(BackendError::BadInput(format!(
                "the vectors of this model have {length} dimensions"
            )));
        }
        let raw = param(&work.params, &["normalize", "normalise"])
            .is_some_and(|it| matches!(it, "false" | "no" | "0"));
        let vectors: Vec<Vec<f64>> =
            found.vectors.into_iter().map(|it| if raw { it } else { unit(it) }).collect();
        let content = json!({ "vectors": vectors, "model": model.id, "dimensions": length }).to_string();
        if content.len() > LARGEST_RESULT {
            return Err(BackendError::BadInput(
                "the vectors are longer than a result can carry; send fewer texts".into(),
            ));
        }
        let counted = |count: u64, otherwise| if count > 0 { count } else { otherwise };
        let usage = Usage {
            input_tokens: counted(found.input_tokens, texts.iter().map(|text| estimate(text)).sum()),
            output_tokens: texts.len() as u64,
            elapsed: Millis(u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX)),
            ..self.usage(&model)
        };
        Ok(Output::text(content, usage))
    }

    fn usage(&self, model: &Model) -> Usage {
        Usage {
            backend: self.wire.kind().into(),
            model: Some(model.id.clone()),
            digest: model.digest.clone(),
            ..Usage::default()
        }
    }

    /// A request whose answer is a success.
    async fn sent(&self, request: RequestBuilder) -> Result<Response, BackendError> {
        let sent = tokio::time::timeout(self.patience.first, request.send());
        let response = sent.await.map_err(|_| BackendError::Timeout)?.map_err(|_| BackendError::Died)?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        Err(self.wire.refusal(status, &error_body(response).await))
    }
}

#[async_trait]
impl<W: Wire> Backend for Served<W> {
    fn name(&self) -> &str {
        self.wire.kind()
    }

    fn kinds(&self) -> Vec<JobKind> {
        let sold = match self.found() {
            Some(Ok(seen)) => self.sold_of(&seen),
            // It will say what else it does when it is there.
            Some(Err(_)) | None => vec![self.wire.expects()],
        };
        let all = [Some(JobKind::TEXT_GENERATION), extraction(), embedding()];
        all.into_iter().flatten().filter(|kind| sold.iter().any(|model| does(model, *kind))).collect()
    }

    async fn probe(&self) -> Health {
        match self.look().await {
            Ok(_) => Health::Ready,
            Err(health) => health,
        }
    }

    fn comes_back(&self) -> bool {
        self.wire.comes_back()
    }

    async fn tend(&self, stop: CancellationToken) {
        let watch = async {
            loop {
                let before = self.found();
                let now = self.watch().await;
                tell_change(&self.wire.place(), before.as_ref(), &now);
                match self.wire.managed() {
                    // The process itself says when it has changed.
                    Some(managed) => managed.changed(LOOK_EVERY).await,
                    None if self.wire.comes_back() => tokio::time::sleep(LOOK_EVERY).await,
                    None => tokio::time::sleep(LOOK_SELDOM).await,
                }
            }
        };
        let run = async {
            match self.wire.managed() {
                Some(managed) => managed.run(&stop).await,
                None => stop.cancelled().await,
            }
        };
        tokio::select! {
            () = run => {}
            () = watch => {}
        }
    }

    fn server(&self) -> Option<ServerState> {
        let managed = self.wire.managed();
        let (health, seen) = match (self.found(), managed.map(managed::Managed::health)) {
            (_, Some(health)) if !health.is_ready() => (health, None),
            (Some(Ok(seen)), _) => (Health::Ready, Some(seen)),
            (Some(Err(health)), _) => (health, None),
            (None, _) => (Health::Starting, None),
        };
        let seen = seen.unwrap_or_default();
        let models = self.sold_of(&seen).into_iter();
        Some(ServerState {
            kind: self.wire.kind().into(),
            place: self.wire.place(),
            about: seen.about.clone(),
            health,
            models: models
                .map(|it| ServedModel { id: it.id, digest: it.digest, context: it.context })
                .collect(),
            warning: seen.warning,
        })
    }

    fn models(&self, kind: JobKind) -> Vec<crate::Model> {
        self.able(kind)
            .map(|it| crate::Model {
                name: it.id,
                digest: it.digest,
                quantization: None,
                context: it.context,
            })
            .collect()
    }

    fn meant(&self, kind: JobKind, name: &str) -> Option<String> {
        self.able(kind).find(|model| model.id == name || is_meant(name, model)).map(|model| model.id)
    }

    fn features(&self, kind: JobKind) -> &'static [Feature] {
        if kind == JobKind::TEXT_GENERATION { &[Feature::System, Feature::Stop] } else { &[] }
    }

    fn slots(&self) -> Option<usize> {
        let seen = || self.found()?.ok()?.slots;
        self.wire.slots().map_or_else(seen, |own| (own < UNLIMITED).then_some(own))
    }

    fn makes(&self, kind: JobKind) -> Vec<String> {
        if kind == JobKind::TEXT_GENERATION { Vec::new() } else { vec!["application/json".into()] }
    }

    fn check(&self, kind: JobKind, params: &[Param], input_bytes: u64) -> Result<(), Rejection> {
        match input_bytes {
            0 => return Err(Rejection::NoInput),
            found if found > LARGEST => return Err(Rejection::TooLarge { found, most: LARGEST }),
            _ => {}
        }
        if let Some(managed) = self.wire.managed()
            && !managed.is_up()
        {
            return Err(Rejection::NotReady(said_of(&managed.health()).into()));
        }
        self.model(kind, params)?;
        Options::of(params).map(drop)
    }

    async fn run(
        &self,
        work: Work,
        pieces: mpsc::Sender<String>,
        stop: CancellationToken,
    ) -> Result<Output, BackendError> {
        let _busy = Busy::among(&self.busy);
        let answer = async {
            let answer = self.work(&work, &pieces).await;
            if answer == Err(BackendError::Died) {
                self.has_died().await;
            }
            answer
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => Err(BackendError::Cancelled),
            answer = answer => answer,
        }
    }
}

/// A job in hand, until it is dropped.
struct Busy<'a>(&'a AtomicUsize);

impl<'a> Busy<'a> {
    fn among(jobs: &'a AtomicUsize) -> Self {
        jobs.fetch_add(1, Ordering::Relaxed);
        Self(jobs)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether a model does jobs of a kind.
fn does(model: &Model, kind: JobKind) -> bool {
    if Some(kind) == embedding() {
        model.embeds
    } else if Some(kind) == extraction() {
        model.chats && model.schemas
    } else {
        model.chats && kind == JobKind::TEXT_GENERATION
    }
}

/// The name in a setting, which may go on with the digest that is meant: `llama3.2:1b@sha256:1f2e`.
fn name_of(setting: &str) -> &str {
    setting.split_once('@').map_or(setting, |(name, _)| name)
}

/// Whether a setting, or a job, means this model. A tag of a name that has none is `latest`, and a digest may be shortened.
fn is_meant(setting: &str, model: &Model) -> bool {
    let plain = |name: &str| name.strip_suffix(":latest").unwrap_or(name).to_owned();
    let (name, pinned) = setting.split_once('@').unwrap_or((setting, ""));
    let digest = model.digest.as_deref().unwrap_or_default();
    let bare = |digest: &str| digest.strip_prefix("sha256:").unwrap_or(digest).to_owned();
    [model.id.as_str(), market_name(&model.id)].iter().any(|own| plain(name) == plain(own))
        && (pinned.is_empty() || bare(digest).starts_with(&bare(pinned)))
}

/// A digest as it is shown: `sha256:` and hexadecimal digits, or nothing.
pub(crate) fn digest(text: &str) -> Option<String> {
    let bare = text.strip_prefix("sha256:").unwrap_or(text);
    let is_hex =
        !bare.is_empty() && bare.len() <= DIGEST && bare.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex.then(|| format!("sha256:{}", bare.to_ascii_lowercase()))
}

/// What customers are told of a server that is not there; why is for its operator.
const fn said_of(health: &Health) -> &'static str {
    match health {
        Health::Ready | Health::Starting => "is starting",
        Health::Down(_) => "is not running",
    }
}

fn texts(work: &Work) -> Vec<String> {
    work.inputs.iter().map(|input| String::from_utf8_lossy(&input.bytes).into_owned()).collect()
}

/// What the model is told first.
fn instructions(kind: JobKind, given: Option<&str>) -> Option<String> {
    if Some(kind) == extraction() {
        return Some("Take the facts out of the text, and answer with JSON that keeps to the schema.".into());
    }
    given.map(str::to_owned)
}

/// Tokens of a text, by the rule of thumb of four bytes a token.
pub(crate) fn estimate(text: &str) -> u64 {
    (text.len() as u64).div_ceil(4)
}

/// A vector of length 1; one of length 0 stays.
fn unit(vector: Vec<f64>) -> Vec<f64> {
    let length = vector.iter().map(|x| x * x).sum::<f64>().sqrt();
    if length > 0.0 { vector.into_iter().map(|x| x / length).collect() } else { vector }
}

/// Says what is new of a server, once.
fn tell_change(place: &str, before: Option<&Result<Seen, Health>>, now: &Result<Seen, Health>) {
    match now {
        Ok(seen) if !matches!(before, Some(Ok(_))) => {
            let models = seen.models.len();
            tracing::info!(%place, models, about = %seen.about, "a model server is ready");
            if let Some(warning) = &seen.warning {
                tracing::warn!(%place, "{warning}");
            }
        }
        Err(Health::Down(reason)) if !matches!(before, Some(Err(Health::Down(known))) if known == reason) => {
            tracing::warn!(%place, %reason, "a model server is down; its jobs are refused until it is back");
        }
        Ok(_) | Err(_) => {}
    }
}

/// An HTTP client for a server that the operator named: no strangers' addresses come here.
pub(crate) fn client() -> Result<Client, String> {
    // A connection that was kept may be one that the server is just closing, and a question cannot be asked twice.
    let client =
        Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).pool_max_idle_per_host(0);
    client.build().map_err(|error| error.to_string())
}

/// The whole body of an answer, if it is not too long.
pub(crate) async fn whole_body(response: Response, most: usize) -> Result<Vec<u8>, BackendError> {
    let mut body = Vec::new();
    let mut stream = response.bytes_stream();
    while let Some(chunk) = stream.next().await {
        body.extend_from_slice(&chunk.map_err(|_| BackendError::Died)?);
        if body.len() > most {
            return Err(BackendError::Protocol("an answer without end".into()));
        }
    }
    Ok(body)
}

/// What a server says at a path, as JSON; why not, for its operator.
pub(crate) async fn asked(request: RequestBuilder, place: &str) -> Result<Value, Health> {
    let down = |why: &str| Health::Down(format!("{place} {why}"));
    let response = request.timeout(PROBE).send().await.map_err(|_| down("does not answer"))?;
    match response.status() {
        status if status.is_success() => {}
        status if status.as_u16() == 401 => return Err(down("wants a key, or another one; set key_file")),
        status => return Err(down(&format!("answers HTTP {}", status.as_u16()))),
    }
    let body = whole_body(response, LARGEST_VECTORS).await.map_err(|_| down("breaks off"))?;
    serde_json::from_slice(&body).map_err(|_| down("answers what is no JSON"))
}

/// The start of an error's body: enough to see its kind, and not more than we want to keep or wait for.
pub(crate) async fn error_body(response: Response) -> String {
    let mut body = Vec::new();
    let mut stream = response.bytes_stream();
    while body.len() < LARGEST_ERROR
        && let Ok(Some(Ok(chunk))) = tokio::time::timeout(PROBE, stream.next()).await
    {
        body.extend_from_slice(&chunk);
    }
    String::from_utf8_lossy(&body).into_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;
    use crate::{OpenAi, OpenAiSettings};

    /// Answers one look, and then none.
    async fn answers_once() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4_096]).await;
            let body = "{\"data\":[{\"id\":\"m\"}]}";
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        });
        url
    }

    #[tokio::test]
    async fn a_server_that_works_is_not_down_because_it_does_not_answer() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let settings = OpenAiSettings { url: answers_once().await, models: Vec::new(), key_file: None };
        let backend = OpenAi::new(settings).unwrap();
        let taken = || backend.check(JobKind::TEXT_GENERATION, &[], 10).is_ok();
        assert!(backend.watch().await.is_ok() && taken());
        let job = Busy::among(&backend.busy);
        for _ in 0..3 {
            assert!(backend.watch().await.is_ok() && taken(), "it is at work");
        }
        drop(job);
        assert!(backend.watch().await.is_err() && !taken(), "it has nothing else to do");
    }
}
