//! The audit log: one line for each call that presents an access key, also for those that are refused.
//!
//! A line is made when its call is over, however it ended: answered, refused, broken off by the client. A task of its
//! own writes the lines. What changed something has a share of the log to itself, a queue and the writer's first turn, so
//! that whoever asks all the time, or is refused all the time, pushes nothing of it out: a change takes its place in the
//! queue before it acts, and its line is handed to the system before its answer leaves. No other call waits for its
//! line, and none fails by it. What a caller says of himself counts once his signature is verified; until then the line has
//! the id that he presented and nothing more, and such lines are few. So are those of a key that calls too often.

use crate::clock::Clock;
use apron_model::limits;
use apron_model::time::WallTime;
use apron_telemetry::{Line, Logs, Share, Stream};
use apron_wire::apron::Operation;
use apron_wire::shape::Shape;
use apron_wire::{Target, parameters};
use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

/// Lines of one write.
const BATCH_MAX: usize = 64;
/// What is read of a call that changed nothing is no more than is kept of it.
const OTHER_BODY_BYTES_MAX: usize = limits::AUDIT_PARAMETERS_BYTES_MAX;
/// Who speaks in lines that are about no single call.
const OURSELVES: &str = "apron";

/// A change's answer waits this long at most for its line, which takes well under a millisecond.
const WRITTEN_MS_MAX: u64 = 100;

/// Where calls leave their lines.
pub(super) struct Audit {
    changes: mpsc::Sender<Call>,
    others: mpsc::Sender<Call>,
    clock: Arc<dyn Clock>,
    /// Bytes of bodies of changes that may still wait.
    bodies: Arc<Semaphore>,
    /// Calls that found no place among the others.
    missed: Arc<AtomicU64>,
}

/// Writes what calls left.
pub(super) struct Writer {
    changes: mpsc::Receiver<Call>,
    others: mpsc::Receiver<Call>,
    missed: Arc<AtomicU64>,
    logs: Logs,
}

/// Both ends of the queues.
pub(super) fn audit(logs: Logs, clock: Arc<dyn Clock>) -> (Audit, Writer) {
    let (to_changes, changes) = mpsc::channel(limits::AUDIT_QUEUE_MAX);
    let (to_others, others) = mpsc::channel(limits::AUDIT_QUEUE_MAX);
    let missed = Arc::<AtomicU64>::default();
    let bodies = Arc::new(Semaphore::new(limits::AUDIT_QUEUE_BYTES_MAX));
    let audit = Audit { changes: to_changes, others: to_others, clock, bodies, missed: Arc::clone(&missed) };
    (audit, Writer { changes, others, missed, logs })
}

/// One call while it goes on; dropped, it is a line.
pub(super) struct Record<'a> {
    audit: &'a Audit,
    call: Call,
    /// Of a call that may change something, from before it acts.
    place: Option<mpsc::OwnedPermit<Call>>,
}

/// What is known of a call.
#[derive(Default)]
struct Call {
    /// When it was over.
    at: WallTime,
    request_id: String,
    source: Option<IpAddr>,
    /// As it was presented.
    key_id: Option<String>,
    target: Option<Target>,
    /// What a header named and nobody knows.
    unknown_target: Option<String>,
    /// Once the signature is verified.
    verified: Option<Verified>,
    /// It was one too many of its key.
    is_throttled: bool,
    status: Option<u16>,
    error: Option<Cow<'static, str>>,
    /// Without it the line lacks the parameters.
    body: Option<Bytes>,
    /// Room for the body in the queue of changes.
    room: Option<OwnedSemaphorePermit>,
    /// Closed once the line is written.
    written: Option<oneshot::Sender<Infallible>>,
}

struct Verified {
    key_name: String,
    region: String,
}

impl Audit {
    /// Begins the record of a call.
    pub(super) fn record(&self, request_id: String, source: IpAddr) -> Record<'_> {
        // A listener for both kinds of addresses writes the old ones as new ones.
        let call = Call { request_id, source: Some(source.to_canonical()), ..Call::default() };
        Record { audit: self, call, place: None }
    }
}

