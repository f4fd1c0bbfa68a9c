//! A testnet with a seller and a buyer, over a link in memory that can forge what it carries.

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use nostr::{
    Event, EventBuilder, Filter, Keys, Kind, RelayUrl, SecretKey,
    filter::MatchEventOptions,
    nips::{nip04, nip44},
};
use openagents_types::{Invoice, Millis, Msat, PaymentHash, Timestamp};
use openagents_wallet::{
    Incoming, MakeInvoice, Outgoing, Pay, Wallet, WalletError,
    link::{Link, LinkError},
    nwc::{Connection, Nwc, Patience},
    testnet::{Ledger, Opening, Service},
};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;

const FUNDS: Msat = Msat::new(1_000_000);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Nip04,
    Nip44,
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap())
}

type Listeners = Mutex<Vec<(Filter, mpsc::Sender<Event>)>>;

/// A relay in memory. Forging, it carries before each event one with another author's signature and
/// one with altered content.
pub(crate) struct Loop {
    stored: Mutex<Vec<Event>>,
    listeners: Listeners,
    hide_info: bool,
    forging: AtomicBool,
}

impl Loop {
    pub(crate) fn forge(&self, forging: bool) {
        self.forging.store(forging, Ordering::SeqCst);
    }

    async fn pass_on(&self, event: &Event, as_if: &Event) {
        let senders: Vec<_> = {
            let listeners = self.listeners.lock().unwrap();
            let hit = |filter: &Filter| filter.match_event(as_if, MatchEventOptions::new());
            listeners.iter().filter(|(filter, _)| hit(filter)).map(|(_, sender)| sender.clone()).collect()
        };
        for sender in senders {
            let _ = sender.send(event.clone()).await;
        }
    }
}

#[async_trait]
impl Link for Loop {
    async fn publish(&self, event: Event) -> Result<(), LinkError> {
        if self.forging.load(Ordering::SeqCst) {
            let stranger = EventBuilder::new(event.kind, event.content.clone())
                .tags(event.tags.clone())
                .sign_with_keys(&Keys::generate())
                .unwrap();
            self.pass_on(&stranger, &event).await;
            let mut altered = event.clone();
            altered.content.push('A');
            self.pass_on(&altered, &event).await;
        }
        self.stored.lock().unwrap().push(event.clone());
        self.pass_on(&event, &event).await;
        Ok(())
    }

    async fn subscribe(&self, filter: Filter) -> Result<mpsc::Receiver<Event>, LinkError> {
        let (sender, receiver) = mpsc::channel(1_024);
        let is_info = filter.kinds.as_ref().is_some_and(|kinds| kinds.contains(&Kind::from(13_194)));
        if is_info && self.hide_info {
            return Ok(receiver);
        }
        let stored: Vec<Event> = self.stored.lock().unwrap().clone();
        for event in
            stored.into_iter().filter(|event| is_info && filter.match_event(event, MatchEventOptions::new()))
        {
            let _ = sender.send(event).await;
        }
        self.listeners.lock().unwrap().push((filter, sender));
        Ok(receiver)
    }
}

pub(crate) struct Market {
    pub(crate) service: Service,
    pub(crate) seller: Arc<Nwc>,
    pub(crate) buyer: Arc<Nwc>,
    pub(crate) link: Arc<Loop>,
    stop: CancellationToken,
}

impl Drop for Market {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn key(n: u8) -> SecretKey {
    SecretKey::from_slice(&[n; 32]).unwrap()
}

impl Market {
    pub(crate) async fn open(scheme: Scheme) -> Self {
        Self::open_at(scheme, None).await
    }

    pub(crate) async fn open_at(scheme: Scheme, journal: Option<&Path>) -> Self {
        let node_key = *key(1);
        let ledger =
            journal.map_or_else(|| Ledger::new(node_key), |path| Ledger::open(node_key, path).unwrap());
        let hide_info = scheme == Scheme::Nip04;
        let (stored, listeners) = (Mutex::default(), Mutex::default());
        let link = Arc::new(Loop { stored, listeners, hide_info, forging: AtomicBool::new(false) });
        let service = Service::new(ledger, Keys::new(key(1)), link.clone(), now);
        let stop = CancellationToken::new();
        tokio::spawn(service.clone().run(stop.clone()));
        while link.stored.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        let seller = connect(&service, "seller", 2, &link).await;
        let buyer = connect(&service, "buyer", 3, &link).await;
        Self { service, seller, buyer, link, stop }
    }

