//! Money by us: ecash handed to a mint, which pays an invoice for it (a melt).
//!
//! A payment is `Begun` while nothing can have been sent, and `Sent` from before the mint is told to pay until
//! it is known how that ended. A mint that says "unpaid" may still be reading our request, so a payment counts
//! as failed only once its ecash was changed for new: then nobody can be paid with it any more.

use std::{
    collections::HashMap,
    str::FromStr as _,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use cdk::{
    nuts::{MeltQuoteState, PaymentMethod},
    wallet::{MeltOutcome, PreparedMelt},
};
use cdk_common::bitcoin::hashes::{Hash as _, sha256};
use lightning_invoice::Bolt11Invoice;
use serde_json::Value;
use uuid::Uuid;

use crate::{
    book::{Bytes, Payment, State, now},
    eprint,
    incoming::whole,
    mint::{Mint, TakenBack, unclear},
    talk::Refusal,
    wallet::{Wallet, hash_of},
};

/// How often whoever waits for a payment looks into the book.
const LOOK: Duration = Duration::from_millis(100);

/// How long ecash that other payments are using is waited for: their change.
const CHANGE: Duration = Duration::from_secs(10);

/// What is to be paid.
struct Wanted<'a> {
    invoice: &'a Bolt11Invoice,
    sats: u64,
    /// The most that it may cost on top, in satoshis.
    max_fee: Option<u64>,
}

impl Wallet {
    /// Pays, unless the hash is in the book already. A mint is told to once, ever.
    pub(crate) async fn pay(self: &Arc<Self>, params: &Value) -> Result<Value, Refusal> {
        let (invoice, amount) = self.payable(params)?;
        let hash = hash_of(&invoice);
        if let Some(begun) = self.begin(&invoice, amount)? {
            let wallet = self.clone();
            let max_fee = params["max_fee"].as_u64().map(|fee| fee / 1_000);
            // Whoever asked may be gone before it is over.
            let paying = tokio::spawn(async move { wallet.carry_out(begun, &invoice, max_fee).await });
            paying.await.map_err(Refusal::fault)??;
        }
        self.until_over(hash).await
    }

    /// Writes down that an invoice is to be paid; `None` if it was paid, or tried, before.
    fn begin(&self, invoice: &Bolt11Invoice, amount: u64) -> Result<Option<Payment>, Refusal> {
        let book = self.book();
        match book.get(hash_of(invoice))? {
            Some(known) if known.incoming => return Err(Refusal::failed("the invoice is this wallet's own")),
            Some(_) => return Ok(None),
            None => {}
        }
        if book.escrow(hash_of(invoice))?.is_some() {
            return Err(Refusal::failed("ecash is locked to the invoice's payment hash, which serves once"));
        }
        if invoice.expires_at().is_none_or(|at| at.as_secs() <= now()) {
            return Err(Refusal::failed("the invoice has expired"));
        }
        let payment = Payment::outgoing(invoice, amount);
        book.put(&payment)?;
        Ok(Some(payment))
    }

    /// An invoice of this network with an amount that ecash can pay.
    fn payable(&self, params: &Value) -> Result<(Bolt11Invoice, u64), Refusal> {
        let invoice = Bolt11Invoice::from_str(params["invoice"].as_str().unwrap_or_default())
            .map_err(|error| Refusal::failed(format!("no invoice: {error}")))?;
        if invoice.currency() != self.network.currency() {
            return Err(Refusal::failed("the invoice is of another network"));
        }
        let amount = invoice.amount_milli_satoshis().filter(|amount| *amount > 0);
        let amount = amount.ok_or_else(|| Refusal::failed("the invoice names no amount"))?;
        if whole(amount).is_err() {
            return Err(Refusal::failed("the invoice asks for parts of a satoshi, and ecash has none"));
        }
        Ok((invoice, amount))
    }

    /// How a payment ended, once it has.
    async fn until_over(&self, hash: Bytes) -> Result<Value, Refusal> {
        loop {
            let known = self.book().get(hash)?;
            match known {
                None => return Err(Refusal::fault("nothing was sent")),
                Some(known) => match known.state {
                    State::Settled | State::Unproven => return Ok(known.value()),
                    State::Failed => return Err(Refusal::failed(known.reason)),
                    State::Open | State::Begun | State::Sent => tokio::time::sleep(LOOK).await,
                },
            }
        }
    }

