//! `cargo xtask test --only spark`: the Spark wallet is tested with the SDK itself, and installed as a user would.

use std::path::Path;

use crate::shell::{command, run};

/// Runs the tests that need the SDK, and those of the wallet's program that do not.
pub(crate) fn test() -> anyhow::Result<()> {
    let sdk = command("sh tools/setup_spark.sh").output()?;
    let python = String::from_utf8_lossy(&sdk.stdout).lines().last().unwrap_or_default().to_owned();
    if !sdk.status.success() || !Path::new(&python).exists() {
        println!("the Spark wallet: SKIPPED, its SDK cannot be fetched from here");
        return Ok(());
    }
    for line in [
        "cargo test --quiet --workspace --test spark -- --nocapture",
        "cargo test --quiet --workspace --lib spark::install -- --nocapture",
    ] {
        let mut tests = command(line);
        tests.env("OPENAGENTS_TEST_SPARK", &python);
        run(tests)?;
    }
    Ok(())
}
