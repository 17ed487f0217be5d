//! Room on a disk: whoever brings an image stops while there is still some, so that those who serve can write.

use apron_model::limits::{DISK_FREE_FLOOR_BYTES, DISK_FREE_FLOOR_FILES, DISK_FREE_FLOOR_PERCENT};
use nix::sys::statvfs::{Statvfs, fstatvfs, statvfs};
use serde::{Deserialize, Serialize};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// Between two looks at a disk that is being written to: a tenth of a second's work.
pub(crate) const LOOK_BYTES: u64 = 32 * 1024 * 1024;

/// There is less room than must stay free.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Shortage {
    #[error(
        "the disk that holds {path} has {} MiB free{}, and {} MiB must stay free",
        free_bytes >> 20, needed(*wanted_bytes), floor_bytes >> 20
    )]
    Bytes { path: PathBuf, free_bytes: u64, wanted_bytes: u64, floor_bytes: u64 },
    #[error("the disk that holds {path} has room for {free} more files, and room for {floor} must stay")]
    Files { path: PathBuf, free: u64, floor: u64 },
}

fn needed(wanted_bytes: u64) -> String {
    match wanted_bytes {
        0 => String::new(),
        _ => format!(", {} MiB more are needed", wanted_bytes.div_ceil(1 << 20)),
    }
}

impl Shortage {
    /// The same of a directory that has another name elsewhere.
    pub(crate) fn of(self, path: PathBuf) -> Shortage {
        match self {
            Shortage::Bytes { free_bytes, wanted_bytes, floor_bytes, .. } => {
                Shortage::Bytes { path, free_bytes, wanted_bytes, floor_bytes }
            }
            Shortage::Files { free, floor, .. } => Shortage::Files { path, free, floor },
        }
    }
}

/// Why so many more bytes must not be written to the disk of this open file or directory, which `path` names for
/// people; None when they may.
pub(crate) fn shortage(file: impl AsFd, path: &Path, wanted_bytes: u64) -> Option<Shortage> {
    // A disk that does not answer fails the write itself, which says more.
    judge(&fstatvfs(file).ok()?, path, wanted_bytes)
}

/// Like `shortage`, by the directory's name.
pub fn shortage_at(path: &Path, wanted_bytes: u64) -> Option<Shortage> {
    judge(&statvfs(path).ok()?, path, wanted_bytes)
}

fn judge(found: &Statvfs, path: &Path, wanted_bytes: u64) -> Option<Shortage> {
    Room::from(found).shortage(path, wanted_bytes)
}

/// What a file system has for those who are not root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    pub free_bytes: u64,
    pub total_bytes: u64,
    pub free_files: u64,
    /// 0 of one that does not count them.
    pub total_files: u64,
}

/// What must stay free on a file system; see `limits::DISK_FREE_FLOOR_BYTES`.
pub struct Floor {
    pub bytes: u64,
    pub files: u64,
}

impl From<&Statvfs> for Room {
    fn from(found: &Statvfs) -> Room {
        let unit = found.fragment_size();
        Room {
            free_bytes: found.blocks_available().saturating_mul(unit),
            total_bytes: found.blocks().saturating_mul(unit),
            free_files: found.files_available(),
            total_files: found.files(),
        }
    }
}

impl Room {
    /// Of the file system that holds `path`.
    ///
    /// # Errors
    /// As the kernel has them: nothing is there, or the file system does not answer.
    pub fn of(path: &Path) -> io::Result<Room> {
        Ok(Room::from(&statvfs(path)?))
    }

    pub fn floor(&self) -> Floor {
        let part = |total: u64| total / 100 * DISK_FREE_FLOOR_PERCENT;
        Floor {
            bytes: part(self.total_bytes).min(DISK_FREE_FLOOR_BYTES),
            files: part(self.total_files).min(DISK_FREE_FLOOR_FILES),
        }
    }

    fn shortage(&self, path: &Path, wanted_bytes: u64) -> Option<Shortage> {
        let (path, floor) = (path.to_owned(), self.floor());
        if self.free_bytes < floor.bytes.saturating_add(wanted_bytes) {
            let (free_bytes, floor_bytes) = (self.free_bytes, floor.bytes);
            return Some(Shortage::Bytes { path, free_bytes, wanted_bytes, floor_bytes });
        }
        (self.free_files < floor.files).then_some(Shortage::Files {
            path,
            free: self.free_files,
            floor: floor.files,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_must_stay_free() {
        const GIB: u64 = 1 << 30;
        let path = Path::new("/data");
        let room = Room { free_bytes: 3 * GIB, total_bytes: 100 * GIB, free_files: 500, total_files: 10_000 };
        assert_eq!(room.shortage(path, 2 * GIB), None);
        let told = room.shortage(path, 2 * GIB + 1).unwrap().to_string();
        assert_eq!(
            told,
            "the disk that holds /data has 3072 MiB free, 2049 MiB more are needed, and 1024 MiB must stay free"
        );
        let small = Room { total_bytes: 10 * GIB, free_bytes: GIB / 2, ..room };
        assert_eq!(small.shortage(path, 0), None, "a small disk is not full because it is small");
        let files = Room { free_files: 399, ..small };
        let told = files.shortage(path, 0).unwrap().to_string();
        assert_eq!(told, "the disk that holds /data has room for 399 more files, and room for 400 must stay");
        assert_eq!(Room { free_files: 0, total_files: 0, ..files }.shortage(path, 0), None);
        assert_eq!(shortage_at(Path::new("/nonexistent"), u64::MAX), None);
        assert!(shortage_at(Path::new("/"), u64::MAX).is_some());
    }
}
