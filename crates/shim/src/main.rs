//! The program: what a C library would otherwise do before and around `run`.

#![no_std]
#![no_main]

use apron_shim::run::{Arguments, run};
use apron_shim::sys;
use core::arch::global_asm;
use core::ffi::{CStr, c_char, c_int};

#[cfg(target_arch = "x86_64")]
global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "and rsp, -16",
    "call shim_start",
    "ud2"
);

#[cfg(target_arch = "aarch64")]
global_asm!(
    ".globl _start",
    "_start:",
    "mov x29, #0",
    "mov x30, #0",
    "mov x0, sp",
    "bl shim_start",
    "brk #1"
);

/// # Safety
/// `stack` is what the kernel left at the top of a new program's stack: the number of arguments, then that
/// many pointers to zero-terminated text.
#[unsafe(no_mangle)]
unsafe extern "C" fn shim_start(stack: *const usize) -> ! {
    let mut arguments = Arguments::default();
    // SAFETY: as the function demands.
    let count = unsafe { *stack };
    for index in 1..=count {
        // SAFETY: as the function demands; the pointers follow the count.
        let text = unsafe { CStr::from_ptr(*stack.add(index) as *const c_char) };
        arguments.take(text.to_bytes());
    }
    run(&arguments)
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    sys::exit(134)
}

// The compiler calls these for copies and comparisons. Volatile access keeps it from turning each into a call
// of itself.

/// # Safety
/// As in C.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the caller vouches for both ranges; the direction flag is clear by the calling convention.
    unsafe {
        core::arch::asm!("rep movsb", inout("rcx") count => _, inout("rdi") to => _, inout("rsi") from => _,
                         options(nostack, preserves_flags));
    }
    #[cfg(not(target_arch = "x86_64"))]
    for index in 0..count {
        // SAFETY: the caller vouches for both ranges.
        unsafe { to.add(index).write_volatile(from.add(index).read_volatile()) };
    }
    to
}

/// # Safety
/// As in C.
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    if (to as usize) <= from as usize || to as usize >= from as usize + count {
        // SAFETY: copying upwards is right for these ranges, which is how memcpy goes.
        return unsafe { memcpy(to, from, count) };
    }
    for index in (0..count).rev() {
        // SAFETY: the caller vouches for both ranges.
        unsafe { to.add(index).write_volatile(from.add(index).read_volatile()) };
    }
    to
}

/// # Safety
/// As in C.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, value: c_int, count: usize) -> *mut u8 {
    for index in 0..count {
        // SAFETY: the caller vouches for the range.
        unsafe { to.add(index).write_volatile(value as u8) };
    }
    to
}

/// # Safety
/// As in C.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(left: *const u8, right: *const u8, count: usize) -> c_int {
    for index in 0..count {
        // SAFETY: the caller vouches for both ranges.
        let (a, b) = unsafe { (left.add(index).read_volatile(), right.add(index).read_volatile()) };
        if a != b {
            return c_int::from(a) - c_int::from(b);
        }
    }
    0
}

/// # Safety
/// As in C.
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(left: *const u8, right: *const u8, count: usize) -> c_int {
    // SAFETY: the same demands.
    unsafe { memcmp(left, right, count) }
}

/// # Safety
/// As in C.
#[unsafe(no_mangle)]
unsafe extern "C" fn strlen(text: *const c_char) -> usize {
    let mut length = 0;
    // SAFETY: the text ends with a zero byte.
    while unsafe { text.add(length).read_volatile() } != 0 {
        length += 1;
    }
    length
}
