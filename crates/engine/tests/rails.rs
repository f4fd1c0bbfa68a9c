//! One offer, two rails: an invoice and ecash that is locked until delivery. What each side does when either is
//! paid, when both are, when a token comes late, again or false, and when a process stops in between.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use openagents_engine::{
    Action, AdvanceLimit, Ask, AskOptions, Config, CustomerConfig, Engine, Incoming, Input, InputSize, Job,
    Movement, Offer, Outgoing, PreimageSeed, ProviderConfig, Record, Sent, SentPayment,
    customer::{Money, Phase},
    job::{Outcome, State},
};
use openagents_types::{
    CustomerKey, Draft, EcashAsk, EcashPayment, EcashRelease, EcashToken, EventId, Invoice, JobId, JobInput,
    JobKind, JobRequest, JobSpec, Millis, Msat, Network, Notice, PaymentHash, Preimage, ProviderKey, Quote,
    Rail, ReleasedEcash, Terms, Timestamp, Usage,
};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const JOB: JobId = JobId::from_bytes([1; 32]);
const CUSTOMER: CustomerKey = CustomerKey::from_bytes([2; 32]);
const PROVIDER: ProviderKey = ProviderKey::from_bytes([9; 32]);
const SEED: [u8; 32] = [7; 32];
const PRICE: Msat = Msat::new(1_000);
const PLAIN: Preimage = Preimage::from_bytes([5; 32]);
/// What pays the invoice beside ecash of the hash of `PLAIN`.
const PLAIN_INVOICE: Preimage = Preimage::from_bytes([6; 32]);
const MINT: &str = "https://mint.example";

fn at(seconds: u64) -> Timestamp {
    NOW.after(Millis::from_secs(seconds))
}

fn ecash_hash() -> PaymentHash {
    PreimageSeed::new(SEED).ecash_preimage(JOB).hash()
}

fn token(text: &str) -> EcashToken {
    EcashToken::new(text.into())
}

/// The provider's half of a market, with the last record of its one job.
struct Seller {
    engine: Engine,
    job: Option<Job>,
    escrow: bool,
    done: Vec<Action>,
    entries: Vec<(Movement, PaymentHash)>,
}

fn selling(escrow: bool) -> Config {
    let mut provider = ProviderConfig::new(PROVIDER, PreimageSeed::new(SEED));
    provider.offers = vec![Offer::flat(JobKind::SUMMARIZATION, PRICE)];
    provider.escrow = escrow;
    provider.ecash_lock = Some(Millis::from_secs(1_800));
    Config { provider: Some(provider), customer: CustomerConfig::new(Network::Regtest) }
}

impl Seller {
    /// A job is offered on both rails.
    fn offering(escrow: bool) -> Self {
        let engine = Engine::new(selling(escrow));
        let mut seller = Self { engine, job: None, escrow, done: Vec::new(), entries: Vec::new() };
        let mut request = JobRequest::new(JOB, CUSTOMER, JobKind::SUMMARIZATION, NOW);
        request.inputs = vec![JobInput::text("a text")];
        request.bid = Some(PRICE);
        seller.hear(NOW, Input::Request(Box::new(request)));
        seller.hear(NOW, Input::Resolved { job: JOB, outcome: Ok(InputSize { bytes: 6 }) });
        let [.., Action::RequestEcash { hash, locktime, expires_at, .. }] = seller.done.as_slice() else {
            panic!("{:?}", seller.done)
        };
        assert_eq!((*hash, *locktime, *expires_at), (ecash_hash(), at(1_890), at(90)));
        let request = String::from("creqA");
        let ask = EcashAsk { request, hash: *hash, locktime: *locktime, mints: vec![MINT.into()] };
        seller.hear(NOW, Input::EcashRequested { job: JOB, outcome: Ok(ask) });
        let (hash, invoice_for) = (seller.invoice_hash(), openagents_engine::InvoiceFor::Quote(JOB));
        let invoice = Invoice {
            bolt11: "lnbcrt".into(),
            payment_hash: hash,
            amount: PRICE,
            expires_at: at(90),
            network: Network::Regtest,
        };
        seller.hear(NOW, Input::Invoiced { invoice_for, outcome: Ok(invoice) });
        seller
    }

    fn invoice_hash(&self) -> PaymentHash {
        if self.escrow { PreimageSeed::new(SEED).preimage(JOB).hash() } else { PLAIN.hash() }
    }

    /// Hears it as the driver has it: a job that has left memory is recalled first.
    fn hear(&mut self, now: Timestamp, input: Input) {
        let hash = match &input {
            Input::Incoming { hash, .. } | Input::TokenRefused { hash, .. } => Some(*hash),
            Input::Token(payment) => Some(payment.hash),
            _ => None,
        };
        if let (Some(hash), Some(job)) = (hash, &self.job)
            && !self.engine.knows(hash)
        {
            self.engine.handle(now, Input::Recall(Box::new(Record::Job(Box::new(job.clone())))));
        }
        self.done = self.engine.handle(now, input);
        for action in &self.done {
            match action {
                Action::Save(Record::Job(job)) => self.job = Some(job.as_ref().clone()),
                Action::Save(Record::Entry(entry)) => self.entries.push((entry.movement, entry.hash)),
                _ => {}
            }
        }
    }

    fn ecash(&mut self, now: Timestamp, state: Incoming) {
        self.hear(now, Input::Incoming { hash: ecash_hash(), state });
    }

    fn invoice(&mut self, now: Timestamp, state: Incoming) {
        self.hear(now, Input::Incoming { hash: self.invoice_hash(), state });
    }

