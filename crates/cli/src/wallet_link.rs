//! Asks a wallet who it is before its connection is kept: the way to its relays for that one question.

use std::{collections::HashMap, sync::Arc, sync::Mutex, sync::PoisonError};

use async_trait::async_trait;
use nostr::{Event, Filter, JsonUtil};
use openagents_node::runtime::Tasks;
use openagents_protocol::{Limits, accept};
use openagents_relay::{RelayActor, RelayConfig, RelayHandle, RelayNews, RelayUrl, SubId};
use openagents_types::Timestamp;
use openagents_wallet::{
    Info, WalletError,
    link::{Link, LinkError},
    nwc::{Connection, Nwc},
};
use tokio::sync::mpsc;

use crate::{exit::Exit, failure::Failure};

/// How many events may wait to be read; one answer is expected.
const BACKLOG: usize = 64;

type Listeners = Arc<Mutex<HashMap<SubId, mpsc::Sender<Event>>>>;

struct WalletLink {
    handles: Vec<RelayHandle>,
    listeners: Listeners,
}

/// Asks the wallet for its name, its network and its abilities (NIP-47 `get_info`).
pub(crate) async fn introduce(connection: &Connection) -> anyhow::Result<Info> {
    let urls = connection.relays().iter().map(|url| RelayUrl::parse(url)).collect::<Result<Vec<_>, _>>()?;
    let tasks = Tasks::new();
    let link = Arc::new(WalletLink::dial(urls, &tasks));
    let info = ask(connection, link).await;
    tasks.finish().await;
    Ok(info.map_err(|error| silent(&error))?)
}

async fn ask(connection: &Connection, link: Arc<WalletLink>) -> Result<Info, WalletError> {
    let (mut wallet, listener) = Nwc::connect(connection.clone(), link, now).await?;
    tokio::select! {
        info = wallet.introduce() => info,
        () = listener.run() => Err(WalletError::Unreachable("its relay closed the connection".into())),
    }
}

fn silent(reason: &dyn std::fmt::Display) -> Failure {
    let what = format!("the wallet does not answer: {reason}");
    Failure::new(
        Exit::Auth,
        what,
        "check the connection in your wallet, or keep it unverified with --no-verify",
    )
}

fn now() -> Timestamp {
    Timestamp::from_millis(crate::tables::now_ms())
}

impl WalletLink {
    fn dial(urls: Vec<RelayUrl>, tasks: &Tasks) -> Self {
        let (news, heard) = mpsc::channel(BACKLOG);
        let listeners = Listeners::default();
        let handles = urls.into_iter().map(|url| {
            let (handle, actor) = RelayActor::new(RelayConfig::new(url), news.clone());
            tasks.spawn(actor.run(tasks.stop_token()));
            handle
        });
        let handles = handles.collect();
        tasks.spawn_until_stop(pass_on(heard, listeners.clone()));
        Self { handles, listeners }
    }
}

/// Ends when the last relay has.
async fn pass_on(mut heard: mpsc::Receiver<(RelayUrl, RelayNews)>, listeners: Listeners) {
    while let Some((_, news)) = heard.recv().await {
        let RelayNews::Event(sub, event) = news else { continue };
        let listener = listeners.lock().unwrap_or_else(PoisonError::into_inner).get(&sub).cloned();
        if let Some(listener) = listener {
            // A listener that is gone has its answer already.
            let _ = listener.send(event.event().clone()).await;
        }
    }
}

#[async_trait]
impl Link for WalletLink {
    async fn publish(&self, event: Event) -> Result<(), LinkError> {
        let event =
            accept(&event.as_json(), &Limits::default()).map_err(|error| LinkError(error.to_string()))?;
        let mut sent = Err(LinkError("it has no relay".into()));
        for handle in &self.handles {
            match handle.publish(event.clone()) {
                Ok(()) => sent = Ok(()),
                Err(error) if sent.is_err() => sent = Err(LinkError(error.to_string())),
                Err(_) => {}
            }
        }
        sent
    }

    async fn subscribe(&self, filter: Filter) -> Result<mpsc::Receiver<Event>, LinkError> {
        let (sender, receiver) = mpsc::channel(BACKLOG);
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        let sub = SubId::parse(&format!("wallet-{}", listeners.len()))
            .map_err(|error| LinkError(error.to_string()))?;
        listeners.insert(sub.clone(), sender);
        for handle in &self.handles {
            handle
                .subscribe(sub.clone(), vec![filter.clone()])
                .map_err(|error| LinkError(error.to_string()))?;
        }
        Ok(receiver)
    }

    /// The relay crate hands out nothing that did not pass our own ingress.
    fn verifies(&self) -> bool {
        true
    }
}
