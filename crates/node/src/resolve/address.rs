//! Which addresses are fetched: public ones, and what the operator allowed.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use futures::future::BoxFuture;
use openagents_types::ResolvedInput;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use super::ResolveError;

/// The most an address itself may carry (`data:`), in bytes: what an event can hold.
const INLINE: usize = 64 << 10;

/// Longest address that is looked at, in bytes.
const LONGEST: usize = 2_048;

/// Ends of names that mean this machine or its neighbours (RFC 6761, 6762, 8375 and ICANN's `internal`).
const LOCAL: [&str; 4] = [".localhost", ".local", ".internal", ".home.arpa"];

/// What stands in `allow_private_urls` is neither a host nor a network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither a host (name or name:port), an address, nor a network such as 10.0.0.0/8")]
pub struct AllowError(String);

/// How far a fetch may reach, decided by what its address says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Public addresses and the operator's networks.
    Public,
    /// The operator's networks alone: the name or the port is not for strangers.
    Networks,
    /// Wherever the name leads: the operator named this very host.
    Anywhere,
}

/// What the operator allowed besides public addresses.
#[derive(Debug, Default)]
pub(super) struct Allowed {
    hosts: Vec<(String, Option<u16>)>,
    sockets: Vec<SocketAddr>,
    networks: Vec<(IpAddr, u8)>,
}

impl Allowed {
    /// Adds a host (`name`, `name:port`), an address (`10.0.0.1`, `10.0.0.1:8080`) or a network (CIDR).
    pub(super) fn add(&mut self, text: &str) -> Result<(), AllowError> {
        let wrong = || AllowError(text.chars().take(64).collect());
        if let Some((address, bits)) = text.split_once('/') {
            let (ip, bits): (IpAddr, u8) = address.parse().ok().zip(bits.parse().ok()).ok_or_else(wrong)?;
            if bits > width(ip) {
                return Err(wrong());
            }
            self.networks.push((ip, bits));
        } else if let Ok(ip) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
            self.networks.push((ip, width(ip)));
        } else if let Ok(socket) = text.parse() {
            self.sockets.push(socket);
        } else {
            self.hosts.push(host(text).ok_or_else(wrong)?);
        }
        Ok(())
    }

    fn has_host(&self, name: &str, port: u16) -> bool {
        self.hosts.iter().any(|(host, own)| host == name && own.is_none_or(|own| own == port))
    }

    fn has_address(&self, ip: IpAddr) -> bool {
        self.networks.iter().any(|(network, bits)| same_network(*network, ip, *bits))
    }

    /// Checks an address as it is written, and says how far it may reach when it is resolved.
    pub(super) fn check(&self, text: &str) -> Result<(Url, Reach), ResolveError> {
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
        let reach = match url.host() {
            Some(Host::Ipv4(ip)) => self.literal(SocketAddr::new(ip.into(), port), usual)?,
            Some(Host::Ipv6(ip)) => self.literal(SocketAddr::new(ip.into(), port), usual)?,
            Some(Host::Domain(name)) => self.name(name, port, usual)?,
            None => return Err(refused("it names no host")),
        };
        Ok((url, reach))
    }

    /// How far the address of a relay that a stranger named may reach. Relays listen on any port, so
    /// none is unusual; plain text is spoken only with hosts that the operator named.
    pub(super) fn check_relay(&self, host: &str, port: u16, plaintext: bool) -> Result<Reach, ResolveError> {
        let reach = match host.parse::<IpAddr>() {
            Ok(ip) => self.literal(SocketAddr::new(ip, port), true)?,
            Err(_) => self.name(host, port, true)?,
        };
        match reach {
            Reach::Public if plaintext => Err(ResolveError::Refused("it is spoken to in plain text".into())),
            reach => Ok(reach),
        }
    }

    fn literal(&self, at: SocketAddr, usual: bool) -> Result<Reach, ResolveError> {
        if self.has_address(at.ip()) || self.sockets.contains(&at) {
            Ok(Reach::Anywhere)
        } else if !is_public(at.ip()) {
            Err(PrivateAddress.into())
        } else if usual {
            Ok(Reach::Public)
        } else {
            Err(unusual_port())
        }
    }

    fn name(&self, name: &str, port: u16, usual: bool) -> Result<Reach, ResolveError> {
        let plain = name.trim_end_matches('.').to_lowercase();
        let local = !plain.contains('.') || LOCAL.iter().any(|end| plain.ends_with(end));
        if self.has_host(&plain, port) {
            Ok(Reach::Anywhere)
        } else if usual && !local {
            Ok(Reach::Public)
        } else if !self.networks.is_empty() {
            Ok(Reach::Networks)
        } else if local {
            Err(PrivateAddress.into())
        } else {
            Err(unusual_port())
        }
    }

    pub(super) fn admits(&self, reach: Reach, ip: IpAddr) -> bool {
        match reach {
            Reach::Anywhere => true,
            Reach::Networks => self.has_address(ip),
            Reach::Public => is_public(ip) || self.has_address(ip),
        }
    }
}

