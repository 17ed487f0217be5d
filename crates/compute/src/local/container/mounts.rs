//! Mounts of one container's launch, made in a mount namespace of its own: id-mapped layers and the overlay on
//! them, on a stage that shows nothing else of the host.
//!
//! The stage is a small tmpfs with `/proc`, `/sys` and `/dev` of the host, which becomes the root of the launching
//! process. So the container's file system lies below directories that its user may enter, whatever the mode
//! of the data directory, and there is no host file to get back to.

use crate::local::container::cgroup::Shown;
use nix::fcntl::OFlag;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::Mode;
use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The kernel takes no more lower directories.
pub(crate) const LAYERS_MAX: usize = 500;
/// What the container writes, and what the overlay needs beside it, below the instance's directory.
pub(crate) const UPPER: &str = "upper";
pub(crate) const WORK: &str = "work";
/// What the stage holds besides mounts: generated files and the runtime's own few.
const STAGE_OPTIONS: &str = "mode=0755,size=16m,nr_inodes=4096";

#[derive(Debug, thiserror::Error)]
pub(crate) enum MountError {
    #[error("cannot {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("the image has {0} layers; at most {LAYERS_MAX} can be stacked")]
    TooManyLayers(usize),
    /// The kernel or the data directory's file system is too old for id-mapped mounts.
    #[error(
        "{} cannot be mounted with other owners ({source}): Linux 5.19 or newer is needed, and a data directory \
         on ext4, xfs, btrfs or tmpfs",
        path.display()
    )]
    IdMapping { path: PathBuf, source: io::Error },
    #[error("the overlay file system cannot be mounted: {source} (is the kernel module \"overlay\" there?)")]
    Overlay { source: io::Error },
}

/// Leaves the host's mount namespace. The answer leads back to it.
pub(crate) fn leave_host() -> Result<OwnedFd, MountError> {
    let path = Path::new("/proc/self/ns/mnt");
    let host = fs::File::open(path).map_err(|source| io_error("open", path, source))?;
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS)
        .map_err(|error| io_error("leave", path, error.into()))?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>)
        .map_err(|error| io_error("make private", Path::new("/"), error.into()))?;
    Ok(host.into())
}

/// Back to where `leave_host` was called; what was mounted since goes with its last user.
pub(crate) fn return_to_host(host: &OwnedFd) -> Result<(), MountError> {
    nix::sched::setns(host, nix::sched::CloneFlags::CLONE_NEWNS)
        .map_err(|error| io_error("return to", Path::new("the host's mount namespace"), error.into()))
}

/// Mounts the stage at `at` and gives it the host's kernel file systems.
pub(crate) fn stage(at: &Path) -> Result<(), MountError> {
    mount(Some("stage"), at, Some("tmpfs"), MsFlags::empty(), Some(STAGE_OPTIONS))
        .map_err(|error| io_error("mount a tmpfs on", at, error.into()))?;
    for name in
        ["rootfs", "layers", "mounts", "files", "bundle", "state", "tmp", "host", "instance", "cgroup"]
    {
        let path = at.join(name);
        fs::create_dir(&path).map_err(|source| io_error("make", &path, source))?;
    }
    for name in ["proc", "sys", "dev"] {
        let path = at.join(name);
        fs::create_dir(&path).map_err(|source| io_error("make", &path, source))?;
        let from = Path::new("/").join(name);
        mount(Some(&from), &path, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)
            .map_err(|error| io_error("bind", &from, error.into()))?;
    }
    Ok(())
}

/// Whether the kernel has a file system of this kind; its module is loaded when there is one.
pub(crate) fn knows_file_system(name: &std::ffi::CStr) -> io::Result<bool> {
    // SAFETY: the name ends with a zero byte.
    let fd = unsafe { libc::syscall(libc::SYS_fsopen, name.as_ptr(), 0) };
    if fd >= 0 {
        // SAFETY: the kernel just gave it to us.
        drop(unsafe { OwnedFd::from_raw_fd(fd as i32) });
        return Ok(true);
    }
    match io::Error::last_os_error() {
        error if error.raw_os_error() == Some(libc::ENODEV) => Ok(false),
        error => Err(error),
    }
}

/// Makes the stage the root of this process and takes the host's off.
pub(crate) fn enter_stage(at: &Path) -> Result<(), MountError> {
    let failed = |action| move |error: nix::Error| io_error(action, at, error.into());
    nix::unistd::pivot_root(at, &at.join("host")).map_err(failed("pivot into"))?;
    nix::unistd::chdir("/").map_err(failed("enter"))?;
    umount2("/host", MntFlags::MNT_DETACH).map_err(failed("take the host off"))
}

/// A file or a directory, mounted nowhere yet.
pub(crate) fn open_source(source: &Path) -> Result<OwnedFd, MountError> {
    open_tree(source).map_err(|error| io_error("open", source, error))
}

/// Mounts an opened source on `target` so that the ids of `user_namespace` are the ids on disk.
pub(crate) fn mount_mapped(
    tree: &OwnedFd,
    source: &Path,
    target: &Path,
    user_namespace: BorrowedFd<'_>,
    read_only: bool,
) -> Result<(), MountError> {
    let mut set = libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_IDMAP;
    if read_only {
        set |= libc::MOUNT_ATTR_RDONLY;
    }
    set_attributes(tree, set, Some(user_namespace))
        .map_err(|error| MountError::IdMapping { path: source.to_path_buf(), source: error })?;
    move_mount(tree, target).map_err(|error| io_error("mount on", target, error))
}

