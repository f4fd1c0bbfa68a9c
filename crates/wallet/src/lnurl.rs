//! LNURL-pay without I/O: which address to ask, what its answers mean, and whether the invoice that came is the one
//! that was asked for. Whoever fetches ([LUD-01], [LUD-06], [LUD-12], [LUD-16], [LUD-17]) hands the bytes in.
//!
//! Nothing a server says is believed beyond what is checked here: the invoice has to be for exactly the amount, on the
//! wallet's network, payable, and its description hash has to be that of the metadata.
//!
//! [LUD-01]: https://github.com/lnurl/luds/blob/luds/01.md
//! [LUD-06]: https://github.com/lnurl/luds/blob/luds/06.md
//! [LUD-12]: https://github.com/lnurl/luds/blob/luds/12.md
//! [LUD-16]: https://github.com/lnurl/luds/blob/luds/16.md
//! [LUD-17]: https://github.com/lnurl/luds/blob/luds/17.md

use std::fmt;

use bech32::{Bech32, Hrp, primitives::decode::CheckedHrpstring};
use openagents_types::{Invoice, Msat, Network, Timestamp};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use url::Url;

use crate::bolt11::{self, InvoiceError, Purpose};

/// The most that an answer may carry, in bytes: LUD-06 lets its picture have 136,536, and its words need some.
pub const LONGEST_ANSWER: usize = 192 << 10;

/// What an LNURL begins with.
const HRP: Hrp = Hrp::parse_unchecked("lnurl");

/// How much of a server's own words is passed on, in characters.
const LONGEST_WORD: usize = 200;

/// Why an LNURL was not paid. In every case no money moved.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LnurlError {
    /// Not the bech32 of an address.
    #[error("this LNURL cannot be read: {0}; copy it again, whole")]
    Malformed(String),
    /// Not `name@host`.
    #[error("{0:?} is no Lightning address, which looks like name@host")]
    Address(String),
    /// The server says no (`"status": "ERROR"`).
    #[error("the server refuses: {0}")]
    Refused(String),
    /// The answer is not what LUD-06 describes.
    #[error("the server's answer makes no sense: {0}; tell its operator")]
    Garbled(String),
    /// The LNURL is for something else, such as withdrawing.
    #[error("this LNURL is not for paying but a {0:?}; paste one to pay to")]
    OtherTag(String),
    /// The amount has to be chosen.
    #[error("the receiver takes {least} to {most}; say how much with --amount")]
    NoAmount {
        /// The least, millisatoshis.
        least: Msat,
        /// The most, millisatoshis.
        most: Msat,
    },
    /// The amount is not one that is taken.
    #[error("the receiver takes {least} to {most}, not {asked}; choose another amount")]
    OutOfRange {
        /// What was to be paid.
        asked: Msat,
        /// The least, millisatoshis.
        least: Msat,
        /// The most, millisatoshis.
        most: Msat,
    },
    /// The comment is longer than is taken.
    #[error("the receiver takes comments of at most {most} characters, and this one has {has}; shorten it")]
    Comment {
        /// How many characters are taken; none if comments are not.
        most: usize,
        /// How many there are.
        has: usize,
    },
    /// The invoice is not one that may be paid.
    #[error("the server's invoice must not be paid: {0}; tell its operator")]
    Invoice(#[from] InvoiceError),
    /// The invoice asks another amount.
    #[error("the server's invoice asks {invoice} instead of {asked}; do not trust it")]
    Amount {
        /// What was to be paid.
        asked: Msat,
        /// What the invoice says.
        invoice: Msat,
    },
    /// The invoice is not for what the server described.
    #[error(
        "the server's invoice is not for what it said (its description hash is another); do not trust it"
    )]
    Purpose,
    /// The invoice is for another network.
    #[error("the server's invoice is for {invoice}, and this wallet pays on {wallet}; no payment can arrive")]
    Network {
        /// The invoice's.
        invoice: Network,
        /// The wallet's.
        wallet: Network,
    },
}

/// The address of a server that makes invoices, as somebody wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PayCode {
    url: Url,
    name: String,
}

