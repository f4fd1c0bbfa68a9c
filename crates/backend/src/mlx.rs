//! Apple's MLX, by `mlx_lm.server`: one that runs already, or one that we run.
//!
//! What it gets wrong is not asked of it. It removes stop texts and goes on, so they are cut here. It loads whatever a
//! request names, so it is sent `default_model` or a name of the settings. It ignores schemas, so none is promised. It
//! takes more tokens than fit, so length is estimated here. It has no key, so it listens on this machine alone.

use std::{
    fs::File,
    io::Read as _,
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
    llamacpp::exposure,
    managed::{Address, Launch, Managed, Place, Program},
    openai,
    serving::{self, Ask, Model, ReadLine, Seen, Served, Wire, asked, digest},
};

/// The row of [`crate::BACKENDS`].
pub(crate) const KIND: BackendKind =
    BackendKind { name: "mlx", about: "text generation (5050) with Apple's MLX, by mlx_lm.server", build };

fn build(settings: &Settings) -> Vec<Built> {
    let one = |server: &MlxSettings| {
        Mlx::new(server.clone(), settings.place.clone()).map(|b| Arc::new(b) as Arc<dyn Backend>)
    };
    settings.mlx.iter().map(one).collect()
}

/// How long a 1-token answer may take before a server of ours counts as ready: the first compiles.
const FIRST_WORD: Duration = Duration::from_secs(120);
/// What the server calls the model that it was started with.
const STARTED_WITH: &str = "default_model";
/// The longest head of a weights file, in bytes, as the format has it.
const LONGEST_HEAD: u64 = 100_000_000;

/// A server, or a model folder to run one for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MlxSettings {
    /// The address of one that runs already; empty runs one.
    pub url: String,
    /// Of one that runs already: the models it may be asked for, by their names there. Empty asks for none but the
    /// one that it was started with.
    pub models: Vec<String>,
    /// The folder of the model to run one for.
    pub model: PathBuf,
    /// The name that the model is sold under; that of its folder if empty.
    pub name: String,
    /// The server's program.
    pub program: PathBuf,
    /// Tokens of a question and its answer together; 0 takes what the model was made for.
    pub context: u64,
    /// Jobs at once.
    pub slots: usize,
    /// The hash that the model must have; any if empty.
    pub sha256: String,
}

/// MLX's server.
pub type Mlx = Served<MlxWire>;

impl Mlx {
    /// A backend for one server.
    ///
    /// # Errors
    /// No HTTP client can be made.
    pub fn new(settings: MlxSettings, place: Place) -> Result<Self, BuildError> {
        let failed = |reason| BuildError { name: KIND.name.into(), reason };
        let client = serving::client().map_err(failed)?;
        let fingerprint = Arc::<Fingerprint>::default();
        let managed = settings.url.is_empty().then(|| {
            let (settings, client) = (settings.clone(), client.clone());
            let program = MlxServer { settings, client, fingerprint: Arc::clone(&fingerprint) };
            Managed::new(Box::new(program), place)
        });
        let base = openai::plain(&settings.url);
        Ok(Self::of(MlxWire { settings, base, client, managed, fingerprint }, Vec::new()))
    }
}

/// How MLX's server is spoken to.
pub struct MlxWire {
    settings: MlxSettings,
    base: String,
    client: reqwest::Client,
    managed: Option<Managed>,
    fingerprint: Arc<Fingerprint>,
}

impl MlxWire {
    fn at(&self) -> Result<String, Health> {
        match &self.managed {
            Some(managed) => managed.address().map(|at| at.url).ok_or_else(|| managed.health()),
            None => Ok(self.base.clone()),
        }
    }

    /// The models that may be asked for.
    fn models(&self) -> Vec<Model> {
        let context = match self.settings.context {
            0 => made_for(&self.settings.model),
            context => Some(context),
        };
        let own = [name(&self.settings)];
        let names = if self.settings.models.is_empty() { own.as_slice() } else { &self.settings.models };
        let digest = self.fingerprint.last();
        names
            .iter()
            .map(|id| Model { digest: digest.clone(), context, ..openai::of_name(id.clone()) })
            .collect()
    }
}

