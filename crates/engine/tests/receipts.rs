//! When a receipt is due, and which ones a customer agrees to.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use std::sync::Arc;

use openagents_engine::{
    Action, Ask, AskOptions, Config, CustomerConfig, Engine, Incoming, Input, Job, Outgoing, PreimageSeed,
    ProviderConfig, Record,
    job::{Outcome, State, Step},
    payback::Payback,
    receipt::{AWAITED, Dispute, PATIENCE, ReceiptRecord, Received, Work},
};
use openagents_types::{
    ContentHash, CustomerKey, Draft, EventId, Invoice, JobId, JobKind, JobRequest, JobResult, JobSpec,
    Millis, Msat, Network, PaymentHash, Preimage, ProviderKey, Quote, Receipt, ReceiptRule, ReceiptSalt,
    Terms, Timestamp, Usage,
};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const PREIMAGE: Preimage = Preimage::from_bytes([5; 32]);
const PRICE: Msat = Msat::new(1_000);
const SELLER: ProviderKey = ProviderKey::from_bytes([9; 32]);
const RESULT: &str = "Payments settle in seconds.";

fn job(n: u8) -> JobId {
    JobId::from_bytes([n; 32])
}

fn config(receipts: ReceiptRule) -> Config {
    let provider = ProviderConfig { receipts, ..ProviderConfig::new(SELLER, PreimageSeed::new([7; 32])) };
    let customer = CustomerConfig { receipts, ..CustomerConfig::new(Network::Regtest) };
    Config { provider: Some(provider), customer }
}

fn delivered(work: bool) -> Job {
    let request = JobRequest::new(job(1), CustomerKey::from_bytes([1; 32]), JobKind::SUMMARIZATION, NOW);
    let usage = Usage { backend: "extractive".into(), ..Usage::default() };
    let done = Work {
        usage,
        result_sha256: ContentHash::of(RESULT.as_bytes()),
        delivered_at: NOW.after(Millis(900)),
    };
    let state = State::Delivered { hash: PREIMAGE.hash(), amount: PRICE, work: work.then(|| Box::new(done)) };
    let step = |after, word: &'static str| Step { at: NOW.after(Millis(after)), word: word.into() };
    let steps =
        vec![step(10, "resolving"), step(500, "queued"), step(501, "running"), step(900, "delivered")];
    Job {
        request: Arc::new(request),
        received_at: NOW.after(Millis(10)),
        changed_at: NOW,
        state,
        doubts: Vec::new(),
        ecash: None,
        zaps: Vec::new(),
        payback: Payback::default(),
        bill: None,
        arrears: Msat::ZERO,
        meter: None,
        steps,
    }
}

fn issued(actions: &[Action]) -> Vec<Receipt> {
    let saved = actions.iter().filter_map(|action| match action {
        Action::Save(Record::Receipt(ReceiptRecord::Issued { receipt })) => Some(receipt.as_ref().clone()),
        _ => None,
    });
    let saved: Vec<Receipt> = saved.collect();
    let said = actions.iter().filter_map(|action| match action {
        Action::Publish { draft: Draft::Receipt(receipt), .. } => Some(receipt.as_ref().clone()),
        _ => None,
    });
    assert_eq!(saved, said.collect::<Vec<_>>(), "what is said is what is kept");
    saved
}

fn settled_at(engine: &mut Engine, after: u64) -> Vec<Action> {
    let state = Incoming::Settled { amount: PRICE };
    engine.handle(NOW.after(Millis(after)), Input::Incoming { hash: PREIMAGE.hash(), state })
}

