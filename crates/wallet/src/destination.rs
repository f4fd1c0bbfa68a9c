//! One box for whatever a person pastes to have it paid: says what it is, or names what it is instead.

use openagents_types::Invoice;

use crate::{
    bolt11::{self, InvoiceError},
    lnurl::{LnurlError, PayCode},
};

/// Longest text that is looked at, in bytes: a `bitcoin:` address that carries an invoice.
const LONGEST: usize = 8_192;

/// Where a payment is to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A BOLT11 invoice.
    Invoice(Invoice),
    /// A server that makes an invoice when it is asked: an LNURL (LUD-01, LUD-17) or a Lightning address (LUD-16).
    Server(PayCode),
}

/// Why a text is nothing that can be paid here. Nothing was paid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DestinationError {
    /// There is no text.
    #[error("there is nothing to pay; paste a Lightning invoice, an LNURL or a Lightning address")]
    Empty,
    /// Longer than anything that can be paid.
    #[error("this has {0} bytes, more than anything that can be paid; paste a Lightning invoice")]
    TooLong(usize),
    /// An invoice that must not be paid.
    #[error("{0}; ask the receiver for a new invoice")]
    Invoice(#[from] InvoiceError),
    /// An LNURL or an address that leads nowhere.
    #[error(transparent)]
    Lnurl(#[from] LnurlError),
    /// Something else that is known by name.
    #[error("this is {what}; {instead}")]
    Other {
        /// What it is.
        what: &'static str,
        /// What to do instead.
        instead: &'static str,
    },
    /// Nothing that is known.
    #[error(
        "this is neither a Lightning invoice (ln…), an LNURL (lnurl1…) nor a Lightning address (name@host); \
         copy it again, whole"
    )]
    Unknown,
}

/// What other things begin with, and what to do instead. The first that fits counts.
const OTHERS: &[(&[&str], &str, &str)] = &[
    (
        &["lno1", "lnr1", "lni1"],
        "a BOLT12 offer, which this wallet does not pay",
        "ask the receiver for a BOLT11 invoice (lnbc…) or a Lightning address",
    ),
    (
        &["cashua", "cashub", "cashu:"],
        "a Cashu token, which is money and not an invoice",
        "redeem it in a Cashu wallet; do not show it to anybody",
    ),
    (&["creqa", "creqb"], "a Cashu payment request", "ask the receiver for a Lightning invoice"),
    (
        &["lnurlw:"],
        "an LNURL to withdraw, which pays you",
        "make an invoice with `openagents wallet receive`",
    ),
    (&["keyauth:"], "an LNURL to log in with", "paste one to pay to"),
    (&["lnurlc:"], "an LNURL to open a channel with", "paste one to pay to"),
    (
        &["nostr+walletconnect:"],
        "a wallet connection, which can spend",
        "keep it to yourself; connect it with `openagents wallet connect`",
    ),
    (&["spark1", "sp1p", "sprt1"], "a Spark address", "ask the receiver for a Lightning invoice"),
    (&["₿"], "a BIP 353 address", "leave ₿ out if it is a Lightning address as well"),
    (&["npub1", "nprofile1"], "a Nostr key", "ask its owner for a Lightning address"),
    (&["nsec1", "ncryptsec1"], "a Nostr secret key", "keep it to yourself; it pays nothing"),
];

const ON_CHAIN: DestinationError = DestinationError::Other {
    what: "an on-chain bitcoin address, and Lightning alone is paid here",
    instead: "ask the receiver for a Lightning invoice, or pay it from an on-chain wallet",
};

/// Reads what a person pasted. Case, spaces around it and `lightning:` do not matter.
///
/// # Errors
/// It is nothing that can be paid here; the error says what it is instead.
pub fn read(text: &str) -> Result<Destination, DestinationError> {
    if text.len() > LONGEST {
        return Err(DestinationError::TooLong(text.len()));
    }
    let text = text.trim();
    let lower = text.to_lowercase();
    if let Some(query) = lower.strip_prefix("bitcoin:").map(|_| query(text)) {
        return read_bitcoin(&query);
    }
    if lower.starts_with("https://") || lower.starts_with("http://") {
        return read_page(&query(text));
    }
    read_bare(text)
}

