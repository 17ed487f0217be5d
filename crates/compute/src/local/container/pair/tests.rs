use super::*;
use std::time::Instant;

struct Directory(PathBuf);
impl Directory {
    fn new(name: &str) -> Directory {
        Directory(std::env::temp_dir().join(format!("apron-pair-{}-{name}", std::process::id())))
    }
    fn pairs(&self, ready: usize) -> Pairs {
        Pairs::open(PairConfig { dir: self.0.clone(), ready, platform: "0000001f".into() }).unwrap()
    }
}
impl Drop for Directory {
    fn drop(&mut self) {
        let _ = Pairs::purge(&self.0);
    }
}

#[test]
fn ranges_avoid_each_other_and_what_is_reserved() {
    let none = BTreeSet::new();
    let first = free_range("00000000", &none, &[]).unwrap();
    assert_eq!(first, FIRST_ID);
    assert_eq!(free_range("00000000", &BTreeSet::from([first]), &[]), Some(FIRST_ID + IDS));
    assert_eq!(free_range("00001001", &none, &[]), Some(FIRST_ID + IDS));
    let reserved = [(u64::from(FIRST_ID) + 5, u64::from(FIRST_ID) + 6)];
    assert_eq!(free_range("00000000", &none, &reserved), Some(FIRST_ID + IDS));
    assert_eq!(free_range("00000000", &none, &[(0, u64::MAX)]), None);
    let last = free_range("00000fff", &none, &[]).unwrap();
    assert!(u64::from(last) + u64::from(IDS) <= 1 << 31);
    assert_eq!(reserved_range("alice:100000:65536"), Some((100_000, 165_536)));
    assert_eq!(reserved_range("# nothing"), None);
}

/// Needs root. The node's own process is in none of them, and the network is the user namespace's.
#[test]
fn the_namespaces_are_new_and_one_belongs_to_the_other() {
    let child = NamespaceChild::start().unwrap();
    let of = |pid: i32, name: &str| fs::File::open(format!("/proc/{pid}/ns/{name}")).unwrap();
    let number = |file: &fs::File| std::os::unix::fs::MetadataExt::ino(&file.metadata().unwrap());
    let (user, net) = (of(child.pid, "user"), of(child.pid, "net"));
    let own = std::process::id() as i32;
    assert_ne!(number(&user), number(&of(own, "user")));
    assert_ne!(number(&net), number(&of(own, "net")));
    // `NS_GET_USERNS` of linux/nsfs.h.
    // SAFETY: no pointers; what comes is a new descriptor.
    let owner = unsafe {
        let owner = libc::ioctl(std::os::fd::AsRawFd::as_raw_fd(&net), 0xb701);
        assert!(owner >= 0, "{}", io::Error::last_os_error());
        <fs::File as std::os::fd::FromRawFd>::from_raw_fd(owner)
    };
    assert_eq!(number(&owner), number(&user));
}

/// Needs root. The signal belongs to the thread that started the child.
#[test]
fn the_process_that_makes_a_pair_ends_with_its_parent() {
    let pid = std::thread::spawn(|| {
        let child = NamespaceChild::start().unwrap();
        for file in ["uid_map", "gid_map"] {
            fs::write(format!("/proc/{}/{file}", child.pid), format!("0 {FIRST_ID} {IDS}")).unwrap();
        }
        let pid = child.pid;
        // It sleeps when it has said with whom it ends.
        let began = Instant::now();
        while !fs::read_to_string(format!("/proc/{pid}/stat")).unwrap().contains(") S ") {
            assert!(began.elapsed() < Duration::from_secs(5));
            std::thread::yield_now();
        }
        // As if this process had been killed here.
        std::mem::forget(child);
        pid
    })
    .join()
    .unwrap();
    let began = Instant::now();
    // SAFETY: our own child; no status is asked for.
    while unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::WNOHANG) } == 0 {
        if began.elapsed() > Duration::from_secs(5) {
            // SAFETY: our own child, which was not reaped.
            unsafe { libc::kill(pid, libc::SIGKILL) };
            panic!("it lives on");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Needs root.
#[test]
fn pairs_are_made_kept_found_again_and_released() {
    let directory = Directory::new("life");
    let pairs = directory.pairs(1);
    assert_eq!(pairs.refill().unwrap(), 1);
    let one = pairs.take().unwrap();
    let two = pairs.take().unwrap();
    assert_ne!(one.first_id, two.first_id);
    assert!(one.is_whole() && two.is_whole());
    one.open_net().unwrap();
    assert_eq!(pairs.in_use(), [one.first_id, two.first_id]);
    pairs.refill().unwrap();
    drop(pairs);

    // A later node: the pool is found, what instances have is not handed out.
    let pairs = directory.pairs(1);
    assert_eq!(pairs.refill().unwrap(), 0);
    assert_eq!(pairs.claim(one.first_id, None).unwrap(), Some(one.clone()));
    let three = pairs.take().unwrap();
    assert!(![one.first_id, two.first_id].contains(&three.first_id));
    pairs.release(two.clone()).unwrap();
    assert_eq!(pairs.claim(two.first_id, None).unwrap(), None);
    assert_eq!(pairs.in_use(), [one.first_id, three.first_id]);

    // Lost mounts: this process stands for an instance's init.
    umount2(&one.net(), MntFlags::MNT_DETACH).unwrap();
    assert!(pairs.claim(one.first_id, Some(std::process::id() as i32)).unwrap().unwrap().is_whole());

    // A node that was killed: what no instance claims from the next one is free again.
    drop(pairs);
    let unfinished = directory.0.join((FIRST_ID + 4000 * IDS).to_string());
    fs::create_dir(&unfinished).unwrap();
    let pairs = directory.pairs(1);
    assert!(pairs.claim(one.first_id, None).unwrap().is_some());
    let four = pairs.take().unwrap();
    assert_eq!(pairs.release_unclaimed().unwrap(), 2);
    assert!(!unfinished.exists() && !three.dir.exists());
    assert!(one.is_whole() && four.is_whole());
    assert_eq!(pairs.in_use().len(), 2);
    assert_eq!(pairs.release_unclaimed().unwrap(), 0);
    Pairs::purge(&directory.0).unwrap();
    Pairs::purge(&directory.0).unwrap();
    assert!(!directory.0.exists());
}

/// Needs root.
#[test]
fn a_pair_that_cannot_be_released_stays_in_use() {
    let directory = Directory::new("held");
    let pairs = directory.pairs(0);
    let one = pairs.take().unwrap();
    let first_id = one.first_id;
    // What something is mounted on cannot be removed.
    let busy = one.dir.join("busy");
    fs::create_dir(&busy).unwrap();
    bind(&busy, &busy).unwrap();
    let Unreleased { pair: one, error } = pairs.release(one).unwrap_err();
    assert!(error.to_string().starts_with("cannot remove "), "{error}");
    let two = pairs.take().unwrap();
    assert_ne!(two.first_id, first_id);
    unmount(&busy).unwrap();
    pairs.release(one).unwrap();
    let three = pairs.take().unwrap();
    assert_eq!(three.first_id, first_id, "its ids are free again");
    assert!(two.is_whole() && three.is_whole());
}
