//! A passphrase beside the words (BIP39, "25th word"). Each makes a seed of its own, so that none is ever wrong by itself.

use std::fmt;

use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

/// The longest one, in bytes after normalization: what a backup holds.
pub(crate) const LONGEST: usize = 255;

/// Why a text is no passphrase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PassphraseError {
    /// There is nothing; that is the same as none.
    #[error("the passphrase is empty; leave it out, or choose one of a few words")]
    Empty,
    /// It is too long to be kept.
    #[error("the passphrase is longer than {LONGEST} bytes; choose a shorter one")]
    TooLong,
}

/// A passphrase, normalized as BIP39 wants it (NFKD): the same on every keyboard. Case and spaces count.
#[derive(Clone, PartialEq, Eq)]
pub struct Passphrase(Zeroizing<String>);

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(…)")
    }
}

impl Passphrase {
    /// What somebody typed.
    ///
    /// # Errors
    /// It is empty, or too long.
    pub fn new(typed: &str) -> Result<Self, PassphraseError> {
        // No reallocation leaves a part of it behind; most texts grow little, and those that do are refused.
        let mut text = Zeroizing::new(String::with_capacity(LONGEST + 4));
        for letter in typed.nfkd() {
            text.push(letter);
            if text.len() > LONGEST {
                return Err(PassphraseError::TooLong);
            }
        }
        if text.is_empty() { Err(PassphraseError::Empty) } else { Ok(Self(text)) }
    }

    /// The text.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passphrase_is_the_same_on_every_keyboard_and_is_not_printed() {
        let (one, other) =
            (Passphrase::new("Pa\u{df}wort \u{212b}"), Passphrase::new("Pa\u{df}wort A\u{30a}"));
        assert_eq!(one, other);
        assert_ne!(Passphrase::new("trezor"), Passphrase::new("TREZOR"));
        assert_ne!(Passphrase::new("TREZOR "), Passphrase::new("TREZOR"));
        assert_eq!(format!("{one:?}"), "Ok(Passphrase(…))");
    }

    #[test]
    fn nothing_is_none_and_too_much_is_refused() {
        assert_eq!(Passphrase::new(""), Err(PassphraseError::Empty));
        assert!(Passphrase::new(&"a".repeat(LONGEST)).is_ok());
        assert_eq!(Passphrase::new(&"a".repeat(LONGEST + 1)), Err(PassphraseError::TooLong));
        assert_eq!(Passphrase::new(&"\u{c5}".repeat(100)), Err(PassphraseError::TooLong), "as it is kept");
    }
}
