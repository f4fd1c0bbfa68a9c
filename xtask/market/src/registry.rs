//! `cargo xtask registry`: the catalogue of job kinds as a file for programs and as pages for people.
//!
//! Nothing is said here that does not stand in `crates/registry/kinds`; this writes it out, and turns the
//! examples into events with the market's own codec, so that each has been over the wire once.

mod events;
mod page;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use openagents_registry::{KindSchema, VERSION, all, common, to_json};

use openagents_xtask::shell::root;

/// Where all of it is written. Whatever else is in there is not ours and is refused.
const FOLDER: &str = "docs/job-kinds";
/// The file for programs.
const FILE: &str = "job-schema-registry.json";

/// Writes the files, or with `check` only says whether they are current.
pub(crate) fn run(check: bool) -> anyhow::Result<()> {
    let wanted = artefacts()?;
    let found = found()?;
    let mut stale: Vec<&PathBuf> =
        wanted.iter().filter(|(path, text)| found.get(*path) != Some(*text)).map(|(path, _)| path).collect();
    stale.extend(found.keys().filter(|path| !wanted.contains_key(*path)));
    if check {
        if let Some(path) = stale.first() {
            bail!(
                "{} files are not current, such as {}; run `cargo xtask registry`",
                stale.len(),
                path.display()
            );
        }
        println!("registry: {} files are current", wanted.len());
        return Ok(());
    }
    for path in &stale {
        let place = root().join(path);
        match wanted.get(*path) {
            Some(text) => {
                fs::create_dir_all(place.parent().context("a folder")?)?;
                fs::write(place, text)?;
            }
            None => fs::remove_file(place)?,
        }
        println!("{}", path.display());
    }
    println!("registry: {} kinds, {} files, {} written", all().len(), wanted.len(), stale.len());
    Ok(())
}

/// Every file by its path.
fn artefacts() -> anyhow::Result<BTreeMap<PathBuf, String>> {
    let mut registry = to_json();
    let folder = Path::new(FOLDER);
    let mut files = BTreeMap::new();
    for schema in all() {
        let examples = events::of(schema).with_context(|| format!("examples of {}", schema.name))?;
        let entry = &mut registry["kinds"][schema.kind.to_string()];
        for (index, example) in examples.iter().enumerate() {
            entry["examples"][index]["request_event"] = example.request.clone();
            entry["examples"][index]["result_event"] = example.result.clone();
        }
        files.insert(folder.join(page_name(schema)), page::of(schema, &examples));
    }
    files.insert(folder.join("README.md"), readme());
    files.insert(folder.join(FILE), format!("{registry:#}\n"));
    Ok(files)
}

/// What is there now.
fn found() -> anyhow::Result<BTreeMap<PathBuf, String>> {
    let mut files = BTreeMap::new();
    let Ok(entries) = fs::read_dir(root().join(FOLDER)) else { return Ok(files) };
    for entry in entries {
        let entry = entry?;
        files.insert(Path::new(FOLDER).join(entry.file_name()), fs::read_to_string(entry.path())?);
    }
    Ok(files)
}

fn page_name(schema: &KindSchema) -> String {
    format!("{}-{}.md", schema.kind, schema.name)
}

fn readme() -> String {
    let row = |schema: &KindSchema| {
        format!(
            "| [{0}]({1}) | {2} | {3} | {4} | {5} |",
            schema.kind,
            page_name(schema),
            schema.kind.result(),
            schema.name,
            schema.category.word(),
            schema.about
        )
    };
    let head = "| request | result | name | category | what it does |\n|--|--|--|--|--|";
    let rows: Vec<String> = std::iter::once(head.to_owned()).chain(all().iter().map(row)).collect();
    let never: Vec<String> = common().never_defined.iter().map(|kind| format!("- {kind}")).collect();
    include_str!("registry/readme.md.in")
        .replace("{count}", &all().len().to_string())
        .replace("{version}", VERSION)
        .replace("{table}", &rows.join("\n"))
        .replace("{never}", &never.join("\n"))
        .replace("{changes}", include_str!("../../../crates/registry/CHANGELOG.md").trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generating_twice_gives_the_same_bytes() {
        let once = artefacts().expect("artefacts");
        assert_eq!(once, artefacts().expect("artefacts"));
        assert_eq!(once.len(), all().len() + 2);
    }
}
