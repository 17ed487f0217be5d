//! Layers and source archives on disk, each unpacked once, by a process that can touch nothing else.
//!
//! Tar members and compressed streams are written by strangers, so they are read in a child (`child`) with
//! user, mount, pid, ipc, uts and network namespaces of its own, pivoted into the target directory. It is mapped so that
//! it can give files to the ids 0..65536 as the tar says, and holds no capability outside. This process
//! only names the blob and the target, and renames the result into place when the digest was right.

mod child;
mod members;

pub use child::child_main;

use crate::content::{Content, ContentError, hex_of};
use crate::helper::Helper;
use apron_model::ids::Digest;
use apron_model::instance::Fault;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// What one layer or source archive may unpack to. App Runner's own images end at a few gigabytes.
pub const UNPACKED_BYTES_MAX: u64 = 32 * 1024 * 1024 * 1024;
/// The name that main gives to `child_main`.
pub const ROLE: &str = "unpack";
/// What is being unpacked, until it is renamed.
const TEMPORARY_PREFIX: &str = ".unpacking-";

#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    #[error(transparent)]
    Content(#[from] ContentError),
    /// The archive holds something that is never unpacked.
    #[error("refused: {0}")]
    Refused(String),
    #[error("the layer's content has the digest {actual}, its image says {expected}")]
    WrongDiffId { expected: Digest, actual: Digest },
    #[error("the image has {layers} layers but names {diff_ids} of them in its configuration")]
    LayerCount { layers: usize, diff_ids: usize },
    #[error("the disk that holds {0} is full")]
    DiskFull(PathBuf),
    #[error("cannot unpack into {path}: {reason}")]
    Failed { path: PathBuf, reason: String },
}

impl UnpackError {
    /// For the operation that needed the files.
    pub fn fault(&self) -> Fault {
        let permanent = match self {
            UnpackError::Content(e) => e.permanent(),
            UnpackError::Refused(_) | UnpackError::WrongDiffId { .. } | UnpackError::LayerCount { .. } => {
                true
            }
            UnpackError::DiskFull(_) | UnpackError::Failed { .. } => false,
        };
        Fault { permanent, reason: format!("the image cannot be unpacked: {self}"), last_lines: Vec::new() }
    }
}

/// What the child is asked to do.
#[derive(Serialize, Deserialize)]
struct Request {
    blob: PathBuf,
    target: PathBuf,
    kind: Kind,
    bytes_max: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    /// Owners, attributes and whiteouts count.
    Layer,
    /// Plain files of one owner: an uploaded source directory.
    Tree,
}

/// What the child answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Done { diff_id: Digest, bytes: u64 },
    Refused(String),
    DiskFull,
    Failed(String),
}

/// Makes sure that every layer of the image lies unpacked in `layers_dir`, as `<layers_dir>/<diff-id hex>`,
/// and names them, lowest first. Owners are as in the tar; a deleted file is a character device 0:0 and an
/// opaque directory has `trusted.overlay.opaque`, as overlayfs mounted by root reads them.
pub fn unpack_layers(
    content: &Content,
    image: &Digest,
    layers_dir: &Path,
    helper: &Helper,
) -> Result<Vec<PathBuf>, UnpackError> {
    let manifest = content.manifest(image)?;
    let diff_ids = content.config(image)?.diff_ids;
    if manifest.layers.len() != diff_ids.len() {
        return Err(UnpackError::LayerCount { layers: manifest.layers.len(), diff_ids: diff_ids.len() });
    }
    fs::create_dir_all(layers_dir).map_err(|e| failed(layers_dir, e))?;
    let mut paths = Vec::with_capacity(diff_ids.len());
    for (layer, diff_id) in manifest.layers.iter().zip(&diff_ids) {
        let path = layers_dir.join(hex_of(diff_id)?);
        if !path.exists() {
            unpack_layer(content, &layer.digest, diff_id, &path, helper)?;
        }
        paths.push(path);
    }
    Ok(paths)
}

