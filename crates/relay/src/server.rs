//! Strangers' way to the embedded relay: WebSocket connections, one task each, that read, check
//! signatures, and write in batches. What events do once they are in is left to `hub`.

use std::{
    collections::VecDeque,
    future::poll_fn,
    io,
    pin::Pin,
    task::{Poll, ready},
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{
        State as Shared,
        ws::{Message, WebSocket, WebSocketUpgrade, rejection::WebSocketUpgradeRejection},
    },
    http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
    serve::ListenerExt,
};
use futures::{
    FutureExt, Sink, SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use openagents_protocol::ingress::{Verified, accept};
use openagents_types::EventId;
use tokio::{net::TcpListener, sync::mpsc};
use tokio_util::sync::CancellationToken;

use crate::{
    Hub, Rate, SubId,
    frame::{self, ClientFrame, FrameError},
    hub::{ClientId, Live, Outlet},
    text::printable,
};

/// Largest frame and message that is read, in bytes: an event of 64 KiB and room for its escapes.
pub(crate) const LARGEST_FRAME: usize = 256 * 1024;

/// Answers that may wait for a client to read them before its next message is looked at.
const MOST_ANSWERS: usize = 64;

/// Messages handled before what they caused is written: enough to share a write, few enough to
/// keep the first answer waiting less than a millisecond.
const BATCH: usize = 8;

/// Silent intervals after which a client counts as gone.
const MOST_SILENT: u32 = 3;

/// How far the clock of a client that authenticates may be off (NIP-42 suggests ten minutes).
const AUTH_WINDOW: u64 = 600;

/// Kind of an authentication event (NIP-42).
pub(crate) const AUTH_KIND: u16 = 22242;

/// Serves the relay on `listener` until `stop`, with `TCP_NODELAY` on every connection. A plain GET
/// is answered with the NIP-11 document.
///
/// # Errors
/// The listener broke.
pub async fn serve(listener: TcpListener, hub: Hub, stop: CancellationToken) -> io::Result<()> {
    let listener = listener.tap_io(|tcp| {
        // A socket that refuses the option still works, only more slowly.
        let _ = tcp.set_nodelay(true);
    });
    let routes = Router::new().route("/", get(answer)).with_state((hub, stop.clone()));
    axum::serve(listener, routes).with_graceful_shutdown(stop.cancelled_owned()).await
}

async fn answer(
    Shared((hub, stop)): Shared<(Hub, CancellationToken)>,
    request: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    match request {
        Ok(request) => upgrade(request, hub, stop),
        Err(_) => information(&hub),
    }
}

fn information(hub: &Hub) -> Response {
    let headers = [(CONTENT_TYPE, "application/nostr+json"), (ACCESS_CONTROL_ALLOW_ORIGIN, "*")];
    (headers, Json(hub.information())).into_response()
}

/// Turns a request into a connection to the relay, with the frame limits a relay must have. For the
/// node's own route; the listener should have set `TCP_NODELAY`.
pub fn upgrade(request: WebSocketUpgrade, hub: Hub, stop: CancellationToken) -> Response {
    request
        .max_frame_size(LARGEST_FRAME)
        .max_message_size(LARGEST_FRAME)
        .read_buffer_size(16 * 1024)
        .write_buffer_size(64 * 1024)
        .on_upgrade(move |socket| serve_socket(hub, socket, stop))
}

/// Serves one connection until it ends, falls silent, does not read, or `stop`.
///
/// The caller sets frame limits and `TCP_NODELAY`; [`upgrade`] does the former.
pub async fn serve_socket(hub: Hub, socket: WebSocket, stop: CancellationToken) {
    let (queue, live) = mpsc::channel(hub.config().backlog);
    let kick = CancellationToken::new();
    let Some(id) = admit(&hub, Outlet::Socket { queue, kick: kick.clone() }) else {
        return;
    };
    let (sink, stream) = socket.split();
    let mut connection = Connection {
        peer: Peer::new(hub, id),
        stream,
        out: Out { sink, live, answers: VecDeque::new(), unflushed: false },
    };
    connection.run(&stop, &kick).await;
}

/// Attaches a client unless there are too many.
fn admit(hub: &Hub, outlet: Outlet) -> Option<ClientId> {
    let mut state = hub.lock();
    (state.clients() < hub.config().most_connections).then(|| state.attach(outlet))
}

/// One connection: the half that understands, the half that reads, the half that writes.
struct Connection {
    peer: Peer,
    stream: SplitStream<WebSocket>,
    out: Out,
}

impl Connection {
    async fn run(&mut self, stop: &CancellationToken, kick: &CancellationToken) {
        let every = self.peer.hub.config().ping_every;
        let mut pings = tokio::time::interval_at(tokio::time::Instant::now() + every, every);
        let mut silent = 0;
        self.out.say_all(self.peer.greeting());
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = kick.cancelled() => break,
                _ = self.out.write() => break,
                _ = pings.tick() => {
                    silent += 1;
                    if silent > MOST_SILENT {
                        break;
                    }
                    self.out.answers.push_back(Answer::Ping);
                }
                message = self.stream.next(), if self.out.answers.len() < MOST_ANSWERS => {
                    silent = 0;
                    if self.take(message).is_none() || self.take_what_is_there().is_none() {
                        break;
                    }
                }
            }
        }
        self.out.say_goodbye().await;
    }

    /// Handles one message; `None` ends the connection.
    fn take(&mut self, message: Option<Result<Message, axum::Error>>) -> Option<()> {
        match message?.ok()? {
            Message::Text(text) => self.out.answers.extend(self.peer.hear(&text)),
            Message::Binary(_) => self.out.say(frame::words("NOTICE", &["invalid: send text frames"])),
            Message::Close(_) => return None,
            Message::Ping(_) | Message::Pong(_) => {}
        }
        Some(())
    }

    /// Handles further messages that have arrived already, so that their answers share a write.
    fn take_what_is_there(&mut self) -> Option<()> {
        for _ in 1..BATCH {
            if self.out.answers.len() >= MOST_ANSWERS {
                break;
            }
            match self.stream.next().now_or_never() {
                Some(message) => self.take(message)?,
                None => break,
            }
        }
        Some(())
    }
}

