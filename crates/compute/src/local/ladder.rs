//! The idle ladder on this machine: instances that have nothing to do are throttled, frozen and stopped, and woken.
//!
//! One thread does it, but for stops and starts, apart from the runtime: a wake is a message on a socket and a write to a control group, and
//! waits for nobody's turn. It looks at the counts of proxies (`apron_activity`) every tenth of a second while any
//! instance is awake, lets `model::idle` decide, and hears from proxies what cannot wait for the next look.
//!
//! ```text
//! down  say it to proxies → nobody has a request there? → do it        otherwise take it back
//! up    do it → say it to proxies → answer who asked
//! ```
//! Before a freeze every loop of every proxy closes the connections that it keeps to the instance: an application that is
//! thawed may find them too old and close them while a request is on its way.
//!
//! What a proxy can do to this thread is bounded: nothing is waited for under the lock that instances' tasks need too, and no
//! message does more than one look or one write to a control group.
//!
//! The state that survives a node is the kernel's: the next one reads from the control group on which rung an instance is.

mod clients;
mod member;
mod reclaim;

use crate::local::container::cgroup::{CgroupError, Cgroups, Limits, Usage};
use crate::local::instance::registry::INSTANCES_MAX;
use crate::local::instance::state::Order;
use crate::local::meter::boot_ms;
use apron_activity::Watcher;
use apron_activity::channel::{FromNode, Listener};
use apron_model::idle::{IdlePolicy, Rung, Standing};
use apron_model::ids::{InstanceId, ServiceId};
use apron_model::instance::{Health, Waterfall};
use apron_model::meter::Change;
use apron_model::scaling::Readings;
use clients::{Clients, Ready, Said};
use member::{Member, Woken};
use nix::sys::eventfd::{EfdFlags, EventFd};
use reclaim::Reclaimer;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// How often instances that are awake are looked at: the last request's time is known as exactly.
const LOOK: Duration = Duration::from_millis(100);
/// How often those that sleep are, should a message have been lost.
const LOOK_ASLEEP: Duration = Duration::from_secs(1);
/// How often others are that had something to do at the last look: so each second that the meter notes has a look in it, also
/// where looks are late.
const LOOK_USED: Duration = Duration::from_millis(500);
/// Who sleeps is looked at so much too early where others are looked at anyway: so they come to be looked at together.
const TOGETHER: Duration = Duration::from_millis(100);
/// A node that has just begun waits so long for a proxy before it takes silence for idleness.
const STRANGE_FOR: Duration = Duration::from_secs(10);
/// Instances of an earlier node that are waited for at a time: as many as there may be.
const ORPHANS_MAX: usize = INSTANCES_MAX;
/// Instances that have ended within a second, of which the use is kept.
const LEFT_MAX: usize = 10_000;
/// What could not be done is tried again after this.
const AGAIN_AFTER: Duration = Duration::from_secs(10);
/// After a failed wait for messages, so that a lasting error does not spin.
const ERROR_PAUSE: Duration = Duration::from_millis(100);

/// What an instance's task tells of it.
pub(crate) struct Enrolment {
    pub id: InstanceId,
    pub address: SocketAddr,
    pub cgroup: String,
    pub limits: Limits,
    pub policy: IdlePolicy,
    pub service: ServiceId,
    /// Its process has just been started, and by this node.
    pub is_new: bool,
    /// While it starts it has so many times its CPU.
    pub boost: u32,
    /// Where its task hears that it is to sleep without a process, or to wake from that.
    pub(in crate::local) orders: mpsc::Sender<Order>,
}

/// The ladder of this machine.
pub(crate) struct Ladder {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    inner: Mutex<Inner>,
    /// Rings when there is something to look at.
    bell: EventFd,
    over: AtomicBool,
}

