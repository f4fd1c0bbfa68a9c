//! JSON Schemas: the catalogue's own, compiled once, and those of customers, which are not trusted.
//!
//! A customer's schema costs what it says times what it is applied to, so it is bounded before it is
//! compiled: its size, its depth, and how large it is with every `$ref` written out. References lead
//! nowhere but into the schema itself, and never in a circle, because a circle makes the cost exponential
//! in the depth of a result. Patterns run on an engine whose time is linear in the text.

use std::collections::BTreeMap;

use jsonschema::{Draft, PatternOptions, Validator};
use regex::Regex;
use serde_json::Value;

use crate::{Fault, KindSchema, TextForm, fault::short};

/// The parameter that carries a customer's schema.
pub(crate) const PARAM: &str = "schema";
/// The largest file of a kind that is read.
pub(crate) const MOST_KIND_BYTES: usize = 256 << 10;
/// The largest schema, in bytes as JSON.
const MOST_BYTES: usize = 16 << 10;
/// How deep a schema may nest, references written out.
const DEEPEST: usize = 32;
/// How many values a schema may hold, references written out.
const MOST_NODES: usize = 2_000;
/// The largest compiled pattern, in bytes.
const MOST_PATTERN_BYTES: usize = 1 << 20;

/// What a kind's result is checked with.
#[derive(Clone, Debug)]
pub(crate) struct Compiled {
    pub(crate) json: Option<Validator>,
    pub(crate) text: Option<Regex>,
}

impl KindSchema {
    /// The validators of this kind's results.
    pub(crate) fn compiled(&self) -> Result<&Compiled, Fault> {
        if let Some(compiled) = self.compiled.get() {
            return Ok(compiled);
        }
        let json = self.result.json.as_ref().map(compile).transpose().map_err(Fault::NotAKind)?;
        let text = match &self.result.text {
            Some(TextForm::Pattern { pattern }) => Some(Regex::new(pattern)),
            Some(TextForm::Plain | TextForm::Links | TextForm::Tags { .. }) | None => None,
        };
        let text = text.transpose().map_err(|error| Fault::NotAKind(short(&error.to_string())))?;
        Ok(self.compiled.get_or_init(|| Compiled { json, text }))
    }
}

/// Compiles a customer's schema.
pub(crate) fn customer(schema: &Value) -> Result<Validator, Fault> {
    let unusable = |reason| Fault::Schema { param: PARAM.into(), reason };
    bounded(schema).map_err(unusable)?;
    compile(schema).map_err(unusable)
}

/// The first way in which a value breaks a schema.
pub(crate) fn check(validator: &Validator, value: &Value) -> Result<(), Fault> {
    validator.validate(value).map_err(|error| Fault::Result {
        path: error.instance_path().to_string(),
        // Without the value, which may be long and private.
        reason: short(&error.masked().to_string()),
    })
}

fn compile(schema: &Value) -> Result<Validator, String> {
    jsonschema::options()
        .with_draft(Draft::Draft202012)
        .with_pattern_options(PatternOptions::regex().size_limit(MOST_PATTERN_BYTES))
        .build(schema)
        .map_err(|error| short(&error.to_string()))
}

fn bounded(schema: &Value) -> Result<(), String> {
    let bytes = schema.to_string().len();
    if bytes > MOST_BYTES {
        return Err(format!("it has {bytes} bytes, at most {MOST_BYTES} are taken"));
    }
    let mut measure = Measure { schema, done: BTreeMap::new(), open: Vec::new() };
    let size = measure.of(schema, 0)?;
    if size.nodes > MOST_NODES {
        return Err(format!("with its references written out it has over {MOST_NODES} parts"));
    }
    Ok(())
}

/// How large a part of a schema is, references written out.
#[derive(Clone, Copy, Default)]
struct Size {
    nodes: usize,
    depth: usize,
}

/// Measures each referenced part once, so that measuring itself cannot blow up.
struct Measure<'a> {
    schema: &'a Value,
    done: BTreeMap<&'a str, Size>,
    open: Vec<&'a str>,
}

impl<'a> Measure<'a> {
    fn of(&mut self, part: &'a Value, depth: usize) -> Result<Size, String> {
        let too_deep = || format!("it nests deeper than {DEEPEST}");
        if depth > DEEPEST {
            return Err(too_deep());
        }
        let mut size = Size { nodes: 1, depth: 1 };
        let mut add = |inner: Size| {
            size.nodes = size.nodes.saturating_add(inner.nodes);
            size.depth = size.depth.max(inner.depth + 1);
        };
        match part {
            Value::Object(fields) => {
                for (name, value) in fields {
                    match name.as_str() {
                        "$ref" => add(self.reference(value, depth)?),
                        "$dynamicRef" | "$recursiveRef" | "$id" | "$anchor" | "$dynamicAnchor" => {
                            return Err(format!("{name} is not used here; use $ref with \"#/…\""));
                        }
                        _ => add(self.of(value, depth + 1)?),
                    }
                }
            }
            Value::Array(items) => {
                for item in items {
                    add(self.of(item, depth + 1)?);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
        if size.depth > DEEPEST { Err(too_deep()) } else { Ok(size) }
    }

    fn reference(&mut self, target: &'a Value, depth: usize) -> Result<Size, String> {
        let target = target.as_str().ok_or("a $ref is not a text")?;
        if let Some(size) = self.done.get(target) {
            return Ok(*size);
        }
        if self.open.contains(&target) {
            return Err(format!("{} leads back to itself", short(target)));
        }
        let pointer = target.strip_prefix('#').filter(|rest| rest.starts_with('/') && !rest.contains('%'));
        let part = pointer.and_then(|pointer| self.schema.pointer(pointer));
        let part = part.ok_or_else(|| format!("{} is not a part of the schema", short(target)))?;
        self.open.push(target);
        let size = self.of(part, depth + 1)?;
        self.open.pop();
        self.done.insert(target, size);
        Ok(size)
    }
}
