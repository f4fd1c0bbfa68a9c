//! Backends: what does the work.
//!
//! A backend takes [`Work`], streams pieces if it can, and ends in exactly one [`Output`] or
//! [`BackendError`]. It says beforehand whether it could do a job ([`Backend::check`]), so that nobody
//! pays for work that cannot be done. Nothing that arrives in a job is executed. The texts of
//! rejections and errors are fit for strangers: no paths, no internals.

mod chat;
mod command;
pub mod conformance;
mod extraction;
mod extractive;
mod files;
mod foundation_models;
mod gguf;
mod llamacpp;
mod managed;
mod mlx;
mod model;
mod naming;
mod office;
mod ollama;
mod openai;
mod sandbox;
mod serving;

use std::sync::Arc;

use async_trait::async_trait;
use openagents_types::{JobKind, Param, ResolvedInput, Usage};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub use chat::{Chat, Question, Written};
pub use command::{
    CommandFeed, CommandOutput, CommandSettings, CommandTool, Confine, LimitRule, ParamForm, ParamRule,
    PriceHint, RECIPES,
};
pub use extraction::{Extraction, Unreadable, document_type, extract_child_main, parse_document};
pub use extractive::Extractive;
pub use foundation_models::{FoundationModels, FoundationModelsSettings};
pub use gguf::{Gguf, GgufError, read_gguf};
pub use llamacpp::{LlamaCpp, LlamaCppSettings, model_file};
pub use managed::{KEEPER_WORD, Place, keeper_child_main, program_file};
pub use mlx::{Mlx, MlxSettings, model_folder};
pub use model::{Feature, Model};
pub use naming::market_name;
pub use ollama::{Ollama, OllamaSettings};
pub use openai::{OpenAi, OpenAiSettings};
pub use sandbox::{Held, SANDBOX_WORD, sandbox_child_main};
pub use serving::{Ask, Embed, Patience, ReadLine, Reading, Said, Seen, Served, Vectors, Wire, is_loopback};

/// A job's work.
#[derive(Clone, Debug)]
pub struct Work {
    /// The kind.
    pub kind: JobKind,
    /// What to work on.
    pub inputs: Vec<ResolvedInput>,
    /// How.
    pub params: Vec<Param>,
    /// The MIME types the customer would take.
    pub output: Vec<String>,
}

/// What came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The payload; empty if it is a file.
    pub content: String,
    /// The payload if it is no text: whoever runs the backend keeps it, and the result says where.
    pub file: Option<Made>,
    /// What it took.
    pub usage: Usage,
}

impl Output {
    /// A text.
    pub const fn text(content: String, usage: Usage) -> Self {
        Self { content, file: None, usage }
    }
}

/// A file that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// Its MIME type.
    pub mime: String,
    /// How its name would end, such as `wav`.
    pub extension: String,
    /// The file.
    pub bytes: Vec<u8>,
}

/// How a backend reads the inputs of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// Not at all.
    Nothing,
    /// As text: documents among them are turned into their text first.
    Text,
    /// As they came.
    Files,
}

impl Reads {
    /// As text, if none of these MIME types is of a picture, a sound or a film.
    pub fn text_of(mimes: &[&str]) -> Self {
        let media = |mime: &&str| {
            ["image/", "audio/", "video/"].iter().any(|start| mime.starts_with(start))
                && *mime != "image/svg+xml"
        };
        if mimes.iter().any(media) { Self::Nothing } else { Self::Text }
    }
}

/// Something that does one or more kinds of work.
#[async_trait]
pub trait Backend: Send + Sync {
    /// Its name, for operators.
    fn name(&self) -> &str;

    /// What it does.
    fn kinds(&self) -> Vec<JobKind>;

    /// Whether it could work now.
    async fn probe(&self) -> Health;

    /// How it reads inputs of these MIME types; asked before a price is named.
    fn reads(&self, _kind: JobKind, mimes: &[&str]) -> Reads {
        Reads::text_of(mimes)
    }

    /// The MIME types of what it makes, if it makes no other; empty where it tries what is asked for.
    fn makes(&self, _kind: JobKind) -> Vec<String> {
        Vec::new()
    }

