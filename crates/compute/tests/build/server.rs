//! A git server in the network of a build's containers.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Over http, and it asks for a password.
pub(super) struct Server {
    process: Child,
}

impl Server {
    const PROGRAM: &str = r#"
import base64, os, subprocess, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_): pass
    def answer(self):
        if self.headers.get('Authorization') != 'Basic ' + base64.b64encode(b'user:s3cr@t').decode():
            self.send_response(401)
            self.send_header('WWW-Authenticate', 'Basic realm=git')
            self.send_header('Content-Length', '0')
            self.end_headers()
            return
        path, _, query = self.path.partition('?')
        body = self.rfile.read(int(self.headers.get('Content-Length') or 0))
        env = dict(os.environ, GIT_PROJECT_ROOT=sys.argv[1], GIT_HTTP_EXPORT_ALL='1', PATH_INFO=path,
            QUERY_STRING=query, REQUEST_METHOD=self.command, CONTENT_TYPE=self.headers.get('Content-Type', ''),
            CONTENT_LENGTH=str(len(body)), REMOTE_USER='user', GIT_CONFIG_COUNT='1',
            GIT_CONFIG_KEY_0='safe.directory', GIT_CONFIG_VALUE_0='*',
            HTTP_CONTENT_ENCODING=self.headers.get('Content-Encoding', ''),
            GIT_PROTOCOL=self.headers.get('Git-Protocol', ''))
        got = subprocess.run(['/usr/lib/git-core/git-http-backend'], env=env, input=body, capture_output=True).stdout
        head, _, rest = got.partition(b'\r\n\r\n')
        self.send_response(200)
        for line in head.decode().split('\r\n'):
            self.send_header(*line.split(': ', 1))
        self.send_header('Content-Length', str(len(rest)))
        self.end_headers()
        self.wfile.write(rest)
    do_GET = do_POST = answer
server = ThreadingHTTPServer(('127.0.0.1', 8099), Handler)
print('ready', flush=True)
server.serve_forever()
"#;

    pub(super) fn start(netns: &Path, repositories: &Path) -> Server {
        let inside = |words: &[&str]| {
            let mut command = Command::new("nsenter");
            command.arg(format!("--net={}", netns.display())).args(words);
            command
        };
        assert!(inside(&["ip", "link", "set", "lo", "up"]).status().unwrap().success());
        let mut command = inside(&["python3", "-c", Server::PROGRAM]);
        let mut process = command.arg(repositories).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Server { process }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
