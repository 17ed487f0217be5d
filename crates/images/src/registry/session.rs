//! One image of one registry: its manifest, then its blobs.

use super::Asked;
use super::RegistryError;
use super::client::{self, Client};
use super::reference::Reference;
use crate::content::{Content, ContentError, digest_of_bytes};
use crate::manifest::{
    DOCKER_LIST_TYPE, DOCKER_MANIFEST_TYPE, DOCUMENT_BYTES_MAX, Descriptor, INDEX_TYPE, ImageIndex,
    ImageManifest, LAYERS_MAX, MANIFEST_TYPE, for_this_machine,
};
use apron_model::ids::Digest;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

/// Tries for one blob whose connection broke.
const BLOB_TRIES: u32 = 3;
/// Pieces of a blob between network and disk.
const PIECES_WAITING: usize = 16;
/// The blobs of one image together: compressed, they are no larger than what they unpack to.
const IMAGE_BYTES_MAX: u64 = crate::unpack::UNPACKED_BYTES_MAX;

pub(super) struct Session {
    client: Client,
    reference: Reference,
    pub(super) asked: Asked,
}

impl Session {
    pub(super) fn new(client: Client, reference: Reference, asked: Asked) -> Session {
        Session { client, reference, asked }
    }

    /// The manifest for this machine, verified against the digest where one was asked for.
    pub(super) async fn manifest(&self) -> Result<(Vec<u8>, ImageManifest), RegistryError> {
        let bytes = self.fetch(self.reference.tag_or_digest()).await?;
        if let Some(wanted) = &self.reference.digest {
            self.verify(&bytes, wanted)?;
        }
        let kind: Kind = self.json(&bytes)?;
        let bytes = match kind.manifests {
            None => bytes,
            Some(_) => {
                let index: ImageIndex = self.json(&bytes)?;
                let chosen =
                    for_this_machine(&index).map_err(|offered| self.asked.other_platform(offered))?;
                // Only a digest can stand in the path of a URL.
                crate::content::hex_of(&chosen.digest).map_err(|e| self.asked.content(e))?;
                let bytes = self.fetch(chosen.digest.as_str()).await?;
                self.verify(&bytes, &chosen.digest)?;
                bytes
            }
        };
        let manifest: ImageManifest = self.json(&bytes)?;
        if manifest.layers.len() > LAYERS_MAX {
            let reason = format!("{} layers; at most {LAYERS_MAX}", manifest.layers.len());
            return Err(self.asked.not_an_image(reason));
        }
        for descriptor in manifest.layers.iter().chain([&manifest.config]) {
            crate::content::hex_of(&descriptor.digest).map_err(|e| self.asked.content(e))?;
        }
        Ok((bytes, manifest))
    }

    async fn fetch(&self, tag_or_digest: &str) -> Result<Vec<u8>, RegistryError> {
        let accepted = [MANIFEST_TYPE, INDEX_TYPE, DOCKER_MANIFEST_TYPE, DOCKER_LIST_TYPE].join(", ");
        let path = format!("manifests/{tag_or_digest}");
        let response = self.client.get(&path, &accepted).await.map_err(|e| self.asked.error(e))?;
        client::read(response, DOCUMENT_BYTES_MAX as usize).await.map_err(|e| self.asked.error(e))
    }

    fn verify(&self, bytes: &[u8], wanted: &Digest) -> Result<(), RegistryError> {
        match digest_of_bytes(bytes) {
            actual if actual == *wanted => Ok(()),
            actual => {
                let reason = format!("the manifest has the digest {actual}, asked for {wanted}");
                Err(self.asked.not_an_image(reason))
            }
        }
    }

    fn json<T: serde::de::DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, RegistryError> {
        // The text of a parse error can quote what was read.
        serde_json::from_slice(bytes).map_err(|e| {
            let reason = format!("no manifest, at line {}, column {}", e.line(), e.column());
            self.asked.not_an_image(reason)
        })
    }

