//! The book: every payment by its hash, written down before anything is done about it; every token that was
//! made; and the keys that each mint had when it was first seen. The ecash itself is in the dev kit's store.

pub(crate) mod escrows;

use std::{path::Path, time::SystemTime};

use rusqlite::{Connection, OptionalExtension as _, Row, named_params};

/// 32 bytes: a payment hash or a preimage.
pub(crate) type Bytes = [u8; 32];

/// The book cannot be read or written; nothing was done that it does not hold.
#[derive(Debug, thiserror::Error)]
#[error("the wallet's book cannot be used: {0}")]
pub(crate) struct BookError(#[from] rusqlite::Error);

/// How a payment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// To us: an invoice of a mint, whose ecash is not here yet.
    Open,
    /// By us: wanted. Nothing has been sent.
    Begun,
    /// By us: the mint may have been told to pay.
    Sent,
    /// To us: the ecash is here. By us: proven.
    Settled,
    /// By us: the mint says that it is paid, and cannot prove it.
    Unproven,
    /// By us: never sent, or its ecash was taken back.
    Failed,
}

impl State {
    const ALL: [(Self, &'static str); 6] = [
        (Self::Open, "open"),
        (Self::Begun, "begun"),
        (Self::Sent, "sent"),
        (Self::Settled, "settled"),
        (Self::Unproven, "unproven"),
        (Self::Failed, "failed"),
    ];

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(state, _)| *state == self).map_or("", |(_, name)| name)
    }
}

/// A payment.
#[derive(Clone, Debug)]
pub(crate) struct Payment {
    /// Its name.
    pub(crate) hash: Bytes,
    /// Whether it comes to us.
    pub(crate) incoming: bool,
    /// How it stands.
    pub(crate) state: State,
    /// The mint that makes or pays it; empty where none was chosen yet.
    pub(crate) mint: String,
    /// What that mint calls it; empty where it has no name yet.
    pub(crate) quote: String,
    /// What the dev kit calls the spending of the ecash for it; empty where there is none yet.
    pub(crate) operation: String,
    /// The invoice.
    pub(crate) bolt11: String,
    /// What it is for.
    pub(crate) description: String,
    /// In millisatoshis.
    pub(crate) amount: u64,
    /// What it cost on top, in millisatoshis.
    pub(crate) fee: u64,
    /// The proof of it.
    pub(crate) preimage: Option<Bytes>,
    /// Why it failed.
    pub(crate) reason: String,
    /// When it began, in seconds of Unix time.
    pub(crate) created_at: u64,
    /// Until when it can be paid, in seconds of Unix time.
    pub(crate) expires_at: u64,
    /// When it was settled, in seconds of Unix time; 0 for not yet.
    pub(crate) settled_at: u64,
}

/// A token that was made here.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    /// What the dev kit calls its making.
    pub(crate) operation: String,
    /// Whose ecash it is.
    pub(crate) mint: String,
    /// In satoshis.
    pub(crate) sats: u64,
    /// The token; empty while it is being made.
    pub(crate) token: String,
    /// `made`, `reclaimed` or `spent`.
    pub(crate) state: String,
    /// When, in seconds of Unix time.
    pub(crate) created_at: u64,
}

/// Seconds of Unix time.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The book.
pub(crate) struct Book(Connection);

