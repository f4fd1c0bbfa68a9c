//! Every job a customer has in hand: offers, choices, deliveries and ends.

use std::collections::{BTreeSet, HashMap, hash_map::Entry};

use openagents_registry::Fault;
use openagents_types::{
    Draft, Feedback, Invoice, JobId, JobResult, JobSpec, PaymentHash, ProviderKey, Quote, Rail, Status,
    Terms, Timestamp, refusal,
};
use sha2::{Digest, Sha256};

use super::{
    Ask, AskOutcome, Attempt, Delivery, Money, Phase, Reclaim, Refusal,
    advance::{Advanced, Early},
    elsewhere::note_paid_back,
    kept::{note_kept, note_unused},
};
use crate::{
    Action, Actions, CustomerConfig, Direction, PaymentRow, Record, Standing, choice::score, job::note_step,
    receipt::Waiting, schedule::Schedule,
};

/// How much billed work waits for the wallet's word after a start, which takes seconds.
const EARLY_BILLS: usize = 64;

/// All jobs a customer has in hand. Those that are over leave memory; the store keeps them.
#[derive(Debug)]
pub(crate) struct CustomerDesk {
    pub(crate) config: CustomerConfig,
    pub(crate) asks: HashMap<JobId, Ask>,
    pub(crate) payments: HashMap<PaymentHash, JobId>,
    pub(crate) claims: HashMap<PaymentHash, JobId>,
    pub(crate) schedule: Schedule,
    /// How many jobs hold an offer of this invoice.
    offered: HashMap<PaymentHash, usize>,
    /// Jobs from before the start, until the wallet has said what it paid lately.
    pub(crate) unreconciled: BTreeSet<JobId>,
    /// Whether that word may come any moment.
    pub(crate) awaits_word: bool,
    /// Work that was billed meanwhile.
    billed_early: Vec<(JobResult, Invoice)>,
    standings: HashMap<ProviderKey, Standing>,
    /// What providers have in advance for the jobs on the desk.
    pub(crate) advanced: Advanced,
    pub(crate) receipts: Waiting,
}

impl CustomerDesk {
    pub(crate) fn new(config: CustomerConfig) -> Self {
        Self {
            config,
            asks: HashMap::new(),
            payments: HashMap::new(),
            claims: HashMap::new(),
            schedule: Schedule::default(),
            offered: HashMap::new(),
            unreconciled: BTreeSet::new(),
            awaits_word: false,
            billed_early: Vec::new(),
            standings: HashMap::new(),
            advanced: Advanced::default(),
            receipts: Waiting::default(),
        }
    }

    pub(crate) fn recall(&mut self, ask: Ask) {
        // It may be on the desk already: a payment of it can be one that it no longer follows.
        self.take(ask.id);
        self.index(&ask);
        self.put(ask);
    }

    pub(crate) fn recall_standing(&mut self, standing: Standing) {
        self.standings.insert(standing.provider, standing);
    }

    /// States what every job still owes, after a restart.
    pub(crate) fn restate(&mut self, now: Timestamp, out: &mut Actions) {
        let mut ids: Vec<JobId> = self.asks.keys().copied().collect();
        ids.sort_unstable();
        for id in ids {
            self.look_after(now, id, out);
        }
    }

    /// A job to buy.
    pub(crate) fn ask(&mut self, now: Timestamp, mut ask: Ask, out: &mut Actions) {
        if self.asks.contains_key(&ask.id) {
            return;
        }
        ask.phase = Phase::Collecting { until: now.after(ask.options.window) };
        let id = ask.id;
        out.push(Action::PublishRequest(id));
        self.keep(now, ask, out);
    }

