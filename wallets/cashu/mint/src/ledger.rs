//! A Lightning network that is one table: real invoices with real preimages, between the mints and the world
//! outside, on a file that survives a kill. It is what a mint stands on (`MintPayment`).

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    pin::Pin,
    str::FromStr as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use cdk_common::{
    Amount, CurrencyUnit, MeltQuoteState,
    bitcoin::{
        hashes::{Hash as _, sha256},
        secp256k1::{Secp256k1, SecretKey},
    },
    payment::{
        Bolt11Settings, CreateIncomingPaymentResponse, Error, Event, IncomingPaymentOptions,
        MakePaymentResponse, MintPayment, OutgoingPaymentOptions, PaymentIdentifier, PaymentQuoteResponse,
        SettingsResponse, WaitPaymentResponse,
    },
};
use futures::{Stream, StreamExt as _};
use lightning_invoice::{Bolt11Invoice, Currency, InvoiceBuilder, PaymentSecret};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;

/// Whoever is no mint.
pub(crate) const OUTSIDE: usize = usize::MAX;

/// An invoice, and what became of it.
#[derive(Clone, Serialize, Deserialize)]
struct Entry {
    preimage: [u8; 32],
    payee: usize,
    msat: u64,
    /// How often it was paid.
    paid: u32,
    /// Who has sent the money that is held, if any is.
    held: Option<usize>,
    /// A payment that was held and came back.
    failed: bool,
}

/// How the world behaves.
#[derive(Clone, Copy, Default)]
pub(crate) struct Mood {
    /// What a mint quotes on top for a payment, in satoshis; half of it is spent.
    pub(crate) reserve: u64,
    /// Payments arrive only when released.
    pub(crate) hold: bool,
    /// Payments arrive without a proof.
    pub(crate) mute: bool,
}

struct Inner {
    path: PathBuf,
    entries: HashMap<String, Entry>,
    mood: Mood,
    news: HashMap<usize, broadcast::Sender<Event>>,
}

/// The ledger. Clones share it.
#[derive(Clone)]
pub(crate) struct Ledger(Arc<Mutex<Inner>>);

fn key(node: usize) -> SecretKey {
    let text = format!("node {node}");
    SecretKey::from_slice(sha256::Hash::hash(text.as_bytes()).as_byte_array()).expect("a hash is a key")
}

fn custom(text: &str) -> Error {
    Error::Custom(text.to_owned())
}

