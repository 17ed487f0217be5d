//! What control is told of the load, and when.

use crate::support::{Control, Directory, Link, Origin, Running, Wire, eventually, start, table};
use apron_model::ids::ServiceId;
use apron_model::routes::{FromProxy, Load, RoutePolicy, RouteState};
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