    /// A provider's price.
    pub(crate) fn quote(&mut self, now: Timestamp, quote: Quote, out: &mut Actions) {
        let id = quote.job;
        let Some(mut ask) = self.take(id) else { return };
        let quote = self.without_taken_ecash(quote);
        if let Some((rail, ..)) = quote.rails().find(|(_, hash, _)| ask.doubts.contains(hash)) {
            self.own_up(now, &mut ask, quote, rail, out);
            return self.keep(now, ask, out);
        }
        let Phase::Collecting { until } = ask.phase else { return self.put(ask) };
        let distrust =
            |message| Refusal { provider: quote.provider, code: refusal::IN_ADVANCE.into(), message };
        match self.objection(now, &ask, &quote).or_else(|| self.over_trust(now, &quote).map(distrust)) {
            Some(refusal) => self.note_refusal(&mut ask, refusal),
            None => ask.quotes.push(quote),
        }
        if now >= until {
            self.commit_best(now, &mut ask, out);
        }
        self.give_up_if_in_vain(now, &mut ask, out);
        self.keep(now, ask, out);
    }

    /// Why an offer cannot be taken.
    fn objection(&self, now: Timestamp, ask: &Ask, quote: &Quote) -> Option<Refusal> {
        let known = ask.quotes.iter().any(|q| q.provider == quote.provider)
            || ask.attempts.iter().any(|a| a.quote.provider == quote.provider)
            || quote.rails().any(|(_, hash, _)| self.payments.contains_key(&hash));
        let (code, message) = if quote.invoice.amount != quote.price {
            ("amount", format!("asks {} and its invoice {}", quote.price, quote.invoice.amount))
        } else if quote.price > ask.spec.bid {
            ("above-bid", format!("asks {}, the bid is {}", quote.price, ask.spec.bid))
        } else if quote.invoice.network != self.config.network {
            ("network", format!("wants paying on {}", quote.invoice.network))
        } else if quote.invoice.expires_at.min(quote.expires_at) < now.after(self.config.quote_margin) {
            ("expiring", String::from("its offer is about to expire"))
        } else if ask.spec.provider.is_some_and(|wanted| wanted != quote.provider) {
            ("uninvited", String::from("was not asked"))
        } else if known || ask.quotes.len() >= self.config.offers_kept {
            ("again", String::from("has already offered"))
        } else if ask.from_balance {
            (refusal::NO_BALANCE, format!("wants {} paid: it keeps no balance that covers it", quote.price))
        } else if let Some(message) = self.over_budget(now, ask, quote.price) {
            (refusal::DAILY_LIMIT, message)
        } else {
            return None;
        };
        Some(Refusal { provider: quote.provider, code: code.into(), message })
    }

    fn note_refusal(&self, ask: &mut Ask, refusal: Refusal) {
        if ask.refusals.len() < self.config.offers_kept {
            ask.refusals.push(refusal);
        }
    }

    /// Commits to the best offer that still stands, if there is one, and has it paid.
    fn commit_best(&mut self, now: Timestamp, ask: &mut Ask, out: &mut Actions) {
        if self.may_be_paid(ask) {
            return;
        }
        let margin = now.after(self.config.quote_margin);
        ask.quotes.retain(|q| q.expires_at.min(q.invoice.expires_at) >= margin);
        self.drop_uncovered(now, ask);
        let best = ask
            .quotes
            .iter()
            .enumerate()
            .min_by_key(|(_, q)| (score(q, &self.standing(q.provider)), q.event));
        let Some(index) = best.map(|(index, _)| index) else { return };
        let quote = ask.quotes.swap_remove(index);
        self.begin(now, ask, quote, out);
        ask.phase = Phase::Waiting;
    }

    /// Drops the offers that the day, or our trust, no longer covers, because other jobs were paid since they came.
    fn drop_uncovered(&self, now: Timestamp, ask: &mut Ask) {
        for quote in std::mem::take(&mut ask.quotes) {
            let over_budget = self.over_budget(now, ask, quote.price).map(|why| (refusal::DAILY_LIMIT, why));
            match over_budget.or_else(|| self.over_trust(now, &quote).map(|why| (refusal::IN_ADVANCE, why))) {
                None => ask.quotes.push(quote),
                Some((code, message)) => {
                    let code = code.into();
                    self.note_refusal(ask, Refusal { provider: quote.provider, code, message });
                }
            }
        }
    }

