//! The mint of nodes that pay with ecash: `openagents-test-mint`, which is never killed, like the relay. Where it and
//! `openagents-cashu` are, `OPENAGENTS_TEST_MINT` and `OPENAGENTS_TEST_CASHU` say; without, they are where
//! `cargo xtask test --only cashu` builds them.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{Mutex, PoisonError},
};

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use openagents_xtask::shell::target_of;

/// A mint at a port of its own.
pub(super) struct Mint {
    process: Child,
    pipes: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
    url: String,
    cashu: PathBuf,
}

fn built(variable: &str, name: &str) -> anyhow::Result<PathBuf> {
    let path =
        std::env::var_os(variable).map_or_else(|| target_of("cashu").join("debug").join(name), Into::into);
    ensure!(path.exists(), "{} is not there; run `cargo xtask test --only cashu` first", path.display());
    Ok(path)
}

impl Mint {
    /// Starts it in a directory.
    pub(super) fn start(dir: &Path) -> anyhow::Result<Self> {
        let program = built("OPENAGENTS_TEST_MINT", "openagents-test-mint")?;
        let cashu = built("OPENAGENTS_TEST_CASHU", "openagents-cashu")?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut command = Command::new(program);
        command.arg(dir).arg(port.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn()?;
        let stdin = process.stdin.take().context("its input is piped")?;
        let mut stdout = BufReader::new(process.stdout.take().context("its output is piped")?);
        let mut line = String::new();
        stdout.read_line(&mut line)?;
        ensure!(line.contains("ready"), "the mint did not start: {line}");
        let url = format!("http://127.0.0.1:{port}");
        Ok(Self { process, pipes: Mutex::new((stdin, stdout)), url, cashu })
    }

    /// The settings of a node whose wallet is ecash of this mint.
    pub(super) fn settings(&self) -> String {
        format!(
            "[wallet]\nkind = \"cashu\"\n[wallet.cashu]\nprogram = {:?}\nmints = [{:?}]\n\
             max_msat_per_mint = 1_000_000_000_000\nlock_s = 90\n",
            self.cashu, self.url
        )
    }

    fn obey(&self, order: &Value) -> anyhow::Result<Value> {
        let mut pipes = self.pipes.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(pipes.0, "{order}")?;
        let mut line = String::new();
        pipes.1.read_line(&mut line)?;
        let answer: Value = serde_json::from_str(&line)?;
        ensure!(answer["error"].is_null(), "{order}: {answer}");
        Ok(answer)
    }

    /// Pays an invoice from outside.
    pub(super) fn pay(&self, bolt11: &str) -> anyhow::Result<()> {
        self.obey(&json!({ "do": "pay", "invoice": bolt11 })).map(drop)
    }

    /// What it owes to everybody, in millisatoshis.
    pub(super) fn owes(&self) -> anyhow::Result<i64> {
        let owes = self.obey(&json!({ "do": "outstanding", "mint": 0 }))?;
        Ok(owes["sats"].as_i64().context("sats")? * 1_000)
    }
}

impl Drop for Mint {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
