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
    /// The price of a thousand tokens that a job lets be written, used or not.
    pub per_1000_output: Msat,
    /// The price of each second that a job usually takes.
    pub per_second: Msat,
    /// The models there are, the usual one first.
    pub models: Vec<ModelAd>,
    /// The largest input taken, in bytes.
    pub max_input_bytes: u64,
    /// How long a job may take.
    pub timeout: Millis,
    /// The parameters it reads: name, whether required, values, description (`nip90Params`).
    pub params: Value,
    /// Where it hears requests.
    pub relays: Vec<String>,
}

/// What a provider says of one model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelAd {
    /// Its name.
    pub name: String,
    /// The price of any job by it.
    pub base: Msat,
    /// The price of each KiB of input begun.
    pub per_kib: Msat,
    /// The price of a thousand tokens that a job lets be written, used or not.
    pub per_1000_output: Msat,
}

/// How many models of an advertisement are read.
const MOST_MODELS: usize = 256;

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
    let prices = [ad.base, ad.per_kib, ad.per_1000_output, ad.per_second];
    let free = prices.iter().all(|price| price.is_zero());
    let mut content = json!({
        "name": ad.name,
        "about": ad.about,
        "picture": "",
        "image": "",
        "amount": if free { "free".into() } else { ad.base.to_sat_ceil().to_string() },
        "supportsEncryption": true,
        "encryptionSupported": true,
        "nip90Params": ad.params,
        "pricing": pricing(ad),
        "limits": { "max_input_bytes": ad.max_input_bytes, "timeout_s": ad.timeout.0 / 1000 },
    });
    if !ad.models.is_empty() {
        content["models"] = ad.models.iter().map(model).collect();
    }
    Ok(Verified::sign(keys, KIND, tags::to_tags(raw), content.to_string(), now.secs()))
}

fn pricing(ad: &Ad) -> Value {
    let mut pricing = json!({ "base_msat": ad.base.get(), "per_kib_msat": ad.per_kib.get() });
    let more = [("per_1000_output_msat", ad.per_1000_output), ("per_second_msat", ad.per_second)];
    for (name, price) in more.into_iter().filter(|(_, price)| !price.is_zero()) {
        pricing[name] = price.get().into();
    }
    if !ad.per_1000_output.is_zero() || ad.models.iter().any(|model| !model.per_1000_output.is_zero()) {
        pricing["output"] = "the quote counts max_tokens, or 512 without it, and is charged whole".into();
    }
    pricing
}

fn model(model: &ModelAd) -> Value {
    json!({
        "id": model.name,
        "base_msat": model.base.get(),
        "per_kib_msat": model.per_kib.get(),
        "per_1000_output_msat": model.per_1000_output.get(),
    })
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
    let model = |entry: &Value| {
        let msat = |name: &str| Msat::new(entry[name].as_u64().unwrap_or_default());
        Some(ModelAd {
            name: entry["id"].as_str()?.chars().take(256).collect(),
            base: msat("base_msat"),
            per_kib: msat("per_kib_msat"),
            per_1000_output: msat("per_1000_output_msat"),
        })
    };
    let models = content["models"].as_array().map(Vec::as_slice).unwrap_or_default();
    Ok(Ad {
        kind,
        name: text("name"),
        about: text("about"),
        base: Msat::new(number("pricing", "base_msat")),
        per_kib: Msat::new(number("pricing", "per_kib_msat")),
        per_1000_output: Msat::new(number("pricing", "per_1000_output_msat")),
        per_second: Msat::new(number("pricing", "per_second_msat")),
        models: models.iter().take(MOST_MODELS).filter_map(model).collect(),
        max_input_bytes: number("limits", "max_input_bytes"),
        timeout: Millis::from_secs(number("limits", "timeout_s")),
        params: content["nip90Params"].clone(),
        relays: tags::all(&found, tags::RELAYS).flatten().cloned().collect(),
    })
}
