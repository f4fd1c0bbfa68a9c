//! Refunds that do not come to our wallet, because they go to the address a request names or were used as a balance:
//! the provider's word ends the wait for them. A provider that lies about it keeps what it would keep by silence.

use openagents_types::{Feedback, refusal};

use super::{Ask, Money, Reclaim};

impl Reclaim {
    /// Whether the money is with us again, or where we wanted it.
    pub(crate) const fn is_back(&self) -> bool {
        match self {
            Self::Done | Self::Elsewhere => true,
            Self::No | Self::Due | Self::Claimed { .. } => false,
        }
    }
}

impl Ask {
    /// Stops claiming a payment that its provider says is paid back.
    pub(crate) fn take_as_paid_back(&mut self, index: usize) {
        let attempt = &mut self.attempts[index];
        let claim = attempt.dropped_claim();
        if let Money::Settled { reclaim, .. } = &mut attempt.money
            && !reclaim.is_back()
        {
            *reclaim = Reclaim::Elsewhere;
            self.dropped.extend(claim);
        }
    }
}

/// Notes a provider's word that it has paid our money back to the address that the request names, or that later jobs
/// of this key have used it; whether it is news, from one that we paid.
pub(crate) fn note_paid_back(ask: &mut Ask, feedback: &Feedback) -> bool {
    let provider = feedback.provider;
    let says_so = match feedback.code.as_deref() {
        Some(refusal::REFUNDED_TO) => ask.spec.refund_to.is_some(),
        Some(refusal::CREDIT_USED) => ask.kept.iter().any(|kept| kept.provider == provider && !kept.used),
        _ => false,
    };
    let was_paid = ask.attempts.iter().any(|attempt| attempt.quote.provider == provider);
    let is_news = says_so && was_paid && !ask.paid_back_by.contains(&provider);
    if is_news {
        ask.paid_back_by.push(provider);
    }
    is_news
}