/// Checks an address that refunds shall go to: a server that makes an invoice for whatever is owed, whenever it is.
///
/// # Errors
/// It is none; the error says what it is instead.
pub fn check_refund(text: &str) -> Result<(), DestinationError> {
    read_server(text, "refunds are paid to a Lightning address (name@host) or an LNURL").map(drop)
}

/// Reads what has to be good for any amount at any time, a Lightning address or an LNURL; `instead` says so to whoever
/// wrote something else.
///
/// # Errors
/// It is none; the error says what it is instead.
pub fn read_server(text: &str, instead: &'static str) -> Result<PayCode, DestinationError> {
    let other = |what| DestinationError::Other { what, instead };
    match read(text) {
        Ok(Destination::Server(code)) => Ok(code),
        Ok(Destination::Invoice(_)) | Err(DestinationError::Invoice(_)) => {
            Err(other("an invoice, whose amount and end are fixed"))
        }
        Err(DestinationError::Empty) => Err(other("empty")),
        Err(DestinationError::TooLong(_)) => Err(other("longer than any address")),
        Err(DestinationError::Unknown) => Err(other("neither a Lightning address nor an LNURL")),
        Err(DestinationError::Other { what, .. }) => Err(other(what)),
        Err(error @ DestinationError::Lnurl(_)) => Err(error),
    }
}

/// One that is not inside an address of another kind.
fn read_bare(text: &str) -> Result<Destination, DestinationError> {
    let lower = text.trim().to_lowercase();
    let bare = lower.strip_prefix("lightning:").unwrap_or(&lower);
    let bare = bare.strip_prefix("//").unwrap_or(bare);
    let begins = |starts: &[&str]| starts.iter().any(|start| bare.starts_with(start));
    if bare.is_empty() {
        Err(DestinationError::Empty)
    } else if let Some((_, what, instead)) = OTHERS.iter().find(|(starts, ..)| begins(starts)) {
        Err(DestinationError::Other { what, instead })
    } else if begins(&["lnurl1"]) {
        Ok(Destination::Server(PayCode::bech32(bare)?))
    } else if begins(&["lnurlp:"]) {
        Ok(Destination::Server(PayCode::scheme(bare)?))
    } else if bare.contains('@') {
        Ok(Destination::Server(PayCode::address(bare)?))
    } else if begins(&["lnbc", "lntb", "lnsb"]) {
        Ok(Destination::Invoice(bolt11::decode(bare)?))
    } else if is_on_chain(text.trim(), bare) {
        Err(ON_CHAIN)
    } else {
        Err(DestinationError::Unknown)
    }
}

/// A `bitcoin:` address (BIP 21) that carries an invoice, an LNURL or an address for Lightning.
fn read_bitcoin(query: &[(String, String)]) -> Result<Destination, DestinationError> {
    let value = |name| query.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value);
    match (value("lightning"), value("lno")) {
        (Some(inside), _) => read_bare(inside),
        (None, Some(offer)) => read_bare(offer),
        (None, None) => Err(ON_CHAIN),
    }
}

/// A web page's address with an LNURL in it (LUD-01).
fn read_page(query: &[(String, String)]) -> Result<Destination, DestinationError> {
    match query.iter().find(|(key, _)| key.eq_ignore_ascii_case("lightning")) {
        Some((_, inside)) => read_bare(inside),
        None => Err(DestinationError::Other {
            what: "the address of a web page",
            instead: "paste the invoice, LNURL or Lightning address that it shows",
        }),
    }
}

/// What stands after the question mark, unescaped.
fn query(text: &str) -> Vec<(String, String)> {
    let query = text.split_once('?').map_or("", |(_, query)| query);
    url::form_urlencoded::parse(query.as_bytes()).into_owned().collect()
}

