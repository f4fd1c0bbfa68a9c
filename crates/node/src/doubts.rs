//! What in the settings can be read and is hardly meant: names that mean nothing here, and what is said twice. A node
//! starts with them all the same; its owner is told.

use std::collections::HashMap;

use openagents_backend::build_all;
use openagents_types::Msat;

use crate::{config::Config, moderation, nostr_work, offers::numbered, templates};

/// From this much unpaid work for any key on, credit is hardly meant: 100,000 sat, a day's budget of a customer.
const MUCH_CREDIT: Msat = Msat::new(100_000_000);

/// A sentence for each doubt, with the setting that it is about.
pub fn doubts(config: &Config) -> Vec<String> {
    let mut found = Vec::new();
    unknown_backends(config, &mut found);
    unknown_models(config, &mut found);
    repetitions(config, &mut found);
    let each = Msat::new(config.provider.credit_msat);
    if each > MUCH_CREDIT {
        found.push(format!(
            "provider.credit_msat gives {each} of unpaid work to every key, and keys cost nothing; name the customers \
             that you mean in [[provider.credit]]"
        ));
    }
    found
}

/// What the backends of these settings are called, in the order in which a node builds them.
fn labels(config: &Config) -> Vec<String> {
    let built = build_all(&config.backend.settings()).into_iter();
    let mut names: Vec<String> = built
        .map(|built| built.map_or_else(|error| error.name, |backend| backend.name().to_owned()))
        .collect();
    names.extend(config.backend.nostr.iter().filter_map(|kind| nostr_work::name(*kind)).map(str::to_owned));
    if !config.backend.templates.is_empty() {
        names.extend(config.backend.chat_servers().iter().map(|_| templates::NAME.to_owned()));
    }
    names.push(moderation::NAME.into());
    let mut counts = HashMap::new();
    names.iter().map(|name| numbered(&mut counts, name)).collect()
}

fn unknown_backends(config: &Config, found: &mut Vec<String>) {
    let labels = labels(config);
    let router = &config.router;
    let off = router.off.iter().map(|name| ("router.off", name));
    let chained = router.chain.iter().flat_map(|chain| &chain.backends).map(|name| ("router.chain", name));
    let with_model = router.model.iter().map(|rule| ("router.model", &rule.backend));
    let limited = config.resources.backend.iter().map(|limit| ("resources.backend", &limit.name));
    for (key, name) in off.chain(chained).chain(with_model).chain(limited) {
        if !labels.contains(name) {
            let known = labels.join(", ");
            found.push(format!("{key} names {name:?}, and no backend is called that; there are: {known}"));
        }
    }
}

/// Models that a backend is to use and its section does not list, where it lists any.
fn unknown_models(config: &Config, found: &mut Vec<String>) {
    let backend = &config.backend;
    let openai = backend.openai.iter().map(|server| &server.models);
    let ollama = backend.ollama.iter().map(|server| &server.models);
    let mut counts = HashMap::new();
    let lists = openai.map(|models| ("openai", models)).chain(ollama.map(|models| ("ollama", models)));
    let lists: HashMap<String, &Vec<String>> =
        lists.map(|(name, models)| (numbered(&mut counts, name), models)).collect();
    let bare = |model: &str| model.split('@').next().unwrap_or(model).to_owned();
    for rule in &config.router.model {
        let Some(models) = lists.get(&rule.backend).filter(|models| !models.is_empty()) else { continue };
        if !models.iter().any(|model| bare(model) == bare(&rule.model)) {
            found.push(format!(
                "router.model names {:?} of {}, which sells only: {}",
                rule.model,
                rule.backend,
                models.join(", ")
            ));
        }
    }
}

/// What is said twice: the first counts.
fn repetitions(config: &Config, found: &mut Vec<String>) {
    let chains = config.router.chain.iter().map(|chain| format!("router.chain for kind {}", chain.kind));
    let models = config.router.model.iter();
    let models = models.map(|rule| format!("router.model for kind {} of {}", rule.kind, rule.backend));
    let limits = config.resources.backend.iter().map(|limit| format!("resources.backend for {}", limit.name));
    let mut counts: HashMap<String, usize> = HashMap::new();
    for what in chains.chain(models).chain(limits) {
        let count = counts.entry(what.clone()).or_default();
        *count += 1;
        if *count == 2 {
            found.push(format!("{what} is said twice; only the first counts"));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]
    use super::*;

    fn found(text: &str) -> Vec<String> {
        crate::install_tls();
        doubts(&toml::from_str(text).unwrap())
    }

    #[test]
    fn what_is_built_in_and_what_is_configured_is_known() {
        let servers = "[backend]\nnostr = [5302, 5303, 5970]\ntemplates = [6500]\n\
            [[backend.openai]]\nurl = \"http://127.0.0.1:1\"\nmodels = [\"m\"]\n\
            [[backend.openai]]\nurl = \"http://127.0.0.1:2\"\n[[backend.ollama]]\nmodels = [\"q:1b@sha256:12\"]\n";
        let named = "[router]\noff = [\"extractive\", \"rules\", \"openai-2\", \"relay-search-2\", \"proof-of-work\"]\n\
            [[router.chain]]\nkind = 5050\nbackends = [\"ollama\", \"openai\", \"template\"]\n\
            [[router.model]]\nkind = 5050\nbackend = \"ollama\"\nmodel = \"q:1b\"\n\
            [[router.model]]\nkind = 5050\nbackend = \"openai-2\"\nmodel = \"any\"\n\
            [[resources.backend]]\nname = \"extraction\"\nslots = 1\n";
        assert_eq!(found(&format!("{servers}{named}")), [""; 0]);
        assert_eq!(found(""), [""; 0]);
    }

    #[test]
    fn a_name_that_means_nothing_is_named_with_its_setting_and_what_there_is() {
        let openai = "[[backend.openai]]\nurl = \"http://127.0.0.1:1\"\nmodels = [\"m\"]\n";
        for (text, words) in [
            ("[router]\noff = [\"extractiv\"]\n", ["router.off", "\"extractiv\"", "extractive"]),
            (
                "[[router.chain]]\nkind = 5001\nbackends = [\"extractive\", \"ollama\"]\n",
                ["router.chain", "\"ollama\"", "there are: "],
            ),
            (
                "[[resources.backend]]\nname = \"openai-2\"\nslots = 1\n",
                ["resources.backend", "openai-2", "openai,"],
            ),
            (
                "[[router.model]]\nkind = 5050\nbackend = \"openai\"\nmodel = \"n\"\n",
                ["router.model", "\"n\"", "sells only: m"],
            ),
        ] {
            let said = found(&format!("{text}{openai}"));
            assert!(said.len() == 1 && words.iter().all(|word| said[0].contains(word)), "{text}: {said:?}");
        }
    }

    #[test]
    fn what_is_said_twice_and_credit_for_everybody_are_doubted() {
        let chain = "[[router.chain]]\nkind = 5001\nbackends = [\"extractive\"]\n";
        let said = found(&format!("{chain}{chain}{chain}"));
        assert!(said.len() == 1 && said[0].contains("router.chain for kind 5001 is said twice"), "{said:?}");
        assert!(found("[provider]\ncredit_msat = 100000001\n")[0].contains("keys cost nothing"));
        assert_eq!(found("[provider]\ncredit_msat = 100000000\n"), [""; 0]);
    }
}
