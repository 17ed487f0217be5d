//! Reads requests as strictly as anybody does: whatever another reader could take in another way, and whatever the
//! proxy should have said or taken off, is wrong.

use super::HOST;
use std::io::{BufRead, Read};
use std::net::Ipv4Addr;

/// A line may have the length of a head.
const LINE_BYTES_MAX: u64 = 128 * 1024;
/// What the proxy says, each once.
const ONCE: [&str; 7] = [
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-port",
    "x-forwarded-host",
    "x-request-id",
    "x-amzn-trace-id",
    "traceparent",
];
/// What concerns the client's connection only, or imitates what the proxy says.
const NEVER: [&str; 9] = [
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "expect",
    "forwarded",
    "x-real-ip",
];

/// Why a request was not read to its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Short {
    /// The connection ended before.
    Cut,
    Wrong(String),
}

fn wrong<T>(what: impl Into<String>) -> Result<T, Short> {
    Err(Short::Wrong(what.into()))
}

#[derive(Debug)]
pub(super) struct Head {
    pub(super) method: String,
    pub(super) target: String,
    /// Names in lower case.
    lines: Vec<(String, String)>,
}

impl Head {
    fn all(&self, name: &str) -> Vec<&str> {
        self.lines.iter().filter(|(n, _)| n == name).map(|(_, value)| value.as_str()).collect()
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }

    pub(super) fn is_websocket(&self) -> bool {
        self.all("upgrade") == ["websocket"]
    }
}

pub(super) fn head(read: &mut impl BufRead) -> Result<Head, Short> {
    let first = line(read)?;
    let [method, target, version] = first.split(' ').collect::<Vec<_>>()[..] else {
        return wrong(format!("no first line: {first:?}"));
    };
    let has_form = target.starts_with('/') || target == "*" && method == "OPTIONS";
    let is_url = target.bytes().all(|byte| byte.is_ascii_graphic()) && !target.contains('#');
    if version != "HTTP/1.1" || !is_token(method) || method == "CONNECT" || !has_form || !is_url {
        return wrong(format!("no first line: {first:?}"));
    }
    let mut head = Head { method: method.to_owned(), target: target.to_owned(), lines: Vec::new() };
    loop {
        let text = line(read)?;
        if text.is_empty() {
            break;
        }
        head.lines.push(field(&text)?);
    }
    match check(&head) {
        Ok(()) => Ok(head),
        Err(why) => wrong(format!("{why}: {head:?}")),
    }
}

/// Its length.
pub(super) fn body(read: &mut impl BufRead, head: &Head) -> Result<u64, Short> {
    if let [length] = head.all("content-length")[..] {
        let length = length.parse().map_err(|_| Short::Wrong("no length".to_owned()))?;
        return skip(read, length);
    }
    if head.all("transfer-encoding").is_empty() {
        return Ok(0);
    }
    let mut whole = 0;
    loop {
        let text = line(read)?;
        let is_size = text.bytes().all(|byte| byte.is_ascii_hexdigit()) && text.len() < 16;
        let size = u64::from_str_radix(&text, 16).ok().filter(|_| is_size);
        let Some(size) = size else { return wrong(format!("no size: {text:?}")) };
        if size == 0 {
            break;
        }
        whole += skip(read, size)?;
        if !line(read)?.is_empty() {
            return wrong("a chunk that does not end");
        }
    }
    loop {
        let text = line(read)?;
        if text.is_empty() {
            return Ok(whole);
        }
        let (name, _) = field(&text)?;
        let framing = ["host", "content-length", "transfer-encoding", "connection", "upgrade"];
        if framing.contains(&name.as_str()) || ONCE.contains(&name.as_str()) || is_foreign(&name) {
            return wrong(format!("the trailer {text:?}"));
        }
    }
}

fn skip(read: &mut impl BufRead, length: u64) -> Result<u64, Short> {
    let skipped = std::io::copy(&mut read.by_ref().take(length), &mut std::io::sink());
    if skipped.is_ok_and(|skipped| skipped == length) { Ok(length) } else { Err(Short::Cut) }
}

