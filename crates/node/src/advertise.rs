//! Being found: one advertisement a kind (NIP-89), renewed every day and taken back at a clean stop,
//! and a heartbeat that says the node is alive now.

use std::{sync::Arc, time::Duration};

use openagents_engine::{ModelOffer, Offer, ProviderConfig, Shift};
use openagents_protocol::{ad, heartbeat};
use openagents_types::{Millis, Timestamp};
use tokio::{sync::watch, time::interval};
use tokio_util::sync::CancellationToken;

use crate::{clock, config::Config, driver::DriverHandle, identity::Identity, offers, relays::Relays};

/// Advertisements older than some weeks are hidden by viewers; a day leaves room for failures.
const RENEW_EVERY: Duration = Duration::from_secs(24 * 3_600);

/// See the module.
pub(crate) struct Advertiser {
    name: String,
    about: String,
    relays_tag: Vec<String>,
    identity: Arc<Identity>,
    provider: ProviderConfig,
    relays: Relays,
    driver: DriverHandle,
    shift: watch::Receiver<Shift>,
    /// When advertisements were last taken back.
    taken_back: Option<Timestamp>,
}

impl Advertiser {
    pub(crate) fn new(
        config: &Config,
        identity: Arc<Identity>,
        provider: ProviderConfig,
        relays: Relays,
        driver: DriverHandle,
        shift: watch::Receiver<Shift>,
    ) -> Self {
        Self {
            name: config.provider.name.clone(),
            about: config.provider.about.clone(),
            relays_tag: relays.states().keys().map(ToString::to_string).collect(),
            identity,
            provider,
            relays,
            driver,
            shift,
            taken_back: None,
        }
    }

    /// Advertises while the provider works, and takes the advertisements back when it does not.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        if !self.is_open() {
            // It may have died before it took them back.
            self.take_back();
        }
        let mut renew = interval(RENEW_EVERY);
        let mut beat = interval(heartbeat::HEARTBEAT_EVERY.duration());
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Ok(()) = self.shift.changed() => {
                    if self.is_open() {
                        self.advertise();
                        self.beat();
                    } else {
                        self.take_back();
                    }
                }
                _ = renew.tick() => if self.is_open() { self.advertise() },
                _ = beat.tick() => if self.is_open() { self.beat() },
            }
        }
        if self.is_open() {
            self.take_back();
        }
    }

    fn is_open(&self) -> bool {
        *self.shift.borrow() == Shift::Open
    }

    fn advertise(&self) {
        // A deletion covers what is dated in the same second as itself.
        let after = self.taken_back.map_or(clock::now(), |at| at.after(Millis::from_secs(1)));
        let now = clock::now().max(after);
        for offer in &self.provider.offers {
            let ad = ad::Ad {
                kind: offer.kind,
                name: self.name.clone(),
                about: format!("{} ({})", self.about, offers::backend_word(offer.kind)),
                base: offer.price.base,
                per_kib: offer.price.per_kib,
                per_1000_output: offer.price.per_1000_output,
                per_second: offer.price.per_second,
                models: offer.models.iter().map(model).collect(),
                max_input_bytes: offer.max_input_bytes,
                timeout: self.provider.job_timeout,
                params: params(offer),
                relays: self.relays_tag.clone(),
            };
            match ad::encode(&ad, self.identity.keys(), now) {
                Ok(event) => self.relays.publish(event),
                Err(error) => tracing::error!(%error, "an advertisement cannot be written"),
            }
        }
    }

    fn beat(&self) {
        use std::sync::atomic::Ordering::Relaxed;
        let (queued, running) =
            (self.driver.gauges.queued.load(Relaxed), self.driver.gauges.running.load(Relaxed));
        for offer in &self.provider.offers {
            let beat = heartbeat::Heartbeat {
                kind: offer.kind,
                queued,
                free_slots: self.provider.slots.saturating_sub(running),
                eta: offer.eta,
            };
            self.relays.publish(heartbeat::encode(&beat, self.identity.keys(), clock::now()));
        }
    }

    fn take_back(&mut self) {
        let now = clock::now();
        self.taken_back = Some(now);
        let kinds: Vec<_> = self.provider.offers.iter().map(|offer| offer.kind).collect();
        self.relays.publish(ad::encode_deletion(&kinds, self.identity.keys(), now));
    }
}

fn model(model: &ModelOffer) -> ad::ModelAd {
    ad::ModelAd {
        name: model.name.clone(),
        base: model.price.base,
        per_kib: model.price.per_kib,
        per_1000_output: model.price.per_1000_output,
    }
}

/// The parameters of a kind, as NIP-90 providers list them; the values of `model` are the models there are.
fn params(offer: &Offer) -> serde_json::Value {
    let schema = openagents_registry::find(offer.kind);
    let mut params = schema.map_or_else(|_| serde_json::json!({}), |schema| schema.nip90_params());
    let models: Vec<&str> = offer.models.iter().map(|model| model.name.as_str()).collect();
    if let Some(param) = params.get_mut("model") {
        param["values"] = models.into();
    }
    params
}
