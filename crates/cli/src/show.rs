//! Where words go: data to stdout, talk to stderr, and colour only where it is welcome.

use std::io::{IsTerminal, Write};

use clap::ValueEnum;
use serde::Serialize;

use crate::args::Global;

/// When to use colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal that has colours and where nothing asks otherwise.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What the environment says about colour.
#[derive(Clone, Copy, Debug, Default)]
struct Surroundings {
    terminal: bool,
    dumb: bool,
    no_color: bool,
    forced: bool,
}

impl Color {
    /// Whether stdout is to be coloured.
    pub(crate) fn on_stdout(self) -> bool {
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        self.decide(Surroundings {
            terminal: std::io::stdout().is_terminal(),
            dumb: std::env::var_os("TERM").is_some_and(|term| term == "dumb"),
            no_color: is_set("NO_COLOR"),
            forced: std::env::var_os("CLICOLOR_FORCE").is_some_and(|value| !value.is_empty() && value != "0"),
        })
    }

    const fn decide(self, around: Surroundings) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto if around.no_color => false,
            Self::Auto => around.forced || (around.terminal && !around.dumb),
        }
    }
}

/// Writes one line of data.
pub(crate) fn line(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.write_all(b"\n")?;
    out.flush()
}

/// Writes data as it is, for a stream.
pub(crate) fn piece(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Writes one JSON value on one line.
pub(crate) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    Ok(line(&serde_json::to_string(value)?)?)
}

/// Says something to the person at the terminal. Nobody may be there, which is no error.
pub(crate) fn talk(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Sends the program's log to stderr, as much of it as was asked for.
pub(crate) fn log_to_stderr(global: &Global) {
    let level = match (global.quiet, global.verbose) {
        (true, _) => "error",
        (false, 0) => "warn",
        (false, 1) => "info",
        (false, 2) => "debug",
        (false, _) => "trace",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("OPENAGENTS_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(level));
    // A log that is there already is as good.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal() && global.color != Color::Never)
        .try_init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_follows_flag_then_no_color_then_force_then_terminal() {
        let plain = Surroundings::default();
        let terminal = Surroundings { terminal: true, ..plain };
        let cases = [
            (Color::Auto, plain, false),
            (Color::Auto, terminal, true),
            (Color::Auto, Surroundings { dumb: true, ..terminal }, false),
            (Color::Auto, Surroundings { no_color: true, forced: true, ..terminal }, false),
            (Color::Auto, Surroundings { forced: true, ..plain }, true),
            (Color::Never, Surroundings { forced: true, ..terminal }, false),
            (Color::Always, Surroundings { no_color: true, ..plain }, true),
        ];
        for (color, around, expected) in cases {
            assert_eq!(color.decide(around), expected, "{color:?} {around:?}");
        }
    }
}
