//! The embedded relay's heart: one store, all subscriptions, and who is told of a new event.
//!
//! Everything happens under one lock that is held for microseconds and never across an await;
//! signatures are checked before, frames are written after. Sockets are left to `server`.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use nostr::Filter;
use openagents_protocol::ingress::{Limits, Verified};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    HandleError, RelayHandle, RelayNews, RelayUrl, SubId,
    matching::{Key, Keys, matches},
    store::Store,
};

/// How an embedded relay behaves. `Default` suits one machine or a local network.
#[derive(Clone, Debug)]
pub struct HubConfig {
    /// Name in the NIP-11 document.
    pub name: String,
    /// What events may look like; checked with the signature.
    pub limits: Limits,
    /// Most events kept; the oldest leave.
    pub most_events: usize,
    /// Most bytes of events kept, roughly.
    pub most_bytes: usize,
    /// Most events that one REQ is answered with.
    pub most_stored: usize,
    /// Most subscriptions of one connection. A customer has one per live job.
    pub most_subs: usize,
    /// Most filters of one subscription.
    pub most_filters: usize,
    /// Most socket connections at a time.
    pub most_connections: usize,
    /// Live events that may wait for one slow reader before it is disconnected.
    pub backlog: usize,
    /// Messages a connection may send; `None` for benches.
    pub rate: Option<Rate>,
    /// How far ahead of our clock an event may be dated.
    pub most_ahead: Duration,
    /// Whether a client must prove a key (NIP-42) before it may read or write.
    pub require_auth: bool,
    /// Silence after which a client is pinged, and after three times dropped.
    pub ping_every: Duration,
}

impl Default for HubConfig {
    fn default() -> Self {
        Self {
            name: "OpenAgents Compute".into(),
            limits: Limits::default(),
            most_events: 50_000,
            most_bytes: 128 << 20,
            most_stored: 5_000,
            most_subs: 20_000,
            most_filters: 32,
            most_connections: 1024,
            backlog: 1024,
            rate: Some(Rate { per_second: 5_000, burst: 20_000 }),
            most_ahead: Duration::from_secs(15 * 60),
            require_auth: false,
            ping_every: Duration::from_secs(30),
        }
    }
}

/// A token bucket: `burst` messages at once, `per_second` on average.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Messages per second in the long run.
    pub per_second: u32,
    /// Messages at once.
    pub burst: u32,
}

/// What became of a published event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Kept and passed on.
    Stored,
    /// Ephemeral: passed on, not kept.
    Passed,
    /// Known already.
    Duplicate,
    /// A newer event stands in its place.
    Superseded,
    /// Not taken, with the reason as NIP-01 words it.
    Refused(&'static str),
}

impl Verdict {
    /// Whether the publisher is told that all is well.
    pub fn accepted(self) -> bool {
        !matches!(self, Self::Refused(_))
    }

    /// What the publisher is told.
    pub fn message(self) -> &'static str {
        match self {
            Self::Stored | Self::Passed => "",
            Self::Duplicate => "duplicate: already have this event",
            Self::Superseded => "duplicate: a newer event stands in its place",
            Self::Refused(reason) => reason,
        }
    }

    fn is_new(self) -> bool {
        matches!(self, Self::Stored | Self::Passed)
    }
}

/// How full an embedded relay is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HubStats {
    /// Events kept.
    pub events: usize,
    /// Bytes they take, roughly.
    pub bytes: usize,
    /// Clients, sockets and local ones together.
    pub clients: usize,
    /// Live subscriptions.
    pub subscriptions: usize,
    /// Clients disconnected because they did not read.
    pub slow_readers_dropped: u64,
}

/// Names one client of the hub for as long as it is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ClientId(u64);

/// An embedded relay. Clones are the same relay.
#[derive(Clone, Debug)]
pub struct Hub {
    config: Arc<HubConfig>,
    state: Arc<Mutex<State>>,
}

impl Hub {
    /// An empty relay.
    pub fn new(config: HubConfig) -> Self {
        let store = Store::new(config.most_events, config.most_bytes);
        Self { config: Arc::new(config), state: Arc::new(Mutex::new(State::new(store))) }
    }

    /// How it behaves.
    pub fn config(&self) -> &HubConfig {
        &self.config
    }

