//! Point 9: the command line as a person uses it, with its exit codes. Needs root.

use crate::support::{APRON, Platform, eventually, http};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[test]
fn a_service_from_its_deployment_to_its_end() {
    let platform = Platform::start();
    platform.import("web:1", &[("TEXT", "one")]);
    let said = platform.run(&[
        "deploy",
        "web:1",
        "--name",
        "web",
        "--port",
        "9000",
        "--cpu",
        "0.25 vCPU",
        "--memory",
        "0.5 GB",
        "--env",
        "A=1",
        "--env",
        "B=x=y",
    ]);
    let url = said.lines().last().unwrap_or_default();
    let apps_port = platform.apps.rsplit(':').next().unwrap();
    assert!(url.starts_with("http://") && url.contains(".us-east-1.apron.localhost:"), "{said}");
    assert!(url.trim_end_matches('/').ends_with(&format!(":{apps_port}")), "{said}");
    let host = url.strip_prefix("http://").unwrap().split(':').next().unwrap();
    let get = |path: &str| http::get(&platform.apps, host, path).unwrap();
    assert_eq!(get("/").body, "one");
    let env = get("/env").body;
    for line in ["PORT=9000", "A=1", "B=x=y"] {
        assert!(env.lines().any(|l| l == line), "{line} is missing in {env}");
    }
    let described = platform.aws(&["list-services"]);
    assert_eq!(described["ServiceSummaryList"][0]["ServiceName"], "web");
    let arn = described["ServiceSummaryList"][0]["ServiceArn"].as_str().unwrap().to_owned();
    let service = platform.aws(&["describe-service", "--service-arn", &arn])["Service"].clone();
    assert_eq!(service["InstanceConfiguration"]["Cpu"], "256");
    assert_eq!(service["InstanceConfiguration"]["Memory"], "512");

    let list = platform.run(&["ls"]);
    let row = list.lines().find(|line| line.starts_with("web ")).unwrap_or_else(|| panic!("{list}"));
    assert!(row.contains("RUNNING") && row.contains("us-east-1.apron.localhost"), "{row}");
    let status = platform.run(&["status", "web"]);
    let scaling = "MinSize 1, MaxSize 25, MaxConcurrency 100";
    for part in ["RUNNING", url, &arn, "revision 1", scaling, "asked for: queued ", ", healthy "] {
        assert!(status.contains(part), "{part} is missing in {status}");
    }
    let states = [" awake  ", " throttled  ", " running  "];
    assert!(states.iter().any(|state| status.contains(state)), "{status}");

    // The same name again is an update. Elsewhere than on a terminal there are plain lines alone, also of errors.
    platform.import("web:2", &[("TEXT", "two")]);
    let output = platform.apron(&["deploy", "web:2", "--name", "web"]);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    assert!(!out.contains(['\u{1b}', '\r']) && !err.contains(['\u{1b}', '\r']), "{out:?}{err:?}");
    assert_eq!(out.lines().last(), Some(url));
    assert_eq!(get("/").body, "two");
    assert!(platform.run(&["status", "web"]).contains("revision 2"));

    platform.run(&["pause", "web"]);
    assert_eq!(get("/").status, 503);
    assert!(platform.run(&["status", "web"]).contains("PAUSED"));
    let said = platform.run(&["resume", "web"]);
    assert!(said.contains(url), "{said}");
    assert_eq!(get("/").body, "two");
    platform.run(&["rm", "web"]);
    assert_eq!(get("/").status, 404);
    assert_eq!(platform.run(&["ls"]).lines().count(), 1, "only the heading");
    assert_eq!(platform.run(&["version"]).trim(), format!("apron {}", env!("CARGO_PKG_VERSION")));
}

