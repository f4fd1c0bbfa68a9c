//! The name a client gives to a subscription (NIP-01): short, and cheap to copy.

use std::{borrow::Borrow, fmt, sync::Arc};

use openagents_types::{EventId, JobId};

/// Longest subscription id that NIP-01 allows, in characters.
const LONGEST: usize = 64;

/// The name of a subscription, unique on one connection: 1 to 64 characters (NIP-01).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubId(Arc<str>);

/// The text cannot name a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a subscription id has 1 to {LONGEST} characters, this one has {0}")]
pub struct SubIdError(usize);

impl SubId {
    /// Reads a name.
    ///
    /// # Errors
    /// It is empty or longer than 64 characters.
    pub fn parse(text: &str) -> Result<Self, SubIdError> {
        match text.chars().take(LONGEST + 1).count() {
            1..=LONGEST => Ok(Self(text.into())),
            _ => Err(SubIdError(text.chars().count())),
        }
    }

    /// A name written in the program, cut to 64 characters; an empty one becomes `-`.
    pub fn named(name: &'static str) -> Self {
        let cut = name.char_indices().nth(LONGEST).map_or(name.len(), |(at, _)| at);
        Self(if name.is_empty() { "-".into() } else { name[..cut].into() })
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The 64 digits of an event id are exactly as long as a name may be.
impl From<EventId> for SubId {
    fn from(id: EventId) -> Self {
        Self(id.to_hex().into())
    }
}

impl From<JobId> for SubId {
    fn from(id: JobId) -> Self {
        Self::from(id.event())
    }
}

impl Borrow<str> for SubId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SubId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::text::printable(&self.0, LONGEST))
    }
}

impl fmt::Debug for SubId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SubId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_to_sixty_four_characters() {
        assert!(SubId::parse("").is_err());
        assert!(SubId::parse(&"ä".repeat(64)).is_ok());
        assert_eq!(SubId::parse(&"ä".repeat(65)), Err(SubIdError(65)));
        assert_eq!(SubId::from(JobId::from_bytes([7; 32])).as_str().len(), 64);
    }
}
