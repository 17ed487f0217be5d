use super::*;
use crate::http1::buffer::Buffers;
use std::future::poll_fn;
use std::task::Waker;

mod as_hyper;

/// What comes out when the body arrives in pieces of this size; and whether its end was read.
fn through(body: &[u8], piece: usize, framing: Framing, chunks: bool) -> Result<(Vec<u8>, bool), Cause> {
    let mut input = Buffers::default().take();
    let mut way = Way::new(Vec::new());
    way.body(framing, chunks, u64::MAX);
    let mut out = Vec::new();
    let mut context = Context::from_waker(Waker::noop());
    for mut piece in body.chunks(piece) {
        while !piece.is_empty() {
            assert!(input.poll_read(&mut piece, &mut context).is_ready());
            while way.stage(&mut input)? {
                assert!(way.poll_write(&mut out, &mut input, &mut context).is_ready());
            }
            if way.is_read() {
                return Ok((out, way.is_done()));
            }
        }
    }
    Ok((out, way.is_done()))
}

fn decoded(body: &[u8]) -> Result<(Vec<u8>, bool), Cause> {
    through(body, usize::MAX, Framing::Chunked, false)
}

#[test]
fn chunks_are_written_anew_however_they_arrive() {
    let body = b"3;a=b;c=\"d\"\r\nabc\r\n00A\r\n0123456789\r\n0;e\r\nX-Sum: 1\r\nX-Forwarded-For: 9\r\nHost: b\r\n\r\n";
    for piece in [1, 2, 3, 7, body.len()] {
        let (out, ended) = through(body, piece, Framing::Chunked, true).unwrap();
        assert!(ended, "{piece}");
        assert_eq!(decoded(&out).unwrap(), (b"abc0123456789".to_vec(), true), "{piece}");
        let text = String::from_utf8(out).unwrap();
        assert!(text.ends_with("0\r\nX-Sum: 1\r\n\r\n") && !text.contains(';'), "{text:?}");
    }
}

#[test]
fn large_chunks_pass_whole() {
    let data = vec![b'x'; 200_000];
    let mut body = format!("{:x}\r\n", data.len()).into_bytes();
    body.extend_from_slice(&data);
    body.extend_from_slice(b"\r\n0\r\n\r\n");
    let (out, ended) = through(&body, 1 << 16, Framing::Chunked, true).unwrap();
    assert!(ended);
    assert!(decoded(&out).unwrap() == (data.clone(), true));
    assert!(through(&data, 1 << 14, Framing::Length(200_000), false).unwrap() == (data.clone(), true));
    assert!(!through(&data, 1 << 14, Framing::Length(200_001), false).unwrap().1);
}

#[test]
fn what_is_no_chunk_is_refused() {
    for body in [
        "3;a\nb\r\nabc\r\n0\r\n\r\n",
        "3;a\rb\r\nabc\r\n0\r\n\r\n",
        "3;a\0\r\nabc\r\n0\r\n\r\n",
        "3\nabc\r\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "3\r\nabc\n0\r\n\r\n",
        "3\r\nabc0\r\n\r\n",
        "3 \r\nabc\r\n0\r\n\r\n",
        " 3\r\nabc\r\n0\r\n\r\n",
        "0x3\r\nabc\r\n0\r\n\r\n",
        "+3\r\nabc\r\n0\r\n\r\n",
        "-3\r\nabc\r\n0\r\n\r\n",
        "g\r\n",
        "\r\nabc\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nabc\r\n0\r\n\r\n",
        "0000000000000000\r\n\r\n",
        "0\r\nX: a\n\r\n",
        "0\r\nX: a\r\n b\r\n\r\n",
        "0\r\nX : a\r\n\r\n",
        "0\r\n\n",
        "0\r\nX\r\n\r\n",
    ] {
        assert_eq!(decoded(body.as_bytes()), Err(Cause::BadRequest), "{body:?}");
        assert_eq!(through(body.as_bytes(), 1, Framing::Chunked, true), Err(Cause::BadRequest), "{body:?}");
    }
    let long = format!("3;{}\r\nabc", "x".repeat(CHUNK_LINE_BYTES_MAX));
    assert_eq!(decoded(long.as_bytes()), Err(Cause::BadRequest));
    let many = format!("0\r\n{}\r\n", "X: y\r\n".repeat(TRAILERS_MAX + 1));
    assert_eq!(decoded(many.as_bytes()), Err(Cause::BadRequest));
    let large = format!("0\r\nX: {}\r\n\r\n", "y".repeat(TRAILERS_BYTES_MAX));
    assert_eq!(decoded(large.as_bytes()), Err(Cause::BadRequest));
}

#[test]
fn a_body_that_breaks_off_has_not_ended() {
    for body in ["", "3", "3\r", "3\r\nab", "3\r\nabc", "3\r\nabc\r\n", "3\r\nabc\r\n0\r\n", "0\r\nX: y\r\n"]
    {
        assert!(!decoded(body.as_bytes()).unwrap().1, "{body:?}");
    }
}

