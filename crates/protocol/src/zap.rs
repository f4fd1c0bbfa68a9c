//! Zap receipts (NIP-57, kind 9735), with every check of its Appendix F.
//!
//! A receipt that passes is still only a claim of the recipient's LNURL server. Whether money came
//! is for the wallet to say, asked by the payment hash.

use lightning_invoice::{Bolt11Invoice, Bolt11InvoiceDescriptionRef};
use nostr::PublicKey;
use openagents_types::{CustomerKey, EventId, Msat, PaymentHash, ProviderKey};
use sha2::{Digest, Sha256};

use crate::{
    Limits, Verified, accept,
    message::customer,
    tags::{self, Raw},
};

/// The kind of a receipt.
pub const KIND: u16 = 9735;
/// The kind of the request that a receipt embeds.
const REQUEST_KIND: u16 = 9734;

/// What a receipt must be about, known before it came.
#[derive(Clone, Debug)]
pub struct Expected<'a> {
    /// The `nostrPubkey` that the recipient's LNURL server announces: the only author believed.
    pub server: PublicKey,
    /// Who was to be paid.
    pub recipient: ProviderKey,
    /// The event that was to be zapped.
    pub about: Option<EventId>,
    /// The recipient's LNURL, in bech32.
    pub lnurl: Option<&'a str>,
}

/// What a receipt claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The payment to ask the wallet for.
    pub payment_hash: PaymentHash,
    /// What the invoice asked.
    pub amount: Msat,
    /// The invoice.
    pub bolt11: String,
    /// Who asked to pay.
    pub sender: CustomerKey,
    /// What was zapped.
    pub about: Option<EventId>,
}

/// Why a receipt is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ZapError {
    /// Not a receipt.
    #[error("kind {0} is not a zap receipt")]
    Kind(u16),
    /// Signed by somebody else than the LNURL server.
    #[error("the receipt is signed by {0}, not by the recipient's LNURL server")]
    Author(String),
    /// A tag is missing or stands more than once.
    #[error("the receipt or its request needs exactly one tag {0:?}")]
    Tag(&'static str),
    /// The embedded request is no sound event.
    #[error("the embedded zap request is unsound: {0}")]
    Request(String),
    /// The invoice cannot be read.
    #[error("the receipt's invoice cannot be read: {0}")]
    Invoice(String),
    /// The invoice was made for something else.
    #[error("the invoice does not commit to the embedded request")]
    Description,
    /// Invoice and request name different amounts, or none.
    #[error("the invoice asks {invoice:?} msat, the zap request {request:?}")]
    Amount {
        /// What the invoice asks.
        invoice: Option<u64>,
        /// What the request says.
        request: Option<String>,
    },
    /// The receipt is about something else.
    #[error("tag {0:?} of the receipt or its request is not what was expected")]
    Mismatch(&'static str),
}

/// What a receipt says was zapped, unchecked.
pub fn about(receipt: &Verified) -> Option<EventId> {
    tags::first(&tags::from_tags(receipt.event().tags.iter()), tags::EVENT)?.parse().ok()
}

/// Checks a receipt against what it must be about.
///
/// # Errors
/// Any check of Appendix F fails.
pub fn check(receipt: &Verified, expected: &Expected<'_>) -> Result<Receipt, ZapError> {
    let event = receipt.event();
    if event.kind.as_u16() != KIND {
        return Err(ZapError::Kind(event.kind.as_u16()));
    }
    if event.pubkey != expected.server {
        return Err(ZapError::Author(event.pubkey.to_hex()));
    }
    let outer = tags::from_tags(event.tags.iter());
    let description = one(&outer, tags::DESCRIPTION)?;
    let request = embedded(description)?;
    let inner = tags::from_tags(request.event().tags.iter());
    let about = parties(&outer, &inner, expected)?;
    let bolt11 = one(&outer, tags::BOLT11)?;
    let invoice: Bolt11Invoice = bolt11.parse().map_err(|error| ZapError::Invoice(format!("{error}")))?;
    commits(&invoice, description)?;
    let hash: &[u8] = invoice.payment_hash().as_ref();
    let hash = hash.try_into().map_err(|_| ZapError::Invoice("its payment hash is not 32 bytes".into()))?;
    Ok(Receipt {
        payment_hash: PaymentHash::from_bytes(hash),
        amount: amount(&invoice, &inner)?,
        bolt11: bolt11.to_owned(),
        sender: customer(&request),
        about,
    })
}

fn embedded(description: &str) -> Result<Verified, ZapError> {
    let request =
        accept(description, &Limits::default()).map_err(|error| ZapError::Request(error.to_string()))?;
    let kind = request.event().kind.as_u16();
    if kind == REQUEST_KIND { Ok(request) } else { Err(ZapError::Request(format!("it is of kind {kind}"))) }
}

/// Recipient, zapped event and LNURL: the same in request, receipt and expectation.
fn parties(outer: &[Raw], inner: &[Raw], expected: &Expected<'_>) -> Result<Option<EventId>, ZapError> {
    let recipient = expected.recipient.to_hex();
    if one(inner, tags::KEY)? != recipient || one(outer, tags::KEY)? != recipient {
        return Err(ZapError::Mismatch(tags::KEY));
    }
    let (asked, said) = (at_most_one(inner, tags::EVENT)?, at_most_one(outer, tags::EVENT)?);
    let about = expected.about.map(EventId::to_hex);
    if asked != said || asked != about.as_deref() {
        return Err(ZapError::Mismatch(tags::EVENT));
    }
    let lnurl = at_most_one(inner, tags::LNURL)?;
    if let (Some(said), Some(ours)) = (lnurl, expected.lnurl)
        && !said.eq_ignore_ascii_case(ours)
    {
        return Err(ZapError::Mismatch(tags::LNURL));
    }
    Ok(expected.about)
}

fn commits(invoice: &Bolt11Invoice, description: &str) -> Result<(), ZapError> {
    let ours = Sha256::digest(description.as_bytes());
    match invoice.description() {
        Bolt11InvoiceDescriptionRef::Hash(hash) if AsRef::<[u8]>::as_ref(&hash.0) == ours.as_slice() => {
            Ok(())
        }
        Bolt11InvoiceDescriptionRef::Hash(_) | Bolt11InvoiceDescriptionRef::Direct(_) => {
            Err(ZapError::Description)
        }
    }
}

/// What the invoice asks; the request may leave the amount out, but not name another.
fn amount(invoice: &Bolt11Invoice, inner: &[Raw]) -> Result<Msat, ZapError> {
    let asked = invoice.amount_milli_satoshis();
    let said = at_most_one(inner, tags::AMOUNT)?;
    match asked {
        Some(msat) if said.is_none_or(|text| text.parse() == Ok(msat)) => Ok(Msat::new(msat)),
        _ => Err(ZapError::Amount {
            invoice: asked,
            request: said.map(|text| text.chars().take(32).collect()),
        }),
    }
}

fn one<'a>(found: &'a [Raw], name: &'static str) -> Result<&'a str, ZapError> {
    at_most_one(found, name)?.ok_or(ZapError::Tag(name))
}

fn at_most_one<'a>(found: &'a [Raw], name: &'static str) -> Result<Option<&'a str>, ZapError> {
    let mut values = tags::all(found, name);
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some([value, ..]), None) => Ok(Some(value)),
        _ => Err(ZapError::Tag(name)),
    }
}
