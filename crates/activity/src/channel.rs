//! The socket between each loop of a proxy and the node: what cannot wait until the node looks.
//!
//! A sequenced-packet socket (unix(7)): messages arrive whole and in order, and the end of either side is seen. A message
//! is 28 bytes: what it is, in the first, the version, in the second, the key of an instance from the eighth on, and behind
//! it six times; numbers in the machine's own order. The first one to the node is `Hello`, with the identity of the memory file.
//!
//! No descriptors are taken along. Who may send some to another process can make it wait when it closes them, so those are
//! refused where the kernel can do that (Linux 6.16), and the socket is its owner's alone in any case.

use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, SockFlag, SockType, UnixAddr, accept4, bind, connect, getsockopt,
    listen, recv, send, socket, sockopt,
};
use nix::unistd::{Uid, chown};
use std::fs::{Permissions, set_permissions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Of these messages. A node that knows another one closes the connection; the proxy then goes on without.
const VERSION: u8 = 2;
const MESSAGE_BYTES: usize = 28;
const VERSION_AT: usize = 1;
const KEY_AT: usize = 8;
const STAGES_AT: usize = 16;
/// What `Stages` are.
pub const STAGES: [&str; 6] = ["queued", "namespace", "mount", "exec", "listening", "healthy"];
/// Loops that connect at the same moment.
const BACKLOG: i32 = 128;
/// Whether a socket takes descriptors (`asm-generic/socket.h`).
const SO_PASSRIGHTS: i32 = 83;

/// How long after a start began each of `STAGES` was reached, in milliseconds; what took longer than a minute and five seconds
/// is one millisecond less than `NOT_REACHED`.
pub type Stages = [u16; STAGES.len()];
/// Of a stage.
pub const NOT_REACHED: u16 = u16::MAX;

/// From a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToNode {
    /// It counts in the memory file of this identity.
    Hello(u64),
    /// The instance with this key has something to do.
    Wake(u64),
    /// No connection to it is kept open by this loop.
    Closed(u64),
    /// The instance has begun its first answer since a start.
    Answered(u64),
}

/// From the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FromNode {
    /// The instance serves.
    Awake(u64),
    /// It was started, and so that went. Loops that wait for it hear `Awake` next; where none does, all of them hear this.
    Started(u64, Stages),
    /// It cannot be woken at present.
    NotWoken(u64),
    /// It is about to be frozen: close the idle connections to it, and say so.
    Close(u64),
}

/// One end of a connection. Nothing here ever waits: what cannot be done at once is `WouldBlock`.
#[derive(Debug)]
pub struct Channel(OwnedFd);

impl Channel {
    /// Connects to the node.
    ///
    /// # Errors
    /// The system's: nobody listens there, or too many wait.
    pub fn connect(path: &Path) -> io::Result<Channel> {
        let socket = seqpacket()?;
        connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
        Ok(Channel(socket))
    }

    /// Says which memory file this proxy counts in.
    ///
    /// # Errors
    /// The system's, as for the other ones that send.
    pub fn hello(&self, memory: u64) -> io::Result<()> {
        self.send(b'h', memory, Stages::default())
    }

    /// # Errors
    /// See `hello`.
    pub fn wake(&self, key: u64) -> io::Result<()> {
        self.send(b'w', key, Stages::default())
    }

    /// # Errors
    /// See `hello`.
    pub fn closed(&self, key: u64) -> io::Result<()> {
        self.send(b'c', key, Stages::default())
    }

    /// # Errors
    /// See `hello`.
    pub fn answered(&self, key: u64) -> io::Result<()> {
        self.send(b'b', key, Stages::default())
    }