    /// Takes in an event, keeps it and tells whoever asked for it. Does not wait for them.
    pub fn publish(&self, event: &Verified) -> Verdict {
        let now = unix_now();
        if event.event().created_at.as_secs() > now.saturating_add(self.config.most_ahead.as_secs()) {
            return Verdict::Refused("invalid: the event is dated too far ahead");
        }
        let mut state = self.lock();
        let verdict = state.store.insert(event, now);
        if verdict.is_new() {
            state.pass_on(event);
        }
        verdict
    }

    /// Attaches a client in this process. `capacity` is how much news may wait for it; stored
    /// events of one subscription count once.
    pub fn attach(&self, url: RelayUrl, capacity: usize) -> LocalClient {
        // One place is kept back for saying that the rest was full.
        let (queue, news) = mpsc::channel(capacity.max(2));
        let last_place = queue.clone().try_reserve_owned().ok();
        let _ = queue.try_send(LocalItem::News(RelayNews::Connected));
        let client = self.lock().attach(Outlet::Local { queue, last_place });
        let handle = RelayHandle::local(url.clone(), self.clone(), client);
        LocalClient { hub: self.clone(), client, url, handle, news, stored: None }
    }

    /// Events that match any of `filters`, as a REQ would be answered.
    pub fn query(&self, filters: &[Filter]) -> Vec<Verified> {
        self.lock().query(filters, self.config.most_stored)
    }

    /// How full it is.
    pub fn stats(&self) -> HubStats {
        let state = self.lock();
        HubStats {
            events: state.store.len(),
            bytes: state.store.bytes(),
            clients: state.clients.len(),
            subscriptions: state.subs.len(),
            slow_readers_dropped: state.slow_readers_dropped,
        }
    }

    /// The relay's description of itself (NIP-11), to be served as `application/nostr+json`.
    pub fn information(&self) -> serde_json::Value {
        let config = &self.config;
        json!({
            "name": config.name,
            "description": "An embedded relay for development and local networks; events are kept in memory.",
            "software": "openagents",
            "version": env!("CARGO_PKG_VERSION"),
            "supported_nips": [1, 9, 11, 40, 42, 45],
            "limitation": {
                "max_message_length": crate::server::LARGEST_FRAME,
                "max_subscriptions": config.most_subs,
                "max_filters": config.most_filters,
                "max_limit": config.most_stored,
                "max_event_tags": config.limits.tags,
                "max_content_length": config.limits.event_bytes,
                "auth_required": config.require_auth,
                "payment_required": false,
                "created_at_upper_limit": config.most_ahead.as_secs(),
            }
        })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole between any two calls that could panic, so a poisoned lock is usable.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A local client publishes; the answer goes to its queue.
    pub(crate) fn publish_from(&self, client: ClientId, event: &Verified) -> Result<(), HandleError> {
        if !self.lock().clients.contains_key(&client) {
            return Err(HandleError::Stopped);
        }
        let verdict = self.publish(event);
        let answer = RelayNews::Ok {
            event: event.id(),
            accepted: verdict.accepted(),
            message: verdict.message().to_owned(),
        };
        self.lock().tell(client, LocalItem::News(answer));
        Ok(())
    }

    /// A local client subscribes; stored events go to its queue.
    pub(crate) fn subscribe_from(
        &self,
        client: ClientId,
        sub: SubId,
        filters: Vec<Filter>,
    ) -> Result<(), HandleError> {
        let mut state = self.lock();
        if !state.clients.contains_key(&client) {
            return Err(HandleError::Stopped);
        }
        let stored = state.query(&filters, self.config.most_stored);
        state.subscribe(client, &sub, filters);
        state.tell(client, LocalItem::Stored(sub, stored));
        Ok(())
    }

    /// A local client ends a subscription.
    pub(crate) fn close_from(&self, client: ClientId, sub: &SubId) -> Result<(), HandleError> {
        let mut state = self.lock();
        if !state.clients.contains_key(&client) {
            return Err(HandleError::Stopped);
        }
        state.unsubscribe(client, sub);
        Ok(())
    }
}

/// Seconds since the epoch.
pub(crate) fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A live event on its way to a socket.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) sub: SubId,
    pub(crate) event: Verified,
}

