//! Any OCI registry: a reference to a digest, a digest to blobs in the content store.
//!
//! Manifests are taken as bytes and named by their own hash, so what is stored is what the registry's author
//! signed or pinned. From a list of platforms this machine's is taken and no other.

use crate::content::{Content, ContentError};
use crate::manifest::{
    DOCKER_LIST_TYPE, DOCKER_MANIFEST_TYPE, DOCUMENT_BYTES_MAX, Descriptor, INDEX_TYPE, ImageIndex,
    ImageManifest, LAYERS_MAX, MANIFEST_TYPE, for_this_machine, host_architecture,
};
use apron_model::ids::Digest;
use apron_model::instance::Fault;
use futures_util::{StreamExt, TryStreamExt};
use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::errors::{OciDistributionError, OciErrorCode};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference, RegistryOperation};
use std::collections::BTreeMap;
use std::error::Error as _;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Blobs of one image that are fetched at once: what browsers and other clients do with one host.
const BLOBS_AT_ONCE: usize = 4;
/// Tries for one blob whose connection broke.
const BLOB_TRIES: u32 = 3;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two pieces of an answer.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// Pieces of a blob between network and disk.
const PIECES_WAITING: usize = 16;
const BLOB_BYTES_MAX: u64 = crate::unpack::UNPACKED_BYTES_MAX;

/// How registries are reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RegistryConfig {
    /// `host[:port]` spoken to without TLS; loopback addresses always are.
    pub plain_http: Vec<String>,
    /// From a host in a reference to `host[:port][/prefix]` that stands for it. Published tools accept
    /// only names of ECR; this is how they reach other registries.
    pub mirrors: BTreeMap<String, String>,
    /// A file in the form of Docker's `config.json`.
    pub credentials: Option<PathBuf>,
}

/// Each is one sentence that names the reference and the registry.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    #[error("{reference:?} is not an image reference: {reason}")]
    BadReference { reference: String, reason: String },
    #[error("the image {reference} does not exist in the registry {registry}")]
    NotFound { reference: String, registry: String },
    #[error(
        "the registry {registry} does not let us read {reference}; it does not exist or needs credentials"
    )]
    Unauthorized { reference: String, registry: String },
    #[error(
        "the image {reference} from {registry} is for {offered}; this machine runs linux/{}",
        host_architecture()
    )]
    OtherPlatform { reference: String, registry: String, offered: String },
    #[error("the registry {registry} cannot be reached for {reference}: {reason}")]
    Unreachable { reference: String, registry: String, reason: String },
    #[error("the registry {registry} asks to slow down; {reference} was not read")]
    TooManyRequests { reference: String, registry: String },
    #[error("the registry {registry} answered for {reference} with what is not an image: {reason}")]
    NotAnImage { reference: String, registry: String, reason: String },
    #[error("the credentials file {path} cannot be used: {reason}")]
    Credentials { path: PathBuf, reason: String },
    #[error("{reference} cannot be stored: {source}")]
    Content { reference: String, source: ContentError },
}

impl RegistryError {
    /// Whether another try cannot help.
    pub fn permanent(&self) -> bool {
        match self {
            RegistryError::Unreachable { .. } | RegistryError::TooManyRequests { .. } => false,
            RegistryError::Content { source, .. } => source.permanent(),
            RegistryError::BadReference { .. }
            | RegistryError::NotFound { .. }
            | RegistryError::Unauthorized { .. }
            | RegistryError::OtherPlatform { .. }
            | RegistryError::NotAnImage { .. }
            | RegistryError::Credentials { .. } => true,
        }
    }

    pub fn fault(&self) -> Fault {
        Fault { permanent: self.permanent(), reason: self.to_string(), last_lines: Vec::new() }
    }
}

/// Reads images from registries.
#[derive(Clone, Debug)]
pub struct Registry {
    config: RegistryConfig,
}

impl Registry {
    pub fn new(config: RegistryConfig) -> Registry {
        // Whoever comes first decides for the process; all of ours decide alike.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Registry { config }
    }

