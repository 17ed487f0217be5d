//! Clients and servers that others wrote, as Debian and PyPI have them, on both sides of the proxy: what they make of
//! the protocols is what users' programs make of them.
//!
//! A program that is missing fails its test with what to install. Those that CI installs run in CI, the others in the
//! long list.

mod curl;
mod load;
mod python;
mod tls;

use crate::support::{Control, Directory, Link, Origin, table};
use crate::tls::Front;
use apron_model::routes::{RoutePolicy, RouteState};
use apron_proxy::{Config, Tls};
use std::io::{BufRead, BufReader, Lines, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};

const HOST: &str = "app.apron.localhost";
/// After so many seconds a program is ended, and its test fails. None has more to do than some seconds' work.
const PROGRAM_S: u32 = 60;

/// A proxy that listens for both, before services that control told it of, with certificates of the local authority.
struct World {
    front: Front,
    /// PEM.
    authority: PathBuf,
    directory: Directory,
    _link: Link,
    _control: Control,
}

impl World {
    fn new(services: &[(&str, SocketAddr, RoutePolicy)]) -> World {
        let directory = Directory::new();
        let socket = directory.file("control.sock");
        let control = Control::listen(&socket);
        let tls = Tls {
            directory: directory.file("tls"),
            apps_domain: "apron.localhost".to_owned(),
            regions: vec!["us-east-1".to_owned()],
        };
        let config = Config::control(socket, directory.file("routes.json"), Some(tls), 1_000);
        let front = Front::start(config);
        let mut link = control.accept();
        let addresses: Vec<[SocketAddr; 1]> = services.iter().map(|(_, address, _)| [*address]).collect();
        let entries: Vec<_> = services
            .iter()
            .zip(&addresses)
            .map(|((host, _, _), addresses)| (*host, RouteState::Serving, &addresses[..]))
            .collect();
        let mut routes = table(1, &entries);
        for (service, (_, _, policy)) in routes.services.iter_mut().zip(services) {
            service.policy = policy.clone();
        }
        link.publish(routes);
        World { front, authority: directory.file("tls/ca.pem"), directory, _link: link, _control: control }
    }

    /// With one service that has no wishes.
    fn plain(origin: &Origin) -> World {
        World::new(&[(HOST, origin.address, RoutePolicy::default())])
    }

    fn authority(&self) -> &str {
        self.authority.to_str().unwrap()
    }
}

/// Answers with what it was sent: first line, header lines, an empty line, and the body.
fn mirror() -> Origin {
    Origin::answering(|head, wire| {
        let body = wire.body(head);
        let mut text = format!("{}\n", head.first).into_bytes();
        for (name, value) in &head.headers {
            text.extend_from_slice(format!("{}: {value}\n", name.to_lowercase()).as_bytes());
        }
        text.push(b'\n');
        text.extend_from_slice(&body);
        wire.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", text.len()));
        if !head.first.starts_with("HEAD ") {
            wire.write.write_all(&text).unwrap();
        }
    })
}

/// A program that is run, with what it came with.
struct Program {
    command: Command,
    name: String,
    from: String,
    input: Vec<u8>,
}

impl Program {
    /// From a Debian package.
    fn debian(name: &str, package: &str) -> Program {
        Program::new(name, PROGRAM_S, &format!("the Debian package {package}"))
    }

    /// The Python of the virtual environment with the libraries of the long list.
    fn python(script: &str) -> Program {
        let python = repository().join("target/clients/bin/python3");
        let from = "scripts/test --all, which makes the virtual environment target/clients";
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/clients").join(script);
        Program::new(python.to_str().unwrap(), PROGRAM_S, from).args(&["-u", script.to_str().unwrap()])
    }

    fn new(name: &str, seconds: u32, from: &str) -> Program {
        // Of coreutils: it ends also a program that takes no notice, and says by its code what there was.
        let mut command = Command::new("timeout");
        command.args(["--kill-after=2", &seconds.to_string(), name]);
        // Where the machine reaches the world by a proxy, these programs must not ask that for loopback's.
        for variable in ["http_proxy", "https_proxy", "all_proxy", "no_proxy", "grpc_proxy"] {
            command.env_remove(variable).env_remove(variable.to_uppercase());
        }
        Program { command, name: name.to_owned(), from: from.to_owned(), input: Vec::new() }
    }

    fn args(mut self, arguments: &[&str]) -> Program {
        self.command.args(arguments);
        self
    }

    /// What it reads; it is given before anything that it writes is read.
    fn input(mut self, text: &str) -> Program {
        self.input = text.as_bytes().to_vec();
        self
    }

    /// What it wrote, whatever became of it.
    fn run(mut self) -> Output {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().expect("timeout, of the Debian package coreutils");
        // It may have ended without reading.
        let _ = child.stdin.take().unwrap().write_all(&self.input);
        let output = child.wait_with_output().unwrap();
        let code = output.status.code();
        assert_ne!(code, Some(127), "there is no {}: install {}", self.name, self.from);
        assert!(!matches!(code, Some(124 | 137)), "{} did not end: {}", self.name, both(&output));
        output
    }

    /// What it wrote to its standard output, ending well.
    fn well(self) -> String {
        let command = format!("{:?}", self.command);
        let output = self.run();
        assert!(output.status.success(), "{command}, {}: {}", output.status, both(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Leaves it running.
    fn start(mut self) -> Background {
        self.command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = self.command.spawn().expect("timeout, of the Debian package coreutils");
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Background { child, lines, what: format!("{}, of {}", self.name, self.from) }
    }
}

/// All that a program wrote.
fn both(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).join("\n")
}

/// A program in the background; ended at the end.
struct Background {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    what: String,
}

impl Background {
    /// The next line that it writes.
    fn line(&mut self) -> String {
        self.lines.next().unwrap_or_else(|| panic!("{} ended or is not there", self.what)).unwrap()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // To timeout, which passes it on; killed itself it could not.
        let pid = nix::unistd::Pid::from_raw(self.child.id() as i32);
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}
