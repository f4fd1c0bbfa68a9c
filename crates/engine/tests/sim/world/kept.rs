//! What happens to refunds and bills: addresses that are asked, customers that are away, and what must hold of balances
//! after every step.

use openagents_engine::{Input, InvoiceFor, Job, Record, job::State};
use openagents_types::{JobId, JobResult, Millis, Msat, Timestamp};

use super::{CALM_FROM, CREDIT, World, steady_key};
use crate::bank::Wanted;

impl World {
    /// The server of an address: it may be silent, refuse, or make another invoice than it was asked for.
    pub(super) fn ask_address(&mut self, node: usize, delay: u64, job: JobId, amount: Msat) {
        if self.trouble(20) {
            return;
        }
        let outcome = if self.trouble(20) {
            Err("no answer".into())
        } else {
            let amount = if self.trouble(20) { Msat::new(amount.get() + 1) } else { amount };
            let paid = self.nodes[node].disk.jobs[&job].state.hash().unwrap();
            let purpose = InvoiceFor::Refund { job, paid };
            let wanted = Wanted { amount, lifetime: Millis(60_000), hold: None, purpose };
            let (time, payee) = (self.time(), self.nodes.len());
            Ok(self.bank.make(&mut self.rng, time, payee, wanted))
        };
        self.answer(node, delay, Input::AddressAnswered { job, outcome });
    }

    /// No customer has more unpaid work than its credit.
    pub(super) fn assert_credit_is_limited(&self, node: usize) {
        let disk = &self.nodes[node].disk;
        for customer in (self.providers..self.nodes.len()).map(steady_key) {
            // One that is over may owe what it was zapped with besides.
            let is_open = |job: &&Job| {
                !matches!(
                    job.state,
                    State::RefundOwed { .. } | State::Refunding { .. } | State::Closed { .. }
                )
            };
            let of = disk.jobs.values().filter(|job| job.request.customer == customer).filter(is_open);
            let open: u64 = of.filter_map(|job| job.bill.as_ref()).map(|bill| bill.amount().get()).sum();
            let had = i64::try_from(open).unwrap() + disk.debt(customer);
            assert!(had <= i64::try_from(CREDIT.get()).unwrap(), "provider {node} gave {had} on credit");
        }
    }

    /// Whether the result of a job does not reach its customer, however often it is sent.
    pub(super) fn is_lost(&self, result: &JobResult) -> bool {
        let in_storm = result.created_at < Timestamp::from_millis(CALM_FROM);
        in_storm && result.job.as_bytes()[3].is_multiple_of(16)
    }

    pub(super) fn is_away(&self, job: JobId) -> bool {
        self.weather.keeps_balances() && self.stormy() && !job.as_bytes()[2].is_multiple_of(4)
    }

    /// What the driver looks up: a claim may be for a refund that became a balance long ago.
    pub(super) fn recall_credited(&mut self, node: usize, id: JobId) {
        let time = self.time();
        let Some(job) = self.nodes[node].disk.jobs.get(&id).cloned() else { return };
        if job.is_credited()
            && let Some(engine) = &mut self.nodes[node].engine
        {
            engine.handle(time, Input::Recall(Box::new(Record::Job(Box::new(job)))));
        }
    }

    /// What an engine has in mind of its balances is what the rows say.
    pub(super) fn assert_balances_agree(&self, node: usize) {
        let Some(engine) = &self.nodes[node].engine else { return };
        for customer in (self.providers..self.nodes.len()).map(steady_key) {
            let kept = i64::try_from(engine.balance(customer).get()).unwrap();
            assert_eq!(kept, self.nodes[node].disk.balance(customer), "provider {node} and its rows");
        }
    }
}
