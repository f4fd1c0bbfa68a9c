//! The rows of receipts: the words, both signatures, the dispute if there is one.

use openagents_api::Side;
use openagents_engine::{
    Record,
    receipt::{Dispute, ReceiptRecord},
};
use openagents_types::{JobId, Millis, Receipt, Timestamp};
use rusqlite::{Connection, Row, Transaction, params};

use super::{StoreError, millis, rows};

/// How far back a receipt may still come: as long as relays keep its copy.
const LATEST: Millis = Millis::from_secs(86_400);

/// How many jobs are asked about again after a restart, newest first.
const ASKED_AGAIN: u32 = 256;

/// A receipt as it is kept.
#[derive(Clone, Debug)]
pub struct ReceiptRow {
    /// Its place in the list.
    pub seq: i64,
    /// Which half of the market it belongs to.
    pub side: Side,
    /// What it says.
    pub receipt: Receipt,
    /// The same to the letter, as it was signed.
    pub body: String,
    /// The provider's event, as JSON.
    pub signed: Option<String>,
    /// The customer's event, as JSON.
    pub countersigned: Option<String>,
    /// What about it is not so, by our own records.
    pub dispute: Option<Dispute>,
}

/// Selects rows for [`read`].
const SELECT: &str = "SELECT r.seq, r.side, r.body, r.theirs, o.json, r.dispute FROM receipts r
    LEFT JOIN outbox o ON o.job = r.job
    AND o.slot = CASE r.side WHEN 'sold' THEN 'receipt' ELSE 'countersignature' END";

fn read(row: &Row<'_>) -> Result<ReceiptRow, StoreError> {
    let (side, body): (String, String) = (row.get(1)?, row.get(2)?);
    let (theirs, ours): (Option<String>, Option<String>) = (row.get(3)?, row.get(4)?);
    let dispute: Option<String> = row.get(5)?;
    let side = if side == Side::Sold.word() { Side::Sold } else { Side::Bought };
    let (signed, countersigned) = match side {
        Side::Sold => (ours, theirs),
        Side::Bought => (theirs, ours),
    };
    Ok(ReceiptRow {
        seq: row.get(0)?,
        side,
        receipt: serde_json::from_str(&body)?,
        body,
        signed,
        countersigned,
        dispute: dispute.map(|text| serde_json::from_str(&text)).transpose()?,
    })
}

/// Writes a receipt, the first one of its half of a job.
pub(super) fn write(tx: &Transaction<'_>, record: &ReceiptRecord) -> Result<(), StoreError> {
    let job = record.receipt().job;
    let sql = "INSERT OR IGNORE INTO receipts (job, side, body, theirs, dispute) VALUES (?1, ?2, ?3, ?4, ?5)";
    let mut insert = tx.prepare_cached(sql)?;
    match record {
        ReceiptRecord::Issued { receipt } => {
            // As `openagents_protocol::receipt::body` writes what is signed.
            let body = serde_json::to_string(receipt)?;
            insert.execute(params![
                job.as_bytes(),
                Side::Sold.word(),
                body,
                None::<String>,
                None::<String>
            ])?;
        }
        ReceiptRecord::Received { body, raw, dispute, .. } => {
            let dispute = dispute.as_ref().map(serde_json::to_string).transpose()?;
            insert.execute(params![
                job.as_bytes(),
                Side::Bought.word(),
                body.as_ref(),
                raw.as_ref(),
                dispute
            ])?;
        }
    }
    Ok(())
}

/// Keeps a customer's signature under a receipt of ours, the first one.
pub(super) fn countersign(tx: &Transaction<'_>, job: JobId, signed: &str) -> Result<(), StoreError> {
    let sql = "UPDATE receipts SET theirs = ?2 WHERE job = ?1 AND side = 'sold' AND theirs IS NULL";
    tx.prepare_cached(sql)?.execute(params![job.as_bytes(), signed])?;
    Ok(())
}

/// The receipt of one half of a job.
pub(super) fn one(db: &Connection, job: JobId, side: Side) -> Result<Option<ReceiptRow>, StoreError> {
    let mut statement = db.prepare_cached(&format!("{SELECT} WHERE r.job = ?1 AND r.side = ?2"))?;
    statement.query_and_then(params![job.as_bytes(), side.word()], read)?.next().transpose()
}

/// Receipts, newest first, of one half or of both.
pub(super) fn list(
    db: &Connection,
    side: Option<Side>,
    after: Option<i64>,
    limit: u32,
) -> Result<Vec<ReceiptRow>, StoreError> {
    let sql = format!(
        "{SELECT} WHERE (?1 IS NULL OR r.side = ?1) AND (?2 IS NULL OR r.seq < ?2) ORDER BY r.seq DESC LIMIT ?3"
    );
    let mut statement = db.prepare_cached(&sql)?;
    statement.query_and_then(params![side.map(Side::word), after, limit], read)?.collect()
}

/// Jobs that were bought and settled within the last day and have no receipt.
pub(super) fn unreceipted(db: &Connection, now: Timestamp) -> Result<Vec<Record>, StoreError> {
    let sql = format!(
        "{} WHERE open = 0 AND word = 'settled' AND asked_at >= ?1 AND NOT EXISTS
         (SELECT 1 FROM receipts r WHERE r.job = asks.id AND r.side = 'bought')
         ORDER BY asked_at DESC LIMIT ?2",
        rows::BOUGHT
    );
    let mut statement = db.prepare(&sql)?;
    let asks = statement.query_and_then(params![millis(now.before(LATEST)), ASKED_AGAIN], rows::bought)?;
    asks.map(|ask| Ok(Record::Ask(Box::new(ask?)))).collect()
}
