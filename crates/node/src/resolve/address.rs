//! Which addresses are fetched: public ones, and what the operator allowed.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use openagents_types::ResolvedInput;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use super::ResolveError;

/// The most an address itself may carry (`data:`), in bytes: what an event can hold.
const INLINE: usize = 64 << 10;

/// Longest address that is looked at.
const LONGEST: usize = 2_048;

/// What the operator allowed besides public addresses.
#[derive(Debug, Default)]
pub(super) struct Allowed {
    hosts: Vec<String>,
    networks: Vec<(IpAddr, u8)>,
}

impl Allowed {
    pub(super) fn parse(texts: &[String]) -> Self {
        let mut allowed = Self::default();
        for text in texts {
            let (address, bits) = text.split_once('/').unwrap_or((text, ""));
            match address.trim_matches(['[', ']']).parse::<IpAddr>() {
                Ok(ip) => {
                    allowed.networks.push((ip, bits.parse().unwrap_or(if ip.is_ipv4() { 32 } else { 128 })))
                }
                Err(_) => allowed.hosts.push(text.to_lowercase()),
            }
        }
        allowed
    }

    fn has_host(&self, name: &str, port: u16) -> bool {
        self.hosts.iter().any(|host| host == name || *host == format!("{name}:{port}"))
    }

    fn has_address(&self, ip: IpAddr) -> bool {
        self.networks.iter().any(|(network, bits)| same_network(*network, ip, *bits))
    }

    /// Checks an address as it is written.
    pub(super) fn check(&self, text: &str) -> Result<Url, ResolveError> {
        let refused = |reason: &str| ResolveError::Refused(reason.into());
        if text.len() > LONGEST {
            return Err(refused("it is too long"));
        }
        let url = Url::parse(text).map_err(|_| refused("it is not a URL"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(refused("only http and https are fetched"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refused("it carries a user name or password"));
        }
        let port = url.port_or_known_default().unwrap_or(0);
        let usual = matches!((url.scheme(), port), ("http", 80) | ("https", 443));
        // The parser has already turned octal, decimal and hexadecimal spellings into addresses.
        let opened = match url.host() {
            Some(Host::Ipv4(ip)) => self.literal(IpAddr::V4(ip))?,
            Some(Host::Ipv6(ip)) => self.literal(IpAddr::V6(ip))?,
            Some(Host::Domain(name)) => self.name(name, port)?,
            None => return Err(refused("it names no host")),
        };
        if usual || opened { Ok(url) } else { Err(refused("only ports 80 and 443 are fetched")) }
    }

    /// Whether an address was opened by the operator; an error if it is private and was not.
    fn literal(&self, ip: IpAddr) -> Result<bool, ResolveError> {
        match (self.has_address(ip), is_public(ip)) {
            (true, _) => Ok(true),
            (false, true) => Ok(false),
            (false, false) => Err(ResolveError::Refused(PrivateAddress.to_string())),
        }
    }

    fn name(&self, name: &str, port: u16) -> Result<bool, ResolveError> {
        let plain = name.trim_end_matches('.').to_lowercase();
        if self.has_host(&plain, port) {
            return Ok(true);
        }
        let local = plain == "localhost"
            || [".localhost", ".local", ".internal", ".home.arpa"].iter().any(|end| plain.ends_with(end));
        if local || !plain.contains('.') {
            return Err(ResolveError::Refused(PrivateAddress.to_string()));
        }
        Ok(!self.networks.is_empty() && !matches!(port, 80 | 443))
    }
}

/// Resolves names, and leaves out every address that is not public or allowed.
pub(super) struct Filtered(pub(super) Arc<Allowed>);

/// A name leads only to private addresses.
#[derive(Clone, Copy, Debug)]
pub(super) struct PrivateAddress;

impl fmt::Display for PrivateAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it is on a private network, and this provider's operator has not allowed that")
    }
}

impl std::error::Error for PrivateAddress {}

impl Resolve for Filtered {
    fn resolve(&self, name: Name) -> Resolving {
        let allowed = self.0.clone();
        Box::pin(async move {
            let host = name.as_str().to_lowercase();
            let found = tokio::net::lookup_host((host.as_str(), 0)).await?;
            let open = allowed.hosts.iter().any(|entry| entry.split(':').next() == Some(host.as_str()));
            let good: Vec<SocketAddr> =
                found.filter(|at| open || is_public(at.ip()) || allowed.has_address(at.ip())).collect();
            if good.is_empty() {
                return Err(Box::new(PrivateAddress) as Box<dyn std::error::Error + Send + Sync>);
            }
            Ok(Box::new(good.into_iter()) as Addrs)
        })
    }
}

fn same_network(network: IpAddr, ip: IpAddr, bits: u8) -> bool {
    let (a, b, width) = match (network, ip) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (u128::from(a.to_bits()), u128::from(b.to_bits()), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits(), b.to_bits(), 128),
        _ => return false,
    };
    let shift = width - u32::from(bits).min(width);
    a.checked_shr(shift).unwrap_or(0) == b.checked_shr(shift).unwrap_or(0)
}

/// Whether an address is on the public internet, by IANA's special-purpose registries; addresses
/// that carry an IPv4 address inside are judged by that one.
pub(super) fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    !(a == 0
        || a == 10
        || a == 127
        || (a == 100 && (64..128).contains(&b))
        || (a == 169 && b == 254)
        || (a == 172 && (16..32).contains(&b))
        || (a == 192 && b == 168)
        || (a == 192 && b == 0 && (c == 0 || c == 2))
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && (b == 18 || b == 19))
        || (a == 198 && b == 51 && c == 100)
        || (a == 203 && b == 0 && c == 113)
        || a >= 224)
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let segments = ip.segments();
    let embedded = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    if let Some(v4) = ip.to_ipv4_mapped() {
        return is_public_v4(v4);
    }
    match segments {
        // NAT64, 6to4.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low),
        [0x2002, high, low, ..] => embedded(high, low),
        // Teredo, ORCHID, documentation and the rest of 2001::/23 are not places to fetch from.
        [0x2001, second, ..] if second < 0x200 || second == 0xdb8 => false,
        [0x3fff, ..] => false,
        // Global unicast is 2000::/3; everything else is loopback, link-local, ULA, multicast, …
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

/// What a `data:` address carries (RFC 2397).
pub(super) fn inline(text: &str) -> Result<ResolvedInput, ResolveError> {
    use base64::Engine as _;
    let malformed = || ResolveError::Refused("its data: address is malformed".into());
    if text.len() > INLINE {
        return Err(ResolveError::TooLarge);
    }
    let (head, data) = text.trim_start_matches("data:").split_once(',').ok_or_else(malformed)?;
    let (mime, encoded) = match head.strip_suffix(";base64") {
        Some(mime) => (mime, true),
        None => (head, false),
    };
    let bytes = if encoded {
        base64::engine::general_purpose::STANDARD.decode(data).map_err(|_| malformed())?
    } else {
        data.as_bytes().to_vec()
    };
    let said = mime.split(';').next().unwrap_or_default().to_lowercase();
    Ok(ResolvedInput { mime: super::sniff(&bytes, &said), source: "the request".into(), bytes })
}
