//! The keeper: a process between the node and a server, which ends the server's whole group when the node is gone.
//!
//! The node holds the other end of the keeper's standard input. However the node ends, that pipe ends with it. A
//! second start of this program becomes the server, after it has asked the system (where it can be asked) to be
//! killed with its keeper; so nothing has to be done between a fork and an exec.

use std::process::ExitCode;

/// The word that makes this program a keeper.
pub const KEEPER_WORD: &str = "__keep";

/// What a keeper ends with if it cannot start the server: as shells say it.
const NOT_STARTED: u8 = 126;

/// Keeps a server, or becomes it. `words` is `watch PROGRAM ARGUMENTS…` or `become PARENT PROGRAM ARGUMENTS…`.
pub fn keeper_child_main(words: &[String]) -> ExitCode {
    match words {
        [word, command @ ..] if word == "watch" && !command.is_empty() => watch(command),
        [word, parent, program, args @ ..] if word == "become" => become_server(parent, program, args),
        _ => not_started("it is described wrongly"),
    }
}

/// Says why on stderr, which goes to the log.
fn not_started(why: &str) -> ExitCode {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "the server cannot be started: {why}");
    ExitCode::from(NOT_STARTED)
}

#[cfg(unix)]
fn watch(command: &[String]) -> ExitCode {
    unix::watch(command)
}

#[cfg(unix)]
fn become_server(parent: &str, program: &str, args: &[String]) -> ExitCode {
    unix::become_server(parent, program, args)
}

#[cfg(not(unix))]
fn watch(_: &[String]) -> ExitCode {
    not_started("this system has no process groups")
}

#[cfg(not(unix))]
fn become_server(_: &str, _: &str, _: &[String]) -> ExitCode {
    not_started("this system has no exec")
}

#[cfg(unix)]
mod unix {
    use std::{
        io::Read as _,
        os::unix::process::{CommandExt as _, ExitStatusExt as _},
        process::{Child, Command, ExitCode, ExitStatus, Stdio},
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering},
        },
        time::{Duration, Instant},
    };

    use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, getppid, kill_process_group, waitid};

    use super::{super::this_program, KEEPER_WORD, NOT_STARTED, not_started};

    /// How often it is looked whether the server has ended, or the node has.
    const LOOK: Duration = Duration::from_millis(20);
    /// How long a server that was asked to end may take.
    const PATIENCE: Duration = Duration::from_secs(5);

    pub(super) fn watch(command: &[String]) -> ExitCode {
        let own = match this_program() {
            Ok(own) => own,
            Err(error) => return not_started(&format!("this program is not found: {error}")),
        };
        let mut server = Command::new(own);
        server.args([KEEPER_WORD, "become", &std::process::id().to_string()]).args(command);
        match server.stdin(Stdio::null()).process_group(0).spawn() {
            Ok(child) => keep(child),
            Err(error) => not_started(&error.to_string()),
        }
    }

    /// Waits for the end of the server or of the node, whichever comes first, and leaves nothing behind.
    fn keep(mut child: Child) -> ExitCode {
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let node_is_gone = Arc::new(AtomicBool::new(false));
        let gone = node_is_gone.clone();
        std::thread::spawn(move || {
            // Nothing is ever written to it: it only ends.
            while matches!(std::io::stdin().read(&mut [0; 64]), Ok(1..)) {}
            gone.store(true, Ordering::Relaxed);
        });
        let mut asked: Option<Instant> = None;
        while !has_ended(group) {
            match asked {
                None if node_is_gone.load(Ordering::Relaxed) => {
                    signal(group, Signal::TERM);
                    asked = Some(Instant::now());
                }
                Some(since) if since.elapsed() > PATIENCE => signal(group, Signal::KILL),
                Some(_) | None => {}
            }
            std::thread::sleep(LOOK);
        }
        // What it started ends with it. The first of the group has not been collected, so its number is still its own.
        signal(group, Signal::KILL);
        child.wait().map_or(ExitCode::from(NOT_STARTED), code)
    }

    /// Whether the first of the group has ended; the rest may still run.
    fn has_ended(group: Option<Pid>) -> bool {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        group.is_none_or(|pid| !matches!(waitid(WaitId::Pid(pid), look), Ok(None)))
    }

    fn signal(group: Option<Pid>, signal: Signal) {
        if let Some(pid) = group {
            // None are left, at worst.
            let _ = kill_process_group(pid, signal);
        }
    }

    /// The server's own end; a signal as shells say it.
    fn code(status: ExitStatus) -> ExitCode {
        let signal = || status.signal().map(|signal| 128 + signal);
        let code = status.code().or_else(signal).and_then(|code| u8::try_from(code).ok());
        code.map_or(ExitCode::FAILURE, ExitCode::from)
    }

    pub(super) fn become_server(parent: &str, program: &str, args: &[String]) -> ExitCode {
        if let Err(error) = crate::sandbox::die_with_parent() {
            return not_started(&format!("its keeper: {error}"));
        }
        // A keeper that ended before it was asked for is never heard of.
        if getppid().map(|pid| pid.as_raw_nonzero().get().to_string()).as_deref() != Some(parent) {
            return not_started("its keeper is gone");
        }
        let error = Command::new(program).args(args).exec();
        not_started(&format!("{program}: {error}"))
    }
}