    pub(crate) fn commit(&mut self, now: Timestamp, ask: &mut Ask, attempt: Attempt, out: &mut Actions) {
        self.count_one(now, attempt.hash(), attempt.quote.price, ask.options.max_fee);
        out.save(Record::Payment(PaymentRow {
            hash: attempt.hash(),
            job: ask.id,
            direction: Direction::Out,
            amount: attempt.quote.price,
            bolt11: attempt.asked().to_owned(),
            at: now,
        }));
        for (_, hash, _) in attempt.quote.rails() {
            self.withdraw_offers(hash, ask, out);
        }
        ask.attempts.push(attempt);
    }

    /// An invoice is paid for one job. Whoever offered it for others as well, offered nothing there.
    fn withdraw_offers(&mut self, hash: PaymentHash, ask: &mut Ask, out: &mut Actions) {
        let names = |quote: &Quote| quote.rails().any(|(_, other, _)| other == hash);
        ask.quotes.retain(|quote| !names(quote));
        if self.offered.remove(&hash).is_none() {
            return;
        }
        let holds = |ask: &&mut Ask| ask.quotes.iter().any(names);
        for other in self.asks.values_mut().filter(holds) {
            other.quotes.retain(|quote| !names(quote));
            out.save(Record::Ask(Box::new(other.clone())));
        }
    }

    pub(crate) fn standing(&self, provider: ProviderKey) -> Standing {
        self.standings.get(&provider).copied().unwrap_or(Standing::unknown(provider))
    }

    pub(crate) fn grade(&mut self, provider: ProviderKey, delivered: bool, out: &mut Actions) {
        let mut standing = self.standing(provider);
        let count = if delivered { &mut standing.delivered } else { &mut standing.failed };
        *count = count.saturating_add(1);
        self.standings.insert(provider, standing);
        out.save(Record::Standing(standing));
    }

    /// A word from a provider other than a price.
    pub(crate) fn feedback(&mut self, now: Timestamp, feedback: &Feedback, out: &mut Actions) {
        let Some(mut ask) = self.take(feedback.job) else { return };
        let is_paid_back = note_paid_back(&mut ask, feedback);
        if is_paid_back {
            self.settle_up(now, &mut ask, out);
        }
        let is_news = note_kept(&mut ask, feedback) || is_paid_back;
        match (feedback.status, &ask.phase) {
            (Status::Partial, Phase::Collecting { .. } | Phase::Waiting)
                if is_heard(&ask, feedback.provider) =>
            {
                out.push(Action::Show { job: ask.id, text: feedback.content.clone() });
            }
            // News, and no acceptance: whoever says it has offered nothing yet.
            (Status::Processing, Phase::Collecting { .. } | Phase::Waiting)
                if is_heard(&ask, feedback.provider) =>
            {
                let (provider, message) = (feedback.provider, feedback.message.clone());
                out.push(Action::Hear { job: ask.id, provider, message });
            }
            (Status::Error, Phase::Collecting { .. }) => {
                self.note_refusal(&mut ask, refusal_of(feedback));
                if ask.spec.provider == Some(feedback.provider) {
                    self.declined_by_the_only_one(now, &mut ask, feedback, out);
                }
                return self.keep(now, ask, out);
            }
            (Status::Error, Phase::Waiting) if is_heard(&ask, feedback.provider) => {
                self.note_refusal(&mut ask, refusal_of(feedback));
                self.give_up_on(now, &mut ask, out);
                return self.keep(now, ask, out);
            }
            _ => {}
        }
        if is_news { self.keep(now, ask, out) } else { self.put(ask) }
    }

    /// The chosen provider will not deliver: wait for the money, then try the next.
    pub(crate) fn give_up_on(&mut self, now: Timestamp, ask: &mut Ask, out: &mut Actions) {
        if let Some(provider) = ask.current().map(|attempt| attempt.quote.provider) {
            self.grade(provider, false, out);
        }
        ask.phase = Phase::Abandoning;
        self.settle_up(now, ask, out);
    }

