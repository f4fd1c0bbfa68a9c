//! `cargo xtask fuzz`: builds the targets of `fuzz/` with coverage that a stable compiler can count,
//! runs each over its seeds and what it has found before, and says what came of it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::{Context, bail, ensure};
use clap::Args;
use serde_json::Value;

use openagents_xtask::shell::{command, program, root, run as run_command, works};

/// What to fuzz, and how long.
#[derive(Clone, Debug, Args)]
pub(crate) struct FuzzArgs {
    /// Only these targets, by name
    #[arg(long, value_delimiter = ',')]
    pub(crate) target: Vec<String>,
    /// How long each target runs, in seconds
    #[arg(long, default_value_t = 60)]
    pub(crate) seconds: u64,
    /// How many inputs each target tries, if that is sooner
    #[arg(long)]
    pub(crate) runs: Option<u64>,
    /// How many targets run at once
    #[arg(long, default_value_t = 2)]
    pub(crate) jobs: usize,
    /// Only the targets that need nothing of the outside, which are built in a third of the time
    #[arg(long)]
    pub(crate) pure: bool,
    /// Begin with the seeds alone and this random number, so that the same inputs are tried each time;
    /// otherwise what earlier runs found is gone on with
    #[arg(long)]
    pub(crate) seed: Option<u32>,
}

impl FuzzArgs {
    /// What the test command runs: the same inputs on every machine, so that what is found is found everywhere; a slow
    /// one tries the first of them.
    pub(crate) const fn brief() -> Self {
        Self { target: Vec::new(), seconds: 20, runs: Some(20_000), jobs: 2, pure: true, seed: Some(1) }
    }

    /// Where a target puts what it finds.
    fn corpus(&self, name: &str) -> anyhow::Result<PathBuf> {
        let corpus = folder().join(if self.seed.is_some() { "brief" } else { "corpus" }).join(name);
        if self.seed.is_some() && corpus.exists() {
            fs::remove_dir_all(&corpus)?;
        }
        fs::create_dir_all(&corpus)?;
        Ok(corpus)
    }
}

/// What cargo-fuzz passes, but for the address sanitizer, which needs a nightly compiler; there is no
/// unsafe code of ours that it could watch.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing";

/// The longest one input may take, in seconds: far more than any decoder needs.
const SLOWEST: u32 = 10;

/// The most memory of a target, in MiB.
const MEMORY: u32 = 2_048;

/// What came of one target.
struct Outcome {
    name: String,
    executions: u64,
    per_second: u64,
    coverage: u64,
    crash: Option<String>,
}

/// See the module.
pub(crate) fn run(arguments: &FuzzArgs) -> anyhow::Result<()> {
    if !works("g++ --version") {
        println!("g++ is missing; skipped: fuzzing");
        return Ok(());
    }
    let (names, pure) = targets(arguments)?;
    let host = host()?;
    build(&names, pure, &host)?;
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..arguments.jobs.max(1) {
            scope.spawn(|| {
                while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = one(name, &host, arguments);
                    done.lock().unwrap_or_else(PoisonError::into_inner).push(outcome);
                }
            });
        }
    });
    let done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    report(done.into_iter().collect::<anyhow::Result<Vec<_>>>()?)
}

/// The targets that are meant, and whether none of them needs the outside.
fn targets(arguments: &FuzzArgs) -> anyhow::Result<(Vec<String>, bool)> {
    let output =
        command("cargo metadata --format-version 1 --no-deps --manifest-path fuzz/Cargo.toml").output()?;
    let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo does not describe fuzz/")?;
    let all = metadata["packages"][0]["targets"].as_array().context("fuzz/ has no targets")?;
    let bins = all.iter().filter(|target| target["kind"][0] == "bin");
    let mut known: Vec<(String, bool)> = bins
        .map(|bin| (bin["name"].as_str().unwrap_or_default().to_owned(), bin["required-features"].is_null()))
        .collect();
    known.sort();
    for name in &arguments.target {
        let names: Vec<&str> = known.iter().map(|(name, _)| name.as_str()).collect();
        ensure!(names.contains(&name.as_str()), "there is no target {name}; there are: {}", names.join(", "));
    }
    known.retain(|(name, _)| arguments.target.is_empty() || arguments.target.contains(name));
    known.retain(|(_, pure)| !arguments.pure || *pure);
    let pure = known.iter().all(|(_, pure)| *pure);
    Ok((known.into_iter().map(|(name, _)| name).collect(), pure))
}

fn host() -> anyhow::Result<String> {
    let output = command("rustc -vV").output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc does not say where it runs")?.to_owned())
}

/// Where everything of fuzzing lies: under the project's target folder, so that none of it is tracked.
fn folder() -> PathBuf {
    program("fuzz", "")
}

