//! The AWS JSON 1.0 protocol: bodies to inputs, outputs and errors to responses.

use crate::shape::check;
use crate::{Call, Error};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderName, Response, StatusCode};
use serde::Serialize;
use serde_json::Value;

/// What requests and responses say of themselves.
pub const CONTENT_TYPE_JSON_1_0: &str = "application/x-amz-json-1.0";
/// SDKs print this header's value with every error.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
/// Nesting of a body. The deepest input has six levels; the rest is room for members that we ignore.
pub const DEPTH_MAX: usize = 32;
/// Values in a body, objects and lists among them: one takes up to some 700 bytes in memory and three in the body. All
/// inputs but those with variables have a few hundred; 1 MiB of variables has this many at 32 bytes for each.
pub const VALUES_MAX: usize = 32 * 1024;
/// Characters of an error's message: `ErrorMessage` of the API models.
pub const MESSAGE_CHARS_MAX: usize = 600;

/// The input of an operation from a request's body, checked against every rule of the model. An empty body
/// is an empty object, as AWS takes it. The caller bounds the body's size while it reads it.
///
/// # Errors
/// `SerializationException` for what cannot be read, `InvalidRequestException` for what breaks a rule.
pub fn decode<C: Call>(body: &[u8]) -> Result<C, Error> {
    let value = read(body)?;
    check(C::shape(), &value).map_err(|problem| problem.into_error())?;
    serde_json::from_value(value).map_err(|_| {
        // The check has passed types and rules, so what is left is text that is not base64.
        Error::serialization("The request body has binary data that is not base64.")
    })
}

/// What a caller sent, as JSON of bounded depth and size. Nothing at all is an empty object.
///
/// # Errors
/// `SerializationException`.
pub(crate) fn read(body: &[u8]) -> Result<Value, Error> {
    let body = if body.is_empty() { b"{}" } else { body };
    check_bounds(body)?;
    serde_json::from_slice(body).map_err(|e| {
        // Only the place: serde's text could quote a secret.
        Error::serialization(format!(
            "The request body is not valid JSON at line {}, column {}.",
            e.line(),
            e.column()
        ))
    })
}

/// The response that carries an operation's output.
pub fn answer<T: Serialize>(output: &T, request_id: &str) -> Response<Bytes> {
    match serde_json::to_vec(output) {
        Ok(body) => response(StatusCode::OK, body, request_id),
        // Outputs are plain data: only a number that is not finite could fail, and JSON has none.
        Err(_) => error(
            &Error::new("InternalServiceErrorException", 500, "The answer cannot be written as JSON."),
            request_id,
        ),
    }
}

/// The response that carries an error: `{"__type": …, "Message": …}`.
pub fn error(error: &Error, request_id: &str) -> Response<Bytes> {
    #[derive(Serialize)]
    struct Body<'a> {
        __type: &'a str,
        #[serde(rename = "Message")]
        message: &'a str,
    }
    let body = Body { __type: &error.code, message: cut(&error.message, MESSAGE_CHARS_MAX) };
    let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    // Two strings always serialize.
    response(status, serde_json::to_vec(&body).unwrap_or_default(), request_id)
}