    fn hand_over(&mut self, now: Timestamp, by: CustomerKey, text: &str) {
        let payment = EcashPayment { job: JOB, by, hash: ecash_hash(), token: token(text) };
        self.hear(now, Input::Token(payment));
    }

    /// Pays with ecash, and has the work done.
    fn deliver(&mut self) {
        self.hand_over(at(1), CUSTOMER, "good");
        self.ecash(at(1), Incoming::Held { amount: PRICE });
        let (content, usage) = ("done".into(), Usage::default());
        self.hear(at(2), Input::Finished { job: JOB, content, usage });
    }

    fn restart(&mut self, now: Timestamp) {
        let record = Record::Job(Box::new(self.job.clone().unwrap()));
        (self.engine, self.done) = Engine::restore(now, selling(self.escrow), [record]);
    }

    fn word(&self) -> &'static str {
        self.job.as_ref().unwrap().state.word()
    }

    fn does(&self, wanted: &Action) -> bool {
        self.done.contains(wanted)
    }

    /// Whether the ecash is given up.
    fn gives_up(&self) -> bool {
        self.does(&Action::ReleaseEcash { preimage: PreimageSeed::new(SEED).ecash_preimage(JOB) })
    }

    fn accepts(&self) -> bool {
        self.does(&Action::AcceptEcash { hash: ecash_hash(), token: token("good") })
    }

    fn refuses(&self) -> Option<(&str, &str)> {
        self.done.iter().find_map(|action| match action {
            Action::Publish { draft: Draft::Notice(Notice::Refused { code, message, .. }), .. } => {
                Some((code.as_str(), message.as_str()))
            }
            _ => None,
        })
    }
}

const HELD: Incoming = Incoming::Held { amount: PRICE };
const SETTLED: Incoming = Incoming::Settled { amount: PRICE };

#[test]
fn one_quote_lists_both_rails_and_gives_each_payment_to_the_job() {
    for escrow in [false, true] {
        let seller = Seller::offering(escrow);
        let rows = seller.done.iter().filter_map(|action| match action {
            Action::Save(Record::Payment(row)) => Some((row.hash, row.job)),
            _ => None,
        });
        let rows: Vec<_> = rows.collect();
        assert!(rows.contains(&(seller.invoice_hash(), JOB)) && rows.contains(&(ecash_hash(), JOB)));
        assert_ne!(seller.invoice_hash(), ecash_hash(), "each rail has a name of its own");
        let quoted = seller.done.iter().any(|action| {
            matches!(action, Action::Publish { draft: Draft::Quote { ecash: Some(_), .. }, .. })
        });
        assert!(quoted, "{:?}", seller.done);
    }
}

#[test]
fn a_price_that_the_wallet_cannot_move_is_rounded_up() {
    let mut config = selling(true);
    if let Some(provider) = &mut config.provider {
        provider.whole_sats = true;
        provider.offers = vec![Offer::flat(JobKind::SUMMARIZATION, Msat::new(1_001))];
    }
    let mut engine = Engine::new(config);
    let mut request = JobRequest::new(JOB, CUSTOMER, JobKind::SUMMARIZATION, NOW);
    request.inputs = vec![JobInput::text("a text")];
    engine.handle(NOW, Input::Request(Box::new(request)));
    let asked = engine.handle(NOW, Input::Resolved { job: JOB, outcome: Ok(InputSize { bytes: 9 }) });
    let rounded =
        |action: &Action| matches!(action, Action::RequestEcash { amount, .. } if amount.get() == 2_000);
    assert!(asked.iter().any(rounded), "{asked:?}");
}

#[test]
fn a_wallet_that_makes_no_request_leaves_the_offer_its_invoice() {
    for answer in [Some("no mint answers"), None] {
        let mut engine = Engine::new(selling(true));
        let mut request = JobRequest::new(JOB, CUSTOMER, JobKind::SUMMARIZATION, NOW);
        request.inputs = vec![JobInput::text("a text")];
        request.bid = Some(PRICE);
        engine.handle(NOW, Input::Request(Box::new(request)));
        engine.handle(NOW, Input::Resolved { job: JOB, outcome: Ok(InputSize { bytes: 6 }) });
        let actions = match answer {
            Some(reason) => {
                engine.handle(NOW, Input::EcashRequested { job: JOB, outcome: Err(reason.into()) })
            }
            // No answer at all: it is asked again, and the invoice is not waited with.
            None => engine.handle(at(5), Input::Tick),
        };
        assert!(actions.iter().any(|action| matches!(action, Action::Invoice { .. })), "{actions:?}");
    }
}

#[test]
fn ecash_is_held_worked_for_and_taken_on_delivery() {
    let mut seller = Seller::offering(true);
    seller.hand_over(at(1), CUSTOMER, "good");
    assert!(seller.accepts() && seller.word() == "offered", "nothing is begun before the wallet has it");
    seller.ecash(at(1), HELD);
    assert_eq!(seller.word(), "running");
    assert!(seller.does(&Action::CancelHold(seller.invoice_hash())), "the other rail is voided");
    seller.invoice(at(1), Incoming::Cancelled);
    seller.hear(at(2), Input::Finished { job: JOB, content: "done".into(), usage: Usage::default() });
    let preimage = PreimageSeed::new(SEED).ecash_preimage(JOB);
    assert!(seller.does(&Action::SettleHold { preimage, amount: PRICE }), "{:?}", seller.done);
    seller.ecash(at(2), SETTLED);
    assert_eq!((seller.word(), seller.engine.load().0), ("settled", 0));
    assert_eq!(seller.entries, [(Movement::Earned, ecash_hash())]);
}

