//! How a secret gets into the program: from a pipe, from a file, or typed unseen. Never from the
//! command line or the environment, where other users' `ps` could read it.

use std::{
    io::{IsTerminal, Read},
    path::{Path, PathBuf},
};

use clap::Args;
use openagents_seed::{Passphrase, PassphraseError};
use zeroize::Zeroizing;

use crate::{failure::Failure, show};

/// The most that is read; keys and connections are far shorter. In bytes.
const LONGEST: u64 = 16 << 10;

/// A password with fewer characters than this is warned about.
const SHORT: usize = 12;

/// Where the secret is.
#[derive(Debug, Args)]
pub(crate) struct SecretSource {
    /// Read the secret from standard input
    #[arg(long, conflicts_with = "file")]
    stdin: bool,
    /// Read the secret from this file
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

impl SecretSource {
    /// Whether it is said where the secret is.
    pub(crate) const fn is_given(&self) -> bool {
        self.stdin || self.file.is_some()
    }

    /// The secret; typed at the terminal if nothing else was said.
    pub(crate) fn read(&self, what: &str) -> anyhow::Result<Zeroizing<String>> {
        let text = match &self.file {
            Some(path) => {
                let file = std::fs::File::open(path)
                    .map_err(|error| unreadable(&path.display().to_string(), &error))?;
                limited(file).map_err(|error| unreadable(&path.display().to_string(), &error))?
            }
            None if self.stdin => {
                limited(std::io::stdin()).map_err(|error| unreadable("standard input", &error))?
            }
            None if std::io::stdin().is_terminal() => {
                Zeroizing::new(rpassword::prompt_password(format!("{what} (not shown): "))?)
            }
            None => return Err(not_said(what).into()),
        };
        Ok(Zeroizing::new(text.trim().to_owned()))
    }
}

/// A passphrase that belongs to the words of a seed (BIP39): typed unseen, or in a file.
#[derive(Debug, Args)]
pub(crate) struct PassphraseSource {
    /// With a passphrase besides the words (BIP39, "25th word"), typed unseen, twice
    #[arg(long)]
    passphrase: bool,
    /// The same, from this file
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

impl PassphraseSource {
    /// What the passphrase is, typed twice where it is typed; `None` if there is to be none.
    pub(crate) fn choose(&self) -> anyhow::Result<Option<Passphrase>> {
        let text = match &self.passphrase_file {
            Some(path) => PasswordSource::of_file(path)?,
            None if self.passphrase => Self::twice()?,
            None => return Ok(None),
        };
        let refused = |error: PassphraseError| {
            let text = error.to_string();
            let (what, next) = text.split_once("; ").unwrap_or((&text, "choose another one"));
            Failure::usage(what, next)
        };
        Ok(Some(Passphrase::new(&text).map_err(refused)?))
    }

    /// Whether one was asked for.
    pub(crate) const fn is_given(&self) -> bool {
        self.passphrase || self.passphrase_file.is_some()
    }

    fn twice() -> anyhow::Result<Zeroizing<String>> {
        let what = "the passphrase that belongs to the words";
        let text = Self::typed(what)?;
        if Self::typed("the same once more")? != text {
            return Err(Failure::usage("the two are not the same", "type it again, twice").into());
        }
        Ok(text)
    }

    /// One that is there, typed once.
    pub(crate) fn typed(what: &str) -> anyhow::Result<Zeroizing<String>> {
        if !std::io::stdin().is_terminal() {
            return Err(Failure::usage(
                format!("{what} is needed, and nobody is at a terminal to type it"),
                "give it with --passphrase-file FILE",
            )
            .into());
        }
        Ok(Zeroizing::new(rpassword::prompt_password(format!("{what} (not shown): "))?))
    }
}

/// A password for a file: where it is, or typed unseen.
#[derive(Debug, Args)]
pub(crate) struct PasswordSource {
    /// Read the password from this file
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

impl PasswordSource {
    /// The password of something that is there.
    pub(crate) fn read(&self, what: &str) -> anyhow::Result<Zeroizing<String>> {
        match &self.password_file {
            Some(path) => Self::of_file(path),
            None if std::io::stdin().is_terminal() => {
                Ok(Zeroizing::new(rpassword::prompt_password(format!("{what} (not shown): "))?))
            }
            None => Err(Failure::usage(
                format!("{what} is needed, and nobody is at a terminal to type it"),
                "give it with --password-file FILE",
            )
            .into()),
        }
    }

    /// A new password, typed twice where it is typed.
    pub(crate) fn choose(&self, what: &str) -> anyhow::Result<Zeroizing<String>> {
        let chosen = self.read(what)?;
        if chosen.is_empty() {
            return Err(Failure::usage("the password is empty", "choose one of a few words").into());
        }
        if self.password_file.is_none() && self.read("the same once more")? != chosen {
            return Err(Failure::usage("the two are not the same", "type it again, twice").into());
        }
        if chosen.chars().count() < SHORT {
            show::talk(
                "this password is short: whoever has the file may guess it; four random words are safer",
            );
        }
        Ok(chosen)
    }

    /// A line break at the end is no part of it; spaces are.
    fn of_file(path: &Path) -> anyhow::Result<Zeroizing<String>> {
        let unreadable = |error| unreadable(&path.display().to_string(), &error);
        let text = limited(std::fs::File::open(path).map_err(unreadable)?).map_err(unreadable)?;
        Ok(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()))
    }
}

fn limited(source: impl Read) -> std::io::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    source.take(LONGEST).read_to_string(&mut text)?;
    Ok(text)
}

fn unreadable(source: &str, error: &std::io::Error) -> Failure {
    Failure::usage(format!("cannot read the secret from {source}: {error}"), "name a file that you can read")
}

fn not_said(what: &str) -> Failure {
    Failure::usage(
        format!("{what} is needed, and nobody is at a terminal to type it"),
        "give it with --stdin or --file FILE",
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]
    use super::*;

    #[test]
    fn a_secret_file_is_read_without_its_line_break() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "s3cret\r\n").unwrap();
        let source = SecretSource { stdin: false, file: Some(file.path().into()) };
        assert_eq!(source.read("the secret").unwrap().as_str(), "s3cret");
    }
}
