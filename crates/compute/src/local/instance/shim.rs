//! Reading what a shim writes: the state of its container and the application's output. The formats are described
//! in the shim's own crate; they only grow, so members and kinds that are unknown here are passed over.

use crate::driver::{Output, OutputLine};
use apron_model::instance::{self, Exit};
use apron_model::limits;
use serde::Deserialize;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use tokio::io::unix::AsyncFd;

/// Most bytes of the log that one answer of `read_output` covers.
pub const READ_BYTES_MAX: u64 = 1024 * 1024;
/// A state is 512 bytes today; later ones may say more.
const STATE_BYTES_MAX: u64 = 64 * 1024;
const SEGMENT_PREFIX: &str = "output-";

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("cannot read {}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{} is not a state", path.display())]
    NotAState { path: PathBuf, source: serde_json::Error },
}

/// `state.json`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct State {
    pub version: u32,
    pub shim_pid: i32,
    /// Field 22 of `/proc/PID/stat`, as the other start time.
    pub shim_start_time: u64,
    /// The container's init in the host's pid namespace.
    pub pid: i32,
    pub start_time: u64,
    /// Wall time, milliseconds since 1970.
    pub started_at_ms: u64,
    pub exit: Option<StateExit>,
    pub out_of_memory: bool,
}

/// One of the two is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct StateExit {
    pub code: Option<i32>,
    pub signal: Option<i32>,
    pub at_ms: u64,
}

/// The last published state of the instance in `dir`; nothing when it was never started.
pub fn read_state(dir: &Path) -> Result<Option<State>, ReadError> {
    let path = dir.join("state.json");
    let mut text = String::new();
    let read = File::open(&path).and_then(|file| file.take(STATE_BYTES_MAX).read_to_string(&mut text));
    match read {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(ReadError::Io { path, source }),
        Ok(_) => {}
    }
    serde_json::from_str(&text).map(Some).map_err(|source| ReadError::NotAState { path, source })
}

/// The exit as the model tells it, with the end of the output, cut to what may travel. A state without an exit is
/// that of a container whose shim was killed.
pub fn exit(dir: &Path, state: &State) -> Exit {
    let last_lines = last_lines(dir);
    let (code, signal) = state.exit.map_or((None, Some(libc::SIGKILL)), |exit| (exit.code, exit.signal));
    Exit { code, signal, out_of_memory: state.out_of_memory, reason: None, last_lines }
}

/// The end of the output as it travels with an exit; what cannot be read is left out.
pub(crate) fn last_lines(dir: &Path) -> Vec<String> {
    instance::last_lines(&tail(dir, limits::LAST_LINES).unwrap_or_default())
}

/// Output from an offset on. An offset that is no longer kept reads from the oldest that is, with a line that
/// says so; one beyond the end reads nothing.
pub fn read_output(dir: &Path, from: u64) -> Result<Output, ReadError> {
    for _ in 0..3 {
        match read_from(dir, from) {
            // The shim took the segment away since it was listed.
            Err(ReadError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
    }
    Ok(Output { lines: Vec::new(), next: from })
}

fn read_from(dir: &Path, from: u64) -> Result<Output, ReadError> {
    let segments = segments(dir)?;
    let Some(first) = segments.first() else { return Ok(Output { lines: Vec::new(), next: from }) };
    let mut lines = Vec::new();
    let mut next = from.max(first.start);
    let mut budget = READ_BYTES_MAX;
    for segment in &segments {
        if next >= segment.start + segment.length {
            continue;
        }
        if segment.start > next {
            // A gap only shows when the shim rotates while we look; the next call reads on.
            break;
        }
        let offset = next - segment.start;
        let bytes = read_range(&segment.path, offset, (segment.length - offset).min(budget))?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        lines.extend(bytes[..whole].split(|byte| *byte == b'\n').filter_map(line));
        next += whole as u64;
        budget -= whole as u64;
        if whole < bytes.len() || budget == 0 {
            break;
        }
    }
    if from < first.start {
        let at_ms = lines.first().map_or(0, |line: &OutputLine| line.at_ms);
        let text = format!("({} bytes of older output are no longer kept)", first.start - from);
        lines.insert(0, OutputLine { at_ms, text });
    }
    Ok(Output { lines, next })
}

/// The last lines of the output, oldest first.
pub fn tail(dir: &Path, count: usize) -> Result<Vec<String>, ReadError> {
    let mut last: Vec<String> = Vec::new();
    for segment in segments(dir)?.iter().rev() {
        if last.len() >= count {
            break;
        }
        let most = (count * limits::LOG_LINE_BYTES_MAX) as u64;
        let offset = segment.length.saturating_sub(most);
        let bytes = match read_range(&segment.path, offset, segment.length - offset) {
            Err(ReadError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => continue,
            other => other?,
        };
        // Whole records only: the first may be cut by where we began, the last may still be written.
        let mut whole = &bytes[..bytes.iter().rposition(|byte| *byte == b'\n').unwrap_or(0)];
        if offset > 0 {
            whole = &whole[whole.iter().position(|byte| *byte == b'\n').map_or(whole.len(), |at| at + 1)..];
        }
        let lines: Vec<String> =
            whole.split(|byte| *byte == b'\n').filter_map(line).map(|line| line.text).collect();
        let wanted = (count - last.len()).min(lines.len());
        last.splice(0..0, lines[lines.len() - wanted..].iter().cloned());
    }
    Ok(last)
}

/// Where the next shim of this instance goes on: the segments that are kept, oldest first. Removes what a
/// killed shim left above the bound.
pub(crate) fn resume(dir: &Path) -> Result<apron_shim::log::Position, ReadError> {
    let mut segments = segments(dir)?;
    while segments.len() > 2 {
        let oldest = segments.remove(0);
        fs::remove_file(&oldest.path).map_err(|source| ReadError::Io { path: oldest.path, source })?;
    }
    let Some(last) = segments.pop() else {
        return Ok(apron_shim::log::Position { start: 0, length: 0, previous: None });
    };
    // A shim that was killed within a write leaves a part of a record. It is ended, so that the next is whole.
    let mut length = last.length;
    if length > 0 && read_range(&last.path, length - 1, 1)? != b"\n" {
        let file = fs::OpenOptions::new().append(true).open(&last.path);
        let ended = file.and_then(|mut file| io::Write::write_all(&mut file, b"\n"));
        if let Err(source) = ended {
            return Err(ReadError::Io { path: last.path, source });
        }
        length += 1;
    }
    Ok(apron_shim::log::Position { start: last.start, length, previous: segments.pop().map(|s| s.start) })
}

struct Segment {
    start: u64,
    length: u64,
    path: PathBuf,
}

/// Oldest first.
fn segments(dir: &Path) -> Result<Vec<Segment>, ReadError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(ReadError::Io { path: dir.to_path_buf(), source }),
    };
    let mut segments = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name();
        let start = name.to_str().and_then(|name| name.strip_prefix(SEGMENT_PREFIX)?.parse().ok());
        if let (Some(start), Ok(metadata)) = (start, entry.metadata()) {
            segments.push(Segment { start, length: metadata.len(), path: entry.path() });
        }
    }
    segments.sort_by_key(|segment| segment.start);
    Ok(segments)
}

