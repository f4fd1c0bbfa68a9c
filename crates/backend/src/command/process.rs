//! One tool at work: started in its cage, fed, read and watched, and killed whole when it is over.

use std::{
    path::Path,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    process::{Child, Command},
};
use tokio_util::sync::CancellationToken;

use crate::sandbox::{Cage, SANDBOX_WORD};

/// How often it is looked whether the tool has ended. The end is waited for by looking, because a process whose end
/// was collected no longer keeps others from getting its number, by which its group is killed.
const LOOK: Duration = Duration::from_millis(4);
/// How many looks there are between two at the folder.
const FOLDER_EVERY: u32 = 12;
/// The most files in the folder.
const MOST_FILES: usize = 256;
/// How much of the end of what it says on stderr is kept, in bytes.
const TAIL: usize = 2_048;

/// How a tool is run.
#[derive(Debug)]
pub(crate) struct Run<'a> {
    /// The program that makes the cage.
    pub(crate) host: &'a Path,
    pub(crate) cage: &'a Cage,
    pub(crate) stdin: &'a [u8],
    /// The most on standard output, and in the folder besides the input, in bytes.
    pub(crate) most: u64,
    /// The size of the input in the folder, in bytes.
    pub(crate) given: u64,
    pub(crate) patience: Duration,
}

/// How it ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    /// For the operator alone.
    pub(crate) stderr: String,
}

/// Why it did not end by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error("it cannot be started")]
    NotStarted,
    #[error("it was called off")]
    Cancelled,
    #[error("it took too long")]
    Late,
    #[error("it wrote too much")]
    TooMuch,
}

/// A process group that does not outlive this value.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw))
    }

    /// Kills all that are in it. The first of them has not been collected, so the number is still its own.
    fn kill(&self) {
        if let Some(pid) = self.0 {
            // None are left, at worst.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }

    /// Whether the first of them has ended; the rest may still run.
    fn has_ended(&self) -> bool {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        self.0.is_none_or(|pid| !matches!(waitid(WaitId::Pid(pid), look), Ok(None)))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Run<'_> {
    /// Runs it to its end.
    pub(crate) async fn run(&self, stop: &CancellationToken) -> Result<Ended, Fault> {
        if stop.is_cancelled() {
            return Err(Fault::Cancelled);
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => Err(Fault::Cancelled),
            ended = tokio::time::timeout(self.patience, self.to_the_end()) => ended.unwrap_or(Err(Fault::Late)),
        }
    }

    async fn to_the_end(&self) -> Result<Ended, Fault> {
        let mut child = self.spawn()?;
        // Dropped before `child`, which then collects it.
        let mut group = Group::of(&child);
        let (Some(mut stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(Fault::NotStarted);
        };
        let feed = async move {
            // A tool that ends early closes its end; its exit says why.
            let _ = stdin.write_all(self.stdin).await;
            drop(stdin);
            Ok(())
        };
        let (stdout, stderr, ..) =
            tokio::try_join!(bounded(stdout, self.most), tail(stderr), feed, self.watch(&group))?;
        group.0 = None;
        let status = child.wait().await.map_err(|_| Fault::NotStarted)?;
        Ok(Ended { status, stdout, stderr })
    }

    fn spawn(&self) -> Result<Child, Fault> {
        let cage = serde_json::to_string(self.cage).map_err(|_| Fault::NotStarted)?;
        Command::new(self.host)
            .args([SANDBOX_WORD, &cage])
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|_| Fault::NotStarted)
    }

    /// Waits for the end of the tool, and ends what it left behind.
    async fn watch(&self, group: &Group) -> Result<(), Fault> {
        let most = self.most.saturating_add(self.given);
        for look in 0_u32.. {
            if group.has_ended() {
                group.kill();
                break;
            }
            if look.is_multiple_of(FOLDER_EVERY)
                && let Some(folder) = &self.cage.folder
                && weight(folder, &mut 0) > most
            {
                return Err(Fault::TooMuch);
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }
}

/// All that is written to a pipe, if it is not more than `most`.
async fn bounded(pipe: impl AsyncRead + Unpin, most: u64) -> Result<Vec<u8>, Fault> {
    let mut all = Vec::new();
    // A pipe that cannot be read has ended.
    let _ = pipe.take(most.saturating_add(1)).read_to_end(&mut all).await;
    if all.len() as u64 > most { Err(Fault::TooMuch) } else { Ok(all) }
}

/// The end of all that is written to a pipe.
async fn tail(mut pipe: impl AsyncRead + Unpin) -> Result<String, Fault> {
    let (mut kept, mut buffer) = (Vec::new(), vec![0; TAIL]);
    while let Ok(read @ 1..) = pipe.read(&mut buffer).await {
        kept.extend_from_slice(&buffer[..read]);
        kept.drain(..kept.len().saturating_sub(TAIL));
    }
    let text = String::from_utf8_lossy(&kept);
    Ok(text.split_whitespace().collect::<Vec<_>>().join(" ").chars().filter(|c| !c.is_control()).collect())
}

/// The bytes in a folder; too many files weigh too much.
fn weight(folder: &Path, files: &mut usize) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let mut sum = 0_u64;
    for entry in entries.flatten() {
        *files += 1;
        if *files > MOST_FILES {
            return u64::MAX;
        }
        // Without following links.
        let Ok(about) = entry.metadata() else { continue };
        let one = if about.is_dir() { weight(&entry.path(), files) } else { about.len() };
        sum = sum.saturating_add(one);
    }
    sum
}
