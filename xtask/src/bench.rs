//! Builds the program and the bench with all optimisations, and runs the one on the other.

use crate::shell;

/// See `cargo xtask bench --help`.
pub(crate) fn run(json: bool, quick: bool, only: &[String]) -> anyhow::Result<()> {
    shell::build_release()?;
    shell::run(shell::command("cargo build --release --quiet -p openagents-bench"))?;
    let mut bench = std::process::Command::new(shell::program("release", "openagents-bench"));
    bench.arg("run").arg("--program").arg(shell::program("release", "openagents"));
    if json {
        bench.arg("--json");
    }
    if quick {
        bench.arg("--quick");
    }
    if !only.is_empty() {
        bench.arg("--only").arg(only.join(","));
    }
    shell::run(bench)
}
