//! Work: inputs are fetched, backends run, pieces and results are reported.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use openagents_backend::{Backend, Work};
use openagents_engine::{Input, InputSize, RunFault, job::Why};
use openagents_policy::Policy;
use openagents_types::{InputType, JobId, JobKind, JobRequest, Millis, Param, ResolvedInput};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    acceptable::{self, Content},
    driver::DriverHandle,
    resolve::Resolver,
    runtime::Tasks,
};

/// Pieces of a result are sent at most this often: each is an event that every relay carries.
const PIECE_EVERY: Duration = Duration::from_millis(250);

/// The node's backends. Clones share them.
#[derive(Clone)]
pub struct Workers(Arc<Inner>);

struct Inner {
    backends: HashMap<JobKind, Arc<dyn Backend>>,
    resolver: Resolver,
    policy: Policy,
    tasks: Tasks,
    driver: OnceLock<DriverHandle>,
    running: Mutex<HashMap<JobId, CancellationToken>>,
    /// Fetched inputs of jobs that wait for payment or a slot. Text inputs are not kept here.
    fetched: Mutex<HashMap<JobId, Vec<ResolvedInput>>>,
}

impl Workers {
    /// Workers on these backends, which do what this policy accepts.
    pub fn new(
        backends: HashMap<JobKind, Arc<dyn Backend>>,
        resolver: Resolver,
        policy: Policy,
        tasks: Tasks,
    ) -> Self {
        Self(Arc::new(Inner {
            backends,
            resolver,
            policy,
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

    /// Checks a job whose inputs are all in the request; `None` if something has to be fetched.
    pub fn resolve_at_once(&self, request: &JobRequest) -> Option<Result<InputSize, Why>> {
        let all_text = request.inputs.iter().all(|input| input.input_type == InputType::Text);
        all_text.then(|| {
            let bytes = request.inputs.iter().map(|input| input.data.len() as u64).sum();
            self.0.check(request, &[], bytes)
        })
    }

    /// Fetches a job's inputs and reports how large they are, unless it is called off before.
    pub fn resolve(&self, request: &Arc<JobRequest>) {
        let (inner, request) = (self.0.clone(), request.clone());
        let stop = CancellationToken::new();
        lock(&self.0.running).insert(request.id, stop.clone());
        self.0.tasks.spawn_until_stop(async move {
            let fetched = stop.run_until_cancelled(inner.resolver.resolve(&request.inputs)).await;
            let Some(fetched) = fetched else { return };
            let (inputs, outcome) = match fetched {
                Ok(inputs) => {
                    let bytes = inputs.iter().map(|input| input.bytes.len() as u64).sum();
                    let checked = inner.check(&request, &inputs, bytes);
                    (inputs, checked)
                }
                Err(error) => (Vec::new(), Err(unfit(error.to_string()))),
            };
            if !inner.keep(request.id, inputs, outcome.is_ok()) {
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
    }
}

impl Inner {
    /// Acceptable, and something the backend can do?
    fn check(&self, request: &JobRequest, fetched: &[ResolvedInput], bytes: u64) -> Result<InputSize, Why> {
        let (kind, inputs, params) = (request.kind, &request.inputs, &request.params);
        if let Some(reason) = acceptable::objection(&self.policy, Content { kind, inputs, params, fetched }) {
            let message = format!("{reason} Nothing was charged.");
            return Err(Why { code: "policy".into(), message });
        }
        let Some(backend) = self.backends.get(&kind) else {
            return Err(unfit(format!("this provider does not do jobs of kind {kind}")));
        };
        if wants_json(request) {
            return Err(unfit(
                "this provider answers in plain text; ask for text/plain or name no output".into(),
            ));
        }
        backend.check(kind, &canonical(request), bytes).map_err(|no| unfit(no.to_string()))?;
        Ok(InputSize { bytes })
    }

    /// Keeps what was fetched for a job that is wanted; `false` if it was called off meanwhile.
    fn keep(&self, job: JobId, inputs: Vec<ResolvedInput>, fit: bool) -> bool {
        // Held until both are changed, so that `stop` sees both or neither.
        let mut running = lock(&self.running);
        let wanted = running.remove(&job).is_some();
        if wanted && fit {
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
        let failed =
            |message: String, retryable| Input::RunFailed { job, fault: RunFault { message, retryable } };
        let inputs = match self.inputs(request).await {
            Ok(inputs) => inputs,
            Err(message) => return Some(failed(message, false)),
        };
        let Some(backend) = self.backends.get(&request.kind).cloned() else {
            return Some(failed("the backend is gone".into(), false));
        };
        let (params, output) = (canonical(request), request.output.clone());
        let work = Work { kind: request.kind, inputs, params, output };
        let (pieces, heard) = mpsc::channel(64);
        let run = tokio::time::timeout(limit.duration(), backend.run(work, pieces, stop.clone()));
        let (outcome, ()) = tokio::join!(run, self.pass_on_pieces(job, heard));
        match outcome {
            _ if stop.is_cancelled() => None,
            Ok(Ok(output)) => Some(Input::Finished { job, content: output.content, usage: output.usage }),
            Ok(Err(error)) => Some(failed(error.to_string(), error.is_retryable())),
            Err(_) => Some(failed(format!("the work took longer than {limit}"), false)),
        }
    }

    /// What was fetched before, or is fetched again after a restart.
    async fn inputs(&self, request: &JobRequest) -> Result<Vec<ResolvedInput>, String> {
        if let Some(inputs) = lock(&self.fetched).remove(&request.id) {
            return Ok(inputs);
        }
        self.resolver.resolve(&request.inputs).await.map_err(|error| error.to_string())
    }

    /// Gathers what a backend streams into pieces worth an event.
    async fn pass_on_pieces(&self, job: JobId, mut heard: mpsc::Receiver<String>) {
        let mut text = String::new();
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
                    if !text.is_empty() {
                        self.report(Input::Progress { job, text: std::mem::take(&mut text) }).await;
                    }
                }
            }
        }
    }
}

/// Whether the answer would have to be JSON: every backend of today answers in text.
fn wants_json(request: &JobRequest) -> bool {
    let read = openagents_registry::find(request.kind).and_then(|schema| schema.read_request(request));
    read.is_ok_and(|read| read.output() == Some("application/json"))
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
