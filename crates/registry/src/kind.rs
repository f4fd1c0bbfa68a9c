//! What the catalogue says of one kind: the form of the files in `kinds/`.

use std::sync::OnceLock;

use openagents_types::{InputType, JobInput, JobKind, JobSpec, Msat, Param, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Fault, ParamSpec,
    catalogue::expand,
    fault::short,
    schema::{Compiled, MOST_KIND_BYTES},
};

/// One kind of job.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KindSchema {
    /// The number of its requests; results have 1000 more.
    pub kind: JobKind,
    /// What programs call it, such as `text-summarization`.
    pub name: String,
    /// What people call it.
    pub title: String,
    /// What it does, in a sentence or two.
    pub about: String,
    /// Where it stands in a list.
    pub category: Category,
    /// The version of this entry: major for what breaks, minor for what is new, patch for mistakes.
    pub version: String,
    /// Who defined it.
    pub origin: Origin,
    /// What it works on.
    pub inputs: Inputs,
    /// What it can be asked to return.
    pub outputs: Outputs,
    /// How it can be done.
    pub params: Vec<ParamSpec>,
    /// What comes back.
    pub result: ResultSpec,
    /// What it usually costs.
    pub price: PriceGuide,
    /// What it may be used for.
    #[serde(rename = "use")]
    pub acceptable_use: AcceptableUse,
    /// Full jobs with their results.
    pub examples: Vec<Example>,
    /// The result's validator, made when it is first needed.
    #[serde(skip)]
    pub(crate) compiled: OnceLock<Compiled>,
}

/// Where a kind stands in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Category {
    /// Words in, words out.
    Text,
    /// Pictures, sound and film.
    Media,
    /// Finding things and people on Nostr.
    Discovery,
    /// Services for Nostr events and the chain.
    Protocol,
    /// Programs and what is said about them.
    Code,
    /// Work of several steps, and what it stands on.
    Agent,
    /// Small exact building blocks.
    Primitive,
    /// Keeping others safe.
    Safety,
}

/// Who defined a kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// The public list of NIP-90 kinds, with the page that defines this one.
    Official(String),
    /// This market.
    Custom,
}

/// What a kind works on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inputs {
    /// The types taken, the usual one first.
    pub types: Vec<InputType>,
    /// The fewest.
    pub min: usize,
    /// The most; `None` for as many as fit into an event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<usize>,
    /// What they are.
    pub about: String,
}

/// What a kind can be asked to return.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outputs {
    /// MIME types; the first is returned when the customer names none.
    pub types: Vec<String>,
    /// Whether a provider may make others too. If not, asking for another is an error.
    #[serde(default)]
    pub open: bool,
}

/// What comes back. A kind has a textual form, a JSON form, or both; see [`KindSchema::check_result`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResultSpec {
    /// What it is.
    pub about: String,
    /// Its form as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<TextForm>,
    /// The JSON Schema (2020-12) of its form as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json: Option<Value>,
    /// A check that a schema cannot state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra: Option<Extra>,
}

/// The form of a textual result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "form", rename_all = "kebab-case", deny_unknown_fields)]
pub enum TextForm {
    /// Any text that is not blank.
    Plain,
    /// A text that matches a pattern.
    Pattern {
        /// The pattern, in the syntax of the `regex` crate.
        pattern: String,
    },
    /// One or more addresses, one a line.
    Links,
    /// A list of tags of these names.
    Tags {
        /// The names.
        names: Vec<String>,
    },
}

/// A check of a result that a schema cannot state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Extra {
    /// The JSON result is valid against the request's own parameter `schema`.
    CustomerSchema,
    /// The result's `id` has as many leading zero bits as the parameter `pow` says (NIP-13).
    LeadingZeroBits,
}

/// What a kind usually costs. A guide for people; the market makes the price.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceGuide {
    /// The usual least.
    pub min_msat: Msat,
    /// The usual most.
    pub max_msat: Msat,
    /// What moves it.
    pub factors: Vec<String>,
}

/// What a kind may be used for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcceptableUse {
    /// Whether the operating system's own language model may do it under its maker's terms.
    pub system_model: bool,
    /// What it must not be used for.
    pub prohibited: Vec<ProhibitedUse>,
    /// What a person should know before using a result.
    pub warnings: Vec<String>,
    /// Whether the result has to be looked at too, not only the request.
    pub moderate_output: bool,
}

