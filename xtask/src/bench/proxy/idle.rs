//! Memory of connections that clients keep and do not use.

use super::super::process::{Directory, Process};
use super::super::{Outcome, Verdict, interrupt};
use super::certificate::Authority;
use super::origin::{self, Origin};
use super::subjects::{self, APRON, Front};
use super::{HOST, PROXY_CPU, Tools, ask};
use anyhow::{Result, ensure};
use socket2::{Domain, Socket, Type};
use std::fmt::Write as _;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};

const CONNECTIONS: usize = 10_000;
/// Event loops of our proxy: one per core of the smallest machine, as it has by default. One alone is nearly full with
/// so many connections, and closes idle ones sooner.
const LOOPS: u32 = 2;
/// Of one client's address: ours bounds what a stranger may have.
const CONNECTIONS_OF_ADDRESS: usize = 100;
/// Looks for a signal between so many connections.
const CHECK_EVERY: usize = 500;
const PSS_BAR_MIB: f64 = 150.0;

pub(super) fn run(tools: &Tools, origin: &Origin, authority: &Authority) -> Result<Outcome> {
    let directory = Directory::new("proxy")?;
    let files = authority.write(&directory, HOST)?;
    let mut subjects = vec![subjects::nginx(&directory, origin.address, Front::Http, &files)?];
    if let Some(mut apron) = subjects::apron(&directory, tools, origin.address, Front::Http, &files)? {
        apron.arguments = subjects::arguments(origin.address, apron.address, LOOPS);
        subjects.insert(0, apron);
    }
    let mut text = format!(
        "**{CONNECTIONS} idle connections**, each after one HTTP/1.1 request; apron on {LOOPS} loops. PSS of all of \
         the proxy's processes.\n\n\
         | proxy | PSS MiB before | with the connections | KiB per connection | closed by the proxy |\n\
         |---|---|---|---|---|\n"
    );
    let mut verdicts = Vec::new();
    for subject in &subjects {
        eprintln!("{CONNECTIONS} idle connections: {}", subject.name);
        let arguments: Vec<&str> = subject.arguments.iter().map(String::as_str).collect();
        let process = Process::start(PROXY_CPU, &subject.program, &arguments, subject.address)?;
        let before = process.pss_kib() as f64 / 1024.0;
        let held = hold(subject.address)?;
        let with = process.pss_kib() as f64 / 1024.0;
        let closed = held.iter().filter(|stream| !is_open(stream)).count();
        let each = (with - before) * 1024.0 / CONNECTIONS as f64;
        writeln!(text, "| {} | {before:.1} | {with:.1} | {each:.2} | {closed} |", subject.name)?;
        if subject.name == APRON {
            verdicts.push(Verdict::new("10,000 idle connections, PSS MiB", with, PSS_BAR_MIB));
            verdicts.push(Verdict::new("idle connections that were closed", closed as f64, 0.0));
        }
    }
    Ok(Outcome { text, verdicts })
}

/// Connections on each of which one request was answered.
fn hold(address: SocketAddr) -> Result<Vec<TcpStream>> {
    let mut held = Vec::with_capacity(CONNECTIONS);
    while held.len() < CONNECTIONS {
        if held.len().is_multiple_of(CHECK_EVERY) {
            interrupt::check()?;
        }
        let mut stream = ask::prepared(connect(address, held.len() / CONNECTIONS_OF_ADDRESS)?)?;
        let status = ask::ask(&mut stream, HOST, origin::SMALL)?;
        ensure!(status == 200, "connection {} was answered {status}", held.len() + 1);
        held.push(stream);
    }
    Ok(held)
}

/// As the client of this number, each of which has an address of its own.
fn connect(address: SocketAddr, number: usize) -> Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    let client = Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 1, 0, 1)) + u32::try_from(number)?);
    socket.bind(&SocketAddr::from((client, 0)).into())?;
    socket.connect_timeout(&address.into(), ask::CONNECT_TIME_MAX)?;
    Ok(socket.into())
}

/// Whether the peer has neither ended nor broken it.
fn is_open(stream: &TcpStream) -> bool {
    let looked = stream.set_nonblocking(true).and_then(|()| stream.peek(&mut [0]));
    looked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_connection_that_the_peer_closed_is_not_open() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        assert!(is_open(&client));
        drop(server);
        assert!(!is_open(&client));
    }
}
