//! Who listens inside an instance, seen from the host: what the kernel says of the sockets of its network namespace.
//!
//! A listening socket is the first sign of readiness. It is found within milliseconds and without a packet,
//! and it also tells what a refused connection cannot: which other port is open, or that the program listens
//! on the loopback address only.
//!
//! The kernel is asked for listening sockets alone (sock_diag(7)). Its tables in `/proc/PID/net` hold them too, but with a
//! walk of the machine's whole table of connections for each reading: two milliseconds on a machine of 24 GiB, a hundred
//! times as much. They are read where the kernel lacks the other way.

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};
use std::fs;
use std::io::{self, Read};
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd};

/// The socket table of a namespace is read up to this size; a row has 150 bytes.
const TABLE_BYTES_MAX: u64 = 1024 * 1024;
/// State `TCP_LISTEN` as the kernel counts them, and as it prints it.
const LISTEN: u32 = 10;
const LISTEN_PRINTED: &str = "0A";
/// Of one message of the kernel's answer; it fills 32 KiB at most.
const ANSWER_BYTES_MAX: usize = 32 * 1024;
/// Of one answer. What is beyond it, tens of thousands of sockets, is not looked at.
const ANSWERS_MAX: usize = 64;
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

/// How the listening sockets of one process's network namespace are asked for.
pub struct Sockets {
    pid: i32,
    /// None: the kernel lacks this way.
    diag: Option<Diag>,
}

struct Diag {
    /// Made in the namespace, which stays while it is open.
    socket: OwnedFd,
    answer: Vec<u8>,
}

impl Sockets {
    /// Of the network namespace that process `pid` is in.
    pub fn of(pid: i32) -> Sockets {
        Sockets { pid, diag: Diag::of(pid).ok() }
    }

    /// The listening TCP sockets, as many of them as an answer may have.
    ///
    /// # Errors
    /// The process has gone, whoever else is in its namespace; or the kernel does not say.
    pub fn listeners(&mut self) -> io::Result<Vec<Listener>> {
        let mut found = match &mut self.diag {
            None => read_tables(self.pid)?,
            Some(diag) => {
                fs::metadata(format!("/proc/{}", self.pid))?;
                let mut found = diag.ask(libc::AF_INET)?;
                found.extend(diag.ask(libc::AF_INET6)?);
                found
            }
        };
        found.sort();
        Ok(found)
    }
}

/// `struct nlmsghdr`, `linux/netlink.h`.
const HEADER_BYTES: usize = 16;
/// `struct inet_diag_req_v2`, `linux/inet_diag.h`: family, protocol, what else is to be told, states, and an address that is
/// looked at for single sockets only.
const REQUEST_BYTES: usize = 56;
/// `SOCK_DIAG_BY_FAMILY`, `linux/sock_diag.h`.
const BY_FAMILY: u16 = 20;
/// Where `struct inet_diag_msg` has the port and the address of the socket's own end, both in the order of the network.
const PORT_AT: usize = 4;
const ADDRESS_AT: usize = 8;

impl Diag {
    /// The socket is made by a thread that enters the namespace and ends there. One answer tells whether the kernel has this way.
    fn of(pid: i32) -> io::Result<Diag> {
        let namespace = fs::File::open(format!("/proc/{pid}/ns/net"))?;
        let made = std::thread::Builder::new().name("sock-diag".to_owned()).spawn(move || {
            nix::sched::setns(&namespace, nix::sched::CloneFlags::CLONE_NEWNET)?;
            let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
            socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkSockDiag)
        })?;
        let made = made.join().map_err(|_| io::Error::from(io::ErrorKind::Other))?;
        let mut diag = Diag { socket: made?, answer: vec![0; ANSWER_BYTES_MAX] };
        diag.ask(libc::AF_INET)?;
        Ok(diag)
    }

    /// The kernel answers while it is asked, so that nothing is waited for.
    fn ask(&mut self, family: i32) -> io::Result<Vec<Listener>> {
        const LENGTH: usize = HEADER_BYTES + REQUEST_BYTES;
        let mut request = [0u8; LENGTH];
        request[..4].copy_from_slice(&(LENGTH as u32).to_ne_bytes());
        request[4..6].copy_from_slice(&BY_FAMILY.to_ne_bytes());
        let flags = (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16;
        request[6..8].copy_from_slice(&flags.to_ne_bytes());
        request[HEADER_BYTES] = family as u8;
        request[HEADER_BYTES + 1] = libc::IPPROTO_TCP as u8;
        request[HEADER_BYTES + 4..HEADER_BYTES + 8].copy_from_slice(&(1u32 << LISTEN).to_ne_bytes());
        // Of an answer that was not read to its end.
        (0..ANSWERS_MAX).take_while(|_| self.receive().is_ok()).for_each(drop);
        send(self.socket.as_raw_fd(), &request, MsgFlags::empty())?;
        let mut found = Vec::new();
        for _ in 0..ANSWERS_MAX {
            let length = self.receive()?;
            if messages(&self.answer[..length], &mut found)? {
                break;
            }
        }
        Ok(found)
    }

    fn receive(&mut self) -> io::Result<usize> {
        Ok(recv(self.socket.as_raw_fd(), &mut self.answer, MsgFlags::empty())?)
    }
}