    /// Pays at the first mint that can, or takes the payment off the book: then nothing was sent.
    async fn carry_out(
        &self,
        payment: Payment,
        invoice: &Bolt11Invoice,
        max_fee: Option<u64>,
    ) -> Result<(), Refusal> {
        let hash = payment.hash;
        let Some(_busy) = self.work_on(hash) else { return Ok(()) };
        let wanted = Wanted { invoice, sats: payment.amount / 1_000, max_fee };
        let mut refused = None;
        for mint in &self.mints {
            if mint.balance().await? < wanted.sats {
                continue;
            }
            match self.pay_at(mint, payment.clone(), &wanted).await {
                Ok(()) => return Ok(()),
                Err(refusal) => refused = Some(refusal),
            }
            if self.book().get(hash)?.is_none_or(|payment| payment.state != State::Begun) {
                return Ok(());
            }
        }
        self.book().remove_unsent(hash)?;
        Err(refused.unwrap_or_else(|| {
            Refusal::insufficient(format!("no mint holds {} sat of yours to spend now", wanted.sats))
        }))
    }

    /// Pays at a mint. An error while the payment is still `Begun` means that nothing was sent.
    async fn pay_at(
        &self,
        mint: &Arc<Mint>,
        mut payment: Payment,
        wanted: &Wanted<'_>,
    ) -> Result<(), Refusal> {
        let _turn = mint.turn.read().await;
        mint.check_keys(self.shared_book()).await?;
        if mint.payee(self.shared_book()).await? == wanted.invoice.get_payee_pub_key().to_string() {
            return Err(Refusal::failed(format!(
                "the invoice is the mint {}'s own, and a payment inside a mint proves nothing; pay from another mint",
                mint.url
            )));
        }
        let prepared = prepare(mint, wanted).await?;
        payment.mint = mint.name();
        payment.quote.clone_from(&prepared.quote().id);
        payment.operation = prepared.operation_id().to_string();
        payment.state = State::Sent;
        self.book().put(&payment)?;
        mint.untidy.store(true, Ordering::Release);
        match prepared.confirm_prefer_async().await {
            Ok(MeltOutcome::Paid(paid)) => {
                let (proof, fee) = (paid.payment_proof().map(str::to_owned), u64::from(paid.fee_paid()));
                self.paid(payment, proof.as_deref(), fee)
            }
            Ok(MeltOutcome::Pending(_)) => Ok(()),
            Err(error) => {
                eprint(format_args!("{}: a payment is unclear: {error}", mint.url));
                // If even that is not answered, it is asked again later.
                let _ = self.settle_unclear(mint, payment).await;
                Ok(())
            }
        }
    }

    /// Asks how a payment of ours stands, and writes down how it ended, if it has. Safe to repeat.
    pub(crate) async fn conclude(&self, mint: &Arc<Mint>, payment: Payment) -> Result<(), Refusal> {
        let _turn = mint.turn.read().await;
        self.settle_unclear(mint, payment).await
    }

    async fn settle_unclear(&self, mint: &Mint, mut payment: Payment) -> Result<(), Refusal> {
        let operation = Uuid::from_str(&payment.operation).map_err(Refusal::fault)?;
        let store = |error| unclear(&cdk::Error::Database(error));
        let quote =
            mint.kit.check_melt_quote_status(&payment.quote).await.map_err(|error| unclear(&error))?;
        if quote.state == MeltQuoteState::Paid {
            let fee = mint.account_for(operation).await.map_err(|error| unclear(&error))?;
            self.set_aside_again(mint).await?;
            return self.paid(payment, quote.payment_proof.as_deref(), fee);
        }
        if mint.store.get_saga(&operation).await.map_err(store)?.is_some() {
            return Ok(());
        }
        match mint.take_back(operation).await.map_err(|error| unclear(&error))? {
            None => return Ok(()),
            Some(TakenBack::Spent) => {
                // What spent it decides: the payment, of which the mint knows by now, or we.
                let quote = mint.kit.check_melt_quote_status(&payment.quote).await;
                match quote.map_err(|error| unclear(&error))?.state {
                    MeltQuoteState::Unpaid | MeltQuoteState::Failed => {}
                    MeltQuoteState::Paid | MeltQuoteState::Pending | MeltQuoteState::Unknown => return Ok(()),
                }
            }
            Some(TakenBack::Changed | TakenBack::NeverHanded) => {}
        }
        payment.state = State::Failed;
        payment.reason = format!("the mint {} could not pay it", mint.url);
        self.book().put(&payment)?;
        Ok(())
    }

