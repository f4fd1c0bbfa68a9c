//! Work: inputs are fetched, backends run, pieces and results are reported.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use openagents_api::Side;
use openagents_backend::{BackendError, Output, Reads, Rejection, Work, market_name};
use openagents_engine::{Input, InputSize, RunFault, job::Why};
use openagents_types::{InputType, JobId, JobKind, JobRequest, Millis, ResolvedInput, refusal};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    acceptable::{Content, Gate, Objection, Ruling},
    documents::Documents,
    driver::DriverHandle,
    media::Media,
    resolve::Resolver,
    router::{Asked, NoRoute, Route, Router},
    runtime::Tasks,
};

/// Pieces of a result are sent at most this often: each is an event that every relay carries.
const PIECE_EVERY: Duration = Duration::from_millis(250);

/// The node's backends. Clones share them.
#[derive(Clone)]
pub struct Workers(Arc<Inner>);

struct Inner {
    router: Router,
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
    pub(crate) fn new(router: Router, media: Media, resolver: Resolver, gate: Gate, tasks: Tasks) -> Self {
        Self(Arc::new(Inner {
            router,
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
                let fit = |()| self.0.fit(request, &mimes, bytes, false).map(|(size, _)| size);
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
            let Some(found) = stop.run_until_cancelled(inner.acceptable_inputs(&request, false)).await else {
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

/// How one backend's turn at a job ended.
enum Attempt {
    Done(Output),
    Failed {
        error: BackendError,
        /// Whether the customer was sent a piece.
        begun: bool,
    },
    TooLate,
}

impl Inner {
    /// The backends that could do a job, the first choice first.
    fn routes(
        &self,
        request: &JobRequest,
        mimes: &[&str],
        bytes: u64,
        agreed: bool,
    ) -> Result<Vec<Route>, Why> {
        let params = openagents_registry::canonical_params(request);
        let asked = Asked { kind: request.kind, params: &params, mimes, bytes, agreed };
        let mut routes = self.router.routes(asked).map_err(|no| no_route(&no))?;
        let mut made = Vec::new();
        routes.retain(|route| {
            let makes = route.seat.backend.makes(request.kind);
            let fits = makes.is_empty()
                || request.output.is_empty()
                || request.output.iter().any(|it| makes.contains(it));
            made.extend(makes);
            fits
        });
        if routes.is_empty() {
            made.dedup();
            let makes = made.join(", ");
            return Err(unfit(format!("this provider makes {makes}; ask for one of them or name no output")));
        }
        Ok(routes)
    }

    /// Something a backend can do? And how it reads the inputs.
    fn fit(
        &self,
        request: &JobRequest,
        mimes: &[&str],
        bytes: u64,
        agreed: bool,
    ) -> Result<(InputSize, Reads), Why> {
        let routes = self.routes(request, mimes, bytes, agreed)?;
        let makes_json =
            |route: &Route| route.seat.backend.makes(request.kind).iter().any(|mime| mime == JSON);
        if wants_json(request) && !routes.iter().any(makes_json) {
            return Err(unfit(
                "this provider answers in plain text; ask for text/plain or name no output".into(),
            ));
        }
        let reads = routes.first().map_or(Reads::Text, |route| route.reads);
        Ok((InputSize { bytes }, reads))
    }

    /// The inputs of a job that may be done, and their size as they came. Whoever asks for what cannot be done costs
    /// neither a parser nor a judge.
    async fn acceptable_inputs(
        &self,
        request: &JobRequest,
        agreed: bool,
    ) -> Result<(Vec<ResolvedInput>, InputSize), Why> {
        let mut inputs =
            self.resolver.resolve(&request.inputs).await.map_err(|error| unfit(error.to_string()))?;
        let bytes = inputs.iter().map(|input| input.bytes.len() as u64).sum();
        let (size, reads) = self.fit(request, &mimes(&inputs), bytes, agreed)?;
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
        let bytes = inputs.iter().map(|input| input.bytes.len() as u64).sum();
        let routes = match self.routes(request, &mimes(&inputs), bytes, true) {
            Ok(routes) => routes,
            // It could be done when its price was named: a backend is gone since.
            Err(why) => return Some(failed(format!("no backend is left for it: {}", why.message), false)),
        };
        let end = Instant::now() + limit.duration();
        let several = routes.len() > 1;
        let mut last = None;
        for route in &routes {
            let attempt = self.attempt(request, route, inputs.clone(), end, &stop).await;
            if stop.is_cancelled() {
                return None;
            }
            match attempt {
                Attempt::Done(output) => return Some(self.released(request, output).await),
                // The customer has read the beginning: another would go on with something else.
                Attempt::Failed { error, begun: true } => return Some(failed(error.to_string(), false)),
                Attempt::Failed { error, begun: false } => {
                    let goes_on = error.leaves_it_to_another();
                    last = Some(error);
                    if !goes_on {
                        break;
                    }
                }
                Attempt::TooLate => return Some(failed(format!("the work took longer than {limit}"), false)),
            }
        }
        // Where there were several, each had its turn.
        let error = last.unwrap_or(BackendError::NoModel);
        Some(failed(error.to_string(), error.is_retryable() && !several))
    }

    /// One backend's turn at a job.
    async fn attempt(
        &self,
        request: &JobRequest,
        route: &Route,
        inputs: Vec<ResolvedInput>,
        end: Instant,
        stop: &CancellationToken,
    ) -> Attempt {
        let Route { seat, params, .. } = route;
        let work =
            Work { kind: request.kind, inputs, params: params.clone(), output: request.output.clone() };
        let (pieces, heard) = mpsc::channel(64);
        let enter = stop.run_until_cancelled(seat.gauge.enter(self.router.slots(seat)));
        let Ok(Some(counted)) = tokio::time::timeout_at(end, enter).await else { return Attempt::TooLate };
        let run = tokio::time::timeout_at(end, seat.backend.run(work, pieces, stop.clone()));
        let (outcome, begun) = tokio::join!(run, self.pass_on_pieces(request, heard));
        drop(counted);
        match outcome {
            Ok(Ok(mut output)) => {
                self.router.note(seat, request.kind, Ok(&output));
                self.router.sign(seat, request.kind, &mut output);
                Attempt::Done(output)
            }
            Ok(Err(error)) => {
                if error.is_the_backends() && !stop.is_cancelled() {
                    tracing::warn!(backend = &*seat.label, %error, "a backend failed a job");
                    self.router.note(seat, request.kind, Err(Instant::now().into_std()));
                }
                Attempt::Failed { error, begun }
            }
            Err(_) => Attempt::TooLate,
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
        let checked = self.acceptable_inputs(request, true).await;
        checked.map(|(inputs, _)| inputs)
    }

    /// The result of a job whose result may be sent. One that may not fails the job, and its payment goes back.
    async fn released(&self, request: &JobRequest, mut output: Output) -> Input {
        let job = request.id;
        output.usage.model = output.usage.model.map(|model| market_name(&model).to_owned());
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
    /// the rules are not content with all that was made so far. Says whether any was sent.
    async fn pass_on_pieces(&self, request: &JobRequest, mut heard: mpsc::Receiver<String>) -> bool {
        let (job, kind) = (request.id, request.kind);
        let (mut text, mut sent) = (String::new(), 0);
        // The first words go out at once, since somebody waits for them; what follows is gathered.
        let mut due = Instant::now();
        loop {
            let has_words = !text[sent..].trim().is_empty();
            tokio::select! {
                piece = heard.recv() => match piece {
                    Some(piece) => text.push_str(&piece),
                    None => return sent > 0,
                },
                () = tokio::time::sleep_until(due), if has_words => {}
            }
            if Instant::now() < due || text[sent..].trim().is_empty() {
                continue;
            }
            due = Instant::now() + PIECE_EVERY;
            if !is_moderated(kind) || self.gate.may_stream(kind, &text) {
                self.report(Input::Progress { job, text: text[sent..].to_owned() }).await;
                sent = text.len();
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

fn no_route(no: &NoRoute) -> Why {
    let code = match no {
        // Asked again later, the job may be done.
        NoRoute::Rejected(Rejection::NotReady(_)) => "overloaded",
        no if no.is_about_the_model() => refusal::MODEL,
        _ => "input",
    };
    Why { code: code.into(), message: no.to_string() }
}

fn unfit(message: String) -> Why {
    Why { code: "input".into(), message }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
