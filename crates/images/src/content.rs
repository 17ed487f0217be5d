//! The content store: blobs named by their digest, and the names of images that are kept.
//!
//! ```text
//! <dir>/blobs/sha256/<hex>   complete and verified, never changed
//! <dir>/tmp/                 being written; what a crash left is removed after a day
//! <dir>/images.json          names of images (`names`), replaced atomically under the lock
//! ```
//! Two processes use one store: control as its own user and the node as root. Files that root writes are
//! given to the owner of the directory, so that either can read, replace and remove them. Since that owner
//! could put a link or anything else in any place, every step here starts from a directory opened once and
//! follows no link (`place`), and a document's digest is checked each time it is read; layers are checked
//! while they are unpacked.
//!
//! A blob's time of modification says when it was last wished for: it is renewed under the lock by whoever
//! finds the blob in the store and counts on it, which is how a `sweep` knows what it may take.

mod names;
mod place;
mod sweep;

pub use names::{Name, NameSource};
pub use sweep::Swept;

use crate::manifest::{
    ConfigFile, DOCUMENT_BYTES_MAX, ImageConfig, ImageManifest, LAYERS_MAX, host_architecture,
};
use crate::room::{LOOK_BYTES, Shortage};
use apron_model::ids::Digest;
use nix::fcntl::FlockArg;
use place::Place;
use ring::digest::{Context, SHA256};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use names::NAMES_MAX;

#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    #[error("{0} is not in the content store")]
    NotFound(Digest),
    #[error("{0:?} is not a digest: expected sha256: and 64 hex digits")]
    NotADigest(String),
    #[error("the content has the digest {actual}, expected {expected}")]
    Mismatch { expected: Digest, actual: Digest },
    #[error("the disk that holds {0} is full")]
    DiskFull(PathBuf),
    #[error(transparent)]
    NoRoom(Shortage),
    #[error("{digest} is not a usable {what}: {reason}")]
    Malformed { digest: Digest, what: &'static str, reason: String },
    #[error("the image is for {os}/{architecture}; this machine runs linux/{}", host_architecture())]
    OtherPlatform { os: String, architecture: String },
    #[error("the content store holds {NAMES_MAX} names, which is its limit")]
    TooManyNames,
    #[error("{0:?} cannot be the name of an image: at most 512 printable characters without spaces")]
    BadName(String),
    #[error("content store: {path}: {source}")]
    Io { path: PathBuf, source: io::Error },
}

impl ContentError {
    /// Whether the same call will fail again however often it is repeated.
    pub fn permanent(&self) -> bool {
        match self {
            ContentError::NotFound(_)
            | ContentError::DiskFull(_)
            | ContentError::NoRoom(_)
            | ContentError::Io { .. } => false,
            ContentError::NotADigest(_)
            | ContentError::Mismatch { .. }
            | ContentError::Malformed { .. }
            | ContentError::OtherPlatform { .. }
            | ContentError::TooManyNames
            | ContentError::BadName(_) => true,
        }
    }
}

/// A handle to one store; cloning it is cheap.
#[derive(Clone, Debug)]
pub struct Content {
    place: Arc<Place>,
}

