//! Work: inputs are fetched, backends run, pieces and results are reported.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use openagents_api::Side;
use openagents_backend::{Backend, Output, Reads, Work};
use openagents_engine::{Input, InputSize, RunFault, job::Why};
use openagents_types::{InputType, JobId, JobKind, JobRequest, Millis, Param, ResolvedInput, refusal};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    acceptable::{Content, Gate, Objection, Ruling},
    documents::Documents,
    driver::DriverHandle,
    media::Media,
    offers::Table,
    resolve::Resolver,
    runtime::Tasks,
};

/// Pieces of a result are sent at most this often: each is an event that every relay carries.
const PIECE_EVERY: Duration = Duration::from_millis(250);

/// The node's backends. Clones share them.
#[derive(Clone)]
pub struct Workers(Arc<Inner>);

struct Inner {
    backends: Table,
    media: Media,
    resolver: Resolver,
    documents: Documents,
    gate: Gate,
    tasks: Tasks,
    driver: OnceLock<DriverHandle>,
    running: Mutex<HashMap<JobId, CancellationToken>>,
    /// Fetched inputs of jobs that wait for payment or a slot. Text inputs are not kept here.
    fetched: Mutex<HashMap<JobId, Vec<ResolvedInput>>>,
}

impl Workers {
    /// Workers on these backends, which do what this gate lets in.
    pub(crate) fn new(backends: Table, media: Media, resolver: Resolver, gate: Gate, tasks: Tasks) -> Self {
        Self(Arc::new(Inner {
            backends,
            media,
            resolver,
            documents: Documents::default(),
            gate,
            tasks,
            driver: OnceLock::new(),
            running: Mutex::default(),
            fetched: Mutex::default(),
        }))
    }

    /// Whom to report to. Called once, before any work.
    pub fn attach(&self, driver: DriverHandle) {
        let _ = self.0.driver.set(driver);
    }

    /// Checks a job whose inputs are all in the request; `None` if something has to be fetched or a judge asked.
    pub fn resolve_at_once(&self, request: &JobRequest) -> Option<Result<InputSize, Why>> {
        if !is_all_text(request) || self.0.gate.asks_always() {
            return None;
        }
        match self.0.gate.rule(Side::Sold, content(request, &[])) {
            Ruling::Done(outcome) => {
                let bytes = request.inputs.iter().map(|input| input.data.len() as u64).sum();
                let mimes = vec!["text/plain"; request.inputs.len()];
                let fit = |()| self.0.fit(request, &mimes, bytes).map(|(size, _)| size);
                Some(outcome.map_err(|no| unacceptable(&no)).and_then(fit))
            }
            Ruling::Open(_) => None,
        }
    }

    /// Fetches a job's inputs, reads the documents among them, and reports how large they are, unless it is called
    /// off before.
    pub fn resolve(&self, request: &Arc<JobRequest>) {
        let (inner, request) = (self.0.clone(), request.clone());
        let stop = CancellationToken::new();
        lock(&self.0.running).insert(request.id, stop.clone());
        self.0.tasks.spawn_until_stop(async move {
            let Some(found) = stop.run_until_cancelled(inner.acceptable_inputs(&request)).await else {
                return;
            };
            let (inputs, outcome) = match found {
                Ok((inputs, size)) => (Some(inputs).filter(|_| !is_all_text(&request)), Ok(size)),
                Err(why) => (None, Err(why)),
            };
            if !inner.keep(request.id, inputs) {
                return;
            }
            inner.report(Input::Resolved { job: request.id, outcome }).await;
        });
    }

    /// Does the work, for at most `limit`.
    pub fn run(&self, request: &Arc<JobRequest>, limit: Millis) {
        let stop = CancellationToken::new();
        lock(&self.0.running).insert(request.id, stop.clone());
        let (inner, request) = (self.0.clone(), request.clone());
        self.0.tasks.spawn_until_stop(async move {
            crate::failpoint::hit("backend.run.before");
            let id = request.id;
            let outcome = inner.work(&request, limit, stop).await;
            lock(&inner.running).remove(&id);
            lock(&inner.fetched).remove(&id);
            crate::failpoint::hit("backend.run.after");
            if let Some(input) = outcome {
                inner.report(input).await;
            }
        });
    }

    /// Stops work that is no longer wanted. Nothing is reported.
    pub fn stop(&self, job: JobId) {
        let mut running = lock(&self.0.running);
        if let Some(stop) = running.remove(&job) {
            stop.cancel();
        }
        lock(&self.0.fetched).remove(&job);
    }

    /// Forgets a job that will not run, and what was fetched for it.
    pub fn forget(&self, job: JobId) {
        self.stop(job);
        self.0.media.release(job);
    }
}

