//! Why we refuse what hyper reads: reasons that the bytes must show.

use crate::http1::buffer::BUFFER_BYTES;
use crate::http1::parse::{EMPTY_LINES_MAX, HEADERS_MAX, REQUEST_LINE_BYTES_MAX};
use crate::route::Host;

const LINE_ENDS: &str = "a line feed alone ends a line for some readers and not for others";

/// A head as a reader takes it to whom a line feed alone ends a line.
struct Lenient<'b> {
    empty: usize,
    lines: Vec<&'b [u8]>,
    /// Not every line feed stands behind a carriage return.
    bare: bool,
    length: usize,
}

impl<'b> Lenient<'b> {
    fn new(bytes: &'b [u8]) -> Lenient<'b> {
        let mut head = Lenient { empty: 0, lines: Vec::new(), bare: false, length: 0 };
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            head.length += line.len();
            let text = line.strip_suffix(b"\n").unwrap_or(line);
            head.bare |= !text.ends_with(b"\r");
            let text = text.strip_suffix(b"\r").unwrap_or(text);
            match (text.is_empty(), head.lines.is_empty()) {
                (true, true) => head.empty += 1,
                (true, false) => break,
                (false, _) => head.lines.push(text),
            }
        }
        head
    }

    fn first(&self) -> [&'b [u8]; 3] {
        let mut words = self.lines.first().copied().unwrap_or_default().split(|byte| *byte == b' ');
        [(); 3].map(|()| words.next().unwrap_or_default())
    }

    /// Values of the headers of this name.
    fn values(&self, name: &str) -> Vec<&'b [u8]> {
        let headers = self.lines.iter().skip(1).filter_map(|line| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            Some((&line[..colon], line[colon + 1..].trim_ascii()))
        });
        headers.filter(|(n, _)| n.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value).collect()
    }
}

/// Why a head is refused.
pub(super) fn head(bytes: &[u8]) -> Option<&'static str> {
    let head = Lenient::new(bytes);
    let [method, target, version] = head.first();
    let (hosts, lengths) = (head.values("host"), head.values("content-length"));
    let codings = head.values("transfer-encoding");
    let options = head.values("connection").into_iter().flat_map(|value| value.split(|byte| *byte == b','));
    let reasons = [
        (head.bare, LINE_ENDS),
        (head.empty > EMPTY_LINES_MAX as usize, "more than the empty lines that old clients send"),
        (head.length > BUFFER_BYTES, "a head has its limit"),
        (target.len() + method.len() > REQUEST_LINE_BYTES_MAX, "so has a first line"),
        (method == b"CONNECT", "nobody here is asked for a tunnel"),
        (!is_target(method, target), "it is no target of the kinds there are (RFC 9112 §3.2)"),
        (!names_one(target, &hosts, version), "it is for nobody, or for two"),
        (lengths.len() > 1, "a length is said once"),
        (lengths.iter().any(|length| length.len() > 19), "more digits than a number of 64 bits has"),
        (!lengths.is_empty() && !codings.is_empty(), "a body ends in one way"),
        (
            codings.len() > 1 || codings.iter().any(|one| !one.eq_ignore_ascii_case(b"chunked")),
            "one coding, once",
        ),
        (options.count() > HEADERS_MAX, "a list of more headers than there may be (RFC 9110 §5.6.1.2)"),
    ];
    reasons.into_iter().find(|(is, _)| *is).map(|(_, reason)| reason)
}

fn is_target(method: &[u8], target: &[u8]) -> bool {
    let absolute = [&b"http://"[..], b"https://"]
        .iter()
        .any(|scheme| target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)));
    let has_form = absolute || target.starts_with(b"/") || target == b"*" && method == b"OPTIONS";
    has_form && target.is_ascii() && !target.contains(&b'#')
}

/// Whether it says of one host, and well, that it is for it.
fn names_one(target: &[u8], hosts: &[&[u8]], version: &[u8]) -> bool {
    let authority = target.windows(3).position(|part| part == b"://").filter(|_| !target.starts_with(b"/"));
    let authority =
        authority.map(|at| target[at + 3..].split(|byte| b"/?".contains(byte)).next().unwrap_or_default());
    let host = authority.or(hosts.first().copied());
    let counts = hosts.len() == 1 || hosts.is_empty() && version == b"HTTP/1.0";
    counts && host.is_some_and(|host| Host::parse(host).is_ok())
}

/// Why a body in chunks is refused: at the first line of a length that is none, or behind the last one.
pub(super) fn body(mut bytes: &[u8]) -> Option<&'static str> {
    loop {
        let line = bytes.split_inclusive(|byte| *byte == b'\n').next().unwrap_or_default();
        if let Some(reason) = length(line) {
            return Some(reason);
        }
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let size = usize::from_str_radix(str::from_utf8(&line[..digits]).ok()?, 16).ok()?;
        let rest = bytes.get(line.len() + size..)?;
        match size {
            0 => return trailers(rest),
            _ => bytes = rest.strip_prefix(b"\r\n")?,
        }
    }
}

/// Why a line that says a chunk's length is.
fn length(line: &[u8]) -> Option<&'static str> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let behind = &line[digits..];
    let control = |byte: &u8| byte.is_ascii_control() && *byte != b'\t';
    let reasons = [
        (!line.ends_with(b"\r\n"), LINE_ENDS),
        (
            behind.starts_with(b" ") || behind.starts_with(b"\t"),
            "no space stands behind a length (RFC 9112 §7.1)",
        ),
        (digits > 15, "zeros to hide behind"),
        (line.len() > 4 * 1024, "4 KiB for a line is enough"),
        (
            behind.strip_suffix(b"\r\n").unwrap_or(behind).iter().any(control),
            "no text has control characters",
        ),
    ];
    reasons.into_iter().find(|(is, _)| *is).map(|(_, reason)| reason)
}

/// Why the lines behind the last chunk are.
fn trailers(bytes: &[u8]) -> Option<&'static str> {
    // As if a first line stood before them.
    let text = [b"0\r\n", bytes].concat();
    let head = Lenient::new(&text);
    let reasons = [
        (head.bare, LINE_ENDS),
        (head.lines.len() > 1 + 32, "32 lines are enough"),
        (head.length > 16 * 1024, "16 KiB are, too"),
    ];
    reasons.into_iter().find(|(is, _)| *is).map(|(_, reason)| reason)
}
