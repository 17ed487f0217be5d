//! Which certificate a client gets, and how TLS is spoken.
//!
//! A host with a pair of files of its own (`files`) gets that. Every other host, and whoever names none, gets the one
//! pair that was given for all, or where there is none what the local authority (`authority`) signs for the apps
//! domain (`apps`).

mod apps;
mod authority;
pub(crate) mod files;
mod validity;

pub use authority::{AuthorityError, check_authority};

use crate::config::Config;
use crate::route::Host;
use crate::saved::replace;
use crate::tables::Tables;
use apps::Certificates;
use files::{Files, Held, PairError};
use rcgen::{DistinguishedName, DnType};
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert, ServerSessionMemoryCache};
use rustls::sign::CertifiedKey;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// Sessions that are kept for clients of TLS 1.2 that take no tickets, which are few; each has some hundred bytes.
const SESSIONS_MAX: usize = 4096;

/// Time since 1970, given by whoever starts the proxy.
pub(crate) type Clock = Box<dyn Fn() -> Duration + Send + Sync>;

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
    #[error(transparent)]
    Pair(#[from] PairError),
}

/// What the loops share.
#[derive(Clone)]
pub(crate) struct Shared {
    /// None where nothing says which certificates there are.
    pub(crate) acceptor: Option<TlsAcceptor>,
    /// Pairs of files; a client knows who signed these.
    pub(crate) held: watch::Receiver<Arc<Held>>,
    /// Where HTTPS is reached.
    pub(crate) port: Option<u16>,
}

/// Reads and makes certificates. They are signed for hosts that `tables` knows. What is given besides looks after the
/// files, on a thread of its own.
pub(crate) fn start(
    config: &Config,
    tables: &Arc<Tables>,
    clock: Clock,
) -> Result<(Shared, Option<Files>), TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let files = match config.certificates.is_empty() {
        true => None,
        false => Some(Files::open(&config.certificates, provider.clone())?),
    };
    let held = match &files {
        Some(files) => files.subscribe(),
        None => watch::Sender::new(Arc::new(Held::default())).subscribe(),
    };
    let apps = match &config.tls {
        Some(tls) => Some(Certificates::open(tls, tables.clone(), clock)?),
        None => None,
    };
    let acceptor = match apps.is_some() || config.certificates.pair.is_some() {
        true => Some(acceptor(provider, Chooser { held: held.clone(), apps })?),
        false => None,
    };
    Ok((Shared { acceptor, held, port: config.https_port }, files))
}

fn acceptor(provider: Arc<CryptoProvider>, chooser: Chooser) -> Result<TlsAcceptor, TlsError> {
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(chooser));
    // Who offers the last one alone would be turned away otherwise, and is served like anybody.
    server.alpn_protocols = ["h2", "http/1.1", "http/1.0"].map(|name| name.as_bytes().to_vec()).into();
    // A ticket is sealed with a key of this process that changes every few hours: any loop takes it, and nothing is
    // kept for it. Data before the handshake's end stays off, as it could be sent a second time by anyone.
    server.ticketer = rustls::crypto::ring::Ticketer::new()?;
    server.session_storage = ServerSessionMemoryCache::new(SESSIONS_MAX);
    Ok(TlsAcceptor::from(Arc::new(server)))
}

/// Gives each client the certificate for the host that it names.
struct Chooser {
    held: watch::Receiver<Arc<Held>>,
    apps: Option<Certificates>,
}

impl Chooser {
    fn of(&self, name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        // The lock of the channel, held for a look-up: beside a handshake its price does not show.
        let held = self.held.borrow().clone();
        let host = name.and_then(|name| Host::parse(name.as_bytes()).ok());
        let from_files = host.and_then(|host| held.find(host.as_str()).cloned()).or_else(|| held.for_all());
        from_files.or_else(|| self.apps.as_ref().and_then(|apps| apps.of(name)))
    }
}

impl fmt::Debug for Chooser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Chooser")
    }
}

impl ResolvesServerCert for Chooser {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.of(hello.server_name())
    }
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

#[cfg(test)]
mod tests;
