//! Requests and results of every kind in the catalogue: what is taken stays taken, reads the same again, and
//! nothing that anybody writes makes a reader panic.
#![no_main]

use libfuzzer_sys::{
    arbitrary::{Arbitrary, Result, Unstructured},
    fuzz_target,
};
use openagents_registry::{KindSchema, all};
use openagents_types::{InputType, JobInput, Param};

#[derive(Debug)]
struct Case {
    schema: &'static KindSchema,
    inputs: Vec<JobInput>,
    params: Vec<Param>,
    output: Vec<String>,
    result: String,
}

/// Values that some schema takes, or nearly.
const VALUES: [&str; 16] = [
    "",
    "0",
    "1",
    "-1",
    "1.5",
    "1e9",
    "true",
    "yes",
    "en",
    "100 words",
    "1024x768",
    "null",
    "[]",
    "{}",
    "a,b",
    "é",
];

fn value(u: &mut Unstructured<'_>) -> Result<String> {
    if u.ratio(2, 3)? { Ok((*u.choose(&VALUES)?).to_owned()) } else { u.arbitrary() }
}

fn param(u: &mut Unstructured<'_>, schema: &KindSchema) -> Result<Param> {
    let name = match schema.params.as_slice() {
        known if !known.is_empty() && u.ratio(4, 5)? => u.choose(known)?.name.clone(),
        _ => value(u)?,
    };
    let count = u.int_in_range(0..=3)?;
    let values = (0..count).map(|_| value(u)).collect::<Result<_>>()?;
    Ok(Param { name, values })
}

fn input(u: &mut Unstructured<'_>) -> Result<JobInput> {
    let input_type = *u.choose(&[InputType::Text, InputType::Url, InputType::Event, InputType::Job])?;
    Ok(JobInput { data: value(u)?, input_type, relay: u.arbitrary()?, marker: u.arbitrary()? })
}

/// A result as the examples have it, changed in one place, or anything.
fn result(u: &mut Unstructured<'_>, schema: &KindSchema) -> Result<String> {
    let examples: Vec<String> = schema.examples.iter().map(|example| example.content()).collect();
    if examples.is_empty() || u.ratio(1, 4)? {
        return u.arbitrary();
    }
    let mut text: Vec<char> = u.choose(&examples)?.chars().collect();
    if let Some(place) = (!text.is_empty()).then(|| u.choose_index(text.len())).transpose()? {
        text[place] = u.arbitrary()?;
    }
    Ok(text.into_iter().collect())
}

impl<'a> Arbitrary<'a> for Case {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let schema = u.choose(all())?;
        let (inputs, params) = (u.int_in_range(0..=3)?, u.int_in_range(0..=6)?);
        Ok(Self {
            schema,
            inputs: (0..inputs).map(|_| input(u)).collect::<Result<_>>()?,
            params: (0..params).map(|_| param(u, schema)).collect::<Result<_>>()?,
            output: u.arbitrary()?,
            result: result(u, schema)?,
        })
    }
}

fuzz_target!(|case: Case| {
    let Case { schema, inputs, params, output, result } = case;
    let read = match schema.read(&inputs, &params, &output) {
        Ok(read) => read,
        Err(fault) => return assert!(!fault.to_string().is_empty()),
    };
    let clean = read.to_params();
    let again = schema.read(&inputs, &clean, &output).expect("what was taken is taken in its own spelling");
    assert_eq!(again.to_params(), clean, "{params:?}");
    let verdicts = [&read, &again].map(|params| schema.check_result(&result, params).is_ok());
    assert_eq!(verdicts[0], verdicts[1], "{result:?}");
});
