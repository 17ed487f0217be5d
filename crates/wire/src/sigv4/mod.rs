//! AWS Signature Version 4: who signed a request, and signing for our own client.
//!
//! A signature is checked in two steps, because the key lies in a store and the body comes after the headers:
//! `Presented::read` takes what the request claims (a request without a signature, or of an unknown key, is
//! refused before its body is read, and so is one of another time), and `Presented::verify` recomputes the signature with the key's secret.
//!
//! What is signed: method, path, query, `host`, every `x-amz-*` header but the session token, the hash of the
//! body (unless the signed header `x-amz-content-sha256` says UNSIGNED-PAYLOAD, or that the body comes in chunks,
//! see `chunks`). Session tokens are ignored: keys are our own and have none.

mod canonical;
mod chunks;
mod presented;

pub use presented::{Caller, Presented, presented_key};

use crate::{Error, time};
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use http::{HeaderName, Request};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const TERMINATOR: &str = "aws4_request";
const X_AMZ_DATE: HeaderName = HeaderName::from_static("x-amz-date");
const X_AMZ_CONTENT_SHA256: HeaderName = HeaderName::from_static("x-amz-content-sha256");
const X_AMZ_SECURITY_TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");

/// The secret half of an access key. It can be neither printed nor serialized.
#[derive(Clone)]
pub struct SecretKey(String);

impl SecretKey {
    pub fn new(secret: impl Into<String>) -> Self {
        SecretKey(secret.into())
    }
}

/// An access key to sign with.
#[derive(Clone)]
pub struct Credentials {
    pub access_key_id: String,
    pub secret: SecretKey,
    /// `AWS_SESSION_TOKEN`, sent as it is where a user has one set.
    pub token: Option<String>,
}

/// Date, region and service that a signature is good for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Scope {
    /// `20150830`.
    date: String,
    region: String,
    service: String,
}

impl Scope {
    fn text(&self) -> String {
        format!("{}/{}/{}/{TERMINATOR}", self.date, self.region, self.service)
    }
}

/// Signs a request as the AWS SDKs do: adds `x-amz-date`, the session token if there is one, and
/// `authorization`. The request must have its `host` header; its `x-amz-content-sha256` stands for the body's hash where
/// it has one. `now_s` is wall time in seconds since 1970.
///
/// # Errors
/// When a name cannot stand in a header.
pub fn sign(
    request: &mut Request<Bytes>,
    credentials: &Credentials,
    region: &str,
    service: &str,
    now_s: u64,
) -> Result<(), Error> {
    let unwritable = |_| Error::incomplete_signature("The credentials cannot be written as a header.");
    let time = time::iso_basic(now_s);
    let scope = Scope { date: time[..8].to_owned(), region: region.to_owned(), service: service.to_owned() };
    let headers = request.headers_mut();
    headers.insert(X_AMZ_DATE, HeaderValue::from_str(&time).map_err(unwritable)?);
    if let Some(token) = &credentials.token {
        headers.insert(X_AMZ_SECURITY_TOKEN, HeaderValue::from_str(token).map_err(unwritable)?);
    }
    let signed: Vec<String> = {
        let mut names: Vec<String> = headers
            .keys()
            .map(|name| name.as_str())
            .filter(|n| *n == HOST.as_str() || *n == CONTENT_TYPE.as_str() || n.starts_with("x-amz-"))
            .map(str::to_owned)
            .collect();
        names.sort();
        names
    };
    let canonical = canonical::request(
        request.method(),
        request.uri(),
        request.headers(),
        &signed,
        canonical::query(request.uri(), &[])?,
    )?;
    let payload = match request.headers().get(X_AMZ_CONTENT_SHA256).map(HeaderValue::to_str) {
        Some(Ok(said)) => said.to_owned(),
        Some(Err(_)) | None => hex(&Sha256::digest(request.body())),
    };
    let to_sign = string_to_sign(&time, &scope, &format!("{canonical}{payload}"));
    let key = signing_key(&credentials.secret, &scope);
    let signature = hex(&hmac(&key, &to_sign).finalize().into_bytes());
    let value = format!(
        "{ALGORITHM} Credential={}/{}, SignedHeaders={}, Signature={signature}",
        credentials.access_key_id,
        scope.text(),
        signed.join(";"),
    );
    request.headers_mut().insert(AUTHORIZATION, HeaderValue::from_str(&value).map_err(unwritable)?);
    Ok(())
}

