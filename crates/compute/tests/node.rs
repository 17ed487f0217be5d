//! The node from its socket to real containers: birth, health, exit, removal, adoption, refusal. Needs root.

#[path = "support/sweep.rs"]
mod sweep;

#[path = "node/ahead.rs"]
mod ahead;
#[path = "node/change.rs"]
mod change;
#[path = "node/disk.rs"]
mod disk;
#[path = "node/idle.rs"]
mod idle;
#[path = "node/meter.rs"]
mod meter;

use apron_compute::driver::{Driver, Hint};
use apron_compute::local::client::Client;
use apron_compute::local::node::{Config, read_id};
use apron_compute::local::purge::purge;
use apron_images::content::Content;
use apron_images::manifest::RunDefaults;
use apron_images::pack::{self, PackOptions};
use apron_model::idle::{IdlePolicy, Rung};
use apron_model::ids::{Digest, Generation, InstanceId, ServiceId};
use apron_model::instance::{
    Command, Exit, Health, HealthCheck, HealthProtocol, InstanceSize, InstanceSpec, Observed, Phase,
};
use apron_model::limits;
use futures_util::StreamExt;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_compute-node");
const PATIENCE: Duration = Duration::from_secs(10);

/// A data directory with one image and a node, all gone at its end whatever happened.
struct World {
    dir: PathBuf,
    config: Config,
    node: Option<Child>,
    client: Client,
    image: Digest,
    /// Where proxies count, as the supervisor keeps it.
    counts: OwnedFd,
}

impl World {
    fn new() -> World {
        World::with(|_| {})
    }

    /// With a file system of its own below the node, mounted with these options of tmpfs.
    fn on_disk(options: &str) -> World {
        World::with(|config| {
            let node = config.data_dir.join("node");
            fs::create_dir_all(&node).unwrap();
            let none = nix::mount::MsFlags::empty();
            nix::mount::mount(Some("disk"), &node, Some("tmpfs"), none, Some(options)).unwrap();
        })
    }

    fn with(change: impl FnOnce(&mut Config)) -> World {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        sweep::sweep("node");
        let name = format!("node-{}-{number}", std::process::id());
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(dir.join("image")).unwrap();
        let platform = std::process::id().wrapping_mul(2_654_435_761).wrapping_add(number);
        fs::write(dir.join("id"), format!("{platform:08x}\n")).unwrap();
        let image = make_image(&dir);
        let mut config = Config {
            data_dir: dir.clone(),
            control_uid: 61_900,
            proxy_uid: 61_901,
            ranges: (0..16).map(|n| format!("10.231.{}.0/24", n * 16)).collect(),
            pairs_ready: 1,
            free_memory_min_mib: 16,
            instance_disk_mib_max: 3 * 1024,
            dns_upstream: Vec::new(),
            egress_allow: Vec::new(),
            source_roots: Vec::new(),
            build_environment: Default::default(),
            runtimes: None,
            program: None,
        };
        change(&mut config);
        let client = Client::new(dir.join("run/node.sock"));
        let counts = apron_activity::counts_memory().unwrap();
        let mut world = World { dir, config, node: None, client, image, counts };
        world.start();
        world
    }

    fn start(&mut self) {
        let path = self.dir.join("config.json");
        fs::write(&path, serde_json::to_vec(&self.config).unwrap()).unwrap();
        let counts = self.counts.as_raw_fd();
        let mut command = std::process::Command::new(PROGRAM);
        command.arg("node").arg(&path).arg(counts.to_string()).stdout(Stdio::piped());
        // SAFETY: between fork and exec only fcntl is called, which is async-signal-safe.
        unsafe {
            command.pre_exec(move || {
                use nix::fcntl::{FcntlArg, FdFlag, fcntl};
                fcntl(BorrowedFd::borrow_raw(counts), FcntlArg::F_SETFD(FdFlag::empty()))?;
                Ok(())
            });
        }
        let mut node = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(node.stdout.take().unwrap()).read_line(&mut line).unwrap();
        self.node = Some(node);
        assert_eq!(line, "ready\n");
    }

