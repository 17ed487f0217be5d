//! A signature as a request presents it, and its verification.

use super::chunks::{Chunks, Seal};
use super::{
    ALGORITHM, Scope, SecretKey, TERMINATOR, X_AMZ_CONTENT_SHA256, X_AMZ_DATE, X_AMZ_SECURITY_TOKEN,
};
use super::{canonical, hex, hmac, signing_key, string_to_sign, unhex};
use crate::{Error, time};
use bytes::Bytes;
use hmac::Mac;
use http::HeaderMap;
use http::header::{AUTHORIZATION, HOST};
use http::request::Parts;
use sha2::{Digest, Sha256};

/// How far a client's clock may be from ours, either way.
const SKEW_S_MAX: u64 = 15 * 60;
/// A presigned URL is good for a week at most.
const EXPIRES_S_MAX: u64 = 7 * 24 * 3600;
/// SDKs sign less than ten headers.
const SIGNED_HEADERS_MAX: usize = 64;
/// The longest real region name has 14 characters. The name becomes part of host names.
const REGION_BYTES_MAX: usize = 32;
/// In place of a body's hash.
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

pub(super) const MISMATCH: &str = "The request signature we calculated does not match the signature you provided. Check your \
                        AWS Secret Access Key and signing method. Consult the service documentation for details.";

/// What a verified signature says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub access_key_id: String,
    /// Any region is accepted, and is a name space of its own.
    pub region: String,
    /// `apprunner` or `apron`.
    pub service: String,
}

/// What a request claims about its signature, not yet verified.
pub struct Presented {
    access_key_id: String,
    scope: Scope,
    /// `x-amz-date` as it was sent, and in seconds since 1970.
    time: String,
    time_s: u64,
    /// Seconds that a presigned URL is good for; a header signature has the skew alone.
    expires_s: Option<u64>,
    signature: Vec<u8>,
    /// The canonical request without the payload hash at its end.
    canonical: String,
    payload: Payload,
}

/// Which payload hash the signature was made with.
enum Payload {
    OfBody,
    Unsigned,
    /// Said in a signed header; it must be the body's.
    Said(String),
    /// The chunks of the body are signed one by one, or not at all.
    InChunks(Chunks),
}

/// The parts of an `Authorization` header or of a presigned URL, as text.
struct Parameters {
    credential: String,
    signed_headers: String,
    signature: String,
    time: String,
    expires_s: Option<u64>,
}

impl Presented {
    /// Reads the signature of a request from its `Authorization` header or, for a presigned URL, its query.
    ///
    /// # Errors
    /// `MissingAuthenticationTokenException` without one, `IncompleteSignatureException` when it lacks a part,
    /// `InvalidSignatureException` when it does not cover what it must.
    pub fn read(request: &Parts) -> Result<Presented, Error> {
        let (parameters, except): (_, &[&str]) = match from_header(&request.headers)? {
            Some(parameters) => (parameters, &[]),
            None => match from_query(request)? {
                Some(parameters) => (parameters, &["X-Amz-Signature"]),
                None => return Err(Error::missing_authentication_token()),
            },
        };
        let (access_key_id, scope) = credential(&parameters.credential)?;
        let time_s = time::parse_iso_basic(&parameters.time).ok_or_else(|| {
            Error::incomplete_signature("Date must be in ISO-8601 'basic format', such as 20260131T235959Z.")
        })?;
        if scope.date != parameters.time[..8] {
            return Err(Error::invalid_signature(format!(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '{}' != \
                 '{}', from '{}'.",
                scope.date,
                &parameters.time[..8],
                parameters.time
            )));
        }
        let signed = signed_headers(&parameters.signed_headers, &request.headers)?;
        let query = canonical::query(&request.uri, except)?;
        let canonical = canonical::request(&request.method, &request.uri, &request.headers, &signed, query)?;
        Ok(Presented {
            access_key_id,
            scope,
            time: parameters.time,
            time_s,
            expires_s: parameters.expires_s,
            signature: unhex(&parameters.signature).ok_or_else(|| Error::invalid_signature(MISMATCH))?,
            canonical,
            payload: payload(&request.headers)?,
        })
    }

