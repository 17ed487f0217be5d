//! Shims made ahead, and the end of the node that made them.

use super::*;
use apron_compute::local::container::cgroup::Cgroups;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

impl World {
    /// The shims that wait for a start.
    fn waiting(&self) -> Vec<i32> {
        let cgroup = format!("/apron-{}/shims", self.platform());
        let mut pids = Cgroups::detect().unwrap().pids(&cgroup).unwrap();
        pids.retain(|pid| stat(*pid).contains("(apron-ahead) S "));
        pids
    }

    /// As many as pairs are kept ready.
    fn one_waits(&self) -> i32 {
        let began = Instant::now();
        loop {
            let waiting = self.waiting();
            match waiting[..] {
                [pid] => return pid,
                _ => assert!(began.elapsed() < PATIENCE, "{waiting:?}"),
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn shim(&self, id: &str) -> i32 {
        self.state(id)["shim_pid"].as_i64().unwrap() as i32
    }
}

fn stat(pid: i32) -> String {
    fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default()
}

/// Waits until it has ended, reaped or not.
fn ends(pid: i32) {
    let began = Instant::now();
    let lives = |stat: &str| stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']));
    while lives(&stat(pid)) {
        assert!(began.elapsed() < Duration::from_secs(2), "{}", stat(pid));
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_takes_the_shim_that_waits_and_the_next_one_is_made() {
    let world = World::new();
    let first = world.one_waits();
    world.client.ensure(&world.spec("n1", &["serve"])).await.unwrap();
    world.healthy("n1").await;
    assert_eq!(world.shim("n1"), first);
    let second = world.one_waits();
    assert_ne!(second, first);

    // One that is dead is passed over, and replaced.
    kill(Pid::from_raw(second), Signal::SIGKILL).unwrap();
    ends(second);
    world.client.ensure(&world.spec("n2", &["serve"])).await.unwrap();
    world.healthy("n2").await;
    assert_ne!(world.shim("n2"), second);
    let third = world.one_waits();
    world.client.ensure(&world.spec("n3", &["serve"])).await.unwrap();
    world.healthy("n3").await;
    assert_eq!(world.shim("n3"), third);
}

#[tokio::test(flavor = "multi_thread")]
async fn shims_that_wait_end_with_the_node() {
    let mut world = World::new();
    let first = world.one_waits();
    world.kill();
    ends(first);
    assert!(world.waiting().is_empty());

    world.start();
    let second = world.one_waits();
    world.client.ensure(&world.spec("o1", &["serve"])).await.unwrap();
    let address = world.healthy("o1").await.address.unwrap();
    assert_eq!(world.shim("o1"), second);
    let third = world.one_waits();
    world.kill();
    ends(third);
    assert!(get(address, "/").unwrap().starts_with("pid"), "the one with a container stays");

    world.start();
    let fourth = world.one_waits();
    world.terminate();
    assert_eq!(stat(fourth), "", "an orderly end leaves not even an entry");
    assert!(get(address, "/").unwrap().starts_with("pid"));
    world.start();
    world.one_waits();
}
