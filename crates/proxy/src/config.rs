//! What a proxy is told at its start. It crosses from the supervisor to the proxy as JSON.

use crate::route::Host;
use apron_model::ids::{Generation, InstanceId, ServiceId};
use apron_model::routes::{
    Balance, Network, RouteInstance, RoutePolicy, RouteService, RouteState, RouteTable,
};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// App Runner's documented limit of a request: 120 s. Here it bounds the wait for the answer's head and, after
/// it, each wait for a further byte.
pub const HEAD_TIMEOUT_MS: u64 = 120_000;
/// How long a request waits for a service that has no instance, and none on its way as far as control has said: for as
/// long as control may be away while it is replaced.
pub const INSTANCE_WAIT_MS: u64 = 5_000;
/// A client's connection without a request for this long is closed: an idle keep-alive, or a head that does not
/// end.
pub const IDLE_TIMEOUT_MS: u64 = 60_000;
/// Connections of one stranger: far above what a household or an office behind one address opens, and a fraction of
/// what a loop holds.
pub const CONNECTIONS_PER_ADDRESS_MAX: u32 = 1_000;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub source: Source,
    /// The local authority. Where there are HTTPS listeners, this or a pair of files for all hosts is needed.
    pub tls: Option<Tls>,
    #[serde(default)]
    pub certificates: CertificateFiles,
    /// Where HTTPS is reached; none where nothing listens for it.
    #[serde(default)]
    pub https_port: Option<u16>,
    /// After SIGTERM, requests may go on for this long.
    pub drain_ms: u64,
    /// See `HEAD_TIMEOUT_MS`.
    pub head_timeout_ms: u64,
    /// See `INSTANCE_WAIT_MS`.
    pub instance_wait_ms: u64,
    /// See `IDLE_TIMEOUT_MS`.
    pub idle_timeout_ms: u64,
    /// Where services' requests are logged that ask for it. None: nowhere.
    #[serde(default)]
    pub access_log: Option<PathBuf>,
    /// Where a unix socket gives the metrics.
    #[serde(default)]
    pub admin: Option<PathBuf>,
    /// Whose X-Forwarded headers are believed, such as a load balancer's. Their connections are not counted.
    #[serde(default)]
    pub trusted: Vec<Network>,
    /// Who may begin a connection with the PROXY protocol; the address in it is then the client's.
    #[serde(default)]
    pub proxy_protocol: Vec<Network>,
    /// See `CONNECTIONS_PER_ADDRESS_MAX`; of all loops together. An address of IPv6 stands for its network of 64 bits.
    #[serde(default = "connections_per_address_max")]
    pub connections_per_address_max: u32,
    #[serde(default)]
    pub opening: OpeningTimeouts,
    /// By which name the proxy says in Via that it was there. None: it does not say so.
    #[serde(default)]
    pub via: Option<String>,
    /// Where the node listens that puts instances to sleep (`apron_activity::channel`). None: nobody does.
    #[serde(default)]
    pub node: Option<PathBuf>,
}

/// How long a client may take for what comes before anything can be done for it, from its first byte on; in
/// milliseconds. Then its connection ends without a word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OpeningTimeouts {
    /// For the header of the PROXY protocol: a load balancer says at once whose connection it is.
    pub introduction_ms: u64,
    /// For a TLS handshake, which takes two round trips.
    pub handshake_ms: u64,
    /// For the head of a request of HTTP/1. It is looked at each second.
    pub request_head_ms: u64,
}

impl Default for OpeningTimeouts {
    fn default() -> OpeningTimeouts {
        OpeningTimeouts { introduction_ms: 5_000, handshake_ms: 10_000, request_head_ms: 30_000 }
    }
}

fn connections_per_address_max() -> u32 {
    CONNECTIONS_PER_ADDRESS_MAX
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

/// Certificates that come from elsewhere. Files may be replaced while the proxy runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateFiles {
    /// Holds a pair for each host or for several: `<any name>/cert.pem` and `key.pem`, or `<any name>.pem` and `.key`.
    pub directory: Option<PathBuf>,
    /// For every host that has no other. Its names say nothing about which hosts have a certificate.
    pub pair: Option<PairFiles>,
}

/// A certificate, followed by what its issuer wants sent with it, and its key; both in PEM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{text}' is not a route: expected HOST=ADDRESS:PORT[,ADDRESS:PORT…], HOST being a name without port or wildcard \
     and each ADDRESS one of IPv4 or [IPv6]"
)]
pub struct StaticRouteError {
    text: String,
}

