//! Signing and reading events as cheaply as the library allows.

use nostr::{Event, EventId, JsonUtil, Keys, Kind, Tag, Tags, Timestamp, secp256k1::Message};

/// Signs once; the library's own builder hashes twice and verifies what it signed.
pub(crate) fn sign(keys: &Keys, kind: u16, tags: Vec<Tag>, content: String) -> Event {
    let kind = Kind::from(kind);
    let at = Timestamp::now();
    let tags = Tags::from_list(tags);
    let id = EventId::new(&keys.public_key(), &at, &kind, &tags, &content);
    let signature = keys.sign_schnorr(&Message::from_digest(id.to_bytes()));
    Event::new(id, keys.public_key(), at, kind, tags, content, signature)
}

/// Reads and verifies.
pub(crate) fn read(json: &str) -> Option<Event> {
    let event = Event::from_json(json).ok()?;
    event.verify().ok()?;
    Some(event)
}

/// The event inside `["EVENT", …]`: from the client `["EVENT",{…}]`, from a relay `["EVENT","sub",{…}]`.
pub(crate) fn body(frame: &str) -> Option<&str> {
    if !frame.starts_with("[\"EVENT\"") {
        return None;
    }
    let start = frame.find('{')?;
    let end = frame.rfind('}')?;
    frame.get(start..=end)
}

pub(crate) fn tag<const N: usize>(parts: [&str; N]) -> Tag {
    #[expect(clippy::expect_used, reason = "a tag with a name is always a tag")]
    Tag::parse(parts).expect("a tag has a name")
}

pub(crate) fn frame(event: &Event) -> String {
    format!("[\"EVENT\",{}]", event.as_json())
}
