//! NIP-47's methods on a Lightning node. What is asked for is in the book before it is done; an answer that
//! depends on the network waits for the node's own event.

use std::{
    collections::HashMap,
    str::FromStr as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ldk_node::{
    Node, NodeError,
    bitcoin::{Network, hashes::Hash as _},
    lightning::routing::router::RouteParametersConfig,
    lightning_invoice::{Bolt11Invoice, Bolt11InvoiceDescription, Currency, Description},
    lightning_types::payment::{PaymentHash, PaymentPreimage},
};
use serde_json::{Value, json};

use crate::{
    book::{Book, Bytes, Payment, State, now},
    channels, eprint,
    pending::Unresolved,
    talk::{Mouth, Refusal, Request},
};

/// What a method does; `None` where it answers later.
pub(crate) type Answer = Result<Option<Value>, Refusal>;

/// The methods of NIP-47 that this wallet has, and those of its own.
const METHODS: [&str; 15] = [
    "get_info",
    "get_balance",
    "make_invoice",
    "make_hold_invoice",
    "settle_hold_invoice",
    "cancel_hold_invoice",
    "pay_invoice",
    "lookup_invoice",
    "list_transactions",
    "new_address",
    "onchain_balance",
    "open_channel",
    "close_channel",
    "list_channels",
    "list_balances",
];

/// How many payments a page of the history has, unless it is said, and at most.
const PAGE: (u32, u32) = (50, 500);

/// The wallet.
pub(crate) struct Wallet {
    pub(crate) node: Node,
    pub(crate) network: Network,
    pub(crate) mouth: Mouth,
    book: Mutex<Book>,
    /// Who waits for the end of which payment.
    waiting: Mutex<HashMap<Bytes, Vec<Asked>>>,
    pub(crate) unresolved: Mutex<Unresolved>,
}

/// A request that is answered later.
struct Asked {
    id: u64,
    method: String,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether an error of `send` means that nothing was sent. Anything else may have been.
const fn never_sent(error: &NodeError) -> bool {
    matches!(
        error,
        NodeError::PaymentSendingFailed
            | NodeError::InvalidInvoice
            | NodeError::InvalidAmount
            | NodeError::NotRunning
    )
}

impl Wallet {
    pub(crate) fn new(node: Node, book: Book, network: Network, mouth: Mouth) -> Self {
        let (book, waiting, unresolved) = (Mutex::new(book), Mutex::default(), Mutex::default());
        Self { node, network, mouth, book, waiting, unresolved }
    }

    pub(crate) fn book(&self) -> MutexGuard<'_, Book> {
        lock(&self.book)
    }

    /// The height of the chain as far as it is known.
    pub(crate) fn height(&self) -> u32 {
        self.node.status().current_best_block.height
    }

    /// Does what is asked, and answers unless that comes later. What speaks to peers is not waited for.
    pub(crate) fn take(self: Arc<Self>, request: Request) {
        if channels::METHODS.contains(&request.method.as_str()) {
            std::thread::spawn(move || {
                let answer = channels::execute(&self, &request.method, &request.params);
                self.mouth.answer(request.id, &request.method, answer);
            });
            return;
        }
        match self.execute(&request) {
            Ok(None) => {}
            Ok(Some(result)) => self.mouth.answer(request.id, &request.method, Ok(result)),
            Err(refusal) => self.mouth.answer(request.id, &request.method, Err(refusal)),
        }
    }

    fn execute(&self, request: &Request) -> Answer {
        let params = &request.params;
        match request.method.as_str() {
            "get_info" => Ok(Some(self.info())),
            "get_balance" => Ok(Some(json!({ "balance": self.spendable() }))),
            "make_invoice" => self.make_invoice(params).map(Some),
            "make_hold_invoice" => self.make_hold_invoice(params).map(Some),
            "settle_hold_invoice" => self.settle(request),
            "cancel_hold_invoice" => self.cancel(params).map(Some),
            "pay_invoice" => self.pay(request),
            "lookup_invoice" => self.lookup(params).map(Some),
            "list_transactions" => self.list(params).map(Some),
            other => Err(Refusal::unknown_method(other)),
        }
    }

    /// Who this is and what it can do.
    pub(crate) fn info(&self) -> Value {
        let best = self.node.status().current_best_block;
        let alias = self.node.node_alias().map(|alias| alias.to_string());
        let network =
            if self.network == Network::Bitcoin { "mainnet".into() } else { self.network.to_string() };
        json!({
            "alias": alias.unwrap_or_else(|| "Lightning node".into()),
            "pubkey": self.node.node_id().to_string(),
            "network": network,
            "block_height": best.height,
            "block_hash": best.block_hash.to_string(),
            "methods": METHODS,
            "notifications": ["payment_received", "payment_sent", "hold_invoice_accepted"],
        })
    }

    /// What could be sent now, in millisatoshis, without the reserves of the channels.
    fn spendable(&self) -> u64 {
        let channels = self.node.list_channels();
        channels.iter().filter(|c| c.is_channel_ready).map(|c| c.outbound_capacity_msat).sum()
    }

    fn make_invoice(&self, params: &Value) -> Result<Value, Refusal> {
        let asked = Wanted::read(params)?;
        let made = self.node.bolt11_payment().receive(asked.amount, &asked.described()?, asked.expiry);
        let invoice = made.map_err(Refusal::fault)?;
        let mut payment = asked.payment(invoice.payment_hash().to_byte_array(), false);
        // Nobody has seen the invoice before it is in the book.
        payment.made(&invoice);
        self.book().put(&payment)?;
        Ok(payment.value(self.height()))
    }

    /// The same hash gives the same invoice, as long as the same is asked.
    fn make_hold_invoice(&self, params: &Value) -> Result<Value, Refusal> {
        let asked = Wanted::read(params)?;
        let hash = bytes(params, "payment_hash").ok_or_else(|| Refusal::restricted("no payment hash"))?;
        let book = self.book();
        let mut payment = match book.get(hash)? {
            Some(known) if known.incoming && known.hold && known.amount == asked.amount => known,
            Some(_) => return Err(Refusal::restricted("the payment hash is in use for something else")),
            None => asked.payment(hash, true),
        };
        if payment.bolt11.is_empty() {
            book.put(&payment)?;
            let bolt11 = self.node.bolt11_payment();
            let described = asked.described()?;
            let made = bolt11.receive_for_hash(asked.amount, &described, asked.expiry, PaymentHash(hash));
            payment.made(&made.map_err(Refusal::fault)?);
            book.put(&payment)?;
        }
        Ok(payment.value(self.height()))
    }

    /// Takes what is held. The preimage is in the book first, so that a restart takes it all the same.
    fn settle(&self, request: &Request) -> Answer {
        let preimage = bytes(&request.params, "preimage").ok_or_else(Refusal::not_found)?;
        let hash = ldk_node::bitcoin::hashes::sha256::Hash::hash(&preimage).to_byte_array();
        let book = self.book();
        let mut payment = book.get(hash)?.filter(|p| p.incoming && p.hold).ok_or_else(Refusal::not_found)?;
        match payment.state {
            State::Settled => return Ok(Some(json!({}))),
            State::Held if payment.lapsed(self.height()) => return Err(Refusal::not_found()),
            State::Held => {
                payment.state = State::Settling;
                payment.preimage = Some(preimage);
                book.put(&payment)?;
            }
            State::Settling => {}
            State::Open | State::Failed | State::Begun | State::Sent => return Err(Refusal::not_found()),
        }
        self.wait_for(hash, request);
        self.claim(&payment);
        Ok(None)
    }

    /// Hands the preimage of a payment that is being taken to the network. Safe to repeat.
    pub(crate) fn claim(&self, payment: &Payment) {
        let Some(preimage) = payment.preimage else { return };
        let (hash, preimage) = (PaymentHash(payment.hash), PaymentPreimage(preimage));
        if let Err(error) = self.node.bolt11_payment().claim_for_hash(hash, payment.amount, preimage) {
            eprint(format_args!("a held payment was not taken yet: {error}"));
        }
    }

    /// Gives back what is held, or voids its invoice. The book says so first; should the payment come, or
    /// still be there after a restart, it is given back then.
    fn cancel(&self, params: &Value) -> Result<Value, Refusal> {
        let hash = bytes(params, "payment_hash").ok_or_else(Refusal::not_found)?;
        let book = self.book();
        let mut payment = book.get(hash)?.filter(|p| p.incoming && p.hold).ok_or_else(Refusal::not_found)?;
        match payment.state {
            State::Open | State::Held => {
                payment.state = State::Failed;
                payment.reason = "cancelled".into();
                book.put(&payment)?;
                self.give_back(hash);
            }
            State::Failed => {}
            State::Settling | State::Settled | State::Begun | State::Sent => {
                return Err(Refusal::restricted("the payment is taken"));
            }
        }
        Ok(json!({}))
    }

    /// Gives back what has arrived for a hash, if anything has. Safe to repeat.
    pub(crate) fn give_back(&self, hash: Bytes) {
        if let Err(error) = self.node.bolt11_payment().fail_for_hash(PaymentHash(hash)) {
            eprint(format_args!("a held payment was not given back: {error}"));
        }
    }

    /// Pays, unless the hash is in the book already. It is sent once, ever.
    fn pay(&self, request: &Request) -> Answer {
        let (invoice, amount) = self.payable(&request.params)?;
        let hash = invoice.payment_hash().to_byte_array();
        let book = self.book();
        if let Some(known) = book.get(hash)? {
            if known.incoming {
                return Err(Refusal::failed("the invoice is this wallet's own"));
            }
            return match known.state {
                State::Settled => Ok(Some(known.value(0))),
                State::Failed => Err(Refusal::failed(known.reason)),
                _ => Ok(self.wait_for(hash, request)),
            };
        }
        if invoice.expires_at().is_none_or(|at| at.as_secs() <= now()) {
            return Err(Refusal::failed("the invoice has expired"));
        }
        let spendable = self.spendable();
        if amount > spendable {
            return Err(Refusal::insufficient(format!("{amount} msat of {spendable}")));
        }
        let mut payment = Payment::outgoing(&invoice, amount, request.params["max_fee"].as_u64());
        book.put(&payment)?;
        self.wait_for(hash, request);
        match self.send(&invoice, &payment) {
            Ok(()) | Err(NodeError::DuplicatePayment) => {
                payment.state = State::Sent;
                book.put(&payment)?;
            }
            Err(error) if never_sent(&error) => {
                payment.state = State::Failed;
                payment.reason = "no way to the payee was found within the limit on fees".into();
                book.put(&payment)?;
                drop(book);
                self.resolve(&payment);
            }
            Err(error) => eprint(format_args!("whether a payment was sent is unknown: {error}")),
        }
        Ok(None)
    }

    /// An invoice of this network with an amount.
    fn payable(&self, params: &Value) -> Result<(Bolt11Invoice, u64), Refusal> {
        let invoice = Bolt11Invoice::from_str(params["invoice"].as_str().unwrap_or_default())
            .map_err(|error| Refusal::failed(format!("no invoice: {error}")))?;
        let same = match invoice.currency() {
            Currency::Bitcoin => self.network == Network::Bitcoin,
            Currency::BitcoinTestnet => matches!(self.network, Network::Testnet | Network::Testnet4),
            Currency::Regtest => self.network == Network::Regtest,
            Currency::Signet => self.network == Network::Signet,
            Currency::Simnet => false,
        };
        if !same {
            return Err(Refusal::failed("the invoice is of another network"));
        }
        let amount = invoice.amount_milli_satoshis().filter(|amount| *amount > 0);
        let amount = amount.ok_or_else(|| Refusal::failed("the invoice names no amount"))?;
        Ok((invoice, amount))
    }

    /// Sends, with no more for routing than the payment allows.
    pub(crate) fn send(&self, invoice: &Bolt11Invoice, payment: &Payment) -> Result<(), NodeError> {
        let limit = payment.max_fee.map(|fee| RouteParametersConfig {
            max_total_routing_fee_msat: Some(fee),
            ..RouteParametersConfig::default()
        });
        self.node.bolt11_payment().send(invoice, limit).map(drop)
    }

    fn lookup(&self, params: &Value) -> Result<Value, Refusal> {
        let of_invoice = || {
            let invoice = Bolt11Invoice::from_str(params["invoice"].as_str()?).ok()?;
            Some(invoice.payment_hash().to_byte_array())
        };
        let hash = bytes(params, "payment_hash").or_else(of_invoice).ok_or_else(Refusal::not_found)?;
        let payment = self.book().get(hash)?.ok_or_else(Refusal::not_found)?;
        Ok(payment.value(self.height()))
    }

    fn list(&self, params: &Value) -> Result<Value, Refusal> {
        let number = |name: &str| u32::try_from(params[name].as_u64().unwrap_or(0)).unwrap_or(u32::MAX);
        let limit = if number("limit") == 0 { PAGE.0 } else { number("limit").min(PAGE.1) };
        let (page, height) = (self.book().page(limit, number("offset"))?, self.height());
        Ok(json!({ "transactions": page.iter().map(|p| p.value(height)).collect::<Vec<_>>() }))
    }

    /// The request is answered when the payment is over.
    fn wait_for(&self, hash: Bytes, request: &Request) -> Option<Value> {
        let asked = Asked { id: request.id, method: request.method.clone() };
        lock(&self.waiting).entry(hash).or_default().push(asked);
        None
    }

    /// Answers whoever waits for the end of a payment.
    pub(crate) fn resolve(&self, payment: &Payment) {
        let waiting = lock(&self.waiting).remove(&payment.hash).unwrap_or_default();
        for Asked { id, method } in waiting {
            let answer = match payment.state {
                State::Settled => Ok(payment.value(0)),
                _ if payment.incoming => Err(Refusal::not_found()),
                _ => Err(Refusal::failed(payment.reason.clone())),
            };
            self.mouth.answer(id, &method, answer);
        }
    }
}

/// An invoice that is asked for.
struct Wanted {
    amount: u64,
    description: String,
    expiry: u32,
}

impl Wanted {
    fn read(params: &Value) -> Result<Self, Refusal> {
        let amount = params["amount"].as_u64().filter(|amount| *amount > 0);
        Ok(Self {
            amount: amount.ok_or_else(|| Refusal::restricted("an invoice needs an amount"))?,
            description: params["description"].as_str().unwrap_or_default().to_owned(),
            expiry: params["expiry"].as_u64().map_or(3_600, |s| u32::try_from(s).unwrap_or(u32::MAX)),
        })
    }

    fn described(&self) -> Result<Bolt11InvoiceDescription, Refusal> {
        let description = Description::new(self.description.clone());
        description
            .map(Bolt11InvoiceDescription::Direct)
            .map_err(|error| Refusal::restricted(format!("the description cannot be used: {error}")))
    }

    fn payment(&self, hash: Bytes, hold: bool) -> Payment {
        let at = now();
        Payment {
            hash,
            incoming: true,
            hold,
            state: State::Open,
            bolt11: String::new(),
            description: self.description.clone(),
            amount: self.amount,
            fee: 0,
            max_fee: None,
            preimage: None,
            deadline: None,
            reason: String::new(),
            created_at: at,
            expires_at: at + u64::from(self.expiry),
            settled_at: 0,
        }
    }
}

impl Payment {
    fn outgoing(invoice: &Bolt11Invoice, amount: u64, max_fee: Option<u64>) -> Self {
        Self {
            hash: invoice.payment_hash().to_byte_array(),
            incoming: false,
            hold: false,
            state: State::Begun,
            bolt11: invoice.to_string(),
            description: invoice.description().to_string(),
            amount,
            fee: 0,
            max_fee,
            preimage: None,
            deadline: None,
            reason: String::new(),
            created_at: now(),
            expires_at: invoice.expires_at().map_or(0, |at| at.as_secs()),
            settled_at: 0,
        }
    }

    fn made(&mut self, invoice: &Bolt11Invoice) {
        self.bolt11 = invoice.to_string();
        self.expires_at = invoice.expires_at().map_or(0, |at| at.as_secs());
    }

    /// Whether what is held goes back by itself at this height.
    pub(crate) fn lapsed(&self, height: u32) -> bool {
        self.deadline.is_some_and(|deadline| height >= deadline)
    }

    /// In NIP-47's words, at this height of the chain.
    pub(crate) fn value(&self, height: u32) -> Value {
        let state = match self.state {
            State::Open if self.expires_at <= now() => "expired",
            State::Open | State::Begun | State::Sent => "pending",
            State::Held if self.lapsed(height) => "failed",
            State::Held | State::Settling => "accepted",
            State::Settled => "settled",
            State::Failed => "failed",
        };
        let mut value = json!({
            "type": if self.incoming { "incoming" } else { "outgoing" },
            "state": state,
            "invoice": self.bolt11,
            "description": self.description,
            "payment_hash": hex::encode(self.hash),
            "amount": self.amount,
            "fees_paid": self.fee,
            "created_at": self.created_at,
            "expires_at": self.expires_at,
        });
        if let Some(height) = self.deadline {
            value["settle_deadline"] = height.into();
        }
        if self.state == State::Settled {
            value["settled_at"] = self.settled_at.into();
            value["preimage"] = self.preimage.map(hex::encode).into();
        }
        value
    }
}

fn bytes(params: &Value, name: &str) -> Option<Bytes> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(params[name].as_str()?, &mut bytes).ok()?;
    Some(bytes)
}
