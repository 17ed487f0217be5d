//! How many requests an instance gets at a time, who waits for a place, in which order, and for how long.

use crate::process::{self, Process};
use crate::support::{
    Control, Directory, Head, Link, Origin, PATIENCE, Running, Wire, eventually, listeners, start_counting,
    table,
};
use apron_model::routes::{Balance, RouteState, RouteTable};
use apron_proxy::Config;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

const HOST: &str = "app.localhost";

struct World {
    proxy: Running,
    link: Link,
    _control: Control,
    _directory: Directory,
}

/// A proxy with two loops, by its first table.
fn world(table: RouteTable, counts: Option<OwnedFd>, change: impl FnOnce(&mut Config)) -> World {
    let directory = Directory::new();
    let control = Control::listen(&directory.file("control.sock"));
    let mut config =
        Config::control(directory.file("control.sock"), directory.file("routes.json"), None, 8_000);
    change(&mut config);
    let (proxy, address) = start_counting(config, 2, counts);
    let mut link = control.accept();
    link.publish(table);
    World { proxy: Running { proxy, address }, link, _control: control, _directory: directory }
}

/// One request at a time for each of these instances.
fn strict(counter: u64, state: RouteState, addresses: &[SocketAddr]) -> RouteTable {
    let mut table = table(counter, &[(HOST, state, addresses)]);
    for service in &mut table.services {
        service.max_concurrency = 1;
        service.policy.concurrency_hard = Some(1);
    }
    table
}

fn serving(addresses: &[SocketAddr]) -> RouteTable {
    strict(1, RouteState::Serving, addresses)
}

fn cause(head: &Head) -> (u16, &str) {
    (head.status(), head.get("x-apron-cause").unwrap_or(""))
}

/// An application that notes how many requests it has at the same time.
struct Counting {
    origin: Origin,
    most: Arc<AtomicUsize>,
}

impl Counting {
    fn start() -> Counting {
        let (inside, most) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
        let seen = most.clone();
        let origin = Origin::answering(move |_, wire| {
            let now = inside.fetch_add(1, Ordering::SeqCst) + 1;
            seen.fetch_max(now, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(1));
            // Before the answer: with its last byte the next request may come.
            inside.fetch_sub(1, Ordering::SeqCst);
            wire.ok("a");
        });
        Counting { origin, most }
    }
}

/// An application that answers when it is told to, and the paths that it was asked for.
struct Held {
    origin: Origin,
    paths: Arc<Mutex<Vec<String>>>,
    go: mpsc::Sender<()>,
}

impl Held {
    fn start() -> Held {
        let (go, wait) = mpsc::channel();
        let wait = Mutex::new(wait);
        let paths: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = paths.clone();
        let origin = Origin::answering(move |head, wire| {
            seen.lock().unwrap().push(head.target().to_owned());
            // An error is the end of the test.
            if wait.lock().unwrap().recv().is_ok() {
                wire.ok("a");
            }
        });
        Held { origin, paths, go }
    }

    fn asked(&self) -> usize {
        self.paths.lock().unwrap().len()
    }
}

