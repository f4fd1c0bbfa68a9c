//! Asking a language model about a job that the rules leave open. What to ask and what an answer means stands in
//! `openagents-policy`; here are the wire and the clock.
//!
//! Whatever does not come in time, or is no answer, counts as missing, and then the rules decide.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use openagents_backend::{BackendError, BuildError, Chat, Question};
use openagents_policy::{
    AnswerFault, Check, Job, JudgePrompt, JudgePrompts, Judgement, Policy, Verdict, read_answer,
};
use tokio::{sync::Semaphore, time::Instant};

use crate::{
    config::{Config, ConfigError, JudgeSettings},
    offers::OffersError,
};

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

/// A policy and its judge without a node around them, for whoever wants to measure them.
#[derive(Debug)]
pub struct Court {
    policy: Policy,
    judge: Judge,
}

/// Why there is no judge to ask.
#[derive(Debug, thiserror::Error)]
pub enum CourtError {
    /// The mode needs none.
    #[error("policy.mode is \"rules\", which asks no judge")]
    RulesAlone,
    /// None is configured.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Its server's key cannot be read.
    #[error(transparent)]
    Server(#[from] OffersError),
}

/// A verdict, and what it stands on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// The verdict.
    pub verdict: Verdict,
    /// Who came to it.
    pub by: By,
}

/// Who came to a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The rules, which left nothing open.
    Rules,
    /// The rules and the judge, who answered every question.
    Judge,
    /// The rules, because an answer was missing or no good.
    RulesForWantOfAnAnswer,
}

impl Court {
    /// The policy and the judge that a node with these settings would have.
    ///
    /// # Errors
    /// The settings name no judge.
    pub fn open(config: &Config) -> Result<Self, CourtError> {
        let settings = config.judge()?.ok_or(CourtError::RulesAlone)?;
        crate::install_tls();
        Ok(Self {
            policy: Policy::new(config.policy.clone()),
            judge: Judge::new(settings).map_err(OffersError::from)?,
        })
    }

    /// What is said of a job, as a node would come to it.
    pub async fn hear(&self, job: &Job<'_>) -> Heard {
        let (prompts, ruled) = match self.policy.check(job) {
            Check::Done(verdict) => return Heard { verdict, by: By::Rules },
            Check::AskJudge(prompts, ruled) => (prompts, ruled),
        };
        let answers = self.judge.answers(&prompts).await;
        let by = match answers.iter().all(Result::is_ok) {
            true => By::Judge,
            false => By::RulesForWantOfAnAnswer,
        };
        Heard { verdict: self.policy.conclude(&ruled, &answers), by }
    }
}
