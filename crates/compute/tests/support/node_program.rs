//! The program of the node's tests. Outside it is what `apron` is in the product: node, launcher, unpacker;
//! inside an instance it is the application, and does what it is asked by HTTP.

use apron_compute::local::node::{Config, read_id};
use apron_compute::local::protect::protect_self;
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(3);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["launch", dir] => apron_compute::local::container::launch::launch_main(Path::new(dir)),
        ["launch-ahead"] => apron_compute::local::container::launch::launch_ahead_main(),
        ["unpack"] => apron_images::unpack::child_main(),
        ["node", config] => node(config, None),
        ["node", config, counts] => node(config, Some(counts.parse().expect("a descriptor"))),
        ["greet", socket] => greet(socket),
        ["wake", socket, key] => wake(socket, key.parse().expect("a key")),
        ["serve"] => serve("0.0.0.0", &std::env::var("PORT").expect("PORT")),
        ["serve", address, port] => serve(address, port),
        ["serve-patiently"] => {
            // SAFETY: the handler does nothing.
            unsafe { libc::signal(libc::SIGTERM, heard as *const () as libc::sighandler_t) };
            serve("0.0.0.0", &std::env::var("PORT").expect("PORT"));
        }
        ["serve-unless", file] if std::path::Path::new(file).exists() => std::process::exit(3),
        ["serve-unless", _] => serve("0.0.0.0", &std::env::var("PORT").expect("PORT")),
        ["exit", code] => {
            println!("about to exit");
            std::process::exit(code.parse().expect("a code"));
        }
        ["shout"] => {
            for _ in 0..30 {
                println!("{}", "\"\u{1}".repeat(8_000));
            }
            std::process::exit(5);
        }
        _ => panic!("unknown words {words:?}"),
    }
}

extern "C" fn heard(_: libc::c_int) {}

fn node(config: &str, counts: Option<i32>) {
    let config = std::fs::read(config).expect("a configuration");
    let config: Config = serde_json::from_slice(&config).expect("a configuration");
    // As the product's supervisor does: instances must not inherit it.
    let platform = read_id(&config.data_dir).expect("an id").expect("an id");
    if let Err(error) = protect_self(&platform) {
        eprintln!("{error}");
    }
    // SAFETY: it was inherited for this, and nobody else has it.
    let counts = counts.map(|counts| unsafe { OwnedFd::from_raw_fd(counts) });
    let done = apron_compute::local::node::run(config, counts, || {
        println!("ready");
        std::io::stdout().flush().expect("writes");
    });
    if let Err(error) = done {
        println!("failed: {error}");
        std::process::exit(1);
    }
}

/// Says hello to a node and prints its answer.
fn greet(socket: &str) {
    let mut stream = std::os::unix::net::UnixStream::connect(socket).expect("connects");
    // A node that refuses this user answers and closes without having read, maybe before this is written.
    let _ = stream.write_all(b"{\"hello\":{\"version\":1}}\n");
    let mut line = String::new();
    let read = BufReader::new(stream).read_line(&mut line);
    assert!(line.ends_with('\n'), "an answer: {read:?}, {line:?}");
    print!("{line}");
}

/// Asks a node for an instance, and prints what came of it.
fn wake(socket: &str, key: u64) {
    use apron_activity::channel::Channel;
    let Ok(channel) = Channel::connect(Path::new(socket)) else { return println!("refused") };
    // From elsewhere.
    channel.hello(0).and_then(|()| channel.wake(key)).expect("is heard");
    let began = std::time::Instant::now();
    let heard = loop {
        match channel.from_node() {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock && began.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(1));
            }
            heard => break heard,
        }
    };
    println!("{heard:?}");
}

fn serve(address: &str, port: &str) {
    println!("serving on {address}:{port}");
    let listener = TcpListener::bind(format!("{address}:{port}")).expect("a free port");
    for stream in listener.incoming() {
        let mut stream = stream.expect("a connection");
        std::thread::spawn(move || {
            let mut line = String::new();
            // A client that only looks whether it may connect says nothing.
            let read = BufReader::new(&stream).read_line(&mut line);
            if read.is_ok() && !line.is_empty() {
                let path = line.split(' ').nth(1).unwrap_or_default();
                let (status, answer) = match path {
                    "/missing" => ("404 Not Found", String::new()),
                    _ => ("200 OK", answer(path)),
                };
                let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", answer.len());
                let _ = stream.write_all((head + &answer).as_bytes());
            }
        });
    }
}

fn answer(path: &str) -> String {
    let words: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    match words.as_slice() {
        ["exit", code] => {
            println!("asked to exit");
            std::process::exit(code.parse().expect("a code"));
        }
        ["env", name] => std::env::var(name).unwrap_or_default(),
        ["say", text] => {
            println!("{text}");
            "said".into()
        }
        ["file", name] => std::fs::read_to_string(format!("/etc/{name}")).unwrap_or_default(),
        ["connect", address, port] => {
            let address: IpAddr = address.parse().expect("an address");
            match TcpStream::connect_timeout(
                &SocketAddr::new(address, port.parse().expect("a port")),
                PATIENCE,
            ) {
                Ok(_) => "connected".into(),
                Err(error) => error.to_string(),
            }
        }
        ["resolve"] => resolve(),
        ["dig", depth] => {
            for _ in 0..depth.parse().expect("a number") {
                std::fs::create_dir("d").and_then(|()| std::env::set_current_dir("d")).expect("deeper");
            }
            "dug".into()
        }
        ["files"] => {
            let made = (0..).take_while(|number| std::fs::write(format!("/file-{number}"), "").is_ok());
            made.count().to_string()
        }
        ["hold", mib] => {
            static HELD: std::sync::Mutex<Vec<u8>> = std::sync::Mutex::new(Vec::new());
            *HELD.lock().expect("nobody panics") = vec![1; mib.parse::<usize>().expect("a number") << 20];
            "held".into()
        }
        ["burn"] => {
            std::thread::spawn(|| {
                loop {
                    std::hint::spin_loop()
                }
            });
            "burning".into()
        }
        ["fill", mib] => {
            let there = std::fs::metadata("/filling").is_ok();
            let mib: usize = mib.parse().expect("a number");
            std::fs::write("/filling", vec![1; mib << 20]).expect("writes");
            format!("there before: {there}")
        }
        _ => format!("pid {} boot {}", std::process::id(), boot()),
    }
}

/// Differs from start to start.
fn boot() -> String {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("stat");
    stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(19)).unwrap_or_default().to_owned()
}

/// Asks the name server of resolv.conf by UDP and tells the answer's length.
fn resolve() -> String {
    let text = std::fs::read_to_string("/etc/resolv.conf").expect("resolv.conf");
    let server: IpAddr = text.split_whitespace().nth(1).expect("a name server").parse().expect("an address");
    let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    socket
        .send_to(b"\x07\x07\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x00\x00\x01\x00\x01", (server, 53))
        .expect("sends");
    let mut buffer = [0; 512];
    match socket.recv(&mut buffer) {
        Ok(length) => format!("{length} bytes, flags {:x}", buffer[2]),
        Err(error) => error.to_string(),
    }
}
