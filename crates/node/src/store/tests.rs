//! What the store promises.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use super::*;

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("node.db")).unwrap();
    (dir, store)
}

fn payment(hash: u8, job: u8) -> Record {
    Record::Payment(PaymentRow {
        hash: PaymentHash::from_bytes([hash; 32]),
        job: JobId::from_bytes([job; 32]),
        direction: Direction::Out,
        amount: Msat::new(5),
        bolt11: "lnbcrt1".into(),
        at: Timestamp::from_secs(1),
    })
}

fn batch(records: Vec<Record>) -> Batch {
    Batch { records, ..Batch::default() }
}

#[test]
fn a_payment_hash_serves_one_job_forever() {
    let (_dir, mut store) = store();
    store.commit(&batch(vec![payment(1, 1)])).unwrap();
    store.commit(&batch(vec![payment(1, 1)])).unwrap();
    let taken = store.commit(&batch(vec![payment(2, 2), payment(1, 2)]));
    assert!(matches!(taken, Err(StoreError::PaymentTaken(_))));
    assert!(!store.meant_to_pay(PaymentHash::from_bytes([2; 32])).unwrap(), "the batch was whole or absent");
}

#[test]
fn a_movement_is_booked_once() {
    let (dir, mut store) = store();
    let entry = Record::Entry(Entry {
        at: Timestamp::from_secs(1),
        job: JobId::from_bytes([1; 32]),
        hash: PaymentHash::from_bytes([1; 32]),
        movement: Movement::Earned,
        amount: Msat::new(700),
    });
    store.commit(&batch(vec![entry.clone(), entry.clone()])).unwrap();
    store.commit(&batch(vec![entry])).unwrap();
    let reader = Reader::open(&dir.path().join("node.db")).unwrap();
    assert_eq!(reader.net_msat().unwrap(), 700);
    assert_eq!(reader.ledger(10).unwrap().len(), 1);
}

#[test]
fn the_same_thing_is_said_once() {
    let (_dir, mut store) = store();
    let job = JobId::from_bytes([9; 32]);
    let event = |n: u8| Outgoing {
        event: EventId::from_bytes([n; 32]),
        job,
        slot: "result".into(),
        json: format!("{{\"n\":{n}}}"),
    };
    store.commit(&Batch { outbox: vec![event(1), event(2)], ..Batch::default() }).unwrap();
    assert_eq!(store.unsent(10).unwrap(), ["{\"n\":1}"]);
    assert!(store.has_said(job, "result").unwrap());
    store.commit(&Batch { sent: vec![EventId::from_bytes([1; 32])], ..Batch::default() }).unwrap();
    assert!(store.unsent(10).unwrap().is_empty());
}

#[test]
fn a_newer_database_is_left_alone() {
    let (dir, store) = store();
    store.db.pragma_update(None, "user_version", 99).unwrap();
    drop(store);
    let error = Store::open(&dir.path().join("node.db")).unwrap_err();
    assert!(error.to_string().contains("update openagents"), "{error}");
}

#[test]
fn a_damaged_database_is_named_and_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.db");
    std::fs::write(&path, b"this is not a database, it only looks long enough to be mistaken for one ....")
        .unwrap();
    assert!(Store::open(&path).is_err());
    assert!(std::fs::read(&path).unwrap().starts_with(b"this is not"));
}
