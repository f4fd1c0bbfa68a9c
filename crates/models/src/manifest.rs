//! What the store writes down of a model. A model is in the store when, and only when, its manifest is.

use serde::{Deserialize, Serialize};

use crate::{
    digest,
    names::{FilePath, ModelName},
};

/// The form of manifests that is written, and read.
pub(crate) const VERSION: u32 = 1;

/// How a model is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One file, or one in parts, for llama.cpp.
    Gguf,
    /// A folder, for MLX.
    Safetensors,
}

impl Format {
    /// In a word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Gguf => "gguf",
            Self::Safetensors => "safetensors",
        }
    }
}

/// Where a model came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// A hub.
    Hub {
        /// Its address.
        hub: String,
        /// The repository.
        repository: String,
        /// What was asked for, such as `main`.
        revision: String,
        /// The commit that this was.
        commit: String,
    },
    /// This machine.
    Local {
        /// The path that was named.
        path: String,
    },
}

impl Source {
    /// Whether a model from there may take the place of one from here without being asked: another version of it.
    pub fn is_of(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Hub { hub, repository, .. }, Self::Hub { hub: at, repository: of, .. }) => {
                (hub, repository) == (at, of)
            }
            (Self::Local { path }, Self::Local { path: at }) => path == at,
            _ => false,
        }
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Hub { hub, repository, .. } => write!(f, "{repository} of {hub}"),
            Self::Local { path } => f.write_str(path),
        }
    }
}

/// A file of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Its name.
    pub path: FilePath,
    /// Its length in bytes.
    pub size: u64,
    /// Its hash.
    pub sha256: String,
}

/// A model in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The form of this manifest.
    pub(crate) version: u32,
    /// What it is called.
    pub name: ModelName,
    /// How it is stored.
    pub format: Format,
    /// Such as `Q4_K_M`, if that is known.
    pub quantization: Option<String>,
    /// Where it came from.
    pub source: Source,
    /// Its license, as its source names it.
    pub license: Option<String>,
    /// Its files' folder in the store.
    pub(crate) folder: FilePath,
    /// Its files, those that are loaded first in the order of their names.
    pub files: Vec<Kept>,
    /// When it came, in milliseconds since the epoch.
    pub pulled_at_ms: u64,
}

impl Manifest {
    /// Bytes of all files.
    pub fn size(&self) -> u64 {
        self.files.iter().map(|file| file.size).fold(0, u64::saturating_add)
    }

    /// The hash that the model is known by, and that a node takes of what it serves before each start: of one file its own, of several that of the list of their names and hashes.
    pub fn digest(&self) -> String {
        let parts = self.hashed();
        match parts.as_slice() {
            [only] => format!("sha256:{}", only.sha256),
            several => {
                let list = several.iter().map(|file| (file.path.file_name(), file.sha256.as_str()));
                format!("sha256:{}", digest::of_list(list))
            }
        }
    }

    /// The files that count for the hash: all that a server reads of them.
    fn hashed(&self) -> Vec<&Kept> {
        let is_read = |file: &&Kept| match self.format {
            Format::Gguf => true,
            Format::Safetensors => {
                [".safetensors", ".json", ".jinja"].iter().any(|end| file.path.as_str().ends_with(end))
            }
        };
        let mut files: Vec<&Kept> = self.files.iter().filter(is_read).collect();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        files
    }
}
