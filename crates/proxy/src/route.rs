//! Host name to service: one immutable snapshot per route table, shared by all loops.
//!
//! A snapshot is built once, off the request path, and published by `tables`. Finding a route is to hash a name on the
//! stack: no allocation, no lock, the same price with ten routes and with ten thousand.

use crate::balance::{Instance, Instances, Rule};
use crate::observe::ServiceCounts;
use crate::queue::Queue;
use crate::reply::Cause;
use crate::shards::Shards;
use apron_model::ids::{Generation, RevisionNumber, ServiceId};
use apron_model::routes::{Load, RouteChange, RoutePolicy, RouteService, RouteState, RouteTable};
use std::collections::HashSet;
use std::sync::Arc;

/// A DNS name has at most 253 characters.
const HOST_BYTES_MAX: usize = 253;
/// Requests of one service that may wait, however small the service is: a burst while its first instance starts.
const WAITING_MIN: usize = 10_000;
/// And for each that its instances may have in flight: with answers in a second, the last one waits for four.
const WAITING_PER_PLACE: usize = 4;

/// What one generation of the table routes to.
pub(crate) struct Snapshot {
    pub(crate) generation: Generation,
    /// False until control or the saved file gave a table: then an unknown host is no evidence.
    pub(crate) known: bool,
    hosts: Shards<Arc<[u8]>, Arc<Service>>,
    services: Shards<ServiceId, Arc<Service>>,
}

/// A service as one table has it. Its counts and its line of waiting requests outlive the table.
pub(crate) struct Service {
    pub(crate) id: ServiceId,
    pub(crate) name: String,
    /// As they are looked up by.
    hosts: Vec<Arc<[u8]>>,
    pub(crate) revision: RevisionNumber,
    pub(crate) state: RouteState,
    /// Target of concurrent requests per instance.
    pub(crate) max_concurrency: u32,
    /// Concurrent requests that one instance never gets more of.
    pub(crate) ceiling: u32,
    pub(crate) policy: RoutePolicy,
    pub(crate) instances: Vec<Arc<Instance>>,
    /// More of them are on their way.
    pub(crate) coming: bool,
    pub(crate) counts: Arc<ServiceCounts>,
    pub(crate) queue: Arc<Queue>,
}

impl Service {
    fn new(service: &RouteService, instances: &mut Instances) -> Arc<Service> {
        let queue = instances.queue(&service.id);
        let listed: Vec<Arc<Instance>> =
            service.instances.iter().map(|one| instances.get(&one.id, one.address)).collect();
        let hosts: Vec<Arc<[u8]>> = service.hosts.iter().map(|host| key(host)).collect();
        let before = queue.service();
        // Most tables change one service of many.
        if let Some(before) = before.as_ref().filter(|before| before.is(service, &hosts, &listed)) {
            return before.clone();
        }
        // With others that serve already, a new one can take its time; where all are new, nobody else can serve.
        let known: HashSet<u64> =
            before.iter().flat_map(|service| &service.instances).map(|instance| instance.key).collect();
        let (stay, come): (Vec<_>, Vec<_>) =
            listed.iter().partition(|instance| known.contains(&instance.key));
        // One that was away, to be started again perhaps, is not what it was.
        come.iter().for_each(|instance| instance.ejection.forget());
        if !stay.is_empty() {
            come.iter().for_each(|instance| instance.start_slowly());
        }
        // Nobody takes a burst off an instance that stays alone with it.
        let burst = service.max_concurrency.saturating_mul(if service.coming { 2 } else { 1 });
        Arc::new(Service {
            id: service.id.clone(),
            name: service.name.clone(),
            hosts,
            revision: service.revision,
            state: service.state,
            max_concurrency: service.max_concurrency,
            ceiling: service.policy.concurrency_hard.unwrap_or(burst).max(1),
            policy: service.policy.clone(),
            instances: listed,
            coming: service.coming,
            counts: instances.counts(&service.id),
            queue,
        })
    }

