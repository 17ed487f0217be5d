//! The system calls that the shim makes, without a C library. Every function returns what the kernel returns:
//! zero or more for success, a negated errno for failure.

use core::arch::asm;

pub const EINTR: isize = -4;
pub const EAGAIN: isize = -11;

pub const AT_FDCWD: i32 = -100;
pub const O_RDONLY: i32 = 0;
pub const O_WRONLY: i32 = 1;
pub const O_CREAT: i32 = 0o100;
pub const O_TRUNC: i32 = 0o1000;
pub const O_APPEND: i32 = 0o2000;
pub const O_CLOEXEC: i32 = 0o2000000;

pub const POLLIN: i16 = 1;
pub const SIGKILL: i32 = 9;

#[cfg(target_arch = "x86_64")]
mod number {
    pub(super) const READ: usize = 0;
    pub(super) const WRITE: usize = 1;
    pub(super) const CLOSE: usize = 3;
    pub(super) const PREAD: usize = 17;
    pub(super) const PWRITE: usize = 18;
    pub(super) const GETPID: usize = 39;
    pub(super) const WAIT4: usize = 61;
    pub(super) const KILL: usize = 62;
    pub(super) const FTRUNCATE: usize = 77;
    pub(super) const PRCTL: usize = 157;
    pub(super) const CLOCK_GETTIME: usize = 228;
    pub(super) const EXIT_GROUP: usize = 231;
    pub(super) const OPENAT: usize = 257;
    pub(super) const UNLINKAT: usize = 263;
    pub(super) const RENAMEAT: usize = 264;
    pub(super) const PPOLL: usize = 271;
    pub(super) const PIDFD_OPEN: usize = 434;
}

#[cfg(target_arch = "aarch64")]
mod number {
    pub(super) const UNLINKAT: usize = 35;
    pub(super) const RENAMEAT: usize = 38;
    pub(super) const FTRUNCATE: usize = 46;
    pub(super) const OPENAT: usize = 56;
    pub(super) const CLOSE: usize = 57;
    pub(super) const READ: usize = 63;
    pub(super) const WRITE: usize = 64;
    pub(super) const PREAD: usize = 67;
    pub(super) const PWRITE: usize = 68;
    pub(super) const PPOLL: usize = 73;
    pub(super) const EXIT_GROUP: usize = 94;
    pub(super) const CLOCK_GETTIME: usize = 113;
    pub(super) const KILL: usize = 129;
    pub(super) const PRCTL: usize = 167;
    pub(super) const GETPID: usize = 172;
    pub(super) const WAIT4: usize = 260;
    pub(super) const PIDFD_OPEN: usize = 434;
}

