//! The first start in a home without settings: what runs on this machine is found and measured, what could be sold is
//! proposed once, and after the start one job is bought from it over the relay.
//!
//! Nothing is written unless somebody at a terminal, or `--yes`, says so; and never over settings that are there.

mod market;
mod plan;
pub(crate) mod selftest;

use std::{
    io::{BufRead, IsTerminal, Write},
    time::Duration,
};

use openagents_backend::Work;
use openagents_node::{
    config::Config,
    detect::{self, FoundServer},
    home::{Home, write_private},
};
use openagents_types::{JobKind, Param, ResolvedInput};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::plan::{Measured, Plan, Terms};
use crate::{args::Global, show, text::one_line, up::UpArgs};

/// How long a server may take over the short answer that it is measured by.
const MEASURE: Duration = Duration::from_secs(20);

/// The answer that a server is measured by, in tokens: enough to see its pace, short enough for a slow machine.
const MEASURED_TOKENS: &str = "48";

/// What is known of money before the node starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purse {
    /// Test money.
    Test,
    /// A wallet.
    Wallet,
    /// No wallet at all.
    None,
}

/// Proposes settings for a new home, and writes them if that is wanted. `true` if the start is the first of a
/// home whose owner said yes, so that it ends in a self-test.
pub(crate) async fn prepare(
    global: &Global,
    args: &UpArgs,
    home: &Home,
    purse: Purse,
) -> anyhow::Result<bool> {
    if args.customer || was_used(home) {
        return Ok(false);
    }
    let ports = if args.look_at.is_empty() { detect::USUAL_PORTS.to_vec() } else { args.look_at.clone() };
    let found = detect::model_servers(&ports).await;
    let asks = !global.json && std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    if !args.yes && !asks {
        if !found.is_empty() {
            show::talk(&format!(
                "{}\nnothing was changed; `openagents up --yes` sells what it can do",
                found.iter().map(named).collect::<Vec<_>>().join("\n")
            ));
        }
        // Without a wallet it sells nothing that costs something, which is said anyway.
        if !global.json && (args.free || purse != Purse::None) {
            show::talk(&plan::built_in(args.free));
        }
        return Ok(false);
    }
    let measured = measure_all(found).await;
    let seen =
        if args.offline { None } else { market::median(&relays(args), JobKind::TEXT_GENERATION).await };
    let plan = Plan::new(measured, Terms { free: args.free, purse, market: seen });
    show::talk(&plan.told(&home.config_file()));
    if !args.yes && !agreed()? {
        show::talk("nothing was changed");
        return Ok(false);
    }
    write(home, &plan)?;
    Ok(true)
}

/// Whether a node has run here, or its owner has settings: what it sells is then no longer for a first start to say.
fn was_used(home: &Home) -> bool {
    home.config_file().exists() || home.data_file("node.db").exists()
}

/// The relays that are going to be used.
fn relays(args: &UpArgs) -> Vec<String> {
    if args.relay.is_empty() { Config::default().relays } else { args.relay.clone() }
}

fn named(server: &FoundServer) -> String {
    let version =
        server.version.as_deref().map_or_else(String::new, |version| format!(" {}", one_line(version, 40)));
    let models = one_line(&server.models.join(", "), 120);
    format!("found {}{version} at {}: {models}", server.kind.name(), server.url)
}

/// Whether whoever is at the terminal says yes.
fn agreed() -> std::io::Result<bool> {
    let _ = write!(std::io::stderr().lock(), "sell this? [Y/n] ");
    let mut answer = String::new();
    // The end of input is no answer, so it is no yes.
    let read = std::io::stdin().lock().read_line(&mut answer)?;
    Ok(read > 0 && matches!(answer.trim().to_lowercase().as_str(), "" | "y" | "yes"))
}

/// Writes the settings, unless somebody else has meanwhile.
fn write(home: &Home, plan: &Plan) -> anyhow::Result<()> {
    let path = home.config_file();
    if path.exists() {
        return Ok(());
    }
    let text = plan.settings();
    Config::read(&path, &text, |_| None, &[])?;
    Ok(write_private(&path, text.as_bytes())?)
}

/// Measures one server after the other, so that none is slowed down by another.
async fn measure_all(found: Vec<FoundServer>) -> Vec<Measured> {
    let mut measured = Vec::new();
    for mut server in found {
        let pace = tokio::time::timeout(MEASURE, pace(&mut server)).await;
        let pace =
            pace.unwrap_or_else(|_| Err(format!("wrote no short answer within {} s", MEASURE.as_secs())));
        measured.push(Measured { server, pace });
    }
    measured
}

/// How many tokens a second a server writes, in one short answer. Of the models that it lists, those stay that write text
/// and are its own.
async fn pace(server: &mut FoundServer) -> Result<f64, String> {
    let lists_more = server.kind.section() != "openai";
    if lists_more {
        server.models.clear();
    }
    let backend = plan::backend(server)?;
    backend.probe().await;
    if lists_more {
        let models = backend.models(JobKind::TEXT_GENERATION);
        server.models = models.into_iter().map(|model| model.name).collect();
    }
    if server.models.is_empty() {
        return Err("has no model of its own that writes text".into());
    }
    let work = Work {
        kind: JobKind::TEXT_GENERATION,
        inputs: vec![ResolvedInput::text("Say in two sentences what a lighthouse is for.")],
        params: vec![Param::new("max_tokens", MEASURED_TOKENS)],
        output: Vec::new(),
    };
    // Nobody reads the pieces; a full channel would stop the work.
    let (pieces, mut heard) = mpsc::channel(64);
    let drain = async { while heard.recv().await.is_some() {} };
    let (output, ()) = tokio::join!(backend.run(work, pieces, CancellationToken::new()), drain);
    let usage = output.map_err(|error| error.to_string())?.usage;
    #[expect(
        clippy::cast_precision_loss,
        reason = "some dozens of tokens and some thousands of milliseconds"
    )]
    Ok(usage.output_tokens as f64 * 1_000.0 / usage.elapsed.0.max(1) as f64)
}
