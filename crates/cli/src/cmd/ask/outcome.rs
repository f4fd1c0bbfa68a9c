//! What a finished job means to whoever asked: the object for programs, the words for people, the exit.

use openagents_api::{JobView, RefusalView, SCHEMA_VERSION};
use openagents_types::{JobId, MadeBy, Msat, ProviderKey, refusal};
use serde::Serialize;

use crate::{exit::Exit, text::one_line};

/// The last line of `openagents ask --json`.
#[derive(Debug, Serialize)]
pub(super) struct Answer<'a> {
    schema_version: u32,
    job_id: JobId,
    state: &'a str,
    provider: Option<ProviderKey>,
    paid_msat: u64,
    fee_msat: u64,
    in_flight_msat: u64,
    result: Option<&'a str>,
    result_sha256: Option<&'a str>,
    made_by: Option<&'a MadeBy>,
    rail: Option<&'a str>,
    terms: Option<&'a str>,
    payment_hash: Option<&'a str>,
    preimage: Option<&'a str>,
    refusals: &'a [RefusalView],
    explanation: &'a str,
}

impl<'a> Answer<'a> {
    /// The job and its result, if there is one.
    pub(super) fn new(job: &'a JobView, result: Option<&'a str>) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            job_id: job.id,
            state: &job.state,
            provider: job.provider,
            paid_msat: job.paid_msat,
            fee_msat: job.fee_msat,
            in_flight_msat: job.in_flight_msat,
            result,
            result_sha256: job.result_sha256.as_deref(),
            made_by: job.made_by.as_ref(),
            rail: job.rail.as_deref(),
            terms: job.terms.as_deref(),
            payment_hash: job.payment_hash.as_deref(),
            preimage: job.preimage.as_deref(),
            refusals: &job.refusals,
            explanation: &job.explanation,
        }
    }
}

/// Whether the job's result is here.
pub(super) fn is_delivered(job: &JobView) -> bool {
    matches!(job.state.as_str(), "delivered" | "settled")
}

/// Whether nothing more will come, though its payment may still be under way.
pub(super) fn is_decided(job: &JobView) -> bool {
    is_delivered(job) || !job.open || matches!(job.state.as_str(), "failed" | "no-offer" | "cancelled")
}

/// Why waiting ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The job came to its own end.
    Its,
    /// Its time ran out.
    Expired,
    /// The person at the keyboard took it back.
    Interrupted,
}

/// What the program ends with.
pub(super) fn exit(job: &JobView, ending: Ending) -> Exit {
    if is_delivered(job) {
        return Exit::Ok;
    }
    match ending {
        Ending::Interrupted => Exit::Interrupted,
        _ if job.in_flight_msat > 0 => Exit::Pending,
        _ if job.state == "no-offer" || was_refused(job) => match why_refused(job) {
            WhyRefused::Price | WhyRefused::DayLimit | WhyRefused::InAdvance | WhyRefused::NoBalance => {
                Exit::Refused
            }
            WhyRefused::Job => Exit::Error,
            WhyRefused::Other => Exit::NoOffer,
        },
        Ending::Expired => Exit::Timeout,
        Ending::Its => Exit::Error,
    }
}

/// Whether the only provider that was asked said no before a price was agreed.
fn was_refused(job: &JobView) -> bool {
    job.state == "failed" && job.price_msat.is_none() && job.paid_msat == 0 && !job.refusals.is_empty()
}

/// What stood between the job and an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WhyRefused {
    /// Offers are above the bid.
    Price,
    /// Offers are above what is left of the day's budget.
    DayLimit,
    /// Offers want more in advance than their providers are trusted with.
    InAdvance,
    /// Only a balance was to pay, and there is none that does.
    NoBalance,
    /// The job itself: asked again, it is refused again.
    Job,
    /// Nobody is there, or whoever is has no room.
    Other,
}

