//! What to ask relays for.

use nostr::{Alphabet, Filter, Kind, SingleLetterTag, Timestamp as Seconds};
use openagents_types::{EventId, JobId, JobKind, ProviderKey, Timestamp};

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

/// One event by its id.
pub fn for_event(id: EventId) -> Vec<Filter> {
    vec![Filter::new().id(nostr::EventId::from_byte_array(*id.as_bytes()))]
}

/// What anybody can know of a job that is not theirs: its answers, and whether it was taken back.
pub fn for_onlooker(job: JobId, kind: JobKind) -> Vec<Filter> {
    let kinds = [Kind::JobFeedback, Kind::from(kind.result()), Kind::EventDeletion];
    let about = SingleLetterTag::lowercase(Alphabet::E);
    vec![Filter::new().kinds(kinds).custom_tag(about, job.to_hex())]
}

/// Whatever refers to a job.
pub fn about(job: JobId) -> Vec<Filter> {
    vec![Filter::new().custom_tag(SingleLetterTag::lowercase(Alphabet::E), job.to_hex())]
}