#[test]
fn a_token_is_taken_once_and_only_from_the_customer() {
    let mut seller = Seller::offering(false);
    seller.hand_over(at(1), CustomerKey::from_bytes([3; 32]), "good");
    assert!(seller.done.is_empty(), "a stranger's: {:?}", seller.done);
    seller.hand_over(at(1), CUSTOMER, "good");
    seller.hand_over(at(1), CUSTOMER, "good");
    assert!(seller.done.is_empty(), "the wallet is asked already: {:?}", seller.done);
    seller.ecash(at(1), HELD);
    seller.hand_over(at(1), CUSTOMER, "good");
    assert!(seller.done.is_empty(), "it is paid with this: {:?}", seller.done);
}

#[test]
fn a_token_that_is_not_what_was_asked_is_refused_with_the_reason() {
    let mut seller = Seller::offering(true);
    seller.hand_over(at(1), CUSTOMER, "bad");
    seller.hear(at(1), Input::TokenRefused { hash: ecash_hash(), reason: "it holds 3 sat of 7".into() });
    let (code, words) = seller.refuses().unwrap();
    assert!(code == "ecash-refused" && words.contains("it holds 3 sat of 7"), "{words}");
    assert_eq!(seller.word(), "offered", "the invoice can still be paid");
    seller.hand_over(at(2), CUSTOMER, "good");
    assert!(seller.accepts(), "and so can a good token");
    // One that its wallet called good and that is short all the same.
    seller.ecash(at(2), Incoming::Held { amount: Msat::new(999) });
    assert!(seller.gives_up() && seller.word() == "returning");
}

#[test]
fn a_token_that_comes_late_is_taken_while_its_lock_leaves_time_to_work() {
    for (escrow, words) in [(true, ["returning", "expired"]), (false, ["lapsing", "expired"])] {
        let mut seller = Seller::offering(escrow);
        seller.invoice(at(91), Incoming::Open);
        assert_eq!(seller.word(), words[0]);
        seller.invoice(at(1_000), Incoming::Cancelled);
        assert_eq!(seller.word(), words[1]);
        seller.hand_over(at(1_001), CUSTOMER, "good");
        assert!(seller.accepts());
        seller.ecash(at(1_001), HELD);
        assert_eq!(seller.word(), "running", "escrow: {escrow}");
    }
    let mut seller = Seller::offering(true);
    seller.invoice(at(91), Incoming::Open);
    seller.invoice(at(92), Incoming::Cancelled);
    // The lock ends at 1,890 s, and ecash has to be taken a minute before.
    seller.hand_over(at(1_830), CUSTOMER, "good");
    assert!(!seller.accepts() && seller.refuses().unwrap().0 == "late", "{:?}", seller.done);
}

#[test]
fn no_offer_ends_while_the_wallet_looks_at_a_token_that_came_in_time() {
    let mut seller = Seller::offering(true);
    seller.hand_over(at(89), CUSTOMER, "good");
    seller.invoice(at(91), Incoming::Open);
    assert_eq!(seller.word(), "offered");
    seller.hear(at(94), Input::Tick);
    assert!(seller.accepts(), "asked again: {:?}", seller.done);
    seller.ecash(at(95), HELD);
    assert_eq!(seller.word(), "running");
}

#[test]
fn a_provider_that_stops_with_a_token_in_hand_goes_on_with_it() {
    let mut seller = Seller::offering(false);
    seller.hand_over(at(1), CUSTOMER, "good");
    seller.restart(at(50));
    assert!(seller.accepts(), "{:?}", seller.done);
    seller.ecash(at(50), HELD);
    seller.restart(at(60));
    let run = seller.done.iter().any(|action| matches!(action, Action::Run { .. }));
    assert!(run && seller.does(&Action::LookUpIncoming(ecash_hash())), "{:?}", seller.done);
}

#[test]
fn a_plain_invoice_that_is_paid_as_well_goes_back_when_the_job_is_over() {
    let mut seller = Seller::offering(false);
    seller.deliver();
    seller.invoice(at(2), SETTLED);
    assert_eq!(seller.word(), "delivered", "the job goes on");
    seller.ecash(at(3), SETTLED);
    assert_eq!(seller.word(), "refund-owed");
    let claim = Invoice {
        bolt11: "lnbcrt2".into(),
        payment_hash: PaymentHash::from_bytes([8; 32]),
        amount: PRICE,
        expires_at: at(3_600),
        network: Network::Regtest,
    };
    let hash = claim.payment_hash;
    seller.hear(at(4), Input::RefundClaim { job: JOB, by: CUSTOMER, invoice: claim });
    assert_eq!(seller.word(), "refunding");
    let state = Outgoing::Settled { preimage: PLAIN, fee: Msat::ZERO };
    seller.hear(at(5), Input::Outgoing { hash, state });
    let ended = State::Closed { outcome: Outcome::Settled { paid: PRICE }, hash: Some(ecash_hash()) };
    assert_eq!(seller.job.as_ref().unwrap().state, ended, "and it ends as the job did");
    let earned = [ecash_hash(), PLAIN.hash()].map(|hash| (Movement::Earned, hash));
    assert!(earned.iter().all(|entry| seller.entries.contains(entry)));
    assert!(seller.entries.contains(&(Movement::RefundPaid, hash)));
    // What comes after that changes nothing.
    seller.invoice(at(6), SETTLED);
    assert_eq!(seller.job.as_ref().unwrap().state, ended);
}

