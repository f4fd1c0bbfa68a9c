//! A server that runs for a backend: started with a keeper beside it, watched, restarted, ended whole.
//!
//! Between the node and the server stands a keeper (`keeper.rs`), this very program started again. It ends the
//! server's process group when its pipe from the node does, so a node that is killed leaves no server behind; and on
//! Linux the server ends with its keeper. What the server writes goes to a bounded log.

mod keeper;
mod log;

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tokio::{
    process::{Child, Command},
    sync::watch,
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::Health;
use log::Log;

pub use keeper::{KEEPER_WORD, keeper_child_main};

/// How long a server may take until it is ready: a large model from a slow disk.
const READY: Duration = Duration::from_secs(900);
/// How often it is looked whether it is ready, or has ended.
const LOOK: Duration = Duration::from_millis(50);
/// Before it is started again the first time; doubled with each failure.
const PAUSE: Duration = Duration::from_millis(200);
/// Before it is started again, at most: one that was ready once, and one that never was. To load a model that does not
/// fit takes the whole machine each time.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
const LONGEST_PAUSE_OF_HOPELESS: Duration = Duration::from_secs(900);
/// A server that ran for so long was well; its next start is not put off for what was before.
const WELL: Duration = Duration::from_secs(60);
/// Ends in a row, with no time in which it was ready, after which it is not waited for any more.
const FAILED_STARTS: u32 = 4;
/// Ends in a row, with no time in which it was ready, after which it is started rarely: the reason is not a passing one.
const HOPELESS: u32 = 12;
/// How long the keeper may take to end the server: its own patience, and a moment.
const END: Duration = Duration::from_secs(7);

/// What is passed on of the node's environment: where programs, libraries and graphics cards are. No secrets.
const ENVIRONMENT: [&str; 7] =
    ["PATH", "HOME", "LANG", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "USER"];
const ENVIRONMENT_OF_CARDS: [&str; 7] = ["CUDA_", "HIP_", "ROCR_", "HSA_", "GGML_", "VK_", "ZE_"];

/// Where servers of ours find what they need of the node.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// The program that is started again as keeper: this one if `None`.
    pub keeper: Option<PathBuf>,
    /// The folder of their logs; none is kept if `None`.
    pub logs: Option<PathBuf>,
}

/// Where a server of ours listens.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    /// Without a path.
    pub(crate) url: String,
    pub(crate) port: u16,
    /// Its key, fresh with each start.
    pub(crate) key: Arc<Zeroizing<String>>,
}

/// How a server is started.
#[derive(Debug)]
pub(crate) struct Launch {
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<(&'static str, Zeroizing<String>)>,
}

/// A program that is a server.
#[async_trait]
pub(crate) trait Program: Send + Sync {
    /// Its name in logs.
    fn name(&self) -> String;

    /// Looks whether it can be started at all, such as whether its model is whole; done before each start.
    async fn prepare(&self) -> Result<(), String>;

    /// How it is started there.
    fn launch(&self, at: &Address) -> Launch;

    /// Whether it answers jobs there.
    async fn is_ready(&self, at: &Address) -> bool;
}

/// What the server is at.
#[derive(Clone, Debug)]
enum Phase {
    Starting,
    Up(Address),
    Down(String),
}

/// A server of ours.
pub struct Managed {
    program: Box<dyn Program>,
    place: Place,
    phase: watch::Sender<Phase>,
    /// Ends since it was ready the last time.
    failed: AtomicU32,
}

impl std::fmt::Debug for Managed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Managed").field("program", &self.program.name()).finish_non_exhaustive()
    }
}

impl Managed {
    pub(crate) fn new(program: Box<dyn Program>, place: Place) -> Self {
        Self { program, place, phase: watch::channel(Phase::Starting).0, failed: AtomicU32::new(0) }
    }