/// On a terminal a line moves below those that stay, and is gone at the end.
#[test]
fn a_terminal_shows_what_goes_on() {
    let platform = Platform::start();
    platform.import("shown:1", &[("TEXT", "shown")]);
    let words =
        [APRON, "deploy", "shown:1", "--name", "shown", "--data-dir", platform.data.to_str().unwrap()];
    let typed = Command::new("script")
        .args([
            "--quiet",
            "--return",
            "--command",
            &words.map(|word| format!("'{word}'")).join(" "),
            "/dev/null",
        ])
        .env("TERM", "xterm")
        .stdin(Stdio::null())
        .output()
        .expect("script");
    let shown = String::from_utf8_lossy(&typed.stdout).into_owned();
    println!("{shown:?}");
    assert!(typed.status.success(), "{shown}");
    // The moving line is drawn again and again, each time over what it was.
    let drawn = shown.split("\u{1b}[").count();
    assert!(drawn > 3 && shown.contains('\r'), "{shown:?}");
    // What stays is what stands elsewhere too, the URL last.
    let list = platform.run(&["ls"]);
    let url = list.split_whitespace().find(|word| word.contains("://")).unwrap_or_else(|| panic!("{list}"));
    let last = shown.trim_end().lines().last().unwrap_or_default();
    assert!(last.contains(url), "{shown:?}");
}

/// A command that runs beside the test; its lines so far. Ended when dropped.
struct Beside {
    child: std::process::Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Beside {
    fn start(platform: &Platform, arguments: &[&str]) -> Beside {
        let mut child = Command::new(APRON)
            .args(arguments)
            .arg("--data-dir")
            .arg(&platform.data)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (into, out) = (lines.clone(), BufReader::new(child.stdout.take().unwrap()));
        std::thread::spawn(move || {
            out.lines().map_while(Result::ok).for_each(|line| into.lock().unwrap().push(line));
        });
        Beside { child, lines }
    }

    fn count(&self, text: &str) -> usize {
        self.lines.lock().unwrap().iter().filter(|line| line.contains(text)).count()
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn logs_are_read_and_followed() {
    let platform = Platform::start();
    platform.import("talker:1", &[]);
    platform.run(&["deploy", "talker:1", "--name", "talker"]);
    let print = || http::get(&platform.apps, &platform.alias("talker"), "/print").unwrap();
    print();
    eventually(Duration::from_secs(10), "the application's output", || {
        let logs = platform.run(&["logs", "talker"]);
        if logs.contains("a line of output") { Ok(()) } else { Err(logs) }
    });
    let mut following = Beside::start(&platform, &["logs", "-f", "talker"]);
    eventually(Duration::from_secs(10), "what was there", || match following.count("a line of output") {
        1 => Ok(()),
        other => Err(other.to_string()),
    });
    print();
    eventually(Duration::from_secs(5), "the next line as it comes", || {
        match following.count("a line of output") {
            2 => Ok(()),
            other => Err(other.to_string()),
        }
    });
    assert!(following.child.try_wait().unwrap().is_none(), "logs -f ended by itself");

    let deployment = platform.run(&["logs", "talker", "--deployment"]);
    println!("{deployment}");
    assert!(deployment.lines().count() >= 2, "{deployment}");
    let events = platform.run(&["logs", "talker", "--events"]);
    println!("{events}");
    assert!(events.lines().count() >= 1, "{events}");
}

/// 0 for what was done, 1 for what was not, 2 for what was not understood; the reason is one line of standard error.
#[test]
fn exit_codes_and_reasons() {
    let platform = Platform::start();
    platform.import("bad:1", &[("MODE", "exit")]);
    for (arguments, code, reason) in [
        (&["deploy", "bad:1", "--name", "bad"][..], 1, "cannot find the database"),
        (&["status", "nobody"], 1, "nobody"),
        (&["logs", "nobody"], 1, "nobody"),
        (&["pause", "nobody"], 1, "nobody"),
        (&["resume", "nobody"], 1, "nobody"),
        (&["rm", "nobody"], 1, "nobody"),
        (&["deploy", "/no/such/directory"], 1, "/no/such/directory"),
        (&["deploy", "bad:1", "--port", "0"], 2, "--port"),
        (&["deploy", "bad:1", "--env", "NOVALUE"], 2, "NAME=VALUE"),
        (&["launder"], 2, "launder"),
    ] {
        let output = platform.apron(arguments);
        let (out, err) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr).into_owned());
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {out}{err}");
        assert!(err.contains(reason), "{arguments:?}: {out}{err}");
        if code == 1 {
            let last = err.lines().last().unwrap_or_default();
            println!("{last}");
            assert!(last.starts_with("apron: ") && last.contains(reason), "{arguments:?}: {err}");
        }
    }
    // Nobody to speak to.
    let output = Command::new(APRON).args(["ls", "--data-dir", "/nonexistent"]).env_clear().output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("/nonexistent/credentials") && said.contains("apron serve"), "{said}");
}
