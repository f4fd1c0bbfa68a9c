//! Event count (kind 5400): how many events on the node's own relays match, in all or by group.
//!
//! Relays know the node by its key, and may show it what they show nobody else. So events for one reader are never
//! counted: their number is nobody's business but that reader's.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use nostr::{Alphabet, Event, SingleLetterTag, Timestamp};
use openagents_backend::{Backend, BackendError, Health, Output, Rejection, Work};
use openagents_protocol::Verified;
use openagents_relay::Filter;
use openagents_types::{EventId, JobKind, Param};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{check_relays, read, sized, texts, usage};
use crate::relays::Relays;

/// How many events are counted, at most. More is said to be too many, never a smaller number.
const MOST: usize = 5_000;

/// What a relay is asked for at once. Many give no more whatever they are asked for, and do not say so.
const PAGE: usize = 500;

/// So many events of one second may be all that a relay gives of it, and what lies behind cannot be asked for.
const DENSE: usize = 100;

/// How long relays have to answer a page.
const PATIENCE: Duration = Duration::from_secs(10);

/// Filters of one job, at most.
const MOST_FILTERS: usize = 8;

/// Kinds of events that are for one reader: messages (NIP-04, NIP-17), their wrappings (NIP-59), the records of wallets
/// (NIP-60) and what passes between a wallet or a signer and its users (NIP-46, NIP-47).
const FOR_ONE_READER: [u16; 15] =
    [4, 13, 14, 15, 1059, 1060, 7374, 7375, 7376, 21_059, 23_194, 23_195, 23_196, 23_197, 24_133];

/// How deep groups nest.
const DEEPEST: usize = 3;

pub(super) const NAME: &str = "relay-count";

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Count {
    relays: Relays,
}

impl Count {
    pub(super) const fn new(relays: Relays) -> Self {
        Self { relays }
    }
}

/// What is counted: the filters that the inputs are, or whatever carries one of the values as a hashtag.
fn filters(texts: &[String]) -> Result<Vec<Filter>, BackendError> {
    let (mut filters, mut tags) = (Vec::new(), Vec::new());
    for text in texts.iter().map(|text| text.trim()).filter(|text| !text.is_empty()) {
        if text.starts_with(['{', '[']) {
            let value: Value = serde_json::from_str(text).map_err(|error| no_filter(&error))?;
            let values = value.as_array().cloned().unwrap_or_else(|| vec![value]);
            for value in values {
                let filter: Filter = serde_json::from_value(value).map_err(|error| no_filter(&error))?;
                filters.push(filter);
            }
        } else {
            tags.push(text.trim_start_matches('#').to_lowercase());
        }
    }
    if !tags.is_empty() {
        filters.push(Filter::new().custom_tags(SingleLetterTag::lowercase(Alphabet::T), tags));
    }
    if filters.is_empty() {
        return Err(BackendError::BadInput("there is nothing to count: send a filter or a hashtag".into()));
    }
    if filters.len() > MOST_FILTERS {
        return Err(BackendError::BadInput(format!(
            "more than {MOST_FILTERS} filters are not counted at once"
        )));
    }
    if filters.iter().any(|filter| filter.search.is_some()) {
        return Err(BackendError::BadInput("what a search finds is not counted; leave `search` out".into()));
    }
    let mut kinds = filters.iter().filter_map(|filter| filter.kinds.as_ref()).flatten();
    if let Some(private) = kinds.find(|kind| FOR_ONE_READER.contains(&kind.as_u16())) {
        return Err(BackendError::BadInput(format!(
            "events of kind {private} are for one reader each and are not counted"
        )));
    }
    // A limit of the customer's would make a count of a page.
    Ok(filters.into_iter().map(|filter| Filter { limit: Some(PAGE), ..filter }).collect())
}

fn no_filter(error: &serde_json::Error) -> BackendError {
    BackendError::BadInput(format!("the input is no filter (NIP-01): {error}"))
}

/// Where the next page begins, at its newest; `None` after the last.
fn next_page(page: &[Verified], until: Option<Timestamp>) -> Result<Option<Timestamp>, BackendError> {
    let Some(oldest) = page.iter().map(|event| event.event().created_at).min() else { return Ok(None) };
    // More of the oldest second may not have been on the page.
    if until != Some(oldest) {
        return Ok(Some(oldest));
    }
    if page.len() >= DENSE {
        return Err(BackendError::BadInput(format!(
            "{DENSE} events or more of one second match, more than relays surely give; ask for fewer"
        )));
    }
    Ok(oldest.as_secs().checked_sub(1).map(Timestamp::from_secs))
}

/// All that match on any relay. A number without those of a relay that is silent would be a wrong one.
async fn all(relays: &Relays, filters: &[Filter]) -> Result<Vec<Verified>, BackendError> {
    let mut found: HashMap<EventId, Verified> = HashMap::new();
    for relay in relays.connected() {
        for filter in filters {
            let mut until = filter.until;
            loop {
                let asked = Filter { until, ..filter.clone() };
                let page = relays.page(&relay, asked, PATIENCE).await.ok_or_else(|| {
                    BackendError::Protocol("a relay did not answer, so nothing was counted".into())
                })?;
                let next = next_page(&page, until)?;
                let public = page.into_iter().filter(is_public);
                found.extend(public.map(|event| (event.id(), event)));
                if found.len() > MOST {
                    return Err(BackendError::BadInput(format!(
                        "more than {MOST} events match; ask for fewer"
                    )));
                }
                match next {
                    Some(next) if until.is_none_or(|until| next <= until) => until = Some(next),
                    _ => break,
                }
            }
        }
    }
    Ok(found.into_values().collect())
}

