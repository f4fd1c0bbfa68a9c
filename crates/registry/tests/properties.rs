//! For any request at all: reading never panics, and never lets through what the kind forbids. What is
//! allowed is decided here once more, plainly, from the files' own words.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use openagents_registry::{ParamSpec, ParamType, all};
use openagents_types::{InputType, JobInput, Param};
use proptest::prelude::*;
use regex::Regex;
use serde_json::Value;

/// The plain reading of a specification.
fn allowed(spec: &ParamSpec, value: &Value) -> bool {
    let items = match (spec.value_type, value) {
        (ParamType::Array, Value::Array(items)) => {
            let enough = spec.min_items.is_none_or(|min| items.len() >= min);
            if !enough || items.len() > spec.max_items.unwrap_or(64) {
                return false;
            }
            items.iter().collect()
        }
        (ParamType::String, Value::String(_)) | (ParamType::Boolean, Value::Bool(_)) => vec![value],
        (ParamType::Object, Value::Object(_)) => vec![value],
        (ParamType::Integer, Value::Number(number)) if number.is_i64() => vec![value],
        (ParamType::Number, Value::Number(_)) => vec![value],
        _ => return false,
    };
    items.into_iter().all(|item| scalar(spec, item))
}

fn scalar(spec: &ParamSpec, item: &Value) -> bool {
    if let Some(number) = item.as_f64() {
        return spec.minimum.is_none_or(|min| number >= min) && spec.maximum.is_none_or(|max| number <= max);
    }
    let Some(text) = item.as_str() else { return true };
    (spec.one_of.is_empty() || spec.one_of.iter().any(|word| word == text))
        && spec.pattern.as_ref().is_none_or(|pattern| Regex::new(pattern).unwrap().is_match(text))
        && text.len() <= spec.max_bytes.unwrap_or(4 << 10)
}

/// Values that are nearly right.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        "\\PC{0,12}",
        "-?[0-9_]{1,12}",
        "-?[0-9]{1,4}\\.[0-9]{0,3}(e-?[0-9]{1,3})?",
        "true|false|1|0|yes|no|inf|NaN",
        "[a-z]{2}(-[A-Z]{2})?",
        "[0-9a-f]{64}|npub1[a-z0-9]{58}",
        "[0-9]{1,2}:[0-9]{2}|[0-9]{3,4}[x:][0-9]{3,4}",
        "\\[\\[\"p\",\"[0-9a-f]{64}\"\\]\\]|\\[\"[a-z]{1,8}\",[0-9]\\]|\\{\"type\":\"[a-z]{1,7}\"\\}",
        "rust|Python|go|bugs,style|raw|16:9|hybrid|wss://[a-z]{1,9}\\.example",
    ]
}

/// A kind's place in the table, and parameters of which most are its own.
fn request() -> impl Strategy<Value = (usize, Vec<Param>)> {
    (0..all().len()).prop_flat_map(|index| {
        let kind = &all()[index];
        let names: Vec<String> = kind
            .params
            .iter()
            .flat_map(|spec| spec.aliases.iter().chain([&spec.name]).cloned())
            .chain(["prompt".to_owned(), "mood".to_owned()])
            .collect();
        let param = (prop::sample::select(names), prop::collection::vec(value(), 0..4));
        let param = param.prop_map(|(name, values)| Param { name, values });
        (Just(index), prop::collection::vec(param, 0..6))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn what_is_read_is_what_the_kind_allows((index, params) in request(), wish in "(text|image)/[a-z*]{1,8}") {
        let kind = &all()[index];
        let input = [JobInput { input_type: kind.inputs.types[0], ..JobInput::text("x") }];
        let Ok(read) = kind.read(&input, &params, &[]) else {
            let _ = kind.read(&[], &params, &[wish]);
            return Ok(());
        };
        for spec in &kind.params {
            match read.get(&spec.name) {
                Some(value) => prop_assert!(allowed(spec, value), "{} {} = {value}", kind.name, spec.name),
                None => prop_assert!(!spec.required && spec.default.is_none()),
            }
        }
        // What is written again says the same, and nothing of it is unknown.
        let again = kind.read(&input, &read.to_params(), &[]).unwrap();
        prop_assert_eq!(again.to_params(), read.to_params());
        prop_assert_eq!(again.unknown().len(), 0);
        let known = params.iter().filter(|param| kind.param(&param.name).is_some() || param.name == "prompt");
        prop_assert!(read.unknown().len() + known.count() >= params.len());
    }

    #[test]
    fn no_result_makes_the_check_panic(
        index in 0..all().len(),
        content in prop_oneof![
            "\\PC{0,60}",
            "\\[\\[\"[epa]\",\"[0-9a-f]{0,64}\"\\],?\\]?",
            "\\{\"(error|code|id|labels|steps|summary)\":(\"[0-9a-f]{0,8}\"|\\[\\]|[0-9]|\\{\\})\\}",
        ],
    ) {
        let kind = &all()[index];
        let spec = kind.examples[0].spec(kind.kind, openagents_types::Timestamp::NEVER).unwrap();
        let _ = kind.check_result(&content, &kind.read_spec(&spec).unwrap());
    }

    #[test]
    fn no_input_makes_reading_panic(index in 0..all().len(), data in "\\PC{0,20}", count in 0_usize..4) {
        let types = [InputType::Text, InputType::Url, InputType::Event, InputType::Job];
        let inputs: Vec<JobInput> = types[..count]
            .iter()
            .map(|input_type| JobInput { input_type: *input_type, ..JobInput::text(&*data) })
            .collect();
        let kind = &all()[index];
        if kind.read(&inputs, &[], &[]).is_ok() {
            prop_assert!(inputs.iter().all(|input| kind.inputs.types.contains(&input.input_type)));
            prop_assert!(inputs.len() >= kind.inputs.min);
            prop_assert!(kind.inputs.max.is_none_or(|max| inputs.len() <= max));
        }
    }
}
