//! Payments that return to jobs long closed, invoices that are offered twice, and the day's budget.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use std::{collections::HashMap, sync::Arc};

use openagents_engine::{
    Action, Ask, AskOptions, Config, CustomerConfig, Engine, Incoming, Input, Job, Movement, Outgoing,
    PreimageSeed, ProviderConfig, Record,
    customer::{AskOutcome, Attempt, Money, Phase, Reclaim},
    job::{Outcome, State},
    payback::Payback,
};
use openagents_types::{
    CustomerKey, DayBudget, EventId, Feedback, InputType, Invoice, JobId, JobInput, JobKind, JobRequest,
    JobResult, JobSpec, Millis, Msat, Network, PaymentHash, Preimage, ProviderKey, Quote, Rail, Status,
    Terms, Timestamp,
};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const PREIMAGE: Preimage = Preimage::from_bytes([5; 32]);

fn engine() -> Engine {
    let provider = ProviderConfig::new(ProviderKey::from_bytes([9; 32]), PreimageSeed::new([7; 32]));
    Engine::new(Config { provider: Some(provider), customer: CustomerConfig::new(Network::Regtest) })
}

fn ask(job: u8) -> Ask {
    let spec = JobSpec::new(JobKind::SUMMARIZATION, Msat::new(1_000), NOW.after(Millis::from_secs(300)));
    let options = AskOptions { window: Millis(100), patience: None, max_fee: Msat::ZERO };
    let customer = CustomerKey::from_bytes([job; 32]);
    Ask::new(JobId::from_bytes([job; 32]), customer, Arc::from(""), spec, options, NOW)
}

/// Job 1, as its provider read it.
fn request() -> JobRequest {
    let (id, customer) = (JobId::from_bytes([1; 32]), CustomerKey::from_bytes([1; 32]));
    JobRequest::new(id, customer, JobKind::SUMMARIZATION, NOW)
}

fn quote(job: u8) -> Quote {
    let invoice = Invoice {
        bolt11: "lnbcrt1".into(),
        payment_hash: PREIMAGE.hash(),
        amount: Msat::new(1_000),
        expires_at: NOW.after(Millis::from_secs(300)),
        network: Network::Regtest,
    };
    Quote {
        job: JobId::from_bytes([job; 32]),
        provider: ProviderKey::from_bytes([3; 32]),
        event: EventId::from_bytes([job; 32]),
        price: invoice.amount,
        expires_at: invoice.expires_at,
        invoice,
        eta: None,
        terms: Terms::Escrow,
        ecash: None,
    }
}

#[test]
fn an_invoice_offered_for_two_jobs_is_paid_for_one() {
    let mut engine = engine();
    let mut inputs: Vec<Input> = [1, 2].map(|job| Input::Ask(Box::new(ask(job)))).into();
    inputs.extend([1, 2].map(|job| Input::Quote(quote(job))));
    let mut actions: Vec<Action> = inputs.into_iter().flat_map(|input| engine.handle(NOW, input)).collect();
    actions.extend(engine.handle(NOW.after(Millis(200)), Input::Tick));
    assert_eq!(actions.iter().filter(|action| matches!(action, Action::Pay { .. })).count(), 1);
    let rows = actions.iter().filter(|action| matches!(action, Action::Save(Record::Payment(_))));
    assert_eq!(rows.count(), 1);
}

#[test]
fn an_invoice_offered_by_two_providers_is_paid_once() {
    let mut engine = engine();
    engine.handle(NOW, Input::Ask(Box::new(ask(1))));
    engine.handle(NOW, Input::Quote(quote(1)));
    engine.handle(NOW, Input::Quote(Quote { provider: ProviderKey::from_bytes([4; 32]), ..quote(1) }));
    let mut actions = engine.handle(NOW.after(Millis(200)), Input::Tick);
    for _ in 0..2 {
        let state = Outgoing::Failed { reason: "no route".into() };
        actions
            .extend(engine.handle(NOW.after(Millis(300)), Input::Outgoing { hash: PREIMAGE.hash(), state }));
    }
    assert_eq!(actions.iter().filter(|action| matches!(action, Action::Pay { .. })).count(), 1);
}

