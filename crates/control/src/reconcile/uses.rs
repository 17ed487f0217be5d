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

/// By the last two readings.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Uses {
    pub(crate) instances: BTreeMap<InstanceId, Used>,
    /// Services with an instance that is awake: those that all sleep are not worth a look.
    pub(crate) awake: BTreeSet<ServiceId>,
}

pub(crate) struct Reader<D> {
    driver: Arc<D>,
    /// Who is to be read.
    services: watch::Receiver<BTreeSet<ServiceId>>,
    uses: watch::Sender<Uses>,
    last: Option<Readings>,
    /// It was said why there is none.
    failed: bool,
}

/// The other end of a reader.
pub(crate) struct ReaderHandle {
    pub(crate) services: watch::Sender<BTreeSet<ServiceId>>,
    pub(crate) uses: watch::Receiver<Uses>,
}

impl<D: Driver> Reader<D> {
    pub(crate) fn new(driver: Arc<D>) -> (Reader<D>, ReaderHandle) {
        let (services_to, services) = watch::channel(BTreeSet::new());
        let (uses, uses_from) = watch::channel(Uses::default());
        let reader = Reader { driver, services, uses, last: None, failed: false };
        (reader, ReaderHandle { services: services_to, uses: uses_from })
    }

    /// Costs nothing while there is nobody to be read.
    pub(crate) async fn run(mut self, mut shutdown: watch::Receiver<bool>) {
        loop {
            let next = Instant::now() + EVERY;
            self.pass().await;
            // Not before what was told of the last of them is taken back.
            let nobody = self.last.is_none() && !self.failed;
            let services = &mut self.services;
            let turn = async {
                if nobody {
                    return services.wait_for(|services| !services.is_empty()).await.is_ok();
                }
                sleep_until(next).await;
                true
            };
            tokio::select! {
                goes_on = turn => if !goes_on { return },
                _ = shutdown.changed() => return,
            }
        }
    }

    /// Without an answer nothing is known, and nothing that was is held on to.
    pub(crate) async fn pass(&mut self) {
        let services: Vec<ServiceId> = self.services.borrow_and_update().iter().cloned().collect();
        let readings = if services.is_empty() {
            self.failed = false;
            None
        } else {
            self.read(&services).await
        };
        let uses = match (&readings, &self.last) {
            (Some(now), Some(before)) => {
                let awake = now.instances.iter().filter(|one| one.is_awake);
                Uses { instances: now.since(before), awake: awake.map(|one| one.service.clone()).collect() }
            }
            _ => Uses::default(),
        };
        self.last = readings;
        self.uses.send_if_modified(|last| {
            let differs = *last != uses;
            *last = uses;
            differs
        });
    }

    async fn read(&mut self, services: &[ServiceId]) -> Option<Readings> {
        let late = || DriverError::Unreachable(format!("the node, within {} s,", WAIT_MAX.as_secs()));
        let read = timeout(WAIT_MAX, self.driver.readings(services)).await;
        match read.unwrap_or_else(|_| Err(late())) {
            Ok(readings) => {
                self.failed = false;
                Some(readings)
            }
            Err(error) => {
                if !std::mem::replace(&mut self.failed, true) {
                    tracing::warn!(error = %crate::chain(&error), "what instances use is not known");
                }
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use apron_compute::sim::World;
    use apron_model::instance::InstanceSize;
    use apron_model::scaling::Reading;

    #[tokio::test(start_paused = true)]
    async fn what_is_used_is_told_while_the_node_answers() {
        let world = World::default();
        let reads = |at_ms, cpu_us| {
            let size = InstanceSize { cpu_units: 1_024, memory_mib: 1_024 };
            let read = |service: &str, is_awake| Reading {
                instance: InstanceId::new(format!("of-{service}")),
                service: ServiceId::new(service),
                size,
                healthy_at_ms: 1_000,
                is_awake,
                cpu_us,
                memory_bytes: 512 << 20,
            };
            let instances = vec![read("web", true), read("quiet", false), read("other", true)];
            world.reads(Readings { at_ms, instances });
        };
        let (mut reader, mut reading) = Reader::new(Arc::new(world.clone()));
        let [web, quiet] = ["web", "quiet"].map(ServiceId::new);
        let of_both = BTreeSet::from([web.clone(), quiet]);
        reading.services.send_replace(of_both.clone());
        let cpu = |uses: &Uses| {
            let web = uses.instances.get(&InstanceId::new("of-web"));
            web.map(|used| (used.cpu, used.cpu_unknown))
        };
        reads(61_000, 0);
        reader.pass().await;
        assert_eq!(cpu(&reading.uses.borrow_and_update()), None, "one reading tells nothing");
        reads(63_000, 1_500_000);
        reader.pass().await;
        {
            let uses = reading.uses.borrow_and_update();
            assert_eq!(cpu(&uses), Some((0.75, 0)));
            assert_eq!(uses.instances.get(&InstanceId::new("of-quiet")), Some(&Used::default()));
            assert_eq!((uses.instances.len(), &uses.awake), (2, &BTreeSet::from([web])));
        }
        world.set_unreachable(true);
        reader.pass().await;
        assert_eq!(*reading.uses.borrow_and_update(), Uses::default(), "it is old by now");
        world.set_unreachable(false);
        reads(66_000, 1_600_000);
        reader.pass().await;
        assert_eq!(cpu(&reading.uses.borrow()), None, "nor is a mean over a silence one");
        reads(68_000, 1_700_000);
        reader.pass().await;
        assert_eq!(cpu(&reading.uses.borrow()), Some((0.05, 0)));
        // And it is taken back when nobody is to be read any more.
        let (stop, stopped) = watch::channel(false);
        let running = tokio::spawn(reader.run(stopped));
        reading.services.send_replace(BTreeSet::new());
        let forgotten = reading.uses.wait_for(|uses| *uses == Uses::default());
        timeout(EVERY * 3, forgotten).await.expect("nobody is read").unwrap();
        reading.services.send_replace(of_both);
        let known = reading.uses.wait_for(|uses| cpu(uses).is_some());
        assert_eq!(cpu(&timeout(EVERY * 3, known).await.expect("a second reading").unwrap()), Some((0.0, 1)));
        stop.send_replace(true);
        running.await.unwrap();
    }
}
