//! `openagents provider ads`: what a running node says of itself on relays, and what viewers there see of it.

use clap::Subcommand;
use openagents_api::{AdState, AdsReport, AdsView, RelayAds};

use crate::{args::Global, cmd::wait, exit::Exit, link, show, text::one_line};

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Ads {
    /// Print the events that would be signed now, and publish nothing
    Preview,
    /// Publish them now, then look as `verify` does
    Publish,
    /// Fetch from every relay what it has, and say of each fault how to mend it
    #[command(
        after_help = "The exit code is 0 if every kind that is sold is seen on at least one relay, by the rules of\n\
            the programs that list providers today."
    )]
    Verify,
}

/// Does it.
pub(crate) fn run(global: &Global, command: &Ads) -> anyhow::Result<Exit> {
    let client = link::connect(&link::home(global)?)?;
    match command {
        Ads::Preview => preview(global, &wait(async { Ok(client.ads().await?) })?),
        Ads::Publish => report(global, &wait(async { Ok(client.publish_ads().await?) })?),
        Ads::Verify => report(global, &wait(async { Ok(client.verify_ads().await?) })?),
    }
}

fn preview(global: &Global, ads: &AdsView) -> anyhow::Result<Exit> {
    if global.json {
        show::json(ads)?;
        return Ok(Exit::Ok);
    }
    for event in &ads.events {
        show::line(&serde_json::to_string_pretty(event)?)?;
    }
    show::talk(&format!(
        "nothing was published; `openagents provider ads publish` would send this to {}",
        ads.relays.join(", ")
    ));
    Ok(Exit::Ok)
}

fn report(global: &Global, report: &AdsReport) -> anyhow::Result<Exit> {
    if global.json {
        show::json(report)?;
    } else {
        for relay in &report.relays {
            show::line(&said(relay))?;
        }
        show::line(verdict(report))?;
    }
    Ok(if report.visible { Exit::Ok } else { Exit::Error })
}

const fn verdict(report: &AdsReport) -> &'static str {
    if report.visible {
        "every kind that is sold is seen"
    } else if report.relays.is_empty() {
        "no relay is set, so nobody sees it: openagents relay add wss://…"
    } else {
        "not every kind that is sold is seen"
    }
}

/// One relay, a line for each advertisement and each of its faults.
fn said(relay: &RelayAds) -> String {
    let url = one_line(&relay.url, 80);
    if let Some(error) = &relay.error {
        return format!("{url}\n  {}\n    mend: openagents relay test {url}", one_line(error, 160));
    }
    let has = |there: bool, what: &str| if there { format!(", {what}") } else { format!(", no {what}") };
    let mut text = format!("{url}{}{}", has(relay.profile, "profile"), has(relay.relay_list, "relay list"));
    for ad in &relay.ads {
        text.push_str(&one(ad));
    }
    text
}

fn one(ad: &AdState) -> String {
    let word = if ad.visible { "seen" } else { "NOT SEEN" };
    let mut text = format!("\n  {} {word}", ad.kind);
    for fault in &ad.faults {
        text.push_str(&format!(
            "\n    {}\n    mend: {}",
            one_line(&fault.what, 160),
            one_line(&fault.mend, 200)
        ));
    }
    text
}