#[test]
fn a_bought_job_that_is_over_leaves_memory_again_after_its_payment_was_heard_of_twice() {
    let mut over = ask(1);
    over.phase = Phase::Closed { outcome: AskOutcome::Delivered };
    let money = Money::Settled { preimage: PREIMAGE, fee: Msat::ZERO, reclaim: Reclaim::No };
    over.attempts.push(Attempt {
        quote: quote(1),
        since: NOW,
        money,
        rail: Rail::Bolt11,
        handed_over: false,
    });
    let mut engine = engine();
    engine.handle(NOW, Input::Recall(Box::new(Record::Ask(Box::new(over)))));
    let state = Outgoing::Settled { preimage: PREIMAGE, fee: Msat::ZERO };
    assert!(engine.handle(NOW, Input::Outgoing { hash: PREIMAGE.hash(), state }).is_empty());
    assert_eq!(engine.load(), (0, 0));
}

#[test]
fn a_sold_job_that_is_closed_leaves_memory_again_after_its_refund_was_heard_of_twice() {
    let state = State::Closed { outcome: Outcome::Expired, hash: Some(PaymentHash::from_bytes([4; 32])) };
    let job = Job {
        request: Arc::new(request()),
        received_at: NOW,
        changed_at: NOW,
        state,
        steps: Vec::new(),
        doubts: Vec::new(),
        ecash: None,
        zaps: Vec::new(),
        payback: Payback::default(),
        bill: None,
        arrears: Msat::ZERO,
        meter: None,
    };
    for input in [
        Input::Outgoing { hash: PREIMAGE.hash(), state: Outgoing::Pending },
        Input::Incoming { hash: PREIMAGE.hash(), state: Incoming::Open },
    ] {
        let mut engine = engine();
        engine.handle(NOW, Input::Recall(Box::new(Record::Job(Box::new(job.clone())))));
        assert!(engine.handle(NOW, input).is_empty());
        assert_eq!(engine.load(), (0, 0));
    }
}

/// A node that owes a refund for job 1 and collects offers for job 2.
fn debtor() -> Engine {
    let mut engine = engine();
    let owed = State::RefundOwed {
        hash: PaymentHash::from_bytes([4; 32]),
        amount: Msat::new(1_000),
        why: openagents_engine::job::Why { code: "late".into(), message: "too late".into() },
    };
    let job = Job {
        request: Arc::new(request()),
        received_at: NOW,
        changed_at: NOW,
        state: owed,
        steps: Vec::new(),
        doubts: Vec::new(),
        ecash: None,
        zaps: Vec::new(),
        payback: Payback::default(),
        bill: None,
        arrears: Msat::ZERO,
        meter: None,
    };
    engine.handle(NOW, Input::Recall(Box::new(Record::Job(Box::new(job)))));
    engine.handle(NOW, Input::Ask(Box::new(ask(2))));
    engine
}

#[test]
fn an_invoice_is_not_both_a_price_and_a_refund() {
    let claim = || Input::RefundClaim {
        job: JobId::from_bytes([1; 32]),
        by: CustomerKey::from_bytes([1; 32]),
        invoice: quote(2).invoice,
    };
    let rows = |actions: &[Action]| {
        actions.iter().filter(|action| matches!(action, Action::Save(Record::Payment(_)))).count()
    };
    for claim_first in [true, false] {
        let mut engine = debtor();
        let offer = Input::Quote(quote(2));
        let inputs = if claim_first { [claim(), offer] } else { [offer, claim()] };
        let mut actions: Vec<Action> =
            inputs.into_iter().flat_map(|input| engine.handle(NOW, input)).collect();
        actions.extend(engine.handle(NOW.after(Millis(200)), Input::Tick));
        assert_eq!(rows(&actions), 1, "claim first: {claim_first}, {actions:#?}");
    }
}

/// A customer that may pay this much today.
fn limited(limit: Msat) -> Engine {
    let mut customer = CustomerConfig::new(Network::Regtest);
    customer.budget = Some(DayBudget::new(limit, NOW, HashMap::new()));
    Engine::new(Config { provider: None, customer })
}

fn count_paid(actions: &[Action]) -> usize {
    actions.iter().filter(|action| matches!(action, Action::Pay { .. })).count()
}

