//! An answer as it comes in, line by line and cut anywhere: one end, stop texts and length cut by us.

use std::time::Instant;

use openagents_types::{Millis, Usage};

use super::estimate;
use crate::{BackendError, Output, is_harmful, openai};

/// Answer taken, in bytes: more is longer than a result can carry.
const LARGEST_ANSWER: usize = 48 << 10;

/// What one line of a stream says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// Text of the answer.
    pub text: String,
    /// The answer is whole: no text follows.
    pub finished: bool,
    /// Nothing follows.
    pub ended: bool,
    /// It ends because it is as long as it may be.
    pub cut: bool,
    /// Tokens read, as the server counts.
    pub input_tokens: Option<u64>,
    /// Tokens written, as the server counts.
    pub output_tokens: Option<u64>,
    /// Whether the model is at work; comments that keep a line open are none.
    pub is_progress: bool,
}

/// Reads a line.
pub type ReadLine = fn(&str) -> Result<Said, BackendError>;

/// An answer as it comes in. The pieces that it gives out are the whole answer.
#[derive(Debug)]
pub struct Reading {
    line: ReadLine,
    stops: Vec<String>,
    most_pieces: u64,
    buffer: Vec<u8>,
    content: String,
    /// The end of the text, as far as it may be the beginning of a stop text.
    held: String,
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    pieces: u64,
    /// Lines that show that the model is at work.
    progress: u64,
    finished: bool,
    ended: bool,
    cut: bool,
}

impl Default for Reading {
    fn default() -> Self {
        Self::new(openai::line, Vec::new(), u64::MAX)
    }
}

impl Reading {
    /// An answer that ends at one of these texts, and after so many tokens, whatever the server thinks of them.
    pub(crate) fn new(line: ReadLine, stops: Vec<String>, max_tokens: u64) -> Self {
        Self {
            line,
            stops,
            // No server sends more pieces than tokens.
            most_pieces: max_tokens,
            buffer: Vec::new(),
            content: String::new(),
            held: String::new(),
            input_tokens: None,
            output_tokens: None,
            pieces: 0,
            progress: 0,
            finished: false,
            ended: false,
            cut: false,
        }
    }

    /// Whether nothing more is to be read.
    pub const fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether the server has said that the text is whole.
    pub(crate) const fn is_whole(&self) -> bool {
        self.finished || self.ended
    }

    /// Whether the text ends because it is as long as it may be.
    pub(crate) const fn is_cut(&self) -> bool {
        self.cut
    }

    pub(crate) const fn progress(&self) -> u64 {
        self.progress
    }

    /// Takes bytes, and gives back what text they complete.
    ///
    /// # Errors
    /// The server reports an error, says what is no answer, or says too much.
    pub fn take(&mut self, bytes: &[u8]) -> Result<Vec<String>, BackendError> {
        self.buffer.extend_from_slice(bytes);
        let mut texts = Vec::new();
        // After the end nothing counts, whether it came with the end or later.
        while !self.ended
            && let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n')
        {
            let line: Vec<u8> = self.buffer.drain(..=end).collect();
            if line.len() > LARGEST_ANSWER {
                return Err(too_long());
            }
            // Lines are cut at line ends only, so a character is never cut.
            let said = (self.line)(String::from_utf8_lossy(&line).trim_end())?;
            texts.extend(self.hear(&said)?);
        }
        if self.ended {
            self.buffer.clear();
        }
        if self.buffer.len() >= LARGEST_ANSWER { Err(too_long()) } else { Ok(texts) }
    }

    fn hear(&mut self, said: &Said) -> Result<Option<String>, BackendError> {
        self.progress += u64::from(said.is_progress);
        self.input_tokens = said.input_tokens.or(self.input_tokens);
        self.output_tokens = said.output_tokens.or(self.output_tokens);
        let fresh: String = said.text.chars().filter(|c| !is_harmful(*c)).collect();
        // What a server still says after it has said that the answer is whole is none of it.
        if !fresh.is_empty() && !self.finished {
            self.add(&fresh);
        }
        self.cut |= said.cut;
        self.finished |= said.finished;
        self.ended |= said.ended;
        let text = self.release(self.is_whole());
        if self.content.len() > LARGEST_ANSWER {
            return Err(BackendError::BadInput("the answer is longer than a result can carry".into()));
        }
        Ok(Some(text).filter(|text| !text.is_empty()))
    }

    /// Adds to the answer, and ends it at the first stop text, or where it is as long as it may be.
    fn add(&mut self, fresh: &str) {
        if self.pieces == self.most_pieces {
            (self.finished, self.ended, self.cut) = (true, true, true);
            return;
        }
        self.pieces += 1;
        self.held.push_str(fresh);
        if let Some(at) = self.stops.iter().filter_map(|stop| self.held.find(stop.as_str())).min() {
            self.held.truncate(at);
            (self.finished, self.ended) = (true, true);
        }
    }

    /// The text that is no beginning of a stop text, or all of it.
    fn release(&mut self, whole: bool) -> String {
        let kept =
            if whole { 0 } else { self.stops.iter().map(|stop| begun(&self.held, stop)).max().unwrap_or(0) };
        let rest = self.held.split_off(self.held.len() - kept);
        let text = std::mem::replace(&mut self.held, rest);
        self.content.push_str(&text);
        text
    }

    /// The whole answer of the backend `openai`, by `model`, to a question asked at `started`.
    ///
    /// # Errors
    /// The server never said that the answer ended, or there is none.
    pub fn output(self, model: Option<&str>, started: Instant) -> Result<Output, BackendError> {
        let usage =
            Usage { backend: openai::KIND.name.into(), model: model.map(str::to_owned), ..Usage::default() };
        self.whole(usage, 0, started)
    }

    /// The whole answer. `estimated` tokens were read if the server counts none.
    pub(crate) fn whole(self, by: Usage, estimated: u64, started: Instant) -> Result<Output, BackendError> {
        if !self.is_whole() {
            return Err(BackendError::Truncated);
        }
        if self.content.is_empty() {
            return Err(BackendError::Refused);
        }
        let counted = |count: Option<u64>, otherwise| count.filter(|count| *count > 0).unwrap_or(otherwise);
        let usage = Usage {
            input_tokens: counted(self.input_tokens, estimated),
            output_tokens: counted(self.output_tokens, written(self.pieces, &self.content)),
            elapsed: Millis(u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX)),
            ..by
        };
        Ok(Output::text(self.content, usage))
    }
}

/// Tokens of an answer that its server does not count. Most send one a piece; where pieces are far longer than tokens are,
/// as from whoever sends the whole answer in one, its length tells.
fn written(pieces: u64, content: &str) -> u64 {
    let estimated = estimate(content);
    if estimated > pieces.saturating_mul(4) { estimated } else { pieces }
}

/// How much of the end of `text` may be the beginning of `stop`, in bytes.
fn begun(text: &str, stop: &str) -> usize {
    let ends = stop.char_indices().map(|(at, _)| at).filter(|at| *at > 0 && text.ends_with(&stop[..*at]));
    ends.max().unwrap_or(0)
}

fn too_long() -> BackendError {
    BackendError::Protocol("a line without end".into())
}
