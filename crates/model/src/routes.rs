//! What proxies see: one immutable table per generation, and the messages by which control and proxy speak.
//!
//! Messages are JSON, one per line, over a unix stream that the proxy opens to `run/control/control.sock`. The proxy
//! says `Hello`, then gets the newest table at once and of each later one what it changes; it reports `Serving` when
//! all of its loops use a table, and renews its lease with `Status`.

mod policy;

pub use policy::{
    AccessLog, AppProtocol, Balance, HttpsPolicy, Network, NetworkError, REQUEST_TIMEOUT_S, RoutePolicy,
};

use crate::extension;
use crate::ids::{Generation, InstanceId, RevisionNumber, ServiceId};
use crate::instance::{Health, Phase};
use crate::reconcile::{Slot, SlotWish};
use crate::service::{Service, State};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

/// Version of the messages; a peer with another major number is refused with both numbers in the error.
pub const PROTOCOL_VERSION: u32 = 2;
/// Control understands proxies from this version on: those of the release before, which drain.
pub const PROTOCOL_VERSION_MIN: u32 = 1;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteTable {
    pub generation: Generation,
    pub services: Vec<RouteService>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteService {
    pub id: ServiceId,
    pub name: String,
    /// Lower-case host names without a port; a host stands in one service only.
    pub hosts: Vec<String>,
    pub state: RouteState,
    /// The active one. While instances are replaced one by one, some of them are of the next.
    pub revision: RevisionNumber,
    /// Target of concurrent requests per instance.
    pub max_concurrency: u32,
    pub instances: Vec<RouteInstance>,
    /// Further instances are on their way: a burst may go beyond the target until they are here, and a request without
    /// an instance is worth its wait. Releases before there was this did not say so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub coming: bool,
    /// How its requests are treated. Left out where nothing is special, which is most often: ten thousand services
    /// must fit into one message.
    #[serde(default, skip_serializing_if = "RoutePolicy::is_default")]
    pub policy: RoutePolicy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteState {
    /// Has instances, or will have them in a moment: a request without an instance waits.
    Serving,
    Paused,
    /// The first deployment has not succeeded.
    NotDeployed,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteInstance {
    pub id: InstanceId,
    pub address: SocketAddr,
}

/// What a table says otherwise than one before it. The order of services is not part of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteChange {
    /// The table before.
    pub base: Generation,
    pub generation: Generation,
    /// Those that are new, or not as they were, whole.
    pub services: Vec<RouteService>,
    pub gone: Vec<ServiceId>,
}

impl RouteTable {
    /// What leads from `before` to this table.
    pub fn since(&self, before: &RouteTable) -> RouteChange {
        let known: BTreeMap<&ServiceId, &RouteService> =
            before.services.iter().map(|service| (&service.id, service)).collect();
        let named: BTreeSet<&ServiceId> = self.services.iter().map(|service| &service.id).collect();
        let is_new = |service: &&RouteService| known.get(&service.id) != Some(service);
        RouteChange {
            base: before.generation,
            generation: self.generation,
            services: self.services.iter().filter(is_new).cloned().collect(),
            gone: known.into_keys().filter(|id| !named.contains(id)).cloned().collect(),
        }
    }

    /// Takes a change that begins at this table.
    pub fn change(&mut self, change: &RouteChange) {
        let named: BTreeSet<&ServiceId> =
            change.gone.iter().chain(change.services.iter().map(|service| &service.id)).collect();
        self.services.retain(|service| !named.contains(&service.id));
        self.services.extend(change.services.iter().cloned());
        self.generation = change.generation;
    }
}

/// From control to a proxy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToProxy {
    Table(RouteTable),
    /// Only to a proxy that takes changes, and that was given the base on the same connection.
    Change(RouteChange),
    /// The peer speaks another version, or the table was older than what the proxy serves.
    Refused {
        reason: String,
    },
}

/// From a proxy to control.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromProxy {
    Hello {
        version: u32,
        pid: u32,
        /// The newest table that it has taken, so that control begins an epoch above it. Says nothing about what
        /// its loops serve.
        generation: Generation,
        /// It takes `ToProxy::Change`. Releases before there were changes do not say so.
        #[serde(default)]
        changes: bool,
    },
    /// Every loop routes by this generation.
    Serving { generation: Generation },
    /// Renews the lease, every `limits::PROXY_STATUS_MS`, and follows each `Serving`.
    Status {
        generation: Generation,
        /// Requests in flight per instance, also for instances that the table no longer names and that
        /// still have some. An instance that is absent has none.
        in_flight: BTreeMap<InstanceId, u32>,
    },
    /// What services are asked for, every `scaling::SAMPLE_MS` and as soon as a line forms. Of those of which something
    /// else was said before on this connection; none at first.
    Load(BTreeMap<ServiceId, Load>),
}

