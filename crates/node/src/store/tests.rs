//! What the store promises.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use openagents_engine::{
    Job, TransferState,
    receipt::{Dispute, ReceiptRecord},
};
use openagents_policy::{AuditEntry, Category};
use openagents_types::{ContentHash, CustomerKey, Invoice, JobKind, Network, Receipt, ReceiptSalt, Usage};

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
fn a_payment_by_hand_is_found_by_its_hash_and_belongs_to_no_job() {
    let (dir, mut store) = store();
    let hash = PaymentHash::from_bytes([3; 32]);
    let invoice = Invoice {
        bolt11: "lnbcrt1".into(),
        payment_hash: hash,
        amount: Msat::new(700),
        expires_at: Timestamp::from_secs(600),
        network: Network::Regtest,
    };
    let transfer = Transfer::new(invoice, Direction::Out, "a friend".into(), Timestamp::from_secs(1));
    let record = |transfer: &Transfer| Record::Transfer(Box::new(transfer.clone()));
    let row = PaymentRow {
        hash,
        job: transfer.id(),
        direction: Direction::Out,
        amount: Msat::new(700),
        bolt11: "lnbcrt1".into(),
        at: Timestamp::from_secs(1),
    };
    store.commit(&batch(vec![Record::Payment(row), record(&transfer)])).unwrap();
    assert!(store.meant_to_pay(hash).unwrap() && store.knows_payment(hash).unwrap());
    assert_eq!(store.record_for(hash).unwrap(), [record(&transfer)]);
    assert_eq!(store.open_records().unwrap(), [record(&transfer)]);
    let today = Timestamp::from_secs(0);
    assert_eq!(
        store.begun_since(today).unwrap(),
        HashMap::from([(hash, Msat::new(700))]),
        "under way, it counts"
    );

    let entry = |movement, amount| {
        let (at, job) = (Timestamp::from_secs(2), transfer.id());
        Record::Entry(Entry { at, job, hash, movement, amount: Msat::new(amount) })
    };
    let state = TransferState::Settled { amount: Msat::new(700), fee: Msat::new(3), preimage: None };
    let over = Transfer { state, ..transfer.clone() };
    let settled = vec![record(&over), entry(Movement::Sent, 700), entry(Movement::Fee, 3)];
    store.commit(&batch(settled)).unwrap();
    assert_eq!(store.open_records().unwrap(), []);
    assert_eq!(store.record_for(hash).unwrap(), [record(&over)], "a late word still finds it");
    assert_eq!(store.begun_since(today).unwrap(), HashMap::from([(hash, Msat::new(703))]));
    let reader = Reader::open(&dir.path().join("node.db")).unwrap();
    assert_eq!(reader.net_msat().unwrap(), -703);
    assert!(reader.whole_ledger().unwrap().iter().all(|row| row.job.is_none() && row.msat < 0));
    let booked = reader.payments().unwrap();
    assert_eq!((booked[0].job, booked[0].moved, booked[0].incoming), (None, Some(Msat::new(700)), false));

    let returned = Transfer { state: TransferState::Returned { reason: "no route".into() }, ..transfer };
    let other = Transfer {
        invoice: Invoice { payment_hash: PaymentHash::from_bytes([4; 32]), ..returned.invoice.clone() },
        ..returned
    };
    let row = PaymentRow {
        hash: other.hash(),
        job: other.id(),
        direction: Direction::Out,
        amount: Msat::new(9),
        bolt11: String::new(),
        at: Timestamp::from_secs(1),
    };
    store.commit(&batch(vec![Record::Payment(row), record(&other)])).unwrap();
    assert_eq!(store.begun_since(today).unwrap().len(), 1, "what came back does not count");
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
    assert_eq!(store.unsent(10).unwrap(), [(job, "{\"n\":1}".to_owned())]);
    assert!(store.has_said(job, "result").unwrap());
    store.commit(&Batch { sent: vec![EventId::from_bytes([1; 32])], ..Batch::default() }).unwrap();
    assert!(store.unsent(10).unwrap().is_empty());
}

fn check(side: Side, time: u64, category: Option<Category>) -> Audited {
    let (result, reason) = if category.is_some() { ("denied", "No.") } else { ("allowed", "") };
    let (result, reason, content) = (result.to_owned(), reason.to_owned(), "0badcafe".to_owned());
    Audited { side, entry: AuditEntry { time, kind: 5050, result, reason, category, content } }
}