impl Config {
    /// A proxy of the platform, with the default time-outs, without a log and metrics.
    pub fn control(socket: PathBuf, saved: PathBuf, tls: Option<Tls>, drain_ms: u64) -> Config {
        Config {
            source: Source::Control { socket, saved },
            tls,
            certificates: CertificateFiles::default(),
            https_port: None,
            drain_ms,
            head_timeout_ms: HEAD_TIMEOUT_MS,
            instance_wait_ms: INSTANCE_WAIT_MS,
            idle_timeout_ms: IDLE_TIMEOUT_MS,
            access_log: None,
            admin: None,
            trusted: Vec::new(),
            proxy_protocol: Vec::new(),
            connections_per_address_max: CONNECTIONS_PER_ADDRESS_MAX,
            opening: OpeningTimeouts::default(),
            via: None,
            node: None,
        }
    }

    /// A proxy alone, with the default time-outs and ten seconds to drain, without a log and metrics.
    pub fn fixed(routes: Vec<StaticRoute>) -> Config {
        Config {
            source: Source::Static { routes },
            tls: None,
            certificates: CertificateFiles::default(),
            https_port: None,
            drain_ms: 10_000,
            head_timeout_ms: HEAD_TIMEOUT_MS,
            instance_wait_ms: INSTANCE_WAIT_MS,
            idle_timeout_ms: IDLE_TIMEOUT_MS,
            access_log: None,
            admin: None,
            trusted: Vec::new(),
            proxy_protocol: Vec::new(),
            connections_per_address_max: CONNECTIONS_PER_ADDRESS_MAX,
            opening: OpeningTimeouts::default(),
            via: None,
            node: None,
        }
    }
}

impl CertificateFiles {
    pub(crate) fn is_empty(&self) -> bool {
        self.directory.is_none() && self.pair.is_none()
    }
}

impl FromStr for StaticRoute {
    type Err = StaticRouteError;
    fn from_str(text: &str) -> Result<StaticRoute, StaticRouteError> {
        let wrong = || StaticRouteError { text: text.to_owned() };
        let (host, addresses) = text.split_once('=').ok_or_else(wrong)?;
        let addresses = addresses.split(',').map(str::parse).collect::<Result<Vec<SocketAddr>, _>>();
        let is_name = Host::parse(host.as_bytes()).is_ok_and(|read| read.as_str().eq_ignore_ascii_case(host));
        match addresses {
            Ok(addresses) if is_name => Ok(StaticRoute { host: host.to_ascii_lowercase(), addresses }),
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
        coming: false,
        instances: route
            .addresses
            .iter()
            .enumerate()
            .map(|(place, address)| RouteInstance {
                id: InstanceId::new(format!("{number:016x}{place:016x}")),
                address: *address,
            })
            .collect(),
        // Nor does anything of it sleep.
        policy: RoutePolicy { balance: Balance::Spread, ..RoutePolicy::default() },
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
        for wrong in [
            "",
            "host",
            "host=",
            "=127.0.0.1:80",
            "host=127.0.0.1",
            "host=1.2.3.4:80,",
            "*.a=[::1]:1",
            "a:80=[::1]:1",
        ] {
            assert!(wrong.parse::<StaticRoute>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn configuration_survives_json() {
        let tls =
            Tls { directory: "tls".into(), apps_domain: "a.localhost".into(), regions: vec!["r".into()] };
        let mut config = Config::control("c.sock".into(), "routes.json".into(), Some(tls), 5_000);
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<Config>(&text).unwrap(), config);
        // What an earlier supervisor says, which knows neither.
        let earlier = text.replace(r#","access_log":null,"admin":null"#, "");
        assert!(earlier.len() < text.len());
        assert_eq!(serde_json::from_str::<Config>(&earlier).unwrap(), config);
        (config.access_log, config.admin) = (Some("access.log".into()), Some("admin.sock".into()));
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<Config>(&text).unwrap(), config);
        config.certificates.directory = Some("certificates".into());
        config.certificates.pair = Some(PairFiles { certificate: "a.pem".into(), key: "a.key".into() });
        config.https_port = Some(8443);
        let mut json = serde_json::to_value(&config).unwrap();
        assert_eq!(serde_json::from_value::<Config>(json.clone()).unwrap(), config);
        // As a supervisor writes it that knows neither.
        for member in ["certificates", "https_port"] {
            json.as_object_mut().unwrap().remove(member).unwrap();
        }
        let older = serde_json::from_value::<Config>(json).unwrap();
        assert!(older.certificates.is_empty() && older.https_port.is_none());
    }

    #[test]
    fn an_older_supervisor_leaves_out_what_it_does_not_know() {
        let config = Config::fixed(Vec::new());
        let mut value = serde_json::to_value(&config).unwrap();
        for name in ["trusted", "proxy_protocol", "connections_per_address_max", "via"] {
            assert!(value.as_object_mut().unwrap().remove(name).is_some(), "{name}");
        }
        assert_eq!(serde_json::from_value::<Config>(value).unwrap(), config);
    }
}
