//! Removing and measuring directory trees that applications, builds and archives wrote.
//!
//! A tree may be as deep and as wide as its disk allows, so nothing here recurses or holds a descriptor per level,
//! links are not followed and mounts not crossed. Removing keeps no names: level by level, subdirectories are moved
//! up into a holding directory at the top of the tree and emptied there. Nobody may write that tree any more;
//! whoever still does makes the removal fail, not stray. Measuring is for trees in use: it takes what it meets.

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, open, openat2, renameat};
use nix::sys::stat::{Mode, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::NonNull;

/// A file system may pass over entries while others are removed; each further reading finds them. One that still
/// has some after this many is being written to.
const READINGS_MAX: usize = 64;
/// Tries for a free name of the holding directory; what a removal that was cut off left is in the way at most.
const HOLDING_NAMES_MAX: u32 = 1 << 20;
/// A holding directory that had more entries than this is made anew: an emptied one keeps its size on some file
/// systems and is slow to read. Below that it is used again, because making and removing it is slow on others.
const HOLDING_ENTRIES_MAX: u64 = 1_000;
/// What an entry costs beside its blocks: a share of a directory and of the file system's inodes, of which there
/// is one for 16 KiB of disk on ext4.
const ENTRY_BYTES: u64 = 1024;
/// Names of directories that a measurement has still to visit. A hundred thousand side by side need some 4 MiB.
const PENDING_BYTES_MAX: usize = 16 * 1024 * 1024;
/// A path given to the kernel in one piece is shorter than 4,096 bytes.
const PATH_PIECE_BYTES: usize = 4_000;

/// Removes a directory with everything below it, or a file, or a link itself. A missing path is a success. A mount
/// point, at `path` or below, is an error; what lies on it is left alone, other parts may be gone by then. Holds
/// at most eight descriptors. The directories above `path` are trusted. Blocking.
pub fn remove(path: &Path) -> io::Result<()> {
    let name = path.file_name().ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidInput, "only what has a name in a directory can be removed")
    })?;
    let above = path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match open(above, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty()) {
        Ok(above) => remove_at(above.as_fd(), name),
        Err(Errno::ENOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// As `remove`, of one name in an open directory.
pub fn remove_at(directory: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    if name.is_empty() || name.as_bytes().contains(&b'/') || name == "." || name == ".." {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "this is not a name in a directory"));
    }
    let name = CString::new(name.as_bytes())?;
    if remove_simple(directory, &name)? {
        return Ok(());
    }
    let Some(top) = open_below(directory, &name)? else { return Ok(()) };
    remove_levels(top.as_fd())?;
    match unlinkat(directory, name.as_c_str(), UnlinkatFlags::RemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(error) => Err(explain(&name, error)),
    }
}

/// Empties `top`: what is at its own level first, then one level after the other, by turns in two holding
/// directories.
fn remove_levels(top: BorrowedFd<'_>) -> io::Result<()> {
    let mut level = Holding::new(top, &[])?;
    let mut next = Holding::new(top, std::slice::from_ref(&level.name))?;
    let own = [level.name.clone(), next.name.clone()];
    empty(top, &mut level, &own)?;
    while level.count > 0 {
        for _ in 0..READINGS_MAX {
            let mut names = Entries::of(level.directory.as_fd())?;
            let mut read = 0;
            while let Some(name) = names.next()? {
                read += 1;
                let Some(directory) = open_below(level.directory.as_fd(), name)? else { continue };
                empty(directory.as_fd(), &mut next, &[])?;
                unlinkat(&level.directory, name, UnlinkatFlags::RemoveDir).map_err(|e| explain(name, e))?;
            }
            if read == 0 {
                break;
            }
        }
        if level.count > HOLDING_ENTRIES_MAX {
            level.remove(top)?;
            level = Holding::new(top, std::slice::from_ref(&next.name))?;
        }
        level.count = 0;
        std::mem::swap(&mut level, &mut next);
    }
    level.remove(top)?;
    next.remove(top)
}

