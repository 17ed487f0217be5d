//! One build: from a source to an image by digest, with everything untrusted in containers.
//!
//! ```text
//! <node>/builds/<id>-<n>/source/app   the repository: cloned or unpacked here, then a read-only layer of the build
//! <node>/builds/<id>-<n>/fetch        container that clones; sees the network and this directory
//! <node>/builds/<id>-<n>/build        container that runs the commands; its upper directory becomes a layer
//! <node>/caches/<service>/            pip's and npm's downloads, see `caches`
//! ```
//! Order: fetch, read `apprunner.yaml`, base image, pre-build and build in one shell, pre-run in a second, package,
//! post-build last, so that it cannot change the image. App Runner's older pipeline builds twice to have what
//! was installed outside /app at run time; here one image does both stages, with the same visible effect.

mod caches;
mod environment;
mod fetch;
mod plan;
pub(crate) mod queue;
mod repository;
mod script;
mod step;
mod stopwatch;
mod written;

pub use caches::Caches;

use crate::local::container::alive;
use crate::local::container::cgroup::Limits;
use crate::local::container::launch::{HostMount, LaunchError, Launcher, MOUNT_POINTS};
use crate::local::container::pair::Pair;
use apron_images::content::{Content, ContentError};
use apron_images::helper::Helper;
use apron_images::manifest::RunDefaults;
use apron_images::pack::{self, PackError, PackOptions};
use apron_images::process::Cancel;
use apron_images::room::Shortage;
use apron_images::runtimes::{self, Base, Catalogue, Pipeline, Runtime, RuntimeError};
use apron_images::tree;
use apron_images::unpack::{self, Bounds, UnpackError};
use apron_model::build::{BASE_STAGE, BuildEvent, BuildOutcome, BuildSpec};
use apron_model::ids::Digest;
use apron_model::instance::Fault;
use apron_model::limits::BUILD_CACHE_BYTES_MAX;
use caches::Cache;
use futures_util::Stream;
use plan::Plan;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::iter;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use step::Steps;
use stopwatch::Stopwatch;
use tokio::sync::mpsc;

/// Events between a build and whoever follows it. A slow reader slows the log, not the build's memory.
const EVENTS_WAITING: usize = 256;
/// Where the repository lies in every stage and at run time.
const APP: &str = "/app";
/// What is worth reading of an assembly; the rest is progress bars and paths of this machine.
const ASSEMBLY_LINES: [&str; 6] =
    ["E: ", "W: ", "I: running apt-get", "I: downloading", "I: installing", "I: creating tarball"];

/// What a build needs of this machine. The caller makes the pair and its network as for an instance, and frees
/// both when the stream ended or was dropped.
#[derive(Clone)]
pub struct BuildContext {
    pub content: Content,
    /// `<data>/node`; builds, bases, layers and caches lie below it.
    pub node_dir: PathBuf,
    pub helper: Helper,
    pub launcher: Launcher,
    pub catalogue: Arc<Catalogue>,
    pub caches: Arc<Caches>,
    /// Directories below which `file://` repositories may lie.
    pub source_roots: Vec<PathBuf>,
    /// Variables that the operator gives to every build; they may be secrets.
    pub environment: BTreeMap<String, String>,
    pub pair: Pair,
    /// `/etc/resolv.conf` inside the build containers.
    pub resolv_conf: String,
    pub limits: Limits,
    /// What the build may write; `limits::BUILD_WRITTEN_BYTES_MAX`.
    pub bytes_max: u64,
    /// From fetching to the last post-build command; `limits::BUILD_MS_MAX`.
    pub time_max: Duration,
    /// `/apron-<data id>`.
    pub cgroup_parent: String,
    pub shim_cgroup: String,
}