#[test]
fn a_settled_job_gets_one_receipt_in_the_transaction_that_settles_it() {
    let records = [Record::Job(Box::new(delivered(true)))];
    let text = serde_json::to_string(&records).unwrap();
    let records: Vec<Record> = serde_json::from_str(&text).unwrap();
    let (mut engine, _) = Engine::restore(NOW, config(ReceiptRule::Paid), records);
    let actions = settled_at(&mut engine, 950);
    assert!(
        actions
            .iter()
            .any(|action| matches!(action, Action::Save(Record::Job(job)) if job.state.is_closed()))
    );
    let receipts = issued(&actions);
    let [receipt] = receipts.as_slice() else { panic!("{receipts:?}") };
    assert_eq!((receipt.price, receipt.payment_hash), (PRICE, Some(PREIMAGE.hash())));
    assert_eq!((receipt.provider, receipt.usage.backend.as_str()), (SELLER, "extractive"));
    let times = [receipt.asked_at, receipt.accepted_at, receipt.delivered_at, receipt.settled_at];
    assert_eq!(times, [0, 500, 900, 950].map(|after| NOW.after(Millis(after))));
    assert_eq!(receipt.fault(), None);
    let secret = PREIMAGE.to_hex();
    let text = serde_json::to_string(receipt).unwrap();
    assert!(!text.contains(&secret) && !text.contains(RESULT), "{text}");
    assert!(issued(&settled_at(&mut engine, 990)).is_empty(), "the wallet says it again");
}

#[test]
fn a_payment_that_lapsed_and_came_after_all_is_receipted_then() {
    let records = [Record::Job(Box::new(delivered(true)))];
    let (mut engine, _) = Engine::restore(NOW, config(ReceiptRule::Paid), records);
    let state = Incoming::Expired;
    let lapsed = engine.handle(NOW, Input::Incoming { hash: PREIMAGE.hash(), state });
    assert!(issued(&lapsed).is_empty(), "unpaid work has no receipt");
    let unpaid = lapsed.iter().find_map(|action| match action {
        Action::Save(Record::Job(job)) => Some(job.clone()),
        _ => None,
    });
    let unpaid = unpaid.unwrap();
    assert!(matches!(unpaid.state, State::Closed { outcome: Outcome::Unpaid { .. }, .. }));
    engine.handle(NOW, Input::Recall(Box::new(Record::Job(unpaid))));
    assert_eq!(issued(&settled_at(&mut engine, 5_000)).len(), 1);
}

#[test]
fn whoever_wants_no_receipts_sends_none_and_an_older_record_has_nothing_to_say() {
    for (rule, work, count) in
        [(ReceiptRule::None, true, 0), (ReceiptRule::All, true, 1), (ReceiptRule::Paid, false, 0)]
    {
        let records = [Record::Job(Box::new(delivered(work)))];
        let (mut engine, _) = Engine::restore(NOW, config(rule), records);
        assert_eq!(issued(&settled_at(&mut engine, 950)).len(), count, "{rule:?}");
    }
}

#[test]
fn the_record_of_an_earlier_version_is_still_read() {
    let mut value = serde_json::to_value(delivered(false)).unwrap();
    assert_eq!(value["state"].get("work"), None);
    assert!(matches!(
        serde_json::from_value::<Job>(value.clone()).unwrap().state,
        State::Delivered { work: None, .. }
    ));
    value["state"] = serde_json::json!({ "is": "closed", "outcome": { "ended": "unpaid" }, "hash": null });
    assert_eq!(serde_json::from_value::<Job>(value).unwrap().state.word(), "unpaid");
}

fn quote(n: u8) -> Quote {
    let invoice = Invoice {
        bolt11: "lnbcrt1".into(),
        payment_hash: PREIMAGE.hash(),
        amount: PRICE,
        expires_at: NOW.after(Millis::from_secs(300)),
        network: Network::Regtest,
    };
    Quote {
        job: job(n),
        provider: SELLER,
        event: EventId::from_bytes([n; 32]),
        price: invoice.amount,
        expires_at: invoice.expires_at,
        invoice,
        eta: None,
        terms: Terms::Escrow,
        ecash: None,
    }
}

fn asked(n: u8) -> Ask {
    let spec = JobSpec::new(JobKind::SUMMARIZATION, PRICE, NOW.after(Millis::from_secs(300)));
    let options = AskOptions { window: Millis(100), patience: None, max_fee: Msat::ZERO };
    Ask::new(job(n), CustomerKey::from_bytes([n; 32]), Arc::from(""), spec, options, NOW)
}

