//! Point 6: what an instance is, told by an application inside it. Needs root.

use crate::support::dns::NameServer;
use crate::support::neighbourhood::Neighbourhood;
use crate::support::{Options, Platform, eventually, http};
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, UdpSocket};
use std::time::{Duration, Instant};

/// Capabilities of root in an instance, by number: chown, dac_override, fowner, fsetid, kill, setgid, setuid,
/// setpcap, net_bind_service, sys_chroot, setfcap.
const CAPABILITIES: [u32; 11] = [0, 1, 3, 4, 5, 6, 7, 8, 10, 18, 31];
const MINUTE: Duration = Duration::from_secs(60);

/// What the service's application answers to a question.
fn ask(platform: &Platform, service: &str, path: &str) -> String {
    let answer = http::get(&platform.apps, &platform.alias(service), path).unwrap();
    assert_eq!(answer.status, 200, "{path}: {}\n{}", answer.head, answer.body);
    answer.body
}

/// Creates a service through the API and waits until it runs; gives its ARN.
fn create(platform: &Platform, name: &str, image_configuration: Value) -> String {
    let source = json!({ "ImageRepository": {
        "ImageIdentifier": format!("{name}:1"), "ImageRepositoryType": "ECR_PUBLIC",
        "ImageConfiguration": image_configuration,
    }})
    .to_string();
    let created =
        platform.aws(&["create-service", "--service-name", name, "--source-configuration", &source]);
    let arn = created["Service"]["ServiceArn"].as_str().unwrap().to_owned();
    platform.aws_service(&arn, "RUNNING", MINUTE);
    arn
}

/// The address of a service's only instance.
fn address(platform: &Platform, service: &str) -> Ipv4Addr {
    let status = platform.run(&["status", service]);
    let found = status.split_ascii_whitespace().find_map(|word| word.parse::<SocketAddrV4>().ok());
    *found.unwrap_or_else(|| panic!("no address in {status}")).ip()
}

#[test]
fn an_instance_is_confined() {
    let platform = Platform::start();
    platform.import("asker:1", &[("FROM_IMAGE", "yes")]);
    platform.run(&["deploy", "asker:1", "--name", "asker", "--env", "FROM_ME=also"]);
    let status = ask(&platform, "asker", "/status");
    let field = |name: &str| {
        let line = status.lines().find_map(|l| l.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name} in {status}")).trim().to_owned()
    };
    assert_eq!(field("Seccomp:"), "2");
    assert_eq!(field("NoNewPrivs:"), "1");
    let expected: u64 = CAPABILITIES.iter().map(|number| 1 << number).sum();
    for set in ["CapEff:", "CapPrm:", "CapBnd:"] {
        assert_eq!(field(set), format!("{expected:016x}"), "{set}");
    }
    for set in ["CapInh:", "CapAmb:"] {
        assert_eq!(u64::from_str_radix(&field(set), 16), Ok(0), "{set}");
    }
    assert!(field("Uid:").starts_with('0'), "the image asked for no other user");
    let maps: Vec<Vec<u32>> = status
        .lines()
        .map(|line| line.split_ascii_whitespace().map(str::parse).collect::<Result<Vec<u32>, _>>())
        .filter_map(Result::ok)
        .filter(|numbers| numbers.len() == 3)
        .collect();
    println!("uid_map and gid_map: {maps:?}");
    assert_eq!(maps.len(), 2, "{status}");
    for map in maps {
        assert_eq!((map[0], map[2]), (0, 65_536), "root up to the last of 65,536 ids");
        assert!(map[1] >= 65_536, "root in the container is {} outside", map[1]);
    }
    let application = platform.application("asker");
    for kind in ["ipc", "uts", "mnt", "net", "pid", "user"] {
        let of = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/{kind}")).unwrap();
        let inside = of(&application.pid.to_string());
        assert_ne!(inside, of("self"), "the {kind} namespace is the host's");
        let node = platform.process("node").pid.to_string();
        assert_ne!(inside, of(&node), "the {kind} namespace is the node's");
    }
    let id = platform.id();
    let ours: Vec<&str> = status.lines().filter(|line| line.contains(&id)).collect();
    assert_eq!(ours, Vec::<&str>::new(), "the host shows through");
    let root = status.lines().find(|line| line.split(' ').nth(1) == Some("/")).expect("a root");
    assert!(root.starts_with("overlay / overlay rw"), "{root}");

    let env = ask(&platform, "asker", "/env");
    for expected in [
        "PORT=8080",
        "AWS_REGION=us-east-1",
        "AWS_DEFAULT_REGION=us-east-1",
        "AWS_EXECUTION_ENV=AWS_ECS_FARGATE",
        "APRON_SERVICE=asker",
        "APRON_REVISION=1",
        "FROM_IMAGE=yes",
        "FROM_ME=also",
    ] {
        assert!(env.lines().any(|l| l == expected), "{expected} is missing in\n{env}");
    }
    for line in env.lines().filter(|line| line.starts_with("APRON_")) {
        assert!(["APRON_SERVICE", "APRON_REVISION"].contains(&line.split('=').next().unwrap()), "{line}");
    }
}

