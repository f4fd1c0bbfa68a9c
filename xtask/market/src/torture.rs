//! Kills real processes at random instants with payments in flight, restarts them, and at the end
//! counts every satoshi. The relay and the wallets live in one process that is never killed: they
//! stand for the world.

mod backups;
mod mint;
mod node;
mod witness;

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use base64::Engine as _;
use clap::Args;
use openagents_api::{AskBody, Client, JobView, Listing, Side};
use openagents_types::{JobInput, JobKind, Param};
use serde_json::Value;

use self::{
    node::{Node, Rail, Role, World},
    witness::Witness,
};
use openagents_xtask::shell;

/// How hard to be.
#[derive(Clone, Debug, Args)]
pub(crate) struct TortureArgs {
    /// How many processes to kill
    #[arg(long, default_value_t = 1_000)]
    pub(crate) kills: u32,
    /// Where the randomness begins; printed, so that a failure can be run again
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// How payments reach the providers
    #[arg(long, value_enum, default_value_t = Rail::Hold)]
    pub(crate) rail: Rail,
    /// Instead of killing, buy so many jobs with wallets that time out, lie and change their mind
    #[arg(long, value_name = "JOBS")]
    pub(crate) chaos: Option<u32>,
    /// Torture the debug build, which is there sooner and restarts later
    #[arg(long)]
    pub(crate) debug: bool,
    /// Put so many old backups of databases back instead, and count second payments
    #[arg(long, value_name = "N", conflicts_with = "kills")]
    pub(crate) stale_backups: Option<u32>,
}

impl TortureArgs {
    fn profile(&self) -> &'static str {
        if self.debug { "debug" } else { "release" }
    }
}

const PROVIDERS: usize = 3;
const CUSTOMERS: usize = 2;
/// How long everything may take to come to rest after the last kill.
const REST: Duration = Duration::from_secs(120);

/// The same where what is not delivered comes back only when its lock ends.
const REST_OF_ECASH: Duration = Duration::from_secs(360);

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Rng(u64);

