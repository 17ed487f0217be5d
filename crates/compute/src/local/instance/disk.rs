//! How much of the data directory's disk instances take, and who is ended when it is too much.
//!
//! What an instance writes lies in its overlay's upper directory, on a file system that all share and that need
//! not know quotas. So the node measures: every few seconds it looks at some thousand entries more, one instance
//! after the other, and ends an instance that is above the limit, or the greatest writer when the disk runs out.
//! An ended instance starts anew with an empty file system, as after any exit.
//!
//! Unpacked layers that no instance uses go after a day; an image that is wanted again is unpacked again.

use crate::local::container::mounts::UPPER;
use crate::local::instance::birth::blocking;
use crate::local::instance::registry::Instances;
use crate::local::machine::Machine;
use apron_images::room::Room;
use apron_images::tree::Measure;
use apron_images::unpack;
use apron_model::ids::InstanceId;
use apron_model::instance::Fault;
use apron_model::limits::FILE_BYTES;
use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// From one look to the next. At 200 MiB/s an instance writes 2 GiB meanwhile.
const PAUSE: Duration = Duration::from_secs(10);
/// Entries per look: half a per cent of a core when they are in the cache, and a file system of a million files is
/// seen whole every few minutes.
const ENTRIES_PER_LOOK_MAX: usize = 50_000;
/// Looked at in one go, so that small instances share a look.
const ENTRIES_PER_STEP: usize = 1_000;
/// Ending an instance that wrote less would not help.
const RELIEF_BYTES_MIN: u64 = 64 * 1024 * 1024;
const RELIEF_FILES_MIN: u64 = RELIEF_BYTES_MIN / FILE_BYTES;
/// What a start itself writes: its description, its log, and the directories of the overlay.
const START_BYTES: u64 = 16 * 1024 * 1024;
const START_FILES: u64 = 64;

/// Between two looks for layers that nobody uses.
const SWEEP_PAUSE: Duration = Duration::from_secs(60 * 60);
/// A layer that nobody asked for this long: longer than any build, and a rollback within the day is quick.
const LAYER_AGE_MIN: Duration = Duration::from_secs(24 * 60 * 60);

/// What there is too little of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lack {
    Bytes,
    Files,
}

/// What instances are ended for.
fn runs_out(room: Room) -> Option<Lack> {
    let floor = room.floor();
    lack(room, floor.bytes / 2, floor.files / 2)
}

/// What a start is refused for.
fn too_little_to_start(room: Room) -> Option<Lack> {
    lack(room, START_BYTES, START_FILES)
}

fn lack(room: Room, bytes_min: u64, files_min: u64) -> Option<Lack> {
    match () {
        () if room.free_bytes < bytes_min => Some(Lack::Bytes),
        () if room.free_files < files_min && room.total_files > 0 => Some(Lack::Files),
        () => None,
    }
}

/// One start of an instance; the next one has another file system.
pub(crate) type Run = (InstanceId, u32);

/// What an instance wrote, as far as it was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Written {
    bytes: u64,
    /// Directories, links and all else that has a name included.
    files: u64,
}

impl Written {
    fn of(measure: &Measure) -> Written {
        Written { bytes: measure.bytes(), files: measure.entries() }
    }

    fn or_more(self, other: Written) -> Written {
        Written { bytes: self.bytes.max(other.bytes), files: self.files.max(other.files) }
    }

    /// Why it is too much for an instance that may write so many bytes.
    fn too_much(&self, limit_bytes: u64) -> Option<String> {
        let files_max = limit_bytes / FILE_BYTES;
        if self.bytes > limit_bytes {
            return Some(format!("wrote {}, the limit is {}", size(self.bytes), size(limit_bytes)));
        }
        (self.files > files_max).then(|| format!("made {} files, the limit is {files_max}", self.files))
    }
}

