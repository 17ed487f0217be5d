//! The local certificate authority and the certificate that it signs for the apps domain.
//!
//! Both are made at the first start and kept: whoever trusts `ca.pem` once is served over HTTPS without a warning
//! from then on. The certificate is made anew when its names change or when it is about to expire; the authority
//! stays.

use crate::config::Tls;
use crate::saved::replace;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio_rustls::TlsAcceptor;

const DAY: Duration = Duration::from_secs(24 * 3600);
const AUTHORITY_DAYS: u32 = 3650;
/// Clients refuse certificates that are valid for longer than 398 days.
const CERTIFICATE_DAYS: u32 = 397;
/// Made anew at a start with fewer days left.
const RENEW_DAYS: u32 = 60;

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read or write {path}")]
    Io { path: PathBuf, source: io::Error },
    #[error("cannot make a certificate")]
    Make(#[from] rcgen::Error),
    #[error("{path} does not hold what it should")]
    Damaged { path: PathBuf, source: rustls::pki_types::pem::Error },
    #[error("certificate and key cannot be used")]
    Unusable(#[from] rustls::Error),
}

/// What the certificate in `apps.pem` is, so that it need not be parsed.
#[derive(Serialize, Deserialize, PartialEq, Eq)]
struct Made {
    names: Vec<String>,
    /// Days since 1970.
    expires_day: u64,
}

/// The acceptor for the HTTPS listeners. `now` is the time since 1970.
pub(crate) fn acceptor(config: &Tls, now: Duration) -> Result<TlsAcceptor, TlsError> {
    ensure(config, now)?;
    let (chain_path, key_path) = (config.directory.join("apps.pem"), config.directory.join("apps.key"));
    let damaged = |path: &Path| {
        let path = path.to_owned();
        move |source| TlsError::Damaged { path, source }
    };
    let chain = CertificateDer::pem_slice_iter(&read(&chain_path)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(damaged(&chain_path))?;
    let key = PrivateKeyDer::from_pem_slice(&read(&key_path)?).map_err(damaged(&key_path))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(server)))
}

/// Makes what is missing or outdated.
fn ensure(config: &Tls, now: Duration) -> Result<(), TlsError> {
    let directory = &config.directory;
    std::fs::create_dir_all(directory).map_err(|source| TlsError::Io { path: directory.clone(), source })?;
    let today = now.as_secs() / DAY.as_secs();
    let mut names = vec![config.apps_domain.clone(), format!("*.{}", config.apps_domain)];
    names.extend(config.regions.iter().map(|region| format!("*.{region}.{}", config.apps_domain)));

    let made_path = directory.join("apps.json");
    let made: Option<Made> =
        std::fs::read(&made_path).ok().and_then(|text| serde_json::from_slice(&text).ok());
    let fresh = |made: Made| made.names == names && made.expires_day > today + u64::from(RENEW_DAYS);
    let whole = ["ca.pem", "ca.key", "apps.pem", "apps.key"].iter().all(|name| directory.join(name).exists());
    if whole && made.is_some_and(fresh) {
        return Ok(());
    }

    let (authority, authority_pem) = authority(directory, now)?;
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(names.clone())?;
    params.distinguished_name = name(&config.apps_domain);
    params.not_before = date_time_ymd(1970, 1, 1) + now.saturating_sub(DAY);
    params.not_after = date_time_ymd(1970, 1, 1) + now + DAY * CERTIFICATE_DAYS;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&key, &authority)?;
    // The description is written last: without it, or with an old one, all is made again.
    write(&directory.join("apps.key"), key.serialize_pem().as_bytes(), 0o600)?;
    write(&directory.join("apps.pem"), (certificate.pem() + &authority_pem).as_bytes(), 0o644)?;
    let made = Made { names, expires_day: today + u64::from(CERTIFICATE_DAYS) };
    let made = serde_json::to_vec(&made).unwrap_or_default();
    write(&made_path, &made, 0o644)
}

/// The kept authority, or a new one.
fn authority(directory: &Path, now: Duration) -> Result<(Issuer<'static, KeyPair>, String), TlsError> {
    let (pem_path, key_path) = (directory.join("ca.pem"), directory.join("ca.key"));
    let mut params = CertificateParams::default();
    params.distinguished_name = name("Apron local authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = date_time_ymd(1970, 1, 1) + now.saturating_sub(DAY);
    params.not_after = date_time_ymd(1970, 1, 1) + now + DAY * AUTHORITY_DAYS;
    if pem_path.exists() && key_path.exists() {
        let key = KeyPair::from_pem(&String::from_utf8_lossy(&read(&key_path)?))?;
        let pem = String::from_utf8_lossy(&read(&pem_path)?).into_owned();
        // Name and key are all that a signature takes from its issuer, and both are those of the kept one.
        return Ok((Issuer::new(params, key), pem));
    }
    let key = KeyPair::generate()?;
    let pem = params.self_signed(&key)?.pem();
    write(&key_path, key.serialize_pem().as_bytes(), 0o600)?;
    write(&pem_path, pem.as_bytes(), 0o644)?;
    Ok((Issuer::new(params, key), pem))
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Io { path: path.to_owned(), source })
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), TlsError> {
    replace(path, bytes, mode).map_err(|source| TlsError::Io { path: path.to_owned(), source })
}
