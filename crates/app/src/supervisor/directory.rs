//! The data directory: who owns what in it, its id, and that one supervisor at a time uses it.

use nix::fcntl::{Flock, FlockArg};
use nix::sys::statvfs::statvfs;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

/// Below this nothing works for long: a database, logs and one unpacked layer need it.
const FREE_BYTES_MIN: u64 = 256 * 1024 * 1024;
/// Entries whose owner is changed when a user's number was; more is a mistake in the path.
const REOWNED_MAX: usize = 10_000_000;

/// A data directory that is ready and ours for as long as the value lives.
#[derive(Debug)]
pub(super) struct Directory {
    pub(super) path: PathBuf,
    /// Eight hex digits; the names of everything on the host carry it.
    pub(super) id: String,
    _lock: Flock<File>,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum DirectoryError {
    #[error("{} is in use by another apron serve{}", path.display(), holder.as_ref().map(|h| format!(" (pid {h})")).unwrap_or_default())]
    InUse { path: PathBuf, holder: Option<String> },
    #[error("the disk of {} is full: {free_mib} MiB are free, {} are needed", path.display(), FREE_BYTES_MIN >> 20)]
    DiskFull { path: PathBuf, free_mib: u64 },
    #[error("{} does not hold the id of a data directory; eight hex digits are expected", .0.display())]
    BadId(PathBuf),
    #[error("cannot {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
}

/// Makes what is missing, gives everything its owner and locks the directory. Needs root.
pub(super) fn prepare(path: &Path, control_uid: u32, proxy_uid: u32) -> Result<Directory, DirectoryError> {
    fs::create_dir_all(path).map_err(|e| failed("make", path, e))?;
    // Links in the path would make two names of one directory, and records are compared by name.
    let path = &fs::canonicalize(path).map_err(|e| failed("open", path, e))?;
    fs::set_permissions(path, Permissions::from_mode(0o755)).map_err(|e| failed("open", path, e))?;
    let run = path.join("run");
    // Control makes its socket in here and can only remove what is its own.
    directory(&run, 0, control_uid, 0o1775)?;
    let lock = lock(path, &run.join("lock"))?;
    enough_space(path)?;
    let owned = [
        ("control", control_uid, 0o700),
        ("logs", control_uid, 0o750),
        ("content", control_uid, 0o755),
        ("content/blobs", control_uid, 0o755),
        ("content/blobs/sha256", control_uid, 0o755),
        ("content/tmp", control_uid, 0o755),
        ("node", 0, 0o700),
        ("proxy", proxy_uid, 0o700),
    ];
    for (name, uid, mode) in owned {
        directory(&path.join(name), uid, uid, mode)?;
    }
    let id = id(&path.join("id"))?;
    Ok(Directory { path: path.clone(), id, _lock: lock })
}

fn lock(data: &Path, path: &Path) -> Result<Flock<File>, DirectoryError> {
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o644)
        .open(path)
        .map_err(|e| failed("open", path, e))?;
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
        Err((_, e)) => return Err(failed("lock", path, e.into())),
    };
    // The number only serves the message above.
    let _ = file.set_len(0);
    let _ = io::Seek::rewind(&mut *file);
    let _ = writeln!(file, "{}", std::process::id());
    Ok(file)
}

fn enough_space(path: &Path) -> Result<(), DirectoryError> {
    let space = statvfs(path).map_err(|e| failed("look at", path, e.into()))?;
    let free = space.blocks_available() as u64 * space.fragment_size() as u64;
    match free >= FREE_BYTES_MIN {
        true => Ok(()),
        false => Err(DirectoryError::DiskFull { path: path.to_owned(), free_mib: free >> 20 }),
    }
}