/// A customer that chose and pays `SELLER` for job 1.
fn paying() -> Engine {
    let mut engine = Engine::new(config(ReceiptRule::Paid));
    engine.handle(NOW, Input::Ask(Box::new(asked(1))));
    engine.handle(NOW, Input::Quote(quote(1)));
    let chosen = engine.handle(NOW.after(Millis(200)), Input::Tick);
    assert!(chosen.iter().any(|action| matches!(action, Action::Pay { .. })));
    engine
}

fn result() -> Input {
    let result = JobResult {
        job: job(1),
        provider: SELLER,
        event: EventId::from_bytes([2; 32]),
        kind: JobKind::SUMMARIZATION.result(),
        content: RESULT.into(),
        amount: None,
        made_by: None,
        unused: Msat::ZERO,
        bolt11: None,
        created_at: NOW,
    };
    Input::Result { result, invoice: None }
}

fn settled() -> Input {
    let state = Outgoing::Settled { preimage: PREIMAGE, fee: Msat::ZERO };
    Input::Outgoing { hash: PREIMAGE.hash(), state }
}

fn honest() -> Receipt {
    Receipt {
        job: job(1),
        kind: JobKind::SUMMARIZATION,
        provider: SELLER,
        customer: CustomerKey::from_bytes([1; 32]),
        usage: Usage::default(),
        price: PRICE,
        payment_hash: Some(PREIMAGE.hash()),
        result_sha256: ContentHash::of(RESULT.as_bytes()),
        asked_at: NOW,
        accepted_at: NOW.after(Millis(300)),
        delivered_at: NOW.after(Millis(400)),
        settled_at: NOW.after(Millis(450)),
        salt: ReceiptSalt::from_bytes([4; 32]),
    }
}

fn hears(engine: &mut Engine, receipt: Receipt) -> Vec<Action> {
    let digest = ContentHash::of(b"what it says");
    let event = EventId::from_bytes([8; 32]);
    let received = Received { receipt, body: "{}".into(), event, digest, raw: "{}".into() };
    engine.handle(NOW.after(Millis(600)), Input::Receipt(Box::new(received)))
}

fn agrees(actions: &[Action]) -> bool {
    let said = |action: &Action| matches!(action, Action::Publish { draft: Draft::Countersign { .. }, .. });
    actions.iter().any(said)
}

fn disputes(actions: &[Action]) -> Option<Dispute> {
    actions.iter().find_map(|action| match action {
        Action::Save(Record::Receipt(ReceiptRecord::Received { dispute, .. })) => dispute.clone(),
        _ => None,
    })
}

/// A customer whose job is over and who waits for the receipt.
fn waiting() -> Engine {
    let mut engine = paying();
    let mut actions = engine.handle(NOW.after(Millis(500)), result());
    actions.extend(engine.handle(NOW.after(Millis(510)), settled()));
    assert!(!actions.iter().any(|action| matches!(action, Action::Unfollow(_))), "it still listens");
    assert_eq!(engine.load(), (0, 0), "but holds no job in memory");
    engine
}

#[test]
fn a_true_receipt_is_countersigned_once_and_then_nobody_listens_any_more() {
    let mut engine = waiting();
    let actions = hears(&mut engine, honest());
    assert!(agrees(&actions) && disputes(&actions).is_none(), "{actions:?}");
    assert!(actions.iter().any(|action| matches!(action, Action::Unfollow(_))));
    assert!(hears(&mut engine, honest()).is_empty());
    assert_eq!(engine.next_wake(), None);
}

#[test]
fn a_receipt_that_comes_before_our_own_wallet_knows_waits_for_it() {
    for order in [[result(), settled()], [settled(), result()]] {
        let mut engine = paying();
        assert!(hears(&mut engine, honest()).is_empty(), "nothing is agreed to on somebody else's word");
        let [first, second] = order;
        assert!(!agrees(&engine.handle(NOW.after(Millis(650)), first)));
        assert!(agrees(&engine.handle(NOW.after(Millis(700)), second)));
    }
}

