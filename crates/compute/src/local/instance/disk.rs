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
use apron_images::tree::Measure;
use apron_images::unpack;
use apron_model::ids::InstanceId;
use apron_model::instance::Fault;
use std::collections::{BTreeMap, VecDeque};
use std::io;
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
/// The disk runs out below this much free, or this part of it if that is less.
const FREE_BYTES_MIN: u64 = 512 * 1024 * 1024;
const FREE_PERCENT_MIN: u64 = 2;
/// Ending an instance that wrote less would not help.
const RELIEF_BYTES_MIN: u64 = 64 * 1024 * 1024;
/// What a start itself writes: its description, its log, and the directories of the overlay.
const START_BYTES: u64 = 16 * 1024 * 1024;

/// Between two looks for layers that nobody uses.
const SWEEP_PAUSE: Duration = Duration::from_secs(60 * 60);
/// A layer that nobody asked for this long: longer than any build, and a rollback within the day is quick.
const LAYER_AGE_MIN: Duration = Duration::from_secs(24 * 60 * 60);

/// Room on a file system, for root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Space {
    pub free_bytes: u64,
    pub total_bytes: u64,
}

impl Space {
    pub(crate) fn of(path: &Path) -> io::Result<Space> {
        let found = nix::sys::statvfs::statvfs(path)?;
        let unit = found.fragment_size();
        Ok(Space {
            free_bytes: found.blocks_free().saturating_mul(unit),
            total_bytes: found.blocks().saturating_mul(unit),
        })
    }

    fn runs_out(&self) -> bool {
        self.free_bytes < FREE_BYTES_MIN.min(self.total_bytes / 100 * FREE_PERCENT_MIN)
    }
}

/// One start of an instance; the next one has another file system.
pub(crate) type Run = (InstanceId, u32);

/// Who is to be ended, and why.
fn judge(written: &BTreeMap<Run, u64>, limit_bytes: u64, space: Option<Space>) -> Vec<(Run, String)> {
    let above: Vec<(Run, String)> = written
        .iter()
        .filter(|(_, bytes)| **bytes > limit_bytes)
        .map(|(run, bytes)| {
            (run.clone(), format!("wrote {}, the limit is {}", size(*bytes), size(limit_bytes)))
        })
        .collect();
    let Some(space) = space.filter(|space| above.is_empty() && space.runs_out()) else { return above };
    let greatest = written.iter().max_by_key(|(_, bytes)| **bytes);
    let worth = greatest.filter(|(_, bytes)| **bytes >= RELIEF_BYTES_MIN);
    let told = worth.map(|(run, bytes)| {
        let free = size(space.free_bytes);
        (
            run.clone(),
            format!("wrote {}, the most of all instances, and the disk has only {free} free", size(*bytes)),
        )
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
pub(crate) fn refuse_without_room(data_dir: &Path, space: Space) -> Result<(), Fault> {
    if space.free_bytes >= START_BYTES {
        return Ok(());
    }
    Err(Fault::transient(format!("{}; a start needs {}", full(data_dir, space), size(START_BYTES))))
}

/// Says of a failure for want of room how much there is.
pub(crate) fn explain(data_dir: &Path, space: Space, fault: Fault) -> Fault {
    // The words of the C library, which also come out of child processes.
    let for_want_of_room = ["No space left on device", "Disk quota exceeded"];
    if fault.permanent || !for_want_of_room.iter().any(|words| fault.reason.contains(words)) {
        return fault;
    }
    Fault { reason: format!("{} ({})", full(data_dir, space), fault.reason), ..fault }.bounded()
}

/// `free` is what there is now: who failed for want of room has taken back what it had written.
pub(crate) fn full(data_dir: &Path, space: Space) -> String {
    format!("the disk of {} is full: {} free", data_dir.display(), size(space.free_bytes))
}

/// What is known of each running instance, and where the measuring is.
#[derive(Default)]
struct Meter {
    written: BTreeMap<Run, u64>,
    current: Option<(Run, Measure)>,
    next: VecDeque<Run>,
}

/// What a look found out.
struct Look {
    written: BTreeMap<Run, u64>,
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
                    *known = measure.bytes().max(*known);
                    continue;
                }
                Ok(true) => *known = measure.bytes(),
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
            Ok((meter, look, Space::of(&dir).ok()))
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
        for ((id, restarts), reason) in ends {
            tracing::warn!(instance = %id, reason, "is ended");
            instances.end(&id, restarts, reason).await;
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

    #[test]
    fn the_limit_and_then_the_greatest_writer() {
        let written = BTreeMap::from([(run("a"), GIB / 2), (run("b"), 2 * GIB), (run("c"), 1)]);
        let room = Space { free_bytes: 50 * GIB, total_bytes: 100 * GIB };
        let tight = Space { free_bytes: 400 << 20, ..room };
        assert_eq!(judge(&written, 3 * GIB, Some(room)), []);
        let told = |ends: Vec<(Run, String)>| {
            ends.into_iter().map(|((id, _), reason)| format!("{id} {reason}")).collect::<Vec<_>>()
        };
        assert_eq!(told(judge(&written, GIB, Some(room))), ["b wrote 2 GiB, the limit is 1 GiB"]);
        assert_eq!(
            told(judge(&written, 3 * GIB, Some(tight))),
            ["b wrote 2 GiB, the most of all instances, and the disk has only 400 MiB free"]
        );
        // Who is above the limit goes first; that may be room enough.
        assert_eq!(told(judge(&written, GIB, Some(tight))).len(), 1);
        let little = BTreeMap::from([(run("a"), RELIEF_BYTES_MIN - 1)]);
        assert_eq!(judge(&little, GIB, Some(tight)), [], "it would not help");
        // A small disk is not full because it is small.
        let small = Space { free_bytes: 100 << 20, total_bytes: 4 * GIB };
        assert_eq!(judge(&written, 3 * GIB, Some(small)), []);
        assert_eq!(judge(&written, 3 * GIB, None), []);
    }

    #[test]
    fn sizes_are_for_people() {
        let shown = [0, 12 << 20, 3 * GIB, 3 * GIB + GIB / 5 + GIB / 50].map(size);
        assert_eq!(shown, ["0 MiB", "12 MiB", "3 GiB", "3.2 GiB"]);
    }

    #[test]
    fn want_of_room_is_said_with_figures() {
        let data = Path::new("/data");
        let space = Space { free_bytes: 12 << 20, total_bytes: GIB };
        let fault = refuse_without_room(data, space).unwrap_err();
        assert!(!fault.permanent);
        assert_eq!(fault.reason, "the disk of /data is full: 12 MiB free; a start needs 16 MiB");
        assert!(refuse_without_room(data, Space { free_bytes: 16 << 20, ..space }).is_ok());
        let wrote = Fault::transient("cannot write x: No space left on device (os error 28)");
        assert!(
            explain(data, space, wrote).reason.starts_with("the disk of /data is full: 12 MiB free (cannot")
        );
        let other = Fault::transient("cannot write x: Permission denied");
        assert_eq!(explain(data, space, other.clone()), other);
        assert!(Space::of(Path::new("/")).unwrap().total_bytes > 0);
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
        assert!(look.written.values().all(|bytes| (1 << 20..1 << 21).contains(bytes)), "{:?}", look.written);
        // Another start of the same instance has another file system.
        let again = ((InstanceId::new("a"), 1), directory.0.join("b"));
        assert_eq!(
            meter.look(std::slice::from_ref(&again)).written.into_keys().collect::<Vec<_>>(),
            [again.0]
        );
        assert!(meter.look(&[]).written.is_empty());
    }
}
