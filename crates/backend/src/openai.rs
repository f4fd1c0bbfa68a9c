//! Text generation (kind 5050) on any OpenAI-compatible server.
//!
//! Only the chat and models paths are ever asked for. The model is one that the operator sells, never
//! whatever a job names. An answer counts as whole only if the server says that it ended.

use std::{
    fmt,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use futures::StreamExt;
use openagents_types::{JobKind, Millis, Param, Usage};
use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokio::sync::{OnceCell, mpsc};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::{
    Backend, BackendError, BackendKind, BuildError, Built, Health, Output, Rejection, Settings, Work,
    bad_param, is_harmful, param,
};

/// The row of [`crate::BACKENDS`].
pub(crate) const KIND: BackendKind =
    BackendKind { name: "openai", about: "text generation (5050) on any OpenAI-compatible server", build };

fn build(settings: &Settings) -> Vec<Built> {
    let one = |server: &OpenAiSettings| OpenAi::new(server.clone()).map(|b| Arc::new(b) as Arc<dyn Backend>);
    settings.openai.iter().map(one).collect()
}

/// How long the first token may take: a large prompt on a slow machine, or a queue before us.
const FIRST_TOKEN: Duration = Duration::from_secs(120);
/// How long the server may be silent after that.
const IDLE: Duration = Duration::from_secs(30);
/// How long a look at the server may take.
const PROBE: Duration = Duration::from_secs(3);
/// Input taken, in bytes.
const LARGEST: u64 = 1 << 20;
/// Answer taken, in bytes.
const LARGEST_ANSWER: usize = 48 << 10;
/// Of an error's body, how many bytes are read.
const LARGEST_ERROR: usize = 16 << 10;
/// Most tokens of an answer, and how many if nothing is said.
const MOST_TOKENS: u64 = 4_096;
const USUAL_TOKENS: u64 = 512;

/// A server and what is sold of it.
#[derive(Clone, Debug)]
pub struct OpenAiSettings {
    /// Its address up to and without `/v1`.
    pub url: String,
    /// The models sold; empty sells what it lists.
    pub models: Vec<String>,
    /// A file with its API key.
    pub key_file: Option<PathBuf>,
}

/// An OpenAI-compatible server.
pub struct OpenAi {
    url: String,
    models: Vec<String>,
    listed: OnceCell<Vec<String>>,
    key: Option<Zeroizing<String>>,
    client: Client,
}

impl fmt::Debug for OpenAi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenAi").field("url", &self.url).field("models", &self.models).finish_non_exhaustive()
    }
}

impl OpenAi {
    /// A backend for one server.
    ///
    /// # Errors
    /// Its key file cannot be read.
    pub fn new(settings: OpenAiSettings) -> Result<Self, BuildError> {
        let failed = |reason: String| BuildError { name: KIND.name.into(), reason };
        let key = match &settings.key_file {
            Some(path) => {
                let text =
                    std::fs::read_to_string(path).map_err(|e| failed(format!("{}: {e}", path.display())))?;
                Some(Zeroizing::new(text.trim().to_owned()))
            }
            None => None,
        };
        // The operator's own server, named in the configuration: no strangers' addresses come here.
        let client = Client::builder().no_proxy().build().map_err(|error| failed(error.to_string()))?;
        let url = settings.url.trim_end_matches('/').trim_end_matches("/v1").to_owned();
        Ok(Self { url, models: settings.models, listed: OnceCell::new(), key, client })
    }

    /// A question to the chat path.
    pub(crate) fn chat(&self, body: &Value) -> RequestBuilder {
        self.authorised(self.client.post(format!("{}/v1/chat/completions", self.url))).json(body)
    }

    fn authorised(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.key {
            Some(key) => request.bearer_auth(key.as_str()),
            None => request,
        }
    }

    async fn list(&self) -> Result<Vec<String>, String> {
        let request = self.authorised(self.client.get(format!("{}/v1/models", self.url))).timeout(PROBE);
        let response = request.send().await.map_err(|_| format!("{} does not answer", self.url))?;
        let value: Value = response.json().await.map_err(|_| format!("{} lists no models", self.url))?;
        let listed = value["data"].as_array().map(Vec::as_slice).unwrap_or_default();
        Ok(listed.iter().filter_map(|model| model["id"].as_str().map(str::to_owned)).collect())
    }

    /// The model that answers who names none: the first that is sold.
    pub(crate) async fn usual_model(&self) -> Option<String> {
        if self.sold().is_empty()
            && let Ok(listed) = self.list().await
            && !listed.is_empty()
        {
            let _ = self.listed.set(listed);
        }
        self.sold().first().cloned()
    }

