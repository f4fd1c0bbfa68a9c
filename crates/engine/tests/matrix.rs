//! The payment matrix of the provider's half (threats P10): what each word of a wallet about the payment for a job
//! does in each situation the job can be in, on both rails. Every cell is a line of a table.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use openagents_engine::{
    Action, Config, CustomerConfig, Engine, Incoming, Input, InputSize, InvoiceFor, Job, Movement, Offer,
    PreimageSeed, ProviderConfig, Record, RunFault,
};
use openagents_types::{
    Cancel, CustomerKey, Draft, Invoice, JobId, JobInput, JobKind, JobRequest, Millis, Msat, Network, Notice,
    PaymentHash, Preimage, ProviderKey, Timestamp, Usage,
};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const JOB: JobId = JobId::from_bytes([1; 32]);
const CUSTOMER: CustomerKey = CustomerKey::from_bytes([2; 32]);
const SEED: [u8; 32] = [7; 32];
const PRICE: Msat = Msat::new(1_000);

/// How payments reach the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rail {
    /// Locked until delivery.
    Hold,
    /// Taken first.
    Bolt11,
}

/// Where the job stands when the wallet speaks.
#[derive(Clone, Copy, Debug)]
enum Situation {
    Offered,
    /// The quote has run out and nothing is known of a payment.
    Lapsed,
    /// The wallet has said that nothing came, and the books are closed.
    Expired,
    /// Taken back before it was paid.
    CancelledUnpaid,
    /// Paid, waiting behind other work.
    Queued,
    Running,
    /// Taken back after it was paid, before any piece of the result.
    CancelledPaid,
    /// The work failed.
    Failed,
    Delivered,
    Settled,
}

const SITUATIONS: [Situation; 10] = [
    Situation::Offered,
    Situation::Lapsed,
    Situation::Expired,
    Situation::CancelledUnpaid,
    Situation::Queued,
    Situation::Running,
    Situation::CancelledPaid,
    Situation::Failed,
    Situation::Delivered,
    Situation::Settled,
];

fn config(rail: Rail) -> Config {
    let mut provider = ProviderConfig::new(ProviderKey::from_bytes([9; 32]), PreimageSeed::new(SEED));
    provider.offers = vec![Offer::flat(JobKind::SUMMARIZATION, PRICE), Offer::free(JobKind::TEXT_GENERATION)];
    provider.escrow = rail == Rail::Hold;
    provider.slots = 1;
    Config { provider: Some(provider), customer: CustomerConfig::new(Network::Regtest) }
}

struct Desk {
    engine: Engine,
    rail: Rail,
    now: Timestamp,
    /// The last record of the job, as the store has it.
    job: Option<Job>,
    /// What the last input led to.
    done: Vec<String>,
}

impl Desk {
    fn new(rail: Rail) -> Self {
        Self { engine: Engine::new(config(rail)), rail, now: NOW, job: None, done: Vec::new() }
    }

    fn hash(&self) -> PaymentHash {
        match self.rail {
            Rail::Hold => PreimageSeed::new(SEED).preimage(JOB).hash(),
            Rail::Bolt11 => Preimage::from_bytes([5; 32]).hash(),
        }
    }

    /// Hands an input in as the driver does: a job that has left memory is recalled first.
    fn hear(&mut self, input: Input) {
        if let Input::Incoming { hash, .. } = &input
            && !self.engine.knows(*hash)
            && let Some(job) = &self.job
        {
            self.engine.handle(self.now, Input::Recall(Box::new(Record::Job(Box::new(job.clone())))));
        }
        let actions = self.engine.handle(self.now, input);
        self.done = actions.iter().filter_map(told).collect();
        for action in actions {
            if let Action::Save(Record::Job(job)) = action
                && job.id() == JOB
            {
                self.job = Some(*job);
            }
        }
    }

    fn wallet_says(&mut self, state: Incoming) {
        self.hear(Input::Incoming { hash: self.hash(), state });
    }

    fn paid(&self) -> Incoming {
        match self.rail {
            Rail::Hold => Incoming::Held { amount: PRICE },
            Rail::Bolt11 => Incoming::Settled { amount: PRICE },
        }
    }

    fn offer(&mut self) {
        self.hear(Input::Request(Box::new(request(JOB, JobKind::SUMMARIZATION))));
        self.hear(Input::Resolved { job: JOB, outcome: Ok(InputSize { bytes: 20 }) });
        let invoice = Invoice {
            bolt11: "lnbcrt1".into(),
            payment_hash: self.hash(),
            amount: PRICE,
            expires_at: self.now.after(Millis::from_secs(90)),
            network: Network::Regtest,
        };
        self.hear(Input::Invoiced { invoice_for: InvoiceFor::Quote(JOB), outcome: Ok(invoice) });
    }

