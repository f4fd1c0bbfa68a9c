//! The laws that hold in every world, once everything has come to rest.

use std::collections::HashMap;

use openagents_engine::{
    Ask, BalanceEntry, Change, Direction, Incoming, InvoiceFor, Movement, TransferState,
    customer::{AskOutcome, Money, Phase, Reclaim},
    job::{Outcome, State},
};
use openagents_types::{ContentHash, JobId, Msat, PaymentHash};

use super::{FUNDS, World, provider_key};
use crate::bank::{Bill, Stage};

impl World {
    /// The laws, after everything has come to rest.
    pub(super) fn assert_all_is_well(&mut self) {
        for (hash, times) in &self.sent {
            assert_eq!(*times, 1, "payment {hash} was sent {times} times");
        }
        assert_eq!(self.bank.in_flight(), 0, "money is still locked or under way");
        if self.weather.restores() {
            return self.assert_books_are_true();
        }
        for index in 0..self.nodes.len() {
            let moved = i64::try_from(self.bank.balances[index]).unwrap() - i64::try_from(FUNDS).unwrap();
            let gifts = self.gifts_to(index);
            self.report.gifts += u64::from(gifts > 0);
            let node = &self.nodes[index];
            assert_eq!(
                node.disk.net() + gifts,
                moved,
                "node {index}: its books do not say what its wallet holds: {:#?} {:#?}",
                node.disk,
                self.bank
            );
            for job in node.disk.jobs.values() {
                assert!(job.is_over(), "provider {index} never finished with {job:#?}");
            }
            for ask in node.disk.asks.values() {
                // A dropped claim lives as long as its invoice, which may be longer than the world.
                let is_done = Ask { dropped: Vec::new(), ..ask.clone() }.is_over();
                assert!(is_done, "customer {index} never finished with {ask:#?}");
                assert!(ask.paid() <= ask.spec.bid || ask.attempts.len() > 1, "more was paid than bid");
                self.report.second_attempts += u64::from(ask.attempts.len() > 1);
                if matches!(ask.phase, Phase::Closed { outcome: AskOutcome::Delivered }) {
                    self.report.delivered += 1;
                    assert!(node.disk.contents.contains_key(&ask.id), "delivered, but there is no content");
                } else {
                    assert_eq!(
                        ask.paid(),
                        Msat::ZERO,
                        "an orphan: paid, not delivered, not refunded: {ask:#?}"
                    );
                }
            }
            for transfer in node.disk.transfers.values() {
                assert!(transfer.state.is_final(), "node {index} never finished with {transfer:#?}");
                let bill = &self.bank.bills[&transfer.hash()];
                let arrived = bill.stage == Stage::Settled
                    && (transfer.direction == Direction::In || bill.payer == Some(index));
                let says = matches!(transfer.state, TransferState::Settled { .. });
                assert_eq!(says, arrived, "node {index}: {transfer:#?} {bill:#?}");
                self.report.returned += u64::from(matches!(transfer.state, TransferState::Returned { .. }));
            }
            self.report.sent += node.disk.count(Movement::Sent);
            self.report.refunds += node.disk.count(Movement::RefundPaid);
            self.report.to_address +=
                node.disk.asks.values().filter(|ask| went_elsewhere(ask)).count() as u64;
        }
        let by_ecash = |bill: &&Bill| bill.ecash.is_some() && bill.stage == Stage::Settled;
        self.report.by_ecash = self.bank.bills.values().filter(by_ecash).count() as u64;
        self.assert_sellers_were_paid();
        self.assert_balances_are_backed();
        self.assert_limits_held();
        self.assert_receipts_are_true();
        self.assert_zaps_count_once();
    }

    /// What a provider took and did not pay back, it has earned by delivering, or keeps for its customers.
    fn assert_balances_are_backed(&mut self) {
        for (index, node) in self.nodes.iter().enumerate().take(self.providers) {
            let earned: u64 = node
                .disk
                .jobs
                .values()
                .filter_map(|job| match &job.state {
                    State::Closed { outcome: Outcome::Settled { paid }, .. } => Some(paid.get()),
                    _ => None,
                })
                .sum();
            let sum = |movement| {
                let of = node.disk.entries.iter().filter(|entry| entry.movement == movement);
                of.map(|entry| i64::try_from(entry.amount.get()).unwrap()).sum::<i64>()
            };
            let took = sum(Movement::Earned) - sum(Movement::RefundPaid);
            let kept = node.disk.all_balances();
            let bills =
                node.disk.jobs.values().filter(|job| job.bill.is_some() && job.state.word() == "settled");
            self.report.billed += bills.count() as u64;
            let unused = self.unused_of(index);
            self.report.unused += u64::from(unused > 0);
            let earned = i64::try_from(earned - unused).unwrap();
            assert_eq!(earned + kept, took, "provider {index}: {:#?}", node.disk);
            let count =
                |change| node.disk.balances.iter().filter(|entry| entry.change == change).count() as u64;
            self.report.unpaid += count(Change::Unpaid);
            self.report.paid_late += count(Change::PaidLate);
            self.report.credited += count(Change::Credited);
            self.report.used += count(Change::Used);
            self.report.given_back += count(Change::GivenBack);
            self.report.claimed += count(Change::Claimed);
        }
    }

