//! Instances that refuse, close, stall or are not there: what the client sees, and what is tried again.

use crate::support::{Head, Origin, Ruled, Running, eventually, nobody};
use apron_model::routes::{Balance, RoutePolicy};
use apron_proxy::Config;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

const HOST: &str = "app.localhost";

fn impatient(config: &mut Config) {
    config.head_timeout_ms = 300;
    config.instance_wait_ms = 300;
}

fn cause(head: &Head) -> (u16, &str) {
    (head.status(), head.get("x-apron-cause").unwrap_or(""))
}

#[test]
fn a_connection_that_went_stale_is_no_error() {
    // Every second request on a connection meets a closing instance, after the request was read.
    let origin = Origin::start(|mut wire| {
        if wire.head().is_some() {
            wire.ok("once");
            wire.head();
        }
    });
    let proxy = Running::fixed(&[(HOST, &[origin.address])]);
    let mut client = proxy.client();
    for _ in 0..20 {
        assert_eq!(client.get(HOST, "/").1, "once");
    }
    eventually("no place is lost", || proxy.in_flight() == 0);
}

#[test]
fn a_connection_closed_while_idle_is_no_error_for_any_method() {
    let origin = Origin::start(|mut wire| {
        let head = wire.head().unwrap();
        wire.body(&head);
        wire.ok("once");
    });
    let proxy = Running::fixed(&[(HOST, &[origin.address])]);
    let mut client = proxy.client();
    for _ in 0..10 {
        client.send("POST / HTTP/1.1\r\nHost: app.localhost\r\nContent-Length: 2\r\n\r\nhi");
        let head = client.head().unwrap();
        assert_eq!((head.status(), client.body(&head)), (200, b"once".to_vec()));
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(origin.connections.load(Ordering::SeqCst), 10);
}

/// On our own path, and on hyper's.
#[test]
fn what_an_instance_left_unanswered_goes_to_another_one() {
    for affinity in [false, true] {
        // The one that is asked first works once, and from then on takes connections and closes them.
        let broken = Arc::new(OnceLock::new());
        let instance = |name: &'static str| {
            let broken = broken.clone();
            Origin::start(move |mut wire| {
                while wire.head().is_some() {
                    let first = broken.set(name).is_ok();
                    if !first && broken.get() == Some(&name) {
                        return;
                    }
                    wire.ok(name);
                }
            })
        };
        let (a, b) = (instance("a"), instance("b"));
        let policy = RoutePolicy { affinity, ..RoutePolicy::default() };
        let world = Ruled::new(HOST, &[a.address, b.address], policy, |_| {});
        let mut client = world.proxy.client();
        let first = client.get(HOST, "/").1;
        let (head, body) = client.get(HOST, "/");
        assert!(head.status() == 200 && body != first, "{affinity} {head:?}");
        eventually("no place is lost", || world.proxy.in_flight() == 0);
    }
}

#[test]
fn what_may_have_had_an_effect_is_not_sent_twice() {
    let requests = Arc::new(AtomicUsize::new(0));
    let seen = requests.clone();
    let origin = Origin::start(move |mut wire| {
        let head = wire.head().unwrap();
        wire.body(&head);
        seen.fetch_add(1, Ordering::SeqCst);
        wire.ok("first");
        if let Some(head) = wire.head() {
            wire.body(&head);
            seen.fetch_add(1, Ordering::SeqCst);
        }
    });
    let proxy = Running::fixed(&[(HOST, &[origin.address])]);
    let mut client = proxy.client();
    let post = "POST / HTTP/1.1\r\nHost: app.localhost\r\nContent-Length: 2\r\n\r\nhi";
    client.send(post);
    let head = client.head().unwrap();
    client.body(&head);
    client.send(post);
    assert_eq!(cause(&client.head().unwrap()), (502, "closed_before_response"));
    assert_eq!(requests.load(Ordering::SeqCst), 2);
}

#[test]
fn an_instance_that_always_closes_is_reported() {
    let origin = Origin::start(|mut wire| {
        wire.head();
    });
    let proxy = Running::fixed(&[(HOST, &[origin.address])]);
    let mut client = proxy.client();
    for _ in 0..3 {
        assert_eq!(cause(&client.get(HOST, "/").0), (502, "closed_before_response"));
    }
    eventually("the place is free", || proxy.in_flight() == 0);
}

