//! Arrears: a bill that is over unpaid is paid with the price of a later job, once.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use openagents_engine::{
    Action, BalanceEntry, Change, Config, CustomerConfig, Engine, Incoming, Input, InputSize, InvoiceFor,
    Job, Offer, PreimageSeed, ProviderConfig, Record, RunFault, credit::Credit,
};
use openagents_types::{
    CustomerKey, Draft, Invoice, JobId, JobInput, JobKind, JobRequest, Millis, Msat, Network, Notice,
    PaymentHash, ProviderKey, Timestamp, Usage,
};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const LATER: Timestamp = Timestamp::from_secs(1_800_004_501);
const PROVIDER: ProviderKey = ProviderKey::from_bytes([9; 32]);
const CUSTOMER: CustomerKey = CustomerKey::from_bytes([2; 32]);
const PRICE: Msat = Msat::new(1_000);
const BOTH: Msat = Msat::new(2_000);

fn id(job: u8) -> JobId {
    JobId::from_bytes([job; 32])
}

fn config() -> Config {
    let provider = ProviderConfig {
        offers: vec![Offer::flat(JobKind::SUMMARIZATION, PRICE)],
        credit: Credit { each: Msat::new(5_000), ..Credit::default() },
        escrow: false,
        ..ProviderConfig::new(PROVIDER, PreimageSeed::new([7; 32]))
    };
    Config { provider: Some(provider), customer: CustomerConfig::new(Network::Regtest) }
}

fn request(job: u8, now: Timestamp) -> JobRequest {
    JobRequest {
        inputs: vec![JobInput::text("some text")],
        providers: vec![PROVIDER],
        ..JobRequest::new(id(job), CUSTOMER, JobKind::SUMMARIZATION, now)
    }
}

fn hash(job: u8) -> PaymentHash {
    PaymentHash::from_bytes([job; 32])
}

/// Asks for a job, and makes the invoice that is asked for it: how much that is, and what is then done.
fn begin(engine: &mut Engine, now: Timestamp, request: JobRequest) -> (Msat, Vec<Action>) {
    let job = request.id;
    engine.handle(now, Input::Request(Box::new(request)));
    let asked = engine.handle(now, Input::Resolved { job, outcome: Ok(InputSize { bytes: 9 }) });
    let amount = asked.iter().find_map(|action| match action {
        Action::Invoice { amount, .. } => Some(*amount),
        _ => None,
    });
    let amount = amount.unwrap();
    let payment_hash = hash(job.as_bytes()[0]);
    let outcome = Ok(Invoice {
        bolt11: format!("lnbcrt{job}"),
        payment_hash,
        amount,
        expires_at: now.after(Millis::from_secs(3_900)),
        network: Network::Regtest,
    });
    (amount, engine.handle(now, Input::Invoiced { invoice_for: InvoiceFor::Quote(job), outcome }))
}

fn pay(engine: &mut Engine, now: Timestamp, job: u8, amount: Msat) -> Vec<Action> {
    engine.handle(now, Input::Incoming { hash: hash(job), state: Incoming::Settled { amount } })
}

fn finish(engine: &mut Engine, now: Timestamp, job: u8) -> Vec<Action> {
    engine.handle(now, Input::Finished { job: id(job), content: "done".into(), usage: Usage::default() })
}

/// A provider whose customer has let the bill of job 1 lapse, and the record of that job.
fn after_an_unpaid_bill() -> (Engine, Job) {
    let mut engine = Engine::new(config());
    let begun = begin(&mut engine, NOW, request(1, NOW)).1;
    assert!(begun.iter().any(|action| matches!(action, Action::Run { .. })), "on credit");
    finish(&mut engine, NOW, 1);
    let over = engine.handle(LATER, Input::Incoming { hash: hash(1), state: Incoming::Expired });
    assert_eq!(rows(&over), [(Change::Unpaid, PRICE)]);
    let closed = over.iter().find_map(|action| match action {
        Action::Save(Record::Job(job)) => Some((**job).clone()),
        _ => None,
    });
    (engine, closed.unwrap())
}