    /// Where it listens, if it is ready.
    pub(crate) fn address(&self) -> Option<Address> {
        match &*self.phase.borrow() {
            Phase::Up(address) => Some(address.clone()),
            Phase::Starting | Phase::Down(_) => None,
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        matches!(&*self.phase.borrow(), Phase::Up(_))
    }

    pub(crate) fn health(&self) -> Health {
        match &*self.phase.borrow() {
            Phase::Starting => Health::Starting,
            Phase::Up(_) => Health::Ready,
            Phase::Down(reason) => Health::Down(reason.clone()),
        }
    }

    /// Waits until it is ready, however long it takes to load.
    ///
    /// # Errors
    /// It does not start: what it needs may be gone.
    pub(crate) async fn up(&self) -> Result<(), Health> {
        let mut phase = self.phase.subscribe();
        let decided = |phase: &Phase| match phase {
            Phase::Up(_) => true,
            Phase::Down(_) => self.failed.load(Ordering::Relaxed) >= FAILED_STARTS,
            Phase::Starting => false,
        };
        match phase.wait_for(decided).await.as_deref() {
            Ok(Phase::Up(_)) => Ok(()),
            Ok(_) | Err(_) => Err(self.health()),
        }
    }

    /// Waits until it is at something else, for at most `longest`.
    pub(crate) async fn changed(&self, longest: Duration) {
        let mut phase = self.phase.subscribe();
        let _ = tokio::time::timeout(longest, phase.changed()).await;
    }

    /// Waits until it is seen that it has ended, for at most `longest`.
    pub(crate) async fn fell(&self, longest: Duration) {
        let mut phase = self.phase.subscribe();
        let fallen = phase.wait_for(|phase| !matches!(phase, Phase::Up(_)));
        let _ = tokio::time::timeout(longest, fallen).await;
    }

    /// Runs it until told to stop, starting it again whenever it ends. It is gone when this returns.
    pub(crate) async fn run(&self, stop: &CancellationToken) {
        let mut pause = PAUSE;
        while !stop.is_cancelled() {
            let started = Instant::now();
            let reason = self.run_once(stop).await;
            if stop.is_cancelled() {
                break;
            }
            tracing::warn!(server = self.program.name(), %reason, ?pause, "a model server ended; it is started again");
            // Before the phase: whoever waits looks at both when that changes.
            self.failed.fetch_add(1, Ordering::Relaxed);
            self.phase.send_replace(Phase::Down(reason));
            if started.elapsed() > WELL {
                pause = PAUSE;
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = tokio::time::sleep(pause) => {}
            }
            pause = self.next_pause(pause);
        }
        self.phase.send_replace(Phase::Down("it was stopped".into()));
    }

    fn next_pause(&self, pause: Duration) -> Duration {
        let is_hopeless = self.failed.load(Ordering::Relaxed) > HOPELESS;
        (pause * 2).min(if is_hopeless { LONGEST_PAUSE_OF_HOPELESS } else { LONGEST_PAUSE })
    }

    /// From its start to its end; why it ended.
    async fn run_once(&self, stop: &CancellationToken) -> String {
        let started = async {
            self.program.prepare().await?;
            let address = free_address()?;
            Ok::<_, String>((self.spawn(&address)?, address))
        };
        let started = tokio::select! {
            biased;
            () = stop.cancelled() => return "it was stopped".into(),
            started = started => started,
        };
        let ((mut child, log), address) = match started {
            Ok(started) => started,
            Err(reason) => return reason,
        };
        if self.is_down() {
            self.phase.send_replace(Phase::Starting);
        }
        // Held here: whoever waits for a process closes its stdin.
        let stdin = child.stdin.take();
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let work = async {
            let reason = tokio::select! {
                biased;
                () = stop.cancelled() => "it was stopped".into(),
                reason = self.serve(&mut child, &address, &log) => reason,
            };
            drop(stdin);
            end(&mut child).await;
            reason
        };
        tokio::select! {
            // It never ends before the work.
            () = log.keep(stdout, stderr) => String::new(),
            reason = work => reason,
        }
    }

    /// From ready to its end; why it ended.
    async fn serve(&self, child: &mut Child, address: &Address, log: &Log) -> String {
        let readying = tokio::time::timeout(READY, self.readied(address));
        let status = tokio::select! {
            biased;
            status = child.wait() => status,
            readied = readying => {
                if readied.is_err() {
                    return "it did not get ready in time".into();
                }
                self.failed.store(0, Ordering::Relaxed);
                self.phase.send_replace(Phase::Up(address.clone()));
                child.wait().await
            }
        };
        // No job is given to it from here on, while its last words are still heard.
        self.phase.send_replace(Phase::Starting);
        tokio::time::sleep(LOOK).await;
        ended(status.ok(), log)
    }

    fn is_down(&self) -> bool {
        matches!(&*self.phase.borrow(), Phase::Down(_))
    }

    async fn readied(&self, address: &Address) {
        while !self.program.is_ready(address).await {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Starts the keeper, which starts the server. Neither is in the process group of the node, which a terminal
    /// interrupts whole: a job in hand is finished first.
    fn spawn(&self, address: &Address) -> Result<(Child, Log), String> {
        let keeper = match &self.place.keeper {
            Some(keeper) => keeper.clone(),
            None => this_program().map_err(|error| format!("this program is not found: {error}"))?,
        };
        let launch = self.program.launch(address);
        let program = program_file(&launch.program)?;
        let mut command = Command::new(keeper);
        command.arg(KEEPER_WORD).arg("watch").arg(&program).args(&launch.args).env_clear();
        command.envs(std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(is_passed_on)));
        command.envs(launch.env.iter().map(|(name, value)| (name, value.as_str())));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        #[cfg(unix)]
        command.process_group(0);
        let child =
            command.spawn().map_err(|error| format!("{} cannot be started: {error}", program.display()))?;
        let log = Log::open(self.place.logs.as_deref(), &self.program.name(), address.key.clone());
        Ok((child, log))
    }
}

/// This very program. Where its file was replaced, as by an upgrade, Linux still has the one that runs.
fn this_program() -> std::io::Result<PathBuf> {
    if cfg!(target_os = "linux") { Ok("/proc/self/exe".into()) } else { std::env::current_exe() }
}

/// Where a server's program is: at its path, or where a terminal would find its name.
///
/// # Errors
/// It is not there.
pub fn program_file(program: &Path) -> Result<PathBuf, String> {
    crate::command::find(program).ok_or_else(|| format!("{} is not installed", program.display()))
}

fn is_passed_on(name: &str) -> bool {
    ENVIRONMENT.contains(&name) || ENVIRONMENT_OF_CARDS.iter().any(|start| name.starts_with(start))
}

/// A port of this machine that nothing listens on, and a key that nobody has heard.
fn free_address() -> Result<Address, String> {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let port = free.map_err(|error| format!("no port is free: {error}"))?.port();
    let random: [u8; 24] = rand::random();
    let key = Zeroizing::new(random.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    Ok(Address { url: format!("http://127.0.0.1:{port}"), port, key: Arc::new(key) })
}

/// Why it ended, with the last it said.
fn ended(status: Option<ExitStatus>, log: &Log) -> String {
    let how = status.map_or_else(|| "it ended".to_owned(), |status| format!("it ended ({status})"));
    match log.last() {
        Some(last) => format!("{how}: {last}"),
        None => how,
    }
}

/// Waits for a keeper whose pipe has ended, and which ends the server; kills it if that takes too long.
async fn end(child: &mut Child) {
    if tokio::time::timeout(END, child.wait()).await.is_err() {
        tracing::warn!("a model server did not end and is killed");
        let _ = child.kill().await;
    }
}
