//! `openagents registry`: which kinds of jobs there are, what each takes and returns, and whether a
//! job that somebody wrote is one of them. It needs no node.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use nostr::{Event, JsonUtil, Keys, Tag};
use openagents_api::SCHEMA_VERSION;
use openagents_protocol::{Keyring, Message, Verified};
use openagents_registry::{Fault, KindSchema};
use openagents_types::{JobKind, Msat};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{args::Global, exit::Exit, failure::Failure, show, tables::table, text::one_line};

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Registry {
    /// All kinds
    List,
    /// One kind: inputs, parameters, result, price, acceptable use
    Show {
        /// Its number or its name, such as 5001 or text-summarization
        kind: String,
    },
    /// Check the registry itself, or a request event in a file
    #[command(before_help = "Examples:\n  openagents registry validate\n  \
        openagents registry validate request.json    an event with kind, tags and content, signed or not")]
    Validate {
        /// A JSON file with an event
        file: Option<PathBuf>,
    },
    /// Print the whole registry as one JSON object
    Export,
}

/// Does it.
pub(crate) fn run(global: &Global, command: &Registry) -> anyhow::Result<Exit> {
    match command {
        Registry::List => list(global),
        Registry::Show { kind } => one(global, find(kind)?),
        Registry::Validate { file: None } => validate(global),
        Registry::Validate { file: Some(path) } => validate_file(global, path),
        Registry::Export => {
            show::json(&openagents_registry::to_json())?;
            Ok(Exit::Ok)
        }
    }
}

fn find(which: &str) -> anyhow::Result<&'static KindSchema> {
    let found = match which.parse::<JobKind>() {
        Ok(kind) => openagents_registry::find(kind).ok(),
        Err(_) => openagents_registry::find_name(which).ok(),
    };
    found.ok_or_else(|| {
        let what = format!("{:?} is not in the registry", one_line(which, 60));
        Failure::usage(what, "see all kinds with `openagents registry list`").into()
    })
}

fn list(global: &Global) -> anyhow::Result<Exit> {
    let kinds = openagents_registry::all();
    if global.json {
        let kinds: Vec<Value> = kinds.iter().map(summary).collect();
        let version = openagents_registry::VERSION;
        show::json(&json!({ "schema_version": SCHEMA_VERSION, "version": version, "kinds": kinds }))?;
        return Ok(Exit::Ok);
    }
    let row = |kind: &KindSchema| {
        vec![kind.kind.to_string(), kind.name.clone(), kind.title.clone(), price(kind.price.min_msat)]
    };
    let rows: Vec<Vec<String>> = kinds.iter().map(row).collect();
    show::line(&table(&["kind", "name", "title", "from"], &rows))?;
    Ok(Exit::Ok)
}

fn summary(kind: &KindSchema) -> Value {
    json!({
        "kind": kind.kind,
        "result_kind": kind.kind.result(),
        "name": kind.name,
        "title": kind.title,
        "version": kind.version,
        "official": kind.is_official(),
    })
}

fn price(amount: Msat) -> String {
    amount.to_string()
}

fn one(global: &Global, kind: &KindSchema) -> anyhow::Result<Exit> {
    if global.json {
        let mut view = kind.to_json();
        view["schema_version"] = SCHEMA_VERSION.into();
        show::json(&view)?;
        return Ok(Exit::Ok);
    }
    let prices = format!("{} to {}", price(kind.price.min_msat), price(kind.price.max_msat));
    show::line(&format!("{} -> {}  {}", kind.kind, kind.kind.result(), kind.title))?;
    show::line(&format!("{}\nusual price: {prices}\n", kind.about))?;
    if kind.params.is_empty() {
        show::line("it takes no parameters")?;
        return Ok(Exit::Ok);
    }
    let rows: Vec<Vec<String>> = kind
        .params
        .iter()
        .map(|param| {
            let required = if param.required { "yes" } else { "" };
            let default = param.default.as_ref().map(Value::to_string).unwrap_or_default();
            vec![param.name.clone(), required.into(), default, one_line(&param.about, 70)]
        })
        .collect();
    show::line(&table(&["parameter", "required", "default", "what"], &rows))?;
    Ok(Exit::Ok)
}

/// Every kind with its examples, as the project's own tests check them.
fn validate(global: &Global) -> anyhow::Result<Exit> {
    let complaints: Vec<String> = openagents_registry::all()
        .iter()
        .flat_map(|kind| {
            let complaints = openagents_registry::validate(kind);
            complaints.into_iter().map(|complaint| format!("{}: {complaint}", kind.kind))
        })
        .collect();
    let examples: usize = openagents_registry::all().iter().map(|kind| kind.examples.len()).sum();
    let kinds = openagents_registry::all().len();
    let valid = complaints.is_empty();
    if global.json {
        show::json(&json!({
            "schema_version": SCHEMA_VERSION, "valid": valid, "kinds": kinds, "examples": examples,
            "complaints": complaints,
        }))?;
    } else {
        for complaint in &complaints {
            show::line(complaint)?;
        }
        show::line(&format!("{kinds} kinds, {examples} examples, {} complaints", complaints.len()))?;
    }
    Ok(if valid { Exit::Ok } else { Exit::Error })
}

/// An event as somebody writes it by hand: signature, id and author may be missing.
#[derive(Deserialize)]
struct Draft {
    kind: u16,
    #[serde(default)]
    tags: Vec<Vec<String>>,
    #[serde(default)]
    content: String,
}

fn validate_file(global: &Global, path: &Path) -> anyhow::Result<Exit> {
    let unreadable = |reason: String| {
        let what = format!("{} is not a request event: {reason}", path.display());
        Failure::usage(what, "write a JSON object with kind, tags and content")
    };
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
    let request = request(&text).map_err(unreadable)?;
    let fault = openagents_registry::find(request.kind).and_then(|kind| kind.read_request(&request));
    report(global, request.kind, &fault.map(|params| params.unknown().len()))
}

/// Reads the event with the market's own codec, as a provider would.
fn request(text: &str) -> Result<openagents_types::JobRequest, String> {
    let draft: Draft = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let signed = Event::from_json(text).is_ok();
    let event = if signed {
        openagents_protocol::accept(text, &openagents_protocol::Limits::default())
            .map_err(|error| error.to_string())?
    } else {
        let tags = draft.tags.iter().map(Tag::parse).collect::<Result<Vec<_>, _>>();
        let tags = tags.map_err(|error| error.to_string())?;
        Verified::sign(&Keys::generate(), draft.kind, tags, draft.content, 0)
    };
    match openagents_protocol::decode(&event, &mut Keyring::new(Keys::generate())) {
        Ok(Message::Request(request)) => Ok(*request),
        Ok(_) => Err(format!("kind {} with these tags is none", draft.kind)),
        Err(error) => Err(error.to_string()),
    }
}

fn report(global: &Global, kind: JobKind, outcome: &Result<usize, Fault>) -> anyhow::Result<Exit> {
    if global.json {
        let fault = outcome.as_ref().err().map(ToString::to_string);
        show::json(&json!({
            "schema_version": SCHEMA_VERSION, "kind": kind, "valid": outcome.is_ok(), "fault": fault,
        }))?;
    } else {
        match outcome {
            Ok(0) => show::line(&format!("a valid request of kind {kind}"))?,
            Ok(unknown) => {
                show::line(&format!(
                    "a valid request of kind {kind}; it does not know {unknown} parameters"
                ))?;
            }
            Err(fault) => show::line(&format!("not a valid request of kind {kind}: {fault}"))?,
        }
    }
    Ok(if outcome.is_ok() { Exit::Ok } else { Exit::Error })
}
