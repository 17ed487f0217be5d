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

/// Whether the request wants to become a WebSocket. That is the one protocol for which a connection leaves HTTP:
/// behind any other, `h2c` above all, a client could send requests past routes, limits and headers of the proxy.
/// RFC 9110 §7.8 lets a server pass over an upgrade, so those are served as if they had not asked.
pub(crate) fn wants_websocket(parts: &request::Parts) -> bool {
    parts.version == Version::HTTP_11
        && parts.method == Method::GET
        && is_websocket(&parts.headers)
        && connection_names(&parts.headers, "upgrade")
}

/// Whether these headers, of a request or of an answer, name the WebSocket protocol and no other.
pub(crate) fn is_websocket(headers: &HeaderMap) -> bool {
    let mut protocols = headers.get_all(UPGRADE).iter();
    let first = protocols.next().is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    first && protocols.next().is_none()
}

fn connection_names(headers: &HeaderMap, option: &str) -> bool {
    headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.split(',').any(|name| name.trim().eq_ignore_ascii_case(option)))
}

/// Whether a body's transfer coding, if it has one, is `chunked` alone. Of another one the instance would not hear:
/// the header that names it is ours to write.
pub(crate) fn transfer_coding_is_ours(headers: &HeaderMap) -> bool {
    headers
        .get_all(TRANSFER_ENCODING)
        .iter()
        .enumerate()
        .all(|(place, coding)| place == 0 && coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"))
}

/// Takes off what concerns one connection only: the fixed list and what Connection names. A length beside a
/// transfer coding goes too: the coding wins (RFC 9112 §6.3), and the next reader must not see the other.
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
        if name == TRANSFER_ENCODING {
            headers.remove(CONTENT_LENGTH);
        }
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

/// Takes off names that many application servers read as one that the proxy sets: CGI's rule makes the same
/// variable of `X_Forwarded_For` and `X-Forwarded-For`.
fn strip_imitations(headers: &mut HeaderMap) {
    const OURS: [HeaderName; 5] =
        [X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PORT, X_FORWARDED_PROTO, X_REQUEST_ID];
    let imitates = |name: &HeaderName| {
        let name = name.as_str();
        name.starts_with('x') && name.contains('_') && {
            let plain = name.replace('_', "-");
            OURS.iter().any(|ours| ours.as_str() == plain)
        }
    };
    while let Some(name) = headers.keys().find(|name| imitates(name)).cloned() {
        headers.remove(name);
    }
}

/// Makes a client's request head into the one that the instance gets.
pub(crate) fn prepare_request(
    parts: &mut request::Parts,
    client: &Client,
    host: HeaderValue,
    body_follows: bool,
    websocket: bool,
) {
    let headers = &mut parts.headers;
    headers.reserve(ADDED_HEADERS);
    strip_connection_headers(headers);
    strip_imitations(headers);
    // The proxy itself has asked for the body by now.
    headers.remove(EXPECT);
    if websocket {
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
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
    fn a_websocket_needs_both_headers_and_no_other_protocol_passes() {
        let check = |connection: &str, upgrade: &[&str], expect: bool| {
            let mut headers = vec![("connection", connection)];
            headers.extend(upgrade.iter().map(|protocol| ("upgrade", *protocol)));
            assert_eq!(wants_websocket(&parts("/", &headers)), expect, "{headers:?}");
        };
        check("keep-alive, Upgrade", &["websocket"], true);
        check("upgrade", &["WebSocket"], true);
        check("keep-alive", &["websocket"], false);
        check("upgrade", &[], false);
        check("upgrade, HTTP2-Settings", &["h2c"], false);
        check("upgrade", &["websocket, h2c"], false);
        check("upgrade", &["websocket", "h2c"], false);
    }

    #[test]
    fn a_name_that_looks_like_ours_does_not_pass() {
        let given = [("x_forwarded_for", "1"), ("x-forwarded_proto", "1"), ("x_api_key", "1"), ("a_b", "1")];
        let mut parts = parts("/", &given);
        strip_imitations(&mut parts.headers);
        let mut left: Vec<&str> = parts.headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["a_b", "x_api_key"]);
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
