//! The program of the container tests. Outside it is what `apron launch` is in the product; inside it is the
//! application, and tells what it sees or behaves as it is told.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["launch", dir] => apron_compute::local::container::launch::launch_main(Path::new(dir)),
        ["launch-ahead"] => apron_compute::local::container::launch::launch_ahead_main(),
        ["look"] => look(),
        ["sleep"] => std::thread::sleep(Duration::from_secs(600)),
        ["exit", code] => std::process::exit(code.parse().expect("a code")),
        ["print", lines, length] => print(lines, length),
        ["fill"] => fill(),
        ["fork"] => fork(),
        ["write", path] => fs::write(path, "written").expect("writes"),
        _ => panic!("unknown words {words:?}"),
    }
}

/// Everything that a test of isolation asks for, one `name value` a line.
fn look() {
    let status = fs::read_to_string("/proc/self/status").expect("status");
    for line in status.lines() {
        if let Some((name @ ("Seccomp" | "NoNewPrivs" | "CapEff" | "CapBnd" | "SigIgn" | "Groups"), value)) =
            line.split_once(':')
        {
            println!("{name} {}", value.trim());
        }
    }
    let words = |path: &str| {
        let text = fs::read_to_string(path).unwrap_or_else(|error| error.to_string());
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    println!("pid {}", std::process::id());
    println!("uid_map {}", words("/proc/self/uid_map"));
    println!("gid_map {}", words("/proc/self/gid_map"));
    println!("cgroup {}", words("/proc/self/cgroup"));
    let limit =
        ["memory/memory.limit_in_bytes", "memory.max"].map(|file| words(&format!("/sys/fs/cgroup/{file}")));
    println!("memory_limit {}", limit.join(" "));
    let writable = ["memory/cgroup.event_control", "cgroup.procs"]
        .iter()
        .any(|file| fs::OpenOptions::new().write(true).open(format!("/sys/fs/cgroup/{file}")).is_ok());
    println!("cgroup_writable {writable}");
    println!("hostname {}", words("/proc/sys/kernel/hostname"));
    println!("extra {}", words("/etc/extra"));
    println!("oom_score_adj {}", words("/proc/self/oom_score_adj"));
    println!("cwd {}", std::env::current_dir().expect("a directory").display());
    for (key, value) in std::env::vars() {
        println!("env {key}={value}");
    }
    // SAFETY: no pointers.
    println!("ids {} {}", unsafe { libc::getuid() }, unsafe { libc::getgid() });
    println!(
        "root_writable {}",
        fs::create_dir_all("/root").and_then(|()| fs::write("/root/x", "x")).is_ok()
    );
    println!("extra_writable {}", fs::write("/etc/extra", "x").is_ok());
    println!("sysctl_writable {}", fs::write("/proc/sys/kernel/hostname", "x").is_ok());
    println!("port_80 {}", port_80());
    for line in words_of_mounts() {
        println!("mount {line}");
    }
    let descriptors = fs::read_dir("/proc/self/fd").expect("descriptors").flatten();
    let links: Vec<_> = descriptors.filter_map(|entry| fs::read_link(entry.path()).ok()).collect();
    println!("descriptors {links:?}");
}

fn port_80() -> bool {
    // Within the network namespace nothing is up; the loopback of a listener needs no other end.
    TcpListener::bind(("0.0.0.0", 80)).is_ok()
}

/// Mount point and type of every mount.
fn words_of_mounts() -> Vec<String> {
    let text = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    let lines = text.lines().filter_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        Some(format!("{} {}", left.split(' ').nth(4)?, right.split(' ').next()?))
    });
    lines.collect()
}

fn print(lines: &str, length: &str) {
    let (lines, length): (u64, usize) = (lines.parse().expect("a number"), length.parse().expect("a number"));
    let mut out = std::io::stdout().lock();
    let filler = "x".repeat(length);
    for number in 0..lines {
        writeln!(out, "{number} {filler}").expect("writes");
    }
    writeln!(std::io::stderr(), "to stderr").expect("writes");
    out.write_all(b"no line feed").and_then(|()| out.flush()).expect("writes");
}

/// Uses memory until it is stopped.
fn fill() {
    let mut all = Vec::new();
    loop {
        all.push(vec![1u8; 1 << 20]);
    }
}

/// A child that ignores what it is asked and never ends.
fn fork() {
    println!("forked");
    // SAFETY: this program has one thread.
    if unsafe { libc::fork() } == 0 {
        // SAFETY: ignoring needs no handler.
        unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
    }
    std::thread::sleep(Duration::from_secs(600));
}