#[test]
fn a_receipt_that_lies_is_kept_as_disputed_with_the_field_and_never_countersigned() {
    let late = NOW.after(Millis::from_secs(3_600));
    for (field, lie) in [
        ("kind", Receipt { kind: JobKind::TEXT_GENERATION, ..honest() }),
        ("customer", Receipt { customer: CustomerKey::from_bytes([6; 32]), ..honest() }),
        ("price_msat", Receipt { price: Msat::new(999), ..honest() }),
        ("payment_hash", Receipt { payment_hash: Some(PaymentHash::from_bytes([6; 32])), ..honest() }),
        ("payment_hash", Receipt { payment_hash: None, ..honest() }),
        ("result_sha256", Receipt { result_sha256: ContentHash::of(b"else"), ..honest() }),
        ("asked_at", Receipt { asked_at: NOW.before(Millis::from_secs(1)), ..honest() }),
        ("times", Receipt { delivered_at: NOW, ..honest() }),
        ("delivered_at", Receipt { delivered_at: late, settled_at: late, ..honest() }),
        ("settled_at", Receipt { settled_at: late, ..honest() }),
    ] {
        let actions = hears(&mut waiting(), lie);
        let dispute = disputes(&actions).unwrap_or_else(|| panic!("{field}: {actions:?}"));
        assert_eq!(dispute.field, field);
        assert_ne!(dispute.says, dispute.known);
        assert!(!agrees(&actions), "{field}");
    }
}

#[test]
fn a_receipt_by_somebody_else_or_for_a_job_that_is_not_ours_is_not_even_kept() {
    let mut engine = waiting();
    assert!(!engine.awaits_receipt(job(1), ProviderKey::from_bytes([3; 32])));
    assert!(
        hears(&mut engine, Receipt { provider: ProviderKey::from_bytes([3; 32]), ..honest() }).is_empty()
    );
    assert!(hears(&mut engine, Receipt { job: job(2), ..honest() }).is_empty());
    assert!(agrees(&hears(&mut engine, honest())), "and nothing of that stands in the way of the true one");
}

#[test]
fn a_receipt_that_never_comes_is_waited_for_and_then_forgotten() {
    let mut engine = waiting();
    let due = engine.next_wake().unwrap();
    assert_eq!(due, NOW.after(Millis(510)).after(PATIENCE));
    assert_eq!(engine.handle(due, Input::Tick), [Action::Unfollow(job(1))]);
    assert_eq!((engine.next_wake(), engine.awaited().count()), (None, 0));
}

fn over() -> Ask {
    let mut engine = paying();
    engine.handle(NOW.after(Millis(500)), result());
    let actions = engine.handle(NOW.after(Millis(510)), settled());
    let saved = actions.into_iter().find_map(|action| match action {
        Action::Save(Record::Ask(ask)) => Some(*ask),
        _ => None,
    });
    saved.unwrap()
}

#[test]
fn after_a_restart_a_receipt_is_waited_for_again_but_not_for_more_jobs_than_there_is_room_for() {
    let ask = over();
    let records = [Record::Ask(Box::new(ask.clone()))];
    let (mut engine, owed) = Engine::restore(NOW.after(Millis(590)), config(ReceiptRule::Paid), records);
    assert!(owed.is_empty());
    assert_eq!(engine.awaited().collect::<Vec<_>>(), [(job(1), JobKind::SUMMARIZATION)]);
    assert!(agrees(&hears(&mut engine, honest())));

    let many = (0..2 * AWAITED).map(|n| {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&n.to_le_bytes());
        Record::Ask(Box::new(Ask { id: JobId::from_bytes(id), ..ask.clone() }))
    });
    let (engine, owed) = Engine::restore(NOW, config(ReceiptRule::Paid), many);
    assert_eq!((engine.awaited().count(), owed.len()), (AWAITED, AWAITED));
}
