//! Reads heads strictly: what two readers could take in two ways is refused, never repaired.
//!
//! `httparse` knows the characters; what it lets pass and is refused here beside: a line feed alone, empty lines
//! between requests beyond the few that old clients send, a target that is no target, every doubt about where a body
//! ends, and more than one Host.

use crate::headers::{self, X_APRON_TRACE};
use crate::http1::body::Framing;
use crate::reply::Cause;
use httparse::{Error, Header, ParserConfig, Status};
use std::mem::MaybeUninit;

/// Header lines of one head; what most servers take.
pub(crate) const HEADERS_MAX: usize = 100;
/// Method, target and version; what most servers take is 8 to 16 KiB.
pub(crate) const REQUEST_LINE_BYTES_MAX: usize = 16 * 1024;
/// Empty lines before a request: some old clients send one behind a body.
pub(crate) const EMPTY_LINES_MAX: u32 = 2;
/// Names in Connection: as many as there could be headers to name.
const CONNECTION_OPTIONS_MAX: usize = HEADERS_MAX;
/// Digits of a length: more of them do not fit a u64.
const LENGTH_DIGITS_MAX: usize = 19;

/// Room for the headers of one head. It lies on the stack and is filled by the parser.
pub(crate) type Room<'b> = [MaybeUninit<Header<'b>>; HEADERS_MAX];

pub(crate) const fn room<'b>() -> Room<'b> {
    [MaybeUninit::uninit(); HEADERS_MAX]
}

/// What becomes of a header line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Goes on as it came.
    Pass,
    /// Concerns this connection only, or imitates what the proxy says.
    Drop,
    Host,
    Length,
    ForwardedFor,
    ForwardedProto,
    ForwardedHost,
    ForwardedPort,
    RequestId,
    AmznTraceId,
    TraceParent,
    /// Says where a request came from: passes from who is believed.
    Hearsay,
}

impl Kind {
    /// Whether Connection cannot take it off.
    fn is_fixed(self) -> bool {
        match self {
            Kind::Host
            | Kind::Length
            | Kind::ForwardedFor
            | Kind::ForwardedProto
            | Kind::ForwardedHost
            | Kind::ForwardedPort
            | Kind::Hearsay => true,
            Kind::Pass | Kind::Drop | Kind::RequestId | Kind::AmznTraceId | Kind::TraceParent => false,
        }
    }
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target<'b> {
    /// As it came: a path, or the asterisk of OPTIONS.
    Origin(&'b str),
    /// `http://authority` and what follows it, which may be nothing.
    Absolute { authority: &'b str, rest: &'b str },
}

pub(crate) struct RequestHead<'h, 'b> {
    pub(crate) head: &'b [u8],
    pub(crate) method: &'b str,
    pub(crate) target: Target<'b>,
    pub(crate) http11: bool,
    pub(crate) headers: &'h [Header<'b>],
    /// One for each of `headers`.
    pub(crate) kinds: [Kind; HEADERS_MAX],
    /// As it was written; an absolute target wins (RFC 9112 §3.2.2). None: HTTP/1.0 without one.
    pub(crate) host: Option<&'b [u8]>,
    pub(crate) framing: Framing,
    pub(crate) keep_alive: bool,
    /// The client waits for 100 before it sends its body.
    pub(crate) expects: bool,
    pub(crate) websocket: bool,
    /// The answer is to say where its time went.
    pub(crate) traced: bool,
    /// What decides how a refusal is written.
    pub(crate) accept: Option<&'b [u8]>,
    pub(crate) content_type: Option<&'b [u8]>,
}

pub(crate) struct ResponseHead<'h, 'b> {
    pub(crate) head: &'b [u8],
    pub(crate) code: u16,
    pub(crate) headers: &'h [Header<'b>],
    pub(crate) kinds: [Kind; HEADERS_MAX],
    /// As the headers say; whether there is a body at all also depends on the request.
    pub(crate) framing: Framing,
    pub(crate) keep_alive: bool,
}

impl RequestHead<'_, '_> {
    /// The value of the first header of this kind.
    pub(crate) fn first(&self, kind: Kind) -> Option<&[u8]> {
        self.headers.iter().zip(&self.kinds).find(|(_, one)| **one == kind).map(|(header, _)| header.value)
    }

    /// The path without its query.
    pub(crate) fn path(&self) -> &str {
        let target = match self.target {
            Target::Origin(target) => target,
            Target::Absolute { rest, .. } => rest,
        };
        match target.split('?').next() {
            None | Some("") => "/",
            Some(path) => path,
        }
    }

