//! Old backups put back: nodes trade, their databases are copied while payments are in flight, they trade on, and
//! come back with an old copy. The wallets' own journal says at the end whether anything was paid twice.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{bail, ensure};
use openagents_api::ReconcileView;
use openagents_wallet::bolt11;
use serde_json::Value;

use super::{
    REST, Rng, TortureArgs, doomed,
    node::{Node, Role, World},
    order,
};

const PROVIDERS: usize = 2;
const CUSTOMERS: usize = 2;

/// Puts old backups back, as many as `--stale-backups` says.
pub(super) async fn run(arguments: &TortureArgs, restores: u32) -> anyhow::Result<()> {
    println!("torture: {restores} old backups put back, seed {}", arguments.seed);
    let mut rng = Rng(arguments.seed);
    let world = World::start(arguments.profile()).await?;
    let mut nodes = Node::start_all(&world, PROVIDERS, CUSTOMERS, arguments.rail).await?;
    let (mut asked, mut forgot) = (0, 0);
    let begun = Instant::now();
    for restore in 1..=restores {
        let victim = usize::try_from(rng.below(nodes.len() as u64))?;
        asked += trade(&nodes, &mut rng).await?;
        nodes[victim].back_up()?;
        asked += trade(&nodes, &mut rng).await?;
        nodes[victim].kill();
        nodes[victim].restore_backup(&mut |most| rng.below(most))?;
        nodes[victim].start(&[])?;
        forgot += u32::from(!reconcile(&nodes[victim]).await?.agree);
        if restore % 50 == 0 {
            println!("{restore} restores, {asked} jobs asked, {:.0?}", begun.elapsed());
        }
    }
    rest(&world, &nodes).await?;
    for node in &nodes {
        check_books(node).await?;
    }
    let paid = check_journal(&world.home().join("testnet.jsonl"))?;
    ensure!(paid > 0, "nothing was bought");
    ensure!(forgot > 0 || restores < 10, "no backup was older than the wallet");
    println!(
        "{restores} old backups put back ({forgot} of them older than the wallet), {asked} jobs asked, {paid} paid"
    );
    println!("0 second payments, 0 second refunds, money conserved");
    Ok(())
}

/// Has jobs asked, and waits a moment for them to be somewhere on their way.
async fn trade(nodes: &[Node], rng: &mut Rng) -> anyhow::Result<u32> {
    let mut asked = 0;
    for node in nodes.iter().filter(|node| node.role == Role::Customer) {
        let body = if rng.below(8) == 0 { doomed(rng) } else { order(rng) };
        asked += u32::from(node.client()?.ask(&body).await.is_ok());
    }
    tokio::time::sleep(Duration::from_millis(rng.below(400))).await;
    Ok(asked)
}

