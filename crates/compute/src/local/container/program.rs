//! The application's program: found and executed inside the container, as the last thing its init does. When
//! that does not work, this says why in words that help the image's author.

use crate::local::container::seccomp::Filters;
use libcontainer::oci_spec::runtime::Spec;
use libcontainer::workload::{Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError};
use std::collections::HashMap;
use std::ffi::{CString, NulError};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// As much of a file's beginning as tells what it is.
const HEAD_BYTES: usize = 256;

/// Program, arguments and environment as the kernel takes them.
#[derive(Clone)]
pub(crate) struct Program {
    /// What to try, in this order.
    candidates: Vec<CString>,
    argv: Vec<CString>,
    env: Vec<CString>,
    /// Where was looked, when the name has no slash.
    path: Option<String>,
}

impl Program {
    /// The error is what follows "cannot be run:".
    pub(crate) fn new(argv: &[String], env: &[(String, String)]) -> Result<Program, String> {
        let zero = |_: NulError| "it or its environment holds a zero byte".to_owned();
        let name = argv.first().filter(|name| !name.is_empty()).ok_or("it is empty")?;
        let path = env.iter().find(|(key, _)| key == "PATH").map_or("", |(_, value)| value.as_str());
        let has_slash = name.contains('/');
        let candidates = if has_slash {
            vec![CString::new(name.as_str()).map_err(zero)?]
        } else {
            let directories = path.split(':').filter(|directory| !directory.is_empty());
            let files = directories.map(|directory| CString::new(format!("{directory}/{name}")));
            files.collect::<Result<_, _>>().map_err(zero)?
        };
        let argv = argv.iter().map(|text| CString::new(text.as_str())).collect::<Result<_, _>>();
        let env = env.iter().map(|(key, value)| CString::new(format!("{key}={value}")));
        Ok(Program {
            candidates,
            argv: argv.map_err(zero)?,
            env: env.collect::<Result<_, _>>().map_err(zero)?,
            path: (!has_slash).then(|| path.to_owned()),
        })
    }

    /// For libcontainer. `told` is a pipe that closes at execve; the reason for a failure goes into it.
    pub(crate) fn executor(self, filters: Filters, told: i32) -> ProgramExecutor {
        ProgramExecutor { program: self, filters, told }
    }

    /// Returns only when no candidate could be executed.
    fn execute(&self) -> String {
        let argv = pointers(&self.argv);
        let env = pointers(&self.env);
        let mut last = (nix::Error::ENOENT, None);
        for candidate in &self.candidates {
            // SAFETY: the lists end with a null pointer, their texts with a zero byte.
            unsafe { libc::execve(candidate.as_ptr(), argv.as_ptr(), env.as_ptr()) };
            let error = nix::Error::last();
            let there = fs::symlink_metadata(Path::new(&*candidate.to_string_lossy())).is_ok();
            match error {
                // A later directory may have another one of this name.
                nix::Error::EACCES => last = (error, Some(candidate)),
                nix::Error::ENOENT | nix::Error::ENOTDIR if !there => {}
                _ => {
                    last = (error, Some(candidate));
                    break;
                }
            }
        }
        self.explain(last.0, last.1)
    }

    fn explain(&self, error: nix::Error, found: Option<&CString>) -> String {
        let name = self.argv.first().map(|name| name.to_string_lossy()).unwrap_or_default();
        let Some(found) = found else {
            return match &self.path {
                Some(path) => format!("permanent start command '{name}' not found in PATH ({path})"),
                None => format!("permanent start command '{name}' not found: no such file in the image"),
            };
        };
        let found = found.to_string_lossy();
        let reason = explain_file(error, Path::new(&*found));
        let kind = match error {
            nix::Error::ENOMEM | nix::Error::EAGAIN | nix::Error::EIO | nix::Error::EMFILE => "transient",
            _ => "permanent",
        };
        let at = if *found == *name { String::new() } else { format!(" ({found})") };
        format!("{kind} start command '{name}'{at} {reason}")
    }
}

fn pointers(texts: &[CString]) -> Vec<*const libc::c_char> {
    texts.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect()
}

/// What is wrong with a file that is there, as the rest of a sentence.
fn explain_file(error: nix::Error, path: &Path) -> String {
    let head = File::open(path).and_then(|file| {
        let mut head = Vec::new();
        file.take(HEAD_BYTES as u64).read_to_end(&mut head).map(|_| head)
    });
    let head = head.unwrap_or_default();
    match error {
        nix::Error::EACCES if path.is_dir() => "is a directory".to_owned(),
        nix::Error::EACCES => match fs::metadata(path) {
            Ok(found) if found.permissions().mode() & 0o111 == 0 => {
                let mode = found.permissions().mode() & 0o7777;
                format!("is not executable (mode {mode:04o}; chmod +x is needed)")
            }
            _ => "may not be executed by the image's user".to_owned(),
        },
        nix::Error::ENOENT => match interpreter(&head) {
            Some(interpreter) if interpreter.ends_with('\r') => {
                let interpreter = interpreter.trim_end();
                format!("has Windows line ends: its interpreter is '{interpreter}' and a carriage return")
            }
            Some(interpreter) => format!("needs the interpreter '{interpreter}', which is not in the image"),
            None if fs::metadata(path).is_err() => "is a link to a file that is not in the image".to_owned(),
            None => {
                "needs a dynamic loader that is not in the image (built for another C library?)".to_owned()
            }
        },
        nix::Error::ENOEXEC => match machine(&head) {
            Some(machine) if machine != std::env::consts::ARCH => {
                format!("is a program for {machine}; this machine is {}", std::env::consts::ARCH)
            }
            Some(_) => "is a damaged program".to_owned(),
            None => "is neither a program nor a script that begins with #!".to_owned(),
        },
        nix::Error::E2BIG => "has arguments and an environment that are too long together".to_owned(),
        other => format!("cannot be executed: {}", io::Error::from(other)),
    }
}