fn read_range(path: &Path, offset: u64, length: u64) -> Result<Vec<u8>, ReadError> {
    let mut bytes = Vec::with_capacity(length as usize);
    let read = File::open(path).and_then(|mut file| {
        file.seek(SeekFrom::Start(offset))?;
        file.take(length).read_to_end(&mut bytes)
    });
    match read {
        Ok(_) => Ok(bytes),
        Err(source) => Err(ReadError::Io { path: path.to_path_buf(), source }),
    }
}

/// One record: `<milliseconds> <kind> <text>`.
fn line(record: &[u8]) -> Option<OutputLine> {
    let mut parts = record.splitn(3, |byte| *byte == b' ');
    let at_ms = std::str::from_utf8(parts.next()?).ok()?.parse().ok()?;
    let kind = parts.next()?;
    let text = String::from_utf8_lossy(parts.next()?);
    match kind {
        b"|" | b"+" => Some(OutputLine { at_ms, text: text.into_owned() }),
        b"!" => Some(OutputLine { at_ms, text: format!("({text})") }),
        _ => None,
    }
}

/// Tells which instances have news, by one inotify instance for all: a host gives only 128 of them to a user.
pub struct Watcher {
    inotify: AsyncFd<OwnedFd>,
}

/// One watched directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WatchId(i32);

