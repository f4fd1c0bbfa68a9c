//! One question to an OpenAI-compatible server, and its whole answer: what a judge needs, and no job.
//!
//! The answer is as certain as the server can make it (temperature 0), short, and of one shape where the server can
//! enforce a schema. Who asks decides how long to wait.

use std::sync::atomic::{AtomicBool, Ordering};

use openagents_types::JobKind;
use serde_json::{Value, json};

use crate::{
    Backend, BackendError, BuildError, Health, OpenAi, OpenAiSettings,
    openai::refusal,
    serving::{error_body, estimate, whole_body},
};

/// Tokens of an answer. A judgement is a short JSON object; a model that talks longer does not judge.
const MOST_TOKENS: u64 = 400;

/// Of a server's answer, how many bytes are read: the tokens, with what servers say about themselves around them.
const LARGEST: usize = 64 << 10;

/// A chat server that answers questions.
#[derive(Debug)]
pub struct Chat {
    server: OpenAi,
    model: Option<String>,
    /// Set once the server has turned a schema down and answered without one.
    no_schema: AtomicBool,
}

/// What to ask.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// What to do.
    pub system: &'a str,
    /// With what.
    pub user: &'a str,
    /// The JSON Schema of the answer.
    pub schema: &'a Value,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// It.
    pub text: String,
    /// Who wrote it.
    pub model: String,
    /// Tokens read, as the server counts; 0 if it does not.
    pub input_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
    /// Whether it ended because it had become too long.
    pub is_cut: bool,
}

impl Chat {
    /// Asks `model` on a server; without a name the first model that the settings or the server list.
    ///
    /// # Errors
    /// The server's key file cannot be read.
    pub fn new(server: OpenAiSettings, model: Option<String>) -> Result<Self, BuildError> {
        Ok(Self { server: OpenAi::new(server)?, model, no_schema: AtomicBool::new(false) })
    }

    /// Whether the server could answer now.
    pub async fn probe(&self) -> Health {
        self.server.probe().await
    }

    /// The models that can be asked, the usual one first.
    pub fn model_names(&self) -> Vec<String> {
        self.server.models(JobKind::TEXT_GENERATION).into_iter().map(|model| model.name).collect()
    }

    /// The whole answer, which may be anything. It waits as long as the server does.
    ///
    /// # Errors
    /// The server has no model, declines, breaks off or says too much.
    pub async fn answer(&self, question: Question<'_>) -> Result<String, BackendError> {
        Ok(self.said(question, MOST_TOKENS, None).await?.text)
    }

    /// An answer of at most `most_tokens` by `model`, or by the usual one, with what it took. One that was cut off is
    /// none.
    ///
    /// # Errors
    /// The server has no model, declines, breaks off or says too much.
    pub async fn written(
        &self,
        question: Question<'_>,
        most_tokens: u64,
        model: Option<&str>,
    ) -> Result<Written, BackendError> {
        let written = self.said(question, most_tokens, model).await?;
        if written.is_cut { Err(BackendError::Truncated) } else { Ok(written) }
    }

    async fn said(
        &self,
        question: Question<'_>,
        most_tokens: u64,
        model: Option<&str>,
    ) -> Result<Written, BackendError> {
        let model = match model.or(self.model.as_deref()) {
            Some(model) => model.to_owned(),
            None => self.server.usual_model().await.ok_or(BackendError::NoModel)?,
        };
        let mut body = json!({
            "model": model,
            "messages": [
                { "role": "system", "content": question.system },
                { "role": "user", "content": question.user },
            ],
            "temperature": 0,
            "max_tokens": most_tokens,
            "stream": false,
        });
        if self.no_schema.load(Ordering::Relaxed) {
            return self.send(&body).await;
        }
        body["response_format"] =
            json!({ "type": "json_schema", "json_schema": { "name": "answer", "schema": question.schema } });
        match self.send(&body).await {
            Err(BackendError::BadInput(_)) => {
                // A server that knows no schemas says no to the whole question.
                body.as_object_mut().map(|body| body.remove("response_format"));
                let answer = self.send(&body).await?;
                self.no_schema.store(true, Ordering::Relaxed);
                Ok(answer)
            }
            outcome => outcome,
        }
    }

    async fn send(&self, body: &Value) -> Result<Written, BackendError> {
        let response = self.server.chat(body).send().await.map_err(|_| BackendError::Died)?;
        if !response.status().is_success() {
            let status = response.status();
            return Err(refusal(status, &error_body(response).await));
        }
        let bytes = whole_body(response, LARGEST).await?;
        let answer: Value =
            serde_json::from_slice(&bytes).map_err(|_| BackendError::Protocol("not JSON".into()))?;
        let text = answer["choices"][0]["message"]["content"].as_str().ok_or(BackendError::Refused)?;
        let count = |name: &str| answer["usage"][name].as_u64().unwrap_or(0);
        let written = Some(count("completion_tokens")).filter(|count| *count > 0);
        Ok(Written {
            text: text.to_owned(),
            model: body["model"].as_str().unwrap_or_default().to_owned(),
            input_tokens: count("prompt_tokens"),
            output_tokens: written.unwrap_or_else(|| estimate(text)),
            is_cut: answer["choices"][0]["finish_reason"] == "length",
        })
    }
}
