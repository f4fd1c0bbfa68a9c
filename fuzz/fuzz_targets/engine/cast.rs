//! Who can say what: few parties, jobs, payments and prices, so that what is said belongs together
//! more often than not.

use std::sync::Arc;

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use openagents_engine::{
    Ask, AskOptions, Config, CustomerConfig, Incoming, Input, InputSize, InvoiceFor, Offer, Outgoing,
    PreimageSeed, ProviderConfig, RunFault,
};
use openagents_types::{
    Cancel, CustomerKey, Encryption, EventId, Feedback, Invoice, JobId, JobKind, JobRequest, JobResult,
    JobSpec, Millis, Msat, Network, PaymentHash, Preimage, ProviderKey, Quote, Status, Terms, Timestamp,
    Usage,
};

const PRICE: u64 = 1_000;
const PAID: JobKind = JobKind::SUMMARIZATION;
const FREE: JobKind = JobKind::TEXT_GENERATION;

/// The provider this engine is.
pub const SELF: ProviderKey = ProviderKey::from_bytes([9; 32]);

/// One of a few; the number is taken modulo how many there are.
type Pick = u8;

/// Something said to the engine.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Said {
    Request { job: Pick, paid: bool, bid: Option<Pick>, to: Option<bool>, age: i16, deadline: Option<u8> },
    Cancel { job: Pick, by: Pick, to: Option<bool> },
    Claim { job: Pick, by: Pick, amount: Pick, payment: Pick },
    Resolved { job: Pick, bytes: Option<u32> },
    Progress { job: Pick },
    Finished { job: Pick },
    RunFailed { job: Pick, retryable: bool },
    Ask { job: Pick, bid: Pick, to: Option<Pick>, window: u8, patience: Option<u8>, deadline: u8 },
    Withdraw { job: Pick },
    Quote { job: Pick, by: Pick, payment: Pick, price: Pick, asks: Pick, lifetime: u8, abroad: bool },
    Feedback { job: Pick, by: Pick, status: Pick },
    Result { job: Pick, by: Pick, other_kind: bool, bill: Option<(Pick, Pick)> },
    Invoiced { job: Pick, amount: Option<Pick> },
    RefundInvoiced { job: Pick, paid: Pick, payment: Pick, amount: Option<Pick> },
    Incoming { payment: Pick, state: Pick, amount: Pick },
    Outgoing { payment: Pick, state: Pick, fee: u8 },
}

/// What the engine is set to.
pub fn config(escrow: bool) -> Config {
    let mut provider = ProviderConfig::new(SELF, PreimageSeed::new([7; 32]));
    provider.offers = vec![Offer::flat(PAID, Msat::new(PRICE)), Offer::free(FREE)];
    provider.escrow = escrow;
    provider.queue_limit = 2;
    provider.offer_limit = 2;
    Config { provider: Some(provider), customer: CustomerConfig::new(Network::Regtest) }
}

/// A job that is asked of this engine; those it asks of others have names of their own.
fn sold(job: Pick) -> JobId {
    JobId::from_bytes([1 + job % 4; 32])
}

fn bought(job: Pick) -> JobId {
    JobId::from_bytes([101 + job % 3; 32])
}

fn customer(job: JobId) -> CustomerKey {
    CustomerKey::from_bytes([job.as_bytes()[0]; 32])
}

fn provider(by: Pick) -> ProviderKey {
    ProviderKey::from_bytes([200 + by % 4; 32])
}

/// Amounts around the price.
fn amount(pick: Pick) -> Msat {
    Msat::new([PRICE, PRICE - 1, PRICE + 1, 2 * PRICE, 1, u64::MAX][usize::from(pick % 6)])
}

/// The preimages of payments: of hold invoices for jobs sold, and of what others made up.
fn preimage(payment: Pick) -> Preimage {
    match payment % 14 {
        job @ 0..4 => PreimageSeed::new([7; 32]).preimage(sold(job)),
        other => Preimage::from_bytes([other; 32]),
    }
}

