//! Waiting for sockets, and for a moment, as exactly as the kernel can.
//!
//! A socket is told of once per change, so whoever is told reads until there is nothing left. That needs no further
//! call to the kernel per request, and what the load costs on its own core bounds how fast it can ask.

use anyhow::Result;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::time::TimeSpec;
use std::os::fd::AsFd;
use std::time::Duration;

/// Events that are taken at once; more come with the next wait.
const EVENTS_MAX: usize = 256;

pub(super) struct Poller {
    epoll: Epoll,
    events: Vec<EpollEvent>,
}

/// One socket has something new.
#[derive(Clone, Copy)]
pub(super) struct Event {
    /// What the socket was added with.
    pub(super) token: usize,
    /// The peer has ended its direction, or the connection is broken.
    pub(super) ending: bool,
}

impl Poller {
    pub(super) fn new() -> Result<Poller> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        Ok(Poller { epoll, events: vec![EpollEvent::empty(); EVENTS_MAX] })
    }

    /// The socket is taken out again by being closed.
    pub(super) fn add(&self, socket: impl AsFd, token: usize) -> Result<()> {
        let what = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLET;
        self.epoll.add(socket, EpollEvent::new(what, token as u64))?;
        Ok(())
    }

    /// Waits until there is an event, at most this long, and gives how many there are.
    pub(super) fn wait(&mut self, longest: Duration) -> Result<usize> {
        let ready = self.take()?;
        if ready > 0 || longest.is_zero() {
            return Ok(ready);
        }
        // epoll itself counts whole milliseconds, and one of those is all that a proxy may add.
        let mut descriptors = [PollFd::new(self.epoll.0.as_fd(), PollFlags::POLLIN)];
        match ppoll(&mut descriptors, Some(TimeSpec::from(longest)), None) {
            Ok(0) | Err(Errno::EINTR) => Ok(0),
            Ok(_) => self.take(),
            Err(error) => Err(error.into()),
        }
    }

    /// One of those that the last `wait` gave.
    pub(super) fn event(&self, place: usize) -> Event {
        let event = &self.events[place];
        let ends = EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR;
        Event { token: event.data() as usize, ending: event.events().intersects(ends) }
    }

    fn take(&mut self) -> Result<usize> {
        match self.epoll.wait(&mut self.events, 0u8) {
            Ok(ready) => Ok(ready),
            Err(Errno::EINTR) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::time::Instant;

    #[test]
    fn a_socket_is_told_of_once_per_change() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let mut poller = Poller::new().unwrap();
        poller.add(&server, 7).unwrap();
        let long = Duration::from_secs(10);
        // It can be written to.
        assert_eq!(poller.wait(long).unwrap(), 1);
        let began = Instant::now();
        assert_eq!(poller.wait(Duration::from_millis(20)).unwrap(), 0);
        assert!(began.elapsed() >= Duration::from_millis(20));
        client.write_all(b"a").unwrap();
        assert_eq!(poller.wait(long).unwrap(), 1);
        let event = poller.event(0);
        assert_eq!((event.token, event.ending), (7, false));
        server.read_exact(&mut [0]).unwrap();
        drop(client);
        assert_eq!(poller.wait(long).unwrap(), 1);
        assert!(poller.event(0).ending);
    }
}
