//! Learns the score's weights from labelled jobs: a support vector machine with squared hinge loss, by dual coordinate
//! descent. It uses the four operations and square roots only and shuffles by a fixed seed, so that the same jobs give the
//! same bytes on every machine.

use std::{borrow::Cow, collections::BTreeMap};

use super::{CATEGORY_WEIGHTS, Features, PASSAGE_WEIGHTS, WEIGHTS, Weights};
use crate::{Category, Policy, Row, Table, rules};

/// How much a mistake on one job weighs against small weights, for the violation.
const COST: f64 = 0.5;

/// The same for the categories.
const CATEGORY_COST: f64 = 0.5;

/// How often each job is looked at. After so many rounds the weights hardly change.
const ROUNDS: usize = 12;

/// One example: its features, and on which side it lies.
struct Example<'a> {
    features: &'a [(u32, f32)],
    side: f64,
}

/// What is learnt from one row: nothing where the text of the job is material.
fn features(rows: &[Row]) -> Vec<Option<Features>> {
    rows.iter().map(|row| rules::features(&row.job())).collect()
}

/// Learns from these jobs, and gives the weights in the form in which they are shipped.
pub fn train(rows: &[Row]) -> Vec<u8> {
    learn(rows.iter().zip(&features(rows)))
}

fn learn<'a>(rows: impl Iterator<Item = (&'a Row, &'a Option<Features>)>) -> Vec<u8> {
    let known: Vec<_> = rows.filter_map(|(row, features)| Some((row, features.as_ref()?))).collect();
    let side = |violates: bool| if violates { 1.0 } else { -1.0 };
    let example = |(row, features): &(&Row, &'a Features)| Example {
        features: &features.0,
        side: side(row.violated().is_some()),
    };
    let requests: Vec<_> = known.iter().filter(|(row, _)| !is_page(row)).map(example).collect();
    let all: Vec<_> = known.iter().map(example).collect();
    let mut tables = vec![descend(&requests, WEIGHTS, COST), descend(&all, PASSAGE_WEIGHTS, COST)];
    for category in Category::ALL {
        let requests = known.iter().filter(|(row, _)| !is_page(row));
        let examples = requests.map(|(row, features)| Example {
            features: &features.0,
            side: side(row.violated() == Some(category)),
        });
        tables.push(descend(&examples.collect::<Vec<_>>(), CATEGORY_WEIGHTS, CATEGORY_COST));
    }
    written(&tables)
}

/// Whether a row is a passage of an honest page, which nobody sends alone.
fn is_page(row: &Row) -> bool {
    row.note.as_deref() == Some("page")
}

/// The weights that separate the examples best.
fn descend(examples: &[Example<'_>], size: usize, cost: f64) -> Vec<f64> {
    let mut weights = vec![0.0; size];
    let mut shares = vec![0.0; examples.len()];
    let slack = 0.5 / cost;
    let lengths: Vec<f64> = examples.iter().map(|example| dot(example.features, example.features)).collect();
    let mut order: Vec<usize> = (0..examples.len()).collect();
    let mut seed = 1_u64;
    for _ in 0..ROUNDS {
        shuffle(&mut order, &mut seed);
        for at in &order {
            let Example { features, side } = &examples[*at];
            let sum: f64 =
                features.iter().map(|(hash, value)| weights[*hash as usize % size] * f64::from(*value)).sum();
            let slope = side * sum - 1.0 + shares[*at] * slack;
            let share = (shares[*at] - slope / (lengths[*at] + slack)).max(0.0);
            let step = (share - shares[*at]) * side;
            shares[*at] = share;
            for (hash, value) in *features {
                weights[*hash as usize % size] += step * f64::from(*value);
            }
        }
    }
    weights
}

fn dot(one: &[(u32, f32)], other: &[(u32, f32)]) -> f64 {
    one.iter().zip(other).map(|((_, a), (_, b))| f64::from(*a) * f64::from(*b)).sum()
}

fn shuffle(order: &mut [usize], seed: &mut u64) {
    for at in (1..order.len()).rev() {
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        order.swap(at, (*seed >> 33) as usize % (at + 1));
    }
}

/// A step for each table, then each table as multiples of it.
fn written(tables: &[Vec<f64>]) -> Vec<u8> {
    let step = |table: &Vec<f64>| table.iter().fold(0.0, |most: f64, weight| most.max(weight.abs())) / 127.0;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a step needs no more digits, a multiple is at most 127"
    )]
    let (small, byte) = (|wide: f64| wide as f32, |multiple: f64| (multiple.round() as i8).cast_unsigned());
    let steps = tables.iter().flat_map(|table| small(step(table)).to_le_bytes());
    let mut bytes: Vec<u8> = steps.collect();
    for table in tables {
        let step = step(table).max(f64::MIN_POSITIVE);
        bytes.extend(table.iter().map(|weight| byte(weight / step)));
    }
    bytes
}

/// Learns from all but one of so many parts of the jobs and checks the part left out, for each part, by rules and score
/// together; `counts` says which rows go into the table. Jobs that share a run of words stand in the same part.
pub fn cross_validate(policy: &Policy, rows: &[Row], parts: usize, counts: impl Fn(&Row) -> bool) -> Table {
    let known = features(rows);
    let groups = groups(rows);
    let mut table = Table::default();
    let of_part = |at: usize, part: usize| spread(groups[at]) % parts == part;
    for part in 0..parts {
        let others = rows.iter().zip(&known).enumerate().filter(|(at, _)| !of_part(*at, part));
        let weights = Weights::read(Cow::Owned(learn(others.map(|(_, pair)| pair))));
        let left_out = rows.iter().enumerate().filter(|(at, row)| of_part(*at, part) && counts(row));
        for (_, row) in left_out {
            table.add(row, &policy.verdict_on(&rules::check_with(&row.job(), &weights)));
        }
    }
    table
}

/// So many words in a row that two jobs share make them one idea.
const SHARED_RUN: usize = 6;

/// For each job the first job that it belongs with, because they share a run of words with each other or with a third.
fn groups(rows: &[Row]) -> Vec<usize> {
    let mut first: Vec<usize> = (0..rows.len()).collect();
    let mut seen: BTreeMap<Vec<String>, usize> = BTreeMap::new();
    for (at, row) in rows.iter().enumerate() {
        let words = row.text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
        let words: Vec<String> = words.map(str::to_lowercase).collect();
        for run in words.chunks(words.len().max(1)).flat_map(|all| all.windows(SHARED_RUN.min(all.len()))) {
            let other = *seen.entry(run.to_vec()).or_insert(at);
            let (one, other) = (root(&first, at), root(&first, other));
            first[one.max(other)] = one.min(other);
        }
    }
    (0..rows.len()).map(|at| root(&first, at)).collect()
}

fn root(first: &[usize], mut at: usize) -> usize {
    while first[at] != at {
        at = first[at];
    }
    at
}

/// Spreads neighbours over the parts, because files are ordered by subject.
const fn spread(at: usize) -> usize {
    (at.wrapping_mul(2_654_435_761) >> 7) & 0xffff
}
