//! What instances use, each second in a journal of the node's own: `model::meter` says what its lines mean.
//!
//! The first line is all that was known when the file was begun; each further one is a note. So the sums outlive the node
//! to the second, control alive or not, and the file is written anew when it has grown. A line that could not be written
//! costs nothing while the node lives: the file is begun anew with the next one. What is handed on is on the disk before.

use crate::local::durable;
use crate::local::kernel::{boot_id, random_hex};
use crate::local::machine::Machine;
use apron_model::meter::{Book, Change, Handed, Note, Taken};
use apron_model::time::WallTime;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::time::{MissedTickBehavior, interval};

const EVERY: Duration = Duration::from_secs(1);
/// The file is begun anew when it is so long, and twice as long as it began.
const BYTES_MIN: u64 = 256 * 1024;

/// The first line of the file.
#[derive(Serialize, Deserialize)]
struct Begun {
    meter: String,
    book: Book,
}

/// The journal of this machine, for one node at a time.
pub(crate) struct Meter(Mutex<Journal>);

struct Journal {
    path: PathBuf,
    meter: String,
    book: Book,
    /// None: the file lacks a line.
    file: Option<File>,
    bytes: u64,
    /// So long it may become.
    bytes_max: u64,
    /// What lies there was not read: it is put aside before anything is written.
    unread: bool,
}

impl Meter {
    /// Goes on from what is there. Where that cannot be read, or not understood, another meter begins: nobody is to sleep
    /// on because of accounts.
    ///
    /// # Errors
    /// No name can be drawn for it.
    pub(crate) fn open(path: &Path) -> io::Result<Meter> {
        let begun = |bytes: Vec<u8>| read(&bytes).ok_or_else(|| io::Error::other("it is no journal"));
        let (known, unread) = match fs::read(path).and_then(begun) {
            Ok(begun) => (Some(begun), false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => (None, false),
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "what instances used cannot be read");
                (None, true)
            }
        };
        let (meter, mut book) = match known {
            Some(Begun { meter, book }) => (meter, book),
            None => (random_hex::<8>()?, Book::default()),
        };
        // Where it cannot be read, a clock that says less than before tells the same, mostly.
        book.take(&Note::Began { boot_ms: boot_ms(), boot_id: boot_id().ok() });
        let (path, file) = (path.to_owned(), None);
        let mut journal = Journal { path, meter, book, file, bytes: 0, bytes_max: 0, unread };
        // On a full disk all else is to go on: it makes room.
        journal.begin_anew().unwrap_or_else(|error| journal.not_kept(&error));
        Ok(Meter(Mutex::new(journal)))
    }

    /// A second is over, in which this changed. Blocking, on the disk.
    fn second(&self, changes: Vec<Change>) {
        let mut journal = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if journal.book.is_empty() && changes.is_empty() {
            return;
        }
        let note = Note::Second { boot_ms: boot_ms(), wall: wall(), changes };
        journal.book.take(&note);
        if let Err(error) = journal.keep(&note) {
            // Of a disk that stays full each second would say so.
            if journal.file.take().is_some() {
                journal.not_kept(&error);
            }
        }
    }

    /// What is to be added up elsewhere: the same as the last time, unless that was taken. Blocking, on the disk.
    ///
    /// # Errors
    /// The disk: nothing is handed on that could be forgotten here.
    pub(crate) fn hand(&self, taken: Option<&Taken>) -> io::Result<Handed> {
        let mut journal = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Of another meter's batches none was of this one.
        let taken = taken.filter(|taken| taken.meter == journal.meter).map(|taken| taken.number);
        if let Some(note) = journal.book.next_batch(taken) {
            journal.book.take(&note);
            let kept =
                journal.keep(&note).and_then(|()| journal.file.as_ref().map_or(Ok(()), File::sync_data));
            if kept.is_err() {
                journal.file = None;
            }
        }
        if journal.file.is_none() {
            journal.begin_anew()?;
        }
        Ok(Handed { meter: journal.meter.clone(), batch: journal.book.batch().clone() })
    }
}

