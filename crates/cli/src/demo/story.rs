//! What happens in the demo, and how it is told.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use openagents_api::{AskBody, Client, JobView, SCHEMA_VERSION};
use openagents_node::Node;
use openagents_types::{JobId, JobInput, JobKind, Param};
use serde_json::{Value, json};

use super::child::Child;
use crate::show;

/// A document to work on: this project's own description of itself.
const DOCUMENT: &str = include_str!("../../../../ARCHITECTURE.md");

/// How long any one job may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// See the module.
pub(super) struct Story {
    json: bool,
    client: Client,
    started: Instant,
    jobs: Vec<JobView>,
}

impl Story {
    pub(super) fn new(json: bool, client: Client) -> Self {
        Self { json, client, started: Instant::now(), jobs: Vec::new() }
    }

    /// Plays the whole market once; true if every job was delivered and every satoshi is accounted for.
    pub(super) async fn tell(&mut self, node: &Node, providers: &mut [Child]) -> anyhow::Result<bool> {
        let names: Vec<&str> = providers.iter().map(|provider| provider.name).collect();
        self.say(
            "ready",
            &format!("a relay, test wallets, and {} providers: {}", names.len(), names.join(", ")),
            &json!({
                "relay": node.up().relay, "app": node.up().app, "providers": names,
            }),
        )?;
        let first = self.client.ask(&summary()).await?.id;
        let job = self.finish(first).await?;
        self.tell_end("delivered", &job, providers)?;
        self.crash(node, providers).await?;
        let third = self.client.ask(&extraction()).await?.id;
        let job = self.finish(third).await?;
        self.tell_end("delivered", &job, providers)?;
        self.close(node, providers).await
    }

    /// A provider is killed while it works on a paid job; its customer gets the money back and the
    /// work from the next one.
    async fn crash(&mut self, node: &Node, providers: &mut [Child]) -> anyhow::Result<()> {
        let mut body = extraction_summary();
        body.patience_ms = Some(1_000);
        let id = self.client.ask(&body).await?.id;
        let chosen = self.wait_until_locked(node, id).await?;
        let key = chosen.provider.context("a provider is chosen")?.to_hex();
        let victim =
            providers.iter_mut().find(|provider| provider.key == key).context("it is one of ours")?;
        victim.kill();
        let name = victim.name;
        let locked = chosen.in_flight_msat / 1_000;
        self.say(
            "killed",
            &format!("{name} killed in the middle of job {} with {locked} sat locked", short(id)),
            &json!({
                "provider": name, "job": id, "locked_msat": chosen.in_flight_msat,
            }),
        )?;
        let job = self.finish(id).await?;
        self.tell_end("made-whole", &job, providers)?;
        let victim =
            providers.iter_mut().find(|provider| provider.key == key).context("it is one of ours")?;
        victim.start()?;
        let state = victim.client()?.job(id).await.map_or_else(|_| "unknown".into(), |job| job.state);
        self.say(
            "restarted",
            &format!("{name} is back; its record of the job is kept ({state})"),
            &json!({
                "provider": name, "job": id, "state": state,
            }),
        )
    }

    /// Waits until the payment of a job is locked at the chosen provider.
    async fn wait_until_locked(&self, node: &Node, id: JobId) -> anyhow::Result<JobView> {
        let testnet = node.testnet().context("the demo serves test wallets")?;
        let wait = async {
            while testnet.service().audit().in_flight.is_zero() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            self.client.job(id).await
        };
        Ok(tokio::time::timeout(PATIENCE, wait).await.context("no payment was locked")??)
    }

    async fn finish(&mut self, id: JobId) -> anyhow::Result<JobView> {
        let wait = async {
            loop {
                let job = self.client.job(id).await?;
                match job.state.as_str() {
                    "settled" => return Ok(job),
                    "failed" | "no-offer" | "cancelled" => {
                        bail!("job {} ended as {}: {}", short(id), job.state, job.explanation)
                    }
                    _ => tokio::time::sleep(Duration::from_millis(15)).await,
                }
            }
        };
        let job = tokio::time::timeout(PATIENCE, wait).await.context("a job never ended")??;
        self.jobs.push(job.clone());
        Ok(job)
    }

