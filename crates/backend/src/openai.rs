//! Any OpenAI-compatible server, and what the others share that speak the same.
//!
//! Only the chat, embeddings and models paths are ever asked for.

use std::{path::PathBuf, sync::Arc};

use async_trait::async_trait;
use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::{
    Backend, BackendError, BackendKind, BuildError, Built, Health, Settings,
    serving::{self, Ask, Embed, Model, ReadLine, Said, Seen, Served, Vectors, Wire, asked},
};

/// The row of [`crate::BACKENDS`].
pub(crate) const KIND: BackendKind =
    BackendKind { name: "openai", about: "text generation (5050) on any OpenAI-compatible server", build };

fn build(settings: &Settings) -> Vec<Built> {
    let one = |server: &OpenAiSettings| OpenAi::new(server.clone()).map(|b| Arc::new(b) as Arc<dyn Backend>);
    settings.openai.iter().map(one).collect()
}

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
pub type OpenAi = Served<OpenAiWire>;

impl OpenAi {
    /// A backend for one server.
    ///
    /// # Errors
    /// Its key file cannot be read.
    pub fn new(settings: OpenAiSettings) -> Result<Self, BuildError> {
        let api = Api::open(KIND.name, settings.key_file.as_ref())?;
        Ok(Self::of(
            OpenAiWire { api, base: plain(&settings.url), sold: settings.models.clone() },
            settings.models,
        ))
    }

    /// A question to the chat path.
    pub(crate) fn chat(&self, body: &Value) -> RequestBuilder {
        self.wire.api.post(&format!("{}/v1/chat/completions", self.wire.base)).json(body)
    }
}

/// An address without what is added to it.
pub(crate) fn plain(url: &str) -> String {
    url.trim_end_matches('/').trim_end_matches("/v1").to_owned()
}

/// A client and its key.
pub(crate) struct Api {
    client: Client,
    key: Option<Zeroizing<String>>,
}

impl Api {
    /// With the key in this file.
    pub(crate) fn open(kind: &str, key_file: Option<&PathBuf>) -> Result<Self, BuildError> {
        let failed = |reason: String| BuildError { name: kind.into(), reason };
        let key = match key_file {
            Some(path) => {
                let text =
                    std::fs::read_to_string(path).map_err(|e| failed(format!("{}: {e}", path.display())))?;
                Some(Zeroizing::new(text.trim().to_owned()))
            }
            None => None,
        };
        Ok(Self { client: serving::client().map_err(failed)?, key })
    }

    pub(crate) fn get(&self, url: &str) -> RequestBuilder {
        self.authorised(self.client.get(url))
    }

    pub(crate) fn post(&self, url: &str) -> RequestBuilder {
        self.authorised(self.client.post(url))
    }

    fn authorised(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.key {
            Some(key) => request.bearer_auth(key.as_str()),
            None => request,
        }
    }
}

/// How an OpenAI-compatible server is spoken to.
pub struct OpenAiWire {
    api: Api,
    base: String,
    /// What it is asked for whether it lists it or not: some list nothing, or only what is loaded.
    sold: Vec<String>,
}

#[async_trait]
impl Wire for OpenAiWire {
    fn kind(&self) -> &'static str {
        KIND.name
    }

    fn place(&self) -> String {
        self.base.clone()
    }

    async fn look(&self) -> Result<Seen, Health> {
        let listed = listed(&asked(self.api.get(&format!("{}/v1/models", self.base)), &self.base).await?);
        let mut models: Vec<Model> = listed.into_iter().map(of_name).collect();
        for name in &self.sold {
            if !models.iter().any(|model| model.id == *name) {
                models.push(of_name(name.clone()));
            }
        }
        Ok(Seen { models, ..Seen::default() })
    }

    fn ask(&self, ask: &Ask<'_>) -> Result<RequestBuilder, BackendError> {
        Ok(self.api.post(&format!("{}/v1/chat/completions", self.base)).json(&question(ask)))
    }

    fn line(&self) -> ReadLine {
        line
    }

    fn refusal(&self, status: StatusCode, body: &str) -> BackendError {
        refusal(status, body)
    }

    fn comes_back(&self) -> bool {
        false
    }

    fn slots(&self) -> Option<usize> {
        // It queues as it likes.
        Some(serving::UNLIMITED)
    }
}

/// A model of which only the name is known.
pub(crate) fn of_name(id: String) -> Model {
    Model { id, chats: true, ..Model::default() }
}

