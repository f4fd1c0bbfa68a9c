//! What jobs may set, and in which range it is passed on.

use openagents_types::Param;
use serde_json::{Map, Value};

use crate::{Rejection, bad_param, param};

/// Most tokens of an answer, and how many if nothing is said.
const MOST_TOKENS: u64 = 4_096;
const USUAL_TOKENS: u64 = 512;
/// Of the system message, in bytes.
const LONGEST_SYSTEM: usize = 16 << 10;
/// Stop texts, and the length of one in bytes.
const MOST_STOPS: usize = 4;
const LONGEST_STOP: usize = 64;
/// Of a schema, in bytes.
const LONGEST_SCHEMA: usize = 16 << 10;

/// What a job asks for, within what may be asked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Options {
    /// Names of the OpenAI API and their values.
    pub(crate) sampling: Map<String, Value>,
    pub(crate) max_tokens: u64,
    pub(crate) stop: Vec<String>,
    pub(crate) system: Option<String>,
    pub(crate) schema: Option<Value>,
}

/// A sampling option: the names it goes by, and the range it is taken in.
struct Numeric {
    names: &'static [&'static str],
    least: f64,
    most: f64,
    whole: bool,
}

#[expect(clippy::cast_precision_loss, reason = "a small constant")]
const LENGTH: Numeric =
    Numeric { names: &["max_tokens", "max-tokens"], least: 1.0, most: MOST_TOKENS as f64, whole: true };

/// Hyphens and underscores are both in use (NIP-90's own pages disagree).
const SAMPLING: &[Numeric] = &[
    Numeric { names: &["temperature"], least: 0.0, most: 2.0, whole: false },
    Numeric { names: &["top_p", "top-p"], least: 0.0, most: 1.0, whole: false },
    Numeric { names: &["top_k", "top-k"], least: 1.0, most: 1_000.0, whole: true },
    Numeric { names: &["frequency_penalty", "frequency-penalty"], least: -2.0, most: 2.0, whole: false },
    Numeric { names: &["seed"], least: 0.0, most: 4_294_967_295.0, whole: true },
];

impl Numeric {
    fn read(&self, params: &[Param]) -> Result<Option<Value>, Rejection> {
        let Some(text) = param(params, self.names) else { return Ok(None) };
        let number = text.trim().parse::<f64>().ok();
        let number =
            number.filter(|n| (self.least..=self.most).contains(n) && (!self.whole || n.fract() == 0.0));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range was checked")]
        match number {
            Some(number) if self.whole => Ok(Some((number as u64).into())),
            Some(number) => Ok(Some(number.into())),
            None => {
                Err(bad_param(self.names[0], text, &format!("a number from {} to {}", self.least, self.most)))
            }
        }
    }
}

impl Options {
    /// What these parameters ask for. Names that are none of these are not passed on.
    pub(crate) fn of(params: &[Param]) -> Result<Self, Rejection> {
        let mut sampling = Map::new();
        for option in SAMPLING {
            if let Some(value) = option.read(params)? {
                sampling.insert(option.names[0].into(), value);
            }
        }
        let max_tokens = LENGTH.read(params)?.and_then(|n| n.as_u64()).unwrap_or(USUAL_TOKENS);
        Ok(Self {
            sampling,
            max_tokens,
            stop: stops(params)?,
            system: system(params)?,
            schema: schema(params)?,
        })
    }
}

fn stops(params: &[Param]) -> Result<Vec<String>, Rejection> {
    let given = params.iter().filter(|param| param.name == "stop").flat_map(|param| &param.values);
    let given: Vec<String> = given.filter(|text| !text.is_empty()).cloned().collect();
    let expected = format!("at most {MOST_STOPS} texts of at most {LONGEST_STOP} bytes");
    match given.iter().find(|text| text.len() > LONGEST_STOP) {
        Some(long) => Err(bad_param("stop", long, &expected)),
        None if given.len() > MOST_STOPS => Err(bad_param("stop", &given.len().to_string(), &expected)),
        None => Ok(given),
    }
}

fn system(params: &[Param]) -> Result<Option<String>, Rejection> {
    let Some(text) = param(params, &["system", "system_prompt"]) else { return Ok(None) };
    if text.len() > LONGEST_SYSTEM {
        return Err(bad_param("system", text, &format!("at most {LONGEST_SYSTEM} bytes")));
    }
    Ok(Some(text.to_owned()).filter(|text| !text.is_empty()))
}

fn schema(params: &[Param]) -> Result<Option<Value>, Rejection> {
    let Some(text) = param(params, &["schema"]) else { return Ok(None) };
    let read = serde_json::from_str::<Value>(text).ok();
    match read.filter(|value| value.is_object() && text.len() <= LONGEST_SCHEMA) {
        Some(value) => Ok(Some(value)),
        None => Err(bad_param("schema", text, &format!("a JSON Schema of at most {LONGEST_SCHEMA} bytes"))),
    }
}
