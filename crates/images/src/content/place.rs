//! The store's directories as descriptors, and every file operation in them.
//!
//! Nothing here goes through a path twice, and no operation follows a link: a directory is opened once, a
//! file is opened below it and then looked at, owners and times are changed on what is open.

use super::{ContentError, io_error};
use crate::room::{self, Shortage};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, Flock, FlockArg, OFlag, OpenHow, ResolveFlag, openat2, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat, futimens, mkdirat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, unlinkat};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// Nothing is written for longer: the limit of a build is half an hour.
const LEFTOVER_AGE: Duration = Duration::from_secs(24 * 3600);
/// Whoever holds the lock renames or rewrites one small file. A holder that takes longer is broken or means
/// harm, and nobody waits for it for ever.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(30);
const LOCK_RETRY: Duration = Duration::from_millis(5);

#[derive(Debug)]
pub(super) struct Place {
    /// For messages, and for callers of the store's own user.
    pub(super) dir: PathBuf,
    root: OwnedFd,
    blobs: OwnedFd,
    tmp: OwnedFd,
    /// Owner and group of the directory when this process is root and they are not.
    owner: Option<(Uid, Gid)>,
}

impl Place {
    pub(super) fn open(dir: PathBuf) -> Result<Place, ContentError> {
        let fail = |e| io_error(&dir, e);
        fs::create_dir_all(&dir).map_err(fail)?;
        let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW;
        let root = fs::OpenOptions::new().read(true).custom_flags(flags).open(&dir).map_err(fail)?;
        let metadata = root.metadata().map_err(fail)?;
        let is_root = nix::unistd::geteuid().is_root();
        let owner = (is_root && metadata.uid() != 0)
            .then(|| (Uid::from_raw(metadata.uid()), Gid::from_raw(metadata.gid())));
        let root = OwnedFd::from(root);
        let below = |parent: BorrowedFd<'_>, name: &str| {
            directory(parent, name, owner).map_err(|e| io_error(&dir.join(name), e))
        };
        let blobs = below(root.as_fd(), "blobs")?;
        let blobs = below(blobs.as_fd(), "sha256")?;
        let tmp = below(root.as_fd(), "tmp")?;
        Ok(Place { root, blobs, tmp, owner, dir })
    }

    /// Why so many more bytes must not be written here; None when they may.
    pub(super) fn shortage(&self, bytes: u64) -> Option<Shortage> {
        room::shortage(&self.tmp, &self.dir, bytes)
    }

    pub(super) fn blob_path(&self, hex: &str) -> PathBuf {
        self.dir.join("blobs/sha256").join(hex)
    }

    /// None when something lies there that is no regular file.
    pub(super) fn blob_open(&self, hex: &str) -> io::Result<Option<File>> {
        regular(self.blobs.as_fd(), hex)
    }

    /// None unless it is a regular file.
    pub(super) fn blob_status(&self, hex: &str) -> io::Result<Option<FileStat>> {
        match fstatat(&self.blobs, hex, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(status) => Ok(is_regular(&status).then_some(status)),
            Err(Errno::ENOENT) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// Makes the blob as young as if it were written now; false when there is none. Take the lock before.
    pub(super) fn blob_touch(&self, hex: &str) -> Result<bool, ContentError> {
        let fail = |e| io_error(&self.blob_path(hex), e);
        match self.blob_open(hex) {
            Ok(Some(file)) => self.touch(file.as_fd()).map(|()| true).map_err(fail),
            Ok(None) => Ok(false),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(fail(e)),
        }
    }

    pub(super) fn touch(&self, file: BorrowedFd<'_>) -> io::Result<()> {
        Ok(futimens(file, &TimeSpec::UTIME_NOW, &TimeSpec::UTIME_NOW)?)
    }

    /// Moves a file of tmp/ to its final name, in place of what may be there.
    pub(super) fn blob_rename(&self, temporary: &str, hex: &str) -> io::Result<()> {
        renameat(&self.tmp, temporary, &self.blobs, hex)?;
        Ok(nix::unistd::fsync(&self.blobs)?)
    }

    pub(super) fn blob_remove(&self, hex: &str) -> io::Result<()> {
        Ok(unlinkat(&self.blobs, hex, UnlinkatFlags::NoRemoveDir)?)
    }

    /// Names of everything beside the blobs, blobs included, in no order.
    pub(super) fn each_blob(&self, mut see: impl FnMut(&str) -> io::Result<()>) -> io::Result<()> {
        each_name(self.blobs.as_fd(), &mut see)
    }

    /// A small file directly in the store's directory, at most this long; None when there is none.
    pub(super) fn read(&self, name: &str, bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
        use std::io::Read;
        let file = match regular(self.root.as_fd(), name) {
            Ok(Some(file)) => file,
            Ok(None) => return Err(io::Error::other("it is not a regular file")),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        let mut bytes = Vec::new();
        file.take(bytes_max + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > bytes_max {
            return Err(io::Error::other(format!("it is larger than {bytes_max} bytes")));
        }
        Ok(Some(bytes))
    }

    /// Puts a file of tmp/ in the place of one directly in the store's directory.
    pub(super) fn replace(&self, temporary: &str, name: &str) -> io::Result<()> {
        renameat(&self.tmp, temporary, &self.root, name)?;
        Ok(nix::unistd::fsync(&self.root)?)
    }

    /// A new file in tmp/ that no other process writes.
    pub(super) fn temporary(&self) -> Result<(String, File), ContentError> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{number}-{:x}", std::process::id(), wall_clock().as_nanos());
        let fail = |e: Errno| io_error(&self.dir.join("tmp").join(&name), e.into());
        let how = OpenHow::new()
            .flags(OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_RDWR | OFlag::O_CLOEXEC)
            .mode(Mode::from_bits_truncate(0o640))
            .resolve(confined());
        let file = openat2(&self.tmp, name.as_str(), how).map_err(fail)?;
        if let Some((uid, gid)) = self.owner {
            fchown(&file, Some(uid), Some(gid)).map_err(fail)?;
        }
        Ok((name, File::from(file)))
    }

    pub(super) fn remove_temporary(&self, name: &str) {
        // A failure costs disk space until the leftovers are removed.
        let _ = unlinkat(&self.tmp, name, UnlinkatFlags::NoRemoveDir);
    }

    /// The store's lock, held until it is dropped. It is on the directory, so there is no file that somebody
    /// could put in its place.
    pub(super) fn lock(&self, kind: FlockArg) -> Result<Flock<OwnedFd>, ContentError> {
        let fail = |e: Errno| io_error(&self.dir, e.into());
        let began = Instant::now();
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        // Opened anew, because locks belong to what one opening made.
        let mut directory =
            openat2(&self.root, ".", OpenHow::new().flags(flags).resolve(confined())).map_err(fail)?;
        loop {
            match Flock::lock(directory, kind) {
                Ok(lock) => return Ok(lock),
                Err((back, Errno::EWOULDBLOCK)) if began.elapsed() < LOCK_WAIT_MAX => directory = back,
                Err((_, Errno::EWOULDBLOCK)) => {
                    let reason = format!("locked by another process for more than {LOCK_WAIT_MAX:?}");
                    return Err(io_error(&self.dir, io::Error::new(io::ErrorKind::TimedOut, reason)));
                }
                Err((_, e)) => return Err(fail(e)),
            }
            std::thread::sleep(LOCK_RETRY);
        }
    }

    /// Removes what a killed process left in tmp/. That is the affair of the store's owner, to whom all of it
    /// belongs. A failure here costs disk space and nothing else.
    pub(super) fn remove_leftovers(&self) {
        if self.owner.is_some() {
            return;
        }
        let _ = each_name(self.tmp.as_fd(), &mut |name| {
            let status = fstatat(&self.tmp, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
            if age(&status).is_some_and(|age| age > LEFTOVER_AGE) {
                self.remove_temporary(name);
            }
            Ok(())
        });
    }
}

/// Opens the directory of this name, making it where it is missing.
fn directory(parent: BorrowedFd<'_>, name: &str, owner: Option<(Uid, Gid)>) -> io::Result<OwnedFd> {
    let made = match mkdirat(parent, name, Mode::from_bits_truncate(0o755)) {
        Ok(()) => true,
        Err(Errno::EEXIST) => false,
        Err(e) => return Err(e.into()),
    };
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let directory = match openat2(parent, name, OpenHow::new().flags(flags).resolve(confined())) {
        Ok(directory) => directory,
        Err(Errno::ELOOP | Errno::ENOTDIR) => {
            return Err(io::Error::other("it is a link or a file where a directory is expected"));
        }
        Err(e) => return Err(e.into()),
    };
    if made && let Some((uid, gid)) = owner {
        fchown(&directory, Some(uid), Some(gid))?;
    }
    Ok(directory)
}

/// Opens a file for reading; None when it is no regular one. Never waits, whatever lies there.
fn regular(parent: BorrowedFd<'_>, name: &str) -> io::Result<Option<File>> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = match openat2(parent, name, OpenHow::new().flags(flags).resolve(confined())) {
        Ok(file) => file,
        // A link, a socket, a device without a driver.
        Err(Errno::ELOOP | Errno::ENXIO | Errno::ENODEV) => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    Ok(is_regular(&fstat(&file)?).then(|| File::from(file)))
}

fn is_regular(status: &FileStat) -> bool {
    status.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFREG.bits()
}

/// Since 1970, as this machine's clock says. It tells people when a name was set, and makes names of temporary
/// files that an earlier process with our number did not use; nothing is decided by it.
#[expect(clippy::disallowed_methods, reason = "for display and for names")]
pub(super) fn wall_clock() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// Time since the last modification; None for the future.
pub(super) fn age(status: &FileStat) -> Option<Duration> {
    let seconds = u64::try_from(status.st_mtime).unwrap_or(0);
    let nanos = u64::try_from(status.st_mtime_nsec).unwrap_or(0);
    let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_nanos(nanos);
    modified.elapsed().ok()
}

fn confined() -> ResolveFlag {
    ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS
}

/// Calls `see` with each name that is text; the first failure ends it. Names may be removed meanwhile.
fn each_name(directory: BorrowedFd<'_>, see: &mut dyn FnMut(&str) -> io::Result<()>) -> io::Result<()> {
    // The directory that is open, wherever its name leads by now.
    let opened = format!("/proc/self/fd/{}", directory.as_raw_fd());
    for entry in fs::read_dir(opened)? {
        if let Some(name) = entry?.file_name().to_str() {
            see(name)?;
        }
    }
    Ok(())
}
