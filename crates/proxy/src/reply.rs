//! What a failed request looks like: the one place where a cause becomes a status and a text.
//!
//! Codes are stable; they stand in `X-Apron-Cause`, in the access log and in the metrics, and scripts may depend on
//! them. `docs/causes.md` lists them. Browsers get a small page, gRPC clients a status of theirs, everything else JSON.

use crate::body::ResponseBody;
use crate::wall::{self, HttpDate};
use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderName, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use std::io::Write;

const X_APRON_CAUSE: HeaderName = HeaderName::from_static("x-apron-cause");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// Seconds in Retry-After: an instance starts within that time or is reported as failed.
const RETRY_AFTER_S: u16 = 5;
/// Whoever asks too often has room again after a second.
const RETRY_RATE_AFTER_S: u16 = 1;

/// Why a request got no answer from an instance, or not all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    BadRequest,
    UriTooLong,
    HeadTooLarge,
    BodyTooLarge,
    /// The client stopped sending its body.
    BodyTimedOut,
    NotSupported,
    HttpsRequired,
    AddressRefused,
    RateLimited,
    NoRoute,
    /// No route table came yet: not even the saved one.
    NoTable,
    Paused,
    NotDeployed,
    /// There is no instance, and none came in time.
    NoCapacity,
    /// All instances were asleep, and the start of one failed.
    NotWoken,
    /// All instances were asleep, and the one that was started did not serve for as long as the request could wait.
    WakeTimedOut,
    QueueFull,
    /// All instances were busy for as long as the request could wait.
    QueueTimedOut,
    /// This proxy has as many requests under way as it may.
    Overloaded,
    ConnectFailed,
    ClosedBeforeResponse,
    /// The instance answered something that is not HTTP.
    BadResponse,
    TimedOut,
    /// The service's limit is for the whole request, and the answer had not ended.
    TotalTimedOut,
    /// The client went before the answer's end. The head may have been sent; where it was not, nobody sees the status.
    ClientGone,
    /// The instance broke off its answer, of which the head was sent.
    ResponseCut,
    /// An upgraded connection or a stream in which nobody said anything.
    StreamIdle,
    /// The proxy ended first: what was under way had more time than it has to drain.
    Drained,
}

/// What a cause becomes.
struct Facts {
    code: &'static str,
    status: u16,
    /// By the list of status codes of gRPC.
    grpc: u8,
    /// Whether the same request may succeed in so many seconds.
    retry_after_s: Option<u16>,
    /// A sentence for people. None of its characters is escaped by JSON, HTML or gRPC; a test sees to that.
    message: &'static str,
}

const fn facts(
    code: &'static str,
    status: u16,
    grpc: u8,
    retry_after_s: Option<u16>,
    message: &'static str,
) -> Facts {
    Facts { code, status, grpc, retry_after_s, message }
}

const CANCELLED: u8 = 1;
const DEADLINE_EXCEEDED: u8 = 4;
const PERMISSION_DENIED: u8 = 7;
const RESOURCE_EXHAUSTED: u8 = 8;
const UNIMPLEMENTED: u8 = 12;
const INTERNAL: u8 = 13;
const UNAVAILABLE: u8 = 14;

impl Cause {
    pub(crate) const ALL: [Cause; 28] = [
        Cause::BadRequest,
        Cause::UriTooLong,
        Cause::HeadTooLarge,
        Cause::BodyTooLarge,
        Cause::BodyTimedOut,
        Cause::NotSupported,
        Cause::HttpsRequired,
        Cause::AddressRefused,
        Cause::RateLimited,
        Cause::NoRoute,
        Cause::NoTable,
        Cause::Paused,
        Cause::NotDeployed,
        Cause::NoCapacity,
        Cause::NotWoken,
        Cause::WakeTimedOut,
        Cause::QueueFull,
        Cause::QueueTimedOut,
        Cause::Overloaded,
        Cause::ConnectFailed,
        Cause::ClosedBeforeResponse,
        Cause::BadResponse,
        Cause::TimedOut,
        Cause::TotalTimedOut,
        Cause::ClientGone,
        Cause::ResponseCut,
        Cause::StreamIdle,
        Cause::Drained,
    ];

