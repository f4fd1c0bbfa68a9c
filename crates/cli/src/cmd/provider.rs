//! `openagents provider`: what this node sells, and how busy it is.

mod ads;
mod balances;
mod price;

use clap::Subcommand;
use openagents_api::{
    MachineView, NodeView, OfferView, ProviderView, SCHEMA_VERSION, ServedModelView, ServerView, ShiftOrder,
    Side,
};
use openagents_types::Msat;
use serde_json::json;

use crate::{args::Global, exit::Exit, link, show, tables::table, text::one_line};

/// What to see.
#[derive(Debug, Subcommand)]
pub(crate) enum Provider {
    /// What is for sale, at which price, and how much work is waiting
    Status,
    /// What is kept for customers' next jobs: refunds that nobody claimed, and what was paid too much
    Balances,
    /// Take no new jobs; those in hand are done
    Pause,
    /// Take jobs again
    Resume,
    /// Take no new jobs, and end the node when those in hand are done
    Drain,
    /// What work could cost, and setting what it does
    #[command(subcommand)]
    Price(price::Price),
    /// Stop all work now; payments of jobs in hand go back, and nothing is taken until you resume
    Kill,
    /// See what is published of this provider, publish it anew, and check that others see it
    #[command(subcommand)]
    Ads(ads::Ads),
}

impl Provider {
    const fn order(&self) -> Option<ShiftOrder> {
        match self {
            Self::Status | Self::Ads(_) | Self::Price(_) | Self::Balances => None,
            Self::Pause => Some(ShiftOrder::Pause),
            Self::Resume => Some(ShiftOrder::Resume),
            Self::Drain => Some(ShiftOrder::Drain),
            Self::Kill => Some(ShiftOrder::Kill),
        }
    }
}

/// Shows it.
pub(crate) fn run(global: &Global, command: &Provider) -> anyhow::Result<Exit> {
    match command {
        Provider::Ads(ads) => return ads::run(global, ads),
        Provider::Price(price) => return price::run(global, price),
        Provider::Balances => return balances::run(global),
        _ => {}
    }
    let client = link::connect(&link::home(global)?)?;
    let (was_draining, node) = super::wait(async {
        let Some(order) = command.order() else { return Ok((false, client.node().await?)) };
        let before = client.node().await?.provider;
        Ok((before.is_some_and(|provider| provider.draining), client.shift(order).await?))
    })?;
    if let Some(order) = command.order() {
        if was_draining && order != ShiftOrder::Drain {
            show::talk("it was draining; that is called off, so the node does not end by itself");
        }
        if !global.json {
            show::line(said(order))?;
            return Ok(Exit::Ok);
        }
    }
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

/// What an order comes to.
const fn said(order: ShiftOrder) -> &'static str {
    match order {
        ShiftOrder::Pause => {
            "paused: no new jobs are taken, those in hand are done; `openagents provider resume` takes jobs again"
        }
        ShiftOrder::Resume => "open: jobs are taken, and advertised",
        ShiftOrder::Drain => "draining: no new jobs are taken; the node ends when those in hand are done",
        ShiftOrder::Kill => {
            "stopped: no work is done, and payments of jobs in hand go back; `openagents provider resume` takes jobs again"
        }
    }
}

fn sold(node: &NodeView) -> Vec<(String, u64)> {
    let sold = node.counts.iter().filter(|(side, ..)| *side == Side::Sold);
    sold.map(|(_, state, count)| (state.clone(), *count)).collect()
}

