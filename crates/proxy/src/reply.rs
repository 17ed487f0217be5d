//! What a failed request looks like: the one place where a cause becomes a status and a text.
//!
//! Codes are stable; they stand in `X-Apron-Cause` and scripts may depend on them. Browsers get a small page,
//! everything else JSON.

use crate::body::ResponseBody;
use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderName, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Response, StatusCode};

const X_APRON_CAUSE: HeaderName = HeaderName::from_static("x-apron-cause");

/// Seconds in Retry-After: an instance starts within that time or is reported as failed.
const RETRY_AFTER_S: &str = "5";

/// Why a request got no answer from an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    BadRequest,
    NoRoute,
    /// No route table came yet: not even the saved one.
    NoTable,
    Paused,
    NotDeployed,
    /// None came in time, or too many requests wait for one already.
    NoInstance,
    /// This proxy has as many requests under way as it may.
    Overloaded,
    ConnectFailed,
    ClosedBeforeResponse,
    /// The instance answered something that is not HTTP.
    BadResponse,
    TimedOut,
    /// The client stopped sending its body.
    BodyTimedOut,
}

impl Cause {
    pub(crate) fn code(self) -> &'static str {
        match self {
            Cause::BadRequest => "bad_request",
            Cause::NoRoute => "no_route",
            Cause::NoTable => "no_table",
            Cause::Paused => "paused",
            Cause::NotDeployed => "not_deployed",
            Cause::NoInstance => "no_instance",
            Cause::Overloaded => "overloaded",
            Cause::ConnectFailed => "connect_failed",
            Cause::ClosedBeforeResponse => "closed_before_response",
            Cause::BadResponse => "bad_response",
            Cause::TimedOut => "timed_out",
            Cause::BodyTimedOut => "body_timed_out",
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Cause::BadRequest => StatusCode::BAD_REQUEST,
            Cause::NoRoute => StatusCode::NOT_FOUND,
            Cause::NoTable | Cause::Paused | Cause::NotDeployed | Cause::NoInstance | Cause::Overloaded => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Cause::ConnectFailed | Cause::ClosedBeforeResponse | Cause::BadResponse => {
                StatusCode::BAD_GATEWAY
            }
            Cause::TimedOut => StatusCode::GATEWAY_TIMEOUT,
            Cause::BodyTimedOut => StatusCode::REQUEST_TIMEOUT,
        }
    }

    fn message(self) -> &'static str {
        match self {
            Cause::BadRequest => {
                "The request cannot be understood: it needs one valid Host, and a body that is plain or chunked."
            }
            Cause::NoRoute => "No service has this host name.",
            Cause::NoTable => "The platform is starting and does not know its services yet.",
            Cause::Paused => "This service is paused.",
            Cause::NotDeployed => "This service has no successful deployment yet.",
            Cause::NoInstance => "No instance of this service became available in time.",
            Cause::Overloaded => "The platform has too many requests under way.",
            Cause::ConnectFailed => "The application does not accept connections.",
            Cause::ClosedBeforeResponse => "The application closed the connection before it answered.",
            Cause::BadResponse => "The application's answer is not valid HTTP.",
            Cause::TimedOut => "The application did not answer in time.",
            Cause::BodyTimedOut => "The rest of the request's body did not come in time.",
        }
    }

    /// Whether the same request may succeed in a moment.
    fn passes(self) -> bool {
        matches!(self, Cause::NoTable | Cause::NoInstance | Cause::Overloaded)
    }
}

/// Whether the client would rather show a page than read JSON. A look-up of one header: cheap enough to do for
/// every request, before its headers are given away.
pub(crate) fn wants_html(headers: &HeaderMap) -> bool {
    headers.get(ACCEPT).is_some_and(|accept| accept.as_bytes().windows(9).any(|part| part == b"text/html"))
}

pub(crate) fn response(cause: Cause, html: bool) -> Response<ResponseBody> {
    let (kind, text) = if html {
        let (status, message) = (cause.status(), cause.message());
        let page = format!(
            "<!doctype html><meta charset=utf-8><title>{status}</title>\
             <body style=\"font:16px system-ui;margin:15vh auto;max-width:32em\">\
             <h1>{status}</h1><p>{message}</p><p><code>{}</code></p>\n",
            cause.code()
        );
        ("text/html; charset=utf-8", page)
    } else {
        // Neither text holds a character that JSON would escape; a test checks that.
        let json = format!("{{\"cause\":\"{}\",\"message\":\"{}\"}}\n", cause.code(), cause.message());
        ("application/json", json)
    };
    let mut response = Response::new(ResponseBody::whole(Bytes::from(text)));
    *response.status_mut() = cause.status();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_APRON_CAUSE, HeaderValue::from_static(cause.code()));
    if cause.passes() {
        headers.insert(RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_S));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    const ALL: [Cause; 12] = [
        Cause::BadRequest,
        Cause::NoRoute,
        Cause::NoTable,
        Cause::Paused,
        Cause::NotDeployed,
        Cause::NoInstance,
        Cause::Overloaded,
        Cause::ConnectFailed,
        Cause::ClosedBeforeResponse,
        Cause::BadResponse,
        Cause::TimedOut,
        Cause::BodyTimedOut,
    ];

    #[tokio::test]
    async fn every_cause_is_valid_json_and_a_page() {
        for cause in ALL {
            let json = response(cause, false);
            assert!(!json.status().is_success());
            let body = json.into_body().collect().await.unwrap().to_bytes();
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(body["cause"], cause.code());
            let page = response(cause, true);
            assert_eq!(page.headers()[&X_APRON_CAUSE], cause.code());
            let body = page.into_body().collect().await.unwrap().to_bytes();
            assert!(String::from_utf8(body.into()).unwrap().contains(cause.message()));
        }
    }

    #[test]
    fn browsers_are_told_by_accept() {
        let mut headers = HeaderMap::new();
        assert!(!wants_html(&headers));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        assert!(!wants_html(&headers));
        headers.insert(ACCEPT, HeaderValue::from_static("application/xhtml+xml,text/html;q=0.9"));
        assert!(wants_html(&headers));
    }
}
