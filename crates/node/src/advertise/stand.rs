//! What a provider says of itself: written here once, for the relays and for whoever wants to see it first.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use openagents_engine::{ModelOffer, Offer, ProviderConfig};
use openagents_protocol::{
    Verified,
    ad::{self, Ad, Listed, ModelAd},
    heartbeat::{self, Heartbeat},
    profile::{self, Profile, ZapAddress},
};
use openagents_relay::RelayUrl;
use openagents_types::{EventId, JobKind, Millis, Timestamp};

use super::survey::{self, Held};
use tokio::sync::watch;

use crate::{
    clock, config::Config, driver::DriverHandle, identity::Identity, relays::Relays, stock::Stock,
    zaps::ZapServer,
};

/// See the module. Clones are the same stand.
#[derive(Clone)]
pub(crate) struct Stand(Arc<Inner>);

struct Inner {
    profile: Profile,
    introduces: bool,
    identity: Arc<Identity>,
    provider: ProviderConfig,
    stock: watch::Receiver<Stock>,
    makers: HashMap<JobKind, String>,
    zaps: watch::Receiver<Option<ZapServer>>,
    relays: Relays,
    driver: DriverHandle,
    said: Mutex<Said>,
    beats: AtomicUsize,
    closed: AtomicBool,
}

/// What was said last.
#[derive(Debug, Default)]
struct Said {
    ads: BTreeMap<JobKind, EventId>,
    /// When advertisements were taken back: what is as old counts as taken back too.
    taken_back: Timestamp,
    /// What the newest advertisement is dated, and what profile and relay list are.
    advertised: Timestamp,
    introduced: Timestamp,
}

/// What a stand is made of.
pub(crate) struct Goods {
    pub(crate) identity: Arc<Identity>,
    pub(crate) provider: ProviderConfig,
    /// What is for sale now.
    pub(crate) stock: watch::Receiver<Stock>,
    /// The name of what does the work of each kind.
    pub(crate) makers: HashMap<JobKind, String>,
    /// Where it is zapped, once that is known.
    pub(crate) zaps: watch::Receiver<Option<ZapServer>>,
}

impl Stand {
    pub(crate) fn new(config: &Config, goods: Goods, relays: Relays, driver: DriverHandle) -> Self {
        let Goods { identity, provider, stock, makers, zaps } = goods;
        let said = &config.provider;
        let profile = Profile {
            name: said.name.clone(),
            about: said.about.clone(),
            picture: said.picture.clone(),
            zaps: None,
        };
        let inner = Inner {
            profile,
            introduces: said.profile,
            identity,
            provider,
            stock,
            makers,
            zaps,
            relays,
            driver,
            said: Mutex::default(),
            beats: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
        };
        Self(Arc::new(inner))
    }

    /// The relays that everything is said on.
    pub(crate) fn relays(&self) -> Vec<RelayUrl> {
        self.0.relays.states().into_keys().collect()
    }

    /// The identity that signs.
    pub(crate) fn identity(&self) -> &Identity {
        &self.0.identity
    }

    /// Every advertisement, as it would be signed now.
    pub(crate) fn ads(&self) -> Vec<(JobKind, Verified)> {
        // What is as old as its withdrawal would be withdrawn with it, and of two of one second relays keep either.
        let at = {
            let said = self.said();
            let last = said.taken_back.max(said.advertised);
            clock::now().max(last.after(Millis::from_secs(1)))
        };
        let stock = self.0.stock.borrow();
        let written = stock.shown().filter_map(|offer| {
            let event = ad::encode(&self.ad(offer), self.0.identity.keys(), at)
                .inspect_err(|error| tracing::error!(%error, "an advertisement cannot be written"));
            Some((offer.kind, event.ok()?))
        });
        written.collect()
    }

