//! The first line on stdin: which network, which chain, where to keep things, and the seed.

use std::{fs::File, io, path::PathBuf, str::FromStr as _, sync::Arc};

use ldk_node::{
    Builder, Node,
    bitcoin::Network,
    lightning::ln::msgs::SocketAddress,
    logger::{LogLevel, LogRecord, LogWriter},
};
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::storage;

/// What a node is started with.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Setup {
    /// `regtest`, `signet`, `testnet` or `mainnet`.
    #[serde(deserialize_with = "network")]
    pub(crate) network: Network,
    /// An absolute directory; each network has one of its own in it.
    pub(crate) storage: PathBuf,
    /// 64 bytes in hexadecimal.
    #[serde(deserialize_with = "storage::secret")]
    seed: Zeroizing<String>,
    /// Where blocks come from and transactions go.
    chain: Chain,
    /// The password of `bitcoind`.
    #[serde(default, deserialize_with = "storage::secret")]
    rpc_password: Zeroizing<String>,
    /// Where other nodes may connect, such as `127.0.0.1:9735`.
    #[serde(default)]
    listen: Vec<String>,
    /// The node's name, at most 32 bytes.
    #[serde(default)]
    alias: String,
}

/// A source of blocks.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
enum Chain {
    /// The RPC of a bitcoind.
    Bitcoind {
        /// Its host.
        host: String,
        /// Its port.
        port: u16,
        /// Who we are to it.
        user: String,
    },
    /// An Esplora server.
    Esplora {
        /// Its address.
        url: String,
    },
}

/// Why the node does not run. Nothing was sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SetupError {
    /// There is no setup, or it is not understood. It is not repeated: it holds the seed.
    #[error("the first line is no setup: {0}")]
    Setup(&'static str),
    /// Another process has the storage; two nodes on one channel state would lose money.
    #[error("another process uses {0}")]
    InUse(PathBuf),
    /// The storage cannot be used.
    #[error("cannot use {0}: {1}")]
    Storage(PathBuf, io::Error),
    /// The book cannot be used.
    #[error(transparent)]
    Book(#[from] crate::book::BookError),
    /// The node cannot be made.
    #[error("the Lightning node cannot be made: {0}")]
    Build(String),
    /// The node does not start.
    #[error("the Lightning node does not start: {0}; is its chain source in reach?")]
    Start(String),
}

impl SetupError {
    /// One word for it.
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::Setup(_) => "SETUP",
            Self::InUse(_) => "IN_USE",
            Self::Storage(..) | Self::Book(_) => "STORAGE",
            Self::Build(_) => "BUILD",
            Self::Start(_) => "START",
        }
    }
}

fn network<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Network, D::Error> {
    let name = String::deserialize(from)?;
    let core = if name == "mainnet" { "bitcoin" } else { &name };
    Network::from_str(core).map_err(|_| serde::de::Error::custom("no such network"))
}

/// Reads the setup, and makes the directory of its network.
pub(crate) fn read(line: Option<io::Result<String>>) -> Result<Setup, SetupError> {
    let mut setup: Setup = storage::parse(line.and_then(Result::ok))?;
    setup.storage = storage::make(&setup.storage, &setup.network.to_string())?;
    Ok(setup)
}

impl Setup {
    /// Keeps every other process out while the returned file is open.
    pub(crate) fn lock(&self) -> Result<File, SetupError> {
        storage::lock(&self.storage)
    }

    /// Makes the node, which does not run yet.
    pub(crate) fn build(&self) -> Result<Node, SetupError> {
        let seed = storage::seed(&self.seed)?;
        let listen = self.listen.iter().map(|address| SocketAddress::from_str(address));
        let listen: Vec<_> =
            listen.collect::<Result<_, _>>().map_err(|_| SetupError::Setup("listen is no address"))?;
        let mut builder = Builder::new();
        builder.set_network(self.network).set_entropy_seed_bytes(*seed);
        builder.set_storage_dir_path(self.storage.to_string_lossy().into_owned());
        builder.set_custom_logger(Arc::new(Log));
        match &self.chain {
            Chain::Bitcoind { host, port, user } => {
                let (user, password) = (user.clone(), self.rpc_password.as_str().to_owned());
                builder.set_chain_source_bitcoind_rpc(host.clone(), *port, user, password);
            }
            Chain::Esplora { url } => {
                builder.set_chain_source_esplora(url.clone(), None);
            }
        }
        let build = |error: ldk_node::BuildError| SetupError::Build(error.to_string());
        if !listen.is_empty() {
            builder.set_listening_addresses(listen).map_err(build)?;
        }
        if !self.alias.is_empty() {
            builder.set_node_alias(self.alias.clone()).map_err(build)?;
        }
        builder.build().map_err(build)
    }
}

/// What goes wrong goes to stderr. What goes well is left out: it names invoices and peers.
struct Log;

impl LogWriter for Log {
    fn log(&self, record: LogRecord<'_>) {
        if record.level >= LogLevel::Warn {
            crate::eprint(format_args!("{} {}: {}", record.level, record.module_path, record.args));
        }
    }
}