fn invoice(now: Timestamp, hash: PaymentHash, amount: Msat, lifetime: u64) -> Invoice {
    Invoice {
        bolt11: format!("lnbcrt1{hash}"),
        payment_hash: hash,
        amount,
        expires_at: now.after(Millis::from_secs(lifetime)),
        network: Network::Regtest,
    }
}

fn deadline(now: Timestamp, seconds: u8) -> Timestamp {
    now.after(Millis::from_secs(u64::from(seconds) * 4))
}

impl Said {
    /// As the driver would hand it in. A wallet that holds invoices makes one for the hash it is
    /// told; another makes one of its own for each job.
    pub fn input(self, now: Timestamp, escrow: bool) -> Input {
        let bill = |payment, amount| invoice(now, preimage(payment).hash(), amount, 3_600);
        match self {
            Self::Request { .. } => Input::Request(Box::new(self.request(now))),
            Self::Cancel { job, by, to } => {
                let providers = to.map(|us| if us { SELF } else { provider(0) }).into_iter().collect();
                Input::Cancel(Cancel { job: sold(job), by: customer(sold(by)), providers })
            }
            Self::Claim { job, by, amount: asked, payment } => Input::RefundClaim {
                job: sold(job),
                by: customer(sold(by)),
                invoice: bill(4 + payment % 10, amount(asked)),
            },
            Self::Resolved { job, bytes } => {
                let outcome = bytes.map(|bytes| InputSize { bytes: bytes.into() });
                Input::Resolved { job: sold(job), outcome: outcome.ok_or_else(unreadable) }
            }
            Self::Progress { job } => Input::Progress { job: sold(job), text: "piece".into() },
            Self::Finished { job } => {
                Input::Finished { job: sold(job), content: "result".into(), usage: Usage::default() }
            }
            Self::RunFailed { job, retryable } => {
                let fault = RunFault { code: "failed".into(), message: "broken".into(), retryable };
                Input::RunFailed { job: sold(job), fault }
            }
            Self::Ask { .. } => Input::Ask(Box::new(self.ask(now))),
            Self::Withdraw { job } => Input::Withdraw { job: bought(job), reason: "no more".into() },
            Self::Quote { .. } => Input::Quote(self.quote(now)),
            Self::Feedback { job, by, status } => Input::Feedback(feedback(now, job, by, status)),
            Self::Result { job, by, other_kind, bill: billed } => Input::Result {
                result: result(now, job, by, other_kind),
                invoice: billed.map(|(payment, asked)| bill(4 + payment % 10, amount(asked))),
            },
            Self::Invoiced { job, amount: asked } => {
                let hash = preimage(if escrow { job % 4 } else { 4 + job % 4 }).hash();
                let made = asked.map(|asked| invoice(now, hash, amount(asked), 900));
                Input::Invoiced {
                    invoice_for: InvoiceFor::Quote(sold(job)),
                    outcome: made.ok_or("no wallet".into()),
                }
            }
            Self::RefundInvoiced { job, paid, payment, amount: asked } => Input::Invoiced {
                invoice_for: InvoiceFor::Refund { job: bought(job), paid: preimage(paid).hash() },
                outcome: asked.map(|asked| bill(8 + payment % 6, amount(asked))).ok_or("no wallet".into()),
            },
            Self::Incoming { payment, state, amount: came } => {
                let amount = amount(came);
                let state = match state % 6 {
                    0 => Incoming::Open,
                    1 => Incoming::Held { amount },
                    2 => Incoming::Settled { amount },
                    3 => Incoming::Cancelled,
                    4 => Incoming::Expired,
                    _ => Incoming::Unknown,
                };
                Input::Incoming { hash: preimage(payment).hash(), state }
            }
            Self::Outgoing { payment, state, fee } => {
                let state = match state % 5 {
                    0 => Outgoing::Pending,
                    1 | 2 => Outgoing::Settled { preimage: preimage(payment), fee: Msat::new(fee.into()) },
                    3 => Outgoing::Failed { reason: "no route".into() },
                    _ => Outgoing::Unknown,
                };
                Input::Outgoing { hash: preimage(payment).hash(), state }
            }
        }
    }

