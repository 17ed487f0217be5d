//! All of CI, on a laptop as anywhere: a list of stages, each timed, and the count of tests at the end.

use crate::program;
use crate::{deny, facts, nightly, tidy};
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What came of one stage.
pub(crate) struct Stage {
    pub(crate) name: String,
    pub(crate) seconds: f64,
    pub(crate) passed: bool,
}

/// Tests counted over all test binaries.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) ignored: u64,
    /// The names of those that passed.
    pub(crate) names: BTreeSet<String>,
    /// What tests could not try on this machine: the name of the test, what, and why.
    pub(crate) skipped: Vec<String>,
    /// The numbers from which tests drew by chance, which repeat a run.
    pub(crate) seeds: Vec<String>,
    /// How much of it there was, as tests say of themselves.
    pub(crate) counts: Vec<String>,
}

/// Runs every stage even when an earlier one failed, so that one run says all; only what cannot be built is
/// not tested. The last line printed is `N passed, N failed`. Returns whether all is well.
pub(crate) fn run(root: &Path, all: bool) -> Result<bool> {
    let facts = if all { Some(facts::take(root)?) } else { None };
    let mut stages = Vec::new();
    let cargo = |arguments: &[&str]| program::run(program::cargo(root).args(arguments));
    stage(&mut stages, "format", || cargo(&["fmt", "--all", "--check"]));
    let lints = ["clippy", "--workspace", "--all-targets", "--locked", "--quiet", "--", "-D", "warnings"];
    stage(&mut stages, "clippy", || cargo(&lints));
    stage(&mut stages, "tidy", || tidy::run(root));
    stage(&mut stages, "deny", || deny::run(root));
    let built = stage(&mut stages, "build", || {
        cargo(&["build", "--workspace", "--all-targets", "--locked", "--quiet"])
    });
    let mut count = Count::default();
    if built {
        stage(&mut stages, "tests", || tests(root, &[], &mut count));
        stage(&mut stages, "demo", || {
            program::run(Command::new(root.join("scripts/demo")).arg("--check").current_dir(root))
        });
    }
    if let Some(facts) = facts.filter(|_| built) {
        let long = nightly::run(root, &facts, &mut stages, &count)?;
        count = Count {
            passed: count.passed + long.passed,
            failed: count.failed + long.failed,
            // What the long list did not run either.
            ignored: count.ignored.saturating_sub(long.passed + long.failed),
            names: count.names,
            skipped: [count.skipped, long.skipped].concat(),
            seeds: [count.seeds, long.seeds].concat(),
            counts: [count.counts, long.counts].concat(),
        };
    }
    print!("\n{}", summary(&stages, &count));
    Ok(stages.iter().all(|s| s.passed))
}

/// The seconds of every stage and, as the last line, the count of tests.
fn summary(stages: &[Stage], count: &Count) -> String {
    let line = |s: &Stage| {
        format!("{:10} {:>7.1} s  {}\n", s.name, s.seconds, if s.passed { "ok" } else { "FAILED" })
    };
    let lines: String = stages.iter().map(line).collect();
    let ignored = match count.ignored {
        0 => String::new(),
        n => format!("{n} not run: the long list, scripts/test --all, has them\n"),
    };
    let skipped: String = count.skipped.iter().map(|what| format!("SKIPPED: {what}\n")).collect();
    format!("{lines}{skipped}{ignored}{} passed, {} failed\n", count.passed, count.failed)
}

/// Runs and times one stage, says how it went, and keeps that.
pub(crate) fn stage(stages: &mut Vec<Stage>, name: &str, run: impl FnOnce() -> Result<()>) -> bool {
    println!("=== {name}");
    let started = Instant::now();
    let result = run();
    let seconds = started.elapsed().as_secs_f64();
    match &result {
        Ok(()) => println!("=== {name}: ok, {seconds:.1} s"),
        Err(e) => println!("=== {name}: FAILED, {seconds:.1} s: {e:#}"),
    }
    stages.push(Stage { name: name.to_owned(), seconds, passed: result.is_ok() });
    result.is_ok()
}

/// Runs the tests of the whole workspace and adds them up. `options` go to the test binaries.
pub(crate) fn tests(root: &Path, options: &[&str], count: &mut Count) -> Result<()> {
    count_tests(&mut test_command(root, options), count)
}

