//! `openagents policy`: what this node would say of a job, how good its rules are on labelled ones, and what it has
//! said. It needs no node; the settings are those of `config.toml`. The judge is asked where `--judge` says so.

mod audit;

use std::path::{Path, PathBuf};

use clap::Subcommand;
use openagents_api::SCHEMA_VERSION;
use openagents_node::{
    config::Config,
    judge::{By, Court, CourtError, Heard},
};
use openagents_policy::{Job, Policy, Table, Verdict, read_rows};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{args::Global, exit::Exit, failure::Failure, link, show};

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Policies {
    /// Check jobs: one text, or a file of them
    #[command(before_help = "Examples:\n  openagents policy check 'Summarise this article.' --kind 5001\n  \
        openagents policy check --jsonl jobs.jsonl     lines {\"kind\",\"text\",\"params\"?}, a verdict a line")]
    Check {
        /// The text
        text: Option<String>,
        /// The kind of job
        #[arg(long, default_value_t = 5050)]
        kind: u16,
        /// A file of jobs, one JSON object a line
        #[arg(long, value_name = "FILE", conflicts_with = "text")]
        jsonl: Option<PathBuf>,
        /// Ask the judge of config.toml, too, in the mode that it names
        #[arg(long)]
        judge: bool,
    },
    /// Measure the rules, or the rules and the judge, on labelled jobs: lines as for `check`, and `expected`
    Eval {
        /// The file
        #[arg(long, value_name = "FILE")]
        jsonl: PathBuf,
        /// Ask the judge of config.toml, too, in the mode that it names
        #[arg(long)]
        judge: bool,
    },
    /// What was checked, by both halves: export it or forget it
    #[command(subcommand)]
    Audit(audit::Audit),
}

/// Does it.
pub(crate) fn run(global: &Global, command: &Policies) -> anyhow::Result<Exit> {
    let bench = |judge: bool| anyhow::Ok(Bench::open(Config::load(&link::home(global)?)?, judge)?);
    match command {
        Policies::Check { text: Some(text), kind, judge, .. } => {
            super::wait(one(global, &bench(*judge)?, *kind, text))
        }
        Policies::Check { jsonl: Some(path), judge, .. } => super::wait(many(&bench(*judge)?, path)),
        Policies::Check { .. } => {
            Err(Failure::usage("nothing to check", "give a text, or a file with --jsonl").into())
        }
        Policies::Eval { jsonl, judge } => super::wait(measure(global, &bench(*judge)?, jsonl)),
        Policies::Audit(command) => audit::run(global, command),
    }
}

/// Who checks.
enum Bench {
    Rules(Policy),
    Court(Court),
}

impl Bench {
    fn open(config: Config, judge: bool) -> Result<Self, Failure> {
        if !judge {
            return Ok(Self::Rules(Policy::new(config.policy)));
        }
        let no_judge = |error: CourtError| {
            let text = error.to_string();
            let (what, next) = text.split_once("; ").unwrap_or((
                &text,
                "set mode = \"hybrid\" or \"llm\" under [policy] in config.toml, or leave out --judge",
            ));
            Failure::new(Exit::Config, what, next)
        };
        Court::open(&config).map(Self::Court).map_err(no_judge)
    }

    async fn hear(&self, job: &Job<'_>) -> Heard {
        match self {
            Self::Rules(policy) => Heard { verdict: policy.check_by_rules(job), by: By::Rules },
            Self::Court(court) => court.hear(job).await,
        }
    }

    /// The object for programs.
    fn view(&self, heard: &Heard) -> Value {
        let mut view = view(&heard.verdict);
        if matches!(self, Self::Court(_)) {
            view["judge"] = word(heard.by).into();
        }
        view
    }
}

/// What the judge had to do with a verdict.
const fn word(by: By) -> &'static str {
    match by {
        By::Rules => "not-asked",
        By::Judge => "answered",
        By::RulesForWantOfAnAnswer => "no-answer",
    }
}

