//! Addresses that lead to private places, in every spelling and by every detour, for web addresses and
//! for the relays that inputs name: real listeners count who comes, and nobody does (X1, X2).

use std::net::{IpAddr, Ipv4Addr};

use futures::future::join_all;

use super::{chain::Market, *};

const INNER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
// Only Linux answers on all of 127.0.0.0/8; there 127.0.0.2 stands for the public internet.
#[cfg(target_os = "linux")]
const OUTER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

fn leading_to(addresses: Vec<IpAddr>) -> Arc<dyn Lookup> {
    Arc::new(Answers::new(addresses))
}

/// The addresses of the table for the web, as addresses of relays. One is left out: relays listen on any
/// port, so `8.8.8.8:22` would be dialled.
fn as_relays(port: u16) -> Vec<String> {
    let private = REFUSED.iter().filter(|template| !template.contains("8.8.8.8"));
    let both = private.flat_map(|template| {
        let rest = template.split_once("://").map_or(*template, |(_, rest)| rest);
        ["ws://", "wss://"].map(|scheme| format!("{scheme}{rest}"))
    });
    both.map(|url| url.replace("PORT", &port.to_string())).collect()
}

#[tokio::test]
async fn no_private_relay_is_ever_dialled() {
    let (port, count) = server("").await;
    let relays = as_relays(port);
    assert!(relays.len() >= 2 * 60, "{}", relays.len());
    // Whatever name is looked up leads to the listener.
    let market = Market::with_lookup(&[], leading_to(vec![INNER]));
    let ask = |input_type, relay: &String| {
        let mut input = JobInput { input_type, ..JobInput::text("5e".repeat(32)) };
        input.relay = Some(relay.clone());
        let (market, relay) = (&market, relay.clone());
        async move { (relay, market.read(input).await) }
    };
    for input_type in [InputType::Event, InputType::Job] {
        for (relay, read) in join_all(relays.iter().map(|relay| ask(input_type, relay))).await {
            let error = read.unwrap_err();
            let told = error.contains("is not dialled") || error.contains("does not answer");
            assert!(told, "{relay}: {error}");
            assert!(!error.contains("too many"), "{relay} was not even looked at: {error}");
        }
    }
    assert_eq!(count.load(Ordering::SeqCst), 0, "the listener was reached");
}

/// A server at 127.0.0.2 on `port`, which redirects `/n` to `/n-1` and `/0` to `target`, and counts.
#[cfg(target_os = "linux")]
async fn detour(port: u16, target: String) -> Arc<AtomicUsize> {
    let listener = TcpListener::bind((OUTER, port)).await.unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let counter = count.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counter.fetch_add(1, Ordering::SeqCst);
            let mut buffer = [0; 4096];
            let read = stream.read(&mut buffer).await.unwrap_or(0);
            let head = String::from_utf8_lossy(&buffer[..read]).into_owned();
            let hops: usize = head.split(['/', ' ']).nth(2).and_then(|n| n.parse().ok()).unwrap_or(0);
            let location = hops.checked_sub(1).map_or_else(|| target.clone(), |left| format!("/{left}"));
            let answer = format!(
                "HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            );
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    count
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_redirect_to_a_private_place_is_not_followed_at_any_hop() {
    let (port, inner) = server(HELLO).await;
    let targets = [
        "http://127.0.0.1:PORT/",
        "//127.0.0.1:PORT/",
        "http://2130706433:PORT/",
        "http://0x7f.1:PORT/",
        "http://[::ffff:127.0.0.1]:PORT/",
        "http://localhost:PORT/",
        "http://0.0.0.0:PORT/",
        "http://private.example.com:PORT/",
        "http://user:pw@127.0.0.1:PORT/",
        "file:///etc/passwd",
    ];
    for target in targets.map(|target| target.replace("PORT", &port.to_string())) {
        let (way_port, _) = server("").await;
        let outer = detour(way_port, target.clone()).await;
        let resolver = Resolver::with_lookup(&[OUTER.to_string()], leading_to(vec![INNER]));
        for hops in 0..REDIRECTS {
            let outcome = fetch(&resolver, format!("http://{OUTER}:{way_port}/{hops}")).await;
            assert!(matches!(outcome, Err(ResolveError::Refused(_))), "{target} at {hops}: {outcome:?}");
        }
        assert_eq!(outer.load(Ordering::SeqCst), 1 + 2 + 3, "the way to {target} was walked");
    }
    assert_eq!(inner.load(Ordering::SeqCst), 0, "the private place was reached");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_name_that_turns_private_at_a_later_hop_gains_nothing() {
    let (port, inner) = server(HELLO).await;
    let outer = detour(port, "/".into()).await;
    for public_looks in 1..=REDIRECTS {
        let mut answers = vec![OUTER; public_looks];
        answers.push(INNER);
        let resolver = Resolver::with_lookup(&[OUTER.to_string()], leading_to(answers));
        let outcome = fetch(&resolver, format!("http://flip.example.com:{port}/9")).await;
        assert!(matches!(outcome, Err(ResolveError::Refused(_))), "{public_looks}: {outcome:?}");
    }
    assert_eq!(outer.load(Ordering::SeqCst), 1 + 2 + 3);
    assert_eq!(inner.load(Ordering::SeqCst), 0, "the second answer was connected to");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_relay_whose_name_turns_private_gains_nothing() {
    let (port, inner) = server("").await;
    let outer = detour(port, "/".into()).await;
    // An input of type job asks again and again, and each time the name is looked up.
    for input_type in [InputType::Event, InputType::Job] {
        let market = Market::with_lookup(&[&OUTER.to_string()], leading_to(vec![OUTER, INNER]));
        let mut input = JobInput { input_type, ..JobInput::text("5e".repeat(32)) };
        input.relay = Some(format!("wss://flip.example.com:{port}"));
        for _ in 0..2 {
            let error = market.read(input.clone()).await.unwrap_err();
            assert!(error.contains("does not answer"), "{error}");
        }
    }
    assert_eq!(outer.load(Ordering::SeqCst), 2, "the first answer of each was dialled");
    assert_eq!(inner.load(Ordering::SeqCst), 0, "the second answer was connected to");
}
