//! What goes over the wire, byte for byte: each event as it was once written (`tests/golden`). What is
//! written today must be the same, and what was written then must still be read the same.
//!
//! `OPENAGENTS_BLESS=1 cargo test -p openagents-protocol --test golden` writes the files anew; read
//! the difference before you commit it: other clients have to live with it.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use std::path::{Path, PathBuf};

use nostr::{Keys, SecretKey};
use openagents_protocol::{
    Keyring, Limits, Message, Verified, accept,
    ad::{self, Ad},
    decode, encode_customer, encode_provider,
    heartbeat::{self, Heartbeat},
    request,
};
use openagents_types::{
    ContentHash, Draft, EcashAsk, EcashToken, EventId, Invoice, JobInput, JobKind, JobRequest, JobSpec,
    Millis, Msat, Network, Notice, Param, PaymentHash, ProviderKey, Receipt, ReceiptSalt, Terms, Timestamp,
    Usage,
};
use serde_json::{Value, json};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const CUSTOMER: u8 = 1;
const PROVIDER: u8 = 2;

fn keys(n: u8) -> Keys {
    Keys::new(SecretKey::from_slice(&[n; 32]).unwrap())
}

fn provider() -> ProviderKey {
    ProviderKey::from_bytes(keys(PROVIDER).public_key().to_bytes())
}

fn spec(encrypt: bool) -> JobSpec {
    JobSpec {
        kind: JobKind::SUMMARIZATION,
        inputs: vec![JobInput::text("Grüße, 市場 \"quoted\"\nlines"), JobInput::url("https://example.com/a")],
        params: vec![Param::new("length", "100 words")],
        output: vec!["text/plain".into()],
        bid: Msat::new(10_000),
        provider: Some(provider()),
        encrypt,
        relays: vec!["wss://relay.example".into()],
        expires_at: Timestamp::from_secs(1_800_000_600),
        refund_to: None,
    }
}

fn invoice() -> Invoice {
    Invoice {
        bolt11: format!("lnbcrt10n1{}", "q".repeat(40)),
        payment_hash: PaymentHash::from_bytes([5; 32]),
        amount: Msat::new(1_000),
        expires_at: Timestamp::from_secs(1_800_000_090),
        network: Network::Regtest,
    }
}

fn receipt(request: &JobRequest) -> Receipt {
    Receipt {
        job: request.id,
        kind: request.kind,
        provider: provider(),
        customer: request.customer,
        usage: Usage {
            backend: "openai".into(),
            model: Some("gemma-3".into()),
            digest: None,
            input_tokens: 120,
            output_tokens: 30,
            elapsed: Millis(900),
            ..Usage::default()
        },
        price: Msat::new(1_000),
        payment_hash: Some(PaymentHash::from_bytes([5; 32])),
        result_sha256: ContentHash::of(b"Greetings."),
        asked_at: NOW,
        accepted_at: NOW.after(Millis(600)),
        delivered_at: NOW.after(Millis(1_500)),
        settled_at: NOW.after(Millis(1_540)),
        salt: ReceiptSalt::from_bytes([8; 32]),
    }
}

fn ecash_ask() -> EcashAsk {
    EcashAsk {
        request: "creqApWF0gaNhdGVub3N0cmFheGA".into(),
        hash: PaymentHash::from_bytes([6; 32]),
        locktime: Timestamp::from_secs(1_800_001_890),
        mints: vec!["https://mint.example".into(), "https://other.example".into()],
    }
}

fn answers() -> Vec<(&'static str, Draft)> {
    let refused = Notice::Refused {
        code: "bid-too-low".into(),
        message: "the price is 20 sat".into(),
        minimum: Some(Msat::new(20_000)),
    };
    let quote = Draft::Quote {
        invoice: invoice(),
        expires_at: Timestamp::from_secs(1_800_000_090),
        eta: Some(Millis(1_500)),
        terms: Terms::Escrow,
        ecash: None,
    };
    let both = Draft::Quote {
        invoice: invoice(),
        expires_at: Timestamp::from_secs(1_800_000_090),
        eta: None,
        terms: Terms::Prepaid,
        ecash: Some(ecash_ask()),
    };
    vec![
        ("quote", quote),
        ("quote-cashu", both),
        ("processing", Draft::Notice(Notice::Processing { message: "paid; 3 jobs ahead of yours".into() })),
        ("partial", Draft::Partial { index: 0, text: "Greet".into() }),
        ("error", Draft::Notice(refused)),
        ("success", Draft::Notice(Notice::Success)),
        (
            "refund-owed",
            Draft::Notice(Notice::RefundOwed {
                paid: PaymentHash::from_bytes([1; 32]),
                amount: Msat::new(1_000),
                message: "x".into(),
            }),
        ),
        (
            "refunded",
            Draft::Notice(Notice::Refunded {
                paid: PaymentHash::from_bytes([1; 32]),
                amount: Msat::new(1_000),
            }),
        ),
        (
            "result",
            Draft::Result {
                content: "Greetings.".into(),
                price: Msat::new(1_000),
                unused: Msat::ZERO,
                made_by: None,
            },
        ),
    ]
}

fn read(event: &Verified) -> Message {
    let by_customer = event.event().pubkey == keys(CUSTOMER).public_key();
    let reader = if by_customer { PROVIDER } else { CUSTOMER };
    decode(event, &mut Keyring::new(keys(reader))).unwrap()
}

fn asked(encrypt: bool) -> (Verified, JobRequest) {
    let event = request::encode(&spec(encrypt), &keys(CUSTOMER), NOW).unwrap();
    let Message::Request(request) = read(&event) else { panic!("not a request") };
    (event, *request)
}