    fn facts(self) -> Facts {
        let later = Some(RETRY_AFTER_S);
        match self {
            Cause::BadRequest => facts(
                "bad_request",
                400,
                INTERNAL,
                None,
                "The request cannot be understood: it needs one valid Host, one clear end of its body, and nothing that HTTP does not allow.",
            ),
            Cause::UriTooLong => facts("uri_too_long", 414, INTERNAL, None, "The address is too long."),
            Cause::HeadTooLarge => facts(
                "head_too_large",
                431,
                RESOURCE_EXHAUSTED,
                None,
                "The headers of the request are too many or too large.",
            ),
            Cause::BodyTooLarge => facts(
                "body_too_large",
                413,
                RESOURCE_EXHAUSTED,
                None,
                "The request is larger than this service takes.",
            ),
            Cause::BodyTimedOut => facts(
                "body_timed_out",
                408,
                DEADLINE_EXCEEDED,
                None,
                "The rest of the body of the request did not come in time.",
            ),
            Cause::NotSupported => facts(
                "not_supported",
                501,
                UNIMPLEMENTED,
                None,
                "The request needs something of HTTP that is not offered here.",
            ),
            Cause::HttpsRequired => {
                facts("https_required", 403, PERMISSION_DENIED, None, "This service answers over HTTPS only.")
            }
            Cause::AddressRefused => facts(
                "address_refused",
                403,
                PERMISSION_DENIED,
                None,
                "This service does not answer clients with this address.",
            ),
            Cause::RateLimited => facts(
                "rate_limited",
                429,
                RESOURCE_EXHAUSTED,
                Some(RETRY_RATE_AFTER_S),
                "This client asks more often than the service allows.",
            ),
            Cause::NoRoute => facts("no_route", 404, UNIMPLEMENTED, None, "No service has this host name."),
            Cause::NoTable => facts(
                "no_table",
                503,
                UNAVAILABLE,
                later,
                "The platform is starting and does not know its services yet.",
            ),
            Cause::Paused => facts(
                "paused",
                503,
                UNAVAILABLE,
                None,
                "This service is paused. It answers again when its owner resumes it.",
            ),
            Cause::NotDeployed => facts(
                "not_deployed",
                503,
                UNAVAILABLE,
                None,
                "This service has no successful deployment yet.",
            ),
            Cause::NoCapacity => facts(
                "no_capacity",
                503,
                UNAVAILABLE,
                later,
                "No instance of this service became available in time.",
            ),
            Cause::NotWoken => facts(
                "not_woken",
                503,
                UNAVAILABLE,
                later,
                "An instance of this service was to be started for this request, and could not be.",
            ),
            Cause::WakeTimedOut => facts(
                "wake_timed_out",
                504,
                UNAVAILABLE,
                None,
                "The instance that was started for this request did not serve for as long as the request could wait.",
            ),
            Cause::QueueFull => facts(
                "queue_full",
                429,
                RESOURCE_EXHAUSTED,
                later,
                "Too many requests wait for this service already.",
            ),
            Cause::QueueTimedOut => facts(
                "queue_timed_out",
                504,
                UNAVAILABLE,
                None,
                "All instances of this service were busy for as long as the request could wait.",
            ),
            Cause::Overloaded => {
                facts("overloaded", 503, UNAVAILABLE, later, "The platform has too many requests under way.")
            }
            Cause::ConnectFailed => facts(
                "connect_failed",
                502,
                UNAVAILABLE,
                None,
                "The application does not accept connections.",
            ),
            Cause::ClosedBeforeResponse => facts(
                "closed_before_response",
                502,
                UNAVAILABLE,
                None,
                "The application closed the connection before it answered.",
            ),
            Cause::BadResponse => facts(
                "bad_response",
                502,
                UNAVAILABLE,
                None,
                "The answer of the application is not valid HTTP.",
            ),
            Cause::TimedOut => {
                facts("timed_out", 504, DEADLINE_EXCEEDED, None, "The application did not answer in time.")
            }
            Cause::TotalTimedOut => facts(
                "total_timed_out",
                504,
                DEADLINE_EXCEEDED,
                None,
                "The request took longer than this service allows in all.",
            ),
            // As nginx logs it; no client ever reads it.
            Cause::ClientGone => {
                facts("client_gone", 499, CANCELLED, None, "The client went before the answer had ended.")
            }
            Cause::ResponseCut => {
                facts("response_cut", 502, UNAVAILABLE, None, "The application broke off its answer.")
            }
            Cause::StreamIdle => {
                facts("stream_idle", 504, DEADLINE_EXCEEDED, None, "Nobody said anything for too long.")
            }
            Cause::Drained => facts(
                "drained",
                503,
                UNAVAILABLE,
                None,
                "The platform restarted before the answer had ended.",
            ),
        }
    }