    /// Whose secret is needed to verify. When nobody has this key, answer `Error::unrecognized_client`.
    pub fn access_key_id(&self) -> &str {
        &self.access_key_id
    }

    /// The region that it claims to be for.
    pub fn region(&self) -> &str {
        &self.scope.region
    }

    /// Checks what can be checked before the body is read: that the signature is for this service and of now.
    /// Whoever knows a key's id learns our time by it, which the `Date` header tells everybody.
    ///
    /// # Errors
    /// `InvalidSignatureException`, saying whether service or time is wrong.
    pub fn check(&self, service: &str, now_s: u64) -> Result<(), Error> {
        if self.scope.service != service {
            return Err(Error::invalid_signature(format!(
                "Credential should be scoped to correct service: '{service}'."
            )));
        }
        check_time(self.time_s, self.expires_s, now_s)
    }

    /// Compares the signature where the head says all that was signed: the body's hash, or that it is not signed with
    /// it. False where only the body itself can tell.
    ///
    /// # Errors
    /// `InvalidSignatureException` when it is wrong.
    pub fn check_head(&self, secret: &SecretKey) -> Result<bool, Error> {
        let Some(said) = self.said() else { return Ok(false) };
        self.compare(&signing_key(secret, &self.scope), said).map(|()| true)
    }

    /// Recomputes the signature and returns the caller and the body, out of its chunks if it came in such.
    /// `service` is what the call's credential must be scoped to, `now_s` wall time in seconds since 1970.
    ///
    /// # Errors
    /// `InvalidSignatureException`, saying whether service, time or signature is wrong; `SerializationException`
    /// for a body that is not in the chunks that it should be in.
    pub fn verify(
        self,
        secret: &SecretKey,
        body: Bytes,
        service: &str,
        now_s: u64,
    ) -> Result<(Caller, Bytes), Error> {
        self.check(service, now_s)?;
        let body_hash = || hex(&Sha256::digest(&body));
        if let Payload::Said(said) = &self.payload
            && *said != body_hash()
        {
            return Err(Error::invalid_signature(
                "The x-amz-content-sha256 header does not match the hash of the request body.",
            ));
        }
        let key = signing_key(secret, &self.scope);
        self.compare(&key, &self.said().map_or_else(body_hash, str::to_owned))?;
        let body = match &self.payload {
            Payload::OfBody | Payload::Unsigned | Payload::Said(_) => body,
            Payload::InChunks(chunks) => {
                let previous = hex(&self.signature);
                chunks.decode(&body, Seal { key: &key, time: &self.time, scope: &self.scope, previous })?
            }
        };
        let caller = Caller {
            access_key_id: self.access_key_id,
            region: self.scope.region,
            service: self.scope.service,
        };
        Ok((caller, body))
    }

    /// What stands for the body in what was signed, where the head says it.
    fn said(&self) -> Option<&str> {
        match &self.payload {
            Payload::OfBody => None,
            Payload::Unsigned => Some(UNSIGNED),
            Payload::Said(hash) => Some(hash),
            Payload::InChunks(chunks) => Some(chunks.said),
        }
    }

    fn compare(&self, key: &[u8], payload: &str) -> Result<(), Error> {
        let to_sign = string_to_sign(&self.time, &self.scope, &format!("{}{payload}", self.canonical));
        // Compares in constant time.
        let compared = hmac(key, &to_sign).verify_slice(&self.signature);
        compared.map_err(|_| Error::invalid_signature(MISMATCH))
    }
}

/// The access key that a request presents, whatever else is wrong with its signature or missing: for a log. It is as
/// long as the request says.
pub fn presented_key(request: &Parts) -> Option<String> {
    let in_header = request.headers.get(AUTHORIZATION).and_then(|value| {
        let parameters = value.to_str().ok()?.trim_start().strip_prefix(ALGORITHM)?;
        header_part(parameters, "Credential").map(str::to_owned)
    });
    let in_query = || query_part(&canonical::parameters(&request.uri).ok()?, "X-Amz-Credential");
    let credential = in_header.or_else(in_query)?;
    let key = credential.split('/').next().unwrap_or_default();
    Some(key.to_owned()).filter(|key| !key.is_empty())
}

