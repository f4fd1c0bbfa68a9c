//! What answers on a port is asked, never guessed.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    sync::{Arc, Mutex},
};

use openagents_node::detect::{ServerKind, model_servers};

/// A server that knows some paths; every request line it hears is written down.
struct Server {
    port: u16,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(name: &'static str, pages: &'static [(&'static str, &'static str)]) -> Self {
        openagents_node::install_tls();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let noted = heard.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                let request = lines.next().unwrap().unwrap();
                while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
                let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
                noted.lock().unwrap().push(request);
                let page = pages.iter().find(|(known, _)| *known == path);
                let (status, body) = page.map_or(("404 Not Found", "{}"), |(_, body)| ("200 OK", *body));
                let length = body.len();
                let head = format!(
                    "HTTP/1.1 {status}\r\nserver: {name}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
                );
                let _ = stream.write_all((head + body).as_bytes());
            }
        });
        Self { port, heard }
    }
}

const ONE: (&str, &str) = ("/v1/models", r#"{"data":[{"id":"m","owned_by":"x"}]}"#);

#[tokio::test]
async fn each_server_is_known_by_what_it_says() {
    let props = ("/props", r#"{"total_slots":3,"build_info":"b1"}"#);
    let vllm = ("/v1/models", r#"{"data":[{"id":"m","owned_by":"vllm"}]}"#);
    let studio = ("/api/v0/models", r#"{"data":[{"publisher":"p","arch":"a"}]}"#);
    let apple = ("/v1/models", r#"{"data":[{"id":"apple-foundationmodel"}]}"#);
    let start = |name, pages: &[(&'static str, &'static str)]| Server::start(name, pages.to_vec().leak());
    let servers = [
        (start("", &[ONE, ("/api/version", r#"{"version":"0.33.1"}"#)]), ServerKind::Ollama),
        (start("llama.cpp", &[ONE]), ServerKind::LlamaCpp),
        (start("", &[ONE, props]), ServerKind::LlamaCpp),
        (start("BaseHTTP/0.6 Python/3.11", &[ONE]), ServerKind::Mlx),
        (start("uvicorn", &[vllm]), ServerKind::Vllm),
        (start("", &[ONE, studio]), ServerKind::LmStudio),
        (start("", &[apple]), ServerKind::Apple),
        (start("nginx", &[ONE]), ServerKind::OpenAi),
    ];
    let ports: Vec<u16> = servers.iter().map(|(server, _)| server.port).collect();
    let found = model_servers(&ports).await;
    let kinds: Vec<ServerKind> = found.iter().map(|server| server.kind).collect();
    assert_eq!(kinds, servers.iter().map(|(_, kind)| *kind).collect::<Vec<_>>());
    assert_eq!(found[0].version.as_deref(), Some("0.33.1"));
    assert_eq!((found[2].slots, found[2].version.as_deref()), (Some(3), Some("b1")));
    assert_eq!(found[7].models, ["m"]);
    for (server, _) in &servers {
        assert!(server.heard.lock().unwrap().iter().all(|request| request.starts_with("GET ")));
    }
}

#[tokio::test]
async fn what_is_no_model_server_is_left_alone() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let others = [
        Server::start("nginx", &[("/", "hello")]),
        Server::start("", &[("/v1/models", "<html>")]),
        Server::start("", &[("/v1/models", r#"{"data":[]}"#)]),
        Server::start("", &[("/v1/models", r#"{"data":[{"id":"a\u001b[31m"}]}"#)]),
        Server::start("", &[("/api/version", r#"{"version":"1"}"#)]),
    ];
    let mut ports: Vec<u16> = others.iter().map(|server| server.port).collect();
    ports.extend([free, silent.local_addr().unwrap().port()]);
    let started = std::time::Instant::now();
    assert_eq!(model_servers(&ports).await, []);
    assert!(started.elapsed() < std::time::Duration::from_secs(5));
}
