//! What is written down about a check: enough to count and to explain, nothing of what the customer wrote.

use serde::{Deserialize, Serialize};

use crate::{Category, Job, Verdict};

/// One check, as it goes into the log. Exported as JSON; never holds text of the job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditEntry {
    /// When, in seconds since 1970; the caller's clock.
    pub time: u64,
    /// The job's kind.
    pub kind: u16,
    /// `allowed`, `flagged` or `denied`.
    pub result: String,
    /// The sentence the customer was given, or the rules that hit; empty for an allowed job.
    pub reason: String,
    /// The gravest category.
    pub category: Option<Category>,
    /// The first 8 hex digits of SHA-256 of the job: tells two jobs apart without keeping either.
    pub content: String,
}

impl AuditEntry {
    /// The entry for one verdict on one job.
    pub fn new(time: u64, job: &Job<'_>, verdict: &Verdict) -> Self {
        let reason = match verdict {
            Verdict::Allowed => String::new(),
            Verdict::Denied { reason, .. } => reason.clone(),
            Verdict::Flagged { violations } => {
                let hits =
                    violations.iter().map(|hit| format!("{} in {}", hit.rule, without_address(&hit.place)));
                hits.collect::<Vec<_>>().join(", ")
            }
        };
        Self {
            time,
            kind: job.kind,
            result: verdict.word().to_owned(),
            reason,
            category: verdict.category(),
            content: hex::encode(&job.digest()[..4]),
        }
    }
}

/// A place as the log may keep it: an address is the customer's text, too.
fn without_address(place: &str) -> &str {
    if place.starts_with("page ") { "page" } else { place }
}
