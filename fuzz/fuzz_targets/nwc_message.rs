//! A wallet's words: nothing it says is taken for a payment without its proof, or printed unclean.
#![no_main]
#![allow(dead_code, reason = "whole files of the wallet, of which the reading is fuzzed")]

#[path = "../../crates/wallet/src/nwc/connection.rs"]
mod connection;
#[path = "../../crates/wallet/src/nwc/wire.rs"]
mod wire;
#[path = "../../crates/wallet/src/nip47/words.rs"]
mod words;

use std::{sync::LazyLock, time::Duration};

use connection::Connection;
use libfuzzer_sys::fuzz_target;
use openagents_fuzz::{NOW, keys};
use openagents_types::{PaymentHash, Preimage};
use openagents_wallet::{Incoming, Info, Outgoing, Transaction, WalletError, WalletEvent};
use serde_json::Value;
use wire::{Cipher, Scheme};

/// The preimage of every payment asked about: 32 bytes of 0x02.
static HASH: LazyLock<PaymentHash> = LazyLock::new(|| Preimage::from_bytes([2; 32]).hash());
static CIPHERS: LazyLock<[(Cipher, Cipher); 2]> = LazyLock::new(|| {
    let (a, b) = (keys(1), keys(2));
    [Scheme::Nip44, Scheme::Nip04].map(|scheme| {
        let back = Cipher::between(b.clone(), a.public_key(), scheme);
        (Cipher::between(a.clone(), b.public_key(), scheme), back)
    })
});

fn proven(state: &Outgoing, hash: PaymentHash) {
    if let Outgoing::Settled { preimage, .. } = state {
        assert_eq!(preimage.hash(), hash, "a false proof was taken");
    }
}

fn printable(text: &str) {
    assert!(text.chars().all(|c| !c.is_control()) && text.chars().count() <= 200, "{text:?}");
}

fn read(value: &Value) {
    if let Err(error) = words::result(value.clone()) {
        assert!(error.to_string().chars().all(|c| !c.is_control()), "{error}");
    }
    printable(&words::info(value).alias);
    for state in [words::paid(value, *HASH), words::outgoing(value, *HASH)].into_iter().flatten() {
        proven(&state, *HASH);
    }
    let _ = words::incoming(value);
    if let Some(WalletEvent::Outgoing { hash, state }) = words::notification(value) {
        proven(&state, hash);
    }
    if let Some(transaction) = words::transaction(value) {
        printable(&transaction.description);
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((first, rest)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(rest) else { return };
    if let Ok(value) = serde_json::from_str::<Value>(text) {
        read(&value);
        read(&value["result"]);
    }
    let (ours, theirs) = &CIPHERS[usize::from(first & 1)];
    let _ = ours.open(text);
    if first & 2 != 0
        && let Ok(event) = ours.request(23_194, text, NOW, Duration::from_secs(10))
    {
        assert!(event.verify().is_ok());
        assert_eq!(theirs.open(&event.content).ok().as_deref(), Some(text), "what was sealed is not opened");
    }
});
