//! The numbers that name kinds of work (NIP-90).

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The kind of a job request: 5000-5999 (NIP-90), or 6500-6599 for this market's own kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct JobKind(u16);

impl JobKind {
    /// Text extraction.
    pub const TEXT_EXTRACTION: Self = Self(5000);
    /// Summarization.
    pub const SUMMARIZATION: Self = Self(5001);
    /// Text generation.
    pub const TEXT_GENERATION: Self = Self(5050);
    /// Video conversion.
    pub const VIDEO_CONVERSION: Self = Self(5200);
    /// Text to speech.
    pub const TEXT_TO_SPEECH: Self = Self(5250);
    /// Malware scanning.
    pub const MALWARE_SCANNING: Self = Self(5500);
    /// Content moderation.
    pub const CONTENT_MODERATION: Self = Self(6513);

    /// The number as it stands in a request event.
    pub const fn get(self) -> u16 {
        self.0
    }

    /// The kind of the event that carries the result: always 1000 more.
    pub const fn result(self) -> u16 {
        self.0 + 1000
    }

    /// Whether this is one of the market's own kinds, which lie inside NIP-90's result range.
    pub const fn is_custom(self) -> bool {
        self.0 >= 6500
    }
}

impl TryFrom<u16> for JobKind {
    type Error = KindError;

    fn try_from(number: u16) -> Result<Self, KindError> {
        match number {
            5000..=5999 | 6500..=6599 => Ok(Self(number)),
            _ => Err(KindError(number.to_string())),
        }
    }
}

impl From<JobKind> for u16 {
    fn from(kind: JobKind) -> Self {
        kind.0
    }
}

impl FromStr for JobKind {
    type Err = KindError;

    fn from_str(text: &str) -> Result<Self, KindError> {
        let number: u16 = text.trim().parse().map_err(|_| KindError(text.chars().take(16).collect()))?;
        Self::try_from(number)
    }
}

impl fmt::Display for JobKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number names no job kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a job kind; job kinds are 5000-5999 and 6500-6599")]
pub struct KindError(String);
