//! What viewers show of an advertisement, and what they do not.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use nostr::{Keys, SecretKey, Tag};
use openagents_protocol::{
    Verified,
    ad::{self, Ad, Listed, ModelAd},
    heartbeat::{self, Heartbeat},
    listing::check,
    profile::{self, Profile, ZapAddress},
};
use openagents_types::{JobKind, Millis, Msat, Timestamp};
use serde_json::json;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

fn keys(byte: u8) -> Keys {
    Keys::new(SecretKey::from_slice(&[byte; 32]).unwrap())
}

fn summaries() -> Ad {
    Ad {
        kind: JobKind::SUMMARIZATION,
        name: "n".into(),
        about: "a".into(),
        picture: "https://p.example/p.png".into(),
        base: Msat::new(1_500),
        per_kib: Msat::ZERO,
        per_1000_output: Msat::ZERO,
        zaps: None,
        metered: false,
        per_second: Msat::ZERO,
        max_input_bytes: 1,
        timeout: Millis(30_000),
        slots: 2,
        queue_limit: 9,
        models: vec![ModelAd { name: "m".into(), ..ModelAd::default() }],
        backend: "b".into(),
        params: json!({ "model": { "required": false, "values": [], "description": "which" } }),
        relays: vec!["wss://relay.example".into()],
    }
}

fn beat(kind: JobKind, others: &[JobKind], at: Timestamp) -> Verified {
    let beat = Heartbeat { kind, others: others.into(), queued: 0, free_slots: 1, eta: Millis(9) };
    heartbeat::encode(&beat, &keys(1), at)
}

fn raw(tags: &[&[&str]], content: &str, at: Timestamp) -> Verified {
    let tags = tags.iter().map(|parts| Tag::parse(parts.iter().copied()).unwrap()).collect();
    Verified::sign(&keys(1), ad::KIND, tags, content.into(), at.secs())
}

