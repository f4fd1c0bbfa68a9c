//! Wallet connections: what is read reads back, and never prints its secret.
#![no_main]

use libfuzzer_sys::fuzz_target;
use openagents_wallet::nwc::Connection;

fuzz_target!(|text: &str| {
    let Ok(connection) = text.parse::<Connection>() else { return };
    assert!(!connection.relays().is_empty());
    let written = connection.expose();
    let again: Connection = written.parse().expect("what is written is read");
    assert_eq!((again.expose(), again.wallet()), (written.clone(), connection.wallet()));
    let secret = written.split("secret=").nth(1).map(|rest| &rest[..64]).expect("it has a secret");
    assert!(!format!("{connection:?}").contains(secret), "the secret was printed");
});
