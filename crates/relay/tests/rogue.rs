//! The client against relays that misbehave: nothing is lost, nothing false comes through, nothing
//! grows without bound.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use common::{Client, event, impatient, kind, relay, url_of, within};
use futures::{SinkExt, StreamExt};
use openagents_protocol::ingress::Verified;
use openagents_relay::{HubConfig, RelayConfig, RelayNews, RelayUrl, SubId};
use openagents_types::EventId;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, accept_async, connect_async, tungstenite::Message};

/// What a proxy does to the frames that pass through it.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// Breaks connection number n after 10 n events.
    Break,
    /// Ends this many subscriptions at once instead of passing them on.
    Close(usize),
    /// Sends every event ten times.
    Repeat,
    /// Holds events back and sends them in reverse, seven at a time.
    Reverse,
    /// Sends altered copies under the true id before each event, and events nobody asked for.
    Forge,
    /// Sends rubbish before each frame.
    Garble,
}

/// A relay with a fault before `upstream`.
async fn proxy(upstream: RelayUrl, fault: Fault) -> RelayUrl {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = url_of(&listener);
    let closed = Arc::new(AtomicUsize::new(0));
    tokio::spawn(async move {
        for number in 1.. {
            let (tcp, _) = listener.accept().await.unwrap();
            let Ok(client) = accept_async(tcp).await else { continue };
            let (server, _) = connect_async(upstream.as_str()).await.unwrap();
            let pipe = Pipe { client, server, fault, breaks_after: 10 * number, closed: closed.clone() };
            tokio::spawn(pipe.run());
        }
    });
    url
}

struct Pipe {
    client: WebSocketStream<TcpStream>,
    server: WebSocketStream<MaybeTlsStream<TcpStream>>,
    fault: Fault,
    breaks_after: usize,
    closed: Arc<AtomicUsize>,
}

impl Pipe {
    async fn run(mut self) {
        let (mut events, mut held) = (0, Vec::new());
        loop {
            tokio::select! {
                up = self.client.next() => match up {
                    Some(Ok(Message::Text(text))) => self.upwards(text.to_string()).await,
                    Some(Ok(_)) => {}
                    _ => return,
                },
                down = self.server.next() => {
                    let text = match down {
                        Some(Ok(Message::Text(text))) => text,
                        Some(Ok(_)) => continue,
                        _ => return,
                    };
                    events += usize::from(text.starts_with("[\"EVENT\""));
                    if matches!(self.fault, Fault::Break) && events > self.breaks_after {
                        return;
                    }
                    for text in downwards(self.fault, text.to_string(), &mut held) {
                        if self.client.send(Message::Text(text.into())).await.is_err() {
                            return;
                        }
                    }
                }
            }
        }
    }

    async fn upwards(&mut self, text: String) {
        if let Fault::Close(times) = self.fault
            && text.starts_with("[\"REQ\"")
            && self.closed.fetch_add(1, Ordering::Relaxed) < times
        {
            let frame: serde_json::Value = serde_json::from_str(&text).unwrap();
            let refusal = serde_json::json!(["CLOSED", frame[1], "error: too busy"]);
            let _ = self.client.send(Message::Text(refusal.to_string().into())).await;
            return;
        }
        let _ = self.server.send(Message::Text(text.into())).await;
    }
}

/// What the fault makes of one frame.
fn downwards(fault: Fault, text: String, held: &mut Vec<String>) -> Vec<String> {
    let is_event = text.starts_with("[\"EVENT\"");
    match fault {
        Fault::Repeat if is_event => vec![text; 10],
        Fault::Reverse if is_event => {
            held.push(text);
            if held.len() < 7 { Vec::new() } else { held.drain(..).rev().collect() }
        }
        Fault::Reverse => held.drain(..).rev().chain([text]).collect(),
        Fault::Forge if is_event => forged(&text).into_iter().chain([text]).collect(),
        Fault::Garble => {
            let rubbish =
                ["", "{}", "[\"EVENT\"]", "[\"EVENT\",\"jobs\",{}]", "\u{0}", "[[[[[[[[[", "[\"OK\",1,2,3]"];
            rubbish.map(String::from).into_iter().chain(["[".repeat(200_000), text]).collect()
        }
        _ => vec![text],
    }
}

