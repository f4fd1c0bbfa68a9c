//! Finding what strangers name by an event id: in our own store, on our own relays, and on the relay
//! that the input names, which is dialled like every other address of a stranger.

use std::{sync::Arc, time::Duration};

use openagents_protocol::{Limits, Verified, accept, filters};
use openagents_relay::{Backoff, Filter, RelayConfig, RelayUrl, query};
use openagents_types::{EventId, JobId, JobInput, ResolvedInput};
use tokio::sync::Semaphore;

use super::{ResolveError, Resolver, sniff};
use crate::{relays::Relays, store::Reader};

/// How long our own relays have to answer.
const OWN_PATIENCE: Duration = Duration::from_secs(4);
/// How long a relay of a stranger has, from its name to its last event.
const HINT_PATIENCE: Duration = Duration::from_secs(8);
/// How many events of one answer are looked at.
const MOST: usize = 64;
/// How many questions our own relays are asked at once: public ones allow few subscriptions.
const AT_ONCE: usize = 8;
/// How many jobs may wait here for the results of earlier ones.
const WAITING: usize = 32;

/// Why an event cannot be an input.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// Not a name of an event.
    #[error("{0:?} is not an event id; write its 64 hexadecimal digits")]
    NotAnId(String),
    /// Nobody who was asked has it.
    #[error("no event {id} was found{on}; name a relay that has it, or send the text itself")]
    NotFound {
        /// The event.
        id: EventId,
        /// What became of the relay that the input names.
        on: Hint,
    },
    /// It was written for somebody else.
    #[error("event {0} is encrypted, and only whom it was written for can read it; send its text itself")]
    Sealed(EventId),
}

/// What became of the relay that an input names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hint {
    /// It names none.
    None,
    /// It was asked, and has nothing.
    Empty,
    /// It did not answer.
    Silent,
    /// It is not dialled.
    Refused(String),
}

impl std::fmt::Display for Hint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => f.write_str(" on this provider's relays"),
            Self::Empty => f.write_str(" on this provider's relays or the one you named"),
            Self::Silent => f.write_str(" on this provider's relays, and the one you named does not answer"),
            Self::Refused(why) => write!(f, " on this provider's relays, and yours is not dialled: {why}"),
        }
    }
}

/// Where events are looked for. Clones share it.
#[derive(Clone, Debug)]
pub struct Events {
    pub(super) relays: Relays,
    store: Option<Arc<Reader>>,
    own: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
    pub(super) waiting: Arc<Semaphore>,
    /// How long the result of an earlier job is waited for.
    pub(super) patience: Duration,
}

impl Events {
    /// Looks into `store`, asks `relays`, and dials at most `strangers` relays of strangers at once.
    pub fn new(relays: Relays, store: Option<Arc<Reader>>, strangers: usize) -> Self {
        let places = |count| Arc::new(Semaphore::new(count));
        Self {
            relays,
            store,
            own: places(AT_ONCE),
            strangers: places(strangers),
            waiting: places(WAITING),
            patience: super::earlier::PATIENCE,
        }
    }

    /// The content of the event that an input names.
    pub(super) async fn content(
        &self,
        resolver: &Resolver,
        input: &JobInput,
    ) -> Result<ResolvedInput, ResolveError> {
        let id: EventId = parse(&input.data)?;
        let (event, on) = self.by_id(resolver, id, input.relay.as_deref()).await;
        readable(&event.ok_or(EventError::NotFound { id, on })?)
    }

    /// The event `id`, and what became of the relay `hint`.
    pub(super) async fn by_id(
        &self,
        resolver: &Resolver,
        id: EventId,
        hint: Option<&str>,
    ) -> (Option<Verified>, Hint) {
        let wanted = filters::for_event(id);
        let stored = self.stored(move |store| store.signed(id).map(Vec::from_iter)).await;
        let is_it = |event: &Verified| event.id() == id;
        if let Some(event) = stored.into_iter().find(is_it) {
            return (Some(event), Hint::None);
        }
        if let Some(event) = self.own(wanted.clone()).await.into_iter().find(is_it) {
            return (Some(event), Hint::None);
        }
        let (found, hint) = self.hinted(resolver, hint, wanted).await;
        (found.into_iter().find(is_it), hint)
    }

