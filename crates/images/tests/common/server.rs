//! Small HTTP servers that say what a test wants, and a network of the test's own to run them in.

use nix::sched::{CloneFlags, unshare};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};

/// What a server was asked, head by head.
pub(crate) type Heads = Arc<Mutex<Vec<String>>>;

/// Answers each request by `answer`, which gets its head. The server is on `address`, at a port that it tells.
pub(crate) fn serve_at(
    address: &str,
    answer: impl Fn(&str, &mut TcpStream) + Send + 'static,
) -> (u16, Heads) {
    let listener = TcpListener::bind((address, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let heads = Heads::default();
    let kept = heads.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n == 1) {
                head.push(byte[0]);
            }
            let head = String::from_utf8(head).unwrap();
            kept.lock().unwrap().push(head.clone());
            answer(&head, &mut stream);
        }
    });
    (port, heads)
}

/// On loopback, with one text for each path.
pub(crate) fn serve(answer: impl Fn(&str) -> String + Send + 'static) -> (u16, Heads) {
    serve_at("127.0.0.1", move |head, stream| {
        let _ = stream.write_all(answer(path(head)).as_bytes());
    })
}

pub(crate) fn path(head: &str) -> &str {
    head.split(' ').nth(1).unwrap_or("")
}

pub(crate) fn http(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n{body}", body.len())
}

/// Runs a test in network and mount namespaces of its own, with loopback up and these addresses on it. Needs root.
pub(crate) fn in_namespaces(addresses: &[&str], test: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).unwrap();
            let none: Option<&str> = None;
            let private = nix::mount::MsFlags::MS_REC | nix::mount::MsFlags::MS_PRIVATE;
            nix::mount::mount(none, "/", none, private, none).unwrap();
            let ip =
                |arguments: &[&str]| assert!(Command::new("ip").args(arguments).status().unwrap().success());
            ip(&["link", "set", "lo", "up"]);
            for address in addresses {
                ip(&["address", "add", &format!("{address}/32"), "dev", "lo"]);
            }
            test();
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    });
}
