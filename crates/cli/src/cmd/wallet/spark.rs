//! `openagents wallet spark`: what the wallet on Spark needs, and whether it is there.

use clap::Subcommand;
use openagents_api::SCHEMA_VERSION;
use openagents_node::{
    breez::{self, BreezError},
    config::{Config, WalletChosen},
    home::Home,
    seeds::Seeds,
    spark::{self, install},
};
use openagents_types::Network;
use serde_json::json;

use crate::{args::Global, exit::Exit, secret::SecretSource, show};

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Spark {
    /// Whether it is installed, chosen, and has what it needs
    Status,
    /// The Breez API key, which real money needs
    #[command(subcommand)]
    Key(Key),
}

/// What to do with the key.
#[derive(Debug, Subcommand)]
pub(crate) enum Key {
    /// Keep a key, instead of the one before
    #[command(
        before_help = "Examples:\n  openagents wallet spark key set              asks, and does not show it\n  \
        openagents wallet spark key set --file key.txt"
    )]
    Set(SecretSource),
    /// Forget the key
    Delete,
}

/// Does it.
pub(super) fn run(global: &Global, home: &Home, command: &Spark) -> anyhow::Result<Exit> {
    match command {
        Spark::Status => status(global, home),
        Spark::Key(Key::Set(source)) => set(global, home, source),
        Spark::Key(Key::Delete) => {
            let was = breez::delete(home)?;
            let text = if was { "the Breez API key is forgotten" } else { "no Breez API key was kept" };
            tell(global, &json!({ "deleted": was }), text)
        }
    }
}

fn tell(global: &Global, answer: &serde_json::Value, text: &str) -> anyhow::Result<Exit> {
    if global.json {
        show::json(&json!({ "schema_version": SCHEMA_VERSION, "spark": answer }))?;
    } else {
        show::line(text)?;
    }
    Ok(Exit::Ok)
}

fn set(global: &Global, home: &Home, source: &SecretSource) -> anyhow::Result<Exit> {
    let kept = breez::save(home, source.read("the Breez API key")?)?.word();
    if home.running_app().is_some() {
        show::talk("the running node uses it from its next start on");
    }
    tell(global, &json!({ "kept": kept }), &format!("the Breez API key is kept ({kept})"))
}

fn status(global: &Global, home: &Home) -> anyhow::Result<Exit> {
    let config = Config::load(home)?;
    let network = spark::network(config.wallet.spark.network)?;
    let installed = install::python(home).is_some();
    let key = match breez::load(home) {
        Ok((_, source)) => source.word().to_owned(),
        Err(BreezError::Missing) => "none".into(),
        Err(error) => format!("cannot be used: {error}"),
    };
    let seed = Seeds::new(home).status(network)?.map(|seed| seed.fingerprint);
    let chosen = config.wallet.kind == WalletChosen::Spark;
    let storage = spark::storage(home, network);
    let answer = json!({
        "chosen": chosen,
        "network": network,
        "installed": installed,
        "version": install::VERSION,
        "api_key": key,
        "seed": seed,
        "storage": storage,
    });
    let unless = |there: bool, what: &str| if there { String::new() } else { format!(" ({what})") };
    let needs_key = network == Network::Mainnet && key == "none";
    tell(
        global,
        &answer,
        &format!(
            "wallet   {}\nnetwork  {network}\nprogram  Breez SDK {}{}\nAPI key  {key}{}\nseed     {}{}\nstorage  {}",
            if chosen { "spark" } else { "another one is chosen" },
            install::VERSION,
            unless(installed, "not installed: openagents wallet install spark"),
            unless(!needs_key, "needed for real money: openagents wallet spark key set"),
            seed.as_deref().unwrap_or("none"),
            unless(seed.is_some(), &format!("openagents wallet seed create --network {network}")),
            storage.display(),
        ),
    )
}
