//! Advertisements: NIP-89 handler information (kind 31990), one event a kind.

use nostr::Keys;
use openagents_types::{EventId, JobKind, Millis, Msat, Timestamp};
use serde_json::{Value, json};

use crate::{
    DecodeError, EncodeError, Verified,
    message::sendable,
    profile::ZapAddress,
    tags::{self, Raw, make},
};

/// The kind of the event.
pub const KIND: u16 = 31990;

/// How long an advertisement counts that is not renewed: a provider that died is listed no longer than that.
/// Viewers drop those of 90 days by themselves.
pub const LIFETIME: Millis = Millis::from_secs(7 * 24 * 3_600);

/// What a provider says of one kind it sells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ad {
    /// The kind.
    pub kind: JobKind,
    /// The provider's name.
    pub name: String,
    /// What it does.
    pub about: String,
    /// The address of a picture; empty for none.
    pub picture: String,
    /// Where it is zapped, if it takes zaps.
    pub zaps: Option<ZapAddress>,
    /// The price of any job.
    pub base: Msat,
    /// The price of each KiB of input begun.
    pub per_kib: Msat,
    /// The price of a thousand tokens that a job lets be written.
    pub per_1000_output: Msat,
    /// Whether tokens that were not written are given back.
    pub metered: bool,
    /// The price of each second that a job usually takes.
    pub per_second: Msat,
    /// The largest input taken, in bytes.
    pub max_input_bytes: u64,
    /// How long a job may take.
    pub timeout: Millis,
    /// Jobs that run at once.
    pub slots: u64,
    /// Jobs that may wait.
    pub queue_limit: u64,
    /// The models sold, the usual one first; empty where there is no choice.
    pub models: Vec<ModelAd>,
    /// What does the work.
    pub backend: String,
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
    /// The price of a thousand tokens that a job lets be written.
    pub per_1000_output: Msat,
}

/// How many models of an advertisement are read.
const MOST_MODELS: usize = 256;

/// Writes an advertisement. The same kind's earlier one is replaced by it.
///
/// # Errors
/// It would be larger than relays take.
pub fn encode(ad: &Ad, keys: &Keys, now: Timestamp) -> Result<Verified, EncodeError> {
    let kind = ad.kind.to_string();
    let expires = now.after(LIFETIME).secs().to_string();
    let mut raw = vec![
        make([tags::IDENTIFIER, &kind]),
        make([tags::KIND, &kind]),
        make([tags::ALT, &format!("jobs of kind {kind}, offered by {}", ad.name)]),
        make([tags::EXPIRATION, &expires]),
    ];
    if !ad.relays.is_empty() {
        raw.push(std::iter::once(tags::RELAYS.to_owned()).chain(ad.relays.iter().cloned()).collect());
    }
    let event = Verified::sign(keys, KIND, tags::to_tags(raw), content(ad).to_string(), now.secs());
    sendable(event)
}

/// The content, with every field that viewers read, under each name that they know it by.
fn content(ad: &Ad) -> Value {
    let mut content = json!({
        "name": ad.name,
        "display_name": ad.name,
        "about": ad.about,
        "amount": amount(ad),
        "supportsEncryption": true,
        "encryptionSupported": true,
        "acceptsNutZaps": false,
        "cashuAccepted": false,
        "personalized": false,
        "subscription": false,
        "nip90Params": params(ad),
        "pricing": pricing(ad),
        "limits": {
            "max_input_bytes": ad.max_input_bytes, "timeout_s": ad.timeout.0 / 1000,
            "slots": ad.slots, "queue": ad.queue_limit,
        },
        "models": ad.models.iter().map(model).collect::<Vec<_>>(),
        "backend": ad.backend,
    });
    if !ad.picture.is_empty() {
        content["picture"] = ad.picture.clone().into();
        content["image"] = ad.picture.clone().into();
    }
    if let Some(zaps) = &ad.zaps {
        zaps.write(&mut content);
    }
    content
}

/// The price as viewers show it: `free`, whole satoshis, or `flexible` where it depends on the job.
fn amount(ad: &Ad) -> String {
    let depends = [ad.per_kib, ad.per_1000_output].iter().any(|price| !price.is_zero());
    match (depends, ad.base.is_zero() && ad.per_second.is_zero()) {
        (true, _) => "flexible".into(),
        (false, true) => "free".into(),
        (false, false) if ad.per_second.is_zero() => ad.base.to_sat_ceil().to_string(),
        (false, false) => "flexible".into(),
    }
}

