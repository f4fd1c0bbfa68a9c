//! Errors as a person reads them: what happened, whether money is safe, what to do next. The one place
//! that decides which exit code an error gets.

use std::io::ErrorKind;

use openagents_api::{ClientError, Problem, SCHEMA_VERSION};
use openagents_node::{
    NodeError, breez::BreezError, config::ConfigError, device::DeviceError, home::HomeError,
    identity::IdentityError, seeds::SeedError, spark::SparkError,
};
use openagents_seed::{WordsError, backup::OpenError};
use openagents_wallet::nwc::ConnectionError;
use serde_json::json;

use crate::{exit::Exit, show, text::printable};

/// A failure of a command itself.
#[derive(Debug, thiserror::Error)]
#[error("{what}\nmoney: {money}\nnext: {next}")]
pub(crate) struct Failure {
    /// How the program ends.
    pub(crate) exit: Exit,
    /// What happened.
    pub(crate) what: String,
    /// Whether money is safe.
    pub(crate) money: String,
    /// What to do next.
    pub(crate) next: String,
}

impl Failure {
    /// A failure before any money was touched.
    pub(crate) fn new(exit: Exit, what: impl Into<String>, next: impl Into<String>) -> Self {
        Self { exit, what: what.into(), money: "none moved".into(), next: next.into() }
    }

    /// The arguments are each fine and make no sense together.
    pub(crate) fn usage(what: impl Into<String>, next: impl Into<String>) -> Self {
        Self::new(Exit::Usage, what, next)
    }
}

/// Says an error on stderr, for programs also on stdout, and returns what the program ends with.
pub(crate) fn report(error: &anyhow::Error, json: bool) -> Exit {
    if is_broken_pipe(error) {
        // Whoever read our output has read enough.
        return Exit::Ok;
    }
    let problem = describe(error);
    let Problem { message, money, next, .. } = &problem;
    show::talk(&format!("error: {}", printable(&format!("{message}\nmoney: {money}\nnext: {next}"))));
    let exit = exit(error);
    if json {
        // Whoever no longer reads has the exit code.
        let _ =
            show::json(&json!({ "schema_version": SCHEMA_VERSION, "exit": exit.code(), "error": problem }));
    }
    exit
}

/// What happened, where the money is, and what to do next.
pub(crate) fn describe(error: &anyhow::Error) -> Problem {
    if let Some(ClientError::Refused(problem)) = error.downcast_ref() {
        return problem.clone();
    }
    let code = exit(error).word().to_owned();
    if let Some(Failure { what, money, next, .. }) = error.downcast_ref() {
        return Problem { code, message: what.clone(), money: money.clone(), next: next.clone() };
    }
    let text = format!("{error:#}");
    let (message, next) = text.split_once("; ").unwrap_or((&text, "run `openagents doctor`"));
    Problem { code, message: message.to_owned(), money: "none moved".into(), next: next.to_owned() }
}

fn exit(error: &anyhow::Error) -> Exit {
    if let Some(failure) = error.downcast_ref::<Failure>() {
        failure.exit
    } else if let Some(error) = error.downcast_ref::<ClientError>() {
        of_client(error)
    } else if let Some(error) = error.downcast_ref::<NodeError>() {
        of_node(error)
    } else if let Some(error) = error.downcast_ref::<IdentityError>() {
        of_identity(error)
    } else if let Some(error) = error.downcast_ref::<SeedError>() {
        of_seed(error)
    } else if let Some(error) = error.downcast_ref::<SparkError>() {
        of_spark(error)
    } else if let Some(error) = error.downcast_ref::<BreezError>() {
        of_breez(error)
    } else if error.is::<ConfigError>()
        || error.is::<HomeError>()
        || error.is::<openagents_relay::RelayUrlError>()
    {
        Exit::Config
    } else if error.is::<ConnectionError>() || error.is::<WordsError>() {
        Exit::Auth
    } else {
        Exit::Error
    }
}

fn of_client(error: &ClientError) -> Exit {
    match error {
        ClientError::Refused(problem) => match problem.code.as_str() {
            "unauthorized" | "unauthorised" | "forbidden" | "token" => Exit::Auth,
            "no-wallet" | "daily-limit" | "policy" | "paid-before" | "not-paid" => Exit::Refused,
            _ => Exit::Error,
        },
        ClientError::Unreachable { .. } | ClientError::BrokenOff { .. } | ClientError::Garbled { .. } => {
            Exit::Error
        }
    }
}

