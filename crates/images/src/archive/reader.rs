//! The child that reads an image archive: from standard input to standard output, and nowhere else.
//!
//! It is started by control, which has no capability and on many hosts may have no namespaces of its own. So what
//! confines it is a filter of system calls that every process may put on itself: it reads, writes, asks for memory
//! up to a limit, and ends. Without `open`, `socket` and `clone` there is nothing else to be kept from.

use super::frames::{self, Frame};
use crate::tarball::{Member, Tarball};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::fd::AsFd;
use tar::EntryType;

/// The name that main gives to `child_main`.
pub const ROLE: &str = "read-archive";

/// How much one archive may hold.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Limits {
    /// Of the archive without compression.
    pub(super) bytes_max: u64,
    pub(super) members_max: usize,
}

/// Why reading ended early.
enum Stop {
    NotAnArchive(String),
    /// Nobody takes the answer any more.
    Unheard(io::Error),
}

impl From<io::Error> for Stop {
    fn from(e: io::Error) -> Stop {
        Stop::NotAnArchive(e.to_string())
    }
}

/// The role's entry: the archive on standard input, frames on standard output; ends the process. Call it before any
/// thread exists.
pub fn child_main() -> ! {
    let result = serve();
    if let Err(e) = &result {
        let _ = writeln!(io::stderr(), "{e}");
    }
    std::process::exit(i32::from(result.is_err()));
}

fn serve() -> io::Result<()> {
    let limits: Limits = crate::helper::request()?;
    let archive = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let answer = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let mut answer = BufWriter::with_capacity(frames::DATA_BYTES_MAX, answer);
    crate::process::go_first();
    crate::helper::bound_memory()?;
    confine()?;
    match read(archive, limits, &mut answer) {
        Ok(()) => frames::write(&mut answer, &Frame::Complete)?,
        Err(Stop::NotAnArchive(reason)) => {
            frames::write(&mut answer, &Frame::NotAnArchive(frames::cut(reason.as_bytes())))?
        }
        Err(Stop::Unheard(e)) => return Err(e),
    }
    answer.flush()
}

fn read(archive: File, limits: Limits, answer: &mut impl Write) -> Result<(), Stop> {
    let mut members = 0;
    let mut tarball = Tarball::new(archive, limits.bytes_max)?;
    tarball.each(|member| {
        members += 1;
        if members > limits.members_max {
            return Err(Stop::NotAnArchive(format!("more than {} members", limits.members_max)));
        }
        pass_on(member, answer)
    })
}

fn pass_on(member: &mut Member<'_, '_>, answer: &mut impl Write) -> Result<(), Stop> {
    let mut tell = |frame: &Frame<'_>| frames::write(answer, frame).map_err(Stop::Unheard);
    let name = member.path_bytes().into_owned();
    let kind = member.header().entry_type();
    if !matches!(kind, EntryType::Regular | EntryType::Continuous | EntryType::Symlink | EntryType::Link) {
        return Ok(());
    }
    let target = match kind {
        EntryType::Symlink | EntryType::Link => member.link_name_bytes().unwrap_or_default().into_owned(),
        _ => Vec::new(),
    };
    if name.len().max(target.len()) > frames::NAME_BYTES_MAX {
        return Err(Stop::NotAnArchive(format!(
            "the name of a member has more than {} bytes",
            frames::NAME_BYTES_MAX
        )));
    }
    match kind {
        EntryType::Symlink => tell(&Frame::Symlink(&name, &target)),
        EntryType::Link => tell(&Frame::HardLink(&name, &target)),
        _ => {
            tell(&Frame::File(&name))?;
            let mut buffer = vec![0; frames::DATA_BYTES_MAX];
            loop {
                let count = member.read(&mut buffer)?;
                if count == 0 {
                    return tell(&Frame::FileEnd);
                }
                tell(&Frame::Data(&buffer[..count]))?;
            }
        }
    }
}

/// Whatever is not needed to read, write, compute and end is refused from here on.
fn confine() -> io::Result<()> {
    nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0)?;
    nix::sys::prctl::set_no_new_privs()?;
    const ALLOWED: [libc::c_long; 20] = [
        libc::SYS_read,
        libc::SYS_write,
        libc::SYS_close,
        libc::SYS_brk,
        libc::SYS_munmap,
        libc::SYS_mremap,
        libc::SYS_madvise,
        libc::SYS_futex,
        libc::SYS_getrandom,
        libc::SYS_clock_gettime,
        libc::SYS_sigaltstack,
        libc::SYS_rt_sigreturn,
        // What abort() does, so that want of memory is seen as what it is.
        libc::SYS_rt_sigaction,
        libc::SYS_rt_sigprocmask,
        libc::SYS_getpid,
        libc::SYS_gettid,
        libc::SYS_tgkill,
        libc::SYS_restart_syscall,
        libc::SYS_exit,
        libc::SYS_exit_group,
    ];
    let filter = || -> Result<BpfProgram, seccompiler::BackendError> {
        let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
            ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
        // Memory, but none that could be executed.
        for call in [libc::SYS_mmap, libc::SYS_mprotect] {
            let executable = SeccompCmpOp::MaskedEq(libc::PROT_EXEC as u64);
            let not = SeccompCondition::new(2, SeccompCmpArgLen::Dword, executable, 0)?;
            rules.insert(call, vec![SeccompRule::new(vec![not])?]);
        }
        let refused = SeccompAction::Errno(libc::EPERM as u32);
        SeccompFilter::new(rules, refused, SeccompAction::Allow, std::env::consts::ARCH.try_into()?)?
            .try_into()
    };
    let filter = filter().map_err(io::Error::other)?;
    seccompiler::apply_filter(&filter).map_err(io::Error::other)
}
