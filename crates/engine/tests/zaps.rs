//! A job may be zapped instead of its invoice being paid. A receipt moves nothing by itself; what the wallet then says
//! carries the job, or goes back.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use openagents_engine::{
    Action, BalanceEntry, Change, Config, CustomerConfig, Engine, Incoming, Input, InputSize, InvoiceFor,
    Job, Movement, Offer, Outgoing, PreimageSeed, ProviderConfig, Record, Sent, SentPayment, Shift, Zapped,
    job::{Outcome, State},
};
use openagents_types::{
    Cancel, CustomerKey, Draft, Invoice, JobId, JobInput, JobKind, JobRequest, Millis, Msat, Network, Notice,
    PaymentHash, Preimage, ProviderKey, Timestamp, Usage,
};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const JOB: JobId = JobId::from_bytes([1; 32]);
const CUSTOMER: CustomerKey = CustomerKey::from_bytes([2; 32]);
const STRANGER: CustomerKey = CustomerKey::from_bytes([3; 32]);
const PROVIDER: ProviderKey = ProviderKey::from_bytes([9; 32]);
const SEED: [u8; 32] = [7; 32];
const PRICE: Msat = Msat::new(1_000);
const HOUR: u64 = 3_600;

fn at(seconds: u64) -> Timestamp {
    NOW.after(Millis::from_secs(seconds))
}

fn hash(byte: u8) -> PaymentHash {
    Preimage::from_bytes([byte; 32]).hash()
}

const ZAP: u8 = 50;
const PLAIN: u8 = 5;

fn selling(escrow: bool) -> Config {
    let mut provider = ProviderConfig::new(PROVIDER, PreimageSeed::new(SEED));
    provider.offers = vec![Offer::flat(JobKind::SUMMARIZATION, PRICE)];
    provider.escrow = escrow;
    provider.zaps = true;
    Config { provider: Some(provider), customer: CustomerConfig::new(Network::Regtest) }
}

/// A provider, with the last record of its one job and everything that it has booked.
struct Seller {
    engine: Engine,
    config: Config,
    job: Option<Job>,
    done: Vec<Action>,
    entries: Vec<(Movement, PaymentHash, Msat)>,
    rows: Vec<BalanceEntry>,
    runs: usize,
}

impl Seller {
    fn new(config: Config) -> Self {
        let (engine, done) = Engine::restore(at(0).before(Millis::from_secs(HOUR)), config.clone(), []);
        let (entries, rows) = (Vec::new(), Vec::new());
        let mut seller = Self { engine, config, job: None, done, entries, rows, runs: 0 };
        seller.hear(at(0), Input::Sent(Sent::Told(Vec::new())));
        seller
    }

    /// A job is asked for.
    fn asked(config: Config) -> Self {
        let mut seller = Self::new(config);
        seller.ask();
        seller
    }

    fn ask(&mut self) {
        let mut request = JobRequest::new(JOB, CUSTOMER, JobKind::SUMMARIZATION, NOW);
        request.inputs = vec![JobInput::text("a text")];
        request.bid = Some(PRICE);
        request.expires_at = Some(at(2 * HOUR));
        self.hear(NOW, Input::Request(Box::new(request)));
    }

    /// A job is offered.
    fn offering(escrow: bool) -> Self {
        let mut seller = Self::asked(selling(escrow));
        seller.offer();
        seller
    }

    fn offer(&mut self) {
        self.hear(NOW, Input::Resolved { job: JOB, outcome: Ok(InputSize { bytes: 6 }) });
        let invoice = self.invoice();
        self.hear(NOW, Input::Invoiced { invoice_for: InvoiceFor::Quote(JOB), outcome: Ok(invoice) });
        assert_eq!(self.word(), "offered");
    }

    fn invoice(&self) -> Invoice {
        let payment_hash = self.offered();
        let (bolt11, expires_at) = ("lnbcrt".into(), at(90));
        Invoice { bolt11, payment_hash, amount: PRICE, expires_at, network: Network::Regtest }
    }

