//! What this machine can sell: which backend does which kind, and at what price.

use std::{collections::HashMap, sync::Arc};

use openagents_backend::{Backend, BuildError, PriceHint};
use openagents_engine::{ModelOffer, Offer, bidding::PriceRule};
use openagents_types::{JobKind, Millis};

use crate::{
    config::{Config, Proposed},
    moderation::Moderation,
    router::Gauge,
};

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

/// A backend, and the name by which the operator tells it from others.
#[derive(Clone)]
pub(crate) struct Seat {
    /// Its name, with a number if there are several of it: `openai`, `openai-2`.
    pub(crate) label: Arc<str>,
    /// Itself.
    pub(crate) backend: Arc<dyn Backend>,
    /// What it is doing.
    pub(crate) gauge: Arc<Gauge>,
}

/// The backends for each kind, in the order of the settings.
pub(crate) type Table = HashMap<JobKind, Vec<Seat>>;

/// The backends for each kind. A model server that does not answer, or a tool that is missing, sells nothing.
pub(crate) async fn backends(config: &Config) -> Result<Table, OffersError> {
    let mut table = Table::new();
    let built = openagents_backend::build_all(&config.backend.settings()).into_iter();
    let built = built.collect::<Result<Vec<_>, _>>().map_err(OffersError::from)?;
    let built = seats(built, config);
    // At once, because a scanner takes its time to load what it knows.
    let healths = futures::future::join_all(built.iter().map(|seat| seat.backend.probe())).await;
    for (seat, health) in built.into_iter().zip(healths) {
        if !health.is_ready() {
            tracing::warn!(
                backend = &*seat.label,
                ?health,
                "a backend is not ready; its kinds are not offered"
            );
            continue;
        }
        for kind in seat.backend.kinds() {
            table.entry(kind).or_default().push(seat.clone());
        }
    }
    Ok(table)
}

/// Names the backends, and leaves out what is switched off.
fn seats(built: Vec<Arc<dyn Backend>>, config: &Config) -> Vec<Seat> {
    let mut counts: HashMap<String, usize> = HashMap::new();
    let mut seats = Vec::new();
    for backend in built.into_iter().chain([Arc::new(Moderation) as Arc<dyn Backend>]) {
        let count = counts.entry(backend.name().to_owned()).or_default();
        *count += 1;
        let label = match *count {
            1 => backend.name().to_owned(),
            n => format!("{}-{n}", backend.name()),
        };
        if !config.router.is_off(&label) {
            seats.push(Seat { label: label.into(), backend, gauge: Arc::default() });
        }
    }
    seats
}

/// The names of the backends for each kind, in the order of the settings.
pub(crate) type Labels = HashMap<JobKind, Vec<String>>;

/// See [`Labels`].
pub(crate) fn labels(backends: &Table) -> Labels {
    let names = |seats: &[Seat]| seats.iter().map(|seat| seat.label.to_string()).collect();
    backends.iter().map(|(kind, seats)| (*kind, names(seats))).collect()
}

/// One offer for each kind that a backend does, at the configured price.
pub(crate) fn offers(config: &Config, backends: &Table) -> Vec<Offer> {
    let mut kinds: Vec<JobKind> = backends.keys().copied().collect();
    kinds.sort_unstable();
    let models = |kind| backends.get(&kind).map_or_else(Vec::new, |all| models(all, kind));
    let proposed = |kind| backends.get(&kind).and_then(|all| all.first()?.backend.price(kind));
    kinds.into_iter().map(|kind| offer(config, kind, proposed(kind), &models(kind))).collect()
}

/// The names of all models for a kind, each once.
fn models(seats: &[Seat], kind: JobKind) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for model in seats.iter().flat_map(|seat| seat.backend.models(kind)) {
        if !names.contains(&model.name) {
            names.push(model.name);
        }
    }
    names
}

fn offer(config: &Config, kind: JobKind, proposed: Option<PriceHint>, models: &[String]) -> Offer {
    let provider = &config.provider;
    let hint = proposed.map(|it| Proposed {
        base_msat: it.base_msat,
        per_kib_msat: it.per_kib_msat,
        per_second_msat: it.per_second_msat,
    });
    let price = |model: Option<&str>| {
        if provider.free { PriceRule::FREE } else { provider.price(kind, model, hint) }
    };
    let usual = if kind == JobKind::TEXT_GENERATION { Millis(10_000) } else { Millis(1_000) };
    let eta = proposed.map_or(usual, |it| Millis::from_secs(it.eta_s.max(1)));
    let models = models.iter().map(|name| ModelOffer { name: name.clone(), price: price(Some(name)) });
    let models = models.collect();
    Offer { kind, price: price(None), models, max_input_bytes: provider.max_input_bytes, eta }
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
