//! What is written reads back, and what others write is understood.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use nostr::{Keys, SecretKey, Tag};
use openagents_protocol::{
    Keyring, Limits, Message, Verified, accept, ad, decode, encode_customer, encode_provider, is_request,
    profile, request,
};
use openagents_types::{
    CustomerKey, Draft, EcashAsk, EcashPayment, EcashRelease, EcashToken, Encryption, InputType, Invoice,
    JobInput, JobKind, JobSpec, MadeBy, Millis, Msat, Network, Notice, Param, PaymentHash, ProviderKey,
    ReleasedEcash, Status, Terms, Timestamp,
};
use proptest::prelude::*;

fn keys(n: u8) -> Keys {
    Keys::new(SecretKey::from_slice(&[n; 32]).unwrap())
}

fn provider_key() -> ProviderKey {
    ProviderKey::from_bytes(keys(2).public_key().to_bytes())
}

fn ring(n: u8) -> Keyring {
    Keyring::new(keys(n))
}

fn spec() -> JobSpec {
    JobSpec {
        kind: JobKind::SUMMARIZATION,
        inputs: vec![
            JobInput::text("Grüße, 市場 \"quoted\" \\ and\nlines"),
            JobInput {
                data: "https://example.com/a".into(),
                input_type: InputType::Url,
                relay: Some("wss://relay.example".into()),
                marker: Some("source".into()),
            },
        ],
        params: vec![
            Param::new("length", "100 words"),
            Param { name: "range".into(), values: vec!["1".into(), "9".into()] },
        ],
        output: vec!["text/plain".into()],
        bid: Msat::new(10_000),
        provider: None,
        encrypt: false,
        relays: vec!["wss://relay.example".into()],
        expires_at: Timestamp::from_secs(2_000),
        refund_to: Some("ann@wallet.example".into()),
    }
}

const NOW: Timestamp = Timestamp::from_secs(1_000);

fn read_request(event: &Verified, ring: &mut Keyring) -> openagents_types::JobRequest {
    match decode(event, ring) {
        Ok(Message::Request(request)) => *request,
        other => panic!("{other:?}"),
    }
}

fn invoice() -> Invoice {
    Invoice {
        bolt11: format!("lnbcrt10n1{}", "q".repeat(40)),
        payment_hash: PaymentHash::from_bytes([5; 32]),
        amount: Msat::new(1_000),
        expires_at: Timestamp::from_secs(1_090),
        network: Network::Regtest,
    }
}

#[test]
fn a_request_reads_back_what_was_asked() {
    for encrypt in [false, true] {
        let spec = JobSpec { encrypt, provider: Some(provider_key()), ..spec() };
        let event = request::encode(&spec, &keys(1), NOW).unwrap();
        let read = read_request(&event, &mut ring(2));
        assert_eq!((&read.inputs, &read.params, &read.output), (&spec.inputs, &spec.params, &spec.output));
        assert_eq!((read.bid, read.expires_at), (Some(spec.bid), Some(spec.expires_at)));
        assert_eq!((read.providers.as_slice(), &read.relays), ([provider_key()].as_slice(), &spec.relays));
        assert_eq!(read.encryption, if encrypt { Encryption::Nip44 } else { Encryption::None });
        assert_eq!(event.json().contains("100 words"), !encrypt, "an encrypted job shows a relay nothing");
        assert_eq!(event.json().contains("example.com/a"), !encrypt);
        assert_eq!(read.refund_to.as_deref(), Some("ann@wallet.example"));
        assert_eq!(event.json().contains("ann@wallet.example"), !encrypt, "it would tell who asks");
    }
}

#[test]
fn encrypting_to_nobody_is_an_error_and_not_plain_text() {
    let spec = JobSpec { encrypt: true, ..spec() };
    assert!(request::encode(&spec, &keys(1), NOW).is_err());
}

#[test]
fn an_encrypted_job_is_for_its_provider_alone() {
    let spec = JobSpec { encrypt: true, provider: Some(provider_key()), ..spec() };
    let event = request::encode(&spec, &keys(1), NOW).unwrap();
    assert!(decode(&event, &mut ring(3)).is_err());
}

