//! What a bitcoin costs in a currency: a price as a server says it, kept as a whole number of the currency's smallest
//! unit, with what an amount is worth at it. The engine knows nothing of currencies; whom to ask is in `source`.

mod source;

use std::{fmt, str::FromStr};

use openagents_api::FiatView;
use openagents_types::{Millis, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use source::{Prices, Source};

/// No bitcoin costs more, in units of any currency: a price above it is a mistake.
const MOST: u64 = 1_000_000_000;

/// How long a price is good for.
const GOOD_FOR: Millis = Millis::from_secs(3_600);

/// How far a price may lie ahead of what it is used for: it may have come while a batch was being put together.
const AHEAD: Millis = Millis::from_secs(60);

/// Currencies without a smaller unit, and those with a thousandth (ISO 4217); all others have hundredths.
const WHOLE: &[&str] = &[
    "BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "UYI", "VND", "VUV", "XAF",
    "XOF", "XPF",
];
const THOUSANDTHS: &[&str] = &["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"];

/// How many digits more are told of what is worth less than one unit: a satoshi is a fraction of a cent.
const FINER: u32 = 4;

/// A currency by its three letters (ISO 4217).
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Currency([u8; 3]);

/// What stands where a currency should is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a currency is three capital letters, such as \"EUR\"")]
pub struct CurrencyError;

impl Currency {
    /// The euro.
    pub const EUR: Self = Self(*b"EUR");

    /// Its letters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("???")
    }

    /// How many digits behind the point its smallest unit takes.
    fn digits(self) -> u32 {
        match self.as_str() {
            name if WHOLE.contains(&name) => 0,
            name if THOUSANDTHS.contains(&name) => 3,
            _ => 2,
        }
    }
}

impl FromStr for Currency {
    type Err = CurrencyError;

    fn from_str(text: &str) -> Result<Self, CurrencyError> {
        let letters: [u8; 3] = text.as_bytes().try_into().map_err(|_| CurrencyError)?;
        if letters.iter().all(u8::is_ascii_uppercase) { Ok(Self(letters)) } else { Err(CurrencyError) }
    }
}

impl TryFrom<String> for Currency {
    type Error = CurrencyError;

    fn try_from(text: String) -> Result<Self, CurrencyError> {
        text.parse()
    }
}

impl From<Currency> for String {
    fn from(currency: Currency) -> Self {
        currency.as_str().to_owned()
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why an answer holds no price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PriceError {
    /// It cannot be read at all.
    #[error("its answer is not JSON")]
    NotJson,
    /// Nothing is where the price should be.
    #[error("its answer has nothing at fiat.pointer")]
    Missing,
    /// What is there cannot be the price of a bitcoin.
    #[error("what stands at fiat.pointer is no price: a number above 0 and up to {MOST}")]
    NoPrice,
}

/// What one bitcoin costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Price {
    /// In which currency.
    pub currency: Currency,
    /// How much, in the currency's smallest unit.
    pub per_btc: u64,
    /// When it was told.
    pub at: Timestamp,
}

impl Price {
    /// Reads what a server said at `at`: the number or the decimal text that a pointer (RFC 6901) leads to.
    ///
    /// # Errors
    /// There is no price.
    pub fn read(body: &[u8], pointer: &str, currency: Currency, at: Timestamp) -> Result<Self, PriceError> {
        let answer: Value = serde_json::from_slice(body).map_err(|_| PriceError::NotJson)?;
        let text = match answer.pointer(pointer).ok_or(PriceError::Missing)? {
            Value::Number(number) => number.to_string(),
            Value::String(text) => text.trim().to_owned(),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
                return Err(PriceError::NoPrice);
            }
        };
        let digits = currency.digits();
        let most = MOST * 10_u64.pow(digits);
        let per_btc = smallest(&text, digits).filter(|price| (1..=most).contains(price));
        Ok(Self { currency, per_btc: per_btc.ok_or(PriceError::NoPrice)?, at })
    }

    /// Whether it tells what a bitcoin cost at a time.
    pub fn is_good_at(&self, time: Timestamp) -> bool {
        time.since(self.at) <= GOOD_FOR && self.at.since(time) <= AHEAD
    }

    /// The price itself as text.
    pub fn text(&self) -> String {
        decimal(u128::from(self.per_btc), self.currency.digits())
    }

    /// What an amount is worth at this price.
    pub fn of(&self, msat: i64) -> FiatView {
        FiatView {
            amount: self.amount(msat),
            currency: self.currency.as_str().to_owned(),
            per_btc: self.text(),
            at: self.at.millis(),
        }
    }

    /// From one unit on in the smallest unit of the currency, below it finer; half a digit is rounded up.
    fn amount(&self, msat: i64) -> String {
        let digits = self.currency.digits();
        // 10^11 millisatoshis are a bitcoin; FINER of these digits are kept.
        let fine = u128::from(msat.unsigned_abs()) * u128::from(self.per_btc);
        let fine = (fine + 5_000_000) / 10_000_000;
        let step = 10_u128.pow(FINER);
        let text = if fine >= 10_u128.pow(digits + FINER) {
            decimal((fine + step / 2) / step, digits)
        } else {
            short(decimal(fine, digits + FINER), digits)
        };
        if msat < 0 && fine > 0 { format!("-{text}") } else { text }
    }
}

/// Decimal text in the smallest unit, rounded; `None` if it is no plain number or larger than any price.
fn smallest(text: &str, digits: u32) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let plain = |text: &str| !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
    if !plain(whole) || !plain(part) {
        return None;
    }
    let whole: u64 = whole.parse().ok().filter(|whole| *whole <= MOST)?;
    let mut behind = part.bytes().map(|digit| u64::from(digit - b'0')).chain(std::iter::repeat(0));
    let units = behind.by_ref().take(digits as usize).fold(whole, |units, digit| units * 10 + digit);
    Some(units + u64::from(behind.next().is_some_and(|digit| digit >= 5)))
}

