//! From records to what is shown of them.

use openagents_api::{
    JobView, LedgerLine, LedgerView, NodeView, QuoteView, RailView, RefusalView, Side, StepView,
};
use openagents_engine::{
    Ask, Job,
    customer::{AskOutcome, Attempt, Kept, Money, Phase, Reclaim},
    job::{Funds, Outcome, State, Step},
};
use openagents_types::{Msat, Rail, Terms};

use crate::store::LedgerRow;

/// A job we sell.
pub(super) fn sold(job: &Job, provider: Option<openagents_types::ProviderKey>) -> JobView {
    let (price, paid, in_flight) = sold_money(&job.state);
    JobView {
        id: job.id(),
        side: Side::Sold,
        kind: job.request.kind,
        state: job.state.word().into(),
        explanation: doubted_refund(job)
            .or_else(|| refund_to_address(job))
            .unwrap_or_else(|| sold_explanation(&job.state)),
        open: !job.state.is_closed(),
        customer: job.request.customer.to_hex(),
        provider,
        bid_msat: job.request.bid.map(Msat::get),
        price_msat: price.map(Msat::get),
        paid_msat: paid.get(),
        fee_msat: 0,
        in_flight_msat: in_flight.get(),
        payment_hash: job.state.hash().map(|hash| hash.to_hex()),
        preimage: None,
        result_sha256: None,
        rail: sold_rail(job).map(|rail| rail.word().into()),
        terms: sold_terms(&job.state).map(|terms| terms.word().into()),
        result_event: None,
        made_by: None,
        quotes: Vec::new(),
        refusals: Vec::new(),
        asked_at: job.received_at.millis(),
        changed_at: job.changed_at.millis(),
        steps: steps(&job.steps),
    }
}

/// Price, what is ours, and what is locked or owed.
fn sold_money(state: &State) -> (Option<Msat>, Msat, Msat) {
    let none = Msat::ZERO;
    match state {
        State::Resolving => (None, none, none),
        State::Invoicing { price, .. } => (Some(*price), none, none),
        State::Offered { invoice, .. } => (Some(invoice.amount), none, none),
        State::Lapsing { amount, .. } => (Some(*amount), none, none),
        State::Queued { funds, .. } | State::Running { funds, .. } => match funds {
            Funds::Free => (Some(none), none, none),
            Funds::Held { amount, .. } => (Some(*amount), none, *amount),
            Funds::Paid { amount, .. } | Funds::Balance { amount } => (Some(*amount), *amount, none),
            Funds::Credit { amount, .. } => (Some(*amount), none, none),
        },
        State::Delivered { amount, .. } => (Some(*amount), none, *amount),
        State::Billed { amount, .. } => (Some(*amount), none, none),
        State::Returning { .. } => (None, none, none),
        State::RefundOwed { amount, .. } | State::Refunding { amount, .. } => (Some(*amount), *amount, none),
        State::Closed { outcome, .. } => match outcome {
            Outcome::Settled { paid } => (Some(*paid), *paid, none),
            Outcome::Unpaid { .. }
            | Outcome::Refused(_)
            | Outcome::Expired
            | Outcome::Cancelled
            | Outcome::Failed(_) => (None, none, none),
            Outcome::Refunded { amount, .. } => (Some(*amount), none, none),
            Outcome::Credited { amount, .. } => (Some(*amount), *amount, none),
        },
    }
}

