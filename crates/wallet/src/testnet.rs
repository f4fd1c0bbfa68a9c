//! The testnet: a wallet service of ours that speaks NIP-47 like any other, with real BOLT11
//! invoices, real preimages and hold invoices, and no network behind them.
//!
//! [`Ledger`] holds everybody's money and keeps a journal, so that a killed process loses no balance;
//! [`Service`] answers for it on a relay; [`Faults`] makes it behave as badly as real wallets do.

mod faults;
mod journal;
mod ledger;
mod service;

pub use faults::{Fault, Faults};
pub use ledger::{Account, Audit, Ledger, LedgerError, Opening};
pub use service::Service;

use crate::WalletKind;

/// The row of [`crate::WALLETS`].
pub const KIND: WalletKind =
    WalletKind { name: "testnet", about: "the node's own offline wallet service, with test money" };
