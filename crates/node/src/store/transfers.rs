//! The rows of payments by hand.

use openagents_engine::Transfer;
use openagents_types::PaymentHash;
use rusqlite::{Connection, Row, Transaction, params};

use super::{StoreError, millis};

/// Which payments by hand are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transfers {
    /// All of them.
    All,
    /// Those that are not over.
    Open,
}

fn read(row: &Row<'_>) -> Result<Transfer, StoreError> {
    Ok(serde_json::from_str(&row.get::<_, String>(0)?)?)
}

/// A payment by hand, by its name.
pub(super) fn one(db: &Connection, hash: PaymentHash) -> Result<Option<Transfer>, StoreError> {
    let mut statement = db.prepare_cached("SELECT body FROM transfers WHERE hash = ?1")?;
    statement.query_and_then([hash.as_bytes()], read)?.next().transpose()
}

/// Payments by hand, newest first.
pub(super) fn list(db: &Connection, which: Transfers) -> Result<Vec<Transfer>, StoreError> {
    let only = match which {
        Transfers::All => "TRUE",
        Transfers::Open => "open = 1",
    };
    let sql = format!("SELECT body FROM transfers WHERE {only} ORDER BY since DESC, hash");
    db.prepare_cached(&sql)?.query_and_then([], read)?.collect()
}

/// Writes how one stands.
pub(super) fn write(tx: &Transaction<'_>, transfer: &Transfer) -> Result<(), StoreError> {
    let sql = "INSERT INTO transfers (hash, open, since, body) VALUES (?1, ?2, ?3, ?4)
               ON CONFLICT (hash) DO UPDATE SET open = excluded.open, body = excluded.body";
    tx.prepare_cached(sql)?.execute(params![
        transfer.hash().as_bytes(),
        !transfer.state.is_final(),
        millis(transfer.since),
        serde_json::to_string(transfer)?,
    ])?;
    Ok(())
}
