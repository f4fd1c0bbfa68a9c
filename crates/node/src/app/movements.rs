//! The books of the market, line by line: what moved, for which job and to whom, and what has not moved yet or came
//! back.

use std::collections::HashMap;

use openagents_api::{MovementView, Side};
use openagents_engine::{
    Ask, Direction, Job, Transfer, TransferState,
    customer::{Attempt, Money, Reclaim},
};
use openagents_types::{JobId, Rail};

use super::view;
use crate::store::{LedgerRow, Page, Reader, StoreError, Transfers};

/// How many jobs are read at once.
const JOBS: u32 = 500;

/// Which jobs are read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    All,
    /// Those that are not over: only they have money under way.
    Open,
}

/// What is locked or under way, in either direction.
pub(super) fn pending(reader: &Reader) -> Result<Vec<MovementView>, StoreError> {
    let (asks, jobs) = (asks(reader, Which::Open)?, jobs(reader, Which::Open)?);
    let transfers = reader.transfers(Transfers::Open)?;
    let unmoved = asks.values().flat_map(unmoved_of_bought).chain(jobs.values().filter_map(unmoved_of_sold));
    let unmoved = unmoved.chain(transfers.iter().filter_map(unmoved_by_hand));
    Ok(unmoved.filter(|line| line.state == "pending").collect())
}

/// Everything, newest first.
pub(super) fn all(reader: &Reader) -> Result<Vec<MovementView>, StoreError> {
    let (asks, jobs) = (asks(reader, Which::All)?, jobs(reader, Which::All)?);
    let transfers: HashMap<String, Transfer> =
        reader.transfers(Transfers::All)?.into_iter().map(|t| (t.hash().to_hex(), t)).collect();
    let line = |row: LedgerRow| match row.job {
        Some(job) => moved(row, job, &asks, &jobs),
        None => moved_by_hand(row, &transfers),
    };
    let mut lines: Vec<MovementView> = reader.whole_ledger()?.into_iter().map(line).collect();
    lines.extend(transfers.values().filter_map(unmoved_by_hand));
    lines.extend(asks.values().flat_map(unmoved_of_bought));
    lines.extend(jobs.values().filter_map(unmoved_of_sold));
    lines.sort_by(|a, b| (b.at, &a.hash, &a.movement).cmp(&(a.at, &b.hash, &b.movement)));
    Ok(lines)
}

fn asks(reader: &Reader, which: Which) -> Result<HashMap<JobId, Ask>, StoreError> {
    let (mut all, mut page) = (HashMap::new(), Page { limit: JOBS, open: which == Which::Open, after: None });
    loop {
        let some = reader.asks(page)?;
        let Some(last) = some.last() else { return Ok(all) };
        page.after = Some(last.id);
        all.extend(some.into_iter().filter(|ask| !ask.attempts.is_empty()).map(|ask| (ask.id, ask)));
    }
}

fn jobs(reader: &Reader, which: Which) -> Result<HashMap<JobId, Job>, StoreError> {
    let (mut all, mut page) = (HashMap::new(), Page { limit: JOBS, open: which == Which::Open, after: None });
    loop {
        let some = reader.jobs(page)?;
        let Some(last) = some.last() else { return Ok(all) };
        page.after = Some(last.id());
        all.extend(some.into_iter().filter(|job| job.state.hash().is_some()).map(|job| (job.id(), job)));
    }
}

fn moved(row: LedgerRow, id: JobId, asks: &HashMap<JobId, Ask>, jobs: &HashMap<JobId, Job>) -> MovementView {
    let sold = matches!(row.movement.as_str(), "earned" | "refund-paid");
    let (side, kind, counterparty) = if sold {
        let job = jobs.get(&id);
        (Side::Sold, job.map(|job| job.request.kind), job.map(|job| job.request.customer.to_hex()))
    } else {
        let ask = asks.get(&id);
        let attempt = ask.and_then(|ask| ask.attempts.iter().find(|attempt| is_of(attempt, &row.hash)));
        let provider = attempt.map(|attempt| attempt.quote.provider.to_hex());
        (Side::Bought, ask.map(|ask| ask.spec.kind), provider)
    };
    MovementView {
        at: row.at,
        job: row.job,
        side: Some(side),
        kind,
        counterparty,
        movement: row.movement,
        msat: row.msat,
        state: "settled".into(),
        rail: rail_of(id, &row.hash, asks, jobs).word().into(),
        hash: row.hash,
        fiat: row.price.map(|price| price.of(row.msat)),
    }
}

