//! llama.cpp's `llama-server`: one that runs already, or one that we run.
//!
//! It speaks as OpenAI's API does, and says more: how many slots it has, and how many tokens fit into one. One that
//! we run gets a free port and a random key for each start, and one processor core less than there are.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use reqwest::{RequestBuilder, StatusCode};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::{
    Backend, BackendError, BackendKind, BuildError, Built, Health, Settings,
    files::Fingerprint,
    gguf::{Gguf, GgufError, read_gguf},
    managed::{Address, Launch, Managed, Place, Program},
    openai::{self, Api},
    serving::{self, Ask, Embed, Model, ReadLine, Seen, Served, Vectors, Wire, asked, digest},
};

/// The row of [`crate::BACKENDS`].
pub(crate) const KIND: BackendKind = BackendKind {
    name: "llamacpp",
    about: "text, facts and vectors (5050, 6509, 6511) with a model file, by llama.cpp's server",
    build,
};

fn build(settings: &Settings) -> Vec<Built> {
    let one = |server: &LlamaCppSettings| {
        LlamaCpp::new(server.clone(), settings.place.clone()).map(|b| Arc::new(b) as Arc<dyn Backend>)
    };
    settings.llamacpp.iter().map(one).collect()
}

/// How long a 1-token answer may take before a server of ours counts as ready.
const FIRST_WORD: Duration = Duration::from_secs(60);

/// A server, or a model file to run one for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LlamaCppSettings {
    /// The address of one that runs already; empty runs one.
    pub url: String,
    /// A file with its key.
    pub key_file: Option<PathBuf>,
    /// The model file to run one for.
    pub model: PathBuf,
    /// The name the model is sold under; that of its file if empty.
    pub name: String,
    /// The server's program.
    pub program: PathBuf,
    /// Tokens of a question and its answer together, for each slot; 0 takes what the model was made for, at most 8192.
    pub context: u64,
    /// Threads; 0 is one less than there are cores.
    pub threads: usize,
    /// Layers on the graphics card; `None` leaves it to the server.
    pub gpu_layers: Option<u32>,
    /// Jobs at once.
    pub slots: usize,
    /// Whether the model makes vectors and no text.
    pub embeddings: bool,
    /// The hash that the model file must have; any if empty.
    pub sha256: String,
}

impl LlamaCppSettings {
    /// The name that the model is given.
    fn model_name(&self) -> String {
        match self.name.as_str() {
            "" => short(&self.model.to_string_lossy()),
            name => name.to_owned(),
        }
    }
}

/// llama.cpp's server.
pub type LlamaCpp = Served<LlamaCppWire>;

impl LlamaCpp {
    /// A backend for one server.
    ///
    /// # Errors
    /// Its key file cannot be read.
    pub fn new(settings: LlamaCppSettings, place: Place) -> Result<Self, BuildError> {
        let api = Api::open(KIND.name, settings.key_file.as_ref())?;
        let fingerprint = Arc::<Fingerprint>::default();
        let managed = settings.url.is_empty().then(|| {
            let failed = |reason| BuildError { name: KIND.name.into(), reason };
            let client = serving::client().map_err(failed)?;
            let settings = settings.clone();
            let program = LlamaServer { settings, client, fingerprint: Arc::clone(&fingerprint) };
            Ok(Managed::new(Box::new(program), place))
        });
        let managed = managed.transpose()?;
        Ok(Self::of(
            LlamaCppWire { base: openai::plain(&settings.url), settings, api, managed, fingerprint },
            Vec::new(),
        ))
    }
}

/// How llama.cpp's server is spoken to.
pub struct LlamaCppWire {
    settings: LlamaCppSettings,
    base: String,
    api: Api,
    managed: Option<Managed>,
    fingerprint: Arc<Fingerprint>,
}

impl LlamaCppWire {
    fn at(&self) -> Result<String, BackendError> {
        match &self.managed {
            Some(managed) => managed.address().map(|at| at.url).ok_or(BackendError::Died),
            None => Ok(self.base.clone()),
        }
    }

    /// With the key of this start, if the server is ours.
    fn keyed(&self, request: RequestBuilder) -> RequestBuilder {
        match self.managed.as_ref().and_then(Managed::address) {
            Some(at) => request.bearer_auth(at.key.as_str()),
            None => request,
        }
    }

    async fn get(&self, path: &str) -> Result<Value, Health> {
        let base = match &self.managed {
            Some(managed) => managed.address().map(|at| at.url).ok_or_else(|| managed.health())?,
            None => self.base.clone(),
        };
        asked(self.keyed(self.api.get(&format!("{base}{path}"))), &self.place()).await
    }
}

