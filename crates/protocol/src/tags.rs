//! Every tag name this project reads or writes, and how values are read from tags.

use nostr::Tag;

pub(crate) const INPUT: &str = "i";
pub(crate) const PARAM: &str = "param";
pub(crate) const OUTPUT: &str = "output";
pub(crate) const BID: &str = "bid";
pub(crate) const RELAYS: &str = "relays";
pub(crate) const EVENT: &str = "e";
pub(crate) const KEY: &str = "p";
pub(crate) const KIND: &str = "k";
pub(crate) const ADDRESS: &str = "a";
pub(crate) const IDENTIFIER: &str = "d";
pub(crate) const REQUEST: &str = "request";
pub(crate) const AMOUNT: &str = "amount";
pub(crate) const STATUS: &str = "status";
pub(crate) const ENCRYPTED: &str = "encrypted";
pub(crate) const BOLT11: &str = "bolt11";
pub(crate) const DESCRIPTION: &str = "description";
pub(crate) const LNURL: &str = "lnurl";
pub(crate) const EXPIRATION: &str = "expiration";
/// What an event is, in words (NIP-31).
pub(crate) const ALT: &str = "alt";
/// Which program wrote an event (NIP-89).
pub(crate) const CLIENT: &str = "client";
/// A relay that a key reads from or writes to (NIP-65).
pub(crate) const RELAY: &str = "r";
/// Ours: how long a quoted job will probably take, in milliseconds.
pub(crate) const ETA: &str = "eta";
/// Ours, in quotes: the ecash that is taken instead.
pub(crate) const CASHU: &str = "cashu";
/// Ours: `escrow` or `prepaid`.
pub(crate) const TERMS: &str = "terms";
/// Ours: a machine-readable reason.
pub(crate) const CODE: &str = "code";
/// Ours, in results: the name of what did the work.
pub(crate) const BACKEND: &str = "backend";
/// Ours, in results: what of the price was not used and is kept as a balance, in msat.
pub(crate) const UNUSED: &str = "unused";
/// Ours, in results: the model, its digest, its quantization.
pub(crate) const MODEL: &str = "model";
/// Ours, in requests: where a refund goes that nobody claims, a Lightning address or an LNURL.
pub(crate) const REFUND: &str = "refund";
/// Ours, in heartbeats: waiting jobs.
pub(crate) const QUEUED: &str = "queued";
/// Ours, in heartbeats: free slots.
pub(crate) const FREE_SLOTS: &str = "free_slots";
/// Marks the `e` tag that names the job.
pub(crate) const JOB_MARKER: &str = "job";
/// Ours: marks the `e` tag that names a receipt.
pub(crate) const RECEIPT_MARKER: &str = "receipt";
/// Ours, in receipts: the SHA-256 of what is said (NIP-94 names files so).
pub(crate) const DIGEST: &str = "x";

/// Tags whose values are payloads and may be long.
pub(crate) fn carries_payload(name: &str) -> bool {
    matches!(
        name,
        INPUT | PARAM | REQUEST | DESCRIPTION | AMOUNT | BOLT11 | CASHU | "proof" | "input" | "content"
    )
}

/// A tag as text.
pub(crate) type Raw = Vec<String>;

pub(crate) fn make<const N: usize>(parts: [&str; N]) -> Raw {
    parts.iter().map(|part| (*part).to_owned()).collect()
}

/// Tags as the library wants them. One without a name cannot be written.
pub(crate) fn to_tags(raw: Vec<Raw>) -> Vec<Tag> {
    raw.into_iter().filter_map(|parts| Tag::parse(parts).ok()).collect()
}

/// Tags as text.
pub(crate) fn from_tags<'a>(tags: impl IntoIterator<Item = &'a Tag>) -> Vec<Raw> {
    tags.into_iter().map(|tag| tag.as_slice().to_vec()).collect()
}

/// All tags of a name, without the name.
pub(crate) fn all<'a>(tags: &'a [Raw], name: &'a str) -> impl Iterator<Item = &'a [String]> {
    tags.iter().filter(move |tag| tag.first().is_some_and(|first| first == name)).map(|tag| &tag[1..])
}

/// The first value of the first tag of a name.
pub(crate) fn first<'a>(tags: &'a [Raw], name: &'a str) -> Option<&'a str> {
    all(tags, name).find_map(|values| values.first()).map(String::as_str)
}
