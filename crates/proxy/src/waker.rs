//! Instances that are throttled or asleep: asking the node for them, and hearing that they are awake.
//!
//! How far an instance is to be had stands beside its counts (`apron_activity`), so a request to one that is awake costs one
//! load. One that is throttled serves, and the node is told of the request. One that is asleep gets none: the request goes
//! into the service's line, the node is asked to wake as many instances as the line needs, and the line goes on when it has.
//! Where another one takes the request that the sleeper would have had, were it awake, the node is asked for it all the same.
//!
//! Every loop has a connection of its own, so that what one has to say is sent by the turn that has it to say. A connection
//! that breaks is made anew, and what was asked is asked again; until then a line is looked at as often as any other.

use crate::balance::Instance;
use crate::event_loop::EventLoop;
use crate::route::Service;
use apron_activity::channel::{Channel, FromNode, Stages};
use apron_activity::{Region, Wakefulness};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

/// Before the node is looked for again: the first wait, doubled up to the longest. It is started anew within a second.
const RETRY_MIN: Duration = Duration::from_millis(10);
const RETRY_MAX: Duration = Duration::from_millis(500);
/// One that could not be woken is not asked for again for so long, while others may be.
const REFUSED_FOR: Duration = Duration::from_secs(1);
/// Starts that are remembered, each until another one comes after so long: longer than a request waits.
const STARTS_MAX: usize = 2_000;
const START_KEPT: Duration = Duration::from_secs(180);
/// A connection that lasted so long was one.
const STABLE: Duration = Duration::from_secs(1);

/// What one loop says to the node of this machine.
pub(crate) struct Waker {
    /// None: nobody puts instances to sleep.
    node: Option<PathBuf>,
    channel: RefCell<Option<Rc<AsyncFd<Channel>>>>,
    /// What was asked and not answered, by the instances' tags: of each once.
    asked: RefCell<BTreeSet<u64>>,
    /// What of it was not taken yet.
    unsent: RefCell<BTreeSet<u64>>,
    /// Rings when there is something that was not taken.
    behind: Notify,
    /// What could not be woken, and when that was said.
    refused: RefCell<BTreeMap<u64, Instant>>,
    /// What was started lately, by the instances' tags.
    starts: RefCell<BTreeMap<u64, Start>>,
}

/// A start that requests may have waited for.
struct Start {
    stages: Stages,
    /// When this loop heard of it.
    at: Instant,
}

impl Waker {
    pub(crate) fn new(node: Option<PathBuf>) -> Waker {
        Waker {
            node,
            channel: RefCell::default(),
            asked: RefCell::default(),
            unsent: RefCell::default(),
            behind: Notify::new(),
            refused: RefCell::default(),
            starts: RefCell::default(),
        }
    }

    /// The instance has something to do: a request that has its place there, or bytes in a tunnel.
    pub(crate) fn busy(&self, instance: &Instance) {
        if instance.slots.touch() != Wakefulness::Awake {
            self.ask(instance.tag);
        }
    }

    /// Asks for as many of the service's sleeping instances as its line needs.
    pub(crate) fn wake_for_line(&self, service: &Service) {
        self.rouse(service, service.queue.waiting().div_ceil(service.rule().target));
    }

    /// Asks for so many of the service's instances that are asleep and can be woken.
    pub(crate) fn rouse(&self, service: &Service, count: u32) {
        let asleep = service.instances.iter().filter(|one| one.is_asleep() && !self.is_refused(one.tag));
        for instance in asleep.take(count as usize) {
            // Should the message be lost, the node finds this when it looks.
            instance.slots.touch();
            self.ask(instance.tag);
        }
    }

    /// Of this service none that sleeps can be woken at present.
    pub(crate) fn is_hopeless(&self, service: &Service) -> bool {
        let mut instances = service.instances.iter();
        !service.instances.is_empty() && instances.all(|one| one.is_asleep() && self.is_refused(one.tag))
    }

    fn started(&self, tag: u64, stages: Stages) {
        let mut starts = self.starts.borrow_mut();
        starts.retain(|_, start| start.at.elapsed() < START_KEPT);
        // Of more than so many at once the others are not told of.
        if starts.len() < STARTS_MAX {
            starts.insert(tag, Start { stages, at: Instant::now() });
        }
    }

    /// An instance has begun an answer: the node hears of the first since a start.
    pub(crate) fn answered(&self, instance: &Instance) {
        if instance.slots.answered() {
            // What cannot be said is missing in its waterfall, and nowhere else.
            let _ = self.channel.borrow().as_ref().map(|channel| channel.get_ref().answered(instance.tag));
        }
    }

