//! Which way an offer is paid: its invoice, or ecash that both sides' wallets know.
//!
//! What can be locked until delivery is preferred, so that a provider that fails has nothing of ours. An invoice that
//! can be held goes before ecash, because it comes back at once and ecash only when its lock ends. The choice is
//! written down with the attempt before anything is locked. The wallet gives the same token however often it is
//! asked for the same hash, so a crash between locking and handing over is made up for by asking again.

use openagents_types::{
    Draft, EcashAsk, EcashToken, LOCK_MARGIN, Msat, PaymentHash, Quote, Rail, ReleasedEcash, Terms, Timestamp,
};

use super::{Ask, Attempt, CustomerDesk, Money, Phase, money::wants_payment};
use crate::{Action, Actions, Entry, Movement, Record};

impl CustomerDesk {
    /// The way that an offer is paid, should it be chosen.
    pub(crate) fn rail_for(&self, now: Timestamp, quote: &Quote) -> Rail {
        match &quote.ecash {
            Some(ask) if quote.terms == Terms::Prepaid && self.can_lock(now, ask) => Rail::Cashu,
            _ => Rail::Bolt11,
        }
    }

    /// Whether ecash can be locked as asked: at a mint that our wallet has, and not for longer than any job takes.
    fn can_lock(&self, now: Timestamp, ask: &EcashAsk) -> bool {
        let name = |mint: &str| mint.trim_end_matches('/').to_owned();
        let known = |mint: &String| self.config.mints.iter().any(|own| name(own) == name(mint));
        let lasts =
            ask.deadline() > now.after(LOCK_MARGIN) && ask.locktime <= now.after(self.config.longest_lock);
        lasts && ask.mints.iter().any(known)
    }

    /// When the provider has the money of an offer, if it is chosen.
    pub(crate) fn terms_for(&self, now: Timestamp, quote: &Quote) -> Terms {
        match self.rail_for(now, quote) {
            Rail::Bolt11 => quote.terms,
            Rail::Cashu => Terms::Escrow,
        }
    }

    /// An offer without the ecash, if that has the name of another payment: a payment hash serves one job.
    pub(crate) fn without_taken_ecash(&self, mut quote: Quote) -> Quote {
        let taken = |ask: &EcashAsk| ask.hash == quote.invoice.payment_hash || self.has_in_hand(ask.hash);
        if quote.ecash.as_ref().is_some_and(taken) {
            quote.ecash = None;
        }
        quote
    }

    /// The wallet has locked the ecash of a payment: the provider is given it, if its work is still wanted. If not,
    /// it comes back when its lock ends.
    pub(crate) fn locked(&mut self, now: Timestamp, hash: PaymentHash, token: EcashToken, out: &mut Actions) {
        let Some(mut ask) = self.payments.get(&hash).copied().and_then(|id| self.take(id)) else { return };
        let found = ask.attempts.iter().position(|attempt| attempt.hash() == hash);
        let Some(index) = found.filter(|index| ask.attempts[*index].rail == Rail::Cashu) else {
            return self.put(ask);
        };
        let is_out = matches!(ask.attempts[index].money, Money::Pending | Money::Doubtful);
        if ask.attempts[index].handed_over || !is_out || !wants_payment(&ask, index) {
            return self.put(ask);
        }
        let provider = ask.attempts[index].quote.provider;
        out.publish(ask.id, Draft::Ecash { provider, hash, token });
        ask.attempts[index].handed_over = true;
        ask.attempts[index].money = Money::Pending;
        self.keep(now, ask, out);
    }

    /// A provider gives up the ecash that it was handed: it is taken back at once.
    pub(crate) fn take_back(&self, released: &ReleasedEcash, out: &mut Actions) {
        let Some(ask) = self.payments.get(&released.hash).and_then(|id| self.asks.get(id)) else { return };
        let is_it = |attempt: &Attempt| {
            attempt.hash() == released.hash
                && attempt.rail == Rail::Cashu
                && attempt.quote.provider == released.provider
                && matches!(attempt.money, Money::Pending | Money::Doubtful)
        };
        if ask.attempts.iter().any(is_it) {
            let (hash, release) = (released.hash, released.release.clone());
            out.push(Action::TakeBackEcash { hash, release });
        }
    }

