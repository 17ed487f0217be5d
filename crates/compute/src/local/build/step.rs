//! The containers of one build, one after another, and their end whatever happens.

use super::environment::{self, RESOLV_CONF, SCRIPT};
use super::plan::Plan;
use super::script::{Said, Script};
use super::{BuildContext, BuildError, Work, blocking};
use crate::local::container::alive::{self, Found};
use crate::local::container::launch::{ExtraFile, HostMount, Launch, LaunchError};
use crate::local::instance::shim;
use apron_images::tree;
use apron_model::instance::Exit;
use apron_model::limits::LAST_LINES;
use std::collections::{BTreeMap, VecDeque};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Directories of the containers within a build's directory.
pub(super) const CONTAINERS: [&str; 2] = ["fetch", "build"];
/// A build can be repeated, an instance serves: the kernel is to end builds first.
const OOM_SCORE_ADJ: u16 = 500;
/// How often new output is looked for; a person who follows a log sees no steps below this.
const OUTPUT_INTERVAL: Duration = Duration::from_millis(100);

/// A thread of a build that was just cancelled, such as one that unpacks, may write for a moment yet.
const REMOVE_WAIT: Duration = Duration::from_secs(5);
const REMOVE_POLL: Duration = Duration::from_millis(50);

pub(super) struct Steps {
    dir: PathBuf,
    name: String,
    cgroup_parent: String,
    /// True once the build was ended: nothing may start afterwards.
    ended: Arc<Mutex<bool>>,
    /// Where each container's output was read to; a container's steps share one log.
    read: Mutex<BTreeMap<&'static str, u64>>,
    /// Sources of mounts that have no path of their own.
    held: Mutex<Vec<OwnedFd>>,
}

pub(super) fn cgroup(parent: &str, build: &str, container: &str) -> String {
    format!("{parent}/build-{build}-{container}")
}

impl Steps {
    pub(super) fn new(context: &BuildContext, dir: &Path, name: &str) -> Steps {
        Steps {
            dir: dir.to_owned(),
            name: name.to_owned(),
            cgroup_parent: context.cgroup_parent.clone(),
            ended: Arc::new(Mutex::new(false)),
            read: Mutex::new(BTreeMap::new()),
            held: Mutex::default(),
        }
    }

