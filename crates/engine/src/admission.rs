//! Which requests a provider takes up: fresh, for us, for sale, affordable, and with room for them.

use std::sync::Arc;

use openagents_registry::Fault;
use openagents_types::{Draft, InputType, Invoice, JobId, JobRequest, Msat, Notice, Terms, Timestamp};

use crate::{
    Action, Actions, Direction, InputSize, InvoiceFor, Job, Offer, PaymentRow, Record,
    bidding::{Load, Measure, output_tokens, priority},
    job::{Funds, Outcome, State, Why},
    metering::Meter,
    payback::Payback,
    provider::ProviderDesk,
    resources::minute_of_day,
};

/// What to do with a request.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// Take it up.
    Admit,
    /// Not ours to answer: for somebody else, of a kind we do not sell, or too old to be alive.
    Ignore,
    /// Turn it away, and say why.
    Refuse(Why, Option<Msat>),
}

impl ProviderDesk {
    pub(crate) fn request(&mut self, now: Timestamp, request: JobRequest, out: &mut Actions) {
        if self.jobs.contains_key(&request.id) {
            return;
        }
        let id = request.id;
        let state = match self.judge(now, &request) {
            Verdict::Ignore => return,
            Verdict::Admit => State::Resolving,
            Verdict::Refuse(why, minimum) => {
                out.publish(id, Draft::Notice(refused_below(&why, minimum)));
                State::Closed { outcome: Outcome::Refused(why), hash: None }
            }
        };
        let admitted = !state.is_closed();
        let job = Job {
            request: Arc::new(request),
            received_at: now,
            changed_at: now,
            state,
            steps: Vec::new(),
            doubts: Vec::new(),
            ecash: None,
            zaps: Vec::new(),
            payback: Payback::default(),
            bill: None,
            arrears: Msat::ZERO,
            meter: None,
        };
        self.open(now, job, out);
        if admitted {
            out.push(Action::Resolve(id));
        }
    }

    fn judge(&self, now: Timestamp, request: &JobRequest) -> Verdict {
        let addressed = request.providers.contains(&self.config.key);
        if !addressed && !request.providers.is_empty() {
            return Verdict::Ignore;
        }
        if request.created_at.after(self.config.freshness) < now
            || request.expires_at.is_some_and(|deadline| deadline <= now)
        {
            return Verdict::Ignore;
        }
        if now.after(self.config.freshness) < request.created_at {
            return Verdict::Refuse(
                Why::new("clock", "the request is dated in the future; check your clock and ask again"),
                None,
            );
        }
        if let Some(why) = self.off_duty() {
            return if addressed { Verdict::Refuse(why, None) } else { Verdict::Ignore };
        }
        let Some(offer) = self.config.offer(request.kind) else {
            return match addressed {
                false => Verdict::Ignore,
                true => Verdict::Refuse(
                    Why::new("kind", format!("this provider does not do jobs of kind {}", request.kind)),
                    None,
                ),
            };
        };
        if let Some(fault) = invalid(request) {
            let message = format!("{fault}; nothing was charged, correct the job and ask again");
            return Verdict::Refuse(Why::new("invalid", message), None);
        }
        let least = self.price_now(now, offer, request, 0);
        if self.is_full_for(least) {
            return Verdict::Refuse(
                Why::new("overloaded", "this provider is busy; nothing was charged, ask again later"),
                None,
            );
        }
        match (request.bid, least) {
            (Some(bid), Some(least)) if bid < least => bid_too_low(bid, least),
            (None, Some(least)) if self.config.require_bid && !least.is_zero() => bid_missing(least),
            _ => Verdict::Admit,
        }
    }

    /// What a job with so many bytes of input costs now.
    fn price_now(&self, now: Timestamp, offer: &Offer, request: &JobRequest, bytes: u64) -> Option<Msat> {
        self.priced_now(now, offer, request, bytes).map(|(price, _)| price)
    }