fn decimal(number: u128, digits: u32) -> String {
    if digits == 0 {
        return number.to_string();
    }
    let unit = 10_u128.pow(digits);
    format!("{}.{:0width$}", number / unit, number % unit, width = digits as usize)
}

/// Without zeros at the end, down to so many digits behind the point.
fn short(mut text: String, digits: u32) -> String {
    let least = text.find('.').map_or(text.len(), |point| point + 1 + digits as usize);
    while text.len() > least && text.ends_with('0') {
        text.pop();
    }
    text.trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]
    use super::*;

    fn read(body: &str, pointer: &str, currency: &str) -> Result<u64, PriceError> {
        let price =
            Price::read(body.as_bytes(), pointer, currency.parse().unwrap(), Timestamp::from_secs(1))?;
        Ok(price.per_btc)
    }

    #[test]
    fn a_price_is_read_where_the_pointer_leads() {
        for (body, pointer, currency, expected) in [
            (r#"{"bitcoin":{"eur":57321.125}}"#, "/bitcoin/eur", "EUR", 5_732_113),
            (r#"{"bitcoin":{"eur":"57321.124"}}"#, "/bitcoin/eur", "EUR", 5_732_112),
            (r#"{"a/b":{"m~n":[1,{"":" 2.5 "}]}}"#, "/a~1b/m~0n/1/", "USD", 250),
            ("57321", "", "EUR", 5_732_100),
            ("\"1000000000\"", "", "EUR", 100_000_000_000),
            ("9100000.5", "", "JPY", 9_100_001),
            ("17000.0005", "", "KWD", 17_000_001),
            ("1e5", "", "EUR", 10_000_000),
            ("0.005", "", "EUR", 1),
        ] {
            assert_eq!(read(body, pointer, currency), Ok(expected), "{body}");
        }
    }

    #[test]
    fn what_is_no_price_is_none() {
        for body in [
            "0",
            "-1",
            "0.004",
            "1000000000.01",
            "1e300",
            "\"NaN\"",
            "\"inf\"",
            "\"1e5\"",
            "\"0x10\"",
            "\"\"",
            "\"-5\"",
            "\"1.\"",
            "\".5\"",
            "\"1,000\"",
            "\"1 000\"",
            "null",
            "true",
            "[1]",
            "{}",
            "\"99999999999999999999999999\"",
            "\"\u{661}\"",
        ] {
            assert_eq!(read(body, "", "EUR"), Err(PriceError::NoPrice), "{body}");
        }
        for body in ["", "NaN", "Infinity", "<!doctype html><p>Sorry", "57321 EUR", "{\"eur\":"] {
            assert_eq!(read(body, "/eur", "EUR"), Err(PriceError::NotJson), "{body}");
        }
        let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(read(&deep, "", "EUR"), Err(PriceError::NotJson));
        for pointer in ["/usd", "/eur/0", "/eur/", "eur", "/EUR"] {
            assert_eq!(read("{\"eur\":1}", pointer, "EUR"), Err(PriceError::Missing), "{pointer}");
        }
    }

    #[test]
    fn an_amount_is_worth_what_the_price_says_and_is_never_a_float() {
        let at = |per_btc, currency: &str| Price {
            currency: currency.parse().unwrap(),
            per_btc,
            at: Timestamp::default(),
        };
        for (price, msat, expected) in [
            (at(5_732_112, "EUR"), 100_000_000_000, "57321.12"),
            (at(5_732_112, "EUR"), 1_010, "0.000579"),
            (at(5_732_112, "EUR"), -21_000, "-0.012037"),
            (at(5_732_112, "EUR"), 1_000_000_000, "573.21"),
            (at(5_000_000, "EUR"), 200_000_000, "100.00"),
            (at(5_000_000, "EUR"), 1_000_000, "0.50"),
            (at(5_000_000, "EUR"), 1, "0.000001"),
            (at(5_000_000, "EUR"), -0, "0.00"),
            (at(1, "EUR"), -1, "0.00"),
            (at(9_100_000, "JPY"), 1_000, "0.091"),
            (at(9_100_000, "JPY"), 100_000_000, "9100"),
            (at(9_100_000, "JPY"), 0, "0"),
            (at(17_000_000, "KWD"), 100_000_000, "17.000"),
        ] {
            assert_eq!(price.of(msat).amount, expected, "{msat} at {price:?}");
        }
        let most = at(100_000_000_000, "EUR");
        assert_eq!(most.of(i64::MIN).amount, "-92233720368547758.08", "nothing overflows");
        assert_eq!((most.text().as_str(), at(7, "JPY").text().as_str()), ("1000000000.00", "7"));
    }

    #[test]
    fn a_price_is_good_for_an_hour_and_never_for_what_came_before_it() {
        let price = Price { currency: Currency::EUR, per_btc: 1, at: Timestamp::from_secs(10_000) };
        for (secs, is_good) in
            [(10_000, true), (13_600, true), (13_601, false), (9_940, true), (9_939, false)]
        {
            assert_eq!(price.is_good_at(Timestamp::from_secs(secs)), is_good, "{secs}");
        }
    }

    #[test]
    fn a_currency_is_three_capital_letters() {
        assert_eq!("CHF".parse::<Currency>().unwrap().to_string(), "CHF");
        for text in ["", "eur", "EURO", "EU", "E1R", "€UR", "ÄR"] {
            assert_eq!(text.parse::<Currency>(), Err(CurrencyError), "{text}");
        }
    }
}
