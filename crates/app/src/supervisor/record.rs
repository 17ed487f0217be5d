//! What the next supervisor must know of this one's children: `run/<child>.json`.
//!
//! Only root writes in the directory, and a record counts only when root wrote it: who believed any other would
//! signal and open what a taken control names.

use super::Role;
use super::process::{self, Process};
use crate::file;
use crate::listeners::{self, Listeners};
use nix::fcntl::OFlag;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A record has some hundred bytes, and some thirty more for each listener.
const RECORD_BYTES_MAX: u64 = 64 * 1024;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) pid: i32,
    pub(super) start_time: u64,
    /// Of the program that the child runs.
    pub(super) version: String,
    #[serde(default)]
    pub(super) listeners: Vec<ListenerRecord>,
    /// The descriptor under which it has the memory of counts.
    #[serde(default)]
    pub(super) counts: Option<RawFd>,
    /// Of a proxy those before it that may live: they were told to end, or will be when this one works.
    #[serde(default)]
    pub(super) former: Vec<Former>,
}

/// A process by number and start time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Former {
    pid: i32,
    start_time: u64,
}

impl Former {
    pub(super) fn of(process: &Process) -> Former {
        Former { pid: process.pid, start_time: process.start_time }
    }
}

/// One listening descriptor of the child.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ListenerRecord {
    pub(super) name: String,
    pub(super) addr: SocketAddr,
    pub(super) fd: RawFd,
}

impl Record {
    pub(super) fn new<'a>(
        process: &Process,
        listeners: impl IntoIterator<Item = (&'a str, &'a Listeners)>,
    ) -> Record {
        Record::of(process.pid, process.start_time, listeners)
    }

    /// Of the supervisor itself: commands on this machine read where it listens.
    pub(super) fn of_this_process<'a>(
        listeners: impl IntoIterator<Item = (&'a str, &'a Listeners)>,
    ) -> Record {
        let pid = std::process::id() as i32;
        Record::of(pid, process::start_time(pid).unwrap_or(0), listeners)
    }

    fn of<'a>(
        pid: i32,
        start_time: u64,
        listeners: impl IntoIterator<Item = (&'a str, &'a Listeners)>,
    ) -> Record {
        let listeners = listeners
            .into_iter()
            .flat_map(|(name, listeners)| {
                // A child gets its listeners under the numbers that they have here.
                listeners.sockets.iter().map(move |socket| ListenerRecord {
                    name: name.to_owned(),
                    addr: listeners.address,
                    fd: socket.as_raw_fd(),
                })
            })
            .collect();
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Record { pid, start_time, version, listeners, counts: None, former: Vec::new() }
    }

    pub(super) fn after(self, former: &[Former]) -> Record {
        Record { former: former.to_vec(), ..self }
    }

    /// A child gets it under the number that it has here, and keeps it so.
    pub(super) fn counting_in(self, counts: Option<&OwnedFd>) -> Record {
        Record { counts: counts.map(AsRawFd::as_raw_fd), ..self }
    }
}

/// A child of an earlier supervisor that still lives, and the listeners that it has.
#[derive(Debug)]
pub(super) struct Survivor {
    pub(super) process: Process,
    pub(super) record: Record,
    pub(super) listeners: BTreeMap<String, Listeners>,
    /// Where it counts the requests in flight, if proxies of this version can count there too.
    pub(super) counts: Option<OwnedFd>,
}

/// Records hold no secret, and `apron` commands of any user look for the platform.
pub(super) const RECORD_MODE: u32 = 0o644;

/// Writes the record of a child, whole or not at all.
pub(super) fn write(run: &Path, role: Role, record: &Record) -> io::Result<()> {
    let bytes = serde_json::to_vec(record).expect("numbers and strings always have a JSON form");
    file::replace(&path(run, role), &bytes, RECORD_MODE)
}

fn path(run: &Path, role: Role) -> PathBuf {
    run.join(format!("{}.json", role.name()))
}

/// The living child of an earlier supervisor, with the listeners it could be relieved of. None when there is
/// none; an unreadable record is reported and taken as none.
pub(super) fn survivor(run: &Path, role: Role) -> Option<Survivor> {
    let path = path(run, role);
    let record = match read(&path) {
        Ok(record) => record?,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "a record of an earlier run cannot be used");
            return None;
        }
    };
    let process = match Process::find(record.pid, record.start_time) {
        Ok(process) => process?,
        Err(error) => {
            tracing::warn!(pid = record.pid, %error, "cannot look at a process of an earlier run");
            return None;
        }
    };
    let mut taken: BTreeMap<String, Listeners> = BTreeMap::new();
    for listener in &record.listeners {
        match process.take_descriptor(listener.fd) {
            // Whatever the number means in the child now, only a listener on the recorded address is used.
            Ok(socket) if listeners::listening_address(&socket) == Some(listener.addr) => taken
                .entry(listener.name.clone())
                .or_insert_with(|| Listeners { address: listener.addr, sockets: Vec::new() })
                .sockets
                .push(socket),
            Ok(_) => {
                tracing::warn!(pid = record.pid, fd = listener.fd, "a recorded listener is none any more")
            }
            Err(error) => {
                tracing::warn!(pid = record.pid, fd = listener.fd, %error, "cannot take a listener over")
            }
        }
    }
    let counts = record.counts.and_then(|number| counts(&process, number));
    Some(Survivor { process, record, listeners: taken, counts })
}