    /// The same, and what it comes to by what is written.
    fn priced_now(
        &self,
        now: Timestamp,
        offer: &Offer,
        request: &JobRequest,
        bytes: u64,
    ) -> Option<(Msat, Option<Meter>)> {
        let params =
            if offer.looks_at_params() { openagents_registry::canonical_params(request) } else { Vec::new() };
        let host = &self.config.host;
        let load = Load {
            waiting: self.waiting.len(),
            running: self.running,
            strain: host.strain,
            minute: minute_of_day(now, host.utc_offset_min.unwrap_or(0)),
        };
        let (rule, tokens) = (offer.price_of(&params), output_tokens(&params));
        let price = |output_tokens| {
            let measure = Measure { bytes, output_tokens, eta: offer.eta };
            let price = rule.price(measure, &load, &self.config.tariff)?;
            if self.config.whole_sats { Msat::from_sat(price.to_sat_ceil()).ok() } else { Some(price) }
        };
        let most = price(tokens)?;
        if rule.per_1000_output.is_zero() || !self.config.is_metered() {
            return Some((most, None));
        }
        Some((most, Meter::new(price(0)?, most, tokens)))
    }

    /// Whether there is no room to wait. Free work takes no more than half of it, so that it cannot keep out what is paid.
    fn is_full_for(&self, least: Option<Msat>) -> bool {
        let limit = self.config.queue_limit;
        let is_free = least.is_some_and(Msat::is_zero);
        self.waiting.len() >= limit
            || self.offered >= self.config.offer_limit
            || (is_free && self.waiting_free >= limit.div_ceil(2))
    }

    /// Breaks the silence of a job whose inputs or whose judge take a while. It is no promise to do it.
    pub(crate) fn announce_wait(&mut self, now: Timestamp, id: JobId, out: &mut Actions) {
        if let Some(Job { state: State::Resolving, request, .. }) = self.jobs.get(&id) {
            let message = format!("{}; there is no price yet, and nothing was charged", awaited(request));
            out.push(Action::Announce { job: id, draft: Draft::Notice(Notice::Processing { message }) });
        }
        self.reschedule(now, id);
    }

    pub(crate) fn resolved(
        &mut self,
        now: Timestamp,
        id: JobId,
        outcome: Result<InputSize, Why>,
        out: &mut Actions,
    ) {
        let Some(Job { state: State::Resolving, request, .. }) = self.jobs.get(&id) else { return };
        let Some(offer) = self.config.offer(request.kind) else { return };
        let size = match outcome {
            Ok(size) if size.bytes > offer.max_input_bytes => {
                let message = format!(
                    "the input has {} bytes, this provider takes {}; nothing was charged",
                    size.bytes, offer.max_input_bytes
                );
                return self.refuse(now, id, Why::new("input-too-large", message), out);
            }
            Ok(size) => size,
            Err(why) => return self.refuse(now, id, why, out),
        };
        let Some((price, meter)) = self.priced_now(now, offer, request, size.bytes) else {
            let why = Why::new("input-too-large", "the price of this job cannot be paid");
            return self.refuse(now, id, why, out);
        };
        if let Some(bid) = request.bid.filter(|bid| *bid < price) {
            let Verdict::Refuse(why, minimum) = bid_too_low(bid, price) else { return };
            out.publish(id, Draft::Notice(refused_below(&why, minimum)));
            let closed = State::Closed { outcome: Outcome::Refused(why), hash: None };
            return self.move_to(now, id, closed, out);
        }
        if let Some(job) = self.jobs.get_mut(&id) {
            job.meter = meter;
        }
        self.priced(now, id, price, size, out);
    }

    fn priced(&mut self, now: Timestamp, id: JobId, price: Msat, size: InputSize, out: &mut Actions) {
        if self.begin_from_balance(now, id, price, out) {
            return;
        }
        if self.begin_on_credit(id, price) {
            self.move_to(now, id, State::Invoicing { price, bytes: size.bytes }, out);
            let action = self.invoice_action(id, price);
            return out.push(action);
        }
        if price.is_zero() {
            let rank = self.jobs.get(&id).map_or(0, |job| rank(&job.request, price));
            self.enqueue(now, id, Funds::Free, rank, 0, out);
        } else {
            let price = self.with_arrears(id, price);
            self.move_to(now, id, State::Invoicing { price, bytes: size.bytes }, out);
            // Ecash first: its request is made without asking anybody, and one offer names both rails.
            let action = self.ecash_action(id).unwrap_or_else(|| self.invoice_action(id, price));
            out.push(action);
        }
    }