    /// Keeps a descriptor open until nothing of the build can start any more: its number must not come to mean
    /// something else while a launch may look at it.
    pub(super) fn hold(&self, descriptor: OwnedFd) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).push(descriptor);
    }

    /// What the commands wrote outside their caches.
    pub(super) fn upper(&self) -> PathBuf {
        self.dir.join("build/upper")
    }

    #[allow(clippy::too_many_arguments, reason = "each is one member of the launch")]
    pub(super) fn launch(
        &self,
        work: &Work<'_>,
        container: &'static str,
        layers: &[PathBuf],
        argv: Vec<String>,
        env: BTreeMap<String, String>,
        cwd: &str,
        mut files: Vec<ExtraFile>,
        mounts: Vec<HostMount>,
    ) -> Launch {
        files.push(ExtraFile { target: RESOLV_CONF.to_owned(), content: work.context.resolv_conf.clone() });
        Launch {
            id: format!("{}-{container}", self.name),
            pair: work.context.pair.clone(),
            layers: layers.to_vec(),
            keep_upper: true,
            argv,
            env,
            cwd: cwd.to_owned(),
            user: String::new(),
            hostname: "build".to_owned(),
            limits: work.context.limits,
            boost: 1,
            oom_score_adj: OOM_SCORE_ADJ,
            files,
            mounts,
            cgroup: cgroup(&self.cgroup_parent, &self.name, container),
            shim_cgroup: work.context.shim_cgroup.clone(),
        }
    }

    /// Runs the commands of a phase in one shell. Answers with the shell's last directory, if any ran.
    pub(super) async fn shell(
        &self,
        work: &Work<'_>,
        plan: &Plan,
        layers: &[PathBuf],
        directory: &str,
        phase: &str,
        commands: &[String],
    ) -> Result<Option<String>, BuildError> {
        if commands.is_empty() {
            return Ok(None);
        }
        let script = Script::new(&self.name, directory, commands);
        let base = &plan.runtime.base;
        let mut env = environment::variables(base, &work.context.environment);
        env.extend(plan.build_env.clone());
        let files = vec![ExtraFile { target: SCRIPT.to_owned(), content: script.text.clone() }];
        let mut mounts = environment::certificates();
        mounts.extend(work.caches(base).await?);
        // Every Debian has bash, and Amazon Linux's sh is one: published commands rely on it.
        let argv = ["/bin/bash", SCRIPT].map(str::to_owned).to_vec();
        let launch = self.launch(work, "build", layers, argv, env, directory, files, mounts);
        let mut running = None;
        let mut last_directory = None;
        let exit = self
            .run(work, "build", launch, &mut |line| {
                let mut shown = Vec::new();
                for said in script.read(&line) {
                    match said {
                        Said::Command(index) => {
                            running = commands.get(index);
                            shown.extend(running.map(|command| format!("$ {command}")));
                        }
                        Said::Ended(directory) => last_directory = Some(directory),
                        Said::Output(text) => shown.push(text),
                    }
                }
                shown
            })
            .await?;
        if exit.code == Some(0) {
            return Ok(last_directory);
        }
        let command =
            running.map_or_else(|| format!("the {phase} phase"), |c| format!("the {phase} command `{c}`"));
        let how = match (exit.out_of_memory, exit.code, exit.signal) {
            (true, _, _) => {
                let mib = work.context.limits.memory_bytes >> 20;
                format!("was killed because the build needed more than its {mib} MiB of memory")
            }
            (_, Some(code), _) => format!("ended with exit code {code}"),
            (_, None, Some(signal)) => format!("was killed by signal {signal}"),
            (_, None, None) => "did not end by itself".to_owned(),
        };
        Err(BuildError::Input { reason: format!("{command} {how}"), last_lines: exit.last_lines })
    }

    /// Runs one container to its end. `line` says what of each line of output goes into the log; those make up
    /// the last lines too.
    pub(super) async fn run(
        &self,
        work: &Work<'_>,
        container: &'static str,
        launch: Launch,
        line: &mut (dyn FnMut(String) -> Vec<String> + Send),
    ) -> Result<Exit, BuildError> {
        let dir = self.dir.join(container);
        let (launcher, ended, place) = (work.context.launcher.clone(), self.ended.clone(), dir.clone());
        let spawned = blocking(move || {
            // Held over the start: an end that comes meanwhile waits and then finds the container.
            let ended = ended.lock().unwrap_or_else(PoisonError::into_inner);
            if *ended {
                return Err(BuildError::Cancelled);
            }
            Ok(launcher.spawn(&place, &launch)?)
        })
        .await?;
        let mut last: VecDeque<String> = VecDeque::with_capacity(LAST_LINES);
        let alive = spawned.alive;
        let finished = loop {
            let finished = tokio::time::timeout(OUTPUT_INTERVAL, alive.ended()).await.ok();
            self.read_output(work, container, &dir, &mut last, line).await?;
            if let Some(found) = finished {
                break found;
            }
        };
        let last_lines = Vec::from(last);
        let cgroup = cgroup(&self.cgroup_parent, &self.name, container);
        let stopped = dir.clone();
        blocking(move || Ok(alive::stop_all(&stopped, &cgroup)?)).await?;
        match finished {
            Found::Exited(state) => {
                let exit = shim::exit(&dir, &state);
                Ok(Exit { last_lines, ..exit })
            }
            Found::Alive(_) | Found::Orphaned(_) | Found::Absent => Err(LaunchError::Transient(
                "the parent process of the build's container was killed".to_owned(),
            )
            .into()),
        }
    }

    async fn read_output(
        &self,
        work: &Work<'_>,
        container: &'static str,
        dir: &Path,
        last: &mut VecDeque<String>,
        line: &mut (dyn FnMut(String) -> Vec<String> + Send),
    ) -> Result<(), BuildError> {
        loop {
            let from =
                *self.read.lock().unwrap_or_else(PoisonError::into_inner).entry(container).or_default();
            let place = dir.to_owned();
            let output = blocking(move || {
                shim::read_output(&place, from).map_err(|e| {
                    LaunchError::Transient(format!("the build's output cannot be read: {e}")).into()
                })
            })
            .await?;
            if output.next == from {
                return Ok(());
            }
            self.read.lock().unwrap_or_else(PoisonError::into_inner).insert(container, output.next);
            for said in output.lines {
                for text in line(said.text) {
                    if last.len() == LAST_LINES {
                        last.pop_front();
                    }
                    last.push_back(text.clone());
                    work.line(text).await;
                }
            }
        }
    }

    /// Ends a container and removes everything of it, what it was told included. A success when it never was.
    pub(super) async fn remove(&self, container: &'static str) -> Result<(), BuildError> {
        let (dir, cgroup) = (self.dir.join(container), cgroup(&self.cgroup_parent, &self.name, container));
        blocking(move || Ok(alive::destroy(&dir, &cgroup)?)).await
    }

    /// Ends every container of the build and removes its directory. Nothing starts afterwards.
    pub(super) async fn end(&self) -> Result<(), BuildError> {
        let (dir, name, parent, ended) =
            (self.dir.clone(), self.name.clone(), self.cgroup_parent.clone(), self.ended.clone());
        blocking(move || {
            *ended.lock().unwrap_or_else(PoisonError::into_inner) = true;
            for container in CONTAINERS {
                let place = dir.join(container);
                if place.exists() {
                    alive::destroy(&place, &cgroup(&parent, &name, container))?;
                }
            }
            let began = Instant::now();
            loop {
                match tree::remove(&dir) {
                    Ok(()) => return Ok(()),
                    Err(source) if began.elapsed() > REMOVE_WAIT => {
                        return Err(BuildError::Io { path: dir, source });
                    }
                    Err(_) => std::thread::sleep(REMOVE_POLL),
                }
            }
        })
        .await
    }
}