    fn offered(&self) -> PaymentHash {
        let escrow = self.config.provider.as_ref().unwrap().escrow;
        if escrow { PreimageSeed::new(SEED).preimage(JOB).hash() } else { hash(PLAIN) }
    }

    /// Hears it as the driver has it: a job that has left memory is recalled first.
    fn hear(&mut self, now: Timestamp, input: Input) {
        if let (Input::Incoming { .. } | Input::Zapped(_), Some(job)) = (&input, &self.job)
            && self.engine.job(job.id()).is_none()
        {
            self.engine.handle(now, Input::Recall(Box::new(Record::Job(Box::new(job.clone())))));
        }
        self.done = self.engine.handle(now, input);
        self.note();
    }

    fn note(&mut self) {
        for action in &self.done {
            match action {
                Action::Save(Record::Job(job)) if job.id() == JOB => self.job = Some(job.as_ref().clone()),
                Action::Save(Record::Entry(entry)) => {
                    let entry = (entry.movement, entry.hash, entry.amount);
                    assert!(!self.entries.contains(&entry), "booked twice: {entry:?}");
                    self.entries.push(entry);
                }
                Action::Save(Record::Balance(row)) => self.rows.push(*row),
                Action::Run { .. } => self.runs += 1,
                _ => {}
            }
        }
    }

    fn told(&mut self, now: Timestamp, zap: Zapped) {
        self.hear(now, Input::Zapped(zap));
    }

    fn wallet(&mut self, now: Timestamp, hash: PaymentHash, state: Incoming) {
        self.hear(now, Input::Incoming { hash, state });
    }

    fn came(&mut self, now: Timestamp, byte: u8, amount: Msat) {
        self.wallet(now, hash(byte), Incoming::Settled { amount });
    }

    fn deliver(&mut self, now: Timestamp) {
        let (content, usage) = ("done".into(), Usage::default());
        self.hear(now, Input::Finished { job: JOB, content, usage });
    }

    /// The customer claims what it is owed, and it is paid.
    fn claim(&mut self, now: Timestamp, byte: u8, amount: Msat) {
        let (bolt11, expires_at) = ("lnbcrt".into(), now.after(Millis::from_secs(600)));
        let claim = Invoice { bolt11, payment_hash: hash(byte), amount, expires_at, ..self.invoice() };
        self.hear(now, Input::RefundClaim { job: JOB, by: CUSTOMER, invoice: claim });
        assert_eq!(self.word(), "refunding");
        let state = Outgoing::Settled { preimage: Preimage::from_bytes([byte; 32]), fee: Msat::ZERO };
        self.hear(now, Input::Outgoing { hash: hash(byte), state });
    }

    /// Whatever is due until then, and what the wallet says to it: it knows of no payment.
    fn wait(&mut self, until: Timestamp) {
        while let Some(wake) = self.engine.next_wake().filter(|wake| *wake <= until) {
            self.hear(wake, Input::Tick);
            for asked in self.looked_up() {
                self.wallet(wake, asked, Incoming::Unknown);
            }
            for cancelled in self.cancelled() {
                self.wallet(wake, cancelled, Incoming::Cancelled);
            }
        }
    }

    fn restart(&mut self, now: Timestamp) {
        let record = self.job.iter().map(|job| Record::Job(Box::new(job.clone())));
        (self.engine, self.done) = Engine::restore(now, self.config.clone(), record);
        self.note();
    }

    fn looked_up(&self) -> Vec<PaymentHash> {
        self.done
            .iter()
            .filter_map(|it| if let Action::LookUpIncoming(hash) = it { Some(*hash) } else { None })
            .collect()
    }

    fn cancelled(&self) -> Vec<PaymentHash> {
        self.done
            .iter()
            .filter_map(|it| if let Action::CancelHold(hash) = it { Some(*hash) } else { None })
            .collect()
    }

    fn owes(&self) -> Option<(PaymentHash, Msat, String)> {
        self.done.iter().find_map(|action| match action {
            Action::Publish {
                draft: Draft::Notice(Notice::RefundOwed { paid, amount, message }), ..
            } => Some((*paid, *amount, message.clone())),
            _ => None,
        })
    }

