//! What a customer's wallet says late: what it sent, once nobody waits for that any more, and that a refund came by a
//! claim which had expired.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use openagents_engine::{
    Action, Ask, AskOptions, Config, CustomerConfig, Engine, Incoming, Input, InvoiceFor, Movement, Outgoing,
    Record, Sent, SentPayment,
    customer::{Money, Reclaim},
};
use openagents_types::{
    CustomerKey, EventId, Invoice, JobId, JobInput, JobKind, JobResult, JobSpec, Millis, Msat, Network,
    PaymentHash, Preimage, ProviderKey, Quote, Terms, Timestamp,
};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const JOB: JobId = JobId::from_bytes([1; 32]);
const PROVIDER: ProviderKey = ProviderKey::from_bytes([3; 32]);
const PAID: Preimage = Preimage::from_bytes([4; 32]);
const PRICE: Msat = Msat::new(1_000);

fn at(seconds: u64) -> Timestamp {
    NOW.after(Millis::from_secs(seconds))
}

fn config() -> Config {
    Config { provider: None, customer: CustomerConfig::new(Network::Regtest) }
}

fn invoice(hash: PaymentHash, expires_at: Timestamp) -> Invoice {
    let bolt11 = format!("lnbcrt{hash}");
    Invoice { bolt11, payment_hash: hash, amount: PRICE, expires_at, network: Network::Regtest }
}

fn quote() -> Quote {
    Quote {
        job: JOB,
        provider: PROVIDER,
        event: EventId::from_bytes([5; 32]),
        price: PRICE,
        invoice: invoice(PAID.hash(), at(600)),
        expires_at: at(600),
        eta: None,
        terms: Terms::Prepaid,
        ecash: None,
    }
}

fn billed() -> Input {
    let bill = invoice(PAID.hash(), at(600));
    let result = JobResult {
        job: JOB,
        provider: PROVIDER,
        event: EventId::from_bytes([6; 32]),
        kind: JobKind::SUMMARIZATION.result(),
        content: "done".into(),
        amount: Some(PRICE),
        made_by: None,
        unused: Msat::ZERO,
        bolt11: Some(bill.bolt11.clone()),
        created_at: at(11),
    };
    Input::Result { result, invoice: Some(bill) }
}

/// A customer's half with one job.
struct Buyer {
    engine: Engine,
    done: Vec<Action>,
    ask: Ask,
    entries: Vec<(Movement, PaymentHash)>,
}

impl Buyer {
    fn asking() -> Self {
        let mut spec = JobSpec::new(JobKind::SUMMARIZATION, Msat::new(2_000), at(500));
        spec.inputs = vec![JobInput::text("a text")];
        let options = AskOptions { window: Millis(100), patience: None, max_fee: Msat::ZERO };
        let ask = Ask::new(JOB, CustomerKey::from_bytes([2; 32]), "".into(), spec, options, NOW);
        let engine = Engine::new(config());
        let mut buyer = Self { engine, done: Vec::new(), ask: ask.clone(), entries: Vec::new() };
        buyer.hear(NOW, Input::Ask(Box::new(ask)));
        buyer
    }

    fn hear(&mut self, now: Timestamp, input: Input) {
        let actions = self.engine.handle(now, input);
        self.note(actions);
    }

    fn note(&mut self, actions: Vec<Action>) {
        for action in &actions {
            match action {
                Action::Save(Record::Ask(ask)) => self.ask = ask.as_ref().clone(),
                Action::Save(Record::Entry(entry)) => self.entries.push((entry.movement, entry.hash)),
                _ => {}
            }
        }
        self.done = actions;
    }

    fn restart(&mut self, now: Timestamp) {
        let record = Record::Ask(Box::new(self.ask.clone()));
        let (engine, actions) = Engine::restore(now, config(), [record]);
        self.engine = engine;
        self.note(actions);
    }

    fn pays(&self) -> bool {
        self.done.iter().any(|action| matches!(action, Action::Pay { .. }))
    }
}

#[test]
fn a_wallet_that_says_late_what_it_sent_is_believed_and_the_choice_is_made_then() {
    let mut buyer = Buyer::asking();
    buyer.hear(NOW, Input::Quote(quote()));
    buyer.restart(at(10));
    for seconds in 11..60 {
        buyer.hear(at(seconds), Input::Tick);
        assert!(!buyer.pays(), "it may have been paid before the start");
    }
    buyer.hear(at(60), Input::Sent(Sent::Told(Vec::new())));
    assert!(buyer.pays(), "{:?}", buyer.done);
    buyer.hear(at(61), Input::Sent(Sent::Told(Vec::new())));
    assert!(buyer.done.is_empty(), "it is told once: {:?}", buyer.done);
}

#[test]
fn work_that_is_billed_at_a_start_is_taken_and_paid_once_the_wallet_has_spoken() {
    let mut buyer = Buyer::asking();
    buyer.restart(at(10));
    buyer.hear(at(11), billed());
    assert!(!buyer.pays(), "the wallet may have paid it");
    buyer.hear(at(12), Input::Sent(Sent::Told(Vec::new())));
    assert_eq!(buyer.ask.word(), "delivered");
    assert!(buyer.pays(), "{:?}", buyer.done);
    // A wallet that never says leaves it unpaid, and refused: it may have paid another.
    let mut buyer = Buyer::asking();
    buyer.restart(at(10));
    buyer.hear(at(11), billed());
    buyer.hear(at(12), Input::Sent(Sent::Withheld));
    buyer.hear(at(13), Input::Tick);
    assert!(!buyer.pays() && buyer.ask.attempts.is_empty(), "{:?}", buyer.ask);
}

