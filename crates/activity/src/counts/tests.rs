use super::*;
use crate::memory::{
    CELLS, CHANGES, CHANGES_WAIT_MAX, Memory, SEALS, Unlock, VERSION, head, is_counts_memory, lock,
};
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::fs::File;
use std::mem::forget;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::AtomicU32;
use std::time::Instant;

fn file() -> OwnedFd {
    counts_memory().unwrap()
}

fn join(file: &OwnedFd) -> Arc<Region> {
    Arc::new(Region::from_fd(file).unwrap())
}

fn slots(region: &Arc<Region>, number: u16) -> Slots {
    region.slots(&InstanceId::new(format!("{number:032x}")), SocketAddr::from(([10, 0, 0, 1], number)))
}

fn take(slots: &Slots, ceiling: u32) -> bool {
    let seen = slots.read();
    slots.has_room(seen, ceiling) && slots.take(seen)
}

/// As a kill does: the kernel closes the file and forgets its mapping, and nothing of ours runs.
fn kill(region: &Arc<Region>) {
    // SAFETY: mapped with this length. Nothing refers to it any more: whoever kills a region uses it no more, and forgets
    // its slots.
    unsafe { libc::munmap(region.mapped.map.0.as_ptr().cast(), size_of::<Memory>()) };
    nix::unistd::close(region.mapped.file.as_raw_fd()).unwrap();
    forget(region.clone());
}

#[test]
fn processes_count_together_and_each_knows_its_own() {
    let file = file();
    let (a, b) = (join(&file), join(&file));
    let (at_a, at_b, other) = (slots(&a, 1), slots(&b, 1), slots(&b, 2));
    assert!(take(&at_a, 3) && take(&at_b, 3) && take(&at_b, 3));
    assert!(!take(&at_a, 3) && !take(&at_b, 3));
    assert_eq!((at_a.read().in_flight(), at_a.own(), at_b.own()), (3, 1, 2));
    assert_eq!(other.read().in_flight(), 0);
    at_b.release();
    let seen = at_a.read();
    assert!(take(&at_b, 3) && !at_a.take(seen), "the count has changed since it was read");
}

#[test]
fn what_is_left_in_order_is_clean() {
    let file = file();
    let (a, b) = (join(&file), join(&file));
    assert!(a.shared() && b.shared());
    let (at_a, at_b) = (slots(&a, 1), slots(&b, 1));
    assert!(take(&at_b, 9));
    at_b.mark(true);
    drop((at_b, b));
    assert!(!a.shared());
    assert_eq!(at_a.read(), Seen(0));
}

#[test]
fn what_a_killed_process_left_is_cleared_by_who_looks_or_comes() {
    let file = file();
    let (a, b, c) = (join(&file), join(&file), join(&file));
    let (at_a, at_b, at_c) = (slots(&a, 1), slots(&b, 1), slots(&c, 1));
    assert!(take(&at_a, 9) && take(&at_b, 9) && take(&at_c, 9));
    at_b.mark(true);
    a.clear_dead();
    assert_eq!(at_a.read().in_flight(), 3, "all are alive");
    kill(&b);
    forget(at_b);
    a.clear_dead();
    assert_eq!(at_a.read().in_flight(), 2);
    assert!(a.shared(), "one more is alive");
    // Its successor takes the lane itself.
    kill(&c);
    forget(at_c);
    let d = join(&file);
    let e = join(&file);
    assert_eq!(at_a.read().in_flight(), 1);
    assert_eq!([a.lane, d.lane, e.lane], [0, 1, 2]);
}

