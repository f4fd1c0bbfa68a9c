//! `openagents wallet install`: brings a wallet's program into the home.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use openagents_api::SCHEMA_VERSION;
use openagents_node::{
    home::Home,
    spark::install::{self, Installed, VERSION},
};
use serde_json::json;

use crate::{args::Global, exit::Exit, show};

/// Which.
#[derive(Debug, Subcommand)]
pub(crate) enum Install {
    /// The wallet on Spark: Python's packages of the Breez SDK (54 MB), for this home alone
    Spark(SparkArgs),
}

/// How.
#[derive(Debug, Args)]
#[command(
    before_help = "Example:\n  openagents wallet install spark",
    after_help = "It is made in the home, with the one version this program was written for, whose hash is checked.\n\
        A newer one is put beside it, and used from the node's next start on; what the wallet holds stays as it is."
)]
pub(crate) struct SparkArgs {
    /// The Python to run it with, 3.10 or later
    #[arg(long, value_name = "PROGRAM", default_value = "python3")]
    python: PathBuf,
}

/// Does it.
pub(super) fn run(global: &Global, home: &Home, Install::Spark(args): &Install) -> anyhow::Result<Exit> {
    let made = install::install(home, &args.python)?;
    if global.json {
        show::json(&json!({
            "schema_version": SCHEMA_VERSION,
            "installed": made.fresh,
            "version": VERSION,
            "folder": made.folder,
            "python": made.python,
            "before": made.before,
        }))?;
    } else {
        show::line(&told(&made))?;
    }
    for old in &made.before {
        show::talk(&format!(
            "{} is used no more once the node was started again; delete it then",
            old.display()
        ));
    }
    Ok(Exit::Ok)
}

fn told(made: &Installed) -> String {
    let done = if made.fresh { "installed" } else { "is installed already:" };
    format!(
        "{done} the Breez SDK {VERSION} for Python {} in {}\n  use it with `kind = \"spark\"` under [wallet] (openagents \
         config edit)",
        made.python,
        made.folder.display()
    )
}
