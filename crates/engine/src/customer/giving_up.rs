//! When waiting brings no offer any more: the one provider that was asked said no, or everybody who answered did.

use openagents_types::{Draft, Feedback, InputType, Millis, ProviderKey, Timestamp, refusal};

use super::{Ask, AskOutcome, CustomerDesk, Phase};
use crate::{Actions, CustomerConfig};

/// Refusals of an offer after which its provider may well make another one.
const NOT_FINAL: &[&str] = &["expiring", "again", "uninvited"];

impl CustomerDesk {
    /// Ends a job that no offer will come for: at once where its only provider has declined; else when whoever would
    /// offer has had the time to.
    pub(crate) fn give_up_if_in_vain(&mut self, now: Timestamp, ask: &mut Ask, out: &mut Actions) {
        if self.in_vain_from(ask).is_none_or(|at| now < at) || self.may_be_paid(ask) {
            return;
        }
        let reason = "there is no offer that can be taken".into();
        out.publish(ask.id, Draft::Cancel { provider: ask.spec.provider, reason });
        let outcome = if ask.attempts.is_empty() {
            AskOutcome::NoOffer
        } else {
            let message =
                "whoever was chosen did not deliver, and nobody else offers to; the money came back";
            AskOutcome::Failed { message: message.into() }
        };
        self.close(now, ask, outcome, out);
    }

    /// From when on a job waits in vain; `None` while somebody may still make an offer that can be taken.
    pub(crate) fn in_vain_from(&self, ask: &Ask) -> Option<Timestamp> {
        let Phase::Collecting { until } = ask.phase else { return None };
        let is_unanswered = ask.refusals.is_empty() && ask.attempts.is_empty();
        if is_unanswered || !ask.quotes.is_empty() || !ask.doubts.is_empty() {
            return None;
        }
        match ask.spec.provider {
            Some(wanted) if declined(ask, wanted) => Some(ask.asked_at),
            // What others say of a job that is not for them changes nothing.
            Some(wanted) if ask.refusals.iter().all(|no| no.provider != wanted) => None,
            Some(_) | None => Some(until.after(later(ask, &self.config)?)),
        }
    }

    /// The one provider that was asked will not do it: there is nobody to wait for.
    pub(crate) fn declined_by_the_only_one(
        &mut self,
        now: Timestamp,
        ask: &mut Ask,
        no: &Feedback,
        out: &mut Actions,
    ) {
        // Work that was begun without an offer, and came to nothing, is no refusal.
        let outcome = match no.code.as_deref() {
            Some(refusal::FAILED) => AskOutcome::Failed { message: no.message.clone() },
            _ => AskOutcome::NoOffer,
        };
        self.close(now, ask, outcome, out);
    }
}

/// Whether a provider's no, or ours to its offer, is its last word.
fn declined(ask: &Ask, wanted: ProviderKey) -> bool {
    ask.refusals.iter().any(|no| no.provider == wanted && !NOT_FINAL.contains(&no.code.as_str()))
}

/// How long after the window an offer may still come; `None` for as long as the job lasts.
fn later(ask: &Ask, config: &CustomerConfig) -> Option<Millis> {
    let holds = |wanted| ask.spec.inputs.iter().any(|input| input.input_type == wanted);
    // What one provider cannot read, no other will; what one could read to make an offer, all had the time to.
    let is_readable = !ask.attempts.is_empty();
    if is_readable || ask.refusals.iter().all(|no| refusal::is_about_the_job(&no.code)) {
        Some(config.late_offer)
    } else if holds(InputType::Job) {
        None
    } else if holds(InputType::Url) || holds(InputType::Event) {
        Some(config.late_offer_on_fetched)
    } else {
        Some(config.late_offer)
    }
}
