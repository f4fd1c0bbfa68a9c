//! Relays that customers name in their requests (NIP-90 `relays`): answers go there too.
//!
//! Strangers chose them, so they are dialled like any other address a stranger names: only where the
//! resolver lets them, only so many at once, and only while there is something to say. Nothing they
//! say is believed, not even that they took an event: whoever names a relay could have events of
//! other jobs confirmed there, and they would not be sent again.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use openagents_protocol::Verified;
use openagents_relay::{RelayActor, RelayConfig, RelayHandle, RelayNews, RelayUrl};
use tokio::{
    sync::mpsc,
    time::{Instant, interval},
};

use crate::{resolve::Resolver, runtime::Tasks};

/// How many relays of one request are looked at: as many as others answer on.
const NAMED: usize = 5;
/// How long a relay is kept after the last word.
const IDLE: Duration = Duration::from_secs(120);
/// How many events wait for one of them.
const UNSENT: usize = 64;
/// How much of their own talk may wait to be thrown away.
const BACKLOG: usize = 256;

/// The relays of strangers. Clones share them.
#[derive(Clone, Debug)]
pub struct Guests(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    most: usize,
    resolver: Resolver,
    tasks: Tasks,
    open: Mutex<HashMap<RelayUrl, Guest>>,
    news: mpsc::Sender<(RelayUrl, RelayNews)>,
}

#[derive(Debug)]
struct Guest {
    handle: RelayHandle,
    used: Instant,
}

impl Guests {
    /// Dials at most `most` relays at once, where `resolver` lets it.
    pub fn new(most: usize, resolver: Resolver, tasks: &Tasks) -> Self {
        let (news, heard) = mpsc::channel(BACKLOG);
        let guests =
            Self(Arc::new(Inner { most, resolver, tasks: tasks.clone(), open: Mutex::default(), news }));
        tasks.spawn_until_stop(guests.clone().attend(heard));
        guests
    }

    /// Sends an event to those of `named` that may be dialled, except `own`, where it goes anyway.
    pub fn publish(&self, event: &Verified, named: &[String], own: &[RelayHandle]) {
        let urls = named.iter().take(NAMED).filter_map(|text| RelayUrl::parse_plaintext(text).ok());
        for url in urls.filter(|url| own.iter().all(|handle| handle.url() != url)) {
            if let Some(handle) = self.handle(&url)
                && let Err(error) = handle.publish(event.clone())
            {
                tracing::debug!(%url, %error, "a customer's relay could not be told something");
            }
        }
    }

    /// The way to a relay, opened if there is room for one more.
    fn handle(&self, url: &RelayUrl) -> Option<RelayHandle> {
        let mut open = self.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(guest) = open.get_mut(url) {
            guest.used = Instant::now();
            return Some(guest.handle.clone());
        }
        if open.len() >= self.0.most {
            tracing::debug!(%url, "too many relays of customers are open; one more is not dialled");
            return None;
        }
        let gate = self.0.resolver.relay_gate(url);
        let gate = gate.inspect_err(|error| tracing::debug!(%url, %error, "a relay is not dialled")).ok()?;
        let config = RelayConfig { gate: Some(gate), most_unsent: UNSENT, ..RelayConfig::new(url.clone()) };
        let (handle, actor) = RelayActor::new(config, self.0.news.clone());
        self.0.tasks.spawn(actor.run(self.0.tasks.stop_token()));
        open.insert(url.clone(), Guest { handle: handle.clone(), used: Instant::now() });
        Some(handle)
    }

    /// Throws away what they say, and leaves those that are no longer spoken to.
    async fn attend(self, mut heard: mpsc::Receiver<(RelayUrl, RelayNews)>) {
        let mut sweep = interval(IDLE / 4);
        loop {
            tokio::select! {
                biased;
                _ = sweep.tick() => self.leave_idle(Instant::now()),
                Some((url, news)) = heard.recv() => self.hear(&url, &news),
            }
        }
    }

    /// A relay that cannot be reached makes room for another at once.
    fn hear(&self, url: &RelayUrl, news: &RelayNews) {
        tracing::trace!(%url, ?news, "a customer's relay says");
        if matches!(news, RelayNews::Disconnected { .. }) {
            self.0.open.lock().unwrap_or_else(PoisonError::into_inner).remove(url);
        }
    }

    /// An actor ends with its last handle.
    fn leave_idle(&self, now: Instant) {
        let mut open = self.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, guest| now.duration_since(guest.used) < IDLE);
    }
}
