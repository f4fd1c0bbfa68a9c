//! Processes under measurement: started, watched through /proc, killed when dropped.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::Context;

/// A running process, and the first line it printed.
pub(crate) struct Process {
    child: Child,
    pub(crate) first_line: String,
}

/// What a process has used so far.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub(crate) struct Used {
    pub(crate) cpu_seconds: f64,
    pub(crate) peak_rss_mib: f64,
}

impl Used {
    /// What two processes have used together.
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            cpu_seconds: self.cpu_seconds + other.cpu_seconds,
            peak_rss_mib: self.peak_rss_mib + other.peak_rss_mib,
        }
    }
}

/// Clock ticks in a second, as Linux counts CPU time on every architecture we run on.
const TICKS: f64 = 100.0;

impl Process {
    /// Starts a program and waits for its first line.
    pub(crate) fn start(program: &Path, arguments: &[&str], home: Option<&Path>) -> anyhow::Result<Self> {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        if let Some(home) = home {
            command.env("OPENAGENTS_HOME", home);
        }
        let mut child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        let stdout = child.stdout.take().context("its output is piped")?;
        let mut first_line = String::new();
        let mut reader = BufReader::new(stdout);
        reader.read_line(&mut first_line)?;
        // Whatever else it prints must not fill the pipe.
        std::thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
        Ok(Self { child, first_line: first_line.trim().to_owned() })
    }

    /// CPU time and peak memory so far.
    pub(crate) fn used(&self) -> Used {
        let read = |name: &str| {
            std::fs::read_to_string(format!("/proc/{}/{name}", self.child.id())).unwrap_or_default()
        };
        let stat = read("stat");
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks =
            |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
        let status = read("status");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
        let kib: f64 = peak.trim().trim_end_matches(" kB").trim().parse().unwrap_or(0.0);
        Used { cpu_seconds: (ticks(11) + ticks(12)) / TICKS, peak_rss_mib: kib / 1024.0 }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        std::thread::sleep(Duration::from_millis(20));
    }
}
