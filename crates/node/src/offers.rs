//! What this machine can sell: which backend does which kind, and at what price.

use std::{collections::HashMap, sync::Arc};

use openagents_backend::{Backend, BuildError};
use openagents_engine::{Offer, bidding::PriceRule};
use openagents_types::{JobKind, Millis};

use crate::{config::Config, moderation::Moderation};

/// A backend cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("backend {name} cannot be used: {reason}; correct it in config.toml or remove it")]
pub struct OffersError {
    /// Which.
    name: String,
    /// Why.
    reason: String,
}

impl From<BuildError> for OffersError {
    fn from(error: BuildError) -> Self {
        Self { name: error.name, reason: error.reason }
    }
}

/// The backend for each kind. A model server that does not answer sells nothing.
pub(crate) async fn backends(config: &Config) -> Result<HashMap<JobKind, Arc<dyn Backend>>, OffersError> {
    let mut table: HashMap<JobKind, Arc<dyn Backend>> = HashMap::new();
    for built in openagents_backend::build_all(&config.backend.settings()) {
        let backend = built.map_err(OffersError::from)?;
        let health = backend.probe().await;
        if !health.is_ready() {
            tracing::warn!(
                backend = backend.name(),
                ?health,
                "a backend is not ready; its kinds are not offered"
            );
            continue;
        }
        for kind in backend.kinds() {
            table.entry(kind).or_insert_with(|| backend.clone());
        }
    }
    for kind in Moderation.kinds() {
        table.entry(kind).or_insert_with(|| Arc::new(Moderation));
    }
    Ok(table)
}

/// One offer for each kind that a backend does, at the configured price.
pub(crate) fn offers(config: &Config, backends: &HashMap<JobKind, Arc<dyn Backend>>) -> Vec<Offer> {
    let mut kinds: Vec<JobKind> = backends.keys().copied().collect();
    kinds.sort_unstable();
    kinds.into_iter().map(|kind| offer(config, kind)).collect()
}

fn offer(config: &Config, kind: JobKind) -> Offer {
    let provider = &config.provider;
    let price = if provider.free { PriceRule::FREE } else { provider.price(kind) };
    let eta = if kind == JobKind::TEXT_GENERATION { Millis(10_000) } else { Millis(1_000) };
    Offer { kind, price, max_input_bytes: provider.max_input_bytes, eta }
}

/// What does a kind's work, for pages.
pub(crate) fn backend_word(kind: JobKind) -> &'static str {
    match kind {
        JobKind::TEXT_EXTRACTION => "text extraction",
        JobKind::SUMMARIZATION => "extractive summary (LexRank)",
        JobKind::TEXT_GENERATION => "model server",
        JobKind::CONTENT_MODERATION => "rules of the policy",
        _ => "backend",
    }
}
