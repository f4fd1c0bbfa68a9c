//! What survives the process: SQLite in WAL mode, one writer, one transaction a batch.
//!
//! The driver owns the only [`Store`]; pages and the API read through a [`Reader`] of their own. A
//! batch that concerns money is synced to the disk before anything is done about it; one that holds
//! only free work survives a kill but not a power cut.

mod audit;
mod balances;
mod fiat;
mod migrations;
mod reader;
mod receipts;
mod rows;
mod transfers;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use openagents_api::Side;
use openagents_engine::{
    Ask, Direction, Entry, Job, Movement, PaymentRow, Record, Standing, Transfer, transfer::in_place_of_a_job,
};
use openagents_types::{EventId, JobId, Msat, PaymentHash, ProviderKey, Timestamp};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use crate::{audit::Audited, fiat::Price};
pub use audit::AuditRow;
pub use balances::{Account, BalanceRow};
pub use reader::{BookedPayment, LedgerRow, Page, Reader};
pub use receipts::ReceiptRow;
pub use transfers::Transfers;

/// Why the store cannot be used. Nothing was half-written: a transaction is whole or absent.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite refused.
    #[error("the database cannot be used: {0}; nothing was half-written")]
    Sqlite(#[from] rusqlite::Error),
    /// A record cannot be read back.
    #[error("a record in the database cannot be read: {0}; restore a backup or report this")]
    Record(#[from] serde_json::Error),
    /// The file was written by a newer program.
    #[error(
        "{path} was written by a newer version of openagents (schema {found}, this one knows {known}); update openagents"
    )]
    TooNew {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: u32,
        /// The newest schema we know.
        known: u32,
    },
    /// SQLite found the file damaged.
    #[error("{path} is damaged: {report}; restore a backup, and run `openagents doctor`")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        report: String,
    },
    /// A payment hash that belongs to one job was to be given to another.
    #[error("payment {0} already belongs to another job; nothing was paid")]
    PaymentTaken(PaymentHash),
}

/// An event that has to reach the relays.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// The event's id.
    pub event: EventId,
    /// The job it is about.
    pub job: JobId,
    /// What it says, so that the same thing is said once: two results for one job cannot be stored.
    pub slot: String,
    /// The signed event.
    pub json: String,
}

/// Everything one batch writes.
#[derive(Debug, Default)]
pub struct Batch {
    /// Records, in the order they were decided.
    pub records: Vec<Record>,
    /// Events to send.
    pub outbox: Vec<Outgoing>,
    /// Events that a relay has confirmed.
    pub sent: Vec<EventId>,
    /// Checks of jobs.
    pub audit: Vec<Audited>,
    /// Customers' signatures under our receipts, as JSON.
    pub countersigned: Vec<(JobId, String)>,
    /// What a bitcoin costs now, if that is known: noted beside every movement of money.
    pub price: Option<Price>,
}

impl Batch {
    /// Whether there is nothing that has to be written now. Confirmations can wait.
    pub(crate) fn can_wait(&self) -> bool {
        self.records.is_empty()
            && self.outbox.is_empty()
            && self.audit.is_empty()
            && self.countersigned.is_empty()
    }

    /// Whether money depends on the batch, so that it has to reach the disk.
    fn holds_money(&self) -> bool {
        self.records.iter().any(|record| match record {
            Record::Job(job) => job.state.holds_money(),
            Record::Ask(ask) => !ask.attempts.is_empty(),
            Record::Payment(_) | Record::Entry(_) | Record::Transfer(_) | Record::Balance(_) => true,
            Record::Standing(_) | Record::Content { .. } | Record::Receipt(_) => false,
        })
    }
}

/// The writer.
#[derive(Debug)]
pub struct Store {
    db: Connection,
    synced: Option<bool>,
    /// Confirmed events that the outbox does not know of yet. A kill forgets them, and then they are
    /// sent once more, which no relay minds; a transaction for each would cost as much as the job.
    confirmed: Vec<EventId>,
}

