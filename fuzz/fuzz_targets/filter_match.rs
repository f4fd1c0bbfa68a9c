//! Which events a filter means: the same as a plain reading of NIP-01, and found by every index.
#![no_main]
#![allow(dead_code, reason = "a whole file of the relay")]

#[path = "../../crates/relay/src/matching.rs"]
mod matching;

use libfuzzer_sys::{
    arbitrary::{Arbitrary, Result, Unstructured},
    fuzz_target,
};
use nostr::{Event, EventId, Filter, Kind, Tag, Tags, Timestamp, secp256k1::schnorr::Signature};
use openagents_fuzz::keys;
use serde_json::{Map, Value, json};

/// Few values, so that filters and events meet.
const IDS: [&str; 2] = ["0101010101010101010101010101010101010101010101010101010101010101", "ab"];
const NAMES: [&str; 6] = ["e", "p", "i", "E", "é", "status"];
const VALUES: [&str; 5] =
    ["", "a", "b", "0101010101010101010101010101010101010101010101010101010101010101", "x"];

#[derive(Debug)]
struct Case {
    event: Event,
    filter: Value,
}

fn some<'a>(u: &mut Unstructured<'a>, from: &[&str]) -> Result<String> {
    let text = *u.choose(from)?;
    Ok(if text == "x" { "x".repeat(usize::from(u.arbitrary::<u8>()?)) } else { text.to_owned() })
}

fn list(
    u: &mut Unstructured<'_>,
    mut one: impl FnMut(&mut Unstructured<'_>) -> Result<Value>,
) -> Result<Value> {
    let count = u.int_in_range(0..=3)?;
    (0..count).map(|_| one(u)).collect::<Result<Vec<_>>>().map(Value::Array)
}

impl<'a> Arbitrary<'a> for Case {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let authors = [keys(1).public_key(), keys(2).public_key()];
        let count = u.int_in_range(0..=4)?;
        let mut tags = Vec::new();
        for _ in 0..count {
            let mut tag = vec![some(u, &NAMES)?];
            for _ in 0..u.int_in_range(0..=2)? {
                tag.push(some(u, &VALUES)?);
            }
            tags.extend(Tag::parse(tag));
        }
        let event = Event::new(
            EventId::from_byte_array([u.int_in_range(1..=2)?; 32]),
            *u.choose(&authors)?,
            Timestamp::from(u.int_in_range(0..=4_u64)?),
            Kind::from(u.int_in_range(0..=3_u16)?),
            Tags::from_list(tags),
            "",
            Signature::from_slice(&[0; 64]).expect("64 bytes"),
        );
        let mut filter = Map::new();
        for _ in 0..u.int_in_range(0..=4)? {
            let (name, value) = match u.int_in_range(0..=7_u8)? {
                0 => ("ids".to_owned(), list(u, |u| Ok(json!(u.choose(&IDS[..1])?)))?),
                1 => ("authors".into(), list(u, |u| Ok(json!(u.choose(&authors)?.to_hex())))?),
                2 => ("kinds".into(), list(u, |u| Ok(json!(u.int_in_range(0..=3)?)))?),
                3 => ("since".into(), json!(u.int_in_range(0..=4)?)),
                4 => ("until".into(), json!(u.int_in_range(0..=4)?)),
                _ => (format!("#{}", some(u, &NAMES)?), list(u, |u| Ok(json!(some(u, &VALUES)?)))?),
            };
            filter.insert(name, value);
        }
        Ok(Self { event, filter: Value::Object(filter) })
    }
}

/// NIP-01, read plainly. Of tag names only single letters of the English alphabet are filters.
fn means(filter: &Value, event: &Value) -> bool {
    let among = |list: &Value, value: &Value| list.as_array().is_some_and(|list| list.contains(value));
    filter.as_object().into_iter().flatten().all(|(name, wanted)| match name.as_str() {
        "ids" => among(wanted, &event["id"]),
        "authors" => among(wanted, &event["pubkey"]),
        "kinds" => among(wanted, &event["kind"]),
        "since" => event["created_at"].as_u64() >= wanted.as_u64(),
        "until" => event["created_at"].as_u64() <= wanted.as_u64(),
        _ => match name.strip_prefix('#') {
            Some(letter) if letter.len() == 1 && letter.as_bytes()[0].is_ascii_alphabetic() => event["tags"]
                .as_array()
                .into_iter()
                .flatten()
                .any(|tag| tag[0] == letter && among(wanted, &tag[1])),
            _ => true,
        },
    })
}

fuzz_target!(|case: Case| {
    let Ok(filter) = serde_json::from_value::<Filter>(case.filter.clone()) else { return };
    let event = serde_json::to_value(&case.event).expect("an event is JSON");
    let found = matching::matches(&filter, &case.event);
    assert_eq!(found, means(&case.filter, &event), "{} {event}", case.filter);
    if found {
        let index = matching::Keys::default();
        let mut own = index.of_event(&case.event);
        own.push(index.id(case.event.id.as_bytes()));
        for way in index.of_filter(&filter) {
            assert!(way.iter().any(|key| own.contains(key)), "{} does not lead to {event}", case.filter);
        }
    }
});