    pub(crate) fn code(self) -> &'static str {
        self.facts().code
    }

    pub(crate) fn status(self) -> u16 {
        self.facts().status
    }
}

/// What a client reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    Json,
    Html,
    Grpc,
}

impl How {
    /// Two look-ups: cheap enough to do for every request, before its headers are given away.
    pub(crate) fn of(headers: &HeaderMap) -> How {
        let value = |name| headers.get(name).map(HeaderValue::as_bytes);
        How::choose(value(CONTENT_TYPE), value(ACCEPT))
    }

    /// By the request's Content-Type and Accept.
    pub(crate) fn choose(content_type: Option<&[u8]>, accept: Option<&[u8]>) -> How {
        // What comes behind names the encoding of the messages; gRPC-Web is not gRPC.
        let grpc = content_type.and_then(|kind| kind.strip_prefix(b"application/grpc"));
        if matches!(grpc, Some([] | [b'+' | b';' | b' ', ..])) {
            How::Grpc
        } else if accept.is_some_and(|accept| accept.windows(9).any(|part| part == b"text/html")) {
            How::Html
        } else {
            How::Json
        }
    }
}

/// Type and text of an answer; a gRPC client gets no body.
fn body(facts: &Facts, how: How) -> (&'static str, String) {
    let Facts { code, status, message, .. } = facts;
    match how {
        How::Json => ("application/json", format!("{{\"cause\":\"{code}\",\"message\":\"{message}\"}}\n")),
        How::Html => {
            let title = match *code {
                // Somebody chose this: it is no error.
                "paused" => "Paused".to_owned(),
                _ => format!("{status} {}", reason(*status)),
            };
            let page = format!(
                "<!doctype html><meta charset=utf-8><title>{title}</title>\
                 <body style=\"font:16px system-ui;margin:15vh auto;max-width:32em\">\
                 <h1>{title}</h1><p>{message}</p><p><code>{code}</code></p>\n"
            );
            ("text/html; charset=utf-8", page)
        }
        How::Grpc => ("application/grpc", String::new()),
    }
}

fn reason(status: u16) -> &'static str {
    StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or_default()
}

