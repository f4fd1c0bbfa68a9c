//! The tasks of `cargo xtask` that need the market's own crates.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that talks to developers")]

mod registry;
mod torture;

use clap::{Parser, Subcommand};
use openagents_xtask::shell;

/// The project's own tasks.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Write the catalogue of job kinds as a file for programs and as pages for people
    Registry {
        /// Write nothing; fail if something is not current
        #[arg(long)]
        check: bool,
    },
    /// Kill real processes with payments in flight, and count every satoshi
    Torture(torture::TortureArgs),
    /// Die at every failpoint in turn, and go on
    Failpoints,
}

fn main() -> anyhow::Result<()> {
    std::env::set_current_dir(shell::root())?;
    match Arguments::parse().task {
        Task::Registry { check } => registry::run(check),
        Task::Torture(arguments) => torture::run(&arguments),
        Task::Failpoints => torture::sweep(),
    }
}
