//! What every wallet in a program beside this one needs: where its program is, and the seed that it was first
//! started with. Money of one seed must never be opened with another, so the first one used is noted.

use std::path::{Path, PathBuf};

use openagents_types::Network;
use zeroize::Zeroizing;

use crate::{
    home::{Home, HomeError, write_first},
    seeds::{SeedError, wallet_seed},
};

/// Why there is no seed for a wallet program. Its money is where it was.
#[derive(Debug, thiserror::Error)]
pub enum BesideError {
    /// There is no seed, or it cannot be unlocked.
    #[error(transparent)]
    Seed(#[from] SeedError),
    /// The seed was replaced since the wallet was made.
    #[error(
        "{what} belong to the seed {first}, and the seed here is {fingerprint}; restore the first with \
         `openagents wallet seed restore --replace`, or use another home for the new one"
    )]
    OtherSeed {
        /// What the seed made.
        what: &'static str,
        /// The one that it was made with.
        first: String,
        /// The one that is here.
        fingerprint: String,
    },
    /// The home cannot be used.
    #[error(transparent)]
    Home(#[from] HomeError),
}

/// The 64 bytes, in hexadecimal, that all secrets of a kind of wallet come from: those of the home's money seed.
pub(crate) fn seed(
    home: &Home,
    network: Network,
    kind: &str,
    what: &'static str,
) -> Result<Zeroizing<String>, BesideError> {
    let seed = wallet_seed(home, network)?;
    let (fingerprint, note) =
        (seed.fingerprint().to_string(), home.data_file(&format!("{kind}.{network}.seed")));
    match home.read_secret(&note)? {
        Some(first) if first.trim() == fingerprint => {}
        Some(first) => {
            return Err(BesideError::OtherSeed { what, first: first.trim().to_owned(), fingerprint });
        }
        None => write_first(&note, fingerprint.as_bytes())?,
    }
    Ok(Zeroizing::new(hex::encode(seed.expose())))
}

/// Where a program is; a bare name is looked for beside ours. The path in the error is where it was looked for.
pub(crate) fn place(name: &Path) -> Result<PathBuf, PathBuf> {
    let bare = name.parent().is_some_and(|parent| parent.as_os_str().is_empty());
    let beside = || std::env::current_exe().ok()?.parent().map(|directory| directory.join(name));
    let path = if bare { beside().unwrap_or_else(|| name.to_owned()) } else { name.to_owned() };
    if path.is_file() { Ok(path) } else { Err(path) }
}
