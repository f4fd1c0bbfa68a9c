//! NIP-47's messages: sealed, opened, and turned into our words.

use std::{fmt, sync::Arc, time::Duration};

use nostr::{
    Event, EventId, Keys, Kind, PublicKey, Tag, Tags, Timestamp as Seconds,
    nips::{nip04, nip44::v2},
    secp256k1::Message,
};
use openagents_types::{Msat, Network, PaymentHash, Preimage, Timestamp};
use serde_json::Value;

use super::Connection;
use crate::{Incoming, Info, Outgoing, Transaction, WalletError, WalletEvent};

/// How messages are sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Nip04,
    Nip44,
}

/// Seals and opens messages between two keys. The conversation key is derived once.
#[derive(Clone)]
pub(crate) struct Cipher(Arc<Inner>);

struct Inner {
    own: Keys,
    peer: PublicKey,
    scheme: Scheme,
    conversation: Option<v2::ConversationKey>,
}

impl fmt::Debug for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cipher(…)")
    }
}

/// A message could not be sealed or opened.
#[derive(Debug)]
pub(crate) struct Sealed;

impl Cipher {
    pub(crate) fn new(connection: &Connection, scheme: Scheme) -> Self {
        Self::between(connection.keys(), connection.wallet(), scheme)
    }

    pub(crate) fn between(own: Keys, peer: PublicKey, scheme: Scheme) -> Self {
        let conversation = v2::ConversationKey::derive(own.secret_key(), &peer).ok();
        Self(Arc::new(Inner { own, peer, scheme, conversation }))
    }

    pub(crate) fn own(&self) -> PublicKey {
        self.0.own.public_key()
    }

    pub(crate) fn wallet(&self) -> PublicKey {
        self.0.peer
    }

    pub(crate) fn scheme(&self) -> Scheme {
        self.0.scheme
    }

    /// Opens a message, whichever way it was sealed.
    pub(crate) fn open(&self, text: &str) -> Result<String, Sealed> {
        if text.contains("?iv=") {
            return nip04::decrypt(self.0.own.secret_key(), &self.0.peer, text).map_err(|_| Sealed);
        }
        use base64::Engine as _;
        let bytes = base64::engine::general_purpose::STANDARD.decode(text).map_err(|_| Sealed)?;
        let key = self.0.conversation.as_ref().ok_or(Sealed)?;
        String::from_utf8(v2::decrypt_to_bytes(key, &bytes).map_err(|_| Sealed)?).map_err(|_| Sealed)
    }

    fn seal(&self, text: &str) -> Result<String, Sealed> {
        if self.0.scheme == Scheme::Nip04 {
            return nip04::encrypt(self.0.own.secret_key(), &self.0.peer, text).map_err(|_| Sealed);
        }
        use base64::Engine as _;
        let key = self.0.conversation.as_ref().ok_or(Sealed)?;
        let bytes = v2::encrypt_to_bytes(key, text.as_bytes()).map_err(|_| Sealed)?;
        Ok(base64::engine::general_purpose::STANDARD.encode(bytes))
    }

    /// A sealed and signed request.
    pub(crate) fn request(
        &self,
        kind: u16,
        body: &str,
        now: Timestamp,
        patience: Duration,
    ) -> Result<Event, WalletError> {
        let expires = now.secs() + patience.as_secs() + 1;
        let mut tags = vec![vec!["p".to_owned(), self.0.peer.to_hex()]];
        tags.push(vec!["expiration".into(), expires.to_string()]);
        if self.0.scheme == Scheme::Nip44 {
            tags.push(vec!["encryption".into(), "nip44_v2".into()]);
        }
        self.event(kind, tags, body, now)
            .map_err(|_| WalletError::Garbled("the request cannot be sealed".into()))
    }

    /// A sealed and signed event of any kind.
    pub(crate) fn event(
        &self,
        kind: u16,
        tags: Vec<Vec<String>>,
        body: &str,
        now: Timestamp,
    ) -> Result<Event, Sealed> {
        Ok(sign(&self.0.own, kind, tags, self.seal(body)?, now))
    }
}

/// Signs an event once; the library's builder hashes twice and verifies what it signed.
pub(crate) fn sign(keys: &Keys, kind: u16, tags: Vec<Vec<String>>, content: String, now: Timestamp) -> Event {
    let (kind, at) = (Kind::from(kind), Seconds::from(now.secs()));
    let tags = Tags::from_list(tags.into_iter().filter_map(|tag| Tag::parse(tag).ok()).collect());
    let id = EventId::new(&keys.public_key(), &at, &kind, &tags, &content);
    let signature = keys.sign_schnorr(&Message::from_digest(id.to_bytes()));
    Event::new(id, keys.public_key(), at, kind, tags, content, signature)
}

/// What the wallet's info event says it speaks.
pub(crate) fn scheme(info: &Event) -> Scheme {
    let offers = info.tags.iter().map(Tag::as_slice).any(|tag| {
        tag.first().is_some_and(|name| name == "encryption")
            && tag.iter().skip(1).any(|value| value.contains("nip44_v2"))
    });
    if offers { Scheme::Nip44 } else { Scheme::Nip04 }
}

