//! `cargo xtask test`: every step, its time, and at the end what failed.

use std::time::{Duration, Instant};

use anyhow::bail;
use openagents_xtask::shell::{self, command, market, prepared, program, run, works};

use crate::{
    cashu,
    fuzz::{self, FuzzArgs},
    ldk, needs, spark, tidy,
};

/// One step: its name, and what it does.
type Step = (&'static str, fn() -> anyhow::Result<()>);

const STEPS: &[Step] = &[
    ("needs", needs::install),
    ("fmt", fmt),
    ("tidy", tidy::run),
    ("clippy", || run(command("cargo clippy --workspace --all-targets --quiet -- -Dwarnings"))),
    ("deny", deny),
    ("targets", targets),
    ("tests", tests),
    ("registry", || market(&["registry", "--check"])),
    ("simulator", simulator),
    ("fuzz", || fuzz::run(&FuzzArgs::brief())),
    ("torture", torture_both),
    ("backups", || market(&["torture", "--debug", "--stale-backups", "40", "--seed", "1"])),
    ("failpoints", || market(&["failpoints"])),
    ("ldk", ldk::test),
    ("demo", || demo("debug")),
];

/// Steps that run only when they are named: what some need is fetched from where not every machine gets, and others
/// build everything once more to learn little.
const ASIDE: &[Step] = &[
    ("cashu", cashu::test),
    ("spark", spark::test),
    ("ldk-clippy", ldk::clippy),
    ("release", || {
        shell::build_release()?;
        demo("release")
    }),
];

/// Runs all steps, or those named. Goes on after a failure, so that one run shows everything.
pub(crate) fn test(only: &[String]) -> anyhow::Result<()> {
    let mut report = Vec::new();
    let named = |name: &str| only.iter().any(|o| o == name);
    let aside = ASIDE.iter().filter(|(name, _)| named(name));
    for (name, step) in STEPS.iter().filter(|(name, _)| only.is_empty() || named(name)).chain(aside) {
        println!("\n== {name}");
        let start = Instant::now();
        let outcome = step();
        if let Err(error) = &outcome {
            println!("{name} FAILED: {error:#}");
        }
        // At once, so that a run which is broken off tells where its time went.
        let line = row(name, start.elapsed(), outcome.is_ok());
        println!("{line}");
        report.push((line, outcome.is_ok()));
    }
    println!();
    for (line, _) in &report {
        println!("{line}");
    }
    let passed = report.iter().filter(|(_, ok)| *ok).count();
    let failed = report.len() - passed;
    println!("steps: {passed} passed, {failed} failed");
    if failed > 0 { bail!("{failed} steps failed") } else { Ok(()) }
}

fn row(name: &str, took: Duration, ok: bool) -> String {
    format!("{name:<12} {:>6.1} s  {}", took.as_secs_f64(), if ok { "ok" } else { "FAILED" })
}

/// The fuzz targets and the wallets beside the node are workspaces of their own.
fn fmt() -> anyhow::Result<()> {
    run(command("cargo fmt --all --check"))?;
    run(command("cargo fmt --manifest-path fuzz/Cargo.toml --check"))?;
    run(command("cargo fmt --manifest-path wallets/ldk/Cargo.toml --check"))?;
    run(command("cargo fmt --manifest-path wallets/cashu/Cargo.toml --check"))?;
    run(command("cargo fmt --manifest-path wallets/cashu/mint/Cargo.toml --check"))
}

/// Bans, sources, licences, advisories, by a cargo-deny of one's own. Building one takes longer than
/// all the tests, and the prebuilt ones are too old for this lock file, so where there is none only
/// what `tidy` reads from the lock file itself is checked.
fn deny() -> anyhow::Result<()> {
    if !works("cargo-deny --version") {
        println!(
            "licences and advisories: SKIPPED, there is no cargo-deny here (`cargo install cargo-deny`)"
        );
        return Ok(());
    }
    run(command("cargo-deny --all-features check --hide-inclusion-graph bans licenses sources"))?;
    if works("cargo-deny fetch db") {
        return run(command("cargo-deny check --hide-inclusion-graph advisories"));
    }
    println!("advisories: SKIPPED, the database cannot be reached from here");
    Ok(())
}

/// The pure crates also build for a browser and a phone, and what only a Mac runs is correct in type.
fn targets() -> anyhow::Result<()> {
    for target in ["wasm32-unknown-unknown", "aarch64-apple-ios"] {
        run(command(&format!(
            "cargo check --quiet --target {target} -p openagents-types -p openagents-registry -p openagents-policy -p openagents-engine"
        )))?;
    }
    run(command("cargo check --quiet --target aarch64-apple-darwin -p openagents-keyring"))?;
    if !works("clang --version") {
        println!("clang is missing; skipped: protocol for wasm32");
        return Ok(());
    }
    let mut wasm = command("cargo check --quiet --target wasm32-unknown-unknown -p openagents-protocol");
    wasm.env("CC_wasm32_unknown_unknown", "clang").env("AR_wasm32_unknown_unknown", "ar");
    // Entropy comes from the page there.
    wasm.env("RUSTFLAGS", "--cfg getrandom_backend=\"wasm_js\"");
    run(wasm)
}

/// The tests, against a real llama.cpp server and the recipes' real tools where they can be had.
fn tests() -> anyhow::Result<()> {
    shell::build_debug()?;
    let mut tests = if works("cargo nextest --version") {
        command("cargo nextest run --workspace --no-fail-fast --status-level fail --final-status-level fail")
    } else {
        command("cargo test --workspace --no-fail-fast --quiet")
    };
    match prepared("bash tools/setup_llama.sh")? {
        Some(python) => drop(tests.env("OPENAGENTS_TEST_LLAMA", python)),
        None => println!("no model server could be installed; skipped: kind 5050 against a real one"),
    }
    match prepared("sh tools/setup_llama_server.sh")? {
        Some(program) => drop(tests.env("OPENAGENTS_TEST_LLAMA_SERVER", program)),
        None => {
            println!("llama-server could not be fetched; skipped: the backend llamacpp against the real one")
        }
    }
    match prepared("sh tools/setup_mlx.sh")? {
        Some(program) => drop(tests.env("OPENAGENTS_TEST_MLX", program)),
        None => println!("MLX could not be installed; skipped: the backend mlx against the real one"),
    }
    match prepared("sh tools/setup_media.sh")? {
        Some(folder) => drop(tests.env("OPENAGENTS_TEST_MEDIA", folder)),
        None => println!("the media tools could not be fetched; skipped: kinds 5200, 5250, 5500 and OCR"),
    }
    run(tests)?;
    run(command("cargo test --workspace --doc --quiet"))
}

/// Kills on either rail.
fn torture_both() -> anyhow::Result<()> {
    market(&["torture", "--debug", "--kills", "150", "--seed", "1"])?;
    market(&["torture", "--debug", "--kills", "50", "--seed", "2", "--rail", "bolt11"])
}

/// Every weather, in other worlds than the tests have seen.
fn simulator() -> anyhow::Result<()> {
    let mut simulator = command("cargo test --quiet --workspace --test sim");
    simulator.env("OPENAGENTS_SIM_FIRST", "10000").env("OPENAGENTS_SIM_SEEDS", "5000");
    run(simulator)
}

/// The demo as a program sees it: one object at the end that says that all is well.
fn demo(profile: &str) -> anyhow::Result<()> {
    let output =
        std::process::Command::new(program(profile, "openagents")).args(["demo", "--json"]).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap_or_default())?;
    println!("{last}");
    if output.status.success() && last["ok"] == true && last["conserved"] == true {
        Ok(())
    } else {
        bail!("the demo did not end well: {}", String::from_utf8_lossy(&output.stderr))
    }
}
