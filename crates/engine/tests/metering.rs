//! What a job does not use of a price by tokens: kept for its customer, once, when the price is the provider's.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use openagents_engine::{
    Action, Change, Config, CustomerConfig, Engine, Incoming, Input, InputSize, InvoiceFor, Offer,
    PreimageSeed, ProviderConfig, Record, RunFault,
    bidding::PriceRule,
    job::{Outcome, State},
};
use openagents_types::{
    CustomerKey, Draft, Encryption, Invoice, JobId, JobInput, JobKind, JobRequest, Millis, Msat, Network,
    Param, PaymentHash, ProviderKey, Timestamp, Usage,
};

const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);
const PROVIDER: ProviderKey = ProviderKey::from_bytes([1; 32]);
const CUSTOMER: CustomerKey = CustomerKey::from_bytes([2; 32]);
const HASH: PaymentHash = PaymentHash::from_bytes([9; 32]);
/// 1,000 for the job and 2,000 for the 1,000 tokens that it allows.
const PRICE: Msat = Msat::new(3_000);

fn id(byte: u8) -> JobId {
    JobId::from_bytes([byte; 32])
}

fn engine(change: impl FnOnce(&mut ProviderConfig)) -> Engine {
    let mut provider = ProviderConfig::new(PROVIDER, PreimageSeed::new([7; 32]));
    let price = PriceRule { per_1000_output: Msat::new(2_000), ..PriceRule::flat(Msat::new(1_000)) };
    provider.offers = vec![Offer { price, ..Offer::free(JobKind::TEXT_GENERATION) }];
    provider.escrow = false;
    change(&mut provider);
    Engine::new(Config { provider: Some(provider), customer: CustomerConfig::new(Network::Regtest) })
}

fn request(byte: u8) -> JobRequest {
    JobRequest {
        id: id(byte),
        customer: CUSTOMER,
        kind: JobKind::TEXT_GENERATION,
        inputs: vec![JobInput::text("a river")],
        params: vec![Param::new("max_tokens", "1000")],
        output: Vec::new(),
        bid: Some(PRICE),
        providers: vec![PROVIDER],
        relays: Vec::new(),
        refund_to: None,
        encryption: Encryption::None,
        created_at: NOW,
        expires_at: None,
        raw: "".into(),
    }
}

fn invoice(hash: PaymentHash) -> Invoice {
    Invoice {
        bolt11: format!("lnbcrt{hash}"),
        payment_hash: hash,
        amount: PRICE,
        expires_at: NOW.after(Millis::from_secs(3_900)),
        network: Network::Regtest,
    }
}

/// Asks, and is given the invoice with this hash.
fn quoted(engine: &mut Engine, job: u8, hash: PaymentHash) {
    engine.handle(NOW, Input::Request(Box::new(request(job))));
    engine.handle(NOW, Input::Resolved { job: id(job), outcome: Ok(InputSize { bytes: 0 }) });
    let outcome = Ok(invoice(hash));
    engine.handle(NOW, Input::Invoiced { invoice_for: InvoiceFor::Quote(id(job)), outcome });
}

fn said_by_the_wallet(
    engine: &mut Engine,
    now: Timestamp,
    hash: PaymentHash,
    state: Incoming,
) -> Vec<Action> {
    engine.handle(now, Input::Incoming { hash, state })
}

const SETTLED: Incoming = Incoming::Settled { amount: PRICE };

/// Asks and pays.
fn paid(engine: &mut Engine, job: u8) {
    let hash = PaymentHash::from_bytes([job; 32]);
    quoted(engine, job, hash);
    said_by_the_wallet(engine, NOW, hash, SETTLED);
}

/// Asks, and locks the payment.
fn locked(engine: &mut Engine, job: u8) -> PaymentHash {
    let hash = PreimageSeed::new([7; 32]).preimage(id(job)).hash();
    quoted(engine, job, hash);
    said_by_the_wallet(engine, NOW, hash, Incoming::Held { amount: PRICE });
    hash
}

fn finished(engine: &mut Engine, job: u8, output_tokens: u64) -> Vec<Action> {
    let usage = Usage { output_tokens, ..Usage::default() };
    engine.handle(NOW, Input::Finished { job: id(job), content: "done".into(), usage })
}

fn changes(actions: &[Action]) -> Vec<(Change, u64)> {
    let change = |action: &Action| match action {
        Action::Save(Record::Balance(entry)) => Some((entry.change, entry.amount.get())),
        _ => None,
    };
    actions.iter().filter_map(change).collect()
}

/// What the result says of its price, and of what was not used.
fn said(actions: &[Action]) -> Option<(u64, u64)> {
    actions.iter().find_map(|action| match action {
        Action::Publish { draft: Draft::Result { price, unused, .. }, .. } => {
            Some((price.get(), unused.get()))
        }
        _ => None,
    })
}

fn settled_at(actions: &[Action]) -> Option<Msat> {
    actions.iter().find_map(|action| match action {
        Action::Save(Record::Job(job)) => match &job.state {
            State::Closed { outcome: Outcome::Settled { paid }, .. } => Some(*paid),
            _ => None,
        },
        _ => None,
    })
}

