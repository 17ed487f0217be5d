//! How this program starts itself in a child role.
//!
//! Untrusted bytes are handled in a process of their own that changes its namespaces first. Namespaces can
//! only be changed safely by a process with one thread, so the program is executed anew instead of forked.

use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};

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

    /// A command for this role with an empty environment; the role's request goes to its standard input.
    pub fn command(&self, role: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).arg(role).env_clear();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

/// Reads the role's one JSON request, from the child's side.
pub fn request<T: serde::de::DeserializeOwned>() -> io::Result<T> {
    use std::io::Read;
    let mut text = Vec::new();
    let limit = apron_model::limits::MESSAGE_BYTES_MAX as u64;
    io::stdin().take(limit).read_to_end(&mut text)?;
    serde_json::from_slice(&text).map_err(io::Error::other)
}