    /// A result. It counts if it is the chosen provider's, or a gift while nobody is chosen yet.
    pub(crate) fn result(
        &mut self,
        now: Timestamp,
        result: &JobResult,
        invoice: Option<Invoice>,
        out: &mut Actions,
    ) {
        let Some(mut ask) = self.take(result.job) else { return };
        if result.kind != ask.spec.kind.result() || ask.delivery.is_some() {
            return self.put(ask);
        }
        // Whether it may be paid is known once the wallet has said what it sent before the start.
        let is_early = self.awaits_word && self.unreconciled.contains(&ask.id);
        if let (true, Some(invoice), Phase::Collecting { .. }) = (is_early, &invoice, &ask.phase) {
            if self.billed_early.len() < EARLY_BILLS {
                self.billed_early.push((result.clone(), invoice.clone()));
            }
            return self.put(ask);
        }
        let (fault, refusals) = (unpromised(&ask.spec, &result.content), ask.refusals.len());
        let takes = match &ask.phase {
            Phase::Collecting { .. } if fault.is_some() => false,
            Phase::Collecting { .. } => self.takes_unpaid(now, &mut ask, result, invoice, out),
            Phase::Waiting | Phase::Abandoning => is_heard(&ask, result.provider),
            Phase::Closed { outcome } => {
                *outcome != AskOutcome::Delivered && self.may_still_deliver(&ask, result)
            }
        };
        let counts = matches!(ask.phase, Phase::Collecting { .. }) || is_heard(&ask, result.provider);
        if let Some(fault) = fault.as_ref().filter(|_| counts) {
            let message = fault.to_string();
            let refusal = Refusal { provider: result.provider, code: "invalid-result".into(), message };
            self.note_refusal(&mut ask, refusal);
        }
        if takes {
            self.deliver(now, &mut ask, result, fault.is_none(), out);
            self.keep(now, ask, out);
        } else if ask.refusals.len() > refusals {
            self.give_up_if_in_vain(now, &mut ask, out);
            self.keep(now, ask, out);
        } else {
            self.put(ask);
        }
    }

    /// Looks at the work that was billed before the wallet had spoken.
    pub(crate) fn look_at_early_bills(&mut self, now: Timestamp, out: &mut Actions) {
        self.awaits_word = false;
        for (result, invoice) in std::mem::take(&mut self.billed_early) {
            self.result(now, &result, Some(invoice), out);
        }
    }

    /// Before an offer is chosen: free work is taken; work done first and billed afterwards is taken
    /// if its invoice would have been.
    fn takes_unpaid(
        &mut self,
        now: Timestamp,
        ask: &mut Ask,
        result: &JobResult,
        invoice: Option<Invoice>,
        out: &mut Actions,
    ) -> bool {
        if ask.spec.provider.is_some_and(|wanted| wanted != result.provider) {
            return false;
        }
        let Some(invoice) = invoice else {
            // What was paid in a history that these records have lost may have been for this.
            let is_paid = |amount| !ask.doubts.is_empty() && amount <= ask.spec.bid;
            return result.amount.is_none_or(|amount| amount.is_zero() || is_paid(amount));
        };
        let quote = Quote {
            job: ask.id,
            provider: result.provider,
            event: result.event,
            price: invoice.amount,
            expires_at: invoice.expires_at,
            invoice,
            eta: None,
            terms: Terms::Prepaid,
            ecash: None,
        };
        if ask.doubts.contains(&quote.invoice.payment_hash) {
            self.own_up(now, ask, quote, Rail::Bolt11, out);
            return true;
        }
        if let Some(refusal) = self.objection(now, ask, &quote) {
            self.note_refusal(ask, refusal);
            return false;
        }
        if self.may_be_paid(ask) {
            return false;
        }
        self.begin(now, ask, quote, out);
        true
    }