/// A use that the market forbids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProhibitedUse {
    /// Diagnosis, treatment and other regulated health care.
    RegulatedHealthcare,
    /// Legal advice and other regulated legal work.
    RegulatedLegal,
    /// Financial advice and other regulated financial work.
    RegulatedFinancial,
    /// Textbooks and courseware.
    AcademicTextbook,
    /// Finding out what a model was trained on.
    TrainingDataIdentification,
    /// Getting around a model's guardrails.
    GuardrailCircumvention,
    /// Violence.
    Violence,
    /// Sexually explicit content.
    ExplicitContent,
    /// Self-harm.
    SelfHarm,
    /// Fraud, phishing, malware.
    Fraud,
}

/// A full job with its result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Example {
    /// What it shows.
    pub about: String,
    /// The inputs as they stand in `i` tags: data, type, and if need be relay and marker.
    pub inputs: Vec<Vec<String>>,
    /// The parameters as they stand in `param` tags: a name and its values.
    pub params: Vec<Vec<String>>,
    /// The MIME types the customer would take.
    pub output: Vec<String>,
    /// The most the customer would pay.
    pub bid_msat: Msat,
    /// What comes back.
    pub result: ExampleResult,
}

/// The content of an example's result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExampleResult {
    /// Text.
    Text(String),
    /// JSON, written without blanks.
    Json(Value),
}

impl KindSchema {
    /// Reads a file of the form of those in `kinds/`, for instance of a kind that somebody proposes.
    /// Whether it is a good one is for [`crate::validate`] to say.
    ///
    /// # Errors
    /// It is not of that form.
    pub fn from_json(json: &str) -> Result<Self, Fault> {
        if json.len() > MOST_KIND_BYTES {
            return Err(Fault::NotAKind(format!("it has {} bytes", json.len())));
        }
        let read = serde_json::from_str(json).and_then(|kind| serde_json::from_value(expand(kind)));
        read.map_err(|error| Fault::NotAKind(short(&error.to_string())))
    }

    /// Whether the public list of kinds defines it.
    pub const fn is_official(&self) -> bool {
        matches!(self.origin, Origin::Official(_))
    }

    /// The entry of a parameter, by its name or an alias.
    pub fn param(&self, name: &str) -> Option<&ParamSpec> {
        self.params.iter().find(|param| param.is_called(name))
    }

    /// The names of the parameters that a request cannot do without.
    pub fn required_params(&self) -> impl Iterator<Item = &str> {
        self.params.iter().filter(|param| param.required).map(|param| param.name.as_str())
    }
}

impl Example {
    /// The job, as a customer would ask it.
    ///
    /// # Errors
    /// An input has no data or an unknown type, or a parameter no name.
    pub fn spec(&self, kind: JobKind, expires_at: Timestamp) -> Result<JobSpec, Fault> {
        Ok(JobSpec {
            kind,
            inputs: self.inputs.iter().map(|parts| input(parts)).collect::<Result<_, _>>()?,
            params: self.params.iter().map(|parts| param(parts)).collect::<Result<_, _>>()?,
            output: self.output.clone(),
            bid: self.bid_msat,
            provider: None,
            encrypt: false,
            relays: vec!["wss://relay.example".into()],
            expires_at,
            refund_to: None,
        })
    }

    /// The content of the result event.
    pub fn content(&self) -> String {
        match &self.result {
            ExampleResult::Text(text) => text.clone(),
            ExampleResult::Json(value) => value.to_string(),
        }
    }
}

fn input(parts: &[String]) -> Result<JobInput, Fault> {
    let wrong = || Fault::NotAKind("an input of an example is not [data, type, relay?, marker?]".into());
    let (data, rest) = parts.split_first().ok_or_else(wrong)?;
    let word = rest.first().ok_or_else(wrong)?;
    let input_type: InputType = serde_json::from_value(Value::from(word.as_str())).map_err(|_| wrong())?;
    let value = |index: usize| rest.get(index).filter(|text| !text.is_empty()).cloned();
    Ok(JobInput { data: data.clone(), input_type, relay: value(1), marker: value(2) })
}

fn param(parts: &[String]) -> Result<Param, Fault> {
    let (name, values) =
        parts.split_first().ok_or_else(|| Fault::NotAKind("a parameter of an example has no name".into()))?;
    Ok(Param { name: name.clone(), values: values.to_vec() })
}

/// The word for an input type on the wire.
pub(crate) const fn type_word(input_type: InputType) -> &'static str {
    match input_type {
        InputType::Text => "text",
        InputType::Url => "url",
        InputType::Event => "event",
        InputType::Job => "job",
    }
}
