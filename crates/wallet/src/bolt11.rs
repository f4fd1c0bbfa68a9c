//! Reading BOLT11 invoices, and refusing those that must not be paid.

use std::str::FromStr;

use lightning_invoice::{Bolt11Invoice, Bolt11InvoiceDescriptionRef, Currency};
use openagents_types::{Invoice, Millis, Msat, Network, PaymentHash, Timestamp};

/// Longest invoice that is read, in bytes.
const LONGEST: usize = 4_096;

/// How long an invoice must still be payable when a payment begins, so that it cannot expire on the way.
pub const LEAST_LEFT: Millis = Millis::from_secs(30);

/// The most blocks that a payment may be locked for: two weeks (P2).
const MOST_CLTV: u64 = 2_016;

/// Why an invoice is refused. Nothing was paid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvoiceError {
    /// Longer than any honest one.
    #[error("the invoice has {0} bytes, more than any honest one")]
    TooLong(usize),
    /// Not an invoice, or its signature is wrong.
    #[error("not a BOLT11 invoice: {0}")]
    Malformed(String),
    /// It names no amount, so the payer would have to guess.
    #[error("the invoice names no amount")]
    NoAmount,
    /// More than all bitcoin.
    #[error("the invoice asks for more than there is")]
    TooMuch,
    /// It would lock the payment for too long.
    #[error("the invoice would lock the payment for {0} blocks")]
    LockedTooLong(u64),
    /// It has expired, or is about to.
    #[error("the invoice has expired or is about to")]
    Expired,
}

/// Reads an invoice, with or without `lightning:` before it. An expired one can be read; see [`payable`].
///
/// # Errors
/// It is not an invoice, or not one that could ever be paid.
pub fn decode(text: &str) -> Result<Invoice, InvoiceError> {
    if text.len() > LONGEST {
        return Err(InvoiceError::TooLong(text.len()));
    }
    let lower = text.trim().to_lowercase();
    let bolt11 = lower.strip_prefix("lightning:").unwrap_or(&lower);
    // Parsing checks the signature against the payee's key.
    let invoice =
        Bolt11Invoice::from_str(bolt11).map_err(|error| InvoiceError::Malformed(error.to_string()))?;
    let amount = Msat::new(invoice.amount_milli_satoshis().ok_or(InvoiceError::NoAmount)?);
    if amount.is_zero() {
        return Err(InvoiceError::NoAmount);
    }
    if amount > Msat::MAX {
        return Err(InvoiceError::TooMuch);
    }
    let blocks = invoice.min_final_cltv_expiry_delta();
    if blocks > MOST_CLTV {
        return Err(InvoiceError::LockedTooLong(blocks));
    }
    let hash: &[u8] = invoice.payment_hash().as_ref();
    Ok(Invoice {
        bolt11: bolt11.to_owned(),
        payment_hash: PaymentHash::from_bytes(hash.try_into().map_err(|_| InvoiceError::NoAmount)?),
        amount,
        expires_at: expires_at(&invoice),
        network: network(&invoice.currency()),
    })
}

/// What an invoice says it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// These words.
    Text(String),
    /// Words with this SHA-256, which whoever made the invoice has told elsewhere.
    Hash([u8; 32]),
}

/// What an invoice that was [`decode`]d is for.
///
/// # Errors
/// It is not an invoice.
pub fn purpose(bolt11: &str) -> Result<Purpose, InvoiceError> {
    let invoice =
        Bolt11Invoice::from_str(bolt11).map_err(|error| InvoiceError::Malformed(error.to_string()))?;
    Ok(match invoice.description() {
        Bolt11InvoiceDescriptionRef::Direct(words) => Purpose::Text(words.to_string()),
        Bolt11InvoiceDescriptionRef::Hash(hash) => {
            let bytes: &[u8] = hash.0.as_ref();
            Purpose::Hash(bytes.try_into().map_err(|_| InvoiceError::NoAmount)?)
        }
    })
}

fn expires_at(invoice: &Bolt11Invoice) -> Timestamp {
    invoice.expires_at().map_or(Timestamp::NEVER, |at| Timestamp::from_secs(at.as_secs()))
}

