//! Refunds to the address that a request names: after the time for a claim, once, and never beside a claim.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use std::sync::Arc;

use openagents_engine::{
    Action, Config, CustomerConfig, Engine, Input, Job, Outgoing, PreimageSeed, ProviderConfig, Record, Sent,
    SentPayment,
    job::{State, Why},
    payback::Payback,
};
use openagents_types::{
    CustomerKey, Draft, Invoice, JobId, JobKind, JobRequest, Millis, Msat, Network, Notice, PaymentHash,
    Preimage, ProviderKey, Timestamp,
};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const JOB: JobId = JobId::from_bytes([1; 32]);
const CUSTOMER: CustomerKey = CustomerKey::from_bytes([2; 32]);
const PREIMAGE: Preimage = Preimage::from_bytes([5; 32]);
const OWED: Msat = Msat::new(7_000);

fn later(secs: u64) -> Timestamp {
    NOW.after(Millis::from_secs(secs))
}

fn config() -> Config {
    let seed = PreimageSeed::new([7; 32]);
    let provider =
        ProviderConfig { escrow: false, ..ProviderConfig::new(ProviderKey::from_bytes([9; 32]), seed) };
    Config { provider: Some(provider), customer: CustomerConfig::new(Network::Regtest) }
}

fn owed() -> Record {
    let request = JobRequest {
        refund_to: Some("ann@wallet.example".into()),
        ..JobRequest::new(JOB, CUSTOMER, JobKind::SUMMARIZATION, NOW)
    };
    let why = Why { code: "late".into(), message: "too late".into() };
    Record::Job(Box::new(Job {
        request: Arc::new(request),
        received_at: NOW,
        changed_at: NOW,
        state: State::RefundOwed { hash: PaymentHash::from_bytes([4; 32]), amount: OWED, why },
        steps: Vec::new(),
        doubts: Vec::new(),
        zaps: Vec::new(),
        payback: Payback { since: Some(NOW), ..Payback::default() },
        bill: None,
        arrears: Msat::ZERO,
        meter: None,
        ecash: None,
    }))
}

/// A provider that owes a refund, and whose wallet has said what it sent before the start.
fn debtor(sent: Vec<SentPayment>) -> Engine {
    let (mut engine, _) = Engine::restore(NOW, config(), [owed()]);
    engine.handle(NOW, Input::Sent(Sent::Told(sent)));
    engine
}

fn invoice(amount: Msat) -> Invoice {
    Invoice {
        bolt11: "lnbcrt1".into(),
        payment_hash: PREIMAGE.hash(),
        amount,
        expires_at: later(600),
        network: Network::Regtest,
    }
}

fn answered(outcome: Result<Invoice, String>) -> Input {
    Input::AddressAnswered { job: JOB, outcome }
}

fn asked(actions: &[Action]) -> usize {
    let wanted = Action::AskAddress { job: JOB, to: "ann@wallet.example".into(), amount: OWED };
    actions.iter().filter(|action| **action == wanted).count()
}

fn pays(actions: &[Action]) -> usize {
    actions.iter().filter(|action| matches!(action, Action::Pay { .. })).count()
}