/// Removes the files of a directory and moves its subdirectories into `holding`, other than the holding ones.
fn empty(directory: BorrowedFd<'_>, holding: &mut Holding, kept: &[CString]) -> io::Result<()> {
    for _ in 0..READINGS_MAX {
        let mut entries = Entries::of(directory)?;
        let mut found = 0;
        while let Some(name) = entries.next()? {
            if kept.iter().any(|kept| kept.as_c_str() == name) {
                continue;
            }
            found += 1;
            if !remove_simple(directory, name)? {
                holding.take(directory, name)?;
            }
        }
        if found == 0 {
            return Ok(());
        }
    }
    Err(io::Error::new(io::ErrorKind::DirectoryNotEmpty, "files appear in it while it is removed"))
}

/// Removes one file or empty directory, wherever in the tree; false when there is none but what is kept at the top.
fn remove_one(top: BorrowedFd<'_>, kept: &[CString]) -> io::Result<bool> {
    let mut at = top.try_clone_to_owned()?;
    let mut kept = kept;
    loop {
        let mut entries = Entries::of(at.as_fd())?;
        let name = loop {
            match entries.next()? {
                Some(name) if kept.iter().any(|kept| kept.as_c_str() == name) => {}
                Some(name) => break name.to_owned(),
                None => return Ok(false),
            }
        };
        if remove_simple(at.as_fd(), &name)? {
            return Ok(true);
        }
        let Some(below) = open_below(at.as_fd(), &name)? else { return Ok(true) };
        at = below;
        kept = &[];
    }
}

/// Where the directories of one level are put, numbered. It lies right below the top.
struct Holding {
    name: CString,
    directory: OwnedFd,
    count: u64,
}