const fn network(currency: &Currency) -> Network {
    match currency {
        Currency::Bitcoin => Network::Mainnet,
        Currency::BitcoinTestnet => Network::Testnet,
        Currency::Regtest | Currency::Simnet => Network::Regtest,
        Currency::Signet => Network::Signet,
    }
}

/// Whether there is still time to pay an invoice.
///
/// # Errors
/// Less than [`LEAST_LEFT`] is left.
pub fn payable(invoice: &Invoice, now: Timestamp) -> Result<(), InvoiceError> {
    if invoice.expires_at < now.after(LEAST_LEFT) { Err(InvoiceError::Expired) } else { Ok(()) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]
mod tests {
    use std::time::Duration;

    use lightning_invoice::{InvoiceBuilder, PaymentSecret};
    use nostr::{
        hashes::{Hash, sha256},
        secp256k1::{Secp256k1, SecretKey},
    };

    use super::*;

    const MADE: u64 = 1_700_000_000;

    fn write(currency: Currency, amount: Option<u64>, cltv: u64) -> String {
        let key = SecretKey::from_slice(&[1; 32]).unwrap();
        let invoice = InvoiceBuilder::new(currency)
            .description("work".into())
            .payment_hash(sha256::Hash::hash(&[2; 32]))
            .payment_secret(PaymentSecret([3; 32]))
            .duration_since_epoch(Duration::from_secs(MADE))
            .expiry_time(Duration::from_secs(600))
            .min_final_cltv_expiry_delta(cltv);
        let invoice = match amount {
            Some(amount) => invoice.amount_milli_satoshis(amount),
            None => invoice,
        };
        invoice.build_signed(|m| Secp256k1::new().sign_ecdsa_recoverable(m, &key)).unwrap().to_string()
    }

    fn read(text: &str) -> Result<Invoice, InvoiceError> {
        decode(text)
    }

    #[test]
    fn an_invoice_says_what_was_written_into_it() {
        let networks = [
            (Currency::Bitcoin, Network::Mainnet),
            (Currency::BitcoinTestnet, Network::Testnet),
            (Currency::Regtest, Network::Regtest),
            (Currency::Signet, Network::Signet),
        ];
        for (currency, network) in networks {
            let invoice = read(&write(currency, Some(21_001), 144)).unwrap();
            assert_eq!((invoice.amount, invoice.network), (Msat::new(21_001), network));
            assert_eq!(invoice.payment_hash, openagents_types::Preimage::from_bytes([2; 32]).hash());
            assert_eq!(invoice.expires_at, Timestamp::from_secs(MADE + 600));
        }
    }

    #[test]
    fn case_and_scheme_do_not_matter() {
        let text = write(Currency::Regtest, Some(1), 144);
        for other in [text.to_uppercase(), format!("lightning:{text}"), format!(" LIGHTNING:{text}\n")] {
            assert_eq!(read(&other), read(&text));
        }
    }

    #[test]
    fn what_must_not_be_paid_is_refused() {
        assert_eq!(read(&write(Currency::Regtest, None, 144)), Err(InvoiceError::NoAmount));
        assert_eq!(read(&write(Currency::Regtest, Some(1), 2_017)), Err(InvoiceError::LockedTooLong(2_017)));
        assert_eq!(read(&"l".repeat(LONGEST + 1)), Err(InvoiceError::TooLong(LONGEST + 1)));
        for text in ["", "lnbcrt1", "lightning:", "lnurl1dp68gurn8ghj7", "\u{130}"] {
            assert!(matches!(read(text), Err(InvoiceError::Malformed(_))), "{text}");
        }
    }

    #[test]
    fn no_altered_letter_is_accepted() {
        let text = write(Currency::Regtest, Some(21_000), 144);
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] = if bytes[at] == b'q' { b'p' } else { b'q' };
            assert!(read(std::str::from_utf8(&bytes).unwrap()).is_err(), "letter {at}");
        }
    }

    #[test]
    fn an_invoice_about_to_expire_is_not_payable() {
        let invoice = read(&write(Currency::Regtest, Some(1), 144)).unwrap();
        assert_eq!(payable(&invoice, Timestamp::from_secs(MADE + 570)), Ok(()));
        assert_eq!(payable(&invoice, Timestamp::from_secs(MADE + 571)), Err(InvoiceError::Expired));
    }
}
