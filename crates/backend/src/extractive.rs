//! Summarization (kind 5001) without a model: the sentences of a text that are most like all others.
//!
//! LexRank (Erkan and Radev, 2004, Journal of Artificial Intelligence Research 22): sentences are
//! nodes, their tf-idf cosine similarity the weights of edges, and the summary is made of the nodes
//! that a random walk visits most, in the order of the text. The same text gives the same summary.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Instant,
};

use async_trait::async_trait;
use openagents_types::{JobKind, Millis, Param, Usage};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use unicode_segmentation::UnicodeSegmentation;

use crate::{
    Backend, BackendError, BackendKind, Built, Extraction, Health, Output, Rejection, Settings, Work,
    bad_param, param,
};

/// The row of [`crate::BACKENDS`].
pub(crate) const KIND: BackendKind =
    BackendKind { name: "extractive", about: "summaries (5001) by LexRank, no model needed", build };

fn build(_: &Settings) -> Vec<Built> {
    vec![Ok(Arc::new(Extractive::new(Extraction::this_program())))]
}

/// Sentences looked at; the similarity of all pairs is computed, so this bounds time and memory.
const SENTENCES: usize = 1_500;
/// Input taken, in bytes.
const LARGEST: u64 = 10 << 20;
/// Sentences less alike than this are not neighbours.
const THRESHOLD: f64 = 0.1;
/// The walk follows an edge with this probability, and jumps anywhere otherwise.
const DAMPING: f64 = 0.85;
/// What is asked for if nothing is said.
const DEFAULT_LENGTH: Length = Length::Words(100);

/// Summaries by LexRank.
#[derive(Clone, Debug)]
pub struct Extractive {
    extraction: Extraction,
}

/// How long a summary may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    Words(usize),
    Sentences(usize),
    Paragraphs(usize),
}

/// How many sentences make a paragraph of a summary.
const PARAGRAPH: usize = 3;

impl Extractive {
    /// A backend that turns HTML and PDF into text with `extraction` first.
    pub const fn new(extraction: Extraction) -> Self {
        Self { extraction }
    }
}

#[async_trait]
impl Backend for Extractive {
    fn name(&self) -> &'static str {
        KIND.name
    }

    fn kinds(&self) -> Vec<JobKind> {
        vec![JobKind::SUMMARIZATION]
    }

    async fn probe(&self) -> Health {
        Health::Ready
    }

    fn check(&self, _: JobKind, params: &[Param], input_bytes: u64) -> Result<(), Rejection> {
        length(params)?;
        if input_bytes == 0 {
            return Err(Rejection::NoInput);
        }
        if input_bytes > LARGEST {
            return Err(Rejection::TooLarge { found: input_bytes, most: LARGEST });
        }
        Ok(())
    }

    async fn run(
        &self,
        work: Work,
        _pieces: mpsc::Sender<String>,
        stop: CancellationToken,
    ) -> Result<Output, BackendError> {
        let started = Instant::now();
        let length = length(&work.params).map_err(|error| BackendError::BadInput(error.to_string()))?;
        let mut texts = Vec::new();
        for input in &work.inputs {
            texts.push(self.extraction.text(input, &stop).await?);
        }
        let text = texts.join("\n\n");
        let stopped = stop.clone();
        let summary = tokio::task::spawn_blocking(move || {
            let words = text.unicode_words().count();
            summarize(&text, length, &stopped).map(|summary| (summary, words))
        });
        let (content, read) = match summary.await {
            Ok(Some(done)) => done,
            Ok(None) if stop.is_cancelled() => return Err(BackendError::Cancelled),
            Ok(None) => return Err(BackendError::BadInput("there are no sentences in the input".into())),
            Err(_) => return Err(BackendError::Died),
        };
        let usage = Usage {
            digest: None,
            backend: KIND.name.into(),
            model: None,
            input_tokens: read as u64,
            output_tokens: content.unicode_words().count() as u64,
            elapsed: Millis(u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX)),
            ..Usage::default()
        };
        Ok(Output::text(content, usage))
    }
}

/// Reads `100 words`, `3 paragraphs`, `2 sentences` or a bare number of words.
fn length(params: &[Param]) -> Result<Length, Rejection> {
    let Some(text) = param(params, &["length"]) else { return Ok(DEFAULT_LENGTH) };
    let expected = "such as \"100 words\", \"5 sentences\" or \"2 paragraphs\"";
    let bad = || bad_param("length", text, expected);
    let mut parts = text.split_whitespace();
    let number: usize =
        parts.next().and_then(|n| n.parse().ok()).filter(|n| (1..=100_000).contains(n)).ok_or_else(bad)?;
    match (parts.next().unwrap_or("words").to_lowercase().as_str(), parts.next()) {
        ("word" | "words", None) => Ok(Length::Words(number)),
        ("sentence" | "sentences", None) => Ok(Length::Sentences(number)),
        ("paragraph" | "paragraphs", None) => Ok(Length::Paragraphs(number)),
        _ => Err(bad()),
    }
}

