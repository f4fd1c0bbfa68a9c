//! Job requests: kinds 5000-5999 (NIP-90) and the market's own 6500-6599.

use std::collections::HashSet;

use nostr::Keys;
use openagents_types::{
    CustomerKey, Encryption, InputType, JobId, JobInput, JobKind, JobRequest, JobSpec, Msat, Param,
    ProviderKey, Timestamp,
};

use crate::{
    DecodeError, EncodeError, Keyring, Verified,
    message::{created_at, customer, public_key, sendable},
    tags::{self, Raw, make},
};

/// How many MIME types or relays are looked at: no honest request names more.
const MOST_VALUES: usize = 64;

/// The longest address for a refund that is read, in bytes; LNURLs are long.
const LONGEST_REFUND: usize = 2_048;

/// Writes and signs a request.
///
/// # Errors
/// It is to be encrypted to nobody, or is too large for relays.
pub fn encode(spec: &JobSpec, keys: &Keys, now: Timestamp) -> Result<Verified, EncodeError> {
    let mut outer: Vec<Raw> = Vec::new();
    let mut hidden = inputs_and_params(spec);
    let open = terms(spec);
    let content = if spec.encrypt {
        let provider = spec.provider.ok_or(EncodeError::NoRecipient)?;
        // Some providers take the inner tags for all there are.
        hidden.extend(open.iter().cloned());
        let text = serde_json::to_string(&hidden).map_err(|_| EncodeError::Seal)?;
        outer.push(make([tags::ENCRYPTED]));
        let peer = public_key(provider.as_bytes())?;
        Keyring::new(keys.clone()).seal(&keys.public_key(), &peer, &text)?
    } else {
        outer.extend(hidden);
        String::new()
    };
    outer.extend(open);
    if let Some(provider) = spec.provider {
        outer.push(make([tags::KEY, &provider.to_hex()]));
    }
    outer.push(make([tags::EXPIRATION, &spec.expires_at.secs().to_string()]));
    let event = Verified::sign(keys, spec.kind.get(), tags::to_tags(outer), content, now.secs());
    sendable(event)
}

/// What is said outside even when the inputs are hidden, so that a price can be made without opening them.
fn terms(spec: &JobSpec) -> Vec<Raw> {
    let mut open: Vec<Raw> = spec.output.iter().map(|mime| make([tags::OUTPUT, mime])).collect();
    open.push(make([tags::BID, &spec.bid.get().to_string()]));
    if !spec.relays.is_empty() {
        open.push(std::iter::once(tags::RELAYS.to_owned()).chain(spec.relays.iter().cloned()).collect());
    }
    open
}

fn inputs_and_params(spec: &JobSpec) -> Vec<Raw> {
    let inputs = spec.inputs.iter().map(|input| {
        let mut tag = make([tags::INPUT, &input.data, type_word(input.input_type)]);
        if input.relay.is_some() || input.marker.is_some() {
            tag.push(input.relay.clone().unwrap_or_default());
        }
        tag.extend(input.marker.clone());
        tag
    });
    let params = spec.params.iter().map(|param| {
        let mut tag = make([tags::PARAM, &param.name]);
        tag.extend(param.values.iter().cloned());
        tag
    });
    // A refund's address tells who asks, so it is hidden with the rest.
    let refund = spec.refund_to.iter().map(|to| make([tags::REFUND, to]));
    inputs.chain(params).chain(refund).collect()
}

const fn type_word(input_type: InputType) -> &'static str {
    match input_type {
        InputType::Text => "text",
        InputType::Url => "url",
        InputType::Event => "event",
        InputType::Job => "job",
    }
}

/// Reads a request. What is encrypted to us is opened; its tags come first.
pub(crate) fn decode(event: &Verified, keys: &mut Keyring) -> Result<JobRequest, DecodeError> {
    let outer = tags::from_tags(event.event().tags.iter());
    let (found, encryption) = open(event, outer, keys)?;
    let kind = JobKind::try_from(event.event().kind.as_u16()).map_err(|_| DecodeError::Missing("kind"))?;
    let inputs = inputs(&found);
    Ok(JobRequest {
        id: JobId::from(event.id()),
        customer: CustomerKey::from_bytes(*customer(event).as_bytes()),
        kind,
        inputs: if inputs.is_empty() { fallback_input(event, encryption, &found) } else { inputs },
        params: params(&found),
        output: once_each(tags::all(&found, tags::OUTPUT).flatten().cloned()),
        bid: bid(&found),
        providers: tags::all(&found, tags::KEY)
            .filter_map(|v| v.first()?.parse::<ProviderKey>().ok())
            .collect(),
        encryption,
        relays: relays(&found),
        created_at: created_at(event),
        expires_at: tags::first(&found, tags::EXPIRATION)
            .and_then(|secs| secs.parse().ok())
            .map(Timestamp::from_secs),
        refund_to: tags::first(&found, tags::REFUND)
            .filter(|to| !to.is_empty() && to.len() <= LONGEST_REFUND)
            .map(str::to_owned),
        raw: event.shared_json(),
    })
}