    /// What a provider's jobs did not use of their prices: once each, of jobs that are settled, and as it was said.
    fn unused_of(&self, index: usize) -> u64 {
        let disk = &self.nodes[index].disk;
        let rows = disk.balances.iter().filter(|entry| entry.change == Change::Unused);
        let mut of: HashMap<JobId, Msat> = HashMap::new();
        for entry in rows {
            assert!(of.insert(entry.job, entry.amount).is_none(), "given back twice for {}", entry.job);
            let job = &disk.jobs[&entry.job];
            let is_sound = matches!(
                &job.state,
                State::Closed { outcome: Outcome::Settled { paid }, .. } if *paid >= entry.amount
            );
            assert!(is_sound, "{} given back of {job:#?}", entry.amount);
        }
        let delivered_by_us =
            |ask: &&Ask| ask.delivery.as_ref().is_some_and(|by| by.provider == provider_key(index));
        for ask in self.nodes.iter().flat_map(|node| node.disk.asks.values()).filter(delivered_by_us) {
            let said = |amount| ask.kept.iter().any(|kept| !kept.used && kept.amount == amount);
            // Whoever has not heard that the job ran from its balance believes no word on that.
            let knows = !ask.attempts.is_empty() || ask.kept.iter().any(|kept| kept.used);
            let is_said = of.get(&ask.id).is_none_or(|amount| !knows || said(*amount));
            assert!(is_said, "given back without a word: {ask:#?}");
        }
        of.values().map(|amount| amount.get()).sum()
    }

    /// Every receipt is of a settled job and says what the books say; what a customer agreed to is what it
    /// knows, and it disputes nothing that is so.
    fn assert_receipts_are_true(&mut self) {
        for (index, node) in self.nodes.iter().enumerate() {
            self.report.receipts += node.disk.issued.len() as u64;
            for (id, receipt) in &node.disk.issued {
                let job = &node.disk.jobs[id];
                let settled = matches!(
                    &job.state,
                    State::Closed { outcome: Outcome::Settled { paid }, hash }
                        if *paid == receipt.price && *hash == receipt.payment_hash
                );
                assert!(settled, "provider {index} gave a receipt for {job:#?}: {receipt:#?}");
                let earned = |entry: &&openagents_engine::Entry| {
                    // What came over another rail besides went back.
                    entry.job == *id
                        && entry.movement == Movement::Earned
                        && Some(entry.hash) == receipt.payment_hash
                };
                let earned: Msat = node.disk.entries.iter().filter(earned).map(|entry| entry.amount).sum();
                let over = self.zapped_over(index, *id, receipt.payment_hash);
                assert_eq!(
                    earned,
                    receipt.price.saturating_add(over),
                    "a receipt for more or less than was earned"
                );
                assert_eq!(receipt.fault(), None);
                assert_eq!(receipt.result_sha256, ContentHash::of(format!("done by {index}").as_bytes()));
                assert_eq!(receipt.customer, self.requests[id].customer);
            }
            for (id, (receipt, dispute)) in &node.disk.received {
                let said = self
                    .receipts
                    .get(&(*id, receipt.provider))
                    .is_some_and(|all| all.iter().any(|(_, said)| said == receipt));
                // Whoever did not zap knows nothing of it.
                let zapped = receipt.payment_hash.is_some_and(|hash| self.zaps.contains_key(&hash));
                assert!(zapped || dispute.is_none() == said, "customer {index}: {dispute:?} of {receipt:#?}");
                self.report.disputed += u64::from(dispute.is_some());
                if dispute.is_none() {
                    self.report.countersigned += 1;
                    assert_eq!(node.disk.asks[id].paid(), receipt.price);
                }
            }
            let delivered =
                |ask: &&Ask| matches!(ask.phase, Phase::Closed { outcome: AskOutcome::Delivered });
            let asks = node.disk.asks.values().filter(delivered);
            self.report.paid += asks.filter(|ask| !ask.paid().is_zero()).count() as u64;
        }
    }

