//! `[[backend.ollama]]`, `[[backend.llamacpp]]`, `[[backend.mlx]]`, `[[backend.foundation_models]]`: model servers on
//! this machine.

use std::path::PathBuf;

use openagents_backend::{
    FoundationModelsSettings, LlamaCppSettings, MlxSettings, OllamaSettings, is_loopback,
};
use serde::{Deserialize, Serialize};

use super::models::in_store;

/// The most jobs that one server is given at once.
const MOST_SLOTS: usize = 64;

/// A model server that cannot be used as it is described.
#[derive(Debug, thiserror::Error)]
pub enum ServerFault {
    /// Not one of both.
    #[error("[[backend.{0}]] has to say either `url`, of a server that runs, or `model`, to run one for it")]
    Which(&'static str),
    /// No address of a server.
    #[error("[[backend.{kind}]] url is {url:?}; it must be like http://127.0.0.1:{port}")]
    Url {
        /// Whose.
        kind: &'static str,
        /// What it is.
        url: String,
        /// What is usual.
        port: u16,
    },
    /// On another machine.
    #[error(
        "[[backend.{kind}]] url {url} is on another machine: whatever is between reads every job; add `remote = true` \
         if it is yours and the way to it is private"
    )]
    Remote {
        /// Whose.
        kind: &'static str,
        /// What it is.
        url: String,
    },
    /// Too few or too many.
    #[error("[[backend.{kind}]] slots is {slots}; it must be from 1 to 64")]
    Slots {
        /// Whose.
        kind: &'static str,
        /// What it is.
        slots: usize,
    },
    /// No hash.
    #[error("[[backend.{kind}]] sha256 is {found:?}; it must be 64 hexadecimal digits")]
    Hash {
        /// Whose.
        kind: &'static str,
        /// What it is.
        found: String,
    },
    /// A hash of what is not seen.
    #[error(
        "[[backend.{0}]] has sha256 beside `url`: the files of a server that the node does not run are not seen; leave \
         sha256 out, or let the node run the model with `model`"
    )]
    HashUnseen(&'static str),
    /// Not in the model store.
    #[error("[[backend.{kind}]]: {reason}")]
    Model {
        /// Whose.
        kind: &'static str,
        /// Why.
        reason: openagents_models::StoreError,
    },
    /// In the model store, for another kind of server.
    #[error(
        "[[backend.{kind}]]: {name} is {format}, which this server does not read; name it in [[backend.llamacpp]] if it \
         is gguf, in [[backend.mlx]] if it is safetensors"
    )]
    Format {
        /// Whose.
        kind: &'static str,
        /// The model.
        name: String,
        /// How it is stored.
        format: &'static str,
    },
    /// No duration.
    #[error("[[backend.ollama]] keep_alive is {0:?}; it must be like \"5m\", \"-1\" (for ever) or \"0\"")]
    KeepAlive(String),
}

/// An Ollama.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OllamaServer {
    /// Its address.
    pub url: String,
    /// The models sold, such as `llama3.2:1b` or `llama3.2:1b@sha256:…`; empty sells all that are on this machine.
    pub models: Vec<String>,
    /// Tokens of a question and its answer together; 0 takes what the model was made for, at most 8192.
    pub context: u64,
    /// How long a model stays in memory after a job: `5m`, `-1` for ever, `0` not at all.
    pub keep_alive: String,
    /// Jobs at once; as many as its OLLAMA_NUM_PARALLEL.
    pub slots: usize,
    /// Whether it may be on another machine.
    pub remote: bool,
}

impl Default for OllamaServer {
    fn default() -> Self {
        Self {
            url: "http://127.0.0.1:11434".into(),
            models: Vec::new(),
            context: 0,
            keep_alive: "5m".into(),
            slots: 1,
            remote: false,
        }
    }
}

impl OllamaServer {
    pub(super) fn check(&self) -> Result<(), ServerFault> {
        url("ollama", &self.url, 11_434, self.remote)?;
        slots("ollama", self.slots)?;
        let text = self.keep_alive.trim();
        let unit = text.trim_start_matches(|c: char| c.is_ascii_digit() || matches!(c, '-' | '.'));
        let is_known = text.len() > unit.len() && matches!(unit, "" | "ms" | "s" | "m" | "h");
        if is_known { Ok(()) } else { Err(ServerFault::KeepAlive(text.into())) }
    }

    pub(super) fn settings(&self) -> OllamaSettings {
        OllamaSettings {
            url: self.url.clone(),
            models: self.models.clone(),
            context: self.context,
            keep_alive: self.keep_alive.clone(),
            slots: self.slots,
        }
    }
}

