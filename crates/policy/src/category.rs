//! What a job may be refused for: eleven categories, how grave each is, and how strictly a provider reads them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A category of use that the acceptable-use policy names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Category {
    /// Advice about a person's own health that only a clinician may give.
    RegulatedHealthcare,
    /// Legal advice, or a legal document for a person's own affair.
    RegulatedLegal,
    /// Advice about what to do with money.
    RegulatedFinancial,
    /// Textbooks and courseware, written or solved.
    AcademicTextbook,
    /// Finding out what a model was trained on.
    TrainingDataIdentification,
    /// Talking a model out of its rules.
    GuardrailCircumvention,
    /// Help with hurting people.
    Violence,
    /// Sexual material.
    ExplicitContent,
    /// Help with hurting oneself.
    SelfHarm,
    /// Help with cheating people or breaking into what is theirs.
    Fraud,
    /// A kind of job this provider, or the market, does not do.
    ProhibitedJobType,
}

/// How grave a violation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Refused by a strict provider only.
    Low,
    /// Refused by a strict provider only; listed before the low ones.
    Medium,
    /// Refused at every level.
    High,
}

/// How strictly a provider reads the policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Every violation is refused.
    #[default]
    Strict,
    /// High severity is refused; medium and low are flagged, the doubtful ones too.
    Balanced,
    /// High severity is refused; medium and low are flagged if they are sure. What is doubtful passes.
    Permissive,
}

impl Category {
    /// All categories, in the order in which a person should hear of them: of two violations the earlier one is named.
    /// Self-harm comes before medicine, because its reason says where to find help.
    pub const ALL: [Self; 11] = [
        Self::ProhibitedJobType,
        Self::SelfHarm,
        Self::Violence,
        Self::ExplicitContent,
        Self::Fraud,
        Self::RegulatedHealthcare,
        Self::RegulatedLegal,
        Self::RegulatedFinancial,
        Self::GuardrailCircumvention,
        Self::TrainingDataIdentification,
        Self::AcademicTextbook,
    ];

    /// The id that events, files and audit entries use.
    pub const fn id(self) -> &'static str {
        match self {
            Self::RegulatedHealthcare => "regulated_healthcare",
            Self::RegulatedLegal => "regulated_legal",
            Self::RegulatedFinancial => "regulated_financial",
            Self::AcademicTextbook => "academic_textbook",
            Self::TrainingDataIdentification => "training_data_identification",
            Self::GuardrailCircumvention => "guardrail_circumvention",
            Self::Violence => "violence",
            Self::ExplicitContent => "explicit_content",
            Self::SelfHarm => "self_harm",
            Self::Fraud => "fraud",
            Self::ProhibitedJobType => "prohibited_job_type",
        }
    }

    /// What people call it.
    pub const fn display_name(self) -> &'static str {
        match self {
            Self::RegulatedHealthcare => "Regulated healthcare",
            Self::RegulatedLegal => "Regulated legal services",
            Self::RegulatedFinancial => "Regulated financial services",
            Self::AcademicTextbook => "Textbooks and courseware",
            Self::TrainingDataIdentification => "Training data identification",
            Self::GuardrailCircumvention => "Guardrail circumvention",
            Self::Violence => "Violence",
            Self::ExplicitContent => "Explicit content",
            Self::SelfHarm => "Self-harm",
            Self::Fraud => "Fraud",
            Self::ProhibitedJobType => "Prohibited kind of job",
        }
    }

    /// One sentence for the person whose job is refused.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::RegulatedHealthcare => {
                "This job asks for medical advice, which only a clinician who knows the patient may give."
            }
            Self::RegulatedLegal => {
                "This job asks for legal advice or a legal document, which belongs with a lawyer."
            }
            Self::RegulatedFinancial => {
                "This job asks for personal financial advice, which belongs with a licensed adviser."
            }
            Self::AcademicTextbook => {
                "This job asks for a textbook or courseware, which the models' licences do not cover."
            }
            Self::TrainingDataIdentification => "This job tries to find out what a model was trained on.",
            Self::GuardrailCircumvention => {
                "This job tries to talk a model, or this check, out of its rules."
            }
            Self::Violence => "This job asks for help with hurting people.",
            Self::ExplicitContent => "This job asks for sexual material.",
            Self::SelfHarm => {
                "This job asks for help with self-harm; if you are in danger, please call your local emergency \
                 number or a crisis line."
            }
            Self::Fraud => {
                "This job asks for help with deceiving people or breaking into what belongs to them."
            }
            Self::ProhibitedJobType => "This provider does not do jobs of this kind.",
        }
    }

    /// How grave it is unless the provider says otherwise ([`crate::PolicyConfig::severity`]).
    pub const fn severity(self) -> Severity {
        match self {
            Self::RegulatedHealthcare
            | Self::RegulatedLegal
            | Self::RegulatedFinancial
            | Self::Violence
            | Self::ExplicitContent
            | Self::Fraud => Severity::High,
            Self::AcademicTextbook => Severity::Medium,
            Self::TrainingDataIdentification
            | Self::GuardrailCircumvention
            | Self::SelfHarm
            | Self::ProhibitedJobType => Severity::Low,
        }
    }

    /// Where the policy's text explains it: a fragment of the page on acceptable use.
    pub fn link(self) -> String {
        format!("acceptable-use.md#{}", self.id())
    }
}

impl fmt::Display for Category {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

impl FromStr for Category {
    type Err = UnknownCategory;

    fn from_str(text: &str) -> Result<Self, UnknownCategory> {
        let known = Self::ALL.into_iter().find(|category| category.id() == text);
        known.ok_or_else(|| UnknownCategory(text.chars().take(40).collect()))
    }
}

/// The text is no category id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a category of the policy; take one of the ids that `Category::ALL` lists")]
pub struct UnknownCategory(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_category_is_read_back_from_its_id_and_from_its_json() {
        for category in Category::ALL {
            assert_eq!(category.id().parse(), Ok(category));
            assert_eq!(serde_json::to_string(&category).unwrap(), format!("\"{}\"", category.id()));
            assert!(category.reason().ends_with('.') && !category.display_name().is_empty());
            assert!(category.link().ends_with(category.id()));
        }
        assert!("weather".parse::<Category>().is_err());
    }
}
