//! The node's part: it sees whether an instance has anything to do, and says how far it is to be had.

use crate::Wakefulness;
use crate::memory::{
    ASLEEP, AWAITED, COUNT, Cell, LANE_BITS, LANES, Mapped, THROTTLED, TOUCHED, User, WAITS_ANY, WAKEFULNESS,
};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

/// One memory file, as the node looks at it. To be opened once per file.
pub struct Watcher {
    mapped: Arc<Mapped>,
}

impl Watcher {
    /// Takes the place of any node before this one.
    ///
    /// # Errors
    /// It is none of `counts_memory`.
    pub fn open(descriptor: &OwnedFd) -> io::Result<Watcher> {
        let mapped = Mapped::open(descriptor)?;
        mapped.memory().clear_node();
        Ok(Watcher { mapped: Arc::new(mapped) })
    }

    /// Which memory file this is, among those of this machine.
    pub fn identity(&self) -> u64 {
        self.mapped.identity
    }

    /// The cell of the instance with this key. None: there is no room for it, or somebody holds the lock.
    pub fn watch(&self, key: u64) -> Option<Watched> {
        let place = self.mapped.cell_for(key, User::Node)?;
        Some(Watched { mapped: self.mapped.clone(), place })
    }

    /// Forgets what proxies that have died left.
    pub fn clear_dead(&self) {
        self.mapped.clear_dead(None);
    }
}

/// One instance in one memory file.
pub struct Watched {
    mapped: Arc<Mapped>,
    place: usize,
}

impl Watched {
    /// Says how far the instance is to be had. Before it goes to sleep this is said first, and `is_busy` asked then.
    pub fn say(&self, wakefulness: Wakefulness) {
        let bits = match wakefulness {
            Wakefulness::Awake => 0,
            Wakefulness::Throttled => THROTTLED,
            Wakefulness::Asleep => ASLEEP,
        };
        let change = |state: u64| Some(state & !WAKEFULNESS | bits);
        // The closure always gives a value.
        let _ = self.cell().state.fetch_update(SeqCst, SeqCst, change);
    }

    /// Whichever proxy has the next answer says so, once.
    pub fn await_answer(&self) {
        self.cell().state.fetch_or(AWAITED, SeqCst);
    }

    /// Whether there was a request, or a byte in a tunnel, since this was last asked.
    pub fn take_touched(&self) -> bool {
        let state = &self.cell().state;
        // Mostly there was none, and the cell stays unwritten.
        state.load(SeqCst) & TOUCHED != 0 && state.fetch_and(!TOUCHED, SeqCst) & TOUCHED != 0
    }

    /// Whether a process that ends has requests in line that any instance of the service may serve.
    pub fn is_waited_for(&self) -> bool {
        self.cell().lanes.load(SeqCst) & WAITS_ANY != 0
    }

    /// Whether any proxy has a request there, or may have one that is not counted here.
    pub fn is_busy(&self) -> bool {
        let cell = self.cell();
        // What a proxy counts alone, for want of this cell, nobody else sees.
        if self.mapped.memory().alone.load(SeqCst) & !cell.users.load(SeqCst) != 0 {
            return true;
        }
        self.requests() > 0
    }

    /// Those that proxies have there, quiet tunnels apart.
    pub fn requests(&self) -> u32 {
        let cell = self.cell();
        // In this order: a tunnel that ends in between makes it busy for a moment, and never idle.
        let lanes = cell.lanes.load(SeqCst);
        let tunnels = cell.tunnels.load(SeqCst);
        (0..LANES).map(|lane| count(lanes, lane).saturating_sub(count(tunnels, lane))).sum()
    }

    /// Tunnels that proxies have there, quiet or not.
    pub fn tunnels(&self) -> u32 {
        let tunnels = self.cell().tunnels.load(SeqCst);
        (0..LANES).map(|lane| count(tunnels, lane)).sum()
    }

    fn cell(&self) -> &Cell {
        &self.mapped.memory().cells[self.place]
    }
}

fn count(lanes: u64, lane: u32) -> u32 {
    (lanes >> (lane * LANE_BITS) & COUNT) as u32
}

impl Drop for Watched {
    /// What was said last stays said: the next node may find the instance as it is.
    fn drop(&mut self) {
        self.cell().leave_as_node();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Region, Slots, counts_memory, key};
    use apron_model::ids::InstanceId;
    use std::net::SocketAddr;

    struct World {
        file: OwnedFd,
        region: Arc<Region>,
        slots: Slots,
        watcher: Watcher,
        watched: Watched,
    }

    fn name() -> (InstanceId, SocketAddr) {
        (InstanceId::new("a"), "10.0.0.1:8080".parse().unwrap())
    }

    fn world() -> World {
        let file = counts_memory().unwrap();
        let region = Arc::new(Region::from_fd(&file).unwrap());
        let (id, address) = name();
        let slots = region.slots(&id, address);
        let watcher = Watcher::open(&file).unwrap();
        let watched = watcher.watch(key(&id, address)).unwrap();
        World { file, region, slots, watcher, watched }
    }

    fn take(slots: &Slots) -> bool {
        slots.take(slots.read())
    }

