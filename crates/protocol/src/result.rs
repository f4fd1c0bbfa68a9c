//! Results: the request's kind plus 1000.

use nostr::Keys;
use openagents_types::{Encryption, JobId, JobRequest, JobResult, MadeBy, Msat, Timestamp};

use crate::{
    DecodeError, EncodeError, Keyring, Verified,
    feedback::{amount, job_of, opened},
    message::{created_at, provider, seal, sendable},
    tags::{self, make},
};

/// Whether tags are those of a result: it quotes its request, or an `e` tag names it. An `e` tag that
/// holds no id names nothing.
pub(crate) fn has_shape(found: &[tags::Raw]) -> bool {
    let named = |values: &[String]| values.first().is_some_and(|id| id.parse::<JobId>().is_ok());
    tags::all(found, tags::REQUEST).next().is_some() || tags::all(found, tags::EVENT).any(named)
}

/// What is delivered.
#[derive(Clone, Copy)]
pub(crate) struct Made<'a> {
    pub(crate) content: &'a str,
    /// What was paid, or what is to be paid now.
    pub(crate) price: Msat,
    /// What of that was not used and is kept for the customer.
    pub(crate) unused: Msat,
    /// The invoice, if it is still to be paid.
    pub(crate) bolt11: Option<&'a str>,
    pub(crate) by: Option<&'a MadeBy>,
}

pub(crate) fn encode(
    request: &JobRequest,
    made: Made<'_>,
    keys: &Keys,
    ring: &mut Keyring,
    now: Timestamp,
) -> Result<Verified, EncodeError> {
    let secret = request.encryption != Encryption::None;
    let content = if secret {
        seal(ring, keys, request.customer.as_bytes(), request.encryption, made.content)?
    } else {
        made.content.to_owned()
    };
    let sign = |quoted| {
        let raw = tags::to_tags(answer_tags(request, &made, quoted));
        Verified::sign(keys, request.kind.result(), raw, content.clone(), now.secs())
    };
    // A request may be as large as an event, and quoting it escapes it once more: the quote must
    // not cost the customer the result. Its `e` tag names the request all the same.
    if !secret && let Ok(event) = sendable(sign(true)) { Ok(event) } else { sendable(sign(false)) }
}

fn answer_tags(request: &JobRequest, made: &Made<'_>, quoted: bool) -> Vec<tags::Raw> {
    let mut raw = Vec::new();
    if request.encryption != Encryption::None {
        raw.push(make([tags::ENCRYPTED]));
    }
    if quoted {
        raw.push(make([tags::REQUEST, &request.raw]));
    }
    raw.push(make([tags::EVENT, &request.id.to_hex()]));
    raw.push(make([tags::KEY, &request.customer.to_hex()]));
    if quoted {
        raw.extend(echoed_inputs(request));
    }
    if !made.price.is_zero() {
        let mut tag = make([tags::AMOUNT, &made.price.get().to_string()]);
        tag.extend(made.bolt11.map(str::to_owned));
        raw.push(tag);
    }
    if !made.unused.is_zero() {
        raw.push(make([tags::UNUSED, &made.unused.get().to_string()]));
    }
    // An encrypted request hides which model it wants, and its answer which it got.
    if let Some(by) = made.by.filter(|_| request.encryption == Encryption::None) {
        raw.extend(made_by_tags(by));
    }
    raw
}

/// `["backend", name]` and `["model", name, digest, quantization]`, as much of it as is known.
fn made_by_tags(by: &MadeBy) -> Vec<tags::Raw> {
    let mut raw = vec![make([tags::BACKEND, &by.backend])];
    if let Some(model) = &by.model {
        let more = [by.digest.as_deref(), by.quantization.as_deref()];
        let known = more.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        let mut tag = make([tags::MODEL, model]);
        tag.extend(more[..known].iter().map(|value| value.unwrap_or_default().to_owned()));
        raw.push(tag);
    }
    raw
}

/// What a provider says it keeps of a price.
fn unused(found: &[tags::Raw]) -> Msat {
    let said = tags::first(found, tags::UNUSED).and_then(|text| text.trim().parse().ok());
    said.map(Msat::new).filter(|amount| *amount <= Msat::MAX).unwrap_or(Msat::ZERO)
}

/// What a provider says made its result; names longer than any are cut.
fn made_by(found: &[tags::Raw]) -> Option<MadeBy> {
    const LONGEST: usize = 256;
    let short = |text: &str| -> String { text.chars().filter(|c| !c.is_control()).take(LONGEST).collect() };
    let model = tags::all(found, tags::MODEL).next().unwrap_or_default();
    let part = |at: usize| model.get(at).map(|text| short(text)).filter(|text| !text.is_empty());
    let by = MadeBy {
        backend: tags::first(found, tags::BACKEND).map(short).unwrap_or_default(),
        model: part(0),
        digest: part(1),
        quantization: part(2),
    };
    (!by.backend.is_empty() || by.model.is_some()).then_some(by)
}

/// The inputs as the request wrote them; long ones are in the quoted request anyway.
fn echoed_inputs(request: &JobRequest) -> impl Iterator<Item = tags::Raw> {
    const LONGEST: usize = 512;
    let short = request.inputs.iter().filter(|input| input.data.len() <= LONGEST);
    short.map(|input| {
        let word = match input.input_type {
            openagents_types::InputType::Text => "text",
            openagents_types::InputType::Url => "url",
            openagents_types::InputType::Event => "event",
            openagents_types::InputType::Job => "job",
        };
        make([tags::INPUT, &input.data, word])
    })
}

pub(crate) fn decode(event: &Verified, keys: &mut Keyring) -> Result<JobResult, DecodeError> {
    let (found, text) = opened(event, keys)?;
    let (amount, bolt11) = amount(&found);
    let job: JobId = job_of(&found).ok_or(DecodeError::Missing(tags::EVENT))?;
    Ok(JobResult {
        job,
        provider: provider(event),
        event: event.id(),
        kind: event.event().kind.as_u16(),
        content: text,
        amount,
        bolt11,
        made_by: made_by(&found),
        unused: unused(&found),
        created_at: created_at(event),
    })
}
