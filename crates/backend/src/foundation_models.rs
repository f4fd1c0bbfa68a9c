//! Apple's on-device model, by a bridge that its owner runs: `fm serve`, apfel, afm and others.
//!
//! They speak as OpenAI's API does, with habits of their own: one request at a time, few tokens, lengths and stop
//! texts that are not kept to (so both are cut here), and refusals, which are answers and are not tried again.
//! What is sent to `pcc` runs in Apple's cloud and is never sold.

use std::{path::PathBuf, sync::Arc};

use async_trait::async_trait;
use reqwest::{RequestBuilder, StatusCode};
use serde_json::Value;

use crate::{
    Backend, BackendError, BackendKind, BuildError, Built, Health, Settings,
    openai::{self, Api},
    serving::{Ask, Model, ReadLine, Said, Seen, Served, Wire, asked},
};

/// The row of [`crate::BACKENDS`].
pub(crate) const KIND: BackendKind = BackendKind {
    name: "foundation_models",
    about: "text generation (5050) with Apple's on-device model, by an HTTP bridge",
    build,
};

fn build(settings: &Settings) -> Vec<Built> {
    let one = |bridge: &FoundationModelsSettings| {
        FoundationModels::new(bridge).map(|b| Arc::new(b) as Arc<dyn Backend>)
    };
    settings.foundation_models.iter().map(one).collect()
}

/// Tokens of a question and its answer together, on every machine that has the model.
const CONTEXT: u64 = 4_096;
/// Names under which bridges offer the model on this machine.
const LOCAL: [&str; 4] = ["system", "apple-foundationmodel", "foundation", "apple-on-device"];

/// A bridge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoundationModelsSettings {
    /// Its address up to and without `/v1`, such as `http://127.0.0.1:1976`.
    pub url: String,
    /// A file with its token.
    pub key_file: Option<PathBuf>,
}

/// A bridge to Apple's on-device model.
pub type FoundationModels = Served<FoundationModelsWire>;

impl FoundationModels {
    /// A backend for one bridge.
    ///
    /// # Errors
    /// Its key file cannot be read.
    pub fn new(settings: &FoundationModelsSettings) -> Result<Self, BuildError> {
        let api = Api::open(KIND.name, settings.key_file.as_ref())?;
        Ok(Self::of(FoundationModelsWire { api, base: openai::plain(&settings.url) }, Vec::new()))
    }
}

/// How a bridge is spoken to.
pub struct FoundationModelsWire {
    api: Api,
    base: String,
}

#[async_trait]
impl Wire for FoundationModelsWire {
    fn kind(&self) -> &'static str {
        KIND.name
    }

    fn place(&self) -> String {
        self.base.clone()
    }

    async fn look(&self) -> Result<Seen, Health> {
        let listed =
            openai::listed(&asked(self.api.get(&format!("{}/v1/models", self.base)), &self.base).await?);
        let local = listed.into_iter().filter(|id| LOCAL.contains(&id.as_str()));
        let models = local.map(|id| Model { context: Some(CONTEXT), ..openai::of_name(id) }).collect();
        Ok(Seen { about: "a bridge to Apple's on-device model".into(), models, ..Seen::default() })
    }

    fn ask(&self, ask: &Ask<'_>) -> Result<RequestBuilder, BackendError> {
        let mut body = openai::question(ask);
        if let Some(body) = body.as_object_mut() {
            // Bridges answer 400 to what the model cannot do. Stop texts are cut here.
            for name in ["stop", "top_k", "frequency_penalty"] {
                body.remove(name);
            }
        }
        Ok(self.api.post(&format!("{}/v1/chat/completions", self.base)).json(&body))
    }

    fn line(&self) -> ReadLine {
        line
    }

    fn refusal(&self, status: StatusCode, body: &str) -> BackendError {
        if is_refusal(body) { BackendError::Refused } else { openai::refusal(status, body) }
    }

    fn slots(&self) -> Option<usize> {
        Some(1)
    }
}

/// Whether an error is the model's or its guardrail's no.
fn is_refusal(text: &str) -> bool {
    let text = text.to_lowercase();
    ["guardrail", "refus", "content_policy", "unsafe"].iter().any(|word| text.contains(word))
}

fn line(line: &str) -> Result<Said, BackendError> {
    let error = |data: &str| {
        let value: Value = serde_json::from_str(data).unwrap_or_default();
        !value["error"].is_null() && is_refusal(data)
    };
    match line.strip_prefix("data:") {
        Some(data) if error(data) => Err(BackendError::Refused),
        Some(_) | None => openai::line(line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guardrail_is_a_refusal_and_is_not_tried_again() {
        let guarded =
            line("data: {\"error\":{\"message\":\"Guardrail violation\",\"type\":\"server_error\"}}");
        assert_eq!(guarded, Err(BackendError::Refused));
        assert!(!BackendError::Refused.is_retryable());
        assert_eq!(line("data: {\"error\":{\"message\":\"rate limited\"}}"), Err(BackendError::Died));
    }
}