/// How many confirmations may wait for a batch that has to be written anyway.
const CONFIRMED: usize = 1_024;

/// Pages in the log before it is folded into the database: each fold waits for the disk.
const CHECKPOINT: u32 = 4_096;

impl Store {
    /// Opens or creates the database at `path`.
    ///
    /// # Errors
    /// The file cannot be opened, is damaged, or is newer than this program.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let mut db = Connection::open(path)?;
        db.pragma_update(None, "journal_mode", "WAL")?;
        db.pragma_update(None, "foreign_keys", true)?;
        db.pragma_update(None, "synchronous", "FULL")?;
        db.pragma_update(None, "wal_autocheckpoint", CHECKPOINT)?;
        // Readers hold snapshots for milliseconds; the writer waits for a checkpoint, never long.
        db.busy_timeout(std::time::Duration::from_secs(5))?;
        db.set_prepared_statement_cache_capacity(64);
        check(&db, path)?;
        migrations::apply(&mut db, path)?;
        Ok(Self { db, synced: None, confirmed: Vec::new() })
    }

    /// Writes a batch in one transaction; one that only confirms waits for the next, or for
    /// [`Self::write_confirmed`].
    ///
    /// # Errors
    /// Nothing of the batch is written.
    pub fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        self.confirmed.extend(&batch.sent);
        if batch.can_wait() && self.confirmed.len() < CONFIRMED {
            return Ok(());
        }
        self.write(batch)
    }

    /// Writes down the confirmations that wait.
    ///
    /// # Errors
    /// They still wait.
    pub fn write_confirmed(&mut self) -> Result<(), StoreError> {
        if self.confirmed.is_empty() { Ok(()) } else { self.write(&Batch::default()) }
    }

    /// Before the last word: writes the confirmations and the checks that wait, and brings the log into the database, so
    /// that one file holds everything.
    ///
    /// # Errors
    /// They still wait; the log is read at the next start.
    pub fn finish(&mut self, audit: Vec<Audited>) -> Result<(), StoreError> {
        self.commit(&Batch { audit, ..Batch::default() })?;
        self.write_confirmed()?;
        Ok(self.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?)
    }

    /// Forgets all checks; gives their number.
    ///
    /// # Errors
    /// None is forgotten.
    pub fn clear_audit(&mut self) -> Result<u64, StoreError> {
        Ok(self.db.execute("DELETE FROM audit", [])? as u64)
    }

    fn write(&mut self, batch: &Batch) -> Result<(), StoreError> {
        crate::failpoint::hit("store.commit.before");
        self.sync(batch.holds_money())?;
        let tx = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for record in &batch.records {
            write_record(&tx, record, batch.price)?;
        }
        for outgoing in &batch.outbox {
            write_outgoing(&tx, outgoing)?;
        }
        for (job, signed) in &batch.countersigned {
            receipts::countersign(&tx, *job, signed)?;
        }
        audit::write(&tx, &batch.audit)?;
        for event in &self.confirmed {
            tx.prepare_cached("UPDATE outbox SET sent = 1 WHERE event = ?1")?.execute([event.as_bytes()])?;
        }
        tx.commit()?;
        self.confirmed.clear();
        crate::failpoint::hit("store.commit.after");
        Ok(())
    }

    fn sync(&mut self, money: bool) -> Result<(), StoreError> {
        if self.synced != Some(money) {
            self.db.pragma_update(None, "synchronous", if money { "FULL" } else { "NORMAL" })?;
            self.synced = Some(money);
        }
        Ok(())
    }

    /// Everything that an engine needs to go on: open jobs, open asks, open payments by hand, standings.
    ///
    /// # Errors
    /// A record cannot be read.
    pub fn open_records(&self) -> Result<Vec<Record>, StoreError> {
        let mut records = Vec::new();
        let mut statement = self.db.prepare(&format!("{} WHERE open = 1", rows::SOLD))?;
        for job in statement.query_and_then([], rows::sold)? {
            records.push(Record::Job(Box::new(job?)));
        }
        let mut statement = self.db.prepare(&format!("{} WHERE open = 1", rows::BOUGHT))?;
        for ask in statement.query_and_then([], rows::bought)? {
            records.push(Record::Ask(Box::new(ask?)));
        }
        let transfers = transfers::list(&self.db, Transfers::Open)?;
        records.extend(transfers.into_iter().map(|transfer| Record::Transfer(Box::new(transfer))));
        for account in [Account::Kept, Account::Unpaid] {
            records.extend(balances::sums(&self.db, account)?.iter().map(|row| row.record(account)));
        }
        let mut statement =
            self.db.prepare("SELECT provider, delivered, failed, taken_early FROM standings")?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
        for row in rows {
            let (provider, delivered, failed, taken_early): ([u8; 32], u32, u32, u32) = row?;
            let provider = ProviderKey::from_bytes(provider);
            records.push(Record::Standing(Standing { provider, delivered, failed, taken_early }));
        }
        Ok(records)
    }

    /// Whether a request was ever taken up or turned away.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn knows_job(&self, id: JobId) -> Result<bool, StoreError> {
        let mut statement = self.db.prepare_cached("SELECT 1 FROM jobs WHERE id = ?1")?;
        Ok(statement.exists([id.as_bytes()])?)
    }

    /// Whether we ever meant to pay this hash.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn meant_to_pay(&self, hash: PaymentHash) -> Result<bool, StoreError> {
        let mut statement =
            self.db.prepare_cached("SELECT 1 FROM payments WHERE hash = ?1 AND direction = 'out'")?;
        Ok(statement.exists([hash.as_bytes()])?)
    }

    /// Whether a payment of this hash, either way, belongs to something else than this job.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn serves_another(&self, hash: PaymentHash, job: JobId) -> Result<bool, StoreError> {
        let mut statement = self.db.prepare_cached("SELECT 1 FROM payments WHERE hash = ?1 AND job <> ?2")?;
        Ok(statement.exists(params![hash.as_bytes(), job.as_bytes()])?)
    }

    /// Whether the books know this hash at all, whichever way the money goes.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn knows_payment(&self, hash: PaymentHash) -> Result<bool, StoreError> {
        let mut statement = self.db.prepare_cached("SELECT 1 FROM payments WHERE hash = ?1")?;
        Ok(statement.exists([hash.as_bytes()])?)
    }

    /// A payment by hand.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn transfer(&self, hash: PaymentHash) -> Result<Option<Transfer>, StoreError> {
        transfers::one(&self.db, hash)
    }

    /// The record of the job that a payment belongs to, or of the payment by hand that it is. The direction tells
    /// which half's.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn record_for(&self, hash: PaymentHash) -> Result<Vec<Record>, StoreError> {
        let mut statement = self.db.prepare_cached("SELECT DISTINCT job FROM payments WHERE hash = ?1")?;
        let job: Option<[u8; 32]> = statement.query_row([hash.as_bytes()], |row| row.get(0)).optional()?;
        let Some(job) = job else { return Ok(Vec::new()) };
        let mut records = Vec::new();
        let id = JobId::from_bytes(job);
        if id == in_place_of_a_job(hash) {
            return Ok(self
                .transfer(hash)?
                .map(|transfer| Record::Transfer(Box::new(transfer)))
                .into_iter()
                .collect());
        }
        records
            .extend(rows::one(&self.db, rows::SOLD, id, rows::sold)?.map(|job| Record::Job(Box::new(job))));
        records.extend(
            rows::one(&self.db, rows::BOUGHT, id, rows::bought)?.map(|ask| Record::Ask(Box::new(ask))),
        );
        Ok(records)
    }

    /// Events that no relay has confirmed, oldest first.
    ///
    /// # Errors
    /// The database cannot be read or written.
    pub fn unsent(&mut self, limit: u32) -> Result<Vec<(JobId, String)>, StoreError> {
        self.write_confirmed()?;
        let mut statement =
            self.db.prepare("SELECT job, json FROM outbox WHERE sent = 0 ORDER BY seq LIMIT ?1")?;
        let rows = statement.query_map([limit], |row| Ok((JobId::from_bytes(row.get(0)?), row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The payments by us that were begun since `since`, and what each came to with its fee. One that
    /// came back, so that its job is over and nothing was spent, is left out.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn begun_since(&self, since: Timestamp) -> Result<HashMap<PaymentHash, Msat>, StoreError> {
        let sql = "SELECT p.hash, p.amount + COALESCE(
                       (SELECT SUM(l.amount) FROM ledger l WHERE l.hash = p.hash AND l.movement = 'fee'), 0)
                   FROM payments p WHERE p.direction = 'out' AND p.at >= ?1 AND (
                       EXISTS (SELECT 1 FROM ledger l WHERE l.hash = p.hash
                               AND l.movement IN ('spent', 'refund-paid', 'sent'))
                       OR EXISTS (SELECT 1 FROM transfers t WHERE t.hash = p.hash AND t.open = 1)
                       OR EXISTS (SELECT 1 FROM asks a WHERE a.id = p.job AND a.open = 1)
                       OR EXISTS (SELECT 1 FROM jobs j WHERE j.id = p.job AND j.open = 1))";
        let mut statement = self.db.prepare(sql)?;
        let rows = statement.query_map([millis(since)], |row| {
            let amount: i64 = row.get(1)?;
            Ok((PaymentHash::from_bytes(row.get(0)?), Msat::new(amount.unsigned_abs())))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The receipt of a job.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn receipt(&self, job: JobId, side: Side) -> Result<Option<ReceiptRow>, StoreError> {
        receipts::one(&self.db, job, side)
    }

    /// Jobs we bought that are settled and may still get a receipt: its copy is on the relays for a day.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn unreceipted(&self, now: Timestamp) -> Result<Vec<Record>, StoreError> {
        receipts::unreceipted(&self.db, now)
    }

    /// A job we bought.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn bought(&self, id: JobId) -> Result<Option<Ask>, StoreError> {
        rows::one(&self.db, rows::BOUGHT, id, rows::bought)
    }

    /// A job we sell or sold.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn sold(&self, id: JobId) -> Result<Option<Job>, StoreError> {
        rows::one(&self.db, rows::SOLD, id, rows::sold)
    }

    /// Whether the same thing was already said about a job.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn has_said(&self, job: JobId, slot: &str) -> Result<bool, StoreError> {
        let mut statement = self.db.prepare_cached("SELECT 1 FROM outbox WHERE job = ?1 AND slot = ?2")?;
        Ok(statement.exists(params![job.as_bytes(), slot])?)
    }
}

