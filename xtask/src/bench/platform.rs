//! A real platform for one bench: `apron serve --ephemeral` with its data in a directory of its own, on free
//! ports of loopback. Driven like a person would: by the command line, and by requests through the proxy.

use super::asks::{self, Asked};
use super::interrupt;
use super::process::{Directory, Process, Seen};
use crate::program;
use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// A platform can take requests within this time or has failed.
const START_TIME_MAX: Duration = Duration::from_secs(60);
/// A drain, the end of three processes, and the removal of all that they made.
const STOP_TIME_MAX: Duration = Duration::from_secs(90);
/// A child that was killed is gone within this time.
const KILL_TIME_MAX: Duration = Duration::from_secs(5);
/// Of a few services.
const METRICS_BYTES_MAX: u64 = 4 * 1024 * 1024;
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);
/// Between two requests while a new revision is waited for: short beside what is measured, and little work.
const POLL_PAUSE: Duration = Duration::from_millis(2);
/// Answers in a row by which a revision is known to be the only one that answers.
const ANSWERS_ALIKE: usize = 50;

/// Builds the program as it is installed, and gives its path.
pub(super) fn binary(root: &Path) -> Result<String> {
    interrupt::check()?;
    Ok(program::build_release(root, "apron")?.display().to_string())
}

/// The name that the archive of `examples/static-binary` gives its image.
pub(super) const STATIC_IMAGE: &str = "apron-example-static:latest";

/// A running platform. Dropping it stops it and removes everything that it made on the machine.
pub(super) struct Platform {
    program: String,
    apps: SocketAddr,
    serve: Process,
    directory: Option<Directory>,
}

impl Platform {
    /// Starts in a new data directory and waits until it takes requests.
    pub(super) fn start(program: &str, name: &str) -> Result<Platform> {
        Platform::start_configured(program, name, "")
    }

    /// As `start`, with the text of a configuration file.
    pub(super) fn start_configured(program: &str, name: &str, configuration: &str) -> Result<Platform> {
        Platform::start_prepared(program, name, configuration, |_| Ok(()))
    }