fn pricing(ad: &Ad) -> Value {
    let mut pricing = json!({
        "base_msat": ad.base.get(), "per_kib_msat": ad.per_kib.get(), "unit": "KiB of input",
    });
    let more = [("per_1000_output_msat", ad.per_1000_output), ("per_second_msat", ad.per_second)];
    for (name, price) in more.into_iter().filter(|(_, price)| !price.is_zero()) {
        pricing[name] = price.get().into();
    }
    if !ad.per_1000_output.is_zero() || ad.models.iter().any(|model| !model.per_1000_output.is_zero()) {
        let unused =
            if ad.metered { "what is not written becomes your balance" } else { "it is charged whole" };
        pricing["output"] = format!("the quote counts max_tokens, or 512 without it; {unused}").into();
        pricing["metered"] = ad.metered.into();
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

/// A model, as we write it or by its bare name.
fn read_model(entry: &Value) -> Option<ModelAd> {
    let name = entry.as_str().or_else(|| entry["id"].as_str()).filter(|name| !name.is_empty())?;
    let msat = |name: &str| Msat::new(entry[name].as_u64().unwrap_or_default());
    Some(ModelAd {
        name: name.chars().take(256).collect(),
        base: msat("base_msat"),
        per_kib: msat("per_kib_msat"),
        per_1000_output: msat("per_1000_output_msat"),
    })
}

/// The parameters, where a `model` can be chosen with those that are sold.
fn params(ad: &Ad) -> Value {
    let mut params = ad.params.clone();
    if !ad.models.is_empty()
        && let Some(model) = params.get_mut("model").and_then(Value::as_object_mut)
    {
        let names: Vec<&str> = ad.models.iter().map(|model| model.name.as_str()).collect();
        model.insert("values".into(), json!(names));
    }
    params
}

/// An advertisement to be taken back.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// Its `d` tag.
    pub identifier: String,
    /// The event, where it is known.
    pub event: Option<EventId>,
}

/// Takes advertisements back (NIP-09): by address, and by event where it is known.
pub fn encode_deletion(ads: &[Listed], keys: &Keys, now: Timestamp) -> Verified {
    let author = keys.public_key().to_hex();
    let address = |ad: &Listed| make([tags::ADDRESS, &format!("{KIND}:{author}:{}", ad.identifier)]);
    let event = |ad: &Listed| ad.event.map(|id| make([tags::EVENT, &id.to_hex()]));
    let mut raw: Vec<Raw> = ads.iter().map(address).collect();
    raw.extend(ads.iter().filter_map(event));
    raw.push(make([tags::KIND, &KIND.to_string()]));
    Verified::sign(keys, 5, tags::to_tags(raw), "no longer offered".into(), now.secs())
}

/// The advertisement that an event is, if it was written by this program for one of its kinds: a key may
/// advertise other things by other programs.
pub fn ours(event: &Verified) -> Option<(JobKind, Listed)> {
    let found = tags::from_tags(event.event().tags.iter());
    let identifier = tags::first(&found, tags::IDENTIFIER)?;
    let kind: JobKind = identifier.parse().ok()?;
    let content: Value = serde_json::from_str(&event.event().content).ok()?;
    let is_ours = event.event().kind.as_u16() == KIND
        && tags::first(&found, tags::KIND) == Some(identifier)
        && content["pricing"]["base_msat"].is_u64();
    is_ours.then(|| (kind, Listed { identifier: identifier.to_owned(), event: Some(event.id()) }))
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
    let short = |value: &Value| value.as_str().unwrap_or_default().chars().take(256).collect::<String>();
    let either = |one: &str, other: &str| match short(&content[one]) {
        text if text.is_empty() => short(&content[other]),
        text => text,
    };
    let number = |group: &str, name: &str| content[group][name].as_u64();
    let models = content["models"].as_array().map(Vec::as_slice).unwrap_or_default();
    Ok(Ad {
        kind,
        name: either("name", "display_name"),
        about: short(&content["about"]),
        picture: either("picture", "image"),
        zaps: ZapAddress::read(&content),
        base: Msat::new(number("pricing", "base_msat").or_else(|| priced(&content)).unwrap_or_default()),
        per_kib: Msat::new(number("pricing", "per_kib_msat").unwrap_or_default()),
        per_1000_output: Msat::new(number("pricing", "per_1000_output_msat").unwrap_or_default()),
        metered: content["pricing"]["metered"] == true,
        per_second: Msat::new(number("pricing", "per_second_msat").unwrap_or_default()),
        max_input_bytes: number("limits", "max_input_bytes").unwrap_or_default(),
        timeout: Millis::from_secs(number("limits", "timeout_s").unwrap_or_default()),
        slots: number("limits", "slots").unwrap_or_default(),
        queue_limit: number("limits", "queue").unwrap_or_default(),
        models: models.iter().take(MOST_MODELS).filter_map(read_model).collect(),
        backend: short(&content["backend"]),
        params: content["nip90Params"].clone(),
        relays: tags::all(&found, tags::RELAYS).flatten().cloned().collect(),
    })
}

/// The price in millisatoshis that an advertisement names the way others do: in satoshis, as text or number.
fn priced(content: &Value) -> Option<u64> {
    let amount = &content["amount"];
    let sats = amount.as_u64().or_else(|| amount.as_str()?.trim().parse().ok())?;
    Msat::from_sat(sats).ok().map(Msat::get)
}

/// Whether an advertisement names a price at all, if only that it is free.
pub fn names_a_price(event: &Verified) -> bool {
    let content: Value = serde_json::from_str(&event.event().content).unwrap_or_default();
    content["pricing"]["base_msat"].is_u64() || content["amount"] == "free" || priced(&content).is_some()
}
