//! What a bitcoin cost when money moved, beside the ledger.

use openagents_engine::Entry;
use openagents_types::{PaymentHash, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::{StoreError, millis, movement_word};
use crate::fiat::Price;

/// The schema that has the table.
pub(super) const SINCE: i64 = 8;

/// What [`price`] reads, of a table named `f`.
pub(super) const COLUMNS: &str = "f.currency, f.per_btc, f.at";

/// Notes the price of a movement, in the transaction that books it.
pub(super) fn write(tx: &Transaction<'_>, entry: &Entry, price: &Price) -> Result<(), StoreError> {
    let sql =
        "INSERT OR IGNORE INTO fiat (hash, movement, currency, per_btc, at) VALUES (?1, ?2, ?3, ?4, ?5)";
    tx.prepare_cached(sql)?.execute(params![
        entry.hash.as_bytes(),
        movement_word(entry.movement),
        price.currency.as_str(),
        i64::try_from(price.per_btc).unwrap_or(i64::MAX),
        millis(price.at),
    ])?;
    Ok(())
}

/// The price at which a payment moved, one way or the other.
pub(super) fn one(db: &Connection, hash: PaymentHash, incoming: bool) -> Result<Option<Price>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM fiat f WHERE f.hash = ?1 AND f.movement <> 'fee'
         AND (f.movement IN ('earned', 'refund-received', 'received')) = ?2"
    );
    let mut statement = db.prepare_cached(&sql)?;
    let found = statement.query_row(params![hash.as_bytes(), incoming], |row| price(row, 0)).optional()?;
    Ok(found.flatten())
}

/// The price in [`COLUMNS`] that begin at `first`, if there is one.
pub(super) fn price(row: &Row<'_>, first: usize) -> rusqlite::Result<Option<Price>> {
    let Some(currency) = row.get::<_, Option<String>>(first)? else { return Ok(None) };
    let per_btc = row.get::<_, i64>(first + 1)?.unsigned_abs();
    let at = Timestamp::from_millis(row.get::<_, i64>(first + 2)?.unsigned_abs());
    Ok(currency.parse().ok().map(|currency| Price { currency, per_btc, at }))
}
