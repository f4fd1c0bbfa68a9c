//! Ecash between two: kind 7013, ours. A customer gives a provider the token that it asked for in its quote, and a
//! provider that gives it up gives the customer what it can be taken back with; only the other one can read either.
//! And the tag of a quote that asks for it.

use nostr::Keys;
use openagents_types::{
    EcashAsk, EcashPayment, EcashRelease, EcashToken, JobId, JobRequest, PaymentHash, ProviderKey,
    ReleasedEcash, Timestamp,
};
use serde::{Deserialize, Serialize};

use crate::{
    DecodeError, EncodeError, Keyring, Message, Verified,
    feedback::{job_of, opened},
    message::{customer, provider, public_key, sendable},
    tags::{self, Raw, make},
};

pub(crate) const KIND: u16 = 7013;

/// How many mints of one quote are read.
const MINTS: usize = 32;

/// The longest request for ecash that is read, in bytes; an honest one has some hundred.
const LONGEST_REQUEST: usize = 8_192;

/// The longest token that is read, in bytes: what NIP-44 can seal with some room around it.
const LONGEST_TOKEN: usize = 60_000;

#[derive(Serialize, Deserialize)]
struct Body {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token: Option<EcashToken>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    release: Option<EcashRelease>,
    payment_hash: PaymentHash,
}

/// `["cashu", "<creqA…>", "<payment hash>", "<locktime, seconds>", "<mint>", …]`
pub(crate) fn tag(ask: &EcashAsk) -> Raw {
    let locktime = ask.locktime.secs().to_string();
    let mut tag = make([tags::CASHU, &ask.request, &ask.hash.to_hex(), &locktime]);
    tag.extend(ask.mints.iter().take(MINTS).cloned());
    tag
}

/// The ecash that a quote asks for. One that is not written as above asks for none: its invoice is left.
pub(crate) fn asked(found: &[Raw]) -> Option<EcashAsk> {
    let [request, hash, locktime, mints @ ..] = tags::all(found, tags::CASHU).next()? else { return None };
    let is_request = request.starts_with("creq") && request.len() <= LONGEST_REQUEST;
    let locktime = locktime.trim().parse().ok()?;
    is_request.then_some(EcashAsk {
        request: request.clone(),
        hash: hash.parse().ok()?,
        locktime: Timestamp::from_secs(locktime),
        mints: mints.iter().take(MINTS).cloned().collect(),
    })
}

pub(crate) fn encode(
    job: JobId,
    provider: ProviderKey,
    payment: (PaymentHash, &EcashToken),
    keys: &Keys,
    now: Timestamp,
) -> Result<Verified, EncodeError> {
    let (payment_hash, token) = payment;
    let body = Body { token: Some(token.clone()), release: None, payment_hash };
    write(job, provider.as_bytes(), &body, keys, now)
}

pub(crate) fn encode_release(
    request: &JobRequest,
    payment: (PaymentHash, &EcashRelease),
    keys: &Keys,
    now: Timestamp,
) -> Result<Verified, EncodeError> {
    let (payment_hash, release) = payment;
    let body = Body { token: None, release: Some(release.clone()), payment_hash };
    write(request.id, request.customer.as_bytes(), &body, keys, now)
}

fn write(
    job: JobId,
    to: &[u8; 32],
    body: &Body,
    keys: &Keys,
    now: Timestamp,
) -> Result<Verified, EncodeError> {
    let body = serde_json::to_string(body).map_err(|_| EncodeError::Seal)?;
    let peer = public_key(to)?;
    let content = Keyring::new(keys.clone()).seal(&keys.public_key(), &peer, &body)?;
    let raw = vec![
        make([tags::EVENT, &job.to_hex()]),
        make([tags::KEY, &hex::encode(to)]),
        make([tags::ENCRYPTED]),
    ];
    sendable(Verified::sign(keys, KIND, tags::to_tags(raw), content, now.secs()))
}

pub(crate) fn decode(event: &Verified, keys: &mut Keyring) -> Result<Message, DecodeError> {
    let (found, text) = opened(event, keys)?;
    if tags::all(&found, tags::ENCRYPTED).next().is_none() {
        return Err(DecodeError::Missing(tags::ENCRYPTED));
    }
    let body: Body = serde_json::from_str(&text).map_err(|_| DecodeError::Content("ecash handed over"))?;
    let job = job_of(&found).ok_or(DecodeError::Missing(tags::EVENT))?;
    let hash = body.payment_hash;
    match (body.token, body.release) {
        (Some(token), None) if token.expose().len() <= LONGEST_TOKEN => {
            Ok(Message::Ecash(EcashPayment { job, by: customer(event), hash, token }))
        }
        (None, Some(release)) if release.expose().len() <= LONGEST_TOKEN => {
            Ok(Message::Release(ReleasedEcash { job, provider: provider(event), hash, release }))
        }
        _ => Err(DecodeError::Content("a token, or what one can be taken back with")),
    }
}
