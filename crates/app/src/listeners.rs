//! Listening sockets: bound once, kept by the supervisor, handed to children, taken over from living ones.
//!
//! An address for applications is bound several times with SO_REUSEPORT, one socket per event loop of the
//! proxy. The supervisor keeps a copy of each, so that a dead proxy leaves connections waiting, not refused.

use nix::sys::socket::{getsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

/// Connections that wait for a proxy that is being replaced; the kernel cuts this at net.core.somaxconn.
const BACKLOG: i32 = 4096;

/// The sockets of one address, one per loop of who accepts from them.
#[derive(Debug)]
pub(crate) struct Listeners {
    pub(crate) address: SocketAddr,
    pub(crate) sockets: Vec<OwnedFd>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenError {
    #[error("{address} is in use{}", holder.as_ref().map(|h| format!(" by {h}")).unwrap_or_default())]
    InUse { address: SocketAddr, holder: Option<String> },
    #[error("cannot listen on {address}: {source}")]
    Other { address: SocketAddr, source: io::Error },
}

/// Binds an address for `count` accepting loops. Port 0 takes a free one. An address on which anyone else
/// listens is refused, also when that one would share it.
pub(crate) fn bind(address: SocketAddr, count: usize) -> Result<Listeners, ListenError> {
    // SO_REUSEPORT would quietly share the port with another process of root, each getting half of the
    // connections; a first bind without it finds that out.
    let probe = socket(address, false)?;
    let address = local_address(&probe).map_err(|source| ListenError::Other { address, source })?;
    drop(probe);
    let mut sockets = Vec::new();
    for _ in 0..count.max(1) {
        let socket = socket(address, true)?;
        socket.listen(BACKLOG).map_err(|source| failed(address, source))?;
        sockets.push(socket.into());
    }
    Ok(Listeners { address, sockets })
}

/// Binds an address for one accepting process.
pub(crate) fn bind_one(address: SocketAddr) -> Result<Listeners, ListenError> {
    let socket = socket(address, false)?;
    socket.listen(BACKLOG).map_err(|source| failed(address, source))?;
    let address = local_address(&socket).map_err(|source| ListenError::Other { address, source })?;
    Ok(Listeners { address, sockets: vec![socket.into()] })
}

/// The address of a descriptor if it is a listening TCP socket; whoever takes one from another process
/// checks what it got.
pub(crate) fn listening_address(descriptor: &OwnedFd) -> Option<SocketAddr> {
    let accepting = getsockopt(descriptor, sockopt::AcceptConn).ok()?;
    let listener = TcpListener::from(descriptor.try_clone().ok()?);
    accepting.then(|| listener.local_addr().ok()).flatten()
}

fn socket(address: SocketAddr, shared: bool) -> Result<Socket, ListenError> {
    let make = || -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        // Connections of a former run in TIME_WAIT must not keep the port.
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(shared)?;
        socket.set_nonblocking(true)?;
        if address.is_ipv6() {
            // All addresses are those of IPv4 too, whatever the system's default says.
            socket.set_only_v6(false)?;
        }
        socket.bind(&address.into())?;
        Ok(socket)
    };
    make().map_err(|source| failed(address, source))
}

fn failed(address: SocketAddr, source: io::Error) -> ListenError {
    match source.kind() {
        io::ErrorKind::AddrInUse => ListenError::InUse { address, holder: holder(address) },
        _ => ListenError::Other { address, source },
    }
}

fn local_address(socket: &Socket) -> io::Result<SocketAddr> {
    socket.local_addr()?.as_socket().ok_or_else(|| io::Error::other("the socket has no address"))
}

/// Who listens on the port, as "nginx (pid 812)", as far as /proc tells.
pub(crate) fn holder(address: SocketAddr) -> Option<String> {
    let inodes: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|path| std::fs::read_to_string(path).ok())
        .flat_map(|table| listening_inodes(&table, address.port()))
        .collect();
    let targets: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    let mut holders: Vec<(u32, String)> = std::fs::read_dir("/proc")
        .ok()?
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            holds(&entry.path(), &targets).then(|| (pid, command_name(&entry.path())))
        })
        .collect();
    // Of a server and its workers the first is the one to speak to.
    holders.sort();
    holders.first().map(|(pid, name)| format!("{name} (pid {pid})"))
}