    /// The mint says that a payment arrived. Only its preimage proves that.
    fn paid(&self, mut payment: Payment, proof: Option<&str>, fee: u64) -> Result<(), Refusal> {
        let mut preimage = [0; 32];
        let read = hex::decode_to_slice(proof.unwrap_or_default(), &mut preimage);
        let proven = read.is_ok() && sha256::Hash::hash(&preimage).to_byte_array() == payment.hash;
        payment.state = if proven { State::Settled } else { State::Unproven };
        payment.preimage = proven.then_some(preimage);
        payment.fee = fee.saturating_mul(1_000);
        payment.settled_at = now();
        self.book().put(&payment)?;
        if proven {
            self.mouth.notify("payment_sent", &payment.value());
        }
        Ok(())
    }
}

/// Reserves ecash for a payment, if what it costs is within the limit. Nothing is handed over.
async fn prepare<'a>(mint: &'a Mint, wanted: &Wanted<'_>) -> Result<PreparedMelt<'a>, Refusal> {
    let dear = |cost: u64, most: u64| {
        Refusal::failed(format!(
            "the mint {} wants up to {cost} sat for it, and it may have {most}",
            mint.url
        ))
    };
    let quote = mint.kit.melt_quote(PaymentMethod::BOLT11, wanted.invoice.to_string(), None, None).await;
    let quote = quote.map_err(|error| unsent(mint, &error))?;
    if u64::from(quote.amount) != wanted.sats {
        return Err(Refusal::failed(format!("the mint {} wants another amount", mint.url)));
    }
    let reserve = u64::from(quote.fee_reserve);
    if let Some(most) = wanted.max_fee.filter(|most| reserve > *most) {
        return Err(dear(reserve, most));
    }
    let start = Instant::now();
    let prepared = loop {
        match mint.kit.prepare_melt(&quote.id, HashMap::new()).await {
            Ok(prepared) => break prepared,
            Err(cdk::Error::InsufficientFunds) => {
                let all = mint.holding().await?;
                if all < wanted.sats + reserve || start.elapsed() > CHANGE {
                    return Err(Refusal::insufficient(format!(
                        "{} sat and up to {reserve} for the mint, of {all} at {}",
                        wanted.sats, mint.url
                    )));
                }
                tokio::time::sleep(LOOK).await;
            }
            Err(error) => return Err(unsent(mint, &error)),
        }
    };
    let cost = reserve.saturating_add(u64::from(prepared.total_fee_with_swap()));
    match wanted.max_fee.filter(|most| cost > *most) {
        None => Ok(prepared),
        Some(most) => {
            prepared.cancel().await.map_err(|error| unclear(&error))?;
            Err(dear(cost, most))
        }
    }
}

/// What a mint answered before it was told to pay. One that is silent has not refused.
fn unsent(mint: &Mint, error: &cdk::Error) -> Refusal {
    let text: String = error.to_string().chars().take(200).collect();
    if error.is_definitive_failure() || matches!(error, cdk::Error::UnknownErrorResponse(_)) {
        Refusal::failed(format!("the mint {} does not pay it: {text}", mint.url))
    } else {
        Refusal::fault(format!("the mint {} gives no answer, and nothing was sent: {text}", mint.url))
    }
}

impl Payment {
    fn outgoing(invoice: &Bolt11Invoice, amount: u64) -> Self {
        Self {
            hash: hash_of(invoice),
            incoming: false,
            state: State::Begun,
            mint: String::new(),
            quote: String::new(),
            operation: String::new(),
            bolt11: invoice.to_string(),
            description: invoice.description().to_string(),
            amount,
            fee: 0,
            preimage: None,
            reason: String::new(),
            created_at: now(),
            expires_at: invoice.expires_at().map_or(0, |at| at.as_secs()),
            settled_at: 0,
        }
    }
}