    /// What is sold: what the operator named, else what the server listed when it was last looked at.
    fn sold(&self) -> &[String] {
        if self.models.is_empty() { self.listed.get().map_or(&[], Vec::as_slice) } else { &self.models }
    }

    fn model(&self, params: &[Param]) -> Result<&str, Rejection> {
        let sold = self.sold();
        let usual = || sold.first().map(String::as_str);
        let wanted = param(params, &["model"]);
        let found = match wanted {
            Some(name) => sold.iter().find(|model| *model == name).map(String::as_str),
            None => usual(),
        };
        found.ok_or_else(|| {
            bad_param("model", wanted.unwrap_or_default(), &format!("one of: {}", sold.join(", ")))
        })
    }

    fn body(&self, work: &Work) -> Result<Value, Rejection> {
        let text =
            |input: &openagents_types::ResolvedInput| String::from_utf8_lossy(&input.bytes).into_owned();
        let prompt = work.inputs.iter().map(text).collect::<Vec<_>>().join("\n\n");
        let mut body = json!({
            "model": self.model(&work.params)?,
            "messages": [{ "role": "user", "content": prompt }],
            "stream": true,
            "stream_options": { "include_usage": true },
        });
        for option in OPTIONS {
            if let Some(value) = option.read(&work.params)? {
                body[option.names[0]] = value;
            }
        }
        if body["max_tokens"].is_null() {
            body["max_tokens"] = USUAL_TOKENS.into();
        }
        Ok(body)
    }
}

/// A sampling option: the names it goes by, and the range it is taken in.
struct Numeric {
    names: &'static [&'static str],
    least: f64,
    most: f64,
    whole: bool,
}

/// What jobs may set; hyphens and underscores are both in use (NIP-90's own pages disagree).
#[expect(clippy::cast_precision_loss, reason = "a small constant")]
const OPTIONS: &[Numeric] = &[
    Numeric { names: &["max_tokens", "max-tokens"], least: 1.0, most: MOST_TOKENS as f64, whole: true },
    Numeric { names: &["temperature"], least: 0.0, most: 2.0, whole: false },
    Numeric { names: &["top_p", "top-p"], least: 0.0, most: 1.0, whole: false },
    Numeric { names: &["top_k", "top-k"], least: 1.0, most: 1_000.0, whole: true },
    Numeric { names: &["frequency_penalty", "frequency-penalty"], least: -2.0, most: 2.0, whole: false },
    Numeric { names: &["seed"], least: 0.0, most: 4_294_967_295.0, whole: true },
];

impl Numeric {
    fn read(&self, params: &[Param]) -> Result<Option<Value>, Rejection> {
        let Some(text) = param(params, self.names) else { return Ok(None) };
        let number = text.trim().parse::<f64>().ok();
        let number =
            number.filter(|n| (self.least..=self.most).contains(n) && (!self.whole || n.fract() == 0.0));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range was checked")]
        match number {
            Some(number) if self.whole => Ok(Some((number as u64).into())),
            Some(number) => Ok(Some(number.into())),
            None => {
                Err(bad_param(self.names[0], text, &format!("a number from {} to {}", self.least, self.most)))
            }
        }
    }
}

#[async_trait]
impl Backend for OpenAi {
    fn name(&self) -> &'static str {
        KIND.name
    }

    fn kinds(&self) -> Vec<JobKind> {
        vec![JobKind::TEXT_GENERATION]
    }

    async fn probe(&self) -> Health {
        match self.list().await {
            Ok(listed) if listed.is_empty() && self.models.is_empty() => {
                Health::Down(format!("{} lists no models", self.url))
            }
            Ok(listed) => {
                let _ = self.listed.set(listed);
                Health::Ready
            }
            Err(reason) => Health::Down(reason),
        }
    }

    fn model_names(&self, _: JobKind) -> Vec<String> {
        self.sold().to_vec()
    }

    fn check(&self, _: JobKind, params: &[Param], input_bytes: u64) -> Result<(), Rejection> {
        match input_bytes {
            0 => return Err(Rejection::NoInput),
            found if found > LARGEST => return Err(Rejection::TooLarge { found, most: LARGEST }),
            _ => {}
        }
        self.model(params)?;
        OPTIONS.iter().try_for_each(|option| option.read(params).map(drop))
    }

    async fn run(
        &self,
        work: Work,
        pieces: mpsc::Sender<String>,
        stop: CancellationToken,
    ) -> Result<Output, BackendError> {
        let answer = self.answer(&work, &pieces);
        tokio::select! {
            biased;
            () = stop.cancelled() => Err(BackendError::Cancelled),
            answer = answer => answer,
        }
    }
}