    /// Whether a new table says nothing new about it.
    fn is(&self, service: &RouteService, hosts: &[Arc<[u8]>], listed: &[Arc<Instance>]) -> bool {
        self.name == service.name
            && self.hosts == hosts
            && self.revision == service.revision
            && self.state == service.state
            && self.max_concurrency == service.max_concurrency
            && self.coming == service.coming
            && self.policy == service.policy
            && self.instances.len() == listed.len()
            && self.instances.iter().zip(listed).all(|(one, other)| Arc::ptr_eq(one, other))
    }

    pub(crate) fn rule(&self) -> Rule {
        let target = self.max_concurrency.clamp(1, self.ceiling);
        Rule { target, ceiling: self.ceiling, balance: self.policy.balance }
    }

    /// Why it takes no requests, if it does not.
    pub(crate) fn refuses(&self) -> Option<Cause> {
        match self.state {
            RouteState::Serving => None,
            RouteState::Paused => Some(Cause::Paused),
            RouteState::NotDeployed => Some(Cause::NotDeployed),
        }
    }

    /// What this process sees of it. A request is in flight also at an instance that the table does not name any more:
    /// what it came for has not ended, and comes again when that instance does.
    pub(crate) fn load(&self) -> Load {
        // In this order none is counted as gone that is not counted as come.
        let (answered, gave_up) = (self.counts.answered(), self.counts.gave_up());
        let waiting = self.queue.waiting();
        let arrived = self.counts.arrived();
        let there = arrived.saturating_sub(answered).saturating_sub(gave_up).saturating_sub(waiting.into());
        let asleep = match waiting {
            0 => 0,
            _ => self.instances.iter().filter(|instance| instance.is_asleep()).count() as u32,
        };
        Load { arrived, answered, in_flight: u32::try_from(there).unwrap_or(u32::MAX), waiting, asleep }
    }

    /// Requests that may wait for a place at an instance.
    pub(crate) fn waiting_max(&self) -> usize {
        let places = self.instances.len().saturating_mul(self.ceiling as usize);
        places.saturating_mul(WAITING_PER_PLACE).max(WAITING_MIN)
    }
}

impl Snapshot {
    /// What a proxy serves that was never told anything.
    pub(crate) fn unknown() -> Snapshot {
        Snapshot {
            generation: Generation::default(),
            known: false,
            hosts: Shards::default(),
            services: Shards::default(),
        }
    }

    /// Instances, counters and queues come from `instances`, which keeps them over tables. A host that stands twice goes
    /// to the first service that names it; the publisher does not let that happen.
    pub(crate) fn build(table: &RouteTable, instances: &mut Instances) -> Snapshot {
        let mut snapshot = Snapshot { generation: table.generation, known: true, ..Snapshot::unknown() };
        for service in &table.services {
            snapshot.enter(Service::new(service, instances));
        }
        snapshot
    }

    /// The snapshot that a change leads to, and the services that it makes anew. What stays is shared with this one.
    pub(crate) fn changed(
        &self,
        change: &RouteChange,
        instances: &mut Instances,
    ) -> (Snapshot, Vec<Arc<Service>>) {
        let mut snapshot = Snapshot {
            generation: change.generation,
            known: true,
            hosts: self.hosts.clone(),
            services: self.services.clone(),
        };
        // All of them leave before any comes: a host may move from one to another.
        change.gone.iter().for_each(|id| snapshot.leave(id));
        change.services.iter().for_each(|service| snapshot.leave(&service.id));
        let made: Vec<_> = change.services.iter().map(|service| Service::new(service, instances)).collect();
        made.iter().for_each(|service| snapshot.enter(service.clone()));
        (snapshot, made)
    }

    fn enter(&mut self, service: Arc<Service>) {
        for host in &service.hosts {
            if self.hosts.get(host).is_none() {
                self.hosts.insert(host.clone(), service.clone());
            } else {
                let host = String::from_utf8_lossy(host);
                tracing::warn!(%host, service = %service.id, "host already has a service");
            }
        }
        self.services.insert(service.id.clone(), service);
    }

