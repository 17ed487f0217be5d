//! Any OCI registry: a reference to a digest, a digest to blobs in the content store.
//!
//! Manifests are taken as bytes and named by their own hash, so what is stored is what the registry's author
//! signed or pinned. From a list of platforms this machine's is taken and no other.
//!
//! Registries are reached by https; loopback addresses, and hosts that the operator lists, without TLS. Credentials
//! are sent to the registry that they are kept for and to the service that it names for tokens, and to no host
//! that an answer redirects to; redirects end after ten. Connecting, silence and the whole pull have limits.

mod credentials;

use crate::content::{Content, ContentError, Name, digest_of_bytes};
use crate::manifest::{
    DOCKER_LIST_TYPE, DOCKER_MANIFEST_TYPE, DOCUMENT_BYTES_MAX, Descriptor, INDEX_TYPE, ImageIndex,
    ImageManifest, LAYERS_MAX, MANIFEST_TYPE, for_this_machine, host_architecture,
};
use apron_model::ids::Digest;
use apron_model::instance::Fault;
use credentials::credentials;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::errors::{DigestError, OciDistributionError, OciEnvelope, OciErrorCode};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference, RegistryOperation};
use std::collections::BTreeMap;
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
/// From the first question to the last layer.
const PULL_TIME_MAX: Duration = Duration::from_millis(apron_model::limits::IMAGE_PULL_MS_MAX);
/// Finding out what a tag means takes two or three small answers.
const RESOLVE_TIME_MAX: Duration = Duration::from_secs(2 * 60);
/// Of an answer that is quoted in a reason.
const QUOTED_CHARS_MAX: usize = 200;
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

    /// Whether it is the registry that does not give the image, as opposed to a request or a machine that is wrong.
    fn is_the_registrys(&self) -> bool {
        match self {
            RegistryError::NotFound { .. }
            | RegistryError::Unauthorized { .. }
            | RegistryError::Unreachable { .. }
            | RegistryError::TooManyRequests { .. } => true,
            RegistryError::BadReference { .. }
            | RegistryError::OtherPlatform { .. }
            | RegistryError::NotAnImage { .. }
            | RegistryError::Credentials { .. }
            | RegistryError::Content { .. } => false,
        }
    }

    pub fn fault(&self) -> Fault {
        Fault { permanent: self.permanent(), reason: self.to_string(), last_lines: Vec::new() }
    }
}

/// An image that is in the store.
#[derive(Clone, Debug)]
pub struct Obtained {
    pub image: Digest,
    /// It was imported under this name, and that is what was taken.
    pub import: Option<Name>,
    /// Why the registry that the reference names did not give it.
    pub refusal: Option<String>,
}