impl Inner {
    /// The backend that reads inputs of these MIME types, and how: one that takes them as they came, else one that
    /// reads text.
    fn backend(&self, kind: JobKind, mimes: &[&str]) -> Result<(&Arc<dyn Backend>, Reads), Why> {
        let Some(all) = self.backends.get(&kind) else {
            return Err(unfit(format!("this provider does not do jobs of kind {kind}")));
        };
        let first = |wanted: Reads| {
            let found = all.iter().find(|backend| backend.reads(kind, mimes) == wanted);
            found.map(|backend| (backend, wanted))
        };
        let what = || format!("this provider reads no {} for jobs of kind {kind}", mimes.join(" with "));
        first(Reads::Files).or_else(|| first(Reads::Text)).ok_or_else(|| unfit(what()))
    }

    /// Something a backend can do? And how it reads the inputs.
    fn fit(&self, request: &JobRequest, mimes: &[&str], bytes: u64) -> Result<(InputSize, Reads), Why> {
        let kind = request.kind;
        let (backend, reads) = self.backend(kind, mimes)?;
        let makes = backend.makes(kind);
        if !makes.is_empty()
            && !request.output.is_empty()
            && !request.output.iter().any(|it| makes.contains(it))
        {
            let makes = makes.join(", ");
            return Err(unfit(format!("this provider makes {makes}; ask for one of them or name no output")));
        }
        if wants_json(request) && !makes.iter().any(|mime| mime == JSON) {
            return Err(unfit(
                "this provider answers in plain text; ask for text/plain or name no output".into(),
            ));
        }
        backend.check(kind, &canonical(request), bytes).map_err(|no| unfit(no.to_string()))?;
        Ok((InputSize { bytes }, reads))
    }

    /// The inputs of a job that may be done, and their size as they came. Whoever asks for what cannot be done costs
    /// neither a parser nor a judge.
    async fn acceptable_inputs(&self, request: &JobRequest) -> Result<(Vec<ResolvedInput>, InputSize), Why> {
        let mut inputs =
            self.resolver.resolve(&request.inputs).await.map_err(|error| unfit(error.to_string()))?;
        let bytes = inputs.iter().map(|input| input.bytes.len() as u64).sum();
        let (size, reads) = self.fit(request, &mimes(&inputs), bytes)?;
        if reads == Reads::Text {
            self.documents
                .read(&request.inputs, &mut inputs)
                .await
                .map_err(|error| unfit(error.to_string()))?;
        }
        let admitted = self.gate.admit(Side::Sold, content(request, &inputs)).await;
        admitted.map_err(|objection| unacceptable(&objection))?;
        Ok((inputs, size))
    }

    /// Keeps what was fetched for a job that is wanted; `false` if it was called off meanwhile.
    fn keep(&self, job: JobId, fetched: Option<Vec<ResolvedInput>>) -> bool {
        // Held until both are changed, so that `stop` sees both or neither.
        let mut running = lock(&self.running);
        let wanted = running.remove(&job).is_some();
        if let Some(inputs) = fetched.filter(|_| wanted) {
            lock(&self.fetched).insert(job, inputs);
        }
        wanted
    }

    async fn report(&self, input: Input) {
        if let Some(driver) = self.driver.get() {
            driver.report(input).await;
        }
    }

    async fn work(&self, request: &JobRequest, limit: Millis, stop: CancellationToken) -> Option<Input> {
        let job = request.id;
        let failed = |message: String, retryable| {
            let code = refusal::FAILED.into();
            Input::RunFailed { job, fault: RunFault { code, message, retryable } }
        };
        let inputs = match self.inputs(request).await {
            Ok(inputs) => inputs,
            Err(Why { code, message }) => {
                return Some(Input::RunFailed { job, fault: RunFault { code, message, retryable: false } });
            }
        };
        let Ok((backend, _)) = self.backend(request.kind, &mimes(&inputs)) else {
            return Some(failed("the backend is gone".into(), false));
        };
        let backend = backend.clone();
        let (params, output) = (canonical(request), request.output.clone());
        let work = Work { kind: request.kind, inputs, params, output };
        let (pieces, heard) = mpsc::channel(64);
        let run = tokio::time::timeout(limit.duration(), backend.run(work, pieces, stop.clone()));
        let (outcome, ()) = tokio::join!(run, self.pass_on_pieces(request, heard));
        match outcome {
            _ if stop.is_cancelled() => None,
            Ok(Ok(output)) => Some(self.released(request, output).await),
            Ok(Err(error)) => Some(failed(error.to_string(), error.is_retryable())),
            Err(_) => Some(failed(format!("the work took longer than {limit}"), false)),
        }
    }