#[test]
fn what_an_encrypted_request_repeats_in_the_open_is_said_once() {
    let text = r#"[["i","secret words","text"],["param","length","9 words"]]"#;
    let sealed = nostr::nips::nip04::encrypt(keys(1).secret_key(), &keys(2).public_key(), text).unwrap();
    let tags: Vec<Tag> = [
        vec!["p", &provider_key().to_hex()],
        vec!["encrypted"],
        vec!["i", "secret words", "text"],
        vec!["param", "length", "9 words"],
    ]
    .map(|tag| Tag::parse(tag).unwrap())
    .into();
    let event = Verified::sign(&keys(1), 5001, tags, sealed, 1_000);
    let request = read_request(&event, &mut ring(2));
    assert_eq!((request.inputs.len(), request.params.len()), (1, 1), "{request:?}");
}

#[test]
fn every_answer_reads_back_plain_and_encrypted() {
    for encrypt in [false, true] {
        let asked = JobSpec { encrypt, provider: Some(provider_key()), ..spec() };
        let event = request::encode(&asked, &keys(1), NOW).unwrap();
        let request = read_request(&event, &mut ring(2));
        let say = |draft: &Draft| {
            let said = encode_provider(&request, draft, &keys(2), &mut ring(2), NOW).unwrap();
            decode(&said, &mut ring(1)).unwrap()
        };
        let expires_at = Timestamp::from_secs(1_090);
        let ask = EcashAsk {
            request: "creqApWF0".into(),
            hash: PaymentHash::from_bytes([6; 32]),
            locktime: Timestamp::from_secs(2_890),
            mints: vec!["https://mint.example".into()],
        };
        let quote = Draft::Quote {
            invoice: invoice(),
            expires_at,
            eta: Some(Millis(1_500)),
            terms: Terms::Escrow,
            ecash: Some(ask.clone()),
        };
        let Message::Feedback(read) = say(&quote) else { panic!() };
        assert_eq!(
            (read.status, read.job, read.provider),
            (Status::PaymentRequired, request.id, provider_key())
        );
        assert_eq!((read.amount, read.bolt11), (Some(Msat::new(1_000)), Some(invoice().bolt11)));
        assert_eq!(
            (read.eta, read.terms, read.expires_at),
            (Some(Millis(1_500)), Terms::Escrow, Some(expires_at))
        );
        assert_eq!(read.ecash, Some(ask), "encrypted: {encrypt}");

        let Message::Feedback(read) = say(&Draft::Partial { index: 0, text: "a piece".into() }) else {
            panic!()
        };
        assert_eq!((read.status, read.content.as_str()), (Status::Partial, "a piece"));

        let refused = Notice::Refused {
            code: "bid-too-low".into(),
            message: "more".into(),
            minimum: Some(Msat::new(9)),
        };
        let Message::Feedback(read) = say(&Draft::Notice(refused)) else { panic!() };
        assert_eq!((read.status, read.code.as_deref()), (Status::Error, Some("bid-too-low")));
        assert_eq!((read.message.as_str(), read.amount), ("more", Some(Msat::new(9))));

        let Message::Result(read) = say(&Draft::Result {
            content: "done".into(),
            price: Msat::new(7),
            unused: Msat::ZERO,
            made_by: None,
        }) else {
            panic!()
        };
        assert_eq!((read.content.as_str(), read.job, read.kind), ("done", request.id, 6_001));
    }
}

#[test]
fn a_result_says_what_made_it_unless_its_request_is_secret() {
    let by = |digest: Option<&str>, quantization: Option<&str>| MadeBy {
        backend: "openai".into(),
        model: Some("gemma-3".into()),
        digest: digest.map(str::to_owned),
        quantization: quantization.map(str::to_owned),
    };
    let plain = MadeBy { backend: "extractive".into(), ..MadeBy::default() };
    for encrypt in [false, true] {
        let event =
            request::encode(&JobSpec { encrypt, provider: Some(provider_key()), ..spec() }, &keys(1), NOW)
                .unwrap();
        let request = read_request(&event, &mut ring(2));
        for made_by in [plain.clone(), by(None, None), by(Some("sha256:ab"), None), by(None, Some("Q4"))] {
            let draft = Draft::Result {
                content: "x".into(),
                price: Msat::new(9),
                unused: Msat::new(4),
                made_by: Some(made_by.clone()),
            };
            let said = encode_provider(&request, &draft, &keys(2), &mut ring(2), NOW).unwrap();
            let Ok(Message::Result(read)) = decode(&said, &mut ring(1)) else { panic!() };
            assert_eq!(read.made_by, (!encrypt).then_some(made_by));
            assert_eq!((read.amount, read.unused), (Some(Msat::new(9)), Msat::new(4)));
        }
    }
}

