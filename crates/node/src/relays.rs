//! All relays of a node as one: say something everywhere, follow jobs everywhere, hear everything.

mod question;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use nostr::PublicKey;
use openagents_protocol::{Verified, filters};
use openagents_relay::{Filter, HandleError, RelayHandle, RelayNews, RelayUrl, SubId};
use openagents_types::{JobId, JobKind, ProviderKey, Timestamp};
use tokio::sync::mpsc;

use crate::{
    driver::{Command, DriverHandle},
    guests::Guests,
};
use question::Questions;

/// The subscription a provider hears requests on.
const REQUESTS: &str = "requests";

/// The subscription it hears receipts of zaps on.
const ZAPS: &str = "zaps";

/// How a relay stands, for pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayState {
    /// Whether events pass.
    pub connected: bool,
    /// `connected`, `connecting`, or why not.
    pub word: String,
}

/// The node's relays. Clones speak to the same ones.
#[derive(Clone, Debug)]
pub struct Relays(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    handles: Vec<RelayHandle>,
    guests: Option<Guests>,
    states: Mutex<BTreeMap<RelayUrl, RelayState>>,
    driver: OnceLock<DriverHandle>,
    questions: Questions,
}

impl Relays {
    /// A node that talks to `handles`, and answers on the relays that customers name through `guests`.
    pub fn new(handles: Vec<RelayHandle>, guests: Option<Guests>) -> Self {
        let connecting = || RelayState { connected: false, word: "connecting".into() };
        let states = handles.iter().map(|handle| (handle.url().clone(), connecting())).collect();
        Self(Arc::new(Inner {
            handles,
            guests,
            states: Mutex::new(states),
            driver: OnceLock::new(),
            questions: Questions::default(),
        }))
    }

    /// Whom to tell what is heard. Called once, before [`Self::listen`].
    pub fn attach(&self, driver: DriverHandle) {
        let _ = self.0.driver.set(driver);
    }

    /// Sends an event to every relay. What a full queue does not take is still in the outbox, and
    /// is sent again when the relay has caught up.
    pub fn publish(&self, event: Verified) {
        if let [only] = self.0.handles.as_slice() {
            return note(only, only.publish(event));
        }
        for handle in &self.0.handles {
            note(handle, handle.publish(event.clone()));
        }
    }