/// The last word on job 1.
fn ended(actions: &[Action]) -> Option<Ask> {
    actions.iter().rev().find_map(|action| match action {
        Action::Save(Record::Ask(ask)) if ask.is_over() => Some((**ask).clone()),
        _ => None,
    })
}

#[test]
fn an_offer_above_what_is_left_of_the_day_is_refused_with_its_reason_and_never_paid() {
    let mut engine = limited(Msat::new(999));
    engine.handle(NOW, Input::Ask(Box::new(ask(1))));
    let mut actions = engine.handle(NOW, Input::Quote(quote(1)));
    actions.extend(engine.handle(NOW.after(Millis(200)), Input::Tick));
    actions.extend(engine.handle(NOW.after(Millis(3_200)), Input::Tick));
    assert_eq!(count_paid(&actions), 0);
    let ask = ended(&actions).unwrap();
    assert_eq!(ask.word(), "no-offer");
    assert_eq!(ask.refusals[0].code, "daily-limit");
    assert!(ask.refusals[0].message.contains("asks 1 sat"), "{:?}", ask.refusals);
}

#[test]
fn a_bill_for_work_done_unasked_that_the_day_does_not_cover_is_refused_and_written_down() {
    let mut engine = limited(Msat::new(999));
    engine.handle(NOW, Input::Ask(Box::new(ask(1))));
    let Quote { invoice, provider, event, .. } = quote(1);
    let result = JobResult {
        job: JobId::from_bytes([1; 32]),
        provider,
        event,
        kind: 6_001,
        content: "A summary.".into(),
        amount: Some(invoice.amount),
        made_by: None,
        unused: Msat::ZERO,
        bolt11: Some(invoice.bolt11.clone()),
        created_at: NOW,
    };
    let actions = engine.handle(NOW, Input::Result { result, invoice: Some(invoice) });
    assert_eq!(count_paid(&actions), 0);
    let saved = actions.iter().find_map(|action| match action {
        Action::Save(Record::Ask(ask)) => ask.refusals.first(),
        _ => None,
    });
    assert_eq!(saved.map(|refusal| refusal.code.as_str()), Some("daily-limit"), "{actions:?}");
    let actions = engine.handle(NOW.after(Millis(3_200)), Input::Tick);
    assert_eq!(ended(&actions).unwrap().word(), "no-offer");
}

#[test]
fn two_jobs_chosen_at_once_share_one_budget() {
    let mut engine = limited(Msat::new(1_999));
    let other = Preimage::from_bytes([6; 32]);
    for job in [1, 2] {
        engine.handle(NOW, Input::Ask(Box::new(ask(job))));
        let mut offer = quote(job);
        if job == 2 {
            offer.invoice.payment_hash = other.hash();
        }
        engine.handle(NOW, Input::Quote(offer));
    }
    let mut actions = engine.handle(NOW.after(Millis(200)), Input::Tick);
    actions.extend(engine.handle(NOW.after(Millis(3_200)), Input::Tick));
    assert_eq!(count_paid(&actions), 1, "{actions:#?}");
    assert_eq!(ended(&actions).unwrap().refusals[0].code, "daily-limit");
}

#[test]
fn what_came_back_can_be_spent_and_what_is_doubtful_cannot() {
    let mut engine = limited(Msat::new(1_000));
    engine.handle(NOW, Input::Ask(Box::new(ask(1))));
    engine.handle(NOW, Input::Quote(quote(1)));
    assert_eq!(count_paid(&engine.handle(NOW.after(Millis(200)), Input::Tick)), 1);
    let left = |engine: &Engine| engine.budget().map(|budget| budget.left(NOW));
    let failed = || Outgoing::Failed { reason: "no route".into() };
    engine.handle(NOW, Input::Outgoing { hash: PREIMAGE.hash(), state: failed() });
    assert_eq!(left(&engine), Some(Msat::ZERO), "failed once");
    engine.handle(NOW, Input::Outgoing { hash: PREIMAGE.hash(), state: failed() });
    assert_eq!(left(&engine), Some(Msat::new(1_000)), "failed twice");
}

