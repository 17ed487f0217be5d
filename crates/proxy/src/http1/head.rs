//! Writes heads: header lines are copied once, in runs of those that pass, and what the proxy says is put behind them.

use crate::client::Client;
use crate::http1::body::Framing;
use crate::http1::parse::{Kind, RequestHead, ResponseHead, Target, offset, request_kind};
use crate::request_id::RequestIds;
use http::header::COOKIE;
use http::{HeaderMap, HeaderValue, Method, request};
use httparse::Header;

/// What the answer says about the client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Connection {
    /// It stays open, as HTTP/1.1 has it.
    Stays,
    /// The same, to a client of HTTP/1.0, which must be told.
    KeepAlive,
    Close,
}

/// What is said about where a request came from.
pub(crate) struct Peer<'a> {
    pub(crate) address: &'a [u8],
    pub(crate) scheme: &'a [u8],
    pub(crate) port: &'a [u8],
    /// What it says itself about where its requests came from is believed.
    pub(crate) trusted: bool,
    pub(crate) ids: &'a RequestIds,
}

impl<'a> Peer<'a> {
    pub(crate) fn of(client: &'a Client) -> Peer<'a> {
        Peer {
            address: client.address.as_bytes(),
            scheme: client.scheme.as_bytes(),
            port: client.port.as_bytes(),
            trusted: client.trusted,
            ids: &client.event_loop.request_ids,
        }
    }

    /// The lines that are the same for all requests of one connection.
    pub(crate) fn lines(&self) -> Vec<u8> {
        let mut lines = Vec::with_capacity(128);
        self.write(&mut lines);
        lines
    }

    fn write(&self, out: &mut Vec<u8>) {
        line(out, b"x-forwarded-for: ", self.address);
        line(out, b"x-forwarded-proto: ", self.scheme);
        line(out, b"x-forwarded-port: ", self.port);
    }
}

/// Which of a client's lines pass, and what is then left for the proxy to say.
struct Choice {
    /// What the client says about where its requests came from is believed.
    trusted: bool,
    /// Its Host lines pass; else the proxy writes one.
    host: bool,
    missing: [Kind; 3],
    unsaid: [Kind; 3],
}

impl Choice {
    fn new(trusted: bool, host: bool) -> Choice {
        Choice {
            trusted,
            host,
            missing: [Kind::RequestId, Kind::AmznTraceId, Kind::TraceParent],
            unsaid: [Kind::ForwardedProto, Kind::ForwardedHost, Kind::ForwardedPort],
        }
    }

