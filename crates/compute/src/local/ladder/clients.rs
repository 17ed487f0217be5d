//! The loops of proxies that are connected.

use apron_activity::channel::{Channel, FromNode, Listener, ToNode};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::EventFd;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// Four proxies with a loop on each of 128 cores.
const CLIENTS_MAX: usize = 512;
/// Connections that are taken in one turn, so that those that are there are heard.
const ACCEPTS_PER_TURN: usize = 16;
/// After one that was refused or failed, the next are looked at only then: who comes again and again does not keep this
/// thread busy.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// So that one that says much does not keep the others from being heard.
const MESSAGES_PER_TURN: usize = 64;
/// What waits to be sent to one, beyond what its socket takes. One that hears nothing is given up.
const UNSENT_MAX: usize = 4_096;

pub(super) struct Clients {
    listener: Listener,
    /// Whose processes may connect.
    users: Vec<u32>,
    /// The memory in which the node looks.
    memory: Option<u64>,
    all: BTreeMap<u64, Client>,
    next: u64,
    /// Nobody is accepted before.
    accept_at: Option<Instant>,
    began: Instant,
    heard_any: bool,
    /// Ended, and to be closed when nobody waits for that.
    ended: Vec<Client>,
}

struct Client {
    channel: Channel,
    counts: Counts,
    unsent: Vec<FromNode>,
}

/// Where a proxy counts its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counts {
    /// It has not said so.
    Unsaid,
    Here,
    /// Where this node cannot see it.
    Elsewhere,
}

/// Who has something to say.
#[derive(Default)]
pub(super) struct Ready {
    pub(super) bell: bool,
    pub(super) listener: bool,
    pub(super) clients: Vec<u64>,
}

/// What a proxy that counts here has said.
pub(super) enum Said {
    Wake(u64),
    Closed(u64),
    Answered(u64),
}

