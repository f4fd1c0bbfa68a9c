//! The rows of jobs, sold and bought. What a customer asked of us is written once; how the job stands
//! is written at every step.

use std::{borrow::Cow, sync::Arc};

use openagents_engine::{
    Ask, Job,
    credit::Bill,
    ecash::EcashOffer,
    job::{State, Step},
    metering::Meter,
    payback::Payback,
    zap::Zap,
};
use openagents_types::{JobId, Msat, PaymentHash, Timestamp};
use rusqlite::{Connection, Row, Transaction, params};
use serde::{Deserialize, Serialize};

use super::{StoreError, millis};

/// Selects rows for [`sold`].
pub(super) const SOLD: &str =
    "SELECT requests.body, jobs.body FROM jobs JOIN requests ON requests.seq = jobs.seq";

/// Selects rows for [`bought`].
pub(super) const BOUGHT: &str = "SELECT body FROM asks";

/// Which jobs the engine has in hand.
pub(super) const IN_HAND: &str = "open = 1";

/// Which sold jobs are open for a person. One that has ended is still kept at hand while another payment for it may
/// come; nobody waits for that.
pub(super) const SOLD_OPEN: &str = "open = 1 AND word NOT IN \
    ('settled', 'unpaid', 'refused', 'expired', 'cancelled', 'failed', 'refunded', 'credited')";

/// Which bought jobs are open for a person. One that has failed is, as long as a payment of it is on its way.
pub(super) const BOUGHT_OPEN: &str = "open = 1 AND word <> 'settled'";

/// How a job stands.
#[derive(Serialize, Deserialize)]
struct Standing<'a> {
    received_at: Timestamp,
    changed_at: Timestamp,
    state: Cow<'a, State>,
    steps: Cow<'a, [Step]>,
    #[serde(default, skip_serializing_if = "<[PaymentHash]>::is_empty")]
    doubts: Cow<'a, [PaymentHash]>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ecash: Option<Cow<'a, EcashOffer>>,
    #[serde(default, skip_serializing_if = "<[Zap]>::is_empty")]
    zaps: Cow<'a, [Zap]>,
    #[serde(default, skip_serializing_if = "is_unused")]
    payback: Cow<'a, Payback>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bill: Option<Cow<'a, Bill>>,
    #[serde(default, skip_serializing_if = "is_zero")]
    arrears: Msat,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    meter: Option<Meter>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
const fn is_zero(amount: &Msat) -> bool {
    amount.is_zero()
}

fn is_unused(payback: &Payback) -> bool {
    payback.is_unused()
}

/// The job in a row of [`SOLD`].
pub(super) fn sold(row: &Row<'_>) -> Result<Job, StoreError> {
    let (request, standing): (String, String) = (row.get(0)?, row.get(1)?);
    let Standing {
        received_at,
        changed_at,
        state,
        steps,
        doubts,
        ecash,
        zaps,
        payback,
        bill,
        arrears,
        meter,
    } = serde_json::from_str(&standing)?;
    let request = Arc::new(serde_json::from_str(&request)?);
    Ok(Job {
        request,
        received_at,
        changed_at,
        state: state.into_owned(),
        steps: steps.into_owned(),
        doubts: doubts.into_owned(),
        ecash: ecash.map(|ecash| Box::new(ecash.into_owned())),
        zaps: zaps.into_owned(),
        payback: payback.into_owned(),
        bill: bill.map(Cow::into_owned),
        arrears,
        meter,
    })
}

/// The ask in a row of [`BOUGHT`].
pub(super) fn bought(row: &Row<'_>) -> Result<Ask, StoreError> {
    Ok(serde_json::from_str(&row.get::<_, String>(0)?)?)
}

/// The one row that `select` finds for `id`.
pub(super) fn one<T>(
    db: &Connection,
    select: &str,
    id: JobId,
    read: fn(&Row<'_>) -> Result<T, StoreError>,
) -> Result<Option<T>, StoreError> {
    let mut statement = db.prepare_cached(&format!("{select} WHERE id = ?1"))?;
    let mut rows = statement.query_and_then([id.as_bytes()], read)?;
    rows.next().transpose()
}

/// Writes how a job stands and, the first time, what was asked.
pub(super) fn write_sold(tx: &Transaction<'_>, job: &Job) -> Result<(), StoreError> {
    let standing = serde_json::to_string(&Standing {
        received_at: job.received_at,
        changed_at: job.changed_at,
        state: Cow::Borrowed(&job.state),
        steps: Cow::Borrowed(&job.steps),
        doubts: Cow::Borrowed(&job.doubts),
        ecash: job.ecash.as_deref().map(Cow::Borrowed),
        zaps: Cow::Borrowed(&job.zaps),
        payback: Cow::Borrowed(&job.payback),
        bill: job.bill.as_ref().map(Cow::Borrowed),
        arrears: job.arrears,
        meter: job.meter,
    })?;
    let (word, open) = (job.state.word(), !job.is_over());
    let sql = "UPDATE jobs SET word = ?2, open = ?3, changed_at = ?4, body = ?5 WHERE id = ?1";
    let known = tx.prepare_cached(sql)?.execute(params![
        job.id().as_bytes(),
        word,
        open,
        millis(job.changed_at),
        standing
    ])?;
    if known > 0 {
        return Ok(());
    }
    let sql = "INSERT INTO jobs (id, kind, word, open, received_at, changed_at, body)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let seq = tx.prepare_cached(sql)?.insert(params![
        job.id().as_bytes(),
        job.request.kind.get(),
        word,
        open,
        millis(job.received_at),
        millis(job.changed_at),
        standing,
    ])?;
    let request = serde_json::to_string(&job.request)?;
    tx.prepare_cached("INSERT INTO requests (seq, body) VALUES (?1, ?2)")?.execute(params![seq, request])?;
    Ok(())
}

/// Writes an ask.
pub(super) fn write_bought(tx: &Transaction<'_>, ask: &Ask) -> Result<(), StoreError> {
    let sql = "INSERT INTO asks (id, kind, word, open, asked_at, changed_at, body)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
               ON CONFLICT (id) DO UPDATE SET word = excluded.word, open = excluded.open,
               changed_at = excluded.changed_at, body = excluded.body";
    tx.prepare_cached(sql)?.execute(params![
        ask.id.as_bytes(),
        ask.spec.kind.get(),
        ask.word(),
        !ask.is_over(),
        millis(ask.asked_at),
        millis(ask.changed_at),
        serde_json::to_string(ask)?,
    ])?;
    Ok(())
}
