//! What a model server has to say for itself, so that [`super::Served`] can sell its work.

use async_trait::async_trait;
use reqwest::{RequestBuilder, StatusCode};
use serde_json::{Map, Value};

use super::reading::ReadLine;
use crate::{BackendError, Health, managed::Managed};

/// A model that can be sold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model {
    /// How the server calls it.
    pub id: String,
    /// The hash of its weights, if the server or a file says so.
    pub digest: Option<String>,
    /// Tokens of a question and its answer together.
    pub context: Option<u64>,
    /// Whether it writes text.
    pub chats: bool,
    /// Whether it makes vectors.
    pub embeds: bool,
    /// Whether the server makes it keep to a JSON Schema.
    pub schemas: bool,
}

/// What a look at a server found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Its version, or what else it says of itself.
    pub about: String,
    /// Everything that it could do here; what is not the owner's own compute is not among it.
    pub models: Vec<Model>,
    /// How many jobs it works on at once, if it says so.
    pub slots: Option<usize>,
    /// What its owner should know.
    pub warning: Option<String>,
}

/// One question.
#[derive(Debug)]
pub struct Ask<'a> {
    /// A model that is sold, as the server calls it.
    pub model: &'a str,
    /// Tokens of question and answer together, where the server is told.
    pub context: Option<u64>,
    /// What the model is told first.
    pub system: Option<&'a str>,
    /// The question.
    pub prompt: &'a str,
    /// The most tokens of the answer.
    pub max_tokens: u64,
    /// Sampling options under the names of the OpenAI API, `max_tokens` and `stop` not among them.
    pub options: &'a Map<String, Value>,
    /// What ends the answer; it is cut by us in any case.
    pub stop: &'a [String],
    /// The JSON Schema of the answer.
    pub schema: Option<&'a Value>,
}

/// Texts to turn into vectors.
#[derive(Debug)]
pub struct Embed<'a> {
    /// A model that is sold, as the server calls it.
    pub model: &'a str,
    /// The texts.
    pub texts: &'a [String],
    /// The length of each vector, if it matters.
    pub dimensions: Option<u64>,
}

/// Vectors, in the order of their texts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Vectors {
    /// One for each text.
    pub vectors: Vec<Vec<f64>>,
    /// Tokens read; 0 if the server counts none.
    pub input_tokens: u64,
}

/// A kind of model server: how it is looked at, asked and read.
#[async_trait]
pub trait Wire: Send + Sync + 'static {
    /// The name of its kind.
    fn kind(&self) -> &'static str;

    /// Which one it is, for its operator: its address or its model file.
    fn place(&self) -> String;

    /// Looks at it. The way may be down, or it may still be loading.
    async fn look(&self) -> Result<Seen, Health>;

    /// A model of it as it will be, as far as the settings tell before it is there: it is offered by that.
    fn expects(&self) -> Model {
        Model { chats: true, ..Model::default() }
    }

    /// The models that it will have whatever is sold of it, as far as the settings tell before it is there.
    fn named(&self) -> Vec<Model> {
        Vec::new()
    }

    /// The request of a streamed answer.
    fn ask(&self, ask: &Ask<'_>) -> Result<RequestBuilder, BackendError>;

    /// How a line of the stream is read.
    fn line(&self) -> ReadLine;

    /// The request of vectors.
    fn embed(&self, _: &Embed<'_>) -> Result<RequestBuilder, BackendError> {
        Err(BackendError::NoModel)
    }

    /// The vectors in an answer; `None` if there are none.
    fn vectors(&self, _: &Value) -> Option<Vectors> {
        None
    }

    /// What an answer that is no success means.
    fn refusal(&self, status: StatusCode, body: &str) -> BackendError;

    /// The process, if it is ours.
    fn managed(&self) -> Option<&Managed> {
        None
    }

    /// Whether it is watched and sold again when it comes back, so that what it does is offered while it is not
    /// there.
    fn comes_back(&self) -> bool {
        true
    }

    /// Whether it refuses a question that is longer than its model takes. If not, length is estimated here.
    fn checks_length(&self) -> bool {
        true
    }

    /// How many jobs are given to it at once; what it says of itself if `None`.
    fn slots(&self) -> Option<usize> {
        None
    }
}
