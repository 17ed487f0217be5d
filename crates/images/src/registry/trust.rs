//! Which certificates of registries are believed: what the host believes.

use rustls::ClientConfig;
use rustls_platform_verifier::ConfigVerifierExt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Certificates that the host comes to trust, or no longer does, count after this time. Reading them takes four
/// milliseconds of a processor (measured with the 144 of Debian 12), which many pulls at once would spend many times.
const KEPT: Duration = Duration::from_secs(60);

static READ: Mutex<Option<(Instant, ClientConfig)>> = Mutex::new(None);

/// TLS as a client of registries speaks it. Fails when the host's certificates cannot be read.
pub(super) fn tls() -> Result<ClientConfig, rustls::Error> {
    let mut read = READ.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((at, config)) = &*read
        && at.elapsed() < KEPT
    {
        return Ok(config.clone());
    }
    let config = ClientConfig::with_platform_verifier()?;
    *read = Some((Instant::now(), config.clone()));
    Ok(config)
}