/// Everything a provider says of a request, by name.
fn answered(request: &JobRequest, suffix: &str) -> Vec<(String, Verified)> {
    let (seller, mut ring) = (keys(PROVIDER), Keyring::new(keys(PROVIDER)));
    let mut event = |draft| encode_provider(request, &draft, &seller, &mut ring, NOW).unwrap();
    answers().into_iter().map(|(name, draft)| (format!("{name}{suffix}"), event(draft))).collect()
}

/// Every event the market knows, by name, in the open.
fn written() -> Vec<(String, Verified)> {
    let (event, _) = asked(false);
    if blessing() {
        keep("request", &event);
    }
    // A result repeats its request, signature included: answer the one that was kept.
    let Message::Request(request) = read(&kept("request").0) else { panic!("not a request") };
    let (job, customer, seller) = (request.id, keys(CUSTOMER), keys(PROVIDER));
    let mut events = vec![("request".to_owned(), event)];
    events.extend(answered(&request, ""));
    let cancel = Draft::Cancel { provider: Some(provider()), reason: "too late".into() };
    events.push(("cancel".to_owned(), encode_customer(job, &cancel, &customer, NOW).unwrap()));
    let countersign = Draft::Countersign {
        provider: provider(),
        receipt: EventId::from_bytes([6; 32]),
        digest: ContentHash::from_bytes([7; 32]),
    };
    let countersigned = encode_customer(job, &countersign, &customer, NOW).unwrap();
    events.push(("countersignature".to_owned(), countersigned));
    let beat = Heartbeat {
        kind: JobKind::SUMMARIZATION,
        others: vec![JobKind::TEXT_GENERATION],
        queued: 2,
        free_slots: 1,
        eta: Millis(1_500),
    };
    events.push(("heartbeat".to_owned(), heartbeat::encode(&beat, &seller, NOW)));
    let ad = Ad {
        kind: JobKind::SUMMARIZATION,
        name: "extractive".into(),
        about: "Summaries by LexRank".into(),
        base: Msat::new(1_000),
        per_kib: Msat::new(10),
        per_1000_output: Msat::ZERO,
        metered: false,
        per_second: Msat::ZERO,
        max_input_bytes: 65_536,
        timeout: Millis(30_000),
        picture: "https://picture.example/p.png".into(),
        zaps: None,
        slots: 2,
        queue_limit: 1_000,
        models: vec![ad::ModelAd {
            name: "lexrank".into(),
            base: Msat::new(1_000),
            ..ad::ModelAd::default()
        }],
        backend: "extractive summary (LexRank)".into(),
        params: serde_json::json!({ "length": { "required": false, "values": [], "description": "how long" } }),
        relays: vec!["wss://relay.example".into()],
    };
    events.push(("ad".to_owned(), ad::encode(&ad, &seller, NOW).unwrap()));
    events
}

/// What is sealed is written anew each time (a nonce), so of it only the reading is fixed.
fn sealed() -> Vec<(String, Verified)> {
    let (event, request) = asked(true);
    let mut events = vec![("request-nip44".to_owned(), event)];
    events.extend(answered(&request, "-nip44"));
    let claim = Draft::RefundClaim { provider: provider(), invoice: invoice() };
    let claim = encode_customer(request.id, &claim, &keys(CUSTOMER), NOW).unwrap();
    events.push(("refund-claim".to_owned(), claim));
    let (hash, token) = (ecash_ask().hash, EcashToken::new("cashuBo2FteBFodHRwczovL21pbnQ".into()));
    let ecash = Draft::Ecash { provider: provider(), hash, token };
    events.push(("ecash".to_owned(), encode_customer(request.id, &ecash, &keys(CUSTOMER), NOW).unwrap()));
    let (seller, mut ring) = (keys(PROVIDER), Keyring::new(keys(PROVIDER)));
    let receipt = Draft::Receipt(Box::new(receipt(&request)));
    events
        .push(("receipt".to_owned(), encode_provider(&request, &receipt, &seller, &mut ring, NOW).unwrap()));
    events
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{name}.json"))
}

fn blessing() -> bool {
    std::env::var_os("OPENAGENTS_BLESS").is_some()
}

fn keep(name: &str, event: &Verified) {
    let kept: Value = serde_json::from_str(event.json()).unwrap();
    std::fs::create_dir_all(file(name).parent().unwrap()).unwrap();
    std::fs::write(file(name), format!("{:#}\n", json!({ "event": kept, "says": says(event) }))).unwrap();
}

fn kept(name: &str) -> (Verified, Value) {
    let text = std::fs::read_to_string(file(name))
        .unwrap_or_else(|error| panic!("{name}: {error}; see the head of this file"));
    let mut golden: Value = serde_json::from_str(&text).unwrap();
    let says = golden["says"].take();
    (accept(&golden["event"].to_string(), &Limits::default()).unwrap(), says)
}

/// What an event says, line by line, for a person who reads the file.
fn says(event: &Verified) -> Value {
    format!("{:#?}", read(event)).lines().collect()
}

/// Blesses what is there to bless, then compares.
#[test]
fn what_is_written_is_what_was_written() {
    let written = written();
    if blessing() {
        for (name, event) in sealed().iter().chain(&written).filter(|(name, _)| name != "request") {
            keep(name, event);
        }
    }
    for (name, event) in written {
        // The id covers all but the signature, which differs each time.
        let (golden, _) = kept(&name);
        assert_eq!(event.id(), golden.id(), "{name} changed: {} was {}", event.json(), golden.json());
    }
}

#[test]
fn what_was_written_is_still_read_the_same() {
    let mut names: Vec<String> = sealed().into_iter().map(|(name, _)| name).collect();
    names.extend(written().into_iter().map(|(name, _)| name));
    for name in names {
        let (golden, then) = kept(&name);
        assert_eq!(says(&golden), then, "{name} is read differently");
    }
}
