//! The content store: blobs named by their digest, and the names of imported archives.
//!
//! ```text
//! <dir>/blobs/sha256/<hex>   complete and verified, never changed
//! <dir>/tmp/                 being written; what a crash left is removed after a day
//! <dir>/images.json          name → manifest digest, replaced atomically under a lock
//! ```
//! Two processes use one store: control as its own user and the node as root. Files that root writes are
//! given to the owner of the directory, so that either can read, replace and remove them.

use crate::manifest::{
    ConfigFile, DOCUMENT_BYTES_MAX, ImageConfig, ImageManifest, LAYERS_MAX, host_architecture,
};
use apron_model::ids::Digest;
use nix::fcntl::{Flock, FlockArg};
use ring::digest::{Context, SHA256};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// Nothing is written for longer: the limit of a build is half an hour.
const LEFTOVER_AGE: Duration = Duration::from_secs(24 * 3600);
/// Names of imported archives; each takes a line in one small file.
const NAMES_MAX: usize = 10_000;

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
    #[error("{digest} is not a usable {what}: {reason}")]
    Malformed { digest: Digest, what: &'static str, reason: String },
    #[error("the image is for {os}/{architecture}; this machine runs linux/{}", host_architecture())]
    OtherPlatform { os: String, architecture: String },
    #[error("the content store holds {NAMES_MAX} names, which is its limit")]
    TooManyNames,
    #[error("content store: {path}: {source}")]
    Io { path: PathBuf, source: io::Error },
}

impl ContentError {
    /// Whether the same call will fail again however often it is repeated.
    pub fn permanent(&self) -> bool {
        match self {
            ContentError::NotFound(_) | ContentError::DiskFull(_) | ContentError::Io { .. } => false,
            ContentError::NotADigest(_)
            | ContentError::Mismatch { .. }
            | ContentError::Malformed { .. }
            | ContentError::OtherPlatform { .. }
            | ContentError::TooManyNames => true,
        }
    }
}

/// A handle to one store; cloning it is cheap.
#[derive(Clone, Debug)]
pub struct Content {
    place: Arc<Place>,
}

#[derive(Debug)]
struct Place {
    dir: PathBuf,
    /// Owner and group of the directory when this process is root and they are not.
    owner: Option<(u32, u32)>,
}