/// Everything that can end a build early.
#[derive(Debug, thiserror::Error)]
enum BuildError {
    /// The user's to change: a sentence and the lines that explain it.
    #[error("{reason}")]
    Input { reason: String, last_lines: Vec<String> },
    /// The sources could not be fetched now.
    #[error("{reason}")]
    Unreachable { reason: String, last_lines: Vec<String> },
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    #[error(transparent)]
    Pack(#[from] PackError),
    #[error(transparent)]
    Content(#[from] ContentError),
    #[error(transparent)]
    Launch(#[from] LaunchError),
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    /// Others need what is left of the disk.
    #[error("the build was ended: {0}")]
    DiskFull(Shortage),
    #[error("the build took longer than {} minutes and was ended", .0.as_secs() / 60)]
    TooLong(Duration),
    /// Nobody follows the build any more.
    #[error("the build was cancelled")]
    Cancelled,
}

impl BuildError {
    fn input(reason: impl Into<String>) -> BuildError {
        BuildError::Input { reason: reason.into(), last_lines: Vec::new() }
    }

    fn fault(&self) -> Fault {
        let fault = |permanent: bool, last_lines: &[String]| Fault {
            permanent,
            reason: self.to_string(),
            last_lines: last_lines.to_vec(),
        };
        match self {
            BuildError::Input { last_lines, .. } => fault(true, last_lines),
            BuildError::Unreachable { last_lines, .. } => fault(false, last_lines),
            BuildError::Runtime(e) => e.fault(),
            BuildError::Unpack(e) => e.fault(),
            BuildError::Launch(e) => e.fault(),
            BuildError::Content(e) => fault(e.permanent(), &[]),
            BuildError::Pack(e) => fault(e.permanent(), &[]),
            BuildError::TooLong(_) => fault(true, &[]),
            BuildError::DiskFull(_) | BuildError::Io { .. } | BuildError::Cancelled => fault(false, &[]),
        }
    }
}

/// The events of one build. Dropping it ends the build and everything of it.
pub struct Events(mpsc::Receiver<BuildEvent>);

impl Stream for Events {
    type Item = BuildEvent;
    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<BuildEvent>> {
        self.0.poll_recv(context)
    }
}

/// Starts a build in a task of its own. The last event is `Done` or `Failed`. Needs a tokio runtime.
pub fn run(spec: BuildSpec, context: BuildContext) -> Events {
    let (sender, receiver) = mpsc::channel(EVENTS_WAITING);
    tokio::spawn(drive(spec, context, sender));
    Events(receiver)
}

async fn drive(spec: BuildSpec, context: BuildContext, sender: mpsc::Sender<BuildEvent>) {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    // The same build again gets a directory of its own: what an earlier try still writes must not meet it.
    let name = format!("{}-{}", spec.id, COUNTER.fetch_add(1, Ordering::Relaxed));
    let dir = context.node_dir.join("builds").join(&name);
    let steps = Steps::new(&context, &dir, &name);
    let cache = context.caches.take(&spec.service);
    let written = iter::once(dir.clone()).chain(cache.as_ref().map(Cache::dir)).collect();
    let watch = Stopwatch::default();
    let work = Work {
        spec: &spec,
        context: &context,
        dir: &dir,
        steps: &steps,
        cache: cache.as_ref(),
        watch: &watch,
        sender: &sender,
    };
    let result = tokio::select! {
        result = work.run() => result,
        error = written::exceeded(written, context.bytes_max) => Err(error),
        error = written::disk_full(&context.node_dir) => Err(error),
        () = tokio::time::sleep(context.time_max) => Err(BuildError::TooLong(context.time_max)),
        () = sender.closed() => Err(BuildError::Cancelled),
    };
    let built_ms = Some(watch.ms());
    if let Err(e) = steps.end().await {
        tracing::warn!(build = %spec.id, "what a build left could not be removed: {e}");
    }
    if let Some(cache) = cache {
        let path = cache.dir();
        let given_back = blocking(move || {
            cache.give_back(BUILD_CACHE_BYTES_MAX).map_err(|source| BuildError::Io { path, source })
        });
        if let Err(e) = given_back.await {
            tracing::warn!(build = %spec.id, "the cache of a build could not be removed: {e}");
        }
    }
    let last = match result {
        Ok(outcome) => BuildEvent::Done { outcome, built_ms },
        Err(e) => BuildEvent::Failed { fault: e.fault(), built_ms },
    };
    // A follower that is gone needs no answer.
    let _ = sender.send(last).await;
}

struct Work<'a> {
    spec: &'a BuildSpec,
    context: &'a BuildContext,
    dir: &'a Path,
    steps: &'a Steps,
    /// None: another build of the service has it.
    cache: Option<&'a Cache>,
    /// What users pay for.
    watch: &'a Stopwatch,
    sender: &'a mpsc::Sender<BuildEvent>,
}

impl Work<'_> {
    async fn run(&self) -> Result<BuildOutcome, BuildError> {
        let source_directory = plan::source_directory(&self.spec.source_directory)?;
        let source = self.dir.join("source");
        let began = Instant::now();
        self.watch.start();
        let commit = fetch::fetch(self, &source.join("app")).await?;
        self.stage("fetch", began).await;

        let plan = {
            let (spec, source, catalogue) =
                (self.spec.clone(), source.clone(), self.context.catalogue.clone());
            let directory = source_directory.clone();
            blocking(move || plan::plan(&spec, &source, &directory, &catalogue)).await?
        };
        for warning in &plan.warnings {
            self.line(format!("warning: {warning}")).await;
        }

        if plan.runtime.pipeline == Pipeline::Revised && plan.pre_run.is_empty() && !plan.build.is_empty() {
            // App Runner would drop it; half of the published files without pre-run expect otherwise.
            self.line(
                "what the build installs outside /app stays in the image; no pre-run is needed for it".into(),
            )
            .await;
        }

        let began = Instant::now();
        let (base, mut layers) = self.base(&plan.runtime).await?;
        layers.push(source.clone());
        self.stage(BASE_STAGE, began).await;

        let began = Instant::now();
        let directory = format!("{APP}{source_directory}");
        let build: Vec<String> = plan.pre_build.iter().chain(&plan.build).cloned().collect();
        let after = self.steps.shell(self, &plan, &layers, &directory, "build", &build).await?;
        self.steps.shell(self, &plan, &layers, &directory, "pre-run", &plan.pre_run).await?;
        self.stage("build", began).await;

        let began = Instant::now();
        let image = self.package(&base, &source, &plan, &directory).await?;
        self.stage("package", began).await;

        let directory = after.unwrap_or(directory);
        self.steps.shell(self, &plan, &layers, &directory, "post-build", &plan.post_build).await?;
        Ok(BuildOutcome {
            image,
            commit,
            start_command: plan.start_command,
            port: plan.port,
            port_env: plan.port_env,
            env: plan.env,
            warnings: plan.warnings,
        })
    }

    /// The base image of a runtime and its layers, unpacked: the platform's own work.
    async fn base(&self, runtime: &Runtime) -> Result<(Digest, Vec<PathBuf>), BuildError> {
        let _pause = self.watch.pause();
        let image = self.assembled(runtime).await?;
        let layers = self.layers(&image).await?;
        Ok((image, layers))
    }

    /// The base image of a runtime, with the assembly's progress in the log.
    async fn assembled(&self, runtime: &Runtime) -> Result<Digest, BuildError> {
        let (content, runtime) = (self.context.content.clone(), runtime.clone());
        let bases = self.context.node_dir.join("bases");
        let sender = self.sender.clone();
        let cancel = Cancel::new();
        let _ends_with_the_build = cancel.on_drop();
        blocking(move || {
            let mut said = false;
            let mut line = |text: &str| {
                if !std::mem::replace(&mut said, true) {
                    let first =
                        format!("assembling the base image {} from Debian packages", runtime.base.name);
                    let _ = sender.try_send(BuildEvent::Line(first));
                }
                // A full queue loses a line of progress, nothing else.
                if ASSEMBLY_LINES.iter().any(|start| text.starts_with(start)) {
                    let _ = sender.try_send(BuildEvent::Line(format!("[base] {text}")));
                }
            };
            Ok(runtimes::base(&content, &bases, &runtime, &cancel, &mut line)?)
        })
        .await
    }

    /// The layers of an image, unpacked.
    async fn layers(&self, image: &Digest) -> Result<Vec<PathBuf>, BuildError> {
        let (content, image, helper) =
            (self.context.content.clone(), image.clone(), self.context.helper.clone());
        let layers = self.context.node_dir.join("layers");
        let cancel = Cancel::new();
        let _ends_with_the_build = cancel.on_drop();
        let bounds = Bounds::until(&cancel);
        blocking(move || Ok(unpack::unpack_layers(&content, &image, &layers, &helper, &bounds)?)).await
    }

    async fn package(
        &self,
        base: &Digest,
        source: &Path,
        plan: &Plan,
        directory: &str,
    ) -> Result<Digest, BuildError> {
        let content = self.context.content.clone();
        let (base, source, directory) = (base.clone(), source.to_owned(), directory.to_owned());
        let upper = self.steps.upper();
        let first_id = self.context.pair.first_id;
        let mut env = vec![format!("PATH={}", plan.runtime.base.search_path())];
        env.extend(plan.runtime.base.env.iter().map(|(name, value)| format!("{name}={value}")));
        blocking(move || {
            // The clone's own directory holds the address it came from, which may carry a password.
            let without = BTreeSet::from([PathBuf::from("app/.git")]);
            let options = PackOptions { without: without.clone(), ..PackOptions::default() };
            let mut layers = vec![pack::pack_directory(&content, &source, &options)?];
            if upper.exists() {
                let ours = environment::TARGETS.into_iter().chain(caches::TARGETS);
                let mounted = MOUNT_POINTS.into_iter().chain(ours);
                let without_empty = mounted.map(|path| PathBuf::from(path.trim_start_matches('/'))).collect();
                let options = PackOptions { first_id, overlay: true, without, without_empty };
                layers.push(pack::pack_directory(&content, &upper, &options)?);
            }
            let run = RunDefaults { env, working_dir: directory, ..RunDefaults::default() };
            Ok(pack::assemble(&content, Some(&base), &layers, run)?)
        })
        .await
    }

    /// Mounts of the service's cache, for builds on this base.
    async fn caches(&self, base: &Base) -> Result<Vec<HostMount>, BuildError> {
        let dir = self.cache.map_or_else(|| self.dir.join("cache"), Cache::dir);
        let base = base.clone();
        blocking(move || caches::mounts(&dir, &base).map_err(|source| BuildError::Io { path: dir, source }))
            .await
    }

    async fn line(&self, text: String) {
        // Without a follower the build ends by itself, in `drive`.
        let _ = self.sender.send(BuildEvent::Line(text)).await;
    }

    async fn stage(&self, name: &str, began: Instant) {
        let ms = began.elapsed().as_millis() as u64;
        let _ = self.sender.send(BuildEvent::Stage { name: name.to_owned(), ms }).await;
    }
}

/// Ends and removes what builds of a killed node left, and caches that nobody used for a month. Blocking; call it
/// before the first build. What cannot be removed is said and left: it must not keep a node from starting.
pub fn remove_leftovers(node_dir: &Path, cgroup_parent: &str) -> io::Result<()> {
    for entry in entries(&node_dir.join("builds"))? {
        let (name, path) = (entry.file_name().to_string_lossy().into_owned(), entry.path());
        let ended = step::CONTAINERS.iter().try_for_each(|container| {
            alive::destroy(&path.join(container), &step::cgroup(cgroup_parent, &name, container))
        });
        let removed = ended.map_err(io::Error::other).and_then(|()| tree::remove(&path));
        if let Err(error) = removed {
            tracing::warn!(path = %path.display(), %error, "what a build left cannot be removed");
        }
    }
    caches::remove_unused(node_dir)?;
    unpack::remove_leftovers(&node_dir.join("layers"))?;
    runtimes::remove_leftovers(&node_dir.join("bases"))
}

fn entries(dir: &Path) -> io::Result<Vec<fs::DirEntry>> {
    match fs::read_dir(dir) {
        Ok(entries) => entries.collect(),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(e),
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BuildError> + Send + 'static,
) -> Result<T, BuildError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(e) => {
            Err(BuildError::Io { path: PathBuf::from("a step of the build"), source: io::Error::other(e) })
        }
    }
}
