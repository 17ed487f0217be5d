//! Where a registry may send us.
//!
//! An answer can name any address: the service for tokens, the storage of blobs. A stranger's registry must not make
//! us ask what only this machine or its network can reach. So what an answer names must be public, or of the kind
//! that the registry's own address is of: one that runs on this machine may have its blobs there too.

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Public,
    Private,
    /// This machine.
    Loopback,
    /// Clouds tell a machine its secrets there.
    LinkLocal,
    /// Nobody has it: multicast, broadcast, reserved.
    Nobody,
}

fn kind(address: IpAddr) -> Kind {
    match address {
        IpAddr::V4(address) => kind_v4(address),
        IpAddr::V6(address) => kind_v6(address),
    }
}

fn kind_v4(address: Ipv4Addr) -> Kind {
    match address.octets() {
        // "This host": Linux connects to itself.
        [0, ..] | [127, ..] => Kind::Loopback,
        [169, 254, ..] => Kind::LinkLocal,
        // Between customers and their provider (RFC 6598), and some clouds' own services.
        [100, 64..=127, ..] => Kind::Private,
        _ if address.is_private() => Kind::Private,
        [224..=255, ..] => Kind::Nobody,
        _ => Kind::Public,
    }
}

fn kind_v6(address: Ipv6Addr) -> Kind {
    // An IPv4 address in the clothes of IPv6: mapped, translated (RFC 6052), tunnelled (6to4).
    let segments = address.segments();
    let v4 = |high: u16, low: u16| kind_v4(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)));
    match segments {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => Kind::Loopback,
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => v4(high, low),
        [0x2002, high, low, ..] => v4(high, low),
        [0xfe80..=0xfebf, ..] => Kind::LinkLocal,
        // Unique local, and what was called site local before.
        [0xfc00..=0xfdff | 0xfec0..=0xfeff, ..] | [0x64, 0xff9b, 1, ..] => Kind::Private,
        [0xff00..=0xffff, ..] => Kind::Nobody,
        _ => Kind::Public,
    }
}

/// It is not for a registry to send us there.
#[derive(Debug, thiserror::Error)]
#[error("it sends us to {place}, {why}")]
pub(super) struct Forbidden {
    place: String,
    why: &'static str,
}

/// What one registry's answers may name.
#[derive(Clone, Debug)]
pub(super) struct Allowed {
    kinds: Arc<BTreeSet<Kind>>,
    /// The registry is spoken to without TLS, so others may be as well.
    plain: bool,
}

impl Allowed {
    /// For the registry at this `host[:port]`. An error is the name service's.
    pub(super) async fn of(host: &str, plain: bool) -> io::Result<Allowed> {
        let host = match host.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => host,
            _ => host,
        };
        let literal = host.trim_start_matches('[').trim_end_matches(']').parse();
        let kinds: BTreeSet<Kind> = match literal {
            Ok(address) => BTreeSet::from([kind(address)]),
            Err(_) => tokio::net::lookup_host((host, 0)).await?.map(|found| kind(found.ip())).collect(),
        };
        Ok(Allowed::from_kinds(kinds, plain))
    }

    /// A name of public and other addresses together is a public one; that it has others too is its owner's word.
    fn from_kinds(kinds: BTreeSet<Kind>, plain: bool) -> Allowed {
        let kinds = match kinds.contains(&Kind::Public) {
            true => BTreeSet::from([Kind::Public]),
            false => kinds.into_iter().chain([Kind::Public]).collect(),
        };
        Allowed { kinds: Arc::new(kinds), plain }
    }

    /// Whether a URL may be asked, as far as it shows; names are looked at again when they are resolved.
    pub(super) fn check(&self, url: &Url) -> Result<(), Forbidden> {
        let place = || url.host_str().unwrap_or("nowhere").to_owned();
        match url.scheme() {
            "https" => {}
            "http" if self.plain => {}
            _ => return Err(Forbidden { place: place(), why: "and not by https" }),
        }
        let host = url.host_str().unwrap_or_default();
        match host.trim_start_matches('[').trim_end_matches(']').parse() {
            Ok(address) => self.check_address(host, address),
            Err(_) => Ok(()),
        }
    }

    fn check_address(&self, place: &str, address: IpAddr) -> Result<(), Forbidden> {
        let kind = kind(address);
        if self.kinds.contains(&kind) && kind != Kind::Nobody {
            return Ok(());
        }
        let why = match kind {
            Kind::Loopback => "which is this machine",
            Kind::LinkLocal => "an address that is valid on this link only",
            Kind::Private => "an address of a private network",
            Kind::Public | Kind::Nobody => "an address that nobody has",
        };
        Err(Forbidden { place: place.to_owned(), why })
    }

    /// The addresses of a name that may be asked.
    fn filter(
        &self,
        name: &str,
        found: impl Iterator<Item = SocketAddr>,
    ) -> Result<Vec<SocketAddr>, Forbidden> {
        let mut allowed = Vec::new();
        let mut refusal = Forbidden { place: name.to_owned(), why: "which has no address" };
        for address in found {
            match self.check_address(name, address.ip()) {
                Ok(()) => allowed.push(address),
                Err(forbidden) => refusal = forbidden,
            }
        }
        if allowed.is_empty() { Err(refusal) } else { Ok(allowed) }
    }
}