fn summarize(text: &str, length: Length, stop: &CancellationToken) -> Option<String> {
    let sentences = sentences(text);
    if sentences.is_empty() {
        return None;
    }
    let ranks = rank(&sentences, stop)?;
    let mut order: Vec<usize> = (0..sentences.len()).collect();
    order.sort_by(|a, b| ranks[*b].total_cmp(&ranks[*a]).then(a.cmp(b)));
    let mut chosen = choose(&sentences, &order, length);
    chosen.sort_unstable();
    let picked: Vec<&str> = chosen.iter().map(|index| sentences[*index].as_str()).collect();
    Some(match length {
        Length::Words(_) | Length::Sentences(_) => picked.join(" "),
        Length::Paragraphs(_) => {
            picked.chunks(PARAGRAPH).map(|chunk| chunk.join(" ")).collect::<Vec<_>>().join("\n\n")
        }
    })
}

/// Best sentences first, as long as they fit. At least one is chosen; a first one that alone is
/// longer than asked is cut to length.
fn choose(sentences: &[String], order: &[usize], length: Length) -> Vec<usize> {
    match length {
        Length::Sentences(count) => order.iter().copied().take(count).collect(),
        Length::Paragraphs(count) => order.iter().copied().take(count * PARAGRAPH).collect(),
        Length::Words(most) => {
            let mut left = most;
            let mut chosen = Vec::new();
            for index in order {
                let words = sentences[*index].unicode_words().count();
                if words <= left {
                    left -= words;
                    chosen.push(*index);
                }
            }
            if chosen.is_empty() {
                let shortest = order.iter().min_by_key(|index| sentences[**index].unicode_words().count());
                chosen.extend(shortest.copied());
            }
            chosen
        }
    }
}

/// The sentences of the prose in a text: headings, list items, code and fragments are left out.
fn sentences(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut in_code = false;
    let mut paragraph = String::new();
    let mut flush = |paragraph: &mut String| {
        let whole = paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
        for sentence in whole.unicode_sentences().map(str::trim) {
            if sentence.unicode_words().count() >= 4 || is_dense_script(sentence) {
                found.push(sentence.to_owned());
            }
        }
        paragraph.clear();
    };
    for line in text.lines() {
        let line = line.trim();
        in_code ^= line.starts_with("```");
        let prose = !in_code && !is_heading_or_item(line);
        if line.is_empty() || !prose {
            flush(&mut paragraph);
        } else {
            paragraph.push_str(line);
            paragraph.push('\n');
        }
    }
    flush(&mut paragraph);
    if found.is_empty() {
        found = text.unicode_sentences().map(|s| s.trim().to_owned()).filter(|s| !s.is_empty()).collect();
    }
    // A sentence that stands there twice tells nothing more the second time.
    let mut seen = HashSet::new();
    found.retain(|sentence| seen.insert(sentence.to_lowercase()));
    found.truncate(SENTENCES);
    found
}

/// Scripts that write words without spaces, where few "words" are already a sentence.
fn is_dense_script(text: &str) -> bool {
    text.chars().filter(|c| matches!(c, '\u{3040}'..='\u{30ff}' | '\u{4e00}'..='\u{9fff}')).count() >= 6
}

fn is_heading_or_item(line: &str) -> bool {
    let numbered =
        line.split_once(". ").is_some_and(|(n, _)| n.chars().all(|c| c.is_ascii_digit()) && !n.is_empty());
    ["#", "- ", "* ", "+ ", "|", "```", "=="].iter().any(|start| line.starts_with(start)) || numbered
}

/// How often a random walk over similar sentences visits each; `None` if called off.
fn rank(sentences: &[String], stop: &CancellationToken) -> Option<Vec<f64>> {
    let vectors = vectors(sentences);
    let count = vectors.len();
    let mut neighbours: Vec<Vec<(usize, f64)>> = vec![Vec::new(); count];
    for a in 0..count {
        if a % 64 == 0 && stop.is_cancelled() {
            return None;
        }
        for b in a + 1..count {
            let similarity = cosine(&vectors[a], &vectors[b]);
            if similarity >= THRESHOLD {
                neighbours[a].push((b, similarity));
                neighbours[b].push((a, similarity));
            }
        }
    }
    Some(walk(&neighbours))
}

