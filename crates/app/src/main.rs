//! The binary `apron`: the platform, its hidden child processes and the command line, in one file to install.

mod children;
mod cli;
mod config;
mod credentials;
mod file;
mod listeners;
mod log;
mod proxy;
mod serve;
mod supervisor;

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;
use supervisor::Role;

fn main() -> ExitCode {
    // These start or become a container or another user, which must happen before there is a second thread.
    let arguments: Vec<_> = std::env::args_os().collect();
    match (arguments.get(1).and_then(|name| name.to_str()), arguments.get(2)) {
        (Some("launch"), Some(dir)) => apron_compute::local::container::launch::launch_main(Path::new(dir)),
        (Some("launch-ahead"), None) => apron_compute::local::container::launch::launch_ahead_main(),
        (Some("unpack"), _) => apron_images::unpack::child_main(),
        (Some("read-archive"), _) => apron_images::archive::child_main(),
        (Some(name), None) => match Role::ALL.into_iter().find(|role| OsStr::new(role.name()) == name) {
            Some(role) => children::run(role),
            None => command(arguments),
        },
        _ => command(arguments),
    }
}

fn command(arguments: Vec<OsString>) -> ExitCode {
    cli::run(arguments).unwrap_or_else(|error| cli::failed(&error))
}
