//! A job in every state there is, with strangers' words in every place that takes them.

use openagents_engine::{
    Ask, AskOptions, Entry, Job, Movement, Record,
    customer::{AskOutcome, Attempt, Delivery, Money, Phase, Reclaim, Refusal},
    job::{Funds, Outcome, State, Step, Why},
    receipt::{Dispute, ReceiptRecord},
};
use openagents_types::{
    ContentHash, CustomerKey, Encryption, EventId, Invoice, JobId, JobInput, JobKind, JobRequest, JobSpec,
    Millis, Msat, Network, PaymentHash, Preimage, ProviderKey, Quote, Rail, Receipt, ReceiptSalt, Terms,
    Timestamp, Usage,
};

/// What strangers would like a page or a terminal to obey.
pub(super) const HOSTILE: &str =
    "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>\u{1b}]8;;http://evil\u{7}\u{202e}]]>-->&lt;";

/// When the samples happened.
pub(super) const THEN: Timestamp = Timestamp::from_secs(1_795_000_000);

const PRICE: Msat = Msat::new(2_500);

fn invoice(n: u8) -> Invoice {
    Invoice {
        bolt11: "lnbcrt1".into(),
        payment_hash: PaymentHash::from_bytes([n; 32]),
        amount: PRICE,
        expires_at: Timestamp::NEVER,
        network: Network::Regtest,
    }
}

fn why() -> Why {
    Why { code: "timeout".into(), message: format!("it took too long {HOSTILE}") }
}

/// Every state of the provider's side.
pub(super) fn states() -> Vec<State> {
    let (hash, amount, until) = (PaymentHash::from_bytes([7; 32]), PRICE, Timestamp::NEVER);
    let all_funds =
        [Funds::Free, Funds::Held { hash, amount }, Funds::Paid { hash, amount }, Funds::Balance { amount }];
    let mut states = vec![
        State::Resolving,
        State::Invoicing { price: amount, bytes: 9 },
        State::Offered { invoice: invoice(7), terms: Terms::Escrow, expires_at: until },
        State::Lapsing { hash, amount, until, why: why() },
        State::Delivered { hash, amount, work: None },
        State::Returning { hash, why: why() },
        State::RefundOwed { hash, amount, why: why() },
        State::Refunding { hash, amount, why: why(), claim: invoice(8), doubted: false },
    ];
    for funds in all_funds {
        states.push(State::Queued { funds, rank: 50, attempts: 0 });
        states.push(State::Running { funds, rank: 50, attempts: 1, since: THEN, pieces: 0, announced: true });
    }
    let outcomes = [
        Outcome::Settled { paid: amount },
        Outcome::Settled { paid: Msat::ZERO },
        Outcome::Unpaid { work: None },
        Outcome::Refused(why()),
        Outcome::Expired,
        Outcome::Cancelled,
        Outcome::Failed(why()),
        Outcome::Refunded { amount, why: why() },
        Outcome::Credited { amount, why: why() },
    ];
    states.extend(outcomes.map(|outcome| State::Closed { outcome, hash: Some(hash) }));
    states
}

/// Every phase of the customer's side, with every way its money can be.
pub(super) fn phases() -> Vec<(Phase, Vec<Money>)> {
    let settled =
        |reclaim| Money::Settled { preimage: Preimage::from_bytes([0x5e; 32]), fee: Msat::new(3), reclaim };
    let closed = |outcome| Phase::Closed { outcome };
    vec![
        (Phase::Collecting { until: Timestamp::NEVER }, vec![]),
        (Phase::Waiting, vec![Money::Pending]),
        (Phase::Waiting, vec![settled(Reclaim::No)]),
        (Phase::Waiting, vec![Money::Returned, Money::Pending]),
        (Phase::Abandoning, vec![Money::Doubtful]),
        (Phase::Abandoning, vec![settled(Reclaim::Due)]),
        (closed(AskOutcome::Delivered), vec![settled(Reclaim::No)]),
        (closed(AskOutcome::Delivered), vec![Money::Pending]),
        (closed(AskOutcome::Delivered), vec![]),
        (closed(AskOutcome::NoOffer), vec![]),
        (closed(AskOutcome::Failed { message: HOSTILE.into() }), vec![Money::Returned]),
        (
            closed(AskOutcome::Failed { message: "late".into() }),
            vec![settled(Reclaim::Claimed { claim: invoice(9) })],
        ),
        (closed(AskOutcome::Failed { message: "late".into() }), vec![Money::Pending]),
        (closed(AskOutcome::Cancelled), vec![settled(Reclaim::Done)]),
    ]
}

fn steps(words: &[&str]) -> Vec<Step> {
    let mut at = THEN;
    let mut step = |word: &&str| {
        at = at.after(Millis(800));
        Step { at, word: (*word).to_owned().into() }
    };
    words.iter().map(&mut step).collect()
}

/// The job of the provider's side that is number `n`.
pub(super) fn sold(n: u8, state: State) -> Job {
    let request = JobRequest {
        id: JobId::from_bytes([n; 32]),
        customer: CustomerKey::from_bytes([0xc0; 32]),
        kind: JobKind::SUMMARIZATION,
        inputs: vec![JobInput::text(HOSTILE)],
        params: vec![],
        output: vec![],
        bid: Some(Msat::new(9_000)),
        providers: vec![],
        encryption: Encryption::None,
        relays: vec![],
        created_at: THEN,
        expires_at: None,
        refund_to: None,
        raw: "{}".into(),
    };
    let steps = steps(&["resolving", "invoicing", "offered", "queued", "running", state.word()]);
    Job {
        request: request.into(),
        received_at: THEN.after(Millis(u64::from(n))),
        changed_at: THEN,
        state,
        steps,
        doubts: vec![],
        ecash: None,
        zaps: Vec::new(),
        payback: Default::default(),
        bill: None,
        arrears: Msat::ZERO,
        meter: None,
    }
}