/// What one proxy process sees of a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// Requests that it has let in since it started, to an instance or into the line. What it refuses or answers by itself
    /// is none.
    pub arrived: u64,
    /// Of those the ones that have left an instance, whatever came of them.
    pub answered: u64,
    /// Requests at instances.
    pub in_flight: u32,
    /// Requests in line.
    pub waiting: u32,
    /// While there are any: instances that are asleep, and are woken for them.
    #[serde(default, skip_serializing_if = "is_none")]
    pub asleep: u32,
}

fn is_none(count: &u32) -> bool {
    *count == 0
}

/// The host name of a service's default URL.
pub fn url_host(service: &Service, apps_domain: &str) -> String {
    url_host_of(&service.url_label, &service.region, apps_domain)
}

/// As `url_host`, of a service that is not known whole.
pub fn url_host_of(url_label: &str, region: &str, apps_domain: &str) -> String {
    format!("{url_label}.{region}.{apps_domain}").to_ascii_lowercase()
}

/// The address of a host of ours that people are shown, on the listener of `apps_endpoint`. That is the plain one
/// where there is one: the other's certificate comes from an authority that only this platform knows. A port
/// that `host` carries is another listener's.
pub fn shown_url(host: &str, apps_endpoint: &str) -> String {
    let host = host.split(':').next().unwrap_or_default();
    let (scheme, address) = apps_endpoint.split_once("://").unwrap_or(("http", apps_endpoint));
    match (scheme, address.rsplit_once(':').map(|(_, port)| port)) {
        (_, None) | ("http", Some("80")) | ("https", Some("443")) => format!("{scheme}://{host}"),
        (_, Some(port)) => format!("{scheme}://{host}:{port}"),
    }
}

/// The alias by which a service is also found. Of two services with one name, in two regions, the older has it.
pub fn alias_host(service: &Service, apps_domain: &str) -> String {
    format!("{}.{}", service.name, apps_domain).to_ascii_lowercase()
}

/// What proxies must see, from the rows as they are. Same rows, same table but for the generation.
pub fn table(generation: Generation, services: &[(Service, Vec<Slot>)], apps_domain: &str) -> RouteTable {
    let mut routed: Vec<(&Service, &[Slot], RouteState)> = services
        .iter()
        .filter_map(|(service, slots)| Some((service, slots.as_slice(), route_state(service.state)?)))
        .collect();
    routed.sort_by_key(|(service, ..)| (service.created_at, service.id.clone()));
    let mut taken: BTreeSet<String> =
        routed.iter().map(|(service, ..)| url_host(service, apps_domain)).collect();
    let services = routed
        .into_iter()
        .map(|(service, slots, state)| {
            let mut hosts = vec![url_host(service, apps_domain)];
            let alias = alias_host(service, apps_domain);
            if taken.insert(alias.clone()) {
                hosts.push(alias);
            }
            let (instances, coming) = match state {
                RouteState::Serving => instances(service, slots),
                RouteState::Paused | RouteState::NotDeployed => (Vec::new(), false),
            };
            RouteService {
                id: service.id.clone(),
                name: service.name.clone(),
                hosts,
                state,
                revision: service.active.unwrap_or(0),
                max_concurrency: service.scaling().max_concurrency,
                instances,
                coming,
                // Whoever publishes the table says which tags are not understood.
                policy: extension::policy(&service.tags).0,
            }
        })
        .collect();
    RouteTable { generation, services }
}

/// None: proxies do not know the service.
fn route_state(state: State) -> Option<RouteState> {
    match state {
        State::Creating | State::CreateFailed => Some(RouteState::NotDeployed),
        State::Running => Some(RouteState::Serving),
        State::Paused => Some(RouteState::Paused),
        State::Deleting | State::DeleteFailed | State::Deleted => None,
    }
}

