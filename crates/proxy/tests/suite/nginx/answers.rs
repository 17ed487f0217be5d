//! Reads the answers of one connection, one behind the other: how many there are, and how the last one ends it.

/// One final answer. Those before it, of 1xx, are passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// It says that the connection ends behind it.
    pub(super) closes: bool,
}

/// All answers, and the beginning of what is none, or none that came whole.
pub(super) fn read(mut bytes: &[u8]) -> (Vec<Answer>, Option<String>) {
    let mut answers = Vec::new();
    while !bytes.is_empty() {
        let Some((answer, length)) = first(bytes) else {
            return (answers, Some(format!("{:.200?}", String::from_utf8_lossy(bytes))));
        };
        bytes = &bytes[length..];
        if answer.status >= 200 {
            answers.push(answer);
        }
    }
    (answers, None)
}

/// The answer that the bytes begin with, and its length.
fn first(bytes: &[u8]) -> Option<(Answer, usize)> {
    let end = find(bytes, b"\r\n\r\n")?;
    // Values may be of any bytes.
    let head = String::from_utf8_lossy(&bytes[..end]);
    let mut lines = head.split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    let headers: Vec<(String, &str)> = lines
        .map(|line| line.split_once(": ").map(|(name, value)| (name.to_ascii_lowercase(), value)))
        .collect::<Option<_>>()?;
    let get = |name: &str| headers.iter().find(|(n, _)| n == name).map(|(_, value)| *value);
    let body = &bytes[end + 4..];
    let length = match (get("content-length"), get("transfer-encoding")) {
        _ if status < 200 || status == 204 || status == 304 => 0,
        // To HEAD there is none, whatever is said of one; and none begins like an answer.
        _ if body.is_empty() || body.starts_with(b"HTTP/1.") => 0,
        (Some(length), None) => length.parse().ok().filter(|length| *length <= body.len())?,
        (None, Some("chunked")) => chunks(body)?,
        (None, None) => body.len(),
        _ => return None,
    };
    let closes = get("connection").is_some_and(|value| value == "close");
    Some((Answer { status, closes }, end + 4 + length))
}

/// Length of a chunked body without trailers.
fn chunks(body: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let line = find(&body[at..], b"\r\n")?;
        let size = usize::from_str_radix(str::from_utf8(&body[at..at + line]).ok()?, 16).ok()?;
        at += line + 2 + size;
        if body.get(at..at + 2)? != b"\r\n" {
            return None;
        }
        at += 2;
        if size == 0 {
            return Some(at);
        }
    }
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

#[test]
fn answers_are_told_apart() {
    let text = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok\
                HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n\
                HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n\
                HTTP/1.1 400 Bad Request\r\ncontent-length: 3\r\nconnection: close\r\n\r\nno\n";
    let answer = |status, closes| Answer { status, closes };
    let all = [answer(200, false), answer(200, false), answer(200, false), answer(400, true)];
    assert_eq!(read(text.as_bytes()), (all.to_vec(), None));
    for wrong in
        [&text[..text.len() - 1], &format!("{text}x"), "HTTP/1.1 200\r\n\r", "HTTP/1.1 200\r\nX\r\n\r\n"]
    {
        assert!(read(wrong.as_bytes()).1.is_some(), "{wrong:?}");
    }
}