    /// What a job costs and how long it takes, if the operator says nothing of it.
    fn price(&self, _kind: JobKind) -> Option<PriceHint> {
        None
    }

    /// The models it sells for a kind, the usual one first; empty where there are none to choose from.
    fn models(&self, _kind: JobKind) -> Vec<Model> {
        Vec::new()
    }

    /// The model for this kind that a job means by a name, as [`Backend::models`] calls it.
    fn meant(&self, kind: JobKind, name: &str) -> Option<String> {
        self.models(kind).into_iter().map(|model| model.name).find(|model| model == name)
    }

    /// What it does of that which not every backend can.
    fn features(&self, _kind: JobKind) -> &'static [Feature] {
        &[]
    }

    /// How many jobs it does at once; `None` if it sets no limit.
    fn slots(&self) -> Option<usize> {
        None
    }

    /// Whether it could do a job with these parameters and so many bytes of input; asked before a
    /// price is named.
    ///
    /// # Errors
    /// A parameter is unknown to it, out of range, or the input too large.
    fn check(&self, kind: JobKind, params: &[Param], input_bytes: u64) -> Result<(), Rejection>;

    /// Whether it is offered although it is not ready now, because it is watched and comes back.
    fn comes_back(&self) -> bool {
        false
    }

    /// Does what has to be done beside jobs, such as running the server or watching it, until `stop` is cancelled.
    async fn tend(&self, _stop: CancellationToken) {}

    /// The model server that it stands on, as it was last seen.
    fn server(&self) -> Option<ServerState> {
        None
    }

    /// Does the work. Pieces sent to `pieces` concatenate to the output's content; a backend that
    /// cannot stream sends none. Ends soon after `stop` is cancelled.
    ///
    /// # Errors
    /// See [`BackendError`].
    async fn run(
        &self,
        work: Work,
        pieces: mpsc::Sender<String>,
        stop: CancellationToken,
    ) -> Result<Output, BackendError>;
}

/// Whether a backend could work now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It could.
    Ready,
    /// It will be able to, when it has started.
    Starting,
    /// It could not, and why, for its operator.
    Down(String),
}

impl Health {
    /// Whether it could.
    pub const fn is_ready(&self) -> bool {
        matches!(self, Self::Ready)
    }
}

/// A model server, for its operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerState {
    /// The kind of backend, such as `ollama`.
    pub kind: String,
    /// Its address, or the model that it is run for.
    pub place: String,
    /// What it says of itself.
    pub about: String,
    /// Whether it could work now.
    pub health: Health,
    /// What is sold of it.
    pub models: Vec<ServedModel>,
    /// What its operator should know.
    pub warning: Option<String>,
}

/// A model that is sold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedModel {
    /// Its name, as jobs name it.
    pub id: String,
    /// The hash of its weights, if it is known.
    pub digest: Option<String>,
    /// Tokens of a question and its answer together, if it is known.
    pub context: Option<u64>,
}

/// Why a job would not be done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// A parameter is not what it should be.
    #[error("parameter {name:?} is {found:?}, expected {expected}; nothing was charged")]
    Parameter {
        /// Which.
        name: String,
        /// What came, shortened.
        found: String,
        /// What was expected.
        expected: String,
    },
    /// The model server is not there. It may be in a moment.
    #[error("the model server {0}; nothing was charged")]
    NotReady(String),
    /// There is nothing to work on.
    #[error("there is no input; nothing was charged")]
    NoInput,
    /// There is too much to work on.
    #[error("the input has {found} bytes, this provider takes {most}; nothing was charged")]
    TooLarge {
        /// What came.
        found: u64,
        /// What is taken.
        most: u64,
    },
}

/// Why work failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BackendError {
    /// Too much to do at once.
    #[error("the backend is busy")]
    Busy,
    /// More input than the model can take.
    #[error("the input is longer than the model can take")]
    ContextOverflow,
    /// The model is gone.
    #[error("the model is not available")]
    NoModel,
    /// The input cannot be worked on.
    #[error("{0}")]
    BadInput(String),
    /// The model declined.
    #[error("the model declined to answer")]
    Refused,
    /// The backend ended in the middle.
    #[error("the backend stopped in the middle of the work")]
    Died,
    /// It took too long.
    #[error("the backend took too long")]
    Timeout,
    /// The answer ended without its end, so it may not be whole.
    #[error("the backend's answer broke off")]
    Truncated,
    /// The work was called off.
    #[error("the work was called off")]
    Cancelled,
    /// The backend said something that makes no sense.
    #[error("the backend's answer makes no sense")]
    Protocol(String),
}

