//! What a kind of job tells about its text: is it a request, or material to work on? And which kinds are never done.

use serde::{Deserialize, Serialize};

/// What the text of a job is to whoever does the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Use {
    /// A request: the job is what the text asks for.
    Asks,
    /// Material: the job is done with the text, whatever the text says.
    Handles,
}

/// How a kind stands before anybody has read the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KindClass {
    /// A kind that is harmless in itself. Its content is checked all the same.
    Allowed,
    /// Never done.
    Prohibited,
    /// Anything else. Where a judge may be asked, it is asked about slighter doubts.
    NeedsReview,
}

/// Kinds that work on material: extraction, summarization, translation, media conversion, discovery and
/// search, counting, scanning, timestamping, review, explanation, code search, classification, structured
/// extraction, embedding, moderation.
const HANDLING: &[u16] = &[
    5000, 5001, 5002, 5200, 5201, 5202, 5300, 5301, 5302, 5303, 5400, 5500, 5900, 5901, 5905, 5970, 6501,
    6502, 6504, 6506, 6507, 6508, 6509, 6511, 6513,
];

/// Kinds that are harmless in themselves: summarization, translation, code generation and review, classification
/// (sentiment), structured extraction, embedding, agent execution.
pub const HARMLESS: &[u16] = &[5001, 5002, 6500, 6501, 6505, 6508, 6509, 6511];

/// Names that no kind of this market may have, whatever its number.
pub const PROHIBITED_NAMES: &[&str] = &[
    "medical-diagnosis",
    "medical-treatment",
    "medical-advice",
    "legal-advice",
    "financial-advice",
    "investment-advice",
    "textbook-generation",
];

/// What the text of such a job is. An unknown kind asks, because that is read more strictly.
pub fn use_of(kind: u16) -> Use {
    if HANDLING.contains(&kind) { Use::Handles } else { Use::Asks }
}

/// Whether a kind of this name may not exist. Case and the sign between the words do not matter.
pub fn is_prohibited_name(name: &str) -> bool {
    let plain: String =
        name.trim().chars().map(|c| if c.is_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
    PROHIBITED_NAMES.contains(&plain.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prohibited_name_is_known_however_it_is_written() {
        for name in ["medical-diagnosis", "Legal Advice", "FINANCIAL_ADVICE", " textbook-generation "] {
            assert!(is_prohibited_name(name), "{name}");
        }
        assert!(!is_prohibited_name("text-generation"));
    }

    #[test]
    fn kinds_that_work_on_material_do_not_ask() {
        assert_eq!(use_of(5001), Use::Handles);
        assert_eq!(use_of(5050), Use::Asks);
        assert_eq!(use_of(6599), Use::Asks);
    }
}
