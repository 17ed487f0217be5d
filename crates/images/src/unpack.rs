//! Layers and source archives on disk, each unpacked once, by a process that can touch nothing else.
//!
//! Tar members and compressed streams are written by strangers, so they are read in a child (`child`) with
//! user, mount, pid, ipc, uts and network namespaces of its own, pivoted into the target directory. It is mapped so that
//! it can give files to the ids 0..65536 as the tar says, and holds no capability outside. This process
//! names the target, hands the child the blob's bytes while it hashes them itself, and renames the result into
//! place when both digests were right: the blob's as it is stored and the layer's as it is unpacked. The
//! directories above a target are root's own.

mod child;
mod layers;
mod members;

pub use child::child_main;
pub use layers::{SweptLayers, remove_leftovers, sweep, unpack_layers};

use crate::content::{Content, ContentError, digest_of};
use crate::helper::Helper;
use crate::process::{Cancel, Cut, Watched};
use crate::room::Shortage;
use apron_model::ids::Digest;
use apron_model::instance::Fault;
use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ChildStdin;
use std::time::Duration;

/// What one image or source archive may unpack to. App Runner's own images end at a few gigabytes.
pub const UNPACKED_BYTES_MAX: u64 = 32 * 1024 * 1024 * 1024;
/// Files, directories and links in one image or source archive; the largest known images hold some 500,000.
pub const MEMBERS_MAX: u64 = 4_000_000;
/// One layer or archive. A slow disk writes 100 MiB/s, and what people deploy is far below the limit of bytes.
const UNPACK_TIME_MAX: Duration = Duration::from_secs(10 * 60);
/// The name that main gives to `child_main`.
pub const ROLE: &str = "unpack";
/// Bytes of the blob that are handed on at once.
const PIECE_BYTES: usize = 256 * 1024;
/// Of what a broken child said last.
const SAID_BYTES_MAX: u64 = 4096;

#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    #[error(transparent)]
    Content(#[from] ContentError),
    /// The archive holds something that is never unpacked, or too much.
    #[error("refused: {0}")]
    Refused(String),
    /// The bytes are those that the image names, and they are no archive.
    #[error("the archive cannot be read: {0}")]
    Damaged(String),
    #[error("the layer's content has the digest {actual}, its image says {expected}")]
    WrongDiffId { expected: Digest, actual: Digest },
    #[error("the image has {layers} layers but names {diff_ids} of them in its configuration")]
    LayerCount { layers: usize, diff_ids: usize },
    #[error("the disk that holds {0} is full")]
    DiskFull(PathBuf),
    #[error(transparent)]
    NoRoom(Shortage),
    #[error("unpacking into {path} took longer than {} minutes", time_max.as_secs().div_ceil(60))]
    Late { path: PathBuf, time_max: Duration },
    #[error("it was cancelled")]
    Cancelled,
    #[error("cannot unpack into {path}: {reason}")]
    Failed { path: PathBuf, reason: String },
}

impl UnpackError {
    /// Whether the same call will fail again however often it is repeated.
    pub fn permanent(&self) -> bool {
        match self {
            UnpackError::Content(e) => e.permanent(),
            UnpackError::Refused(_)
            | UnpackError::Damaged(_)
            | UnpackError::WrongDiffId { .. }
            | UnpackError::LayerCount { .. } => true,
            UnpackError::DiskFull(_)
            | UnpackError::NoRoom(_)
            | UnpackError::Late { .. }
            | UnpackError::Cancelled
            | UnpackError::Failed { .. } => false,
        }
    }

    /// For the operation that needed the files.
    pub fn fault(&self) -> Fault {
        let reason = format!("the image cannot be unpacked: {self}");
        Fault { permanent: self.permanent(), reason, last_lines: Vec::new() }
    }
}

/// How much one call may unpack, for how long, and how it is told to stop.
#[derive(Clone, Debug)]
pub struct Bounds {
    pub cancel: Cancel,
    /// Of the whole image or archive, uncompressed.
    pub bytes_max: u64,
    /// Of the whole image or archive.
    pub members_max: u64,
    /// For each layer or archive.
    pub time_max: Duration,
}

impl Bounds {
    /// The limits of this platform, ended by this.
    pub fn until(cancel: &Cancel) -> Bounds {
        Bounds {
            cancel: cancel.clone(),
            bytes_max: UNPACKED_BYTES_MAX,
            members_max: MEMBERS_MAX,
            time_max: UNPACK_TIME_MAX,
        }
    }
}

/// What the child is asked to do with the blob on its standard input.
#[derive(Serialize, Deserialize)]
struct Request {
    target: PathBuf,
    /// Device and inode of the target, so that nothing else is taken for it.
    identity: (u64, u64),
    kind: Kind,
    bytes_max: u64,
    members_max: u64,
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
    Done(Unpacked),
    Refused(String),
    TooManyBytes,
    TooManyMembers,
    Damaged(String),
    DiskFull,
    NoRoom(Shortage),
    Failed(String),
}