/// The result of an answer, or its error in our words.
pub(crate) fn result(mut answer: Value) -> Result<Value, WalletError> {
    let error = &answer["error"];
    if error.is_object() {
        let message = || clean(error["message"].as_str().unwrap_or_default());
        return Err(match error["code"].as_str().unwrap_or_default() {
            "INSUFFICIENT_BALANCE" => WalletError::InsufficientBalance(message()),
            "PAYMENT_FAILED" => WalletError::PaymentFailed(message()),
            "NOT_FOUND" => WalletError::NotFound,
            "QUOTA_EXCEEDED" => WalletError::QuotaExceeded(message()),
            "RESTRICTED" | "UNAUTHORIZED" => WalletError::Restricted(message()),
            "NOT_IMPLEMENTED" => WalletError::NotImplemented(message()),
            "RATE_LIMITED" => WalletError::RateLimited,
            _ => WalletError::Internal(message()),
        });
    }
    Ok(answer.get_mut("result").map(Value::take).unwrap_or_default())
}

/// A wallet's words, safe to print: nothing that controls a terminal, breaks a line or turns it around.
fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() && !turns(*c)).take(200).collect()
}

const fn turns(c: char) -> bool {
    matches!(
        c,
        '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    )
}

pub(crate) fn info(result: &Value) -> Info {
    let has = |list: &str, word: &str| {
        result[list].as_array().is_some_and(|words| words.iter().any(|w| w.as_str() == Some(word)))
    };
    Info {
        alias: clean(result["alias"].as_str().unwrap_or("wallet")),
        network: match result["network"].as_str() {
            Some("regtest") => Network::Regtest,
            Some("testnet") => Network::Testnet,
            Some("signet") => Network::Signet,
            _ => Network::Mainnet,
        },
        hold: ["make_hold_invoice", "settle_hold_invoice", "cancel_hold_invoice"]
            .iter()
            .all(|m| has("methods", m)),
        notifications: has("notifications", "payment_received"),
    }
}

/// A payment that the wallet calls settled, if its proof is one.
pub(crate) fn paid(result: &Value, hash: PaymentHash) -> Result<Outgoing, WalletError> {
    let preimage = proof(result, hash)?;
    Ok(Outgoing::Settled { preimage, fee: Msat::new(result["fees_paid"].as_u64().unwrap_or(0)) })
}

fn proof(result: &Value, hash: PaymentHash) -> Result<Preimage, WalletError> {
    let preimage: Preimage =
        result["preimage"].as_str().and_then(|text| text.parse().ok()).ok_or(WalletError::FalseProof)?;
    if preimage.hash() == hash { Ok(preimage) } else { Err(WalletError::FalseProof) }
}

pub(crate) fn incoming(value: &Value) -> Incoming {
    let amount = Msat::new(value["amount"].as_u64().unwrap_or(0));
    match value["state"].as_str() {
        Some("settled") => Incoming::Settled { amount },
        Some("accepted" | "held") => Incoming::Held { amount },
        Some("failed" | "canceled" | "cancelled") => Incoming::Cancelled,
        Some("expired") => Incoming::Expired,
        Some(_) => Incoming::Open,
        // Older wallets have no state: settled if they say when.
        None if value["settled_at"].as_u64().is_some_and(|at| at > 0) => Incoming::Settled { amount },
        None => Incoming::Open,
    }
}

pub(crate) fn outgoing(value: &Value, hash: PaymentHash) -> Result<Outgoing, WalletError> {
    let settled = value["settled_at"].as_u64().is_some_and(|at| at > 0);
    match value["state"].as_str() {
        Some("settled") => paid(value, hash),
        None if settled => paid(value, hash),
        Some("failed" | "canceled" | "cancelled" | "expired") => {
            Ok(Outgoing::Failed { reason: "the wallet says that it failed".into() })
        }
        Some(_) | None => Ok(Outgoing::Pending),
    }
}

pub(crate) fn notification(value: &Value) -> Option<WalletEvent> {
    let payment = &value["notification"];
    let hash: PaymentHash = payment["payment_hash"].as_str()?.parse().ok()?;
    let amount = Msat::new(payment["amount"].as_u64()?);
    Some(match value["notification_type"].as_str()? {
        "payment_received" => WalletEvent::Incoming { hash, state: Incoming::Settled { amount } },
        "hold_invoice_accepted" => WalletEvent::Incoming { hash, state: Incoming::Held { amount } },
        "payment_sent" => WalletEvent::Outgoing { hash, state: paid(payment, hash).ok()? },
        _ => return None,
    })
}

pub(crate) fn transaction(value: &Value) -> Option<Transaction> {
    Some(Transaction {
        hash: value["payment_hash"].as_str()?.parse().ok()?,
        incoming: value["type"] == "incoming",
        state: match value["state"].as_str() {
            Some("settled") => "settled",
            Some("accepted" | "held") => "held",
            Some("failed") => "failed",
            Some("canceled" | "cancelled") => "cancelled",
            Some("expired") => "expired",
            _ => "pending",
        },
        amount: Msat::new(value["amount"].as_u64()?),
        fee: Msat::new(value["fees_paid"].as_u64().unwrap_or(0)),
        description: clean(value["description"].as_str().unwrap_or_default()),
        at: Timestamp::from_secs(value["created_at"].as_u64().unwrap_or(0)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_any_shape_is_read() {
        for text in ["7", "[]", "\"paid\"", "null", "true", "{}", "{\"result\":null}"] {
            let answer = serde_json::from_str(text).expect("it is JSON");
            assert_eq!(result(answer), Ok(Value::Null), "{text}");
        }
    }
}
