//! The score: beside the rules, a weighing of all words of a request and of how they meet. It finds requests that no rule
//! foresaw and doubts rules where the rest of the request reads honest.
//!
//! It is a linear model, or rather a dozen: one for any violation, one for each category, and one for passages of long texts. Its weights (`rules/score.weights`) are learnt from the labelled jobs by [`train`] and shipped;
//! weighing needs additions and multiplications only, so that every machine comes to the same verdict. What it weighs are
//! words, pairs of words, runs of characters, the sets of `rules/*.rules`, their pairs, how their words follow each other and
//! which words they meet: sets make it see the same thing in seven languages. It is never sure: a judge, where there is one, may overrule it.

mod training;

use std::{borrow::Cow, ops::Range, sync::LazyLock};

use crate::{Category, Confidence, normal::is_unspaced_script};

pub use training::{cross_validate, train};

/// How many weights say whether a request violates the policy, as a power of two.
const WEIGHTS: usize = 1 << 18;

/// How many weights say whether a passage of a long text asks for a violation, as a power of two.
const PASSAGE_WEIGHTS: usize = 1 << 16;

/// How many weights say which category it is, for each category, as a power of two.
const CATEGORY_WEIGHTS: usize = 1 << 15;

/// How much the sets weigh against the words.
const SETS_AGAINST_WORDS: f32 = 2.0;

/// Runs of so many characters are weighed: they know a word by its stem.
const RUNS: Range<usize> = 3..6;

/// Two sets meet where a word of one follows a word of the other within so many bytes.
const FOLLOWS_WITHIN: usize = 15;

/// How far apart the two words of a pair with a gap may stand, in words.
const GAPS: Range<usize> = 2..5;

/// A set and a word of the text are weighed together in texts with fewer such pairs.
const MOST_PAIRS: usize = 4_000;

/// Texts shorter than this, in bytes of the view, say too little.
const SHORTEST: usize = 12;

/// How much the nearest category counts against the sum over all violations.
const NEAREST: f32 = 0.4;

/// From this margin on a request counts as a violation, though no rule hit.
const VIOLATION: f32 = 0.15;

/// From this margin on it counts for more than the weakest rules.
const SURER: f32 = 0.6;

/// From this margin on a judge is worth asking.
const DOUBT: f32 = 0.0;

/// Below this margin what a rule found is no more than a doubt.
const HONEST: f32 = 0.0;

/// From this margin on a passage of a long text counts as a request where a rule says so.
pub(crate) const ASKS: f32 = 0.9;

/// The same in the deep view, which has no sentences.
pub(crate) const ASKS_DEEP: f32 = 1.2;

/// The same where the rule is a strong one.
pub(crate) const ASKS_STRONG: f32 = 0.5;

/// How much less the score of parameters counts.
pub(crate) const OF_PARAM: f32 = 0.3;

/// How much less the score of an order counts whose material was left out.
pub(crate) const OF_ORDER: f32 = 0.2;

/// How much less the score of a single sentence counts.
pub(crate) const OF_SENTENCE: f32 = 0.65;

/// What a rule's finding is worth where the score reads an honest request.
pub(crate) const DOUBTED: Confidence = Confidence::percent(45);

/// Below this margin the same holds for rules that are as sure as [`VERY_SURE`].
const VERY_HONEST: f32 = -0.5;

/// Rules that are so sure are doubted less easily.
pub(crate) const VERY_SURE: Confidence = Confidence::percent(90);

static SHIPPED: LazyLock<Weights> =
    LazyLock::new(|| Weights::read(Cow::Borrowed(include_bytes!("../rules/score.weights"))));

/// What the features of one text are, each with its hash and value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Features(Vec<(u32, f32)>);

/// What the score says of a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Scored {
    /// How far on the violating side it lies; negative on the honest side.
    margin: f32,
    /// What it would violate.
    pub(crate) category: Category,
}

