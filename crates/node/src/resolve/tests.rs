//! What is fetched and what is not, against a real listener that counts who comes.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

mod chain;
mod private;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use nostr::Keys;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;

/// A server that answers every request with `answer`, and counts them.
async fn server(answer: &'static str) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let count = Arc::new(AtomicUsize::new(0));
    let counter = count.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counter.fetch_add(1, Ordering::SeqCst);
            let mut buffer = [0; 4096];
            let _ = stream.read(&mut buffer).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (port, count)
}

const REFUSED: &[&str] = &[
    "http://127.0.0.1/",
    "http://127.0.0.1:PORT/",
    "http://127.1/",
    "http://127.0.1/",
    "http://0/",
    "http://0.0.0.0:PORT/",
    "http://2130706433/",
    "http://2130706433:PORT/",
    "http://0x7f000001/",
    "http://0x7f.1/",
    "http://017700000001/",
    "http://0177.0.0.1/",
    "http://127.0.0.1./",
    "http://localhost/",
    "http://localhost:PORT/",
    "http://LOCALHOST/",
    "http://localhost./",
    "http://a.localhost/",
    "http://printer.local/",
    "http://db.internal/",
    "http://intranet/",
    "http://router.home.arpa/",
    "http://[::1]/",
    "http://[::1]:PORT/",
    "http://[::]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/",
    "http://[::ffff:10.0.0.1]/",
    "http://[64:ff9b::7f00:1]/",
    "http://[64:ff9b::a00:1]/",
    "http://[2002:7f00:1::]/",
    "http://[2002:a00:1::]/",
    "http://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/",
    "http://[fe80::1]/",
    "http://[fc00::1]/",
    "http://[fd12:3456::1]/",
    "http://[ff02::1]/",
    "http://[2001:db8::1]/",
    "http://10.0.0.1/",
    "http://10.255.255.255/",
    "http://172.16.0.1/",
    "http://172.31.255.255/",
    "http://192.168.1.1/",
    "http://169.254.169.254/latest/meta-data/",
    "http://169.254.1.1/",
    "http://100.64.0.1/",
    "http://100.127.255.255/",
    "http://192.0.0.1/",
    "http://192.0.2.1/",
    "http://198.18.0.1/",
    "http://198.51.100.1/",
    "http://203.0.113.1/",
    "http://224.0.0.1/",
    "http://240.0.0.1/",
    "http://255.255.255.255/",
    "https://127.0.0.1/",
    "ftp://example.com/",
    "file:///etc/passwd",
    "gopher://example.com/",
    "javascript:alert(1)",
    "http://user:pw@example.com/",
    "http://example.com@127.0.0.1/",
    "http://8.8.8.8:22/",
    "http://example.com:8080/",
    "http://",
    "",
    "not a url",
    "http://１２７.０.０.１/",
    "http://①②⑦.⓪.⓪.①/",
];

#[tokio::test]
async fn nothing_private_is_ever_fetched() {
    let (port, count) = server("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecret").await;
    let resolver = Resolver::new(&[]);
    for template in REFUSED {
        let url = template.replace("PORT", &port.to_string());
        let outcome = resolver.resolve(&[JobInput::url(url.clone())]).await;
        assert!(matches!(outcome, Err(ResolveError::Refused(_))), "{url}: {outcome:?}");
    }
    assert_eq!(count.load(Ordering::SeqCst), 0, "the listener was reached");
}

const HELLO: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello";

async fn fetch(resolver: &Resolver, url: String) -> Result<ResolvedInput, ResolveError> {
    Ok(resolver.resolve(&[JobInput::url(url)]).await?.remove(0))
}

#[tokio::test]
async fn what_the_operator_allowed_is_fetched() {
    let (port, _) = server(HELLO).await;
    let literal = format!("127.0.0.1:{port}");
    for allowed in ["127.0.0.1", "127.0.0.0/8", literal.as_str()] {
        let input =
            fetch(&Resolver::new(&[allowed.into()]), format!("http://127.0.0.1:{port}/")).await.unwrap();
        assert_eq!((input.bytes.as_slice(), input.mime.as_str()), (b"hello".as_slice(), "text/plain"));
    }
    for allowed in ["localhost".to_owned(), format!("LOCALHOST:{port}"), "127.0.0.0/8".to_owned()] {
        let fetched =
            fetch(&Resolver::new(std::slice::from_ref(&allowed)), format!("http://localhost:{port}/")).await;
        assert!(fetched.is_ok(), "{allowed}: {fetched:?}");
    }
}

