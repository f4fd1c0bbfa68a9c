//! `openagents models bench`: how fast a model is on this machine, run as the node would run it.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use clap::Args;
use openagents_api::SCHEMA_VERSION;
use openagents_backend::{Backend, Health, Work, build_all, program_file};
use openagents_models::{Format, Manifest};
use openagents_node::config::{Backends, LlamaCppServer, MlxServer};
use openagents_types::{JobKind, Param, ResolvedInput, Usage};
use serde::Serialize;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Shelf, failed};
use crate::{args::Global, exit::Exit, failure::Failure, show, tables::table, text::one_line};

/// How often it is looked whether the server is ready.
const LOOK: Duration = Duration::from_millis(100);

/// What is asked: something short, something to be read first, and something that is written at length.
const PROMPTS: [(&str, &str); 3] = [
    ("short", "What is a market?"),
    (
        "read",
        "A payment is locked until the work is delivered. If nothing is delivered it goes back, and both sides know it. \
         Whoever sells names a price before the work begins, and whoever buys has said what it may cost at most. What \
         was agreed is written down before anything is paid, so that a crash at any instant costs nobody anything. When \
         the work is done, a receipt that both sides have signed says what was done, by what, and for how much. Say in \
         one sentence what this is about.",
    ),
    ("write", "Write a text about a river, from its spring to the sea."),
];

/// What to measure.
#[derive(Debug, Args)]
#[command(before_help = "Example:\n  openagents models bench Llama-3.2-1B-Instruct-Q4_K_M")]
pub(crate) struct BenchArgs {
    /// Its name in the store
    #[arg(value_name = "NAME")]
    name: String,
    /// The server's program [default: as the settings say, else llama-server or mlx_lm.server]
    #[arg(long, value_name = "PROGRAM")]
    program: Option<PathBuf>,
    /// The most tokens that are written for each prompt
    #[arg(long, value_name = "TOKENS", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=4096))]
    tokens: u32,
}

/// One answer, measured.
#[derive(Debug, Serialize)]
struct Run {
    prompt: &'static str,
    input_tokens: u64,
    output_tokens: u64,
    /// Until the first piece of the answer came.
    first_token_ms: u64,
    elapsed_ms: u64,
    /// Written in a second, from the first piece on.
    tokens_per_second: f64,
}

/// Does it.
pub(super) fn run(global: &Global, shelf: &Shelf, args: &BenchArgs) -> anyhow::Result<Exit> {
    let model = shelf.store.named(&args.name).map_err(|error| failed(Exit::Error, &error))?;
    let server = server(shelf, &model, args)?;
    if shelf.home.running_app().is_some() {
        show::talk("a node runs in this home; while it works, the model is slower than it could be");
    }
    let (about, runs) = crate::cmd::wait(measured(server.as_ref(), args.tokens))?;
    if global.json {
        let (digest, name) = (model.digest(), &model.name);
        show::json(&json!({
            "schema_version": SCHEMA_VERSION, "name": name, "digest": digest, "server": about, "runs": runs,
        }))?;
    } else {
        show::line(&format!("{} by {}\n{}", model.name, one_line(&about, 80), told(&runs)))?;
    }
    Ok(Exit::Ok)
}

fn told(runs: &[Run]) -> String {
    let row = |run: &Run| {
        vec![
            run.prompt.to_owned(),
            run.input_tokens.to_string(),
            run.output_tokens.to_string(),
            format!("{} ms", run.first_token_ms),
            format!("{:.1}", run.tokens_per_second),
        ]
    };
    let rows: Vec<Vec<String>> = runs.iter().map(row).collect();
    table(&["prompt", "tokens in", "tokens out", "first token", "tokens/s"], &rows)
}

