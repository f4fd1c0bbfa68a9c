//! A server of our own that speaks as Ollama does, by the types of its API and what is known of its behaviour: it
//! stands in for the real one, which does not run here. It writes down what it is asked, and misbehaves when told.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use openagents_backend::{
    Backend, Ollama, OllamaSettings,
    conformance::servers::{Facts, Subject},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::CancellationToken;

/// What it answers: a character of several bytes lies on the border of two chunks.
pub(crate) const ANSWER: &str = "The lazy dög runs the märket 42.";
pub(crate) const DIGEST: &str = "0a8c266910232fd3291e71e5ba1e058cc5af9d411192cf88b6d30e92b6e73163";

/// How it misbehaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fault {
    #[default]
    None,
    Hangs,
    /// What it sends is no JSON from the second line on.
    Garbles,
    /// A line with an error, under status 200.
    ErrorInTheMiddle,
    /// The stream ends without its last line.
    NoEnd,
    /// Counts are left out, as they are where they are 0.
    NoCounts,
    /// It has no room.
    Busy,
    /// The model is gone.
    NoModel,
}

#[derive(Default)]
struct State {
    fault: Fault,
    /// The paths it was asked, and the bodies.
    asked: Vec<(String, Value)>,
    digest: String,
    running: Option<CancellationToken>,
}

/// The server.
#[derive(Clone)]
pub(crate) struct FakeOllama {
    address: std::net::SocketAddr,
    state: Arc<Mutex<State>>,
}

impl FakeOllama {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let fake = Self { address, state: Arc::default() };
        fake.state().digest = DIGEST.into();
        fake.serve(listener);
        fake
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn fault(&self, fault: Fault) {
        self.state().fault = fault;
    }

    /// The tag is moved to other weights.
    pub(crate) fn moves_its_tag(&self) {
        self.state().digest = "f".repeat(64);
    }

    pub(crate) fn asked(&self) -> Vec<(String, Value)> {
        self.state().asked.clone()
    }

    fn serve(&self, listener: TcpListener) {
        let running = CancellationToken::new();
        self.state().running = Some(running.clone());
        let fake = self.clone();
        tokio::spawn(async move {
            let accept = async {
                while let Ok((stream, _)) = listener.accept().await {
                    let (fake, running) = (fake.clone(), running.clone());
                    tokio::spawn(async move { running.run_until_cancelled(fake.connection(stream)).await });
                }
            };
            running.run_until_cancelled(accept).await;
        });
    }

    fn end(&self) {
        if let Some(running) = self.state().running.take() {
            running.cancel();
        }
    }

