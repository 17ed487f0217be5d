//! Builds in real containers: upload and git to image. Needs root and git.
//!
//! The base image of the quick tests is made of this host's own shell and git, without a package mirror. The
//! ignored one assembles the real bases and builds the examples, which takes minutes and the network.

#[path = "support/libraries.rs"]
mod libraries;
#[path = "support/programs.rs"]
mod programs;
#[path = "build/server.rs"]
mod server;
#[path = "support/sweep.rs"]
mod sweep;
#[path = "build/time.rs"]
mod time;

use apron_compute::local::build::{self, BuildContext, Caches};
use apron_compute::local::container::cgroup::{Cgroups, Limits};
use apron_compute::local::container::launch::Launcher;
use apron_compute::local::container::pair::{Pair, PairConfig, Pairs};
use apron_compute::local::network::dns::{Forwarder, Upstream};
use apron_compute::local::network::{self, Network, NetworkConfig};
use apron_images::content::Content;
use apron_images::helper::Helper;
use apron_images::manifest::RunDefaults;
use apron_images::pack::{PackOptions, assemble, pack_directory};
use apron_images::process::Cancel;
use apron_images::runtimes::{self, Catalogue};
use apron_images::unpack::{Bounds, unpack_layers};
use apron_model::build::{BuildConfiguration, BuildEvent, BuildOutcome, BuildSpec, SourceLocation};
use apron_model::ids::{BuildId, ServiceId};
use apron_model::instance::Fault;
use futures_util::StreamExt;
use libraries::copy_libraries;
use programs::copy_program;
use server::Server;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

const YAML: &str = include_str!("support/apprunner.yaml");

/// Everything of one test, gone at its end whatever happened.
struct World {
    root: PathBuf,
    pairs: Pairs,
    pair: Pair,
    content: Content,
    cgroup: String,
    catalogue: Arc<Catalogue>,
    platform: String,
}

fn programs() -> (Helper, Launcher) {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_compute-build"));
    (Helper { program: program.clone(), arguments: Vec::new() }, Launcher::new(program))
}

impl World {
    fn new() -> World {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        sweep::sweep("build");
        let (pid, next) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let platform = format!("{:08x}", 0x8000_0000 + pid % 0x10000 * 0x100 + next);
        let name = format!("build-{pid}-{next}");
        let root = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(&name);
        fs::create_dir_all(&root).unwrap();
        let dir = root.join("pairs");
        let pairs = Pairs::open(PairConfig { dir, ready: 0, platform: platform.clone() }).unwrap();
        let pair = pairs.take().unwrap();
        let content = Content::open(root.join("content")).unwrap();
        let file = root.join("runtimes.toml");
        let text = "[[runtime]]\nname = 'shell'\napi_name = 'SHELL'\nversion = '1'\npipeline = 'revised'\nbase = 'shell'\n\
                    [[base]]\nname = 'shell'\nsuite = 'none'\npackages = ['git']\nsetup = 'true'\npath = []\nenv = {}\n";
        fs::write(&file, text).unwrap();
        let catalogue = Arc::new(Catalogue::open(Some(&file)).unwrap());
        let cgroup = format!("/apron-test-{name}");
        World { root, pairs, pair, content, cgroup, catalogue, platform }
    }

    /// A world whose runtime `shell` has this host's shell and git as its base.
    fn with_base() -> World {
        let world = World::new();
        let tree = world.root.join("base");
        let programs = [
            "bash",
            "sh",
            "rm",
            "sleep",
            "git",
            "git-upload-pack",
            "id",
            "touch",
            "cat",
            "mkdir",
            "mv",
            "dd",
        ];
        for program in programs {
            copy_program(program, &tree);
        }
        let remote = Path::new("usr/lib/git-core/git-remote-http");
        fs::create_dir_all(tree.join(remote).parent().unwrap()).unwrap();
        fs::copy(Path::new("/").join(remote), tree.join(remote)).unwrap();
        copy_libraries(&Path::new("/").join(remote), &tree);
        let pack = |dir: &Path| pack_directory(&world.content, dir, &PackOptions::default()).unwrap();
        let base = assemble(&world.content, None, &[pack(&tree)], RunDefaults::default()).unwrap();
        let runtime = world.catalogue.find("shell").unwrap();
        runtimes::record(&world.root.join("node/bases"), &runtime.base, &base).unwrap();
        world
    }

