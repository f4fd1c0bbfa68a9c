//! What to ask relays for.

use nostr::{Alphabet, Filter, Kind, SingleLetterTag, Timestamp as Seconds};
use openagents_types::{JobId, JobKind, ProviderKey, Timestamp};

use crate::refund;

/// What a provider needs to hear: requests it could serve, cancellations, and claims addressed to it.
pub fn for_provider(kinds: &[JobKind], provider: ProviderKey, since: Timestamp) -> Vec<Filter> {
    let since = Seconds::from(since.secs());
    let requests = Filter::new().kinds(kinds.iter().map(|kind| Kind::from(kind.get()))).since(since);
    let cancels = Filter::new().kind(Kind::EventDeletion).since(since);
    let claims = Filter::new()
        .kind(Kind::from(refund::KIND))
        .custom_tag(SingleLetterTag::lowercase(Alphabet::P), provider.to_hex());
    vec![requests, cancels, claims]
}

/// What a customer needs to hear about one of its jobs.
pub fn for_customer(job: JobId, kind: JobKind) -> Vec<Filter> {
    let kinds = [Kind::JobFeedback, Kind::from(kind.result())];
    let about = SingleLetterTag::lowercase(Alphabet::E);
    vec![Filter::new().kinds(kinds).custom_tag(about, job.to_hex())]
}