    /// Takes the only slot with work that costs nothing.
    fn keep_busy(&mut self) {
        let other = JobId::from_bytes([8; 32]);
        self.hear(Input::Request(Box::new(request(other, JobKind::TEXT_GENERATION))));
        self.hear(Input::Resolved { job: other, outcome: Ok(InputSize { bytes: 20 }) });
    }

    fn cancel(&mut self) {
        self.hear(Input::Cancel(Cancel { job: JOB, by: CUSTOMER, providers: Vec::new() }));
    }

    fn finish(&mut self) {
        let content = "A summary of the text.".into();
        self.hear(Input::Finished { job: JOB, content, usage: Usage::default() });
    }

    fn lapse(&mut self) {
        self.now = self.now.after(Millis::from_secs(91));
        self.hear(Input::Tick);
        self.wallet_says(Incoming::Open);
    }

    fn bring(&mut self, situation: Situation) {
        if matches!(situation, Situation::Queued) {
            self.keep_busy();
        }
        self.offer();
        match situation {
            Situation::Offered => {}
            Situation::Lapsed => self.lapse(),
            Situation::Expired => {
                self.lapse();
                self.now = self.now.after(Millis::from_secs(601));
                self.wallet_says(Incoming::Expired);
                assert_eq!(self.word(), "expired");
            }
            Situation::CancelledUnpaid => self.cancel(),
            Situation::Queued | Situation::Running => self.wallet_says(self.paid()),
            Situation::CancelledPaid => {
                self.wallet_says(self.paid());
                self.cancel();
            }
            Situation::Failed => {
                self.wallet_says(self.paid());
                let fault =
                    RunFault { code: "failed".into(), message: "no such model".into(), retryable: false };
                self.hear(Input::RunFailed { job: JOB, fault });
            }
            Situation::Delivered => {
                self.wallet_says(self.paid());
                self.finish();
            }
            Situation::Settled => {
                self.wallet_says(self.paid());
                self.finish();
                self.wallet_says(Incoming::Settled { amount: PRICE });
                assert_eq!(self.word(), "settled");
            }
        }
    }

    fn word(&self) -> &'static str {
        self.job.as_ref().map_or("none", |job| job.state.word())
    }
}

fn request(id: JobId, kind: JobKind) -> JobRequest {
    JobRequest {
        inputs: vec![JobInput::text("a text to summarise")],
        bid: Some(Msat::new(5_000)),
        ..JobRequest::new(id, CUSTOMER, kind, NOW)
    }
}

/// What an action does with money or work; nothing of the rest.
fn told(action: &Action) -> Option<String> {
    Some(match action {
        Action::SettleHold { amount, .. } => format!("takes {}", amount.get()),
        Action::CancelHold(_) => "gives-back".into(),
        Action::Run { job, .. } if *job == JOB => "works".into(),
        Action::Stop(_) => "stops".into(),
        Action::Publish { draft: Draft::Result { .. }, .. } => "delivers".into(),
        Action::Publish { draft: Draft::Notice(Notice::RefundOwed { amount, .. }), .. } => {
            format!("owes {}", amount.get())
        }
        Action::Publish { draft: Draft::Notice(Notice::Refused { code, .. }), .. } => format!("says {code}"),
        Action::Save(Record::Entry(entry)) if entry.movement == Movement::Earned => {
            format!("earns {}", entry.amount.get())
        }
        Action::Pay { .. } => "PAYS".into(),
        _ => return None,
    })
}

/// What a wallet can say of a payment: the word of the table, and the state.
fn words(rail: Rail) -> Vec<(&'static str, Incoming)> {
    let amounts = [("exact", 1_000), ("short", 999), ("over", 2_000)];
    let mut words = vec![("open", Incoming::Open)];
    for (name, msat) in amounts {
        let amount = Msat::new(msat);
        words.push(match rail {
            Rail::Hold => (name, Incoming::Held { amount }),
            Rail::Bolt11 => (name, Incoming::Settled { amount }),
        });
    }
    if rail == Rail::Hold {
        // It took what it was asked to lock, or says so: the work is owed, or the money.
        words.push(("taken", Incoming::Settled { amount: PRICE }));
    }
    words.push(("cancelled", Incoming::Cancelled));
    words.push(("expired", Incoming::Expired));
    words.push(("unknown", Incoming::Unknown));
    words
}

/// The table as it is.
fn table(rail: Rail) -> String {
    let mut lines = String::new();
    for situation in SITUATIONS {
        for (word, state) in words(rail) {
            let mut desk = Desk::new(rail);
            desk.bring(situation);
            let before = desk.word();
            desk.wallet_says(state);
            let done = if desk.done.is_empty() { "-".into() } else { desk.done.join(", ") };
            let first = format!("{situation:?}");
            lines.push_str(&format!("{first:<16} {word:<10} {before:>11} -> {:<11} {done}\n", desk.word()));
        }
    }
    lines
}