impl Record<'_> {
    /// What the request claims: a key, and an operation, which may be none of ours.
    pub(super) fn claims(&mut self, key_id: Option<&str>, target: Option<Target>, named: Option<&str>) {
        let cut = |text: &str| text.chars().take(limits::AUDIT_CLAIM_CHARS_MAX).collect::<String>();
        self.call.key_id = key_id.map(cut);
        self.call.target = target;
        self.call.unknown_target = named.filter(|_| target.is_none()).map(cut);
    }

    /// The signature is that of this key.
    pub(super) fn verified(&mut self, key_name: &str, region: &str) {
        self.call.verified = Some(Verified { key_name: key_name.to_owned(), region: region.to_owned() });
    }

    /// The key calls too often.
    pub(super) fn throttled(&mut self) {
        self.call.is_throttled = true;
    }

    /// What came with a call that is admitted.
    pub(super) fn sent(&mut self, body: &Bytes) {
        self.call.body = Some(body.clone());
    }

    /// The call may change something from now on. False when there is no place for its line within a time.
    pub(super) async fn begins_change(&mut self, within: Duration) -> bool {
        let place = tokio::time::timeout(within, self.audit.changes.clone().reserve_owned()).await;
        self.place = place.ok().and_then(Result::ok);
        self.place.is_some()
    }

    /// The call has its answer; `error` is the code of a refusal. Waits, within bounds, for a change's line.
    pub(super) async fn answered(mut self, status: u16, error: Option<Cow<'static, str>>) {
        (self.call.status, self.call.error) = (Some(status), error);
        let (written, line) = oneshot::channel();
        let has_changed = self.has_changed();
        self.call.written = Some(written);
        drop(self);
        if has_changed {
            let _ = tokio::time::timeout(Duration::from_millis(WRITTEN_MS_MAX), line).await;
        }
    }

    /// Whether it changed something, or may have: nothing says that it was refused.
    fn has_changed(&self) -> bool {
        self.place.is_some() && !self.call.is_refused()
    }
}

impl Drop for Record<'_> {
    fn drop(&mut self) {
        let place = self.place.take().filter(|_| !self.call.is_refused());
        let mut call = std::mem::take(&mut self.call);
        if call.key_id.is_none() {
            return;
        }
        call.at = self.audit.clock.wall();
        let Some(place) = place else {
            // Whoever is refused gives us nothing to read, and who only looks has little to say.
            let is_refused = call.is_refused();
            call.body = call.body.filter(|body| !is_refused && body.len() <= OTHER_BODY_BYTES_MAX);
            if self.audit.others.try_send(call).is_err() {
                self.audit.missed.fetch_add(1, Ordering::Relaxed);
            }
            return;
        };
        let bytes = call.body.as_ref().map_or(0, Bytes::len);
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        call.room = Arc::clone(&self.audit.bodies).try_acquire_many_owned(bytes).ok();
        if call.room.is_none() {
            call.body = None;
        }
        place.send(call);
    }
}

impl Call {
    fn is_refused(&self) -> bool {
        self.status.is_some_and(|status| (400..500).contains(&status) || status == 503)
    }
}

impl Writer {
    /// Writes until no call can come any more.
    pub(super) async fn run(mut self) {
        let mut quieted = Quieted::default();
        let [mut changes, mut others] = [(); 2].map(|()| Vec::with_capacity(BATCH_MAX));
        let mut now = WallTime::default();
        loop {
            // A change has at most one batch before it, of calls that have little to read.
            let (share, calls) = tokio::select! {
                biased;
                1.. = self.changes.recv_many(&mut changes, BATCH_MAX) => (Share::Changes, &mut changes),
                1.. = self.others.recv_many(&mut others, BATCH_MAX) => (Share::Others, &mut others),
                else => break,
            };
            crate::blocking(|| {
                let mut lines = Vec::new();
                for call in &*calls {
                    now = call.at;
                    if share == Share::Others {
                        lines.extend(quieted.turn(now));
                    }
                    if share == Share::Changes || quieted.admit(call) {
                        lines.extend(line(call));
                    }
                }
                let missed = self.missed.swap(0, Ordering::Relaxed);
                if missed > 0 {
                    let said = remark(now, format!("{missed} calls came too fast to be written down"));
                    self.append(Share::Others, &[said]);
                }
                self.append(share, &lines);
                calls.clear();
            });
        }
        crate::blocking(|| self.append(Share::Others, &quieted.end(now)));
    }