    fn request(self, now: Timestamp) -> JobRequest {
        let Self::Request { job, paid, bid, to, age, deadline: until } = self else {
            unreachable!("only requests are made here")
        };
        let age = i64::from(age) * 10;
        JobRequest {
            id: sold(job),
            customer: customer(sold(job)),
            kind: if paid { PAID } else { FREE },
            inputs: Vec::new(),
            params: Vec::new(),
            output: Vec::new(),
            bid: bid.map(amount),
            providers: to.map(|us| if us { SELF } else { provider(0) }).into_iter().collect(),
            encryption: Encryption::None,
            relays: Vec::new(),
            created_at: Timestamp::from_millis(now.millis().saturating_add_signed(-age)),
            expires_at: until.map(|seconds| deadline(now, seconds)),
            refund_to: None,
            raw: Arc::from(""),
        }
    }

    fn ask(self, now: Timestamp) -> Ask {
        let Self::Ask { job, bid, to, window, patience, deadline: until } = self else {
            unreachable!("only asks are made here")
        };
        let spec = JobSpec {
            kind: PAID,
            inputs: Vec::new(),
            params: Vec::new(),
            output: Vec::new(),
            bid: amount(bid),
            provider: to.map(provider),
            encrypt: false,
            relays: Vec::new(),
            expires_at: deadline(now, until),
            refund_to: None,
        };
        let options = AskOptions {
            window: Millis(u64::from(window) * 10),
            patience: patience.map(|seconds| Millis::from_secs(seconds.into())),
            max_fee: Msat::new(100),
        };
        Ask::new(bought(job), customer(bought(job)), Arc::from(""), spec, options, now)
    }

    fn quote(self, now: Timestamp) -> Quote {
        let Self::Quote { job, by, payment, price, asks, lifetime, abroad } = self else {
            unreachable!("only quotes are made here")
        };
        let mut invoice = invoice(now, preimage(4 + payment % 10).hash(), amount(asks), lifetime.into());
        if abroad {
            invoice.network = Network::Mainnet;
        }
        Quote {
            job: bought(job),
            provider: provider(by),
            event: EventId::from_bytes([by; 32]),
            price: amount(price),
            expires_at: invoice.expires_at,
            invoice,
            eta: None,
            terms: Terms::Escrow,
            ecash: None,
        }
    }
}

fn feedback(now: Timestamp, job: Pick, by: Pick, status: Pick) -> Feedback {
    let statuses =
        [Status::PaymentRequired, Status::Processing, Status::Partial, Status::Success, Status::Error];
    Feedback {
        job: bought(job),
        provider: provider(by),
        event: EventId::from_bytes([by; 32]),
        status: statuses[usize::from(status % 5)],
        message: String::new(),
        content: "piece".into(),
        amount: None,
        bolt11: None,
        expires_at: None,
        eta: None,
        terms: Terms::Prepaid,
        ecash: None,
        code: None,
        created_at: now,
    }
}

fn result(now: Timestamp, job: Pick, by: Pick, other_kind: bool) -> JobResult {
    JobResult {
        job: bought(job),
        provider: provider(by),
        event: EventId::from_bytes([by; 32]),
        kind: if other_kind { FREE.result() } else { PAID.result() },
        content: "result".into(),
        amount: None,
        made_by: None,
        unused: Msat::ZERO,
        bolt11: None,
        created_at: now,
    }
}

fn unreadable() -> openagents_engine::job::Why {
    openagents_engine::job::Why { code: "input".into(), message: "it cannot be read".into() }
}
