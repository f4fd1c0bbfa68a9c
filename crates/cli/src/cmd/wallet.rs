//! `openagents wallet`: connect a Lightning wallet over NIP-47, and look into it. One file each; here is
//! only which is called.

mod balance;
mod cashu;
mod connect;
mod history;
mod install;
mod ldk;
mod pay;
mod receive;
mod reconcile;
pub(crate) mod seed;
mod spark;
mod transfer;

use clap::Subcommand;

use crate::{args::Global, exit::Exit, link};

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Wallet {
    /// Connect a wallet: paste its nostr+walletconnect:// address
    Connect(connect::ConnectArgs),
    /// What the wallet holds
    Balance,
    /// What went in and out, newest first
    History(history::HistoryArgs),
    /// Pay a Lightning invoice, an LNURL or a Lightning address by hand
    Pay(pay::PayArgs),
    /// Make an invoice to be paid, as text and as a QR code
    Receive(receive::ReceiveArgs),
    /// Compare the books with the wallet, and settle what the books do not know the end of
    Reconcile(reconcile::ReconcileArgs),
    /// Make, show, prove and restore the words behind a wallet of this node
    #[command(subcommand)]
    Seed(seed::Seed),
    /// A Lightning node of your own as the wallet
    #[command(subcommand)]
    Ldk(ldk::Ldk),
    /// Install the program of a wallet that is not part of this one
    #[command(subcommand)]
    Install(install::Install),
    /// A wallet on Spark, run by this node
    #[command(subcommand)]
    Spark(spark::Spark),
    /// Ecash of mints that you trust as the wallet
    #[command(subcommand)]
    Cashu(cashu::Cashu),
}

/// Does it.
pub(crate) fn run(global: &Global, command: &Wallet) -> anyhow::Result<Exit> {
    let home = link::home(global)?;
    match command {
        Wallet::Connect(args) => connect::run(global, &home, args),
        Wallet::Balance => balance::run(global, &home),
        Wallet::History(args) => history::run(global, &home, args),
        Wallet::Pay(args) => pay::run(global, &home, args),
        Wallet::Receive(args) => receive::run(global, &home, args),
        Wallet::Reconcile(_) => reconcile::run(global, &home),
        Wallet::Seed(command) => seed::run(global, command),
        Wallet::Ldk(command) => ldk::run(global, &home, command),
        Wallet::Install(command) => install::run(global, &home, command),
        Wallet::Spark(command) => spark::run(global, &home, command),
        Wallet::Cashu(command) => cashu::run(global, &home, command),
    }
}