    /// What the node says next.
    ///
    /// # Errors
    /// The system's; `UnexpectedEof` when the node is gone, `InvalidData` for what is no message.
    pub fn from_node(&self) -> io::Result<FromNode> {
        match self.receive()? {
            (b'a', key, _) => Ok(FromNode::Awake(key)),
            (b's', key, stages) => Ok(FromNode::Started(key, stages)),
            (b'n', key, _) => Ok(FromNode::NotWoken(key)),
            (b'c', key, _) => Ok(FromNode::Close(key)),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// Says it to a proxy.
    ///
    /// # Errors
    /// See `hello`.
    pub fn to_proxy(&self, what: FromNode) -> io::Result<()> {
        let none = Stages::default();
        let (kind, key, stages) = match what {
            FromNode::Awake(key) => (b'a', key, none),
            FromNode::Started(key, stages) => (b's', key, stages),
            FromNode::NotWoken(key) => (b'n', key, none),
            FromNode::Close(key) => (b'c', key, none),
        };
        self.send(kind, key, stages)
    }

    /// What a proxy says next.
    ///
    /// # Errors
    /// As for `from_node`.
    pub fn from_proxy(&self) -> io::Result<ToNode> {
        match self.receive()? {
            (b'h', memory, _) => Ok(ToNode::Hello(memory)),
            (b'w', key, _) => Ok(ToNode::Wake(key)),
            (b'c', key, _) => Ok(ToNode::Closed(key)),
            (b'b', key, _) => Ok(ToNode::Answered(key)),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    fn send(&self, kind: u8, key: u64, stages: Stages) -> io::Result<()> {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        send(self.0.as_raw_fd(), &message(kind, key, stages), flags)?;
        Ok(())
    }

    fn receive(&self) -> io::Result<(u8, u64, Stages)> {
        // One byte more than a message has: what is longer is none.
        let mut bytes = [0; MESSAGE_BYTES + 1];
        match recv(self.0.as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            MESSAGE_BYTES if bytes[VERSION_AT] == VERSION => {
                let mut key = [0; 8];
                key.copy_from_slice(&bytes[KEY_AT..STAGES_AT]);
                let mut stages = Stages::default();
                for (stage, pair) in stages.iter_mut().zip(bytes[STAGES_AT..].chunks_exact(2)) {
                    *stage = u16::from_ne_bytes([pair[0], pair[1]]);
                }
                Ok((bytes[0], u64::from_ne_bytes(key), stages))
            }
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Channel {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Where proxies connect.
#[derive(Debug)]
pub struct Listener(OwnedFd);

impl Listener {
    /// Nothing may be at the path. Only processes of this user may connect, and root's.
    ///
    /// # Errors
    /// The system's.
    pub fn bind(path: &Path, user: u32) -> io::Result<Listener> {
        let socket = seqpacket()?;
        bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
        // Nobody can connect before it listens.
        set_permissions(path, Permissions::from_mode(0o600))?;
        chown(path, Some(Uid::from_raw(user)), None)?;
        refuse_descriptors(&socket);
        listen(&socket, Backlog::new(BACKLOG)?)?;
        Ok(Listener(socket))
    }

    /// A connection, and whose it is: the user of the process that connected.
    ///
    /// # Errors
    /// The system's.
    pub fn accept(&self) -> io::Result<(Channel, u32)> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let raw = accept4(self.0.as_raw_fd(), flags)?;
        // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
        let socket = unsafe { OwnedFd::from_raw_fd(raw) };
        refuse_descriptors(&socket);
        let uid = getsockopt(&socket, sockopt::PeerCredentials)?.uid();
        Ok((Channel(socket), uid))
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A kernel that does not know it takes them, and closes them with the message.
fn refuse_descriptors(socket: &OwnedFd) {
    let no: libc::c_int = 0;
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: reads an integer from where there is one.
    unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, SO_PASSRIGHTS, (&raw const no).cast(), length)
    };
}

fn seqpacket() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    Ok(socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?)
}

fn message(kind: u8, key: u64, stages: Stages) -> [u8; MESSAGE_BYTES] {
    let mut message = [0; MESSAGE_BYTES];
    (message[0], message[VERSION_AT]) = (kind, VERSION);
    message[KEY_AT..STAGES_AT].copy_from_slice(&key.to_ne_bytes());
    for (pair, stage) in message[STAGES_AT..].chunks_exact_mut(2).zip(stages) {
        pair.copy_from_slice(&stage.to_ne_bytes());
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::{ControlMessage, sendmsg};
    use std::io::IoSlice;

    struct Place(std::path::PathBuf);

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    fn own_user() -> u32 {
        nix::unistd::geteuid().as_raw()
    }

    fn pair(name: &str) -> (Place, Listener, Channel, Channel) {
        let path = std::env::temp_dir().join(format!("apron-channel-{}-{name}", std::process::id()));
        let place = Place(path);
        let listener = Listener::bind(&place.0, own_user()).unwrap();
        let proxy = Channel::connect(&place.0).unwrap();
        let (node, uid) = listener.accept().unwrap();
        assert_eq!(uid, own_user());
        (place, listener, proxy, node)
    }

    #[test]
    fn what_is_said_arrives_in_order() {
        let (_place, listener, proxy, node) = pair("order");
        assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert_eq!(proxy.from_node().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        proxy.hello(5).unwrap();
        proxy.wake(u64::MAX).unwrap();
        proxy.closed(7).unwrap();
        proxy.answered(8).unwrap();
        for said in [ToNode::Hello(5), ToNode::Wake(u64::MAX), ToNode::Closed(7), ToNode::Answered(8)] {
            assert_eq!(node.from_proxy().unwrap(), said);
        }
        let started = FromNode::Started(4, [1, 2, 3, 4, 5, u16::MAX]);
        for what in [FromNode::Awake(1), FromNode::NotWoken(2), FromNode::Close(3), started] {
            node.to_proxy(what).unwrap();
            assert_eq!(proxy.from_node().unwrap(), what);
        }
        drop(node);
        assert_eq!(proxy.from_node().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(proxy.wake(1).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn what_is_no_message_is_an_error() {
        let (_place, _listener, proxy, node) = pair("wrong");
        let mut newer = message(b'w', 1, Stages::default());
        newer[VERSION_AT] += 1;
        for wrong in [&b"w"[..], &[b'w'; MESSAGE_BYTES + 1], &message(b'x', 1, Stages::default()), &newer] {
            send(proxy.0.as_raw_fd(), wrong, MsgFlags::empty()).unwrap();
            assert_eq!(node.from_proxy().unwrap_err().kind(), io::ErrorKind::InvalidData, "{wrong:?}");
        }
        node.to_proxy(FromNode::Awake(1)).unwrap();
        assert_eq!(proxy.from_node().unwrap(), FromNode::Awake(1), "it is the sender's fault alone");
    }

    /// A descriptor that closes slowly would hold up whoever is sent it.
    #[test]
    fn descriptors_reach_nobody() {
        let (_place, _listener, proxy, node) = pair("descriptors");
        let zero = std::fs::File::open("/dev/zero").unwrap();
        let raw = [zero.as_raw_fd()];
        let (said, rights) = (message(b'w', 1, Stages::default()), [ControlMessage::ScmRights(&raw)]);
        let data = [IoSlice::new(&said)];
        let sent = sendmsg::<UnixAddr>(proxy.0.as_raw_fd(), &data, &rights, MsgFlags::empty(), None);
        // Linux 6.16 refuses at the sender; an older kernel takes them and gives us none.
        assert!(sent.is_err() || node.from_proxy().unwrap() == ToNode::Wake(1));
        let release = nix::sys::utsname::uname().unwrap().release().to_string_lossy().into_owned();
        let mut numbers = release.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
        if (numbers.next(), numbers.next()) >= (Some(6), Some(16)) {
            assert!(sent.is_err(), "{release}");
        }
    }

    /// A node that hears nothing, as one that was stopped, makes nobody wait.
    #[test]
    fn a_full_channel_says_so() {
        let (_place, _listener, proxy, _node) = pair("full");
        let full = (0..100_000).find_map(|key| proxy.wake(key).err()).expect("it has no end");
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
    }
}
