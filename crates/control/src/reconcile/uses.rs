//! What instances use of their CPU and memory, for services that scale on it.

use apron_compute::driver::{Driver, DriverError};
use apron_model::ids::{InstanceId, ServiceId};
use apron_model::scaling::{Readings, Used};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

/// Use is a mean over this time. A shorter one is more of a moment's chance; Kubernetes' takes a quarter of a minute.
pub(crate) const EVERY: Duration = Duration::from_secs(3);
/// A node that answers no sooner has said nothing.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// Of the instances that are awake, by the last two readings.
pub(crate) type Uses = BTreeMap<InstanceId, Used>;

pub(crate) struct Reader<D> {
    driver: Arc<D>,
    /// Who is to be read.
    services: watch::Receiver<BTreeSet<ServiceId>>,
    uses: watch::Sender<Uses>,
    last: Option<Readings>,
}

/// The other end of a reader.
pub(crate) struct Reading {
    pub(crate) services: watch::Sender<BTreeSet<ServiceId>>,
    pub(crate) uses: watch::Receiver<Uses>,
}

impl<D: Driver> Reader<D> {
    pub(crate) fn new(driver: Arc<D>) -> (Reader<D>, Reading) {
        let (services_to, services) = watch::channel(BTreeSet::new());
        let (uses, uses_from) = watch::channel(Uses::new());
        let reader = Reader { driver, services, uses, last: None };
        (reader, Reading { services: services_to, uses: uses_from })
    }

    /// Costs nothing while there is nobody to be read.
    pub(crate) async fn run(mut self, mut shutdown: watch::Receiver<bool>) {
        loop {
            let next = Instant::now() + EVERY;
            tokio::select! {
                some = self.services.wait_for(|services| !services.is_empty()) => if some.is_err() { return },
                _ = shutdown.changed() => return,
            }
            self.pass().await;
            tokio::select! {
                () = sleep_until(next) => {}
                _ = shutdown.changed() => return,
            }
        }
    }

    /// Without an answer nothing is known, and nothing that was is held on to.
    pub(crate) async fn pass(&mut self) {
        let services: Vec<ServiceId> = self.services.borrow().iter().cloned().collect();
        let read = timeout(WAIT_MAX, self.driver.readings(&services)).await;
        let late = |_| Err(DriverError::Unreachable("the node".to_owned()));
        let readings = read.unwrap_or_else(late).ok();
        let uses = match (&readings, &self.last) {
            (Some(now), Some(before)) => now.since(before),
            _ => Uses::new(),
        };
        self.last = readings;
        self.uses.send_if_modified(|last| {
            let news = !uses.is_empty() || !last.is_empty();
            *last = uses;
            news
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use apron_compute::sim::World;
    use apron_model::instance::InstanceSize;
    use apron_model::scaling::Reading as Read;

    #[tokio::test]
    async fn what_is_used_is_told_while_the_node_answers() {
        let world = World::default();
        let reads = |at_ms, cpu_us| {
            let size = InstanceSize { cpu_units: 1_024, memory_mib: 1_024 };
            let read = |service: &str| Read {
                instance: InstanceId::new(format!("of-{service}")),
                service: ServiceId::new(service),
                size,
                cpu_us,
                memory_bytes: 512 << 20,
            };
            world.reads(Readings { at_ms, instances: vec![read("web"), read("other")] });
        };
        let (mut reader, mut reading) = Reader::new(Arc::new(world.clone()));
        reading.services.send_replace(BTreeSet::from([ServiceId::new("web")]));
        reads(1_000, 0);
        reader.pass().await;
        assert!(!reading.uses.has_changed().unwrap(), "one reading tells nothing");
        reads(3_000, 1_500_000);
        reader.pass().await;
        let used = Used { cpu: 0.75, memory: 0.5 };
        assert_eq!(*reading.uses.borrow_and_update(), Uses::from([(InstanceId::new("of-web"), used)]));
        world.set_unreachable(true);
        reader.pass().await;
        assert!(reading.uses.borrow_and_update().is_empty(), "it is old by now");
        world.set_unreachable(false);
        reads(9_000, 1_600_000);
        reader.pass().await;
        assert!(reading.uses.borrow().is_empty(), "nor is a mean over a silence one");
    }
}
