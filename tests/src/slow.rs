//! A model server that works when it is let.

use std::sync::Arc;

use openagents_node::config::OpenAiServer;
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpListener,
    sync::Semaphore,
};

/// A model server that writes nothing before it is let.
pub async fn slow_model() -> (OpenAiServer, Arc<Semaphore>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let gate = Arc::new(Semaphore::new(0));
    let open = gate.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(BufReader::new(stream), open.clone()));
        }
    });
    (OpenAiServer { url, models: vec!["m".into()], key_file: None }, gate)
}

async fn answer(mut stream: BufReader<tokio::net::TcpStream>, gate: Arc<Semaphore>) {
    let (mut line, mut length) = (String::new(), 0);
    while stream.read_line(&mut line).await.is_ok_and(|read| read > 2) {
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        line.clear();
    }
    let mut body = vec![0; length];
    if stream.read_exact(&mut body).await.is_err() {
        return;
    }
    if body.is_empty() {
        // What models there are is no secret.
        let text = json!({ "object": "list", "data": [{ "id": "m", "object": "model" }] }).to_string();
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n";
        let _ =
            stream.write_all(format!("{head}content-length: {}\r\n\r\n{text}", text.len()).as_bytes()).await;
        return;
    }
    let _let = gate.acquire().await.unwrap();
    let piece = json!({ "choices": [{ "delta": { "content": "written late" } }] });
    let end = json!({ "choices": [{ "delta": {}, "finish_reason": "stop" }] });
    let text = format!("data: {piece}\n\ndata: {end}\n\ndata: [DONE]\n\n");
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n";
    let _ = stream.write_all(format!("{head}content-length: {}\r\n\r\n{text}", text.len()).as_bytes()).await;
}
