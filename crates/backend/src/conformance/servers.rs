//! What every model server promises through its backend, whatever it speaks: [`promises`] tries all of it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use openagents_types::{JobKind, Param, ResolvedInput};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{checks, delivers, run, stops};
use crate::{Backend, BackendError, Output, Rejection, Work};

/// How soon a job that is called off has ended.
const CALLED_OFF: Duration = Duration::from_millis(200);
/// How soon a server is there again after it was started.
const BACK: Duration = Duration::from_secs(20);

/// What is known of the model that a server under test has.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// What it answers to anything at temperature 0: more than one token, and `stop` among its words.
    pub answer: &'static str,
    /// Tokens of the answer, as the server counts them; `None` if it counts none.
    pub tokens: Option<u64>,
    /// A text in the answer.
    pub stop: &'static str,
    /// Whether it says of what bytes its model is.
    pub digest: bool,
    /// Whether it makes the model keep to a schema.
    pub schemas: bool,
    /// Whether it makes vectors.
    pub embeds: bool,
    /// Whether it comes back by itself when it is gone.
    pub returns: bool,
}

/// A model server under test.
#[async_trait]
pub trait Subject: Send + Sync {
    /// The backend that stands on it.
    fn backend(&self) -> Arc<dyn Backend>;

    /// What it has.
    fn facts(&self) -> Facts;

    /// Makes it stop answering without hanging up, or go on.
    async fn hang(&mut self, hangs: bool);

    /// Makes it answer what makes no sense from its second piece on, or go on; `false` if it cannot be made to.
    async fn garble(&mut self, garbles: bool) -> bool;

    /// Takes it away, as a crash would.
    async fn take_away(&mut self);

    /// Starts it again where it was, if it does not come back by itself.
    async fn bring_back(&mut self);
}

/// A job of text generation.
pub fn text(prompt: &str, params: &[(&str, &str)]) -> Work {
    job(JobKind::TEXT_GENERATION, &[prompt], params)
}

/// A job of any kind.
pub fn job(kind: JobKind, inputs: &[&str], params: &[(&str, &str)]) -> Work {
    let params = params.iter().map(|(name, value)| Param::new(*name, *value)).collect();
    let inputs = inputs.iter().map(|text| ResolvedInput::text(text)).collect();
    Work { kind, inputs, params, output: Vec::new() }
}

/// Tries everything that a model server promises.
///
/// # Panics
/// It does not keep a promise.
pub async fn promises(subject: &mut dyn Subject) {
    assert!(subject.backend().probe().await.is_ready(), "{:?}", subject.backend().server());
    as_any_backend(subject).await;
    generates_and_counts(subject).await;
    stops_and_ends_where_it_should(subject).await;
    takes_options_and_repeats_with_a_seed(subject).await;
    keeps_to_a_schema_or_promises_none(subject).await;
    makes_vectors_or_promises_none(subject).await;
    refuses_what_is_too_long_and_what_it_has_not(subject).await;
    ends_when_called_off(subject).await;
    delivers_nothing_that_makes_no_sense(subject).await;
    fails_when_it_is_gone_and_works_when_it_is_back(subject).await;
}

async fn done(subject: &dyn Subject, work: Work) -> Output {
    run(&subject.backend(), work).await.unwrap_or_else(|error| panic!("{error:?}")).0
}

async fn as_any_backend(subject: &dyn Subject) {
    delivers(subject.backend(), text("hello", &[])).await;
    stops(subject.backend(), text("hello", &[])).await;
    checks(&subject.backend(), JobKind::TEXT_GENERATION, &Param::new("temperature", "9"));
}

async fn generates_and_counts(subject: &dyn Subject) {
    let facts = subject.facts();
    let (output, pieces) = run(&subject.backend(), text("hello", &[("temperature", "0")]))
        .await
        .unwrap_or_else(|error| panic!("{error:?}"));
    assert_eq!(output.content, facts.answer);
    assert!(pieces.len() > 1 && pieces.concat() == output.content, "{pieces:?}");
    let usage = output.usage;
    assert!(usage.input_tokens > 0 && usage.output_tokens > 1, "{usage:?}");
    assert!(facts.tokens.is_none_or(|tokens| tokens == usage.output_tokens), "{usage:?}");
    assert_eq!(usage.digest.is_some(), facts.digest, "{usage:?}");
    assert!(usage.digest.is_none_or(|digest| digest.starts_with("sha256:")));
    let state = subject.backend().server().unwrap_or_else(|| panic!("it has no server"));
    assert!(
        state.health.is_ready() && state.models.iter().any(|model| Some(&model.id) == usage.model.as_ref())
    );
}

async fn stops_and_ends_where_it_should(subject: &dyn Subject) {
    let facts = subject.facts();
    let until = &facts.answer[..facts.answer.find(facts.stop).unwrap_or(0)];
    let stopped = done(subject, text("hello", &[("temperature", "0"), ("stop", facts.stop)])).await;
    assert_eq!(stopped.content, until, "cut before {:?}", facts.stop);
    let short = done(subject, text("hello", &[("temperature", "0"), ("max_tokens", "2")])).await;
    assert!(
        facts.answer.starts_with(&short.content) && short.content.len() < facts.answer.len(),
        "{short:?}"
    );
    assert!(short.usage.output_tokens <= 2, "{short:?}");
}