fn rows(actions: &[Action]) -> Vec<(Change, Msat)> {
    let row = |action: &Action| match action {
        Action::Save(Record::Balance(entry)) => Some((entry.change, entry.amount)),
        _ => None,
    };
    actions.iter().filter_map(row).collect()
}

fn is_owed_back(actions: &[Action]) -> bool {
    let owed = |action: &Action| {
        matches!(action, Action::Publish { draft: Draft::Notice(Notice::RefundOwed { .. }), .. })
    };
    actions.iter().any(owed)
}

#[test]
fn a_debt_is_paid_with_the_next_job_and_credit_begins_again() {
    let (mut engine, _) = after_an_unpaid_bill();
    let (asked, offered) = begin(&mut engine, LATER, request(2, LATER));
    assert_eq!(asked, BOTH);
    let told = |action: &Action| {
        matches!(action, Action::Publish { draft: Draft::Notice(Notice::Processing { message }), .. }
            if message.contains(&format!("{PRICE} of the price of {BOTH}")))
    };
    assert!(offered.iter().any(told), "{offered:?}");
    assert!(rows(&pay(&mut engine, LATER, 2, BOTH)).is_empty(), "not before it is delivered");
    let done = finish(&mut engine, LATER, 2);
    assert_eq!(rows(&done), [(Change::PaidLate, PRICE)]);
    let receipt = |action: &Action| matches!(action, Action::Publish { draft: Draft::Receipt(receipt), .. } if receipt.price == BOTH);
    assert!(done.iter().any(receipt), "a receipt says what was paid: {done:?}");
    let (asked, begun) = begin(&mut engine, LATER, request(3, LATER));
    assert_eq!(asked, PRICE);
    assert!(begun.iter().any(|action| matches!(action, Action::Run { .. })), "on credit again");
}

#[test]
fn nobody_is_asked_for_more_than_its_bid_or_where_others_are_asked_too() {
    let other = ProviderKey::from_bytes([8; 32]);
    for (what, asked) in [
        ("a bid that covers the job alone", JobRequest { bid: Some(PRICE), ..request(2, LATER) }),
        ("one below both", JobRequest { bid: Some(Msat::new(1_999)), ..request(2, LATER) }),
        ("everybody is asked", JobRequest { providers: Vec::new(), ..request(2, LATER) }),
        ("two are asked", JobRequest { providers: vec![PROVIDER, other], ..request(2, LATER) }),
        ("another key", JobRequest { customer: CustomerKey::from_bytes([3; 32]), ..request(2, LATER) }),
    ] {
        assert_eq!(begin(&mut after_an_unpaid_bill().0, LATER, asked).0, PRICE, "{what}");
    }
    let enough = JobRequest { bid: Some(BOTH), ..request(2, LATER) };
    assert_eq!(begin(&mut after_an_unpaid_bill().0, LATER, enough).0, BOTH);
}

#[test]
fn a_debt_is_asked_for_by_one_job_at_a_time_and_by_every_other_offer() {
    let (mut engine, _) = after_an_unpaid_bill();
    let amounts: Vec<Msat> = (2..6).map(|job| begin(&mut engine, LATER, request(job, LATER)).0).collect();
    assert_eq!(amounts, [BOTH, PRICE, PRICE, PRICE], "one is open that asks for it");
    let over = LATER.after(Millis::from_secs(9_000));
    for job in 2..6 {
        engine.handle(over, Input::Incoming { hash: hash(job), state: Incoming::Expired });
        engine.handle(
            over.after(Millis::from_secs(9_000)),
            Input::Incoming { hash: hash(job), state: Incoming::Expired },
        );
    }
    let again = over.after(Millis::from_secs(9_001));
    let amounts: Vec<Msat> = [10, 11].map(|job| begin(&mut engine, again, request(job, again)).0).into();
    assert_eq!(amounts, [PRICE, BOTH], "who left an offer alone has the next without, and is asked again");
}

