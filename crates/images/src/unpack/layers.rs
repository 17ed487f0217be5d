//! The unpacked layers of this machine: one directory each, shared by every image that has the layer.
//!
//! ```text
//! <dir>/<diff-id hex>    complete; its attribute `trusted.apron.size` says what it holds
//! <dir>/.unpacking-*     being written or removed; a killed process's are removed at the next start
//! ```
//! A directory's time of change says when somebody last counted on it: `unpack_layers` renews it under a lock on
//! `<dir>`, and `sweep` looks again under the same lock before it takes one.

use super::{Bounds, Kind, UnpackError, Unpacked, ask, failed};
use crate::content::{Content, hex_of, is_hex};
use crate::helper::Helper;
use crate::tree;
use apron_model::ids::Digest;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::stat::futimens;
use nix::sys::time::TimeSpec;
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// What is being unpacked or removed.
const TEMPORARY_PREFIX: &str = ".unpacking-";
/// `<bytes> <members>` of the layer's archive.
const SIZE: &std::ffi::CStr = c"trusted.apron.size";

/// What a sweep removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SweptLayers {
    pub layers: u64,
    /// Of the layers' archives, uncompressed.
    pub bytes: u64,
}

/// Makes sure that every layer of the image lies unpacked in `layers_dir`, as `<layers_dir>/<diff-id hex>`,
/// and names them, lowest first. Owners are as in the tar; a deleted file is a character device 0:0 and an
/// opaque directory has `trusted.overlay.opaque`, as overlayfs mounted by root reads them. Blocking.
pub fn unpack_layers(
    content: &Content,
    image: &Digest,
    layers_dir: &Path,
    helper: &Helper,
    bounds: &Bounds,
) -> Result<Vec<PathBuf>, UnpackError> {
    let manifest = content.manifest(image)?;
    let diff_ids = content.config(image)?.diff_ids;
    if manifest.layers.len() != diff_ids.len() {
        return Err(UnpackError::LayerCount { layers: manifest.layers.len(), diff_ids: diff_ids.len() });
    }
    fs::create_dir_all(layers_dir).map_err(|e| failed(layers_dir, e))?;
    let (mut bytes, mut members) = (0_u64, 0_u64);
    let mut paths = Vec::with_capacity(diff_ids.len());
    for (layer, diff_id) in manifest.layers.iter().zip(&diff_ids) {
        let path = layers_dir.join(hex_of(diff_id)?);
        let size = match renew(layers_dir, &path).map_err(|e| failed(&path, e))? {
            Some(size) => size,
            // Each layer gets all that the image may hold, so that the message names that limit.
            None => unpack_layer(content, &layer.digest, diff_id, &path, helper, bounds)?,
        };
        bytes = bytes.saturating_add(size.0);
        members = members.saturating_add(size.1);
        if bytes > bounds.bytes_max {
            let limit = bounds.bytes_max >> 20;
            return Err(UnpackError::Refused(format!(
                "all of it unpacks to more than {limit} MiB, the limit"
            )));
        }
        if members > bounds.members_max {
            return Err(UnpackError::Refused(format!(
                "all of it holds more than {} files, directories and links, the limit",
                bounds.members_max
            )));
        }
        paths.push(path);
    }
    Ok(paths)
}

/// Answers with its bytes and members.
fn unpack_layer(
    content: &Content,
    blob: &Digest,
    diff_id: &Digest,
    path: &Path,
    helper: &Helper,
    bounds: &Bounds,
) -> Result<(u64, u64), UnpackError> {
    let parent = path.parent().unwrap_or(path);
    let temporary = Temporary::make(parent)?;
    let Unpacked { diff_id: actual, bytes, members } =
        ask(helper, Kind::Layer, content, blob, &temporary.0, bounds)?;
    if actual != *diff_id {
        return Err(UnpackError::WrongDiffId { expected: diff_id.clone(), actual });
    }
    let fail = |e| failed(&temporary.0, e);
    let directory = open_directory(&temporary.0).map_err(fail)?;
    set_size(&directory, bytes, members).map_err(fail)?;
    // Everything on disk before the name that says so.
    nix::unistd::syncfs(&directory).map_err(|e| fail(e.into()))?;
    match fs::rename(&temporary.0, path) {
        Ok(()) => crate::content::sync_directory(parent).map_err(|e| failed(parent, e))?,
        // Somebody else unpacked the same layer meanwhile; theirs is as good.
        Err(e) => {
            renew(parent, path).map_err(|e| failed(path, e))?.ok_or_else(|| failed(path, e))?;
        }
    }
    Ok((bytes, members))
}

