//! `openagents config`: the settings, where each comes from, and a safe way to change them.

use std::{collections::BTreeMap, path::Path, process};

use clap::Subcommand;
use openagents_api::SCHEMA_VERSION;
use openagents_node::{
    config::Config as Settings,
    doubts::doubts,
    home::{Home, write_private},
};
use serde_json::json;

use crate::{args::Global, exit::Exit, failure::Failure, link, show, text::printable};

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// All settings in force, as TOML
    Show {
        /// Also say for each where it comes from
        #[arg(long)]
        origin: bool,
    },
    /// Where the settings file is
    Path,
    /// Open the settings in VISUAL or EDITOR, and keep them only if they are valid
    Edit,
    /// Whether the settings can be used
    Validate,
}

/// Does it.
pub(crate) fn run(global: &Global, command: &Config) -> anyhow::Result<Exit> {
    let home = link::home(global)?;
    match command {
        Config::Show { origin } => show_all(global, &home, *origin),
        Config::Path => path(global, &home.config_file()),
        Config::Edit => edit(&home),
        Config::Validate => validate(global, &home),
    }
}

fn path(global: &Global, path: &Path) -> anyhow::Result<Exit> {
    if global.json {
        show::json(&json!({ "schema_version": SCHEMA_VERSION, "path": path, "exists": path.exists() }))?;
    } else {
        show::line(&path.display().to_string())?;
    }
    Ok(Exit::Ok)
}

fn validate(global: &Global, home: &Home) -> anyhow::Result<Exit> {
    let settings = Settings::load(home)?;
    for (name, outcome) in super::doctor::servers::unstarted(&settings, home) {
        if let Err(why) = outcome {
            let what = format!("[[backend.{name}]] cannot be run: {why}");
            return Err(Failure::new(Exit::Config, what, "correct it with `openagents config edit`").into());
        }
    }
    let (path, doubts) = (home.config_file(), doubts(&settings));
    warn(&doubts);
    if global.json {
        let schema_version = SCHEMA_VERSION;
        show::json(
            &json!({ "schema_version": schema_version, "valid": true, "path": path, "warnings": doubts }),
        )?;
    } else if path.exists() {
        show::line(&format!("{} is valid", path.display()))?;
    } else {
        show::line(&format!("{} does not exist; the defaults are in force", path.display()))?;
    }
    Ok(Exit::Ok)
}

/// Says what is hardly meant.
pub(crate) fn warn(doubts: &[String]) {
    for doubt in doubts {
        show::talk(&format!("warning: {}", printable(doubt)));
    }
}

fn show_all(global: &Global, home: &Home, origin: bool) -> anyhow::Result<Exit> {
    let (settings, origins) = Settings::load_with(home, &[])?;
    if global.json {
        let origins: BTreeMap<&str, String> =
            origins.iter().map(|(key, from)| (key, from.to_string())).collect();
        show::json(&json!({ "schema_version": SCHEMA_VERSION, "config": settings, "origins": origins }))?;
    } else if origin {
        for (key, value) in settings.rows() {
            let from = origins.of(&key).map_or_else(String::new, |from| format!("  # {from}"));
            show::line(&format!("{key} = {value}{from}"))?;
        }
    } else {
        show::piece(&settings.to_toml())?;
    }
    Ok(Exit::Ok)
}

/// What a new settings file says: nothing is changed, everything can be seen.
fn template() -> String {
    let defaults = Settings::default().to_toml();
    let lines =
        defaults.lines().map(|line| if line.is_empty() { String::new() } else { format!("# {line}") });
    format!(
        "# Settings of OpenAgents Compute. What is commented out is the default.\n\n{}\n",
        lines.collect::<Vec<_>>().join("\n")
    )
}

fn edit(home: &Home) -> anyhow::Result<Exit> {
    let path = home.config_file();
    let old = if path.exists() { Some(std::fs::read_to_string(&path)?) } else { None };
    let before = old.clone().unwrap_or_else(template);
    let draft = path.with_extension("draft.toml");
    write_private(&draft, before.as_bytes())?;
    open_editor(&draft)?;
    let after = std::fs::read_to_string(&draft)?;
    if after != before {
        write_private(&path, after.as_bytes())?;
        match Settings::load(home) {
            Ok(settings) => warn(&doubts(&settings)),
            Err(error) => {
                put_back(&path, old.as_deref())?;
                show::talk(&format!("not saved; your text is in {}", draft.display()));
                return Err(error.into());
            }
        }
        show::talk("saved; a running node uses it from its next start on");
    }
    Ok(std::fs::remove_file(&draft).map(|()| Exit::Ok)?)
}

fn put_back(path: &Path, old: Option<&str>) -> anyhow::Result<()> {
    match old {
        Some(text) => Ok(write_private(path, text.as_bytes())?),
        None => Ok(std::fs::remove_file(path)?),
    }
}

/// The editor may be a command with arguments, such as `code --wait`.
fn open_editor(path: &Path) -> anyhow::Result<()> {
    let editor =
        ["VISUAL", "EDITOR"].iter().find_map(|name| std::env::var(name).ok().filter(|text| !text.is_empty()));
    let editor = editor.unwrap_or_else(|| "vi".into());
    let mut words = editor.split_whitespace();
    let program = words.next().unwrap_or("vi");
    let next = "set VISUAL or EDITOR to an editor of yours";
    let status = process::Command::new(program)
        .args(words)
        .arg(path)
        .status()
        .map_err(|error| Failure::new(Exit::Config, format!("cannot start {program}: {error}"), next))?;
    if status.success() {
        return Ok(());
    }
    Err(Failure::new(Exit::Config, format!("{program} ended with {status}; nothing was changed"), next)
        .into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]
    use super::*;

    #[test]
    fn the_template_changes_nothing() {
        let read: Settings = toml::from_str(&template()).unwrap();
        assert_eq!(read.to_toml(), Settings::default().to_toml());
    }
}
