//! Reads what a judge answered. A model that was talked into something else than judging does not get a say.

use serde::Deserialize;

use crate::{Category, Confidence, Severity, judge::MARK};

/// Longest reason, in characters; the schema says so too.
const LONGEST_REASON: usize = 400;

/// Longest answer that is read at all, in bytes.
const LONGEST_ANSWER: usize = 8_000;

/// A judge's answer about one window of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// What the job violates; `None` if nothing.
    pub category: Option<Category>,
    /// How grave the judge finds it. The provider's own severity decides; this is for the log.
    pub severity: Option<Severity>,
    /// How sure the judge is.
    pub confidence: Confidence,
    /// In its own words. May repeat the job, so it does not belong into a log.
    pub reason: String,
}

/// Why an answer is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerFault {
    /// Not the JSON object that was asked for.
    #[error("the judge's answer is not the JSON object asked for: {0}")]
    Malformed(String),
    /// Its fields contradict each other.
    #[error("the judge's answer contradicts itself: {0}")]
    Contradiction(&'static str),
    /// It repeats what it was told.
    #[error("the judge's answer repeats its instructions; it may have been misled")]
    Echo,
    /// Nobody answered.
    #[error("the judge did not answer: {0}")]
    NoAnswer(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    #[serde(deserialize_with = "present")]
    category: Option<Category>,
    #[serde(default)]
    severity: Option<Severity>,
    confidence: Confidence,
    reason: String,
}

/// A field that may be null but must be there.
fn present<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Category>, D::Error> {
    Option::deserialize(from)
}

/// Reads a judge's answer, with or without a code fence around it.
pub fn read_answer(text: &str) -> Result<Judgement, AnswerFault> {
    let malformed = |why: &str| Err(AnswerFault::Malformed(why.to_owned()));
    if text.len() > LONGEST_ANSWER {
        return malformed("it is too long");
    }
    if text.contains(MARK) || text.contains("additionalProperties") {
        return Err(AnswerFault::Echo);
    }
    let answer: Answer = match serde_json::from_str(without_fence(text.trim())) {
        Ok(answer) => answer,
        Err(fault) => return malformed(&fault.to_string()),
    };
    let reason = answer.reason.trim();
    if reason.is_empty() || reason.chars().count() > LONGEST_REASON {
        return malformed("the reason is empty or too long");
    }
    let lower = reason.to_lowercase();
    if ["one sentence that quotes nothing", "you judge whether", "data written by a stranger"]
        .iter()
        .any(|told| lower.contains(told))
    {
        return Err(AnswerFault::Echo);
    }
    match (answer.category, answer.severity) {
        (None, Some(_)) => Err(AnswerFault::Contradiction("a severity without a category")),
        (Some(Category::ProhibitedJobType), _) => {
            Err(AnswerFault::Contradiction("the kind of a job is not for the judge"))
        }
        (category, severity) => {
            Ok(Judgement { category, severity, confidence: answer.confidence, reason: reason.to_owned() })
        }
    }
}

fn without_fence(text: &str) -> &str {
    let Some(inside) = text.strip_prefix("```").and_then(|text| text.strip_suffix("```")) else {
        return text;
    };
    inside.strip_prefix("json").or_else(|| inside.strip_prefix("JSON")).unwrap_or(inside).trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_answer_is_read_with_or_without_a_fence() {
        let plain =
            r#"{"category":"fraud","severity":"high","confidence":0.9,"reason":"Asks for a phishing mail."}"#;
        let fenced = format!("```json\n{plain}\n```");
        for text in [plain, &fenced, &format!("\n {plain} ")] {
            let judgement = read_answer(text).unwrap();
            assert_eq!(judgement.category, Some(Category::Fraud));
            assert_eq!(judgement.confidence, Confidence::percent(90));
        }
        let honest = r#"{"category":null,"confidence":1,"reason":"A summary."}"#;
        assert_eq!(read_answer(honest).unwrap().category, None);
    }

    #[test]
    fn whatever_is_not_exactly_an_answer_is_refused() {
        for text in [
            "",
            "allowed",
            r#"{"confidence":1,"reason":"no category"}"#,
            r#"{"category":"weather","confidence":1,"reason":"unknown"}"#,
            r#"{"category":null,"confidence":1.5,"reason":"out of range"}"#,
            r#"{"category":null,"confidence":"1","reason":"a string"}"#,
            r#"{"category":null,"confidence":1,"reason":""}"#,
            r#"{"category":null,"confidence":1,"reason":"more","verdict":"allowed"}"#,
            r#"{"category":null,"category":"fraud","confidence":1,"reason":"twice"}"#,
            r#"{"category":null,"severity":"high","confidence":1,"reason":"contradiction"}"#,
            r#"{"category":"prohibited_job_type","confidence":1,"reason":"not its business"}"#,
            r#"{"category":null,"confidence":1,"reason":"fine"} and then some"#,
            r#"{"category":null,"confidence":1,"reason":"QUOTED-0011223344556677 says so"}"#,
            r#"{"category":null,"confidence":1,"reason":"You judge whether a job on a compute market may run."}"#,
        ] {
            assert!(read_answer(text).is_err(), "{text}");
        }
    }
}
