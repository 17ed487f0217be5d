//! The node: the one process that owns the containers of this machine.
//!
//! It adopts what lives, starts what died, and answers control on `run/node.sock`. Its own end leaves every
//! container running; the next node of the same data directory finds them. A lock file keeps it the only one.

use crate::local::build;
use crate::local::build::queue::{BuildSettings, Builds};
use crate::local::container::cgroup::{CgroupError, Cgroups};
use crate::local::container::launch::Launcher;
use crate::local::container::mounts;
use crate::local::container::pair::{PairConfig, PairError, Pairs};
use crate::local::durable;
use crate::local::instance::disk;
use crate::local::instance::registry::Instances;
use crate::local::instance::wanted::WantedList;
use crate::local::kernel::random_hex;
use crate::local::ladder::Ladder;
use crate::local::machine::{self, Machine, News, Unpacks};
use crate::local::meter::{self, Meter};
use crate::local::network::cidr::{Cidr, CidrError};
use crate::local::network::dns::{Forwarder, Upstream};
use crate::local::network::{INSTANCE_CONNECTIONS_MAX, Network, NetworkConfig, NetworkError};
use crate::local::server;
use apron_activity::Watcher;
use apron_activity::channel::Listener;
use apron_images::content::{Content, ContentError};
use apron_images::helper::Helper;
use apron_images::runtimes::{Catalogue, RuntimeError};
use apron_model::instance::Fault;
use apron_model::limits;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::UnixListener;
use tokio::task::JoinSet;

/// Address ranges for instances: the first that overlaps no route of the host is taken. Sixteen in a row,
/// because each platform on a host needs its own; then two blocks that fewer company networks use.
pub const DEFAULT_RANGES: [&str; 18] = [
    "10.213.0.0/16",
    "10.214.0.0/16",
    "10.215.0.0/16",
    "10.216.0.0/16",
    "10.217.0.0/16",
    "10.218.0.0/16",
    "10.219.0.0/16",
    "10.220.0.0/16",
    "10.221.0.0/16",
    "10.222.0.0/16",
    "10.223.0.0/16",
    "10.224.0.0/16",
    "10.225.0.0/16",
    "10.226.0.0/16",
    "10.227.0.0/16",
    "10.228.0.0/16",
    "172.29.0.0/16",
    "192.168.192.0/18",
];
/// Namespaces, and shims, kept ready: a deployment of two instances takes none of its time for them.
pub const DEFAULT_PAIRS_READY: usize = 2;
/// Free memory below which no instance is started: the kernel and the platform need it to stay responsive.
pub const DEFAULT_FREE_MEMORY_MIN_MIB: u64 = 128;

/// Worker threads: the node waits much more than it computes.
const WORKERS: usize = 2;
/// A node that ends releases its lock within milliseconds.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);
const LOCK_POLL: Duration = Duration::from_millis(20);
/// A start that is under way when the node ends gets this long; what is cut off is cleaned up by the next one.
const END_PATIENCE: Duration = Duration::from_secs(5);

/// What a node is told, by whoever starts it. Without `Debug`: the variables of builds may be secrets.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub data_dir: PathBuf,
    /// The user, beside root, that may connect to the socket.
    pub control_uid: u32,
    /// The user, beside root, whose processes may wake instances and are believed about what they are asked for.
    #[serde(default)]
    pub proxy_uid: u32,
    /// See `DEFAULT_RANGES`.
    pub ranges: Vec<String>,
    pub pairs_ready: usize,
    pub free_memory_min_mib: u64,
    /// What one instance may write to its file system; see `limits::INSTANCE_DISK_BYTES_MAX`.
    #[serde(default = "instance_disk_mib_max")]
    pub instance_disk_mib_max: u64,
    /// Where instances' DNS queries go; empty means the host's own resolvers.
    pub dns_upstream: Vec<SocketAddr>,
    /// Private networks that instances and builds may reach; by default none.
    pub egress_allow: Vec<String>,
    /// Directories below which `file://` repositories may lie; without any they are refused.
    pub source_roots: Vec<PathBuf>,
    /// Variables that every build gets, such as a proxy or a package index.
    pub build_environment: BTreeMap<String, String>,
    /// A file of further managed runtimes, beside those that the program knows.
    pub runtimes: Option<PathBuf>,
    /// The program that launches containers and unpacks layers; absent means this one.
    pub program: Option<PathBuf>,
}

fn instance_disk_mib_max() -> u64 {
    limits::INSTANCE_DISK_BYTES_MAX / (1024 * 1024)
}