#[test]
fn what_a_mints_fee_leaves_over_is_earned_and_more_than_that_is_kept() {
    for (brings, kept) in [(1_000, 0), (2_000, 0), (2_001, 1_001), (4_000, 3_000)] {
        let mut seller = Seller::offering(false);
        let amount = Msat::new(brings);
        seller.hand_over(at(1), CUSTOMER, "good");
        seller.ecash(at(1), Incoming::Held { amount });
        let (content, usage) = ("done".into(), Usage::default());
        seller.hear(at(2), Input::Finished { job: JOB, content, usage });
        seller.ecash(at(3), Incoming::Settled { amount });
        let earned = seller.done.iter().find_map(|action| match action {
            Action::Save(Record::Entry(entry)) => Some(entry.amount),
            _ => None,
        });
        assert_eq!(earned, Some(amount), "the books have all that the wallet has");
        assert_eq!(seller.engine.balance(CUSTOMER), Msat::new(kept), "{brings}");
        let paid = State::Closed { outcome: Outcome::Settled { paid: PRICE }, hash: Some(ecash_hash()) };
        assert_eq!(seller.job.as_ref().unwrap().state, paid, "the customer paid the price");
        let price = |action: &Action| matches!(action, Action::Publish { draft: Draft::Receipt(receipt), .. } if receipt.price == PRICE);
        assert!(seller.done.iter().any(price), "and its receipt says so: {:?}", seller.done);
    }
    // Whoever brings more for work that fails has all of it back.
    let mut seller = Seller::offering(false);
    seller.hand_over(at(1), CUSTOMER, "good");
    seller.ecash(at(1), Incoming::Held { amount: Msat::new(2_000) });
    let fault = openagents_engine::RunFault { code: "failed".into(), message: "no".into(), retryable: false };
    seller.hear(at(2), Input::RunFailed { job: JOB, fault });
    assert!(seller.gives_up() && seller.entries.is_empty());
}

/// A plain invoice was paid as well, and what is owed for it became its customer's balance.
fn credited_beside() -> Seller {
    let mut seller = Seller::offering(false);
    seller.deliver();
    seller.ecash(at(3), SETTLED);
    seller.invoice(at(300), SETTLED);
    assert_eq!(seller.word(), "refund-owed");
    seller.hear(at(300 + 86_399), Input::Tick);
    assert_eq!(seller.word(), "refund-owed", "its day begins when it is owed");
    seller.hear(at(300 + 86_400), Input::Tick);
    assert_eq!((seller.word(), seller.engine.balance(CUSTOMER)), ("settled", PRICE));
    seller
}

fn claims(seller: &mut Seller, now: Timestamp, amount: Msat) -> bool {
    let invoice = Invoice {
        bolt11: "lnbcrtrefund".into(),
        payment_hash: PaymentHash::from_bytes([8; 32]),
        amount,
        expires_at: now.after(Millis::from_secs(600)),
        network: Network::Regtest,
    };
    if let Some(job) = seller.job.clone().filter(Job::is_credited) {
        seller.engine.handle(now, Input::Recall(Box::new(Record::Job(Box::new(job)))));
    }
    seller.hear(now, Input::RefundClaim { job: JOB, by: CUSTOMER, invoice: invoice.clone() });
    seller.does(&Action::Pay { invoice, max_fee: Msat::ZERO, first: true })
}

#[test]
fn a_second_payment_that_became_a_balance_can_be_claimed_once() {
    let mut seller = credited_beside();
    let ended = seller.job.clone().unwrap().state;
    let text = serde_json::to_string(seller.job.as_ref().unwrap()).unwrap();
    assert_eq!(serde_json::from_str::<Job>(&text).unwrap(), seller.job.clone().unwrap());
    assert!(!claims(&mut seller, at(90_000), Msat::new(999)), "only all of it");
    assert!(claims(&mut seller, at(90_000), PRICE), "{:?}", seller.done);
    assert_eq!((seller.word(), seller.engine.balance(CUSTOMER)), ("refunding", Msat::ZERO));
    let settled = Outgoing::Settled { preimage: Preimage::from_bytes([6; 32]), fee: Msat::ZERO };
    seller.hear(at(90_001), Input::Outgoing { hash: PaymentHash::from_bytes([8; 32]), state: settled });
    assert_eq!(seller.job.clone().unwrap().state, ended, "and the job ends as it had");
    assert!(!claims(&mut seller, at(90_002), PRICE), "not again");
    seller.invoice(at(90_003), SETTLED);
    assert_eq!(seller.job.clone().unwrap().state, ended);
    let earned = |entry: &&(Movement, PaymentHash)| entry.0 == Movement::Earned;
    assert_eq!(seller.entries.iter().filter(earned).count(), 2);
}

#[test]
fn a_claim_out_of_a_balance_that_cannot_be_paid_waits_a_day_again() {
    let mut seller = credited_beside();
    assert!(claims(&mut seller, at(90_000), PRICE));
    for _ in 0..2 {
        let (hash, reason) = (PaymentHash::from_bytes([8; 32]), String::from("no route"));
        seller.hear(at(90_001), Input::Outgoing { hash, state: Outgoing::Failed { reason } });
    }
    assert_eq!(seller.word(), "refund-owed");
    seller.hear(at(90_000 + 86_399), Input::Tick);
    assert_eq!(seller.word(), "refund-owed");
    seller.hear(at(90_000 + 86_400), Input::Tick);
    assert_eq!((seller.word(), seller.engine.balance(CUSTOMER)), ("settled", PRICE));
}