    /// Asks the wallet for the invoice of a job. With escrow its hash is derived from the job, so
    /// asking twice names the same invoice.
    pub(crate) fn invoice_action(&self, id: JobId, price: Msat) -> Action {
        if self.jobs.get(&id).is_some_and(|job| job.bill.is_some()) {
            return self.bill_action(id, price);
        }
        Action::Invoice {
            invoice_for: InvoiceFor::Quote(id),
            amount: price,
            lifetime: self.config.quote_lifetime,
            hold: self.config.escrow.then(|| self.config.seed.preimage(id).hash()),
        }
    }

    pub(crate) fn invoiced(
        &mut self,
        now: Timestamp,
        id: JobId,
        outcome: Result<Invoice, String>,
        out: &mut Actions,
    ) {
        let Some(Job { state: State::Invoicing { price, .. }, request, ecash, .. }) = self.jobs.get(&id)
        else {
            return;
        };
        let ecash = ecash.as_ref().map(|ecash| ecash.ask.clone());
        let invoice = match outcome {
            Ok(invoice) if invoice.amount == *price => invoice,
            Ok(_) | Err(_) => {
                let why =
                    Why::new("wallet", "the provider's wallet cannot make an invoice; nothing was charged");
                return self.refuse(now, id, why, out);
            }
        };
        let kind = request.kind;
        out.save(Record::Payment(PaymentRow {
            hash: invoice.payment_hash,
            job: id,
            direction: Direction::In,
            amount: invoice.amount,
            bolt11: invoice.bolt11.clone(),
            at: now,
        }));
        if self.jobs.get(&id).is_some_and(|job| job.bill.is_some()) {
            return self.begin_billed(now, id, invoice, out);
        }
        let terms = if self.config.escrow { Terms::Escrow } else { Terms::Prepaid };
        let expires_at = now.after(self.config.quote_lifetime).min(invoice.expires_at);
        let eta = self.config.offer(kind).map(|offer| offer.eta);
        self.name_ecash(now, id, out);
        self.explain_arrears(id, invoice.amount, out);
        out.publish(id, Draft::Quote { invoice: invoice.clone(), expires_at, eta, terms, ecash });
        self.move_to(now, id, State::Offered { invoice, terms, expires_at }, out);
        self.price_zaps(id, out);
    }
}

/// What a job waits for before it has a price, as far as its request tells.
fn awaited(request: &JobRequest) -> &'static str {
    let holds = |wanted| request.inputs.iter().any(|input| input.input_type == wanted);
    if holds(InputType::Job) {
        "waiting for the result of an earlier job"
    } else if holds(InputType::Url) || holds(InputType::Event) {
        "its inputs are being fetched and read"
    } else {
        "it is being checked whether this job is acceptable here"
    }
}

/// What about a request is not as its kind asks. A kind that the registry does not know asks nothing.
fn invalid(request: &JobRequest) -> Option<Fault> {
    openagents_registry::find(request.kind).ok()?.read_request(request).err()
}

/// A job's rank: by its bid, where it names one.
pub(crate) fn rank(request: &JobRequest, price: Msat) -> u8 {
    priority(request.bid.unwrap_or(price), price)
}

fn bid_too_low(bid: Msat, least: Msat) -> Verdict {
    let message = format!("the bid of {bid} is below the price of {least}; nothing was charged, bid more");
    Verdict::Refuse(Why::new("bid-too-low", message), Some(least))
}

fn bid_missing(least: Msat) -> Verdict {
    let message = format!(
        "this provider asks for a bid, and this job costs {least} or more; nothing was charged, bid that"
    );
    Verdict::Refuse(Why::new("bid-missing", message), Some(least))
}

fn refused_below(why: &Why, minimum: Option<Msat>) -> Notice {
    Notice::Refused { code: why.code.clone(), message: why.message.clone(), minimum }
}
