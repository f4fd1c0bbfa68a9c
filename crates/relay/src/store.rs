//! The events an embedded relay keeps: in memory, bounded, found by key, with NIP-01 replacement,
//! NIP-09 deletion and NIP-40 expiry. Who may publish and who is told is left to `hub`.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet, VecDeque},
};

use nostr::{Event, Filter, Kind};
use openagents_protocol::ingress::Verified;

use crate::{
    hub::Verdict,
    matching::{Key, Keys, matches, single_letter_tags},
};

/// Bytes an event costs beside its JSON and its parsed form, roughly: keys, order, maps.
const OVERHEAD: usize = 512;

/// Place of an event among all: the time it names, then its turn of arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Order {
    created_at: u64,
    turn: u64,
}

/// Bounded memory of events.
#[derive(Debug)]
pub(crate) struct Store {
    most_events: usize,
    most_bytes: usize,
    events: BTreeMap<Order, Verified>,
    ids: HashMap<[u8; 32], Order>,
    by_key: HashMap<Key, VecDeque<Order>>,
    expiring: BTreeSet<(u64, Order)>,
    /// Events that fill a place (replaceable, addressable): what a key says of itself now. Those that
    /// pass by go first when room is short, however new, so that a busy market does not make its
    /// wallets and providers unknown; but these never take more than half of the room.
    standing: BTreeSet<Order>,
    standing_bytes: usize,
    passing: BTreeSet<Order>,
    keys: Keys,
    bytes: usize,
    next_turn: u64,
}

impl Store {
    pub(crate) fn new(most_events: usize, most_bytes: usize) -> Self {
        Self {
            most_events,
            most_bytes,
            events: BTreeMap::new(),
            ids: HashMap::new(),
            by_key: HashMap::new(),
            expiring: BTreeSet::new(),
            standing: BTreeSet::new(),
            standing_bytes: 0,
            passing: BTreeSet::new(),
            keys: Keys::default(),
            bytes: 0,
            next_turn: 0,
        }
    }

    /// Number of events kept.
    pub(crate) fn len(&self) -> usize {
        self.events.len()
    }

    /// Roughly the bytes they take.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes in an event at `now` (seconds), applies what it replaces or deletes, and drops the
    /// oldest if there are too many.
    pub(crate) fn insert(&mut self, event: &Verified, now: u64) -> Verdict {
        self.drop_expired(now);
        let inner = event.event();
        if self.ids.contains_key(inner.id.as_bytes()) {
            return Verdict::Duplicate;
        }
        if expiry(inner).is_some_and(|at| at <= now) {
            return Verdict::Refused("invalid: the event has expired");
        }
        if inner.kind.is_ephemeral() {
            return Verdict::Passed;
        }
        if self.was_deleted(inner) {
            return Verdict::Refused("blocked: its author deleted this event");
        }
        if !self.make_place(inner) {
            return Verdict::Superseded;
        }
        if inner.kind == Kind::EventDeletion {
            self.delete_named_by(inner);
        }
        self.keep(event);
        Verdict::Stored
    }

    /// Up to `most` events that match `filter` at `now`, newest first, of one second the lowest id
    /// first (NIP-01).
    pub(crate) fn query(&self, filter: &Filter, now: u64, most: usize) -> Vec<Verified> {
        let most = filter.limit.unwrap_or(most).min(most);
        let mut found: Vec<(Order, &Verified)> = Vec::new();
        for order in self.candidates(filter) {
            let tie = found.last().is_some_and(|(last, _)| last.created_at == order.created_at);
            if found.len() >= most && !tie {
                break;
            }
            let Some(event) = self.events.get(&order) else { continue };
            if matches(filter, event.event()) && expiry(event.event()).is_none_or(|at| at > now) {
                found.push((order, event));
            }
        }
        found.sort_by_key(|(order, event)| (Reverse(order.created_at), event.event().id.to_bytes()));
        found.into_iter().take(most).map(|(_, event)| event.clone()).collect()
    }

