//! The command line as types. What each command does is in `cmd/`.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand};

use crate::{cmd, demo, show::Color, up};

/// An open market for AI compute over Nostr, paid over Lightning.
#[derive(Debug, Parser)]
#[command(
    name = "openagents",
    version,
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = true,
    before_help = "Examples:\n  \
        openagents demo                                        see a market work, offline\n  \
        openagents up --offline                                a market of your own on this machine\n  \
        openagents ask --kind 5001 --file paper.txt --max-sat 10   buy a summary from it\n  \
        openagents doctor                                      what is wrong, and how to mend it",
    after_help = "Topics: openagents help exit-codes, openagents help environment"
)]
pub(crate) struct Program {
    /// What is said to every command.
    #[command(flatten)]
    pub(crate) global: Global,
    /// The command.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags of every command.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Everywhere")]
pub(crate) struct Global {
    /// Keep everything in this directory [default: OPENAGENTS_HOME, else the platform's own places]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) home: Option<PathBuf>,
    /// Print JSON to stdout, for programs
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Use colour; NO_COLOR, CLICOLOR_FORCE and TERM=dumb are heeded
    #[arg(long, global = true, value_enum, default_value = "auto", value_name = "WHEN")]
    pub(crate) color: Color,
    /// Log errors only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Log more to stderr; repeat for still more
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
}

/// All commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a node: a provider, a customer, a wallet and a web page
    Up(up::UpArgs),
    /// Watch a whole market work on this machine, with test money and no network
    Demo(demo::DemoArgs),
    /// Buy a job
    Ask(Box<cmd::ask::AskArgs>),
    /// See and cancel jobs
    #[command(subcommand)]
    Jobs(cmd::jobs::Jobs),
    /// See, check and publish the receipts of work that is done and paid
    #[command(subcommand)]
    Receipts(cmd::receipts::Receipts),
    /// See what this node sells
    #[command(subcommand)]
    Provider(cmd::provider::Provider),
    /// Fetch models, keep them checked and within a quota, and measure them
    #[command(subcommand)]
    Models(cmd::models::Models),
    /// Make, import and choose the keys a node signs with
    #[command(subcommand)]
    Identity(cmd::identity::Identity),
    /// Connect a Lightning wallet and look into it
    #[command(subcommand)]
    Wallet(cmd::wallet::Wallet),
    /// Choose and try the relays the market is reached on
    #[command(subcommand)]
    Relay(cmd::relay::Relay),
    /// See which kinds of jobs there are, and check a job against its kind
    #[command(subcommand)]
    Registry(cmd::registry::Registry),
    /// See what the acceptable-use policy says of a job
    #[command(subcommand)]
    Policy(cmd::policy::Policies),
    /// Check everything a node needs and say how to mend what is broken
    Doctor(cmd::doctor::DoctorArgs),
    /// See and change the settings
    #[command(subcommand)]
    Config(cmd::config::Config),
    /// Test money of a node started with `up --offline`
    #[command(subcommand)]
    Testnet(cmd::testnet::Testnet),
    /// Print the directories in use
    Paths,
    /// Print a completion script for a shell
    Completions(cmd::completions::CompletionsArgs),
    /// Explain a command or a topic
    Help(cmd::help::HelpArgs),
    /// Turns a document on stdin into text; started by the node, with little memory and time.
    #[command(name = "__extract", hide = true)]
    Extract {
        /// `pdf`, `html` or `office`
        format: String,
    },
    /// Keeps a model server, and ends it when the node is gone; started by the node.
    #[command(name = "__keep", hide = true)]
    Keep {
        /// `watch` or `become`, and the server's program and arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// Becomes a tool of the operator's, in a cage; started by the node.
    #[command(name = "__sandbox", hide = true)]
    Sandbox {
        /// The cage, as JSON
        cage: String,
    },
}
