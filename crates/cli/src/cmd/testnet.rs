//! `openagents testnet`: test money of a node that is a market of its own.

use clap::Subcommand;
use openagents_api::{SCHEMA_VERSION, TestWalletBody};
use serde_json::json;

use crate::{args::Global, exit::Exit, link, show};

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Testnet {
    /// Test wallets
    #[command(subcommand)]
    Wallet(TestWallet),
}

/// What to do with test wallets.
#[derive(Debug, Subcommand)]
pub(crate) enum TestWallet {
    /// Open a new account with test money and print its wallet connection
    #[command(
        before_help = "Examples:\n  openagents testnet wallet new --sats 1000\n  \
            openagents testnet wallet new | openagents --home /tmp/other wallet connect --stdin",
        after_help = "The connection spends the account's test money: any NIP-47 client can use it."
    )]
    New {
        /// How much test money
        #[arg(long, value_name = "N", default_value_t = 1_000)]
        sats: u64,
        /// Like most wallets, without a way to lock payments: its provider is paid first
        #[arg(long)]
        plain: bool,
    },
}

/// Does it.
pub(crate) fn run(global: &Global, command: &Testnet) -> anyhow::Result<Exit> {
    let Testnet::Wallet(TestWallet::New { sats, plain }) = command;
    let home = link::home(global)?;
    let wanted = TestWalletBody { sats: *sats, plain: *plain, ..TestWalletBody::default() };
    let uri = super::wait(link::new_testnet_wallet(&home, &wanted))?;
    if global.json {
        show::json(&json!({ "schema_version": SCHEMA_VERSION, "uri": uri, "sats": sats }))?;
    } else {
        show::line(&uri)?;
        show::talk("this connection spends the account's test money; it is shown once");
    }
    Ok(Exit::Ok)
}
