//! What must survive a connection: what is subscribed, what was not answered, what was seen.
//! Plain data; the clock and the socket are left to `session`.

use std::{
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    time::Duration,
};

use nostr::Filter;
use openagents_protocol::ingress::Verified;
use openagents_types::EventId;
use tokio::time::Instant;

use super::{Backoff, RelayConfig};
use crate::{
    SubId, frame,
    handle::{Command, Unsent},
    matching::matches,
};

/// Events that were sent and not answered which are kept for the next connection. Some relays never
/// answer; then the oldest are forgotten here and remain in the node's own outbox.
const MOST_UNANSWERED: usize = 1024;

/// Where a subscription stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// To be asked for at this time.
    Due(Instant),
    /// Asked for on this connection.
    Open,
    /// Refused until we authenticate.
    AwaitsAuth,
}

#[derive(Debug)]
struct Subscription {
    filters: Vec<Filter>,
    /// Tells a subscription from an earlier one of the same name.
    generation: u64,
    stage: Stage,
    /// How often in a row the relay ended it.
    closed: u32,
    /// Whether everything stored has come, on this connection.
    caught_up: bool,
    /// Up to when (seconds) everything is known to have come, on earlier connections.
    known_until: Option<u64>,
}

/// What the relay said to something we sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Mine {
    /// It is about an event of ours.
    Yes,
    /// We never sent that.
    No,
}

/// See the module's own words.
#[derive(Debug)]
pub(super) struct Book {
    subs: HashMap<SubId, Subscription>,
    due: BTreeSet<(Instant, SubId)>,
    closes: VecDeque<SubId>,
    unsent: VecDeque<Verified>,
    unanswered: VecDeque<Verified>,
    awaits_auth: VecDeque<Verified>,
    /// Shared with the handles, which refuse when it is full.
    room: Unsent,
    seen: Seen,
    backoff: Backoff,
    overlap: Duration,
    generations: u64,
}

impl Book {
    pub(super) fn new(config: &RelayConfig, room: Unsent) -> Self {
        Self {
            subs: HashMap::new(),
            due: BTreeSet::new(),
            closes: VecDeque::new(),
            unsent: VecDeque::new(),
            unanswered: VecDeque::new(),
            awaits_auth: VecDeque::new(),
            room,
            seen: Seen::new(config.most_seen),
            backoff: config.backoff,
            overlap: config.overlap,
            generations: 0,
        }
    }

    /// Takes in a call of the node.
    pub(super) fn note(&mut self, command: Command) {
        match command {
            Command::Publish(event) => self.unsent.push_back(event),
            Command::Subscribe(sub, filters) => self.subscribe(sub, filters),
            Command::Close(sub) => self.close(&sub),
        }
    }

    fn subscribe(&mut self, sub: SubId, filters: Vec<Filter>) {
        self.forget_due(&sub);
        self.generations += 1;
        let now = Instant::now();
        let new = Subscription {
            filters,
            generation: self.generations,
            stage: Stage::Due(now),
            closed: 0,
            caught_up: false,
            known_until: None,
        };
        // A CLOSE that still waits would end the new subscription.
        self.closes.retain(|closing| *closing != sub);
        self.due.insert((now, sub.clone()));
        self.subs.insert(sub, new);
    }

    fn close(&mut self, sub: &SubId) {
        self.forget_due(sub);
        if self.subs.remove(sub).is_some_and(|gone| gone.stage == Stage::Open) {
            self.closes.push_back(sub.clone());
        }
    }

    fn forget_due(&mut self, sub: &SubId) {
        if let Some(Subscription { stage: Stage::Due(at), .. }) = self.subs.get(sub) {
            self.due.remove(&(*at, sub.clone()));
        }
    }

    fn set_due(&mut self, sub: &SubId, at: Instant) {
        self.forget_due(sub);
        if let Some(subscription) = self.subs.get_mut(sub) {
            subscription.stage = Stage::Due(at);
            self.due.insert((at, sub.clone()));
        }
    }

    /// The next frame to send at `now`, if there is one: endings, then subscriptions, then events.
    pub(super) fn next_frame(&mut self, now: Instant) -> Option<String> {
        if let Some(sub) = self.closes.pop_front() {
            return Some(frame::words("CLOSE", &[sub.as_str()]));
        }
        if let Some(sub) = self.take_due(now) {
            return self.request(&sub);
        }
        let event = self.unsent.pop_front()?;
        self.room.give_back();
        let frame = frame::carrying("EVENT", event.json());
        self.unanswered.push_back(event);
        if self.unanswered.len() > MOST_UNANSWERED {
            self.unanswered.pop_front();
        }
        Some(frame)
    }