    /// What we said about a job.
    pub(super) async fn said_about(&self, job: JobId) -> Vec<Verified> {
        self.stored(move |store| store.signed_about(job)).await
    }

    async fn stored(
        &self,
        read: impl FnOnce(&Reader) -> Result<Vec<String>, crate::store::StoreError> + Send + 'static,
    ) -> Vec<Verified> {
        let Some(store) = self.store.clone() else { return Vec::new() };
        let found = tokio::task::spawn_blocking(move || read(&store)).await;
        let found = found.ok().and_then(|found| {
            found.inspect_err(|error| tracing::warn!(%error, "the store cannot be asked for an input")).ok()
        });
        let found = found.unwrap_or_default();
        found.iter().filter_map(|json| accept(json, &Limits::default()).ok()).collect()
    }

    /// What our own relays have.
    pub(super) async fn own(&self, wanted: Vec<Filter>) -> Vec<Verified> {
        let _place = self.own.acquire().await;
        self.relays.query(&wanted, MOST, OWN_PATIENCE).await
    }

    /// What the relay has that the input names, if it may be dialled.
    pub(super) async fn hinted(
        &self,
        resolver: &Resolver,
        hint: Option<&str>,
        wanted: Vec<Filter>,
    ) -> (Vec<Verified>, Hint) {
        let Some(hint) = hint else { return (Vec::new(), Hint::None) };
        let refused = |why: &str| (Vec::new(), Hint::Refused(why.into()));
        let Ok(url) = RelayUrl::parse_plaintext(hint) else {
            return refused("it is not an address of a relay");
        };
        if self.relays.has(&url) {
            return (Vec::new(), Hint::Empty);
        }
        let gate = match resolver.relay_gate(&url) {
            Ok(gate) => gate,
            Err(ResolveError::Refused(why)) => return refused(&why),
            Err(_) => return refused("it is no address for strangers"),
        };
        let Ok(_place) = self.strangers.try_acquire() else {
            return refused("too many others are dialled now");
        };
        let config = RelayConfig {
            gate: Some(gate),
            most_unsent: 1,
            most_seen: MOST,
            // It is dialled once; whoever asks again decides when.
            backoff: Backoff { base: HINT_PATIENCE, cap: HINT_PATIENCE, penalty: HINT_PATIENCE },
            ..RelayConfig::new(url.clone())
        };
        match query(config, wanted, MOST, HINT_PATIENCE).await {
            Ok(found) => (found, Hint::Empty),
            Err(error) => {
                // The reason could tell a stranger what listens where; it stays here.
                tracing::debug!(%url, %error, "a relay that an input names gave no answer");
                (Vec::new(), Hint::Silent)
            }
        }
    }
}

/// An id as an input writes it.
pub(super) fn parse<T: std::str::FromStr>(text: &str) -> Result<T, EventError> {
    text.trim().parse().map_err(|_| EventError::NotAnId(plain(text, 80)))
}

/// The content of an event, unless it was written for somebody else.
pub(super) fn readable(event: &Verified) -> Result<ResolvedInput, ResolveError> {
    if is_sealed(event) {
        return Err(EventError::Sealed(event.id()).into());
    }
    let bytes = event.event().content.clone().into_bytes();
    Ok(ResolvedInput { mime: sniff(&bytes, ""), source: format!("event {}", event.id()), bytes })
}

pub(super) fn is_sealed(event: &Verified) -> bool {
    event.event().tags.iter().any(|tag| tag.as_slice().first().is_some_and(|name| name == "encrypted"))
}

/// A stranger's words as part of ours.
pub(super) fn plain(text: &str, most: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(most).collect()
}
