//! Checking results: what counts as delivered, and that a customer's schema cannot hurt its reader.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use openagents_registry::{Fault, KindSchema, find};
use openagents_types::{JobInput, JobKind, Param};
use serde_json::{Value, json};

fn kind(number: u16) -> &'static KindSchema {
    find(JobKind::try_from(number).unwrap()).unwrap()
}

fn check_as(number: u16, tags: &[(&str, &str)], output: &str, content: &str) -> Result<(), Fault> {
    let schema = kind(number);
    let input = JobInput { input_type: schema.inputs.types[0], ..JobInput::text("x") };
    let params: Vec<Param> = tags.iter().map(|(name, value)| Param::new(*name, *value)).collect();
    let output: Vec<String> = std::iter::once(output.to_owned()).filter(|mime| !mime.is_empty()).collect();
    schema.check_result(content, &schema.read(&[input], &params, &output)?)
}

fn check(number: u16, content: &str) -> Result<(), Fault> {
    check_as(number, &[], "", content)
}

#[test]
fn a_text_is_not_blank() {
    assert!(check(5001, "A summary.").is_ok());
    for blank in ["", " \n\t"] {
        assert_eq!(check(5001, blank).unwrap_err().to_string(), "the result is not as promised: it is empty");
    }
    assert!(check(5500, "CLEAN").is_ok() && check(5500, "Win.Test.EICAR FOUND").is_ok());
}

#[test]
fn json_is_checked_where_it_was_asked() {
    let json = |content: &str| check_as(5001, &[], "application/json", content);
    assert!(json("{\"summary\":\"Short.\"}").is_ok());
    assert!(json("Short.").is_err());
    assert!(json("{\"length\":3}").is_err());
    let wrong = json("{\"summary\":\"x\",\"summary_length\":\"long\"}").unwrap_err();
    assert!(matches!(&wrong, Fault::Result { path, .. } if path == "/summary_length"), "{wrong}");
    assert!(json("{\"summary\":\"x\",\"metadata\":{\"latency_ms\":-1}}").is_err());
}

#[test]
fn a_reported_failure_is_no_result() {
    let content = json!({ "error": { "code": "timeout", "message": "the model took too long" } }).to_string();
    let fault = check_as(6500, &[("language", "rust")], "", &content).unwrap_err();
    assert_eq!(fault.to_string(), "the result reports a failure: timeout: the model took too long");
}

#[test]
fn lists_of_tags_come_in_three_forms() {
    let id = "ab".repeat(32);
    let tag = format!("[\"e\",\"{id}\"]");
    for content in [
        format!("[{tag},{tag}]"),
        format!("{tag},{tag}"),
        format!("{tag},\n{tag},"),
        tag.clone(),
        "nostr:note1qqqq\nnostr:nevent1pppp".to_owned(),
        "npub1qqqq".to_owned(),
        "[]".to_owned(),
        String::new(),
    ] {
        // Without its outer brackets one tag reads as a list of texts, so both readings are tried.
        assert_eq!(check(5302, &content), Ok(()), "{content}");
    }
    for content in ["nothing found", "[[\"p\",\"x\"]]", "[[\"e\"]]", "{\"e\":1}", "[1]", "note1 or so"] {
        assert!(check(5302, content).is_err(), "{content}");
    }
    assert!(check(5303, &format!("[[\"p\",\"{id}\"]]")).is_ok());
}

#[test]
fn links_ids_and_counts_have_their_form() {
    for content in
        ["https://example.com/a.png", "https://a.example/1\nhttps://a.example/2", "[\"https://a.example\"]"]
    {
        assert_eq!(check(5100, content), Ok(()), "{content}");
    }
    for content in ["here is your picture", "https://", "[]", "javascript:alert(1)"] {
        assert!(check(5100, content).is_err(), "{content}");
    }
    assert!(check(5901, &"ab".repeat(32)).is_ok());
    assert!(check(5901, "soon").is_err());
    assert!(check(5400, "17").is_ok() && check(5400, "{\"+\":3}").is_ok());
    assert!(check(5400, "-1").is_err() && check(5400, "many").is_err());
}