#[test]
fn a_second_payment_that_an_old_backup_may_have_paid_back_is_not_paid_back_again() {
    let sent = SentPayment { hash: PaymentHash::from_bytes([6; 32]), amount: PRICE, at: at(400) };
    let mut backup = Seller::offering(false);
    backup.deliver();
    backup.ecash(at(3), SETTLED);
    // The invoice was paid after the copy was made, and its payment sent back.
    backup.restart(at(500));
    assert!(backup.does(&Action::ReadSent { since: NOW.before(Millis::from_secs(60)) }), "{:?}", backup.done);
    backup.hear(at(501), Input::Sent(Sent::Told(vec![sent])));
    backup.invoice(at(502), SETTLED);
    assert_eq!(backup.word(), "refund-owed");
    assert!(!claims(&mut backup, at(503), PRICE), "it may have been paid");
    backup.hear(at(200_000), Input::Tick);
    assert_eq!((backup.word(), backup.engine.balance(CUSTOMER)), ("refund-owed", Msat::ZERO));

    let mut silent = Seller::offering(false);
    silent.deliver();
    silent.ecash(at(3), SETTLED);
    silent.restart(at(500));
    silent.invoice(at(501), SETTLED);
    silent.hear(at(502), Input::Sent(Sent::Withheld));
    silent.hear(at(200_000), Input::Tick);
    assert_eq!(silent.word(), "refund-owed", "the wallet never says, so nothing is credited");
    assert!(silent.job.as_ref().unwrap().payback.trouble.is_some());
}

#[test]
fn ecash_that_the_wallet_took_beside_the_invoice_is_booked_and_goes_back() {
    for (escrow, paid) in [(false, SETTLED), (true, HELD)] {
        let mut seller = Seller::offering(escrow);
        seller.invoice(at(1), paid);
        seller.ecash(at(1), SETTLED);
        assert!(seller.entries.contains(&(Movement::Earned, ecash_hash())), "{:?}", seller.entries);
        assert_eq!(seller.word(), "running");
        seller.ecash(at(1), SETTLED);
        let (content, usage) = ("done".into(), Usage::default());
        seller.hear(at(2), Input::Finished { job: JOB, content, usage });
        if escrow {
            seller.invoice(at(3), SETTLED);
        }
        let owed = &seller.job.as_ref().unwrap().state;
        assert!(matches!(owed, State::RefundOwed { hash, .. } if *hash == ecash_hash()), "{owed:?}");
        seller.ecash(at(4), SETTLED);
        assert!(claims(&mut seller, at(5), PRICE), "{:?}", seller.done);
        assert_eq!(seller.entries.iter().filter(|entry| entry.1 == ecash_hash()).count(), 1);
    }
    // The job is over, and it was not for want of time.
    let mut seller = Seller::offering(false);
    let cancel = openagents_types::Cancel { job: JOB, by: CUSTOMER, providers: Vec::new() };
    seller.hear(at(1), Input::Cancel(cancel));
    for _ in 0..2 {
        seller.invoice(at(800), Incoming::Expired);
    }
    assert_eq!(seller.word(), "cancelled");
    seller.ecash(at(801), SETTLED);
    assert_eq!((seller.word(), seller.entries.len()), ("refund-owed", 1), "{:?}", seller.done);
}

#[test]
fn a_plain_invoice_is_watched_until_it_can_be_paid_no_more() {
    let mut seller = Seller::offering(false);
    seller.deliver();
    seller.ecash(at(3), SETTLED);
    assert_eq!((seller.word(), seller.engine.load().0), ("settled", 1), "the job stays at hand");
    seller.restart(at(300));
    assert!(seller.does(&Action::LookUpIncoming(PLAIN.hash())), "{:?}", seller.done);
    seller.invoice(at(301), Incoming::Open);
    assert_eq!(seller.engine.load().0, 1);
    seller.invoice(at(700), Incoming::Expired);
    assert_eq!(seller.engine.load().0, 0);
}

#[test]
fn a_hold_invoice_that_is_paid_as_well_is_given_back_until_the_wallet_says_so() {
    let mut seller = Seller::offering(true);
    seller.deliver();
    seller.invoice(at(2), HELD);
    assert!(seller.does(&Action::CancelHold(seller.invoice_hash())));
    seller.ecash(at(3), SETTLED);
    assert_eq!((seller.word(), seller.engine.load().0), ("settled", 1));
    seller.hear(at(30), Input::Tick);
    assert!(seller.does(&Action::CancelHold(seller.invoice_hash())), "again: {:?}", seller.done);
    seller.invoice(at(30), Incoming::Cancelled);
    assert_eq!(seller.engine.load().0, 0);
    assert_eq!(seller.entries, [(Movement::Earned, ecash_hash())]);
}

#[test]
fn ecash_for_a_job_that_its_invoice_has_paid_is_left_alone() {
    for escrow in [false, true] {
        let mut seller = Seller::offering(escrow);
        seller.invoice(at(1), if escrow { HELD } else { SETTLED });
        assert_eq!(seller.word(), "running");
        seller.hand_over(at(1), CUSTOMER, "good");
        assert!(!seller.accepts() && seller.refuses().is_none(), "{:?}", seller.done);
        // Accepted just before the invoice was paid.
        seller.ecash(at(1), HELD);
        assert!(seller.gives_up() && seller.word() == "running");
    }
}

