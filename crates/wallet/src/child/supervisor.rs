//! Keeps a wallet's program running: starts it, carries lines in and out, ends it, starts it again.

use std::{process::Stdio, sync::Arc, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncWriteExt, BufReader},
    process::{Child as Process, ChildStderr, ChildStdin, ChildStdout, Command},
    sync::mpsc,
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::{
    Phase, Program, Shared,
    lines::{self, LONGEST, LONGEST_LOG, Line},
};
use crate::{
    Info,
    nip47::{lock, words},
};

/// How many requests may wait for the child to read them.
const REQUESTS: usize = 8_192;

/// A child that ran for so long was well; its next start is not put off for what was before.
const WELL: Duration = Duration::from_secs(60);

/// What keeps the program of a [`super::Child`] running. Whoever made the child runs it for as long as the
/// wallet is used; when it ends, so does the program.
pub struct Supervisor {
    program: Program,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Supervisor").field("program", &self.program.path).finish_non_exhaustive()
    }
}

/// The pipes of a running program.
struct Pipes {
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Supervisor {
    pub(super) const fn new(program: Program, shared: Arc<Shared>) -> Self {
        Self { program, shared }
    }

    /// Runs the program until told to stop, starting it again whenever it ends.
    pub async fn run(self, stop: CancellationToken) {
        let limits = self.program.limits;
        let mut pause = limits.pause;
        loop {
            let started = Instant::now();
            let reason = self.run_once(&stop).await;
            self.shared.silence();
            self.shared.phase.send_replace(Phase::Down(reason.clone()));
            if stop.is_cancelled() {
                return;
            }
            if started.elapsed() > WELL {
                pause = limits.pause;
            }
            tracing::warn!(program = %self.program.path.display(), %reason, ?pause, "the wallet's program ended; it is started again");
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(limits.longest_pause);
        }
    }

    /// From the program's start to its end; why it ended.
    async fn run_once(&self, stop: &CancellationToken) -> String {
        let (mut process, mut pipes, stderr) = match self.spawn() {
            Ok(started) => started,
            Err(error) => return format!("cannot start {}: {error}", self.program.path.display()),
        };
        let talk = async {
            match tokio::time::timeout(self.program.limits.ready, self.set_up(&mut pipes)).await {
                Ok(Ok(info)) => self.serve(info, &mut pipes).await,
                Ok(Err(reason)) => reason,
                Err(_) => "its program did not get ready in time".into(),
            }
        };
        let reason = tokio::select! {
            biased;
            () = stop.cancelled() => String::from("the wallet is closed"),
            () = self.log(stderr) => String::new(),
            reason = talk => reason,
        };
        self.shared.silence();
        self.end(&mut process, pipes).await;
        reason
    }

    fn spawn(&self) -> std::io::Result<(Process, Pipes, ChildStderr)> {
        let mut command = Command::new(&self.program.path);
        command.args(&self.program.arguments).env_clear().process_group(0).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn()?;
        let missing = || std::io::Error::other("it has no pipes");
        let stdin = process.stdin.take().ok_or_else(missing)?;
        let stdout = BufReader::new(process.stdout.take().ok_or_else(missing)?);
        let stderr = process.stderr.take().ok_or_else(missing)?;
        Ok((process, Pipes { stdin, stdout }, stderr))
    }

    /// Tells the program what it has to know, and waits until it is ready.
    async fn set_up(&self, pipes: &mut Pipes) -> Result<Info, String> {
        let gone = |error: std::io::Error| format!("its program ended: {error}");
        write(&mut pipes.stdin, &self.program.setup.line).await.map_err(gone)?;
        loop {
            let Some(message) = read(&mut pipes.stdout).await else {
                return Err("its program ended before it was ready".into());
            };
            if message["ready"].is_object() {
                let info = words::info(&message["ready"]);
                if info.network != self.program.network {
                    return Err(format!(
                        "its program is on {}, not on {}",
                        info.network, self.program.network
                    ));
                }
                return Ok(info);
            }
            if message["fatal"].is_object() {
                let word = |name: &str| words::clean(message["fatal"][name].as_str().unwrap_or_default());
                return Err(format!("{} ({})", word("message"), word("code")));
            }
        }
    }

    /// Carries requests in and messages out until the program ends.
    async fn serve(&self, info: Info, pipes: &mut Pipes) -> String {
        let (sender, mut requests) = mpsc::channel::<Zeroizing<String>>(REQUESTS);
        *lock(&self.shared.lines) = Some(sender);
        self.shared.phase.send_replace(Phase::Ready(info));
        let Pipes { stdin, stdout } = pipes;
        let writing = async {
            while let Some(line) = requests.recv().await {
                if write(stdin, &line).await.is_err() {
                    break;
                }
            }
            // What it has said already is still heard.
            std::future::pending::<()>().await;
        };
        let reading = async {
            while let Some(message) = read(stdout).await {
                self.shared.hear(message);
            }
        };
        tokio::select! {
            () = writing => {}
            () = reading => {}
        }
        "its program ended".into()
    }

    /// Logs what the program says of itself. It never ends before the program.
    async fn log(&self, stderr: ChildStderr) {
        let mut stderr = BufReader::new(stderr);
        loop {
            match lines::next(&mut stderr, LONGEST_LOG).await {
                Ok(Line::Whole(line)) => {
                    let line = lines::loggable(&line, &self.program.setup.secrets);
                    tracing::info!(target: "openagents_wallet::child", "{line}");
                }
                Ok(Line::TooLong) => {}
                Ok(Line::End) | Err(_) => return std::future::pending().await,
            }
        }
    }

    /// Ends its stdin, and kills it if that does not end it.
    async fn end(&self, process: &mut Process, pipes: Pipes) {
        let Pipes { stdin, mut stdout } = pipes;
        drop(stdin);
        let ending = async {
            // It must not stand still because nobody reads what it still says.
            while read(&mut stdout).await.is_some() {}
            let _ = process.wait().await;
        };
        if tokio::time::timeout(self.program.limits.stop, ending).await.is_err() {
            tracing::warn!(program = %self.program.path.display(), "the wallet's program did not end by itself and is killed");
            let _ = process.kill().await;
        }
    }
}

async fn write(stdin: &mut ChildStdin, line: &Zeroizing<String>) -> std::io::Result<()> {
    stdin.write_all(line.as_bytes()).await?;
    stdin.write_all(b"\n").await?;
    stdin.flush().await
}

/// The next message; lines that are none are passed over. `None` when there are no more.
async fn read(stdout: &mut BufReader<ChildStdout>) -> Option<Value> {
    loop {
        match lines::next(stdout, LONGEST).await {
            Ok(Line::Whole(line)) => match serde_json::from_slice::<Value>(&line) {
                Ok(message) if message.is_object() => return Some(message),
                Ok(_) | Err(_) => tracing::warn!("the wallet's program wrote a line that is no message"),
            },
            Ok(Line::TooLong) => tracing::warn!("the wallet's program wrote a line that is too long"),
            Ok(Line::End) | Err(_) => return None,
        }
    }
}
