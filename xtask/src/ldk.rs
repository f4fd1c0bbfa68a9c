//! `cargo xtask test --only ldk`: the Lightning wallet is built, and tested on a regtest chain of its own.

use std::path::{Path, PathBuf};

use openagents_xtask::shell::{command, prepared, run, target_of};

/// Builds `openagents-ldk`; where it is.
fn build() -> anyhow::Result<PathBuf> {
    cargo("build", "")?;
    Ok(target_of("ldk").join("debug/openagents-ldk"))
}

/// The same check as for everything else; it looks at all of the library's dependencies once more.
pub(crate) fn clippy() -> anyhow::Result<()> {
    cargo("clippy", " -- -Dwarnings")
}

fn cargo(verb: &str, flags: &str) -> anyhow::Result<()> {
    let mut cargo =
        command(&format!("cargo {verb} --quiet --locked --manifest-path wallets/ldk/Cargo.toml{flags}"));
    cargo.env("CARGO_TARGET_DIR", target_of("ldk"));
    run(cargo)
}

/// Runs the tests of real Lightning.
pub(crate) fn test() -> anyhow::Result<()> {
    let Some(path) = prepared("sh tools/setup_bitcoind.sh")?.filter(|path| Path::new(path).exists()) else {
        println!("real Lightning: SKIPPED, bitcoind cannot be fetched from here");
        return Ok(());
    };
    let mut tests = command("cargo test --quiet --workspace --test ldk --test lightning -- --nocapture");
    tests.env("OPENAGENTS_TEST_BITCOIND", path).env("OPENAGENTS_TEST_LDK", build()?);
    run(tests)
}