/// The healthy instances of the active revision, and those that change places with them. When every one that was healthy
/// no longer is, all of those that still run are listed: a wrong health check must not turn a slow service into none.
/// One that has not been healthy since its start is listed only where there is no other. And whether more of them are
/// coming.
fn instances(service: &Service, slots: &[Slot]) -> (Vec<RouteInstance>, bool) {
    let routed: Vec<&Slot> = slots
        .iter()
        .filter(|slot| match slot.wish {
            SlotWish::Run => Some(slot.revision) == service.active,
            SlotWish::Beside => true,
            SlotWish::Drain { .. } | SlotWish::Stop | SlotWish::Gone => false,
        })
        .collect();
    let mut ranked: Vec<(u8, RouteInstance)> = routed
        .iter()
        .filter_map(|slot| {
            let fact = slot.fact.as_ref()?;
            Some((rank(slot)?, RouteInstance { id: fact.id.clone(), address: fact.address? }))
        })
        .collect();
    let best = ranked.iter().map(|(rank, _)| *rank).min();
    ranked.retain(|(rank, _)| Some(*rank) == best);
    let mut list: Vec<RouteInstance> = ranked.into_iter().map(|(_, one)| one).collect();
    list.sort_by(|a, b| a.id.cmp(&b.id));
    (list, routed.into_iter().any(comes))
}

/// Whether an instance that gets no requests is about to get some. One that could not be started, or that ended before
/// it was healthy, is tried again, but not waited for.
pub fn comes(slot: &Slot) -> bool {
    let Some(fact) = &slot.fact else { return true };
    match &fact.phase {
        Phase::Creating => true,
        Phase::Running => matches!(fact.health, Health::Starting { .. }),
        Phase::Exited(_) => slot.was_healthy(fact),
        Phase::Failed(_) | Phase::Stopping => false,
    }
}

