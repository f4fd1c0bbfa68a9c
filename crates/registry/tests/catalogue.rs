//! The catalogue itself: that every kind is there, whole, and true to its own examples.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use std::collections::BTreeSet;

use openagents_registry::{
    Builder, Fault, KindSchema, ProhibitedUse, UPDATED, VERSION, all, common, find, find_name, to_json,
    validate,
};
use openagents_types::{JobKind, Msat, ProviderKey, Timestamp};
use serde_json::{Value, json};

const OFFICIAL: [u16; 19] = [
    5000, 5001, 5002, 5050, 5100, 5200, 5201, 5202, 5250, 5300, 5301, 5302, 5303, 5400, 5500, 5900, 5901,
    5905, 5970,
];
const CUSTOM: [u16; 14] =
    [6500, 6501, 6502, 6503, 6504, 6505, 6506, 6507, 6508, 6509, 6510, 6511, 6513, 6519];

fn kind(number: u16) -> &'static KindSchema {
    find(JobKind::try_from(number).unwrap()).unwrap()
}

#[test]
fn every_official_and_custom_kind_is_there_once() {
    let numbers: Vec<u16> = all().iter().map(|kind| kind.kind.get()).collect();
    assert_eq!(numbers, [&OFFICIAL[..], &CUSTOM[..]].concat());
    let names: BTreeSet<&str> = all().iter().map(|kind| kind.name.as_str()).collect();
    assert_eq!(names.len(), numbers.len());
    for schema in all() {
        assert_eq!(schema.kind.result(), schema.kind.get() + 1000);
        assert_eq!(find_name(&schema.name).unwrap().kind, schema.kind);
        assert_eq!(schema.is_official(), OFFICIAL.contains(&schema.kind.get()));
    }
}

/// Names, versions, bounds, defaults; each example is read and its result checked.
#[test]
fn every_kind_is_sound() {
    for schema in all() {
        assert_eq!(validate(schema), Vec::<String>::new(), "{}", schema.name);
    }
}

#[test]
fn what_is_in_no_catalogue_is_an_error_and_no_panic() {
    assert_eq!(find(JobKind::try_from(6512).unwrap()).unwrap_err(), Fault::UnknownKind(6512));
    assert!(find_name("legal-advice").is_err());
    let builder = Builder::new(JobKind::try_from(5999).unwrap()).text("x");
    assert_eq!(
        builder.build(Timestamp::NEVER).unwrap_err().to_string(),
        "job kind 5999 is not in the registry"
    );
}

#[test]
fn no_kind_is_what_is_never_defined() {
    assert!(common().never_defined.len() >= 4);
    for schema in all() {
        let words = format!("{} {}", schema.name, schema.title).to_lowercase();
        for word in ["medic", "diagnos", "legal", "financ", "textbook"] {
            assert!(!words.contains(word), "{}", schema.name);
        }
        // Where a language model answers freely, all regulated fields are closed.
        let uses = &schema.acceptable_use;
        if uses.system_model {
            for field in [
                ProhibitedUse::RegulatedHealthcare,
                ProhibitedUse::RegulatedLegal,
                ProhibitedUse::RegulatedFinancial,
                ProhibitedUse::AcademicTextbook,
            ] {
                assert!(uses.prohibited.contains(&field), "{}", schema.name);
            }
        }
        assert!(!uses.warnings.is_empty(), "{}", schema.name);
    }
}