/// Whether a filter that names no kind may count it. NIP-70 marks what only its author may spread.
fn is_public(event: &Verified) -> bool {
    let event = event.event();
    !FOR_ONE_READER.contains(&event.kind.as_u16()) && !event.tags.iter().any(|tag| tag.as_slice() == ["-"])
}

/// What an event belongs to in a group.
fn group_of(event: &Event, group: &str) -> String {
    let tag = |name: &str, marker: Option<&str>| {
        let mut tags = event.tags.iter().map(nostr::Tag::as_slice);
        let found = tags.find(|tag| {
            tag.first().is_some_and(|first| first == name)
                && marker.is_none_or(|marker| tag.get(3).is_some_and(|it| it == marker))
        });
        found.and_then(|tag| tag.get(1)).cloned().unwrap_or_default()
    };
    match group {
        "content" => event.content.chars().take(256).collect(),
        "pubkey" => event.pubkey.to_hex(),
        "reply" => tag("e", Some("reply")),
        "root" => tag("e", Some("root")),
        name => tag(name, None),
    }
}

/// The number of events, or numbers by group, groups within groups.
fn counted(events: &[&Verified], groups: &[&str]) -> Value {
    let Some((group, rest)) = groups.split_first() else { return json!(events.len()) };
    let mut by: BTreeMap<String, Vec<&Verified>> = BTreeMap::new();
    for event in events {
        by.entry(group_of(event.event(), group)).or_default().push(event);
    }
    by.into_iter()
        .map(|(name, events)| (name, counted(&events, rest)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

#[async_trait]
impl Backend for Count {
    fn name(&self) -> &'static str {
        NAME
    }

    fn kinds(&self) -> Vec<JobKind> {
        JobKind::try_from(5400).into_iter().collect()
    }

    async fn probe(&self) -> Health {
        Health::Ready
    }

    fn makes(&self, _: JobKind) -> Vec<String> {
        ["application/json", "text/plain"].map(String::from).to_vec()
    }

    fn check(&self, _: JobKind, params: &[Param], input_bytes: u64) -> Result<(), Rejection> {
        sized(input_bytes, 1)?;
        check_relays(&self.relays, params, "relay")?;
        let groups = super::values(params, "group").count();
        if groups > DEEPEST {
            return Err(super::bad_param("group", &groups.to_string(), format!("at most {DEEPEST} groups")));
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
        let params = read(&work)?;
        let filters = filters(&texts(&work)?)?;
        let found = tokio::select! {
            biased;
            () = stop.cancelled() => return Err(BackendError::Cancelled),
            found = all(&self.relays, &filters) => found?,
        };
        let content = counted(&found.iter().collect::<Vec<_>>(), &params.list("group")).to_string();
        Ok(Output::text(content, usage(NAME, found.len(), found.len(), started)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]
    use nostr::{Keys, Tag};

    use super::*;

    #[test]
    fn values_are_hashtags_and_json_is_a_filter() {
        let read = |texts: &[&str]| filters(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        let found = read(&["#Nostr", "bitcoin"]).unwrap();
        let expected = Filter::new()
            .custom_tags(SingleLetterTag::lowercase(Alphabet::T), ["nostr", "bitcoin"])
            .limit(PAGE);
        assert_eq!(found, [expected]);
        assert_eq!(read(&[r#"[{"kinds":[1],"limit":3},{"kinds":[7]}]"#]).unwrap().len(), 2);
        for bad in [
            &[" "][..],
            &["{\"kinds\":\"x\"}"],
            &["[1"],
            &["[{},{},{},{},{},{},{},{},{}]"],
            &["{\"search\":\"x\"}"],
            &["{\"kinds\":[1,1059]}"],
        ] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_is_for_one_reader_is_not_counted() {
        let sign = |kind: u16, tags: Vec<Tag>| Verified::sign(&Keys::generate(), kind, tags, "x".into(), 1);
        assert!(is_public(&sign(1, Vec::new())));
        assert!(!is_public(&sign(1059, Vec::new())));
        assert!(!is_public(&sign(1, vec![Tag::parse(["-"]).unwrap()])));
    }

    #[test]
    fn pages_follow_each_other_and_end() {
        let page = |times: &[u64]| {
            let sign = |at: &u64| Verified::sign(&Keys::generate(), 1, Vec::new(), String::new(), *at);
            times.iter().map(sign).collect::<Vec<_>>()
        };
        let at = |at: u64| Some(Timestamp::from_secs(at));
        assert_eq!(next_page(&[], at(9)), Ok(None));
        assert_eq!(next_page(&page(&[9, 8, 7]), None), Ok(at(7)));
        assert_eq!(next_page(&page(&[7]), at(7)), Ok(at(6)));
        assert_eq!(next_page(&page(&[0]), at(0)), Ok(None));
        assert!(next_page(&page(&[7; DENSE]), at(7)).unwrap_err().to_string().contains("one second"));
    }

    #[test]
    fn events_are_counted_by_group_within_group() {
        let keys = [Keys::generate(), Keys::generate()];
        let sign = |by: usize, content: &str| {
            let tags = vec![Tag::parse(["e", "x", "", "root"]).unwrap()];
            Verified::sign(&keys[by], 7, tags, content.into(), 1)
        };
        let events = [sign(0, "+"), sign(1, "+"), sign(1, "-")];
        let events: Vec<&Verified> = events.iter().collect();
        assert_eq!(counted(&events, &[]), json!(3));
        assert_eq!(counted(&events, &["content"]), json!({ "+": 2, "-": 1 }));
        assert_eq!(counted(&events, &["root"]), json!({ "x": 3 }));
        let nested = counted(&events, &["content", "pubkey"]);
        assert_eq!(nested["-"], json!({ keys[1].public_key().to_hex(): 1 }));
    }
}
