//! The one gate (N1, N5, N6): what passes is within the limits, verifies, and passes again.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use nostr::{JsonUtil, Tag};
use openagents_fuzz::{NOW, keys};
use openagents_protocol::{Limits, Verified, accept};
use serde_json::Value;

static SIGNED: LazyLock<Verified> = LazyLock::new(|| {
    let tags = [vec!["i", "a text", "text"], vec!["bid", "1000"], vec!["relays", "wss://relay.example"]];
    let tags = tags.into_iter().map(|tag| Tag::parse(tag).expect("it has a name")).collect();
    Verified::sign(&keys(1), 5001, tags, "some content".into(), NOW.secs())
});

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn check(json: &str) -> Option<Verified> {
    let limits = Limits::default();
    let event = accept(json, &limits).ok()?;
    assert!(json.len() <= limits.event_bytes);
    assert!(event.event().verify().is_ok(), "a forged event passed");
    assert!(event.event().tags.len() <= limits.tags);
    assert!(event.event().tags.iter().flat_map(|tag| tag.as_slice()).all(|v| v.len() <= limits.input_bytes));
    if let Ok(value) = serde_json::from_str(json) {
        assert!(depth(&value) <= limits.depth, "a deep event passed");
    }
    let again = nostr::Event::from_json(event.json()).expect("what we write is an event");
    assert_eq!(&again, event.event());
    Some(event)
}

/// A signed event with bytes replaced: it passes only if it still says the same.
fn altered(edits: &[u8]) {
    let mut json = SIGNED.json().as_bytes().to_vec();
    for edit in edits.chunks_exact(3) {
        let at = usize::from(u16::from_le_bytes([edit[0], edit[1]])) % json.len();
        json[at] = edit[2];
    }
    if let Some(event) = std::str::from_utf8(&json).ok().and_then(check) {
        assert_eq!(event.event(), SIGNED.event(), "an altered event passed");
    }
}

fuzz_target!(|data: &[u8]| {
    match data.split_first() {
        Some((0, edits)) => altered(edits),
        _ => drop(std::str::from_utf8(data).ok().and_then(check)),
    }
});