#[test]
fn the_first_to_come_has_the_place_that_both_want() {
    let file = file();
    let (old, new) = (join(&file), join(&file));
    let (at_old, at_new) = (slots(&old, 1), slots(&new, 1));
    at_old.mark(true);
    at_new.mark(true);
    assert!(!take(&at_new, 1) && take(&at_old, 1));
    at_old.mark(false);
    at_old.release();
    assert!(take(&at_new, 1));
    // A successor in the lane of one that died is younger than who lives.
    kill(&old);
    forget(at_old);
    let newest = join(&file);
    assert_eq!(newest.lane, 0);
    let at_newest = slots(&newest, 1);
    at_newest.mark(true);
    at_new.mark(true);
    at_new.release();
    assert!(!take(&at_newest, 1) && take(&at_new, 1));
}

#[test]
fn who_says_nothing_for_a_while_does_not_keep_its_turn() {
    let file = file();
    let (old, new) = (join(&file), join(&file));
    let (at_old, at_new) = (slots(&old, 1), slots(&new, 1));
    at_old.mark(true);
    assert!(!take(&at_new, 1));
    // As if it had been stopped since then.
    old.mapped.memory().waits_until_ms[old.lane as usize].store(clock_ms(), SeqCst);
    assert!(take(&at_new, 1));
    at_new.release();
    at_old.mark(true);
    assert!(!take(&at_new, 1), "it goes on");
}

#[test]
fn who_was_stopped_while_it_made_a_change_is_waited_for_once() {
    let file = file();
    let (a, b) = (join(&file), join(&file));
    assert!(lock(&b.mapped.file, CHANGES).unwrap());
    let begun = Instant::now();
    let alone: Vec<Slots> = (0..100).map(|number| slots(&a, number)).collect();
    assert!(alone.iter().all(|one| matches!(one.place, Place::Own(_))));
    // One after the other would be ten seconds.
    assert!(begun.elapsed() < CHANGES_WAIT_MAX * 30);
    drop(Unlock { file: &b.mapped.file, number: CHANGES });
    assert!(matches!(slots(&a, 100).place, Place::Shared(_)));
}

#[test]
fn a_lane_is_bounded_and_never_reaches_into_the_next() {
    let region = Arc::new(Region::create().unwrap());
    let one = slots(&region, 1);
    for _ in 0..COUNT {
        assert!(take(&one, u32::MAX));
    }
    assert!(!take(&one, u32::MAX));
    assert_eq!(one.read(), Seen(COUNT));
    (0..COUNT).for_each(|_| one.release());
    assert_eq!(one.read(), Seen(0));
}

#[test]
fn a_cell_is_used_again_when_nobody_knows_its_instance_any_more() {
    let region = Arc::new(Region::create().unwrap());
    let mut known: Vec<Slots> = Vec::new();
    for number in 0..3_000 {
        // Far more than were ever in use at the same time.
        let one = slots(&region, number);
        assert!(matches!(one.place, Place::Shared(_)) && take(&one, 1), "{number}");
        known.push(one);
        if known.len() > 100 {
            known.remove(0);
        }
    }
    let used = region.mapped.memory().cells.iter().filter(|cell| cell.users.load(SeqCst) != 0);
    assert_eq!(used.count(), 100);
}

/// Cells that begin to be looked for at one place, of which the first comes free.
#[test]
fn an_instance_has_one_cell_also_when_an_earlier_place_came_free() {
    let region = Region::create().unwrap();
    let memory = region.mapped.memory();
    let keys = [5, 6, 7].map(|turn| turn * CELLS as u64 + 9);
    assert_eq!(keys.map(|key| memory.cell_for(key, User::Lane(0))), [Some(9), Some(10), Some(11)]);
    memory.cells[9].leave(0);
    assert_eq!(memory.cell_for(keys[2], User::Lane(1)), Some(11));
    assert_eq!(memory.cell_for(8 * CELLS as u64 + 9, User::Lane(1)), Some(9), "one that is new takes it");
    assert_eq!(memory.cell_for(keys[0], User::Lane(1)), Some(12));
    assert_eq!(memory.cells[11].users.load(SeqCst), 0b11);
}

