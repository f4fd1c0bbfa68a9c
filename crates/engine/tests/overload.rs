//! Ten thousand jobs at twenty times of what a provider can do: who waits how long, that nobody waits forever, and that memory
//! stays as it is. `cargo test -p openagents-engine --test overload -- --nocapture` prints the figures.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that panics has failed, as it should, and prints its figures"
)]

use std::collections::{BTreeMap, HashMap};

use openagents_engine::{
    Action, Config, CustomerConfig, Engine, Incoming, Input, InputSize, Offer, PreimageSeed, ProviderConfig,
    bidding::{PriceRule, Tariff},
};
use openagents_types::{
    CustomerKey, Draft, Invoice, JobId, JobInput, JobKind, JobRequest, Millis, Msat, Network, Notice,
    ProviderKey, Timestamp, Usage,
};

const START: Timestamp = Timestamp::from_secs(1_800_000_000);
const JOBS: u32 = 10_000;
const SLOTS: usize = 2;
/// What one job takes.
const WORK: Millis = Millis(1_000);
/// Forty jobs a second arrive, two a second can be done.
const EVERY: Millis = Millis(25);
const QUEUE: usize = 100;
const BASE: Msat = Msat::new(1_000);

struct World {
    engine: Engine,
    now: Timestamp,
    /// When each job that was taken arrived, and its group.
    taken: HashMap<JobId, (Timestamp, &'static str)>,
    /// Work under way, by its end.
    ends: BTreeMap<(Timestamp, JobId), ()>,
    /// How long each group waited, in milliseconds.
    waits: BTreeMap<&'static str, Vec<u64>>,
    refused: BTreeMap<String, usize>,
    most_in_memory: usize,
}

fn id(n: u32) -> JobId {
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&n.to_be_bytes());
    JobId::from_bytes(bytes)
}

impl World {
    fn new() -> Self {
        let mut provider = ProviderConfig::new(ProviderKey::from_bytes([9; 32]), PreimageSeed::new([7; 32]));
        let paid = Offer { price: PriceRule::flat(BASE), ..Offer::flat(JobKind::SUMMARIZATION, BASE) };
        provider.offers = vec![Offer::free(JobKind::TEXT_GENERATION), paid];
        provider.tariff = Tariff { surge_from: 5, surge_percent: 200, ..Tariff::default() };
        (provider.slots, provider.queue_limit) = (SLOTS, QUEUE);
        // An hour's worth of overload in four minutes: the handicap is scaled alike.
        provider.free_waits = Millis::from_secs(60);
        Self {
            engine: Engine::new(Config {
                provider: Some(provider),
                customer: CustomerConfig::new(Network::Regtest),
            }),
            now: START,
            taken: HashMap::new(),
            ends: BTreeMap::new(),
            waits: BTreeMap::new(),
            refused: BTreeMap::new(),
            most_in_memory: 0,
        }
    }

    fn hear(&mut self, input: Input) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            for action in self.engine.handle(self.now, input) {
                inputs.extend(self.answer(action));
            }
        }
        self.most_in_memory = self.most_in_memory.max(self.engine.load().0);
    }

    /// What wallet and backends make of an action.
    fn answer(&mut self, action: Action) -> Option<Input> {
        match action {
            Action::Resolve(job) => Some(Input::Resolved { job, outcome: Ok(InputSize { bytes: 9 }) }),
            Action::Invoice { invoice_for, amount, lifetime, hold } => {
                let invoice = Invoice {
                    bolt11: "lnbcrt1".into(),
                    payment_hash: hold?,
                    amount,
                    expires_at: self.now.after(lifetime),
                    network: Network::Regtest,
                };
                Some(Input::Invoiced { invoice_for, outcome: Ok(invoice) })
            }
            // Customers pay at once.
            Action::Publish { draft: Draft::Quote { invoice, .. }, .. } => Some(Input::Incoming {
                hash: invoice.payment_hash,
                state: Incoming::Held { amount: invoice.amount },
            }),
            Action::SettleHold { preimage, amount } => {
                Some(Input::Incoming { hash: preimage.hash(), state: Incoming::Settled { amount } })
            }
            Action::CancelHold(hash) => Some(Input::Incoming { hash, state: Incoming::Cancelled }),
            Action::Run { job, .. } => {
                let (arrived, group) = self.taken[&job];
                self.waits.entry(group).or_default().push(self.now.since(arrived).0);
                self.ends.insert((self.now.after(WORK), job), ());
                None
            }
            Action::Publish { job, draft: Draft::Notice(Notice::Refused { code, .. }) } => {
                *self.refused.entry(code).or_default() += 1;
                self.taken.remove(&job);
                None
            }
            _ => None,
        }
    }

    /// Lets everything end that ends until then.
    fn pass(&mut self, until: Timestamp) {
        while let Some((&(at, job), ())) = self.ends.first_key_value()
            && at <= until
        {
            self.ends.remove(&(at, job));
            self.now = at;
            self.taken.remove(&job);
            self.hear(Input::Finished { job, content: "text".into(), usage: Usage::default() });
        }
        self.now = until;
        self.hear(Input::Tick);
    }
}