#[test]
fn checks_are_read_back_in_order_from_a_time_and_page_by_page_until_they_are_cleared() {
    let (dir, mut store) = store();
    let checks = [
        check(Side::Bought, 10, None),
        check(Side::Sold, 20, Some(Category::Fraud)),
        check(Side::Sold, 30, None),
    ];
    store.commit(&Batch { audit: checks.to_vec(), ..Batch::default() }).unwrap();
    let reader = Reader::open(&dir.path().join("node.db")).unwrap();
    let read = |since, after, limit| {
        let rows = reader.audit(since, after, limit).unwrap();
        rows.into_iter().map(|row| row.check).collect::<Vec<_>>()
    };
    assert_eq!(read(0, 0, 10), checks);
    assert_eq!(read(20, 0, 10), checks[1..]);
    let first = reader.audit(0, 0, 2).unwrap();
    assert_eq!(read(0, first[1].seq, 2), checks[2..]);
    assert_eq!(reader.denied().unwrap(), [(Category::Fraud, 1)]);
    assert_eq!(store.clear_audit().unwrap(), 3);
    assert!(read(0, 0, 10).is_empty());
}

#[test]
fn only_the_newest_checks_are_kept() {
    let (dir, mut store) = store();
    let checks = |times: std::ops::Range<u64>| times.map(|time| check(Side::Sold, time, None)).collect();
    let kept = u64::try_from(audit::KEPT).unwrap();
    store.commit(&Batch { audit: checks(0..kept), ..Batch::default() }).unwrap();
    store.commit(&Batch { audit: checks(kept..kept + 7), ..Batch::default() }).unwrap();
    let rows: i64 = store.db.query_row("SELECT COUNT(*) FROM audit", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, audit::KEPT);
    let reader = Reader::open(&dir.path().join("node.db")).unwrap();
    assert_eq!(reader.audit(0, 0, 1).unwrap()[0].check.entry.time, 7);
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

#[test]
fn a_database_of_the_first_schema_keeps_its_jobs() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.db");
    let old = Connection::open(&path).unwrap();
    old.execute_batch(migrations::STEPS[0]).unwrap();
    old.pragma_update(None, "user_version", 1).unwrap();
    let id = JobId::from_bytes([3; 32]);
    let body = format!(
        r#"{{"request":{{"id":"{id}","customer":"{id}","kind":5001,"inputs":[],"params":[],"output":[],
        "bid":null,"providers":[],"encryption":"none","relays":[],"created_at":5,"expires_at":null,
        "raw":"as it came"}},"received_at":6,"changed_at":7,"state":{{"is":"resolving"}},
        "steps":[{{"at":6,"word":"resolving"}}]}}"#
    );
    old.execute("INSERT INTO jobs VALUES (?1, 5001, 'resolving', 1, 6, 7, ?2)", params![id.as_bytes(), body])
        .unwrap();
    drop(old);

    let store = Store::open(&path).unwrap();
    let job: Job = serde_json::from_str(&body).unwrap();
    assert_eq!(store.open_records().unwrap(), [Record::Job(Box::new(job.clone()))]);
    let reader = Reader::open(&path).unwrap();
    assert_eq!(reader.job(id).unwrap(), Some(job.clone()));
    assert_eq!(reader.jobs(Page { limit: 10, open: true, after: None }).unwrap(), [job]);
    assert!(reader.audit(0, 0, 10).unwrap().is_empty());
}

#[test]
fn what_a_job_asks_for_earlier_ones_and_what_a_provider_took_early_are_kept() {
    let (_dir, mut store) = store();
    let (id, key) = (JobId::from_bytes([3; 32]), CustomerKey::from_bytes([4; 32]));
    let at = Timestamp::from_secs(1);
    let request = openagents_types::JobRequest::new(id, key, JobKind::SUMMARIZATION, at);
    let meter = openagents_engine::metering::Meter { least: Msat::new(1), most: Msat::new(9), tokens: 5 };
    let job = Job {
        request: std::sync::Arc::new(request),
        received_at: at,
        changed_at: at,
        state: openagents_engine::job::State::Resolving,
        steps: Vec::new(),
        doubts: Vec::new(),
        ecash: None,
        zaps: Vec::new(),
        payback: openagents_engine::payback::Payback::default(),
        bill: None,
        arrears: Msat::new(700),
        meter: Some(meter),
    };
    let provider = ProviderKey::from_bytes([7; 32]);
    let standing = Standing { taken_early: 2, ..Standing::unknown(provider) };
    let records = vec![Record::Job(Box::new(job)), Record::Standing(standing)];
    store.commit(&batch(records.clone())).unwrap();
    assert_eq!(store.open_records().unwrap(), records);
}

