//! Finding the model servers that run on this machine. Each port is asked what answers there, and nothing is taken
//! from the port alone; only this machine is asked, with GET, and nobody is waited for long.

use std::time::Duration;

use futures::StreamExt;
use reqwest::{Client, header::SERVER};
use serde::Serialize;
use serde_json::Value;

/// Where model servers listen unless they are told otherwise: Ollama, llama.cpp (two), LM Studio, vLLM, and three
/// servers of the models that come with macOS.
pub const USUAL_PORTS: [u16; 8] = [11_434, 8_080, 9_931, 1_234, 8_000, 1_976, 9_999, 11_535];

/// How long one answer may take. A server that computes answers these questions beside it.
const PATIENCE: Duration = Duration::from_millis(1_500);

/// Of an answer, how many bytes are read.
const LARGEST: usize = 256 << 10;

/// How many models of one server are looked at.
const MOST_MODELS: usize = 64;

/// What kind of server answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServerKind {
    /// Ollama.
    Ollama,
    /// The server of llama.cpp.
    LlamaCpp,
    /// The server of MLX.
    Mlx,
    /// LM Studio.
    LmStudio,
    /// vLLM.
    Vllm,
    /// A server of the model that comes with macOS.
    Apple,
    /// Another that speaks as OpenAI's does.
    OpenAi,
}

impl ServerKind {
    /// Its name, for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ollama => "Ollama",
            Self::LlamaCpp => "llama.cpp",
            Self::Mlx => "MLX",
            Self::LmStudio => "LM Studio",
            Self::Vllm => "vLLM",
            Self::Apple => "Apple's on-device model",
            Self::OpenAi => "an OpenAI-compatible server",
        }
    }

    /// The section of the settings, `[[backend.…]]`, that sells only what should be sold of it.
    pub const fn section(self) -> &'static str {
        match self {
            Self::Ollama => "ollama",
            Self::LlamaCpp => "llamacpp",
            Self::Mlx => "mlx",
            Self::Apple => "foundation_models",
            Self::LmStudio | Self::Vllm | Self::OpenAi => "openai",
        }
    }
}

/// A server that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FoundServer {
    /// Its address without `/v1`.
    pub url: String,
    /// What it is.
    pub kind: ServerKind,
    /// Its version, if it says.
    pub version: Option<String>,
    /// The models that it lists.
    pub models: Vec<String>,
    /// How many answers it writes at once, if it says.
    pub slots: Option<usize>,
}

/// The model servers on these ports of this machine, in the order of the ports.
pub async fn model_servers(ports: &[u16]) -> Vec<FoundServer> {
    crate::install_tls();
    #[allow(
        clippy::disallowed_methods,
        reason = "only loopback addresses are asked, and no redirect is followed"
    )]
    let client =
        Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).timeout(PATIENCE).build();
    let Ok(client) = client else { return Vec::new() };
    let asked =
        ports.iter().map(|port| Asker { client: &client, url: format!("http://127.0.0.1:{port}") }.ask());
    futures::future::join_all(asked).await.into_iter().flatten().collect()
}

/// Asks one address.
struct Asker<'a> {
    client: &'a Client,
    url: String,
}

/// An answer: what the server calls itself, and what it says.
struct Answer {
    server: String,
    body: Value,
}

impl Asker<'_> {
    async fn ask(self) -> Option<FoundServer> {
        // Whoever lists no models sells no answers, whatever else it is.
        let listed = self.get("/v1/models").await?;
        let (models, owner) = models(&listed.body)?;
        let ollama = self.get("/api/version").await.and_then(|answer| word(&answer.body, "version"));
        let props = self.get("/props").await;
        let kind = if ollama.is_some() {
            ServerKind::Ollama
        } else if is_llama_cpp(&listed, props.as_ref()) {
            ServerKind::LlamaCpp
        } else if listed.server.starts_with("BaseHTTP") {
            ServerKind::Mlx
        } else if owner == "vllm" {
            ServerKind::Vllm
        } else if models.iter().any(|model| model == "apple-foundationmodel") {
            ServerKind::Apple
        } else if self.get("/api/v0/models").await.is_some_and(|answer| is_lm_studio(&answer.body)) {
            ServerKind::LmStudio
        } else {
            ServerKind::OpenAi
        };
        let version = match kind {
            ServerKind::Ollama => ollama,
            ServerKind::LlamaCpp => props.as_ref().and_then(|props| word(&props.body, "build_info")),
            ServerKind::Vllm => self.get("/version").await.and_then(|answer| word(&answer.body, "version")),
            ServerKind::Mlx | ServerKind::LmStudio | ServerKind::Apple | ServerKind::OpenAi => None,
        };
        let slots = props.and_then(|props| props.body["total_slots"].as_u64());
        let slots = slots.and_then(|slots| usize::try_from(slots).ok()).filter(|slots| *slots > 0);
        Some(FoundServer { url: self.url, kind, version, models, slots })
    }

    /// What is at a path: JSON of a reasonable size, or nothing.
    async fn get(&self, path: &str) -> Option<Answer> {
        let response = self.client.get(format!("{}{path}", self.url)).send().await.ok()?;
        if !response.status().is_success() {
            return None;
        }
        let server = response.headers().get(SERVER).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let server = plain(server);
        let (mut bytes, mut stream) = (Vec::new(), response.bytes_stream());
        while let Some(chunk) = stream.next().await {
            bytes.extend_from_slice(&chunk.ok()?);
            if bytes.len() > LARGEST {
                return None;
            }
        }
        Some(Answer { server, body: serde_json::from_slice(&bytes).ok()? })
    }
}

/// The models of a list and who owns the first, if it is such a list and not empty.
fn models(body: &Value) -> Option<(Vec<String>, String)> {
    let data = body["data"].as_array()?;
    let owner = data.first().and_then(|model| word(model, "owned_by")).unwrap_or_default();
    let ids = data.iter().take(MOST_MODELS).filter_map(|model| model["id"].as_str());
    // What could not be written down as it is could not be asked for either.
    let ids: Vec<String> = ids.filter(|id| plain(id) == **id).map(str::to_owned).collect();
    (!ids.is_empty()).then_some((ids, owner))
}

fn is_llama_cpp(listed: &Answer, props: Option<&Answer>) -> bool {
    let named = |answer: &Answer| answer.server.starts_with("llama.cpp");
    named(listed)
        || props.is_some_and(|props| {
            named(props)
                || props.body["default_generation_settings"].is_object()
                || props.body["total_slots"].is_u64()
        })
}

fn is_lm_studio(body: &Value) -> bool {
    let models = body["data"].as_array();
    models.is_some_and(|models| {
        models.iter().any(|model| model["publisher"].is_string() && model["arch"].is_string())
    })
}

fn word(value: &Value, name: &str) -> Option<String> {
    value[name].as_str().map(plain).filter(|text| !text.is_empty())
}

/// A server's words without what terminals obey.
fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}
