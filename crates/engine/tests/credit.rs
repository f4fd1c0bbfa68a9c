//! Work before payment: who may have it, how much, and what an unpaid bill does.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use openagents_engine::{
    Action, BalanceEntry, Change, Config, CustomerConfig, Engine, Incoming, Input, InputSize, InvoiceFor,
    Offer, PreimageSeed, ProviderConfig, Record, credit::Credit, job::State,
};
use openagents_types::{
    CustomerKey, Draft, Invoice, JobId, JobInput, JobKind, JobRequest, MadeBy, Millis, Msat, Network,
    PaymentHash, ProviderKey, Timestamp, Usage,
};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const PROVIDER: ProviderKey = ProviderKey::from_bytes([9; 32]);
const CUSTOMER: CustomerKey = CustomerKey::from_bytes([2; 32]);
const PRICE: Msat = Msat::new(1_000);

fn id(job: u8) -> JobId {
    JobId::from_bytes([job; 32])
}

fn config(msat: u64) -> Config {
    let provider = ProviderConfig {
        offers: vec![Offer::flat(JobKind::SUMMARIZATION, PRICE)],
        credit: Credit { named: [(CUSTOMER, Msat::new(msat))].into(), ..Credit::default() },
        ..ProviderConfig::new(PROVIDER, PreimageSeed::new([7; 32]))
    };
    Config { provider: Some(provider), customer: CustomerConfig::new(Network::Regtest) }
}

fn request(job: u8) -> JobRequest {
    JobRequest {
        inputs: vec![JobInput::text("some text")],
        providers: vec![PROVIDER],
        ..JobRequest::new(id(job), CUSTOMER, JobKind::SUMMARIZATION, NOW)
    }
}

fn invoice(job: u8) -> Invoice {
    Invoice {
        bolt11: format!("lnbcrt{job}"),
        payment_hash: PaymentHash::from_bytes([job; 32]),
        amount: PRICE,
        expires_at: NOW.after(Millis::from_secs(3_900)),
        network: Network::Regtest,
    }
}

/// Asks for a job, and makes its invoice; whether that was a plain one, which a bill is.
fn begin(engine: &mut Engine, request: JobRequest) -> (bool, Vec<Action>) {
    let job = request.id;
    engine.handle(NOW, Input::Request(Box::new(request)));
    let asked = engine.handle(NOW, Input::Resolved { job, outcome: Ok(InputSize { bytes: 9 }) });
    let plain = asked.iter().any(|action| matches!(action, Action::Invoice { hold: None, .. }));
    let outcome = Ok(invoice(job.as_bytes()[0]));
    (plain, engine.handle(NOW, Input::Invoiced { invoice_for: InvoiceFor::Quote(job), outcome }))
}

fn finish(engine: &mut Engine, job: u8) -> Vec<Action> {
    engine.handle(NOW, Input::Finished { job: id(job), content: "done".into(), usage: Usage::default() })
}

fn runs(actions: &[Action]) -> bool {
    actions.iter().any(|action| matches!(action, Action::Run { .. }))
}

#[test]
fn a_trusted_customer_gets_the_result_and_then_pays_its_bill() {
    let mut engine = Engine::new(config(1_000));
    let (plain, begun) = begin(&mut engine, request(1));
    assert!(plain && runs(&begun), "{begun:?}");
    let quoted = |action: &Action| matches!(action, Action::Publish { draft: Draft::Quote { .. }, .. });
    assert!(!begun.iter().any(quoted), "the bill is not shown before the work");
    let done = finish(&mut engine, 1);
    let bill = Draft::Bill {
        content: "done".into(),
        invoice: invoice(1),
        unused: Msat::ZERO,
        made_by: Some(MadeBy::default()),
    };
    assert!(done.contains(&Action::Publish { job: id(1), draft: bill }), "{done:?}");
    assert_eq!(engine.job(id(1)).unwrap().state.word(), "billed");
    let state = Incoming::Settled { amount: PRICE };
    let paid = engine.handle(NOW, Input::Incoming { hash: invoice(1).payment_hash, state });
    let receipt = |action: &Action| matches!(action, Action::Publish { draft: Draft::Receipt(receipt), .. } if receipt.price == PRICE);
    assert!(paid.iter().any(receipt), "{paid:?}");
    assert!(begin(&mut engine, request(2)).0, "there is room again");
}

#[test]
fn beyond_the_limit_and_for_whoever_did_not_agree_there_is_a_price_first() {
    let mut engine = Engine::new(config(1_999));
    assert!(begin(&mut engine, request(1)).0);
    assert!(!begin(&mut engine, request(2)).0, "two cost more than the limit");
    finish(&mut engine, 1);
    assert!(!begin(&mut engine, request(3)).0, "a bill that is not paid counts");
    for asked in [
        JobRequest { providers: Vec::new(), ..request(4) },
        JobRequest { providers: vec![PROVIDER, ProviderKey::from_bytes([8; 32])], ..request(4) },
        JobRequest { customer: CustomerKey::from_bytes([3; 32]), ..request(4) },
    ] {
        assert!(!begin(&mut Engine::new(config(9_000)), asked).0);
    }
}

#[test]
fn an_unpaid_bill_counts_against_the_key_until_it_is_paid_also_after_a_restart() {
    let mut engine = Engine::new(config(1_000));
    begin(&mut engine, request(1));
    finish(&mut engine, 1);
    let hash = invoice(1).payment_hash;
    let unpaid =
        |now, engine: &mut Engine| engine.handle(now, Input::Incoming { hash, state: Incoming::Expired });
    assert!(unpaid(NOW.after(Millis::from_secs(4_000)), &mut engine).is_empty(), "a slow payment may come");
    let billed = engine.job(id(1)).unwrap().clone();
    assert!(matches!(billed.state, State::Billed { .. }));
    let over = unpaid(NOW.after(Millis::from_secs(4_501)), &mut engine);
    let debt = |action: &Action| match action {
        Action::Save(Record::Balance(entry)) => Some((entry.change, entry.amount)),
        _ => None,
    };
    assert_eq!(over.iter().filter_map(debt).collect::<Vec<_>>(), [(Change::Unpaid, PRICE)]);
    assert!(!begin(&mut engine, request(2)).0);
    let entry =
        BalanceEntry { at: NOW, customer: CUSTOMER, job: id(1), change: Change::Unpaid, amount: PRICE };
    let mut engine = Engine::restore(NOW, config(1_000), [Record::Balance(entry)]).0;
    assert!(!begin(&mut engine, request(3)).0);
    assert_eq!(engine.balance(CUSTOMER), Msat::ZERO, "a debt is no balance");

    let closed = over.iter().find_map(|action| match action {
        Action::Save(Record::Job(job)) => Some(job.clone()),
        _ => None,
    });
    engine.handle(NOW, Input::Recall(Box::new(Record::Job(closed.unwrap()))));
    let late = engine.handle(NOW, Input::Incoming { hash, state: Incoming::Settled { amount: PRICE } });
    assert_eq!(late.iter().filter_map(debt).collect::<Vec<_>>(), [(Change::PaidLate, PRICE)]);
    assert!(begin(&mut engine, request(4)).0, "and then there is room again");
}