fn of_node(error: &NodeError) -> Exit {
    match error {
        NodeError::Home(_) | NodeError::Relay(_) | NodeError::Listen { .. } => Exit::Config,
        _ => Exit::Error,
    }
}

fn of_identity(error: &IdentityError) -> Exit {
    match error {
        IdentityError::Home(_) | IdentityError::Device(DeviceError::Home(_) | DeviceError::Switch(_)) => {
            Exit::Config
        }
        IdentityError::Seed(error) => of_seed(error),
        IdentityError::Locked
        | IdentityError::Device(_)
        | IdentityError::NotASecret
        | IdentityError::NoPassphrase
        | IdentityError::EmptyPassphrase => Exit::Auth,
        _ => Exit::Error,
    }
}

fn of_seed(error: &SeedError) -> Exit {
    match error {
        SeedError::Identity(error) => of_identity(error),
        SeedError::Missing(_) | SeedError::Locked(_) | SeedError::Backup(OpenError::Locked) => Exit::Auth,
        SeedError::Read { .. } | SeedError::Newer(_) => Exit::Config,
        SeedError::OtherNetwork(_) => Exit::Usage,
        _ => Exit::Error,
    }
}

fn of_spark(error: &SparkError) -> Exit {
    match error {
        SparkError::Network(_) | SparkError::Home(_) => Exit::Config,
        SparkError::Seed(error) => of_seed(error),
        SparkError::Key(error) => of_breez(error),
        SparkError::NotInstalled | SparkError::OtherSeed { .. } => Exit::Error,
    }
}

fn of_breez(error: &BreezError) -> Exit {
    match error {
        BreezError::Home(_) | BreezError::Switch(_) => Exit::Config,
        BreezError::Missing | BreezError::Invalid { .. } | BreezError::Closed(_) | BreezError::Lost => {
            Exit::Auth
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
    })
}

#[cfg(test)]
mod tests {
    use openagents_types::Network;

    use super::*;

    #[test]
    fn every_error_says_what_happened_where_the_money_is_and_what_is_next() {
        let problem = |code: &str| Problem {
            code: code.into(),
            message: "m".into(),
            money: "safe".into(),
            next: "wait".into(),
        };
        let errors = [
            (anyhow::Error::new(Failure::usage("x", "y")), Exit::Usage),
            (ClientError::Refused(problem("no-wallet")).into(), Exit::Refused),
            (ClientError::Refused(problem("anything")).into(), Exit::Error),
            (IdentityError::Locked.into(), Exit::Auth),
            (IdentityError::Device(DeviceError::Lost).into(), Exit::Auth),
            (IdentityError::Device(DeviceError::Switch("of".into())).into(), Exit::Config),
            (SeedError::Missing(Network::Mainnet).into(), Exit::Auth),
            (SeedError::Backup(OpenError::Locked).into(), Exit::Auth),
            (SeedError::Backup(OpenError::Damaged).into(), Exit::Error),
            (SeedError::Newer("seed.json".into()).into(), Exit::Config),
            (WordsError::Count(3).into(), Exit::Auth),
            (BreezError::Missing.into(), Exit::Auth),
            (SparkError::Key(BreezError::Lost).into(), Exit::Auth),
            (SparkError::Network(Network::Signet).into(), Exit::Config),
            (SparkError::NotInstalled.into(), Exit::Error),
            (HomeError::Unknown.into(), Exit::Config),
            (anyhow::anyhow!("odd"), Exit::Error),
        ];
        for (error, expected) in errors {
            let Problem { code, message, money, next } = describe(&error);
            assert!([code, message, money, next].iter().all(|part| !part.is_empty()), "{error}");
            assert_eq!(exit(&error), expected, "{error}");
        }
    }

    #[test]
    fn a_reader_that_has_read_enough_is_no_error() {
        let error = anyhow::Error::new(std::io::Error::from(ErrorKind::BrokenPipe));
        assert_eq!(report(&error, false), Exit::Ok);
    }
}
