//! A wallet that is a program of its own, kept as a child process: NIP-47's words as JSON lines over its
//! stdin and stdout. For wallets whose libraries are too heavy, or of another language, to be linked.
//!
//! One line is one message. We write first, and secrets go no other way than this:
//!
//! ```text
//! > {"setup":{"network":"regtest","storage":"/abs/dir","seed":"<hex>",…}}
//! < {"ready":{"alias":"…","network":"regtest","methods":[…],"notifications":[…]}}
//!   or {"fatal":{"code":"…","message":"…"}}
//! > {"id":1,"method":"get_balance","params":{}}
//! < {"id":1,"result_type":"get_balance","result":{"balance":0}}
//!   or {"id":1,"result_type":"get_balance","error":{"code":"…","message":"…"}}
//! < {"notification_type":"payment_received","notification":{…}}
//! ```
//!
//! Methods, results, notifications and error codes are those of NIP-47, amounts in millisatoshis; answers
//! may come in any order. Beyond NIP-47, `pay_invoice` has `max_fee` (the most that routing may cost), and
//! a program may have methods of its own ([`crate::Wallet::extension`]). When its stdin ends, it ends.
//!
//! A child that is gone or silent has not answered: calls fail as unknown, never as refused, and the
//! [`Supervisor`] starts it again, each time after a longer pause.

mod lines;
mod supervisor;

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use openagents_types::{DayBudget, Network, PaymentHash, Timestamp};
use serde_json::{Map, Value, json};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use zeroize::Zeroizing;

use crate::{
    Info, Pay, WalletError, WalletEvent, WalletKind,
    nip47::{Desk, EVENTS, Patience, Speaks, lock, words},
};

pub use supervisor::Supervisor;

/// The row of [`crate::WALLETS`] for a Lightning node in a child process.
pub const LDK: WalletKind =
    WalletKind { name: "ldk", about: "a Lightning node of your own, in a process beside this one" };

/// The row of [`crate::WALLETS`] for a Spark wallet in a child process.
pub const SPARK: WalletKind = WalletKind {
    name: "spark",
    about: "a self-custodial wallet on Spark (Breez SDK), in a process beside this one",
};

/// The row of [`crate::WALLETS`] for ecash in a child process.
pub const CASHU: WalletKind =
    WalletKind { name: "cashu", about: "ecash of mints that you trust, in a process beside this one" };

/// How many answers are still listened for after their caller has gone.
const LATE: usize = 16_384;

/// A program to run as a wallet.
#[derive(Clone, Debug)]
pub struct Program {
    /// Where it is. It is started without arguments of ours and without environment.
    pub path: PathBuf,
    /// What it is given before anything of ours, such as the script that an interpreter runs. Never a secret.
    pub arguments: Vec<String>,
    /// What it is told first.
    pub setup: Setup,
    /// The network it has to be on.
    pub network: Network,
    /// How long it is waited for.
    pub limits: Limits,
}

/// How long a child is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From its start until it is ready.
    pub ready: Duration,
    /// From the end of its stdin until it is killed.
    pub stop: Duration,
    /// Before it is started again the first time; doubled with each failure, up to [`Self::longest_pause`].
    pub pause: Duration,
    /// Before it is started again, at most.
    pub longest_pause: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            ready: Duration::from_secs(60),
            stop: Duration::from_secs(2),
            pause: Duration::from_millis(200),
            longest_pause: Duration::from_secs(30),
        }
    }
}

/// What a program is told first. It may hold secrets, so it never prints itself, and what the program
/// writes to its stderr is logged without them.
#[derive(Clone)]
pub struct Setup {
    line: Zeroizing<String>,
    secrets: Vec<Zeroizing<String>>,
}

impl std::fmt::Debug for Setup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Setup(…)")
    }
}

