//! Bodies in chunks, `Content-Encoding: aws-chunked`: SDKs send them so when they do not know the hash of a body
//! before its end. The header's signature covers the way of sending alone; then each chunk carries a signature
//! over its data and the signature before it, or none does, and trailers may follow.
//!
//! Checksums in trailers are read and not compared: they guard against wires, and TCP does so too.

use super::{Scope, hex, hmac, unhex};
use crate::Error;
use crate::sigv4::presented::MISMATCH;
use bytes::{Bytes, BytesMut};
use hmac::Mac;
use http::HeaderMap;
use sha2::{Digest, Sha256};

/// SDKs send 64 KiB or more in a chunk, so that these are more than the largest body has.
const CHUNKS_MAX: usize = 4096;
/// A size and a signature have about a hundred bytes; a checksum in a trailer has fewer.
const LINE_BYTES_MAX: usize = 512;
/// SDKs send one.
const TRAILERS_MAX: usize = 8;
const TRAILER_SIGNATURE: &str = "x-amz-trailer-signature";

/// How a body comes in chunks, as the signed headers say.
pub(super) struct Chunks {
    /// The value of `x-amz-content-sha256`, which stands in the canonical request.
    pub(super) said: &'static str,
    /// Each chunk has a signature.
    signed: bool,
    /// Names of the trailers that follow, sorted; none where trailers are not sent.
    trailers: Option<Vec<String>>,
    /// Bytes of all chunks' data.
    decoded_bytes: usize,
}

/// What chunks are signed with.
pub(super) struct Seal<'a> {
    pub(super) key: &'a [u8],
    pub(super) time: &'a str,
    pub(super) scope: &'a Scope,
    /// The signature before, in hex; at first the request's.
    pub(super) previous: String,
}

impl Chunks {
    /// What the headers say of a body whose `x-amz-content-sha256` is this word; None for any other word.
    ///
    /// # Errors
    /// `IncompleteSignatureException` when the length of the data or the names of the trailers are missing.
    pub(super) fn read(word: &str, headers: &HeaderMap) -> Result<Option<Chunks>, Error> {
        let (said, signed, trailer) = match word {
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" => ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", true, false),
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" => {
                ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", true, true)
            }
            "STREAMING-UNSIGNED-PAYLOAD-TRAILER" => ("STREAMING-UNSIGNED-PAYLOAD-TRAILER", false, true),
            _ => return Ok(None),
        };
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let decoded_bytes = text("x-amz-decoded-content-length").and_then(|text| text.parse().ok());
        let decoded_bytes = decoded_bytes.ok_or_else(|| {
            Error::incomplete_signature(format!("{said} requires the header x-amz-decoded-content-length."))
        })?;
        let trailers = match (trailer, text("x-amz-trailer")) {
            (false, _) => None,
            (true, None) => {
                return Err(Error::incomplete_signature(format!(
                    "{said} requires the header x-amz-trailer."
                )));
            }
            (true, Some(names)) => {
                let mut names: Vec<_> =
                    names.split(',').map(|name| name.trim().to_ascii_lowercase()).collect();
                names.sort();
                Some(names)
            }
        };
        Ok(Some(Chunks { said, signed, trailers, decoded_bytes }))
    }

    /// The data of the chunks, each verified before the next one is looked at.
    ///
    /// # Errors
    /// `SerializationException` for what is not in chunks, `InvalidSignatureException` for a wrong signature.
    pub(super) fn decode(&self, body: &[u8], mut seal: Seal<'_>) -> Result<Bytes, Error> {
        let mut rest = body;
        let mut decoded = BytesMut::with_capacity(self.decoded_bytes.min(body.len()));
        for _ in 0..CHUNKS_MAX {
            let (size, signature) = self.head(line(&mut rest)?)?;
            let (data, after) = rest.split_at_checked(size).ok_or_else(unreadable)?;
            rest = after;
            if let Some(signature) = signature {
                let hashes = format!("{}\n{}", hex(&Sha256::digest(b"")), hex(&Sha256::digest(data)));
                seal.check("AWS4-HMAC-SHA256-PAYLOAD", &hashes, signature)?;
            }
            if size == 0 {
                self.trail(rest, seal)?;
                return match decoded.len() == self.decoded_bytes {
                    true => Ok(decoded.freeze()),
                    false => Err(unreadable()),
                };
            }
            decoded.extend_from_slice(data);
            if !line(&mut rest)?.is_empty() {
                return Err(unreadable());
            }
        }
        Err(Error::serialization(format!("The request body has more than {CHUNKS_MAX} chunks.")))
    }

    /// Size and signature of a chunk: `10000;chunk-signature=…`, or the size alone.
    fn head<'a>(&self, line: &'a str) -> Result<(usize, Option<&'a str>), Error> {
        let (size, signature) = match (self.signed, line.split_once(";chunk-signature=")) {
            (true, Some((size, signature))) => (size, Some(signature)),
            (false, None) => (line, None),
            (true, None) | (false, Some(_)) => return Err(unreadable()),
        };
        let is_size = (1..=8).contains(&size.len()) && size.bytes().all(|b| b.is_ascii_hexdigit());
        let size = Some(size).filter(|_| is_size).and_then(|size| usize::from_str_radix(size, 16).ok());
        Ok((size.ok_or_else(unreadable)?, signature))
    }

    /// What follows the last chunk: the announced trailers, their signature, an empty line, and nothing else.
    fn trail(&self, mut rest: &[u8], mut seal: Seal<'_>) -> Result<(), Error> {
        let (mut trailers, mut signature) = (Vec::new(), None);
        for _ in 0..=TRAILERS_MAX + 1 {
            let line = line(&mut rest)?;
            if line.is_empty() {
                break;
            }
            match line.split_once(':') {
                Some((TRAILER_SIGNATURE, value)) => signature = Some(value.trim()),
                Some((name, value)) => trailers.push((name.trim().to_ascii_lowercase(), value.trim())),
                None => return Err(unreadable()),
            }
        }
        trailers.sort();
        let announced = self.trailers.as_deref().unwrap_or_default();
        if !rest.is_empty() || !trailers.iter().map(|(name, _)| name).eq(announced) {
            return Err(unreadable());
        }
        match (self.signed && self.trailers.is_some(), signature) {
            (true, Some(signature)) => {
                let text: String = trailers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
                seal.check("AWS4-HMAC-SHA256-TRAILER", &hex(&Sha256::digest(text)), signature)
            }
            (true, None) => Err(Error::invalid_signature(MISMATCH)),
            (false, Some(_)) => Err(unreadable()),
            (false, None) => Ok(()),
        }
    }
}

