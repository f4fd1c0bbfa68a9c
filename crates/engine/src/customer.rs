//! The customer's half: ask, collect offers, commit to one, pay it, take the result, and get the
//! money back from whoever does not deliver.
//!
//! An [`Ask`] moves from `Collecting` to `Waiting` when one offer is chosen; that choice is saved
//! before the wallet hears of it, and a second offer is only paid after the wallet has said twice
//! that the first payment came back. Each payment ever begun stays an [`Attempt`] of its own, so a
//! payment that settles late is still known, and is claimed back if nothing was delivered for it.

mod advance;
mod budget;
mod desk;
mod dropped;
mod elsewhere;
mod giving_up;
mod kept;
mod money;
mod rail;

use std::sync::Arc;

use openagents_types::{
    CustomerKey, EventId, Invoice, JobId, JobSpec, MadeBy, Millis, Msat, PaymentHash, Preimage, ProviderKey,
    Quote, Rail, Terms, Timestamp,
};
use serde::{Deserialize, Serialize};

pub use advance::AdvanceLimit;
pub use dropped::DroppedClaim;
pub use kept::Kept;

use crate::job::Step;

pub(crate) use desk::CustomerDesk;

/// A job as its customer knows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ask {
    /// The job's name.
    pub id: JobId,
    /// The key that signed the request.
    pub customer: CustomerKey,
    /// What the driver needs to find that key's secret again; opaque here.
    pub key_ref: String,
    /// The request as it was signed, to be quoted and sent again.
    pub raw: Arc<str>,
    /// What is wanted.
    pub spec: JobSpec,
    /// How it is bought.
    pub options: AskOptions,
    /// When it was asked.
    pub asked_at: Timestamp,
    /// When anything about it last changed.
    pub changed_at: Timestamp,
    /// Offers not yet tried.
    pub quotes: Vec<Quote>,
    /// Providers that said no, and why.
    pub refusals: Vec<Refusal>,
    /// Payments begun, oldest first.
    pub attempts: Vec<Attempt>,
    /// What was delivered.
    pub delivery: Option<Delivery>,
    /// Where it stands.
    pub phase: Phase,
    /// Payments that were found in the wallet and in no record, and that may have been for this job;
    /// while there are any, no offer is chosen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub doubts: Vec<PaymentHash>,
    /// Whether only a balance that its provider keeps may pay for it, and the wallet may not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub from_balance: bool,
    /// Providers that say that our money is back: at the address that the request names, or used by later jobs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paid_back_by: Vec<ProviderKey>,
    /// What providers say of a balance that they keep for us.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<Kept>,
    /// Refund invoices of ours that nobody waits for any more and that can still be paid.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dropped: Vec<DroppedClaim>,
    /// Where it has stood, oldest first.
    pub steps: Vec<Step>,
}

/// How a job is bought.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskOptions {
    /// How long offers are collected before the best is chosen.
    pub window: Millis,
    /// How long the chosen provider has before the next one is tried; `None` waits for the deadline.
    pub patience: Option<Millis>,
    /// The most that routing may cost on top of the price.
    pub max_fee: Msat,
}

/// Where a job stands for its customer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum Phase {
    /// Offers are coming in.
    Collecting {
        /// When the best is chosen; after that the first good one is taken.
        until: Timestamp,
    },
    /// One offer is chosen: the last of the attempts.
    Waiting,
    /// The chosen provider was told to stop; the wallet has yet to say where the money is.
    Abandoning,
    /// It has ended. Money of an attempt may still be on its way back.
    Closed {
        /// How.
        outcome: AskOutcome,
    },
}

/// How a job ended for its customer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "ended")]
pub enum AskOutcome {
    /// The result is here.
    Delivered,
    /// Nobody offered to do it for the bid in time.
    NoOffer,
    /// It was not delivered.
    Failed {
        /// For a person.
        message: String,
    },
    /// Its owner took it back.
    Cancelled,
}

/// A provider said no.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Who.
    pub provider: ProviderKey,
    /// Why, for programs.
    pub code: String,
    /// Why, for people.
    pub message: String,
}

/// A result that was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Who did the work.
    pub provider: ProviderKey,
    /// The event that carried it.
    pub event: EventId,
    /// SHA-256 of the payload, in hexadecimal.
    pub sha256: String,
    /// When it came.
    pub at: Timestamp,
    /// What made it, in the provider's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_by: Option<MadeBy>,
}

/// One offer that was chosen, and what became of its payment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// The offer.
    pub quote: Quote,
    /// When it was chosen.
    pub since: Timestamp,
    /// Where the money is.
    pub money: Money,
    /// Which of the offer's ways to pay was taken.
    #[serde(default)]
    pub rail: Rail,
    /// Whether the provider was given the ecash.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub handed_over: bool,
}

impl Attempt {
    /// An offer that is taken now.
    pub(crate) const fn new(quote: Quote, rail: Rail, now: Timestamp) -> Self {
        Self { quote, since: now, money: Money::Pending, rail, handed_over: false }
    }

