//! Ollama, by its own API.
//!
//! Of all its paths only six are asked: version, tags, show, ps, chat and embed; nothing that pulls, makes or deletes
//! models. Its OpenAI side is not used: there a failure in the middle of an answer looks like its end, and long input
//! is cut without a word. The API: <https://github.com/ollama/ollama/blob/main/docs/api.md>.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use futures::future::join_all;
use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use crate::{
    Backend, BackendError, BackendKind, BuildError, Built, Health, Settings,
    llamacpp::exposure,
    serving::{self, Ask, Embed, Model, ReadLine, Said, Seen, Served, Vectors, Wire, asked, digest},
};

/// The row of [`crate::BACKENDS`].
pub(crate) const KIND: BackendKind = BackendKind {
    name: "ollama",
    about: "text, facts and vectors (5050, 6509, 6511) with the models of an Ollama",
    build,
};

fn build(settings: &Settings) -> Vec<Built> {
    let one = |server: &OllamaSettings| Ollama::new(server.clone()).map(|b| Arc::new(b) as Arc<dyn Backend>);
    settings.ollama.iter().map(one).collect()
}

/// How many models are asked about at most.
const MOST_MODELS: usize = 64;
/// Tokens for a question and its answer, if nothing is said: more takes memory that must be asked for by name.
const USUAL_CONTEXT: u64 = 8_192;

/// An Ollama and what is sold of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OllamaSettings {
    /// Its address, such as `http://127.0.0.1:11434`.
    pub url: String,
    /// The models sold, such as `llama3.2:1b` or, with the digest it must have, `llama3.2:1b@sha256:1f2e…`; empty
    /// sells all that are on this machine.
    pub models: Vec<String>,
    /// Tokens of a question and its answer together; 0 takes what the model was made for, at most 8192.
    pub context: u64,
    /// How long a model stays in memory after a job: `5m`, `-1` for ever, `0` not at all.
    pub keep_alive: String,
    /// Jobs at once.
    pub slots: usize,
}

/// An Ollama.
pub type Ollama = Served<OllamaWire>;

impl Ollama {
    /// A backend for one Ollama.
    ///
    /// # Errors
    /// No HTTP client can be made.
    pub fn new(settings: OllamaSettings) -> Result<Self, BuildError> {
        let failed = |reason| BuildError { name: KIND.name.into(), reason };
        let client = serving::client().map_err(failed)?;
        let sold = settings.models.clone();
        let base = settings.url.trim_end_matches('/').to_owned();
        Ok(Self::of(OllamaWire { settings, base, client, known: Mutex::default() }, sold))
    }
}

/// How Ollama is spoken to.
pub struct OllamaWire {
    settings: OllamaSettings,
    base: String,
    client: Client,
    /// What was said of each model, by its entry in the list; `None` is not sold. An entry that changes is asked for
    /// again.
    known: Mutex<HashMap<(String, String), Option<Model>>>,
}

impl OllamaWire {
    async fn get(&self, path: &str) -> Result<Value, Health> {
        asked(self.client.get(format!("{}{path}", self.base)), &self.base).await
    }

    /// A model that lies here, with what it can do. Whoever serves it from elsewhere sells somebody else's compute.
    async fn model(&self, listed: &Value) -> Option<Model> {
        let entry = entry(listed)?;
        if let Some(known) = self.known().get(&entry) {
            return known.clone();
        }
        let id = entry.0.clone();
        if is_cloud(&id, listed) {
            return None;
        }
        let show = self.client.post(format!("{}/api/show", self.base)).json(&json!({ "model": id }));
        let shown = asked(show, &self.base).await.ok()?;
        let model = (!is_cloud(&id, &shown)).then(|| self.read(id, listed, &shown));
        self.known().insert(entry, model.clone());
        model
    }

    fn known(&self) -> MutexGuard<'_, HashMap<(String, String), Option<Model>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A model, by its entry in the list and what is shown of it.
    fn read(&self, id: String, listed: &Value, shown: &Value) -> Model {
        let can =
            |what: &str| shown["capabilities"].as_array().is_some_and(|all| all.iter().any(|it| it == what));
        // Versions before capabilities were told had models that write, and few others.
        let chats = can("completion") || shown["capabilities"].is_null();
        Model {
            context: Some(self.context(shown)),
            digest: listed["digest"].as_str().and_then(digest),
            chats,
            embeds: can("embedding"),
            schemas: chats,
            id,
        }
    }