    /// The digest of the manifest that this machine would run.
    pub async fn resolve(&self, reference: &str) -> Result<Digest, RegistryError> {
        let session = self.session(reference).await?;
        let (bytes, _) = session.manifest().await?;
        Ok(sha256(&bytes))
    }

    /// Fetches what the store does not have of the image, and answers with its manifest's digest.
    pub async fn pull(&self, reference: &str, content: &Content) -> Result<Digest, RegistryError> {
        let session = self.session(reference).await?;
        let (bytes, manifest) = session.manifest().await?;
        session.blob(content, &manifest.config).await?;
        futures_util::stream::iter(manifest.layers.iter().map(|layer| session.blob(content, layer)))
            .buffer_unordered(BLOBS_AT_ONCE)
            .try_collect::<Vec<()>>()
            .await?;
        // Last, so that a manifest in the store has its blobs.
        let stored = content.clone();
        let digest = blocking(move || stored.put(&bytes)).await.map_err(|e| session.content(e))?;
        match content.config(&digest) {
            Ok(_) => Ok(digest),
            Err(ContentError::OtherPlatform { os, architecture }) => {
                Err(session.other_platform(format!("{os}/{architecture}")))
            }
            Err(e) => Err(session.content(e)),
        }
    }

    /// A client that has introduced itself for this reference.
    async fn session(&self, text: &str) -> Result<Session, RegistryError> {
        let bad = |reason: String| RegistryError::BadReference { reference: text.to_owned(), reason };
        let mapped = mapped(text, &self.config.mirrors);
        let reference: Reference = mapped.parse().map_err(|e: oci_client::ParseError| bad(e.to_string()))?;
        let registry = reference.resolve_registry().to_owned();
        let plain = is_loopback(&registry) || self.config.plain_http.contains(&registry);
        let config = ClientConfig {
            protocol: if plain { ClientProtocol::Http } else { ClientProtocol::Https },
            connect_timeout: Some(CONNECT_TIMEOUT),
            read_timeout: Some(READ_TIMEOUT),
            user_agent: concat!("apron/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        };
        let client = Client::try_from(config).map_err(|e| bad(e.to_string()))?;
        let auth = match &self.config.credentials {
            Some(path) => credentials(path, &registry)?,
            None => RegistryAuth::Anonymous,
        };
        let session = Session { client, auth, reference, text: text.to_owned(), registry };
        session
            .client
            .auth(&session.reference, &session.auth, RegistryOperation::Pull)
            .await
            .map_err(|e| session.error(e))?;
        Ok(session)
    }
}

struct Session {
    client: Client,
    auth: RegistryAuth,
    reference: Reference,
    /// As the user wrote it.
    text: String,
    registry: String,
}

impl Session {
    /// The manifest for this machine, verified against the digest where one was asked for.
    async fn manifest(&self) -> Result<(Vec<u8>, ImageManifest), RegistryError> {
        let bytes = self.fetch(&self.reference).await?;
        if let Some(wanted) = self.reference.digest() {
            self.verify(&bytes, wanted)?;
        }
        let kind: Kind = serde_json::from_slice(&bytes).map_err(|e| self.not_an_image(e.to_string()))?;
        let bytes = match kind.manifests {
            None => bytes,
            Some(_) => {
                let index: ImageIndex =
                    serde_json::from_slice(&bytes).map_err(|e| self.not_an_image(e.to_string()))?;
                let chosen = for_this_machine(&index).map_err(|offered| self.other_platform(offered))?;
                let bytes = self.fetch(&self.reference.clone_with_digest(chosen.digest.to_string())).await?;
                self.verify(&bytes, chosen.digest.as_str())?;
                bytes
            }
        };
        let manifest: ImageManifest =
            serde_json::from_slice(&bytes).map_err(|e| self.not_an_image(e.to_string()))?;
        if manifest.layers.len() > LAYERS_MAX {
            return Err(self.not_an_image(format!("{} layers; at most {LAYERS_MAX}", manifest.layers.len())));
        }
        Ok((bytes, manifest))
    }

    async fn fetch(&self, reference: &Reference) -> Result<Vec<u8>, RegistryError> {
        let accepted = [MANIFEST_TYPE, INDEX_TYPE, DOCKER_MANIFEST_TYPE, DOCKER_LIST_TYPE];
        let (bytes, _) = self
            .client
            .pull_manifest_raw(reference, &self.auth, &accepted)
            .await
            .map_err(|e| self.error(e))?;
        if bytes.len() as u64 > DOCUMENT_BYTES_MAX {
            return Err(self.not_an_image(format!("a manifest of {} bytes", bytes.len())));
        }
        Ok(bytes.to_vec())
    }

    fn verify(&self, bytes: &[u8], wanted: &str) -> Result<(), RegistryError> {
        match sha256(bytes) {
            actual if actual.as_str() == wanted => Ok(()),
            actual => {
                Err(self.not_an_image(format!("the manifest has the digest {actual}, asked for {wanted}")))
            }
        }
    }

    /// Fetches one blob unless it is there.
    async fn blob(&self, content: &Content, descriptor: &Descriptor) -> Result<(), RegistryError> {
        if descriptor.size > BLOB_BYTES_MAX {
            return Err(self.not_an_image(format!("{} has {} bytes", descriptor.digest, descriptor.size)));
        }
        content.blob_path(&descriptor.digest).map_err(|e| self.content(e))?;
        let mut tries = 0;
        loop {
            if content.has(&descriptor.digest) {
                return Ok(());
            }
            tries += 1;
            match self.blob_once(content, descriptor).await {
                Err(e)
                    if !e.permanent()
                        && tries < BLOB_TRIES
                        && !matches!(e, RegistryError::Content { .. }) =>
                {
                    tokio::time::sleep(Duration::from_millis(500 * u64::from(tries))).await;
                }
                other => return other,
            }
        }
    }

    async fn blob_once(&self, content: &Content, descriptor: &Descriptor) -> Result<(), RegistryError> {
        let mut stream = self
            .client
            .pull_blob_stream(&self.reference, descriptor.digest.as_str())
            .await
            .map_err(|e| self.error(e))?
            .stream;
        let (pieces, mut waiting) = tokio::sync::mpsc::channel::<bytes::Bytes>(PIECES_WAITING);
        let stored = content.clone();
        let expected = descriptor.clone();
        let writing = blocking(move || {
            let mut writer = stored.writer()?;
            while let Some(piece) = waiting.blocking_recv() {
                let path = stored.blob_path(&expected.digest)?;
                writer.write_all(&piece).map_err(|e| crate::content::io_error(&path, e))?;
            }
            // A sender that gave up leaves fewer bytes; the digest would say the same less plainly.
            if writer.bytes() < expected.size {
                return Ok(false);
            }
            writer.finish(Some(&expected.digest)).map(|_| true)
        });
        let sending = async {
            let mut received = 0_u64;
            let pieces = pieces;
            while let Some(piece) = stream.next().await {
                let piece = piece.map_err(|e| self.unreachable(e.to_string()))?;
                received += piece.len() as u64;
                if received > descriptor.size {
                    let reason = format!(
                        "{} is larger than the {} bytes that were promised",
                        descriptor.digest, descriptor.size
                    );
                    return Err(self.not_an_image(reason));
                }
                if pieces.send(piece).await.is_err() {
                    // The writer failed and says why.
                    break;
                }
            }
            Ok(())
        };
        let (written, sent) = futures_util::future::join(writing, sending).await;
        sent?;
        match written.map_err(|e| self.content(e))? {
            true => Ok(()),
            false => Err(self.unreachable(format!("{} ended early", descriptor.digest))),
        }
    }

    fn error(&self, e: OciDistributionError) -> RegistryError {
        let (reference, registry) = (self.text.clone(), self.registry.clone());
        match &e {
            OciDistributionError::ImageManifestNotFoundError(_) => {
                RegistryError::NotFound { reference, registry }
            }
            OciDistributionError::UnauthorizedError { .. }
            | OciDistributionError::AuthenticationFailure(_) => {
                RegistryError::Unauthorized { reference, registry }
            }
            OciDistributionError::RegistryError { envelope, .. } => {
                match envelope.errors.first().map(|e| &e.code) {
                    Some(
                        OciErrorCode::ManifestUnknown
                        | OciErrorCode::NameUnknown
                        | OciErrorCode::NotFound
                        | OciErrorCode::BlobUnknown
                        | OciErrorCode::ManifestBlobUnknown,
                    ) => RegistryError::NotFound { reference, registry },
                    Some(OciErrorCode::Unauthorized | OciErrorCode::Denied) => {
                        RegistryError::Unauthorized { reference, registry }
                    }
                    Some(OciErrorCode::Toomanyrequests) => {
                        RegistryError::TooManyRequests { reference, registry }
                    }
                    _ => RegistryError::NotAnImage { reference, registry, reason: e.to_string() },
                }
            }
            OciDistributionError::ServerError { code, .. } => match code {
                401 | 403 => RegistryError::Unauthorized { reference, registry },
                404 => RegistryError::NotFound { reference, registry },
                429 => RegistryError::TooManyRequests { reference, registry },
                500.. => self.unreachable(format!("it answered with status {code}")),
                _ => RegistryError::NotAnImage { reference, registry, reason: format!("status {code}") },
            },
            OciDistributionError::RequestError(_) | OciDistributionError::IoError(_) => {
                // The outermost text names only the URL; the innermost says what happened.
                let mut reason = e.to_string();
                let mut cause = e.source();
                while let Some(inner) = cause {
                    reason = inner.to_string();
                    cause = inner.source();
                }
                self.unreachable(reason)
            }
            _ => RegistryError::NotAnImage { reference, registry, reason: e.to_string() },
        }
    }

    fn unreachable(&self, reason: String) -> RegistryError {
        RegistryError::Unreachable { reference: self.text.clone(), registry: self.registry.clone(), reason }
    }

    fn not_an_image(&self, reason: String) -> RegistryError {
        RegistryError::NotAnImage { reference: self.text.clone(), registry: self.registry.clone(), reason }
    }

    fn other_platform(&self, offered: String) -> RegistryError {
        RegistryError::OtherPlatform {
            reference: self.text.clone(),
            registry: self.registry.clone(),
            offered,
        }
    }

    fn content(&self, source: ContentError) -> RegistryError {
        RegistryError::Content { reference: self.text.clone(), source }
    }
}

/// Tells a list from a manifest.
#[derive(serde::Deserialize)]
struct Kind {
    manifests: Option<serde::de::IgnoredAny>,
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ContentError> + Send + 'static,
) -> Result<T, ContentError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(e) => Err(crate::content::io_error(Path::new("the content store"), std::io::Error::other(e))),
    }
}