/// Copies of an event with one thing changed, and a true event that matches no filter.
fn forged(text: &str) -> Vec<String> {
    let true_one: serde_json::Value = serde_json::from_str(text).unwrap();
    let with = |field: &str, value: serde_json::Value| {
        let mut copy = true_one.clone();
        copy[2][field] = value;
        copy.to_string()
    };
    let unasked = event(1, "unasked", &[]);
    let other = event(5050, "forged", &[]).event().sig.to_string();
    vec![
        with("content", "forged".into()),
        with("created_at", 1.into()),
        with("sig", other.into()),
        with("tags", serde_json::json!([["bid", "1"]])),
        format!("[\"EVENT\",{},{}]", true_one[1], unasked.json()),
    ]
}

/// Publishes `total` events, some at every new connection, and gives how often each came and how
/// often the connection broke.
async fn collect(
    fault: Fault,
    total: usize,
    tweak: fn(&mut RelayConfig),
) -> (HashMap<EventId, usize>, usize) {
    let (hub, upstream) = relay(HubConfig::default()).await;
    let mut config = impatient(&proxy(upstream, fault).await);
    tweak(&mut config);
    let mut client = Client::start(config, 64);
    client.handle.subscribe(SubId::named("jobs"), vec![kind(5050)]).unwrap();
    let events: Vec<Verified> = (0..total).map(|n| event(5050, &n.to_string(), &[])).collect();
    let (mut came, mut published, mut losses): (HashMap<EventId, usize>, _, _) = (HashMap::new(), 0, 0);
    while came.len() < total || published < total {
        let news = client.until(Some).await;
        let step = match news {
            // Held events would wait for ever if their number were not a multiple of seven.
            RelayNews::Connected if matches!(fault, Fault::Reverse) => 0,
            RelayNews::Connected => total / 4,
            RelayNews::Stored(_) => total,
            RelayNews::Disconnected { .. } => {
                losses += 1;
                0
            }
            RelayNews::Event(_, event) => {
                assert!(events.contains_id(event.id()), "an event came that nobody published");
                *came.entry(event.id()).or_default() += 1;
                0
            }
            _ => 0,
        };
        for event in events.iter().skip(published).take(step) {
            hub.publish(event);
        }
        published = (published + step).min(total);
    }
    (came, losses)
}

trait ContainsId {
    fn contains_id(&self, id: EventId) -> bool;
}

impl ContainsId for Vec<Verified> {
    fn contains_id(&self, id: EventId) -> bool {
        self.iter().any(|event| event.id() == id)
    }
}

fn each_once(came: &HashMap<EventId, usize>, total: usize) {
    assert_eq!(came.len(), total);
    assert!(came.values().all(|times| *times == 1), "an event came twice");
}

#[tokio::test]
async fn nothing_is_lost_when_the_connection_breaks_again_and_again() {
    let (came, losses) = collect(Fault::Break, 100, |_| {}).await;
    each_once(&came, 100);
    assert!(losses >= 5, "the connection broke only {losses} times");
}

#[tokio::test]
async fn a_relay_that_ends_every_subscription_for_a_while_is_asked_again() {
    let (came, losses) = collect(Fault::Close(6), 50, |_| {}).await;
    each_once(&came, 50);
    assert_eq!(losses, 0);
}

#[tokio::test]
async fn repeated_events_come_once() {
    let (came, losses) = collect(Fault::Repeat, 100, |_| {}).await;
    each_once(&came, 100);
    assert_eq!(losses, 0);
}

#[tokio::test]
async fn events_in_any_order_all_come() {
    let (came, _) = collect(Fault::Reverse, 70, |_| {}).await;
    each_once(&came, 70);
}

#[tokio::test]
async fn forged_copies_never_come_and_do_not_hide_the_true_event() {
    let (came, losses) = collect(Fault::Forge, 60, |config| config.most_noise = 1_000_000).await;
    each_once(&came, 60);
    assert_eq!(losses, 0);
}

#[tokio::test]
async fn rubbish_between_the_frames_is_passed_over() {
    let (came, losses) = collect(Fault::Garble, 40, |config| config.most_noise = 1_000_000).await;
    each_once(&came, 40);
    assert_eq!(losses, 0);
}

