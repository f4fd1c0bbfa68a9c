//! Feedback: kind 7000, from a quote to a refusal.

use nostr::{Keys, PublicKey};
use openagents_types::{
    Draft, Encryption, Feedback, JobId, JobRequest, Millis, Msat, Notice, Status, Terms, Timestamp, refusal,
};

use crate::{
    DecodeError, EncodeError, Keyring, Verified, ecash,
    message::{created_at, provider, seal, sendable},
    tags::{self, Raw, make},
};

const KIND: u16 = 7000;

/// What a feedback carries besides the job and the customer.
#[derive(Default)]
struct Words {
    status: &'static str,
    message: String,
    content: Option<String>,
    amount: Option<(Msat, Option<String>)>,
    extra: Vec<Raw>,
}

pub(crate) fn encode(
    request: &JobRequest,
    draft: &Draft,
    keys: &Keys,
    ring: &mut Keyring,
    now: Timestamp,
) -> Result<Verified, EncodeError> {
    let words = words(draft).ok_or(EncodeError::WrongSide)?;
    let mut said = vec![make([tags::STATUS, words.status, &words.message])];
    // What NIP-90 itself has a client read stays in the open even when the rest is sealed: without it
    // a customer that knows the NIP alone would wait for ever. It holds no word of the job.
    let mut open = vec![make([tags::STATUS, words.status])];
    if let Some((amount, bolt11)) = &words.amount {
        let mut tag = make([tags::AMOUNT, &amount.get().to_string()]);
        tag.extend(bolt11.clone());
        open.push(tag.clone());
        said.push(tag);
    }
    said.extend(words.extra);
    let content = words.content.unwrap_or(words.message);
    let about = [make([tags::EVENT, &request.id.to_hex()]), make([tags::KEY, &request.customer.to_hex()])];
    let mut raw: Vec<Raw> = about.to_vec();
    let content = if request.encryption == Encryption::None {
        raw.extend(said);
        content
    } else {
        said.push(make([tags::EVENT, &request.id.to_hex()]));
        said.push(make(["content", &content]));
        raw.push(make([tags::ENCRYPTED]));
        raw.extend(open);
        let text = serde_json::to_string(&said).map_err(|_| EncodeError::Seal)?;
        seal(ring, keys, request.customer.as_bytes(), request.encryption, &text)?
    };
    sendable(Verified::sign(keys, KIND, tags::to_tags(raw), content, now.secs()))
}

fn words(draft: &Draft) -> Option<Words> {
    Some(match draft {
        Draft::Quote { invoice, expires_at, eta, terms, ecash } => {
            let mut extra = vec![
                make([tags::EXPIRATION, &expires_at.secs().to_string()]),
                make([tags::TERMS, terms.word()]),
            ];
            extra.extend(eta.map(|eta| make([tags::ETA, &eta.0.to_string()])));
            extra.extend(ecash.as_ref().map(ecash::tag));
            Words {
                status: "payment-required",
                message: format!("pay {} and I do it", invoice.amount),
                amount: Some((invoice.amount, Some(invoice.bolt11.clone()))),
                extra,
                ..Words::default()
            }
        }
        Draft::Partial { text, .. } => {
            Words { status: "partial", content: Some(text.clone()), ..Words::default() }
        }
        Draft::Notice(notice) => notice_words(notice),
        Draft::Result { .. }
        | Draft::Bill { .. }
        | Draft::Cancel { .. }
        | Draft::RefundClaim { .. }
        | Draft::Ecash { .. }
        | Draft::Release { .. }
        | Draft::Receipt(_)
        | Draft::Countersign { .. } => return None,
    })
}

fn notice_words(notice: &Notice) -> Words {
    let code = |code: &str| vec![make([tags::CODE, code])];
    match notice {
        Notice::Processing { message } => {
            Words { status: "processing", message: message.clone(), ..Words::default() }
        }
        Notice::Success => Words { status: "success", ..Words::default() },
        Notice::Refused { code: word, message, minimum } => Words {
            status: "error",
            message: message.clone(),
            amount: minimum.map(|minimum| (minimum, None)),
            extra: code(word),
            ..Words::default()
        },
        Notice::RefundOwed { amount, message, .. } => Words {
            status: "error",
            message: message.clone(),
            amount: Some((*amount, None)),
            extra: code("refund-owed"),
            ..Words::default()
        },
        Notice::Refunded { amount, .. } => Words {
            status: "error",
            message: format!("{amount} were paid back"),
            amount: Some((*amount, None)),
            extra: code("refunded"),
            ..Words::default()
        },
        Notice::Credited { amount, .. } => Words {
            status: "error",
            message: format!(
                "{amount} are kept as your balance: a job from this key, addressed to me and with a bid, runs from it; \
                 a claim for a refund is still paid"
            ),
            amount: Some((*amount, None)),
            extra: code(refusal::CREDITED),
            ..Words::default()
        },
        Notice::Overpaid { amount } => Words {
            status: "processing",
            message: format!("{amount} too much were paid and are kept as your balance"),
            amount: Some((*amount, None)),
            extra: code(refusal::CREDITED),
            ..Words::default()
        },
        Notice::FromBalance { amount, left } => Words {
            status: "processing",
            message: format!("{amount} are paid from your balance; {left} are left"),
            amount: Some((*amount, None)),
            extra: code(refusal::FROM_BALANCE),
            ..Words::default()
        },
        Notice::RefundedTo { amount, to, .. } => Words {
            status: "error",
            message: format!("{amount} were paid back to {to}"),
            amount: Some((*amount, None)),
            extra: code(refusal::REFUNDED_TO),
            ..Words::default()
        },
    }
}