#[test]
fn work_is_counted_in_bits() {
    let event = |id: &str| {
        json!({ "id": id, "pubkey": "ab".repeat(32), "created_at": 1, "kind": 1, "tags": [], "content": "" })
            .to_string()
    };
    let check = |bits: &str, id: &str| check_as(5970, &[("pow", bits)], "", &event(id));
    let id = format!("0001{}", "f".repeat(60));
    assert!(check("15", &id).is_ok());
    assert!(check("16", &id).is_err());
    assert!(check("64", &"0".repeat(64)).is_ok());
    assert!(check("1", &"f".repeat(64)).is_err());
}

fn extract(schema: &Value, content: &str) -> Result<(), Fault> {
    check_as(6509, &[("schema", &schema.to_string())], "", content)
}

#[test]
fn a_result_fits_the_customers_own_schema() {
    let schema = json!({
        "$defs": { "name": { "type": "string", "pattern": "^[A-Z]" } },
        "type": "object", "properties": { "who": { "$ref": "#/$defs/name" } }, "required": ["who"],
    });
    assert_eq!(extract(&schema, "{\"who\":\"Ada\"}"), Ok(()));
    assert!(
        matches!(extract(&schema, "{\"who\":\"ada\"}"), Err(Fault::Result { path, .. }) if path == "/who")
    );
    assert!(extract(&schema, "{}").is_err());
    assert!(extract(&schema, "Ada").is_err());
}

#[test]
fn a_customers_schema_cannot_hurt_its_reader() {
    let laughs: Value = (0..40)
        .map(|n| {
            let next = json!({ "$ref": format!("#/$defs/d{}", n + 1) });
            (format!("d{n}"), json!({ "allOf": [next, next] }))
        })
        .chain([("d40".to_owned(), json!({ "type": "integer" }))])
        .collect::<serde_json::Map<_, _>>()
        .into();
    let wide: Value = (0..5)
        .map(|n| {
            let next = json!({ "$ref": format!("#/$defs/d{}", n + 1) });
            (format!("d{n}"), json!({ "allOf": vec![next; 6] }))
        })
        .chain([("d5".to_owned(), json!(true))])
        .collect::<serde_json::Map<_, _>>()
        .into();
    let deep = (0..40).fold(json!(true), |inner, _| json!({ "not": inner }));
    let hostile = [
        (json!({ "$ref": "#/$defs/d0", "$defs": laughs }), "nests deeper"),
        (json!({ "$ref": "#/$defs/d0", "$defs": wide }), "parts"),
        (
            json!({ "$ref": "#/$defs/a", "$defs": { "a": { "items": { "$ref": "#/$defs/a" } } } }),
            "back to itself",
        ),
        (json!({ "$ref": "#" }), "not a part"),
        (json!({ "$ref": "https://example.com/schema" }), "not a part"),
        (json!({ "$ref": "file:///etc/passwd" }), "not a part"),
        (json!({ "$ref": 7 }), "not a text"),
        (json!({ "$id": "https://example.com/" }), "not used here"),
        (json!({ "$dynamicRef": "#x" }), "not used here"),
        (json!({ "pattern": "(a{1000}){1000}" }), "regex"),
        (json!({ "pattern": "(a+)+(?=b)" }), "regex"),
        (json!({ "type": "colour" }), "not valid"),
        (deep, "nests deeper"),
    ];
    for (schema, why) in hostile {
        let fault = extract(&schema, "1").unwrap_err();
        assert!(matches!(&fault, Fault::Schema { .. }), "{schema}: {fault}");
        assert!(fault.to_string().contains(why), "{fault} does not say {why:?}");
    }
    let long = json!({ "description": "x".repeat(20_000) });
    assert!(matches!(extract(&long, "1"), Err(Fault::TooLong { .. })));
}

/// A pattern that is exponential for backtracking engines.
#[test]
fn patterns_of_customers_take_linear_time() {
    let schema = json!({ "type": "string", "pattern": "^(a+)+$" });
    let text = json!(format!("{}b", "a".repeat(50_000))).to_string();
    assert!(matches!(extract(&schema, &text), Err(Fault::Result { .. })));
}

#[test]
fn a_result_that_no_relay_carries_is_not_looked_at() {
    assert!(check(5001, &"x".repeat((1 << 20) + 1)).is_err());
    assert!(check_as(6509, &[("schema", "{}")], "", &"[".repeat(100_000)).is_err(), "depth is bounded too");
}
