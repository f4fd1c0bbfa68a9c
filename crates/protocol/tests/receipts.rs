//! A receipt binds its provider to words, its countersignature the customer, and nothing else does.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use nostr::{Keys, SecretKey, Tag};
use openagents_protocol::{
    DecodeError, Keyring, Message, Verified, decode, encode_customer, encode_provider,
    receipt::{self, Proof, ProofError, ReceivedReceipt},
    request,
};
use openagents_types::{
    ContentHash, CustomerKey, Draft, EventId, JobId, JobInput, JobKind, JobRequest, JobSpec, Millis, Msat,
    PaymentHash, ProviderKey, Receipt, ReceiptSalt, Timestamp, Usage,
};
use proptest::prelude::*;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

fn keys(n: u8) -> Keys {
    Keys::new(SecretKey::from_slice(&[n; 32]).unwrap())
}

fn bytes(n: u8) -> [u8; 32] {
    keys(n).public_key().to_bytes()
}

fn asked(encrypt: bool) -> JobRequest {
    let spec = JobSpec {
        kind: JobKind::SUMMARIZATION,
        inputs: vec![JobInput::text("the words of the job")],
        params: Vec::new(),
        output: Vec::new(),
        bid: Msat::new(10_000),
        provider: Some(ProviderKey::from_bytes(bytes(2))),
        encrypt,
        relays: Vec::new(),
        expires_at: NOW.after(Millis::from_secs(600)),
        refund_to: None,
    };
    let event = request::encode(&spec, &keys(1), NOW).unwrap();
    match decode(&event, &mut Keyring::new(keys(2))) {
        Ok(Message::Request(request)) => *request,
        other => panic!("{other:?}"),
    }
}

fn receipt(request: &JobRequest) -> Receipt {
    Receipt {
        job: request.id,
        kind: request.kind,
        provider: ProviderKey::from_bytes(bytes(2)),
        customer: CustomerKey::from_bytes(bytes(1)),
        usage: Usage {
            backend: "extractive".into(),
            model: None,
            digest: None,
            input_tokens: 120,
            output_tokens: 30,
            elapsed: Millis(9),
            ..Usage::default()
        },
        price: Msat::new(1_010),
        payment_hash: Some(PaymentHash::from_bytes([5; 32])),
        result_sha256: ContentHash::of(b"the result"),
        asked_at: NOW,
        accepted_at: NOW.after(Millis(500)),
        delivered_at: NOW.after(Millis(900)),
        settled_at: NOW.after(Millis(950)),
        salt: ReceiptSalt::from_bytes([8; 32]),
    }
}

fn said(request: &JobRequest, receipt: &Receipt, by: u8) -> Verified {
    let draft = Draft::Receipt(Box::new(receipt.clone()));
    encode_provider(request, &draft, &keys(by), &mut Keyring::new(keys(by)), NOW).unwrap()
}

fn read(event: &Verified, by: u8) -> Result<ReceivedReceipt, DecodeError> {
    match decode(event, &mut Keyring::new(keys(by)))? {
        Message::Receipt(received) => Ok(*received),
        other => panic!("{other:?}"),
    }
}

fn countersigned(received: &ReceivedReceipt, by: u8) -> Verified {
    let Receipt { provider, job, .. } = received.receipt;
    let draft = Draft::Countersign { provider, receipt: received.event, digest: received.digest };
    encode_customer(job, &draft, &keys(by), NOW).unwrap()
}

fn proof(event: &Verified, received: &ReceivedReceipt, countersignature: Option<&Verified>) -> Proof {
    Proof::new(&received.body, event.json(), countersignature.map(Verified::json)).unwrap()
}

#[test]
fn a_receipt_is_read_by_its_customer_alone_and_tells_a_relay_nothing() {
    for encrypt in [false, true] {
        let request = asked(encrypt);
        let said_of = receipt(&request);
        let event = said(&request, &said_of, 2);
        assert_eq!(read(&event, 1).unwrap().receipt, said_of);
        assert_eq!(read(&event, 3), Err(DecodeError::Sealed));
        for word in ["extractive", "1010", &said_of.payment_hash.unwrap().to_hex(), "the words"] {
            assert!(!event.json().contains(word), "{word}");
        }
        let ends = event.event().tags.expiration().map(|at| at.as_secs());
        assert_eq!(ends, Some(NOW.secs() + 86_400), "a peer that knows no receipts is not bothered for long");
        assert_eq!(receipt::addressed(&event), Some((request.id, said_of.provider)));
    }
}

