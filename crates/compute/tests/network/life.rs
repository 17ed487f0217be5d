//! Platforms side by side, and their ends, whole or half made.

use super::{Namespace, Outside, Platform, check_refused, command, netns, serve};
use apron_compute::local::instance::listening::{Readiness, Sockets, readiness};
use apron_compute::local::network::cidr::Cidr;
use apron_compute::local::network::{Names, NetworkError, purge};
use std::net::TcpListener;

/// Everything of this machine that carries the platform's id.
fn left(platform: &Platform) -> Vec<String> {
    let names = Names::of(&platform.id);
    let metric = format!("metric {}", u32::from_str_radix(&platform.id, 16).unwrap());
    let listed = command("ip -o link") + &command("ip route show table all") + &command("nft list tables");
    let ours = |line: &&str| {
        line.contains(&names.interfaces) || line.contains(&names.table) || line.contains(&metric)
    };
    listed.lines().filter(ours).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_platforms_share_nothing() {
    let (one, two) = (Platform::new(3), Platform::new(4));
    // The first may reach everything that can be allowed, which opens nothing of the second.
    let (first, second) = tokio::join!(one.open(&["0.0.0.0/0"]), two.open(&[]));
    assert!(!first.range().overlaps(&second.range()), "{} and {}", first.range(), second.range());
    assert_ne!(first.gateway(), second.gateway());

    let (a, b) = (Namespace::new(), Namespace::new());
    let (address_a, address_b) = (first.lease("a").unwrap(), second.lease("a").unwrap());
    first.attach(address_a, &a.path()).await.unwrap();
    second.attach(address_b, &b.path()).await.unwrap();
    let (port_a, port_b) = (serve(&a), serve(&b));
    check_refused(&a, address_b, port_b);
    check_refused(&b, address_a, port_a);
    let (gateway_a, gateway_b) = (first.gateway(), second.gateway());
    assert!(a.run(move || super::ask(gateway_b, 53)).is_err());
    assert!(b.run(move || super::ask(gateway_a, 53)).is_err());
    let outside = Outside::new(8);
    let (private, port) = (outside.private, serve(&outside.namespace));
    assert_eq!(a.run(move || super::ask(private, port)), Ok(outside.host.to_string()));

    // The end of one leaves the other whole.
    purge(&one.id).unwrap();
    assert_eq!(left(&one), [""; 0]);
    assert!(super::ask(address_b, port_b).is_ok());
    assert_eq!(left(&two).len(), 6, "an interface, three routes, two tables: {:?}", left(&two));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_kill_left_half_made_goes_too() {
    let platform = Platform::new(9);
    let names = Names::of(&platform.id);
    let metric = u32::from_str_radix(&platform.id, 16).unwrap();
    // Killed after a range was marked and before it was kept; and while an interface was being made.
    command(&format!("ip route add unreachable 10.231.48.0/20 metric {metric}"));
    command(&format!("ip link add {0}7f type veth peer name {0}7e", names.interfaces));
    let network = platform.open(&[]).await;
    let marks =
        left(&platform).into_iter().filter(|line| line.starts_with("unreachable")).collect::<Vec<_>>();
    assert_eq!(marks.len(), 1, "{marks:?}");
    assert!(marks[0].contains(&network.range().to_string()), "{marks:?} for {}", network.range());
    network.sweep(&[]).unwrap();
    assert!(!left(&platform).iter().any(|line| line.contains(&names.interfaces)), "{:?}", left(&platform));

    // A namespace that is none, and one that has an eth0 already: nothing is left of the attempt.
    let address = network.lease("one").unwrap();
    let taken = Namespace::new();
    taken.run(|| {
        command("ip link add eth0 type veth peer name other");
    });
    for path in [platform.dir.join("network.json"), platform.dir.join("none"), taken.path()] {
        assert!(network.attach(address, &path).await.is_err(), "{}", path.display());
        assert!(!network.attached(address), "{}", path.display());
    }

    // Each part alone, and all of them, without the file in which the choice was kept.
    let one = Namespace::new();
    network.attach(address, &one.path()).await.unwrap();
    std::fs::remove_file(platform.dir.join("network.json")).unwrap();
    command(&format!("nft delete table ip {}", names.table));
    purge(&platform.id).unwrap();
    assert_eq!(left(&platform), [""; 0]);
    command(&format!("nft add table ip6 {}", names.table));
    purge(&platform.id).unwrap();
    assert_eq!(left(&platform), [""; 0]);
    // And a namespace that outlives its platform has no way out any more.
    assert!(!one.run(|| command("ip -o link")).contains("eth0"));
}

#[tokio::test]
async fn more_networks_than_can_be_allowed_are_refused() {
    let platform = Platform::new(10);
    let config = |count: u64| netns::config(&platform, count);
    let many = apron_compute::local::network::Network::open(config(257)).await;
    assert!(matches!(many.err(), Some(NetworkError::TooManyAllowed(257))));
    let network = apron_compute::local::network::Network::open(config(256)).await.unwrap();
    let rules = command(&format!("nft list table ip {}", Names::of(&platform.id).table));
    let last: Cidr = config(256).egress_allow[255];
    assert!(rules.contains(&format!("ip daddr {} accept", last.network())), "{rules}");
    drop(network);
}

#[test]
fn listeners_of_a_namespace_are_told_apart() {
    let namespace = Namespace::new();
    let (local, port) = namespace.run(|| {
        command("ip link set lo up");
        let local = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = local.local_addr().unwrap().port();
        (local, port)
    });
    let found = Sockets::of(namespace.tid).listeners().unwrap();
    assert_eq!(found.len(), 1, "nothing of the host's: {found:?}");
    let hint = |wanted: u16| match readiness(&Sockets::of(namespace.tid).listeners().unwrap(), wanted) {
        Readiness::Listening => "listening".to_owned(),
        Readiness::NotYet { hint } => hint,
    };
    assert!(hint(port).starts_with(&format!("listens on 127.0.0.1:{port} only")), "{}", hint(port));
    assert_eq!(hint(1), format!("listening on {port}, expected 1"));
    drop(local);
    let any = namespace.run(move || TcpListener::bind(("0.0.0.0", port)).unwrap());
    assert_eq!(hint(port), "listening");
    drop(any);
    assert_eq!(hint(port), format!("nothing listens yet, expected port {port}"));
}