    async fn again(&self) {
        loop {
            match TcpListener::bind(self.address).await {
                Ok(listener) => return self.serve(listener),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    async fn connection(&self, stream: TcpStream) {
        let mut stream = BufReader::new(stream);
        let (mut first, mut line, mut length) = (String::new(), String::new(), 0);
        if stream.read_line(&mut first).await.is_err() {
            return;
        }
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
        let words: Vec<&str> = first.split(' ').collect();
        let [method, path, _] = words.as_slice() else { return };
        let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        self.state().asked.push((format!("{method} {path}"), body.clone()));
        self.answer(stream.into_inner(), &format!("{method} {path}"), &body).await;
    }

    async fn answer(&self, stream: TcpStream, asked: &str, body: &Value) {
        match asked {
            "GET /api/version" => reply(stream, 200, &json!({ "version": "0.33.1" })).await,
            "GET /api/tags" => reply(stream, 200, &self.tags()).await,
            "GET /api/ps" => reply(stream, 200, &json!({ "models": [{ "name": "tiny:latest" }] })).await,
            "POST /api/show" => reply(stream, 200, &shown(body["model"].as_str().unwrap_or_default())).await,
            "POST /api/chat" => self.chat(stream, body).await,
            "POST /api/embed" => embed(stream, body).await,
            _ => reply(stream, 404, &json!({ "error": "not found" })).await,
        }
    }

    fn tags(&self) -> Value {
        let digest = self.state().digest.clone();
        let model = |name: &str, digest: &str| json!({ "name": name, "model": name, "size": 571_232, "digest": digest, "details": { "format": "gguf" } });
        let mut remote = model("big:latest", DIGEST);
        remote["remote_model"] = "gpt-oss:120b".into();
        remote["remote_host"] = "https://ollama.com:443".into();
        json!({ "models": [
            model("gpt-oss:120b-cloud", DIGEST),
            remote,
            model("tiny:latest", &digest),
            model("minilm:latest", &"b".repeat(64)),
        ] })
    }

    async fn chat(&self, mut stream: TcpStream, body: &Value) {
        let fault = self.state().fault;
        match fault {
            Fault::Hangs => return std::future::pending().await,
            Fault::Busy => {
                return reply(stream, 503, &json!({ "error": "server busy, please try again" })).await;
            }
            Fault::NoModel => return reply(stream, 404, &json!({ "error": "model 'tiny' not found" })).await,
            _ => {}
        }
        let prompt = body["messages"].as_array().and_then(|all| all.last()).cloned().unwrap_or_default();
        let read = prompt["content"].as_str().unwrap_or_default().split_whitespace().count() as u64 + 2;
        if read > body["options"]["num_ctx"].as_u64().unwrap_or(4_096) {
            let error = "the input length exceeds the context length";
            return reply(stream, 400, &json!({ "error": error })).await;
        }
        let most = body["options"]["num_predict"].as_u64().unwrap_or(128);
        let text = if body["format"].is_object() {
            "{\"n\": 3}".to_owned()
        } else {
            cut(ANSWER, &body["options"]["stop"])
        };
        let pieces: Vec<&str> = text.split_inclusive(' ').collect();
        let mut lines = Vec::new();
        let mut written = 0;
        for piece in pieces.iter().take(usize::try_from(most).unwrap()) {
            written += 1;
            lines.push(json!({ "model": "tiny:latest", "message": { "role": "assistant", "content": piece }, "done": false }).to_string());
        }
        match fault {
            Fault::Garbles => lines.insert(1, "<html>502</html>".into()),
            Fault::ErrorInTheMiddle => {
                lines.insert(1, json!({ "error": "llama runner process has terminated" }).to_string())
            }
            _ => {}
        }
        let reason = if written < pieces.len() { "length" } else { "stop" };
        let mut last = json!({ "model": "tiny:latest", "message": { "role": "assistant", "content": "" }, "done": true, "done_reason": reason });
        if fault != Fault::NoCounts {
            last["prompt_eval_count"] = read.into();
            last["eval_count"] = written.into();
        }
        if fault != Fault::NoEnd {
            lines.push(last.to_string());
        }
        let head =
            "HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n";
        let _ = stream.write_all(head.as_bytes()).await;
        let bytes: Vec<u8> = lines.iter().flat_map(|line| format!("{line}\n").into_bytes()).collect();
        // Three bytes a chunk: characters of two lie on borders.
        for chunk in bytes.chunks(3) {
            let mut framed = format!("{:x}\r\n", chunk.len()).into_bytes();
            framed.extend_from_slice(chunk);
            framed.extend_from_slice(b"\r\n");
            if stream.write_all(&framed).await.is_err() {
                return;
            }
            let _ = stream.flush().await;
        }
        let _ = stream.write_all(b"0\r\n\r\n").await;
    }
}

/// The text up to the first stop text in it, as the real one cuts it.
fn cut(text: &str, stops: &Value) -> String {
    let stops = stops.as_array().into_iter().flatten().filter_map(Value::as_str);
    let at = stops.filter_map(|stop| text.find(stop)).min().unwrap_or(text.len());
    text[..at].to_owned()
}

fn shown(model: &str) -> Value {
    let capabilities = if model.starts_with("minilm") { json!(["embedding"]) } else { json!(["completion"]) };
    let info = json!({ "general.architecture": "llama", "llama.context_length": 4_096 });
    json!({ "details": { "format": "gguf" }, "model_info": info, "capabilities": capabilities })
}

async fn embed(stream: TcpStream, body: &Value) {
    let texts: Vec<&str> = body["input"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let vector = |text: &&str| {
        let sum: u32 = text.bytes().map(u32::from).sum();
        json!([text.len(), f64::from(sum), 1.5])
    };
    let vectors: Vec<Value> = texts.iter().map(vector).collect();
    reply(
        stream,
        200,
        &json!({ "model": "minilm", "embeddings": vectors, "prompt_eval_count": texts.len() * 2 }),
    )
    .await;
}

async fn reply(mut stream: TcpStream, status: u16, body: &Value) {
    let text = body.to_string();
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        text.len()
    );
    let _ = stream.write_all(format!("{head}{text}").as_bytes()).await;
}

/// The fake one under test.
pub(crate) struct Subjected {
    pub(crate) fake: FakeOllama,
    backend: Arc<dyn Backend>,
}

impl Subjected {
    pub(crate) async fn new() -> Self {
        let fake = FakeOllama::start().await;
        let backend = backend(&fake, &[]);
        Self { fake, backend }
    }
}

/// A backend on it that sells these models.
pub(crate) fn backend(fake: &FakeOllama, models: &[&str]) -> Arc<dyn Backend> {
    let settings = OllamaSettings {
        url: fake.url(),
        models: models.iter().map(|model| (*model).to_owned()).collect(),
        context: 0,
        keep_alive: "10m".into(),
        slots: 1,
    };
    Arc::new(Ollama::new(settings).unwrap())
}

#[async_trait]
impl Subject for Subjected {
    fn backend(&self) -> Arc<dyn Backend> {
        self.backend.clone()
    }

    fn facts(&self) -> Facts {
        Facts {
            answer: ANSWER,
            tokens: Some(7),
            stop: "dög",
            digest: true,
            schemas: true,
            embeds: true,
            returns: false,
        }
    }

    async fn hang(&mut self, hangs: bool) {
        self.fake.fault(if hangs { Fault::Hangs } else { Fault::None });
    }

    async fn garble(&mut self, garbles: bool) -> bool {
        self.fake.fault(if garbles { Fault::Garbles } else { Fault::None });
        true
    }

    async fn take_away(&mut self) {
        self.fake.end();
    }

    async fn bring_back(&mut self) {
        self.fake.again().await;
    }
}