    fn context(&self) -> BuildContext {
        let (helper, launcher) = programs();
        BuildContext {
            content: self.content.clone(),
            node_dir: self.root.join("node"),
            helper,
            launcher,
            catalogue: self.catalogue.clone(),
            caches: Caches::new(&self.root.join("node")),
            source_roots: vec![self.root.clone()],
            environment: BTreeMap::from([("GIVEN".into(), "by the operator".into())]),
            pair: self.pair.clone(),
            resolv_conf: "nameserver 192.0.2.1\n".into(),
            limits: Limits { cpu_units: 2048, memory_bytes: 256 << 20, pids: 256 },
            bytes_max: 1 << 30,
            time_max: Duration::from_secs(60),
            cgroup_parent: self.cgroup.clone(),
            shim_cgroup: format!("{}/shims", self.cgroup),
        }
    }

    fn upload(&self, dir: &Path) -> SourceLocation {
        let tar = Command::new("tar").arg("-czC").arg(dir).arg(".").output().unwrap();
        SourceLocation::Upload { digest: self.content.put(&tar.stdout).unwrap() }
    }

    /// A directory with this `apprunner.yaml` and a few files.
    fn source(&self, yaml: &str) -> PathBuf {
        let dir = self.root.join("source");
        fs::create_dir_all(dir.join("sub")).unwrap();
        fs::write(dir.join("apprunner.yaml"), yaml).unwrap();
        fs::write(dir.join("removed.txt"), "x").unwrap();
        dir
    }

    async fn build(&self, source: SourceLocation) -> (Vec<BuildEvent>, Result<BuildOutcome, Fault>) {
        self.build_with(spec(source), self.context()).await
    }

    async fn build_with(
        &self,
        spec: BuildSpec,
        context: BuildContext,
    ) -> (Vec<BuildEvent>, Result<BuildOutcome, Fault>) {
        let (events, result, _) = self.build_timed(spec, context).await;
        (events, result)
    }

    /// Last: how long it took, as its end says.
    async fn build_timed(
        &self,
        spec: BuildSpec,
        context: BuildContext,
    ) -> (Vec<BuildEvent>, Result<BuildOutcome, Fault>, Duration) {
        let mut events: Vec<BuildEvent> = build::run(spec, context).collect().await;
        let (result, built_ms) = match events.pop() {
            Some(BuildEvent::Done { outcome, built_ms }) => (Ok(outcome), built_ms),
            Some(BuildEvent::Failed { fault, built_ms }) => (Err(fault), built_ms),
            other => panic!("the last event is {other:?}"),
        };
        assert_eq!(fs::read_dir(self.root.join("node/builds")).unwrap().count(), 0, "a build left something");
        (events, result, Duration::from_millis(built_ms.expect("the node measures")))
    }

    /// The build of this file fails with this.
    async fn check_failure(&self, yaml: &str, part: &str) -> Fault {
        let source = self.upload(&self.source(yaml));
        let (_, result) = self.build(source).await;
        let fault = result.expect_err(part);
        assert!(fault.reason.contains(part), "{fault:?}");
        fault
    }

    /// The files of an image, the topmost layer's first.
    fn layers(&self, outcome: &BuildOutcome) -> Vec<PathBuf> {
        let layers = self.root.join("node/layers");
        unpack_layers(&self.content, &outcome.image, &layers, &programs().0, &Bounds::until(&Cancel::new()))
            .unwrap()
            .into_iter()
            .rev()
            .collect()
    }

    fn read(&self, outcome: &BuildOutcome, path: &str) -> Option<String> {
        self.layers(outcome).iter().find_map(|layer| fs::read_to_string(layer.join(path)).ok())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let cgroups = Cgroups::detect().unwrap();
        let _ = build::remove_leftovers(&self.root.join("node"), &self.cgroup);
        let _ = cgroups.kill_all(&format!("{}/shims", self.cgroup));
        let _ = cgroups.remove(&self.cgroup);
        let _ = self.pairs.release(self.pair.clone());
        let _ = Pairs::purge(&self.root.join("pairs"));
        let _ = network::purge(&self.platform);
        let _ = fs::remove_dir_all(&self.root);
    }
}

