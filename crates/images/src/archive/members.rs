//! The members of an archive, each file of them in the store: what the confined reader makes of its bytes.

use super::frames::{Frame, Frames};
use super::reader::{Limits, ROLE};
use super::{ArchiveError, MEMBERS_MAX, Member};
use crate::content::{BlobWriter, Content, ContentError};
use crate::helper::Helper;
use crate::process::{Cancel, Cut, Watched};
use apron_model::limits::UPLOAD_BYTES_MAX;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::Duration;

/// The largest archive from a slow disk takes a minute or two.
const TIME_MAX: Duration = Duration::from_secs(10 * 60);
/// Of what a broken child said last.
const SAID_BYTES_MAX: u64 = 4096;

/// Why no members came.
enum Failure {
    Store(ContentError),
    /// The reader's own verdict.
    NotAnArchive(String),
    /// It ended, or said what it never says.
    Reader,
}

impl From<ContentError> for Failure {
    fn from(e: ContentError) -> Failure {
        Failure::Store(e)
    }
}

/// By name.
pub(super) fn read(
    content: &Content,
    path: &Path,
    helper: &Helper,
    cancel: &Cancel,
) -> Result<BTreeMap<String, Member>, ArchiveError> {
    let unreadable = |source| ArchiveError::Unreadable { path: path.to_owned(), source };
    let not_an_archive = |reason: String| ArchiveError::NotAnArchive { path: path.to_owned(), reason };
    let failed = |reason: String| ArchiveError::Failed { path: path.to_owned(), reason };
    let file = File::open(path).map_err(unreadable)?;
    if !file.metadata().map_err(unreadable)?.is_file() {
        return Err(not_an_archive("it is not a file".to_owned()));
    }
    let limits = Limits { bytes_max: UPLOAD_BYTES_MAX, members_max: MEMBERS_MAX };
    let mut command = helper.command(ROLE, &limits).map_err(unreadable)?;
    command.stdin(file);
    let mut watched = Watched::spawn(command, cancel, TIME_MAX).map_err(|e| failed(e.to_string()))?;
    let Some(answer) = watched.child.stdout.take() else { return Err(failed("it has no output".to_owned())) };
    match take(content, answer) {
        Ok(members) => return Ok(members),
        Err(Failure::Store(e)) => return Err(e.into()),
        Err(Failure::NotAnArchive(reason)) => return Err(not_an_archive(reason)),
        Err(Failure::Reader) => {}
    }
    // Its output has ended, so it has as well, or is made to.
    let mut said = String::new();
    if let Some(stderr) = watched.child.stderr.take() {
        let _ = stderr.take(SAID_BYTES_MAX).read_to_string(&mut said);
    }
    match watched.wait().map_err(|e| failed(e.to_string()))? {
        Err(Cut::Cancelled) => Err(failed("it was cancelled".to_owned())),
        Err(Cut::Late) => Err(failed(format!("it took longer than {} minutes", TIME_MAX.as_secs() / 60))),
        // How a program ends that gets no more memory.
        Ok(status) if status.signal() == Some(libc::SIGABRT) => {
            Err(not_an_archive(crate::helper::too_much_memory()))
        }
        Ok(status) => Err(failed(format!("the reading process ended with {status}: {}", said.trim_end()))),
    }
}

/// Stores what the reader tells, and believes nothing of it: what it says is bounded here once more.
fn take(content: &Content, answer: impl Read) -> Result<BTreeMap<String, Member>, Failure> {
    let mut frames = Frames::new(BufReader::with_capacity(256 * 1024, answer));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_start_matches("./").to_owned();
    let mut members = BTreeMap::new();
    let mut file: Option<(String, BlobWriter)> = None;
    let (mut bytes, mut count) = (0_u64, 0);
    loop {
        match (frames.next().map_err(|_| Failure::Reader)?, &mut file) {
            (Frame::File(name), None) => {
                count += 1;
                file = Some((text(name), content.writer()?));
            }
            (Frame::Data(data), Some((_, writer))) => {
                bytes += data.len() as u64;
                writer.write_all(data).map_err(|e| content.written(e))?;
            }
            (Frame::FileEnd, Some(_)) => {
                if let Some((name, writer)) = file.take() {
                    let (digest, bytes) = writer.finish(None)?;
                    members.insert(name, Member::Blob(digest, bytes));
                }
            }
            (Frame::Symlink(name, target), None) => {
                count += 1;
                let name = text(name);
                let target = beside(&name, &String::from_utf8_lossy(target));
                members.insert(name, Member::Link(target));
            }
            (Frame::HardLink(name, target), None) => {
                count += 1;
                members.insert(text(name), Member::Link(text(target)));
            }
            (Frame::Complete, None) => return Ok(members),
            (Frame::NotAnArchive(reason), _) => return Err(Failure::NotAnArchive(text(reason))),
            _ => return Err(Failure::Reader),
        }
        if count > MEMBERS_MAX || bytes > UPLOAD_BYTES_MAX {
            return Err(Failure::Reader);
        }
    }
}

/// A link's target as a member name: `../` steps out of the member's directory.
fn beside(name: &str, target: &str) -> String {
    let mut parts: Vec<&str> = name.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            other => parts.push(other),
        }
    }
    parts.join("/")
}
