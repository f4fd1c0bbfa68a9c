//! Orders that a wallet reads late, perhaps after the process that gave them has died, and answers that are old when
//! they come.
//!
//! What bounds both is how long a call waits: an order that is older says so itself (NIP-47's `expiration`) and is
//! left alone, and an answer that is older is heard by nobody.

use std::collections::HashSet;

use openagents_engine::{Action, Input, Outgoing};
use openagents_types::PaymentHash;

use super::{Event, World};
use crate::rng::Rng;

/// How long a wallet may take to read an order, in milliseconds: as long as a call waits for it, and a payment.
const CALL: u64 = 11_000;
pub(super) const PAYMENT: u64 = 61_000;

/// What is on its way to wallets.
#[derive(Debug)]
pub(super) struct Late {
    rng: Rng,
    /// By node, its life, and what it asks.
    on_the_way: HashSet<(usize, u32, String)>,
}

impl World {
    /// Lets wallets read some of what they are told late.
    pub(crate) fn with_late_orders(mut self, seed: u64) -> Self {
        self.late = Some(Late { rng: Rng(seed ^ 0x1a7e), on_the_way: HashSet::new() });
        self
    }

    /// Whether an order is read later, or asks again what is on its way already.
    pub(super) fn is_late(&mut self, node: usize, action: &Action) -> bool {
        let (stormy, life) = (self.stormy(), self.nodes[node].life);
        let Some(late) = &mut self.late else { return false };
        let question = question(action);
        if late.on_the_way.contains(&(node, life, question.clone())) {
            return true;
        }
        if !stormy || !late.rng.chance(15) {
            return false;
        }
        let longest = if pays(action).is_some() { PAYMENT } else { CALL };
        let delay = late.rng.between(500, longest);
        late.on_the_way.insert((node, life, question));
        let action = Box::new(again(action.clone()));
        self.report.late_orders += 1;
        self.at(delay, Event::Order { node, life, action });
        true
    }

    /// A wallet reads an order.
    pub(super) fn read_order(&mut self, node: usize, life: u32, action: Action) {
        if let Some(late) = &mut self.late {
            late.on_the_way.remove(&(node, life, question(&action)));
        }
        if let Some(input) = self.wallet_does(node, action) {
            self.at(1, Event::Hear { node, life: Some(life), input: Box::new(input) });
        }
    }

    /// An answer comes, or comes late: until it does, the same is not asked again.
    pub(super) fn answer_late(&mut self, node: usize, delay: u64, question: String, input: Input) {
        let (stormy, life) = (self.stormy(), self.nodes[node].life);
        let Some(late) = self.late.as_mut().filter(|_| stormy) else {
            return self.answer(node, delay, input);
        };
        let delay = delay + if late.rng.chance(15) { late.rng.between(500, CALL) } else { 0 };
        late.on_the_way.insert((node, life, question.clone()));
        self.at(delay, Event::Answer { node, life, question, input: Box::new(input) });
    }

    /// An answer comes that was waited for.
    pub(super) fn answered(&mut self, node: usize, life: u32, question: String, input: Input) {
        if let Some(late) = &mut self.late {
            late.on_the_way.remove(&(node, life, question));
        }
        if life == self.nodes[node].life {
            self.hear(node, input);
        }
    }

    /// What a wallet's client says of a payment: one that this process has ordered is under way until it is answered.
    pub(super) fn looked_up(&self, node: usize, hash: PaymentHash) -> Input {
        let life = self.nodes[node].life;
        let ordered = |late: &Late| late.on_the_way.contains(&(node, life, format!("pay {hash}")));
        if self.bank.outgoing(node, hash) == Outgoing::Unknown && self.late.as_ref().is_some_and(ordered) {
            return Input::Outgoing { hash, state: Outgoing::Pending };
        }
        self.word_on_outgoing(node, hash)
    }
}

/// The payment that an order begins.
fn pays(action: &Action) -> Option<PaymentHash> {
    match action {
        Action::Pay { invoice, .. } => Some(invoice.payment_hash),
        Action::LockEcash { ask, .. } => Some(ask.hash),
        _ => None,
    }
}

/// What is asked, whether for the first time or not.
pub(super) fn question(action: &Action) -> String {
    pays(action).map_or_else(|| format!("{action:?}"), |hash| format!("pay {hash}"))
}

/// The same order, which others may have come before.
fn again(mut action: Action) -> Action {
    if let Action::Pay { first, .. } | Action::LockEcash { first, .. } = &mut action {
        *first = false;
    }
    action
}