/// Adds `x-amz-content-sha256` of a request's body, so that its signature can be compared before the body is there.
pub fn state_hash(request: &mut Request<Bytes>) {
    let hash = hex(&Sha256::digest(request.body()));
    let value = HeaderValue::from_str(&hash).expect("hex digits can stand in a header");
    request.headers_mut().insert(X_AMZ_CONTENT_SHA256, value);
}

fn string_to_sign(time: &str, scope: &Scope, canonical_request: &str) -> String {
    format!("{ALGORITHM}\n{time}\n{}\n{}", scope.text(), hex(&Sha256::digest(canonical_request)))
}

/// What signs within one scope.
fn signing_key(secret: &SecretKey, scope: &Scope) -> Vec<u8> {
    let mut key = format!("AWS4{}", secret.0).into_bytes();
    for part in [&scope.date, &scope.region, &scope.service, TERMINATOR] {
        key = hmac(&key, part).finalize().into_bytes().to_vec();
    }
    key
}

/// The signature of a text, ready to be written or compared in constant time.
fn hmac(key: &[u8], text: &str) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(text.as_bytes());
    mac
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The bytes of 64 hex digits.
fn unhex(text: &str) -> Option<Vec<u8>> {
    if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    (0..64).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::request::Parts;

    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
    /// 2015-08-30T12:36:00Z, the moment of AWS's published examples.
    const NOW_S: u64 = 1_440_938_160;

    fn parts(method: &str, uri: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn authorization(service: &str, signed: &str, signature: &str) -> String {
        format!(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/{service}/aws4_request, \
             SignedHeaders={signed}, Signature={signature}"
        )
    }

    /// The two worked examples that AWS has published with their results.
    #[test]
    fn published_vectors() {
        for (uri, host, content_type, service, signature) in [
            (
                "/?Action=ListUsers&Version=2010-05-08",
                "iam.amazonaws.com",
                Some("application/x-www-form-urlencoded; charset=utf-8"),
                "iam",
                "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
            ),
            (
                "/",
                "example.amazonaws.com",
                None,
                "service",
                "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
            ),
        ] {
            let signed =
                if content_type.is_some() { "content-type;host;x-amz-date" } else { "host;x-amz-date" };
            let authorization = authorization(service, signed, signature);
            let mut headers =
                vec![("host", host), ("x-amz-date", "20150830T123600Z"), ("authorization", &authorization)];
            headers.extend(content_type.map(|t| ("content-type", t)));
            let presented = Presented::read(&parts("GET", uri, &headers)).unwrap();
            let (caller, _) =
                presented.verify(&SecretKey::new(SECRET), Bytes::new(), service, NOW_S).unwrap();
            assert_eq!((caller.access_key_id.as_str(), caller.region.as_str()), ("AKIDEXAMPLE", "us-east-1"));
        }
    }

    /// Code and message that a request with this Authorization header is refused with.
    fn refusal(authorization: Option<&str>, date: Option<&str>) -> (String, String) {
        let mut headers = vec![("host", "h")];
        headers.extend(date.map(|d| ("x-amz-date", d)));
        headers.extend(authorization.map(|a| ("authorization", a)));
        let error = Presented::read(&parts("POST", "/", &headers)).err().unwrap();
        assert_eq!(error.status, 400);
        (error.code.into_owned(), error.message)
    }

    #[test]
    fn what_is_missing_is_named() {
        let date = Some("20150830T123600Z");
        let (code, message) = refusal(None, date);
        assert_eq!(
            (code.as_str(), message.as_str()),
            ("MissingAuthenticationTokenException", "Missing Authentication Token")
        );
        for header in
            ["Basic YTpi", "Bearer x", "", "AWS4-HMAC-SHA256", "AWS4-HMAC-SHA256 Credential=a, Signature=b"]
        {
            assert_eq!(refusal(Some(header), date).0, "IncompleteSignatureException", "{header}");
        }
        let (_, message) = refusal(Some("AWS4-HMAC-SHA256 Credential=a"), None);
        assert_eq!(
            message,
            "Authorization header requires 'Signature' parameter. Authorization header requires 'SignedHeaders' \
             parameter. Authorization header requires existence of the 'X-Amz-Date' header."
        );
        let whole = authorization("apprunner", "host;x-amz-date", &"0".repeat(64));
        assert_eq!(refusal(Some(&whole), None).0, "IncompleteSignatureException");
        assert_eq!(refusal(Some(&whole), Some("yesterday")).0, "IncompleteSignatureException");
        let four = whole.replace("/aws4_request", "");
        assert!(refusal(Some(&four), date).1.starts_with("Credential must have exactly 5"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let date = Some("20150830T123600Z");
        let whole = authorization("apprunner", "host;x-amz-date", &"0".repeat(64));
        for (from, to, message) in [
            ("aws4_request", "aws4", "Credential should be scoped with a valid terminator"),
            ("us-east-1", "US East", "Credential should be scoped to a valid region."),
            ("us-east-1", "", "Credential should be scoped to a valid region."),
            ("20150830", "20150831", "Date in Credential scope does not match"),
            ("host;x-amz-date", "x-amz-date", "'Host' must be a 'SignedHeader'"),
            ("host;x-amz-date", "host", "'x-amz-date' must be a 'SignedHeader'"),
            ("host;x-amz-date", "x-amz-date;host", "SignedHeaders must be a sorted list"),
            ("host;x-amz-date", "host;host;x-amz-date", "SignedHeaders must be a sorted list"),
            (
                "host;x-amz-date",
                "host;x-absent;x-amz-date",
                "header 'x-absent', which the request does not have",
            ),
            ("Signature=00", "Signature=zz", "does not match"),
            ("Signature=00", "Signature=", "does not match"),
        ] {
            let (code, text) = refusal(Some(&whole.replace(from, to)), date);
            assert_eq!(code, "InvalidSignatureException", "{to}");
            assert!(text.contains(message), "{text}");
        }
    }

    /// Damaged headers are refused and never panic: every prefix, and every byte replaced.
    #[test]
    fn damaged_headers_are_refused() {
        let whole = authorization("apprunner", "host;x-amz-date", &"0".repeat(64));
        for at in 0..whole.len() {
            refusal_of_any(&whole[..at]);
            for byte in *b"\t =,;/%\xff" {
                let mut damaged = whole.clone().into_bytes();
                damaged[at] = byte;
                if let Ok(value) = HeaderValue::from_bytes(&damaged) {
                    let mut parts = parts("POST", "/", &[("host", "h"), ("x-amz-date", "20150830T123600Z")]);
                    parts.headers.insert(AUTHORIZATION, value);
                    verify_fails(&parts);
                }
            }
        }
        for query in ["X-Amz-Signature", "X-Amz-Algorithm=AWS4-HMAC-SHA256", "X-Amz-Signature=%"] {
            verify_fails(&parts("GET", &format!("/?{query}"), &[("host", "h")]));
        }
    }

    #[test]
    fn the_key_is_seen_whatever_else_is_missing() {
        let key = "Credential=AKIDEXAMPLE/20150830/us-east-1/apprunner/aws4_request";
        let whole = format!("AWS4-HMAC-SHA256 {key}, SignedHeaders=host, Signature=00");
        for (authorization, seen) in [
            (whole.as_str(), Some("AKIDEXAMPLE")),
            (&format!("AWS4-HMAC-SHA256 {key}"), Some("AKIDEXAMPLE")),
            (&format!("AWS4-HMAC-SHA256 SignedHeaders=host,{key}"), Some("AKIDEXAMPLE")),
            ("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE", Some("AKIDEXAMPLE")),
            ("AWS4-HMAC-SHA256 Credential=/x, Signature=00", None),
            ("AWS4-HMAC-SHA256 Signature=00", None),
            ("Bearer Credential=AKIDEXAMPLE", None),
        ] {
            // Without the date.
            let request = parts("POST", "/", &[("host", "h"), ("authorization", authorization)]);
            assert_eq!(presented_key(&request).as_deref(), seen, "{authorization}");
            assert!(Presented::read(&request).is_err());
        }
        let presigned = parts("GET", "/?X-Amz-Credential=AKIDEXAMPLE%2F20150830", &[("host", "h")]);
        assert_eq!(presented_key(&presigned).as_deref(), Some("AKIDEXAMPLE"));
        assert_eq!(presented_key(&parts("GET", "/?a=b", &[])), None);
    }

    fn refusal_of_any(authorization: &str) {
        verify_fails(&parts(
            "POST",
            "/",
            &[("host", "h"), ("x-amz-date", "20150830T123600Z"), ("authorization", authorization)],
        ));
    }

    fn verify_fails(parts: &Parts) {
        if let Ok(presented) = Presented::read(parts) {
            assert!(presented.verify(&SecretKey::new(SECRET), Bytes::new(), "apprunner", NOW_S).is_err());
        }
    }
}