    /// What was fetched before. After a restart it is fetched, and checked, again: it may be another.
    async fn inputs(&self, request: &JobRequest) -> Result<Vec<ResolvedInput>, Why> {
        if let Some(inputs) = lock(&self.fetched).remove(&request.id) {
            return Ok(inputs);
        }
        if is_all_text(request) {
            // Checked with the request, which has not changed.
            return self.resolver.resolve(&request.inputs).await.map_err(|error| unfit(error.to_string()));
        }
        let checked = self.acceptable_inputs(request).await;
        checked.map(|(inputs, _)| inputs)
    }

    /// The result of a job whose result may be sent. One that may not fails the job, and its payment goes back.
    async fn released(&self, request: &JobRequest, output: Output) -> Input {
        let job = request.id;
        // No rule reads pictures or sounds, and what they were made of was checked.
        if let Some(file) = output.file {
            return match self.media.keep(job, file).await {
                Ok(content) => Input::Finished { job, content, usage: output.usage },
                Err(error) => {
                    let (code, message) = (refusal::FAILED.into(), error.to_string());
                    Input::RunFailed { job, fault: RunFault { code, message, retryable: false } }
                }
            };
        }
        if is_moderated(request.kind)
            && !is_copy(request, &output.content)
            && let Err(objection) = self.gate.release(request.kind, &output.content).await
        {
            let message = format!("the result is not acceptable and was not sent. {objection}");
            let code = refusal::POLICY.into();
            return Input::RunFailed { job, fault: RunFault { code, message, retryable: false } };
        }
        Input::Finished { job, content: output.content, usage: output.usage }
    }

    /// Gathers what a backend streams into pieces worth an event. A piece of what has to be moderated is held back once
    /// the rules are not content with all that was made so far.
    async fn pass_on_pieces(&self, request: &JobRequest, mut heard: mpsc::Receiver<String>) {
        let (job, kind) = (request.id, request.kind);
        let (mut text, mut sent) = (String::new(), 0);
        // Short work is over before the first tick and sends no pieces. A tick that is due at once would
        // hold it up all the same: timers wait for the end of their millisecond.
        let mut tick = tokio::time::interval_at(Instant::now() + PIECE_EVERY, PIECE_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                piece = heard.recv() => match piece {
                    Some(piece) => text.push_str(&piece),
                    None => return,
                },
                _ = tick.tick() => {
                    if text.len() > sent && (!is_moderated(kind) || self.gate.may_stream(kind, &text)) {
                        self.report(Input::Progress { job, text: text[sent..].to_owned() }).await;
                        sent = text.len();
                    }
                }
            }
        }
    }
}

/// Whether what is made for a job of this kind is looked at before it is sent: where text that nobody wrote before is
/// the product.
fn is_moderated(kind: JobKind) -> bool {
    openagents_registry::find(kind).is_ok_and(|schema| schema.acceptable_use.moderate_output)
}

/// Whether a result says what its customer said, word for word: that was checked with the request.
fn is_copy(request: &JobRequest, result: &str) -> bool {
    matches!(request.inputs.as_slice(), [only] if only.input_type == InputType::Text && only.data == result)
}

fn is_all_text(request: &JobRequest) -> bool {
    request.inputs.iter().all(|input| input.input_type == InputType::Text)
}

fn content<'a>(request: &'a JobRequest, fetched: &'a [ResolvedInput]) -> Content<'a> {
    Content { kind: request.kind, inputs: &request.inputs, params: &request.params, fetched }
}

/// The MIME type of JSON.
const JSON: &str = "application/json";

/// Whether the answer would have to be JSON although its kind has a textual form: of both forms, a backend that does not
/// say that it makes JSON has the text.
fn wants_json(request: &JobRequest) -> bool {
    let Ok(schema) = openagents_registry::find(request.kind) else { return false };
    let has_text = schema.outputs.types.iter().any(|mime| mime != JSON);
    has_text && schema.read_request(request).is_ok_and(|read| read.output() == Some(JSON))
}

fn mimes(inputs: &[ResolvedInput]) -> Vec<&str> {
    inputs.iter().map(|input| input.mime.as_str()).collect()
}

fn unacceptable(objection: &Objection) -> Why {
    Why { code: refusal::POLICY.into(), message: format!("{objection} Nothing was charged.") }
}

fn unfit(message: String) -> Why {
    Why { code: "input".into(), message }
}

/// A request's parameters under the names and in the spelling that backends read, and those that the
/// kind does not know as they came.
fn canonical(request: &JobRequest) -> Vec<Param> {
    let read = openagents_registry::find(request.kind).and_then(|schema| schema.read_request(request));
    let Ok(read) = read else { return request.params.clone() };
    let given = read.to_params().into_iter().filter(|param| read.was_given(&param.name));
    given.chain(read.unknown().iter().cloned()).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