#[track_caller]
fn compare(actual: &str, expected: &str) {
    let expected = expected.trim_start_matches('\n');
    for (is, should) in actual.lines().zip(expected.lines()) {
        assert_eq!(is.trim_end(), should.trim_end());
    }
    assert_eq!(actual.lines().count(), expected.lines().count(), "the whole table:\n{actual}");
}

#[test]
fn every_word_of_a_wallet_that_locks_payments_is_answered_as_it_must() {
    compare(&table(Rail::Hold), HOLD);
}

#[test]
fn every_word_of_a_wallet_that_takes_payments_first_is_answered_as_it_must() {
    compare(&table(Rail::Bolt11), BOLT11);
}

/// An old record that was put back says less than the wallet. It is no reason to work, or to pay, a second time.
#[test]
fn a_payment_that_was_taken_before_the_start_is_for_work_that_was_delivered() {
    for situation in [Situation::Offered, Situation::Queued, Situation::CancelledUnpaid] {
        let mut desk = Desk::new(Rail::Hold);
        desk.bring(situation);
        let record = Record::Job(Box::new(desk.job.clone().unwrap()));
        desk.engine = Engine::restore(desk.now, config(Rail::Hold), [record]).0;
        desk.wallet_says(Incoming::Settled { amount: PRICE });
        assert_eq!((desk.word(), desk.done[0].as_str()), ("settled", "earns 1000"));
        assert!(desk.done[1..].iter().all(|done| done == "stops"), "{:?}", desk.done);
    }
}

#[test]
fn a_payment_that_is_locked_after_the_start_is_not_taken_for_an_old_one() {
    let mut desk = Desk::new(Rail::Hold);
    desk.bring(Situation::Offered);
    let record = Record::Job(Box::new(desk.job.clone().unwrap()));
    desk.engine = Engine::restore(desk.now, config(Rail::Hold), [record]).0;
    desk.wallet_says(Incoming::Held { amount: PRICE });
    desk.wallet_says(Incoming::Settled { amount: PRICE });
    assert_eq!(desk.word(), "running", "the work is still owed");
}

const HOLD: &str = "
Offered          open           offered -> offered     -
Offered          exact          offered -> running     works
Offered          short          offered -> returning   says short, gives-back
Offered          over           offered -> running     works
Offered          taken          offered -> running     earns 1000, works
Offered          cancelled      offered -> expired     -
Offered          expired        offered -> offered     -
Offered          unknown        offered -> offered     -
Lapsed           open         returning -> returning   -
Lapsed           exact        returning -> returning   -
Lapsed           short        returning -> returning   -
Lapsed           over         returning -> returning   -
Lapsed           taken        returning -> refund-owed earns 1000, owes 1000
Lapsed           cancelled    returning -> expired     -
Lapsed           expired      returning -> expired     -
Lapsed           unknown      returning -> expired     -
Expired          open           expired -> expired     -
Expired          exact          expired -> returning   gives-back
Expired          short          expired -> returning   gives-back
Expired          over           expired -> returning   gives-back
Expired          taken          expired -> refund-owed earns 1000, owes 1000
Expired          cancelled      expired -> expired     -
Expired          expired        expired -> expired     -
Expired          unknown        expired -> expired     -
CancelledUnpaid  open         returning -> returning   -
CancelledUnpaid  exact        returning -> returning   -
CancelledUnpaid  short        returning -> returning   -
CancelledUnpaid  over         returning -> returning   -
CancelledUnpaid  taken        returning -> refund-owed earns 1000, owes 1000
CancelledUnpaid  cancelled    returning -> cancelled   -
CancelledUnpaid  expired      returning -> cancelled   -
CancelledUnpaid  unknown      returning -> cancelled   -
Queued           open            queued -> queued      -
Queued           exact           queued -> queued      -
Queued           short           queued -> queued      -
Queued           over            queued -> queued      -
Queued           taken           queued -> queued      -
Queued           cancelled       queued -> failed      says payment-lapsed
Queued           expired         queued -> failed      says payment-lapsed
Queued           unknown         queued -> queued      -
Running          open           running -> running     -
Running          exact          running -> running     -
Running          short          running -> running     -
Running          over           running -> running     -
Running          taken          running -> running     -
Running          cancelled      running -> failed      stops, says payment-lapsed
Running          expired        running -> failed      stops, says payment-lapsed
Running          unknown        running -> running     -
CancelledPaid    open         returning -> returning   -
CancelledPaid    exact        returning -> returning   -
CancelledPaid    short        returning -> returning   -
CancelledPaid    over         returning -> returning   -
CancelledPaid    taken        returning -> refund-owed earns 1000, owes 1000
CancelledPaid    cancelled    returning -> cancelled   -
CancelledPaid    expired      returning -> cancelled   -
CancelledPaid    unknown      returning -> cancelled   -
Failed           open         returning -> returning   -
Failed           exact        returning -> returning   -
Failed           short        returning -> returning   -
Failed           over         returning -> returning   -
Failed           taken        returning -> refund-owed earns 1000, owes 1000
Failed           cancelled    returning -> failed      -
Failed           expired      returning -> failed      -
Failed           unknown      returning -> failed      -
Delivered        open         delivered -> delivered   -
Delivered        exact        delivered -> delivered   -
Delivered        short        delivered -> delivered   -
Delivered        over         delivered -> delivered   -
Delivered        taken        delivered -> settled     earns 1000
Delivered        cancelled    delivered -> unpaid      -
Delivered        expired      delivered -> unpaid      -
Delivered        unknown      delivered -> delivered   -
Settled          open           settled -> settled     -
Settled          exact          settled -> settled     -
Settled          short          settled -> settled     -
Settled          over           settled -> settled     -
Settled          taken          settled -> settled     -
Settled          cancelled      settled -> settled     -
Settled          expired        settled -> settled     -
Settled          unknown        settled -> settled     -
";

