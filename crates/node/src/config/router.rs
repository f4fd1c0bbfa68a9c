//! `[router]`: which backend does a job that several could do.

use openagents_types::JobKind;
use serde::{Deserialize, Serialize};

/// Which backend does a job that several could do. Backends are named as `openagents provider status` names them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RouterSettings {
    /// Backends that do nothing, such as `extractive`.
    pub off: Vec<String>,
    /// The order of kinds, where it matters: `[[router.chain]]` with `kind` and `backends`, the first choice first.
    pub chain: Vec<Chain>,
    /// The model of a backend for jobs of a kind that name none: `[[router.model]]` with `kind`, `backend`, `model`.
    pub model: Vec<UsualModel>,
}

/// The order of backends for a kind; those not named come last.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chain {
    /// The kind.
    pub kind: JobKind,
    /// The first choice first.
    pub backends: Vec<String>,
}

/// A backend's model for jobs of a kind that name none.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UsualModel {
    /// The kind.
    pub kind: JobKind,
    /// The backend.
    pub backend: String,
    /// Its model.
    pub model: String,
}

impl RouterSettings {
    /// Whether a backend is switched off.
    pub fn is_off(&self, backend: &str) -> bool {
        self.off.iter().any(|off| off == backend)
    }

    /// A backend's place in the order of a kind; `None` if nothing is said of it.
    pub fn place(&self, kind: JobKind, backend: &str) -> Option<usize> {
        let chain = self.chain.iter().find(|chain| chain.kind == kind)?;
        chain.backends.iter().position(|named| named == backend)
    }

    /// The model that a backend uses for jobs of a kind that name none, if that is said.
    pub fn usual_model(&self, kind: JobKind, backend: &str) -> Option<&str> {
        let rule = self.model.iter().find(|rule| rule.kind == kind && rule.backend == backend)?;
        Some(&rule.model)
    }
}
