use super::*;
use std::future::poll_fn;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// As `pass`; an error where reading ended with one.
async fn through(first: &[u8], rest: &[u8], piece: usize) -> (io::Result<Vec<u8>>, Option<(u64, Ruling)>) {
    let (passed, read, ruling) = pass(first, rest, piece).await;
    (read.map(|()| passed), ruling)
}

/// What passes of bytes that come in pieces of this size, how reading ended, and the ruling, if there is one.
async fn pass(first: &[u8], rest: &[u8], piece: usize) -> (Vec<u8>, io::Result<()>, Option<(u64, Ruling)>) {
    let (mut near, far) = tokio::io::duplex(piece);
    let gate = Gate::new(first.to_vec(), far);
    let seen = gate.seen();
    let send = async {
        // Who was refused is not read any further.
        let _ = near.write_all(rest).await;
        drop(near);
    };
    let ruled = seen.clone();
    let read = async move {
        let (mut gate, mut passed) = (gate, Vec::new());
        let refused = || matches!(ruled.0.ruling.get(), Some((_, Ruling::Refused(_))));
        let end = loop {
            match gate.read_buf(&mut passed).await {
                Ok(count) if count > 0 && !(refused() && passed.ends_with(INSTEAD)) => {}
                end => break end.map(|_| ()),
            }
        };
        (passed, end)
    };
    let ((), (passed, end)) = tokio::join!(send, read);
    (passed, end, seen.0.ruling.get().copied())
}

const GET: &str = "GET /a HTTP/1.1\r\nHost: a\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
const CHUNKED: &str =
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\nX: y\r\n\r\n";

#[tokio::test]
async fn what_has_one_meaning_passes_as_it_came() {
    let text = [GET, POST, "\r\n", CHUNKED, GET, "GET /half HTTP/1.1\r\n"].concat();
    let whole = text.len() - "GET /half HTTP/1.1\r\n".len();
    for piece in [1, 2, 7, 100_000] {
        for first in [0, GET.len() - 1, GET.len(), whole - 3] {
            let (first, rest) = text.as_bytes().split_at(first);
            let (passed, ruling) = through(first, rest, piece).await;
            assert_eq!(passed.unwrap(), &text.as_bytes()[..whole], "{piece}");
            assert_eq!(ruling, None);
        }
    }
    let large =
        format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n{}{GET}", "x".repeat(300_000));
    let (passed, ruling) = through(b"", large.as_bytes(), 1 << 16).await;
    assert!(passed.unwrap() == large.as_bytes() && ruling.is_none());
}

#[tokio::test]
async fn a_head_that_is_refused_has_another_in_its_place_and_nothing_behind_it() {
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(BUFFER_BYTES));
    for (wrong, cause) in [
        ("GET / HTTP/1.1\nHost: a\n\n", Cause::BadRequest),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", Cause::BadRequest),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
            Cause::BadRequest,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
            Cause::BadRequest,
        ),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", Cause::NotSupported),
        ("\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Cause::BadRequest),
        (long.as_str(), Cause::HeadTooLarge),
    ] {
        let text = [GET, POST, wrong, GET].concat();
        for piece in [1, 100_000] {
            let (passed, ruling) = through(b"", text.as_bytes(), piece).await;
            let passed = String::from_utf8(passed.unwrap()).unwrap();
            let before = passed.strip_suffix(str::from_utf8(INSTEAD).unwrap()).unwrap();
            assert_eq!(before.trim_end_matches("\r\n\r\n"), [GET, POST].concat(), "{wrong:.100?}");
            assert_eq!(ruling, Some((3, Ruling::Refused(cause))), "{wrong:.100?}");
        }
    }
}

#[tokio::test]
async fn a_body_that_is_none_breaks_off() {
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    for body in
        ["3 \r\nabc\r\n0\r\n\r\n", "3\nabc\r\n0\r\n\r\n", "3\r\nabcd\r\n", "0\r\nX: a\nHost: b\r\n\r\n"]
    {
        let text = [head, body, GET].concat();
        for piece in [1, 100_000] {
            let (passed, ruling) = through(b"", text.as_bytes(), piece).await;
            assert_eq!(passed.unwrap_err().kind(), io::ErrorKind::InvalidData, "{body:?}");
            assert_eq!(ruling, None);
        }
    }
}

#[tokio::test]
async fn what_leaves_http_is_not_looked_at() {
    let websocket =
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n\x01\nframes";
    let text = [GET, websocket].concat();
    for first in [0, GET.len() + 5, text.len()] {
        let (first, rest) = text.as_bytes().split_at(first);
        let (passed, ruling) = through(first, rest, 5).await;
        assert_eq!(passed.unwrap(), text.as_bytes());
        assert_eq!(ruling, Some((2, Ruling::Last)));
    }
}

/// Whoever reads may do so with a buffer that is smaller than a head.
#[tokio::test]
async fn a_small_reader_gets_every_byte_and_a_sleeping_connection_holds_none() {
    let (mut near, far) = tokio::io::duplex(1 << 10);
    near.write_all(POST.as_bytes()).await.unwrap();
    let mut gate = Gate::new(Vec::new(), far);
    let mut passed = Vec::new();
    while passed.len() < POST.len() {
        let mut part = [0; 4];
        let count = gate.read(&mut part).await.unwrap();
        passed.extend_from_slice(&part[..count]);
    }
    assert_eq!(passed, POST.as_bytes());
    assert_eq!(gate.held.capacity(), 0);
    // It waits, and is woken by what comes.
    let mut part = [0; 64];
    let mut buffer = ReadBuf::new(&mut part);
    assert!(
        poll_fn(|context| Poll::Ready(Pin::new(&mut gate).poll_read(context, &mut buffer)))
            .await
            .is_pending()
    );
    near.write_all(GET.as_bytes()).await.unwrap();
    assert_eq!(gate.read(&mut [0; 64]).await.unwrap(), GET.len());
}

/// What passes does not depend on the pieces in which it comes.
#[test]
#[ignore = "long: the long list runs it"]
fn connections_changed_by_dice() {
    let websocket = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nframes";
    let corpus = [[GET, POST, GET].concat(), [CHUNKED, "\r\n", GET].concat(), [POST, websocket].concat()];
    let words = [
        "\r\n",
        "\n",
        "\r",
        "\0",
        " ",
        ":",
        "0",
        "f",
        ";",
        "Host: b\r\n",
        "Content-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Connection: upgrade\r\n",
        "Upgrade: websocket\r\n",
        "\r\n\r\n",
        "0\r\n\r\n",
        "HTTP/1.0",
    ];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // A head that is wrong at the very end of the stream may also pass for one that did not come whole.
    let passed = |bytes: &[u8], piece: usize| {
        let (mut passed, _, _) = runtime.block_on(pass(b"", bytes, piece));
        if passed.ends_with(INSTEAD) {
            passed.truncate(passed.len() - INSTEAD.len());
        }
        passed
    };
    crate::mutate::fuzz(&corpus.each_ref().map(String::as_bytes), &words, |bytes| {
        assert_eq!(passed(bytes, 1 << 16), passed(bytes, 3));
    });
}
