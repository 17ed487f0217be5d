//! Becoming an unprivileged user for good.

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use std::fs;

/// Version 3 of capset's header: 64 capabilities in two words of each set.
const CAPABILITY_VERSION_3: u32 = 0x2008_0522;
/// More than any kernel knows; the drop ends at the first that the kernel does not.
const CAPABILITY_MAX: libc::c_ulong = 63;

/// Turns this process into `uid` with the group of the same number: no capability in any set, none to gain by
/// executing anything. Called by root while this is the only thread. Verified before it returns.
pub(crate) fn become_user(uid: u32) -> Result<()> {
    nix::sys::prctl::set_no_new_privs().context("cannot set no_new_privs")?;
    for capability in 0..=CAPABILITY_MAX {
        // SAFETY: takes numbers only.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) } != 0 {
            match Errno::last() {
                Errno::EINVAL => break,
                error => return Err(error).context("cannot drop a capability from the bounding set"),
            }
        }
    }
    // SAFETY: takes numbers only.
    if unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) } != 0 {
        return Err(Errno::last()).context("cannot clear the ambient capabilities");
    }
    let (user, group) = (Uid::from_raw(uid), Gid::from_raw(uid));
    setgroups(&[]).context("cannot leave the supplementary groups")?;
    setresgid(group, group, group).context("cannot change the group")?;
    setresuid(user, user, user).context("cannot change the user")?;
    clear_capabilities()?;
    verify(&fs::read_to_string("/proc/self/status").context("cannot read /proc/self/status")?, uid)
}

/// Leaving user 0 empties the effective and permitted sets; the inheritable one is emptied here.
fn clear_capabilities() -> Result<()> {
    let header: [u32; 2] = [CAPABILITY_VERSION_3, 0];
    let nothing = [0u32; 6];
    // SAFETY: both arrays have the layout and size that version 3 asks for and outlive the call.
    match unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), nothing.as_ptr()) } {
        0 => Ok(()),
        _ => Err(Errno::last()).context("cannot clear the capabilities"),
    }
}

/// Checks what the kernel says of this process.
fn verify(status: &str, uid: u32) -> Result<()> {
    let field = |name: &str| {
        status.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':')).unwrap_or_default().trim()
    };
    for name in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        if field(name).bytes().any(|b| b != b'0') || field(name).is_empty() {
            bail!("{name} is {} although every capability was dropped", field(name));
        }
    }
    for name in ["Uid", "Gid"] {
        if field(name).split_ascii_whitespace().any(|id| id != uid.to_string()) {
            bail!("{name} is {} and should be {uid}", field(name));
        }
    }
    match field("NoNewPrivs") {
        "1" => Ok(()),
        other => bail!("NoNewPrivs is {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Name:\tx\nUid:\t7\t7\t7\t7\nGid:\t7\t7\t7\t7\nNoNewPrivs:\t1\nCapInh:\t0000\nCapPrm:\t0000\n\
                          CapEff:\t0000\nCapBnd:\t0000\nCapAmb:\t0000\n";

    #[test]
    fn what_the_kernel_says_is_believed_and_nothing_else() {
        verify(STATUS, 7).unwrap();
        for (from, to) in
            [("CapBnd:\t0000", "CapBnd:\t0001"), ("CapEff:\t0000\n", ""), ("7\t7\nGid", "0\t7\nGid")]
        {
            assert!(verify(&STATUS.replace(from, to), 7).is_err(), "{to}");
        }
        assert!(verify(&STATUS.replace("NoNewPrivs:\t1", "NoNewPrivs:\t0"), 7).is_err());
        assert!(verify(STATUS, 8).is_err());
    }
}
