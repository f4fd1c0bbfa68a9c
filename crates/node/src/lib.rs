//! The node: wires and I/O around the market engine.
//!
//! [`Node::bind`] opens every port and restores every open job; [`Node::run`] serves until told to
//! stop, then lets running work finish. In reading order: [`home`], [`config`], [`identity`] and
//! [`device`] say where and who we are, [`seeds`] what its money is derived from; [`store`] is what survives; the [`driver`] owns the engine; [`relays`],
//! [`till`] and [`workers`] are its hands; `server` and `app` are what others see.

mod acceptable;
mod advertise;
mod app;
pub mod audit;
pub mod beside;
pub mod breez;
mod bus;
pub mod cashu;
mod clock;
pub mod config;
mod decline;
mod desk;
pub mod detect;
pub mod device;
mod documents;
pub mod doubts;
pub mod driver;
pub mod failpoint;
pub mod fiat;
pub mod guests;
mod hand;
pub mod home;
pub mod identity;
pub mod judge;
pub mod ldk;
mod link;
mod lnurl;
mod market;
mod media;
mod moderation;
mod payback;
pub mod relays;
pub mod resolve;
mod resources;
mod router;
pub mod runtime;
pub mod seeds;
mod server;
mod shift;
pub mod spark;
pub mod speeds;
mod stock;
pub mod store;
pub mod suggest;
mod templates;
pub mod till;
mod wallets;
pub mod workers;
pub mod zaps;

mod node;
mod nostr_work;
mod offers;
mod reconcile;

/// Makes ring the TLS implementation of this process, once.
pub fn install_tls() {
    // Another caller was first; it installed the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

pub use app::Archive;
pub use node::{Node, NodeError, Options, Role, Up, WalletChoice};