fn response(status: StatusCode, body: Vec<u8>, request_id: &str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE_JSON_1_0));
    if let Ok(id) = HeaderValue::from_str(request_id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

/// The first `chars_max` characters of a text.
fn cut(text: &str, chars_max: usize) -> &str {
    text.char_indices().nth(chars_max).map_or(text, |(end, _)| &text[..end])
}

/// Bounds nesting and the number of values before either takes memory; what is no JSON is found later.
fn check_bounds(body: &[u8]) -> Result<(), Error> {
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    // A value begins at the start, behind a comma and, but for an empty list or object, behind an opening bracket.
    let mut values = 1usize;
    for byte in body {
        match (in_string, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => in_string = !in_string,
            (false, b'{' | b'[') => (depth, values) = (depth + 1, values + 1),
            (false, b'}' | b']') => depth = depth.saturating_sub(1),
            (false, b',') => values += 1,
            _ => {}
        }
        if depth > DEPTH_MAX {
            let message = format!("The request body nests deeper than {DEPTH_MAX} levels.");
            return Err(Error::serialization(message));
        }
        if values > VALUES_MAX {
            let message = format!("The request body has more than {VALUES_MAX} values.");
            return Err(Error::serialization(message));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apprunner::{CreateServiceRequest, ErrorType, ListServicesRequest, ListServicesResponse};
    use crate::apron::PutUploadPartRequest;

    fn code<C: Call + std::fmt::Debug>(body: &str) -> String {
        decode::<C>(body.as_bytes()).unwrap_err().code.into_owned()
    }

    #[test]
    fn a_body_becomes_an_input() {
        let input: CreateServiceRequest = decode(
            br#"{"ServiceName": "demo", "Unknown": [1, {"a": null}], "Tags": null, "SourceConfiguration":
                {"AutoDeploymentsEnabled": true, "ImageRepository": {"ImageIdentifier": "nginx:1",
                "ImageRepositoryType": "ECR", "ImageConfiguration": {"Port": "80"}}}}"#,
        )
        .unwrap();
        let image = input.source_configuration.image_repository.unwrap();
        assert_eq!(image.image_identifier, "nginx:1");
        assert_eq!(image.image_configuration.unwrap().port.as_deref(), Some("80"));
        assert_eq!((input.service_name.as_str(), input.tags), ("demo", None));
        assert_eq!(decode::<ListServicesRequest>(b"").unwrap().max_results, None);
    }

    #[test]
    fn an_input_prints_without_its_secrets() {
        let input: CreateServiceRequest = decode(
            br#"{"ServiceName": "demo", "SourceConfiguration": {"ImageRepository": {"ImageIdentifier": "nginx",
                "ImageRepositoryType": "ECR", "ImageConfiguration": {"StartCommand": "hush",
                "RuntimeEnvironmentVariables": {"hush": "hush"}, "RuntimeEnvironmentSecrets": {"hush": "hush"}}}}}"#,
        )
        .unwrap();
        let printed = format!("{input:?}");
        assert!(
            printed.contains("nginx") && printed.contains("start_command: Some(<sensitive>)"),
            "{printed}"
        );
        assert!(!printed.contains("hush"), "{printed}");
    }

    #[test]
    fn what_cannot_be_read_is_refused_without_being_quoted() {
        let error = decode::<CreateServiceRequest>(b"{\"ServiceName\": \"secr\n").unwrap_err();
        assert_eq!(error.code, "SerializationException");
        assert_eq!(error.message, "The request body is not valid JSON at line 2, column 0.");
        assert_eq!(code::<ListServicesRequest>("\"x\""), "SerializationException");
        assert_eq!(code::<ListServicesRequest>("{} {}"), "SerializationException");
        let data = r#"{"UploadId": "0123456789abcdef0123456789abcdef", "Offset": 0, "Data": "%%%%"}"#;
        assert_eq!(code::<PutUploadPartRequest>(data), "SerializationException");
    }

    #[test]
    fn nesting_is_bounded_and_brackets_in_strings_do_not_count() {
        let deep = |n: usize| format!("{{\"x\": {}{}}}", "[".repeat(n), "]".repeat(n));
        assert!(decode::<ListServicesRequest>(deep(DEPTH_MAX - 1).as_bytes()).is_ok());
        let error = decode::<ListServicesRequest>(deep(100_000).as_bytes()).unwrap_err();
        assert_eq!(error.message, "The request body nests deeper than 32 levels.");
        let text = format!(r#"{{"x": "\"{}"}}"#, "[".repeat(100));
        assert!(decode::<ListServicesRequest>(text.as_bytes()).is_ok());
    }

    #[test]
    fn the_number_of_values_is_bounded_and_commas_in_strings_do_not_count() {
        let list = |item: &str, count: usize| format!(r#"{{"x": [{}]}}"#, vec![item; count].join(","));
        // The body itself and the list are values too.
        assert!(decode::<ListServicesRequest>(list("0", VALUES_MAX - 2).as_bytes()).is_ok());
        for (item, count) in [("0", VALUES_MAX), (r#"{"a":0}"#, VALUES_MAX / 2), ("[]", 700_000)] {
            let error = decode::<ListServicesRequest>(list(item, count).as_bytes()).unwrap_err();
            assert_eq!(error.code, "SerializationException");
            assert_eq!(error.message, "The request body has more than 32768 values.");
        }
        let text = format!(r#"{{"x": "{}"}}"#, ",".repeat(2 * VALUES_MAX));
        assert!(decode::<ListServicesRequest>(text.as_bytes()).is_ok());
    }

    #[test]
    fn answers_and_errors_have_the_form_that_sdks_read() {
        let output = ListServicesResponse { service_summary_list: vec![], next_token: None };
        let response = answer(&output, "r-1");
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()[REQUEST_ID], "r-1");
        assert_eq!(response.headers()["content-type"], "application/x-amz-json-1.0");
        assert_eq!(response.body().as_ref(), br#"{"ServiceSummaryList":[]}"#);

        let response = super::error(&ErrorType::InvalidState.with("busy"), "r-2");
        assert_eq!(response.status(), 400);
        assert_eq!(response.body().as_ref(), br#"{"__type":"InvalidStateException","Message":"busy"}"#);
        let response = super::error(&ErrorType::InternalServiceError.with("é".repeat(700)), "r-3");
        assert_eq!(response.status(), 500);
        assert!(String::from_utf8_lossy(response.body()).contains(&format!("\"{}\"", "é".repeat(600))));
    }
}