#[test]
fn a_job_that_fails_pays_nothing_of_a_debt() {
    let (mut engine, _) = after_an_unpaid_bill();
    begin(&mut engine, LATER, request(2, LATER));
    pay(&mut engine, LATER, 2, BOTH);
    let fault = RunFault { code: "failed".into(), message: "it broke".into(), retryable: false };
    let failed = engine.handle(LATER, Input::RunFailed { job: id(2), fault });
    assert!(rows(&failed).is_empty() && is_owed_back(&failed), "{failed:?}");
    let owed = engine.job(id(2)).unwrap();
    assert!(matches!(owed.state, openagents_engine::job::State::RefundOwed { amount: BOTH, .. }), "{owed:?}");
}

#[test]
fn a_bill_that_is_paid_late_besides_goes_back() {
    let (mut engine, closed) = after_an_unpaid_bill();
    begin(&mut engine, LATER, request(2, LATER));
    engine.handle(LATER, Input::Recall(Box::new(Record::Job(Box::new(closed.clone())))));
    let late = pay(&mut engine, LATER, 1, PRICE);
    assert!(rows(&late).is_empty() && is_owed_back(&late), "{late:?}");
    pay(&mut engine, LATER, 2, BOTH);
    assert_eq!(rows(&finish(&mut engine, LATER, 2)), [(Change::PaidLate, PRICE)]);

    let (mut engine, _) = after_an_unpaid_bill();
    begin(&mut engine, LATER, request(2, LATER));
    pay(&mut engine, LATER, 2, BOTH);
    finish(&mut engine, LATER, 2);
    engine.handle(LATER, Input::Recall(Box::new(Record::Job(Box::new(closed)))));
    let late = pay(&mut engine, LATER, 1, PRICE);
    assert!(rows(&late).is_empty() && is_owed_back(&late), "{late:?}");
}

#[test]
fn an_offer_that_is_paid_after_its_debt_was_paid_goes_back() {
    let (mut engine, closed) = after_an_unpaid_bill();
    begin(&mut engine, LATER, request(2, LATER));
    let over = LATER.after(Millis::from_secs(9_000));
    let mut end = Vec::new();
    for _ in 0..2 {
        end = engine.handle(over, Input::Incoming { hash: hash(2), state: Incoming::Expired });
    }
    assert!(end.is_empty(), "a slow payment may come: {end:?}");
    let lapsing = engine.job(id(2)).unwrap().clone();
    assert_eq!(lapsing.state.word(), "lapsing");
    // The bill itself is paid in a run of the program that does not know of the offer.
    let debt =
        BalanceEntry { at: NOW, customer: CUSTOMER, job: id(1), change: Change::Unpaid, amount: PRICE };
    let (mut engine, _) = Engine::restore(over, config(), [Record::Balance(debt)]);
    engine.handle(over, Input::Recall(Box::new(Record::Job(Box::new(closed)))));
    assert_eq!(rows(&pay(&mut engine, over, 1, PRICE)), [(Change::PaidLate, PRICE)]);
    engine.handle(over, Input::Recall(Box::new(Record::Job(Box::new(lapsing)))));
    let late = pay(&mut engine, over, 2, BOTH);
    assert!(rows(&late).is_empty() && is_owed_back(&late), "{late:?}");
}

#[test]
fn what_a_late_payment_is_more_than_its_bill_becomes_balance() {
    let (mut engine, closed) = after_an_unpaid_bill();
    engine.handle(LATER, Input::Recall(Box::new(Record::Job(Box::new(closed)))));
    let late = pay(&mut engine, LATER, 1, Msat::new(1_300));
    assert_eq!(rows(&late), [(Change::PaidLate, PRICE), (Change::Overpaid, Msat::new(300))]);
    let settled = late.iter().any(|action| {
        matches!(action, Action::Publish { draft: Draft::Receipt(receipt), .. } if receipt.price == PRICE)
    });
    assert!(settled, "{late:?}");
    assert_eq!(engine.balance(CUSTOMER), Msat::new(300));
}
