//! Another machine on this host's network: a network namespace behind a cable of its own, with an address that
//! looks public and one that is private. What an instance may reach is proven against listeners that are there.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::process::{Command, Stdio};

/// Cables at a time on one machine: /30 networks of the documentation range 203.0.113.0/24.
const CABLES: u8 = 64;

/// Dropping it removes the namespace and with it the cable.
pub struct Neighbourhood {
    name: String,
    /// As far as the platform can know, an address of the internet.
    pub public: Ipv4Addr,
    pub private: Ipv4Addr,
}

impl Neighbourhood {
    pub fn new() -> Neighbourhood {
        remove_stale();
        for number in 0..CABLES {
            let (name, near) =
                (format!("aprontest-{}-{number}", std::process::id()), format!("aptest{number}"));
            // The name of the near end is the lock on this number.
            if ip(&["netns", "add", &name]).is_err() {
                continue;
            }
            let cable = ["link", "add", &near, "type", "veth", "peer", "name", "far", "netns", &name];
            if ip(&cable).is_err() {
                let _ = ip(&["netns", "del", &name]);
                continue;
            }
            let low = number * 4;
            let made = Neighbourhood {
                name,
                public: Ipv4Addr::new(203, 0, 113, low + 2),
                private: Ipv4Addr::new(10, 86, number, 2),
            };
            let prefix = |address: String| format!("{address}/30");
            let inside = |arguments: &[&str]| {
                let mut all = vec!["-n", made.name.as_str()];
                all.extend(arguments);
                ip(&all).expect("the namespace's network");
            };
            for network in [format!("203.0.113.{}", low + 1), format!("10.86.{number}.1")] {
                ip(&["addr", "add", &prefix(network), "dev", &near]).expect("an address");
            }
            // The platform does this for the interfaces of default routes alone.
            std::fs::write(format!("/proc/sys/net/ipv4/conf/{near}/forwarding"), "1").expect("forwarding");
            ip(&["link", "set", &near, "up"]).expect("the cable");
            for address in [made.public, made.private] {
                inside(&["addr", "add", &prefix(address.to_string()), "dev", "far"]);
            }
            inside(&["link", "set", "far", "up"]);
            inside(&["link", "set", "lo", "up"]);
            return made;
        }
        panic!("no network namespace could be made: {:?}", ip(&["netns", "list"]));
    }

    /// A listener of the namespace; its connections can be served from any thread.
    pub fn listen(&self, address: SocketAddrV4) -> TcpListener {
        let path = format!("/run/netns/{}", self.name);
        std::thread::spawn(move || -> io::Result<TcpListener> {
            nix::sched::setns(File::open(path)?, nix::sched::CloneFlags::CLONE_NEWNET)?;
            TcpListener::bind(address)
        })
        .join()
        .expect("a thread")
        .expect("a listener in the namespace")
    }

    /// A program that runs in the namespace.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }
}

impl Drop for Neighbourhood {
    fn drop(&mut self) {
        let _ = ip(&["netns", "del", &self.name]);
    }
}

/// What test programs that were killed left behind.
fn remove_stale() {
    let list = ip(&["netns", "list"]).unwrap_or_default();
    for name in list.lines().filter_map(|line| line.split_ascii_whitespace().next()) {
        let owner = name.strip_prefix("aprontest-").and_then(|rest| rest.split('-').next()?.parse().ok());
        if owner.is_some_and(|pid| super::processes::Seen::of(pid).is_none()) {
            let _ = ip(&["netns", "del", name]);
        }
    }
}

fn ip(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("ip").args(arguments).stdin(Stdio::null()).output().expect("iproute2");
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(format!("ip {arguments:?}: {}", String::from_utf8_lossy(&output.stderr))),
    }
}
