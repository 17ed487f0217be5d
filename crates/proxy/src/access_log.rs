//! The access log: one line of JSON per request, written by a thread of its own.
//!
//! No request waits for it. Lines pass through a bounded channel; what finds it full, or the disk, is counted and said
//! in the log as soon as something can be written again. The file is rotated by size; of the earlier ones the last is
//! kept beside it.

use crate::wall::{self, Iso8601};
use serde::Serialize;
use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Lines on their way to the thread: two hundred thousand a second while it gathers, of 3 KiB each at the longest.
const LINES_WAITING_MAX: usize = 4_096;
/// Of a path, what a line shows.
pub(crate) const PATH_BYTES_MAX: usize = 1_024;
/// Lines are written together: a loop that had to wake the thread for each of them would pay for it.
const GATHER_TIME: Duration = Duration::from_millis(20);
/// What is written at once.
const BATCH_BYTES_MAX: usize = 1024 * 1024;
/// Of one file; there are two.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// At the end, how long the last lines may take: a disk that hangs must not keep the process.
const END_TIME_MAX: Duration = Duration::from_secs(2);
/// How often it is looked at meanwhile.
const LOOK_PERIOD: Duration = Duration::from_millis(2);
/// Its user's and group's alone: addresses and paths of people stand in it.
const MODE: u32 = 0o640;

/// What is known of a request when it has ended. Times in milliseconds.
#[derive(Serialize)]
pub(crate) struct Line<'a> {
    /// When the request began.
    pub(crate) time: String,
    pub(crate) service: &'a str,
    pub(crate) service_id: &'a str,
    pub(crate) revision: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) instance: Option<&'a str>,
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cause: Option<&'static str>,
    /// Bytes of the bodies.
    pub(crate) received: u64,
    pub(crate) sent: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) queued_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) connect_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) first_byte_ms: Option<f64>,
    pub(crate) total_ms: f64,
    pub(crate) client: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) request_id: Option<&'a str>,
}

/// What stands in the log for lines that could not.
#[derive(Serialize)]
struct Dropped {
    time: String,
    dropped: u64,
}

/// The loops' end. The thread ends when the last of them has let go of it.
pub(crate) struct AccessLog {
    lines: SyncSender<Vec<u8>>,
    /// Lines that were lost since the start.
    dropped: Arc<AtomicU64>,
}

/// The thread's end.
pub(crate) struct Writer(JoinHandle<()>);

/// Starts the thread. The file is opened when there is a line: a log that nobody asked for leaves none.
pub(crate) fn start(path: &Path, dropped: Arc<AtomicU64>) -> io::Result<(Arc<AccessLog>, Writer)> {
    let (sender, lines) = sync_channel(LINES_WAITING_MAX);
    let log = Log { path: path.to_owned(), file: None, torn: false, bytes_max: FILE_BYTES_MAX };
    let counter = dropped.clone();
    let thread =
        thread::Builder::new().name("access-log".into()).spawn(move || write_lines(log, &lines, &counter))?;
    Ok((Arc::new(AccessLog { lines: sender, dropped }), Writer(thread)))
}

