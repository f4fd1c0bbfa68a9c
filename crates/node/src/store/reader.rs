//! Reading for pages and the API: a connection of its own, so that no page ever waits for the
//! driver and no page can write.

use std::{path::Path, sync::Mutex};

use openagents_api::Side;
use openagents_engine::{Ask, Job, Transfer, transfer::in_place_of_a_job};
use openagents_policy::Category;
use openagents_types::{EventId, JobId, Msat, PaymentHash, Timestamp};
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, params};

use super::{
    Account, AuditRow, BalanceRow, ReceiptRow, StoreError, Transfers, audit, balances, fiat, receipts, rows,
    transfers,
};
use crate::fiat::Price;

/// One movement of money.
#[derive(Clone, Debug)]
pub struct LedgerRow {
    /// When, in milliseconds since the epoch.
    pub at: u64,
    /// The job; `None` for a payment by hand.
    pub job: Option<JobId>,
    /// The payment, in hexadecimal.
    pub hash: String,
    /// What moved: `earned`, `spent`, `fee`, `refund-paid`, `refund-received`, `sent` or `received`.
    pub movement: String,
    /// How much, in millisatoshis; negative if it left us.
    pub msat: i64,
    /// What a bitcoin cost then, if that was known.
    pub price: Option<Price>,
}

/// A payment in the books.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BookedPayment {
    /// Its name.
    pub hash: PaymentHash,
    /// Whether it came, or is to come, to us.
    pub incoming: bool,
    /// The job; `None` for a payment by hand.
    pub job: Option<JobId>,
    /// How much it was to be, without fees.
    pub amount: Msat,
    /// When it was first written down.
    pub at: Timestamp,
    /// What moved, by the wallet's word; `None` while nothing did.
    pub moved: Option<Msat>,
}

/// Which jobs of a list are wanted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Page {
    /// At most this many.
    pub limit: u32,
    /// Only those that somebody waits for.
    pub open: bool,
    /// Only those older than this one; none if it is unknown.
    pub after: Option<JobId>,
}

/// A connection that can only read.
#[derive(Debug)]
pub struct Reader(Mutex<Connection>);

/// Newest first, at most this many, as every list is bounded.
const PAGE: u32 = 500;