/// Without its end. Values may hold other bytes than ASCII, names may not.
fn line(read: &mut impl BufRead) -> Result<String, Short> {
    let mut bytes = Vec::new();
    if read.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes).is_err() || !bytes.ends_with(b"\n") {
        return if bytes.len() as u64 == LINE_BYTES_MAX {
            wrong("a line without an end")
        } else {
            Err(Short::Cut)
        };
    }
    let text: String = bytes.iter().map(|byte| char::from(*byte)).collect();
    match text.strip_suffix("\r\n") {
        Some(line) if !line.contains(|c: char| c.is_ascii_control() && c != '\t') => Ok(line.to_owned()),
        _ => wrong(format!("no line: {text:?}")),
    }
}

fn field(text: &str) -> Result<(String, String), Short> {
    match text.split_once(':') {
        Some((name, value)) if is_token(name) => {
            Ok((name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()))
        }
        _ => wrong(format!("no header: {text:?}")),
    }
}

fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// Whether a name was for the proxy alone, or is read as one of its own by many.
fn is_foreign(name: &str) -> bool {
    let reads_as = name.replace('_', "-");
    let imitates = ONCE.contains(&reads_as.as_str()) || reads_as.starts_with("x-forwarded-");
    NEVER.contains(&reads_as.as_str()) || imitates && !ONCE.contains(&name)
}

fn check(head: &Head) -> Result<(), String> {
    for name in ONCE.iter().chain(&["host"]) {
        if head.all(name).len() != 1 {
            return Err(format!("{name} stands {} times", head.all(name).len()));
        }
    }
    if let Some((name, _)) = head.lines.iter().find(|(name, _)| is_foreign(name)) {
        return Err(format!("{name} is not for an application"));
    }
    let says = |name: &str, value: &str| head.all(name) == [value];
    let host = head.all("host")[0];
    let from = head.all("x-forwarded-for")[0];
    let place = [
        (is_ours(host), "another host"),
        (says("x-forwarded-host", host), "two hosts"),
        (says("x-forwarded-proto", "http"), "another door"),
        (from.parse::<Ipv4Addr>().is_ok_and(|from| from.is_loopback()), "from elsewhere"),
    ];
    if let Some((_, what)) = place.iter().find(|(is, _)| !is) {
        return Err((*what).to_owned());
    }
    framing(head).map_err(str::to_owned)
}

fn is_ours(host: &str) -> bool {
    let (name, port) = host.split_once(':').unwrap_or((host, ""));
    let name = name.strip_suffix('.').unwrap_or(name);
    name.eq_ignore_ascii_case(HOST) && port.bytes().all(|byte| byte.is_ascii_digit())
}