#[tokio::test]
async fn a_relay_that_floods_us_with_rubbish_is_left() {
    let (hub, upstream) = relay(HubConfig::default()).await;
    let mut client = Client::start(impatient(&proxy(upstream, Fault::Forge).await), 64);
    client.handle.subscribe(SubId::named("jobs"), vec![kind(5050)]).unwrap();
    client.until(|news| matches!(news, RelayNews::Stored(_)).then_some(())).await;
    for n in 0..50 {
        hub.publish(&event(5050, &n.to_string(), &[]));
    }
    assert!(client.lost().await.contains("floods"));
}

/// A relay that completes the handshake and then does what `then` says.
async fn raw_relay<F: Future<Output = ()> + Send + 'static>(
    then: impl Fn(WebSocketStream<TcpStream>) -> F + Send + 'static,
) -> RelayUrl {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = url_of(&listener);
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            if let Ok(socket) = accept_async(tcp).await {
                tokio::spawn(then(socket));
            }
        }
    });
    url
}

#[tokio::test]
async fn a_frame_of_a_hundred_megabytes_is_refused_by_its_header() {
    let url = raw_relay(|socket| async move {
        let mut tcp = socket.into_inner();
        let mut header = vec![0x81, 127];
        header.extend_from_slice(&100_000_000_u64.to_be_bytes());
        tcp.write_all(&header).await.unwrap();
        std::future::pending().await
    })
    .await;
    let mut client = Client::start(impatient(&url), 8);
    let reason = client.lost().await;
    assert!(reason.contains("100000000"), "{reason}");
}

#[tokio::test]
async fn a_relay_that_accepts_and_never_answers_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = RelayConfig { connect_within: Duration::from_millis(50), ..impatient(&url_of(&listener)) };
    let mut client = Client::start(config, 8);
    let reason = client.lost().await;
    assert!(reason.contains("did not answer"), "{reason}");
}

#[tokio::test]
async fn a_relay_that_falls_silent_is_left_and_dialled_again() {
    let url = raw_relay(|socket| async move {
        let _kept_open = socket;
        std::future::pending().await
    })
    .await;
    let mut client =
        Client::start(RelayConfig { ping_every: Duration::from_millis(10), ..impatient(&url) }, 8);
    assert_eq!(client.lost().await, "the relay stopped answering");
    client.until(|news| matches!(news, RelayNews::Connected).then_some(())).await;
}

#[tokio::test]
async fn a_flood_of_notices_is_cut_short() {
    let url = raw_relay(|mut socket| async move {
        while socket.send(Message::Text("[\"NOTICE\",\"\\u001b[2Jbuy\"]".into())).await.is_ok() {}
    })
    .await;
    let mut client = Client::start(impatient(&url), 8);
    let mut notices = 0;
    let reason = client
        .until(|news| match news {
            RelayNews::Notice(words) => {
                assert_eq!(words, " [2Jbuy");
                notices += 1;
                None
            }
            RelayNews::Disconnected { reason, .. } => Some(reason),
            _ => None,
        })
        .await;
    assert!(reason.contains("floods"), "{reason}");
    assert_eq!(notices, 16);
}

#[tokio::test]
async fn a_relay_that_demands_a_key_gets_it_once_and_then_everything() {
    let (hub, url) = relay(HubConfig { require_auth: true, ..HubConfig::default() }).await;
    let mut client =
        Client::start(RelayConfig { auth: Some(nostr::Keys::generate()), ..impatient(&url) }, 64);
    let (mine, sub) = (event(5050, "mine", &[]), SubId::named("jobs"));
    client.handle.publish(mine.clone()).unwrap();
    client.handle.subscribe(sub.clone(), vec![kind(7000)]).unwrap();
    assert_eq!(client.answer(&mine).await, (true, String::new()));
    let theirs = event(7000, "theirs", &[]);
    hub.publish(&theirs);
    assert_eq!(client.event(&sub).await.id(), theirs.id());
}