/// What happens now, where the money is, what comes next: every explanation has the three.
fn told(now: impl AsRef<str>, money: impl AsRef<str>, next: impl AsRef<str>) -> String {
    let parts = [now.as_ref(), money.as_ref(), next.as_ref()];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

/// A reason as the middle of a sentence. Some of its words may be a stranger's.
fn because(message: &str) -> String {
    let reason = clean(message, 300);
    match reason.trim().trim_end_matches('.') {
        "" => "no reason was given".into(),
        reason => reason.replace('\n', " "),
    }
}

/// A refund that may have been paid before the records were restored from a backup.
fn doubted_refund(job: &Job) -> Option<String> {
    let State::RefundOwed { amount, .. } = &job.state else { return None };
    let doubt = job.doubts.first()?;
    let now = format!("It was not delivered, and its refund may have been paid already, as payment {doubt}.");
    let money = format!("{amount} are held back, so that they are not paid twice.");
    Some(told(now, money, "Look at that payment in the wallet; if it was another, pay the customer by hand."))
}

/// A refund that goes to the address its customer named, unless a claim comes first.
fn refund_to_address(job: &Job) -> Option<String> {
    let State::RefundOwed { amount, why, .. } = &job.state else { return None };
    let to = clean(job.request.refund_to.as_ref()?, 100);
    let now = format!("It will not be delivered: {}.", because(&why.message));
    let next = match &job.payback.trouble {
        None => format!("Without a claim they are paid to {to}."),
        Some(trouble) => {
            format!("They are to go to {to}, and could not yet: {}. It is tried again.", because(trouble))
        }
    };
    Some(told(now, format!("{amount} came in and are owed back."), next))
}

fn sold_explanation(state: &State) -> String {
    let untouched = "No money has moved.";
    match state {
        State::Resolving => told("Its inputs are being read.", untouched, "The price comes next."),
        State::Invoicing { price, .. } => {
            told(format!("The wallet makes an invoice for {price}."), untouched, "The customer gets it next.")
        }
        State::Offered { invoice, .. } => {
            let now = format!("The customer has our price, {}.", invoice.amount);
            told(now, untouched, "Work starts when it is paid; unpaid, the offer lapses.")
        }
        State::Lapsing { why, .. } => {
            let now = format!("The offer is over: {}.", because(&why.message));
            told(now, untouched, "A payment that still arrives is seen, and worked for or owed back.")
        }
        State::Queued { funds, .. } => {
            told("It waits for a free slot.", funds_sentence(*funds), "The work comes next.")
        }
        State::Running { funds, .. } => {
            told("It is being worked on.", funds_sentence(*funds), "The result comes next.")
        }
        State::Delivered { amount, .. } => {
            told("The result is sent.", format!("{amount} are locked for us."), "The wallet takes them next.")
        }
        State::Billed { amount, .. } => {
            let money = format!("{amount} are asked for it, and not paid yet.");
            told(
                "The result is sent with its bill.",
                money,
                "Unpaid, it counts against the customer's credit.",
            )
        }
        State::Returning { why, .. } => {
            let now = format!("It will not be delivered: {}.", because(&why.message));
            told(now, "Its payment is locked and not ours.", "The wallet gives it back next.")
        }
        State::RefundOwed { amount, why, .. } => {
            let now = format!("It will not be delivered: {}.", because(&why.message));
            told(now, format!("{amount} came in and are owed back."), "The customer has to say where to.")
        }
        State::Refunding { amount, .. } => {
            let now = format!("The refund of {amount} is being paid.");
            told(now, "It is ours until the wallet says it has left.", "The wallet is asked until it knows.")
        }
        State::Closed { outcome, .. } => sold_end(outcome),
    }
}

fn funds_sentence(funds: Funds) -> String {
    match funds {
        Funds::Free => "It is free; no money is involved.".into(),
        Funds::Held { amount, .. } => format!("{amount} are locked until delivery; a failure frees them."),
        Funds::Paid { amount, .. } => format!("{amount} are paid; a failure owes them back."),
        Funds::Credit { amount, .. } => {
            format!("{amount} are paid after the work, by a bill with the result.")
        }
        Funds::Balance { amount } => {
            format!("{amount} are paid from the customer's balance; a failure gives them back to it.")
        }
    }
}

fn sold_end(outcome: &Outcome) -> String {
    let done = "Nothing more is to be done.";
    match outcome {
        Outcome::Settled { paid } if paid.is_zero() => told("Delivered.", "It was free.", done),
        Outcome::Settled { paid } => told("Delivered.", format!("{paid} are ours."), done),
        Outcome::Unpaid { .. } => {
            told("Delivered.", "It was not paid: the lock lapsed, or the bill did; we have nothing.", done)
        }
        Outcome::Refused(why) => {
            told(format!("Turned away: {}.", because(&why.message)), "No money moved.", done)
        }
        Outcome::Expired => told("The offer was not paid in time.", "No money moved.", done),
        Outcome::Cancelled => told("The customer took it back.", "Any payment went back.", done),
        Outcome::Failed(why) => {
            told(format!("Failed: {}.", because(&why.message)), "Any payment went back.", done)
        }
        Outcome::Credited { amount, why } => {
            let now = format!("Failed: {}.", because(&why.message));
            let money = format!("{amount} became the customer's balance, because nobody claimed them.");
            told(now, money, "Its next jobs run from it; a claim is still paid.")
        }
        Outcome::Refunded { amount, why } => {
            let now = format!("Failed: {}.", because(&why.message));
            told(now, format!("{amount} were paid back."), done)
        }
    }
}

/// A job we buy.
pub(super) fn bought(ask: &Ask) -> JobView {
    let settled = ask.attempts.iter().rev().find_map(|attempt| match &attempt.money {
        Money::Settled { preimage, fee, .. } => Some((attempt, *preimage, *fee)),
        Money::Pending | Money::Doubtful | Money::Returned => None,
    });
    let current = ask.current();
    let in_flight: Msat = ask
        .attempts
        .iter()
        .filter(|attempt| matches!(attempt.money, Money::Pending | Money::Doubtful))
        .map(|attempt| attempt.quote.price)
        .sum();
    let provider = ask.delivery.as_ref().map(|d| d.provider).or(current.map(|a| a.quote.provider));
    let shown = settled.as_ref().map(|(attempt, ..)| *attempt).or(current);
    JobView {
        id: ask.id,
        side: Side::Bought,
        kind: ask.spec.kind,
        state: ask.word().into(),
        explanation: bought_explanation(ask),
        open: ask.is_open(),
        customer: ask.customer.to_hex(),
        provider: provider.or(ask.spec.provider),
        bid_msat: Some(ask.spec.bid.get()),
        price_msat: current.map(|attempt| attempt.quote.price.get()).or(ask.delivery.as_ref().map(|_| 0)),
        paid_msat: ask.paid().get(),
        fee_msat: settled.as_ref().map_or(0, |(_, _, fee)| fee.get()),
        in_flight_msat: in_flight.get(),
        payment_hash: shown.map(|attempt| attempt.hash().to_hex()),
        preimage: settled.map(|(_, preimage, _)| preimage.to_hex()),
        result_sha256: ask.delivery.as_ref().map(|delivery| delivery.sha256.clone()),
        rail: shown.map(|attempt| attempt.rail.word().into()),
        terms: shown.map(|attempt| attempt.terms().word().into()),
        result_event: ask.delivery.as_ref().map(|delivery| delivery.event),
        made_by: ask.delivery.as_ref().and_then(|delivery| delivery.made_by.clone()),
        quotes: ask.quotes.iter().map(quote).collect(),
        refusals: ask.refusals.iter().map(refusal).collect(),
        asked_at: ask.asked_at.millis(),
        changed_at: ask.changed_at.millis(),
        steps: steps(&ask.steps),
    }
}

fn quote(quote: &openagents_types::Quote) -> QuoteView {
    QuoteView {
        provider: quote.provider,
        price_msat: quote.price.get(),
        eta_ms: quote.eta.map(|eta| eta.0),
        rails: quote.rails().map(|(rail, _, terms)| rail_view(quote, rail, terms)).collect(),
    }
}

fn rail_view(quote: &openagents_types::Quote, rail: Rail, terms: Terms) -> RailView {
    let what = match rail {
        Rail::Bolt11 => "Lightning invoice",
        Rail::Cashu => "ecash",
    };
    let when = match terms {
        Terms::Escrow => "locked until delivery",
        Terms::Prepaid => "paid before the work",
    };
    let mints = quote.ecash.iter().filter(|_| rail == Rail::Cashu).flat_map(|ecash| &ecash.mints);
    RailView {
        rail: rail.word().into(),
        terms: terms.word().into(),
        words: format!("{what}, {when}"),
        mints: mints.map(|mint| clean(mint, 200)).collect(),
    }
}

/// Which way a job that we sell is paid, once it is.
pub(super) fn sold_rail(job: &Job) -> Option<Rail> {
    let hash = job.state.hash()?;
    Some(if job.ecash_hash() == Some(hash) { Rail::Cashu } else { Rail::Bolt11 })
}

/// When its money is ours.
const fn sold_terms(state: &State) -> Option<Terms> {
    match state {
        State::Offered { terms, .. } => Some(*terms),
        State::Queued { funds: Funds::Held { .. }, .. }
        | State::Running { funds: Funds::Held { .. }, .. }
        | State::Delivered { .. }
        | State::Returning { .. } => Some(Terms::Escrow),
        State::Queued { funds: Funds::Paid { .. }, .. }
        | State::Running { funds: Funds::Paid { .. }, .. }
        | State::Lapsing { .. }
        | State::RefundOwed { .. }
        | State::Refunding { .. } => Some(Terms::Prepaid),
        State::Resolving
        | State::Invoicing { .. }
        | State::Queued { funds: Funds::Free, .. }
        | State::Running { funds: Funds::Free, .. }
        // What is paid from a balance, or after the work, is no payment that waits.
        | State::Queued { funds: Funds::Balance { .. } | Funds::Credit { .. }, .. }
        | State::Running { funds: Funds::Balance { .. } | Funds::Credit { .. }, .. }
        | State::Billed { .. }
        | State::Closed { .. } => None,
    }
}

fn refusal(refusal: &openagents_engine::customer::Refusal) -> RefusalView {
    RefusalView {
        provider: refusal.provider,
        code: clean(&refusal.code, 40),
        message: clean(&refusal.message, 300),
    }
}

fn bought_explanation(ask: &Ask) -> String {
    let money = money_sentence(ask);
    match &ask.phase {
        Phase::Collecting { .. } if !ask.doubts.is_empty() => told(
            "The wallet has paid something that these records do not know, perhaps for this job.",
            money,
            "No other offer is taken, so that it is not paid twice; it ends at its deadline unless a result comes.",
        ),
        Phase::Collecting { .. } if ask.quotes.is_empty() => {
            told("No offer yet.", money, "The best offer within the bid is taken when the window ends.")
        }
        Phase::Collecting { .. } => {
            let now = match ask.quotes.len() {
                1 => "One offer so far.".into(),
                many => format!("{many} offers so far."),
            };
            told(now, money, "The best is chosen when the window ends.")
        }
        Phase::Waiting => told("One offer is chosen and being paid.", money, "Its result comes next."),
        Phase::Abandoning => {
            told("The provider did not deliver.", money, "The next offer is tried once that money is back.")
        }
        Phase::Closed { outcome } => told(bought_end(ask, outcome), money, bought_next(ask, outcome)),
    }
}

fn bought_end(ask: &Ask, outcome: &AskOutcome) -> String {
    match outcome {
        AskOutcome::Delivered => "The result is here.".into(),
        AskOutcome::NoOffer if !ask.refusals.is_empty() && ask.spec.provider.is_some() => {
            "The provider that was asked made no offer that can be taken.".into()
        }
        AskOutcome::NoOffer if !ask.refusals.is_empty() => "Everybody who answered said no.".into(),
        AskOutcome::NoOffer => "Nobody offered to do it in time.".into(),
        AskOutcome::Failed { message } => format!("It failed: {}.", because(message)),
        AskOutcome::Cancelled => "You took it back.".into(),
    }
}

fn bought_next(ask: &Ask, outcome: &AskOutcome) -> &'static str {
    if !ask.is_settled() {
        return "The wallet is asked until every payment is certain.";
    }
    match outcome {
        AskOutcome::NoOffer if !ask.refusals.is_empty() => "The reasons say what to change.",
        AskOutcome::NoOffer => "Ask again later, or for another kind; nobody may sell this one here.",
        AskOutcome::Failed { .. } => "Ask again when you like.",
        AskOutcome::Delivered | AskOutcome::Cancelled => "Nothing more is to be done.",
    }
}