/// Puts the container's own cgroup on the stage, read-only.
pub(crate) fn show_cgroup(stage: &Path, shown: &Shown) -> Result<(), MountError> {
    let place = stage.join("cgroup");
    for (name, directory) in &shown.directories {
        let at = place.join(name);
        if !name.is_empty() {
            fs::create_dir(&at).map_err(|source| io_error("make", &at, source))?;
        }
        let tree = open_source(directory)?;
        let set = libc::MOUNT_ATTR_RDONLY
            | libc::MOUNT_ATTR_NODEV
            | libc::MOUNT_ATTR_NOSUID
            | libc::MOUNT_ATTR_NOEXEC;
        set_attributes(&tree, set, None).map_err(|error| io_error("make read-only", directory, error))?;
        move_mount(&tree, &at).map_err(|error| io_error("mount on", &at, error))?;
    }
    for (name, target) in &shown.links {
        let at = place.join(name);
        std::os::unix::fs::symlink(target, &at).map_err(|source| io_error("make", &at, source))?;
    }
    Ok(())
}

/// Binds the file of a namespace, which may lie where the container's user cannot look, to a file on the stage.
pub(crate) fn hold_namespace(from: &Path, to: &Path) -> Result<(), MountError> {
    fs::write(to, "").map_err(|source| io_error("make", to, source))?;
    mount(Some(from), to, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .map_err(|error| io_error("bind", from, error.into()))
}

/// Mounts the overlay of the layers (lowest first) and `<directory>/upper`, which is written, on
/// `<stage>/rootfs`.
pub(crate) fn overlay(
    stage: &Path,
    layers: &[PathBuf],
    directory: &Path,
    user_namespace: BorrowedFd<'_>,
) -> Result<(), MountError> {
    if layers.is_empty() || layers.len() > LAYERS_MAX {
        return Err(MountError::TooManyLayers(layers.len()));
    }
    let instance = stage.join("instance");
    mount(Some(directory), &instance, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .map_err(|error| io_error("bind", directory, error.into()))?;
    // Relative names: the kernel takes one page of options, and a data directory may hold commas and colons.
    let directory = stage.join("layers");
    let before = std::env::current_dir().map_err(|source| io_error("leave", &directory, source))?;
    nix::unistd::chdir(&directory).map_err(|error| io_error("enter", &directory, error.into()))?;
    let mut names = Vec::with_capacity(layers.len());
    for (index, layer) in layers.iter().enumerate() {
        let name = index.to_string();
        fs::create_dir(&name).map_err(|source| io_error("make", &directory, source))?;
        mount_mapped(&open_source(layer)?, layer, Path::new(&name), user_namespace, true)?;
        names.push(name);
    }
    // The uppermost layer is named first.
    names.reverse();
    let options = overlay_options(&names);
    let flags = MsFlags::MS_NODEV | MsFlags::MS_NOSUID;
    mount(Some("overlay"), "../rootfs", Some("overlay"), flags, Some(options.as_str()))
        .map_err(|error| MountError::Overlay { source: error.into() })?;
    nix::unistd::chdir(&before).map_err(|error| io_error("enter", &before, error.into()))?;
    umount2(&instance, MntFlags::MNT_DETACH).map_err(|error| io_error("unmount", &instance, error.into()))
}

/// Volatile: what a container writes outside of volumes is gone with it, so nobody needs it on the disk, and the
/// whole disk need not be written out when the container ends.
fn overlay_options(lower: &[String]) -> String {
    let lower = lower.join(":");
    format!("lowerdir={lower},upperdir=../instance/{UPPER},workdir=../instance/{WORK},volatile")
}

// The calls below have no wrappers in the libraries we use.

fn open_tree(path: &Path) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC;
    // SAFETY: the path ends with a zero byte and outlives the call.
    descriptor(unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) })
}

fn set_attributes(tree: &OwnedFd, set: u64, user_namespace: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: set,
        attr_clr: 0,
        propagation: libc::MS_PRIVATE,
        userns_fd: user_namespace.map_or(0, |namespace| namespace.as_raw_fd() as u64),
    };
    // SAFETY: the structure is ours and its size is given.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &attributes as *const libc::mount_attr,
            size_of::<libc::mount_attr>(),
        )
    };
    nothing(result)
}

fn move_mount(from: &OwnedFd, to: &Path) -> io::Result<()> {
    const MOVE_MOUNT_F_EMPTY_PATH: libc::c_uint = 4;
    let to = c_path(to)?;
    // SAFETY: both paths end with a zero byte and outlive the call.
    nothing(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            from.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_FDCWD,
            to.as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH,
        )
    })
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| io::ErrorKind::InvalidInput.into())
}

fn descriptor(result: libc::c_long) -> io::Result<OwnedFd> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just gave it to us.
    Ok(unsafe { OwnedFd::from_raw_fd(result as i32) })
}

fn nothing(result: libc::c_long) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn io_error(action: &'static str, path: &Path, source: io::Error) -> MountError {
    MountError::Io { action, path: path.to_path_buf(), source }
}

/// Opens a directory for use as a root with `rootfs`.
pub(crate) fn open_directory(path: &Path) -> Result<OwnedFd, MountError> {
    nix::fcntl::open(path, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
        .map_err(|error| io_error("open", path, error.into()))
}

/// The file of a namespace.
pub(crate) fn open_namespace(path: &Path) -> Result<OwnedFd, MountError> {
    fs::File::open(path).map(OwnedFd::from).map_err(|source| io_error("open", path, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Needs root.
    #[test]
    fn file_systems_of_the_kernel_are_known() {
        assert!(knows_file_system(c"overlay").unwrap());
        assert!(!knows_file_system(c"no-such-kind").unwrap());
    }

    #[test]
    fn options_of_many_layers_fit_a_page() {
        let names: Vec<String> = (0..LAYERS_MAX).map(|index| index.to_string()).collect();
        assert!(overlay_options(&names).len() < 4096);
    }
}
