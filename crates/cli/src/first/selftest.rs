//! One job, bought from the node that has just started, over its relay and by a key of its own making: proof that a
//! stranger could do the same. Real money is never spent on it.

use std::time::{Duration, Instant};

use openagents_api::{AskBody, Client, JobView, MachineView, OfferView};
use openagents_node::Up;
use openagents_types::{JobInput, JobKind, Msat, Network, Param};
use serde::Serialize;

use crate::{args::Global, show, text::one_line};

/// How long a relay may take to connect, and the job to be done.
const CONNECT: Duration = Duration::from_secs(15);
const DONE: Duration = Duration::from_secs(60);

/// How often it is looked.
const LOOK: Duration = Duration::from_millis(100);

/// How long offers are collected: there is one.
const WINDOW: u64 = 500;

/// What a provider answers who is not paid enough.
const BID_TOO_LOW: &str = "bid-too-low";

/// How it came out.
#[derive(Debug, Serialize)]
struct Outcome {
    /// `bought`, `quoted` or `failed`.
    state: &'static str,
    kind: JobKind,
    relay: Option<String>,
    paid_msat: u64,
    elapsed_ms: u64,
    /// The beginning of what was delivered, or why nothing was.
    text: String,
}

/// Buys the job and says how that went.
pub(crate) async fn run(global: &Global, client: &Client, up: &Up) -> anyhow::Result<()> {
    let outcome = buy(client, up).await;
    if global.json {
        return show::json(&serde_json::json!({ "self_test": outcome }));
    }
    show::line(&told(&outcome, up))?;
    Ok(())
}

async fn buy(client: &Client, up: &Up) -> Outcome {
    let started = Instant::now();
    let generates = up.kinds.contains(&JobKind::TEXT_GENERATION);
    let kind = if generates { JobKind::TEXT_GENERATION } else { JobKind::SUMMARIZATION };
    let mut outcome = Outcome {
        state: "failed",
        kind,
        relay: up.relay.clone(),
        paid_msat: 0,
        elapsed_ms: 0,
        text: String::new(),
    };
    match job(client, up, kind).await {
        Ok((job, content)) => {
            outcome.paid_msat = job.paid_msat;
            (outcome.state, outcome.text) = judged(&job, content);
        }
        Err(reason) => outcome.text = reason,
    }
    if outcome.state == "failed"
        && let Some(paused) = paused(client).await
    {
        outcome.text = paused;
    }
    outcome.elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    outcome
}