fn spec(source: SourceLocation) -> BuildSpec {
    BuildSpec {
        id: BuildId::new("0123456789abcdef0123456789abcdef"),
        source,
        source_directory: "/".into(),
        configuration: BuildConfiguration::Repository,
        service: ServiceId::new("fedcba9876543210fedcba9876543210"),
    }
}

fn git(dir: &Path, words: &[&str]) -> String {
    let output = Command::new("/usr/bin/git")
        .args(["-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main", "-C"])
        .arg(dir)
        .args(words)
        .output()
        .unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn lines(events: &[BuildEvent]) -> Vec<&str> {
    let text = events.iter().filter_map(|event| match event {
        BuildEvent::Line(text) => Some(text.as_str()),
        _ => None,
    });
    text.collect()
}

#[tokio::test]
async fn an_upload_becomes_an_image() {
    let world = World::with_base();
    let source = world.upload(&world.source(YAML));
    let (events, result) = world.build(source).await;
    let outcome = result.unwrap_or_else(|fault| panic!("{fault:?} after {events:?}"));
    assert_eq!((outcome.start_command.as_deref(), outcome.port), (Some("serve"), Some(9000)));
    assert_eq!((outcome.env["GREETING"].as_str(), &outcome.commit), ("hello", &None));
    let stages = events.iter().filter_map(|event| match event {
        BuildEvent::Stage { name, .. } => Some(name.as_str()),
        _ => None,
    });
    assert_eq!(stages.collect::<Vec<_>>(), ["fetch", "base", "build", "package"]);
    assert!(lines(&events).contains(&"$ cd sub"), "{events:?}");

    assert_eq!(world.read(&outcome, "app/sub/made.txt").unwrap(), "kept in /app/sub, building\n");
    assert_eq!(world.read(&outcome, "app/pre-run.txt").unwrap(), "building\n");
    assert_eq!(world.read(&outcome, "opt/outside").unwrap(), "outside\n");
    assert_eq!(world.read(&outcome, "app/sub/post.txt"), None, "post-build is not part of the image");
    let top = &world.layers(&outcome)[0];
    let removed = fs::symlink_metadata(top.join("app/removed.txt")).unwrap();
    assert_eq!((removed.rdev(), removed.len()), (0, 0), "a whiteout");
    assert_eq!(fs::metadata(top.join("opt/outside")).unwrap().uid(), 0, "ids as in the image");
    // Nothing of ours is in the image.
    let mut names = Vec::new();
    let mut waiting = vec![top.clone()];
    while let Some(dir) = waiting.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            names.push(entry.path().strip_prefix(top).unwrap().to_string_lossy().into_owned());
            if entry.file_type().unwrap().is_dir() {
                waiting.push(entry.path());
            }
        }
    }
    for ours in ["apron", "resolv.conf", ".cache", ".npm", "proc", "sys", "dev"] {
        assert!(!names.iter().any(|name| name.contains(ours)), "{ours} in {names:?}");
    }
    let config = world.content.config(&outcome.image).unwrap();
    assert_eq!(config.run.working_dir, "/app");
    assert!(config.run.env.iter().any(|variable| variable.starts_with("PATH=")));
}

