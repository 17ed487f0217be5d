//! Point 2: the demo as a person runs it, with the packages, the build and the bases that this machine has. Both
//! tests use the checkout's own `.apron`, so they run one after the other. Needs root.

use crate::support::processes::leftovers;
use crate::support::{eventually, repository};
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

static CHECKOUT: Mutex<()> = Mutex::new(());
/// Debian's packages and one base image, on a machine that has the binary.
const DEMO_MAX: Duration = Duration::from_secs(600);

/// What is left on the machine of the demo's platform.
fn left() -> Vec<String> {
    let data = repository().join(".apron");
    let id = fs::read_to_string(data.join("id")).expect("the demo ran here once").trim().to_owned();
    leftovers(&id, &data)
}

#[test]
#[ignore = "long: assembles a base image the first time"]
fn the_check_answers_and_a_second_one_is_quick() {
    let _alone = CHECKOUT.lock();
    for round in ["first", "second"] {
        let began = Instant::now();
        let output = Command::new(repository().join("scripts/demo"))
            .arg("--check")
            .current_dir("/")
            .stdin(Stdio::null())
            .output()
            .expect("scripts/demo");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        println!("{round}, {:?}:\n{said}", began.elapsed());
        assert!(output.status.success(), "{said}");
        assert!(said.contains("answers: Hello from hello, revision "), "{said}");
        for stage in
            ["build apron", "start platform", "base image", "build", "start", "healthy", "first byte"]
        {
            assert!(said.lines().any(|line| line.trim_start().starts_with(stage)), "{stage} in {said}");
        }
        assert!(began.elapsed() < DEMO_MAX);
        if round == "second" {
            assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
        }
        assert_eq!(left(), Vec::<String>::new());
    }
}

/// The first process of a session of its own, as a terminal starts it; Ctrl-C goes to all of its group.
#[test]
#[ignore = "long: assembles a base image the first time"]
fn it_stays_until_ctrl_c_and_leaves_nothing_behind() {
    let _alone = CHECKOUT.lock();
    let log = std::env::temp_dir().join(format!("apron-demo-test-{}", std::process::id()));
    let mut demo = Command::new("setsid");
    demo.arg(repository().join("scripts/demo")).stdin(Stdio::null()).stdout(Stdio::null());
    demo.stderr(fs::File::create(&log).expect("a log"));
    // Whoever runs these tests in the background gave them an interrupt that is ignored, and a shell cannot undo that.
    // SAFETY: one system call without memory between fork and exec.
    unsafe {
        demo.pre_exec(|| match libc::signal(libc::SIGINT, libc::SIG_DFL) {
            libc::SIG_ERR => Err(std::io::Error::last_os_error()),
            _ => Ok(()),
        });
    }
    let mut demo = demo.spawn().expect("setsid");
    let said = || fs::read_to_string(&log).unwrap_or_default();
    let up = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        eventually(DEMO_MAX, "the lines for a person", || {
            if let Ok(Some(status)) = demo.try_wait() {
                panic!("it ended with {status}: {}", said());
            }
            if said().contains("Ctrl-C stops everything") { Ok(()) } else { Err(said()) }
        });
        let said = said();
        for part in
            ["application", "console", "export AWS_ENDPOINT_URL_APPRUNNER=", "aws apprunner list-services"]
        {
            assert!(said.contains(part), "{part} in {said}");
        }
        let address = said.split("Host: hello.apron.localhost' http://").nth(1).expect("the curl line");
        let address = address.split('/').next().unwrap();
        let answer = crate::support::http::get(address, "hello.apron.localhost", "/").expect("an answer");
        assert!(answer.body.starts_with("Hello from hello"), "{}", answer.body);
    }));
    // SAFETY: takes numbers only; the child was not waited for, so the number is its, and it leads its group.
    unsafe { libc::kill(-(demo.id() as i32), libc::SIGINT) };
    let began = Instant::now();
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        eventually(Duration::from_secs(120), "the demo's end", || {
            demo.try_wait().map_err(|e| e.to_string())?.ok_or_else(said)
        })
    }));
    let ended = ended.unwrap_or_else(|failed| {
        // SAFETY: as above.
        unsafe { libc::kill(-(demo.id() as i32), libc::SIGTERM) };
        let _ = demo.wait();
        std::panic::resume_unwind(failed)
    });
    println!("{}\nended with {ended} after {:?}", said(), began.elapsed());
    let _ = fs::remove_file(&log);
    up.unwrap();
    assert!(ended.success(), "{ended}");
    assert_eq!(left(), Vec::<String>::new());
}