/// The interpreter that a script's first line names.
fn interpreter(head: &[u8]) -> Option<String> {
    let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let line = String::from_utf8_lossy(line);
    line.trim_start().split([' ', '\t']).next().map(str::to_owned)
}

/// The machine that an ELF file is for, in Rust's names where it has one.
fn machine(head: &[u8]) -> Option<String> {
    if !head.starts_with(b"\x7fELF") || head.len() < 20 {
        return None;
    }
    Some(match u16::from_le_bytes([head[18], head[19]]) {
        3 => "x86".to_owned(),
        40 => "arm".to_owned(),
        62 => "x86_64".to_owned(),
        183 => "aarch64".to_owned(),
        243 => "riscv64".to_owned(),
        other => format!("ELF machine {other}"),
    })
}

/// Runs in the container's init, when everything else is done.
#[derive(Clone)]
pub(crate) struct ProgramExecutor {
    program: Program,
    filters: Filters,
    told: i32,
}

impl Executor for ProgramExecutor {
    fn exec(&self, _: &Spec) -> Result<(), ExecutorError> {
        // A program expects the defaults; ours ignores a closed pipe, for one.
        // By the system call itself, because the C library keeps two signals from its callers; all zeros is the
        // default action.
        let default = [0u64; 4];
        for signal in 1..=64 {
            // SAFETY: the kernel's structure is no larger, and a set of signals has 8 bytes. SIGKILL and SIGSTOP
            // refuse, which changes nothing.
            unsafe {
                libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), std::ptr::null::<u64>(), 8)
            };
        }
        let none = nix::sys::signal::SigSet::empty();
        let _ = none.thread_set_mask();
        let reason = match self.filters.install() {
            Ok(()) => self.program.execute(),
            Err(error) => format!("transient the filter of system calls cannot be installed: {error}"),
        };
        // SAFETY: the text is ours; the pipe is open until execve.
        unsafe { libc::write(self.told, reason.as_ptr().cast(), reason.len()) };
        // Nothing of libcontainer may go on in here.
        // SAFETY: ends this process, whose work is done.
        unsafe { libc::_exit(127) }
    }

    /// Everything is told by `exec`, in one place.
    fn validate(&self, _: &Spec) -> Result<(), ExecutorValidationError> {
        Ok(())
    }

    /// The program gets its own environment; this process needs none.
    fn setup_envs(&self, _: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explain(argv: &[&str], path: &str) -> String {
        let argv: Vec<String> = argv.iter().map(|text| text.to_string()).collect();
        let env = [("PATH".to_owned(), path.to_owned())];
        match Program::new(&argv, &env) {
            Ok(program) => program.execute(),
            Err(reason) => reason,
        }
    }

    #[test]
    fn failures_are_explained() {
        let directory = std::env::temp_dir().join(format!("apron-program-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let file = |name: &str, content: &[u8], mode: u32| {
            let path = directory.join(name);
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let check = |argv: &[&str], path: &str, end: &str| {
            let reason = explain(argv, path);
            assert!(reason.ends_with(end), "{reason}");
        };
        let here = directory.to_str().unwrap();
        check(&["foo"], "/nowhere:/bin", "permanent start command 'foo' not found in PATH (/nowhere:/bin)");
        check(&["/no/such"], "", "start command '/no/such' not found: no such file in the image");
        check(&[], "", "it is empty");
        check(&["a\0b"], "/bin", "it or its environment holds a zero byte");
        file("plain", b"hello", 0o644);
        check(&["plain"], here, "/plain) is not executable (mode 0644; chmod +x is needed)");
        check(&[&file("script", b"#!/no/python -u\n", 0o755)], "", "'/no/python', which is not in the image");
        check(&[&file("windows", b"#!/bin/sh\r\n", 0o755)], "", "'/bin/sh' and a carriage return");
        check(&[&file("text", b"hello", 0o755)], "", "is neither a program nor a script that begins with #!");
        let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
        elf.resize(64, 0);
        elf[18] = if cfg!(target_arch = "x86_64") { 183 } else { 62 };
        let reason = explain(&[&file("other", &elf, 0o755)], "");
        assert!(reason.contains("is a program for ") && reason.contains("; this machine is "), "{reason}");
        fs::remove_dir_all(&directory).unwrap();
    }
}