#[tokio::test]
async fn without_a_key_the_refusal_is_told() {
    let (_, url) = relay(HubConfig { require_auth: true, ..HubConfig::default() }).await;
    let mut client = Client::start(impatient(&url), 64);
    let mine = event(5050, "mine", &[]);
    client.handle.publish(mine.clone()).unwrap();
    let (accepted, message) = client.answer(&mine).await;
    assert!(!accepted && message.starts_with("auth-required:"), "{message}");
}

#[tokio::test]
async fn challenges_without_end_are_answered_once() {
    let answers = Arc::new(AtomicUsize::new(0));
    let counted = answers.clone();
    let url = raw_relay(move |mut socket| {
        let counted = counted.clone();
        async move {
            for n in 0..1000 {
                if socket.send(Message::Text(format!("[\"AUTH\",\"{n}\"]").into())).await.is_err() {
                    break;
                }
            }
            while let Some(Ok(message)) = socket.next().await {
                counted.fetch_add(usize::from(message.is_text()), Ordering::Relaxed);
            }
        }
    })
    .await;
    let mut config = RelayConfig { auth: Some(nostr::Keys::generate()), ..impatient(&url) };
    config.backoff.penalty = Duration::from_secs(3600);
    let mut client = Client::start(config, 64);
    assert!(client.lost().await.contains("floods"));
    assert!(answers.load(Ordering::Relaxed) <= 1);
}

#[tokio::test]
async fn a_node_that_stops_reading_loses_nothing_and_makes_nobody_wait() {
    let (hub, url) = relay(HubConfig { backlog: 64, rate: None, ..HubConfig::default() }).await;
    let mut client = Client::start(RelayConfig { most_seen: 100_000, ..impatient(&url) }, 4);
    client.handle.subscribe(SubId::named("jobs"), vec![kind(5050)]).unwrap();
    client.until(|news| matches!(news, RelayNews::Stored(_)).then_some(())).await;
    let mut published = Vec::new();
    let long = "x".repeat(30_000);
    within(async {
        while hub.stats().slow_readers_dropped == 0 {
            let event = event(5050, &long, &[]);
            hub.publish(&event);
            published.push(event.id());
            tokio::task::yield_now().await;
        }
    })
    .await;
    let mut came: HashMap<EventId, usize> = HashMap::new();
    while came.len() < published.len() {
        let id = client.event(&SubId::named("jobs")).await.id();
        *came.entry(id).or_default() += 1;
    }
    each_once(&came, published.len());
}

#[tokio::test]
async fn calls_beyond_the_bound_are_refused_while_the_relay_is_away() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = RelayConfig { most_unsent: 3, ..impatient(&url_of(&listener)) };
    let client = Client::start(config, 8);
    let event = event(5050, "", &[]);
    let taken = (0..10).filter(|_| client.handle.publish(event.clone()).is_ok()).count();
    assert_eq!(taken, 3);
    drop(listener);
}

/// Most relays leave Nagle's algorithm on: after a first small frame the second waits for our
/// acknowledgement, which the kernel would hold back for 40 ms.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_relay_that_sends_two_frames_without_nodelay_does_not_cost_a_delayed_acknowledgement() {
    let url = raw_relay(|mut socket| async move {
        while let Some(Ok(message)) = socket.next().await {
            let Message::Text(text) = message else { continue };
            let frame: serde_json::Value = serde_json::from_str(&text).unwrap();
            let answers = match frame[0].as_str() {
                Some("EVENT") => vec![
                    serde_json::json!(["OK", frame[1]["id"], true, ""]),
                    serde_json::json!(["EVENT", "jobs", frame[1]]),
                ],
                _ => vec![serde_json::json!(["EOSE", "jobs"])],
            };
            for answer in answers {
                socket.send(Message::Text(answer.to_string().into())).await.unwrap();
            }
        }
    })
    .await;
    let (mut client, sub) = (Client::start(impatient(&url), 64), SubId::named("jobs"));
    client.handle.subscribe(sub.clone(), vec![kind(5050)]).unwrap();
    let mut spans = Vec::new();
    for n in 0..21 {
        let event = event(5050, &n.to_string(), &[]);
        let sent = std::time::Instant::now();
        client.handle.publish(event).unwrap();
        client.event(&sub).await;
        spans.push(sent.elapsed());
    }
    spans.sort();
    assert!(spans[10] < Duration::from_millis(20), "the median is {:?}", spans[10]);
}