    fn word(&self) -> &'static str {
        self.job.as_ref().unwrap().state.word()
    }

    fn earned(&self) -> Msat {
        let of = self.entries.iter().filter(|(movement, ..)| *movement == Movement::Earned);
        of.map(|(_, _, amount)| *amount).sum()
    }
}

fn zap(byte: u8, amount: Msat) -> Zapped {
    Zapped { job: JOB, hash: hash(byte), amount, bolt11: "lnbcrtzap".into(), by: CUSTOMER, at: NOW }
}

#[test]
fn a_receipt_moves_nothing_until_the_wallet_has_the_money() {
    let mut seller = Seller::offering(false);
    seller.told(at(1), zap(ZAP, PRICE));
    assert_eq!((seller.word(), seller.looked_up()), ("offered", vec![hash(ZAP)]));
    for state in [Incoming::Unknown, Incoming::Open, Incoming::Held { amount: PRICE }, Incoming::Expired] {
        seller.wallet(at(2), hash(ZAP), state);
        assert_eq!(
            (seller.word(), seller.done.as_slice(), seller.runs),
            ("offered", &[][..], 0),
            "{state:?}"
        );
    }
    assert_eq!(seller.earned(), Msat::ZERO);
}

#[test]
fn a_zap_of_the_price_carries_the_job_and_its_plain_invoice_is_watched() {
    let mut seller = Seller::offering(false);
    seller.told(at(1), zap(ZAP, PRICE));
    seller.came(at(2), ZAP, PRICE);
    assert_eq!((seller.word(), seller.runs), ("running", 1));
    assert_eq!(seller.looked_up(), [hash(PLAIN)], "its invoice may be paid as well");
    seller.deliver(at(3));
    assert_eq!(seller.word(), "settled");
    assert_eq!(seller.job.as_ref().unwrap().state.hash(), Some(hash(ZAP)));
    assert_eq!(seller.entries, [(Movement::Earned, hash(ZAP), PRICE)]);
    assert!(seller.engine.job(JOB).is_some(), "as long as its invoice can be paid");
    seller.wait(at(HOUR));
    assert_eq!((seller.engine.load(), seller.word()), ((0, 0), "settled"));
}

#[test]
fn a_zap_of_the_price_voids_the_hold_invoice() {
    let mut seller = Seller::offering(true);
    seller.told(at(1), zap(ZAP, PRICE));
    seller.came(at(2), ZAP, PRICE);
    assert_eq!((seller.word(), seller.cancelled()), ("running", vec![seller.offered()]));
    // It was locked just before.
    seller.wallet(at(3), seller.offered(), Incoming::Held { amount: PRICE });
    assert_eq!((seller.word(), seller.cancelled()), ("running", vec![seller.offered()]));
    seller.wallet(at(3), seller.offered(), Incoming::Cancelled);
    seller.deliver(at(4));
    assert_eq!((seller.word(), seller.engine.load()), ("settled", (0, 0)));
    assert_eq!(seller.entries, [(Movement::Earned, hash(ZAP), PRICE)]);
}

#[test]
fn an_invoice_that_is_paid_as_well_goes_back_once_the_job_is_over() {
    let mut seller = Seller::offering(false);
    seller.told(at(1), zap(ZAP, PRICE));
    seller.came(at(2), ZAP, PRICE);
    seller.came(at(3), PLAIN, PRICE);
    assert_eq!((seller.word(), seller.runs), ("running", 1));
    seller.deliver(at(4));
    let (paid, amount, message) = seller.owes().unwrap();
    assert_eq!((paid, amount), (hash(PLAIN), PRICE));
    assert!(message.contains("by a zap and by its invoice as well"), "{message}");
    seller.claim(at(5), 70, PRICE);
    assert_eq!((seller.word(), seller.runs, seller.engine.load()), ("settled", 1, (0, 0)));
    assert_eq!(seller.job.as_ref().unwrap().state.hash(), Some(hash(ZAP)));
}