impl Seal<'_> {
    /// Compares in constant time; the signature is then the one before the next.
    fn check(&mut self, what: &str, hashes: &str, signature: &str) -> Result<(), Error> {
        let to_sign = format!("{what}\n{}\n{}\n{}\n{hashes}", self.time, self.scope.text(), self.previous);
        let mismatch = || Error::invalid_signature(MISMATCH);
        let signature = unhex(signature).ok_or_else(mismatch)?;
        hmac(self.key, &to_sign).verify_slice(&signature).map_err(|_| mismatch())?;
        self.previous = hex(&signature);
        Ok(())
    }
}

/// The next line, without its end.
fn line<'a>(rest: &mut &'a [u8]) -> Result<&'a str, Error> {
    let window = &rest[..rest.len().min(LINE_BYTES_MAX)];
    let end = window.windows(2).position(|pair| pair == b"\r\n").ok_or_else(unreadable)?;
    let line = std::str::from_utf8(&rest[..end]).map_err(|_| unreadable())?;
    *rest = &rest[end + 2..];
    Ok(line)
}

fn unreadable() -> Error {
    Error::serialization("The request body is not in the chunks that its headers announce.")
}

#[cfg(test)]
mod tests {
    use super::super::{Presented, SecretKey, signing_key};
    use super::*;
    use http::Request;
    use http::request::Parts;

    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    /// 2013-05-24T00:00:00Z, the moment of AWS's published example of chunks.
    const NOW_S: u64 = 1_369_353_600;