    /// Whether the client sends something behind it.
    pub(crate) fn has_body(&self) -> bool {
        !matches!(self.framing, Framing::None | Framing::Length(0))
    }

    /// Whether sending the request twice does what sending it once does (RFC 9110 §9.2.2).
    pub(crate) fn is_idempotent(&self) -> bool {
        matches!(self.method, "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE")
    }
}

impl ResponseHead<'_, '_> {
    /// How its body ends. `head_only`: it was asked for by HEAD, and has none, whatever it says.
    pub(crate) fn body(&self, head_only: bool) -> Framing {
        match self.code {
            _ if head_only => Framing::None,
            204 | 304 => Framing::None,
            _ => self.framing,
        }
    }
}

/// The head of a request, when the bytes hold all of it.
pub(crate) fn request<'h, 'b>(
    bytes: &'b [u8],
    room: &'h mut Room<'b>,
) -> Result<Option<RequestHead<'h, 'b>>, Cause> {
    let mut parsed = httparse::Request::new(&mut []);
    let length = match parsed.parse_with_uninit_headers(bytes, room) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => {
            let line = &bytes[..bytes.len().min(REQUEST_LINE_BYTES_MAX)];
            return match line.len() == REQUEST_LINE_BYTES_MAX && !line.contains(&b'\n') {
                true => Err(Cause::UriTooLong),
                false => Ok(None),
            };
        }
        Err(Error::TooManyHeaders) => return Err(Cause::HeadTooLarge),
        Err(_) => return Err(Cause::BadRequest),
    };
    let (Some(method), Some(target), Some(version)) = (parsed.method, parsed.path, parsed.version) else {
        return Err(Cause::BadRequest);
    };
    let (head, headers): (&'b [u8], &'h [Header<'b>]) = (&bytes[..length], parsed.headers);
    if method.len() + target.len() > REQUEST_LINE_BYTES_MAX {
        return Err(Cause::UriTooLong);
    }
    // httparse passes over empty lines, of which the caller has taken off as many as may be.
    if !lines_end_well(head, headers) || offset(head, method) != 0 {
        return Err(Cause::BadRequest);
    }
    let http11 = version == 1;
    let mut fields = Fields::new(http11);
    for (number, header) in headers.iter().enumerate() {
        let kind = request_kind(header.name);
        fields.note(number, header, kind)?;
    }
    fields.drop_named(headers)?;
    if http11 && fields.host.is_none() {
        return Err(Cause::BadRequest);
    }
    let target = parse_target(method, target).ok_or(Cause::BadRequest)?;
    let framing = fields.framing()?.unwrap_or(Framing::None);
    let host = match target {
        Target::Absolute { authority, .. } => Some(authority.as_bytes()),
        Target::Origin(_) => fields.host,
    };
    Ok(Some(RequestHead {
        head,
        method,
        target,
        http11,
        headers,
        kinds: fields.kinds,
        host,
        framing,
        keep_alive: fields.keep_alive(),
        expects: fields.expects && http11,
        websocket: http11
            && method == "GET"
            && fields.asks_upgrade
            && fields.upgrade == Upgrade::WebSocket
            && matches!(framing, Framing::None | Framing::Length(0)),
        traced: fields.traced,
        accept: fields.accept,
        content_type: fields.content_type,
    }))
}

/// The head of an answer, when the bytes hold all of it.
pub(crate) fn response<'h, 'b>(
    bytes: &'b [u8],
    room: &'h mut Room<'b>,
) -> Result<Option<ResponseHead<'h, 'b>>, Cause> {
    const WRONG: Cause = Cause::BadResponse;
    let mut parsed = httparse::Response::new(&mut []);
    let config = ParserConfig::default();
    let length = match config.parse_response_with_uninit_headers(&mut parsed, bytes, room) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return Ok(None),
        Err(_) => return Err(WRONG),
    };
    let (Some(version), Some(code)) = (parsed.version, parsed.code) else { return Err(WRONG) };
    let (head, headers): (&'b [u8], &'h [Header<'b>]) = (&bytes[..length], parsed.headers);
    if !head.starts_with(b"HTTP/") || !lines_end_well(head, headers) || code < 100 {
        return Err(WRONG);
    }
    let mut fields = Fields::new(version == 1);
    for (number, header) in headers.iter().enumerate() {
        fields.note(number, header, response_kind(header.name)).map_err(|_| WRONG)?;
    }
    fields.drop_named(headers).map_err(|_| WRONG)?;
    let framing = fields.framing().map_err(|_| WRONG)?.unwrap_or(Framing::Close);
    Ok(Some(ResponseHead {
        head,
        code,
        headers,
        kinds: fields.kinds,
        framing,
        keep_alive: fields.keep_alive(),
    }))
}

/// Where in its head a part of it begins.
pub(crate) fn offset(head: &[u8], part: impl AsRef<[u8]>) -> usize {
    part.as_ref().as_ptr() as usize - head.as_ptr() as usize
}

/// Whether each line ends with both characters. A value holds neither, so it is enough to look at what stands before
/// each header and at the end.
pub(crate) fn lines_end_well(head: &[u8], headers: &[Header<'_>]) -> bool {
    head.ends_with(b"\r\n\r\n")
        && headers.iter().all(|header| {
            let at = offset(head, header.name);
            at >= 2 && head[at - 2] == b'\r'
        })
}

/// What becomes of a request's header with this name.
pub(crate) fn request_kind(name: &str) -> Kind {
    // Each comparison looks at the length first, which settles nearly all of them.
    let is = |ours: &str| name.eq_ignore_ascii_case(ours);
    if headers::concerns_connection(name) || is("expect") {
        return Kind::Drop;
    }
    match name.len() {
        4 if is("host") => Kind::Host,
        11 if is("traceparent") => Kind::TraceParent,
        14 if is("content-length") => Kind::Length,
        9 if is("forwarded") => Kind::Hearsay,
        9.. if name.as_bytes()[0].eq_ignore_ascii_case(&b'x') => said_by_the_proxy(name),
        _ => Kind::Pass,
    }
}

/// Also names that many application servers read as one of the proxy's.
fn said_by_the_proxy(name: &str) -> Kind {
    const OURS: [(&str, Kind); 6] = [
        ("x-forwarded-for", Kind::ForwardedFor),
        ("x-forwarded-proto", Kind::ForwardedProto),
        ("x-forwarded-host", Kind::ForwardedHost),
        ("x-forwarded-port", Kind::ForwardedPort),
        ("x-request-id", Kind::RequestId),
        ("x-amzn-trace-id", Kind::AmznTraceId),
    ];
    let ours = OURS.iter().find(|(ours, _)| headers::reads_as(name.as_bytes(), ours));
    let kind = match ours {
        Some((_, kind)) => *kind,
        None if headers::is_hearsay(name) => Kind::Hearsay,
        None => return Kind::Pass,
    };
    if name.contains('_') { Kind::Drop } else { kind }
}

fn response_kind(name: &str) -> Kind {
    if headers::concerns_connection(name) {
        Kind::Drop
    } else if name.eq_ignore_ascii_case("content-length") {
        Kind::Length
    } else {
        Kind::Pass
    }
}

/// Why headers are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    Ambiguous,
    /// Well said, and a coding that nobody here knows.
    UnknownCoding,
}

impl From<Wrong> for Cause {
    fn from(wrong: Wrong) -> Cause {
        match wrong {
            Wrong::Ambiguous => Cause::BadRequest,
            Wrong::UnknownCoding => Cause::NotSupported,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Upgrade {
    None,
    WebSocket,
    /// Another protocol, or several.
    Other,
}

/// What the headers of one head say together.
struct Fields<'b> {
    http11: bool,
    kinds: [Kind; HEADERS_MAX],
    host: Option<&'b [u8]>,
    length: Option<u64>,
    chunked: bool,
    upgrade: Upgrade,
    expects: bool,
    traced: bool,
    accept: Option<&'b [u8]>,
    content_type: Option<&'b [u8]>,
    closes: bool,
    keeps: bool,
    asks_upgrade: bool,
    /// Connection names other headers.
    names_others: bool,
}

impl<'b> Fields<'b> {
    fn new(http11: bool) -> Fields<'b> {
        Fields {
            http11,
            kinds: [Kind::Pass; HEADERS_MAX],
            host: None,
            length: None,
            chunked: false,
            upgrade: Upgrade::None,
            expects: false,
            traced: false,
            accept: None,
            content_type: None,
            closes: false,
            keeps: false,
            asks_upgrade: false,
            names_others: false,
        }
    }

    fn note(&mut self, number: usize, header: &Header<'b>, kind: Kind) -> Result<(), Wrong> {
        self.kinds[number] = kind;
        let (name, value) = (header.name, header.value);
        match kind {
            Kind::Host => match self.host.replace(value) {
                None => {}
                Some(_) => return Err(Wrong::Ambiguous),
            },
            Kind::Length => {
                let length = parse_length(value).ok_or(Wrong::Ambiguous)?;
                if self.length.replace(length).is_some() {
                    return Err(Wrong::Ambiguous);
                }
            }
            Kind::Drop if name.eq_ignore_ascii_case("connection") => self.note_connection(value)?,
            Kind::Drop if name.eq_ignore_ascii_case("transfer-encoding") => self.note_coding(value)?,
            Kind::Drop if name.eq_ignore_ascii_case("upgrade") => {
                let websocket = value.eq_ignore_ascii_case(b"websocket") && self.upgrade == Upgrade::None;
                self.upgrade = if websocket { Upgrade::WebSocket } else { Upgrade::Other };
            }
            Kind::Drop if name.eq_ignore_ascii_case("expect") => {
                self.expects |= value.eq_ignore_ascii_case(b"100-continue");
            }
            Kind::Pass if name.eq_ignore_ascii_case("accept") => self.accept = Some(value),
            Kind::Pass if name.eq_ignore_ascii_case("content-type") => self.content_type = Some(value),
            Kind::Pass if name.eq_ignore_ascii_case(X_APRON_TRACE.as_str()) => self.traced = value != b"0",
            _ => {}
        }
        Ok(())
    }

    fn note_connection(&mut self, value: &[u8]) -> Result<(), Wrong> {
        for (count, option) in value.split(|byte| *byte == b',').enumerate() {
            if count == CONNECTION_OPTIONS_MAX {
                return Err(Wrong::Ambiguous);
            }
            let option = option.trim_ascii();
            if option.eq_ignore_ascii_case(b"close") {
                self.closes = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                self.keeps = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                self.asks_upgrade = true;
            } else if !option.is_empty() {
                self.names_others = true;
            }
        }
        Ok(())
    }

    fn note_coding(&mut self, value: &[u8]) -> Result<(), Wrong> {
        if value.eq_ignore_ascii_case(b"chunked") && !self.chunked {
            self.chunked = true;
            return Ok(());
        }
        let one_word =
            !value.is_empty() && value.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-');
        Err(if one_word && !self.chunked { Wrong::UnknownCoding } else { Wrong::Ambiguous })
    }

    /// Takes off what Connection names. Nobody can take off what a request is routed and framed by, nor, through a
    /// balancer that passes the wish on, what that says of him.
    fn drop_named(&mut self, headers: &[Header<'b>]) -> Result<(), Wrong> {
        if !self.names_others {
            return Ok(());
        }
        let connection = headers.iter().filter(|header| header.name.eq_ignore_ascii_case("connection"));
        let options = connection.flat_map(|header| header.value.split(|byte| *byte == b','));
        for (count, option) in options.enumerate() {
            // Over several lines there may be more than one line may have.
            if count == CONNECTION_OPTIONS_MAX {
                return Err(Wrong::Ambiguous);
            }
            let option = option.trim_ascii();
            for (header, kind) in headers.iter().zip(&mut self.kinds) {
                if header.name.as_bytes().eq_ignore_ascii_case(option) && !kind.is_fixed() {
                    *kind = Kind::Drop;
                }
            }
        }
        Ok(())
    }

    /// None: neither a length nor a coding.
    fn framing(&self) -> Result<Option<Framing>, Wrong> {
        match (self.chunked, self.length) {
            // Which of the two another reader believes is what smuggling lives on; HTTP/1.0 knows no codings.
            (true, Some(_)) => Err(Wrong::Ambiguous),
            (true, None) if !self.http11 => Err(Wrong::Ambiguous),
            (true, None) => Ok(Some(Framing::Chunked)),
            (false, length) => Ok(length.map(Framing::Length)),
        }
    }

    fn keep_alive(&self) -> bool {
        !self.closes && (self.http11 || self.keeps)
    }
}

/// Digits alone: no sign, no list, no space.
fn parse_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > LENGTH_DIGITS_MAX || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    // 19 digits fit.
    Some(value.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}

/// CONNECT's form, a fragment, other characters than URLs have, and whatever begins like none of the forms: none.
fn parse_target<'b>(method: &str, target: &'b str) -> Option<Target<'b>> {
    if method == "CONNECT" || !target.is_ascii() || target.as_bytes().contains(&b'#') {
        return None;
    }
    if target.starts_with('/') || target == "*" && method == "OPTIONS" {
        return Some(Target::Origin(target));
    }
    let (scheme, rest) = target.split_once("://")?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return None;
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    Some(Target::Absolute { authority, rest })
}

#[cfg(test)]
mod tests;
