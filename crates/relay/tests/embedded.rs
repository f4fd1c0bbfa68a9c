//! The embedded relay as clients see it, over sockets and in process.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use common::{Client, event, impatient, kind, now, relay, within};
use futures::{SinkExt, StreamExt};
use openagents_protocol::ingress::Verified;
use openagents_relay::{
    Filter, Hub, HubConfig, LocalClient, Rate, RelayNews, RelayUrl, SubId, Verdict, probe,
};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

/// A client that knows nothing but JSON.
struct Raw(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Raw {
    async fn connect(url: &RelayUrl) -> Self {
        Self(connect_async(url.as_str()).await.unwrap().0)
    }

    async fn say(&mut self, frame: Value) {
        self.0.send(Message::Text(frame.to_string().into())).await.unwrap();
    }

    async fn publish(&mut self, event: &Verified) {
        self.say(json!(["EVENT", serde_json::from_str::<Value>(event.json()).unwrap()])).await;
    }

    async fn hear(&mut self) -> Value {
        within(async {
            loop {
                if let Message::Text(text) = self.0.next().await.unwrap().unwrap() {
                    return serde_json::from_str(&text).unwrap();
                }
            }
        })
        .await
    }

    /// Reads until the relay ends the connection.
    async fn ended(mut self) {
        within(async { while let Some(Ok(_)) = self.0.next().await {} }).await;
    }
}

fn local(hub: &Hub, capacity: usize) -> LocalClient {
    hub.attach(RelayUrl::parse("ws://localhost:1").unwrap(), capacity)
}

async fn next(client: &mut LocalClient) -> RelayNews {
    within(client.recv()).await.unwrap().1
}

#[tokio::test]
async fn a_stranger_publishes_subscribes_and_closes() {
    let (_, url) = relay(HubConfig::default()).await;
    let (mut one, mut two) = (Raw::connect(&url).await, Raw::connect(&url).await);
    let stored = event(5050, "first", &[]);
    one.publish(&stored).await;
    assert_eq!(one.hear().await, json!(["OK", stored.id().to_hex(), true, ""]));
    two.say(json!(["REQ", "a\"b", {"kinds": [5050]}])).await;
    let got = two.hear().await;
    assert_eq!((&got[1], &got[2]["content"]), (&json!("a\"b"), &json!("first")));
    assert_eq!(two.hear().await, json!(["EOSE", "a\"b"]));
    one.publish(&event(5050, "second", &[])).await;
    assert_eq!(two.hear().await[2]["content"], "second");
    two.say(json!(["COUNT", "n", {"kinds": [5050]}])).await;
    assert_eq!(two.hear().await, json!(["COUNT", "n", {"count": 2}]));
    two.say(json!(["CLOSE", "a\"b"])).await;
    two.say(json!(["REQ", "other", {"kinds": [1]}])).await;
    assert_eq!(two.hear().await, json!(["EOSE", "other"]));
    one.publish(&event(5050, "third", &[])).await;
    let note = event(1, "note", &[]);
    one.publish(&note).await;
    assert_eq!(two.hear().await[2]["content"], "note");
}

#[tokio::test]
async fn altered_expired_and_far_future_events_are_refused_with_a_reason() {
    let (hub, url) = relay(HubConfig::default()).await;
    let mut raw = Raw::connect(&url).await;
    let mut altered: Value = serde_json::from_str(event(5050, "x", &[]).json()).unwrap();
    altered["content"] = "y".into();
    raw.say(json!(["EVENT", altered])).await;
    let old = (now() - 5).to_string();
    raw.publish(&event(5050, "", &[&["expiration", &old]])).await;
    raw.publish(&Verified::sign(&nostr::Keys::generate(), 1, vec![], "".into(), now() + 10_000)).await;
    for _ in 0..3 {
        let answer = raw.hear().await;
        assert_eq!(answer[2], false, "{answer}");
        assert!(answer[3].as_str().unwrap().starts_with("invalid: "), "{answer}");
    }
    assert_eq!(hub.stats().events, 0);
}

#[tokio::test]
async fn rubbish_is_answered_in_words_and_the_connection_lives() {
    let (_, url) = relay(HubConfig { most_filters: 2, most_subs: 1, ..HubConfig::default() }).await;
    let mut raw = Raw::connect(&url).await;
    for text in ["", "hello", "[\"REQ\"]", "[\"EVENT\",7]", "[]"] {
        raw.0.send(Message::Text(text.into())).await.unwrap();
        assert_eq!(raw.hear().await[0], "NOTICE", "{text}");
    }
    raw.0.send(Message::Text("[".repeat(200_000).into())).await.unwrap();
    assert_eq!(raw.hear().await[0], "NOTICE");
    raw.say(json!(["REQ", "a", {"kinds": "x"}])).await;
    assert_eq!(raw.hear().await[0], "CLOSED");
    raw.say(json!(["REQ", "a", {}, {}, {}])).await;
    assert_eq!(raw.hear().await, json!(["CLOSED", "a", "invalid: at most 2 filters"]));
    raw.say(json!(["REQ", "a", {"kinds": [1]}])).await;
    assert_eq!(raw.hear().await, json!(["EOSE", "a"]));
    raw.say(json!(["REQ", "b", {"kinds": [1]}])).await;
    assert_eq!(raw.hear().await, json!(["CLOSED", "b", "blocked: at most 1 subscriptions"]));
}

#[tokio::test]
async fn a_message_that_is_too_large_ends_the_connection_and_nothing_else() {
    let (_, url) = relay(HubConfig::default()).await;
    let mut bad = Raw::connect(&url).await;
    // The relay may end the connection before all is written.
    let _ = bad.0.send(Message::Text("x".repeat(300 * 1024).into())).await;
    bad.ended().await;
    let mut good = Raw::connect(&url).await;
    good.say(json!(["REQ", "a", {"kinds": [1]}])).await;
    assert_eq!(good.hear().await, json!(["EOSE", "a"]));
}

#[tokio::test]
async fn who_sends_too_fast_is_told_so() {
    let rate = Some(Rate { per_second: 1, burst: 2 });
    let (_, url) = relay(HubConfig { rate, ..HubConfig::default() }).await;
    let mut raw = Raw::connect(&url).await;
    for _ in 0..4 {
        raw.publish(&event(1, "", &[])).await;
    }
    let mut accepted = Vec::new();
    for _ in 0..4 {
        accepted.push(raw.hear().await[2].clone());
    }
    assert_eq!(json!(accepted), json!([true, true, false, false]));
}

#[tokio::test]
async fn a_reader_that_does_not_read_is_dropped_and_the_others_get_everything() {
    let (hub, url) = relay(HubConfig { backlog: 32, rate: None, ..HubConfig::default() }).await;
    let (mut slow, mut good) = (Raw::connect(&url).await, local(&hub, 100_000));
    slow.say(json!(["REQ", "a", {"kinds": [5050]}])).await;
    assert_eq!(slow.hear().await, json!(["EOSE", "a"]));
    good.handle().subscribe(SubId::named("b"), vec![kind(5050)]).unwrap();
    let long = "x".repeat(30_000);
    let mut published = 0;
    within(async {
        while hub.stats().slow_readers_dropped == 0 {
            hub.publish(&event(5050, &long, &[]));
            published += 1;
            tokio::task::yield_now().await;
        }
    })
    .await;
    let mut came = 0;
    while let Some((_, news)) = good.try_recv() {
        came += usize::from(matches!(news, RelayNews::Event(..)));
    }
    assert_eq!(came, published);
    slow.ended().await;
}

#[tokio::test]
async fn a_local_client_hears_the_same_news_as_a_remote_one() {
    let (hub, url) = relay(HubConfig::default()).await;
    let (mut near, mut far) = (local(&hub, 64), Client::start(impatient(&url), 64));
    let (job, sub) = (event(5050, "job", &[&["p", "x"]]), SubId::named("jobs"));
    assert!(matches!(next(&mut near).await, RelayNews::Connected));
    for handle in [near.handle(), far.handle.clone()] {
        handle.subscribe(sub.clone(), vec![kind(5050)]).unwrap();
    }
    assert!(matches!(next(&mut near).await, RelayNews::Stored(_)));
    far.until(|news| matches!(news, RelayNews::Stored(_)).then_some(())).await;
    far.handle.publish(job.clone()).unwrap();
    assert_eq!(far.event(&sub).await.id(), job.id());
    match next(&mut near).await {
        RelayNews::Event(on, event) => assert_eq!((on, event.json()), (sub.clone(), job.json())),
        other => panic!("{other:?}"),
    }
    let reply = event(5050, "reply", &[]);
    near.handle().publish(reply.clone()).unwrap();
    assert_eq!(far.event(&sub).await.json(), reply.json());
}

#[tokio::test]
async fn a_local_client_that_lags_is_told_and_catches_up_by_asking_again() {
    let hub = Hub::new(HubConfig::default());
    let (mut client, sub) = (local(&hub, 8), SubId::named("jobs"));
    client.handle().subscribe(sub.clone(), vec![kind(5050)]).unwrap();
    for n in 0..100 {
        hub.publish(&event(5050, &n.to_string(), &[]));
    }
    let mut last = None;
    while let Some((_, news)) = client.try_recv() {
        last = Some(news);
    }
    assert!(matches!(last, Some(RelayNews::Lagged)), "{last:?}");
    client.handle().subscribe(sub, vec![kind(5050)]).unwrap();
    let mut came = 0;
    while let Some((_, news)) = client.try_recv() {
        came += usize::from(matches!(news, RelayNews::Event(..)));
    }
    assert_eq!(came, 100);
}

#[tokio::test]
async fn of_ten_thousand_subscriptions_only_the_one_that_is_meant_hears() {
    let hub = Hub::new(HubConfig::default());
    let mut client = local(&hub, 64);
    next(&mut client).await;
    let jobs: Vec<Verified> = (0..10_000).map(|n| event(5050, &n.to_string(), &[])).collect();
    for job in &jobs {
        let answers = Filter::new().event(nostr::EventId::from_byte_array(*job.id().as_bytes()));
        client.handle().subscribe(SubId::from(job.id()), vec![answers]).unwrap();
        assert!(matches!(next(&mut client).await, RelayNews::Stored(_)));
    }
    assert_eq!(hub.stats().subscriptions, 10_000);
    let id = jobs[7].id().to_hex();
    assert_eq!(hub.publish(&event(7000, "", &[&["e", &id]])), Verdict::Stored);
    match client.try_recv() {
        Some((_, RelayNews::Event(sub, _))) => assert_eq!(sub.as_str(), id),
        other => panic!("{other:?}"),
    }
    assert!(client.try_recv().is_none());
    drop(client);
    assert_eq!(hub.stats().subscriptions, 0);
}

#[tokio::test]
async fn a_probe_tells_what_the_relay_does() {
    // Only the first test of a process installs it; the others find it there.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (_, url) = relay(HubConfig::default()).await;
    let found = within(probe(&url)).await.unwrap();
    assert!(found.write_ok && found.read_back, "{found:?}");
    assert_eq!(found.nip11.unwrap()["supported_nips"], json!([1, 9, 11, 40, 42, 45]));
    assert!(probe(&RelayUrl::parse("ws://127.0.0.1:1").unwrap()).await.is_err());
}