/// `--tests`, which are those of libraries and programs too: without it every library would be compiled once more
/// for the examples of its documentation, and there are none.
fn test_command(root: &Path, options: &[&str]) -> Command {
    let mut cargo = program::cargo(root);
    cargo.args(["test", "--workspace", "--tests", "--no-fail-fast", "--locked", "--"]).args(options);
    cargo
}

/// Passes the output of `cargo test` on and adds up what its test binaries say.
fn count_tests(cargo: &mut Command, count: &mut Count) -> Result<()> {
    let cargo = cargo.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut cargo = cargo.spawn().context("cannot run cargo test")?;
    let output = cargo.stdout.take().context("cargo test has no output")?;
    // Tests may print what is no UTF-8.
    let mut lines = BufReader::new(output).split(b'\n');
    let mut passed = Passed::default();
    while let Some(line) = lines.next().transpose()? {
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        if let Some([passed, failed, ignored]) = parse_result(&line) {
            count.passed += passed;
            count.failed += failed;
            count.ignored += ignored;
        }
        count.names.extend(passed.read(&line));
        match said(&line) {
            Some((_, "SKIPPED: ", what)) => count.skipped.push(what.to_owned()),
            Some((_, "SEED: ", what)) => count.seeds.push(what.to_owned()),
            Some((_, _, what)) => count.counts.push(what.to_owned()),
            None => {}
        }
    }
    let status = cargo.wait()?;
    match (status.success(), count.failed) {
        (true, 0) => Ok(()),
        (true, failed) => bail!("{failed} failed, yet cargo test ended well"),
        (false, 0) => bail!("cargo test ended with {status} without a failed test: a test binary broke off"),
        (false, failed) => bail!("{failed} failed"),
    }
}

/// Reads `test result: ok. 26 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.02s`.
/// Gives how many passed, failed and were ignored.
fn parse_result(line: &str) -> Option<[u64; 3]> {
    let counts = line.strip_prefix("test result: ")?.split_once(". ")?.1;
    let number = |what: &str| {
        let part = counts.split(';').find_map(|part| part.trim().strip_suffix(what));
        part.and_then(|n| n.trim().parse().ok())
    };
    Some([number(" passed")?, number(" failed")?, number(" ignored")?])
}

/// What tests write past libtest, for the page of the long list.
const MARKS: [&str; 3] = ["SKIPPED: ", "SEED: ", "COUNT: "];

/// Reads `SEED: number` or another mark, which may stand behind the beginning of libtest's own line. What is before the
/// mark, the mark, and what is behind it.
fn said(line: &str) -> Option<(&str, &'static str, &str)> {
    let found = MARKS.iter().filter_map(|mark| Some((line.find(mark)?, *mark)));
    let (at, mark) = found.min_by_key(|(at, _)| *at)?;
    Some((&line[..at], mark, line[at + mark.len()..].trim()))
}

/// Reads `test module::name ... ok`, line by line: libtest writes the name, the verdict and the end of the line one after
/// the other, and what tests write themselves may come between any two of them.
#[derive(Default)]
struct Passed {
    /// The test whose verdict is still to come.
    open: Option<String>,
}

impl Passed {
    /// The name of the test that is known to have passed with this line.
    fn read(&mut self, line: &str) -> Option<String> {
        let own = said(line).map_or(line, |(before, _, _)| before);
        let verdict = match own.strip_prefix("test ").and_then(|rest| rest.split_once(" ... ")) {
            Some((name, verdict)) => {
                self.open = Some(name.to_owned());
                verdict
            }
            None => own,
        };
        match verdict.trim() {
            "ok" => self.open.take(),
            verdict if verdict == "FAILED" || verdict.starts_with("ignored") => {
                self.open = None;
                None
            }
            _ => None,
        }
    }
}