impl Reader {
    /// Opens the database at `path`, which a [`super::Store`] has created.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(path, flags)?;
        db.busy_timeout(std::time::Duration::from_secs(5))?;
        Ok(Self(Mutex::new(db)))
    }

    fn with<T>(&self, read: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let db = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        read(&db)
    }

    /// Jobs we sold or sell, newest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn jobs(&self, page: Page) -> Result<Vec<Job>, StoreError> {
        self.list(rows::SOLD, rows::SOLD_OPEN, ("jobs", "received_at"), page, rows::sold)
    }

    /// Jobs we bought or buy, newest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn asks(&self, page: Page) -> Result<Vec<Ask>, StoreError> {
        self.list(rows::BOUGHT, rows::BOUGHT_OPEN, ("asks", "asked_at"), page, rows::bought)
    }

    /// Jobs we sold that the engine has in hand: open ones, and those for which another payment may still come.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn jobs_in_hand(&self, page: Page) -> Result<Vec<Job>, StoreError> {
        let page = Page { open: true, ..page };
        self.list(rows::SOLD, rows::IN_HAND, ("jobs", "received_at"), page, rows::sold)
    }

    /// The same of jobs we bought.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn asks_in_hand(&self, page: Page) -> Result<Vec<Ask>, StoreError> {
        let page = Page { open: true, ..page };
        self.list(rows::BOUGHT, rows::IN_HAND, ("asks", "asked_at"), page, rows::bought)
    }

    fn list<T>(
        &self,
        select: &str,
        open: &str,
        (table, at): (&str, &str),
        page: Page,
        read: fn(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let open = if page.open { open } else { "TRUE" };
        let older = format!("({at}, id) < ((SELECT {at} FROM {table} WHERE id = ?2), ?2)");
        let older = if page.after.is_some() { older.as_str() } else { "?2 IS NULL" };
        let sql = format!("{select} WHERE {open} AND {older} ORDER BY {at} DESC, id DESC LIMIT ?1");
        self.with(|db| {
            let mut statement = db.prepare_cached(&sql)?;
            let after = page.after.as_ref().map(JobId::as_bytes);
            statement.query_and_then(params![page.limit.min(PAGE), after], read)?.collect()
        })
    }

    /// A job we sell.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn job(&self, id: JobId) -> Result<Option<Job>, StoreError> {
        self.with(|db| rows::one(db, rows::SOLD, id, rows::sold))
    }

    /// A job we buy.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn ask(&self, id: JobId) -> Result<Option<Ask>, StoreError> {
        self.with(|db| rows::one(db, rows::BOUGHT, id, rows::bought))
    }

    /// The payload of a result we bought.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn content(&self, id: JobId) -> Result<Option<String>, StoreError> {
        self.with(|db| {
            let sql = "SELECT content FROM contents WHERE job = ?1";
            Ok(db.prepare_cached(sql)?.query_row([id.as_bytes()], |row| row.get(0)).optional()?)
        })
    }

    /// An event that we signed, as JSON.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn signed(&self, event: EventId) -> Result<Option<String>, StoreError> {
        self.with(|db| {
            let sql = "SELECT json FROM outbox WHERE event = ?1";
            Ok(db.prepare_cached(sql)?.query_row([event.as_bytes()], |row| row.get(0)).optional()?)
        })
    }

    /// What we signed about a job, as JSON, oldest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn signed_about(&self, job: JobId) -> Result<Vec<String>, StoreError> {
        self.with(|db| {
            let mut statement = db.prepare_cached("SELECT json FROM outbox WHERE job = ?1 ORDER BY seq")?;
            let rows = statement.query_map([job.as_bytes()], |row| row.get(0))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// The receipt of one half of a job.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn receipt(&self, job: JobId, side: Side) -> Result<Option<ReceiptRow>, StoreError> {
        self.with(|db| receipts::one(db, job, side))
    }

    /// Receipts, newest first, of one half or of both; older than the one numbered `after`, if it is given.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn receipts(
        &self,
        side: Option<Side>,
        after: Option<i64>,
        limit: u32,
    ) -> Result<Vec<ReceiptRow>, StoreError> {
        self.with(|db| receipts::list(db, side, after, limit.min(PAGE)))
    }

    /// A payment by hand.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn transfer(&self, hash: PaymentHash) -> Result<Option<Transfer>, StoreError> {
        self.with(|db| transfers::one(db, hash))
    }

    /// Payments by hand, newest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn transfers(&self, which: Transfers) -> Result<Vec<Transfer>, StoreError> {
        self.with(|db| transfers::list(db, which))
    }

    /// Movements of money, newest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn ledger(&self, limit: u32) -> Result<Vec<LedgerRow>, StoreError> {
        self.with(|db| {
            let sql = format!("{} LIMIT ?1", ledger_rows(db)?);
            let mut statement = db.prepare_cached(&sql)?;
            let rows = statement.query_map(params![limit.min(PAGE)], ledger_row)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// All movements of money, newest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn whole_ledger(&self) -> Result<Vec<LedgerRow>, StoreError> {
        self.with(|db| {
            let mut statement = db.prepare_cached(&ledger_rows(db)?)?;
            let rows = statement.query_map([], ledger_row)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// What a bitcoin cost when a payment moved, one way or the other, if that was known.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn price_of(&self, hash: PaymentHash, incoming: bool) -> Result<Option<Price>, StoreError> {
        self.with(|db| fiat::one(db, hash, incoming))
    }

    /// Every payment in the books and what of it moved, oldest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn payments(&self) -> Result<Vec<BookedPayment>, StoreError> {
        self.with(|db| {
            let sql = "SELECT p.hash, p.direction = 'in', p.job, p.amount, p.at, (SELECT SUM(l.amount) FROM ledger l
                       WHERE l.hash = p.hash AND (l.movement IN ('earned', 'refund-received', 'received'))
                       = (p.direction = 'in') AND l.movement <> 'fee') FROM payments p ORDER BY p.at";
            let mut statement = db.prepare_cached(sql)?;
            let rows = statement.query_map([], |row| {
                let hash = PaymentHash::from_bytes(row.get(0)?);
                Ok(BookedPayment {
                    hash,
                    incoming: row.get(1)?,
                    job: job_of(hash, row.get(2)?),
                    amount: Msat::new(row.get::<_, i64>(3)?.unsigned_abs()),
                    at: Timestamp::from_millis(row.get::<_, i64>(4)?.unsigned_abs()),
                    moved: row.get::<_, Option<i64>>(5)?.map(|moved| Msat::new(moved.unsigned_abs())),
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// What is kept for customers, or what they did not pay in time, the most first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn balances(&self, account: Account) -> Result<Vec<BalanceRow>, StoreError> {
        self.with(|db| balances::sums(db, account))
    }

    /// Checks by the policy since `since` (seconds since 1970), after the one numbered `after`, oldest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn audit(&self, since: u64, after: i64, limit: u32) -> Result<Vec<AuditRow>, StoreError> {
        self.with(|db| audit::read(db, since, after, limit))
    }

    /// How many of the checks that are kept were denied, by category, the most first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn denied(&self) -> Result<Vec<(Category, u64)>, StoreError> {
        self.with(audit::denied)
    }

    /// What the market did to our wallet, in millisatoshis: the sum of all movements.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn net_msat(&self) -> Result<i64, StoreError> {
        self.with(|db| {
            let sql = "SELECT COALESCE(SUM(CASE WHEN movement IN ('earned', 'refund-received', 'received')
                       THEN amount ELSE -amount END), 0) FROM ledger";
            Ok(db.query_row(sql, [], |row| row.get(0))?)
        })
    }

    /// How many jobs stand in each state: (side, word, count).
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn counts(&self) -> Result<Vec<(String, String, u64)>, StoreError> {
        self.with(|db| {
            let sql = "SELECT 'sold', word, COUNT(*) FROM jobs GROUP BY word
                       UNION ALL SELECT 'bought', word, COUNT(*) FROM asks GROUP BY word";
            let mut statement = db.prepare_cached(sql)?;
            let rows = statement
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get::<_, i64>(2)?.unsigned_abs())))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }
}

