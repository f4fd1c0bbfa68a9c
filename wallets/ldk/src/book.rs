//! The book: every payment by its hash, written down before anything is done about it. The node's own store
//! says what the network did; the book says what was asked for, and is what look-ups answer from.

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
    /// To us: an invoice that can be paid. It may not have been made yet.
    Open,
    /// To us: locked, until settled or cancelled.
    Held,
    /// To us: being taken; its preimage is in the book.
    Settling,
    /// By us: to be sent. It may have been.
    Begun,
    /// By us: sent, and not back yet.
    Sent,
    /// Arrived.
    Settled,
    /// To us: given back, or never to be taken. By us: came back, or was never sent.
    Failed,
}

impl State {
    const ALL: [(Self, &'static str); 7] = [
        (Self::Open, "open"),
        (Self::Held, "held"),
        (Self::Settling, "settling"),
        (Self::Begun, "begun"),
        (Self::Sent, "sent"),
        (Self::Settled, "settled"),
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
    /// Whether it is locked until its preimage is given to us.
    pub(crate) hold: bool,
    /// How it stands.
    pub(crate) state: State,
    /// The invoice; empty where it has not been made yet.
    pub(crate) bolt11: String,
    /// What it is for.
    pub(crate) description: String,
    /// In millisatoshis.
    pub(crate) amount: u64,
    /// What routing cost, in millisatoshis.
    pub(crate) fee: u64,
    /// The most that routing may cost, in millisatoshis.
    pub(crate) max_fee: Option<u64>,
    /// The proof of it.
    pub(crate) preimage: Option<Bytes>,
    /// The height at which a locked payment goes back by itself.
    pub(crate) deadline: Option<u32>,
    /// Why it failed.
    pub(crate) reason: String,
    /// When it began, in seconds of Unix time.
    pub(crate) created_at: u64,
    /// Until when it can be paid, in seconds of Unix time.
    pub(crate) expires_at: u64,
    /// When it was settled, in seconds of Unix time; 0 for not yet.
    pub(crate) settled_at: u64,
}

/// Seconds of Unix time.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// All payments.
pub(crate) struct Book(Connection);

const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    CREATE TABLE IF NOT EXISTS payments (
        hash BLOB PRIMARY KEY, incoming INTEGER NOT NULL, hold INTEGER NOT NULL, state TEXT NOT NULL,
        bolt11 TEXT NOT NULL, description TEXT NOT NULL, amount INTEGER NOT NULL, fee INTEGER NOT NULL,
        max_fee INTEGER, preimage BLOB, deadline INTEGER, reason TEXT NOT NULL,
        created_at INTEGER NOT NULL, expires_at INTEGER NOT NULL, settled_at INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX IF NOT EXISTS payments_by_state ON payments (state);
    CREATE INDEX IF NOT EXISTS payments_by_time ON payments (created_at);";

impl Book {
    /// Opens the book, or begins one.
    pub(crate) fn open(path: &Path) -> Result<Self, BookError> {
        let connection = Connection::open(path)?;
        connection.execute_batch(SCHEMA)?;
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
            "INSERT OR REPLACE INTO payments VALUES (:hash, :incoming, :hold, :state, :bolt11, :description,
             :amount, :fee, :max_fee, :preimage, :deadline, :reason, :created_at, :expires_at, :settled_at)",
        )?;
        insert.execute(named_params! {
            ":hash": payment.hash,
            ":incoming": payment.incoming,
            ":hold": payment.hold,
            ":state": payment.state.name(),
            ":bolt11": payment.bolt11,
            ":description": payment.description,
            ":amount": payment.amount,
            ":fee": payment.fee,
            ":max_fee": payment.max_fee,
            ":preimage": payment.preimage,
            ":deadline": payment.deadline,
            ":reason": payment.reason,
            ":created_at": payment.created_at,
            ":expires_at": payment.expires_at,
            ":settled_at": payment.settled_at,
        })?;
        Ok(())
    }

    /// All payments in a state.
    pub(crate) fn all(&self, state: State) -> Result<Vec<Payment>, BookError> {
        let mut query = self.0.prepare_cached("SELECT * FROM payments WHERE state = ?1")?;
        let rows = query.query_map([state.name()], read)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// A page of the history, newest first.
    pub(crate) fn page(&self, limit: u32, offset: u32) -> Result<Vec<Payment>, BookError> {
        let mut query = self.0.prepare_cached(
            "SELECT * FROM payments ORDER BY created_at DESC, rowid DESC LIMIT ?1 OFFSET ?2",
        )?;
        let rows = query.query_map([limit, offset], read)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<Payment> {
    let name: String = row.get("state")?;
    let state = State::ALL.iter().find(|(_, known)| *known == name).map(|(state, _)| *state);
    Ok(Payment {
        hash: row.get("hash")?,
        incoming: row.get("incoming")?,
        hold: row.get("hold")?,
        state: state.ok_or(rusqlite::Error::InvalidQuery)?,
        bolt11: row.get("bolt11")?,
        description: row.get("description")?,
        amount: row.get("amount")?,
        fee: row.get("fee")?,
        max_fee: row.get("max_fee")?,
        preimage: row.get("preimage")?,
        deadline: row.get("deadline")?,
        reason: row.get("reason")?,
        created_at: row.get("created_at")?,
        expires_at: row.get("expires_at")?,
        settled_at: row.get("settled_at")?,
    })
}
