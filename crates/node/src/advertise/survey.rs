//! What each relay holds of a provider, fetched like any viewer would and judged by the rules of viewers.

use std::time::Duration;

use openagents_api::{AdState, AdsReport, FaultView, RelayAds, SCHEMA_VERSION};
use openagents_protocol::{
    Verified,
    ad::{self, Listed},
    filters, heartbeat, listing, profile,
};
use openagents_relay::{Backoff, RelayConfig, RelayUrl, query};
use openagents_types::{JobKind, ProviderKey};

use super::Stand;
use crate::clock;

/// How long a relay has to say what it holds, from its name to its last event.
const PATIENCE: Duration = Duration::from_secs(8);

/// How many events of one relay are looked at.
const MOST: usize = 400;

/// What each relay said, or why it said nothing.
pub(crate) type Held = Vec<(RelayUrl, Result<Vec<Verified>, String>)>;

/// Asks every relay of the stand what it holds of the provider.
pub(crate) async fn look(stand: &Stand) -> Held {
    let keys = stand.identity().keys();
    let provider = ProviderKey::from_bytes(keys.public_key().to_bytes());
    let ask = async |url: RelayUrl| {
        let config = RelayConfig {
            auth: Some(keys.clone()),
            // It is dialled once; whoever asks again decides when.
            backoff: Backoff { base: PATIENCE, cap: PATIENCE, penalty: PATIENCE },
            ..RelayConfig::new(url.clone())
        };
        let answer = query(config, filters::about_provider(provider), MOST, PATIENCE).await;
        (url, answer.map_err(|error| error.to_string()))
    };
    futures::future::join_all(stand.relays().into_iter().map(ask)).await
}

/// All events of a kind that were found.
pub(crate) fn of_kind(held: &Held, kind: u16) -> impl Iterator<Item = &Verified> {
    let events = held.iter().filter_map(|(_, answer)| answer.as_ref().ok()).flatten();
    events.filter(move |event| event.event().kind.as_u16() == kind)
}

/// Advertisements by this program of kinds that are not `sold`.
pub(crate) fn stale(held: &Held, sold: impl Fn(JobKind) -> bool) -> Vec<Listed> {
    let ours = of_kind(held, ad::KIND).filter_map(ad::ours);
    let mut stale: Vec<Listed> = ours.filter(|(kind, _)| !sold(*kind)).map(|(_, listed)| listed).collect();
    stale.sort();
    stale.dedup();
    stale
}

/// What viewers see of the stand on each relay.
pub(crate) async fn report(stand: &Stand) -> AdsReport {
    let held = look(stand).await;
    let said = stand.ads();
    let relays: Vec<RelayAds> = held.into_iter().map(|(url, answer)| relay(&url, answer, &said)).collect();
    let shown = |kind: JobKind| {
        relays.iter().flat_map(|relay| &relay.ads).any(|ad| ad.kind == kind && ad.sold && ad.visible)
    };
    AdsReport {
        schema_version: SCHEMA_VERSION,
        npub: stand.identity().npub(),
        visible: !said.is_empty() && said.iter().all(|(kind, _)| shown(*kind)),
        relays,
    }
}

fn relay(url: &RelayUrl, answer: Result<Vec<Verified>, String>, said: &[(JobKind, Verified)]) -> RelayAds {
    let (found, error) = match answer {
        Ok(found) => (found, None),
        Err(error) => (Vec::new(), Some(error)),
    };
    let has = |kind: u16| found.iter().any(|event| event.event().kind.as_u16() == kind);
    let mut ads: Vec<AdState> = said.iter().map(|(kind, event)| state(*kind, event, &found)).collect();
    let ours = found.iter().filter_map(ad::ours).map(|(kind, _)| kind);
    ads.extend(ours.filter(|kind| said.iter().all(|(sold, _)| sold != kind)).map(unsold));
    RelayAds {
        url: url.to_string(),
        error,
        profile: has(profile::PROFILE),
        relay_list: has(profile::RELAY_LIST),
        ads,
    }
}

/// How one advertisement stands on a relay that holds `found`.
fn state(kind: JobKind, said: &Verified, found: &[Verified]) -> AdState {
    let is_it = |event: &&Verified| ad::ours(event).is_some_and(|(named, _)| named == kind);
    let Some(event) = found.iter().find(is_it) else {
        return AdState { kind, sold: true, found: false, visible: false, faults: vec![missing()] };
    };
    let beats: Vec<Verified> =
        found.iter().filter(|event| event.event().kind.as_u16() == heartbeat::KIND).cloned().collect();
    let mut faults: Vec<FaultView> =
        listing::check(event, &beats, clock::now()).into_iter().map(view).collect();
    if event.event().content != said.event().content {
        faults.push(FaultView {
            hides: false,
            what: "it says something else than what is sold now".into(),
            mend: "publish it again: openagents provider ads publish".into(),
        });
    }
    AdState { kind, sold: true, found: true, visible: !faults.iter().any(|fault| fault.hides), faults }
}

fn view(fault: listing::Fault) -> FaultView {
    FaultView { hides: fault.hides, what: fault.what, mend: fault.mend.into() }
}

fn missing() -> FaultView {
    FaultView {
        hides: true,
        what: "the relay does not have it".into(),
        mend: "publish it: openagents provider ads publish; if the relay never keeps it, use another".into(),
    }
}

fn unsold(kind: JobKind) -> AdState {
    let fault = FaultView {
        hides: false,
        what: "it is advertised and not sold here".into(),
        mend: "it is taken back within a minute of the node's next start".into(),
    };
    AdState { kind, sold: false, found: true, visible: true, faults: vec![fault] }
}
