//! Whether a model server on this machine can be reached from other machines, as many are by accident.

use std::{
    net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs, UdpSocket},
    time::Duration,
};

/// How long one of this machine's own addresses may take to answer.
const PATIENCE: Duration = Duration::from_millis(300);

/// The host and port of a URL.
fn host_and_port(url: &str) -> Option<(String, u16)> {
    let url = reqwest::Url::parse(url).ok()?;
    let host = url.host_str()?.trim_matches(['[', ']']).to_owned();
    Some((host, url.port_or_known_default()?))
}

/// Whether a URL names this machine and no other.
pub fn is_loopback(url: &str) -> bool {
    host_and_port(url).is_some_and(|(host, _)| {
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    })
}

/// Says so if what listens on this loopback port listens for other machines too. Blocks for a moment.
pub(crate) fn warning(url: &str) -> Option<String> {
    let (host, port) = host_and_port(url).filter(|_| is_loopback(url))?;
    (&*host, port).to_socket_addrs().ok()?.next()?;
    let open = listeners(port).into_iter().chain(own_addresses()).find(|address| {
        !address.is_loopback()
            && TcpStream::connect_timeout(&SocketAddr::new(*address, port), PATIENCE).is_ok()
    });
    open.map(|address| {
        format!(
            "port {port} answers at {address} too: other machines can use the model server without paying; let it \
             listen on 127.0.0.1 alone"
        )
    })
}

/// The addresses that this machine would send from. Nothing is sent.
fn own_addresses() -> Vec<IpAddr> {
    // Addresses of the documentation: RFC 5737 and RFC 3849.
    let from = |own: &str, to: &str| {
        let socket = UdpSocket::bind(own).ok()?;
        socket.connect(to).ok()?;
        Some(socket.local_addr().ok()?.ip())
    };
    let found = [from("0.0.0.0:0", "192.0.2.1:9"), from("[::]:0", "[2001:db8::1]:9")];
    found.into_iter().flatten().filter(|address| !address.is_unspecified()).collect()
}

/// The addresses on which this port is listened on, as far as the system tells.
#[cfg(target_os = "linux")]
fn listeners(port: u16) -> Vec<IpAddr> {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let bound = table.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (address, _, state) = (fields.next()?, fields.next()?, fields.next()?);
        let (address, found) = address.split_once(':')?;
        // 0A is LISTEN; addresses are in the byte order of the machine.
        (state == "0A" && u16::from_str_radix(found, 16).ok()? == port).then_some(())?;
        Some(IpAddr::from(u32::from_str_radix(address, 16).ok()?.to_ne_bytes()))
    });
    let sixth = std::fs::read_to_string("/proc/net/tcp6").unwrap_or_default();
    let all = format!(" {}:{port:04X} ", "0".repeat(32));
    let everywhere = sixth.lines().filter(|line| line.contains(&all) && line.contains(" 0A "));
    bound.chain(everywhere.map(|_| IpAddr::from(std::net::Ipv6Addr::UNSPECIFIED))).collect()
}

#[cfg(not(target_os = "linux"))]
fn listeners(_: u16) -> Vec<IpAddr> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn what_listens_for_everybody_is_said_and_what_listens_here_is_not() {
        let alone = TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(warning(&format!("http://{}", alone.local_addr().unwrap())), None);
        let open = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = open.local_addr().unwrap().port();
        if cfg!(target_os = "linux") {
            let warning = warning(&format!("http://127.0.0.1:{port}/")).unwrap();
            assert!(warning.contains(&format!("port {port}")), "{warning}");
        }
    }

    #[test]
    fn other_machines_are_no_loopback() {
        for (url, expected) in [
            ("http://127.0.0.1:11434", true),
            ("http://localhost:1/v1", true),
            ("http://[::1]:1", true),
            ("http://192.168.1.2:11434", false),
            ("https://ollama.example", false),
            ("http://127.0.0.1.example:1", false),
            ("junk", false),
        ] {
            assert_eq!(is_loopback(url), expected, "{url}");
        }
    }
}