fn sha256(bytes: &[u8]) -> Digest {
    let mut hash = ring::digest::Context::new(&ring::digest::SHA256);
    hash.update(bytes);
    crate::content::digest_of(hash)
}

/// The reference with its host replaced where the table says so.
fn mapped(reference: &str, mirrors: &BTreeMap<String, String>) -> String {
    match reference.split_once('/') {
        Some((host, rest)) => match mirrors.get(host) {
            Some(target) => format!("{}/{rest}", target.trim_end_matches('/')),
            None => reference.to_owned(),
        },
        None => reference.to_owned(),
    }
}

fn is_loopback(registry: &str) -> bool {
    let host = match registry.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => registry,
    };
    host == "localhost"
        || host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<std::net::IpAddr>()
            .is_ok_and(|a| a.is_loopback())
}

/// What Docker's configuration says of this registry; anonymous when it says nothing.
fn credentials(path: &Path, registry: &str) -> Result<RegistryAuth, RegistryError> {
    #[derive(serde::Deserialize)]
    struct File {
        #[serde(default)]
        auths: BTreeMap<String, Entry>,
    }
    #[derive(Default, serde::Deserialize)]
    struct Entry {
        auth: Option<String>,
        username: Option<String>,
        password: Option<String>,
        registrytoken: Option<String>,
    }
    let fail = |reason: String| RegistryError::Credentials { path: path.to_owned(), reason };
    let text = std::fs::read(path).map_err(|e| fail(e.to_string()))?;
    // The text of a parse error could hold a secret, so only the place is said.
    let file: File = serde_json::from_slice(&text)
        .map_err(|e| fail(format!("not valid JSON at line {}, column {}", e.line(), e.column())))?;
    // Docker writes its own registry under the name of its first API.
    let names = match registry {
        "docker.io" | "index.docker.io" | "registry-1.docker.io" => {
            vec![
                "https://index.docker.io/v1/".to_owned(),
                "docker.io".to_owned(),
                "index.docker.io".to_owned(),
            ]
        }
        other => vec![other.to_owned(), format!("https://{other}"), format!("http://{other}")],
    };
    let Some(entry) = names.iter().find_map(|name| file.auths.get(name)) else {
        return Ok(RegistryAuth::Anonymous);
    };
    if let Some(token) = &entry.registrytoken {
        return Ok(RegistryAuth::Bearer(token.clone()));
    }
    if let (Some(username), Some(password)) = (&entry.username, &entry.password) {
        return Ok(RegistryAuth::Basic(username.clone(), password.clone()));
    }
    let Some(auth) = &entry.auth else { return Ok(RegistryAuth::Anonymous) };
    let decoded = base64(auth).and_then(|bytes| String::from_utf8(bytes).ok());
    match decoded.as_deref().and_then(|text| text.split_once(':')) {
        Some((username, password)) => Ok(RegistryAuth::Basic(username.to_owned(), password.to_owned())),
        None => Err(fail(format!("the entry for {registry} is not the base64 of user:password"))),
    }
}

