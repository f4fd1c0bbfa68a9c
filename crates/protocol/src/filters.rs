//! What to ask relays for.

use nostr::{Alphabet, Filter, Kind, PublicKey, SingleLetterTag, Timestamp as Seconds};
use openagents_types::{EventId, JobId, JobKind, ProviderKey, Timestamp};

use crate::{ad, ecash, heartbeat, message::public_key, profile, receipt, refund, zap};

/// How many countersignatures are fetched again with each subscription: those of a busy day that were missed
/// while the node was down.
const COUNTERSIGNATURES: usize = 500;

/// How many receipts of zaps are fetched again with each subscription.
const ZAPS: usize = 500;

/// What a provider needs to hear: requests it could serve, cancellations, claims and ecash addressed to it, and
/// countersignatures of its receipts.
pub fn for_provider(kinds: &[JobKind], provider: ProviderKey, since: Timestamp) -> Vec<Filter> {
    let since = Seconds::from(since.secs());
    let requests = Filter::new().kinds(kinds.iter().map(|kind| Kind::from(kind.get()))).since(since);
    let cancels = Filter::new().kind(Kind::EventDeletion).since(since);
    let addressed = |kind: u16| {
        let key = SingleLetterTag::lowercase(Alphabet::P);
        Filter::new().kind(Kind::from(kind)).custom_tag(key, provider.to_hex())
    };
    let countersigned = addressed(receipt::COUNTERSIGNATURE).limit(COUNTERSIGNATURES);
    // For jobs that are older the lock has ended, or soon will.
    let paid = addressed(ecash::KIND).since(since);
    vec![requests, cancels, addressed(refund::KIND), paid, countersigned]
}

/// Receipts of zaps of a provider, by the one whose receipts are believed; at most those of a busy day.
pub fn for_zaps(provider: ProviderKey, server: PublicKey, since: Timestamp) -> Vec<Filter> {
    let key = SingleLetterTag::lowercase(Alphabet::P);
    let receipts = Filter::new().kind(Kind::from(zap::KIND)).custom_tag(key, provider.to_hex());
    vec![receipts.author(server).since(Seconds::from(since.secs())).limit(ZAPS)]
}

/// Requests of other kinds than are sold that name this provider: whoever asks it alone is told so.
pub fn for_addressed(kinds: &[JobKind], provider: ProviderKey, since: Timestamp) -> Filter {
    let key = SingleLetterTag::lowercase(Alphabet::P);
    let kinds = kinds.iter().map(|kind| Kind::from(kind.get()));
    Filter::new().kinds(kinds).custom_tag(key, provider.to_hex()).since(Seconds::from(since.secs()))
}

/// What a customer needs to hear about one of its jobs.
pub fn for_customer(job: JobId, kind: JobKind) -> Vec<Filter> {
    let ours = [receipt::RECEIPT, ecash::KIND].map(Kind::from);
    let kinds = [Kind::JobFeedback, Kind::from(kind.result())].into_iter().chain(ours);
    let about = SingleLetterTag::lowercase(Alphabet::E);
    vec![Filter::new().kinds(kinds).custom_tag(about, job.to_hex())]
}

/// One event by its id.
pub fn for_event(id: EventId) -> Vec<Filter> {
    vec![Filter::new().id(nostr::EventId::from_byte_array(*id.as_bytes()))]
}

/// Advertisements of these kinds.
pub fn for_ads(kinds: &[JobKind]) -> Vec<Filter> {
    let about = SingleLetterTag::lowercase(Alphabet::K);
    let kinds = kinds.iter().map(ToString::to_string);
    vec![Filter::new().kind(Kind::from(crate::ad::KIND)).custom_tags(about, kinds)]
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

/// What a key says of itself and its kinds: advertisements, profile, relay list, heartbeat.
pub fn about_provider(provider: ProviderKey) -> Vec<Filter> {
    let kinds = [ad::KIND, profile::PROFILE, profile::RELAY_LIST, heartbeat::KIND].map(Kind::from);
    vec![Filter::new().kinds(kinds).authors(public_key(provider.as_bytes()))]
}

/// What others advertise for these kinds, at most `most`.
pub fn advertised(kinds: &[JobKind], most: usize) -> Vec<Filter> {
    let key = SingleLetterTag::lowercase(Alphabet::K);
    let kinds = kinds.iter().map(ToString::to_string);
    vec![Filter::new().kind(Kind::from(ad::KIND)).custom_tags(key, kinds).limit(most)]
}