impl PayCode {
    /// Reads `lnurl1…` (LUD-01), lower case.
    pub(crate) fn bech32(text: &str) -> Result<Self, LnurlError> {
        let malformed = |error: &dyn fmt::Display| LnurlError::Malformed(error.to_string());
        let checked = CheckedHrpstring::new::<Bech32>(text).map_err(|error| malformed(&error))?;
        let bytes: Vec<u8> = checked.byte_iter().collect();
        let inside = std::str::from_utf8(&bytes).map_err(|error| malformed(&error))?;
        let url = Url::parse(inside).map_err(|error| malformed(&error))?;
        Self::at(url)
    }

    /// Reads `lnurlp:…` (LUD-17).
    pub(crate) fn scheme(text: &str) -> Result<Self, LnurlError> {
        let rest = text.trim_start_matches("lnurlp:").trim_start_matches('/');
        let url = Url::parse(&format!("https://{rest}"));
        Self::at(url.map_err(|error| LnurlError::Malformed(error.to_string()))?)
    }

    fn at(url: Url) -> Result<Self, LnurlError> {
        if url.query_pairs().any(|(key, value)| key == "tag" && value == "login") {
            return Err(LnurlError::OtherTag("login".into()));
        }
        let name = url.host_str().unwrap_or_default().to_owned();
        Ok(Self { url, name })
    }

    /// Reads `name@host` (LUD-16), lower case.
    pub(crate) fn address(text: &str) -> Result<Self, LnurlError> {
        let wrong = || LnurlError::Address(text.chars().take(64).collect());
        let (user, host) = text.split_once('@').ok_or_else(wrong)?;
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.+".contains(c);
        let is_host = |c: char| c.is_alphanumeric() || "-.:[]".contains(c);
        if user.is_empty() || host.is_empty() || !user.chars().all(is_name) || !host.chars().all(is_host) {
            return Err(wrong());
        }
        let url = Url::parse(&format!("https://{host}/.well-known/lnurlp/{user}")).map_err(|_| wrong())?;
        Ok(Self { url, name: text.to_owned() })
    }

    /// What to fetch first. Whether it may be fetched is for the fetcher to say.
    pub const fn url(&self) -> &Url {
        &self.url
    }

    /// The same address in bech32 (LUD-01).
    pub fn lnurl(&self) -> String {
        let written = bech32::encode::<Bech32>(HRP, self.url.as_str().as_bytes());
        // Longer ones than a QR code holds are no use to anybody.
        written.unwrap_or_default()
    }

    /// Whose it is, for a person: the Lightning address, or the server's name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// What a server takes (LUD-06 `payRequest`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PayOffer {
    callback: Url,
    metadata: String,
    comment: usize,
    /// The least that can be paid, millisatoshis.
    pub least: Msat,
    /// The most that can be paid, millisatoshis.
    pub most: Msat,
    /// What it is for, in the server's words.
    pub description: String,
    /// The key that it says it signs zap receipts with (NIP-57), where it takes zaps; unchecked.
    pub zapper: Option<String>,
}

/// The first answer as it comes.
#[derive(Deserialize)]
struct PayRequest {
    tag: String,
    callback: String,
    #[serde(rename = "minSendable")]
    least: u64,
    #[serde(rename = "maxSendable")]
    most: u64,
    metadata: String,
    #[serde(rename = "commentAllowed", default)]
    comment: Option<u64>,
    // Of any type: whoever only pays must not fail on them.
    #[serde(rename = "allowsNostr", default)]
    zaps: serde_json::Value,
    #[serde(rename = "nostrPubkey", default)]
    zapper: serde_json::Value,
}

/// The second answer as it comes.
#[derive(Deserialize)]
struct PayAnswer {
    pr: String,
}

/// What a server says instead of an answer.
#[derive(Deserialize)]
struct Status {
    status: String,
    #[serde(default)]
    reason: String,
}

