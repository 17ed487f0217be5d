//! One connection of a client that says what it was given, whatever it is, and hears all that comes back.

use crate::support::PATIENCE;
use socket2::{Domain, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

/// Time between two connections of one test. A firewall's table of connections keeps each for two minutes: nf_conntrack
/// has room for 262,144 where there is no setting, and drops what opens further ones.
pub(crate) const PAUSE: Duration = Duration::from_millis(2);
/// What a proxy may be silent for: two minutes for a client that takes nothing, and some seconds of politeness.
const SILENCE_MAX: Duration = Duration::from_secs(150);

/// How a client speaks and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// It says everything at once, ends its direction and waits for the other's end.
    Ends,
    /// It waits for that without a word.
    Waits,
    /// As the first, in a few pieces.
    Hesitates,
    /// It says everything and is gone, whatever there is to hear.
    Leaves,
}

/// How the other side ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Closed,
    Reset,
    /// Not in time.
    Silence,
}

pub(crate) struct Heard {
    pub(crate) bytes: Vec<u8>,
    pub(crate) end: End,
}

/// What is said meanwhile is heard: who has much to answer may stop listening.
pub(crate) fn talk(address: SocketAddr, bytes: &[u8], manner: Manner) -> Heard {
    let mut stream = connect(address);
    stream.set_read_timeout(Some(SILENCE_MAX)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    if manner == Manner::Leaves {
        // As below.
        let _ = stream.write_all(bytes);
        return Heard { bytes: Vec::new(), end: End::Closed };
    }
    let writer = stream.try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || say(writer, bytes, manner));
        let mut heard = Vec::new();
        let end = match stream.read_to_end(&mut heard) {
            Ok(_) => End::Closed,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => End::Silence,
            Err(_) => End::Reset,
        };
        // Nobody listens any more, and so nothing more is said.
        let _ = stream.shutdown(Shutdown::Both);
        Heard { bytes: heard, end }
    })
}

fn say(mut stream: TcpStream, bytes: &[u8], manner: Manner) {
    let pieces = if manner == Manner::Hesitates { 4 } else { 1 };
    for (number, piece) in bytes.chunks(bytes.len() / pieces + 1).enumerate() {
        if number > 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        // A proxy that has read enough closes.
        if stream.write_all(piece).is_err() {
            return;
        }
    }
    if manner != Manner::Waits {
        let _ = stream.shutdown(Shutdown::Write);
    }
}

/// From an address of its own: of one, the ports that were just used are many, and a connection by the same ones as the
/// last may take seconds to begin.
fn connect(address: SocketAddr) -> TcpStream {
    static NUMBER: AtomicU16 = AtomicU16::new(0);
    let [high, low] = NUMBER.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let from = SocketAddr::from(([127, 1, high, low], 0));
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&from.into()).unwrap();
    socket.connect(&address.into()).unwrap();
    socket.into()
}
