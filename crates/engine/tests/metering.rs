//! What a job does not use of a price by tokens: kept for its customer, once, when the price is the provider's.

use openagents_engine::{
    Action, Change, Config, CustomerConfig, Engine, Incoming, Input, InputSize, InvoiceFor, Offer,
    PreimageSeed, ProviderConfig, Record,
    bidding::PriceRule,
    job::{Outcome, State},
};
use openagents_types::{
    CustomerKey, Draft, Encryption, Invoice, JobId, JobInput, JobKind, JobRequest, Msat, Network, Param,
    PaymentHash, ProviderKey, Timestamp, Usage,
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

/// Asks and pays.
fn paid(engine: &mut Engine, job: u8) {
    engine.handle(NOW, Input::Request(Box::new(request(job))));
    let outcome = Ok(InputSize { bytes: 0 });
    engine.handle(NOW, Input::Resolved { job: id(job), outcome });
    let outcome = Ok(Invoice {
        bolt11: format!("lnbcrt{job}"),
        payment_hash: HASH,
        amount: PRICE,
        expires_at: NOW.after(openagents_types::Millis::from_secs(600)),
        network: Network::Regtest,
    });
    engine.handle(NOW, Input::Invoiced { invoice_for: InvoiceFor::Quote(id(job)), outcome });
    let state = Incoming::Settled { amount: PRICE };
    engine.handle(NOW, Input::Incoming { hash: HASH, state });
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
    engine.handle(NOW, Input::Request(Box::new(request(1))));
    engine.handle(NOW, Input::Resolved { job: id(1), outcome: Ok(InputSize { bytes: 0 }) });
    let hash = PreimageSeed::new([7; 32]).preimage(id(1)).hash();
    let outcome = Ok(Invoice {
        bolt11: "lnbcrt1".into(),
        payment_hash: hash,
        amount: PRICE,
        expires_at: NOW.after(openagents_types::Millis::from_secs(600)),
        network: Network::Regtest,
    });
    engine.handle(NOW, Input::Invoiced { invoice_for: InvoiceFor::Quote(id(1)), outcome });
    engine.handle(NOW, Input::Incoming { hash, state: Incoming::Held { amount: PRICE } });
    let delivered = finished(&mut engine, 1, 0);
    assert_eq!((changes(&delivered), said(&delivered)), (Vec::new(), Some((3_000, 2_000))));
    let state = Incoming::Settled { amount: PRICE };
    let taken = engine.handle(NOW, Input::Incoming { hash, state });
    assert_eq!(changes(&taken), [(Change::Unused, 2_000)]);
    let again = engine.handle(NOW, Input::Incoming { hash, state });
    assert!(changes(&again).is_empty(), "once");
    assert_eq!(engine.balance(CUSTOMER), Msat::new(2_000));
}

#[test]
fn a_hold_that_lapses_after_delivery_gives_nothing_back() {
    let mut engine = engine(|provider| provider.escrow = true);
    engine.handle(NOW, Input::Request(Box::new(request(1))));
    engine.handle(NOW, Input::Resolved { job: id(1), outcome: Ok(InputSize { bytes: 0 }) });
    let hash = PreimageSeed::new([7; 32]).preimage(id(1)).hash();
    let outcome = Ok(Invoice {
        bolt11: "lnbcrt1".into(),
        payment_hash: hash,
        amount: PRICE,
        expires_at: NOW.after(openagents_types::Millis::from_secs(600)),
        network: Network::Regtest,
    });
    engine.handle(NOW, Input::Invoiced { invoice_for: InvoiceFor::Quote(id(1)), outcome });
    engine.handle(NOW, Input::Incoming { hash, state: Incoming::Held { amount: PRICE } });
    finished(&mut engine, 1, 0);
    let lapsed = engine.handle(NOW, Input::Incoming { hash, state: Incoming::Cancelled });
    assert!(changes(&lapsed).is_empty());
    assert_eq!(engine.balance(CUSTOMER), Msat::ZERO);
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
    for whole in [(|provider| provider.metered = false) as fn(&mut ProviderConfig), |provider| {
        provider.credit_after = None
    }] {
        let mut engine = self::engine(whole);
        paid(&mut engine, 2);
        let done = finished(&mut engine, 2, 1);
        assert_eq!((changes(&done), said(&done)), (Vec::new(), Some((3_000, 0))));
    }
}
