//! `cargo xtask test --only cashu`: the ecash wallet is built, and tested on mints of its own.

use std::path::Path;

use openagents_xtask::shell::{command, prepared, run, target_of};

/// Builds, looks through and tests a workspace.
fn build(manifest: &str, protoc: Option<&str>) -> anyhow::Result<()> {
    for verb in ["build", "clippy --all-targets", "test"] {
        let flags = if verb.starts_with("clippy") { " -- -Dwarnings" } else { "" };
        let mut cargo = command(&format!("cargo {verb} --quiet --locked --manifest-path {manifest}{flags}"));
        cargo.env("CARGO_TARGET_DIR", target_of("cashu"));
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
    let Some(path) = prepared("sh tools/setup_protoc.sh")?.filter(|path| Path::new(path).exists()) else {
        println!("real mints: SKIPPED, protoc cannot be fetched from here");
        return Ok(());
    };
    build("wallets/cashu/mint/Cargo.toml", Some(&path))?;
    let programs = target_of("cashu").join("debug");
    let mut tests =
        command("cargo test --quiet --workspace --test cashu --test ecash -- --nocapture --test-threads 2");
    tests.env("OPENAGENTS_TEST_MINT", programs.join("openagents-test-mint"));
    tests.env("OPENAGENTS_TEST_CASHU", programs.join("openagents-cashu"));
    run(tests)
}