#[test]
fn both_signatures_can_be_checked_by_anybody_and_published() {
    let request = asked(false);
    let event = said(&request, &receipt(&request), 2);
    let received = read(&event, 1).unwrap();
    let alone = proof(&event, &received, None).check().unwrap();
    assert!(!alone.countersigned);
    let counter = countersigned(&received, 1);
    assert!(!counter.json().contains("1010"));
    let whole = proof(&event, &received, Some(&counter));
    assert!(whole.check().unwrap().countersigned);

    let published = whole.publish(&received.receipt, &keys(1), NOW).unwrap();
    let printed = format!("{{\"schema_version\":1,\"proof\":{}}}", serde_json::to_string(&whole).unwrap());
    for text in [published.json(), &printed, &serde_json::to_string(&whole).unwrap()] {
        assert_eq!(Proof::read(text).unwrap().check().unwrap().receipt, received.receipt);
    }
    let altered = published.json().replace("1010", "1011");
    assert!(matches!(Proof::read(&altered), Err(ProofError::Event { part: "proof", .. })));
    assert!(matches!(Proof::read(event.json()), Err(ProofError::Kind { found: receipt::RECEIPT, .. })));
}

#[test]
fn an_altered_receipt_proves_nothing() {
    let request = asked(false);
    let event = said(&request, &receipt(&request), 2);
    let received = read(&event, 1).unwrap();
    let counter = countersigned(&received, 1);
    let whole = proof(&event, &received, Some(&counter));
    let hash = received.receipt.result_sha256.to_hex();
    for (from, to) in [("1010", "1011"), (hash.as_str(), &"0".repeat(64)), ("extractive", "gpt-9")] {
        let body = received.body.replace(from, to);
        assert_ne!(body, received.body);
        assert_eq!(Proof { body, ..whole.clone() }.check(), Err(ProofError::Digest), "{from}");
    }
    let mut resigned = whole.clone();
    resigned.receipt["created_at"] = 1.into();
    assert!(matches!(resigned.check(), Err(ProofError::Event { part: "receipt", .. })));
    let strangers = countersigned(&received, 3);
    let forged = proof(&event, &received, Some(&strangers));
    assert_eq!(forged.check(), Err(ProofError::Countersigned("customer")));
    let again = said(&request, &Receipt { price: Msat::new(2_000), ..receipt(&request) }, 2);
    let other = read(&again, 1).unwrap();
    let moved = proof(&again, &other, Some(&counter));
    assert_eq!(
        moved.check(),
        Err(ProofError::Countersigned("event")),
        "a countersignature is for one receipt"
    );
    let swapped = Proof { receipt: whole.countersignature.clone().unwrap(), ..whole };
    assert!(matches!(swapped.check(), Err(ProofError::Kind { part: "receipt", .. })));
}

#[test]
fn a_receipt_by_another_key_or_for_another_job_or_customer_is_not_one() {
    let request = asked(false);
    let honest = receipt(&request);
    let foreign = DecodeError::Content("a receipt by its author for its job and its customer");
    assert_eq!(read(&said(&request, &honest, 3), 1), Err(foreign.clone()), "signed by a stranger");
    let replayed = JobRequest { id: JobId::from_bytes([9; 32]), ..request.clone() };
    let draft = Receipt { job: replayed.id, ..honest.clone() };
    let mut event = said(&replayed, &draft, 2);
    assert!(read(&event, 1).is_ok());
    let tags = [("e", request.id.to_hex()), ("p", CustomerKey::from_bytes(bytes(1)).to_hex())];
    let outer = |name: &str| event.event().tags.iter().find(|tag| tag.as_slice()[0] == name).unwrap().clone();
    let tags = tags.map(|(name, value)| Tag::parse([name, &value]).unwrap());
    let tags = tags.into_iter().chain([outer("x"), outer("encrypted")]).collect();
    event = Verified::sign(&keys(2), receipt::RECEIPT, tags, event.event().content.clone(), NOW.secs());
    assert_eq!(read(&event, 1), Err(foreign.clone()), "words for one job under the name of another");
    let other = Receipt { customer: CustomerKey::from_bytes(bytes(4)), ..honest };
    assert_eq!(read(&said(&request, &other, 2), 1), Err(foreign));
}

