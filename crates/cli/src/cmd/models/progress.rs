//! One line on a terminal that says how much has come. Nothing where nobody looks.

use std::{
    io::{IsTerminal, Write},
    time::{Duration, Instant},
};

use openagents_models::shown;

use crate::text::one_line;

/// How often the line is written anew.
const EVERY: Duration = Duration::from_millis(200);

/// The line.
pub(super) struct Progress {
    is_seen: bool,
    /// When it began, and how much was here then.
    began: Option<(Instant, u64)>,
    last: Option<Instant>,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self { is_seen: std::io::stderr().is_terminal(), began: None, last: None }
    }

    /// So much of so much is here.
    pub(super) fn at(&mut self, what: &str, here: u64, of: u64) {
        let now = Instant::now();
        let (since, before) = *self.began.get_or_insert((now, here));
        let is_due = self.last.is_none_or(|last| now - last >= EVERY) || here >= of;
        if !self.is_seen || !is_due {
            return;
        }
        self.last = Some(now);
        let millis = u64::try_from((now - since).as_millis()).unwrap_or(u64::MAX).max(1);
        let speed = here.saturating_sub(before).saturating_mul(1_000) / millis;
        let percent = here.saturating_mul(100) / of.max(1);
        let line = format!(
            "{percent:>3} %  {} of {}  {}/s  {}",
            shown(here),
            shown(of),
            shown(speed),
            one_line(what, 40)
        );
        // Nobody may be there to see it.
        let _ = write!(std::io::stderr().lock(), "\r\u{1b}[K{line}");
    }

    /// Makes room for other lines.
    pub(super) fn end(&mut self) {
        if self.is_seen && self.last.take().is_some() {
            let _ = write!(std::io::stderr().lock(), "\r\u{1b}[K");
        }
    }
}
