//! The cage that foreign parsers and the operator's tools run in: limits, no network, few files.
//!
//! A process puts itself into the cage and never comes out. The cage for a tool is entered by this very
//! program, started again with [`SANDBOX_WORD`], which then becomes the tool; nothing has to be done between
//! a fork and an exec. What this system cannot enforce is said ([`Held`]), not pretended.

#[cfg(target_os = "linux")]
mod linux;

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode};

use serde::{Deserialize, Serialize};

/// The word that makes this program a tool's cage.
pub const SANDBOX_WORD: &str = "__sandbox";

/// What the cage ends with if the tool could not be started: as shells say it.
pub(crate) const NOT_STARTED: i32 = 126;

/// How much a process may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Limits {
    /// CPU time, in seconds.
    pub(crate) cpu_s: u64,
    /// Address space, in bytes.
    pub(crate) memory: u64,
    /// The largest file that it may write, in bytes.
    pub(crate) file: u64,
    /// Files open at once.
    pub(crate) open_files: u64,
    /// Threads and processes at once, where the system counts them for the cage alone.
    pub(crate) tasks: u64,
    /// Whether it may start other processes.
    pub(crate) forks: bool,
}

/// A tool in its cage, as the program that becomes it is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Cage {
    /// The tool, by its whole path; `None` only says what holds.
    pub(crate) program: Option<PathBuf>,
    pub(crate) args: Vec<String>,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) limits: Limits,
    /// What may be read besides the system's own programs and libraries.
    pub(crate) read: Vec<PathBuf>,
    /// The one folder that may be written, in which the tool starts.
    pub(crate) folder: Option<PathBuf>,
    /// The user and group that it becomes if it is root.
    pub(crate) nobody: u32,
}

/// What the system enforces here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Files are out of reach but those that are named.
    pub files: bool,
    /// There is no network.
    pub network: bool,
    /// No other process is started, signalled or looked into, and the process group is not left.
    pub processes: bool,
    /// Threads and processes are counted for the cage alone.
    pub tasks: bool,
}

impl Held {
    /// What is missing for a tool that `forks`, in words; empty if nothing is.
    pub(crate) fn missing(self, forks: bool) -> Vec<&'static str> {
        let all = [
            (self.files, "keep it from files"),
            (self.network, "keep it from the network"),
            (self.processes, "keep it from other processes"),
            (self.tasks || !forks, "count its processes"),
        ];
        all.into_iter().filter(|(held, _)| !held).map(|(_, what)| what).collect()
    }
}

/// Puts this process into a cage without files, for parsers that read from a pipe.
///
/// # Errors
/// The system does not know the limits.
pub(crate) fn enter(limits: &Limits) -> std::io::Result<Held> {
    limit(limits)?;
    Ok(confine(limits, &[], None))
}

/// The cage: limits itself, and becomes the tool. Called by the program when it is started with
/// [`SANDBOX_WORD`] and the cage's description. Without a tool it prints what holds, as JSON.
pub fn sandbox_child_main(cage: &str) -> ExitCode {
    let Ok(cage) = serde_json::from_str::<Cage>(cage) else { return not_started("it is described wrongly") };
    if let Some(folder) = &cage.folder
        && let Err(error) = std::env::set_current_dir(folder)
    {
        return not_started(&format!("its folder: {error}"));
    }
    if let Err(error) = step_down(cage.nobody).and_then(|()| limit(&cage.limits)) {
        return not_started(&format!("its limits: {error}"));
    }
    let held = confine(&cage.limits, &cage.read, cage.folder.as_deref());
    if let Err(error) = die_with_parent() {
        return not_started(&format!("its parent: {error}"));
    }
    match &cage.program {
        Some(program) => become_tool(&cage, program),
        None => {
            use std::io::Write as _;
            let said = serde_json::to_string(&held).unwrap_or_default();
            if writeln!(std::io::stdout(), "{said}").is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
    }
}

/// Says why on stderr, which only the operator reads.
fn not_started(why: &str) -> ExitCode {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "the tool cannot be started: {why}");
    ExitCode::from(u8::try_from(NOT_STARTED).unwrap_or(1))
}

#[cfg(unix)]
fn become_tool(cage: &Cage, program: &std::path::Path) -> ExitCode {
    use std::os::unix::process::CommandExt as _;
    let error = std::process::Command::new(program).args(&cage.args).env_clear().envs(&cage.env).exec();
    not_started(&format!("{}: {error}", program.display()))
}

#[cfg(not(unix))]
fn become_tool(_: &Cage, _: &std::path::Path) -> ExitCode {
    not_started("this system has no exec")
}

#[cfg(unix)]
fn limit(limits: &Limits) -> std::io::Result<()> {
    use rlimit::Resource;
    // A second more for a process that catches the first signal.
    Resource::CPU.set(limits.cpu_s, limits.cpu_s + 1)?;
    Resource::NOFILE.set(limits.open_files, limits.open_files)?;
    Resource::FSIZE.set(limits.file, limits.file)?;
    Resource::CORE.set(0, 0)?;
    // macOS accepts no limit on address space; time and the parent's patience remain.
    #[cfg(target_os = "linux")]
    Resource::AS.set(limits.memory, limits.memory)?;
    Ok(())
}

#[cfg(not(unix))]
fn limit(_: &Limits) -> std::io::Result<()> {
    Ok(())
}

#[cfg(target_os = "linux")]
pub(crate) use linux::die_with_parent;
#[cfg(target_os = "linux")]
use linux::{confine, step_down};

#[cfg(not(target_os = "linux"))]
fn confine(_: &Limits, _: &[PathBuf], _: Option<&std::path::Path>) -> Held {
    Held::default()
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn die_with_parent() -> std::io::Result<()> {
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn step_down(_: u32) -> std::io::Result<()> {
    Ok(())
}
