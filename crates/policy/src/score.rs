//! The score: beside the rules, a weighing of all words of a request and of how they meet. It finds requests that no rule
//! foresaw and doubts rules where the rest of the request reads honest.
//!
//! It is a linear model. Its weights (`rules/score.weights`) are learnt from the labelled jobs by [`train`] and shipped;
//! weighing needs additions and multiplications only, so that every machine comes to the same verdict. What it weighs are
//! the words and pairs of words, and the sets of `rules/*.rules` and their pairs: sets make it see the same thing in
//! seven languages. It is never sure: a judge, where there is one, may overrule it.

mod training;

use std::{borrow::Cow, sync::LazyLock};

use crate::{Category, Confidence, normal::is_unspaced_script};

pub use training::{cross_validate, train};

/// How many weights say whether a request violates the policy, as a power of two.
const WEIGHTS: usize = 1 << 17;

/// How many weights say which category it is, for each category, as a power of two.
const CATEGORY_WEIGHTS: usize = 1 << 12;

/// How much the sets weigh against the words.
const SETS_AGAINST_WORDS: f32 = 1.5;

/// Texts shorter than this, in bytes of the view, say too little.
const SHORTEST: usize = 12;

/// From this margin on a request counts as a violation, though no rule hit.
const VIOLATION: f32 = 0.55;

/// From this margin on it counts for more than the weakest rules.
const SURER: f32 = 0.9;

/// From this margin on a judge is worth asking.
const DOUBT: f32 = 0.0;

/// Below this margin what a rule found is no more than a doubt.
const HONEST: f32 = -0.1;

/// What a rule's finding is worth where the score reads an honest request.
pub(crate) const DOUBTED: Confidence = Confidence::percent(45);

/// Below this margin the same holds for rules that are as sure as [`VERY_SURE`].
const VERY_HONEST: f32 = -0.5;

/// Rules that are so sure are doubted less easily.
const VERY_SURE: Confidence = Confidence::percent(90);

static SHIPPED: LazyLock<Weights> =
    LazyLock::new(|| Weights::read(Cow::Borrowed(include_bytes!("../rules/score.weights"))));

/// What the features of one text are, each with its hash and value.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Features {
    all: Vec<(u32, f32)>,
    /// Those that tell the categories apart: single words and sets.
    single: Vec<(u32, f32)>,
}

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

    /// The surer of two readings of one job.
    pub(crate) fn worse(self, other: Option<Self>) -> Self {
        other.filter(|other| other.margin > self.margin).unwrap_or(self)
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
pub(crate) fn hash(kind: u8, words: &[&str]) -> u32 {
    let mut hash = 0x811c_9dc5_u32;
    let mut byte = |b: u8| hash = (hash ^ u32::from(b)).wrapping_mul(0x0100_0193);
    byte(kind);
    for word in words {
        word.bytes().for_each(|b| byte(if b == b'l' { b'i' } else { b }));
        byte(b' ');
    }
    hash ^ hash >> 15
}

impl Features {
    /// The features of a text in the form of a view, and of the sets (by the hashes of their names) that it speaks of.
    pub(crate) fn of(text: &str, sets: &[u32]) -> Option<Self> {
        if text.len() < SHORTEST {
            return None;
        }
        let mut words = vec!["^"];
        text.split(' ')
            .filter(|word| !word.is_empty() && *word != ".")
            .for_each(|word| put(word, &mut words));
        words.push("$");
        let mut features = Self::default();
        features.single.extend(words.iter().map(|word| (hash(1, &[word]), 1.0)));
        features.all = features.single.clone();
        features.all.extend(words.windows(2).map(|pair| (hash(2, pair), 1.0)));
        scale(&mut features.all, 1.0);
        let mut meetings: Vec<_> = sets.iter().map(|set| (*set, 1.0)).collect();
        for (at, set) in sets.iter().enumerate() {
            let pair = |other: &u32| (set.wrapping_mul(31) ^ other, 1.0);
            meetings.extend(sets[at + 1..].iter().map(pair));
        }
        scale(&mut meetings, SETS_AGAINST_WORDS);
        features.all.extend(meetings);
        scale(&mut features.single, 1.0);
        let mut alone: Vec<_> = sets.iter().map(|set| (*set, 1.0)).collect();
        scale(&mut alone, SETS_AGAINST_WORDS);
        features.single.extend(alone);
        for list in [&mut features.all, &mut features.single] {
            list.push((hash(0, &["bias"]), 1.0));
        }
        Some(features)
    }
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

/// Counts each feature once and gives all together this length.
fn scale(features: &mut Vec<(u32, f32)>, length: f32) {
    features.sort_unstable_by_key(|(hash, _)| *hash);
    features.dedup_by_key(|(hash, _)| *hash);
    let all = features.iter().map(|(_, value)| value * value).sum::<f32>().sqrt();
    if all > 0.0 {
        features.iter_mut().for_each(|(_, value)| *value *= length / all);
    }
}

/// Learnt weights: for the violation and then for each category a step and its multiples, one byte each.
#[derive(Clone, Debug)]
pub(crate) struct Weights {
    bytes: Cow<'static, [u8]>,
    /// The worth of one step in each table.
    steps: Vec<f32>,
}

/// How many tables there are.
const TABLES: usize = 1 + Category::ALL.len();

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

    /// What these weights say of a text.
    pub(crate) fn score(&self, features: &Features) -> Scored {
        let margin = self.sum(0, 0, WEIGHTS, &features.all);
        let mut best = (f32::NEG_INFINITY, Category::Fraud);
        for (at, category) in Category::ALL.into_iter().enumerate() {
            let from = WEIGHTS + at * CATEGORY_WEIGHTS;
            let likeness = self.sum(1 + at, from, CATEGORY_WEIGHTS, &features.single);
            if likeness > best.0 {
                best = (likeness, category);
            }
        }
        Scored { margin, category: best.1 }
    }
}

/// The weights that are shipped.
pub(crate) fn shipped() -> &'static Weights {
    &SHIPPED
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_too_short_to_say_anything_has_no_features() {
        assert_eq!(Features::of(" hello . ", &[]), None);
        assert!(Features::of(" how do birds sing . ", &[1, 2, 3]).is_some());
    }

    #[test]
    fn every_set_and_every_pair_of_sets_is_one_feature() {
        let with =
            |sets: &[u32]| Features::of(" how do birds sing . ", sets).map(|features| features.all.len());
        let none = with(&[]).unwrap_or_default();
        assert_eq!(with(&[11, 22, 33]), Some(none + 6));
    }

    #[test]
    fn weights_that_are_cut_short_score_nothing() {
        let features = Features::of(" how do birds sing . ", &[]).unwrap();
        let nothing = Weights::read(Cow::Borrowed(&[])).score(&features);
        assert_eq!((nothing.confidence(), nothing.margin), (Some(Confidence::percent(40)), 0.0));
    }
}