    fn published(headers: &[(&str, &str)], signature: &str) -> Parts {
        let mut names: Vec<_> = headers.iter().map(|(name, _)| *name).collect();
        names.sort();
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,\
             SignedHeaders={},Signature={signature}",
            names.join(";")
        );
        let mut request = Request::builder().method("PUT").uri("/examplebucket/chunkObject.txt");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.header("authorization", authorization).body(()).unwrap().into_parts().0
    }

    fn chunk(data: &[u8], signature: &str) -> Vec<u8> {
        let mut chunk = format!("{:x};chunk-signature={signature}\r\n", data.len()).into_bytes();
        chunk.extend_from_slice(data);
        if !data.is_empty() {
            chunk.extend_from_slice(b"\r\n");
        }
        chunk
    }

    /// AWS's published example: 66,560 bytes in chunks of 64 KiB.
    fn example() -> (Parts, Vec<u8>) {
        let parts = published(
            &[
                ("content-encoding", "aws-chunked"),
                ("content-length", "66824"),
                ("host", "s3.amazonaws.com"),
                ("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
                ("x-amz-date", "20130524T000000Z"),
                ("x-amz-decoded-content-length", "66560"),
                ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
            ],
            "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
        );
        let body = [
            chunk(&[b'a'; 65536], "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648"),
            chunk(&[b'a'; 1024], "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497"),
            chunk(b"", "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"),
            b"\r\n".to_vec(),
        ];
        (parts, body.concat())
    }

    fn verify(parts: &Parts, body: &[u8]) -> Result<Bytes, Error> {
        let body = Bytes::copy_from_slice(body);
        let presented = Presented::read(parts)?;
        presented.verify(&SecretKey::new(SECRET), body, "s3", NOW_S).map(|(_, body)| body)
    }

    #[test]
    fn the_published_example() {
        let (parts, body) = example();
        assert_eq!(body.len(), 66824);
        assert_eq!(verify(&parts, &body).unwrap(), vec![b'a'; 66560]);
    }

    #[test]
    fn every_change_is_noticed() {
        let (parts, body) = example();
        let code = |body: &[u8]| verify(&parts, body).unwrap_err().code.into_owned();
        for (at, expect) in [
            (0, "SerializationException"),
            (4, "InvalidSignatureException"),
            (5, "SerializationException"),
            (30, "InvalidSignatureException"),
            (1000, "InvalidSignatureException"),
            (65536 + 88, "SerializationException"),
            (65536 + 90 + 60, "InvalidSignatureException"),
            (66824 - 1, "SerializationException"),
            (66824 - 20, "InvalidSignatureException"),
        ] {
            let mut changed = body.clone();
            changed[at] = if changed[at] == b'b' { b'c' } else { b'b' };
            assert_eq!(code(&changed), expect, "byte {at}");
        }
        for end in [0, 1, 3, 90, 65536, 65536 + 90, 66824 - 90, 66824 - 2, 66824 - 1] {
            assert_eq!(code(&body[..end]), "SerializationException", "cut at {end}");
        }
        assert_eq!(code(&[&body[..], b"x"].concat()), "SerializationException");
        // A chunk that is left out leaves the chain of signatures.
        let last = body.len() - 86;
        let without = [&body[..65536 + 90], &body[last..]].concat();
        assert_eq!(code(&without), "InvalidSignatureException");
    }

    #[test]
    fn what_the_headers_must_say() {
        for (from, to) in [("66560", "66561"), ("66560", "many")] {
            let (mut parts, _) = example();
            let length = parts.headers["x-amz-decoded-content-length"].to_str().unwrap().replace(from, to);
            parts.headers.insert("x-amz-decoded-content-length", length.parse().unwrap());
            assert!(verify(&parts, b"").is_err());
        }
        let (mut parts, _) = example();
        let trailer = "STREAMING-UNSIGNED-PAYLOAD-TRAILER".parse().unwrap();
        parts.headers.insert("x-amz-content-sha256", trailer);
        let error = verify(&parts, b"").unwrap_err();
        assert_eq!(error.message, "STREAMING-UNSIGNED-PAYLOAD-TRAILER requires the header x-amz-trailer.");
    }

    #[test]
    fn chunks_are_bounded() {
        let scope = Scope { date: "20130524".into(), region: "us-east-1".into(), service: "s3".into() };
        let key = signing_key(&SecretKey::new("s"), &scope);
        let chunks = Chunks { said: "", signed: false, trailers: Some(vec![]), decoded_bytes: 1 };
        let seal = || Seal { key: &key, time: "t", scope: &scope, previous: String::new() };
        assert_eq!(chunks.decode(b"1\r\na\r\n0\r\n\r\n", seal()).unwrap(), "a");
        let many = "1\r\na\r\n".repeat(CHUNKS_MAX + 1);
        let error = chunks.decode(many.as_bytes(), seal()).unwrap_err();
        assert_eq!(error.message, "The request body has more than 4096 chunks.");
        for odd in
            ["0\r\nx:y\r\n\r\n", "0\r\n", "-1\r\n", "ffffffff\r\n", "fffffffff\r\n", "\r\n", "1\r\nab\r\n"]
        {
            assert!(chunks.decode(odd.as_bytes(), seal()).is_err(), "{odd:?}");
        }
    }
}
