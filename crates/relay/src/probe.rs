//! Tries a relay out for `openagents relay test`: does it answer, does it take an event, does it give
//! it back, what does it say of itself.

use std::time::{Duration, Instant};

use futures::{SinkExt, StreamExt};
use nostr::{Filter, Keys, Tag};
use openagents_protocol::ingress::Verified;
use serde::Serialize;
use tokio_tungstenite::tungstenite::Message;

use crate::{
    RelayUrl, SubId,
    client::dial,
    frame::{self, RelayFrame},
    hub::unix_now,
    text::printable,
};

/// Kind of the event that is written and read back: ephemeral, so that no relay keeps it.
const PROBE_KIND: u16 = 20_990;

/// How long each step may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Largest NIP-11 document that is read, in bytes.
const LARGEST_DOCUMENT: usize = 64 * 1024;

/// What a relay turned out to do.
#[derive(Clone, Debug, Default, Serialize)]
pub struct RelayProbe {
    /// Milliseconds until the WebSocket stood.
    pub connect_ms: u64,
    /// Milliseconds from publishing an event until it came back, if it did.
    pub delivery_ms: Option<u64>,
    /// Whether it took an (ephemeral) event.
    pub write_ok: bool,
    /// Whether the event came back on a subscription.
    pub read_back: bool,
    /// What it said when it refused something.
    pub message: Option<String>,
    /// Its description of itself (NIP-11), as it sent it.
    pub nip11: Option<serde_json::Value>,
}

/// Why a relay could not be tried out.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {url}: {reason}")]
pub struct ProbeError {
    url: RelayUrl,
    reason: String,
}

/// Connects to `url`, subscribes, publishes one ephemeral event by a throwaway key, waits for it.
///
/// # Errors
/// No connection came to stand. Everything later is an answer, not an error.
pub async fn probe(url: &RelayUrl) -> Result<RelayProbe, ProbeError> {
    let started = Instant::now();
    let error = |error: &dyn std::fmt::Display| ProbeError { url: url.clone(), reason: error.to_string() };
    let mut socket = dial(url, PATIENCE, None).await.map_err(|reason| error(&reason))?;
    let mut found = RelayProbe { connect_ms: millis(started.elapsed()), ..RelayProbe::default() };
    // A relay that falls silent leaves what was found so far.
    let _ = tokio::time::timeout(PATIENCE, exchange(&mut socket, &mut found)).await;
    let _ = tokio::time::timeout(Duration::from_secs(1), socket.close(None)).await;
    found.nip11 = description(url).await;
    Ok(found)
}

async fn exchange(socket: &mut crate::client::Socket, found: &mut RelayProbe) -> Option<()> {
    let keys = Keys::generate();
    let sub = SubId::named("probe");
    let filter = Filter::new().author(keys.public_key()).kind(nostr::Kind::from_u16(PROBE_KIND));
    let soon = (unix_now() + 60).to_string();
    let expiry = Tag::parse(["expiration", &soon]).ok()?;
    let event = Verified::sign(&keys, PROBE_KIND, vec![expiry], "openagents relay test".into(), unix_now());
    let frames = [frame::req(&sub, &[filter]), frame::carrying("EVENT", event.json())];
    for frame in frames {
        socket.send(Message::Text(frame.into())).await.ok()?;
    }
    let sent = Instant::now();
    let mut answered = false;
    while !(answered && (found.read_back || !found.write_ok)) {
        let Message::Text(text) = socket.next().await?.ok()? else { continue };
        match RelayFrame::parse(&text) {
            Ok(RelayFrame::Ok { id, accepted, message }) if id == event.id() => {
                answered = true;
                found.write_ok = accepted;
                found.note(&message);
            }
            Ok(RelayFrame::Event { event: text, .. }) if frame::claimed_id(text) == Some(event.id()) => {
                found.read_back = true;
                found.delivery_ms = Some(millis(sent.elapsed()));
            }
            Ok(RelayFrame::Closed { reason, .. }) => found.note(&reason),
            Ok(RelayFrame::Notice(words)) => found.note(&words),
            _ => {}
        }
    }
    Some(())
}

impl RelayProbe {
    fn note(&mut self, words: &str) {
        if !words.is_empty() {
            self.message = Some(printable(words, 200));
        }
    }
}

/// The relay's NIP-11 document, if it has one of reasonable size.
async fn description(url: &RelayUrl) -> Option<serde_json::Value> {
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(PATIENCE)
        .build()
        .ok()?;
    let request = client.get(url.http()).header("accept", "application/nostr+json");
    let mut response = request.send().await.ok()?;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.ok()? {
        if body.len() + chunk.len() > LARGEST_DOCUMENT {
            return None;
        }
        body.extend_from_slice(&chunk);
    }
    serde_json::from_slice(&body).ok()
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
