//! The measurement: start a floor, load it; start a node, load it; compare.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context;
use clap::Args;

use crate::{
    load::Load,
    payer::Payer,
    process::Process,
    report::{Figures, Report},
    this_program,
};

#[derive(Debug, Args)]
pub(crate) struct RunArguments {
    /// The `openagents` program to measure.
    #[arg(long)]
    program: PathBuf,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
    /// Measure with a tenth of the jobs.
    #[arg(long)]
    quick: bool,
    /// Only these: `floor`, `free`, `paid`.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
}

/// Outstanding jobs, and how many are measured at that load.
const FREE_LOADS: &[(usize, usize)] = &[(1, 2_000), (16, 10_000), (64, 20_000), (10_000, 30_000)];
const FLOOR_LOADS: &[(usize, usize)] = &[(1, 2_000), (16, 10_000), (64, 20_000)];
const PAID_LOADS: &[(usize, usize)] = &[(1, 300), (16, 3_000), (64, 6_000)];

pub(crate) async fn run(arguments: RunArguments) -> anyhow::Result<()> {
    let wanted = |what: &str| arguments.only.is_empty() || arguments.only.iter().any(|only| only == what);
    let shrink = if arguments.quick { 10 } else { 1 };
    let mut rows = Vec::new();
    if wanted("floor") {
        for &(outstanding, jobs) in FLOOR_LOADS {
            rows.push(floor(outstanding, jobs / shrink).await?);
        }
    }
    if wanted("free") {
        for &(outstanding, jobs) in FREE_LOADS {
            rows.push(node(&arguments.program, outstanding, (jobs / shrink).max(outstanding), false).await?);
        }
    }
    if wanted("paid") {
        for &(outstanding, jobs) in PAID_LOADS {
            rows.push(node(&arguments.program, outstanding, jobs / shrink, true).await?);
        }
    }
    let report = Report::new(rows);
    if arguments.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        report.print();
    }
    Ok(())
}

async fn floor(outstanding: usize, jobs: usize) -> anyhow::Result<Figures> {
    eprintln!("floor, {outstanding} outstanding, {jobs} jobs");
    let relay = Process::start(&this_program()?, &["floor-relay"], None)?;
    let provider = Process::start(&this_program()?, &["floor-provider", &relay.first_line], None)?;
    let load = Load { relay: relay.first_line.clone(), outstanding, jobs, payer: None };
    warm_up(&load).await?;
    let outcome = load.run().await?;
    let mut used = provider.used();
    let relays = relay.used();
    used.cpu_seconds += relays.cpu_seconds;
    used.peak_rss_mib += relays.peak_rss_mib;
    Ok(Figures::new("floor", outstanding, outcome.latencies, outcome.took, used))
}

/// A node that accepts what the load throws at it: no allowance per key, a deep queue.
const CONFIG: &str = "
[limits]
requests_per_key = { burst = 0, per_second = 0 }
requests = { burst = 0, per_second = 0 }
relay_messages = { burst = 0, per_second = 0 }
[provider]
slots = 64
queue_limit = 20000
";

async fn node(program: &Path, outstanding: usize, jobs: usize, paid: bool) -> anyhow::Result<Figures> {
    let what = if paid { "paid" } else { "free" };
    eprintln!("{what}, {outstanding} outstanding, {jobs} jobs");
    let home = tempfile::tempdir()?;
    std::fs::write(home.path().join("config.toml"), CONFIG)?;
    let mut flags = vec!["up", "--offline", "--listen", "127.0.0.1:0", "--json"];
    if !paid {
        flags.push("--free");
    }
    let node = Process::start(program, &flags, Some(home.path()))?;
    let up: serde_json::Value =
        serde_json::from_str(&node.first_line).context("`up --json` prints one object")?;
    let relay = up["relay"].as_str().context("it names its relay")?.to_owned();
    let payer = if paid { Some(Arc::new(Payer::open(program, home.path()).await?)) } else { None };
    let load = Load { relay, outstanding, jobs, payer };
    warm_up(&load).await?;
    let outcome = load.run().await?;
    Ok(Figures::new(what, outstanding, outcome.latencies, outcome.took, node.used()))
}

/// A few jobs that are not measured.
async fn warm_up(load: &Load) -> anyhow::Result<()> {
    Load { outstanding: 4, jobs: 40, ..load.clone() }.run().await.map(drop)
}
