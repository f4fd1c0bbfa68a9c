//! Refund claims: kind 7009, ours. A customer tells a provider that owes it where to pay; only the
//! provider can read it.

use nostr::Keys;
use openagents_types::{Invoice, JobId, ProviderKey, RefundClaim, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    DecodeError, EncodeError, Keyring, Verified,
    feedback::{job_of, opened},
    message::{customer, public_key},
    tags::{self, make},
};

pub(crate) const KIND: u16 = 7009;

#[derive(Serialize, Deserialize)]
struct Body {
    bolt11: String,
}

pub(crate) fn encode(
    job: JobId,
    provider: ProviderKey,
    invoice: &Invoice,
    keys: &Keys,
    now: Timestamp,
) -> Result<Verified, EncodeError> {
    let body =
        serde_json::to_string(&Body { bolt11: invoice.bolt11.clone() }).map_err(|_| EncodeError::Seal)?;
    let peer = public_key(provider.as_bytes())?;
    let content = Keyring::new(keys.clone()).seal(&keys.public_key(), &peer, &body)?;
    let raw = vec![
        make([tags::EVENT, &job.to_hex()]),
        make([tags::KEY, &provider.to_hex()]),
        make([tags::ENCRYPTED]),
    ];
    Ok(Verified::sign(keys, KIND, tags::to_tags(raw), content, now.secs()))
}

pub(crate) fn decode(event: &Verified, keys: &mut Keyring) -> Result<RefundClaim, DecodeError> {
    let (found, text) = opened(event, keys)?;
    if tags::all(&found, tags::ENCRYPTED).next().is_none() {
        return Err(DecodeError::Missing(tags::ENCRYPTED));
    }
    let body: Body = serde_json::from_str(&text).map_err(|_| DecodeError::Content("a refund claim"))?;
    let job = job_of(&found).ok_or(DecodeError::Missing(tags::EVENT))?;
    Ok(RefundClaim { job, by: customer(event), bolt11: body.bolt11 })
}
