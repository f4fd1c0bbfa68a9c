//! A server that lies in every way LUD-06 leaves room for: what it sends is never paid.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use std::time::Duration;

use lightning_invoice::{Currency, InvoiceBuilder, PaymentSecret};
use nostr::{
    hashes::{Hash, sha256},
    secp256k1::{Secp256k1, SecretKey},
};
use serde_json::json;

use super::*;

const MADE: u64 = 1_700_000_000;
const NOW: Timestamp = Timestamp::from_secs(MADE + 60);
const METADATA: &str = r#"[["text/plain","Coffee for Ann"],["text/identifier","ann@shop.example"]]"#;

fn offer(change: impl FnOnce(&mut serde_json::Value)) -> Result<PayOffer, LnurlError> {
    let mut answer = json!({
        "tag": "payRequest", "callback": "https://shop.example/cb?id=7", "minSendable": 1_000,
        "maxSendable": 50_000, "metadata": METADATA, "commentAllowed": 10,
    });
    change(&mut answer);
    PayOffer::read(&serde_json::to_vec(&answer).unwrap())
}

/// An invoice as an honest server would make it, and what a liar changes about it.
struct Invoicing<'a> {
    currency: Currency,
    amount: Option<u64>,
    metadata: Option<&'a str>,
    lifetime: u64,
}

const HONEST: Invoicing<'static> =
    Invoicing { currency: Currency::Regtest, amount: Some(21_000), metadata: Some(METADATA), lifetime: 600 };

impl Invoicing<'_> {
    fn answer(&self) -> Vec<u8> {
        let key = SecretKey::from_slice(&[1; 32]).unwrap();
        let builder = InvoiceBuilder::new(self.currency.clone());
        let builder = match self.metadata {
            Some(metadata) => builder.description_hash(sha256::Hash::hash(metadata.as_bytes())),
            None => builder.invoice_description(lightning_invoice::Bolt11InvoiceDescription::Direct(
                lightning_invoice::Description::new("Coffee for Ann".into()).unwrap(),
            )),
        };
        let builder = builder
            .payment_hash(sha256::Hash::hash(&[2; 32]))
            .payment_secret(PaymentSecret([3; 32]))
            .duration_since_epoch(Duration::from_secs(MADE))
            .expiry_time(Duration::from_secs(self.lifetime))
            .min_final_cltv_expiry_delta(144);
        let builder = match self.amount {
            Some(amount) => builder.amount_milli_satoshis(amount),
            None => builder,
        };
        let sign = |m: &_| Secp256k1::new().sign_ecdsa_recoverable(m, &key);
        json!({ "pr": builder.build_signed(sign).unwrap().to_string(), "routes": [] })
            .to_string()
            .into_bytes()
    }
}

fn take(answer: &[u8]) -> Result<Invoice, LnurlError> {
    offer(|_| {}).unwrap().invoice(answer, Msat::new(21_000), Network::Regtest, NOW)
}

#[test]
fn an_honest_server_is_paid_what_was_asked() {
    let offer = offer(|_| {}).unwrap();
    assert_eq!(offer.description, "Coffee for Ann");
    assert_eq!(offer.amount(Some(Msat::new(21_000))), Ok(Msat::new(21_000)));
    let url = offer.callback(Msat::new(21_000), "thanks & bye".get(..9).unwrap()).unwrap();
    assert_eq!(url.as_str(), "https://shop.example/cb?id=7&amount=21000&comment=thanks+%26+");
    let invoice = take(&HONEST.answer()).unwrap();
    assert_eq!((invoice.amount, invoice.network), (Msat::new(21_000), Network::Regtest));
}

#[test]
fn an_amount_is_chosen_within_what_is_taken() {
    let open = offer(|_| {}).unwrap();
    let (least, most) = (Msat::new(1_000), Msat::new(50_000));
    assert_eq!(open.amount(None), Err(LnurlError::NoAmount { least, most }));
    for asked in [Msat::ZERO, Msat::new(999), Msat::new(50_001)] {
        assert_eq!(open.amount(Some(asked)), Err(LnurlError::OutOfRange { asked, least, most }));
    }
    let fixed = offer(|answer| answer["maxSendable"] = 1_000.into()).unwrap();
    assert_eq!(fixed.amount(None), Ok(Msat::new(1_000)), "one amount alone needs no choice");
}

#[test]
fn a_comment_is_sent_only_where_it_is_taken() {
    let eleven = "é".repeat(11);
    let refused = offer(|_| {}).unwrap().callback(Msat::new(1_000), &eleven);
    assert_eq!(refused, Err(LnurlError::Comment { most: 10, has: 11 }), "characters are counted, not bytes");
    let none = offer(|answer| drop(answer.as_object_mut().unwrap().remove("commentAllowed"))).unwrap();
    assert!(none.callback(Msat::new(1_000), "x").is_err());
    assert_eq!(none.callback(Msat::new(1_000), "").unwrap().query(), Some("id=7&amount=1000"));
}

