//! `openagents help`: the commands, and topics that belong to no single one.

use clap::{Args, CommandFactory};
use openagents_node::config;

use crate::{args::Program, exit::Exit, failure::Failure, show};

/// What to explain.
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:\n  openagents help ask\n  openagents help relay test\n  openagents help exit-codes"
)]
pub(crate) struct HelpArgs {
    /// A command (`ask`, `relay test`) or a topic (`exit-codes`, `environment`)
    topic: Vec<String>,
}

/// What the environment can say.
const ENVIRONMENT: &str = "\
OPENAGENTS_HOME                 keep everything in this directory
OPENAGENTS_PASSPHRASE_FILE      a file with the passphrase that unlocks identities and money seeds
OPENAGENTS_KEYRING              off: never use the system's keyring
OPENAGENTS_LOG                  what to log, such as info or openagents_node=debug
NO_COLOR, CLICOLOR_FORCE        no colour, or colour even into a pipe
BREEZ_API_KEY                   the key of the Spark wallet, where the home keeps none
HF_TOKEN                        opens gated repositories to `openagents models pull`
VISUAL, EDITOR                  what `openagents config edit` opens
";

fn environment() -> String {
    let settings = config::ENVIRONMENT.iter().map(|(name, key)| format!("{name:<32}the setting {key}\n"));
    ENVIRONMENT.to_owned() + &settings.collect::<String>()
}

/// Explains.
pub(crate) fn run(args: &HelpArgs) -> anyhow::Result<Exit> {
    let words: Vec<&str> = args.topic.iter().map(String::as_str).collect();
    let text = match words.as_slice() {
        ["exit-codes"] => Exit::table(),
        ["environment"] => environment(),
        words => of_command(words)?,
    };
    show::piece(&text)?;
    Ok(Exit::Ok)
}

fn of_command(words: &[&str]) -> anyhow::Result<String> {
    let mut command = Program::command();
    command.build();
    let mut found = &mut command;
    for word in words {
        found = found.find_subcommand_mut(word).ok_or_else(|| unknown(words))?;
    }
    Ok(found.render_long_help().to_string())
}

fn unknown(words: &[&str]) -> Failure {
    Failure::usage(format!("there is no command or topic {:?}", words.join(" ")), "see `openagents help`")
}
