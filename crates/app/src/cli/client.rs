//! Calls the API as anyone may: signed AWS JSON over HTTP/1.

use super::settings::{REGION, Settings};
use anyhow::{Context, Result, anyhow, bail};
use apron_wire::sigv4::{Credentials, SecretKey};
use apron_wire::{Call, apprunner, apron};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use std::time::{Duration, SystemTime};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio::time::Instant;

/// A connection to a platform that is there comes at once, or it is not there.
const CONNECT_MS_MAX: u64 = 5_000;
/// One call and its answer; a long poll for log lines waits 20 s of it at most.
const CALL_MS_MAX: u64 = 60_000;
/// Unpacking and checking an uploaded archive of several gigabytes.
const IMPORT_MS_MAX: u64 = 20 * 60_000;
/// The longest answers are lists of log lines: 1,000 of 16 KiB.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// A platform that restarts is away for a few seconds; who only reads asks again for this long.
const AWAY_MS_MAX: u64 = 60_000;
const ASK_AGAIN_MS: u64 = 200;
/// Pages of a list; a server that goes on for ever is not one of ours.
const PAGES_MAX: usize = 1_000;

/// Speaks to one platform in one region.
pub(crate) struct Client {
    settings: Settings,
    region: OnceCell<String>,
}

/// A refusal by the API: its text is for people, its code for programs.
#[derive(Debug, thiserror::Error)]
#[error("{}", said(.0))]
pub(crate) struct Refused(apron_wire::Error);

fn said(error: &apron_wire::Error) -> String {
    if error.message.is_empty() { error.code.clone().into_owned() } else { error.message.clone() }
}

