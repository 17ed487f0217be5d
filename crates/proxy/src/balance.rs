//! Which instance gets a request, and its counted place there.
//!
//! The choice reads all counts and takes a place by one compare-and-swap on the count that it read: when that has
//! changed meanwhile, the choice is made again. Counts live outside the route table, so a new table never resets
//! them, and an instance that left the table is still counted until its last request ended.

use crate::ejection::{Ejection, Standing, Trial, now_ms};
use crate::observe::ServiceCounts;
use crate::queue::{Bell, Queue};
use crate::route::{Service, Snapshot};
use apron_activity::{Region, Seen, Slots, Wakefulness};
use apron_model::ids::{InstanceId, ServiceId};
use apron_model::routes::Balance;
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// For this long the share of a new instance grows: compilers and caches in it are cold.
const SLOW_START_MS: u64 = 10_000;
/// Choices that are lost to other loops before the request goes to the line, where nobody competes with it.
const TRIES_MAX: usize = 16;

/// One instance as all loops know it.
pub(crate) struct Instance {
    /// Unique for the life of this process: what loops find their own state of the instance by.
    pub(crate) key: u64,
    pub(crate) id: InstanceId,
    pub(crate) address: SocketAddr,
    /// The same in every proxy process: what a client's cookie names it by.
    pub(crate) tag: u64,
    pub(crate) slots: Slots,
    pub(crate) ejection: Ejection,
    /// When its slow start ends; 0: it has none, or it is over.
    warm_at_ms: AtomicU64,
}

impl Instance {
    /// It came to a service that others serve already.
    pub(crate) fn start_slowly(&self) {
        self.warm_at_ms.store(now_ms() + SLOW_START_MS, Ordering::Relaxed);
    }

    /// It gets no request until it was woken.
    pub(crate) fn is_asleep(&self) -> bool {
        self.slots.wakefulness() == Wakefulness::Asleep
    }

    /// What of the target it may have before others are at theirs: 1 at least.
    fn share(&self, target: u32, now_ms: impl FnOnce() -> u64) -> u32 {
        let warm_at_ms = self.warm_at_ms.load(Ordering::Relaxed);
        if warm_at_ms == 0 {
            return target;
        }
        let left_ms = warm_at_ms.saturating_sub(now_ms());
        if left_ms == 0 {
            self.warm_at_ms.store(0, Ordering::Relaxed);
        }
        let grown_ms = SLOW_START_MS.saturating_sub(left_ms);
        // Not more than the target, so it fits.
        ((u64::from(target) * grown_ms / SLOW_START_MS) as u32).max(1)
    }
}

/// Every instance that is in a table or still has requests, and what is kept of every service over tables.
pub(crate) struct Instances {
    region: Arc<Region>,
    bell: Arc<Bell>,
    next_key: u64,
    // An id that comes back with another address is another instance: requests to the old one end in peace.
    by_id: HashMap<(InstanceId, SocketAddr), Arc<Instance>>,
    counts: BTreeMap<ServiceId, Arc<ServiceCounts>>,
    queues: BTreeMap<ServiceId, Arc<Queue>>,
}

impl Instances {
    pub(crate) fn new(region: Arc<Region>) -> Instances {
        Instances {
            region,
            bell: Arc::default(),
            next_key: 0,
            by_id: HashMap::new(),
            counts: BTreeMap::new(),
            queues: BTreeMap::new(),
        }
    }

    /// Rings when a line forms.
    pub(crate) fn bell(&self) -> Arc<Bell> {
        self.bell.clone()
    }

    pub(crate) fn get(&mut self, id: &InstanceId, address: SocketAddr) -> Arc<Instance> {
        let instance = self.by_id.entry((id.clone(), address)).or_insert_with(|| {
            self.next_key += 1;
            Arc::new(Instance {
                key: self.next_key,
                id: id.clone(),
                address,
                tag: apron_activity::key(id, address),
                slots: self.region.slots(id, address),
                ejection: Ejection::default(),
                warm_at_ms: AtomicU64::new(0),
            })
        });
        instance.clone()
    }