/// llama.cpp's `llama-server`: one that runs, or one that the node runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LlamaCppServer {
    /// The address of one that runs already.
    pub url: String,
    /// A file with its key.
    pub key_file: Option<PathBuf>,
    /// The model file (`.gguf`) to run one for, or `store:NAME` of the model store.
    pub model: PathBuf,
    /// The name the model is sold under; that of its file if empty.
    pub name: String,
    /// Its program: a path, or a name that is found as in a terminal.
    pub program: PathBuf,
    /// Tokens of a question and its answer together; 0 takes what the model was made for, at most 8192.
    pub context: u64,
    /// Threads; 0 is one less than there are processor cores.
    pub threads: usize,
    /// Layers on the graphics card; left to the server if not said.
    pub gpu_layers: Option<u32>,
    /// Jobs at once; each takes memory for a context of its own.
    pub slots: usize,
    /// Whether the model makes vectors (kind 6511) and no text.
    pub embeddings: bool,
    /// The hash that the model file must have; any if empty.
    pub sha256: String,
    /// Whether one that runs already may be on another machine.
    pub remote: bool,
}

impl Default for LlamaCppServer {
    fn default() -> Self {
        Self {
            url: String::new(),
            key_file: None,
            model: PathBuf::new(),
            name: String::new(),
            program: "llama-server".into(),
            context: 0,
            threads: 0,
            gpu_layers: None,
            slots: 1,
            embeddings: false,
            sha256: String::new(),
            remote: false,
        }
    }
}

impl LlamaCppServer {
    /// Whether the node runs it.
    pub fn is_ours(&self) -> bool {
        self.url.is_empty()
    }

    pub(super) fn check(&self) -> Result<(), ServerFault> {
        let kind = "llamacpp";
        either(kind, &self.url, &self.model)?;
        if !self.is_ours() {
            url(kind, &self.url, 9_931, self.remote)?;
            unpinned(kind, &self.sha256)?;
        }
        slots(kind, self.slots)?;
        hash(kind, &self.sha256)
    }

    pub(super) fn settings(&self) -> LlamaCppSettings {
        LlamaCppSettings {
            url: self.url.clone(),
            key_file: self.key_file.clone(),
            model: self.model.clone(),
            name: named(&self.name, &self.model),
            program: self.program.clone(),
            context: self.context,
            threads: self.threads,
            gpu_layers: self.gpu_layers,
            slots: self.slots,
            embeddings: self.embeddings,
            sha256: self.sha256.clone(),
        }
    }
}

/// MLX's `mlx_lm.server`: one that runs, or one that the node runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MlxServer {
    /// The address of one that runs already.
    pub url: String,
    /// Of one that runs already: the models that it may be asked for, as it calls them. Empty asks for none but the
    /// one that it was started with.
    pub models: Vec<String>,
    /// The folder of the model to run one for, or `store:NAME` of the model store.
    pub model: PathBuf,
    /// The name that the model is sold under; that of its folder if empty.
    pub name: String,
    /// Its program: a path, or a name that is found as in a terminal.
    pub program: PathBuf,
    /// Tokens of a question and its answer together; 0 takes what the model was made for.
    pub context: u64,
    /// Jobs at once.
    pub slots: usize,
    /// The hash that the model must have; any if empty.
    pub sha256: String,
    /// Whether one that runs already may be on another machine.
    pub remote: bool,
}

impl Default for MlxServer {
    fn default() -> Self {
        Self {
            url: String::new(),
            models: Vec::new(),
            model: PathBuf::new(),
            name: String::new(),
            program: "mlx_lm.server".into(),
            context: 0,
            slots: 1,
            sha256: String::new(),
            remote: false,
        }
    }
}

impl MlxServer {
    /// Whether the node runs it.
    pub fn is_ours(&self) -> bool {
        self.url.is_empty()
    }

    pub(super) fn check(&self) -> Result<(), ServerFault> {
        let kind = "mlx";
        either(kind, &self.url, &self.model)?;
        if !self.is_ours() {
            url(kind, &self.url, 8_080, self.remote)?;
            unpinned(kind, &self.sha256)?;
        }
        slots(kind, self.slots)?;
        hash(kind, &self.sha256)
    }

    pub(super) fn settings(&self) -> MlxSettings {
        MlxSettings {
            url: self.url.clone(),
            models: self.models.clone(),
            model: self.model.clone(),
            name: named(&self.name, &self.model),
            program: self.program.clone(),
            context: self.context,
            slots: self.slots,
            sha256: self.sha256.clone(),
        }
    }
}

/// A bridge to Apple's on-device model.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FoundationModelsBridge {
    /// Its address.
    pub url: String,
    /// A file with its token.
    pub key_file: Option<PathBuf>,
}

