//! Balances: what becomes one, what runs from it, and that nothing is spent twice.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use std::sync::Arc;

use openagents_engine::{
    Action, BalanceEntry, Change, Config, CustomerConfig, Engine, Incoming, Input, InputSize, InvoiceFor,
    Job, Movement, Offer, PreimageSeed, ProviderConfig, Record, RunFault,
    job::{Outcome, State, Why},
    payback::Payback,
};
use openagents_types::{
    CustomerKey, Draft, Invoice, JobId, JobInput, JobKind, JobRequest, Millis, Msat, Network, Notice,
    PaymentHash, Preimage, ProviderKey, Timestamp, Usage, refusal,
};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const PROVIDER: ProviderKey = ProviderKey::from_bytes([9; 32]);
const CUSTOMER: CustomerKey = CustomerKey::from_bytes([2; 32]);
const PRICE: Msat = Msat::new(1_000);

fn id(job: u8) -> JobId {
    JobId::from_bytes([job; 32])
}

fn later(secs: u64) -> Timestamp {
    NOW.after(Millis::from_secs(secs))
}

fn config(escrow: bool) -> Config {
    let seed = PreimageSeed::new([7; 32]);
    let provider = ProviderConfig {
        offers: vec![Offer::flat(JobKind::SUMMARIZATION, PRICE)],
        escrow,
        credit_after: Some(Millis::from_secs(100)),
        ..ProviderConfig::new(PROVIDER, seed)
    };
    Config { provider: Some(provider), customer: CustomerConfig::new(Network::Regtest) }
}

fn kept(msat: u64) -> Record {
    let (customer, amount) = (CUSTOMER, Msat::new(msat));
    Record::Balance(BalanceEntry { at: NOW, customer, job: id(1), change: Change::Credited, amount })
}

fn with_balance(msat: u64) -> Engine {
    Engine::restore(NOW, config(false), [kept(msat)]).0
}

fn request(job: u8) -> JobRequest {
    JobRequest {
        inputs: vec![JobInput::text("some text")],
        bid: Some(Msat::new(2_000)),
        providers: vec![PROVIDER],
        ..JobRequest::new(id(job), CUSTOMER, JobKind::SUMMARIZATION, NOW)
    }
}

/// Asks for a job whose inputs are read at once.
fn ask(engine: &mut Engine, request: JobRequest) -> Vec<Action> {
    let job = request.id;
    let mut actions = engine.handle(NOW, Input::Request(Box::new(request)));
    let outcome = Ok(InputSize { bytes: 9 });
    actions.extend(engine.handle(NOW, Input::Resolved { job, outcome }));
    actions
}

fn changes(actions: &[Action]) -> Vec<(Change, u64)> {
    let change = |action: &Action| match action {
        Action::Save(Record::Balance(entry)) => Some((entry.change, entry.amount.get())),
        _ => None,
    };
    actions.iter().filter_map(change).collect()
}

fn asks_for_an_invoice(actions: &[Action]) -> bool {
    actions.iter().any(|action| matches!(action, Action::Invoice { .. }))
}

fn notices(actions: &[Action]) -> Vec<Notice> {
    let notice = |action: &Action| match action {
        Action::Publish { draft: Draft::Notice(notice), .. } => Some(notice.clone()),
        _ => None,
    };
    actions.iter().filter_map(notice).collect()
}

fn finish(engine: &mut Engine, job: u8) -> Vec<Action> {
    engine.handle(NOW, Input::Finished { job: id(job), content: "done".into(), usage: Usage::default() })
}

fn owed(since: Timestamp) -> Job {
    Job {
        request: Arc::new(request(1)),
        received_at: NOW,
        changed_at: since,
        state: State::RefundOwed {
            hash: PaymentHash::from_bytes([4; 32]),
            amount: PRICE,
            why: Why { code: "late".into(), message: "too late".into() },
        },
        steps: Vec::new(),
        doubts: Vec::new(),
        zaps: Vec::new(),
        payback: Payback { since: Some(since), ..Payback::default() },
        bill: None,
        arrears: Msat::ZERO,
        meter: None,
        ecash: None,
    }
}

fn claim() -> Input {
    let invoice = Invoice {
        bolt11: "lnbcrt1".into(),
        payment_hash: PaymentHash::from_bytes([5; 32]),
        amount: PRICE,
        expires_at: later(3_600),
        network: Network::Regtest,
    };
    Input::RefundClaim { job: id(1), by: CUSTOMER, invoice }
}

