use super::line::Call;
use super::*;
use crate::api::sockets::SOON;
use crate::api::tests::{Directory, platform};
use crate::api::{Bounds, serve_audited};
use crate::clock::ManualClock;
use apron_model::throttle::Rates;
use apron_model::time::Timestamp;
use apron_telemetry::{Cursor, Limits, Stream};
use apron_wire::{apprunner, apron};
use serde_json::{Value, json};
use std::path::Path;
use tokio::sync::watch;
use tokio::task::JoinSet;

const TAG: Target = Target::AppRunner(apprunner::Operation::TagResource);
const GET: Target = Target::Apron(apron::Operation::GetLogs);
const READ: Target = Target::Apron(apron::Operation::GetAuditLog);
const BODY: &[u8] = br#"{"ServiceArn": "a", "ResourceArn": "a", "Tags": []}"#;

fn logs(directory: &Directory, limits: Limits) -> (Logs, Audit, [Writer; 2]) {
    let logs = Logs::open(&directory.0.join("logs"), limits).unwrap();
    let (audit, writers) = audit(&logs, Arc::new(ManualClock::new(Timestamp(1))));
    (logs, audit, writers)
}

fn begun<'a>(audit: &'a Audit, target: Target, body: &[u8]) -> Record<'a> {
    let mut record = audit.record("r".into(), [127, 0, 0, 1].into());
    record.claims(Some("AKID"), Some(target), None);
    record.verified("ci", "us-east-1");
    record.sent(body);
    record
}

/// A change that may have happened.
async fn changed(audit: &Audit, body: &[u8]) {
    let mut record = begun(audit, TAG, body);
    record.begins_change(SOON).await.unwrap();
    record.answered(200, None).await;
}

/// Writes all that waits, and ends.
async fn finish(audit: Audit, writers: [Writer; 2]) {
    drop(audit);
    for writer in writers {
        writer.run().await;
    }
}

/// The lines of changes, and of all others.
fn shares(logs: &Logs) -> [Vec<Value>; 2] {
    [Share::Changes, Share::Others].map(|share| {
        let page = logs.read(&Stream::Audit(share), Cursor::START, 10_000).unwrap();
        page.lines.iter().map(|line| serde_json::from_str(&line.text).unwrap()).collect()
    })
}