impl Content {
    /// Opens the store in this directory and makes what is missing of it.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Content, ContentError> {
        let dir = dir.into();
        fs::create_dir_all(&dir).map_err(|e| io_error(&dir, e))?;
        let metadata = fs::metadata(&dir).map_err(|e| io_error(&dir, e))?;
        let root = nix::unistd::geteuid().is_root();
        let owner = (root && metadata.uid() != 0).then_some((metadata.uid(), metadata.gid()));
        let content = Content { place: Arc::new(Place { dir, owner }) };
        for below in ["blobs", "blobs/sha256", "tmp"] {
            let path = content.place.dir.join(below);
            match fs::create_dir(&path) {
                Ok(()) => content.place.give(&path)?,
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(io_error(&path, e)),
            }
        }
        content.remove_leftovers();
        Ok(content)
    }

    pub fn has(&self, digest: &Digest) -> bool {
        self.blob_path(digest).is_ok_and(|path| path.exists())
    }

    /// Where the blob lies or would lie.
    pub fn blob_path(&self, digest: &Digest) -> Result<PathBuf, ContentError> {
        Ok(self.place.dir.join("blobs/sha256").join(hex_of(digest)?))
    }

    pub fn open_blob(&self, digest: &Digest) -> Result<File, ContentError> {
        let path = self.blob_path(digest)?;
        File::open(&path).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => ContentError::NotFound(digest.clone()),
            _ => io_error(&path, e),
        })
    }

    /// Size of the blob in bytes.
    pub fn blob_bytes(&self, digest: &Digest) -> Result<u64, ContentError> {
        let file = self.open_blob(digest)?;
        Ok(file.metadata().map_err(|e| io_error(&self.place.dir, e))?.len())
    }

    /// Begins a blob. It appears in the store when it is finished; dropped before, nothing of it stays.
    pub fn writer(&self) -> Result<BlobWriter, ContentError> {
        let (path, file) = self.temporary()?;
        Ok(BlobWriter {
            content: self.clone(),
            path: Some(path),
            file: Some(file),
            hash: Context::new(&SHA256),
            bytes: 0,
        })
    }

    /// Stores these bytes.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest, ContentError> {
        let mut writer = self.writer()?;
        writer.write_all(bytes).map_err(|e| io_error(&self.place.dir, e))?;
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

    /// All bytes of a small blob.
    pub(crate) fn document(&self, digest: &Digest) -> Result<Vec<u8>, ContentError> {
        let mut bytes = Vec::new();
        let path = self.blob_path(digest)?;
        let mut file = self.open_blob(digest)?.take(DOCUMENT_BYTES_MAX + 1);
        file.read_to_end(&mut bytes).map_err(|e| io_error(&path, e))?;
        if bytes.len() as u64 > DOCUMENT_BYTES_MAX {
            let reason = format!("larger than {DOCUMENT_BYTES_MAX} bytes");
            return Err(ContentError::Malformed { digest: digest.clone(), what: "document", reason });
        }
        Ok(bytes)
    }

    /// Every name and the manifest that it stands for.
    pub fn names(&self) -> Result<BTreeMap<String, Digest>, ContentError> {
        let path = self.names_path();
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            Err(e) => return Err(io_error(&path, e)),
        };
        serde_json::from_slice(&text).map_err(|e| io_error(&path, io::Error::other(e)))
    }

    pub fn name_get(&self, name: &str) -> Result<Option<Digest>, ContentError> {
        Ok(self.names()?.remove(name))
    }

    /// Lets a name stand for this manifest; what it stood for before is forgotten.
    pub fn name_set(&self, name: &str, manifest: &Digest) -> Result<(), ContentError> {
        let lock_path = self.place.dir.join("images.lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&lock_path)
            .map_err(|e| io_error(&lock_path, e))?;
        self.place.give(&lock_path)?;
        // The holder only rewrites one small file, so the wait is short.
        let _lock =
            Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, e)| io_error(&lock_path, e.into()))?;
        let mut names = self.names()?;
        names.insert(name.to_owned(), manifest.clone());
        if names.len() > NAMES_MAX {
            return Err(ContentError::TooManyNames);
        }
        let text =
            serde_json::to_vec_pretty(&names).map_err(|e| io_error(&lock_path, io::Error::other(e)))?;
        let (temporary, mut file) = self.temporary()?;
        let path = self.names_path();
        file.write_all(&text)
            .and_then(|()| file.sync_all())
            .and_then(|()| fs::rename(&temporary, &path))
            .and_then(|()| sync_directory(&self.place.dir))
            .map_err(|e| {
                let _ = fs::remove_file(&temporary);
                io_error(&path, e)
            })
    }

    fn names_path(&self) -> PathBuf {
        self.place.dir.join("images.json")
    }

    /// A new file in tmp/ that no other process writes.
    fn temporary(&self) -> Result<(PathBuf, File), ContentError> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
        let path = self.place.dir.join(format!("tmp/{}-{number}-{now:x}", std::process::id()));
        let file = OpenOptions::new()
            .create_new(true)
            .read(true)
            .write(true)
            .mode(0o640)
            .open(&path)
            .map_err(|e| io_error(&path, e))?;
        self.place.give(&path)?;
        Ok((path, file))
    }

    /// Removes what a killed process left in tmp/. A failure here costs disk space and nothing else.
    fn remove_leftovers(&self) {
        let Ok(entries) = fs::read_dir(self.place.dir.join("tmp")) else { return };
        for entry in entries.flatten() {
            let age = entry.metadata().and_then(|m| m.modified()).ok().and_then(|t| t.elapsed().ok());
            if age.is_some_and(|age| age > LEFTOVER_AGE) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

impl Place {
    /// Hands a file that root made to the owner of the store.
    fn give(&self, path: &Path) -> Result<(), ContentError> {
        match self.owner {
            Some((uid, gid)) => {
                std::os::unix::fs::lchown(path, Some(uid), Some(gid)).map_err(|e| io_error(path, e))
            }
            None => Ok(()),
        }
    }
}

/// A blob being written: hashes as it goes.
pub struct BlobWriter {
    content: Content,
    path: Option<PathBuf>,
    file: Option<File>,
    hash: Context,
    bytes: u64,
}

impl BlobWriter {
    /// Makes the blob durable under its digest, which must be `expected` where that is given. Answers with
    /// the digest and the size in bytes.
    pub fn finish(mut self, expected: Option<&Digest>) -> Result<(Digest, u64), ContentError> {
        let digest = digest_of(std::mem::replace(&mut self.hash, Context::new(&SHA256)));
        if let Some(expected) = expected
            && *expected != digest
        {
            return Err(ContentError::Mismatch { expected: expected.clone(), actual: digest });
        }
        let target = self.content.blob_path(&digest)?;
        let (Some(path), Some(file)) = (self.path.clone(), self.file.take()) else {
            return Err(io_error(&target, io::Error::other("the blob was finished before")));
        };
        if !target.exists() {
            // Blobs never change, so nobody needs to write them.
            file.set_permissions(fs::Permissions::from_mode(0o440))
                .and_then(|()| file.sync_all())
                .and_then(|()| fs::rename(&path, &target))
                .and_then(|()| sync_directory(&self.content.place.dir.join("blobs/sha256")))
                .map_err(|e| io_error(&target, e))?;
            self.path = None;
        }
        Ok((digest, self.bytes))
    }

    /// Bytes written so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Write for BlobWriter {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let Some(file) = self.file.as_mut() else {
            return Err(io::Error::other("the blob was finished before"));
        };
        let written = file.write(buffer)?;
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
        if let Some(path) = &self.path {
            let _ = fs::remove_file(path);
        }
    }
}

