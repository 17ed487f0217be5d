//! How requests to a service are treated: what proxies are told beside where its instances are.
//!
//! It comes from the service's tags (`extension`) and acts at once. In a table only what differs from the default is
//! written; members are only ever added, and one that an older table lacks has its default.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// App Runner's documented limit of a request.
pub const REQUEST_TIMEOUT_S: u32 = 120;
/// An hour of silence: longer than what any heartbeat of an application leaves between two signs.
const IDLE_TIMEOUT_S: u32 = 3_600;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RoutePolicy {
    pub app_protocol: AppProtocol,
    /// Requests that one instance gets at a time at most. None: twice MaxConcurrency.
    pub concurrency_hard: Option<u32>,
    /// Seconds for the head of an answer, then for each further byte.
    pub request_timeout_s: u32,
    /// App Runner's rule: the time-out is for the whole request.
    pub request_timeout_total: bool,
    /// Bytes of a request's body. None: as many as come.
    pub body_bytes_max: Option<u64>,
    pub https: HttpsPolicy,
    /// Answers over TLS tell browsers to come by TLS only.
    pub hsts: bool,
    pub access_log: AccessLog,
    /// A cookie keeps a client at the instance that answered it first.
    pub affinity: bool,
    pub balance: Balance,
    /// Of one client address. None: as many as come.
    pub requests_per_second_max: Option<u32>,
    /// Where there are any, only clients in one of them are answered.
    pub allow: Vec<Network>,
    /// Clients in one of them are not, also where `allow` has them.
    pub deny: Vec<Network>,
    /// Seconds without a byte after which an upgraded connection or a gRPC stream ends.
    pub idle_timeout_s: u32,
}

/// What instances speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AppProtocol {
    #[default]
    Http1,
    /// HTTP/2 without TLS, from the first byte; gRPC needs it.
    H2c,
    Https,
}

/// What a request without TLS gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HttpsPolicy {
    /// A redirect where clients trust the host's certificate, else an answer.
    #[default]
    Auto,
    Redirect,
    Serve,
    Refuse,
}

/// Which requests leave a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccessLog {
    #[default]
    Off,
    /// Each that fails, and few of the others.
    Sampled,
    On,
}

/// Which of several instances gets a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// An idle one is not woken while those at work are below MaxConcurrency.
    #[default]
    Pack,
    Spread,
}

impl Default for RoutePolicy {
    fn default() -> RoutePolicy {
        RoutePolicy {
            app_protocol: AppProtocol::default(),
            concurrency_hard: None,
            request_timeout_s: REQUEST_TIMEOUT_S,
            request_timeout_total: false,
            body_bytes_max: None,
            https: HttpsPolicy::default(),
            hsts: false,
            access_log: AccessLog::default(),
            affinity: false,
            balance: Balance::default(),
            requests_per_second_max: None,
            allow: Vec::new(),
            deny: Vec::new(),
            idle_timeout_s: IDLE_TIMEOUT_S,
        }
    }
}

impl RoutePolicy {
    /// Whether a table may leave it out.
    pub fn is_default(&self) -> bool {
        *self == RoutePolicy::default()
    }

    /// Whether a client of this address is answered.
    pub fn admits(&self, address: IpAddr) -> bool {
        let stands_in = |networks: &[Network]| networks.iter().any(|network| network.contains(address));
        !stands_in(&self.deny) && (self.allow.is_empty() || stands_in(&self.allow))
    }

    /// Nobody is answered.
    pub fn close(&mut self) {
        self.deny = vec![Network::ALL_V4, Network::ALL_V6];
    }
}

/// Addresses that begin alike, such as `10.0.0.0/8` or `2001:db8::/32`. An IPv4 address that is written as an IPv6 one
/// (`::ffff:10.0.0.1`) is the IPv4 address, so a network of IPv6 never holds one of IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network {
    base: IpAddr,
    /// Bits that are alike.
    prefix: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not an address or a network such as 10.0.0.0/8 or 2001:db8::/32")]
pub struct NetworkError(String);

/// Bits before the IPv4 address in one of IPv6 that holds it.
const MAPPED_PREFIX: u8 = 96;

