//! The lines on stdin and stdout: requests, answers, notifications, in NIP-47's words.

use std::{
    io::Write as _,
    sync::{Arc, Mutex, PoisonError},
};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::setup::SetupError;

/// A request.
#[derive(Deserialize)]
pub(crate) struct Request {
    /// What its answer is matched by.
    pub(crate) id: u64,
    /// What to do.
    pub(crate) method: String,
    /// With what.
    #[serde(default)]
    pub(crate) params: Value,
}

/// Why there is no result: a code of NIP-47, and a sentence.
#[derive(Clone, Debug)]
pub(crate) struct Refusal(&'static str, String);

impl Refusal {
    /// Too little money; nothing was sent.
    pub(crate) fn insufficient(message: impl Into<String>) -> Self {
        Self("INSUFFICIENT_BALANCE", message.into())
    }

    /// Nothing was sent, or all of it came back.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self("PAYMENT_FAILED", message.into())
    }

    /// No such payment.
    pub(crate) fn not_found() -> Self {
        Self("NOT_FOUND", "no such payment".into())
    }

    /// It may not be.
    pub(crate) fn restricted(message: impl Into<String>) -> Self {
        Self("RESTRICTED", message.into())
    }

    /// It cannot be done here.
    pub(crate) fn unknown_method(method: &str) -> Self {
        Self("NOT_IMPLEMENTED", method.chars().take(40).collect())
    }

    /// A fault of ours: what became of the request is unknown.
    pub(crate) fn fault(error: impl std::fmt::Display) -> Self {
        Self("INTERNAL", error.to_string())
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.1)
    }
}

impl From<crate::book::BookError> for Refusal {
    fn from(error: crate::book::BookError) -> Self {
        Self::fault(error)
    }
}

/// Says one line at a time on stdout. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mouth(Arc<Mutex<()>>);

impl Mouth {
    fn say(&self, message: &Value) {
        let _turn = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut out = std::io::stdout().lock();
        // Whoever does not read any more has closed our stdin too, and that ends us.
        let _ = writeln!(out, "{message}").and_then(|()| out.flush());
    }

    /// The node runs.
    pub(crate) fn ready(&self, info: &Value) {
        self.say(&json!({ "ready": info }));
    }

    /// The node does not run.
    pub(crate) fn fatal(&self, error: &SetupError) {
        self.say(&json!({ "fatal": { "code": error.code(), "message": error.to_string() } }));
    }

    /// Answers a request.
    pub(crate) fn answer(&self, id: u64, method: &str, answer: Result<Value, Refusal>) {
        self.say(&match answer {
            Ok(result) => json!({ "id": id, "result_type": method, "result": result }),
            Err(Refusal(code, message)) => {
                json!({ "id": id, "result_type": method, "error": { "code": code, "message": message } })
            }
        });
    }

    /// Says by itself how a payment is.
    pub(crate) fn notify(&self, kind: &str, payment: &Value) {
        self.say(&json!({ "notification_type": kind, "notification": payment }));
    }
}