    fn leave(&mut self, id: &ServiceId) {
        let Some(service) = self.services.remove(id) else { return };
        for host in &service.hosts {
            if self.hosts.get(host).is_some_and(|holder| holder.id == *id) {
                self.hosts.remove(host);
            }
        }
    }

    /// The service of a host that `Host::parse` normalised.
    pub(crate) fn find(&self, host: &Host) -> Option<&Arc<Service>> {
        self.hosts.get(host.as_bytes())
    }

    /// All of them, in no order.
    pub(crate) fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.services.values()
    }

    pub(crate) fn service(&self, id: &ServiceId) -> Option<&Arc<Service>> {
        self.services.get(id)
    }

    pub(crate) fn names(&self, id: &ServiceId) -> bool {
        self.service(id).is_some()
    }

    /// The keys of instances that the other snapshot may not have: at the price of what they do not share.
    pub(crate) fn instances_apart<'a>(&'a self, other: &'a Snapshot) -> impl Iterator<Item = u64> + 'a {
        let services = self.services.not_shared_with(&other.services);
        services.flat_map(|service| &service.instances).map(|instance| instance.key)
    }
}

/// A host as routes are looked up by.
fn key(host: &str) -> Arc<[u8]> {
    host.trim_end_matches('.').to_ascii_lowercase().into_bytes().into()
}

/// A host name as routes are looked up by: lower case, no port, no trailing dot. Lives on the stack.
#[derive(Clone, Copy)]
pub(crate) struct Host {
    length: u8,
    bytes: [u8; HOST_BYTES_MAX],
}

/// A Host header or authority that is not `name[:port]`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadHost;

impl Host {
    /// Takes a Host header's or an authority's bytes. IPv6 literals keep their brackets.
    pub(crate) fn parse(text: &[u8]) -> Result<Host, BadHost> {
        let name = match text {
            [b'[', ..] => {
                let end = text.iter().position(|b| *b == b']').ok_or(BadHost)? + 1;
                valid_port(&text[end..])?;
                &text[..end]
            }
            _ => match text.iter().position(|b| *b == b':') {
                Some(colon) => {
                    valid_port(&text[colon..])?;
                    &text[..colon]
                }
                None => text,
            },
        };
        let name = name.strip_suffix(b".").unwrap_or(name);
        if name.is_empty() || name.len() > HOST_BYTES_MAX {
            return Err(BadHost);
        }
        let mut host = Host { length: name.len() as u8, bytes: [0; HOST_BYTES_MAX] };
        for (place, byte) in host.bytes.iter_mut().zip(name) {
            *place = match byte {
                b'A'..=b'Z' => byte.to_ascii_lowercase(),
                b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' => *byte,
                b'[' | b']' | b':' if name[0] == b'[' => *byte,
                _ => return Err(BadHost),
            };
        }
        Ok(host)
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length as usize]
    }

    pub(crate) fn as_str(&self) -> &str {
        // Every byte was checked to be ASCII, so this never gives the empty name.
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }
}

