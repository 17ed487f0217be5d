//! One call, from the request's bytes to the answer's.

use super::audit::Record;
use super::connections::{Busy, Connection, Connections};
use super::poll::Poll;
use super::shares::{Holder, Place, Shares};
use super::{Api, Waits, apprunner, apron, failure};
use crate::{Platform, console};
use apron_model::access::{self, Deed};
use apron_model::limits;
use apron_model::throttle::{Source, Throttling};
use apron_store::AccessKey;
use apron_wire::apron::Operation;
use apron_wire::sigv4::{self, Presented, SecretKey};
use apron_wire::{Call, Error, Target, detect, json};
use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use http::header::{CONNECTION, CONTENT_LENGTH};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Incoming};
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, MutexGuard, PoisonError};

/// Places for large bodies; full, they hold 96 MiB.
pub(super) struct Bodies {
    /// Of keys whose signature is good as far as the head tells.
    proven: Arc<Shares>,
    /// Of addresses.
    unproven: Arc<Shares>,
}

impl Bodies {
    pub(super) fn new() -> Bodies {
        Bodies {
            proven: Shares::new(limits::API_LARGE_BODIES_MAX, limits::API_KEY_LARGE_BODIES_MAX),
            unproven: Shares::new(limits::API_UNPROVEN_BODIES_MAX, limits::API_ADDRESS_UNPROVEN_BODIES_MAX),
        }
    }
}

/// What a handler knows of the call beside its input.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) platform: &'a Platform,
    /// The region of the signature: a name space of services.
    pub(super) region: &'a str,
    /// All of the API; none for a call that came without one.
    pub(super) connections: Option<&'a Connections>,
}

