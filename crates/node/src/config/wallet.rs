//! `[wallet]`: which wallet holds the money, and what those need that a node runs itself.

use std::path::PathBuf;

use openagents_types::{Msat, Network};
use serde::{Deserialize, Serialize};

/// Which wallet holds the money.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WalletSettings {
    /// `nwc`: the one that was connected, if any; `ldk`: a Lightning node that this node runs; `spark`: a Spark
    /// wallet that this node runs; `cashu`: ecash of mints that you trust.
    pub kind: WalletChosen,
    /// The Lightning node.
    pub ldk: LdkSettings,
    /// The Spark wallet.
    pub spark: SparkSettings,
    /// The ecash.
    pub cashu: CashuSettings,
}

/// A kind of wallet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WalletChosen {
    /// The one that `openagents wallet connect` connected.
    #[default]
    Nwc,
    /// A Lightning node of one's own.
    Ldk,
    /// A wallet on Spark, with the Breez SDK.
    Spark,
    /// Ecash.
    Cashu,
}

impl WalletChosen {
    /// Whether it moves nothing smaller than a satoshi.
    pub const fn moves_whole_sats(self) -> bool {
        matches!(self, Self::Spark | Self::Cashu)
    }
}

/// A Lightning node of one's own. Its chain is read from `bitcoind` or from `esplora`, whichever is named.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LdkSettings {
    /// Its program: a path, or a name beside this program.
    pub program: PathBuf,
    /// `mainnet`, `testnet`, `signet` or `regtest`. Real money has to be asked for.
    pub network: Network,
    /// The RPC of a bitcoind, such as `127.0.0.1:8332`.
    pub bitcoind: String,
    /// A file with that bitcoind's `user:password`, such as its own `.cookie`.
    pub bitcoind_auth_file: PathBuf,
    /// An Esplora server, such as `https://blockstream.info/api`.
    pub esplora: String,
    /// Where other Lightning nodes may connect, such as `0.0.0.0:9735`; nowhere if empty.
    pub listen: Vec<String>,
    /// Its name among Lightning nodes, at most 32 bytes.
    pub alias: String,
}

impl Default for LdkSettings {
    fn default() -> Self {
        Self {
            program: "openagents-ldk".into(),
            network: Network::Regtest,
            bitcoind: String::new(),
            bitcoind_auth_file: PathBuf::new(),
            esplora: String::new(),
            listen: Vec::new(),
            alias: String::new(),
        }
    }
}

/// A wallet on Spark, with the Breez SDK.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SparkSettings {
    /// `mainnet`, or `regtest` for the test network that Spark itself runs; `testnet` means the same. Real money
    /// has to be asked for.
    pub network: Network,
    /// What the SDK writes to the node's log.
    pub log: SparkLog,
}

/// How much the SDK says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SparkLog {
    /// Everything.
    Trace,
    /// What helps its makers.
    Debug,
    /// What it does.
    Info,
    /// What goes wrong and is tried again.
    #[default]
    Warn,
    /// What goes wrong.
    Error,
}

impl Default for SparkSettings {
    fn default() -> Self {
        Self { network: Network::Regtest, log: SparkLog::default() }
    }
}

/// Ecash of mints that are trusted: who has it can take no more than what each of them holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CashuSettings {
    /// Its program: a path, or a name beside this program.
    pub program: PathBuf,
    /// `mainnet`, `testnet`, `signet` or `regtest`. Real money has to be asked for.
    pub network: Network,
    /// The mints that are trusted, such as `https://mint.example`. The first receives; nothing is asked of others.
    pub mints: Vec<String>,
    /// The most that one mint may hold, in millisatoshis.
    pub max_msat_per_mint: Msat,
    /// How long ecash stays locked for a job that we sell, from the end of its quote, in seconds: longer than the job
    /// may wait and run. A customer whose job fails has its ecash back only then.
    pub lock_s: u64,
}

impl Default for CashuSettings {
    fn default() -> Self {
        Self {
            program: "openagents-cashu".into(),
            network: Network::Regtest,
            mints: Vec::new(),
            // What one may lose to a mint that runs away.
            max_msat_per_mint: Msat::new(100_000_000),
            lock_s: 1_800,
        }
    }
}
