//! Host name to service: one immutable snapshot per route table, shared by all loops.
//!
//! A snapshot is built once, off the request path, and published by `tables`. Finding a route is one hash of a
//! name on the stack: no allocation, no lock, the same price with ten routes and with ten thousand.

use crate::balance::{Instance, Instances};
use crate::observe::ServiceCounts;
use apron_model::ids::Generation;
use apron_model::routes::{RouteState, RouteTable};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

/// A DNS name has at most 253 characters.
const HOST_BYTES_MAX: usize = 253;

/// What one generation of the table routes to.
pub(crate) struct Snapshot {
    pub(crate) generation: Generation,
    /// False until control or the saved file gave a table: then an unknown host is no evidence.
    pub(crate) known: bool,
    hosts: HashMap<Box<str>, u32>,
    services: Vec<Service>,
}

pub(crate) struct Service {
    pub(crate) state: RouteState,
    pub(crate) instances: Vec<Arc<Instance>>,
    pub(crate) counts: Arc<ServiceCounts>,
}

impl Snapshot {
    /// What a proxy serves that was never told anything.
    pub(crate) fn unknown() -> Snapshot {
        Snapshot {
            generation: Generation::default(),
            known: false,
            hosts: HashMap::new(),
            services: Vec::new(),
        }
    }

    /// Instances and counters come from `instances`, which keeps them over tables. A host that stands twice goes
    /// to the first service that names it; the publisher does not let that happen.
    pub(crate) fn build(table: &RouteTable, instances: &mut Instances) -> Snapshot {
        let mut hosts = HashMap::with_capacity(table.services.len() * 2);
        let mut services = Vec::with_capacity(table.services.len());
        for (number, service) in table.services.iter().enumerate() {
            for host in &service.hosts {
                let host = host.trim_end_matches('.').to_ascii_lowercase().into_boxed_str();
                match hosts.entry(host) {
                    Entry::Vacant(place) => {
                        place.insert(number as u32);
                    }
                    Entry::Occupied(place) => {
                        tracing::warn!(host = %place.key(), service = %service.id, "host already has a service");
                    }
                }
            }
            services.push(Service {
                state: service.state,
                instances: service.instances.iter().map(|i| instances.get(&i.id, i.address)).collect(),
                counts: instances.counts(&service.id),
            });
        }
        Snapshot { generation: table.generation, known: true, hosts, services }
    }

    /// The service of a host that `Host::parse` normalised.
    pub(crate) fn find(&self, host: &Host) -> Option<&Service> {
        self.hosts.get(host.as_str()).map(|number| &self.services[*number as usize])
    }

    pub(crate) fn instances(&self) -> impl Iterator<Item = &Arc<Instance>> {
        self.services.iter().flat_map(|service| &service.instances)
    }
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

    pub(crate) fn as_str(&self) -> &str {
        // Every byte was checked to be ASCII, so this never gives the empty name.
        std::str::from_utf8(&self.bytes[..self.length as usize]).unwrap_or_default()
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
    use crate::config::{StaticRoute, static_table};

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
