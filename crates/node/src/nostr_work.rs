//! Work on Nostr itself, done in the node: proof of work, counting, searching and publishing later.
//!
//! None of it needs a model. What looks at relays looks at the node's own, and dials no other for a customer.

mod count;
mod pow;
mod schedule;
mod search;

use std::{sync::Arc, time::Instant};

use openagents_backend::{Backend, BackendError, Rejection, Work};
use openagents_types::{JobInput, JobKind, Millis, Param, Usage};

use crate::{home::Home, relays::Relays};

pub(crate) use schedule::Schedule;

/// What an event carries at most; what is made of one has to fit into a result.
const LARGEST: u64 = 32 << 10;

/// The backends of the kinds that are wanted, and what publishes later if that is sold.
pub(crate) fn backends(
    wanted: &[JobKind],
    home: &Home,
    relays: &Relays,
) -> (Vec<Arc<dyn Backend>>, Schedule) {
    let schedule = Schedule::new(home.data_file("schedule"), relays.clone());
    let build = |kind: &JobKind| -> Option<Arc<dyn Backend>> {
        match kind.get() {
            5302 | 5303 => Some(Arc::new(search::Search::new(*kind, relays.clone()))),
            5400 => Some(Arc::new(count::Count::new(relays.clone()))),
            5905 => Some(Arc::new(schedule::Later::new(schedule.clone()))),
            5970 => Some(Arc::new(pow::ProofOfWork)),
            _ => None,
        }
    };
    (wanted.iter().filter_map(build).collect(), schedule)
}

/// What the backend of a kind is called.
pub(crate) const fn name(kind: JobKind) -> Option<&'static str> {
    match kind.get() {
        5302 | 5303 => Some(search::NAME),
        5400 => Some(count::NAME),
        5905 => Some(schedule::NAME),
        5970 => Some(pow::NAME),
        _ => None,
    }
}

/// Too little or too much to work on.
fn sized(input_bytes: u64, least: u64) -> Result<(), Rejection> {
    match input_bytes {
        found if found < least => Err(Rejection::NoInput),
        found if found > LARGEST => Err(Rejection::TooLarge { found, most: LARGEST }),
        _ => Ok(()),
    }
}

fn bad_param(name: &str, found: &str, expected: impl Into<String>) -> Rejection {
    let found = found.chars().filter(|c| !c.is_control()).take(48).collect();
    Rejection::Parameter { name: name.into(), found, expected: expected.into() }
}

/// All values of a parameter, however often it is given.
fn values<'a>(params: &'a [Param], name: &'a str) -> impl Iterator<Item = &'a str> {
    params.iter().filter(move |param| param.name == name).flat_map(|param| &param.values).map(String::as_str)
}

/// The relays that a job names and that are not the node's own.
fn check_relays(relays: &Relays, params: &[Param], name: &str) -> Result<(), Rejection> {
    let own: Vec<String> = relays.states().keys().map(ToString::to_string).collect();
    let is_own = |url: &str| own.iter().any(|own| own.trim_end_matches('/') == url.trim_end_matches('/'));
    match values(params, name).find(|url| !is_own(url)) {
        Some(other) => Err(bad_param(name, other, format!("one of this provider's: {}", own.join(", ")))),
        None => Ok(()),
    }
}

/// The inputs as text.
fn texts(work: &Work) -> Result<Vec<String>, BackendError> {
    let text = |bytes: &Vec<u8>| {
        String::from_utf8(bytes.clone()).map_err(|_| BackendError::BadInput("the input is no text".into()))
    };
    work.inputs.iter().map(|input| text(&input.bytes)).collect()
}

/// A job's parameters as the registry reads them.
fn read(work: &Work) -> Result<openagents_registry::JobParams, BackendError> {
    let bad = |fault: openagents_registry::Fault| BackendError::BadInput(fault.to_string());
    let inputs = work.inputs.iter().map(|_| JobInput::text("read")).collect::<Vec<_>>();
    openagents_registry::find(work.kind)
        .and_then(|kind| kind.read(&inputs, &work.params, &work.output))
        .map_err(bad)
}

fn usage(name: &str, read: usize, made: usize, started: Instant) -> Usage {
    Usage {
        backend: name.into(),
        model: None,
        digest: None,
        quantization: None,
        input_tokens: read as u64,
        output_tokens: made.max(1) as u64,
        elapsed: Millis(u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX)),
    }
}