#[test]
fn a_database_of_the_second_schema_keeps_what_it_holds_and_notes_checks() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.db");
    let old = Connection::open(&path).unwrap();
    for step in &migrations::STEPS[..2] {
        old.execute_batch(step).unwrap();
    }
    old.pragma_update(None, "user_version", 2).unwrap();
    let sql = "INSERT INTO standings VALUES (?1, 4, 1)";
    old.execute(sql, params![[7_u8; 32]]).unwrap();
    drop(old);

    let mut store = Store::open(&path).unwrap();
    let provider = ProviderKey::from_bytes([7; 32]);
    assert_eq!(
        store.open_records().unwrap(),
        [Record::Standing(Standing { provider, delivered: 4, failed: 1, taken_early: 0 })]
    );
    store
        .commit(&Batch { audit: vec![check(Side::Sold, 5, Some(Category::Violence))], ..Batch::default() })
        .unwrap();
    let rows = Reader::open(&path).unwrap().audit(0, 0, 10).unwrap();
    assert_eq!(rows[0].check.entry.category, Some(Category::Violence));
}

fn receipt(job: u8) -> Receipt {
    let id = [job; 32];
    let at = Timestamp::from_secs(5);
    Receipt {
        job: JobId::from_bytes(id),
        kind: JobKind::SUMMARIZATION,
        provider: ProviderKey::from_bytes([2; 32]),
        customer: CustomerKey::from_bytes([3; 32]),
        usage: Usage::default(),
        price: Msat::new(5),
        payment_hash: Some(PaymentHash::from_bytes([job; 32])),
        result_sha256: ContentHash::from_bytes([4; 32]),
        asked_at: at,
        accepted_at: at,
        delivered_at: at,
        settled_at: at,
        salt: ReceiptSalt::from_bytes([6; 32]),
    }
}

fn issued(receipt: Receipt) -> Record {
    Record::Receipt(ReceiptRecord::Issued { receipt: Box::new(receipt) })
}

fn received(receipt: Receipt, dispute: Option<Dispute>) -> Record {
    let body = serde_json::to_string(&receipt).unwrap().into();
    let receipt = Box::new(receipt);
    Record::Receipt(ReceiptRecord::Received { receipt, body, raw: "{\"theirs\":1}".into(), dispute })
}

fn said(event: u8, job: u8, slot: &str) -> Outgoing {
    Outgoing {
        event: EventId::from_bytes([event; 32]),
        job: JobId::from_bytes([job; 32]),
        slot: slot.into(),
        json: format!("{{\"ours\":{event}}}"),
    }
}

#[test]
fn a_receipt_is_written_once_and_finds_both_signatures() {
    let (dir, mut store) = store();
    let (first, later) = (receipt(1), Receipt { price: Msat::new(9), ..receipt(1) });
    let outbox = vec![said(1, 1, "receipt"), said(2, 1, "countersignature")];
    let records = vec![issued(first.clone()), received(first.clone(), None)];
    store.commit(&Batch { records, outbox, ..Batch::default() }).unwrap();
    let again = vec![issued(later.clone()), received(later, None)];
    store.commit(&Batch { records: again, ..Batch::default() }).unwrap();

    let job = JobId::from_bytes([1; 32]);
    let sold = store.receipt(job, Side::Sold).unwrap().unwrap();
    assert_eq!(
        (sold.receipt, sold.signed.as_deref(), sold.countersigned),
        (first, Some("{\"ours\":1}"), None)
    );
    for signed in ["{\"theirs\":2}", "{\"theirs\":3}"] {
        let countersigned = vec![(job, signed.to_owned())];
        store.commit(&Batch { countersigned, ..Batch::default() }).unwrap();
    }
    let reader = Reader::open(&dir.path().join("node.db")).unwrap();
    let sold = reader.receipt(job, Side::Sold).unwrap().unwrap();
    assert_eq!(sold.countersigned.as_deref(), Some("{\"theirs\":2}"), "the first one counts");
    let bought = reader.receipt(job, Side::Bought).unwrap().unwrap();
    assert_eq!(bought.signed.as_deref(), Some("{\"theirs\":1}"));
    assert_eq!(bought.countersigned.as_deref(), Some("{\"ours\":2}"));
    assert_eq!(reader.receipts(None, None, 10).unwrap().len(), 2);
    assert_eq!(reader.receipts(Some(Side::Sold), Some(bought.seq), 10).unwrap().len(), 1);
}

