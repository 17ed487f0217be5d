//! Keys and certificates for all proxies alike: ECDSA on P-256, signed by an authority of this run.

use super::super::process::Directory;
use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::{cipher_suite, default_provider};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;

pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

/// Certificate and private key, in PEM.
pub(super) struct Pair {
    pub(super) certificate: String,
    pub(super) key: String,
}

/// The paths of one pair, apart and in one file.
pub(super) struct Files {
    pub(super) certificate: String,
    pub(super) key: String,
    pub(super) both: String,
}

impl Authority {
    pub(super) fn new() -> Result<Authority> {
        let mut params = CertificateParams::default();
        params.distinguished_name = name("the bench's authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?.der().clone();
        Ok(Authority { issuer: Issuer::new(params, key), certificate })
    }

    /// A certificate for this host with a key of its own.
    pub(super) fn sign(&self, host: &str) -> Result<Pair> {
        let mut params = CertificateParams::new(vec![host.to_owned()])?;
        params.distinguished_name = name(host);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Pair { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    /// Signs a certificate for this host and writes it where proxies find it.
    pub(super) fn write(&self, directory: &Directory, host: &str) -> Result<Files> {
        let Pair { certificate, key } = self.sign(host)?;
        Ok(Files {
            both: directory.write("both.pem", &format!("{certificate}{key}"))?,
            certificate: directory.write("certificate.pem", &certificate)?,
            key: directory.write("key.pem", &key)?,
        })
    }

    /// What our own load speaks: HTTP/1.1 over TLS 1.3 with one cipher suite, so that no proxy chooses a cheaper one,
    /// and a full handshake each time.
    pub(super) fn client(&self) -> Result<Arc<ClientConfig>> {
        let cipher_suites = vec![cipher_suite::TLS13_AES_256_GCM_SHA384];
        let provider = CryptoProvider { cipher_suites, ..default_provider() };
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone())?;
        let mut client = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        client.resumption = Resumption::disabled();
        client.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(client))
    }
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}