    #[test]
    fn what_is_counted_keeps_it_awake_and_a_quiet_tunnel_does_not() {
        let World { slots, watched, .. } = world();
        assert!(!watched.is_busy() && !watched.take_touched());
        assert!(take(&slots));
        assert_eq!(slots.touch(), Wakefulness::Awake);
        assert!(watched.is_busy());
        assert_eq!(watched.requests(), 1);
        assert!(watched.take_touched() && !watched.take_touched());
        slots.tunnel(true);
        assert!(!watched.is_busy());
        assert_eq!(watched.tunnels(), 1);
        assert!(take(&slots), "beside the tunnel");
        assert!(watched.is_busy());
        slots.tunnel(false);
        slots.release();
        assert!(watched.is_busy(), "the other one");
        slots.release();
        assert!(!watched.is_busy());
        slots.mark(true);
        assert!(!watched.is_busy() && watched.is_waited_for());
    }

    #[test]
    fn who_sleeps_gets_nothing_and_who_is_throttled_does() {
        let World { slots, watched, .. } = world();
        watched.say(Wakefulness::Throttled);
        assert!(take(&slots));
        assert_eq!((slots.touch(), slots.touch()), (Wakefulness::Throttled, Wakefulness::Throttled));
        watched.say(Wakefulness::Asleep);
        assert!(!take(&slots));
        assert_eq!((slots.wakefulness(), slots.own()), (Wakefulness::Asleep, 1), "only what came before");
        assert!(watched.take_touched(), "that is another matter");
        watched.say(Wakefulness::Awake);
        assert!(take(&slots));
        watched.say(Wakefulness::Throttled);
        drop(watched);
        assert_eq!(slots.wakefulness(), Wakefulness::Throttled, "a node that ends wakes nobody");
    }

    #[test]
    fn one_answer_is_the_first_since_a_start() {
        let World { file, slots, watched, .. } = world();
        let other = Arc::new(Region::from_fd(&file).unwrap());
        let (id, address) = name();
        let others = other.slots(&id, address);
        assert!(!slots.answered(), "nobody awaits it");
        for _ in 0..2 {
            watched.await_answer();
            // Neither takes away what the other one says.
            watched.say(Wakefulness::Throttled);
            assert_eq!(slots.touch(), Wakefulness::Throttled);
            assert!(watched.take_touched());
            assert!(others.answered() && !slots.answered() && !others.answered());
            assert_eq!(slots.wakefulness(), Wakefulness::Throttled);
        }
    }

    #[test]
    fn a_proxy_that_does_not_count_here_may_have_requests_there() {
        let World { file, watched, watcher, region, slots: _known } = world();
        let other = Arc::new(Region::from_fd(&file).unwrap());
        assert!(!watched.is_busy(), "one that does not know the instance asks nothing of it");
        let (id, address) = name();
        let slots = other.slots(&id, address);
        assert!(take(&slots) && watched.is_busy());
        drop((slots, other));
        assert!(!watched.is_busy());
        let alone = Arc::new(Region::from_fd(&file).unwrap());
        let locked = region.hold_changes();
        let slots = alone.slots(&id, address);
        drop(locked);
        assert!(watched.is_busy(), "what it counts nobody else sees");
        drop((slots, alone));
        assert!(!watched.is_busy());
        assert_eq!(watcher.identity(), region.identity());
    }

    #[test]
    fn the_next_node_knows_what_the_last_one_said_until_it_says_otherwise() {
        let World { file, slots, watched, watcher, .. } = world();
        watched.say(Wakefulness::Asleep);
        // As a kill does: nothing is taken back.
        std::mem::forget(watched);
        let next = Watcher::open(&file).unwrap();
        assert_eq!(next.identity(), watcher.identity());
        assert_ne!(next.identity(), Watcher::open(&counts_memory().unwrap()).unwrap().identity());
        assert_eq!(slots.wakefulness(), Wakefulness::Asleep);
        let (id, address) = name();
        let watched = next.watch(key(&id, address)).unwrap();
        assert_eq!(slots.wakefulness(), Wakefulness::Asleep);
        watched.say(Wakefulness::Awake);
        assert!(take(&slots));
    }

    /// The node puts to sleep whatever has nothing to do, as fast as it can, while two proxies ask: none of them is ever
    /// inside while it sleeps.
    #[test]
    fn nobody_is_asked_who_sleeps() {
        use std::sync::atomic::{AtomicBool, AtomicU32};
        let World { file, watched, region, slots, .. } = world();
        let (asleep, inside, slept, over) =
            (AtomicBool::new(false), AtomicU32::new(0), AtomicU32::new(0), AtomicU32::new(0));
        drop((slots, region));
        std::thread::scope(|scope| {
            for _ in 0..2 {
                let (asleep, inside, over) = (&asleep, &inside, &over);
                let region = Arc::new(Region::from_fd(&file).unwrap());
                scope.spawn(move || {
                    let (id, address) = name();
                    let slots = region.slots(&id, address);
                    for _ in 0..20_000 {
                        if take(&slots) {
                            inside.fetch_add(1, SeqCst);
                            assert!(!asleep.load(SeqCst));
                            inside.fetch_sub(1, SeqCst);
                            slots.release();
                        }
                        // Long enough for the node to find nothing to do.
                        (0..200).for_each(|_| std::hint::spin_loop());
                    }
                    over.fetch_add(1, SeqCst);
                });
            }
            while over.load(SeqCst) < 2 {
                watched.say(Wakefulness::Asleep);
                if !watched.is_busy() {
                    asleep.store(true, SeqCst);
                    assert_eq!(inside.load(SeqCst), 0);
                    slept.fetch_add(1, SeqCst);
                    asleep.store(false, SeqCst);
                }
                watched.say(Wakefulness::Awake);
            }
        });
        assert!(slept.load(SeqCst) > 0);
    }
}