/// Asks, waits until nothing more happens to the job, and fetches its result.
async fn job(client: &Client, up: &Up, kind: JobKind) -> Result<(JobView, Option<String>), String> {
    connected(client).await?;
    let bid = bid(client, up, kind).await;
    let asked = client.ask(&body(up, kind, bid)).await.map_err(|error| error.to_string())?;
    let start = Instant::now();
    loop {
        let job = client.job(asked.id).await.map_err(|error| error.to_string())?;
        if !job.open {
            let content = client.result(asked.id).await.ok().map(|result| result.content);
            return Ok((job, content));
        }
        if start.elapsed() > DONE {
            return Err(format!("it is not done after {} s: {}", DONE.as_secs(), job.explanation));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Waits until events pass on a relay.
async fn connected(client: &Client) -> Result<(), String> {
    let start = Instant::now();
    while start.elapsed() < CONNECT {
        let node = client.node().await.map_err(|error| error.to_string())?;
        if node.relays.iter().any(|relay| relay.connected) {
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
    Err(format!("no relay answered within {} s", CONNECT.as_secs()))
}

/// What the job may cost: its price in test money, and nothing where money is real.
async fn bid(client: &Client, up: &Up, kind: JobKind) -> u64 {
    let is_test = up.wallet.is_some_and(|network| network != Network::Mainnet);
    let Ok(node) = client.node().await else { return 0 };
    let offers = node.provider.iter().flat_map(|provider| &provider.offers);
    let price = |offer: &OfferView| {
        // Load and hours change all parts alike.
        let times = offer.now_base_msat.map_or(1, |now| now.div_ceil(offer.base_msat.max(1)).max(1));
        (offer.base_msat + offer.per_kib_msat).saturating_mul(times)
    };
    let price = offers.filter(|offer| offer.kind == kind).map(price);
    // A wallet may know whole satoshis only.
    if is_test { price.max().unwrap_or(0).div_ceil(1_000) * 1_000 } else { 0 }
}

/// Why the machine does no work, if so: a full disk, for instance.
async fn paused(client: &Client) -> Option<String> {
    pause(&client.node().await.ok()?.provider?.machine?)
}

/// The same in words, with what would change that.
fn pause(machine: &MachineView) -> Option<String> {
    let part = |text: &Option<String>| text.clone().unwrap_or_default();
    let is_paused = machine.state == "paused";
    is_paused.then(|| format!("this machine pauses: {}; {}", part(&machine.message), part(&machine.remedy)))
}

fn body(up: &Up, kind: JobKind, bid_msat: u64) -> AskBody {
    let (text, params) = if kind == JobKind::TEXT_GENERATION {
        ("Say in one sentence what a lighthouse is for.", vec![Param::new("max_tokens", "48")])
    } else {
        (
            "A lighthouse shows ships where the coast is. Its light turns. Each has a rhythm of its own.",
            Vec::new(),
        )
    };
    AskBody {
        kind,
        inputs: vec![JobInput::text(text)],
        params,
        bid_msat,
        provider: up.provider,
        encrypt: false,
        window_ms: Some(WINDOW),
        deadline_ms: u64::try_from(DONE.as_millis()).ok(),
        patience_ms: None,
        refund_to: None,
        balance_of: None,
        or_wallet: false,
    }
}

/// A delivered job was bought. Where money is real and nothing was bid, the price that the node names proves as much:
/// the request went out, and the answer came back.
fn judged(job: &JobView, content: Option<String>) -> (&'static str, String) {
    if let Some(content) = content {
        return ("bought", one_line(&content, 160));
    }
    match job.refusals.first() {
        Some(no) if no.code == BID_TOO_LOW => ("quoted", one_line(&no.message, 160)),
        Some(no) => ("failed", no.message.clone()),
        None => ("failed", job.explanation.clone()),
    }
}

fn told(outcome: &Outcome, up: &Up) -> String {
    let kinds = up.kinds.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let over = outcome.relay.as_deref().unwrap_or("its relays");
    let took = format!("{}.{} s", outcome.elapsed_ms / 1_000, outcome.elapsed_ms % 1_000 / 100);
    let online = format!("you are online; a stranger can buy {kinds}");
    match outcome.state {
        "bought" => {
            let paid = match outcome.paid_msat {
                0 => "for free".to_owned(),
                paid => format!("for {} of test money", Msat::new(paid)),
            };
            format!(
                "self-test: a job of kind {} was bought over {over} {paid}, in {took}:\n  {}\n{online}",
                outcome.kind, outcome.text
            )
        }
        "quoted" => format!(
            "self-test: a job of kind {} was asked over {over} with nothing bid, since money is real here; in {took} \
             this node answered:\n  {}\n{online}",
            outcome.kind, outcome.text
        ),
        _ => format!(
            "self-test: a job of kind {} over {over} was not done: {}\n  why, and how to mend it: openagents doctor",
            outcome.kind,
            one_line(&outcome.text, 200)
        ),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]
    use serde_json::json;

    use super::*;

    fn job(refusals: &serde_json::Value) -> JobView {
        let key = "11".repeat(32);
        let refusals: Vec<serde_json::Value> = refusals
            .as_array()
            .unwrap()
            .iter()
            .map(|code| json!({ "provider": key, "code": code, "message": "why" }))
            .collect();
        serde_json::from_value(json!({
            "id": key, "side": "bought", "kind": 5001, "state": "no-offer", "explanation": "nobody",
            "open": false, "customer": key, "provider": null, "bid_msat": 0, "price_msat": null, "paid_msat": 0,
            "fee_msat": 0, "in_flight_msat": 0, "payment_hash": null, "preimage": null, "result_sha256": null,
            "result_event": null, "quotes": [], "refusals": refusals, "asked_at": 0, "changed_at": 0, "steps": [],
        }))
        .unwrap()
    }

    #[test]
    fn a_price_that_is_named_proves_that_the_node_is_reached_and_another_refusal_does_not() {
        assert_eq!(judged(&job(&json!([])), Some("text".into())), ("bought", "text".into()));
        assert_eq!(judged(&job(&json!(["bid-too-low"])), None), ("quoted", "why".into()));
        assert_eq!(judged(&job(&json!(["policy"])), None), ("failed", "why".into()));
        assert_eq!(judged(&job(&json!([])), None), ("failed", "nobody".into()));
    }

    #[test]
    fn a_machine_that_pauses_says_why_and_what_would_change_that() {
        let machine = |state: &str| MachineView {
            state: state.into(),
            reason: Some("disk".into()),
            message: Some("too little disk space is free".into()),
            remedy: Some("free some".into()),
            sample: json!(null),
        };
        assert_eq!(
            pause(&machine("paused")).unwrap(),
            "this machine pauses: too little disk space is free; free some"
        );
        assert_eq!((pause(&machine("allowed")), pause(&machine("eased"))), (None, None));
    }
}