/// Standard base64, padding optional.
fn base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    let (mut bits, mut count) = (0_u32, 0);
    for c in text.trim().trim_end_matches('=').bytes() {
        let value = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_mapped() {
        let host = "123456789012.dkr.ecr.us-east-1.amazonaws.com";
        let mirrors = BTreeMap::from([(host.to_owned(), "localhost:5000/team/".to_owned())]);
        assert_eq!(mapped(&format!("{host}/web:1"), &mirrors), "localhost:5000/team/web:1");
        assert_eq!(mapped("nginx", &mirrors), "nginx");
        assert_eq!(mapped("other/web", &mirrors), "other/web");
    }

    #[test]
    fn loopback_is_spoken_to_in_plain() {
        for registry in ["localhost", "localhost:5000", "127.0.0.1:5000", "127.8.8.8", "[::1]:5000"] {
            assert!(is_loopback(registry), "{registry}");
        }
        for registry in ["docker.io", "10.0.0.1:5000", "localhost.example.com"] {
            assert!(!is_loopback(registry), "{registry}");
        }
    }

    #[test]
    fn names_as_docker_reads_them() {
        let check = |text: &str, registry: &str, repository: &str, tag: Option<&str>| {
            let reference: Reference = text.parse().unwrap();
            assert_eq!(reference.registry(), registry, "{text}");
            assert_eq!(reference.repository(), repository, "{text}");
            assert_eq!(reference.tag(), tag, "{text}");
        };
        check("nginx", "docker.io", "library/nginx", Some("latest"));
        check("team/web:2", "docker.io", "team/web", Some("2"));
        check("ghcr.io/team/web", "ghcr.io", "team/web", Some("latest"));
        check("localhost:5000/web:1", "localhost:5000", "web", Some("1"));
    }

    #[test]
    fn base64_of_credentials() {
        assert_eq!(base64("dXNlcjpwYXNz").unwrap(), b"user:pass");
        assert_eq!(base64("dTpw").unwrap(), b"u:p");
        assert_eq!(base64("dTpwdw==").unwrap(), b"u:pw");
        assert!(base64("d!").is_none());
    }
}