impl Rng {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

/// See the module.
pub(crate) fn run(arguments: &TortureArgs) -> anyhow::Result<()> {
    if let Some(jobs) = arguments.chaos {
        return chaos(jobs, arguments.debug);
    }
    // The debug build came with this program.
    if !arguments.debug {
        shell::build_release()?;
    }
    let runtime = tokio::runtime::Runtime::new()?;
    match arguments.stale_backups {
        Some(restores) => runtime.block_on(backups::run(arguments, restores)),
        None => runtime.block_on(kill_many(arguments)),
    }
}

/// The test of the name, with more jobs.
fn chaos(jobs: u32, debug: bool) -> anyhow::Result<()> {
    let profile = if debug { "" } else { "--release" };
    let mut test =
        shell::command(&format!("cargo test --quiet --workspace {profile} --test chaos -- --nocapture"));
    test.env("OPENAGENTS_CHAOS_JOBS", jobs.to_string());
    shell::run(test)
}

async fn kill_many(arguments: &TortureArgs) -> anyhow::Result<()> {
    println!("torture: {} kills, seed {}, rail {:?}", arguments.kills, arguments.seed, arguments.rail);
    let mut rng = Rng(arguments.seed);
    let world = World::with(arguments.profile(), arguments.rail).await?;
    let witness = Witness::listen(world.relay())?;
    let mut nodes = Node::start_all(&world, PROVIDERS, CUSTOMERS, arguments.rail).await?;
    let mut restarts = Vec::new();
    let mut asked = 0_u32;
    let begun = Instant::now();
    for kill in 0..arguments.kills {
        if kill % 100 == 99 {
            println!("{} kills, {asked} jobs asked, {:.0?}", kill + 1, begun.elapsed());
        }
        for node in nodes.iter().filter(|node| node.role == Role::Customer) {
            asked += u32::from(node.client()?.ask(&order(&mut rng)).await.is_ok());
        }
        tokio::time::sleep(Duration::from_millis(rng.below(35))).await;
        let victim = usize::try_from(rng.below(nodes.len() as u64))?;
        nodes[victim].kill();
        restarts.push(nodes[victim].start(&[])?);
    }
    let report = settle(&world, &mut nodes).await?;
    let (answered, twice) = witness.report();
    ensure!(twice.is_empty(), "{} jobs were done twice: {twice:?}", twice.len());
    ensure!(report.sold > 0 && report.delivered > 0 && answered > 0, "nothing was sold: {report:?}");
    restarts.sort_unstable();
    let at = |percent: usize| restarts[(restarts.len() - 1) * percent / 100];
    println!(
        "{} kills, {asked} jobs asked, {} delivered, {} sold for money, {answered} answers on the relay",
        arguments.kills, report.delivered, report.sold
    );
    println!("0 lost, 0 orphans, 0 double executions, databases intact");
    println!("restart to ready: p50 {:?}, p99 {:?}", at(50), at(99));
    Ok(())
}

/// A job of either kind, quick or slow, with enough time and money.
fn order(rng: &mut Rng) -> AskBody {
    let text = "A payment is locked until the work is delivered. If nothing is delivered it goes back. "
        .repeat(usize::try_from(1 + rng.below(200)).unwrap_or(1));
    let kind = if rng.below(2) == 0 { JobKind::SUMMARIZATION } else { JobKind::TEXT_EXTRACTION };
    AskBody {
        kind,
        inputs: vec![JobInput::text(text)],
        params: vec![Param::new("number", rng.below(u64::MAX).to_string())],
        bid_msat: 10_000,
        provider: None,
        encrypt: false,
        window_ms: Some(50 + rng.below(200)),
        deadline_ms: Some(15_000),
        patience_ms: Some(2_000),
        refund_to: None,
        balance_of: None,
        or_wallet: false,
    }
}

/// A job that is paid and then fails, so that its payment has to go back: what it extracts takes twice
/// the room in an event, more than relays carry.
fn doomed(rng: &mut Rng) -> AskBody {
    let quotes = base64::engine::general_purpose::STANDARD.encode("\"".repeat(35_000));
    AskBody {
        kind: JobKind::TEXT_EXTRACTION,
        inputs: vec![JobInput::url(format!("data:text/plain;base64,{quotes}"))],
        bid_msat: 1_000_000,
        deadline_ms: Some(5_000),
        ..order(rng)
    }
}

/// What the end looked like.
#[derive(Debug)]
struct Report {
    delivered: usize,
    sold: usize,
}

/// Waits until nothing is open, then counts.
async fn settle(world: &World, nodes: &mut [Node]) -> anyhow::Result<Report> {
    let start = Instant::now();
    loop {
        let open = open_jobs(nodes).await?;
        let audit = world.audit().await?;
        if open.is_empty() && audit["in_flight_msat"] == 0 && is_unlocked(world, nodes).await? {
            break;
        }
        if start.elapsed() > world.mint().map_or(REST, |_| REST_OF_ECASH) {
            bail!("never came to rest: {} open, audit {audit}, such as {:#?}", open.len(), open.first());
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let report = count(world, nodes).await?;
    for node in nodes {
        node.kill();
        node.check_database()?;
    }
    Ok(report)
}

/// Whether no ecash is locked: what was locked for a job that ended meanwhile comes back only with the lock's end.
async fn is_unlocked(world: &World, nodes: &[Node]) -> anyhow::Result<bool> {
    let Some(mint) = world.mint() else { return Ok(true) };
    let mut held = 0;
    for node in nodes {
        held += i64::try_from(node.holds().await?.unwrap_or_default())?;
    }
    Ok(held == mint.owes()?)
}

/// Jobs that somebody waits for. An offer that is over and unpaid waits for nobody, though a plain invoice
/// keeps it open for ten minutes more, in case of a slow payment.
async fn open_jobs(nodes: &[Node]) -> anyhow::Result<Vec<JobView>> {
    let mut open = Vec::new();
    for node in nodes {
        open.extend(node.client()?.jobs(&Listing { open: true, ..Listing::default() }).await?);
    }
    open.retain(|job| job.state != "lapsing");
    Ok(open)
}

async fn count(world: &World, nodes: &[Node]) -> anyhow::Result<Report> {
    let audit = world.audit().await?;
    ensure!(audit["conserved"] == true, "the wallets themselves lost money: {audit}");
    let mut report = Report { delivered: 0, sold: 0 };
    let mut held = 0;
    for node in nodes {
        let moved = match world.mint() {
            // Its funds came by hand, and are in its books.
            Some(_) => i64::try_from(node.holds().await?.context("a balance")?)?,
            None => balance(&audit, &node.label)? - node::FUNDS_MSAT,
        };
        held += moved;
        let books = node.client()?.ledger(1).await?.net_msat;
        ensure!(moved == books, "{}: its wallet moved {moved} msat, its books say {books}", node.label);
        let exported = node.exported_net()?;
        ensure!(
            exported == books,
            "{}: an export comes to {exported} msat, the ledger to {books}",
            node.label
        );
        for job in all_jobs(node.client()?, Side::Bought).await? {
            let delivered = job.result_sha256.is_some();
            ensure!(
                delivered || job.paid_msat == 0,
                "an orphan, paid and neither delivered nor refunded: {job:#?}"
            );
            report.delivered += usize::from(delivered);
        }
        let sold = all_jobs(node.client()?, Side::Sold).await?;
        report.sold += sold.iter().filter(|job| job.paid_msat > 0).count();
    }
    if let Some(mint) = world.mint() {
        let owes = mint.owes()?;
        ensure!(held == owes, "the wallets hold {held} msat of the {owes} msat that the mint owes");
    }
    Ok(report)
}

/// Page after page.
async fn all_jobs(client: &Client, side: Side) -> anyhow::Result<Vec<JobView>> {
    let mut jobs: Vec<JobView> = Vec::new();
    loop {
        let after = jobs.last().map(|job| job.id);
        let wanted = Listing { limit: Some(500), side: Some(side), open: false, after };
        let page = client.jobs(&wanted).await?;
        if page.is_empty() {
            return Ok(jobs);
        }
        jobs.extend(page);
    }
}

fn balance(audit: &Value, label: &str) -> anyhow::Result<i64> {
    let rows = audit["balances"].as_array().context("balances")?;
    let row = rows.iter().find(|row| row["label"] == label).with_context(|| format!("no account {label}"))?;
    row["msat"].as_i64().context("msat")
}

/// Dies at every failpoint in turn, in a provider and in a customer, and goes on.
pub(crate) fn sweep() -> anyhow::Result<()> {
    tokio::runtime::Runtime::new()?.block_on(sweep_all())
}

async fn sweep_all() -> anyhow::Result<()> {
    let world = World::start("debug").await?;
    let mut provider = Node::new(&world, 0, Role::Provider, Rail::Hold).await?;
    let mut customer = Node::new(&world, 1, Role::Customer, Rail::Hold).await?;
    let list = world.home().join("failpoints");
    let listing = [("OPENAGENTS_FAILPOINT_LIST", list.display().to_string())];
    provider.start(&listing)?;
    customer.start(&listing)?;
    let mut rng = Rng(1);
    customer.client()?.ask(&order(&mut rng)).await?;
    customer.client()?.ask(&doomed(&mut rng)).await?;
    let mut nodes = [provider, customer];
    wait_for_rest(&nodes).await?;
    let names = std::fs::read_to_string(&list)?;
    let mut names: Vec<&str> = names.lines().collect();
    names.sort_unstable();
    names.dedup();
    ensure!(names.len() >= 10, "too few failpoints were reached: {names:?}");
    let mut died = 0;
    for name in &names {
        for victim in 0..nodes.len() {
            for times in ["", ":3"] {
                died += usize::from(
                    die_at(&world, &mut nodes, victim, &format!("{name}{times}"), &mut rng).await?,
                );
            }
        }
    }
    println!("{} failpoints, {died} deaths, 0 lost: {}", names.len(), names.join(" "));
    ensure!(died >= names.len(), "the failpoints did not kill");
    Ok(())
}

/// Restarts one node so that it dies at a failpoint, asks a job, revives it, and counts. Whether it died.
async fn die_at(
    world: &World,
    nodes: &mut [Node; 2],
    victim: usize,
    failpoint: &str,
    rng: &mut Rng,
) -> anyhow::Result<bool> {
    nodes[victim].kill();
    let armed = nodes[victim].start(&[("OPENAGENTS_FAILPOINT", failpoint.to_owned())]).is_ok();
    if armed {
        // A customer that dies while it is asked has asked nothing, or remembers that it has.
        let _ = nodes[1].client()?.ask(&order(rng)).await;
        if failpoint.starts_with("wallet.cancel") {
            let _ = nodes[1].client()?.ask(&doomed(rng)).await;
        }
    }
    let died = nodes[victim].wait_for_death(Duration::from_millis(1_500));
    nodes[victim].kill();
    nodes[victim].start(&[])?;
    wait_for_rest(nodes).await.with_context(|| format!("after dying at {failpoint}"))?;
    count(world, nodes).await.with_context(|| format!("after dying at {failpoint}"))?;
    Ok(died)
}

async fn wait_for_rest(nodes: &[Node]) -> anyhow::Result<()> {
    let start = Instant::now();
    loop {
        let open = open_jobs(nodes).await?;
        if open.is_empty() {
            return Ok(());
        }
        if start.elapsed() > REST {
            bail!("never came to rest: {:#?}", open.first());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
