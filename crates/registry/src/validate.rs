//! What every kind must be, whoever wrote it: the catalogue's own tests and those who propose a kind ask
//! the same function.

use openagents_types::Timestamp;
use regex::Regex;

use crate::{
    Example, Extra, Fault, KindSchema, Origin, ParamSpec, ParamType, TextForm, common, fault::short, schema,
};

/// The fewest examples: one shows a job, the second that it can be asked otherwise.
const FEWEST_EXAMPLES: usize = 2;

/// What is wrong with a kind, a sentence each; empty if nothing is. Its examples are read and their
/// results checked.
pub fn validate(kind: &KindSchema) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut claim = |holds: bool, complaint: &str| {
        if !holds {
            complaints.push(complaint.to_owned());
        }
    };
    claim(is_name(&kind.name, '-'), "name: lower-case words with hyphens");
    claim(!kind.title.is_empty() && !kind.about.is_empty(), "title and about: not empty");
    claim(is_semver(&kind.version), "version: three numbers with points");
    claim(kind.kind.is_custom() != kind.is_official(), "origin: custom means 6500-6599, official 5000-5999");
    let page = match &kind.origin {
        Origin::Official(page) => page.starts_with("https://"),
        Origin::Custom => true,
    };
    claim(page, "origin: the address of the page that defines it");
    claim(!kind.inputs.types.is_empty(), "inputs: at least one type");
    claim(kind.inputs.max.is_none_or(|max| kind.inputs.min <= max), "inputs: min is at most max");
    claim(!kind.outputs.types.is_empty(), "outputs: at least one MIME type");
    claim(kind.result.text.is_some() || kind.result.json.is_some(), "result: a textual form or a schema");
    claim(kind.price.min_msat <= kind.price.max_msat, "price: min_msat is at most max_msat");
    claim(!kind.price.factors.is_empty(), "price: what moves it");
    claim(!kind.acceptable_use.prohibited.is_empty(), "use: what it must not be used for");
    claim(kind.examples.len() >= FEWEST_EXAMPLES, "examples: at least two");
    let needs_schema = kind.result.extra == Some(Extra::CustomerSchema);
    claim(!needs_schema || kind.param(schema::PARAM).is_some(), "result: its extra needs a parameter schema");
    claim(!tags_without_names(kind), "result: tags have names");
    complaints.extend(kind.compiled().err().map(|fault| format!("result: {fault}")));
    complaints.extend(params(kind));
    for (index, example) in kind.examples.iter().enumerate() {
        complaints.extend(check(kind, example).err().map(|fault| format!("example {}: {fault}", index + 1)));
    }
    complaints
}

fn tags_without_names(kind: &KindSchema) -> bool {
    matches!(&kind.result.text, Some(TextForm::Tags { names }) if names.is_empty())
}

fn params(kind: &KindSchema) -> Vec<String> {
    let mut complaints = Vec::new();
    for (index, spec) in kind.params.iter().enumerate() {
        let names = std::iter::once(&spec.name).chain(&spec.aliases);
        let taken = |name: &str| kind.params[..index].iter().any(|earlier| earlier.is_called(name));
        complaints.extend(
            names
                .filter(|name| taken(name))
                .map(|name| format!("parameter {name:?}: another is called so too")),
        );
        complaints.extend(param(spec).into_iter().map(|why| format!("parameter {:?}: {why}", spec.name)));
    }
    complaints
}

fn param(spec: &ParamSpec) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut claim = |holds: bool, complaint: &str| {
        if !holds {
            complaints.push(complaint.to_owned());
        }
    };
    let numeric = matches!(spec.value_type, ParamType::Integer | ParamType::Number | ParamType::Array);
    let array = spec.value_type == ParamType::Array;
    let shared = common().params.iter().find(|shared| shared.name == spec.name);
    claim(is_name(&spec.name, '_'), "lower-case words with underscores");
    claim(!spec.about.is_empty(), "says what it does");
    claim(!(spec.required && spec.default.is_some()), "what is required needs no default");
    claim(numeric || spec.minimum.is_none() && spec.maximum.is_none(), "only numbers have bounds");
    claim(array || spec.items.is_none() && spec.wire.is_none(), "only arrays have items");
    claim(array || spec.min_items.is_none() && spec.max_items.is_none(), "only arrays have items");
    claim(spec.pattern.as_ref().is_none_or(|pattern| Regex::new(pattern).is_ok()), "its pattern is one");
    claim(shared.is_none_or(|shared| shared.value_type == spec.value_type), "its name has another type");
    if let Some(default) = &spec.default {
        let written = spec.write(default);
        let read = spec.read(&written.iter().collect::<Vec<_>>());
        claim(read.as_ref() == Ok(&Some(default.clone())), "its default is a value it may have");
    }
    complaints
}

fn check(kind: &KindSchema, example: &Example) -> Result<(), Fault> {
    let params = kind.read_spec(&example.spec(kind.kind, Timestamp::NEVER)?)?;
    if let Some(unknown) = params.unknown().first() {
        return Err(Fault::NotAKind(format!("it has a parameter {:?}, unknown here", short(&unknown.name))));
    }
    kind.check_result(&example.content(), &params)
}

/// Lower-case words, joined.
fn is_name(name: &str, joint: char) -> bool {
    let word =
        |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    name.split(joint).all(word)
}

/// Three numbers without leading zeros.
fn is_semver(version: &str) -> bool {
    let number = |part: &str| part.parse::<u32>().is_ok_and(|number| number.to_string() == part);
    version.split('.').count() == 3 && version.split('.').all(number)
}
