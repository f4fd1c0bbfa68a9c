//! The Breez API key: one secret of a home, in the system's keyring where the home uses that, else in a file.
//!
//! `breez.key` holds the key itself, readable for its owner alone, or the line `keyring:…` that names where the
//! keyring keeps it, as `device.key` does. Without it, `BREEZ_API_KEY` is read. The key unlocks a service and no
//! money: whoever lost it asks for another one.

use std::path::PathBuf;

use openagents_keyring::{Keyring, KeyringError, Secret};
use zeroize::Zeroizing;

use crate::{
    device::{self, DeviceError},
    home::{Home, HomeError, Site, remove, write_private},
};

/// The environment variable that is read where no key is kept.
pub const VARIABLE: &str = "BREEZ_API_KEY";

/// Where a key is to be had, free of charge.
pub const OBTAIN: &str = "https://breez.technology/request-api-key/#contact-us-form-sdk";

/// The fewest characters of a key. Real ones are certificates of several hundred.
const SHORTEST: usize = 32;

/// Why there is no key to use. No part of a key appears in these texts.
#[derive(Debug, thiserror::Error)]
pub enum BreezError {
    /// There is none.
    #[error(
        "there is no Breez API key, which real money on Spark needs; ask for one at {OBTAIN}, then run `openagents \
         wallet spark key set`"
    )]
    Missing,
    /// It cannot be one.
    #[error("the Breez API key in {place} {reason}; copy it again from the mail it came in")]
    Invalid {
        /// Where it is from.
        place: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The keyring has it, and cannot be asked.
    #[error("{0}, and it holds the Breez API key; unlock it, or set the key again")]
    Closed(KeyringError),
    /// The keyring has it no more.
    #[error("the keyring does not hold the Breez API key any more; run `openagents wallet spark key set`")]
    Lost,
    /// The switch of the keyring says something else.
    #[error(transparent)]
    Switch(#[from] DeviceError),
    /// The home cannot be used.
    #[error(transparent)]
    Home(#[from] HomeError),
}

/// Where a key was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The system's keyring.
    Keyring,
    /// A file of the home.
    File,
    /// `BREEZ_API_KEY`.
    Environment,
}

impl Source {
    /// The word for it, on the command line and in JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Keyring => "keyring",
            Self::File => "file",
            Self::Environment => "environment",
        }
    }
}

fn path(home: &Home) -> PathBuf {
    home.data_file("breez.key")
}

/// Whether a text can be a key.
fn check(key: &Secret, place: &'static str) -> Result<(), BreezError> {
    let text = key.expose();
    let reason = if text.is_empty() {
        "is empty"
    } else if text.chars().count() < SHORTEST {
        "is too short to be one"
    } else if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        "has a gap in it"
    } else {
        return Ok(());
    };
    Err(BreezError::Invalid { place, reason })
}

/// The key, and where it was found.
///
/// # Errors
/// There is none, it cannot be one, or the keyring that has it cannot be asked.
pub fn load(home: &Home) -> Result<(Secret, Source), BreezError> {
    let given = std::env::var(VARIABLE).ok().map(|text| Secret::new(text.trim().to_owned()));
    load_or(home, given)
}

fn load_or(home: &Home, given: Option<Secret>) -> Result<(Secret, Source), BreezError> {
    let (key, source, place) = match (home.read_secret(&path(home))?, given) {
        (Some(text), _) => match text.strip_prefix(device::MARK) {
            Some(account) => (ask_keyring(account)?, Source::Keyring, "the keyring"),
            None => (Secret::new(text), Source::File, "breez.key"),
        },
        (None, Some(given)) => (given, Source::Environment, VARIABLE),
        (None, None) => return Err(BreezError::Missing),
    };
    check(&key, place)?;
    Ok((key, source))
}

fn ask_keyring(account: &str) -> Result<Secret, BreezError> {
    let found = Keyring::open().and_then(|keyring| keyring.get(device::SERVICE, account));
    found.map_err(BreezError::Closed)?.ok_or(BreezError::Lost)
}

/// Keeps a key instead of the one before.
///
/// # Errors
/// It cannot be one, or the home cannot be written.
pub fn save(home: &Home, key: Zeroizing<String>) -> Result<Source, BreezError> {
    let key = &Secret::new(key);
    check(key, "what was given")?;
    let before = home.read_secret(&path(home))?;
    let account = match home.site() {
        Site::Platform if device::switched_on()? => device::deposit(key).ok().flatten(),
        Site::Platform | Site::Chosen => None,
    };
    let source = if account.is_some() { Source::Keyring } else { Source::File };
    match account {
        Some(account) => write_private(&path(home), format!("{}{account}", device::MARK).as_bytes())?,
        None => write_private(&path(home), key.expose().as_bytes())?,
    }
    forget(before.as_ref().map(|text| text.as_str()));
    Ok(source)
}

/// Forgets the key; whether there was one.
///
/// # Errors
/// The file stays.
pub fn delete(home: &Home) -> Result<bool, BreezError> {
    let before = home.read_secret(&path(home))?;
    remove(&path(home))?;
    forget(before.as_ref().map(|text| text.as_str()));
    Ok(before.is_some())
}

/// Takes back what the keyring held under this line.
fn forget(line: Option<&str>) {
    if let Some(account) = line.and_then(|line| line.strip_prefix(device::MARK)) {
        device::withdraw(account);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]
    use super::*;

    #[test]
    fn a_key_that_is_kept_goes_before_the_environment_and_can_be_changed_and_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(Some(dir.path().into())).unwrap();
        let key = |letter: &str| Secret::new(letter.repeat(64));
        let found = |given: Option<Secret>| load_or(&home, given);
        assert!(matches!(found(None), Err(BreezError::Missing)));
        assert_eq!(found(Some(key("e"))).unwrap(), (key("e"), Source::Environment));
        assert_eq!(save(&home, Zeroizing::new("a".repeat(64))).unwrap(), Source::File);
        assert_eq!(found(Some(key("e"))).unwrap(), (key("a"), Source::File));
        save(&home, Zeroizing::new("b".repeat(64))).unwrap();
        assert_eq!(found(None).unwrap().0, key("b"));
        assert!(delete(&home).unwrap() && !delete(&home).unwrap());
        assert!(matches!(found(None), Err(BreezError::Missing)));
    }

    #[test]
    fn what_cannot_be_a_key_is_refused_without_being_repeated() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(Some(dir.path().into())).unwrap();
        for (text, reason) in [("", "empty"), ("s3cret", "too short"), (&"s3cret ".repeat(9), "gap")] {
            for error in [
                save(&home, Zeroizing::new(text.to_owned())).unwrap_err(),
                load_or(&home, Some(Secret::new(text.to_owned()))).unwrap_err(),
            ] {
                let said = error.to_string();
                assert!(said.contains(reason) && said.contains("; ") && !said.contains("s3cret"), "{said}");
            }
        }
        assert!(!path(&home).exists());
    }
}
