//! What others ask for a kind of jobs, from their advertisements.

use std::{collections::HashMap, time::Duration};

use openagents_protocol::{Keyring, Message, Verified, ad, decode, filters};
use openagents_relay::{RelayConfig, RelayUrl, query};
use openagents_types::{JobKind, Msat};

/// How long relays have to answer: nobody waits longer for a proposal.
const PATIENCE: Duration = Duration::from_secs(4);

/// How many advertisements of one relay are looked at.
const MOST: usize = 200;

/// From how many providers on a market has a usual price.
const FEWEST: usize = 3;

/// The median of what other providers ask for a job, and how many they are; `None` where too few name a price.
pub(super) async fn median(relays: &[String], kind: JobKind) -> Option<(Msat, usize)> {
    let urls = relays.iter().filter_map(|relay| RelayUrl::parse(relay).ok());
    let asked =
        urls.map(|url| query(RelayConfig::new(url), filters::advertised(&[kind], MOST), MOST, PATIENCE));
    let answers = futures::future::join_all(asked).await;
    middle(&answers.into_iter().flatten().flatten().collect::<Vec<_>>(), kind)
}

/// One price a provider, its latest.
fn middle(events: &[Verified], kind: JobKind) -> Option<(Msat, usize)> {
    let mut ring = Keyring::new(nostr::Keys::generate());
    let mut latest: HashMap<_, (u64, Msat)> = HashMap::new();
    for event in events.iter().filter(|event| ad::names_a_price(event)) {
        let Ok(Message::Ad(ad)) = decode(event, &mut ring) else { continue };
        let at = event.event().created_at.as_secs();
        let newer = latest.get(&event.event().pubkey).is_none_or(|(before, _)| *before < at);
        // Nobody lives on nothing: free offers say little about what work is worth.
        if ad.kind == kind && newer && !ad.base.is_zero() {
            latest.insert(event.event().pubkey, (at, ad.base));
        }
    }
    let mut prices: Vec<Msat> = latest.into_values().map(|(_, price)| price).collect();
    prices.sort_unstable();
    (prices.len() >= FEWEST).then(|| (prices[prices.len() / 2], prices.len()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]
    use nostr::{Keys, Tag};

    use super::*;

    fn asks(keys: &Keys, amount: &str, at: u64) -> Verified {
        let tags = [["d", "x"], ["k", "5050"]].map(|parts| Tag::parse(parts).unwrap());
        let content = format!(r#"{{"name":"n","amount":"{amount}"}}"#);
        Verified::sign(keys, ad::KIND, tags.into(), content, at)
    }

    #[test]
    fn the_usual_price_is_the_middle_one_of_each_providers_latest() {
        let keys: Vec<Keys> = (0..4).map(|_| Keys::generate()).collect();
        let kind = JobKind::TEXT_GENERATION;
        let mut events = vec![asks(&keys[0], "9", 1), asks(&keys[0], "2", 2), asks(&keys[1], "5", 1)];
        assert_eq!(middle(&events, kind), None, "two are no market");
        events.extend([asks(&keys[2], "free", 1), asks(&keys[2], "flexible", 2)]);
        assert_eq!(middle(&events, kind), None, "who names no price does not count");
        events.push(asks(&keys[3], "100", 1));
        assert_eq!(middle(&events, kind), Some((Msat::new(5_000), 3)));
        assert_eq!(middle(&events, JobKind::SUMMARIZATION), None);
    }
}
