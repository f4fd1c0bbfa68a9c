//! `openagents policy`: what this node would say of a job, how good its rules are on labelled ones, and what it has
//! said. It needs no node; the settings are those under `[policy]` in `config.toml`. A judge is not asked here.

mod audit;

use std::path::{Path, PathBuf};

use clap::Subcommand;
use openagents_api::SCHEMA_VERSION;
use openagents_node::config::Config;
use openagents_policy::{Job, Policy, Verdict, evaluate, read_rows};
use serde::Deserialize;
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
    },
    /// Measure the rules on labelled jobs: lines as for `check`, and `expected`
    Eval {
        /// The file
        #[arg(long, value_name = "FILE")]
        jsonl: PathBuf,
    },
    /// What was checked, by both halves: export it or forget it
    #[command(subcommand)]
    Audit(audit::Audit),
}

/// Does it.
pub(crate) fn run(global: &Global, command: &Policies) -> anyhow::Result<Exit> {
    let policy = Policy::new(Config::load(&link::home(global)?)?.policy);
    match command {
        Policies::Check { text: Some(text), kind, .. } => one(global, &policy, *kind, text),
        Policies::Check { jsonl: Some(path), .. } => many(&policy, path),
        Policies::Check { .. } => {
            Err(Failure::usage("nothing to check", "give a text, or a file with --jsonl").into())
        }
        Policies::Eval { jsonl } => measure(global, &policy, jsonl),
        Policies::Audit(command) => audit::run(global, command),
    }
}

fn one(global: &Global, policy: &Policy, kind: u16, text: &str) -> anyhow::Result<Exit> {
    let verdict = policy.check_by_rules(&Job::new(kind).input(text));
    if global.json {
        show::json(&view(&verdict))?;
    } else {
        let word = verdict.word();
        match reason(&verdict) {
            None => show::line(word)?,
            Some(reason) => show::line(&format!("{word}: {reason}"))?,
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

fn many(policy: &Policy, path: &Path) -> anyhow::Result<Exit> {
    for (number, line) in read(path)?.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let line: Line = serde_json::from_str(line).map_err(|error| {
            let what = format!("{}, line {}: {error}", path.display(), number + 1);
            Failure::usage(what, "each line is an object with kind, text and perhaps params")
        })?;
        let job = Job::new(line.kind).input(line.text.as_str());
        let job = line.params.iter().fold(job, |job, (name, value)| job.param(name.as_str(), value.as_str()));
        show::json(&view(&policy.check_by_rules(&job)))?;
    }
    Ok(Exit::Ok)
}

fn measure(global: &Global, policy: &Policy, path: &Path) -> anyhow::Result<Exit> {
    let rows = read_rows(&read(path)?).map_err(|bad| {
        Failure::usage(
            format!("{}: {bad}", path.display()),
            "each line is an object with kind, text and expected",
        )
    })?;
    let table = evaluate(policy, &rows);
    if global.json {
        let mut view = serde_json::to_value(&table)?;
        view["schema_version"] = SCHEMA_VERSION.into();
        show::json(&view)?;
    } else {
        show::line(&table.to_string())?;
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
