//! Ecash of mints that were chosen as a wallet: its owner's node starts it and speaks to it over its stdin
//! and stdout, in NIP-47's words, one JSON message a line. When its stdin ends, it stops.

mod book;
mod escrow;
mod fence;
mod held;
mod incoming;
mod keys;
mod locked;
mod mint;
mod outgoing;
mod release;
mod setup;
#[path = "../../ldk/src/storage.rs"]
mod storage;
mod swap;
#[path = "../../ldk/src/talk.rs"]
mod talk;
mod terms;
mod tokens;
mod wallet;

use std::{process::ExitCode, sync::Arc};

use setup::SetupError;
use talk::{Mouth, Request};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use wallet::Wallet;

fn main() -> ExitCode {
    let mouth = Mouth::default();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let ran = runtime.map_err(|error| SetupError::Build(error.to_string())).and_then(|runtime| {
        let ran = runtime.block_on(run(&mouth));
        // What is under way is in the book and in the dev kit's store, both written before it was begun.
        runtime.shutdown_background();
        ran
    });
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            mouth.fatal(&error);
            ExitCode::FAILURE
        }
    }
}

/// From the setup to the end of stdin.
async fn run(mouth: &Mouth) -> Result<(), SetupError> {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let mut setup = setup::read(lines.next_line().await.ok().flatten())?;
    let _lock = setup.lock()?;
    let book = book::Book::open(&setup.storage.join("book.db"))?;
    let seed = setup.take_seed()?;
    let mints = mint::open(&setup, &seed).await?;
    let wallet = Arc::new(Wallet::new(&setup, book, mints, seed, mouth.clone())?);
    wallet.begin_again();
    mouth.ready(&wallet.info());
    while let Ok(Some(line)) = lines.next_line().await {
        match serde_json::from_str::<Request>(&line) {
            Ok(request) => {
                let wallet = wallet.clone();
                tokio::spawn(async move { wallet.take(request).await });
            }
            Err(error) => eprint(format_args!("a line that is no request: {error}")),
        }
    }
    Ok(())
}

/// A word for the log of whoever started us, who may be gone already.
fn eprint(text: std::fmt::Arguments<'_>) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
