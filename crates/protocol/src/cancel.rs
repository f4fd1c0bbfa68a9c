//! Cancellation: a deletion (NIP-09, kind 5) that names the request.

use nostr::Keys;
use openagents_types::{Cancel, JobId, ProviderKey, Timestamp};

use crate::{
    Verified,
    message::customer,
    tags::{self, make},
};

const KIND: u16 = 5;

pub(crate) fn encode(
    job: JobId,
    provider: Option<ProviderKey>,
    reason: &str,
    keys: &Keys,
    now: Timestamp,
) -> Verified {
    let mut raw = vec![make([tags::EVENT, &job.to_hex()])];
    raw.extend(provider.map(|provider| make([tags::KEY, &provider.to_hex()])));
    Verified::sign(keys, KIND, tags::to_tags(raw), reason.to_owned(), now.secs())
}

pub(crate) fn decode(event: &Verified) -> Vec<Cancel> {
    let found = tags::from_tags(event.event().tags.iter());
    let providers: Vec<ProviderKey> =
        tags::all(&found, tags::KEY).filter_map(|values| values.first()?.parse().ok()).collect();
    let by = customer(event);
    tags::all(&found, tags::EVENT)
        .filter_map(|values| values.first()?.parse().ok())
        .map(|job| Cancel { job, by, providers: providers.clone() })
        .collect()
}
