//! `openagents models`: the store of models that servers of this node are run with. One file each; here is
//! which is called, with what they share.

mod add;
mod bench;
mod list;
mod progress;
mod pull;
mod remove;

use std::path::Path;

use clap::Subcommand;
use openagents_backend::{model_file, model_folder};
use openagents_models::{Format, Manifest, ModelName, Source, Store, shown};
use openagents_node::{
    config::{Config, model_store},
    home::Home,
};
use serde_json::{Value, json};

use crate::{args::Global, exit::Exit, failure::Failure, link, text::one_line};

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Models {
    /// The models that are here
    List(list::ListArgs),
    /// Fetch a model from the hub, at one commit, with its hash checked
    Pull(pull::PullArgs),
    /// Take in a model that is on this machine
    Add(add::AddArgs),
    /// Delete a model
    Remove(remove::RemoveArgs),
    /// Run a model as the node would, and measure it
    Bench(bench::BenchArgs),
}

/// Does it.
pub(crate) fn run(global: &Global, command: &Models) -> anyhow::Result<Exit> {
    let home = link::home(global)?;
    let store = model_store(&home).in_use(home.running_app().is_some());
    let shelf = Shelf { config: Config::load(&home)?, store, home };
    match command {
        Models::List(args) => list::run(global, &shelf, args),
        Models::Pull(args) => pull::run(global, &shelf, args),
        Models::Add(args) => add::run(global, &shelf, args),
        Models::Remove(args) => remove::run(global, &shelf, args),
        Models::Bench(args) => bench::run(global, &shelf, args),
    }
}

/// The store, and what the settings say of it.
struct Shelf {
    home: Home,
    config: Config,
    store: Store,
}

impl Shelf {
    /// A model as programs read it.
    fn view(&self, model: &Manifest) -> Value {
        let mut view = json!(model);
        view["digest"] = model.digest().into();
        view["size"] = model.size().into();
        view["path"] = self.store.path(model).display().to_string().into();
        view["used_by"] = self.config.backend.users_of(&self.store, model).into();
        view
    }

    /// Refuses to put a model from elsewhere in the place of one that the settings use.
    fn may_replace(&self, name: Option<&ModelName>, source: &Source, force: bool) -> anyhow::Result<()> {
        let there = name.and_then(|name| self.store.find(name).ok().flatten());
        let Some(there) = there.filter(|there| !force && !source.is_of(&there.source)) else { return Ok(()) };
        let users = self.config.backend.users_of(&self.store, &there);
        if users.is_empty() {
            return Ok(());
        }
        let (name, from) = (&there.name, one_line(&there.source.to_string(), 120));
        let what = format!("{name} is from {from}, and used by {} in the settings", users.join(", "));
        Err(Failure::new(Exit::Config, what, "choose another --name, or add --force").into())
    }
}

/// Whether what is there can be served, by the reader of its format.
fn check(format: Format, path: &Path) -> Result<(), String> {
    match format {
        Format::Gguf => model_file(path).map(drop),
        Format::Safetensors => model_folder(path).map(drop),
    }
}

fn name(text: &str) -> Result<ModelName, String> {
    text.parse().map_err(|error: openagents_models::NameError| error.to_string())
}

/// How a command says that a model is in the store, and what to write to use it.
fn told(model: &Manifest) -> String {
    let section = match model.format {
        Format::Gguf => "llamacpp",
        Format::Safetensors => "mlx",
    };
    format!(
        "{} is in the store: {}, {}\n  sell what it can do with:\n  [[backend.{section}]]\n  model = \"store:{}\"",
        model.name,
        shown(model.size()),
        model.digest(),
        model.name
    )
}

/// A license in a cell of a table.
fn license(license: Option<&str>) -> String {
    license.map_or_else(|| "not said".into(), |license| one_line(license, 40))
}

/// A failure with what to do next, as the store's errors say both.
fn failed(exit: Exit, error: &dyn std::error::Error) -> anyhow::Error {
    let text = error.to_string();
    let (what, next) = text.rsplit_once("; ").unwrap_or((&text, "run `openagents doctor`"));
    Failure::new(exit, what, next).into()
}
