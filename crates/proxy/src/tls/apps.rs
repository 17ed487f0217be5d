//! Certificates that the local authority signs for the apps domain.
//!
//! There is one for the apps domain and the platform's own region, which is kept in `apps.pem`, and in memory one for
//! each other region that a service of the route table is in, when the first client asks for it: a wildcard stands for
//! one label only. Each is made anew, while the proxy runs, when a third of its life is left.

use super::authority::Authority;
use super::{Clock, DAY, TlsError, name, read, write};
use crate::config::Tls;
use crate::route::Host;
use crate::tables::Tables;
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, date_time_ymd};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SigningKey};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Clients refuse certificates that are valid for longer than 398 days.
pub(super) const CERTIFICATE_DAYS: u32 = 397;
/// Made anew with fewer days left.
pub(super) const RENEW_DAYS: u32 = CERTIFICATE_DAYS / 3;
/// Certificates that are held, one a region; AWS has some thirty. With more in use the oldest is made again.
pub(super) const CERTIFICATES_MAX: usize = 64;

/// What the certificate in `apps.pem` is, so that it need not be parsed.
#[derive(Serialize, Deserialize, PartialEq, Eq)]
struct Made {
    names: Vec<String>,
    /// Days since 1970.
    expires_day: u64,
}

/// One for each region.
pub(super) struct Certificates {
    config: Tls,
    tables: Arc<Tables>,
    clock: Clock,
    authority: Authority,
    /// Of every certificate.
    key: KeyPair,
    signing: Arc<dyn SigningKey>,
    /// By what stands behind the wildcard.
    pub(super) held: Mutex<HashMap<String, Held>>,
}

#[derive(Clone)]
pub(super) struct Held {
    certificate: Arc<CertifiedKey>,
    expires_day: u64,
}

impl Certificates {
    pub(super) fn open(config: &Tls, tables: Arc<Tables>, clock: Clock) -> Result<Certificates, TlsError> {
        let (authority, expires_day) = ensure(config, clock())?;
        let directory = &config.directory;
        let (chain_path, key_path) = (directory.join("apps.pem"), directory.join("apps.key"));
        let damaged = |path: &Path| {
            let path = path.to_owned();
            move |source| TlsError::Damaged { path, source }
        };
        let chain = CertificateDer::pem_slice_iter(&read(&chain_path)?)
            .collect::<Result<Vec<_>, _>>()
            .map_err(damaged(&chain_path))?;
        let text = read(&key_path)?;
        let private = PrivateKeyDer::from_pem_slice(&text).map_err(damaged(&key_path))?;
        let signing = rustls::crypto::ring::sign::any_supported_type(&private)?;
        let certificate = CertifiedKey::new(chain, signing.clone());
        certificate.keys_match()?;
        let held = Held { certificate: Arc::new(certificate), expires_day };
        Ok(Certificates {
            authority,
            key: KeyPair::from_pem(&String::from_utf8_lossy(&text))?,
            signing,
            held: Mutex::new(HashMap::from([(config.apps_domain.clone(), held)])),
            config: config.clone(),
            tables,
            clock,
        })
    }

