//! The PROXY protocol, versions 1 and 2: a load balancer's word about whose connection this is.
//!
//! Only from the addresses that the configuration names, and only before the first byte of anything else. Strict: a
//! header that is not exactly right ends the connection, and what is no header at all is left to others.

use bytes::{Buf, Bytes, BytesMut};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use tokio::io::{AsyncRead, AsyncReadExt};

/// A whole line of version 1, its end included.
const LINE_BYTES_MAX: usize = 107;
/// What version 2 begins with, before its addresses.
const FIXED_BYTES: usize = 16;
/// The longest addresses of version 2, which are those of unix sockets.
const ADDRESS_BYTES_MAX: usize = 216;
/// Of version 2, what follows the addresses: who wants more than this says more than anybody reads.
const EXTRA_BYTES_MAX: usize = 2048;
const BYTES_MAX: usize = FIXED_BYTES + ADDRESS_BYTES_MAX + EXTRA_BYTES_MAX;

const LINE_START: &[u8] = b"PROXY ";
const BINARY_START: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the header of the PROXY protocol is wrong")]
pub(crate) struct BadHeader;

/// What a connection begins with.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// Not enough to say.
    More,
    Nothing,
    /// This many bytes; without a source the peer speaks for itself.
    Header {
        source: Option<SocketAddr>,
        length: usize,
    },
}

/// Whose connection it is, if a header says so, and what was read behind that.
pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<(Option<SocketAddr>, Bytes)> {
    let mut bytes = BytesMut::with_capacity(BYTES_MAX);
    loop {
        match find(&bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))? {
            Found::Nothing => return Ok((None, bytes.freeze())),
            Found::Header { source, length } => {
                bytes.advance(length);
                return Ok((source, bytes.freeze()));
            }
            Found::More => {
                if stream.read_buf(&mut bytes).await? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
        }
    }
}

fn find(bytes: &[u8]) -> Result<Found, BadHeader> {
    let begins = |start: &[u8]| bytes.iter().zip(start).all(|(byte, expected)| byte == expected);
    if begins(LINE_START) {
        if bytes.len() < LINE_START.len() { Ok(Found::More) } else { line(bytes) }
    } else if begins(BINARY_START) {
        if bytes.len() < FIXED_BYTES { Ok(Found::More) } else { binary(bytes) }
    } else {
        Ok(Found::Nothing)
    }
}

/// Version 1: `PROXY TCP4 SOURCE DESTINATION PORT PORT` and the end of a line.
fn line(bytes: &[u8]) -> Result<Found, BadHeader> {
    let head = &bytes[..bytes.len().min(LINE_BYTES_MAX)];
    let Some(end) = head.windows(2).position(|pair| pair == b"\r\n") else {
        return if bytes.len() < LINE_BYTES_MAX { Ok(Found::More) } else { Err(BadHeader) };
    };
    let text = std::str::from_utf8(&bytes[LINE_START.len()..end]).map_err(|_| BadHeader)?;
    let words: Vec<&str> = text.split(' ').collect();
    let source = match words[..] {
        // What follows is for nobody.
        ["UNKNOWN", ..] => None,
        ["TCP4", source, destination, source_port, port] => {
            destination.parse::<Ipv4Addr>().map_err(|_| BadHeader)?;
            number(port)?;
            let source = source.parse::<Ipv4Addr>().map_err(|_| BadHeader)?;
            Some(SocketAddr::from((source, number(source_port)?)))
        }
        ["TCP6", source, destination, source_port, port] => {
            destination.parse::<Ipv6Addr>().map_err(|_| BadHeader)?;
            number(port)?;
            let source = source.parse::<Ipv6Addr>().map_err(|_| BadHeader)?;
            Some(SocketAddr::from((source, number(source_port)?)))
        }
        _ => return Err(BadHeader),
    };
    Ok(Found::Header { source, length: end + 2 })
}

/// A port: digits alone, without a leading zero.
fn number(text: &str) -> Result<u16, BadHeader> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text.len() == 1 || !text.starts_with('0'));
    if plain { text.parse().map_err(|_| BadHeader) } else { Err(BadHeader) }
}

/// Version 2; `bytes` holds at least its fixed part.
fn binary(bytes: &[u8]) -> Result<Found, BadHeader> {
    let (command, family) = (bytes[12], bytes[13]);
    let rest = usize::from(u16::from_be_bytes([bytes[14], bytes[15]]));
    if command >> 4 != 2 || command & 15 > 1 || rest > ADDRESS_BYTES_MAX + EXTRA_BYTES_MAX {
        return Err(BadHeader);
    }
    let length = FIXED_BYTES + rest;
    let Some(rest) = bytes.get(FIXED_BYTES..length) else { return Ok(Found::More) };
    let local = command & 15 == 0;
    let source = match family {
        // The balancer's own connection, such as a health check: what it says of addresses is to be passed over.
        _ if local => None,
        0x00 => None,
        0x11 => {
            let [a, b, c, d, _, _, _, _, high, low, _, _] = *start::<12>(rest)?;
            extras(&rest[12..])?;
            Some(SocketAddr::from((Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low]))))
        }
        0x21 => {
            let block = start::<36>(rest)?;
            extras(&rest[36..])?;
            let address = IpAddr::V6(Ipv6Addr::from(*start::<16>(block)?));
            Some(SocketAddr::new(address, u16::from_be_bytes([block[32], block[33]])))
        }
        // A unix socket has an address that says nothing here.
        0x31 => {
            start::<ADDRESS_BYTES_MAX>(rest)?;
            extras(&rest[ADDRESS_BYTES_MAX..])?;
            None
        }
        // Datagrams do not come over TCP.
        _ => return Err(BadHeader),
    };
    Ok(Found::Header { source, length })
}

