//! The start of one container, from a wish to a running process, and its end.
//!
//! Each step is idempotent or undone by the next `start` or `end`, so that a node that dies between any two
//! of them leaves nothing that a later one would trip over.

use crate::local::container::alive::{self, Alive};
use crate::local::container::cgroup::Limits;
use crate::local::container::launch::{ExtraFile, Launch};
use crate::local::container::pair::{Pair, Unreleased};
use crate::local::durable;
use crate::local::instance::disk;
use crate::local::kernel::memory_kib;
use crate::local::machine::Machine;
use apron_images::manifest::RunDefaults;
use apron_images::process::Cancel;
use apron_images::room::Room;
use apron_images::unpack::{Bounds, UnpackError, unpack_layers};
use apron_model::ids::Digest;
use apron_model::instance::{Command, Fault, InstanceSpec};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::Notify;

/// What a start is expected to use of its memory limit before it is ready; limits are no reservations.
const START_MEMORY_MIB: u64 = 64;
/// A host name's label has at most 63 characters; an id's first twelve tell instances apart.
const HOSTNAME_CHARS: usize = 12;

/// A container that runs.
pub(crate) struct Born {
    pub pair: Pair,
    pub alive: Alive,
    pub layers: Vec<String>,
    /// Milliseconds from `began` to the instance's turn, to a namespace with network, to mounts, to the program's execve.
    pub queued_ms: u32,
    pub namespace_ms: u32,
    pub mount_ms: u32,
    pub exec_ms: u32,
}

/// A start that did not work, and the pair that is to be used again or given back.
pub(crate) struct Stillborn {
    pub pair: Option<Pair>,
    pub fault: Fault,
}

/// An end that did not work, and the pair, unless it was given back: another instance may have it by then.
pub(crate) struct Unended {
    pub pair: Option<Pair>,
    pub reason: String,
}

/// Creates and starts the container. `pair` is the one of an earlier start of the same instance. Once it is
/// `unwanted`, nothing is waited for any more, and the start fails.
pub(crate) async fn start(
    machine: &Arc<Machine>,
    spec: &InstanceSpec,
    address: Ipv4Addr,
    pair: Option<Pair>,
    began: Instant,
    unwanted: &Notify,
) -> Result<Born, Stillborn> {
    let mut held = pair;
    let born = start_with(machine, spec, address, &mut held, began, unwanted).await;
    born.map_err(|fault| {
        let fault = match Room::of(&machine.dir) {
            Ok(room) => disk::explain(machine.data_dir(), room, fault),
            Err(_) => fault,
        };
        Stillborn { pair: held, fault }
    })
}

async fn start_with(
    machine: &Arc<Machine>,
    spec: &InstanceSpec,
    address: Ipv4Addr,
    held: &mut Option<Pair>,
    began: Instant,
    unwanted: &Notify,
) -> Result<Born, Fault> {
    {
        // What an earlier start left: a dead container's cgroup, mounts that nobody holds, what it wrote.
        let (dir, cgroup) =
            (machine.instance_dir(spec.id.as_str()), machine.instance_cgroup(spec.id.as_str()));
        blocking(move || alive::clear(&dir, &cgroup).map_err(|e| e.fault())).await?;
    }
    if let Ok(room) = Room::of(&machine.dir) {
        disk::refuse_without_room(machine.data_dir(), room)?;
    }
    // Not within a turn: the unpacking of a large image must not be in the way of other starts.
    let prepared = async {
        let (run, layers) = unpacked(machine, &spec.image).await?;
        let argv = argv(&spec.command, &run)?;
        let turn = machine.starts.acquire().await.map_err(|_| Fault::transient("the node is stopping"))?;
        Ok((run, layers, argv, turn))
    };
    let (run, layers, argv, _turn) = tokio::select! {
        prepared = prepared => prepared?,
        () = unwanted.notified() => return Err(Fault::transient("the instance is being removed")),
    };
    let queued_ms = elapsed_ms(began);
    let available = memory_available_mib();
    refuse_without_memory(available, u64::from(spec.size.memory_mib), machine.free_memory_min_mib)?;

    let fresh = held.is_none();
    let pair = match held.clone() {
        Some(pair) => pair,
        None => {
            let pairs = machine.pairs.clone();
            let taken = blocking(move || {
                pairs.take().map_err(|e| Fault::transient(format!("cannot make a namespace: {e}")))
            });
            held.insert(taken.await?).clone()
        }
    };
    if fresh || !machine.network.attached(address) {
        let attached = machine.network.attach(address, &pair.net()).await;
        attached.map_err(|e| Fault::transient(format!("the instance has no network: {e}")))?;
    }
    let namespace_ms = elapsed_ms(began);

    let launch = Launch {
        id: spec.id.to_string(),
        pair: pair.clone(),
        layers: layers.clone(),
        keep_upper: false,
        argv,
        env: environment(&run, &spec.env),
        cwd: run.working_dir.clone(),
        user: run.user.clone(),
        hostname: hostname(spec.id.as_str()),
        limits: Limits::of(spec.size),
        boost: spec.startup_boost,
        oom_score_adj: 0,
        files: files(&hostname(spec.id.as_str()), address, machine.network.gateway()),
        mounts: Vec::new(),
        cgroup: machine.instance_cgroup(spec.id.as_str()),
        shim_cgroup: machine.shim_cgroup(),
    };
    let dir = machine.instance_dir(spec.id.as_str());
    let starting = machine.clone();
    let spawned = blocking(move || starting.launcher.spawn(&dir, &launch).map_err(|e| e.fault())).await?;
    Ok(Born {
        pair,
        layers: names(&layers),
        queued_ms,
        namespace_ms,
        mount_ms: namespace_ms + spawned.timings.mount_ms,
        exec_ms: namespace_ms + spawned.timings.exec_ms,
        alive: spawned.alive,
    })
}