#[test]
fn an_answer_to_nip04_is_in_nip04() {
    let text = serde_json::to_string(&[["i", "secret words", "text"]]).unwrap();
    let sealed = nostr::nips::nip04::encrypt(keys(1).secret_key(), &keys(2).public_key(), text).unwrap();
    let tags = [vec!["p", &provider_key().to_hex()], vec!["encrypted"]].map(|tag| Tag::parse(tag).unwrap());
    let event = Verified::sign(&keys(1), 5_050, tags.to_vec(), sealed, 1_000);
    let request = read_request(&event, &mut ring(2));
    assert_eq!((request.inputs[0].data.as_str(), request.encryption), ("secret words", Encryption::Nip04));
    let draft =
        Draft::Result { content: "hidden".into(), price: Msat::ZERO, unused: Msat::ZERO, made_by: None };
    let said = encode_provider(&request, &draft, &keys(2), &mut ring(2), NOW).unwrap();
    assert!(said.event().content.contains("?iv=") && !said.json().contains("secret words"));
    let Ok(Message::Result(read)) = decode(&said, &mut ring(1)) else { panic!() };
    assert_eq!(read.content, "hidden");
}

#[test]
fn customers_words_read_back() {
    let event = request::encode(&spec(), &keys(1), NOW).unwrap();
    let job = read_request(&event, &mut ring(2)).id;
    let cancel = Draft::Cancel { provider: Some(provider_key()), reason: "no".into() };
    let said = encode_customer(job, &cancel, &keys(1), NOW).unwrap();
    let Ok(Message::Cancels(read)) = decode(&said, &mut ring(2)) else { panic!() };
    assert_eq!((read[0].job, read[0].providers.as_slice()), (job, [provider_key()].as_slice()));

    let claim = Draft::RefundClaim { provider: provider_key(), invoice: invoice() };
    let said = encode_customer(job, &claim, &keys(1), NOW).unwrap();
    assert!(!said.json().contains(&invoice().bolt11), "only the provider reads a claim");
    let Ok(Message::RefundClaim(read)) = decode(&said, &mut ring(2)) else { panic!() };
    assert_eq!((read.job, read.bolt11), (job, invoice().bolt11));
    assert!(decode(&said, &mut ring(3)).is_err());

    let (hash, token) = (PaymentHash::from_bytes([6; 32]), EcashToken::new("cashuBo2Fte".into()));
    let ecash = Draft::Ecash { provider: provider_key(), hash, token: token.clone() };
    let said = encode_customer(job, &ecash, &keys(1), NOW).unwrap();
    assert!(!said.json().contains(token.expose()), "only the provider reads a token");
    let Ok(Message::Ecash(read)) = decode(&said, &mut ring(2)) else { panic!() };
    let by = CustomerKey::from_bytes(keys(1).public_key().to_bytes());
    assert_eq!(read, EcashPayment { job, by, hash, token });
    assert!(decode(&said, &mut ring(3)).is_err());
    let asked = read_request(&event, &mut ring(2));
    let release = EcashRelease::new("sign here".into());
    let gives_up = Draft::Release { hash, release: release.clone() };
    let said = encode_provider(&asked, &gives_up, &keys(2), &mut ring(2), NOW).unwrap();
    assert!(!said.json().contains("sign here"), "only the customer reads what opens its ecash");
    let Ok(Message::Release(read)) = decode(&said, &mut ring(1)) else { panic!() };
    assert_eq!(read, ReleasedEcash { job, provider: provider_key(), hash, release });
    assert!(decode(&said, &mut ring(3)).is_err());
    let long = Draft::Ecash { provider: provider_key(), hash, token: EcashToken::new("x".repeat(70_000)) };
    assert!(encode_customer(job, &long, &keys(1), NOW).is_err(), "no relay would carry it");
}

