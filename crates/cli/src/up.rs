//! `openagents up`: a node from its first line to its last.

use std::net::SocketAddr;

use clap::Args;
use openagents_node::{
    Node, Options, Role, Up, WalletChoice, config::Config, home::Home, identity::Identities,
};
use openagents_relay::RelayUrl;
use openagents_wallet::nwc::Connection;

use crate::{args::Global, exit::Exit, failure::Failure, link, show};

/// The node's flags; each overrides `config.toml`.
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:\n  \
        openagents up --offline            a market of your own: relay, test money, provider\n  \
        openagents up --offline --free     the same, with every job free of charge\n  \
        openagents up --relay wss://relay.example.com",
    after_help = "Ctrl-C or SIGTERM drains: no new jobs, running ones finish. The node listens on loopback only,\n\
        unless --listen says otherwise; whoever spends or changes something needs its token."
)]
pub(crate) struct UpArgs {
    /// Serve a relay and test wallets here, and use no network
    #[arg(long)]
    pub(crate) offline: bool,
    /// Ask nothing for any job
    #[arg(long)]
    pub(crate) free: bool,
    /// Buy only: sell nothing
    #[arg(long)]
    pub(crate) customer: bool,
    /// Listen here; port 0 takes any free port [default: 127.0.0.1:9099]
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) listen: Option<SocketAddr>,
    /// Use this relay instead of the configured ones; repeat for several
    #[arg(long, value_name = "URL", conflicts_with = "offline")]
    pub(crate) relay: Vec<String>,
    /// Answer yes to every question, such as whether to listen beyond this machine
    #[arg(long)]
    pub(crate) yes: bool,
}

/// Runs a node until it is told to stop.
pub(crate) fn run(global: &Global, args: &UpArgs) -> anyhow::Result<Exit> {
    let home = link::home(global)?;
    let config = config(&home, args)?;
    let identity = Identities::new(&home).active()?;
    let wallet = wallet(&home, args.offline)?;
    let role = if args.customer { Role::Customer } else { Role::Provider };
    let options = Options { home, config, identity, wallet, role, offline: args.offline };
    tokio::runtime::Runtime::new()?.block_on(serve(global, args, options))
}

async fn serve(global: &Global, args: &UpArgs, options: Options) -> anyhow::Result<Exit> {
    // Heard from the first moment on, so that a stop during start is not lost.
    let stop = Stop::listen()?;
    let node = Node::bind(options).await?;
    if global.json {
        show::json(node.up())?;
    } else {
        show::line(&welcome(node.up(), &node.app_link(), args))?;
    }
    node.run(stop.wait()).await?;
    show::talk("stopped; running jobs were finished or handed back");
    Ok(Exit::Ok)
}

fn config(home: &Home, args: &UpArgs) -> anyhow::Result<Config> {
    let mut config = Config::load(home)?;
    if let Some(listen) = args.listen {
        config.listen = listen;
    }
    if !config.listen.ip().is_loopback() && !args.yes {
        let what = format!("{} is reachable from other machines", config.listen);
        return Err(Failure::usage(what, "add --yes if that is what you want, or listen on 127.0.0.1").into());
    }
    if !args.relay.is_empty() {
        for relay in &args.relay {
            RelayUrl::parse(relay)?;
        }
        config.relays.clone_from(&args.relay);
    }
    config.provider.free |= args.free;
    Ok(config)
}

/// The connected wallet; a node that is a market of its own has a test account instead.
fn wallet(home: &Home, offline: bool) -> anyhow::Result<WalletChoice> {
    if offline {
        return Ok(WalletChoice::Testnet);
    }
    match std::fs::read_to_string(link::wallet_file(home)) {
        Ok(text) => Ok(WalletChoice::Connected(text.parse::<Connection>()?)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(WalletChoice::None),
        Err(error) => Err(error.into()),
    }
}

fn welcome(up: &Up, app_link: &str, args: &UpArgs) -> String {
    let money = match (args.offline, args.free) {
        (_, true) => "every job is free",
        (true, _) => "test money only",
        (false, _) => "real money",
    };
    let kinds = up.kinds.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let sells = if kinds.is_empty() { "nothing; it only buys".to_owned() } else { format!("kinds {kinds}") };
    format!(
        "openagents is up ({money})\n  app    {app_link}\n  relay  {}\n  sells  {sells}\n  \
         stop   Ctrl-C drains and stops",
        up.relay.as_deref().unwrap_or("none")
    )
}

/// Ctrl-C and, where there is one, SIGTERM.
pub(crate) struct Stop {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
}

impl Stop {
    #[cfg(unix)]
    pub(crate) fn listen() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    #[cfg(unix)]
    pub(crate) async fn wait(mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    #[cfg(not(unix))]
    pub(crate) fn listen() -> std::io::Result<Self> {
        Ok(Self {})
    }

    #[cfg(not(unix))]
    pub(crate) async fn wait(self) {
        let _ = tokio::signal::ctrl_c().await;
    }
}
