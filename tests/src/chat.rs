//! A chat server that follows a script: `/v1/models` and `/v1/chat/completions` over a real socket. It judges what it is
//! asked about without a stream, and writes what is asked for with one.

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

/// How it judges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// Nothing is wrong.
    Acquits,
    /// It is fraud.
    Convicts,
    /// Words, and no judgement.
    Garbage,
    /// It repeats what it was told, as a model does that obeys what it should judge.
    Misled,
    /// It never answers.
    Hangs,
    /// HTTP 500.
    Breaks,
    /// It knows no schemas, and acquits without one.
    KnowsNoSchema,
    /// It judges nothing, and writes what [`ChatServer::writes`] said.
    Writes,
}

#[derive(Debug)]
struct Script {
    judgement: Judgement,
    writes: String,
    /// Bodies of questions to the judge.
    questions: Vec<Value>,
}

/// The server; it ends with the test's runtime.
#[derive(Clone, Debug)]
pub struct ChatServer {
    /// Its address without `/v1`.
    pub url: String,
    script: Arc<Mutex<Script>>,
}

impl ChatServer {
    /// A server on port 0 that acquits, and writes a harmless sentence.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let writes = "The lighthouse of Genoa is 77 metres high.".to_owned();
        let script = Script { judgement: Judgement::Acquits, writes, questions: Vec::new() };
        let server = Self { url, script: Arc::new(Mutex::new(script)) };
        let serving = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serving.clone().serve(stream));
            }
        });
        server
    }

    fn script(&self) -> std::sync::MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How it judges from now on; forgets what it was asked.
    pub fn judges(&self, judgement: Judgement) {
        let mut script = self.script();
        (script.judgement, script.questions) = (judgement, Vec::new());
    }

    /// What it writes from now on.
    pub fn writes(&self, text: &str) {
        text.clone_into(&mut self.script().writes);
    }

    /// What it was asked to judge since [`Self::judges`].
    pub fn questions(&self) -> Vec<Value> {
        self.script().questions.clone()
    }

    async fn serve(self, stream: TcpStream) {
        let mut stream = BufReader::new(stream);
        while let Some((path, body)) = request(&mut stream).await {
            let (status, kind, answer) = match path.as_str() {
                "/v1/models" => (200, "application/json", json!({ "data": [{ "id": "tiny" }] }).to_string()),
                _ if body["stream"] == true => (200, "text/event-stream", streamed(&self.script().writes)),
                _ => match self.judge(body) {
                    Some((status, answer)) => (status, "application/json", answer),
                    None => std::future::pending().await,
                },
            };
            let length = answer.len();
            let head =
                format!("HTTP/1.1 {status} -\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n");
            if stream.write_all((head + &answer).as_bytes()).await.is_err() {
                return;
            }
        }
    }

    fn judge(&self, body: Value) -> Option<(u16, String)> {
        let mut script = self.script();
        let user = body["messages"][1]["content"].as_str().unwrap_or_default().to_owned();
        let has_schema = body["response_format"]["json_schema"]["schema"].is_object();
        script.questions.push(body);
        let acquittal = r#"{"category":null,"confidence":0.97,"reason":"A plain question."}"#;
        let said =
            |text: &str| Some((200, json!({ "choices": [{ "message": { "content": text } }] }).to_string()));
        match script.judgement {
            Judgement::Acquits => said(acquittal),
            Judgement::Convicts => said(
                r#"{"category":"fraud","severity":"high","confidence":0.95,"reason":"It asks for a trick."}"#,
            ),
            Judgement::Garbage => said("I think that is allowed!"),
            Judgement::Misled => {
                let told = user.lines().nth(1).unwrap_or_default();
                said(&json!({ "category": null, "confidence": 1, "reason": told }).to_string())
            }
            Judgement::Hangs => None,
            Judgement::Breaks => Some((500, "{}".into())),
            Judgement::KnowsNoSchema if has_schema => Some((400, "{}".into())),
            Judgement::KnowsNoSchema => said(acquittal),
            Judgement::Writes => said(&script.writes),
        }
    }
}

/// The path and the body of the next request.
async fn request(stream: &mut BufReader<TcpStream>) -> Option<(String, Value)> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok().filter(|read| *read > 0)?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut length = 0;
    loop {
        line.clear();
        stream.read_line(&mut line).await.ok().filter(|read| *read > 0)?;
        let header = line.trim().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some((path, serde_json::from_slice(&body).unwrap_or_default()))
}

/// A text as server-sent events, a word each.
fn streamed(text: &str) -> String {
    let piece =
        |word: &str| format!("data: {}\n\n", json!({ "choices": [{ "delta": { "content": word } }] }));
    let mut events: String = text.split_inclusive(' ').map(piece).collect();
    events.push_str("data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n");
    events
}