#[test]
fn an_instance_that_refuses_is_passed_over() {
    let origin = Origin::named("up");
    let proxy = Running::fixed(&[(HOST, &[nobody(), origin.address])]);
    let mut client = proxy.client();
    for _ in 0..20 {
        assert_eq!(client.get(HOST, "/").1, "up");
    }
    for body in ["", "hi"] {
        let length = body.len();
        client.send(&format!(
            "POST / HTTP/1.1\r\nHost: app.localhost\r\nContent-Length: {length}\r\n\r\n{body}"
        ));
        // The origin does not read bodies, so each one needs a connection of its own.
        assert_eq!(client.head().unwrap().status(), 200);
        client = proxy.client();
    }
    let proxy = Running::fixed(&[(HOST, &[nobody(), nobody()])]);
    assert_eq!(cause(&proxy.client().get(HOST, "/").0), (502, "connect_failed"));
    let proxy = Running::fixed(&[(HOST, &[nobody()])]);
    assert_eq!(cause(&proxy.client().get(HOST, "/").0), (502, "connect_failed"));
    eventually("the place is free", || proxy.in_flight() == 0);
}

#[test]
fn nonsense_is_a_bad_response() {
    let origin = Origin::answering(|_, wire| wire.send("SSH-2.0-OpenSSH\r\n\r\n"));
    let proxy = Running::fixed(&[(HOST, &[origin.address])]);
    assert_eq!(cause(&proxy.client().get(HOST, "/").0), (502, "bad_response"));
    let unasked = Origin::answering(|_, wire| {
        wire.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n");
    });
    let proxy = Running::fixed(&[(HOST, &[unasked.address])]);
    assert_eq!(cause(&proxy.client().get(HOST, "/").0), (502, "bad_response"));
}

#[test]
fn an_answer_that_does_not_come_is_timed_out() {
    let origin = Origin::answering(|_, wire| {
        wire.closed();
    });
    let proxy = Running::with(&[(HOST, &[origin.address])], impatient);
    let mut client = proxy.client();
    let start = Instant::now();
    assert_eq!(cause(&client.get(HOST, "/").0), (504, "timed_out"));
    assert!(start.elapsed() >= Duration::from_millis(300));
    eventually("the place is free", || proxy.in_flight() == 0);
}

#[test]
fn an_upload_that_moves_is_not_a_late_answer_but_one_that_stalls_is() {
    let origin = Origin::answering(|head, wire| {
        wire.body(head);
        wire.ok("whole");
    });
    let proxy = Running::with(&[(HOST, &[origin.address])], impatient);
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: app.localhost\r\nContent-Length: 800\r\n\r\n");
    for _ in 0..8 {
        std::thread::sleep(Duration::from_millis(100));
        client.send(&"x".repeat(100));
    }
    let head = client.head().unwrap();
    assert_eq!((head.status(), client.body(&head)), (200, b"whole".to_vec()));

    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: app.localhost\r\nContent-Length: 8\r\n\r\nxx");
    let head = client.head().unwrap();
    assert!(matches!(cause(&head), (408, "body_timed_out") | (504, "timed_out")), "{head:?}");
}

#[test]
fn a_stream_that_falls_silent_is_cut() {
    let origin = Origin::answering(|_, wire| {
        wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
        wire.closed();
    });
    let proxy = Running::with(&[(HOST, &[origin.address])], impatient);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: app.localhost\r\n\r\n");
    client.head().unwrap();
    assert_eq!(client.chunk(), b"first");
    assert!(client.closed());
    eventually("the place is free", || proxy.in_flight() == 0);
}

#[test]
fn a_service_without_an_instance_is_waited_for_and_then_refused() {
    let proxy = Running::with(&[(HOST, &[])], impatient);
    let start = Instant::now();
    let (head, _) = proxy.client().get(HOST, "/");
    assert_eq!(cause(&head), (503, "no_capacity"));
    assert!(head.get("retry-after").is_some());
    assert!(start.elapsed() >= Duration::from_millis(300));
}

/// On our own path and on hyper's, which a cookie for each client needs.
#[test]
fn an_instance_that_speaks_nonsense_gets_a_pause() {
    for affinity in [false, true] {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let bad = Origin::answering(move |_, wire| {
            count.fetch_add(1, Ordering::SeqCst);
            wire.send("NONSENSE\r\n\r\n");
        });
        let good = Origin::named("good");
        let policy = RoutePolicy { affinity, balance: Balance::Spread, ..RoutePolicy::default() };
        let world = Ruled::new(HOST, &[bad.address, good.address], policy, |_| {});
        let start = Instant::now();
        let heads: Vec<Head> = (0..40).map(|_| world.proxy.client().get(HOST, "/").0).collect();
        assert!(heads.iter().any(|head| cause(head) == (502, "bad_response")));
        // Five in a row, and then one each second to see.
        let most = 6 + start.elapsed().as_secs() as usize;
        assert!(asked.load(Ordering::SeqCst) <= most, "{affinity} {asked:?}");
    }
}
