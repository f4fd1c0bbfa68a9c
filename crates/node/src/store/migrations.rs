//! The schema, as steps from one version to the next. A step, once released, never changes.

use std::path::Path;

use rusqlite::Connection;

use super::StoreError;

/// Step `n` leads from schema `n` to `n + 1`.
pub(super) const STEPS: &[&str] = &[
    "
    -- Jobs we sell: one row each, the state machine's own record in `body` (JSON).
    CREATE TABLE jobs (
        id BLOB PRIMARY KEY, kind INTEGER NOT NULL, word TEXT NOT NULL, open INTEGER NOT NULL,
        received_at INTEGER NOT NULL, changed_at INTEGER NOT NULL, body TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX jobs_open ON jobs (open) WHERE open = 1;
    CREATE INDEX jobs_received ON jobs (received_at);

    -- Jobs we buy.
    CREATE TABLE asks (
        id BLOB PRIMARY KEY, kind INTEGER NOT NULL, word TEXT NOT NULL, open INTEGER NOT NULL,
        asked_at INTEGER NOT NULL, changed_at INTEGER NOT NULL, body TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX asks_open ON asks (open) WHERE open = 1;
    CREATE INDEX asks_asked ON asks (asked_at);
    CREATE TABLE contents (job BLOB PRIMARY KEY, content TEXT NOT NULL) STRICT, WITHOUT ROWID;

    -- Which payment belongs to which job, forever. A node that buys from itself has both directions.
    CREATE TABLE payments (
        hash BLOB NOT NULL, direction TEXT NOT NULL, job BLOB NOT NULL, amount INTEGER NOT NULL,
        bolt11 TEXT NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (hash, direction)
    ) STRICT, WITHOUT ROWID;

    -- What moved in our wallet, as the wallet confirmed it: each movement of a payment once.
    CREATE TABLE ledger (
        hash BLOB NOT NULL, movement TEXT NOT NULL, job BLOB NOT NULL, amount INTEGER NOT NULL,
        at INTEGER NOT NULL, PRIMARY KEY (hash, movement)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX ledger_at ON ledger (at);

    -- Signed events on their way to the relays; the same thing is said about a job only once.
    CREATE TABLE outbox (
        seq INTEGER PRIMARY KEY, event BLOB NOT NULL UNIQUE, job BLOB NOT NULL, slot TEXT NOT NULL,
        json TEXT NOT NULL, sent INTEGER NOT NULL DEFAULT 0, UNIQUE (job, slot)
    ) STRICT;
    CREATE INDEX outbox_unsent ON outbox (seq) WHERE sent = 0;

    CREATE TABLE standings (
        provider BLOB PRIMARY KEY, delivered INTEGER NOT NULL, failed INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
",
    "
    -- Tables with large rows keep their rowid: without one, every search reads whole rows to compare
    -- their keys. What was asked never changes and is kept once, under the same `seq` as its job; the
    -- row that every step of the job writes again stays small.
    CREATE TABLE requests (seq INTEGER PRIMARY KEY, body TEXT NOT NULL) STRICT;
    CREATE TABLE new_jobs (
        seq INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, kind INTEGER NOT NULL, word TEXT NOT NULL,
        open INTEGER NOT NULL, received_at INTEGER NOT NULL, changed_at INTEGER NOT NULL, body TEXT NOT NULL
    ) STRICT;
    INSERT INTO new_jobs (id, kind, word, open, received_at, changed_at, body)
        SELECT id, kind, word, open, received_at, changed_at, body FROM jobs ORDER BY received_at;
    INSERT INTO requests SELECT seq, body -> '$.request' FROM new_jobs;
    UPDATE new_jobs SET body = json_remove(body, '$.request');
    DROP TABLE jobs;
    ALTER TABLE new_jobs RENAME TO jobs;
    CREATE INDEX jobs_open ON jobs (open) WHERE open = 1;
    CREATE INDEX jobs_received ON jobs (received_at);

    CREATE TABLE new_asks (
        id BLOB NOT NULL PRIMARY KEY, kind INTEGER NOT NULL, word TEXT NOT NULL, open INTEGER NOT NULL,
        asked_at INTEGER NOT NULL, changed_at INTEGER NOT NULL, body TEXT NOT NULL
    ) STRICT;
    INSERT INTO new_asks SELECT * FROM asks;
    DROP TABLE asks;
    ALTER TABLE new_asks RENAME TO asks;
    CREATE INDEX asks_open ON asks (open) WHERE open = 1;
    CREATE INDEX asks_asked ON asks (asked_at);

    CREATE TABLE new_contents (job BLOB NOT NULL PRIMARY KEY, content TEXT NOT NULL) STRICT;
    INSERT INTO new_contents SELECT * FROM contents;
    DROP TABLE contents;
    ALTER TABLE new_contents RENAME TO contents;
",
    "
    -- Checks by the policy, of both halves: enough to count and to explain, no text of any job.
    CREATE TABLE audit (
        seq INTEGER PRIMARY KEY, at INTEGER NOT NULL, side TEXT NOT NULL, kind INTEGER NOT NULL,
        result TEXT NOT NULL, reason TEXT NOT NULL, category TEXT, content TEXT NOT NULL
    ) STRICT;
",
    "
    -- Work receipts: at most one for each half of a job. `body` is what the provider signed, to the letter;
    -- `theirs` is the other party's event, once it is there; our own is in the outbox, under its slot.
    -- `dispute` (JSON) says what about a receipt that we received is not so.
    CREATE TABLE receipts (
        seq INTEGER PRIMARY KEY, job BLOB NOT NULL, side TEXT NOT NULL, body TEXT NOT NULL, theirs TEXT,
        dispute TEXT, UNIQUE (job, side)
    ) STRICT;
",
    "
    -- Payments by hand, outside of any job. In `payments` and `ledger` their hash stands in place of a job.
    CREATE TABLE transfers (
        hash BLOB NOT NULL PRIMARY KEY, open INTEGER NOT NULL, since INTEGER NOT NULL, body TEXT NOT NULL
    ) STRICT;
    CREATE INDEX transfers_open ON transfers (open) WHERE open = 1;
",
    "
    -- What customers have with us: each change once, in the transaction of the job it belongs to. The sum is the
    -- balance.
    CREATE TABLE balances (
        seq INTEGER PRIMARY KEY, customer BLOB NOT NULL, job BLOB NOT NULL, change TEXT NOT NULL,
        amount INTEGER NOT NULL, at INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX balances_customer ON balances (customer);
",
    "
    -- Payments that a provider said were locked, and that it took without delivering.
    ALTER TABLE standings ADD COLUMN taken_early INTEGER NOT NULL DEFAULT 0;
",
    "
    -- What a bitcoin cost when a movement was written into the ledger, in the currency's smallest unit. A movement
    -- without a row has no known value, and never gets a later one.
    CREATE TABLE fiat (
        hash BLOB NOT NULL, movement TEXT NOT NULL, currency TEXT NOT NULL, per_btc INTEGER NOT NULL,
        at INTEGER NOT NULL, PRIMARY KEY (hash, movement)
    ) STRICT, WITHOUT ROWID;
",
];

/// Brings the database to the newest schema, each step in a transaction of its own.
pub(super) fn apply(db: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let found: u32 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let known = u32::try_from(STEPS.len()).unwrap_or(u32::MAX);
    if found > known {
        return Err(StoreError::TooNew { path: path.to_path_buf(), found, known });
    }
    for (version, step) in (1..).zip(STEPS).skip(found as usize) {
        let tx = db.transaction()?;
        tx.execute_batch(step)?;
        tx.pragma_update(None, "user_version", version)?;
        tx.commit()?;
    }
    Ok(())
}
