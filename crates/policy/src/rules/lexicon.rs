//! Finds all words of all sets in a view: those that begin where a word begins by a walk from there, the few others by an
//! automaton.

use std::{collections::BTreeMap, ops::Range};

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};

use super::{
    LONG_JOB,
    file::{Language, Phrase},
    trie::Trie,
};
use crate::normal::{View, fold_pattern, is_unspaced_script, skeleton_of_pattern, skeleton_of_pattern_glued};

/// Glued words shorter than this, in bytes, must stand at one end of what is glued.
const SHORT_WORD: usize = 5;

/// Glued words shorter than this are not looked for.
const SHORTEST_GLUED: usize = 4;

/// The words of all sets, for plain and for deep views.
pub(super) struct Lexicon {
    plain: Finder,
    deep: Finder,
    sets: usize,
    /// For each language the set that shows that a text speaks it.
    languages: [(Language, usize); 4],
}

/// In a text shorter than this, in bytes, one word shows its language.
const SHORT_TEXT: usize = 100;

/// Where the words of each set stand in one view.
pub(super) struct Hits {
    by_set: Vec<Vec<Range<usize>>>,
}

impl Hits {
    /// The places of one set's words, ordered by their ends.
    pub(super) fn of(&self, set: usize) -> &[Range<usize>] {
        &self.by_set[set]
    }
}

struct Finder {
    /// Patterns that begin where a word begins.
    begun: Words<Trie>,
    /// Patterns that may begin anywhere.
    open: Words<AhoCorasick>,
    /// Patterns without their spaces, for what is glued together.
    glued: Words<AhoCorasick>,
}

/// Patterns, and what each of them stands for.
struct Words<S> {
    search: S,
    terms: Vec<Vec<Term>>,
}

type Patterns = BTreeMap<String, Vec<Term>>;

/// A word of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Term {
    set: usize,
    shape: Shape,
    language: Option<Language>,
    /// No rule asks for it, only the score.
    only_scored: bool,
}

/// Where a word may begin and end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Shape {
    Word,
    OpenEnd,
    OpenStart,
    Open,
    /// Without its spaces, inside what is glued together.
    Glued,
}

impl Lexicon {
    /// `asked` says of each set whether a rule asks for it.
    pub(super) fn new(sets: &[Vec<Phrase>], asked: &[bool], languages: [(Language, usize); 4]) -> Self {
        let (mut plain, mut deep) = (BTreeMap::new(), BTreeMap::new());
        for (set, phrases) in sets.iter().enumerate() {
            for Phrase { text, language } in phrases {
                let only_scored = !asked[set];
                let term = Term { set, shape: Shape::of(text), language: *language, only_scored };
                let phrase = text.trim_matches('*');
                add(&mut plain, fold_pattern(phrase), term);
                add(&mut deep, skeleton_of_pattern(phrase), term);
                let glued = skeleton_of_pattern_glued(phrase);
                if glued.len() >= SHORTEST_GLUED && !only_scored {
                    add(&mut deep, glued, Term { shape: Shape::Glued, ..term });
                }
            }
        }
        Self { plain: Finder::new(&plain), deep: Finder::new(&deep), sets: sets.len(), languages }
    }

    /// The words of a plain view.
    pub(super) fn hits(&self, view: &View) -> Hits {
        self.sorted(view, self.plain.find(view))
    }

    /// The words of a deep view.
    pub(super) fn deep_hits(&self, view: &View) -> Hits {
        self.sorted(view, self.deep.find(view))
    }

    /// Leaves out the words of languages that the text does not speak.
    fn sorted(&self, view: &View, found: Vec<(Term, Range<usize>)>) -> Hits {
        let needed = if view.text.len() < SHORT_TEXT { 1 } else { 2 };
        let spoken = self.languages.map(|(language, set)| {
            (language, found.iter().filter(|(term, _)| term.set == set).take(needed).count() >= needed)
        });
        let counts = |language: Option<Language>| {
            language.is_none_or(|language| spoken.iter().any(|(other, speaks)| *other == language && *speaks))
        };
        let mut by_set: Vec<Vec<Range<usize>>> = vec![Vec::new(); self.sets];
        for (term, at) in found {
            if counts(term.language) {
                by_set[term.set].push(at);
            }
        }
        by_set.iter_mut().for_each(|hits| hits.sort_unstable_by_key(|hit| (hit.end, hit.start)));
        Hits { by_set }
    }
}