/// Where the customer's money is: a sentence for each payment that did not simply come back.
fn money_sentence(ask: &Ask) -> String {
    let kept: Vec<String> = ask.kept.iter().filter(|kept| is_kept(ask, kept)).map(kept_sentence).collect();
    if ask.attempts.is_empty() {
        return if kept.is_empty() { "No money moved.".into() } else { kept.join(" ") };
    }
    let away = ask.attempts.iter().filter(|attempt| attempt.money != Money::Returned);
    let sentences: Vec<String> = away.map(attempt_sentence).chain(kept).collect();
    if sentences.is_empty() { "All money came back.".into() } else { sentences.join(" ") }
}

/// Whether a word on a balance still holds: what came back to us after all is kept by nobody.
fn is_kept(ask: &Ask, kept: &Kept) -> bool {
    let paid = ask.attempts.iter().filter(|attempt| attempt.quote.provider == kept.provider);
    let mut paid = paid.map(|attempt| attempt.money != Money::Returned).peekable();
    paid.peek().is_none() || paid.any(|holds| holds)
}

fn kept_sentence(kept: &Kept) -> String {
    let amount = kept.amount;
    if kept.used {
        format!("{amount} were paid from your balance, says the provider.")
    } else {
        format!("The provider says that it keeps {amount} as your balance.")
    }
}