    /// Waits until all that was said is written to the relays that are connected, for at most `patience`.
    pub async fn written(&self, patience: Duration) {
        let waits = || {
            let states = self.states();
            let connected = |url: &RelayUrl| states.get(url).is_some_and(|state| state.connected);
            self.0.handles.iter().any(|handle| connected(handle.url()) && !handle.is_written())
        };
        let written = async {
            while waits() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        // Whoever is slow hears of it by the expiry of what was said.
        let _ = tokio::time::timeout(patience, written).await;
    }

    /// Sends an answer to every relay of ours and to those that its customer named.
    pub fn answer(&self, event: Verified, named: &[String]) {
        if let Some(guests) = &self.0.guests {
            guests.publish(&event, named, &self.0.handles);
        }
        self.publish(event);
    }

    /// Whether answers also go to relays that customers name.
    pub fn answers_guests(&self) -> bool {
        self.0.guests.is_some()
    }

    /// Hears requests for these kinds, what their customers say afterwards, and requests for other kinds that name us.
    pub fn sell(&self, kinds: &[JobKind], provider: ProviderKey, since: Timestamp) {
        let known = openagents_registry::all().iter().map(|schema| schema.kind);
        let others: Vec<JobKind> = known.filter(|kind| !kinds.contains(kind)).collect();
        let mut wanted = filters::for_provider(kinds, provider, since);
        wanted.push(filters::for_addressed(&others, provider, since));
        for handle in &self.0.handles {
            note(handle, handle.subscribe(SubId::named(REQUESTS), wanted.clone()));
        }
    }

    /// Hears receipts of zaps by the one that signs ours.
    pub fn hear_zaps(&self, provider: ProviderKey, server: &PublicKey, since: Timestamp) {
        let wanted = filters::for_zaps(provider, *server, since);
        for handle in &self.0.handles {
            note(handle, handle.subscribe(SubId::named(ZAPS), wanted.clone()));
        }
    }

    /// Hears none any more.
    pub fn hear_no_zaps(&self) {
        for handle in &self.0.handles {
            note(handle, handle.close(SubId::named(ZAPS)));
        }
    }

    /// Hears answers to a job.
    pub fn follow(&self, job: JobId, kind: JobKind) {
        let wanted = filters::for_customer(job, kind);
        for handle in &self.0.handles {
            note(handle, handle.subscribe(SubId::from(job), wanted.clone()));
        }
    }

    /// Hears no more answers to a job.
    pub fn unfollow(&self, job: JobId) {
        for handle in &self.0.handles {
            note(handle, handle.close(SubId::from(job)));
        }
    }

    /// What `filters` find on our relays: at most `most` events, each once, as far as they answer within
    /// `patience`. A relay that is not connected is not waited for, unless none is.
    pub async fn query(&self, filters: &[Filter], most: usize, patience: Duration) -> Vec<Verified> {
        self.0.questions.ask(self.connected(), filters).collect(most, patience).await
    }

    /// Our relays that are connected, or all if none is.
    pub(crate) fn connected(&self) -> Vec<RelayHandle> {
        let states = self.states();
        let connected = |handle: &&RelayHandle| states.get(handle.url()).is_some_and(|state| state.connected);
        let some: Vec<RelayHandle> = self.0.handles.iter().filter(connected).cloned().collect();
        if some.is_empty() { self.0.handles.clone() } else { some }
    }

    /// What one of our relays gives for a filter with a limit; `None` if it does not come to an end within `patience`.
    pub(crate) async fn page(
        &self,
        relay: &RelayHandle,
        filter: Filter,
        patience: Duration,
    ) -> Option<Vec<Verified>> {
        self.0.questions.ask(vec![relay.clone()], &[filter]).whole(patience).await
    }

    /// Whether this relay is one of ours.
    pub fn has(&self, url: &RelayUrl) -> bool {
        self.0.handles.iter().any(|handle| handle.url() == url)
    }

    /// How every relay stands.
    pub fn states(&self) -> BTreeMap<RelayUrl, RelayState> {
        self.0.states.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_state(&self, url: RelayUrl, connected: bool, word: String) {
        let mut states = self.0.states.lock().unwrap_or_else(PoisonError::into_inner);
        states.insert(url, RelayState { connected, word });
    }

    /// Passes on what the relays say until they are gone.
    pub async fn listen(self, mut news: mpsc::Receiver<(RelayUrl, RelayNews)>) {
        while let Some((url, news)) = news.recv().await {
            self.hear(url, news).await;
        }
    }

    /// Passes one piece of news on.
    pub async fn hear(&self, url: RelayUrl, news: RelayNews) {
        let Some(news) = self.0.questions.hear(&url, news) else { return };
        let Some(driver) = self.0.driver.get() else { return };
        match news {
            RelayNews::Event(_, event) => driver.tell(Command::Wire(event)).await,
            RelayNews::Ok { event, accepted: true, .. } => driver.tell(Command::Sent(event)).await,
            RelayNews::Ok { event, accepted: false, message } => {
                tracing::warn!(%url, %event, %message, "a relay refused an event of ours");
            }
            RelayNews::Connected => {
                self.set_state(url, true, "connected".into());
                driver.tell(Command::Resend).await;
            }
            RelayNews::Disconnected { reason, retry_in, attempt } => {
                tracing::info!(%url, %reason, ?retry_in, attempt, "a relay is gone");
                self.set_state(url, false, reason);
            }
            RelayNews::Lagged => driver.tell(Command::Relisten).await,
            RelayNews::Closed { sub, reason } => {
                tracing::info!(%url, %sub, %reason, "a subscription was closed")
            }
            RelayNews::Notice(text) => tracing::info!(%url, %text, "a relay says"),
            RelayNews::Stored(_) => {}
        }
    }
}

fn note(handle: &RelayHandle, outcome: Result<(), HandleError>) {
    match outcome {
        Ok(()) => {}
        // The node is stopping; what is unsaid is in the outbox.
        Err(error @ HandleError::Stopped) => {
            tracing::debug!(url = %handle.url(), %error, "a relay was not told")
        }
        Err(error @ HandleError::Full) => {
            tracing::warn!(url = %handle.url(), %error, "a relay could not be told something yet");
        }
    }
}