impl Journal {
    fn keep(&mut self, note: &Note) -> io::Result<()> {
        let Some(file) = self.file.as_mut().filter(|_| self.bytes < self.bytes_max) else {
            return self.begin_anew();
        };
        let mut line = serde_json::to_vec(note).map_err(io::Error::other)?;
        line.push(b'\n');
        file.write_all(&line)?;
        self.bytes += line.len() as u64;
        Ok(())
    }

    fn not_kept(&self, error: &io::Error) {
        tracing::error!(path = %self.path.display(), %error, "what instances use cannot be kept");
    }

    /// Writes the file anew, with all that is known.
    fn begin_anew(&mut self) -> io::Result<()> {
        if self.unread {
            self.put_aside()?;
            self.unread = false;
        }
        let begun = Begun { meter: self.meter.clone(), book: self.book.clone() };
        let mut line = serde_json::to_vec(&begun).map_err(io::Error::other)?;
        line.push(b'\n');
        durable::write(&self.path, &line)?;
        self.file = Some(OpenOptions::new().append(true).open(&self.path)?);
        self.bytes = line.len() as u64;
        self.bytes_max = BYTES_MIN.max(2 * self.bytes);
        Ok(())
    }

    /// The sums in it are not lost: somebody may be able to read them.
    fn put_aside(&self) -> io::Result<()> {
        let aside = self.path.with_extension("unreadable");
        match fs::rename(&self.path, &aside) {
            Ok(()) => tracing::error!(path = %aside.display(), "what instances used was put aside"),
            // Somebody else has.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let (path, aside) = (self.path.display(), aside.display());
                let reason = format!("{path} cannot be read, and not be put aside as {aside}: {error}");
                return Err(io::Error::new(error.kind(), reason));
            }
        }
        Ok(())
    }
}