impl FoundationModelsBridge {
    pub(super) fn check(&self) -> Result<(), ServerFault> {
        url("foundation_models", &self.url, 1_976, false)
    }

    pub(super) fn settings(&self) -> FoundationModelsSettings {
        FoundationModelsSettings { url: self.url.clone(), key_file: self.key_file.clone() }
    }
}

/// What a model is called in jobs: one of the store as it is called there.
fn named(name: &str, model: &std::path::Path) -> String {
    let own = in_store(model).filter(|_| name.is_empty());
    own.unwrap_or(name).to_owned()
}

fn either(kind: &'static str, url: &str, model: &std::path::Path) -> Result<(), ServerFault> {
    if url.is_empty() == model.as_os_str().is_empty() { Err(ServerFault::Which(kind)) } else { Ok(()) }
}

/// An address without user, query and path but `/v1`, on this machine unless it may be elsewhere.
fn url(kind: &'static str, url: &str, port: u16, may_be_remote: bool) -> Result<(), ServerFault> {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    let host = rest.map(|rest| rest.trim_end_matches('/').trim_end_matches("/v1"));
    if host.is_none_or(|host| host.is_empty() || host.contains(['/', '?', '#', '@', ' '])) {
        return Err(ServerFault::Url { kind, url: url.into(), port });
    }
    if is_loopback(url) || may_be_remote {
        Ok(())
    } else {
        Err(ServerFault::Remote { kind, url: url.into() })
    }
}

fn slots(kind: &'static str, slots: usize) -> Result<(), ServerFault> {
    if (1..=MOST_SLOTS).contains(&slots) { Ok(()) } else { Err(ServerFault::Slots { kind, slots }) }
}

fn unpinned(kind: &'static str, sha256: &str) -> Result<(), ServerFault> {
    if sha256.is_empty() { Ok(()) } else { Err(ServerFault::HashUnseen(kind)) }
}

fn hash(kind: &'static str, found: &str) -> Result<(), ServerFault> {
    let bare = found.strip_prefix("sha256:").unwrap_or(found);
    let is_hash = bare.len() == 64 && bare.bytes().all(|byte| byte.is_ascii_hexdigit());
    if found.is_empty() || is_hash { Ok(()) } else { Err(ServerFault::Hash { kind, found: found.into() }) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]
    use super::super::Backends;

    #[test]
    fn what_cannot_be_used_says_what_could() {
        for (text, words) in [
            ("[[ollama]]\n", &[][..]),
            ("[[ollama]]\nurl = \"http://localhost:11434/\"\nkeep_alive = \"-1\"\n", &[]),
            ("[[ollama]]\nurl = \"localhost:11434\"\n", &["ollama", "http://127.0.0.1:11434"]),
            ("[[ollama]]\nurl = \"http://192.168.1.7:11434\"\n", &["another machine", "remote = true"]),
            ("[[ollama]]\nurl = \"http://192.168.1.7:11434\"\nremote = true\n", &[]),
            ("[[ollama]]\nkeep_alive = \"soon\"\n", &["keep_alive", "soon", "5m"]),
            ("[[ollama]]\nslots = 0\n", &["slots is 0", "1 to 64"]),
            ("[[llamacpp]]\nmodel = \"/m.gguf\"\ngpu_layers = 99\n", &[]),
            ("[[llamacpp]]\n", &["either `url`", "`model`"]),
            ("[[llamacpp]]\nurl = \"http://127.0.0.1:1\"\nmodel = \"/m.gguf\"\n", &["either `url`"]),
            ("[[llamacpp]]\nmodel = \"/m.gguf\"\nsha256 = \"12\"\n", &["sha256", "64 hexadecimal"]),
            ("[[mlx]]\nmodel = \"/m\"\n[[mlx]]\nurl = \"http://127.0.0.1:8080/v1\"\n", &[]),
            ("[[llamacpp]]\nurl = \"http://127.0.0.1:1\"\nsha256 = \"12\"\n", &["llamacpp", "not seen"]),
            ("[[mlx]]\nurl = \"http://127.0.0.1:1\"\nsha256 = \"12\"\n", &["mlx", "not seen"]),
            ("[[mlx]]\n", &["mlx", "either `url`"]),
            ("[[foundation_models]]\nurl = \"http://10.0.0.1:1976\"\n", &["another machine"]),
        ] {
            let read: Backends = toml::from_str(text).unwrap();
            let error = read.check().map_or_else(|fault| fault.to_string(), |()| String::new());
            assert_eq!(error.is_empty(), words.is_empty(), "{text}: {error}");
            assert!(words.iter().all(|word| error.contains(word)), "{text}: {error}");
        }
    }
}