#[test]
fn a_command_of_plain_words_is_the_first_process() {
    let platform = Platform::start();
    platform.import("words:1", &[]);
    create(&platform, "words", json!({ "StartCommand": "/server --flag two=2 [x] {y}" }));
    let argv = ask(&platform, "words", "/argv");
    assert_eq!(argv, "pid 1\nargv [\"/server\", \"--flag\", \"two=2\", \"[x]\", \"{y}\"]\ndirectory /\n");

    // What needs a shell goes to one, and an image without one is told so.
    platform.import("shell:1", &[]);
    let source = json!({ "ImageRepository": {
        "ImageIdentifier": "shell:1", "ImageRepositoryType": "ECR_PUBLIC",
        "ImageConfiguration": { "StartCommand": "cd / && ./server $PORT" },
    }})
    .to_string();
    let created =
        platform.aws(&["create-service", "--service-name", "shell", "--source-configuration", &source]);
    platform.aws_service(created["Service"]["ServiceArn"].as_str().unwrap(), "CREATE_FAILED", MINUTE);
    let status = platform.run(&["status", "shell"]);
    println!("{status}");
    assert!(status.contains("/bin/sh"), "{status}");
}

#[test]
fn root_listens_on_port_80_and_a_start_is_fresh() {
    let platform = Platform::start();
    platform.import("low:1", &[]);
    platform.run(&["deploy", "low:1", "--name", "low", "--port", "80"]);
    assert!(ask(&platform, "low", "/env").lines().any(|line| line == "PORT=80"));

    assert_eq!(ask(&platform, "low", "/write?/kept"), "written");
    assert_eq!(ask(&platform, "low", "/read?/kept"), "kept");
    let _ = http::get(&platform.apps, &platform.alias("low"), "/exit?7");
    eventually(Duration::from_secs(20), "a fresh file system", || {
        match http::get(&platform.apps, &platform.alias("low"), "/read?/kept") {
            Ok(answer) if answer.status == 200 && answer.body == "NotFound" => Ok(()),
            Ok(answer) if answer.body == "kept" => panic!("the file outlived its process"),
            other => Err(format!("{other:?}")),
        }
    });
    let status = platform.run(&["status", "low"]);
    assert!(status.contains("1 restarts"), "{status}");
}

