use super::*;

const HYBRID: &str = "\
30 24 0:26 / /sys/fs/cgroup rw shared:9 - tmpfs tmpfs rw,mode=755
31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw shared:10 - cgroup cgroup rw,cpu,cpuacct
32 30 0:28 / /sys/fs/cgroup/memory rw shared:11 - cgroup cgroup rw,memory
33 30 0:29 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
34 30 0:30 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer
35 30 0:31 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
36 30 0:32 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw";

#[test]
fn layouts_are_told_apart() {
    let Layout::V1 { controllers, all } = layout(HYBRID).unwrap() else { panic!("version 1") };
    assert_eq!(controllers["cpuacct"], Path::new("/sys/fs/cgroup/cpu,cpuacct"));
    assert_eq!(all.len(), 6);

    let unified = "30 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate";
    assert!(matches!(layout(unified), Ok(Layout::V2 { root }) if root == Path::new("/sys/fs/cgroup")));

    let nothing = layout("24 1 8:1 / / rw - ext4 /dev/sda rw").unwrap_err().to_string();
    assert!(nothing.starts_with("control groups are not usable"), "{nothing}");
    let some = layout("31 30 0:27 / /x rw - cgroup cgroup rw,memory").unwrap_err().to_string();
    assert!(some.ends_with("does not offer the controllers cpu, pids"), "{some}");
    let all = HYBRID.replace("cgroup rw,pids", "cgroup rw,misc");
    let one = layout(&all).unwrap_err().to_string();
    assert!(one.ends_with("this host does not offer the controller pids"), "{one}");
}

/// Needs root.
#[test]
fn a_memory_limit_below_what_is_used_is_refused_and_nobody_killed() {
    let cgroups = Cgroups::detect().unwrap();
    let path = format!("/apron-test-memory-{}", std::process::id());
    let mut user = std::process::Command::new("sh");
    // It begins when it is in the cgroup, and holds the text until its input ends.
    user.args(["-c", "read begin; x=$(head -c 20000000 /dev/zero | tr '\\0' x); echo full; read end"]);
    let mut user =
        user.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).spawn().unwrap();
    struct Guard<'a>(&'a Cgroups, &'a str);
    impl Drop for Guard<'_> {
        fn drop(&mut self) {
            let _ = self.0.kill_all(self.1);
            let _ = self.0.remove(self.1);
        }
    }
    let _guard = Guard(&cgroups, &path);
    let limits = Limits { cpu_units: 1024, memory_bytes: 256 << 20, pids: 10 };
    cgroups.create(&path, &limits).unwrap();
    cgroups.join(&path, user.id() as i32).unwrap();
    io::Write::write_all(&mut user.stdin.as_ref().unwrap(), b"begin\n").unwrap();
    let mut said = String::new();
    let mut output = std::io::BufReader::new(user.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut output, &mut said).unwrap();
    assert_eq!(said, "full\n");
    cgroups.set_limits(&path, &Limits { memory_bytes: 4 << 20, ..limits }).unwrap_err();
    assert_eq!(cgroups.pids(&path).unwrap(), [user.id() as i32]);
    let events = read(&cgroups.out_of_memory_file(&path)).unwrap();
    assert_eq!(field(&events, "oom_kill"), Some(0), "{events}");
    cgroups.set_limits(&path, &Limits { memory_bytes: 128 << 20, ..limits }).unwrap();
    drop(user.stdin.take());
    user.wait().unwrap();
}

#[test]
fn fields_are_found_by_their_whole_name() {
    let text = "oom 4\noom_kill 3\noom_kill_disable 0\n";
    assert_eq!(field(text, "oom_kill"), Some(3));
    assert_eq!(field(text, "oom_kil"), None);
}

/// Needs root.
#[test]
fn a_real_cgroup_limits_freezes_kills_and_goes() {
    let cgroups = Cgroups::detect().unwrap();
    let parent = format!("/apron-test-cgroup-{}", std::process::id());
    let path = format!("{parent}/one");
    struct Guard<'a>(&'a Cgroups, &'a str);
    impl Drop for Guard<'_> {
        fn drop(&mut self) {
            let _ = self.0.kill_all(&format!("{}/one", self.1));
            let _ = self.0.remove(self.1);
        }
    }
    let _guard = Guard(&cgroups, &parent);
    let limits = Limits { cpu_units: 512, memory_bytes: 64 << 20, pids: 10 };
    cgroups.create(&path, &limits).unwrap();
    cgroups.create(&path, &Limits { memory_bytes: 128 << 20, ..limits }).unwrap();
    cgroups.set_limits(&path, &limits).unwrap();
    let mut child = std::process::Command::new("sleep").arg("100").spawn().unwrap();
    cgroups.join(&path, child.id() as i32).unwrap();
    assert_eq!(cgroups.pids(&path).unwrap(), [child.id() as i32]);
    assert_eq!(cgroups.list(&parent), ["one"]);
    cgroups.freeze(&path).unwrap();
    let killer = std::thread::scope(|scope| {
        let killing = scope.spawn(|| cgroups.kill_all(&path));
        assert!(!child.wait().unwrap().success());
        killing.join().unwrap()
    });
    killer.unwrap();
    cgroups.remove(&parent).unwrap();
    cgroups.remove(&parent).unwrap();
    cgroups.kill_all(&path).unwrap();
    assert!(cgroups.list(&parent).is_empty());
}