impl Setup {
    /// A setup of these open values and these secrets, by name.
    pub fn new(open: Map<String, Value>, secrets: Vec<(&str, Zeroizing<String>)>) -> Self {
        let open = Value::Object(open).to_string();
        let values: Vec<(&str, Zeroizing<String>)> = secrets
            .iter()
            .map(|(name, secret)| (*name, Zeroizing::new(Value::from(secret.as_str()).to_string())))
            .collect();
        // All the room at once: a text that grows leaves copies of itself behind.
        let room = values.iter().map(|(name, value)| name.len() + value.len() + 4).sum::<usize>();
        let mut line = Zeroizing::new(String::with_capacity(open.len() + room + 16));
        line.push_str("{\"setup\":");
        line.push_str(open.strip_suffix('}').unwrap_or(&open));
        for (name, value) in &values {
            let comma = if line.ends_with('{') { "" } else { "," };
            for part in [comma, "\"", name, "\":", value.as_str()] {
                line.push_str(part);
            }
        }
        line.push_str("}}");
        Self { line, secrets: secrets.into_iter().map(|(_, secret)| secret).collect() }
    }
}

/// How the child is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    Starting,
    Ready(Info),
    /// It is not running, and why.
    Down(String),
}

/// What the calls and the supervisor share.
struct Shared {
    /// The way to the child's stdin, while it is ready.
    lines: Mutex<Option<mpsc::Sender<Zeroizing<String>>>>,
    waiting: Mutex<HashMap<u64, Waiter>>,
    next: AtomicU64,
    events: broadcast::Sender<WalletEvent>,
    phase: watch::Sender<Phase>,
}

/// Who wants an answer.
#[derive(Debug)]
enum Waiter {
    /// The caller.
    Caller(oneshot::Sender<Value>),
    /// Nobody any more, but it says how a payment ended: a hint for whoever listens to events.
    Late(PaymentHash),
}

impl Shared {
    /// Takes a message of the child that is ready.
    fn hear(&self, mut message: Value) {
        let Some(id) = message["id"].as_u64() else {
            match words::notification(&message) {
                Some(news) => drop(self.events.send(news)),
                None => tracing::debug!("the wallet program said something that is no message"),
            }
            return;
        };
        match lock(&self.waiting).remove(&id) {
            Some(Waiter::Caller(sender)) => drop(sender.send(message.take())),
            Some(Waiter::Late(hash)) => self.hear_late(hash, message),
            None => tracing::debug!(id, "the wallet program answers what nobody asked"),
        }
    }

    /// Passes on that a payment arrived after all. A late "failed" is left to a look-up.
    fn hear_late(&self, hash: PaymentHash, answer: Value) {
        if let Ok(state) = words::result(answer).and_then(|result| words::paid(&result, hash)) {
            let _ = self.events.send(WalletEvent::Outgoing { hash, state });
        }
    }

    /// No answer will come any more: whoever waits learns that what became of the call is unknown.
    fn silence(&self) {
        *lock(&self.lines) = None;
        lock(&self.waiting).clear();
    }
}

/// A wait for an answer; when it is given up, the answer to a payment is still heard as a hint.
struct Wait<'a> {
    shared: &'a Shared,
    id: u64,
    payment: Option<PaymentHash>,
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        let mut waiting = lock(&self.shared.waiting);
        if waiting.remove(&self.id).is_some()
            && let Some(hash) = self.payment.filter(|_| waiting.len() < LATE)
        {
            waiting.insert(self.id, Waiter::Late(hash));
        }
    }
}

/// A wallet in a child process.
pub struct Child {
    shared: Arc<Shared>,
    info: Info,
    desk: Desk,
}

impl std::fmt::Debug for Child {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Child").field("info", &self.info).finish_non_exhaustive()
    }
}

impl Child {
    /// A wallet that `program` will be, once the supervisor runs.
    pub fn new(program: Program, clock: fn() -> Timestamp) -> (Self, Supervisor) {
        let info = Info {
            alias: String::new(),
            network: program.network,
            hold: false,
            ecash: false,
            notifications: false,
        };
        let shared = Arc::new(Shared {
            lines: Mutex::default(),
            waiting: Mutex::default(),
            next: AtomicU64::new(1),
            events: broadcast::channel(EVENTS).0,
            phase: watch::channel(Phase::Starting).0,
        });
        let supervisor = Supervisor::new(program, shared.clone());
        (Self { shared, info, desk: Desk::new(clock) }, supervisor)
    }