/// The image's defaults and its layers on disk. One that is there already waits for nobody; several starts of a new
/// one wait for the first of them.
async fn unpacked(machine: &Arc<Machine>, image: &Digest) -> Result<(RunDefaults, Vec<PathBuf>), Fault> {
    let config = {
        let (machine, image) = (machine.clone(), image.clone());
        blocking(move || {
            machine.content.config(&image).map_err(|error| {
                let reason = format!("image {image} cannot be run: {error}");
                Fault { permanent: error.permanent(), reason, last_lines: Vec::new() }.bounded()
            })
        })
        .await?
    };
    let layers_dir = machine.layers_dir();
    let is_there =
        |layer: &Digest| layer.as_str().rsplit(':').next().is_some_and(|name| layers_dir.join(name).exists());
    let turn = match config.diff_ids.iter().all(is_there) {
        true => None,
        false => Some(machine.unpacks.turn(image).await),
    };
    let (machine, image) = (machine.clone(), image.clone());
    let cancel = Cancel::new();
    let _ends_with_the_start = cancel.on_drop();
    blocking(move || {
        let bounds = Bounds::until(&cancel);
        // Held until the work is done, also when nobody waits for it any more.
        let _turn = turn;
        match unpack_layers(&machine.content, &image, &machine.layers_dir(), &machine.helper, &bounds) {
            Ok(layers) => Ok((config.run, layers)),
            Err(UnpackError::DiskFull(path)) => {
                let reason = match Room::of(&machine.dir) {
                    Ok(room) => disk::full(machine.data_dir(), room),
                    Err(_) => format!("the disk that holds {} is full", path.display()),
                };
                Err(Fault::transient(format!("the image cannot be unpacked: {reason}")))
            }
            Err(error) => Err(error.fault().bounded()),
        }
    })
    .await
}

/// Takes away what an ended container leaves, and its namespaces; the instance keeps its output, its lease and its wish. An
/// error names the step; the same call again, with the pair that is left, goes on.
pub(crate) async fn rest(machine: &Arc<Machine>, id: &str, pair: Option<Pair>) -> Result<(), Unended> {
    let (dir, cgroup) = (machine.instance_dir(id), machine.instance_cgroup(id));
    let cleared = blocking(move || {
        alive::clear(&dir, &cgroup).map_err(|e| e.fault())?;
        // It names the namespaces, which may be another's a moment from now: the next node must not take them for ours.
        // Nor its end for that of one which was to run.
        let left = ["launch.json", "state.json"].map(|name| dir.join(name));
        left.iter().try_for_each(|file| durable::remove(file)).map_err(|e| Fault::transient(e.to_string()))
    });
    match cleared.await {
        Ok(()) => give_back(machine, id, pair).await,
        Err(fault) => Err(Unended { pair, reason: fault.reason }),
    }
}

/// Ends whatever of the instance is there, with its directory, network and lease. An error names the step;
/// the same call again, with the pair that is left, goes on.
pub(crate) async fn end(machine: &Arc<Machine>, id: &str, pair: Option<Pair>) -> Result<(), Unended> {
    let destroyed = {
        let (machine, id) = (machine.clone(), id.to_owned());
        blocking(move || {
            alive::destroy(&machine.instance_dir(&id), &machine.instance_cgroup(&id)).map_err(|e| e.fault())
        })
    };
    if let Err(fault) = destroyed.await {
        return Err(Unended { pair, reason: fault.reason });
    }
    give_back(machine, id, pair).await?;
    let (machine, id) = (machine.clone(), id.to_owned());
    let released =
        blocking(move || machine.network.release(&id).map_err(|e| Fault::transient(e.to_string())));
    released.await.map_err(|fault| Unended { pair: None, reason: fault.reason })
}

/// Takes its network and its namespaces from an instance without a process; its lease stays.
async fn give_back(machine: &Arc<Machine>, id: &str, pair: Option<Pair>) -> Result<(), Unended> {
    // Without a lease the address is another's to have.
    if let Some(address) = machine.network.leased_address(id)
        && let Err(error) = machine.network.detach(address).await
    {
        return Err(Unended { pair, reason: error.to_string() });
    }
    let Some(pair) = pair else { return Ok(()) };
    let pairs = machine.pairs.clone();
    match blocking(move || Ok(pairs.release(pair))).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(Unreleased { pair, error })) => Err(Unended { pair: Some(pair), reason: error.to_string() }),
        // What came of it is not known: nobody gets it before the next node has looked.
        Err(fault) => Err(Unended { pair: None, reason: fault.reason }),
    }
}

