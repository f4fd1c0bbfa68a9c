//! Acceptable use for jobs on a compute market, as a value: text in, verdict out. What it leaves to others: fetching,
//! asking a judge, writing logs.
//!
#![doc = include_str!("../README.md")]

mod answer;
mod audit;
mod category;
mod config;
mod evaluate;
mod job;
mod judge;
mod kinds;
mod normal;
mod policy;
mod rules;
mod score;
mod verdict;

pub use answer::{AnswerFault, Judgement, read_answer};
pub use audit::AuditEntry;
pub use category::{Category, Level, Severity, UnknownCategory};
pub use config::{Mode, PolicyConfig};
pub use evaluate::{BadRow, Row, Score, Share, Table, evaluate, read_rows};
pub use job::{Job, Part, Place};
pub use judge::{JudgePrompt, JudgePrompts, judge_request};
pub use kinds::{HARMLESS, KindClass, PROHIBITED_NAMES, Use, is_prohibited_name, use_of};
pub use policy::{Check, Policy, Ruled};
pub use rules::{Finding, rule_names};
pub use score::{cross_validate, train};
pub use verdict::{Confidence, NotAConfidence, Verdict, Violation};
