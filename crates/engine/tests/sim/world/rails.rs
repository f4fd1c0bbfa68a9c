//! The second rail in the worlds: who has ecash, what wallets do with it, and what goes wrong between two people.

use openagents_engine::{Direction, Input, InvoiceFor, Outgoing, Transfer};
use openagents_types::{EcashAsk, EcashToken, JobId, Millis, Msat, PaymentHash, ProviderKey};

use super::{CALM_FROM, Event, Word, World, provider_key};
use crate::{
    bank::{Bill, MINT, Stage, Wanted},
    node::Node,
    rng::Rng,
};

impl World {
    pub(super) fn lock(&mut self, node: usize, ask: &EcashAsk, amount: Msat, first: bool) -> Option<Input> {
        let hash = ask.hash;
        let known = self.bank.outgoing(node, hash) != Outgoing::Unknown;
        assert!(!(first && known && !self.nodes[node].restored), "ecash was locked unasked");
        // A mint that does not answer, or has too little of ours.
        let time = self.time();
        let locked = if !known && self.trouble(10) { None } else { self.bank.lock(time, node, ask, amount) };
        let Some(token) = locked else {
            if known {
                return Some(self.word_on_outgoing(node, hash));
            }
            return Some(Input::Outgoing {
                hash,
                state: Outgoing::Failed { reason: "too little there".into() },
            });
        };
        if !known {
            *self.sent.entry(hash).or_default() += 1;
            self.report.locked += 1;
        }
        Some(Input::Locked { hash, token })
    }

    pub(super) fn accept(&mut self, node: usize, hash: PaymentHash, token: &EcashToken) -> Option<Input> {
        match self.bank.accept(self.time(), node, hash, token) {
            Ok(()) => Some(self.word_on_incoming(hash)),
            Err(reason) => {
                self.report.tokens_refused += 1;
                Some(Input::TokenRefused { hash, reason: reason.into() })
            }
        }
    }

    /// Somebody pays the invoice of a job for which ecash is on its way: the other way of the same offer.
    pub(super) fn pay_the_other_way(&mut self, by: ProviderKey, job: JobId) {
        let owner = self.owners.get(&job).copied();
        let others = |node: &usize| provider_key(*node) != by && Some(*node) != owner;
        let offered = self.words.iter().find_map(|(_, word)| match word {
            Word::Quote(quote) if (quote.job, quote.provider) == (job, by) => Some(quote.invoice.clone()),
            _ => None,
        });
        let (Some(invoice), Some(payer)) = (offered, (0..self.nodes.len()).find(others)) else { return };
        let transfer = Transfer::new(invoice, Direction::Out, "the other way".into(), self.time());
        let delay = self.rng.between(1, 5_000);
        self.at(
            delay,
            Event::Hear { node: payer, life: None, input: Box::new(Input::Transfer(Box::new(transfer))) },
        );
    }

    /// The customer of a job that somebody else paid as well claims that money, unless it claims by itself: word of a
    /// debt makes it give up on the provider, and claim what it paid with ecash.
    pub(super) fn claim_by_hand(&mut self, node: usize, job: JobId, owed: PaymentHash, amount: Msat) {
        let owner = self.owners[&job];
        let by_another = |bill: &&Bill| {
            bill.purpose == InvoiceFor::Quote(job)
                && bill.payee == node
                && bill.stage == Stage::Settled
                && bill.payer != Some(owner)
                // A job may be zapped more than once.
                && (!self.weather.has_zaps() || bill.invoice.payment_hash == owed)
        };
        let Some(paid) = self.bank.bills.values().find(by_another).map(|bill| bill.invoice.payment_hash)
        else {
            return;
        };
        let purpose = InvoiceFor::Refund { job, paid };
        let wanted = Wanted { amount, lifetime: Millis::from_secs(1_200), hold: None, purpose };
        let time = self.time();
        let invoice = self.bank.make(&mut self.rng, time, owner, wanted);
        let hash = invoice.payment_hash;
        let transfer = Transfer::new(invoice, Direction::In, "a refund".into(), time);
        let input = Box::new(Input::Transfer(Box::new(transfer)));
        // Its owner writes down what is coming before anybody can pay it, once no process dies any more.
        self.at(CALM_FROM.saturating_sub(self.now) + 25_000, Event::Hear { node: owner, life: None, input });
        let by = self.requests[&job].customer;
        self.at(
            CALM_FROM.saturating_sub(self.now) + 40_000,
            Event::Say { node: owner, word: Box::new(Word::Claim { job, by, to: provider_key(node), hash }) },
        );
        self.report.paid_twice += 1;
    }
}

/// Gives some of the nodes ecash: providers that take it, mostly such as cannot lock invoices, and customers that
/// have some.
pub(super) fn with_ecash(mut nodes: Vec<Node>, seed: u64) -> Vec<Node> {
    let mut rng = Rng(seed ^ 0xeca5);
    for node in &mut nodes {
        if let Some(provider) = &mut node.config.provider {
            provider.escrow &= rng.chance(40);
            let lock = Millis(rng.between(150_000, 900_000));
            provider.ecash_lock = rng.chance(70).then_some(lock);
        }
        if rng.chance(70) {
            node.config.customer.mints = vec![format!("{MINT}/")];
        }
    }
    nodes
}
