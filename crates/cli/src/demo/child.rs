//! A provider in a process of its own, which can be killed and started again.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::Context;
use openagents_api::Client;
use openagents_node::{Node, home::write_private};
use openagents_types::Msat;
use openagents_wallet::testnet::Opening;

use super::PROVIDER_SATS;

/// What a provider of the demo decides: its name and price, and no patience for slow wallets.
const CONFIG: &str = "listen = \"127.0.0.1:0\"\n[provider]\nname = \"NAME\"\nbase_msat = PRICE\nper_kib_msat = 0\nrecheck_ms = 300\n";

/// See the module. Dropping it kills the process.
pub(super) struct Child {
    pub(super) name: &'static str,
    pub(super) key: String,
    home: PathBuf,
    relay: String,
    process: Option<std::process::Child>,
    client: Option<Client>,
}

impl Child {
    /// Prepares a home with a wallet and a price; nothing runs yet.
    pub(super) fn new(node: &Node, home: &Path, name: &'static str, price: u64) -> anyhow::Result<Self> {
        let testnet = node.testnet().context("the demo serves test wallets")?;
        let funds = Msat::from_sat(PROVIDER_SATS)?;
        let connection = testnet.new_account(Opening { label: name, funds, plain: false })?;
        openagents_node::home::Home::open(Some(home.to_path_buf()))?;
        write_private(&home.join("wallet.nwc"), connection.as_bytes())?;
        let config = CONFIG.replace("NAME", name).replace("PRICE", &price.to_string());
        std::fs::write(home.join("config.toml"), config)?;
        let relay = node.up().relay.clone().context("the demo serves a relay")?;
        let home = home.to_path_buf();
        Ok(Self { name, key: String::new(), home, relay, process: None, client: None })
    }

    /// Starts the process and waits until its ports are open.
    pub(super) fn start(&mut self) -> anyhow::Result<()> {
        let mut process = Command::new(std::env::current_exe()?)
            .args(["up", "--json", "--relay", &self.relay, "--home"])
            .arg(&self.home)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let stdout = process.stdout.take().context("its output is piped")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        self.process = Some(process);
        let up: serde_json::Value =
            serde_json::from_str(&line).with_context(|| format!("provider {} did not start", self.name))?;
        let token = std::fs::read_to_string(self.home.join("api.token"))?;
        self.client = Some(Client::new(up["app"].as_str().unwrap_or_default(), token.trim())?);
        self.key = up["provider"].as_str().unwrap_or_default().to_owned();
        Ok(())
    }

    /// Kills the process as a crash would: no goodbye, nothing flushed.
    pub(super) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Its API.
    pub(super) fn client(&self) -> anyhow::Result<&Client> {
        self.client.as_ref().context("the provider runs")
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}
