//! Money to us: an invoice of the first mint, and the ecash for it, which is minted by itself once the
//! invoice is paid.

use std::{
    str::FromStr as _,
    sync::{Arc, atomic::Ordering},
};

use cdk::{
    Amount,
    amount::SplitTarget,
    nuts::{MintQuoteState, PaymentMethod, ProofsMethods as _},
};
use cdk_common::wallet::{TransactionDirection, TransactionStatus};
use lightning_invoice::Bolt11Invoice;
use serde_json::Value;

use crate::{
    book::{Payment, State, now},
    mint::{Mint, unclear},
    talk::Refusal,
    wallet::{Wallet, hash_of},
};

impl Wallet {
    /// Asks the first mint for an invoice. Nobody sees it before it is in the book.
    pub(crate) async fn make_invoice(&self, params: &Value) -> Result<Value, Refusal> {
        let amount = params["amount"].as_u64().filter(|amount| *amount > 0);
        let amount = amount.ok_or_else(|| Refusal::restricted("an invoice needs an amount"))?;
        let sats = whole(amount)?;
        let mint = self.mints.first().ok_or_else(|| Refusal::restricted("no mint is trusted"))?;
        let _turn = mint.turn.read().await;
        mint.check_keys(self.shared_book()).await?;
        self.has_room(mint, amount).await?;
        let described = params["description"].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let quote =
            |described| mint.kit.mint_quote(PaymentMethod::BOLT11, Some(Amount::from(sats)), described, None);
        let made = match quote(described.clone()).await {
            // Not every mint lets the invoice say what it is for.
            Err(cdk::Error::InvoiceDescriptionUnsupported) => quote(None).await,
            made => made,
        };
        let made = made.map_err(|error| unclear(&error))?;
        let invoice = self.checked(mint, &made.request, amount)?;
        let payment = Payment {
            hash: hash_of(&invoice),
            incoming: true,
            state: State::Open,
            mint: mint.name(),
            quote: made.id,
            operation: String::new(),
            bolt11: made.request,
            description: described.unwrap_or_default(),
            amount,
            fee: 0,
            preimage: None,
            reason: String::new(),
            created_at: now(),
            expires_at: invoice.expires_at().map_or(0, |at| at.as_secs()),
            settled_at: 0,
        };
        let book = self.book();
        if book.get(payment.hash)?.is_some() || book.escrow(payment.hash)?.is_some() {
            return Err(Refusal::fault(format!("the mint {} gave the same invoice twice", mint.url)));
        }
        book.put(&payment)?;
        book.put_payee(&mint.name(), &invoice.get_payee_pub_key().to_string())?;
        Ok(payment.value())
    }

    /// The invoice that a mint made, if it is what was asked for.
    fn checked(&self, mint: &Mint, bolt11: &str, amount: u64) -> Result<Bolt11Invoice, Refusal> {
        let wrong = |what: &str| Refusal::restricted(format!("the mint {} {what}", mint.url));
        let invoice = Bolt11Invoice::from_str(bolt11).map_err(|_| wrong("gave no invoice"))?;
        if invoice.currency() != self.network.currency() {
            return Err(wrong(&format!("is not on {}", self.network.name())));
        }
        if invoice.amount_milli_satoshis() != Some(amount) {
            return Err(wrong("gave an invoice for another amount"));
        }
        Ok(invoice)
    }

    /// Whether a mint may hold so much more, with all that it was asked to take already.
    pub(crate) async fn has_room(&self, mint: &Mint, amount: u64) -> Result<(), Refusal> {
        let open = self.book().open_at(&mint.name(), now())?;
        let open = open.saturating_add(self.book().locked_at(&mint.name(), true)?);
        let held = mint.holding().await?.saturating_mul(1_000);
        let would = held.saturating_add(open).saturating_add(amount);
        if would <= self.max_msat_per_mint {
            return Ok(());
        }
        Err(Refusal::restricted(format!(
            "the mint {} would hold {would} msat of yours with what is open and locked to you, and may hold {}; \
             spend some of it, or raise wallet.cashu.max_msat_per_mint",
            mint.url, self.max_msat_per_mint
        )))
    }

    /// Takes in the ecash for an invoice, if that is paid. Safe to repeat: the secrets of the ecash are in
    /// the store before the mint is asked to sign them.
    pub(crate) async fn collect(&self, mint: &Arc<Mint>, mut payment: Payment) -> Result<(), Refusal> {
        let _turn = mint.turn.read().await;
        let quote =
            mint.kit.check_mint_quote_status(&payment.quote).await.map_err(|error| unclear(&error))?;
        let sats = match quote.state {
            MintQuoteState::Unpaid => return Ok(()),
            MintQuoteState::Paid => {
                mint.untidy.store(true, Ordering::Release);
                let minted = mint.kit.mint(&payment.quote, SplitTarget::default(), None).await;
                let minted = minted.map_err(|error| unclear(&error))?;
                u64::from(minted.total_amount().map_err(Refusal::fault)?)
            }
            // Signed before, and taken in by what made up for a crash. Only the ecash counts.
            MintQuoteState::Issued => match self.minted_before(mint, &payment.quote).await? {
                Some(sats) => sats,
                None => {
                    mint.untidy.store(true, Ordering::Release);
                    return Err(Refusal::fault("the mint says that it gave ecash which is not here yet"));
                }
            },
        };
        payment.amount = sats.saturating_mul(1_000);
        payment.state = State::Settled;
        payment.settled_at = now();
        self.book().put(&payment)?;
        self.mouth.notify("payment_received", &payment.value());
        Ok(())
    }

    /// What the store says that a quote brought, in satoshis.
    async fn minted_before(&self, mint: &Mint, quote: &str) -> Result<Option<u64>, Refusal> {
        let all = mint.kit.list_transactions(Some(TransactionDirection::Incoming)).await;
        let all = all.map_err(Refusal::fault)?;
        let ours = all.iter().filter(|one| one.quote_id.as_deref() == Some(quote));
        let done = ours.filter(|one| one.status == TransactionStatus::Completed);
        Ok(done.map(|one| u64::from(one.amount)).reduce(|sum, one| sum + one))
    }
}

/// An amount of millisatoshis in satoshis.
pub(crate) fn whole(msat: u64) -> Result<u64, Refusal> {
    if msat.is_multiple_of(1_000) {
        Ok(msat / 1_000)
    } else {
        Err(Refusal::restricted(format!("ecash comes in whole satoshis, and {msat} msat are not")))
    }
}
