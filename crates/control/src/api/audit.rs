//! The audit log: one line for each call that presents an access key, also for those that are refused.
//!
//! A line is made when its call is over, however it ended: answered, refused, broken off by the client. A task of its
//! own writes the lines, so that no call waits for them or fails by them. What a caller says of himself counts
//! once his signature is verified; until then the line has the id that he presented and nothing more, and such lines
//! are few, so that nobody without a key can push out what others did. What changed something has a share of the log
//! to itself, so that whoever asks all the time, or is refused all the time, does not push that out either.

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
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Lines of one write.
const BATCH_MAX: usize = 64;
/// Who speaks in lines that are about no single call.
const OURSELVES: &str = "apron";

/// Where calls leave their lines.
pub(super) struct Audit {
    calls: mpsc::Sender<Call>,
    clock: Arc<dyn Clock>,
    /// Bytes of bodies that may still wait.
    bodies: Arc<Semaphore>,
    /// Calls that found no place.
    missed: Arc<AtomicU64>,
}

/// Writes what calls left.
pub(super) struct Writer {
    calls: mpsc::Receiver<Call>,
    missed: Arc<AtomicU64>,
    logs: Logs,
}

/// Both ends of the queue.
pub(super) fn audit(logs: Logs, clock: Arc<dyn Clock>) -> (Audit, Writer) {
    let (sender, receiver) = mpsc::channel(limits::AUDIT_QUEUE_MAX);
    let missed = Arc::<AtomicU64>::default();
    let bodies = Arc::new(Semaphore::new(limits::AUDIT_QUEUE_BYTES_MAX));
    let audit = Audit { calls: sender, clock, bodies, missed: Arc::clone(&missed) };
    (audit, Writer { calls: receiver, missed, logs })
}

/// One call while it goes on; dropped, it is a line.
pub(super) struct Record<'a> {
    audit: &'a Audit,
    call: Call,
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
    status: Option<u16>,
    error: Option<Cow<'static, str>>,
    /// Room for the body in the queue. Without it the line lacks the parameters.
    room: Option<OwnedSemaphorePermit>,
}

struct Verified {
    key_name: String,
    region: String,
    body: Bytes,
}

impl Audit {
    /// Begins the record of a call.
    pub(super) fn record(&self, request_id: String, source: IpAddr) -> Record<'_> {
        // A listener for both kinds of addresses writes the old ones as new ones.
        Record {
            audit: self,
            call: Call { request_id, source: Some(source.to_canonical()), ..Call::default() },
        }
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
    pub(super) fn verified(&mut self, key_name: &str, region: &str, body: &Bytes) {
        let (key_name, region) = (key_name.to_owned(), region.to_owned());
        self.call.verified = Some(Verified { key_name, region, body: body.clone() });
    }

    /// The call has its answer; `error` is the code of a refusal.
    pub(super) fn answered(&mut self, status: u16, error: Option<Cow<'static, str>>) {
        (self.call.status, self.call.error) = (Some(status), error);
    }
}

