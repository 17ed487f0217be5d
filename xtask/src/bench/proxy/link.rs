//! One connection of the load to a proxy: plain or TLS, never waiting.

use super::HOST;
use anyhow::Result;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

/// On loopback a connection is there at once, or the listener's queue is full.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);

pub(super) struct Link {
    stream: TcpStream,
    tls: Option<Box<ClientConnection>>,
    /// Of a plain connection; TLS keeps its own.
    unsent: Vec<u8>,
    /// The last read took all that there was, and there will be an event for more.
    drained: bool,
    ending: bool,
}

pub(super) enum Received {
    Bytes(usize),
    Nothing,
    Closed,
}

impl Link {
    pub(super) fn open(address: SocketAddr, secure: Option<&Arc<ClientConfig>>) -> Result<Link> {
        let stream = TcpStream::connect_timeout(&address, CONNECT_TIME_MAX)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let tls = match secure {
            Some(config) => {
                let name = ServerName::try_from(HOST)?;
                Some(Box::new(ClientConnection::new(config.clone(), name)?))
            }
            None => None,
        };
        Ok(Link { stream, tls, unsent: Vec::new(), drained: false, ending: false })
    }

    /// Sends as much as the socket takes, and the rest with `flush`.
    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.tls {
            // Before the end of the handshake it is kept.
            Some(tls) => tls.writer().write_all(bytes)?,
            None => self.unsent.extend_from_slice(bytes),
        }
        self.flush()
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        match &mut self.tls {
            Some(tls) => write_out(tls, &mut self.stream),
            None => {
                while !self.unsent.is_empty() {
                    match self.stream.write(&self.unsent) {
                        Ok(0) => return Err(ErrorKind::WriteZero.into()),
                        Ok(count) => drop(self.unsent.drain(..count)),
                        Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                        Err(error) => return Err(error),
                    }
                }
                Ok(())
            }
        }
    }

    /// There was an event for this connection.
    pub(super) fn ready(&mut self, ending: bool) {
        self.drained = false;
        self.ending |= ending;
    }

    /// To be called until it gives `Nothing`.
    pub(super) fn receive(&mut self, into: &mut [u8]) -> io::Result<Received> {
        match &mut self.tls {
            None => {
                if self.drained {
                    return Ok(Received::Nothing);
                }
                let received = read(&mut self.stream, into)?;
                if let Received::Bytes(count) = received {
                    // What ends is read to its end: there is no further event for it.
                    self.drained = count < into.len() && !self.ending;
                }
                Ok(received)
            }
            Some(tls) => loop {
                match tls.reader().read(into) {
                    Ok(0) => return Ok(Received::Closed),
                    Ok(count) => return Ok(Received::Bytes(count)),
                    Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(Received::Closed),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
                match tls.read_tls(&mut self.stream) {
                    Ok(0) => return Ok(Received::Closed),
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Received::Nothing),
                    Err(error) => return Err(error),
                }
                tls.process_new_packets().map_err(io::Error::other)?;
                // Steps of the handshake, and what waited for its end.
                write_out(tls, &mut self.stream)?;
            },
        }
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

fn read(stream: &mut TcpStream, into: &mut [u8]) -> io::Result<Received> {
    match stream.read(into) {
        Ok(0) => Ok(Received::Closed),
        Ok(count) => Ok(Received::Bytes(count)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Received::Nothing),
        Err(error) => Err(error),
    }
}

fn write_out(tls: &mut ClientConnection, stream: &mut TcpStream) -> io::Result<()> {
    while tls.wants_write() {
        match tls.write_tls(stream) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
