//! Where this proxy passes on more than nginx does: the reasons there are, each found in what nginx stopped at.

use super::cases::{ABSOLUTE, ASTERISK, CLOSES, METHODS, PATHS, TABS, TWICE};
use super::world::Seen;

/// Why nginx has not passed this request on, of those in the text; `None`: nobody knows.
pub(super) fn reason(text: &[u8], request: &Seen) -> Option<&'static str> {
    let (method, target) = (request.method.as_str(), request.target.as_str());
    if asks_server(request) {
        return Some(ASTERISK);
    }
    if method == "TRACE" || !method.bytes().all(|byte| byte.is_ascii_uppercase() || b"-_".contains(&byte)) {
        return Some(METHODS);
    }
    if !is_path(target) {
        return Some(PATHS);
    }
    let tabbed = |value: &str| value.trim_matches(' ') != value.trim_matches([' ', '\t']);
    if lines(text).any(|(name, value)| FRAMES.contains(&name.as_str()) && tabbed(&value)) {
        return Some(TABS);
    }
    if ONCE.iter().any(|once| lines(text).filter(|(name, _)| name == once).count() > 1) {
        return Some(TWICE);
    }
    if ends_early(text) {
        return Some(CLOSES);
    }
    first_lines(text).any(|line| line.contains("://")).then_some(ABSOLUTE)
}

/// A question to the server as a whole. Of an absolute target without a path nginx makes the root's path.
pub(super) fn asks_server(request: &Seen) -> bool {
    request.method == "OPTIONS" && request.target == "*"
}

/// By these a request is found and ends.
const FRAMES: [&str; 3] = ["host", "content-length", "transfer-encoding"];
/// Names that nginx takes once, beside those that we do.
const ONCE: [&str; 7] = [
    "authorization",
    "expect",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
];

/// Whether nginx closes a connection that has not been said to end.
pub(super) fn ends_early(text: &[u8]) -> bool {
    names_within(text, "close")
}

/// The reverse: it keeps one that was not asked to be kept.
pub(super) fn ends_late(text: &[u8]) -> bool {
    names_within(text, "keep-alive")
}

fn names_within(text: &[u8], word: &str) -> bool {
    lines(text).any(|(name, value)| {
        name == "connection" && value.contains(word) && !value.split(',').any(|option| option.trim() == word)
    })
}

/// Whether a body is promised, or a chunk of one, that is longer than this.
pub(super) fn promises_more(text: &[u8], most: u64) -> bool {
    let is_long = |digits: &str, radix| u64::from_str_radix(digits, radix).is_ok_and(|length| length > most);
    let chunk = |line: &[u8]| {
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).map(|byte| *byte as char);
        is_long(&digits.collect::<String>(), 16)
    };
    text.split(|byte| *byte == b'\n').any(chunk)
        || lines(text).any(|(name, value)| name == "content-length" && is_long(value.trim(), 10))
}

/// All that looks like the first line of a request.
fn first_lines(text: &[u8]) -> impl Iterator<Item = String> {
    let lines = text.split(|byte| *byte == b'\n').map(|line| String::from_utf8_lossy(line).into_owned());
    lines.filter(|line| line.contains(" HTTP/1."))
}

/// Name, in lower case, and value of all that looks like a header line.
fn lines(text: &[u8]) -> impl Iterator<Item = (String, String)> {
    text.split(|byte| *byte == b'\n').filter_map(|line| {
        let line = String::from_utf8_lossy(line).to_ascii_lowercase();
        let (name, value) = line.split_once(':')?;
        Some((name.to_owned(), value.trim_end_matches('\r').to_owned()))
    })
}

/// Whether it can be read as a path of files, as nginx does: no character that is none, and no step above the root.
fn is_path(target: &str) -> bool {
    let path = target.split('?').next().unwrap_or_default();
    let Some(decoded) = decoded(path.as_bytes()) else { return false };
    let mut depth = 0;
    for part in decoded.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." if depth == 0 => return false,
            b".." => depth -= 1,
            _ => depth += 1,
        }
    }
    !decoded.contains(&0)
}

fn decoded(mut path: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    while let Some((first, rest)) = path.split_first() {
        path = rest;
        if *first == b'%' {
            let (digits, rest) = path.split_at_checked(2)?;
            let is_hex = digits.iter().all(u8::is_ascii_hexdigit);
            let digits = str::from_utf8(digits).ok().filter(|_| is_hex)?;
            out.push(u8::from_str_radix(digits, 16).ok()?);
            path = rest;
        } else {
            out.push(*first);
        }
    }
    Some(out)
}

#[test]
fn paths_of_files_are_told_from_others() {
    for path in ["/", "/a/../b", "/a/%2e%2E/", "//a//..", "/%41?%zz&../..", "/...", "/a/./.."] {
        assert!(is_path(path), "{path}");
    }
    for path in ["/..", "/../", "/a/../..", "/%2e./", "/a%2f..%2f..", "/%zz", "/%4", "/%00", "//.."] {
        assert!(!is_path(path), "{path}");
    }
}