    pub(crate) fn counts(&mut self, id: &ServiceId) -> Arc<ServiceCounts> {
        self.counts.entry(id.clone()).or_default().clone()
    }

    pub(crate) fn queue(&mut self, id: &ServiceId) -> Arc<Queue> {
        let made = || Arc::new(Queue::new(id.clone(), self.bell.clone()));
        self.queues.entry(id.clone()).or_insert_with(made).clone()
    }

    /// What waits does so by this table from now on, before any loop routes by it.
    pub(crate) fn follow(&self, snapshot: &Snapshot) {
        snapshot.services().for_each(|service| service.queue.follow(service));
        self.queues.iter().filter(|(id, _)| !snapshot.names(id)).for_each(|(_, queue)| queue.close());
    }

    /// The same of a table that only changes these.
    pub(crate) fn follow_change(&self, made: &[Arc<Service>], gone: &[ServiceId]) {
        made.iter().for_each(|service| service.queue.follow(service));
        gone.iter().filter_map(|id| self.queues.get(id)).for_each(|queue| queue.close());
    }

    /// Forgets what nobody holds any more. Snapshots, pools and requests each hold a reference, so nothing that
    /// is in use is lost.
    pub(crate) fn forget_unused(&mut self) {
        self.by_id.retain(|_, instance| Arc::strong_count(instance) > 1);
        self.counts.retain(|_, counts| Arc::strong_count(counts) > 1);
        self.queues.retain(|_, queue| Arc::strong_count(queue) > 1);
    }

    /// Requests in flight per instance, of this process; an instance that has none is left out.
    pub(crate) fn in_flight(&self) -> BTreeMap<InstanceId, u32> {
        let mut in_flight = BTreeMap::new();
        for instance in self.by_id.values() {
            let count = instance.slots.own();
            if count > 0 {
                *in_flight.entry(instance.id.clone()).or_insert(0) += count;
            }
        }
        in_flight
    }
}

/// What a service allows each of its instances.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule {
    /// Between 1 and the ceiling.
    pub(crate) target: u32,
    /// A request more than this is never sent.
    pub(crate) ceiling: u32,
    pub(crate) balance: Balance,
}

/// A place at an instance, counted. Whoever gets it gives it back to the service's queue.
#[must_use]
pub(crate) struct Claim<'a> {
    pub(crate) instance: &'a Arc<Instance>,
    pub(crate) trial: Trial,
    /// So many that are asleep would be the better choice for what there is now: the next requests are to find them awake.
    pub(crate) lacking: u32,
}

/// Takes a place at the instance that is best for the next request. `avoid` are the keys of those that just failed;
/// `rotation` is where to begin among equals. None: all are full.
pub(crate) fn claim<'a>(service: &'a Service, rotation: usize, avoid: &[u64]) -> Option<Claim<'a>> {
    for _ in 0..TRIES_MAX {
        let Choice { instance, seen, standing, lacking } =
            choose(&service.instances, service.rule(), rotation, avoid, now_ms)?;
        let Some(trial) = instance.ejection.begin(standing, now_ms) else { continue };
        if instance.slots.take(seen) {
            return Some(Claim { instance, trial, lacking });
        }
        instance.ejection.abandoned(trial, now_ms);
    }
    None
}

/// Takes a place at the instance of this tag, if it is well and has one.
pub(crate) fn claim_at(service: &Service, tag: u64) -> Option<Claim<'_>> {
    let instance = service.instances.iter().find(|instance| instance.tag == tag)?;
    for _ in 0..TRIES_MAX {
        let seen = instance.slots.read();
        let fit = instance.ejection.standing(now_ms) == Standing::In;
        if !fit || instance.is_asleep() || !instance.slots.has_room(seen, service.ceiling) {
            return None;
        }
        let trial = instance.ejection.begin(Standing::In, now_ms)?;
        if instance.slots.take(seen) {
            return Some(Claim { instance, trial, lacking: 0 });
        }
        instance.ejection.abandoned(trial, now_ms);
    }
    None
}

