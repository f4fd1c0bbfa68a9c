//! Nostr Wallet Connect (NIP-47), the client's side.
//!
//! One subscription hears every answer; calls are matched by the `e` tag. An answer counts only if
//! its id and signature hold, its author is the wallet, and we are waiting for it. What the words mean
//! is in [`crate::nip47`].

mod connection;
pub(crate) mod wire;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use nostr::{Event, EventId, Filter, Kind};
use openagents_types::{DayBudget, PaymentHash, Timestamp};
use serde_json::{Value, json};
use tokio::sync::{broadcast, mpsc, oneshot};

use crate::{
    Info, WalletError, WalletEvent, WalletKind,
    link::Link,
    nip47::{Desk, EVENTS, Speaks, lock, words},
};

pub use crate::nip47::Patience;
pub use connection::{Connection, ConnectionError};
use wire::{Cipher, Scheme};

/// The row of [`crate::WALLETS`].
pub const KIND: WalletKind =
    WalletKind { name: "nwc", about: "any wallet that speaks Nostr Wallet Connect (NIP-47)" };

/// How long the wallet's description of itself is waited for.
const INFO_TIMEOUT: Duration = Duration::from_secs(3);

/// How many answers are still listened for after their caller has gone.
const LATE: usize = 16_384;

const INFO_KIND: u16 = 13_194;
const REQUEST_KIND: u16 = 23_194;
const RESPONSE_KIND: u16 = 23_195;
const NOTIFICATION_KINDS: [u16; 2] = [23_196, 23_197];

/// A wallet behind a NIP-47 connection.
pub struct Nwc {
    cipher: Cipher,
    link: Arc<dyn Link>,
    waiting: Waiting,
    events: broadcast::Sender<WalletEvent>,
    info: Info,
    desk: Desk,
}

/// Who wants an answer.
#[derive(Debug)]
enum Waiter {
    /// The caller.
    Caller(oneshot::Sender<Value>),
    /// Nobody any more, but it says how a payment ended: a hint for whoever listens to events.
    Late(PaymentHash),
}

type Waiting = Arc<Mutex<HashMap<EventId, Waiter>>>;

impl std::fmt::Debug for Nwc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Nwc").field("info", &self.info).finish_non_exhaustive()
    }
}

/// What hears the wallet's answers. Whoever connects runs it for as long as the wallet is used.
pub struct Listener {
    cipher: Cipher,
    heard: mpsc::Receiver<Event>,
    /// Whether the link has checked id and signature of every event with our own ingress.
    checked: bool,
    waiting: Waiting,
    events: broadcast::Sender<WalletEvent>,
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Listener")
    }
}

impl Nwc {
    /// Connects: subscribes for answers, and reads what the wallet can do. The listener has to run
    /// while [`Self::introduce`] is called.
    ///
    /// # Errors
    /// The relay cannot be reached.
    pub async fn connect(
        connection: Connection,
        link: Arc<dyn Link>,
        clock: fn() -> Timestamp,
    ) -> Result<(Self, Listener), WalletError> {
        let scheme = offered_scheme(&connection, link.as_ref()).await?;
        let cipher = Cipher::new(&connection, scheme);
        let kinds = [RESPONSE_KIND, NOTIFICATION_KINDS[0], NOTIFICATION_KINDS[1]].map(Kind::from);
        let answers = Filter::new().kinds(kinds).author(cipher.wallet()).pubkey(cipher.own());
        let heard = subscribe(link.as_ref(), answers).await?;
        let waiting = Waiting::default();
        let (events, _) = broadcast::channel(EVENTS);
        let listener = Listener {
            cipher: cipher.clone(),
            heard,
            checked: link.verifies(),
            waiting: waiting.clone(),
            events: events.clone(),
        };
        let info = Info {
            alias: String::new(),
            network: openagents_types::Network::Mainnet,
            hold: false,
            ecash: false,
            notifications: false,
        };
        Ok((Self { cipher, link, waiting, events, info, desk: Desk::new(clock) }, listener))
    }

    /// Spends within this budget from now on, whatever the wallet itself allows the connection.
    pub fn set_budget(&mut self, budget: DayBudget) {
        self.desk.set_budget(budget);
    }

    /// Waits for the wallet this long from now on.
    pub fn set_patience(&mut self, patience: Patience) {
        self.desk.set_patience(patience);
    }

    /// Asks the wallet who it is. To be called once, before the wallet is used.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn introduce(&mut self) -> Result<Info, WalletError> {
        let result = self.call("get_info", json!({})).await?;
        self.info = words::info(&result);
        Ok(self.info.clone())
    }
}

async fn subscribe(link: &dyn Link, filter: Filter) -> Result<mpsc::Receiver<Event>, WalletError> {
    link.subscribe(filter).await.map_err(|error| WalletError::Unreachable(error.0))
}

/// NIP-44 if the wallet says it speaks it, else NIP-04, which all of them do.
async fn offered_scheme(connection: &Connection, link: &dyn Link) -> Result<Scheme, WalletError> {
    let filter = Filter::new().kind(Kind::from(INFO_KIND)).author(connection.wallet()).limit(1);
    let mut heard = subscribe(link, filter).await?;
    let read = async {
        while let Some(event) = heard.recv().await {
            if event.verify().is_ok() && event.pubkey == connection.wallet() {
                return Some(event);
            }
        }
        None
    };
    let event = tokio::time::timeout(INFO_TIMEOUT, read).await.ok().flatten();
    Ok(event.map_or(Scheme::Nip04, |event| wire::scheme(&event)))
}