impl Network {
    pub const ALL_V4: Network = Network { base: IpAddr::V4(Ipv4Addr::UNSPECIFIED), prefix: 0 };
    pub const ALL_V6: Network = Network { base: IpAddr::V6(Ipv6Addr::UNSPECIFIED), prefix: 0 };

    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.base, address.to_canonical()) {
            (IpAddr::V4(base), IpAddr::V4(address)) => {
                head(u128::from(base.to_bits()) << 96, self.prefix)
                    == head(u128::from(address.to_bits()) << 96, self.prefix)
            }
            (IpAddr::V6(base), IpAddr::V6(address)) => {
                head(base.to_bits(), self.prefix) == head(address.to_bits(), self.prefix)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

/// The first bits of an address that begins at the highest one.
fn head(bits: u128, prefix: u8) -> u128 {
    // All bits gone is more than a shift may do at once.
    bits.checked_shr(128 - u32::from(prefix)).unwrap_or(0)
}

impl FromStr for Network {
    type Err = NetworkError;
    fn from_str(text: &str) -> Result<Network, NetworkError> {
        parse(text).ok_or_else(|| NetworkError(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<Network> {
    let (address, prefix) = match text.split_once('/') {
        None => (text, None),
        // A sign is no digit, though Rust would take it.
        Some((address, digits)) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            (address, Some(digits.parse::<u8>().ok()?))
        }
        Some(_) => return None,
    };
    let written: IpAddr = address.parse().ok()?;
    let base = written.to_canonical();
    let bits = if base.is_ipv4() { 32 } else { 128 };
    let prefix = match prefix {
        None => bits,
        Some(prefix) if written != base => prefix.checked_sub(MAPPED_PREFIX)?,
        Some(prefix) => prefix,
    };
    let network = Network { base, prefix };
    // Bits behind the prefix say that either the address or the prefix is not what was meant.
    let left = match base {
        IpAddr::V4(base) => u128::from(base.to_bits()) << 96,
        IpAddr::V6(base) => base.to_bits(),
    };
    let behind = left.checked_shl(u32::from(prefix)).unwrap_or(0);
    (prefix <= bits && behind == 0).then_some(network)
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

impl TryFrom<String> for Network {
    type Error = NetworkError;
    fn try_from(text: String) -> Result<Network, NetworkError> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> String {
        network.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(network: &str, inside: &[&str], outside: &[&str]) {
        let network: Network = network.parse().unwrap();
        for (address, expect) in
            inside.iter().map(|one| (one, true)).chain(outside.iter().map(|one| (one, false)))
        {
            assert_eq!(network.contains(address.parse().unwrap()), expect, "{network} {address}");
        }
        assert_eq!(network.to_string().parse::<Network>(), Ok(network));
    }

    #[test]
    fn a_network_holds_what_begins_like_it() {
        check("10.0.0.0/8", &["10.0.0.0", "10.255.255.255", "::ffff:10.1.2.3"], &["11.0.0.0", "::a00:1"]);
        check("192.0.2.7", &["192.0.2.7"], &["192.0.2.6", "192.0.2.8"]);
        check("192.0.2.6/31", &["192.0.2.6", "192.0.2.7"], &["192.0.2.8", "192.0.2.5"]);
        check("0.0.0.0/0", &["0.0.0.0", "255.255.255.255", "::ffff:1.2.3.4"], &["::", "2001:db8::1"]);
        check("::/0", &["::", "ffff::1"], &["1.2.3.4", "::ffff:1.2.3.4"]);
        check("2001:db8::/33", &["2001:db8:7fff::1"], &["2001:db8:8000::1", "2001:db9::"]);
        check("2001:db8::1", &["2001:db8::1"], &["2001:db8::2"]);
        check("::ffff:10.0.0.0/104", &["10.9.9.9"], &["11.0.0.0"]);
        check("::ffff:10.0.0.1", &["10.0.0.1"], &["10.0.0.2"]);
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for wrong in [
            "",
            "/8",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.0/+8",
            "10.0.0.0/8/8",
            "10.0.0.1/8",
            "10.0.0.0/256",
            "10.0.0.0 /8",
            "2001:db8::/129",
            "2001:db8::1/64",
            "::ffff:10.0.0.0/90",
            "example.com",
            "10.0.0",
            "[::1]",
        ] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn who_is_denied_is_denied_also_where_it_is_allowed() {
        let networks = |list: &[&str]| list.iter().map(|one| one.parse().unwrap()).collect::<Vec<Network>>();
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let mut policy = RoutePolicy::default();
        assert!(policy.admits(ip("1.2.3.4")) && policy.admits(ip("::1")));
        policy.deny = networks(&["10.0.1.0/24"]);
        assert!(policy.admits(ip("1.2.3.4")) && !policy.admits(ip("10.0.1.9")));
        policy.allow = networks(&["10.0.0.0/16", "2001:db8::/32"]);
        assert!(policy.admits(ip("10.0.2.9")) && policy.admits(ip("2001:db8::9")));
        assert!(!policy.admits(ip("10.0.1.9")) && !policy.admits(ip("1.2.3.4")));
        policy.close();
        assert!(
            !policy.admits(ip("10.0.2.9"))
                && !policy.admits(ip("::1"))
                && !policy.admits(ip("::ffff:1.2.3.4"))
        );
    }

    #[test]
    fn a_policy_crosses_as_json_and_what_is_missing_or_new_does_no_harm() {
        let policy = RoutePolicy {
            app_protocol: AppProtocol::H2c,
            https: HttpsPolicy::Refuse,
            allow: vec!["10.0.0.0/8".parse().unwrap(), "::1".parse().unwrap()],
            requests_per_second_max: Some(5),
            ..RoutePolicy::default()
        };
        let text = serde_json::to_string(&policy).unwrap();
        assert!(text.contains(r#""allow":["10.0.0.0/8","::1/128"]"#) && text.contains(r#""h2c""#), "{text}");
        assert_eq!(serde_json::from_str::<RoutePolicy>(&text).unwrap(), policy);
        assert_eq!(serde_json::from_str::<RoutePolicy>("{}").unwrap(), RoutePolicy::default());
        let newer = r#"{"hsts":true,"of_a_later_release":{"a":1}}"#;
        let expect = RoutePolicy { hsts: true, ..RoutePolicy::default() };
        assert_eq!(serde_json::from_str::<RoutePolicy>(newer).unwrap(), expect);
        assert!(serde_json::from_str::<RoutePolicy>(r#"{"deny":["10.0.0.1/8"]}"#).is_err());
    }
}