/// Takes the sockets of one part of an answer. True when it was the last.
fn messages(mut part: &[u8], found: &mut Vec<Listener>) -> io::Result<bool> {
    let malformed = || io::Error::from(io::ErrorKind::InvalidData);
    while !part.is_empty() {
        let length = bytes(part, 0).map(u32::from_ne_bytes).ok_or_else(malformed)? as usize;
        let kind = bytes(part, 4).map(u16::from_ne_bytes).ok_or_else(malformed)?;
        let message = part.get(HEADER_BYTES..length).ok_or_else(malformed)?;
        match i32::from(kind) {
            libc::NLMSG_DONE => return Ok(true),
            libc::NLMSG_ERROR => {
                let errno = bytes(message, 0).map(i32::from_ne_bytes).ok_or_else(malformed)?;
                return Err(io::Error::from_raw_os_error(-errno));
            }
            _ => found.push(socket_of(message).ok_or_else(malformed)?),
        }
        // Messages begin at multiples of four.
        part = part.get(length.next_multiple_of(mem::size_of::<u32>())..).unwrap_or_default();
    }
    Ok(false)
}

fn socket_of(message: &[u8]) -> Option<Listener> {
    let address = match i32::from(*message.first()?) {
        libc::AF_INET => IpAddr::V4(Ipv4Addr::from(bytes::<4>(message, ADDRESS_AT)?)),
        _ => address_of_six(bytes::<16>(message, ADDRESS_AT)?),
    };
    Some(Listener { address, port: u16::from_be_bytes(bytes(message, PORT_AT)?) })
}

fn bytes<const N: usize>(of: &[u8], at: usize) -> Option<[u8; N]> {
    of.get(at..at + N)?.try_into().ok()
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

fn read_tables(pid: i32) -> io::Result<Vec<Listener>> {
    let mut found = parse(&table(pid, "tcp")?);
    // A kernel without IPv6 has no such file.
    if let Ok(six) = table(pid, "tcp6") {
        found.extend(parse(&six));
    }
    Ok(found)
}

fn table(pid: i32, name: &str) -> io::Result<String> {
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
    if state != LISTEN_PRINTED {
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
        16 => Some(address_of_six(bytes.try_into().ok()?)),
        _ => None,
    }
}

fn address_of_six(bytes: [u8; 16]) -> IpAddr {
    let six = Ipv6Addr::from(bytes);
    six.to_ipv4_mapped().map_or(IpAddr::V6(six), IpAddr::V4)
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

    /// What listens in the test's own namespace, in both ways, on any and on a loopback address of both families.
    #[test]
    fn the_kernel_tells_of_listeners() {
        let own = std::process::id() as i32;
        let open = ["0.0.0.0:0", "127.0.0.1:0", "[::]:0", "[::1]:0"].map(|at| TcpListener::bind(at).unwrap());
        let connected = std::net::TcpStream::connect(open[1].local_addr().unwrap()).unwrap();
        let listener = |at: std::net::SocketAddr| Listener { address: at.ip(), port: at.port() };
        let diag = Sockets { pid: own, diag: Some(Diag::of(own).unwrap()) };
        for mut sockets in [diag, Sockets { pid: own, diag: None }] {
            for round in ["once", "again"] {
                let found = sockets.listeners().unwrap();
                for socket in &open {
                    let at = listener(socket.local_addr().unwrap());
                    assert!(found.contains(&at), "{round}: {at:?} is not among {found:?}");
                }
                assert!(!found.contains(&listener(connected.local_addr().unwrap())), "it does not listen");
            }
        }
    }

    #[test]
    fn a_long_answer_is_read_to_its_end() {
        let open: Vec<TcpListener> = (0..300).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let own = std::process::id() as i32;
        let mut sockets = Sockets { pid: own, diag: Some(Diag::of(own).unwrap()) };
        let found = sockets.listeners().unwrap();
        for socket in &open {
            let port = socket.local_addr().unwrap().port();
            assert!(
                found.iter().any(|listener| listener.port == port),
                "{port} is not among {}",
                found.len()
            );
        }
    }

    #[test]
    fn of_a_process_that_has_gone_nothing_is_told() {
        let mut child = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        let mut sockets = Sockets::of(child.id() as i32);
        assert!(sockets.diag.is_some() && sockets.listeners().is_ok());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(sockets.listeners().is_err());
    }

    #[test]
    fn an_answer_that_is_cut_is_an_error() {
        let mut message = vec![0u8; HEADER_BYTES + 72];
        message[..4].copy_from_slice(&88u32.to_ne_bytes());
        message[4..6].copy_from_slice(&BY_FAMILY.to_ne_bytes());
        message[HEADER_BYTES] = libc::AF_INET as u8;
        message[HEADER_BYTES + PORT_AT..HEADER_BYTES + PORT_AT + 2].copy_from_slice(&8080u16.to_be_bytes());
        let mut found = Vec::new();
        assert!(!messages(&message, &mut found).unwrap(), "more comes");
        assert_eq!(found, [on("0.0.0.0", 8080)]);
        for length in 1..message.len() {
            assert!(messages(&message[..length], &mut found).is_err(), "{length} bytes");
        }
        let mut refusal = vec![0u8; 20];
        refusal[..4].copy_from_slice(&20u32.to_ne_bytes());
        refusal[4..6].copy_from_slice(&(libc::NLMSG_ERROR as u16).to_ne_bytes());
        refusal[16..].copy_from_slice(&(-libc::ENOENT).to_ne_bytes());
        assert_eq!(messages(&refusal, &mut found).unwrap_err().raw_os_error(), Some(libc::ENOENT));
    }

    #[test]
    fn garbage_is_no_listener() {
        for line in ["", "  0: zz:1F90 0:0 0A", "  0: 0100007F 0 0A", "  0: 0100007F:1F90 00000000:0000 01"] {
            assert_eq!(row(line), None, "{line}");
        }
    }
}
