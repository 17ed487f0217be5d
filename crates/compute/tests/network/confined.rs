//! What the kernel answers to an application inside a real container. This test's own program is the application.

use crate::libraries::copy_libraries;
use apron_compute::local::container::alive::{self, Found};
use apron_compute::local::container::cgroup::{Cgroups, Limits};
use apron_compute::local::container::launch::{Launch, Launcher};
use apron_compute::local::container::pair::{Pair, PairConfig, Pairs};
use apron_compute::local::instance::shim;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// Set in the container only.
const INSIDE: &str = "APRON_TEST_INSIDE";

/// Everything of the container, gone at the end whatever happened.
struct World {
    root: PathBuf,
    pairs: Pairs,
    pair: Pair,
    cgroup: String,
}

impl World {
    fn new() -> World {
        crate::sweep::sweep("confined");
        let name = format!("confined-{}", std::process::id());
        let root = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(&name);
        let layer = root.join("layer");
        fs::create_dir_all(layer.join("bin")).unwrap();
        let program = std::env::current_exe().unwrap();
        fs::copy(&program, layer.join("bin/program")).unwrap();
        copy_libraries(&program, &layer);
        let platform = format!("{:08x}", std::process::id().wrapping_mul(0x9e37_79b1));
        let pairs = Pairs::open(PairConfig { dir: root.join("pairs"), ready: 0, platform }).unwrap();
        let pair = pairs.take().unwrap();
        World { pair, pairs, cgroup: format!("/apron-test-{name}"), root }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let gone = alive::destroy(&self.root.join("instance"), &format!("{}/one", self.cgroup));
        let cgroups = Cgroups::detect().unwrap();
        let _ = cgroups.kill_all(&format!("{}/shims", self.cgroup));
        let _ = cgroups.remove(&self.cgroup);
        let _ = self.pairs.release(self.pair.clone());
        let _ = Pairs::purge(&self.root.join("pairs"));
        let _ = fs::remove_dir_all(&self.root);
        if let Err(error) = gone {
            eprintln!("{error}");
        }
    }
}

#[tokio::test]
async fn an_application_has_sockets_of_its_own_kind_only() {
    let world = World::new();
    // With one thread, as for the one core that it is given, the harness would write into the lines.
    let words = ["program", "confined::application", "--exact", "--nocapture", "--test-threads=2"];
    let launch = Launch {
        id: "one".into(),
        pair: world.pair.clone(),
        layers: vec![world.root.join("layer")],
        keep_upper: false,
        argv: words.map(str::to_owned).to_vec(),
        env: BTreeMap::from([(INSIDE.into(), "yes".into())]),
        cwd: "/".into(),
        user: String::new(),
        hostname: "inside".into(),
        oom_score_adj: 0,
        limits: Limits { cpu_units: 1024, memory_bytes: 256 << 20, pids: 64 },
        boost: 1,
        files: Vec::new(),
        mounts: Vec::new(),
        cgroup: format!("{}/one", world.cgroup),
        shim_cgroup: format!("{}/shims", world.cgroup),
    };
    let launcher = Launcher::new(env!("CARGO_BIN_EXE_compute-launch"));
    let dir = world.root.join("instance");
    let alive = launcher.spawn(&dir, &launch).unwrap().alive;
    let ended = tokio::time::timeout(Duration::from_secs(10), alive.ended()).await.expect("it ends");
    let lines: Vec<String> =
        shim::read_output(&dir, 0).unwrap().lines.into_iter().map(|line| line.text).collect();
    assert!(matches!(ended, Found::Exited(_)), "{ended:?} {lines:#?}");

    let answers: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix("answer ")).collect();
    let no_family = libc::EAFNOSUPPORT;
    let expected = [
        ("unix", 0),
        ("inet", 0),
        ("inet6", 0),
        ("netlink-route", 0),
        ("netlink-netfilter", no_family),
        ("netlink-audit", no_family),
        ("packet", no_family),
        ("vsock", no_family),
        ("alg", no_family),
        ("raw", libc::EPERM),
        ("unshare", libc::EPERM),
        ("keyctl", libc::EPERM),
        ("bpf", libc::EPERM),
        ("io_uring", libc::ENOSYS),
        ("clone3", libc::ENOSYS),
        // Threads and processes are made all the same: the C library falls back from clone3 to clone.
        ("thread", 0),
    ];
    let expected: Vec<String> = expected.iter().map(|(name, errno)| format!("{name} {errno}")).collect();
    assert_eq!(answers, expected, "{lines:#?}");
}

/// The application: does nothing where it is run as a test like the others.
#[test]
fn application() {
    if std::env::var_os(INSIDE).is_none() {
        return;
    }
    let socket = |family: i32, kind: i32, protocol: i32| (libc::SYS_socket, [family, kind, protocol]);
    let (stream, raw) = (libc::SOCK_STREAM, libc::SOCK_RAW);
    for (name, (call, arguments)) in [
        ("unix", socket(libc::AF_UNIX, stream, 0)),
        ("inet", socket(libc::AF_INET, stream, 0)),
        ("inet6", socket(libc::AF_INET6, stream, 0)),
        ("netlink-route", socket(libc::AF_NETLINK, raw, libc::NETLINK_ROUTE)),
        ("netlink-netfilter", socket(libc::AF_NETLINK, raw, libc::NETLINK_NETFILTER)),
        ("netlink-audit", socket(libc::AF_NETLINK, raw, libc::NETLINK_AUDIT)),
        ("packet", socket(libc::AF_PACKET, raw, 0)),
        ("vsock", socket(libc::AF_VSOCK, stream, 0)),
        ("alg", socket(libc::AF_ALG, libc::SOCK_SEQPACKET, 0)),
        ("raw", socket(libc::AF_INET, raw, libc::IPPROTO_ICMP)),
        ("unshare", (libc::SYS_unshare, [libc::CLONE_NEWUSER, 0, 0])),
        ("keyctl", (libc::SYS_keyctl, [0, 0, 0])),
        ("bpf", (libc::SYS_bpf, [0, 0, 0])),
        ("io_uring", (libc::SYS_io_uring_setup, [1, 0, 0])),
        ("clone3", (libc::SYS_clone3, [0, 0, 0])),
    ] {
        // SAFETY: no call takes a pointer that counts.
        let result = unsafe { libc::syscall(call, arguments[0], arguments[1], arguments[2]) };
        let errno = if result < 0 { nix::Error::last_raw() } else { 0 };
        println!("answer {name} {errno}");
    }
    let answer = std::thread::spawn(|| 0).join().unwrap_or(1);
    println!("answer thread {answer}");
}
