//! What the targets share, and the parts of the node that are fuzzed.
//!
//! `config` is a link to the node's own files: a crate that depended on the node would build its
//! database, its pages and its servers too. What those files name of their neighbours stands here.

extern crate self as openagents_relay;

#[cfg(feature = "outside")]
pub mod config;
#[cfg(feature = "outside")]
pub mod resolve;
pub mod words;

use nostr::{Keys, SecretKey};
use openagents_types::Timestamp;

/// When everything that is signed here was signed.
pub const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

/// The keys of the `n`th party; `n` is not zero.
pub fn keys(n: u8) -> Keys {
    Keys::new(SecretKey::from_slice(&[n; 32]).expect("a small number is a secret key"))
}

/// A rate of the embedded relay's.
#[derive(Debug)]
pub struct Rate {
    /// How many at once.
    pub burst: u32,
    /// How many more each second.
    pub per_second: u32,
}

/// The node's driver, as far as settings know it.
pub mod driver {
    pub use crate::Rate;

    /// Who may ask how often.
    #[derive(Debug)]
    pub struct Allowance(pub Rate, pub Rate);

    impl Allowance {
        /// An allowance of `each` for every key and `all` for all of them.
        pub fn new(each: Rate, all: Rate) -> Self {
            Self(each, all)
        }
    }
}

/// The node's home, as far as settings know it.
pub mod home {
    /// Where the settings are.
    #[derive(Debug)]
    pub struct Home(pub std::path::PathBuf);

    impl Home {
        /// The file with the settings.
        pub fn config_file(&self) -> std::path::PathBuf {
            self.0.join("config.toml")
        }

        /// A file of the node's data.
        pub fn data_file(&self, name: &str) -> std::path::PathBuf {
            self.0.join(name)
        }
    }
}

/// The node's currencies, as far as settings know them.
pub mod fiat {
    use serde::{Deserialize, Serialize};

    /// Three capital letters.
    #[derive(Clone, Copy, Debug, Serialize, Deserialize)]
    #[serde(try_from = "String", into = "String")]
    pub struct Currency([u8; 3]);

    impl Currency {
        /// The euro.
        pub const EUR: Self = Self(*b"EUR");
    }

    impl TryFrom<String> for Currency {
        type Error = &'static str;

        fn try_from(text: String) -> Result<Self, Self::Error> {
            let letters: Result<[u8; 3], _> = text.as_bytes().try_into();
            letters
                .ok()
                .filter(|all| all.iter().all(u8::is_ascii_uppercase))
                .map(Self)
                .ok_or("three capital letters")
        }
    }

    impl From<Currency> for String {
        fn from(currency: Currency) -> Self {
            String::from_utf8_lossy(&currency.0).into_owned()
        }
    }
}
