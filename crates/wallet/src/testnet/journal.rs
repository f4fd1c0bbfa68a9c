//! What the ledger writes down, line by line, before it answers; read again at the start.

use std::{
    fs::File,
    io::{ErrorKind, Write},
    path::Path,
};

use openagents_types::{PaymentHash, Preimage};
use serde::{Deserialize, Serialize};

/// One thing that happened.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Line {
    /// An account was opened with test money.
    Opened {
        key: String,
        label: String,
        funds: u64,
        /// Absent in journals from before there was a choice.
        #[serde(default)]
        plain: bool,
    },
    /// An invoice was made.
    Invoiced { account: usize, bolt11: String, preimage: Option<String>, description: String },
    /// A payment was made; held, if the invoice holds.
    Paid { hash: PaymentHash, payer: usize, at: u64 },
    /// A held payment was taken.
    Settled { hash: PaymentHash, preimage: String },
    /// An invoice was cancelled, and money held for it given back.
    Cancelled { hash: PaymentHash },
}

/// The file, if there is one, and how long its whole lines are.
#[derive(Debug, Default)]
pub(super) struct Journal(Option<(File, u64)>);

impl Journal {
    /// Opens a journal and reads what is in it. A last line cut short by a crash was never answered
    /// for, and is dropped; any other line that makes no sense is an error, since all money that moved
    /// after it would be lost with it.
    pub(super) fn open(path: &Path) -> std::io::Result<(Self, Vec<Line>)> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let good = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let whole = bytes.split_at(good).0;
        let texts = whole.split(|byte| *byte == b'\n').filter(|text| !text.is_empty());
        let lines = texts.map(serde_json::from_slice).collect::<Result<_, _>>()?;
        let file = File::options().append(true).create(true).open(path)?;
        file.set_len(good as u64)?;
        Ok((Self(Some((file, good as u64))), lines))
    }

    /// Writes a line in one call, so that a kill leaves it whole or absent.
    pub(super) fn write(&mut self, line: &Line) -> std::io::Result<()> {
        let Some((file, good)) = &mut self.0 else { return Ok(()) };
        let mut text = serde_json::to_string(line)?;
        text.push('\n');
        if let Err(error) = file.write_all(text.as_bytes()) {
            // Half a line, left by a full disk, would spoil the next one.
            file.set_len(*good)?;
            return Err(error);
        }
        *good += text.len() as u64;
        Ok(())
    }
}

pub(super) fn preimage(text: &str) -> Option<Preimage> {
    text.parse().ok()
}