#[test]
fn a_database_of_the_third_schema_keeps_what_it_holds_and_takes_receipts() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.db");
    let old = Connection::open(&path).unwrap();
    for step in &migrations::STEPS[..3] {
        old.execute_batch(step).unwrap();
    }
    old.pragma_update(None, "user_version", 3).unwrap();
    let sql = "INSERT INTO outbox (event, job, slot, json) VALUES (?1, ?2, 'result', '{}')";
    old.execute(sql, params![[1_u8; 32], [1_u8; 32]]).unwrap();
    drop(old);

    let mut store = Store::open(&path).unwrap();
    let job = JobId::from_bytes([1; 32]);
    assert!(store.has_said(job, "result").unwrap());
    assert!(store.receipt(job, Side::Bought).unwrap().is_none());
    let dispute = Dispute { field: "price_msat".into(), says: "5".into(), known: "4".into() };
    store.commit(&batch(vec![received(receipt(1), Some(dispute.clone()))])).unwrap();
    assert_eq!(store.receipt(job, Side::Bought).unwrap().unwrap().dispute, Some(dispute));
}

fn earned(hash: u8, secs: u64) -> Record {
    Record::Entry(Entry {
        at: Timestamp::from_secs(secs),
        job: JobId::from_bytes([hash; 32]),
        hash: PaymentHash::from_bytes([hash; 32]),
        movement: Movement::Earned,
        amount: Msat::new(1_000),
    })
}

fn price(per_btc: u64, secs: u64) -> Price {
    Price { currency: crate::fiat::Currency::EUR, per_btc, at: Timestamp::from_secs(secs) }
}

#[test]
fn a_movement_keeps_the_price_of_its_time_and_gets_no_later_one() {
    let (dir, mut store) = store();
    let priced = |record, price| Batch { price: Some(price), records: vec![record], ..Batch::default() };
    store.commit(&batch(vec![earned(1, 10_000)])).unwrap();
    store.commit(&priced(earned(1, 10_000), price(7, 10_000))).unwrap();
    store.commit(&priced(earned(2, 10_000), price(8, 9_000))).unwrap();
    store.commit(&priced(earned(2, 10_000), price(9, 9_500))).unwrap();
    store.commit(&priced(earned(3, 20_000), price(9, 10_000))).unwrap();
    let reader = Reader::open(&dir.path().join("node.db")).unwrap();
    let mut rows = reader.whole_ledger().unwrap();
    rows.sort_by(|a, b| a.hash.cmp(&b.hash));
    let prices: Vec<_> = rows.iter().map(|row| row.price).collect();
    assert_eq!(prices, [None, Some(price(8, 9_000)), None], "booked before, at its time, too old");
    let hash = PaymentHash::from_bytes([2; 32]);
    assert_eq!(reader.price_of(hash, true).unwrap(), Some(price(8, 9_000)));
    assert_eq!(
        reader.price_of(hash, false).unwrap(),
        None,
        "the same payment the other way is another movement"
    );
}

#[test]
fn a_database_of_the_seventh_schema_keeps_its_ledger_and_takes_prices() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.db");
    let old = Connection::open(&path).unwrap();
    for step in &migrations::STEPS[..7] {
        old.execute_batch(step).unwrap();
    }
    old.pragma_update(None, "user_version", 7).unwrap();
    let sql = "INSERT INTO ledger (hash, movement, job, amount, at) VALUES (?1, 'earned', ?1, 1000, 5000)";
    old.execute(sql, params![[1_u8; 32]]).unwrap();
    drop(old);
    // Also before a node has opened it.
    assert_eq!(Reader::open(&path).unwrap().whole_ledger().unwrap().len(), 1);

    let mut store = Store::open(&path).unwrap();
    let records = vec![earned(1, 10), earned(2, 10)];
    store.commit(&Batch { records, price: Some(price(7, 10)), ..Batch::default() }).unwrap();
    let rows = Reader::open(&path).unwrap().whole_ledger().unwrap();
    let told: Vec<_> = rows.iter().map(|row| (row.at, row.price)).collect();
    assert_eq!(told, [(10_000, Some(price(7, 10))), (5_000, None)]);
}