fn unpack_layer(
    content: &Content,
    blob: &Digest,
    diff_id: &Digest,
    path: &Path,
    helper: &Helper,
) -> Result<(), UnpackError> {
    let parent = path.parent().unwrap_or(path);
    let temporary = Temporary::make(parent)?;
    let request = Request {
        blob: absolute(&content.blob_path(blob)?)?,
        target: absolute(&temporary.0)?,
        kind: Kind::Layer,
        bytes_max: UNPACKED_BYTES_MAX,
    };
    content.open_blob(blob)?;
    let (actual, _) = ask(helper, &request)?;
    if actual != *diff_id {
        return Err(UnpackError::WrongDiffId { expected: diff_id.clone(), actual });
    }
    // Everything on disk before the name that says so.
    let directory = File::open(&temporary.0).map_err(|e| failed(&temporary.0, e))?;
    nix::unistd::syncfs(&directory).map_err(|e| failed(&temporary.0, e.into()))?;
    match fs::rename(&temporary.0, path) {
        Ok(()) => crate::content::sync_directory(parent).map_err(|e| failed(parent, e)),
        // Somebody else unpacked the same layer meanwhile; theirs is as good.
        Err(_) if path.exists() => Ok(()),
        Err(e) => Err(failed(path, e)),
    }
}

/// Unpacks a source archive into an existing empty directory: plain files, directories and links, all owned
/// by root, no set-user-id. Answers with the bytes that it holds.
pub fn unpack_tree(
    content: &Content,
    blob: &Digest,
    into: &Path,
    helper: &Helper,
) -> Result<u64, UnpackError> {
    content.open_blob(blob)?;
    let request = Request {
        blob: absolute(&content.blob_path(blob)?)?,
        target: absolute(into)?,
        kind: Kind::Tree,
        bytes_max: UNPACKED_BYTES_MAX,
    };
    Ok(ask(helper, &request)?.1)
}

/// Removes what was being unpacked when an earlier process ended. Call it before the first unpack only.
pub fn remove_leftovers(layers_dir: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(layers_dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(TEMPORARY_PREFIX.as_bytes()) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// Runs the child to its end.
fn ask(helper: &Helper, request: &Request) -> Result<(Digest, u64), UnpackError> {
    let fail = |reason: String| UnpackError::Failed { path: request.target.clone(), reason };
    let mut child = helper.command(ROLE).spawn().map_err(|e| fail(e.to_string()))?;
    let text = serde_json::to_vec(request).map_err(|e| fail(e.to_string()))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A child that died at once is told by its status below.
        let _ = stdin.write_all(&text);
    }
    let mut answer = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        let limit = apron_model::limits::MESSAGE_BYTES_MAX as u64;
        stdout.take(limit).read_to_end(&mut answer).map_err(|e| fail(e.to_string()))?;
    }
    let mut said = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        stderr.take(4096).read_to_end(&mut said).map_err(|e| fail(e.to_string()))?;
    }
    let status = child.wait().map_err(|e| fail(e.to_string()))?;
    match serde_json::from_slice(&answer) {
        Ok(Answer::Done { diff_id, bytes }) => Ok((diff_id, bytes)),
        Ok(Answer::Refused(reason)) => Err(UnpackError::Refused(reason)),
        Ok(Answer::DiskFull) => Err(UnpackError::DiskFull(request.target.clone())),
        Ok(Answer::Failed(reason)) => Err(fail(reason)),
        Err(_) => Err(fail(format!(
            "the unpacking process ended with {status}: {}",
            String::from_utf8_lossy(&said)
        ))),
    }
}

/// A directory that disappears unless it was renamed.
struct Temporary(PathBuf);

impl Temporary {
    fn make(parent: &Path) -> Result<Temporary, UnpackError> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("{TEMPORARY_PREFIX}{}-{number}", std::process::id()));
        // A process with our id may have died here before.
        let _ = fs::remove_dir_all(&path);
        fs::DirBuilder::new().mode(0o755).create(&path).map_err(|e| failed(&path, e))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).map_err(|e| failed(&path, e))?;
        Ok(Temporary(path))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if self.0.exists() {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

fn absolute(path: &Path) -> Result<PathBuf, UnpackError> {
    std::path::absolute(path).map_err(|e| failed(path, e))
}

fn failed(path: &Path, e: io::Error) -> UnpackError {
    match e.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => UnpackError::DiskFull(path.to_owned()),
        _ => UnpackError::Failed { path: path.to_owned(), reason: e.to_string() },
    }
}