/// What waits in a local client's queue.
#[derive(Debug)]
pub(crate) enum LocalItem {
    News(RelayNews),
    Stored(SubId, Vec<Verified>),
}

/// Where a client's news goes. No send ever waits.
#[derive(Debug)]
pub(crate) enum Outlet {
    Socket { queue: mpsc::Sender<Live>, kick: CancellationToken },
    Local { queue: mpsc::Sender<LocalItem>, last_place: Option<mpsc::OwnedPermit<LocalItem>> },
}

#[derive(Debug)]
struct Client {
    outlet: Outlet,
    subs: HashMap<SubId, SubKey>,
}

/// Names a subscription inside the hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct SubKey(u64);

#[derive(Debug)]
struct Sub {
    client: ClientId,
    id: SubId,
    filters: Vec<Filter>,
    keys: Vec<Key>,
}

/// What the lock guards.
#[derive(Debug)]
pub(crate) struct State {
    store: Store,
    clients: HashMap<ClientId, Client>,
    subs: HashMap<SubKey, Sub>,
    index: HashMap<Key, Vec<SubKey>>,
    keys: Keys,
    next: u64,
    slow_readers_dropped: u64,
}

impl State {
    fn new(store: Store) -> Self {
        Self {
            store,
            clients: HashMap::new(),
            subs: HashMap::new(),
            index: HashMap::new(),
            keys: Keys::default(),
            next: 0,
            slow_readers_dropped: 0,
        }
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// How many clients there are.
    pub(crate) fn clients(&self) -> usize {
        self.clients.len()
    }

    pub(crate) fn attach(&mut self, outlet: Outlet) -> ClientId {
        let id = ClientId(self.number());
        self.clients.insert(id, Client { outlet, subs: HashMap::new() });
        id
    }

    pub(crate) fn detach(&mut self, client: ClientId) {
        let Some(gone) = self.clients.remove(&client) else { return };
        for key in gone.subs.into_values() {
            self.forget(key);
        }
    }

    /// How many subscriptions a client has beside `sub`.
    pub(crate) fn other_subs(&self, client: ClientId, sub: &SubId) -> usize {
        self.clients
            .get(&client)
            .map_or(0, |client| client.subs.len() - usize::from(client.subs.contains_key(sub)))
    }

    pub(crate) fn query(&self, filters: &[Filter], most: usize) -> Vec<Verified> {
        let now = unix_now();
        if let [filter] = filters {
            return self.store.query(filter, now, most);
        }
        let mut seen = std::collections::HashSet::new();
        let all = filters.iter().flat_map(|filter| self.store.query(filter, now, most));
        all.filter(|event| seen.insert(event.id())).take(most).collect()
    }

    /// Makes or replaces a subscription.
    pub(crate) fn subscribe(&mut self, client: ClientId, id: &SubId, filters: Vec<Filter>) {
        self.unsubscribe(client, id);
        let key = SubKey(self.number());
        let Some(owner) = self.clients.get_mut(&client) else { return };
        owner.subs.insert(id.clone(), key);
        let keys = keys_of(&self.keys, &filters);
        for at in &keys {
            self.index.entry(*at).or_default().push(key);
        }
        self.subs.insert(key, Sub { client, id: id.clone(), filters, keys });
    }

    /// Ends a subscription, if there is one of that name.
    pub(crate) fn unsubscribe(&mut self, client: ClientId, id: &SubId) {
        let key = self.clients.get_mut(&client).and_then(|client| client.subs.remove(id));
        if let Some(key) = key {
            self.forget(key);
        }
    }

    fn forget(&mut self, key: SubKey) {
        let Some(sub) = self.subs.remove(&key) else { return };
        for at in sub.keys {
            let Some(line) = self.index.get_mut(&at) else { continue };
            // Keys of subscriptions only grow, so a line is sorted.
            if let Ok(place) = line.binary_search(&key) {
                line.remove(place);
            }
            if line.is_empty() {
                self.index.remove(&at);
            }
        }
    }

    /// Tells every client with a subscription that means `event`, once per subscription.
    fn pass_on(&mut self, event: &Verified) {
        let inner = event.event();
        let own = [Keys::ANY, self.keys.id(inner.id.as_bytes())];
        let keys = self.keys.of_event(inner).into_iter().chain(own);
        let mut hits: Vec<SubKey> = keys.filter_map(|key| self.index.get(&key)).flatten().copied().collect();
        hits.sort_unstable();
        hits.dedup();
        for hit in hits {
            let Some(sub) = self.subs.get(&hit) else { continue };
            if sub.filters.iter().any(|filter| matches(filter, inner)) {
                let (client, live) = (sub.client, Live { sub: sub.id.clone(), event: event.clone() });
                self.send_live(client, live);
            }
        }
    }

    fn send_live(&mut self, client: ClientId, live: Live) {
        match self.clients.get_mut(&client).map(|client| &mut client.outlet) {
            Some(Outlet::Socket { kick, .. }) if kick.is_cancelled() => {}
            Some(Outlet::Socket { queue, kick }) => {
                let fits = queue.try_send(live).is_ok();
                if !fits {
                    kick.cancel();
                }
                self.slow_readers_dropped += u64::from(!fits);
            }
            Some(Outlet::Local { .. }) => {
                self.tell(client, LocalItem::News(RelayNews::Event(live.sub, live.event)));
            }
            None => {}
        }
    }

    /// Puts an item into a local client's queue, or says that it did not fit.
    ///
    /// After an overflow the kept place is taken back before anything else is sent, so whatever
    /// is left out, a [`RelayNews::Lagged`] that was not yet read stands in the queue.
    fn tell(&mut self, client: ClientId, item: LocalItem) {
        let Some(Client { outlet: Outlet::Local { queue, last_place }, .. }) = self.clients.get_mut(&client)
        else {
            return;
        };
        if last_place.is_none() {
            *last_place = queue.clone().try_reserve_owned().ok();
        }
        if last_place.is_some()
            && queue.try_send(item).is_err()
            && let Some(place) = last_place.take()
        {
            place.send(LocalItem::News(RelayNews::Lagged));
        }
    }
}

/// The keys that reach a subscription: for each filter, its most telling field.
fn keys_of(keys: &Keys, filters: &[Filter]) -> Vec<Key> {
    let mut all: Vec<Key> = filters
        .iter()
        .flat_map(|filter| keys.of_filter(filter).into_iter().next().unwrap_or_else(|| vec![Keys::ANY]))
        .collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// A client of an embedded relay in the same process: events come as they are, neither verified
/// nor parsed again. Dropping it ends its subscriptions.
#[derive(Debug)]
pub struct LocalClient {
    hub: Hub,
    client: ClientId,
    url: RelayUrl,
    handle: RelayHandle,
    news: mpsc::Receiver<LocalItem>,
    stored: Option<(SubId, std::vec::IntoIter<Verified>)>,
}

impl LocalClient {
    /// How to talk to the relay; the same type as for a remote one.
    pub fn handle(&self) -> RelayHandle {
        self.handle.clone()
    }

    /// The next piece of news, in the form in which remote relays give theirs. Safe to cancel.
    pub async fn recv(&mut self) -> Option<(RelayUrl, RelayNews)> {
        loop {
            if let Some(news) = self.next_stored() {
                return Some((self.url.clone(), news));
            }
            match self.news.recv().await? {
                LocalItem::News(news) => return Some((self.url.clone(), news)),
                LocalItem::Stored(sub, events) => self.stored = Some((sub, events.into_iter())),
            }
        }
    }

    /// The next piece of news if there is one already.
    pub fn try_recv(&mut self) -> Option<(RelayUrl, RelayNews)> {
        loop {
            if let Some(news) = self.next_stored() {
                return Some((self.url.clone(), news));
            }
            match self.news.try_recv().ok()? {
                LocalItem::News(news) => return Some((self.url.clone(), news)),
                LocalItem::Stored(sub, events) => self.stored = Some((sub, events.into_iter())),
            }
        }
    }

    fn next_stored(&mut self) -> Option<RelayNews> {
        let (sub, mut events) = self.stored.take()?;
        let Some(event) = events.next() else { return Some(RelayNews::Stored(sub)) };
        self.stored = Some((sub.clone(), events));
        Some(RelayNews::Event(sub, event))
    }
}

impl Drop for LocalClient {
    fn drop(&mut self) {
        self.hub.lock().detach(self.client);
    }
}
