//! What the ledger writes down, line by line, before it answers; read again at the start.

use std::{
    fs::File,
    io::{BufRead, BufReader, Write},
    path::Path,
};

use openagents_types::{PaymentHash, Preimage};
use serde::{Deserialize, Serialize};

/// One thing that happened.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Line {
    /// An account was opened with test money.
    Opened { key: String, label: String, funds: u64 },
    /// An invoice was made.
    Invoiced { account: usize, bolt11: String, preimage: Option<String>, description: String },
    /// A payment was made; held, if the invoice holds.
    Paid { hash: PaymentHash, payer: usize, at: u64 },
    /// A held payment was taken.
    Settled { hash: PaymentHash, preimage: String },
    /// An invoice was cancelled, and money held for it given back.
    Cancelled { hash: PaymentHash },
}

/// The file, if there is one.
#[derive(Debug, Default)]
pub(super) struct Journal(Option<File>);

impl Journal {
    /// Opens a journal and reads what is in it. A last line cut short by a crash was never answered
    /// for, and is dropped.
    pub(super) fn open(path: &Path) -> std::io::Result<(Self, Vec<Line>)> {
        let mut lines = Vec::new();
        let mut good = 0;
        if let Ok(file) = File::open(path) {
            let mut reader = BufReader::new(file);
            let mut text = String::new();
            while reader.read_line(&mut text)? > 0 {
                match serde_json::from_str(&text) {
                    Ok(line) if text.ends_with('\n') => lines.push(line),
                    _ => break,
                }
                good += text.len() as u64;
                text.clear();
            }
        }
        let file = File::options().append(true).create(true).open(path)?;
        file.set_len(good)?;
        Ok((Self(Some(file)), lines))
    }

    /// Writes a line in one call, so that a kill leaves it whole or absent.
    pub(super) fn write(&mut self, line: &Line) -> std::io::Result<()> {
        let Some(file) = &mut self.0 else { return Ok(()) };
        let mut text = serde_json::to_string(line)?;
        text.push('\n');
        file.write_all(text.as_bytes())
    }
}

pub(super) fn preimage(text: &str) -> Option<Preimage> {
    text.parse().ok()
}