fn framing(head: &Head) -> Result<(), &'static str> {
    let is_length =
        |text: &str| (1..=19).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    match (&head.all("content-length")[..], &head.all("transfer-encoding")[..]) {
        ([], [] | ["chunked"]) => {}
        ([length], []) if is_length(length) => {}
        _ => return Err("a body that ends in several ways, or in none"),
    }
    let has_body =
        !head.all("transfer-encoding").is_empty() || head.all("content-length").iter().any(|l| *l != "0");
    match (&head.all("connection")[..], &head.all("upgrade")[..]) {
        ([], []) => Ok(()),
        ([connection], ["websocket"]) if connection.eq_ignore_ascii_case("upgrade") => {
            if head.method == "GET" && !has_body { Ok(()) } else { Err("no WebSocket") }
        }
        _ => Err("another protocol"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "x-forwarded-for: 127.1.0.1\r\nx-forwarded-proto: http\r\nx-forwarded-port: 80\r\n\
                        x-forwarded-host: app.localhost\r\nx-request-id: 1\r\nx-amzn-trace-id: 2\r\ntraceparent: 3\r\n";

    fn read(first: &str, lines: &str, rest: &str) -> Result<u64, Short> {
        let text = format!("{first}\r\nHost: app.localhost\r\n{lines}{OURS}\r\n{rest}");
        let mut bytes = text.as_bytes();
        let head = head(&mut bytes)?;
        let length = body(&mut bytes, &head)?;
        if bytes.is_empty() { Ok(length) } else { wrong("a rest") }
    }

    #[test]
    fn plain_requests_are_read() {
        assert_eq!(read("GET /a?b HTTP/1.1", "X: \u{e4}\ty \r\nX_Y:\r\n", ""), Ok(0));
        assert_eq!(read("OPTIONS * HTTP/1.1", "Content-Length: 3\r\n", "abc"), Ok(3));
        let chunks = "A\r\n0123456789\r\n1\r\nx\r\n0\r\nX: y\r\n\r\n";
        assert_eq!(read("p / HTTP/1.1", "transfer-encoding: chunked\r\n", chunks), Ok(11));
        assert_eq!(read("GET / HTTP/1.1", "Connection: Upgrade\r\nupgrade: websocket\r\n", ""), Ok(0));
    }

    #[test]
    fn what_ends_early_is_cut() {
        assert_eq!(read("POST / HTTP/1.1", "Content-Length: 3\r\n", "ab"), Err(Short::Cut));
        for rest in ["", "3", "3\r\nab", "3\r\nabc\r\n0\r\n", "0\r\nX: y\r\n"] {
            assert_eq!(
                read("POST / HTTP/1.1", "Transfer-Encoding: chunked\r\n", rest),
                Err(Short::Cut),
                "{rest:?}"
            );
        }
        assert_eq!(head(&mut &b"GET / HTTP/1.1\r\nHost: a\r\n"[..]).unwrap_err(), Short::Cut);
    }

    #[test]
    fn what_is_doubtful_is_wrong() {
        let check = |first: &str, lines: &str, rest: &str| {
            let read = read(first, lines, rest);
            assert!(matches!(read, Err(Short::Wrong(_))), "{first:?} {lines:?} {rest:?}: {read:?}");
        };
        for first in [
            "GET  / HTTP/1.1",
            "GET / HTTP/1.0",
            "GET a HTTP/1.1",
            "G:T / HTTP/1.1",
            "CONNECT / HTTP/1.1",
            "GET /\u{e4} HTTP/1.1",
            "GET /#a HTTP/1.1",
            "GET / HTTP/1.1\nX: y",
            "GET /",
        ] {
            check(first, "", "");
        }
        for lines in [
            "X : y\r\n",
            " X: y\r\n",
            "X: a\nb\r\n",
            "X: a\rb\r\n",
            "X: a\0b\r\n",
            ": y\r\n",
            "X\r\n",
            "Host: app.localhost\r\n",
            "Content-Length: 0\r\nContent-Length: 0\r\n",
            "Content-Length: +0\r\n",
            "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "x-request-id: 1\r\n",
            "X_Request_Id: 1\r\n",
            "X-Forwarded-For: 1.1.1.1\r\n",
            "X_Real-IP: 1\r\n",
            "X-Forwarded-Prefix: a\r\n",
            "TE: trailers\r\n",
            "Expect: 100-continue\r\n",
            "Upgrade: h2c\r\n",
            "Connection: close\r\n",
            "Connection: upgrade\r\nUpgrade: h2c\r\n",
            "Upgrade: websocket\r\n",
        ] {
            check("GET / HTTP/1.1", lines, "");
        }
        for rest in [
            "3;a\r\nabc\r\n0\r\n\r\n",
            "3\nabc\r\n0\r\n\r\n",
            "3\r\nabcd\r\n",
            "+3\r\nabc\r\n0\r\n\r\n",
            "0\r\nHost: b\r\n\r\n",
            "0\r\nx-request-id: 1\r\n\r\n",
            "0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        ] {
            check("POST / HTTP/1.1", "Transfer-Encoding: chunked\r\n", rest);
        }
        let other = format!("GET / HTTP/1.1\r\nHost: other\r\n{OURS}\r\n");
        assert!(matches!(head(&mut other.as_bytes()), Err(Short::Wrong(_))));
        let without = "GET / HTTP/1.1\r\nHost: app.localhost\r\n\r\n";
        assert!(matches!(head(&mut without.as_bytes()), Err(Short::Wrong(_))));
    }
}
