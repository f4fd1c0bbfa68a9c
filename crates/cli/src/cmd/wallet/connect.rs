//! `openagents wallet connect`: takes a NIP-47 connection, tries it, keeps it.

use clap::Args;
use openagents_api::SCHEMA_VERSION;
use openagents_node::home::{Home, write_private};
use openagents_wallet::{Info, nwc::Connection};
use serde_json::json;

use crate::{args::Global, exit::Exit, link, secret::SecretSource, show, text::one_line, wallet_link};

/// How to connect.
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:\n  openagents wallet connect                      asks, and does not show what you paste\n  \
        openagents wallet connect --file connection.txt\n  \
        openagents testnet wallet new | openagents --home other wallet connect --stdin",
    after_help = "The connection can spend. Give it a budget in your wallet; it is kept readable for you alone."
)]
pub(crate) struct ConnectArgs {
    /// Where the connection is
    #[command(flatten)]
    secret: SecretSource,
    /// Do not ask the wallet whether it answers
    #[arg(long)]
    no_verify: bool,
}

/// Does it.
pub(super) fn run(global: &Global, home: &Home, args: &ConnectArgs) -> anyhow::Result<Exit> {
    let connection: Connection = args.secret.read("the wallet connection")?.parse()?;
    let info =
        if args.no_verify { None } else { Some(crate::cmd::wait(wallet_link::introduce(&connection))?) };
    write_private(&link::wallet_file(home), connection.expose().as_bytes())?;
    if global.json {
        show::json(&json!({
            "schema_version": SCHEMA_VERSION,
            "wallet": connection.wallet().to_hex(),
            "relays": connection.relays(),
            "verified": info.is_some(),
            "alias": info.as_ref().map(|info| info.alias.clone()),
            "network": info.as_ref().map(|info| info.network.to_string()),
            "escrow": info.as_ref().map(|info| info.hold),
        }))?;
    } else {
        show::line(&connected(info.as_ref()))?;
    }
    if home.running_app().is_some() {
        show::talk("the running node uses it from its next start on");
    }
    Ok(Exit::Ok)
}

fn connected(info: Option<&Info>) -> String {
    let Some(info) = info else { return "connected; the wallet was not asked whether it answers".into() };
    let alias = if info.alias.is_empty() { "a wallet".to_owned() } else { one_line(&info.alias, 60) };
    let escrow = if info.hold { "can lock payments until delivery" } else { "cannot lock payments" };
    format!("connected to {alias} on {}; it {escrow}", info.network)
}
