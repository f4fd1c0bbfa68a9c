//! Builds the program and the bench with all optimisations, and runs the one on the other.

use std::{path::Path, process::Command};

use anyhow::Context as _;

use openagents_xtask::shell;

fn build() -> anyhow::Result<()> {
    shell::build_release()?;
    shell::run(shell::command("cargo build --release --quiet -p openagents-bench"))
}

/// The bench, once it is built, to do this with the program.
fn bench(what: &str) -> Command {
    let mut bench = Command::new(shell::program("release", "openagents-bench"));
    bench.arg(what).arg("--program").arg(shell::program("release", "openagents"));
    bench
}

/// See `cargo xtask bench --help`.
pub(crate) fn run(json: bool, quick: bool, only: &[String]) -> anyhow::Result<()> {
    build()?;
    let mut bench = bench("run");
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

/// See `cargo xtask bench-stream --help`.
pub(crate) fn stream(json: bool, turns: usize) -> anyhow::Result<()> {
    let server =
        shell::prepared("sh tools/setup_llama_server.sh")?.context("llama-server cannot be fetched here")?;
    let middle =
        shell::prepared("sh tools/setup_middle_model.sh")?.context("its models cannot be made here")?;
    let tiny = Path::new(&middle).with_file_name("noise.gguf");
    build()?;
    // The tiny one shows what is added, the other what share that is of an answer.
    for (model, tokens, turns) in
        [(tiny.as_path(), "500", turns), (Path::new(&middle), "200", turns.div_ceil(2))]
    {
        let mut bench = bench("stream");
        bench.arg("--server").arg(&server).arg("--model").arg(model);
        bench.args(["--tokens", tokens, "--turns", &turns.to_string()]);
        if json {
            bench.arg("--json");
        }
        shell::run(bench)?;
    }
    Ok(())
}