impl AccessLog {
    /// Never waits.
    pub(crate) fn write(&self, line: &Line<'_>) {
        let mut text = Vec::with_capacity(512);
        if serde_json::to_writer(&mut text, line).is_ok() {
            text.push(b'\n');
            if self.lines.try_send(text).is_ok() {
                return;
            }
        }
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

impl Writer {
    /// Waits, for a bounded time, until what was said is written. Nobody may say anything any more.
    pub(crate) fn finish(self) {
        let since = Instant::now();
        while !self.0.is_finished() {
            if since.elapsed() > END_TIME_MAX {
                tracing::warn!("the last lines of the access log are not written");
                return;
            }
            thread::sleep(LOOK_PERIOD);
        }
        // A thread that panicked has said so on stderr.
        let _ = self.0.join();
    }
}

fn write_lines(mut log: Log, lines: &Receiver<Vec<u8>>, dropped: &AtomicU64) {
    // Of the dropped lines, those that the log knows about.
    let mut said = 0;
    let mut failing = false;
    let mut batch = Vec::new();
    while let Ok(first) = lines.recv() {
        thread::sleep(GATHER_TIME);
        let mut count = 1;
        batch.clear();
        batch.extend_from_slice(&first);
        while batch.len() < BATCH_BYTES_MAX
            && let Ok(line) = lines.try_recv()
        {
            batch.extend_from_slice(&line);
            count += 1;
        }
        let lost = dropped.load(Ordering::Relaxed);
        if lost > said {
            let line = Dropped { time: Iso8601(wall::since_1970()).to_string(), dropped: lost - said };
            // A number and a time always have a JSON form.
            let _ = serde_json::to_writer(&mut batch, &line);
            batch.push(b'\n');
        }
        match log.append(&batch) {
            Ok(()) => {
                said = lost;
                failing = false;
            }
            Err(error) => {
                dropped.fetch_add(count, Ordering::Relaxed);
                if !failing {
                    tracing::warn!(path = %log.path.display(), %error, "the access log cannot be written");
                }
                failing = true;
            }
        }
    }
}

/// The file and the one before it.
struct Log {
    path: PathBuf,
    file: Option<File>,
    /// What was written last may end in the middle of a line.
    torn: bool,
    bytes_max: u64,
}

impl Log {
    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let mut file = self.open(lines.len() as u64)?;
        if self.torn {
            // An empty line at the worst, where the next one would continue a half.
            file.write_all(b"\n")?;
        }
        self.torn = true;
        file.write_all(lines)?;
        self.torn = false;
        self.file = Some(file);
        Ok(())
    }

    /// The file of this name, with room for so many bytes. It is looked at each time, because another proxy that takes
    /// over writes to it as well, and may have begun a new one. Two that do so in the same instant lose one file's
    /// lines.
    fn open(&mut self, bytes: u64) -> io::Result<File> {
        let held = self.file.take();
        match fs::metadata(&self.path) {
            Ok(there) if there.len() > 0 && there.len() + bytes > self.bytes_max => {
                fs::rename(&self.path, self.earlier())?;
            }
            Ok(there) => {
                if let Some(file) = held
                    && same(&file.metadata()?, &there)
                {
                    return Ok(file);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        File::options().append(true).create(true).mode(MODE).open(&self.path)
    }

    fn earlier(&self) -> PathBuf {
        let mut name = OsString::from(&self.path);
        name.push(".1");
        PathBuf::from(name)
    }
}

fn same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    /// Removed at the end, also of a failed test.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new() -> Scratch {
            static NUMBER: AtomicU32 = AtomicU32::new(0);
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir().join(format!("apron-access-log-{}-{number}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Scratch(path)
        }

        fn log(&self, bytes_max: u64) -> Log {
            Log { path: self.0.join("access.log"), file: None, torn: false, bytes_max }
        }

        fn read(&self, name: &str) -> String {
            fs::read_to_string(self.0.join(name)).unwrap_or_default()
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn line(path: &str) -> Line<'_> {
        Line {
            time: Iso8601(Duration::from_millis(7)).to_string(),
            service: "web",
            service_id: "0123",
            revision: 3,
            instance: Some("i-1"),
            method: "GET",
            path,
            status: 200,
            cause: None,
            received: 0,
            sent: 12,
            queued_ms: None,
            connect_ms: Some(0.25),
            first_byte_ms: Some(1.5),
            total_ms: 2.125,
            client: "192.0.2.7",
            request_id: None,
        }
    }

    #[test]
    fn lines_are_json_and_all_written_at_the_end() {
        let scratch = Scratch::new();
        let (log, writer) = start(&scratch.0.join("access.log"), Arc::default()).unwrap();
        for _ in 0..3 {
            log.write(&line("/a\"b"));
        }
        drop(log);
        writer.finish();
        let text = scratch.read("access.log");
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert_eq!(lines[0]["path"], "/a\"b");
        assert_eq!(lines[0]["time"], "1970-01-01T00:00:00.007Z");
        assert_eq!((&lines[0]["connect_ms"], &lines[0]["total_ms"]), (&0.25.into(), &2.125.into()));
        assert!(lines[0].get("queued_ms").is_none() && lines[0].get("cause").is_none(), "{text}");
        let mode = fs::metadata(scratch.0.join("access.log")).unwrap().mode();
        assert_eq!(mode & 0o777 & !MODE, 0);
    }

    /// As when the disk hangs: nobody takes them, the channel fills, and nobody waits.
    #[test]
    fn what_finds_the_channel_full_is_counted_and_said() {
        let scratch = Scratch::new();
        let (sender, lines) = sync_channel(2);
        let dropped: Arc<AtomicU64> = Arc::default();
        let log = AccessLog { lines: sender, dropped: dropped.clone() };
        for _ in 0..5 {
            log.write(&line("/"));
        }
        assert_eq!(dropped.load(Ordering::Relaxed), 3);
        drop(log);
        write_lines(scratch.log(FILE_BYTES_MAX), &lines, &dropped);
        let text = scratch.read("access.log");
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(text.ends_with("\"dropped\":3}\n"), "{text}");
    }

    #[test]
    fn lines_that_the_disk_refused_are_said_when_it_takes_some_again() {
        let scratch = Scratch::new();
        let path = scratch.0.join("late/access.log");
        let (sender, lines) = sync_channel(8);
        let dropped: Arc<AtomicU64> = Arc::default();
        let counter = dropped.clone();
        let log = Log { path: path.clone(), file: None, torn: false, bytes_max: FILE_BYTES_MAX };
        let writer = thread::spawn(move || write_lines(log, &lines, &counter));
        sender.send(b"{}\n".to_vec()).unwrap();
        while dropped.load(Ordering::Relaxed) == 0 {
            thread::sleep(Duration::from_millis(1));
        }
        fs::create_dir(path.parent().unwrap()).unwrap();
        sender.send(b"{}\n".to_vec()).unwrap();
        drop(sender);
        writer.join().unwrap();
        let text = scratch.read("late/access.log");
        assert!(text.starts_with("{}\n") && text.contains(r#""dropped":1}"#), "{text}");
    }

    #[test]
    fn a_full_file_makes_room_and_one_is_kept() {
        let scratch = Scratch::new();
        let mut log = scratch.log(10);
        for text in ["111111\n", "222222\n", "33\n", "44444444444444\n", "5\n"] {
            log.append(text.as_bytes()).unwrap();
        }
        assert_eq!(scratch.read("access.log"), "5\n");
        assert_eq!(scratch.read("access.log.1"), "44444444444444\n");
        assert_eq!(fs::read_dir(&scratch.0).unwrap().count(), 2);
    }

    /// As when the disk is full in the middle of one.
    #[test]
    fn half_a_line_does_not_spoil_the_next() {
        let scratch = Scratch::new();
        let mut log = scratch.log(FILE_BYTES_MAX);
        log.append(b"{}\n").unwrap();
        let mut full = Log { path: "/dev/full".into(), file: None, torn: false, bytes_max: FILE_BYTES_MAX };
        assert!(full.append(b"{}\n").is_err());
        // What such a write leaves behind.
        log.torn = full.torn;
        fs::write(scratch.0.join("access.log"), "{}\n{\"ha").unwrap();
        log.append(b"{\"a\":1}\n").unwrap();
        log.append(b"{\"a\":2}\n").unwrap();
        assert_eq!(scratch.read("access.log"), "{}\n{\"ha\n{\"a\":1}\n{\"a\":2}\n");
    }

    #[test]
    fn two_proxies_write_to_one_file_and_follow_each_other_into_the_next() {
        let scratch = Scratch::new();
        let (mut old, mut new) = (scratch.log(10), scratch.log(10));
        old.append(b"old 1\n").unwrap();
        new.append(b"n 2\n").unwrap();
        assert_eq!(scratch.read("access.log"), "old 1\nn 2\n");
        new.append(b"n 3\n").unwrap();
        old.append(b"o 4\n").unwrap();
        assert_eq!(
            (scratch.read("access.log.1").as_str(), scratch.read("access.log").as_str()),
            ("old 1\nn 2\n", "n 3\no 4\n")
        );
    }
}
