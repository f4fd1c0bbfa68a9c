//! Where a command reads what is written down, and which job a person means.

use openagents_api::Client;
use openagents_node::{Archive, home::Home};
use openagents_types::JobId;

use crate::{failure::Failure, link, show, text::one_line};

/// How far back a beginning of a name is looked for; no node gives more at once.
pub(crate) const SEARCHED: u32 = 500;

/// How many hexadecimal digits of a job's name are shown in lists; enough to tell jobs apart.
pub(crate) const SHORT: usize = 12;

/// From the node, or, while none runs, from what the last one wrote down.
pub(crate) enum Source {
    Node(Client),
    Archive(Archive),
}

impl Source {
    /// Where the home's records are read now. That no node runs is told, with `also` behind it.
    pub(crate) fn of(home: &Home, also: &str) -> anyhow::Result<Self> {
        if home.running_app().is_some() {
            return Ok(Self::Node(link::connect(home)?));
        }
        let archive = Archive::open(home)?.ok_or_else(link::not_running)?;
        show::talk(&format!("no node runs in this home; this is what was last written down{also}"));
        Ok(Self::Archive(archive))
    }
}

/// What a person calls a job.
pub(crate) enum Name {
    Whole(JobId),
    /// Its first hexadecimal digits, in lower case.
    Beginning(String),
}

impl Name {
    /// Reads what was typed; `see` is what shows the names there are.
    ///
    /// # Errors
    /// It is no hexadecimal number.
    pub(crate) fn read(typed: &str, see: &str) -> Result<Self, Failure> {
        if let Ok(job) = typed.parse() {
            return Ok(Self::Whole(job));
        }
        if typed.is_empty() || !typed.chars().all(|c| c.is_ascii_hexdigit()) {
            return Err(Failure::usage(format!("{:?} names no job", one_line(typed, 70)), see));
        }
        Ok(Self::Beginning(typed.to_lowercase()))
    }
}
