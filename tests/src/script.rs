//! Model servers that do what a test wants of them.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use openagents_node::config::OpenAiServer;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

/// What a server does with a question.
#[derive(Clone, Copy, Debug)]
pub enum Script {
    /// It answers this.
    Answers(&'static str),
    /// It says that it cannot.
    Fails,
    /// It begins to answer, waits until that was read, and goes.
    BreaksOff,
}

/// A server, and how often it was asked.
pub struct ScriptedModel {
    /// How a node uses it.
    pub settings: OpenAiServer,
    /// How often it was asked.
    pub asked: Arc<AtomicUsize>,
}

/// A server with these models.
pub async fn scripted_model(models: &[&str], script: Script) -> ScriptedModel {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let list: Vec<Value> = models.iter().map(|id| json!({ "id": id, "object": "model" })).collect();
    let list = json!({ "object": "list", "data": list }).to_string();
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = asked.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(BufReader::new(stream), list.clone(), script, counter.clone()));
        }
    });
    let models = models.iter().map(ToString::to_string).collect();
    ScriptedModel { settings: OpenAiServer { url, models, key_file: None }, asked }
}

async fn answer(mut stream: BufReader<TcpStream>, list: String, script: Script, asked: Arc<AtomicUsize>) {
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
    let head = |status: &str, kind: &str| {
        format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\nconnection: close\r\n\r\n")
    };
    let text = if body.is_empty() {
        head("200 OK", "application/json") + &list
    } else {
        asked.fetch_add(1, Ordering::Relaxed);
        let piece =
            |text: &str| format!("data: {}\n\n", json!({ "choices": [{ "delta": { "content": text } }] }));
        let end = json!({ "choices": [{ "delta": {}, "finish_reason": "stop" }] });
        match script {
            Script::Answers(text) => {
                head("200 OK", "text/event-stream")
                    + &piece(text)
                    + &format!("data: {end}\n\ndata: [DONE]\n\n")
            }
            Script::Fails => head("500 Internal Server Error", "application/json"),
            Script::BreaksOff => {
                let begun = head("200 OK", "text/event-stream") + &piece("It begins");
                let _ = stream.write_all(begun.as_bytes()).await;
                tokio::time::sleep(std::time::Duration::from_millis(700)).await;
                return;
            }
        }
    };
    let _ = stream.write_all(text.as_bytes()).await;
}