/// The hex digits of a digest; the only way from a digest to a file name.
pub(crate) fn hex_of(digest: &Digest) -> Result<&str, ContentError> {
    match digest.as_str().strip_prefix("sha256:") {
        Some(hex) if hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) => {
            Ok(hex)
        }
        _ => Err(ContentError::NotADigest(digest.as_str().chars().take(100).collect())),
    }
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

pub(crate) fn io_error(path: &Path, source: io::Error) -> ContentError {
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
mod tests {
    use super::*;

    struct Scratch(PathBuf);
    impl Scratch {
        fn new(name: &str) -> Scratch {
            let dir = std::env::temp_dir().join(format!("apron-content-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&dir);
            fs::create_dir_all(&dir).unwrap();
            Scratch(dir)
        }
    }
    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn a_blob_is_named_by_its_digest() {
        let scratch = Scratch::new("blob");
        let content = Content::open(&scratch.0).unwrap();
        assert_eq!(content.put(b"").unwrap().as_str(), EMPTY);
        let digest = content.put(b"hello").unwrap();
        assert!(content.has(&digest));
        assert_eq!(content.blob_bytes(&digest).unwrap(), 5);
        assert_eq!(content.put(b"hello").unwrap(), digest, "again is the same");
        assert_eq!(fs::read_dir(scratch.0.join("tmp")).unwrap().count(), 0);
    }

    #[test]
    fn a_wrong_digest_leaves_nothing() {
        let scratch = Scratch::new("wrong");
        let content = Content::open(&scratch.0).unwrap();
        let mut writer = content.writer().unwrap();
        writer.write_all(b"other").unwrap();
        let error = writer.finish(Some(&Digest::new(EMPTY))).unwrap_err();
        assert!(matches!(error, ContentError::Mismatch { .. }), "{error}");
        drop(content.writer().unwrap());
        assert_eq!(fs::read_dir(scratch.0.join("tmp")).unwrap().count(), 0);
        assert_eq!(fs::read_dir(scratch.0.join("blobs/sha256")).unwrap().count(), 0);
    }

    #[test]
    fn a_digest_cannot_leave_the_store() {
        let scratch = Scratch::new("leave");
        let content = Content::open(&scratch.0).unwrap();
        for text in ["sha256:../../../etc/passwd", "sha256:", "md5:00", &EMPTY.to_uppercase()] {
            assert!(
                matches!(content.open_blob(&Digest::new(text)), Err(ContentError::NotADigest(_))),
                "{text}"
            );
        }
    }

    #[test]
    fn names_are_kept_by_several_writers() {
        let scratch = Scratch::new("names");
        let threads: Vec<_> = (0..8)
            .map(|i| {
                let dir = scratch.0.clone();
                std::thread::spawn(move || {
                    let content = Content::open(dir).unwrap();
                    content.name_set(&format!("image-{i}"), &Digest::new(EMPTY)).unwrap();
                })
            })
            .collect();
        threads.into_iter().for_each(|t| t.join().unwrap());
        assert_eq!(Content::open(&scratch.0).unwrap().names().unwrap().len(), 8);
    }

    /// Needs root: files become those of the directory's owner.
    #[test]
    fn the_owner_of_the_directory_owns_its_files() {
        let scratch = Scratch::new("owner");
        std::os::unix::fs::chown(&scratch.0, Some(4242), Some(4243)).unwrap();
        let content = Content::open(&scratch.0).unwrap();
        let digest = content.put(b"x").unwrap();
        content.name_set("a", &digest).unwrap();
        for path in
            [content.blob_path(&digest).unwrap(), scratch.0.join("images.json"), scratch.0.join("tmp")]
        {
            let metadata = fs::metadata(&path).unwrap();
            assert_eq!((metadata.uid(), metadata.gid()), (4242, 4243), "{path:?}");
        }
    }

    /// Needs root: a tiny file system of its own, filled.
    #[test]
    fn a_full_disk_is_said_plainly() {
        let scratch = Scratch::new("full");
        nix::mount::mount(
            Some("tmpfs"),
            &scratch.0,
            Some("tmpfs"),
            nix::mount::MsFlags::empty(),
            Some("size=64k"),
        )
        .unwrap();
        let content = Content::open(&scratch.0).unwrap();
        let result = content.put(&vec![1; 1024 * 1024]);
        nix::mount::umount2(&scratch.0, nix::mount::MntFlags::MNT_DETACH).unwrap();
        assert!(matches!(result, Err(ContentError::DiskFull(_))), "{result:?}");
    }
}