#[test]
fn work_that_cannot_end_before_the_lock_does_is_not_begun() {
    let mut seller = Seller::offering(true);
    seller.hand_over(at(80), CUSTOMER, "good");
    seller.ecash(at(1_829), HELD);
    let limit = seller.done.iter().find_map(|action| match action {
        Action::Run { limit, .. } => Some(*limit),
        _ => None,
    });
    assert_eq!(limit, Some(Millis::from_secs(1)), "a run ends with the time to take the ecash");
    let mut seller = Seller::offering(true);
    seller.hand_over(at(80), CUSTOMER, "good");
    seller.ecash(at(1_830), HELD);
    assert!(seller.gives_up() && seller.refuses().unwrap().0 == "late");
}

#[test]
fn a_failed_job_leaves_the_ecash_to_its_customer() {
    let mut seller = Seller::offering(false);
    seller.hand_over(at(1), CUSTOMER, "good");
    seller.ecash(at(1), HELD);
    let fault = openagents_engine::RunFault { code: "failed".into(), message: "no".into(), retryable: false };
    seller.hear(at(2), Input::RunFailed { job: JOB, fault });
    assert!(seller.gives_up() && seller.word() == "returning");
    seller.restart(at(3));
    assert!(seller.gives_up(), "until the wallet says so");
    let (hash, release) = (ecash_hash(), EcashRelease::new("sign here".into()));
    seller.hear(at(4), Input::Released { hash, release: release.clone() });
    let said = Action::Publish { job: JOB, draft: Draft::Release { hash, release } };
    assert!(seller.does(&said), "{:?}", seller.done);
    assert_eq!((seller.word(), seller.entries.len()), ("failed", 0));
}

#[test]
fn a_record_without_rails_reads_as_one_with_an_invoice_alone() {
    let seller = Seller::offering(true);
    let mut job = serde_json::to_value(seller.job.unwrap()).unwrap();
    job.as_object_mut().unwrap().remove("ecash").unwrap();
    let job: Job = serde_json::from_value(job).unwrap();
    assert_eq!((job.ecash, job.state.word()), (None, "offered"));
    let mut buyer = Buyer::new();
    buyer.choose(&[quote(1, Terms::Escrow, None)]);
    let mut ask = serde_json::to_value(buyer.ask()).unwrap();
    let attempt = ask["attempts"][0].as_object_mut().unwrap();
    attempt.remove("rail").unwrap();
    let ask: Ask = serde_json::from_value(ask).unwrap();
    assert_eq!(
        (ask.attempts[0].rail, ask.attempts[0].hash()),
        (Rail::Bolt11, PaymentHash::from_bytes([1; 32]))
    );
}

/// The customer's half, with one job.
struct Buyer {
    engine: Engine,
    done: Vec<Action>,
    asks: Vec<Ask>,
    entries: Vec<(Movement, Msat)>,
}

fn buying() -> Config {
    let mut customer = CustomerConfig::new(Network::Regtest);
    customer.mints = vec![format!("{MINT}/")];
    customer.advance = Some(AdvanceLimit { newcomer: Msat::new(10), most: Msat::new(10) });
    Config { provider: None, customer }
}

/// An offer of 1,000 msat by provider `n`, whose invoice has the hash `[n; 32]`.
fn quote(n: u8, terms: Terms, ecash: Option<EcashAsk>) -> Quote {
    Quote {
        job: JOB,
        provider: ProviderKey::from_bytes([n; 32]),
        event: EventId::from_bytes([n; 32]),
        price: PRICE,
        invoice: Invoice {
            bolt11: format!("lnbcrt{n}"),
            payment_hash: PaymentHash::from_bytes([n; 32]),
            amount: PRICE,
            expires_at: at(90),
            network: Network::Regtest,
        },
        expires_at: at(90),
        eta: None,
        terms,
        ecash,
    }
}

fn ecash(locktime: Timestamp, mint: &str) -> EcashAsk {
    EcashAsk { request: "creqA".into(), hash: PLAIN.hash(), locktime, mints: vec![mint.into()] }
}

impl Buyer {
    fn new() -> Self {
        Self { engine: Engine::new(buying()), done: Vec::new(), asks: Vec::new(), entries: Vec::new() }
    }

    fn hear(&mut self, now: Timestamp, input: Input) {
        self.done = self.engine.handle(now, input);
        for action in &self.done {
            match action {
                Action::Save(Record::Ask(ask)) => self.asks.push(ask.as_ref().clone()),
                Action::Save(Record::Entry(entry)) => self.entries.push((entry.movement, entry.amount)),
                _ => {}
            }
        }
    }

    /// Asks, hears these offers, and chooses.
    fn choose(&mut self, quotes: &[Quote]) {
        let mut spec = JobSpec::new(JobKind::SUMMARIZATION, Msat::new(2_000), at(3_600));
        spec.inputs = vec![JobInput::text("a text")];
        let options = AskOptions { window: Millis(100), patience: None, max_fee: Msat::ZERO };
        let ask = Ask::new(JOB, CUSTOMER, "".into(), spec, options, NOW);
        self.hear(NOW, Input::Ask(Box::new(ask)));
        for quote in quotes {
            self.hear(NOW, Input::Quote(quote.clone()));
        }
        self.hear(NOW.after(Millis(200)), Input::Tick);
    }

    fn ask(&self) -> &Ask {
        self.asks.last().unwrap()
    }

    fn locks(&self) -> Option<bool> {
        self.done.iter().find_map(|action| match action {
            Action::LockEcash { first, .. } => Some(*first),
            _ => None,
        })
    }

    fn pays(&self) -> bool {
        self.done.iter().any(|action| matches!(action, Action::Pay { .. }))
    }