impl PayOffer {
    /// Reads the answer of [`PayCode::url`].
    ///
    /// # Errors
    /// The server refuses, or answers something else.
    pub fn read(answer: &[u8]) -> Result<Self, LnurlError> {
        let PayRequest { tag, callback, least, most, metadata, comment, zaps, zapper } = parse(answer)?;
        if tag != "payRequest" {
            return Err(LnurlError::OtherTag(short(&tag)));
        }
        let garbled = |what: &str| LnurlError::Garbled(what.into());
        let callback = Url::parse(&callback).map_err(|_| garbled("its callback is not an address"))?;
        let (least, most) = (Msat::new(least), Msat::new(most));
        if least.is_zero() || least > most || most > Msat::MAX {
            return Err(garbled("nothing can be paid within its limits"));
        }
        let description = description(&metadata).ok_or_else(|| garbled("it does not say what it is for"))?;
        let comment = usize::try_from(comment.unwrap_or(0)).unwrap_or(usize::MAX);
        let zapper = zapper.as_str().filter(|_| zaps == true).map(short);
        Ok(Self { callback, metadata, comment, least, most, description, zapper })
    }

    /// How much is to be paid: what was `wanted`, or the one amount that is taken.
    ///
    /// # Errors
    /// It has to be chosen, or is not taken.
    pub fn amount(&self, wanted: Option<Msat>) -> Result<Msat, LnurlError> {
        let Self { least, most, .. } = *self;
        match wanted {
            None if least == most => Ok(least),
            None => Err(LnurlError::NoAmount { least, most }),
            Some(asked) if asked < least || asked > most => {
                Err(LnurlError::OutOfRange { asked, least, most })
            }
            Some(asked) => Ok(asked),
        }
    }

    /// Where to fetch the invoice for `amount`, with a `comment` (LUD-12) unless it is empty.
    ///
    /// # Errors
    /// The comment is longer than is taken.
    pub fn callback(&self, amount: Msat, comment: &str) -> Result<Url, LnurlError> {
        let has = comment.chars().count();
        if has > self.comment {
            return Err(LnurlError::Comment { most: self.comment, has });
        }
        let mut url = self.callback.clone();
        url.query_pairs_mut().append_pair("amount", &amount.get().to_string());
        if !comment.is_empty() {
            url.query_pairs_mut().append_pair("comment", comment);
        }
        Ok(url)
    }

    /// The invoice in the answer of [`Self::callback`], if it is what was asked for and can be paid on `network` now.
    ///
    /// # Errors
    /// The server refuses, or the invoice is another one; it must not be paid.
    pub fn invoice(
        &self,
        answer: &[u8],
        asked: Msat,
        network: Network,
        now: Timestamp,
    ) -> Result<Invoice, LnurlError> {
        let PayAnswer { pr } = parse(answer)?;
        let invoice = bolt11::decode(&pr)?;
        if invoice.amount != asked {
            return Err(LnurlError::Amount { asked, invoice: invoice.amount });
        }
        if invoice.network != network {
            return Err(LnurlError::Network { invoice: invoice.network, wallet: network });
        }
        let promised = Purpose::Hash(Sha256::digest(self.metadata.as_bytes()).into());
        if bolt11::purpose(&invoice.bolt11)? != promised {
            return Err(LnurlError::Purpose);
        }
        bolt11::payable(&invoice, now)?;
        Ok(invoice)
    }
}

/// Reads an answer, unless it is a refusal.
fn parse<'a, T: Deserialize<'a>>(answer: &'a [u8]) -> Result<T, LnurlError> {
    if let Ok(Status { status, reason }) = serde_json::from_slice(answer)
        && status.eq_ignore_ascii_case("error")
    {
        let reason = if reason.trim().is_empty() { "it does not say why" } else { reason.trim() };
        return Err(LnurlError::Refused(short(reason)));
    }
    serde_json::from_slice(answer).map_err(|error| LnurlError::Garbled(error.to_string()))
}

/// The one `text/plain` of the metadata, a JSON array of pairs in a string.
fn description(metadata: &str) -> Option<String> {
    let entries: Vec<serde_json::Value> = serde_json::from_str(metadata).ok()?;
    let text = entries.iter().find(|entry| entry[0] == "text/plain")?;
    Some(short(text[1].as_str()?))
}

/// A server's words on one line, and not all of them. What stands behind a semicolon in our errors is our own advice.
fn short(words: &str) -> String {
    let plain = |c: char| match c {
        ';' => ',',
        c if c.is_control() => ' ',
        c => c,
    };
    let words: String = words.chars().map(plain).collect();
    words.chars().take(LONGEST_WORD).collect()
}

#[cfg(test)]
mod tests;