/// Which way a payment for a job took. A refund is always paid by invoice.
fn rail_of(id: JobId, hash: &str, asks: &HashMap<JobId, Ask>, jobs: &HashMap<JobId, Job>) -> Rail {
    let bought = || asks.get(&id)?.attempts.iter().find(|attempt| attempt.hash().to_hex() == hash);
    let sold = || jobs.get(&id)?.ecash_hash().filter(|ecash| ecash.to_hex() == hash);
    match (bought(), sold()) {
        (Some(attempt), _) => attempt.rail,
        (None, Some(_)) => Rail::Cashu,
        (None, None) => Rail::Bolt11,
    }
}

fn moved_by_hand(row: LedgerRow, transfers: &HashMap<String, Transfer>) -> MovementView {
    MovementView {
        at: row.at,
        job: None,
        side: None,
        kind: None,
        counterparty: transfers.get(&row.hash).map(|transfer| transfer.about.clone()),
        movement: row.movement,
        msat: row.msat,
        state: "settled".into(),
        hash: row.hash,
        rail: Rail::Bolt11.word().into(),
        fiat: row.price.map(|price| price.of(row.msat)),
    }
}

/// A payment by hand that is under way or came back. An invoice that nobody has paid yet is no payment.
fn unmoved_by_hand(transfer: &Transfer) -> Option<MovementView> {
    let state = match (&transfer.state, transfer.direction) {
        (TransferState::Pending | TransferState::Doubtful { .. }, Direction::Out) => "pending",
        (TransferState::Returned { .. }, Direction::Out) => "failed",
        (_, Direction::In) | (TransferState::Settled { .. } | TransferState::Lapsed, Direction::Out) => {
            return None;
        }
    };
    Some(MovementView {
        at: transfer.since.millis(),
        job: None,
        side: None,
        kind: None,
        counterparty: Some(transfer.about.clone()),
        movement: "sent".into(),
        msat: i64::try_from(transfer.invoice.amount.get()).map_or(i64::MIN, |msat| -msat),
        state: state.into(),
        hash: transfer.hash().to_hex(),
        rail: Rail::Bolt11.word().into(),
        fiat: None,
    })
}

/// Whether a payment is an attempt's own or its refund. A refund that has come no longer has a name in the attempt.
fn is_of(attempt: &Attempt, hash: &str) -> bool {
    let own = attempt.hash().to_hex() == hash;
    own || matches!(&attempt.money, Money::Settled { reclaim: Reclaim::Done, .. })
}

fn unmoved_of_bought(ask: &Ask) -> Vec<MovementView> {
    let unmoved = ask.attempts.iter().filter_map(|attempt| {
        let state = match &attempt.money {
            Money::Pending | Money::Doubtful => "pending",
            Money::Returned => "failed",
            Money::Settled { .. } => return None,
        };
        Some((attempt, state))
    });
    unmoved
        .map(|(attempt, state)| MovementView {
            at: attempt.since.millis(),
            job: Some(ask.id),
            side: Some(Side::Bought),
            kind: Some(ask.spec.kind),
            counterparty: Some(attempt.quote.provider.to_hex()),
            movement: "spent".into(),
            msat: i64::try_from(attempt.quote.price.get()).map_or(i64::MIN, |msat| -msat),
            state: state.into(),
            hash: attempt.hash().to_hex(),
            rail: attempt.rail.word().into(),
            fiat: None,
        })
        .collect()
}

/// A payment that is locked for us. One that nobody has made yet is no payment.
fn unmoved_of_sold(job: &Job) -> Option<MovementView> {
    let (hash, amount) = (job.state.hash()?, job.state.locked()?);
    Some(MovementView {
        at: job.changed_at.millis(),
        job: Some(job.id()),
        side: Some(Side::Sold),
        kind: Some(job.request.kind),
        counterparty: Some(job.request.customer.to_hex()),
        movement: "earned".into(),
        msat: i64::try_from(amount.get()).unwrap_or(i64::MAX),
        state: "pending".into(),
        hash: hash.to_hex(),
        rail: view::sold_rail(job).unwrap_or_default().word().into(),
        fiat: None,
    })
}