impl Content {
    /// Opens the store in this directory and makes what is missing of it. A link in the place of one of its
    /// directories is an error.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Content, ContentError> {
        let content = Content { place: Arc::new(Place::open(dir.into())?) };
        content.place.remove_leftovers();
        Ok(content)
    }

    pub fn has(&self, digest: &Digest) -> bool {
        hex_of(digest).is_ok_and(|hex| self.place.blob_status(hex).is_ok_and(|status| status.is_some()))
    }

    /// Like `has`, for a caller that goes on to count on the blob: no sweep takes it for as long as sweeps
    /// leave young blobs alone.
    pub fn renew(&self, digest: &Digest) -> Result<bool, ContentError> {
        let hex = hex_of(digest)?;
        let _lock = self.place.lock(FlockArg::LockSharedNonblock)?;
        self.place.blob_touch(hex)
    }

    /// Removes a blob that is not what its name says, so that it can be fetched again.
    pub(crate) fn discard(&self, digest: &Digest) -> Result<(), ContentError> {
        let hex = hex_of(digest)?;
        match self.place.blob_remove(hex) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(io_error(&self.place.blob_path(hex), e)),
            _ => Ok(()),
        }
    }

    /// Where the blob lies or would lie; for messages and for the store's own user. Root opens blobs by
    /// `open_blob` only.
    pub fn blob_path(&self, digest: &Digest) -> Result<PathBuf, ContentError> {
        Ok(self.place.blob_path(hex_of(digest)?))
    }

    /// The blob as it lies there: a regular file, whose digest the reader has yet to check.
    pub fn open_blob(&self, digest: &Digest) -> Result<File, ContentError> {
        let hex = hex_of(digest)?;
        match self.place.blob_open(hex) {
            Ok(Some(file)) => Ok(file),
            Ok(None) => {
                let reason = "it is not a regular file".to_owned();
                Err(ContentError::Malformed { digest: digest.clone(), what: "blob", reason })
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Err(ContentError::NotFound(digest.clone())),
            Err(e) => Err(io_error(&self.place.blob_path(hex), e)),
        }
    }

    /// Size of the blob in bytes.
    pub fn blob_bytes(&self, digest: &Digest) -> Result<u64, ContentError> {
        let file = self.open_blob(digest)?;
        Ok(file.metadata().map_err(|e| io_error(&self.place.dir, e))?.len())
    }

    /// Begins a blob. It appears in the store when it is finished; dropped before, nothing of it stays.
    pub fn writer(&self) -> Result<BlobWriter, ContentError> {
        let (name, file) = self.place.temporary()?;
        Ok(BlobWriter {
            content: self.clone(),
            name: Some(name),
            file,
            hash: Context::new(&SHA256),
            bytes: 0,
            look_at: 0,
        })
    }

    /// Refuses what would leave the store's disk too little room when so many more bytes are written to it.
    pub fn check_room(&self, bytes: u64) -> Result<(), ContentError> {
        match self.place.shortage(bytes) {
            Some(shortage) => Err(ContentError::NoRoom(shortage)),
            None => Ok(()),
        }
    }

    /// The error of a `BlobWriter` that took no more bytes.
    pub fn written(&self, e: io::Error) -> ContentError {
        io_error(&self.place.dir, e)
    }

    /// Stores these bytes.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest, ContentError> {
        let mut writer = self.writer()?;
        writer.write_all(bytes).map_err(|e| self.written(e))?;
        Ok(writer.finish(None)?.0)
    }

    /// The image manifest with this digest.
    pub fn manifest(&self, digest: &Digest) -> Result<ImageManifest, ContentError> {
        let malformed = |reason: String| ContentError::Malformed {
            digest: digest.clone(),
            what: "image manifest",
            reason,
        };
        let manifest: ImageManifest =
            serde_json::from_slice(&self.document(digest)?).map_err(|e| malformed(e.to_string()))?;
        if manifest.layers.len() > LAYERS_MAX {
            return Err(malformed(format!("{} layers; at most {LAYERS_MAX}", manifest.layers.len())));
        }
        for descriptor in manifest.layers.iter().chain([&manifest.config]) {
            hex_of(&descriptor.digest)?;
        }
        Ok(manifest)
    }

    /// The configuration of the image whose manifest has this digest. An image for another platform is an error.
    pub fn config(&self, manifest: &Digest) -> Result<ImageConfig, ContentError> {
        let digest = self.manifest(manifest)?.config.digest;
        let malformed = |reason: String| ContentError::Malformed {
            digest: digest.clone(),
            what: "image configuration",
            reason,
        };
        let file: ConfigFile =
            serde_json::from_slice(&self.document(&digest)?).map_err(|e| malformed(e.to_string()))?;
        let config = ImageConfig::from(file);
        if config.os != "linux" || config.architecture != host_architecture() {
            return Err(ContentError::OtherPlatform { os: config.os, architecture: config.architecture });
        }
        for diff_id in &config.diff_ids {
            hex_of(diff_id)?;
        }
        Ok(config)
    }

    /// All bytes of a small blob, which have the digest.
    pub(crate) fn document(&self, digest: &Digest) -> Result<Vec<u8>, ContentError> {
        let mut bytes = Vec::new();
        let mut file = self.open_blob(digest)?.take(DOCUMENT_BYTES_MAX + 1);
        file.read_to_end(&mut bytes).map_err(|e| io_error(&self.place.dir, e))?;
        if bytes.len() as u64 > DOCUMENT_BYTES_MAX {
            let reason = format!("larger than {DOCUMENT_BYTES_MAX} bytes");
            return Err(ContentError::Malformed { digest: digest.clone(), what: "document", reason });
        }
        match digest_of_bytes(&bytes) {
            actual if actual == *digest => Ok(bytes),
            actual => Err(ContentError::Mismatch { expected: digest.clone(), actual }),
        }
    }

    /// Whether manifest, configuration and layers are all there. Each is renewed, so that what is complete now
    /// stays so for a while.
    pub(crate) fn complete(&self, image: &Digest) -> Result<bool, ContentError> {
        if !self.renew(image)? {
            return Ok(false);
        }
        let manifest = self.manifest(image)?;
        for descriptor in manifest.layers.iter().chain([&manifest.config]) {
            if !self.renew(&descriptor.digest)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// A blob being written: hashes as it goes.
pub struct BlobWriter {
    content: Content,
    /// In tmp/, until it is renamed.
    name: Option<String>,
    file: File,
    hash: Context,
    bytes: u64,
    /// The disk is looked at again when so many bytes have been written.
    look_at: u64,
}

impl BlobWriter {
    /// Makes the blob durable under its digest, which must be `expected` where that is given. One that lies
    /// there already is replaced by this one. Answers with the digest and the size in bytes.
    pub fn finish(mut self, expected: Option<&Digest>) -> Result<(Digest, u64), ContentError> {
        let digest = digest_of(std::mem::replace(&mut self.hash, Context::new(&SHA256)));
        if let Some(expected) = expected
            && *expected != digest
        {
            return Err(ContentError::Mismatch { expected: expected.clone(), actual: digest });
        }
        let hex = hex_of(&digest)?;
        let place = &self.content.place;
        let fail = |e| io_error(&place.blob_path(hex), e);
        // Blobs never change, so nobody needs to write them.
        self.file
            .set_permissions(fs::Permissions::from_mode(0o440))
            .and_then(|()| self.file.sync_all())
            .map_err(fail)?;
        if let Some(name) = &self.name {
            // A sweep that took the older blob for unused must not meet this one under its name.
            let _lock = place.lock(FlockArg::LockSharedNonblock)?;
            place.touch(self.file.as_fd()).map_err(fail)?;
            place.blob_rename(name, hex).map_err(fail)?;
        }
        self.name = None;
        Ok((digest, self.bytes))
    }

    /// Bytes written so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Write for BlobWriter {
    /// Ends with an error of the kind `StorageFull` when the disk has too little room left.
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        if self.bytes >= self.look_at {
            if let Some(shortage) = self.content.place.shortage(0) {
                return Err(io::Error::new(io::ErrorKind::StorageFull, shortage));
            }
            self.look_at = self.bytes + LOOK_BYTES;
        }
        let written = self.file.write(buffer)?;
        self.hash.update(&buffer[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            self.content.place.remove_temporary(name);
        }
    }
}

/// The hex digits of a digest; the only way from a digest to a file name.
pub(crate) fn hex_of(digest: &Digest) -> Result<&str, ContentError> {
    match digest.as_str().strip_prefix("sha256:") {
        Some(hex) if is_hex(hex) => Ok(hex),
        _ => Err(ContentError::NotADigest(digest.as_str().chars().take(100).collect())),
    }
}

/// The digits of a SHA-256.
pub(crate) fn is_hex(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

pub(crate) fn digest_of(hash: Context) -> Digest {
    let mut text = String::with_capacity(71);
    text.push_str("sha256:");
    for byte in hash.finish().as_ref() {
        text.push(char::from_digit(u32::from(byte >> 4), 16).unwrap_or('0'));
        text.push(char::from_digit(u32::from(byte & 15), 16).unwrap_or('0'));
    }
    Digest::new(text)
}

pub(crate) fn digest_of_bytes(bytes: &[u8]) -> Digest {
    let mut hash = Context::new(&SHA256);
    hash.update(bytes);
    digest_of(hash)
}

pub(crate) fn io_error(path: &Path, source: io::Error) -> ContentError {
    if let Some(shortage) = source.get_ref().and_then(|inner| inner.downcast_ref::<Shortage>()) {
        return ContentError::NoRoom(shortage.clone());
    }
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ContentError::DiskFull(path.to_owned()),
        _ => ContentError::Io { path: path.to_owned(), source },
    }
}

/// A rename is durable once its directory is.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests;