impl OpenAi {
    async fn answer(&self, work: &Work, pieces: &mpsc::Sender<String>) -> Result<Output, BackendError> {
        let started = Instant::now();
        let body = self.body(work).map_err(|error| BackendError::BadInput(error.to_string()))?;
        let sent = tokio::time::timeout(FIRST_TOKEN, self.chat(&body).send());
        let sent = sent.await.map_err(|_| BackendError::Timeout)?;
        let response = sent.map_err(|_| BackendError::Died)?;
        if !response.status().is_success() {
            let status = response.status();
            return Err(refusal(status, &error_body(response).await));
        }
        let mut reading = Reading::default();
        let mut stream = response.bytes_stream();
        let mut patience = FIRST_TOKEN;
        while !reading.ended {
            let next =
                tokio::time::timeout(patience, stream.next()).await.map_err(|_| BackendError::Timeout)?;
            let Some(chunk) = next else { break };
            patience = IDLE;
            for text in reading.take(&chunk.map_err(|_| BackendError::Died)?)? {
                // Nobody listening is no reason to stop working.
                let _ = pieces.send(text).await;
            }
        }
        reading.output(body["model"].as_str(), started)
    }
}

fn too_long() -> BackendError {
    BackendError::Protocol("a line without end".into())
}

/// The start of an error's body: enough to see its kind, and not more than we want to keep or wait for.
pub(crate) async fn error_body(response: reqwest::Response) -> String {
    let mut body = Vec::new();
    let mut stream = response.bytes_stream();
    while body.len() < LARGEST_ERROR
        && let Ok(Some(Ok(chunk))) = tokio::time::timeout(PROBE, stream.next()).await
    {
        body.extend_from_slice(&chunk);
    }
    String::from_utf8_lossy(&body).into_owned()
}

/// What a status that is not 200 means.
pub(crate) fn refusal(status: StatusCode, body: &str) -> BackendError {
    let value: Value = serde_json::from_str(body).unwrap_or_default();
    let kind = value["error"]["type"].as_str().unwrap_or_default();
    match status.as_u16() {
        400 if kind.contains("context") => BackendError::ContextOverflow,
        400 if kind.contains("policy") => BackendError::Refused,
        400 | 422 => BackendError::BadInput("the model server cannot take this job".into()),
        404 => BackendError::NoModel,
        429 | 503 => BackendError::Busy,
        _ => BackendError::Died,
    }
}

/// An answer as it comes in: server-sent events, possibly cut anywhere.
#[derive(Debug, Default)]
pub struct Reading {
    buffer: Vec<u8>,
    content: String,
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    chunks: u64,
    finished: bool,
    ended: bool,
}

impl Reading {
    /// Takes bytes, and gives back what text they complete.
    ///
    /// # Errors
    /// The server reports an error, says what is no answer, or says too much.
    pub fn take(&mut self, bytes: &[u8]) -> Result<Vec<String>, BackendError> {
        self.buffer.extend_from_slice(bytes);
        let mut texts = Vec::new();
        // After the end nothing counts, whether it came with the end or later.
        while !self.ended
            && let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n')
        {
            let line: Vec<u8> = self.buffer.drain(..=end).collect();
            if line.len() > LARGEST_ANSWER {
                return Err(too_long());
            }
            // Lines are cut at line ends only, so a character is never cut.
            let line = String::from_utf8_lossy(&line);
            if let Some(data) = line.trim_end().strip_prefix("data:") {
                texts.extend(self.data(data.trim())?);
            }
        }
        if self.ended {
            self.buffer.clear();
        }
        if self.buffer.len() >= LARGEST_ANSWER { Err(too_long()) } else { Ok(texts) }
    }

    fn data(&mut self, data: &str) -> Result<Option<String>, BackendError> {
        if data == "[DONE]" {
            self.ended = true;
            return Ok(None);
        }
        let value: Value =
            serde_json::from_str(data).map_err(|_| BackendError::Protocol("not JSON".into()))?;
        if !value["error"].is_null() {
            return Err(BackendError::Died);
        }
        if let Some(usage) = value["usage"].as_object() {
            self.input_tokens = usage.get("prompt_tokens").and_then(Value::as_u64);
            self.output_tokens = usage.get("completion_tokens").and_then(Value::as_u64);
        }
        let choice = &value["choices"][0];
        self.finished |= choice["finish_reason"].is_string();
        let text: String = choice["delta"]["content"]
            .as_str()
            .unwrap_or_default()
            .chars()
            .filter(|c| !is_harmful(*c))
            .collect();
        if text.is_empty() {
            return Ok(None);
        }
        self.chunks += 1;
        self.content.push_str(&text);
        if self.content.len() > LARGEST_ANSWER {
            return Err(BackendError::BadInput("the answer is longer than a result can carry".into()));
        }
        Ok(Some(text))
    }

