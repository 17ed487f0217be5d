//! Instances that lie: about their source address, about hardware addresses, about routes.

use super::{CONNECTIONS_MAX, Namespace, Outside, PATIENCE, Platform, command};
use apron_compute::local::network::Names;
use nix::net::if_::if_nametoindex;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

/// A datagram that passes is there in less than a millisecond.
const ARRIVES: Duration = Duration::from_millis(300);
const INNER_MAC: [u8; 6] = [2, 0x61, 0, 0, 0, 1];

/// The host's end of the only instance.
fn host_end(platform: &Platform) -> String {
    let prefix = Names::of(&platform.id).interfaces;
    let names = nix::net::if_::if_nameindex().unwrap();
    let found = names.iter().map(|one| one.name().to_str().unwrap().to_owned());
    found.into_iter().find(|name| name.starts_with(&prefix)).unwrap()
}

fn set(family: &str, interface: &str, key: &str, value: &str) {
    std::fs::write(format!("/proc/sys/net/{family}/conf/{interface}/{key}"), value).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_address_cannot_be_forged() {
    let platform = Platform::new(7);
    let network = platform.open(&[]).await;
    let (outside, one) = (Outside::new(6), Namespace::new());
    let (own, neighbour) = (network.lease("one").unwrap(), network.lease("two").unwrap());
    network.attach(own, &one.path()).await.unwrap();
    // Hosts that set this loosely for all interfaces are common; the kernel takes the looser of the two.
    set("ipv4", &host_end(&platform), "rp_filter", "0");

    let receiver = outside.namespace.run(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.set_read_timeout(Some(ARRIVES)).unwrap();
        socket
    });
    let (public, port) = (outside.public, receiver.local_addr().unwrap().port());
    let arrives = |source: Ipv4Addr| {
        one.run(move || {
            if source != own {
                command(&format!("ip addr add {source}/32 dev eth0"));
            }
            let socket = UdpSocket::bind((source, 0)).unwrap();
            socket.send_to(&source.octets(), (public, port)).unwrap();
        });
        let mut buffer = [0; 4];
        receiver.recv_from(&mut buffer).ok().map(|(_, from)| from.ip())
    };
    assert_eq!(arrives(own), Some(outside.host.into()));
    // A neighbour's, an unused one of the range, the gateway's, the host's own, anybody's.
    let unused = network.range().address(0xabc).unwrap();
    for source in [neighbour, unused, network.gateway(), outside.host, Ipv4Addr::new(198, 51, 100, 7)] {
        assert_eq!(arrives(source), None, "{source}");
    }
    assert_eq!(arrives(own), Some(outside.host.into()));
}

/// Sends a whole frame out of the calling thread's `eth0`.
fn send_frame(frame: &[u8]) {
    let index = if_nametoindex("eth0").unwrap();
    // SAFETY: the address is plain data for which zeros are a value, and all pointers outlive the calls.
    unsafe {
        let socket = libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0);
        assert!(socket >= 0);
        let mut to: libc::sockaddr_ll = std::mem::zeroed();
        to.sll_family = libc::AF_PACKET as u16;
        to.sll_ifindex = index as i32;
        to.sll_halen = 6;
        let length = size_of_val(&to) as u32;
        let sent =
            libc::sendto(socket, frame.as_ptr().cast(), frame.len(), 0, (&raw const to).cast(), length);
        libc::close(socket);
        assert_eq!(sent, frame.len() as isize);
    }
}

fn ethernet(to: [u8; 6], kind: u16, payload: &[u8]) -> Vec<u8> {
    [&to[..], &INNER_MAC, &kind.to_be_bytes(), payload].concat()
}

/// Asks who has `target`, and by that claims to be `sender`.
fn arp_request(sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let head = [0, 1, 8, 0, 6, 4, 0, 1];
    let (sender, target) = (sender.octets(), target.octets());
    ethernet([0xff; 6], 0x0806, &[&head[..], &INNER_MAC, &sender, &[0; 6], &target].concat())
}

