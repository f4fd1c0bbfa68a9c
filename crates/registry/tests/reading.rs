//! Reading requests: what is accepted, as what, and what is said to a customer who is refused.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use openagents_registry::{Fault, JobParams, KindSchema, all, find};
use openagents_types::{InputType, JobInput, JobKind, Param};
use serde_json::json;

fn kind(number: u16) -> &'static KindSchema {
    find(JobKind::try_from(number).unwrap()).unwrap()
}

fn params(tags: &[&[&str]]) -> Vec<Param> {
    let param = |tag: &&[&str]| Param {
        name: tag[0].into(),
        values: tag[1..].iter().map(|value| (*value).to_owned()).collect(),
    };
    tags.iter().map(param).collect()
}

fn read(number: u16, tags: &[&[&str]]) -> Result<JobParams, Fault> {
    let schema = kind(number);
    let input = JobInput { input_type: schema.inputs.types[0], ..JobInput::text("https://example.com/a") };
    schema.read(&[input], &params(tags), &[])
}

fn says(number: u16, tags: &[&[&str]]) -> String {
    read(number, tags).unwrap_err().to_string()
}

#[test]
fn texts_become_values_before_they_are_checked() {
    let read = |text: &str| read(6500, &[&["language", "rust"], &["max_tokens", text]]);
    for text in ["512", " 512 ", "5_12", "512.0", "+512", "5.12e2"] {
        assert_eq!(read(text).unwrap().u64("max_tokens"), Some(512), "{text}");
    }
    for text in ["1_", "_1", "1__0", "0x200", "512.5", "many", "1e400", "NaN", "∞"] {
        assert!(matches!(read(text), Err(Fault::Type { .. })), "{text}");
    }
    for text in ["99", "8001", "-512", "9000000000"] {
        assert!(matches!(read(text), Err(Fault::Range { .. })), "{text}");
    }
    assert_eq!(read("").unwrap().u64("max_tokens"), Some(1_000), "an empty value is no value");
}

#[test]
fn yes_is_true_and_maybe_is_an_error() {
    let read = |text: &str| {
        read(6500, &[&["language", "rust"], &["include_tests", text]]).map(|p| p.bool("include_tests"))
    };
    for text in ["true", "TRUE", "1", "yes"] {
        assert_eq!(read(text), Ok(Some(true)));
    }
    for text in ["false", "0", "No"] {
        assert_eq!(read(text), Ok(Some(false)));
    }
    assert!(matches!(read("maybe"), Err(Fault::Type { .. })));
}

#[test]
fn numbers_are_finite_and_within_their_bounds() {
    let read = |text: &str| read(5050, &[&["temperature", text]]).map(|params| params.f64("temperature"));
    assert_eq!(read("0.7"), Ok(Some(0.7)));
    assert_eq!(read("1e-1"), Ok(Some(0.1)));
    assert!(matches!(read("2.1"), Err(Fault::Range { .. })));
    for text in ["inf", "nan", "infinity", "0,7", "warm"] {
        assert!(matches!(read(text), Err(Fault::Type { .. })), "{text}");
    }
}

#[test]
fn defaults_are_filled_in_and_known_as_such() {
    let read = read(6500, &[&["language", "RUST"]]).unwrap();
    assert_eq!(read.str("language"), Some("rust"), "a word of a list has one spelling");
    assert_eq!((read.u64("max_tokens"), read.bool("include_tests")), (Some(1_000), Some(false)));
    assert!(read.was_given("language") && !read.was_given("max_tokens"));
    assert_eq!(read.get("context"), None);
    let written = params(&[&["language", "rust"], &["max_tokens", "1000"], &["include_tests", "false"]]);
    assert_eq!(read.to_params(), written);
}