impl Drop for Record<'_> {
    fn drop(&mut self) {
        let mut call = std::mem::take(&mut self.call);
        if call.key_id.is_none() {
            return;
        }
        call.at = self.audit.clock.wall();
        if let Some(verified) = &mut call.verified {
            let bytes = u32::try_from(verified.body.len()).unwrap_or(u32::MAX);
            call.room = Arc::clone(&self.audit.bodies).try_acquire_many_owned(bytes).ok();
            if call.room.is_none() {
                verified.body = Bytes::new();
            }
        }
        if self.audit.calls.try_send(call).is_err() {
            self.audit.missed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Writer {
    /// Writes until no call can come any more.
    pub(super) async fn run(mut self) {
        let mut strangers = Strangers::default();
        let mut calls = Vec::with_capacity(BATCH_MAX);
        let mut now = WallTime::default();
        while self.calls.recv_many(&mut calls, BATCH_MAX).await > 0 {
            let (mut changes, mut others) = (Vec::new(), Vec::new());
            crate::blocking(|| {
                for call in calls.drain(..) {
                    now = call.at;
                    others.extend(strangers.turn(now));
                    if call.verified.is_some() || strangers.admit() {
                        let lines = if has_changed(&call) { &mut changes } else { &mut others };
                        lines.extend(line(&call));
                    }
                }
                let missed = self.missed.swap(0, Ordering::Relaxed);
                if missed > 0 {
                    others.push(remark(now, format!("{missed} calls came too fast to be written down")));
                }
                self.append(Share::Changes, &changes);
                self.append(Share::Others, &others);
            });
        }
        if let Some(last) = strangers.end(now) {
            crate::blocking(|| self.append(Share::Others, &[last]));
        }
    }

    fn append(&self, share: Share, lines: &[Line]) {
        if let Err(error) = self.logs.append_lines(&Stream::Audit(share), lines) {
            let lines = lines.len();
            tracing::error!(error = crate::chain(&error), lines, "calls are not in the audit log");
        }
    }
}

/// Whether a call changed something, or may have: its caller may do that, and nothing says that he was refused.
fn has_changed(call: &Call) -> bool {
    let is_refused = call.status.is_some_and(|status| (400..500).contains(&status));
    call.verified.is_some() && !is_refused && call.target.is_some_and(|target| !target.only_reads())
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
    let shape = call.target.map(Target::input_shape).filter(|_| call.room.is_some());
    let parameters = verified.zip(shape).and_then(|(verified, shape)| shown(shape, &verified.body));
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

/// Lines about callers without a verified signature, by the minute.
#[derive(Default)]
struct Strangers {
    minute: u64,
    lines: u32,
    /// Those that got no line.
    further: u64,
}

impl Strangers {
    /// Begins a new minute if there is one; what is left to say of the one before.
    fn turn(&mut self, now: WallTime) -> Option<Line> {
        let minute = now.0 / 60_000;
        if minute == self.minute {
            return None;
        }
        let last = self.end(now);
        *self = Strangers { minute, ..Strangers::default() };
        last
    }

    /// Whether one more gets a line.
    fn admit(&mut self) -> bool {
        let admitted = self.lines < limits::AUDIT_STRANGERS_PER_MINUTE_MAX;
        match admitted {
            true => self.lines += 1,
            false => self.further += 1,
        }
        admitted
    }

    fn end(&self, now: WallTime) -> Option<Line> {
        let said = || {
            format!("{} further calls of unknown keys or with wrong signatures were refused", self.further)
        };
        (self.further > 0).then(|| remark(now, said()))
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
        let room = Arc::new(Semaphore::new(1)).try_acquire_owned().ok();
        Call {
            request_id: "r".into(),
            source: Some([127, 0, 0, 1].into()),
            key_id: Some("AKID".into()),
            target: Some(target),
            verified: Some(Verified {
                key_name: "ci".into(),
                region: "us-east-1".into(),
                body: body.to_string().into(),
            }),
            status: Some(200),
            room,
            ..Call::default()
        }
    }

    const TAG: Target = Target::AppRunner(apprunner::Operation::TagResource);

    #[tokio::test]
    async fn who_asks_all_the_time_does_not_push_out_what_changed() {
        let directory = Directory::new();
        let limits =
            Limits { segment_bytes_max: 2_000, segments_max: 1, deployments_max: 1, audit_segments_max: 2 };
        let logs = Logs::open(&directory.0.join("logs"), limits).unwrap();
        let (audit, writer) = audit(logs.clone(), Arc::new(ManualClock::new(Timestamp(1))));
        let called = |target, status: Option<u16>| {
            let mut record = audit.record("r".into(), [127, 0, 0, 1].into());
            record.claims(Some("AKID"), Some(target), None);
            record.verified("ci", "us-east-1", &Bytes::new());
            if let Some(status) = status {
                record.answered(status, None);
            }
        };
        // The last two may have changed something before they were broken off.
        for status in [Some(200), Some(500), None] {
            called(TAG, status);
        }
        for _ in 0..100 {
            called(Target::Apron(apron::Operation::GetLogs), Some(200));
            called(TAG, Some(400));
        }
        drop(audit);
        writer.run().await;
        let read = |share| logs.read(&Stream::Audit(share), Cursor::START, 1_000).unwrap();
        assert_eq!((read(Share::Changes).lines.len(), read(Share::Changes).dropped), (3, 0));
        let others = read(Share::Others);
        assert!(others.dropped > 100 && others.next == Cursor(200), "{others:?}");
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
        let crowded = Call { room: None, ..call(TAG, &body) };
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
    fn strangers_get_few_lines_and_the_rest_is_counted() {
        let mut strangers = Strangers::default();
        let max = limits::AUDIT_STRANGERS_PER_MINUTE_MAX;
        assert!(strangers.turn(WallTime(60_000)).is_none());
        let admitted = (0..max + 5).filter(|_| strangers.admit()).count();
        assert_eq!(admitted, max as usize);
        assert!(strangers.turn(WallTime(119_999)).is_none());
        let said = strangers.turn(WallTime(120_000)).unwrap().text;
        assert!(said.contains("5 further calls"), "{said}");
        assert!(strangers.admit() && strangers.turn(WallTime(180_000)).is_none());
    }
}
