//! Ecash as the wallet: from the settings and the seed to the program that is run.

use std::path::PathBuf;

use openagents_wallet::child::{Limits, Program, Setup};
use serde_json::json;

use crate::{
    beside::{self, BesideError},
    config::CashuSettings,
    home::Home,
};

/// Why the ecash wallet cannot be run. Its money is where it was.
#[derive(Debug, thiserror::Error)]
pub enum CashuError {
    /// There is no seed for it, or another than before.
    #[error(transparent)]
    Beside(#[from] BesideError),
    /// The settings name no mint.
    #[error("the ecash wallet needs a mint that you trust with your money; set wallet.cashu.mints")]
    Mints,
    /// The settings name something that is no mint.
    #[error(
        "wallet.cashu.mints holds {0:?}; a mint's address begins with https://, or with http:// on this machine"
    )]
    Address(String),
    /// The program is not there.
    #[error(
        "{0} is not there; build it with `cargo build --release --manifest-path wallets/cashu/Cargo.toml`, or set wallet.cashu.program"
    )]
    Program(PathBuf),
}

/// The program of the ecash wallet, with what it has to be told.
///
/// # Errors
/// There is no seed, no program, or no mint.
pub fn program(home: &Home, settings: &CashuSettings) -> Result<Program, CashuError> {
    mints(settings)?;
    let seed = beside::seed(home, settings.network, "cashu", "the ecash and its mints' records")?;
    let open = json!({
        "network": settings.network,
        "storage": std::path::absolute(home.data_file("cashu")).unwrap_or_else(|_| home.data_file("cashu")),
        "mints": settings.mints,
        "max_msat_per_mint": settings.max_msat_per_mint.get(),
    });
    Ok(Program {
        path: beside::place(&settings.program).map_err(CashuError::Program)?,
        arguments: Vec::new(),
        setup: Setup::new(open.as_object().cloned().unwrap_or_default(), vec![("seed", seed)]),
        network: settings.network,
        limits: Limits::default(),
    })
}

/// Whether the settings name what the wallet needs, without a look at its seed.
///
/// # Errors
/// There is no program, or no mint.
pub fn ready(settings: &CashuSettings) -> Result<(), CashuError> {
    mints(settings)?;
    beside::place(&settings.program).map(drop).map_err(CashuError::Program)
}

fn mints(settings: &CashuSettings) -> Result<(), CashuError> {
    if settings.mints.is_empty() {
        return Err(CashuError::Mints);
    }
    match settings.mints.iter().find(|mint| !is_address(mint)) {
        Some(bad) => Err(CashuError::Address(bad.clone())),
        None => Ok(()),
    }
}

/// Whether a mint can be there, as far as the program would ask it; that one looks closer.
fn is_address(mint: &str) -> bool {
    ["https://", "http://127.", "http://localhost", "http://[::1]"].iter().any(|safe| mint.starts_with(safe))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]
    use openagents_seed::WordCount;
    use openagents_types::Network;

    use super::*;
    use crate::{
        identity::Identities,
        seeds::{Replace, Seeds, wallet_seed},
    };

    #[test]
    fn what_is_missing_is_named_and_so_is_another_seed() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(Some(dir.path().into())).unwrap();
        let refused = |settings: &CashuSettings| program(&home, settings).unwrap_err().to_string();
        let mut settings = CashuSettings::default();
        assert!(refused(&settings).contains("wallet.cashu.mints"));
        settings.mints = vec!["https://mint.example".into(), "http://mint.example".into()];
        assert!(refused(&settings).contains("\"http://mint.example\""));
        settings.mints.pop();
        assert!(refused(&settings).contains("wallet seed create"));
        Identities::new(&home).active().unwrap();
        Seeds::new(&home).create(Network::Regtest, WordCount::Twelve, None, Replace::Never).unwrap();
        assert!(refused(&settings).contains("openagents-cashu is not there"));
        settings.program = std::env::current_exe().unwrap();
        let shown = format!("{:?}", program(&home, &settings).unwrap());
        let seed = hex::encode(wallet_seed(&home, Network::Regtest).unwrap().expose());
        assert!(!shown.contains(&seed), "{shown}");
        Seeds::new(&home).create(Network::Regtest, WordCount::Twelve, None, Replace::SetAside).unwrap();
        assert!(
            refused(&settings).contains("belong to the seed"),
            "ecash is never mixed with another seed's"
        );
    }
}
