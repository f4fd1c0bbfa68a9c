//! What small programs of the system tell: local time, the graphics card. One that is not there is never asked again, and
//! one that was too slow only after a while: drivers may take their time to wake a card.

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long one that was too slow is left alone.
const REST: Duration = Duration::from_secs(5 * 60);

/// How long what changes rarely counts.
const RARELY: Duration = Duration::from_secs(15 * 60);

/// A program of the system that is asked now and then.
#[derive(Debug)]
pub(super) struct Tool {
    program: &'static str,
    args: &'static [&'static str],
    every: Duration,
    last: Option<(Instant, Option<String>)>,
    /// Until when it is not asked.
    rests: Option<Instant>,
    is_there: bool,
}

impl Tool {
    pub(super) const fn new(program: &'static str, args: &'static [&'static str], every: Duration) -> Self {
        Self { program, args, every, last: None, rests: None, is_there: true }
    }

    /// How far local time is ahead of UTC.
    pub(super) const fn local_time() -> Self {
        Self::new("date", &["+%z"], RARELY)
    }

    /// The free memory of each graphics card, in MiB.
    pub(super) const fn nvidia() -> Self {
        let args = &["--query-gpu=memory.free", "--format=csv,noheader,nounits"];
        Self::new("nvidia-smi", args, Duration::from_secs(10))
    }

    /// What it says.
    pub(super) fn says(&mut self) -> Option<String> {
        let now = Instant::now();
        if let Some((at, said)) = &self.last
            && now.duration_since(*at) < self.every
        {
            return said.clone();
        }
        let is_asked = self.is_there && self.rests.is_none_or(|until| now >= until);
        let said = if is_asked { self.ask() } else { None };
        self.last = Some((now, said.clone()));
        said
    }

    fn ask(&mut self) -> Option<String> {
        let mut command = Command::new(self.program);
        command.args(self.args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let Ok(mut child) = command.spawn() else {
            self.is_there = false;
            return None;
        };
        let end = Instant::now() + PATIENCE;
        let status = loop {
            match child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) if Instant::now() < end => std::thread::sleep(Duration::from_millis(5)),
                _ => {
                    let _ = child.kill();
                    let _ = child.wait();
                    self.rests = Some(Instant::now() + REST);
                    return None;
                }
            }
        };
        let mut text = String::new();
        std::io::Read::read_to_string(child.stdout.as_mut()?, &mut text).ok()?;
        status.success().then_some(text)
    }
}

/// Minutes of an offset such as `+0530`.
pub(super) fn offset(text: &str) -> Option<i32> {
    let text = text.trim();
    let (sign, digits) = match text.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let number: i32 = digits.parse().ok().filter(|_| digits.len() == 4)?;
    Some(sign * (number / 100 * 60 + number % 100))
}

/// Free bytes of the graphics card that has most, by lines of MiB.
pub(super) fn most_mib(text: &str) -> Option<u64> {
    let cards = text.lines().filter_map(|line| line.trim().parse::<u64>().ok());
    cards.max().map(|mib| mib.saturating_mul(1 << 20))
}

/// Space that is free on the disk that holds a path.
#[cfg(unix)]
pub(super) fn disk_free(path: &std::path::Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(path).ok()?;
    disk.f_bavail.checked_mul(disk.f_frsize)
}

/// Space that is free on the disk that holds a path.
#[cfg(not(unix))]
pub(super) fn disk_free(_: &std::path::Path) -> Option<u64> {
    None
}