    fn hands_over(&self) -> bool {
        let over = |action: &Action| matches!(action, Action::Publish { draft: Draft::Ecash { .. }, .. });
        self.done.iter().any(over)
    }

    fn outgoing(&mut self, now: Timestamp, state: Outgoing) {
        self.hear(now, Input::Outgoing { hash: PLAIN.hash(), state });
    }

    fn locked(&mut self, now: Timestamp) {
        let (hash, token) = (PLAIN.hash(), token("good"));
        self.hear(now, Input::Locked { hash, token });
    }

    fn restart(&mut self, now: Timestamp) {
        let record = Record::Ask(Box::new(self.ask().clone()));
        let (engine, _) = Engine::restore(now, buying(), [record]);
        self.engine = engine;
        self.hear(now, Input::Sent(openagents_engine::Sent::Told(Vec::new())));
        assert!(self.done.contains(&Action::LookUpOutgoing(PLAIN.hash())), "{:?}", self.done);
    }
}

#[test]
fn what_can_be_locked_is_preferred_and_no_limit_in_advance_stands_in_its_way() {
    let known = || Some(ecash(at(1_890), MINT));
    let cases = [
        (Terms::Prepaid, known(), Some(Rail::Cashu)),
        // A hold invoice comes back at once.
        (Terms::Escrow, known(), Some(Rail::Bolt11)),
        // More than a newcomer is trusted with in advance.
        (Terms::Prepaid, None, None),
        (Terms::Prepaid, Some(ecash(at(1_890), "https://other.example")), None),
        (Terms::Prepaid, Some(ecash(at(100), MINT)), None),
        (Terms::Prepaid, Some(ecash(at(86_400), MINT)), None),
        // Its ecash has the name of its invoice.
        (
            Terms::Prepaid,
            Some(EcashAsk { hash: PaymentHash::from_bytes([1; 32]), ..ecash(at(1_890), MINT) }),
            None,
        ),
    ];
    for (terms, ecash, chosen) in cases {
        let mut buyer = Buyer::new();
        buyer.choose(&[quote(1, terms, ecash.clone())]);
        assert_eq!(buyer.ask().current().map(|attempt| attempt.rail), chosen, "{terms:?} {ecash:?}");
        assert_eq!(buyer.locks().is_some(), chosen == Some(Rail::Cashu));
    }
}

#[test]
fn the_choice_is_saved_before_anything_is_locked_and_the_token_is_published_once() {
    let mut buyer = Buyer::new();
    buyer.choose(&[quote(1, Terms::Prepaid, Some(ecash(at(1_890), MINT)))]);
    assert_eq!(buyer.locks(), Some(true));
    let row = buyer.done.iter().any(|action| {
        matches!(action, Action::Save(Record::Payment(row)) if row.hash == PLAIN.hash() && row.bolt11 == "creqA")
    });
    assert!(row && buyer.ask().attempts[0].rail == Rail::Cashu && !buyer.ask().attempts[0].handed_over);
    buyer.locked(at(1));
    assert!(buyer.hands_over() && buyer.ask().attempts[0].handed_over);
    buyer.locked(at(1));
    assert!(!buyer.hands_over(), "again: {:?}", buyer.done);
    buyer.outgoing(at(2), Outgoing::Pending);
    assert!(buyer.done.is_empty());
    buyer.outgoing(at(3), Outgoing::Settled { preimage: PLAIN, fee: Msat::new(20) });
    assert!(matches!(buyer.ask().attempts[0].money, Money::Settled { .. }));
    assert!(
        buyer.entries.contains(&(Movement::Spent, PRICE))
            && buyer.entries.contains(&(Movement::Fee, Msat::new(20)))
    );
}

#[test]
fn a_customer_that_stops_between_locking_and_handing_over_asks_for_the_same_token() {
    for (known, word) in [(Outgoing::Pending, "locked"), (Outgoing::Unknown, "not yet locked")] {
        let mut buyer = Buyer::new();
        buyer.choose(&[quote(1, Terms::Prepaid, Some(ecash(at(1_890), MINT)))]);
        buyer.restart(at(10));
        buyer.outgoing(at(10), known);
        assert_eq!(buyer.locks(), Some(false), "{word}");
        buyer.locked(at(11));
        assert!(buyer.hands_over(), "{word}");
        buyer.restart(at(20));
        buyer.outgoing(at(20), Outgoing::Pending);
        assert_eq!(buyer.locks(), None, "the outbox has it");
    }
}

#[test]
fn ecash_that_cannot_be_locked_is_replaced_by_the_invoice_if_that_may_be_paid() {
    for (trusted, pays) in [(Msat::new(5_000), true), (Msat::new(10), false)] {
        let mut buyer = Buyer::new();
        let mut config = buying();
        config.customer.advance = Some(AdvanceLimit { newcomer: trusted, most: trusted });
        buyer.engine = Engine::new(config);
        buyer.choose(&[quote(1, Terms::Prepaid, Some(ecash(at(1_890), MINT)))]);
        let failed = || Outgoing::Failed { reason: "too little there".into() };
        buyer.outgoing(at(1), failed());
        assert!(!buyer.pays(), "believed the second time");
        buyer.outgoing(at(6), Outgoing::Unknown);
        assert_eq!(buyer.pays(), pays, "trusted with {trusted}");
        assert_eq!(buyer.ask().attempts.len(), if pays { 2 } else { 1 });
    }
}