impl Store {
    /// The event in a slot of the outbox, if that was already said about a job.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn said(&self, job: JobId, slot: &str) -> Result<Option<EventId>, StoreError> {
        let mut statement =
            self.db.prepare_cached("SELECT event FROM outbox WHERE job = ?1 AND slot = ?2")?;
        let event = statement.query_row(params![job.as_bytes(), slot], |row| row.get(0)).optional()?;
        Ok(event.map(EventId::from_bytes))
    }

    /// The job that an event of ours is about, if it says what this slot says.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn about(&self, event: EventId, slot: &str) -> Result<Option<JobId>, StoreError> {
        let mut statement =
            self.db.prepare_cached("SELECT job FROM outbox WHERE event = ?1 AND slot = ?2")?;
        let job = statement.query_row(params![event.as_bytes(), slot], |row| row.get(0)).optional()?;
        Ok(job.map(JobId::from_bytes))
    }
}

fn check(db: &Connection, path: &Path) -> Result<(), StoreError> {
    let report: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if report == "ok" { Ok(()) } else { Err(StoreError::Damaged { path: path.to_path_buf(), report }) }
}

fn write_record(tx: &Transaction<'_>, record: &Record, price: Option<Price>) -> Result<(), StoreError> {
    match record {
        Record::Job(job) => rows::write_sold(tx, job),
        Record::Ask(ask) => rows::write_bought(tx, ask),
        Record::Payment(row) => write_payment(tx, row),
        Record::Entry(entry) => write_entry(tx, entry, price),
        Record::Standing(standing) => write_standing(tx, *standing),
        Record::Receipt(receipt) => receipts::write(tx, receipt),
        Record::Transfer(transfer) => transfers::write(tx, transfer),
        Record::Balance(entry) => balances::write(tx, entry),
        Record::Content { job, content } => {
            let sql = "INSERT OR IGNORE INTO contents (job, content) VALUES (?1, ?2)";
            tx.prepare_cached(sql)?.execute(params![job.as_bytes(), content])?;
            Ok(())
        }
    }
}

