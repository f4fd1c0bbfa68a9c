//! The codes of refusals that say whose fault it was: what both the rules of the market and its programs go by.

/// Codes of providers that mean the job itself: no provider would do it as it is.
const ABOUT_THE_JOB: &[&str] = &["input", "input-too-large", "invalid", POLICY];

/// Codes with which a customer turns an offer down.
const OF_CUSTOMERS: &[&str] = &[
    "amount",
    "above-bid",
    "network",
    "expiring",
    "uninvited",
    "again",
    DAILY_LIMIT,
    IN_ADVANCE,
    NO_BALANCE,
];

/// The code of work that did not come to an end.
pub const FAILED: &str = "failed";

/// The code of a job that wants a model, or something of one, that a provider does not have; another may.
pub const MODEL: &str = "model";

/// The code of a job, or of a result, that the acceptable-use policy of a provider refuses.
pub const POLICY: &str = "policy";

/// The code of an offer that the customer's budget for the day does not cover.
pub const DAILY_LIMIT: &str = "daily-limit";

/// The code of an offer that wants more in advance than its provider is trusted with.
pub const IN_ADVANCE: &str = "in-advance";

/// The code of an offer to be paid by the wallet for a job that only a balance may pay for.
pub const NO_BALANCE: &str = "no-balance";

/// The code of a provider's word that it has paid a refund to the address that the request names.
pub const REFUNDED_TO: &str = "refunded-to-address";

/// The code of a provider's word that it keeps what it owes as a balance for the customer's next jobs.
pub const CREDITED: &str = "credited";

/// The code of a provider's word that a job runs from the customer's balance.
pub const FROM_BALANCE: &str = "from-balance";

/// The code of a claim for a refund that became a balance, which later jobs have used.
pub const CREDIT_USED: &str = "credit-used";

/// Whether a refusal is about the job itself, so that asking again as it is brings the same.
pub fn is_about_the_job(code: &str) -> bool {
    ABOUT_THE_JOB.contains(&code)
}

/// Whether the customer turned an offer down, and no provider a job.
pub fn is_of_the_customer(code: &str) -> bool {
    OF_CUSTOMERS.contains(&code)
}
