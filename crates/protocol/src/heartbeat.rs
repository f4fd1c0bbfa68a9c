//! Heartbeats: kind 11998, the sign that a provider is alive now.

use nostr::Keys;
use openagents_types::{JobKind, Millis, ProviderKey, Timestamp};

use crate::{
    Verified,
    message::{created_at, provider},
    tags::{self, make},
};

/// The kind of the event.
pub const KIND: u16 = 11998;

/// How often a provider says that it lives.
pub const HEARTBEAT_EVERY: Millis = Millis::from_secs(300);

/// After this silence clients hide a provider.
pub const STALE_AFTER: Millis = Millis::from_secs(900);

/// What a heartbeat says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// Which advertisement it keeps alive, first of all.
    pub kind: JobKind,
    /// The others of this provider. Relays keep one heartbeat a key (its kind is replaceable), so that each has
    /// to speak for all; some viewers look at the first alone.
    pub others: Vec<JobKind>,
    /// Jobs waiting.
    pub queued: usize,
    /// Slots free.
    pub free_slots: usize,
    /// How long a job takes now.
    pub eta: Millis,
}

/// A heartbeat that was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Whose.
    pub provider: ProviderKey,
    /// When it was written.
    pub at: Timestamp,
    /// Which advertisements it names; none if it speaks for all.
    pub kinds: Vec<JobKind>,
}

/// Writes a heartbeat.
pub fn encode(beat: &Heartbeat, keys: &Keys, now: Timestamp) -> Verified {
    let named = std::iter::once(&beat.kind).chain(&beat.others);
    let mut raw: Vec<_> = named.map(|kind| make([tags::IDENTIFIER, &kind.to_string()])).collect();
    raw.extend([
        make([tags::EXPIRATION, &now.after(STALE_AFTER).secs().to_string()]),
        make([tags::STATUS, "online"]),
        make([tags::QUEUED, &beat.queued.to_string()]),
        make([tags::FREE_SLOTS, &beat.free_slots.to_string()]),
        make([tags::ETA, &beat.eta.0.to_string()]),
    ]);
    Verified::sign(keys, KIND, tags::to_tags(raw), String::new(), now.secs())
}

pub(crate) fn decode(event: &Verified) -> Seen {
    let found = tags::from_tags(event.event().tags.iter());
    let named = tags::all(&found, tags::IDENTIFIER).filter_map(|values| values.first());
    let kinds = named.filter_map(|text| text.parse().ok()).collect();
    Seen { provider: provider(event), at: created_at(event), kinds }
}

/// Whether a provider whose last heartbeat was at `last` still counts as alive.
pub fn is_live(last: Timestamp, now: Timestamp) -> bool {
    // One dated far ahead would count for ever.
    now.since(last) <= STALE_AFTER && last.since(now) <= STALE_AFTER
}
