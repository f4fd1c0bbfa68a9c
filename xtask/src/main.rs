//! `cargo xtask`: the project's own tasks. What CI runs is `cargo xtask test`, whole.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that talks to developers")]

mod bench;
mod cashu;
mod fuzz;
mod ldk;
mod needs;
mod spark;
mod steps;
mod tidy;

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
    /// Install what the tests need, then run everything
    Test {
        /// Only these steps, by name
        #[arg(long, value_delimiter = ',')]
        only: Vec<String>,
    },
    /// Check the rules that no compiler checks
    Tidy,
    /// Write the catalogue of job kinds as a file for programs and as pages for people
    #[command(disable_help_flag = true)]
    Registry(Passed),
    /// Measure the node against a floor
    Bench {
        /// Print one JSON object
        #[arg(long)]
        json: bool,
        /// Measure with a tenth of the jobs
        #[arg(long)]
        quick: bool,
        /// Only these: floor, free, paid
        #[arg(long, value_delimiter = ',')]
        only: Vec<String>,
    },
    /// Measure what the market adds to a model server's stream
    BenchStream {
        /// Print a JSON object for each model
        #[arg(long)]
        json: bool,
        /// How often each way is measured with the tiny model; half as often with the other
        #[arg(long, default_value_t = 40)]
        turns: usize,
    },
    /// Kill real processes with payments in flight, and count every satoshi
    #[command(disable_help_flag = true)]
    Torture(Passed),
    /// Feed every decoder what its coverage grows by, and look for what breaks it
    Fuzz(fuzz::FuzzArgs),
}

/// What is passed on, `--help` as well.
#[derive(Debug, clap::Args)]
struct Passed {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

impl Passed {
    fn to(&self, task: &str) -> anyhow::Result<()> {
        let mut all = vec![task.to_owned()];
        all.extend(self.arguments.iter().cloned());
        shell::market(&all)
    }
}

fn main() -> anyhow::Result<()> {
    std::env::set_current_dir(shell::root())?;
    match Arguments::parse().task {
        Task::Test { only } => steps::test(&only),
        Task::Tidy => tidy::run(),
        Task::Registry(passed) => passed.to("registry"),
        Task::Bench { json, quick, only } => bench::run(json, quick, &only),
        Task::BenchStream { json, turns } => bench::stream(json, turns),
        Task::Torture(passed) => passed.to("torture"),
        Task::Fuzz(arguments) => fuzz::run(&arguments),
    }
}
