//! Git repositories made by tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Writes the files and commits them; makes the repository the first time. Gives its `file://` URL.
pub fn commit(dir: &Path, files: &[(&str, &str)]) -> String {
    if !dir.join(".git").exists() {
        fs::create_dir_all(dir).expect("a directory");
        git(dir, &["init", "--quiet", "--initial-branch=main"]);
    }
    for (name, content) in files {
        let path: PathBuf = dir.join(name);
        fs::create_dir_all(path.parent().expect("below the repository")).expect("a directory");
        fs::write(path, content).expect("a file of the repository");
    }
    git(dir, &["add", "--all"]);
    git(dir, &["commit", "--quiet", "--message", "change"]);
    format!("file://{}", dir.display())
}

/// The same on a branch of its own, which begins at what is there; `main` is as before.
pub fn commit_on(dir: &Path, branch: &str, files: &[(&str, &str)]) {
    git(dir, &["checkout", "--quiet", "-b", branch]);
    commit(dir, files);
    git(dir, &["checkout", "--quiet", "main"]);
}

/// The newest commit.
pub fn head(dir: &Path) -> String {
    git(dir, &["rev-parse", "HEAD"]).trim().to_owned()
}

fn git(dir: &Path, arguments: &[&str]) -> String {
    let identity =
        ["-c", "user.name=test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false"];
    let output = Command::new("git").arg("-C").arg(dir).args(identity).args(arguments).output();
    let output = output.expect("git is installed: run scripts/test, which installs it");
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A Python application without dependencies that answers `text` on port 8080.
pub fn python_application(text: &str) -> Vec<(&'static str, String)> {
    let manifest = "version: 1.0\nruntime: python311\nbuild:\n  commands:\n    build:\n      - python -V > built.txt\n\
                    run:\n  command: python3 app.py\n  network:\n    port: 8080\n";
    let program = format!(
        "import http.server, os, signal\n\
         signal.signal(signal.SIGTERM, lambda *arguments: os._exit(0))\n\
         class Handler(http.server.BaseHTTPRequestHandler):\n    \
             protocol_version = 'HTTP/1.1'\n    \
             def do_GET(self):\n        \
                 body = {text:?}.encode()\n        \
                 self.send_response(200)\n        \
                 self.send_header('Content-Length', str(len(body)))\n        \
                 self.end_headers()\n        \
                 self.wfile.write(body)\n    \
             def log_message(self, *arguments):\n        \
                 pass\n\
         print('started', flush=True)\n\
         http.server.ThreadingHTTPServer(('', int(os.environ['PORT'])), Handler).serve_forever()\n"
    );
    vec![("apprunner.yaml", manifest.to_owned()), ("app.py", program)]
}
