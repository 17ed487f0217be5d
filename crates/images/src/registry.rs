//! Any OCI registry: a reference to a digest, a digest to blobs in the content store.
//!
//! Manifests are taken as bytes and named by their own hash, so what is stored is what the registry's author
//! signed or pinned. From a list of platforms this machine's is taken and no other.
//!
//! Registries are reached by https; loopback addresses, and hosts that the operator lists, without TLS. Credentials
//! are sent to the registry that they are kept for and to the service that it names for tokens, and to no host
//! that an answer redirects to; redirects end after ten. Where an answer may send us, `addresses` says. Connecting,
//! silence, every answer and the whole pull have limits.

mod addresses;
mod client;
mod credentials;
pub mod reference;
mod session;
mod trust;

use crate::content::{Content, ContentError, Name, digest_of_bytes};
use crate::manifest::host_architecture;
use apron_model::ids::Digest;
use apron_model::instance::Fault;
use client::{Client, Failure};
use credentials::{Credentials, credentials};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use reference::Reference;
use session::{Session, blocking};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// Blobs of one image that are fetched at once: what browsers and other clients do with one host.
const BLOBS_AT_ONCE: usize = 4;
/// From the first question to the last layer.
const PULL_TIME_MAX: Duration = Duration::from_millis(apron_model::limits::IMAGE_PULL_MS_MAX);
/// Finding out what a tag means takes two or three small answers.
const RESOLVE_TIME_MAX: Duration = Duration::from_secs(2 * 60);

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

/// What somebody asked for, as each error names it.
struct Asked {
    /// As the user wrote it.
    text: String,
    registry: String,
}

impl Asked {
    fn error(&self, failure: Failure) -> RegistryError {
        let (reference, registry) = (self.text.clone(), self.registry.clone());
        match failure {
            Failure::Unauthorized => RegistryError::Unauthorized { reference, registry },
            Failure::Unreachable(reason) => self.unreachable(reason),
            Failure::Refused(reason) => self.not_an_image(reason),
            Failure::Status(status) => match status.as_u16() {
                401 | 403 => RegistryError::Unauthorized { reference, registry },
                404 => RegistryError::NotFound { reference, registry },
                429 => RegistryError::TooManyRequests { reference, registry },
                408 | 500.. => self.unreachable(format!("it answered with status {status}")),
                _ => self.not_an_image(format!("it answered with status {status}")),
            },
            // Such a service knows no images: whatever it says of this client is that it gets no token.
            Failure::TokenStatus(status) => match status.as_u16() {
                429 => RegistryError::TooManyRequests { reference, registry },
                408 | 500.. => {
                    self.unreachable(format!("its service for tokens answered with status {status}"))
                }
                _ => RegistryError::Unauthorized { reference, registry },
            },
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
        match source {
            // Other bytes than the manifest promised.
            ContentError::Mismatch { .. } | ContentError::Malformed { .. } | ContentError::NotADigest(_) => {
                self.not_an_image(source.to_string())
            }
            source => RegistryError::Content { reference: self.text.clone(), source },
        }
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

    /// The registry that `obtain` asks for a reference. None: nobody is asked, an import is what it means.
    pub fn asked_for(&self, reference: &str, content: &Content) -> Option<String> {
        let is_here = !names_a_registry(reference) && matches!(content.import_of(reference), Ok(Some(_)));
        (!is_here).then(|| host_of(&mapped(reference, &self.config.mirrors)))
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
        session.forget_if_damaged(content, &manifest.config).await?;
        session.check_room(content, &manifest).await?;
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
            Ok((_, false)) => Err(session.asked.unreachable("a layer left the store meanwhile".to_owned())),
            Err(ContentError::OtherPlatform { os, architecture }) => {
                Err(session.asked.other_platform(format!("{os}/{architecture}")))
            }
            Err(e) => Err(session.asked.content(e)),
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

    async fn session(&self, text: &str) -> Result<Session, RegistryError> {
        let reference = Reference::parse(&mapped(text, &self.config.mirrors))
            .map_err(|reason| RegistryError::BadReference { reference: text.to_owned(), reason })?;
        let registry = reference.registry.clone();
        let plain = is_loopback(&registry) || self.config.plain_http.contains(&registry);
        let credentials = match &self.config.credentials {
            Some(path) => credentials(path, &registry)?,
            None => Credentials::Anonymous,
        };
        let asked = Asked { text: text.to_owned(), registry };
        let client = Client::new(&reference, plain, credentials).await.map_err(|e| asked.error(e))?;
        Ok(Session::new(client, reference, asked))
    }
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
