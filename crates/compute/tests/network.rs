//! Addresses, routes, packet rules and DNS with real packets between real namespaces. Needs root.

#[path = "network/confined.rs"]
mod confined;
#[path = "network/hostile.rs"]
mod hostile;
#[path = "support/libraries.rs"]
mod libraries;
#[path = "network/life.rs"]
mod life;
#[path = "support/netns.rs"]
mod netns;
#[path = "network/relay.rs"]
mod relay;
#[path = "support/sweep.rs"]
mod sweep;

use apron_compute::local::network::dns::{Forwarder, Upstream};
use apron_compute::local::network::nft;
use apron_compute::local::network::{Names, purge};
use netns::{CONNECTIONS_MAX, Namespace, Outside, Platform, command};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(3);

/// Serves one line to each client: the client's address. Gives the port.
fn serve(namespace: &Namespace) -> u16 {
    namespace.run(|| {
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            while let Ok((mut stream, client)) = listener.accept() {
                // A client that only looks whether it may connect is gone by now.
                let _ = stream.write_all(client.ip().to_string().as_bytes());
            }
        });
        port
    })
}

fn ask(to: impl Into<IpAddr>, port: u16) -> Result<String, String> {
    let began = Instant::now();
    let asked =
        TcpStream::connect_timeout(&SocketAddr::new(to.into(), port), PATIENCE).and_then(|mut stream| {
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            Ok(text)
        });
    asked.map_err(|e| if began.elapsed() < PATIENCE { e.to_string() } else { "time-out".to_owned() })
}

/// The namespace cannot connect there, and is told: at once, or at its next try where the kernel has told it so
/// often that it holds back.
fn check_refused(namespace: &Namespace, address: Ipv4Addr, port: u16) {
    let once = || namespace.run(move || ask(address, port));
    let answer = match once() {
        // Seen once: the connection is over, and the kernel keeps no reason for it. The next one has its own.
        Err(reason) if reason.contains("POLLHUP") => once(),
        answer => answer,
    };
    let refused = answer.clone().is_err_and(|reason| reason.contains("No route to host"));
    assert!(refused, "{address}:{port}: {answer:?}");
}

/// Every IPv4 address of this host but the loopback's own and those that tests make.
fn host_addresses() -> Vec<Ipv4Addr> {
    let listed = command("ip -4 -o addr show scope global");
    let addresses = listed.lines().filter_map(|line| {
        let address = line.split_whitespace().nth(3)?;
        address.split('/').next()?.parse::<Ipv4Addr>().ok()
    });
    addresses.filter(|address| !address.is_link_local() && address.octets()[..2] != [198, 18]).collect()
}

/// Somebody else's packet rules.
struct ForeignTable(String);

impl ForeignTable {
    fn new(platform: &Platform) -> ForeignTable {
        let table = ForeignTable(format!("foreign_{}", platform.id));
        command(&format!("nft add table ip {}", table.0));
        table
    }
}

impl Drop for ForeignTable {
    fn drop(&mut self) {
        command(&format!("nft delete table ip {}", self.0));
    }
}