    /// Whether the store's disk can take what is missing of the image, by what its manifest says.
    pub(super) async fn check_room(
        &self,
        content: &Content,
        manifest: &ImageManifest,
    ) -> Result<(), RegistryError> {
        let blobs: BTreeMap<&Digest, u64> =
            manifest.layers.iter().chain([&manifest.config]).map(|d| (&d.digest, d.size)).collect();
        let all = blobs.values().fold(0_u64, |sum, bytes| sum.saturating_add(*bytes));
        if all > IMAGE_BYTES_MAX {
            return Err(self.asked.not_an_image(format!(
                "its layers have {} MiB together; at most {}",
                all >> 20,
                IMAGE_BYTES_MAX >> 20
            )));
        }
        let blobs: Vec<(Digest, u64)> =
            blobs.into_iter().map(|(digest, bytes)| (digest.clone(), bytes)).collect();
        let stored = content.clone();
        let checked = blocking(move || {
            let missing =
                blobs.iter().filter(|(digest, _)| !stored.has(digest)).map(|(_, bytes)| bytes).sum();
            stored.check_room(missing)
        });
        checked.await.map_err(|e| self.asked.content(e))
    }

    /// A configuration that lies in the store and is not what its name says leaves it, so that it is fetched again.
    /// Layers are looked at when they are unpacked.
    pub(super) async fn forget_if_damaged(
        &self,
        content: &Content,
        config: &Descriptor,
    ) -> Result<(), RegistryError> {
        let (stored, digest) = (content.clone(), config.digest.clone());
        let looked = blocking(move || match stored.document(&digest) {
            Err(ContentError::Mismatch { .. }) => stored.discard(&digest),
            _ => Ok(()),
        });
        looked.await.map_err(|e| self.asked.content(e))
    }

    /// Fetches one blob unless it is there.
    pub(super) async fn blob(&self, content: &Content, descriptor: &Descriptor) -> Result<(), RegistryError> {
        let mut tries = 0;
        loop {
            let (stored, digest) = (content.clone(), descriptor.digest.clone());
            if blocking(move || stored.renew(&digest)).await.map_err(|e| self.asked.content(e))? {
                return Ok(());
            }
            tries += 1;
            match self.blob_once(content, descriptor).await {
                Err(RegistryError::Unreachable { .. }) if tries < BLOB_TRIES => {
                    tokio::time::sleep(Duration::from_millis(500 * u64::from(tries))).await;
                }
                other => return other,
            }
        }
    }

    async fn blob_once(&self, content: &Content, descriptor: &Descriptor) -> Result<(), RegistryError> {
        let path = format!("blobs/{}", descriptor.digest);
        let mut response = self.client.get(&path, "*/*").await.map_err(|e| self.asked.error(e))?;
        let (pieces, mut waiting) = tokio::sync::mpsc::channel::<bytes::Bytes>(PIECES_WAITING);
        let stored = content.clone();
        let expected = descriptor.clone();
        let writing = blocking(move || {
            let mut writer = stored.writer()?;
            while let Some(piece) = waiting.blocking_recv() {
                writer.write_all(&piece).map_err(|e| stored.written(e))?;
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
            while let Some(piece) = client::piece(&mut response).await.map_err(|e| self.asked.error(e))? {
                received += piece.len() as u64;
                if received > descriptor.size {
                    let reason = format!(
                        "{} is larger than the {} bytes that were promised",
                        descriptor.digest, descriptor.size
                    );
                    return Err(self.asked.not_an_image(reason));
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
        match written.map_err(|e| self.asked.content(e))? {
            true => Ok(()),
            false => Err(self.asked.unreachable(format!("{} ended early", descriptor.digest))),
        }
    }
}

/// Tells a list from a manifest.
#[derive(serde::Deserialize)]
struct Kind {
    manifests: Option<serde::de::IgnoredAny>,
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ContentError> + Send + 'static,
) -> Result<T, ContentError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(e) => Err(crate::content::io_error(Path::new("the content store"), std::io::Error::other(e))),
    }
}