    /// Spends within this budget from now on, whatever the program itself allows.
    pub fn set_budget(&mut self, budget: DayBudget) {
        self.desk.set_budget(budget);
    }

    /// Waits for the program this long from now on.
    pub fn set_patience(&mut self, patience: Patience) {
        self.desk.set_patience(patience);
    }

    /// Waits until the program is ready, and learns what it can do. To be called once, before the wallet
    /// is used, while the supervisor runs.
    ///
    /// # Errors
    /// It does not start, or says why it cannot.
    pub async fn introduce(&mut self) -> Result<Info, WalletError> {
        self.info = self.ready().await?;
        Ok(self.info.clone())
    }

    async fn ready(&self) -> Result<Info, WalletError> {
        let mut phase = self.shared.phase.subscribe();
        let known = phase.wait_for(|phase| *phase != Phase::Starting).await;
        match known.map(|phase| phase.clone()) {
            Ok(Phase::Ready(info)) => Ok(info),
            Ok(Phase::Down(reason)) => Err(WalletError::Unreachable(reason)),
            Ok(Phase::Starting) | Err(_) => Err(WalletError::Unreachable("it was not started".into())),
        }
    }

    fn unreachable(&self) -> WalletError {
        let reason = match &*self.shared.phase.borrow() {
            Phase::Down(reason) => reason.clone(),
            Phase::Starting | Phase::Ready(_) => "its program is starting".into(),
        };
        WalletError::Unreachable(reason)
    }
}

#[async_trait]
impl Speaks for Child {
    async fn ask(
        &self,
        payment: Option<PaymentHash>,
        method: &str,
        params: Value,
        patience: Duration,
    ) -> Result<Value, WalletError> {
        let shared = &*self.shared;
        let id = shared.next.fetch_add(1, Ordering::Relaxed);
        let line = Zeroizing::new(json!({ "id": id, "method": method, "params": params }).to_string());
        let lines = lock(&shared.lines).clone().ok_or_else(|| self.unreachable())?;
        let (sender, answer) = oneshot::channel();
        lock(&shared.waiting).insert(id, Waiter::Caller(sender));
        let wait = Wait { shared, id, payment };
        if lines.try_send(line).is_err() {
            lock(&shared.waiting).remove(&id);
            return Err(WalletError::Unreachable("its program takes no requests".into()));
        }
        let answer = tokio::time::timeout(patience, answer).await;
        drop(wait);
        let Ok(Ok(answer)) = answer else { return Err(WalletError::Timeout) };
        if answer["result_type"].as_str().is_some_and(|answered| answered != method) {
            return Err(WalletError::Garbled("it answers another question".into()));
        }
        words::result(answer)
    }

    fn desk(&self) -> &Desk {
        &self.desk
    }

    fn introduced(&self) -> Info {
        self.info.clone()
    }

    fn hear(&self) -> broadcast::Receiver<WalletEvent> {
        self.shared.events.subscribe()
    }

    fn extends(&self) -> bool {
        true
    }

    fn payment(&self, request: Pay<'_>) -> Value {
        json!({ "invoice": request.invoice.bolt11, "max_fee": request.max_fee.get() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setup_is_json_whatever_is_in_it() {
        for open in [json!({}), json!({ "chain": { "esplora": { "url": "u" } } })] {
            let secrets = vec![("seed", Zeroizing::new("a \"quote\" {}".to_owned()))];
            let setup = Setup::new(open.as_object().cloned().unwrap_or_default(), secrets);
            let read: Value = serde_json::from_str(&setup.line).unwrap_or_default();
            let mut expected = open;
            expected["seed"] = "a \"quote\" {}".into();
            assert_eq!(read, json!({ "setup": expected }));
        }
    }
}