/// Who is to be ended, and why.
fn judge(written: &BTreeMap<Run, Written>, limit_bytes: u64, room: Option<Room>) -> Vec<(Run, String)> {
    let above: Vec<(Run, String)> =
        written.iter().filter_map(|(run, one)| Some((run.clone(), one.too_much(limit_bytes)?))).collect();
    let Some((room, lack)) = room.and_then(|room| Some((room, runs_out(room)?))) else { return above };
    if !above.is_empty() {
        return above;
    }
    let (of, worth): (fn(&Written) -> u64, u64) = match lack {
        Lack::Bytes => (|one| one.bytes, RELIEF_BYTES_MIN),
        Lack::Files => (|one| one.files, RELIEF_FILES_MIN),
    };
    let greatest = written.iter().max_by_key(|(_, one)| of(one)).filter(|(_, one)| of(one) >= worth);
    let told = greatest.map(|(run, one)| {
        let why = match lack {
            Lack::Bytes => format!(
                "wrote {}, the most of all instances, and the disk has only {} free",
                size(one.bytes),
                size(room.free_bytes)
            ),
            Lack::Files => format!(
                "made {} files, the most of all instances, and the disk has room for only {} more",
                one.files, room.free_files
            ),
        };
        (run.clone(), why)
    });
    told.into_iter().collect()
}

/// A size for people: `3 GiB`, `3.2 GiB`, `12 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    const MIB: u64 = 1024 * 1024;
    if bytes < 1024 * MIB {
        return format!("{} MiB", bytes / MIB);
    }
    let tenths = bytes / (1024 * MIB / 10);
    match tenths % 10 {
        0 => format!("{} GiB", tenths / 10),
        tenth => format!("{}.{tenth} GiB", tenths / 10),
    }
}

/// Refuses a start for which there is no room, with figures.
pub(crate) fn refuse_without_room(data_dir: &Path, room: Room) -> Result<(), Fault> {
    let needed = match too_little_to_start(room) {
        None => return Ok(()),
        Some(Lack::Bytes) => size(START_BYTES),
        Some(Lack::Files) => format!("{START_FILES}"),
    };
    Err(Fault::transient(format!("{}; a start needs {needed}", full(data_dir, room))))
}

/// Says of a failure for want of room how much there is.
pub(crate) fn explain(data_dir: &Path, room: Room, fault: Fault) -> Fault {
    // The words of the C library, which also come out of child processes.
    let for_want_of_room = ["No space left on device", "Disk quota exceeded"];
    if fault.permanent || !for_want_of_room.iter().any(|words| fault.reason.contains(words)) {
        return fault;
    }
    Fault { reason: format!("{} ({})", full(data_dir, room), fault.reason), ..fault }.bounded()
}

/// `free` is what there is now: who failed for want of room has taken back what it had written.
pub(crate) fn full(data_dir: &Path, room: Room) -> String {
    let free = match too_little_to_start(room) {
        Some(Lack::Files) => format!("{} of {} files free", room.free_files, room.total_files),
        Some(Lack::Bytes) | None => format!("{} free", size(room.free_bytes)),
    };
    format!("the disk of {} is full: {free}", data_dir.display())
}

/// What is known of each running instance, and where the measuring is.
#[derive(Default)]
struct Meter {
    written: BTreeMap<Run, Written>,
    current: Option<(Run, Measure)>,
    next: VecDeque<Run>,
}

/// What a look found out.
struct Look {
    written: BTreeMap<Run, Written>,
    /// Cannot be measured, and why.
    hidden: Vec<(Run, String)>,
}

impl Meter {
    /// Goes on with the instances that run now, in turn. A tree that is seen in part counts with that part when it
    /// is more than was known.
    fn look(&mut self, running: &[(Run, PathBuf)]) -> Look {
        let runs = |run: &Run| running.iter().find(|(other, _)| other == run);
        self.written.retain(|run, _| runs(run).is_some());
        self.next.retain(|run| runs(run).is_some());
        self.current = self.current.take().filter(|(run, _)| runs(run).is_some());
        let mut hidden = Vec::new();
        // Each of them once at most: small ones are seen whole at every look.
        let mut begun = 0;
        for _ in 0..ENTRIES_PER_LOOK_MAX / ENTRIES_PER_STEP {
            if self.current.is_none() {
                if self.next.is_empty() {
                    self.next = running.iter().map(|(run, _)| run.clone()).collect();
                }
                let Some(run) = self.next.pop_front().filter(|_| begun < running.len()) else { break };
                begun += 1;
                // One that ends just now has no directory any more.
                let upper = runs(&run).map(|(_, upper)| upper);
                self.current =
                    upper.and_then(|upper| Measure::begin(upper).ok()).map(|measure| (run, measure));
                continue;
            }
            let Some((run, measure)) = &mut self.current else { continue };
            let known = self.written.entry(run.clone()).or_default();
            match measure.go_on(ENTRIES_PER_STEP) {
                Ok(false) => {
                    *known = Written::of(measure).or_more(*known);
                    continue;
                }
                Ok(true) => *known = Written::of(measure),
                Err(error) => {
                    hidden.push((run.clone(), format!("made a file system that cannot be measured: {error}")))
                }
            }
            self.current = None;
        }
        Look { written: self.written.clone(), hidden }
    }
}