    fn ad(&self, offer: &Offer) -> Ad {
        let (provider, profile) = (&self.0.provider, &self.0.profile);
        let maker = self.0.makers.get(&offer.kind).cloned().unwrap_or_default();
        Ad {
            kind: offer.kind,
            name: profile.name.clone(),
            about: format!("{} ({maker})", profile.about),
            picture: profile.picture.clone(),
            zaps: self.zaps(),
            base: offer.price.base,
            per_kib: offer.price.per_kib,
            per_1000_output: offer.price.per_1000_output,
            metered: provider.is_metered(),
            per_second: offer.price.per_second,
            max_input_bytes: offer.max_input_bytes,
            timeout: provider.job_timeout,
            slots: provider.slots as u64,
            queue_limit: provider.queue_limit as u64,
            models: offer.models.iter().map(model).collect(),
            backend: maker,
            params: openagents_registry::find(offer.kind)
                .map_or_else(|_| serde_json::json!({}), |schema| schema.nip90_params()),
            relays: self.relays().iter().map(ToString::to_string).collect(),
        }
    }

    fn zaps(&self) -> Option<ZapAddress> {
        self.0.zaps.borrow().as_ref().map(|server| server.address.clone())
    }

    /// Every heartbeat, as it would be signed now. Relays keep the last alone, so that each speaks for all, and each is
    /// dated a second after the one before; whoever goes by the first advertisement named hears a beat for each.
    pub(crate) fn beats(&self) -> Vec<Verified> {
        let stock = self.0.stock.borrow();
        let mut kinds: Vec<&Offer> = stock.shown().collect();
        let turn = self.0.beats.fetch_add(1, Ordering::Relaxed);
        if !kinds.is_empty() {
            let places = turn % kinds.len();
            kinds.rotate_left(places);
        }
        let now = clock::now();
        let age = |index: usize| Millis::from_secs((kinds.len() - 1 - index) as u64);
        let one = |(index, offer): (usize, &&Offer)| {
            let others = kinds.iter().map(|it| it.kind).filter(|kind| *kind != offer.kind).collect();
            heartbeat::encode(&self.heartbeat(offer, others), self.0.identity.keys(), now.before(age(index)))
        };
        kinds.iter().enumerate().map(one).collect()
    }

    fn heartbeat(&self, offer: &Offer, others: Vec<JobKind>) -> Heartbeat {
        let gauges = &self.0.driver.gauges;
        let (queued, running) =
            (gauges.queued.load(Ordering::Relaxed), gauges.running.load(Ordering::Relaxed));
        let slots = self.0.provider.slots.max(1);
        // Whoever comes now waits until those before have had their turn.
        let turns = (queued / slots) as u64 + u64::from(running >= slots) + 1;
        Heartbeat {
            kind: offer.kind,
            others,
            queued,
            free_slots: slots.saturating_sub(running),
            eta: Millis(offer.eta.0.saturating_mul(turns)),
        }
    }

    /// Sends every advertisement to every relay.
    pub(crate) fn advertise(&self) {
        for (kind, event) in self.ads() {
            self.publish_ad(kind, event);
        }
    }

    fn publish_ad(&self, kind: JobKind, event: Verified) {
        let mut said = self.said();
        said.advertised = said.advertised.max(dated(&event));
        said.ads.insert(kind, event.id());
        drop(said);
        self.0.relays.publish(event);
    }

    /// Says what has changed: what can be done again or otherwise than it was said, and what cannot be done now.
    pub(crate) fn restock(&self, before: &Stock) {
        let now = self.0.stock.borrow().clone();
        let gone = before.shown().map(|offer| offer.kind).filter(|kind| !now.shows(*kind));
        let gone: Vec<Listed> = gone.map(|kind| self.listed(kind)).collect();
        self.withdraw(&gone);
        for (kind, event) in self.ads() {
            let same = before.shown().find(|offer| offer.kind == kind)
                == now.shown().find(|offer| offer.kind == kind);
            if !same {
                self.publish_ad(kind, event);
            }
        }
    }

    /// An advertisement, as it is taken back.
    fn listed(&self, kind: JobKind) -> Listed {
        Listed { identifier: kind.to_string(), event: self.said().ads.remove(&kind) }
    }

