//! Frames both ways: what is read can be written and reads as the same; what is too long is refused.
#![no_main]
#![allow(dead_code, reason = "whole files of the relay, of which the reading is fuzzed")]

#[path = "../../crates/relay/src/frame.rs"]
mod frame;
#[path = "../../crates/relay/src/sub.rs"]
mod sub;
#[path = "../../crates/relay/src/text.rs"]
mod text;
#[path = "../../crates/relay/src/url.rs"]
mod url;

use frame::{ClientFrame, RelayFrame};
use libfuzzer_sys::fuzz_target;
use sub::{SubId, SubIdError};

/// The most elements of a frame that are read.
const MOST_PARTS: usize = 1024;

fn client(frame: &ClientFrame<'_>) {
    let written = match frame {
        ClientFrame::Event(event) => frame::carrying("EVENT", event),
        ClientFrame::Auth(event) => frame::carrying("AUTH", event),
        ClientFrame::Req(sub, filters) => frame::req(sub, filters),
        ClientFrame::Count(sub, _) => frame::count(sub, 1),
        ClientFrame::Close(sub) => frame::words("CLOSE", &[sub.as_str()]),
    };
    match (frame, ClientFrame::parse(&written)) {
        (ClientFrame::Event(a), Ok(ClientFrame::Event(b)))
        | (ClientFrame::Auth(a), Ok(ClientFrame::Auth(b))) => assert_eq!(*a, b),
        (ClientFrame::Req(a, filters), Ok(ClientFrame::Req(b, read))) => {
            assert_eq!((a, filters), (&b, &read));
        }
        (ClientFrame::Close(a), Ok(ClientFrame::Close(b))) => assert_eq!(*a, b),
        // What answers a COUNT looks like one with a filter of no known field, or is refused.
        (ClientFrame::Count(a, _), Ok(ClientFrame::Count(b, _))) => assert_eq!(*a, b),
        (ClientFrame::Count(..), Err(_)) => {}
        (_, read) => panic!("{written} reads as {read:?}"),
    }
}

fn relay(frame: &RelayFrame<'_>) {
    let written = match frame {
        RelayFrame::Event { sub, event } => match SubId::parse(sub) {
            Ok(sub) => frame::event_for(&sub, event),
            Err(_) => return,
        },
        RelayFrame::Ok { id, accepted, message } => frame::ok(*id, *accepted, message),
        RelayFrame::Eose(sub) => frame::words("EOSE", &[sub]),
        RelayFrame::Closed { sub, reason } => frame::words("CLOSED", &[sub, reason]),
        RelayFrame::Notice(message) => frame::words("NOTICE", &[message]),
        RelayFrame::Auth(challenge) => frame::words("AUTH", &[challenge]),
    };
    assert_eq!(RelayFrame::parse(&written).expect("what is written is read"), *frame, "{written}");
}

fn address(text: &str) {
    if let Ok(address) = url::RelayUrl::parse(text) {
        assert_eq!(url::RelayUrl::parse(address.as_str()).expect("one spelling"), address);
        assert!(address.authority().is_some(), "{address} cannot be dialled");
        assert!(address.as_str().starts_with("wss://") || address.as_str().starts_with("ws://"));
        assert!(!address.as_str().contains('@') || address.as_str().find('@') > address.as_str().find('/'));
    }
}

fuzz_target!(|text: &str| {
    address(text);
    let (to_relay, to_client) = (ClientFrame::parse(text), RelayFrame::parse(text));
    if let Ok(serde_json::Value::Array(parts)) = serde_json::from_str(text)
        && parts.len() > MOST_PARTS
    {
        assert!(to_relay.is_err() && to_client.is_err(), "a frame of {} parts was read", parts.len());
    }
    if let Ok(frame) = to_relay {
        if let ClientFrame::Event(event) = frame
            && let Ok(event) = serde_json::from_str::<nostr::Event>(event)
        {
            let claimed = frame::claimed_id(&serde_json::to_string(&event).expect("it was read"));
            assert_eq!(claimed.map(|id| *id.as_bytes()), Some(event.id.to_bytes()));
        }
        client(&frame);
    }
    if let Ok(frame) = to_client {
        relay(&frame);
    }
});