/// The hash is the key, forever. Writing the same row again changes nothing; giving the hash to
/// another job is refused, and with it the whole batch.
fn write_payment(tx: &Transaction<'_>, row: &PaymentRow) -> Result<(), StoreError> {
    let sql = "INSERT INTO payments (hash, direction, job, amount, bolt11, at)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6)
               ON CONFLICT (hash, direction) DO UPDATE SET at = at WHERE job = excluded.job";
    let changed = tx.prepare_cached(sql)?.execute(params![
        row.hash.as_bytes(),
        direction_word(row.direction),
        row.job.as_bytes(),
        amount(row.amount),
        row.bolt11,
        millis(row.at),
    ])?;
    if changed == 0 { Err(StoreError::PaymentTaken(row.hash)) } else { Ok(()) }
}

/// An entry that is there already keeps what it has, and what it has not: a later price is not its own.
fn write_entry(tx: &Transaction<'_>, entry: &Entry, price: Option<Price>) -> Result<(), StoreError> {
    let sql = "INSERT OR IGNORE INTO ledger (hash, movement, job, amount, at) VALUES (?1, ?2, ?3, ?4, ?5)";
    let written = tx.prepare_cached(sql)?.execute(params![
        entry.hash.as_bytes(),
        movement_word(entry.movement),
        entry.job.as_bytes(),
        amount(entry.amount),
        millis(entry.at),
    ])?;
    match price.filter(|price| written > 0 && price.is_good_at(entry.at)) {
        Some(price) => fiat::write(tx, entry, &price),
        None => Ok(()),
    }
}

