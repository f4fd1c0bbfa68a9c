//! The table of kinds. A new kind is a file in `kinds/` and a line in [`FILES`].

use std::sync::OnceLock;

use openagents_types::JobKind;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Fault, KindSchema, ParamSpec, fault::short};

/// The version of the whole catalogue: major for what breaks a client, minor for new kinds and
/// parameters, patch for mistakes. What changed is told in `CHANGELOG.md` beside this crate.
pub const VERSION: &str = "0.1.0";

/// When the catalogue last changed (RFC 3339): a constant, so that what is generated from it is always
/// the same.
pub const UPDATED: &str = "2026-11-25T00:00:00Z";

/// Every kind, in the order of its number.
const FILES: &[&str] = &[
    include_str!("../kinds/5000-text-extraction.json"),
    include_str!("../kinds/5001-text-summarization.json"),
    include_str!("../kinds/5002-text-translation.json"),
    include_str!("../kinds/5050-text-generation.json"),
    include_str!("../kinds/5100-image-generation.json"),
    include_str!("../kinds/5200-video-conversion.json"),
    include_str!("../kinds/5201-video-translation.json"),
    include_str!("../kinds/5202-image-to-video.json"),
    include_str!("../kinds/5250-text-to-speech.json"),
    include_str!("../kinds/5300-content-discovery.json"),
    include_str!("../kinds/5301-people-discovery.json"),
    include_str!("../kinds/5302-content-search.json"),
    include_str!("../kinds/5303-people-search.json"),
    include_str!("../kinds/5400-event-count.json"),
    include_str!("../kinds/5500-malware-scanning.json"),
    include_str!("../kinds/5900-event-timestamping.json"),
    include_str!("../kinds/5901-op-return-creation.json"),
    include_str!("../kinds/5905-event-publish-schedule.json"),
    include_str!("../kinds/5970-event-pow-delegation.json"),
    include_str!("../kinds/6500-code-generation.json"),
    include_str!("../kinds/6501-code-review.json"),
    include_str!("../kinds/6502-code-refactoring.json"),
    include_str!("../kinds/6503-qa-rag.json"),
    include_str!("../kinds/6504-codebase-search.json"),
    include_str!("../kinds/6505-agent-execution.json"),
    include_str!("../kinds/6506-code-explanation.json"),
    include_str!("../kinds/6507-test-generation.json"),
    include_str!("../kinds/6508-classification.json"),
    include_str!("../kinds/6509-structured-extraction.json"),
    include_str!("../kinds/6510-tool-calling.json"),
    include_str!("../kinds/6511-embedding-generation.json"),
    include_str!("../kinds/6513-content-moderation.json"),
    include_str!("../kinds/6519-task-planning.json"),
];

/// What all kinds share.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Common {
    /// Parameters whose names mean the same in every kind. A kind's file takes one by its name alone,
    /// or states it anew with bounds of its own, but never with another type.
    pub params: Vec<ParamSpec>,
    /// The JSON Schema of `metadata`, which every JSON object of a result may hold.
    pub metadata: Value,
    /// The JSON Schema of a result that reports a failure. A provider should rather say so with a
    /// feedback (kind 7000), which costs the customer nothing.
    pub error: Value,
    /// What kinds are never defined for.
    pub never_defined: Vec<String>,
}

/// What all kinds share.
pub fn common() -> &'static Common {
    static COMMON: OnceLock<Common> = OnceLock::new();
    COMMON.get_or_init(|| {
        serde_json::from_str(include_str!("../kinds/common.json"))
            .expect("kinds/common.json is of its form, as a test proves")
    })
}

/// Every kind, by number.
pub fn all() -> &'static [KindSchema] {
    static KINDS: OnceLock<Vec<KindSchema>> = OnceLock::new();
    KINDS.get_or_init(|| {
        let kind = |file: &&str| KindSchema::from_json(file).expect("each file is a kind, as a test proves");
        FILES.iter().map(kind).collect()
    })
}

/// The kind of a number.
///
/// # Errors
/// The catalogue has none.
pub fn find(kind: JobKind) -> Result<&'static KindSchema, Fault> {
    all().iter().find(|schema| schema.kind == kind).ok_or(Fault::UnknownKind(kind.get()))
}

/// The kind of a machine name, such as `text-summarization`.
///
/// # Errors
/// The catalogue has none.
pub fn find_name(name: &str) -> Result<&'static KindSchema, Fault> {
    let unknown = || Fault::NotAKind(format!("no kind is called {:?}", short(name)));
    all().iter().find(|schema| schema.name == name).ok_or_else(unknown)
}

/// A file with what it takes from [`common`] written out: parameters given by name, and `metadata` in
/// a JSON object's schema.
pub(crate) fn expand(mut kind: Value) -> Value {
    for param in kind.get_mut("params").and_then(Value::as_array_mut).into_iter().flatten() {
        let shared = common().params.iter().find(|spec| param.as_str() == Some(&spec.name));
        if let Some(spec) = shared.and_then(|spec| serde_json::to_value(spec).ok()) {
            *param = spec;
        }
    }
    if let Some(fields) = kind.pointer_mut("/result/json/properties").and_then(Value::as_object_mut) {
        fields.insert("metadata".into(), common().metadata.clone());
    }
    kind
}