impl Scored {
    /// How sure the score is of a violation; `None` if it isn't worth a question.
    pub(crate) fn confidence(self) -> Option<Confidence> {
        match self.margin {
            margin if margin >= SURER => Some(Confidence::percent(65)),
            margin if margin >= VIOLATION => Some(Confidence::percent(55)),
            margin if margin >= DOUBT => Some(Confidence::percent(40)),
            _ => None,
        }
    }

    /// Whether the request reads so honest that a rule as sure as this is to be doubted.
    pub(crate) fn doubts(self, confidence: Confidence) -> bool {
        self.margin < if confidence >= VERY_SURE { VERY_HONEST } else { HONEST }
    }

    /// The same where only a part of the job was read, which says less.
    pub(crate) fn less(self, handicap: f32) -> Self {
        Self { margin: self.margin - handicap, ..self }
    }

    /// Whether it lies on the violating side at all.
    pub(crate) fn is_worth_a_word(self) -> bool {
        self.margin >= DOUBT
    }

    /// Whether it is the surer of two readings of one job.
    pub(crate) fn is_worse_than(self, other: Self) -> bool {
        self.margin > other.margin
    }
}

/// The name under which a verdict cites the score.
pub(crate) const fn name(category: Category) -> &'static str {
    match category {
        Category::RegulatedHealthcare => "score_healthcare",
        Category::RegulatedLegal => "score_legal",
        Category::RegulatedFinancial => "score_financial",
        Category::AcademicTextbook => "score_textbook",
        Category::TrainingDataIdentification => "score_training_data",
        Category::GuardrailCircumvention => "score_guardrail",
        Category::Violence => "score_violence",
        Category::ExplicitContent => "score_explicit",
        Category::SelfHarm => "score_self_harm",
        Category::Fraud => "score_fraud",
        Category::ProhibitedJobType => "score_prohibited",
    }
}

/// FNV-1a. `l` counts as `i`, because the deep view writes both alike.
struct Hash(u32);

impl Hash {
    fn new(kind: u8) -> Self {
        let mut hash = Self(0x811c_9dc5);
        hash.byte(kind);
        hash
    }

    fn byte(&mut self, b: u8) {
        let b = if b == b'l' { b'i' } else { b };
        self.0 = (self.0 ^ u32::from(b)).wrapping_mul(0x0100_0193);
    }

    const fn end(&self) -> u32 {
        self.0 ^ self.0 >> 15
    }
}

/// The hash of some words; the kind keeps one sort of feature apart from the other.
pub(crate) fn hash(kind: u8, words: &[&str]) -> u32 {
    let mut hash = Hash::new(kind);
    for word in words {
        word.bytes().chain([b' ']).for_each(|b| hash.byte(b));
    }
    hash.end()
}

/// A set that a text speaks of: the hash of its name, and where its words stand.
pub(crate) struct Spoken {
    pub(crate) set: u32,
    pub(crate) at: Vec<Range<usize>>,
}

impl Features {
    /// The features of a text in the form of a view, and of the sets that it speaks of.
    pub(crate) fn of(text: &str, sets: &[Spoken]) -> Option<Self> {
        if text.len() < SHORTEST {
            return None;
        }
        let mut words = vec!["^"];
        text.split(' ')
            .filter(|word| !word.is_empty() && *word != ".")
            .for_each(|word| put(word, &mut words));
        words.push("$");
        let single: Vec<u32> = words.iter().map(|word| hash(1, &[word])).collect();
        let alone: Vec<u32> = sets.iter().map(|spoken| spoken.set).collect();
        let mut features = vec![(hash(0, &["bias"]), 1.0)];
        let pairs = words.windows(2).map(|pair| hash(2, pair));
        add(&mut features, single.iter().copied().chain(pairs).collect(), 1.0);
        add(&mut features, runs(text), 1.0);
        add(&mut features, gapped(&words), 1.0);
        add(&mut features, meetings(&alone), SETS_AGAINST_WORDS);
        add(&mut features, following(sets), 1.0);
        add(&mut features, beside_words(&alone, &single), 1.0);
        Some(Self(features))
    }
}

