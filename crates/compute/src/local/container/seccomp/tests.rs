use super::*;

#[test]
fn the_lists_do_not_contradict_each_other() {
    let allowed = || ALLOWED.iter().chain(ALLOWED_HERE);
    assert!(REFUSED.iter().all(|call| !allowed().any(|other| other == call)));
    assert!(!allowed().any(|call| [SYS_clone3, SYS_io_uring_setup].contains(call)));
}

/// A child of this process is confined and asked what it may do. Gives its wait status.
fn confined(ask: fn() -> i32) -> i32 {
    let filters = Filters::compile().unwrap();
    // SAFETY: until it ends the child makes system calls on its own stack only.
    let pid = unsafe { fork() };
    if pid == 0 {
        let code = match filters.install() {
            Err(_) => 255,
            Ok(()) => ask(),
        };
        // SAFETY: ends the child without running what belongs to its parent.
        unsafe { _exit(code) };
    }
    let mut status = 0;
    // SAFETY: the child is ours and `status` is valid.
    assert_eq!(unsafe { waitpid(pid, &mut status, 0) }, pid);
    status
}

#[test]
fn refusals_and_unknown_calls_have_their_own_errors() {
    let status = confined(|| {
        let wrong = ANSWERS.iter().position(|(number, arguments, errno)| call(*number, arguments) != *errno);
        wrong.map_or(0, |place| place as i32 + 1)
    });
    assert!(WIFEXITED(status), "{status}");
    let wrong = WEXITSTATUS(status) as usize;
    assert!(wrong == 0, "{:?} was answered in another way", ANSWERS.get(wrong - 1));
}

/// The error of a system call; 0 when it succeeds.
fn call(number: c_long, arguments: &[c_long; 3]) -> i32 {
    // SAFETY: none of the calls below gets through with a pointer that counts; errno is this thread's own.
    unsafe {
        match syscall(number, arguments[0], arguments[1], arguments[2]) {
            -1 => *__errno_location(),
            _ => 0,
        }
    }
}

/// The bit that marks calls of the x32 variant.
const X32: c_long = 0x4000_0000;
const STREAM: c_long = SOCK_STREAM as c_long;
const RAW: c_long = SOCK_RAW as c_long;

/// Calls, their arguments, and the error that is due.
const ANSWERS: &[(c_long, [c_long; 3], i32)] = &[
    (SYS_getpid, [0, 0, 0], 0),
    (100_000, [0, 0, 0], ENOSYS),
    (SYS_getpid | X32, [0, 0, 0], ENOSYS),
    (SYS_socket | X32, [AF_ALG as c_long, STREAM, 0], ENOSYS),
    // Namespaces.
    (SYS_unshare, [CLONE_NEWUSER as c_long, 0, 0], EPERM),
    (SYS_unshare, [0, 0, 0], EPERM),
    (SYS_setns, [-1, 0, 0], EPERM),
    (SYS_clone3, [0, 0, 0], ENOSYS),
    (SYS_clone, [(CLONE_NEWNET | SIGCHLD) as c_long, 0, 0], EPERM),
    (SYS_clone, [(CLONE_NEWUSER | CLONE_VM | SIGCHLD) as c_long, 0, 0], EPERM),
    // Far into the kernel.
    (SYS_io_uring_setup, [1, 0, 0], ENOSYS),
    (SYS_io_uring_enter, [-1, 0, 0], ENOSYS),
    (SYS_bpf, [0, 0, 0], EPERM),
    (SYS_perf_event_open, [0, 0, 0], EPERM),
    (SYS_userfaultfd, [0, 0, 0], EPERM),
    (SYS_keyctl, [0, 0, 0], EPERM),
    (SYS_add_key, [0, 0, 0], EPERM),
    (SYS_request_key, [0, 0, 0], EPERM),
    // The mount family, old and new.
    (SYS_mount, [0, 0, 0], EPERM),
    (SYS_umount2, [0, 0, 0], EPERM),
    (SYS_pivot_root, [0, 0, 0], EPERM),
    (SYS_fsopen, [0, 0, 0], EPERM),
    (SYS_open_tree, [-1, 0, 0], EPERM),
    (SYS_move_mount, [-1, 0, -1], EPERM),
    (SYS_mount_setattr, [-1, 0, 0], EPERM),
    (SYS_open_by_handle_at, [-1, 0, 0], EPERM),
    // The host.
    (SYS_kexec_load, [0, 0, 0], EPERM),
    (SYS_kexec_file_load, [-1, -1, 0], EPERM),
    (SYS_init_module, [0, 0, 0], EPERM),
    (SYS_finit_module, [-1, 0, 0], EPERM),
    (SYS_reboot, [0, 0, 0], EPERM),
    (SYS_syslog, [3, 0, 0], EPERM),
    (SYS_clock_settime, [0, 0, 0], EPERM),
    // A process of one's own may be traced; there is none here.
    (SYS_ptrace, [PTRACE_ATTACH as c_long, 0, 0], ESRCH),
    // Protection of one's own memory.
    (SYS_personality, [0xffff_ffff, 0, 0], 0),
    (SYS_personality, [0x40_0000, 0, 0], EPERM),
    // Sockets. Bits beyond the 32 that the kernel looks at change nothing.
    (SYS_socket, [AF_UNIX as c_long, STREAM, 0], 0),
    (SYS_socket, [AF_INET as c_long, STREAM, 0], 0),
    (SYS_socket, [AF_NETLINK as c_long, RAW, NETLINK_ROUTE as c_long], 0),
    (SYS_socket, [AF_NETLINK as c_long, RAW, NETLINK_NETFILTER as c_long], EAFNOSUPPORT),
    (SYS_socket, [AF_NETLINK as c_long, RAW, NETLINK_SOCK_DIAG as c_long], EAFNOSUPPORT),
    (SYS_socket, [AF_NETLINK as c_long, RAW, NETLINK_AUDIT as c_long], EAFNOSUPPORT),
    (SYS_socket, [AF_VSOCK as c_long, STREAM, 0], EAFNOSUPPORT),
    (SYS_socket, [AF_ALG as c_long, SOCK_SEQPACKET as c_long, 0], EAFNOSUPPORT),
    (SYS_socket, [AF_PACKET as c_long, RAW, 0], EAFNOSUPPORT),
    (SYS_socket, [AF_PACKET as c_long | 1 << 32, RAW, 0], EAFNOSUPPORT),
    (SYS_socket, [AF_BLUETOOTH as c_long, RAW, 0], EAFNOSUPPORT),
    (SYS_socket, [AF_TIPC as c_long, STREAM, 0], EAFNOSUPPORT),
    (SYS_socket, [-1, STREAM, 0], EAFNOSUPPORT),
    (SYS_socketpair, [AF_TIPC as c_long, STREAM, 0], EAFNOSUPPORT),
];

#[test]
fn processes_and_threads_can_be_made() {
    let status = confined(|| {
        // SAFETY: the child ends at once.
        match unsafe { syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0) } {
            // SAFETY: the child ends at once, without the parent's handlers.
            0 => unsafe { _exit(0) },
            child if child > 0 => 0,
            _ => 1,
        }
    });
    assert!(WIFEXITED(status) && WEXITSTATUS(status) == 0, "{status}");
}

#[cfg(target_arch = "x86_64")]
#[test]
fn a_call_of_the_32_bit_interface_ends_the_process() {
    let status = confined(|| {
        let mut number = 20;
        // SAFETY: asks for the process's own number in the 32-bit table, with no pointer.
        unsafe { std::arch::asm!("int 0x80", inout("eax") number) };
        number
    });
    assert!(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS, "{status}");
}