impl Holding {
    /// Where the disk has no room for it, something else of the tree goes first.
    fn new(top: BorrowedFd<'_>, kept: &[CString]) -> io::Result<Holding> {
        for number in 0..HOLDING_NAMES_MAX {
            let name = CString::new(format!(".removing-{number}"))?;
            match mkdirat(top, name.as_c_str(), Mode::S_IRWXU) {
                Ok(()) => {
                    let directory =
                        open_below(top, &name)?.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
                    return Ok(Holding { name, directory, count: 0 });
                }
                Err(Errno::EEXIST) => {}
                Err(Errno::ENOSPC | Errno::EDQUOT) if remove_one(top, kept)? => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(io::Error::new(io::ErrorKind::AlreadyExists, "every name of a holding directory is taken"))
    }

    fn take(&mut self, from: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
        let number = CString::new(self.count.to_string())?;
        renameat(from, name, &self.directory, number.as_c_str()).map_err(|error| explain(name, error))?;
        self.count += 1;
        Ok(())
    }

    fn remove(self, top: BorrowedFd<'_>) -> io::Result<()> {
        Ok(unlinkat(top, self.name.as_c_str(), UnlinkatFlags::RemoveDir)?)
    }
}

/// Removes a file, a link, a device or an empty directory. False: it is a directory with something in it.
fn remove_simple(directory: BorrowedFd<'_>, name: &CStr) -> io::Result<bool> {
    match unlinkat(directory, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => return Ok(true),
        Err(Errno::EISDIR) => {}
        Err(error) => return Err(explain(name, error)),
    }
    match unlinkat(directory, name, UnlinkatFlags::RemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => Ok(true),
        Err(Errno::ENOTEMPTY | Errno::EEXIST) => Ok(false),
        Err(error) => Err(explain(name, error)),
    }
}

/// Opens a subdirectory of the same mount; nothing when it is not there any more.
fn open_below(directory: BorrowedFd<'_>, name: &CStr) -> io::Result<Option<OwnedFd>> {
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_NO_XDEV | ResolveFlag::RESOLVE_NO_SYMLINKS);
    match openat2(directory, name, how) {
        Ok(opened) => Ok(Some(opened)),
        Err(Errno::ENOENT) => Ok(None),
        Err(error) => Err(explain(name, error)),
    }
}

fn explain(name: &CStr, error: Errno) -> io::Error {
    let error = io::Error::from(error);
    let name = name.to_string_lossy();
    let reason = match Errno::from_raw(error.raw_os_error().unwrap_or(0)) {
        Errno::EBUSY | Errno::EXDEV => {
            format!("'{name}' is a mount point; what is mounted there is left alone")
        }
        _ => format!("'{name}': {error}"),
    };
    io::Error::new(error.kind(), reason)
}

/// The way to each directory is walked anew, so that a chain of them costs the square of its length.
const MEASURED_PATH_BYTES_MAX: usize = 16 * 1024;

/// How much of a disk a tree takes, found out in as many steps as one likes.
pub struct Measure {
    top: OwnedFd,
    /// Relative to `top`, without an end slash.
    pending: Vec<Vec<u8>>,
    pending_bytes: usize,
    reading: Option<(Entries, Vec<u8>)>,
    bytes: u64,
    entries: u64,
}

impl Measure {
    /// Begins with the directory at `path`; the way there is trusted.
    pub fn begin(path: &Path) -> io::Result<Measure> {
        let top = open(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
        let reading = Some((Entries::of(top.as_fd())?, Vec::new()));
        Ok(Measure { top, pending: Vec::new(), pending_bytes: 0, reading, bytes: 0, entries: 0 })
    }

    /// Bytes that were found so far, in allocated blocks and some for each entry. A file with several names counts
    /// once for all of them.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Files, directories, links and all else that has a name, as far as it was seen.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// Looks at up to so many entries more; true when the whole tree was seen. What goes away meanwhile is passed
    /// over. An error: the tree has more directories than can be remembered, or cannot be read.
    pub fn go_on(&mut self, entries_max: usize) -> io::Result<bool> {
        for _ in 0..entries_max {
            let Some((entries, path)) = &mut self.reading else {
                let Some(path) = self.pending.pop() else { return Ok(true) };
                self.pending_bytes -= path.len();
                self.reading = open_path(self.top.as_fd(), &path)
                    .map(|directory| Entries::of(directory.as_fd()).map(|entries| (entries, path)))
                    .transpose()?;
                continue;
            };
            let fd = entries.fd;
            let Some(name) = entries.next()? else {
                self.reading = None;
                continue;
            };
            // SAFETY: the stream that owns it is open.
            let directory = unsafe { BorrowedFd::borrow_raw(fd) };
            let Ok(found) = fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW) else { continue };
            let is_directory = found.st_mode & libc::S_IFMT == libc::S_IFDIR;
            let names = if is_directory { 1 } else { found.st_nlink.max(1) };
            let blocks = u64::try_from(found.st_blocks).unwrap_or(0) * 512 / names;
            self.bytes = self.bytes.saturating_add(blocks + ENTRY_BYTES);
            self.entries += 1;
            if is_directory {
                let mut below = path.clone();
                if !below.is_empty() {
                    below.push(b'/');
                }
                below.extend_from_slice(name.to_bytes());
                if below.len() > MEASURED_PATH_BYTES_MAX {
                    return Err(io::Error::other(
                        "it has directories that are nested too deep to be measured",
                    ));
                }
                self.pending_bytes += below.len();
                self.pending.push(below);
                if self.pending_bytes > PENDING_BYTES_MAX {
                    return Err(io::Error::other("it has more directories than can be measured"));
                }
            }
        }
        Ok(self.reading.is_none() && self.pending.is_empty())
    }
}

/// Opens a directory of a tree in use by a path of any length; nothing when it is not there as it was any more.
fn open_path(top: BorrowedFd<'_>, path: &[u8]) -> Option<OwnedFd> {
    let mut at = None;
    let mut rest = path;
    while !rest.is_empty() {
        let end = match rest.len() {
            length if length <= PATH_PIECE_BYTES => length,
            _ => rest[..PATH_PIECE_BYTES].iter().rposition(|byte| *byte == b'/')?,
        };
        let piece = CString::new(&rest[..end]).ok()?;
        let from = at.as_ref().map_or(top, |fd: &OwnedFd| fd.as_fd());
        at = Some(open_below(from, &piece).ok()??);
        rest = rest.get(end + 1..).unwrap_or_default();
    }
    at
}

/// A directory's names, read a few kilobytes at a time, without `.` and `..`.
struct Entries {
    stream: NonNull<libc::DIR>,
    /// The stream's own.
    fd: RawFd,
}

// SAFETY: a stream may be used from any thread, by one at a time, which `&mut` sees to.
unsafe impl Send for Entries {}

impl Entries {
    /// Reads from the beginning, on a descriptor of its own.
    fn of(directory: BorrowedFd<'_>) -> io::Result<Entries> {
        // Not a duplicate of the descriptor: that would share its place.
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let own = nix::fcntl::openat(directory, c".", flags, Mode::empty())?.into_raw_fd();
        // SAFETY: the descriptor is open and given away here; on failure it is closed below.
        match NonNull::new(unsafe { libc::fdopendir(own) }) {
            Some(stream) => Ok(Entries { stream, fd: own }),
            None => {
                let error = io::Error::last_os_error();
                // SAFETY: nobody took it.
                unsafe { libc::close(own) };
                Err(error)
            }
        }
    }