/// A signature is good from `time_s` on for the skew, or for what a presigned URL says.
fn check_time(time_s: u64, expires_s: Option<u64>, now_s: u64) -> Result<(), Error> {
    let text = time::iso_basic;
    if time_s > now_s.saturating_add(SKEW_S_MAX) {
        return Err(Error::invalid_signature(format!(
            "Signature not yet current: {} is still later than {} ({} + 15 min.)",
            text(time_s),
            text(now_s.saturating_add(SKEW_S_MAX)),
            text(now_s)
        )));
    }
    match expires_s {
        Some(expires_s) if now_s > time_s.saturating_add(expires_s) => {
            Err(Error::invalid_signature(format!(
                "Signature expired: {} is now later than {} plus {expires_s} s",
                text(now_s),
                text(time_s)
            )))
        }
        None if now_s > time_s.saturating_add(SKEW_S_MAX) => Err(Error::invalid_signature(format!(
            "Signature expired: {} is now earlier than {} ({} - 15 min.)",
            text(time_s),
            text(now_s.saturating_sub(SKEW_S_MAX)),
            text(now_s)
        ))),
        _ => Ok(()),
    }
}

/// `AWS4-HMAC-SHA256 Credential=…, SignedHeaders=…, Signature=…`; `None` without the header.
fn from_header(headers: &HeaderMap) -> Result<Option<Parameters>, Error> {
    let Some(value) = headers.get(AUTHORIZATION) else { return Ok(None) };
    let value =
        value.to_str().map_err(|_| Error::incomplete_signature("Authorization header is not text."))?;
    let Some(parameters) = value.trim_start().strip_prefix(ALGORITHM) else {
        return Err(Error::incomplete_signature(format!(
            "Unsupported AWS 'algorithm' in the Authorization header; {ALGORITHM} is required."
        )));
    };
    let part = |name: &str| header_part(parameters, name).map(str::to_owned);
    let (credential, signed_headers, signature) =
        (part("Credential"), part("SignedHeaders"), part("Signature"));
    let time = headers.get(X_AMZ_DATE).and_then(|v| v.to_str().ok()).map(str::to_owned);
    match (credential, signed_headers, signature, time) {
        (Some(credential), Some(signed_headers), Some(signature), Some(time)) => {
            Ok(Some(Parameters { credential, signed_headers, signature, time, expires_s: None }))
        }
        (credential, signed_headers, signature, time) => {
            let mut missing = Vec::new();
            for (name, absent) in [
                ("Credential", credential.is_none()),
                ("Signature", signature.is_none()),
                ("SignedHeaders", signed_headers.is_none()),
            ] {
                if absent {
                    missing.push(format!("Authorization header requires '{name}' parameter."));
                }
            }
            if time.is_none() {
                missing
                    .push("Authorization header requires existence of the 'X-Amz-Date' header.".to_owned());
            }
            Err(Error::incomplete_signature(missing.join(" ")))
        }
    }
}

/// The value of a part of the `Authorization` header behind the algorithm.
fn header_part<'a>(parameters: &'a str, name: &str) -> Option<&'a str> {
    let named = |part: &'a str| part.trim().split_once('=').filter(|(given, _)| *given == name);
    parameters.split(',').rev().find_map(named).map(|(_, value)| value)
}

fn query_part(parameters: &[canonical::Parameter], name: &str) -> Option<String> {
    let (_, value) = parameters.iter().find(|(given, _)| given == name.as_bytes())?;
    String::from_utf8(value.clone()).ok()
}