#[test]
fn the_address_is_paid_once_after_the_time_for_a_claim() {
    let mut engine = debtor(Vec::new());
    assert_eq!(asked(&engine.handle(later(59), Input::Tick)), 0);
    let actions = engine.handle(later(60), Input::Tick);
    assert_eq!(asked(&actions), 1);
    let saved = |action: &Action| matches!(action, Action::Save(Record::Job(job)) if job.payback.asked == 1);
    assert!(actions.iter().any(saved), "that it was asked is written down");
    let actions = engine.handle(later(61), answered(Ok(invoice(OWED))));
    assert_eq!(pays(&actions), 1);
    let row = |action: &Action| matches!(action, Action::Save(Record::Payment(row)) if row.job == JOB);
    assert!(actions.iter().any(row), "it is written down before it is paid");
    let other = Invoice { payment_hash: PaymentHash::from_bytes([8; 32]), ..invoice(OWED) };
    let claim = Input::RefundClaim { job: JOB, by: CUSTOMER, invoice: other.clone() };
    assert!(engine.handle(later(62), claim).is_empty(), "never both");
    assert!(engine.handle(later(62), answered(Ok(other))).is_empty(), "an answer that comes twice");
    let settled = Outgoing::Settled { preimage: PREIMAGE, fee: Msat::ZERO };
    let actions = engine.handle(later(63), Input::Outgoing { hash: PREIMAGE.hash(), state: settled });
    let told = Notice::RefundedTo {
        paid: PaymentHash::from_bytes([4; 32]),
        amount: OWED,
        to: "ann@wallet.example".into(),
    };
    assert!(actions.contains(&Action::Publish { job: JOB, draft: Draft::Notice(told) }));
    assert_eq!(engine.load(), (0, 0));
}

#[test]
fn a_refund_that_the_wallet_denied_twice_and_that_arrived_all_the_same_is_the_refund() {
    let mut engine = debtor(Vec::new());
    let claim = Input::RefundClaim { job: JOB, by: CUSTOMER, invoice: invoice(OWED) };
    assert_eq!(pays(&engine.handle(NOW, claim)), 1);
    let outgoing = |state| Input::Outgoing { hash: PREIMAGE.hash(), state };
    let failed = || outgoing(Outgoing::Failed { reason: "no route".into() });
    // A word that it is under way takes the first denial back.
    for word in [failed(), outgoing(Outgoing::Pending), failed()] {
        engine.handle(later(1), word);
        assert_eq!(engine.job(JOB).unwrap().state.word(), "refunding");
    }
    engine.handle(later(2), failed());
    assert_eq!(engine.job(JOB).unwrap().state.word(), "refund-owed");
    let job = serde_json::to_string(engine.job(JOB).unwrap()).unwrap();
    let job: Job = serde_json::from_str(&job).unwrap();
    let (mut engine, _) = Engine::restore(later(3), config(), [Record::Job(Box::new(job))]);
    let actions = engine.handle(later(3), Input::Sent(Sent::Told(Vec::new())));
    assert!(
        actions.contains(&Action::LookUpOutgoing(PREIMAGE.hash())),
        "it is asked about again: {actions:?}"
    );
    let actions =
        engine.handle(later(4), outgoing(Outgoing::Settled { preimage: PREIMAGE, fee: Msat::ZERO }));
    let booked =
        |action: &Action| matches!(action, Action::Save(Record::Entry(entry)) if entry.amount == OWED);
    assert!(actions.iter().any(booked), "{actions:?}");
    assert_eq!(engine.load(), (0, 0), "nothing is owed any more");
}

#[test]
fn a_refund_that_the_run_before_has_ordered_is_not_owed_again_before_that_order_has_ended() {
    let mut engine = debtor(Vec::new());
    let claim = Input::RefundClaim { job: JOB, by: CUSTOMER, invoice: invoice(OWED) };
    assert_eq!(pays(&engine.handle(NOW, claim)), 1);
    let record = Record::Job(Box::new(engine.job(JOB).unwrap().clone()));
    let (mut engine, _) = Engine::restore(later(1), config(), [record]);
    let failed = || Outgoing::Failed { reason: "no route".into() };
    for (seconds, word) in
        [(2, "refunding"), (7, "refunding"), (65, "refunding"), (66, "refunding"), (71, "refund-owed")]
    {
        engine.handle(later(seconds), Input::Outgoing { hash: PREIMAGE.hash(), state: failed() });
        assert_eq!(engine.job(JOB).unwrap().state.word(), word, "after {seconds} s");
    }
}

