//! Reading a request: inputs, outputs and parameters against what the kind says.

use openagents_types::{InputType, JobInput, JobKind, JobRequest, JobSpec, Param};
use serde_json::Value;

use crate::{
    Extra, Fault, KindSchema, ParamSpec,
    fault::{count_words, short},
    kind::type_word,
    schema,
};

/// The most parameters looked at: an event holds at most 200 tags, and no honest request half as many.
const MOST_PARAMS: usize = 100;
/// The longest parameter kept that the kind does not know, in bytes.
const LONGEST_UNKNOWN: usize = 4 << 10;
/// What some customers write instead of an input.
const PROMPT: &str = "prompt";

/// A request's parameters as whoever does the work or prices it reads them: under the kind's own names and in its
/// spelling, without defaults. What the kind does not know, and a kind that is not known, stay as they came.
pub fn canonical_params(request: &JobRequest) -> Vec<Param> {
    let read = crate::find(request.kind).and_then(|kind| kind.read_request(request));
    read.map_or_else(|_| request.params.clone(), |read| read.given())
}

/// A request's parameters, read, checked, and completed with defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct JobParams {
    kind: JobKind,
    values: Vec<Known>,
    unknown: Vec<Param>,
    output: Option<String>,
    prompt: Option<JobInput>,
}

#[derive(Clone, Debug, PartialEq)]
struct Known {
    name: String,
    value: Value,
    given: bool,
    texts: Vec<Param>,
}

impl KindSchema {
    /// Reads a request. Parameters that the kind does not know are no error, because peers invent them:
    /// see [`JobParams::unknown`].
    ///
    /// # Errors
    /// It is not a request that this kind can serve; the fault's text is for the customer.
    pub fn read(&self, inputs: &[JobInput], params: &[Param], output: &[String]) -> Result<JobParams, Fault> {
        if params.len() > MOST_PARAMS {
            return Err(Fault::TooManyParams { count: params.len(), most: MOST_PARAMS });
        }
        let prompt = if inputs.is_empty() { self.prompt(params) } else { None };
        self.check_inputs(prompt.as_ref().map_or(inputs, std::slice::from_ref))?;
        let output = self.choose_output(output)?;
        let mut values = Vec::new();
        for spec in &self.params {
            values.extend(known(spec, params)?);
        }
        if self.result.extra == Some(Extra::CustomerSchema) {
            let schema = values.iter().find(|known| known.name == schema::PARAM);
            schema.map(|known| schema::customer(&known.value)).transpose()?;
        }
        let unknown = self.unknown(params)?;
        Ok(JobParams { kind: self.kind, values, unknown, output, prompt })
    }

    /// [`Self::read`] of a request from the wire.
    ///
    /// # Errors
    /// As there.
    pub fn read_request(&self, request: &JobRequest) -> Result<JobParams, Fault> {
        self.read(&request.inputs, &request.params, &request.output)
    }

    /// [`Self::read`] of a request that is not written yet.
    ///
    /// # Errors
    /// As there.
    pub fn read_spec(&self, spec: &JobSpec) -> Result<JobParams, Fault> {
        self.read(&spec.inputs, &spec.params, &spec.output)
    }

    fn takes_text(&self) -> bool {
        self.inputs.types.contains(&InputType::Text)
    }

    /// The input of a request that has none: the prompt as a parameter, as seen in the wild.
    fn prompt(&self, params: &[Param]) -> Option<JobInput> {
        let prompt = params.iter().find(|param| param.name == PROMPT)?.values.first()?;
        (self.takes_text() && self.param(PROMPT).is_none() && !prompt.is_empty())
            .then(|| JobInput::text(prompt.clone()))
    }

    fn check_inputs(&self, inputs: &[JobInput]) -> Result<(), Fault> {
        let (min, max) = (self.inputs.min, self.inputs.max);
        if inputs.len() < min || max.is_some_and(|max| inputs.len() > max) {
            return Err(Fault::Inputs { count: inputs.len(), expected: count_words(min, max) });
        }
        match inputs.iter().find(|input| !self.inputs.types.contains(&input.input_type)) {
            None => Ok(()),
            Some(input) => {
                let words: Vec<&str> = self.inputs.types.iter().copied().map(type_word).collect();
                Err(Fault::InputType { found: type_word(input.input_type), expected: words.join(" or ") })
            }
        }
    }