#[test]
fn a_job_that_everybody_refuses_ends_soon_and_is_not_called_taken_back() {
    let mut engine = engine();
    let mut one = ask(1);
    one.spec.bid = Msat::new(500);
    engine.handle(NOW, Input::Ask(Box::new(one)));
    engine.handle(NOW, Input::Quote(quote(1)));
    assert!(ended(&engine.handle(NOW.after(Millis(200)), Input::Tick)).is_none(), "another may come");
    let actions = engine.handle(NOW.after(Millis(3_200)), Input::Tick);
    assert_eq!(ended(&actions).unwrap().word(), "no-offer");
    assert_eq!(engine.load(), (0, 0));
}

/// A provider says no to job 1.
fn refusal() -> Feedback {
    Feedback {
        job: JobId::from_bytes([1; 32]),
        provider: ProviderKey::from_bytes([4; 32]),
        event: EventId::from_bytes([8; 32]),
        status: Status::Error,
        message: "the server answered 404".into(),
        content: String::new(),
        amount: None,
        bolt11: None,
        expires_at: None,
        eta: None,
        terms: Terms::Prepaid,
        ecash: None,
        code: Some("input".into()),
        created_at: NOW,
    }
}

#[test]
fn an_offer_is_not_forgotten_when_another_word_comes_before_the_tick() {
    let mut engine = engine();
    engine.handle(NOW, Input::Ask(Box::new(ask(1))));
    engine.handle(NOW, Input::Quote(quote(1)));
    let late = NOW.after(Millis(150));
    engine.handle(late, Input::Feedback(refusal()));
    let wake = engine.next_wake().unwrap();
    assert!(wake <= late.after(Millis(1)), "it sleeps until {wake:?}");
    assert_eq!(count_paid(&engine.handle(wake, Input::Tick)), 1);
}

#[test]
fn what_is_wrong_with_the_job_itself_is_not_waited_out() {
    let mut engine = engine();
    let mut one = ask(1);
    one.spec.inputs = vec![JobInput::url("https://example.com/a")];
    engine.handle(NOW, Input::Ask(Box::new(one)));
    engine.handle(NOW, Input::Feedback(refusal()));
    assert!(ended(&engine.handle(NOW.after(Millis(3_000)), Input::Tick)).is_none());
    assert!(ended(&engine.handle(NOW.after(Millis(3_200)), Input::Tick)).is_some());
}

#[test]
fn whoever_has_to_fetch_the_inputs_first_is_waited_for_longer() {
    for (input, patience) in [
        (JobInput::text("words"), 3_000),
        (JobInput::url("https://example.com/a"), 40_000),
        (JobInput { input_type: InputType::Job, ..JobInput::text("00") }, 299_000),
    ] {
        let mut engine = engine();
        let mut one = ask(1);
        one.spec.bid = Msat::new(500);
        one.spec.inputs = vec![input.clone()];
        engine.handle(NOW, Input::Ask(Box::new(one)));
        engine.handle(NOW, Input::Quote(quote(1)));
        let window = 100;
        assert!(
            ended(&engine.handle(NOW.after(Millis(window + patience - 1)), Input::Tick)).is_none(),
            "{input:?}"
        );
        assert!(
            ended(&engine.handle(NOW.after(Millis(window + patience + 900)), Input::Tick)).is_some(),
            "{input:?}"
        );
    }
}

#[test]
fn a_refund_for_a_job_that_was_delivered_after_all_is_booked_where_it_is() {
    let mut bought = ask(1);
    let money = Money::Settled { preimage: PREIMAGE, fee: Msat::ZERO, reclaim: Reclaim::No };
    bought.attempts.push(Attempt {
        quote: quote(1),
        since: NOW,
        money,
        rail: Rail::Bolt11,
        handed_over: false,
    });
    bought.phase = Phase::Closed { outcome: AskOutcome::Delivered };
    let (id, claim) = (bought.id, PaymentHash::from_bytes([6; 32]));
    let mut engine = engine();
    engine.handle(NOW, Input::Recall(Box::new(Record::Ask(Box::new(bought)))));
    let state = Incoming::Settled { amount: Msat::new(1_000) };
    let actions = engine.handle(NOW, Input::Incoming { hash: claim, state });
    let booked = actions.iter().find_map(|action| match action {
        Action::Save(Record::Entry(entry)) => Some((entry.job, entry.hash, entry.movement, entry.amount)),
        _ => None,
    });
    assert_eq!(booked, Some((id, claim, Movement::RefundReceived, Msat::new(1_000))));
    assert_eq!(engine.load(), (0, 0));
}