    /// After the end a result is still welcome from a provider that has our money.
    fn may_still_deliver(&self, ask: &Ask, result: &JobResult) -> bool {
        ask.attempts.iter().any(|attempt| {
            attempt.quote.provider == result.provider
                && match &attempt.money {
                    Money::Pending | Money::Doubtful => true,
                    Money::Returned => false,
                    Money::Settled { reclaim, .. } => !reclaim.is_back(),
                }
        })
    }

    /// Takes a result. One that was paid for is taken even if it is not as promised, because its owner
    /// may still find it of use; its provider is graded as if it had not delivered.
    fn deliver(
        &mut self,
        now: Timestamp,
        ask: &mut Ask,
        result: &JobResult,
        promised: bool,
        out: &mut Actions,
    ) {
        ask.delivery = Some(Delivery {
            provider: result.provider,
            event: result.event,
            sha256: hex::encode(Sha256::digest(result.content.as_bytes())),
            at: now,
            made_by: result.made_by.clone(),
        });
        out.save(Record::Content { job: ask.id, content: result.content.clone() });
        note_unused(ask, result);
        self.grade(result.provider, promised, out);
        ask.phase = Phase::Closed { outcome: AskOutcome::Delivered };
        self.drop_claims(ask, result.provider, out);
        self.settle_up(now, ask, out);
    }

    /// A provider that delivered after all has earned what we claimed back. It will hardly pay the claim: a job is
    /// either delivered or refunded. One that has forgotten its delivery may, or has, and then that is booked.
    fn drop_claims(&mut self, ask: &mut Ask, provider: ProviderKey, out: &mut Actions) {
        for attempt in ask.attempts.iter_mut().filter(|attempt| attempt.quote.provider == provider) {
            let (is_locked, claim) = (attempt.terms() == Terms::Escrow, attempt.dropped_claim());
            if let Money::Settled { reclaim, .. } = &mut attempt.money {
                if is_locked && *reclaim != Reclaim::No {
                    self.note_taken_early(provider, Early::Earned, out);
                }
                if let Some(claim) = claim {
                    out.push(Action::LookUpIncoming(claim.hash));
                    ask.dropped.push(claim);
                }
                if !reclaim.is_back() {
                    *reclaim = Reclaim::No;
                }
            }
        }
    }

    /// Its owner no longer wants a job.
    pub(crate) fn withdraw(&mut self, now: Timestamp, id: JobId, reason: &str, out: &mut Actions) {
        let Some(mut ask) = self.take(id) else { return };
        if !matches!(ask.phase, Phase::Closed { .. }) {
            out.publish(id, Draft::Cancel { provider: None, reason: reason.into() });
            self.close(now, &mut ask, AskOutcome::Cancelled, out);
        }
        self.keep(now, ask, out);
    }

    /// Ends a job without a delivery. Money that is still out is followed until it is back.
    pub(crate) fn close(&mut self, now: Timestamp, ask: &mut Ask, outcome: AskOutcome, out: &mut Actions) {
        ask.phase = Phase::Closed { outcome };
        self.settle_up(now, ask, out);
    }

    /// Looks at every job whose time has come.
    pub(crate) fn tick(&mut self, now: Timestamp, out: &mut Actions) {
        while let Some(id) = self.schedule.pop_due(now) {
            self.look_after(now, id, out);
        }
        self.receipts.tick(now, out);
    }