pub(crate) fn decode(event: &Verified, keys: &mut Keyring) -> Result<Feedback, DecodeError> {
    let (found, content) = opened_feedback(event, keys)?;
    let status = tags::all(&found, tags::STATUS).next().unwrap_or_default();
    let (amount, bolt11) = amount(&found);
    let number = |name| tags::first(&found, name).and_then(|text| text.trim().parse::<u64>().ok());
    let said = status.get(1).filter(|text| !text.is_empty()).cloned();
    let status = read_status(status.first().map_or("", String::as_str));
    Ok(Feedback {
        job: job_of(&found).ok_or(DecodeError::Missing(tags::EVENT))?,
        provider: provider(event),
        event: event.id(),
        status,
        message: said
            .unwrap_or_else(|| if status == Status::Partial { String::new() } else { content.clone() }),
        content,
        amount,
        bolt11,
        expires_at: number(tags::EXPIRATION).map(Timestamp::from_secs),
        eta: number(tags::ETA).map(Millis),
        terms: if tags::first(&found, tags::TERMS) == Some("escrow") {
            Terms::Escrow
        } else {
            Terms::Prepaid
        },
        ecash: ecash::asked(&found),
        code: tags::first(&found, tags::CODE).map(str::to_owned),
        created_at: created_at(event),
    })
}

/// The statuses others write, underscores and all. An unknown one reads as an error.
fn read_status(word: &str) -> Status {
    match word.replace('_', "-").as_str() {
        "payment-required" => Status::PaymentRequired,
        "processing" | "scheduled" | "chain-scheduled" | "pong" => Status::Processing,
        "partial" => Status::Partial,
        "success" => Status::Success,
        _ => Status::Error,
    }
}

/// The tags of an answer and its text, opened if it is encrypted to us.
pub(crate) fn opened(event: &Verified, keys: &mut Keyring) -> Result<(Vec<Raw>, String), DecodeError> {
    let found = tags::from_tags(event.event().tags.iter());
    let content = event.event().content.clone();
    if tags::all(&found, tags::ENCRYPTED).next().is_none() {
        return Ok((found, content));
    }
    let own = recipient(&found, keys).ok_or(DecodeError::Sealed)?;
    let text = keys.open(&own, &event.event().pubkey, &content)?;
    Ok((found, text))
}

/// Encrypted feedback hides its tags, and its text among them.
fn opened_feedback(event: &Verified, keys: &mut Keyring) -> Result<(Vec<Raw>, String), DecodeError> {
    let sealed =
        event.event().tags.iter().any(|tag| tag.as_slice().first().is_some_and(|n| n == tags::ENCRYPTED));
    let (outer, text) = opened(event, keys)?;
    if !sealed {
        return Ok((outer, text));
    }
    match serde_json::from_str::<Vec<Raw>>(&text) {
        Ok(mut inner) => {
            let content = tags::first(&inner, "content").unwrap_or_default().to_owned();
            inner.extend(outer);
            Ok((inner, content))
        }
        Err(_) => Ok((outer, text)),
    }
}

fn recipient(found: &[Raw], keys: &Keyring) -> Option<PublicKey> {
    tags::all(found, tags::KEY)
        .filter_map(|values| PublicKey::from_hex(values.first()?).ok())
        .find(|key| keys.find(key).is_some())
}

/// `["amount","1_000","lightning:lnbc…"]` and its relatives: the number, and the invoice if the third
/// element is one.
pub(crate) fn amount(found: &[Raw]) -> (Option<Msat>, Option<String>) {
    let Some(values) = tags::all(found, tags::AMOUNT).next() else { return (None, None) };
    let amount = values.first().and_then(|text| text.replace('_', "").trim().parse().ok());
    let bolt11 = values.get(1).map(|text| {
        // Scheme and invoice may be in upper case, as QR codes prefer.
        let lower = text.trim().to_lowercase();
        lower.strip_prefix("lightning:").unwrap_or(&lower).to_owned()
    });
    (amount, bolt11.filter(|text| text.starts_with("lnbc") || text.starts_with("lntb")))
}

/// The job an answer is about: the `e` marked so, else the id in the quoted request, else the first `e`.
pub(crate) fn job_of(found: &[Raw]) -> Option<JobId> {
    let id = |values: &[String]| values.first()?.parse::<JobId>().ok();
    let marked = tags::all(found, tags::EVENT)
        .find(|values| values.iter().skip(1).any(|value| value == tags::JOB_MARKER))
        .and_then(id);
    marked.or_else(|| quoted(found)).or_else(|| tags::all(found, tags::EVENT).find_map(id))
}

fn quoted(found: &[Raw]) -> Option<JobId> {
    let request = tags::first(found, tags::REQUEST)?;
    if let Ok(bare) = request.parse() {
        return Some(bare);
    }
    match serde_json::from_str::<serde_json::Value>(request) {
        Ok(value) => value.get("id")?.as_str()?.parse().ok(),
        Err(_) => python_id(request),
    }
}

/// The id in a request written as a Python dictionary: `{'id': '<hex>', …}`.
fn python_id(request: &str) -> Option<JobId> {
    let (_, rest) = request.split_once("'id': '")?;
    rest.split_once('\'')?.0.parse().ok()
}