/// Answers a request; whatever goes wrong is an answer too.
pub(super) async fn answer(
    api: &Api,
    request: Request<Incoming>,
    source: IpAddr,
    connection: &Connection,
) -> Response<Full<Bytes>> {
    let busy = connection.carries_request();
    let (parts, mut body) = request.into_parts();
    let mut response = match console::answer(&parts.method, parts.uri.path()) {
        Some(file) => {
            hold_up_stranger(api, Source::of(source), &busy).await;
            file
        }
        None => answer_call(api, parts, &mut body, source, connection, &busy).await,
    };
    // Behind a body that stays unread no further request can be read. One that was given up is not waited for again.
    let is_given_up =
        matches!(response.status(), StatusCode::REQUEST_TIMEOUT | StatusCode::PAYLOAD_TOO_LARGE);
    if is_given_up || !is_dropped(&mut body, &api.bounds.waits).await {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response.map(Full::new)
}

async fn answer_call(
    api: &Api,
    parts: Parts,
    body: &mut Incoming,
    source: IpAddr,
    connection: &Connection,
    busy: &Busy<'_>,
) -> Response<Bytes> {
    let id = request_id(&api.platform.draw().hex());
    let mut record = api.audit.record(id.clone(), source);
    // A broken invariant ends the call, not the process: nothing of it was committed, or all of it was.
    let handled = async {
        match admitted(api, parts, body, Source::of(source), connection, &mut record).await {
            Ok(admitted) => handle(api, admitted, connection, &id, &mut record).await,
            Err(refusal) => Err(refused(api, Source::of(source), connection, busy, refusal).await),
        }
    };
    let answered = AssertUnwindSafe(handled).catch_unwind().await.unwrap_or_else(|_| {
        tracing::error!(request = id, "a call broke an invariant");
        Err(failure::internal("The call failed inside the platform; its log says more."))
    });
    let (response, error) = match answered {
        Ok(response) => (response, None),
        Err(error) => (json::error(&error, &id), Some(error.code)),
    };
    record.answered(response.status().as_u16(), error).await;
    response
}

/// Reads what is left of a small body, so that its connection can go on. False when it is not small, or does not come.
async fn is_dropped(body: &mut Incoming, waits: &Waits) -> bool {
    if body.size_hint().lower() > limits::API_SMALL_BODY_BYTES_MAX as u64 {
        return false;
    }
    let mut body = Limited::new(body, limits::API_SMALL_BODY_BYTES_MAX);
    let ends = async {
        loop {
            match body.frame().await {
                None => return true,
                Some(Ok(_)) => {}
                Some(Err(_)) => return false,
            }
        }
    };
    tokio::time::timeout(waits.linger, ends).await.unwrap_or(false)
}

/// 32 hex digits in the form of a UUID, as SDKs print request ids.
pub(super) fn request_id(hex: &str) -> String {
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    format!("{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32))
}

async fn handle(
    api: &Api,
    admitted: Admitted,
    connection: &Connection,
    id: &str,
    record: &mut Record<'_>,
) -> Result<Response<Bytes>, Error> {
    let Admitted { target, key, region, body, _place } = admitted;
    if !target.only_reads() {
        record.begins_change(api.bounds.waits.place).await?;
        // While its body came, its key may have been deleted.
        if api.platform.store.access_key_get(&key.id).await.map_err(failure::store)?.is_none() {
            connection.doubted();
        }
    }
    // And its connection told to give way.
    if !connection.stands_by(&key.id) {
        return Err(Error::unrecognized_client());
    }
    let context = Context { platform: &api.platform, region: &region, connections: Some(connection.all()) };
    tracing::debug!(request = id, operation = target.operation_name(), region, "call");
    match target {
        Target::AppRunner(operation) => apprunner::dispatch(context, operation, &body, id).await,
        Target::Apron(operation) => {
            let poll =
                Poll { places: Arc::clone(&api.polls), key_id: key.id, shutdown: api.shutdown.clone() };
            apron::dispatch(context, operation, &body, id, poll).await
        }
    }
}

/// A call whose signature is good, and which its caller may make now.
struct Admitted {
    target: Target,
    key: AccessKey,
    region: String,
    body: Bytes,
    /// For as long as the body is in memory.
    _place: Option<Place>,
}

/// Why a call is not admitted.
enum Refusal {
    /// By somebody who has not shown that he has a key.
    OfStranger(Error),
    /// By the holder of a key.
    OfCaller(Error),
    /// The holder of the key of this id calls too often.
    Throttled(String),
}

async fn admitted(
    api: &Api,
    parts: Parts,
    body: &mut Incoming,
    source: Source,
    connection: &Connection,
    record: &mut Record<'_>,
) -> Result<Admitted, Refusal> {
    use Refusal::{OfCaller, OfStranger};
    let target = detect::detect(&parts.method, parts.uri.path(), &parts.headers);
    let named = parts.headers.get(detect::X_AMZ_TARGET).and_then(|target| target.to_str().ok());
    let key_id = sigv4::presented_key(&parts);
    record.claims(key_id.as_deref(), target.as_ref().ok().copied(), named);
    let target = target.map_err(OfStranger)?;
    // Who nobody knows gets no memory for a body, nor does a request of another time.
    let presented = Presented::read(&parts).map_err(OfStranger)?;
    let key = api.platform.store.access_key_get(presented.access_key_id()).await;
    let key = key.map_err(|error| OfStranger(failure::store(error)))?;
    let key = key.ok_or_else(|| OfStranger(Error::unrecognized_client()))?;
    let secret = SecretKey::new(key.secret.as_str());
    let now_s = api.platform.clock.wall().0 / 1000;
    presented.check(target.signing_name(), now_s).map_err(OfStranger)?;
    let is_proven = presented.check_head(&secret).map_err(OfStranger)?;
    if is_proven {
        known(api, target, &key, presented.region(), connection, record)?;
    }
    let refusal = if is_proven { OfCaller } else { OfStranger };
    let bytes_max = match target {
        Target::Apron(Operation::PutUploadPart) => limits::API_UPLOAD_BODY_BYTES_MAX,
        // It may wait for long, and would keep its place for as long.
        Target::Apron(_) | Target::AppRunner(_) if target.only_reads() => limits::API_SMALL_BODY_BYTES_MAX,
        Target::Apron(_) | Target::AppRunner(_) => limits::API_BODY_BYTES_MAX,
    };
    let said = said_length(&parts.headers);
    if said.is_some_and(|length| length > bytes_max as u64) {
        return Err(refusal(Error::request_too_large(bytes_max)));
    }
    let place = match said.unwrap_or(bytes_max as u64) <= limits::API_SMALL_BODY_BYTES_MAX as u64 {
        true => None,
        false => Some(match is_proven {
            true => place(api, &api.bodies.proven, Holder::Key(key.id.clone())).await.map_err(refusal)?,
            false => place(api, &api.bodies.unproven, Holder::Address(source)).await.map_err(refusal)?,
        }),
    };
    let body = read_body(body, bytes_max, &api.bounds.waits).await.map_err(refusal)?;
    // One that did not say its length and is small needs no place.
    let place = place.filter(|_| body.len() > limits::API_SMALL_BODY_BYTES_MAX);
    let (caller, body) = presented.verify(&secret, body, target.signing_name(), now_s).map_err(refusal)?;
    if !is_proven {
        known(api, target, &key, &caller.region, connection, record)?;
    }
    record.sent(&body);
    Ok(Admitted { target, key, region: caller.region, body, _place: place })
}

/// The caller has shown that he has this key: whether he may make one more call, and this one.
fn known(
    api: &Api,
    target: Target,
    key: &AccessKey,
    region: &str,
    connection: &Connection,
    record: &mut Record<'_>,
) -> Result<(), Refusal> {
    record.verified(&key.name, region);
    let now = api.platform.clock.now();
    // A connection that is held up does not give way, if it has standing.
    let stands = connection.proven(&key.id);
    if !throttling(api).admit_key(&key.id, target.only_reads(), now) {
        record.throttled();
        return Err(Refusal::Throttled(key.id.clone()));
    }
    if !stands {
        let error = "This access key has too many connections to the API. Try again.";
        return Err(Refusal::OfCaller(Error::service_unavailable(error)));
    }
    match access::may(key.rights, deed(target)) {
        true => Ok(()),
        false => Err(Refusal::OfCaller(denied(&api.platform.names.account, &key.name, target))),
    }
}

/// What is answered to a call that is not admitted. Who sends too many of them waits. That bounds what his kept
/// connections cost; a new one for each request costs a look into the store and an HMAC each.
async fn refused(
    api: &Api,
    source: Source,
    connection: &Connection,
    busy: &Busy<'_>,
    refusal: Refusal,
) -> Error {
    match refusal {
        Refusal::OfCaller(error) => error,
        Refusal::Throttled(key_id) => {
            let now = api.platform.clock.now();
            let at_once = throttling(api).admit_refusal(&key_id, now);
            hold_up(api, busy, !at_once).await;
            Error::throttling()
        }
        // What is our own fault is not held against him.
        Refusal::OfStranger(error) if error.status >= 500 => error,
        // He is told what is wrong however often he comes: told to wait, he would only come again.
        Refusal::OfStranger(error) => {
            connection.doubted();
            hold_up_stranger(api, source, busy).await;
            error
        }
    }
}

/// Holds up who shows no key, where too many such requests come from his address.
async fn hold_up_stranger(api: &Api, source: Source, busy: &Busy<'_>) {
    let now = api.platform.clock.now();
    let at_once = throttling(api).admit_stranger(source, now);
    hold_up(api, busy, !at_once).await;
}

async fn hold_up(api: &Api, busy: &Busy<'_>, is_held_up: bool) {
    if is_held_up {
        busy.held_up(api.bounds.waits.held_up).await;
    }
}

fn throttling(api: &Api) -> MutexGuard<'_, Throttling> {
    api.throttling.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a call does, as far as rights go.
fn deed(target: Target) -> Deed {
    match target {
        Target::Apron(
            Operation::CreateAccessKey
            | Operation::DeleteAccessKey
            | Operation::GetAuditLog
            | Operation::ListAccessKeys,
        ) => Deed::Administer,
        Target::Apron(_) | Target::AppRunner(_) if target.only_reads() => Deed::Read,
        Target::Apron(_) | Target::AppRunner(_) => Deed::Change,
    }
}

/// A refusal in AWS's words.
fn denied(account: &str, key_name: &str, target: Target) -> Error {
    Error::access_denied(format!(
        "User: arn:aws:iam::{account}:user/{key_name} is not authorized to perform: {}:{} on resource: * because its \
         access key has read-only rights",
        target.signing_name(),
        target.operation_name()
    ))
}

/// Decodes the input, runs the handler, encodes the output. In builds for development no answer leaves that breaks
/// the model.
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
    let answer = handler(input).await;
    // Every test is then a test of this too; a release trusts what they have seen.
    #[cfg(debug_assertions)]
    if let Some(breach) = apron_wire::conform::breach::<C>(&answer) {
        tracing::error!(request = id, breach, "an answer breaks the API's model");
        return Err(failure::internal(breach));
    }
    Ok(json::answer(&answer?, id))
}

fn said_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok())
}

/// A place for a large body.
async fn place(api: &Api, places: &Arc<Shares>, holder: Holder) -> Result<Place, Error> {
    let place = places.wait(holder, api.bounds.waits.place).await;
    place.ok_or_else(|| Error::service_unavailable("The API is busy with other large requests. Try again."))
}

/// The whole body, within its bounds of size and time.
async fn read_body(body: &mut Incoming, bytes_max: usize, waits: &Waits) -> Result<Bytes, Error> {
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
    fn what_shows_keys_or_calls_is_for_administrators() {
        let ours = Operation::ALL.iter().copied().map(Target::Apron);
        let all = apron_wire::apprunner::Operation::ALL.iter().copied().map(Target::AppRunner).chain(ours);
        for target in all {
            let name = target.operation_name();
            let expected = match name.contains("AccessKey") || name.contains("Audit") {
                true => Deed::Administer,
                false if target.only_reads() => Deed::Read,
                false => Deed::Change,
            };
            assert_eq!(deed(target), expected, "{name}");
        }
    }

    #[test]
    fn request_ids_look_like_those_of_aws() {
        assert_eq!(request_id("0123456789abcdef0123456789abcdef"), "01234567-89ab-cdef-0123-456789abcdef");
    }
}
