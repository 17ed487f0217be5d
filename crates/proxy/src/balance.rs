//! Which instance gets a request: the one with the fewest in flight.
//!
//! The counts are atomics that all loops share, one per instance. They live outside the route table, so a new
//! table never resets them, and an instance that left the table is still counted until its last request ended.

use crate::observe::ServiceCounts;
use apron_model::ids::{InstanceId, ServiceId};
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// One instance as all loops know it.
pub(crate) struct Instance {
    /// Unique for the life of this process: what loops find their own state of the instance by.
    pub(crate) key: u64,
    pub(crate) id: InstanceId,
    pub(crate) address: SocketAddr,
    pub(crate) in_flight: AtomicU32,
}

/// Every instance that is in a table or still has requests, and every service's counter.
#[derive(Default)]
pub(crate) struct Instances {
    next_key: u64,
    // An id that comes back with another address is another instance: requests to the old one end in peace.
    by_id: HashMap<(InstanceId, SocketAddr), Arc<Instance>>,
    counts: BTreeMap<ServiceId, Arc<ServiceCounts>>,
}

impl Instances {
    pub(crate) fn get(&mut self, id: &InstanceId, address: SocketAddr) -> Arc<Instance> {
        let instance = self.by_id.entry((id.clone(), address)).or_insert_with(|| {
            self.next_key += 1;
            Arc::new(Instance { key: self.next_key, id: id.clone(), address, in_flight: AtomicU32::new(0) })
        });
        instance.clone()
    }

    pub(crate) fn counts(&mut self, id: &ServiceId) -> Arc<ServiceCounts> {
        self.counts.entry(id.clone()).or_default().clone()
    }

    /// Forgets what nobody holds any more. Snapshots, pools and requests each hold a reference, so nothing that
    /// is in use is lost.
    pub(crate) fn forget_unused(&mut self) {
        self.by_id.retain(|_, instance| Arc::strong_count(instance) > 1);
        self.counts.retain(|_, counts| Arc::strong_count(counts) > 1);
    }

    /// Requests in flight per instance; one that has none is left out.
    pub(crate) fn in_flight(&self) -> BTreeMap<InstanceId, u32> {
        let mut in_flight = BTreeMap::new();
        for instance in self.by_id.values() {
            let count = instance.in_flight.load(Ordering::Acquire);
            if count > 0 {
                *in_flight.entry(instance.id.clone()).or_insert(0) += count;
            }
        }
        in_flight
    }

    pub(crate) fn requests(&self) -> BTreeMap<ServiceId, u64> {
        self.counts.iter().map(|(id, counts)| (id.clone(), counts.requests())).collect()
    }
}

/// The instance with the fewest requests in flight; among equals, the first from `rotation` on, so that idle
/// instances take turns. One below the target of concurrent requests is always preferred to one above it,
/// because it has fewer. `avoid` is the key of one that just refused a connection: it is taken by nobody.
pub(crate) fn pick(
    instances: &[Arc<Instance>],
    rotation: usize,
    avoid: Option<u64>,
) -> Option<&Arc<Instance>> {
    let start = if instances.is_empty() { 0 } else { rotation % instances.len() };
    let (head, tail) = instances.split_at(start);
    tail.iter()
        .chain(head)
        .filter(|instance| Some(instance.key) != avoid)
        .min_by_key(|instance| instance.in_flight.load(Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three(instances: &mut Instances, loads: [u32; 3]) -> Vec<Arc<Instance>> {
        let make = |(place, load): (usize, u32)| {
            let address = SocketAddr::from(([127, 0, 0, 1], place as u16 + 1));
            let instance = instances.get(&InstanceId::new(format!("{place}")), address);
            instance.in_flight.store(load, Ordering::Relaxed);
            instance
        };
        loads.into_iter().enumerate().map(make).collect()
    }

    fn check(loads: [u32; 3], rotation: usize, avoid: Option<u64>, expect: &str) {
        let all = three(&mut Instances::default(), loads);
        assert_eq!(
            pick(&all, rotation, avoid).unwrap().id.as_str(),
            expect,
            "{loads:?} {rotation} {avoid:?}"
        );
    }

    #[test]
    fn the_least_loaded_is_picked_and_equals_take_turns() {
        check([3, 1, 2], 0, None, "1");
        check([0, 0, 0], 0, None, "0");
        check([0, 0, 0], 1, None, "1");
        check([0, 0, 0], 5, None, "2");
        check([1, 0, 0], 0, None, "1");
        check([3, 1, 2], 0, Some(2), "2");
        assert!(pick(&[], 7, None).is_none());
        let one = &three(&mut Instances::default(), [0, 0, 0])[..1];
        assert!(pick(one, 0, Some(one[0].key)).is_none());
    }

    #[test]
    fn counts_outlive_tables_until_the_last_request_ends() {
        let mut instances = Instances::default();
        let all = three(&mut instances, [2, 0, 1]);
        instances.forget_unused();
        let expect = BTreeMap::from([(InstanceId::new("0"), 2), (InstanceId::new("2"), 1)]);
        assert_eq!(instances.in_flight(), expect);
        // The table goes, one request to instance 0 stays.
        let held = all[0].clone();
        drop(all);
        instances.forget_unused();
        assert_eq!(instances.in_flight(), BTreeMap::from([(InstanceId::new("0"), 2)]));
        held.in_flight.store(0, Ordering::Relaxed);
        drop(held);
        instances.forget_unused();
        assert_eq!(instances.by_id.len(), 0);
    }

    #[test]
    fn an_id_at_another_address_is_another_instance() {
        let mut instances = Instances::default();
        let id = InstanceId::new("0");
        let old = instances.get(&id, "127.0.0.1:1".parse().unwrap());
        let new = instances.get(&id, "127.0.0.1:2".parse().unwrap());
        assert_ne!(old.key, new.key);
        old.in_flight.store(1, Ordering::Relaxed);
        new.in_flight.store(2, Ordering::Relaxed);
        assert_eq!(instances.in_flight(), BTreeMap::from([(id, 3)]));
    }
}