#[test]
fn a_refund_that_nobody_claims_becomes_the_balance_of_its_key() {
    let mut engine = Engine::restore(NOW, config(false), [Record::Job(Box::new(owed(NOW)))]).0;
    engine.handle(NOW, Input::Sent(openagents_engine::Sent::Told(Vec::new())));
    assert!(changes(&engine.handle(later(99), Input::Tick)).is_empty());
    let actions = engine.handle(later(100), Input::Tick);
    assert_eq!(changes(&actions), [(Change::Credited, 1_000)]);
    assert_eq!(
        notices(&actions),
        [Notice::Credited { paid: PaymentHash::from_bytes([4; 32]), amount: PRICE }]
    );
    assert_eq!((engine.balance(CUSTOMER), engine.load()), (PRICE, (0, 0)));
    assert!(engine.handle(later(900), Input::Tick).is_empty(), "once");
}

#[test]
fn a_job_runs_from_the_balance_without_an_invoice_and_asks_nothing_for_its_result() {
    let mut engine = with_balance(1_500);
    let actions = ask(&mut engine, request(2));
    assert!(!asks_for_an_invoice(&actions));
    assert_eq!(changes(&actions), [(Change::Used, 1_000)]);
    assert_eq!(notices(&actions), [Notice::FromBalance { amount: PRICE, left: Msat::new(500) }]);
    assert!(actions.iter().any(|action| matches!(action, Action::Run { .. })));
    let done = finish(&mut engine, 2);
    let result = |action: &Action| matches!(action, Action::Publish { draft: Draft::Result { price, .. }, .. } if price.is_zero());
    assert!(done.iter().any(result), "{done:?}");
    let settled = |action: &Action| matches!(action, Action::Save(Record::Job(job)) if matches!(&job.state, State::Closed { outcome: Outcome::Settled { paid }, hash: None } if *paid == PRICE));
    assert!(done.iter().any(settled), "{done:?}");
    assert!(!done.iter().any(|action| matches!(action, Action::Save(Record::Entry(_)))), "no money moves");
    assert_eq!(engine.balance(CUSTOMER), Msat::new(500));
}

#[test]
fn two_jobs_at_once_cannot_spend_one_balance() {
    let mut engine = with_balance(1_999);
    assert!(!asks_for_an_invoice(&ask(&mut engine, request(2))));
    let second = ask(&mut engine, request(3));
    assert!(asks_for_an_invoice(&second) && changes(&second).is_empty());
    assert_eq!(engine.balance(CUSTOMER), Msat::new(999));
}

#[test]
fn a_job_that_fails_gives_the_balance_back() {
    let mut engine = with_balance(1_000);
    ask(&mut engine, request(2));
    let fault = RunFault { code: "failed".into(), message: "no".into(), retryable: false };
    let actions = engine.handle(NOW, Input::RunFailed { job: id(2), fault });
    assert_eq!(changes(&actions), [(Change::GivenBack, 1_000)]);
    assert!(matches!(notices(&actions)[0], Notice::Refused { .. }));
    assert_eq!((engine.balance(CUSTOMER), engine.load()), (PRICE, (0, 0)));
}

#[test]
fn only_a_job_for_this_provider_with_a_bid_runs_from_a_balance() {
    for asked in [
        JobRequest { providers: Vec::new(), ..request(2) },
        JobRequest { bid: None, ..request(2) },
        JobRequest { customer: CustomerKey::from_bytes([3; 32]), ..request(2) },
    ] {
        let mut engine = with_balance(5_000);
        assert!(asks_for_an_invoice(&ask(&mut engine, asked)));
        assert_eq!(engine.balance(CUSTOMER), Msat::new(5_000));
    }
}

fn credited() -> Record {
    let hash = Some(PaymentHash::from_bytes([4; 32]));
    let why = Why { code: "late".into(), message: "too late".into() };
    let state = State::Closed { outcome: Outcome::Credited { amount: PRICE, why }, hash };
    Record::Job(Box::new(Job { state, ..owed(NOW) }))
}

