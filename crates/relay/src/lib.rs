//! Nostr relays from both ends: a client that survives bad ones, and a small relay to embed.
//!
//! Read in this order: [`RelayUrl`] and [`SubId`] name things; [`RelayHandle`] is how a node talks to
//! any relay and [`RelayNews`] is what it hears; [`RelayActor`] keeps one remote relay connected;
//! [`Hub`] is the embedded relay, which a node in the same process reaches through a
//! [`LocalClient`] at the cost of a function call and strangers reach through [`serve`].
//!
//! What an event means is left to `openagents-protocol`; here events are only verified, once, stored
//! and moved. Nothing here spawns a task on behalf of the caller except [`serve`], whose tasks end
//! with its stop token.

mod client;
mod frame;
mod handle;
mod hub;
mod matching;
mod news;
mod probe;
mod query;
mod server;
mod store;
mod sub;
mod text;
mod url;

pub use client::{Backoff, Gate, RelayActor, RelayConfig};
pub use handle::{HandleError, RelayHandle};
pub use hub::{Hub, HubConfig, HubStats, LocalClient, Rate, Verdict};
pub use news::RelayNews;
pub use nostr::Filter;
pub use probe::{ProbeError, RelayProbe, probe};
pub use query::{QueryError, query};
pub use server::{serve, serve_socket, upgrade};
pub use sub::{SubId, SubIdError};
pub use url::{RelayUrl, RelayUrlError};