#[async_trait]
impl Wire for MlxWire {
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
        // Its list of models is of a cache that may not be there, and then an answer without a body.
        let base = self.at()?;
        let health = asked(self.client.get(format!("{base}/health")), &self.place()).await?;
        if health["status"] != "ok" {
            return Err(Health::Down(format!("{} is no mlx_lm.server", self.place())));
        }
        Ok(Seen {
            about: "mlx_lm.server".into(),
            models: self.models(),
            slots: None,
            warning: exposure(&base).await,
        })
    }

    fn ask(&self, ask: &Ask<'_>) -> Result<RequestBuilder, BackendError> {
        let mut body = openai::question(ask);
        if let Some(body) = body.as_object_mut() {
            body.remove("stop");
        }
        if self.settings.models.is_empty() {
            body["model"] = STARTED_WITH.into();
        }
        let base = self.at().map_err(|_| BackendError::Died)?;
        Ok(self.client.post(format!("{base}/v1/chat/completions")).json(&body))
    }

    fn named(&self) -> Vec<Model> {
        self.models()
    }

    fn line(&self) -> ReadLine {
        openai::line
    }

    fn refusal(&self, status: StatusCode, body: &str) -> BackendError {
        openai::refusal(status, body)
    }

    fn managed(&self) -> Option<&Managed> {
        self.managed.as_ref()
    }

    fn slots(&self) -> Option<usize> {
        Some(self.settings.slots.max(1))
    }

    fn checks_length(&self) -> bool {
        false
    }
}

/// The name that the model of the start is sold under.
fn name(settings: &MlxSettings) -> String {
    let folder = settings.model.file_name().map(|name| name.to_string_lossy().into_owned());
    match settings.name.as_str() {
        "" => folder.unwrap_or_else(|| "mlx".into()),
        name => name.to_owned(),
    }
}

/// Tokens that a model was made for.
fn made_for(model: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(model.join("config.json")).ok()?;
    let config: Value = serde_json::from_str(&text).ok()?;
    let whole = &config["max_position_embeddings"];
    whole.as_u64().or_else(|| config["text_config"]["max_position_embeddings"].as_u64())
}

/// The program, when it is ours.
struct MlxServer {
    settings: MlxSettings,
    client: reqwest::Client,
    fingerprint: Arc<Fingerprint>,
}

#[async_trait]
impl Program for MlxServer {
    fn name(&self) -> String {
        format!("{}-{}", KIND.name, name(&self.settings))
    }

    async fn prepare(&self) -> Result<(), String> {
        let folder = self.settings.model.clone();
        let files = tokio::task::spawn_blocking(move || model_folder(&folder));
        let files = files.await.map_err(|error| error.to_string())??;
        let found = self.fingerprint.of(files).await?;
        if digest(&self.settings.sha256).is_some_and(|pinned| pinned != found) {
            let folder = self.settings.model.display();
            return Err(format!("{folder} is not the model that sha256 names: it is {found}"));
        }
        Ok(())
    }

    fn launch(&self, at: &Address) -> Launch {
        let model = self.settings.model.display().to_string();
        let args =
            ["--model", &model, "--host", "127.0.0.1", "--port", &at.port.to_string()].map(String::from);
        // It fetches nothing, and looks for other models only where there are none of its owner's.
        let cache = std::env::temp_dir().display().to_string();
        let env = [
            ("HF_HUB_OFFLINE", "1".to_owned()),
            ("HF_HUB_CACHE", cache),
            ("PYTHONUNBUFFERED", "1".to_owned()),
        ];
        Launch {
            program: self.settings.program.clone(),
            args: args.to_vec(),
            env: env.map(|(name, value)| (name, Zeroizing::new(value))).to_vec(),
        }
    }

