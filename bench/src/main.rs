//! `openagents-bench`: measures the node against a floor in one run on one machine.
//!
//! The floor is the cheapest relay and provider that can be written: memory only, every event
//! verified once by each, one feedback before and one after a result, no store, no policy, no money.
//! The load is independent of both and the same for both.

#![allow(clippy::print_stdout, reason = "a program's data goes to stdout")]
#![allow(clippy::print_stderr, reason = "a program's talk goes to stderr")]

mod event;
mod floor_provider;
mod floor_relay;
mod load;
mod payer;
mod process;
mod report;
mod run;
mod socket;
mod stream;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Measures the node against a floor.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves the floor relay; prints its address.
    FloorRelay,
    /// Serves kind 5000 on a relay as cheaply as possible.
    FloorProvider {
        /// The relay.
        relay: String,
    },
    /// Puts free jobs on a relay that is running already, to profile what serves it.
    Load {
        /// The relay.
        relay: String,
        /// Jobs outstanding at any time.
        #[arg(long, default_value_t = 1)]
        outstanding: usize,
        /// Jobs in all.
        #[arg(long, default_value_t = 2_000)]
        jobs: usize,
    },
    /// Measures everything and prints the table.
    Run(run::RunArguments),
    /// Measures what the market adds to a model server's stream.
    Stream(stream::StreamArguments),
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match arguments.command {
            Command::FloorRelay => floor_relay::serve().await,
            Command::FloorProvider { relay } => floor_provider::serve(&relay).await,
            Command::Load { relay, outstanding, jobs } => {
                let load = load::Load { relay, outstanding, jobs, payer: None };
                let outcome = load.run().await?;
                let mut latencies = outcome.latencies;
                latencies.sort_unstable();
                println!("p50 {:?}, all {:?}", latencies[latencies.len() / 2], outcome.took);
                Ok(())
            }
            Command::Run(arguments) => run::run(arguments).await,
            Command::Stream(arguments) => stream::run(arguments).await,
        }
    })
}

/// Where this program itself lies, to start its other halves.
fn this_program() -> anyhow::Result<PathBuf> {
    Ok(std::env::current_exe()?)
}
