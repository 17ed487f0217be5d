//! A directory by its descriptor: what is made, given away or looked at below it goes by one name at a time and
//! follows no link.
//!
//! Root prepares directories whose content other users own. A name that was looked at may mean something else a
//! moment later, so owner and mode are changed on what was opened, after it was checked.

use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, fchmod, fstat, mkdirat};
use nix::unistd::{Gid, Uid, fchown, fchownat};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Entries whose owner is changed when a user's number was; more is a mistake in the path.
const REOWNED_MAX: usize = 10_000_000;
/// Directories below each other; ours are at most three deep, and each takes two descriptors meanwhile.
const DEPTH_MAX: usize = 32;

/// Why a place cannot be used as it should.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {source}", path.display())]
pub(crate) struct PlaceError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl PlaceError {
    pub(super) fn new(action: &'static str, path: &Path, source: impl Into<io::Error>) -> PlaceError {
        PlaceError { action, path: path.to_owned(), source: source.into() }
    }

    fn refused(path: &Path, why: String) -> PlaceError {
        PlaceError::new("use", path, io::Error::other(why))
    }
}

/// An open directory.
#[derive(Debug)]
pub(super) struct Place {
    descriptor: OwnedFd,
    /// Where it was opened; for messages only.
    path: PathBuf,
    /// Whether root alone can have put it there.
    parent_is_roots: bool,
}

impl Place {
    /// Opens a directory whose parents are trusted.
    pub(super) fn open(path: &Path) -> Result<Place, PlaceError> {
        let flags = (OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW).bits();
        let file = File::options().read(true).custom_flags(flags).open(path);
        let descriptor = file.map_err(|e| PlaceError::new("open", path, e))?.into();
        Ok(Place { descriptor, path: path.to_owned(), parent_is_roots: true })
    }

    /// Opens the directory of this name in this one, which is made where there is none.
    pub(super) fn directory(&self, name: &str) -> Result<Place, PlaceError> {
        let path = self.path.join(name);
        match mkdirat(&self.descriptor, name, Mode::S_IRWXU) {
            Ok(()) | Err(nix::errno::Errno::EEXIST) => {}
            Err(e) => return Err(PlaceError::new("make", &path, e)),
        }
        self.enter(OsStr::new(name))
    }

    /// Opens a file of root's in this directory, which is made where there is none.
    pub(super) fn file(&self, name: &str) -> Result<File, PlaceError> {
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let opened = openat(&self.descriptor, name, flags, Mode::from_bits_truncate(0o644));
        opened.map(File::from).map_err(|e| PlaceError::new("open", &self.path.join(name), e))
    }

    /// Gives the directory to a user, and with it what a former user of it made in it. It may be root's, `uid`'s
    /// or, where only root could have given it away, anyone's.
    pub(super) fn give(&self, uid: u32, gid: u32, mode: u32) -> Result<(), PlaceError> {
        let (former, _) = self.owner()?;
        if former != uid && former != 0 {
            if !self.parent_is_roots {
                let why = format!("it belongs to user {former}, whom it was never given to");
                return Err(PlaceError::refused(&self.path, why));
            }
            // First what is in it, so that an interrupted change goes on at the next start.
            let mut left = REOWNED_MAX;
            self.reown(former, uid, gid, &mut left, DEPTH_MAX)?;
        }
        self.give_alone(uid, gid, mode)
    }

    /// Gives the directory to a user, and nothing that is in it.
    pub(super) fn give_alone(&self, uid: u32, gid: u32, mode: u32) -> Result<(), PlaceError> {
        fchown(&self.descriptor, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
            .map_err(|e| PlaceError::new("set the owner of", &self.path, e))?;
        fchmod(&self.descriptor, Mode::from_bits_truncate(mode))
            .map_err(|e| PlaceError::new("set the mode of", &self.path, e))
    }

    /// Owner and mode.
    pub(super) fn owner(&self) -> Result<(u32, u32), PlaceError> {
        let stat = fstat(&self.descriptor).map_err(|e| PlaceError::new("look at", &self.path, e))?;
        Ok((stat.st_uid, stat.st_mode & 0o7777))
    }

    pub(super) fn is_empty(&self) -> Result<bool, PlaceError> {
        Ok(self.entries()?.next().is_none())
    }

    /// Gives what one user owned in here to another.
    fn reown(&self, from: u32, uid: u32, gid: u32, left: &mut usize, depth: usize) -> Result<(), PlaceError> {
        for entry in self.entries()? {
            let name = entry.map_err(|e| PlaceError::new("read", &self.path, e))?.file_name();
            let path = self.path.join(&name);
            *left = left
                .checked_sub(1)
                .ok_or_else(|| PlaceError::refused(&self.path, "it holds too many files".into()))?;
            // Of whatever kind it is, a link included: opened, looked at, changed, without its name again.
            let entry = openat(
                &self.descriptor,
                name.as_os_str(),
                OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC,
                Mode::empty(),
            );
            let entry = match entry {
                Ok(entry) => File::from(entry),
                Err(nix::errno::Errno::ENOENT) => continue,
                Err(e) => return Err(PlaceError::new("open", &path, e)),
            };
            let metadata = entry.metadata().map_err(|e| PlaceError::new("look at", &path, e))?;
            if metadata.is_dir() {
                let below = depth
                    .checked_sub(1)
                    .ok_or_else(|| PlaceError::refused(&path, "it lies too deep to be ours".into()))?;
                self.enter(&name)?.reown(from, uid, gid, left, below)?;
            } else if metadata.uid() == from && metadata.nlink() != 1 {
                let why = "it has a second name, which may lie elsewhere; remove one".to_owned();
                return Err(PlaceError::refused(&path, why));
            }
            if metadata.uid() == from {
                let (user, group) = (Uid::from_raw(uid), Gid::from_raw(gid));
                fchownat(&entry, "", Some(user), Some(group), AtFlags::AT_EMPTY_PATH)
                    .map_err(|e| PlaceError::new("set the owner of", &path, e))?;
            }
        }
        Ok(())
    }

    fn enter(&self, name: &OsStr) -> Result<Place, PlaceError> {
        let path = self.path.join(name);
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        match openat(&self.descriptor, name, flags, Mode::empty()) {
            Ok(descriptor) => Ok(Place { descriptor, path, parent_is_roots: self.owner()?.0 == 0 }),
            Err(e) => Err(PlaceError::new("use", &path, e)),
        }
    }

    fn entries(&self) -> Result<fs::ReadDir, PlaceError> {
        // The link in /proc leads to the open directory itself, whatever its path means now.
        fs::read_dir(format!("/proc/self/fd/{}", self.descriptor.as_fd().as_raw_fd()))
            .map_err(|e| PlaceError::new("read", &self.path, e))
    }
}