const BOLT11: &str = "
Offered          open           offered -> offered     -
Offered          exact          offered -> running     earns 1000, works
Offered          short          offered -> refund-owed earns 999, owes 999
Offered          over           offered -> running     earns 2000, works
Offered          cancelled      offered -> expired     -
Offered          expired        offered -> offered     -
Offered          unknown        offered -> offered     -
Lapsed           open           lapsing -> lapsing     -
Lapsed           exact          lapsing -> running     earns 1000, works
Lapsed           short          lapsing -> refund-owed earns 999, owes 999
Lapsed           over           lapsing -> running     earns 2000, works
Lapsed           cancelled      lapsing -> lapsing     -
Lapsed           expired        lapsing -> lapsing     -
Lapsed           unknown        lapsing -> lapsing     -
Expired          open           expired -> expired     -
Expired          exact          expired -> refund-owed earns 1000, owes 1000
Expired          short          expired -> refund-owed earns 999, owes 999
Expired          over           expired -> refund-owed earns 2000, owes 2000
Expired          cancelled      expired -> expired     -
Expired          expired        expired -> expired     -
Expired          unknown        expired -> expired     -
CancelledUnpaid  open           lapsing -> lapsing     -
CancelledUnpaid  exact          lapsing -> refund-owed earns 1000, owes 1000
CancelledUnpaid  short          lapsing -> refund-owed earns 999, owes 999
CancelledUnpaid  over           lapsing -> refund-owed earns 2000, owes 1000
CancelledUnpaid  cancelled      lapsing -> lapsing     -
CancelledUnpaid  expired        lapsing -> lapsing     -
CancelledUnpaid  unknown        lapsing -> lapsing     -
Queued           open            queued -> queued      -
Queued           exact           queued -> queued      -
Queued           short           queued -> queued      -
Queued           over            queued -> queued      -
Queued           cancelled       queued -> queued      -
Queued           expired         queued -> queued      -
Queued           unknown         queued -> queued      -
Running          open           running -> running     -
Running          exact          running -> running     -
Running          short          running -> running     -
Running          over           running -> running     -
Running          cancelled      running -> running     -
Running          expired        running -> running     -
Running          unknown        running -> running     -
CancelledPaid    open       refund-owed -> refund-owed -
CancelledPaid    exact      refund-owed -> refund-owed -
CancelledPaid    short      refund-owed -> refund-owed -
CancelledPaid    over       refund-owed -> refund-owed -
CancelledPaid    cancelled  refund-owed -> refund-owed -
CancelledPaid    expired    refund-owed -> refund-owed -
CancelledPaid    unknown    refund-owed -> refund-owed -
Failed           open       refund-owed -> refund-owed -
Failed           exact      refund-owed -> refund-owed -
Failed           short      refund-owed -> refund-owed -
Failed           over       refund-owed -> refund-owed -
Failed           cancelled  refund-owed -> refund-owed -
Failed           expired    refund-owed -> refund-owed -
Failed           unknown    refund-owed -> refund-owed -
Delivered        open           settled -> settled     -
Delivered        exact          settled -> settled     -
Delivered        short          settled -> settled     -
Delivered        over           settled -> settled     -
Delivered        cancelled      settled -> settled     -
Delivered        expired        settled -> settled     -
Delivered        unknown        settled -> settled     -
Settled          open           settled -> settled     -
Settled          exact          settled -> settled     -
Settled          short          settled -> settled     -
Settled          over           settled -> settled     -
Settled          cancelled      settled -> settled     -
Settled          expired        settled -> settled     -
Settled          unknown        settled -> settled     -
";