/// An archive that was read to its end.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Unpacked {
    diff_id: Digest,
    bytes: u64,
    members: u64,
}

/// Unpacks a source archive into an existing empty directory: plain files, directories and links, all owned
/// by root, no set-user-id. Answers with the bytes that it holds. After an error the directory holds a part.
pub fn unpack_tree(
    content: &Content,
    blob: &Digest,
    into: &Path,
    helper: &Helper,
    bounds: &Bounds,
) -> Result<u64, UnpackError> {
    Ok(ask(helper, Kind::Tree, content, blob, into, bounds)?.bytes)
}

/// Runs the child to its end.
fn ask(
    helper: &Helper,
    kind: Kind,
    content: &Content,
    blob: &Digest,
    target: &Path,
    bounds: &Bounds,
) -> Result<Unpacked, UnpackError> {
    let fail = |e: io::Error| failed(target, e);
    let mut file = content.open_blob(blob)?;
    let status = fs::symlink_metadata(target).map_err(fail)?;
    let request = Request {
        target: std::path::absolute(target).map_err(fail)?,
        identity: (status.dev(), status.ino()),
        kind,
        bytes_max: bounds.bytes_max,
        members_max: bounds.members_max,
    };
    let command = helper.command(ROLE, &request).map_err(fail)?;
    let mut watched = Watched::spawn(command, &bounds.cancel, bounds.time_max).map_err(fail)?;
    let actual = hand_over(&mut file, watched.child.stdin.take(), &watched).map_err(fail)?;
    let mut answer = Vec::new();
    if let Some(stdout) = watched.child.stdout.take() {
        let limit = apron_model::limits::MESSAGE_BYTES_MAX as u64;
        stdout.take(limit).read_to_end(&mut answer).map_err(fail)?;
    }
    let mut said = Vec::new();
    if let Some(stderr) = watched.child.stderr.take() {
        stderr.take(SAID_BYTES_MAX).read_to_end(&mut said).map_err(fail)?;
    }
    let ended = watched.wait().map_err(fail)?;
    let status = match ended {
        Ok(status) => status,
        Err(Cut::Cancelled) => return Err(UnpackError::Cancelled),
        Err(Cut::Late) => {
            return Err(UnpackError::Late { path: target.to_owned(), time_max: bounds.time_max });
        }
    };
    // Whatever the child made of them: these are not the bytes that were asked for.
    if actual != *blob {
        content.discard(blob)?;
        return Err(ContentError::Mismatch { expected: blob.clone(), actual }.into());
    }
    match serde_json::from_slice(&answer) {
        Ok(Answer::Done(unpacked)) => Ok(unpacked),
        Ok(Answer::Refused(reason)) => Err(UnpackError::Refused(reason)),
        Ok(Answer::TooManyBytes) => Err(UnpackError::Refused(format!(
            "all of it unpacks to more than {} MiB, the limit",
            bounds.bytes_max >> 20
        ))),
        Ok(Answer::TooManyMembers) => Err(UnpackError::Refused(format!(
            "all of it holds more than {} files, directories and links, the limit",
            bounds.members_max
        ))),
        Ok(Answer::Damaged(reason)) => Err(UnpackError::Damaged(reason)),
        Ok(Answer::DiskFull) => Err(UnpackError::DiskFull(target.to_owned())),
        Ok(Answer::NoRoom(shortage)) => Err(UnpackError::NoRoom(shortage.of(target.to_owned()))),
        Ok(Answer::Failed(reason)) => Err(UnpackError::Failed { path: target.to_owned(), reason }),
        Err(_) => {
            let said = String::from_utf8_lossy(&said);
            let reason = format!("the unpacking process ended with {status}: {}", said.trim_end());
            Err(UnpackError::Failed { path: target.to_owned(), reason })
        }
    }
}

/// Gives the child the blob's bytes, as long as it takes them, and answers with the digest of all of them.
fn hand_over(blob: &mut File, mut child: Option<ChildStdin>, watched: &Watched) -> io::Result<Digest> {
    let mut hash = Context::new(&SHA256);
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let count = blob.read(&mut piece)?;
        // A child that was killed answers nothing, so the digest does not matter.
        if count == 0 || watched.cut().is_some() {
            return Ok(digest_of(hash));
        }
        hash.update(&piece[..count]);
        if let Some(pipe) = &mut child
            && let Err(e) = pipe.write_all(&piece[..count])
        {
            // It has seen enough, and says what below.
            if e.kind() != io::ErrorKind::BrokenPipe {
                return Err(e);
            }
            child = None;
        }
    }
}

fn failed(path: &Path, e: io::Error) -> UnpackError {
    match e.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => UnpackError::DiskFull(path.to_owned()),
        _ => UnpackError::Failed { path: path.to_owned(), reason: e.to_string() },
    }
}