#[tokio::test]
async fn what_the_operator_allowed_opens_nothing_else() {
    let (port, count) = server(HELLO).await;
    let lookup: Arc<dyn Lookup> = Arc::new(Answers::new(vec!["127.0.0.1".parse().unwrap()]));
    for (allowed, url) in [
        (format!("127.0.0.1:{}", port ^ 1), format!("http://127.0.0.1:{port}/")),
        ("127.0.0.2".into(), format!("http://127.0.0.1:{port}/")),
        ("127.0.0.2".into(), format!("http://files.example.com:{port}/")),
        ("127.0.0.2".into(), "http://8.8.8.8:22/".into()),
        ("127.0.0.0/8".into(), format!("http://[::ffff:127.0.0.1]:{port}/")),
        ("files.example.com:1".into(), format!("http://files.example.com:{port}/")),
        // A port that was opened does not open the usual ones of the same host.
        (format!("files.example.com:{port}"), "http://files.example.com/".into()),
        ("example.com".into(), format!("http://files.example.com:{port}/")),
        ("localhost".into(), format!("http://127.0.0.1:{port}/")),
    ] {
        let resolver = Resolver::with_lookup(std::slice::from_ref(&allowed), lookup.clone());
        let outcome = fetch(&resolver, url.clone()).await;
        assert!(matches!(outcome, Err(ResolveError::Refused(_))), "{allowed} opened {url}: {outcome:?}");
    }
    assert_eq!(count.load(Ordering::SeqCst), 0, "the listener was reached");
}

#[test]
fn an_entry_that_is_no_host_and_no_network_is_named() {
    for entry in
        ["10.0.0.0/33", "10.0.0.0/x", "::1/129", "", "a b", "host:port", "host:99999", "http://host/"]
    {
        let error = check_allowed(&[entry.into()]).unwrap_err().to_string();
        assert!(error.contains(entry), "{entry}: {error}");
    }
    let good = [
        "10.0.0.0/8",
        "::/0",
        "[::1]",
        "[::1]:80",
        "10.0.0.1",
        "10.0.0.1:80",
        "files",
        "files:8080",
        "bücher.example",
    ];
    assert_eq!(check_allowed(&good.map(String::from)), Ok(()));
}

/// A name server that gives one answer after the other, and the last one forever.
struct Answers(std::sync::Mutex<Vec<std::net::IpAddr>>);

impl Answers {
    fn new(mut answers: Vec<std::net::IpAddr>) -> Self {
        answers.reverse();
        Self(answers.into())
    }
}

impl Lookup for Answers {
    fn lookup(
        &self,
        _: String,
    ) -> futures::future::BoxFuture<'static, std::io::Result<Vec<std::net::IpAddr>>> {
        let mut answers = self.0.lock().unwrap();
        let answer = if answers.len() > 1 { answers.pop() } else { answers.last().copied() };
        Box::pin(async move { Ok(answer.into_iter().collect()) })
    }
}

#[tokio::test]
async fn a_name_that_leads_to_a_private_address_is_not_followed() {
    for private in
        ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "::ffff:127.0.0.1", "fd00::1", "64:ff9b::7f00:1"]
    {
        let resolver = Resolver::with_lookup(&[], Arc::new(Answers::new(vec![private.parse().unwrap()])));
        let outcome = fetch(&resolver, "http://innocent.example.com/".into()).await;
        assert!(matches!(outcome, Err(ResolveError::Refused(_))), "{private}: {outcome:?}");
    }
}

#[tokio::test]
async fn a_node_without_relays_refuses_events_by_name() {
    let mut input = JobInput::text("00");
    input.input_type = InputType::Event;
    let error = Resolver::new(&[]).resolve(&[input]).await.unwrap_err();
    assert_eq!(error.to_string(), "this provider does not read inputs of type event; send text or a url");
}

#[tokio::test]
async fn inputs_count_together() {
    let half = JobInput::text("x".repeat(LARGEST / 2 + 1));
    let resolver = Resolver::new(&[]);
    assert!(resolver.resolve(std::slice::from_ref(&half)).await.is_ok());
    assert_eq!(resolver.resolve(&[half.clone(), half]).await, Err(ResolveError::TooLarge));
}