/// Adds one sort of features: counts each once and gives all together this length.
fn add(features: &mut Vec<(u32, f32)>, mut hashes: Vec<u32>, length: f32) {
    hashes.sort_unstable();
    hashes.dedup();
    #[expect(clippy::cast_precision_loss, reason = "a text of 2,000 bytes has some thousand features")]
    let value = length / (hashes.len() as f32).sqrt();
    features.extend(hashes.into_iter().map(|hash| (hash, value)));
}

/// Two features together.
const fn both(kind: u32, one: u32, other: u32) -> u32 {
    let mixed = (one ^ kind).wrapping_mul(0x9e37_79b1).rotate_left(13) ^ other;
    let mixed = mixed.wrapping_mul(0x85eb_ca6b);
    mixed ^ mixed >> 15
}

/// Each set and each pair of sets.
fn meetings(sets: &[u32]) -> Vec<u32> {
    let pairs = sets
        .iter()
        .enumerate()
        .flat_map(|(at, set)| sets[at + 1..].iter().map(move |other| both(1, *set, *other)));
    sets.iter().copied().chain(pairs).collect()
}

/// Sets whose words follow each other closely.
fn following(sets: &[Spoken]) -> Vec<u32> {
    let places = sets.iter().flat_map(|spoken| spoken.at.iter().map(|at| (at.start, at.end, spoken.set)));
    let mut places: Vec<(usize, usize, u32)> = places.collect();
    places.sort_unstable();
    let after = |end: usize| {
        let from = places.partition_point(|place| place.0 < end);
        places[from..].iter().take_while(move |place| place.0 <= end + FOLLOWS_WITHIN)
    };
    places.iter().flat_map(|(_, end, set)| after(*end).map(|next| both(2, *set, next.2))).collect()
}

/// Each set with each word.
fn beside_words(sets: &[u32], words: &[u32]) -> Vec<u32> {
    if sets.len() * words.len() > MOST_PAIRS {
        return Vec::new();
    }
    sets.iter().flat_map(|set| words.iter().map(|word| both(3, *set, *word))).collect()
}

/// Pairs of the stems of words that stand a little apart.
fn gapped(words: &[&str]) -> Vec<u32> {
    let stems: Vec<u32> = words.iter().map(|word| hash(4, &[stem(word)])).collect();
    let pair = |at: usize, gap: usize| stems.get(at + gap).map(|other| both(4, stems[at], *other));
    (0..stems.len()).flat_map(|at| GAPS.filter_map(move |gap| pair(at, gap)).collect::<Vec<_>>()).collect()
}

/// A word without the commonest English ending.
fn stem(word: &str) -> &str {
    let endings = ["ings", "ing", "edly", "ed", "ies", "es", "s", "ly"];
    let without =
        endings.into_iter().find_map(|ending| word.strip_suffix(ending).filter(|stem| stem.len() > 2));
    without.unwrap_or(word)
}

/// All runs of characters of a text in the form of a view.
fn runs(text: &str) -> Vec<u32> {
    let mut runs = Vec::with_capacity(text.len() * RUNS.len());
    for (start, _) in text.char_indices() {
        let mut hash = Hash::new(5);
        for (length, c) in text[start..].chars().take(RUNS.end - 1).enumerate() {
            c.encode_utf8(&mut [0; 4]).bytes().for_each(|b| hash.byte(b));
            if RUNS.contains(&(length + 1)) {
                runs.push(hash.end());
            }
        }
    }
    runs
}

/// Adds a word; in scripts without spaces every character is one.
fn put<'a>(word: &'a str, words: &mut Vec<&'a str>) {
    if !word.chars().any(is_unspaced_script) {
        return words.push(word);
    }
    let mut rest = word;
    while let Some(c) = rest.chars().next() {
        let (one, after) = rest.split_at(c.len_utf8());
        words.push(one);
        rest = after;
    }
}

