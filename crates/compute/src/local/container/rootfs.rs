//! Looking into a container's root directory from outside, without following its links out of it, and what an
//! image says of its users.

use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{Gid, Uid, fchownat};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::{Component, Path};

/// `/etc/passwd` and `/etc/group` of an image; the largest real ones have some thousand lines.
const ACCOUNTS_BYTES_MAX: usize = 1024 * 1024;
/// The kernel's own bound for supplementary groups.
const GROUPS_MAX: usize = 65_536;

#[derive(Debug, thiserror::Error)]
pub enum RootfsError {
    #[error("cannot {action} {path} in the container's file system: {source}")]
    Io { action: &'static str, path: String, source: io::Error },
    #[error("{path} in the container's file system is not a regular file")]
    NotAFile { path: String },
    #[error("{path} in the container's file system has more than {bytes_max} bytes")]
    TooLarge { path: String, bytes_max: usize },
    /// What the image or its user said does not fit the image.
    #[error("{0}")]
    User(String),
}

/// Opens a path as the container would see it: links, also absolute ones and `..`, resolve inside the root.
pub fn open_in_root(root: BorrowedFd<'_>, path: &Path, flags: OFlag) -> Result<File, RootfsError> {
    let how = OpenHow::new()
        .flags(flags | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    openat2(root, path, how).map(File::from).map_err(|error| io_error("open", path, error))
}

/// Reads a regular file below `root`. A missing one is nothing; devices, pipes and too large files are errors.
pub fn read_in_root(root: &Path, path: &str, bytes_max: usize) -> Result<Option<String>, RootfsError> {
    let root = File::open(root).map_err(|source| RootfsError::Io {
        action: "open",
        path: "/".to_owned(),
        source,
    })?;
    read_at(root.as_fd(), path, bytes_max)
}

fn read_at(root: BorrowedFd<'_>, path: &str, bytes_max: usize) -> Result<Option<String>, RootfsError> {
    // Without O_NONBLOCK a named pipe would hold us until somebody writes to it.
    let file = match open_in_root(root, Path::new(path), OFlag::O_RDONLY | OFlag::O_NONBLOCK) {
        Ok(file) => file,
        Err(RootfsError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(other) => return Err(other),
    };
    let failed = |source| RootfsError::Io { action: "read", path: path.to_owned(), source };
    let kind = file.metadata().map_err(failed)?.file_type();
    if !kind.is_file() || kind.is_fifo() {
        return Err(RootfsError::NotAFile { path: path.to_owned() });
    }
    let mut bytes = Vec::new();
    file.take(bytes_max as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > bytes_max {
        return Err(RootfsError::TooLarge { path: path.to_owned(), bytes_max });
    }
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// Makes a directory and those above it where they are missing, owned by `owner`. Existing parts may be links.
pub(crate) fn make_directory(
    root: BorrowedFd<'_>,
    path: &Path,
    owner: (Uid, Gid),
) -> Result<(), RootfsError> {
    let mut at = open_in_root(root, Path::new("."), OFlag::O_PATH | OFlag::O_DIRECTORY)?;
    let mut so_far = std::path::PathBuf::from("/");
    for part in path.components() {
        let Component::Normal(name) = part else { continue };
        so_far.push(name);
        match mkdirat(&at, name, Mode::from_bits_truncate(0o755)) {
            Ok(()) => fchownat(&at, name, Some(owner.0), Some(owner.1), AtFlags::AT_SYMLINK_NOFOLLOW)
                .map_err(|error| io_error("change the owner of", &so_far, error))?,
            Err(nix::Error::EEXIST) => {}
            Err(error) => return Err(io_error("make", &so_far, error)),
        }
        at = open_in_root(root, &so_far, OFlag::O_PATH | OFlag::O_DIRECTORY)?;
    }
    Ok(())
}

/// Whom a container's process runs as: ids inside the container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct User {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    pub home: String,
}

/// Reads an image's `User` (nothing, a name or an id, with a group after a colon) by the image's own accounts.
pub(crate) fn user(root: BorrowedFd<'_>, text: &str) -> Result<User, RootfsError> {
    let passwd = read_at(root, "/etc/passwd", ACCOUNTS_BYTES_MAX)?.unwrap_or_default();
    let group = read_at(root, "/etc/group", ACCOUNTS_BYTES_MAX)?.unwrap_or_default();
    resolve_user(text, &passwd, &group)
}

fn resolve_user(text: &str, passwd: &str, group: &str) -> Result<User, RootfsError> {
    let (user_text, group_text) =
        text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
    let user_text = if user_text.is_empty() { "0" } else { user_text };

    let number = user_text.parse::<u32>().ok();
    let account = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| {
        let by_name = fields.first() == Some(&user_text);
        let by_number = number.is_some() && fields.get(2).and_then(|id| id.parse().ok()) == number;
        fields.len() >= 6 && (by_name || by_number)
    });
    let field = |index: usize| account.as_ref().and_then(|fields| fields.get(index)).copied();
    let uid = field(2).and_then(|id| id.parse().ok()).or(number).ok_or_else(|| {
        RootfsError::User(format!("the image's user \"{user_text}\" is not in its /etc/passwd"))
    })?;

    let mut resolved = User { uid, gid: 0, groups: Vec::new(), home: "/".to_owned() };
    if let Some(home) = field(5).filter(|home| home.starts_with('/')) {
        resolved.home = home.to_owned();
    } else if uid == 0 {
        resolved.home = "/root".to_owned();
    }
    match group_text {
        Some(name) => resolved.gid = resolve_group(name, group)?,
        None => {
            resolved.gid = field(3).and_then(|id| id.parse().ok()).unwrap_or(0);
            if let Some(name) = field(0) {
                resolved.groups = groups_of(name, group);
            }
        }
    }
    let largest = resolved.groups.iter().copied().chain([resolved.uid, resolved.gid]).max().unwrap_or(0);
    if largest >= crate::local::container::pair::IDS {
        return Err(RootfsError::User(format!(
            "user \"{text}\" has the id {largest}; a container has the ids 0 to {}",
            crate::local::container::pair::IDS - 1
        )));
    }
    Ok(resolved)
}

fn resolve_group(name: &str, group: &str) -> Result<u32, RootfsError> {
    let found =
        group.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|f| f.first() == Some(&name));
    let id = found.and_then(|fields| fields.get(2)?.parse().ok()).or_else(|| name.parse().ok());
    id.ok_or_else(|| RootfsError::User(format!("the image's group \"{name}\" is not in its /etc/group")))
}

fn groups_of(user: &str, group: &str) -> Vec<u32> {
    let lines = group.lines().map(|line| line.split(':').collect::<Vec<_>>());
    lines
        .filter(|fields| fields.get(3).is_some_and(|members| members.split(',').any(|name| name == user)))
        .filter_map(|fields| fields[2].parse().ok())
        .take(GROUPS_MAX)
        .collect()
}

fn io_error(action: &'static str, path: &Path, error: nix::Error) -> RootfsError {
    RootfsError::Io { action, path: path.display().to_string(), source: error.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1001::/srv:/bin/sh\nshort:x:3\n";
    const GROUP: &str = "root:x:0:\nweb:x:1001:\naudio:x:29:web,other\nvideo:x:44:web\n";

    fn resolve(text: &str) -> Result<(u32, u32, Vec<u32>, String), String> {
        resolve_user(text, PASSWD, GROUP)
            .map(|user| (user.uid, user.gid, user.groups, user.home))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn users_are_resolved_by_the_images_accounts() {
        assert_eq!(resolve(""), Ok((0, 0, vec![], "/root".into())));
        assert_eq!(resolve("web"), Ok((1000, 1001, vec![29, 44], "/srv".into())));
        assert_eq!(resolve("1000"), Ok((1000, 1001, vec![29, 44], "/srv".into())));
        assert_eq!(resolve("web:audio"), Ok((1000, 29, vec![], "/srv".into())));
        assert_eq!(resolve("77:78"), Ok((77, 78, vec![], "/".into())));
        assert_eq!(resolve("77"), Ok((77, 0, vec![], "/".into())));
        assert_eq!(resolve("foo").unwrap_err(), "the image's user \"foo\" is not in its /etc/passwd");
        assert_eq!(resolve("web:bar").unwrap_err(), "the image's group \"bar\" is not in its /etc/group");
        assert!(resolve("70000").unwrap_err().contains("0 to 65535"));
        assert_eq!(resolve_user("", "", "").unwrap().home, "/root");
    }

    struct Directory(PathBuf);
    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn links_stay_inside_the_root() {
        let root = std::env::temp_dir().join(format!("apron-rootfs-{}", std::process::id()));
        let _guard = Directory(root.clone());
        fs::create_dir_all(root.join("etc")).unwrap();
        fs::write(root.join("etc/real"), "inside").unwrap();
        symlink("/etc/real", root.join("absolute")).unwrap();
        symlink("../../../../../../etc/passwd", root.join("etc/up")).unwrap();
        symlink("/etc", root.join("work")).unwrap();
        let read = |path: &str, max| read_in_root(&root, path, max).map_err(|error| error.to_string());
        assert_eq!(read("/absolute", 6), Ok(Some("inside".into())));
        assert_eq!(read("etc/up", 100), Ok(None));
        assert!(read("/absolute", 5).unwrap_err().contains("more than 5 bytes"));
        assert!(read("/etc", 5).unwrap_err().contains("not a regular file"));
        nix::unistd::mkfifo(&root.join("pipe"), Mode::S_IRUSR).unwrap();
        assert!(read("/pipe", 5).unwrap_err().contains("not a regular file"));

        let opened = File::open(&root).unwrap();
        let owner = (nix::unistd::getuid(), nix::unistd::getgid());
        make_directory(opened.as_fd(), Path::new("/work/a/b"), owner).unwrap();
        make_directory(opened.as_fd(), Path::new("/work/a/b"), owner).unwrap();
        assert!(root.join("etc/a/b").is_dir());
    }
}