/// The server of a model, as the settings have it, if they do.
fn server(shelf: &Shelf, model: &Manifest, args: &BenchArgs) -> anyhow::Result<Arc<dyn Backend>> {
    let named = PathBuf::from(format!("store:{}", model.name));
    let backends = match model.format {
        Format::Gguf => {
            let of = |it: &&LlamaCppServer| it.model == named;
            let known = shelf.config.backend.llamacpp.iter().find(of).cloned();
            let mut it =
                known.unwrap_or(LlamaCppServer { model: named.clone(), ..LlamaCppServer::default() });
            if it.embeddings {
                let what = format!("{} makes vectors here, and only text is measured", model.name);
                return Err(Failure::usage(what, "measure a model that writes text").into());
            }
            it.program = program(args, it.program, "llama-server", "llamacpp")?;
            it = it.with_model(&shelf.store).map_err(|error| failed(Exit::Config, &error))?;
            Backends { llamacpp: vec![it], ..Backends::default() }
        }
        Format::Safetensors => {
            let known = shelf.config.backend.mlx.iter().find(|it: &&MlxServer| it.model == named).cloned();
            let mut it = known.unwrap_or(MlxServer { model: named.clone(), ..MlxServer::default() });
            it.program = program(args, it.program, "mlx_lm.server", "mlx")?;
            it = it.with_model(&shelf.store).map_err(|error| failed(Exit::Config, &error))?;
            Backends { mlx: vec![it], ..Backends::default() }
        }
    };
    let mut settings = backends.settings();
    settings.place.logs = Some(shelf.home.data_file("logs"));
    let mut built = build_all(&settings).into_iter().flatten();
    built.find(|it| it.server().is_some()).ok_or_else(|| {
        Failure::new(Exit::Error, "the model's server cannot be built", "run `openagents doctor`").into()
    })
}

/// Where the server's program is.
fn program(args: &BenchArgs, known: PathBuf, usual: &str, section: &str) -> anyhow::Result<PathBuf> {
    let program = args.program.clone().unwrap_or(known);
    program_file(&program).map_err(|why| {
        let next = format!(
            "install it (see docs/backends.md), or say where {usual} is with --program PATH, and with `program` in \
             [[backend.{section}]] for the node"
        );
        Failure::new(Exit::Config, why, next).into()
    })
}

/// Runs the server, asks, and ends it; what it says of itself, and what was measured.
async fn measured(server: &dyn Backend, tokens: u32) -> anyhow::Result<(String, Vec<Run>)> {
    let stop = CancellationToken::new();
    let work = async {
        let outcome = async {
            let about = ready(server).await?;
            let mut runs = Vec::new();
            for (name, prompt) in PROMPTS {
                runs.push(answered(server, name, prompt, tokens).await?);
            }
            Ok((about, runs))
        };
        let outcome = outcome.await;
        stop.cancel();
        outcome
    };
    let (outcome, ()) = tokio::join!(work, server.tend(stop.clone()));
    outcome
}

/// Waits until it is ready; what it says of itself.
async fn ready(server: &dyn Backend) -> anyhow::Result<String> {
    loop {
        let state = server.server();
        match state.as_ref().map(|state| &state.health) {
            Some(Health::Ready) => return Ok(state.map(|state| state.about).unwrap_or_default()),
            Some(Health::Down(why)) => {
                let what = format!("the model's server does not run: {}", one_line(why, 400));
                return Err(Failure::new(
                    Exit::Error,
                    what,
                    "look at its log in logs/ beside the files of `openagents paths`",
                )
                .into());
            }
            Some(Health::Starting) | None => tokio::time::sleep(LOOK).await,
        }
    }
}

async fn answered(
    server: &dyn Backend,
    name: &'static str,
    prompt: &str,
    tokens: u32,
) -> anyhow::Result<Run> {
    let params = vec![Param::new("max_tokens", tokens.to_string()), Param::new("temperature", "0")];
    let kind = JobKind::TEXT_GENERATION;
    let work = Work { kind, inputs: vec![ResolvedInput::text(prompt)], params, output: Vec::new() };
    let (pieces, mut heard) = mpsc::channel(64);
    let started = Instant::now();
    let run = server.run(work, pieces, CancellationToken::new());
    let listen = async {
        let mut first = None;
        while heard.recv().await.is_some() {
            first.get_or_insert_with(|| started.elapsed());
        }
        first
    };
    let (outcome, first) = tokio::join!(run, listen);
    let output = outcome.map_err(|error| {
        Failure::new(Exit::Error, format!("the model did not answer: {error}"), "run `openagents doctor`")
    })?;
    Ok(counted(name, &output.usage, first.unwrap_or_else(|| started.elapsed()), started.elapsed()))
}

/// The first token is not counted to those that are written after it came.
#[expect(clippy::cast_precision_loss, reason = "a measurement")]
fn counted(prompt: &'static str, usage: &Usage, first: Duration, all: Duration) -> Run {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let writing = all.saturating_sub(first).as_secs_f64();
    let after = usage.output_tokens.saturating_sub(1);
    let tokens_per_second = match after {
        0 => usage.output_tokens as f64 / all.as_secs_f64().max(0.001),
        after => after as f64 / writing.max(0.001),
    };
    Run {
        prompt,
        input_tokens: usage.input_tokens,
        output_tokens: usage.output_tokens,
        first_token_ms: millis(first),
        elapsed_ms: millis(all),
        tokens_per_second,
    }
}
