//! What a check says: a verdict, and the violations it stands on.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Category, Severity};

/// How sure a violation is, in hundredths; written as a number between 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Confidence(u8);

impl Confidence {
    /// Certain, such as a blocked kind.
    pub const CERTAIN: Self = Self(100);
    /// From here on a hit is sure: nobody need be asked.
    pub const SURE: Self = Self(70);
    /// From here on a doubtful hit counts when there is no judge to ask.
    pub const LIKELY: Self = Self(50);

    /// So many hundredths, at most 100.
    pub const fn percent(hundredths: u8) -> Self {
        if hundredths > 100 { Self(100) } else { Self(hundredths) }
    }

    /// The number in hundredths.
    pub const fn get(self) -> u8 {
        self.0
    }

    /// Whether nobody need be asked.
    pub fn is_sure(self) -> bool {
        self >= Self::SURE
    }
}

impl TryFrom<f64> for Confidence {
    type Error = NotAConfidence;

    fn try_from(number: f64) -> Result<Self, NotAConfidence> {
        if !(0.0..=1.0).contains(&number) {
            return Err(NotAConfidence);
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "0 to 100 by the check above"
        )]
        Ok(Self((number * 100.0).round() as u8))
    }
}

impl From<Confidence> for f64 {
    fn from(confidence: Confidence) -> Self {
        Self::from(confidence.0) / 100.0
    }
}

impl fmt::Display for Confidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.0 / 100, self.0 % 100)
    }
}

/// A confidence lies between 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a confidence lies between 0 and 1")]
pub struct NotAConfidence;

/// One reason to refuse a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// What the job violates.
    pub category: Category,
    /// How grave that is for this provider.
    pub severity: Severity,
    /// How sure it is.
    pub confidence: Confidence,
    /// The name of the rule that hit, `judge`, or `kind`.
    pub rule: String,
    /// Where in the job, such as `input 1`; never the text itself.
    pub place: String,
}

/// May this job run here?
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "lowercase")]
pub enum Verdict {
    /// It may.
    Allowed,
    /// It may, and the log says why somebody should look at it.
    Flagged {
        /// In the order of [`Category::ALL`], those that deny and those that are sure first; never empty.
        violations: Vec<Violation>,
    },
    /// It may not.
    Denied {
        /// One sentence for the person who asked.
        reason: String,
        /// The category of the first violation.
        category: Category,
        /// In the order of [`Category::ALL`], those that deny and those that are sure first; never empty.
        violations: Vec<Violation>,
    },
}

impl Verdict {
    /// Whether the job may run.
    pub const fn may_run(&self) -> bool {
        !matches!(self, Self::Denied { .. })
    }

    /// `allowed`, `flagged` or `denied`.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Flagged { .. } => "flagged",
            Self::Denied { .. } => "denied",
        }
    }

    /// What it stands on, the most pressing first; empty for an allowed job.
    pub fn violations(&self) -> &[Violation] {
        match self {
            Self::Allowed => &[],
            Self::Flagged { violations } | Self::Denied { violations, .. } => violations,
        }
    }

    /// The most pressing category, if there is one.
    pub fn category(&self) -> Option<Category> {
        match self {
            Self::Denied { category, .. } => Some(*category),
            Self::Allowed | Self::Flagged { .. } => {
                self.violations().first().map(|violation| violation.category)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_confidence_is_written_between_nought_and_one_and_nothing_else_is_read() {
        assert_eq!(serde_json::to_string(&Confidence::percent(95)).unwrap(), "0.95");
        assert_eq!(serde_json::from_str::<Confidence>("0.95").unwrap(), Confidence::percent(95));
        for wrong in ["1.01", "-0.1", "95", "\"high\""] {
            assert!(serde_json::from_str::<Confidence>(wrong).is_err(), "{wrong}");
        }
        assert_eq!(Confidence::percent(7).to_string(), "0.07");
    }
}