    /// Says that the node is alive.
    pub(crate) fn beat(&self) {
        self.beats().into_iter().for_each(|event| self.0.relays.publish(event));
    }

    /// Takes all advertisements back for good, unless they were taken back before.
    pub(crate) fn close(&self) {
        if !self.0.closed.swap(true, Ordering::Relaxed) && !self.said().ads.is_empty() {
            self.take_back();
        }
    }

    /// Whether nothing is sold here any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.0.closed.load(Ordering::Relaxed)
    }

    /// Takes all advertisements back.
    pub(crate) fn take_back(&self) {
        let ads: Vec<Listed> = self.0.provider.offers.iter().map(|offer| self.listed(offer.kind)).collect();
        self.withdraw(&ads);
    }

    fn withdraw(&self, ads: &[Listed]) {
        if ads.is_empty() {
            return;
        }
        let now = clock::now().max(self.said().advertised);
        self.said().taken_back = now;
        self.0.relays.publish(ad::encode_deletion(ads, self.0.identity.keys(), now));
    }

    /// Takes back what an earlier run advertised and this one does not sell, and introduces the provider. `false` if
    /// no relay said what it holds.
    pub(crate) async fn tidy(&self) -> bool {
        let held = survey::look(self).await;
        let stale = survey::stale(&held, |kind| self.0.stock.borrow().shows(kind));
        if !stale.is_empty() {
            tracing::info!(
                count = stale.len(),
                "advertisements of kinds that are no longer sold are taken back"
            );
            let now = clock::now();
            self.0.relays.publish(ad::encode_deletion(&stale, self.0.identity.keys(), now));
        }
        if self.0.introduces {
            self.introduce(&held);
        }
        held.iter().any(|(_, answer)| answer.is_ok())
    }

    /// Publishes profile and relay list, unless another program wrote one for this key, or may have: a key from
    /// elsewhere may have one on relays that are not asked here.
    fn introduce(&self, held: &Held) {
        let relays: Vec<String> = self.relays().iter().map(ToString::to_string).collect();
        if !held.iter().any(|(_, answer)| answer.is_ok()) {
            return;
        }
        let profile = Profile { zaps: self.zaps(), ..self.0.profile.clone() };
        // Of two of one second relays keep either.
        let kinds = [profile::PROFILE, profile::RELAY_LIST];
        let last = kinds.iter().flat_map(|kind| survey::of_kind(held, *kind)).map(dated).max();
        let last = last.unwrap_or_default().max(self.said().introduced);
        let (keys, now) = (self.0.identity.keys(), clock::now().max(last.after(Millis::from_secs(1))));
        for event in [profile::encode(&profile, keys, now), profile::encode_relays(&relays, keys, now)] {
            let kind = event.event().kind;
            let found: Vec<&Verified> = survey::of_kind(held, kind.as_u16()).collect();
            let is_ours = if found.is_empty() {
                !self.0.identity.is_imported()
            } else {
                found.iter().all(|event| profile::is_ours(event))
            };
            let said = |earlier: &&Verified| {
                let (earlier, event) = (earlier.event(), event.event());
                earlier.content == event.content && earlier.tags == event.tags
            };
            let everywhere = held.iter().filter(|(_, answer)| answer.is_ok()).count();
            if is_ours && found.iter().filter(|earlier| said(earlier)).count() < everywhere {
                self.said().introduced = now;
                self.0.relays.publish(event);
            }
        }
    }

    fn said(&self) -> std::sync::MutexGuard<'_, Said> {
        self.0.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn dated(event: &Verified) -> Timestamp {
    Timestamp::from_secs(event.event().created_at.as_secs())
}

fn model(model: &ModelOffer) -> ModelAd {
    ModelAd {
        name: model.name.clone(),
        base: model.price.base,
        per_kib: model.price.per_kib,
        per_1000_output: model.price.per_1000_output,
    }
}
