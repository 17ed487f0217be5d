//! All streams of one directory: append, read by cursor, wait for more.

use crate::line::{self, Line};
use crate::segments::Segments;
use apron_model::ids::{OperationId, ServiceId};
use apron_model::time::WallTime;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::watch;

/// Lines reach the disk itself within this time.
const SYNC_EVERY: Duration = Duration::from_millis(500);
/// What one `read` returns at most, whatever number of lines was asked for: it fits one message.
const PAGE_BYTES_MAX: usize = 1024 * 1024;
/// Streams whose state is kept in memory, about 300 bytes each; others are read from disk again.
const LOADED_MAX: usize = 4096;
/// Ids are file names here; real ones have 32 characters.
const ID_BYTES_MAX: usize = 64;

/// Which log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Stream {
    /// What happened to the service, for its owner.
    Events(ServiceId),
    /// Build and rollout of one operation.
    Deployment(ServiceId, OperationId),
    /// What its instances wrote.
    Application(ServiceId),
    /// Who called the API.
    Audit(Share),
}

/// A part of the audit log with a bound of its own, so that it is not pushed out by the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Share {
    /// Calls that changed something.
    Changes,
    /// All others: they only looked, or were refused.
    Others,
}

/// The number of a line in its stream, from 0. It stays right over rotation and restarts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cursor(pub u64);

impl Cursor {
    /// Before the first line that was ever written.
    pub const START: Cursor = Cursor(0);
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Cursor {
    type Err = std::num::ParseIntError;
    fn from_str(text: &str) -> Result<Cursor, Self::Err> {
        text.parse().map(Cursor)
    }
}

/// What `read` found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    pub lines: Vec<Line>,
    /// Where to read on.
    pub next: Cursor,
    /// Lines between the cursor asked for and the first one returned that rotation has removed.
    pub dropped: u64,
    /// There were further lines behind `next` when it was read.
    pub more: bool,
    /// `next` is behind the last line and no more will come.
    pub end: bool,
}

/// Bounds of what is kept, per stream and per service. A stream has no bound of age: what is old goes when new
/// lines need its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub segment_bytes_max: u64,
    pub segments_max: usize,
    /// Deployment logs of one service; the oldest goes.
    pub deployments_max: usize,
    /// As `segments_max`, for each share of the audit log.
    pub audit_segments_max: usize,
}

impl Limits {
    /// 8 MiB of each stream and 50 deployments: weeks of a talkative application's start-ups, and a disk use
    /// of a service that cannot pass 416 MiB. 64 MiB of the audit log are some 150,000 calls.
    pub const STANDARD: Limits = Limits {
        segment_bytes_max: 1024 * 1024,
        segments_max: 8,
        deployments_max: 50,
        audit_segments_max: 64,
    };

