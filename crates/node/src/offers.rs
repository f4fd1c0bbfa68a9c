//! What this machine can sell: which backend does which kind, and at what price.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use openagents_backend::{Backend, BuildError, PriceHint, Rejection};
use openagents_engine::{Offer, bidding::PriceRule};
use openagents_types::{JobKind, Millis};

use crate::{advertise::Maker, config::Config, moderation::Moderation};

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

/// The backends for each kind, in the order in which they are asked whether they read a job's inputs.
pub(crate) type Table = HashMap<JobKind, Vec<Arc<dyn Backend>>>;

/// The backends for each kind, with those of the node's `own`. A model server that does not answer, or a tool that is
/// missing, sells nothing.
pub(crate) async fn backends(config: &Config, own: Vec<Arc<dyn Backend>>) -> Result<Table, OffersError> {
    let mut table = Table::new();
    let built = openagents_backend::build_all(&config.backend.settings()).into_iter();
    let mut built = built.collect::<Result<Vec<_>, _>>().map_err(OffersError::from)?;
    built.extend(own);
    // At once, because a scanner takes its time to load what it knows.
    let healths = futures::future::join_all(built.iter().map(|backend| backend.probe())).await;
    for (backend, health) in built.into_iter().zip(healths) {
        if !health.is_ready() {
            tracing::warn!(
                backend = backend.name(),
                ?health,
                "a backend is not ready; its kinds are not offered"
            );
            continue;
        }
        for kind in backend.kinds() {
            table.entry(kind).or_default().push(backend.clone());
        }
    }
    for kind in Moderation.kinds() {
        table.entry(kind).or_default().push(Arc::new(Moderation));
    }
    Ok(table)
}

/// What does the work of each kind, for advertisements.
pub(crate) fn makers(backends: &Table) -> HashMap<JobKind, Maker> {
    let maker = |kind: JobKind, all: &[Arc<dyn Backend>]| {
        let mut models: Vec<String> = all.iter().flat_map(|backend| backend.model_names(kind)).collect();
        let mut seen = HashSet::new();
        models.retain(|model| !is_path(model) && seen.insert(model.clone()));
        Maker { word: backend_word(kind).into(), models }
    };
    backends.iter().map(|(kind, all)| (*kind, maker(*kind, all))).collect()
}

/// Whether a server calls a model by where it lies, which strangers need not know.
fn is_path(model: &str) -> bool {
    model.starts_with(['/', '\\', '~']) || model.get(1..3) == Some(":\\")
}

/// One offer for each kind that a backend does, at the configured price.
pub(crate) fn offers(config: &Config, backends: &Table) -> Vec<Offer> {
    let mut kinds: Vec<JobKind> = backends.keys().copied().collect();
    kinds.sort_unstable();
    let of = |kind| backends.get(&kind).map_or(&[][..], Vec::as_slice);
    let proposed = |kind| of(kind).first()?.price(kind);
    let with_limit = |kind| {
        let mut offer = offer(config, kind, proposed(kind));
        offer.max_input_bytes = offer.max_input_bytes.min(largest(kind, of(kind)));
        offer
    };
    kinds.into_iter().map(with_limit).collect()
}

/// The largest input that any of these backends takes.
fn largest(kind: JobKind, backends: &[Arc<dyn Backend>]) -> u64 {
    let most = |backend: &Arc<dyn Backend>| match backend.check(kind, &[], u64::MAX) {
        Err(Rejection::TooLarge { most, .. }) => most,
        // It has another objection to a job without parameters, or none.
        _ => u64::MAX,
    };
    backends.iter().map(most).max().unwrap_or(u64::MAX)
}

fn offer(config: &Config, kind: JobKind, proposed: Option<PriceHint>) -> Offer {
    let provider = &config.provider;
    let price = if provider.free {
        PriceRule::FREE
    } else {
        provider.price(kind, proposed.map(|it| (it.base_msat, it.per_kib_msat)))
    };
    let usual = if kind == JobKind::TEXT_GENERATION { Millis(10_000) } else { Millis(1_000) };
    let eta = proposed.map_or(usual, |it| Millis::from_secs(it.eta_s.max(1)));
    Offer { kind, price, max_input_bytes: provider.max_input_bytes, eta }
}

/// What does a kind's work, for pages.
pub(crate) fn backend_word(kind: JobKind) -> &'static str {
    match kind {
        JobKind::TEXT_EXTRACTION => "text extraction",
        JobKind::SUMMARIZATION => "extractive summary (LexRank)",
        JobKind::TEXT_GENERATION => "model server",
        JobKind::TEXT_TO_SPEECH | JobKind::VIDEO_CONVERSION | JobKind::MALWARE_SCANNING => {
            "the operator's tool"
        }
        JobKind::CONTENT_MODERATION => "rules of the policy",
        _ => match kind.get() {
            5302 | 5303 => "search of the provider's relays",
            5400 => "count on the provider's relays",
            5905 => "scheduled publishing",
            5970 => "proof of work",
            6500..=6599 => "model server with a template",
            _ => "backend",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_not_advertised_by_where_it_lies() {
        assert!(
            ["/home/ann/m.gguf", "~/m.gguf", r"C:\models\m.gguf", r"\\nas\m"]
                .iter()
                .all(|model| is_path(model))
        );
        assert!(!["qwen3:4b", "org/model", "m.gguf", "é"].iter().any(|model| is_path(model)));
    }
}
