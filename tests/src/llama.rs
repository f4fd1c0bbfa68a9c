//! A real llama.cpp server with a tiny model.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// The server; it ends when this is dropped.
#[derive(Debug)]
pub struct Llama {
    child: Child,
    /// Its address without `/v1`.
    pub url: String,
}

impl Llama {
    /// `None` where `tools/setup_llama.sh` has not been run and named in the environment.
    pub fn start() -> Option<Self> {
        let python = PathBuf::from(std::env::var_os("OPENAGENTS_TEST_LLAMA")?);
        let model = python.ancestors().nth(3)?.join("tiny.gguf");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tools/llama_server.py");
        let mut child = Command::new(python)
            .arg(script)
            .arg(model)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
        Some(Self { child, url: url.trim().to_owned() })
    }

    /// The port it listens on.
    pub fn port(&self) -> &str {
        self.url.rsplit(':').next().unwrap_or_default()
    }
}

impl Drop for Llama {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
