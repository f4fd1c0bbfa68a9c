//! A kind as a page for people.

use std::fmt::Write as _;

use openagents_registry::{Extra, KindSchema, Origin, ParamSpec, ParamType, Spelling, TextForm, Wire};
use serde_json::Value;

use super::events::Exchange;

/// The page of a kind.
pub(super) fn of(schema: &KindSchema, examples: &[Exchange]) -> String {
    let mut page = format!("# {}: {}\n\n{}\n\n", schema.kind, schema.title, schema.about);
    // Writing to a text cannot fail.
    let _ = writeln!(page, "{}", facts(schema));
    let _ = writeln!(page, "## Inputs\n\n{}\n", inputs(schema));
    let _ = writeln!(page, "## Parameters\n\n{}\n", params(schema));
    let _ = writeln!(page, "## Result\n\n{}\n", result(schema));
    let _ = writeln!(page, "## Use\n\n{}\n", acceptable_use(schema));
    let _ = writeln!(page, "## Examples\n");
    for (example, events) in schema.examples.iter().zip(examples) {
        let _ = writeln!(page, "{}:\n\n{}\n{}", example.about, block(&events.request), block(&events.result));
    }
    format!("{}\n[All kinds](README.md)\n", page.trim_end_matches('\n').to_owned() + "\n")
}

fn facts(schema: &KindSchema) -> String {
    let origin = match &schema.origin {
        Origin::Official(page) => format!("[official]({page})"),
        Origin::Custom => "of this market".to_owned(),
    };
    let price = &schema.price;
    format!(
        "| name | category | request | result | version | defined by | usual price |\n|--|--|--|--|--|--|--|\n\
         | `{}` | {} | {} | {} | {} | {origin} | {} to {}, by {} |\n",
        schema.name,
        schema.category.word(),
        schema.kind,
        schema.kind.result(),
        schema.version,
        price.min_msat,
        price.max_msat,
        price.factors.join(", ")
    )
}

fn inputs(schema: &KindSchema) -> String {
    let inputs = &schema.inputs;
    let types: Vec<String> = inputs
        .types
        .iter()
        .filter_map(|kind| Some(format!("`{}`", serde_json::to_value(kind).ok()?.as_str()?)))
        .collect();
    let number = match (inputs.min, inputs.max) {
        (min, Some(max)) if min == max => format!("exactly {min}"),
        (min, Some(max)) => format!("{min} to {max}"),
        (0, None) => "any number, also none".to_owned(),
        (min, None) => format!("at least {min}"),
    };
    format!("{number}, of type {}. {}", types.join(", "), inputs.about)
}

fn params(schema: &KindSchema) -> String {
    if schema.params.is_empty() {
        return "None.".to_owned();
    }
    let head = "| name | type | default | values | what it does |\n|--|--|--|--|--|";
    let rows = schema.params.iter().map(row);
    std::iter::once(head.to_owned()).chain(rows).collect::<Vec<_>>().join("\n")
}

fn row(spec: &ParamSpec) -> String {
    let mut name = format!("`{}`", spec.name);
    if !spec.aliases.is_empty() {
        let _ = write!(name, ", also `{}`", spec.aliases.join("`, `"));
    }
    let default = match &spec.default {
        _ if spec.required => "**required**".to_owned(),
        Some(value) => format!("`{}`", value.as_str().map_or_else(|| value.to_string(), str::to_owned)),
        None => String::new(),
    };
    format!("| {name} | {} | {default} | {} | {} |", type_words(spec), cell(&values(spec)), spec.about)
}

fn type_words(spec: &ParamSpec) -> String {
    if spec.value_type != ParamType::Array {
        return spec.value_type.word().to_owned();
    }
    let travels = match spec.wire() {
        Wire::Values => "values of one tag",
        Wire::Tags => "one tag each",
        Wire::Json => "JSON in one value",
        Wire::KeyTags => "JSON list of `p` tags",
    };
    format!("array ({travels})")
}

fn values(spec: &ParamSpec) -> String {
    let mut words = Vec::new();
    if !spec.one_of.is_empty() {
        words.push(format!("`{}`", spec.one_of.join("`, `")));
    }
    words.extend(spec.bounds());
    words.extend(spec.pattern.as_ref().map(|pattern| format!("matches `{pattern}`")));
    words.extend(spec.example.as_ref().map(|example| format!("such as `{example}`")));
    words.extend(match spec.spelling {
        Some(Spelling::Size) => Some("also `1024:768` or two values".to_owned()),
        Some(Spelling::Commas) => Some("also with commas in one value".to_owned()),
        None => None,
    });
    words.join("; ")
}

/// A bar would end the cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn result(schema: &KindSchema) -> String {
    let result = &schema.result;
    let mut text = format!("MIME types: `{}`", schema.outputs.types.join("`, `"));
    text.push_str(if schema.outputs.open { ", and what a provider makes besides" } else { "" });
    let _ = write!(text, ". The first is made when none is asked for. The content is {}.", result.about);
    match &result.text {
        None => {}
        Some(TextForm::Plain) => text.push_str(" As text: not blank."),
        Some(TextForm::Pattern { pattern }) => {
            let _ = write!(text, " It matches `{pattern}`.");
        }
        Some(TextForm::Links) => text.push_str(" One address a line."),
        Some(TextForm::Tags { names }) => {
            let _ = write!(
                text,
                " A JSON array of `{}` tags; read besides: the same without its outer brackets, and lines \
                 such as `nostr:note1…`.",
                names.join("`, `")
            );
        }
    }
    match result.extra {
        None => {}
        Some(Extra::CustomerSchema) => text.push_str(" It is checked against the parameter `schema`."),
        Some(Extra::LeadingZeroBits) => text.push_str(" Its id has as many zero bits as `pow` says."),
    }
    if let Some(json) = result.json.as_ref().filter(|json| json.is_object()) {
        let _ = write!(text, " As JSON:\n\n{}", block(json).trim_end());
    }
    text
}

fn acceptable_use(schema: &KindSchema) -> String {
    let uses = &schema.acceptable_use;
    let yes = |flag: bool| if flag { "yes" } else { "no" };
    let prohibited: Vec<String> = uses
        .prohibited
        .iter()
        .filter_map(|category| Some(format!("`{}`", serde_json::to_value(category).ok()?.as_str()?)))
        .collect();
    let mut text = format!(
        "Prohibited: {}.\n\nOn the operating system's own language model: {}. The result is moderated too: {}.\n",
        prohibited.join(", "),
        yes(uses.system_model),
        yes(uses.moderate_output)
    );
    for warning in &uses.warnings {
        let _ = write!(text, "\n- {warning}");
    }
    text
}

fn block(value: &Value) -> String {
    format!("```json\n{value:#}\n```\n")
}