#[test]
fn a_claim_is_paid_out_of_the_balance_or_refused_with_the_reason() {
    let mut engine = with_balance(1_000);
    engine.handle(NOW, Input::Recall(Box::new(credited())));
    let actions = engine.handle(NOW, claim());
    assert_eq!(changes(&actions), [(Change::Claimed, 1_000)]);
    assert!(actions.iter().any(|action| matches!(action, Action::Pay { first: true, .. })));
    assert_eq!(engine.balance(CUSTOMER), Msat::ZERO);
    assert!(asks_for_an_invoice(&ask(&mut engine, request(2))), "it is spent");
    assert!(engine.handle(NOW, claim()).is_empty(), "once");

    let mut engine = with_balance(1_000);
    ask(&mut engine, request(2));
    engine.handle(NOW, Input::Recall(Box::new(credited())));
    let actions = engine.handle(NOW, claim());
    let used =
        |notice: &Notice| matches!(notice, Notice::Refused { code, .. } if code == refusal::CREDIT_USED);
    assert!(notices(&actions).iter().all(used) && notices(&actions).len() == 1, "{actions:?}");
    assert!(engine.job(id(1)).is_none(), "it leaves memory again");
    let refused = actions.into_iter().find_map(|action| match action {
        Action::Save(record @ Record::Job(_)) => Some(record),
        _ => None,
    });
    let fault = RunFault { code: "failed".into(), message: "no".into(), retryable: false };
    engine.handle(NOW, Input::RunFailed { job: id(2), fault });
    engine.handle(NOW, Input::Recall(Box::new(refused.unwrap())));
    assert!(engine.handle(NOW, claim()).is_empty(), "whoever was told no is not paid behind its back");
    assert_eq!(engine.balance(CUSTOMER), PRICE);
}

/// A job that was offered, and the payment that came for it.
fn paid(escrow: bool, came: u64) -> (Engine, Vec<Action>, PaymentHash) {
    let mut engine = Engine::new(config(escrow));
    ask(&mut engine, request(2));
    let hash = if escrow {
        PreimageSeed::new([7; 32]).preimage(id(2)).hash()
    } else {
        Preimage::from_bytes([5; 32]).hash()
    };
    let (bolt11, expires_at) = ("lnbcrt1".into(), later(90));
    let invoice =
        Invoice { bolt11, payment_hash: hash, amount: PRICE, expires_at, network: Network::Regtest };
    engine.handle(NOW, Input::Invoiced { invoice_for: InvoiceFor::Quote(id(2)), outcome: Ok(invoice) });
    let amount = Msat::new(came);
    let state = if escrow { Incoming::Held { amount } } else { Incoming::Settled { amount } };
    let actions = engine.handle(NOW, Input::Incoming { hash, state });
    (engine, actions, hash)
}

#[test]
fn what_is_paid_beyond_the_price_becomes_balance_once_it_is_ours() {
    let (mut engine, actions, _) = paid(false, 1_700);
    assert_eq!(changes(&actions), [(Change::Overpaid, 700)]);
    assert_eq!(notices(&actions), [Notice::Overpaid { amount: Msat::new(700) }]);
    finish(&mut engine, 2);
    assert_eq!(engine.balance(CUSTOMER), Msat::new(700));

    let (mut engine, actions, hash) = paid(true, 1_700);
    assert!(changes(&actions).is_empty(), "it is not ours yet");
    assert!(changes(&finish(&mut engine, 2)).is_empty());
    let state = Incoming::Settled { amount: Msat::new(1_700) };
    let actions = engine.handle(NOW, Input::Incoming { hash, state });
    assert_eq!(changes(&actions), [(Change::Overpaid, 700)]);
    let earned = |action: &Action| matches!(action, Action::Save(Record::Entry(entry)) if entry.movement == Movement::Earned && entry.amount.get() == 1_700);
    assert!(actions.iter().any(earned), "the books say what came into the wallet");
    let receipt = |action: &Action| matches!(action, Action::Publish { draft: Draft::Receipt(receipt), .. } if receipt.price == PRICE);
    assert!(actions.iter().any(receipt));
}

#[test]
fn a_failure_after_too_much_was_paid_owes_the_price_and_keeps_the_rest() {
    let (mut engine, ..) = paid(false, 1_700);
    let fault = RunFault { code: "failed".into(), message: "no".into(), retryable: false };
    let actions = engine.handle(NOW, Input::RunFailed { job: id(2), fault });
    assert!(
        notices(&actions)
            .iter()
            .any(|notice| matches!(notice, Notice::RefundOwed { amount, .. } if *amount == PRICE))
    );
    assert_eq!(engine.balance(CUSTOMER), Msat::new(700));
}
