//! NIP-47's words: what a wallet says in JSON, turned into our types. Nothing it says is taken for a
//! payment without its proof.

use openagents_types::{Msat, Network, PaymentHash, Preimage, Rail, Timestamp};
use serde_json::Value;

use crate::{Incoming, Info, Outgoing, Transaction, WalletError, WalletEvent};

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
pub(crate) fn clean(text: &str) -> String {
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
        ecash: [
            "make_ecash_request",
            "read_ecash_request",
            "lock_ecash",
            "accept_ecash",
            "settle_hold_invoice",
            "cancel_hold_invoice",
        ]
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
        // What was asked for with a request has no invoice.
        rail: if value["request"].is_string() { Rail::Cashu } else { Rail::Bolt11 },
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
