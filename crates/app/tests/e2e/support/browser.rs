//! A headless Chromium, driven by its DevTools protocol: JSON messages, each ended by a zero byte, over two named
//! pipes. Needs Debian's package chromium.

use super::eventually;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// The browser's own start takes some seconds on a machine that builds beside the tests.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// How long the page may take to show something.
const SHOWN_MAX: Duration = Duration::from_secs(30);

/// A browser with one page. Dropping it ends it.
pub struct Browser {
    child: Child,
    commands: File,
    messages: Receiver<Value>,
    session: Option<String>,
    number: u64,
    /// What the page complained of: exceptions, refused content, failed requests.
    complaints: VecDeque<String>,
}

impl Browser {
    /// Starts a browser with a profile of its own below `dir`, and opens the address.
    pub fn open(dir: &Path, address: &str) -> Browser {
        let (input, output) = (dir.join("commands"), dir.join("messages"));
        for pipe in [&input, &output] {
            let made = Command::new("mkfifo").arg("-m").arg("600").arg(pipe).status().expect("mkfifo");
            assert!(made.success(), "mkfifo {}", pipe.display());
        }
        // The browser takes commands on descriptor 3 and answers on 4; the shell puts the pipes there.
        let child = Command::new("sh")
            .args(["-c", r#"exec 3<"$0" 4>"$1"; shift; exec chromium "$@""#])
            .args([&input, &output])
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
            .args(["--remote-debugging-pipe", "--window-size=1100,1000"])
            .arg(format!("--user-data-dir={}", dir.join("profile").display()))
            .arg("about:blank")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(dir.join("chromium.log")).expect("a log"))
            .spawn()
            .expect("sh");
        // In the shell's order: each end of a pipe opens when the other does.
        let commands = OpenOptions::new().write(true).open(&input).expect("the browser's input");
        let mut reader = BufReader::new(File::open(&output).expect("the browser's output"));
        let (sender, messages) = channel();
        std::thread::spawn(move || {
            let mut message = Vec::new();
            while reader.read_until(0, &mut message).is_ok_and(|length| length > 0) {
                message.pop();
                let Ok(value) = serde_json::from_slice(&message) else { return };
                if sender.send(value).is_err() {
                    return;
                }
                message.clear();
            }
        });
        let mut browser =
            Browser { child, commands, messages, session: None, number: 0, complaints: VecDeque::new() };
        let target = browser.command("Target.createTarget", json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let session = browser.command("Target.attachToTarget", attach)["sessionId"].clone();
        browser.session = session.as_str().map(str::to_owned);
        for domain in ["Runtime.enable", "Log.enable", "Page.enable"] {
            browser.command(domain, json!({}));
        }
        browser.command("Page.navigate", json!({ "url": address }));
        browser
    }

    /// Sends one command and waits for its answer.
    pub fn command(&mut self, method: &str, params: Value) -> Value {
        self.number += 1;
        let mut command = json!({ "id": self.number, "method": method, "params": params });
        if let Some(session) = &self.session {
            command["sessionId"] = json!(session);
        }
        let mut line = command.to_string().into_bytes();
        line.push(0);
        self.commands.write_all(&line).expect("the browser takes commands: is chromium installed?");
        loop {
            let message = self
                .messages
                .recv_timeout(ANSWER_MAX)
                .unwrap_or_else(|error| panic!("no answer to {method} ({error}): is chromium installed?"));
            match message["method"].as_str() {
                Some("Runtime.exceptionThrown") => {
                    self.complaints.push_back(message["params"]["exceptionDetails"].to_string());
                }
                Some("Log.entryAdded") => self.complaints.push_back(message["params"]["entry"].to_string()),
                _ if message["id"] == json!(self.number) => {
                    assert!(message.get("error").is_none(), "{method}: {}", message["error"]);
                    return message["result"].clone();
                }
                _ => {}
            }
        }
    }

    /// The value of a JavaScript expression in the page.
    pub fn value(&mut self, expression: &str) -> Value {
        let params = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let answer = self.command("Runtime.evaluate", params);
        assert!(answer.get("exceptionDetails").is_none(), "{expression}: {}", answer["exceptionDetails"]);
        answer["result"]["value"].clone()
    }

    /// Waits until the text that a person sees contains this.
    pub fn shows(&mut self, text: &str) {
        self.waits_for(&format!("document.body.innerText.includes({})", json!(text)));
    }

    /// Waits until an expression is true.
    pub fn waits_for(&mut self, expression: &str) {
        eventually(SHOWN_MAX, expression, || match self.value(expression) {
            Value::Bool(true) => Ok(()),
            _ => Err(self.value("document.body.innerText").to_string()),
        });
    }

    /// Clicks the button or link inside `within` that has exactly this text.
    pub fn clicks(&mut self, within: &str, text: &str) {
        let found = format!(
            "[...document.querySelectorAll('{within} button, {within} a')].find((n) => n.textContent === {})",
            json!(text)
        );
        self.waits_for(&format!("{found}?.disabled !== true && Boolean({found})"));
        self.value(&format!("{found}.click()"));
    }

    /// Everything that the page complained of so far.
    pub fn complaints(&mut self) -> Vec<String> {
        // What was said before this answer has been read with it.
        self.value("0");
        self.complaints.drain(..).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