/// Whether a text looks like an address of the chain: nothing is paid to it, so its checksum is not looked at.
fn is_on_chain(text: &str, lower: &str) -> bool {
    let segwit = ["bc1", "tb1", "bcrt1"].iter().any(|start| lower.starts_with(start));
    let base58 = text.starts_with(['1', '3', '2', 'm', 'n'])
        && (26..=35).contains(&text.len())
        && text.chars().all(|c| c.is_ascii_alphanumeric());
    segwit || base58
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]
mod tests {
    use openagents_types::Network;

    use super::*;

    /// The example invoices of BOLT 11.
    const COFFEE: &str = "lnbc2500u1pvjluezsp5zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zygspp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqdq5xysxxatsyp3k7enxv4jsxqzpu9qrsgquk0rl77nj30yxdy8j9vdx85fkpmdla2087ne0xh8nhedh8w27kyke0lp53ut353s06fv3qfegext0eh0ymjpf39tuven09sam30g4vgpfna3rh";
    const DONATION: &str = "lnbc1pvjluezsp5zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zygspp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqdpl2pkx2ctnv5sxxmmwwd5kgetjypeh2ursdae8g6twvus8g6rfwvs8qun0dfjkxaq9qrsgq357wnc5r2ueh7ck6q93dj32dlqnls087fxdwk8qakdyafkq3yap9us6v52vjjsrvywa6rt52cm9r9zqt8r2t7mlcwspyetp5h2tztugp9lfyql";
    /// The example of LUD-01.
    const LNURL: &str = "LNURL1DP68GURN8GHJ7UM9WFMXJCM99E3K7MF0V9CXJ0M385EKVCENXC6R2C35XVUKXEFCV5MKVV34X5EKZD3EV56NYD3HXQURZEPEXEJXXEPNXSCRVWFNV9NXZCN9XQ6XYEFHVGCXXCMYXYMNSERXFQ5FNS";

    fn server_of(text: &str) -> String {
        match read(text) {
            Ok(Destination::Server(code)) => code.url().to_string(),
            found => panic!("{text}: {found:?}"),
        }
    }

    fn other(text: &str) -> String {
        match read(text) {
            Err(error @ DestinationError::Other { .. }) => error.to_string(),
            found => panic!("{text}: {found:?}"),
        }
    }

    #[test]
    fn an_invoice_is_found_however_it_is_wrapped() {
        for text in [
            COFFEE.to_owned(),
            format!("  {}\n", COFFEE.to_uppercase()),
            format!("lightning:{COFFEE}"),
            format!("LIGHTNING://{COFFEE}"),
            format!("bitcoin:bc1qylh3u67j673h6y6alv70m0pl2yz53tzhvxgg7u?amount=0.00001&lightning={COFFEE}"),
            format!("BITCOIN:?LIGHTNING={}", COFFEE.to_uppercase()),
            format!("https://shop.example/pay?lightning={COFFEE}"),
        ] {
            let Ok(Destination::Invoice(invoice)) = read(&text) else { panic!("{text}") };
            assert_eq!((invoice.amount.get(), invoice.network), (250_000_000, Network::Mainnet), "{text}");
            assert_eq!(invoice.bolt11, COFFEE);
        }
    }

    #[test]
    fn a_server_is_found_in_every_spelling() {
        let decoded =
            "https://service.com/api?q=3fc3645b439ce8e7f2553a69e5267081d96dcd340693afabe04be7b0ccd178df";
        for text in [
            LNURL.to_owned(),
            LNURL.to_lowercase(),
            format!("lightning:{LNURL}"),
            format!("https://service.com/giftcard/redeem?id=123&lightning={LNURL}"),
            format!("bitcoin:?lightning={LNURL}"),
        ] {
            assert_eq!(server_of(&text), decoded, "{text}");
        }
        assert_eq!(server_of("lnurlp://shop.example/pay?a=1"), "https://shop.example/pay?a=1");
        assert_eq!(server_of("lnurlp:shop.example/pay"), "https://shop.example/pay");
        for text in ["ann.b_c-1@shop.example", " lightning:ANN.B_C-1@shop.example"] {
            assert_eq!(server_of(text), "https://shop.example/.well-known/lnurlp/ann.b_c-1");
        }
        assert_eq!(server_of("ann@shop.example:8443"), "https://shop.example:8443/.well-known/lnurlp/ann");
    }

