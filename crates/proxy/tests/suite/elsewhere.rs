//! Requests that one instance did not take while the others are full: each waits in the line, and nobody's place is lost.

use crate::support::{Origin, Ruled, Wire, eventually, nobody};
use apron_model::routes::RoutePolicy;
use socket2::{Domain, Socket, Type};
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const HOST: &str = "app.localhost";

/// The ways of a request through the proxy, of which each connects to instances by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Own,
    Hyper,
    Http2,
}
const WAYS: [Way; 3] = [Way::Own, Way::Hyper, Way::Http2];

/// One request at a time for each of the instances.
fn strict(way: Way, instances: &[SocketAddr]) -> Ruled {
    let affinity = way == Way::Hyper;
    let policy = RoutePolicy { affinity, concurrency_hard: Some(1), ..RoutePolicy::default() };
    Ruled::new(HOST, instances, policy, |_| {})
}

/// Status and body of the answer.
fn ask(way: Way, world: &Ruled) -> JoinHandle<(u16, String)> {
    let address = world.proxy.address;
    std::thread::spawn(move || {
        if way != Way::Http2 {
            let (head, body) = Wire::connect(address).get(HOST, "/");
            return (head.status(), body);
        }
        let mut curl = Command::new("curl");
        curl.args([
            "--silent",
            "--http2-prior-knowledge",
            "--max-time",
            "30",
            "--write-out",
            "\n%{http_code}",
        ]);
        curl.args(["--header", &format!("Host: {HOST}"), &format!("http://{address}/")]);
        let output = String::from_utf8(curl.output().unwrap().stdout).unwrap();
        let (body, status) = output.rsplit_once('\n').unwrap();
        (status.parse().unwrap(), body.to_owned())
    })
}

/// An application that answers when it is told to, and how often it was asked.
fn held() -> (Origin, Arc<AtomicUsize>, mpsc::Sender<()>) {
    let (go, wait) = mpsc::channel();
    let (wait, asked) = (Mutex::new(wait), Arc::new(AtomicUsize::new(0)));
    let count = asked.clone();
    let origin = Origin::answering(move |_, wire| {
        count.fetch_add(1, Ordering::SeqCst);
        // An error is the end of the test.
        if wait.lock().unwrap().recv().is_ok() {
            wire.ok("held");
        }
    });
    (origin, asked, go)
}

/// The next connection that the proxy opens.
fn accept(listener: &TcpListener) -> Wire {
    listener.set_nonblocking(true).unwrap();
    let mut accepted = None;
    eventually("the proxy connects", || {
        accepted = listener.accept().ok();
        accepted.is_some()
    });
    let stream = accepted.unwrap().0;
    stream.set_nonblocking(false).unwrap();
    Wire::new(stream)
}

fn settle() {
    std::thread::sleep(Duration::from_millis(100));
}

#[test]
fn who_was_refused_by_one_instance_waits_for_the_others() {
    for way in WAYS {
        let (origin, asked, go) = held();
        let world = strict(way, &[nobody(), origin.address]);
        let answers = [ask(way, &world), ask(way, &world), ask(way, &world)];
        for count in 1..=answers.len() {
            eventually("one after the other", || asked.load(Ordering::SeqCst) == count);
            settle();
            go.send(()).unwrap();
        }
        for answer in answers {
            assert_eq!(answer.join().unwrap(), (200, "held".to_owned()), "{way:?}");
        }
        eventually("no place is lost", || world.proxy.in_flight() == 0);
    }
}

/// Who waits has no place at the one that refused it, so that this one serves again when it is back.
#[test]
fn an_instance_that_refused_and_came_back_serves_the_line() {
    for way in WAYS {
        let (origin, asked, go) = held();
        let away = nobody();
        let world = strict(way, &[origin.address, away]);
        let first = ask(way, &world);
        eventually("one has its request", || asked.load(Ordering::SeqCst) == 1);
        let second = ask(way, &world);
        settle();
        let listener = TcpListener::bind(away).unwrap();
        let mut wire = accept(&listener);
        wire.head().unwrap();
        wire.ok("back");
        assert_eq!(second.join().unwrap(), (200, "back".to_owned()), "{way:?}");
        go.send(()).unwrap();
        assert_eq!(first.join().unwrap().0, 200);
        eventually("no place is lost", || world.proxy.in_flight() == 0);
    }
}