/// A copy of the records from before the invoice was paid instead of the ecash is put back.
#[test]
fn what_was_paid_on_the_other_rail_in_a_lost_history_is_found_and_nothing_is_paid_again() {
    let invoice = PLAIN_INVOICE.hash();
    let offer = quote(1, Terms::Prepaid, Some(ecash(at(1_890), MINT)));
    let offer = Quote { invoice: Invoice { payment_hash: invoice, ..offer.invoice.clone() }, ..offer };
    for told in [true, false] {
        let mut buyer = Buyer::new();
        buyer.choose(std::slice::from_ref(&offer));
        let record = Record::Ask(Box::new(buyer.ask().clone()));
        (buyer.engine, _) = Engine::restore(at(20), buying(), [record]);
        let sent = SentPayment { hash: invoice, amount: PRICE, at: at(8) };
        let word = if told { Sent::Told(vec![sent]) } else { Sent::Withheld };
        buyer.hear(at(21), Input::Sent(word));
        let settled = Outgoing::Settled { preimage: PLAIN_INVOICE, fee: Msat::ZERO };
        for _ in 0..2 {
            buyer.hear(at(22), Input::Outgoing { hash: invoice, state: settled.clone() });
        }
        // The last two once no order of the run before can be carried out any more.
        for seconds in [23, 30, 90, 96] {
            buyer.outgoing(at(seconds), Outgoing::Unknown);
            assert!(!buyer.pays() && buyer.locks().is_none(), "{:?}", buyer.done);
        }
        assert_eq!(buyer.entries, [(Movement::Spent, PRICE)]);
        let money: Vec<_> = buyer.ask().attempts.iter().map(|attempt| attempt.money.clone()).collect();
        assert!(matches!(money[..], [Money::Returned, Money::Settled { .. }]), "{money:?}");
        assert_eq!(buyer.ask().word(), "paying", "its result is waited for");
    }
}

#[test]
fn the_next_offer_waits_until_ecash_that_was_handed_over_is_back() {
    let mut buyer = Buyer::new();
    let second = Quote { price: Msat::new(1_500), ..quote(3, Terms::Escrow, None) };
    let second = Quote { invoice: Invoice { amount: second.price, ..second.invoice.clone() }, ..second };
    buyer.choose(&[quote(1, Terms::Prepaid, Some(ecash(at(1_890), MINT))), second]);
    buyer.locked(at(1));
    let refused = openagents_types::Feedback {
        job: JOB,
        provider: ProviderKey::from_bytes([1; 32]),
        event: EventId::from_bytes([6; 32]),
        status: openagents_types::Status::Error,
        message: "no".into(),
        content: String::new(),
        amount: None,
        bolt11: None,
        expires_at: None,
        eta: None,
        terms: Terms::Prepaid,
        ecash: None,
        code: None,
        created_at: at(2),
    };
    buyer.hear(at(2), Input::Feedback(refused));
    assert!(matches!(buyer.ask().phase, Phase::Abandoning) && !buyer.pays());
    buyer.outgoing(at(30), Outgoing::Pending);
    assert!(!buyer.pays() && buyer.locks().is_none(), "it may still be taken");
    for seconds in [1_891, 1_896] {
        buyer.outgoing(at(seconds), Outgoing::Failed { reason: "taken back".into() });
    }
    assert_eq!(buyer.ask().attempts[0].money, Money::Returned);
    assert_eq!(buyer.ask().attempts.len(), 1, "the other offer ran out meanwhile");
}

#[test]
fn ecash_that_is_locked_too_late_is_not_handed_over() {
    let mut buyer = Buyer::new();
    buyer.choose(&[quote(1, Terms::Prepaid, Some(ecash(at(1_890), MINT)))]);
    buyer.hear(at(1), Input::Withdraw { job: JOB, reason: "changed my mind".into() });
    buyer.locked(at(2));
    assert!(!buyer.hands_over());
    for seconds in [1_891, 1_896] {
        buyer.hear(at(seconds), Input::TakenBack { hash: PLAIN.hash(), fee: Msat::new(2) });
    }
    assert!(buyer.entries.contains(&(Movement::Fee, Msat::new(2))), "what the mint kept is booked");
    assert_eq!((buyer.ask().attempts[0].money.clone(), buyer.ask().paid()), (Money::Returned, Msat::ZERO));
}

#[test]
fn ecash_that_its_provider_gives_up_is_taken_back_at_once() {
    let mut buyer = Buyer::new();
    buyer.choose(&[quote(1, Terms::Prepaid, Some(ecash(at(1_890), MINT)))]);
    buyer.locked(at(1));
    let release = |n: u8, hash| {
        let (provider, release) = (ProviderKey::from_bytes([n; 32]), EcashRelease::new("sign here".into()));
        Input::Release(ReleasedEcash { job: JOB, provider, hash, release })
    };
    buyer.hear(at(2), release(3, PLAIN.hash()));
    assert!(buyer.done.is_empty(), "somebody else's word: {:?}", buyer.done);
    buyer.hear(at(2), release(1, PaymentHash::from_bytes([1; 32])));
    assert!(buyer.done.is_empty(), "nothing is locked for that: {:?}", buyer.done);
    buyer.hear(at(2), release(1, PLAIN.hash()));
    let takes =
        |action: &Action| matches!(action, Action::TakeBackEcash { hash, .. } if *hash == PLAIN.hash());
    assert!(buyer.done.iter().any(takes), "{:?}", buyer.done);
    for seconds in [3, 8] {
        buyer.outgoing(at(seconds), Outgoing::Failed { reason: "taken back".into() });
    }
    assert_eq!(buyer.ask().attempts[0].money, Money::Returned);
}
