//! Tags as peers write them, built from a fuzzer's bytes: known names and telling values more often
//! than chance would have it.

use arbitrary::{Result, Unstructured};

use crate::keys;

/// Tag names that some decoder looks for.
const NAMES: &[&str] = &[
    "i",
    "param",
    "output",
    "bid",
    "relays",
    "e",
    "p",
    "k",
    "a",
    "d",
    "request",
    "amount",
    "status",
    "encrypted",
    "bolt11",
    "description",
    "lnurl",
    "expiration",
    "eta",
    "terms",
    "code",
    "input",
    "alignment",
    "content",
    "wss://relay.example",
    "queued",
];

/// Values that some decoder tells apart, among them the malformed ones that are often seen.
const VALUES: &[&str] = &[
    "",
    "text",
    "url",
    "event",
    "job",
    "prompt",
    "1000",
    "100_000",
    " 7 ",
    "18446744073709551615",
    "-1",
    "payment-required",
    "payment_required",
    "processing",
    "scheduled",
    "partial",
    "success",
    "error",
    "escrow",
    "prepaid",
    "refund-owed",
    "wss://relay.example",
    "ws://127.0.0.1:1",
    "[\"wss://a.example\"]",
    "lightning:LNBC10n1QQ",
    "lnbcrt10n1qq",
    "LNBC1",
    "5001",
    "5050,5001",
    "text/plain",
    "length",
    "5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a",
    "{'id': '5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a', 'kind': 5001}",
    "{\"id\":\"5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a\"}",
];

fn word(u: &mut Unstructured<'_>, known: &[&str]) -> Result<String> {
    match u.int_in_range(0..=9_u8)? {
        0..=6 => Ok((*u.choose(known)?).to_owned()),
        7 => Ok(keys(u.int_in_range(1..=3)?).public_key().to_hex()),
        _ => Ok(u.arbitrary::<&str>()?.to_owned()),
    }
}

/// A text, known or not.
///
/// # Errors
/// The bytes are used up.
pub fn value(u: &mut Unstructured<'_>) -> Result<String> {
    word(u, VALUES)
}

/// A few tags, each with a name.
///
/// # Errors
/// The bytes are used up.
pub fn tags(u: &mut Unstructured<'_>) -> Result<Vec<Vec<String>>> {
    let count = u.int_in_range(0..=8)?;
    let mut tags = Vec::new();
    for _ in 0..count {
        let mut tag = vec![word(u, NAMES)?];
        for _ in 0..u.int_in_range(0..=4)? {
            tag.push(value(u)?);
        }
        tags.push(tag);
    }
    Ok(tags)
}