    /// The whole answer, by `model`, to a question asked at `started`.
    ///
    /// # Errors
    /// The server never said that the answer ended, or there is none.
    pub fn output(self, model: Option<&str>, started: Instant) -> Result<Output, BackendError> {
        if !self.finished && !self.ended {
            return Err(BackendError::Truncated);
        }
        if self.content.is_empty() {
            return Err(BackendError::Refused);
        }
        let usage = Usage {
            backend: KIND.name.into(),
            model: model.map(str::to_owned),
            input_tokens: self.input_tokens.unwrap_or(0),
            // Servers that count nothing send about one token a piece.
            output_tokens: self.output_tokens.filter(|count| *count > 0).unwrap_or(self.chunks),
            elapsed: Millis(u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX)),
        };
        Ok(Output::text(self.content, usage))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]
    use super::*;

    fn read(stream: &[u8], cut: usize) -> Result<Output, BackendError> {
        let mut reading = Reading::default();
        for chunk in stream.chunks(cut) {
            reading.take(chunk)?;
        }
        reading.output(Some("m"), Instant::now())
    }

    const WHOLE: &str = ": comment\r\n\r\ndata: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":null}}]}\r\n\r\n\
        data: {\"choices\":[{\"delta\":{\"content\":\"Grüße, \"}}]}\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"市場\"},\"finish_reason\":\"stop\"}]}\n\n\
        data: {\"choices\":[],\"usage\":{\"prompt_tokens\":19,\"completion_tokens\":11}}\n\ndata: [DONE]\n\n";

    #[test]
    fn an_answer_reads_the_same_however_it_is_cut() {
        for cut in 1..WHOLE.len() {
            let output = read(WHOLE.as_bytes(), cut).unwrap();
            assert_eq!(output.content, "Grüße, 市場");
            assert_eq!((output.usage.input_tokens, output.usage.output_tokens), (19, 11));
        }
    }

    #[test]
    fn what_comes_after_the_end_or_is_too_long_does_not_depend_on_the_cuts() {
        let more =
            format!("{WHOLE}data: {{\"choices\":[{{\"delta\":{{\"content\":\"more\"}}}}]}}\n\ndata: junk\n");
        let long = format!(": {}\n{WHOLE}", "x".repeat(LARGEST_ANSWER));
        for cut in [1, 7, 4_096, usize::MAX] {
            assert_eq!(read(more.as_bytes(), cut).unwrap().content, "Grüße, 市場");
            assert!(matches!(read(long.as_bytes(), cut), Err(BackendError::Protocol(_))), "cut {cut}");
        }
    }

    #[test]
    fn an_answer_without_its_end_is_not_an_answer() {
        let cut = WHOLE.find(",\"finish_reason\"").unwrap();
        let broken = format!("{}}}]}}\n\n", &WHOLE[..cut]);
        assert_eq!(read(broken.as_bytes(), 7), Err(BackendError::Truncated));
        let failed = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\ndata: {\"error\":{\"message\":\"x\"}}\n\n";
        assert_eq!(read(failed.as_bytes(), 9), Err(BackendError::Died));
        assert!(matches!(read(b"data: junk\n", 3), Err(BackendError::Protocol(_))));
    }

    #[test]
    fn only_what_is_sold_is_served() {
        // The program installs its provider when it starts; a second one changes nothing.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let settings = OpenAiSettings {
            url: "http://127.0.0.1:1/v1/".into(),
            models: vec!["tiny".into()],
            key_file: None,
        };
        let backend = OpenAi::new(settings).unwrap();
        let check = |params: &[Param]| backend.check(JobKind::TEXT_GENERATION, params, 10);
        assert!(check(&[]).is_ok() && check(&[Param::new("model", "tiny")]).is_ok());
        assert!(check(&[Param::new("model", "/etc/passwd")]).is_err());
        assert!(check(&[Param::new("top-k", "40"), Param::new("temperature", "0.5")]).is_ok());
        for (name, value) in
            [("temperature", "3"), ("max_tokens", "0"), ("max_tokens", "1e9"), ("top_p", "x")]
        {
            let error = check(&[Param::new(name, value)]).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
        assert_eq!(backend.url, "http://127.0.0.1:1");
    }
}
