//! One line and its form on disk: a JSON object and a newline.

use apron_model::limits::LOG_LINE_BYTES_MAX;
use apron_model::time::WallTime;
use serde::{Deserialize, Serialize};

/// One line of a log. Its number is its place in the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub at: WallTime,
    /// Who said it: an instance id for application output, "Build" or "AppRunner" for deployments.
    pub source: String,
    pub text: String,
}

/// The form on disk. Short names, because every line carries them; members may be added, never changed.
#[derive(Serialize, Deserialize)]
struct Stored<'a> {
    #[serde(rename = "a")]
    at_ms: u64,
    #[serde(rename = "s", borrow)]
    source: std::borrow::Cow<'a, str>,
    #[serde(rename = "t", borrow)]
    text: std::borrow::Cow<'a, str>,
}

/// What a reader sees in place of a line that the disk gave back damaged, so that numbers still count.
const DAMAGED: &str = "(this line was damaged on disk)";

/// Appends the lines' stored form to `into`; text with newlines becomes several lines, a long one pieces.
/// Returns how many lines were written.
pub(crate) fn encode(line: &Line, into: &mut Vec<u8>) -> u64 {
    let mut count = 0;
    for text in line.text.split('\n') {
        let mut rest = text.strip_suffix('\r').unwrap_or(text);
        loop {
            let (piece, further) = rest.split_at(rest.floor_char_boundary(LOG_LINE_BYTES_MAX));
            let stored = Stored { at_ms: line.at.0, source: line.source.as_str().into(), text: piece.into() };
            serde_json::to_writer(&mut *into, &stored).expect("strings and numbers always have a JSON form");
            into.push(b'\n');
            count += 1;
            rest = further;
            if rest.is_empty() {
                break;
            }
        }
    }
    count
}

/// The line of one stored row, without its newline.
pub(crate) fn decode(row: &[u8]) -> Line {
    match serde_json::from_slice::<Stored>(row) {
        Ok(stored) => Line {
            at: WallTime(stored.at_ms),
            source: stored.source.into_owned(),
            text: stored.text.into_owned(),
        },
        Err(_) => Line { at: WallTime(0), source: "apron".into(), text: DAMAGED.into() },
    }
}

pub(crate) fn is_whole(row: &[u8]) -> bool {
    serde_json::from_slice::<Stored>(row).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &[&str]) {
        let line = Line { at: WallTime(7), source: "i".into(), text: text.into() };
        let mut bytes = Vec::new();
        assert_eq!(encode(&line, &mut bytes), expect.len() as u64);
        let rows: Vec<_> = bytes.split(|b| *b == b'\n').filter(|r| !r.is_empty()).map(decode).collect();
        assert_eq!(rows.iter().map(|l| l.text.as_str()).collect::<Vec<_>>(), expect);
        assert!(rows.iter().all(|l| l.at == WallTime(7) && l.source == "i"));
    }

    #[test]
    fn text_becomes_lines() {
        check("", &[""]);
        check("one", &["one"]);
        check("one\r\ntwo", &["one", "two"]);
        check("quote \" and \u{1b}[0m", &["quote \" and \u{1b}[0m"]);
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        let text = "ü".repeat(LOG_LINE_BYTES_MAX);
        let mut bytes = Vec::new();
        assert_eq!(
            encode(&Line { at: WallTime(0), source: String::new(), text: text.clone() }, &mut bytes),
            2
        );
        let joined: String =
            bytes.split(|b| *b == b'\n').filter(|r| !r.is_empty()).map(|r| decode(r).text).collect();
        assert_eq!(joined, text);
    }

    #[test]
    fn a_damaged_row_is_said() {
        assert_eq!(decode(b"\0\0\0").text, DAMAGED);
        assert!(!is_whole(b"{\"a\":1"));
    }
}