/// Learnt weights: for the violation, for passages of long texts and then for each category a step and its multiples, one byte each.
#[derive(Clone, Debug)]
pub(crate) struct Weights {
    bytes: Cow<'static, [u8]>,
    /// The worth of one step in each table.
    steps: Vec<f32>,
}

/// How many tables there are.
const TABLES: usize = 2 + Category::ALL.len();

impl Weights {
    /// Reads the form that [`train`] writes. Missing bytes count as no weight.
    pub(crate) fn read(bytes: Cow<'static, [u8]>) -> Self {
        let steps = bytes.chunks_exact(4).take(TABLES).filter_map(|four| four.try_into().ok());
        let steps = steps.map(f32::from_le_bytes).collect();
        Self { bytes, steps }
    }

    fn sum(&self, table: usize, from: usize, size: usize, features: &[(u32, f32)]) -> f32 {
        let weight = |hash: u32| {
            let at = 4 * TABLES + from + hash as usize % size;
            self.bytes.get(at).map_or(0.0, |byte| f32::from(byte.cast_signed()))
        };
        let sum: f32 = features.iter().map(|(hash, value)| weight(*hash) * value).sum();
        sum * self.steps.get(table).copied().unwrap_or_default()
    }

    /// Whether a passage of a long text reads like a request that violates the policy, by at least this margin.
    pub(crate) fn asks(&self, passage: &Features, least: f32) -> bool {
        self.sum(1, WEIGHTS, PASSAGE_WEIGHTS, &passage.0) >= least
    }

    /// What these weights say of a text: how much it is like any violation, and how much like the nearest category.
    pub(crate) fn score(&self, features: &Features) -> Scored {
        let any = self.sum(0, 0, WEIGHTS, &features.0);
        let mut best = (f32::NEG_INFINITY, Category::Fraud);
        for (at, category) in Category::ALL.into_iter().enumerate() {
            let from = WEIGHTS + PASSAGE_WEIGHTS + at * CATEGORY_WEIGHTS;
            let likeness = self.sum(2 + at, from, CATEGORY_WEIGHTS, &features.0);
            if likeness > best.0 {
                best = (likeness, category);
            }
        }
        let weighed = (1.0 - NEAREST) * any + NEAREST * best.0;
        Scored { margin: weighed, category: best.1 }
    }
}

/// The weights that are shipped.
pub(crate) fn shipped() -> &'static Weights {
    &SHIPPED
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spoken(sets: &[u32]) -> Vec<Spoken> {
        sets.iter().map(|set| Spoken { set: *set, at: std::iter::once(1..4).collect() }).collect()
    }

    #[test]
    fn a_text_too_short_to_say_anything_has_no_features() {
        assert_eq!(Features::of(" hello . ", &[]), None);
        assert!(Features::of(" how do birds sing . ", &spoken(&[1, 2, 3])).is_some());
    }

    #[test]
    fn every_set_meets_every_other_and_every_word() {
        let with = |sets: &[u32]| {
            Features::of(" how do birds sing . ", &spoken(sets)).map(|features| features.0.len())
        };
        let (none, words) = (with(&[]).unwrap_or_default(), 6);
        assert_eq!(with(&[11, 22, 33]), Some(none + 6 + 3 * words));
    }

    #[test]
    fn sets_follow_each_other_only_where_their_words_stand_close() {
        let at = |set: u32, at: Range<usize>| Spoken { set, at: std::iter::once(at).collect() };
        assert_eq!(following(&[at(1, 0..4), at(2, 10..12), at(3, 60..64)]), [both(2, 1, 2)]);
    }

    #[test]
    fn weights_that_are_cut_short_score_nothing() {
        let features = Features::of(" how do birds sing . ", &[]).unwrap();
        let nothing = Weights::read(Cow::Borrowed(&[])).score(&features);
        assert_eq!((nothing.confidence(), nothing.margin), (Some(Confidence::percent(40)), 0.0));
    }
}