    /// The first type the customer would take that is made here; the usual one if it names none.
    fn choose_output(&self, wanted: &[String]) -> Result<Option<String>, Fault> {
        let made = &self.outputs.types;
        let matching = |wish: &String| made.iter().find(|mime| matches(mime, wish)).cloned();
        if let Some(mime) = wanted.iter().find_map(matching) {
            return Ok(Some(mime));
        }
        match wanted.first() {
            None => Ok(made.first().cloned()),
            Some(wish) if self.outputs.open => Ok(Some(short(wish))),
            Some(wish) => Err(Fault::Output { found: short(wish), expected: made.join(" or ") }),
        }
    }

    fn unknown(&self, params: &[Param]) -> Result<Vec<Param>, Fault> {
        let is_prompt = |param: &Param| param.name == PROMPT && self.takes_text();
        let unknown = params.iter().filter(|param| self.param(&param.name).is_none() && !is_prompt(param));
        let unknown: Vec<Param> = unknown.cloned().collect();
        for param in &unknown {
            let bytes = param.name.len() + param.values.iter().map(String::len).sum::<usize>();
            if bytes > LONGEST_UNKNOWN {
                return Err(Fault::TooLong { param: short(&param.name), bytes, most: LONGEST_UNKNOWN });
            }
        }
        Ok(unknown)
    }
}

/// What was given, else the default, else nothing.
fn known(spec: &ParamSpec, params: &[Param]) -> Result<Option<Known>, Fault> {
    let given: Vec<&Param> = params.iter().filter(|param| spec.is_called(&param.name)).collect();
    let read = spec.read(&given)?;
    let given = read.is_some();
    let Some(value) = read.or_else(|| spec.default.clone()) else {
        return if spec.required { Err(Fault::Missing { param: spec.name.clone() }) } else { Ok(None) };
    };
    let texts = spec.write(&value);
    Ok(Some(Known { name: spec.name.clone(), value, given, texts }))
}

/// Whether a MIME type is what somebody wishes, who may write `text/*`, parameters, or `text/json`.
fn matches(mime: &str, wish: &str) -> bool {
    let essence = wish.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        "*/*" => true,
        "text/json" | "json" => mime == "application/json",
        "text" => mime == "text/plain",
        wish => wish == mime || wish.strip_suffix('*').is_some_and(|start| mime.starts_with(start)),
    }
}

impl JobParams {
    /// The kind they belong to.
    pub const fn kind(&self) -> JobKind {
        self.kind
    }

    /// A value, given or by default.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.values.iter().find(|known| known.name == name).map(|known| &known.value)
    }

    /// A text.
    pub fn str(&self, name: &str) -> Option<&str> {
        self.get(name)?.as_str()
    }

    /// A whole number that is not negative.
    pub fn u64(&self, name: &str) -> Option<u64> {
        self.get(name)?.as_u64()
    }

    /// A whole number.
    pub fn i64(&self, name: &str) -> Option<i64> {
        self.get(name)?.as_i64()
    }

    /// A number.
    pub fn f64(&self, name: &str) -> Option<f64> {
        self.get(name)?.as_f64()
    }

    /// Yes or no.
    pub fn bool(&self, name: &str) -> Option<bool> {
        self.get(name)?.as_bool()
    }

    /// The texts of a list; empty if it was not given.
    pub fn list(&self, name: &str) -> Vec<&str> {
        let items = self.get(name).and_then(Value::as_array);
        items.into_iter().flatten().filter_map(Value::as_str).collect()
    }

    /// Whether the request itself gave the value.
    pub fn was_given(&self, name: &str) -> bool {
        self.values.iter().any(|known| known.name == name && known.given)
    }

    /// Parameters that the kind does not know, as they came.
    pub fn unknown(&self) -> &[Param] {
        &self.unknown
    }

    /// The MIME type to return: of those the customer would take, the first that is made.
    pub fn output(&self) -> Option<&str> {
        self.output.as_deref()
    }

    /// The input of a request that wrote it as a parameter `prompt` and has no other.
    pub const fn prompt(&self) -> Option<&JobInput> {
        self.prompt.as_ref()
    }

    /// What the request gave, under its own names and in canonical spelling, and what the kind does not know as it came.
    pub fn given(&self) -> Vec<Param> {
        let known = self.values.iter().filter(|known| known.given).flat_map(|known| known.texts.clone());
        known.chain(self.unknown.iter().cloned()).collect()
    }

    /// The known parameters, defaults included, under their own names and in canonical spelling.
    pub fn to_params(&self) -> Vec<Param> {
        self.values.iter().flat_map(|known| known.texts.clone()).collect()
    }
}
