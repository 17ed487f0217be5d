//! What a proxy is told at its start. It crosses from the supervisor to the proxy as JSON.

use apron_model::ids::{Generation, InstanceId, ServiceId};
use apron_model::routes::{RouteInstance, RouteService, RouteState, RouteTable};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// App Runner's documented limit of a request: 120 s. Here it bounds the wait for the answer's head and, after
/// it, each wait for a further byte.
pub const HEAD_TIMEOUT_MS: u64 = 120_000;
/// How long a request waits for the first instance of a service that has none: longer than a cold start, shorter
/// than the patience of most clients.
pub const INSTANCE_WAIT_MS: u64 = 30_000;
/// A client's connection without a request for this long is closed: an idle keep-alive, or a head that does not
/// end.
pub const IDLE_TIMEOUT_MS: u64 = 60_000;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub source: Source,
    /// Needed where there are HTTPS listeners.
    pub tls: Option<Tls>,
    /// After SIGTERM, requests may go on for this long.
    pub drain_ms: u64,
    /// See `HEAD_TIMEOUT_MS`.
    pub head_timeout_ms: u64,
    /// See `INSTANCE_WAIT_MS`.
    pub instance_wait_ms: u64,
    /// See `IDLE_TIMEOUT_MS`.
    pub idle_timeout_ms: u64,
}

/// Where routes come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Source {
    /// Pulled from control, and kept in a file to start from.
    Control { socket: PathBuf, saved: PathBuf },
    /// Fixed for the life of the process: the stand-alone form.
    Static { routes: Vec<StaticRoute> },
}

/// One host and what serves it; written `HOST=ADDR[,ADDR…]` on a command line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StaticRoute {
    pub host: String,
    pub addresses: Vec<SocketAddr>,
}

/// The local certificate authority and the certificate it signs for the apps domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// Made and owned by the proxy's user: ca.pem, ca.key, apps.pem, apps.key.
    pub directory: PathBuf,
    /// E.g. `apron.localhost`: the certificate names it, `*.` of it, and `*.<region>.` of it for each region.
    pub apps_domain: String,
    /// Those of the certificate that is kept; others get theirs when the route table has a service in them.
    pub regions: Vec<String>,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a route: expected HOST=ADDRESS:PORT[,ADDRESS:PORT…]")]
pub struct StaticRouteError {
    text: String,
}

impl Config {
    /// A proxy of the platform, with the default time-outs.
    pub fn control(socket: PathBuf, saved: PathBuf, tls: Option<Tls>, drain_ms: u64) -> Config {
        Config {
            source: Source::Control { socket, saved },
            tls,
            drain_ms,
            head_timeout_ms: HEAD_TIMEOUT_MS,
            instance_wait_ms: INSTANCE_WAIT_MS,
            idle_timeout_ms: IDLE_TIMEOUT_MS,
        }
    }

    /// A proxy alone, with the default time-outs and ten seconds to drain.
    pub fn fixed(routes: Vec<StaticRoute>) -> Config {
        Config {
            source: Source::Static { routes },
            tls: None,
            drain_ms: 10_000,
            head_timeout_ms: HEAD_TIMEOUT_MS,
            instance_wait_ms: INSTANCE_WAIT_MS,
            idle_timeout_ms: IDLE_TIMEOUT_MS,
        }
    }
}

impl FromStr for StaticRoute {
    type Err = StaticRouteError;
    fn from_str(text: &str) -> Result<StaticRoute, StaticRouteError> {
        let wrong = || StaticRouteError { text: text.to_owned() };
        let (host, addresses) = text.split_once('=').ok_or_else(wrong)?;
        let addresses = addresses.split(',').map(str::parse).collect::<Result<Vec<SocketAddr>, _>>();
        match addresses {
            Ok(addresses) if !host.is_empty() => {
                Ok(StaticRoute { host: host.to_ascii_lowercase(), addresses })
            }
            _ => Err(wrong()),
        }
    }
}

/// Static routes as an ordinary table, so that they take the same path as all others.
pub(crate) fn static_table(routes: &[StaticRoute]) -> RouteTable {
    let service = |(number, route): (usize, &StaticRoute)| RouteService {
        id: ServiceId::new(format!("{number:032x}")),
        name: route.host.clone(),
        hosts: vec![route.host.clone()],
        state: RouteState::Serving,
        revision: 1,
        // Nothing scales a static route, so there is no target to prefer instances by.
        max_concurrency: u32::MAX,
        instances: route
            .addresses
            .iter()
            .enumerate()
            .map(|(place, address)| RouteInstance {
                id: InstanceId::new(format!("{number:016x}{place:016x}")),
                address: *address,
            })
            .collect(),
    };
    RouteTable {
        generation: Generation { epoch: 1, counter: 1 },
        services: routes.iter().enumerate().map(service).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_a_host_and_addresses() {
        let route: StaticRoute = "App.Localhost=127.0.0.1:80,[::1]:81".parse().unwrap();
        assert_eq!(route.host, "app.localhost");
        assert_eq!(route.addresses, ["127.0.0.1:80".parse().unwrap(), "[::1]:81".parse().unwrap()]);
        for wrong in ["", "host", "host=", "=127.0.0.1:80", "host=127.0.0.1", "host=1.2.3.4:80,"] {
            assert!(wrong.parse::<StaticRoute>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn configuration_survives_json() {
        let tls =
            Tls { directory: "tls".into(), apps_domain: "a.localhost".into(), regions: vec!["r".into()] };
        let config = Config::control("c.sock".into(), "routes.json".into(), Some(tls), 5_000);
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<Config>(&text).unwrap(), config);
    }
}
