//! The `openagents` program: reads the command line, calls one command, and turns its outcome into
//! an exit code. Everything a command does is in `cmd/`; everything a node does is in `openagents-node`.

mod args;
mod cmd;
mod dates;
mod demo;
mod exit;
mod failure;
mod first;
mod link;
mod secret;
mod show;
mod source;
mod stop;
mod tables;
mod text;
mod up;
mod wallet_link;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

/// A node's memory is taken on one thread and given back on another, ten thousand jobs at a time; the
/// system's allocator keeps a fifth more of it than this one.
#[global_allocator]
static MEMORY: mimalloc::MiMalloc = mimalloc::MiMalloc;

use crate::{args::Program, exit::Exit};

fn main() -> ExitCode {
    let matches = match Program::command().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => return usage(&error),
    };
    let program = match Program::from_arg_matches(&matches) {
        Ok(program) => program,
        Err(error) => return usage(&error),
    };
    show::log_to_stderr(&program.global);
    let json = program.global.json;
    match cmd::run(program) {
        Ok(exit) => exit,
        Err(error) => failure::report(&error, json).into(),
    }
}

/// Help and version are answers; anything else is a mistake in how the program was called.
fn usage(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    if error.use_stderr() { Exit::Usage.into() } else { ExitCode::SUCCESS }
}