fn attempt_sentence(attempt: &Attempt) -> String {
    let price = attempt.quote.price;
    match &attempt.money {
        Money::Pending if attempt.rail == Rail::Cashu => format!(
            "{price} are locked as ecash, funds safe: they are settled on delivery or come back when the lock ends."
        ),
        Money::Pending => {
            format!("{price} are pending, funds safe: they are settled on delivery or come back.")
        }
        Money::Doubtful => format!("{price} came back, says the wallet; it is asked once more."),
        Money::Returned => format!("{price} came back."),
        Money::Settled { reclaim, .. } => match reclaim {
            Reclaim::No => format!("{price} were paid."),
            Reclaim::Due | Reclaim::Claimed { .. } => format!("{price} were paid and are claimed back."),
            Reclaim::Done => format!("{price} were paid and came back."),
            Reclaim::Elsewhere => {
                format!(
                    "{price} were paid; the provider says they were paid back to the job's refund address."
                )
            }
        },
    }
}

fn steps(steps: &[Step]) -> Vec<StepView> {
    steps.iter().map(|step| StepView { at: step.at.millis(), state: step.word.to_string() }).collect()
}

/// The node, without what its wallet and its relays should not be able to say.
pub(super) fn node(mut node: NodeView) -> NodeView {
    for relay in &mut node.relays {
        relay.state = clean(&relay.state, 120);
    }
    if let Some(wallet) = &mut node.wallet {
        wallet.alias = clean(&wallet.alias, 60);
        wallet.network = clean(&wallet.network, 20);
    }
    node
}

/// The ledger.
pub(super) fn ledger(rows: Vec<LedgerRow>, net_msat: i64, balance_msat: Option<u64>) -> LedgerView {
    let line = |row: LedgerRow| LedgerLine {
        at: row.at,
        job: row.job,
        hash: row.hash,
        movement: row.movement,
        msat: row.msat,
    };
    LedgerView { lines: rows.into_iter().map(line).collect(), net_msat, balance_msat }
}

/// Strangers' text, without what terminals and browsers obey, and no longer than `most` characters.
pub(crate) fn clean(text: &str, most: usize) -> String {
    text.chars().filter(|c| !is_harmful(*c)).take(most).collect()
}

/// Control characters but line breaks and tabs, direction overrides, invisible spaces and separators.
/// Zero-width joiners stay: scripts and emoji need them.
fn is_harmful(c: char) -> bool {
    (c.is_control() && c != '\n' && c != '\t')
        || matches!(
            c,
            '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
        )
}
