//! Starts by shims that were made ahead, and what those have while they wait.

use super::*;
use std::collections::BTreeSet;

impl World {
    fn shims(&self) -> String {
        format!("{}/shims", self.cgroup)
    }

    /// Those that wait, and those of containers.
    fn pids(&self) -> BTreeSet<i32> {
        self.cgroups.pids(&self.shims()).unwrap().into_iter().collect()
    }

    /// For this launcher so many wait.
    fn ahead(&self, ready: usize) -> Launcher {
        let launcher = launcher().with_ahead(self.shims(), ready);
        assert_eq!(launcher.ahead().refill(), Ok(ready));
        launcher
    }

    fn stop(&self) {
        alive::stop_all(&self.dir(), &format!("{}/one", self.cgroup)).unwrap();
    }
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(10), "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// What the descriptors of a process lead to, by their numbers.
fn descriptors(pid: i32) -> Vec<(u32, String)> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    let mut found: Vec<(u32, String)> = entries
        .filter_map(|entry| {
            let link = fs::read_link(entry.path()).ok()?.to_string_lossy().into_owned();
            Some((entry.file_name().to_str()?.parse().ok()?, link))
        })
        .collect();
    found.sort();
    found
}

/// No two pipes have the same number.
fn without_numbers(text: &str) -> String {
    text.chars().filter(|character| !character.is_ascii_digit()).collect()
}

/// What a process was given by whoever started it.
fn inheritance(pid: i32) -> Vec<String> {
    let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap();
    let stat = read("stat");
    let fields: Vec<i64> = stat
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .skip(1)
        .take(4)
        .map(|field| field.parse().unwrap())
        .collect();
    let [parent, group, session, terminal] = fields[..] else { panic!("{stat}") };
    let own = i64::from(std::process::id());
    let mut found = vec![format!(
        "of this process {}, leads its group {} and its session {}, terminal {terminal}",
        parent == own,
        group == i64::from(pid),
        session == i64::from(pid)
    )];
    found.extend(["cgroup", "limits", "oom_score_adj"].map(read));
    found.push(fs::read_link(format!("/proc/{pid}/cwd")).unwrap().display().to_string());
    found.extend(read("status").lines().filter(|line| line.starts_with("Umask:")).map(str::to_owned));
    found
}

/// Everything that there is to see of a shim.
fn shim_of(alive: &Alive) -> Vec<String> {
    const SHOWN: [&str; 12] = [
        "Uid",
        "Gid",
        "Groups",
        "SigBlk",
        "SigIgn",
        "SigCgt",
        "CapInh",
        "CapPrm",
        "CapEff",
        "CapBnd",
        "NoNewPrivs",
        "Seccomp",
    ];
    let pid = alive.state().shim_pid;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let shown = |line: &&str| line.split_once(':').is_some_and(|(name, _)| SHOWN.contains(&name));
    let mut found = inheritance(pid);
    found.push(fs::read_to_string(format!("/proc/{pid}/environ")).unwrap());
    found.extend(status.lines().filter(shown).map(str::to_owned));
    found.push(fs::read_link(format!("/proc/{pid}/ns/mnt")).unwrap().display().to_string());
    // It closes the pipe to whoever started it a moment after it has spoken.
    eventually("the pipe stays open", || descriptors(pid).iter().all(|(number, _)| *number != 5));
    found.extend(descriptors(pid).iter().map(|(number, link)| format!("{number} {}", without_numbers(link))));
    found
}

#[tokio::test]
async fn a_start_takes_a_shim_that_waits() {
    let world = World::new();
    let launcher = world.ahead(2);
    let waiting = world.pids();
    assert_eq!(waiting.len(), 2);
    assert_eq!(world.cgroups.list(&world.cgroup), ["shims"]);
    let alive = launcher.spawn(&world.dir(), &world.launch(&["program", "sleep"])).unwrap().alive;
    let shim = alive.state().shim_pid;
    assert!(waiting.contains(&shim), "{shim} in {waiting:?}");
    assert_eq!(world.pids(), waiting, "no other was started");
    assert_eq!(fs::read_to_string(format!("/proc/{shim}/comm")).unwrap(), "apron-shim\n");
    assert_eq!(launcher.ahead().refill(), Ok(1));
    assert_eq!(world.pids().len(), 3);

    launcher.ahead().close();
    assert_eq!(world.pids(), BTreeSet::from([shim]));
    assert_eq!(launcher.ahead().refill(), Ok(0));
    world.stop();
    // Without any that waits a start has its own.
    let alive = launcher.spawn(&world.dir(), &world.launch(&["program", "exit", "3"])).unwrap().alive;
    assert_eq!(exit_of(&ended(&alive).await), (Some(3), None));
}

#[tokio::test]
async fn a_shim_that_has_died_is_passed_over() {
    let world = World::new();
    let launcher = world.ahead(2);
    let dead = world.pids();
    for pid in &dead {
        // SAFETY: they are ours.
        unsafe { libc::kill(*pid, libc::SIGKILL) };
    }
    let alive = launcher.spawn(&world.dir(), &world.launch(&["program", "exit", "3"])).unwrap().alive;
    let state = ended(&alive).await;
    assert_eq!(exit_of(&state), (Some(3), None));
    assert!(!dead.contains(&state.shim_pid));
    assert_eq!(launcher.ahead().refill(), Ok(2));
    assert!(world.pids().is_disjoint(&dead));
}

