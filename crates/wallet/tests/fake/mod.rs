//! The program of a wallet, reduced to a script, that does wrong what its setup tells it to.

use std::{
    io::{BufRead as _, Write as _},
    path::Path,
    time::Duration,
};

use openagents_types::Preimage;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The preimage of the one payment that it makes.
pub(crate) const PREIMAGE: Preimage = Preimage::from_bytes([7; 32]);

/// What it does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// It writes what is no message, and answers what nobody asked, before each answer.
    Noise,
    /// It answers a payment when nobody waits any more.
    Late,
    /// It does not get to read what it is to pay, and answers everything else.
    Unread,
    /// It answers nothing.
    Hang,
    /// It dies in its first run once it has sent a payment.
    Crash,
    /// It answers the balance in a line that is too long.
    Giant,
    /// It proves payments with a preimage that proves nothing, and answers other questions.
    Lie,
    /// It is never ready.
    NeverReady,
    /// It says that it cannot run.
    Fatal,
    /// It goes on when its stdin has ended.
    Stubborn,
    /// Nothing, and it has ecash.
    Ecash,
    /// It has ecash, and makes requests for something else than was asked.
    OtherRequest,
}

/// How often it noted this.
pub(crate) fn noted(storage: &Path, what: &str) -> usize {
    let text = std::fs::read_to_string(storage.join("notes")).unwrap_or_default();
    text.lines().filter(|line| *line == what).count()
}

/// Its last process.
pub(crate) fn pid(storage: &Path) -> String {
    std::fs::read_to_string(storage.join("pid")).unwrap()
}

struct Fake {
    fault: Fault,
    storage: std::path::PathBuf,
}

/// Reads its setup, then answers until its stdin ends.
pub(crate) fn run() {
    let mut lines = std::io::stdin().lock().lines();
    let Some(Ok(first)) = lines.next() else { return };
    let first: Value = serde_json::from_str(&first).unwrap();
    let setup = &first["setup"];
    let fault = serde_json::from_value(setup["fault"].clone()).unwrap();
    let fake = Fake { fault, storage: setup["storage"].as_str().unwrap().into() };
    fake.note("started");
    std::fs::write(fake.storage.join("pid"), std::process::id().to_string()).unwrap();
    fake.begin(setup["seed"].as_str().unwrap());
    for line in lines {
        fake.hear(&serde_json::from_str(&line.unwrap()).unwrap());
    }
    if fault == Fault::Stubborn {
        std::thread::sleep(Duration::from_secs(60));
    }
    fake.note("ended");
}

fn say(message: &Value) {
    say_line(&message.to_string());
}

fn say_line(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").unwrap();
    out.flush().unwrap();
}

impl Fake {
    fn note(&self, what: &str) {
        let mut file =
            std::fs::File::options().create(true).append(true).open(self.storage.join("notes")).unwrap();
        writeln!(file, "{what}").unwrap();
    }

    fn begin(&self, seed: &str) {
        let seen = std::env::args().any(|argument| argument.contains(seed));
        let environment = std::env::vars_os().count();
        let alias = format!("environment {environment}, seed {}, seen in arguments {seen}", seed.len());
        match self.fault {
            Fault::NeverReady => {}
            Fault::Fatal => say(&json!({ "fatal": { "code": "CHAIN", "message": "no chain here" } })),
            _ => say(&json!({ "ready": {
                "alias": alias,
                "network": "regtest",
                "methods": self.methods(),
                "notifications": ["payment_received"],
            } })),
        }
    }