async fn one(global: &Global, bench: &Bench, kind: u16, text: &str) -> anyhow::Result<Exit> {
    let heard = bench.hear(&Job::new(kind).input(text)).await;
    let verdict = &heard.verdict;
    if global.json {
        show::json(&bench.view(&heard))?;
    } else {
        let said = verdict.word();
        match reason(verdict) {
            None => show::line(said)?,
            Some(reason) => show::line(&format!("{said}: {reason}"))?,
        }
        if heard.by == By::RulesForWantOfAnAnswer {
            show::talk("the judge gave no usable answer; this is what the rules say");
        }
    }
    Ok(if verdict.may_run() { Exit::Ok } else { Exit::Error })
}

/// A job as it stands on a line of a file.
#[derive(Deserialize)]
struct Line {
    kind: u16,
    text: String,
    #[serde(default)]
    params: std::collections::BTreeMap<String, String>,
}

async fn many(bench: &Bench, path: &Path) -> anyhow::Result<Exit> {
    for (number, line) in read(path)?.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let line: Line = serde_json::from_str(line).map_err(|error| {
            let what = format!("{}, line {}: {error}", path.display(), number + 1);
            Failure::usage(what, "each line is an object with kind, text and perhaps params")
        })?;
        let job = Job::new(line.kind).input(line.text.as_str());
        let job = line.params.iter().fold(job, |job, (name, value)| job.param(name.as_str(), value.as_str()));
        show::json(&bench.view(&bench.hear(&job).await))?;
    }
    Ok(Exit::Ok)
}

/// How often the judge was asked, and in vain.
#[derive(Default, Serialize)]
struct Asked {
    asked: u32,
    fell_back: u32,
    of: u32,
}

impl Asked {
    fn count(&mut self, by: By) {
        self.of += 1;
        self.asked += u32::from(by != By::Rules);
        self.fell_back += u32::from(by == By::RulesForWantOfAnAnswer);
    }
}

async fn measure(global: &Global, bench: &Bench, path: &Path) -> anyhow::Result<Exit> {
    let rows = read_rows(&read(path)?).map_err(|bad| {
        Failure::usage(
            format!("{}: {bad}", path.display()),
            "each line is an object with kind, text and expected",
        )
    })?;
    let (mut table, mut asked) = (Table::default(), Asked::default());
    // One after the other, so that no job waits for the answers about another.
    for row in &rows {
        let heard = bench.hear(&row.job()).await;
        table.add(row, &heard.verdict);
        asked.count(heard.by);
    }
    let judged = matches!(bench, Bench::Court(_)).then_some(asked);
    if global.json {
        let mut view = serde_json::to_value(&table)?;
        view["schema_version"] = SCHEMA_VERSION.into();
        if let Some(asked) = &judged {
            view["judge"] = serde_json::to_value(asked)?;
        }
        show::json(&view)?;
    } else {
        show::line(&table.to_string())?;
        if let Some(Asked { asked, fell_back, of }) = judged {
            show::line(&format!(
                "judge asked: {asked} of {of} jobs; without a usable answer, so that the rules decided: {fell_back}"
            ))?;
        }
    }
    Ok(Exit::Ok)
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).map_err(|error| {
        Failure::usage(format!("cannot read {}: {error}", path.display()), "name a file of JSON lines").into()
    })
}

fn view(verdict: &Verdict) -> Value {
    let worst = verdict.violations().first();
    json!({
        "verdict": verdict.word(),
        "category": verdict.category(),
        "severity": worst.map(|hit| hit.severity),
        "reason": reason(verdict),
    })
}

fn reason(verdict: &Verdict) -> Option<String> {
    match verdict {
        Verdict::Allowed => None,
        Verdict::Denied { reason, .. } => Some(reason.clone()),
        Verdict::Flagged { violations } => {
            violations.first().map(|hit| format!("{} in {}", hit.rule, hit.place))
        }
    }
}