#[test]
fn what_is_not_written_is_kept_for_the_customer() {
    let mut engine = engine(|_| ());
    paid(&mut engine, 1);
    let actions = finished(&mut engine, 1, 250);
    assert_eq!(changes(&actions), [(Change::Unused, 1_500)]);
    assert_eq!(said(&actions), Some((3_000, 1_500)));
    // Receipts and books name what was paid.
    assert_eq!(settled_at(&actions), Some(PRICE));
    assert_eq!(engine.balance(CUSTOMER), Msat::new(1_500));
}

#[test]
fn a_locked_price_is_metered_only_once_it_is_taken() {
    let mut engine = engine(|provider| provider.escrow = true);
    let hash = locked(&mut engine, 1);
    let delivered = finished(&mut engine, 1, 0);
    assert_eq!((changes(&delivered), said(&delivered)), (Vec::new(), Some((3_000, 2_000))));
    let taken = said_by_the_wallet(&mut engine, NOW, hash, SETTLED);
    assert_eq!(changes(&taken), [(Change::Unused, 2_000)]);
    assert!(changes(&said_by_the_wallet(&mut engine, NOW, hash, SETTLED)).is_empty(), "once");
    assert_eq!(engine.balance(CUSTOMER), Msat::new(2_000));
}

#[test]
fn a_hold_that_lapses_after_delivery_gives_nothing_back() {
    let mut engine = engine(|provider| provider.escrow = true);
    let hash = locked(&mut engine, 1);
    finished(&mut engine, 1, 0);
    assert!(changes(&said_by_the_wallet(&mut engine, NOW, hash, Incoming::Cancelled)).is_empty());
    assert_eq!(engine.balance(CUSTOMER), Msat::ZERO);
}

/// A provider that lets the customer pay after the work, which used half of its price by tokens.
fn billed() -> Engine {
    let mut engine = engine(|provider| provider.credit.each = PRICE);
    quoted(&mut engine, 1, HASH);
    let bill = finished(&mut engine, 1, 500);
    let unused = bill.iter().find_map(|action| match action {
        Action::Publish { draft: Draft::Bill { unused, .. }, .. } => Some(*unused),
        _ => None,
    });
    assert_eq!(unused, Some(Msat::new(1_000)));
    engine
}

#[test]
fn the_rest_of_a_bill_is_kept_once_it_is_paid() {
    let mut engine = billed();
    let paid = said_by_the_wallet(&mut engine, NOW, HASH, SETTLED);
    assert_eq!(changes(&paid), [(Change::Unused, 1_000)]);
}

#[test]
fn a_bill_that_is_not_paid_is_a_debt_of_what_was_used() {
    let mut engine = billed();
    let late = NOW.after(Millis::from_secs(5_000));
    let over = said_by_the_wallet(&mut engine, late, HASH, Incoming::Expired);
    assert_eq!(changes(&over), [(Change::Unpaid, 2_000)]);
    let closed = over.into_iter().find_map(|action| match action {
        Action::Save(record @ Record::Job(_)) => Some(record),
        _ => None,
    });
    engine.handle(late, Input::Recall(Box::new(closed.unwrap())));
    // The invoice is for all of it; paid late it pays the debt, and the rest is kept.
    let paid = said_by_the_wallet(&mut engine, late, HASH, SETTLED);
    assert_eq!(changes(&paid), [(Change::PaidLate, 2_000), (Change::Unused, 1_000)]);
    assert_eq!(engine.balance(CUSTOMER), Msat::new(1_000));
}

#[test]
fn a_job_from_the_balance_gets_its_rest_back_into_it() {
    let mut engine = engine(|_| ());
    for (job, kept) in [(1, 2_000), (2, 4_000)] {
        paid(&mut engine, job);
        finished(&mut engine, job, 0);
        assert_eq!(engine.balance(CUSTOMER), Msat::new(kept));
    }
    engine.handle(NOW, Input::Request(Box::new(request(3))));
    let begun = engine.handle(NOW, Input::Resolved { job: id(3), outcome: Ok(InputSize { bytes: 0 }) });
    assert_eq!(changes(&begun), [(Change::Used, 3_000)]);
    let done = finished(&mut engine, 3, 500);
    assert_eq!(changes(&done), [(Change::Unused, 1_000)]);
    assert_eq!(engine.balance(CUSTOMER), Msat::new(2_000));
}

#[test]
fn work_that_fails_or_uses_everything_leaves_no_rest() {
    let mut engine = engine(|_| ());
    paid(&mut engine, 1);
    let all = finished(&mut engine, 1, 1_000);
    assert_eq!((changes(&all), said(&all)), (Vec::new(), Some((3_000, 0))));
    paid(&mut engine, 2);
    let fault = RunFault { code: "failed".into(), message: "broken".into(), retryable: false };
    let failed = engine.handle(NOW, Input::RunFailed { job: id(2), fault });
    assert!(changes(&failed).is_empty(), "all of it is owed back: {failed:?}");
}

#[test]
fn a_provider_may_charge_its_prices_whole() {
    for whole in [(|provider| provider.metered = false) as fn(&mut ProviderConfig), |provider| {
        provider.credit_after = None
    }] {
        let mut engine = engine(whole);
        paid(&mut engine, 1);
        let done = finished(&mut engine, 1, 1);
        assert_eq!((changes(&done), said(&done)), (Vec::new(), Some((3_000, 0))));
    }
}
