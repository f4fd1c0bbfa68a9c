//! `[models]`: the model store in the settings.
//!
//! `[[backend.llamacpp]]` and `[[backend.mlx]]` name a model of it with `model = "store:NAME"`. The settings keep what
//! their owner wrote; a node and whoever looks at its servers put the path, the name and the hash in.

use std::path::Path;

use openagents_models::{Format, Hub, Manifest, Room, Store};
use serde::{Deserialize, Serialize};

use super::{Backends, Config, ConfigError, LlamaCppServer, MlxServer, ServerFault};
use crate::home::Home;

/// How a model of the store is named in the settings.
const IN_STORE: &str = "store:";

/// The model store: where models are fetched, and how much is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelSettings {
    /// Where models are fetched: Hugging Face, or a mirror that speaks as it does.
    pub hub: String,
    /// How much the model store may hold, in GB (1,000,000,000 bytes).
    pub quota_gb: u64,
}

impl Default for ModelSettings {
    fn default() -> Self {
        // A handful of models for a machine that can run them.
        Self { hub: "https://huggingface.co".into(), quota_gb: 100 }
    }
}

impl ModelSettings {
    /// How much the store may hold.
    pub const fn room(&self) -> Room {
        Room { quota: self.quota_gb.saturating_mul(1_000_000_000) }
    }

    /// What the types cannot say.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if self.quota_gb == 0 {
            let (key, value) = ("models.quota_gb", self.quota_gb);
            return Err(ConfigError::Unusable { key, value, rule: "it must be at least 1" });
        }
        Hub::check(&self.hub).map_err(ConfigError::Hub)
    }
}

/// The model store of a home.
pub fn model_store(home: &Home) -> Store {
    Store::at(home.data_file("models"))
}

/// The name in `store:NAME`.
pub(super) fn in_store(model: &Path) -> Option<&str> {
    model.to_str()?.strip_prefix(IN_STORE)
}

/// A model of the store for a kind of server.
fn found(kind: &'static str, name: &str, store: &Store, format: Format) -> Result<Manifest, ServerFault> {
    let model = store.named(name).map_err(|reason| ServerFault::Model { kind, reason })?;
    if model.format == format {
        return Ok(model);
    }
    Err(ServerFault::Format { kind, name: name.into(), format: model.format.word() })
}

impl LlamaCppServer {
    /// With the path, the name and the hash of its model, if it is one of the store's.
    ///
    /// # Errors
    /// The store does not have it, or has it in another format.
    pub fn with_model(&self, store: &Store) -> Result<Self, ServerFault> {
        let Some(name) = in_store(&self.model) else { return Ok(self.clone()) };
        let model = found("llamacpp", name, store, Format::Gguf)?;
        let path = store.path(&model);
        let (sold, sha256) = or_own(&self.name, &self.sha256, &model);
        Ok(Self { model: path, name: sold, sha256, ..self.clone() })
    }
}

impl MlxServer {
    /// With the path, the name and the hash of its model, if it is one of the store's.
    ///
    /// # Errors
    /// The store does not have it, or has it in another format.
    pub fn with_model(&self, store: &Store) -> Result<Self, ServerFault> {
        let Some(name) = in_store(&self.model) else { return Ok(self.clone()) };
        let model = found("mlx", name, store, Format::Safetensors)?;
        let path = store.path(&model);
        let (sold, sha256) = or_own(&self.name, &self.sha256, &model);
        Ok(Self { model: path, name: sold, sha256, ..self.clone() })
    }
}

/// What the settings say, else what the store knows: the name that the model is sold under, and its hash.
fn or_own(name: &str, sha256: &str, model: &Manifest) -> (String, String) {
    let or = |said: &str, own: String| if said.is_empty() { own } else { said.to_owned() };
    (or(name, model.name.to_string()), or(sha256, model.digest()))
}

impl Config {
    /// With the models of the home's store in the place of their names.
    ///
    /// # Errors
    /// The store does not have one of them.
    pub fn with_models(mut self, home: &Home) -> Result<Self, ConfigError> {
        let store = model_store(home);
        for server in &mut self.backend.llamacpp {
            *server = server.with_model(&store).map_err(ConfigError::Model)?;
        }
        for server in &mut self.backend.mlx {
            *server = server.with_model(&store).map_err(ConfigError::Model)?;
        }
        Ok(self)
    }
}

impl Backends {
    /// Which backends use a model of the store, by its name or by a path into it: `llamacpp`, `llamacpp-2`.
    pub fn users_of(&self, store: &Store, model: &Manifest) -> Vec<String> {
        let folder = store.files_of(model);
        let uses = |path: &Path| in_store(path) == Some(model.name.as_str()) || path.starts_with(&folder);
        let llamas = self.llamacpp.iter().map(|it| uses(&it.model));
        let mlxs = self.mlx.iter().map(|it| uses(&it.model));
        labelled("llamacpp", llamas).chain(labelled("mlx", mlxs)).collect()
    }
}

fn labelled(kind: &str, uses: impl Iterator<Item = bool>) -> impl Iterator<Item = String> {
    let label = move |at| if at == 0 { kind.to_owned() } else { format!("{kind}-{}", at + 1) };
    uses.enumerate().filter(|(_, uses)| *uses).map(move |(at, _)| label(at))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]
    use openagents_models::{Add, add};

    use super::*;

    #[test]
    fn a_model_of_the_store_is_found_by_its_name_and_one_that_is_not_there_says_how_it_comes() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(Some(folder.path().join("home"))).unwrap();
        let store = model_store(&home);
        let from = folder.path().join("tiny-Q8_0.gguf");
        std::fs::write(&from, "GGUF").unwrap();
        let wanted =
            Add { from: &from, name: None, license: None, room: ModelSettings::default().room(), now_ms: 0 };
        let model = add(&store, wanted, &|_, _| Ok(()), &mut |_| ()).unwrap();
        let config = |text: &str| toml::from_str::<Config>(text).unwrap();
        let text =
            "[[backend.llamacpp]]\nmodel = \"/m.gguf\"\n[[backend.llamacpp]]\nmodel = \"store:tiny-Q8_0\"\n";
        let as_written = config(text);
        assert_eq!(as_written.backend.users_of(&store, &model), ["llamacpp-2"]);
        let found = as_written.with_models(&home).unwrap().backend.llamacpp;
        assert_eq!(found[0].model, Path::new("/m.gguf"));
        assert_eq!((found[1].name.as_str(), &found[1].sha256), ("tiny-Q8_0", &model.digest()));
        assert_eq!(std::fs::read(&found[1].model).unwrap(), b"GGUF");
        for (text, words) in [
            ("[[backend.llamacpp]]\nmodel = \"store:big\"\n", ["[[backend.llamacpp]]", "models pull"]),
            ("[[backend.mlx]]\nmodel = \"store:../x\"\n", ["[[backend.mlx]]", "models pull"]),
            ("[[backend.mlx]]\nmodel = \"store:tiny-Q8_0\"\n", ["tiny-Q8_0 is gguf", "[[backend.llamacpp]]"]),
        ] {
            let error = config(text).with_models(&home).unwrap_err().to_string();
            assert!(words.iter().all(|word| error.contains(word)), "{error}");
        }
    }
}
