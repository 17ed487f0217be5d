//! Repositories of this machine, `file://`: which may be read, and how root gets hold of one.
//!
//! The address comes from whoever may call the API, the file system is the operator's. So only what lies below
//! the directories that the operator named is opened, once, without following links; that descriptor is what the
//! clone's container gets, whatever the names lead to by then.

use super::BuildError;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::{Mode, SFlag, fstatat};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

/// The directory with the repository's objects; the only one of the host that a clone gets to see.
#[derive(Debug)]
pub(super) struct Repository(OwnedFd);

impl Repository {
    /// Opens the repository of `file://<path>`; `shown` is the whole address. Blocking.
    pub(super) fn open(roots: &[PathBuf], path: &Path, shown: &str) -> Result<Repository, BuildError> {
        if roots.is_empty() {
            return Err(BuildError::input(
                "file:// repositories are off; allow directories with `--source-root` or `source_roots` in the configuration",
            ));
        }
        let plain = |component: Component<'_>| matches!(component, Component::RootDir | Component::Normal(_));
        if !path.is_absolute() || !path.components().all(plain) {
            return Err(BuildError::input(format!("{shown} does not name an absolute path")));
        }
        let below = roots.iter().find_map(|root| Some((root, path.strip_prefix(root).ok()?)));
        let Some((root, relative)) = below else {
            return Err(BuildError::input(format!(
                "{shown} lies in none of the directories that `--source-root` or `source_roots` in the configuration allows"
            )));
        };
        let io = |error: nix::Error| BuildError::Io { path: path.to_owned(), source: error.into() };
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let root = open(root, flags, Mode::empty())
            .map_err(|error| BuildError::Io { path: root.to_owned(), source: io::Error::from(error) })?;
        let relative = if relative.as_os_str().is_empty() { Path::new(".") } else { relative };
        let directory = match open_below(&root, relative) {
            Ok(directory) => directory,
            Err(nix::Error::ENOENT | nix::Error::ENOTDIR) => {
                let reason = format!("the repository {shown} does not exist on this machine");
                return Err(BuildError::input(reason));
            }
            Err(nix::Error::ELOOP | nix::Error::EXDEV) => {
                let reason = format!("{shown} goes through a symbolic link; give the path that it leads to");
                return Err(BuildError::input(reason));
            }
            Err(error) => return Err(io(error)),
        };
        for found in [open_below(&directory, Path::new(".git")).ok(), Some(directory)].into_iter().flatten() {
            let is = |name: &str, kind: SFlag| {
                fstatat(&found, name, AtFlags::AT_SYMLINK_NOFOLLOW)
                    .is_ok_and(|status| SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT == kind)
            };
            if is("HEAD", SFlag::S_IFREG) && is("objects", SFlag::S_IFDIR) && is("refs", SFlag::S_IFDIR) {
                return Ok(Repository(found));
            }
        }
        Err(BuildError::input(format!("{shown} is a directory but not a git repository")))
    }

    /// Where another process of root finds it, for as long as the descriptor is open.
    pub(super) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd()))
    }

    pub(super) fn into_descriptor(self) -> OwnedFd {
        self.0
    }
}

fn open_below(directory: &OwnedFd, path: &Path) -> nix::Result<OwnedFd> {
    let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC).resolve(
        ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS,
    );
    openat2(directory, path, how)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    struct Directory(PathBuf);
    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = apron_images::tree::remove(&self.0);
        }
    }

    fn check(roots: &[PathBuf], path: &Path) -> String {
        match Repository::open(roots, path, "x") {
            Ok(found) => fs::read_link(found.path()).unwrap().display().to_string(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn only_repositories_below_the_roots_are_opened() {
        let top = std::env::temp_dir().join(format!("apron-repository-{}", std::process::id()));
        let _directory = Directory(top.clone());
        let make = |dir: &Path| {
            fs::create_dir_all(dir.join("objects")).unwrap();
            fs::create_dir_all(dir.join("refs")).unwrap();
            fs::write(dir.join("HEAD"), "ref: refs/heads/main\n").unwrap();
        };
        let (root, bare, tree) = (top.join("root"), top.join("root/a.git"), top.join("root/b"));
        make(&bare);
        make(&tree.join(".git"));
        make(&top.join("outside.git"));
        fs::create_dir_all(root.join("empty")).unwrap();
        symlink(top.join("outside.git"), root.join("out.git")).unwrap();
        symlink(&bare, root.join("in.git")).unwrap();
        fs::create_dir_all(root.join("c")).unwrap();
        symlink(top.join("outside.git"), root.join("c/.git")).unwrap();
        let roots = [top.join("other"), root.clone()];

        assert!(
            check(&[], &bare)
                .contains("file:// repositories are off; allow directories with `--source-root`")
        );
        assert_eq!(check(&roots, &bare), bare.display().to_string());
        assert_eq!(check(&roots, &tree), tree.join(".git").display().to_string());
        assert_eq!(check(std::slice::from_ref(&bare), &bare), bare.display().to_string(), "a root itself");
        for (path, part) in [
            (top.join("outside.git"), "none of the directories"),
            (root.join("../outside.git"), "absolute path"),
            (PathBuf::from("a"), "absolute path"),
            (root.join("absent"), "does not exist"),
            (root.join("a.git/HEAD"), "does not exist"),
            (root.join("out.git"), "symbolic link"),
            (root.join("in.git"), "symbolic link"),
            (root.join("out.git/refs"), "symbolic link"),
            (root.join("c"), "not a git repository"),
            (root.join("empty"), "not a git repository"),
        ] {
            let said = check(&roots, &path);
            assert!(said.contains(part), "{}: {said}", path.display());
        }
        // A name of the root's beginning is not below it.
        make(&top.join("root-2"));
        assert!(check(&roots, &top.join("root-2")).contains("none of the directories"));
    }
}