    fn segments_max(&self, stream: &Stream) -> usize {
        match stream {
            Stream::Events(_) | Stream::Deployment(..) | Stream::Application(_) => self.segments_max,
            Stream::Audit(_) => self.audit_segments_max,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Another writer may free space; the lines were not taken.
    #[error("no space is left for logs in {}", .0.display())]
    DiskFull(PathBuf),
    #[error("cannot use the log files in {}", dir.display())]
    Io { dir: PathBuf, source: io::Error },
    /// Ids name files; this one could leave the directory.
    #[error("'{0}' cannot name a log")]
    BadName(String),
}

/// The logs of one directory. Clones share it.
#[derive(Clone)]
pub struct Logs {
    shared: Arc<Shared>,
}

struct Shared {
    dir: PathBuf,
    limits: Limits,
    loaded: Mutex<HashMap<Stream, Arc<Loaded>>>,
    /// Files with lines that the disk may not have yet.
    unsynced: Mutex<HashSet<PathBuf>>,
}

struct Loaded {
    segments: Mutex<Segments>,
    /// Next line number and end, for those who wait.
    progress: watch::Sender<(u64, bool)>,
}

impl Logs {
    /// Opens or makes the directory. Streams are looked at when they are first used.
    pub fn open(dir: &Path, limits: Limits) -> Result<Logs, LogError> {
        fs::create_dir_all(dir).map_err(|e| failed(dir, e))?;
        let shared = Arc::new(Shared {
            dir: dir.to_owned(),
            limits,
            loaded: Mutex::default(),
            unsynced: Mutex::default(),
        });
        let weak = Arc::downgrade(&shared);
        std::thread::Builder::new()
            .name("log-sync".into())
            .spawn(move || sync_loop(&weak))
            .map_err(|e| failed(dir, e))?;
        Ok(Logs { shared })
    }

    /// Adds lines that came at one time from one source.
    pub fn append(
        &self,
        stream: &Stream,
        at: WallTime,
        source: &str,
        lines: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Result<(), LogError> {
        let lines: Vec<Line> = lines
            .into_iter()
            .map(|text| Line { at, source: source.to_owned(), text: text.as_ref().to_owned() })
            .collect();
        self.append_lines(stream, &lines)
    }

    /// Adds lines with times and sources of their own, all or, on an error, none of the failed batch.
    pub fn append_lines(&self, stream: &Stream, lines: &[Line]) -> Result<(), LogError> {
        let loaded = self.loaded(stream)?;
        let limits = &self.shared.limits;
        let mut segments = lock(&loaded.segments);
        if segments.next == 0 && !lines.is_empty() {
            self.make_room_for(stream)?;
        }
        let (mut rows, mut count) = (Vec::new(), 0);
        for (index, line) in lines.iter().enumerate() {
            count += line::encode(line, &mut rows);
            // A batch never makes a segment more than one line larger than its bound.
            if index + 1 == lines.len() || rows.len() as u64 >= limits.segment_bytes_max / 4 {
                let file = segments
                    .append(&rows, count, limits.segment_bytes_max, limits.segments_max(stream))
                    .map_err(|e| failed(&self.shared.dir, e))?;
                lock(&self.shared.unsynced).insert(file);
                rows.clear();
                count = 0;
            }
        }
        loaded.progress.send_replace((segments.next, segments.ended));
        Ok(())
    }

    /// Lines from a cursor on, at most `max` of them. A stream that was never written is empty; a cursor
    /// behind the end is taken as the end.
    pub fn read(&self, stream: &Stream, from: Cursor, max: usize) -> Result<Page, LogError> {
        let loaded = self.loaded(stream)?;
        // Rotation may take the very segment that is being read; once more from the new oldest is enough
        // unless a whole stream's worth of lines is written meanwhile, and then the page is just empty.
        let segments = lock(&loaded.segments).clone();
        let mut page = self.page(&segments, from, max)?;
        if page.lines.is_empty() && page.next.0 < segments.next && max > 0 {
            let segments = lock(&loaded.segments).clone();
            page = self.page(&segments, from, max)?;
        }
        Ok(page)
    }

    fn page(&self, segments: &Segments, from: Cursor, max: usize) -> Result<Page, LogError> {
        let begin = from.0.max(segments.oldest()).min(segments.next);
        let lines = match begin < segments.next {
            true => segments.read(begin, max, PAGE_BYTES_MAX).map_err(|e| failed(&self.shared.dir, e))?,
            false => Vec::new(),
        };
        let next = begin + lines.len() as u64;
        Ok(Page {
            lines,
            next: Cursor(next),
            dropped: begin.saturating_sub(from.0),
            more: next < segments.next,
            end: segments.ended && next == segments.next,
        })
    }

    /// The cursor that lies `lines` lines before the end, or at the oldest line that is left.
    pub fn tail(&self, stream: &Stream, lines: u64) -> Result<Cursor, LogError> {
        let loaded = self.loaded(stream)?;
        let segments = lock(&loaded.segments);
        Ok(Cursor(segments.next.saturating_sub(lines).max(segments.oldest())))
    }

    /// Waits until there is a line at the cursor or the stream has ended; false when the time ran out first.
    pub async fn wait(&self, stream: &Stream, from: Cursor, timeout: Duration) -> Result<bool, LogError> {
        let loaded = self.loaded(stream)?;
        let mut progress = loaded.progress.subscribe();
        let arrived = progress.wait_for(|(next, ended)| *next > from.0 || *ended);
        Ok(tokio::time::timeout(timeout, arrived).await.is_ok())
    }

    /// Notes, durably, that no further line comes, so that followers stop. Twice is once.
    pub fn end(&self, stream: &Stream) -> Result<(), LogError> {
        let loaded = self.loaded(stream)?;
        let mut segments = lock(&loaded.segments);
        segments.end().map_err(|e| failed(&self.shared.dir, e))?;
        loaded.progress.send_replace((segments.next, true));
        Ok(())
    }

    /// Removes all logs of a service. Followers see the end.
    pub fn remove_service(&self, service: &ServiceId) -> Result<(), LogError> {
        let dir = self.shared.dir.join(checked(service.as_str())?);
        lock(&self.shared.loaded).retain(|stream, loaded| {
            let other = stream.service() != Some(service);
            if !other {
                loaded.progress.send_modify(|(_, ended)| *ended = true);
            }
            other
        });
        lock(&self.shared.unsynced).retain(|path| !path.starts_with(&dir));
        match fs::remove_dir_all(&dir) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failed(&dir, e)),
            _ => Ok(()),
        }
    }

    fn loaded(&self, stream: &Stream) -> Result<Arc<Loaded>, LogError> {
        let dir = stream.dir(&self.shared.dir)?;
        let mut all = lock(&self.shared.loaded);
        if let Some(loaded) = all.get(stream) {
            return Ok(loaded.clone());
        }
        if all.len() >= LOADED_MAX {
            // Whoever holds an entry, in a call or waiting, keeps it; the rest is on disk as well.
            all.retain(|_, loaded| Arc::strong_count(loaded) > 1);
        }
        let segments = Segments::load(dir).map_err(|e| failed(&self.shared.dir, e))?;
        let progress = watch::Sender::new((segments.next, segments.ended));
        let loaded = Arc::new(Loaded { segments: Mutex::new(segments), progress });
        all.insert(stream.clone(), loaded.clone());
        Ok(loaded)
    }

    /// Removes the oldest deployment logs of a service before a new one is begun.
    fn make_room_for(&self, stream: &Stream) -> Result<(), LogError> {
        let Stream::Deployment(service, _) = stream else { return Ok(()) };
        let dir = self.shared.dir.join(checked(service.as_str())?);
        let Ok(entries) = fs::read_dir(&dir) else { return Ok(()) };
        let mut deployments: Vec<_> = entries
            .filter_map(Result::ok)
            .filter(|e| e.file_name().to_string_lossy().starts_with(DEPLOYMENT))
            .filter_map(|e| Some((e.metadata().and_then(|m| m.modified()).ok()?, e.path())))
            .collect();
        deployments.sort();
        let excess = (deployments.len() + 1).saturating_sub(self.shared.limits.deployments_max.max(1));
        for (_, old) in deployments.into_iter().take(excess) {
            let name = old.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            let id = OperationId::new(name.trim_start_matches(DEPLOYMENT));
            lock(&self.shared.loaded).remove(&Stream::Deployment(service.clone(), id));
            fs::remove_dir_all(&old).map_err(|e| failed(&old, e))?;
        }
        Ok(())
    }
}

const DEPLOYMENT: &str = "deployment-";

impl Share {
    /// Beside the directories of services. The dot keeps it apart from every id.
    fn dir(self) -> &'static str {
        match self {
            Share::Changes => "audit.log",
            Share::Others => "audit-others.log",
        }
    }
}

