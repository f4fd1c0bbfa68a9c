//! The request for ecash in escrow: NUT-18, with the lock of NUT-14 that the ecash has to have. Reading one asks
//! nobody anything, and believes nothing of it.

use std::{collections::HashSet, str::FromStr as _};

use cdk::{
    Amount,
    mint_url::MintUrl,
    nuts::{CurrencyUnit, PaymentRequest, PublicKey, nut10},
};
use cdk_common::nuts::nut18::Nut10SecretRequest;

use crate::{book::Bytes, incoming::whole, talk::Refusal};

/// The longest request that is read, in bytes: room for some twenty mints and a sentence.
const LONGEST: usize = 8_192;

/// The tag that says until when the ecash may be locked, in seconds of Unix time. NUT-18 has no word for it; a
/// wallet that does not know it leaves it out, or copies it into the lock, where it changes nothing.
const EXPIRES: &str = "expires_at";

/// What ecash has to be like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    /// The SHA-256 of the preimage that opens it.
    pub(crate) hash: Bytes,
    /// Whose signature it takes besides.
    pub(crate) key: PublicKey,
    /// In millisatoshis, whole satoshis.
    pub(crate) amount: u64,
    /// From when on the payer can take it back, in seconds of Unix time.
    pub(crate) locktime: u64,
    /// Until when it can be locked, in seconds of Unix time.
    pub(crate) expires_at: u64,
    /// Whose it may be.
    pub(crate) mints: Vec<MintUrl>,
    /// What it is for.
    pub(crate) description: String,
}

fn tag(name: &str, value: &impl ToString) -> Vec<String> {
    vec![name.to_owned(), value.to_string()]
}

/// A bad request, or a bad lock.
fn bad(what: &str) -> Refusal {
    Refusal::restricted(what)
}

impl Terms {
    /// As a request that begins with `creqA`.
    pub(crate) fn write(&self) -> String {
        let tags =
            vec![tag("pubkeys", &self.key), tag("locktime", &self.locktime), tag(EXPIRES, &self.expires_at)];
        let lock = Nut10SecretRequest::new(nut10::Kind::HTLC, hex::encode(self.hash), Some(tags));
        let mut request = PaymentRequest::builder()
            .amount(Amount::from(self.amount / 1_000))
            .unit(CurrencyUnit::Sat)
            .single_use(true)
            .mints(self.mints.clone())
            .nut10(lock);
        if !self.description.is_empty() {
            request = request.description(&self.description);
        }
        request.build().to_string()
    }

    /// What a request asks for, if it asks for ecash in escrow.
    pub(crate) fn read(text: &str) -> Result<Self, Refusal> {
        if text.len() > LONGEST {
            return Err(bad("the request is too long"));
        }
        let request =
            PaymentRequest::from_str(text.trim()).map_err(|_| bad("that is no request for ecash"))?;
        if request.unit != Some(CurrencyUnit::Sat) {
            return Err(bad("the request is not in satoshis"));
        }
        let sats = request.amount.map(u64::from).filter(|sats| *sats > 0);
        let amount = sats.and_then(|sats| sats.checked_mul(1_000));
        let amount = amount.ok_or_else(|| bad("the request names no amount"))?;
        if request.mints.is_empty() || request.mint_preferred == Some(true) {
            return Err(bad("the request does not say whose ecash it wants"));
        }
        let lock = request.nut10.ok_or_else(|| bad("the request asks for ecash that is not locked"))?;
        if lock.kind != nut10::Kind::HTLC {
            return Err(bad("the request asks for another lock than one that a preimage opens (NUT-14)"));
        }
        let read = Lock::read(&lock.data, &lock.tags.unwrap_or_default())?;
        Ok(Self {
            hash: read.hash,
            key: read.key,
            amount,
            locktime: read.locktime,
            expires_at: read.expires_at.unwrap_or(read.locktime),
            mints: request.mints,
            description: request.description.unwrap_or_default(),
        })
    }

    /// Whether an amount, a hash and a locktime are those of the request.
    pub(crate) fn agree(&self, amount: u64, hash: Bytes, locktime: u64) -> Result<(), Refusal> {
        whole(amount)?;
        let differs = match (amount == self.amount, hash == self.hash, locktime == self.locktime) {
            (true, true, true) => return Ok(()),
            (false, ..) => format!("for {} msat, and not {amount}", self.amount),
            (_, false, _) => "for another payment hash".to_owned(),
            (_, _, false) => format!("locked until {}, and not {locktime}", self.locktime),
        };
        Err(bad(&format!("the request is {differs}; nothing was locked")))
    }
}

/// What a piece of ecash is locked to, in the one form that this wallet deals with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lock {
    /// The SHA-256 of the preimage that opens it.
    pub(crate) hash: Bytes,
    /// Whose signature it takes besides.
    pub(crate) key: PublicKey,
    /// From when on the refund keys can spend it as well, in seconds of Unix time.
    pub(crate) locktime: u64,
    /// The keys that can spend it then.
    pub(crate) refund: Vec<PublicKey>,
    /// What a request says of its end.
    expires_at: Option<u64>,
}

impl Lock {
    /// The tags of a lock as we make it.
    pub(crate) fn tags(terms: &Terms, refund: &PublicKey) -> Vec<Vec<String>> {
        vec![
            tag("pubkeys", &terms.key),
            tag("locktime", &terms.locktime),
            tag("refund", refund),
            tag("sigflag", &"SIG_INPUTS"),
        ]
    }

