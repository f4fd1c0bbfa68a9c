//! Names that come from outside, checked once: of repositories, of models in the store, of files on a hub.
//!
//! A file's name becomes a path in the store, so nothing that could lead out of it is one.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

/// The longest name of an owner, a repository or a model.
const LONGEST_NAME: usize = 96;
/// The longest name of a file, with its folders.
const LONGEST_PATH: usize = 512;

/// A name that cannot be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// No repository.
    #[error("{0:?} is no repository; write it as OWNER/REPOSITORY or OWNER/REPOSITORY:QUANT")]
    Repository(String),
    /// No name of a model.
    #[error("{0:?} cannot be a model's name; use up to 96 letters, digits, dots, - and _, and no dot first")]
    Model(String),
    /// No name of a file.
    #[error(
        "{0:?} is a file name that could lead out of the model store; nothing of this repository is taken"
    )]
    Path(String),
}

/// Letters, digits, dots, `-` and `_`, not a dot first: safe in a path, in an address and in a shell.
fn is_plain(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    !name.is_empty() && name.len() <= LONGEST_NAME && !name.starts_with('.') && name.chars().all(plain)
}

/// A repository on a hub: its owner and its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    /// Its owner.
    pub owner: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.name)
    }
}

impl FromStr for Repository {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match text.split_once('/') {
            Some((owner, name)) if is_plain(owner) && is_plain(name) => {
                Ok(Self { owner: owner.into(), name: name.into() })
            }
            _ => Err(NameError::Repository(text.into())),
        }
    }
}

/// A model on a hub: its repository, and which of the models in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its repository.
    pub repository: Repository,
    /// A quantization such as `Q4_K_M`, or a file; `None` where there is but one.
    pub choice: Option<String>,
}

impl FromStr for Wanted {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let (repository, choice) = match text.split_once(':') {
            Some((_, "")) => return Err(NameError::Repository(text.into())),
            Some((repository, choice)) => (repository, Some(choice.to_owned())),
            None => (text, None),
        };
        Ok(Self { repository: repository.parse()?, choice })
    }
}

/// What a model is called in the store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ModelName(String);

impl ModelName {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A name made of whatever a file or a folder is called; `None` if nothing of it is left.
    pub fn made_of(text: &str) -> Option<Self> {
        let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
        let name: String = text.trim_start_matches('.').chars().map(plain).take(LONGEST_NAME).collect();
        name.parse().ok()
    }
}

impl FromStr for ModelName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if is_plain(text) { Ok(Self(text.into())) } else { Err(NameError::Model(text.into())) }
    }
}

impl TryFrom<String> for ModelName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<ModelName> for String {
    fn from(name: ModelName) -> Self {
        name.0
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a file in a repository, folders and all, which leads nowhere but into the folder that it is put into.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FilePath(String);

impl FilePath {
    /// As text, with `/` between its parts.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Without its folders.
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// Whether it ends so, in capitals or not.
    pub(crate) fn ends_with(&self, end: &str) -> bool {
        self.0.len() >= end.len()
            && self.0.is_char_boundary(self.0.len() - end.len())
            && self.0[self.0.len() - end.len()..].eq_ignore_ascii_case(end)
    }

    /// Where it is in a folder.
    pub fn under(&self, folder: &Path) -> PathBuf {
        self.0.split('/').fold(folder.to_path_buf(), |path, part| path.join(part))
    }
}

impl FromStr for FilePath {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        // A colon is a drive or a stream on Windows.
        let is_harmful = |c: char| c.is_control() || matches!(c, '\\' | ':');
        let is_part = |part: &str| !matches!(part, "" | "." | "..");
        let is_safe =
            text.len() <= LONGEST_PATH && !text.contains(is_harmful) && text.split('/').all(is_part);
        if is_safe { Ok(Self(text.into())) } else { Err(NameError::Path(text.chars().take(80).collect())) }
    }
}

impl TryFrom<String> for FilePath {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<FilePath> for String {
    fn from(path: FilePath) -> Self {
        path.0
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]
    use super::*;

    #[test]
    fn a_repository_is_an_owner_and_a_name_and_perhaps_a_choice() {
        let wanted: Wanted = "bartowski/Llama-3.2-1B-Instruct-GGUF:Q4_K_M".parse().unwrap();
        assert_eq!(wanted.repository.to_string(), "bartowski/Llama-3.2-1B-Instruct-GGUF");
        assert_eq!(wanted.choice.as_deref(), Some("Q4_K_M"));
        for text in ["", "a", "a/", "/b", "a/b/c", "a/b:", "../b", "a/..", "a b/c", "a/b?x", "https://h/a/b"]
        {
            assert!(text.parse::<Wanted>().is_err(), "{text}");
        }
    }

    #[test]
    fn no_file_name_leads_out_of_its_folder() {
        for text in ["m.gguf", "q4/m-00001-of-00002.gguf", "a b.json", "..m", "m..gguf"] {
            let path: FilePath = text.parse().unwrap();
            assert!(path.under(Path::new("/s")).starts_with("/s"));
        }
        for text in [
            "",
            "..",
            "../m",
            "a/../../m",
            "/etc/passwd",
            "a//b",
            "./m",
            "a/.",
            "a\\b",
            "..\\m",
            "m\0.gguf",
            "C:m",
            "a\n",
        ] {
            assert!(text.parse::<FilePath>().is_err(), "{text:?}");
            assert!(serde_json::from_value::<FilePath>(text.into()).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_models_name_is_safe_whatever_it_is_made_of() {
        assert_eq!(ModelName::made_of("My model (Q4)").unwrap().as_str(), "My-model--Q4-");
        assert_eq!(ModelName::made_of("..hidden").unwrap().as_str(), "hidden");
        assert!(ModelName::made_of("...").is_none());
        assert!("a@b".parse::<ModelName>().is_err() && "a/b".parse::<ModelName>().is_err());
    }
}