/// Removes unpacked layers that are not in `keep`, as the names of their directories, and that nobody has asked
/// for since `older_than` ago. What an instance runs on or a revision may start from belongs into `keep`;
/// builds are known by their age, so `older_than` must exceed the longest build. Blocking.
pub fn sweep(
    layers_dir: &Path,
    keep: &BTreeSet<String>,
    older_than: Duration,
) -> Result<SweptLayers, UnpackError> {
    let fail = |e| failed(layers_dir, e);
    let entries = match fs::read_dir(layers_dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(SweptLayers::default()),
        Err(e) => return Err(fail(e)),
    };
    let mut swept = SweptLayers::default();
    let mut first_error = None;
    for entry in entries {
        let name = entry.map_err(fail)?.file_name();
        let Some(name) = name.to_str().filter(|name| is_hex(name) && !keep.contains(*name)) else { continue };
        let path = layers_dir.join(name);
        match sweep_one(layers_dir, &path, older_than) {
            Ok(Some(bytes)) => {
                swept.layers += 1;
                swept.bytes = swept.bytes.saturating_add(bytes);
            }
            Ok(None) => {}
            Err(e) => {
                first_error.get_or_insert_with(|| failed(&path, e));
            }
        }
    }
    match first_error {
        Some(error) => Err(error),
        None => Ok(swept),
    }
}

fn sweep_one(layers_dir: &Path, path: &Path, older_than: Duration) -> io::Result<Option<u64>> {
    let old = |directory: &File| -> io::Result<bool> {
        let status = directory.metadata()?;
        let changed = Duration::new(
            u64::try_from(status.ctime()).unwrap_or(0),
            u32::try_from(status.ctime_nsec()).unwrap_or(0),
        );
        Ok((SystemTime::UNIX_EPOCH + changed).elapsed().is_ok_and(|age| age >= older_than))
    };
    let directory = open_directory(path)?;
    if !old(&directory)? {
        return Ok(None);
    }
    let temporary = Temporary(name_in(layers_dir));
    {
        let _lock = lock(layers_dir, FlockArg::LockExclusive)?;
        if !old(&directory)? {
            return Ok(None);
        }
        fs::rename(path, &temporary.0)?;
    }
    let bytes = size(&directory).0;
    // Here and not when it is dropped, for the error.
    tree::remove(&temporary.0)?;
    Ok(Some(bytes))
}

/// Removes what was being unpacked or removed when an earlier process ended. Call it before the first unpack
/// only. The first failure is told after everything was tried.
pub fn remove_leftovers(layers_dir: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(layers_dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    };
    let mut result = Ok(());
    for entry in entries {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(TEMPORARY_PREFIX.as_bytes()) {
            result = result.and(tree::remove(&entry.path()));
        }
    }
    result
}

/// The bytes and members of an unpacked layer, which is safe from a sweep for a while from now on; None when it
/// is not there.
fn renew(layers_dir: &Path, path: &Path) -> io::Result<Option<(u64, u64)>> {
    let _lock = lock(layers_dir, FlockArg::LockShared)?;
    let directory = match open_directory(path) {
        Ok(directory) => directory,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    // The time of modification is the image's; any change of times is a change of the inode, which counts here.
    futimens(&directory, &TimeSpec::UTIME_NOW, &TimeSpec::UTIME_OMIT)?;
    Ok(Some(size(&directory)))
}

/// The directory belongs to root alone, and whoever holds the lock looks at one inode or renames once.
fn lock(layers_dir: &Path, kind: FlockArg) -> io::Result<Flock<File>> {
    Flock::lock(File::open(layers_dir)?, kind).map_err(|(_, e)| e.into())
}

fn open_directory(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW).open(path)
}

fn set_size(directory: &File, bytes: u64, members: u64) -> io::Result<()> {
    let text = format!("{bytes} {members}");
    // SAFETY: the descriptor is open, the name NUL-terminated and the value as long as said.
    let result =
        unsafe { libc::fsetxattr(directory.as_raw_fd(), SIZE.as_ptr(), text.as_ptr().cast(), text.len(), 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Zeros for a layer without the attribute.
fn size(directory: &File) -> (u64, u64) {
    let mut buffer = [0_u8; 64];
    // SAFETY: the descriptor is open, the name NUL-terminated and the buffer as long as said.
    let length = unsafe {
        libc::fgetxattr(directory.as_raw_fd(), SIZE.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len())
    };
    let text = usize::try_from(length).ok().and_then(|length| std::str::from_utf8(&buffer[..length]).ok());
    let numbers = text.and_then(|text| text.split_once(' '));
    let parsed = numbers.and_then(|(bytes, members)| Some((bytes.parse().ok()?, members.parse().ok()?)));
    parsed.unwrap_or_default()
}

/// A free name for what is being unpacked or removed.
fn name_in(layers_dir: &Path) -> PathBuf {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    layers_dir.join(format!("{TEMPORARY_PREFIX}{}-{number}", std::process::id()))
}

/// A directory that disappears unless it was renamed.
struct Temporary(PathBuf);

impl Temporary {
    fn make(layers_dir: &Path) -> Result<Temporary, UnpackError> {
        let path = name_in(layers_dir);
        // A process with our id may have died here before.
        tree::remove(&path).map_err(|e| failed(&path, e))?;
        fs::DirBuilder::new().mode(0o755).create(&path).map_err(|e| failed(&path, e))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).map_err(|e| failed(&path, e))?;
        Ok(Temporary(path))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // A failure costs disk space until the next start.
        let _ = tree::remove(&self.0);
    }
}