#[test]
fn ecash_that_is_not_asked_for_as_written_is_not_asked_for() {
    let hash = "06".repeat(32);
    let asked = |parts: &[&str]| {
        let amount: &[&str] = &["amount", "1000", "lnbcrt1x"];
        let said = event(7000, "", &[&["e", JOB], &["status", "payment-required"], amount, parts]);
        let Ok(Message::Feedback(read)) = decode(&said, &mut ring(1)) else { panic!("{parts:?}") };
        assert_eq!(read.bolt11.as_deref(), Some("lnbcrt1x"), "the invoice is left");
        read.ecash
    };
    assert!(asked(&["cashu", "creqAx", &hash, "2890", "https://mint.example"]).is_some());
    assert!(asked(&["cashu", "creqAx", &hash, "2890"]).is_some_and(|ask| ask.mints.is_empty()));
    for wrong in [
        &["cashu"] as &[&str],
        &["cashu", "creqAx", &hash],
        &["cashu", "cashuBx", &hash, "2890"],
        &["cashu", "creqAx", "06", "2890"],
        &["cashu", "creqAx", &hash, "soon"],
    ] {
        assert_eq!(asked(wrong), None, "{wrong:?}");
    }
}

fn event(kind: u16, content: &str, tags: &[&[&str]]) -> Verified {
    let tags = tags.iter().map(|tag| Tag::parse(tag.iter().copied()).unwrap()).collect();
    Verified::sign(&keys(2), kind, tags, content.into(), 1_000)
}

const JOB: &str = "0101010101010101010101010101010101010101010101010101010101010101";
const OTHER: &str = "0202020202020202020202020202020202020202020202020202020202020202";

#[test]
fn malformed_requests_of_the_wild_are_understood() {
    let input =
        |content: &str, tags: &[&[&str]]| read_request(&event(5_050, content, tags), &mut ring(1)).inputs;
    assert_eq!(input("", &[&["i", "Hi", "prompt"]]), [JobInput::text("Hi")]);
    assert_eq!(input("", &[&["i", "Hi"]]), [JobInput::text("Hi")]);
    assert_eq!(input("", &[&["input", "text", "Hi"]]), [JobInput::text("Hi")]);
    assert_eq!(input("", &[&["param", "prompt", "Hi"]]), [JobInput::text("Hi")]);
    assert_eq!(input("Hi", &[]), [JobInput::text("Hi")]);
    let read = |tags: &[&[&str]]| read_request(&event(5_000, "", tags), &mut ring(1));
    assert_eq!(read(&[&["relays", "[\"wss://a.example\",\"wss://b.example\"]"]]).relays.len(), 2);
    assert_eq!(read(&[&["wss://a.example", "wss://b.example"]]).relays.len(), 2);
    assert_eq!(read(&[&["bid", "100_000", "200_000"]]).bid, Some(Msat::new(100_000)));
    assert_eq!(read(&[&["bid", "lots"]]).bid, None);
    assert_eq!(read(&[&["alignment", "raw"]]).param("alignment"), Some("raw"));
    assert_eq!(read(&[&["expiration", "soon"], &["p", "junk"]]).providers, []);
}

#[test]
fn malformed_answers_of_the_wild_are_understood() {
    let read = |content: &str, tags: &[&[&str]]| match decode(&event(7_000, content, tags), &mut ring(1)) {
        Ok(Message::Feedback(feedback)) => feedback,
        other => panic!("{other:?}"),
    };
    let e: &[&str] = &["e", JOB];
    for (word, status) in [
        ("payment_required", Status::PaymentRequired),
        ("payment-required", Status::PaymentRequired),
        ("scheduled", Status::Processing),
        ("chain-scheduled", Status::Processing),
        ("payment-rejected", Status::Error),
        ("subscription-required", Status::Error),
        ("", Status::Error),
    ] {
        assert_eq!(read("", &[e, &["status", word]]).status, status, "{word}");
    }
    assert_eq!(read("text", &[e]).status, Status::Error);
    assert_eq!(read("words", &[e, &["status", "processing", ""]]).message, "words");
    let amount = |values: &[&str]| {
        let tag: Vec<&str> = std::iter::once("amount").chain(values.iter().copied()).collect();
        let feedback = read("", &[e, &["status", "payment-required"], &tag]);
        (feedback.amount.map(Msat::get), feedback.bolt11)
    };
    assert_eq!(amount(&["100_000", "botlab@zeuspay.com"]), (Some(100_000), None));
    assert_eq!(amount(&["1000000", "lightning:LNBC1"]), (Some(1_000_000), Some("lnbc1".into())));
    assert_eq!(amount(&["1", "ecash"]), (Some(1), None));
    assert_eq!(amount(&["free"]), (None, None));
    let job = |tags: &[&[&str]]| read("", tags).job.to_hex();
    assert_eq!(job(&[&["e", OTHER], &["e", JOB, "wss://r.example", "job"]]), JOB);
    assert_eq!(job(&[&["e", OTHER], &["e", JOB, "job"]]), JOB);
    assert_eq!(job(&[&["request", JOB], &["e", OTHER]]), JOB);
    assert_eq!(job(&[&["request", &format!("{{\"id\":\"{JOB}\"}}")]]), JOB);
    assert_eq!(job(&[&["request", "{'id': 'python'}"], &["e", OTHER]]), OTHER);
}