/// The parameters of a presigned URL; `None` when the query has no signature.
fn from_query(request: &Parts) -> Result<Option<Parameters>, Error> {
    let parameters = canonical::parameters(&request.uri)?;
    let find = |name: &str| query_part(&parameters, name);
    if find("X-Amz-Signature").is_none() && find("X-Amz-Algorithm").is_none() {
        return Ok(None);
    }
    let want = |name: &str| {
        find(name).ok_or_else(|| {
            Error::incomplete_signature(format!("AWS query-string parameters must include '{name}'."))
        })
    };
    if want("X-Amz-Algorithm")? != ALGORITHM {
        return Err(Error::incomplete_signature(format!("X-Amz-Algorithm must be {ALGORITHM}.")));
    }
    let expires_s = want("X-Amz-Expires")?.parse().ok().filter(|s| (1..=EXPIRES_S_MAX).contains(s));
    Ok(Some(Parameters {
        credential: want("X-Amz-Credential")?,
        signed_headers: want("X-Amz-SignedHeaders")?,
        signature: want("X-Amz-Signature")?,
        time: want("X-Amz-Date")?,
        expires_s: Some(expires_s.ok_or_else(|| {
            Error::incomplete_signature("X-Amz-Expires must be a number of seconds from 1 to 604800.")
        })?),
    }))
}

/// `AKID/20150830/us-east-1/apprunner/aws4_request`.
fn credential(text: &str) -> Result<(String, Scope), Error> {
    let parts: Vec<&str> = text.split('/').collect();
    let [access_key_id, date, region, service, terminator] = parts[..] else {
        return Err(Error::incomplete_signature(
            "Credential must have exactly 5 slash-delimited elements, e.g. \
             keyid/date/region/service/aws4_request.",
        ));
    };
    if terminator != TERMINATOR {
        return Err(Error::invalid_signature(format!(
            "Credential should be scoped with a valid terminator: '{TERMINATOR}'."
        )));
    }
    let region_is_name = region.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if region.is_empty() || region.len() > REGION_BYTES_MAX || !region_is_name || region.starts_with('-') {
        return Err(Error::invalid_signature("Credential should be scoped to a valid region."));
    }
    let scope = Scope { date: date.to_owned(), region: region.to_owned(), service: service.to_owned() };
    Ok((access_key_id.to_owned(), scope))
}

/// The names of the signed headers, which must be in order and cover the host and all `x-amz-*` headers.
fn signed_headers(list: &str, headers: &HeaderMap) -> Result<Vec<String>, Error> {
    let names: Vec<String> = list.split(';').map(str::to_owned).collect();
    let is_name =
        |n: &String| !n.is_empty() && n.bytes().all(|b| b.is_ascii_graphic() && !b.is_ascii_uppercase());
    if names.len() > SIGNED_HEADERS_MAX || !names.iter().all(is_name) || !names.is_sorted_by(|a, b| a < b) {
        return Err(Error::invalid_signature(
            "SignedHeaders must be a sorted list of lower-case header names.",
        ));
    }
    let covers = |name: &str| names.iter().any(|n| n == name);
    if !covers(HOST.as_str()) {
        return Err(Error::invalid_signature("'Host' must be a 'SignedHeader' in the AWS Authorization."));
    }
    for name in headers.keys().filter(|n| n.as_str().starts_with("x-amz-") && *n != X_AMZ_SECURITY_TOKEN) {
        if !covers(name.as_str()) {
            return Err(Error::invalid_signature(format!(
                "'{name}' must be a 'SignedHeader' in the AWS Authorization."
            )));
        }
    }
    Ok(names)
}

/// What the signed header `x-amz-content-sha256` says; SDKs send it for few services.
fn payload(headers: &HeaderMap) -> Result<Payload, Error> {
    let Some(value) = headers.get(X_AMZ_CONTENT_SHA256) else { return Ok(Payload::OfBody) };
    let value = value.to_str().unwrap_or_default();
    if let Some(chunks) = Chunks::read(value, headers)? {
        return Ok(Payload::InChunks(chunks));
    }
    match value {
        UNSIGNED => Ok(Payload::Unsigned),
        hash if hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit()) => {
            Ok(Payload::Said(hash.to_owned()))
        }
        _ => Err(Error::invalid_signature(
            "The x-amz-content-sha256 header must be the SHA-256 of the body in hex, UNSIGNED-PAYLOAD, or one of the \
             words for bodies in chunks.",
        )),
    }
}
