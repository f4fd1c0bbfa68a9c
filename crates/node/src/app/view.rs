//! From records to what is shown of them.

use openagents_api::{JobView, LedgerLine, LedgerView, QuoteView, RefusalView, Side, StepView};
use openagents_engine::{
    Ask, Job,
    customer::{AskOutcome, Money, Phase, Reclaim},
    job::{Funds, Outcome, State, Step},
};
use openagents_types::Msat;

use crate::store::LedgerRow;

/// A job we sell.
pub(super) fn sold(job: &Job, provider: openagents_types::ProviderKey) -> JobView {
    let (price, paid, in_flight) = sold_money(&job.state);
    JobView {
        id: job.id(),
        side: Side::Sold,
        kind: job.request.kind,
        state: job.state.word().into(),
        explanation: sold_explanation(&job.state),
        open: !job.state.is_closed(),
        customer: job.request.customer.to_hex(),
        provider: Some(provider),
        bid_msat: job.request.bid.map(Msat::get),
        price_msat: price.map(Msat::get),
        paid_msat: paid.get(),
        fee_msat: 0,
        in_flight_msat: in_flight.get(),
        payment_hash: job.state.hash().map(|hash| hash.to_hex()),
        preimage: None,
        result_sha256: None,
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
            Funds::Paid { amount, .. } => (Some(*amount), *amount, none),
        },
        State::Delivered { amount, .. } => (Some(*amount), none, *amount),
        State::Returning { .. } => (None, none, none),
        State::RefundOwed { amount, .. } | State::Refunding { amount, .. } => (Some(*amount), *amount, none),
        State::Closed { outcome, .. } => match outcome {
            Outcome::Settled { paid } => (Some(*paid), *paid, none),
            Outcome::Unpaid
            | Outcome::Refused(_)
            | Outcome::Expired
            | Outcome::Cancelled
            | Outcome::Failed(_)
            | Outcome::Refunded { .. } => (None, none, none),
        },
    }
}

fn sold_explanation(state: &State) -> String {
    match state {
        State::Resolving => "Its inputs are being read. No money is involved yet.".into(),
        State::Invoicing { .. } => "The wallet makes its invoice. No money is involved yet.".into(),
        State::Offered { .. } => "The customer has our price; the work starts when it is paid.".into(),
        State::Lapsing { .. } => "The offer is over; a late payment would still be seen and handled.".into(),
        State::Queued { funds, .. } => format!("It waits for a free slot. {}", funds_sentence(*funds)),
        State::Running { funds, .. } => format!("It is being worked on. {}", funds_sentence(*funds)),
        State::Delivered { .. } => "The result is sent; the locked payment is being taken.".into(),
        State::Returning { why, .. } => format!("The locked payment goes back: {}.", why.message),
        State::RefundOwed { amount, why, .. } => {
            format!("{amount} have to go back ({}); the customer has to say where to.", why.message)
        }
        State::Refunding { amount, .. } => format!("The refund of {amount} is being paid."),
        State::Closed { outcome, .. } => sold_end(outcome),
    }
}

fn funds_sentence(funds: Funds) -> &'static str {
    match funds {
        Funds::Free => "It is free.",
        Funds::Held { .. } => "Its payment is locked until delivery.",
        Funds::Paid { .. } => "It is paid; if it fails the money goes back.",
    }
}

fn sold_end(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Settled { paid } if paid.is_zero() => "Delivered, for free.".into(),
        Outcome::Settled { paid } => format!("Delivered, and {paid} are ours."),
        Outcome::Unpaid => "Delivered, but the locked payment lapsed before it could be taken.".into(),
        Outcome::Refused(why) => format!("Turned away: {}.", why.message),
        Outcome::Expired => "The offer was not paid in time. No money moved.".into(),
        Outcome::Cancelled => "The customer took it back. Any payment went back.".into(),
        Outcome::Failed(why) => format!("Failed: {}. Any payment went back.", why.message),
        Outcome::Refunded { amount, why } => format!("Failed ({}); {amount} were paid back.", why.message),
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
        open: !ask.is_over(),
        customer: ask.customer.to_hex(),
        provider: provider.or(ask.spec.provider),
        bid_msat: Some(ask.spec.bid.get()),
        price_msat: current.map(|attempt| attempt.quote.price.get()),
        paid_msat: ask.paid().get(),
        fee_msat: settled.as_ref().map_or(0, |(_, _, fee)| fee.get()),
        in_flight_msat: in_flight.get(),
        payment_hash: shown.map(|attempt| attempt.quote.invoice.payment_hash.to_hex()),
        preimage: settled.map(|(_, preimage, _)| preimage.to_hex()),
        result_sha256: ask.delivery.as_ref().map(|delivery| delivery.sha256.clone()),
        quotes: ask.quotes.iter().map(quote).collect(),
        refusals: ask.refusals.iter().map(refusal).collect(),
        asked_at: ask.asked_at.millis(),
        changed_at: ask.changed_at.millis(),
        steps: steps(&ask.steps),
    }
}

fn quote(quote: &openagents_types::Quote) -> QuoteView {
    QuoteView { provider: quote.provider, price_msat: quote.price.get(), eta_ms: quote.eta.map(|eta| eta.0) }
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
        Phase::Collecting { .. } if ask.quotes.is_empty() => format!("No offer yet. {money}"),
        Phase::Collecting { .. } => {
            format!("{} offers so far; the best is chosen soon. {money}", ask.quotes.len())
        }
        Phase::Waiting => format!("One provider is chosen and at work. {money}"),
        Phase::Abandoning => {
            format!("The provider did not deliver; the next is tried when the money is back. {money}")
        }
        Phase::Closed { outcome } => match outcome {
            AskOutcome::Delivered => format!("The result is here. {money}"),
            AskOutcome::NoOffer => "Nobody offered to do it for the bid in time. No money moved.".into(),
            AskOutcome::Failed { message } => format!("It failed: {}. {money}", clean(message, 300)),
            AskOutcome::Cancelled => format!("You took it back. {money}"),
        },
    }
}

/// Where the customer's money is.
fn money_sentence(ask: &Ask) -> String {
    let mut sentence = String::from("No money moved.");
    for attempt in &ask.attempts {
        let price = attempt.quote.price;
        sentence = match &attempt.money {
            Money::Pending => {
                format!("{price} are pending; funds safe: they settle on delivery or come back.")
            }
            Money::Doubtful => format!("{price} are on their way back, says the wallet; it is asked again."),
            Money::Returned => format!("{price} came back."),
            Money::Settled { reclaim, .. } => match reclaim {
                Reclaim::No => format!("{price} were paid."),
                Reclaim::Due | Reclaim::Claimed { .. } => format!("{price} were paid and are claimed back."),
                Reclaim::Done => format!("{price} were paid back."),
            },
        };
    }
    sentence
}

fn steps(steps: &[Step]) -> Vec<StepView> {
    steps.iter().map(|step| StepView { at: step.at.millis(), state: step.word.clone() }).collect()
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

/// Strangers' text, without what terminals and browsers obey, and no longer than `most`.
pub(super) fn clean(text: &str, most: usize) -> String {
    let harmful = |c: char| {
        (c.is_control() && c != '\n' && c != '\t')
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
    };
    text.chars().filter(|c| !harmful(*c)).take(most).collect()
}