/// Announces a network behind this link, which makes a listener take an address and a route.
fn router_advertisement(prefix: Ipv6Addr) -> Vec<u8> {
    let (source, all) = ("fe80::1".parse::<Ipv6Addr>().unwrap(), "ff02::1".parse::<Ipv6Addr>().unwrap());
    let mut message = vec![134, 0, 0, 0, 64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    // The prefix: on this link, for addresses, valid and preferred for ten minutes.
    message.extend([3, 4, 64, 0xc0, 0, 0, 2, 88, 0, 0, 2, 88, 0, 0, 0, 0]);
    message.extend(prefix.octets());
    let pseudo =
        [&source.octets()[..], &all.octets(), &[0, 0, 0, message.len() as u8, 0, 0, 0, 58], &message];
    let sum: u32 = pseudo.concat().chunks(2).map(|two| u32::from(u16::from_be_bytes([two[0], two[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = !(((folded & 0xffff) + (folded >> 16)) as u16);
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    let header = [0x60, 0, 0, 0, 0, message.len() as u8, 58, 255];
    let packet = [&header[..], &source.octets(), &all.octets(), &message].concat();
    ethernet([0x33, 0x33, 0, 0, 0, 1], 0x86dd, &packet)
}

#[tokio::test(flavor = "multi_thread")]
async fn neighbours_and_routes_of_the_host_cannot_be_moved() {
    let platform = Platform::new(8);
    let network = platform.open(&[]).await;
    let one = Namespace::new();
    let address = network.lease("one").unwrap();
    network.attach(address, &one.path()).await.unwrap();
    let (gateway, end) = (network.gateway(), host_end(&platform));

    let neighbours = || command(&format!("ip neigh show dev {end}"));
    let before = neighbours();
    assert!(before.contains(&format!("{address} lladdr ")) && before.contains("PERMANENT"), "{before}");
    one.run(move || {
        for sender in [Ipv4Addr::new(198, 51, 100, 7), address] {
            send_frame(&arp_request(sender, gateway));
            send_frame(&arp_request(sender, sender));
        }
    });
    std::thread::sleep(ARRIVES);
    assert_eq!(neighbours(), before);

    // A router advertisement does nothing, also where an administrator has switched IPv6 on for all interfaces.
    let prefix: Ipv6Addr = "2001:db8:fade::".parse().unwrap();
    let announce = || one.run(move || send_frame(&router_advertisement(prefix)));
    let taken = || command(&format!("ip -6 addr show dev {end}")).contains("2001:db8:fade:");
    announce();
    std::thread::sleep(ARRIVES);
    assert!(!taken());
    set("ipv6", &end, "disable_ipv6", "0");
    set("ipv6", &end, "accept_ra", "2");
    announce();
    std::thread::sleep(ARRIVES);
    assert!(!taken());
    // The test itself: without the rules the same announcement counts.
    command(&format!("nft delete table ip6 {}", Names::of(&platform.id).table));
    announce();
    std::thread::sleep(ARRIVES);
    assert!(taken(), "the announcement is no good, so nothing was tested");
}

/// Opens so many connections at once and gives those that came about.
fn open_many(namespace: &Namespace, to: Ipv4Addr, port: u16, count: u32) -> Vec<TcpStream> {
    namespace.run(move || {
        let connect = move || TcpStream::connect_timeout(&SocketAddr::from((to, port)), PATIENCE).ok();
        let opening: Vec<_> = (0..count).map(|_| std::thread::spawn(connect)).collect();
        opening.into_iter().filter_map(|one| one.join().unwrap()).collect()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn one_instance_cannot_use_up_the_hosts_connections() {
    let platform = Platform::new(11);
    let network = platform.open(&[]).await;
    let (outside, one, two) = (Outside::new(10), Namespace::new(), Namespace::new());
    for (id, namespace) in [("one", &one), ("two", &two)] {
        network.attach(network.lease(id).unwrap(), &namespace.path()).await.unwrap();
    }
    let port = outside.namespace.run(|| {
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                // Until the other side closes.
                std::thread::spawn(move || std::io::copy(&mut stream, &mut std::io::sink()));
            }
        });
        port
    });
    let public = outside.public;
    let held = open_many(&one, public, port, 2 * CONNECTIONS_MAX);
    assert_eq!(held.len(), CONNECTIONS_MAX as usize);
    assert_eq!(open_many(&two, public, port, CONNECTIONS_MAX).len(), CONNECTIONS_MAX as usize);
    assert_eq!(open_many(&one, public, port, 1).len(), 0);
    // Closed ones do not count.
    drop(held);
    assert_eq!(open_many(&one, public, port, 1).len(), 1);
}
