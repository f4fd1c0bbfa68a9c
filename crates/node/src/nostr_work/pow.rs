//! Proof-of-work delegation (kind 5970): an unsigned event comes back with a nonce that gives its id the zero bits that
//! were asked for (NIP-13). Its author signs it; nothing else of it is changed.

use std::time::Instant;

use async_trait::async_trait;
use openagents_backend::{Backend, BackendError, Health, Output, Rejection, Work};
use openagents_types::{JobKind, Param};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{bad_param, sized, texts, usage, values};

/// Zero bits, at most: some four million hashes, a few seconds of one core. Each more doubles that.
const MOST_BITS: u32 = 22;

/// Bytes that are hashed for a job, as a rule: all after the nonce is hashed anew for each, so that a long event gets fewer
/// zero bits than a short one.
const MOST_HASHED: u64 = 1 << 32;

/// What is hashed besides the input.
const BESIDES: u64 = 64;

/// Hashes between two looks at whether the work is still wanted: about a millisecond.
const LOOK: u64 = 4_096;

/// Hashes after which it is given up: no honest search is that unlucky.
const MOST_HASHES: u64 = 32 << MOST_BITS;

pub(super) const NAME: &str = "proof-of-work";

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProofOfWork;

/// The event, as its author would sign it.
#[derive(Clone, Debug, Deserialize)]
struct Unsigned {
    pubkey: String,
    created_at: u64,
    kind: u16,
    #[serde(default)]
    tags: Vec<Vec<String>>,
    content: String,
}

impl Unsigned {
    fn read(text: &str) -> Result<Self, BackendError> {
        let bad = |what: &str| BackendError::BadInput(format!("the input is no unsigned event: {what}"));
        let mut event: Self = serde_json::from_str(text).map_err(|error| bad(&error.to_string()))?;
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if event.pubkey.len() != 64 || !event.pubkey.bytes().all(is_hex) {
            return Err(bad("pubkey has to be 64 hexadecimal digits"));
        }
        event.tags.retain(|tag| tag.first().is_none_or(|name| name != "nonce"));
        Ok(event)
    }

    /// What is hashed (NIP-01), before the nonce and after it.
    fn around(&self, bits: u32) -> Result<(Vec<u8>, Vec<u8>), BackendError> {
        let nonce = "\u{0}nonce\u{0}";
        let mut tags = self.tags.clone();
        tags.push(vec!["nonce".into(), nonce.into(), bits.to_string()]);
        let whole = json!([0, self.pubkey, self.created_at, self.kind, tags, self.content]).to_string();
        let mark = "\\u0000nonce\\u0000";
        // The tag is the last, so its mark is the last before the content, which may say anything.
        let end = whole.len() - json!(self.content).to_string().len();
        let at = whole.get(..end).and_then(|head| head.rfind(mark)).ok_or(BackendError::Died)?;
        Ok((whole.as_bytes()[..at].to_vec(), whole.as_bytes()[at + mark.len()..].to_vec()))
    }

    /// The event with the nonce found, and its id.
    fn found(mut self, nonce: u64, bits: u32, id: &[u8]) -> Value {
        self.tags.push(vec!["nonce".into(), nonce.to_string(), bits.to_string()]);
        json!({
            "id": hex::encode(id),
            "pubkey": self.pubkey,
            "created_at": self.created_at,
            "kind": self.kind,
            "tags": self.tags,
            "content": self.content,
        })
    }
}

fn zero_bits(id: &[u8]) -> u32 {
    let zeros = id.iter().take_while(|byte| **byte == 0).count();
    let next = id.get(zeros).map_or(0, |byte| byte.leading_zeros());
    u32::try_from(zeros).unwrap_or(0) * 8 + next
}

/// Searches until it is found, called off or given up.
fn search(event: Unsigned, bits: u32, stop: &CancellationToken) -> Result<(Value, u64), BackendError> {
    let (before, after) = event.around(bits)?;
    let begun = Sha256::new_with_prefix(&before);
    for nonce in 0..MOST_HASHES {
        if nonce.is_multiple_of(LOOK) && stop.is_cancelled() {
            return Err(BackendError::Cancelled);
        }
        let mut hash = begun.clone();
        hash.update(nonce.to_string().as_bytes());
        hash.update(&after);
        let id = hash.finalize();
        if zero_bits(&id) >= bits {
            return Ok((event.found(nonce, bits, &id), nonce + 1));
        }
    }
    Err(BackendError::Timeout)
}

fn wanted(params: &[Param]) -> Result<u32, Rejection> {
    let Some(text) = values(params, "pow").next() else { return Ok(1) };
    let bits = text.trim().parse().ok().filter(|bits| (1..=MOST_BITS).contains(bits));
    bits.ok_or_else(|| bad_param("pow", text, format!("1 to {MOST_BITS} zero bits")))
}