/// The connection was kept, and died with its instance in the middle of a request that may be sent again.
#[test]
fn who_lost_its_instance_waits_for_the_others() {
    for way in WAYS {
        let (origin, asked, go) = held();
        let dying = TcpListener::bind("127.0.0.1:0").unwrap();
        let world = strict(way, &[origin.address, dying.local_addr().unwrap()]);
        let first = ask(way, &world);
        eventually("one has its request", || asked.load(Ordering::SeqCst) == 1);
        let second = ask(way, &world);
        let mut wire = accept(&dying);
        wire.head().unwrap();
        wire.ok("alive");
        assert_eq!(second.join().unwrap(), (200, "alive".to_owned()), "{way:?}");
        let third = ask(way, &world);
        wire.head().unwrap();
        drop((dying, wire));
        settle();
        go.send(()).unwrap();
        assert_eq!(first.join().unwrap().0, 200);
        eventually("the other one is asked", || asked.load(Ordering::SeqCst) == 2);
        go.send(()).unwrap();
        assert_eq!(third.join().unwrap(), (200, "held".to_owned()), "{way:?}");
        eventually("no place is lost", || world.proxy.in_flight() == 0);
    }
}

/// With what it has sent by then, and with what it sends later.
#[test]
fn a_body_waits_with_its_request() {
    const HALF: usize = 20_000;
    for way in [Way::Own, Way::Hyper] {
        let (go, wait) = mpsc::channel();
        let wait = Mutex::new(wait);
        let origin = Origin::answering(move |head, wire| {
            let body = wire.body(head);
            wait.lock().unwrap().recv().unwrap();
            wire.ok(&body.len().to_string());
        });
        let world = strict(way, &[nobody(), origin.address]);
        let first = ask(way, &world);
        settle();
        let mut client = world.proxy.client();
        let length = 2 * HALF;
        client.send(&format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {length}\r\n\r\n"));
        client.send(&"x".repeat(HALF));
        settle();
        client.send(&"x".repeat(HALF));
        go.send(()).unwrap();
        assert_eq!(first.join().unwrap(), (200, "0".to_owned()));
        go.send(()).unwrap();
        let head = client.head().unwrap();
        assert_eq!((head.status(), client.body(&head)), (200, length.to_string().into_bytes()), "{way:?}");
        go.send(()).unwrap();
        assert_eq!(client.get(HOST, "/").1, "0", "and the next one begins where it ends");
    }
}

/// A request that ends each application that it is handed to is handed to two, and to no third.
#[test]
fn what_ends_its_application_is_sent_again_once() {
    for way in WAYS {
        let (origin, asked, go) = held();
        let [a, b] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let addresses = [&a, &b].map(|listener| listener.local_addr().unwrap());
        let world = strict(way, &[origin.address, addresses[0], addresses[1]]);
        let busy = ask(way, &world);
        eventually("one has its request", || asked.load(Ordering::SeqCst) == 1);
        // Connections that are kept.
        let warm = ask(way, &world);
        let mut at_a = accept(&a);
        at_a.head().unwrap();
        let warm = [warm, ask(way, &world)];
        let mut at_b = accept(&b);
        at_b.head().unwrap();
        at_a.ok("warm");
        at_b.ok("warm");
        for answer in warm {
            assert_eq!(answer.join().unwrap().1, "warm");
        }

        let deadly = ask(way, &world);
        at_a.head().unwrap();
        let other = ask(way, &world);
        at_b.head().unwrap();
        drop((a, at_a));
        settle();
        at_b.ok("other");
        assert_eq!(other.join().unwrap().1, "other");
        // What was on a connection that died is not put on another one that was kept.
        let mut again = accept(&b);
        again.head().unwrap();
        drop((b, at_b, again));
        assert_eq!(deadly.join().unwrap().0, 502, "{way:?}");
        go.send(()).unwrap();
        assert_eq!(busy.join().unwrap().0, 200);
        assert_eq!(asked.load(Ordering::SeqCst), 1, "{way:?}");
        eventually("no place is lost", || world.proxy.in_flight() == 0);
    }
}

/// One whose line of connections is full: the kernel answers no more of them. It ends with what it gives.
fn silent() -> (SocketAddr, Socket, Vec<Socket>) {
    let socket = || Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let (listener, mut waiting) = (socket(), Vec::new());
    listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    // The first that is not answered shows that it is full.
    for _ in 0..100 {
        let client = socket();
        let answered = client.connect_timeout(&address, Duration::from_millis(200)).is_ok();
        waiting.push(client);
        if !answered {
            return (address.as_socket().unwrap(), listener, waiting);
        }
    }
    panic!("the line of connections is never full");
}

/// A connection that nobody answers is waited for in the request's own time.
#[test]
fn the_time_in_all_is_also_that_of_the_connection() {
    for way in WAYS {
        let (address, _listener, _waiting) = silent();
        let policy = RoutePolicy {
            affinity: way == Way::Hyper,
            request_timeout_s: 1,
            request_timeout_total: true,
            ..RoutePolicy::default()
        };
        let world = Ruled::new(HOST, &[address], policy, |_| {});
        let began = Instant::now();
        assert_eq!(ask(way, &world).join().unwrap().0, 504, "{way:?}");
        assert!(began.elapsed() < Duration::from_secs(3), "{way:?} {:?}", began.elapsed());
    }
}