#[test]
fn our_own_kinds_are_told_from_results_by_their_shape() {
    let asked = event(6_500, "", &[&["i", "fn main() {}", "text"]]);
    assert!(matches!(decode(&asked, &mut ring(1)), Ok(Message::Request(_))));
    let answer = event(6_500, "clean", &[&["e", JOB]]);
    assert!(matches!(decode(&answer, &mut ring(1)), Ok(Message::Result(_))));
    let ours = event(7_500, "done", &[&["e", JOB]]);
    assert!(matches!(decode(&ours, &mut ring(1)), Ok(Message::Result(_))));
    let junk = event(6_500, "", &[&["i", "fn main() {}", "text"], &["e", "no id"], &["e"]]);
    assert!(
        matches!(decode(&junk, &mut ring(1)), Ok(Message::Request(_))),
        "an e without an id names nothing"
    );
    let about = event(6_501, "", &[&["i", JOB, "event"]]);
    assert!(matches!(decode(&about, &mut ring(1)), Ok(Message::Request(_))), "an input is no e tag");
}

#[test]
fn oversized_deep_and_forged_events_do_not_pass() {
    let limits = Limits::default();
    let good = event(5_000, "", &[&["i", "text", "text"]]);
    assert!(accept(good.json(), &limits).is_ok());
    assert!(accept(&" ".repeat(limits.event_bytes + 1), &limits).is_err());
    assert!(accept(&"[".repeat(60_000), &limits).is_err());
    let many: Vec<Vec<String>> = (0..300).map(|n| vec!["t".into(), n.to_string()]).collect();
    let tags = many.into_iter().map(|tag| Tag::parse(tag).unwrap()).collect();
    assert!(accept(Verified::sign(&keys(2), 5_000, tags, String::new(), 1).json(), &limits).is_err());
    let long = Tag::parse(["t", &"x".repeat(2_000)]).unwrap();
    assert!(accept(Verified::sign(&keys(2), 5_000, vec![long], String::new(), 1).json(), &limits).is_err());
}

/// Every single-byte change of a signed event is caught, whether it breaks the JSON, the id or the signature.
#[test]
fn no_altered_event_passes() {
    let limits = Limits::default();
    let good = event(5_001, "", &[&["i", "some text", "text"], &["bid", "1000"]]);
    let mut passed = 0;
    for index in 0..good.json().len() {
        for change in [1_u8, 4, 16, 32] {
            let mut bytes = good.json().as_bytes().to_vec();
            bytes[index] ^= change;
            if let Ok(text) = std::str::from_utf8(&bytes)
                && let Ok(read) = accept(text, &limits)
            {
                assert_eq!(read.json(), good.json(), "only a change of spelling may pass");
                passed += 1;
            }
        }
    }
    // Hexadecimal digits in upper case, and little else.
    assert!(passed < 200, "{passed} spellings of one event");
}

/// Tags that a request may have and that name no job.
fn innocent_tag() -> impl Strategy<Value = Vec<String>> {
    prop_oneof![
        ("i|param|output|bid|relays|p|t|expiration|encrypted|client", "[0-9a-f]{64}|\\PC{0,12}")
            .prop_map(|(name, value)| vec![name, value]),
        "[0-9a-f]{0,63}|\\PC{0,12}".prop_map(|value| vec!["e".to_owned(), value]),
        Just(vec!["e".to_owned()]),
        Just(vec![]),
    ]
}

