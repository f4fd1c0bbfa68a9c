//! The network behind the imitation of the Spark SDK (`spark_fake/`): a ledger with real BOLT11 invoices and
//! preimages, on a Unix socket, that keeps transfers by their name and misbehaves on demand. It goes on when a
//! wallet's program is killed.

use std::{
    collections::HashMap,
    path::Path,
    process::Command,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use lightning_invoice::{Bolt11Invoice, Bolt11InvoiceDescriptionRef, Currency};
use openagents_types::{Invoice, Millis, Msat, PaymentHash, Timestamp};
use openagents_wallet::{
    MakeInvoice, Outgoing,
    testnet::{Ledger, LedgerError, Opening},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
    task::JoinHandle,
};

/// What each account begins with.
pub(crate) const FUNDS: Msat = Msat::new(1_000_000);

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The program dies once it knows the price, and before it is told to send. Once.
    DieAtPrice,
    /// The program dies as it sends; nothing moved. Once.
    DieUnsent,
    /// The program dies as it sends; the money moved. Once.
    DieSent,
    /// Sending has an error though nothing moved. Once.
    ErrorUnsent,
    /// Sending has an error though the money moved, and the transfer cannot be seen.
    ErrorUnseen,
    /// Sending has an error though the money moved, the transfer cannot be seen, and the rest is too little to
    /// send again.
    ErrorBroke,
    /// Nothing is answered for as long as this lasts.
    Hang,
    /// Nobody is reached.
    Offline,
    /// Transfers are complete without a proof.
    NoProof,
    /// Transfers are complete with a false proof.
    FalseProof,
    /// Transfers stay under way.
    Slow,
    /// Transfers come back.
    Returned,
    /// The library prints, forged answers too.
    Noise,
}

struct State {
    ledger: Ledger,
    fault: Option<Fault>,
    fee: u64,
    /// By whom and under which name what was sent, and when.
    transfers: Vec<(String, String, PaymentHash, u64)>,
    asked: HashMap<String, usize>,
    invoices: HashMap<PaymentHash, Invoice>,
}

/// The network.
#[derive(Clone)]
pub(crate) struct Net {
    state: Arc<Mutex<State>>,
    serving: Arc<JoinHandle<()>>,
}

pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap())
}

impl Drop for Net {
    fn drop(&mut self) {
        if Arc::strong_count(&self.serving) == 1 {
            self.serving.abort();
        }
    }
}

