//! Connections to one instance on which this path speaks, kept open between requests.
//!
//! A connection is driven by the request that has it. While it waits here nobody reads it, so whoever takes it looks
//! first whether it ended, or whether the instance said something that nobody asked for.

use crate::pool::{IDLE_CONNECTIONS_MAX, IDLE_TIME_MAX, IDLE_TIME_UNREPLAYABLE_MAX};
use std::cell::{Cell, RefCell};
use std::io;
use tokio::net::TcpStream;
use tokio::time::Instant;

#[derive(Default)]
pub(crate) struct RawPool {
    /// The newest lies on top.
    idle: RefCell<Vec<Idle>>,
    retired: Cell<bool>,
}

struct Idle {
    stream: TcpStream,
    since: Instant,
}

impl RawPool {
    /// The connection that was used last, so that a surplus of them ages and is closed.
    pub(crate) fn take(&self, replayable: bool) -> Option<TcpStream> {
        let mut idle = self.idle.borrow_mut();
        // Below one that is too old are older ones.
        let usable = |top: &mut Idle| replayable || top.since.elapsed() <= IDLE_TIME_UNREPLAYABLE_MAX;
        while let Some(Idle { stream, .. }) = idle.pop_if(usable) {
            if is_quiet(&stream) {
                return Some(stream);
            }
        }
        None
    }

    /// Takes a connection whose answer was read to its end.
    pub(crate) fn give_back(&self, stream: TcpStream) {
        let mut idle = self.idle.borrow_mut();
        if !self.retired.get() && idle.len() < IDLE_CONNECTIONS_MAX {
            idle.push(Idle { stream, since: Instant::now() });
        }
    }

    pub(crate) fn close_idle(&self, now: Instant) {
        let stays = |idle: &Idle| now.duration_since(idle.since) < IDLE_TIME_MAX && is_quiet(&idle.stream);
        self.idle.borrow_mut().retain(stays);
    }

    pub(crate) fn close(&self) {
        self.idle.borrow_mut().clear();
    }

    /// The instance has left the table: its idle connections close, and those in use when they come back.
    pub(crate) fn retire(&self) {
        self.retired.set(true);
        self.close();
    }
}

/// Neither ended nor has it anything to read. Without news from the kernel this is no system call.
fn is_quiet(stream: &TcpStream) -> bool {
    stream.try_read(&mut [0]).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;
    use tokio::time::{advance, pause};

    async fn pair(listener: &TcpListener) -> (TcpStream, TcpStream) {
        let ours = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (ours, listener.accept().await.unwrap().0)
    }

    /// Waits until the loop has heard of it.
    async fn heard(stream: &TcpStream) {
        stream.readable().await.unwrap();
    }

    #[tokio::test]
    async fn what_ended_or_speaks_unasked_is_not_used_again() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let pool = RawPool::default();
        let (good, _instance) = pair(&listener).await;
        let (ended, end) = pair(&listener).await;
        let (speaking, mut speaker) = pair(&listener).await;
        drop(end);
        speaker.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        heard(&ended).await;
        heard(&speaking).await;
        let address = good.local_addr().unwrap();
        for stream in [good, ended, speaking] {
            pool.give_back(stream);
        }
        assert_eq!(pool.take(true).unwrap().local_addr().unwrap(), address);
        assert!(pool.take(true).is_none());
    }

    #[tokio::test]
    async fn connections_age_and_go_with_their_instance() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let pool = RawPool::default();
        let (first, _one) = pair(&listener).await;
        let (second, _two) = pair(&listener).await;
        let (third, _three) = pair(&listener).await;
        pause();
        pool.give_back(first);
        advance(IDLE_TIME_UNREPLAYABLE_MAX * 2).await;
        assert!(pool.take(false).is_none());
        pool.give_back(second);
        assert!(pool.take(false).is_some());
        assert!(pool.take(false).is_none());
        pool.close_idle(Instant::now());
        assert_eq!(pool.idle.borrow().len(), 1);
        pool.close_idle(Instant::now() + IDLE_TIME_MAX);
        assert!(pool.idle.borrow().is_empty());
        pool.give_back(third);
        pool.retire();
        assert!(pool.take(true).is_none());
        let (late, _four) = pair(&listener).await;
        pool.give_back(late);
        assert!(pool.idle.borrow().is_empty());
    }
}
