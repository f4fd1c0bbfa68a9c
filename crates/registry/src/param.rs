//! One parameter: what it may be, and how its value is read from the texts of a `param` tag.
//!
//! Everything arrives as text, so a value is first read as its type and then checked. How texts are read:
//!
//! - names: upper and lower case, `-` and `_` are the same; then the aliases. Where a parameter is given
//!   twice, the first counts, because what is inside an encrypted request is read first.
//! - an empty value is no value.
//! - boolean: `true`, `1`, `yes` and `false`, `0`, `no`, in any case.
//! - integer: decimal digits, `1_000` with underscores between them (the market writes so), and `512.0`.
//! - number: a finite decimal, `1e-3` too, underscores as above; never `inf` or `NaN`.
//! - string: as it is. Words of an `enum` are compared without case and become the listed spelling.
//! - array: the values of its tag, or one value that is a JSON array.
//! - object: JSON.

use std::sync::OnceLock;

use regex::Regex;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Fault,
    fault::{count_words, short},
};
use openagents_types::Param;

/// The longest value of a parameter that names no limit of its own, in bytes.
const LONGEST_VALUE: usize = 4 << 10;
/// The most values of an array that names no limit of its own.
const MOST_ITEMS: usize = 64;
/// Largest whole number that every JSON reader keeps exactly.
const EXACT: f64 = 9_007_199_254_740_991.0;

/// What a parameter may be.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ParamSpec {
    /// Its name.
    pub name: String,
    /// What others call it, besides other spellings of its own name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// Its type.
    #[serde(rename = "type")]
    pub value_type: ParamType,
    /// The type of an array's items.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub items: Option<ItemType>,
    /// What it does, with its unit.
    pub about: String,
    /// Whether a request cannot do without it.
    #[serde(skip_serializing_if = "is_false")]
    pub required: bool,
    /// What it is when it is not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
    /// The least number, or the least of each item.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum: Option<f64>,
    /// The largest number, or the largest of each item.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maximum: Option<f64>,
    /// The only words taken, for the value or each item; empty for any.
    #[serde(rename = "enum", skip_serializing_if = "Vec::is_empty")]
    pub one_of: Vec<String>,
    /// What a text, or each item, has to match (`regex` crate).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// The longest value, or item, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<usize>,
    /// The fewest items.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_items: Option<usize>,
    /// The most items.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_items: Option<usize>,
    /// How an array travels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wire: Option<Wire>,
    /// A spelling of others that is understood.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spelling: Option<Spelling>,
    /// A value to show to people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub example: Option<String>,
    #[serde(skip)]
    matcher: OnceLock<Option<Regex>>,
}

/// The type of a parameter (JSON Schema's words).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ParamType {
    /// Text.
    #[default]
    String,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// Yes or no.
    Boolean,
    /// A list.
    Array,
    /// JSON.
    Object,
}

/// The type of an array's items.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ItemType {
    /// Text.
    String,
    /// A number.
    Number,
    /// JSON.
    Object,
}

/// How an array travels. Reading accepts a JSON array everywhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wire {
    /// One tag with many values: `["param", "range", "0", "60"]`.
    #[default]
    Values,
    /// One tag for each value.
    Tags,
    /// One tag with a JSON array.
    Json,
    /// One tag with a JSON array of `p` tags: `[["p", "<key>"]]`.
    KeyTags,
}

/// A spelling of others that is understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Spelling {
    /// `1024x1024`, `1024:1024`, `1024*1024`, or two values.
    Size,
    /// One value with commas for many.
    Commas,
}

impl ParamSpec {
    /// Whether a request means this one: other spellings of its name, or an alias.
    pub fn is_called(&self, name: &str) -> bool {
        same_name(&self.name, name) || self.aliases.iter().any(|alias| same_name(alias, name))
    }

    /// How an array travels.
    pub fn wire(&self) -> Wire {
        self.wire.unwrap_or_default()
    }

    /// The bounds of its number in words, such as `1 to 10`; `None` if it has none.
    pub fn bounds(&self) -> Option<String> {
        match (self.minimum, self.maximum) {
            (Some(min), Some(max)) => Some(format!("{min} to {max}")),
            (Some(min), None) => Some(format!("at least {min}")),
            (None, Some(max)) => Some(format!("at most {max}")),
            (None, None) => None,
        }
    }

    /// Reads and checks the value. `given` are the parameters of this name, in the request's order.
    pub(crate) fn read(&self, given: &[&Param]) -> Result<Option<Value>, Fault> {
        match self.value_type {
            ParamType::Array => self.read_array(given),
            _ => self.first_text(given).map(|text| self.read_scalar(self.value_type, &text)).transpose(),
        }
    }