    /// As `start_configured`, in a data directory in which something is put before.
    pub(super) fn start_prepared(
        program: &str,
        name: &str,
        configuration: &str,
        prepare: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<Platform> {
        let directory = Directory::new(name)?;
        prepare(&directory.0.join("data"))?;
        let configuration = directory.write("apron.toml", configuration)?;
        let log = std::fs::File::create(directory.0.join("serve.log"))?;
        let mut child = Command::new(program)
            .args(["serve", "--ephemeral", "--api", "127.0.0.1:0", "--http", "127.0.0.1:0"])
            .args(["--https", "127.0.0.1:0", "--config", &configuration, "--data-dir"])
            .arg(directory.0.join("data"))
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot run {program}"))?;
        let said = child.stdout.take().context("its standard output is piped")?;
        let mut platform = Platform {
            program: program.to_owned(),
            apps: SocketAddr::from(([127, 0, 0, 1], 0)),
            serve: Process::of(child, STOP_TIME_MAX),
            directory: Some(directory),
        };
        // The thread ends with the platform's standard output.
        let (sender, ready) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(said).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let Ok(line) = ready.recv_timeout(START_TIME_MAX) else {
            bail!("apron serve did not become ready; it says:\n{}", platform.log());
        };
        platform.apps = apps_address(&line)?;
        Ok(platform)
    }

    /// Imports the image of `examples/static-binary`.
    pub(super) fn import_static_image(&self, root: &Path) -> Result<()> {
        let archive = self.path("static-binary.tar")?;
        program::quiet(Command::new(root.join("examples/static-binary/make")).arg(&archive))?;
        self.run(&["image", "import", &archive]).map(drop)
    }

    /// What `apron env` tells a shell: where the API is, and with which key.
    pub(super) fn environment(&self) -> Result<Vec<(String, String)>> {
        Ok(variables(&self.run(&["env"])?))
    }

    /// Runs `aws apprunner` against this platform and gives what it printed.
    pub(super) fn aws(&self, root: &Path, arguments: &[&str]) -> Result<String> {
        let mut aws = Command::new(root.join("target/awscli/bin/python3"));
        aws.args(["-m", "awscli", "apprunner"]).args(arguments).envs(self.environment()?);
        program::output(&mut aws).context("scripts/test installs the AWS CLI")
    }

    /// What the proxy says of itself.
    pub(super) fn metrics(&self) -> Result<String> {
        let mut stream = UnixStream::connect(self.path("data/run/proxy/admin.sock")?)?;
        stream.set_read_timeout(Some(ANSWER_TIME_MAX))?;
        // A client of HTTP/1.0 gets its answer in one piece.
        stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
        let mut text = String::new();
        stream.take(METRICS_BYTES_MAX).read_to_string(&mut text)?;
        ensure!(text.lines().next().is_some_and(|line| line.contains(" 200 ")), "no metrics: {text}");
        Ok(text)
    }

    /// Where applications answer HTTP.
    pub(super) fn apps(&self) -> SocketAddr {
        self.apps
    }

    /// Runs an `apron` command that must fail, and gives what it said on standard error.
    pub(super) fn fail(&self, arguments: &[&str]) -> Result<String> {
        let output = self.command(arguments)?.output();
        let output = output.with_context(|| format!("cannot run {}", self.program))?;
        ensure!(!output.status.success(), "apron {} succeeded", arguments.join(" "));
        Ok(String::from_utf8(output.stderr)?)
    }

    /// Runs an `apron` command against this platform to its end and gives what it printed.
    pub(super) fn run(&self, arguments: &[&str]) -> Result<String> {
        self.finish(self.begin(arguments)?, arguments)
    }

    /// Begins an `apron` command against this platform.
    fn begin(&self, arguments: &[&str]) -> Result<Child> {
        let begun = self.command(arguments)?.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn();
        begun.with_context(|| format!("cannot run {}", self.program))
    }

    /// An `apron` command against this platform.
    fn command(&self, arguments: &[&str]) -> Result<Command> {
        interrupt::check()?;
        let mut command = Command::new(&self.program);
        command.args(arguments).args(["--data-dir", &self.path("data")?]).stdin(Stdio::null());
        Ok(command)
    }

    fn finish(&self, child: Child, arguments: &[&str]) -> Result<String> {
        let output = child.wait_with_output()?;
        interrupt::check()?;
        let command = arguments.join(" ");
        ensure!(output.status.success(), "apron {command} failed; apron serve says:\n{}", self.log());
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Runs an `apron deploy` that makes this revision of the service, and asks through the proxy until that
    /// revision answers.
    pub(super) fn deploy(
        &self,
        service: &str,
        revision: usize,
        arguments: &[&str],
        within: Duration,
    ) -> Result<Deployed> {
        self.bring_up(service, revision, &[&["deploy", "--name", service], arguments].concat(), within)
    }

    /// Runs an `apron` command after which this revision of the service serves, and asks through the proxy until it
    /// answers.
    pub(super) fn bring_up(
        &self,
        service: &str,
        revision: usize,
        arguments: &[&str],
        within: Duration,
    ) -> Result<Deployed> {
        let end = format!("revision {revision}\n");
        let began = Instant::now();
        let mut command = self.begin(arguments)?;
        let first_byte = loop {
            // A platform that does not serve this yet answers with an error page; one that broke shows below.
            if self.get(service).is_ok_and(|answer| answer.body.ends_with(&end)) {
                break Ok(began.elapsed());
            }
            let failed = command.try_wait()?.is_some_and(|status| !status.success());
            if failed || began.elapsed() >= within {
                break Err(failed);
            }
            interrupt::check()?;
            std::thread::sleep(POLL_PAUSE);
        };
        if first_byte == Err(false) {
            let _ = command.kill();
        }
        self.finish(command, arguments)?;
        let Ok(first_byte) = first_byte else { bail!("revision {revision} of {service} did not answer") };
        Ok(Deployed { first_byte, whole: began.elapsed() })
    }

    /// Fails when a service still answers with another revision than this one.
    pub(super) fn ensure_only(&self, service: &str, revision: usize) -> Result<()> {
        let end = format!("revision {revision}\n");
        for _ in 0..ANSWERS_ALIKE {
            let answer = self.get(service)?.body;
            ensure!(
                answer.ends_with(&end),
                "{service} answers '{}', not revision {revision}",
                answer.trim_end()
            );
        }
        Ok(())
    }

    /// Asks a service once, through the proxy, on a connection of its own.
    pub(super) fn request(&self, service: &str) -> Result<()> {
        self.get(service).map(drop)
    }

    /// One GET of a service through the proxy.
    fn get(&self, service: &str) -> Result<Asked> {
        asks::ask(asks::connect(self.apps)?, &asks::get(service, "/"))
    }

    /// Has `services.py` make or change many services, as it is told.
    pub(super) fn services(&self, root: &Path, wanted: &Value) -> Result<()> {
        let mut script = self.script(root, "services.py")?;
        let mut child = script
            .stdin(Stdio::piped())
            .spawn()
            .context("services.py; scripts/test installs botocore and boto3 for it")?;
        let mut input = child.stdin.take().context("its standard input is piped")?;
        input.write_all(wanted.to_string().as_bytes())?;
        drop(input);
        let status = child.wait()?;
        interrupt::check()?;
        ensure!(status.success(), "services.py failed; apron serve says:\n{}", self.log());
        Ok(())
    }

    /// A script of this directory, which finds this platform in its environment.
    pub(super) fn script(&self, root: &Path, name: &str) -> Result<Command> {
        interrupt::check()?;
        let mut python = Command::new(root.join("target/awscli/bin/python3"));
        python.arg(root.join("xtask/src/bench").join(name)).envs(self.environment()?);
        Ok(python)
    }

    /// The process that is a child of the supervisor now.
    pub(super) fn child(&self, role: &str) -> Result<Seen> {
        let text = std::fs::read(self.data()?.join(format!("run/{role}.json")))?;
        let record: Value = serde_json::from_slice(&text)?;
        let number = |name: &str| record[name].as_u64().with_context(|| format!("the record of {role}"));
        Ok(Seen { pid: u32::try_from(number("pid")?)?, start_time: number("start_time")? })
    }

    /// Kills a child of the supervisor, if it lives, and waits until it is gone. Gives what it was.
    pub(super) fn kill(&self, role: &str) -> Result<Seen> {
        let seen = self.child(role)?;
        let began = Instant::now();
        while seen.is_alive() {
            // It may have ended by itself since.
            let _ = kill(Pid::from_raw(i32::try_from(seen.pid)?), Signal::SIGKILL);
            ensure!(began.elapsed() < KILL_TIME_MAX, "{role} was killed and lives");
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(seen)
    }

    /// The supervisor's number.
    pub(super) fn pid(&self) -> u32 {
        self.serve.pid()
    }

    /// The cgroup of everything of this platform, below the root of each hierarchy.
    pub(super) fn cgroup(&self) -> Result<String> {
        let id = std::fs::read_to_string(self.data()?.join("id"))?;
        Ok(format!("apron-{}", id.trim()))
    }

    /// The data directory.
    pub(super) fn data(&self) -> Result<PathBuf> {
        self.path("data").map(PathBuf::from)
    }

    /// A path below the platform's own directory; its data is in `data`.
    pub(super) fn path(&self, name: &str) -> Result<String> {
        let directory =
            self.directory.as_ref().context("the platform has a directory until it is dropped")?;
        Ok(directory.0.join(name).display().to_string())
    }

    /// The end of what the platform said.
    fn log(&self) -> String {
        const LINES: usize = 20;
        let text = self.path("serve.log").ok().and_then(|path| std::fs::read_to_string(path).ok());
        let text = text.unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        if self.serve.stop() {
            return;
        }
        // Something of it may still be mounted below: the directory is left for a person to look at.
        if let Some(directory) = self.directory.take() {
            eprintln!(
                "apron serve did not stop in order; what is left of it is below {}; it says:",
                directory.0.display()
            );
            let log = std::fs::read_to_string(directory.0.join("serve.log")).unwrap_or_default();
            eprintln!("{log}");
            std::mem::forget(directory);
        }
    }
}

/// Times of one deployment, from the start of the command.
pub(super) struct Deployed {
    /// Until the new revision answered through the proxy.
    pub(super) first_byte: Duration,
    /// Until the command ended.
    pub(super) whole: Duration,
}

/// `ready api=http://127.0.0.1:1 apps=http://127.0.0.1:2`.
fn apps_address(ready: &str) -> Result<SocketAddr> {
    let address = ready.split(' ').find_map(|word| word.strip_prefix("apps=http://"));
    let address = address.with_context(|| format!("apron serve says '{ready}'"))?;
    address.parse().with_context(|| format!("apron serve says '{ready}'"))
}

/// Names and values of lines for a shell.
fn variables(lines: &str) -> Vec<(String, String)> {
    let assignments = lines.lines().filter_map(|line| line.strip_prefix("export ")?.split_once('='));
    assignments.map(|(name, value)| (name.to_owned(), value.trim_matches(['\'', '"']).to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_for_a_shell_are_read() {
        let lines = variables("export A=1\n# no\nexport B='x=y'\n");
        assert_eq!(lines, [("A".to_owned(), "1".to_owned()), ("B".to_owned(), "x=y".to_owned())]);
    }

    #[test]
    fn the_ready_line_names_the_proxy() {
        let address = apps_address("ready api=http://127.0.0.1:1 apps=http://127.0.0.1:2").unwrap();
        assert_eq!(address.port(), 2);
        assert!(apps_address("ready").is_err());
    }
}
