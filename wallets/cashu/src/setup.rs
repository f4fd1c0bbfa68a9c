//! The first line on stdin: which network, which mints, where to keep things, and the seed.

use std::{fs::File, io, path::PathBuf, str::FromStr as _};

use cdk::mint_url::MintUrl;
use lightning_invoice::Currency;
use serde::Deserialize;
use url::{Host, Url};
use zeroize::{Zeroize as _, Zeroizing};

use crate::storage;

/// What a wallet is started with.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Setup {
    /// `regtest`, `signet`, `testnet` or `mainnet`: the only network whose invoices are made and paid.
    pub(crate) network: Network,
    /// An absolute directory; each network has one of its own in it.
    pub(crate) storage: PathBuf,
    /// 64 bytes in hexadecimal.
    #[serde(deserialize_with = "storage::secret")]
    seed: Zeroizing<String>,
    /// The mints that are trusted, each with its whole address. The first receives.
    mints: Vec<String>,
    /// The most that one mint may hold of ours, in millisatoshis.
    pub(crate) max_msat_per_mint: u64,
}

/// A network of bitcoin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Network {
    /// The one whose money is money.
    Mainnet,
    /// Testnet.
    Testnet,
    /// Signet.
    Signet,
    /// One of one's own.
    Regtest,
}

impl Network {
    /// As it is called everywhere.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Mainnet => "mainnet",
            Self::Testnet => "testnet",
            Self::Signet => "signet",
            Self::Regtest => "regtest",
        }
    }

    /// What its invoices say.
    pub(crate) const fn currency(self) -> Currency {
        match self {
            Self::Mainnet => Currency::Bitcoin,
            Self::Testnet => Currency::BitcoinTestnet,
            Self::Signet => Currency::Signet,
            Self::Regtest => Currency::Regtest,
        }
    }
}

/// Why the wallet does not run. Nothing was sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SetupError {
    /// There is no setup, or it is not understood. It is not repeated: it holds the seed.
    #[error("the first line is no setup: {0}")]
    Setup(&'static str),
    /// A mint that cannot be one.
    #[error("{0:?} is no mint's address; it has to begin with https://, or be on this machine")]
    Mint(String),
    /// Another process has the storage; two wallets on one seed would use the same secrets twice.
    #[error("another process uses {0}")]
    InUse(PathBuf),
    /// The storage cannot be used.
    #[error("cannot use {0}: {1}")]
    Storage(PathBuf, io::Error),
    /// The book cannot be used.
    #[error(transparent)]
    Book(#[from] crate::book::BookError),
    /// The wallet cannot be made.
    #[error("the ecash wallet cannot be made: {0}")]
    Build(String),
}

impl SetupError {
    /// One word for it.
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::Setup(_) | Self::Mint(_) => "SETUP",
            Self::InUse(_) => "IN_USE",
            Self::Storage(..) | Self::Book(_) => "STORAGE",
            Self::Build(_) => "BUILD",
        }
    }
}

/// Reads the setup, and makes the directory of its network.
pub(crate) fn read(line: Option<String>) -> Result<Setup, SetupError> {
    let mut setup: Setup = storage::parse(line)?;
    setup.storage = storage::make(&setup.storage, setup.network.name())?;
    Ok(setup)
}

impl Setup {
    /// Keeps every other process out while the returned file is open.
    pub(crate) fn lock(&self) -> Result<File, SetupError> {
        storage::lock(&self.storage)
    }

    /// The seed, which is not kept here any more.
    pub(crate) fn take_seed(&mut self) -> Result<Zeroizing<[u8; 64]>, SetupError> {
        let seed = storage::seed(&self.seed)?;
        self.seed.zeroize();
        Ok(seed)
    }

    /// The mints that are trusted, each once.
    pub(crate) fn mints(&self) -> Result<Vec<MintUrl>, SetupError> {
        let mut mints = Vec::new();
        for text in &self.mints {
            let url = Url::parse(text).ok().filter(is_safe);
            let mint = url.and_then(|_| MintUrl::from_str(text).ok());
            let mint = mint.ok_or_else(|| SetupError::Mint(text.chars().take(100).collect()))?;
            if !mints.contains(&mint) {
                mints.push(mint);
            }
        }
        if mints.is_empty() {
            return Err(SetupError::Setup("no mint is named"));
        }
        Ok(mints)
    }
}

/// Whether nobody on the way can read what goes to a mint, or take it.
fn is_safe(url: &Url) -> bool {
    let here = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    let plain = url.username().is_empty() && url.password().is_none() && url.query().is_none();
    plain && url.has_host() && (url.scheme() == "https" || (url.scheme() == "http" && here))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]
    use super::*;

    #[test]
    fn a_mint_is_reached_safely_or_not_at_all() {
        for good in ["https://mint.example", "https://mint.example/Bitcoin", "http://127.0.0.1:3338"] {
            assert!(is_safe(&Url::parse(good).unwrap()), "{good}");
        }
        for bad in ["http://mint.example", "ftp://mint.example", "https://me:pw@mint.example", "data:x"] {
            assert!(!is_safe(&Url::parse(bad).unwrap()), "{bad}");
        }
    }
}
