//! Which events a filter means (NIP-01), and under which keys filters and events find each other
//! without a scan.

use std::hash::{BuildHasher, RandomState};

use nostr::{Alphabet, Event, Filter, SingleLetterTag};

/// Longest tag value that is indexed, in bytes: ids, keys, addresses and names. A filter on a longer
/// value still works, it is only found by its other fields.
const LONGEST_VALUE: usize = 128;

/// Whether `filter` means `event`. Reads the tags in place: the crate's own test copies every tag
/// of every event into a map first. A field with an empty list matches nothing.
pub(crate) fn matches(filter: &Filter, event: &Event) -> bool {
    filter.kinds.as_ref().is_none_or(|kinds| kinds.contains(&event.kind))
        && filter.since.is_none_or(|since| event.created_at >= since)
        && filter.until.is_none_or(|until| event.created_at <= until)
        && filter.authors.as_ref().is_none_or(|authors| authors.contains(&event.pubkey))
        && filter.ids.as_ref().is_none_or(|ids| ids.contains(&event.id))
        && filter.search.is_none()
        && tags_match(filter, event)
}

fn tags_match(filter: &Filter, event: &Event) -> bool {
    filter.generic_tags.iter().all(|(letter, values)| {
        single_letter_tags(event).any(|(name, value)| name == letter.as_char() && values.contains(value))
    })
}

/// Name and first value of every tag with a one-letter name: the ones a filter can ask for.
pub(crate) fn single_letter_tags(event: &Event) -> impl Iterator<Item = (char, &str)> {
    event.tags.iter().filter_map(|tag| match tag.as_slice() {
        [name, value, ..] if name.len() == 1 => Some((name.chars().next()?, value.as_str())),
        _ => None,
    })
}

/// The hash under which a filter and the events it may mean meet. Two fields that share a key by
/// chance cost a comparison, never a wrong answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key(u64);

/// Makes keys. The hash is seeded at random, so nobody can aim for collisions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Keys(RandomState);

impl Keys {
    /// Every event.
    pub(crate) const ANY: Key = Key(0);

    pub(crate) fn id(&self, id: &[u8; 32]) -> Key {
        Key(self.0.hash_one((0_u8, id)))
    }

    pub(crate) fn author(&self, author: &[u8; 32]) -> Key {
        Key(self.0.hash_one((1_u8, author)))
    }

    pub(crate) fn kind(&self, kind: u16) -> Key {
        Key(self.0.hash_one((2_u8, kind)))
    }

    pub(crate) fn tag(&self, name: char, value: &str) -> Key {
        Key(self.0.hash_one((3_u8, name, value)))
    }

    /// The place that a replaceable or addressable event fills.
    pub(crate) fn place(&self, kind: u16, author: &[u8; 32], name: &str) -> Key {
        Key(self.0.hash_one((4_u8, kind, author, name)))
    }

    /// The keys an event is stored under: author, kind and every short one-letter tag.
    pub(crate) fn of_event(&self, event: &Event) -> Vec<Key> {
        let tags = single_letter_tags(event).filter(|(_, value)| value.len() <= LONGEST_VALUE);
        let mut keys: Vec<Key> = tags.map(|(name, value)| self.tag(name, value)).collect();
        keys.push(self.author(&event.pubkey.to_bytes()));
        keys.push(self.kind(event.kind.as_u16()));
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// Every way to find the events of `filter` by key: one list per field that narrows it.
    /// Each list alone reaches all of them.
    pub(crate) fn of_filter(&self, filter: &Filter) -> Vec<Vec<Key>> {
        let mut ways = Vec::new();
        if let Some(ids) = &filter.ids {
            ways.push(ids.iter().map(|id| self.id(id.as_bytes())).collect());
        }
        for (letter, values) in tags_most_telling_first(filter) {
            if values.iter().all(|value| value.len() <= LONGEST_VALUE) {
                ways.push(values.iter().map(|value| self.tag(letter.as_char(), value)).collect());
            }
        }
        if let Some(authors) = &filter.authors {
            ways.push(authors.iter().map(|author| self.author(&author.to_bytes())).collect());
        }
        if let Some(kinds) = &filter.kinds {
            ways.push(kinds.iter().map(|kind| self.kind(kind.as_u16())).collect());
        }
        ways
    }
}

/// The tag fields of a filter: `e` first, since it names one event, and `p` after all that are not a key.
fn tags_most_telling_first(
    filter: &Filter,
) -> impl Iterator<Item = (&SingleLetterTag, &std::collections::BTreeSet<String>)> {
    let mut tags: Vec<_> = filter.generic_tags.iter().collect();
    tags.sort_by_key(|(letter, _)| match letter.character {
        Alphabet::E => 0,
        Alphabet::P => 2,
        _ => 1,
    });
    tags.into_iter()
}