#[tokio::test]
async fn a_repository_becomes_an_image() {
    let world = World::with_base();
    let dir = world.source(YAML);
    git(&dir, &["init", "-q"]);
    git(&dir, &["add", "."]);
    fs::write(dir.join("sub/.keep"), "").unwrap();
    git(&dir, &["add", "."]);
    git(&dir, &["commit", "-qm", "first"]);
    let commit = git(&dir, &["rev-parse", "HEAD"]);
    // The repository of another user.
    Command::new("chown").args(["-R", "1234:1234"]).arg(&dir).status().unwrap();
    let url = format!("file://{}", dir.display());
    let from =
        |url: &str, branch: &str| SourceLocation::Git { url: url.to_owned(), branch: branch.to_owned() };

    let (events, result) = world.build(from(&url, "main")).await;
    let outcome = result.unwrap_or_else(|fault| panic!("{fault:?} after {events:?}"));
    assert_eq!(outcome.commit, Some(commit));
    assert_eq!(world.read(&outcome, "app/sub/made.txt").unwrap(), "kept in /app/sub, building\n");
    assert_eq!(world.read(&outcome, "app/.git/HEAD"), None);

    let (_, result) = world.build(from(&url, "absent")).await;
    let fault = result.unwrap_err();
    assert!(fault.permanent && fault.reason.contains("has no branch absent"), "{fault:?}");
    let (_, result) = world.build(from(&format!("{url}/absent"), "main")).await;
    let fault = result.unwrap_err();
    assert!(fault.permanent && fault.reason.contains("does not exist"), "{fault:?}");
    let (_, result) = world.build(from("file:///nonexistent", "main")).await;
    let fault = result.unwrap_err();
    assert!(fault.permanent && fault.reason.contains("none of the directories"), "{fault:?}");
    let without_roots = BuildContext { source_roots: Vec::new(), ..world.context() };
    let (_, result) = world.build_with(spec(from(&url, "main")), without_roots).await;
    let fault = result.unwrap_err();
    assert!(fault.permanent && fault.reason.contains("file:// repositories are off"), "{fault:?}");
    let (_, result) = world.build(from("ssh://host/a", "main")).await;
    assert!(result.unwrap_err().reason.contains("expected https://, http:// or file://"));
}