fn ask(world: &World, path: &str) -> Wire {
    let mut client = world.proxy.client();
    client.send(&format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    client
}

/// Long enough for a request to reach its line, which nothing outside shows.
fn settle() {
    std::thread::sleep(Duration::from_millis(100));
}

#[test]
fn a_strict_instance_has_one_request_at_a_time_whichever_loop_asks() {
    let counting = Counting::start();
    let world = world(serving(&[counting.origin.address]), None, |_| {});
    let clients: Vec<_> = (0..16)
        .map(|_| {
            let address = world.proxy.address;
            std::thread::spawn(move || {
                let mut client = Wire::connect(address);
                for _ in 0..40 {
                    let (head, body) = client.get(HOST, "/");
                    assert_eq!((head.status(), body.as_str()), (200, "a"), "{head:?}");
                }
            })
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().unwrap());
    assert_eq!(counting.most.load(Ordering::SeqCst), 1);
    eventually("every place is free", || world.proxy.in_flight() == 0);
}

#[test]
fn who_came_first_goes_first_and_who_went_away_does_not() {
    let held = Held::start();
    let world = world(serving(&[held.origin.address]), None, |_| {});
    let mut clients = Vec::new();
    for path in ["/0", "/1", "/gone", "/2", "/3"] {
        clients.push(ask(&world, path));
        settle();
    }
    drop(clients.remove(2));
    settle();
    assert_eq!(held.asked(), 1);
    for (number, client) in clients.iter_mut().enumerate() {
        eventually("the next request comes", || held.asked() == number + 1);
        held.go.send(()).unwrap();
        assert_eq!(client.head().unwrap().status(), 200);
        client.bytes(1);
    }
    assert_eq!(*held.paths.lock().unwrap(), ["/0", "/1", "/2", "/3"]);
}

#[test]
fn who_waits_for_too_long_is_told() {
    // Answers for a second, and never falls silent.
    let origin = Origin::answering(|_, wire| {
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n");
        for _ in 0..20 {
            std::thread::sleep(Duration::from_millis(50));
            wire.send("x");
        }
    });
    let world = world(serving(&[origin.address]), None, |config| config.head_timeout_ms = 300);
    let mut first = ask(&world, "/");
    assert_eq!(first.head().unwrap().status(), 200);
    let begun = Instant::now();
    let head = ask(&world, "/").head().unwrap();
    assert_eq!(cause(&head), (504, "queue_timed_out"));
    assert!(begun.elapsed() >= Duration::from_millis(300));
    assert_eq!(first.bytes(20), [b'x'; 20]);
}

#[test]
fn a_new_table_answers_those_who_wait() {
    let held = Held::start();
    let mut world = world(serving(&[held.origin.address]), None, |_| {});
    let _first = ask(&world, "/");
    eventually("the place is taken", || held.asked() == 1);
    let mut second = ask(&world, "/");
    settle();
    let other = Origin::named("other");
    world.link.publish(strict(2, RouteState::Serving, &[held.origin.address, other.address]));
    let head = second.head().unwrap();
    assert_eq!((head.status(), second.body(&head)), (200, b"other".to_vec()));

    world.link.publish(strict(3, RouteState::Serving, &[held.origin.address]));
    let mut third = ask(&world, "/");
    settle();
    world.link.publish(strict(4, RouteState::Paused, &[]));
    assert_eq!(cause(&third.head().unwrap()), (503, "paused"));
    let mut fourth = ask(&world, "/");
    assert_eq!(cause(&fourth.head().unwrap()), (503, "paused"));
}

/// A target of one, which a burst may pass while more instances come.
fn bursting(counter: u64, coming: bool, addresses: &[SocketAddr]) -> RouteTable {
    let mut table = strict(counter, RouteState::Serving, addresses);
    for service in &mut table.services {
        (service.policy.concurrency_hard, service.coming) = (None, coming);
    }
    table
}

#[test]
fn a_burst_goes_beyond_the_target_only_while_more_instances_come() {
    let held = Held::start();
    let mut world = world(bursting(1, false, &[held.origin.address]), None, |_| {});
    let mut clients: Vec<Wire> = (0..4).map(|_| ask(&world, "/")).collect();
    settle();
    assert_eq!(held.asked(), 1);
    world.link.publish(bursting(2, true, &[held.origin.address]));
    eventually("twice the target", || held.asked() == 2);
    settle();
    assert_eq!(held.asked(), 2);
    // The other one is here: nothing more comes, and both are at their target.
    let other = Held::start();
    world.link.publish(bursting(3, false, &[held.origin.address, other.origin.address]));
    eventually("the new one has its request", || other.asked() == 1);
    held.go.send(()).unwrap();
    settle();
    assert_eq!(held.asked() + other.asked(), 3, "one too many had gone there");
    // The last one goes to whichever is free first.
    for _ in 0..2 {
        held.go.send(()).unwrap();
        other.go.send(()).unwrap();
    }
    for client in &mut clients {
        assert_eq!(client.head().unwrap().status(), 200);
    }
}

#[test]
fn a_first_instance_is_waited_for_while_it_comes_and_not_for_ever() {
    let mut world = world(bursting(1, true, &[]), None, |config| {
        (config.instance_wait_ms, config.head_timeout_ms) = (100, 2_000);
    });
    let mut first = ask(&world, "/");
    std::thread::sleep(Duration::from_millis(500));
    let origin = Origin::named("came");
    world.link.publish(bursting(2, false, &[origin.address]));
    let head = first.head().unwrap();
    assert_eq!((head.status(), first.body(&head)), (200, b"came".to_vec()));

    world.link.publish(bursting(3, true, &[]));
    let begun = Instant::now();
    let head = ask(&world, "/").head().unwrap();
    assert_eq!(cause(&head), (503, "no_capacity"));
    assert!(begun.elapsed() >= Duration::from_secs(2) && head.get("retry-after").is_some());

    world.link.publish(bursting(4, true, &[]));
    let mut hopeful = ask(&world, "/");
    settle();
    let begun = Instant::now();
    world.link.publish(bursting(5, false, &[]));
    assert_eq!(cause(&hopeful.head().unwrap()), (503, "no_capacity"));
    assert!(begun.elapsed() < Duration::from_secs(1), "it is clear that none comes");
}

/// Requests of a service that wait, before one more is refused.
const LINE: usize = 10_000;

#[test]
fn a_full_line_refuses_and_the_rest_of_it_is_served() {
    // A descriptor for each client, and another one in the proxy, which is a process for that.
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    let held = Held::start();
    let directory = Directory::new();
    let control = Control::listen(&directory.file("control.sock"));
    let (sockets, address) = listeners("127.0.0.1", 2);
    let clients_max = (2 * LINE).to_string();
    let arguments = [
        "--control",
        directory.0.to_str().unwrap(),
        "--http-fds",
        "10,11",
        "--connections-per-address",
        &clients_max,
    ];
    let _proxy = Process::with(&arguments, &sockets);
    let mut link = control.accept();
    link.publish(serving(&[held.origin.address]));
    let request = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    let mut first = Wire::connect(address);
    first.send(&request);
    eventually("the place is taken", || held.asked() == 1);
    let mut clients: Vec<TcpStream> = (0..=LINE)
        .map(|_| {
            let mut client = TcpStream::connect(address).unwrap();
            client.write_all(request.as_bytes()).unwrap();
            client.set_nonblocking(true).unwrap();
            client
        })
        .collect();
    let answered = |clients: &[TcpStream]| clients.iter().position(|client| client.peek(&mut [0; 1]).is_ok());
    eventually("one is refused", || answered(&clients).is_some());
    let refused = clients.remove(answered(&clients).unwrap());
    refused.set_nonblocking(false).unwrap();
    let head = Wire::new(refused).head().unwrap();
    assert_eq!(cause(&head), (429, "queue_full"));
    assert!(head.get("retry-after").is_some());
    settle();
    assert_eq!(answered(&clients), None, "all others wait");

    (0..=LINE).for_each(|_| held.go.send(()).unwrap());
    assert_eq!(first.head().unwrap().status(), 200);
    for client in clients {
        client.set_nonblocking(false).unwrap();
        assert_eq!(Wire::new(client).head().unwrap().status(), 200);
    }
}

#[test]
fn an_instance_that_fails_time_after_time_gets_a_pause_and_one_probe() {
    let bad = Origin::start(|mut wire| {
        wire.head();
    });
    let good = Origin::named("good");
    let table = table(1, &[(HOST, RouteState::Serving, &[bad.address, good.address])]);
    let world = world(table, None, |_| {});
    let mut client = world.proxy.client();
    let mut statuses =
        |count: usize| -> Vec<u16> { (0..count).map(|_| client.get(HOST, "/").0.status()).collect() };
    // Both are idle each time, so the first of the table is asked.
    assert_eq!(statuses(5), [502; 5]);
    let begun = Instant::now();
    assert_eq!(statuses(20), [200; 20]);
    assert!(begun.elapsed() < Duration::from_secs(1), "too slow to tell");
    std::thread::sleep(Duration::from_millis(1_100));
    assert_eq!(statuses(1), [502], "the probe");
    assert_eq!(statuses(20), [200; 20]);
}

/// One proxy takes over from another, which ends in order: both send to an instance that may have one request.
#[test]
fn a_ceiling_holds_while_one_proxy_takes_over_from_another() {
    let counting = Counting::start();
    let counts = apron_proxy::counts_memory().unwrap();
    let begin = |counts: &OwnedFd| {
        let counts = counts.try_clone().unwrap();
        world(serving(&[counting.origin.address]), Some(counts), |_| {})
    };
    let (mut old, new) = (begin(&counts), begin(&counts));
    let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    // Each asks until its proxy says that it ends, or the test does.
    let clients: Vec<_> = [old.proxy.address, new.proxy.address]
        .into_iter()
        .flat_map(|address| [address; 6])
        .map(|address| {
            let (stop, answered) = (stop.clone(), answered.clone());
            std::thread::spawn(move || {
                let mut client = Wire::connect(address);
                while !stop.load(Ordering::SeqCst) {
                    let (head, body) = client.get(HOST, "/");
                    assert_eq!((head.status(), body.as_str()), (200, "a"), "{head:?}");
                    answered.fetch_add(1, Ordering::SeqCst);
                    if head.get("connection").is_some_and(|value| value == "close") {
                        return;
                    }
                }
            })
        })
        .collect();
    let reach =
        |count: usize| eventually("requests are answered", || answered.load(Ordering::SeqCst) >= count);
    reach(300);
    let begun = Instant::now();
    old.proxy.proxy.take().unwrap().stop();
    assert!(begun.elapsed() < PATIENCE, "whoever waits in the old one is served");
    reach(answered.load(Ordering::SeqCst) + 300);
    stop.store(true, Ordering::SeqCst);
    clients.into_iter().for_each(|client| client.join().unwrap());
    assert_eq!(counting.most.load(Ordering::SeqCst), 1);
    eventually("every place is given back", || new.proxy.in_flight() == 0);
}

/// The same as processes on one address, with all that a replacement is made of: the sockets, the memory of counts, the
/// saved table.
#[test]
fn a_strict_instance_has_one_request_at_a_time_while_proxies_replace_one_another() {
    let counting = Counting::start();
    let directory = Directory::new();
    let control = Control::listen(&directory.file("control.sock"));
    let (mut descriptors, address) = listeners("127.0.0.1", 2);
    descriptors.push(apron_proxy::counts_memory().unwrap());
    let place = directory.file("");
    let arguments = ["--http-fds", "10,11", "--counts-fd", "12", "--control", place.to_str().unwrap()];
    // Control is there for all of them; each is told once, and later ones start from what the first one saved.
    let mut links = Vec::new();
    process::replace_under_load(address, 100, || {
        let proxy = Process::with(&arguments, &descriptors);
        let mut link = control.accept();
        if links.is_empty() {
            link.publish(serving(&[counting.origin.address]));
        }
        links.push(link);
        proxy
    });
    assert_eq!(counting.most.load(Ordering::SeqCst), 1);
}

#[test]
fn a_cookie_brings_a_client_back_to_its_instance() {
    let origins = ["a", "b"].map(Origin::named);
    let mut table = table(1, &[(HOST, RouteState::Serving, &[origins[0].address, origins[1].address])]);
    table.services[0].policy.affinity = true;
    table.services[0].policy.balance = Balance::Spread;
    let mut world = world(table.clone(), None, |_| {});
    let mut client = world.proxy.client();
    let mut ask = |cookie: &str| {
        client.send(&format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nCookie: x=y; {cookie}\r\n\r\n"));
        let head = client.head().unwrap();
        let set = head.get("set-cookie").map(|value| value.split(';').next().unwrap().to_owned());
        (String::from_utf8(client.body(&head)).unwrap(), set)
    };
    let (name, cookie) = ask("");
    let cookie = cookie.unwrap();
    for _ in 0..10 {
        assert_eq!(ask(&cookie), (name.clone(), None), "the same instance, and no further cookie");
    }
    // Its instance is gone: another one answers and is remembered.
    let gone = if name == "a" { 0 } else { 1 };
    table.services[0].instances.remove(gone);
    table.generation.counter = 2;
    world.link.publish(table);
    let (other, set) = ask(&cookie);
    assert!(other != name && set.is_some_and(|set| set != cookie));
}
