//! The part of the book that holds ecash in escrow (NUT-14): what was asked for and what is locked, by payment
//! hash, and every exchange of it at a mint, written down before the mint is told.

use rusqlite::{OptionalExtension as _, Row, named_params};
use uuid::Uuid;

use super::{Book, BookError, Bytes, Payment};

pub(super) const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS escrows (
        hash BLOB PRIMARY KEY, incoming INTEGER NOT NULL, stage TEXT NOT NULL, mint TEXT NOT NULL,
        request TEXT NOT NULL, token TEXT NOT NULL, proofs TEXT NOT NULL, description TEXT NOT NULL, amount INTEGER NOT NULL,
        fee INTEGER NOT NULL, locktime INTEGER NOT NULL, preimage BLOB, reason TEXT NOT NULL,
        operation TEXT NOT NULL, created_at INTEGER NOT NULL, expires_at INTEGER NOT NULL,
        settled_at INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX IF NOT EXISTS escrows_by_stage ON escrows (stage);
    CREATE INDEX IF NOT EXISTS escrows_by_time ON escrows (created_at);
    CREATE TABLE IF NOT EXISTS swaps (
        id INTEGER PRIMARY KEY AUTOINCREMENT, hash BLOB NOT NULL, purpose TEXT NOT NULL, body TEXT NOT NULL
    ) STRICT;
    CREATE INDEX IF NOT EXISTS swaps_by_hash ON swaps (hash);";

/// How an escrow stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// To us: asked for; nothing has come.
    Asked,
    /// To us: locked to us, and looked at. Nothing is spent.
    Held,
    /// To us: its preimage is here, and it is being changed for ecash of ours.
    Taking,
    /// To us: it is ours.
    Taken,
    /// To us: given up. It is never spent by us, and is the payer's once its locktime is over.
    Cancelled,
    /// By us: wanted. No mint has been told.
    Begun,
    /// By us: the mint may have been told to lock.
    Sent,
    /// By us: locked.
    Locked,
    /// By us: the payee took it, and the preimage is here.
    Paid,
    /// By us: somebody took it, and the mint shows no preimage.
    Unproven,
    /// To us: the payer took it back. By us: it is ours again.
    Failed,
}

impl Stage {
    const ALL: [(Self, &'static str); 11] = [
        (Self::Asked, "asked"),
        (Self::Held, "held"),
        (Self::Taking, "taking"),
        (Self::Taken, "taken"),
        (Self::Cancelled, "cancelled"),
        (Self::Begun, "begun"),
        (Self::Sent, "sent"),
        (Self::Locked, "locked"),
        (Self::Paid, "paid"),
        (Self::Unproven, "unproven"),
        (Self::Failed, "failed"),
    ];

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(stage, _)| *stage == self).map_or("", |(_, name)| name)
    }

    /// Whether a mint has something to say about it.
    pub(crate) const fn is_open(self) -> bool {
        matches!(self, Self::Held | Self::Taking | Self::Sent | Self::Locked)
    }
}

/// Ecash that is locked to a payment hash, or asked for.
#[derive(Clone, Debug)]
pub(crate) struct Escrow {
    /// Its name: the SHA-256 of the preimage that opens it.
    pub(crate) hash: Bytes,
    /// Whether it comes to us.
    pub(crate) incoming: bool,
    /// How it stands.
    pub(crate) stage: Stage,
    /// The mint that has it; empty where that is not decided.
    pub(crate) mint: String,
    /// The request for it (NUT-18).
    pub(crate) request: String,
    /// The locked token; empty where there is none yet.
    pub(crate) token: String,
    /// The ecash of the token, as JSON; empty where there is none yet.
    pub(crate) proofs: String,
    /// What it is for.
    pub(crate) description: String,
    /// In millisatoshis: what was asked for; once it is held, what it brings.
    pub(crate) amount: u64,
    /// What it cost on top, in millisatoshis.
    pub(crate) fee: u64,
    /// From when on the payer can take it back, in seconds of Unix time.
    pub(crate) locktime: u64,
    /// The proof of payment.
    pub(crate) preimage: Option<Bytes>,
    /// Why it failed.
    pub(crate) reason: String,
    /// When it began, in seconds of Unix time.
    pub(crate) created_at: u64,
    /// Until when it can be locked, in seconds of Unix time.
    pub(crate) expires_at: u64,
    /// When it was settled, in seconds of Unix time; 0 for not yet.
    pub(crate) settled_at: u64,
}

