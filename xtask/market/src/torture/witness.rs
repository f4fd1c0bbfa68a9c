//! A stranger on the relay that remembers every result it ever saw, and who gave it.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Context;
use openagents_relay::{Filter, RelayActor, RelayConfig, RelayNews, RelayUrl, SubId};
use openagents_types::EventId;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// The results of the two kinds of work under torture (NIP-90: the request's kind plus 1,000).
const RESULTS: [u16; 2] = [6000, 6001];

/// Which events answered a job: per author and request.
type Seen = HashMap<(String, String), HashSet<EventId>>;

/// Listens from the moment it is made.
#[derive(Debug)]
pub(super) struct Witness {
    seen: Arc<Mutex<Seen>>,
    stop: CancellationToken,
}

impl Witness {
    /// Listens on the relay at `url`.
    pub(super) fn listen(url: &str) -> anyhow::Result<Self> {
        let (news, mut heard) = mpsc::channel(1_024);
        let (handle, actor) = RelayActor::new(RelayConfig::new(RelayUrl::parse(url)?), news);
        let filter = Filter::new().kinds(RESULTS.map(nostr::Kind::from));
        handle.subscribe(SubId::named("witness"), vec![filter]).context("the first subscription")?;
        let stop = CancellationToken::new();
        tokio::spawn(actor.run(stop.clone()));
        let seen = Arc::new(Mutex::new(Seen::new()));
        let book = Arc::clone(&seen);
        tokio::spawn(async move {
            let _open = handle;
            while let Some((_, news)) = heard.recv().await {
                let RelayNews::Event(_, event) = news else { continue };
                let raw = event.event();
                let job = raw.tags.event_ids().next().map(ToString::to_string).unwrap_or_default();
                let mut book = book.lock().unwrap_or_else(PoisonError::into_inner);
                book.entry((raw.pubkey.to_string(), job)).or_default().insert(event.id());
            }
        });
        Ok(Self { seen, stop })
    }

    /// How many jobs were answered, and those that one provider answered more than once.
    pub(super) fn report(&self) -> (usize, Vec<String>) {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let twice = seen.iter().filter(|(_, events)| events.len() > 1);
        (seen.len(), twice.map(|((_, job), _)| job.clone()).collect())
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