/// With the target named, cargo leaves build scripts and macros alone: they must not count.
fn build(names: &[String], pure: bool, host: &str) -> anyhow::Result<()> {
    let mut cargo = command(&format!(
        "cargo build --quiet --locked --release --manifest-path fuzz/Cargo.toml --target {host}"
    ));
    cargo.args(pure.then_some("--no-default-features"));
    for name in names {
        cargo.args(["--bin", name]);
    }
    cargo.env("RUSTFLAGS", FLAGS).env("CARGO_TARGET_DIR", folder());
    run_command(cargo)
}

fn binary(name: &str, host: &str) -> PathBuf {
    folder().join(host).join("release").join(name)
}

fn one(name: &str, host: &str, arguments: &FuzzArgs) -> anyhow::Result<Outcome> {
    let (corpus, crashes) = (arguments.corpus(name)?, folder().join("crashes").join(name));
    fs::create_dir_all(&crashes)?;
    let mut fuzzer = Command::new(binary(name, host));
    fuzzer.arg(&corpus);
    // What is found goes into the first folder; the second is only read.
    let seeds = root().join("fuzz/seeds").join(name);
    fuzzer.args(seeds.exists().then_some(seeds));
    fuzzer.arg(format!("-artifact_prefix={}/", crashes.display()));
    fuzzer.args([format!("-max_total_time={}", arguments.seconds), format!("-timeout={SLOWEST}")]);
    fuzzer.args([format!("-rss_limit_mb={MEMORY}"), "-print_final_stats=1".into()]);
    fuzzer.args(arguments.runs.map(|runs| format!("-runs={runs}")));
    fuzzer.args(arguments.seed.map(|seed| format!("-seed={seed}")));
    let output = fuzzer.output().with_context(|| format!("cannot start {name}"))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let crash = (!output.status.success()).then(|| crash(name, &said, &binary(name, host)));
    Ok(Outcome {
        name: name.to_owned(),
        executions: last_number(&said, "stat::number_of_executed_units:"),
        per_second: last_number(&said, "stat::average_exec_per_sec:"),
        coverage: last_number(&said, " cov:"),
        crash,
    })
}

/// The number after the last `word`; zero if there is none.
fn last_number(said: &str, word: &str) -> u64 {
    let after = said.rsplit_once(word).map(|(_, rest)| rest.trim_start()).unwrap_or_default();
    after.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// What was said when a target ended badly, and how to see it again.
fn crash(name: &str, said: &str, binary: &Path) -> String {
    let reason = said.find("panicked at").or_else(|| said.find("ERROR:")).unwrap_or(0);
    let reason: Vec<&str> = said[reason..].lines().take(8).collect();
    let input = said.rsplit_once("Test unit written to ").and_then(|(_, rest)| rest.lines().next());
    match input {
        Some(path) => {
            format!("{name}: {}\ninput: {path}\nreplay: {} {path}", reason.join("\n"), binary.display())
        }
        None => format!("{name}: {}", reason.join("\n")),
    }
}

fn report(mut done: Vec<Outcome>) -> anyhow::Result<()> {
    done.sort_by(|a, b| a.name.cmp(&b.name));
    println!("{:<18} {:>12} {:>9} {:>9}  crashes", "target", "executions", "exec/s", "coverage");
    for one in &done {
        let crashes = u8::from(one.crash.is_some());
        println!(
            "{:<18} {:>12} {:>9} {:>9}  {crashes}",
            one.name, one.executions, one.per_second, one.coverage
        );
    }
    let crashes: Vec<&String> = done.iter().filter_map(|one| one.crash.as_ref()).collect();
    for crash in &crashes {
        println!("\n{crash}");
    }
    let executions: u64 = done.iter().map(|one| one.executions).sum();
    println!("fuzz: {} targets, {executions} executions, {} crashes", done.len(), crashes.len());
    if crashes.is_empty() { Ok(()) } else { bail!("{} targets crashed", crashes.len()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_and_crashes_are_read_from_what_a_target_says() {
        let said = "#2\tINITED cov: 3 ft: 4\n#9\tDONE   cov: 12 ft: 40\nthread panicked at a.rs:1:2:\nboom\n\
            artifact_prefix='x/'; Test unit written to x/crash-1\nstat::number_of_executed_units: 9\n";
        assert_eq!(last_number(said, " cov:"), 12);
        assert_eq!(last_number(said, "stat::number_of_executed_units:"), 9);
        assert_eq!(last_number(said, "nothing of the kind"), 0);
        let crash = crash("t", said, Path::new("bin/t"));
        assert!(crash.contains("boom") && crash.contains("replay: bin/t x/crash-1"), "{crash}");
    }
}
