//! `openagents models list`: what is in the store, still as it came or not.

use clap::Args;
use openagents_api::SCHEMA_VERSION;
use openagents_models::{Manifest, Unfinished, shown};
use serde_json::{Value, json};

use super::{Shelf, failed, license, progress::Progress};
use crate::{args::Global, exit::Exit, show, tables::table, text::one_line};

/// How much of a hash is shown.
const SHORT_DIGEST: usize = "sha256:".len() + 12;

/// How to look.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Read every file and compare its hash; exit code 1 if one is another
    #[arg(long)]
    check: bool,
}

/// Does it.
pub(super) fn run(global: &Global, shelf: &Shelf, args: &ListArgs) -> anyhow::Result<Exit> {
    let wrong = |error| failed(Exit::Error, &error);
    let models = shelf.store.models().map_err(wrong)?;
    let unfinished = shelf.store.unfinished().map_err(wrong)?;
    let unreadable = shelf.store.unreadable().map_err(wrong)?;
    let unreadable: Vec<String> = unreadable.iter().map(ToString::to_string).collect();
    let faults: Option<Vec<Vec<String>>> = args.check.then(|| faults(shelf, &models));
    let is_whole = faults.iter().flatten().all(Vec::is_empty) && (unreadable.is_empty() || !args.check);
    if global.json {
        let mut all = all(shelf, &models, &unfinished, faults.as_deref());
        all["unreadable"] = unreadable.into();
        show::json(&all)?;
    } else {
        show::line(&told(shelf, &models, &unfinished, faults.as_deref()))?;
        for why in &unreadable {
            show::line(&format!("unreadable: {}", one_line(why, 300)))?;
        }
    }
    Ok(if is_whole { Exit::Ok } else { Exit::Error })
}

/// What is wrong with each model, read whole.
fn faults(shelf: &Shelf, models: &[Manifest]) -> Vec<Vec<String>> {
    let (of, mut here) = (models.iter().map(Manifest::size).sum(), 0);
    let mut progress = Progress::new();
    let mut one = |model: &Manifest| {
        let mut heard = |more| {
            here += more;
            progress.at(model.name.as_str(), here, of);
        };
        shelf.store.faults(model, &mut heard)
    };
    let found = models.iter().map(&mut one).collect();
    progress.end();
    found
}

fn all(
    shelf: &Shelf,
    models: &[Manifest],
    unfinished: &[Unfinished],
    faults: Option<&[Vec<String>]>,
) -> Value {
    let one = |(at, model): (usize, &Manifest)| {
        let mut view = shelf.view(model);
        if let Some(faults) = faults.and_then(|all| all.get(at)) {
            view["faults"] = faults.clone().into();
        }
        view
    };
    let unfinished: Vec<Value> =
        unfinished.iter().map(|it| json!({ "name": it.name, "size": it.size })).collect();
    json!({
        "schema_version": SCHEMA_VERSION,
        "models": models.iter().enumerate().map(one).collect::<Vec<_>>(),
        "unfinished": unfinished,
        "size": shelf.store.size(),
        "quota": shelf.config.models.room().quota,
    })
}

fn told(
    shelf: &Shelf,
    models: &[Manifest],
    unfinished: &[Unfinished],
    faults: Option<&[Vec<String>]>,
) -> String {
    let mut lines = Vec::new();
    if models.is_empty() {
        lines.push("no models; fetch one with `openagents models pull OWNER/REPOSITORY:QUANT`".into());
    } else {
        let heading = ["name", "format", "quantization", "size", "license", "digest", "used by"];
        let rows: Vec<Vec<String>> = models.iter().map(|model| row(shelf, model)).collect();
        lines.push(table(&heading, &rows));
    }
    let rests = unfinished.iter().map(|it| {
        let (name, size) = (one_line(&it.name, 96), shown(it.size));
        if models.iter().any(|model| model.name.as_str() == it.name) {
            return format!("left over: {name}, {size} beside the model; pull it again to go on, or to be rid of it");
        }
        format!("unfinished: {name}, {size}; pull it again to go on, or delete it with `openagents models remove {name}`")
    });
    lines.extend(rests);
    lines.push(format!("{} of {} used", shown(shelf.store.size()), shown(shelf.config.models.room().quota)));
    for (model, faults) in models.iter().zip(faults.unwrap_or_default()) {
        let (name, first) = (&model.name, faults.first());
        lines.push(match first {
            None => format!("ok    {name}"),
            Some(_) => {
                let faults = one_line(&faults.join(", "), 200);
                format!("FAIL  {name}: {faults}\n      fix: `openagents models remove {name}`, then fetch it again")
            }
        });
    }
    lines.join("\n")
}

fn row(shelf: &Shelf, model: &Manifest) -> Vec<String> {
    let users = shelf.config.backend.users_of(&shelf.store, model).join(", ");
    vec![
        model.name.to_string(),
        model.format.word().into(),
        model.quantization.as_deref().map_or_else(|| "-".into(), |it| one_line(it, 16)),
        shown(model.size()),
        license(model.license.as_deref()),
        model.digest().chars().take(SHORT_DIGEST).collect(),
        if users.is_empty() { "-".into() } else { users },
    ]
}
