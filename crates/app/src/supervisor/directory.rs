//! The data directory: who owns what in it, its id, and that one supervisor at a time uses it.
//!
//! Everything that root believes (`id`, `credentials`, the records and sockets in `run`) lies in directories of
//! root's own. What lies in directories of other users is made and given away by descriptor (`place`).

mod place;

use nix::fcntl::{Flock, FlockArg};
use nix::sys::statvfs::{FsFlags, statvfs};
use place::{Place, PlaceError};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// Below this nothing works for long: a database, logs and one unpacked layer need it.
const FREE_BYTES_MIN: u64 = 256 * 1024 * 1024;
/// Where control makes its socket; no other process of the platform writes there.
pub(super) const CONTROL_SOCKET: &str = "run/control/control.sock";
/// Where the proxy gives its metrics, likewise.
pub(super) const ADMIN_SOCKET: &str = "run/proxy/admin.sock";

/// A data directory that is ready and ours for as long as the value lives.
#[derive(Debug)]
pub(crate) struct Directory {
    pub(crate) path: PathBuf,
    /// Eight hex digits; the names of everything on the host carry it.
    pub(crate) id: String,
    _lock: Flock<File>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum DirectoryError {
    #[error("{} is in use by another apron serve{}", path.display(), holder.as_ref().map(|h| format!(" (pid {h})")).unwrap_or_default())]
    InUse { path: PathBuf, holder: Option<String> },
    #[error(
        "the disk of {} is full: {free_mib} MiB are free, a new platform needs {}", path.display(), FREE_BYTES_MIN >> 20
    )]
    DiskFull { path: PathBuf, free_mib: u64 },
    #[error("the file system of {} is mounted read-only; choose another --data-dir", .0.display())]
    ReadOnly(PathBuf),
    #[error(
        "{} holds files and {why}, so it is not taken as a data directory; choose an empty one with --data-dir",
        path.display()
    )]
    NotOurs { path: PathBuf, why: String },
    #[error("{} does not hold the id of a data directory; eight hex digits are expected", .0.display())]
    BadId(PathBuf),
    #[error(transparent)]
    Place(#[from] PlaceError),
}

/// Makes what is missing, gives everything its owner and locks the directory. Needs root.
pub(crate) fn prepare(path: &Path, control_uid: u32, proxy_uid: u32) -> Result<Directory, DirectoryError> {
    usable_disk(path)?;
    fs::create_dir_all(path).map_err(|e| PlaceError::new("make", path, e))?;
    // Links in the path would make two names of one directory, and records are compared by name.
    let path = &fs::canonicalize(path).map_err(|e| PlaceError::new("open", path, e))?;
    let data = Place::open(path)?;
    take(&data, path)?;
    let run = data.directory("run")?;
    run.give(0, 0, 0o755)?;
    let lock = lock(path, run.file("lock")?)?;
    let id = id(&path.join("id"))?;
    run.directory("control")?.give(control_uid, control_uid, 0o755)?;
    run.directory("proxy")?.give(proxy_uid, proxy_uid, 0o755)?;
    data.directory("node")?.give(0, 0, 0o700)?;
    data.directory("control")?.give(control_uid, control_uid, 0o700)?;
    data.directory("logs")?.give(control_uid, control_uid, 0o750)?;
    data.directory("proxy")?.give(proxy_uid, proxy_uid, 0o700)?;
    let content = data.directory("content")?;
    content.give(control_uid, control_uid, 0o755)?;
    // From here on control's user may have put something else in the place.
    content.directory("tmp")?.give(control_uid, control_uid, 0o755)?;
    let blobs = content.directory("blobs")?;
    blobs.give(control_uid, control_uid, 0o755)?;
    blobs.directory("sha256")?.give(control_uid, control_uid, 0o755)?;
    Ok(Directory { path: path.clone(), id, _lock: lock })
}

/// Checks that the directory is one that root may use, and that others may pass through it. What anyone else has
/// files in, or could put some in, is left as it is: the path may be a mistake.
fn take(data: &Place, path: &Path) -> Result<(), DirectoryError> {
    let (owner, mode) = data.owner()?;
    let why = match (owner, mode) {
        (0, mode) if mode & 0o022 != 0 => format!("others may write to it (mode {mode:o})"),
        (0, mode) if mode & 0o011 != 0o011 => format!("it is closed to others (mode {mode:o})"),
        (0, _) => return Ok(()),
        (user, _) => format!("it belongs to user {user}"),
    };
    if !data.is_empty()? && !path.join("id").is_file() {
        return Err(DirectoryError::NotOurs { path: path.to_owned(), why });
    }
    // Its files are not given away: each has the owner that it needs.
    data.give_alone(0, 0, 0o755)?;
    Ok(())
}

fn lock(data: &Path, mut file: File) -> Result<Flock<File>, DirectoryError> {
    let mut holder = String::new();
    let _ = (&mut file).take(32).read_to_string(&mut holder);
    let locked = Flock::lock(file, FlockArg::LockExclusiveNonblock);
    let mut file = match locked {
        Ok(file) => file,
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => {
            let holder = holder.trim();
            let holder = (!holder.is_empty()).then(|| holder.to_owned());
            return Err(DirectoryError::InUse { path: data.to_owned(), holder });
        }
        Err((_, e)) => return Err(PlaceError::new("lock", &data.join("run/lock"), e).into()),
    };
    // The number only serves the message above.
    let _ = file.set_len(0);
    let _ = io::Seek::rewind(&mut *file);
    let _ = writeln!(file, "{}", std::process::id());
    Ok(file)
}

/// Looks at the disk on which the directory is or will be. One that is in use already may be short of space: what
/// it holds is to serve on.
fn usable_disk(path: &Path) -> Result<(), DirectoryError> {
    let existing = path.ancestors().find(|p| p.exists()).unwrap_or(path);
    let space = statvfs(existing).map_err(|e| PlaceError::new("look at", existing, e))?;
    if space.flags().contains(FsFlags::ST_RDONLY) {
        return Err(DirectoryError::ReadOnly(path.to_owned()));
    }
    let free = space.blocks_available() as u64 * space.fragment_size() as u64;
    if free >= FREE_BYTES_MIN {
        return Ok(());
    }
    if path.join("id").exists() {
        crate::log::say(&format!(
            "the disk of {} is almost full: {} MiB are free",
            path.display(),
            free >> 20
        ));
        return Ok(());
    }
    Err(DirectoryError::DiskFull { path: path.to_owned(), free_mib: free >> 20 })
}

/// Reads the id, or draws one at the first start.
fn id(path: &Path) -> Result<String, DirectoryError> {
    match fs::read_to_string(path) {
        Ok(text) => {
            let id = text.trim_end();
            let fits = id.len() == 8 && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
            if fits { Ok(id.to_owned()) } else { Err(DirectoryError::BadId(path.to_owned())) }
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let mut bytes = [0u8; 4];
            getrandom::fill(&mut bytes)
                .map_err(|e| PlaceError::new("draw", path, io::Error::other(e.to_string())))?;
            let id = format!("{:08x}", u32::from_be_bytes(bytes));
            crate::file::replace(path, format!("{id}\n").as_bytes(), super::record::RECORD_MODE)
                .map_err(|e| PlaceError::new("write", path, e))?;
            Ok(id)
        }
        Err(e) => Err(PlaceError::new("read", path, e).into()),
    }
}

#[cfg(test)]
mod tests;