/// A wallet that is busy answers the next time.
async fn reconcile(node: &Node) -> anyhow::Result<ReconcileView> {
    let mut tries = 0;
    loop {
        match node.client()?.reconcile().await {
            Ok(view) => return Ok(view),
            Err(error) if tries == 5 => return Err(error.into()),
            Err(_) => tries += 1,
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Waits until no money is under way.
async fn rest(world: &World, nodes: &[Node]) -> anyhow::Result<()> {
    let start = Instant::now();
    let mut calm = 0;
    while calm < 5 {
        let audit = world.audit().await?;
        ensure!(audit["conserved"] == true, "the wallets themselves lost money: {audit}");
        calm = if audit["in_flight_msat"] == 0 { calm + 1 } else { 0 };
        if start.elapsed() > REST {
            let held = still_held(world, nodes).await?;
            bail!("money is still under way: {audit}\n{}", held.join("\n"));
        }
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    Ok(())
}

/// Each payment that is still locked, and what every node knows of its job.
async fn still_held(world: &World, nodes: &[Node]) -> anyhow::Result<Vec<String>> {
    let bills = bills(&std::fs::read_to_string(world.home().join("testnet.jsonl"))?)?;
    let is_held = |bill: &&Bill| bill.payer.is_some() && bill.hold && !bill.settled && !bill.cancelled;
    let mut told = Vec::new();
    for bill in bills.values().filter(is_held) {
        let mut line = format!("locked by account {:?}: {}", bill.payer, bill.description);
        let job = bill.description.strip_prefix("job ").and_then(|job| job.parse().ok());
        for node in nodes {
            let Some(id) = job else { continue };
            let knows = match node.client()?.job(id).await {
                Ok(job) => format!("{job:?}"),
                Err(error) => error.to_string(),
            };
            line.push_str(&format!("\n  {}: {knows}", node.label));
        }
        told.push(line);
    }
    Ok(told)
}

/// Books that lost a part of their history know less than the wallet, and nothing that it does not.
async fn check_books(node: &Node) -> anyhow::Result<()> {
    let view = reconcile(node).await?;
    let false_ones: Vec<_> = view.differences.iter().filter(|row| row.what != "not-in-books").collect();
    ensure!(false_ones.is_empty(), "{}: its books say what is not so: {false_ones:#?}", node.label);
    Ok(())
}

/// A bill in the wallets' journal.
struct Bill {
    description: String,
    payer: Option<u64>,
    hold: bool,
    settled: bool,
    cancelled: bool,
}

/// Reads what the wallets wrote down, whatever any node believes: each payer's settled payments for a job, less
/// those paid back, are one at most. Gives how many there are.
fn check_journal(path: &Path) -> anyhow::Result<usize> {
    let bills = bills(&std::fs::read_to_string(path)?)?;
    let settled = |bill: &&Bill| bill.settled || (bill.payer.is_some() && !bill.hold && !bill.cancelled);
    let mut paid: HashMap<String, u32> = HashMap::new();
    let mut refunded: HashMap<String, u32> = HashMap::new();
    let mut payers = HashSet::new();
    for bill in bills.values().filter(settled) {
        if let Some(job) = bill.description.strip_prefix("refund of job ") {
            *refunded.entry(job.to_owned()).or_default() += 1;
        } else if let Some(job) = bill.description.strip_prefix("job ") {
            *paid.entry(job.to_owned()).or_default() += 1;
            payers.insert(bill.payer);
        }
    }
    for (job, times) in &paid {
        let back = refunded.get(job).copied().unwrap_or(0);
        ensure!(
            times.saturating_sub(back) <= 1,
            "job {job} was paid {times} times and paid back {back} times"
        );
    }
    for (job, back) in &refunded {
        ensure!(
            paid.get(job).is_some_and(|times| back <= times),
            "job {job} was paid back more than it was paid"
        );
    }
    ensure!(!payers.contains(&None), "a settled payment without a payer");
    Ok(paid.len())
}

fn bills(journal: &str) -> anyhow::Result<HashMap<String, Bill>> {
    let mut bills: HashMap<String, Bill> = HashMap::new();
    for line in journal.lines() {
        let line: Value = serde_json::from_str(line)?;
        let text = |of: &Value, name: &str| of[name].as_str().unwrap_or_default().to_owned();
        if let Some(made) = line.get("invoiced") {
            let invoice = bolt11::decode(&text(made, "bolt11"))?;
            let (description, hold) = (text(made, "description"), made["preimage"].is_null());
            let bill = Bill { description, payer: None, hold, settled: false, cancelled: false };
            bills.insert(invoice.payment_hash.to_hex(), bill);
        }
        for word in ["paid", "settled", "cancelled"] {
            let Some(what) = line.get(word) else { continue };
            let Some(bill) = bills.get_mut(&text(what, "hash")) else { bail!("no invoice before {line}") };
            match word {
                "paid" => bill.payer = what["payer"].as_u64(),
                "settled" => bill.settled = true,
                _ => bill.cancelled = true,
            }
        }
    }
    Ok(bills)
}