fn why_refused(job: &JobView) -> WhyRefused {
    let bid = job.bid_msat.unwrap_or(u64::MAX);
    let codes = || job.refusals.iter().map(|refusal| refusal.code.as_str());
    if codes().any(|code| code == refusal::DAILY_LIMIT) {
        WhyRefused::DayLimit
    } else if codes().any(|code| code == refusal::IN_ADVANCE) {
        WhyRefused::InAdvance
    } else if codes().any(|code| code == refusal::NO_BALANCE) {
        WhyRefused::NoBalance
    } else if job.quotes.iter().any(|quote| quote.price_msat > bid)
        || codes().any(|code| matches!(code, "bid-too-low" | "too-dear" | "above-bid"))
    {
        WhyRefused::Price
    } else if codes().next().is_some() && codes().all(refusal::is_about_the_job) {
        WhyRefused::Job
    } else {
        WhyRefused::Other
    }
}

/// What happened, where the money is, what to do next.
pub(super) fn words(job: &JobView, exit: Exit) -> String {
    let mut lines = vec![format!("{}: {}", one_line(&job.state, 30), one_line(&job.explanation, 400))];
    lines.extend(job.refusals.iter().map(told));
    lines.push(format!("money: {}", money(job)));
    if let Some(next) = next(job, exit) {
        lines.push(format!("next: {next}"));
    }
    lines.join("\n")
}

/// Who would not do the job, or whose offer was not taken.
fn told(no: &RefusalView) -> String {
    let verb = if refusal::is_of_the_customer(&no.code) { "was not taken: it" } else { "said no:" };
    let provider = &no.provider.to_hex()[..8];
    format!("  {provider}… {verb} {} ({})", one_line(&no.message, 200), one_line(&no.code, 40))
}

fn money(job: &JobView) -> String {
    let (paid, fee) = (Msat::new(job.paid_msat), Msat::new(job.fee_msat));
    match (job.paid_msat, job.in_flight_msat) {
        (0, 0) => "none left your wallet".into(),
        (0, flying) => {
            format!("{} locked or under way; it is paid for a result or comes back", Msat::new(flying))
        }
        (_, 0) => format!("{paid} paid, {fee} for routing"),
        (_, flying) => format!("{paid} paid, {fee} for routing, {} still under way", Msat::new(flying)),
    }
}

fn next(job: &JobView, exit: Exit) -> Option<String> {
    let next = match (exit, why_refused(job)) {
        (Exit::Refused, WhyRefused::DayLimit) => {
            "wait for the next day (UTC), or raise `daily_limit_msat` under [customer] in config.toml and restart the node"
        }
        (Exit::Refused, WhyRefused::InAdvance) => {
            "ask a provider whose wallet locks payments, ask for less at a time, or raise the limit named above under [customer] in config.toml and restart the node"
        }
        (Exit::Refused, WhyRefused::NoBalance) => {
            "leave --balance-of out to pay from the wallet; `openagents jobs show` says what a provider keeps of a job"
        }
        (Exit::Refused, _) => "raise --max-sat, or ask another provider",
        (Exit::NoOffer, _) => no_offer(job),
        (Exit::Pending, _) => {
            return Some(format!("look again with `openagents jobs show {}`; do not pay twice", job.id));
        }
        (Exit::Timeout, _) if job.refusals.is_empty() => "allow more time with --deadline",
        (Exit::Timeout, _) => "ask again; more time would not have helped where a provider said no",
        (Exit::Error, WhyRefused::Job) => "correct what was said no to, then ask again",
        (Exit::Error, _) => "ask again; another provider may be chosen",
        _ => return None,
    };
    Some(next.into())
}