/// Tags that make a result, as our own encoder and others write them.
fn telling_tag() -> impl Strategy<Value = Vec<String>> {
    let e = ("[0-9a-f]{64}", prop::option::of("wss://[a-z]{1,9}\\.example"), any::<bool>());
    prop_oneof![
        e.prop_map(|(id, relay, marked)| {
            let marker = marked.then(|| "job".to_owned());
            ["e".to_owned(), id].into_iter().chain(relay).chain(marker).collect()
        }),
        "\\PC{0,30}".prop_map(|quoted| vec!["request".to_owned(), quoted]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_request_is_told_from_a_result_however_its_tags_are_ordered(
        kind in 6_500_u16..6_600,
        mixed in prop::collection::vec(innocent_tag(), 0..6).prop_shuffle(),
        telling in telling_tag(),
        place: prop::sample::Index,
    ) {
        prop_assert!(is_request(kind, &mixed));
        let mut answer = mixed.clone();
        answer.insert(place.index(mixed.len() + 1), telling);
        prop_assert!(!is_request(kind, &answer));
        // Outside the collision the number alone decides.
        prop_assert!(is_request(kind - 1_000, &answer));
        prop_assert!(!is_request(kind + 1_000, &mixed) && !is_request(kind - 500, &mixed));
        let asked = Verified::sign(&keys(2), kind, mixed.into_iter().filter_map(|t| Tag::parse(t).ok()).collect(), String::new(), 1);
        prop_assert!(!matches!(decode(&asked, &mut ring(1)), Ok(Message::Result(_))));
        let said = Verified::sign(&keys(2), kind, answer.into_iter().filter_map(|t| Tag::parse(t).ok()).collect(), String::new(), 1);
        prop_assert!(!matches!(decode(&said, &mut ring(1)), Ok(Message::Request(_))));
    }

    #[test]
    fn no_soup_of_tags_makes_a_decoder_panic(
        kind in prop_oneof![Just(5_u16), 5_000_u16..7_600, Just(7_000), 7_009_u16..=7_012, Just(11_998), Just(31_990)],
        content in ".{0,60}",
        tags in prop::collection::vec(
            (prop_oneof![
                Just("i"), Just("e"), Just("p"), Just("k"), Just("d"), Just("param"), Just("bid"), Just("amount"),
                Just("status"), Just("request"), Just("relays"), Just("encrypted"), Just("expiration"), Just("eta"),
            ], prop::collection::vec("\\PC{0,20}|[0-9a-f]{64}|[0-9_]{1,24}", 0..5)), 0..12),
    ) {
        let tags = tags.into_iter().filter_map(|(name, values)| {
            Tag::parse(std::iter::once(name.to_owned()).chain(values)).ok()
        }).collect();
        let event = Verified::sign(&keys(2), kind, tags, content, 1_000);
        let _ = decode(&event, &mut ring(1));
        prop_assert!(accept(event.json(), &Limits::default()).is_ok());
    }

    #[test]
    fn no_bytes_make_the_gate_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = accept(&String::from_utf8_lossy(&bytes), &Limits::default());
    }

    #[test]
    fn whatever_is_asked_reads_back(
        texts in prop::collection::vec("\\PC{0,200}", 1..4),
        values in prop::collection::vec("\\PC{1,40}", 0..4),
        bid in 0_u64..21_000_000_000,
        encrypt: bool,
    ) {
        let spec = JobSpec {
            inputs: texts.into_iter().map(JobInput::text).collect(),
            params: values.into_iter().map(|value| Param::new("name", value)).collect(),
            bid: Msat::new(bid),
            encrypt,
            provider: Some(provider_key()),
            ..spec()
        };
        let event = request::encode(&spec, &keys(1), NOW).unwrap();
        let event = accept(event.json(), &Limits::default()).unwrap();
        let read = read_request(&event, &mut ring(2));
        prop_assert_eq!(read.inputs, spec.inputs);
        prop_assert_eq!(read.params, spec.params);
        prop_assert_eq!(read.bid, Some(spec.bid));
    }
}

#[test]
fn a_result_passes_our_own_gate_however_large_its_request_was() {
    let half = "line \"one\"\n".repeat(2_300);
    let asked = JobSpec { inputs: vec![JobInput::text(&*half), JobInput::text(&*half)], ..spec() };
    let event = request::encode(&asked, &keys(1), NOW).unwrap();
    assert!(accept(event.json(), &Limits::default()).is_ok(), "the request is taken");
    let request = read_request(&event, &mut ring(2));
    let draft =
        Draft::Result { content: "short".into(), price: Msat::new(7), unused: Msat::ZERO, made_by: None };
    let said = encode_provider(&request, &draft, &keys(2), &mut ring(2), NOW).unwrap();
    let read = accept(said.json(), &Limits::default()).expect("and so is its result");
    let Ok(Message::Result(read)) = decode(&read, &mut ring(1)) else { panic!() };
    assert_eq!((read.job, read.content.as_str()), (request.id, "short"));
}

#[test]
fn what_the_gate_would_refuse_is_not_signed() {
    let event = request::encode(&spec(), &keys(1), NOW).unwrap();
    let request = read_request(&event, &mut ring(2));
    let draft =
        Draft::Result { content: "x".repeat(70_000), price: Msat::ZERO, unused: Msat::ZERO, made_by: None };
    assert!(encode_provider(&request, &draft, &keys(2), &mut ring(2), NOW).is_err());
    let asked = JobSpec { inputs: vec![JobInput::text("x".repeat(50_000))], ..spec() };
    assert!(request::encode(&asked, &keys(1), NOW).is_err(), "one value is longer than is taken");
}

#[test]
fn a_provider_that_reads_only_the_inside_finds_everything_there() {
    let spec = JobSpec { encrypt: true, provider: Some(provider_key()), ..spec() };
    let event = request::encode(&spec, &keys(1), NOW).unwrap();
    let text =
        nostr::nips::nip44::decrypt(keys(2).secret_key(), &keys(1).public_key(), &event.event().content)
            .unwrap();
    let inside: Vec<Vec<String>> = serde_json::from_str(&text).unwrap();
    for name in ["i", "param", "output", "bid", "relays"] {
        assert!(inside.iter().any(|tag| tag[0] == name), "{name}");
    }
}

#[test]
fn a_python_request_names_its_job() {
    let quoted = format!("{{'kind': 5050, 'id': '{JOB}', 'content': ''}}");
    let Ok(Message::Feedback(read)) =
        decode(&event(7_000, "", &[&["request", &quoted], &["status", "success"]]), &mut ring(1))
    else {
        panic!()
    };
    assert_eq!(read.job.to_hex(), JOB);
}

#[test]
fn an_invoice_in_capitals_is_an_invoice() {
    let tags: &[&[&str]] =
        &[&["e", JOB], &["status", "payment-required"], &["amount", "1", "LIGHTNING:LNBC1"]];
    let Ok(Message::Feedback(read)) = decode(&event(7_000, "", tags), &mut ring(1)) else { panic!() };
    assert_eq!(read.bolt11.as_deref(), Some("lnbc1"));
}

#[test]
fn a_heartbeat_from_the_future_keeps_nobody_alive() {
    use openagents_protocol::heartbeat::{STALE_AFTER, is_live};
    let now = Timestamp::from_secs(10_000);
    assert!(is_live(now.before(STALE_AFTER), now) && is_live(now.after(Millis::from_secs(60)), now));
    assert!(!is_live(now.before(Millis::from_secs(901)), now));
    assert!(!is_live(now.after(Millis::from_secs(86_400)), now));
}

#[test]
fn an_advertisement_lists_its_models_with_their_prices() {
    let model = |name: &str, base: u64| ad::ModelAd {
        name: name.into(),
        base: Msat::new(base),
        per_kib: Msat::new(1),
        per_1000_output: Msat::new(2_000),
    };
    let said = ad::Ad {
        kind: JobKind::TEXT_GENERATION,
        name: "n".into(),
        about: "a".into(),
        base: Msat::new(10),
        per_kib: Msat::new(1),
        per_1000_output: Msat::new(1_000),
        metered: true,
        per_second: Msat::new(3),
        models: vec![model("small", 10), model("large", 90)],
        max_input_bytes: 9,
        timeout: Millis(1_000),
        picture: String::new(),
        zaps: Some(profile::ZapAddress::Name("ann@wallet.example".into())),
        slots: 1,
        queue_limit: 2,
        backend: "b".into(),
        params: serde_json::json!({}),
        relays: Vec::new(),
    };
    let event = ad::encode(&said, &keys(2), NOW).unwrap();
    assert!(event.event().content.contains("becomes your balance"), "{}", event.event().content);
    let Ok(Message::Ad(read)) = decode(&event, &mut ring(1)) else { panic!() };
    assert_eq!(*read, said);
}