fn percentile(sorted: &[u64], percent: usize) -> u64 {
    sorted.get((sorted.len() * percent / 100).min(sorted.len().saturating_sub(1))).copied().unwrap_or(0)
}

/// Jain's index: 1 if all waited alike, 1/n if one waited for all.
#[expect(clippy::cast_precision_loss, reason = "a figure to print")]
fn fairness(waits: &[u64]) -> f64 {
    let sum: f64 = waits.iter().map(|wait| *wait as f64).sum();
    let squares: f64 = waits.iter().map(|wait| (*wait as f64).powi(2)).sum();
    if squares == 0.0 { 1.0 } else { sum * sum / (waits.len() as f64 * squares) }
}

#[test]
fn at_twenty_times_its_capacity_a_provider_serves_by_pay_and_starves_nobody() {
    let mut world = World::new();
    for n in 0..JOBS {
        world.pass(START.after(Millis(EVERY.0 * u64::from(n))));
        // One in four is free; of the others half bid twice the surge price, half just that.
        let (kind, bid, group) = match n % 8 {
            0 | 4 => (JobKind::TEXT_GENERATION, Msat::ZERO, "free"),
            1..=3 => (JobKind::SUMMARIZATION, Msat::new(4_000), "paid, high bid"),
            _ => (JobKind::SUMMARIZATION, Msat::new(2_000), "paid"),
        };
        world.taken.insert(id(n), (world.now, group));
        let mut request = JobRequest::new(id(n), CustomerKey::from_bytes([1; 32]), kind, world.now);
        request.inputs = vec![JobInput::text("words")];
        request.providers = vec![ProviderKey::from_bytes([9; 32])];
        request.bid = Some(bid);
        world.hear(Input::Request(Box::new(request)));
    }
    // What was taken is done, however long that takes.
    let flood = world.most_in_memory;
    let mut end = world.now;
    while world.engine.queue_depth() != (0, 0) {
        end = end.after(WORK);
        world.pass(end);
        assert!(end.since(START) < Millis::from_secs(3_600), "{:?}", world.engine.queue_depth());
    }

    let mut all = BTreeMap::new();
    for (group, waits) in &mut world.waits {
        waits.sort_unstable();
        let figures = (waits.len(), percentile(waits, 50), percentile(waits, 95), *waits.last().unwrap());
        println!(
            "{group:<15} {:>4} done, waited p50 {:>6} ms, p95 {:>6} ms, most {:>6} ms, fairness {:.2}",
            figures.0,
            figures.1,
            figures.2,
            figures.3,
            fairness(waits)
        );
        all.insert(*group, figures);
    }
    println!("refused: {:?}; most jobs in memory: {}", world.refused, flood);

    let (high, paid, free) = (all["paid, high bid"], all["paid"], all["free"]);
    assert!(high.2 <= paid.2 && paid.1 <= free.1, "who pays more waits less");
    assert!(free.0 > 20, "free work is done as well");
    // The whole queue before it, and the handicap.
    let longest = (QUEUE as u64 / SLOTS as u64) * WORK.0 + 60_000 + 50_000;
    assert!(all.values().all(|figures| figures.3 <= longest), "{all:?}");
    assert!(flood <= QUEUE + SLOTS + 1, "{flood} jobs in memory");
    assert_eq!(world.engine.load().0, 0, "nothing is left behind");
    let done: usize = all.values().map(|figures| figures.0).sum();
    assert_eq!(done + world.refused.values().sum::<usize>(), JOBS as usize, "every job was done or refused");
}