/// `3 min 20 s`, for people.
pub(crate) fn human(seconds: f64) -> String {
    let whole = Duration::from_secs_f64(seconds.max(0.0)).as_secs();
    if whole < 60 { format!("{seconds:.1} s") } else { format!("{} min {} s", whole / 60, whole % 60) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    /// A workspace of one crate without dependencies, removed at the end.
    struct Workspace(PathBuf);

    impl Workspace {
        fn new(name: &str, lib: &str) -> Workspace {
            let root = std::env::temp_dir().join(format!("xtask-ci-{name}-{}", std::process::id()));
            std::fs::create_dir_all(root.join("src")).unwrap();
            let manifest = "[package]\nname = \"probe\"\nedition = \"2024\"\n[workspace]\n";
            std::fs::write(root.join("Cargo.toml"), manifest).unwrap();
            std::fs::write(root.join("src/lib.rs"), lib).unwrap();
            program::run(program::cargo(&root).args(["generate-lockfile", "--offline", "--quiet"])).unwrap();
            Workspace(root)
        }

        /// As `tests`, without the complaints of cargo, which would look like ours.
        fn tests(&self, options: &[&str], count: &mut Count) -> Result<()> {
            let mut cargo = test_command(&self.0, options);
            count_tests(cargo.env_remove("CARGO_TARGET_DIR").stderr(Stdio::null()), count)
        }
    }

    impl Drop for Workspace {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn tests_are_counted_and_a_failure_is_one() {
        let lib = "use std::io::{Write, stdout}; #[test] fn good() { writeln!(stdout(), \"SEED: 7\").unwrap(); } \
                   #[test] fn bad() { panic!(); } #[test] #[ignore] fn long() {}";
        let workspace = Workspace::new("count", lib);
        for threads in ["--test-threads=1", "--test-threads=2"] {
            let mut count = Count::default();
            let error = workspace.tests(&[threads], &mut count).unwrap_err();
            assert_eq!(error.to_string(), "1 failed");
            let (names, seeds) = (BTreeSet::from(["good".to_owned()]), vec!["7".to_owned()]);
            assert_eq!(count, Count { passed: 1, failed: 1, ignored: 1, names, seeds, ..Count::default() });
        }
        let mut long = Count::default();
        workspace.tests(&["--ignored"], &mut long).unwrap();
        assert_eq!((long.passed, long.failed, long.ignored), (1, 0, 0));
    }

    #[test]
    fn a_test_binary_that_breaks_off_is_a_failure() {
        let workspace = Workspace::new("abort", "#[test] fn ends() { std::process::abort(); }");
        let mut count = Count::default();
        let error = workspace.tests(&[], &mut count).unwrap_err();
        assert!(error.to_string().contains("without a failed test"), "{error}");
        assert_eq!(count.passed, 0);
    }

    #[test]
    fn the_count_of_tests_is_the_last_line() {
        let stage = |name: &str, passed| Stage { name: name.into(), seconds: 1.25, passed };
        let text = summary(
            &[stage("build", true), stage("tests", false)],
            &Count {
                passed: 7,
                failed: 1,
                ignored: 2,
                skipped: vec!["Terraform: not there".into()],
                ..Count::default()
            },
        );
        let lines = [
            "build          1.2 s  ok",
            "tests          1.2 s  FAILED",
            "SKIPPED: Terraform: not there",
            "2 not run: the long list, scripts/test --all, has them",
            "7 passed, 1 failed",
        ];
        assert_eq!(text.lines().collect::<Vec<_>>(), lines);
    }

    #[test]
    fn results_are_read() {
        let line =
            "test result: FAILED. 26 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0s";
        assert_eq!(parse_result(line), Some([26, 2, 1]));
        assert_eq!(parse_result("test result: ok. many"), None);
        assert_eq!(parse_result("test a::b ... ok"), None);
        assert_eq!(said("test a::b ... SKIPPED: c: d"), Some(("test a::b ... ", "SKIPPED: ", "c: d")));
        assert_eq!(said("COUNT: 3 of SEED: 4"), Some(("", "COUNT: ", "3 of SEED: 4")));
        assert_eq!(said("test a::b ... ok"), None);
    }

    #[test]
    fn a_verdict_is_found_behind_what_tests_write() {
        let read = |text: &str| {
            let mut passed = Passed::default();
            text.lines().filter_map(|line| passed.read(line)).collect::<Vec<_>>()
        };
        assert_eq!(read("test a::b ... ok\ntest c ... ok"), ["a::b", "c"]);
        assert_eq!(read("test a ... SEED: 7\nCOUNT: 3\nany text\nok\ntest c ... ok"), ["a", "c"]);
        assert_eq!(read("test a ... okSEED: 7\n\ntest c ... ok"), ["a", "c"]);
        assert_eq!(read("SKIPPED: x\ntest a ... ok"), ["a"]);
        let none = [
            "test a ... ignored, long\nok",
            "test a ... FAILED\nok",
            "test a ... SEED: 7\nFAILED\nok",
            "test a ... SEED: 7\n\ntest result: FAILED. 0 passed; 1 failed; 0 ignored",
            "ok",
        ];
        for text in none {
            assert_eq!(read(text), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn times_are_for_people() {
        assert_eq!((human(4.26), human(200.0)), ("4.3 s".to_owned(), "3 min 20 s".to_owned()));
    }
}