/// Nothing, or a colon and up to five digits.
fn valid_port(text: &[u8]) -> Result<(), BadHost> {
    match text {
        [] => Ok(()),
        [b':', digits @ ..] if digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit) => Ok(()),
        _ => Err(BadHost),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance;
    use crate::config::{StaticRoute, static_table};
    use crate::ejection::{Standing, now_ms};

    fn check(text: &str, expect: Option<&str>) {
        let host = Host::parse(text.as_bytes());
        assert_eq!(host.as_ref().ok().map(Host::as_str), expect, "{text}");
    }

    #[test]
    fn hosts_are_normalised_or_refused() {
        check("app.localhost", Some("app.localhost"));
        check("APP.LocalHost", Some("app.localhost"));
        check("app.localhost:8080", Some("app.localhost"));
        check("app.localhost.", Some("app.localhost"));
        check("app.localhost.:443", Some("app.localhost"));
        check("app.localhost:", Some("app.localhost"));
        check("[::1]:80", Some("[::1]"));
        check("127.0.0.1:80", Some("127.0.0.1"));
        check("", None);
        check(".", None);
        check(":80", None);
        check("a b", None);
        check("a:b", None);
        check("a:80:80", None);
        check("a:123456", None);
        check("[::1", None);
        check("[::1]x", None);
        check("user@host", None);
        check("a/b", None);
        check("ä.localhost", None);
        check(&"a".repeat(253), Some(&"a".repeat(253)));
        check(&"a".repeat(254), None);
    }

    #[test]
    fn a_snapshot_finds_services_by_every_host() {
        let routes: Vec<StaticRoute> =
            ["one.localhost=127.0.0.1:1", "two.localhost=127.0.0.1:2"].map(|r| r.parse().unwrap()).into();
        let snapshot = Snapshot::build(&static_table(&routes), &mut Instances::default());
        let find = |host: &str| {
            snapshot.find(&Host::parse(host.as_bytes()).unwrap()).map(|s| s.instances[0].address.port())
        };
        assert_eq!(find("one.localhost"), Some(1));
        assert_eq!(find("TWO.localhost.:8080"), Some(2));
        assert_eq!(find("three.localhost"), None);
    }

    fn built(table: &RouteTable, instances: &mut Instances) -> Snapshot {
        let snapshot = Snapshot::build(table, instances);
        instances.follow(&snapshot);
        snapshot
    }

    fn found(snapshot: &Snapshot, host: &str) -> Arc<Service> {
        snapshot.find(&Host::parse(host.as_bytes()).unwrap()).unwrap().clone()
    }

    #[test]
    fn a_table_makes_anew_what_it_changes_and_nothing_else() {
        let routes: Vec<StaticRoute> =
            ["one=127.0.0.1:1", "two=127.0.0.1:2"].map(|r| r.parse().unwrap()).into();
        let (mut table, mut instances) = (static_table(&routes), Instances::default());
        let before = built(&table, &mut instances);
        table.services[1].policy.affinity = true;
        let after = built(&table, &mut instances);
        let both = |host: &str| [&before, &after].map(|snapshot| found(snapshot, host));
        let ([one_before, one_after], [two_before, two_after]) = (both("one"), both("two"));
        assert!(Arc::ptr_eq(&one_before, &one_after));
        assert!(!Arc::ptr_eq(&two_before, &two_after));
        assert!(two_after.policy.affinity);
        assert!(Arc::ptr_eq(&two_before.queue, &two_after.queue));
    }

    #[test]
    fn a_change_moves_a_host_and_takes_what_has_gone() {
        let table = |routes: &[&str]| {
            static_table(&routes.iter().map(|route| route.parse().unwrap()).collect::<Vec<StaticRoute>>())
        };
        let mut instances = Instances::default();
        let first = table(&["one=127.0.0.1:1", "two=127.0.0.1:2", "three=127.0.0.1:3"]);
        let before = built(&first, &mut instances);
        let mut second = first.clone();
        second.generation.counter += 1;
        second.services.remove(2);
        second.services[0].hosts = vec!["ONE.".to_owned()];
        let moved = second.services[1].hosts.drain(..).next().unwrap();
        second.services[0].hosts.push(moved);
        let (after, made) = before.changed(&second.since(&first), &mut instances);
        assert_eq!((made.len(), after.services().count()), (2, 2));
        assert_eq!(found(&after, "one").id, found(&before, "one").id);
        assert_eq!(found(&after, "two").id, found(&before, "one").id);
        assert!(after.find(&Host::parse(b"three").unwrap()).is_none());
        assert!(!after.names(&found(&before, "three").id));
        assert_eq!(found(&before, "three").instances[0].address.port(), 3);
        let gone: Vec<u64> = before.instances_apart(&after).collect();
        assert!(gone.contains(&found(&before, "three").instances[0].key));
    }

    /// How five requests are shared out when the first of these tables is followed by the second.
    fn check_shares(first: &str, second: &str, expect: [u32; 2]) {
        let table = |route: &str| {
            let mut table = static_table(&[route.parse().unwrap()]);
            table.services[0].max_concurrency = 4;
            for instance in &mut table.services[0].instances {
                instance.id = apron_model::ids::InstanceId::new(instance.address.port().to_string());
            }
            table
        };
        let mut instances = Instances::default();
        let _first = built(&table(first), &mut instances);
        let second = built(&table(second), &mut instances);
        for _ in 0..5 {
            assert!(balance::claim(&found(&second, "a"), 0, &[]).is_some());
        }
        assert_eq!(instances.in_flight().into_values().collect::<Vec<_>>(), expect, "{first}");
    }

    #[test]
    fn a_new_instance_beside_others_starts_slowly_and_new_ones_alone_do_not() {
        check_shares("a=127.0.0.1:1", "a=127.0.0.1:1,127.0.0.1:2", [4, 1]);
        check_shares("a=127.0.0.1:1,127.0.0.1:2", "a=127.0.0.1:1,127.0.0.1:2", [3, 2]);
        check_shares("a=127.0.0.1:3", "a=127.0.0.1:1,127.0.0.1:2", [3, 2]);
    }

    #[test]
    fn an_instance_that_comes_back_is_not_out_any_more() {
        let table = |addresses: &str| static_table(&[format!("a={addresses}").parse().unwrap()]);
        let mut instances = Instances::default();
        let first = built(&table("127.0.0.1:1,127.0.0.1:2"), &mut instances);
        let instance = found(&first, "a").instances[1].clone();
        let trial = instance.ejection.begin(Standing::In, now_ms).unwrap();
        while !instance.ejection.failed(trial, now_ms()) {}
        let mut changed = table("127.0.0.1:1,127.0.0.1:2");
        changed.services[0].policy.affinity = true;
        let _changed = built(&changed, &mut instances);
        assert_eq!(instance.ejection.standing(now_ms), Standing::Out, "it was there all the time");
        let _away = built(&table("127.0.0.1:1"), &mut instances);
        let back = built(&table("127.0.0.1:1,127.0.0.1:2"), &mut instances);
        assert!(Arc::ptr_eq(&found(&back, "a").instances[1], &instance));
        assert_eq!(instance.ejection.standing(now_ms), Standing::In);
    }

    /// A request finds the service of the name that it wrote, or none.
    #[test]
    #[ignore = "long: the long list runs it"]
    fn hosts_changed_by_dice() {
        let names = ["a.localhost", "a.b.localhost", "xn--bcher-kva.example", "[::1]", "127.0.0.1"];
        let routes: Vec<StaticRoute> =
            names.map(|name| format!("{name}=127.0.0.1:1").parse().unwrap()).into();
        let snapshot = Snapshot::build(&static_table(&routes), &mut Instances::default());
        let corpus =
            ["A.localhost:8080", "a.b.localhost.", "[::1]:80", "127.0.0.1:", "xn--bcher-kva.example.:443"];
        let words =
            [".", ":", "[", "]", ":80", "@", "/", "\0", " ", "a", "A", "%2e", "\u{ff0e}", "_", "-", ","];
        crate::mutate::fuzz(&corpus.map(str::as_bytes), &words, |text| {
            let Ok(host) = Host::parse(text) else { return };
            let name = host.as_str();
            assert!(!name.is_empty() && name.len() <= HOST_BYTES_MAX, "{name}");
            assert!(
                text.len() >= name.len() && text[..name.len()].eq_ignore_ascii_case(name.as_bytes()),
                "{name}"
            );
            let rest = &text[name.len()..];
            let rest = rest.strip_prefix(b".").unwrap_or(rest);
            assert!(rest.is_empty() || rest[0] == b':' && rest[1..].iter().all(u8::is_ascii_digit), "{name}");
            assert_eq!(snapshot.find(&host).is_some(), names.contains(&name), "{name}");
        });
    }
}