/// The lowest goes first.
type Rank = (u8, u32);
type Ranked<'a> = (Rank, Choice<'a>);

struct Choice<'a> {
    instance: &'a Arc<Instance>,
    /// The counts that the choice rests on.
    seen: Seen,
    standing: Standing,
    /// As in `Claim`.
    lacking: u32,
}

fn choose<'a>(
    instances: &'a [Arc<Instance>],
    rule: Rule,
    rotation: usize,
    avoid: &[u64],
    now_ms: impl Fn() -> u64 + Copy,
) -> Option<Choice<'a>> {
    let start = match rule.balance {
        Balance::Spread if !instances.is_empty() => rotation % instances.len(),
        // Always in one order: those at its end sleep.
        Balance::Spread | Balance::Pack => 0,
    };
    let (head, tail) = instances.split_at(start);
    let (mut best, mut best_ejected): (Option<Ranked>, Option<Ranked>) = (None, None);
    let (mut asleep, mut awake, mut requests): (Option<Rank>, u32, u32) = (None, 0, 1);
    let mut some_are_in = false;
    for instance in tail.iter().chain(head).filter(|instance| !avoid.contains(&instance.key)) {
        let standing = instance.ejection.standing(now_ms);
        some_are_in |= standing == Standing::In;
        let (seen, share) = (instance.slots.read(), instance.share(rule.target, now_ms));
        if instance.is_asleep() {
            let rank = rank(rule, seen.in_flight(), share);
            asleep = asleep.into_iter().chain((standing == Standing::In).then_some(rank)).min();
            continue;
        }
        (awake, requests) = (awake + 1, requests.saturating_add(seen.in_flight()));
        // A line that waits would otherwise flood one that is cold in the moment it comes.
        let max = if share < rule.target { rule.target } else { rule.ceiling };
        if !instance.slots.has_room(seen, max) {
            continue;
        }
        let rank = rank(rule, seen.in_flight(), share);
        let place = if standing == Standing::Out { &mut best_ejected } else { &mut best };
        if place.as_ref().is_none_or(|(known, _)| rank < *known) {
            *place = Some((rank, Choice { instance, seen, standing, lacking: 0 }));
        }
    }
    let (rank, choice) = if some_are_in {
        best?
    } else {
        // Without any that is in, ejection would only make it worse: all are used, and none as a probe.
        let (rank, choice) = best.into_iter().chain(best_ejected).min_by_key(|(rank, _)| *rank)?;
        (rank, Choice { standing: Standing::Out, ..choice })
    };
    let lacking = match asleep {
        Some(better) if better < rank => {
            let needed = match rule.balance {
                Balance::Pack => requests.div_ceil(rule.target),
                Balance::Spread => requests,
            };
            needed.saturating_sub(awake).max(1)
        }
        _ => 0,
    };
    Some(Choice { lacking, ..choice })
}

/// An active instance with room goes first, then an idle one, then one that starts slowly and is beyond its share;
/// with all at their target, a burst goes to those that are warm, and to no other. Of a kind, the one with the fewest
/// requests.
fn rank(rule: Rule, in_flight: u32, share: u32) -> Rank {
    let kind = if in_flight < share {
        match rule.balance {
            Balance::Pack if in_flight == 0 => 1,
            Balance::Pack | Balance::Spread => 0,
        }
    } else if in_flight < rule.target {
        2
    } else {
        3
    };
    (kind, in_flight)
}

