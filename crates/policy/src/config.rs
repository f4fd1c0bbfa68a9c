//! What a provider decides about the policy: its level, its mode, its kinds, what it consents to.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    Category, Level, Severity,
    kinds::{HARMLESS, KindClass, is_prohibited_name},
};

/// Who decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The rules alone.
    #[default]
    Rules,
    /// The judge reads every job; the rules decide if it fails.
    Llm,
    /// The judge reads the jobs about which the rules are unsure.
    Hybrid,
}

/// A provider's settings. Everything has a default; the default is the strict one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyConfig {
    /// How strictly violations are read.
    pub level: Level,
    /// Who decides.
    pub mode: Mode,
    /// Who is asked, where the mode asks a judge: the name of a model or the address of its server, as the caller knows
    /// them. Empty leaves the choice to the caller.
    pub judge: String,
    /// How long the judge may take over one job, in seconds; after that the rules decide.
    pub judge_timeout_s: u64,
    /// The only kinds to do; `None` is every kind. A kind on this list is checked like any other.
    pub allow_kinds: Option<BTreeSet<u16>>,
    /// Kinds never to do; stronger than `allow_kinds`.
    pub block_kinds: BTreeSet<u16>,
    /// Categories the provider takes on knowingly: what would be denied for them is flagged instead.
    /// [`Category::ProhibitedJobType`] cannot be consented to.
    pub consent: BTreeSet<Category>,
    /// Severities that differ from [`Category::severity`], such as `self_harm = "high"`.
    pub severity: BTreeMap<Category, Severity>,
}

impl Default for PolicyConfig {
    fn default() -> Self {
        Self {
            level: Level::default(),
            mode: Mode::default(),
            judge: String::new(),
            // A small model on a good processor reads one window in that time, and a customer waits so long for a price.
            judge_timeout_s: 10,
            allow_kinds: None,
            block_kinds: BTreeSet::new(),
            consent: BTreeSet::new(),
            severity: BTreeMap::new(),
        }
    }
}

impl PolicyConfig {
    /// How a kind stands before anybody has read the job. `name` is what the kind is called, if that is known.
    pub fn class(&self, kind: u16, name: Option<&str>) -> KindClass {
        let unlisted = self.allow_kinds.as_ref().is_some_and(|allowed| !allowed.contains(&kind));
        if unlisted || self.block_kinds.contains(&kind) || name.is_some_and(is_prohibited_name) {
            KindClass::Prohibited
        } else if HARMLESS.contains(&kind) || self.allow_kinds.is_some() {
            KindClass::Allowed
        } else {
            KindClass::NeedsReview
        }
    }

    /// How grave a category is for this provider.
    pub fn severity_of(&self, category: Category) -> Severity {
        self.severity.get(&category).copied().unwrap_or(category.severity())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_is_strict_and_what_is_misspelt_is_refused() {
        let read = |text: &str| serde_json::from_str::<PolicyConfig>(text);
        assert_eq!(read("{}").unwrap().level, Level::Strict);
        assert_eq!(read(r#"{"mode":"hybrid","consent":["fraud"]}"#).unwrap().mode, Mode::Hybrid);
        assert!(read(r#"{"levle":"permissive"}"#).is_err());
        assert!(read(r#"{"consent":["weather"]}"#).is_err());
    }

    #[test]
    fn a_blocked_kind_is_prohibited_even_where_it_is_allowed() {
        let config = PolicyConfig {
            allow_kinds: Some([5001, 5050].into()),
            block_kinds: [5050].into(),
            ..Default::default()
        };
        assert_eq!(config.class(5001, None), KindClass::Allowed);
        assert_eq!(config.class(5050, None), KindClass::Prohibited);
        assert_eq!(config.class(5002, None), KindClass::Prohibited);
        assert_eq!(config.class(5001, Some("legal-advice")), KindClass::Prohibited);
        assert_eq!(PolicyConfig::default().class(5050, None), KindClass::NeedsReview);
    }
}