#[test]
fn a_zap_of_a_job_that_is_paid_already_goes_back_once_it_is_over() {
    for escrow in [false, true] {
        let mut seller = Seller::offering(escrow);
        let held = Incoming::Held { amount: PRICE };
        let settled = Incoming::Settled { amount: PRICE };
        seller.wallet(at(1), seller.offered(), if escrow { held } else { settled });
        seller.told(at(2), zap(ZAP, PRICE));
        seller.came(at(3), ZAP, PRICE);
        assert_eq!((seller.word(), seller.owes(), seller.runs), ("running", None, 1));
        seller.deliver(at(4));
        if escrow {
            seller.wallet(at(4), seller.offered(), settled);
        }
        let (paid, amount, message) = seller.owes().unwrap();
        assert_eq!((paid, amount), (hash(ZAP), PRICE));
        assert!(message.contains("zapped and paid otherwise"), "{message}");
        // Its receipt is said again meanwhile.
        seller.told(at(5), zap(ZAP, PRICE));
        seller.came(at(5), ZAP, PRICE);
        assert_eq!((seller.word(), seller.done.as_slice()), ("refund-owed", &[][..]));
        seller.claim(at(6), 70, PRICE);
        assert_eq!((seller.word(), seller.engine.load()), ("settled", (0, 0)));
        assert_eq!(seller.job.as_ref().unwrap().state.hash(), Some(seller.offered()));
    }
}

#[test]
fn a_short_zap_says_so_and_goes_back_whatever_becomes_of_the_job() {
    let short = Msat::new(999);
    for pays in [false, true] {
        let mut seller = Seller::offering(false);
        seller.told(at(1), zap(ZAP, short));
        seller.came(at(2), ZAP, short);
        assert_eq!((seller.word(), seller.runs), ("offered", 0));
        assert!(
            seller.done.iter().any(|action| matches!(
                action,
                Action::Announce { draft: Draft::Notice(Notice::Processing { message }), .. }
                    if message.contains("the price is")
            )),
            "{:?}",
            seller.done
        );
        if pays {
            seller.came(at(3), PLAIN, PRICE);
            seller.deliver(at(4));
        } else {
            seller.wait(at(1_000));
        }
        assert_eq!(seller.word(), "refund-owed");
        assert_eq!(seller.job.as_ref().unwrap().state.hash(), Some(hash(ZAP)));
        seller.claim(at(1_001), 70, short);
        assert_eq!(seller.word(), if pays { "settled" } else { "expired" });
        assert_eq!((seller.runs, seller.engine.load()), (usize::from(pays), (0, 0)));
    }
}

#[test]
fn two_short_zaps_do_not_make_up_a_price() {
    let half = Msat::new(500);
    let mut seller = Seller::offering(true);
    for byte in [ZAP, ZAP + 1] {
        seller.told(at(1), zap(byte, half));
        seller.came(at(2), byte, half);
    }
    assert_eq!((seller.word(), seller.runs, seller.earned()), ("offered", 0, PRICE));
    seller.wait(at(100));
    assert_eq!(seller.word(), "refund-owed");
    seller.claim(at(101), 70, half);
    assert_eq!(seller.word(), "refund-owed", "the other one");
    assert_eq!(seller.owes().map(|(paid, ..)| paid), Some(hash(ZAP + 1)));
    seller.claim(at(102), 71, half);
    assert_eq!((seller.word(), seller.engine.load()), ("expired", (0, 0)));
}

#[test]
fn a_short_zap_does_not_keep_a_full_one_from_carrying_the_job() {
    let mut seller = Seller::offering(false);
    seller.told(at(1), zap(ZAP, Msat::new(1)));
    seller.came(at(1), ZAP, Msat::new(1));
    seller.told(at(2), zap(ZAP + 1, PRICE));
    seller.came(at(2), ZAP + 1, PRICE);
    assert_eq!((seller.word(), seller.runs), ("running", 1));
    seller.deliver(at(3));
    assert_eq!(seller.owes().map(|(paid, amount, _)| (paid, amount)), Some((hash(ZAP), Msat::new(1))));
    seller.claim(at(4), 70, Msat::new(1));
    assert_eq!(seller.word(), "settled");
    seller.wait(at(HOUR));
    assert_eq!(seller.engine.load(), (0, 0));
}

