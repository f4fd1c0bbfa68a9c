//! A receipt is believed only if every check of NIP-57's Appendix F holds.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use std::time::Duration;

use lightning_invoice::{Currency, InvoiceBuilder, PaymentSecret};
use nostr::{
    Keys, SecretKey, Tag,
    hashes::{Hash, sha256},
    secp256k1::{self, Secp256k1},
};
use openagents_protocol::{
    Verified,
    zap::{Expected, ZapError, check},
};
use openagents_types::{EventId, Msat, Preimage, ProviderKey};

const SERVER: u8 = 9;
const SENDER: u8 = 1;
const RECIPIENT: u8 = 2;
const ZAPPED: EventId = EventId::from_bytes([7; 32]);

fn keys(n: u8) -> Keys {
    Keys::new(SecretKey::from_slice(&[n; 32]).unwrap())
}

fn recipient() -> ProviderKey {
    ProviderKey::from_bytes(keys(RECIPIENT).public_key().to_bytes())
}

fn event(signer: u8, kind: u16, tags: &[Vec<String>]) -> Verified {
    let tags = tags.iter().map(|tag| Tag::parse(tag.clone()).unwrap()).collect();
    Verified::sign(&keys(signer), kind, tags, String::new(), 1_000)
}

fn tag(name: &str, value: &str) -> Vec<String> {
    vec![name.into(), value.into()]
}

fn invoice(committed: &str, msat: u64) -> String {
    let key = secp256k1::SecretKey::from_slice(&[1; 32]).unwrap();
    InvoiceBuilder::new(Currency::Regtest)
        .description_hash(sha256::Hash::hash(committed.as_bytes()))
        .payment_hash(sha256::Hash::hash(&[4; 32]))
        .payment_secret(PaymentSecret([3; 32]))
        .duration_since_epoch(Duration::from_secs(1_000))
        .min_final_cltv_expiry_delta(144)
        .amount_milli_satoshis(msat)
        .build_signed(|m| Secp256k1::new().sign_ecdsa_recoverable(m, &key))
        .unwrap()
        .to_string()
}

/// A receipt whose parts can be spoiled one at a time.
struct Made {
    author: u8,
    kind: u16,
    request: Vec<Vec<String>>,
    request_kind: u16,
    description: Option<String>,
    committed: Option<String>,
    msat: u64,
    outer: Vec<Vec<String>>,
}

fn made() -> Made {
    Made {
        author: SERVER,
        kind: 9735,
        request: vec![
            tag("p", &recipient().to_hex()),
            tag("e", &ZAPPED.to_hex()),
            tag("amount", "21000"),
            tag("lnurl", "LNURL1OURS"),
            tag("relays", "wss://relay.example"),
        ],
        request_kind: 9734,
        description: None,
        committed: None,
        msat: 21_000,
        outer: vec![tag("p", &recipient().to_hex()), tag("e", &ZAPPED.to_hex())],
    }
}

impl Made {
    fn check(self) -> Result<openagents_protocol::zap::Receipt, ZapError> {
        let request = event(SENDER, self.request_kind, &self.request).json().to_owned();
        let description = self.description.unwrap_or(request);
        let committed = self.committed.unwrap_or_else(|| description.clone());
        let mut tags = self.outer;
        tags.push(tag("bolt11", &invoice(&committed, self.msat)));
        tags.push(tag("description", &description));
        let about = Some(ZAPPED);
        let server = keys(SERVER).public_key();
        let expected = Expected { server, recipient: recipient(), about, lnurl: Some("lnurl1ours") };
        check(&event(self.author, self.kind, &tags), &expected)
    }
}

#[test]
fn a_sound_receipt_names_the_payment_to_look_up() {
    let receipt = made().check().unwrap();
    assert_eq!(receipt.payment_hash, Preimage::from_bytes([4; 32]).hash());
    assert_eq!((receipt.amount, receipt.about), (Msat::new(21_000), Some(ZAPPED)));
    assert_eq!(receipt.sender.as_bytes(), &keys(SENDER).public_key().to_bytes());
}

#[test]
fn a_request_may_leave_amount_and_lnurl_out() {
    let mut zap = made();
    zap.request.retain(|tag| tag[0] != "amount" && tag[0] != "lnurl");
    assert_eq!(zap.check().unwrap().amount, Msat::new(21_000));
}

#[test]
fn every_forgery_is_told_apart() {
    type Spoil = fn(&mut Made);
    type Told = fn(&ZapError) -> bool;
    let cases: [(Spoil, Told); 14] = [
        (|zap| zap.kind = 9734, |e| matches!(e, ZapError::Kind(9734))),
        (|zap| zap.author = SENDER, |e| matches!(e, ZapError::Author(_))),
        (|zap| zap.request_kind = 1, |e| matches!(e, ZapError::Request(_))),
        (|zap| zap.description = Some("{}".into()), |e| matches!(e, ZapError::Request(_))),
        (|zap| zap.committed = Some("another".into()), |e| *e == ZapError::Description),
        (|zap| zap.msat = 1_000, |e| matches!(e, ZapError::Amount { .. })),
        (|zap| zap.request[2][1] = "lots".into(), |e| matches!(e, ZapError::Amount { .. })),
        (|zap| zap.request[0][1] = "00".repeat(32), |e| *e == ZapError::Mismatch("p")),
        (|zap| zap.outer[0][1] = "00".repeat(32), |e| *e == ZapError::Mismatch("p")),
        (|zap| zap.request[1][1] = "00".repeat(32), |e| *e == ZapError::Mismatch("e")),
        (|zap| drop(zap.outer.remove(1)), |e| *e == ZapError::Mismatch("e")),
        (|zap| zap.request[3][1] = "lnurl1theirs".into(), |e| *e == ZapError::Mismatch("lnurl")),
        (|zap| zap.request.push(zap.request[0].clone()), |e| *e == ZapError::Tag("p")),
        (|zap| drop(zap.outer.remove(0)), |e| *e == ZapError::Tag("p")),
    ];
    for (index, (spoil, expected)) in cases.into_iter().enumerate() {
        let mut zap = made();
        spoil(&mut zap);
        let error = zap.check().unwrap_err();
        assert!(expected(&error), "case {index}: {error}");
    }
}

#[test]
fn a_signature_that_was_altered_inside_is_caught() {
    let mut zap = made();
    let request = event(SENDER, 9734, &zap.request).json().to_owned();
    zap.description = Some(request.replace("21000", "22000"));
    zap.msat = 22_000;
    assert!(matches!(zap.check(), Err(ZapError::Request(_))));
}
