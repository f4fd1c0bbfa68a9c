//! `openagents wallet cashu`: the ecash that is the node's wallet, its mints and its tokens.

use clap::{Args, Subcommand};
use openagents_api::SCHEMA_VERSION;
use openagents_node::home::Home;
use openagents_types::Msat;
use serde_json::{Value, json};

use crate::{
    args::Global,
    exit::Exit,
    failure::Failure,
    link,
    secret::SecretSource,
    show,
    tables::{ago, now_ms, table},
    text::one_line,
};

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Cashu {
    /// What each mint holds, and the key that tokens for you can be locked to
    Info,
    /// Make a token: whoever has it can take its money
    Send(SendArgs),
    /// Take in a token, which nobody else can spend then
    Receive(ReceiveArgs),
    /// The tokens that were made here, and whether they were taken
    Tokens,
    /// Take a token back that nobody has taken
    Reclaim {
        /// Which, as `tokens` names it
        id: String,
    },
}

/// A token to make.
#[derive(Debug, Args)]
#[command(before_help = "Example:\n  openagents wallet cashu send 2000")]
pub(crate) struct SendArgs {
    /// How much it is worth to whoever takes it, in satoshis
    #[arg(value_name = "SAT")]
    sat: u64,
    /// Of which mint; otherwise the first that holds so much
    #[arg(long, value_name = "URL")]
    mint: Option<String>,
    /// Only this key can take it; the other's `openagents wallet cashu info` shows theirs
    #[arg(long, value_name = "KEY")]
    to: Option<String>,
}

/// A token to take in.
#[derive(Debug, Args)]
#[command(before_help = "Examples:\n  openagents wallet cashu receive                      asks for it\n  \
                   openagents wallet cashu receive --file token.txt")]
pub(crate) struct ReceiveArgs {
    /// Where the token is; it is money, so it is no argument
    #[command(flatten)]
    token: SecretSource,
}

/// Does it.
pub(crate) fn run(global: &Global, home: &Home, command: &Cashu) -> anyhow::Result<Exit> {
    match command {
        Cashu::Info => info(global, home),
        Cashu::Send(args) => send(global, home, args),
        Cashu::Receive(args) => receive(global, home, args),
        Cashu::Tokens => tokens(global, home),
        Cashu::Reclaim { id } => {
            let answer = ask(home, "reclaim_token", json!({ "id": id }))?;
            tell(global, &answer, || format!("{} are yours again", amount(&answer["amount"])))
        }
    }
}

fn ask(home: &Home, method: &str, params: Value) -> anyhow::Result<Value> {
    let client = link::connect(home)?;
    crate::cmd::wait(async { Ok(client.ecash(method, params).await?) })
}

fn tell(global: &Global, answer: &Value, text: impl FnOnce() -> String) -> anyhow::Result<Exit> {
    if global.json {
        show::json(&json!({ "schema_version": SCHEMA_VERSION, "ecash": answer }))?;
    } else {
        show::line(&text())?;
    }
    Ok(Exit::Ok)
}

fn amount(msat: &Value) -> String {
    Msat::new(msat.as_u64().unwrap_or(0)).to_string()
}

fn info(global: &Global, home: &Home) -> anyhow::Result<Exit> {
    let answer = ask(home, "list_mints", json!({}))?;
    tell(global, &answer, || {
        let cells = |mint: &Value| {
            let url = one_line(mint["url"].as_str().unwrap_or_default(), 60);
            vec![url, amount(&mint["balance"]), amount(&mint["in_use"]), amount(&mint["max"])]
        };
        let rows: Vec<_> = answer["mints"].as_array().into_iter().flatten().map(cells).collect();
        let key = one_line(answer["pubkey"].as_str().unwrap_or_default(), 70);
        format!("{}\nkey {key}", table(&["mint", "balance", "in use", "at most"], &rows))
    })
}

fn send(global: &Global, home: &Home, args: &SendArgs) -> anyhow::Result<Exit> {
    let amount = Msat::from_sat(args.sat)?;
    if amount == Msat::ZERO {
        return Err(Failure::usage("a token of nothing is none", "name how many satoshis it is worth").into());
    }
    let mut params = json!({ "amount": amount.get() });
    if let Some(mint) = &args.mint {
        params["mint"] = mint.as_str().into();
    }
    if let Some(key) = &args.to {
        params["lock"] = key.as_str().into();
    }
    let answer = ask(home, "send_token", params)?;
    show::talk(
        "whoever has this token can take its money; until then, `openagents wallet cashu reclaim` takes it back",
    );
    tell(global, &answer, || one_line(answer["token"].as_str().unwrap_or_default(), 500_000))
}

fn receive(global: &Global, home: &Home, args: &ReceiveArgs) -> anyhow::Result<Exit> {
    let token = args.token.read("the token")?;
    let answer = ask(home, "receive_token", json!({ "token": token.trim() }))?;
    tell(global, &answer, || {
        let mint = one_line(answer["mint"].as_str().unwrap_or_default(), 60);
        format!("{} are yours now, at {mint}", amount(&answer["amount"]))
    })
}

fn tokens(global: &Global, home: &Home) -> anyhow::Result<Exit> {
    let answer = ask(home, "list_tokens", json!({}))?;
    tell(global, &answer, || {
        let cells = |made: &Value| {
            let word = |name: &str| one_line(made[name].as_str().unwrap_or_default(), 60);
            let at = made["created_at"].as_u64().unwrap_or(0) * 1_000;
            vec![word("id"), amount(&made["amount"]), word("state"), ago(now_ms(), at), word("mint")]
        };
        let rows: Vec<_> = answer["tokens"].as_array().into_iter().flatten().map(cells).collect();
        if rows.is_empty() {
            return "no token was made here".into();
        }
        let hint = "see a token again with --json";
        format!("{}\n{hint}", table(&["id", "worth", "state", "made", "mint"], &rows))
    })
}