#[test]
fn strangers_cannot_crowd_out_the_customer_with_zaps_of_next_to_nothing() {
    let mut seller = Seller::offering(false);
    for byte in 60..80 {
        seller.told(at(1), Zapped { by: STRANGER, ..zap(byte, Msat::new(1)) });
    }
    assert_eq!(seller.job.as_ref().unwrap().zaps.len(), 4);
    seller.told(at(2), zap(ZAP, PRICE));
    seller.came(at(2), ZAP, PRICE);
    assert_eq!((seller.word(), seller.runs), ("running", 1));
}

#[test]
fn anybody_may_pay_a_job_by_a_zap() {
    let mut seller = Seller::offering(false);
    seller.told(at(1), Zapped { by: STRANGER, ..zap(ZAP, PRICE) });
    seller.came(at(2), ZAP, PRICE);
    assert_eq!((seller.word(), seller.runs), ("running", 1));
}

#[test]
fn what_was_zapped_beyond_the_price_is_the_customers_balance() {
    let mut seller = Seller::offering(false);
    let much = Msat::new(1_700);
    seller.told(at(1), zap(ZAP, much));
    seller.came(at(2), ZAP, much);
    seller.deliver(at(3));
    assert_eq!(seller.entries, [(Movement::Earned, hash(ZAP), much)]);
    assert_eq!(seller.engine.balance(CUSTOMER), Msat::new(700));
    let [row] = seller.rows.as_slice() else { panic!("{:?}", seller.rows) };
    assert_eq!((row.change, row.job), (Change::Overpaid, JOB));
    let closed = &seller.job.as_ref().unwrap().state;
    assert!(matches!(closed, State::Closed { outcome: Outcome::Settled { paid: PRICE }, .. }), "{closed:?}");
}

#[test]
fn a_forged_receipt_starts_nothing_is_asked_about_ever_more_rarely_and_is_forgotten() {
    let mut seller = Seller::offering(false);
    seller.told(at(1), zap(ZAP, PRICE));
    let mut asked = 0;
    while let Some(wake) = seller.engine.next_wake().filter(|wake| *wake <= at(2 * HOUR)) {
        seller.hear(wake, Input::Tick);
        let looked_up = seller.looked_up();
        asked += usize::from(looked_up.contains(&hash(ZAP)));
        for hash in looked_up {
            seller.wallet(wake, hash, Incoming::Unknown);
        }
    }
    assert!((20..60).contains(&asked), "asked {asked} times");
    assert_eq!((seller.word(), seller.engine.load()), ("expired", (0, 0)));
    assert_eq!((seller.runs, seller.entries.len()), (0, 0));
    // The wallet has it after all.
    seller.came(at(3 * HOUR), ZAP, PRICE);
    assert_eq!(seller.owes().map(|(paid, amount, _)| (paid, amount)), Some((hash(ZAP), PRICE)));
}

#[test]
fn an_offer_that_was_said_to_be_zapped_is_still_paid_by_its_invoice() {
    let mut seller = Seller::offering(true);
    seller.told(at(1), zap(ZAP, PRICE));
    seller.wallet(at(1), hash(ZAP), Incoming::Unknown);
    seller.wallet(at(2), seller.offered(), Incoming::Held { amount: PRICE });
    assert_eq!((seller.word(), seller.runs), ("running", 1));
    seller.deliver(at(3));
    seller.wallet(at(3), seller.offered(), Incoming::Settled { amount: PRICE });
    assert_eq!(seller.word(), "settled");
    seller.wait(at(2 * HOUR));
    assert_eq!((seller.word(), seller.engine.load()), ("settled", (0, 0)));
}

#[test]
fn a_zap_of_a_job_without_a_price_counts_once_there_is_one() {
    let mut seller = Seller::asked(selling(false));
    seller.told(at(0), zap(ZAP, PRICE));
    seller.came(at(0), ZAP, PRICE);
    assert_eq!((seller.word(), seller.entries.len()), ("resolving", 0));
    seller.offer();
    assert!(seller.looked_up().contains(&hash(ZAP)), "{:?}", seller.done);
    seller.came(at(1), ZAP, PRICE);
    assert_eq!((seller.word(), seller.runs), ("running", 1));
}

