//! HTTP/1 as a client reads it: answers with a length, whose bodies are counted and thrown away.

use anyhow::{Context, Result, bail, ensure};

/// An answer's head has some hundred bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// The answer that is being read.
#[derive(Default)]
pub(super) struct Reader {
    head: Vec<u8>,
    /// Once the head was read.
    body: Option<Body>,
}

struct Body {
    status: u16,
    length: u64,
    left: u64,
}

/// An answer that was read to its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) length: u64,
}

impl Reader {
    /// Takes what came. An answer is given once, with the bytes that end it; nothing may come behind it.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<Option<Answer>> {
        let mut came = bytes.len();
        if self.body.is_none() {
            self.head.extend_from_slice(bytes);
            let Some(end) = head_end(&self.head) else {
                ensure!(self.head.len() <= HEAD_BYTES_MAX, "an answer's head does not end");
                return Ok(None);
            };
            let (status, length) = parse(&self.head[..end])?;
            self.body = Some(Body { status, length, left: length });
            came = self.head.len() - end;
            self.head.clear();
        }
        let Some(Body { status, length, left }) = &mut self.body else { return Ok(None) };
        *left = left.checked_sub(came as u64).context("more bytes than the answer has")?;
        if *left > 0 {
            return Ok(None);
        }
        let answer = Answer { status: *status, length: *length };
        self.body = None;
        Ok(Some(answer))
    }
}

/// A GET that keeps its connection, or one after which the server closes it.
pub(super) fn request(host: &str, path: &str, close: bool) -> Vec<u8> {
    let close = if close { "Connection: close\r\n" } else { "" };
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{close}\r\n").into_bytes()
}

/// Where a head ends, behind the empty line.
pub(super) fn head_end(input: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        from += input[from..].iter().position(|byte| *byte == b'\n')? + 1;
        if input[..from].ends_with(b"\r\n\r\n") {
            return Some(from);
        }
    }
}

/// Status and length of the body.
fn parse(head: &[u8]) -> Result<(u16, u64)> {
    const LENGTH: &[u8] = b"content-length:";
    let mut lines = head.split(|byte| *byte == b'\n');
    let first = String::from_utf8_lossy(lines.next().unwrap_or_default());
    let status = first.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).and_then(|s| s.parse().ok());
    let Some(status) = status else { bail!("not an answer: {}", first.trim_end()) };
    let length = lines
        .filter(|line| line.len() > LENGTH.len() && line[..LENGTH.len()].eq_ignore_ascii_case(LENGTH))
        .find_map(|line| std::str::from_utf8(&line[LENGTH.len()..]).ok()?.trim().parse().ok());
    Ok((status, length.context("an answer without a length")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &[u8] = b"HTTP/1.1 404 Not Found\r\nServer: x\r\ncontent-length: 3\r\n\r\nabc";

    #[test]
    fn answers_are_read_however_they_come() {
        for cut in 0..ANSWER.len() {
            let (first, second) = ANSWER.split_at(cut);
            let mut reader = Reader::default();
            // Twice: one connection carries many.
            for _ in 0..2 {
                assert_eq!(reader.take(first).unwrap(), None, "{cut}");
                assert_eq!(reader.take(second).unwrap(), Some(Answer { status: 404, length: 3 }), "{cut}");
            }
        }
        let empty = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(Reader::default().take(empty).unwrap(), Some(Answer { status: 200, length: 0 }));
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        let twice = [ANSWER, b"d"].concat();
        let long = vec![b'a'; HEAD_BYTES_MAX + 1];
        for wrong in [&b"HTTP/1.1 200 OK\r\n\r\n"[..], b"SSH-2.0\r\n\r\n", b"\r\n\r\n", &twice[..], &long[..]]
        {
            assert!(Reader::default().take(wrong).is_err(), "{}", String::from_utf8_lossy(wrong));
        }
    }
}
