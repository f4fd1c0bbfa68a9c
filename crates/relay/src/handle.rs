//! The one way a node talks to a relay, remote or embedded: three calls that never wait.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use nostr::Filter;
use openagents_protocol::ingress::Verified;
use tokio::sync::mpsc;

use crate::{Hub, RelayUrl, SubId, hub::ClientId};

/// Talks to one relay. Clones talk to the same one. No call waits for the network.
#[derive(Clone, Debug)]
pub struct RelayHandle {
    url: RelayUrl,
    to: To,
}

#[derive(Clone, Debug)]
enum To {
    Remote { commands: mpsc::Sender<Command>, unsent: Unsent },
    Local { hub: Hub, client: ClientId },
}

/// What a handle asks of a [`crate::RelayActor`].
#[derive(Debug)]
pub(crate) enum Command {
    Publish(Verified),
    Subscribe(SubId, Vec<Filter>),
    Close(SubId),
}

/// How many events were taken from the node and not yet written to the socket.
#[derive(Clone, Debug)]
pub(crate) struct Unsent {
    count: Arc<AtomicUsize>,
    most: usize,
}

impl Unsent {
    pub(crate) fn new(most: usize) -> Self {
        Self { count: Arc::default(), most }
    }

    /// Counts one more, unless that would be too many.
    pub(crate) fn take(&self) -> bool {
        let more = |count| (count < self.most).then_some(count + 1);
        self.count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    /// Counts one more that has to be sent again, whether or not there is room.
    pub(crate) fn take_again(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    fn is_none(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    /// Counts one less.
    pub(crate) fn give_back(&self) {
        let _ = self.count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| count.checked_sub(1));
    }
}

/// A call could not be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandleError {
    /// Too much waits to be sent; keep it and try again after the next [`crate::RelayNews::Connected`]
    /// or [`crate::RelayNews::Ok`].
    #[error("the relay's queue is full; try again when it has caught up")]
    Full,
    /// The actor has ended, or the local client is gone.
    #[error("the relay client has stopped")]
    Stopped,
}

impl RelayHandle {
    pub(crate) fn remote(url: RelayUrl, commands: mpsc::Sender<Command>, unsent: Unsent) -> Self {
        Self { url, to: To::Remote { commands, unsent } }
    }

    pub(crate) fn local(url: RelayUrl, hub: Hub, client: ClientId) -> Self {
        Self { url, to: To::Local { hub, client } }
    }

    /// The relay.
    pub fn url(&self) -> &RelayUrl {
        &self.url
    }

    /// Whether all that was published is written to the relay.
    pub fn is_written(&self) -> bool {
        match &self.to {
            To::Local { .. } => true,
            To::Remote { unsent, .. } => unsent.is_none(),
        }
    }

    /// Sends an event. The relay's answer comes as [`crate::RelayNews::Ok`]; an event that was not
    /// answered when the connection broke is sent again on the next one.
    ///
    /// # Errors
    /// Too many events wait to be sent, or the actor has ended.
    pub fn publish(&self, event: Verified) -> Result<(), HandleError> {
        match &self.to {
            To::Local { hub, client } => hub.publish_from(*client, &event),
            To::Remote { commands, unsent } => {
                if !unsent.take() {
                    return Err(HandleError::Full);
                }
                send(commands, Command::Publish(event)).inspect_err(|_| unsent.give_back())
            }
        }
    }

    /// Asks for everything that matches one of `filters`, stored and to come, and keeps asking
    /// across reconnects until [`Self::close`]. A subscription of the same name is replaced.
    ///
    /// # Errors
    /// Too many calls wait, or the actor has ended.
    pub fn subscribe(&self, sub: SubId, filters: Vec<Filter>) -> Result<(), HandleError> {
        match &self.to {
            To::Local { hub, client } => hub.subscribe_from(*client, sub, filters),
            To::Remote { commands, .. } => send(commands, Command::Subscribe(sub, filters)),
        }
    }

    /// Ends a subscription; one that does not exist is no error.
    ///
    /// # Errors
    /// Too many calls wait, or the actor has ended.
    pub fn close(&self, sub: SubId) -> Result<(), HandleError> {
        match &self.to {
            To::Local { hub, client } => hub.close_from(*client, &sub),
            To::Remote { commands, .. } => send(commands, Command::Close(sub)),
        }
    }
}

fn send(commands: &mpsc::Sender<Command>, command: Command) -> Result<(), HandleError> {
    commands.try_send(command).map_err(|error| match error {
        mpsc::error::TrySendError::Full(_) => HandleError::Full,
        mpsc::error::TrySendError::Closed(_) => HandleError::Stopped,
    })
}
