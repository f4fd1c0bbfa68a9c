//! The measurement: start a floor, load it; start a node, load it; compare.

use std::{
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context;
use clap::Args;

use crate::{
    load::{Load, Outcome},
    payer::{Payer, open_wallet},
    process::{Process, Used},
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
    /// Only these: `floor`, `free`, `paid`, `prepaid`.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
}

/// How many jobs of each are measured with so many outstanding. What stands in one line takes turns,
/// so that whatever else the machine does falls on all of it.
const LOADS: &[(usize, &[(What, usize)])] = &[
    (1, &[(What::Floor, 2_000), (What::Free, 2_000), (What::Paid, 300), (What::Prepaid, 300)]),
    (16, &[(What::Floor, 10_000), (What::Free, 10_000), (What::Paid, 3_000)]),
    (64, &[(What::Floor, 20_000), (What::Free, 20_000), (What::Paid, 6_000), (What::Prepaid, 6_000)]),
    (10_000, &[(What::Free, 30_000)]),
];

/// Turns that each takes.
const TURNS: usize = 5;

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Floor,
    Free,
    /// Paid by hold invoices.
    Paid,
    /// Paid in advance by plain invoices: the provider and its wallet are two processes, and events go one way more.
    Prepaid,
}

impl What {
    const fn word(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Free => "free",
            Self::Paid => "paid",
            Self::Prepaid => "prepaid",
        }
    }
}

pub(crate) async fn run(arguments: RunArguments) -> anyhow::Result<()> {
    let wanted =
        |what: What| arguments.only.is_empty() || arguments.only.iter().any(|only| only == what.word());
    let shrink = if arguments.quick { 10 } else { 1 };
    let mut rows = Vec::new();
    for &(outstanding, line) in LOADS {
        let mut subjects = Vec::new();
        for &(what, jobs) in line.iter().filter(|(what, _)| wanted(*what)) {
            subjects
                .push((Subject::start(what, &arguments.program).await?, (jobs / shrink).max(outstanding)));
        }
        rows.extend(measure(subjects, outstanding).await?);
    }
    rows.sort_by_key(|row| ["floor", "free", "paid", "prepaid"].iter().position(|what| *what == row.what));
    let report = Report::new(rows);
    if arguments.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        report.print();
    }
    Ok(())
}

/// Loads all subjects in turns.
async fn measure(subjects: Vec<(Subject, usize)>, outstanding: usize) -> anyhow::Result<Vec<Figures>> {
    let turns = if subjects.len() > 1 { TURNS } else { 1 };
    let mut outcomes: Vec<Outcome> = subjects.iter().map(|_| Outcome::default()).collect();
    for turn in 1..=turns {
        for ((subject, jobs), outcome) in subjects.iter().zip(&mut outcomes) {
            let (what, jobs) = (subject.what.word(), jobs.div_ceil(turns));
            eprintln!("{what}, {outstanding} outstanding, turn {turn} of {turns}: {jobs} jobs");
            outcome.add(subject.load(outstanding, jobs).run().await?);
        }
    }
    let figures = |((subject, _), outcome): (&(Subject, usize), Outcome)| {
        Figures::new(subject.what.word(), outstanding, outcome.latencies, outcome.took, subject.used())
    };
    Ok(subjects.iter().zip(outcomes).map(figures).collect())
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

/// Something under load.
struct Subject {
    what: What,
    relay: String,
    payer: Option<Arc<Payer>>,
    processes: Vec<Process>,
    _home: tempfile::TempDir,
}

impl Subject {
    /// Starts it and gives it a few jobs that are not measured.
    async fn start(what: What, program: &Path) -> anyhow::Result<Self> {
        let home = tempfile::tempdir()?;
        let subject = match what {
            What::Floor => Self::floor(home)?,
            What::Free | What::Paid | What::Prepaid => Self::node(what, program, home).await?,
        };
        subject.load(4, 40).run().await?;
        Ok(subject)
    }

    fn floor(home: tempfile::TempDir) -> anyhow::Result<Self> {
        let relays = Process::start(&this_program()?, &["floor-relay"], None)?;
        let relay = relays.first_line.clone();
        let provider = Process::start(&this_program()?, &["floor-provider", &relay], None)?;
        Ok(Self { what: What::Floor, relay, payer: None, processes: vec![relays, provider], _home: home })
    }

    async fn node(what: What, program: &Path, home: tempfile::TempDir) -> anyhow::Result<Self> {
        std::fs::write(home.path().join("config.toml"), CONFIG)?;
        let mut flags = vec!["up", "--offline", "--listen", "127.0.0.1:0", "--json"];
        match what {
            What::Free => flags.push("--free"),
            What::Prepaid => flags.push("--customer"),
            What::Floor | What::Paid => {}
        }
        let node = Process::start(program, &flags, Some(home.path()))?;
        let up: serde_json::Value =
            serde_json::from_str(&node.first_line).context("`up --json` prints one object")?;
        let relay = up["relay"].as_str().context("it names its relay")?.to_owned();
        let payer = match what {
            What::Paid | What::Prepaid => Some(Arc::new(Payer::open(program, home.path()).await?)),
            What::Floor | What::Free => None,
        };
        let mut processes = vec![node];
        if what == What::Prepaid {
            processes.push(seller(program, home.path(), &relay).await?);
        }
        Ok(Self { what, relay, payer, processes, _home: home })
    }

    fn load(&self, outstanding: usize, jobs: usize) -> Load {
        Load { relay: self.relay.clone(), outstanding, jobs, payer: self.payer.clone() }
    }

    fn used(&self) -> Used {
        self.processes.iter().map(Process::used).fold(Used::default(), Used::plus)
    }
}

/// A provider with a wallet on the testnet in `world` that cannot lock payments.
async fn seller(program: &Path, world: &Path, relay: &str) -> anyhow::Result<Process> {
    let home = world.join("seller");
    std::fs::DirBuilder::new().mode(0o700).create(&home)?;
    std::fs::write(home.join("config.toml"), CONFIG)?;
    std::fs::write(home.join("wallet.nwc"), open_wallet(program, world, &["--plain"]).await?)?;
    let flags = ["up", "--relay", relay, "--listen", "127.0.0.1:0", "--json"];
    Process::start(program, &flags, Some(&home))
}