#[test]
fn what_we_write_is_shown_whole() {
    let event = ad::encode(&summaries(), &keys(1), NOW).unwrap();
    let last = beat(JobKind::TEXT_GENERATION, &[JobKind::SUMMARIZATION], NOW);
    assert_eq!(check(&event, &[last], NOW), []);
    let free = Ad { base: Msat::ZERO, picture: String::new(), ..summaries() };
    let event = ad::encode(&free, &keys(1), NOW).unwrap();
    assert_eq!(check(&event, &[beat(JobKind::SUMMARIZATION, &[], NOW)], NOW), []);
    assert!(event.event().content.contains(r#""amount":"free""#));
}

#[test]
fn a_price_that_depends_on_the_input_is_not_shown_as_a_fixed_one() {
    let amount = |base: u64, per_kib: u64| {
        let ad = Ad { base: Msat::new(base), per_kib: Msat::new(per_kib), ..summaries() };
        let event = ad::encode(&ad, &keys(1), NOW).unwrap();
        let content: serde_json::Value = serde_json::from_str(&event.event().content).unwrap();
        assert_eq!(content["nip90Params"]["model"]["values"], json!(["m"]));
        content["amount"].as_str().unwrap().to_owned()
    };
    assert_eq!(
        (amount(0, 0), amount(1_500, 0), amount(1_000, 10)),
        ("free".into(), "2".into(), "flexible".into())
    );
}

#[test]
fn who_is_silent_is_hidden() {
    let event = ad::encode(&summaries(), &keys(1), NOW).unwrap();
    let hidden = |beats: &[Verified]| {
        let faults = check(&event, beats, NOW);
        assert!(faults.iter().all(|fault| !fault.mend.is_empty()));
        faults.iter().find(|fault| fault.hides).map(|fault| fault.what.clone()).unwrap_or_default()
    };
    let old = NOW.before(Millis::from_secs(901));
    assert!(hidden(&[]).contains("no heartbeat"));
    assert!(hidden(&[beat(JobKind::SUMMARIZATION, &[], old)]).contains("900 s"));
    assert!(hidden(&[beat(JobKind::TEXT_GENERATION, &[], NOW)]).contains("other advertisements"));
    let strangers = Heartbeat {
        kind: JobKind::SUMMARIZATION,
        others: Vec::new(),
        queued: 0,
        free_slots: 1,
        eta: Millis(9),
    };
    assert!(hidden(&[heartbeat::encode(&strangers, &keys(2), NOW)]).contains("no heartbeat"));
    let bare = Verified::sign(&keys(1), heartbeat::KIND, Vec::new(), String::new(), NOW.secs());
    assert_eq!(hidden(&[bare]), "", "a heartbeat that names nothing speaks for all");
}

#[test]
fn each_fault_is_named() {
    let good = r#"{"name":"n","about":"a","amount":"5","nip90Params":{}}"#;
    let whole: &[&[&str]] = &[&["d", "x"], &["k", "5001"], &["relays", "wss://r.example"]];
    let old = NOW.before(Millis::from_secs(91 * 86_400));
    for (tags, content, at, hides, word) in [
        (&[&["k", "5001"][..], &["relays", "w"]][..], good, NOW, true, "`d`"),
        (&[&["d", "x"][..], &["relays", "w"]][..], good, NOW, true, "`k`"),
        (&[&["d", "x"][..], &["k", "mesh"], &["relays", "w"]][..], good, NOW, true, "no kind of jobs"),
        (
            &[&["d", "x"][..], &["k", "5001"], &["k", "5050"], &["relays", "w"]][..],
            good,
            NOW,
            false,
            "several",
        ),
        (&[&["d", "x"][..], &["k", "5001"]][..], good, NOW, false, "relays"),
        (whole, good, old, true, "90 days"),
        (whole, good, NOW.after(Millis::from_secs(3_600)), true, "ahead"),
        (
            &[&["d", "x"][..], &["k", "5001"], &["relays", "w"], &["expiration", "1799999999"]][..],
            good,
            NOW,
            true,
            "expired",
        ),
        (whole, "not json", NOW, true, "JSON"),
        (whole, r#"{"about":"a","amount":"5","nip90Params":{}}"#, NOW, true, "name"),
        (whole, r#"{"name":"n","amount":"5","nip90Params":{}}"#, NOW, false, "about"),
        (whole, r#"{"name":"n","about":"a","amount":5,"nip90Params":{}}"#, NOW, false, "amount"),
        (whole, r#"{"name":"n","about":"a","amount":"5"}"#, NOW, false, "nip90Params"),
        (whole, r#"{"name":"n","about":"a","amount":"5","nip90Params":{"x":[]}}"#, NOW, false, "nip90Params"),
        (
            whole,
            r#"{"name":"n","about":"a","amount":"5","nip90Params":{},"image":"i"}"#,
            NOW,
            false,
            "picture",
        ),
    ] {
        let alive = Verified::sign(&keys(1), heartbeat::KIND, Vec::new(), String::new(), NOW.secs());
        let faults = check(&raw(tags, content, at), &[alive], NOW);
        let [fault] = faults.as_slice() else { panic!("{word}: {faults:?}") };
        assert!(fault.hides == hides && fault.what.contains(word), "{word}: {fault:?}");
    }
}

#[test]
fn only_our_own_advertisements_are_taken_for_ours() {
    let event = ad::encode(&summaries(), &keys(1), NOW).unwrap();
    let (kind, listed) = ad::ours(&event).unwrap();
    assert_eq!((kind, listed.event), (JobKind::SUMMARIZATION, Some(event.id())));
    let theirs = raw(&[&["d", "5001"], &["k", "5001"]], r#"{"name":"n","amount":"5"}"#, NOW);
    assert_eq!(ad::ours(&theirs), None);
    let gone =
        ad::encode_deletion(&[listed, Listed { identifier: "5050".into(), event: None }], &keys(1), NOW);
    let author = keys(1).public_key().to_hex();
    let tags: Vec<Vec<String>> = gone.event().tags.iter().map(|tag| tag.as_slice().to_vec()).collect();
    let expected = [
        vec!["a".to_owned(), format!("31990:{author}:5001")],
        vec!["a".to_owned(), format!("31990:{author}:5050")],
        vec!["e".to_owned(), event.id().to_hex()],
        vec!["k".to_owned(), "31990".to_owned()],
    ];
    assert_eq!(tags, expected);
}

#[test]
fn where_a_provider_is_zapped_stands_where_viewers_look() {
    let mut said = Profile { name: "n".into(), about: "a".into(), picture: String::new(), zaps: None };
    for (zaps, expected) in [
        (None, ("null", "null")),
        (Some(ZapAddress::Name("ann@wallet.example".into())), ("\"ann@wallet.example\"", "null")),
        (Some(ZapAddress::Lnurl("lnurl1x".into())), ("null", "\"lnurl1x\"")),
    ] {
        said.zaps = zaps;
        let event = profile::encode(&said, &keys(1), NOW);
        let content: serde_json::Value = serde_json::from_str(&event.event().content).unwrap();
        let found = (content["lud16"].to_string(), content["lud06"].to_string());
        assert_eq!((found.0.as_str(), found.1.as_str()), expected);
    }
}

#[test]
fn a_profile_of_ours_is_told_from_another() {
    let said = Profile { name: "n".into(), about: "a".into(), picture: String::new(), zaps: None };
    assert!(profile::is_ours(&profile::encode(&said, &keys(1), NOW)));
    assert!(profile::is_ours(&profile::encode_relays(&["wss://r.example".into()], &keys(1), NOW)));
    let theirs =
        Verified::sign(&keys(1), profile::PROFILE, Vec::new(), r#"{"name":"me"}"#.into(), NOW.secs());
    assert!(!profile::is_ours(&theirs));
}
