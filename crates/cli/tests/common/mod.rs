//! What tests of the program share: how it is run, and a market that runs beside the test.
#![allow(dead_code, reason = "each test uses a part")]

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Output, Stdio},
};

pub(crate) fn program(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_openagents"));
    for name in ["OPENAGENTS_PASSPHRASE_FILE", "OPENAGENTS_KEYRING", "OPENAGENTS_FAILPOINT"] {
        command.env_remove(name);
    }
    command.env("OPENAGENTS_HOME", home).stdin(Stdio::null());
    command
}

pub(crate) fn run(home: &Path, arguments: &[&str]) -> Output {
    program(home).args(arguments).output().unwrap()
}

/// A market in one process, on a port of its own.
pub(crate) struct Market(Child);

impl Market {
    pub(crate) fn start(home: &Path) -> Self {
        let mut command = program(home);
        command.args(["up", "--offline", "--listen", "127.0.0.1:0", "--json"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains("\"wallet\":\"regtest\""), "it says where its money is: {line}");
        Self(child)
    }

    pub(crate) fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Market {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
