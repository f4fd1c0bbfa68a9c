//! Search of content (kind 5302) and people (kind 5303) in what the node's own relays hold.
//!
//! Few relays search by themselves (NIP-50), so what they hold of the time wanted is fetched and read here: every word of
//! the query has to occur. What matches the words best comes first, then what is newest.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use nostr::{Kind, PublicKey};
use openagents_backend::{Backend, BackendError, Health, Output, Rejection, Work};
use openagents_protocol::Verified;
use openagents_registry::JobParams;
use openagents_relay::Filter;
use openagents_types::{JobKind, Param};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{read, sized, texts, usage};
use crate::relays::Relays;

/// How many events are read for one query, at most.
const MOST: usize = 2_000;

/// How long relays have to answer.
const PATIENCE: Duration = Duration::from_secs(8);

/// Words of a query that are looked for, at most.
const MOST_WORDS: usize = 32;

/// Results where the job does not say how many.
const USUAL: u64 = 100;

pub(super) const NAME: &str = "relay-search";

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Search {
    kind: JobKind,
    relays: Relays,
}

impl Search {
    pub(super) const fn new(kind: JobKind, relays: Relays) -> Self {
        Self { kind, relays }
    }

    fn is_of_people(&self) -> bool {
        self.kind.get() == 5303
    }

    /// What has to be read to answer.
    fn filter(&self, params: &JobParams) -> Result<Filter, BackendError> {
        if self.is_of_people() {
            return Ok(Filter::new().kind(Kind::Metadata).limit(MOST));
        }
        let mut filter = Filter::new().kinds([Kind::TextNote, Kind::LongFormTextNote]).limit(MOST);
        if let Some(since) = params.u64("since") {
            filter = filter.since(nostr::Timestamp::from(since));
        }
        if let Some(until) = params.u64("until") {
            filter = filter.until(nostr::Timestamp::from(until));
        }
        let keys: Result<Vec<PublicKey>, _> =
            params.list("users").into_iter().map(PublicKey::parse).collect();
        let keys = keys.map_err(|_| BackendError::BadInput("one of the users is no public key".into()))?;
        Ok(if keys.is_empty() { filter } else { filter.authors(keys) })
    }

    fn answer(&self, query: &Query, found: Vec<Verified>, most: usize) -> Vec<Vec<String>> {
        let found = if self.is_of_people() { latest(found) } else { found };
        let score = |event: Verified| Some((query.score(&event.event().content)?, event));
        let mut hits: Vec<(usize, Verified)> = found.into_iter().filter_map(score).collect();
        hits.sort_by_key(|(score, event)| {
            std::cmp::Reverse((*score, event.event().created_at, event.event().id))
        });
        hits.truncate(most);
        let tag = |event: &Verified| {
            let (name, value) = if self.is_of_people() {
                ("p", event.event().pubkey.to_hex())
            } else {
                ("e", event.event().id.to_hex())
            };
            vec![name.to_owned(), value]
        };
        hits.iter().map(|(_, event)| tag(event)).collect()
    }
}

/// The latest profile of each key: what it said before it has taken back.
fn latest(found: Vec<Verified>) -> Vec<Verified> {
    let mut latest: HashMap<PublicKey, Verified> = HashMap::new();
    for event in found {
        let key = event.event().pubkey;
        if latest.get(&key).is_none_or(|other| other.event().created_at < event.event().created_at) {
            latest.insert(key, event);
        }
    }
    latest.into_values().collect()
}

/// What is searched for.
struct Query(Vec<String>);

impl Query {
    fn read(texts: &[String]) -> Result<Self, BackendError> {
        let words = texts.iter().flat_map(|text| text.split_whitespace()).take(MOST_WORDS);
        let words: Vec<String> = words.map(str::to_lowercase).collect();
        if words.is_empty() {
            return Err(BackendError::BadInput("there is nothing to search for".into()));
        }
        Ok(Self(words))
    }

    /// How often the words occur, if each does.
    fn score(&self, text: &str) -> Option<usize> {
        let text = text.to_lowercase();
        let counts = self.0.iter().map(|word| text.matches(word.as_str()).count());
        counts.map(|count| (count > 0).then_some(count)).sum()
    }
}

