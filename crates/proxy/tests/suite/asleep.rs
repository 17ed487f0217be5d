//! Instances that are throttled or asleep. The node's part is played by what the node is made of.

use crate::support::{
    Control, Directory, Head, Link, Origin, PATIENCE, Running, Wire, eventually, instance_id, start_counting,
    table,
};
use apron_activity::channel::{Channel, FromNode, Listener, ToNode};
use apron_activity::{Wakefulness, Watched, Watcher, counts_memory, key};
use apron_model::routes::{RouteState, RouteTable};
use apron_proxy::Config;
use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

const HOST: &str = "app.localhost";
const LOOPS: usize = 2;
const PLACES: u32 = 20;

/// The node's end: what each loop of the proxy has connected.
struct Node {
    path: PathBuf,
    listener: Listener,
    loops: Vec<Channel>,
    memory: Watcher,
}

impl Node {
    fn listen(directory: &Directory, memory: &OwnedFd) -> Node {
        let path = directory.file("activity.sock");
        let listener = Listener::bind(&path, nix::unistd::geteuid().as_raw()).unwrap();
        Node { path, listener, loops: Vec::new(), memory: Watcher::open(memory).unwrap() }
    }

    /// Waits until every loop has connected.
    fn connected(&mut self) {
        eventually("every loop is connected", || {
            if let Ok((channel, _)) = self.listener.accept() {
                self.loops.push(channel);
            }
            self.loops.len() == LOOPS
        });
        for channel in &self.loops {
            assert_eq!(heard(channel), ToNode::Hello(self.memory.identity()));
        }
    }

    /// The cell of the instance with this address.
    fn watch(&self, address: SocketAddr) -> (Watched, u64) {
        let key = key(&instance_id(address), address);
        (self.memory.watch(key).unwrap(), key)
    }

    /// Which loop asks for which instance next.
    fn woken(&self) -> (usize, u64) {
        let mut found = None;
        eventually("somebody asks", || {
            found = self.loops.iter().enumerate().find_map(|(number, channel)| match channel.from_proxy() {
                Ok(ToNode::Wake(key)) => Some((number, key)),
                Ok(other) => panic!("{other:?}"),
                Err(error) if error.kind() == ErrorKind::WouldBlock => None,
                Err(error) => panic!("{error}"),
            });
            found.is_some()
        });
        found.unwrap()
    }
}

fn heard(channel: &Channel) -> ToNode {
    let began = Instant::now();
    loop {
        match channel.from_proxy() {
            Ok(heard) => return heard,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                assert!(began.elapsed() < PATIENCE);
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(error) => panic!("{error}"),
        }
    }
}

struct World {
    node: Node,
    proxy: Running,
    _link: Link,
    _directory: Directory,
}

/// A service with these instances, of which each gets `PLACES` requests at a time.
fn world(addresses: &[SocketAddr]) -> World {
    world_with(addresses, |_| {})
}

fn world_with(addresses: &[SocketAddr], change: impl FnOnce(&mut Config)) -> World {
    let directory = Directory::new();
    let memory = counts_memory().unwrap();
    let mut node = Node::listen(&directory, &memory);
    let control = Control::listen(&directory.file("control.sock"));
    let mut config =
        Config::control(directory.file("control.sock"), directory.file("routes.json"), None, 1_000);
    change(&mut config);
    let (proxy, address) =
        start_counting(Config { node: Some(node.path.clone()), ..config }, LOOPS, Some(memory));
    let mut link = control.accept();
    link.publish(routes(1, addresses));
    node.connected();
    World { node, proxy: Running { proxy, address }, _link: link, _directory: directory }
}

fn routes(counter: u64, addresses: &[SocketAddr]) -> RouteTable {
    let mut routes = table(counter, &[(HOST, RouteState::Serving, addresses)]);
    routes.services[0].max_concurrency = PLACES;
    routes.services[0].policy.concurrency_hard = Some(PLACES);
    routes
}