    pub(crate) fn look_after(&mut self, now: Timestamp, id: JobId, out: &mut Actions) {
        let Some(mut ask) = self.take(id) else { return };
        let before = ask.clone();
        match ask.phase {
            Phase::Collecting { until } if now >= until => {
                self.commit_best(now, &mut ask, out);
                self.give_up_if_in_vain(now, &mut ask, out);
            }
            Phase::Waiting if self.is_out_of_patience(now, &ask) => {
                let provider = ask.current().map(|attempt| attempt.quote.provider);
                out.publish(id, Draft::Cancel { provider, reason: "it takes too long".into() });
                self.give_up_on(now, &mut ask, out);
            }
            _ => {}
        }
        if now >= ask.spec.expires_at && !matches!(ask.phase, Phase::Closed { .. }) {
            self.run_out(now, &mut ask, out);
        }
        if now >= ask.spec.expires_at && ask.looks_for_payment() {
            ask.doubts.clear();
        }
        self.ask_wallet(&ask, out);
        if ask == before {
            self.put(ask);
            self.reschedule(now, id);
        } else {
            self.keep(now, ask, out);
        }
    }

    fn is_out_of_patience(&self, now: Timestamp, ask: &Ask) -> bool {
        match (ask.options.patience, ask.current()) {
            (Some(patience), Some(attempt)) => now >= attempt.since.after(patience),
            _ => false,
        }
    }

    /// The deadline has passed.
    fn run_out(&mut self, now: Timestamp, ask: &mut Ask, out: &mut Actions) {
        out.publish(ask.id, Draft::Cancel { provider: None, reason: "its deadline has passed".into() });
        let outcome = if ask.attempts.is_empty() {
            AskOutcome::NoOffer
        } else {
            if let (Phase::Waiting, Some(attempt)) = (&ask.phase, ask.current()) {
                self.grade(attempt.quote.provider, false, out);
            }
            AskOutcome::Failed { message: "nothing was delivered before the deadline".into() }
        };
        self.close(now, ask, outcome, out);
    }

    /// After money came back: the next offer, while there is time.
    pub(crate) fn go_on(&mut self, now: Timestamp, ask: &mut Ask, out: &mut Actions) {
        if self.fall_back(now, ask, out) {
            return;
        }
        if ask.spec.provider.is_some() && ask.doubts.is_empty() {
            let message = String::from("the provider did not deliver; the payment came back");
            return self.close(now, ask, AskOutcome::Failed { message }, out);
        }
        ask.phase = Phase::Collecting { until: now };
        self.commit_best(now, ask, out);
    }

    fn wake(&self, now: Timestamp, ask: &Ask) -> Timestamp {
        let again = now.after(self.config.recheck);
        let next = match &ask.phase {
            // Offers that nobody has looked at yet: another word came at the end of the window, before the tick.
            Phase::Collecting { until } if *until > now || !ask.quotes.is_empty() => {
                (*until).min(ask.spec.expires_at)
            }
            Phase::Collecting { .. } => match self.in_vain_from(ask) {
                Some(at) if !self.may_be_paid(ask) => at.min(ask.spec.expires_at),
                _ => ask.spec.expires_at,
            },
            Phase::Waiting => {
                let patience = ask.options.patience.zip(ask.current()).map(|(p, a)| a.since.after(p));
                patience.unwrap_or(Timestamp::NEVER).min(ask.spec.expires_at)
            }
            Phase::Abandoning => ask.spec.expires_at,
            Phase::Closed { .. } if ask.looks_for_payment() => ask.spec.expires_at.max(again),
            Phase::Closed { .. } => Timestamp::NEVER,
        };
        let next = if ask.is_settled() { next } else { next.min(again) };
        next.min(self.dropped_wake(now, ask))
    }

    pub(crate) fn take(&mut self, id: JobId) -> Option<Ask> {
        let ask = self.asks.remove(&id)?;
        self.advanced.remove(&ask);
        for (_, hash, _) in ask.quotes.iter().flat_map(Quote::rails) {
            if let Entry::Occupied(mut count) = self.offered.entry(hash) {
                *count.get_mut() -= 1;
                if *count.get() == 0 {
                    count.remove();
                }
            }
        }
        Some(ask)
    }

    /// Puts an unchanged job back.
    pub(crate) fn put(&mut self, ask: Ask) {
        for (_, hash, _) in ask.quotes.iter().flat_map(Quote::rails) {
            *self.offered.entry(hash).or_default() += 1;
        }
        self.advanced.add(&ask);
        self.asks.insert(ask.id, ask);
    }

