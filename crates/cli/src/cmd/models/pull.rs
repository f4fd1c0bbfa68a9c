//! `openagents models pull`: a model from the hub into the store.

use clap::Args;
use openagents_api::SCHEMA_VERSION;
use openagents_models::{
    ChoiceError, Hub, HubError, ModelName, Patience, Pull, PullError, Source, Step, Token, Wanted, pull,
    shown,
};
use serde_json::json;

use super::{Shelf, check, failed, license, name, progress::Progress, told};
use crate::{
    args::Global,
    exit::Exit,
    show,
    tables::now_ms,
    text::{one_line, printable},
};

/// Where the token for gated repositories is.
const TOKEN: &str = "HF_TOKEN";

/// What to fetch.
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:\n  openagents models pull bartowski/Llama-3.2-1B-Instruct-GGUF:Q4_K_M\n  \
        openagents models pull mlx-community/Llama-3.2-1B-Instruct-4bit --name llama",
    after_help = "The revision is resolved to a commit once, and every file is of that commit. A file gets its name only when\n\
        its hash is what the hub lists; what a broken pull has left is gone on with. Weights in Python's pickle form\n\
        are never taken. HF_TOKEN opens gated repositories, and goes to the hub alone."
)]
pub(crate) struct PullArgs {
    /// The repository, and which of its models: a quantization or a file
    #[arg(value_name = "OWNER/REPOSITORY[:QUANT|FILE]", value_parser = wanted)]
    model: Wanted,
    /// A branch, a tag or a commit
    #[arg(long, value_name = "REVISION", default_value = "main")]
    revision: String,
    /// What to call it here [default: as its file or its repository]
    #[arg(long, value_name = "NAME", value_parser = name)]
    name: Option<ModelName>,
    /// Take the place of another model of this name although the settings use it
    #[arg(long)]
    force: bool,
}

fn wanted(text: &str) -> Result<Wanted, String> {
    text.parse().map_err(|error: openagents_models::NameError| error.to_string())
}

/// Does it.
pub(super) fn run(global: &Global, shelf: &Shelf, args: &PullArgs) -> anyhow::Result<Exit> {
    let settings = &shelf.config.models;
    let token = std::env::var(TOKEN).ok().and_then(|text| Token::of(&text));
    let hub =
        Hub::new(&settings.hub, token, Patience::default()).map_err(|error| failed(Exit::Config, &error))?;
    let source = Source::Hub {
        hub: hub.address().into(),
        repository: args.model.repository.to_string(),
        revision: args.revision.clone(),
        commit: String::new(),
    };
    shelf.may_replace(args.name.as_ref(), &source, args.force)?;
    let wanted = Pull {
        wanted: &args.model,
        revision: &args.revision,
        name: args.name.as_ref(),
        room: settings.room(),
        now_ms: now_ms(),
    };
    let mut progress = Progress::new();
    let mut heard = |step: Step<'_>| hear(&mut progress, &step);
    let pulled = crate::cmd::wait(async { Ok(pull(&shelf.store, &hub, wanted, &check, &mut heard).await) })?;
    progress.end();
    let pulled = pulled.map_err(|error| failed(exit(&error), &error))?;
    if global.json {
        let (model, fetched) = (shelf.view(&pulled.model), !pulled.was_there);
        show::json(&json!({ "schema_version": SCHEMA_VERSION, "fetched": fetched, "model": model }))?;
    } else {
        show::line(&told(&pulled.model))?;
    }
    Ok(Exit::Ok)
}

fn hear(progress: &mut Progress, step: &Step<'_>) {
    match step {
        Step::Found { listing, chosen, name } => {
            let commit: String = listing.commit.chars().take(12).collect();
            let revision = one_line(&listing.revision, 40);
            let names: Vec<&str> = chosen.files.iter().map(|file| file.path.as_str()).collect();
            show::talk(&format!("{} at {commit} ({revision}), as {name}", listing.repository));
            show::talk(&format!("files    {}, {}", one_line(&names.join(", "), 160), shown(chosen.size())));
            let gated = if listing.gated { " (gated: its owner wants its terms accepted)" } else { "" };
            show::talk(&format!("license  {}{gated}", printable(&license(listing.license.as_deref()))));
        }
        Step::At { file, here, of } => progress.at(file.as_str(), *here, *of),
        Step::Again { why } => {
            progress.end();
            show::talk(&one_line(why, 200));
        }
    }
}

fn exit(error: &PullError) -> Exit {
    match error {
        PullError::Hub(HubError::Address(_)) => Exit::Config,
        PullError::Hub(HubError::Gated(_) | HubError::NotLetIn(_)) => Exit::Auth,
        PullError::Choice { reason: ChoiceError::Several(..) | ChoiceError::Unknown { .. }, .. } => {
            Exit::Usage
        }
        _ => Exit::Error,
    }
}