impl Watcher {
    /// Needs a tokio runtime.
    pub fn new() -> io::Result<Watcher> {
        // SAFETY: no pointers.
        let fd = unsafe { libc::inotify_init1(libc::IN_NONBLOCK | libc::IN_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just gave it to us.
        let inotify = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: an owned descriptor is open, and the same, until it is dropped.
        let inotify = unsafe { AsyncFd::register(inotify) }?;
        Ok(Watcher { inotify })
    }

    /// Watches an instance's directory. The same directory again gives the same id.
    pub fn add(&self, dir: &Path) -> io::Result<WatchId> {
        use std::os::unix::ffi::OsStrExt;
        let path = std::ffi::CString::new(dir.as_os_str().as_bytes())?;
        let events = libc::IN_MODIFY | libc::IN_CREATE | libc::IN_MOVED_TO | libc::IN_ONLYDIR;
        // SAFETY: the path ends with a zero byte.
        let id =
            unsafe { libc::inotify_add_watch(self.inotify.get_ref().as_raw_fd(), path.as_ptr(), events) };
        if id < 0 { Err(io::Error::last_os_error()) } else { Ok(WatchId(id)) }
    }

    /// An id that is unknown, as that of a removed directory, is a success.
    pub fn remove(&self, id: WatchId) {
        // SAFETY: no pointers.
        unsafe { libc::inotify_rm_watch(self.inotify.get_ref().as_raw_fd(), id.0) };
    }

    /// Waits until something happened in some of the directories: output, a state, or their end. Cancelling
    /// loses nothing.
    pub async fn next(&self) -> io::Result<Vec<WatchId>> {
        let mut buffer = [0u8; 4096];
        loop {
            let mut ready = self.inotify.readable().await?;
            let result = ready.try_io(|inotify| {
                // SAFETY: the buffer is ours and as long as said.
                let count = unsafe {
                    libc::read(inotify.get_ref().as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len())
                };
                if count < 0 { Err(io::Error::last_os_error()) } else { Ok(count as usize) }
            });
            match result {
                Ok(Ok(count)) => return Ok(watch_ids(&buffer[..count])),
                Ok(Err(error)) => return Err(error),
                Err(_would_block) => {}
            }
        }
    }
}

/// The kernel gives records of a fixed head and a name: id, mask, cookie, length of the name, four bytes each.
fn watch_ids(mut events: &[u8]) -> Vec<WatchId> {
    let mut ids = Vec::new();
    while let Some((head, rest)) = events.split_at_checked(16) {
        let word = |at: usize| i32::from_ne_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        ids.push(WatchId(word(0)));
        events = rest.get(word(12) as usize..).unwrap_or_default();
    }
    ids.sort();
    ids.dedup();
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Directory(PathBuf);
    impl Directory {
        fn new(name: &str) -> Directory {
            let path = std::env::temp_dir().join(format!("apron-read-{}-{name}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Directory(path)
        }
        fn segment(&self, start: u64, text: &str) {
            fs::write(self.0.join(format!("output-{start:020}")), text).unwrap();
        }
        fn texts(&self, from: u64) -> (Vec<String>, u64) {
            let output = read_output(&self.0, from).unwrap();
            (output.lines.into_iter().map(|line| line.text).collect(), output.next)
        }
    }
    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn output_is_read_in_whole_lines_over_segments() {
        let directory = Directory::new("output");
        assert_eq!(directory.texts(0), (vec![], 0));
        directory.segment(100, "5 | one\n6 + tw\n");
        directory.segment(115, "7 ! note\n8 ? later kind\n9 | unfinis");
        let old = "(100 bytes of older output are no longer kept)".to_owned();
        assert_eq!(directory.texts(0), (vec![old, "one".into(), "tw".into(), "(note)".into()], 139));
        assert_eq!(directory.texts(108), (vec!["tw".into(), "(note)".into()], 139));
        assert_eq!(directory.texts(139), (vec![], 139));
        assert_eq!(directory.texts(999), (vec![], 999));
        assert_eq!(tail(&directory.0, 2).unwrap(), ["tw", "(note)"]);
        assert_eq!(tail(&directory.0, 9).unwrap(), ["one", "tw", "(note)"]);
    }

    #[test]
    fn a_new_shim_goes_on_where_the_last_stopped() {
        use apron_shim::log::Position;
        let directory = Directory::new("resume");
        assert_eq!(resume(&directory.0).unwrap(), Position { start: 0, length: 0, previous: None });
        directory.segment(0, "1 | a\n");
        directory.segment(6, "2 | b\n");
        directory.segment(12, "3 | torn");
        assert_eq!(resume(&directory.0).unwrap(), Position { start: 12, length: 9, previous: Some(6) });
        assert!(!directory.0.join("output-00000000000000000000").exists());
        assert_eq!(resume(&directory.0).unwrap().length, 9);
    }

    #[test]
    fn states_of_this_and_later_shims_are_read() {
        let directory = Directory::new("state");
        assert_eq!(read_state(&directory.0).unwrap(), None);
        let written = apron_shim::state::State {
            shim_pid: 2,
            shim_start_time: 3,
            pid: 4,
            start_time: 5,
            started_at_ms: 6,
            exit: Some(apron_shim::state::Exit { at_ms: 7, end: apron_shim::state::End::Code(8) }),
            out_of_memory: true,
        };
        fs::write(directory.0.join("state.json"), written.json().bytes()).unwrap();
        let state = read_state(&directory.0).unwrap().unwrap();
        assert_eq!((state.version, state.shim_pid, state.start_time), (1, 2, 5));
        assert_eq!(state.exit, Some(StateExit { code: Some(8), signal: None, at_ms: 7 }));
        let text = fs::read_to_string(directory.0.join("state.json")).unwrap().replace('{', "{\"new\":[],");
        fs::write(directory.0.join("state.json"), text).unwrap();
        assert_eq!(read_state(&directory.0).unwrap(), Some(state));
        fs::write(directory.0.join("state.json"), "{").unwrap();
        assert!(matches!(read_state(&directory.0), Err(ReadError::NotAState { .. })));
    }

    #[tokio::test]
    async fn news_are_told_per_directory() {
        let (one, two) = (Directory::new("watch-one"), Directory::new("watch-two"));
        let watcher = Watcher::new().unwrap();
        let first = watcher.add(&one.0).unwrap();
        let second = watcher.add(&two.0).unwrap();
        two.segment(0, "1 | x\n");
        assert_eq!(watcher.next().await.unwrap(), [second]);
        fs::write(one.0.join("state.json.next"), "").unwrap();
        assert_eq!(watcher.next().await.unwrap(), [first]);
        watcher.remove(first);
        watcher.remove(first);
    }
}
