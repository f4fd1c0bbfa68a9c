//! What providers say they keep for us, and that a job was paid out of it. Our wallet sees none of it.

use openagents_types::{Feedback, JobResult, Msat, ProviderKey, refusal};
use serde::{Deserialize, Serialize};

use super::Ask;

/// How many such words are kept of one job.
const MOST: usize = 4;

/// A provider's word on a balance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Who.
    pub provider: ProviderKey,
    /// How much.
    pub amount: Msat,
    /// Whether the job was paid with it; if not, it was put aside.
    pub used: bool,
}

/// Notes what a provider that we paid, from our wallet or its balance, says of a metered price: that a result did not use
/// all of it.
pub(crate) fn note_unused(ask: &mut Ask, result: &JobResult) {
    let paid = ask.attempts.iter().find(|attempt| attempt.quote.provider == result.provider);
    let used = ask.kept.iter().find(|kept| kept.used && kept.provider == result.provider);
    let price = paid.map(|attempt| attempt.quote.price).or(used.map(|kept| kept.amount));
    let is_sound = price.is_some_and(|price| result.unused <= price);
    if !result.unused.is_zero() && is_sound && ask.kept.len() < MOST {
        ask.kept.push(Kept { provider: result.provider, amount: result.unused, used: false });
    }
}

/// Notes such a word, once, from a provider that we paid or asked alone; whether it is news.
pub(crate) fn note_kept(ask: &mut Ask, feedback: &Feedback) -> bool {
    let used = match feedback.code.as_deref() {
        Some(refusal::CREDITED) => false,
        Some(refusal::FROM_BALANCE) => true,
        _ => return false,
    };
    let (provider, amount) = (feedback.provider, feedback.amount.unwrap_or(Msat::ZERO));
    let was_paid = ask.attempts.iter().any(|attempt| attempt.quote.provider == provider);
    let is_concerned =
        if used { ask.spec.provider == Some(provider) && ask.attempts.is_empty() } else { was_paid };
    let kept = Kept { provider, amount, used };
    let is_news = is_concerned && !ask.kept.contains(&kept) && ask.kept.len() < MOST;
    if is_news {
        ask.kept.push(kept);
    }
    is_news
}