fn dns_query() -> Vec<u8> {
    [&[7, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], b"\x01a\x00\x00\x01\x00\x01"].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_reach_what_they_may_and_nothing_else() {
    let platform = Platform::new(1);
    let foreign = ForeignTable::new(&platform);
    let foreign = &foreign.0;
    command(&format!(
        "nft add chain ip {foreign} f {{ type filter hook forward priority 0 ; policy accept ; }}"
    ));
    let foreign_before = command(&format!("nft list table ip {foreign}"));

    let network = platform.open(&[]).await;
    let outside = Outside::new(2);
    let (one, two) = (Namespace::new(), Namespace::new());
    let (address_one, address_two) = (network.lease("one").unwrap(), network.lease("two").unwrap());
    assert_ne!(address_one, address_two);
    assert_eq!(network.lease("one").unwrap(), address_one);
    network.attach(address_one, &one.path()).await.unwrap();
    network.attach(address_two, &two.path()).await.unwrap();
    assert!(network.attached(address_one));

    // The host reaches instances, and they see its gateway address.
    let port_two = serve(&two);
    assert_eq!(ask(address_two, port_two), Ok(network.gateway().to_string()));

    // To the world: with the host's address.
    let port_out = serve(&outside.namespace);
    let (public, private) = (outside.public, outside.private);
    assert_eq!(one.run(move || ask(public, port_out)), Ok(outside.host.to_string()));

    // Refused, at once: a private network, a neighbour, where clouds keep secrets, the host by every address.
    let host_server = TcpListener::bind("0.0.0.0:0").unwrap();
    let host_port = host_server.local_addr().unwrap().port();
    let (gateway, host) = (network.gateway(), outside.host);
    let mut refused = vec![
        (private, port_out),
        (address_two, port_two),
        (Ipv4Addr::new(169, 254, 169, 254), 80),
        (Ipv4Addr::new(168, 63, 129, 16), 80),
        (Ipv4Addr::new(192, 0, 0, 192), 80),
        (Ipv4Addr::new(100, 100, 100, 200), 80),
        (Ipv4Addr::new(10, 1, 2, 3), 80),
        (Ipv4Addr::new(192, 168, 1, 1), 80),
    ];
    let all_of_host = host_addresses().into_iter().chain([gateway, host]);
    refused.extend(all_of_host.map(|address| (address, host_port)));
    for (address, port) in refused {
        check_refused(&one, address, port);
    }
    // There is no IPv6, neither on the link nor beyond.
    for six in ["[fe80::1%2]:80", "[fd00::1]:80", "[2001:4860:4860::8888]:53", "[ff02::1]:80"] {
        let began = Instant::now();
        let answer = one.run(move || TcpStream::connect(six.parse::<SocketAddr>().unwrap()).map(drop));
        assert!(answer.is_err() && began.elapsed() < Duration::from_secs(1), "{six}: {answer:?}");
    }
    // From outside nobody reaches an instance, even when it routes there.
    let range = network.range();
    let answer = outside.namespace.run(move || {
        command(&format!("ip route add {range} via {host}"));
        ask(address_two, port_two)
    });
    assert!(answer.is_err(), "{answer:?}");

    // DNS at the gateway passes; the resolver is ours on the loopback address.
    let resolver = UdpSocket::bind("127.0.0.1:0").unwrap();
    let upstream = resolver.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((length, client)) = resolver.recv_from(&mut buffer) {
            buffer[2] |= 0x80;
            resolver.send_to(&buffer[..length], client).unwrap();
        }
    });
    let _forwarder = Forwarder::start(gateway, Upstream::Fixed(vec![upstream])).unwrap();
    let answer = one.run(move || {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.send_to(&dns_query(), (gateway, 53)).unwrap();
        let mut buffer = [0; 512];
        socket.recv(&mut buffer).map(|length| buffer[..length].to_vec()).map_err(|e| e.to_string())
    });
    let mut expected = dns_query();
    expected[2] |= 0x80;
    assert_eq!(answer, Ok(expected));

    // Inside: nothing but lo and eth0, and no IPv6.
    let inside = one.run(|| command("ip -o addr"));
    assert!(inside.lines().all(|line| line.contains(" lo ") || line.contains(" eth0 ")), "{inside}");
    assert!(!inside.contains("inet6"), "{inside}");

    assert_eq!(command(&format!("nft list table ip {foreign}")), foreign_before);

    // An operator may allow a private network; the same directory keeps range and addresses, and what lives.
    drop(network);
    let network = platform.open(&[&format!("{private}/32"), "169.254.0.0/16"]).await;
    assert_eq!(network.range(), range);
    assert_eq!(network.lease("one").unwrap(), address_one);
    assert_eq!(one.run(move || ask(private, port_out)), Ok(outside.host.to_string()));
    // Exactly that: no other private address, no neighbour, and not the host, although its gateway was named.
    check_refused(&one, Ipv4Addr::from_bits(private.to_bits() + 1), port_out);
    check_refused(&one, address_two, port_two);
    check_refused(&one, gateway, host_port);

    // A restarted instance attaches again, and then leaves.
    network.attach(address_one, &one.path()).await.unwrap();
    let again = Namespace::new();
    network.attach(address_one, &again.path()).await.unwrap();
    assert_eq!(again.run(move || ask(public, port_out)), Ok(outside.host.to_string()));
    network.detach(address_one).await.unwrap();
    network.detach(address_one).await.unwrap();
    assert!(!network.attached(address_one));
    network.release("one").unwrap();
    assert_ne!(network.lease("three").unwrap(), address_one);

    purge(&platform.id).unwrap();
    purge(&platform.id).unwrap();
    let names = Names::of(&platform.id);
    assert!(!command("ip -o link").contains(&names.interfaces));
    assert!(!command("ip route").contains(&range.to_string()));
    assert!(!command("nft list tables").contains(&names.table));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rules_read_back_as_meant() {
    let platform = Platform::new(2);
    let network = platform.open(&["10.99.0.0/16"]).await;
    let names = Names::of(&platform.id);
    let listed = command(&format!("nft -j list table ip {}", names.table));
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let chains = |hook: &str| {
        let of_hook = |entry: &&serde_json::Value| entry["chain"]["hook"] == hook;
        listed["nftables"].as_array().unwrap().iter().filter(of_hook).count()
    };
    assert_eq!((chains("forward"), chains("input"), chains("postrouting"), chains("output")), (1, 1, 1, 0));

    let text = command(&format!("nft list table ip {}", names.table));
    let (interfaces, gateway) = (&names.interfaces, network.gateway());
    for expected in [
        format!("iifname \"{interfaces}*\" jump from-instance"),
        format!("oifname \"{interfaces}*\" jump to-instance"),
        format!("iifname \"{interfaces}*\" jump to-host"),
        format!("iifname \"{interfaces}*\" fib saddr . iif oif 0 drop"),
        format!("ip daddr {gateway} iifname != \"{interfaces}*\" iifname != \"lo\" drop"),
        format!(
            "ip daddr {gateway} udp dport 53 update @dns-sources {{ ip saddr limit rate over 1024/second burst 512 \
             packets }} drop"
        ),
        format!(
            "meta l4proto tcp add @connection-sources {{ ip saddr ct count over {CONNECTIONS_MAX} }} reject with icmp \
             admin-prohibited"
        ),
        "ct state established,related accept".into(),
        "ct state invalid drop".into(),
        format!("oifname \"{interfaces}*\" reject with icmp admin-prohibited"),
        "ip daddr 10.99.0.0/16 accept".into(),
        "ip daddr 10.0.0.0/8 reject with icmp admin-prohibited".into(),
        "ip daddr 100.64.0.0/10 reject with icmp admin-prohibited".into(),
        "ip daddr 172.16.0.0/12 reject with icmp admin-prohibited".into(),
        format!("ip daddr {gateway} udp dport 53 accept"),
        format!("ip daddr {gateway} tcp dport 53 accept"),
        format!("ip daddr {gateway} icmp type echo-request accept"),
        format!("ip saddr {} oifname != \"{interfaces}*\" masquerade", network.range()),
    ] {
        assert!(text.contains(&expected), "no '{expected}' in\n{text}");
    }
    let six = command(&format!("nft list table ip6 {}", names.table));
    assert!(six.contains("hook prerouting priority raw; policy accept;"), "{six}");
    assert!(six.contains(&format!("iifname \"{interfaces}*\" drop")), "{six}");
    let allowed = text.find("10.99.0.0/16 accept").unwrap();
    assert!(allowed < text.find("10.0.0.0/8 reject").unwrap(), "{text}");

    // Again: the same rules, not twice; and foreign chains that drop are seen.
    nft::replace(&nft::Rules {
        table: names.table.clone(),
        interfaces: names.interfaces.clone(),
        range: network.range(),
        gateway,
        allow: vec!["10.99.0.0/16".parse().unwrap()],
        connections_max: CONNECTIONS_MAX,
    })
    .unwrap();
    assert_eq!(command(&format!("nft list table ip {}", names.table)), text);
    assert!(!nft::dropping_chains().unwrap().iter().any(|chain| chain.contains(&names.table)));
}
