//! `openagents wallet`: connect a Lightning wallet over NIP-47, and look into it.

mod ldk;

use clap::{Args, Subcommand};
use openagents_api::{SCHEMA_VERSION, TransactionView, WalletView};
use openagents_node::home::{Home, write_private};
use openagents_types::Msat;
use openagents_wallet::{Info, nwc::Connection};
use serde_json::json;

use crate::{
    args::Global,
    exit::Exit,
    failure::Failure,
    link,
    secret::SecretSource,
    show,
    tables::{ago, now_ms, table},
    text::one_line,
    wallet_link,
};

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Wallet {
    /// Connect a wallet: paste its nostr+walletconnect:// address
    Connect(ConnectArgs),
    /// What the wallet holds
    Balance,
    /// What went in and out, newest first
    History {
        /// How many
        #[arg(long, default_value_t = 20, value_name = "N")]
        limit: u32,
    },
    /// A Lightning node of your own as the wallet
    #[command(subcommand)]
    Ldk(ldk::Ldk),
}

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
pub(crate) fn run(global: &Global, command: &Wallet) -> anyhow::Result<Exit> {
    let home = link::home(global)?;
    match command {
        Wallet::Connect(args) => connect(global, &home, args),
        Wallet::Balance => balance(global, &home),
        Wallet::History { limit } => history(global, &home, *limit),
        Wallet::Ldk(command) => ldk::run(global, &home, command),
    }
}

fn connect(global: &Global, home: &Home, args: &ConnectArgs) -> anyhow::Result<Exit> {
    let connection: Connection = args.secret.read("the wallet connection")?.parse()?;
    let info = if args.no_verify { None } else { Some(super::wait(wallet_link::introduce(&connection))?) };
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

fn balance(global: &Global, home: &Home) -> anyhow::Result<Exit> {
    let client = link::connect(home)?;
    let wallet = super::wait(async { Ok(client.node().await?.wallet) })?.ok_or_else(no_wallet)?;
    if global.json {
        show::json(&json!({ "schema_version": SCHEMA_VERSION, "wallet": wallet }))?;
        return Ok(Exit::Ok);
    }
    show::line(&holds(&wallet))?;
    Ok(Exit::Ok)
}

fn holds(wallet: &WalletView) -> String {
    let balance =
        wallet.balance_msat.map_or_else(|| "does not answer".into(), |msat| Msat::new(msat).to_string());
    format!("{balance}  {} on {}", one_line(&wallet.alias, 60), one_line(&wallet.network, 20))
}

fn no_wallet() -> Failure {
    Failure::new(Exit::Refused, "this node has no wallet", "connect one with `openagents wallet connect`")
}

fn history(global: &Global, home: &Home, limit: u32) -> anyhow::Result<Exit> {
    let client = link::connect(home)?;
    let transactions = super::wait(async { Ok(client.history(limit).await?) })?;
    if global.json {
        show::json(&json!({ "schema_version": SCHEMA_VERSION, "transactions": transactions }))?;
        return Ok(Exit::Ok);
    }
    if transactions.is_empty() {
        show::talk("nothing went in or out yet");
        return Ok(Exit::Ok);
    }
    let now = now_ms();
    let rows: Vec<Vec<String>> = transactions.iter().map(|row| cells(row, now)).collect();
    show::line(&table(&["when", "way", "amount", "fee", "state", "hash", "for"], &rows))?;
    Ok(Exit::Ok)
}

fn cells(row: &TransactionView, now: u64) -> Vec<String> {
    vec![
        ago(now, row.at),
        one_line(&row.direction, 4),
        Msat::new(row.amount_msat).to_string(),
        Msat::new(row.fee_msat).to_string(),
        one_line(&row.state, 12),
        one_line(&row.hash, 12),
        one_line(&row.description, 40),
    ]
}