impl Client {
    /// Sends what it can.
    fn send(&mut self) -> io::Result<()> {
        let mut sent = 0;
        let result = loop {
            let Some(next) = self.unsent.get(sent) else { break Ok(()) };
            match self.channel.to_proxy(*next) {
                Ok(()) => sent += 1,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        self.unsent.drain(..sent);
        result
    }
}

impl Clients {
    pub(super) fn new(listener: Listener, users: Vec<u32>, memory: Option<u64>) -> Clients {
        Clients {
            listener,
            users,
            memory,
            all: BTreeMap::new(),
            next: 0,
            accept_at: None,
            began: Instant::now(),
            heard_any: false,
            ended: Vec::new(),
        }
    }

    /// Waits until somebody has something to say, or for so long.
    pub(super) fn wait(&self, bell: &EventFd, wait: Duration) -> Result<Ready, Errno> {
        let now = Instant::now();
        let accepts = self.accept_at.is_none_or(|at| at <= now);
        let wait = self.accept_at.filter(|at| *at > now).map_or(wait, |at| wait.min(at - now));
        // Rounded up, or the last millisecond of each wait would be spun away.
        let wait = PollTimeout::try_from(wait + Duration::from_micros(999)).unwrap_or(PollTimeout::MAX);
        let listens = if accepts { PollFlags::POLLIN } else { PollFlags::empty() };
        let mut watched =
            vec![PollFd::new(bell.as_fd(), PollFlags::POLLIN), PollFd::new(self.listener.as_fd(), listens)];
        for client in self.all.values() {
            let writes = if client.unsent.is_empty() { PollFlags::empty() } else { PollFlags::POLLOUT };
            watched.push(PollFd::new(client.channel.as_fd(), PollFlags::POLLIN | writes));
        }
        match poll(&mut watched, wait) {
            Ok(_) => {}
            // Nobody has been seen to say anything.
            Err(Errno::EINTR) => return Ok(Ready::default()),
            Err(error) => return Err(error),
        }
        let any = |one: &PollFd<'_>| one.any().unwrap_or(true);
        let clients = self.all.keys().zip(&watched[2..]).filter(|(_, one)| any(one));
        Ok(Ready {
            bell: any(&watched[0]),
            listener: accepts && any(&watched[1]),
            clients: clients.map(|(number, _)| *number).collect(),
        })
    }

    pub(super) fn accept(&mut self, now: Instant) {
        self.accept_at = None;
        for _ in 0..ACCEPTS_PER_TURN {
            let refused = match self.listener.accept() {
                Ok((_, uid)) if !self.users.contains(&uid) => format!("user {uid} is no proxy"),
                Ok(_) if self.all.len() >= CLIENTS_MAX => "there are as many as may be".to_owned(),
                Ok((channel, _)) => {
                    self.next += 1;
                    let client = Client { channel, counts: Counts::Unsaid, unsent: Vec::new() };
                    self.all.insert(self.next, client);
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => error.to_string(),
            };
            tracing::warn!(reason = refused, "a connection of a proxy is not taken");
            self.accept_at = Some(now + ACCEPT_PAUSE);
            return;
        }
    }

    pub(super) fn is_there(&self, client: u64) -> bool {
        self.all.contains_key(&client)
    }

    /// Those that count here.
    pub(super) fn known(&self) -> impl Iterator<Item = u64> {
        let here = self.all.iter().filter(|(_, client)| client.counts == Counts::Here);
        here.map(|(number, _)| *number)
    }

    /// A proxy sends requests and counts them where nobody sees it, or may do so.
    pub(super) fn any_elsewhere(&self) -> bool {
        self.memory.is_none() || self.all.values().any(|client| client.counts == Counts::Elsewhere)
    }

    /// No proxy has been heard yet by a node that has just begun.
    pub(super) fn none_yet(&self, now: Instant) -> bool {
        !self.heard_any && now - self.began < super::STRANGE_FOR
    }

    /// What one has to say. What is wrong ends its connection, and it may come again.
    pub(super) fn hear(&mut self, number: u64) -> Vec<Said> {
        let mut heard = Vec::new();
        let Some(client) = self.all.get_mut(&number) else { return heard };
        let mut result = client.send();
        while result.is_ok() && heard.len() < MESSAGES_PER_TURN {
            result = match client.channel.from_proxy() {
                Ok(ToNode::Hello(memory)) if client.counts == Counts::Unsaid => {
                    self.heard_any = true;
                    client.counts =
                        if self.memory == Some(memory) { Counts::Here } else { Counts::Elsewhere };
                    if client.counts == Counts::Elsewhere {
                        tracing::warn!("a proxy counts its requests apart: no instance is put to sleep");
                    }
                    Ok(())
                }
                Ok(ToNode::Wake(key)) if client.counts != Counts::Unsaid => {
                    heard.push(Said::Wake(key));
                    Ok(())
                }
                Ok(ToNode::Closed(key)) if client.counts != Counts::Unsaid => {
                    heard.push(Said::Closed(key));
                    Ok(())
                }
                Ok(ToNode::Answered(key)) if client.counts != Counts::Unsaid => {
                    heard.push(Said::Answered(key));
                    Ok(())
                }
                Ok(ToNode::Hello(_) | ToNode::Wake(_) | ToNode::Closed(_) | ToNode::Answered(_)) => {
                    Err(io::ErrorKind::InvalidData.into())
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return heard,
                Err(error) => Err(error),
            };
        }
        if let Err(error) = result {
            self.end(number, &error);
        }
        heard
    }

    pub(super) fn say(&mut self, number: u64, what: FromNode) {
        let Some(client) = self.all.get_mut(&number) else { return };
        client.unsent.push(what);
        let sent = match client.unsent.len() > UNSENT_MAX {
            true => Err(io::Error::other("it does not listen")),
            false => client.send(),
        };
        if let Err(error) = sent {
            self.end(number, &error);
        }
    }

    fn end(&mut self, number: u64, error: &io::Error) {
        tracing::debug!(%error, "the connection of a proxy's loop ended");
        self.ended.extend(self.all.remove(&number));
    }

    /// Closes the connections that have ended.
    pub(super) fn close(&mut self) {
        self.ended.clear();
    }
}
