//! Millisatoshis, the only unit money has inside the program.

use std::{fmt, iter::Sum, str::FromStr};

use serde::{Deserialize, Serialize};

/// An amount of bitcoin in millisatoshis (1 sat = 1000 msat).
///
/// Arithmetic is checked: there is no `+`, so an overflow cannot pass unseen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Msat(u64);

impl Msat {
    /// No money.
    pub const ZERO: Self = Self(0);

    /// All bitcoin there will ever be: 21 million BTC. No honest amount is larger.
    pub const MAX: Self = Self(21_000_000 * 100_000_000 * 1000);

    /// `msat` millisatoshis.
    pub const fn new(msat: u64) -> Self {
        Self(msat)
    }

    /// `sat` satoshis.
    ///
    /// # Errors
    /// The amount does not fit.
    pub fn from_sat(sat: u64) -> Result<Self, AmountError> {
        sat.checked_mul(1000).map(Self).ok_or(AmountError::Overflow)
    }

    /// Reads satoshis with up to three decimals, such as `3` or `0.5`.
    ///
    /// # Errors
    /// It is no such number, or does not fit.
    pub fn parse_sat(text: &str) -> Result<Self, AmountError> {
        let not_a_number = || AmountError::NotANumber(text.chars().take(32).collect());
        let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
        if !is_digits(whole) || !is_digits(decimals) {
            return Err(not_a_number());
        }
        if decimals.len() > 3 {
            return Err(AmountError::TooFine(text.chars().take(32).collect()));
        }
        let whole = whole.parse().map_err(|_| AmountError::Overflow)?;
        let rest: u64 = format!("{decimals:0<3}").parse().map_err(|_| not_a_number())?;
        Self::from_sat(whole)?.checked_add(Self(rest)).ok_or(AmountError::Overflow)
    }

    /// The amount in millisatoshis.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Whole satoshis, rounded up: what an invoice for this amount must ask when its wallet knows
    /// only satoshis, so that the provider is never paid short.
    pub const fn to_sat_ceil(self) -> u64 {
        self.0.div_ceil(1000)
    }

    /// Whether this is no money at all.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The sum, or `None` on overflow.
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// The difference, or `None` if `other` is larger.
    pub const fn checked_sub(self, other: Self) -> Option<Self> {
        match self.0.checked_sub(other.0) {
            Some(rest) => Some(Self(rest)),
            None => None,
        }
    }

    /// The product, or `None` on overflow.
    pub const fn checked_mul(self, factor: u64) -> Option<Self> {
        match self.0.checked_mul(factor) {
            Some(product) => Some(Self(product)),
            None => None,
        }
    }

    /// The difference, or zero if `other` is larger.
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// The sum, or the largest representable amount. For displays and sort keys, never for a debt.
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sum for Msat {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Self::saturating_add)
    }
}

/// In satoshis, such as `3 sat` or `0.5 sat`.
impl fmt::Display for Msat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 1000, self.0 % 1000);
        if rest == 0 {
            write!(f, "{whole} sat")
        } else {
            write!(f, "{whole}.{} sat", format!("{rest:03}").trim_end_matches('0'))
        }
    }
}

/// Reads `1500`, `1500msat`, `3sat`, `3 sat` and `0.5sat`; a bare number is millisatoshis.
impl FromStr for Msat {
    type Err = AmountError;

    fn from_str(text: &str) -> Result<Self, AmountError> {
        let text = text.trim();
        let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
        match text[digits.len()..].trim() {
            "sat" | "sats" => Self::parse_sat(digits),
            "" | "msat" | "msats" => match digits.parse() {
                Ok(number) => Ok(Self(number)),
                Err(_) => Err(AmountError::NotANumber(text.chars().take(32).collect())),
            },
            unit => Err(AmountError::Unit(unit.chars().take(16).collect())),
        }
    }
}

/// Why an amount could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// The number is larger than the type.
    #[error("the amount is larger than all bitcoin")]
    Overflow,
    /// The text is no number in its unit.
    #[error("{0:?} is no amount; write it as 3sat, 0.5sat or 500msat")]
    NotANumber(String),
    /// Less than a millisatoshi.
    #[error("{0:?} is finer than a millisatoshi; a satoshi has three decimals")]
    TooFine(String),
    /// The unit is neither sat nor msat.
    #[error("unknown unit {0:?}; use sat or msat")]
    Unit(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_read_back_what_they_print() {
        for msat in [0, 1, 10, 999, 1000, 1500, 21_000_000 * 100_000_000 * 1000] {
            let amount = Msat::new(msat);
            assert_eq!(amount.to_string().parse(), Ok(amount));
        }
        for (msat, text) in [(500, "0.5 sat"), (1_010, "1.01 sat"), (7, "0.007 sat"), (3_000, "3 sat")] {
            assert_eq!(Msat::new(msat).to_string(), text);
        }
    }

    #[test]
    fn satoshis_have_up_to_three_decimals() {
        for (text, msat) in [("0.5", 500), ("1.234", 1_234), ("2", 2_000), ("0.0", 0), ("10.05", 10_050)] {
            assert_eq!(Msat::parse_sat(text), Ok(Msat::new(msat)), "{text}");
        }
        assert_eq!("0.5sat".parse(), Ok(Msat::new(500)));
        assert!(matches!(Msat::parse_sat("0.0001"), Err(AmountError::TooFine(_))));
        assert_eq!(Msat::parse_sat("99999999999999999999"), Err(AmountError::Overflow));
        for text in ["", ".", "1.", ".5", "-1", "+1", "1e3", "1,5", " 1"] {
            assert!(Msat::parse_sat(text).is_err(), "{text} was read");
        }
    }

    #[test]
    fn an_invoice_in_whole_satoshis_is_never_short() {
        assert_eq!(Msat::new(1).to_sat_ceil(), 1);
        assert_eq!(Msat::new(1000).to_sat_ceil(), 1);
        assert_eq!(Msat::new(1001).to_sat_ceil(), 2);
    }

    #[test]
    fn nonsense_is_refused_with_a_reason() {
        for text in ["", "-1", "abc", "1.5", "1.5msat", "0.0001sat", "1btc", "99999999999999999999"] {
            assert!(text.parse::<Msat>().is_err(), "{text} was read");
        }
    }
}