/// The models that `/v1/models` lists.
pub(crate) fn listed(value: &Value) -> Vec<String> {
    let listed = value["data"].as_array().map(Vec::as_slice).unwrap_or_default();
    listed.iter().filter_map(|model| model["id"].as_str().map(str::to_owned)).collect()
}

/// The body of a question to the chat path.
pub(crate) fn question(ask: &Ask<'_>) -> Value {
    let system = ask.system.map(|text| json!({ "role": "system", "content": text }));
    let user = json!({ "role": "user", "content": ask.prompt });
    let mut body = json!({
        "model": ask.model,
        "messages": system.into_iter().chain([user]).collect::<Vec<_>>(),
        "max_tokens": ask.max_tokens,
        "stream": true,
        "stream_options": { "include_usage": true },
    });
    for (name, value) in ask.options {
        body[name] = value.clone();
    }
    if !ask.stop.is_empty() {
        body["stop"] = json!(ask.stop);
    }
    if let Some(schema) = ask.schema {
        body["response_format"] =
            json!({ "type": "json_schema", "json_schema": { "name": "result", "schema": schema } });
    }
    body
}

/// The body of a question to the embeddings path.
pub(crate) fn embedding(embed: &Embed<'_>) -> Value {
    json!({ "model": embed.model, "input": embed.texts, "encoding_format": "float" })
}

/// The vectors that the embeddings path answers.
pub(crate) fn vectors(value: &Value) -> Option<Vectors> {
    let mut found: Vec<(u64, Vec<f64>)> = Vec::new();
    for one in value["data"].as_array()? {
        let vector = one["embedding"].as_array()?.iter().map(Value::as_f64).collect::<Option<Vec<_>>>()?;
        found.push((one["index"].as_u64()?, vector));
    }
    found.sort_by_key(|(index, _)| *index);
    let input_tokens = value["usage"]["prompt_tokens"].as_u64().unwrap_or(0);
    Some(Vectors { vectors: found.into_iter().map(|(_, vector)| vector).collect(), input_tokens })
}

/// What a status that is not 200 means.
pub(crate) fn refusal(status: StatusCode, body: &str) -> BackendError {
    let value: Value = serde_json::from_str(body).unwrap_or_default();
    let error = &value["error"];
    let kind = format!(
        "{} {}",
        error["type"].as_str().unwrap_or_default(),
        error["code"].as_str().unwrap_or_default()
    );
    match status.as_u16() {
        400 if kind.contains("context") => BackendError::ContextOverflow,
        400 if kind.contains("policy") => BackendError::Refused,
        400 | 422 => BackendError::BadInput("the model server cannot take this job".into()),
        404 => BackendError::NoModel,
        429 | 503 => BackendError::Busy,
        _ => BackendError::Died,
    }
}

/// What a line of server-sent events says.
pub(crate) fn line(line: &str) -> Result<Said, BackendError> {
    let Some(data) = line.strip_prefix("data:").map(str::trim) else { return Ok(Said::default()) };
    if data == "[DONE]" {
        return Ok(Said { ended: true, ..Said::default() });
    }
    let value: Value = serde_json::from_str(data).map_err(|_| BackendError::Protocol("not JSON".into()))?;
    if !value["error"].is_null() {
        return Err(BackendError::Died);
    }
    let choice = &value["choices"][0];
    Ok(Said {
        text: choice["delta"]["content"].as_str().unwrap_or_default().to_owned(),
        finished: choice["finish_reason"].is_string(),
        ended: false,
        cut: choice["finish_reason"] == "length",
        input_tokens: value["usage"]["prompt_tokens"].as_u64(),
        output_tokens: value["usage"]["completion_tokens"].as_u64(),
        is_progress: choice["delta"].is_object(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]
    use std::time::Instant;

    use openagents_types::{JobKind, Param};

    use super::*;
    use crate::{Output, serving::Reading};

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
        let long = format!(": {}\n{WHOLE}", "x".repeat(48 << 10));
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
    fn an_answer_that_is_as_long_as_it_may_be_says_so() {
        for (stream, cut) in [(WHOLE.to_owned(), false), (WHOLE.replace("\"stop\"", "\"length\""), true)] {
            let mut reading = Reading::default();
            reading.take(stream.as_bytes()).unwrap();
            assert_eq!((reading.is_whole(), reading.is_cut()), (true, cut));
        }
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
        assert_eq!(backend.wire.base, "http://127.0.0.1:1");
    }
}
