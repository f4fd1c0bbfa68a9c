//! Everybody's test money. Time is an argument; nothing here waits or sends.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    time::Duration,
};

use lightning_invoice::{Currency, InvoiceBuilder, PaymentSecret};
use nostr::{
    PublicKey,
    hashes::{Hash, sha256},
    secp256k1::{Secp256k1, SecretKey, SignOnly},
};
use openagents_types::{Invoice, Millis, Msat, PaymentHash, Preimage, Rail, Timestamp};

use super::journal::{self, Journal, Line};
use crate::{Incoming, Outgoing, Transaction, bolt11};

/// An account's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Account(usize);

/// How long money is held before it goes back by itself, unless told otherwise.
const HOLD_LIMIT: Millis = Millis::from_secs(600);

/// Blocks a payment would be locked for on a real network.
const CLTV: u64 = 144;

/// Why the ledger refuses. Nothing moved.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// No such invoice here; there is no network behind this ledger.
    #[error("no such invoice on this testnet")]
    UnknownInvoice,
    /// Paid, cancelled or expired.
    #[error("the invoice cannot be paid any more")]
    NotPayable,
    /// Already paid.
    #[error("already paid")]
    AlreadyPaid,
    /// Not enough money.
    #[error("not enough: {balance} there, {needed} needed")]
    Insufficient {
        /// What is there.
        balance: Msat,
        /// What is needed.
        needed: Msat,
    },
    /// Nothing is held for it.
    #[error("nothing is held for this")]
    NotHeld,
    /// The hash is in use by an invoice for another amount or account.
    #[error("the payment hash is in use")]
    HashInUse,
    /// The invoice cannot be written.
    #[error("the invoice cannot be written: {0}")]
    Invoice(String),
    /// The journal cannot be read or written.
    #[error("the testnet's journal cannot be used: {0}")]
    Journal(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Open,
    Held { since: Timestamp },
    Settled,
    Cancelled,
}

#[derive(Clone, Debug)]
struct Bill {
    payee: Account,
    payer: Option<Account>,
    invoice: Invoice,
    description: String,
    preimage: Option<Preimage>,
    holds: bool,
    stage: Stage,
    at: Timestamp,
}

#[derive(Clone, Debug)]
struct Holder {
    label: String,
    balance: Msat,
    plain: bool,
}

/// An account to open.
#[derive(Clone, Copy, Debug)]
pub struct Opening<'a> {
    /// What it is called in the audit.
    pub label: &'a str,
    /// The test money it starts with.
    pub funds: Msat,
    /// Whether it is like most wallets, which cannot lock payments.
    pub plain: bool,
}

/// What is where. `balances + in_flight` is what was issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// All test money ever made.
    pub issued: Msat,
    /// What is locked.
    pub in_flight: Msat,
    /// Each account: its label and what it holds.
    pub balances: Vec<(String, Msat)>,
    /// Whether it all adds up.
    pub conserved: bool,
    /// How often a wallet was told to pay what it had paid already, or was paying.
    pub paid_again: u64,
}

/// The ledger.
pub struct Ledger {
    node_key: SecretKey,
    signer: Secp256k1<SignOnly>,
    accounts: Vec<Holder>,
    by_key: HashMap<PublicKey, Account>,
    bills: HashMap<PaymentHash, Bill>,
    by_text: HashMap<String, PaymentHash>,
    held: BTreeMap<(Timestamp, PaymentHash), ()>,
    issued: Msat,
    paid_again: u64,
    hold_limit: Millis,
    journal: Journal,
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger").field("accounts", &self.accounts.len()).finish_non_exhaustive()
    }
}

impl Ledger {
    /// A ledger in memory, whose invoices are signed with `node_key`.
    pub fn new(node_key: SecretKey) -> Self {
        Self {
            node_key,
            signer: Secp256k1::signing_only(),
            accounts: Vec::new(),
            by_key: HashMap::new(),
            bills: HashMap::new(),
            by_text: HashMap::new(),
            held: BTreeMap::new(),
            issued: Msat::ZERO,
            paid_again: 0,
            hold_limit: HOLD_LIMIT,
            journal: Journal::default(),
        }
    }

