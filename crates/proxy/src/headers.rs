//! Which headers pass, which are taken off and which are added, in both directions.

use crate::client::Client;
use crate::http1::{HEADERS_MAX, REQUEST_LINE_BYTES_MAX};
use crate::reply::Cause;
use crate::route::Host;
use apron_model::routes::{AppProtocol, Network};
use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, EXPECT, HOST, HeaderName, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_VERSION, TE, TRANSFER_ENCODING, UPGRADE, VIA,
};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Uri, Version, request, response};
use std::net::IpAddr;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// In a request, that its answer is to say where its time went.
pub(crate) const X_APRON_TRACE: HeaderName = HeaderName::from_static("x-apron-trace");
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_AMZN_TRACE_ID: HeaderName = HeaderName::from_static("x-amzn-trace-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// What `prepare_request` may add: making room once is cheaper than growing step by step.
const ADDED_HEADERS: usize = 10;

/// The one host that the request names, as it was written. An absolute target or HTTP/2's authority wins over the
/// Host header, as RFC 9112 §3.2.2 wants. `None`: there is none, or several, or in HTTP/2, where one that says otherwise
/// than the authority makes a request malformed (RFC 9113 §8.3.1), two.
pub(crate) fn host(parts: &request::Parts) -> Option<&[u8]> {
    let mut hosts = parts.headers.get_all(HOST).into_iter();
    let header = hosts.next();
    if hosts.next().is_some() {
        return None;
    }
    match (parts.uri.authority(), header) {
        (Some(authority), Some(header)) if parts.version == Version::HTTP_2 => {
            let (one, other) = (Host::parse(authority.as_str().as_bytes()), Host::parse(header.as_bytes()));
            let same = one.is_ok_and(|one| other.is_ok_and(|other| one.as_str() == other.as_str()));
            same.then(|| authority.as_str().as_bytes())
        }
        (Some(authority), _) => Some(authority.as_str().as_bytes()),
        (None, header) => header.map(HeaderValue::as_bytes),
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

/// Whether this is a call of gRPC, or of its form for browsers: its streams may be silent for as long as they like.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    kind.get(..16).is_some_and(|start| start.eq_ignore_ascii_case(b"application/grpc"))
}

/// The length that the head gives the body: in one line, and digits alone. What is said twice may be read in two ways
/// behind us, also where it is the same each time.
fn content_length(headers: &HeaderMap) -> Result<Option<u64>, Cause> {
    let mut lines = headers.get_all(CONTENT_LENGTH).iter();
    let Some(line) = lines.next() else { return Ok(None) };
    let digits = line.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    match (digits.and_then(|digits| digits.parse().ok()), lines.next()) {
        (Some(length), None) => Ok(Some(length)),
        _ => Err(Cause::BadRequest),
    }
}

/// Checks what our own path's parser would of a head that another one has read; gives the length of its body, if it says
/// one.
pub(crate) fn check(parts: &request::Parts) -> Result<Option<u64>, Cause> {
    let headers = &parts.headers;
    // Browsers send each cookie in a line of its own over HTTP/2; they become one.
    if headers.len() > HEADERS_MAX && headers.len() - headers.get_all(COOKIE).iter().count() >= HEADERS_MAX {
        return Err(Cause::HeadTooLarge);
    }
    if !transfer_coding_is_ours(headers) {
        return Err(Cause::BadRequest);
    }
    let length = content_length(headers)?;
    check_target(parts)?;
    Ok(length)
}

/// Whether it is clear where the body of an instance's answer ends: what two readers could take in two ways does not pass.
pub(crate) fn length_is_clear(headers: &HeaderMap) -> bool {
    let length = headers.contains_key(CONTENT_LENGTH);
    content_length(headers).is_ok() && !(length && headers.contains_key(TRANSFER_ENCODING))
}

/// Checks a target as our own path does where hyper does not: no other characters than URLs have, one of the two forms
/// that HTTP/2 has, and not too long.
fn check_target(parts: &request::Parts) -> Result<(), Cause> {
    let target = parts.uri.path_and_query().map_or("/", PathAndQuery::as_str);
    if target.len() > REQUEST_LINE_BYTES_MAX {
        return Err(Cause::UriTooLong);
    }
    let has_form = target.starts_with('/') || target == "*" && parts.method == Method::OPTIONS;
    match target.is_ascii() && (has_form || parts.version != Version::HTTP_2) {
        true => Ok(()),
        false => Err(Cause::BadRequest),
    }
}

/// Whether the sender takes trailers. It is all that HTTP/2 lets TE say.
fn takes_trailers(headers: &HeaderMap) -> bool {
    let values = headers.get_all(TE).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|name| name.trim().eq_ignore_ascii_case("trailers"))
}

/// Whether a body's transfer coding, if it has one, is `chunked` alone. Of another one the instance would not hear:
/// the header that names it is ours to write.
fn transfer_coding_is_ours(headers: &HeaderMap) -> bool {
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
            // Nobody can take off what the request is routed and framed by, nor, through a balancer that passes the
            // wish on, what that says of him.
            .filter(|name| name != HOST && name != CONTENT_LENGTH && !is_hearsay(name.as_str()));
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

/// The one list, for both ways that requests take. In any case of letters.
pub(crate) fn concerns_connection(name: &str) -> bool {
    const NAMES: [&str; 9] = [
        "connection",
        "keep-alive",
        "proxy-connection",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    // The lengths differ from most names', and are compared first.
    NAMES.iter().any(|listed| listed.eq_ignore_ascii_case(name))
}

/// Whether many application servers read a name as this one of ours: CGI's rule makes the same variable of
/// `X_Forwarded_For` and `X-Forwarded-For`.
pub(crate) fn reads_as(name: &[u8], ours: &str) -> bool {
    let same = |(ours, byte): (u8, &u8)| ours == byte.to_ascii_lowercase() || ours == b'-' && *byte == b'_';
    ours.len() == name.len() && ours.bytes().zip(name).all(same)
}

/// Whether a header says where a request came from: what frameworks believe, so it passes only from who is to be
/// believed. In any case of letters, and with `_` for `-`.
pub(crate) fn is_hearsay(name: &str) -> bool {
    const START: &str = "x-forwarded-";
    let name = name.as_bytes();
    name.get(..START.len()).is_some_and(|start| reads_as(start, START))
        || reads_as(name, "x-real-ip")
        || reads_as(name, "forwarded")
}

/// Takes off what only who is believed may say, and of everybody names that are read as one of the proxy's.
fn strip_hearsay(headers: &mut HeaderMap, trusted: bool) {
    let goes = |name: &HeaderName| {
        let name = name.as_str();
        // Most names are settled by their first letter.
        name.starts_with(['x', 'f'])
            && match name.contains('_') {
                false => !trusted && is_hearsay(name),
                true => {
                    let own = [X_REQUEST_ID, X_AMZN_TRACE_ID];
                    is_hearsay(name) || own.iter().any(|own| reads_as(name.as_bytes(), own.as_str()))
                }
            }
    };
    while let Some(name) = headers.keys().find(|name| goes(name)).cloned() {
        headers.remove(name);
    }
}

/// Whether a request came by TLS. Who is to be believed knows it better than its connection to us says: TLS may end
/// there, or begin there. `said` is the first line of X-Forwarded-Proto.
pub(crate) fn is_secure<'a>(client: &Client, said: impl FnOnce() -> Option<&'a [u8]>) -> bool {
    match if client.trusted { said() } else { None } {
        Some(said) => says_tls(said),
        None => client.secure(),
    }
}

/// A chain of balancers may have made a list of it, whose first entry is what the client did.
fn says_tls(said: &[u8]) -> bool {
    let first = said.split(|byte| *byte == b',').next().unwrap_or_default().trim_ascii();
    first.eq_ignore_ascii_case(b"https") || first.eq_ignore_ascii_case(b"wss")
}

/// As `is_secure`, of a request head.
pub(crate) fn came_securely(client: &Client, headers: &HeaderMap) -> bool {
    is_secure(client, || headers.get(X_FORWARDED_PROTO).map(HeaderValue::as_bytes))
}

/// Whom a request comes from: the peer, or, where that is to be believed, the last address of X-Forwarded-For that is
/// not one of those who are. `lines` are that header's, in their order.
pub(crate) fn stranger<'a>(
    peer: IpAddr,
    trusted: &[Network],
    lines: impl DoubleEndedIterator<Item = &'a [u8]>,
) -> IpAddr {
    let is_trusted = |address| trusted.iter().any(|network| network.contains(address));
    let mut stranger = peer;
    for entry in lines.rev().flat_map(|line| line.rsplit(|byte| *byte == b',')) {
        if !is_trusted(stranger) {
            break;
        }
        // What is no address was not written by one of ours: whoever did is the stranger.
        let Some(address) = std::str::from_utf8(entry).ok().and_then(address) else { break };
        stranger = address;
    }
    stranger
}

/// Of an entry of X-Forwarded-For, which some proxies write with a port.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let parsed = text.parse::<IpAddr>().or_else(|_| text.parse::<std::net::SocketAddr>().map(|a| a.ip()));
    parsed.ok().map(|address| address.to_canonical())
}