fn start<const N: usize>(bytes: &[u8]) -> Result<&[u8; N], BadHeader> {
    bytes.first_chunk().ok_or(BadHeader)
}

/// What may follow the addresses: each with its kind, its length, and as many bytes. None is of interest, but that they
/// are whole.
fn extras(mut bytes: &[u8]) -> Result<(), BadHeader> {
    while !bytes.is_empty() {
        let [_, high, low] = *start::<3>(bytes)?;
        let end = 3 + usize::from(u16::from_be_bytes([high, low]));
        bytes = bytes.get(end..).ok_or(BadHeader)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(source: &str, length: usize) -> Result<Found, BadHeader> {
        Ok(Found::Header { source: Some(source.parse().unwrap()), length })
    }

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = (rest.len() as u16).to_be_bytes();
        [BINARY_START, &[command, family], &length, rest].concat()
    }

    const FOUR: [u8; 12] = [1, 2, 3, 4, 10, 0, 0, 1, 0x12, 0x67, 0, 80];

    #[test]
    fn version_1_is_a_line() {
        let check = |text: &str, expect: &str| assert_eq!(find(text.as_bytes()), header(expect, text.len()));
        check("PROXY TCP4 1.2.3.4 10.0.0.1 4711 80\r\n", "1.2.3.4:4711");
        check("PROXY TCP6 2001:db8::1 ::1 4711 443\r\n", "[2001:db8::1]:4711");
        check("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255:65535");
        let unknown = Ok(Found::Header { source: None, length: 15 });
        assert_eq!(find(b"PROXY UNKNOWN\r\nGET"), unknown);
        let rest = b"PROXY UNKNOWN ffff:f...f ffff 65535 65535\r\n";
        assert_eq!(find(rest), Ok(Found::Header { source: None, length: rest.len() }));
        for wrong in [
            "PROXY \r\n",
            "PROXY TCP4\r\n",
            "PROXY TCP4 1.2.3.4 10.0.0.1 4711\r\n",
            "PROXY TCP4 1.2.3.4 10.0.0.1 4711 80 1\r\n",
            "PROXY TCP4 1.2.3.4  10.0.0.1 4711 80\r\n",
            "PROXY TCP4 1.2.3.4 10.0.0.1 4711 80 \r\n",
            "PROXY TCP4 1.2.3.4 10.0.0.1 +4711 80\r\n",
            "PROXY TCP4 1.2.3.4 10.0.0.1 04711 80\r\n",
            "PROXY TCP4 1.2.3.4 10.0.0.1 65536 80\r\n",
            "PROXY TCP4 1.2.3.4 10.0.0.1  80\r\n",
            "PROXY TCP4 1.2.3 10.0.0.1 4711 80\r\n",
            "PROXY TCP4 ::1 ::1 4711 80\r\n",
            "PROXY TCP6 1.2.3.4 10.0.0.1 4711 80\r\n",
            "PROXY UDP4 1.2.3.4 10.0.0.1 4711 80\r\n",
            "PROXY tcp4 1.2.3.4 10.0.0.1 4711 80\r\n",
            "PROXY TCP4 1.2.3.4 10.0.0.1 4711 80\n\r\n",
            "PROXY TCP4 1.2.3.4 10.0.0.1 \u{661} 80\r\n",
        ] {
            assert_eq!(find(wrong.as_bytes()), Err(BadHeader), "{wrong:?}");
        }
    }

    #[test]
    fn version_1_is_bounded() {
        let line = |length: usize| format!("PROXY UNKNOWN {}", "x".repeat(length - 14));
        assert_eq!(find(line(106).as_bytes()), Ok(Found::More));
        assert_eq!(find(line(107).as_bytes()), Err(BadHeader));
        assert_eq!(find(format!("{}\r\n", line(106)).as_bytes()), Err(BadHeader));
        let longest = format!("{}\r\n", line(105));
        assert_eq!(find(longest.as_bytes()), Ok(Found::Header { source: None, length: 107 }));
    }

    #[test]
    fn version_2_is_bytes() {
        assert_eq!(find(&v2(0x21, 0x11, &FOUR)), header("1.2.3.4:4711", 28));
        let six: Vec<u8> =
            [&[0x20, 1, 0x0d, 0xb8][..], &[0; 11], &[1], &[0; 15], &[1], &[0x12, 0x67, 0, 80]].concat();
        assert_eq!(find(&v2(0x21, 0x21, &six)), header("[2001:db8::1]:4711", 52));
        let none = |length| Ok(Found::Header { source: None, length });
        assert_eq!(find(&v2(0x20, 0x00, &[])), none(16), "LOCAL");
        assert_eq!(find(&v2(0x20, 0x11, &FOUR)), none(28), "LOCAL with an address");
        assert_eq!(find(&v2(0x21, 0x00, &[1, 2, 3])), none(19), "UNSPEC");
        assert_eq!(find(&v2(0x21, 0x31, &[0; 216])), none(232), "a unix socket");
        let extra = [&FOUR[..], &[4, 0, 2, 9, 9], &[0xe0, 0, 0]].concat();
        assert_eq!(find(&v2(0x21, 0x11, &extra)), header("1.2.3.4:4711", 36));
        // What follows is not the header's.
        let followed = [v2(0x21, 0x11, &FOUR), b"GET /".to_vec()].concat();
        assert_eq!(find(&followed), header("1.2.3.4:4711", 28));
    }

    #[test]
    fn a_wrong_header_of_version_2_is_refused() {
        let long = vec![0; ADDRESS_BYTES_MAX + EXTRA_BYTES_MAX + 1];
        for wrong in [
            v2(0x11, 0x11, &FOUR),
            v2(0x31, 0x11, &FOUR),
            v2(0x22, 0x11, &FOUR),
            v2(0x21, 0x12, &FOUR),
            v2(0x21, 0x13, &FOUR),
            v2(0x21, 0x41, &FOUR),
            v2(0x21, 0x11, &FOUR[..11]),
            v2(0x21, 0x21, &FOUR),
            v2(0x21, 0x31, &FOUR),
            v2(0x21, 0x11, &[&FOUR[..], &[4, 0]].concat()),
            v2(0x21, 0x11, &[&FOUR[..], &[4, 0, 2, 9]].concat()),
            v2(0x20, 0x00, &long),
        ] {
            assert_eq!(find(&wrong), Err(BadHeader), "{:02x?}", &wrong[..wrong.len().min(40)]);
        }
    }

    #[test]
    fn half_a_header_waits_and_anything_else_is_nothing() {
        for whole in [
            v2(0x21, 0x11, &[&FOUR[..], &[4, 0, 1, 9]].concat()),
            b"PROXY TCP4 1.2.3.4 1.1.1.1 1 2\r\n".to_vec(),
        ] {
            for length in 0..whole.len() {
                assert_eq!(find(&whole[..length]), Ok(Found::More), "{length}");
            }
            assert!(matches!(find(&whole), Ok(Found::Header { .. })));
        }
        for other in
            ["GET / HTTP/1.1\r\n", "PRI * HTTP/2.0\r\n", "PROXZ", "POST", "\r\nGET", "\u{16}\u{3}\u{1}"]
        {
            assert_eq!(find(other.as_bytes()), Ok(Found::Nothing), "{other:?}");
        }
    }

    #[tokio::test]
    async fn what_follows_a_header_is_kept() {
        let (mut ours, mut theirs) = tokio::io::duplex(7);
        let sent = [v2(0x21, 0x11, &FOUR), b"GET / HTTP/1.1".to_vec()].concat();
        let send = async {
            tokio::io::AsyncWriteExt::write_all(&mut theirs, &sent).await.unwrap();
            drop(theirs);
        };
        let receive = async {
            let (source, mut rest) =
                read(&mut ours).await.map(|(source, rest)| (source, rest.to_vec())).unwrap();
            ours.read_to_end(&mut rest).await.unwrap();
            (source, rest)
        };
        let ((), (source, rest)) = tokio::join!(send, receive);
        assert_eq!((source, rest), (Some("1.2.3.4:4711".parse().unwrap()), b"GET / HTTP/1.1".to_vec()));
    }

    /// Whatever bytes come, a header is never longer than what was read, nor than the bound.
    #[test]
    #[ignore = "long: the long list runs it"]
    fn headers_changed_by_dice() {
        let four = v2(0x21, 0x11, &[&FOUR[..], &[4, 0, 1, 9]].concat());
        let local = v2(0x20, 0, &[]);
        let corpus: [&[u8]; 4] =
            [b"PROXY TCP4 1.2.3.4 10.0.0.1 4711 80\r\nGET /", b"PROXY UNKNOWN\r\n", &four, &local];
        crate::mutate::fuzz(&corpus, &["TCP6 ", "\r\n", " ", "\0", "65536", "::", "!"], |bytes| {
            match find(bytes) {
                Ok(Found::Header { length, .. }) => assert!(length <= bytes.len() && length <= BYTES_MAX),
                Ok(Found::More) => assert!(bytes.len() < BYTES_MAX),
                Ok(Found::Nothing) | Err(BadHeader) => {}
            }
        });
    }
}