fn write_standing(tx: &Transaction<'_>, standing: Standing) -> Result<(), StoreError> {
    let sql =
        "INSERT OR REPLACE INTO standings (provider, delivered, failed, taken_early) VALUES (?1, ?2, ?3, ?4)";
    tx.prepare_cached(sql)?.execute(params![
        standing.provider.as_bytes(),
        standing.delivered,
        standing.failed,
        standing.taken_early
    ])?;
    Ok(())
}

fn write_outgoing(tx: &Transaction<'_>, outgoing: &Outgoing) -> Result<(), StoreError> {
    let sql = "INSERT OR IGNORE INTO outbox (event, job, slot, json) VALUES (?1, ?2, ?3, ?4)";
    tx.prepare_cached(sql)?.execute(params![
        outgoing.event.as_bytes(),
        outgoing.job.as_bytes(),
        outgoing.slot,
        outgoing.json
    ])?;
    Ok(())
}

/// The word for a movement in the database, the API and on the page.
pub const fn movement_word(movement: Movement) -> &'static str {
    match movement {
        Movement::Earned => "earned",
        Movement::Spent => "spent",
        Movement::Fee => "fee",
        Movement::RefundPaid => "refund-paid",
        Movement::RefundReceived => "refund-received",
        Movement::Sent => "sent",
        Movement::Received => "received",
    }
}

const fn direction_word(direction: Direction) -> &'static str {
    match direction {
        Direction::In => "in",
        Direction::Out => "out",
    }
}

/// SQLite counts with a sign; no honest amount or time reaches it.
fn amount(amount: Msat) -> i64 {
    i64::try_from(amount.get()).unwrap_or(i64::MAX)
}

fn millis(at: Timestamp) -> i64 {
    i64::try_from(at.millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
