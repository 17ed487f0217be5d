//! Requests that readers differ in, or might, and what becomes of each.

use super::HOST;
use super::world::Done;

/// What is expected of both.
#[derive(Debug)]
pub(super) enum Expect {
    /// Both pass on so many requests, and the same ones.
    Taken(usize),
    /// Both refuse it, we with this status.
    Refused(u16),
    /// Both know nobody by this name.
    Elsewhere,
    /// It has not come whole: both pass nothing on, and have nothing to say.
    Unfinished,
    /// nginx passes on what is refused here, for this reason.
    Stricter(&'static str),
    /// nginx refuses what is passed on here, for this reason.
    Wider(&'static str),
    /// Both pass on one request, and not the same one, for this reason.
    Differs(&'static str),
    /// It is refused here, and by nginx in some of its versions, for this reason.
    Changed(&'static str),
}
use Expect::{Changed, Differs, Elsewhere, Refused, Stricter, Taken, Unfinished, Wider};

impl Expect {
    /// Whether we end the connection by ourselves.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self, Refused(_) | Stricter(_) | Changed(_))
    }

    /// Why not, where it is not met.
    pub(super) fn check(&self, ours: &Done, theirs: &Done) -> Result<(), &'static str> {
        let (our_count, their_count) = (ours.seen.len(), theirs.seen.len());
        let well = ours.is_served() && theirs.is_served();
        let met = match self {
            Taken(count) => well && ours.seen == theirs.seen && our_count == *count,
            Refused(status) => {
                let theirs_refuse = theirs.seen.is_empty() && !theirs.is_silent();
                ours.is_refused() && ours.status() == Some(*status) && our_count == 0 && theirs_refuse
            }
            Elsewhere => {
                our_count == 0
                    && their_count == 0
                    && [ours, theirs].iter().all(|one| one.status() == Some(404))
            }
            Unfinished => ours.is_silent() && theirs.is_silent() && our_count == 0 && their_count == 0,
            Stricter(_) => {
                ours.is_refused() && our_count < their_count && theirs.seen.starts_with(&ours.seen)
            }
            Wider(_) => {
                let ends = theirs.answers.last().is_some_and(|last| last.closes);
                ours.is_served() && ends && their_count < our_count && ours.seen.starts_with(&theirs.seen)
            }
            Differs(_) => well && our_count == 1 && their_count == 1 && ours.seen != theirs.seen,
            Changed(_) => ours.is_refused() && our_count == 0,
        };
        match (met, self) {
            (true, _) => Ok(()),
            (false, Stricter(reason) | Wider(reason) | Differs(reason) | Changed(reason)) => Err(reason),
            (false, Taken(_) | Refused(_) | Elsewhere | Unfinished) => Err("nobody reads it in two ways"),
        }
    }
}

/// A request with these lines behind its Host.
fn with(first: &str, lines: &str, body: &str) -> String {
    format!("{first} HTTP/1.1\r\nHost: {HOST}\r\n{lines}\r\n{body}")
}

fn get(target: &str) -> String {
    with(&format!("GET {target}"), "", "")
}

/// A POST with this body, and behind it a request that is hidden if one reader ends the body earlier than another.
fn post(lines: &str, body: &str) -> String {
    with("POST /", lines, body) + &get("/behind")
}

fn chunked(body: &str) -> String {
    post("Transfer-Encoding: chunked\r\n", body)
}

const LINE_ENDS: &str = "a line feed alone ends a line for some readers and not for others";
const SPACES: &str = "only one space stands between the parts of a first line (RFC 9112 §3)";
const CHARACTERS: &str = "a URL holds no other characters (RFC 3986)";
pub(super) const TABS: &str = "a tab is as good as a space around a value (RFC 9110 §5.6.3)";
pub(super) const PATHS: &str =
    "what a path means is the application's to say: it goes on as it came and nothing here reads it";
pub(super) const METHODS: &str = "which methods there are is the application's to say (RFC 9110 §9.1)";
pub(super) const ASTERISK: &str = "a question to the server as a whole (RFC 9110 §9.3.7, RFC 9112 §3.2.4)";
pub(super) const ABSOLUTE: &str =
    "the Host beside an absolute target is ignored, whatever it says (RFC 9112 §3.2.2)";
pub(super) const TWICE: &str = "a line that comes twice is the application's to read";
pub(super) const CLOSES: &str =
    "Connection is a list, and not any text that a word is found in (RFC 9110 §7.6.1)";
const NAMES: &str = "a header's name is a token, and a line that is none may be read as something else";

fn first_lines() -> Vec<(String, Expect)> {
    let host = format!("\r\nHost: {HOST}\r\n\r\n");
    let line = |text: &str| format!("{text}{host}");
    vec![
        (get("/"), Taken(1)),
        (get("/a/./b//c?d=%20&e=+"), Taken(1)),
        (get("/%41%2f%2F;a=b,c:d@e!$&'()*~"), Taken(1)),
        (get("/?"), Taken(1)),
        (get("//host/path"), Taken(1)),
        (get("/\"<>\\^`{|}"), Taken(1)),
        (get("/#fragment"), Stricter(CHARACTERS)),
        (get("/\u{e4}"), Stricter(CHARACTERS)),
        (get("/%zz"), Wider(PATHS)),
        (get("/%00"), Wider(PATHS)),
        (get("/../a"), Wider(PATHS)),
        (get("/\u{1}"), Refused(400)),
        (get("/\u{7f}"), Refused(400)),
        (get("/\0"), Refused(400)),
        (get("/a b"), Refused(400)),
        (get("/a\tb"), Refused(400)),
        (get("a"), Refused(400)),
        (get("*"), Refused(400)),
        (with("OPTIONS *", "", ""), Wider(ASTERISK)),
        (with("OPTIONS http://app.localhost", "", ""), Differs(ASTERISK)),
        (with("OPTIONS /", "", ""), Taken(1)),
        (with("HEAD /", "", "") + &get("/behind"), Taken(2)),
        (with("M-SEARCH /", "", ""), Taken(1)),
        (with("BREW /", "", ""), Taken(1)),
        (with("get /", "", ""), Wider(METHODS)),
        (with("TRACE /", "", ""), Wider(METHODS)),
        (with("A.B!c /", "", ""), Wider(METHODS)),
        (with("G(T /", "", ""), Refused(400)),
        (with("CONNECT app.localhost:443", "", ""), Refused(400)),
        (with("CONNECT /", "", ""), Refused(400)),
        (get("http://app.localhost/a?b"), Taken(1)),
        (get("HTTP://APP.localhost:80/a?b"), Taken(1)),
        (get("https://app.localhost/"), Taken(1)),
        (get("http://app.localhost"), Taken(1)),
        (get("http://app.localhost?b"), Taken(1)),
        (
            get("http://app.localhost?"),
            Differs("nginx takes an empty query off, behind a path that it added"),
        ),
        (get("http://other/"), Elsewhere),
        (get("http://user@app.localhost/"), Refused(400)),
        (get("http:///a"), Refused(400)),
        (get("http://app.localhost:x/"), Refused(400)),
        (get("ftp://app.localhost/"), Stricter("another protocol's address is asked for")),
        ("GET http://app.localhost/ HTTP/1.1\r\nHost: other\r\n\r\n".into(), Taken(1)),
        ("GET http://app.localhost/ HTTP/1.1\r\nHost: a/b\r\n\r\n".into(), Wider(ABSOLUTE)),
        ("GET http://other/ HTTP/1.1\r\nHost: app.localhost\r\n\r\n".into(), Elsewhere),
        (line("GET / HTTP/1.0"), Taken(1)),
        (line("GET / HTTP/1.2"), Stricter("a version that does not exist")),
        (line("GET / HTTP/2.0"), Refused(400)),
        (line("GET / HTTP/0.9"), Refused(400)),
        (line("GET / http/1.1"), Refused(400)),
        (line("GET / HTTP/1.1x"), Refused(400)),
        (line("GET /"), Refused(400)),
        (line("GET"), Refused(400)),
        (line("GET  / HTTP/1.1"), Stricter(SPACES)),
        (line("GET /  HTTP/1.1"), Stricter(SPACES)),
        (line("GET / HTTP/1.1 "), Stricter(SPACES)),
        (line("GET\t/\tHTTP/1.1"), Refused(400)),
        (line(" GET / HTTP/1.1"), Refused(400)),
        (format!("\r\n{}", get("/")), Taken(1)),
        (format!("\r\n\r\n\r\n{}", get("/")), Stricter("more than the empty lines that old clients send")),
        (format!("\n{}", get("/")), Stricter(LINE_ENDS)),
        (format!("{}{}", get("/1"), get("/2")), Taken(2)),
        (get("/").replace("\r\n", "\n"), Stricter(LINE_ENDS)),
        ("GET /\r\n".into(), Refused(400)),
        (String::new(), Unfinished),
        ("GET / HTTP/1.1\r\nHost: app.localhost\r\n".into(), Unfinished),
    ]
}

fn headers() -> Vec<(String, Expect)> {
    let host = |text: &str| format!("GET / HTTP/1.1\r\n{text}\r\n");
    let line = |text: &str| with("GET /", text, "");
    vec![
        (host("Host: APP.LOCALHOST:8080\r\n"), Taken(1)),
        (host("Host: app.localhost.\r\n"), Taken(1)),
        (host("HOST:app.localhost   \r\n"), Taken(1)),
        (host("Host:\tapp.localhost\t\r\n"), Wider(TABS)),
        (host(""), Refused(400)),
        (host("Host:\r\n"), Refused(400)),
        (host("Host: app.localhost\r\nHost: app.localhost\r\n"), Refused(400)),
        (host("Host: app.localhost\r\nHost: other\r\n"), Refused(400)),
        (host("Host: app.localhost, other\r\n"), Refused(400)),
        (host("Host: app.localhost/\r\n"), Refused(400)),
        (host("Host: app.localhost:x\r\n"), Changed("a port is a number")),
        (host("Host: user@app.localhost\r\n"), Refused(400)),
        (host("Host: other\r\n") + &get("/behind"), Taken(1)),
        ("GET / HTTP/1.0\r\n\r\n".into(), Elsewhere),
        (line("X: y\r\n"), Taken(1)),
        (line("X:\r\n"), Taken(1)),
        (line("X: \u{e4}\r\n"), Taken(1)),
        (line("X_Y: z\r\n"), Taken(1)),
        (line("X!#$%&'*+.^`|~: y\r\n"), Taken(1)),
        (line("X(: y\r\n"), Stricter(NAMES)),
        (line("X\u{e4}: y\r\n"), Stricter(NAMES)),
        (line("X\r\n"), Changed(NAMES)),
        (line("X : y\r\n"), Refused(400)),
        (line(" X: y\r\n"), Refused(400)),
        (line(": y\r\n"), Refused(400)),
        (line("X y: z\r\n"), Refused(400)),
        (line("X\0: y\r\n"), Refused(400)),
        (line("X: y\0z\r\n"), Refused(400)),
        (line("X: y\rz\r\n"), Refused(400)),
        (line("X: y\r\n z\r\n"), Refused(400)),
        (line("X: y\nZ: z\r\n"), Stricter(LINE_ENDS)),
        (line("X: \u{1}\r\n"), Stricter("control characters are nobody's text (RFC 9110 §5.5)")),
        (line("Expect: 100-continue\r\n"), Taken(1)),
        (line("Expect: the-unexpected\r\n"), Taken(1)),
        (line("Expect: a\r\nExpect: b\r\n"), Wider(TWICE)),
        (line("Connection: disclose\r\n") + &get("/behind"), Wider(CLOSES)),
        (line("Connection: close\r\n") + &get("/behind"), Taken(1)),
        (line("Connection: host, content-length\r\n") + &get("/behind"), Taken(2)),
        (line("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n"), Taken(1)),
        (line("TE: trailers\r\nKeep-Alive: 5\r\nProxy-Connection: keep-alive\r\n"), Taken(1)),
        (format!("GET / HTTP/1.0\r\nHost: {HOST}\r\nConnection: keep-alive\r\n\r\n{}", get("/2")), Taken(2)),
        (format!("GET / HTTP/1.0\r\nHost: {HOST}\r\n\r\n{}", get("/2")), Taken(1)),
    ]
}

fn bodies() -> Vec<(String, Expect)> {
    let length = |value: &str| post(&format!("Content-Length:{value}\r\n"), "abc");
    let coding = |value: &str| post(&format!("Transfer-Encoding:{value}\r\n"), "0\r\n\r\n");
    vec![
        (length(" 3"), Taken(2)),
        (length("3   "), Taken(2)),
        (length(" 003"), Taken(2)),
        (length("\t3"), Wider(TABS)),
        (length(&format!(" {}3", "0".repeat(30))), Stricter("more digits than a number of 64 bits has")),
        (length(" +3"), Refused(400)),
        (length(" -3"), Refused(400)),
        (length(" 0x3"), Refused(400)),
        (length(" 3,3"), Refused(400)),
        (length(" 3 3"), Refused(400)),
        (length(" 3.0"), Refused(400)),
        (length(" \u{b}3"), Refused(400)),
        (length(""), Refused(400)),
        (length(" 99999999999999999999"), Refused(400)),
        (length(" 3\r\nContent-Length: 3"), Refused(400)),
        (length(" 3\r\nContent-Length: 0"), Refused(400)),
        (length(" 3\r\nContent_Length: 0"), Taken(2)),
        (with("POST /", "Content-Length: 9\r\n", "abc"), Unfinished),
        (with("GET /", "Content-Length: 3\r\n", "abc") + &get("/behind"), Taken(2)),
        (with("POST /", "", "") + &get("/behind"), Taken(2)),
        (format!("POST / HTTP/1.0\r\nHost: {HOST}\r\nContent-Length: 3\r\n\r\nabc"), Taken(1)),
        (coding(" chunked"), Taken(2)),
        (coding("CHUNKED  "), Taken(2)),
        (coding("\tchunked"), Wider(TABS)),
        (coding(" \u{b}chunked"), Refused(400)),
        (coding(" xchunked"), Refused(501)),
        (coding(" \"chunked\""), Refused(400)),
        (coding(" gzip, chunked"), Refused(400)),
        (coding(" chunked, identity"), Refused(400)),
        (coding(" chunked\r\n identity"), Refused(400)),
        (coding(" chunked\r\nContent-Length: 5"), Refused(400)),
        (coding(" chunked\r\nContent-Length: 0"), Refused(400)),
        (coding(" chunked\r\nTransfer-Encoding: chunked"), Changed("one coding, named once")),
        (coding(" chunked\r\nTransfer-Encoding: x"), Changed("one coding, named once")),
        (coding(" chunked\r\nTransfer_Encoding: x"), Taken(2)),
        (coding(""), Refused(400)),
        (coding(" identity"), Changed("a coding that was taken out of the standard (RFC 9112 §7)")),
        (post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), Refused(400)),
        (
            format!("POST / HTTP/1.0\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            Refused(400),
        ),
        (chunked("3\r\nabc\r\n0\r\n\r\n"), Taken(2)),
        (chunked("003\r\nabc\r\n1\r\nd\r\n000\r\n\r\n"), Taken(2)),
        (chunked("3;a=b;c=\"d\"\r\nabc\r\n0\r\n\r\n"), Taken(2)),
        (chunked("A\r\n0123456789\r\n0\r\n\r\n"), Taken(2)),
        (chunked("3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n"), Taken(2)),
        (chunked("3\r\nabc\r\n0\r\nContent-Length: 9\r\nHost: b\r\n\r\n"), Taken(2)),
        (chunked("3 \r\nabc\r\n0\r\n\r\n"), Stricter("no space stands behind a length (RFC 9112 §7.1)")),
        (chunked("3\nabc\r\n0\r\n\r\n"), Stricter(LINE_ENDS)),
        (chunked("3\r\nabc\n0\r\n\r\n"), Stricter(LINE_ENDS)),
        (chunked("3\r\nabc\r\n0\n\n"), Stricter(LINE_ENDS)),
        (chunked("3;a\nb\r\nabc\r\n0\r\n\r\n"), Refused(400)),
        (chunked("3\r\nabcd\r\n0\r\n\r\n"), Refused(400)),
        (chunked("0x3\r\nabc\r\n0\r\n\r\n"), Refused(400)),
        (chunked("+3\r\nabc\r\n0\r\n\r\n"), Refused(400)),
        (chunked("-3\r\nabc\r\n0\r\n\r\n"), Refused(400)),
        (chunked(" 3\r\nabc\r\n0\r\n\r\n"), Refused(400)),
        (chunked(";a\r\nabc\r\n0\r\n\r\n"), Refused(400)),
        (chunked("\r\n"), Refused(400)),
        (chunked("fffffffffffffffff\r\nabc\r\n0\r\n\r\n"), Refused(400)),
        (
            chunked(&format!("3;{}\r\nabc\r\n0\r\n\r\n", "a".repeat(9_000))),
            Stricter("4 KiB for a line is enough"),
        ),
        (with("POST /", "Transfer-Encoding: chunked\r\n", "3\r\nab"), Unfinished),
        (with("POST /", "Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n0\r\n"), Unfinished),
    ]
}

pub(super) fn cases() -> impl Iterator<Item = (String, Expect)> {
    [first_lines(), headers(), bodies()].into_iter().flatten()
}