#[test]
fn no_other_invoice_than_the_one_asked_for_is_paid() {
    let lies = [
        (Invoicing { amount: Some(21_001), ..HONEST }, "asks 21.001 sat instead of 21 sat"),
        (Invoicing { amount: Some(20_999), ..HONEST }, "asks 20.999 sat instead of 21 sat"),
        (Invoicing { amount: None, ..HONEST }, "names no amount"),
        (Invoicing { metadata: Some("[[\"text/plain\",\"A car\"]]"), ..HONEST }, "description hash"),
        (Invoicing { metadata: None, ..HONEST }, "description hash"),
        (
            Invoicing { currency: Currency::Bitcoin, ..HONEST },
            "is for mainnet, and this wallet pays on regtest",
        ),
        (Invoicing { lifetime: 60, ..HONEST }, "expired or is about to"),
        (Invoicing { lifetime: 89, ..HONEST }, "expired or is about to"),
    ];
    for (lie, said) in lies {
        let error = take(&lie.answer()).unwrap_err().to_string();
        assert!(error.contains(said) && error.contains("; "), "{error}");
    }
    let first = "lnbcrt".len() + 3;
    let mut altered = HONEST.answer();
    altered[first] = if altered[first] == b'q' { b'p' } else { b'q' };
    assert!(take(&altered).is_err());
}

#[test]
fn a_refusal_is_told_in_the_servers_words() {
    let no = br#"{"status":"ERROR","reason":"the shop\nis closed; send me your words"}"#;
    let refused = LnurlError::Refused("the shop is closed, send me your words".into());
    assert_eq!(PayOffer::read(no), Err(refused.clone()));
    assert_eq!(take(no), Err(refused));
    assert!(matches!(take(br#"{"status":"error"}"#), Err(LnurlError::Refused(_))));
    let flood = json!({ "status": "ERROR", "reason": "x".repeat(100_000) }).to_string();
    assert!(take(flood.as_bytes()).unwrap_err().to_string().len() < 300);
}

#[test]
fn an_answer_that_is_none_is_named() {
    type Change = fn(&mut serde_json::Value);
    let changes: [(Change, &str); 9] = [
        (|answer| answer["tag"] = "withdrawRequest".into(), "withdrawRequest"),
        (|answer| answer["callback"] = "nowhere".into(), "callback"),
        (|answer| answer["minSendable"] = 0.into(), "limits"),
        (|answer| answer["minSendable"] = 60_000.into(), "limits"),
        (|answer| answer["maxSendable"] = u64::MAX.into(), "limits"),
        (|answer| answer["maxSendable"] = (-1).into(), "makes no sense"),
        (|answer| answer["metadata"] = "[]".into(), "what it is for"),
        (|answer| answer["metadata"] = "{".into(), "what it is for"),
        (|answer| answer["metadata"] = json!([["text/plain", "x"]]), "makes no sense"),
    ];
    for (change, said) in changes {
        let error = offer(change).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
    for nonsense in [&b""[..], b"[]", b"<html>", b"\xff", b"{}", b"{\"pr\":7}"] {
        assert!(matches!(take(nonsense), Err(LnurlError::Garbled(_))), "{nonsense:?}");
    }
}

#[test]
fn who_takes_zaps_names_the_key_that_signs_and_nobody_is_paid_less_for_it() {
    let key = "ab".repeat(32);
    let says = |zaps: serde_json::Value, key: serde_json::Value| {
        let answer = |answer: &mut serde_json::Value| {
            answer["allowsNostr"] = zaps;
            answer["nostrPubkey"] = key;
        };
        offer(answer).unwrap().zapper
    };
    assert_eq!(offer(|_| {}).unwrap().zapper, None);
    assert_eq!(says(true.into(), key.clone().into()), Some(key.clone()));
    for zaps in [false.into(), "true".into(), serde_json::Value::Null, 1.into()] {
        assert_eq!(says(zaps, key.clone().into()), None);
    }
    assert_eq!(says(true.into(), 7.into()), None);
}

#[test]
fn an_address_has_an_lnurl_that_reads_back() {
    let code = PayCode::address("ann@wallet.example").unwrap();
    let again = PayCode::bech32(&code.lnurl()).unwrap();
    assert_eq!(again.url().as_str(), "https://wallet.example/.well-known/lnurlp/ann");
    assert_eq!((again.url(), again.lnurl()), (code.url(), code.lnurl()));
}