    /// The texts that say a value again.
    pub(crate) fn write(&self, value: &Value) -> Vec<Param> {
        let one = |values| Param { name: self.name.clone(), values };
        let Some(items) = value.as_array() else { return vec![one(vec![plain(value)])] };
        match self.wire() {
            Wire::Values => vec![one(items.iter().map(plain).collect())],
            Wire::Tags => items.iter().map(|item| one(vec![plain(item)])).collect(),
            Wire::Json => vec![one(vec![value.to_string()])],
            Wire::KeyTags => {
                let tags: Vec<[String; 2]> = items.iter().map(|item| ["p".into(), plain(item)]).collect();
                vec![one(vec![serde_json::json!(tags).to_string()])]
            }
        }
    }

    fn first_text(&self, given: &[&Param]) -> Option<String> {
        let values = given.iter().map(|param| &param.values).find(|values| has_text(values))?;
        if self.spelling == Some(Spelling::Size) {
            return Some(values.join("x").trim().replace([':', '*', '×', 'X'], "x"));
        }
        values.iter().find(|value| !value.is_empty()).cloned()
    }

    fn read_array(&self, given: &[&Param]) -> Result<Option<Value>, Fault> {
        let items = self.texts(given)?;
        if items.is_empty() {
            return Ok(None);
        }
        let (min, max) = (self.min_items.unwrap_or(0), self.max_items.unwrap_or(MOST_ITEMS));
        if items.len() < min || items.len() > max {
            let (param, expected) = (self.name.clone(), count_words(min, Some(max)));
            return Err(Fault::Values { param, count: items.len(), expected });
        }
        let item_type = match self.items {
            None | Some(ItemType::String) => ParamType::String,
            Some(ItemType::Number) => ParamType::Number,
            Some(ItemType::Object) => ParamType::Object,
        };
        let items: Result<Vec<Value>, Fault> =
            items.iter().map(|text| self.read_scalar(item_type, text)).collect();
        items.map(Value::Array).map(Some)
    }

    /// The items of an array, each as text.
    fn texts(&self, given: &[&Param]) -> Result<Vec<String>, Fault> {
        let tags = given.iter().map(|param| &param.values).filter(|values| has_text(values));
        let texts: Vec<&String> = match self.wire() {
            Wire::Tags => tags.flatten().filter(|text| !text.is_empty()).collect(),
            // A second tag is a repetition of the first.
            Wire::Values | Wire::Json | Wire::KeyTags => tags.take(1).flatten().collect(),
        };
        let [only] = texts.as_slice() else { return Ok(texts.into_iter().cloned().collect()) };
        if only.trim_start().starts_with('[') {
            // An array of items, each at most so long, with quotes and commas.
            self.limit(only, self.longest().saturating_mul(4).max(LONGEST_VALUE))?;
            let items: Vec<Value> =
                serde_json::from_str(only).map_err(|_| self.wrong("a JSON array", only))?;
            return Ok(items.iter().map(|item| self.item_text(item)).collect());
        }
        if self.spelling == Some(Spelling::Commas) {
            let words = only.split(',').map(str::trim).filter(|word| !word.is_empty());
            return Ok(words.map(str::to_owned).collect());
        }
        Ok(vec![(*only).clone()])
    }

    fn item_text(&self, item: &Value) -> String {
        let key = || item.as_array()?.get(1)?.as_str().map(str::to_owned);
        let key = if self.wire() == Wire::KeyTags { key() } else { None };
        key.unwrap_or_else(|| plain(item))
    }

    fn read_scalar(&self, value_type: ParamType, text: &str) -> Result<Value, Fault> {
        self.limit(text, self.longest())?;
        match value_type {
            ParamType::String => self.read_string(text),
            ParamType::Integer => self.read_integer(text),
            ParamType::Number => {
                let number = number(text).ok_or_else(|| self.wrong("a number", text))?;
                self.bounded(number, text)?;
                Ok(whole(number).map_or_else(|| Value::from(number), Value::from))
            }
            ParamType::Boolean => {
                truth(text).map(Value::Bool).ok_or_else(|| self.wrong("true or false", text))
            }
            ParamType::Object => match serde_json::from_str(text) {
                Ok(value @ Value::Object(_)) => Ok(value),
                _ => Err(self.wrong("a JSON object", text)),
            },
            ParamType::Array => Err(self.wrong("no array within an array", text)),
        }
    }