    #[test]
    fn what_is_not_taken_is_called_by_its_name() {
        for (text, names) in [
            ("bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq", "on-chain bitcoin address"),
            ("1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", "on-chain bitcoin address"),
            ("bitcoin:bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq?amount=1", "on-chain bitcoin address"),
            ("lno1pqps7sjqpgtyzm3qv4uxzmtsd3jjqer9wd3hy6tsw35k7msjzfpy7nz5yqcn", "BOLT12"),
            ("bitcoin:?lno=lno1pqps7sjqpgtyzm3qv4uxzmtsd3jjqer9wd3hy6tsw35k7msjzfpy7nz5yqcn", "BOLT12"),
            ("cashuAeyJ0b2tlbiI6W3sibWludCI6", "Cashu token"),
            ("creqApWF0gaNhdGVub3N0cmFheKlucHJvZmls", "Cashu payment request"),
            ("lnurlw://shop.example/w", "withdraw"),
            ("keyauth://shop.example", "log in"),
            ("nostr+walletconnect://aa?secret=bb", "wallet connection"),
            ("spark1pgssx9t4qykksw6vfcgd2u9mk0ygwsmkp5h55q8k5ypl79dd3ry5s5yfzkkpdz", "Spark"),
            ("https://shop.example/", "web page"),
            ("₿ann@shop.example", "BIP 353"),
        ] {
            let said = other(text);
            assert!(said.contains(names) && said.contains("; "), "{text}: {said}");
        }
    }

    #[test]
    fn refunds_go_to_servers_alone() {
        assert_eq!(check_refund("ann@shop.example"), Ok(()));
        assert_eq!(check_refund(LNURL), Ok(()));
        for (text, word) in [(COFFEE, "an invoice"), ("npub1xyz", "Nostr key"), ("ann", "neither")] {
            let said = check_refund(text).unwrap_err().to_string();
            assert!(said.contains(word), "{text}: {said}");
        }
    }

    #[test]
    fn what_cannot_be_paid_is_refused_with_its_reason() {
        assert_eq!(read("  "), Err(DestinationError::Empty));
        assert_eq!(read("lightning:"), Err(DestinationError::Empty));
        assert_eq!(read(&"l".repeat(LONGEST + 1)), Err(DestinationError::TooLong(LONGEST + 1)));
        assert_eq!(read("hello"), Err(DestinationError::Unknown));
        assert_eq!(read(DONATION), Err(DestinationError::Invoice(InvoiceError::NoAmount)));
        assert!(matches!(read(&COFFEE.replace("25", "26")), Err(DestinationError::Invoice(_))));
        for text in [
            "lnurl1dp68gurn8ghj7",
            "a@b@c.example",
            "@shop.example",
            "an n@shop.example",
            "ann@",
            "a/b@c.example",
        ] {
            assert!(matches!(read(text), Err(DestinationError::Lnurl(_))), "{text}: {:?}", read(text));
        }
    }

    #[test]
    fn where_a_refund_shall_go_nobody_is_told_to_ask_a_receiver() {
        assert!(check_refund("ann@shop.example").is_ok() && check_refund(LNURL).is_ok());
        for text in
            ["", "ann", COFFEE, "lno1pqps7sjqpgtyzm3qv4uxzmtsd3jjqer9wd3hy6tsw35k7msj", "npub1x", "cashuA1"]
        {
            let said = check_refund(text).unwrap_err().to_string();
            assert!(said.contains("refunds are paid to") && !said.contains("ask the"), "{text}: {said}");
        }
    }
}