    /// A ledger that survives its process: what the journal at `path` says, and everything after.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn open(node_key: SecretKey, path: &Path) -> Result<Self, LedgerError> {
        let (journal, lines) =
            Journal::open(path).map_err(|error| LedgerError::Journal(error.to_string()))?;
        let mut ledger = Self::new(node_key);
        for line in lines {
            ledger.replay(line);
        }
        ledger.journal = journal;
        Ok(ledger)
    }

    /// How long held money stays held.
    pub fn set_hold_limit(&mut self, limit: Millis) {
        self.hold_limit = limit;
    }

    fn replay(&mut self, line: Line) {
        match line {
            Line::Opened { key, label, funds, plain } => {
                if let Ok(key) = PublicKey::from_hex(&key) {
                    self.enter_account(key, Opening { label: &label, funds: Msat::new(funds), plain });
                }
            }
            Line::Invoiced { account, bolt11, preimage, description } => {
                if let Ok(invoice) = bolt11::decode(&bolt11) {
                    let preimage = preimage.as_deref().and_then(journal::preimage);
                    self.enter_bill(Account(account), invoice, preimage, description);
                }
            }
            Line::Paid { hash, payer, at } => {
                self.enter_payment(Timestamp::from_millis(at), hash, Account(payer))
            }
            Line::Settled { hash, preimage } => {
                if let Some(preimage) = journal::preimage(&preimage) {
                    self.enter_settled(hash, preimage);
                }
            }
            Line::Cancelled { hash } => self.enter_cancelled(hash),
        }
    }

    fn write(&mut self, line: &Line) -> Result<(), LedgerError> {
        self.journal.write(line).map_err(|error| LedgerError::Journal(error.to_string()))
    }

    /// The account of a client key, opened if there is none.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub fn open_account(&mut self, key: PublicKey, opening: Opening<'_>) -> Result<Account, LedgerError> {
        if let Some(account) = self.by_key.get(&key) {
            return Ok(*account);
        }
        let Opening { label, funds, plain } = opening;
        self.write(&Line::Opened { key: key.to_hex(), label: label.to_owned(), funds: funds.get(), plain })?;
        Ok(self.enter_account(key, opening))
    }

    fn enter_account(&mut self, key: PublicKey, Opening { label, funds, plain }: Opening<'_>) -> Account {
        let account = Account(self.accounts.len());
        self.accounts.push(Holder { label: label.to_owned(), balance: funds, plain });
        self.by_key.insert(key, account);
        self.issued = self.issued.saturating_add(funds);
        account
    }

    /// Whose key this is.
    pub fn account(&self, key: &PublicKey) -> Option<Account> {
        self.by_key.get(key).copied()
    }

    /// Whether an account cannot lock payments.
    pub fn is_plain(&self, account: Account) -> bool {
        self.accounts.get(account.0).is_some_and(|holder| holder.plain)
    }

    /// What an account could spend.
    pub fn balance(&self, account: Account) -> Msat {
        self.accounts.get(account.0).map_or(Msat::ZERO, |holder| holder.balance)
    }

    /// Makes an invoice; see [`crate::Wallet::make_invoice`].
    ///
    /// # Errors
    /// The hash is in use, or the invoice cannot be written.
    pub fn invoice(
        &mut self,
        now: Timestamp,
        account: Account,
        request: &crate::MakeInvoice,
        entropy: [u8; 32],
    ) -> Result<Invoice, LedgerError> {
        if request.amount.is_zero() || request.amount > Msat::MAX {
            return Err(LedgerError::Invoice("it asks for nothing, or for more than there is".into()));
        }
        let preimage = Preimage::from_bytes(entropy);
        let hash = request.hold.unwrap_or(preimage.hash());
        if let Some(bill) = self.bills.get(&hash) {
            let same = bill.payee == account && bill.invoice.amount == request.amount;
            return if same { Ok(bill.invoice.clone()) } else { Err(LedgerError::HashInUse) };
        }
        let bolt11 = self.sign_invoice(now, hash, request, entropy)?;
        // Decoding would recover the signer's key that has just signed.
        let invoice = Invoice {
            bolt11: bolt11.clone(),
            payment_hash: hash,
            amount: request.amount,
            expires_at: Timestamp::from_secs(now.secs() + request.expiry.0.div_ceil(1000)),
            network: openagents_types::Network::Regtest,
        };
        let preimage = request.hold.is_none().then_some(preimage);
        self.write(&Line::Invoiced {
            account: account.0,
            bolt11,
            preimage: preimage.map(Preimage::to_hex),
            description: request.description.clone(),
        })?;
        self.enter_bill(account, invoice.clone(), preimage, request.description.clone());
        Ok(invoice)
    }

    fn sign_invoice(
        &self,
        now: Timestamp,
        hash: PaymentHash,
        request: &crate::MakeInvoice,
        entropy: [u8; 32],
    ) -> Result<String, LedgerError> {
        let secret = sha256::Hash::hash(&entropy).to_byte_array();
        let signed = InvoiceBuilder::new(Currency::Regtest)
            .description(request.description.chars().take(200).collect())
            .payment_hash(sha256::Hash::from_byte_array(*hash.as_bytes()))
            .payment_secret(PaymentSecret(secret))
            .amount_milli_satoshis(request.amount.get())
            .duration_since_epoch(Duration::from_secs(now.secs()))
            .expiry_time(Duration::from_secs(request.expiry.0.div_ceil(1000)))
            .min_final_cltv_expiry_delta(CLTV)
            .basic_mpp()
            .build_signed(|message| self.signer.sign_ecdsa_recoverable(message, &self.node_key));
        signed.map(|invoice| invoice.to_string()).map_err(|error| LedgerError::Invoice(error.to_string()))
    }

    fn enter_bill(
        &mut self,
        payee: Account,
        invoice: Invoice,
        preimage: Option<Preimage>,
        description: String,
    ) {
        let bill = Bill {
            payee,
            payer: None,
            description,
            holds: preimage.is_none(),
            preimage,
            stage: Stage::Open,
            at: invoice.expires_at,
            invoice,
        };
        self.by_text.insert(bill.invoice.bolt11.clone(), bill.invoice.payment_hash);
        self.bills.insert(bill.invoice.payment_hash, bill);
    }

    /// Pays. A held payment stays locked until it is settled, cancelled or lapses.
    ///
    /// # Errors
    /// See [`LedgerError`]; then nothing moved.
    pub fn pay(
        &mut self,
        now: Timestamp,
        payer: Account,
        hash: PaymentHash,
    ) -> Result<Outgoing, LedgerError> {
        let bill = self.bills.get(&hash).ok_or(LedgerError::UnknownInvoice)?;
        if bill.payer.is_some() {
            self.paid_again += 1;
            return Err(LedgerError::AlreadyPaid);
        }
        if bill.stage != Stage::Open || bill.invoice.expires_at <= now {
            return Err(LedgerError::NotPayable);
        }
        let (balance, needed) = (self.balance(payer), bill.invoice.amount);
        if balance < needed {
            return Err(LedgerError::Insufficient { balance, needed });
        }
        self.write(&Line::Paid { hash, payer: payer.0, at: now.millis() })?;
        self.enter_payment(now, hash, payer);
        Ok(self.outgoing(payer, hash))
    }

    fn enter_payment(&mut self, now: Timestamp, hash: PaymentHash, payer: Account) {
        let Some(bill) = self.bills.get_mut(&hash) else { return };
        let (amount, payee) = (bill.invoice.amount, bill.payee);
        bill.payer = Some(payer);
        bill.at = now;
        bill.stage = if bill.holds { Stage::Held { since: now } } else { Stage::Settled };
        let holds = bill.holds;
        self.debit(payer, amount);
        if holds {
            self.held.insert((now, hash), ());
        } else {
            self.credit(payee, amount);
        }
    }

    fn debit(&mut self, account: Account, amount: Msat) {
        if let Some(holder) = self.accounts.get_mut(account.0) {
            holder.balance = holder.balance.saturating_sub(amount);
        }
    }

    fn credit(&mut self, account: Account, amount: Msat) {
        if let Some(holder) = self.accounts.get_mut(account.0) {
            holder.balance = holder.balance.saturating_add(amount);
        }
    }

    /// Takes a held payment. Taking it again changes nothing. Returns the payer.
    ///
    /// # Errors
    /// Nothing is held for the preimage's hash, or it belongs to another account.
    pub fn settle(&mut self, account: Account, preimage: Preimage) -> Result<Account, LedgerError> {
        let hash = preimage.hash();
        let bill = self.bills.get(&hash).filter(|bill| bill.payee == account).ok_or(LedgerError::NotHeld)?;
        let payer = bill.payer.ok_or(LedgerError::NotHeld)?;
        match bill.stage {
            Stage::Settled => return Ok(payer),
            Stage::Held { .. } => {}
            Stage::Open | Stage::Cancelled => return Err(LedgerError::NotHeld),
        }
        self.write(&Line::Settled { hash, preimage: preimage.to_hex() })?;
        self.enter_settled(hash, preimage);
        Ok(payer)
    }

    fn enter_settled(&mut self, hash: PaymentHash, preimage: Preimage) {
        let Some(bill) = self.bills.get_mut(&hash) else { return };
        let Stage::Held { since } = bill.stage else { return };
        let (amount, payee) = (bill.invoice.amount, bill.payee);
        bill.stage = Stage::Settled;
        bill.preimage = Some(preimage);
        self.held.remove(&(since, hash));
        self.credit(payee, amount);
    }

    /// Cancels an invoice; money held for it goes back. Cancelling again changes nothing. Returns
    /// the payer, if there was one.
    ///
    /// # Errors
    /// It is settled, unknown, or another account's.
    pub fn cancel(&mut self, account: Account, hash: PaymentHash) -> Result<Option<Account>, LedgerError> {
        let bill =
            self.bills.get(&hash).filter(|bill| bill.payee == account).ok_or(LedgerError::UnknownInvoice)?;
        let payer = bill.payer;
        match bill.stage {
            Stage::Settled => return Err(LedgerError::NotHeld),
            Stage::Cancelled => return Ok(payer),
            Stage::Open | Stage::Held { .. } => {}
        }
        self.write(&Line::Cancelled { hash })?;
        self.enter_cancelled(hash);
        Ok(payer)
    }

    fn enter_cancelled(&mut self, hash: PaymentHash) {
        let Some(bill) = self.bills.get_mut(&hash) else { return };
        let (stage, payer, amount) = (bill.stage, bill.payer, bill.invoice.amount);
        bill.stage = Stage::Cancelled;
        if let (Stage::Held { since }, Some(payer)) = (stage, payer) {
            self.held.remove(&(since, hash));
            self.credit(payer, amount);
        }
    }

    /// Gives back what was held for too long. Returns what went back, and to whom.
    pub fn lapse(&mut self, now: Timestamp) -> Vec<(PaymentHash, Account)> {
        let mut lapsed = Vec::new();
        while let Some(((since, hash), ())) = self.held.first_key_value().map(|(key, ())| (*key, ())) {
            if now < since.after(self.hold_limit) || self.write(&Line::Cancelled { hash }).is_err() {
                break;
            }
            lapsed.extend(self.bills.get(&hash).and_then(|bill| bill.payer).map(|payer| (hash, payer)));
            self.enter_cancelled(hash);
        }
        lapsed
    }

    /// How a payment to an account stands.
    pub fn incoming(&self, now: Timestamp, account: Account, hash: PaymentHash) -> Incoming {
        let Some(bill) = self.bills.get(&hash).filter(|bill| bill.payee == account) else {
            return Incoming::Unknown;
        };
        let amount = bill.invoice.amount;
        match bill.stage {
            Stage::Open if bill.invoice.expires_at <= now => Incoming::Expired,
            Stage::Open => Incoming::Open,
            Stage::Held { .. } => Incoming::Held { amount },
            Stage::Settled => Incoming::Settled { amount },
            Stage::Cancelled => Incoming::Cancelled,
        }
    }

    /// How a payment by an account stands.
    pub fn outgoing(&self, account: Account, hash: PaymentHash) -> Outgoing {
        let Some(bill) = self.bills.get(&hash).filter(|bill| bill.payer == Some(account)) else {
            return Outgoing::Unknown;
        };
        match (bill.stage, bill.preimage) {
            (Stage::Settled, Some(preimage)) => Outgoing::Settled { preimage, fee: Msat::ZERO },
            (Stage::Cancelled, _) => Outgoing::Failed { reason: "cancelled by the receiver".into() },
            (Stage::Open | Stage::Held { .. } | Stage::Settled, _) => Outgoing::Pending,
        }
    }

    /// The payment that an invoice of this ledger asks for.
    pub fn hash_of(&self, bolt11: &str) -> Option<PaymentHash> {
        self.by_text.get(bolt11).copied()
    }

    /// Whose invoice it is.
    pub fn payee(&self, hash: PaymentHash) -> Option<Account> {
        self.bills.get(&hash).map(|bill| bill.payee)
    }

    /// An account's payments, newest first.
    pub fn history(&self, now: Timestamp, account: Account) -> Vec<Transaction> {
        let mut list: Vec<Transaction> = Vec::new();
        for (hash, bill) in &self.bills {
            let row = |incoming, state| Transaction {
                hash: *hash,
                incoming,
                state,
                amount: bill.invoice.amount,
                fee: Msat::ZERO,
                description: bill.description.clone(),
                at: bill.at,
                rail: Rail::Bolt11,
            };
            if bill.payee == account {
                list.push(row(true, incoming_word(self.incoming(now, account, *hash))));
            }
            if bill.payer == Some(account) {
                list.push(row(false, outgoing_word(&self.outgoing(account, *hash))));
            }
        }
        list.sort_by_key(|row| std::cmp::Reverse((row.at, row.hash)));
        list
    }

    /// Whether all money is where it should be.
    pub fn audit(&self) -> Audit {
        let in_flight: Msat =
            self.held.keys().filter_map(|(_, hash)| self.bills.get(hash)).map(|b| b.invoice.amount).sum();
        let balances: Vec<_> =
            self.accounts.iter().map(|holder| (holder.label.clone(), holder.balance)).collect();
        let sum: Msat = balances.iter().map(|(_, balance)| *balance).sum();
        let conserved = sum.checked_add(in_flight) == Some(self.issued);
        Audit { issued: self.issued, in_flight, balances, conserved, paid_again: self.paid_again }
    }
}

pub(super) const fn incoming_word(state: Incoming) -> &'static str {
    match state {
        Incoming::Open | Incoming::Unknown => "pending",
        Incoming::Held { .. } => "held",
        Incoming::Settled { .. } => "settled",
        Incoming::Cancelled => "cancelled",
        Incoming::Expired => "expired",
    }
}

pub(super) const fn outgoing_word(state: &Outgoing) -> &'static str {
    match state {
        Outgoing::Pending | Outgoing::Unknown => "pending",
        Outgoing::Settled { .. } => "settled",
        Outgoing::Failed { .. } => "failed",
    }
}
