//! A Lightning node of one's own: from the settings and the seed to the program that is run.

use std::{path::PathBuf, time::Duration};

use openagents_wallet::child::{Limits, Program, Setup};
use serde_json::json;
use zeroize::Zeroizing;

use crate::{
    beside::{self, BesideError},
    config::LdkSettings,
    home::Home,
};

/// How long the Lightning node gets to write down its state at the end; it is safe without, but slower to start.
const STOP: Duration = Duration::from_secs(15);

/// Why the Lightning node cannot be run. Its money is where it was.
#[derive(Debug, thiserror::Error)]
pub enum LdkError {
    /// There is no seed for it, or another than before.
    #[error(transparent)]
    Beside(#[from] BesideError),
    /// The settings name no chain, or two.
    #[error("the Lightning node needs one chain; set wallet.ldk.bitcoind or wallet.ldk.esplora")]
    Chain,
    /// The settings say something that is no address.
    #[error("wallet.ldk.bitcoind is {0:?}; it has to be host:port, such as 127.0.0.1:8332")]
    Address(String),
    /// The file with the password of bitcoind cannot be used.
    #[error(
        "wallet.ldk.bitcoind_auth_file {path}: {reason}; it holds user:password, as bitcoind's .cookie does"
    )]
    Auth {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The program is not there.
    #[error(
        "{0} is not there; build it with `cargo build --release --manifest-path wallets/ldk/Cargo.toml`, or set wallet.ldk.program"
    )]
    Program(PathBuf),
}

/// The program of the Lightning node, with what it has to be told.
///
/// # Errors
/// There is no seed, no program, or no chain.
pub fn program(home: &Home, settings: &LdkSettings) -> Result<Program, LdkError> {
    let mut secrets =
        vec![("seed", beside::seed(home, settings.network, "ldk", "the Lightning node's channels")?)];
    let chain = match (settings.bitcoind.as_str(), settings.esplora.as_str()) {
        ("", url) if !url.is_empty() => json!({ "esplora": { "url": url } }),
        (address, "") if !address.is_empty() => {
            let (host, port) = host_and_port(address)?;
            let (user, password) = login(settings)?;
            secrets.push(("rpc_password", password));
            json!({ "bitcoind": { "host": host, "port": port, "user": user } })
        }
        _ => return Err(LdkError::Chain),
    };
    let open = json!({
        "network": settings.network,
        "storage": std::path::absolute(home.data_file("ldk")).unwrap_or_else(|_| home.data_file("ldk")),
        "chain": chain,
        "listen": settings.listen,
        "alias": settings.alias,
    });
    Ok(Program {
        path: beside::place(&settings.program).map_err(LdkError::Program)?,
        arguments: Vec::new(),
        setup: Setup::new(open.as_object().cloned().unwrap_or_default(), secrets),
        network: settings.network,
        limits: Limits { stop: STOP, ..Limits::default() },
    })
}

fn host_and_port(address: &str) -> Result<(String, u16), LdkError> {
    let parts = address.rsplit_once(':').and_then(|(host, port)| Some((host.to_owned(), port.parse().ok()?)));
    parts.filter(|(host, _)| !host.is_empty()).ok_or_else(|| LdkError::Address(address.into()))
}

/// Who we are to bitcoind.
fn login(settings: &LdkSettings) -> Result<(String, Zeroizing<String>), LdkError> {
    let path = &settings.bitcoind_auth_file;
    let refused = |reason: String| LdkError::Auth { path: path.clone(), reason };
    let text =
        std::fs::read_to_string(path).map(Zeroizing::new).map_err(|error| refused(error.to_string()))?;
    let (user, password) = text.trim().split_once(':').ok_or_else(|| refused("it holds no colon".into()))?;
    Ok((user.to_owned(), Zeroizing::new(password.to_owned())))
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
        let auth = dir.path().join("cookie");
        let refused = |settings: &LdkSettings| program(&home, settings).unwrap_err().to_string();
        let mut settings = LdkSettings { bitcoind_auth_file: auth.clone(), ..LdkSettings::default() };
        assert!(refused(&settings).contains("wallet seed create"));
        Identities::new(&home).active().unwrap();
        Seeds::new(&home).create(Network::Regtest, WordCount::Twelve, None, Replace::Never).unwrap();
        assert!(refused(&settings).contains("one chain"));
        settings.bitcoind = "127.0.0.1".into();
        assert!(refused(&settings).contains("host:port"));
        settings.bitcoind = "127.0.0.1:18443".into();
        assert!(refused(&settings).contains("cookie"));
        std::fs::write(&auth, "__cookie__:hunter2\n").unwrap();
        assert!(refused(&settings).contains("openagents-ldk is not there"));
        settings.program = std::env::current_exe().unwrap();
        let shown = format!("{:?}", program(&home, &settings).unwrap());
        let seed = hex::encode(wallet_seed(&home, Network::Regtest).unwrap().expose());
        assert!(!shown.contains("hunter2") && !shown.contains(&seed), "{shown}");
        let both = LdkSettings { esplora: "https://esplora.example".into(), ..settings.clone() };
        assert!(refused(&both).contains("one chain"), "two are one too many");
        Seeds::new(&home).create(Network::Regtest, WordCount::Twelve, None, Replace::SetAside).unwrap();
        assert!(
            refused(&settings).contains("belong to the seed"),
            "channels are never opened with another seed"
        );
    }
}
