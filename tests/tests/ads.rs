//! A provider is found: what it says of itself is seen by the rules of viewers, and gone when it is.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test that panics has failed, as it should")]

use std::{path::Path, time::Duration};

use nostr::{Filter, Kind};
use openagents_node::{
    Node, Role, WalletChoice,
    config::{LlamaCppServer, OpenAiServer},
    home::Home,
    identity::Identities,
};
use openagents_protocol::{
    Verified,
    ad::{self, Ad},
    filters, listing, profile,
};
use openagents_relay::{Hub, HubConfig, RelayUrl, serve};
use openagents_tests::{ChatServer, Llama, PATIENCE, config, start};
use openagents_types::{JobKind, Millis, Msat, ProviderKey, Timestamp};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

struct Relay {
    url: RelayUrl,
    hub: Hub,
}

impl Relay {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = RelayUrl::parse(&format!("ws://{}", listener.local_addr().unwrap())).unwrap();
        let hub = Hub::new(HubConfig::default());
        tokio::spawn(serve(listener, hub.clone(), CancellationToken::new()));
        Self { url, hub }
    }

    fn of(&self, author: ProviderKey) -> Vec<Verified> {
        self.hub.query(&filters::about_provider(author))
    }

    /// Waits until what it has of a key is as it should be.
    async fn until(&self, author: ProviderKey, is_so: impl Fn(&[Verified]) -> bool) -> Vec<Verified> {
        let wait = async {
            loop {
                let found = self.of(author);
                if is_so(&found) {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        match tokio::time::timeout(PATIENCE, wait).await {
            Ok(found) => found,
            Err(_) => panic!("it never came to that: {:#?}", self.of(author)),
        }
    }
}

async fn provider(home: &Path, relays: &[&RelayUrl], chat: Option<&ChatServer>) -> Node {
    let mut config = config();
    config.relays = relays.iter().map(ToString::to_string).collect();
    config.provider.free = true;
    config.backend.openai = chat
        .map(|chat| OpenAiServer { url: chat.url.clone(), models: Vec::new(), key_file: None })
        .into_iter()
        .collect();
    start(home, config, Role::Provider, WalletChoice::None, false).await
}

fn now() -> Timestamp {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    Timestamp::from_secs(since.as_secs())
}

fn of_kind(events: &[Verified], kind: u16) -> Vec<&Verified> {
    events.iter().filter(|event| event.event().kind.as_u16() == kind).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_that_is_sold_is_seen_and_what_is_published_is_what_was_shown_first() {
    let (relay, home, chat) = (Relay::start().await, tempfile::tempdir().unwrap(), ChatServer::start().await);
    let dead = RelayUrl::parse("ws://127.0.0.1:1").unwrap();
    let node = provider(home.path(), &[&relay.url, &dead], Some(&chat)).await;
    let client = node.client().unwrap();
    let shown = client.ads().await.unwrap();
    let report = client.publish_ads().await.unwrap();
    assert!(report.visible, "{report:#?}");
    let [here, there] = report.relays.as_slice() else { panic!("{report:#?}") };
    let (here, there) = if here.error.is_none() { (here, there) } else { (there, here) };
    assert!(there.error.is_some() && there.ads.iter().all(|ad| !ad.visible));
    assert!(here.profile && here.relay_list);
    assert_eq!(here.ads.iter().map(|ad| ad.kind).collect::<Vec<_>>(), node.up().kinds);
    assert!(here.ads.iter().all(|ad| ad.visible && ad.faults.is_empty()), "{here:#?}");

    let found = relay.of(node.up().provider.unwrap());
    let beats: Vec<Verified> = of_kind(&found, 11_998).into_iter().cloned().collect();
    assert_eq!(beats.len(), 1, "a relay keeps one heartbeat a key");
    for event in of_kind(&found, ad::KIND) {
        assert_eq!(listing::check(event, &beats, now()), []);
        let was_shown = |shown: &serde_json::Value| {
            shown["content"] == event.event().content
                && shown["tags"][0] == json!(event.event().tags.as_slice()[0])
        };
        assert!(shown.events.iter().any(was_shown), "{}", event.json());
    }
    assert!(shown.events.iter().all(|event| event.get("sig").is_none()));
    node.shutdown().await.unwrap();
}

/// Lets what connects here reach `server`.
async fn forward(here: TcpListener, server: String) {
    while let Ok((mut one, _)) = here.accept().await {
        let mut other = TcpStream::connect(&server).await.unwrap();
        tokio::spawn(async move { tokio::io::copy_bidirectional(&mut one, &mut other).await });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_is_advertised_with_its_models_once_its_server_is_there() {
    let Some(llama) = Llama::start() else {
        eprintln!("skipped: run tools/setup_llama.sh and set OPENAGENTS_TEST_LLAMA to what it prints");
        return;
    };
    let (relay, home) = (Relay::start().await, tempfile::tempdir().unwrap());
    let place = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    let mut config = config();
    config.relays = vec![relay.url.to_string()];
    config.provider.free = true;
    let url = format!("http://{place}");
    config.backend.llamacpp = vec![LlamaCppServer { url, ..LlamaCppServer::default() }];
    let node = start(home.path(), config, Role::Provider, WalletChoice::None, false).await;
    let author = node.up().provider.unwrap();
    assert!(node.up().kinds.contains(&JobKind::TEXT_GENERATION), "it is sold as soon as it can be done");
    let advertised = |found: &[Verified], kind: &str| {
        let of = |event: &&Verified| event.event().tags.iter().any(|tag| tag.as_slice() == ["k", kind]);
        of_kind(found, ad::KIND).into_iter().find(of).map(|event| event.event().content.clone())
    };
    let found = relay.until(author, |found| advertised(found, "5001").is_some()).await;
    assert_eq!(advertised(&found, "5050"), None, "nothing can do it");
    let listener = TcpListener::bind(&place).await.unwrap();
    tokio::spawn(forward(listener, llama.url.trim_start_matches("http://").to_owned()));
    let found = relay.until(author, |found| advertised(found, "5050").is_some()).await;
    let said: serde_json::Value = serde_json::from_str(&advertised(&found, "5050").unwrap()).unwrap();
    assert!(said["models"][0]["id"].is_string(), "{said}");
    node.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_earlier_run_left_is_taken_back_and_all_of_it_at_the_end() {
    let (relay, home) = (Relay::start().await, tempfile::tempdir().unwrap());
    let keys = {
        let home = Home::open(Some(home.path().to_path_buf())).unwrap();
        Identities::new(&home).active().unwrap().keys().clone()
    };
    let author = ProviderKey::from_bytes(keys.public_key().to_bytes());
    let left = Ad {
        zaps: None,
        kind: 5_100.try_into().unwrap(),
        name: "n".into(),
        about: "a".into(),
        picture: String::new(),
        base: Msat::new(5),
        per_kib: Msat::ZERO,
        per_1000_output: Msat::ZERO,
        metered: false,
        per_second: Msat::ZERO,
        max_input_bytes: 1,
        timeout: Millis(1_000),
        slots: 1,
        queue_limit: 1,
        models: Vec::new(),
        backend: String::new(),
        params: json!({}),
        relays: Vec::new(),
    };
    let before = now().before(Millis::from_secs(60));
    relay.hub.publish(&ad::encode(&left, &keys, before).unwrap());
    let theirs = [["d", "mine"], ["k", "5100"]].map(|parts| nostr::Tag::parse(parts).unwrap());
    let theirs = Verified::sign(&keys, ad::KIND, theirs.into(), r#"{"name":"other"}"#.into(), before.secs());
    relay.hub.publish(&theirs);
    let me = Verified::sign(&keys, profile::PROFILE, Vec::new(), r#"{"name":"me"}"#.into(), before.secs());
    relay.hub.publish(&me);
    relay.until(author, |found| found.len() == 3).await;

    let node = provider(home.path(), &[&relay.url], None).await;
    let sold = node.up().kinds.len();
    let found = relay
        .until(author, |found| {
            of_kind(found, ad::KIND).len() == sold + 1 && !of_kind(found, profile::RELAY_LIST).is_empty()
        })
        .await;
    let kinds: Vec<JobKind> =
        of_kind(&found, ad::KIND).into_iter().filter_map(ad::ours).map(|(kind, _)| kind).collect();
    assert!(kinds.len() == sold && kinds.iter().all(|kind| node.up().kinds.contains(kind)), "{kinds:?}");
    assert!(found.iter().any(|event| event.id() == theirs.id()), "what another program advertises stays");
    assert_eq!(of_kind(&found, profile::PROFILE)[0].id(), me.id(), "somebody's profile stays as it is");
    node.shutdown().await.unwrap();
    let after = relay.until(author, |found| of_kind(found, ad::KIND).len() == 1).await;
    assert_eq!(of_kind(&after, ad::KIND)[0].id(), theirs.id());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_from_elsewhere_gets_no_profile_that_it_has_not() {
    let (relay, home) = (Relay::start().await, tempfile::tempdir().unwrap());
    let keys = nostr::Keys::generate();
    {
        let home = Home::open(Some(home.path().to_path_buf())).unwrap();
        let secret = keys.secret_key().to_secret_hex();
        Identities::new(&home).import(&secret, "mine").unwrap();
    }
    let author = ProviderKey::from_bytes(keys.public_key().to_bytes());
    let node = provider(home.path(), &[&relay.url], None).await;
    let report = node.client().unwrap().publish_ads().await.unwrap();
    assert!(report.visible && !report.relays[0].profile && !report.relays[0].relay_list, "{report:#?}");
    let said = Filter::new().author(keys.public_key()).kinds([Kind::Metadata, Kind::RelayList]);
    let found = relay.hub.query(&[said]);
    assert!(found.is_empty() && !relay.of(author).is_empty());
    node.shutdown().await.unwrap();
}