/// What to do where nobody makes an offer; a higher bid would not help.
fn no_offer(job: &JobView) -> &'static str {
    let is_unsold = job.refusals.iter().any(|no| no.code == "kind");
    match (job.refusals.is_empty(), job.provider.is_some()) {
        (true, true) => {
            "that provider does not answer, or does not sell this kind, and a higher limit would not help: check `openagents relay list`, or ask others by leaving --provider out"
        }
        (true, false) => {
            "perhaps nobody sells this kind, and a higher limit would not help: check `openagents relay list`, wait longer with --deadline, or ask for another kind"
        }
        (false, true) if is_unsold => {
            "that provider does not sell this kind: leave --provider out to ask others, or ask for another kind"
        }
        (false, true) => "ask again later, or leave --provider out to ask others",
        (false, false) => "ask again later, or ask for another kind",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]
    use serde_json::{Value, json};

    use super::*;

    fn job(changes: &Value) -> JobView {
        let mut job = json!({
            "id": "00".repeat(32), "side": "bought", "kind": 5001, "state": "collecting", "explanation": "",
            "open": false, "customer": "", "provider": null, "bid_msat": 1000, "price_msat": null,
            "paid_msat": 0, "fee_msat": 0, "in_flight_msat": 0, "payment_hash": null, "preimage": null,
            "result_sha256": null, "quotes": [], "refusals": [], "asked_at": 0, "changed_at": 0, "steps": [],
        });
        for (key, value) in changes.as_object().unwrap() {
            job[key] = value.clone();
        }
        serde_json::from_value(job).unwrap()
    }

    fn refused(code: &str) -> Value {
        json!([{ "provider": "11".repeat(32), "code": code, "message": "no" }])
    }

    #[test]
    fn each_end_of_a_job_has_its_exit() {
        let cases = [
            (json!({ "state": "settled" }), Ending::Its, Exit::Ok),
            (
                json!({ "state": "delivered", "open": true, "in_flight_msat": 5 }),
                Ending::Interrupted,
                Exit::Ok,
            ),
            (json!({ "state": "no-offer" }), Ending::Expired, Exit::NoOffer),
            (json!({ "state": "no-offer", "refusals": refused("bid-too-low") }), Ending::Its, Exit::Refused),
            (json!({ "state": "no-offer", "refusals": refused("busy") }), Ending::Its, Exit::NoOffer),
            (json!({ "state": "no-offer", "refusals": refused("daily-limit") }), Ending::Its, Exit::Refused),
            (json!({ "state": "no-offer", "refusals": refused("no-balance") }), Ending::Its, Exit::Refused),
            (json!({ "state": "no-offer", "refusals": refused("input") }), Ending::Its, Exit::Error),
            (json!({ "state": "failed", "refusals": refused("bid-too-low") }), Ending::Its, Exit::Refused),
            (
                json!({ "state": "failed", "provider": "11".repeat(32), "refusals": refused("bid-too-low") }),
                Ending::Its,
                Exit::Refused,
            ),
            (
                json!({ "state": "failed", "provider": "11".repeat(32), "price_msat": 900, "refusals": refused("error") }),
                Ending::Its,
                Exit::Error,
            ),
            (json!({ "state": "failed", "refusals": refused("policy") }), Ending::Its, Exit::Error),
            (json!({ "state": "failed", "in_flight_msat": 5, "open": true }), Ending::Expired, Exit::Pending),
            (json!({ "state": "failed" }), Ending::Expired, Exit::Timeout),
            (json!({ "state": "failed" }), Ending::Its, Exit::Error),
            (json!({ "state": "cancelled" }), Ending::Interrupted, Exit::Interrupted),
        ];
        for (changes, ending, expected) in cases {
            assert_eq!(exit(&job(&changes), ending), expected, "{changes} {ending:?}");
        }
    }

    #[test]
    fn an_undelivered_job_always_says_where_the_money_is() {
        let words = words(&job(&json!({ "state": "failed", "in_flight_msat": 3000 })), Exit::Pending);
        assert!(words.contains("money: 3 sat locked") && words.contains("do not pay twice"), "{words}");
    }

    #[test]
    fn nobody_is_told_to_pay_more_where_nobody_sells() {
        let asked = "11".repeat(32);
        for (changes, advice) in [
            (json!({ "state": "no-offer" }), "perhaps nobody sells this kind"),
            (json!({ "state": "no-offer", "provider": asked }), "does not answer"),
            (json!({ "state": "no-offer", "provider": asked, "refusals": refused("kind") }), "does not sell"),
            (json!({ "state": "no-offer", "refusals": refused("overloaded") }), "again later"),
        ] {
            let job = job(&changes);
            let exit = exit(&job, Ending::Its);
            let words = words(&job, exit);
            assert!(exit == Exit::NoOffer && words.contains(advice) && !words.contains("raise"), "{words}");
        }
    }

    #[test]
    fn a_job_at_work_is_not_decided() {
        for state in ["collecting", "paying", "abandoning"] {
            assert!(!is_decided(&job(&json!({ "state": state, "open": true }))), "{state}");
        }
        assert!(is_decided(&job(&json!({ "state": "failed", "open": true }))));
    }
}