/// As `stranger`, of a request head.
pub(crate) fn stranger_of(client: &Client, headers: &HeaderMap) -> IpAddr {
    if !client.trusted {
        return client.peer;
    }
    let lines = headers.get_all(X_FORWARDED_FOR).iter().map(HeaderValue::as_bytes);
    stranger(client.peer, &client.event_loop.settings.edge.trusted, lines)
}

/// What the application is to get, beside what the client's head says.
pub(crate) struct Shape {
    pub(crate) protocol: AppProtocol,
    pub(crate) body_follows: bool,
    pub(crate) websocket: bool,
    /// Of a WebSocket that came over HTTP/2, which has none of its own.
    pub(crate) websocket_key: Option<HeaderValue>,
}

/// Makes a client's request head into the one that the instance gets. `None`: its target cannot be said there.
pub(crate) fn prepare_request(
    parts: &mut request::Parts,
    client: &Client,
    host: HeaderValue,
    shape: Shape,
) -> Option<()> {
    let h2c = shape.protocol == AppProtocol::H2c;
    let via = client.event_loop.settings.edge.via.as_ref().map(|via| via.of(parts.version));
    let headers = &mut parts.headers;
    headers.reserve(ADDED_HEADERS);
    let trailers = h2c && takes_trailers(headers);
    strip_connection_headers(headers);
    strip_hearsay(headers, client.trusted);
    // The proxy itself has asked for the body by now.
    headers.remove(EXPECT);
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    if shape.websocket {
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    }
    if let Some(key) = shape.websocket_key {
        headers.insert(SEC_WEBSOCKET_KEY, key);
        headers.entry(SEC_WEBSOCKET_VERSION).or_insert(HeaderValue::from_static("13"));
        parts.method = Method::GET;
    }
    if shape.body_follows && !h2c && !headers.contains_key(CONTENT_LENGTH) {
        // Said outright, because for GET the client side would otherwise assume that there is no body.
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    if parts.version == Version::HTTP_2 && !h2c {
        join_cookies(headers);
    }
    say_whose(headers, client, &host);
    say_ids(headers, client);
    if let Some(via) = via {
        headers.append(VIA, via.clone());
    }
    if h2c {
        parts.uri = absolute_form(&parts.uri, &parts.method, &host)?;
        headers.remove(HOST);
        parts.version = Version::HTTP_2;
    } else {
        headers.insert(HOST, host);
        if parts.uri.authority().is_some() {
            parts.uri = origin_form(&parts.uri, &parts.method);
        }
        parts.version = Version::HTTP_11;
    }
    parts.extensions.clear();
    Some(())
}

/// From where and how the request came. Only who is to be believed may have said so before.
fn say_whose(headers: &mut HeaderMap, client: &Client, host: &HeaderValue) {
    let forwarded_for = match client.trusted && headers.contains_key(X_FORWARDED_FOR) {
        true => append(headers, &client.address),
        false => client.address.clone(),
    };
    headers.insert(X_FORWARDED_FOR, forwarded_for);
    let own =
        [(X_FORWARDED_PROTO, &client.scheme), (X_FORWARDED_PORT, &client.port), (X_FORWARDED_HOST, host)];
    for (name, value) in own {
        if !client.trusted || !keep_first(headers, &name) {
            headers.insert(name, value.clone());
        }
    }
}

/// By what the request is found again in logs and traces; kept from whoever gave it one.
fn say_ids(headers: &mut HeaderMap, client: &Client) {
    let ids = &client.event_loop.request_ids;
    if !keep_first(headers, &X_REQUEST_ID) {
        headers.insert(X_REQUEST_ID, ids.next());
    }
    let (root, parent) = (keep_first(headers, &X_AMZN_TRACE_ID), keep_first(headers, &TRACEPARENT));
    if root && parent {
        return;
    }
    let trace = ids.trace();
    if !root {
        headers.insert(X_AMZN_TRACE_ID, trace.root());
    }
    if !parent {
        headers.insert(TRACEPARENT, trace.parent());
    }
}

/// Leaves one line of a header, because readers differ in which one they take; whether there is one.
fn keep_first(headers: &mut HeaderMap, name: &HeaderName) -> bool {
    let mut lines = headers.get_all(name).iter();
    let Some(first) = lines.next() else { return false };
    if lines.next().is_some() {
        let first = first.clone();
        headers.insert(name, first);
    }
    true
}

/// Makes an instance's response head into the one that the client gets.
pub(crate) fn prepare_response(parts: &mut response::Parts, client: &Client) {
    let via = client.event_loop.settings.edge.via.as_ref().map(|via| via.of(parts.version));
    strip_connection_headers(&mut parts.headers);
    if let Some(via) = via {
        parts.headers.append(VIA, via.clone());
    }
    parts.version = Version::HTTP_11;
}

/// Whether the proxy can call itself so in Via: a word.
pub fn is_via_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',')
}