    /// Tokens for a question and its answer.
    fn context(&self, shown: &Value) -> u64 {
        let made_for = shown["model_info"].as_object().and_then(|info| {
            info.iter()
                .find(|(name, _)| name.ends_with(".context_length"))
                .and_then(|(_, value)| value.as_u64())
        });
        match (self.settings.context, made_for) {
            (0, Some(most)) => most.min(USUAL_CONTEXT),
            (0, None) => USUAL_CONTEXT,
            (wanted, Some(most)) => wanted.min(most),
            (wanted, None) => wanted,
        }
    }

    /// A number of seconds, or a duration.
    fn keep_alive(&self) -> Value {
        let text = self.settings.keep_alive.trim();
        text.parse::<i64>().map_or_else(|_| text.into(), Value::from)
    }
}

/// By what an entry of the list is told from others: its name, and the hash of its weights.
fn entry(listed: &Value) -> Option<(String, String)> {
    let name = listed["name"].as_str()?;
    Some((name.to_owned(), listed["digest"].as_str().unwrap_or_default().to_owned()))
}

/// Whether a model runs at Ollama's or somebody else's.
fn is_cloud(id: &str, said: &Value) -> bool {
    let names = ["remote_model", "remote_host"];
    let remote = names.iter().any(|name| said[name].as_str().is_some_and(|value| !value.is_empty()));
    remote || id.ends_with("-cloud") || id.ends_with(":cloud")
}

#[async_trait]
impl Wire for OllamaWire {
    fn kind(&self) -> &'static str {
        KIND.name
    }

    fn place(&self) -> String {
        self.base.clone()
    }

    async fn look(&self) -> Result<Seen, Health> {
        let version = self.get("/api/version").await?;
        let Some(version) = version["version"].as_str() else {
            return Err(Health::Down(format!("{} is no Ollama", self.base)));
        };
        let tags = self.get("/api/tags").await?;
        let listed = tags["models"].as_array().map(Vec::as_slice).unwrap_or_default();
        self.known().retain(|known, _| listed.iter().any(|one| entry(one).as_ref() == Some(known)));
        let models = join_all(listed.iter().take(MOST_MODELS).map(|model| self.model(model))).await;
        let loaded = self.get("/api/ps").await.unwrap_or_default();
        let loaded = loaded["models"].as_array().map_or(0, Vec::len);
        Ok(Seen {
            about: format!("Ollama {version}, {loaded} in memory")
                .chars()
                .filter(|c| !c.is_control())
                .take(80)
                .collect(),
            models: models.into_iter().flatten().collect(),
            slots: None,
            warning: exposure(&self.base).await,
        })
    }

    fn ask(&self, ask: &Ask<'_>) -> Result<RequestBuilder, BackendError> {
        let system = ask.system.map(|text| json!({ "role": "system", "content": text }));
        let user = json!({ "role": "user", "content": ask.prompt });
        let mut options = ask.options.clone();
        options.insert("num_predict".into(), ask.max_tokens.into());
        options.insert("num_ctx".into(), ask.context.unwrap_or(USUAL_CONTEXT).into());
        if !ask.stop.is_empty() {
            options.insert("stop".into(), json!(ask.stop));
        }
        let mut body = json!({
            "model": ask.model,
            "messages": system.into_iter().chain([user]).collect::<Vec<_>>(),
            "stream": true,
            // Its default is to cut what is too long, and to say nothing.
            "truncate": false,
            "shift": false,
            "keep_alive": self.keep_alive(),
            "options": options,
        });
        if let Some(schema) = ask.schema {
            body["format"] = schema.clone();
        }
        Ok(self.client.post(format!("{}/api/chat", self.base)).json(&body))
    }

    fn line(&self) -> ReadLine {
        line
    }

    fn embed(&self, embed: &Embed<'_>) -> Result<RequestBuilder, BackendError> {
        let mut body = json!({
            "model": embed.model,
            "input": embed.texts,
            "truncate": false,
            "keep_alive": self.keep_alive(),
        });
        if let Some(dimensions) = embed.dimensions {
            body["dimensions"] = dimensions.into();
        }
        Ok(self.client.post(format!("{}/api/embed", self.base)).json(&body))
    }

    fn vectors(&self, value: &Value) -> Option<Vectors> {
        let vector = |one: &Value| one.as_array()?.iter().map(Value::as_f64).collect::<Option<Vec<_>>>();
        let vectors = value["embeddings"].as_array()?.iter().map(vector).collect::<Option<Vec<_>>>()?;
        Some(Vectors { vectors, input_tokens: value["prompt_eval_count"].as_u64().unwrap_or(0) })
    }

    fn refusal(&self, status: StatusCode, body: &str) -> BackendError {
        let value: Value = serde_json::from_str(body).unwrap_or_default();
        let text = value["error"].as_str().unwrap_or_default();
        match status.as_u16() {
            404 => BackendError::NoModel,
            429 | 503 => BackendError::Busy,
            _ => failure(text, status.is_client_error()),
        }
    }

    fn slots(&self) -> Option<usize> {
        Some(self.settings.slots)
    }
}