fn status(node: &NodeView, provider: &ProviderView) -> String {
    let differs = |offer: &OfferView| {
        offer.now_base_msat.is_some() || offer.models.iter().any(|model| model.now_base_msat.is_some())
    };
    let differs = provider.offers.iter().any(differs);
    let rows: Vec<Vec<String>> = provider.offers.iter().flat_map(|offer| rows(offer, differs)).collect();
    let shift = off_duty(provider).map(|words| format!("\n{words}")).unwrap_or_default();
    let machine = provider.machine.as_ref().and_then(machine).unwrap_or_default();
    let heading: &[&str] = if differs {
        &["kind", "backend", "price", "now", "per KiB", "per 1000 tokens", "by"]
    } else {
        &["kind", "backend", "price", "per KiB", "per 1000 tokens", "by"]
    };
    let mut text = format!(
        "provider {}\n{} running of {}, {} queued{shift}{machine}\n\n{}",
        node.npub,
        provider.running,
        provider.slots,
        provider.queued,
        table(heading, &rows)
    );
    if differs {
        text.push_str("\n\nload, heat and the hour change what all of it costs; `now` is the price of a job without its input");
    }
    if !provider.servers.is_empty() {
        text.push_str(&format!("\n\n{}", servers(provider)));
    }
    let jobs: Vec<String> = sold(node).into_iter().map(|(state, count)| format!("{count} {state}")).collect();
    if !jobs.is_empty() {
        text.push_str(&format!("\n\njobs so far: {}", jobs.join(", ")));
    }
    text
}

/// Why no new jobs are taken, if that is the operator's will, and how to take them again.
pub(crate) fn off_duty(provider: &ProviderView) -> Option<String> {
    let resume = "`openagents provider resume` takes jobs again";
    match (provider.draining, provider.shift.as_str()) {
        (true, _) => Some(format!(
            "draining: no new jobs are taken, and the node ends when those in hand are done; {resume}"
        )),
        (false, "open" | "") => None,
        (false, "stopped") => Some(format!("stopped: no work is done; {resume}")),
        (false, other) => Some(format!("{}: no new jobs are taken; {resume}", one_line(other, 20))),
    }
}

/// A kind, and below it its models; with what each costs now, where that differs for any.
fn rows(offer: &OfferView, differs: bool) -> Vec<Vec<String>> {
    let msat = |amount: u64| Msat::new(amount).to_string();
    let tokens = |amount: u64| if amount == 0 { "-".into() } else { msat(amount) };
    let row = |kind: String, what: &str, now: Option<u64>, prices: [u64; 3], by: String| {
        let [base, per_kib, per_1000] = prices;
        let now = differs.then(|| msat(now.unwrap_or(base)));
        let start = [kind, one_line(what, 60), msat(base)].into_iter().chain(now);
        start.chain([msat(per_kib), tokens(per_1000), by]).collect()
    };
    let prices = [offer.base_msat, offer.per_kib_msat, offer.per_1000_output_msat];
    let by = one_line(&offer.backends.join(", "), 80);
    let first = row(offer.kind.to_string(), &offer.backend, offer.now_base_msat, prices, by);
    let models = offer.models.iter().map(|model| {
        let prices = [model.base_msat, model.per_kib_msat, model.per_1000_output_msat];
        row(String::new(), &model.name, model.now_base_msat, prices, String::new())
    });
    std::iter::once(first).chain(models).collect()
}

/// What keeps the machine from work, if anything does, and what would change that.
fn machine(seen: &MachineView) -> Option<String> {
    let text = |part: &Option<String>| one_line(part.as_deref().unwrap_or_default(), 200);
    match seen.state.as_str() {
        "paused" => Some(format!("\nthe machine pauses: {}; {}", text(&seen.message), text(&seen.remedy))),
        "eased" => Some("\nthe machine is hot: half of the slots are used".into()),
        _ => None,
    }
}

/// The model servers and how they are; what is wrong stands below.
fn servers(provider: &ProviderView) -> String {
    let models = |server: &ServerView| server.models.iter().map(model).collect::<Vec<_>>().join(", ");
    let row = |server: &ServerView| {
        let sold = if server.why.is_empty() { models(server) } else { one_line(&server.why, 160) };
        vec![server.backend.clone(), one_line(&server.place, 60), server.state.clone(), sold]
    };
    let rows: Vec<Vec<String>> = provider.servers.iter().map(row).collect();
    let mut text = table(&["model server", "at", "state", "sells"], &rows);
    for warning in provider.servers.iter().filter_map(|server| server.warning.as_deref()) {
        text.push_str(&format!("\nwarning: {}", one_line(warning, 240)));
    }
    text
}

/// A model, and the beginning of its hash.
fn model(model: &ServedModelView) -> String {
    let digest = model.digest.as_deref().map(|digest| digest.chars().take(19).collect::<String>());
    let name = one_line(&model.id, 60);
    digest.map_or_else(|| name.clone(), |digest| format!("{name} ({digest})"))
}
