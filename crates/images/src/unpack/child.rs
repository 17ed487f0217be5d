//! The unpacking child: three processes in a row, each with less.
//!
//! The first is root on the host and reads nothing of the archive; it writes the second's id maps and sets
//! the one attribute that takes a capability of the host. The second unshares the namespaces. The third is
//! process 1 of a pid namespace, pivoted into the target, and reads the archive.

use super::members::{Refusal, unpack_members};
use super::{Answer, Request};
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, chdir, fork, pipe, pivot_root, setgroups};
use serde::{Deserialize, Serialize};
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

/// Ids that a layer's files may have: those that an instance has.
const IDS: u32 = 65_536;

/// What the third process tells the first.
#[derive(Serialize, Deserialize)]
struct Report {
    answer: Answer,
    /// Directories, from the target, to be marked opaque.
    opaque: Vec<Vec<u8>>,
}

/// The role's entry: reads a request on standard input, answers on standard output, ends the process.
/// Call it before any thread exists.
pub fn child_main() -> ! {
    let answer = match serve() {
        Ok(answer) => answer,
        Err(e) => Answer::Failed(e.to_string()),
    };
    let written =
        serde_json::to_vec(&answer).map_err(io::Error::other).and_then(|text| io::stdout().write_all(&text));
    std::process::exit(if written.is_ok() { 0 } else { 1 })
}

fn serve() -> io::Result<Answer> {
    let request: Request = crate::helper::request()?;
    let blob = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW;
    let target = OpenOptions::new().read(true).custom_flags(flags).open(&request.target)?;
    check_identity(&request, &target.metadata()?)?;
    let (report_read, report_write) = pipe()?;
    let (ready_read, ready_write) = pipe()?;
    let (mapped_read, mapped_write) = pipe()?;
    // SAFETY: this process has one thread, so the child may do anything.
    let child = match unsafe { fork() }? {
        ForkResult::Child => {
            drop((report_read, ready_read, mapped_write));
            let outcome = isolate(
                &request,
                blob,
                File::from(ready_write),
                File::from(mapped_read),
                report_write.into(),
            );
            if let Err(e) = &outcome {
                // The first process sends this on, with our status, when no report came.
                let _ = writeln!(io::stderr(), "{e}");
            }
            std::process::exit(i32::from(outcome.is_err()));
        }
        ForkResult::Parent { child } => child,
    };
    drop((report_write, ready_write, mapped_read, blob));
    let mut report = Vec::new();
    let result = map_ids(child, File::from(ready_read), File::from(mapped_write)).and_then(|()| {
        let limit = apron_model::limits::MESSAGE_BYTES_MAX as u64;
        File::from(report_read).take(limit).read_to_end(&mut report)
    });
    let status = waitpid(child, None)?;
    result?;
    if status != WaitStatus::Exited(child, 0) || report.is_empty() {
        return Ok(Answer::Failed(format!("the unpacking process ended early: {status:?}")));
    }
    let report: Report = serde_json::from_slice(&report).map_err(io::Error::other)?;
    if let Answer::Done { .. } = report.answer {
        for path in &report.opaque {
            mark_opaque(&target, path)?;
        }
    }
    Ok(report.answer)
}

/// The target is the directory that was made for this, wherever its name leads.
fn check_identity(request: &Request, found: &Metadata) -> io::Result<()> {
    match (found.dev(), found.ino()) == request.identity {
        true => Ok(()),
        false => Err(io::Error::other("the target is not the directory that was made for this archive")),
    }
}

/// Gives the second process its ids once it has its user namespace: the same numbers inside and outside.
fn map_ids(child: Pid, mut ready: File, mut mapped: File) -> io::Result<()> {
    let mut byte = [0];
    ready.read_exact(&mut byte).map_err(|_| io::Error::other("it could not have namespaces of its own"))?;
    std::fs::write(format!("/proc/{child}/uid_map"), format!("0 0 {IDS}"))?;
    std::fs::write(format!("/proc/{child}/gid_map"), format!("0 0 {IDS}"))?;
    mapped.write_all(&byte)
}