/// Movements, newest first, each with its price. Books that no node has opened since they have prices have none.
fn ledger_rows(db: &Connection) -> Result<String, StoreError> {
    let schema: i64 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let (columns, join) = if schema < fiat::SINCE {
        ("NULL, NULL, NULL", "")
    } else {
        (fiat::COLUMNS, "LEFT JOIN fiat f ON f.hash = l.hash AND f.movement = l.movement")
    };
    Ok(format!(
        "SELECT l.at, l.job, l.hash, l.movement, l.amount, {columns} FROM ledger l {join}
         ORDER BY l.at DESC, l.hash, l.movement"
    ))
}

fn ledger_row(row: &Row<'_>) -> rusqlite::Result<LedgerRow> {
    let movement: String = row.get(3)?;
    let amount: i64 = row.get(4)?;
    let hash = PaymentHash::from_bytes(row.get(2)?);
    Ok(LedgerRow {
        at: row.get::<_, i64>(0)?.unsigned_abs(),
        job: job_of(hash, row.get(1)?),
        hash: hash.to_hex(),
        msat: if adds(&movement) { amount } else { -amount },
        movement,
        price: fiat::price(row, 5)?,
    })
}

/// The job that a payment names, unless it is one by hand.
fn job_of(hash: PaymentHash, named: [u8; 32]) -> Option<JobId> {
    Some(JobId::from_bytes(named)).filter(|job| *job != in_place_of_a_job(hash))
}

fn adds(movement: &str) -> bool {
    matches!(movement, "earned" | "refund-received" | "received")
}
