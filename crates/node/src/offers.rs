//! What this machine can sell: which backend does which kind, and at what price.

use std::{collections::HashMap, path::PathBuf, sync::Arc};

use openagents_backend::{Backend, BuildError, PriceHint};
use openagents_engine::{Offer, bidding::PriceRule};
use openagents_types::{JobKind, Millis};

use crate::{config::Config, moderation::Moderation, runtime::Tasks};

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

/// The backends that stand on a model server.
pub(crate) type Servers = Vec<Arc<dyn Backend>>;

/// The backends for each kind. A model server that does not answer, or a tool that is missing, sells nothing.
///
/// What a backend has to do beside its jobs is done in `tasks`; the model servers among them are given back too.
pub(crate) async fn backends(
    config: &Config,
    logs: PathBuf,
    tasks: &Tasks,
) -> Result<(Table, Servers), OffersError> {
    let mut table = Table::new();
    let mut settings = config.backend.settings();
    settings.place.logs = Some(logs);
    let built = openagents_backend::build_all(&settings).into_iter();
    let built = built.collect::<Result<Vec<_>, _>>().map_err(OffersError::from)?;
    // At once, because a scanner takes its time to load what it knows.
    let healths = futures::future::join_all(built.iter().map(|backend| backend.probe())).await;
    let mut servers = Servers::new();
    for (backend, health) in built.into_iter().zip(healths) {
        let (tended, stop) = (backend.clone(), tasks.stop_token());
        tasks.spawn(async move { tended.tend(stop).await });
        if backend.server().is_some() {
            servers.push(backend.clone());
        }
        if !health.is_ready() && !backend.comes_back() {
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
    Ok((table, servers))
}

/// One offer for each kind that a backend does, at the configured price.
pub(crate) fn offers(config: &Config, backends: &Table) -> Vec<Offer> {
    let mut kinds: Vec<JobKind> = backends.keys().copied().collect();
    kinds.sort_unstable();
    let proposed = |kind| backends.get(&kind).and_then(|all| all.first()?.price(kind));
    kinds.into_iter().map(|kind| offer(config, kind, proposed(kind))).collect()
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
        _ => "backend",
    }
}