    /// Books what it cost to lock ecash that came back. What is paid has its fee with the proof.
    pub(crate) fn book_lock(&self, now: Timestamp, hash: PaymentHash, fee: Msat, out: &mut Actions) {
        let Some(ask) = self.payments.get(&hash).and_then(|id| self.asks.get(id)) else { return };
        let locked = |attempt: &Attempt| attempt.hash() == hash && attempt.rail == Rail::Cashu;
        if !fee.is_zero() && ask.attempts.iter().any(locked) {
            let (job, movement) = (ask.id, Movement::Fee);
            out.save(Record::Entry(Entry { at: now, job, hash, movement, amount: fee }));
        }
    }

    /// Ecash could not be locked for the offer in hand, and its provider was given none: its invoice is paid, if
    /// that still stands and may be.
    pub(crate) fn fall_back(&mut self, now: Timestamp, ask: &mut Ask, out: &mut Actions) -> bool {
        let Some(attempt) = ask.current().filter(|attempt| attempt.rail == Rail::Cashu) else { return false };
        if attempt.handed_over || ask.phase != Phase::Waiting || self.may_be_paid(ask) {
            return false;
        }
        let quote = Quote { ecash: None, ..attempt.quote.clone() };
        if self.payments.get(&quote.invoice.payment_hash).is_some_and(|job| *job != ask.id) {
            return false;
        }
        let stands = quote.expires_at.min(quote.invoice.expires_at) >= now.after(self.config.quote_margin);
        if !stands
            || self.over_trust(now, &quote).is_some()
            || self.over_budget(now, ask, quote.price).is_some()
        {
            return false;
        }
        self.begin(now, ask, quote, out);
        true
    }

    /// The wallet has paid an offer in hand on its other rail: before these records were restored it fell back to that.
    pub(crate) fn paid_on_other_rail(
        &mut self,
        now: Timestamp,
        mut ask: Ask,
        hash: PaymentHash,
        out: &mut Actions,
    ) {
        match ask.offer_of(hash) {
            Some((quote, rail)) => {
                self.own_up(now, &mut ask, quote, rail, out);
                self.keep(now, ask, out);
            }
            None => self.put(ask),
        }
    }

    /// Takes an offer, and has it paid.
    pub(crate) fn begin(&mut self, now: Timestamp, ask: &mut Ask, quote: Quote, out: &mut Actions) {
        let rail = self.rail_for(now, &quote);
        self.commit(now, ask, Attempt::new(quote, rail, now), out);
        if let Some(attempt) = ask.current() {
            out.push(attempt.payment(ask.options.max_fee, true));
        }
    }
}

impl Ask {
    /// The offer that a payment pays, of those that lie before us or were taken on another rail; and which way it does.
    pub(crate) fn offer_of(&self, hash: PaymentHash) -> Option<(Quote, Rail)> {
        let taken = self.attempts.iter().map(|attempt| &attempt.quote);
        self.quotes.iter().chain(taken).find_map(|quote| {
            let (rail, ..) = quote.rails().find(|(_, name, _)| *name == hash)?;
            Some((quote.clone(), rail))
        })
    }
}

impl Attempt {
    /// What its payment was asked with: an invoice, or a request for ecash.
    pub fn asked(&self) -> &str {
        match (self.rail, &self.quote.ecash) {
            (Rail::Cashu, Some(ask)) => &ask.request,
            (Rail::Bolt11, _) | (Rail::Cashu, None) => &self.quote.invoice.bolt11,
        }
    }

    /// What pays it.
    pub(crate) fn payment(&self, max_fee: Msat, first: bool) -> Action {
        match (self.rail, &self.quote.ecash) {
            (Rail::Cashu, Some(ask)) => {
                Action::LockEcash { ask: ask.clone(), amount: self.quote.price, max_fee, first }
            }
            (Rail::Bolt11, _) | (Rail::Cashu, None) => {
                Action::Pay { invoice: self.quote.invoice.clone(), max_fee, first }
            }
        }
    }
}