fn quote(id: JobId, n: u8) -> Quote {
    Quote {
        job: id,
        provider: ProviderKey::from_bytes([n; 32]),
        event: EventId::from_bytes([n; 32]),
        price: PRICE,
        invoice: invoice(n),
        expires_at: Timestamp::NEVER,
        eta: Some(Millis(1_250)),
        terms: Terms::Escrow,
        ecash: None,
    }
}

/// The job of the customer's side that is number `n`.
pub(super) fn bought(n: u8, phase: Phase, monies: Vec<Money>) -> Ask {
    let id = JobId::from_bytes([n; 32]);
    let delivered = phase == Phase::Closed { outcome: AskOutcome::Delivered };
    let attempt = |(index, money): (u8, Money)| Attempt {
        quote: quote(id, n ^ index),
        since: THEN,
        money,
        rail: Rail::Bolt11,
        handed_over: false,
    };
    let provider = ProviderKey::from_bytes([0xa1; 32]);
    let mut ask = Ask {
        id,
        customer: CustomerKey::from_bytes([0xc1; 32]),
        key_ref: "0".into(),
        raw: "{}".into(),
        spec: spec(),
        options: AskOptions { window: Millis(1_000), patience: None, max_fee: Msat::new(10) },
        asked_at: THEN.after(Millis(u64::from(n))),
        changed_at: THEN,
        quotes: vec![quote(id, n.wrapping_add(1))],
        refusals: vec![Refusal { provider, code: HOSTILE.into(), message: HOSTILE.into() }],
        attempts: (0..).zip(monies).map(attempt).collect(),
        delivery: delivered.then(|| Delivery {
            provider,
            event: EventId::from_bytes([n; 32]),
            sha256: "ab".repeat(32),
            at: THEN,
            made_by: None,
        }),
        phase,
        doubts: vec![],
        from_balance: false,
        paid_back_by: Vec::new(),
        kept: Vec::new(),
        dropped: Vec::new(),
        steps: vec![],
    };
    ask.steps = steps(&["collecting", "paying", ask.word()]);
    ask
}

fn spec() -> JobSpec {
    JobSpec {
        kind: JobKind::TEXT_EXTRACTION,
        inputs: vec![JobInput::text(HOSTILE)],
        params: vec![],
        output: vec![],
        bid: Msat::new(9_000),
        provider: None,
        encrypt: false,
        relays: vec![],
        expires_at: Timestamp::NEVER,
        refund_to: None,
    }
}

/// A receipt for job number `n`.
fn receipt(n: u8) -> Receipt {
    let usage = Usage { backend: HOSTILE.into(), model: Some(HOSTILE.into()), ..Usage::default() };
    Receipt {
        job: JobId::from_bytes([n; 32]),
        kind: JobKind::TEXT_EXTRACTION,
        provider: ProviderKey::from_bytes([0xa1; 32]),
        customer: CustomerKey::from_bytes([0xc1; 32]),
        usage,
        price: PRICE,
        payment_hash: Some(PaymentHash::from_bytes([n; 32])),
        result_sha256: ContentHash::from_bytes([0xab; 32]),
        asked_at: THEN,
        accepted_at: THEN,
        delivered_at: THEN,
        settled_at: THEN,
        salt: ReceiptSalt::from_bytes([1; 32]),
    }
}

/// All of the above as records: sold jobs are numbered from 1, bought ones from 101. The last bought
/// job has a result.
pub(super) fn records() -> Vec<Record> {
    let sold = (1..).zip(states()).map(|(n, state)| Record::Job(Box::new(sold(n, state))));
    let asks = (101..).zip(phases());
    let bought = asks.map(|(n, (phase, monies))| Record::Ask(Box::new(bought(n, phase, monies))));
    let mut records: Vec<Record> = sold.chain(bought).collect();
    records.push(Record::Content { job: JobId::from_bytes([107; 32]), content: HOSTILE.repeat(400) });
    let receipt = Box::new(receipt(107));
    let dispute = Dispute { field: "price_msat".into(), says: HOSTILE.into(), known: "2500".into() };
    let body = serde_json::to_string(&receipt).unwrap_or_default().into();
    let (raw, dispute) = ("{\"signed\":1}".into(), Some(dispute));
    records.push(Record::Receipt(ReceiptRecord::Received { receipt, body, raw, dispute }));
    for (n, movement) in [(1, Movement::Earned), (107, Movement::Spent), (108, Movement::Fee)] {
        let (job, hash) = (JobId::from_bytes([n; 32]), PaymentHash::from_bytes([n; 32]));
        records.push(Record::Entry(Entry { at: THEN, job, hash, movement, amount: PRICE }));
    }
    records
}

/// A payment by hand as it has just begun.
pub(super) fn transfer(direction: &str, bolt11: &str, about: &str) -> openagents_api::TransferView {
    openagents_api::TransferView {
        schema_version: openagents_api::SCHEMA_VERSION,
        hash: "00".repeat(32),
        direction: direction.into(),
        state: "pending".into(),
        amount_msat: 1_000,
        fee_msat: 0,
        about: about.into(),
        reason: None,
        preimage: None,
        bolt11: bolt11.into(),
        since: THEN.millis(),
        expires_at: THEN.millis(),
    }
}