/// A mistake of each sort in a proposed kind, and what is said of it.
#[test]
fn every_rule_for_a_kind_can_fail() {
    let good = serde_json::to_value(kind(6500)).unwrap();
    let complaints = |change: &dyn Fn(&mut Value)| {
        let mut kind = good.clone();
        change(&mut kind);
        KindSchema::from_json(&kind.to_string())
            .map_or_else(|fault| vec![fault.to_string()], |k| validate(&k))
    };
    assert!(complaints(&|_| {}).is_empty());
    let changes: &[(&str, Value)] = &[
        ("/name", json!("Code Generation")),
        ("/version", json!("1.0")),
        ("/version", json!("01.0.0")),
        ("/kind", json!(5050)),
        ("/kind", json!(7000)),
        ("/origin", json!({ "official": "https://example.com" })),
        ("/category", json!("nonsense")),
        ("/inputs/types", json!([])),
        ("/inputs", json!({ "types": ["text"], "min": 2, "max": 1, "about": "" })),
        ("/outputs/types", json!([])),
        ("/result", json!({ "about": "nothing" })),
        ("/result/json", json!({ "type": "no-such-type" })),
        ("/price/min_msat", json!(1_000_000_000)),
        ("/price/factors", json!([])),
        ("/use/prohibited", json!([])),
        ("/use/prohibited", json!(["jaywalking"])),
        ("/examples", json!([])),
        ("/examples/0/params", json!([["language", "cobol"]])),
        ("/examples/0/params", json!([["language", "rust"], ["colour", "red"]])),
        ("/examples/0/inputs", json!([["text without a type"]])),
        ("/examples/0/result", json!({ "json": { "language": "rust" } })),
        ("/params/0/name", json!("include_tests")),
        ("/params/0/default", json!("rust")),
        ("/params/2/default", json!(7)),
        ("/params/2/type", json!("string")),
        ("/params/1/pattern", json!("(")),
        ("/params/1/minimum", json!(1)),
        ("/params/1/min_items", json!(1)),
        ("/params/0/colour", json!("red")),
    ];
    for (place, value) in changes {
        let found = complaints(&|kind| match kind.pointer_mut(place) {
            Some(part) => *part = value.clone(),
            None => {
                let (parent, name) = place.rsplit_once('/').unwrap();
                kind.pointer_mut(parent).unwrap()[name] = value.clone();
            }
        });
        assert!(!found.is_empty(), "{place} = {value} passed");
    }
}

#[test]
fn an_advertisement_says_what_a_parameter_may_be() {
    let said = kind(6500).nip90_params();
    assert_eq!(said["language"]["required"], true);
    assert_eq!(
        said["language"]["values"],
        json!(["swift", "python", "javascript", "typescript", "rust", "go"])
    );
    assert_eq!(said["include_tests"]["values"], json!(["true", "false"]));
    assert_eq!(said["max_tokens"]["values"], json!([]));
    assert!(said["max_tokens"]["description"].as_str().unwrap().len() > 5);
}

#[test]
fn the_whole_catalogue_is_one_object() {
    let whole = to_json();
    assert_eq!((&whole["version"], &whole["updated"]), (&json!(VERSION), &json!(UPDATED)));
    assert_eq!(whole["kinds"].as_object().unwrap().len(), 33);
    let tokens = &whole["kinds"]["6500"]["params_schema"]["properties"]["max_tokens"];
    assert_eq!(
        (&tokens["default"], &tokens["minimum"], &tokens["maximum"]),
        (&json!(1000), &json!(100), &json!(8000))
    );
    assert_eq!(whole["kinds"]["6500"]["params_schema"]["required"], json!(["language"]));
    assert_eq!(whole["kinds"]["5500"]["result_kind"], 6500);
    assert_eq!(whole["kinds"]["5001"]["result"]["json"]["properties"]["metadata"], common().metadata);
    assert_eq!(to_json().to_string(), whole.to_string(), "the same each time");
}

#[test]
fn a_builder_writes_what_it_was_told_and_nothing_wrong() {
    let provider = ProviderKey::from_bytes([2; 32]);
    let builder = Builder::new(JobKind::SUMMARIZATION)
        .text("a text")
        .event("ab".repeat(32), Some("wss://relay.example".into()))
        .job("cd".repeat(32), None)
        .param("length", "20 words")
        .output("text/plain")
        .bid(Msat::new(1_000))
        .relay("wss://relay.example")
        .encrypted_to(provider);
    let spec = builder.clone().build(Timestamp::from_secs(5)).unwrap();
    assert_eq!((spec.inputs.len(), spec.params.len(), spec.output.len()), (3, 1, 1));
    assert_eq!((spec.bid, spec.encrypt, spec.provider), (Msat::new(1_000), true, Some(provider)));
    assert_eq!(spec.expires_at, Timestamp::from_secs(5));
    assert!(builder.url("https://example.com").build(Timestamp::NEVER).is_ok());
    let planning = Builder::new(JobKind::try_from(6_519).unwrap()).text("a goal");
    assert!(planning.url("https://example.com").build(Timestamp::NEVER).is_err(), "6519 takes no addresses");
}
