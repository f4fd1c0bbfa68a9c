//! What others ask for the same work: the advertisements on our relays.

use std::time::Duration;

use openagents_api::{AdView, ModelView};
use openagents_protocol::{Keyring, Message, ad::Ad, decode, filters};
use openagents_types::{JobKind, ProviderKey};

use crate::{identity::Identity, relays::Relays};

/// How long relays may take to answer.
const PATIENCE: Duration = Duration::from_secs(4);

/// How many advertisements are read.
const MOST: usize = 500;

/// Text of strangers is cut to this many characters.
const LONGEST: usize = 80;

/// The advertisements of others for these kinds, as far as our relays have them.
pub(crate) async fn ads(relays: &Relays, identity: &Identity, kinds: &[JobKind]) -> Vec<AdView> {
    let found = relays.query(&filters::for_ads(kinds), MOST, PATIENCE).await;
    let own = ProviderKey::from_bytes(identity.keys().public_key().to_bytes());
    let mut ring = Keyring::new(identity.keys().clone());
    let mut ads: Vec<AdView> = found
        .iter()
        .filter_map(|event| {
            let author = ProviderKey::from_bytes(event.event().pubkey.to_bytes());
            match decode(event, &mut ring) {
                Ok(Message::Ad(ad)) if author != own && kinds.contains(&ad.kind) => Some(view(author, &ad)),
                _ => None,
            }
        })
        .collect();
    ads.sort_by_key(|ad| (ad.kind, ad.provider));
    // Of two of one provider for a kind, relays that have not heard of the newer keep the older.
    ads.dedup_by_key(|ad| (ad.kind, ad.provider));
    ads
}

fn view(provider: ProviderKey, ad: &Ad) -> AdView {
    let short = |text: &str| crate::app::clean(text, LONGEST);
    AdView {
        provider,
        kind: ad.kind,
        name: short(&ad.name),
        base_msat: ad.base.get(),
        per_kib_msat: ad.per_kib.get(),
        per_1000_output_msat: ad.per_1000_output.get(),
        per_second_msat: ad.per_second.get(),
        models: ad
            .models
            .iter()
            .map(|model| ModelView {
                name: short(&model.name),
                now_base_msat: None,
                base_msat: model.base.get(),
                per_kib_msat: model.per_kib.get(),
                per_1000_output_msat: model.per_1000_output.get(),
            })
            .collect(),
    }
}
