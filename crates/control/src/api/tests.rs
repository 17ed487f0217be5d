//! The API as its clients see it: botocore, unchanged, against a served API over loopback, with the real store,
//! engine and reconcilers; only the machine below is simulated. Needs python3 with botocore.

use super::apprunner;
use super::call::Context;
use crate::reconcile::meter::Meter;
use crate::{Clock, Config, Hints, Names, Platform, RegistryOptions, RootKey, SystemClock};
use apron_compute::sim::{Behaviour, BuildScript, World};
use apron_images::content::Content;
use apron_images::manifest::RunDefaults;
use apron_images::pack;
use apron_model::build::BuildOutcome;
use apron_model::instance::Fault;
use apron_store::Store;
use apron_telemetry::{Limits, Logs};
use apron_wire::apprunner::Operation;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::watch;

/// Everything of the script; it takes a few seconds.
const SCRIPT_S_MAX: u64 = 60;
const SECRET: &str = "secret+of/the=test";

pub(super) struct Directory(pub(super) PathBuf);

impl Directory {
    pub(super) fn new() -> Directory {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("apron-api-{}-{number}", std::process::id()));
        for below in ["control", "logs", "content", "run"] {
            std::fs::create_dir_all(path.join(below)).unwrap();
        }
        Directory(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn config(directory: &Path, endpoint: &str) -> Config {
    Config {
        data_dir: directory.to_owned(),
        database: None,
        control_socket: directory.join("run/control.sock"),
        node_socket: directory.join("run/node.sock"),
        proxy_uid: 61901,
        region: "us-east-1".into(),
        account: "123456789012".into(),
        apps_domain: "apron.localhost".into(),
        apps_suffix: ":8080".into(),
        api_endpoint: endpoint.into(),
        apps_endpoint: "http://127.0.0.1:8080".into(),
        registry: RegistryOptions { plain_http: vec![], mirrors: Default::default(), credentials: None },
        quotas: Default::default(),
        runtimes: vec!["PYTHON_311".to_owned()],
        throttling: Default::default(),
        root_key: RootKey { id: "AKIDTEST".into(), secret: SECRET.into() },
    }
}

/// An image in the content store by this name; without layers, since the simulated machine runs none.
pub(super) fn image(content: &Content, name: &str) -> apron_model::ids::Digest {
    let run = RunDefaults { cmd: vec![format!("/{name}")], working_dir: "/".into(), ..Default::default() };
    let digest = pack::assemble(content, None, &[], run).unwrap();
    content.name_set(name, &digest).unwrap();
    digest
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn botocore_drives_every_operation() {
    let directory = Directory::new();
    let world = World::new();
    let content = Content::open(directory.0.join("content")).unwrap();
    let good = image(&content, "good:1");
    image(&content, "good:2");
    let bad = image(&content, "bad:1");
    // A start that fails for good is one fact; an exit may be seen or, restarted already, counted.
    let fault = Fault {
        permanent: true,
        reason: "The start command 'serve' does not exist.".into(),
        last_lines: vec!["exec serve: no such file".into()],
    };
    world.behave(&bad, Behaviour::Fails { fault });
    let built = BuildOutcome {
        image: good,
        commit: Some("c0ffee".into()),
        start_command: Some("serve".into()),
        port: Some(9000),
        port_env: None,
        env: Default::default(),
        warnings: vec![],
    };
    world.script("https://git.test/app.git", BuildScript::Makes(built));
    world.script("https://git.test/hangs.git", BuildScript::Hangs);

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (end, shutdown) = watch::channel(false);
    let config = config(&directory.0, &endpoint);
    let socket = config.control_socket.clone();
    let control = crate::start::start(config, listener, Arc::new(world), shutdown).await.unwrap();
    let proxy = tokio::spawn(crate::tests::publishing::obedient_proxy(socket));

    let python = tokio::process::Command::new("python3")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/src/api/drive.py"))
        .args([&endpoint, "AKIDTEST", SECRET])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../../specs/apron.json"))
        .arg(directory.0.join("models"))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_secs(SCRIPT_S_MAX), python)
        .await
        .expect("the script ends in time")
        .expect("python3 with botocore is needed for this test");
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    assert!(said.trim_end().ends_with("all cases passed"), "{said}");
    proxy.abort();
    end.send(true).unwrap();
    drop(control);
}

/// Every operation of the model is handled, or stands in the list of those that are not, with a reason.
#[tokio::test]
async fn the_list_of_unsupported_operations_is_right() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../specs/unsupported.txt");
    let text = std::fs::read_to_string(path).unwrap();
    let mut listed = BTreeSet::new();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let (name, reason) = line.split_once(": ").unwrap_or_else(|| panic!("no reason in: {line}"));
        assert!(!reason.trim().is_empty(), "no reason in: {line}");
        let name = name.strip_prefix("AppRunner.").unwrap_or_else(|| panic!("no API in: {line}"));
        let operation = Operation::parse(name).unwrap_or_else(|| panic!("no such operation: {name}"));
        assert!(listed.insert(operation), "listed twice: {name}");
    }
    let directory = Directory::new();
    let platform = platform(&directory).await;
    let context = Context { platform: &platform, region: "us-east-1", connections: None };
    for operation in Operation::ALL {
        // What is handled asks for its members, or answers.
        let refused = match apprunner::dispatch(context, *operation, b"{}", "id").await {
            Ok(_) => false,
            Err(error) => error.message.contains("not supported yet"),
        };
        assert_eq!(refused, listed.contains(operation), "{operation} is handled or listed, not both");
    }
}

/// What handlers hold, with nothing behind it that acts.
pub(super) async fn platform(directory: &Directory) -> Platform {
    let store = Store::open(&directory.0.join("control/apron.db")).await.unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::open(&store).await.unwrap());
    let driver = Arc::new(World::new());
    Platform {
        node: Arc::new(Meter::new(store.clone(), driver, Arc::clone(&clock), Hints::default())),
        clock,
        store,
        logs: Logs::open(&directory.0.join("logs"), Limits::STANDARD).unwrap(),
        content: Content::open(directory.0.join("content")).unwrap(),
        hints: Hints::default(),
        names: Names::new(&config(&directory.0, "http://127.0.0.1:1")),
        quotas: Default::default(),
        runtimes: vec!["PYTHON_311".to_owned()],
        uploads: Default::default(),
    }
}