impl BackendError {
    /// Whether another backend may do the job. What was refused is not asked around.
    pub const fn leaves_it_to_another(&self) -> bool {
        !matches!(self, Self::Refused | Self::Cancelled)
    }

    /// Whether the next job may fail for the same reason, whatever it is.
    pub const fn is_the_backends(&self) -> bool {
        match self {
            Self::Busy | Self::NoModel | Self::Died | Self::Timeout | Self::Truncated | Self::Protocol(_) => {
                true
            }
            Self::ContextOverflow | Self::BadInput(_) | Self::Refused | Self::Cancelled => false,
        }
    }

    /// Whether another attempt could succeed.
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Busy | Self::Died | Self::Timeout | Self::Truncated | Self::Protocol(_) => true,
            Self::ContextOverflow | Self::NoModel | Self::BadInput(_) | Self::Refused | Self::Cancelled => {
                false
            }
        }
    }
}

/// What an operator configured.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// OpenAI-compatible servers.
    pub openai: Vec<OpenAiSettings>,
    /// Ollamas.
    pub ollama: Vec<OllamaSettings>,
    /// llama.cpp's servers.
    pub llamacpp: Vec<LlamaCppSettings>,
    /// MLX's servers.
    pub mlx: Vec<MlxSettings>,
    /// Bridges to Apple's on-device model.
    pub foundation_models: Vec<FoundationModelsSettings>,
    /// What servers that we run find of the node.
    pub place: Place,
    /// The operator's own tools.
    pub command: Vec<CommandSettings>,
}

/// A backend that cannot be built from its settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildError {
    /// Which.
    pub name: String,
    /// Why.
    pub reason: String,
}

/// What [`BACKENDS`] builds.
pub type Built = Result<Arc<dyn Backend>, BuildError>;

/// A row of [`BACKENDS`].
#[derive(Clone, Copy)]
pub struct BackendKind {
    /// Its name.
    pub name: &'static str,
    /// What it does, in a line.
    pub about: &'static str,
    /// Builds every instance that is configured.
    pub build: fn(&Settings) -> Vec<Built>,
}

impl std::fmt::Debug for BackendKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// Every backend in this build, in the order `doctor` prints them. Add yours here.
pub const BACKENDS: &[BackendKind] = &[
    extractive::KIND,
    extraction::KIND,
    openai::KIND,
    ollama::KIND,
    llamacpp::KIND,
    mlx::KIND,
    foundation_models::KIND,
    command::KIND,
];

/// Builds everything that is configured.
pub fn build_all(settings: &Settings) -> Vec<Built> {
    BACKENDS.iter().flat_map(|kind| (kind.build)(settings)).collect()
}

/// The MIME type of a picture, a sound or a film that says what it is by its bytes.
pub fn media_type(bytes: &[u8]) -> Option<&'static str> {
    use infer::MatcherType;
    let found = infer::get(bytes)?;
    let media = matches!(found.matcher_type(), MatcherType::Image | MatcherType::Audio | MatcherType::Video);
    media.then(|| found.mime_type())
}

/// A value shortened for an error text, and made safe to print.
pub(crate) fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() && !is_harmful(*c)).take(48).collect()
}

/// Characters that no result needs, and that terminals obey or that turn the order of a line around.
pub(crate) fn is_harmful(c: char) -> bool {
    let turns = matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}');
    turns || (c.is_control() && !matches!(c, '\n' | '\t' | '\r'))
}

/// The first value of a parameter.
pub(crate) fn param<'a>(params: &'a [Param], names: &[&str]) -> Option<&'a str> {
    params.iter().find(|p| names.contains(&p.name.as_str()))?.values.first().map(String::as_str)
}

/// A parameter that cannot be taken.
pub(crate) fn bad_param(name: &str, found: &str, expected: &str) -> Rejection {
    Rejection::Parameter { name: name.into(), found: shown(found), expected: expected.into() }
}
