//! Which addresses are fetched (SSRF): never one that the standard library, asked independently,
//! calls private, however it is written and whatever a name server answers.
#![no_main]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use libfuzzer_sys::fuzz_target;
use openagents_fuzz::resolve::{inline, reached};
use url::Host;

/// Another reading of what is private, by std's predicates; CGNAT and benchmarking by hand.
fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_private_v4(ip),
        IpAddr::V6(ip) => {
            let embedded = |at: usize| {
                let o = ip.octets();
                is_private_v4(Ipv4Addr::new(o[at], o[at + 1], o[at + 2], o[at + 3]))
            };
            let nat64 = ip.octets()[..12] == [0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0];
            ip.is_loopback()
                || ip.is_unspecified()
                || ip.is_multicast()
                || ip.is_unique_local()
                || ip.is_unicast_link_local()
                || ip.to_ipv4_mapped().is_some_and(is_private_v4)
                || (ip.to_ipv4().is_some() && ip.to_ipv4_mapped().is_none())
                || (ip.segments()[0] == 0x2002 && embedded(2))
                || (nat64 && embedded(12))
        }
    }
}

fn is_private_v4(ip: Ipv4Addr) -> bool {
    ip.is_loopback()
        || ip.is_private()
        || ip.is_link_local()
        || ip.is_broadcast()
        || ip.is_documentation()
        || ip.is_multicast()
        || ip.is_unspecified()
        || ip.octets()[0] == 0
        || ip.octets()[0] >= 240
        || (ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64)
        || (ip.octets()[0] == 198 && ip.octets()[1] & 0xfe == 18)
}

fn literal(host: Option<Host<&str>>) -> Option<IpAddr> {
    match host? {
        Host::Ipv4(ip) => Some(ip.into()),
        Host::Ipv6(ip) => Some(ip.into()),
        Host::Domain(_) => None,
    }
}

fn strangers(text: &str, answers: &[IpAddr]) {
    let Some((url, connected)) = reached(&[], text, answers.to_vec()) else { return };
    assert!(
        matches!(url.scheme(), "http" | "https") && url.username().is_empty() && url.password().is_none()
    );
    assert!(matches!(url.port_or_known_default(), Some(80 | 443)), "{url} is not on a usual port");
    assert!(!literal(url.host()).is_some_and(is_private), "{url} is private");
    let name = url.host_str().unwrap_or_default().trim_end_matches('.').to_ascii_lowercase();
    assert!(name != "localhost" && !name.ends_with(".localhost") && !name.ends_with(".local"), "{url}");
    for ip in connected {
        assert!(!is_private(ip), "{ip} is private and would be connected to");
        assert!(answers.contains(&ip));
    }
    // A redirect is read again as the parser wrote it.
    assert!(reached(&[], url.as_str(), Vec::new()).is_some(), "{url} is refused when written anew");
}

/// An operator who allowed one network opened that network and no other.
fn guests(text: &str, answers: &[IpAddr], network: Ipv4Addr, bits: u8) {
    let Some((_, connected)) = reached(&[format!("{network}/{bits}")], text, answers.to_vec()) else {
        return;
    };
    if literal(url::Url::parse(text).ok().as_ref().and_then(url::Url::host)).is_some() {
        return;
    }
    let inside = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => (0..bits).all(|bit| (ip.to_bits() ^ network.to_bits()) >> (31 - bit) & 1 == 0),
        IpAddr::V6(_) => false,
    };
    for ip in connected {
        assert!(inside(ip) || !is_private(ip), "{network}/{bits} opened {ip}");
    }
}

/// What a name server answers: 4 bytes after an even one, 16 after an odd one.
fn answers(mut bytes: &[u8]) -> Vec<IpAddr> {
    let mut answers = Vec::new();
    while let Some((first, rest)) = bytes.split_first() {
        if first % 2 == 0 {
            let Some((ip, rest)) = rest.split_first_chunk::<4>() else { break };
            answers.push(Ipv4Addr::from(*ip).into());
            bytes = rest;
        } else {
            let Some((ip, rest)) = rest.split_first_chunk::<16>() else { break };
            answers.push(Ipv6Addr::from(*ip).into());
            bytes = rest;
        }
    }
    answers.truncate(16);
    answers
}

// A line with an address, a network in 5 bytes, and what a name server answers.
fuzz_target!(|data: &[u8]| {
    let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let Ok(text) = std::str::from_utf8(&data[..end]) else { return };
    let rest = data.get(end + 1..).unwrap_or_default();
    let (network, rest) = match rest.split_first_chunk::<5>() {
        Some(([a, b, c, d, bits], rest)) => (Some((Ipv4Addr::new(*a, *b, *c, *d), bits % 33)), rest),
        None => (None, rest),
    };
    let answers = answers(rest);
    for ip in &answers {
        let host = if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() };
        strangers(&format!("http://{host}/"), &[]);
    }
    for text in [text, "https://name.example/"] {
        strangers(text, &answers);
        if let Some((network, bits)) = network {
            guests(text, &answers, network, bits);
        }
    }
    if let Some(bytes) = inline(text) {
        assert!(bytes.len() <= text.len());
    }
});