const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    CREATE TABLE IF NOT EXISTS payments (
        hash BLOB PRIMARY KEY, incoming INTEGER NOT NULL, state TEXT NOT NULL, mint TEXT NOT NULL,
        quote TEXT NOT NULL, operation TEXT NOT NULL, bolt11 TEXT NOT NULL, description TEXT NOT NULL,
        amount INTEGER NOT NULL, fee INTEGER NOT NULL, preimage BLOB, reason TEXT NOT NULL,
        created_at INTEGER NOT NULL, expires_at INTEGER NOT NULL, settled_at INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX IF NOT EXISTS payments_by_state ON payments (state);
    CREATE INDEX IF NOT EXISTS payments_by_time ON payments (created_at);
    CREATE TABLE IF NOT EXISTS tokens (
        operation TEXT PRIMARY KEY, mint TEXT NOT NULL, sats INTEGER NOT NULL, token TEXT NOT NULL,
        state TEXT NOT NULL, created_at INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE IF NOT EXISTS keysets (
        mint TEXT NOT NULL, id TEXT NOT NULL, keys TEXT NOT NULL, PRIMARY KEY (mint, id)
    ) STRICT;
    CREATE TABLE IF NOT EXISTS mints (mint TEXT PRIMARY KEY, payee TEXT NOT NULL, restored INTEGER NOT NULL) STRICT;";

impl Book {
    /// Opens the book, or begins one.
    pub(crate) fn open(path: &Path) -> Result<Self, BookError> {
        let connection = Connection::open(path)?;
        connection.execute_batch(SCHEMA)?;
        connection.execute_batch(escrows::SCHEMA)?;
        Ok(Self(connection))
    }

    /// A payment.
    pub(crate) fn get(&self, hash: Bytes) -> Result<Option<Payment>, BookError> {
        let mut query = self.0.prepare_cached("SELECT * FROM payments WHERE hash = ?1")?;
        Ok(query.query_row([hash], read).optional()?)
    }

    /// Writes a payment down as it is now. One hash is one payment, forever.
    pub(crate) fn put(&self, payment: &Payment) -> Result<(), BookError> {
        let mut insert = self.0.prepare_cached(
            "INSERT OR REPLACE INTO payments VALUES (:hash, :incoming, :state, :mint, :quote, :operation,
             :bolt11, :description, :amount, :fee, :preimage, :reason, :created_at, :expires_at, :settled_at)",
        )?;
        insert.execute(named_params! {
            ":hash": payment.hash,
            ":incoming": payment.incoming,
            ":state": payment.state.name(),
            ":mint": payment.mint,
            ":quote": payment.quote,
            ":operation": payment.operation,
            ":bolt11": payment.bolt11,
            ":description": payment.description,
            ":amount": payment.amount,
            ":fee": payment.fee,
            ":preimage": payment.preimage,
            ":reason": payment.reason,
            ":created_at": payment.created_at,
            ":expires_at": payment.expires_at,
            ":settled_at": payment.settled_at,
        })?;
        Ok(())
    }

    /// Takes a payment by us off the book, of which nothing was sent.
    pub(crate) fn remove_unsent(&self, hash: Bytes) -> Result<(), BookError> {
        self.0.execute("DELETE FROM payments WHERE hash = ?1 AND state = 'begun'", [hash])?;
        Ok(())
    }

    /// All payments in a state.
    pub(crate) fn all(&self, state: State) -> Result<Vec<Payment>, BookError> {
        let mut query = self.0.prepare_cached("SELECT * FROM payments WHERE state = ?1")?;
        let rows = query.query_map([state.name()], read)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// What the invoices of a mint that can still be paid ask for, in millisatoshis.
    pub(crate) fn open_at(&self, mint: &str, now: u64) -> Result<u64, BookError> {
        let mut query = self.0.prepare_cached(
            "SELECT COALESCE(SUM(amount), 0) FROM payments WHERE state = 'open' AND mint = ?1 AND expires_at > ?2",
        )?;
        Ok(query.query_row((mint, now), |row| row.get(0))?)
    }

    /// Writes a token down as it is now.
    pub(crate) fn put_token(&self, made: &Made) -> Result<(), BookError> {
        let mut insert =
            self.0.prepare_cached("INSERT OR REPLACE INTO tokens VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
        let Made { operation, mint, sats, token, state, created_at } = made;
        insert.execute((operation, mint, sats, token, state, created_at))?;
        Ok(())
    }

    /// All tokens, newest first.
    pub(crate) fn tokens(&self) -> Result<Vec<Made>, BookError> {
        let mut query =
            self.0.prepare_cached("SELECT * FROM tokens ORDER BY created_at DESC, rowid DESC LIMIT 500")?;
        let rows = query.query_map([], |row| {
            Ok(Made {
                operation: row.get("operation")?,
                mint: row.get("mint")?,
                sats: row.get("sats")?,
                token: row.get("token")?,
                state: row.get("state")?,
                created_at: row.get("created_at")?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The keys that a keyset of a mint had when it was first seen; those given now, if it never was.
    pub(crate) fn pin(&self, mint: &str, id: &str, keys: &str) -> Result<String, BookError> {
        let mut insert = self.0.prepare_cached("INSERT OR IGNORE INTO keysets VALUES (?1, ?2, ?3)")?;
        insert.execute((mint, id, keys))?;
        let mut query = self.0.prepare_cached("SELECT keys FROM keysets WHERE mint = ?1 AND id = ?2")?;
        Ok(query.query_row((mint, id), |row| row.get(0))?)
    }

    /// The keys of a keyset, if it was seen.
    pub(crate) fn pinned(&self, mint: &str, id: &str) -> Result<Option<String>, BookError> {
        let mut query = self.0.prepare_cached("SELECT keys FROM keysets WHERE mint = ?1 AND id = ?2")?;
        Ok(query.query_row((mint, id), |row| row.get(0)).optional()?)
    }

    /// The Lightning node that a mint's invoices name as their payee; empty while that is not known.
    pub(crate) fn payee(&self, mint: &str) -> Result<String, BookError> {
        let mut query = self.0.prepare_cached("SELECT payee FROM mints WHERE mint = ?1")?;
        Ok(query.query_row([mint], |row| row.get(0)).optional()?.unwrap_or_default())
    }

    /// Notes the payee of a mint's invoices.
    pub(crate) fn put_payee(&self, mint: &str, payee: &str) -> Result<(), BookError> {
        let mut insert = self.0.prepare_cached(
            "INSERT INTO mints VALUES (?1, ?2, 0) ON CONFLICT (mint) DO UPDATE SET payee = excluded.payee",
        )?;
        insert.execute((mint, payee))?;
        Ok(())
    }

    /// Whether the ecash that the seed has at a mint was looked for.
    pub(crate) fn is_restored(&self, mint: &str) -> Result<bool, BookError> {
        let mut query = self.0.prepare_cached("SELECT restored FROM mints WHERE mint = ?1")?;
        Ok(query.query_row([mint], |row| row.get(0)).optional()?.unwrap_or(false))
    }

    /// Notes that it was.
    pub(crate) fn put_restored(&self, mint: &str) -> Result<(), BookError> {
        let mut insert = self.0.prepare_cached(
            "INSERT INTO mints VALUES (?1, '', 1) ON CONFLICT (mint) DO UPDATE SET restored = 1",
        )?;
        insert.execute([mint])?;
        Ok(())
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<Payment> {
    let name: String = row.get("state")?;
    let state = State::ALL.iter().find(|(_, known)| *known == name).map(|(state, _)| *state);
    Ok(Payment {
        hash: row.get("hash")?,
        incoming: row.get("incoming")?,
        state: state.ok_or(rusqlite::Error::InvalidQuery)?,
        mint: row.get("mint")?,
        quote: row.get("quote")?,
        operation: row.get("operation")?,
        bolt11: row.get("bolt11")?,
        description: row.get("description")?,
        amount: row.get("amount")?,
        fee: row.get("fee")?,
        preimage: row.get("preimage")?,
        reason: row.get("reason")?,
        created_at: row.get("created_at")?,
        expires_at: row.get("expires_at")?,
        settled_at: row.get("settled_at")?,
    })
}