    /// To be asked once for each line, in their order.
    fn passes(&mut self, kind: Kind) -> bool {
        // A second line of what is already there does not pass: readers differ in which one they take.
        let first = |kinds: &mut [Kind; 3]| match kinds.iter_mut().find(|known| **known == kind) {
            Some(known) => {
                *known = Kind::Pass;
                true
            }
            None => false,
        };
        match kind {
            Kind::Pass | Kind::Length => true,
            Kind::Drop | Kind::ForwardedFor => false,
            Kind::Host => self.host,
            Kind::Hearsay => self.trusted,
            Kind::ForwardedProto | Kind::ForwardedHost | Kind::ForwardedPort => {
                self.trusted && first(&mut self.unsaid)
            }
            Kind::RequestId | Kind::AmznTraceId | Kind::TraceParent => first(&mut self.missing),
        }
    }
}

/// The head that the instance gets. `host` as the client wrote it; `lines` are what `Peer::lines` made. Gives the
/// request's id if the client brought none.
pub(crate) fn write_request(
    request: &RequestHead<'_, '_>,
    host: &[u8],
    peer: &Peer<'_>,
    lines: &[u8],
    out: &mut Vec<u8>,
) -> Option<[u8; 32]> {
    out.extend_from_slice(request.method.as_bytes());
    out.push(b' ');
    write_target(request, out);
    out.extend_from_slice(b" HTTP/1.1\r\n");
    let absolute = matches!(request.target, Target::Absolute { .. });
    if absolute {
        line(out, b"host: ", host);
    }
    let mut choice = Choice::new(peer.trusted, !absolute);
    copy_lines(request.head, request.headers, out, |number| choice.passes(request.kinds[number]));
    if request.framing == Framing::Chunked {
        out.extend_from_slice(b"transfer-encoding: chunked\r\n");
    }
    if peer.trusted {
        let forwarded = request.headers.iter().zip(&request.kinds);
        let forwarded = forwarded.filter(|(_, kind)| **kind == Kind::ForwardedFor);
        write_trusted(forwarded.map(|(header, _)| header.value), peer, &choice.unsaid, out);
    } else {
        out.extend_from_slice(lines);
    }
    write_end(peer, host, &choice, out)
}

/// The same for a request that came by HTTP/2 and has no body. `via`: what the proxy says of itself, where it does.
pub(crate) fn write_request_of_http2(
    request: &request::Parts,
    host: &[u8],
    peer: &Peer<'_>,
    via: Option<&HeaderValue>,
    out: &mut Vec<u8>,
) -> Option<[u8; 32]> {
    out.extend_from_slice(request.method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(request.uri.path_and_query().map_or("/", |target| target.as_str()).as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    line(out, b"host: ", host);
    let mut choice = Choice::new(peer.trusted, false);
    let mut cookies = false;
    for (name, value) in &request.headers {
        let kind = request_kind(name.as_str());
        // There is no body, whatever was said of one.
        if kind == Kind::Length || !choice.passes(kind) {
            continue;
        }
        if name == COOKIE {
            if !std::mem::replace(&mut cookies, true) {
                write_cookies(&request.headers, out);
            }
            continue;
        }
        out.extend_from_slice(name.as_str().as_bytes());
        line(out, b": ", value.as_bytes());
    }
    if let Some(via) = via {
        line(out, b"via: ", via.as_bytes());
    }
    // Servers that want to know how long a body is want to know that of none (RFC 9110 §8.6).
    if matches!(request.method, Method::POST | Method::PUT | Method::PATCH) {
        out.extend_from_slice(b"content-length: 0\r\n");
    }
    if peer.trusted {
        let forwarded = request.headers.get_all("x-forwarded-for").iter();
        write_trusted(forwarded.map(HeaderValue::as_bytes), peer, &choice.unsaid, out);
    } else {
        peer.write(out);
    }
    write_end(peer, host, &choice, out)
}

/// HTTP/2 may send each cookie in a field of its own; HTTP/1 has one line (RFC 9113 §8.2.3).
fn write_cookies(headers: &HeaderMap, out: &mut Vec<u8>) {
    for (number, value) in headers.get_all(COOKIE).iter().enumerate() {
        out.extend_from_slice(if number == 0 { b"cookie: " } else { b"; " });
        out.extend_from_slice(value.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

/// The host that a trusted proxy did not say, what the request is found by, and the empty line.
fn write_end(peer: &Peer<'_>, host: &[u8], choice: &Choice, out: &mut Vec<u8>) -> Option<[u8; 32]> {
    // The one that came with a trusted proxy was copied.
    if choice.unsaid.contains(&Kind::ForwardedHost) {
        line(out, b"x-forwarded-host: ", host);
    }
    let made = write_ids(peer.ids, &choice.missing, out);
    out.extend_from_slice(b"\r\n");
    made
}

/// Path and query alone, as an origin server expects them.
fn write_target(request: &RequestHead<'_, '_>, out: &mut Vec<u8>) {
    match request.target {
        Target::Origin(target) => out.extend_from_slice(target.as_bytes()),
        Target::Absolute { rest: "", .. } if request.method == "OPTIONS" => out.push(b'*'),
        Target::Absolute { rest, .. } => {
            // An absolute target may leave the path out, and have a query all the same.
            if !rest.starts_with('/') {
                out.push(b'/');
            }
            out.extend_from_slice(rest.as_bytes());
        }
    }
}

/// Behind a proxy that is trusted, the list goes on, and what it did not say is said. `forwarded` are its lines of
/// X-Forwarded-For.
fn write_trusted<'a>(
    forwarded: impl Iterator<Item = &'a [u8]>,
    peer: &Peer<'_>,
    unsaid: &[Kind; 3],
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(b"x-forwarded-for: ");
    for value in forwarded {
        out.extend_from_slice(value);
        out.extend_from_slice(b", ");
    }
    out.extend_from_slice(peer.address);
    out.extend_from_slice(b"\r\n");
    if unsaid.contains(&Kind::ForwardedProto) {
        line(out, b"x-forwarded-proto: ", peer.scheme);
    }
    if unsaid.contains(&Kind::ForwardedPort) {
        line(out, b"x-forwarded-port: ", peer.port);
    }
}

/// What the client did not bring. Gives the id that was made for the request, if one was.
fn write_ids(ids: &RequestIds, missing: &[Kind; 3], out: &mut Vec<u8>) -> Option<[u8; 32]> {
    let made = missing.contains(&Kind::RequestId).then(|| ids.next_text());
    if let Some(id) = &made {
        line(out, b"x-request-id: ", id);
    }
    if !missing.contains(&Kind::AmznTraceId) && !missing.contains(&Kind::TraceParent) {
        return made;
    }
    let trace = ids.trace();
    if missing.contains(&Kind::AmznTraceId) {
        line(out, b"x-amzn-trace-id: ", &trace.root_text());
    }
    if missing.contains(&Kind::TraceParent) {
        line(out, b"traceparent: ", &trace.parent_text());
    }
    made
}

/// The head of an answer that the client gets. `chunked`: how its body will be written; `length`: whether the length
/// that the instance gave is one that the client may read.
pub(crate) fn write_response(
    response: &ResponseHead<'_, '_>,
    chunked: bool,
    length: bool,
    connection: Connection,
    out: &mut Vec<u8>,
) {
    write_status(response, out);
    copy_lines(response.head, response.headers, out, |number| match response.kinds[number] {
        Kind::Drop => false,
        Kind::Length => length,
        _ => true,
    });
    if chunked {
        out.extend_from_slice(b"transfer-encoding: chunked\r\n");
    }
    match connection {
        Connection::Stays => {}
        Connection::KeepAlive => out.extend_from_slice(b"connection: keep-alive\r\n"),
        Connection::Close => out.extend_from_slice(b"connection: close\r\n"),
    }
    out.extend_from_slice(b"\r\n");
}

/// An answer before the answer.
pub(crate) fn write_interim(response: &ResponseHead<'_, '_>, out: &mut Vec<u8>) {
    write_status(response, out);
    copy_lines(response.head, response.headers, out, |number| response.kinds[number] == Kind::Pass);
    out.extend_from_slice(b"\r\n");
}

/// Our version, and code and reason as they came.
fn write_status(response: &ResponseHead<'_, '_>, out: &mut Vec<u8>) {
    const VERSION: usize = b"HTTP/1.1 ".len();
    let end = match response.headers.first() {
        Some(first) => offset(response.head, first.name) - b"\r\n".len(),
        None => response.head.len() - b"\r\n\r\n".len(),
    };
    let status = &response.head[VERSION..end];
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status);
    if status.len() == b"200".len() {
        // The space is part of the line also where there is no reason.
        out.push(b' ');
    }
    out.extend_from_slice(b"\r\n");
}

/// Copies the lines that pass, neighbours at once.
fn copy_lines(head: &[u8], headers: &[Header<'_>], out: &mut Vec<u8>, mut passes: impl FnMut(usize) -> bool) {
    let mut run = None;
    for (number, header) in headers.iter().enumerate() {
        let at = offset(head, header.name);
        match (passes(number), run) {
            (true, None) => run = Some(at),
            (false, Some(start)) => {
                out.extend_from_slice(&head[start..at]);
                run = None;
            }
            (true, Some(_)) | (false, None) => {}
        }
    }
    if let Some(start) = run {
        out.extend_from_slice(&head[start..head.len() - b"\r\n".len()]);
    }
}

fn line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests;