/// Needs root.
#[test]
fn use_is_counted_without_caches() {
    const FILE: u64 = 16 << 20;
    const OWN: u64 = 20_000_000;
    let cgroups = Cgroups::detect().unwrap();
    let path = format!("/apron-test-use-{}", std::process::id());
    // What is in /tmp may be in memory.
    let file = PathBuf::from(format!("/var/tmp/apron-test-use-{}", std::process::id()));
    struct Guard<'a>(&'a Cgroups, &'a str, &'a Path);
    impl Drop for Guard<'_> {
        fn drop(&mut self) {
            let _ = self.0.kill_all(self.1);
            let _ = self.0.remove(self.1);
            let _ = fs::remove_file(self.2);
        }
    }
    let _guard = Guard(&cgroups, &path, &file);
    cgroups.create(&path, &Limits { cpu_units: 1024, memory_bytes: 256 << 20, pids: 10 }).unwrap();
    let script = format!(
        "read begin; head -c {FILE} /dev/zero >$0; x=$(head -c {OWN} /dev/zero | tr '\\0' x); echo full; read end"
    );
    let mut user = std::process::Command::new("sh");
    user.args(["-c", &script]).arg(&file).stdin(std::process::Stdio::piped());
    let mut user = user.stdout(std::process::Stdio::piped()).spawn().unwrap();
    cgroups.join(&path, user.id() as i32).unwrap();
    let mut input = user.stdin.take().unwrap();
    io::Write::write_all(&mut input, b"begin\n").unwrap();
    let mut said = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(user.stdout.take().unwrap()), &mut said)
        .unwrap();
    assert_eq!(said, "full\n");
    let usage = cgroups.usage(&path).unwrap();
    let with_caches = match &cgroups.layout {
        Layout::V2 { root } => read_number(&below(root, &path).join("memory.current")),
        Layout::V1 { controllers, .. } => {
            read_number(&below(&controllers["memory"], &path).join("memory.usage_in_bytes"))
        }
    };
    drop(input);
    user.wait().unwrap();
    assert!((1_000..60_000_000).contains(&usage.cpu_us), "{usage:?}");
    let caches = with_caches.unwrap() - usage.memory_bytes;
    assert!(usage.memory_bytes >= OWN && caches >= FILE * 3 / 4, "{usage:?}, caches {caches}");
}

/// Needs root. Each process forks the next and ends, so that whoever reads the list and then kills comes too
/// late.
#[test]
fn processes_that_hop_are_caught() {
    let cgroups = Cgroups::detect().unwrap();
    let path = format!("/apron-test-hop-{}", std::process::id());
    struct Guard<'a>(&'a Cgroups, &'a str);
    impl Drop for Guard<'_> {
        fn drop(&mut self) {
            let _ = self.0.set_limits(self.1, &Limits { cpu_units: 64, memory_bytes: 64 << 20, pids: 1 });
            let _ = self.0.kill_all(self.1);
            let _ = self.0.remove(self.1);
        }
    }
    let _guard = Guard(&cgroups, &path);
    cgroups.create(&path, &Limits { cpu_units: 1024, memory_bytes: 64 << 20, pids: 4000 }).unwrap();
    let script = "read begin; hop() { hop & }; for n in 1 2 3 4; do hop & done";
    let mut first = std::process::Command::new("sh");
    let first =
        first.args(["-c", script]).stdin(std::process::Stdio::piped()).stderr(std::process::Stdio::null());
    let mut first = first.spawn().unwrap();
    cgroups.join(&path, first.id() as i32).unwrap();
    io::Write::write_all(&mut first.stdin.take().unwrap(), b"begin\n").unwrap();
    first.wait().unwrap();
    std::thread::sleep(Duration::from_millis(20));
    assert!(!cgroups.pids(&path).unwrap().is_empty(), "they hop");
    let began = Instant::now();
    cgroups.kill_all(&path).unwrap();
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert!(cgroups.pids(&path).unwrap().is_empty());
}