impl Escrow {
    /// What the dev kit's store calls the setting aside of ecash for it.
    pub(crate) fn operation(&self) -> Uuid {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&self.hash[..16]);
        Uuid::from_bytes(bytes)
    }
}

/// What an exchange is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Ecash of ours becomes locked.
    Lock,
    /// Ecash that was to be locked becomes new, so that it cannot be locked any more.
    Undo,
    /// Ecash that is locked to us becomes ours.
    Take,
    /// Ecash that we locked becomes ours again.
    Back,
}

impl Purpose {
    const fn name(self) -> &'static str {
        match self {
            Self::Lock => "lock",
            Self::Undo => "undo",
            Self::Take => "take",
            Self::Back => "back",
        }
    }
}

/// One line of the history.
pub(crate) enum Entry {
    /// Over Lightning.
    Payment(Payment),
    /// In escrow.
    Escrow(Escrow),
}

impl Book {
    /// An escrow.
    pub(crate) fn escrow(&self, hash: Bytes) -> Result<Option<Escrow>, BookError> {
        let mut query = self.0.prepare_cached("SELECT * FROM escrows WHERE hash = ?1")?;
        Ok(query.query_row([hash], read_escrow).optional()?)
    }

    /// Writes an escrow down as it is now. One hash is one escrow, forever.
    pub(crate) fn put_escrow(&self, escrow: &Escrow) -> Result<(), BookError> {
        let mut insert = self.0.prepare_cached(
            "INSERT OR REPLACE INTO escrows VALUES (:hash, :incoming, :stage, :mint, :request, :token,
             :proofs, :description, :amount, :fee, :locktime, :preimage, :reason, :operation, :created_at, :expires_at,
             :settled_at)",
        )?;
        insert.execute(named_params! {
            ":hash": escrow.hash,
            ":incoming": escrow.incoming,
            ":stage": escrow.stage.name(),
            ":mint": escrow.mint,
            ":request": escrow.request,
            ":token": escrow.token,
            ":proofs": escrow.proofs,
            ":description": escrow.description,
            ":amount": escrow.amount,
            ":fee": escrow.fee,
            ":locktime": escrow.locktime,
            ":preimage": escrow.preimage,
            ":reason": escrow.reason,
            ":operation": escrow.operation().to_string(),
            ":created_at": escrow.created_at,
            ":expires_at": escrow.expires_at,
            ":settled_at": escrow.settled_at,
        })?;
        Ok(())
    }

    /// Takes escrows off the book of which no mint was told: this one, or all of them.
    pub(crate) fn remove_begun(&self, hash: Option<Bytes>) -> Result<(), BookError> {
        let sql = "DELETE FROM escrows WHERE stage = 'begun' AND (?1 IS NULL OR hash = ?1)";
        self.0.execute(sql, [hash])?;
        Ok(())
    }

    /// The escrows at a mint about which it has something to say.
    pub(crate) fn open_escrows(&self, mint: &str) -> Result<Vec<Escrow>, BookError> {
        let mut query = self.0.prepare_cached(
            "SELECT * FROM escrows WHERE stage IN ('held', 'taking', 'sent', 'locked') AND mint = ?1",
        )?;
        let rows = query.query_map([mint], read_escrow)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// What is locked at a mint, to us or by us, in millisatoshis.
    pub(crate) fn locked_at(&self, mint: &str, incoming: bool) -> Result<u64, BookError> {
        let mut query = self.0.prepare_cached(
            "SELECT COALESCE(SUM(amount), 0) FROM escrows
             WHERE stage IN ('held', 'taking', 'locked') AND mint = ?1 AND incoming = ?2",
        )?;
        Ok(query.query_row((mint, incoming), |row| row.get(0))?)
    }

    /// Whether ecash is set aside under this name for an escrow that is under way.
    pub(crate) fn is_set_aside(&self, operation: Uuid) -> Result<bool, BookError> {
        let mut query =
            self.0.prepare_cached("SELECT 1 FROM escrows WHERE stage = 'sent' AND operation = ?1")?;
        Ok(query.exists([operation.to_string()])?)
    }

    /// Writes down an exchange that is about to be asked for, with the escrow as it is then.
    pub(crate) fn put_swap(&self, escrow: &Escrow, purpose: Purpose, body: &str) -> Result<(), BookError> {
        let transaction = self.0.unchecked_transaction()?;
        self.put_escrow(escrow)?;
        transaction.execute(
            "INSERT INTO swaps (hash, purpose, body) VALUES (?1, ?2, ?3)",
            (escrow.hash, purpose.name(), body),
        )?;
        Ok(transaction.commit()?)
    }

    /// The exchanges that were written down, oldest first.
    pub(crate) fn swaps(&self, hash: Bytes, purpose: Purpose) -> Result<Vec<String>, BookError> {
        let mut query =
            self.0.prepare_cached("SELECT body FROM swaps WHERE hash = ?1 AND purpose = ?2 ORDER BY id")?;
        let rows = query.query_map((hash, purpose.name()), |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Writes down how an escrow ended, after which its exchanges are not needed any more.
    pub(crate) fn end_escrow(&self, escrow: &Escrow, over: &[Purpose]) -> Result<(), BookError> {
        let transaction = self.0.unchecked_transaction()?;
        self.put_escrow(escrow)?;
        for purpose in over {
            transaction.execute(
                "DELETE FROM swaps WHERE hash = ?1 AND purpose = ?2",
                (escrow.hash, purpose.name()),
            )?;
        }
        Ok(transaction.commit()?)
    }

    /// A page of the history, newest first.
    pub(crate) fn page(&self, limit: u32, offset: u32) -> Result<Vec<Entry>, BookError> {
        let mut query = self.0.prepare_cached(
            "SELECT hash, created_at, 0 AS escrow, rowid AS row FROM payments
             UNION ALL SELECT hash, created_at, 1, rowid FROM escrows
             ORDER BY created_at DESC, escrow DESC, row DESC LIMIT ?1 OFFSET ?2",
        )?;
        let names = query.query_map([limit, offset], |row| Ok((row.get("hash")?, row.get("escrow")?)))?;
        let names: Vec<(Bytes, bool)> = names.collect::<Result<_, _>>()?;
        let mut page = Vec::new();
        for (hash, in_escrow) in names {
            page.extend(match in_escrow {
                true => self.escrow(hash)?.map(Entry::Escrow),
                false => self.get(hash)?.map(Entry::Payment),
            });
        }
        Ok(page)
    }
}

fn read_escrow(row: &Row<'_>) -> rusqlite::Result<Escrow> {
    let name: String = row.get("stage")?;
    let stage = Stage::ALL.iter().find(|(_, known)| *known == name).map(|(stage, _)| *stage);
    Ok(Escrow {
        hash: row.get("hash")?,
        incoming: row.get("incoming")?,
        stage: stage.ok_or(rusqlite::Error::InvalidQuery)?,
        mint: row.get("mint")?,
        request: row.get("request")?,
        token: row.get("token")?,
        proofs: row.get("proofs")?,
        description: row.get("description")?,
        amount: row.get("amount")?,
        fee: row.get("fee")?,
        locktime: row.get("locktime")?,
        preimage: row.get("preimage")?,
        reason: row.get("reason")?,
        created_at: row.get("created_at")?,
        expires_at: row.get("expires_at")?,
        settled_at: row.get("settled_at")?,
    })
}
