//! What is said of a job whose end is not known, because its node stopped or its owner left.

use openagents_api::JobView;
use openagents_types::{JobId, Msat};
use serde_json::{Value, json};

use super::outcome::Answer;
use crate::{exit::Exit, text::one_line};

/// A job that was asked and whose end was not seen.
pub(super) struct Unfinished<'a> {
    pub(super) id: JobId,
    pub(super) bid: Msat,
    /// The job as it was last seen.
    pub(super) seen: Option<&'a JobView>,
    /// Why nobody waits any longer: [`Exit::Pending`] for a node that is gone.
    pub(super) exit: Exit,
}

impl Unfinished<'_> {
    /// What the program ends with. A free job leaves no payment behind that a script could make twice.
    pub(super) fn exit(&self) -> Exit {
        match self.exit {
            Exit::Pending if self.bid.is_zero() => Exit::Error,
            exit => exit,
        }
    }

    /// What happened, where the money is, what to do next.
    pub(super) fn words(&self) -> String {
        format!("unknown: {}\nmoney: {}\nnext: {}", self.what(), self.money(), self.next())
    }

    /// The object for programs: the job as it was last seen, in a state of its own.
    pub(super) fn answer(&self) -> Value {
        let explanation = format!("{}; money: {}; next: {}", self.what(), self.money(), self.next());
        let mut answer = match self.seen.map(|job| serde_json::to_value(Answer::new(job, None))) {
            Some(Ok(answer)) => answer,
            _ => json!({
                "schema_version": openagents_api::SCHEMA_VERSION, "job_id": self.id, "provider": null,
                "paid_msat": 0, "fee_msat": 0, "in_flight_msat": 0, "result": null,
            }),
        };
        answer["state"] = "unknown".into();
        answer["max_msat"] = self.bid.get().into();
        answer["explanation"] = explanation.into();
        answer
    }

    fn what(&self) -> String {
        let last = self.seen.map_or("asked", |job| job.state.as_str());
        let why = match self.exit {
            Exit::Pending => "the node no longer answers",
            _ => "left before the job was taken back",
        };
        format!("{why}; job {} was last {}", self.id, one_line(last, 30))
    }

    fn money(&self) -> String {
        let (paid, flying) = self.seen.map_or((0, 0), |job| (job.paid_msat, job.in_flight_msat));
        let sums = match (paid, flying) {
            _ if self.bid.is_zero() => return "none moved: the job is free".into(),
            (0, 0) => {
                format!("none had left your wallet then; up to {} and routing may have since", self.bid)
            }
            (0, flying) => format!("{} were locked or under way", Msat::new(flying)),
            (paid, 0) => format!("{} were paid", Msat::new(paid)),
            (paid, flying) => {
                format!("{} were paid and {} under way", Msat::new(paid), Msat::new(flying))
            }
        };
        format!("{sums}; the node pays for a result or gets it back, as soon as it runs")
    }

    fn next(&self) -> String {
        let start = match self.exit {
            Exit::Pending => "start the node again with `openagents up`, then ",
            _ => "",
        };
        let warning = if self.bid.is_zero() { "" } else { "; do not ask again before that" };
        format!("{start}run `openagents jobs show {}`{warning}", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unfinished(bid: u64, exit: Exit) -> Unfinished<'static> {
        Unfinished { id: JobId::from_bytes([7; 32]), bid: Msat::new(bid), seen: None, exit }
    }

    #[test]
    fn a_job_whose_node_is_gone_is_pending_and_names_its_sum_and_itself() {
        let lost = unfinished(3_000, Exit::Pending);
        assert_eq!(lost.exit(), Exit::Pending);
        let words = lost.words();
        for part in ["3 sat", &JobId::from_bytes([7; 32]).to_hex(), "openagents up", "do not ask again"] {
            assert!(words.contains(part), "{words}");
        }
        let answer = lost.answer();
        assert_eq!((&answer["state"], &answer["max_msat"]), (&json!("unknown"), &json!(3_000)));
    }

    #[test]
    fn a_free_job_leaves_nothing_pending() {
        assert_eq!(unfinished(0, Exit::Pending).exit(), Exit::Error);
        assert!(unfinished(0, Exit::Pending).words().contains("none moved"));
    }

    #[test]
    fn whoever_leaves_is_told_where_to_look() {
        let left = unfinished(1_000, Exit::Interrupted);
        assert_eq!(left.exit(), Exit::Interrupted);
        assert!(left.words().contains("jobs show") && !left.words().contains("openagents up"));
    }
}
