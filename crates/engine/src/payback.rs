//! Refunds to the address that a request names, where nobody claims them.
//!
//! The address is asked for an invoice, and what it gives takes the same way as a claim: written down, then paid
//! once. A claim that comes while nothing is under way is served first. An address that gives no invoice, or another
//! than was asked for, moves nothing: the money stays owed, and the address is asked again, ever more rarely.

use openagents_types::{Draft, Invoice, JobId, Millis, Msat, Notice, PaymentHash, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{Action, Actions, Job, Record, job::State, provider::ProviderDesk};

/// The rarest that an address is asked which gives no invoice: it may be one that will never work.
const RAREST: Millis = Millis::from_secs(6 * 3_600);

/// What is kept if the wallet does not say what it sent before a start.
pub(crate) const UNCERTAIN: &str =
    "the wallet does not say what it sent before the last start, and may have paid this refund";

/// How far a job's money is on its way to the address that its request names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Payback {
    /// Since when the money is owed.
    pub since: Option<Timestamp>,
    /// How often the address was asked for an invoice.
    pub asked: u32,
    /// The invoice that it made last, if that was taken.
    pub invoice: Option<PaymentHash>,
    /// Why nothing is paid yet.
    pub trouble: Option<String>,
    /// Invoices that the wallet denies having paid. One that settles after all is the refund.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tried: Vec<PaymentHash>,
    /// Invoices that refunds of this job were paid to: what was paid beside is owed after, and a claim that is heard again
    /// is not one for that.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub paid_to: Vec<PaymentHash>,
    /// What of a locked payment is beyond the price, and becomes the customer's balance if it is taken.
    pub overpaid: Msat,
}

impl Payback {
    /// The same job owes once more, or for the first time.
    pub(crate) fn anew(&self, now: Timestamp, trouble: Option<String>) -> Self {
        let (paid_to, overpaid) = (self.paid_to.clone(), self.overpaid);
        Self { since: Some(now), trouble, paid_to, overpaid, ..Self::default() }
    }

    /// Whether nothing was ever owed.
    pub fn is_unused(&self) -> bool {
        *self == Self::default()
    }
}

impl ProviderDesk {
    /// Whether no payment from before the start may have been a job's refund.
    pub(crate) fn is_certain(&self, job: &Job) -> bool {
        job.doubts.is_empty() && !self.unreconciled.contains(&job.id())
    }

    /// When the address that a job names is to be asked, if it owes money.
    pub(crate) fn asks_address_at(&self, job: &Job) -> Timestamp {
        let owes = matches!(job.state, State::RefundOwed { .. });
        if !owes || !self.is_certain(job) || job.request.refund_to.is_none() {
            return Timestamp::NEVER;
        }
        match job.payback.asked {
            0 => job.payback.since.unwrap_or(job.changed_at).after(self.config.claim_time),
            asked => {
                let wait = self.config.recheck.0.saturating_mul(1 << asked.min(16));
                job.changed_at.after(Millis(wait).min(RAREST).max(self.config.recheck))
            }
        }
    }

    /// Asks the address for an invoice, if that is due. That it is asked is written down first, so that a crash does
    /// not ask it ever again at once.
    pub(crate) fn ask_address(&mut self, now: Timestamp, id: JobId, out: &mut Actions) {
        let Some(job) = self.jobs.get(&id) else { return };
        let State::RefundOwed { amount, .. } = job.state else { return };
        let Some(to) = job.request.refund_to.clone().filter(|_| self.asks_address_at(job) <= now) else {
            return;
        };
        self.note(now, id, |payback| payback.asked = payback.asked.saturating_add(1), out);
        out.push(Action::AskAddress { job: id, to, amount });
    }

    /// The address has made an invoice, or why there is none.
    pub(crate) fn address_answered(
        &mut self,
        now: Timestamp,
        id: JobId,
        outcome: Result<Invoice, String>,
        out: &mut Actions,
    ) {
        let Some(job) = self.jobs.get(&id) else { return };
        let (State::RefundOwed { amount, .. }, true) = (&job.state, job.doubts.is_empty()) else { return };
        let amount = *amount;
        let outcome = outcome.and_then(|invoice| match self.unfit(now, &invoice, amount) {
            Some(trouble) => Err(trouble),
            None => Ok(invoice),
        });
        match outcome {
            Ok(invoice) => {
                let hash = invoice.payment_hash;
                if let Some(job) = self.jobs.get_mut(&id) {
                    job.payback.invoice = Some(hash);
                    job.payback.trouble = None;
                }
                self.pay_back(now, id, invoice, out);
            }
            Err(trouble) => self.note(now, id, |payback| payback.trouble = Some(trouble), out),
        }
    }

    fn unfit(&self, now: Timestamp, invoice: &Invoice, amount: Msat) -> Option<String> {
        if invoice.amount != amount {
            Some(format!("its invoice asks {} instead of {amount}", invoice.amount))
        } else if invoice.expires_at <= now {
            Some("its invoice has expired".into())
        } else if self.by_hash.contains_key(&invoice.payment_hash) {
            Some("its invoice was used before".into())
        } else {
            None
        }
    }

    /// The wallet never says what it sent: what was owed before the start may have been paid to an address already,
    /// and an address makes another invoice each time. A claim's invoice cannot be paid twice, so claims go on.
    pub(crate) fn reconciled(&mut self, now: Timestamp, told: bool, out: &mut Actions) {
        let ids = std::mem::take(&mut self.unreconciled);
        for id in &ids {
            let Some(job) = self.jobs.get(id) else { continue };
            let owed = matches!(job.state, State::RefundOwed { .. });
            if owed && told {
                self.note(now, *id, |payback| payback.trouble = None, out);
            } else if owed {
                self.note(now, *id, |payback| payback.trouble = Some(UNCERTAIN.into()), out);
            }
        }
        if !told {
            self.unreconciled = ids;
        }
    }

    fn note(&mut self, now: Timestamp, id: JobId, change: impl FnOnce(&mut Payback), out: &mut Actions) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        change(&mut job.payback);
        job.changed_at = now;
        out.save(Record::Job(Box::new(job.clone())));
        self.reschedule(now, id);
    }
}

impl Job {
    /// What its customer is told once its refund is paid to this invoice.
    pub(crate) fn refund_notice(&self, paid: PaymentHash, claim: PaymentHash, amount: Msat) -> Draft {
        match &self.request.refund_to {
            Some(to) if self.payback.invoice == Some(claim) => {
                Draft::Notice(Notice::RefundedTo { paid, amount, to: to.clone() })
            }
            _ => Draft::Notice(Notice::Refunded { paid, amount }),
        }
    }
}
