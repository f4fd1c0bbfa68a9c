//! `cargo xtask test --only ldk`: the Lightning wallet is built, and tested on a regtest chain of its own.

use std::path::{Path, PathBuf};

use crate::shell::{command, root, run};

/// Where its workspace is built: it shares no dependency with ours, and its own lock file says which.
fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from).join("ldk")
}

/// Builds `openagents-ldk`; where it is.
fn build() -> anyhow::Result<PathBuf> {
    let target = target();
    for verb in ["build", "clippy"] {
        let flags = if verb == "clippy" { " -- -Dwarnings" } else { "" };
        let mut cargo =
            command(&format!("cargo {verb} --quiet --locked --manifest-path wallets/ldk/Cargo.toml{flags}"));
        cargo.env("CARGO_TARGET_DIR", &target);
        run(cargo)?;
    }
    Ok(target.join("debug/openagents-ldk"))
}

/// Runs the tests of real Lightning.
pub(crate) fn test() -> anyhow::Result<()> {
    let bitcoind = command("sh tools/setup_bitcoind.sh").output()?;
    let path = String::from_utf8_lossy(&bitcoind.stdout).lines().last().unwrap_or_default().to_owned();
    if !bitcoind.status.success() || !Path::new(&path).exists() {
        println!("real Lightning: SKIPPED, bitcoind cannot be fetched from here");
        return Ok(());
    }
    let mut tests = command("cargo test --quiet --workspace --test ldk --test lightning -- --nocapture");
    tests.env("OPENAGENTS_TEST_BITCOIND", path).env("OPENAGENTS_TEST_LDK", build()?);
    run(tests)
}
