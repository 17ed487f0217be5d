//! Which headers pass, which are taken off and which are added, in both directions.

use crate::client::Client;
use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, HeaderName, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderValue, Method, Version, request};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What `prepare_request` may add: making room once is cheaper than growing step by step.
const ADDED_HEADERS: usize = 8;

/// The one host that the request names, as it was written. An absolute target or HTTP/2's authority wins over the
/// Host header, as RFC 9112 §3.2.2 wants. `None`: there is none, or several.
pub(crate) fn host(parts: &request::Parts) -> Option<HeaderValue> {
    let mut hosts = parts.headers.get_all(HOST).into_iter();
    let header = hosts.next();
    if hosts.next().is_some() {
        return None;
    }
    match parts.uri.authority() {
        Some(authority) => HeaderValue::from_str(authority.as_str()).ok(),
        None => header.cloned(),
    }
}

/// Whether the request wants to leave HTTP on its connection, such as a WebSocket.
pub(crate) fn is_upgrade(parts: &request::Parts) -> bool {
    parts.headers.contains_key(UPGRADE)
        && parts.version == Version::HTTP_11
        && connection_names(&parts.headers, "upgrade")
}

fn connection_names(headers: &HeaderMap, option: &str) -> bool {
    headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.split(',').any(|name| name.trim().eq_ignore_ascii_case(option)))
}

/// Takes off what concerns one connection only: the fixed list and what Connection names.
pub(crate) fn strip_connection_headers(headers: &mut HeaderMap) {
    // One pass over the few headers that are there is cheaper than one look-up per name of the list.
    if !headers.keys().any(|name| concerns_connection(name.as_str())) {
        return;
    }
    if let Some(first) = headers.get(CONNECTION)
        // What nearly every connection says names no other header.
        && !matches!(first.as_bytes(), b"keep-alive" | b"close")
    {
        let values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
        let names = values
            .flat_map(|value| value.split(','))
            .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
            // Nobody can take off what the request is routed and framed by.
            .filter(|name| name != HOST && name != CONTENT_LENGTH);
        for name in names.collect::<Vec<_>>() {
            headers.remove(name);
        }
    }
    while let Some(name) = headers.keys().find(|name| concerns_connection(name.as_str())).cloned() {
        headers.remove(name);
    }
}

fn concerns_connection(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// Makes a client's request head into the one that the instance gets.
pub(crate) fn prepare_request(
    parts: &mut request::Parts,
    client: &Client,
    host: HeaderValue,
    body_follows: bool,
    upgrade: bool,
) {
    let protocol = if upgrade { parts.headers.get(UPGRADE).cloned() } else { None };
    let headers = &mut parts.headers;
    headers.reserve(ADDED_HEADERS);
    strip_connection_headers(headers);
    // The proxy itself has asked for the body by now.
    headers.remove(EXPECT);
    if let Some(protocol) = protocol {
        headers.insert(UPGRADE, protocol);
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    }
    if body_follows && !headers.contains_key(CONTENT_LENGTH) {
        // Said outright, because for GET the client side would otherwise assume that there is no body.
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    if parts.version == Version::HTTP_2 {
        join_cookies(headers);
    }
    let forwarded_for = match headers.get_all(X_FORWARDED_FOR).iter().next() {
        None => client.address.clone(),
        Some(_) => append(headers, &client.address),
    };
    headers.insert(X_FORWARDED_FOR, forwarded_for);
    headers.insert(X_FORWARDED_PROTO, client.scheme.clone());
    headers.insert(X_FORWARDED_PORT, client.port.clone());
    headers.insert(X_FORWARDED_HOST, host.clone());
    headers.insert(HOST, host);
    headers.entry(X_REQUEST_ID).or_insert_with(|| client.event_loop.request_ids.next());
    if parts.uri.authority().is_some() {
        parts.uri = origin_form(&parts.uri, &parts.method);
    }
    parts.version = Version::HTTP_11;
    parts.extensions.clear();
}

/// The list so far, also where it stands in several lines, and the peer's address.
fn append(headers: &HeaderMap, address: &HeaderValue) -> HeaderValue {
    let mut list = Vec::new();
    for value in headers.get_all(X_FORWARDED_FOR) {
        list.extend_from_slice(value.as_bytes());
        list.extend_from_slice(b", ");
    }
    list.extend_from_slice(address.as_bytes());
    HeaderValue::from_bytes(&list).unwrap_or_else(|_| address.clone())
}

/// HTTP/2 may send each cookie in a field of its own; HTTP/1 has one line (RFC 9113 §8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut cookies = headers.get_all(COOKIE).iter();
    let (Some(_), Some(_)) = (cookies.next(), cookies.next()) else { return };
    let lines: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&lines.join(&b"; "[..])) {
        headers.insert(COOKIE, joined);
    }
}