/// The answer for hyper's way.
pub(crate) fn response(cause: Cause, how: How) -> Response<ResponseBody> {
    let facts = cause.facts();
    let (kind, text) = body(&facts, how);
    let mut response = Response::new(ResponseBody::Whole(None));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(X_APRON_CAUSE, HeaderValue::from_static(facts.code));
    if how == How::Grpc {
        // The status of HTTP stays 200: this is gRPC's form of an answer that has trailers only.
        headers.insert(GRPC_STATUS, HeaderValue::from(u16::from(facts.grpc)));
        headers.insert(GRPC_MESSAGE, HeaderValue::from_static(facts.message));
        return response;
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(seconds) = facts.retry_after_s {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    *response.status_mut() = StatusCode::from_u16(facts.status).unwrap_or(StatusCode::BAD_GATEWAY);
    *response.body_mut() = ResponseBody::whole(Bytes::from(text));
    response
}

/// The same answer for our own path: a whole HTTP/1.1 message, without its body for HEAD. `close` says that the
/// connection ends behind it.
pub(crate) fn write_http1(cause: Cause, how: How, close: bool, head_only: bool, out: &mut Vec<u8>) -> Told {
    let facts = cause.facts();
    let (kind, text) = body(&facts, how);
    let status = if how == How::Grpc { 200 } else { facts.status };
    let date = HttpDate(wall::since_1970());
    let (length, code) = (text.len(), facts.code);
    // Writing to memory cannot fail.
    let _ = write!(
        out,
        "HTTP/1.1 {status} {}\r\ndate: {date}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\
         x-apron-cause: {code}\r\n",
        reason(status)
    );
    if how == How::Grpc {
        let _ = write!(out, "grpc-status: {}\r\ngrpc-message: {}\r\n", facts.grpc, facts.message);
    } else {
        out.extend_from_slice(b"cache-control: no-store\r\n");
        if let Some(seconds) = facts.retry_after_s {
            let _ = write!(out, "retry-after: {seconds}\r\n");
        }
    }
    if close {
        out.extend_from_slice(b"connection: close\r\n");
    }
    out.extend_from_slice(b"\r\n");
    if head_only {
        return Told { status, body_bytes: 0 };
    }
    out.extend_from_slice(text.as_bytes());
    Told { status, body_bytes: length as u64 }
}

/// What an answer of our own says.
pub(crate) struct Told {
    pub(crate) status: u16,
    pub(crate) body_bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    const EVERY_HOW: [How; 3] = [How::Json, How::Html, How::Grpc];

    #[test]
    fn every_cause_has_its_place_and_a_code_of_its_own() {
        for (place, cause) in Cause::ALL.into_iter().enumerate() {
            // Counts are kept by this number.
            assert_eq!(cause as usize, place, "{cause:?}");
            let facts = cause.facts();
            assert!((400..600).contains(&facts.status) && (1..=16).contains(&facts.grpc), "{cause:?}");
            assert!(Cause::ALL[..place].iter().all(|other| other.code() != cause.code()), "{cause:?}");
            assert!(facts.code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{cause:?}");
            // What JSON, HTML or gRPC would escape.
            let plain = |byte: u8| (b' '..=b'~').contains(&byte) && !b"\"\\<>&%".contains(&byte);
            assert!(facts.message.bytes().all(plain), "{cause:?}");
        }
    }

    /// The page for people lists what programs get: all of it, in this order, and nothing else.
    #[test]
    fn the_page_of_causes_lists_them_all() {
        let page = include_str!("../../../docs/causes.md");
        let listed: Vec<(&str, &str, &str)> = page
            .lines()
            .filter(|line| line.starts_with("| `"))
            .map(|line| {
                let cells: Vec<&str> = line.split('|').map(str::trim).collect();
                (cells[1].trim_matches('`'), cells[2], cells[3].split(' ').next().unwrap_or_default())
            })
            .collect();
        let facts = Cause::ALL.map(Cause::facts);
        let numbers = facts.each_ref().map(|facts| (facts.status.to_string(), facts.grpc.to_string()));
        let expect: Vec<(&str, &str, &str)> = facts
            .iter()
            .zip(&numbers)
            .map(|(facts, (status, grpc))| (facts.code, status.as_str(), grpc.as_str()))
            .collect();
        assert_eq!(listed, expect);
    }

    #[tokio::test]
    async fn every_cause_is_valid_json_and_a_page() {
        for cause in Cause::ALL {
            let json = response(cause, How::Json);
            assert_eq!(json.status().as_u16(), cause.status());
            let body = json.into_body().collect().await.unwrap().to_bytes();
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(body["cause"], cause.code());
            let page = response(cause, How::Html);
            assert_eq!(page.headers()[&X_APRON_CAUSE], cause.code());
            let body = page.into_body().collect().await.unwrap().to_bytes();
            assert!(String::from_utf8(body.into()).unwrap().contains(cause.facts().message));
        }
    }

    #[test]
    fn grpc_gets_a_status_of_its_own_and_no_body() {
        let answer = response(Cause::QueueFull, How::Grpc);
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.headers()[&GRPC_STATUS], "8");
        assert_eq!(answer.headers()[CONTENT_TYPE], "application/grpc");
        assert!(http_body::Body::is_end_stream(answer.body()));
        let mut out = Vec::new();
        write_http1(Cause::NoRoute, How::Grpc, false, false, &mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.starts_with("HTTP/1.1 200 OK\r\n") && text.contains("\r\ngrpc-status: 12\r\n"),
            "{text}"
        );
        assert!(text.ends_with("\r\n\r\n") && text.contains("\r\ncontent-length: 0\r\n"), "{text}");
    }

    /// Both ways give the same answer.
    #[tokio::test]
    async fn what_our_own_path_writes_is_what_hyper_would() {
        for (cause, how) in Cause::ALL.into_iter().flat_map(|cause| EVERY_HOW.map(|how| (cause, how))) {
            let mut out = Vec::new();
            write_http1(cause, how, true, false, &mut out);
            let text = String::from_utf8(out).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            let mut lines = head.split("\r\n");
            let answer = response(cause, how);
            let first = format!("HTTP/1.1 {} ", answer.status().as_u16());
            assert!(lines.next().unwrap().starts_with(&first), "{head}");
            let mut written: Vec<(&str, &str)> = lines.map(|line| line.split_once(": ").unwrap()).collect();
            let length = body.len().to_string();
            for (name, value) in
                [("connection", Some("close")), ("date", None), ("content-length", Some(length.as_str()))]
            {
                let place = written.iter().position(|(written, _)| *written == name).unwrap();
                assert!(value.is_none_or(|value| written[place].1 == value), "{head}");
                written.remove(place);
            }
            written.sort_unstable();
            let (parts, given) = answer.into_parts();
            let mut expect: Vec<(&str, &str)> =
                parts.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
            expect.sort_unstable();
            assert_eq!(written, expect);
            assert_eq!(given.collect().await.unwrap().to_bytes(), body.as_bytes());

            let mut head_only = Vec::new();
            write_http1(cause, how, false, true, &mut head_only);
            let head_only = String::from_utf8(head_only).unwrap();
            assert!(head_only.ends_with("\r\n\r\n") && !head_only.contains("connection:"), "{head_only}");
            assert!(head_only.contains(&format!("content-length: {length}\r\n")), "{head_only}");
        }
    }

    #[test]
    fn clients_are_told_by_what_they_say() {
        let check = |content_type: Option<&str>, accept: Option<&str>, expect: How| {
            let mut headers = HeaderMap::new();
            for (name, value) in [(CONTENT_TYPE, content_type), (ACCEPT, accept)] {
                if let Some(value) = value {
                    headers.insert(name, HeaderValue::from_str(value).unwrap());
                }
            }
            assert_eq!(How::of(&headers), expect, "{content_type:?} {accept:?}");
        };
        check(None, None, How::Json);
        check(None, Some("application/json"), How::Json);
        check(None, Some("application/xhtml+xml,text/html;q=0.9"), How::Html);
        check(Some("application/grpc"), Some("text/html"), How::Grpc);
        check(Some("application/grpc+proto"), None, How::Grpc);
        check(Some("application/grpc;charset=utf-8"), None, How::Grpc);
        check(Some("application/grpc-web"), None, How::Json);
        check(Some("application/grpcx"), None, How::Json);
        check(Some("application/json"), None, How::Json);
    }
}