impl Listener {
    /// Hears answers and notifications until the relay is gone.
    pub async fn run(mut self) {
        while let Some(event) = self.heard.recv().await {
            self.hear(&event);
        }
    }

    fn hear(&self, event: &Event) {
        // Two libraries have called events verified that were not; this is money.
        if event.pubkey != self.cipher.wallet() || !(self.checked || event.verify().is_ok()) {
            return;
        }
        let Ok(text) = self.cipher.open(&event.content) else { return };
        let Ok(value) = serde_json::from_str::<Value>(&text) else { return };
        if event.kind.as_u16() == RESPONSE_KIND {
            let asked = event.tags.event_ids().next().copied();
            match asked.and_then(|id| lock(&self.waiting).remove(&id)) {
                Some(Waiter::Caller(sender)) => drop(sender.send(value)),
                Some(Waiter::Late(hash)) => self.hear_late(hash, value),
                None => {}
            }
        } else if let Some(news) = words::notification(&value) {
            let _ = self.events.send(news);
        }
    }

    /// Passes on that a payment arrived after all. A late "failed" is left to a look-up.
    fn hear_late(&self, hash: PaymentHash, answer: Value) {
        if let Ok(state) = words::result(answer).and_then(|result| words::paid(&result, hash)) {
            let _ = self.events.send(WalletEvent::Outgoing { hash, state });
        }
    }
}

#[async_trait]
impl Speaks for Nwc {
    async fn ask(
        &self,
        payment: Option<PaymentHash>,
        method: &str,
        params: Value,
        patience: Duration,
    ) -> Result<Value, WalletError> {
        let body = json!({ "method": method, "params": params }).to_string();
        let event = self.cipher.request(REQUEST_KIND, &body, self.desk.now(), patience)?;
        let (sender, answer) = oneshot::channel();
        lock(&self.waiting).insert(event.id, Waiter::Caller(sender));
        let id = event.id;
        let sent = self.link.publish(event).await;
        let outcome = match sent {
            Ok(()) => tokio::time::timeout(patience, answer).await,
            Err(error) => {
                lock(&self.waiting).remove(&id);
                return Err(WalletError::Unreachable(error.0));
            }
        };
        if let Ok(Ok(value)) = outcome {
            return words::result(value);
        }
        let mut waiting = lock(&self.waiting);
        waiting.remove(&id);
        if let Some(hash) = payment.filter(|_| waiting.len() < LATE) {
            waiting.insert(id, Waiter::Late(hash));
        }
        Err(WalletError::Timeout)
    }

    fn desk(&self) -> &Desk {
        &self.desk
    }

    fn introduced(&self) -> Info {
        self.info.clone()
    }

    fn hear(&self) -> broadcast::Receiver<WalletEvent> {
        self.events.subscribe()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]
mod tests {
    use openagents_types::{Invoice, Msat};

    use super::*;
    use crate::{Pay, Wallet as _};

    const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

    /// A wallet that refuses everything for good.
    struct Refuser {
        cipher: Cipher,
        answers: Mutex<Option<mpsc::Sender<Event>>>,
    }

    #[async_trait]
    impl Link for Refuser {
        async fn publish(&self, event: Event) -> Result<(), crate::link::LinkError> {
            let body = json!({ "error": { "code": "RESTRICTED", "message": "no" } }).to_string();
            let tags = vec![vec!["e".to_owned(), event.id.to_hex()]];
            let answer = self.cipher.event(RESPONSE_KIND, tags, &body, NOW).unwrap();
            let sender = lock(&self.answers).clone().unwrap();
            sender.send(answer).await.unwrap();
            Ok(())
        }

        async fn subscribe(&self, filter: Filter) -> Result<mpsc::Receiver<Event>, crate::link::LinkError> {
            let (sender, receiver) = mpsc::channel(8);
            // It has no description of itself, and says so at once by ending that subscription.
            if filter.kinds.is_some_and(|kinds| kinds.contains(&Kind::from(RESPONSE_KIND))) {
                *lock(&self.answers) = Some(sender);
            }
            Ok(receiver)
        }
    }

    /// Where a payment may have been sent before, a wallet that will not look it up must not make it
    /// look failed.
    #[tokio::test]
    async fn a_refusal_to_look_up_says_nothing_about_the_payment() {
        let (wallet, client) = (nostr::Keys::generate(), nostr::Keys::generate());
        let relay = nostr::RelayUrl::parse("ws://127.0.0.1:1").unwrap();
        let cipher = Cipher::between(wallet.clone(), client.public_key(), Scheme::Nip04);
        let link = Arc::new(Refuser { cipher, answers: Mutex::default() });
        let connection = Connection::new(wallet.public_key(), vec![relay], client.secret_key().clone());
        let (nwc, listener) = Nwc::connect(connection, link, || NOW).await.unwrap();
        tokio::spawn(listener.run());
        assert!(nwc.balance().await.unwrap_err().is_definitive());
        let invoice = Invoice {
            bolt11: String::new(),
            payment_hash: PaymentHash::from_bytes([3; 32]),
            amount: Msat::new(1),
            expires_at: NOW,
            network: openagents_types::Network::Regtest,
        };
        let again = Pay { invoice: &invoice, max_fee: Msat::ZERO, first_attempt: false };
        assert!(!nwc.pay(again).await.unwrap_err().is_definitive());
        assert!(!nwc.lookup_outgoing(invoice.payment_hash).await.unwrap_err().is_definitive());
    }
}