/// Path and query alone, as an origin server expects them.
fn origin_form(uri: &http::Uri, method: &Method) -> http::Uri {
    match uri.path_and_query() {
        Some(target) if target.as_str().starts_with('/') => http::Uri::from(target.clone()),
        // An absolute target may leave the path out and still have a query.
        Some(target) if target.query().is_some() => {
            let target = format!("/?{}", target.query().unwrap_or_default());
            target.parse().unwrap_or(http::Uri::from_static("/"))
        }
        _ if *method == Method::OPTIONS => http::Uri::from_static("*"),
        _ => http::Uri::from_static("/"),
    }
}

/// Whether sending the same request twice does what sending it once does (RFC 9110 §9.2.2).
pub(crate) fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn parts(uri: &str, headers: &[(&str, &str)]) -> request::Parts {
        let mut request = Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn one_host_and_only_one() {
        assert_eq!(host(&parts("/", &[("host", "a:80")])).unwrap(), "a:80");
        assert_eq!(host(&parts("http://b/x", &[("host", "a")])).unwrap(), "b");
        assert_eq!(host(&parts("/", &[])), None);
        assert_eq!(host(&parts("/", &[("host", "a"), ("host", "a")])), None);
    }

    #[test]
    fn what_concerns_one_connection_does_not_pass() {
        let mut parts = parts(
            "/",
            &[
                ("host", "a"),
                ("connection", "close, X-Private, Host, content-length"),
                ("connection", "x-second"),
                ("x-second", "1"),
                ("content-length", "3"),
                ("x-private", "1"),
                ("keep-alive", "5"),
                ("te", "trailers"),
                ("upgrade", "h2c"),
                ("proxy-connection", "x"),
                ("accept", "*/*"),
            ],
        );
        strip_connection_headers(&mut parts.headers);
        let mut left: Vec<&str> = parts.headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["accept", "content-length", "host"]);
    }

    #[test]
    fn upgrades_need_both_headers() {
        assert!(is_upgrade(&parts("/", &[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")])));
        assert!(!is_upgrade(&parts("/", &[("connection", "keep-alive"), ("upgrade", "websocket")])));
        assert!(!is_upgrade(&parts("/", &[("connection", "upgrade")])));
    }

    #[test]
    fn targets_become_origin_form() {
        let check = |uri: &str, method: Method, expect: &str| {
            assert_eq!(origin_form(&uri.parse().unwrap(), &method).to_string(), expect);
        };
        check("http://a/x?y", Method::GET, "/x?y");
        check("http://a", Method::GET, "/");
        check("http://a?y", Method::GET, "/?y");
    }

    #[test]
    fn addresses_are_appended_and_cookies_joined() {
        let mut headers = parts(
            "/",
            &[
                ("x-forwarded-for", "1.1.1.1"),
                ("x-forwarded-for", "2.2.2.2"),
                ("cookie", "a=1"),
                ("cookie", "b=2"),
            ],
        )
        .headers;
        assert_eq!(append(&headers, &HeaderValue::from_static("3.3.3.3")), "1.1.1.1, 2.2.2.2, 3.3.3.3");
        join_cookies(&mut headers);
        assert_eq!(headers.get_all(COOKIE).iter().collect::<Vec<_>>(), ["a=1; b=2"]);
    }
}