/// Runs blocking work off the event loop.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|_| Err(Fault::transient("the node was interrupted while it worked")))
}

pub(crate) fn elapsed_ms(began: Instant) -> u32 {
    u32::try_from(began.elapsed().as_millis()).unwrap_or(u32::MAX)
}

fn names(layers: &[PathBuf]) -> Vec<String> {
    let name = |layer: &PathBuf| layer.file_name().map(|name| name.to_string_lossy().into_owned());
    layers.iter().filter_map(name).collect()
}

fn argv(command: &Command, image: &RunDefaults) -> Result<Vec<String>, Fault> {
    let argv = match command {
        Command::Image => [image.entrypoint.as_slice(), image.cmd.as_slice()].concat(),
        Command::Argv(argv) => argv.clone(),
        Command::Shell(text) => ["/bin/sh", "-c", text].map(str::to_owned).to_vec(),
    };
    if argv.first().is_none_or(String::is_empty) {
        let reason = "no start command is set, and the image has neither ENTRYPOINT nor CMD";
        return Err(Fault::permanent(reason));
    }
    Ok(argv)
}

/// The image's own variables, and over them what the wish says.
fn environment(image: &RunDefaults, wished: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut env: BTreeMap<String, String> = image
        .env
        .iter()
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    env.extend(wished.iter().map(|(name, value)| (name.clone(), value.clone())));
    env
}

fn hostname(id: &str) -> String {
    id.chars().take(HOSTNAME_CHARS).collect()
}

fn files(hostname: &str, address: Ipv4Addr, gateway: Ipv4Addr) -> Vec<ExtraFile> {
    let file = |target: &str, content: String| ExtraFile { target: target.to_owned(), content };
    vec![
        file("/etc/resolv.conf", format!("nameserver {gateway}\n")),
        file("/etc/hosts", format!("127.0.0.1 localhost\n{address} {hostname}\n")),
        file("/etc/hostname", format!("{hostname}\n")),
    ]
}

/// Memory that the kernel could give away now; `None` when it does not say.
pub(crate) fn memory_available_mib() -> Option<u64> {
    memory_kib("MemAvailable").map(|kib| kib / 1024)
}

fn refuse_without_memory(available: Option<u64>, limit_mib: u64, free_min_mib: u64) -> Result<(), Fault> {
    let Some(available) = available else { return Ok(()) };
    let expected = limit_mib.min(START_MEMORY_MIB);
    if available >= free_min_mib + expected {
        return Ok(());
    }
    Err(Fault::transient(format!(
        "{}: {available} MiB are available, a start needs about {expected} MiB and {free_min_mib} MiB must stay free",
        Fault::NO_MEMORY
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(entrypoint: &[&str], cmd: &[&str]) -> RunDefaults {
        let list = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        RunDefaults {
            env: vec!["PATH=/bin".into(), "A=image".into(), "B=x=y".into(), "broken".into()],
            entrypoint: list(entrypoint),
            cmd: list(cmd),
            working_dir: "/".into(),
            user: String::new(),
        }
    }

    #[test]
    fn a_command_replaces_entrypoint_and_cmd() {
        let image = image(&["/entry"], &["a", "b"]);
        assert_eq!(argv(&Command::Image, &image).unwrap(), ["/entry", "a", "b"]);
        assert_eq!(argv(&Command::Argv(vec!["x".into()]), &image).unwrap(), ["x"]);
        let shell = argv(&Command::Shell("x && y".into()), &image).unwrap();
        assert_eq!(shell, ["/bin/sh", "-c", "x && y"]);
        let nothing = argv(&Command::Image, &self::image(&[], &[])).unwrap_err();
        assert!(nothing.permanent && nothing.reason.contains("no start command"), "{nothing:?}");
    }

    #[test]
    fn wished_variables_win() {
        let wished =
            BTreeMap::from([("A".to_owned(), "wish".to_owned()), ("PORT".to_owned(), "80".to_owned())]);
        let env = environment(&image(&[], &[]), &wished);
        let expected = [("A", "wish"), ("B", "x=y"), ("PATH", "/bin"), ("PORT", "80")];
        assert!(env.iter().map(|(k, v)| (k.as_str(), v.as_str())).eq(expected), "{env:?}");
    }

    #[test]
    fn a_start_leaves_memory_free() {
        assert!(refuse_without_memory(Some(1000), 2048, 900).is_ok());
        let fault = refuse_without_memory(Some(900), 2048, 900).unwrap_err();
        assert!(fault.lacks_memory());
        assert!(
            fault.reason.contains("900 MiB are available, a start needs about 64 MiB"),
            "{}",
            fault.reason
        );
        assert!(refuse_without_memory(Some(932), 32, 900).is_ok(), "a small limit needs less");
        assert!(refuse_without_memory(None, 2048, 900).is_ok());
        assert!(memory_available_mib().unwrap() > 0);
    }
}
