//! `cargo xtask test --only spark`: the Spark wallet is tested with the SDK itself, and installed as a user would.

use std::path::Path;

use openagents_xtask::shell::{command, prepared, run};

/// Runs the tests that need the SDK, and those of the wallet's program that do not.
pub(crate) fn test() -> anyhow::Result<()> {
    let Some(python) = prepared("sh tools/setup_spark.sh")?.filter(|path| Path::new(path).exists()) else {
        println!("the Spark wallet: SKIPPED, its SDK cannot be fetched from here");
        return Ok(());
    };
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