    fn index(&mut self, ask: &Ask) {
        for attempt in &ask.attempts {
            // The other rail of an offer that was taken may yet have to pay it: nothing else may use its payment.
            for (_, hash, _) in attempt.quote.rails() {
                self.payments.entry(hash).or_insert(ask.id);
            }
            self.payments.insert(attempt.hash(), ask.id);
            if let Money::Settled { reclaim: Reclaim::Claimed { claim }, .. } = &attempt.money {
                self.claims.insert(claim.payment_hash, ask.id);
            }
        }
        for claim in &ask.dropped {
            self.claims.insert(claim.hash, ask.id);
        }
    }

    /// Saves a changed job, and lets it go if it is over.
    pub(crate) fn keep(&mut self, now: Timestamp, mut ask: Ask, out: &mut Actions) {
        let id = ask.id;
        ask.changed_at = now;
        let word = ask.word();
        note_step(&mut ask.steps, now, word);
        out.save(Record::Ask(Box::new(ask.clone())));
        if ask.is_over() {
            self.unindex(&ask);
            self.part(now, &ask, out);
        } else {
            self.index(&ask);
            self.put(ask);
            self.reschedule(now, id);
        }
    }

    fn unindex(&mut self, ask: &Ask) {
        for attempt in &ask.attempts {
            for hash in attempt.quote.rails().map(|(_, hash, _)| hash).chain([attempt.hash()]) {
                if self.payments.get(&hash) == Some(&ask.id) {
                    self.payments.remove(&hash);
                }
            }
        }
        self.claims.retain(|_, job| *job != ask.id);
        self.schedule.clear(ask.id);
    }

    /// Lets a recalled job go again, if it is still over.
    pub(crate) fn dismiss(&mut self, id: JobId) {
        if let Some(ask) = self.take(id) {
            if ask.is_over() {
                self.unindex(&ask);
            } else {
                self.put(ask);
            }
        }
    }

    fn reschedule(&mut self, now: Timestamp, id: JobId) {
        if let Some(ask) = self.asks.get(&id) {
            let at = self.wake(now, ask).max(now.after(openagents_types::Millis(1)));
            self.schedule.set(id, at);
        }
    }

    pub(crate) fn follows(&self, job: JobId) -> bool {
        self.asks.contains_key(&job)
    }

    pub(crate) fn pays(&self, hash: PaymentHash) -> bool {
        self.payments.contains_key(&hash)
    }

    /// Whether an invoice is being paid or is offered for any job.
    pub(crate) fn has_in_hand(&self, hash: PaymentHash) -> bool {
        self.pays(hash) || self.offered.contains_key(&hash)
    }

    pub(crate) fn awaits_refund(&self, hash: PaymentHash) -> bool {
        self.claims.contains_key(&hash)
    }

    pub(crate) fn next_wake(&self) -> Option<Timestamp> {
        [self.schedule.next(), self.receipts.next_wake()].into_iter().flatten().min()
    }

    pub(crate) fn len(&self) -> usize {
        self.asks.len()
    }
}

/// What about a result is not as its kind promises.
fn unpromised(spec: &JobSpec, content: &str) -> Option<Fault> {
    let schema = openagents_registry::find(spec.kind).ok()?;
    let params = schema.read_spec(spec).ok()?;
    schema.check_result(content, &params).err()
}

/// Whether a provider's word counts: it is the chosen one, or nobody is chosen and it may be.
fn is_heard(ask: &Ask, provider: ProviderKey) -> bool {
    match ask.current() {
        Some(attempt) => attempt.quote.provider == provider,
        None => ask.spec.provider.is_none_or(|wanted| wanted == provider),
    }
}

fn refusal_of(feedback: &Feedback) -> Refusal {
    Refusal {
        provider: feedback.provider,
        code: feedback.code.clone().unwrap_or_else(|| "error".into()),
        message: feedback.message.clone(),
    }
}