#[test]
fn an_address_that_gives_no_fit_invoice_moves_nothing_and_is_asked_ever_more_rarely() {
    let mut engine = debtor(Vec::new());
    let (mut now, mut waits) = (later(60), Vec::new());
    for outcome in [
        Ok(invoice(Msat::new(7_001))),
        Ok(invoice(Msat::new(6_999))),
        Ok(Invoice { expires_at: NOW, ..invoice(OWED) }),
        Err("127.0.0.1 is no public address".into()),
        Err("no answer".into()),
    ] {
        assert_eq!(asked(&engine.handle(now, Input::Tick)), 1);
        let actions = engine.handle(now, answered(outcome));
        assert_eq!(pays(&actions), 0);
        let job = engine.job(JOB).unwrap();
        assert!(matches!(job.state, State::RefundOwed { .. }) && job.payback.trouble.is_some());
        let again = engine.next_wake().unwrap();
        waits.push(again.since(now).0);
        now = again;
    }
    assert!(waits.is_sorted_by(|a, b| 2 * a == *b), "{waits:?}");
    for _ in 0..9 {
        assert_eq!(asked(&engine.handle(now, Input::Tick)), 1, "silence is no answer");
        now = engine.next_wake().unwrap();
    }
    engine.handle(now, Input::Tick);
    assert_eq!(engine.next_wake().unwrap().since(now).0, 6 * 3_600_000);
    let fit = Invoice { expires_at: now.after(Millis::from_secs(60)), ..invoice(OWED) };
    assert_eq!(pays(&engine.handle(now, answered(Ok(fit)))), 1);
}

#[test]
fn what_an_address_never_takes_becomes_a_balance_at_last() {
    let mut engine = debtor(Vec::new());
    let (mut now, mut asks) = (later(60), 0);
    while let Some(Job { state: State::RefundOwed { .. }, .. }) = engine.job(JOB) {
        asks += asked(&engine.handle(now, Input::Tick));
        let Some(again) = engine.next_wake() else { break };
        assert!(now < later(14 * 86_400), "it is owed for ever");
        now = again;
    }
    assert_eq!((asks, engine.balance(CUSTOMER)), (16, OWED));
}

#[test]
fn a_claim_that_comes_first_is_paid_and_the_address_is_not() {
    let mut engine = debtor(Vec::new());
    engine.handle(later(60), Input::Tick);
    let claimed = Invoice { payment_hash: PaymentHash::from_bytes([8; 32]), ..invoice(OWED) };
    let claim = Input::RefundClaim { job: JOB, by: CUSTOMER, invoice: claimed };
    assert_eq!(pays(&engine.handle(later(61), claim)), 1);
    assert!(engine.handle(later(62), answered(Ok(invoice(OWED)))).is_empty());
    assert_eq!(asked(&engine.handle(later(9_000), Input::Tick)), 0);
}

#[test]
fn what_may_have_been_paid_before_an_old_backup_is_not_paid_to_an_address() {
    let sent = SentPayment { hash: PaymentHash::from_bytes([6; 32]), amount: OWED, at: later(10) };
    let mut engine = debtor(vec![sent]);
    assert_eq!(asked(&engine.handle(later(90_000), Input::Tick)), 0, "the wallet paid as much");
    let (mut engine, _) = Engine::restore(NOW, config(), [owed()]);
    assert_eq!(asked(&engine.handle(later(70), Input::Tick)), 0, "the wallet has not spoken yet");
    engine.handle(later(71), Input::Sent(Sent::Withheld));
    assert_eq!(asked(&engine.handle(later(90_000), Input::Tick)), 0, "the wallet never says");
    assert!(engine.job(JOB).unwrap().payback.trouble.is_some());
    let claim = Input::RefundClaim { job: JOB, by: CUSTOMER, invoice: invoice(OWED) };
    let held = engine.handle(later(400), claim);
    assert_eq!(pays(&held), 1, "a claim's invoice cannot be paid twice");
}