#[async_trait]
impl Backend for ProofOfWork {
    fn name(&self) -> &'static str {
        NAME
    }

    fn kinds(&self) -> Vec<JobKind> {
        JobKind::try_from(5970).into_iter().collect()
    }

    async fn probe(&self) -> Health {
        Health::Ready
    }

    fn check(&self, _: JobKind, params: &[Param], input_bytes: u64) -> Result<(), Rejection> {
        sized(input_bytes, 1)?;
        let bits = wanted(params)?;
        if input_bytes.saturating_add(BESIDES) << bits > MOST_HASHED {
            let most = (MOST_HASHED / (input_bytes + BESIDES)).ilog2();
            let expected = format!("at most {most} zero bits for an event of {input_bytes} bytes");
            return Err(bad_param("pow", &bits.to_string(), expected));
        }
        Ok(())
    }

    async fn run(
        &self,
        work: Work,
        _pieces: mpsc::Sender<String>,
        stop: CancellationToken,
    ) -> Result<Output, BackendError> {
        let started = Instant::now();
        let bits = wanted(&work.params).map_err(|error| BackendError::BadInput(error.to_string()))?;
        let text = texts(&work)?.into_iter().next().unwrap_or_default();
        let event = Unsigned::read(&text)?;
        // Whoever drops this work, for want of time or patience, ends the search too.
        let stop = stop.child_token();
        let _ends = stop.clone().drop_guard();
        let searching = stop.clone();
        let search = tokio::task::spawn_blocking(move || search(event, bits, &searching));
        let (found, hashes) = tokio::select! {
            biased;
            () = stop.cancelled() => return Err(BackendError::Cancelled),
            found = search => found.map_err(|_| BackendError::Died)??,
        };
        let made = usize::try_from(hashes).unwrap_or(usize::MAX);
        Ok(Output::text(found.to_string(), usage(NAME, text.len(), made, started)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]
    use std::sync::Arc;

    use openagents_backend::{backend_tests, conformance};
    use openagents_types::{JobInput, ResolvedInput};

    use super::*;

    const EVENT: &str = r#"{"pubkey":"2bd806c97f0e00af1a1fc3328fa763a9269723c8db8fac4f93af71db186d6e90","created_at":1800000000,"kind":1,"tags":[["t","a"],["nonce","1","9"]],"content":"Grüße \u0000nonce\u0000 \"\\ \n"}"#;

    fn kind() -> JobKind {
        JobKind::try_from(5970).unwrap()
    }

    fn work(bits: &str) -> Work {
        let params = vec![Param::new("pow", bits)];
        Work { kind: kind(), inputs: vec![ResolvedInput::text(EVENT)], params, output: Vec::new() }
    }

    backend_tests!(
        proof_of_work,
        Arc::new(ProofOfWork) as Arc<dyn Backend>,
        work("8"),
        Param::new("pow", "64")
    );

    #[tokio::test]
    async fn the_id_is_the_events_and_has_the_bits() {
        let backend: Arc<dyn Backend> = Arc::new(ProofOfWork);
        let (output, _) = conformance::run(&backend, work("12")).await.unwrap();
        let schema = openagents_registry::find(kind()).unwrap();
        let read = schema.read(&[JobInput::text(EVENT)], &[Param::new("pow", "12")], &[]).unwrap();
        schema.check_result(&output.content, &read).unwrap();
        let found: Value = serde_json::from_str(&output.content).unwrap();
        let sent: Value = serde_json::from_str(EVENT).unwrap();
        assert_eq!((&found["content"], &found["pubkey"]), (&sent["content"], &sent["pubkey"]));
        assert_eq!(found["tags"].as_array().unwrap().len(), 2, "an old nonce goes");
        // The library hashes the event by itself.
        let tags: Vec<nostr::Tag> = serde_json::from_value(found["tags"].clone()).unwrap();
        let id = nostr::EventId::new(
            &nostr::PublicKey::parse(found["pubkey"].as_str().unwrap()).unwrap(),
            &nostr::Timestamp::from(1_800_000_000),
            &nostr::Kind::TextNote,
            &nostr::Tags::from_list(tags),
            found["content"].as_str().unwrap(),
        );
        assert_eq!(found["id"], id.to_hex());
    }

    #[tokio::test]
    async fn what_is_no_event_is_said_to_be_none() {
        let backend: Arc<dyn Backend> = Arc::new(ProofOfWork);
        for text in ["hello", "{}", &EVENT.replace("2bd8", "2BD8")] {
            let work = Work { inputs: vec![ResolvedInput::text(text)], ..work("1") };
            assert!(
                matches!(conformance::run(&backend, work).await, Err(BackendError::BadInput(_))),
                "{text}"
            );
        }
    }

    #[test]
    fn a_long_event_gets_fewer_bits_than_a_short_one() {
        let check =
            |bits: u32, bytes: u64| ProofOfWork.check(kind(), &[Param::new("pow", bits.to_string())], bytes);
        assert_eq!((check(MOST_BITS, 960), check(17, 32 << 10)), (Ok(()), Err(refused(17, 16, 32 << 10))));
        assert_eq!(check(MOST_BITS, 961), Err(refused(MOST_BITS, 21, 961)));
        assert_eq!(check(16, 32 << 10), Ok(()));
    }

    fn refused(bits: u32, most: u32, bytes: u64) -> Rejection {
        let expected = format!("at most {most} zero bits for an event of {bytes} bytes");
        bad_param("pow", &bits.to_string(), expected)
    }

    #[tokio::test]
    async fn work_that_is_dropped_ends() {
        let stop = CancellationToken::new();
        let (pieces, _heard) = mpsc::channel(1);
        let run = ProofOfWork.run(work("22"), pieces, stop.clone());
        let _ = tokio::time::timeout(std::time::Duration::from_millis(5), run).await;
        assert!(!stop.is_cancelled(), "only its own token is cancelled");
    }
}
