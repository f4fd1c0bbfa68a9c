//! Zaps in the worlds: who zaps what, when a provider is told, what is made up, and what has to come of it.

use openagents_engine::{
    Change, Direction, Input, InvoiceFor, Movement, Transfer, Zapped,
    job::{Outcome, State},
    zap::ZapState,
};
use openagents_types::{CustomerKey, Draft, JobId, Millis, Msat, PaymentHash};

use super::{CALM_FROM, Event, Word, World, provider_key};
use crate::{
    bank::{Stage, Wanted},
    node::Node,
    weather::Weather,
};

/// How many receipts of one job a provider is told at most: as many as it keeps of one key.
const MOST: usize = 4;

impl World {
    /// Somebody zaps a request that no provider has answered.
    pub(super) fn zap_unseen(&mut self, job: JobId) {
        if self.weather.has_zaps() && self.trouble(15) {
            let node = self.rng.between(0, self.providers as u64 - 1) as usize;
            let price = Msat::new(self.rng.between(500, 25_000));
            self.zap(node, job, price);
        }
    }

    /// Somebody zaps what a provider says.
    pub(super) fn zap_seen(&mut self, node: usize, job: JobId, draft: &Draft) {
        if !self.weather.has_zaps() {
            return;
        }
        match draft {
            Draft::Quote { invoice, .. } if self.trouble(50) => {
                self.zap(node, job, invoice.amount);
                if self.trouble(20) {
                    self.zap(node, job, invoice.amount);
                }
            }
            Draft::Result { .. } | Draft::Bill { .. } | Draft::Notice(_) if self.trouble(5) => {
                let price = Msat::new(self.rng.between(500, 25_000));
                self.zap(node, job, price);
            }
            _ => {}
        }
    }

    /// Somebody else than the customer zaps, or only says so; its own node has the payment in its books.
    fn zap(&mut self, node: usize, job: JobId, price: Msat) {
        let of = |zapped: &&(usize, JobId)| **zapped == (node, job);
        if self.zaps.values().filter(of).count() >= MOST {
            return;
        }
        let amount = match self.rng.between(0, 9) {
            0 | 1 => Msat::new(price.get() / 2 + 1),
            2 => Msat::new(price.get() + self.rng.between(1, 1_000)),
            _ => price,
        };
        let pays = self.rng.between(1, 3_000);
        let hash = if self.rng.chance(15) {
            self.report.made_up += 1;
            PaymentHash::from_bytes(self.rng.bytes())
        } else {
            self.pay_zap(node, job, amount, pays)
        };
        self.zaps.insert(hash, (node, job));
        let by =
            if self.rng.chance(50) { self.requests[&job].customer } else { CustomerKey::from_bytes([8; 32]) };
        let told = match self.rng.between(0, 9) {
            // Before it is paid: an address's server may lie.
            0 => self.rng.between(1, pays),
            1 => pays + self.rng.between(20_000, 200_000),
            _ => pays + self.rng.between(10, 3_000),
        };
        let at = self.time().after(Millis(told));
        let zapped = Zapped { job, hash, amount, bolt11: format!("lnbcrt{hash}"), by, at };
        self.report.zapped += 1;
        // Nobody's node: a receipt reaches every provider.
        let word = Box::new(Word::Zap { to: provider_key(node), zapped });
        self.at(told, Event::Say { node: self.nodes.len(), word });
    }

    /// Whether providers void offers that their customers are about to pay: of jobs that somebody zapped, and when they
    /// are stopped.
    pub(super) fn withdraws_offers(&self) -> bool {
        self.weather.has_zaps() || self.weather == Weather::Shifts
    }

    fn pay_zap(&mut self, node: usize, job: JobId, amount: Msat, delay: u64) -> PaymentHash {
        let owner = self.owners[&job];
        let others: Vec<usize> =
            (0..self.nodes.len()).filter(|other| *other != node && *other != owner).collect();
        let payer = others[self.rng.between(0, others.len() as u64 - 1) as usize];
        let purpose = InvoiceFor::Quote(job);
        let wanted = Wanted { amount, lifetime: Millis(60_000), hold: None, purpose };
        let time = self.time();
        let invoice = self.bank.make(&mut self.rng, time, node, wanted);
        let hash = invoice.payment_hash;
        let transfer = Transfer::new(invoice, Direction::Out, "a zap".into(), time.after(Millis(delay)));
        let input = Box::new(Input::Transfer(Box::new(transfer)));
        self.at(delay, Event::Hear { node: payer, life: None, input });
        hash
    }

