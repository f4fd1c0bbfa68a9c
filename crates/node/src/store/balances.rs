//! The rows of customers' balances with us: every change is kept, and their sum is the balance.

use openagents_engine::{BalanceEntry, Change, Record};
use openagents_types::{CustomerKey, JobId, Msat, Timestamp};
use rusqlite::{Connection, Transaction, params};

use super::{StoreError, amount, millis};

/// What is kept for one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BalanceRow {
    /// Whose it is.
    pub customer: CustomerKey,
    /// How much.
    pub amount: Msat,
    /// When it last changed.
    pub changed_at: Timestamp,
    /// The job of the last change.
    pub job: JobId,
}

/// Which side of the account is summed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Account {
    /// What we keep for customers.
    Kept,
    /// Bills that they did not pay in time.
    Unpaid,
}

impl BalanceRow {
    /// As an engine takes it that goes on from here.
    pub(super) fn record(&self, account: Account) -> Record {
        let Self { customer, amount, changed_at, job } = *self;
        let change = if account == Account::Kept { Change::Credited } else { Change::Unpaid };
        Record::Balance(BalanceEntry { at: changed_at, customer, job, change, amount })
    }
}

/// Writes a change. It is part of the transaction that its job takes the step in, so it is written once.
pub(super) fn write(tx: &Transaction<'_>, entry: &BalanceEntry) -> Result<(), StoreError> {
    let sql = "INSERT INTO balances (customer, job, change, amount, at) VALUES (?1, ?2, ?3, ?4, ?5)";
    let signed = if entry.change.adds() { amount(entry.amount) } else { -amount(entry.amount) };
    tx.prepare_cached(sql)?.execute(params![
        entry.customer.as_bytes(),
        entry.job.as_bytes(),
        entry.change.word(),
        signed,
        millis(entry.at),
    ])?;
    Ok(())
}

/// What is on the account of each key that has something there, the most first.
pub(super) fn sums(db: &Connection, account: Account) -> Result<Vec<BalanceRow>, StoreError> {
    let debts = "change IN ('unpaid', 'paid-late')";
    let of = if account == Account::Kept { format!("NOT {debts}") } else { debts.to_owned() };
    let sql = format!(
        "SELECT b.customer, s.sum, b.at, b.job FROM balances b
         JOIN (SELECT customer, SUM(amount) AS sum, MAX(seq) AS last FROM balances WHERE {of} GROUP BY customer) s
         ON b.seq = s.last WHERE s.sum > 0 ORDER BY s.sum DESC, b.customer"
    );
    let mut statement = db.prepare_cached(&sql)?;
    let rows = statement.query_map([], |row| {
        Ok(BalanceRow {
            customer: CustomerKey::from_bytes(row.get(0)?),
            amount: Msat::new(row.get::<_, i64>(1)?.unsigned_abs()),
            changed_at: Timestamp::from_millis(row.get::<_, i64>(2)?.unsigned_abs()),
            job: JobId::from_bytes(row.get(3)?),
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]
mod tests {
    use super::*;
    use crate::store::{Batch, Store};

    #[test]
    fn the_sum_of_the_rows_is_the_balance_and_empty_ones_are_gone() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(&dir.path().join("node.db")).unwrap();
        let entry = |customer: u8, job: u8, change, msat| {
            Record::Balance(BalanceEntry {
                at: Timestamp::from_secs(u64::from(job)),
                customer: CustomerKey::from_bytes([customer; 32]),
                job: JobId::from_bytes([job; 32]),
                change,
                amount: Msat::new(msat),
            })
        };
        let records = vec![
            entry(1, 1, Change::Credited, 7_000),
            entry(2, 2, Change::Overpaid, 5),
            entry(1, 3, Change::Used, 3_000),
            entry(3, 4, Change::Credited, 9),
            entry(3, 4, Change::Claimed, 9),
            entry(1, 5, Change::Used, 1_000),
            entry(1, 5, Change::GivenBack, 1_000),
            entry(1, 6, Change::Unpaid, 800),
            entry(1, 7, Change::Unpaid, 300),
            entry(1, 7, Change::PaidLate, 300),
        ];
        store.commit(&Batch { records, ..Batch::default() }).unwrap();
        let kept: Vec<_> = sums(&store.db, Account::Kept)
            .unwrap()
            .iter()
            .map(|row| (row.customer, row.amount, row.job))
            .collect();
        let key = |n| CustomerKey::from_bytes([n; 32]);
        let job = |n| JobId::from_bytes([n; 32]);
        assert_eq!(kept, [(key(1), Msat::new(4_000), job(5)), (key(2), Msat::new(5), job(2))]);
        let debts = sums(&store.db, Account::Unpaid).unwrap();
        assert_eq!((debts.len(), debts[0].customer, debts[0].amount), (1, key(1), Msat::new(800)));
        let balances = |record: &Record| matches!(record, Record::Balance(_));
        assert_eq!(store.open_records().unwrap().iter().filter(|record| balances(record)).count(), 3);
    }
}