    fn read_string(&self, text: &str) -> Result<Value, Fault> {
        if !self.one_of.is_empty() {
            let word = self.one_of.iter().find(|word| word.eq_ignore_ascii_case(text.trim()));
            return word.map(|word| Value::from(word.as_str())).ok_or_else(|| Fault::NotOneOf {
                param: self.name.clone(),
                expected: self.one_of.join(", "),
                found: short(text),
            });
        }
        let matcher = self.matcher.get_or_init(|| self.pattern.as_deref().and_then(|p| Regex::new(p).ok()));
        match matcher {
            Some(matcher) if !matcher.is_match(text) => {
                Err(Fault::Pattern { param: self.name.clone(), expected: self.shape(), found: short(text) })
            }
            _ => Ok(Value::from(text)),
        }
    }

    fn read_integer(&self, text: &str) -> Result<Value, Fault> {
        let wrong = || self.wrong("a whole number", text);
        let text = text.trim();
        let digits = without_underscores(text).ok_or_else(wrong)?;
        if let Ok(whole) = digits.parse::<i64>() {
            #[allow(clippy::cast_precision_loss, reason = "bounds of this catalogue are exact in both")]
            self.bounded(whole as f64, text)?;
            return Ok(Value::from(whole));
        }
        let number = number(text).ok_or_else(wrong)?;
        let whole = whole(number).ok_or_else(wrong)?;
        self.bounded(number, text)?;
        Ok(Value::from(whole))
    }

    fn bounded(&self, number: f64, text: &str) -> Result<(), Fault> {
        let low = self.minimum.is_some_and(|min| number < min);
        let high = self.maximum.is_some_and(|max| number > max);
        if !low && !high {
            return Ok(());
        }
        let expected = self.bounds().unwrap_or_default();
        Err(Fault::Range { param: self.name.clone(), expected, found: short(text) })
    }

    fn longest(&self) -> usize {
        self.max_bytes.unwrap_or(LONGEST_VALUE)
    }

    fn limit(&self, text: &str, most: usize) -> Result<(), Fault> {
        let bytes = text.len();
        if bytes <= most { Ok(()) } else { Err(Fault::TooLong { param: self.name.clone(), bytes, most }) }
    }

    fn wrong(&self, expected: &'static str, text: &str) -> Fault {
        Fault::Type { param: self.name.clone(), expected, found: short(text) }
    }

    fn shape(&self) -> String {
        match &self.example {
            Some(example) => format!("something like {example:?}"),
            None => format!("a text that matches {}", self.pattern.as_deref().unwrap_or("anything")),
        }
    }
}

/// The specification says the same; what was compiled from it is not compared.
impl PartialEq for ParamSpec {
    fn eq(&self, other: &Self) -> bool {
        serde_json::to_value(self).ok() == serde_json::to_value(other).ok()
    }
}

/// Case, `-` and `_` do not tell names apart: the public pages write `top-k` and `top_k`.
fn same_name(a: &str, b: &str) -> bool {
    let plain = |name: &str| -> Vec<u8> {
        name.bytes().map(|byte| if byte == b'-' { b'_' } else { byte.to_ascii_lowercase() }).collect()
    };
    a.len() == b.len() && plain(a) == plain(b)
}

fn has_text(values: &[String]) -> bool {
    values.iter().any(|value| !value.is_empty())
}

fn truth(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" => Some(true),
        "false" | "0" | "no" => Some(false),
        _ => None,
    }
}

fn number(text: &str) -> Option<f64> {
    let text = without_underscores(text.trim())?;
    // The standard parser also reads words such as `inf` and `nan`.
    let plain = text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E'));
    let number: f64 = text.parse().ok().filter(|_| plain)?;
    number.is_finite().then_some(number)
}

/// A number that is whole, so that `1.0` and `1` are one value.
fn whole(number: f64) -> Option<i64> {
    #[allow(clippy::cast_possible_truncation, reason = "it is whole and no larger than EXACT")]
    let whole = number as i64;
    (number.fract() == 0.0 && number.abs() <= EXACT).then_some(whole)
}

/// `1_000` without the underscores; `None` if one does not stand between digits.
fn without_underscores(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let digit = |index: Option<usize>| index.and_then(|i| bytes.get(i)).is_some_and(u8::is_ascii_digit);
    let sound = bytes
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'_')
        .all(|(i, _)| digit(i.checked_sub(1)) && digit(Some(i + 1)));
    sound.then(|| text.replace('_', ""))
}

/// A value as a tag says it.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_false(flag: &bool) -> bool {
    !*flag
}