/// Why a node does not work.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error("{path}: {error}")]
    File { path: PathBuf, error: io::Error },
    #[error("configuration: {0}")]
    Range(#[from] CidrError),
    #[error(transparent)]
    Content(#[from] ContentError),
    #[error(transparent)]
    Runtimes(#[from] RuntimeError),
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    #[error("this kernel has no overlay file system, which instances need; load its module \"overlay\"")]
    NoOverlay,
    #[error(transparent)]
    Pair(#[from] PairError),
    #[error(transparent)]
    Network(#[from] NetworkError),
    #[error("DNS for instances cannot listen on {address}:53: {error}")]
    Dns { address: std::net::Ipv4Addr, error: io::Error },
    #[error("{}", .0.reason)]
    Adoption(Fault),
}

/// Someone else owns the data directory's containers.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error("a node of {0} is running")]
    Held(PathBuf),
    #[error("{path}: {error}")]
    File { path: PathBuf, error: io::Error },
}

/// Runs a node until SIGTERM or SIGINT, in a runtime of its own. `counts` is the memory file in which this machine's proxies
/// count requests (`apron_activity::counts_memory`); without it no instance is put to sleep. `ready` is called once it can
/// be asked.
pub fn run(config: Config, counts: Option<OwnedFd>, ready: impl FnOnce() + Send) -> Result<(), NodeError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()
        .map_err(|error| NodeError::File { path: "runtime".into(), error })?;
    let done = runtime.block_on(async {
        let shutdown = end_signal().map_err(|error| NodeError::File { path: "signals".into(), error })?;
        run_until(config, counts, ready, shutdown).await
    });
    runtime.shutdown_timeout(END_PATIENCE);
    done
}

fn end_signal() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Runs a node until `shutdown` is ready; instances live on. Wants a multi-threaded runtime.
pub async fn run_until(
    config: Config,
    counts: Option<OwnedFd>,
    ready: impl FnOnce(),
    shutdown: impl Future<Output = ()>,
) -> Result<(), NodeError> {
    let dir = machine::node_dir(&config.data_dir);
    fs::create_dir_all(&dir).map_err(file(&dir))?;
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).map_err(file(&dir))?;
    let _lock = lock(&dir)?;
    let catalogue = Catalogue::open(config.runtimes.as_deref())?;
    let machine = Arc::new(open(&config, counts, dir).await?);
    let upstream = match config.dns_upstream.is_empty() {
        true => Upstream::File("/etc/resolv.conf".into()),
        false => Upstream::Fixed(config.dns_upstream.clone()),
    };
    let address = machine.network.gateway();
    let _dns = Forwarder::start(address, upstream).map_err(|error| NodeError::Dns { address, error })?;
    let node = Arc::new(adopt(&config, catalogue, &machine)?);
    let socket = config.data_dir.join("run").join("node.sock");
    let listener = listen(&socket).map_err(file(&socket))?;
    tracing::info!(
        socket = %socket.display(), range = %machine.network.range(), gateway = %machine.network.gateway(), "node"
    );
    let mut tasks = serve(node, listener, config.control_uid);
    ready();
    shutdown.await;
    // Before another node may begin.
    machine.ladder.stop();
    // Connections are cut and instances' tasks dropped; containers and their shims do not notice.
    tasks.shutdown().await;
    machine.launcher.ahead().close();
    Ok(())
}

fn file(path: &Path) -> impl FnOnce(io::Error) -> NodeError + use<> {
    let path = path.to_owned();
    move |error| NodeError::File { path, error }
}

/// Finds out whether this machine can run instances, and prepares what they share.
async fn open(config: &Config, counts: Option<OwnedFd>, dir: PathBuf) -> Result<Machine, NodeError> {
    let platform = make_id(&config.data_dir).map_err(file(&config.data_dir.join("id")))?;
    let parse = |list: &[String]| list.iter().map(|range| range.parse()).collect::<Result<Vec<Cidr>, _>>();
    let (ranges, egress_allow) = (parse(&config.ranges)?, parse(&config.egress_allow)?);
    let (launcher, helper) = match &config.program {
        None => (Launcher::own(), Helper::this_program()),
        Some(program) => {
            (Launcher::new(program.clone()), Helper { program: program.clone(), arguments: Vec::new() })
        }
    };
    // As many as pairs: a start takes one of each.
    let launcher = launcher.with_ahead(machine::shim_cgroup(&platform), config.pairs_ready);
    let cgroups = Cgroups::detect()?;
    if !mounts::knows_file_system(c"overlay").map_err(file(Path::new("overlay")))? {
        return Err(NodeError::NoOverlay);
    }
    let pairs = Pairs::open(PairConfig {
        dir: dir.join(machine::PAIRS),
        ready: config.pairs_ready,
        platform: platform.clone(),
    })?;
    let network = Network::open(NetworkConfig {
        node_dir: dir.clone(),
        platform: platform.clone(),
        ranges,
        egress_allow,
        connections_max: INSTANCE_CONNECTIONS_MAX,
    })
    .await?;
    let ladder = ladder(config, counts.as_ref(), &cgroups)?;
    let machine = Machine {
        ladder,
        meter: Meter::open(&dir.join(machine::METER)).map_err(file(&dir))?,
        content: Content::open(config.data_dir.join("content"))?,
        wanted: WantedList::open(dir.join(machine::WANTED)).map_err(file(&dir))?,
        news: News::new().map_err(file(&dir))?,
        starts: Machine::starts_limit(),
        unpacks: Unpacks::new(),
        instance_disk_bytes_max: config.instance_disk_mib_max * 1024 * 1024,
        pairs: Arc::new(pairs),
        free_memory_min_mib: config.free_memory_min_mib,
        dir,
        platform,
        helper,
        launcher,
        cgroups,
        network,
    };
    fs::create_dir_all(machine.layers_dir()).map_err(file(&machine.layers_dir()))?;
    Ok(machine)
}

/// What puts instances to sleep, by what proxies count and say.
fn ladder(config: &Config, counts: Option<&OwnedFd>, cgroups: &Cgroups) -> Result<Ladder, NodeError> {
    let path = config.data_dir.join("run").join("activity.sock");
    let listener = make_room(&path).and_then(|()| Listener::bind(&path, config.proxy_uid));
    let memory = counts.map(Watcher::open).transpose();
    let memory = memory.unwrap_or_else(|error| {
        tracing::error!(%error, "no instance is put to sleep: what proxies count cannot be read");
        None
    });
    let users = vec![0, config.proxy_uid];
    listener.and_then(|listener| Ladder::start(cgroups.clone(), memory, listener, users)).map_err(file(&path))
}

/// Removes what builds left and takes over what lives. On this thread, before anything else runs: nothing may be
/// taken or started while it looks.
fn adopt(config: &Config, catalogue: Catalogue, machine: &Arc<Machine>) -> Result<server::Node, NodeError> {
    if let Err(error) = build::remove_leftovers(&machine.dir, &machine.cgroup_parent()) {
        tracing::error!(dir = %machine.dir.display(), %error, "what earlier builds left cannot be removed");
    }
    let instances = Instances::adopt(machine.clone()).map_err(NodeError::Adoption)?;
    machine.ladder.adopted();
    let settings = BuildSettings {
        catalogue,
        source_roots: config.source_roots.clone(),
        environment: config.build_environment.clone(),
    };
    let builds = Arc::new(Builds::new(machine.clone(), settings));
    Ok(server::Node { machine: machine.clone(), instances, builds })
}

/// Everything that runs as long as the node.
fn serve(node: Arc<server::Node>, listener: UnixListener, control_uid: u32) -> JoinSet<()> {
    let (machine, instances) = (node.machine.clone(), node.instances.clone());
    let mut tasks = JoinSet::new();
    tasks.spawn(machine.pairs.clone().run());
    tasks.spawn(machine.launcher.ahead().clone().run());
    tasks.spawn({
        let machine = machine.clone();
        async move { machine.news.run().await }
    });
    tasks.spawn(meter::run(machine.clone()));
    tasks.spawn(disk::watch(machine.clone(), instances.clone()));
    tasks.spawn(disk::sweep(machine));
    tasks.spawn(async move { instances.run().await });
    tasks.spawn(server::serve(listener, node, control_uid));
    tasks
}

/// Takes the lock that makes its holder the only owner of the containers; waits a moment for one that ends.
pub fn lock(node_dir: &Path) -> Result<Flock<File>, LockError> {
    let path = node_dir.join("lock");
    let problem = |error| LockError::File { path: path.clone(), error };
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(problem)?;
    let began = Instant::now();
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((back, nix::errno::Errno::EWOULDBLOCK)) if began.elapsed() < LOCK_PATIENCE => file = back,
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => return Err(LockError::Held(node_dir.to_owned())),
            Err((_, error)) => return Err(problem(error.into())),
        }
        std::thread::sleep(LOCK_POLL);
    }
}

/// The data directory's id, 8 hex digits; `None` when it has none yet.
pub fn read_id(data_dir: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(data_dir.join("id")) {
        Ok(text) => {
            let id = text.trim();
            let right = id.len() == 8 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            match right {
                true => Ok(Some(id.to_owned())),
                false => Err(io::Error::new(io::ErrorKind::InvalidData, "it is not 8 hexadecimal digits")),
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The data directory's id, drawn now if it has none.
fn make_id(data_dir: &Path) -> io::Result<String> {
    if let Some(id) = read_id(data_dir)? {
        return Ok(id);
    }
    let id = random_hex::<4>()?;
    durable::write(&data_dir.join("id"), format!("{id}\n").as_bytes())?;
    Ok(id)
}

/// An earlier node's socket is in the way.
fn make_room(socket: &Path) -> io::Result<()> {
    if let Some(parent) = socket.parent() {
        fs::create_dir_all(parent)?;
    }
    match fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn listen(socket: &Path) -> io::Result<UnixListener> {
    make_room(socket)?;
    let listener = UnixListener::bind(socket)?;
    // Who may speak is decided by the peer's credentials, not by the file's mode.
    fs::set_permissions(socket, fs::Permissions::from_mode(0o666))?;
    Ok(listener)
}
