//! `openagents provider`: what this node sells, and how busy it is.

use clap::Subcommand;
use openagents_api::{NodeView, ProviderView, SCHEMA_VERSION, Side};
use openagents_types::Msat;
use serde_json::json;

use crate::{args::Global, exit::Exit, link, show, tables::table};

/// What to see.
#[derive(Debug, Subcommand)]
pub(crate) enum Provider {
    /// What is for sale, at which price, and how much work is waiting
    Status,
}

/// Shows it.
pub(crate) fn run(global: &Global, _command: &Provider) -> anyhow::Result<Exit> {
    let client = link::connect(&link::home(global)?)?;
    let node = super::wait(async { Ok(client.node().await?) })?;
    if global.json {
        let counts = sold(&node);
        show::json(&json!({
            "schema_version": SCHEMA_VERSION,
            "npub": node.npub,
            "provider": node.provider,
            "relays": node.relays,
            "jobs": counts.into_iter().collect::<std::collections::BTreeMap<_, _>>(),
        }))?;
        return Ok(Exit::Ok);
    }
    match &node.provider {
        Some(provider) => show::line(&status(&node, provider))?,
        None => show::line("this node sells nothing; start it without --customer to sell")?,
    }
    Ok(Exit::Ok)
}

fn sold(node: &NodeView) -> Vec<(String, u64)> {
    let sold = node.counts.iter().filter(|(side, ..)| *side == Side::Sold);
    sold.map(|(_, state, count)| (state.clone(), *count)).collect()
}

fn status(node: &NodeView, provider: &ProviderView) -> String {
    let rows: Vec<Vec<String>> = provider
        .offers
        .iter()
        .map(|offer| {
            vec![
                offer.kind.to_string(),
                offer.backend.clone(),
                Msat::new(offer.base_msat).to_string(),
                Msat::new(offer.per_kib_msat).to_string(),
            ]
        })
        .collect();
    let work = if provider.draining { ", stopping" } else { "" };
    let mut text = format!(
        "provider {}\n{} running of {}, {} queued{work}\n\n{}",
        node.npub,
        provider.running,
        provider.slots,
        provider.queued,
        table(&["kind", "backend", "price", "per KiB"], &rows)
    );
    let jobs: Vec<String> = sold(node).into_iter().map(|(state, count)| format!("{count} {state}")).collect();
    if !jobs.is_empty() {
        text.push_str(&format!("\n\njobs so far: {}", jobs.join(", ")));
    }
    text
}