    /// How the start of an instance went that came after this.
    pub(crate) fn stages(&self, tag: u64, since: Instant) -> Option<Stages> {
        let starts = self.starts.borrow();
        starts.get(&tag).filter(|start| start.at >= since).map(|start| start.stages)
    }

    fn is_refused(&self, tag: u64) -> bool {
        self.refused.borrow().get(&tag).is_some_and(|since| since.elapsed() < REFUSED_FOR)
    }

    fn refuse(&self, tag: u64) {
        let mut refused = self.refused.borrow_mut();
        refused.retain(|_, since| since.elapsed() < REFUSED_FOR);
        refused.insert(tag, Instant::now());
    }

    fn ask(&self, tag: u64) {
        if self.node.is_some() && self.asked.borrow_mut().insert(tag) {
            self.send(tag);
        }
    }

    fn send(&self, tag: u64) {
        let channel = self.channel.borrow();
        let sent = channel.as_ref().map(|channel| channel.get_ref().wake(tag));
        // Without a connection it is sent when there is one; a broken one is noticed by who reads it.
        if let Some(Err(_)) = sent {
            self.unsent.borrow_mut().insert(tag);
            self.behind.notify_one();
        }
    }

    fn settled(&self, tag: u64) {
        self.asked.borrow_mut().remove(&tag);
        self.unsent.borrow_mut().remove(&tag);
    }
}

/// Keeps the connection, for ever.
pub(crate) async fn run(event_loop: &EventLoop) {
    let waker = &event_loop.waker;
    let Some(node) = &waker.node else { return pending().await };
    let mut retry = RETRY_MIN;
    loop {
        match Channel::connect(node).and_then(|channel| greeted(channel, &event_loop.region)) {
            Ok(channel) => {
                let since = Instant::now();
                let channel = Rc::new(channel);
                *waker.channel.borrow_mut() = Some(channel.clone());
                let asked = waker.asked.borrow().clone();
                asked.into_iter().for_each(|tag| waker.send(tag));
                let error = follow(event_loop, &channel).await;
                tracing::info!(%error, "the connection to the node ended");
                waker.channel.borrow_mut().take();
                waker.unsent.borrow_mut().clear();
                // One that is refused at once is not asked a hundred times a second.
                if since.elapsed() > STABLE {
                    retry = RETRY_MIN;
                }
            }
            Err(error) => tracing::debug!(%error, "no connection to the node"),
        }
        sleep(retry).await;
        retry = (retry * 2).min(RETRY_MAX);
    }
}

fn greeted(channel: Channel, region: &Region) -> io::Result<AsyncFd<Channel>> {
    channel.hello(region.identity())?;
    let both = Interest::READABLE.add(Interest::WRITABLE);
    // SAFETY: a channel has one descriptor, which is open for as long as the channel lives, and nobody else has it.
    Ok(unsafe { AsyncFd::register_with_interest(channel, both) }?)
}

/// Does what the node says until the connection ends.
async fn follow(event_loop: &EventLoop, channel: &AsyncFd<Channel>) -> io::Error {
    let waker = &event_loop.waker;
    loop {
        let heard = tokio::select! {
            heard = channel.async_io(Interest::READABLE, Channel::from_node) => heard,
            () = waker.behind.notified() => {
                match catch_up(waker, channel).await {
                    Ok(()) => continue,
                    Err(error) => return error,
                }
            }
        };
        match heard {
            Ok(FromNode::Started(tag, stages)) => waker.started(tag, stages),
            Ok(FromNode::Awake(tag)) => {
                waker.settled(tag);
                event_loop.lines.pump();
            }
            Ok(FromNode::NotWoken(tag)) => {
                waker.settled(tag);
                waker.refuse(tag);
                event_loop.lines.not_woken(waker, tag);
            }
            Ok(FromNode::Close(tag)) => {
                event_loop.upstreams.close(tag);
                // One that cannot be said is a freeze that does not come about.
                if let Err(error) = channel.get_ref().closed(tag)
                    && error.kind() != io::ErrorKind::WouldBlock
                {
                    return error;
                }
            }
            Err(error) => return error,
        }
    }
}

/// Sends what was not taken, as soon as it is.
async fn catch_up(waker: &Waker, channel: &AsyncFd<Channel>) -> io::Result<()> {
    loop {
        let Some(tag) = waker.unsent.borrow().first().copied() else { return Ok(()) };
        channel.async_io(Interest::WRITABLE, |channel| channel.wake(tag)).await?;
        waker.unsent.borrow_mut().remove(&tag);
    }
}