impl Ledger {
    pub(crate) fn open(path: &Path) -> Self {
        let entries = std::fs::read(path).ok().and_then(|text| serde_json::from_slice(&text).ok());
        let (entries, mood, news) = (entries.unwrap_or_default(), Mood::default(), HashMap::new());
        Self(Arc::new(Mutex::new(Inner { path: path.to_owned(), entries, mood, news })))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn change_mood(&self, change: impl FnOnce(&mut Mood)) {
        change(&mut self.inner().mood);
    }

    /// An invoice of a node.
    pub(crate) fn invoice(&self, payee: usize, msat: u64, expiry: Duration) -> Result<Bolt11Invoice, Error> {
        let preimage: [u8; 32] = std::array::from_fn(|_| rand());
        let hash = sha256::Hash::hash(&preimage);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
        // An invoice without time left was made a while ago.
        let made = if expiry.is_zero() { now - Duration::from_secs(100) } else { now };
        let invoice = InvoiceBuilder::new(Currency::Regtest)
            .description("work".into())
            .payment_hash(hash)
            .payment_secret(PaymentSecret(std::array::from_fn(|_| rand())))
            .amount_milli_satoshis(msat)
            .duration_since_epoch(made)
            .expiry_time(expiry.max(Duration::from_secs(1)))
            .min_final_cltv_expiry_delta(144)
            .basic_mpp()
            .build_signed(|message| Secp256k1::new().sign_ecdsa_recoverable(message, &key(payee)))
            .map_err(|error| custom(&error.to_string()))?;
        let entry = Entry { preimage, payee, msat, paid: 0, held: None, failed: false };
        let mut inner = self.inner();
        inner.entries.insert(hash.to_string(), entry);
        inner.save();
        Ok(invoice)
    }

    /// How often an invoice was paid.
    pub(crate) fn paid(&self, hash: &str) -> u32 {
        self.inner().entries.get(hash).map_or(0, |entry| entry.paid)
    }

    /// Pays an invoice, or holds the payment. A payment that was held and came back can be tried again, as
    /// on Lightning.
    pub(crate) fn pay(&self, payer: usize, invoice: &Bolt11Invoice) -> Result<MeltQuoteState, Error> {
        let hash = invoice.payment_hash().to_string();
        let mut inner = self.inner();
        let (hold, payer_is_mint) = (inner.mood.hold, payer != OUTSIDE);
        let entry = inner.entries.get_mut(&hash).ok_or_else(|| custom("no route"))?;
        if invoice.is_expired() || entry.paid > 0 || entry.held.is_some() {
            return Err(custom("the payee refuses"));
        }
        entry.failed = false;
        if hold && payer_is_mint {
            entry.held = Some(payer);
            inner.save();
            return Ok(MeltQuoteState::Pending);
        }
        inner.arrive(&hash);
        Ok(MeltQuoteState::Paid)
    }

    /// Lets a held payment arrive, or sends it back.
    pub(crate) fn release(&self, hash: &str, arrives: bool) {
        let mut inner = self.inner();
        let Some(entry) = inner.entries.get_mut(hash).filter(|entry| entry.held.is_some()) else { return };
        entry.held = None;
        entry.failed = !arrives;
        if arrives {
            inner.arrive(hash);
        }
        inner.save();
    }

    fn state(&self, hash: &str) -> (MeltQuoteState, Option<String>, u64) {
        let inner = self.inner();
        match inner.entries.get(hash) {
            Some(entry) if entry.paid > 0 => {
                let proof = (!inner.mood.mute).then(|| hex::encode(entry.preimage));
                (MeltQuoteState::Paid, proof, entry.msat / 1_000 + inner.mood.reserve / 2)
            }
            Some(entry) if entry.held.is_some() => (MeltQuoteState::Pending, None, 0),
            Some(entry) if entry.failed => (MeltQuoteState::Failed, None, 0),
            _ => (MeltQuoteState::Unpaid, None, 0),
        }
    }
}

impl Inner {
    fn arrive(&mut self, hash: &str) {
        let Some(entry) = self.entries.get_mut(hash) else { return };
        entry.paid += 1;
        let (payee, msat) = (entry.payee, entry.msat);
        self.save();
        if let (Some(news), Ok(received)) = (self.news.get(&payee), received(hash, msat)) {
            let _ = news.send(Event::PaymentReceived(received));
        }
    }

    fn save(&self) {
        let draft = self.path.with_extension("new");
        let text = serde_json::to_vec(&self.entries).expect("it is JSON");
        std::fs::write(&draft, text)
            .and_then(|()| std::fs::rename(draft, &self.path))
            .expect("the disk writes");
    }
}

fn rand() -> u8 {
    use std::hash::{BuildHasher as _, Hasher as _};
    // A fresh random key each time: enough for invoices that only a test sees.
    let [byte, ..] = std::hash::RandomState::new().build_hasher().finish().to_le_bytes();
    byte
}

fn name(hash: &str) -> Result<PaymentIdentifier, Error> {
    PaymentIdentifier::new("payment_hash", hash)
}

fn received(hash: &str, msat: u64) -> Result<WaitPaymentResponse, Error> {
    Ok(WaitPaymentResponse {
        payment_identifier: name(hash)?,
        payment_amount: Amount::new(msat / 1_000, CurrencyUnit::Sat),
        payment_id: hash.to_owned(),
    })
}

/// The Lightning node of one mint.
pub(crate) struct Node {
    pub(crate) ledger: Ledger,
    pub(crate) index: usize,
    news: broadcast::Sender<Event>,
}

impl Node {
    pub(crate) fn new(ledger: Ledger, index: usize) -> Self {
        let news = broadcast::channel(1_024).0;
        ledger.inner().news.insert(index, news.clone());
        Self { ledger, index, news }
    }