/// The second process: namespaces, then the third, whose status it passes on.
fn isolate(
    request: &Request,
    blob: File,
    mut ready: File,
    mut mapped: File,
    mut report: File,
) -> io::Result<()> {
    unshare(
        CloneFlags::CLONE_NEWUSER
            | CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWPID
            | CloneFlags::CLONE_NEWNET
            | CloneFlags::CLONE_NEWIPC
            | CloneFlags::CLONE_NEWUTS,
    )?;
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    ready.write_all(&[1])?;
    let mut byte = [0];
    mapped.read_exact(&mut byte)?;
    drop((ready, mapped));
    // SAFETY: this process has one thread.
    match unsafe { fork() }? {
        ForkResult::Child => {
            let outcome = confine(request).and_then(|()| read_archive(request, blob, report));
            if let Err(e) = &outcome {
                let _ = writeln!(io::stderr(), "{e}");
            }
            std::process::exit(i32::from(outcome.is_err()));
        }
        ForkResult::Parent { child } => {
            drop(blob);
            match waitpid(child, None)? {
                WaitStatus::Exited(_, 0) => Ok(()),
                // How a program ends that gets no more memory; it had not reported then.
                WaitStatus::Signaled(_, Signal::SIGABRT, _) => {
                    let answer = Answer::Refused(crate::helper::too_much_memory());
                    tell(&mut report, &Report { answer, opaque: Vec::new() })
                }
                other => Err(io::Error::other(format!("the reader of the archive ended early: {other:?}"))),
            }
        }
    }
}

/// The third process: nothing but the target directory is left in sight.
fn confine(request: &Request) -> io::Result<()> {
    let none: Option<&str> = None;
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    setgroups(&[])?;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    mount(Some(&request.target), &request.target, none, MsFlags::MS_BIND, none)?;
    chdir(&request.target)?;
    check_identity(request, &std::fs::metadata(".")?)?;
    pivot_root(".", ".")?;
    umount2(".", MntFlags::MNT_DETACH)?;
    chdir("/")?;
    nix::sys::stat::umask(nix::sys::stat::Mode::empty());
    crate::helper::bound_memory()?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    nix::sys::prctl::set_no_new_privs()?;
    keep_file_capabilities()
}

/// Drops every capability, in its own user namespace too, beyond those that give files their attributes.
fn keep_file_capabilities() -> io::Result<()> {
    // linux/capability.h: CHOWN, DAC_OVERRIDE, FOWNER, FSETID, MKNOD, SETFCAP.
    const KEEP: [u32; 6] = [0, 1, 3, 4, 27, 31];
    const VERSION_3: u32 = 0x2008_0522;
    let low = KEEP.iter().fold(0, |bits, capability| bits | 1_u32 << capability);
    let header: [u32; 2] = [VERSION_3, 0];
    // Effective, permitted, inheritable; the low 32 capabilities, then the high ones.
    let data: [u32; 6] = [low, low, 0, 0, 0, 0];
    // SAFETY: both arrays have the layout and the size that version 3 of capset reads.
    let result = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn read_archive(request: &Request, blob: File, mut report: File) -> io::Result<()> {
    let mut opaque = Vec::new();
    let answer = match unpack_members(blob, request, &mut opaque) {
        Ok(unpacked) => Answer::Done(unpacked),
        Err(Refusal::Member(reason)) => Answer::Refused(reason),
        Err(Refusal::TooManyBytes) => Answer::TooManyBytes,
        Err(Refusal::TooManyMembers) => Answer::TooManyMembers,
        Err(Refusal::NoRoom(shortage)) => Answer::NoRoom(shortage),
        Err(Refusal::Io(e)) => match e.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Answer::DiskFull,
            // Only what the kernel refused has a number; the rest was found in the archive.
            _ if e.raw_os_error().is_some() => Answer::Failed(e.to_string()),
            _ => Answer::Damaged(e.to_string()),
        },
    };
    tell(&mut report, &Report { answer, opaque })
}

fn tell(to: &mut File, report: &Report) -> io::Result<()> {
    to.write_all(&serde_json::to_vec(report).map_err(io::Error::other)?)
}

/// Sets the attribute on a directory that the child named; no link is followed on the way.
fn mark_opaque(target: &File, path: &[u8]) -> io::Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::path::Path::new(std::ffi::OsStr::from_bytes(path));
    let path = if path.as_os_str().is_empty() { std::path::Path::new(".") } else { path };
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
    let directory = openat2(target.as_fd(), path, how)?;
    use std::os::fd::AsRawFd;
    // SAFETY: the descriptor is open, name and value are NUL-terminated and sized.
    let result = unsafe {
        libc::fsetxattr(directory.as_raw_fd(), c"trusted.overlay.opaque".as_ptr(), c"y".as_ptr().cast(), 1, 0)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