    /// Books that lost a part of their history cannot say all that the wallet holds. What they say is true
    /// all the same, and whoever lost nothing knows everything.
    fn assert_books_are_true(&mut self) {
        self.report.lapses += self.bank.lapses;
        for (index, node) in self.nodes.iter().enumerate() {
            self.report.doubted +=
                node.disk.asks.values().filter(|ask| !ask.doubts.is_empty()).count() as u64;
            self.report.doubted +=
                node.disk.jobs.values().filter(|job| !job.doubts.is_empty()).count() as u64;
            self.report.delivered += node.disk.contents.len() as u64;
            for entry in &node.disk.entries {
                let bill = &self.bank.bills[&entry.hash];
                assert_eq!((bill.stage, bill.invoice.amount), (Stage::Settled, entry.amount), "{entry:?}");
                let ours = if entry.movement.adds() { Some(bill.payee) } else { bill.payer };
                assert_eq!(ours, Some(index), "{entry:?}");
            }
            let moved = i64::try_from(self.bank.balances[index]).unwrap() - i64::try_from(FUNDS).unwrap();
            let gifts = if node.restored { 0 } else { self.gifts_to(index) };
            let (knows, disk, bank) = (node.disk.net() + gifts, &node.disk, &self.bank);
            assert!(
                node.restored || knows == moved,
                "node {index} lost nothing and knows less: {knows} of {moved}, {disk:#?} {bank:#?}"
            );
        }
        self.assert_nothing_is_both_paid_back_and_delivered();
    }

    /// A provider that delivered and was paid pays nothing back, and nobody is paid back more than came.
    fn assert_nothing_is_both_paid_back_and_delivered(&self) {
        for refund in self.bank.bills.values().filter(|bill| bill.stage == Stage::Settled) {
            let InvoiceFor::Refund { job, paid } = refund.purpose else { continue };
            assert_eq!(self.bank.bills[&paid].stage, Stage::Settled, "{job} was paid back and never paid");
        }
    }

    /// Nothing is paid for a job while an earlier payment for it may have arrived, and nothing is paid back more often
    /// than it came: whatever the node remembers.
    pub(super) fn assert_only_payment(&self, payer: usize, hash: PaymentHash) {
        let job = |bill: &Bill| match bill.purpose {
            InvoiceFor::Quote(job) => (job, false),
            InvoiceFor::Refund { job, .. } => (job, true),
        };
        let (id, is_refund) = job(&self.bank.bills[&hash]);
        // Whoever pays for somebody else's job by hand may do so again.
        if !is_refund && self.owners.get(&id) != Some(&payer) {
            return;
        }
        let others = self.bank.bills.values().filter(|bill| {
            bill.payer == Some(payer) && job(bill) == (id, is_refund) && bill.invoice.payment_hash != hash
        });
        let is_given = |bill: &&Bill| bill.ecash.as_ref().is_none_or(|lock| lock.handed_over);
        let live: Vec<_> = others.filter(is_given).filter(|bill| self.bank.is_live(payer, bill)).collect();
        // A job that was paid on both rails and failed is paid back twice.
        let came =
            |bill: &&Bill| bill.payee == payer && job(bill) == (id, false) && bill.stage == Stage::Settled;
        let most = if is_refund { self.bank.bills.values().filter(came).count() } else { 1 };
        assert!(live.len() < most, "node {payer} pays {id} once too often: {hash}, {live:?}");
    }

    /// No customer spent more than its day allows; a world ends on the day it began.
    fn assert_limits_held(&self) {
        for (index, node) in self.nodes.iter().enumerate() {
            let Some(limit) = node.day_limit else { continue };
            let paid = |bill: &&Bill| bill.payer == Some(index) && bill.stage == Stage::Settled;
            let spent: Msat = self.bank.bills.values().filter(paid).map(|bill| bill.invoice.amount).sum();
            assert!(spent <= limit, "customer {index} spent {spent} of {limit}");
        }
    }

    /// A provider that delivered has its money, unless the hold lapsed while it was down.
    fn assert_sellers_were_paid(&self) {
        for (index, node) in self.nodes.iter().enumerate().take(self.providers) {
            for job in node.disk.jobs.values() {
                if let State::Closed { outcome: Outcome::Settled { paid }, hash } = &job.state {
                    let earned = hash.map(|hash| self.bank.incoming(self.time(), hash));
                    let used = |entry: &BalanceEntry| entry.job == job.id() && entry.change == Change::Used;
                    let begun_from_balance = hash.is_none() && node.disk.balances.iter().any(used);
                    let over = self.zapped_over(index, job.id(), *hash);
                    let expected = (!paid.is_zero() && !begun_from_balance)
                        .then_some(Incoming::Settled { amount: paid.saturating_add(over) });
                    assert_eq!(earned, expected, "provider {index} believes it was paid for {}", job.id());
                }
            }
        }
    }
}

fn went_elsewhere(ask: &Ask) -> bool {
    let elsewhere = |money: &Money| matches!(money, Money::Settled { reclaim: Reclaim::Elsewhere, .. });
    ask.attempts.iter().any(|attempt| elsewhere(&attempt.money))
}
