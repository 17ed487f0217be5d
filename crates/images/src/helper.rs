//! How this program starts itself in a child role.
//!
//! Untrusted bytes are handled in a process of their own that changes its namespaces first. Namespaces can
//! only be changed safely by a process with one thread, so the program is executed anew instead of forked.

use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The one variable of a role's environment: its request as JSON.
const REQUEST: &str = "APRON_REQUEST";

/// The program and the arguments before the role's name.
#[derive(Clone, Debug)]
pub struct Helper {
    pub program: PathBuf,
    pub arguments: Vec<String>,
}

impl Helper {
    /// The running program itself, also after its file was replaced by an upgrade.
    pub fn this_program() -> Helper {
        Helper { program: PathBuf::from("/proc/self/exe"), arguments: Vec::new() }
    }

    /// A command for this role, with nothing but the request in its environment. Its standard input is free for
    /// the bytes that it works on.
    pub(crate) fn command(&self, role: &str, request: &impl serde::Serialize) -> io::Result<Command> {
        let request = serde_json::to_string(request).map_err(io::Error::other)?;
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).arg(role).env_clear().env(REQUEST, request);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(command)
    }
}

/// Enough for a zstd window of 128 MiB and everything else; a decoder that wants more is being attacked.
const ADDRESS_SPACE_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// In the child: no more memory than it may need from here on. One that asks for more is aborted.
pub(crate) fn bound_memory() -> io::Result<()> {
    use nix::sys::resource::{Resource, setrlimit};
    Ok(setrlimit(Resource::RLIMIT_AS, ADDRESS_SPACE_BYTES_MAX, ADDRESS_SPACE_BYTES_MAX)?)
}

/// What an aborted child's archive is refused with.
pub(crate) fn too_much_memory() -> String {
    format!("to read it takes more than {} MiB of memory, the limit", ADDRESS_SPACE_BYTES_MAX >> 20)
}

/// The role's request, from the child's side.
pub(crate) fn request<T: serde::de::DeserializeOwned>() -> io::Result<T> {
    let text = std::env::var(REQUEST).map_err(|_| io::Error::other("there is no request"))?;
    serde_json::from_str(&text).map_err(io::Error::other)
}