    /// What its payment is called.
    pub fn hash(&self) -> PaymentHash {
        match (self.rail, &self.quote.ecash) {
            (Rail::Cashu, Some(ecash)) => ecash.hash,
            (Rail::Bolt11, _) | (Rail::Cashu, None) => self.quote.invoice.payment_hash,
        }
    }

    /// When the provider can take the money.
    pub const fn terms(&self) -> Terms {
        match self.rail {
            Rail::Bolt11 => self.quote.terms,
            Rail::Cashu => Terms::Escrow,
        }
    }
}

/// Where the money of an attempt is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "money")]
pub enum Money {
    /// Told to the wallet, or about to be; it may be locked, under way, or not sent at all.
    Pending,
    /// The wallet said once that it came back. It is asked again before that is believed.
    Doubtful,
    /// It came back.
    Returned,
    /// The provider has it.
    Settled {
        /// The proof.
        #[serde(with = "preimage_hex")]
        preimage: Preimage,
        /// What routing cost.
        fee: Msat,
        /// What became of it if nothing was delivered.
        reclaim: Reclaim,
    },
}

/// What became of money that a provider has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "reclaim")]
pub enum Reclaim {
    /// It was earned, or may yet be.
    No,
    /// It has to come back; an invoice for it is being made.
    Due,
    /// The provider was told where to send it.
    Claimed {
        /// Our invoice.
        claim: Invoice,
    },
    /// It came back.
    Done,
    /// The provider says that it has paid it to the address that the request names, or that later jobs have used it
    /// as a balance. Our wallet cannot tell.
    Elsewhere,
}

impl Ask {
    /// A job that is asked now. The engine says until when offers are collected, once it has it.
    pub const fn new(
        id: JobId,
        customer: CustomerKey,
        raw: Arc<str>,
        spec: JobSpec,
        options: AskOptions,
        now: Timestamp,
    ) -> Self {
        Self {
            id,
            customer,
            key_ref: String::new(),
            raw,
            spec,
            options,
            asked_at: now,
            changed_at: now,
            quotes: Vec::new(),
            refusals: Vec::new(),
            attempts: Vec::new(),
            delivery: None,
            phase: Phase::Collecting { until: now },
            doubts: Vec::new(),
            from_balance: false,
            paid_back_by: Vec::new(),
            kept: Vec::new(),
            dropped: Vec::new(),
            steps: Vec::new(),
        }
    }

    /// One word for where the job stands.
    pub const fn word(&self) -> &'static str {
        match &self.phase {
            Phase::Collecting { .. } => "collecting",
            Phase::Waiting => "paying",
            Phase::Abandoning => "abandoning",
            Phase::Closed { outcome } => match outcome {
                AskOutcome::Delivered => {
                    if self.is_settled() {
                        "settled"
                    } else {
                        "delivered"
                    }
                }
                AskOutcome::NoOffer => "no-offer",
                AskOutcome::Failed { .. } => "failed",
                AskOutcome::Cancelled => "cancelled",
            },
        }
    }

    /// Whether the wallet has spoken its last word on every payment of this job.
    pub const fn is_settled(&self) -> bool {
        let mut index = 0;
        while index < self.attempts.len() {
            if !self.attempts.as_slice()[index].money.is_final() {
                return false;
            }
            index += 1;
        }
        true
    }

    /// Whether nothing more is to be done.
    pub const fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Closed { .. })
            && self.is_settled()
            && self.dropped.is_empty()
            && !self.looks_for_payment()
    }

    /// Whether it was delivered, as it seems for a payment that these records have lost: the offer may still come
    /// that says which.
    pub const fn looks_for_payment(&self) -> bool {
        let is_delivered = matches!(self.phase, Phase::Closed { outcome: AskOutcome::Delivered });
        is_delivered && self.attempts.is_empty() && !self.doubts.is_empty()
    }

    /// Whether its owner has something to wait for. One that is delivered and paid is kept at hand while a dropped
    /// claim of it can still be paid; nobody waits for that.
    pub fn is_open(&self) -> bool {
        !self.is_over() && self.word() != "settled"
    }

    /// What providers have of our money and keep, without fees.
    pub fn paid(&self) -> Msat {
        let kept = |money: &Money| matches!(money, Money::Settled { reclaim, .. } if !reclaim.is_back());
        self.attempts.iter().filter(|a| kept(&a.money)).map(|a| a.quote.price).sum()
    }

    /// The offer in hand, if one is chosen.
    pub fn current(&self) -> Option<&Attempt> {
        self.attempts.last()
    }
}

impl Money {
    /// Whether this will not change any more by itself.
    pub const fn is_final(&self) -> bool {
        match self {
            Self::Pending | Self::Doubtful => false,
            Self::Returned => true,
            Self::Settled { reclaim, .. } => {
                matches!(reclaim, Reclaim::No | Reclaim::Done | Reclaim::Elsewhere)
            }
        }
    }
}

mod preimage_hex {
    use openagents_types::Preimage;
    use serde::{Deserialize, Deserializer, Serializer};

    /// A settled preimage is a receipt, no longer a secret, so it may be written down.
    pub(super) fn serialize<S: Serializer>(preimage: &Preimage, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&preimage.to_hex())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Preimage, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
