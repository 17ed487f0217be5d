//! Whether a request may come without TLS, where it is sent otherwise, and what TLS answers say about that.

use crate::body::ResponseBody;
use crate::client::Client;
use crate::reply::Cause;
use crate::route::{Host, Service};
use crate::tls::files::Held;
use apron_model::routes::HttpsPolicy;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, LOCATION, STRICT_TRANSPORT_SECURITY};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use std::cell::RefCell;
use std::sync::Arc;
use tokio::sync::watch;

/// The port that an `https` URL need not name.
const HTTPS_PORT: u16 = 443;
/// A year, which is what lists of such hosts ask for, and so does who grades them.
const HSTS: &str = "max-age=31536000";

/// What becomes of a request, by how it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Https {
    Serve,
    Redirect { port: u16 },
    Refuse,
}

/// Decides by whether the request came by TLS, what the service wants, whether clients trust a certificate of its
/// host, and where HTTPS is reached.
pub(crate) fn decide(secure: bool, policy: HttpsPolicy, has_trusted: bool, https_port: Option<u16>) -> Https {
    if secure {
        return Https::Serve;
    }
    match (policy, https_port) {
        (HttpsPolicy::Serve, _) => Https::Serve,
        // Where nothing listens for HTTPS a redirect leads nowhere, and to serve it plainly is what was forbidden.
        (HttpsPolicy::Refuse, _) | (HttpsPolicy::Redirect, None) => Https::Refuse,
        (HttpsPolicy::Redirect, Some(port)) => Https::Redirect { port },
        (HttpsPolicy::Auto, Some(port)) if has_trusted => Https::Redirect { port },
        (HttpsPolicy::Auto, _) => Https::Serve,
    }
}

/// What one loop knows about HTTPS.
pub(crate) struct Known {
    port: Option<u16>,
    /// The loop's own, so that a request takes no lock.
    held: RefCell<Arc<Held>>,
}

impl Known {
    pub(crate) fn new(port: Option<u16>, held: Arc<Held>) -> Known {
        Known { port, held: RefCell::new(held) }
    }

    /// Goes on for as long as certificates may change, and then waits for ever.
    pub(crate) async fn follow(&self, mut news: watch::Receiver<Arc<Held>>) {
        while news.changed().await.is_ok() {
            let held = news.borrow_and_update().clone();
            *self.held.borrow_mut() = held;
        }
        std::future::pending().await
    }

    /// Whether the request is served as it came.
    pub(crate) fn serves(&self, secure: bool, policy: HttpsPolicy, host: &Host) -> bool {
        self.decide(secure, policy, host) == Https::Serve
    }

    /// What becomes of a request to this host. Names are looked up only where it depends on them.
    fn decide(&self, secure: bool, policy: HttpsPolicy, host: &Host) -> Https {
        let open = !secure && policy == HttpsPolicy::Auto && self.port.is_some();
        let has_trusted = open && self.held.borrow().find(host.as_str()).is_some();
        decide(secure, policy, has_trusted, self.port)
    }
}

/// `None` when the service takes the request as it came, else where it is sent instead. `target` is its path and
/// query.
pub(crate) fn elsewhere(
    client: &Client,
    secure: bool,
    service: &Service,
    host: &Host,
    target: &str,
) -> Result<Option<HeaderValue>, Cause> {
    match client.event_loop.https.decide(secure, service.policy.https, host) {
        Https::Serve => Ok(None),
        Https::Refuse => Err(Cause::HttpsRequired),
        // Host and target were read from a head, so they hold nothing that a header cannot.
        Https::Redirect { port } => {
            HeaderValue::try_from(location(host, port, target)).map(Some).map_err(|_| Cause::BadRequest)
        }
    }
}

/// The same place by HTTPS.
fn location(host: &Host, port: u16, target: &str) -> String {
    let host = host.as_str();
    // `*` stands for the server as a whole, and a target may leave the path out and still have a query.
    let (slash, target) = match target.as_bytes().first() {
        Some(b'/') => ("", target),
        Some(b'?') => ("/", target),
        _ => ("/", ""),
    };
    match port {
        HTTPS_PORT => format!("https://{host}{slash}{target}"),
        _ => format!("https://{host}:{port}{slash}{target}"),
    }
}

/// The answer that sends a request to its place. The method and the body stay what they are.
pub(crate) fn redirect(location: HeaderValue) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::whole(Bytes::new()));
    *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
    response.headers_mut().insert(LOCATION, location);
    // A browser that kept it would go on to follow it when the certificate or the policy is another one.
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Tells browsers to come by TLS only, where the service wants that and its application does not say anything about
/// it. Without TLS nobody may say it (RFC 6797 §7.2).
pub(crate) fn add_hsts(headers: &mut HeaderMap, secure: bool, wanted: bool) {
    if secure && wanted && !headers.contains_key(STRICT_TRANSPORT_SECURITY) {
        headers.insert(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static(HSTS));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_becomes_of_a_request() {
        use HttpsPolicy::{Auto, Redirect, Refuse, Serve};
        let to = |port| Https::Redirect { port };
        for (policy, has_trusted, port, expect) in [
            (Auto, true, Some(443), to(443)),
            (Auto, false, Some(443), Https::Serve),
            (Auto, true, None, Https::Serve),
            (Redirect, false, Some(8443), to(8443)),
            (Redirect, true, None, Https::Refuse),
            (Serve, true, Some(443), Https::Serve),
            (Refuse, true, Some(443), Https::Refuse),
            (Refuse, false, None, Https::Refuse),
        ] {
            assert_eq!(decide(false, policy, has_trusted, port), expect, "{policy:?} {has_trusted} {port:?}");
            assert_eq!(decide(true, policy, has_trusted, port), Https::Serve, "{policy:?} by TLS");
        }
    }

    #[test]
    fn the_same_place_by_https() {
        let check = |host: &str, port: u16, target: &str, expect: &str| {
            let host = Host::parse(host.as_bytes()).unwrap();
            assert_eq!(location(&host, port, target), expect);
        };
        check("WWW.example.com:80", 443, "/a?b=c", "https://www.example.com/a?b=c");
        check("www.example.com", 8443, "/", "https://www.example.com:8443/");
        check("[::1]:80", 8443, "//other.test/", "https://[::1]:8443//other.test/");
        check("a.test", 443, "?q", "https://a.test/?q");
        check("a.test", 443, "*", "https://a.test/");
        check("a.test", 443, "", "https://a.test/");
    }

    #[test]
    fn browsers_are_told_only_by_tls_and_only_what_the_application_left_open() {
        let check = |said: Option<&'static str>, secure: bool, wanted: bool, expect: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(value) = said {
                headers.insert(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static(value));
            }
            add_hsts(&mut headers, secure, wanted);
            let got = headers.get(STRICT_TRANSPORT_SECURITY).map(|value| value.to_str().unwrap());
            assert_eq!(got, expect, "{said:?} {secure} {wanted}");
        };
        check(None, true, true, Some("max-age=31536000"));
        check(None, true, false, None);
        check(None, false, true, None);
        check(Some("max-age=0"), true, true, Some("max-age=0"));
    }
}
