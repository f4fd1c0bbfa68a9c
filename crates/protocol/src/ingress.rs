//! The one gate: nothing downstream sees an event that did not pass here.
//!
//! Size, depth and tags are bounded before anything is parsed or hashed; then id and signature are
//! checked by ourselves, because libraries have called unverified events "verified" before.

use std::sync::Arc;

use nostr::{
    Event, EventId as NostrId, JsonUtil, Keys, Kind, Tag, Tags, Timestamp as Seconds, secp256k1::Message,
};
use openagents_types::EventId;

use crate::tags;

/// What an event may look like.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The whole event as JSON, in bytes.
    pub event_bytes: usize,
    /// How many tags.
    pub tags: usize,
    /// One value of an ordinary tag, in bytes.
    pub value_bytes: usize,
    /// One value of a tag that carries a payload (`i`, `request`, `description`, …), in bytes.
    pub input_bytes: usize,
    /// How deep JSON may nest.
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { event_bytes: 64 << 10, tags: 200, value_bytes: 1 << 10, input_bytes: 48 << 10, depth: 16 }
    }
}

/// An event whose id and signature were checked here. Clones share it.
#[derive(Clone, Debug)]
pub struct Verified(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    event: Event,
    json: Arc<str>,
}

/// Why an event was turned away.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IngressError {
    /// Larger than allowed.
    #[error("the event has {0} bytes, more than are taken")]
    TooLarge(usize),
    /// Nested too deep.
    #[error("the event's JSON nests too deep")]
    TooDeep,
    /// Not an event.
    #[error("not a Nostr event: {0}")]
    Malformed(String),
    /// Too many tags.
    #[error("the event has {0} tags, more than are taken")]
    TooManyTags(usize),
    /// A tag value is too long.
    #[error("a value of tag {0:?} is too long")]
    LongValue(String),
    /// The id is not the hash of the event, or the signature is not its author's.
    #[error("the event's id or signature is wrong")]
    Forged,
}

/// Checks an event as it came from a socket.
///
/// # Errors
/// It is too large, malformed or forged.
pub fn accept(json: &str, limits: &Limits) -> Result<Verified, IngressError> {
    if json.len() > limits.event_bytes {
        return Err(IngressError::TooLarge(json.len()));
    }
    if too_deep(json, limits.depth) {
        return Err(IngressError::TooDeep);
    }
    let event = Event::from_json(json).map_err(|error| IngressError::Malformed(short(&error.to_string())))?;
    check_tags(&event, limits)?;
    event.verify().map_err(|_| IngressError::Forged)?;
    Ok(Verified::new(event))
}

pub(crate) fn check_tags(event: &Event, limits: &Limits) -> Result<(), IngressError> {
    if event.tags.len() > limits.tags {
        return Err(IngressError::TooManyTags(event.tags.len()));
    }
    for tag in event.tags.iter().map(Tag::as_slice) {
        let name = tag.first().map_or("", String::as_str);
        let most = if tags::carries_payload(name) { limits.input_bytes } else { limits.value_bytes };
        if tag.iter().any(|value| value.len() > most) {
            return Err(IngressError::LongValue(short(name)));
        }
    }
    Ok(())
}

/// Whether brackets nest deeper than `most`, found without parsing.
fn too_deep(json: &str, most: usize) -> bool {
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'{' | b'[' if !in_text => {
                depth += 1;
                if depth > most {
                    return true;
                }
            }
            b'}' | b']' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

fn short(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(80).collect()
}

impl Verified {
    fn new(event: Event) -> Self {
        let json = event.as_json().into();
        Self(Arc::new(Inner { event, json }))
    }

    /// Signs an event of our own, once. What we signed needs no checking.
    pub fn sign(keys: &Keys, kind: u16, tags: Vec<Tag>, content: String, created_at_secs: u64) -> Self {
        let (kind, at, tags) = (Kind::from(kind), Seconds::from(created_at_secs), Tags::from_list(tags));
        // The library's builder hashes twice and verifies what it has just signed.
        let id = NostrId::new(&keys.public_key(), &at, &kind, &tags, &content);
        let signature = keys.sign_schnorr(&Message::from_digest(id.to_bytes()));
        Self::new(Event::new(id, keys.public_key(), at, kind, tags, content, signature))
    }

    /// The event.
    pub fn event(&self) -> &Event {
        &self.0.event
    }

    /// The event as JSON, the seven fields in NIP-01's order.
    pub fn json(&self) -> &str {
        &self.0.json
    }

    /// The same, to keep: one copy for all who do.
    pub fn shared_json(&self) -> Arc<str> {
        self.0.json.clone()
    }

    /// Its id.
    pub fn id(&self) -> EventId {
        EventId::from_bytes(self.0.event.id.to_bytes())
    }
}