/// Looks for ever.
pub(crate) async fn watch(machine: Arc<Machine>, instances: Arc<Instances>) {
    let mut meter = Meter::default();
    loop {
        tokio::time::sleep(PAUSE).await;
        let running: Vec<(Run, PathBuf)> = instances
            .running()
            .into_iter()
            .map(|run| {
                let upper = machine.instance_dir(run.0.as_str()).join(UPPER);
                (run, upper)
            })
            .collect();
        let dir = machine.dir.clone();
        let looked = blocking(move || {
            let look = meter.look(&running);
            Ok((meter, look, Room::of(&dir).ok()))
        });
        let (back, look, space) = match looked.await {
            Ok(looked) => looked,
            Err(fault) => {
                tracing::error!(reason = fault.reason, "what instances write is measured anew");
                meter = Meter::default();
                continue;
            }
        };
        meter = back;
        let mut ends = look.hidden;
        ends.extend(judge(&look.written, machine.instance_disk_bytes_max, space));
        for ((id, run), reason) in ends {
            tracing::warn!(instance = %id, reason, "is ended");
            instances.end(&id, run, reason).await;
        }
    }
}

/// Removes layers that nobody uses, for ever.
pub(crate) async fn sweep(machine: Arc<Machine>) {
    loop {
        tokio::time::sleep(SWEEP_PAUSE).await;
        let machine = machine.clone();
        let swept = blocking(move || {
            let failed = |error: &dyn std::fmt::Display| Fault::transient(error.to_string());
            let (wishes, problems) = machine.wanted.read_all().map_err(|error| failed(&error))?;
            if let Some(problem) = problems.first() {
                // Its layers are not known.
                return Err(failed(problem));
            }
            let used = wishes.into_iter().flat_map(|wish| wish.layers).collect();
            unpack::sweep(&machine.layers_dir(), &used, LAYER_AGE_MIN).map_err(|error| failed(&error))
        });
        match swept.await {
            Ok(swept) if swept.layers == 0 => {}
            Ok(swept) => tracing::info!(layers = swept.layers, bytes = swept.bytes, "removed unused layers"),
            Err(fault) => tracing::warn!(reason = fault.reason, "unused layers cannot be removed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn run(id: &str) -> Run {
        (InstanceId::new(id), 0)
    }

    fn wrote(bytes: u64) -> Written {
        Written { bytes, files: 1 }
    }

    fn told(ends: Vec<(Run, String)>) -> Vec<String> {
        ends.into_iter().map(|((id, _), reason)| format!("{id} {reason}")).collect()
    }

    const ROOM: Room =
        Room { free_bytes: 50 * GIB, total_bytes: 100 * GIB, free_files: 100_000, total_files: 131_072 };

    #[test]
    fn the_limit_and_then_the_greatest_writer() {
        let written =
            BTreeMap::from([(run("a"), wrote(GIB / 2)), (run("b"), wrote(2 * GIB)), (run("c"), wrote(1))]);
        let tight = Room { free_bytes: 400 << 20, ..ROOM };
        assert_eq!(judge(&written, 3 * GIB, Some(ROOM)), []);
        assert_eq!(told(judge(&written, GIB, Some(ROOM))), ["b wrote 2 GiB, the limit is 1 GiB"]);
        assert_eq!(
            told(judge(&written, 3 * GIB, Some(tight))),
            ["b wrote 2 GiB, the most of all instances, and the disk has only 400 MiB free"]
        );
        // Who is above the limit goes first; that may be room enough.
        assert_eq!(told(judge(&written, GIB, Some(tight))).len(), 1);
        let little = BTreeMap::from([(run("a"), wrote(RELIEF_BYTES_MIN - 1))]);
        assert_eq!(judge(&little, GIB, Some(tight)), [], "it would not help");
        // A small disk is not full because it is small.
        let small = Room { free_bytes: 100 << 20, total_bytes: 4 * GIB, ..ROOM };
        assert_eq!(judge(&written, 3 * GIB, Some(small)), []);
        assert_eq!(judge(&written, 3 * GIB, None), []);
    }

    #[test]
    fn files_count_as_bytes_do() {
        let made = |files: u64| Written { bytes: files * 1024, files };
        let written = BTreeMap::from([(run("a"), made(117_000)), (run("b"), made(9_000))]);
        assert_eq!(judge(&written, 3 * GIB, Some(ROOM)), []);
        assert_eq!(
            told(judge(&written, GIB / 4, Some(ROOM))),
            ["a made 117000 files, the limit is 65536"],
            "a twelfth of the bytes are a twelfth of the files"
        );
        let tight = Room { free_files: 2_600, ..ROOM };
        assert_eq!(
            told(judge(&written, 3 * GIB, Some(tight))),
            ["a made 117000 files, the most of all instances, and the disk has room for only 2600 more"]
        );
        let little = BTreeMap::from([(run("a"), made(RELIEF_FILES_MIN - 1))]);
        assert_eq!(judge(&little, 3 * GIB, Some(tight)), [], "it would not help");
        let uncounted = Room { free_files: 0, total_files: 0, ..ROOM };
        assert_eq!(judge(&written, 3 * GIB, Some(uncounted)), []);
        let data = Path::new("/data");
        let fault = refuse_without_room(data, Room { free_files: 3, ..ROOM }).unwrap_err();
        assert_eq!(fault.reason, "the disk of /data is full: 3 of 131072 files free; a start needs 64");
        assert!(refuse_without_room(data, uncounted).is_ok());
    }

    #[test]
    fn sizes_are_for_people() {
        let shown = [0, 12 << 20, 3 * GIB, 3 * GIB + GIB / 5 + GIB / 50].map(size);
        assert_eq!(shown, ["0 MiB", "12 MiB", "3 GiB", "3.2 GiB"]);
    }

    #[test]
    fn want_of_room_is_said_with_figures() {
        let data = Path::new("/data");
        let space = Room { free_bytes: 12 << 20, total_bytes: GIB, ..ROOM };
        let fault = refuse_without_room(data, space).unwrap_err();
        assert!(!fault.permanent);
        assert_eq!(fault.reason, "the disk of /data is full: 12 MiB free; a start needs 16 MiB");
        assert!(refuse_without_room(data, Room { free_bytes: 16 << 20, ..space }).is_ok());
        let wrote = Fault::transient("cannot write x: No space left on device (os error 28)");
        assert!(
            explain(data, space, wrote).reason.starts_with("the disk of /data is full: 12 MiB free (cannot")
        );
        let other = Fault::transient("cannot write x: Permission denied");
        assert_eq!(explain(data, space, other.clone()), other);
        assert!(Room::of(Path::new("/")).unwrap().total_bytes > 0);
    }

    struct Directory(PathBuf);
    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = apron_images::tree::remove(&self.0);
        }
    }

    #[test]
    fn instances_are_measured_in_turn() {
        let directory = Directory(std::env::temp_dir().join(format!("apron-disk-{}", std::process::id())));
        let upper = |name: &str| (run(name), directory.0.join(name));
        for name in ["a", "b"] {
            std::fs::create_dir_all(directory.0.join(name)).unwrap();
            std::fs::write(directory.0.join(name).join("file"), vec![1; 1 << 20]).unwrap();
        }
        let mut meter = Meter::default();
        let look = meter.look(&[upper("a"), upper("b"), upper("gone")]);
        assert!(look.hidden.is_empty());
        assert_eq!(look.written.len(), 2);
        assert!(
            look.written.values().all(|one| (1 << 20..1 << 21).contains(&one.bytes) && one.files == 1),
            "{:?}",
            look.written
        );
        // Another start of the same instance has another file system.
        let again = ((InstanceId::new("a"), 1), directory.0.join("b"));
        assert_eq!(
            meter.look(std::slice::from_ref(&again)).written.into_keys().collect::<Vec<_>>(),
            [again.0]
        );
        assert!(meter.look(&[]).written.is_empty());
    }
}