    /// Orders of the events that may match, newest first, by the filter's narrowest field.
    fn candidates<'a>(&'a self, filter: &Filter) -> Box<dyn Iterator<Item = Order> + 'a> {
        if let Some(ids) = &filter.ids {
            let mut orders: Vec<Order> =
                ids.iter().filter_map(|id| self.ids.get(id.as_bytes()).copied()).collect();
            orders.sort_unstable_by_key(|order| Reverse(*order));
            return Box::new(orders.into_iter());
        }
        let reach = |keys: &Vec<Key>| {
            keys.iter().filter_map(|key| self.by_key.get(key)).map(VecDeque::len).sum::<usize>()
        };
        let ways = self.keys.of_filter(filter);
        match ways.iter().min_by_key(|keys| reach(keys)) {
            Some(keys) => Box::new(Newest::of(keys.iter().filter_map(|key| self.by_key.get(key)))),
            None => Box::new(self.events.keys().rev().copied()),
        }
    }

    fn keep(&mut self, event: &Verified) {
        let inner = event.event();
        let order = Order { created_at: inner.created_at.as_secs(), turn: self.next_turn };
        self.next_turn += 1;
        for key in self.keys_of(inner) {
            let line = self.by_key.entry(key).or_default();
            let at = line.partition_point(|other| *other < order);
            line.insert(at, order);
        }
        if let Some(at) = expiry(inner) {
            self.expiring.insert((at, order));
        }
        self.ids.insert(inner.id.to_bytes(), order);
        self.bytes += cost(event);
        if self.place_of(inner).is_some() {
            self.standing.insert(order);
            self.standing_bytes += cost(event);
        } else {
            self.passing.insert(order);
        }
        self.events.insert(order, event.clone());
        self.drop_surplus();
    }

    fn remove(&mut self, order: Order) {
        let Some(event) = self.events.remove(&order) else { return };
        self.bytes -= cost(&event);
        if self.standing.remove(&order) {
            self.standing_bytes -= cost(&event);
        }
        self.passing.remove(&order);
        self.ids.remove(event.event().id.as_bytes());
        if let Some(at) = expiry(event.event()) {
            self.expiring.remove(&(at, order));
        }
        for key in self.keys_of(event.event()) {
            let Some(line) = self.by_key.get_mut(&key) else { continue };
            if let Ok(at) = line.binary_search(&order) {
                line.remove(at);
            }
            if line.is_empty() {
                self.by_key.remove(&key);
            }
        }
    }

    fn drop_surplus(&mut self) {
        while self.events.len() > self.most_events || self.bytes > self.most_bytes {
            let crowded =
                self.standing.len() > self.most_events / 2 || self.standing_bytes > self.most_bytes / 2;
            let (first, then) =
                if crowded { (&self.standing, &self.passing) } else { (&self.passing, &self.standing) };
            let Some(&oldest) = first.first().or_else(|| then.first()) else { return };
            self.remove(oldest);
        }
    }

    fn drop_expired(&mut self, now: u64) {
        while let Some(&(at, order)) = self.expiring.first() {
            if at > now {
                return;
            }
            self.expiring.pop_first();
            self.remove(order);
        }
    }

    fn keys_of(&self, event: &Event) -> Vec<Key> {
        let mut keys = self.keys.of_event(event);
        keys.extend(self.place_of(event));
        keys
    }

    /// The key of the one place a replaceable or addressable event fills.
    fn place_of(&self, event: &Event) -> Option<Key> {
        let kind = event.kind;
        let name = if kind.is_replaceable() {
            ""
        } else if kind.is_addressable() {
            name_of(event)
        } else {
            return None;
        };
        Some(self.keys.place(kind.as_u16(), &event.pubkey.to_bytes(), name))
    }

    /// Removes what `event` replaces; `false` if what stands there is newer.
    fn make_place(&mut self, event: &Event) -> bool {
        let Some(place) = self.place_of(event) else { return true };
        let Some(order) = self.find(place, |other| same_place(other, event)) else { return true };
        let Some(standing) = self.events.get(&order).map(Verified::event) else { return true };
        let newer = (event.created_at, Reverse(event.id.to_bytes()));
        if newer < (standing.created_at, Reverse(standing.id.to_bytes())) {
            return false;
        }
        self.remove(order);
        true
    }

    fn find(&self, key: Key, wanted: impl Fn(&Event) -> bool) -> Option<Order> {
        let line = self.by_key.get(&key)?;
        line.iter()
            .rev()
            .copied()
            .find(|order| self.events.get(order).is_some_and(|event| wanted(event.event())))
    }

    /// Whether a deletion by the same author that is still kept names this event (NIP-09).
    fn was_deleted(&self, event: &Event) -> bool {
        if event.kind == Kind::EventDeletion {
            return false;
        }
        let by_author = |other: &Event| other.kind == Kind::EventDeletion && other.pubkey == event.pubkey;
        let id = event.id.to_hex();
        let by_id = |other: &Event| by_author(other) && names(other, 'e', &id);
        if self.find(self.keys.tag('e', &id), by_id).is_some() {
            return true;
        }
        let Some(address) = address_of(event) else { return false };
        let by_address = |other: &Event| {
            by_author(other) && other.created_at >= event.created_at && names(other, 'a', &address)
        };
        self.find(self.keys.tag('a', &address), by_address).is_some()
    }

    /// Removes what a deletion names, if its author wrote it (NIP-09).
    fn delete_named_by(&mut self, deletion: &Event) {
        let mut doomed: HashSet<[u8; 32]> = HashSet::new();
        for (name, value) in single_letter_tags(deletion) {
            match name {
                'e' => doomed.extend(nostr::EventId::from_hex(value).ok().map(nostr::EventId::to_bytes)),
                'a' => doomed.extend(self.at_address(value, deletion)),
                _ => {}
            }
        }
        for id in doomed {
            let Some(&order) = self.ids.get(&id) else { continue };
            let own = |event: &Verified| {
                event.event().pubkey == deletion.pubkey && event.event().kind != Kind::EventDeletion
            };
            if self.events.get(&order).is_some_and(own) {
                self.remove(order);
            }
        }
    }

    fn at_address(&self, address: &str, deletion: &Event) -> Option<[u8; 32]> {
        let mut parts = address.splitn(3, ':');
        let kind: u16 = parts.next()?.parse().ok()?;
        let author = nostr::PublicKey::from_hex(parts.next()?).ok()?;
        let place = self.keys.place(kind, &author.to_bytes(), parts.next().unwrap_or(""));
        let older = |event: &Event| {
            event.created_at <= deletion.created_at && address_of(event).as_deref() == Some(address)
        };
        let order = self.find(place, older)?;
        Some(self.events.get(&order)?.event().id.to_bytes())
    }
}