#[async_trait]
impl Backend for Search {
    fn name(&self) -> &'static str {
        NAME
    }

    fn kinds(&self) -> Vec<JobKind> {
        vec![self.kind]
    }

    async fn probe(&self) -> Health {
        Health::Ready
    }

    fn makes(&self, _: JobKind) -> Vec<String> {
        ["application/json", "text/plain"].map(String::from).to_vec()
    }

    fn check(&self, _: JobKind, _: &[Param], input_bytes: u64) -> Result<(), Rejection> {
        sized(input_bytes, 1)
    }

    async fn run(
        &self,
        work: Work,
        _pieces: mpsc::Sender<String>,
        stop: CancellationToken,
    ) -> Result<Output, BackendError> {
        let started = Instant::now();
        let params = read(&work)?;
        let query = Query::read(&texts(&work)?)?;
        let filters = [self.filter(&params)?];
        let found = tokio::select! {
            biased;
            () = stop.cancelled() => return Err(BackendError::Cancelled),
            found = self.relays.query(&filters, MOST, PATIENCE) => found,
        };
        let looked_at = found.len();
        let most = usize::try_from(params.u64("max_results").unwrap_or(USUAL)).unwrap_or(usize::MAX);
        let hits = self.answer(&query, found, most);
        let content = if work.output.first().is_some_and(|mime| mime == "text/plain") {
            lines(&hits)
        } else {
            json!(hits).to_string()
        };
        Ok(Output::text(content, usage(NAME, looked_at, hits.len(), started)))
    }
}

/// As lines that clients link: `nostr:note1…`, `nostr:npub1…`.
fn lines(hits: &[Vec<String>]) -> String {
    use nostr::nips::nip19::ToBech32;
    let line = |hit: &Vec<String>| {
        let value = hit.get(1)?;
        let name = if hit.first()? == "p" {
            PublicKey::parse(value).ok()?.to_bech32().ok()
        } else {
            nostr::EventId::parse(value).ok()?.to_bech32().ok()
        };
        Some(format!("nostr:{}", name?))
    };
    hits.iter().filter_map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]
    use nostr::Keys;

    use super::*;

    fn event(keys: &Keys, kind: u16, content: &str, at: u64) -> Verified {
        Verified::sign(keys, kind, Vec::new(), content.into(), at)
    }

    fn search(kind: u16) -> Search {
        Search::new(JobKind::try_from(kind).unwrap(), Relays::new(Vec::new(), None))
    }

    #[test]
    fn every_word_has_to_occur_and_the_best_match_comes_first() {
        let keys = Keys::generate();
        let events = vec![
            event(&keys, 1, "Lightning pays", 5),
            event(&keys, 1, "lightning and NOSTR", 1),
            event(&keys, 1, "nostr, lightning, nostr", 2),
            event(&keys, 1, "nostr over lightning", 3),
        ];
        let ids: Vec<String> = events.iter().map(|event| event.event().id.to_hex()).collect();
        let query = Query::read(&["Nostr".into(), "lightning".into()]).unwrap();
        let hits = search(5302).answer(&query, events, 2);
        assert_eq!(hits, [["e", ids[2].as_str()], ["e", ids[3].as_str()]]);
        assert!(lines(&hits).starts_with("nostr:note1"));
        assert!(Query::read(&[" \n".into()]).is_err());
    }

    #[test]
    fn people_are_found_by_what_they_say_of_themselves_now() {
        let (ann, bob) = (Keys::generate(), Keys::generate());
        let events = vec![
            event(&ann, 0, r#"{"name":"ann","about":"baker"}"#, 1),
            event(&ann, 0, r#"{"name":"ann","about":"miller"}"#, 2),
            event(&bob, 0, r#"{"name":"bob","about":"baker"}"#, 1),
        ];
        let hits = search(5303).answer(&Query::read(&["baker".into()]).unwrap(), events, 9);
        assert_eq!(hits, [["p", bob.public_key().to_hex().as_str()]]);
        assert!(lines(&hits).starts_with("nostr:npub1"));
    }
}