    /// Ends the node, by SIGKILL, and nothing else.
    fn kill(&mut self) {
        if let Some(mut node) = self.node.take() {
            node.kill().unwrap();
            node.wait().unwrap();
        }
    }

    /// Ends the node as an upgrade does.
    fn terminate(&mut self) {
        let mut node = self.node.take().unwrap();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(node.id() as i32), nix::sys::signal::SIGTERM)
            .unwrap();
        assert!(node.wait().unwrap().success());
    }

    fn spec(&self, id: &str, argv: &[&str]) -> InstanceSpec {
        let argv = [&["/bin/program"], argv].concat();
        InstanceSpec {
            id: InstanceId::new(id),
            generation: Generation { epoch: 3, counter: 1 },
            service: ServiceId::new("service"),
            service_name: "service".into(),
            revision: 1,
            image: self.image.clone(),
            command: Command::Argv(argv.iter().map(|word| word.to_string()).collect()),
            env: [("PORT".to_owned(), "8080".to_owned())].into(),
            port: 8080,
            size: InstanceSize { cpu_units: 512, memory_mib: 64 },
            health: HealthCheck {
                protocol: HealthProtocol::Http { path: "/".into() },
                interval_s: 1,
                timeout_s: 1,
                healthy_threshold: 1,
                unhealthy_threshold: 2,
            },
            health_grace_ms: 0,
            startup_boost: 1,
            stop_grace_ms: 500,
            idle: IdlePolicy { lowest: Rung::Active, ..IdlePolicy::default() },
        }
    }

    async fn observed(&self, id: &str) -> Option<Observed> {
        let list = self.client.list().await.unwrap();
        list.into_iter().find(|observed| observed.id.as_str() == id)
    }

    /// Waits until what is seen of the instance fulfils the condition.
    async fn wait(&self, id: &str, what: &str, condition: impl Fn(&Observed) -> bool) -> Observed {
        let began = Instant::now();
        loop {
            let observed = self.observed(id).await;
            match &observed {
                Some(observed) if condition(observed) => return observed.clone(),
                _ if began.elapsed() > PATIENCE => panic!("{id} is not {what}: {observed:?}"),
                _ => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    }

    async fn healthy(&self, id: &str) -> Observed {
        self.wait(id, "healthy", |observed| observed.health == Health::Healthy).await
    }

    async fn gone(&self, id: &str) {
        let began = Instant::now();
        while let Some(observed) = self.observed(id).await {
            assert!(began.elapsed() < PATIENCE, "{id} is still there: {observed:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn lines(&self, id: &str) -> Vec<String> {
        let output = self.client.output(&InstanceId::new(id), 0).await.unwrap();
        output.lines.into_iter().map(|line| line.text).collect()
    }

    fn state(&self, id: &str) -> serde_json::Value {
        let text = fs::read(self.dir.join("node/instances").join(id).join("state.json")).unwrap();
        serde_json::from_slice(&text).unwrap()
    }

    /// The limit of an instance's memory, in whichever version of cgroups there is. None: it has no cgroup.
    fn memory_mib(&self, id: &str) -> Option<u64> {
        let cgroup = format!("apron-{}/{id}", self.platform());
        let limit = ["memory/CG/memory.limit_in_bytes", "CG/memory.max"].iter().find_map(|path| {
            fs::read_to_string(format!("/sys/fs/cgroup/{}", path.replace("CG", &cgroup))).ok()
        });
        limit.map(|limit| limit.trim().parse::<u64>().unwrap() >> 20)
    }

    fn platform(&self) -> String {
        read_id(&self.dir).unwrap().unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.kill();
        let platform = read_id(&self.dir).ok().flatten();
        let purged = purge(&self.dir);
        if let Err(error) = &purged {
            eprintln!("{error}");
        }
        // A test may have given the node a disk of its own.
        let _ = nix::mount::umount2(&self.dir.join("node"), nix::mount::MntFlags::MNT_DETACH);
        let removed = fs::remove_dir_all(&self.dir);
        if !std::thread::panicking() {
            purged.unwrap();
            removed.unwrap();
            let platform = platform.unwrap();
            let left = |list: &str| list.contains(&platform);
            assert!(!left(&fs::read_to_string("/proc/self/mountinfo").unwrap()));
            assert!(!left(
                &fs::read_dir("/sys/class/net").unwrap().map(|e| format!("{e:?}")).collect::<String>()
            ));
        }
    }
}

/// The smallest file system in which the test program runs: itself and the libraries that it is linked to.
fn make_image(dir: &Path) -> Digest {
    let layer = dir.join("image");
    fs::create_dir_all(layer.join("bin")).unwrap();
    fs::copy(PROGRAM, layer.join("bin/program")).unwrap();
    let linked = std::process::Command::new("ldd").arg(PROGRAM).output().unwrap();
    for line in String::from_utf8(linked.stdout).unwrap().lines() {
        let Some(path) = line.split_whitespace().find(|word| word.starts_with('/')) else { continue };
        let target = layer.join(&path[1..]);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(path, target).unwrap();
    }
    let content = Content::open(dir.join("content")).unwrap();
    let options = PackOptions {
        first_id: 0,
        overlay: false,
        without: Default::default(),
        without_empty: Default::default(),
    };
    let layer = pack::pack_directory(&content, &layer, &options).unwrap();
    let run = RunDefaults {
        env: vec!["FROM=image".into()],
        entrypoint: vec!["/bin/program".into()],
        cmd: vec!["serve".into()],
        working_dir: "/".into(),
        user: String::new(),
    };
    pack::assemble(&content, None, &[layer], run).unwrap()
}

/// The body of the answer to a GET.
fn get(address: SocketAddr, path: &str) -> Result<String, std::io::Error> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\n\r\n").as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_lives_and_goes() {
    let world = World::new();
    let mut hints = Box::pin(world.client.changes().await.unwrap());
    let mut spec = world.spec("a1", &[]);
    spec.command = Command::Image;
    world.client.ensure(&spec).await.unwrap();
    world.client.ensure(&spec).await.unwrap();
    assert_eq!(hints.next().await, Some(Hint::Instances));
    let observed = world.healthy("a1").await;
    println!("{:?}", observed.waterfall);
    assert_eq!((observed.phase.clone(), observed.restarts), (Phase::Running, 0));
    assert_eq!(observed.generation, spec.generation);
    assert_eq!(world.client.generation().await.unwrap(), spec.generation);
    let steps = observed.waterfall;
    for step in [steps.namespace_ms, steps.mount_ms, steps.exec_ms, steps.listening_ms, steps.healthy_ms] {
        assert!(step.is_some_and(|ms| ms < 5_000), "{steps:?}");
    }
    let address = observed.address.unwrap();
    assert_eq!(get(address, "/env/PORT").unwrap(), "8080");
    assert_eq!(get(address, "/env/FROM").unwrap(), "image");
    assert!(get(address, "/file/hosts").unwrap().contains(&format!("{} a1", address.ip())));
    get(address, "/say/hello").unwrap();
    while world.lines("a1").await.last().map(String::as_str) != Some("hello") {
        assert!(matches!(hints.next().await, Some(Hint::Output(_) | Hint::Instances)));
    }

    // The platform is protected, what it starts is not.
    let node: serde_json::Value = world.node.as_ref().unwrap().id().into();
    let (init, shim) = (world.state("a1")["pid"].clone(), world.state("a1")["shim_pid"].clone());
    let platform = format!("apron-platform-{}", world.platform());
    let about =
        |pid: &serde_json::Value, file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap();
    // Lowering the score takes CAP_SYS_RESOURCE, bit 24, which not every root has.
    let status = about(&node, "status");
    let capabilities = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
    if u64::from_str_radix(capabilities.trim(), 16).unwrap() >> 24 & 1 == 1 {
        assert_eq!(about(&node, "oom_score_adj").trim(), "-900");
    }
    assert_eq!(about(&init, "oom_score_adj").trim(), "0");
    assert!(about(&node, "cgroup").contains(&platform));
    assert!(!about(&init, "cgroup").contains(&platform), "{}", about(&init, "cgroup"));
    assert!(!about(&shim, "cgroup").contains(&platform), "{}", about(&shim, "cgroup"));

    // A newer wish changes limits where the instance runs; an older one is refused, another image too.
    let before = get(address, "/").unwrap();
    spec.generation.counter = 2;
    spec.size.memory_mib = 96;
    world.client.ensure(&spec).await.unwrap();
    assert_eq!(world.memory_mib("a1"), Some(96));
    assert_eq!(get(address, "/").unwrap(), before, "it was not restarted");
    let mut older = spec.clone();
    older.generation = Generation { epoch: 2, counter: 9 };
    assert!(world.client.ensure(&older).await.unwrap_err().to_string().contains("generation 2.9"));
    let mut other = spec.clone();
    other.generation.counter = 3;
    other.port = 81;
    assert!(world.client.ensure(&other).await.unwrap_err().to_string().contains("wish a new instance"));

    world.client.remove(&spec.id, Duration::from_millis(300)).await.unwrap();
    world.gone("a1").await;
    world.client.remove(&spec.id, Duration::ZERO).await.unwrap();
    assert!(!world.dir.join("node/instances/a1").exists());
    assert!(!world.dir.join("node/wanted/a1.json").exists());
    // The same id again is a new instance with another address.
    world.client.ensure(&spec).await.unwrap();
    assert_ne!(world.healthy("a1").await.address, Some(address));
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_outlive_the_node() {
    let mut world = World::new();
    let spec = world.spec("b1", &["serve"]);
    world.client.ensure(&spec).await.unwrap();
    let seen = world.healthy("b1").await;
    let address = seen.address.unwrap();
    let before = get(address, "/").unwrap();

    // The fact that it is healthy reaches the disk a moment after it is told.
    let wanted = world.dir.join("node/wanted/b1.json");
    let is_kept = || fs::read_to_string(&wanted).is_ok_and(|text| text.contains("\"healthy\": true"));
    for _ in 0..100 {
        if is_kept() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(is_kept(), "{:?}", fs::read_to_string(&wanted));
    world.kill();
    assert_eq!(get(address, "/").unwrap(), before, "it serves without a node");
    assert!(world.client.list().await.is_err());
    world.start();
    let adopted = world.observed("b1").await.unwrap();
    assert_eq!(
        (adopted.health, adopted.address, adopted.waterfall),
        (Health::Healthy, Some(address), seen.waterfall),
        "healthy from the first list"
    );
    assert_eq!(get(address, "/").unwrap(), before, "adopted, not restarted");

    world.terminate();
    assert_eq!(get(address, "/").unwrap(), before, "an orderly end leaves it alone, too");

    // It ends while there is no node: the next one starts it anew, at the same address.
    assert!(get(address, "/exit/4").is_ok_and(|body| body.is_empty()));
    world.start();
    let exited = world.wait("b1", "exited", |observed| matches!(observed.phase, Phase::Exited(_))).await;
    let Phase::Exited(exit) = exited.phase else { unreachable!() };
    assert_eq!((exit.code, exit.signal), (Some(4), None));
    assert!(exit.last_lines.contains(&"asked to exit".to_owned()), "{exit:?}");
    let again = world.healthy("b1").await;
    assert_eq!((again.address, again.restarts), (Some(address), 1));

    // Its shim is killed: nobody would see its end, so it is ended and started anew.
    let boot = get(address, "/").unwrap();
    let shim = world.state("b1")["shim_pid"].as_i64().unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(shim as i32), nix::sys::signal::SIGKILL).unwrap();
    let anew = world.wait("b1", "restarted", |o| o.restarts == 2 && o.health == Health::Healthy).await;
    assert_eq!(anew.address, Some(address));
    assert_ne!(get(address, "/").unwrap(), boot);

    // Removal that a crash interrupts goes on with the next node.
    world.client.remove(&spec.id, Duration::from_millis(700)).await.unwrap();
    world.kill();
    world.start();
    world.gone("b1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_hears_sigterm_has_its_grace_and_nobody_else() {
    let world = World::new();
    let (deaf, patient) = (world.spec("i1", &["serve"]), world.spec("i2", &["serve-patiently"]));
    for spec in [&deaf, &patient] {
        world.client.ensure(spec).await.unwrap();
    }
    let _ = (world.healthy("i1").await, world.healthy("i2").await);
    world.client.remove(&deaf.id, Duration::from_secs(600)).await.unwrap();
    world.gone("i1").await;

    let grace = Duration::from_millis(700);
    let began = Instant::now();
    world.client.remove(&patient.id, grace).await.unwrap();
    world.wait("i2", "stopping", |observed| observed.phase == Phase::Stopping).await;
    world.gone("i2").await;
    assert!(began.elapsed() >= grace, "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn says_why_it_does_not_serve() {
    let world = World::new();
    let other_port = world.spec("c1", &["serve", "0.0.0.0", "8000"]);
    let loopback = world.spec("c2", &["serve", "127.0.0.1", "8080"]);
    let exits = world.spec("c3", &["exit", "3"]);
    let mut missing = world.spec("c4", &[]);
    missing.command = Command::Argv(vec!["no-such-program".into()]);
    let mut no_image = world.spec("c5", &[]);
    no_image.image = Digest::new(format!("sha256:{}", "1".repeat(64)));
    let mut wrong_path = world.spec("c8", &["serve"]);
    wrong_path.health.protocol = HealthProtocol::Http { path: "/missing".into() };
    for spec in [&other_port, &loopback, &exits, &missing, &no_image, &wrong_path] {
        world.client.ensure(spec).await.unwrap();
    }
    let hint = |text: &'static str| move |o: &Observed| matches!(&o.health, Health::Starting { hint: Some(h) } if h.contains(text));
    world.wait("c1", "hinted", hint("listening on 8000, expected 8080")).await;
    world.wait("c2", "hinted", hint("listens on 127.0.0.1:8080 only")).await;
    let exited = world.wait("c3", "exited", |o| matches!(o.phase, Phase::Exited(_))).await;
    let Phase::Exited(exit) = exited.phase else { unreachable!() };
    assert_eq!((exit.code, exit.last_lines), (Some(3), vec!["about to exit".to_owned()]));
    let began = Instant::now();
    let failed = world.wait("c4", "failed", |o| matches!(o.phase, Phase::Failed(_))).await;
    let Phase::Failed(fault) = failed.phase else { unreachable!() };
    assert!(fault.permanent && fault.reason.contains("no-such-program"), "{fault:?}");
    assert!(began.elapsed() < Duration::from_secs(2));
    let failed = world.wait("c5", "failed", |o| matches!(o.phase, Phase::Failed(_))).await;
    let Phase::Failed(fault) = &failed.phase else { unreachable!() };
    assert!(fault.reason.contains("not in the content store"), "{fault:?}");
    assert_eq!(failed.last_exit, None, "a start that failed is no exit");
    let refused = world.wait("c8", "refused", |o| matches!(o.health, Health::Unhealthy { .. })).await;
    assert_eq!(refused.health, Health::Unhealthy { reason: "GET /missing answered 404".into() });
    // The end of its output is cut to what may travel, and travels once.
    world.client.ensure(&world.spec("c6", &["shout"])).await.unwrap();
    let shouted = world.wait("c6", "exited", |o| matches!(o.phase, Phase::Exited(_))).await;
    let Phase::Exited(exit) = &shouted.phase else { unreachable!() };
    assert_eq!((exit.code, &shouted.last_exit), (Some(5), &None));
    let size = serde_json::to_string(&exit.last_lines).unwrap().len();
    assert!((2_000..=limits::LAST_LINES_BYTES_MAX + 2).contains(&size), "{size}");
    let again = world.wait("c6", "restarted", |o| o.restarts >= 1).await;
    assert!(again.last_exit.is_some() != matches!(again.phase, Phase::Exited(_)), "{again:?}");
    let odd = world.spec("../c7", &[]);
    assert!(world.client.ensure(&odd).await.unwrap_err().to_string().contains("cannot name an instance"));
    // Restarted with backoff, counted, and removable in any state.
    world.wait("c3", "restarted", |o| o.restarts >= 1).await;
    for id in ["c1", "c2", "c3", "c4", "c5", "c6", "c8"] {
        world.client.remove(&InstanceId::new(id), Duration::from_millis(100)).await.unwrap();
        world.gone(id).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_network_of_an_instance() {
    let resolver = UdpSocket::bind("127.0.0.1:0").unwrap();
    let upstream = resolver.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((length, client)) = resolver.recv_from(&mut buffer) {
            buffer[2] |= 0x80;
            resolver.send_to(&buffer[..length], client).unwrap();
        }
    });
    let world = World::with(|config| config.dns_upstream = vec![upstream]);
    world.client.ensure(&world.spec("d1", &["serve"])).await.unwrap();
    world.client.ensure(&world.spec("d2", &["serve"])).await.unwrap();
    let (one, two) = (world.healthy("d1").await.address.unwrap(), world.healthy("d2").await.address.unwrap());
    assert_ne!(one.ip(), two.ip());
    assert_eq!(get(one, "/resolve").unwrap(), "19 bytes, flags 81");
    let neighbour = get(one, &format!("/connect/{}/8080", two.ip())).unwrap();
    assert!(neighbour.contains("No route to host"), "{neighbour}");
    let host = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let gateway = get(one, "/file/resolv.conf").unwrap();
    let gateway = gateway.split_whitespace().nth(1).unwrap();
    let port = host.local_addr().unwrap().port();
    let refused = get(one, &format!("/connect/{gateway}/{port}")).unwrap();
    assert!(refused.contains("No route to host"), "{refused}");
    let itself = get(one, "/connect/127.0.0.1/8080").unwrap();
    assert_eq!(itself, "connected");
}

/// Whether a directory above the path lets only its owner through.
fn is_closed(path: &Path) -> bool {
    let closed =
        |above: &Path| above.metadata().is_ok_and(|found| found.is_dir() && found.mode() & 0o001 == 0);
    path.ancestors().any(closed)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_drive_and_what_is_left_alone() {
    let mut world = World::new();
    let greeted = |uid: u32| {
        let socket = world.dir.join("run/node.sock");
        std::process::Command::new(PROGRAM).arg("greet").arg(socket).uid(uid).gid(uid).output()
    };
    match greeted(61_901) {
        Ok(output) if output.status.success() => {
            let answer = String::from_utf8(output.stdout).unwrap();
            assert!(answer.contains("user 61901 may not drive this node"), "{answer}");
            let answer = String::from_utf8(greeted(61_900).unwrap().stdout).unwrap();
            assert!(answer.contains("\"hello\""), "{answer}");
        }
        // The program or the socket lies where other users cannot reach it, so there is nothing to refuse.
        other => assert!(is_closed(Path::new(PROGRAM)) || is_closed(&world.dir), "{other:?}"),
    }

    // A second node of the same directory is refused.
    let second = std::process::Command::new(PROGRAM).arg("node").arg(world.dir.join("config.json")).output();
    let said = String::from_utf8(second.unwrap().stdout).unwrap();
    assert!(said.contains("is running"), "{said}");
    assert!(purge(&world.dir).unwrap_err().to_string().contains("is running"));

    // A container without a wish is listed and left alone, until someone who knows removes it.
    let spec = world.spec("e1", &["serve"]);
    world.client.ensure(&spec).await.unwrap();
    let address = world.healthy("e1").await.address.unwrap();
    let before = get(address, "/").unwrap();
    world.kill();
    fs::remove_file(world.dir.join("node/wanted/e1.json")).unwrap();
    world.start();
    let stray = world.observed("e1").await.unwrap();
    assert_eq!((stray.generation, stray.phase), (Generation::default(), Phase::Running));
    assert_eq!(get(address, "/").unwrap(), before);
    world.client.ensure(&spec).await.unwrap_err();
    world.client.remove(&spec.id, Duration::ZERO).await.unwrap();
    world.gone("e1").await;
    assert!(get(address, "/").is_err());

    // Too little memory is a reason with figures.
    world.kill();
    world.config.free_memory_min_mib = 1 << 30;
    world.start();
    world.client.ensure(&spec).await.unwrap();
    let failed = world.wait("e1", "failed", |o| matches!(o.phase, Phase::Failed(_))).await;
    let Phase::Failed(fault) = failed.phase else { unreachable!() };
    assert!(!fault.permanent && fault.reason.contains("1073741824 MiB must stay free"), "{fault:?}");
}
