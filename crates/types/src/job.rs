//! A job as its customer describes it and as a provider reads it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{CustomerKey, JobId, JobKind, Msat, ProviderKey, Timestamp};

/// What a customer wants, before it is signed. `openagents-protocol` turns it into an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobSpec {
    /// The kind of work.
    pub kind: JobKind,
    /// What to work on.
    pub inputs: Vec<JobInput>,
    /// How to do it.
    pub params: Vec<Param>,
    /// The MIME types the customer would take, best first.
    pub output: Vec<String>,
    /// The most the customer will pay. Zero asks for free offers only.
    pub bid: Msat,
    /// The one provider the job is for; `None` asks everybody.
    pub provider: Option<ProviderKey>,
    /// Whether inputs and parameters are hidden from relays. Needs a provider to encrypt to.
    pub encrypt: bool,
    /// Where answers are read.
    pub relays: Vec<String>,
    /// After this the result is of no use (NIP-40).
    pub expires_at: Timestamp,
    /// Where a refund goes that nobody claims: a Lightning address or an LNURL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refund_to: Option<String>,
}

impl JobSpec {
    /// A job for everybody to see and to do, with nothing to work on yet.
    pub const fn new(kind: JobKind, bid: Msat, expires_at: Timestamp) -> Self {
        Self {
            kind,
            inputs: Vec::new(),
            params: Vec::new(),
            output: Vec::new(),
            bid,
            provider: None,
            encrypt: false,
            relays: Vec::new(),
            expires_at,
            refund_to: None,
        }
    }
}

/// A job request as it was read from the wire: every field untrusted in content, sound in form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRequest {
    /// The job's name: the id of the request event.
    pub id: JobId,
    /// Who asked, and to whom answers are addressed.
    pub customer: CustomerKey,
    /// The kind of work.
    pub kind: JobKind,
    /// What to work on.
    pub inputs: Vec<JobInput>,
    /// How to do it.
    pub params: Vec<Param>,
    /// The MIME types the customer would take, best first.
    pub output: Vec<String>,
    /// The most the customer will pay; `None` if the request names no price.
    pub bid: Option<Msat>,
    /// The providers it is addressed to; empty means anyone.
    pub providers: Vec<ProviderKey>,
    /// How inputs and parameters were hidden, and so how answers must be.
    pub encryption: Encryption,
    /// Where the customer reads answers.
    pub relays: Vec<String>,
    /// When the customer says it was written.
    pub created_at: Timestamp,
    /// After this the result is of no use (NIP-40).
    pub expires_at: Option<Timestamp>,
    /// Where a refund goes that the customer does not claim, in the customer's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refund_to: Option<String>,
    /// The request as it came, opaque here; a result must quote it.
    pub raw: Arc<str>,
}

impl JobRequest {
    /// A request that says nothing but its kind.
    pub fn new(id: JobId, customer: CustomerKey, kind: JobKind, created_at: Timestamp) -> Self {
        Self {
            id,
            customer,
            kind,
            inputs: Vec::new(),
            params: Vec::new(),
            output: Vec::new(),
            bid: None,
            providers: Vec::new(),
            encryption: Encryption::None,
            relays: Vec::new(),
            created_at,
            expires_at: None,
            refund_to: None,
            raw: Arc::from(""),
        }
    }
}

impl JobRequest {
    /// The first value of the parameter `name`.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params.iter().find(|param| param.name == name)?.values.first().map(String::as_str)
    }
}

/// One input of a job (NIP-90 `i` tag).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobInput {
    /// The text itself, a URL, an event id or a job id, as `input_type` says.
    pub data: String,
    /// What `data` is.
    pub input_type: InputType,
    /// Where an event or job may be found.
    pub relay: Option<String>,
    /// What the customer calls this input.
    pub marker: Option<String>,
}

impl JobInput {
    /// A plain text input.
    pub fn text(data: impl Into<String>) -> Self {
        Self { data: data.into(), input_type: InputType::Text, relay: None, marker: None }
    }

    /// An input to be fetched from the web.
    pub fn url(data: impl Into<String>) -> Self {
        Self { data: data.into(), input_type: InputType::Url, relay: None, marker: None }
    }
}

/// What the data of an input is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InputType {
    /// The text itself.
    Text,
    /// An address to fetch.
    Url,
    /// The id of a Nostr event.
    Event,
    /// The id of another job, whose result is the input.
    Job,
}

/// An input after it was fetched: what a backend works on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedInput {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Their MIME type as far as it is known, such as `text/plain` or `application/pdf`.
    pub mime: String,
    /// Where they came from, for error messages: a URL, or `text`.
    pub source: String,
}

impl ResolvedInput {
    /// Plain text.
    pub fn text(text: &str) -> Self {
        Self { bytes: text.as_bytes().to_vec(), mime: "text/plain".into(), source: "text".into() }
    }
}

/// A parameter of a job (NIP-90 `param` tag). Most have one value; `range` has two.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Param {
    /// Its name.
    pub name: String,
    /// Its values, in order.
    pub values: Vec<String>,
}

impl Param {
    /// A parameter with one value.
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), values: vec![value.into()] }
    }
}

/// How inputs and parameters of a job are hidden from relays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encryption {
    /// Not at all.
    #[default]
    None,
    /// NIP-04, which older peers speak: read, and written only to answer them.
    Nip04,
    /// NIP-44 version 2.
    Nip44,
}