    async fn is_ready(&self, at: &Address) -> bool {
        let get = self.client.get(format!("{}/health", at.url)).timeout(serving::PROBE);
        if !get.send().await.is_ok_and(|answer| answer.status().is_success()) {
            return false;
        }
        let messages = json!([{ "role": "user", "content": "a" }]);
        let body = json!({ "model": STARTED_WITH, "messages": messages, "max_tokens": 1, "stream": false });
        let post = self.client.post(format!("{}/v1/chat/completions", at.url)).json(&body);
        post.timeout(FIRST_WORD).send().await.is_ok_and(|answer| answer.status().is_success())
    }
}

/// The files of a model folder, or why it cannot be served.
///
/// # Errors
/// It is not there, or not whole.
pub fn model_folder(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let shown = folder.display();
    if !folder.join("config.json").is_file() {
        return Err(format!("{shown}: there is no config.json; name the folder of a model for MLX"));
    }
    let entries = std::fs::read_dir(folder).map_err(|error| format!("{shown}: {error}"))?;
    let mut files: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path()).filter(|path| is_of_model(path)).collect();
    files.sort();
    let weights: Vec<&PathBuf> = files.iter().filter(|path| is_named(path, "safetensors")).collect();
    if weights.is_empty() {
        return Err(format!("{shown}: there are no weights (*.safetensors); fetch the model again"));
    }
    weights
        .into_iter()
        .try_for_each(|path| whole(path).map_err(|why| format!("{}: {why}", path.display())))?;
    Ok(files)
}

fn is_named(path: &Path, end: &str) -> bool {
    path.extension().is_some_and(|found| found == end)
}

fn is_of_model(path: &Path) -> bool {
    is_named(path, "safetensors") || is_named(path, "json") || is_named(path, "jinja")
}

/// Whether a weights file is as long as its head says: <https://github.com/huggingface/safetensors#format>.
fn whole(path: &Path) -> Result<(), String> {
    let mut file = File::open(path).map_err(|error| error.to_string())?;
    let length = file.metadata().map_err(|error| error.to_string())?.len();
    let mut size = [0; 8];
    file.read_exact(&mut size).map_err(|_| "it is cut off; fetch it again".to_owned())?;
    let head = u64::from_le_bytes(size);
    if head > LONGEST_HEAD {
        return Err("it is no safetensors file".into());
    }
    let mut text = Vec::new();
    file.take(head).read_to_end(&mut text).map_err(|error| error.to_string())?;
    let read: Value =
        serde_json::from_slice(&text).map_err(|_| "it is no safetensors file, or cut off".to_owned())?;
    let tensors = read.as_object().into_iter().flat_map(|all| all.values());
    let end = tensors.filter_map(|tensor| tensor["data_offsets"][1].as_u64()).max().unwrap_or(0);
    match (8 + head).checked_add(end) {
        Some(wanted) if wanted <= length => Ok(()),
        Some(wanted) => Err(format!("it is cut off: {length} bytes are there of {wanted}; fetch it again")),
        None => Err("it is damaged; fetch it again".into()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]
    use super::*;

    #[test]
    fn a_folder_that_is_not_whole_is_not_served() {
        let folder = tempfile::tempdir().unwrap();
        let error = || model_folder(folder.path()).unwrap_err();
        assert!(error().contains("no config.json"));
        std::fs::write(folder.path().join("config.json"), "{\"max_position_embeddings\": 4096}").unwrap();
        assert!(error().contains("no weights"));
        let head = "{\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}";
        let mut weights = (head.len() as u64).to_le_bytes().to_vec();
        weights.extend(head.as_bytes());
        weights.extend([0; 8]);
        let path = folder.path().join("model.safetensors");
        for cut in 0..weights.len() {
            std::fs::write(&path, &weights[..cut]).unwrap();
            assert!(error().contains("cut off"), "cut at {cut}: {}", error());
        }
        std::fs::write(&path, &weights).unwrap();
        assert_eq!(model_folder(folder.path()).unwrap().len(), 2);
        assert_eq!(made_for(folder.path()), Some(4_096));
    }
}