    /// A receipt came before its job: the driver keeps it for a while.
    pub(super) fn tell_again(&mut self, node: usize, word: usize) {
        if self.now < CALM_FROM + 60_000 {
            self.at(2_000, Event::Deliver { node, word });
        }
    }

    /// What of a job's payment is more than its price, if it was zapped.
    pub(super) fn zapped_over(&self, node: usize, job: JobId, hash: Option<PaymentHash>) -> Msat {
        if !hash.is_some_and(|hash| self.zaps.contains_key(&hash)) {
            return Msat::ZERO;
        }
        let rows = self.nodes[node].disk.balances.iter();
        rows.filter(|row| row.job == job && row.change == Change::Overpaid).map(|row| row.amount).sum()
    }

    /// Zaps in a wallet that are in no book: of jobs that were never taken up, or that were delivered before the zap was
    /// heard of, or at a provider that takes none.
    pub(super) fn gifts_to(&self, node: usize) -> i64 {
        let disk = &self.nodes[node].disk;
        let arrived = |hash: &PaymentHash| {
            self.bank
                .bills
                .get(hash)
                .filter(|bill| bill.stage == Stage::Settled)
                .map(|bill| bill.invoice.amount)
        };
        let mut gifts = 0;
        for (hash, (_, job)) in self.zaps.iter().filter(|(_, (to, _))| *to == node) {
            let Some(amount) = arrived(hash) else { continue };
            if disk.payments.contains_key(hash) {
                continue;
            }
            let takes = self.nodes[node].config.provider.as_ref().is_some_and(|provider| provider.zaps);
            let settled =
                |state: &State| matches!(state, State::Closed { outcome: Outcome::Settled { .. }, .. });
            let is_gift = disk.jobs.get(job).is_none_or(|job| settled(&job.state));
            assert!(
                !takes || is_gift,
                "provider {node} ignored {amount} of {hash} for {:#?}",
                disk.jobs.get(job)
            );
            gifts += i64::try_from(amount.get()).unwrap();
        }
        gifts
    }

    /// What was made up moves nothing, and what came is booked once: it carried its job, or went back, or is kept for the
    /// customer.
    pub(super) fn assert_zaps_count_once(&mut self) {
        for (index, node) in self.nodes.iter().enumerate().take(self.providers) {
            for job in node.disk.jobs.values() {
                for zap in &job.zaps {
                    let bill = self.bank.bills.get(&zap.hash).filter(|bill| bill.stage == Stage::Settled);
                    let booked = node.disk.entries.iter().filter(|entry| entry.hash == zap.hash);
                    let booked: Vec<_> = booked.map(|entry| (entry.movement, entry.amount)).collect();
                    let came = bill.map(|bill| (Movement::Earned, bill.invoice.amount));
                    assert_eq!(booked, came.into_iter().collect::<Vec<_>>(), "provider {index}: {job:#?}");
                    let expected = if bill.is_some() { ZapState::Came } else { ZapState::Over };
                    assert_eq!(zap.state, expected, "provider {index}: {job:#?}");
                    let carries = job.state.hash() == Some(zap.hash);
                    let settled = matches!(job.state, State::Closed { outcome: Outcome::Settled { .. }, .. });
                    self.report.by_zap += u64::from(carries && settled);
                    self.report.zaps_back += u64::from(bill.is_some() && !(carries && settled));
                }
            }
        }
    }
}

/// Lets providers take zaps, but for some.
pub(super) fn with_zaps(nodes: &mut [Node], seed: u64, weather: Weather) {
    let providers = nodes.iter_mut().filter_map(|node| node.config.provider.as_mut());
    for (index, provider) in providers.enumerate() {
        provider.zaps = index > 0 || !seed.is_multiple_of(5);
        // Whoever was zapped for claims nothing by itself.
        if !weather.keeps_balances() {
            provider.credit_after = Some(Millis::from_secs(900));
        }
    }
}
