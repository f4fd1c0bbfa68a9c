//! The wallets' side of the worlds: one ledger that holds everybody's money and never loses any.
//! What the nodes hear of it may be late, lost or wrong; the ledger itself is the truth that the
//! test compares their books with.

use std::collections::HashMap;

use openagents_engine::{HeldPayment, Incoming, InvoiceFor, Outgoing, SentPayment};
use openagents_types::{EcashAsk, EcashToken, Invoice, Msat, Network, PaymentHash, Preimage, Timestamp};

use crate::rng::Rng;

/// The one mint that everybody who has ecash trusts.
pub(crate) const MINT: &str = "https://mint.example";

/// How long the bank locks money for an invoice before it goes back by itself.
const HOLD_LIMIT_MS: u64 = 400_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Open,
    Held,
    Settled,
    Cancelled,
}

#[derive(Clone, Debug)]
pub(crate) struct Bill {
    pub(crate) payee: usize,
    pub(crate) payer: Option<usize>,
    pub(crate) invoice: Invoice,
    pub(crate) stage: Stage,
    pub(crate) purpose: InvoiceFor,
    /// When its payment was taken up.
    sent_at: u64,
    preimage: Option<Preimage>,
    hold: bool,
    held_since: u64,
    /// A payment that the bank has taken up but that arrives only later.
    pub(crate) arrives: Option<u64>,
    /// What ecash it is paid with, if it is no invoice.
    pub(crate) ecash: Option<Lock>,
}

/// How ecash for a bill is locked at its mint.
#[derive(Clone, Debug)]
pub(crate) struct Lock {
    locktime: Timestamp,
    /// Whether the payee was given the token; until then it is only the payer's own money, locked.
    pub(crate) handed_over: bool,
    /// Whether the payee's wallet holds the token.
    pub(crate) accepted: bool,
    /// Whether the payee's wallet was told to leave it alone.
    left_alone: bool,
    /// Whether it has said what it can be taken back with.
    released: bool,
}

impl Bill {
    /// When its money goes back by itself.
    fn released_at(&self) -> u64 {
        self.ecash.as_ref().map_or(self.held_since + HOLD_LIMIT_MS, |lock| lock.locktime.millis())
    }
}

#[derive(Debug)]
pub(crate) struct Bank {
    pub(crate) balances: Vec<u64>,
    pub(crate) bills: HashMap<PaymentHash, Bill>,
    issued: u64,
    /// How many payments went back only because they were held too long.
    pub(crate) lapses: u64,
}

/// An invoice to make.
#[derive(Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) amount: Msat,
    pub(crate) lifetime: openagents_types::Millis,
    pub(crate) hold: Option<PaymentHash>,
    pub(crate) purpose: InvoiceFor,
}

impl Bank {
    pub(crate) fn new(accounts: usize, each: u64) -> Self {
        Self {
            balances: vec![each; accounts],
            bills: HashMap::new(),
            issued: accounts as u64 * each,
            lapses: 0,
        }
    }

    pub(crate) fn make(&mut self, rng: &mut Rng, now: Timestamp, payee: usize, wanted: Wanted) -> Invoice {
        let Wanted { amount, lifetime, hold, purpose } = wanted;
        let preimage = Preimage::from_bytes(rng.bytes());
        let hash = hold.unwrap_or(preimage.hash());
        if let Some(bill) = self.bills.get(&hash) {
            return bill.invoice.clone();
        }
        let invoice = Invoice {
            bolt11: format!("lnbcrt{hash}"),
            payment_hash: hash,
            amount,
            expires_at: now.after(lifetime),
            network: Network::Regtest,
        };
        let bill = Bill {
            payee,
            payer: None,
            invoice: invoice.clone(),
            stage: Stage::Open,
            purpose,
            sent_at: 0,
            preimage: hold.is_none().then_some(preimage),
            hold: hold.is_some(),
            held_since: 0,
            arrives: None,
            ecash: None,
        };
        self.bills.insert(hash, bill);
        invoice
    }

    /// A request for ecash; the same for the same hash.
    pub(crate) fn request_ecash(
        &mut self,
        rng: &mut Rng,
        now: Timestamp,
        payee: usize,
        wanted: Wanted,
        locktime: Timestamp,
    ) -> Option<EcashAsk> {
        let invoice = self.make(rng, now, payee, wanted);
        let bill = self.bills.get_mut(&invoice.payment_hash)?;
        let locked =
            Lock { locktime, handed_over: false, accepted: false, left_alone: false, released: false };
        let locktime = bill.ecash.get_or_insert(locked).locktime;
        Some(EcashAsk {
            request: format!("creqA{}", invoice.payment_hash),
            hash: invoice.payment_hash,
            locktime,
            mints: vec![MINT.into()],
        })
    }