#[async_trait]
impl Wire for LlamaCppWire {
    fn kind(&self) -> &'static str {
        KIND.name
    }

    fn place(&self) -> String {
        match &self.managed {
            Some(_) => self.settings.model.display().to_string(),
            None => self.base.clone(),
        }
    }

    async fn look(&self) -> Result<Seen, Health> {
        // While it loads a model it answers 503 here.
        let health = self.get("/health").await;
        if let Err(Health::Down(why)) = &health
            && why.ends_with("HTTP 503")
        {
            return Err(Health::Starting);
        }
        health?;
        let props = self.get("/props").await?;
        if !props["total_slots"].is_u64() {
            return Err(Health::Down(format!("{} is no llama.cpp server", self.place())));
        }
        let names = openai::listed(&self.get("/v1/models").await?);
        let model = |id: String| Model {
            id: short(&id),
            digest: self.fingerprint.last(),
            context: props["default_generation_settings"]["n_ctx"].as_u64(),
            ..self.expects()
        };
        Ok(Seen {
            about: props["build_info"]
                .as_str()
                .map_or_else(|| "llama.cpp".into(), |build| format!("llama.cpp {build}")),
            models: names.into_iter().take(1).map(model).collect(),
            slots: props["total_slots"].as_u64().and_then(|slots| usize::try_from(slots).ok()),
            warning: exposure(&self.base).await,
        })
    }

    fn ask(&self, ask: &Ask<'_>) -> Result<RequestBuilder, BackendError> {
        let body = openai::question(ask);
        Ok(self.keyed(self.api.post(&format!("{}/v1/chat/completions", self.at()?))).json(&body))
    }

    fn line(&self) -> ReadLine {
        openai::line
    }

    fn expects(&self) -> Model {
        let embeds = self.settings.embeddings;
        Model { chats: !embeds, embeds, schemas: !embeds, ..Model::default() }
    }

    fn named(&self) -> Vec<Model> {
        let ours = self.managed.is_some().then(|| short(&self.settings.model_name()));
        ours.map(|id| Model { id, ..self.expects() }).into_iter().collect()
    }

    fn embed(&self, embed: &Embed<'_>) -> Result<RequestBuilder, BackendError> {
        let body = openai::embedding(embed);
        Ok(self.keyed(self.api.post(&format!("{}/v1/embeddings", self.at()?))).json(&body))
    }

    fn vectors(&self, value: &Value) -> Option<Vectors> {
        openai::vectors(value)
    }

    fn refusal(&self, status: StatusCode, body: &str) -> BackendError {
        openai::refusal(status, body)
    }

    fn managed(&self) -> Option<&Managed> {
        self.managed.as_ref()
    }
}

/// Whether other machines reach it; asked aside, because the answer takes a moment.
pub(crate) async fn exposure(url: &str) -> Option<String> {
    let url = url.to_owned();
    tokio::task::spawn_blocking(move || serving::exposure(&url)).await.ok().flatten()
}

/// The name of a model that a server calls by its path.
fn short(id: &str) -> String {
    let name = Path::new(id).file_name().and_then(|name| name.to_str()).unwrap_or(id);
    name.strip_suffix(".gguf").unwrap_or(name).to_owned()
}

/// The program, when it is ours.
struct LlamaServer {
    settings: LlamaCppSettings,
    client: reqwest::Client,
    fingerprint: Arc<Fingerprint>,
}

impl LlamaServer {
    /// Tokens for each slot.
    fn context(&self) -> u64 {
        /// Memory for more is asked for by name.
        const USUAL: u64 = 8_192;
        match self.settings.context {
            0 => read_gguf(&self.settings.model)
                .ok()
                .and_then(|head| head.context)
                .map_or(USUAL, |most| most.min(USUAL)),
            context => context,
        }
    }
}

#[async_trait]
impl Program for LlamaServer {
    fn name(&self) -> String {
        format!("{}-{}", KIND.name, self.settings.model_name())
    }

    async fn prepare(&self) -> Result<(), String> {
        let path = self.settings.model.clone();
        let head = tokio::task::spawn_blocking({
            let path = path.clone();
            move || model_file(&path)
        });
        head.await.map_err(|error| error.to_string())??;
        let found = self.fingerprint.of(parts(&path)).await?;
        if digest(&self.settings.sha256).is_some_and(|pinned| pinned != found) {
            return Err(format!("{} is not the model that sha256 names: it is {found}", path.display()));
        }
        Ok(())
    }

    fn launch(&self, at: &Address) -> Launch {
        let it = &self.settings;
        let slots = it.slots.max(1);
        let threads = if it.threads == 0 { usual_threads() } else { it.threads };
        let context = self.context().saturating_mul(slots as u64);
        let mut args: Vec<String> = vec!["-m".into(), it.model.display().to_string()];
        let mut add = |name: &str, value: String| args.extend([name.to_owned(), value]);
        add("--host", "127.0.0.1".into());
        add("--port", at.port.to_string());
        add("-t", threads.to_string());
        add("-c", context.to_string());
        add("-np", slots.to_string());
        add("-a", it.model_name());
        if let Some(layers) = it.gpu_layers {
            add("-ngl", layers.to_string());
        }
        args.push("--no-webui".into());
        if it.embeddings {
            args.extend(["--embeddings", "--pooling", "mean"].map(String::from));
        }
        let key = Zeroizing::new(at.key.to_string());
        Launch { program: it.program.clone(), args, env: vec![("LLAMA_API_KEY", key)] }
    }