/// The living proxies that came before the one of the record, whether that lives or not.
pub(super) fn former(run: &Path) -> Vec<Process> {
    // What is wrong with a record is said by `survivor`.
    let record = read(&path(run, Role::Proxy)).ok().flatten();
    let former = record.map(|record| record.former).unwrap_or_default();
    former.iter().filter_map(|proxy| Process::find(proxy.pid, proxy.start_time).ok()?).collect()
}

fn counts(process: &Process, number: RawFd) -> Option<OwnedFd> {
    let counts = match process.take_descriptor(number) {
        Ok(counts) => counts,
        Err(error) => {
            tracing::warn!(pid = process.pid, fd = number, %error, "cannot take the memory of counts over");
            return None;
        }
    };
    // As with listeners: the number may mean anything in the child now. Another version's is of no use for good.
    let fits = apron_proxy::is_counts_memory(&counts);
    if !fits {
        tracing::warn!(
            pid = process.pid,
            fd = number,
            "the recorded memory of counts is not one of this version"
        );
    }
    fits.then_some(counts)
}

fn read(path: &Path) -> io::Result<Option<Record>> {
    let file = OpenOptions::new().read(true).custom_flags(OFlag::O_NOFOLLOW.bits()).open(path);
    let file = match file {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let metadata = file.metadata()?;
    if metadata.uid() != 0 || !metadata.is_file() {
        return Err(io::Error::other("it was not written by root"));
    }
    let mut text = String::new();
    file.take(RECORD_BYTES_MAX).read_to_string(&mut text)?;
    serde_json::from_str(&text).map(Some).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::scratch::Scratch;
    use std::fs;
    use std::process::Command;

    #[tokio::test]
    async fn a_survivor_is_relieved_of_its_listeners() {
        let scratch = Scratch::new();
        assert!(survivor(scratch.path(), Role::Proxy).is_none());
        let listeners = listeners::bind("127.0.0.1:0".parse().unwrap(), 2).unwrap();
        // This very process is the one that holds them.
        let process = Process::of_child(std::process::id() as i32).unwrap();
        let counts = apron_proxy::counts_memory().unwrap();
        let record = Record::new(&process, [("http", &listeners)]).counting_in(Some(&counts));
        write(scratch.path(), Role::Proxy, &record).unwrap();
        let found = survivor(scratch.path(), Role::Proxy).unwrap();
        assert_eq!(found.process.pid, process.pid);
        let taken = &found.listeners["http"];
        assert_eq!((taken.address, taken.sockets.len()), (listeners.address, 2));
        drop(listeners);
        std::net::TcpStream::connect(taken.address).unwrap();
        let inode = |file: &OwnedFd| nix::sys::stat::fstat(file).unwrap().st_ino;
        assert_eq!(found.counts.as_ref().map(inode), Some(inode(&counts)));
        // Whatever else has the number now is not taken for it.
        let other = OwnedFd::from(fs::File::open("/dev/null").unwrap());
        let record = Record { counts: Some(other.as_raw_fd()), ..record };
        write(scratch.path(), Role::Proxy, &record).unwrap();
        assert!(survivor(scratch.path(), Role::Proxy).unwrap().counts.is_none());
    }

    #[tokio::test]
    async fn those_before_a_dead_proxy_are_found() {
        let scratch = Scratch::new();
        assert!(former(scratch.path()).is_empty());
        let own = Process::of_child(std::process::id() as i32).unwrap();
        let lives = Former::of(&own);
        let gone = Former { start_time: lives.start_time + 1, ..lives };
        let dead = Record { start_time: gone.start_time, ..Record::new(&own, []) };
        write(scratch.path(), Role::Proxy, &dead.after(&[gone, lives])).unwrap();
        assert!(survivor(scratch.path(), Role::Proxy).is_none());
        let found: Vec<i32> = former(scratch.path()).iter().map(|process| process.pid).collect();
        assert_eq!(found, [own.pid]);
    }

    #[tokio::test]
    async fn a_record_of_before_there_were_counts_is_read() {
        let scratch = Scratch::new();
        let process = Process::of_child(std::process::id() as i32).unwrap();
        let text = format!(
            r#"{{"pid": {}, "start_time": {}, "version": "0.1.0", "listeners": []}}"#,
            process.pid, process.start_time
        );
        fs::write(scratch.path().join("proxy.json"), text).unwrap();
        assert!(survivor(scratch.path(), Role::Proxy).unwrap().counts.is_none());
    }

    #[tokio::test]
    async fn records_of_the_dead_and_of_others_do_not_count() {
        let scratch = Scratch::new();
        let mut child = Command::new("true").spawn().unwrap();
        let process = Process::of_child(child.id() as i32);
        child.wait().unwrap();
        if let Ok(process) = process {
            write(scratch.path(), Role::Node, &Record::new(&process, [])).unwrap();
            assert!(survivor(scratch.path(), Role::Node).is_none());
        }
        let own = Process::of_child(std::process::id() as i32).unwrap();
        write(scratch.path(), Role::Control, &Record::new(&own, [])).unwrap();
        assert!(survivor(scratch.path(), Role::Control).is_some());
        // Needs root: gives the record to another user.
        std::os::unix::fs::chown(scratch.path().join("control.json"), Some(61_900), None).unwrap();
        assert!(survivor(scratch.path(), Role::Control).is_none());
        fs::write(scratch.path().join("proxy.json"), "{").unwrap();
        assert!(survivor(scratch.path(), Role::Proxy).is_none());
    }
}
