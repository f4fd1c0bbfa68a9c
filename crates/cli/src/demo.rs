//! `openagents demo`: a market of several nodes on one machine, working for real.
//!
//! One process is the customer, the relay and the test wallets; three others are providers. A job is
//! quoted, paid and delivered; then a provider is killed in the middle of a job and its customer made
//! whole; at the end every satoshi is counted. Nothing is kept afterwards.

mod child;
mod story;

use clap::Args;
use openagents_node::{Node, Options, Role, WalletChoice, config::Config, home::Home, identity::Identities};
use openagents_types::Millis;

use self::{child::Child, story::Story};
use crate::{args::Global, exit::Exit, show, stop::Stop};

/// The demo's flags.
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:\n  openagents demo\n  openagents demo --json | tail -1\n  openagents demo --keep"
)]
pub(crate) struct DemoArgs {
    /// Keep the node serving afterwards, until Ctrl-C
    #[arg(long)]
    pub(crate) keep: bool,
}

/// The providers: a name, and the price of a job in millisatoshis.
const PROVIDERS: [(&str, u64); 3] = [("thrifty", 2_000), ("middling", 3_000), ("grand", 5_000)];

/// What each provider's wallet starts with.
const PROVIDER_SATS: u64 = 100;

/// How long a test wallet holds a payment for a provider that is gone. Real ones take hours; a demo
/// should not.
const HOLD_LIMIT: Millis = Millis(2_500);

/// Runs the demo.
pub(crate) fn run(global: &Global, args: &DemoArgs) -> anyhow::Result<Exit> {
    tokio::runtime::Runtime::new()?.block_on(play(global, args))
}

async fn play(global: &Global, args: &DemoArgs) -> anyhow::Result<Exit> {
    let stop = Stop::listen()?;
    let directory = tempfile::tempdir()?;
    let node = customer(&directory.path().join("customer")).await?;
    let mut providers = Vec::new();
    for (name, price) in PROVIDERS {
        providers.push(Child::new(&node, &directory.path().join(name), name, price)?);
    }
    for provider in &mut providers {
        provider.start()?;
    }
    let mut story = Story::new(global.json, node.client()?);
    let told = tokio::select! {
        told = story.tell(&node, &mut providers) => Some(told?),
        () = stop.wait() => None,
    };
    let Some(ok) = told else {
        node.shutdown().await?;
        return Ok(Exit::Interrupted);
    };
    if args.keep {
        show::talk(&format!("serving at {} until Ctrl-C", node.app_link()));
        node.run(Stop::listen()?.wait()).await?;
    } else {
        node.shutdown().await?;
    }
    Ok(if ok { Exit::Ok } else { Exit::Error })
}

/// The node that is customer, relay and test wallets in one.
async fn customer(directory: &std::path::Path) -> anyhow::Result<Node> {
    let home = Home::open(Some(directory.to_path_buf()))?;
    let mut config = Config::default();
    config.listen.set_port(0);
    config.customer.window_ms = 400;
    config.customer.recheck_ms = 300;
    let identity = Identities::new(&home).active()?;
    let (wallet, role) = (WalletChoice::Testnet, Role::Customer);
    let node = Node::bind(Options { home, config, identity, wallet, role, offline: true }).await?;
    if let Some(testnet) = node.testnet() {
        testnet.service().set_hold_limit(HOLD_LIMIT);
    }
    Ok(node)
}