    /// Whether [`Self::next_frame`] would give one.
    pub(super) fn has_frame(&self, now: Instant) -> bool {
        !self.closes.is_empty() || !self.unsent.is_empty() || self.next_due().is_some_and(|at| at <= now)
    }

    /// When the next subscription is to be asked for.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    fn take_due(&mut self, now: Instant) -> Option<SubId> {
        let due = self.next_due().is_some_and(|at| at <= now);
        due.then(|| self.due.pop_first()).flatten().map(|(_, sub)| sub)
    }

    fn request(&mut self, sub: &SubId) -> Option<String> {
        let overlap = self.overlap.as_secs();
        let subscription = self.subs.get_mut(sub)?;
        subscription.stage = Stage::Open;
        subscription.caught_up = false;
        let known = subscription.known_until.map(|until| until.saturating_sub(overlap));
        let filters: Vec<Filter> = subscription.filters.iter().map(|filter| resumed(filter, known)).collect();
        Some(frame::req(sub, &filters))
    }

    /// The subscription the relay means, if it is open on this connection.
    pub(super) fn open(&self, sub: &str) -> Option<SubId> {
        let (id, subscription) = self.subs.get_key_value(sub)?;
        (subscription.stage == Stage::Open).then(|| id.clone())
    }

    /// Whether this event already came for this subscription.
    pub(super) fn has_seen(&self, sub: &SubId, id: EventId) -> bool {
        self.subs.get(sub).is_some_and(|subscription| self.seen.has(subscription.generation, id))
    }

    /// Takes note of a verified event for an open subscription; `false` if it was not asked for.
    pub(super) fn takes(&mut self, sub: &SubId, event: &Verified) -> bool {
        let Some(subscription) = self.subs.get(sub) else { return false };
        let wanted = subscription.filters.iter().any(|filter| matches(filter, event.event()));
        if wanted {
            self.seen.add(subscription.generation, event.id());
        }
        wanted
    }

    /// Everything stored has come; `false` if that was said before.
    pub(super) fn caught_up(&mut self, sub: &SubId) -> bool {
        let Some(subscription) = self.subs.get_mut(sub) else { return false };
        subscription.closed = 0;
        !std::mem::replace(&mut subscription.caught_up, true)
    }

    /// The relay ended a subscription at `now`, `heard` being the time (seconds) of its last sign of
    /// life. It is asked for again, after authentication if `until_auth`, else ever more slowly.
    pub(super) fn closed(&mut self, sub: &SubId, now: Instant, heard: u64, until_auth: bool) {
        let backoff = self.backoff;
        let Some(subscription) = self.subs.get_mut(sub) else { return };
        subscription.remember(heard);
        subscription.closed = subscription.closed.saturating_add(1);
        if until_auth {
            subscription.stage = Stage::AwaitsAuth;
        } else {
            let at = now + backoff.wait(subscription.closed - 1);
            self.set_due(sub, at);
        }
    }

    /// Takes the answer to a sent event off the list.
    pub(super) fn answered(&mut self, id: EventId) -> Mine {
        self.take_unanswered(id).map_or(Mine::No, |_| Mine::Yes)
    }

    /// Keeps an event that was refused until we authenticate.
    pub(super) fn refused_until_auth(&mut self, id: EventId) -> Mine {
        let Some(event) = self.take_unanswered(id) else { return Mine::No };
        self.awaits_auth.push_back(event);
        if self.awaits_auth.len() > MOST_UNANSWERED {
            self.awaits_auth.pop_front();
        }
        Mine::Yes
    }

    fn take_unanswered(&mut self, id: EventId) -> Option<Verified> {
        let at = self.unanswered.iter().position(|event| event.id() == id)?;
        self.unanswered.remove(at)
    }

    /// We are authenticated: sends again what was refused for that.
    pub(super) fn authenticated(&mut self, now: Instant) {
        self.resend_refused();
        for sub in self.names_at(Stage::AwaitsAuth) {
            self.set_due(&sub, now);
        }
    }

    /// Authentication failed: gives the events that were refused for want of it, and asks again for
    /// the subscriptions only slowly.
    pub(super) fn not_authenticated(&mut self, now: Instant) -> Vec<EventId> {
        for sub in self.names_at(Stage::AwaitsAuth) {
            self.set_due(&sub, now + self.backoff.wait(u32::MAX));
        }
        self.awaits_auth.drain(..).map(|event| event.id()).collect()
    }

    fn names_at(&self, stage: Stage) -> Vec<SubId> {
        self.subs.iter().filter(|(_, sub)| sub.stage == stage).map(|(id, _)| id.clone()).collect()
    }

    fn resend_refused(&mut self) {
        while let Some(event) = self.awaits_auth.pop_back() {
            self.send_again(event);
        }
    }

    /// Puts an event before all that was not sent yet.
    fn send_again(&mut self, event: Verified) {
        self.room.take_again();
        self.unsent.push_front(event);
    }

    /// The time (seconds) up to which open subscriptions have everything, told once per connection
    /// before [`Self::disconnected`].
    pub(super) fn heard_until(&mut self, heard: u64) {
        for subscription in self.subs.values_mut() {
            subscription.remember(heard);
        }
    }

    /// The connection is gone: everything unanswered is to be sent again, every subscription made
    /// again.
    pub(super) fn disconnected(&mut self) {
        self.closes.clear();
        self.resend_refused();
        while let Some(event) = self.unanswered.pop_back() {
            self.send_again(event);
        }
        let now = Instant::now();
        self.due.clear();
        for (id, subscription) in &mut self.subs {
            subscription.stage = Stage::Due(now);
            subscription.caught_up = false;
            self.due.insert((now, id.clone()));
        }
    }
}