fn ask(proxy: &Running) -> Wire {
    let mut client = proxy.client();
    client.send(&format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    client
}

fn is_ok(client: &mut Wire) {
    let head: Head = client.head().unwrap();
    assert_eq!((head.status(), client.body(&head)), (200, b"a".to_vec()));
}

#[test]
fn who_is_throttled_serves_and_the_node_hears_of_it_once() {
    let origin = Origin::named("a");
    let World { node, proxy, _link, _directory } = world(&[origin.address]);
    let (watched, key) = node.watch(origin.address);
    watched.say(Wakefulness::Throttled);
    let mut client = ask(&proxy);
    is_ok(&mut client);
    let (number, asked) = node.woken();
    assert_eq!(asked, key);
    for _ in 0..3 {
        assert_eq!(client.get(HOST, "/").0.status(), 200);
    }
    assert_eq!(node.loops[number].from_proxy().unwrap_err().kind(), ErrorKind::WouldBlock, "once");
    assert!(watched.take_touched());
    watched.say(Wakefulness::Awake);
    node.loops[number].to_proxy(FromNode::Awake(key)).unwrap();
    assert_eq!(client.get(HOST, "/").0.status(), 200);
    watched.say(Wakefulness::Throttled);
    assert_eq!(client.get(HOST, "/").0.status(), 200);
    assert_eq!(node.woken(), (number, key), "and again when it is throttled again");
}

#[test]
fn who_sleeps_is_not_even_connected_to_until_it_is_awake() {
    let origin = Origin::named("a");
    let World { mut node, proxy, _link, _directory } = world(&[origin.address]);
    let (watched, key) = node.watch(origin.address);
    watched.say(Wakefulness::Asleep);
    let mut clients: Vec<Wire> = (0..40).map(|_| ask(&proxy)).collect();
    assert_eq!(node.woken().1, key);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(origin.connections.load(std::sync::atomic::Ordering::SeqCst), 0);
    assert!(!watched.is_busy());
    // The node dies, and the next one is asked as well.
    node.loops.clear();
    node.connected();
    let (number, asked) = node.woken();
    assert_eq!(asked, key);
    watched.say(Wakefulness::Awake);
    node.loops[number].to_proxy(FromNode::Awake(key)).unwrap();
    clients.iter_mut().for_each(is_ok);
    // Before it sleeps again the connections to it are closed.
    let open = || std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    let port = format!("0100007F:{:04X} 01", origin.address.port());
    assert!(open().contains(&port), "{}", open());
    for channel in &node.loops {
        channel.to_proxy(FromNode::Close(key)).unwrap();
        loop {
            match heard(channel) {
                ToNode::Closed(closed) => break assert_eq!(closed, key),
                // The other loop had asked as well.
                ToNode::Wake(_) => channel.to_proxy(FromNode::Awake(key)).unwrap(),
                other @ (ToNode::Hello(_) | ToNode::Answered(_)) => panic!("{other:?}"),
            }
        }
    }
    eventually("no connection is open", || !open().contains(&port));
}

/// Who waited for a start can ask where the time went, by either way through the proxy, and the node hears once that it
/// answers.
#[test]
fn who_waited_for_a_start_is_told_how_it_went() {
    let origin = Origin::named("a");
    let World { node, proxy, _link, _directory } = world(&[origin.address]);
    let (watched, key) = node.watch(origin.address);
    for asks in ["X-Apron-Trace: 1\r\n", ""] {
        watched.say(Wakefulness::Asleep);
        let mut client = proxy.client();
        client.send(&format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{asks}\r\n"));
        let (number, _) = node.woken();
        watched.say(Wakefulness::Awake);
        watched.await_answer();
        let node = &node.loops[number];
        node.to_proxy(FromNode::Started(key, [1, 2, 3, 4, 50, 60])).unwrap();
        node.to_proxy(FromNode::Awake(key)).unwrap();
        let head = client.head().unwrap();
        let told = head.get("x-apron-trace").map(str::to_owned);
        assert_eq!((head.status(), told.is_some()), (200, !asks.is_empty()));
        for part in ["start-queued;dur=1, ", "start-healthy;dur=60, ", "line;dur=", "first-byte;dur="] {
            assert!(told.as_ref().is_none_or(|told| told.contains(part)), "{told:?}");
        }
        client.body(&head);
        assert_eq!(heard(node), ToNode::Answered(key));
        // Of the next one there is no start to tell of.
        client.send(&format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{asks}\r\n"));
        let head = client.head().unwrap();
        let told = head.get("x-apron-trace");
        assert_eq!(told.is_some_and(|told| !told.contains("start-")), !asks.is_empty(), "{told:?}");
        client.body(&head);
        assert_eq!(node.from_proxy().unwrap_err().kind(), ErrorKind::WouldBlock, "once");
    }
}

/// So is who waited in line for an instance that was not in the table when it came.
#[test]
fn who_waited_for_a_further_instance_is_told_how_its_start_went() {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let held = Origin::answering(move |_, wire| {
        if wait.lock().unwrap().recv().is_ok() {
            wire.ok("a");
        }
    });
    let further = Origin::named("a");
    let World { node, proxy, _link: mut link, _directory } = world(&[held.address]);
    let mut clients: Vec<Wire> = (0..PLACES).map(|_| ask(&proxy)).collect();
    eventually("the first one is full", || proxy.in_flight() == PLACES);
    let mut waits = proxy.client();
    let mut told = || {
        waits.send(&format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nX-Apron-Trace: 1\r\n\r\n"));
        let head = waits.head().unwrap();
        assert_eq!((head.status(), waits.body(&head)), (200, b"a".to_vec()));
        head.get("x-apron-trace").unwrap().to_owned()
    };
    let (watched, key) = node.watch(further.address);
    let first = std::thread::scope(|scope| {
        let first = scope.spawn(&mut told);
        std::thread::sleep(Duration::from_millis(250));
        watched.await_answer();
        for channel in &node.loops {
            channel.to_proxy(FromNode::Started(key, [1, 2, 3, 4, 50, 60])).unwrap();
        }
        link.publish(routes(2, &[held.address, further.address]));
        first.join().unwrap()
    });
    for part in ["start-queued;dur=1, ", "start-healthy;dur=60, ", "line;dur="] {
        assert!(first.contains(part), "{first}");
    }
    let heard = || node.loops.iter().filter_map(|one| one.from_proxy().ok()).collect::<Vec<_>>();
    eventually("the node hears of the first answer", || heard() == [ToNode::Answered(key)]);
    // Who comes later has waited for nothing.
    let next = told();
    assert!(!next.contains("start-"), "{next}");
    assert!(heard().is_empty(), "once");
    (0..PLACES).for_each(|_| go.send(()).unwrap());
    clients.iter_mut().for_each(is_ok);
}

#[test]
fn who_cannot_be_woken_is_not_waited_for() {
    let [first, second] = [Origin::named("a"), Origin::named("a")];
    let World { node, proxy, _link, _directory } = world(&[first.address, second.address]);
    let (one, one_key) = node.watch(first.address);
    let (other, other_key) = node.watch(second.address);
    one.say(Wakefulness::Asleep);
    other.say(Wakefulness::Asleep);
    let mut client = ask(&proxy);
    let (number, asked) = node.woken();
    assert_eq!(asked, one_key);
    node.loops[number].to_proxy(FromNode::NotWoken(one_key)).unwrap();
    // Another one may be woken, until it is clear that it cannot.
    let (number, asked) = node.woken();
    assert_eq!(asked, other_key);
    node.loops[number].to_proxy(FromNode::NotWoken(other_key)).unwrap();
    let head = client.head().unwrap();
    assert_eq!((head.status(), head.get("x-apron-cause")), (503, Some("not_woken")));
    assert!(head.get("retry-after").is_some());
    client.body(&head);
    // Nor does anybody wait who asks just then.
    let (head, _) = client.get(HOST, "/");
    assert_eq!((head.status(), head.get("x-apron-cause")), (503, Some("not_woken")));
    other.say(Wakefulness::Awake);
    let mut clients: Vec<Wire> = (0..3).map(|_| ask(&proxy)).collect();
    clients.iter_mut().for_each(is_ok);
}

/// Its start goes on, and the request has no time left for that.
#[test]
fn who_does_not_wake_in_time_is_waited_for_no_longer() {
    let origin = Origin::named("a");
    let World { node, proxy, _link, _directory } =
        world_with(&[origin.address], |config| config.head_timeout_ms = 300);
    let (watched, key) = node.watch(origin.address);
    watched.say(Wakefulness::Asleep);
    let mut client = ask(&proxy);
    assert_eq!(node.woken().1, key);
    let head = client.head().unwrap();
    assert_eq!((head.status(), head.get("x-apron-cause")), (504, Some("wake_timed_out")));
}

/// One instance is awake and has room: nobody is woken. When it is full, one more is, and no other.
#[test]
fn no_more_are_woken_than_are_needed() {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let held = Origin::answering(move |_, wire| {
        if wait.lock().unwrap().recv().is_ok() {
            wire.ok("a");
        }
    });
    let [second, third] = [Origin::named("a"), Origin::named("a")];
    let World { node, proxy, _link, _directory } = world(&[held.address, second.address, third.address]);
    let (_first, _) = node.watch(held.address);
    let (sleeps, key) = node.watch(second.address);
    let (other, _) = node.watch(third.address);
    sleeps.say(Wakefulness::Asleep);
    other.say(Wakefulness::Asleep);
    let mut clients: Vec<Wire> = (0..PLACES).map(|_| ask(&proxy)).collect();
    eventually("the first one is full", || proxy.in_flight() == PLACES);
    let quiet = |node: &Node| {
        node.loops
            .iter()
            .all(|one| one.from_proxy().is_err_and(|error| error.kind() == ErrorKind::WouldBlock))
    };
    assert!(quiet(&node));
    let mut one_more = ask(&proxy);
    let (number, asked) = node.woken();
    assert_eq!(asked, key);
    std::thread::sleep(Duration::from_millis(250));
    assert!(quiet(&node), "the third sleeps on");
    sleeps.say(Wakefulness::Awake);
    node.loops[number].to_proxy(FromNode::Awake(key)).unwrap();
    is_ok(&mut one_more);
    (0..PLACES).for_each(|_| go.send(()).unwrap());
    clients.iter_mut().for_each(is_ok);
}

/// A tunnel holds a place and is nothing to do; what is said in it wakes who sleeps.
#[test]
fn a_quiet_tunnel_lets_its_instance_sleep() {
    let origin = Origin::answering(|_, wire| {
        wire.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
        loop {
            let piece = wire.bytes(4);
            wire.write.write_all(&piece).unwrap();
        }
    });
    let World { node, proxy, _link, _directory } = world(&[origin.address]);
    let (watched, key) = node.watch(origin.address);
    let mut client = proxy.client();
    client.send(&format!(
        "GET /chat HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ));
    assert_eq!(client.head().unwrap().status(), 101);
    eventually("it is quiet", || !watched.is_busy());
    assert_eq!(proxy.in_flight(), 1);
    watched.take_touched();
    client.send("ping");
    assert_eq!(client.bytes(4), b"ping");
    assert!(watched.take_touched() && !watched.is_busy());
    watched.say(Wakefulness::Asleep);
    client.send("pong");
    let (number, asked) = node.woken();
    assert_eq!(asked, key);
    watched.say(Wakefulness::Awake);
    node.loops[number].to_proxy(FromNode::Awake(key)).unwrap();
    assert_eq!(client.bytes(4), b"pong");
    drop(client);
    eventually("its place is free", || proxy.in_flight() == 0);
    assert!(!watched.is_busy());
}
