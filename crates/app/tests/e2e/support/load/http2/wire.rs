//! A connection of HTTP/2 over TLS as frames that come and go: no library is between that would ask again by itself.
//! TLS is OpenSSL's, whose program carries the bytes.

use super::Target;
use std::io::{self, BufReader, Read, Write};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;

/// The flag of SETTINGS and PING.
pub const ACK: u8 = 1;
/// END_STREAM.
pub const LAST: u8 = 1;
/// END_HEADERS.
pub const HEAD: u8 = 4;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// No dynamic table, so that a status stands in the first byte of its head; and nothing is pushed.
const OURS: &[u8] = &[0, 1, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0];
/// Of a frame, as long as SETTINGS do not say otherwise.
const PAYLOAD_BYTES_MAX: usize = 16_384;
/// What OpenSSL says at its end, as far as it is of interest.
const SAID_BYTES_MAX: u64 = 1_024;

#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// Ends with its value.
pub struct Wire {
    openssl: Child,
    input: ChildStdin,
}

impl Wire {
    /// Opens a connection and says who we are. Frames are told as they come, and last why there are no more; false for
    /// an answer says that nobody listens.
    pub fn open(target: &Target, tell: impl Fn(Result<Frame, String>) -> bool + Send + 'static) -> Wire {
        let host = &target.host;
        let mut openssl = Command::new("openssl")
            .args(["s_client", "-quiet", "-verify_quiet", "-verify_return_error", "-alpn", "h2"])
            .args(["-connect", &target.address, "-servername", host, "-verify_hostname", host, "-CAfile"])
            .arg(&target.authority)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("openssl is installed: run scripts/test, which installs it");
        let input = openssl.stdin.take().expect("piped");
        let output = openssl.stdout.take().expect("piped");
        let said = openssl.stderr.take().expect("piped");
        std::thread::spawn(move || listen(output, said, &tell));
        let mut wire = Wire { openssl, input };
        wire.send(&[PREFACE, &frame(SETTINGS, 0, 0, OURS)].concat());
        wire
    }

    pub fn send(&mut self, bytes: &[u8]) {
        // A connection that has ended says so where it is read, behind what else it said.
        let _ = self.input.write_all(bytes);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let _ = self.openssl.kill();
        let _ = self.openssl.wait();
    }
}

fn listen(output: ChildStdout, said: ChildStderr, tell: &impl Fn(Result<Frame, String>) -> bool) {
    let mut output = BufReader::new(output);
    let why = loop {
        match read(&mut output) {
            Ok(frame) => {
                if !tell(Ok(frame)) {
                    return;
                }
            }
            Err(error) => break error,
        }
    };
    let mut text = String::new();
    if why.kind() == io::ErrorKind::UnexpectedEof {
        let _ = said.take(SAID_BYTES_MAX).read_to_string(&mut text);
    }
    tell(Err(format!("the connection ended: {why} {text}")));
}

fn read(output: &mut impl Read) -> io::Result<Frame> {
    let mut head = [0; 9];
    output.read_exact(&mut head)?;
    let length = number(&[0, head[0], head[1], head[2]]) as usize;
    if length > PAYLOAD_BYTES_MAX {
        return Err(io::Error::other(format!("a frame of {length} bytes")));
    }
    let mut payload = vec![0; length];
    output.read_exact(&mut payload)?;
    Ok(Frame { kind: head[3], flags: head[4], stream: number(&head[5..]), payload })
}

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

pub fn number(bytes: &[u8]) -> u32 {
    bytes.iter().take(4).fold(0, |number, byte| number << 8 | u32::from(*byte))
}

/// A request's head: method and scheme from HPACK's static table, the others as literals.
pub fn head(post: bool, authority: &str, path: &str) -> Vec<u8> {
    const GET: u8 = 0x82;
    const POST: u8 = 0x83;
    const HTTPS: u8 = 0x87;
    const AUTHORITY: u8 = 1;
    const PATH: u8 = 4;
    let mut bytes = vec![if post { POST } else { GET }, HTTPS];
    for (name, value) in [(AUTHORITY, authority), (PATH, path)] {
        let length = u8::try_from(value.len()).ok().filter(|length| *length < 0x7f);
        bytes.extend([name, length.expect("a length of seven bits")]);
        bytes.extend(value.as_bytes());
    }
    bytes
}

/// The status that the head of an answer begins with, if it is of the static table.
pub fn status(block: &[u8]) -> Option<u16> {
    const INDEXED: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
    // A table that is to be empty is said to be so once.
    let first = block.iter().find(|byte| **byte != 0x20)?;
    INDEXED.get(usize::from(first.checked_sub(0x88)?)).copied()
}
