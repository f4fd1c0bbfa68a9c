//! `openagents paths`: where things are kept.

use serde_json::{Map, Value, json};

use crate::{args::Global, exit::Exit, link, show};

/// Prints the directories in use.
pub(crate) fn run(global: &Global) -> anyhow::Result<Exit> {
    let home = link::home(global)?;
    if global.json {
        let paths: Map<String, Value> =
            home.paths().iter().map(|(name, path)| ((*name).to_owned(), json!(path))).collect();
        show::json(&json!({ "schema_version": openagents_api::SCHEMA_VERSION, "paths": paths }))?;
        return Ok(Exit::Ok);
    }
    for (name, path) in home.paths() {
        show::line(&format!("{name:<8}{}", path.display()))?;
    }
    Ok(Exit::Ok)
}
