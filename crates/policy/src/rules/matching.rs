//! Holds one rule against the words that were found.

use std::ops::Range;

use super::{file::Rule, lexicon::Hits};

/// How far from what was found an acquitting word may stand, in bytes.
const NEARBY: usize = 80;

/// Where the rule hits first among the places where it applies, with its words so close together.
pub(super) fn first_match(
    rule: &Rule,
    within: usize,
    hits: &Hits,
    applies: impl Fn(&Range<usize>) -> bool,
) -> Option<Range<usize>> {
    let missing = rule.slots.iter().any(|slot| slot.iter().all(|set| hits.of(*set).is_empty()));
    if missing || rule.except.iter().any(|set| !hits.of(*set).is_empty()) {
        return None;
    }
    let sound = |at: &Range<usize>| !acquitted(rule, hits, at) && applies(at);
    if rule.ordered { in_order(rule, within, hits, sound) } else { in_any_order(rule, within, hits, sound) }
}

fn in_order(
    rule: &Rule,
    within: usize,
    hits: &Hits,
    sound: impl Fn(&Range<usize>) -> bool,
) -> Option<Range<usize>> {
    let (first, others) = rule.slots.split_first()?;
    let chain = |start: &Range<usize>| {
        let mut at = start.clone();
        for slot in others {
            let window = at.end..start.start + within;
            at.end = earliest(slot, hits, &window, None)?.end;
        }
        Some(at)
    };
    first.iter().flat_map(|set| hits.of(*set)).filter_map(chain).find(sound)
}

fn in_any_order(
    rule: &Rule,
    within: usize,
    hits: &Hits,
    sound: impl Fn(&Range<usize>) -> bool,
) -> Option<Range<usize>> {
    let count = |slot: &Vec<usize>| slot.iter().map(|set| hits.of(*set).len()).sum::<usize>();
    let rarest = (0..rule.slots.len()).min_by_key(|at| count(&rule.slots[*at]))?;
    let around = |anchor: &Range<usize>| {
        let window = anchor.start.saturating_sub(within)..anchor.end + within;
        let mut all = anchor.clone();
        for (at, slot) in rule.slots.iter().enumerate() {
            if at != rarest {
                let other = earliest(slot, hits, &window, Some(anchor))?;
                all = all.start.min(other.start)..all.end.max(other.end);
            }
        }
        Some(all)
    };
    let anchors = rule.slots[rarest].iter().flat_map(|set| hits.of(*set));
    anchors.filter_map(around).find(sound)
}

/// The first word of the slot that lies inside the window and does not overlap `apart_from`.
fn earliest(
    slot: &[usize],
    hits: &Hits,
    window: &Range<usize>,
    apart_from: Option<&Range<usize>>,
) -> Option<Range<usize>> {
    let of_set = |set: &usize| {
        let all = hits.of(*set);
        let from = all.partition_point(|hit| hit.end <= window.start);
        let inside = all[from..].iter().take_while(|hit| hit.end <= window.end);
        let apart = |hit: &&Range<usize>| apart_from.is_none_or(|a| hit.end <= a.start || hit.start >= a.end);
        inside.filter(|hit| hit.start >= window.start).find(apart).cloned()
    };
    slot.iter().filter_map(of_set).min_by_key(|hit| hit.end)
}

fn acquitted(rule: &Rule, hits: &Hits, at: &Range<usize>) -> bool {
    let window = at.start.saturating_sub(NEARBY)..at.end + NEARBY;
    earliest(&rule.unless, hits, &window, None).is_some()
}
