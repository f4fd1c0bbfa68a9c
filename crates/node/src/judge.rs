//! Asking a language model about a job that the rules leave open. What to ask and what an answer means stands in
//! `openagents-policy`; here are the wire and the clock.
//!
//! Whatever does not come in time, or is no answer, counts as missing, and then the rules decide.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use openagents_backend::{BackendError, BuildError, Chat, Question};
use openagents_policy::{AnswerFault, JudgePrompt, JudgePrompts, Judgement, read_answer};
use tokio::{sync::Semaphore, time::Instant};

use crate::config::JudgeSettings;

/// Questions that are asked at once, whoever asks: a model server has other work, and strangers' jobs come for nothing.
const AT_ONCE: usize = 4;

/// A judge. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Judge {
    chat: Arc<Chat>,
    turns: Arc<Semaphore>,
    patience: Duration,
}

type Answer = Result<Judgement, AnswerFault>;

impl Judge {
    /// The judge that the settings name.
    ///
    /// # Errors
    /// Its server's key cannot be read.
    pub(crate) fn new(settings: JudgeSettings) -> Result<Self, BuildError> {
        let chat = Arc::new(Chat::new(settings.server, settings.model)?);
        Ok(Self { chat, turns: Arc::new(Semaphore::new(AT_ONCE)), patience: settings.patience })
    }

    /// One answer for each question, in order. The patience is for all of them together.
    pub(crate) async fn answers(&self, prompts: &JudgePrompts) -> Vec<Answer> {
        let until = Instant::now() + self.patience;
        let mut asked = Vec::with_capacity(prompts.prompts.len());
        for prompt in &prompts.prompts {
            asked.push(self.by(until, prompt));
        }
        let answers = join_all(asked).await;
        let missing = answers.iter().filter(|answer| answer.is_err()).count();
        if let Some(Err(first)) = answers.iter().find(|answer| answer.is_err()) {
            let (of, fault) = (answers.len(), word(first));
            tracing::warn!(missing, of, fault, "the judge of jobs gave no usable answer; the rules decide");
        }
        answers
    }

    async fn by(&self, until: Instant, prompt: &JudgePrompt) -> Answer {
        match tokio::time::timeout_at(until, self.one(prompt)).await {
            Ok(answer) => answer,
            Err(_) => Err(AnswerFault::NoAnswer("it took too long".into())),
        }
    }

    async fn one(&self, prompt: &JudgePrompt) -> Answer {
        let no_answer = |error: BackendError| AnswerFault::NoAnswer(error.to_string());
        let Ok(_turn) = self.turns.acquire().await else { return Err(no_answer(BackendError::Busy)) };
        let JudgePrompt { system, user, json_schema: schema } = prompt;
        read_answer(&self.chat.answer(Question { system, user, schema }).await.map_err(no_answer)?)
    }
}

/// What was wrong, without a word of the answer, which may repeat the job.
fn word(fault: &AnswerFault) -> &str {
    match fault {
        AnswerFault::Malformed(_) => "not the JSON asked for",
        AnswerFault::Contradiction(what) => what,
        AnswerFault::Echo => "it repeats its instructions",
        AnswerFault::NoAnswer(why) => why,
    }
}
