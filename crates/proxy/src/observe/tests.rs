use super::*;
use crate::access_log;
use crate::balance::Instances;
use crate::config::static_table;
use crate::route::{Host, Snapshot};
use apron_model::routes::RoutePolicy;
use serde_json::Value;
use std::path::PathBuf;

fn service(access_log: Wanted) -> Arc<Service> {
    let mut table = static_table(&["a.localhost=127.0.0.1:1".parse().unwrap()]);
    table.services[0].policy = RoutePolicy { access_log, ..RoutePolicy::default() };
    let snapshot = Snapshot::build(&table, &mut Instances::default());
    snapshot.find(&Host::parse(b"a.localhost").unwrap()).unwrap().clone()
}

/// One request of this service, from its begin to its end.
fn request(observer: &Observer, service: &Arc<Service>, path: &str, tell: impl FnOnce(&mut Seen)) {
    let mut seen = Seen::begin(observer.text("GET", path));
    observer.service(&mut seen, service);
    tell(&mut seen);
    observer.record(&mut seen, "192.0.2.7");
}

/// What `act` leaves in an access log.
fn logged(act: impl FnOnce(&Observer)) -> Vec<Value> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let name = format!("apron-observe-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    let path: PathBuf = std::env::temp_dir().join(name);
    let (log, writer) = access_log::start(&path, Arc::default()).unwrap();
    act(&Observer::new(0, Arc::new(Common::new(1)), Some(log)));
    writer.finish();
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let _ = std::fs::remove_file(&path);
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn what_loops_count_is_added_up() {
    let common = Arc::new(Common::new(20));
    let service = service(Wanted::Off);
    assert_eq!((service.counts.totals(), service.counts.answered()), (None, 0));
    for number in [0, 1, 19] {
        let observer = Observer::new(number, common.clone(), None);
        let mut seen = Seen::begin(observer.text("GET", "/"));
        observer.service(&mut seen, &service);
        observer.service(&mut seen, &service);
        observer.moves(&mut seen, Place::Instance);
        seen.status(200);
        (seen.received, seen.sent, seen.queued) = (5, 7, Some(Duration::from_micros(500)));
        tokio::time::advance(Duration::from_micros(1_500)).await;
        observer.record(&mut seen, "");
        let totals = service.counts.totals().unwrap();
        assert_eq!(totals.in_flight(), 0);
    }
    let totals = service.counts.totals().unwrap();
    assert_eq!((totals.begun, totals.classes, service.counts.answered()), (3, [0, 3, 0, 0, 0], 3));
    assert_eq!((totals.received, totals.sent), (15, 21));
    // A bound holds what is equal to it.
    assert_eq!((totals.queue.buckets[0], totals.queue.sum_us), (3, 1_500));
    assert_eq!((totals.time.buckets[2], totals.time.count()), (3, 3));
    assert!(totals.causes.iter().all(|count| *count == 0));
    assert_eq!(common.unrouted.totals(), None);
}

#[tokio::test(start_paused = true)]
async fn a_request_is_counted_by_what_became_of_it() {
    let service = service(Wanted::Off);
    let observer = Observer::new(0, Arc::new(Common::new(1)), None);
    let count = |cause: Cause| service.counts.totals().unwrap().causes[cause as usize];
    // Nobody answered: the client went.
    request(&observer, &service, "/", |_| {});
    assert_eq!(count(Cause::ClientGone), 1);
    request(&observer, &service, "/", |seen| seen.cause = Some(Cause::TimedOut));
    request(&observer, &service, "/", |seen| {
        seen.status(200);
        seen.cause = Some(Cause::ResponseCut);
    });
    assert_eq!((count(Cause::TimedOut), count(Cause::ResponseCut)), (1, 1));
    assert_eq!(service.counts.totals().unwrap().classes, [0, 1, 0, 1, 1]);
    // What an instance may write as a status.
    request(&observer, &service, "/", |seen| seen.status(999));
    assert_eq!(service.counts.totals().unwrap().classes, [0, 1, 0, 1, 2]);
    let mut open = Seen::begin(None);
    observer.service(&mut open, &service);
    assert_eq!(service.counts.totals().unwrap().in_flight(), 1);
    // A tunnel's life is not an answer's time.
    let before = service.counts.totals().unwrap().time.sum_us;
    tokio::time::advance(Duration::from_millis(3)).await;
    open.status(101);
    tokio::time::advance(Duration::from_secs(3_600)).await;
    observer.record(&mut open, "");
    assert_eq!(service.counts.totals().unwrap().time.sum_us - before, 3_000);

    let mut unrouted = Seen::begin(None);
    unrouted.cause = Some(Cause::NoRoute);
    observer.record(&mut unrouted, "");
    let unrouted = observer.common.unrouted.totals().unwrap();
    assert_eq!((unrouted.causes[Cause::NoRoute as usize], unrouted.classes), (1, [0, 0, 0, 1, 0]));
}

/// What the proxy answers by itself is counted for those who read metrics, and is no load.
#[test]
fn only_what_was_let_in_is_load() {
    let service = service(Wanted::Off);
    let common = Arc::new(Common::new(2));
    let observer = Observer::new(1, common.clone(), None);
    let seen = || {
        let counts = &service.counts;
        ([counts.arrived(), counts.answered(), counts.gave_up()], common.steps())
    };
    let ends = |places: &[Place]| {
        request(&observer, &service, "/", |seen| {
            seen.status(308);
            places.iter().for_each(|place| observer.moves(seen, *place));
        });
        seen()
    };
    assert_eq!(ends(&[]), ([0, 0, 0], 0), "nobody was asked");
    assert_eq!(ends(&[Place::Instance]), ([1, 1, 0], 2));
    assert_eq!(ends(&[Place::Line]), ([2, 1, 1], 4));
    assert_eq!(ends(&[Place::Line, Place::Instance]), ([3, 2, 1], 6));
    assert_eq!(ends(&[Place::Instance, Place::Line, Place::Instance]), ([4, 3, 1], 8), "it was sent on");
    assert_eq!(ends(&[Place::Instance, Place::Line, Place::Nowhere]), ([5, 3, 2], 10), "it has its end once");
    assert_eq!(service.counts.totals().unwrap().begun, 6);

    let mut failed = Seen::begin(None);
    observer.service(&mut failed, &service);
    observer.moves(&mut failed, Place::Instance);
    assert_eq!(seen().0, [6, 3, 2], "it is under way");
    failed.cause = Some(Cause::ClosedBeforeResponse);
    observer.record(&mut failed, "");
    assert_eq!(seen().0, [6, 4, 2], "its place is free");
}

#[test]
fn buckets_end_at_their_bounds() {
    let histogram = Histogram::default();
    for us in [0, 500, 501, 120_000_000, 120_000_001, u64::MAX / 4] {
        histogram.add(Duration::from_micros(us));
    }
    let mut times = Times::default();
    times.add(&histogram);
    let mut expect = [0; BUCKETS];
    (expect[0], expect[1], expect[16], expect[17]) = (2, 1, 1, 2);
    assert_eq!(times.buckets, expect);
    assert!(BOUNDS_US.is_sorted());
}

#[test]
fn a_line_says_what_is_known() {
    let service = service(Wanted::On);
    let lines = logged(|observer| {
        request(observer, &service, "/a?token=secret", |seen| {
            if let Some(text) = &mut seen.text {
                text.request_id(b"first");
                text.request_id(b"abc");
            }
            seen.status(502);
            seen.cause = Some(Cause::ConnectFailed);
            seen.instance = Some(service.instances[0].clone());
            (seen.received, seen.queued) = (9, Some(Duration::from_micros(1_250)));
        });
        request(observer, &service, &"/é".repeat(PATH_BYTES_MAX), |seen| seen.status(200));
    });
    assert_eq!(lines.len(), 2);
    let get = |name: &str| &lines[0][name];
    assert_eq!((get("method"), get("path"), get("request_id")), (&"GET".into(), &"/a".into(), &"abc".into()));
    assert_eq!((get("status"), get("cause")), (&502.into(), &"connect_failed".into()));
    assert_eq!((get("service"), get("revision")), (&"a.localhost".into(), &1.into()));
    assert_eq!(get("instance").as_str(), Some(service.instances[0].id.as_str()));
    assert_eq!((get("received"), get("queued_ms")), (&9.into(), &1.25.into()));
    assert_eq!(get("client"), "192.0.2.7");
    assert!(get("connect_ms").is_null() && get("first_byte_ms").is_null());
    let path = lines[1]["path"].as_str().unwrap();
    assert!(path.len() <= PATH_BYTES_MAX && path.len() > PATH_BYTES_MAX - 3, "{}", path.len());
    assert!(lines[1].get("request_id").is_none());
}

#[test]
fn only_what_was_asked_for_is_logged() {
    let (off, sampled) = (service(Wanted::Off), service(Wanted::Sampled));
    let lines = logged(|observer| {
        for _ in 0..20 {
            request(observer, &off, "/off", |seen| seen.cause = Some(Cause::TimedOut));
            request(observer, &sampled, "/failed", |seen| seen.cause = Some(Cause::TimedOut));
            request(observer, &sampled, "/500", |seen| seen.status(500));
        }
        // Its text serves one request after the other.
        assert_eq!(observer.texts.borrow().len(), 1);
    });
    let of = |path: &str| lines.iter().filter(|line| line["path"] == path).count();
    assert_eq!((of("/off"), of("/failed"), of("/500"), lines.len()), (0, 20, 20, 40));
    let observer = Observer::new(3, Arc::new(Common::new(4)), None);
    let mut good = Seen::begin(None);
    good.status(200);
    let chosen = (0..100_000).filter(|_| observer.wants_line(Wanted::Sampled, &good)).count();
    assert!((900..1_100).contains(&chosen), "{chosen}");
}
