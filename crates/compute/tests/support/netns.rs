//! Network namespaces for tests: a thread that lives in one and runs what it is given there.

use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc;

type Work = Box<dyn FnOnce() + Send>;

/// A network namespace that lives as long as this value.
pub(crate) struct Namespace {
    pub(crate) tid: i32,
    work: mpsc::Sender<Work>,
}

impl Namespace {
    pub(crate) fn new() -> Namespace {
        let (work, inbox) = mpsc::channel::<Work>();
        let (ready, made) = mpsc::channel();
        std::thread::spawn(move || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)
                .expect("tests of the network need root");
            ready.send(nix::unistd::gettid().as_raw()).unwrap();
            while let Ok(one) = inbox.recv() {
                one();
            }
        });
        Namespace { tid: made.recv().unwrap(), work }
    }

    /// A file that stands for the namespace.
    pub(crate) fn path(&self) -> PathBuf {
        format!("/proc/{}/task/{}/ns/net", std::process::id(), self.tid).into()
    }

    /// Runs `work` inside and gives its result.
    pub(crate) fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (sender, receiver) = mpsc::channel();
        self.work.send(Box::new(move || sender.send(work()).unwrap())).unwrap();
        receiver.recv().expect("the work inside the namespace panicked")
    }
}

/// Runs a program of the test machine and gives its output.
pub(crate) fn command(line: &str) -> String {
    let mut words = line.split_whitespace();
    let output =
        Command::new(words.next().unwrap()).args(words).output().unwrap_or_else(|e| panic!("{line}: {e}"));
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