    /// The lock of a secret of ecash.
    pub(crate) fn of(secret: &cdk::secret::Secret) -> Result<Self, Refusal> {
        let secret = nut10::Secret::try_from(secret).map_err(|_| bad("the ecash is not locked"))?;
        if secret.kind() != nut10::Kind::HTLC {
            return Err(bad("the ecash is not locked to a payment hash (NUT-14)"));
        }
        let data = secret.secret_data();
        Self::read(data.data(), data.tags().map_or(&[], Vec::as_slice))
    }

    /// One key, one locktime, one signature, and nothing that is not understood: a second way to spend ecash
    /// must not hide behind a word that a mint reads and we do not.
    fn read(data: &str, tags: &[Vec<String>]) -> Result<Self, Refusal> {
        let mut hash = [0; 32];
        hex::decode_to_slice(data, &mut hash).map_err(|_| bad("the lock's hash is none"))?;
        let mut seen = HashSet::new();
        let (mut key, mut locktime, mut expires_at, mut refund) = (None, None, None, Vec::new());
        for tag in tags {
            let [name, values @ ..] = tag.as_slice() else { return Err(bad("the lock has an empty tag")) };
            if !seen.insert(name.as_str()) {
                return Err(bad("the lock says something twice"));
            }
            let one = match values {
                [one] => Some(one.as_str()),
                _ => None,
            };
            let number = one.and_then(|one| one.parse::<u64>().ok());
            match name.as_str() {
                "pubkeys" => key = one.and_then(|one| PublicKey::from_str(one).ok()),
                "locktime" => locktime = number,
                EXPIRES => expires_at = number,
                "refund" => {
                    let keys = values.iter().map(|key| PublicKey::from_str(key)).collect::<Result<_, _>>();
                    refund = keys.map_err(|_| bad("the lock's refund key is none"))?;
                }
                "n_sigs" if number == Some(1) => {}
                "n_sigs_refund" if number.is_some_and(|number| number > 0) => {}
                "sigflag" if one == Some("SIG_INPUTS") => {}
                _ => return Err(bad("the lock has a condition that is not dealt with here")),
            }
        }
        Ok(Self {
            hash,
            key: key.ok_or_else(|| bad("the lock names no key, or more than one"))?,
            locktime: locktime.ok_or_else(|| bad("the lock has no locktime"))?,
            refund,
            expires_at,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]
    use super::*;

    const KEY: &str = "02a4ed09e9b22c0563f2043593902973d040054ff03be93c990264177d65123982";
    const OTHER: &str = "026562efcfadc8e86d44da6a8adf80633d974302e62c850774db1fb36ff4cc7198";

    fn terms() -> Terms {
        Terms {
            hash: [7; 32],
            key: PublicKey::from_str(KEY).unwrap(),
            amount: 21_000,
            locktime: 2_000,
            expires_at: 1_000,
            mints: vec![MintUrl::from_str("https://mint.example").unwrap()],
            description: "work".into(),
        }
    }

    #[test]
    fn a_request_says_what_was_asked() {
        let text = terms().write();
        assert!(text.starts_with("creqA"), "{text}");
        assert_eq!(Terms::read(&text).unwrap(), terms());
        for junk in ["", "creqA", "creqAAAAA", "cashuB", "lnbc1"] {
            assert!(Terms::read(junk).is_err(), "{junk}");
        }
    }

    #[test]
    fn a_lock_of_ours_is_read_back_as_it_was_made() {
        let refund = PublicKey::from_str(OTHER).unwrap();
        let read = Lock::read(&hex::encode([7; 32]), &Lock::tags(&terms(), &refund)).unwrap();
        let Lock { hash, key, locktime, refund: back, expires_at } = read;
        assert_eq!((hash, key, locktime), (terms().hash, terms().key, terms().locktime));
        assert_eq!((back, expires_at), (vec![refund], None));
    }

    #[test]
    fn a_lock_with_another_way_in_is_refused() {
        let good: Vec<Vec<&str>> =
            vec![vec!["pubkeys", KEY], vec!["locktime", "2000"], vec!["refund", OTHER]];
        let read = |tags: &[Vec<&str>]| {
            let tags = tags.iter().map(|tag| tag.iter().map(ToString::to_string).collect());
            Lock::read(&hex::encode([7; 32]), &tags.collect::<Vec<_>>()).is_ok()
        };
        let plus = |tag: &[&'static str]| read(&[good.clone(), vec![tag.to_vec()]].concat());
        assert!(read(&good));
        assert!(plus(&["n_sigs", "1"]) && plus(&["sigflag", "SIG_INPUTS"]) && plus(&["expires_at", "9"]));
        for bad in [
            &["n_sigs", "2"][..],
            &["n_sigs", "0"],
            &["n_sigs_refund", "0"],
            &["sigflag", "SIG_ALL"],
            &["pubkeys", OTHER],
            &["locktime", "1"],
            &["refund", KEY],
            &["word", "that no mint knows yet"],
            &[],
        ] {
            assert!(!plus(bad), "{bad:?}");
        }
        assert!(!read(&good[..1]), "no locktime");
        assert!(!read(&good[1..]), "no key");
        let two: Vec<Vec<&str>> = vec![vec!["pubkeys", KEY, OTHER], vec!["locktime", "2000"]];
        assert!(!read(&two));
        assert!(Lock::read("07", &[]).is_err());
    }
}