/// Inodes of the sockets that listen on a port, from the text of /proc/net/tcp or tcp6.
fn listening_inodes(table: &str, port: u16) -> Vec<String> {
    const LISTEN: &str = "0A";
    table
        .lines()
        .skip(1)
        .filter_map(|row| {
            let fields: Vec<&str> = row.split_ascii_whitespace().collect();
            let (_, row_port) = fields.get(1)?.rsplit_once(':')?;
            let matches = u16::from_str_radix(row_port, 16).ok()? == port && *fields.get(3)? == LISTEN;
            matches.then(|| fields.get(9).map(|inode| (*inode).to_owned())).flatten()
        })
        .collect()
}

fn holds(process: &Path, targets: &[String]) -> bool {
    let Ok(descriptors) = std::fs::read_dir(process.join("fd")) else { return false };
    descriptors
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .any(|target| targets.iter().any(|wanted| target.as_os_str() == wanted.as_str()))
}

/// The name of a process as the kernel shows it, from its directory below /proc.
pub(crate) fn command_name(process: &Path) -> String {
    match std::fs::read_to_string(process.join("comm")) {
        Ok(name) => name.trim_end().to_owned(),
        Err(_) => "a process".to_owned(),
    }
}

/// The value of `APRON_LISTENERS`: `api=5;http=6,7;https=8,9`.
pub(crate) fn describe<'a>(listeners: impl IntoIterator<Item = (&'a str, &'a Listeners)>) -> String {
    let one = |(name, listeners): (&str, &Listeners)| {
        let numbers: Vec<String> = listeners.sockets.iter().map(|s| s.as_raw_fd().to_string()).collect();
        format!("{name}={}", numbers.join(","))
    };
    listeners.into_iter().map(one).collect::<Vec<_>>().join(";")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    fn loopback() -> SocketAddr {
        "127.0.0.1:0".parse().unwrap()
    }

    #[test]
    fn one_socket_per_loop_on_one_port() {
        let listeners = bind(loopback(), 3).unwrap();
        assert_ne!(listeners.address.port(), 0);
        assert_eq!(listeners.sockets.len(), 3);
        assert!(listeners.sockets.iter().all(|s| listening_address(s) == Some(listeners.address)));
        TcpStream::connect(listeners.address).unwrap();
        let numbers: Vec<_> = listeners.sockets.iter().map(|s| s.as_raw_fd().to_string()).collect();
        assert_eq!(describe([("http", &listeners)]), format!("http={}", numbers.join(",")));
    }

    #[test]
    fn a_port_in_use_is_refused_and_its_holder_named() {
        for first in [bind(loopback(), 2).unwrap(), bind_one(loopback()).unwrap()] {
            let expect = format!("{} (pid {})", command_name(Path::new("/proc/self")), std::process::id());
            for second in [bind(first.address, 2), bind_one(first.address)] {
                match second.unwrap_err() {
                    ListenError::InUse { address, holder } => {
                        assert_eq!((address, holder), (first.address, Some(expect.clone())));
                    }
                    other => panic!("{other}"),
                }
            }
        }
    }

    #[test]
    fn what_does_not_listen_is_not_taken_for_a_listener() {
        let file = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        assert_eq!(listening_address(&file), None);
        let unbound = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        assert_eq!(listening_address(&unbound.into()), None);
    }

    #[test]
    fn an_address_of_another_machine_is_a_clear_error() {
        let error = bind("192.0.2.1:80".parse().unwrap(), 1).unwrap_err();
        assert!(error.to_string().starts_with("cannot listen on 192.0.2.1:80: "), "{error}");
    }
}