fn directory(path: &Path, uid: u32, gid: u32, mode: u32) -> Result<(), DirectoryError> {
    match fs::create_dir(path) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(failed("make", path, e)),
        _ => {}
    }
    let metadata = fs::symlink_metadata(path).map_err(|e| failed("look at", path, e))?;
    if !metadata.is_dir() {
        return Err(failed("use", path, io::Error::from(io::ErrorKind::NotADirectory)));
    }
    let former = metadata.uid();
    if former != uid || metadata.gid() != gid {
        // A new directory is empty; an old one that changes hands takes what its former user made along.
        if former != uid && former != 0 {
            let mut left = REOWNED_MAX;
            reown(path, former, uid, gid, &mut left)?;
        }
        chown(path, Some(uid), Some(gid)).map_err(|e| failed("set the owner of", path, e))?;
    }
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(|e| failed("set the mode of", path, e))
}

/// Gives what one user owned below a directory to another. Links are changed, never followed.
fn reown(dir: &Path, from: u32, uid: u32, gid: u32, left: &mut usize) -> Result<(), DirectoryError> {
    for entry in fs::read_dir(dir).map_err(|e| failed("read", dir, e))? {
        let entry = entry.map_err(|e| failed("read", dir, e))?;
        let path = entry.path();
        let metadata = entry.metadata().map_err(|e| failed("look at", &path, e))?;
        *left = left
            .checked_sub(1)
            .ok_or_else(|| failed("go through", dir, io::ErrorKind::FileTooLarge.into()))?;
        if metadata.uid() == from {
            std::os::unix::fs::lchown(&path, Some(uid), Some(gid))
                .map_err(|e| failed("set the owner of", &path, e))?;
        }
        if metadata.is_dir() {
            reown(&path, from, uid, gid, left)?;
        }
    }
    Ok(())
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
            getrandom::fill(&mut bytes).map_err(|e| failed("draw", path, io::Error::other(e.to_string())))?;
            let id = format!("{:08x}", u32::from_be_bytes(bytes));
            super::record::write_file(path, format!("{id}\n").as_bytes())
                .map_err(|e| failed("write", path, e))?;
            Ok(id)
        }
        Err(e) => Err(failed("read", path, e)),
    }
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> DirectoryError {
    DirectoryError::Io { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::scratch::Scratch;

    #[test]
    fn a_new_directory_gets_its_owners_and_keeps_its_id() {
        let scratch = Scratch::new();
        let path = scratch.path().join("a/b");
        let first = prepare(&path, 61_900, 61_901).unwrap();
        let id = first.id.clone();
        assert_eq!(id.len(), 8);
        let mode = |name: &str| {
            let metadata = fs::metadata(path.join(name)).unwrap();
            (metadata.uid(), metadata.gid(), metadata.mode() & 0o7777)
        };
        assert_eq!(mode("control"), (61_900, 61_900, 0o700));
        assert_eq!(mode("proxy"), (61_901, 61_901, 0o700));
        assert_eq!(mode("node"), (0, 0, 0o700));
        assert_eq!(mode("run"), (0, 61_900, 0o1775));
        drop(first);
        assert_eq!(prepare(&path, 61_900, 61_901).unwrap().id, id);
    }

    #[test]
    fn a_second_supervisor_is_refused_and_told_who_has_it() {
        let scratch = Scratch::new();
        let first = prepare(scratch.path(), 61_900, 61_901).unwrap();
        let text = prepare(scratch.path(), 61_900, 61_901).unwrap_err().to_string();
        assert!(text.contains(&format!("(pid {})", std::process::id())), "{text}");
        drop(first);
        prepare(scratch.path(), 61_900, 61_901).unwrap();
    }

    #[test]
    fn files_follow_a_user_whose_number_changed() {
        let scratch = Scratch::new();
        drop(prepare(scratch.path(), 61_900, 61_901).unwrap());
        let file = scratch.path().join("control/apron.db");
        fs::write(&file, "x").unwrap();
        chown(&file, Some(61_900), Some(61_900)).unwrap();
        drop(prepare(scratch.path(), 62_000, 61_901).unwrap());
        assert_eq!(fs::metadata(&file).unwrap().uid(), 62_000);
    }

    #[test]
    fn a_damaged_id_is_refused() {
        let scratch = Scratch::new();
        fs::write(scratch.path().join("id"), "../../x").unwrap();
        assert!(matches!(prepare(scratch.path(), 1, 2), Err(DirectoryError::BadId(_))));
    }
}
