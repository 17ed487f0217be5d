//! The one form in which a call is refused: a code, a message, an HTTP status.
//!
//! Errors that an operation models are made by the generated `ErrorType::with`; those of the protocol, which
//! every AWS service may answer, are here.

use std::borrow::Cow;

const THROTTLING: &str = "ThrottlingException";
const UNAVAILABLE: &str = "ServiceUnavailable";

/// An AWS error as it stands on the wire.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Error {
    /// The name of the exception, `__type` in the body.
    pub code: Cow<'static, str>,
    /// For the caller: what was wrong, and what would be right.
    pub message: String,
    /// HTTP status.
    pub status: u16,
}

impl Error {
    pub fn new(code: &'static str, status: u16, message: impl Into<String>) -> Self {
        Error { code: Cow::Borrowed(code), message: message.into(), status }
    }

    /// The target header is absent, or names no operation of ours.
    pub fn unknown_operation(message: impl Into<String>) -> Self {
        Self::new("UnknownOperationException", 400, message)
    }

    /// The body cannot be read as the operation's input: no JSON, a wrong type, too deep.
    pub fn serialization(message: impl Into<String>) -> Self {
        Self::new("SerializationException", 400, message)
    }

    /// The body is longer than the server takes.
    pub fn request_too_large(limit_bytes: usize) -> Self {
        Self::new(
            "RequestEntityTooLargeException",
            413,
            format!("The request body is larger than {limit_bytes} bytes."),
        )
    }

    /// The request did not arrive in time; sent again, it may.
    pub fn request_timeout(message: impl Into<String>) -> Self {
        Self::new("RequestTimeoutException", 408, message)
    }

    /// The caller is known and may not do this.
    pub fn access_denied(message: impl Into<String>) -> Self {
        Self::new("AccessDeniedException", 400, message)
    }

    /// The server cannot take the call now and a later try may succeed.
    pub fn service_unavailable(message: impl Into<String>) -> Self {
        Self::new(UNAVAILABLE, 503, message)
    }

    /// The caller has called too often. SDKs wait and call again.
    pub fn throttling() -> Self {
        Self::new(THROTTLING, 400, "Rate exceeded")
    }

    /// Whether nothing was done and the same call may succeed a little later.
    pub fn is_passing(&self) -> bool {
        [THROTTLING, UNAVAILABLE].contains(&self.code.as_ref())
    }

    /// There is no signature at all.
    pub fn missing_authentication_token() -> Self {
        Self::new("MissingAuthenticationTokenException", 400, "Missing Authentication Token")
    }

    /// The signature lacks a part.
    pub fn incomplete_signature(message: impl Into<String>) -> Self {
        Self::new("IncompleteSignatureException", 400, message)
    }

    /// Nobody has this access key.
    pub fn unrecognized_client() -> Self {
        Self::new(
            "UnrecognizedClientException",
            400,
            "The security token included in the request is invalid.",
        )
    }

    /// The signature is whole, and wrong.
    pub fn invalid_signature(message: impl Into<String>) -> Self {
        Self::new("InvalidSignatureException", 400, message)
    }
}