#[test]
fn a_zap_of_a_job_that_is_then_refused_goes_back() {
    let mut seller = Seller::asked(selling(false));
    seller.told(at(0), zap(ZAP, PRICE));
    let outcome = Err(openagents_engine::job::Why { code: "no".into(), message: "no".into() });
    seller.hear(at(1), Input::Resolved { job: JOB, outcome });
    assert_eq!(seller.word(), "refused");
    seller.hear(seller.engine.next_wake().unwrap(), Input::Tick);
    assert_eq!(seller.looked_up(), [hash(ZAP)]);
    seller.came(at(9), ZAP, PRICE);
    assert_eq!((seller.word(), seller.runs), ("refund-owed", 0));
    seller.claim(at(10), 70, PRICE);
    assert_eq!((seller.word(), seller.engine.load()), ("refused", (0, 0)));
}

#[test]
fn a_zap_that_is_heard_of_after_the_delivery_is_a_gift() {
    let mut seller = Seller::offering(false);
    seller.came(at(1), PLAIN, PRICE);
    seller.deliver(at(2));
    assert_eq!(seller.word(), "settled");
    seller.told(at(3), zap(ZAP, PRICE));
    assert_eq!((seller.done.as_slice(), seller.engine.load()), (&[][..], (0, 0)));
    seller.came(at(4), ZAP, PRICE);
    assert_eq!((seller.done.as_slice(), seller.earned()), (&[][..], PRICE));
}

#[test]
fn a_late_zap_is_worth_what_a_late_payment_is() {
    // A plain invoice lapses for a while, and so does its price.
    let mut seller = Seller::offering(false);
    seller.wait(at(100));
    assert_eq!(seller.word(), "lapsing");
    seller.told(at(101), zap(ZAP, PRICE));
    seller.came(at(101), ZAP, PRICE);
    assert_eq!((seller.word(), seller.runs), ("running", 1));

    // Told in time, found late.
    let mut seller = Seller::offering(true);
    seller.told(at(1), zap(ZAP, PRICE));
    seller.wait(at(100));
    assert_eq!(seller.word(), "expired");
    seller.came(at(101), ZAP, PRICE);
    assert_eq!((seller.word(), seller.runs), ("running", 1));
    assert_eq!(seller.cancelled(), [seller.offered()]);

    // Told when the offer was over for good.
    let mut seller = Seller::offering(true);
    seller.wait(at(100));
    assert_eq!((seller.word(), seller.engine.load()), ("expired", (0, 0)));
    seller.told(at(101), zap(ZAP, PRICE));
    seller.came(at(101), ZAP, PRICE);
    let (paid, amount, message) = seller.owes().unwrap();
    assert_eq!((paid, amount, seller.runs), (hash(ZAP), PRICE, 0));
    assert!(message.contains("not any more"), "{message}");
}

#[test]
fn a_zap_of_a_job_that_was_called_off_or_of_a_stopped_provider_goes_back() {
    let mut seller = Seller::offering(false);
    seller.told(at(1), zap(ZAP, PRICE));
    seller.hear(at(2), Input::Cancel(Cancel { job: JOB, by: CUSTOMER, providers: Vec::new() }));
    seller.came(at(3), ZAP, PRICE);
    assert_eq!((seller.word(), seller.runs), ("lapsing", 0));
    seller.wait(at(1_000));
    assert_eq!(seller.word(), "refund-owed");
    seller.claim(at(1_001), 70, PRICE);
    assert_eq!(seller.word(), "cancelled");

    let mut seller = Seller::offering(true);
    seller.told(at(1), zap(ZAP, PRICE));
    seller.hear(at(2), Input::Shift(Shift::Stopped));
    seller.wallet(at(2), seller.offered(), Incoming::Cancelled);
    seller.came(at(3), ZAP, PRICE);
    assert_eq!((seller.word(), seller.runs), ("refund-owed", 0));
}

