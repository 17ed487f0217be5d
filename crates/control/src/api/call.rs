//! One call, from the request's bytes to the answer's.

use super::{Api, Waits, apprunner, apron, failure};
use crate::{Platform, console};
use apron_model::limits;
use apron_wire::apron::Operation;
use apron_wire::sigv4::{Presented, SecretKey};
use apron_wire::{Call, Error, Target, detect, json};
use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use std::panic::AssertUnwindSafe;
use tokio::sync::SemaphorePermit;

/// A body beyond this many bytes needs one of `LARGE_BODIES_MAX` places before it is read.
const SMALL_BODY_BYTES: usize = 64 * 1024;
/// Together they hold 64 MiB at most.
pub(super) const LARGE_BODIES_MAX: usize = 8;

/// What a handler knows of the call beside its input.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) platform: &'a Platform,
    /// The region of the signature: a name space of services.
    pub(super) region: &'a str,
}

/// Answers a request; whatever goes wrong is an answer too.
pub(super) async fn answer(api: &Api, request: Request<Incoming>) -> Response<Full<Bytes>> {
    if let Some(file) = console::answer(request.method(), request.uri().path()) {
        return file.map(Full::new);
    }
    let id = request_id(&api.platform.draw().hex());
    // A broken invariant ends the call, not the process: nothing of it was committed, or all of it was.
    let handled = AssertUnwindSafe(handle(api, request, &id)).catch_unwind().await;
    let response = match handled {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => json::error(&error, &id),
        Err(_) => {
            tracing::error!(request = id, "a call broke an invariant");
            json::error(&failure::internal("The call failed inside the platform; its log says more."), &id)
        }
    };
    response.map(Full::new)
}

/// 32 hex digits in the form of a UUID, as SDKs print request ids.
fn request_id(hex: &str) -> String {
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    format!("{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32))
}

async fn handle(api: &Api, request: Request<Incoming>, id: &str) -> Result<Response<Bytes>, Error> {
    let (parts, body) = request.into_parts();
    let target = detect::detect(&parts.method, parts.uri.path(), &parts.headers)?;
    // Who nobody knows gets no memory for a body, nor does a request of another time.
    let presented = Presented::read(&parts)?;
    let key = api.platform.store.access_key_get(presented.access_key_id()).await.map_err(failure::store)?;
    let key = key.ok_or_else(Error::unrecognized_client)?;
    let now_s = api.platform.clock.wall().0 / 1000;
    presented.check(target.signing_name(), now_s)?;
    let bytes_max = match target {
        Target::Apron(Operation::PutUploadPart) => limits::API_UPLOAD_BODY_BYTES_MAX,
        Target::Apron(_) | Target::AppRunner(_) => limits::API_BODY_BYTES_MAX,
    };
    let said = said_length(&parts.headers);
    if said.is_some_and(|length| length > bytes_max as u64) {
        return Err(Error::request_too_large(bytes_max));
    }
    let place = match said {
        Some(length) if length <= SMALL_BODY_BYTES as u64 => None,
        Some(_) | None => Some(place(api).await?),
    };
    let body = read_body(body, bytes_max, &api.waits).await?;
    // One that did not say its length and is small needs no place; its call may be a long poll.
    let _place = place.filter(|_| body.len() > SMALL_BODY_BYTES);
    let caller = presented.verify(&SecretKey::new(key.secret), &body, target.signing_name(), now_s)?;
    let context = Context { platform: &api.platform, region: &caller.region };
    tracing::debug!(request = id, operation = target.operation_name(), region = caller.region, "call");
    match target {
        Target::AppRunner(operation) => apprunner::dispatch(context, operation, &body, id).await,
        Target::Apron(operation) => apron::dispatch(context, operation, &body, id, &api.shutdown).await,
    }
}

/// Decodes the input, runs the handler, encodes the output.
pub(super) async fn run<C, F>(
    body: &[u8],
    id: &str,
    handler: impl FnOnce(C) -> F + Send,
) -> Result<Response<Bytes>, Error>
where
    C: Call,
    F: Future<Output = Result<C::Output, Error>> + Send,
{
    let input = json::decode::<C>(body)?;
    let output = handler(input).await?;
    Ok(json::answer(&output, id))
}

fn said_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok())
}

/// A place for a large body.
async fn place(api: &Api) -> Result<SemaphorePermit<'_>, Error> {
    match tokio::time::timeout(api.waits.place, api.large_bodies.acquire()).await {
        Ok(Ok(place)) => Ok(place),
        Ok(Err(_)) => Err(Error::service_unavailable("The API is ending.")),
        Err(_) => Err(Error::service_unavailable("The API is busy with other large requests. Try again.")),
    }
}

/// The whole body, within its bounds of size and time.
async fn read_body(body: Incoming, bytes_max: usize, waits: &Waits) -> Result<Bytes, Error> {
    let mut body = Limited::new(body, bytes_max);
    let whole = async {
        let mut bytes = BytesMut::new();
        loop {
            let frame = match tokio::time::timeout(waits.body_idle, body.frame()).await {
                Ok(None) => return Ok(bytes.freeze()),
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(error))) if error.is::<http_body_util::LengthLimitError>() => {
                    return Err(Error::request_too_large(bytes_max));
                }
                Ok(Some(Err(_))) => return Err(Error::serialization("The request body ended early.")),
                Err(_) => return Err(late()),
            };
            // Trailers say nothing that we know.
            if let Ok(data) = frame.into_data() {
                bytes.extend_from_slice(&data);
            }
        }
    };
    tokio::time::timeout(waits.body, whole).await.unwrap_or_else(|_| Err(late()))
}

fn late() -> Error {
    Error::request_timeout("The request body did not arrive in time.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_look_like_those_of_aws() {
        assert_eq!(request_id("0123456789abcdef0123456789abcdef"), "01234567-89ab-cdef-0123-456789abcdef");
    }
}