#[test]
fn a_refusal_names_the_parameter_and_what_was_expected() {
    assert_eq!(says(6500, &[]), "parameter \"language\" is missing; it is required");
    assert_eq!(
        says(6500, &[&["language", "cobol"]]),
        "parameter \"language\" is \"cobol\", expected one of swift, python, javascript, typescript, rust, go"
    );
    assert_eq!(
        says(6500, &[&["language", "go"], &["max_tokens", "9"]]),
        "parameter \"max_tokens\" is 9, expected 100 to 8000"
    );
    assert_eq!(
        says(6500, &[&["language", "go"], &["max_tokens", "many"]]),
        "parameter \"max_tokens\" is \"many\", expected a whole number"
    );
    assert_eq!(
        says(5002, &[&["language", "Spanish!"]]),
        "parameter \"language\" is \"Spanish!\", expected something like \"es\""
    );
    assert_eq!(says(5000, &[&["range", "1"]]), "parameter \"range\" has 1 values, expected exactly 2");
    let long = "x".repeat(100);
    assert_eq!(says(5001, &[&["length", &long]]), "parameter \"length\" has 100 bytes, at most 64 are taken");
}

#[test]
fn every_alias_and_every_spelling_of_a_name_is_understood() {
    let mut tried = 0;
    for schema in all() {
        for example in &schema.examples {
            let spec = example.spec(schema.kind, openagents_types::Timestamp::NEVER).unwrap();
            let plain = schema.read_spec(&spec).unwrap();
            for param in &schema.params {
                let others = [param.name.replace('_', "-"), param.name.to_uppercase()];
                for name in param.aliases.iter().chain(&others) {
                    let mut renamed = spec.clone();
                    for given in renamed.params.iter_mut().filter(|given| param.is_called(&given.name)) {
                        given.name.clone_from(name);
                    }
                    assert_eq!(schema.read_spec(&renamed).as_ref(), Ok(&plain), "{} {name}", schema.name);
                    tried += 1;
                }
            }
        }
    }
    assert!(tried > 500, "{tried}");
    let aliases: Vec<_> = all().iter().flat_map(|kind| &kind.params).flat_map(|p| &p.aliases).collect();
    assert!(aliases.iter().any(|alias| *alias == "user"));
}

#[test]
fn spellings_of_peers_are_understood() {
    for tags in
        [&["size", "1024x768"][..], &["size", "1024:768"], &["size", "1024", "768"], &["size", "1024X768"]]
    {
        assert_eq!(read(5100, &[tags]).unwrap().str("size"), Some("1024x768"));
    }
    assert!(read(5100, &[&["size", "large"]]).is_err());
    let read_5050 = read(5050, &[&["top-k", "40"], &["top-p", "0.9"]]).unwrap();
    assert_eq!((read_5050.u64("top_k"), read_5050.f64("top_p")), (Some(40), Some(0.9)));
    let key = "ab".repeat(32);
    assert_eq!(read(5300, &[&["user", &key]]).unwrap().str("p"), Some(&*key));
    let users = format!("[[\"p\",\"{key}\"]]");
    let read_5302 = read(5302, &[&["users", &users]]).unwrap();
    assert_eq!(read_5302.list("users"), [&key]);
    assert_eq!(read_5302.to_params()[0], Param::new("users", users), "and is written as peers read it");
    let relays = read(5400, &[&["relay", "wss://a.example"], &["relay", "wss://b.example"]]).unwrap();
    assert_eq!(relays.list("relay"), ["wss://a.example", "wss://b.example"]);
    assert_eq!(relays.to_params().len(), 2);
    let range = read(5000, &[&["range", "0:30", "1:02:03.5"]]).unwrap();
    assert_eq!(range.list("range"), ["0:30", "1:02:03.5"]);
    for tags in
        [&["focus", "style", "bugs"][..], &["focus", "style, bugs"], &["focus", "[\"style\",\"bugs\"]"]]
    {
        assert_eq!(read(6501, &[tags]).unwrap().list("focus"), ["style", "bugs"]);
    }
    assert!(matches!(read(6501, &[&["focus", "style,beauty"]]), Err(Fault::NotOneOf { .. })));
    assert!(matches!(read(6501, &[&["focus", "[1"]]), Err(Fault::Type { .. })));
}

#[test]
fn the_first_of_two_counts() {
    let read =
        read(5050, &[&["max_tokens", "5"], &["max-tokens", "6"], &["max_tokens", "nonsense"]]).unwrap();
    assert_eq!(read.u64("max_tokens"), Some(5));
}

