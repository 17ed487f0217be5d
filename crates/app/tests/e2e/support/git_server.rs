//! Repositories over HTTP: git's own `http-backend` behind a small web server, and nginx before it for HTTPS.

use super::neighbourhood::Neighbourhood;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

const BACKEND: &str = "/usr/lib/git-core/git-http-backend";
/// Repositories below this directory want the user `tester` with the password `open-sesame`.
pub const CLOSED: &str = "/closed/";
const AUTHORIZATION: &str = "Basic dGVzdGVyOm9wZW4tc2VzYW1l";
/// A request for objects names some commits; nothing here is larger.
const BODY_BYTES_MAX: u64 = 16 << 20;

/// Serves the repositories below a directory. Dropping it closes its sockets.
pub struct GitServer {
    stop: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl GitServer {
    pub fn start(listener: TcpListener, root: &Path) -> GitServer {
        let (stop, requests) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (ends, seen, root) = (stop.clone(), requests.clone(), root.to_owned());
        listener.set_nonblocking(true).expect("a socket that can be asked");
        let accepting = std::thread::spawn(move || {
            while !ends.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => {
                        let (seen, root) = (seen.clone(), root.clone());
                        std::thread::spawn(move || {
                            if let Err(error) = serve(stream, &root, &seen) {
                                seen.lock().unwrap().push(format!("failed: {error}"));
                            }
                        });
                    }
                    Err(_) => std::thread::sleep(Duration::from_millis(10)),
                }
            }
        });
        GitServer { stop, accepting: Some(accepting), requests }
    }

    /// First lines of the requests so far.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for GitServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.accepting.take().map(JoinHandle::join);
    }
}

/// One request, by the rules of CGI.
fn serve(stream: TcpStream, root: &Path, requests: &Mutex<Vec<String>>) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line == "\r\n" {
            break;
        }
        let (name, value) = line.split_once(':').ok_or(io::ErrorKind::InvalidData)?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let header = |name: &str| headers.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value.as_str());
    requests.lock().unwrap().push(first.trim().to_owned());
    let mut words = first.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    if path.starts_with(CLOSED) && header("authorization") != AUTHORIZATION {
        return writer.write_all(
            b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"repositories\"\r\n\
              Content-Length: 0\r\nConnection: close\r\n\r\n",
        );
    }
    if header("expect").eq_ignore_ascii_case("100-continue") {
        writer.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let mut body = Vec::new();
    if header("transfer-encoding").eq_ignore_ascii_case("chunked") {
        loop {
            let mut size = String::new();
            reader.read_line(&mut size)?;
            let size = u64::from_str_radix(size.trim(), 16).map_err(io::Error::other)?;
            (&mut reader).take(size.min(BODY_BYTES_MAX)).read_to_end(&mut body)?;
            reader.read_line(&mut String::new())?;
            if size == 0 {
                break;
            }
        }
    } else {
        let length = header("content-length").parse().unwrap_or(0).min(BODY_BYTES_MAX);
        (&mut reader).take(length).read_to_end(&mut body)?;
    }
    let mut backend = Command::new(BACKEND)
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REQUEST_METHOD", method)
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("CONTENT_TYPE", header("content-type"))
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .env("GIT_PROTOCOL", header("git-protocol"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    backend.stdin.take().expect("piped").write_all(&body)?;
    let output = backend.wait_with_output()?.stdout;
    let end = output.windows(4).position(|four| four == b"\r\n\r\n").ok_or(io::ErrorKind::InvalidData)?;
    let head = String::from_utf8_lossy(&output[..end]).into_owned();
    let status = head.lines().find_map(|line| line.strip_prefix("Status: ")).unwrap_or("200 OK");
    write!(writer, "HTTP/1.1 {status}\r\n{head}\r\nConnection: close\r\n\r\n")?;
    writer.write_all(&output[end + 4..])
}

/// nginx in the namespace: HTTPS at port 443, passed on to port 80.
pub struct Https {
    child: Child,
    /// The certificate, to be trusted.
    pub certificate: PathBuf,
}

impl Https {
    pub fn start(neighbourhood: &Neighbourhood, dir: &Path) -> Https {
        let (certificate, key) = (dir.join("certificate.pem"), dir.join("key.pem"));
        let address = neighbourhood.public;
        let made = Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
                "-days",
                "2",
            ])
            .args(["-subj", "/CN=git.test", "-addext", &format!("subjectAltName=IP:{address}"), "-keyout"])
            .arg(&key)
            .arg("-out")
            .arg(&certificate)
            .output()
            .expect("openssl");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let config = format!(
            "daemon off; worker_processes 1; pid {dir}/nginx.pid; error_log {dir}/error.log;\n\
             events {{}}\n\
             http {{ access_log off; client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy;\n\
             fastcgi_temp_path {dir}/f; uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;\n\
             server {{ listen {address}:443 ssl; ssl_certificate {certificate}; ssl_certificate_key {key};\n\
             location / {{ proxy_pass http://{address}:80; }} }} }}\n",
            dir = dir.display(),
            certificate = certificate.display(),
            key = key.display(),
        );
        let path = dir.join("nginx.conf");
        fs::write(&path, config).expect("nginx's configuration");
        let child = neighbourhood
            .command("nginx")
            .arg("-c")
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx is installed: run scripts/test, which installs it");
        let mut https = Https { child, certificate };
        super::eventually(Duration::from_secs(10), "nginx", || {
            if let Ok(Some(status)) = https.child.try_wait() {
                let log = fs::read_to_string(dir.join("error.log")).unwrap_or_default();
                panic!("nginx ended with {status}: {log}");
            }
            TcpStream::connect((address, 443)).map_err(|error| error.to_string())
        });
        https
    }
}

impl Drop for Https {
    fn drop(&mut self) {
        // SIGTERM, so that the master ends its worker. `ip netns exec` has become nginx by execve.
        // SAFETY: takes numbers only; the child was not waited for, so the number is its.
        unsafe { libc::kill(self.child.id() as i32, libc::SIGTERM) };
        let _ = self.child.wait();
    }
}

/// Where HTTP without encryption is served.
pub fn plain(address: Ipv4Addr) -> SocketAddrV4 {
    SocketAddrV4::new(address, 80)
}