    fn next(&mut self) -> io::Result<Option<&CStr>> {
        loop {
            Errno::clear();
            // SAFETY: the stream is open.
            let entry = unsafe { libc::readdir64(self.stream.as_ptr()) };
            if entry.is_null() {
                return match Errno::last_raw() {
                    0 => Ok(None),
                    code => Err(io::Error::from_raw_os_error(code)),
                };
            }
            // SAFETY: an entry's name ends with a zero byte and stays until the stream is next read or closed, which
            // takes this borrow's end.
            let name = unsafe { CStr::from_ptr((*entry).d_name.as_ptr()) };
            if name != c"." && name != c".." {
                return Ok(Some(name));
            }
        }
    }
}

impl Drop for Entries {
    fn drop(&mut self) {
        // SAFETY: open until here.
        unsafe { libc::closedir(self.stream.as_ptr()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::resource::{UsageWho, getrusage};
    use nix::sys::time::TimeValLike;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    struct Directory(PathBuf);
    impl Directory {
        fn new(name: &str) -> Directory {
            let path = std::env::temp_dir().join(format!("apron-tree-{}-{name}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Directory(path)
        }
    }
    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = remove(&self.0);
        }
    }

    /// A chain of directories, each with a file, deeper than a path can be.
    fn dig(top: &Path, depth: usize) {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut at = open(top, flags, Mode::empty()).unwrap();
        for _ in 0..depth {
            mkdirat(&at, "d", Mode::S_IRWXU).unwrap();
            at = nix::fcntl::openat(&at, "d", flags, Mode::empty()).unwrap();
            let write = OFlag::O_CREAT | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
            nix::fcntl::openat(&at, "f", write, Mode::S_IRUSR).unwrap();
        }
    }

    #[test]
    fn depth_does_not_matter() {
        let directory = Directory::new("deep");
        let tree = directory.0.join("tree");
        fs::create_dir(&tree).unwrap();
        dig(&tree, 30_000);
        // With the stack of a small thread, whose own time tells: a busy machine takes longer.
        let removing = std::thread::Builder::new().stack_size(64 * 1024).spawn({
            let tree = tree.clone();
            move || {
                remove(&tree).unwrap();
                let used = getrusage(UsageWho::RUSAGE_THREAD).unwrap();
                used.system_time().num_milliseconds() + used.user_time().num_milliseconds()
            }
        });
        let used_ms = removing.unwrap().join().unwrap();
        assert!(!tree.exists());
        assert!(used_ms < 10_000, "{used_ms} ms");
        println!("{used_ms} ms");
    }

    #[test]
    fn width_does_not_matter() {
        let directory = Directory::new("wide");
        let tree = directory.0.join("tree");
        for number in 0..3_000 {
            fs::create_dir_all(tree.join(format!("{number}/below/empty"))).unwrap();
            fs::write(tree.join(format!("{number}/below/file")), "").unwrap();
            fs::write(tree.join(format!("file-{number}")), "").unwrap();
        }
        dig(&tree.join("7"), 100);
        // Names that the removal itself would like to use.
        fs::create_dir_all(tree.join(".removing-0/0/1")).unwrap();
        fs::write(tree.join(".removing-1"), "").unwrap();
        remove(&tree).unwrap();
        assert!(fs::read_dir(&directory.0).unwrap().next().is_none());
    }

    #[test]
    fn links_are_removed_and_not_followed() {
        let directory = Directory::new("links");
        let (tree, outside) = (directory.0.join("tree"), directory.0.join("outside"));
        fs::create_dir_all(outside.join("kept")).unwrap();
        fs::create_dir_all(tree.join("a/b")).unwrap();
        for place in [tree.join("out"), tree.join("a/out"), tree.join("a/b/out")] {
            symlink(&outside, place).unwrap();
        }
        symlink("nowhere", tree.join("dangling")).unwrap();
        symlink(&tree, directory.0.join("to-tree")).unwrap();
        remove(&directory.0.join("to-tree")).unwrap();
        assert!(tree.join("a/b/out").is_symlink());
        remove(&tree).unwrap();
        assert!(!tree.exists() && outside.join("kept").is_dir());
    }

    #[test]
    fn what_is_missing_is_a_success_and_what_has_no_name_is_refused() {
        let directory = Directory::new("missing");
        remove(&directory.0.join("no")).unwrap();
        remove(&directory.0.join("no/such")).unwrap();
        fs::write(directory.0.join("file"), "").unwrap();
        remove(&directory.0.join("file")).unwrap();
        assert!(!directory.0.join("file").exists());
        for path in ["/", "..", "a/.."] {
            assert_eq!(remove(Path::new(path)).unwrap_err().kind(), io::ErrorKind::InvalidInput, "{path}");
        }
        let opened = fs::File::open(&directory.0).unwrap();
        for name in ["", ".", "..", "a/b"] {
            assert!(remove_at(opened.as_fd(), OsStr::new(name)).is_err(), "{name}");
        }
    }

    fn measure(path: &Path, step: usize) -> (u64, usize) {
        let mut measure = Measure::begin(path).unwrap();
        let mut steps = 1;
        while !measure.go_on(step).unwrap() {
            steps += 1;
        }
        (measure.bytes(), steps)
    }

    #[test]
    fn a_tree_is_measured_in_steps() {
        let directory = Directory::new("measure");
        assert_eq!(measure(&directory.0, 10), (0, 1));
        fs::create_dir_all(directory.0.join("a/b")).unwrap();
        fs::write(directory.0.join("a/b/one"), vec![1; 1 << 20]).unwrap();
        fs::hard_link(directory.0.join("a/b/one"), directory.0.join("a/two")).unwrap();
        symlink("/", directory.0.join("a/root")).unwrap();
        let sparse = fs::File::create(directory.0.join("sparse")).unwrap();
        sparse.set_len(1 << 30).unwrap();
        let (bytes, steps) = measure(&directory.0, 1);
        assert!(((1 << 20)..(1 << 20) + 64 * 1024).contains(&bytes), "{bytes}");
        assert!(steps > 6, "{steps}");
        assert_eq!(measure(&directory.0, 1_000), (bytes, 1));
        dig(&directory.0.join("a"), 5_000);
        let (deep, _) = measure(&directory.0, 1_000);
        assert!(deep >= bytes + 10_000 * ENTRY_BYTES, "{deep}");
        let deeper = Directory::new("measure-deeper");
        dig(&deeper.0, 9_000);
        let error = Measure::begin(&deeper.0).unwrap().go_on(100_000).unwrap_err().to_string();
        assert!(error.contains("nested too deep"), "{error}");
        // What is removed while it is measured is no error.
        let mut begun = Measure::begin(&directory.0).unwrap();
        assert!(!begun.go_on(5).unwrap());
        remove(&directory.0.join("a")).unwrap();
        assert!(begun.go_on(1_000).unwrap());
    }

    /// Needs root, for the mounts, which are made where only this thread sees them.
    #[test]
    fn mounts_are_not_crossed() {
        use nix::mount::{MsFlags, mount};
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        for place in ["a/b/there", "there"] {
            let directory = Directory::new("mounts");
            let (tree, other) = (directory.0.join("tree"), directory.0.join("other"));
            let there = tree.join(place);
            fs::create_dir_all(&there).unwrap();
            fs::create_dir(&other).unwrap();
            fs::write(other.join("kept"), "").unwrap();
            let (tree_of_thread, other_of_thread) = (tree.clone(), other.clone());
            let thread = std::thread::spawn(move || {
                nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
                let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
                mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
                // Of the same file system, so that its number does not tell.
                mount(Some(&other_of_thread), &there, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
                for path in [&there, &tree_of_thread] {
                    let error = remove(path).unwrap_err().to_string();
                    assert!(error.contains("'there' is a mount point"), "{error}");
                }
            });
            thread.join().unwrap();
            assert!(other.join("kept").exists());
            remove(&tree).unwrap();
            assert!(!tree.exists());
        }
    }
}
