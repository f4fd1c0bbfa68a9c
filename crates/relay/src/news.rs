//! What a node hears from a relay, whether the relay is remote or embedded.

use std::time::Duration;

use openagents_protocol::ingress::Verified;
use openagents_types::EventId;

use crate::SubId;

/// One thing that happened on one relay. Text from the relay is already cut and safe to print.
#[derive(Clone, Debug)]
pub enum RelayNews {
    /// The connection stands; every subscription is being (re)made.
    Connected,
    /// The connection is gone; the actor tries again by itself.
    Disconnected {
        /// What happened, for a person.
        reason: String,
        /// When the next attempt starts.
        retry_in: Duration,
        /// How many attempts in a row have failed; 0 after a connection that was of use.
        attempt: u32,
    },
    /// A verified event that matches a filter of the subscription. Each event comes once per
    /// subscription, also across reconnects, as far back as the actor remembers.
    Event(SubId, Verified),
    /// Everything stored was sent (EOSE); what follows on the subscription is live.
    Stored(SubId),
    /// The relay's answer to a published event.
    Ok {
        /// The event.
        event: EventId,
        /// Whether the relay took it (or already had it).
        accepted: bool,
        /// Why not, in the relay's words, such as `blocked: not paid`.
        message: String,
    },
    /// The relay ended the subscription. A remote actor asks again by itself, ever more slowly.
    Closed {
        /// The subscription.
        sub: SubId,
        /// Why, in the relay's words.
        reason: String,
    },
    /// The relay has something to say to a person.
    Notice(String),
    /// Events were left out because this client's queue was full. Subscribe again, with `since`
    /// a little before the last event you have, and they come again. Only an embedded relay says
    /// this: a remote one is not read while the queue is full.
    Lagged,
}
