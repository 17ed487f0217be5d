//! A name server that knows one address for every name.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Answers on a free port of loopback until it is dropped.
pub struct NameServer {
    pub address: SocketAddr,
    stop: Arc<AtomicBool>,
    answering: Option<JoinHandle<()>>,
}

impl NameServer {
    pub fn start(known: Ipv4Addr) -> NameServer {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let address = socket.local_addr().expect("an address");
        socket.set_read_timeout(Some(Duration::from_millis(100))).expect("a time limit");
        let stop = Arc::new(AtomicBool::new(false));
        let ends = stop.clone();
        let answering = std::thread::spawn(move || {
            let mut question = [0; 512];
            while !ends.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut question) else { continue };
                if let Some(answer) = answer(&question[..length], known) {
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        NameServer { address, stop, answering: Some(answering) }
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.answering.take().map(JoinHandle::join);
    }
}

/// The question with one A record behind it, which names the question's name by a pointer.
fn answer(question: &[u8], known: Ipv4Addr) -> Option<Vec<u8>> {
    const HEADER: usize = 12;
    let name_end = question.get(HEADER..)?.iter().position(|byte| *byte == 0)? + HEADER;
    let mut answer = question.get(..name_end + 5)?.to_vec();
    answer[2..4].copy_from_slice(&[0x81, 0x80]);
    answer[6..12].copy_from_slice(&[0, 1, 0, 0, 0, 0]);
    answer.extend([0xc0, HEADER as u8, 0, 1, 0, 1, 0, 0, 0, 30, 0, 4]);
    answer.extend(known.octets());
    Some(answer)
}
