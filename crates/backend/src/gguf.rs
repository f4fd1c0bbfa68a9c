//! The head of a GGUF model file, read before a server loads it: whether it is one, whole, and of what.
//!
//! Only the head is read, and nothing that it claims is believed without a bound. The format:
//! <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

use std::{
    fs::File,
    io::{self, BufReader, Read, Seek, SeekFrom},
    path::Path,
};

/// The most names and values, tensors, and dimensions of one: far above any model, far below any harm.
const MOST_VALUES: u64 = 100_000;
const MOST_TENSORS: u64 = 1_000_000;
const MOST_DIMENSIONS: u32 = 8;
/// Of a text, in bytes: chat templates are long.
const LONGEST_TEXT: u64 = 16 << 20;
/// Of an array: vocabularies.
const MOST_ITEMS: u64 = 16 << 20;
/// Arrays within arrays.
const DEEPEST: u32 = 4;

/// What a model file says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gguf {
    /// The version of the format: 2 or 3.
    pub version: u32,
    /// Such as `llama`.
    pub architecture: String,
    /// Tokens that the model was made for.
    pub context: Option<u64>,
    /// Tensors.
    pub tensors: u64,
}

/// Why a file is no model that could be loaded.
#[derive(Debug, thiserror::Error)]
pub enum GgufError {
    /// It cannot be read.
    #[error("{0}")]
    Io(io::Error),
    /// It is something else.
    #[error("it is no GGUF file: it begins with {0:?}; a model for llama.cpp ends in .gguf")]
    Magic(String),
    /// It is of a version that we do not know.
    #[error("it is GGUF version {0}; versions 2 and 3 are known, little-endian")]
    Version(u32),
    /// It ends too early.
    #[error("it is cut off: {found} bytes are there, {wanted} at least belong to it; fetch it again")]
    Cut {
        /// Bytes that are there.
        found: u64,
        /// Bytes that it says it has, as far as it could be read.
        wanted: u64,
    },
    /// It does not say what model it is; of one in parts only the first does.
    #[error("it is damaged: it does not say of what architecture it is; fetch it again")]
    Nameless,
    /// It says what cannot be.
    #[error("it is damaged: {0}; fetch it again")]
    Damaged(&'static str),
}

impl From<io::Error> for GgufError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Reads the head of a model file.
///
/// # Errors
/// It cannot be read, is no GGUF file, is cut off or damaged.
pub fn read_gguf(path: &Path) -> Result<Gguf, GgufError> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    read(BufReader::with_capacity(1 << 16, file), length)
}

/// Reads the head of a model of so many bytes.
pub(crate) fn read(from: impl Read + Seek, length: u64) -> Result<Gguf, GgufError> {
    let mut head = Head { from, at: 0, length };
    let magic = head.bytes::<4>().map_err(|_| GgufError::Magic(String::new()))?;
    if magic != *b"GGUF" {
        return Err(GgufError::Magic(String::from_utf8_lossy(&magic).into_owned()));
    }
    let version = head.u32()?;
    if !matches!(version, 2 | 3) {
        return Err(GgufError::Version(version));
    }
    let (tensors, values) = (head.u64()?, head.u64()?);
    if tensors > MOST_TENSORS || values > MOST_VALUES {
        return Err(GgufError::Damaged("its counts make no sense"));
    }
    let mut found = Gguf { version, tensors, ..Gguf::default() };
    let (mut alignment, mut parts) = (32, 1);
    for _ in 0..values {
        let name = head.text(1 << 16)?;
        let value = head.value(0)?;
        match (name.as_str(), value) {
            ("general.architecture", Seen::Text(text)) => {
                found.architecture = text.chars().take(64).collect()
            }
            ("general.alignment", Seen::Number(number)) => alignment = number,
            ("split.count", Seen::Number(number)) => parts = number,
            (name, Seen::Number(number)) if name.ends_with(".context_length") => found.context = Some(number),
            _ => {}
        }
    }
    // The first of several parts may hold all names and no tensor.
    if tensors == 0 && parts < 2 {
        return Err(GgufError::Damaged("it has no tensors"));
    }
    if !alignment.is_power_of_two() || alignment > 1 << 20 {
        return Err(GgufError::Damaged("its alignment makes no sense"));
    }
    let ends = head.tensors(tensors)?;
    let wanted = head.at.next_multiple_of(alignment).checked_add(ends);
    match wanted.ok_or(GgufError::Damaged("its sizes make no sense"))? {
        wanted if wanted > length => Err(GgufError::Cut { found: length, wanted }),
        _ if found.architecture.is_empty() => Err(GgufError::Nameless),
        _ => Ok(found),
    }
}

