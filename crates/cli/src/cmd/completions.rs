//! `openagents completions`: scripts that let a shell complete our commands.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::{args::Program, exit::Exit, show};

/// Which shell.
#[derive(Debug, Args)]
#[command(before_help = "Examples:\n  \
        openagents completions bash > ~/.local/share/bash-completion/completions/openagents\n  \
        openagents completions zsh > ~/.zfunc/_openagents\n  \
        openagents completions fish > ~/.config/fish/completions/openagents.fish")]
pub(crate) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Prints the script.
pub(crate) fn run(args: &CompletionsArgs) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Program::command(), "openagents", &mut script);
    show::piece(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Ok)
}
