//! What the program's exit codes mean. Scripts rely on them, so they never change their meaning.

use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All went well.
    Ok,
    /// Something failed that no other code names.
    Error,
    /// The command line cannot be understood.
    Usage,
    /// The settings or the home cannot be used.
    Config,
    /// A key, a passphrase or a token is wrong or missing.
    Auth,
    /// Nobody offers to do the job.
    NoOffer,
    /// The price is above what may be paid.
    Refused,
    /// A payment is under way; it has neither failed nor settled.
    Pending,
    /// The time allowed ran out.
    Timeout,
    /// It was told to stop, from the keyboard or by a signal.
    Interrupted,
}

/// Every exit with its code, its word for programs and its meaning: the text of `openagents help exit-codes`.
const TABLE: &[(Exit, u8, &str, &str)] = &[
    (Exit::Ok, 0, "ok", "all went well"),
    (Exit::Error, 1, "error", "something failed; the message says what, and whether money moved"),
    (Exit::Usage, 2, "usage", "the command line cannot be understood"),
    (Exit::Config, 3, "config", "the settings or the home directory cannot be used"),
    (Exit::Auth, 4, "auth", "a key, a passphrase or a token is wrong or missing"),
    (Exit::NoOffer, 5, "no-offer", "no provider offers to do the job; no money moved"),
    (Exit::Refused, 6, "refused", "offers were above what you allowed, or no wallet may pay; no money moved"),
    (
        Exit::Pending,
        7,
        "pending",
        "a payment is under way; it has not failed: look again before you pay again",
    ),
    (Exit::Timeout, 8, "timeout", "the time allowed ran out"),
    (Exit::Interrupted, 130, "interrupted", "stopped by Ctrl-C or SIGTERM"),
];

impl Exit {
    /// The number the shell sees.
    pub(crate) fn code(self) -> u8 {
        TABLE.iter().find(|(exit, ..)| *exit == self).map_or(1, |(_, code, ..)| *code)
    }

    /// What programs read in an error on stdout.
    pub(crate) fn word(self) -> &'static str {
        TABLE.iter().find(|(exit, ..)| *exit == self).map_or("error", |(_, _, word, _)| *word)
    }

    /// The table as text.
    pub(crate) fn table() -> String {
        TABLE.iter().map(|(_, code, _, meaning)| format!("{code:>4}  {meaning}\n")).collect()
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_exit_has_a_code_of_its_own() {
        let mut codes: Vec<u8> = TABLE.iter().map(|(exit, ..)| exit.code()).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), TABLE.len());
    }
}
