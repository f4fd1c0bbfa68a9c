//! `cargo xtask test --only cashu`: the ecash wallet is built, and tested on mints of its own.

use std::path::{Path, PathBuf};

use crate::shell::{command, root, run};

/// Where its workspaces are built: they share no dependency with ours, and their own lock files say which.
fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from).join("cashu")
}

/// Builds, looks through and tests a workspace.
fn build(manifest: &str, protoc: Option<&str>) -> anyhow::Result<()> {
    for verb in ["build", "clippy --all-targets", "test"] {
        let flags = if verb.starts_with("clippy") { " -- -Dwarnings" } else { "" };
        let mut cargo = command(&format!("cargo {verb} --quiet --locked --manifest-path {manifest}{flags}"));
        cargo.env("CARGO_TARGET_DIR", target());
        match protoc {
            Some(protoc) => cargo.env("PROTOC", protoc),
            // The wallet has to be built without.
            None => cargo.env("PROTOC", "/nonexistent"),
        };
        run(cargo)?;
    }
    Ok(())
}

/// Runs the tests of the ecash wallet.
pub(crate) fn test() -> anyhow::Result<()> {
    build("wallets/cashu/Cargo.toml", None)?;
    let protoc = command("sh tools/setup_protoc.sh").output()?;
    let path = String::from_utf8_lossy(&protoc.stdout).lines().last().unwrap_or_default().to_owned();
    if !protoc.status.success() || !Path::new(&path).exists() {
        println!("real mints: SKIPPED, protoc cannot be fetched from here");
        return Ok(());
    }
    build("wallets/cashu/mint/Cargo.toml", Some(&path))?;
    let programs = target().join("debug");
    let mut tests = command("cargo test --quiet --workspace --test cashu -- --nocapture --test-threads 2");
    tests.env("OPENAGENTS_TEST_MINT", programs.join("openagents-test-mint"));
    tests.env("OPENAGENTS_TEST_CASHU", programs.join("openagents-cashu"));
    run(tests)
}
