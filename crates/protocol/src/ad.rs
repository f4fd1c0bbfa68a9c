//! Advertisements: NIP-89 handler information (kind 31990), one event a kind.

use nostr::Keys;
use openagents_types::{JobKind, Millis, Msat, Timestamp};
use serde_json::{Value, json};

use crate::{
    DecodeError, EncodeError, Verified,
    tags::{self, Raw, make},
};

pub(crate) const KIND: u16 = 31990;

/// What a provider says of one kind it sells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ad {
    /// The kind.
    pub kind: JobKind,
    /// The provider's name.
    pub name: String,
    /// What it does.
    pub about: String,
    /// The price of any job.
    pub base: Msat,
    /// The price of each KiB of input begun.
    pub per_kib: Msat,
    /// The largest input taken, in bytes.
    pub max_input_bytes: u64,
    /// How long a job may take.
    pub timeout: Millis,
    /// The parameters it reads: name, whether required, values, description (`nip90Params`).
    pub params: Value,
    /// Where it hears requests.
    pub relays: Vec<String>,
}

/// Writes an advertisement. The same kind's earlier one is replaced by it.
///
/// # Errors
/// Never today; kept so that limits can be checked here.
pub fn encode(ad: &Ad, keys: &Keys, now: Timestamp) -> Result<Verified, EncodeError> {
    let kind = ad.kind.to_string();
    let mut raw = vec![make([tags::IDENTIFIER, &kind]), make([tags::KIND, &kind])];
    if !ad.relays.is_empty() {
        raw.push(std::iter::once(tags::RELAYS.to_owned()).chain(ad.relays.iter().cloned()).collect());
    }
    let free = ad.base.is_zero() && ad.per_kib.is_zero();
    let content = json!({
        "name": ad.name,
        "about": ad.about,
        "picture": "",
        "image": "",
        "amount": if free { "free".into() } else { ad.base.to_sat_ceil().to_string() },
        "supportsEncryption": true,
        "encryptionSupported": true,
        "nip90Params": ad.params,
        "pricing": { "base_msat": ad.base.get(), "per_kib_msat": ad.per_kib.get() },
        "limits": { "max_input_bytes": ad.max_input_bytes, "timeout_s": ad.timeout.0 / 1000 },
    });
    Ok(Verified::sign(keys, KIND, tags::to_tags(raw), content.to_string(), now.secs()))
}

/// Takes the advertisements of some kinds back (NIP-09).
pub fn encode_deletion(kinds: &[JobKind], keys: &Keys, now: Timestamp) -> Verified {
    let author = keys.public_key().to_hex();
    let mut raw: Vec<Raw> =
        kinds.iter().map(|kind| make([tags::ADDRESS, &format!("{KIND}:{author}:{kind}")])).collect();
    raw.push(make([tags::KIND, &KIND.to_string()]));
    Verified::sign(keys, 5, tags::to_tags(raw), "no longer offered".into(), now.secs())
}

/// Reads an advertisement; kinds may be many `k` tags or one with commas, of which the first counts.
pub(crate) fn decode(event: &Verified) -> Result<Ad, DecodeError> {
    let found = tags::from_tags(event.event().tags.iter());
    let kind = tags::all(&found, tags::KIND)
        .flatten()
        .flat_map(|value| value.split(','))
        .find_map(|text| text.parse().ok())
        .ok_or(DecodeError::Missing(tags::KIND))?;
    let content: Value = serde_json::from_str(&event.event().content).unwrap_or_default();
    let text = |name: &str| content[name].as_str().unwrap_or_default().chars().take(256).collect();
    let number = |group: &str, name: &str| content[group][name].as_u64().unwrap_or_default();
    Ok(Ad {
        kind,
        name: text("name"),
        about: text("about"),
        base: Msat::new(number("pricing", "base_msat")),
        per_kib: Msat::new(number("pricing", "per_kib_msat")),
        max_input_bytes: number("limits", "max_input_bytes"),
        timeout: Millis::from_secs(number("limits", "timeout_s")),
        params: content["nip90Params"].clone(),
        relays: tags::all(&found, tags::RELAYS).flatten().cloned().collect(),
    })
}