    fn append(&self, share: Share, lines: &[Line]) {
        if lines.is_empty() {
            return;
        }
        if let Err(error) = self.logs.append_lines(&Stream::Audit(share), lines) {
            let lines = lines.len();
            tracing::error!(error = crate::chain(&error), lines, "calls are not in the audit log");
        }
    }
}

/// A call's line as it is kept; members that nothing is known of are absent.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    request_id: &'a str,
    key_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_address: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    operation: Option<&'a str>,
    /// Absent when the caller went away before the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<Value>,
}

/// The line of a call; none for who follows the log, or he would follow himself without an end.
fn line(call: &Call) -> Option<Line> {
    let key_id = call.key_id.as_deref()?;
    let verified = call.verified.as_ref();
    let shape = call.target.map(Target::input_shape);
    let parameters = call.body.as_ref().zip(shape).and_then(|(body, shape)| shown(shape, body));
    let follows = call.target == Some(Target::Apron(Operation::GetAuditLog)) && call.status == Some(200);
    if follows && parameters.as_ref().is_some_and(|parameters| parameters.get("From").is_some()) {
        return None;
    }
    let written = Written {
        request_id: &call.request_id,
        key_id,
        key_name: verified.map(|verified| verified.key_name.as_str()),
        source_address: call.source,
        region: verified.map(|verified| verified.region.as_str()),
        service: call.target.map(Target::signing_name),
        operation: call.target.map(Target::operation_name).or(call.unknown_target.as_deref()),
        status: call.status,
        error: call.error.as_deref(),
        parameters,
    };
    // Texts, numbers and JSON always have a JSON form.
    let text = serde_json::to_string(&written).unwrap_or_default();
    Some(Line { at: call.at, source: key_id.to_owned(), text })
}

/// The parameters without what is sensitive; too long ones as the beginning of their text.
fn shown(shape: &Shape, body: &[u8]) -> Option<Value> {
    let value = parameters::shown(shape, body)?;
    let text = value.to_string();
    match text.len() > limits::AUDIT_PARAMETERS_BYTES_MAX {
        true => Some(text[..text.floor_char_boundary(limits::AUDIT_PARAMETERS_BYTES_MAX)].into()),
        false => Some(value),
    }
}

fn remark(at: WallTime, message: String) -> Line {
    #[derive(Serialize)]
    struct Remark {
        message: String,
    }
    let text = serde_json::to_string(&Remark { message }).unwrap_or_default();
    Line { at, source: OURSELVES.to_owned(), text }
}

/// Of whom few lines are written, by the minute: callers without a verified signature, and keys that call too often.
#[derive(Default)]
struct Quieted {
    minute: u64,
    strangers: u32,
    /// Of those, they that got no line.
    further: u64,
    /// By the key's name: how many calls of it were throttled. There are `limits::ACCESS_KEYS_MAX` keys at a time.
    throttled: BTreeMap<String, u64>,
}

impl Quieted {
    /// Begins a new minute if there is one; what is left to say of the one before.
    fn turn(&mut self, now: WallTime) -> Vec<Line> {
        let minute = now.0 / 60_000;
        if minute == self.minute {
            return Vec::new();
        }
        let last = self.end(now);
        *self = Quieted { minute, ..Quieted::default() };
        last
    }

    /// Whether this call gets a line.
    fn admit(&mut self, call: &Call) -> bool {
        match &call.verified {
            Some(_) if !call.is_throttled => true,
            Some(verified) => {
                let count = self.throttled.entry(verified.key_name.clone()).or_default();
                *count += 1;
                *count == 1
            }
            None if self.strangers < limits::AUDIT_STRANGERS_PER_MINUTE_MAX => {
                self.strangers += 1;
                true
            }
            None => {
                self.further += 1;
                false
            }
        }
    }

