//! What is fetched and what is not, against a real listener that counts who comes.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

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

#[tokio::test]
async fn what_the_operator_allowed_is_fetched_and_nothing_else() {
    let (port, _) = server("HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello").await;
    let url = format!("http://127.0.0.1:{port}/");
    for allowed in ["127.0.0.1", "127.0.0.0/8"] {
        let inputs = Resolver::new(&[allowed.into()]).resolve(&[JobInput::url(url.clone())]).await.unwrap();
        assert_eq!(
            (inputs[0].bytes.as_slice(), inputs[0].mime.as_str()),
            (b"hello".as_slice(), "text/plain")
        );
    }
    let named = Resolver::new(&[format!("localhost:{port}")]);
    assert!(named.resolve(&[JobInput::url(format!("http://localhost:{port}/"))]).await.is_ok());
    let other = named.resolve(&[JobInput::url("http://127.0.0.1/")]).await;
    assert!(matches!(other, Err(ResolveError::Refused(_))));
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
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        let block = vec![b'x'; 1 << 20];
        while stream.write_all(&block).await.is_ok() {}
    });
    let resolver = Resolver::new(&["127.0.0.1".into()]);
    let outcome = resolver.resolve(&[JobInput::url(format!("http://127.0.0.1:{port}/"))]).await;
    assert_eq!(outcome, Err(ResolveError::TooLarge));
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
}