/// What a file says. The last line may be torn; whatever follows one that cannot be read is not believed.
fn read(bytes: &[u8]) -> Option<Begun> {
    let mut lines = bytes.split_inclusive(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\n"));
    let mut begun: Begun = serde_json::from_slice(lines.next()??).ok()?;
    for line in lines {
        let Some(note) = line.and_then(|line| serde_json::from_slice::<Note>(line).ok()) else {
            tracing::warn!("the last line of what instances used is cut off");
            break;
        };
        begun.book.take(&note);
    }
    Some(begun)
}

/// Notes each second what has changed, for ever.
pub(crate) async fn run(machine: Arc<Machine>) {
    let mut tick = interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let machine = machine.clone();
        let noted = tokio::task::spawn_blocking(move || machine.meter.second(machine.ladder.changes()));
        if let Err(error) = noted.await {
            tracing::error!(%error, "a second of what instances use was not noted");
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "days are counted by wall time")]
fn wall() -> WallTime {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    WallTime(since.as_millis() as u64)
}

/// Milliseconds since the machine began, also those in which it was suspended.
pub(crate) fn boot_ms() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid for writes; the clock exists on every kernel that has cgroups.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) };
    time.tv_sec as u64 * 1_000 + time.tv_nsec as u64 / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;
    use apron_model::ids::{InstanceId, ServiceId};
    use apron_model::meter::{Metered, Use};

    fn came(instance: &str) -> Vec<Change> {
        let instance = InstanceId::new(instance);
        let service = ServiceId::new("web");
        let who = Metered { instance: instance.clone(), service, cpu_units: 1_024, memory_mib: 2_048 };
        vec![Change::Came(who, true), Change::Uses(instance, Use::Active)]
    }

    fn path() -> PathBuf {
        let name = random_hex::<8>().unwrap();
        std::env::temp_dir().join(format!("apron-meter-{name}"))
    }

    fn active(handed: &Handed) -> u64 {
        handed.batch.rows.iter().map(|row| row.usage.active_unit_ms).sum()
    }

    #[test]
    fn what_was_noted_outlives_who_noted_it() {
        let path = path();
        let meter = Meter::open(&path).unwrap();
        std::thread::sleep(Duration::from_millis(20));
        meter.second(came("a"));
        // A kill in the middle of a line.
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"second\":{\"boot").unwrap();
        let meter = Meter::open(&path).unwrap();
        let first = meter.hand(None).unwrap();
        assert!(active(&first) >= 20 * 1_024, "{first:?}");
        assert_eq!(meter.hand(None).unwrap(), first, "until it is taken");
        let meter = Meter::open(&path).unwrap();
        assert_eq!(meter.hand(None).unwrap(), first, "and also by the next");
        let taken = Taken { meter: first.meter.clone(), number: first.batch.number };
        assert_eq!(meter.hand(Some(&taken)).unwrap(), first, "there is no more");
        std::thread::sleep(Duration::from_millis(20));
        meter.second(came("b"));
        let next = meter.hand(Some(&taken)).unwrap();
        assert_eq!(next.batch.number, first.batch.number + 1);
        let other = Taken { meter: "other".to_owned(), number: next.batch.number };
        assert_eq!(meter.hand(Some(&other)).unwrap(), next, "that was another meter's");
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn the_file_has_its_bound() {
        let path = path();
        let meter = Meter::open(&path).unwrap();
        let mut most = 0;
        for second in 0..3_000 {
            meter.second(came(&format!("{}", second % 10)));
            most = most.max(fs::metadata(&path).unwrap().len());
        }
        assert!(most > BYTES_MIN && most < BYTES_MIN + 1_024, "{most}");
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_file_that_is_none_is_put_aside() {
        let path = path();
        fs::write(&path, "{\"meter\":1}\n").unwrap();
        let meter = Meter::open(&path).unwrap();
        assert_eq!(meter.hand(None).unwrap().batch.number, 0);
        let aside = path.with_extension("unreadable");
        assert!(aside.exists());
        fs::remove_file(&path).unwrap();
        fs::remove_file(&aside).unwrap();
    }

    /// A directory stands for a file that the disk does not give.
    #[test]
    fn a_file_that_cannot_be_read_ends_nobody() {
        let path = path();
        fs::create_dir(&path).unwrap();
        let meter = Meter::open(&path).unwrap();
        assert_eq!(meter.hand(None).unwrap().batch.number, 0);
        let aside = path.with_extension("unreadable");
        assert!(aside.is_dir() && path.is_file());
        fs::remove_file(&path).unwrap();
        fs::remove_dir(&aside).unwrap();
    }

    #[test]
    fn a_file_that_can_neither_be_read_nor_put_aside_stays_as_it_is() {
        const UNKNOWN: &str = "{\"meter\":1}\n";
        let path = path();
        let aside = path.with_extension("unreadable");
        fs::write(&path, UNKNOWN).unwrap();
        // In its way.
        fs::create_dir(&aside).unwrap();
        let meter = Meter::open(&path).unwrap();
        std::thread::sleep(Duration::from_millis(20));
        meter.second(came("a"));
        for _ in 0..2 {
            let error = meter.hand(None).unwrap_err().to_string();
            assert!(error.contains("cannot be read, and not be put aside"), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), UNKNOWN);
        }
        fs::remove_dir(&aside).unwrap();
        let handed = meter.hand(None).unwrap();
        assert!(active(&handed) >= 20 * 1_024, "{handed:?}");
        assert_eq!(fs::read_to_string(&aside).unwrap(), UNKNOWN);
        assert_eq!(Meter::open(&path).unwrap().hand(None).unwrap(), handed);
        fs::remove_file(&path).unwrap();
        fs::remove_file(&aside).unwrap();
    }

    /// Nothing is lost when lines cannot be written for a while.
    #[test]
    fn a_disk_that_was_full_lacks_nothing_afterwards() {
        let path = path();
        let meter = Meter::open(&path).unwrap();
        // What every write fails to.
        meter.0.lock().unwrap().file = Some(OpenOptions::new().write(true).open("/dev/full").unwrap());
        meter.second(came("a"));
        assert!(meter.0.lock().unwrap().file.is_none());
        // What took no time was not used.
        std::thread::sleep(Duration::from_millis(20));
        meter.second(came("b"));
        let handed = Meter::open(&path).unwrap().hand(None).unwrap();
        let who: Vec<&str> = handed.batch.rows.iter().map(|row| row.instance.as_str()).collect();
        assert!(who.contains(&"a"), "{handed:?}");
        fs::remove_file(&path).unwrap();
    }
}