    /// How often the wallet service was asked to do this.
    pub(crate) fn asked(&self, method: &str) -> usize {
        let wanted = format!("\"method\":\"{method}\"");
        let stored = self.link.stored.lock().unwrap();
        let requests = stored.iter().filter(|event| event.kind.as_u16() == 23_194);
        requests.filter(|event| read(event).contains(&wanted)).count()
    }

    /// How often a payment was sent; no other is in this market.
    pub(crate) async fn sent(&self, _invoice: &Invoice) -> usize {
        self.asked("pay_invoice")
    }

    /// An invoice whose time is up.
    pub(crate) async fn expired(&self) -> Invoice {
        let (amount, expiry) = (Msat::new(21_000), Millis(0));
        let request = MakeInvoice { amount, description: "late".into(), expiry, hold: None };
        self.seller.make_invoice(request).await.unwrap()
    }

    /// An invoice of another market, which nobody here can pay.
    pub(crate) async fn foreign(&self) -> Invoice {
        let hold = None;
        let (amount, expiry) = (Msat::new(21_000), Millis::from_secs(600));
        let request = MakeInvoice { amount, description: "elsewhere".into(), expiry, hold };
        Box::pin(Self::open(Scheme::Nip44)).await.seller.make_invoice(request).await.unwrap()
    }

    pub(crate) fn connection(&self) -> Connection {
        open(&self.service, "buyer", 3)
    }

    pub(crate) fn pay_in_background(&self, invoice: &Invoice) -> JoinHandle<Result<Outgoing, WalletError>> {
        let (buyer, invoice) = (self.buyer.clone(), invoice.clone());
        tokio::spawn(async move {
            buyer.pay(Pay { invoice: &invoice, max_fee: Msat::ZERO, first_attempt: true }).await
        })
    }

    pub(crate) async fn until_held(&self, hash: PaymentHash) {
        while !matches!(self.seller.lookup_incoming(hash).await, Ok(Incoming::Held { .. })) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// The seller has `amount` more, and no money was made or lost.
    pub(crate) async fn assert_moved(&self, amount: Msat) {
        assert_eq!(self.seller.balance().await.unwrap(), FUNDS.checked_add(amount).unwrap());
        assert!(self.service.audit().conserved);
    }

    /// Everybody has what they had.
    pub(crate) async fn assert_nothing_moved(&self) {
        self.assert_moved(Msat::ZERO).await;
        assert_eq!(self.buyer.balance().await.unwrap(), FUNDS);
    }
}

/// A request, as the wallet service reads it.
fn read(event: &Event) -> String {
    if event.content.contains("?iv=") {
        nip04::decrypt(&key(1), &event.pubkey, &event.content).unwrap()
    } else {
        nip44::decrypt(&key(1), &event.pubkey, &event.content).unwrap()
    }
}

fn open(service: &Service, label: &str, secret: u8) -> Connection {
    let relay = RelayUrl::parse("ws://127.0.0.1:1").unwrap();
    service.open_account(Opening { label, funds: FUNDS, plain: false }, key(secret), vec![relay]).unwrap()
}

async fn connect(service: &Service, label: &str, secret: u8, link: &Arc<Loop>) -> Arc<Nwc> {
    let connection = open(service, label, secret);
    let (mut wallet, listener) = Nwc::connect(connection, link.clone(), now).await.unwrap();
    wallet.set_patience(Patience { call: Duration::from_millis(400), pay: Duration::from_millis(600) });
    tokio::spawn(listener.run());
    let info = wallet.introduce().await.unwrap();
    assert!(info.hold && info.network == openagents_types::Network::Regtest);
    Arc::new(wallet)
}