fn unusual_port() -> ResolveError {
    ResolveError::Refused("only ports 80 and 443 are fetched".into())
}

/// Reads `name` or `name:port`; the name becomes what the URL parser makes of it (IDN, case).
fn host(text: &str) -> Option<(String, Option<u16>)> {
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) => (name, Some(port.parse().ok()?)),
        None => (text, None),
    };
    match Host::parse(name.trim_end_matches('.')).ok()? {
        Host::Domain(name) => Some((name, port)),
        Host::Ipv4(_) | Host::Ipv6(_) => None,
    }
}

/// Asks for the addresses of a name. The system does; tests answer what they like.
pub trait Lookup: Send + Sync {
    /// The addresses of `host`, now.
    fn lookup(&self, host: String) -> BoxFuture<'static, std::io::Result<Vec<IpAddr>>>;
}

/// The system's resolver.
#[derive(Clone, Copy, Debug)]
pub struct SystemLookup;

impl Lookup for SystemLookup {
    fn lookup(&self, host: String) -> BoxFuture<'static, std::io::Result<Vec<IpAddr>>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, 0)).await?.map(|at| at.ip()).collect()) })
    }
}

/// Resolves names, and leaves out every address that is out of reach. What it returns is what is
/// connected to, so a name that changes its mind between check and use gains nothing.
pub(super) struct Filtered {
    pub(super) allowed: Arc<Allowed>,
    pub(super) lookup: Arc<dyn Lookup>,
    pub(super) reach: Reach,
}

/// An address is private and was not allowed.
#[derive(Clone, Copy, Debug)]
pub(super) struct PrivateAddress;

impl fmt::Display for PrivateAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it is on a private network, and this provider's operator has not allowed that")
    }
}

impl std::error::Error for PrivateAddress {}

impl From<PrivateAddress> for ResolveError {
    fn from(private: PrivateAddress) -> Self {
        Self::Refused(private.to_string())
    }
}

impl Resolve for Filtered {
    fn resolve(&self, name: Name) -> Resolving {
        let (allowed, reach) = (self.allowed.clone(), self.reach);
        let found = self.lookup.lookup(name.as_str().to_owned());
        Box::pin(async move {
            let found = found.await?;
            let good: Vec<SocketAddr> = found
                .into_iter()
                .filter(|ip| allowed.admits(reach, *ip))
                .map(|ip| SocketAddr::new(ip, 0))
                .collect();
            if good.is_empty() {
                return Err(Box::new(PrivateAddress) as Box<dyn std::error::Error + Send + Sync>);
            }
            Ok(Box::new(good.into_iter()) as Addrs)
        })
    }
}

const fn width(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

fn same_network(network: IpAddr, ip: IpAddr, bits: u8) -> bool {
    let (a, b) = match (network, ip) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (u128::from(a.to_bits()), u128::from(b.to_bits())),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits(), b.to_bits()),
        _ => return false,
    };
    let rest = u32::from(width(network).saturating_sub(bits));
    a.checked_shr(rest).unwrap_or(0) == b.checked_shr(rest).unwrap_or(0)
}

/// Whether an address is on the public internet, by IANA's special-purpose registries; addresses
/// that carry an IPv4 address inside are judged by that one.
fn is_public(ip: IpAddr) -> bool {
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
    let embedded = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match ip.segments() {
        // IPv4-mapped, NAT64 (RFC 6052) and 6to4.
        [0, 0, 0, 0, 0, 0xffff, high, low] => embedded(high, low),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low),
        [0x2002, high, low, ..] => embedded(high, low),
        // Teredo, ORCHID, documentation and the rest of 2001::/23 are not places to fetch from.
        [0x2001, second, ..] if second < 0x200 || second == 0xdb8 => false,
        [0x3fff, second, ..] if second < 0x1000 => false,
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
    let data = percent_decoded(data).ok_or_else(malformed)?;
    let (mime, bytes) = match head.strip_suffix(";base64") {
        Some(mime) => {
            (mime, base64::engine::general_purpose::STANDARD.decode(data).map_err(|_| malformed())?)
        }
        None => (head, data),
    };
    Ok(ResolvedInput { mime: super::sniff(&bytes, mime), source: "the request".into(), bytes })
}

fn percent_decoded(text: &str) -> Option<Vec<u8>> {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        bytes.extend(hex::decode(digits).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    Some(bytes)
}