/// The run before has ordered the payment, and its wallet has not read that yet. Its owner calls the job off meanwhile.
#[test]
fn a_payment_that_the_run_before_has_ordered_is_out_until_that_order_has_ended() {
    for word in [Outgoing::Unknown, Outgoing::Failed { reason: "no route".into() }] {
        let mut buyer = Buyer::asking();
        buyer.hear(NOW, Input::Quote(quote()));
        buyer.hear(at(1), Input::Tick);
        assert!(buyer.pays());
        buyer.restart(at(2));
        buyer.hear(at(3), Input::Withdraw { job: JOB, reason: "changed my mind".into() });
        let denied = || Input::Outgoing { hash: PAID.hash(), state: word.clone() };
        for seconds in [4, 9, 30, 66] {
            buyer.hear(at(seconds), denied());
            assert_eq!((&buyer.ask.attempts[0].money, buyer.pays()), (&Money::Pending, false));
        }
        let mut late = buyer;
        for seconds in [67, 72] {
            late.hear(at(seconds), denied());
        }
        assert_eq!((&late.ask.attempts[0].money, late.ask.word()), (&Money::Returned, "cancelled"));
    }
}

/// A copy of the records from before the bill was paid is put back.
#[test]
fn work_whose_bill_the_wallet_has_paid_is_taken_and_booked_whichever_word_comes_first() {
    let sent = || Input::Sent(Sent::Told(vec![SentPayment { hash: PAID.hash(), amount: PRICE, at: at(5) }]));
    for words in [[sent(), billed()], [billed(), sent()]] {
        let mut buyer = Buyer::asking();
        buyer.restart(at(10));
        for word in words {
            buyer.hear(at(11), word);
            assert!(!buyer.pays(), "{:?}", buyer.done);
        }
        let settled = Outgoing::Settled { preimage: PAID, fee: Msat::ZERO };
        buyer.hear(at(12), Input::Outgoing { hash: PAID.hash(), state: settled });
        assert_eq!((buyer.ask.word(), buyer.ask.attempts.len(), buyer.engine.load().1), ("settled", 1, 0));
        assert_eq!(buyer.entries, [(Movement::Spent, PAID.hash())]);
    }
}

/// The offer that was paid in a lost history comes after the result.
#[test]
fn work_that_was_paid_in_a_lost_history_is_taken_and_its_payment_is_found_with_the_offer() {
    let sent = vec![SentPayment { hash: PAID.hash(), amount: PRICE, at: at(5) }];
    let Input::Result { result, .. } = billed() else { unreachable!() };
    let result = Input::Result { result: JobResult { bolt11: None, ..result }, invoice: None };
    for comes in [true, false] {
        let mut buyer = Buyer::asking();
        buyer.restart(at(10));
        buyer.hear(at(11), Input::Sent(Sent::Told(sent.clone())));
        buyer.hear(at(12), result.clone());
        assert_eq!((buyer.ask.word(), buyer.engine.load().1), ("settled", 1));
        if comes {
            buyer.hear(at(13), Input::Quote(quote()));
            let settled = Outgoing::Settled { preimage: PAID, fee: Msat::ZERO };
            buyer.hear(at(14), Input::Outgoing { hash: PAID.hash(), state: settled });
            assert_eq!(buyer.entries, [(Movement::Spent, PAID.hash())]);
        } else {
            buyer.hear(at(500), Input::Tick);
            assert!(buyer.entries.is_empty());
        }
        assert_eq!((buyer.ask.word(), buyer.engine.load().1), ("settled", 0));
    }
}

/// A provider begins to pay a claim just before it expires, and the payment takes its time.
#[test]
fn a_refund_that_comes_by_a_claim_which_had_expired_ends_the_wait_for_the_newer_one() {
    let mut buyer = Buyer::asking();
    buyer.hear(NOW, Input::Quote(quote()));
    buyer.hear(at(1), Input::Tick);
    let settled = Outgoing::Settled { preimage: PAID, fee: Msat::ZERO };
    buyer.hear(at(2), Input::Outgoing { hash: PAID.hash(), state: settled });
    buyer.hear(at(501), Input::Tick);
    assert_eq!(buyer.ask.word(), "failed");
    let claims = [7, 8].map(|n| invoice(PaymentHash::from_bytes([n; 32]), at(501 + u64::from(n) * 1_000)));
    for (n, claim) in claims.iter().enumerate() {
        let outcome = Ok(claim.clone());
        let invoice_for = InvoiceFor::Refund { job: JOB, paid: PAID.hash() };
        buyer.hear(at(502), Input::Invoiced { invoice_for, outcome });
        if n == 0 {
            let expired = Input::Incoming { hash: claim.payment_hash, state: Incoming::Expired };
            buyer.hear(at(7_502), expired);
        }
    }
    buyer.restart(at(7_510));
    let hash = claims[0].payment_hash;
    assert!(buyer.done.contains(&Action::LookUpIncoming(hash)), "{:?}", buyer.done);
    buyer.hear(at(7_511), Input::Incoming { hash, state: Incoming::Settled { amount: PRICE } });
    assert_eq!(buyer.entries, [(Movement::Spent, PAID.hash()), (Movement::RefundReceived, hash)]);
    let money = &buyer.ask.attempts[0].money;
    assert!(matches!(money, Money::Settled { reclaim: Reclaim::Done, .. }), "{money:?}");
    assert_eq!(
        (buyer.ask.paid(), buyer.engine.load().1),
        (Msat::ZERO, 1),
        "the newer claim may be paid as well"
    );
    let newer = claims[1].payment_hash;
    buyer.hear(at(9_102), Input::Tick);
    assert!(buyer.done.contains(&Action::LookUpIncoming(newer)), "{:?}", buyer.done);
    buyer.hear(at(9_103), Input::Incoming { hash: newer, state: Incoming::Expired });
    assert_eq!(buyer.engine.load().1, 0);
}