/// What an error's text means.
fn failure(text: &str, is_ours: bool) -> BackendError {
    let text = text.to_lowercase();
    let says = |words: &[&str]| words.iter().all(|word| text.contains(word));
    if says(&["context"]) && (says(&["exceed"]) || says(&["length"])) || says(&["input", "too long"]) {
        BackendError::ContextOverflow
    } else if is_ours {
        BackendError::BadInput("the model server cannot take this job".into())
    } else {
        BackendError::Died
    }
}

/// What a line of an answer says. An error comes as a line too, under status 200.
fn line(line: &str) -> Result<Said, BackendError> {
    if line.is_empty() {
        return Ok(Said::default());
    }
    let value: Value = serde_json::from_str(line).map_err(|_| BackendError::Protocol("not JSON".into()))?;
    if !value["error"].is_null() {
        return Err(failure(value["error"].as_str().unwrap_or_default(), false));
    }
    let done = value["done"] == true;
    // A model that was only loaded or unloaded has answered nothing.
    let whole = done && matches!(value["done_reason"].as_str(), None | Some("stop" | "length"));
    Ok(Said {
        text: value["message"]["content"].as_str().unwrap_or_default().to_owned(),
        finished: whole,
        ended: whole,
        cut: value["done_reason"] == "length",
        input_tokens: value["prompt_eval_count"].as_u64(),
        output_tokens: value["eval_count"].as_u64(),
        is_progress: value["message"].is_object(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]
    use std::time::Instant;

    use super::*;
    use crate::{Output, serving::Reading};

    fn read(stream: &str, cut: usize) -> Result<Output, BackendError> {
        let mut reading = Reading::new(line, Vec::new(), u64::MAX);
        for chunk in stream.as_bytes().chunks(cut) {
            reading.take(chunk)?;
        }
        reading.output(Some("m"), Instant::now())
    }

    const START: &str = "{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"Grüße, \"},\"done\":false}\n\
        {\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"市場\"},\"done\":false}\n";

    #[test]
    fn an_answer_reads_the_same_however_it_is_cut() {
        let whole = format!(
            "{START}{{\"message\":{{\"role\":\"assistant\",\"content\":\"\"}},\"done\":true,\"done_reason\":\"stop\",\
             \"prompt_eval_count\":19,\"eval_count\":11}}\n"
        );
        for cut in 1..whole.len() {
            let output = read(&whole, cut).unwrap();
            assert_eq!(output.content, "Grüße, 市場");
            assert_eq!((output.usage.input_tokens, output.usage.output_tokens), (19, 11));
        }
    }

    #[test]
    fn an_error_in_the_middle_or_no_end_is_no_answer() {
        assert_eq!(read(START, 7), Err(BackendError::Truncated));
        assert_eq!(read(&format!("{START}{{\"error\":\"unexpected EOF\"}}\n"), 5), Err(BackendError::Died));
        let unloaded = format!("{START}{{\"done\":true,\"done_reason\":\"unload\"}}\n");
        assert_eq!(read(&unloaded, 9), Err(BackendError::Truncated));
        assert!(matches!(read("<html>\n", 3), Err(BackendError::Protocol(_))));
        let long = "the input length exceeds the context length";
        assert_eq!(failure(long, true), BackendError::ContextOverflow);
    }

    #[test]
    fn what_runs_elsewhere_is_known_by_its_name_and_by_what_is_said_of_it() {
        for (id, said, expected) in [
            ("llama3.2:1b", json!({}), false),
            ("llama3.2:1b", json!({ "remote_model": "", "remote_host": "" }), false),
            ("gpt-oss:120b-cloud", json!({}), true),
            ("kimi:cloud", json!({}), true),
            ("mine", json!({ "remote_model": "gpt-oss:120b" }), true),
            ("mine", json!({ "remote_host": "https://ollama.com:443" }), true),
        ] {
            assert_eq!(is_cloud(id, &said), expected, "{id} {said}");
        }
    }
}
