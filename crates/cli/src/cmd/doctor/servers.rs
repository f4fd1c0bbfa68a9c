//! Model servers, for `openagents doctor`: as the running node sees them, else looked at here.

use std::path::Path;

use openagents_api::{NodeView, ServerView};
use openagents_backend::{
    Backend, FoundationModels, Health, LlamaCpp, Mlx, Ollama, Place, ServerState, is_loopback, model_file,
    model_folder, program_file,
};
use openagents_node::{
    config::{Config, ServerFault, model_store},
    home::Home,
};

use super::Check;
use crate::text::one_line;

/// What to do about a server that is not there.
const START: &str = "start the model server, or correct its section in the settings: openagents config edit";

/// What to do about one that the node is to run and cannot.
const CORRECT: &str = "correct its file or its program in the settings: openagents config edit";

/// What to do about one that the node runs and that is down.
const LOG: &str =
    "the node starts it again by itself; why it ended is in logs/ beside the files of: openagents paths";

/// Every model server that is configured. Those that the node runs are looked at while it runs; else it is looked
/// whether they could be run.
pub(super) async fn checks(
    config: &Config,
    home: &Home,
    offline: bool,
    node: Option<&NodeView>,
) -> Vec<Check> {
    let seen = node.and_then(|node| node.provider.as_ref()).map(|provider| provider.servers.as_slice());
    if let Some(servers) = seen.filter(|servers| !servers.is_empty()) {
        // Those of `backend.openai` are asked anyway.
        return servers.iter().filter(|server| server.backend != "openai").flat_map(running).collect();
    }
    let mut checks = Vec::new();
    let settings = config.backend.settings();
    let looked_at = |url: &str| !url.is_empty() && (!offline || is_loopback(url));
    for it in settings.ollama.iter().filter(|it| looked_at(&it.url)) {
        checks.extend(look(Ollama::new(it.clone())).await);
    }
    for it in settings.llamacpp.iter().filter(|it| looked_at(&it.url)) {
        checks.extend(look(LlamaCpp::new(it.clone(), Place::default())).await);
    }
    for it in settings.mlx.iter().filter(|it| looked_at(&it.url)) {
        checks.extend(look(Mlx::new(it.clone(), Place::default())).await);
    }
    for it in settings.foundation_models.iter().filter(|it| looked_at(&it.url)) {
        checks.extend(look(FoundationModels::new(it)).await);
    }
    checks.extend(unstarted(config, home).into_iter().map(|(name, outcome)| match outcome {
        Ok(detail) => Check::ok("backend", format!("{name}: {detail}")),
        Err(why) => Check::fail("backend", format!("{name}: {why}"), CORRECT),
    }));
    checks
}

/// Whether the servers that the node is to run could be run: what each is called, and its model, or why not.
pub(crate) fn unstarted(config: &Config, home: &Home) -> Vec<(&'static str, Result<String, String>)> {
    let (store, mut found) = (model_store(home), Vec::new());
    for it in config.backend.llamacpp.iter().filter(|it| it.is_ours()) {
        let whole = it.with_model(&store).map_err(unnamed).and_then(|it| {
            let head = model_file(&it.model)?;
            let program = program_file(&it.program)?;
            let context =
                head.context.map_or_else(String::new, |tokens| format!(", made for {tokens} tokens"));
            Ok(format!("{} ({}{context}) by {}", it.model.display(), head.architecture, program.display()))
        });
        found.push(("llamacpp", whole));
    }
    for it in config.backend.mlx.iter().filter(|it| it.is_ours()) {
        let whole = it.with_model(&store).map_err(unnamed).and_then(|it| {
            model_folder(&it.model)?;
            let program = program_file(&it.program)?;
            Ok(format!("{} by {}", it.model.display(), program.display()))
        });
        found.push(("mlx", whole));
    }
    found
}

/// Why a model of the store is not used, without the section, which is said beside it.
fn unnamed(fault: ServerFault) -> String {
    match fault {
        ServerFault::Model { reason, .. } => reason.to_string(),
        fault => fault.to_string(),
    }
}

/// A server that is looked at here.
async fn look(built: Result<impl Backend, openagents_backend::BuildError>) -> Vec<Check> {
    match built {
        Ok(backend) => {
            let health = backend.probe().await;
            let Some(state) = backend.server() else { return Vec::new() };
            of_state(&ServerState { health, ..state })
        }
        Err(error) => vec![Check::fail("backend", format!("{}: {}", error.name, error.reason), START)],
    }
}

fn of_state(state: &ServerState) -> Vec<Check> {
    let names = state.models.iter().map(|model| model.id.as_str()).collect::<Vec<_>>().join(", ");
    let named = format!("{}: {}", state.kind, state.place);
    let first = match &state.health {
        Health::Ready => {
            Check::ok("backend", one_line(&format!("{named} ({}) sells {names}", state.about), 240))
        }
        Health::Starting => {
            Check::warn("backend", format!("{named} is loading its model"), "wait until it has")
        }
        Health::Down(why) => {
            Check::fail("backend", one_line(&format!("{}: {why}", state.kind), 400), mend(&state.place))
        }
    };
    [first].into_iter().chain(exposed(state.warning.as_deref())).collect()
}

/// What to do about a server that is down: one with an address is somebody else's to start, any other is ours.
fn mend(place: &str) -> &'static str {
    if place.contains("://") {
        START
    } else if Path::new(place).exists() {
        LOG
    } else {
        CORRECT
    }
}

/// A server as the running node sees it.
fn running(server: &ServerView) -> Vec<Check> {
    let models = server.models.iter().map(|model| openagents_backend::ServedModel {
        id: model.id.clone(),
        digest: model.digest.clone(),
        context: model.context,
    });
    of_state(&ServerState {
        kind: server.backend.clone(),
        place: server.place.clone(),
        about: server.about.clone(),
        health: match server.state.as_str() {
            "ready" => Health::Ready,
            "starting" => Health::Starting,
            _ => Health::Down(server.why.clone()),
        },
        models: models.collect(),
        warning: server.warning.clone(),
    })
}

fn exposed(warning: Option<&str>) -> Option<Check> {
    let (what, fix) = warning?.split_once("; ").unwrap_or((warning?, "openagents config edit"));
    Some(Check::warn("backend", one_line(what, 240), one_line(fix, 120)))
}
