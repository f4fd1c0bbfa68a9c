//! `openagents up`: a node from its first line to its last.

use std::{net::SocketAddr, time::Duration};

use clap::Args;
use openagents_api::Client;
use openagents_node::{
    Node, Options, Role, Up, WalletChoice, cashu,
    config::{Config, WalletChosen},
    doubts::doubts,
    home::Home,
    identity::Identities,
    ldk, spark,
};
use openagents_relay::RelayUrl;
use openagents_types::Network;
use openagents_wallet::nwc::Connection;

use crate::{
    args::Global,
    cmd::{self, provider::off_duty, wallet::seed},
    exit::Exit,
    failure::Failure,
    first::{self, Purse, selftest},
    link, show,
    stop::Stop,
    text::one_line,
};

/// How long relays may take to answer before it is said that none does.
const ALONE: Duration = Duration::from_secs(6);

/// The node's flags; each overrides `config.toml`.
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:\n  \
        openagents up --offline            a market of your own: relay, test money, provider\n  \
        openagents up --offline --free     the same, with every job free of charge\n  \
        openagents up --relay wss://relay.example.com",
    after_help = "In a home without settings it looks for model servers on this machine, measures them, proposes what to\n\
        sell and asks once; --yes takes the proposal. Then it buys one job from itself, never with real money.\n\
        Ctrl-C or SIGTERM drains: no new jobs, running ones finish. The node listens on loopback only,\n\
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
    /// Answer yes to every question, such as whether to sell what a first start proposes, or to listen beyond this
    /// machine
    #[arg(long)]
    pub(crate) yes: bool,
    /// At a first start, look for model servers on these ports of this machine instead of the usual ones
    #[arg(long, value_name = "PORT", value_delimiter = ',')]
    pub(crate) look_at: Vec<u16>,
}

/// Runs a node until it is told to stop.
pub(crate) fn run(global: &Global, args: &UpArgs) -> anyhow::Result<Exit> {
    let home = link::home(global)?;
    let runtime = tokio::runtime::Runtime::new()?;
    let purse = purse(&home, args)?;
    // What cannot be used is said before anything is proposed.
    config(&home, args)?.with_models(&home)?;
    let is_first = runtime.block_on(first::prepare(global, args, &home, purse))?;
    let config = config(&home, args)?;
    cmd::config::warn(&doubts(&config));
    let identity = Identities::new(&home).active()?;
    let wallet = wallet(&home, &config, args.offline)?;
    let role = if args.customer { Role::Customer } else { Role::Provider };
    let options = Options { home, config, identity, wallet, role, offline: args.offline };
    runtime.block_on(serve(global, args, options, is_first))
}

async fn serve(global: &Global, args: &UpArgs, options: Options, is_first: bool) -> anyhow::Result<Exit> {
    // Heard from the first moment on, so that a stop during start is not lost.
    let stop = Stop::listen()?;
    let home = options.home.clone();
    let node = Node::bind(options).await?;
    if global.json {
        show::json(node.up())?;
    } else {
        show::line(&welcome(node.up(), &node.app_link(), args))?;
    }
    seed::remind(&home);
    let client = node.client()?;
    let up = node.up().clone();
    let run = node.run(stop.wait());
    tokio::pin!(run);
    tokio::select! {
        ended = &mut run => ended?,
        said = say_how_it_is(global, &client, &up, is_first) => {
            said?;
            run.await?;
        }
    }
    show::talk("stopped; running jobs were finished or handed back");
    Ok(Exit::Ok)
}

/// A first start ends in a self-test; any other says at least if nobody can be met.
async fn say_how_it_is(global: &Global, client: &Client, up: &Up, is_first: bool) -> anyhow::Result<()> {
    warn_of_provider(client).await;
    if is_first {
        return selftest::run(global, client, up).await;
    }
    warn_if_alone(client).await;
    Ok(())
}

/// What is known of money before the settings are read.
fn purse(home: &Home, args: &UpArgs) -> anyhow::Result<Purse> {
    if args.offline {
        return Ok(Purse::Test);
    }
    let config = Config::load(home)?;
    let is_connected = config.wallet.kind != WalletChosen::Nwc || link::wallet_file(home).exists();
    Ok(if is_connected { Purse::Wallet } else { Purse::None })
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

/// The chosen wallet; a node that is a market of its own has a test account instead.
fn wallet(home: &Home, config: &Config, offline: bool) -> anyhow::Result<WalletChoice> {
    if offline {
        return Ok(WalletChoice::Testnet);
    }
    match config.wallet.kind {
        WalletChosen::Ldk => return Ok(WalletChoice::Program(ldk::program(home, &config.wallet.ldk)?)),
        WalletChosen::Cashu => return Ok(WalletChoice::Program(cashu::program(home, &config.wallet.cashu)?)),
        WalletChosen::Spark => return Ok(WalletChoice::Program(spark::program(home, &config.wallet.spark)?)),
        WalletChosen::Nwc => {}
    }
    match std::fs::read_to_string(link::wallet_file(home)) {
        Ok(text) => Ok(WalletChoice::Connected(text.parse::<Connection>()?)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(WalletChoice::None),
        Err(error) => Err(error.into()),
    }
}

fn welcome(up: &Up, app_link: &str, args: &UpArgs) -> String {
    let kinds = up.kinds.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let sells = if kinds.is_empty() { "nothing; it only buys".to_owned() } else { format!("kinds {kinds}") };
    let relays = if up.relays.is_empty() { "none".to_owned() } else { up.relays.join("\n         ") };
    format!(
        "openagents is up ({})\n  app    {app_link}\n  relay  {relays}\n  sells  {sells}\n  \
         stop   Ctrl-C drains and stops",
        money(up, args.free)
    )
}

/// What a job here can cost, so that nobody takes test money for real or real money for a test.
fn money(up: &Up, free: bool) -> String {
    match up.wallet {
        _ if free => "every job it sells is free".into(),
        Some(Network::Mainnet) => "real money".into(),
        Some(network) => format!("test money only: the wallet is on {network}"),
        None => "no wallet: it neither earns nor pays; connect one with `openagents wallet connect`, or sell with \
                 --free"
            .into(),
    }
}

/// Says that no jobs are taken, if so, which model servers are not there yet, and which others can reach.
async fn warn_of_provider(client: &Client) {
    let provider = client.node().await.ok().and_then(|node| node.provider);
    if let Some(words) = provider.as_ref().and_then(off_duty) {
        show::talk(&words);
    }
    for server in provider.iter().flat_map(|provider| &provider.servers) {
        let named = format!("{} at {}", server.backend, one_line(&server.place, 120));
        match server.state.as_str() {
            "ready" => {}
            "starting" => show::talk(&format!("{named} is starting; its jobs are refused until it is ready")),
            _ => show::talk(&format!(
                "{named} is down; its jobs are refused until it is back: {}",
                one_line(&server.why, 240)
            )),
        }
        if let Some(warning) = &server.warning {
            show::talk(&format!("warning: {}", one_line(warning, 240)));
        }
    }
}

/// Says once that no relay answers, if none does: a market of one looks like a quiet market.
async fn warn_if_alone(client: &Client) {
    tokio::time::sleep(ALONE).await;
    let Ok(node) = client.node().await else { return };
    if node.relays.iter().any(|relay| relay.connected) {
        return;
    }
    if node.relays.is_empty() {
        show::talk("no relay is set, so nobody can be met: openagents relay add wss://…");
    } else {
        show::talk(
            "no relay answers, so nobody is met yet; it is tried again and again. Why: openagents relay test",
        );
    }
}
