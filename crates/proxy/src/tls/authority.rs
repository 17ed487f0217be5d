//! The local certificate authority: made at the first start, and able to sign for the apps domain only.
//!
//! People put it among the roots of their machine (`apron trust`), and its key lies where the process that strangers
//! speak to can read it. So what the key is good for is bounded by the certificate itself: from it a client takes no
//! name outside the apps domain, no address, and nothing but a server's certificate. One that is not bounded so, of
//! an earlier release or for another domain, is made anew.

use super::{DAY, TlsError, name, write};
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, NameConstraints, PublicKeyData, date_time_ymd,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::io;
use std::path::Path;
use std::time::Duration;

const AUTHORITY_DAYS: u32 = 3650;

/// Why a certificate is not the local authority of a domain.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityError {
    #[error("it is not one certificate in PEM and nothing else")]
    NotOneCertificate,
    #[error("it is not bounded to names of {domain}")]
    NotBounded { domain: String },
    #[error("certificate and key do not belong together")]
    OtherKey,
    #[error("no certificate can be made to compare it with")]
    Make(#[from] rcgen::Error),
}

/// What signs for the apps domain.
pub(super) struct Authority(pub(super) Issuer<'static, KeyPair>);

impl Authority {
    /// The kept one, or a new one where none is kept that is bounded to this domain. Before a new one is written,
    /// `renewed` is called: what the old one signed is of no use any more.
    pub(super) fn open(
        directory: &Path,
        domain: &str,
        now: Duration,
        renewed: impl FnOnce() -> Result<(), TlsError>,
    ) -> Result<Authority, TlsError> {
        let (pem_path, key_path) = (directory.join("ca.pem"), directory.join("ca.key"));
        let mut params = params(domain)?;
        if let (Some(pem), Some(key)) = (kept(&pem_path)?, kept(&key_path)?) {
            match usable(&pem, &key, domain) {
                // Name and key are all that a signature takes from its issuer, and both are those of the kept one.
                Ok(key) => return Ok(Authority(Issuer::new(params, key))),
                Err(error) => tracing::warn!(
                    path = %pem_path.display(),
                    %error,
                    "the local authority is made anew: whoever trusts the old one has to run apron trust again"
                ),
            }
        }
        renewed()?;
        params.not_before = date_time_ymd(1970, 1, 1) + now.saturating_sub(DAY);
        params.not_after = date_time_ymd(1970, 1, 1) + now + DAY * AUTHORITY_DAYS;
        let key = KeyPair::generate()?;
        // The key first: a crash in between leaves a certificate that does not fit, and both are made anew.
        write(&key_path, key.serialize_pem().as_bytes(), 0o600)?;
        write(&pem_path, params.self_signed(&key)?.pem().as_bytes(), 0o644)?;
        Ok(Authority(Issuer::new(params, key)))
    }
}

/// Checks that a PEM file's content is the certificate of an authority that can sign for this domain and nothing else.
pub fn check_authority(pem: &[u8], domain: &str) -> Result<(), AuthorityError> {
    let certificate = only_certificate(pem).ok_or(AuthorityError::NotOneCertificate)?;
    // What such a certificate says is compared with what one says that is made for the purpose: there is nothing to
    // interpret, and so nothing to overlook.
    let like = params(domain)?.self_signed(&KeyPair::generate()?)?;
    match bounds(like.der()) {
        Some(wanted) if bounds(&certificate).as_ref() == Some(&wanted) => Ok(()),
        _ => Err(AuthorityError::NotBounded { domain: domain.to_owned() }),
    }
}

/// The kept key, if the certificate is its own and bounded to the domain.
fn usable(pem: &[u8], key: &[u8], domain: &str) -> Result<KeyPair, AuthorityError> {
    check_authority(pem, domain)?;
    let key = KeyPair::from_pem(&String::from_utf8_lossy(key)).map_err(|_| AuthorityError::OtherKey)?;
    let certificate = only_certificate(pem).ok_or(AuthorityError::NotOneCertificate)?;
    let anchor =
        webpki::anchor_from_trusted_cert(&certificate).map_err(|_| AuthorityError::NotOneCertificate)?;
    // The anchor has the content of the key's sequence, without what opens it.
    match key.subject_public_key_info().ends_with(anchor.subject_public_key_info.as_ref()) {
        true => Ok(key),
        false => Err(AuthorityError::OtherKey),
    }
}

/// The certificate of a file that holds nothing else: no text and no second certificate, which another reader of the
/// file might take for the one that was checked.
fn only_certificate(pem: &[u8]) -> Option<CertificateDer<'static>> {
    let text = std::str::from_utf8(pem).ok()?.trim_end();
    let inner = text.strip_prefix("-----BEGIN CERTIFICATE-----\n")?;
    let inner = inner.strip_suffix("\n-----END CERTIFICATE-----")?;
    let plain = inner.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=' | b'\n'));
    plain.then(|| CertificateDer::from_pem_slice(pem).ok()).flatten()
}

/// The name constraints of a certificate, as they stand in it, if it has any.
fn bounds(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let anchor = webpki::anchor_from_trusted_cert(certificate).ok()?;
    anchor.name_constraints.map(|constraints| constraints.to_vec())
}

/// All of an authority but its days and its key.
fn params(domain: &str) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = name("Apron local authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    // A kind of name that has no bound at all is free: addresses are excluded outright.
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![GeneralSubtree::DnsName(Ia5String::try_from(domain)?.as_str().to_owned())],
        excluded_subtrees: vec![
            GeneralSubtree::IpAddress(CidrSubnet::V4([0; 4], [0; 4])),
            GeneralSubtree::IpAddress(CidrSubnet::V6([0; 16], [0; 16])),
        ],
    });
    Ok(params)
}

/// A file's content; none where there is no file.
fn kept(path: &Path) -> Result<Option<Vec<u8>>, TlsError> {
    match std::fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(TlsError::Io { path: path.to_owned(), source }),
    }
}