    /// Locks ecash, once. The token is the same however often it is asked for.
    pub(crate) fn lock(
        &mut self,
        now: Timestamp,
        payer: usize,
        ask: &EcashAsk,
        amount: Msat,
    ) -> Option<EcashToken> {
        let bill = self.bills.get_mut(&ask.hash)?;
        let asked =
            bill.ecash.as_ref().is_some_and(|lock| lock.locktime == ask.locktime && lock.locktime > now);
        let new = bill.payer.is_none()
            && asked
            && bill.stage == Stage::Open
            && bill.invoice.expires_at > now
            && bill.invoice.amount == amount
            && self.balances[payer] >= amount.get();
        if new {
            bill.payer = Some(payer);
            bill.sent_at = now.millis();
            bill.stage = Stage::Held;
            self.balances[payer] -= amount.get();
        }
        let locked = bill.payer == Some(payer) && bill.stage == Stage::Held;
        locked.then(|| EcashToken::new(format!("cashuB{}", ask.hash)))
    }

    /// Gives ecash up for good, and says what it can be taken back with, if it is in hand.
    pub(crate) fn release(&mut self, hash: PaymentHash) -> bool {
        let Some(bill) = self.bills.get_mut(&hash) else { return false };
        let Some(lock) = bill.ecash.as_mut().filter(|_| bill.stage != Stage::Settled) else { return false };
        lock.left_alone = true;
        lock.released |= lock.accepted;
        lock.released
    }

    /// The payer's wallet takes back what was given up.
    pub(crate) fn take_back(&mut self, hash: PaymentHash) {
        let Some(bill) = self.bills.get_mut(&hash) else { return };
        let released = bill.ecash.as_ref().is_some_and(|lock| lock.released);
        if released && bill.stage == Stage::Held {
            bill.stage = Stage::Cancelled;
            self.balances[bill.payer.unwrap()] += bill.invoice.amount.get();
        }
    }

