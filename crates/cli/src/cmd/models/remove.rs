//! `openagents models remove`: deletes a model, unless the settings or a running node still use it.

use std::io::{BufRead, IsTerminal, Write};

use clap::Args;
use openagents_api::SCHEMA_VERSION;
use openagents_models::{ModelName, StoreError, shown};
use serde_json::json;

use super::{Shelf, failed, name};
use crate::{args::Global, exit::Exit, failure::Failure, show};

/// What to delete.
#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    /// Its name in the store
    #[arg(value_name = "NAME", value_parser = name)]
    name: ModelName,
    /// Delete without asking
    #[arg(long)]
    yes: bool,
    /// Delete although the settings use it, or a node runs
    #[arg(long)]
    force: bool,
}

/// Does it.
pub(super) fn run(global: &Global, shelf: &Shelf, args: &RemoveArgs) -> anyhow::Result<Exit> {
    let wrong = |error| failed(Exit::Error, &error);
    let name = &args.name;
    let model = match shelf.store.find(name) {
        // What cannot be read can be deleted all the same.
        Err(StoreError::Manifest { .. }) => None,
        found => found.map_err(wrong)?,
    };
    let users = model.iter().flat_map(|model| shelf.config.backend.users_of(&shelf.store, model));
    let users: Vec<String> = users.collect();
    if !users.is_empty() && !args.force {
        let what = format!("{name} is used by {} in the settings", users.join(", "));
        let next = "take it out with `openagents config edit`, or add --force";
        return Err(Failure::new(Exit::Config, what, next).into());
    }
    if model.is_some() && shelf.home.running_app().is_some() && !args.force {
        let what = format!("a node runs in this home, and may have {name} open");
        return Err(Failure::new(Exit::Config, what, "stop the node first, or add --force").into());
    }
    match (&model, shelf.store.size_of_all(name).map_err(wrong)?) {
        (Some(model), _) => confirm(args, &format!("{name} ({})", shown(model.size())))?,
        (None, 0) => {}
        (None, left) => confirm(args, &format!("what is left of {name} ({})", shown(left)))?,
    }
    let lock = shelf.store.lock().map_err(wrong)?;
    let freed = shelf.store.remove(&lock, name).map_err(wrong)?;
    if global.json {
        show::json(&json!({ "schema_version": SCHEMA_VERSION, "removed": name, "freed": freed }))?;
    } else {
        show::line(&format!("removed {name}; the store is smaller by {}", shown(freed)))?;
    }
    Ok(Exit::Ok)
}

fn confirm(args: &RemoveArgs, what: &str) -> anyhow::Result<()> {
    if args.yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        let what = format!("nobody is at a terminal to confirm that {what} is deleted");
        return Err(Failure::usage(what, "add --yes if a script has to delete it").into());
    }
    let _ = write!(std::io::stderr().lock(), "delete {what}? [y/N] ");
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    if matches!(answer.trim().to_lowercase().as_str(), "y" | "yes") {
        return Ok(());
    }
    Err(Failure::new(Exit::Refused, "it was not confirmed", "repeat the command to delete it after all")
        .into())
}
