//! How a wallet reaches its relay: over the embedded one by function call, over any other by a
//! connection of its own, so that jobs and money never wait for each other.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use nostr::{Event, Filter, JsonUtil};
use openagents_protocol::{Limits, accept};
use openagents_relay::{Hub, RelayActor, RelayConfig, RelayHandle, RelayNews, RelayUrl, SubId};
use openagents_wallet::link::{Link, LinkError};
use tokio::sync::mpsc;

use crate::runtime::Tasks;

/// How many events may wait for a wallet; beyond that its relay is slowed down.
const BACKLOG: usize = 4_096;

/// A way to one or several relays. Clones are the same way.
#[derive(Clone)]
pub(crate) struct RelayLink(Arc<Inner>);

struct Inner {
    handles: Vec<RelayHandle>,
    listeners: Mutex<HashMap<SubId, mpsc::Sender<Event>>>,
    next: AtomicU64,
}

impl RelayLink {
    /// The way to the embedded relay.
    pub(crate) fn embedded(hub: &Hub, url: &RelayUrl, tasks: &Tasks) -> Self {
        let mut client = hub.attach(url.clone(), BACKLOG);
        let link = Self::over(vec![client.handle()]);
        let hearing = link.clone();
        tasks.spawn_until_stop(async move {
            while let Some((_, news)) = client.recv().await {
                hearing.hear(news).await;
            }
        });
        link
    }

    /// The way to these relays.
    pub(crate) fn remote(urls: Vec<RelayUrl>, tasks: &Tasks) -> Self {
        let (news, mut heard) = mpsc::channel(BACKLOG);
        let mut handles = Vec::new();
        for url in urls {
            let (handle, actor) = RelayActor::new(RelayConfig::new(url), news.clone());
            tasks.spawn(actor.run(tasks.stop_token()));
            handles.push(handle);
        }
        let link = Self::over(handles);
        let hearing = link.clone();
        tasks.spawn_until_stop(async move {
            while let Some((_, news)) = heard.recv().await {
                hearing.hear(news).await;
            }
        });
        link
    }

    fn over(handles: Vec<RelayHandle>) -> Self {
        Self(Arc::new(Inner { handles, listeners: Mutex::default(), next: AtomicU64::new(0) }))
    }

    async fn hear(&self, news: RelayNews) {
        let RelayNews::Event(sub, event) = news else { return };
        let listener = {
            let listeners = self.0.listeners.lock().unwrap_or_else(PoisonError::into_inner);
            listeners.get(&sub).cloned()
        };
        let Some(listener) = listener else { return };
        if listener.send(event.event().clone()).await.is_err() {
            self.0.listeners.lock().unwrap_or_else(PoisonError::into_inner).remove(&sub);
            for handle in &self.0.handles {
                let _ = handle.close(sub.clone());
            }
        }
    }
}

#[async_trait]
impl Link for RelayLink {
    async fn publish(&self, event: Event) -> Result<(), LinkError> {
        let event =
            accept(&event.as_json(), &Limits::default()).map_err(|error| LinkError(error.to_string()))?;
        let mut sent = Err(LinkError("it has no relay".into()));
        for handle in &self.0.handles {
            match handle.publish(event.clone()) {
                Ok(()) => sent = Ok(()),
                Err(error) if sent.is_err() => sent = Err(LinkError(error.to_string())),
                Err(_) => {}
            }
        }
        sent
    }

    async fn subscribe(&self, filter: Filter) -> Result<mpsc::Receiver<Event>, LinkError> {
        let name = format!("wallet-{}", self.0.next.fetch_add(1, Ordering::Relaxed));
        let sub = SubId::parse(&name).map_err(|error| LinkError(error.to_string()))?;
        let (sender, receiver) = mpsc::channel(BACKLOG);
        self.0.listeners.lock().unwrap_or_else(PoisonError::into_inner).insert(sub.clone(), sender);
        for handle in &self.0.handles {
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
