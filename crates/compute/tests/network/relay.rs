//! The DNS relay between instances: who may ask, and that one who floods leaves room for the others.

use super::{Forwarder, Namespace, Outside, Platform, Upstream, dns_query};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Far longer than an answer takes, also on a busy machine.
const SOON: Duration = Duration::from_secs(3);

/// A UDP and a TCP socket with one port. The kernel gives a port that is free by UDP; by TCP somebody may have it.
fn port_of_both() -> (UdpSocket, TcpListener, SocketAddr) {
    let tries = (0..100).find_map(|_| {
        let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = datagrams.local_addr().unwrap();
        match TcpListener::bind(address) {
            Ok(streams) => Some((datagrams, streams, address)),
            Err(e) if e.kind() == ErrorKind::AddrInUse => None,
            Err(e) => panic!("{address}: {e}"),
        }
    });
    tries.expect("one of 100 ports is free by UDP and by TCP")
}

/// A resolver on the loopback address that answers everything but names that begin with `s`.
fn resolver() -> SocketAddr {
    let (datagrams, streams, address) = port_of_both();
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((length, client)) = datagrams.recv_from(&mut buffer) {
            buffer[2] |= 0x80;
            if buffer[13] != b's' {
                let _ = datagrams.send_to(&buffer[..length], client);
            }
        }
    });
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = streams.accept() {
            let mut buffer = [0; 512];
            let Ok(length) = stream.read(&mut buffer) else { continue };
            buffer[4] |= 0x80;
            let _ = stream.write_all(&buffer[..length]);
        }
    });
    address
}

/// Asks once by UDP and waits for a short time.
fn asks(gateway: Ipv4Addr) -> bool {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    let sent = socket.send_to(&dns_query(), (gateway, 53));
    sent.is_ok() && socket.recv(&mut [0; 512]).is_ok()
}

fn asks_by_tcp(gateway: Ipv4Addr) -> bool {
    let asked = || -> std::io::Result<()> {
        let mut stream = TcpStream::connect_timeout(&SocketAddr::from((gateway, 53)), SOON)?;
        stream.set_read_timeout(Some(SOON))?;
        let query = dns_query();
        stream.write_all(&[&(query.len() as u16).to_be_bytes()[..], &query].concat())?;
        let mut answer = vec![0; query.len() + 2];
        stream.read_exact(&mut answer)
    };
    asked().is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_instances_and_the_host_can_ask() {
    let platform = Platform::new(5);
    let network = platform.open(&[]).await;
    let (outside, one) = (Outside::new(4), Namespace::new());
    let address = network.lease("one").unwrap();
    network.attach(address, &one.path()).await.unwrap();
    let gateway = network.gateway();
    let _relay = Forwarder::start(gateway, Upstream::Fixed(vec![resolver()])).unwrap();

    let both = move || (asks(gateway), asks_by_tcp(gateway));
    assert_eq!(one.run(both), (true, true), "the instance, by UDP and TCP");
    assert_eq!(both(), (true, true), "the host itself");
    // Someone on a link of the host who knows the address and the way.
    let host = outside.host;
    let answers = outside.namespace.run(move || {
        super::command(&format!("ip route add {gateway}/32 via {host}"));
        both()
    });
    assert_eq!(answers, (false, false), "a neighbour of the host");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_starves_nobody_else() {
    let platform = Platform::new(6);
    let network = platform.open(&[]).await;
    let (loud, quiet) = (Namespace::new(), Namespace::new());
    for (id, namespace) in [("loud", &loud), ("quiet", &quiet)] {
        let address = network.lease(id).unwrap();
        network.attach(address, &namespace.path()).await.unwrap();
    }
    let gateway = network.gateway();
    let _relay = Forwarder::start(gateway, Upstream::Fixed(vec![resolver()])).unwrap();
    assert!(quiet.run(move || asks(gateway)));

    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let flood = loud.run(move || {
        // Names that nobody answers, from many ports, as fast as it goes; and connections that ask nothing.
        let mut silent = dns_query();
        silent[13] = b's';
        let stopped_too = stopped.clone();
        let datagrams = std::thread::spawn(move || {
            let mut sent = 0_u64;
            while !stopped.load(Ordering::Relaxed) {
                let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
                sent += (0..200).filter(|_| socket.send_to(&silent, (gateway, 53)).is_ok()).count() as u64;
            }
            sent
        });
        let connections = std::thread::spawn(move || {
            let mut held = Vec::new();
            while !stopped_too.load(Ordering::Relaxed) {
                match TcpStream::connect_timeout(&SocketAddr::from((gateway, 53)), Duration::from_millis(20))
                {
                    Ok(stream) if held.len() < 400 => held.push(stream),
                    _ => std::thread::sleep(Duration::from_millis(1)),
                }
            }
            held.len()
        });
        (datagrams, connections)
    });
    std::thread::sleep(Duration::from_millis(500));
    let began = Instant::now();
    let (by_udp, by_tcp) = quiet.run(move || {
        let by_udp = (0..20).filter(|_| asks(gateway)).count();
        (by_udp, (0..5).filter(|_| asks_by_tcp(gateway)).count())
    });
    let took = began.elapsed();
    stop.store(true, Ordering::Relaxed);
    let (sent, held) = (flood.0.join().unwrap(), flood.1.join().unwrap());
    println!("beside {sent} datagrams and {held} connections: 25 answers in {took:?}");
    assert_eq!((by_udp, by_tcp), (20, 5), "beside {sent} datagrams and {held} connections");
    assert!(sent > 5_000, "that was no flood: {sent}");
}