#[test]
fn what_cannot_have_happened_is_named() {
    let request = asked(false);
    let honest = receipt(&request);
    for (word, wrong) in [
        ("accepted_at", Receipt { accepted_at: NOW.before(Millis::from_secs(601)), ..honest.clone() }),
        ("delivered_at", Receipt { delivered_at: NOW, ..honest.clone() }),
        ("settled_at", Receipt { settled_at: NOW, ..honest.clone() }),
        ("payment_hash", Receipt { payment_hash: None, ..honest.clone() }),
        ("payment_hash", Receipt { price: Msat::ZERO, ..honest }),
    ] {
        let event = said(&request, &wrong, 2);
        let received = read(&event, 1).unwrap();
        let fault = proof(&event, &received, None).check().unwrap_err().to_string();
        assert!(fault.contains("contradicts itself") && fault.contains(word), "{fault}");
    }
}

#[test]
fn a_reader_takes_fields_that_it_does_not_know_and_a_receipt_in_the_open() {
    let request = asked(false);
    let said_of = receipt(&request);
    let body = receipt::body(&said_of).unwrap().replacen('{', "{\"colour\":\"blue\",", 1);
    let tags = [
        ["e", &request.id.to_hex()],
        ["p", &said_of.customer.to_hex()],
        ["x", &ContentHash::of(body.as_bytes()).to_hex()],
    ];
    let tags = tags.iter().map(|tag| Tag::parse(tag.iter().copied()).unwrap()).collect();
    let event = Verified::sign(&keys(2), receipt::RECEIPT, tags, body, NOW.secs());
    let received = read(&event, 1).unwrap();
    assert_eq!(received.receipt, said_of);
    proof(&event, &received, None).check().unwrap();
}

fn any_receipt() -> impl Strategy<Value = Receipt> {
    let usage = ("\\PC{0,40}", prop::option::of("\\PC{0,40}"), any::<(u32, u32, u32)>());
    let money = prop::option::of((1_u64..1_000_000_000, any::<[u8; 32]>()));
    (usage, money, any::<[u8; 32]>(), [0_u32.., 0.., 0.., 0..], any::<[u8; 32]>()).prop_map(
        |((backend, model, counts), money, hash, times, salt)| Receipt {
            usage: Usage {
                backend,
                model,
                digest: None,
                input_tokens: counts.0.into(),
                output_tokens: counts.1.into(),
                elapsed: Millis(counts.2.into()),
                ..Usage::default()
            },
            price: Msat::new(money.map_or(0, |(price, _)| price)),
            payment_hash: money.map(|(_, hash)| PaymentHash::from_bytes(hash)),
            result_sha256: ContentHash::from_bytes(hash),
            asked_at: Timestamp::from_millis(times[0].into()),
            accepted_at: Timestamp::from_millis(times[1].into()),
            delivered_at: Timestamp::from_millis(times[2].into()),
            settled_at: Timestamp::from_millis(times[3].into()),
            salt: ReceiptSalt::from_bytes(salt),
            ..receipt(&asked(false))
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever a receipt says reads back, and its proof holds exactly if it does not contradict itself.
    #[test]
    fn every_receipt_reads_back(said_of in any_receipt()) {
        let request = asked(false);
        let said_of = Receipt { job: request.id, ..said_of };
        let event = said(&request, &said_of, 2);
        let received = read(&event, 1).unwrap();
        prop_assert_eq!(&received.receipt, &said_of);
        let proven = proof(&event, &received, Some(&countersigned(&received, 1))).check();
        prop_assert_eq!(proven.is_ok(), said_of.fault().is_none(), "{:?}", proven);
    }

    /// No text makes the reader panic, and none is taken for a proof.
    #[test]
    fn no_text_is_a_proof(text in "\\PC{0,200}") {
        prop_assert!(Proof::read(&text).and_then(|proof| proof.check()).is_err());
    }

    /// A countersignature is read as it was written.
    #[test]
    fn every_countersignature_reads_back(event in any::<[u8; 32]>(), digest in any::<[u8; 32]>()) {
        let (receipt, digest) = (EventId::from_bytes(event), ContentHash::from_bytes(digest));
        let (job, provider) = (JobId::from_bytes([7; 32]), ProviderKey::from_bytes(bytes(2)));
        let draft = Draft::Countersign { provider, receipt, digest };
        let signed = encode_customer(job, &draft, &keys(1), NOW).unwrap();
        let Ok(Message::Countersignature(read)) = decode(&signed, &mut Keyring::new(keys(2))) else {
            return Err(TestCaseError::fail("not a countersignature"));
        };
        prop_assert_eq!((read.job, read.receipt, read.digest), (job, receipt, digest));
        prop_assert_eq!(read.by, CustomerKey::from_bytes(bytes(1)));
    }
}