    /// For the host, or for whoever names none or one that nothing is served by: the certificate of the apps domain.
    pub(super) fn of(&self, host: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let domain =
            host.and_then(|host| self.domain(host)).unwrap_or_else(|| self.config.apps_domain.clone());
        let day = (self.clock)().as_secs() / DAY.as_secs();
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner).get(&domain).cloned();
        if let Some(held) = &held
            && fresh(held.expires_day, day)
        {
            return Some(held.certificate.clone());
        }
        match self.make(&domain) {
            Ok(made) => Some(self.hold(domain, made)),
            Err(error) => {
                tracing::error!(%error, domain, "cannot make a certificate");
                held.map(|held| held.certificate)
            }
        }
    }

    /// What stands behind the wildcard of this host's certificate, if it is another than that of the apps domain.
    fn domain(&self, host: &str) -> Option<String> {
        let host = Host::parse(host.as_bytes()).ok()?;
        let (_, domain) = host.as_str().split_once('.')?;
        let region = domain.strip_suffix(&self.config.apps_domain)?.strip_suffix('.')?;
        let other =
            !region.is_empty() && !region.contains('.') && !self.config.regions.iter().any(|r| r == region);
        (other && self.tables.knows(&host)).then(|| domain.to_owned())
    }

    fn make(&self, domain: &str) -> Result<Held, TlsError> {
        let now = (self.clock)();
        let names = match domain == self.config.apps_domain {
            true => names(&self.config),
            false => vec![format!("*.{domain}")],
        };
        let (certificate, expires_day) = certificate(names, domain, &self.key, &self.authority, now)?;
        let chain = vec![certificate.der().clone()];
        Ok(Held { certificate: Arc::new(CertifiedKey::new(chain, self.signing.clone())), expires_day })
    }

    fn hold(&self, domain: String, made: Held) -> Arc<CertifiedKey> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.len() >= CERTIFICATES_MAX && !held.contains_key(&domain) {
            let oldest =
                held.iter().min_by_key(|(_, held)| held.expires_day).map(|(domain, _)| domain.clone());
            oldest.and_then(|domain| held.remove(&domain));
        }
        let certificate = made.certificate.clone();
        held.insert(domain, made);
        certificate
    }
}

/// The names of the certificate in `apps.pem`.
fn names(config: &Tls) -> Vec<String> {
    let mut names = vec![config.apps_domain.clone(), format!("*.{}", config.apps_domain)];
    names.extend(config.regions.iter().map(|region| format!("*.{region}.{}", config.apps_domain)));
    names
}

/// Makes what is missing or outdated; gives the authority, and the day when `apps.pem` expires.
fn ensure(config: &Tls, now: Duration) -> Result<(Authority, u64), TlsError> {
    let directory = &config.directory;
    std::fs::create_dir_all(directory).map_err(|source| TlsError::Io { path: directory.clone(), source })?;
    let today = now.as_secs() / DAY.as_secs();
    let names = names(config);

    let made_path = directory.join("apps.json");
    let authority = Authority::open(directory, &config.apps_domain, now, || forget(&made_path))?;
    let made: Option<Made> =
        std::fs::read(&made_path).ok().and_then(|text| serde_json::from_slice(&text).ok());
    let whole = ["apps.pem", "apps.key"].iter().all(|name| directory.join(name).exists());
    if let Some(made) = made
        && whole
        && made.names == names
        && fresh(made.expires_day, today)
    {
        return Ok((authority, made.expires_day));
    }

    let key = KeyPair::generate()?;
    let (certificate, expires_day) = certificate(names.clone(), &config.apps_domain, &key, &authority, now)?;
    // The description is written last: without it, or with an old one, all is made again.
    write(&directory.join("apps.key"), key.serialize_pem().as_bytes(), 0o600)?;
    write(&directory.join("apps.pem"), certificate.pem().as_bytes(), 0o644)?;
    let made = serde_json::to_vec(&Made { names, expires_day }).unwrap_or_default();
    write(&made_path, &made, 0o644)?;
    Ok((authority, expires_day))
}

/// Without its description, the kept certificate is made anew.
fn forget(made_path: &Path) -> Result<(), TlsError> {
    match std::fs::remove_file(made_path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(TlsError::Io { path: made_path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

/// One with more days than any is made with comes from a clock that was ahead, and is not valid yet.
fn fresh(expires_day: u64, today: u64) -> bool {
    let left = expires_day.saturating_sub(today);
    (u64::from(RENEW_DAYS) + 1..=u64::from(CERTIFICATE_DAYS)).contains(&left)
}

/// A certificate for the names, and the day, since 1970, on which it expires.
pub(super) fn certificate(
    names: Vec<String>,
    common: &str,
    key: &KeyPair,
    authority: &Authority,
    now: Duration,
) -> Result<(rcgen::Certificate, u64), rcgen::Error> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = name(common);
    params.not_before = date_time_ymd(1970, 1, 1) + now.saturating_sub(DAY);
    params.not_after = date_time_ymd(1970, 1, 1) + now + DAY * CERTIFICATE_DAYS;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let expires_day = now.as_secs() / DAY.as_secs() + u64::from(CERTIFICATE_DAYS);
    Ok((params.signed_by(key, &authority.0)?, expires_day))
}
