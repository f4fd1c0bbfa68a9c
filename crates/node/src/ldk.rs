//! A Lightning node of one's own: from the settings and the seed to the program that is run.

use std::{path::PathBuf, time::Duration};

use openagents_types::Network;
use openagents_wallet::child::{Limits, Program, Setup};
use serde_json::json;
use zeroize::Zeroizing;

use crate::{
    config::LdkSettings,
    home::{Home, HomeError, write_first},
    seeds::{SeedError, wallet_seed},
};

/// How long the Lightning node gets to write down its state at the end; it is safe without, but slower to start.
const STOP: Duration = Duration::from_secs(15);

/// Why the Lightning node cannot be run. Its money is where it was.
#[derive(Debug, thiserror::Error)]
pub enum LdkError {
    /// There is no seed, or it cannot be unlocked.
    #[error(transparent)]
    Seed(#[from] SeedError),
    /// The seed was replaced since the channels were made.
    #[error(
        "the Lightning node's channels belong to the seed {first}, and the seed here is {fingerprint}; restore the \
         first with `openagents wallet seed restore --replace`, or use another home for the new one"
    )]
    OtherSeed {
        /// The one its channels were made with.
        first: String,
        /// The one that is here.
        fingerprint: String,
    },
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
    /// The home cannot be used.
    #[error(transparent)]
    Home(#[from] HomeError),
}

/// The 64 bytes, in hexadecimal, that all keys of the Lightning node come from: those of the home's money seed.
/// Channels made with one seed must never be opened with another, so the first one used is noted beside them.
fn seed(home: &Home, network: Network) -> Result<Zeroizing<String>, LdkError> {
    let seed = wallet_seed(home, network)?;
    let (fingerprint, note) =
        (seed.fingerprint().to_string(), home.data_file(&format!("ldk.{network}.seed")));
    match home.read_secret(&note)? {
        Some(first) if first.trim() == fingerprint => {}
        Some(first) => return Err(LdkError::OtherSeed { first: first.trim().to_owned(), fingerprint }),
        None => write_first(&note, fingerprint.as_bytes())?,
    }
    Ok(Zeroizing::new(hex::encode(seed.expose())))
}

/// The program of the Lightning node, with what it has to be told.
///
/// # Errors
/// There is no seed, no program, or no chain.
pub fn program(home: &Home, settings: &LdkSettings) -> Result<Program, LdkError> {
    let mut secrets = vec![("seed", seed(home, settings.network)?)];
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
        path: place(settings)?,
        arguments: Vec::new(),
        setup: Setup::new(open.as_object().cloned().unwrap_or_default(), secrets),
        network: settings.network,
        limits: Limits { stop: STOP, ..Limits::default() },
    })
}

/// The program; a bare name is looked for beside ours.
fn place(settings: &LdkSettings) -> Result<PathBuf, LdkError> {
    let name = &settings.program;
    let bare = name.parent().is_some_and(|parent| parent.as_os_str().is_empty());
    let beside = || std::env::current_exe().ok()?.parent().map(|directory| directory.join(name));
    let path = if bare { beside().unwrap_or_else(|| name.clone()) } else { name.clone() };
    if path.is_file() { Ok(path) } else { Err(LdkError::Program(path)) }
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

    use super::*;
    use crate::{
        identity::Identities,
        seeds::{Replace, Seeds},
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
        Seeds::new(&home).create(Network::Regtest, WordCount::Twelve, Replace::Never).unwrap();
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
        Seeds::new(&home).create(Network::Regtest, WordCount::Twelve, Replace::SetAside).unwrap();
        assert!(
            refused(&settings).contains("belong to the seed"),
            "channels are never opened with another seed"
        );
    }
}
