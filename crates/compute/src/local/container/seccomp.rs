//! Which system calls an application may make.
//!
//! Three filters, so that a program is told the truth: what is privileged or reaches far into the kernel is
//! refused with EPERM; what is not on the list at all (newer calls, `clone3`, `io_uring`) looks as on an older
//! kernel, ENOSYS, because that is what C libraries and runtimes have a way around for; an address family that is
//! not ours to give looks as in a kernel without it, EAFNOSUPPORT. `clone3` hides its flags in memory where a filter
//! cannot look, so programs must use `clone`, whose namespace flags are refused.
//!
//! Calls of another architecture (32 bit, by `int 0x80` too) end the process. The x32 variants of calls have
//! numbers of their own, which are on no list.
//!
//! Where this differs from the profile that Docker applies by default:
//! - stricter: address families are a list (UNIX, INET, INET6, NETLINK for routes only) where Docker's refuses a
//!   few; 32-bit programs; `modify_ldt`; `get_mempolicy` aside, memory policy; `fanotify_mark`; nothing is opened
//!   by a capability, since no container has one that matters here;
//! - looser: `kcmp`, `pidfd_getfd`, `process_madvise` and `process_mrelease` without CAP_SYS_PTRACE, since the kernel
//!   asks for the right to trace the other process, which a container has over its own only; `adjtimex`, which
//!   without a capability only reads;
//! - the same in effect: `ptrace` and its kin within the container, no namespaces, no mounts, no keyrings, no
//!   `bpf`, `perf_event_open`, `userfaultfd`, modules, `kexec`, `io_uring`; `personality` for what is harmless.

use libc::*;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};
use std::collections::BTreeMap;

#[derive(Debug, thiserror::Error)]
pub(crate) enum SeccompError {
    #[error("no filter of system calls exists for the architecture {0}")]
    Architecture(&'static str),
    #[error("the filter of system calls cannot be made: {0}")]
    Compile(seccompiler::BackendError),
}

/// Filters in the order in which they have to be installed. Of two refusals the kernel takes the later filter's.
/// No two filters but the first refuse the same call.
#[derive(Clone)]
pub(crate) struct Filters {
    known: BpfProgram,
    refused: BpfProgram,
    families: BpfProgram,
}

impl Filters {
    pub(crate) fn compile() -> Result<Filters, SeccompError> {
        // What the other filter refuses has to pass this one.
        let known = [ALLOWED, ALLOWED_HERE, REFUSED].concat();
        let known = known.into_iter().map(|call| (call, Vec::new())).collect();
        let not_there = SeccompAction::Errno(ENOSYS as u32);
        let refused = SeccompAction::Errno(EPERM as u32);
        let no_such_family = SeccompAction::Errno(EAFNOSUPPORT as u32);
        Ok(Filters {
            known: compile(known, not_there, SeccompAction::Allow)?,
            refused: compile(refusals()?, SeccompAction::Allow, refused)?,
            families: compile(families()?, SeccompAction::Allow, no_such_family)?,
        })
    }

    /// Confines this process and what it executes. Needs no_new_privs, or the right to administrate.
    pub(crate) fn install(&self) -> Result<(), seccompiler::Error> {
        seccompiler::apply_filter(&self.known)?;
        seccompiler::apply_filter(&self.refused)?;
        seccompiler::apply_filter(&self.families)
    }
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

fn compile(
    rules: Rules,
    otherwise: SeccompAction,
    matched: SeccompAction,
) -> Result<BpfProgram, SeccompError> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)
        .map_err(|_| SeccompError::Architecture(std::env::consts::ARCH))?;
    let filter = SeccompFilter::new(rules, otherwise, matched, arch).map_err(SeccompError::Compile)?;
    filter.try_into().map_err(SeccompError::Compile)
}

fn refusals() -> Result<Rules, SeccompError> {
    let mut rules: Rules = REFUSED.iter().map(|call| (*call, Vec::new())).collect();
    // One rule per flag: any of them refuses the call.
    let namespaces =
        [CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET, CLONE_NEWCGROUP];
    let flag = |flag: i32| rule(&[(0, SeccompCmpOp::MaskedEq(flag as u64), flag as u64)]);
    rules.insert(SYS_clone, namespaces.into_iter().map(flag).collect::<Result<_, _>>()?);
    rules.insert(SYS_personality, vec![none_of(0, &PERSONALITIES)?]);
    Ok(rules)
}

