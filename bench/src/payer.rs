//! Who pays for the load: a customer's wallet on the node's testnet, over NIP-47 like any other.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Context;
use async_trait::async_trait;
use nostr::{Event, Filter, JsonUtil};
use openagents_types::{Msat, Timestamp};
use openagents_wallet::{
    Pay, Wallet, bolt11,
    link::{Link, LinkError},
    nwc::{Connection, Nwc},
};
use tokio::sync::mpsc;

use crate::{event, socket};

/// Opens an account at the node in `home`; the connection to it.
pub(crate) async fn open_wallet(program: &Path, home: &Path, flags: &[&str]) -> anyhow::Result<String> {
    let output = tokio::process::Command::new(program)
        .args(["testnet", "wallet", "new"])
        .args(flags)
        .env("OPENAGENTS_HOME", home)
        .output()
        .await?;
    let text = String::from_utf8(output.stdout)?;
    let uri = text.split_whitespace().find(|word| word.starts_with("nostr+walletconnect://"));
    Ok(uri.context("no wallet was opened")?.to_owned())
}

/// See the module.
pub(crate) struct Payer {
    wallet: Nwc,
}

impl Payer {
    /// Opens a funded account at the node in `home` and connects to it.
    pub(crate) async fn open(program: &Path, home: &Path) -> anyhow::Result<Self> {
        let connection: Connection = open_wallet(program, home, &["--sats", "100000000"]).await?.parse()?;
        let relay = connection.relays().first().cloned().context("the wallet names its relay")?;
        let link = Arc::new(SocketLink::open(&relay).await?);
        let (mut wallet, listener) = Nwc::connect(connection, link, now).await?;
        tokio::spawn(listener.run());
        wallet.introduce().await?;
        Ok(Self { wallet })
    }

    /// Pays, and waits until the payment is settled or given back.
    pub(crate) async fn pay(&self, text: String) {
        let Ok(invoice) = bolt11::decode(&text) else { return };
        let pay = Pay { invoice: &invoice, max_fee: Msat::ZERO, first_attempt: true };
        if let Err(error) = self.wallet.pay(pay).await {
            eprintln!("a payment failed: {error}");
        }
    }
}

fn now() -> Timestamp {
    let secs = nostr::Timestamp::now().as_secs();
    Timestamp::from_secs(secs)
}

type Listeners = Arc<Mutex<Vec<(String, mpsc::Sender<Event>)>>>;

/// One socket to the relay for the wallet's events.
struct SocketLink {
    frames: mpsc::UnboundedSender<String>,
    listeners: Listeners,
}

impl SocketLink {
    async fn open(relay: &str) -> anyhow::Result<Self> {
        let (mut writer, mut reader) = socket::connect(relay).await?;
        let (frames, mut outgoing) = mpsc::unbounded_channel::<String>();
        let listeners = Listeners::default();
        let hearing = listeners.clone();
        tokio::spawn(async move {
            while let Some(first) = outgoing.recv().await {
                let mut batch = vec![first];
                while let Ok(next) = outgoing.try_recv() {
                    batch.push(next);
                }
                if writer.send(batch).await.is_err() {
                    return;
                }
            }
        });
        tokio::spawn(async move {
            while let Ok(text) = reader.next().await {
                pass_on(&text, &hearing).await;
            }
        });
        Ok(Self { frames, listeners })
    }
}

async fn pass_on(text: &str, listeners: &Listeners) {
    let Some(json) = event::body(text) else { return };
    let Ok(event) = Event::from_json(json) else { return };
    let name = text.split('"').nth(3).unwrap_or_default();
    let listener = {
        let listeners = listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.iter().find(|(sub, _)| sub == name).map(|(_, sender)| sender.clone())
    };
    if let Some(listener) = listener {
        let _ = listener.send(event).await;
    }
}

#[async_trait]
impl Link for SocketLink {
    async fn publish(&self, event: Event) -> Result<(), LinkError> {
        self.frames.send(event::frame(&event)).map_err(|error| LinkError(error.to_string()))
    }

    async fn subscribe(&self, filter: Filter) -> Result<mpsc::Receiver<Event>, LinkError> {
        let (sender, receiver) = mpsc::channel(4_096);
        let name = {
            let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
            let name = format!("pay-{}", listeners.len());
            listeners.push((name.clone(), sender));
            name
        };
        self.frames
            .send(format!("[\"REQ\",\"{name}\",{}]", filter.as_json()))
            .map_err(|error| LinkError(error.to_string()))?;
        Ok(receiver)
    }
}