/// Of the instances that may get requests those with the lowest number do. None: it never does, as it is.
pub(crate) fn rank(slot: &Slot) -> Option<u8> {
    let fact = slot.fact.as_ref().filter(|fact| fact.phase == Phase::Running && fact.address.is_some())?;
    match fact.health {
        Health::Healthy => Some(0),
        Health::Unhealthy { .. } if slot.was_healthy(fact) => Some(1),
        Health::Unhealthy { .. } => Some(2),
        Health::Starting { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use crate::instance::{Exit, Observed};
    use crate::time::WallTime;

    fn check(state: State, expect: Option<(RouteState, usize)>) {
        let mut service = fixture::service("web", fixture::image_config("r/web"));
        service.state = state;
        service.active = Some(1);
        let mut slots: Vec<Slot> = (0..4).map(|n| fixture::slot(&service, 1, n)).collect();
        for slot in &mut slots {
            slot.fact = Some(fixture::healthy(slot));
        }
        slots[1].wish = SlotWish::Stop;
        slots[2].revision = 2;
        slots[3].fact.as_mut().unwrap().health = Health::Unhealthy { reason: "500".to_owned() };
        let table = table(Generation::default(), &[(service, slots)], "apron.localhost");
        let got = table.services.first().map(|service| (service.state, service.instances.len()));
        assert_eq!(got, expect, "{state:?}");
    }

    #[test]
    fn people_are_shown_the_listener_of_the_applications() {
        for (host, endpoint, expect) in [
            ("a.test", "http://0.0.0.0:8080", "http://a.test:8080"),
            ("a.test:8443", "http://0.0.0.0:8080", "http://a.test:8080"),
            ("a.test", "http://0.0.0.0:80", "http://a.test"),
            ("a.test", "https://0.0.0.0:443", "https://a.test"),
            ("a.test:1", "https://[::]:8443", "https://a.test:8443"),
        ] {
            assert_eq!(shown_url(host, endpoint), expect);
        }
    }

    #[test]
    fn what_each_state_shows() {
        check(State::Creating, Some((RouteState::NotDeployed, 0)));
        check(State::CreateFailed, Some((RouteState::NotDeployed, 0)));
        check(State::Running, Some((RouteState::Serving, 1)));
        check(State::Paused, Some((RouteState::Paused, 0)));
        check(State::Deleting, None);
        check(State::DeleteFailed, None);
        check(State::Deleted, None);
    }

    #[test]
    fn unhealthy_ones_are_better_than_none_and_starting_ones_are_not() {
        let mut service = fixture::service("web", fixture::image_config("r/web"));
        service.active = Some(1);
        let mut slots: Vec<Slot> = (0..2).map(|n| fixture::slot(&service, 1, n)).collect();
        for slot in &mut slots {
            slot.fact = Some(fixture::healthy(slot));
        }
        slots[0].fact.as_mut().unwrap().health = Health::Unhealthy { reason: "500".to_owned() };
        slots[1].fact.as_mut().unwrap().health = Health::Starting { hint: None };
        let table = table(Generation::default(), &[(service, slots)], "apron.localhost");
        assert_eq!(table.services[0].instances.len(), 1);
    }

    /// What has not been healthy since its start gets requests only where there is nothing else.
    #[test]
    fn what_still_warms_up_stands_behind_what_has_served() {
        let mut service = fixture::service("web", fixture::image_config("r/web"));
        service.active = Some(1);
        let mut slots: Vec<Slot> = (0..3).map(|n| fixture::slot(&service, 1, n)).collect();
        for slot in &mut slots {
            let health = Health::Unhealthy { reason: "404".to_owned() };
            slot.fact = Some(Observed { health, ..fixture::healthy(slot) });
            slot.ever_healthy = true;
        }
        let listed = |slots: &[Slot]| -> Vec<usize> {
            let table = table(Generation::default(), &[(service.clone(), slots.to_vec())], "a.test");
            let listed = &table.services[0].instances;
            (0..3).filter(|n| listed.iter().any(|one| one.id == slots[*n].id)).collect()
        };
        assert_eq!(listed(&slots), [0, 1, 2], "they run, and were healthy");
        // Started anew under the eyes of its driver, and new.
        slots[1].fact.as_mut().unwrap().waterfall.exec_ms = Some(9);
        slots[2].ever_healthy = false;
        assert_eq!(listed(&slots), [0]);
        slots[0].fact.as_mut().unwrap().phase = Phase::Creating;
        assert_eq!(listed(&slots), [1, 2], "nothing else is there");
        slots[1].fact.as_mut().unwrap().waterfall.healthy_ms = Some(10);
        assert_eq!(listed(&slots), [1]);
    }

    #[test]
    fn what_comes_is_told_from_what_fails() {
        let exit =
            Exit { code: Some(1), signal: None, out_of_memory: false, reason: None, last_lines: vec![] };
        let coming = |change: &dyn Fn(&mut Slot)| {
            let mut service = fixture::service("web", fixture::image_config("r/web"));
            service.active = Some(1);
            let mut slots: Vec<Slot> = (0..2).map(|n| fixture::slot(&service, 1, n)).collect();
            slots[0].fact = Some(fixture::healthy(&slots[0]));
            slots[1].fact = Some(fixture::healthy(&slots[1]));
            change(&mut slots[1]);
            table(Generation::default(), &[(service, slots)], "a.test").services[0].coming
        };
        let fact = |change: &dyn Fn(&mut Observed)| coming(&|slot| change(slot.fact.as_mut().unwrap()));
        let ended = |ever_healthy: bool| {
            coming(&|slot| {
                slot.ever_healthy = ever_healthy;
                slot.fact.as_mut().unwrap().phase = Phase::Exited(exit.clone());
            })
        };
        assert!(!coming(&|_| {}), "both are here");
        assert!(coming(&|slot| slot.fact = None));
        assert!(fact(&|fact| fact.phase = Phase::Creating));
        assert!(fact(&|fact| fact.health = Health::Starting { hint: None }));
        assert!(!fact(&|fact| fact.health = Health::Unhealthy { reason: "500".to_owned() }));
        assert!(ended(true) && !ended(false));
        assert!(!fact(&|fact| fact.phase = Phase::Stopping));
        assert!(!coming(&|slot| (slot.wish, slot.fact) = (SlotWish::Stop, None)), "it goes");
        assert!(!coming(&|slot| (slot.revision, slot.fact) = (2, None)), "it is not routed yet");
    }

    #[test]
    fn instances_that_change_places_are_listed_beside_each_other() {
        let mut service = fixture::service("web", fixture::image_config("r/web"));
        service.active = Some(1);
        service.candidate = Some(2);
        let mut slots = vec![
            fixture::slot(&service, 1, 0),
            fixture::slot(&service, 2, 1),
            fixture::slot(&service, 2, 2),
            fixture::slot(&service, 2, 3),
        ];
        for slot in &mut slots {
            slot.fact = Some(fixture::healthy(slot));
        }
        slots[1].wish = SlotWish::Beside;
        slots[2].wish = SlotWish::Beside;
        slots[2].fact.as_mut().unwrap().health = Health::Unhealthy { reason: "500".to_owned() };
        let expect = [slots[0].id.clone(), slots[1].id.clone()];
        let table = table(Generation::default(), &[(service, slots)], "apron.localhost");
        let listed: Vec<_> = table.services[0].instances.iter().map(|one| one.id.clone()).collect();
        assert_eq!((listed.as_slice(), table.services[0].revision), (expect.as_slice(), 1));
    }

    #[test]
    fn tags_become_the_policy_and_a_damaged_one_keeps_everybody_out() {
        let mut service = fixture::service("web", fixture::image_config("r/web"));
        let policy = |service: &Service| {
            let table = table(Generation::default(), &[(service.clone(), vec![])], "apron.localhost");
            table.services[0].policy.clone()
        };
        assert!(policy(&service).is_default());
        service.tags.insert("apron:app-protocol".to_owned(), "h2c".to_owned());
        assert_eq!(policy(&service).app_protocol, AppProtocol::H2c);
        service.tags.insert("apron:deny-addresses".to_owned(), "10.0.0.0/8".to_owned());
        assert!(policy(&service).admits("1.2.3.4".parse().unwrap()));
        service.tags.insert("apron:allow-addresses".to_owned(), "1.2.3.0/24 1.2.3".to_owned());
        assert!(!policy(&service).admits("1.2.3.4".parse().unwrap()));
        assert_eq!(policy(&service).app_protocol, AppProtocol::H2c);
    }

    #[test]
    fn a_configuration_that_waits_to_be_deployed_does_not_show() {
        let mut service = fixture::service("web", fixture::image_config("r/web"));
        let told = |service: &Service| {
            let table = table(Generation::default(), &[(service.clone(), vec![])], "apron.localhost");
            table.services[0].max_concurrency
        };
        service.scaling = Some(service.config.scaling.clone());
        service.config.scaling.max_concurrency = 5;
        assert_eq!(told(&service), 100);
        service.scaling = None;
        assert_eq!(told(&service), 5);
    }

    /// Tables of an earlier release, and what a later one may add.
    #[test]
    fn a_service_without_a_policy_has_the_default_one() {
        let service = fixture::service("web", fixture::image_config("r/web"));
        let table = table(Generation::default(), &[(service, vec![])], "apron.localhost");
        let text = serde_json::to_string(&table).unwrap();
        assert!(!text.contains("policy"), "{text}");
        assert_eq!(serde_json::from_str::<RouteTable>(&text).unwrap(), table);
        let newer = text.replacen(r#""name""#, r#""policy":{"hsts":true,"later":1},"later":2,"name""#, 1);
        let read: RouteTable = serde_json::from_str(&newer).unwrap();
        assert!(read.services[0].policy.hsts);
    }

    #[test]
    fn a_change_leads_from_one_table_to_the_other() {
        let service = |number: u32, revision: u32| {
            let mut service = fixture::service(&format!("web{number}"), fixture::image_config("r/web"));
            service.id = ServiceId::new(format!("{number:032}"));
            service.active = Some(revision);
            (service, vec![])
        };
        let made = |counter: u64, services: &[(u32, u32)]| {
            let rows: Vec<_> =
                services.iter().map(|(number, revision)| service(*number, *revision)).collect();
            table(Generation { epoch: 1, counter }, &rows, "apron.localhost")
        };
        let tables = [
            made(1, &[]),
            made(2, &[(1, 1), (2, 1), (3, 1)]),
            made(3, &[(1, 1), (2, 2), (4, 1)]),
            made(4, &[(4, 1), (1, 1), (2, 2)]),
        ];
        for before in &tables {
            for after in &tables {
                let change = after.since(before);
                let mut reached = before.clone();
                reached.change(&change);
                reached.services.sort_by(|a, b| a.id.cmp(&b.id));
                let mut expect = after.clone();
                expect.services.sort_by(|a, b| a.id.cmp(&b.id));
                assert_eq!(reached, expect);
            }
        }
        let count = |before: usize, after: usize| {
            let change = tables[after].since(&tables[before]);
            (change.services.len(), change.gone.len())
        };
        assert_eq!(
            [count(0, 1), count(1, 0), count(1, 2), count(2, 1), count(2, 3)],
            [(3, 0), (0, 3), (2, 1), (2, 1), (0, 0)]
        );
    }

    #[test]
    fn a_host_stands_in_one_service_only() {
        let mut a = fixture::service("Web", fixture::image_config("r/web"));
        let mut b = a.clone();
        b.region = "eu-west-1".to_owned();
        b.id = ServiceId::new("f".repeat(32));
        a.created_at = WallTime(2);
        b.created_at = WallTime(1);
        let table = table(Generation::default(), &[(a, vec![]), (b, vec![])], "apron.localhost");
        let hosts: Vec<&str> =
            table.services.iter().flat_map(|s| s.hosts.iter().map(String::as_str)).collect();
        assert_eq!(
            hosts,
            [
                "abcdefghij.eu-west-1.apron.localhost",
                "web.apron.localhost",
                "abcdefghij.us-east-1.apron.localhost"
            ]
        );
    }
}