    fn end(&self, now: WallTime) -> Vec<Line> {
        let keys = self.throttled.iter().filter(|(_, count)| **count > 1);
        let mut lines: Vec<_> = keys
            .map(|(name, count)| {
                remark(now, format!("{} further calls of the key {name} were throttled", count - 1))
            })
            .collect();
        let further = self.further;
        if further > 0 {
            let said =
                format!("{further} further calls of unknown keys or with wrong signatures were refused");
            lines.push(remark(now, said));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::tests::Directory;
    use crate::clock::ManualClock;
    use apron_model::time::Timestamp;
    use apron_telemetry::{Cursor, Limits};
    use apron_wire::{apprunner, apron};
    use serde_json::json;

    fn written(call: &Call) -> Value {
        serde_json::from_str(&line(call).unwrap().text).unwrap()
    }

    fn call(target: Target, body: &Value) -> Call {
        Call {
            request_id: "r".into(),
            source: Some([127, 0, 0, 1].into()),
            key_id: Some("AKID".into()),
            target: Some(target),
            verified: Some(Verified { key_name: "ci".into(), region: "us-east-1".into() }),
            status: Some(200),
            body: Some(body.to_string().into()),
            ..Call::default()
        }
    }

    const TAG: Target = Target::AppRunner(apprunner::Operation::TagResource);
    const GET: Target = Target::Apron(apron::Operation::GetLogs);
    const SOON: Duration = Duration::from_secs(5);

    fn begun(audit: &Audit, target: Target) -> Record<'_> {
        let mut record = audit.record("r".into(), [127, 0, 0, 1].into());
        record.claims(Some("AKID"), Some(target), None);
        record.verified("ci", "us-east-1");
        record.sent(&Bytes::from_static(br#"{"ServiceArn": "a", "ResourceArn": "a", "Tags": []}"#));
        record
    }

    fn shares(logs: &Logs) -> [Vec<Value>; 2] {
        [Share::Changes, Share::Others].map(|share| {
            let page = logs.read(&Stream::Audit(share), Cursor::START, 10_000).unwrap();
            page.lines.iter().map(|line| serde_json::from_str(&line.text).unwrap()).collect()
        })
    }

    #[tokio::test]
    async fn who_asks_all_the_time_does_not_push_out_what_changed() {
        let directory = Directory::new();
        let limits =
            Limits { segment_bytes_max: 2_000, segments_max: 1, deployments_max: 1, audit_segments_max: 2 };
        let logs = Logs::open(&directory.0.join("logs"), limits).unwrap();
        let (audit, writer) = audit(logs.clone(), Arc::new(ManualClock::new(Timestamp(1))));
        // The last two may have changed something before they were broken off.
        for status in [Some(200), Some(500), None] {
            let mut record = begun(&audit, TAG);
            assert!(record.begins_change(SOON).await);
            record.call.status = status;
        }
        // Before it began, or when it was refused, it changed nothing.
        drop(begun(&audit, TAG));
        for _ in 0..100 {
            begun(&audit, GET).answered(200, None).await;
            begun(&audit, TAG).answered(400, None).await;
        }
        drop(audit);
        writer.run().await;
        let read = |share| logs.read(&Stream::Audit(share), Cursor::START, 1_000).unwrap();
        assert_eq!((read(Share::Changes).lines.len(), read(Share::Changes).dropped), (3, 0));
        let others = read(Share::Others);
        assert!(others.dropped > 100 && others.next == Cursor(201), "{others:?}");
    }

    #[tokio::test]
    async fn a_full_queue_of_other_calls_costs_no_change_its_line() {
        let directory = Directory::new();
        let logs = Logs::open(&directory.0.join("logs"), Limits::STANDARD).unwrap();
        let (audit, writer) = audit(logs.clone(), Arc::new(ManualClock::new(Timestamp(1))));
        for _ in 0..limits::AUDIT_QUEUE_MAX + 9 {
            begun(&audit, GET).answered(200, None).await;
        }
        let mut change = begun(&audit, TAG);
        assert!(change.begins_change(SOON).await);
        // The writer begins when it waits.
        let mut running = None;
        tokio::join!(change.answered(200, None), async { running = Some(tokio::spawn(writer.run())) });
        let [changes, _] = shares(&logs);
        assert_eq!((changes.len(), changes[0]["parameters"]["ResourceArn"].as_str()), (1, Some("a")));
        drop(audit);
        running.expect("the writer runs").await.unwrap();
        let said = |call: &Value| call["message"].as_str().is_some_and(|said| said.starts_with("9 calls"));
        assert!(shares(&logs)[1].iter().any(said));
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_waits_for_its_place_before_it_begins() {
        let directory = Directory::new();
        let logs = Logs::open(&directory.0.join("logs"), Limits::STANDARD).unwrap();
        let (audit, _writer) = audit(logs, Arc::new(ManualClock::new(Timestamp(1))));
        let mut held = Vec::new();
        for _ in 0..limits::AUDIT_QUEUE_MAX {
            let mut record = begun(&audit, TAG);
            assert!(record.begins_change(SOON).await);
            held.push(record);
        }
        let mut one_more = begun(&audit, TAG);
        assert!(!one_more.begins_change(SOON).await);
        // One that is refused gives its place back.
        held.pop().unwrap().answered(400, None).await;
        assert!(one_more.begins_change(SOON).await);
    }

    #[test]
    fn what_was_refused_or_is_long_and_changed_nothing_is_not_read() {
        let directory = Directory::new();
        let logs = Logs::open(&directory.0.join("logs"), Limits::STANDARD).unwrap();
        let (audit, mut writer) = audit(logs, Arc::new(ManualClock::new(Timestamp(1))));
        for (status, bytes, is_read) in
            [(200, 100, true), (400, 100, false), (503, 100, false), (200, OTHER_BODY_BYTES_MAX + 1, false)]
        {
            let mut record = begun(&audit, GET);
            record.sent(&Bytes::from(vec![b' '; bytes]));
            record.call.status = Some(status);
            drop(record);
            assert_eq!(writer.others.try_recv().unwrap().body.is_some(), is_read, "{status} {bytes}");
        }
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
            body: None,
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
        let crowded = Call { body: None, ..call(TAG, &body) };
        assert_eq!(written(&crowded).get("parameters"), None);
    }

    #[test]
    fn long_parameters_are_cut_and_fit_one_line() {
        let body = json!({"ResourceArn": "\"ü".repeat(10_000), "Tags": []});
        let line = line(&call(TAG, &body)).unwrap();
        assert!(line.text.len() < limits::LOG_LINE_BYTES_MAX, "{}", line.text.len());
        let value: Value = serde_json::from_str(&line.text).unwrap();
        let kept = value["parameters"].as_str().unwrap();
        assert!(kept.starts_with("{\"ResourceArn\":") && kept.len() > limits::AUDIT_PARAMETERS_BYTES_MAX - 4);
    }

    #[test]
    fn who_follows_the_log_does_not_follow_himself() {
        let get = Target::Apron(apron::Operation::GetAuditLog);
        assert!(line(&call(get, &json!({}))).is_some());
        assert!(line(&call(get, &json!({"From": "7"}))).is_none());
        let refused = Call { status: Some(400), ..call(get, &json!({"From": "7"})) };
        assert!(line(&refused).is_some());
    }

    #[test]
    fn strangers_and_throttled_keys_get_few_lines_and_the_rest_is_counted() {
        let mut quieted = Quieted::default();
        let max = limits::AUDIT_STRANGERS_PER_MINUTE_MAX;
        let stranger = Call { verified: None, ..call(GET, &json!({})) };
        let throttled = Call { is_throttled: true, ..call(GET, &json!({})) };
        assert!(quieted.turn(WallTime(60_000)).is_empty());
        assert_eq!((0..max + 5).filter(|_| quieted.admit(&stranger)).count(), max as usize);
        assert_eq!((0..8).filter(|_| quieted.admit(&throttled)).count(), 1);
        assert!((0..50).all(|_| quieted.admit(&call(GET, &json!({})))));
        assert!(quieted.turn(WallTime(119_999)).is_empty());
        let said: Vec<_> = quieted.turn(WallTime(120_000)).into_iter().map(|line| line.text).collect();
        assert!(said[0].contains("7 further calls of the key ci were throttled"), "{said:?}");
        assert!(said[1].contains("5 further calls of unknown keys"), "{said:?}");
        assert!(quieted.admit(&stranger) && quieted.admit(&throttled));
        assert!(quieted.turn(WallTime(180_000)).is_empty());
    }
}
