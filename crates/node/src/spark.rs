//! A wallet on Spark: from the settings, the seed and the API key to the program that is run.
//!
//! Its program is in Python, for which the SDK is published; [`install`] brings both into the home.

pub mod install;

use std::path::PathBuf;

use openagents_keyring::Secret;
use openagents_types::Network;
use openagents_wallet::child::{Limits, Program, Setup};
use serde_json::json;
use zeroize::Zeroizing;

use crate::{
    breez::{self, BreezError},
    config::SparkSettings,
    home::{Home, HomeError, write_first},
    seeds::{SeedError, Seeds},
};

/// How long the SDK gets to end in order; it is safe without.
const STOP: std::time::Duration = std::time::Duration::from_secs(5);

/// Why the Spark wallet cannot be run. Its money is where it was.
#[derive(Debug, thiserror::Error)]
pub enum SparkError {
    /// There is no such network.
    #[error("Spark has no {0}; set wallet.spark.network to \"mainnet\", or to \"regtest\" for test money")]
    Network(Network),
    /// The program or the SDK is not there.
    #[error("the Spark wallet {version} is not installed; run `openagents wallet install spark`", version = install::VERSION)]
    NotInstalled,
    /// There is no seed, or it cannot be unlocked.
    #[error(transparent)]
    Seed(#[from] SeedError),
    /// The seed was replaced since the wallet was made.
    #[error(
        "the Spark wallet belongs to the seed {first}, and the seed here is {fingerprint}; restore the first with \
         `openagents wallet seed restore --replace`, or move {storage} away to begin with the new one"
    )]
    OtherSeed {
        /// The one it was made with.
        first: String,
        /// The one that is here.
        fingerprint: String,
        /// Where it is.
        storage: PathBuf,
    },
    /// There is no API key.
    #[error(transparent)]
    Key(#[from] BreezError),
    /// The home cannot be used.
    #[error(transparent)]
    Home(#[from] HomeError),
}

/// Spark's own name for a network. Its one test network is called regtest; whoever says testnet means it. A signet
/// is in the SDK's list, but nobody runs one.
///
/// # Errors
/// Spark has no such network.
pub const fn network(named: Network) -> Result<Network, SparkError> {
    match named {
        Network::Mainnet => Ok(Network::Mainnet),
        Network::Regtest | Network::Testnet => Ok(Network::Regtest),
        Network::Signet => Err(SparkError::Network(Network::Signet)),
    }
}

/// Where the wallet of a network keeps everything.
pub fn storage(home: &Home, network: Network) -> PathBuf {
    let folder = home.data_file("spark").join(network.to_string());
    std::path::absolute(&folder).unwrap_or(folder)
}

/// The words of the home's money seed, with their passphrase if they have one. A wallet made with one seed is not opened with another, so the first one
/// used is noted beside it.
fn seed(home: &Home, network: Network) -> Result<Vec<(&'static str, Zeroizing<String>)>, SparkError> {
    let content = Seeds::new(home).unlock(network)?;
    let (fingerprint, storage) = (content.seed().fingerprint().to_string(), storage(home, network));
    std::fs::create_dir_all(&storage).map_err(|reason| HomeError::Io { path: storage.clone(), reason })?;
    let note = storage.join("seed");
    match home.read_secret(&note)? {
        Some(first) if *first == fingerprint => {}
        Some(first) => {
            return Err(SparkError::OtherSeed { first: first.to_string(), fingerprint, storage });
        }
        None => write_first(&note, fingerprint.as_bytes())?,
    }
    let passphrase = content.passphrase.as_ref().map(|it| Zeroizing::new(it.expose().to_owned()));
    Ok([("seed", content.mnemonic.phrase())]
        .into_iter()
        .chain(passphrase.map(|it| ("seed_passphrase", it)))
        .collect())
}

/// What has to be there before a seed is unlocked.
struct Needs {
    network: Network,
    key: Option<Secret>,
    python: PathBuf,
}

fn needs(home: &Home, settings: &SparkSettings) -> Result<Needs, SparkError> {
    let network = network(settings.network)?;
    // Real money needs a key; test money does without, and uses one that is there.
    let key = match breez::load(home) {
        Ok((key, _)) => Some(key),
        Err(BreezError::Missing) if network != Network::Mainnet => None,
        Err(error) => return Err(error.into()),
    };
    let python = install::python(home).ok_or(SparkError::NotInstalled)?;
    Ok(Needs { network, key, python })
}

/// Looks whether a node could run the wallet. Unlocks nothing and changes nothing.
///
/// # Errors
/// What is missing.
pub fn ready(home: &Home, settings: &SparkSettings) -> Result<(), SparkError> {
    let network = needs(home, settings)?.network;
    match Seeds::new(home).status(network)? {
        Some(_) => Ok(()),
        None => Err(SeedError::Missing(network).into()),
    }
}

/// The program of the Spark wallet, with what it has to be told.
///
/// # Errors
/// It is not installed, there is no seed, or real money is asked for without an API key.
pub fn program(home: &Home, settings: &SparkSettings) -> Result<Program, SparkError> {
    let Needs { network, key, python } = needs(home, settings)?;
    let mut secrets = seed(home, network)?;
    secrets.extend(key.map(|key| ("api_key", Zeroizing::new(key.expose().to_owned()))));
    let open = json!({ "network": network, "storage": storage(home, network), "log": settings.log });
    Ok(Program {
        path: python,
        // Isolated: neither the environment nor the folder it is started in can put other modules before ours.
        arguments: vec!["-I".into(), install::script(home)?.display().to_string()],
        setup: Setup::new(open.as_object().cloned().unwrap_or_default(), secrets),
        network,
        limits: Limits { stop: STOP, ..Limits::default() },
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]
    use openagents_seed::WordCount;

    use super::*;
    use crate::{identity::Identities, seeds::Replace};

    #[test]
    fn a_network_has_the_name_that_spark_has_for_it() {
        let named = |network: &str| {
            let text = format!("network = \"{network}\"");
            let settings: SparkSettings = toml::from_str(&text).unwrap();
            self::network(settings.network).map_err(|error| error.to_string())
        };
        assert_eq!(named("mainnet"), Ok(Network::Mainnet));
        assert_eq!(named("regtest"), Ok(Network::Regtest));
        assert_eq!(named("testnet"), Ok(Network::Regtest));
        assert!(named("signet").unwrap_err().contains("Spark has no signet; set wallet.spark.network"));
        assert_eq!(SparkSettings::default().network, Network::Regtest, "real money has to be asked for");
    }

    #[test]
    fn what_is_missing_is_named_and_so_is_another_seed() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(Some(dir.path().into())).unwrap();
        let of = |network| SparkSettings { network, ..SparkSettings::default() };
        let refused = |network| program(&home, &of(network)).unwrap_err().to_string();
        assert!(refused(Network::Mainnet).contains("no Breez API key"), "before anything else");
        assert!(refused(Network::Regtest).contains("wallet install spark"));
        let python = install::folder(&home).join("venv/bin/python");
        std::fs::create_dir_all(python.parent().unwrap()).unwrap();
        std::fs::write(&python, "").unwrap();
        assert!(refused(Network::Regtest).contains("wallet seed create"));
        Identities::new(&home).active().unwrap();
        let seeds = Seeds::new(&home);
        assert!(ready(&home, &of(Network::Regtest)).is_err());
        seeds.create(Network::Regtest, WordCount::Twelve, None, Replace::Never).unwrap();
        ready(&home, &of(Network::Regtest)).unwrap();
        let made = program(&home, &of(Network::Testnet)).unwrap();
        assert_eq!((made.path, made.network), (std::path::absolute(python).unwrap(), Network::Regtest));
        assert_eq!(std::fs::read_to_string(&made.arguments[1]).unwrap(), install::SCRIPT);
        breez::save(&home, Zeroizing::new("s3cret".repeat(9))).unwrap();
        let shown = format!("{:?}", program(&home, &of(Network::Regtest)).unwrap());
        let words = seeds.unlock(Network::Regtest).unwrap().mnemonic.phrase();
        assert!(!shown.contains("s3cret") && !shown.contains(words.as_str()), "{shown}");
        assert!(refused(Network::Mainnet).contains("no mainnet seed"), "each network has a seed of its own");
        seeds.create(Network::Regtest, WordCount::Twelve, None, Replace::SetAside).unwrap();
        assert!(refused(Network::Regtest).contains("belongs to the seed"));
    }
}
