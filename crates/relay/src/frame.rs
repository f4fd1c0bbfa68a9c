//! The frames of NIP-01, NIP-42 and NIP-45, both ways. An event inside a frame stays raw text here;
//! only `openagents_protocol::ingress` looks into it.

use nostr::Filter;
use openagents_types::EventId;
use serde_json::value::RawValue;

use crate::{SubId, SubIdError};

/// Most elements that are read of one frame: a REQ with more filters is refused anyway.
const MOST_PARTS: usize = 1024;

/// What a client says to a relay.
#[derive(Debug)]
pub(crate) enum ClientFrame<'a> {
    /// Store and pass on this event.
    Event(&'a str),
    /// Send what matches, now and later.
    Req(SubId, Vec<Filter>),
    /// Tell how many match (NIP-45).
    Count(SubId, Vec<Filter>),
    /// End a subscription.
    Close(SubId),
    /// This event proves who I am (NIP-42).
    Auth(&'a str),
}

/// What a relay says to a client.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum RelayFrame<'a> {
    /// An event for a subscription.
    Event { sub: String, event: &'a str },
    /// An answer to a published event.
    Ok { id: EventId, accepted: bool, message: String },
    /// All stored events were sent.
    Eose(String),
    /// The subscription has ended.
    Closed { sub: String, reason: String },
    /// Words for a person.
    Notice(String),
    /// Prove who you are (NIP-42).
    Auth(String),
}

/// Why a frame could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("the frame is not a JSON array: {0}")]
    Json(#[from] serde_json::Error),
    #[error("the frame is no message that NIP-01 knows")]
    Unknown,
    #[error(transparent)]
    Sub(#[from] SubIdError),
    #[error("a frame has at most {MOST_PARTS} elements, this one has {0}")]
    TooLong(usize),
    /// The subscription is known but its filters cannot be read.
    #[error("a filter cannot be read: {reason}")]
    Filter { sub: SubId, reason: serde_json::Error },
}

fn split(text: &str) -> Result<Vec<&RawValue>, FrameError> {
    let parts: Vec<&RawValue> = serde_json::from_str(text)?;
    if parts.len() > MOST_PARTS { Err(FrameError::TooLong(parts.len())) } else { Ok(parts) }
}

fn string(part: &RawValue) -> Result<String, FrameError> {
    Ok(serde_json::from_str(part.get())?)
}

fn sub(part: &RawValue) -> Result<SubId, FrameError> {
    Ok(SubId::parse(&string(part)?)?)
}

fn filters(sub: &SubId, parts: &[&RawValue]) -> Result<Vec<Filter>, FrameError> {
    let read = |part: &&RawValue| serde_json::from_str(part.get());
    let filters: Result<_, _> = parts.iter().map(read).collect();
    filters.map_err(|reason| FrameError::Filter { sub: sub.clone(), reason })
}

impl<'a> ClientFrame<'a> {
    /// Reads one frame.
    pub(crate) fn parse(text: &'a str) -> Result<Self, FrameError> {
        let parts = split(text)?;
        let label = parts.first().map_or("", |part| part.get());
        match (label, &parts[parts.len().min(1)..]) {
            ("\"EVENT\"", [event]) => Ok(Self::Event(event.get())),
            ("\"REQ\"", [name, rest @ ..]) => {
                sub(name).and_then(|id| Ok(Self::Req(id.clone(), filters(&id, rest)?)))
            }
            ("\"COUNT\"", [name, rest @ ..]) => {
                sub(name).and_then(|id| Ok(Self::Count(id.clone(), filters(&id, rest)?)))
            }
            ("\"CLOSE\"", [name]) => Ok(Self::Close(sub(name)?)),
            ("\"AUTH\"", [event]) => Ok(Self::Auth(event.get())),
            _ => Err(FrameError::Unknown),
        }
    }
}

impl<'a> RelayFrame<'a> {
    /// Reads one frame.
    pub(crate) fn parse(text: &'a str) -> Result<Self, FrameError> {
        let parts = split(text)?;
        let label = parts.first().map_or("", |part| part.get());
        match (label, &parts[parts.len().min(1)..]) {
            ("\"EVENT\"", [sub, event, ..]) => Ok(Self::Event { sub: string(sub)?, event: event.get() }),
            ("\"OK\"", [id, accepted, rest @ ..]) => Self::ok(id, accepted, rest.first().copied()),
            ("\"EOSE\"", [sub, ..]) => Ok(Self::Eose(string(sub)?)),
            ("\"CLOSED\"", [sub, rest @ ..]) => {
                let reason = rest.first().map_or(Ok(String::new()), |part| string(part))?;
                Ok(Self::Closed { sub: string(sub)?, reason })
            }
            ("\"NOTICE\"", [message, ..]) => Ok(Self::Notice(string(message)?)),
            ("\"AUTH\"", [challenge]) => Ok(Self::Auth(string(challenge)?)),
            _ => Err(FrameError::Unknown),
        }
    }

    fn ok(id: &RawValue, accepted: &RawValue, message: Option<&RawValue>) -> Result<Self, FrameError> {
        let id = string(id)?.parse().map_err(|_| FrameError::Unknown)?;
        let message = message.map_or(Ok(String::new()), string)?;
        Ok(Self::Ok { id, accepted: serde_json::from_str(accepted.get())?, message })
    }
}

/// The id an event claims, without looking at the rest. Only good for skipping what was seen.
pub(crate) fn claimed_id(event: &str) -> Option<EventId> {
    #[derive(serde::Deserialize)]
    struct Claim {
        id: EventId,
    }
    serde_json::from_str::<Claim>(event).ok().map(|claim| claim.id)
}

/// Writes `text` as a JSON string.
fn quote(out: &mut String, text: &str) {
    if text.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\') {
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else {
        out.push_str(&serde_json::Value::from(text).to_string());
    }
}

/// `["EVENT",<sub>,<event>]`
pub(crate) fn event_for(sub: &SubId, event: &str) -> String {
    let mut out = String::with_capacity(event.len() + sub.as_str().len() + 16);
    out.push_str("[\"EVENT\",");
    quote(&mut out, sub.as_str());
    out.push(',');
    out.push_str(event);
    out.push(']');
    out
}

/// `["EVENT",<event>]` or `["AUTH",<event>]`, as `label` says.
pub(crate) fn carrying(label: &str, event: &str) -> String {
    let mut out = String::with_capacity(event.len() + label.len() + 5);
    quote_label(&mut out, label);
    out.push_str(event);
    out.push(']');
    out
}

fn quote_label(out: &mut String, label: &str) {
    out.push_str("[\"");
    out.push_str(label);
    out.push_str("\",");
}

/// `[<label>,<texts>…]`, for CLOSE, EOSE, CLOSED, NOTICE and AUTH challenges.
pub(crate) fn words(label: &str, texts: &[&str]) -> String {
    let mut out = String::from("[\"");
    out.push_str(label);
    out.push('"');
    for text in texts {
        out.push(',');
        quote(&mut out, text);
    }
    out.push(']');
    out
}

/// `["REQ",<sub>,<filters>…]`
pub(crate) fn req(sub: &SubId, filters: &[Filter]) -> String {
    let mut out = String::from("[\"REQ\",");
    quote(&mut out, sub.as_str());
    for filter in filters {
        out.push(',');
        out.push_str(&serde_json::to_string(filter).expect("a filter has only string keys"));
    }
    out.push(']');
    out
}

/// `["OK",<id>,<accepted>,<message>]`
pub(crate) fn ok(id: EventId, accepted: bool, message: &str) -> String {
    let mut out = format!("[\"OK\",\"{id}\",{accepted},");
    quote(&mut out, message);
    out.push(']');
    out
}

/// `["COUNT",<sub>,{"count":<count>}]`
pub(crate) fn count(sub: &SubId, count: usize) -> String {
    let mut out = String::from("[\"COUNT\",");
    quote(&mut out, sub.as_str());
    out.push_str(&format!(",{{\"count\":{count}}}]"));
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;

    #[test]
    fn what_a_relay_writes_a_client_reads() {
        let sub = SubId::parse("a\"b\\c\n").unwrap();
        let id = EventId::from_bytes([3; 32]);
        let event = RelayFrame::Event { sub: sub.as_str().into(), event: "{\"id\":1}" };
        assert_eq!(RelayFrame::parse(&event_for(&sub, "{\"id\":1}")).unwrap(), event);
        let answer = RelayFrame::Ok { id, accepted: true, message: "x\"y".into() };
        assert_eq!(RelayFrame::parse(&ok(id, true, "x\"y")).unwrap(), answer);
        let eose = words("EOSE", &[sub.as_str()]);
        assert_eq!(RelayFrame::parse(&eose).unwrap(), RelayFrame::Eose(sub.as_str().into()));
    }

    #[test]
    fn what_a_client_writes_a_relay_reads() {
        let sub = SubId::named("jobs");
        let filter = Filter::new().kind(nostr::Kind::from_u16(5050)).limit(3);
        match ClientFrame::parse(&req(&sub, std::slice::from_ref(&filter))).unwrap() {
            ClientFrame::Req(id, filters) => assert_eq!((id, filters), (sub, vec![filter])),
            other => panic!("{other:?}"),
        }
        assert!(matches!(ClientFrame::parse(&carrying("EVENT", "{}")).unwrap(), ClientFrame::Event("{}")));
    }

    #[test]
    fn junk_is_refused_and_never_panics() {
        let deep = "[".repeat(100_000);
        let wide = format!("[{}0]", "0,".repeat(5000));
        let junk = ["", "[]", "{}", "[1]", "[\"REQ\"]", "[\"OK\",\"zz\",true]", "null", &deep, &wide];
        for text in junk {
            assert!(ClientFrame::parse(text).is_err(), "{text:.20} was read");
            assert!(RelayFrame::parse(text).is_err(), "{text:.20} was read");
        }
    }
}