impl Stream {
    fn service(&self) -> Option<&ServiceId> {
        match self {
            Stream::Events(id) | Stream::Deployment(id, _) | Stream::Application(id) => Some(id),
            Stream::Audit(_) => None,
        }
    }

    fn dir(&self, root: &Path) -> Result<PathBuf, LogError> {
        let of = |service: &ServiceId| checked(service.as_str()).map(|id| root.join(id));
        Ok(match self {
            Stream::Events(service) => of(service)?.join("events"),
            Stream::Application(service) => of(service)?.join("application"),
            Stream::Deployment(service, id) => {
                of(service)?.join(format!("{DEPLOYMENT}{}", checked(id.as_str())?))
            }
            Stream::Audit(share) => root.join(share.dir()),
        })
    }
}

/// An id that can name a directory.
fn checked(id: &str) -> Result<&str, LogError> {
    let fits = !id.is_empty()
        && id.len() <= ID_BYTES_MAX
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if fits { Ok(id) } else { Err(LogError::BadName(id.chars().take(ID_BYTES_MAX).collect())) }
}

fn failed(dir: &Path, source: io::Error) -> LogError {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => LogError::DiskFull(dir.to_owned()),
        _ => LogError::Io { dir: dir.to_owned(), source },
    }
}

/// A panic while a lock was held leaves counters that `load` would find again; nothing worth dying for.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends within `SYNC_EVERY` after the last `Logs` is gone.
fn sync_loop(shared: &Weak<Shared>) {
    loop {
        std::thread::sleep(SYNC_EVERY);
        let Some(shared) = shared.upgrade() else { return };
        let files = std::mem::take(&mut *lock(&shared.unsynced));
        for path in files {
            // A file that rotation removed meanwhile needs no sync.
            if let Ok(file) = File::open(&path)
                && let Err(error) = file.sync_data()
            {
                tracing::warn!(path = %path.display(), %error, "cannot sync a log segment");
            }
        }
    }
}

#[cfg(test)]
mod tests;
