//! Requests that one instance did not take while the others are full: each waits in the line, and nobody's place is lost.

use crate::support::{Origin, Ruled, Wire, eventually, nobody};
use apron_model::routes::RoutePolicy;
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

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
        let (stream, _) = listener.accept().unwrap();
        let mut wire = Wire::new(stream);
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
        let mut wire = Wire::new(dying.accept().unwrap().0);
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
