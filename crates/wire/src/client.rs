//! The client's side: a signed request for an operation, its answer read back, and when to ask again.

use crate::json::CONTENT_TYPE_JSON_1_0;
use crate::sigv4::{Credentials, sign, state_hash};
use crate::{Call, Error, detect};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, HeaderValue};
use http::{Method, Request, StatusCode};
use serde_json::Value;
use std::borrow::Cow;
use std::time::Duration;

/// Six pauses are three to six seconds.
const TRIES_MAX: u32 = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// A signed request of this operation, to be sent to the server that `host` names (`127.0.0.1:7070`).
/// `now_s` is wall time in whole seconds since 1970; the server allows 15 minutes of difference.
///
/// # Errors
/// When `host` cannot stand in a header.
pub fn request<C: Call>(
    input: &C,
    host: &str,
    region: &str,
    credentials: &Credentials,
    now_s: u64,
) -> Result<Request<Bytes>, Error> {
    let unwritable = |what: &str| Error::serialization(format!("The {what} cannot be written."));
    let body = serde_json::to_vec(input).map_err(|_| unwritable("input"))?;
    let mut request = Request::new(Bytes::from(body));
    *request.method_mut() = Method::POST;
    let headers = request.headers_mut();
    headers.insert(HOST, HeaderValue::from_str(host).map_err(|_| unwritable("host name"))?);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE_JSON_1_0));
    headers.insert(detect::X_AMZ_TARGET, HeaderValue::from_static(C::TARGET));
    state_hash(&mut request);
    sign(&mut request, credentials, region, C::SIGNING_NAME, now_s)?;
    Ok(request)
}

/// The operation's output, or the error that the server answered.
///
/// # Errors
/// The server's error as it is; `UnreadableAnswer` for what is neither an output nor an error of AWS's form.
pub fn answer<C: Call>(status: StatusCode, body: &[u8]) -> Result<C::Output, Error> {
    if status.is_success() {
        return serde_json::from_slice(body)
            .map_err(|e| unreadable(status, format!("The answer to {} cannot be read: {e}", C::TARGET)));
    }
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    let Some(code) = value["__type"].as_str() else {
        return Err(unreadable(status, format!("{} was answered with HTTP status {status}.", C::TARGET)));
    };
    // Some services write a name space before the name.
    let code = code.rsplit('#').next().unwrap_or(code).to_owned();
    let message = value["Message"].as_str().or(value["message"].as_str()).unwrap_or_default().to_owned();
    Err(Error { code: Cow::Owned(code), message, status: status.as_u16() })
}

/// How long to wait before a call that was refused for the moment is sent again; nothing when the error is final, or when
/// it was sent again often enough. `tries` counts from 0; `random` keeps clients that were refused together apart.
pub fn pause(error: &Error, tries: u32, random: u32) -> Option<Duration> {
    if !error.is_passing() || tries >= TRIES_MAX {
        return None;
    }
    let whole = FIRST_PAUSE * 2u32.pow(tries);
    // Between a half and all of it.
    Some(whole / 2 + whole / 2 * (random % 1024) / 1024)
}

fn unreadable(status: StatusCode, message: String) -> Error {
    Error::new("UnreadableAnswer", status.as_u16(), message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apprunner::{ListServicesRequest, ListServicesResponse};
    use crate::sigv4::{Presented, SecretKey};
    use crate::{Target, apprunner, json};

    #[test]
    fn the_server_reads_what_the_client_writes() {
        let credentials = Credentials {
            access_key_id: "AKIDEXAMPLE".into(),
            secret: SecretKey::new("secret"),
            token: None,
        };
        let input = ListServicesRequest { max_results: Some(3), ..Default::default() };
        let request = request(&input, "127.0.0.1:7070", "eu-west-1", &credentials, 1_800_000_000).unwrap();
        let (parts, body) = request.into_parts();

        let target = detect::detect(&parts.method, parts.uri.path(), &parts.headers).unwrap();
        assert_eq!(target, Target::AppRunner(apprunner::Operation::ListServices));
        let presented = Presented::read(&parts).unwrap();
        assert_eq!(presented.access_key_id(), "AKIDEXAMPLE");
        // The head is enough to tell that it is signed, whatever the body's length.
        assert_eq!(presented.check_head(&SecretKey::new("secret")), Ok(true));
        assert!(presented.check_head(&SecretKey::new("other")).is_err());
        let (caller, body) =
            presented.verify(&SecretKey::new("secret"), body, target.signing_name(), 1_800_000_100).unwrap();
        assert_eq!(caller.region, "eu-west-1");
        assert_eq!(json::decode::<ListServicesRequest>(&body).unwrap(), input);
    }

    #[test]
    fn what_passes_is_asked_again_later_and_not_for_ever() {
        let pauses = |random| {
            let pauses = (0..20).map_while(move |tries| pause(&Error::throttling(), tries, random));
            pauses.map(|pause| pause.as_millis()).collect::<Vec<_>>()
        };
        assert_eq!(pauses(0), [50, 100, 200, 400, 800, 1_600]);
        assert_eq!(pauses(512), [75, 150, 300, 600, 1_200, 2_400]);
        assert!(pause(&Error::service_unavailable("busy"), 0, 7).is_some());
        assert_eq!(pause(&Error::unrecognized_client(), 0, 7), None);
        assert_eq!(pause(&apprunner::ErrorType::InternalServiceError.with("no"), 0, 7), None);
    }

    #[test]
    fn answers_and_errors_come_back() {
        let output = ListServicesResponse { service_summary_list: vec![], next_token: Some("n".into()) };
        let written = json::answer(&output, "r");
        assert_eq!(answer::<ListServicesRequest>(written.status(), written.body()), Ok(output));

        let error = apprunner::ErrorType::InvalidRequest.with("no");
        let written = json::error(&error, "r");
        assert_eq!(answer::<ListServicesRequest>(written.status(), written.body()), Err(error));

        let spaced = br#"{"__type": "a.b#Throttled", "message": "slow"}"#;
        let error = answer::<ListServicesRequest>(StatusCode::BAD_REQUEST, spaced).unwrap_err();
        assert_eq!((error.code.as_ref(), error.message.as_str()), ("Throttled", "slow"));
        let error = answer::<ListServicesRequest>(StatusCode::BAD_GATEWAY, b"<html>").unwrap_err();
        assert_eq!((error.code.as_ref(), error.status), ("UnreadableAnswer", 502));
        assert!(answer::<ListServicesRequest>(StatusCode::OK, b"{}").is_err());
    }
}