/// Sockets of all families but ours, and netlink to other parts of the kernel than routes and interfaces, which
/// resolvers and `getifaddrs` read.
fn families() -> Result<Rules, SeccompError> {
    let ours = [AF_UNIX, AF_INET, AF_INET6, AF_NETLINK].map(|family| family as u64);
    let not_routes =
        rule(&[(0, SeccompCmpOp::Eq, AF_NETLINK as u64), (2, SeccompCmpOp::Ne, NETLINK_ROUTE as u64)])?;
    Ok(Rules::from([
        (SYS_socket, vec![none_of(0, &ours)?, not_routes]),
        (SYS_socketpair, vec![none_of(0, &[AF_UNIX as u64])?]),
    ]))
}

/// Linux, without randomised addresses or with the uname of a 32-bit machine or both, and the question which it is.
/// What is left out weakens a process's protection of memory.
const PERSONALITIES: [u64; 5] = [0, 0x0008, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// Matches when the argument is none of the values.
fn none_of(argument: u8, values: &[u64]) -> Result<SeccompRule, SeccompError> {
    let others: Vec<_> = values.iter().map(|value| (argument, SeccompCmpOp::Ne, *value)).collect();
    rule(&others)
}

/// Matches when all conditions hold: number of an argument, comparison, value. The arguments have 32 bits in the
/// kernel too, or carry what matters in those.
fn rule(conditions: &[(u8, SeccompCmpOp, u64)]) -> Result<SeccompRule, SeccompError> {
    let conditions = conditions.iter().map(|(argument, operator, value)| {
        SeccompCondition::new(*argument, SeccompCmpArgLen::Dword, operator.clone(), *value)
    });
    let conditions = conditions.collect::<Result<_, _>>().map_err(SeccompError::Compile)?;
    SeccompRule::new(conditions).map_err(SeccompError::Compile)
}

/// Administration of the host, of namespaces, of modules, of other users' keys.
const REFUSED: &[i64] = &[
    SYS_acct,
    SYS_add_key,
    SYS_bpf,
    SYS_clock_adjtime,
    SYS_clock_settime,
    SYS_delete_module,
    SYS_fanotify_init,
    SYS_finit_module,
    SYS_fsconfig,
    SYS_fsmount,
    SYS_fsopen,
    SYS_fspick,
    SYS_init_module,
    SYS_kexec_file_load,
    SYS_kexec_load,
    SYS_keyctl,
    SYS_mbind,
    SYS_migrate_pages,
    SYS_mount,
    SYS_mount_setattr,
    SYS_move_mount,
    SYS_move_pages,
    SYS_open_by_handle_at,
    SYS_open_tree,
    SYS_perf_event_open,
    SYS_pivot_root,
    SYS_quotactl,
    SYS_quotactl_fd,
    SYS_reboot,
    SYS_request_key,
    SYS_set_mempolicy,
    SYS_setdomainname,
    SYS_sethostname,
    SYS_setns,
    SYS_settimeofday,
    SYS_swapoff,
    SYS_swapon,
    SYS_syslog,
    SYS_umount2,
    SYS_unshare,
    SYS_userfaultfd,
    SYS_vhangup,
    #[cfg(target_arch = "x86_64")]
    SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    SYS_iopl,
];

/// Everything that ordinary programs use.
const ALLOWED: &[i64] = &[
    // Files.
    SYS_chdir,
    SYS_chroot,
    SYS_close,
    SYS_close_range,
    SYS_copy_file_range,
    SYS_dup,
    SYS_dup3,
    SYS_faccessat,
    SYS_faccessat2,
    SYS_fadvise64,
    SYS_fallocate,
    SYS_fchdir,
    SYS_fchmod,
    SYS_fchmodat,
    SYS_fchmodat2,
    SYS_fchown,
    SYS_fchownat,
    SYS_fcntl,
    SYS_fdatasync,
    SYS_fgetxattr,
    SYS_flistxattr,
    SYS_flock,
    SYS_fremovexattr,
    SYS_fsetxattr,
    SYS_fstat,
    SYS_fstatfs,
    SYS_fsync,
    SYS_ftruncate,
    SYS_getcwd,
    SYS_getdents64,
    SYS_getxattr,
    SYS_inotify_add_watch,
    SYS_inotify_init1,
    SYS_inotify_rm_watch,
    SYS_ioctl,
    SYS_lgetxattr,
    SYS_linkat,
    SYS_listxattr,
    SYS_llistxattr,
    SYS_lremovexattr,
    SYS_lseek,
    SYS_lsetxattr,
    SYS_mkdirat,
    SYS_mknodat,
    SYS_name_to_handle_at,
    SYS_newfstatat,
    SYS_openat,
    SYS_openat2,
    SYS_pipe2,
    SYS_pread64,
    SYS_preadv,
    SYS_preadv2,
    SYS_pwrite64,
    SYS_pwritev,
    SYS_pwritev2,
    SYS_read,
    SYS_readahead,
    SYS_readlinkat,
    SYS_readv,
    SYS_removexattr,
    SYS_renameat,
    SYS_renameat2,
    SYS_sendfile,
    SYS_setxattr,
    SYS_splice,
    SYS_statfs,
    SYS_statx,
    SYS_symlinkat,
    SYS_sync,
    SYS_sync_file_range,
    SYS_syncfs,
    SYS_tee,
    SYS_truncate,
    SYS_umask,
    SYS_unlinkat,
    SYS_utimensat,
    SYS_vmsplice,
    SYS_write,
    SYS_writev,
    // Waiting.
    SYS_epoll_create1,
    SYS_epoll_ctl,
    SYS_epoll_pwait,
    SYS_epoll_pwait2,
    SYS_eventfd2,
    SYS_io_cancel,
    SYS_io_destroy,
    SYS_io_getevents,
    SYS_io_setup,
    SYS_io_submit,
    SYS_ppoll,
    SYS_pselect6,
    SYS_signalfd4,
    SYS_timerfd_create,
    SYS_timerfd_gettime,
    SYS_timerfd_settime,
    // Memory.
    SYS_brk,
    SYS_get_mempolicy,
    SYS_madvise,
    SYS_membarrier,
    SYS_memfd_create,
    SYS_memfd_secret,
    SYS_mincore,
    SYS_mlock,
    SYS_mlock2,
    SYS_mlockall,
    SYS_mmap,
    SYS_mprotect,
    SYS_mremap,
    SYS_msync,
    SYS_munlock,
    SYS_munlockall,
    SYS_munmap,
    SYS_pkey_alloc,
    SYS_pkey_free,
    SYS_pkey_mprotect,
    SYS_process_madvise,
    SYS_process_mrelease,
    SYS_remap_file_pages,
    // Processes and threads.
    SYS_capget,
    SYS_capset,
    SYS_clone,
    SYS_execve,
    SYS_execveat,
    SYS_exit,
    SYS_exit_group,
    SYS_futex,
    SYS_futex_waitv,
    SYS_get_robust_list,
    SYS_getcpu,
    SYS_getegid,
    SYS_geteuid,
    SYS_getgid,
    SYS_getgroups,
    SYS_getitimer,
    SYS_getpgid,
    SYS_getpid,
    SYS_getppid,
    SYS_getpriority,
    SYS_getrandom,
    SYS_getresgid,
    SYS_getresuid,
    SYS_getrlimit,
    SYS_getrusage,
    SYS_getsid,
    SYS_gettid,
    SYS_getuid,
    SYS_ioprio_get,
    SYS_ioprio_set,
    SYS_kcmp,
    SYS_kill,
    SYS_landlock_add_rule,
    SYS_landlock_create_ruleset,
    SYS_landlock_restrict_self,
    SYS_personality,
    SYS_pidfd_getfd,
    SYS_pidfd_open,
    SYS_pidfd_send_signal,
    SYS_prctl,
    SYS_prlimit64,
    SYS_process_vm_readv,
    SYS_process_vm_writev,
    SYS_ptrace,
    SYS_restart_syscall,
    SYS_rseq,
    SYS_rt_sigaction,
    SYS_rt_sigpending,
    SYS_rt_sigprocmask,
    SYS_rt_sigqueueinfo,
    SYS_rt_sigreturn,
    SYS_rt_sigsuspend,
    SYS_rt_sigtimedwait,
    SYS_rt_tgsigqueueinfo,
    SYS_sched_get_priority_max,
    SYS_sched_get_priority_min,
    SYS_sched_getaffinity,
    SYS_sched_getattr,
    SYS_sched_getparam,
    SYS_sched_getscheduler,
    SYS_sched_rr_get_interval,
    SYS_sched_setaffinity,
    SYS_sched_setattr,
    SYS_sched_setparam,
    SYS_sched_setscheduler,
    SYS_sched_yield,
    SYS_seccomp,
    SYS_set_robust_list,
    SYS_set_tid_address,
    SYS_setfsgid,
    SYS_setfsuid,
    SYS_setgid,
    SYS_setgroups,
    SYS_setitimer,
    SYS_setpgid,
    SYS_setpriority,
    SYS_setregid,
    SYS_setresgid,
    SYS_setresuid,
    SYS_setreuid,
    SYS_setrlimit,
    SYS_setsid,
    SYS_setuid,
    SYS_sigaltstack,
    SYS_tgkill,
    SYS_tkill,
    SYS_wait4,
    SYS_waitid,
    // Time and the system.
    SYS_adjtimex,
    SYS_clock_getres,
    SYS_clock_gettime,
    SYS_clock_nanosleep,
    SYS_gettimeofday,
    SYS_nanosleep,
    SYS_sysinfo,
    SYS_timer_create,
    SYS_timer_delete,
    SYS_timer_getoverrun,
    SYS_timer_gettime,
    SYS_timer_settime,
    SYS_times,
    SYS_uname,
    // Sockets, message queues, shared memory.
    SYS_accept,
    SYS_accept4,
    SYS_bind,
    SYS_connect,
    SYS_getpeername,
    SYS_getsockname,
    SYS_getsockopt,
    SYS_listen,
    SYS_mq_getsetattr,
    SYS_mq_notify,
    SYS_mq_open,
    SYS_mq_timedreceive,
    SYS_mq_timedsend,
    SYS_mq_unlink,
    SYS_msgctl,
    SYS_msgget,
    SYS_msgrcv,
    SYS_msgsnd,
    SYS_recvfrom,
    SYS_recvmmsg,
    SYS_recvmsg,
    SYS_semctl,
    SYS_semget,
    SYS_semop,
    SYS_semtimedop,
    SYS_sendmmsg,
    SYS_sendmsg,
    SYS_sendto,
    SYS_setsockopt,
    SYS_shmat,
    SYS_shmctl,
    SYS_shmdt,
    SYS_shmget,
    SYS_shutdown,
    SYS_socket,
    SYS_socketpair,
];

/// Older forms, and what only this architecture has.
#[cfg(target_arch = "x86_64")]
const ALLOWED_HERE: &[i64] = &[
    SYS_access,
    SYS_alarm,
    SYS_arch_prctl,
    SYS_chmod,
    SYS_chown,
    SYS_creat,
    SYS_dup2,
    SYS_epoll_create,
    SYS_epoll_wait,
    SYS_eventfd,
    SYS_fork,
    SYS_futimesat,
    SYS_getdents,
    SYS_getpgrp,
    SYS_inotify_init,
    SYS_lchown,
    SYS_link,
    SYS_lstat,
    SYS_mkdir,
    SYS_mknod,
    SYS_open,
    SYS_pause,
    SYS_pipe,
    SYS_poll,
    SYS_readlink,
    SYS_rename,
    SYS_rmdir,
    SYS_select,
    SYS_signalfd,
    SYS_stat,
    SYS_symlink,
    SYS_time,
    SYS_unlink,
    SYS_utime,
    SYS_utimes,
    SYS_vfork,
];
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_HERE: &[i64] = &[];

#[cfg(test)]
mod tests;
