//! The load: customers that keep a number of jobs outstanding, and a stopwatch for each.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use nostr::Keys;
use tokio::{sync::mpsc, task::JoinSet};

use crate::{
    event::{body, frame, sign, tag},
    payer::Payer,
    socket,
};

/// What to load and how.
#[derive(Clone)]
pub(crate) struct Load {
    pub(crate) relay: String,
    pub(crate) outstanding: usize,
    pub(crate) jobs: usize,
    /// Who pays quotes, if the work is not free.
    pub(crate) payer: Option<Arc<Payer>>,
}

/// What came out.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) latencies: Vec<Duration>,
    pub(crate) took: Duration,
}

impl Outcome {
    /// Adds another turn of the same load.
    pub(crate) fn add(&mut self, turn: Self) {
        self.latencies.extend(turn.latencies);
        self.took += turn.took;
    }
}

/// Jobs that one connection keeps outstanding, at most.
const PER_CONNECTION: usize = 64;
/// Connections, at most; beyond that each keeps more jobs outstanding.
const CONNECTIONS: usize = 16;

impl Load {
    /// Runs the load to its end.
    pub(crate) async fn run(self) -> anyhow::Result<Outcome> {
        let connections = self.outstanding.div_ceil(PER_CONNECTION).clamp(1, CONNECTIONS);
        let mut customers = Vec::new();
        for index in 0..connections {
            let share = |total: usize| total / connections + usize::from(index < total % connections);
            customers.push(Customer::connect(&self, share(self.outstanding), share(self.jobs)).await?);
        }
        let start = Instant::now();
        let mut set = JoinSet::new();
        for customer in customers {
            set.spawn(customer.run());
        }
        let mut latencies = Vec::with_capacity(self.jobs);
        while let Some(finished) = set.join_next().await {
            latencies.extend(finished??);
        }
        Ok(Outcome { latencies, took: start.elapsed() })
    }
}

struct Customer {
    writer: socket::Writer,
    reader: socket::Reader,
    outstanding: usize,
    /// Signed beforehand, so that the load costs as little as it can while it is measured.
    requests: std::vec::IntoIter<(String, String)>,
    started: HashMap<String, Instant>,
    payer: Option<Arc<Payer>>,
}

impl Customer {
    async fn connect(load: &Load, outstanding: usize, jobs: usize) -> anyhow::Result<Self> {
        let keys = Keys::generate();
        let (mut writer, mut reader) = socket::connect(&load.relay).await?;
        let req = format!("[\"REQ\",\"mine\",{{\"kinds\":[6000,7000],\"#p\":[\"{}\"]}}]", keys.public_key());
        writer.send([req]).await?;
        while !reader.next().await?.starts_with("[\"EOSE\"") {}
        let text = "The market sells compute. ".repeat(40);
        let requests: Vec<_> = (0..jobs)
            .map(|number| {
                let mut tags = vec![tag(["i", &text, "text"]), tag(["param", "number", &number.to_string()])];
                if load.payer.is_some() {
                    tags.push(tag(["bid", "1000000"]));
                }
                let event = sign(&keys, 5000, tags, String::new());
                (event.id.to_hex(), frame(&event))
            })
            .collect();
        let (requests, started, payer) = (requests.into_iter(), HashMap::new(), load.payer.clone());
        Ok(Self { writer, reader, outstanding, requests, started, payer })
    }

    async fn run(mut self) -> anyhow::Result<Vec<Duration>> {
        let mut latencies = Vec::with_capacity(self.requests.len());
        let (bills, mut due) = mpsc::unbounded_channel::<String>();
        let payer = self.payer.clone();
        let pay = async move {
            let mut paying = JoinSet::new();
            while let Some(bolt11) = due.recv().await {
                if let Some(payer) = payer.clone() {
                    paying.spawn(async move { payer.pay(bolt11).await });
                }
            }
            paying.abort_all();
        };
        let work = async {
            let first = self.outstanding;
            self.ask(first).await?;
            while !self.started.is_empty() {
                let text = self.reader.next().await?;
                self.hear(&text, &bills, &mut latencies).await?;
            }
            Ok(latencies)
        };
        tokio::select! { done = work => done, () = pay => anyhow::bail!("the payer stopped") }
    }

    async fn ask(&mut self, count: usize) -> anyhow::Result<()> {
        let next: Vec<_> = self.requests.by_ref().take(count).collect();
        let now = Instant::now();
        let mut frames = Vec::with_capacity(next.len());
        for (id, frame) in next {
            self.started.insert(id, now);
            frames.push(frame);
        }
        self.writer.send(frames).await
    }

    async fn hear(
        &mut self,
        text: &str,
        bills: &mpsc::UnboundedSender<String>,
        latencies: &mut Vec<Duration>,
    ) -> anyhow::Result<()> {
        let Some(json) = body(text) else { return Ok(()) };
        let event: serde_json::Value = serde_json::from_str(json)?;
        let value = |name: &str, index: usize| {
            let tags = event["tags"].as_array()?;
            let tag = tags.iter().find(|tag| tag[0] == name)?;
            tag[index].as_str().map(str::to_owned)
        };
        let Some(id) = value("e", 1) else { return Ok(()) };
        if event["kind"] == 6000 {
            if let Some(started) = self.started.remove(&id) {
                latencies.push(started.elapsed());
                self.ask(1).await?;
            }
        } else if value("status", 1).as_deref() == Some("payment-required")
            && let Some(bolt11) = value("amount", 2)
        {
            bills.send(bolt11)?;
        } else if value("status", 1).as_deref() == Some("error") {
            anyhow::bail!("the provider refused: {json}");
        }
        Ok(())
    }
}
