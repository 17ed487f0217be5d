//! Our proxy as the platform runs it: with its configuration, its listeners and its signs of life on descriptors that
//! it inherits, and routes from control.

use super::super::process::{self, Directory, Process};
use super::control::Control;
use anyhow::{Context, Result};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use serde_json::json;
use socket2::{Domain, Protocol, Socket, Type};
use std::fs::File;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Connections that wait to be accepted; the kernel cuts this at net.core.somaxconn.
const BACKLOG: i32 = 4096;

/// A running proxy with what it asks for its routes.
pub(super) struct Child {
    pub(super) http: SocketAddr,
    /// With certificates.
    pub(super) https: Option<SocketAddr>,
    /// Where it tells what it counted.
    pub(super) admin: PathBuf,
    /// Before control in the order in which both end.
    pub(super) process: Process,
    pub(super) control: Control,
    _directory: Directory,
}

impl Child {
    /// On these cores, such as `0,1`, with so many loops; waits until it asks for its routes. Certificates of the
    /// directory are used where there is one.
    pub(super) fn start(
        program: &str,
        cpus: &str,
        loops: usize,
        certificates: Option<&Path>,
    ) -> Result<Child> {
        let directory = Directory::new("proxy-child")?;
        let mut control = Control::listen(&directory.0)?;
        let (http_sockets, http) = listeners(loops)?;
        let https = certificates.map(|_| listeners(loops)).transpose()?;
        let admin = directory.0.join("admin.sock");
        let configuration = configuration(&directory.0, &control, &admin, certificates);
        let configuration = directory.write("proxy.json", &configuration)?;
        let configuration = OwnedFd::from(File::open(configuration)?);
        let signs = OwnedFd::from(File::options().write(true).open("/dev/null")?);

        let mut command = process::pinned(cpus, program);
        command.arg("proxy");
        command.env("APRON_CONFIG_FD", inherited(&configuration)?);
        command.env("APRON_SIGNS_FD", inherited(&signs)?);
        let mut names = format!("http={}", list(&http_sockets)?);
        if let Some((sockets, _)) = &https {
            names += &format!(";https={}", list(sockets)?);
        }
        command.env("APRON_LISTENERS", names);
        let process = Process::launch(command, program, http)?;
        control.accept()?;
        let https = https.map(|(_, address)| address);
        Ok(Child { http, https, admin, process, control, _directory: directory })
    }
}

/// What a supervisor would give to it, but for a user to become.
fn configuration(directory: &Path, control: &Control, admin: &Path, certificates: Option<&Path>) -> String {
    let mut config = json!({
        "source": { "control": { "socket": control.socket, "saved": directory.join("routes.json") } },
        "tls": null,
        "drain_ms": 1_000,
        "head_timeout_ms": 120_000,
        "instance_wait_ms": 30_000,
        "idle_timeout_ms": 60_000,
        "admin": admin,
    });
    if let Some(certificates) = certificates {
        config["certificates"] = json!({ "directory": certificates });
        // The local authority, of a domain that nothing here is in.
        let directory = directory.join("tls");
        config["tls"] =
            json!({ "directory": directory, "apps_domain": "apps.localhost", "regions": ["local"] });
    }
    json!({ "user": null, "data_dir": directory, "config": config }).to_string()
}

/// Sockets for one address, one per loop.
fn listeners(loops: usize) -> Result<(Vec<OwnedFd>, SocketAddr)> {
    let mut address = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut sockets = Vec::new();
    for _ in 0..loops {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_port(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        // The first one's port is that of all.
        address = socket.local_addr()?.as_socket().context("a socket without an address")?;
        sockets.push(OwnedFd::from(socket));
    }
    Ok((sockets, address))
}

fn list(sockets: &[OwnedFd]) -> Result<String> {
    let numbers = sockets.iter().map(inherited).collect::<Result<Vec<String>>>()?;
    Ok(numbers.join(","))
}

/// Leaves it open in what is started from now on, and gives its number there. Only while this process starts nothing
/// else: whoever holds it closes it right after.
fn inherited(descriptor: &OwnedFd) -> Result<String> {
    fcntl(descriptor.as_fd(), FcntlArg::F_SETFD(FdFlag::empty()))?;
    Ok(descriptor.as_raw_fd().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_of_one_address_are_one_per_loop() {
        let (sockets, address) = listeners(2).unwrap();
        assert_eq!(sockets.len(), 2);
        for socket in &sockets {
            let socket = Socket::from(socket.try_clone().unwrap());
            assert_eq!(socket.local_addr().unwrap().as_socket(), Some(address));
        }
        std::net::TcpStream::connect(address).unwrap();
    }
}