    /// What the payee's wallet says to a token: whether it holds it now, or why it does not take it.
    pub(crate) fn accept(
        &mut self,
        now: Timestamp,
        payee: usize,
        hash: PaymentHash,
        token: &EcashToken,
    ) -> Result<(), &'static str> {
        let bill = self.bills.get_mut(&hash).filter(|bill| bill.payee == payee).ok_or("foreign")?;
        let lock = bill.ecash.as_mut().ok_or("not asked for")?;
        if token.expose() != format!("cashuB{hash}") {
            return Err("it holds less than was asked");
        }
        if lock.left_alone {
            return Err("it was cancelled");
        }
        match bill.stage {
            Stage::Held if now < lock.locktime => lock.accepted = true,
            Stage::Settled => {}
            Stage::Open | Stage::Held | Stage::Cancelled => return Err("it is spent"),
        }
        Ok(())
    }

    /// A token is given to its payee.
    pub(crate) fn hand_over(&mut self, hash: PaymentHash) {
        if let Some(lock) = self.bills.get_mut(&hash).and_then(|bill| bill.ecash.as_mut()) {
            lock.handed_over = true;
        }
    }

    /// Takes a payment up. It arrives `delay` later.
    pub(crate) fn pay(&mut self, now: Timestamp, payer: usize, hash: PaymentHash, delay: u64) -> bool {
        let Some(bill) = self.bills.get_mut(&hash) else { return false };
        let amount = bill.invoice.amount.get();
        let payable = bill.payer.is_none()
            && bill.stage == Stage::Open
            && bill.invoice.expires_at > now
            && self.balances[payer] >= amount;
        if payable {
            bill.payer = Some(payer);
            bill.sent_at = now.millis();
            bill.arrives = Some(now.millis() + delay);
            self.balances[payer] -= amount;
        }
        payable
    }

    /// Lets time pass: payments arrive, holds lapse. Returns what changed.
    pub(crate) fn advance(&mut self, now: Timestamp) -> Vec<PaymentHash> {
        let mut changed = Vec::new();
        for (hash, bill) in &mut self.bills {
            let amount = bill.invoice.amount.get();
            if bill.arrives.is_some_and(|at| at <= now.millis()) {
                bill.arrives = None;
                changed.push(*hash);
                if bill.stage == Stage::Cancelled {
                    self.balances[bill.payer.take().unwrap()] += amount;
                } else if bill.hold {
                    bill.stage = Stage::Held;
                    bill.held_since = now.millis();
                } else {
                    bill.stage = Stage::Settled;
                    self.balances[bill.payee] += amount;
                }
            }
            if bill.stage == Stage::Held && now.millis() >= bill.released_at() {
                bill.stage = Stage::Cancelled;
                self.lapses += u64::from(bill.ecash.is_none());
                self.balances[bill.payer.unwrap()] += amount;
                changed.push(*hash);
            }
        }
        changed.sort_unstable();
        changed
    }

    pub(crate) fn next_change(&self) -> Option<u64> {
        let arrivals = self.bills.values().filter_map(|bill| bill.arrives);
        let holds = self.bills.values().filter(|bill| bill.stage == Stage::Held);
        arrivals.chain(holds.map(Bill::released_at)).min()
    }

    pub(crate) fn settle(&mut self, preimage: Preimage) {
        let Some(bill) = self.bills.get_mut(&preimage.hash()) else { return };
        let takes = bill.ecash.as_ref().is_none_or(|lock| lock.accepted && !lock.left_alone);
        if bill.stage == Stage::Held && takes {
            bill.stage = Stage::Settled;
            bill.preimage = Some(preimage);
            self.balances[bill.payee] += bill.invoice.amount.get();
        }
    }

    pub(crate) fn cancel(&mut self, hash: PaymentHash) {
        let Some(bill) = self.bills.get_mut(&hash) else { return };
        if let Some(lock) = &mut bill.ecash {
            lock.left_alone = true;
            return;
        }
        if bill.stage == Stage::Held {
            self.balances[bill.payer.unwrap()] += bill.invoice.amount.get();
        }
        if matches!(bill.stage, Stage::Held | Stage::Open) {
            bill.stage = Stage::Cancelled;
        }
    }

    pub(crate) fn incoming(&self, now: Timestamp, hash: PaymentHash) -> Incoming {
        let Some(bill) = self.bills.get(&hash) else { return Incoming::Unknown };
        let amount = bill.invoice.amount;
        if let (Some(lock), Stage::Open | Stage::Held | Stage::Cancelled) = (&bill.ecash, bill.stage) {
            // Ecash that is not in its hands a wallet knows nothing of.
            return match (lock.accepted, bill.stage) {
                _ if lock.left_alone => Incoming::Cancelled,
                (true, Stage::Held) => Incoming::Held { amount },
                (true, _) => Incoming::Expired,
                (false, _) if bill.invoice.expires_at <= now => Incoming::Expired,
                (false, _) => Incoming::Open,
            };
        }
        match bill.stage {
            // Also of one for which a payment is under way.
            Stage::Open if bill.invoice.expires_at <= now => Incoming::Expired,
            Stage::Open => Incoming::Open,
            Stage::Held => Incoming::Held { amount },
            Stage::Settled => Incoming::Settled { amount },
            Stage::Cancelled => Incoming::Cancelled,
        }
    }

    pub(crate) fn outgoing(&self, payer: usize, hash: PaymentHash) -> Outgoing {
        let Some(bill) = self.bills.get(&hash).filter(|bill| bill.payer == Some(payer)) else {
            return Outgoing::Unknown;
        };
        match bill.stage {
            Stage::Open | Stage::Held => Outgoing::Pending,
            Stage::Settled => Outgoing::Settled { preimage: bill.preimage.unwrap(), fee: Msat::ZERO },
            Stage::Cancelled if bill.arrives.is_some() => Outgoing::Pending,
            Stage::Cancelled => Outgoing::Failed { reason: "cancelled by the receiver".into() },
        }
    }

    /// Payments by `payer` since `since` that arrived or may yet; whole seconds, as wallets tell them.
    pub(crate) fn sent(&self, payer: usize, since: Timestamp) -> Vec<SentPayment> {
        let bills = self.bills.values().filter(|bill| bill.payer == Some(payer));
        let sent =
            bills.filter(|bill| bill.sent_at >= since.millis()).filter(|bill| self.is_live(payer, bill));
        sent.map(|bill| SentPayment {
            hash: bill.invoice.payment_hash,
            amount: bill.invoice.amount,
            at: Timestamp::from_secs(bill.sent_at / 1_000),
        })
        .collect()
    }

    /// What is held for a payee's jobs.
    pub(crate) fn held(&self, payee: usize) -> Vec<HeldPayment> {
        let bills = self.bills.values().filter(|bill| {
            let in_hand = bill.ecash.as_ref().is_none_or(|lock| lock.accepted && !lock.left_alone);
            bill.payee == payee && bill.stage == Stage::Held && in_hand
        });
        let held = bills.filter_map(|bill| {
            let InvoiceFor::Quote(job) = bill.purpose else { return None };
            Some(HeldPayment { hash: bill.invoice.payment_hash, amount: bill.invoice.amount, job })
        });
        let mut held: Vec<_> = held.collect();
        held.sort_unstable_by_key(|payment| payment.hash);
        held
    }

    /// Whether a payment has arrived or may yet.
    pub(crate) fn is_live(&self, payer: usize, bill: &Bill) -> bool {
        let state = self.outgoing(payer, bill.invoice.payment_hash);
        matches!(state, Outgoing::Pending | Outgoing::Settled { .. })
    }

    /// Money neither in a balance nor spent: locked or under way.
    pub(crate) fn in_flight(&self) -> u64 {
        let flying = |bill: &&Bill| bill.arrives.is_some() || bill.stage == Stage::Held;
        self.bills.values().filter(flying).map(|bill| bill.invoice.amount.get()).sum()
    }

    pub(crate) fn assert_conserved(&self) {
        let sum: u64 = self.balances.iter().sum();
        assert_eq!(sum + self.in_flight(), self.issued, "the bank itself lost money");
    }
}