/// Arguments of every process of this machine.
fn all_arguments() -> String {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let read = |entry: fs::DirEntry| fs::read(entry.path().join("cmdline")).ok();
    processes.filter_map(read).map(|text| String::from_utf8_lossy(&text).into_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_is_for_git_alone() {
    let world = World::with_base();
    let yaml = YAML.replace("cd sub", "cd sub, '! cat /run/apron-git-credentials', 'cat /app/.git/config | while read line; do [[ $line != *s3\\cr* ]] || echo lea\\ked; done'");
    let dir = world.source(&yaml);
    git(&dir, &["init", "-q"]);
    fs::write(dir.join("sub/.keep"), "").unwrap();
    git(&dir, &["add", "."]);
    git(&dir, &["commit", "-qm", "first"]);
    let _server = Server::start(&world.pair.net(), &world.root);
    let from = |user: &str| SourceLocation::Git {
        url: format!("http://{user}127.0.0.1:8099/source/.git"),
        branch: "main".to_owned(),
    };

    let watching = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let watched = watching.clone();
    let watcher = std::thread::spawn(move || {
        let (mut seen_clone, mut seen_password) = (false, false);
        while watched.load(Ordering::Relaxed) {
            let arguments = all_arguments();
            // The server's own program, which holds the password to compare with, is not meant.
            seen_clone |= arguments.contains("8099/source/.git");
            seen_password |= arguments.contains("s3cr%40t");
            std::thread::sleep(Duration::from_millis(2));
        }
        (seen_clone, seen_password)
    });
    let (events, result) = world.build(from("user:s3cr%40t@")).await;
    watching.store(false, Ordering::Relaxed);
    let outcome = result.unwrap_or_else(|fault| panic!("{fault:?} after {events:?}"));
    assert_eq!(watcher.join().unwrap(), (true, false), "a clone is seen, its password is not");
    assert_eq!(outcome.commit.map(|commit| commit.len()), Some(40));
    let said = format!("{events:?}");
    assert!(!said.contains("s3cr") && !said.contains("leaked"), "{said}");
    assert!(said.contains("cloning http://127.0.0.1:8099/source/.git, branch main"), "{said}");

    for wrong in ["user:s3cret@", ""] {
        let (events, result) = world.build(from(wrong)).await;
        let fault = result.unwrap_err();
        assert!(fault.permanent && fault.reason.contains("does not exist, or is private"), "{fault:?}");
        let said = format!("{fault:?} {events:?}");
        assert!(!said.contains("s3cr"), "{said}");
    }
    let nowhere = SourceLocation::Git { url: "http://127.0.0.1:9/a".into(), branch: "main".into() };
    let (_, result) = world.build(nowhere).await;
    let fault = result.unwrap_err();
    assert!(!fault.permanent && fault.reason.contains("the build's own container"), "{fault:?}");
}

#[tokio::test]
async fn a_build_sees_what_the_operator_gives_it_and_goes_first() {
    let world = World::with_base();
    let yaml =
        YAML.replace("cd sub,", "set > /app/variables, cat /proc/self/oom_score_adj > /app/score, cd sub,");
    let (_, result) = world.build(world.upload(&world.source(&yaml))).await;
    let outcome = result.unwrap();
    let variables = world.read(&outcome, "app/variables").unwrap();
    assert!(variables.contains("GIVEN='by the operator'"), "{variables}");
    // Of this process.
    assert!(!variables.contains("CARGO_MANIFEST_DIR"), "{variables}");
    assert_eq!(world.read(&outcome, "app/score").unwrap(), "500\n");
}

#[tokio::test]
async fn what_a_build_writes_is_bounded() {
    let world = World::with_base();
    let source = world.upload(
        &world
            .source(&YAML.replace("cd sub", "dd if=/dev/zero of=/root/.cache/big bs=1M count=40, sleep 60")),
    );
    let context = BuildContext { bytes_max: 20 << 20, ..world.context() };
    let (_, result) = world.build_with(spec(source), context).await;
    let fault = result.unwrap_err();
    assert!(fault.permanent && fault.reason.starts_with("the build wrote 40"), "{fault:?}");
    assert!(fault.reason.ends_with("MiB, the limit is 20 MiB"), "{fault:?}");
}

#[tokio::test]
async fn a_deep_tree_stops_nobody() {
    let world = World::with_base();
    // Deeper than a path can be, by moving trees into others.
    let dig = r#"'d=$(printf "d/%.0s" {1..1000}); mkdir -p a/$d; for i in {1..5}; do mkdir -p b/$d; mv a b/$d/a; mv b a; done'"#;
    world.check_failure(&YAML.replace("cd sub,", &format!("{dig}, exit 3,")), "exit code 3").await;
}

#[tokio::test]
async fn what_goes_wrong_is_said() {
    let world = World::with_base();
    let fault = world
        .check_failure(&YAML.replace("[cd sub,", "[echo before, exit 3,"), "`exit 3` ended with exit code 3")
        .await;
    assert!(fault.permanent && fault.last_lines.contains(&"before".to_owned()), "{fault:?}");
    world
        .check_failure(
            &YAML.replace("cd sub", "no-such-program"),
            "`no-such-program` ended with exit code 127",
        )
        .await;
    world.check_failure(&YAML.replace("echo never", "false"), "the post-build command").await;
    world.check_failure(&YAML.replace("echo \"$STAGE\"", "false"), "pre-run").await;
    let fault =
        world.check_failure(&YAML.replace("runtime: shell", "runtime: shel"), "line 2, column 10").await;
    assert!(fault.reason.contains("did you mean shell?"), "{fault:?}");
    world.check_failure("version: 1.0\n", "apprunner.yaml: line 1, column 1").await;
    world
        .check_failure(&YAML.replace("cd sub", "x=0123456789; while :; do x=$x$x; done"), "256 MiB of memory")
        .await;

    let dir = world.source(YAML);
    fs::rename(dir.join("apprunner.yaml"), dir.join("apprunner.yml")).unwrap();
    let (_, result) = world.build(world.upload(&dir)).await;
    assert!(result.unwrap_err().reason.contains("apprunner.yml is there: rename it"));
    let spec = BuildSpec { source_directory: "/absent".into(), ..spec(world.upload(&dir)) };
    let (_, result) = world.build_with(spec, world.context()).await;
    assert!(result.unwrap_err().reason.contains("source directory \"/absent\" does not exist"));
    // A link that leads out of the repository is followed inside it only.
    fs::remove_file(dir.join("apprunner.yml")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", dir.join("apprunner.yaml")).unwrap();
    let (_, result) = world.build(world.upload(&dir)).await;
    assert!(result.unwrap_err().reason.contains("does not exist"));
}

#[tokio::test]
async fn a_build_ends_when_nobody_follows_or_its_time_is_over() {
    let world = World::with_base();
    let slow = world.upload(&world.source(&YAML.replace("cd sub", "sleep 600")));
    let context = BuildContext { time_max: Duration::from_secs(3), ..world.context() };
    let began = Instant::now();
    let (_, result) = world.build_with(spec(slow.clone()), context).await;
    assert!(result.unwrap_err().reason.contains("took longer"));
    assert!(began.elapsed() < Duration::from_secs(20));

    let mut events = build::run(spec(slow), world.context());
    while let Some(event) = events.next().await {
        if event == BuildEvent::Line("$ sleep 600".into()) {
            break;
        }
    }
    drop(events);
    let began = Instant::now();
    while fs::read_dir(world.root.join("node/builds")).unwrap().count() > 0 {
        assert!(began.elapsed() < Duration::from_secs(10), "a cancelled build stays");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let left = Cgroups::detect().unwrap().list(&world.cgroup);
    assert!(left.iter().all(|name| name == "shims"), "{left:?}");
}

/// The real bases and the examples. Set APRON_TEST_NODE to a directory to keep bases and caches between runs.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "assembles base images from a Debian mirror and uses package registries: minutes"]
async fn the_examples_build_on_real_bases() {
    let mut world = World::new();
    world.catalogue = Arc::new(Catalogue::open(None).unwrap());
    let kept = std::env::var_os("APRON_TEST_NODE").map(PathBuf::from);
    let node_dir = kept.unwrap_or_else(|| world.root.join("node"));
    fs::create_dir_all(&node_dir).unwrap();
    world.content = Content::open(node_dir.join("content")).unwrap();
    let config = NetworkConfig {
        node_dir: world.root.clone(),
        platform: world.platform.clone(),
        ranges: ["10.231.0.0/20", "10.231.16.0/20"].map(|range| range.parse().unwrap()).to_vec(),
        connections_max: network::INSTANCE_CONNECTIONS_MAX,
        egress_allow: Vec::new(),
    };
    let network = Network::open(config).await.unwrap();
    let _forwarder = Forwarder::start(network.gateway(), Upstream::File("/etc/resolv.conf".into())).unwrap();
    let address = network.lease("build").unwrap();
    network.attach(address, &world.pair.net()).await.unwrap();
    let context = BuildContext {
        node_dir: node_dir.clone(),
        limits: Limits { cpu_units: 2048, memory_bytes: 2 << 30, pids: 2048 },
        resolv_conf: format!("nameserver {}\n", network.gateway()),
        time_max: Duration::from_secs(900),
        bytes_max: apron_model::limits::BUILD_WRITTEN_BYTES_MAX,
        ..world.context()
    };
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    for (name, program) in
        [("python", "opt/venv/bin/gunicorn"), ("node", "app/node_modules/express/package.json")]
    {
        let source = match name {
            // Cloned before its runtime is known.
            "python" => {
                let dir = world.root.join("repository");
                let copied =
                    Command::new("cp").arg("-r").arg(examples.join(name)).arg(&dir).status().unwrap();
                assert!(copied.success());
                git(&dir, &["init", "-q"]);
                git(&dir, &["add", "."]);
                git(&dir, &["commit", "-qm", "first"]);
                SourceLocation::Git { url: format!("file://{}", dir.display()), branch: "main".into() }
            }
            _ => world.upload(&examples.join(name)),
        };
        let events: Vec<BuildEvent> = build::run(spec(source), context.clone()).collect().await;
        for event in &events {
            println!("{event:?}");
        }
        let Some(BuildEvent::Done { outcome, .. }) = events.last() else { panic!("{name} was not built") };
        let layers = unpack_layers(
            &world.content,
            &outcome.image,
            &node_dir.join("layers"),
            &programs().0,
            &Bounds::until(&Cancel::new()),
        )
        .unwrap();
        assert!(layers.iter().any(|layer| layer.join(program).exists()), "{program} is not in the image");
    }
}