#[test]
fn a_claim_that_was_paid_and_is_heard_again_is_not_one_for_what_was_zapped_besides() {
    let mut seller = Seller::offering(false);
    seller.came(at(1), PLAIN, PRICE);
    seller.told(at(2), zap(ZAP, PRICE));
    seller.came(at(2), ZAP, PRICE);
    let fault = openagents_engine::RunFault { code: "failed".into(), message: "no".into(), retryable: false };
    seller.hear(at(3), Input::RunFailed { job: JOB, fault });
    seller.claim(at(4), 70, PRICE);
    assert_eq!(seller.owes().map(|(paid, ..)| paid), Some(hash(ZAP)), "the other one is owed now");
    seller.restart(at(5));
    seller.hear(at(5), Input::Sent(Sent::Told(Vec::new())));
    let invoice = Invoice { payment_hash: hash(70), expires_at: at(600), ..seller.invoice() };
    seller.hear(at(6), Input::RefundClaim { job: JOB, by: CUSTOMER, invoice });
    assert_eq!((seller.word(), seller.done.as_slice()), ("refund-owed", &[][..]));
    seller.claim(at(7), 71, PRICE);
    assert_eq!((seller.word(), seller.engine.load()), ("refunded", (0, 0)));
    let paid_back = seller.entries.iter().filter(|(movement, ..)| *movement == Movement::RefundPaid);
    assert_eq!((paid_back.count(), seller.earned()), (2, Msat::new(2_000)));
}

#[test]
fn a_zap_comes_back_if_the_work_fails() {
    let mut seller = Seller::offering(false);
    seller.told(at(1), zap(ZAP, PRICE));
    seller.came(at(2), ZAP, PRICE);
    let fault = openagents_engine::RunFault { code: "failed".into(), message: "no".into(), retryable: false };
    seller.hear(at(3), Input::RunFailed { job: JOB, fault });
    assert_eq!(seller.owes().map(|(paid, amount, _)| (paid, amount)), Some((hash(ZAP), PRICE)));
    seller.claim(at(4), 70, PRICE);
    assert_eq!(seller.word(), "refunded");
    assert_eq!(
        seller.entries,
        [(Movement::Earned, hash(ZAP), PRICE), (Movement::RefundPaid, hash(70), PRICE)]
    );
}

#[test]
fn a_receipt_that_is_told_again_or_that_names_another_payment_changes_nothing() {
    let mut seller = Seller::offering(false);
    seller.told(at(1), zap(PLAIN, PRICE));
    assert_eq!(seller.done, [], "that is its own invoice");
    seller.told(at(1), zap(ZAP, PRICE));
    seller.told(at(1), zap(ZAP, Msat::new(5)));
    assert_eq!(seller.done, []);
    seller.came(at(2), ZAP, PRICE);
    seller.told(at(3), zap(ZAP, PRICE));
    seller.came(at(3), ZAP, PRICE);
    assert_eq!(seller.done, []);
    seller.restart(at(4));
    seller.told(at(4), zap(ZAP, PRICE));
    assert_eq!(seller.looked_up(), []);
    seller.came(at(4), ZAP, PRICE);
    assert_eq!(seller.entries, [(Movement::Earned, hash(ZAP), PRICE)]);
    // Another job is said to be zapped by the same payment.
    let other = JobId::from_bytes([4; 32]);
    let mut request = JobRequest::new(other, STRANGER, JobKind::SUMMARIZATION, at(5));
    request.inputs = vec![JobInput::text("a text")];
    seller.hear(at(5), Input::Request(Box::new(request)));
    seller.told(at(6), Zapped { job: other, ..zap(ZAP, PRICE) });
    assert_eq!(seller.done, []);
    assert_eq!(seller.engine.job(other).unwrap().zaps, []);
}

#[test]
fn a_zap_that_was_told_before_a_restart_is_asked_for_after_it() {
    let mut seller = Seller::offering(true);
    seller.told(at(1), zap(ZAP, PRICE));
    seller.restart(at(2));
    assert!(seller.looked_up().contains(&hash(ZAP)), "{:?}", seller.done);
    seller.came(at(3), ZAP, PRICE);
    assert_eq!((seller.word(), seller.runs), ("running", 1));
    // One that is over as well.
    let mut seller = Seller::offering(true);
    seller.told(at(1), zap(ZAP, PRICE));
    seller.wait(at(200));
    assert_eq!(seller.word(), "expired");
    seller.restart(at(201));
    assert_eq!(seller.looked_up(), [hash(ZAP)]);
}