impl Client {
    pub(crate) fn new(settings: Settings) -> Client {
        let region = OnceCell::new_with(settings.region.clone());
        Client { settings, region }
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The region that calls are signed for; asked of the platform once when nobody named one.
    pub(crate) async fn region(&self) -> Result<&str> {
        let ask = || async { Ok(self.platform().await?.region) };
        self.region.get_or_try_init(ask).await.map(String::as_str)
    }

    pub(crate) async fn platform(&self) -> Result<apron::DescribePlatformResponse> {
        let region = self.region.get().map_or(REGION, String::as_str);
        self.send(&apron::DescribePlatformRequest {}, region, CALL_MS_MAX).await
    }

    pub(crate) async fn call<C: Call>(&self, input: &C) -> Result<C::Output> {
        self.send(input, self.region().await?, CALL_MS_MAX).await
    }

    /// As `call`, for the one operation that may take minutes.
    pub(crate) async fn call_patiently<C: Call>(&self, input: &C) -> Result<C::Output> {
        self.send(input, self.region().await?, IMPORT_MS_MAX).await
    }

    /// As `call`, for what may be asked twice: goes on asking while the platform is away, as it is for a moment
    /// when it restarts, or too busy. What it refuses for another reason is refused at once.
    pub(crate) async fn ask<C: Call>(&self, input: &C) -> Result<C::Output> {
        let asked_at = Instant::now();
        loop {
            match self.call(input).await {
                Err(error)
                    if error.downcast_ref().is_none_or(|Refused(why)| why.is_passing())
                        && asked_at.elapsed() < Duration::from_millis(AWAY_MS_MAX) =>
                {
                    tokio::time::sleep(Duration::from_millis(ASK_AGAIN_MS)).await;
                }
                answered => return answered,
            }
        }
    }

    /// One call, sent again while the platform is too busy for it.
    async fn send<C: Call>(&self, input: &C, region: &str, within_ms: u64) -> Result<C::Output> {
        let endpoint = &self.settings.endpoint;
        let answered = async {
            let mut tries = 0;
            loop {
                let error = match self.exchange(input, region).await {
                    Err(error) => error,
                    answered => return answered,
                };
                let refused = error.downcast_ref::<Refused>();
                let pause = refused.and_then(|Refused(why)| apron_wire::client::pause(why, tries, random()));
                let Some(pause) = pause else { return Err(error) };
                tokio::time::sleep(pause).await;
                tries += 1;
            }
        };
        tokio::time::timeout(Duration::from_millis(within_ms), answered)
            .await
            .map_err(|_| anyhow!("{endpoint} did not answer {} within {} s", C::TARGET, within_ms / 1000))?
    }

    async fn exchange<C: Call>(&self, input: &C, region: &str) -> Result<C::Output> {
        let endpoint = &self.settings.endpoint;
        let host = endpoint.strip_prefix("http://").unwrap_or(endpoint);
        let address = if has_port(host) { host.to_owned() } else { format!("{host}:80") };
        let connected =
            tokio::time::timeout(Duration::from_millis(CONNECT_MS_MAX), TcpStream::connect(&address)).await;
        let stream = match connected {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                bail!("the API at {endpoint} cannot be reached ({error}); is 'apron serve' running?")
            }
            Err(_) => bail!("the API at {endpoint} cannot be reached within {} s", CONNECT_MS_MAX / 1000),
        };
        // A call is one write; waiting for more to send with it would cost 40 ms.
        stream.set_nodelay(true)?;
        let broken = || format!("the connection to {endpoint} broke");
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.with_context(broken)?;
        let key = &self.settings.key;
        let credentials = Credentials {
            access_key_id: key.id.clone(),
            secret: SecretKey::new(key.secret.clone()),
            token: None,
        };
        let request =
            apron_wire::client::request(input, host, region, &credentials, now_s()).map_err(Refused)?;
        let exchange = async {
            let response = sender.send_request(request.map(Full::<Bytes>::new)).await.with_context(broken)?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|error| anyhow!("the answer of {endpoint} cannot be read: {error}"))?;
            drop(sender);
            Ok::<_, anyhow::Error>((status, body.to_bytes()))
        };
        // The connection's future does the reading and writing; it ends with the exchange.
        let (answered, _) = tokio::join!(exchange, connection);
        let (status, body) = answered?;
        Ok(apron_wire::client::answer::<C>(status, &body).map_err(Refused)?)
    }

    /// Every service of the region.
    pub(crate) async fn services(&self) -> Result<Vec<apprunner::ServiceSummary>> {
        let mut services = Vec::new();
        let mut input = apprunner::ListServicesRequest::default();
        for _ in 0..PAGES_MAX {
            let page = self.call(&input).await?;
            services.extend(page.service_summary_list);
            match page.next_token {
                None => return Ok(services),
                token => input.next_token = token,
            }
        }
        bail!("the list of services has more than {PAGES_MAX} pages")
    }

    /// The service of this name, if there is one.
    pub(crate) async fn find(&self, name: &str) -> Result<Option<Found>> {
        for service in self.services().await? {
            if service.service_name.as_deref() == Some(name) {
                let (Some(arn), Some(status)) = (service.service_arn, service.status) else {
                    bail!("the answer about service '{name}' lacks its ARN or status");
                };
                return Ok(Some(Found { arn, status }));
            }
        }
        Ok(None)
    }

    /// The service of this name.
    ///
    /// # Errors
    /// When there is none, with the names that there are.
    pub(crate) async fn named(&self, name: &str) -> Result<Found> {
        if let Some(found) = self.find(name).await? {
            return Ok(found);
        }
        let names: Vec<String> =
            self.services().await?.into_iter().filter_map(|service| service.service_name).collect();
        let region = self.region().await?;
        if names.is_empty() {
            bail!("there is no service '{name}' in region {region}, nor any other");
        }
        bail!("there is no service '{name}' in region {region}; there are: {}", names.join(", "))
    }
}

/// A service that a name led to.
pub(crate) struct Found {
    pub arn: String,
    pub status: apprunner::ServiceStatus,
}

/// Whether a host ends with a port; colons within brackets belong to an IPv6 address.
fn has_port(host: &str) -> bool {
    host.rsplit(']').next().unwrap_or_default().contains(':')
}

/// Without a source of randomness clients are merely not kept apart.
fn random() -> u32 {
    getrandom::u32().unwrap_or_default()
}

/// Wall time in seconds, which signatures carry.
#[expect(clippy::disallowed_methods, reason = "signatures carry wall time")]
pub(crate) fn now_s() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
