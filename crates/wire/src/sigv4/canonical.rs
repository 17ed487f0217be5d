//! The canonical request: the one spelling of a request that both sides sign.

use crate::Error;
use http::header::HOST;
use http::{HeaderMap, Method, Uri};
use std::fmt::Write as _;

/// Parameters of a query; ours has none but those of a presigned URL.
const QUERY_PARAMETERS_MAX: usize = 100;

/// The canonical request up to the payload hash, which is appended: it ends with a line end.
///
/// # Errors
/// `InvalidSignatureException` when a signed header is absent or is no text.
pub(super) fn request(
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    signed: &[String],
    query: String,
) -> Result<String, Error> {
    let mut text = format!("{method}\n{}\n{query}\n", path(uri.path()));
    for name in signed {
        let _ = writeln!(text, "{name}:{}", header(uri, headers, name)?);
    }
    let _ = write!(text, "\n{}\n", signed.join(";"));
    Ok(text)
}

/// A header's values as one line: each trimmed, runs of spaces made one, joined by commas.
fn header(uri: &Uri, headers: &HeaderMap, name: &str) -> Result<String, Error> {
    let mut values = Vec::new();
    for value in headers.get_all(name) {
        let Ok(value) = std::str::from_utf8(value.as_bytes()) else {
            return Err(Error::invalid_signature(format!("The signed header '{name}' is not text.")));
        };
        values.push(value.split_whitespace().collect::<Vec<_>>().join(" "));
    }
    // HTTP/2 has no host header: the authority stands for it.
    if values.is_empty() && name == HOST.as_str() {
        values.extend(uri.authority().map(|authority| authority.as_str().to_owned()));
    }
    if values.is_empty() {
        return Err(Error::invalid_signature(format!(
            "The signature covers the header '{name}', which the request does not have."
        )));
    }
    Ok(values.join(","))
}

/// The path without empty and dot segments, every byte of it encoded once more (only S3 does without).
fn path(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            name => segments.push(name),
        }
    }
    if segments.is_empty() {
        return "/".to_owned();
    }
    let slash = if path.ends_with('/') { "/" } else { "" };
    let encoded: Vec<String> = segments.iter().map(|segment| encode(segment.as_bytes())).collect();
    format!("/{}{slash}", encoded.join("/"))
}

/// The query's parameters decoded, encoded anew and sorted, without those named in `except`.
pub(super) fn query(uri: &Uri, except: &[&str]) -> Result<String, Error> {
    let mut parameters: Vec<(String, String)> = parameters(uri)?
        .into_iter()
        .filter(|(name, _)| !except.iter().any(|e| name == e.as_bytes()))
        .map(|(name, value)| (encode(&name), encode(&value)))
        .collect();
    parameters.sort();
    let joined: Vec<String> = parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
    Ok(joined.join("&"))
}

/// Name and value of a query's parameter, decoded.
pub(super) type Parameter = (Vec<u8>, Vec<u8>);

/// The parameters of a query.
///
/// # Errors
/// `InvalidSignatureException` when there are too many.
pub(super) fn parameters(uri: &Uri) -> Result<Vec<Parameter>, Error> {
    let query = uri.query().unwrap_or_default();
    let parts = || query.split('&').filter(|part| !part.is_empty());
    if parts().count() > QUERY_PARAMETERS_MAX {
        return Err(Error::invalid_signature("The query has too many parameters."));
    }
    Ok(parts()
        .map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            (decode(name), decode(value))
        })
        .collect())
}

/// RFC 3986: everything but unreserved characters as `%XX`.
fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                text.push(char::from(*byte))
            }
            _ => {
                let _ = write!(text, "%{byte:02X}");
            }
        }
    }
    text
}

/// Undoes `%XX`; a percent sign without two hex digits stands for itself.
fn decode(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).and_then(|b| char::from(*b).to_digit(16));
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match (bytes[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                // Two hex digits are below 256.
                decoded.push((high * 16 + low) as u8);
                at += 3;
            }
            (byte, _, _) => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        for (given, canonical) in [
            ("/", "/"),
            ("//", "/"),
            ("/a/./b/../c", "/a/c"),
            ("/../..", "/"),
            ("/a//b/", "/a/b/"),
            ("/a%20b", "/a%2520b"),
            ("/é", "/%C3%A9"),
        ] {
            assert_eq!(path(given), canonical);
        }
    }

    #[test]
    fn queries() {
        for (given, canonical) in [
            ("/", ""),
            ("/?", ""),
            ("/?b=2&a=1", "a=1&b=2"),
            ("/?a=2&a=1", "a=1&a=2"),
            ("/?a", "a="),
            ("/?a=%2f%7E~&&x=%zz", "a=%2F~~&x=%25zz"),
            ("/?X-Amz-Signature=1&a=b", "a=b"),
        ] {
            assert_eq!(query(&given.parse().unwrap(), &["X-Amz-Signature"]).unwrap(), canonical, "{given}");
        }
        let many = format!("/?{}", "a=1&".repeat(QUERY_PARAMETERS_MAX + 1));
        assert!(query(&many.parse().unwrap(), &[]).is_err());
    }
}
