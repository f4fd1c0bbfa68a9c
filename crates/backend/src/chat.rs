//! One question to an OpenAI-compatible server, and its whole answer: what a judge needs, and no job.
//!
//! The answer is as certain as the server can make it (temperature 0), short, and of one shape where the server can
//! enforce a schema. Who asks decides how long to wait.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::{
    BackendError, BuildError, OpenAi, OpenAiSettings,
    openai::refusal,
    serving::{error_body, whole_body},
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

impl Chat {
    /// Asks `model` on a server; without a name the first model that the settings or the server list.
    ///
    /// # Errors
    /// The server's key file cannot be read.
    pub fn new(server: OpenAiSettings, model: Option<String>) -> Result<Self, BuildError> {
        Ok(Self { server: OpenAi::new(server)?, model, no_schema: AtomicBool::new(false) })
    }

    /// The whole answer, which may be anything. It waits as long as the server does.
    ///
    /// # Errors
    /// The server has no model, declines, breaks off or says too much.
    pub async fn answer(&self, question: Question<'_>) -> Result<String, BackendError> {
        let model = match &self.model {
            Some(model) => model.clone(),
            None => self.server.usual_model().await.ok_or(BackendError::NoModel)?,
        };
        let mut body = json!({
            "model": model,
            "messages": [
                { "role": "system", "content": question.system },
                { "role": "user", "content": question.user },
            ],
            "temperature": 0,
            "max_tokens": MOST_TOKENS,
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

    async fn send(&self, body: &Value) -> Result<String, BackendError> {
        let response = self.server.chat(body).send().await.map_err(|_| BackendError::Died)?;
        if !response.status().is_success() {
            let status = response.status();
            return Err(refusal(status, &error_body(response).await));
        }
        let bytes = whole_body(response, LARGEST).await?;
        let answer: Value =
            serde_json::from_slice(&bytes).map_err(|_| BackendError::Protocol("not JSON".into()))?;
        let text = answer["choices"][0]["message"]["content"].as_str();
        text.map(str::to_owned).ok_or(BackendError::Refused)
    }
}
