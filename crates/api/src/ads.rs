//! What a provider says of itself on relays, and what viewers there see of it.

use openagents_types::JobKind;
use serde::{Deserialize, Serialize};

/// What would be published now.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AdsView {
    /// The version of this shape.
    pub schema_version: u32,
    /// Where it would be published.
    pub relays: Vec<String>,
    /// The events (NIP-01), without their signatures: advertisements, then heartbeats.
    pub events: Vec<serde_json::Value>,
}

/// What viewers see of the provider.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AdsReport {
    /// The version of this shape.
    pub schema_version: u32,
    /// The provider's key (NIP-19).
    pub npub: String,
    /// Whether every kind that is sold is seen on at least one relay.
    pub visible: bool,
    /// Each relay.
    pub relays: Vec<RelayAds>,
}

/// What viewers of one relay see.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RelayAds {
    /// The relay.
    pub url: String,
    /// Why it could not be asked, if it could not.
    pub error: Option<String>,
    /// Whether it has a profile of the provider's key (kind 0).
    pub profile: bool,
    /// Whether it has a relay list of the provider's key (kind 10002).
    pub relay_list: bool,
    /// Each advertisement.
    pub ads: Vec<AdState>,
}

/// How one advertisement stands on one relay.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AdState {
    /// Its kind of jobs.
    pub kind: JobKind,
    /// Whether the kind is sold now.
    pub sold: bool,
    /// Whether the relay has it.
    pub found: bool,
    /// Whether viewers show it.
    pub visible: bool,
    /// What is wrong with it.
    pub faults: Vec<FaultView>,
}

/// Something wrong with an advertisement.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FaultView {
    /// Whether nobody sees it because of this.
    pub hides: bool,
    /// What is wrong.
    pub what: String,
    /// How to mend it.
    pub mend: String,
}