    async fn is_ready(&self, at: &Address) -> bool {
        let get = self.client.get(format!("{}/health", at.url)).timeout(serving::PROBE);
        if !get.send().await.is_ok_and(|answer| answer.status().is_success()) {
            return false;
        }
        let (path, body) = match self.settings.embeddings {
            true => ("embeddings", json!({ "input": ["a"] })),
            false => {
                let messages = json!([{ "role": "user", "content": "a" }]);
                ("chat/completions", json!({ "messages": messages, "max_tokens": 1, "stream": false }))
            }
        };
        let post = self.client.post(format!("{}/v1/{path}", at.url)).bearer_auth(at.key.as_str()).json(&body);
        post.timeout(FIRST_WORD).send().await.is_ok_and(|answer| answer.status().is_success())
    }
}

/// The head of a model file, or why it cannot be served.
///
/// # Errors
/// It is not there, is no model, or not whole.
pub fn model_file(path: &Path) -> Result<Gguf, String> {
    match read_gguf(path) {
        // What the model is, its first part says for all.
        Err(GgufError::Nameless) if part(path).is_some_and(|(_, at, ..)| at > 1) => Ok(Gguf::default()),
        read => read.map_err(|error| format!("{}: {error}", path.display())),
    }
}

/// Which part of a model a file is: `m-00002-of-00003.gguf` is called `m`, and is the second of three.
fn part(path: &Path) -> Option<(&str, u32, u32, &str)> {
    let (stem, end) = path.file_name()?.to_str()?.rsplit_once('.')?;
    let (rest, of) = stem.rsplit_once("-of-")?;
    let (called, at) = rest.rsplit_once('-')?;
    let number = |text: &str| text.parse().ok().filter(|_| text.len() == 5);
    let (at, of) = (number(at)?, number(of)?);
    (end.eq_ignore_ascii_case("gguf") && (1..=of).contains(&at)).then_some((called, at, of, end))
}

/// All files that the server loads when it is told to load this one, in the order of their names.
fn parts(path: &Path) -> Vec<PathBuf> {
    match part(path) {
        Some((called, _, of, end)) => {
            (1..=of).map(|at| path.with_file_name(format!("{called}-{at:05}-of-{of:05}.{end}"))).collect()
        }
        None => vec![path.to_path_buf()],
    }
}

/// One thread less than there are cores: the node and its owner need one, and threads that wait for each other are
/// slower than fewer that do not.
fn usual_threads() -> usize {
    let logical = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let cores = physical_cores().unwrap_or(logical).min(logical);
    cores.saturating_sub(1).max(1)
}

/// The cores, each counted once however many threads it runs.
#[cfg(target_os = "linux")]
fn physical_cores() -> Option<usize> {
    let folders = std::fs::read_dir("/sys/devices/system/cpu").ok()?.flatten();
    let siblings = folders
        .filter_map(|entry| std::fs::read_to_string(entry.path().join("topology/thread_siblings_list")).ok());
    let cores: BTreeSet<String> = siblings.collect();
    (!cores.is_empty()).then_some(cores.len())
}

/// Macs run one thread on each core.
#[cfg(not(target_os = "linux"))]
fn physical_cores() -> Option<usize> {
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]
    use super::*;

    #[tokio::test]
    async fn all_parts_of_a_model_are_hashed_and_the_later_ones_need_not_say_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        // A head with one tensor of 32 numbers, and no word of what it is.
        let mut bytes = b"GGUF\x03\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec();
        bytes.extend(b"\x01\0\0\0\0\0\0\0w\x01\0\0\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
        bytes.resize(bytes.len().next_multiple_of(32) + 128, 0);
        let [first, second] = [1, 2].map(|at| folder.path().join(format!("a-of-b-0000{at}-of-00002.gguf")));
        for path in [&first, &second] {
            std::fs::write(path, &bytes).unwrap();
        }
        assert!(model_file(&first).unwrap_err().contains("architecture"));
        assert!(model_file(&second).is_ok());
        assert_eq!(parts(&first), [first.clone(), second.clone()]);
        assert_eq!(parts(Path::new("/m/a-of-b.gguf")), [PathBuf::from("/m/a-of-b.gguf")]);
        let hash = Fingerprint::default().of(parts(&first)).await.unwrap();
        bytes.push(0);
        std::fs::write(&second, &bytes).unwrap();
        assert_ne!(Fingerprint::default().of(parts(&first)).await.unwrap(), hash, "the second counts too");
    }

    #[test]
    fn a_model_is_called_by_its_name_and_not_by_its_path() {
        assert_eq!(short("/models/Llama-3.2-1B-Q4_K_M.gguf"), "Llama-3.2-1B-Q4_K_M");
        assert_eq!(short("tiny"), "tiny");
        assert!(usual_threads() >= 1);
    }
}
