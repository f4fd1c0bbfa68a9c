//! The rows of checks: one each, nothing of what a customer wrote, and no more than are of use.

use openagents_api::{AuditView, Side};
use openagents_policy::{AuditEntry, Category};
use rusqlite::{Connection, Row, Transaction, params};

use super::StoreError;
use crate::audit::Audited;

/// Checks that are kept, the newest: a month of a busy node, in about 10 MB.
pub(super) const KEPT: i64 = 100_000;

/// The most that are read at once.
const PAGE: u32 = 5_000;

/// A check that is written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    /// Its number; later ones have larger numbers until all are cleared.
    pub seq: i64,
    /// The check.
    pub check: Audited,
}

impl From<AuditRow> for AuditView {
    fn from(row: AuditRow) -> Self {
        let AuditRow { seq, check: Audited { side, entry } } = row;
        let category = entry.category.map(|category| category.id().to_owned());
        let (time, kind, result) = (entry.time, entry.kind, entry.result);
        Self { seq, time, side, kind, result, category, reason: entry.reason, content: entry.content }
    }
}

/// Writes checks, and drops the oldest of too many.
pub(super) fn write(tx: &Transaction<'_>, checks: &[Audited]) -> Result<(), StoreError> {
    let mut newest = None;
    for Audited { side, entry } in checks {
        let sql = "INSERT INTO audit (at, side, kind, result, reason, category, content)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        newest = Some(tx.prepare_cached(sql)?.insert(params![
            i64::try_from(entry.time).unwrap_or(i64::MAX),
            side.word(),
            entry.kind,
            entry.result,
            entry.reason,
            entry.category.map(|category| category.id()),
            entry.content,
        ])?);
    }
    if let Some(newest) = newest {
        tx.prepare_cached("DELETE FROM audit WHERE seq <= ?1")?.execute([newest - KEPT])?;
    }
    Ok(())
}

/// Checks not older than `since` (seconds since 1970) and with a larger number than `after`, oldest first.
pub(super) fn read(db: &Connection, since: u64, after: i64, limit: u32) -> Result<Vec<AuditRow>, StoreError> {
    let sql = "SELECT seq, at, side, kind, result, reason, category, content FROM audit
               WHERE seq > ?1 AND at >= ?2 ORDER BY seq LIMIT ?3";
    let since = i64::try_from(since).unwrap_or(i64::MAX);
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map(params![after, since, limit.min(PAGE)], row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// How many checks were denied in each category, the most first.
pub(super) fn denied(db: &Connection) -> Result<Vec<(Category, u64)>, StoreError> {
    let sql = "SELECT category, COUNT(*) FROM audit WHERE result = 'denied' AND category IS NOT NULL
               GROUP BY category ORDER BY COUNT(*) DESC, category";
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement
        .query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?.unsigned_abs())))?;
    let rows = rows.collect::<Result<Vec<_>, _>>()?;
    // A category that this version does not know has no name to show.
    Ok(rows.into_iter().filter_map(|(id, count)| Some((id.parse().ok()?, count))).collect())
}

fn row(row: &Row<'_>) -> rusqlite::Result<AuditRow> {
    let side: String = row.get(2)?;
    let category: Option<String> = row.get(6)?;
    let entry = AuditEntry {
        time: row.get::<_, i64>(1)?.unsigned_abs(),
        kind: row.get(3)?,
        result: row.get(4)?,
        reason: row.get(5)?,
        category: category.and_then(|id| id.parse().ok()),
        content: row.get(7)?,
    };
    let side = if side == Side::Sold.word() { Side::Sold } else { Side::Bought };
    Ok(AuditRow { seq: row.get(0)?, check: Audited { side, entry } })
}
