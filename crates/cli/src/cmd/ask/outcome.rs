//! What a finished job means to whoever asked: the object for programs, the words for people, the exit.

use openagents_api::{JobView, RefusalView, SCHEMA_VERSION};
use openagents_types::{JobId, Msat, ProviderKey};
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
    /// Everybody who answered refused, and it was taken back.
    GivenUp,
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
        _ if job.state == "no-offer" || ending == Ending::GivenUp => {
            if is_too_dear(job) {
                Exit::Refused
            } else {
                Exit::NoOffer
            }
        }
        Ending::Expired => Exit::Timeout,
        Ending::Its | Ending::GivenUp => Exit::Error,
    }
}

/// Offers there were, but above the bid.
fn is_too_dear(job: &JobView) -> bool {
    let bid = job.bid_msat.unwrap_or(u64::MAX);
    job.quotes.iter().any(|quote| quote.price_msat > bid)
        || job
            .refusals
            .iter()
            .any(|refusal| matches!(refusal.code.as_str(), "bid-too-low" | "too-dear" | "above-bid"))
}

/// What happened, where the money is, what to do next.
pub(super) fn words(job: &JobView, exit: Exit) -> String {
    let mut lines = vec![match exit {
        // Taken back by us, not by the person who asked.
        Exit::Refused | Exit::NoOffer if job.state == "cancelled" => {
            "no offer: everybody who answered refused".into()
        }
        _ => format!("{}: {}", one_line(&job.state, 30), one_line(&job.explanation, 400)),
    }];
    lines.extend(job.refusals.iter().map(|refusal| {
        format!(
            "  {}… said no: {} ({})",
            &refusal.provider.to_hex()[..8],
            one_line(&refusal.message, 200),
            one_line(&refusal.code, 40)
        )
    }));
    lines.push(format!("money: {}", money(job)));
    if let Some(next) = next(exit) {
        lines.push(format!("next: {next}"));
    }
    lines.join("\n")
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

const fn next(exit: Exit) -> Option<&'static str> {
    match exit {
        Exit::NoOffer => {
            Some("check `openagents relay list`, wait longer with --window, or ask for another kind")
        }
        Exit::Refused => Some("raise --max-sat, or ask another provider"),
        Exit::Pending => Some("look again with `openagents jobs show`; do not pay twice"),
        Exit::Timeout => Some("allow more time with --deadline"),
        Exit::Error => Some("ask again; another provider may be chosen"),
        _ => None,
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
            (
                json!({ "state": "cancelled", "refusals": refused("bid-too-low") }),
                Ending::GivenUp,
                Exit::Refused,
            ),
            (json!({ "state": "cancelled", "refusals": refused("busy") }), Ending::GivenUp, Exit::NoOffer),
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
    fn a_job_at_work_is_not_decided() {
        for state in ["collecting", "paying", "abandoning"] {
            assert!(!is_decided(&job(&json!({ "state": state, "open": true }))), "{state}");
        }
        assert!(is_decided(&job(&json!({ "state": "failed", "open": true }))));
    }
}