impl Net {
    /// A network in this folder, with these accounts.
    pub(crate) fn open(dir: &Path, accounts: &[&str]) -> Self {
        let mut ledger = Ledger::new(*nostr::SecretKey::generate());
        for label in accounts {
            let opening = Opening { label, funds: FUNDS, plain: true };
            ledger.open_account(key(label), opening).unwrap();
        }
        let (transfers, asked, invoices) = (Vec::new(), HashMap::new(), HashMap::new());
        let state = State { ledger, fault: None, fee: 0, transfers, asked, invoices };
        let state = Arc::new(Mutex::new(state));
        let listener = UnixListener::bind(dir.join("network.sock")).unwrap();
        let serving = tokio::spawn(serve(listener, state.clone()));
        Self { state, serving: Arc::new(serving) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn set_fault(&self, fault: Option<Fault>) {
        self.state().fault = fault;
    }

    /// What sending costs from now on, in satoshis. It is said, and not taken.
    pub(crate) fn set_fee(&self, sats: u64) {
        self.state().fee = sats;
    }

    /// How often it was asked to do this.
    pub(crate) fn asked(&self, method: &str) -> usize {
        self.state().asked.get(method).copied().unwrap_or(0)
    }

    /// How many transfers were made for a hash.
    pub(crate) fn moved(&self, hash: PaymentHash) -> usize {
        let state = self.state();
        assert_eq!(state.ledger.audit().paid_again, 0, "the network was told to pay one invoice twice");
        state.transfers.iter().filter(|(.., sent, _)| *sent == hash).count()
    }

    pub(crate) fn assert_conserved(&self) {
        assert!(self.state().ledger.audit().conserved);
    }

    /// An invoice of an account that its wallet knows nothing of.
    pub(crate) fn invoice(&self, account: &str, request: &MakeInvoice) -> Invoice {
        self.state().invoice(account, request)
    }

    /// A transfer under the name that the program gives it, as if it had been killed right after.
    pub(crate) fn send_as_the_program_would(&self, account: &str, invoice: &Invoice) {
        let name = format!("openagents/{}", invoice.payment_hash.to_hex());
        let code = "import sys, uuid; print(uuid.uuid5(uuid.NAMESPACE_OID, sys.argv[1]))";
        let output = Command::new("python3").args(["-c", code, &name]).output().unwrap();
        let key = String::from_utf8(output.stdout).unwrap();
        self.state().transfer(account, &invoice.bolt11, key.trim()).unwrap();
    }

    /// Lets everything arrive that is under way.
    pub(crate) fn complete(&self) {
        let mut state = self.state();
        state.fault = None;
        for (by, _, hash, _) in state.transfers.clone() {
            let payer = state.ledger.account(&key(&by)).unwrap();
            if state.ledger.outgoing(payer, hash) == Outgoing::Unknown {
                state.ledger.pay(now(), payer, hash).unwrap();
            }
        }
    }
}

/// An account's key on the ledger: no two labels are of one length.
fn key(label: &str) -> nostr::PublicKey {
    let byte = u8::try_from(label.len()).unwrap();
    nostr::Keys::new(nostr::SecretKey::from_slice(&[byte; 32]).unwrap()).public_key()
}

async fn serve(listener: UnixListener, state: Arc<Mutex<State>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let state = state.clone();
        tokio::spawn(async move {
            let _ = answer(stream, &state).await;
        });
    }
}

async fn answer(mut stream: UnixStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut line = String::new();
    BufReader::new(&mut stream).read_line(&mut line).await?;
    let request: Value = serde_json::from_str(&line)?;
    loop {
        let answer = state.lock().unwrap().take(&request);
        if let Some(answer) = answer {
            return stream.write_all(format!("{answer}\n").as_bytes()).await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn refused(kind: &str, text: &str) -> Value {
    json!({ "error": kind, "text": text })
}

impl State {
    /// The answer, unless there is none yet.
    fn take(&mut self, request: &Value) -> Option<Value> {
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (account, method, params) =
            (word(&request["account"]), word(&request["method"]), &request["params"]);
        *self.asked.entry(method.clone()).or_default() += 1;
        match self.fault {
            Some(Fault::Hang) => return None,
            Some(Fault::Offline) if method != "parse" => return Some(refused("SparkError", "dns error")),
            Some(Fault::DieAtPrice) if method == "prepare" => return Some(self.once(json!({ "die": true }))),
            _ => {}
        }
        let mut answer = match method.as_str() {
            "balance" => json!({ "ok": self.balance(&account) }),
            "parse" => parse(&word(&params["text"])),
            "receive" => self.receive(&account, params),
            "prepare" => self.prepare(&word(&params["text"])),
            "send" => self.send(&account, &word(&params["text"]), &word(&params["key"])),
            "payment" => self.payment(&account, &word(&params["key"])),
            "list" => self.list(&account, params),
            other => refused("Generic", other),
        };
        if self.fault == Some(Fault::Noise) {
            answer["noise"] = true.into();
        }
        Some(answer)
    }

    fn once(&mut self, answer: Value) -> Value {
        self.fault = None;
        answer
    }

    fn balance(&self, account: &str) -> u64 {
        let account = self.ledger.account(&key(account)).unwrap();
        self.ledger.balance(account).get() / 1_000
    }

    fn receive(&mut self, account: &str, params: &Value) -> Value {
        let request = MakeInvoice {
            amount: Msat::from_sat(params["sats"].as_u64().unwrap()).unwrap(),
            description: params["description"].as_str().unwrap().to_owned(),
            expiry: Millis::from_secs(params["expiry"].as_u64().unwrap()),
            hold: None,
        };
        json!({ "ok": self.invoice(account, &request).bolt11 })
    }

    fn invoice(&mut self, account: &str, request: &MakeInvoice) -> Invoice {
        let account = self.ledger.account(&key(account)).unwrap();
        let invoice = self.ledger.invoice(now(), account, request, rand::random()).unwrap();
        self.invoices.insert(invoice.payment_hash, invoice.clone());
        invoice
    }

    fn prepare(&self, text: &str) -> Value {
        let Ok(invoice) = text.parse::<Bolt11Invoice>() else { return refused("Generic", "no invoice") };
        if self.ledger.hash_of(text).is_none() {
            return refused("SparkError", "Service error: no route to the payee");
        }
        json!({ "ok": { "fee": self.fee, "sats": invoice.amount_milli_satoshis().unwrap() / 1_000 } })
    }

    /// Sends under a name, which is one transfer whatever happens.
    fn send(&mut self, account: &str, text: &str, name: &str) -> Value {
        match self.fault {
            Some(Fault::DieUnsent) => return self.once(json!({ "die": true })),
            Some(Fault::ErrorUnsent) => return self.once(refused("NetworkError", "connection reset")),
            Some(Fault::ErrorBroke) if self.sent(account, name).is_some() => {
                return refused("InsufficientFunds", "");
            }
            _ => {}
        }
        if let Err(answer) = self.transfer(account, text, name) {
            return answer;
        }
        match self.fault {
            Some(Fault::DieSent) => self.once(json!({ "die": true })),
            Some(Fault::ErrorUnseen | Fault::ErrorBroke) => {
                refused("SparkError", "Operator RPC error: status: Internal")
            }
            _ => self.payment(account, name),
        }
    }

    fn sent(&self, account: &str, name: &str) -> Option<(PaymentHash, u64)> {
        let mine = self.transfers.iter().find(|(by, called, ..)| by == account && called == name)?;
        Some((mine.2, mine.3))
    }

    fn transfer(&mut self, account: &str, text: &str, name: &str) -> Result<(), Value> {
        if self.sent(account, name).is_some() {
            return Ok(());
        }
        let hash = self.ledger.hash_of(text).ok_or_else(|| refused("SparkError", "no route"))?;
        let payer = self.ledger.account(&key(account)).unwrap();
        let moves = !matches!(self.fault, Some(Fault::Slow | Fault::Returned));
        let now = now();
        match if moves { self.ledger.pay(now, payer, hash) } else { Ok(Outgoing::Pending) } {
            Ok(_) => self.transfers.push((account.into(), name.into(), hash, now.secs())),
            Err(LedgerError::Insufficient { .. }) => return Err(refused("InsufficientFunds", "")),
            Err(error) => return Err(refused("SparkError", &error.to_string())),
        }
        Ok(())
    }

    fn payment(&self, account: &str, name: &str) -> Value {
        match self.sent(account, name) {
            Some(_) if matches!(self.fault, Some(Fault::ErrorUnseen | Fault::ErrorBroke)) => {
                refused("StorageError", "Query returned no rows")
            }
            Some((hash, at)) => json!({ "ok": self.outgoing(account, name, hash, at) }),
            None => refused("StorageError", "Query returned no rows"),
        }
    }

    fn outgoing(&self, account: &str, name: &str, hash: PaymentHash, at: u64) -> Value {
        let payer = self.ledger.account(&key(account)).unwrap();
        let (status, preimage) = match self.ledger.outgoing(payer, hash) {
            Outgoing::Settled { preimage, .. } => ("COMPLETED", Some(preimage.to_hex())),
            _ if self.fault == Some(Fault::Returned) => ("FAILED", None),
            _ => ("PENDING", None),
        };
        let preimage = match self.fault {
            Some(Fault::NoProof) => None,
            Some(Fault::FalseProof) => Some("00".repeat(32)),
            _ => preimage,
        };
        let mut row = self.row(hash, at);
        row["id"] = name.into();
        row["type"] = "SEND".into();
        row["status"] = status.into();
        row["preimage"] = preimage.into();
        row["fees"] = self.fee.into();
        row
    }

    fn row(&self, hash: PaymentHash, at: u64) -> Value {
        let invoice = &self.invoices[&hash];
        let (amount, text) = (invoice.amount.get() / 1_000, &invoice.bolt11);
        json!({ "hash": hash.to_hex(), "invoice": text, "sats": amount, "timestamp": at, "description": "work", "preimage": null,
                "fees": 0 })
    }

    fn list(&self, account: &str, params: &Value) -> Value {
        let mine = self.ledger.account(&key(account)).unwrap();
        let hidden = matches!(self.fault, Some(Fault::ErrorUnseen | Fault::ErrorBroke));
        let sent = self.transfers.iter().filter(|(by, ..)| by == account && !hidden);
        let mut rows: Vec<Value> =
            sent.map(|(_, name, hash, at)| self.outgoing(account, name, *hash, *at)).collect();
        for past in self.ledger.history(now(), mine) {
            if past.incoming && past.state == "settled" {
                let mut row = self.row(past.hash, past.at.secs());
                row["id"] = format!("in-{}", past.hash.to_hex()).into();
                row["type"] = "RECEIVE".into();
                row["status"] = "COMPLETED".into();
                rows.push(row);
            }
        }
        rows.sort_by_key(|row| std::cmp::Reverse(row["timestamp"].as_u64()));
        let number = |name: &str| usize::try_from(params[name].as_u64().unwrap()).unwrap();
        json!({ "ok": rows.into_iter().skip(number("offset")).take(number("limit")).collect::<Vec<_>>() })
    }
}

fn parse(text: &str) -> Value {
    let Ok(invoice) = text.parse::<Bolt11Invoice>() else { return refused("Generic", "invalid input") };
    let description = match invoice.description() {
        Bolt11InvoiceDescriptionRef::Direct(text) => Some(text.to_string()),
        Bolt11InvoiceDescriptionRef::Hash(_) => None,
    };
    json!({ "ok": {
        "amount_msat": invoice.amount_milli_satoshis(),
        "payment_hash": invoice.payment_hash().to_string(),
        "description": description,
        "expiry": invoice.expiry_time().as_secs(),
        "timestamp": invoice.duration_since_epoch().as_secs(),
        "network": if invoice.currency() == Currency::Bitcoin { "BITCOIN" } else { "REGTEST" },
    } })
}
