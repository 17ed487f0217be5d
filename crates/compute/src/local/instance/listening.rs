//! Who listens inside an instance, seen from the host: the kernel's own socket tables of its network namespace.
//!
//! A listening socket is the first sign of readiness. It is found within milliseconds and without a packet,
//! and it also tells what a refused connection cannot: which other port is open, or that the program listens
//! on the loopback address only.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The socket table of a namespace is read up to this size; a row has 150 bytes.
const TABLE_BYTES_MAX: u64 = 1024 * 1024;
/// State `TCP_LISTEN` as the kernel prints it.
const LISTEN: &str = "0A";
/// Ports named in a hint; the rest are counted.
const PORTS_NAMED_MAX: usize = 5;

/// A listening TCP socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listener {
    pub address: IpAddr,
    pub port: u16,
}

/// What the listening sockets say about the expected port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Something listens on the port, on an address that can be reached.
    Listening,
    /// Not yet; what is known of why.
    NotYet { hint: String },
}

/// Reads the listening TCP sockets of the network namespace that process `pid` is in.
pub fn listeners(pid: i32) -> io::Result<Vec<Listener>> {
    let mut found = parse(&table(pid, "tcp")?);
    // A kernel without IPv6 has no such file.
    if let Ok(six) = table(pid, "tcp6") {
        found.extend(parse(&six));
    }
    found.sort();
    Ok(found)
}

/// Judges the listening sockets against the port that the instance was told.
pub fn readiness(listeners: &[Listener], port: u16) -> Readiness {
    let here: Vec<&Listener> = listeners.iter().filter(|listener| listener.port == port).collect();
    if here.iter().any(|listener| !listener.address.is_loopback()) {
        return Readiness::Listening;
    }
    if let Some(local) = here.first() {
        let hint = format!(
            "listens on {}:{port} only, which nothing outside the instance can reach; listen on 0.0.0.0",
            local.address
        );
        return Readiness::NotYet { hint };
    }
    let mut others: Vec<u16> = listeners.iter().map(|listener| listener.port).collect();
    others.sort_unstable();
    others.dedup();
    let hint = match others.as_slice() {
        [] => format!("nothing listens yet, expected port {port}"),
        ports => {
            let named: Vec<String> = ports.iter().take(PORTS_NAMED_MAX).map(u16::to_string).collect();
            let more = ports.len() - named.len();
            let more = if more == 0 { String::new() } else { format!(" and {more} more") };
            format!("listening on {}{more}, expected {port}", named.join(", "))
        }
    };
    Readiness::NotYet { hint }
}

fn table(pid: i32, name: &str) -> io::Result<String> {
    use std::io::Read;
    let mut text = String::new();
    fs::File::open(format!("/proc/{pid}/net/{name}"))?.take(TABLE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

fn parse(table: &str) -> Vec<Listener> {
    table.lines().skip(1).filter_map(row).collect()
}

/// A row is `sl local_address rem_address st …` with addresses in hexadecimal.
fn row(line: &str) -> Option<Listener> {
    let mut fields = line.split_whitespace().skip(1);
    let (local, _remote, state) = (fields.next()?, fields.next()?, fields.next()?);
    if state != LISTEN {
        return None;
    }
    let (address, port) = local.split_once(':')?;
    Some(Listener { address: address_of(address)?, port: u16::from_str_radix(port, 16).ok()? })
}

/// The kernel prints an address as 32-bit words in the machine's byte order.
fn address_of(hex: &str) -> Option<IpAddr> {
    let mut bytes = Vec::with_capacity(16);
    for at in (0..hex.len()).step_by(8) {
        bytes.extend(u32::from_str_radix(hex.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    }
    match bytes.len() {
        4 => Some(IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?))),
        16 => {
            let six = Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?);
            Some(six.to_ipv4_mapped().map_or(IpAddr::V6(six), IpAddr::V4))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn on(address: &str, port: u16) -> Listener {
        Listener { address: address.parse().unwrap(), port }
    }

    fn hint(listeners: &[Listener]) -> String {
        match readiness(listeners, 8080) {
            Readiness::Listening => "listening".into(),
            Readiness::NotYet { hint } => hint,
        }
    }

    #[test]
    fn says_what_is_wrong() {
        assert_eq!(hint(&[]), "nothing listens yet, expected port 8080");
        assert_eq!(hint(&[on("0.0.0.0", 8000)]), "listening on 8000, expected 8080");
        assert_eq!(hint(&[on("0.0.0.0", 8000), on("::", 8000)]), "listening on 8000, expected 8080");
        assert!(hint(&[on("127.0.0.1", 8080)]).starts_with("listens on 127.0.0.1:8080 only"));
        assert!(hint(&[on("::1", 8080)]).starts_with("listens on ::1:8080 only"));
        assert_eq!(hint(&[on("127.0.0.1", 8080), on("10.213.0.2", 8080)]), "listening");
        assert_eq!(hint(&[on("::", 8080)]), "listening");
        let many: Vec<Listener> = (1..=7).map(|port| on("0.0.0.0", port)).collect();
        assert_eq!(hint(&many), "listening on 1, 2, 3, 4, 5 and 2 more, expected 8080");
    }

    #[test]
    fn reads_the_kernels_table() {
        let four = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let socket = TcpListener::bind("0.0.0.0:0").unwrap();
        let any = socket.local_addr().unwrap();
        let found = listeners(std::process::id() as i32).unwrap();
        assert!(found.contains(&Listener { address: any.ip(), port: any.port() }));
        assert!(!found.contains(&Listener { address: four.ip(), port: four.port() }), "it was closed");
    }

    #[test]
    fn garbage_is_no_listener() {
        for line in ["", "  0: zz:1F90 0:0 0A", "  0: 0100007F 0 0A", "  0: 0100007F:1F90 00000000:0000 01"] {
            assert_eq!(row(line), None, "{line}");
        }
    }
}
