//! Encodings: base64 and hex runs, and rows of character codes. What decodes to text is put in its place.

use base64::{
    Engine,
    alphabet::{STANDARD, URL_SAFE},
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

/// Shorter runs are words.
const SHORTEST_RUN: usize = 8;

/// So many codes in a row are a text.
const SHORTEST_ROW: usize = 4;

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const STANDARD_BASE64: GeneralPurpose = GeneralPurpose::new(&STANDARD, LENIENT);
const URL_BASE64: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, LENIENT);

/// Replaces every run of base64 or hex that decodes to text.
pub(super) fn blobs(text: &str) -> Option<String> {
    let mut out = String::new();
    let (mut kept, mut at) = (0, 0);
    let bytes = text.as_bytes();
    while at < bytes.len() {
        let length = bytes[at..].iter().take_while(|b| is_blob(**b)).count();
        if length >= SHORTEST_RUN
            && let Some(decoded) = decode(&text[at..at + length])
        {
            out.push_str(&text[kept..at]);
            out.push_str(&decoded);
            kept = at + length;
        }
        at += length.max(1);
    }
    if kept == 0 {
        return None;
    }
    out.push_str(&text[kept..]);
    Some(out)
}

const fn is_blob(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=' | b'-' | b'_')
}

fn decode(run: &str) -> Option<String> {
    if run.len().is_multiple_of(2) && run.bytes().all(|b| b.is_ascii_hexdigit()) {
        return text_of(hex::decode(run).ok()?);
    }
    // Text in base64 has capitals and, but for the shortest, digits or signs; words have neither inside.
    if !run.bytes().skip(1).any(|b| b.is_ascii_uppercase()) {
        return None;
    }
    let decoded = STANDARD_BASE64.decode(run).or_else(|_| URL_BASE64.decode(run)).ok()?;
    text_of(decoded)
}

/// The bytes as text, if they are one: UTF-8, nothing that controls, mostly letters and spaces.
fn text_of(bytes: Vec<u8>) -> Option<String> {
    let text = String::from_utf8(bytes).ok()?;
    let (mut all, mut words) = (0_usize, 0_usize);
    for c in text.chars() {
        if c.is_control() && !c.is_whitespace() {
            return None;
        }
        all += 1;
        words += usize::from(c.is_alphanumeric() || c == ' ');
    }
    (all >= 3 && words * 10 >= all * 7).then_some(text)
}

/// Replaces rows of codes: hex pairs, decimal ASCII, groups of eight bits.
pub(super) fn codes(text: &str) -> Option<String> {
    let mut out = String::new();
    let mut kept = 0;
    let mut row = Row::default();
    for (start, end) in numbers(text) {
        let code = Code::read(&text[start..end]);
        if !row.takes(code, start) {
            row.finish(text, &mut out, &mut kept);
            row = Row::default();
            row.takes(code, start);
        }
        row.end = end;
    }
    row.finish(text, &mut out, &mut kept);
    if kept == 0 {
        return None;
    }
    out.push_str(&text[kept..]);
    Some(out)
}

/// Runs of letters and digits, with `0x` and `\` left to their reader.
fn numbers(text: &str) -> impl Iterator<Item = (usize, usize)> {
    let bytes = text.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at + bytes[at..].iter().position(|b| b.is_ascii_alphanumeric() || *b >= 0x80)?;
        let length = bytes[start..].iter().take_while(|b| b.is_ascii_alphanumeric() || **b >= 0x80).count();
        at = start + length;
        Some((start, at))
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Base {
    Hex,
    Decimal,
    Binary,
}

/// What one number may mean: two decimal digits may be hex or decimal.
#[derive(Clone, Copy)]
struct Code {
    hex: Option<u8>,
    decimal: Option<u8>,
    binary: Option<u8>,
}

impl Code {
    fn read(word: &str) -> Self {
        let digits = word.strip_prefix("0x").unwrap_or(word);
        let radix = |radix: u32, length: &[usize]| {
            let digits = Some(digits).filter(|digits| length.contains(&digits.len()));
            let value = digits.and_then(|digits| u8::from_str_radix(digits, radix).ok());
            value.filter(|value| *value >= 0x20 || matches!(value, 9 | 10 | 13))
        };
        Self { hex: radix(16, &[2]), decimal: radix(10, &[2, 3]), binary: radix(2, &[8]) }
    }
}

/// Codes in a row that can be read in the same base.
#[derive(Default)]
struct Row {
    start: usize,
    end: usize,
    codes: Vec<Code>,
}

impl Row {
    /// Whether the code carries the row on. Up to three signs may stand between two codes.
    fn takes(&mut self, code: Code, start: usize) -> bool {
        if self.codes.is_empty() {
            self.start = start;
        } else if start > self.end + 3 {
            return false;
        }
        self.codes.push(code);
        if self.decoded().is_none() {
            self.codes.pop();
            return self.codes.is_empty();
        }
        true
    }

    /// The base all codes can be read in. Only the newest code is looked at: the others were when they came.
    fn decoded(&self) -> Option<Base> {
        let last = self.codes.last()?;
        let first = self.codes.first()?;
        let fits = |base: Base| base.of(*first).is_some() && base.of(*last).is_some();
        [Base::Binary, Base::Hex, Base::Decimal].into_iter().find(|base| fits(*base))
    }

    fn finish(&self, text: &str, out: &mut String, kept: &mut usize) {
        if self.codes.len() < SHORTEST_ROW {
            return;
        }
        let decoded = [Base::Binary, Base::Hex, Base::Decimal].into_iter().find_map(|base| {
            let bytes: Option<Vec<u8>> = self.codes.iter().map(|code| base.of(*code)).collect();
            text_of(bytes?)
        });
        if let Some(decoded) = decoded {
            out.push_str(&text[*kept..self.start]);
            out.push_str(&decoded);
            *kept = self.end;
        }
    }
}

impl Base {
    const fn of(self, code: Code) -> Option<u8> {
        match self {
            Self::Hex => code.hex,
            Self::Decimal => code.decimal,
            Self::Binary => code.binary,
        }
    }
}
