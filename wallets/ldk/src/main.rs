//! A self-custodial Lightning node as a wallet: its owner's node starts it and speaks to it over its stdin
//! and stdout, in NIP-47's words, one JSON message a line. When its stdin ends, it stops.

mod book;
mod channels;
mod events;
mod peers;
mod pending;
mod setup;
mod storage;
mod talk;
mod wallet;

use std::{io::BufRead as _, process::ExitCode, sync::Arc};

use talk::{Mouth, Request};
use wallet::Wallet;

fn main() -> ExitCode {
    let mouth = Mouth::default();
    match run(&mouth) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            mouth.fatal(&error);
            ExitCode::FAILURE
        }
    }
}

/// From the setup to the end of stdin.
fn run(mouth: &Mouth) -> Result<(), setup::SetupError> {
    let mut lines = std::io::stdin().lock().lines();
    let setup = setup::read(lines.next())?;
    let _lock = setup.lock()?;
    let book = book::Book::open(&setup.storage.join("book.db"))?;
    let node = setup.build()?;
    node.start().map_err(|error| setup::SetupError::Start(error.to_string()))?;
    let wallet = Arc::new(Wallet::new(node, book, setup.network, mouth.clone()));
    wallet.begin_again();
    for work in [events::listen, peers::keep, pending::keep_time] {
        let wallet = wallet.clone();
        std::thread::spawn(move || work(&wallet));
    }
    mouth.ready(&wallet.info());
    for line in lines.map_while(Result::ok) {
        match serde_json::from_str::<Request>(&line) {
            Ok(request) => wallet.clone().take(request),
            Err(error) => eprint(format_args!("a line that is no request: {error}")),
        }
    }
    // What is under way is in the book and in the node's own store, both written before it was begun.
    let _ = wallet.node.stop();
    Ok(())
}

/// A word for the log of whoever started us, who may be gone already.
fn eprint(text: std::fmt::Arguments<'_>) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