/// The tags of a request, those inside an encrypted content before those outside.
fn open(
    event: &Verified,
    outer: Vec<Raw>,
    keys: &mut Keyring,
) -> Result<(Vec<Raw>, Encryption), DecodeError> {
    if tags::all(&outer, tags::ENCRYPTED).next().is_none() {
        return Ok((outer, Encryption::None));
    }
    let content = &event.event().content;
    let encryption = if content.contains("?iv=") { Encryption::Nip04 } else { Encryption::Nip44 };
    let recipient = tags::all(&outer, tags::KEY)
        .filter_map(|values| nostr::PublicKey::from_hex(values.first()?).ok())
        .find(|key| keys.find(key).is_some())
        .ok_or(DecodeError::Sealed)?;
    let text = keys.open(&recipient, &event.event().pubkey, content)?;
    let mut found: Vec<Raw> =
        serde_json::from_str(&text).map_err(|_| DecodeError::Content("a list of tags"))?;
    let inside: HashSet<Raw> = found.iter().cloned().collect();
    // What is said inside may be repeated outside, and is said once.
    found.extend(outer.into_iter().filter(|tag| !inside.contains(tag)));
    Ok((found, encryption))
}

fn inputs(found: &[Raw]) -> Vec<JobInput> {
    let proper = tags::all(found, tags::INPUT).filter_map(|values| {
        let data = values.first()?.clone();
        let input_type = match values.get(1).map(String::as_str) {
            Some("url") => InputType::Url,
            Some("event") => InputType::Event,
            Some("job") => InputType::Job,
            // Missing, or "prompt" and the like, which others write for text.
            _ => InputType::Text,
        };
        let value = |index: usize| values.get(index).filter(|text| !text.is_empty()).cloned();
        Some(JobInput { data, input_type, relay: value(2), marker: value(3) })
    });
    // `["input","text","Hi"]`, seen in the wild.
    let odd = tags::all(found, "input").filter_map(|values| Some(JobInput::text(values.last()?.clone())));
    proper.chain(odd).collect()
}

/// Requests without an input: the prompt as a parameter, or as the content.
fn fallback_input(event: &Verified, encryption: Encryption, found: &[Raw]) -> Vec<JobInput> {
    let prompt = tags::all(found, tags::PARAM)
        .find(|values| values.first().is_some_and(|name| name == "prompt"))
        .and_then(|values| values.get(1).cloned());
    let content = &event.event().content;
    let plain = (encryption == Encryption::None && !content.is_empty()).then(|| content.clone());
    prompt.or(plain).map(JobInput::text).into_iter().collect()
}

fn params(found: &[Raw]) -> Vec<Param> {
    let proper = tags::all(found, tags::PARAM).filter_map(|values| {
        let (name, values) = values.split_first()?;
        Some(Param { name: name.clone(), values: values.to_vec() })
    });
    // `["alignment","raw"]`: a parameter that forgot to say that it is one.
    let bare = tags::all(found, "alignment")
        .map(|values| Param { name: "alignment".into(), values: values.to_vec() });
    proper.chain(bare).collect()
}

fn bid(found: &[Raw]) -> Option<Msat> {
    tags::first(found, tags::BID).and_then(|text| text.replace('_', "").trim().parse().ok())
}

/// Relay addresses: as values, as JSON inside a value, or in a tag that is itself named by an address.
fn relays(found: &[Raw]) -> Vec<String> {
    let listed = tags::all(found, tags::RELAYS).flatten().flat_map(|value| match value.starts_with('[') {
        true => serde_json::from_str::<Vec<String>>(value).unwrap_or_default(),
        false => vec![value.clone()],
    });
    let misnamed =
        found.iter().filter(|tag| tag.first().is_some_and(|name| is_relay(name))).flatten().cloned();
    let mut relays = once_each(listed.chain(misnamed).filter(|url| is_relay(url)));
    relays.truncate(8);
    relays
}

/// In the order of their first appearance: what is said inside may be repeated outside.
fn once_each(values: impl Iterator<Item = String>) -> Vec<String> {
    let mut kept: Vec<String> = Vec::new();
    for value in values.filter(|value| !value.is_empty()).take(MOST_VALUES) {
        if !kept.contains(&value) {
            kept.push(value);
        }
    }
    kept
}

fn is_relay(text: &str) -> bool {
    text.starts_with("wss://") || text.starts_with("ws://")
}
