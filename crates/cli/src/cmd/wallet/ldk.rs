//! `openagents wallet ldk`: the Lightning node that the node runs as its wallet, its coins and its channels.

use clap::{Args, Subcommand};
use openagents_api::SCHEMA_VERSION;
use openagents_node::home::Home;
use openagents_types::Msat;
use serde_json::{Value, json};

use crate::{args::Global, exit::Exit, failure::Failure, link, show, tables::table, text::one_line};

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Ldk {
    /// Who it is, and what it holds on chain
    Info,
    /// A new address to send coins to
    Address,
    /// Its channels
    Channels,
    /// Open a channel to another node
    Open(OpenArgs),
    /// Close a channel
    Close {
        /// Which, as `channels` names it
        id: String,
        /// Without the peer: it costs more, and the money is locked for a while
        #[arg(long)]
        force: bool,
    },
}

/// A channel to open.
#[derive(Debug, Args)]
#[command(before_help = "Example:\n  openagents wallet ldk open 02ab…@203.0.113.7:9735 --sat 500000")]
pub(crate) struct OpenArgs {
    /// The other node: its public key, @, its host and port
    #[arg(value_name = "KEY@HOST:PORT")]
    peer: String,
    /// How much of our coins the channel holds
    #[arg(long, value_name = "N")]
    sat: u64,
    /// How much of that is given to the other node
    #[arg(long, value_name = "N", default_value_t = 0)]
    push_sat: u64,
    /// Let others route through it
    #[arg(long)]
    announce: bool,
}

/// Does it.
pub(crate) fn run(global: &Global, home: &Home, command: &Ldk) -> anyhow::Result<Exit> {
    match command {
        Ldk::Info => info(global, home),
        Ldk::Address => {
            let answer = ask(home, "new_address", json!({}))?;
            tell(global, &answer, || one_line(answer["address"].as_str().unwrap_or_default(), 100))
        }
        Ldk::Channels => channels(global, home),
        Ldk::Open(args) => open(global, home, args),
        Ldk::Close { id, force } => {
            let answer = ask(home, "close_channel", json!({ "id": id, "force": force }))?;
            tell(global, &answer, || "closing; its money is on chain once that is in a block".into())
        }
    }
}

fn ask(home: &Home, method: &str, params: Value) -> anyhow::Result<Value> {
    let client = link::connect(home)?;
    crate::cmd::wait(async { Ok(client.lightning(method, params).await?) })
}

fn tell(global: &Global, answer: &Value, text: impl FnOnce() -> String) -> anyhow::Result<Exit> {
    if global.json {
        show::json(&json!({ "schema_version": SCHEMA_VERSION, "lightning": answer }))?;
    } else {
        show::line(&text())?;
    }
    Ok(Exit::Ok)
}

fn info(global: &Global, home: &Home) -> anyhow::Result<Exit> {
    let mut answer = ask(home, "get_info", json!({}))?;
    answer["onchain"] = ask(home, "onchain_balance", json!({}))?;
    tell(global, &answer, || {
        let word = |name: &str| one_line(answer[name].as_str().unwrap_or_default(), 80);
        let sats = |name: &str| answer["onchain"][name].as_u64().unwrap_or(0);
        format!(
            "{} on {}\n  key      {}\n  height   {}\n  on chain {} sat, {} of them kept for closing channels",
            word("alias"),
            word("network"),
            word("pubkey"),
            answer["block_height"],
            sats("total"),
            sats("reserved"),
        )
    })
}

fn channels(global: &Global, home: &Home) -> anyhow::Result<Exit> {
    let answer = ask(home, "list_channels", json!({}))?;
    tell(global, &answer, || {
        let rows: Vec<_> = answer["channels"].as_array().into_iter().flatten().map(cells).collect();
        if rows.is_empty() {
            return "no channel; open one with `openagents wallet ldk open`".into();
        }
        table(&["id", "peer", "we can send", "we can receive", "state"], &rows)
    })
}

fn cells(channel: &Value) -> Vec<String> {
    let word = |name: &str| one_line(channel[name].as_str().unwrap_or_default(), 40);
    let amount = |name: &str| Msat::new(channel[name].as_u64().unwrap_or(0)).to_string();
    let state = match (&channel["usable"], &channel["ready"]) {
        (Value::Bool(true), _) => "usable",
        (_, Value::Bool(true)) => "its peer is away",
        _ => "waits for blocks",
    };
    vec![word("id"), word("peer"), amount("outbound_msat"), amount("inbound_msat"), state.into()]
}

fn open(global: &Global, home: &Home, args: &OpenArgs) -> anyhow::Result<Exit> {
    let (node_id, address) = args.peer.split_once('@').ok_or_else(|| {
        Failure::usage("that names no node to reach", "name it as its public key, @, its host and port")
    })?;
    let push = Msat::from_sat(args.push_sat)?;
    if args.push_sat > args.sat {
        return Err(
            Failure::usage("a channel cannot give away more than it holds", "lower --push-sat").into()
        );
    }
    let channel = json!({
        "node_id": node_id,
        "address": address,
        "amount": args.sat,
        "push_msat": push.get(),
        "announce": args.announce,
    });
    let answer = ask(home, "open_channel", channel)?;
    tell(global, &answer, || {
        format!(
            "opening {}; it can be used once its funding is in enough blocks",
            one_line(answer["id"].as_str().unwrap_or_default(), 40)
        )
    })
}