#[tokio::test]
async fn a_redirect_is_checked_like_the_address_it_came_from() {
    let (inner, count) = server("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecret").await;
    let answer = format!(
        "HTTP/1.1 302 Found\r\nlocation: http://[::ffff:127.0.0.1]:{inner}/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    );
    let (outer, _) = server(Box::leak(answer.into_boxed_str())).await;
    let resolver = Resolver::new(&[format!("localhost:{outer}")]);
    let outcome = resolver.resolve(&[JobInput::url(format!("http://localhost:{outer}/"))]).await;
    assert!(matches!(outcome, Err(ResolveError::Refused(_))), "{outcome:?}");
    assert_eq!(count.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_loop_of_redirects_ends() {
    let answer = "HTTP/1.1 302 Found\r\nlocation: /again\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let (port, count) = server(answer).await;
    let resolver = Resolver::new(&["127.0.0.1".into()]);
    let outcome = resolver.resolve(&[JobInput::url(format!("http://127.0.0.1:{port}/"))]).await;
    assert!(matches!(outcome, Err(ResolveError::Failed(_))), "{outcome:?}");
    assert_eq!(count.load(Ordering::SeqCst), REDIRECTS + 1);
}

#[tokio::test]
async fn a_body_without_end_is_cut_off() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = [0; 4096];
        let _ = stream.read(&mut buffer).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        let block = vec![b'x'; 1 << 20];
        while stream.write_all(&block).await.is_ok() {}
    });
    let resolver = Resolver::new(&["127.0.0.1".into()]);
    let outcome = resolver.resolve(&[JobInput::url(format!("http://127.0.0.1:{port}/"))]).await;
    assert_eq!(outcome, Err(ResolveError::TooLarge));
}

/// 10 MiB and one byte of zeros, packed by brotli (RFC 7932).
const ZEROS_IN_BROTLI: &str = "cbffff3ff82700e2b14020f7fe2f010040f04f00c46111c0eefd07";

/// A server that gives `body` once, as packed by `encoding`.
async fn packed(encoding: &'static str, body: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = [0; 4096];
        let _ = stream.read(&mut buffer).await;
        let length = body.len();
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-encoding: {encoding}\r\ncontent-length: {length}\r\n\r\n");
        let _ = stream.write_all(head.as_bytes()).await;
        let _ = stream.write_all(&body).await;
        let _ = stream.read(&mut buffer).await;
    });
    url
}

#[tokio::test]
async fn a_small_body_that_unpacks_to_a_huge_one_is_cut_off() {
    for (encoding, body) in
        [("gzip", zeros_in_gzip(LARGEST + 1)), ("br", hex::decode(ZEROS_IN_BROTLI).unwrap())]
    {
        assert!(body.len() < LARGEST / 100, "{} bytes are not small", body.len());
        let resolver = Resolver::new(&["127.0.0.1".into()]);
        let outcome = fetch(&resolver, packed(encoding, body).await).await;
        assert_eq!(outcome, Err(ResolveError::TooLarge), "{encoding}");
    }
}

#[tokio::test]
async fn a_packing_that_is_not_unpacked_stays_as_small_as_it_came() {
    // The first bytes of a zstd frame (RFC 8878) that claims a terabyte.
    let frame = b"\x28\xb5\x2f\xfd\xc0\0\0\0\0\0\x01\0\0".to_vec();
    for encoding in ["zstd", "deflate", "gzip, gzip"] {
        let resolver = Resolver::new(&["127.0.0.1".into()]);
        match fetch(&resolver, packed(encoding, frame.clone()).await).await {
            Ok(input) => assert_eq!(input.bytes, frame, "{encoding}"),
            Err(error) => assert!(matches!(error, ResolveError::Failed(_)), "{encoding}: {error}"),
        }
    }
}

/// Zeros, at least `size`, as one block with fixed Huffman codes (RFC 1951): a literal zero, then
/// "the 258 bytes before, again", which is 8 bits for code 285 and 5 for distance 1.
fn zeros_in_gzip(size: usize) -> Vec<u8> {
    let mut bits = vec![true, true, false];
    bits.extend([false, false, true, true, false, false, false, false]);
    for _ in 0..size.div_ceil(258) {
        bits.extend([true, true, false, false, false, true, false, true]);
        bits.extend([false; 5]);
    }
    bits.extend([false; 7]);
    let mut packed = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    packed.extend(bits.chunks(8).map(|byte| byte.iter().rev().fold(0, |sum, bit| sum << 1 | u8::from(*bit))));
    // The checksum at the end is never reached.
    packed.extend([0; 8]);
    packed
}

#[tokio::test]
async fn data_in_the_address_itself_needs_no_network() {
    let resolver = Resolver::new(&[]);
    let inputs =
        resolver.resolve(&[JobInput::url("data:text/html;base64,PGh0bWw+aGk8L2h0bWw+")]).await.unwrap();
    assert_eq!(
        (inputs[0].mime.as_str(), inputs[0].bytes.as_slice()),
        ("text/html", b"<html>hi</html>".as_slice())
    );
    assert!(resolver.resolve(&[JobInput::url("data:text/plain;base64,%%%")]).await.is_err());
    let inputs = resolver.resolve(&[JobInput::url("data:,a%20b%2c")]).await.unwrap();
    assert_eq!(inputs[0].bytes, b"a b,");
    assert!(resolver.resolve(&[JobInput::url("data:,%zz")]).await.is_err());
}