/// The half of a connection that writes. Pulls frames when the socket has room, so that nothing
/// piles up here; what piles up in `live` is bounded, and the hub kicks who lets it overflow.
struct Out {
    sink: SplitSink<WebSocket, Message>,
    live: mpsc::Receiver<Live>,
    answers: VecDeque<Answer>,
    unflushed: bool,
}

/// Something the connection's own messages caused.
enum Answer {
    Frame(String),
    Stored { sub: SubId, events: std::vec::IntoIter<Verified> },
    Ping,
}

impl Out {
    fn say(&mut self, frame: String) {
        self.answers.push_back(Answer::Frame(frame));
    }

    fn say_all(&mut self, frames: Option<String>) {
        self.answers.extend(frames.map(Answer::Frame));
    }

    /// Writes as long as there is something to write, many frames to a flush; ends only when the
    /// connection is broken. Safe to cancel: a frame is taken only when the socket has room for it.
    async fn write(&mut self) -> Result<(), axum::Error> {
        poll_fn(|cx| {
            loop {
                ready!(self.sink.poll_ready_unpin(cx))?;
                if let Some(message) = self.next_answer() {
                    self.start(message)?;
                    continue;
                }
                match self.live.poll_recv(cx) {
                    Poll::Ready(Some(live)) => {
                        self.start(text(frame::event_for(&live.sub, live.event.json())))?
                    }
                    Poll::Ready(None) => return Poll::Ready(Ok(())),
                    Poll::Pending if self.unflushed => {
                        ready!(self.sink.poll_flush_unpin(cx))?;
                        self.unflushed = false;
                    }
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await
    }

    fn start(&mut self, message: Message) -> Result<(), axum::Error> {
        self.unflushed = true;
        Pin::new(&mut self.sink).start_send(message)
    }

    fn next_answer(&mut self) -> Option<Message> {
        match self.answers.pop_front()? {
            Answer::Frame(frame) => Some(text(frame)),
            Answer::Ping => Some(Message::Ping(Bytes::new())),
            Answer::Stored { sub, mut events } => match events.next() {
                None => Some(text(frame::words("EOSE", &[sub.as_str()]))),
                Some(event) => {
                    let frame = frame::event_for(&sub, event.json());
                    self.answers.push_front(Answer::Stored { sub, events });
                    Some(text(frame))
                }
            },
        }
    }

    /// Closes the connection, if the other side still listens.
    async fn say_goodbye(&mut self) {
        let goodbye = async {
            let _ = self.sink.send(Message::Close(None)).await;
        };
        let _ = tokio::time::timeout(Duration::from_secs(1), goodbye).await;
    }
}

fn text(frame: String) -> Message {
    Message::Text(frame.into())
}

/// The half of a connection that understands: who it is, what it may, what it said.
struct Peer {
    hub: Hub,
    id: ClientId,
    bucket: Option<Bucket>,
    challenge: Option<String>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.hub.lock().detach(self.id);
    }
}

impl Peer {
    fn new(hub: Hub, id: ClientId) -> Self {
        let bucket = hub.config().rate.map(Bucket::full);
        let challenge = hub.config().require_auth.then(|| format!("{:032x}", rand::random::<u128>()));
        Self { hub, id, bucket, challenge }
    }

    fn greeting(&self) -> Option<String> {
        self.challenge.as_ref().map(|challenge| frame::words("AUTH", &[challenge]))
    }

    fn hear(&mut self, text: &str) -> Option<Answer> {
        let allowed = self.bucket.as_mut().is_none_or(|bucket| bucket.take(Instant::now()));
        match ClientFrame::parse(text) {
            Err(FrameError::Filter { sub, reason }) => {
                Some(closed(&sub, &format!("invalid: {}", printable(&reason.to_string(), 200))))
            }
            Err(error) => Some(notice(&format!("invalid: {}", printable(&error.to_string(), 200)))),
            Ok(_) if !allowed => Some(self.refuse(text)),
            Ok(ClientFrame::Close(sub)) => {
                self.hub.lock().unsubscribe(self.id, &sub);
                None
            }
            Ok(ClientFrame::Auth(event)) => Some(self.authenticate(event)),
            Ok(ClientFrame::Event(event)) => Some(self.publish(event)),
            Ok(ClientFrame::Req(sub, filters)) => Some(self.subscribe(sub, filters)),
            Ok(ClientFrame::Count(sub, filters)) => Some(self.count(&sub, &filters)),
        }
    }

    /// Refuses a message for coming too fast, in the form its sender waits for.
    fn refuse(&self, text: &str) -> Answer {
        const REASON: &str = "rate-limited: slow down";
        match ClientFrame::parse(text) {
            Ok(ClientFrame::Event(event) | ClientFrame::Auth(event)) => not_ok(event, REASON),
            Ok(ClientFrame::Req(sub, _) | ClientFrame::Count(sub, _)) => closed(&sub, REASON),
            _ => notice(REASON),
        }
    }

    fn publish(&self, event: &str) -> Answer {
        if self.challenge.is_some() {
            return not_ok(event, "auth-required: prove a key first (NIP-42)");
        }
        match accept(event, &self.hub.config().limits) {
            Err(error) => not_ok(event, &format!("invalid: {}", printable(&error.to_string(), 200))),
            Ok(event) if event.event().kind.as_u16() == AUTH_KIND => {
                Answer::Frame(frame::ok(event.id(), false, "invalid: an AUTH event is not published"))
            }
            Ok(event) => {
                let verdict = self.hub.publish(&event);
                Answer::Frame(frame::ok(event.id(), verdict.accepted(), verdict.message()))
            }
        }
    }

    fn subscribe(&self, sub: SubId, filters: Vec<nostr::Filter>) -> Answer {
        if let Some(reason) = self.objection(&sub, &filters) {
            return closed(&sub, &reason);
        }
        let mut state = self.hub.lock();
        let stored = state.query(&filters, self.hub.config().most_stored);
        state.subscribe(self.id, &sub, filters);
        Answer::Stored { sub, events: stored.into_iter() }
    }

    fn count(&self, sub: &SubId, filters: &[nostr::Filter]) -> Answer {
        match self.objection(sub, filters) {
            Some(reason) => closed(sub, &reason),
            None => Answer::Frame(frame::count(sub, self.hub.query(filters).len())),
        }
    }

    fn objection(&self, sub: &SubId, filters: &[nostr::Filter]) -> Option<String> {
        let config = self.hub.config();
        if self.challenge.is_some() {
            Some("auth-required: prove a key first (NIP-42)".into())
        } else if filters.is_empty() {
            Some("invalid: a subscription needs a filter".into())
        } else if filters.len() > config.most_filters {
            Some(format!("invalid: at most {} filters", config.most_filters))
        } else if self.hub.lock().other_subs(self.id, sub) >= config.most_subs {
            Some(format!("blocked: at most {} subscriptions", config.most_subs))
        } else {
            None
        }
    }

    fn authenticate(&mut self, event: &str) -> Answer {
        let Ok(event) = accept(event, &self.hub.config().limits) else {
            return not_ok(event, "invalid: the AUTH event does not verify");
        };
        if self.challenge.as_ref().is_some_and(|challenge| !proves(&event, challenge)) {
            return Answer::Frame(frame::ok(event.id(), false, "invalid: not an answer to our challenge"));
        }
        self.challenge = None;
        Answer::Frame(frame::ok(event.id(), true, ""))
    }
}

/// Whether `event` answers `challenge` (NIP-42). The relay tag is not compared: an embedded relay
/// does not know the name by which it was reached, and the challenge is ours alone.
fn proves(event: &Verified, challenge: &str) -> bool {
    let inner = event.event();
    let names_it = inner.tags.iter().any(|tag| tag.as_slice() == ["challenge", challenge]);
    inner.kind.as_u16() == AUTH_KIND
        && names_it
        && inner.created_at.as_secs().abs_diff(crate::hub::unix_now()) <= AUTH_WINDOW
}

/// A refusal of an event that may not even have an id; then it is told in words.
fn not_ok(event: &str, reason: &str) -> Answer {
    let id: Option<EventId> = frame::claimed_id(event);
    id.map_or_else(|| notice(reason), |id| Answer::Frame(frame::ok(id, false, reason)))
}

fn closed(sub: &SubId, reason: &str) -> Answer {
    Answer::Frame(frame::words("CLOSED", &[sub.as_str(), reason]))
}

fn notice(words: &str) -> Answer {
    Answer::Frame(frame::words("NOTICE", &[words]))
}

/// A token bucket.
#[derive(Debug)]
struct Bucket {
    rate: Rate,
    tokens: f64,
    filled: Instant,
}

impl Bucket {
    fn full(rate: Rate) -> Self {
        Self { rate, tokens: f64::from(rate.burst), filled: Instant::now() }
    }

    fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.filled = now;
        let most = f64::from(self.rate.burst);
        self.tokens = (self.tokens + passed * f64::from(self.rate.per_second)).min(most);
        let allowed = self.tokens >= 1.0;
        if allowed {
            self.tokens -= 1.0;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_lets_a_burst_through_and_then_the_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::full(Rate { per_second: 10, burst: 3 });
        bucket.filled = start;
        let taken = |bucket: &mut Bucket, at| (0..9).filter(|_| bucket.take(at)).count();
        assert_eq!(taken(&mut bucket, start), 3);
        assert_eq!(taken(&mut bucket, start + Duration::from_millis(200)), 2);
        assert_eq!(taken(&mut bucket, start + Duration::from_secs(60)), 3);
    }
}