#[cfg(test)]
impl Default for Instances {
    fn default() -> Instances {
        Instances::new(Arc::new(Region::create().unwrap()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESSES: [&str; 4] = ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3", "127.0.0.1:4"];
    const PACK: Rule = Rule { target: 4, ceiling: 8, balance: Balance::Pack };
    const SPREAD: Rule = Rule { balance: Balance::Spread, ..PACK };

    fn count(instance: &Instance, requests: u32) {
        for _ in 0..requests {
            assert!(instance.slots.take(instance.slots.read()));
        }
    }

    fn loaded(instances: &mut Instances, loads: &[u32]) -> Vec<Arc<Instance>> {
        let make = |(place, load): (usize, &u32)| {
            let id = InstanceId::new(format!("{place}"));
            let instance = instances.get(&id, ADDRESSES[place].parse().unwrap());
            count(&instance, *load);
            instance
        };
        loads.iter().enumerate().map(make).collect()
    }

    fn fail(instance: &Instance) {
        let trial = instance.ejection.begin(Standing::In, || 1).unwrap();
        while !instance.ejection.failed(trial, 1) {}
    }

    fn chosen(all: &[Arc<Instance>], rule: Rule, rotation: usize, avoid: &[u64]) -> Option<usize> {
        let choice = choose(all, rule, rotation, avoid, || 1)?;
        all.iter().position(|instance| Arc::ptr_eq(instance, choice.instance))
    }

    fn check(rule: Rule, loads: &[u32], rotation: usize, avoid: &[u64], expect: Option<usize>) {
        let all = loaded(&mut Instances::default(), loads);
        assert_eq!(chosen(&all, rule, rotation, avoid), expect, "{rule:?} {loads:?} {rotation} {avoid:?}");
    }

    #[test]
    fn spread_takes_the_least_loaded_and_equals_take_turns() {
        check(SPREAD, &[3, 1, 2], 0, &[], Some(1));
        check(SPREAD, &[0, 0, 0], 0, &[], Some(0));
        check(SPREAD, &[0, 0, 0], 1, &[], Some(1));
        check(SPREAD, &[0, 0, 0], 5, &[], Some(2));
        check(SPREAD, &[1, 0, 0], 0, &[], Some(1));
        check(SPREAD, &[3, 1, 2], 0, &[2], Some(2));
        check(SPREAD, &[3, 1, 2], 0, &[2, 3], Some(0));
        check(SPREAD, &[0], 0, &[1], None);
        check(SPREAD, &[], 7, &[], None);
    }

    #[test]
    fn pack_wakes_nobody_while_the_active_ones_have_room() {
        check(PACK, &[0, 0, 0], 1, &[], Some(0));
        check(PACK, &[0, 1, 0], 0, &[], Some(1));
        check(PACK, &[0, 3, 2], 0, &[], Some(2));
        check(PACK, &[4, 0, 0], 0, &[], Some(1));
        check(PACK, &[4, 4, 3], 0, &[], Some(2));
    }

    #[test]
    fn above_the_target_only_when_all_are_at_it_and_never_above_the_ceiling() {
        for rule in [PACK, SPREAD] {
            check(rule, &[7, 4, 0], 0, &[], Some(2));
            check(rule, &[7, 4, 5], 0, &[], Some(1));
            check(rule, &[8, 8, 7], 0, &[], Some(2));
            check(rule, &[8, 8, 8], 0, &[], None);
        }
        let strict = Rule { target: 1, ceiling: 1, ..PACK };
        check(strict, &[1, 0], 0, &[], Some(1));
        check(strict, &[1, 1], 0, &[], None);
        let without = Rule { target: u32::MAX, ceiling: u32::MAX, ..SPREAD };
        check(without, &[32_767, 32_766], 0, &[], Some(1));
        check(without, &[32_767, 32_767], 0, &[], None);
    }

    #[test]
    fn a_new_instance_gets_a_growing_share() {
        let all = loaded(&mut Instances::default(), &[3, 1]);
        let chosen = |now_ms: u64| {
            let choice = choose(&all, PACK, 0, &[], move || now_ms)?;
            Some(choice.instance.id.as_str() == "1")
        };
        let at = |now_ms: u64| chosen(now_ms).unwrap();
        assert!(at(1), "fewer in flight");
        all[1].warm_at_ms.store(SLOW_START_MS + 1, Ordering::Relaxed);
        assert!(!at(1), "it has its one request");
        assert!(!at(SLOW_START_MS / 4));
        assert!(at(SLOW_START_MS / 2 + 1), "a share of 2 of 4");
        count(&all[1], 1);
        assert!(!at(SLOW_START_MS / 2 + 1));
        // It is better than one at its target, and a burst goes to it last.
        count(&all[0], 1);
        assert!(at(1));
        count(&all[1], 2);
        assert!(!at(1));
        count(&all[0], 4);
        assert_eq!(
            chosen(SLOW_START_MS),
            None,
            "no burst while it is cold, also with the other one at its ceiling"
        );
        assert!(at(SLOW_START_MS + 1) && all[1].warm_at_ms.load(Ordering::Relaxed) == 0);
    }

    #[test]
    fn what_is_ejected_is_used_when_nothing_else_is_left() {
        let all = loaded(&mut Instances::default(), &[0, 0]);
        fail(&all[0]);
        assert_eq!(chosen(&all, SPREAD, 0, &[]), Some(1));
        count(&all[1], PACK.ceiling);
        assert_eq!(chosen(&all, SPREAD, 0, &[]), None, "full is not failed");
        assert_eq!(chosen(&all, SPREAD, 0, &[all[1].key]), Some(0));
        fail(&all[1]);
        assert_eq!(chosen(&all, SPREAD, 0, &[]), Some(0));
    }

    /// It gets no request, but is asked for as soon as it would be the one to get it.
    #[test]
    fn one_that_sleeps_is_roused_when_it_would_have_been_chosen() {
        let file = apron_activity::counts_memory().unwrap();
        let mut instances = Instances::new(Arc::new(Region::from_fd(&file).unwrap()));
        let all = loaded(&mut instances, &[0, 0, 0, 0]);
        let node = apron_activity::Watcher::open(&file).unwrap();
        let watched: Vec<_> = all.iter().skip(1).map(|one| node.watch(one.tag).unwrap()).collect();
        watched.iter().for_each(|one| one.say(Wakefulness::Asleep));
        let lacking = |rule: Rule| {
            let choice = choose(&all, rule, 1, &[], || 1).unwrap();
            assert!(Arc::ptr_eq(choice.instance, &all[0]));
            choice.lacking
        };
        let both = || [lacking(PACK), lacking(SPREAD)];
        assert_eq!(both(), [0, 0], "an idle one that is awake is as good");
        count(&all[0], 1);
        assert_eq!(both(), [0, 1]);
        count(&all[0], PACK.target - 1);
        assert_eq!(both(), [1, 4], "all that are awake are at their target");
        count(&all[0], 3);
        assert_eq!(both(), [1, 7]);
        fail(&all[1]);
        assert_eq!(both(), [1, 7], "others are well");
        watched.iter().skip(1).for_each(|one| one.say(Wakefulness::Awake));
        let choice = choose(&all, PACK, 0, &[], || 1).unwrap();
        assert!(Arc::ptr_eq(choice.instance, &all[2]));
        assert_eq!(choice.lacking, 0, "who has failed is not worth it");
    }

    #[test]
    fn counts_outlive_tables_until_the_last_request_ends() {
        let mut instances = Instances::default();
        let all = loaded(&mut instances, &[2, 0, 1]);
        instances.forget_unused();
        let expect = BTreeMap::from([(InstanceId::new("0"), 2), (InstanceId::new("2"), 1)]);
        assert_eq!(instances.in_flight(), expect);
        // The table goes, one request to instance 0 stays.
        let held = all[0].clone();
        drop(all);
        instances.forget_unused();
        assert_eq!(instances.in_flight(), BTreeMap::from([(InstanceId::new("0"), 2)]));
        held.slots.release();
        held.slots.release();
        drop(held);
        instances.forget_unused();
        assert_eq!(instances.by_id.len(), 0);
    }

    #[test]
    fn an_id_at_another_address_is_another_instance() {
        let mut instances = Instances::default();
        let id = InstanceId::new("0");
        let old = instances.get(&id, ADDRESSES[0].parse().unwrap());
        let new = instances.get(&id, ADDRESSES[1].parse().unwrap());
        assert_ne!(old.key, new.key);
        count(&old, 1);
        count(&new, 2);
        assert_eq!(instances.in_flight(), BTreeMap::from([(id, 3)]));
    }
}