fn add(patterns: &mut BTreeMap<String, Vec<Term>>, pattern: String, term: Term) {
    if pattern.is_empty() {
        return;
    }
    let terms = patterns.entry(pattern).or_default();
    if !terms.contains(&term) {
        terms.push(term);
    }
}

impl Shape {
    fn of(phrase: &str) -> Self {
        match (phrase.starts_with('*'), phrase.ends_with('*')) {
            (false, false) => Self::Word,
            (false, true) => Self::OpenEnd,
            (true, false) => Self::OpenStart,
            (true, true) => Self::Open,
        }
    }

    fn fits(self, view: &View, at: &Range<usize>) -> bool {
        match self {
            Self::Word => begins(view, at) && ends(view, at),
            Self::OpenEnd => begins(view, at),
            Self::OpenStart => ends(view, at),
            Self::Open => true,
            Self::Glued => glued(view, at),
        }
    }
}

fn begins(view: &View, at: &Range<usize>) -> bool {
    let before = view.text[..at.start].chars().next_back();
    let first = view.text[at.start..].chars().next();
    is_edge(before) || first.is_some_and(is_unspaced_script) || before.is_some_and(is_unspaced_script)
}

fn ends(view: &View, at: &Range<usize>) -> bool {
    let after = view.text[at.end..].chars().next();
    let last = view.text[..at.end].chars().next_back();
    is_edge(after) || last.is_some_and(is_unspaced_script) || after.is_some_and(is_unspaced_script)
}

fn is_edge(c: Option<char>) -> bool {
    !c.is_some_and(char::is_alphanumeric)
}

fn glued(view: &View, at: &Range<usize>) -> bool {
    let next = view.glued.partition_point(|range| range.end < at.end);
    let Some(range) = view.glued.get(next).filter(|range| range.start <= at.start) else { return false };
    at.len() >= SHORT_WORD || at.start == range.start || at.end == range.end
}

/// Where a word may begin: at the beginnings of words, and everywhere in scripts without spaces.
fn beginnings(text: &str) -> impl Iterator<Item = usize> {
    let mut before = None;
    text.char_indices().filter_map(move |(at, c)| {
        let unspaced = is_unspaced_script(c) || before.is_some_and(is_unspaced_script);
        let begins = c != ' ' && (is_edge(before) || unspaced);
        before = Some(c);
        begins.then_some(at)
    })
}

impl Finder {
    fn new(patterns: &Patterns) -> Self {
        let of_shape = |shapes: &[Shape]| {
            let mut chosen = Patterns::new();
            for (pattern, terms) in patterns {
                let terms: Vec<Term> =
                    terms.iter().copied().filter(|term| shapes.contains(&term.shape)).collect();
                if !terms.is_empty() {
                    chosen.insert(pattern.clone(), terms);
                }
            }
            chosen
        };
        let begun = of_shape(&[Shape::Word, Shape::OpenEnd]);
        let begun = Words { search: Trie::new(&begun), terms: begun.into_values().collect() };
        let automaton = |patterns: Patterns| Words {
            search: AhoCorasick::builder()
                .kind(Some(AhoCorasickKind::ContiguousNFA))
                .match_kind(MatchKind::Standard)
                .build(patterns.keys())
                .expect("some thousand patterns are far below the automaton's limits"),
            terms: patterns.into_values().collect(),
        };
        let open = automaton(of_shape(&[Shape::OpenStart, Shape::Open]));
        Self { begun, open, glued: automaton(of_shape(&[Shape::Glued])) }
    }

    /// All words with their places; those that only the score needs if the view is scored.
    fn find(&self, view: &View) -> Vec<(Term, Range<usize>)> {
        let scored = view.text.len() <= LONG_JOB;
        let mut found = Vec::new();
        let mut add = |terms: &[Term], at: Range<usize>| {
            let fitting =
                terms.iter().filter(|term| (scored || !term.only_scored) && term.shape.fits(view, &at));
            found.extend(fitting.map(|term| (*term, at.clone())));
        };
        for start in beginnings(&view.text) {
            let hit = |pattern: usize, end: usize| add(&self.begun.terms[pattern], start..end);
            self.begun.search.walk(view.text.as_bytes(), start, hit);
        }
        for hit in self.open.search.find_overlapping_iter(&view.text) {
            add(&self.open.terms[hit.pattern().as_usize()], hit.range());
        }
        for range in &view.glued {
            let at = |hit: aho_corasick::Match| range.start + hit.start()..range.start + hit.end();
            for hit in self.glued.search.find_overlapping_iter(&view.text[range.clone()]) {
                add(&self.glued.terms[hit.pattern().as_usize()], at(hit));
            }
        }
        found
    }
}
