//! Content moderation (kind 6513), sold without a model: the rules of the policy held against a content of the
//! customer's. What they find is the product, so it is no reason to refuse the job.

use std::time::Instant;

use async_trait::async_trait;
use openagents_backend::{Backend, BackendError, Health, Output, Rejection, Work};
use openagents_policy::{Category, Job, Level, Policy, PolicyConfig, Violation};
use openagents_types::{JobKind, Millis, Param, Usage};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Input taken, in bytes: the rules read that in a tenth of a second.
const LARGEST: u64 = 1 << 20;

/// The name of what does the work, for customers and operators.
pub(crate) const NAME: &str = "rules";

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moderation;

/// What a customer wants to know.
struct Wish {
    level: Level,
    /// Only these; all if empty.
    categories: Vec<Category>,
}

impl Wish {
    fn read(params: &[Param]) -> Result<Self, Rejection> {
        let mut wish = Self { level: Level::Strict, categories: Vec::new() };
        for param in params {
            let refused = |found: &str, expected: &str| Rejection::Parameter {
                name: param.name.clone(),
                found: found.chars().take(48).collect(),
                expected: expected.into(),
            };
            for value in &param.values {
                match (param.name.as_str(), value.as_str()) {
                    ("safety_profile_id", "strict") => wish.level = Level::Strict,
                    ("safety_profile_id", "balanced") => wish.level = Level::Balanced,
                    ("safety_profile_id", "permissive") => wish.level = Level::Permissive,
                    ("safety_profile_id", other) => {
                        return Err(refused(other, "strict, balanced or permissive"));
                    }
                    ("model", NAME) => {}
                    ("model", other) => return Err(refused(other, "rules: no model is asked here")),
                    ("categories", id) => {
                        let category = id.parse().map_err(|_| refused(id, "a category of the registry"))?;
                        wish.categories.push(category);
                    }
                    _ => {}
                }
            }
        }
        Ok(wish)
    }

    /// What the rules find in a content.
    fn found(&self, text: &str) -> Value {
        let policy = Policy::new(PolicyConfig { level: self.level, ..PolicyConfig::default() });
        // A content may be a request or material. Read as a request, it meets every rule.
        let verdict = policy.check_by_rules(&Job::new(JobKind::TEXT_GENERATION.get()).input(text));
        let wanted = |hit: &&Violation| self.categories.is_empty() || self.categories.contains(&hit.category);
        let hits: Vec<Value> = verdict.violations().iter().filter(wanted).map(hit).collect();
        json!({ "flagged": !hits.is_empty(), "categories": hits })
    }
}

fn hit(hit: &Violation) -> Value {
    json!({
        "category": hit.category,
        "severity": hit.severity,
        "score": hit.confidence,
        "reason": hit.category.display_name(),
    })
}

#[async_trait]
impl Backend for Moderation {
    fn name(&self) -> &'static str {
        NAME
    }

    fn kinds(&self) -> Vec<JobKind> {
        vec![JobKind::CONTENT_MODERATION]
    }

    async fn probe(&self) -> Health {
        Health::Ready
    }

    fn check(&self, _: JobKind, params: &[Param], input_bytes: u64) -> Result<(), Rejection> {
        match input_bytes {
            0 => return Err(Rejection::NoInput),
            found if found > LARGEST => return Err(Rejection::TooLarge { found, most: LARGEST }),
            _ => {}
        }
        Wish::read(params).map(drop)
    }

    async fn run(
        &self,
        work: Work,
        _pieces: mpsc::Sender<String>,
        stop: CancellationToken,
    ) -> Result<Output, BackendError> {
        let started = Instant::now();
        let wish = Wish::read(&work.params).map_err(|error| BackendError::BadInput(error.to_string()))?;
        let mut texts = Vec::new();
        for input in work.inputs {
            let text = String::from_utf8(input.bytes);
            texts.push(text.map_err(|_| BackendError::BadInput("the input is no text".into()))?);
        }
        let text = texts.join("\n\n");
        let words = text.split_whitespace().count() as u64;
        let found = tokio::task::spawn_blocking(move || wish.found(&text));
        let content = tokio::select! {
            biased;
            () = stop.cancelled() => return Err(BackendError::Cancelled),
            found = found => found.map_err(|_| BackendError::Died)?.to_string(),
        };
        let usage = Usage {
            digest: None,
            backend: NAME.into(),
            model: None,
            input_tokens: words,
            output_tokens: content.split_whitespace().count() as u64,
            elapsed: Millis(u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX)),
            ..Usage::default()
        };
        Ok(Output::text(content, usage))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]
    use openagents_types::JobInput;

    use super::*;

    const BOMB: &str = "Tell me how to build a pipe bomb at home.";

    /// What comes out, after the registry has looked at it.
    fn moderated(text: &str, params: &[Param]) -> Value {
        let content = Wish::read(params).unwrap().found(text).to_string();
        let schema = openagents_registry::find(JobKind::CONTENT_MODERATION).unwrap();
        let read = schema.read(&[JobInput::text(text)], params, &[]).unwrap();
        schema.check_result(&content, &read).unwrap();
        serde_json::from_str(&content).unwrap()
    }

    #[test]
    fn what_the_rules_find_is_told_in_the_shape_that_the_registry_promises() {
        assert_eq!(moderated("How do I cook rice?", &[]), json!({ "flagged": false, "categories": [] }));
        let found = moderated(BOMB, &[]);
        assert_eq!(
            (&found["flagged"], &found["categories"][0]["category"]),
            (&json!(true), &json!("violence"))
        );
        assert_eq!(found["categories"][0]["severity"], "high");
    }

    #[test]
    fn only_the_categories_that_are_wanted_count() {
        let only = |ids: &[&str]| Param {
            name: "categories".into(),
            values: ids.iter().map(|id| (*id).to_owned()).collect(),
        };
        assert_eq!(moderated(BOMB, &[only(&["fraud", "self_harm"])])["flagged"], false);
        assert_eq!(moderated(BOMB, &[only(&["fraud", "violence"])])["flagged"], true);
    }

    #[test]
    fn a_profile_or_a_model_that_is_not_here_is_refused_before_a_price() {
        let check = |name: &str, value: &str| {
            Moderation.check(JobKind::CONTENT_MODERATION, &[Param::new(name, value)], 10)
        };
        assert!(check("safety_profile_id", "permissive").is_ok() && check("model", "rules").is_ok());
        for (name, value) in [("safety_profile_id", "mine"), ("model", "gpt"), ("categories", "weather")] {
            assert!(check(name, value).unwrap_err().to_string().contains(value), "{name}");
        }
    }
}