#[test]
fn without_room_an_instance_is_counted_alone() {
    let region = Arc::new(Region::create().unwrap());
    for cell in &region.mapped.memory().cells {
        cell.key.store(1, SeqCst);
        cell.users.store(1 << 3, SeqCst);
    }
    let one = slots(&region, 1);
    assert!(matches!(one.place, Place::Own(_)));
    assert!(take(&one, 1) && !take(&one, 1) && one.own() == 1);
}

#[test]
fn a_fifth_process_and_another_layout_are_refused() {
    let file = file();
    let four = [join(&file), join(&file), join(&file), join(&file)];
    assert!(Region::from_fd(&file).is_err());
    drop(four);
    let _one = join(&file);
    assert!(is_counts_memory(&file));
    File::from(file.try_clone().unwrap()).write_all_at(&(VERSION + 1).to_ne_bytes(), 8).unwrap();
    assert!(Region::from_fd(&file).is_err() && !is_counts_memory(&file));
}

#[test]
fn what_could_be_cut_or_closed_to_others_is_refused() {
    let file = self::file();
    for seal in [SealFlag::F_SEAL_WRITE, SealFlag::F_SEAL_FUTURE_WRITE] {
        assert!(fcntl(&file, FcntlArg::F_ADD_SEALS(seal)).is_err(), "one holder closes it to all");
    }
    assert!(nix::unistd::ftruncate(&file, 0).is_err());

    let like_it = |seals: SealFlag| {
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        let file = File::from(memfd_create(c"test", flags).unwrap());
        file.set_len(size_of::<Memory>() as u64).unwrap();
        file.write_all_at(&head(), 0).unwrap();
        fcntl(&file, FcntlArg::F_ADD_SEALS(seals)).unwrap();
        OwnedFd::from(file)
    };
    assert!(is_counts_memory(&like_it(SEALS)));
    for seals in [SealFlag::F_SEAL_SHRINK, SEALS | SealFlag::F_SEAL_FUTURE_WRITE] {
        let file = like_it(seals);
        assert!(!is_counts_memory(&file) && Region::from_fd(&file).is_err(), "{seals:?}");
    }
    // What is no memory file is not even read: nobody ever writes into this pipe.
    let (reader, _writer) = nix::unistd::pipe().unwrap();
    assert!(!is_counts_memory(&reader));
    assert!(!is_counts_memory(&File::open("/dev/zero").unwrap().into()));
}

#[test]
fn keys_are_what_other_versions_compute() {
    let address = "10.0.0.1:8080".parse().unwrap();
    let all: std::collections::HashSet<u64> =
        (0..10_000).map(|n| key(&InstanceId::new(format!("{n:032x}")), address)).collect();
    assert_eq!(all.len(), 10_000);
    // FNV-1a of "a 10.0.0.1:8080", folded. A change here means that `VERSION` changes.
    let text = b"a 10.0.0.1:8080";
    let mut hash = 14_695_981_039_346_656_037u64;
    for byte in text {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(1_099_511_628_211);
    }
    assert_eq!(key(&InstanceId::new("a"), address), hash ^ hash >> 32);
}

/// Two processes with two threads each take and release as fast as they can.
#[test]
fn a_ceiling_holds_whoever_takes() {
    for ceiling in [1, 3] {
        let file = file();
        let (inside, taken) = (AtomicU32::new(0), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for region in [join(&file), join(&file)] {
                let one = Arc::new(slots(&region, 7));
                for _ in 0..2 {
                    let (one, inside, taken) = (one.clone(), &inside, &taken);
                    scope.spawn(move || {
                        for _ in 0..20_000 {
                            if take(&one, ceiling) {
                                assert!(inside.fetch_add(1, SeqCst) < ceiling);
                                taken.fetch_add(1, SeqCst);
                                inside.fetch_sub(1, SeqCst);
                                one.release();
                            }
                        }
                    });
                }
            }
        });
        assert!(taken.load(SeqCst) > 0);
        assert_eq!(slots(&join(&file), 7).read(), Seen(0));
    }
}