impl Obtained {
    /// One sentence for the log of the deployment where an import was taken, so that nobody looks for it in a
    /// registry.
    pub fn line(&self) -> Option<String> {
        let import = self.import.as_ref()?;
        let mut line = format!("using the imported image {} ({})", import.name, import.digest);
        if let Some(replaced) = &import.replaced {
            line += &format!(", which took the place of an earlier import ({replaced})");
        }
        if let Some(refusal) = &self.refusal {
            line += &format!("; {refusal}");
        }
        Some(line)
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

    /// The image that a reference means, in the store: an import or what its registry has, by the rule that
    /// `content::names` explains. `Obtained::line` says which.
    pub async fn obtain(&self, reference: &str, content: &Content) -> Result<Obtained, RegistryError> {
        let (name, stored) = (reference.to_owned(), content.clone());
        let imported = blocking(move || stored.import_of(&name))
            .await
            .map_err(|source| RegistryError::Content { reference: reference.to_owned(), source })?;
        match imported {
            Some(import) if !names_a_registry(reference) => {
                Ok(Obtained { image: import.digest.clone(), import: Some(import), refusal: None })
            }
            import => match (self.pull(reference, content).await, import) {
                (Ok(image), _) => Ok(Obtained { image, import: None, refusal: None }),
                (Err(error), Some(import)) if error.is_the_registrys() => Ok(Obtained {
                    image: import.digest.clone(),
                    import: Some(import),
                    refusal: Some(error.to_string()),
                }),
                (Err(error), _) => Err(error),
            },
        }
    }

    /// The digest of the manifest that this machine would run.
    pub async fn resolve(&self, reference: &str) -> Result<Digest, RegistryError> {
        let work = async {
            let session = self.session(reference).await?;
            let (bytes, _) = session.manifest().await?;
            Ok(digest_of_bytes(&bytes))
        };
        self.within(RESOLVE_TIME_MAX, reference, work.boxed()).await
    }

    /// Fetches what the store does not have of the image, and answers with its manifest's digest. Dropped, it
    /// leaves nothing behind but blobs that are complete.
    pub async fn pull(&self, reference: &str, content: &Content) -> Result<Digest, RegistryError> {
        self.within(PULL_TIME_MAX, reference, self.pull_unbounded(reference, content).boxed()).await
    }

    async fn pull_unbounded(&self, reference: &str, content: &Content) -> Result<Digest, RegistryError> {
        let session = self.session(reference).await?;
        let (bytes, manifest) = session.manifest().await?;
        session.blob(content, &manifest.config).await?;
        // Boxed one by one: as a closure over borrowed layers the whole future could not change threads.
        let blobs: Vec<BoxFuture<'_, Result<(), RegistryError>>> =
            manifest.layers.iter().map(|layer| session.blob(content, layer).boxed()).collect();
        futures_util::stream::iter(blobs).buffer_unordered(BLOBS_AT_ONCE).try_collect::<Vec<()>>().await?;
        // Last, so that a manifest in the store has its blobs.
        let stored = content.clone();
        let put = blocking(move || {
            let digest = stored.put(&bytes)?;
            let complete = stored.complete(&digest)?;
            stored.config(&digest).map(|_| (digest, complete))
        });
        match put.await {
            Ok((digest, true)) => Ok(digest),
            Ok((_, false)) => Err(session.unreachable("a layer left the store meanwhile".to_owned())),
            Err(ContentError::OtherPlatform { os, architecture }) => {
                Err(session.other_platform(format!("{os}/{architecture}")))
            }
            Err(e) => Err(session.content(e)),
        }
    }

    async fn within<T>(
        &self,
        time_max: Duration,
        reference: &str,
        work: BoxFuture<'_, Result<T, RegistryError>>,
    ) -> Result<T, RegistryError> {
        match tokio::time::timeout(time_max, work).await {
            Ok(result) => result,
            Err(_) => Err(RegistryError::Unreachable {
                reference: reference.to_owned(),
                registry: host_of(&mapped(reference, &self.config.mirrors)),
                reason: format!("it was not done after {} minutes", time_max.as_secs() / 60),
            }),
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
        match digest_of_bytes(bytes) {
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
            let (stored, digest) = (content.clone(), descriptor.digest.clone());
            if blocking(move || stored.renew(&digest)).await.map_err(|e| self.content(e))? {
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
                let piece = piece.map_err(|e| self.broken(&e))?;
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

    /// A blob's stream that ended in an error: the network, or other bytes than were asked for.
    fn broken(&self, e: &std::io::Error) -> RegistryError {
        match e.get_ref().is_some_and(|inner| inner.is::<DigestError>()) {
            true => self.not_an_image(e.to_string()),
            false => self.unreachable(innermost(e)),
        }
    }

    fn error(&self, e: OciDistributionError) -> RegistryError {
        let (reference, registry) = (self.text.clone(), self.registry.clone());
        match &e {
            OciDistributionError::ImageManifestNotFoundError(_) => {
                RegistryError::NotFound { reference, registry }
            }
            OciDistributionError::UnauthorizedError { .. } => {
                RegistryError::Unauthorized { reference, registry }
            }
            OciDistributionError::AuthenticationFailure(answer) => self.no_token(answer),
            OciDistributionError::RegistryError { envelope, .. } => {
                self.refused(envelope).unwrap_or_else(|| self.not_an_image(e.to_string()))
            }
            OciDistributionError::ServerError { code, .. } => match code {
                401 | 403 => RegistryError::Unauthorized { reference, registry },
                404 => RegistryError::NotFound { reference, registry },
                429 => RegistryError::TooManyRequests { reference, registry },
                500.. => self.unreachable(format!("it answered with status {code}")),
                _ => RegistryError::NotAnImage { reference, registry, reason: format!("status {code}") },
            },
            OciDistributionError::RequestError(request) if request.is_redirect() => {
                self.not_an_image(innermost(&e))
            }
            // The outermost text names only the URL; the innermost says what happened.
            OciDistributionError::RequestError(_) | OciDistributionError::IoError(_) => {
                self.unreachable(innermost(&e))
            }
            _ => self.not_an_image(e.to_string()),
        }
    }

    /// What a registry's own words say; None for what no error of this kind says.
    fn refused(&self, envelope: &OciEnvelope) -> Option<RegistryError> {
        let (reference, registry) = (self.text.clone(), self.registry.clone());
        match &envelope.errors.first()?.code {
            OciErrorCode::ManifestUnknown
            | OciErrorCode::NameUnknown
            | OciErrorCode::NotFound
            | OciErrorCode::BlobUnknown
            | OciErrorCode::ManifestBlobUnknown => Some(RegistryError::NotFound { reference, registry }),
            OciErrorCode::Unauthorized | OciErrorCode::Denied => {
                Some(RegistryError::Unauthorized { reference, registry })
            }
            OciErrorCode::Toomanyrequests => Some(RegistryError::TooManyRequests { reference, registry }),
            _ => None,
        }
    }

    /// The service that gives tokens gave none, and only its words say why: JSON comes from the service, and says
    /// no; a page comes from something in front of it that is broken.
    fn no_token(&self, answer: &str) -> RegistryError {
        if let Some(refused) = serde_json::from_str(answer).ok().and_then(|envelope| self.refused(&envelope))
        {
            return refused;
        }
        if answer.trim().is_empty() || serde_json::from_str::<serde::de::IgnoredAny>(answer).is_ok() {
            let (reference, registry) = (self.text.clone(), self.registry.clone());
            return RegistryError::Unauthorized { reference, registry };
        }
        let quoted: String = answer.trim().chars().take(QUOTED_CHARS_MAX).collect();
        self.unreachable(format!("its service for tokens answered {quoted:?}"))
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

/// The last cause.
fn innermost(e: &(dyn std::error::Error + 'static)) -> String {
    let mut reason = e.to_string();
    let mut cause = e.source();
    while let Some(inner) = cause {
        reason = inner.to_string();
        cause = inner.source();
    }
    reason
}

/// The part of a reference that names a registry: it has a dot or a port, and a path follows.
fn host(reference: &str) -> Option<&str> {
    let (host, _) = reference.split_once('/')?;
    (host.contains(['.', ':']) || host == "localhost").then_some(host)
}

fn host_of(reference: &str) -> String {
    host(reference).unwrap_or("docker.io").to_owned()
}

/// Podman's `localhost/` is no registry: it begins the names of images that were built there.
fn names_a_registry(reference: &str) -> bool {
    host(reference).is_some_and(|host| host != "localhost")
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

#[cfg(test)]
mod tests;