    fn response(&self, hash: &str) -> Result<MakePaymentResponse, Error> {
        let (status, payment_proof, spent) = self.ledger.state(hash);
        let total_spent = Amount::new(spent, CurrencyUnit::Sat);
        Ok(MakePaymentResponse { payment_lookup_id: name(hash)?, payment_proof, status, total_spent })
    }
}

fn bolt11(options: &OutgoingPaymentOptions) -> Result<&Bolt11Invoice, Error> {
    match options {
        OutgoingPaymentOptions::Bolt11(options) => Ok(&options.bolt11),
        _ => Err(Error::UnsupportedPaymentOption),
    }
}

#[async_trait]
impl MintPayment for Node {
    type Err = Error;

    async fn get_settings(&self) -> Result<SettingsResponse, Error> {
        Ok(SettingsResponse {
            unit: CurrencyUnit::Sat.to_string(),
            bolt11: Some(Bolt11Settings { mpp: false, amountless: false, invoice_description: true }),
            bolt12: None,
            onchain: None,
            custom: HashMap::new(),
        })
    }

    async fn create_incoming_payment_request(
        &self,
        options: IncomingPaymentOptions,
    ) -> Result<CreateIncomingPaymentResponse, Error> {
        let IncomingPaymentOptions::Bolt11(options) = options else {
            return Err(Error::UnsupportedPaymentOption);
        };
        let msat = options.amount.value() * 1_000;
        let invoice = self.ledger.invoice(self.index, msat, Duration::from_secs(600))?;
        Ok(CreateIncomingPaymentResponse {
            request_lookup_id: name(&invoice.payment_hash().to_string())?,
            expiry: invoice.expires_at().map(|at| at.as_secs()),
            request: invoice.to_string(),
            extra_json: None,
        })
    }

    async fn get_payment_quote(
        &self,
        _unit: &CurrencyUnit,
        options: OutgoingPaymentOptions,
    ) -> Result<PaymentQuoteResponse, Error> {
        let invoice = bolt11(&options)?;
        let sats = invoice.amount_milli_satoshis().ok_or(Error::AmountMismatch)? / 1_000;
        let reserve = self.ledger.inner().mood.reserve;
        Ok(PaymentQuoteResponse {
            request_lookup_id: Some(name(&invoice.payment_hash().to_string())?),
            amount: Amount::new(sats, CurrencyUnit::Sat),
            fee: Amount::new(reserve, CurrencyUnit::Sat),
            state: MeltQuoteState::Unpaid,
            extra_json: None,
            estimated_blocks: None,
            fee_options: None,
        })
    }

    async fn make_payment(
        &self,
        _unit: &CurrencyUnit,
        options: OutgoingPaymentOptions,
    ) -> Result<MakePaymentResponse, Error> {
        let invoice = bolt11(&options)?;
        let hash = invoice.payment_hash().to_string();
        if self.ledger.pay(self.index, invoice).is_err() {
            return Ok(MakePaymentResponse {
                payment_lookup_id: name(&hash)?,
                payment_proof: None,
                status: MeltQuoteState::Failed,
                total_spent: Amount::new(0, CurrencyUnit::Sat),
            });
        }
        self.response(&hash)
    }

    async fn wait_payment_event(&self) -> Result<Pin<Box<dyn Stream<Item = Event> + Send>>, Error> {
        let news = BroadcastStream::new(self.news.subscribe());
        Ok(Box::pin(news.filter_map(|event| futures::future::ready(event.ok()))))
    }

    fn is_payment_event_stream_active(&self) -> bool {
        self.news.receiver_count() > 0
    }

    fn cancel_payment_event_stream(&self) {}

    async fn check_incoming_payment_status(
        &self,
        payment: &PaymentIdentifier,
    ) -> Result<Vec<WaitPaymentResponse>, Error> {
        let hash = payment.to_string();
        let inner = self.ledger.inner();
        let entry = inner.entries.get(&hash).filter(|entry| entry.paid > 0);
        entry.map(|entry| received(&hash, entry.msat)).into_iter().collect()
    }

    async fn check_outgoing_payment(
        &self,
        payment: &PaymentIdentifier,
    ) -> Result<MakePaymentResponse, Error> {
        self.response(&payment.to_string())
    }
}

/// An invoice as a test writes it.
pub(crate) fn read(text: &str) -> Result<Bolt11Invoice, String> {
    Bolt11Invoice::from_str(text).map_err(|error| error.to_string())
}
