//! `openagents models add`: a model that is on this machine into the store.

use std::path::PathBuf;

use clap::Args;
use openagents_api::SCHEMA_VERSION;
use openagents_models::{Add, ModelName, Source, Step, add};
use serde_json::json;

use super::{Shelf, check, failed, name, progress::Progress, told};
use crate::{args::Global, exit::Exit, show, tables::now_ms};

/// What to take in.
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:\n  openagents models add ~/Downloads/tiny-Q8_0.gguf\n  \
        openagents models add ~/models/Llama-3.2-1B-Instruct-4bit --license llama3.2",
    after_help = "It is linked where it is on the same disk, so that it takes no room twice: do not write to it then. \
        Elsewhere it is copied."
)]
pub(crate) struct AddArgs {
    /// A .gguf file (any of its parts), or the folder of a model for MLX
    #[arg(value_name = "PATH")]
    from: PathBuf,
    /// What to call it here [default: as its file or folder]
    #[arg(long, value_name = "NAME", value_parser = name)]
    name: Option<ModelName>,
    /// Its license, to be remembered
    #[arg(long, value_name = "LICENSE")]
    license: Option<String>,
    /// Take the place of another model of this name although the settings use it
    #[arg(long)]
    force: bool,
}

/// Does it.
pub(super) fn run(global: &Global, shelf: &Shelf, args: &AddArgs) -> anyhow::Result<Exit> {
    let from = std::path::absolute(&args.from)?;
    let source = Source::Local { path: from.display().to_string() };
    shelf.may_replace(args.name.as_ref(), &source, args.force)?;
    let wanted = Add {
        from: &from,
        name: args.name.as_ref(),
        license: args.license.as_deref(),
        room: shelf.config.models.room(),
        now_ms: now_ms(),
    };
    let mut progress = Progress::new();
    let mut heard = |step: Step<'_>| {
        if let Step::At { file, here, of } = step {
            progress.at(file.as_str(), here, of);
        }
    };
    let added = add(&shelf.store, wanted, &check, &mut heard);
    progress.end();
    let model = added.map_err(|error| failed(Exit::Error, &error))?;
    if global.json {
        show::json(&json!({ "schema_version": SCHEMA_VERSION, "model": shelf.view(&model) }))?;
    } else {
        show::line(&told(&model))?;
    }
    Ok(Exit::Ok)
}
