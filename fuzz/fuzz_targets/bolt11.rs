//! Invoices: nothing is accepted that names no amount, another network than its prefix, or a lock
//! that is too long; and what is accepted reads the same again.
#![no_main]

use libfuzzer_sys::{arbitrary::Arbitrary, fuzz_target};
use nostr::secp256k1::{Message, Secp256k1, SecretKey};
use openagents_types::{Msat, Network, Timestamp};
use openagents_wallet::bolt11::{decode, payable};
use sha2::{Digest, Sha256};

const LETTERS: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";

#[derive(Arbitrary, Debug)]
enum Case<'a> {
    /// Anything.
    Text(&'a str),
    /// A prefix and data, signed and summed as they should be.
    Signed { prefix: Prefix, amount: Option<u32>, unit: Option<u8>, data: &'a [u8] },
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Prefix {
    Mainnet,
    Testnet,
    Signet,
    Regtest,
    Other,
}

/// BIP 173's checksum.
fn polymod(values: impl Iterator<Item = u8>) -> u32 {
    const GENERATOR: [u32; 5] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];
    values.fold(1, |sum, value| {
        let next = (sum & 0x01ff_ffff) << 5 ^ u32::from(value);
        (0..5).filter(|bit| sum >> (25 + bit) & 1 == 1).fold(next, |next, bit| next ^ GENERATOR[bit as usize])
    })
}

/// 5-bit groups as bytes, padded with zeros, or bytes as 5-bit groups.
fn regroup(data: &[u8], from: u32, to: u32) -> Vec<u8> {
    let (mut held, mut bits, mut out) = (0_u32, 0, Vec::new());
    for value in data {
        held = (held << from | u32::from(*value)) & 0xffff;
        bits += from;
        while bits >= to {
            bits -= to;
            out.push((held >> bits & ((1 << to) - 1)) as u8);
        }
    }
    if bits > 0 {
        out.push((held << (to - bits) & ((1 << to) - 1)) as u8);
    }
    out
}

/// BOLT 11: prefix and data, the signature over both, and BIP 173's checksum over all.
fn sign(prefix: &str, data: &[u8]) -> String {
    let mut signed = prefix.as_bytes().to_vec();
    signed.extend(regroup(data, 5, 8));
    let digest: [u8; 32] = Sha256::digest(&signed).into();
    let secret = SecretKey::from_slice(&[1; 32]).expect("one is a secret key");
    let signature = Secp256k1::new().sign_ecdsa_recoverable(&Message::from_digest(digest), &secret);
    let (id, bytes) = signature.serialize_compact();
    let mut bytes = bytes.to_vec();
    bytes.push(id.to_i32() as u8);
    let mut all = data.to_vec();
    all.extend(regroup(&bytes, 8, 5));
    let head = prefix.bytes().map(|b| b >> 5).chain([0]).chain(prefix.bytes().map(|b| b & 31));
    let sum = polymod(head.chain(all.iter().copied()).chain([0; 6])) ^ 1;
    all.extend((0..6).map(|at| (sum >> (5 * (5 - at)) & 31) as u8));
    let letters = all.iter().map(|value| char::from(LETTERS[usize::from(*value)]));
    format!("{prefix}1{}", letters.collect::<String>())
}

/// Another reading of the part before the last `1`: network, and amount in millisatoshis.
fn read(text: &str) -> Option<(Network, u128)> {
    let prefix = text.rsplit_once('1')?.0;
    let networks = [
        ("lnbcrt", Network::Regtest),
        ("lnsb", Network::Regtest),
        ("lntbs", Network::Signet),
        ("lntb", Network::Testnet),
        ("lnbc", Network::Mainnet),
    ];
    let (rest, network) =
        networks.iter().find_map(|(start, network)| Some((prefix.strip_prefix(start)?, *network)))?;
    let digits = rest.trim_end_matches(['m', 'u', 'n', 'p']);
    let amount: u128 = digits.parse().ok()?;
    let amount = match &rest[digits.len()..] {
        "" => amount * 100_000_000_000,
        "m" => amount * 100_000_000,
        "u" => amount * 100_000,
        "n" => amount * 100,
        "p" => amount / 10,
        _ => return None,
    };
    Some((network, amount))
}

fn check(text: &str) {
    let Ok(invoice) = decode(text) else { return };
    assert!(!invoice.amount.is_zero() && invoice.amount <= Msat::MAX);
    let (network, amount) = read(&invoice.bolt11).expect("an invoice without an amount was accepted");
    assert_eq!((invoice.network, u128::from(invoice.amount.get())), (network, amount), "{}", invoice.bolt11);
    assert_eq!(decode(&invoice.bolt11).as_ref(), Ok(&invoice));
    assert_eq!(payable(&invoice, Timestamp::NEVER).is_ok(), invoice.expires_at == Timestamp::NEVER);
}

fuzz_target!(|case: Case<'_>| match case {
    Case::Text(text) => check(text),
    Case::Signed { prefix, amount, unit, data } => {
        let network = match prefix {
            Prefix::Mainnet => "lnbc",
            Prefix::Testnet => "lntb",
            Prefix::Signet => "lntbs",
            Prefix::Regtest => "lnbcrt",
            Prefix::Other => "lnxx",
        };
        let amount = amount.map(|amount| amount.to_string()).unwrap_or_default();
        let unit = unit.and_then(|unit| ["m", "u", "n", "p"].get(usize::from(unit % 8))).unwrap_or(&"");
        let data: Vec<u8> = data.iter().map(|value| value & 31).collect();
        check(&sign(&format!("{network}{amount}{unit}"), &data));
    }
});
