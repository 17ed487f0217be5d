//! A stand-in for control: the socket from which a proxy of the platform pulls its route table.
//!
//! The messages are written by hand, as lines of JSON: a change of what they are shows here as a proxy that takes no
//! table, and `xtask` depends on nothing of the product.

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde::Deserialize;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// A proxy that was started connects within this time or has failed.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(20);
/// Until a table is served by every loop. It is also saved meanwhile.
const SERVING_TIME_MAX: Duration = Duration::from_secs(30);
const WRITE_TIME_MAX: Duration = Duration::from_secs(10);
const LOOK_PAUSE: Duration = Duration::from_millis(5);
const EPOCH: u64 = 1;

pub(super) struct Control {
    pub(super) socket: PathBuf,
    listener: UnixListener,
    link: Option<Link>,
    counter: u64,
}

/// The connection of a proxy.
struct Link {
    stream: UnixStream,
    /// What every loop serves, as the proxy reports it; ends with the connection.
    serving: Receiver<u64>,
}

/// What of a proxy's messages matters here.
#[derive(Deserialize)]
struct FromProxy {
    serving: Serving,
}

#[derive(Deserialize)]
struct Serving {
    generation: Generation,
}

#[derive(Deserialize)]
struct Generation {
    epoch: u64,
    counter: u64,
}

impl Control {
    pub(super) fn listen(directory: &Path) -> Result<Control> {
        let socket = directory.join("control.sock");
        let listener = UnixListener::bind(&socket)?;
        listener.set_nonblocking(true)?;
        Ok(Control { socket, listener, link: None, counter: 0 })
    }

    /// Waits for the proxy that was started.
    pub(super) fn accept(&mut self) -> Result<()> {
        let began = Instant::now();
        let stream = loop {
            match self.listener.accept() {
                Ok((stream, _)) => break stream,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
            ensure!(began.elapsed() < CONNECT_TIME_MAX, "the proxy does not ask for its route table");
            std::thread::sleep(LOOK_PAUSE);
        };
        stream.set_nonblocking(false)?;
        stream.set_write_timeout(Some(WRITE_TIME_MAX))?;
        let lines = BufReader::new(stream.try_clone()?).lines();
        let (sender, serving) = channel();
        // Ends with the connection. What the proxy reports must be read also while nobody waits for it.
        std::thread::Builder::new().name("control".into()).spawn(move || {
            for line in lines.map_while(Result::ok) {
                if let Some(counter) = served(&line)
                    && sender.send(counter).is_err()
                {
                    return;
                }
            }
        })?;
        self.link = Some(Link { stream, serving });
        Ok(())
    }

    /// The message of the next generation, with these services.
    pub(super) fn table(&mut self, services: &[String]) -> String {
        self.counter += 1;
        format!(
            "{{\"table\":{{\"generation\":{{\"epoch\":{EPOCH},\"counter\":{}}},\"services\":[{}]}}}}\n",
            self.counter,
            services.join(",")
        )
    }

    /// The message that the next generation has this service more.
    pub(super) fn change(&mut self, service: &str) -> String {
        let base = self.counter;
        self.counter += 1;
        format!(
            "{{\"change\":{{\"base\":{{\"epoch\":{EPOCH},\"counter\":{base}}},\
             \"generation\":{{\"epoch\":{EPOCH},\"counter\":{}}},\"services\":[{service}],\"gone\":[]}}}}\n",
            self.counter
        )
    }

    /// Sends a message to its last byte.
    pub(super) fn send(&mut self, message: &str) -> Result<()> {
        let link = self.link.as_mut().context("no proxy has connected")?;
        link.stream.write_all(message.as_bytes()).context("cannot send the route table")
    }

    /// Waits until every loop serves what was sent last.
    pub(super) fn wait_serving(&mut self) -> Result<()> {
        let link = self.link.as_mut().context("no proxy has connected")?;
        let end = Instant::now() + SERVING_TIME_MAX;
        loop {
            match link.serving.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(counter) if counter >= self.counter => return Ok(()),
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => bail!("the proxy does not serve the route table"),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(anyhow!("the proxy refused the route table"));
                }
            }
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // The thread that reads ends, also when the proxy does not.
        if let Some(link) = &self.link {
            let _ = link.stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

/// The generation's counter, of a message that tells of one of ours.
fn served(line: &str) -> Option<u64> {
    // Reports of thousands of services are long, and of no interest.
    if !line.starts_with("{\"serving\"") {
        return None;
    }
    let generation = serde_json::from_str::<FromProxy>(line).ok()?.serving.generation;
    (generation.epoch == EPOCH).then_some(generation.counter)
}

/// A service with one instance, as a table names it. `number` is its own.
pub(super) fn service(number: usize, host: &str, instance: SocketAddr) -> String {
    format!(
        "{{\"id\":\"{number:032x}\",\"name\":\"service-{number}\",\"hosts\":[\"{host}\"],\"state\":\"serving\",\
         \"revision\":1,\"max_concurrency\":1000,\"instances\":[{{\"id\":\"{number:032x}\",\"address\":\
         \"{instance}\"}}]}}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_sent_and_its_service_awaited() {
        let directory = std::env::temp_dir().join(format!("xtask-control-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let mut control = Control::listen(&directory).unwrap();
        let socket = control.socket.clone();
        let proxy = std::thread::spawn(move || {
            let mut stream = UnixStream::connect(socket).unwrap();
            stream.write_all(b"{\"hello\":{\"version\":1}}\n").unwrap();
            let mut line = String::new();
            BufReader::new(stream.try_clone().unwrap()).read_line(&mut line).unwrap();
            for counter in [0, 1] {
                let report =
                    format!("{{\"serving\":{{\"generation\":{{\"epoch\":1,\"counter\":{counter}}}}}}}\n");
                stream.write_all(report.as_bytes()).unwrap();
            }
            line
        });
        control.accept().unwrap();
        let services =
            [(1, "a.test"), (2, "b.test")].map(|(n, host)| service(n, host, "127.0.0.1:9".parse().unwrap()));
        let table = control.table(&services);
        control.send(&table).unwrap();
        control.wait_serving().unwrap();
        let sent: serde_json::Value = serde_json::from_str(&proxy.join().unwrap()).unwrap();
        assert_eq!(sent["table"]["generation"]["counter"], 1);
        assert_eq!(sent["table"]["services"][1]["hosts"][0], "b.test");
        assert_eq!(sent["table"]["services"][1]["instances"][0]["address"], "127.0.0.1:9");
        let table = control.table(&[]);
        assert!(control.send(&table).and_then(|()| control.wait_serving()).is_err(), "the proxy has gone");
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