/// Walks several sorted lines at once, newest first, each event once.
struct Newest<'a> {
    heads: BinaryHeap<(Order, usize)>,
    lines: Vec<std::iter::Rev<std::collections::vec_deque::Iter<'a, Order>>>,
    last: Option<Order>,
}

impl<'a> Newest<'a> {
    fn of(lines: impl Iterator<Item = &'a VecDeque<Order>>) -> Self {
        let mut lines: Vec<_> = lines.map(|line| line.iter().rev()).collect();
        let heads = lines.iter_mut().enumerate().filter_map(|(at, line)| Some((*line.next()?, at))).collect();
        Self { heads, lines, last: None }
    }
}

impl Iterator for Newest<'_> {
    type Item = Order;

    fn next(&mut self) -> Option<Order> {
        loop {
            let (order, at) = self.heads.pop()?;
            if let Some(&next) = self.lines[at].next() {
                self.heads.push((next, at));
            }
            if self.last.replace(order) != Some(order) {
                return Some(order);
            }
        }
    }
}

/// Bytes an event is counted with: its JSON, its parsed form of about the same size, and the keys.
fn cost(event: &Verified) -> usize {
    2 * event.json().len() + OVERHEAD
}

/// When an event expires (NIP-40), in seconds.
fn expiry(event: &Event) -> Option<u64> {
    event.tags.iter().find_map(|tag| match tag.as_slice() {
        [name, value, ..] if name == "expiration" => value.parse().ok(),
        _ => None,
    })
}

fn name_of(event: &Event) -> &str {
    single_letter_tags(event).find(|(name, _)| *name == 'd').map_or("", |(_, value)| value)
}

fn same_place(a: &Event, b: &Event) -> bool {
    a.kind == b.kind && a.pubkey == b.pubkey && (a.kind.is_replaceable() || name_of(a) == name_of(b))
}

/// `kind:author:name`, how an `a` tag names the place of a replaceable or addressable event.
fn address_of(event: &Event) -> Option<String> {
    let name = if event.kind.is_addressable() {
        name_of(event)
    } else if event.kind.is_replaceable() {
        ""
    } else {
        return None;
    };
    Some(format!("{}:{}:{name}", event.kind.as_u16(), event.pubkey.to_hex()))
}