    fn methods(&self) -> Vec<&'static str> {
        let mut methods = vec!["settle_hold_invoice", "cancel_hold_invoice"];
        methods.extend(match self.fault {
            Fault::Ecash | Fault::OtherRequest => {
                ["make_ecash_request", "read_ecash_request", "lock_ecash", "accept_ecash", "release_ecash"]
                    .as_slice()
            }
            _ => &["make_hold_invoice"],
        });
        methods
    }

    /// Requests that are what they ask for, as JSON, and tokens that are called good, short or away.
    fn ecash(&self, method: &str, params: &Value) -> Result<Value, &'static str> {
        let read = |request: &Value| serde_json::from_str::<Value>(request.as_str().unwrap()).unwrap();
        match method {
            "make_ecash_request" => {
                let mut asks = params.clone();
                if self.fault == Fault::OtherRequest {
                    asks["amount"] = 1.into();
                }
                Ok(json!({ "request": asks.to_string(), "mints": ["https://mint.example"] }))
            }
            "read_ecash_request" => Ok(read(&params["request"])),
            "lock_ecash" if params["amount"] != read(&params["request"])["amount"] => Err("RESTRICTED"),
            "lock_ecash" => {
                self.note(&format!("locked {} for at most {}", params["amount"], params["max_fee"]));
                Ok(json!({ "token": "cashuBgood", "mint": "https://mint.example", "fees_paid": 2000 }))
            }
            "release_ecash" => {
                Ok(json!({ "release": format!("for {}", params["preimage"].as_str().unwrap()) }))
            }
            "take_back_ecash" => {
                self.note(params["release"].as_str().unwrap());
                Ok(json!({ "state": "failed", "type": "outgoing" }))
            }
            _ => match params["token"].as_str().unwrap() {
                "cashuBgood" => Ok(json!({ "state": "accepted", "amount": 7000, "type": "incoming" })),
                "cashuBshort" => Err("RESTRICTED"),
                _ => Err("INTERNAL"),
            },
        }
    }

    fn hear(&self, request: &Value) {
        let method = request["method"].as_str().unwrap();
        if self.fault == Fault::Hang || self.fault == Fault::Unread && method == "pay_invoice" {
            return;
        }
        if self.fault == Fault::Noise {
            say_line("not a message\n[1,2]\n{}\n\"id\"");
            say(&json!({ "id": 99_999, "result_type": method, "result": { "balance": 1 } }));
            say(&json!({ "id": "1", "notification_type": "payment_sent", "notification": null }));
        }
        let answered = if self.fault == Fault::Lie && method == "get_balance" { "get_info" } else { method };
        let mut answer = json!({ "id": request["id"], "result_type": answered });
        match self.answer(method, &request["params"]) {
            Ok(result) => answer["result"] = result,
            Err(code) => answer["error"] = json!({ "code": code, "message": "" }),
        }
        say(&answer);
    }

    fn answer(&self, method: &str, params: &Value) -> Result<Value, &'static str> {
        match method {
            "get_balance" if self.fault == Fault::Giant => Ok(Value::from("9".repeat(3 << 20))),
            "get_balance" => Ok(json!({ "balance": 42 })),
            "lookup_invoice" if noted(&self.storage, "paid") > 0 => {
                let mut found = self.proof();
                found["state"] = "settled".into();
                Ok(found)
            }
            "lookup_invoice" => Err("NOT_FOUND"),
            "pay_invoice" => {
                self.note(&format!("max_fee {}", params["max_fee"]));
                self.note("paid");
                if self.fault == Fault::Late {
                    std::thread::sleep(Duration::from_millis(400));
                }
                if self.fault == Fault::Crash && noted(&self.storage, "started") == 1 {
                    std::process::abort();
                }
                Ok(self.proof())
            }
            "make_ecash_request" | "read_ecash_request" | "lock_ecash" | "accept_ecash" | "release_ecash"
            | "take_back_ecash" => self.ecash(method, params),
            _ => Err("NOT_IMPLEMENTED"),
        }
    }

    fn proof(&self) -> Value {
        let preimage = if self.fault == Fault::Lie { "00".repeat(32) } else { PREIMAGE.to_hex() };
        json!({ "preimage": preimage, "fees_paid": 3 })
    }
}