#[expect(clippy::cast_precision_loss, reason = "at most SENTENCES of them")]
fn walk(neighbours: &[Vec<(usize, f64)>]) -> Vec<f64> {
    const STEPS: usize = 50;
    let count = neighbours.len();
    let sums: Vec<f64> = neighbours.iter().map(|list| list.iter().map(|(_, weight)| weight).sum()).collect();
    let mut ranks = vec![1.0 / count as f64; count];
    for _ in 0..STEPS {
        let mut next = vec![(1.0 - DAMPING) / count as f64; count];
        for (from, list) in neighbours.iter().enumerate() {
            for (to, weight) in list {
                next[*to] += DAMPING * ranks[from] * weight / sums[from];
            }
        }
        ranks = next;
    }
    ranks
}

/// A sentence as tf-idf weights by word number, of length one.
type Vector = Vec<(usize, f64)>;

#[expect(clippy::cast_precision_loss, reason = "counts of words in a text")]
fn vectors(sentences: &[String]) -> Vec<Vector> {
    let mut numbers: HashMap<String, usize> = HashMap::new();
    let mut counts: Vec<BTreeMap<usize, f64>> = Vec::new();
    let mut documents: HashMap<usize, usize> = HashMap::new();
    for sentence in sentences {
        let mut bag = BTreeMap::new();
        for word in sentence.unicode_words() {
            let next = numbers.len();
            let number = *numbers.entry(word.to_lowercase()).or_insert(next);
            *bag.entry(number).or_insert(0.0) += 1.0;
        }
        for number in bag.keys() {
            *documents.entry(*number).or_default() += 1;
        }
        counts.push(bag);
    }
    let total = sentences.len() as f64;
    let weigh = |bag: BTreeMap<usize, f64>| {
        let idf = |number| (1.0 + total / (1.0 + documents[number] as f64)).ln();
        let mut vector: Vector = bag.iter().map(|(number, count)| (*number, count * idf(number))).collect();
        let norm =
            vector.iter().map(|(_, weight)| weight * weight).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
        vector.iter_mut().for_each(|(_, weight)| *weight /= norm);
        vector
    };
    counts.into_iter().map(weigh).collect()
}

fn cosine(a: &Vector, b: &Vector) -> f64 {
    let (mut i, mut j, mut sum) = (0, 0, 0.0);
    while i < a.len() && j < b.len() {
        match a[i].0.cmp(&b[j].0) {
            std::cmp::Ordering::Less => i += 1,
            std::cmp::Ordering::Greater => j += 1,
            std::cmp::Ordering::Equal => {
                sum += a[i].1 * b[j].1;
                (i, j) = (i + 1, j + 1);
            }
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]
    use super::*;

    const TEXT: &str = "# A heading\n\nLightning payments settle in seconds and cost little. \
        Payments over Lightning can be locked until delivery. A locked payment goes back if nothing is delivered. \
        My cat likes warm places. Markets work when payments and delivery are tied together.\n\n- a list item\n";

    fn run(text: &str, length: &str) -> String {
        let length = super::length(&[Param::new("length", length)]).unwrap();
        summarize(text, length, &CancellationToken::new()).unwrap()
    }

    #[test]
    fn the_summary_is_what_the_text_is_about() {
        let summary = run(TEXT, "2 sentences");
        assert!(
            summary.contains("ayment") && !summary.contains("cat") && !summary.contains('#'),
            "{summary}"
        );
    }

    #[test]
    fn a_summary_is_never_longer_than_asked() {
        let long = TEXT.repeat(40);
        for words in [12, 20, 50, 100] {
            let summary = run(&long, &format!("{words} words"));
            assert!(summary.unicode_words().count() <= words, "{words}: {summary}");
            assert!(!summary.is_empty());
        }
        assert_eq!(run(&long, "2 paragraphs").split("\n\n").count(), 2);
    }

    #[test]
    fn a_sentence_that_is_repeated_is_told_once() {
        let summary = run(&TEXT.repeat(5), "100 words");
        assert_eq!(summary.matches("My cat likes warm places.").count(), 1, "{summary}");
    }

    #[test]
    fn the_same_text_gives_the_same_summary() {
        assert_eq!(run(TEXT, "30 words"), run(TEXT, "30 words"));
    }

    #[test]
    fn other_languages_have_sentences_too() {
        let text = "市場は計算を売る。支払いは配達まで保留される。配達がなければお金は戻る。";
        assert!(run(text, "1 sentence").ends_with('。'));
    }

    #[test]
    fn a_length_that_cannot_be_read_is_named() {
        for bad in ["", "many words", "0 words", "-3", "3 pages", "10 words please"] {
            let error = length(&[Param::new("length", bad)]).unwrap_err();
            assert!(error.to_string().contains("length"), "{error}");
        }
        assert_eq!(length(&[Param::new("length", "40")]), Ok(Length::Words(40)));
        assert_eq!(length(&[]), Ok(DEFAULT_LENGTH));
    }
}