impl Subscription {
    /// Notes that everything up to `heard` has come, if it has.
    fn remember(&mut self, heard: u64) {
        if std::mem::take(&mut self.caught_up) {
            self.known_until = Some(heard);
        }
    }
}

/// `filter` for asking again, when everything before `known` (seconds) has come. The limit goes: it was
/// meant for the first time, and would now cut a gap short.
fn resumed(filter: &Filter, known: Option<u64>) -> Filter {
    let Some(known) = known else { return filter.clone() };
    let since = filter.since.map_or(known, |since| since.as_secs().max(known));
    filter.clone().since(since.into()).remove_limit()
}

/// The last (subscription, event) pairs that came.
#[derive(Debug)]
struct Seen {
    set: HashSet<(u64, EventId)>,
    order: VecDeque<(u64, EventId)>,
    most: usize,
}

impl Seen {
    fn new(most: usize) -> Self {
        Self { set: HashSet::new(), order: VecDeque::new(), most: most.max(1) }
    }

    fn has(&self, generation: u64, id: EventId) -> bool {
        self.set.contains(&(generation, id))
    }

    fn add(&mut self, generation: u64, id: EventId) {
        if !self.set.insert((generation, id)) {
            return;
        }
        self.order.push_back((generation, id));
        if self.order.len() > self.most
            && let Some(oldest) = self.order.pop_front()
        {
            self.set.remove(&oldest);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use nostr::Kind;

    use super::*;
    use crate::RelayUrl;

    fn book() -> Book {
        let config = RelayConfig::new(RelayUrl::parse("wss://relay.example").unwrap());
        Book::new(&config, Unsent::new(10))
    }

    fn jobs() -> (SubId, Filter) {
        (SubId::named("jobs"), Filter::new().kind(Kind::from_u16(5050)).since(1000.into()).limit(7))
    }

    fn event() -> Verified {
        Verified::sign(&nostr::Keys::generate(), 5050, Vec::new(), String::new(), 2000)
    }

    #[test]
    fn after_a_reconnect_only_the_gap_is_asked_for_and_the_limit_is_gone() {
        let (mut book, (sub, filter)) = (book(), jobs());
        book.note(Command::Subscribe(sub.clone(), vec![filter.clone()]));
        assert_eq!(book.next_frame(Instant::now()), Some(frame::req(&sub, std::slice::from_ref(&filter))));
        assert!(book.caught_up(&sub));
        book.heard_until(5000);
        book.disconnected();
        let gap = filter.remove_limit().since(4880.into());
        assert_eq!(book.next_frame(Instant::now()), Some(frame::req(&sub, &[gap])));
    }

    #[test]
    fn a_subscription_that_never_caught_up_is_asked_for_from_its_beginning() {
        let (mut book, (sub, filter)) = (book(), jobs());
        book.note(Command::Subscribe(sub.clone(), vec![filter.clone()]));
        book.next_frame(Instant::now());
        book.heard_until(5000);
        book.disconnected();
        assert_eq!(book.next_frame(Instant::now()), Some(frame::req(&sub, &[filter])));
    }

    #[test]
    fn an_unanswered_event_is_sent_again_and_an_answered_one_is_not() {
        let mut book = book();
        let (first, second) = (event(), event());
        for event in [&first, &second] {
            book.note(Command::Publish(event.clone()));
            book.next_frame(Instant::now());
        }
        assert_eq!(book.answered(first.id()), Mine::Yes);
        assert_eq!(book.answered(first.id()), Mine::No);
        book.disconnected();
        assert_eq!(book.next_frame(Instant::now()), Some(frame::carrying("EVENT", second.json())));
        assert_eq!(book.next_frame(Instant::now()), None);
    }

    #[test]
    fn what_has_to_be_sent_again_takes_the_room_of_new_events() {
        let config = RelayConfig::new(RelayUrl::parse("wss://relay.example").unwrap());
        let room = Unsent::new(2);
        let mut book = Book::new(&config, room.clone());
        for _ in 0..2 {
            assert!(room.take());
            book.note(Command::Publish(event()));
            book.next_frame(Instant::now());
        }
        book.disconnected();
        assert!(!room.take());
        while book.next_frame(Instant::now()).is_some() {}
        assert!(room.take() && room.take() && !room.take());
    }

    #[test]
    fn what_was_refused_for_want_of_auth_goes_out_again_in_order() {
        let (mut book, (sub, filter), now) = (book(), jobs(), Instant::now());
        let events = [event(), event()];
        book.note(Command::Subscribe(sub.clone(), vec![filter]));
        events.iter().for_each(|event| book.note(Command::Publish(event.clone())));
        while book.next_frame(Instant::now()).is_some() {}
        book.closed(&sub, now, 0, true);
        for event in &events {
            assert_eq!(book.refused_until_auth(event.id()), Mine::Yes);
        }
        assert!(!book.has_frame(Instant::now()));
        book.authenticated(Instant::now());
        assert!(book.next_frame(Instant::now()).unwrap().starts_with("[\"REQ\""));
        let frames = events.map(|event| frame::carrying("EVENT", event.json()));
        assert_eq!([book.next_frame(now).unwrap(), book.next_frame(now).unwrap()], frames);
    }

    #[test]
    fn a_closed_subscription_comes_back_ever_more_slowly() {
        let (mut book, (sub, filter), now) = (book(), jobs(), Instant::now());
        book.note(Command::Subscribe(sub.clone(), vec![filter]));
        let mut waits = Vec::new();
        for _ in 0..6 {
            while book.next_frame(now + Duration::from_secs(3600)).is_some() {}
            book.closed(&sub, now, 0, false);
            waits.push(book.next_due().unwrap() - now);
        }
        let expected = [1, 2, 4, 8, 16, 16].map(Duration::from_secs);
        for (wait, plain) in waits.iter().zip(expected) {
            assert!(*wait >= plain.mul_f64(0.75) && *wait <= plain.mul_f64(1.25), "{wait:?} for {plain:?}");
        }
    }

    #[test]
    fn an_event_counts_once_per_subscription_until_that_is_made_anew() {
        let (mut book, (sub, filter), event) = (book(), jobs(), event());
        let ask = Command::Subscribe(sub.clone(), vec![filter.clone()]);
        book.note(ask);
        assert!(book.takes(&sub, &event));
        assert!(book.has_seen(&sub, event.id()));
        book.note(Command::Subscribe(sub.clone(), vec![filter]));
        assert!(!book.has_seen(&sub, event.id()));
        let stranger = Verified::sign(&nostr::Keys::generate(), 1, Vec::new(), String::new(), 2000);
        assert!(!book.takes(&sub, &stranger));
    }

    #[test]
    fn memory_of_what_was_seen_is_bounded() {
        let mut seen = Seen::new(100);
        for n in 0..1000_u64 {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&n.to_le_bytes());
            seen.add(0, EventId::from_bytes(bytes));
        }
        assert_eq!((seen.set.len(), seen.order.len()), (100, 100));
    }

    #[test]
    fn closing_and_subscribing_again_does_not_end_the_new_one() {
        let (mut book, (sub, filter)) = (book(), jobs());
        book.note(Command::Subscribe(sub.clone(), vec![filter.clone()]));
        book.next_frame(Instant::now());
        book.note(Command::Close(sub.clone()));
        book.note(Command::Subscribe(sub.clone(), vec![filter]));
        assert!(book.next_frame(Instant::now()).unwrap().starts_with("[\"REQ\""));
        assert_eq!(book.next_frame(Instant::now()), None);
    }
}
