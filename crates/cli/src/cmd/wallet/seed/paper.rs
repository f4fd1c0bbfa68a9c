//! A sheet of paper for the words, and how files with secrets are written: new, and for their owner alone.

use std::{fs::File, io::Write, path::Path};

use openagents_node::{
    home::Home,
    seeds::{SeedError, Seeds},
};
use openagents_types::Network;
use zeroize::Zeroizing;

use crate::{exit::Exit, failure::Failure, show};

const SHEET: &str = include_str!("paper.html");

/// What a sheet says of a passphrase. It never holds it.
const WITH: &str = "<b>and a passphrase that is not on this sheet</b>";
const APART: &str =
    "<li>Without their passphrase these words open nothing. Keep it written down in another place.</li>\n";

/// Writes a sheet: with the words, which unlocks the seed, or with empty lines, which does not.
pub(super) fn write(home: &Home, network: Network, path: &Path, blank: bool) -> anyhow::Result<Exit> {
    let status = Seeds::new(home).status(network)?.ok_or(SeedError::Missing(network))?;
    let rows = if blank {
        rows(&vec![""; status.words])
    } else {
        rows(&super::unlock(home, network)?.mnemonic.words().collect::<Vec<_>>())
    };
    let sheet = Zeroizing::new(
        SHEET
            .replace("{network}", &network.to_string())
            .replace("{fingerprint}", &status.fingerprint)
            .replace("{count}", &status.words.to_string())
            .replace("{passphrase}", if status.passphrase { WITH } else { "no passphrase" })
            .replace("{apart}", if status.passphrase { APART } else { "" })
            .replace("{rows}", &rows),
    );
    write_new(path, sheet.as_bytes())?;
    let file = path.display();
    if blank {
        show::line(&format!("wrote a sheet for {} words to {file}; print it and write on it", status.words))?;
    } else {
        show::line(&format!("wrote the words to {file}"))?;
        show::talk(
            "they are readable there: print the sheet on a printer of your own and delete the file now. Printers and \
             backups keep copies; --blank makes a sheet to write on by hand",
        );
    }
    Ok(Exit::Ok)
}

/// Two columns, read downwards, as rows of a table: a page break takes no number from its word.
fn rows(words: &[&str]) -> Zeroizing<String> {
    let (left, right) = words.split_at(words.len().div_ceil(2));
    let cell = |place: usize, word: &str| format!("<th>{}.</th><td>{word}</td>", place + 1);
    let row = |place: usize| {
        let second = right.get(place).map_or_else(String::new, |word| cell(left.len() + place, word));
        format!("<tr>{}{second}</tr>\n", cell(place, left[place]))
    };
    Zeroizing::new((0..left.len()).map(row).collect())
}

/// Writes a file that is not there yet, readable for its owner alone, and syncs it.
pub(super) fn write_new(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    let written =
        options.open(path).and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    written.map_err(|error| {
        Failure::new(
            Exit::Error,
            format!("cannot write {}: {error}", path.display()),
            "name a file that is not there yet, in a folder that you can write to",
        )
        .into()
    })
}