async fn takes_options_and_repeats_with_a_seed(subject: &dyn Subject) {
    let params = [
        ("temperature", "1.5"),
        ("top_p", "0.9"),
        ("top-k", "40"),
        ("frequency_penalty", "0.1"),
        ("seed", "7"),
    ];
    let with_system = [&params[..], &[("system", "Be brief.")]].concat();
    let first = done(subject, text("hello", &with_system)).await;
    let second = done(subject, text("hello", &with_system)).await;
    assert_eq!(first.content, second.content, "a seed makes it repeatable");
}

async fn keeps_to_a_schema_or_promises_none(subject: &dyn Subject) {
    let Ok(kind) = JobKind::try_from(6509) else { panic!("the kind is gone") };
    if !subject.facts().schemas {
        assert!(!subject.backend().kinds().contains(&kind), "it promises what it cannot do");
        return;
    }
    assert!(subject.backend().kinds().contains(&kind));
    let schema = r#"{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"],"additionalProperties":false}"#;
    let output =
        done(subject, job(kind, &["there are 3"], &[("schema", schema), ("temperature", "0")])).await;
    let read: serde_json::Value =
        serde_json::from_str(&output.content).unwrap_or_else(|error| panic!("{error}: {}", output.content));
    assert!(read["n"].is_i64() && read.as_object().is_some_and(|all| all.len() == 1), "{read}");
    let bad = [Param::new("schema", "not JSON")];
    assert!(subject.backend().check(kind, &bad, 10).is_err(), "a schema that is none");
}

async fn makes_vectors_or_promises_none(subject: &dyn Subject) {
    let Ok(kind) = JobKind::try_from(6511) else { panic!("the kind is gone") };
    if !subject.facts().embeds {
        assert!(!subject.backend().kinds().contains(&kind), "it promises what it cannot do");
        return;
    }
    vectors(&subject.backend()).await;
}

/// Vectors of texts: one for each, of one length, normalised unless they should not be.
///
/// # Panics
/// They are not.
pub async fn vectors(backend: &Arc<dyn Backend>) {
    let Ok(kind) = JobKind::try_from(6511) else { panic!("the kind is gone") };
    assert!(backend.kinds().contains(&kind));
    let made = run(backend, job(kind, &["cat", "kitten", "cat"], &[])).await;
    let (output, pieces) = made.unwrap_or_else(|error| panic!("{error:?}"));
    assert!(pieces.is_empty() && output.usage.input_tokens > 0, "{:?}", output.usage);
    let read: serde_json::Value = serde_json::from_str(&output.content).unwrap_or_default();
    let all = read["vectors"].as_array().cloned().unwrap_or_default();
    let length = |vector: &serde_json::Value| {
        let numbers = vector.as_array().into_iter().flatten().filter_map(serde_json::Value::as_f64);
        numbers.map(|x| x * x).sum::<f64>().sqrt()
    };
    assert_eq!(all.len(), 3);
    assert!(all.iter().all(|vector| (length(vector) - 1.0).abs() < 1e-6), "{read}");
    assert!(all[0] == all[2] && all[0] != all[1], "one text, one vector");
    assert_eq!(read["dimensions"].as_u64(), all[0].as_array().map(|vector| vector.len() as u64));
}

async fn refuses_what_is_too_long_and_what_it_has_not(subject: &dyn Subject) {
    let long = "market ".repeat(20_000);
    let refused = run(&subject.backend(), text(&long, &[])).await;
    assert_eq!(refused, Err(BackendError::ContextOverflow));
    for name in ["gpt-9", "../../etc/passwd", "http://example.com/model"] {
        let refused = subject.backend().check(JobKind::TEXT_GENERATION, &[Param::new("model", name)], 10);
        assert!(matches!(refused, Err(Rejection::Parameter { .. })), "{name}: {refused:?}");
        let run = run(&subject.backend(), text("hello", &[("model", name)])).await;
        assert!(matches!(run, Err(BackendError::BadInput(_))), "{name}: {run:?}");
    }
}

async fn ends_when_called_off(subject: &mut dyn Subject) {
    subject.hang(true).await;
    let (stop, backend) = (CancellationToken::new(), subject.backend());
    let (pieces, _heard) = mpsc::channel(1_024);
    let running = backend.run(text("hello", &[]), pieces, stop.clone());
    let call_off = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        stop.cancel();
        Instant::now()
    };
    let (ended, since) = tokio::join!(running, call_off);
    assert_eq!(ended, Err(BackendError::Cancelled));
    assert!(since.elapsed() < CALLED_OFF, "it took {:?}", since.elapsed());
    subject.hang(false).await;
    // The slot is free again.
    assert_eq!(done(subject, text("hello", &[("temperature", "0")])).await.content, subject.facts().answer);
}

async fn delivers_nothing_that_makes_no_sense(subject: &mut dyn Subject) {
    if !subject.garble(true).await {
        return;
    }
    let garbled = run(&subject.backend(), text("hello", &[])).await;
    assert!(matches!(garbled, Err(BackendError::Protocol(_))), "{garbled:?}");
    subject.garble(false).await;
    done(subject, text("hello", &[])).await;
}

async fn fails_when_it_is_gone_and_works_when_it_is_back(subject: &mut dyn Subject) {
    subject.take_away().await;
    let gone = Instant::now();
    if !subject.facts().returns {
        let failed = run(&subject.backend(), text("hello", &[])).await;
        assert_eq!(failed, Err(BackendError::Died));
        assert!(!subject.backend().probe().await.is_ready());
        subject.bring_back().await;
    }
    while !subject.backend().probe().await.is_ready() {
        assert!(gone.elapsed() < BACK, "it does not come back: {:?}", subject.backend().server());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(done(subject, text("hello", &[("temperature", "0")])).await.content, subject.facts().answer);
}