#[tokio::test(start_paused = true)]
async fn who_asks_all_the_time_does_not_push_out_what_changed() {
    let directory = Directory::new();
    let few = Limits { segment_bytes_max: 2_000, segments_max: 1, deployments_max: 1, audit_segments_max: 2 };
    let (logs, audit, writers) = logs(&directory, few);
    // The last two may have changed something before they were broken off.
    for status in [Some(200), Some(500), None] {
        let mut record = begun(&audit, TAG, BODY);
        record.begins_change(SOON).await.unwrap();
        record.call.status = status;
    }
    // Before it began, or when it was refused, it changed nothing.
    drop(begun(&audit, TAG, BODY));
    for _ in 0..100 {
        begun(&audit, GET, BODY).answered(200, None).await;
        begun(&audit, TAG, BODY).answered(400, None).await;
    }
    finish(audit, writers).await;
    let read = |share| logs.read(&Stream::Audit(share), Cursor::START, 1_000).unwrap();
    assert_eq!((read(Share::Changes).lines.len(), read(Share::Changes).dropped), (3, 0));
    let others = read(Share::Others);
    assert!(others.dropped > 100 && others.next == Cursor(201), "{others:?}");
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_of_other_calls_costs_no_change_its_line() {
    let directory = Directory::new();
    let (logs, audit, writers) = logs(&directory, Limits::STANDARD);
    for _ in 0..limits::AUDIT_QUEUE_MAX + 9 {
        begun(&audit, GET, BODY).answered(200, None).await;
    }
    changed(&audit, BODY).await;
    finish(audit, writers).await;
    let [changes, others] = shares(&logs);
    assert_eq!((changes.len(), &changes[0]["parameters"]["ResourceArn"]), (1, &json!("a")));
    let said = "9 calls from 19700101T000000Z to 19700101T000000Z are not written down";
    let says = |line: &Value| line["message"].as_str().is_some_and(|message| message.starts_with(said));
    assert_eq!(others.iter().filter(|line| says(line)).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn large_bodies_cost_no_other_change_its_parameters() {
    let directory = Directory::new();
    let (logs, audit, writers) = logs(&directory, Limits::STANDARD);
    let large = json!({"ResourceArn": "x".repeat(limits::API_BODY_BYTES_MAX), "Tags": []}).to_string();
    for _ in 0..2 {
        changed(&audit, large.as_bytes()).await;
    }
    changed(&audit, BODY).await;
    finish(audit, writers).await;
    let [changes, _] = shares(&logs);
    let cut = changes[0]["parameters"].as_str().unwrap();
    assert!(cut.len() <= limits::AUDIT_PARAMETERS_BYTES_MAX && cut.starts_with(r#"{"ResourceArn":"xxx"#));
    assert_eq!(changes[2]["parameters"]["ResourceArn"], "a");
}

#[tokio::test(start_paused = true)]
async fn a_change_waits_for_its_place_before_it_begins() {
    let directory = Directory::new();
    let (_logs, audit, _writers) = logs(&directory, Limits::STANDARD);
    let mut held = Vec::new();
    for _ in 0..limits::AUDIT_QUEUE_MAX {
        let mut record = begun(&audit, TAG, b"{}");
        record.begins_change(SOON).await.unwrap();
        held.push(record);
    }
    let mut one_more = begun(&audit, TAG, b"{}");
    assert_eq!(one_more.begins_change(SOON).await.unwrap_err().status, 503);
    // One that is refused gives its place back.
    held.pop().unwrap().answered(400, None).await;
    one_more.begins_change(SOON).await.unwrap();
}

/// A log whose file is the device that is always full.
fn fill(logs: &Logs, share: Share, directory: &Path) -> std::path::PathBuf {
    let name = match share {
        Share::Changes => "logs/audit.log",
        Share::Others => "logs/audit-others.log",
    };
    // Read before it cannot be.
    logs.tail(&Stream::Audit(share), 0).unwrap();
    let file = directory.join(name).join(format!("{:020}.log", 0));
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink("/dev/full", &file).unwrap();
    file
}

#[tokio::test(start_paused = true)]
async fn lines_that_a_full_disk_refuses_are_kept_and_no_change_begins_meanwhile() {
    let directory = Directory::new();
    let (logs, audit, writers) = logs(&directory, Limits::STANDARD);
    let full = [Share::Changes, Share::Others].map(|share| fill(&logs, share, &directory.0));
    // Two had begun when the disk was found full.
    let mut late = begun(&audit, TAG, BODY);
    late.begins_change(SOON).await.unwrap();
    changed(&audit, BODY).await;
    begun(&audit, GET, BODY).answered(200, None).await;
    let mut running: JoinSet<()> = writers.into_iter().map(Writer::run).collect();
    tokio::time::sleep(SOON).await;
    let refused = begun(&audit, TAG, BODY).begins_change(SOON).await.unwrap_err();
    assert_eq!((refused.status, refused.code.as_ref()), (503, "ServiceUnavailable"));
    assert!(refused.message.contains("nothing was changed"), "{refused}");
    late.answered(200, None).await;
    for _ in 0..limits::AUDIT_QUEUE_MAX + 9 {
        begun(&audit, GET, BODY).answered(200, None).await;
    }
    assert_eq!(shares(&logs).map(|lines| lines.len()), [0, 0]);

    full.iter().for_each(|file| std::fs::remove_file(file).unwrap());
    tokio::time::sleep(SOON).await;
    changed(&audit, BODY).await;
    drop(audit);
    while let Some(ended) = running.join_next().await {
        ended.unwrap();
    }
    let [changes, others] = shares(&logs);
    assert_eq!(changes.len(), 3);
    // The first, and the one that was refused, stood before them.
    let told: Vec<_> = others.iter().filter_map(|line| line["message"].as_str()).collect();
    assert_eq!((others.len() - told.len(), told.len()), (limits::AUDIT_QUEUE_MAX + 1, 1), "{told:?}");
    assert!(told[0].starts_with("10 calls from "), "{told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_writer_nothing_is_served() {
    let directory = Directory::new();
    let platform = Arc::new(platform(&directory).await);
    let (audit, writers) = audit(&platform.logs, Arc::clone(&platform.clock));
    let mut running: JoinSet<()> = writers.into_iter().map(Writer::run).collect();
    running.spawn(async { std::panic::resume_unwind(Box::new("by its own fault")) });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (_end, shutdown) = watch::channel(false);
    let bounds = Bounds::standard(Rates::default());
    let served = serve_audited(listener, platform, bounds, shutdown, audit, running);
    let error = tokio::time::timeout(SOON, served).await.expect("it ends").unwrap_err().to_string();
    assert!(error.contains("audit log has ended") && error.contains("by its own fault"), "{error}");
}

#[tokio::test]
async fn no_change_begins_without_its_writer() {
    let directory = Directory::new();
    let (_logs, audit, writers) = logs(&directory, Limits::STANDARD);
    drop(writers);
    assert_eq!(begun(&audit, TAG, BODY).begins_change(SOON).await.unwrap_err().status, 503);
}

fn call(target: Target, body: &Value) -> Call {
    let mut call = Call {
        request_id: "r".into(),
        source: Some([127, 0, 0, 1].into()),
        key_id: Some("AKID".into()),
        target: Some(target),
        verified: Some(Verified { key_name: "ci".into(), region: "us-east-1".into() }),
        status: Some(200),
        ..Call::default()
    };
    call.read(body.to_string().as_bytes());
    call
}

fn written(call: &Call) -> Value {
    serde_json::from_str(&call.line().unwrap().text).unwrap()
}

#[test]
fn a_line_says_who_did_what() {
    let body = json!({"ResourceArn": "a", "Tags": []});
    assert_eq!(
        written(&call(TAG, &body)),
        json!({"requestId": "r", "keyId": "AKID", "keyName": "ci", "sourceAddress": "127.0.0.1",
            "region": "us-east-1", "service": "apprunner", "operation": "TagResource", "status": 200,
            "parameters": body})
    );
    let stranger = Call {
        verified: None,
        target: None,
        unknown_target: Some("X.Y".into()),
        status: Some(400),
        error: Some("UnknownOperationException".into()),
        ..call(TAG, &body)
    };
    assert_eq!(
        written(&stranger),
        json!({"requestId": "r", "keyId": "AKID", "sourceAddress": "127.0.0.1", "operation": "X.Y",
            "status": 400, "error": "UnknownOperationException"})
    );
}

#[test]
fn what_was_refused_or_is_long_and_changed_nothing_is_not_shown() {
    let padded = |bytes: usize| json!({"ServiceArn": "a", "Padding": " ".repeat(bytes)});
    for (target, status, bytes, is_shown) in [
        (GET, 200, 100, true),
        (GET, 400, 100, false),
        (GET, 503, 100, false),
        (GET, 200, limits::AUDIT_PARAMETERS_BYTES_MAX, false),
        (TAG, 200, limits::AUDIT_PARAMETERS_BYTES_MAX, true),
    ] {
        let line = written(&Call { status: Some(status), ..call(target, &padded(bytes)) });
        assert_eq!(line.get("parameters").is_some(), is_shown, "{status} {bytes}");
    }
}

#[test]
fn long_parameters_are_cut_and_fit_one_line() {
    let body = json!({"ResourceArn": "\"ü".repeat(10_000), "Tags": []});
    let line = call(TAG, &body).line().unwrap();
    assert!(line.text.len() < limits::LOG_LINE_BYTES_MAX, "{}", line.text.len());
    let value: Value = serde_json::from_str(&line.text).unwrap();
    let kept = value["parameters"].as_str().unwrap();
    assert!(kept.starts_with("{\"ResourceArn\":") && kept.len() > limits::AUDIT_PARAMETERS_BYTES_MAX - 4);
}

#[test]
fn pages_of_this_log_are_told_from_its_first() {
    use super::bounds::Bound;
    let (first, on) = (Bound::OfReading("ci".into()), Bound::OfReadingOn("ci".into()));
    assert_eq!(call(READ, &json!({})).bound(), first);
    assert_eq!(call(READ, &json!({"From": null, "MaxLines": 5})).bound(), first);
    // Also from a cursor before all lines, and where more was sent than anybody looks at.
    assert_eq!(call(READ, &json!({"From": "0.0"})).bound(), on);
    assert_eq!(call(READ, &json!({"Padding": "x".repeat(9_000)})).bound(), on);
    // Who was refused, or went away, has read nothing.
    for status in [Some(400), None] {
        assert_eq!(Call { status, ..call(READ, &json!({"From": "7"})) }.bound(), Bound::None);
    }
    assert_eq!(call(GET, &json!({"From": "7"})).bound(), Bound::None);
    assert_eq!(Call { verified: None, ..call(GET, &json!({})) }.bound(), Bound::OfStrangers);
    assert_eq!(
        Call { is_throttled: true, ..call(READ, &json!({})) }.bound(),
        Bound::OfThrottled("ci".into())
    );
}