#[test]
fn a_body_has_its_limit() {
    let mut input = Buffers::default().take();
    let mut way = Way::new(Vec::new());
    way.body(Framing::Chunked, true, 5);
    let mut context = Context::from_waker(Waker::noop());
    assert!(input.poll_read(&mut &b"3\r\nabc\r\n"[..], &mut context).is_ready());
    assert_eq!(way.stage(&mut input), Ok(true));
    assert!(input.poll_read(&mut &b"3\r\nabc\r\n"[..], &mut context).is_ready());
    assert_eq!(way.stage(&mut input), Err(Cause::BodyTooLarge));
}

#[tokio::test]
async fn what_ends_with_its_connection_ends_there_only() {
    let mut input = Buffers::default().take();
    let mut way = Way::new(b"head ".to_vec());
    way.body(Framing::Close, true, u64::MAX);
    let mut source = &b"abc"[..];
    poll_fn(|context| input.poll_read(&mut source, context)).await.unwrap();
    assert_eq!(way.stage(&mut input), Ok(true));
    let mut out = Vec::new();
    poll_fn(|context| way.poll_write(&mut out, &mut input, context)).await.unwrap();
    assert!(!way.is_done() && way.ends_here() && !way.is_done());
    poll_fn(|context| way.poll_write(&mut out, &mut input, context)).await.unwrap();
    assert!(way.is_done());
    assert_eq!(out, b"head 3\r\nabc\r\n0\r\n\r\n");
    way.body(Framing::Length(1), false, u64::MAX);
    assert!(!way.ends_here());
}

/// A sink that takes few bytes at a time gets the same ones.
#[tokio::test]
async fn a_slow_sink_gets_every_byte_once() {
    let data: Vec<u8> = (0..=255u8).cycle().take(50_000).collect();
    let (mut near, mut far) = tokio::io::duplex(7);
    let read = tokio::spawn(async move {
        let mut out = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut far, &mut out).await.unwrap();
        out
    });
    let mut input = Buffers::default().take();
    let mut source = data.as_slice();
    poll_fn(|context| input.poll_read(&mut source, context)).await.unwrap();
    let mut way = Way::new(b"head ".to_vec());
    way.body(Framing::Chunked, true, u64::MAX);
    // One chunk of all that lies there.
    (way.place, way.ready, way.tail) = (Place::End, input.filled().len(), CRLF);
    let length = input.filled().len();
    poll_fn(|context| way.poll_write(&mut near, &mut input, context)).await.unwrap();
    drop(near);
    let expect = [b"head ", &data[..length], CRLF].concat();
    assert!(read.await.unwrap() == expect && way.is_done());
    assert_eq!(way.moved(), expect.len() as u64);
}

/// A body means the same however it arrives, and what is written anew means the same to a second reader.
#[test]
#[ignore = "long: the long list runs it"]
fn bodies_changed_by_dice() {
    let corpus = [
        "3;a=b\r\nabc\r\na\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\n",
        "0\r\n\r\n",
        "1\r\nx\r\n1000\r\ny",
        "5\r\nabcde\r\n0;last\r\nHost: b\r\nX: y\r\n\r\nGET / HTTP/1.1\r\n\r\n",
    ];
    let words =
        ["\r\n", "\n", "\r", "0", "f", "ffffffff", ";", "0\r\n", "\r\n\r\n", " ", "+", "x", "\0", "X: y\r\n"];
    crate::mutate::fuzz(&corpus.map(str::as_bytes), &words, |body| {
        let whole = through(body, usize::MAX, Framing::Chunked, true);
        let pieces = through(body, 3, Framing::Chunked, true);
        match (whole, pieces) {
            (Ok((whole, ended)), Ok((pieces, pieces_ended))) => {
                assert_eq!(ended, pieces_ended);
                let (data, again) = decoded(&whole).unwrap();
                assert_eq!((&data, again), (&decoded(&pieces).unwrap().0, ended));
                assert_eq!(decoded(body).unwrap().0, data);
            }
            (whole, pieces) => assert_eq!(whole.err(), pieces.err()),
        }
    });
}

/// Behind a part of something, nothing else can be said.
#[tokio::test]
async fn what_was_written_in_part_is_torn() {
    let (mut near, _far) = tokio::io::duplex(7);
    let mut input = Buffers::default().take();
    let mut way = Way::new(b"a head".to_vec());
    assert!(!way.is_torn());
    poll_fn(|context| way.poll_write(&mut near, &mut input, context)).await.unwrap();
    assert!(!way.is_torn());
    way.staged.extend_from_slice(b" and another");
    let mut context = Context::from_waker(Waker::noop());
    assert!(way.poll_write(&mut near, &mut input, &mut context).is_pending());
    assert!(way.is_torn());
}