fn names(event: &Event, tag: char, wanted: &str) -> bool {
    single_letter_tags(event).any(|(name, value)| name == tag && value == wanted)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use nostr::{Keys as Signer, SingleLetterTag, Tag};

    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn signed(signer: &Signer, kind: u16, tags: &[&[&str]], created_at: u64) -> Verified {
        let tags = tags.iter().map(|tag| Tag::parse(tag.iter().copied()).unwrap()).collect();
        Verified::sign(signer, kind, tags, format!("{kind} {created_at}"), created_at)
    }

    fn store() -> Store {
        Store::new(1000, 10 << 20)
    }

    fn ids(found: &[Verified]) -> Vec<String> {
        found.iter().map(|event| event.event().id.to_hex()).collect()
    }

    #[test]
    fn a_query_gives_the_newest_first_and_keeps_to_its_limit() {
        let (mut store, signer) = (store(), Signer::generate());
        let events: Vec<_> = (0..20).map(|i| signed(&signer, 1, &[], NOW - (i * 7) % 20)).collect();
        for event in &events {
            assert_eq!(store.insert(event, NOW), Verdict::Stored);
        }
        let mut expected = events.clone();
        expected.sort_by_key(|event| Reverse(event.event().created_at));
        let filter = Filter::new().kind(Kind::from_u16(1)).limit(5);
        assert_eq!(ids(&store.query(&filter, NOW, 100)), ids(&expected[..5]));
    }

    #[test]
    fn of_one_second_the_lowest_id_comes_first() {
        let mut store = store();
        let events: Vec<_> = (0..8).map(|_| signed(&Signer::generate(), 1, &[], NOW)).collect();
        for event in &events {
            store.insert(event, NOW);
        }
        let mut expected = ids(&events);
        expected.sort();
        assert_eq!(ids(&store.query(&Filter::new().limit(3), NOW, 100)), expected[..3]);
    }

    #[test]
    fn every_field_finds_the_same_events_as_a_scan() {
        let mut store = store();
        let signers = [Signer::generate(), Signer::generate()];
        let mut all = Vec::new();
        for (n, age) in (0..60).zip(0_u64..) {
            let (kind, topic) = ([1, 5050, 7000][n % 3], ["a", "b"][n % 2]);
            let event = signed(&signers[n % 2], kind, &[&["t", topic], &["p", topic]], NOW - age);
            store.insert(&event, NOW);
            all.push(event);
        }
        let topic = SingleLetterTag::lowercase(nostr::Alphabet::T);
        let filters = [
            Filter::new(),
            Filter::new().author(signers[1].public_key()),
            Filter::new().kinds([Kind::from_u16(1), Kind::from_u16(7000)]).since((NOW - 30).into()),
            Filter::new().custom_tag(topic, "b").kind(Kind::from_u16(5050)).until((NOW - 5).into()),
            Filter::new().custom_tag(topic, "nothing"),
            Filter::new().id(all[7].event().id),
            Filter::new().kinds([]),
        ];
        for filter in filters {
            let scan: Vec<_> = all.iter().filter(|event| matches(&filter, event.event())).cloned().collect();
            assert_eq!(ids(&store.query(&filter, NOW, 100)), ids(&scan), "{filter:?}");
        }
    }

    #[test]
    fn a_newer_replaceable_event_takes_the_place_of_the_older() {
        let (mut store, signer) = (store(), Signer::generate());
        let (old, new) = (
            signed(&signer, 31990, &[&["d", "5050"]], NOW - 9),
            signed(&signer, 31990, &[&["d", "5050"]], NOW),
        );
        let other = signed(&signer, 31990, &[&["d", "5001"]], NOW - 5);
        for event in [&old, &other, &new] {
            assert_eq!(store.insert(event, NOW), Verdict::Stored);
        }
        assert_eq!(store.insert(&old, NOW), Verdict::Superseded);
        assert_eq!(ids(&store.query(&Filter::new(), NOW, 9)), ids(&[new, other]));
        let (first, second) =
            (signed(&signer, 11998, &[&["d", "x"]], NOW), signed(&signer, 11998, &[], NOW + 1));
        store.insert(&first, NOW);
        store.insert(&second, NOW);
        assert_eq!(ids(&store.query(&Filter::new().kind(Kind::from_u16(11998)), NOW, 9)), ids(&[second]));
    }

    #[test]
    fn only_its_author_deletes_an_event_and_it_stays_deleted() {
        let (mut store, author, stranger) = (store(), Signer::generate(), Signer::generate());
        let event = signed(&author, 5050, &[], NOW);
        let id = event.event().id.to_hex();
        store.insert(&event, NOW);
        store.insert(&signed(&stranger, 5, &[&["e", &id]], NOW), NOW);
        assert_eq!(store.query(&Filter::new().id(event.event().id), NOW, 9).len(), 1);
        store.insert(&signed(&author, 5, &[&["e", &id]], NOW), NOW);
        assert!(store.query(&Filter::new().id(event.event().id), NOW, 9).is_empty());
        assert!(matches!(store.insert(&event, NOW), Verdict::Refused(_)));
    }

    #[test]
    fn a_deletion_by_address_spares_what_is_written_later() {
        let (mut store, author) = (store(), Signer::generate());
        let address = format!("31990:{}:x", author.public_key().to_hex());
        let old = signed(&author, 31990, &[&["d", "x"]], NOW - 5);
        store.insert(&old, NOW);
        store.insert(&signed(&author, 5, &[&["a", &address]], NOW - 2), NOW);
        assert!(store.query(&Filter::new().kind(Kind::from_u16(31990)), NOW, 9).is_empty());
        assert!(matches!(store.insert(&old, NOW), Verdict::Refused(_)));
        assert_eq!(store.insert(&signed(&author, 31990, &[&["d", "x"]], NOW), NOW), Verdict::Stored);
    }

    #[test]
    fn expired_events_are_refused_and_dropped() {
        let (mut store, signer) = (store(), Signer::generate());
        let at = (NOW + 10).to_string();
        let event = signed(&signer, 1, &[&["expiration", &at]], NOW);
        assert_eq!(store.insert(&event, NOW), Verdict::Stored);
        assert_eq!(store.query(&Filter::new(), NOW + 9, 9).len(), 1);
        assert!(store.query(&Filter::new(), NOW + 10, 9).is_empty());
        store.insert(&signed(&signer, 2, &[], NOW), NOW + 11);
        assert_eq!(store.len(), 1);
        assert!(matches!(store.insert(&event, NOW + 11), Verdict::Refused(_)));
    }

    #[test]
    fn ephemeral_events_are_passed_on_but_never_kept() {
        let mut store = store();
        assert_eq!(store.insert(&signed(&Signer::generate(), 20001, &[], NOW), NOW), Verdict::Passed);
        assert_eq!(store.len(), 0);
    }

    #[test]
    fn what_a_key_says_of_itself_outlives_the_crowd_but_takes_no_more_than_half() {
        let (mut store, signer) = (Store::new(10, 10 << 20), Signer::generate());
        let info = signed(&signer, 13_194, &[], NOW - 1_000);
        store.insert(&info, NOW);
        for age in (0..100).rev() {
            store.insert(&signed(&signer, 1, &[], NOW - age), NOW);
        }
        let about = Filter::new().kind(Kind::from_u16(13_194));
        assert_eq!(ids(&store.query(&about, NOW, 10)), ids(std::slice::from_ref(&info)));
        for _ in 0..100 {
            store.insert(&signed(&Signer::generate(), 13_194, &[], NOW), NOW);
        }
        assert_eq!((store.len(), store.query(&about, NOW, 100).len()), (10, 5));
        assert_eq!(store.standing_bytes + passing_bytes(&store), store.bytes());
    }

    fn passing_bytes(store: &Store) -> usize {
        store.passing.iter().map(|order| cost(&store.events[order])).sum()
    }

    #[test]
    fn the_oldest_leave_when_there_are_too_many_and_nothing_of_them_stays() {
        let (mut store, signer) = (Store::new(10, 10 << 20), Signer::generate());
        for n in 0..50 {
            store.insert(
                &signed(&signer, 1, &[&["t", &n.to_string()], &["expiration", "9999999999"]], NOW + n),
                NOW,
            );
        }
        assert_eq!((store.len(), store.ids.len(), store.expiring.len()), (10, 10, 10));
        assert_eq!(store.by_key.len(), 12, "10 topics, one author, one kind");
        let mut small = Store::new(1000, 3 * cost(&signed(&signer, 1, &[], NOW)));
        for n in 0..50 {
            small.insert(&signed(&signer, 1, &[], NOW + n), NOW);
        }
        assert_eq!(small.len(), 3);
        let kept: usize = small.events.values().map(cost).sum();
        assert_eq!(small.bytes(), kept);
    }
}