#[test]
fn who_takes_no_zaps_hears_of_none() {
    let mut config = selling(false);
    config.provider.as_mut().unwrap().zaps = false;
    let mut seller = Seller::asked(config);
    seller.offer();
    seller.told(at(1), zap(ZAP, PRICE));
    assert_eq!(seller.done, []);
    seller.told(at(1), Zapped { job: JobId::from_bytes([8; 32]), ..zap(ZAP, PRICE) });
    assert_eq!(seller.done, [], "and nobody of a job that is unknown");
}

/// A record from before a zap that then was paid back: the job failed.
fn behind_the_times(sent: Sent) -> Seller {
    let mut seller = Seller::offering(true);
    seller.restart(at(10));
    assert!(seller.done.iter().any(|action| matches!(action, Action::ReadSent { .. })), "{:?}", seller.done);
    seller.hear(at(11), Input::Sent(sent));
    seller.told(at(12), zap(ZAP, PRICE));
    seller.came(at(12), ZAP, PRICE);
    let fault = openagents_engine::RunFault { code: "failed".into(), message: "no".into(), retryable: false };
    seller.hear(at(13), Input::RunFailed { job: JOB, fault });
    assert_eq!(seller.word(), "refund-owed");
    seller
}

#[test]
fn a_zap_from_before_the_start_that_may_have_been_paid_back_is_not_paid_back_again() {
    let refund = SentPayment { hash: hash(70), amount: PRICE, at: at(5) };
    let mut seller = behind_the_times(Sent::Told(vec![refund]));
    assert_eq!(seller.job.as_ref().unwrap().doubts, [hash(70)]);
    let invoice = Invoice { payment_hash: hash(71), expires_at: at(900), ..seller.invoice() };
    seller.hear(at(14), Input::RefundClaim { job: JOB, by: CUSTOMER, invoice });
    assert_eq!(seller.done, [], "another refund");
    // The claim that was paid says so.
    let invoice = Invoice { payment_hash: hash(70), expires_at: at(9), ..seller.invoice() };
    seller.hear(at(15), Input::RefundClaim { job: JOB, by: CUSTOMER, invoice });
    assert!(!seller.done.iter().any(|action| matches!(action, Action::Pay { .. })), "{:?}", seller.done);
    let state = Outgoing::Settled { preimage: Preimage::from_bytes([70; 32]), fee: Msat::ZERO };
    seller.hear(at(16), Input::Outgoing { hash: hash(70), state });
    assert_eq!(seller.word(), "refunded");

    // The wallet sent nothing, or something else.
    let other = SentPayment { amount: Msat::new(7), ..refund };
    for sent in [vec![], vec![other]] {
        let mut seller = behind_the_times(Sent::Told(sent));
        seller.claim(at(14), 71, PRICE);
        assert_eq!(seller.word(), "refunded");
    }

    // It does not say what it sent: a claim is paid, and nothing else.
    let seller = behind_the_times(Sent::Withheld);
    assert!(seller.job.as_ref().unwrap().payback.trouble.is_some());
}

#[test]
fn a_zap_that_is_told_before_the_wallet_has_said_what_it_sent_is_looked_at_with_the_rest() {
    let mut seller = Seller::new(selling(false));
    seller.job = None;
    seller.restart(at(0));
    assert!(seller.done.iter().any(|action| matches!(action, Action::ReadSent { .. })), "{:?}", seller.done);
    seller.ask();
    seller.offer();
    seller.told(at(1), zap(ZAP, PRICE));
    let refund = SentPayment { hash: hash(70), amount: PRICE, at: at(0) };
    seller.hear(at(2), Input::Sent(Sent::Told(vec![refund])));
    assert_eq!(seller.job.as_ref().unwrap().doubts, [hash(70)]);
}