struct Inner {
    cgroups: Cgroups,
    reclaimer: Reclaimer,
    /// Where proxies count. None: nobody knows what they do, and everybody stays awake.
    memory: Option<Watcher>,
    members: HashMap<u64, Member>,
    /// When the instances of a node before this one had all been looked at.
    adopted: Option<Instant>,
    /// Loops that have asked for instances which are not here yet: those of a node before this one.
    orphans: BTreeMap<u64, BTreeSet<u64>>,
    /// To be said to loops that waited for an instance that has left.
    unsaid: Vec<(u64, FromNode)>,
    /// What those who have left used since it was last asked for.
    left: Vec<Change>,
}

impl Ladder {
    /// Begins, with proxies that count in `memory` and connect to `listener` as one of `users`.
    pub(crate) fn start(
        cgroups: Cgroups,
        memory: Option<Watcher>,
        listener: Listener,
        users: Vec<u32>,
    ) -> io::Result<Ladder> {
        let identity = memory.as_ref().map(Watcher::identity);
        let inner = Inner {
            reclaimer: Reclaimer::start(cgroups.clone())?,
            cgroups,
            memory,
            members: HashMap::new(),
            adopted: None,
            orphans: BTreeMap::new(),
            unsaid: Vec::new(),
            left: Vec::new(),
        };
        let bell = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        let shared = Arc::new(Shared { inner: Mutex::new(inner), bell, over: AtomicBool::new(false) });
        let thread = std::thread::Builder::new().name("ladder".to_owned()).spawn({
            let shared = shared.clone();
            let clients = Clients::new(listener, users, identity);
            move || {
                // Without it whoever sleeps would sleep for ever. The next node goes on from what the kernel says.
                let turned = catch_unwind(AssertUnwindSafe(|| run(&shared, clients)));
                if turned.is_err() {
                    std::process::abort();
                }
            }
        })?;
        Ok(Ladder { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Ends, and leaves every instance as it is. Blocking, for a look at most.
    pub(crate) fn stop(&self) {
        self.shared.over.store(true, Ordering::SeqCst);
        self.shared.ring();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // One that panicked has ended the process.
            let _ = thread.join();
        }
    }

    /// What has changed in the use of instances since this was last asked.
    pub(crate) fn changes(&self) -> Vec<Change> {
        let mut inner = self.shared.inner();
        let mut changes = std::mem::take(&mut inner.left);
        inner.members.values_mut().for_each(|member| member.note(&mut changes));
        changes
    }

    /// How the instances of a service stand, and why.
    pub(crate) fn standing(&self, service: &ServiceId) -> Vec<Standing> {
        let (inner, now) = (self.shared.inner(), Instant::now());
        let of_service = inner.members.values().filter(|member| member.enrolment.service == *service);
        of_service.map(|member| member.standing(now)).collect()
    }

    /// What the instances of these services use that are healthy. Reads files, without the lock.
    pub(crate) fn readings(&self, services: &[ServiceId]) -> Readings {
        let services: BTreeSet<&ServiceId> = services.iter().collect();
        let (cgroups, mut found) = {
            let inner = self.shared.inner();
            let of_services =
                inner.members.values().filter(|member| services.contains(&member.enrolment.service));
            let found: Vec<_> = of_services.filter_map(Member::reading).collect();
            (inner.cgroups.clone(), found)
        };
        // What cannot be read is not known.
        found.retain_mut(|(reading, cgroup)| {
            let Some(cgroup) = cgroup else { return true };
            let Ok(Usage { cpu_us, memory_bytes }) = cgroups.usage(cgroup) else { return false };
            (reading.cpu_us, reading.memory_bytes) = (cpu_us, memory_bytes);
            true
        });
        Readings { at_ms: boot_ms(), instances: found.into_iter().map(|(reading, _)| reading).collect() }
    }

    /// Every instance of the node before this one has its task.
    pub(crate) fn adopted(&self) {
        self.shared.inner().adopted = Some(Instant::now());
    }

    /// Takes an instance that runs; where it stands already is read from the kernel.
    pub(crate) fn enrol(&self, enrolment: Enrolment, healthy: bool) -> Place {
        let rung = Member::found(&enrolment, &self.shared.inner().cgroups);
        self.enrol_at(rung, enrolment, healthy)
    }

    /// Takes one that sleeps without a process.
    pub(crate) fn enrol_asleep(&self, enrolment: Enrolment) -> Place {
        self.enrol_at(Rung::Zero, enrolment, true)
    }

    fn enrol_at(&self, rung: Rung, enrolment: Enrolment, healthy: bool) -> Place {
        let mut inner = self.shared.inner();
        let mut member = Member::new(enrolment, healthy, rung);
        if member.enrolment.is_new {
            member.is_boosted();
        }
        let key = member.key;
        inner.add(member);
        drop(inner);
        self.shared.ring();
        Place { shared: self.shared.clone(), key }
    }
}

impl Drop for Ladder {
    fn drop(&mut self) {
        self.stop();
    }
}

/// An instance's place on the ladder, for as long as its container runs. Dropped, it leaves the instance as it is.
pub(crate) struct Place {
    shared: Arc<Shared>,
    key: u64,
}

impl Place {
    /// What its checks say. One that is not healthy stays awake; one that was started for a request may be asked from its
    /// first verdict on. Of each start that this node made the first answer is awaited, once it is healthy.
    pub(crate) fn hears(&self, health: &Health, waterfall: &Waterfall) {
        self.change(|member, _| member.hears(health, waterfall));
    }

    /// One that slept without a process has been started.
    pub(crate) fn started(&self, limits: Limits) {
        self.change(|member, _| member.started(limits));
    }

    /// Whether it is to have no process.
    pub(crate) fn is_at_zero(&self) -> bool {
        self.change(|member, _| member.is_at_zero()).unwrap_or(false)
    }

    /// It was to be started, and that was in vain.
    pub(crate) fn failed(&self) {
        self.change(|member, _| member.start_failed());
    }

    /// After a start in vain it sleeps again.
    pub(crate) fn rests(&self) {
        self.change(|member, _| member.rests());
    }

    /// There is no process of it, for now, though it is to have one.
    pub(crate) fn ended(&self) {
        self.change(|member, _| member.ended());
    }

    pub(crate) fn policy(&self, policy: IdlePolicy) {
        self.change(|member, _| member.enrolment.policy = policy);
    }

    /// Its limits are others: those of memory and processes are set already, that of the CPU is set here, as its rung has
    /// it.
    pub(crate) fn resized(&self, limits: Limits) -> Result<(), CgroupError> {
        self.change(|member, cgroups| member.resized(limits, cgroups)).unwrap_or(Ok(()))
    }

    /// Says at each change whether its checks may run.
    pub(crate) fn awake(&self) -> Option<tokio::sync::watch::Receiver<bool>> {
        self.change(|member, _| member.is_awake.subscribe())
    }

    /// The instance is stopped, or has ended: it is brought to the top.
    pub(crate) fn leave(self) {
        let mut inner = self.shared.inner();
        if let Some(mut member) = inner.remove(self.key) {
            inner.went(&mut member);
            member.leave(&inner.cgroups);
        }
        drop(inner);
        self.shared.ring();
    }

    fn change<T>(&self, change: impl FnOnce(&mut Member, &Cgroups) -> T) -> Option<T> {
        let mut inner = self.shared.inner();
        let Inner { members, cgroups, .. } = &mut *inner;
        let changed = members.get_mut(&self.key).map(|member| change(member, cgroups));
        drop(inner);
        self.shared.ring();
        changed
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.inner().remove(self.key);
    }
}

impl Shared {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring(&self) {
        // It is full when it has rung often enough.
        let _ = self.bell.write(1);
    }
}

impl Inner {
    fn add(&mut self, mut member: Member) {
        if let Some(memory) = &self.memory {
            member.follow(memory);
        }
        if let Some(waiting) = self.orphans.remove(&member.key) {
            waiting.into_iter().for_each(|client| member.waits(client));
            member.wake(&self.cgroups, Instant::now());
        }
        self.members.insert(member.key, member);
    }

    fn remove(&mut self, key: u64) -> Option<Member> {
        let mut member = self.members.remove(&key)?;
        // Whoever still needs it asks again, and hears that there is none.
        self.unsaid.extend(member.take_waiting().into_iter().map(|client| (client, FromNode::Awake(key))));
        Some(member)
    }

    /// Its process is counted to the end, unless nobody has asked for that for long.
    fn went(&mut self, member: &mut Member) {
        if self.left.len() < LEFT_MAX {
            member.note(&mut self.left);
            self.left.push(Change::Went(member.enrolment.id.clone()));
        }
    }

    /// Looks at every instance whose time has come. Returns when the next one's does.
    fn look(&mut self, clients: &mut Clients, now: Instant) -> Instant {
        let mut next = now + LOOK_ASLEEP;
        std::mem::take(&mut self.unsaid).into_iter().for_each(|(client, what)| clients.say(client, what));
        if self.adopted.is_some_and(|adopted| now.saturating_duration_since(adopted) > STRANGE_FOR) {
            for (key, waiting) in std::mem::take(&mut self.orphans) {
                waiting.into_iter().for_each(|client| clients.say(client, FromNode::NotWoken(key)));
            }
        }
        let Inner { members, cgroups, memory, reclaimer, .. } = self;
        for member in members.values_mut() {
            // Of a thousand that sleep, each with a time of its own, one would come every millisecond.
            let early = if member.is_awake_for_proxies() { Duration::ZERO } else { TOGETHER };
            if member.look_at <= now + early {
                member.look(cgroups, memory.as_ref(), clients, now);
                if member.gives_memory_back(now) {
                    reclaimer.frozen(&member.enrolment.cgroup);
                }
            }
            next = next.min(member.look_at);
        }
        next
    }
}

fn run(shared: &Shared, mut clients: Clients) {
    let mut swept = Instant::now();
    let mut next = Instant::now();
    while !shared.over.load(Ordering::SeqCst) {
        let wait = next.saturating_duration_since(Instant::now());
        let ready = clients.wait(&shared.bell, wait).unwrap_or_else(|error| {
            tracing::error!(%error, "proxies are not heard for a moment");
            std::thread::sleep(ERROR_PAUSE);
            Ready::default()
        });
        if ready.bell {
            // Not a failure: it may have been read already.
            let _ = shared.bell.read();
        }
        let now = Instant::now();
        if ready.listener {
            clients.accept(now);
        }
        // Connections are read and closed without the lock: what a proxy has sent may take long to be thrown away.
        for client in ready.clients {
            for said in clients.hear(client) {
                answer(&mut shared.inner(), &mut clients, client, said, now);
            }
        }
        let mut inner = shared.inner();
        if now - swept >= LOOK_ASLEEP {
            swept = now;
            if let Some(memory) = &inner.memory {
                memory.clear_dead();
            }
        }
        next = inner.look(&mut clients, now);
        drop(inner);
        clients.close();
    }
}

fn answer(inner: &mut Inner, clients: &mut Clients, client: u64, said: Said, now: Instant) {
    let Inner { members, cgroups, adopted, orphans, .. } = inner;
    match said {
        Said::Wake(key) => match members.get_mut(&key) {
            Some(member) => match member.wake(cgroups, now) {
                Woken::Now => clients.say(client, FromNode::Awake(key)),
                Woken::Later => member.waits(client),
                Woken::Not => clients.say(client, FromNode::NotWoken(key)),
            },
            // One of the node before this one, perhaps, which is not looked after again yet.
            None if adopted.is_none_or(|adopted| now.saturating_duration_since(adopted) < STRANGE_FOR)
                && orphans.len() < ORPHANS_MAX =>
            {
                orphans.entry(key).or_default().insert(client);
            }
            None => clients.say(client, FromNode::NotWoken(key)),
        },
        Said::Closed(key) => {
            if let Some(member) = members.get_mut(&key) {
                member.closed(client, now);
            }
        }
        Said::Answered(key) => {
            if let Some(member) = members.get_mut(&key) {
                member.answered(now);
            }
        }
    }
}