/// What Via says of messages that came by either version.
#[derive(Clone, Debug)]
pub(crate) struct Via {
    http1: HeaderValue,
    http2: HeaderValue,
}

impl Via {
    /// `None`: the name cannot stand in a header.
    pub(crate) fn new(name: &str) -> Option<Via> {
        let of = |version: &str| HeaderValue::from_str(&format!("{version} {name}")).ok();
        if is_via_name(name) { Some(Via { http1: of("1.1")?, http2: of("2")? }) } else { None }
    }

    pub(crate) fn of(&self, version: Version) -> &HeaderValue {
        if version == Version::HTTP_2 { &self.http2 } else { &self.http1 }
    }
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

/// The target with its host, as HTTP/2 has it.
fn absolute_form(uri: &Uri, method: &Method, host: &HeaderValue) -> Option<Uri> {
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(Authority::try_from(host.as_bytes()).ok()?);
    let target = origin_form(uri, method);
    parts.path_and_query = target.path_and_query().cloned().or(Some(PathAndQuery::from_static("/")));
    Uri::from_parts(parts).ok()
}

/// Path and query alone, as an origin server expects them.
fn origin_form(uri: &Uri, method: &Method) -> Uri {
    match uri.path_and_query() {
        Some(target) if target.as_str().starts_with('/') => Uri::from(target.clone()),
        // An absolute target may leave the path out and still have a query.
        Some(target) if target.query().is_some() => {
            let target = format!("/?{}", target.query().unwrap_or_default());
            target.parse().unwrap_or(Uri::from_static("/"))
        }
        _ if *method == Method::OPTIONS => Uri::from_static("*"),
        _ => Uri::from_static("/"),
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
mod tests;