#[test]
fn what_is_unknown_is_kept_apart_and_bounded() {
    let read = |tags: &[&[&str]]| read(5001, tags);
    let kept = read(&[&["mood", "calm", "kind"], &["length", "9 words"]]).unwrap();
    assert_eq!(kept.unknown(), params(&[&["mood", "calm", "kind"]]));
    let long = "x".repeat(5_000);
    assert!(matches!(read(&[&["mood", &long]]), Err(Fault::TooLong { .. })));
    let many = vec![&["mood", "calm"][..]; 101];
    assert!(matches!(read(&many), Err(Fault::TooManyParams { count: 101, most: 100 })));
}

#[test]
fn a_prompt_among_the_parameters_is_an_input() {
    let schema = kind(5050);
    let read = schema.read(&[], &params(&[&["prompt", "Hi"]]), &[]).unwrap();
    assert_eq!((read.prompt(), read.unknown()), (Some(&JobInput::text("Hi")), &[][..]));
    let both = schema.read(&[JobInput::text("Hello")], &params(&[&["prompt", "Hi"]]), &[]).unwrap();
    assert_eq!((both.prompt(), both.unknown()), (None, &[][..]));
    assert!(matches!(schema.read(&[], &[], &[]), Err(Fault::Inputs { count: 0, .. })));
    let url_only = kind(5500).read(&[], &params(&[&["prompt", "Hi"]]), &[]);
    assert!(matches!(url_only, Err(Fault::Inputs { .. })));
}

#[test]
fn inputs_are_of_the_types_and_number_that_the_kind_takes() {
    let input = |input_type| JobInput { input_type, ..JobInput::text("x") };
    let fault = kind(5500).read(&[input(InputType::Text)], &[], &[]).unwrap_err();
    assert_eq!(fault.to_string(), "an input of type text is not taken; send url");
    let fault = kind(5500).read(&[input(InputType::Url), input(InputType::Url)], &[], &[]).unwrap_err();
    assert_eq!(fault.to_string(), "the request has 2 inputs, expected exactly 1");
    assert!(kind(5300).read(&[], &[], &[]).is_ok(), "discovery needs no input");
}

#[test]
fn the_output_is_the_first_wish_that_is_made() {
    let choose = |number: u16, wishes: &[&str]| {
        let schema = kind(number);
        let input = JobInput { input_type: schema.inputs.types[0], ..JobInput::text("x") };
        let wishes: Vec<String> = wishes.iter().map(|wish| (*wish).to_owned()).collect();
        let read = schema.read(&[input], &[], &wishes)?;
        Ok(read.output().unwrap().to_owned())
    };
    assert_eq!(choose(5001, &[]), Ok("text/plain".into()));
    assert_eq!(choose(5001, &["audio/wav", "text/markdown"]), Ok("text/markdown".into()));
    assert_eq!(choose(5001, &["text/json"]), Ok("application/json".into()));
    assert_eq!(choose(5100, &["image/png;format=url"]), Ok("image/png".into()));
    assert_eq!(choose(5100, &["image/*"]), Ok("image/png".into()));
    assert_eq!(choose(5200, &["video/webm"]), Ok("video/webm".into()), "open: a provider may make others");
    let fault: Fault = choose(5001, &["audio/wav"]).unwrap_err();
    assert_eq!(
        fault.to_string(),
        "output audio/wav is not made; ask for text/plain or text/markdown or application/json"
    );
}

#[test]
fn objects_are_json_and_lists_of_them_too() {
    let tools = "[{\"name\":\"a\"},{\"name\":\"b\"}]";
    let tools = read(6510, &[&["tools", tools]]).unwrap();
    assert_eq!(tools.get("tools"), Some(&json!([{ "name": "a" }, { "name": "b" }])));
    assert!(matches!(read(6510, &[&["tools", "[1]"]]), Err(Fault::Type { .. })));
    assert!(matches!(read(6509, &[&["schema", "[]"]]), Err(Fault::Type { .. })));
}