    fn tell_end(&self, event: &str, job: &JobView, providers: &[Child]) -> anyhow::Result<()> {
        let key = job.provider.map(|key| key.to_hex()).unwrap_or_default();
        let name =
            providers.iter().find(|provider| provider.key == key).map_or("?", |provider| provider.name);
        let proof = job.preimage.as_deref().map_or("none", |preimage| &preimage[..8]);
        let took = job.changed_at.saturating_sub(job.asked_at);
        let text = format!(
            "job {} (kind {}) done by {name} for {} sat in {took} ms, paid (preimage {proof}…), settled",
            short(job.id),
            job.kind,
            job.paid_msat / 1_000,
        );
        self.say(event, &text, &brief(job))
    }

    /// Counts every satoshi: what the wallets hold, and what each node's own books say.
    async fn close(&mut self, node: &Node, providers: &[Child]) -> anyhow::Result<bool> {
        let audit = node.testnet().context("the demo serves test wallets")?.service().audit();
        let spent = self.client.ledger(100).await?.net_msat;
        let mut earned = Vec::new();
        for provider in providers {
            earned.push((provider.name, provider.client()?.ledger(100).await?.net_msat));
        }
        let books: i64 = spent + earned.iter().map(|(_, net)| net).sum::<i64>();
        let conserved = audit.conserved && audit.in_flight.is_zero() && books == 0;
        let ok = conserved && self.jobs.iter().all(|job| job.state == "settled");
        if self.json {
            let jobs: Vec<Value> = self.jobs.iter().map(brief).collect();
            show::json(&json!({
                "schema_version": SCHEMA_VERSION, "ok": ok, "jobs": jobs, "conserved": conserved,
            }))?;
            return Ok(ok);
        }
        show::line("")?;
        show::line("                 wallet holds     its own books say")?;
        let nets: Vec<i64> = std::iter::once(spent).chain(earned.iter().map(|(_, net)| *net)).collect();
        // Accounts were opened in this order: the customer first, then the providers.
        for ((label, balance), net) in audit.balances.iter().zip(&nets) {
            show::line(&format!("{label:<14} {:>10} sat {:>+17} sat", balance.get() / 1_000, net / 1_000))?;
        }
        let total = audit.issued.get() / 1_000;
        show::line(&format!("sum            {total:>10} sat {:>+17} sat", books / 1_000))?;
        let verdict = if conserved { "every satoshi is accounted for" } else { "THE BOOKS DO NOT BALANCE" };
        show::line(verdict)?;
        Ok(ok)
    }

    fn say(&self, event: &str, text: &str, facts: &Value) -> anyhow::Result<()> {
        let elapsed = self.started.elapsed();
        if self.json {
            let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
            show::json(&json!({
                "schema_version": SCHEMA_VERSION, "event": event, "after_ms": millis, "facts": facts,
            }))
        } else {
            Ok(show::line(&format!("{:>5.2}s  {text}", elapsed.as_secs_f64()))?)
        }
    }
}

fn brief(job: &JobView) -> Value {
    json!({
        "id": job.id, "kind": job.kind, "state": job.state, "provider": job.provider,
        "paid_msat": job.paid_msat, "result_sha256": job.result_sha256,
    })
}

fn short(id: JobId) -> String {
    id.to_hex().chars().take(8).collect()
}

fn order(kind: JobKind, input: JobInput, params: Vec<Param>) -> AskBody {
    AskBody {
        kind,
        inputs: vec![input],
        params,
        bid_msat: 10_000,
        provider: None,
        encrypt: false,
        window_ms: None,
        deadline_ms: Some(25_000),
        patience_ms: None,
        refund_to: None,
        balance_of: None,
        or_wallet: false,
    }
}

fn summary() -> AskBody {
    order(JobKind::SUMMARIZATION, JobInput::text(DOCUMENT), vec![Param::new("length", "60 words")])
}

fn extraction() -> AskBody {
    order(
        JobKind::TEXT_EXTRACTION,
        JobInput::url(page("<h1>Books</h1><p>Every satoshi is accounted for.</p>")),
        Vec::new(),
    )
}

/// A page long enough that a provider is still at it when it is killed.
fn extraction_summary() -> AskBody {
    let text: String =
        DOCUMENT.replace('<', "&lt;").split("\n\n").map(|block| format!("<p>{block}</p>")).collect();
    order(JobKind::SUMMARIZATION, JobInput::url(page(&text)), vec![Param::new("length", "5 sentences")])
}

/// A page inside an address (RFC 2397), so that no web server is needed.
fn page(body: &str) -> String {
    use base64::Engine as _;
    let html = format!("<!doctype html><html><body>{body}</body></html>");
    format!("data:text/html;base64,{}", base64::engine::general_purpose::STANDARD.encode(html))
}