#[test]
fn cpu_memory_and_processes_are_limited() {
    let platform = Platform::start();
    platform.import("small:1", &[]);
    platform.import("beside:1", &[]);
    platform.run(&["deploy", "small:1", "--name", "small", "--cpu", "0.25", "--memory", "0.5"]);
    platform.run(&["deploy", "beside:1", "--name", "beside"]);
    // Two threads for two seconds, of a quarter of a core; the first period may come whole.
    let burned: u64 = ask(&platform, "small", "/cpu?2000").parse().unwrap();
    println!("0.25 vCPU got {burned} ms of CPU in 2000 ms");
    assert!(burned <= 800, "{burned} ms of CPU in 2000 ms");

    let began = Instant::now();
    let forked = ask(&platform, "beside", "/fork?100000");
    println!("{forked}, after {:?}", began.elapsed());
    let started: u32 = forked.split(' ').next().unwrap().parse().unwrap();
    assert!((3_900..=4_096).contains(&started), "the limit is 4,096 with threads: {forked}");
    for name in ["beside", "small"] {
        assert_eq!(ask(&platform, name, "/"), "hello", "{name} serves after the fork bomb");
    }

    let gone = http::get(&platform.apps, &platform.alias("small"), "/memory?700");
    assert!(gone.as_ref().map_or(true, |answer| answer.status >= 500), "700 MiB of 512: {gone:?}");
    eventually(Duration::from_secs(20), "an answer after the restart", || {
        match http::get(&platform.apps, &platform.alias("small"), "/") {
            Ok(answer) if answer.status == 200 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    let status = platform.run(&["status", "small"]);
    println!("{status}");
    assert!(status.contains("1 restarts") && status.contains("needed more memory than it has"), "{status}");
    eventually(MINUTE, "the events of the instance", || {
        let said = platform.run(&["logs", "small", "--events"]);
        let told = ["started anew. It was ended because it needed more memory", "is healthy again."];
        if told.iter().all(|line| said.contains(line)) { Ok(()) } else { Err(said) }
    });
    assert_eq!(ask(&platform, "beside", "/memory?50"), format!("took {}", 50 << 20));
}

#[test]
fn only_the_internet_is_reached() {
    let outside = Neighbourhood::new();
    let names = NameServer::start(outside.public);
    let config = crate::support::platform::new_directory();
    std::fs::write(config.join("apron.toml"), format!("[node]\ndns = [\"{}\"]\n", names.address)).unwrap();
    let mut options = Options::standard();
    options.flags.extend(["--config".to_owned(), config.join("apron.toml").display().to_string()]);
    let platform = Platform::with(options);
    for name in ["curious", "other"] {
        platform.import(&format!("{name}:1"), &[]);
        platform.run(&["deploy", &format!("{name}:1"), "--name", name]);
    }
    let connect = |to: SocketAddrV4| {
        let began = Instant::now();
        let said = ask(&platform, "curious", &format!("/connect?{to}"));
        println!("{to}: {said} after {:?}", began.elapsed());
        assert!(began.elapsed() < Duration::from_secs(3), "a refusal comes at once, not by a time-out");
        said
    };
    let _public = outside.listen(SocketAddrV4::new(outside.public, 8000));
    let _private = outside.listen(SocketAddrV4::new(outside.private, 8000));
    assert_eq!(connect(SocketAddrV4::new(outside.public, 8000)), "connected");
    assert_eq!(connect(SocketAddrV4::new(outside.public, 8001)), "ConnectionRefused");

    // Something listens at each of these, and this host reaches it.
    let host = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = host.local_addr().unwrap().port();
    let near = Ipv4Addr::from(u32::from(outside.public) - 1);
    let resolver = ask(&platform, "curious", "/read?/etc/resolv.conf");
    let gateway = resolver.lines().find_map(|line| line.strip_prefix("nameserver ")?.trim().parse().ok());
    let route = UdpSocket::bind("0.0.0.0:0").unwrap();
    // Sends nothing: it only chooses the address that this host has towards the internet.
    let towards = route.connect("198.51.100.1:9").and_then(|()| route.local_addr());
    let mut refused = vec![
        SocketAddrV4::new(outside.private, 8000),
        SocketAddrV4::new(address(&platform, "other"), 8080),
        SocketAddrV4::new(near, port),
        SocketAddrV4::new(gateway.expect("a resolver"), port),
    ];
    if let Ok(SocketAddr::V4(own)) = towards {
        refused.push(SocketAddrV4::new(*own.ip(), port));
    }
    for to in refused {
        std::net::TcpStream::connect_timeout(&to.into(), Duration::from_secs(3))
            .unwrap_or_else(|error| panic!("{to} is not reached from this host: {error}"));
        assert_ne!(connect(to), "connected", "{to}");
    }
    // Nothing listens at these here, but a packet to them must not leave either.
    for to in ["169.254.169.254:80", "10.1.2.3:80", "172.16.0.1:80", "192.168.0.1:80", "100.64.0.1:80"] {
        assert_ne!(connect(to.parse().unwrap()), "connected");
    }

    assert_eq!(ask(&platform, "curious", "/resolve?example.com"), outside.public.to_string());
    drop(platform);
    let _ = std::fs::remove_dir_all(config);
}

/// A paused service is asked to end, has 30 s, and is ended.
#[test]
fn thirty_seconds_lie_between_the_asking_and_the_ending() {
    let platform = Platform::start();
    platform.import("obedient:1", &[]);
    platform.import("stubborn:1", &[("MODE", "stubborn")]);
    for name in ["obedient", "stubborn"] {
        platform.run(&["deploy", &format!("{name}:1"), "--name", name]);
    }
    let timed = |name: &str| {
        let process = platform.application(name);
        let began = Instant::now();
        std::thread::scope(|scope| {
            let pausing = scope.spawn(|| platform.run(&["pause", name]));
            process.wait_gone(MINUTE);
            let took = began.elapsed();
            pausing.join().unwrap();
            println!("{name} ended {took:?} after the call");
            let log = platform.run(&["logs", name]);
            assert!(log.contains("asked to end"), "it got no SIGTERM: {log}");
            took
        })
    };
    let obedient = timed("obedient");
    assert!(obedient < Duration::from_secs(15), "{obedient:?}");
    let stubborn = timed("stubborn");
    let bounds = Duration::from_secs(29)..Duration::from_secs(45);
    assert!(bounds.contains(&stubborn), "{stubborn:?}");
}