impl Resolve for Allowed {
    fn resolve(&self, name: Name) -> Resolving {
        let allowed = self.clone();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let addresses = allowed.filter(name.as_str(), found)?;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_addresses() {
        let check = |wanted: Kind, addresses: &[&str]| {
            for address in addresses {
                assert_eq!(kind(address.parse().unwrap()), wanted, "{address}");
            }
        };
        check(Kind::Public, &["1.1.1.1", "100.63.0.1", "172.32.0.1", "2606:4700::1", "::ffff:8.8.8.8"]);
        check(Kind::Private, &["10.0.0.1", "172.16.0.1", "192.168.1.1", "100.100.100.200", "fd00:ec2::254"]);
        check(
            Kind::Loopback,
            &["127.0.0.1", "127.9.9.9", "0.0.0.0", "::1", "::", "::ffff:127.0.0.1", "::127.0.0.1"],
        );
        check(Kind::Loopback, &["2002:7f00:1::", "64:ff9b::7f00:1"]);
        check(
            Kind::LinkLocal,
            &["169.254.169.254", "fe80::1", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe"],
        );
        check(Kind::Nobody, &["224.0.0.1", "255.255.255.255", "ff02::1"]);
    }

    #[tokio::test]
    async fn where_a_registry_may_send_us() {
        let url = |text: &str| Url::parse(text).unwrap();
        let public = Allowed::of("1.1.1.1:443", false).await.unwrap();
        public.check(&url("https://auth.example.com/token")).unwrap();
        for text in [
            "http://auth.example.com/token",
            "ftp://auth.example.com/token",
            "https://127.0.0.1/",
            "https://[::1]/",
            "https://2130706433/",
            "https://169.254.169.254/latest",
            "https://10.0.0.1/",
        ] {
            assert!(public.check(&url(text)).is_err(), "{text}");
        }
        let localhost = || "localhost".parse::<Name>().unwrap();
        let refused = public.resolve(localhost()).await.err().unwrap();
        assert!(refused.downcast_ref::<Forbidden>().unwrap().to_string().contains("this machine"));

        let here = Allowed::of("localhost:5000", true).await.unwrap();
        here.check(&url("http://127.0.0.1:1/")).unwrap();
        here.check(&url("https://1.1.1.1/")).unwrap();
        assert!(here.check(&url("http://169.254.169.254/")).is_err());
        assert!(here.check(&url("http://10.0.0.1/")).is_err());
        assert!(here.resolve(localhost()).await.is_ok());

        let mixed = Allowed::from_kinds(BTreeSet::from([Kind::Public, Kind::Loopback]), false);
        assert!(mixed.check(&url("https://127.0.0.1/")).is_err());
    }
}
