//! The commands, one file each; here is only which is called.

pub(crate) mod ask;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod doctor;
pub(crate) mod help;
pub(crate) mod identity;
pub(crate) mod jobs;
pub(crate) mod models;
mod paths;
pub(crate) mod policy;
pub(crate) mod provider;
pub(crate) mod receipts;
pub(crate) mod registry;
pub(crate) mod relay;
pub(crate) mod testnet;
pub(crate) mod wallet;

use std::{future::Future, process::ExitCode};

use crate::{
    args::{Command, Program},
    demo, up,
};

/// Runs the command.
pub(crate) fn run(program: Program) -> anyhow::Result<ExitCode> {
    let global = &program.global;
    // HTTP clients cannot be made before this.
    openagents_node::install_tls();
    let exit = match program.command {
        Command::Up(args) => up::run(global, &args),
        Command::Demo(args) => demo::run(global, &args),
        Command::Ask(args) => ask::run(global, &args),
        Command::Jobs(jobs) => jobs::run(global, &jobs),
        Command::Receipts(receipts) => receipts::run(global, &receipts),
        Command::Provider(provider) => provider::run(global, &provider),
        Command::Models(models) => models::run(global, &models),
        Command::Identity(identity) => identity::run(global, &identity),
        Command::Wallet(wallet) => wallet::run(global, &wallet),
        Command::Relay(relay) => relay::run(global, &relay),
        Command::Registry(registry) => registry::run(global, &registry),
        Command::Policy(policy) => policy::run(global, &policy),
        Command::Doctor(args) => doctor::run(global, &args),
        Command::Config(config) => config::run(global, &config),
        Command::Testnet(testnet) => testnet::run(global, &testnet),
        Command::Paths => paths::run(global),
        Command::Completions(args) => completions::run(&args),
        Command::Help(args) => help::run(&args),
        // What a child of the node ends with says why it has no text, in codes of its own.
        Command::Extract { format } => return Ok(openagents_backend::extract_child_main(&format)),
        Command::Keep { words } => return Ok(openagents_backend::keeper_child_main(&words)),
        Command::Sandbox { cage } => return Ok(openagents_backend::sandbox_child_main(&cage)),
    };
    exit.map(ExitCode::from)
}

/// Waits for a command that talks to the network.
fn wait<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?.block_on(work)
}