/// A value, as far as it matters here.
enum Seen {
    Number(u64),
    Text(String),
    Other,
}

struct Head<R> {
    from: R,
    at: u64,
    length: u64,
}

impl<R: Read + Seek> Head<R> {
    /// The next bytes; there are fewer if the file was cut.
    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], GgufError> {
        let mut bytes = [0; N];
        self.within(N as u64)?;
        self.from.read_exact(&mut bytes)?;
        self.at += N as u64;
        Ok(bytes)
    }

    fn within(&self, more: u64) -> Result<(), GgufError> {
        match self.at.checked_add(more) {
            Some(wanted) if wanted <= self.length => Ok(()),
            Some(wanted) => Err(GgufError::Cut { found: self.length, wanted }),
            None => Err(GgufError::Damaged("its sizes make no sense")),
        }
    }

    fn u32(&mut self) -> Result<u32, GgufError> {
        self.bytes().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, GgufError> {
        self.bytes().map(u64::from_le_bytes)
    }

    fn text(&mut self, longest: u64) -> Result<String, GgufError> {
        let length = self.u64()?;
        if length > longest {
            return Err(GgufError::Damaged("a text is too long"));
        }
        self.within(length)?;
        let mut text = Vec::new();
        (&mut self.from).take(length).read_to_end(&mut text)?;
        self.at += length;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    fn skip(&mut self, length: u64) -> Result<(), GgufError> {
        self.within(length)?;
        let by = i64::try_from(length).map_err(|_| GgufError::Damaged("its sizes make no sense"))?;
        self.from.seek(SeekFrom::Current(by))?;
        self.at += length;
        Ok(())
    }

    fn value(&mut self, depth: u32) -> Result<Seen, GgufError> {
        let form = self.u32()?;
        self.value_of(form, depth)
    }

    fn value_of(&mut self, form: u32, depth: u32) -> Result<Seen, GgufError> {
        Ok(match form {
            2 => Seen::Number(u16::from_le_bytes(self.bytes()?).into()),
            4 => Seen::Number(self.u32()?.into()),
            10 => Seen::Number(self.u64()?),
            8 => Seen::Text(self.text(LONGEST_TEXT)?),
            9 => {
                self.array(depth)?;
                Seen::Other
            }
            other => {
                self.skip(width(other).ok_or(GgufError::Damaged("a value is of no known form"))?)?;
                Seen::Other
            }
        })
    }

    fn array(&mut self, depth: u32) -> Result<(), GgufError> {
        let (form, count) = (self.u32()?, self.u64()?);
        if count > MOST_ITEMS || depth >= DEEPEST {
            return Err(GgufError::Damaged("an array is too large"));
        }
        match width(form) {
            Some(width) => self.skip(width * count),
            None => (0..count).try_for_each(|_| match form {
                8 => {
                    let length = self.u64()?;
                    self.skip(length)
                }
                _ => self.value_of(form, depth + 1).map(drop),
            }),
        }
    }

    /// The end of the last tensor, in bytes from the beginning of all.
    fn tensors(&mut self, count: u64) -> Result<u64, GgufError> {
        let mut last = 0;
        for _ in 0..count {
            self.text(1 << 12)?;
            let dimensions = self.u32()?;
            if dimensions > MOST_DIMENSIONS {
                return Err(GgufError::Damaged("a tensor has too many dimensions"));
            }
            let mut elements = 1_u64;
            for _ in 0..dimensions {
                elements =
                    elements.checked_mul(self.u64()?).ok_or(GgufError::Damaged("a tensor is too large"))?;
            }
            let (form, offset) = (self.u32()?, self.u64()?);
            let end = offset.checked_add(weight(form, elements));
            last = last.max(end.ok_or(GgufError::Damaged("its sizes make no sense"))?);
        }
        Ok(last)
    }
}

/// The bytes of a value of a form that has always as many.
const fn width(form: u32) -> Option<u64> {
    match form {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}

/// The bytes of so many elements; 0 of a form that is not known, so that new ones are no mistake.
const fn weight(form: u32, elements: u64) -> u64 {
    // Elements and bytes of a block, by ggml's types.
    let (block, bytes) = match form {
        0 | 26 => (1, 4),
        1 | 25 | 30 => (1, 2),
        2 | 20 => (32, 18),
        3 => (32, 20),
        6 => (32, 22),
        7 => (32, 24),
        8 => (32, 34),
        9 => (32, 36),
        10 => (256, 84),
        11 => (256, 110),
        12 => (256, 144),
        13 => (256, 176),
        14 => (256, 210),
        23 => (256, 136),
        24 => (1, 1),
        27 | 28 => (1, 8),
        39 => (32, 17),
        _ => return 0,
    };
    (elements / block).saturating_mul(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]
    use super::*;
    use std::io::Cursor;

    /// A model with a name, an array of texts and one tensor of 32 numbers.
    fn model() -> Vec<u8> {
        let mut file = b"GGUF".to_vec();
        let text = |file: &mut Vec<u8>, text: &str| {
            file.extend((text.len() as u64).to_le_bytes());
            file.extend(text.as_bytes());
        };
        file.extend(3_u32.to_le_bytes());
        file.extend(1_u64.to_le_bytes());
        file.extend(3_u64.to_le_bytes());
        text(&mut file, "general.architecture");
        file.extend(8_u32.to_le_bytes());
        text(&mut file, "llama");
        text(&mut file, "llama.context_length");
        file.extend(4_u32.to_le_bytes());
        file.extend(4_096_u32.to_le_bytes());
        text(&mut file, "tokens");
        file.extend(9_u32.to_le_bytes());
        file.extend(8_u32.to_le_bytes());
        file.extend(2_u64.to_le_bytes());
        text(&mut file, "a");
        text(&mut file, "bc");
        text(&mut file, "weights");
        file.extend(2_u32.to_le_bytes());
        file.extend(8_u64.to_le_bytes());
        file.extend(4_u64.to_le_bytes());
        file.extend(0_u32.to_le_bytes());
        file.extend(0_u64.to_le_bytes());
        file.resize(file.len().next_multiple_of(32) + 128, 0);
        file
    }

    fn of(bytes: &[u8]) -> Result<Gguf, GgufError> {
        read(Cursor::new(bytes), bytes.len() as u64)
    }

    #[test]
    fn a_whole_model_says_what_it_is_and_a_cut_one_that_it_is_cut() {
        let whole = model();
        let expected = Gguf { version: 3, architecture: "llama".into(), context: Some(4_096), tensors: 1 };
        assert_eq!(of(&whole).unwrap(), expected);
        for cut in 4..whole.len() {
            assert!(matches!(of(&whole[..cut]), Err(GgufError::Cut { .. })), "cut at {cut}");
        }
    }

    #[test]
    fn what_is_no_model_says_so_and_no_byte_makes_it_read_without_end() {
        for (bytes, word) in [
            (&b"PK\x03\x04zip"[..], "no GGUF file"),
            (b"<html>", "no GGUF file"),
            (b"", "no GGUF file"),
            (b"GGUF\x01\0\0\0", "version 1"),
            (b"GGUF\0\0\0\x03", "version"),
        ] {
            assert!(of(bytes).unwrap_err().to_string().contains(word), "{word}");
        }
        let whole = model();
        for at in 0..whole.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut bent = whole.clone();
                bent[at] = value;
                // Whatever it says, it is an answer.
                let _ = of(&bent);
            }
        }
        let mut many = whole;
        many[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(matches!(of(&many), Err(GgufError::Damaged(_))));
    }
}
