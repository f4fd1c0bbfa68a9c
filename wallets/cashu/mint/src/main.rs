//! Cashu mints for tests, in one process: `openagents-test-mint DIR PORT…`, a mint at each port. They stand on
//! a Lightning network that is one table; a test pays, holds and releases there, slows the mints down, and
//! makes them lie, by JSON lines on stdin, each answered by one on stdout. It ends when its stdin does.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "stdout is how it answers, and a test's helper that panics has failed, as it should"
)]

mod door;
mod forge;
mod ledger;

use std::{collections::HashMap, path::Path, sync::Arc, time::Duration};

use cdk::{
    mint::{Mint, MintBuilder, MintMeltLimits},
    nuts::{CurrencyUnit, PaymentMethod},
    types::QuoteTTL,
};
use cdk_sqlite::MintSqliteDatabase;
use door::Door;
use ledger::{Ledger, Node, OUTSIDE};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    net::TcpListener,
};

/// A mint, and the door before it.
struct House {
    mint: Arc<Mint>,
    door: Door,
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().unwrap();
    let ledger = Ledger::open(&Path::new(&dir).join("ledger.json"));
    let mut houses = Vec::new();
    for (index, port) in arguments.enumerate() {
        houses.push(open(Path::new(&dir), &ledger, index, port.parse().unwrap()).await);
    }
    println!("{}", json!({ "ready": houses.len() }));
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let asked: Value = serde_json::from_str(&line).unwrap();
        let answer = obey(&ledger, &houses, &asked).await;
        println!("{}", answer.unwrap_or_else(|error| json!({ "error": error })));
    }
}

async fn open(dir: &Path, ledger: &Ledger, index: usize, port: u16) -> House {
    let database = MintSqliteDatabase::new(dir.join(format!("mint{index}.db"))).await.unwrap();
    let database = Arc::new(database);
    let mut builder = MintBuilder::new(database.clone()).with_limits(2_000, 2_000);
    let node = Arc::new(Node::new(ledger.clone(), index));
    let limits = MintMeltLimits::new(1, u64::MAX / 2_000);
    builder.add_payment_processor(CurrencyUnit::Sat, PaymentMethod::BOLT11, limits, node).await.unwrap();
    let seed = [u8::try_from(index).unwrap() + 1; 32];
    let mint = Arc::new(builder.build_with_seed(database, &seed).await.unwrap());
    mint.set_quote_ttl(QuoteTTL::new(10_000, 10_000)).await.unwrap();
    mint.start().await.unwrap();
    let router = cdk_axum::create_mint_router(mint.clone(), vec!["bolt11".into()]).await.unwrap();
    let door = Door::default();
    let router = door.before(router);
    let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    House { mint, door }
}

/// Does what a test asks.
async fn obey(ledger: &Ledger, houses: &[House], asked: &Value) -> Result<Value, String> {
    let number = |name: &str| asked[name].as_u64().unwrap_or(0);
    let text = |name: &str| asked[name].as_str().unwrap_or_default();
    let house = || houses.get(usize::try_from(number("mint")).unwrap()).ok_or("no such mint");
    match text("do") {
        "invoice" => {
            let expiry = Duration::from_secs(asked["expiry"].as_u64().unwrap_or(600));
            let invoice = ledger.invoice(OUTSIDE, number("msat"), expiry).map_err(|e| e.to_string())?;
            Ok(json!({ "invoice": invoice.to_string() }))
        }
        "pay" => {
            ledger.pay(OUTSIDE, &ledger::read(text("invoice"))?).map_err(|e| e.to_string())?;
            Ok(json!({}))
        }
        "paid" => Ok(json!({ "times": ledger.paid(text("hash")) })),
        "release" => {
            ledger.release(text("hash"), asked["arrives"] == true);
            Ok(json!({}))
        }
        "mood" => {
            ledger.change_mood(|mood| {
                mood.reserve = number("reserve");
                mood.hold = asked["hold"] == true;
                mood.mute = asked["mute"] == true;
            });
            Ok(json!({}))
        }
        "door" => {
            house()?.door.set(asked);
            Ok(json!({ "asked": house()?.door.asked() }))
        }
        "rotate" => {
            let amounts = (0..32).map(|n| 1 << n).collect();
            let rotated = house()?.mint.rotate_keyset(CurrencyUnit::Sat, amounts, number("fee"), false, None);
            rotated.await.map_err(|error| error.to_string())?;
            Ok(json!({}))
        }
        "forge a request" => forge::request(asked),
        "forge a token" => forge::token(&house()?.mint, asked),
        "outstanding" => Ok(json!({ "sats": outstanding(&house()?.mint).await? })),
        other => Err(format!("what is {other:?}?")),
    }
}

/// What a mint owes, in satoshis: what it signed less what came back.
async fn outstanding(mint: &Mint) -> Result<u64, String> {
    let sum = |of: HashMap<cdk::nuts::Id, cdk::Amount>| of.into_values().map(u64::from).sum::<u64>();
    let issued = mint.total_issued().await.map_err(|error| error.to_string())?;
    let redeemed = mint.total_redeemed().await.map_err(|error| error.to_string())?;
    Ok(sum(issued) - sum(redeemed))
}