/// # Safety
/// The arguments are what the kernel expects of this call; pointers among them are valid for it.
#[cfg(target_arch = "x86_64")]
unsafe fn call(number: usize, a: usize, b: usize, c: usize, d: usize, e: usize) -> isize {
    let result: isize;
    // SAFETY: the kernel preserves everything but rax, rcx and r11; the caller vouches for the arguments.
    unsafe {
        asm!("syscall", inlateout("rax") number as isize => result, in("rdi") a, in("rsi") b, in("rdx") c,
             in("r10") d, in("r8") e, lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result
}

/// # Safety
/// The arguments are what the kernel expects of this call; pointers among them are valid for it.
#[cfg(target_arch = "aarch64")]
unsafe fn call(number: usize, a: usize, b: usize, c: usize, d: usize, e: usize) -> isize {
    let result: isize;
    // SAFETY: the kernel preserves everything but x0; the caller vouches for the arguments.
    unsafe {
        asm!("svc 0", in("x8") number, inlateout("x0") a as isize => result, in("x1") b, in("x2") c,
             in("x3") d, in("x4") e, options(nostack));
    }
    result
}

/// A path for the kernel: text that ends with a zero byte.
#[derive(Clone, Copy)]
pub struct Path<'a>(&'a [u8]);

impl<'a> Path<'a> {
    /// Nothing when the text does not end with its only zero byte.
    pub fn new(text: &'a [u8]) -> Option<Path<'a>> {
        let zero = text.iter().position(|byte| *byte == 0)?;
        (zero + 1 == text.len()).then_some(Path(text))
    }

    fn address(self) -> usize {
        self.0.as_ptr() as usize
    }
}

#[repr(C)]
pub struct PollFd {
    pub fd: i32,
    pub events: i16,
    pub revents: i16,
}

#[repr(C)]
struct TimeSpec {
    seconds: i64,
    nanoseconds: i64,
}

pub fn read(fd: i32, into: &mut [u8]) -> isize {
    // SAFETY: the buffer is ours and as long as said.
    unsafe { call(number::READ, fd as usize, into.as_mut_ptr() as usize, into.len(), 0, 0) }
}

pub fn pread(fd: i32, into: &mut [u8], offset: u64) -> isize {
    // SAFETY: the buffer is ours and as long as said.
    unsafe { call(number::PREAD, fd as usize, into.as_mut_ptr() as usize, into.len(), offset as usize, 0) }
}

pub fn write(fd: i32, from: &[u8]) -> isize {
    // SAFETY: the kernel reads within the slice.
    unsafe { call(number::WRITE, fd as usize, from.as_ptr() as usize, from.len(), 0, 0) }
}

pub fn pwrite(fd: i32, from: &[u8], offset: u64) -> isize {
    // SAFETY: the kernel reads within the slice.
    unsafe { call(number::PWRITE, fd as usize, from.as_ptr() as usize, from.len(), offset as usize, 0) }
}

pub fn close(fd: i32) -> isize {
    // SAFETY: no pointers.
    unsafe { call(number::CLOSE, fd as usize, 0, 0, 0, 0) }
}

pub fn openat(directory: i32, path: Path<'_>, flags: i32, mode: u32) -> isize {
    // SAFETY: the path ends with a zero byte.
    unsafe {
        call(
            number::OPENAT,
            directory as usize,
            path.address(),
            flags as usize | O_CLOEXEC as usize,
            mode as usize,
            0,
        )
    }
}

pub fn renameat(directory: i32, from: Path<'_>, to: Path<'_>) -> isize {
    // SAFETY: both paths end with a zero byte.
    unsafe { call(number::RENAMEAT, directory as usize, from.address(), directory as usize, to.address(), 0) }
}

pub fn unlinkat(directory: i32, path: Path<'_>) -> isize {
    // SAFETY: the path ends with a zero byte.
    unsafe { call(number::UNLINKAT, directory as usize, path.address(), 0, 0, 0) }
}

pub fn ftruncate(fd: i32, length: u64) -> isize {
    // SAFETY: no pointers.
    unsafe { call(number::FTRUNCATE, fd as usize, length as usize, 0, 0, 0) }
}

/// Waits for events; without a time-out for ever. Answers the number of ready descriptors.
pub fn poll(fds: &mut [PollFd], timeout_ms: Option<u64>) -> isize {
    let time = timeout_ms
        .map(|ms| TimeSpec { seconds: (ms / 1000) as i64, nanoseconds: (ms % 1000 * 1_000_000) as i64 });
    let time_address = time.as_ref().map_or(0, |time| time as *const TimeSpec as usize);
    // SAFETY: the slice is ours and `time`, if any, lives until the call returns.
    unsafe { call(number::PPOLL, fds.as_mut_ptr() as usize, fds.len(), time_address, 0, 0) }
}

/// A descriptor that becomes readable when the process has ended.
pub fn pidfd_open(pid: i32) -> isize {
    // SAFETY: no pointers.
    unsafe { call(number::PIDFD_OPEN, pid as usize, 0, 0, 0, 0) }
}

/// Reaps the child `pid`; its wait status is in the second part.
pub fn wait(pid: i32) -> (isize, i32) {
    const WALL: usize = 0x4000_0000;
    let mut status: i32 = 0;
    // SAFETY: `status` is ours.
    let result =
        unsafe { call(number::WAIT4, pid as isize as usize, &mut status as *mut i32 as usize, WALL, 0, 0) };
    (result, status)
}

pub fn kill(pid: i32, signal: i32) -> isize {
    // SAFETY: no pointers.
    unsafe { call(number::KILL, pid as usize, signal as usize, 0, 0, 0) }
}

pub fn getpid() -> i32 {
    // SAFETY: no pointers.
    unsafe { call(number::GETPID, 0, 0, 0, 0, 0) as i32 }
}

/// Sets the name that `ps` and `/proc/PID/comm` show: at most 15 bytes.
pub fn set_name(name: Path<'_>) -> isize {
    const PR_SET_NAME: usize = 15;
    // SAFETY: the name ends with a zero byte; the kernel reads at most 16 bytes of it.
    unsafe { call(number::PRCTL, PR_SET_NAME, name.address(), 0, 0, 0) }
}

/// Wall time, milliseconds since 1970.
pub fn wall_time_ms() -> u64 {
    let mut time = TimeSpec { seconds: 0, nanoseconds: 0 };
    // SAFETY: `time` is ours. Clock 0 is CLOCK_REALTIME.
    unsafe { call(number::CLOCK_GETTIME, 0, &mut time as *mut TimeSpec as usize, 0, 0, 0) };
    time.seconds as u64 * 1000 + time.nanoseconds as u64 / 1_000_000
}

pub fn exit(code: i32) -> ! {
    loop {
        // SAFETY: no pointers; it does not return.
        unsafe { call(number::EXIT_GROUP, code as usize, 0, 0, 0, 0) };
    }
}