#[test]
fn an_error_of_a_shim_that_waited_is_told() {
    let world = World::new();
    let launcher = world.ahead(1);
    let waiting = world.pids();
    let error = launcher.spawn(&world.dir(), &world.launch(&["foo"])).unwrap_err();
    assert!(
        matches!(&error, LaunchError::Permanent(text) if text.starts_with("start command 'foo' not found")),
        "{error:?}"
    );
    assert!(world.pids().is_disjoint(&waiting));
    assert!(!world.cgroups.list(&world.cgroup).contains(&"one".to_owned()));
}

#[tokio::test]
async fn shim_and_container_are_as_those_of_a_start_without() {
    let world = World::new();
    let pool = world.ahead(1);
    let mut read_to = 0;
    let mut seen = Vec::new();
    for (launcher, is_ahead) in [(launcher(), false), (pool, true)] {
        let run = |argv: &[&str]| {
            launcher.ahead().refill().unwrap();
            let before = world.pids();
            let alive = launcher.spawn(&world.dir(), &world.launch(argv)).unwrap().alive;
            assert_eq!(before.contains(&alive.state().shim_pid), is_ahead);
            alive
        };
        let state = ended(&run(&["program", "look"])).await;
        assert_eq!(exit_of(&state), (Some(0), None), "{:?}", world.lines());
        world.stop();
        let output = shim::read_output(&world.dir(), read_to).unwrap();
        read_to = output.next;
        let told = output.lines.into_iter().map(|line| match line.text.starts_with("descriptors ") {
            true => without_numbers(&line.text),
            false => line.text,
        });
        let told: Vec<String> = told.collect();
        assert!(told.len() > 20, "{told:?}");
        let alive = run(&["program", "sleep"]);
        assert!(world.dir().join("launch.log").exists());
        seen.push((told, shim_of(&alive), inheritance(alive.pid())));
        world.stop();
    }
    let [without, with] = &seen[..] else { unreachable!() };
    assert_eq!(without.0, with.0, "what the container tells");
    assert_eq!(without.1, with.1, "the shim");
    assert_eq!(without.2, with.2, "the container's first process");
}

#[test]
fn who_waits_has_nothing_of_others_and_little_memory() {
    let world = World::new();
    let _launcher = world.ahead(3);
    let waiting = world.pids();
    // Whoever runs the tests may have left some open, which go to every child.
    let inherited = descriptors(std::process::id() as i32);
    let descriptors = |pid: i32| {
        let mut found = descriptors(pid);
        found.retain(|one| one.0 < 3 || !inherited.contains(one));
        found
    };
    let mut pipes = BTreeSet::new();
    for pid in &waiting {
        let is_settled = || {
            let found = descriptors(*pid);
            let (null, others) = found.split_at(found.len().min(3));
            null.iter().all(|(_, link)| link == "/dev/null")
                && others.len() == 2
                && others.iter().all(|(_, link)| link.starts_with("pipe:"))
                && fs::read_to_string(format!("/proc/{pid}/stat")).unwrap().contains("(apron-ahead) S ")
        };
        eventually("it waits on one pipe, and has another to tell what comes", is_settled);
        pipes.extend(descriptors(*pid).into_iter().skip(3).map(|(_, link)| link));
        assert_eq!(fs::read(format!("/proc/{pid}/environ")).unwrap(), b"");
        // Its own; what belongs to the program's file is shared with all that run it.
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
        let own = rollup.lines().find_map(|line| line.strip_prefix("Anonymous:")).unwrap().trim();
        println!("own memory: {own}");
        assert!(own.split(' ').next().unwrap().parse::<u64>().unwrap() <= 2048, "{own}");
    }
    assert_eq!(pipes.len(), 2 * waiting.len(), "none has another's");
}

/// Beside `a_start_is_timed`. Each start has found a shim, since another one was made behind the start before.
#[tokio::test(flavor = "multi_thread")]
async fn a_pool_is_filled_behind_starts_and_these_are_timed() {
    let world = World::new();
    let ahead = launcher().with_ahead(world.shims(), 2);
    let pool = ahead.ahead().clone();
    let filling = tokio::spawn(pool.clone().run());
    for (launcher, name) in [(launcher(), "by a process of their own"), (ahead, "by one that waits")] {
        let (mut mounts, mut executed) = (Vec::new(), Vec::new());
        for _ in 0..10 {
            eventually("the pool is filled", || world.pids().len() == 2);
            // The kernel forgets meanwhile that it has moved processes.
            tokio::time::sleep(Duration::from_millis(100)).await;
            let waiting = world.pids();
            let spawned = launcher.spawn(&world.dir(), &world.launch(&["program", "exit", "0"])).unwrap();
            assert_eq!(waiting.contains(&spawned.alive.state().shim_pid), name == "by one that waits");
            mounts.push(spawned.timings.mount_ms);
            executed.push(spawned.timings.exec_ms);
            ended(&spawned.alive).await;
            world.stop();
        }
        mounts.sort();
        executed.sort();
        println!("starts {name}, medians of 10 in ms: mounted {}, executed {}", mounts[5], executed[5]);
    }
    eventually("the pool is filled", || world.pids().len() == 2);
    filling.abort();
    pool.close();
}
