//! What control is told of the load, and when.

use crate::support::{Control, Directory, Link, Origin, Ruled, Running, Wire, eventually, start, table};
use apron_model::ids::ServiceId;
use apron_model::routes::{FromProxy, HttpsPolicy, Load, RoutePolicy, RouteState};
use apron_model::scaling::SAMPLE_MS;
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

const HOST: &str = "app.localhost";

/// The next that is said of the service.
fn next(link: &mut Link) -> Load {
    loop {
        if let FromProxy::Load(news) = link.next() {
            return news[&ServiceId::new("service-0")];
        }
    }
}

/// A proxy of two loops, one request at a time for the one instance, and control's end of its link.
fn strict(directory: &Directory, origin: &Origin) -> (Running, Link) {
    let control = Control::listen(&directory.file("control.sock"));
    let config = apron_proxy::Config::control(
        directory.file("control.sock"),
        directory.file("routes.json"),
        None,
        1_000,
    );
    let (proxy, address) = start(config, 2);
    let mut link = control.accept();
    let mut routes = table(1, &[(HOST, RouteState::Serving, &[origin.address])]);
    routes.services[0].policy = RoutePolicy { concurrency_hard: Some(1), ..RoutePolicy::default() };
    link.publish(routes);
    (Running { proxy, address }, link)
}

fn ask(proxy: &Running) -> Wire {
    let mut client = proxy.client();
    client.send(&format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    client
}

#[test]
fn a_line_is_told_at_once_and_quiet_is_not_told() {
    let (go, wait) = mpsc::channel();
    let wait = Mutex::new(wait);
    let origin = Origin::answering(move |_, wire| {
        // An error is the end of the test.
        if wait.lock().unwrap().recv().is_ok() {
            wire.ok("a");
        }
    });
    let directory = Directory::new();
    let (proxy, mut link) = strict(&directory, &origin);
    let mut first = ask(&proxy);
    assert_eq!(next(&mut link), Load { arrived: 1, in_flight: 1, ..Load::default() });
    let line = Load { arrived: 2, in_flight: 1, waiting: 1, ..Load::default() };
    let mut soonest = Duration::MAX;
    // Where the machine is busy once, it is not five times.
    for arrived in 2..7 {
        let began = Instant::now();
        let mut second = ask(&proxy);
        assert_eq!(next(&mut link), Load { arrived, answered: arrived - 2, ..line });
        soonest = soonest.min(began.elapsed());
        go.send(()).unwrap();
        assert_eq!(first.head().unwrap().status(), 200);
        std::mem::swap(&mut first, &mut second);
        eventually("nobody waits", || next(&mut link).waiting == 0);
    }
    assert!(soonest < Duration::from_millis(SAMPLE_MS / 2), "{soonest:?}");
    go.send(()).unwrap();
    eventually("it is over", || next(&mut link) == Load { arrived: 6, answered: 6, ..Load::default() });
    // Nothing more is said but that the proxy is there.
    for _ in 0..3 {
        assert!(matches!(link.next(), FromProxy::Status { .. }));
    }
}

#[test]
fn who_leaves_a_line_is_load_until_then() {
    let (go, wait) = mpsc::channel();
    let wait = Mutex::new(wait);
    let origin = Origin::answering(move |_, wire| {
        // An error is the end of the test.
        if wait.lock().unwrap().recv().is_ok() {
            wire.ok("a");
        }
    });
    let directory = Directory::new();
    let (proxy, mut link) = strict(&directory, &origin);
    let comes_to = |what: &str, expect: Load| eventually(what, || proxy.load() == [expect]);
    let there = Load { arrived: 1, in_flight: 1, ..Load::default() };
    let mut first = ask(&proxy);
    comes_to("it has its place", there);
    let gone = ask(&proxy);
    comes_to("the second waits", Load { arrived: 2, waiting: 1, ..there });
    drop(gone);
    comes_to("the second went away", Load { arrived: 2, ..there });
    let mut turned_away = ask(&proxy);
    comes_to("the third waits", Load { arrived: 3, waiting: 1, ..there });
    link.publish(table(2, &[(HOST, RouteState::Paused, &[])]));
    assert_eq!(turned_away.head().unwrap().status(), 503);
    comes_to("the third is turned away", Load { arrived: 3, ..there });
    go.send(()).unwrap();
    assert_eq!(first.head().unwrap().status(), 200);
    comes_to("nobody is there", Load { arrived: 3, answered: 1, ..Load::default() });
}

/// On our own path, and on hyper's, which a cookie for each client needs.
#[test]
fn what_the_proxy_answers_by_itself_is_no_load() {
    let origin = Origin::answering(|head, wire| {
        wire.body(head);
        wire.ok("a");
    });
    for affinity in [false, true] {
        let policy = || RoutePolicy { affinity, ..RoutePolicy::default() };
        let statuses = |world: &Ruled| -> Vec<u16> {
            let ask = |_| {
                let mut client = world.proxy.client();
                client.send(&format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 2\r\n\r\nab"));
                client.head().unwrap().status()
            };
            (0..20).map(ask).collect()
        };
        for (expect, policy) in [
            (403, RoutePolicy { deny: vec!["127.0.0.0/8".parse().unwrap()], ..policy() }),
            (403, RoutePolicy { allow: vec!["10.0.0.0/8".parse().unwrap()], ..policy() }),
            (413, RoutePolicy { body_bytes_max: Some(1), ..policy() }),
            (403, RoutePolicy { https: HttpsPolicy::Refuse, ..policy() }),
            (308, RoutePolicy { https: HttpsPolicy::Redirect, ..policy() }),
        ] {
            let world = Ruled::new(HOST, &[origin.address], policy, |config| config.https_port = Some(443));
            assert_eq!(statuses(&world), [expect; 20], "{affinity}");
            assert_eq!(world.proxy.load(), [], "{expect}, {affinity}");
        }
        let policy = RoutePolicy { requests_per_second_max: Some(1), ..policy() };
        let world = Ruled::new(HOST, &[origin.address], policy, |_| {});
        let served = statuses(&world).iter().filter(|status| **status == 200).count() as u64;
        assert!((1..20).contains(&served), "{served}");
        let load = Load { arrived: served, answered: served, ..Load::default() };
        eventually("only who was let in is load", || world.proxy.load() == [load]);
    }
}
