//! What the node was told to run: one file per instance, written whole and forced to disk before the wish is
//! acknowledged. With these files alone the node starts, restarts and removes instances, control dead or not.

use crate::local::durable;
use apron_model::ids::InstanceId;
use apron_model::instance::{Health, InstanceSpec, Waterfall};
use serde::{Deserialize, Serialize};
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// Grows with the format; a file of a newer version is refused, not guessed at.
const VERSION: u32 = 1;

/// One wish and what must outlive the node with it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Wanted {
    version: u32,
    pub spec: InstanceSpec,
    /// The instance's for as long as it is wanted.
    pub address: Ipv4Addr,
    /// Names of the unpacked layers, lowest first; known after the first start, and kept from removal by it.
    pub layers: Vec<String>,
    /// How often it was started anew after an exit.
    pub restarts: u32,
    /// The running container was healthy when this was written: a node that adopts it takes it as healthy.
    pub healthy: bool,
    /// It had failed its checks instead, and why when it began to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing: Option<String>,
    /// How the start of what is running went, or of what ran last where it is asleep. None: that was never healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waterfall: Option<Waterfall>,
    /// It has no process because nothing was to do for it: the next request starts it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub asleep: bool,
    /// Set once the instance is to go; the removal goes on after a crash.
    pub removing: Option<Removing>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removing {
    /// Milliseconds from SIGTERM to SIGKILL.
    pub grace_ms: u64,
}

impl Wanted {
    pub fn new(spec: InstanceSpec, address: Ipv4Addr) -> Wanted {
        let layers = Vec::new();
        let (healthy, failing, waterfall) = (false, None, None);
        let (restarts, asleep, removing) = (0, false, None);
        Wanted {
            version: VERSION,
            spec,
            address,
            layers,
            restarts,
            healthy,
            failing,
            waterfall,
            asleep,
            removing,
        }
    }

    /// What the checks of the running container said when this was written. Who watches it anew goes on from there.
    pub fn health(&self) -> Health {
        match &self.failing {
            _ if self.healthy => Health::Healthy,
            Some(reason) => Health::Unhealthy { reason: reason.clone() },
            None => Health::Starting { hint: None },
        }
    }

    /// The same with what they say now, and how the start went. None: they say so already; another reason for failing is
    /// not kept.
    pub fn with_health(&self, health: &Health, waterfall: &Waterfall) -> Option<Wanted> {
        let (healthy, failing) = match health {
            Health::Healthy => (true, None),
            Health::Unhealthy { reason } => (false, Some(reason.clone())),
            Health::Starting { .. } => (false, None),
        };
        let same = (healthy, failing.is_some()) == (self.healthy, self.failing.is_some());
        let waterfall = waterfall.healthy_ms.is_some().then_some(*waterfall);
        (!same).then(|| Wanted { healthy, failing, waterfall, ..self.clone() })
    }
}

/// The directory of these files.
#[derive(Clone, Debug)]
pub struct WantedList {
    dir: PathBuf,
}

impl WantedList {
    pub fn open(dir: PathBuf) -> io::Result<WantedList> {
        std::fs::create_dir_all(&dir)?;
        Ok(WantedList { dir })
    }

    pub fn put(&self, wanted: &Wanted) -> io::Result<()> {
        durable::write_json(&self.path(&wanted.spec.id), wanted)
    }

    /// A missing one is a success.
    pub fn remove(&self, id: &InstanceId) -> io::Result<()> {
        durable::remove(&self.path(id))
    }

    /// Every wish, and for files that cannot be read the reason; those stay where they are.
    pub fn read_all(&self) -> io::Result<(Vec<Wanted>, Vec<String>)> {
        let (mut found, mut problems) = (Vec::new(), Vec::new());
        for entry in std::fs::read_dir(&self.dir)? {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            match durable::read_json::<Wanted>(&path) {
                Ok(Some(wanted)) if wanted.version > VERSION => problems.push(format!(
                    "{} has version {}, this program knows {VERSION}",
                    path.display(),
                    wanted.version
                )),
                Ok(Some(wanted)) if self.path(&wanted.spec.id) == path => found.push(wanted),
                Ok(Some(wanted)) => {
                    problems.push(format!("{} is about instance {}", path.display(), wanted.spec.id));
                }
                Ok(None) => {}
                Err(error) => problems.push(error.to_string()),
            }
        }
        Ok((found, problems))
    }

    fn path(&self, id: &InstanceId) -> PathBuf {
        Path::new(&self.dir).join(format!("{id}.json"))
    }
}

/// What a newer wish changes of a running instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    pub recheck: bool,
}

/// Whether `new` may follow `old`: `None` when there is nothing to do, an error when it is refused.
pub fn judge(old: &InstanceSpec, new: &InstanceSpec) -> Result<Option<Change>, String> {
    if new.generation < old.generation {
        return Err(format!(
            "the wish for {} is of generation {}.{}, the node has {}.{}",
            new.id,
            new.generation.epoch,
            new.generation.counter,
            old.generation.epoch,
            old.generation.counter
        ));
    }
    if new == old {
        return Ok(None);
    }
    let same_container = InstanceSpec {
        generation: old.generation,
        size: old.size,
        health: old.health.clone(),
        health_grace_ms: old.health_grace_ms,
        startup_boost: old.startup_boost,
        stop_grace_ms: old.stop_grace_ms,
        idle: old.idle,
        ..new.clone()
    } == *old;
    if !same_container {
        return Err(format!(
            "of instance {} only size, health check, startup boost, grace and idle policy can change; wish a new instance",
            new.id
        ));
    }
    let recheck = (&new.health, new.health_grace_ms) != (&old.health, old.health_grace_ms);
    Ok(Some(Change { recheck }))
}

/// Whether an id can name files, cgroups and containers: 1 to 64 lower-case letters, digits and dashes.
pub fn is_plain_id(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
        && !text.starts_with('-')
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use apron_model::ids::{Digest, Generation, ServiceId};
    use apron_model::instance::{Command, HealthCheck, HealthProtocol, InstanceSize};

    pub(crate) fn spec(id: &str) -> InstanceSpec {
        InstanceSpec {
            id: InstanceId::new(id),
            generation: Generation { epoch: 1, counter: 1 },
            service: ServiceId::new("service"),
            service_name: "service".into(),
            revision: 1,
            image: Digest::new(format!("sha256:{}", "0".repeat(64))),
            command: Command::Image,
            env: Default::default(),
            port: 8080,
            size: InstanceSize { cpu_units: 256, memory_mib: 64 },
            health: HealthCheck {
                protocol: HealthProtocol::Tcp,
                interval_s: 1,
                timeout_s: 1,
                healthy_threshold: 1,
                unhealthy_threshold: 2,
            },
            health_grace_ms: 0,
            startup_boost: 1,
            stop_grace_ms: 1_000,
            idle: Default::default(),
        }
    }

    #[test]
    fn keeps_reports_and_forgets() {
        let dir = std::env::temp_dir().join(format!("apron-wanted-{}", std::process::id()));
        let list = WantedList::open(dir.clone()).unwrap();
        let mut wanted = Wanted::new(spec("a1"), Ipv4Addr::new(10, 213, 0, 2));
        list.put(&wanted).unwrap();
        wanted.removing = Some(Removing { grace_ms: 5 });
        list.put(&wanted).unwrap();
        std::fs::write(dir.join("b2.json"), "{").unwrap();
        std::fs::write(dir.join("c3.next"), "half of a file").unwrap();
        std::fs::copy(dir.join("a1.json"), dir.join("d4.json")).unwrap();
        let (found, mut problems) = list.read_all().unwrap();
        problems.sort();
        assert_eq!(found, [wanted.clone()]);
        assert_eq!(problems.len(), 2);
        assert!(problems[0].contains("b2.json"), "{problems:?}");
        assert!(problems[1].contains("d4.json is about instance a1"), "{problems:?}");
        list.remove(&wanted.spec.id).unwrap();
        list.remove(&wanted.spec.id).unwrap();
        assert!(list.read_all().unwrap().0.is_empty());
        std::fs::remove_dir_all(&dir).unwrap();
    }

    /// An instance that is listed because every one fails is listed by the next node too.
    #[test]
    fn a_verdict_outlives_the_node() {
        let fails = |reason: &str| Health::Unhealthy { reason: reason.to_owned() };
        let none = Waterfall::default();
        let new = Wanted::new(spec("a1"), Ipv4Addr::new(10, 213, 0, 2));
        assert_eq!(new.health(), Health::Starting { hint: None });
        assert_eq!(new.with_health(&Health::Starting { hint: Some("nothing listens".into()) }, &none), None);
        let mut wanted = new.clone();
        for health in [Health::Healthy, fails("no answer"), Health::Healthy, fails("status 500")] {
            wanted = wanted.with_health(&health, &none).unwrap();
            assert_eq!(wanted.with_health(&health, &none), None);
            let text = serde_json::to_string(&wanted).unwrap();
            wanted = serde_json::from_str(&text).unwrap();
            assert_eq!(wanted.health(), health);
        }
        assert_eq!(wanted.with_health(&fails("status 503"), &none), None, "each answer would be written");
        // What starts anew has no verdict yet.
        assert_eq!(wanted.with_health(&Health::Starting { hint: None }, &none), Some(new));
    }

    #[test]
    fn how_a_start_went_is_kept_with_the_verdict() {
        let new = Wanted::new(spec("a1"), Ipv4Addr::new(10, 213, 0, 2));
        let older = serde_json::to_string(&new).unwrap();
        assert!(!older.contains("waterfall"), "{older}");
        assert_eq!(serde_json::from_str::<Wanted>(&older).unwrap(), new);
        // As long as it is not over it is not known how it went.
        let begun = Waterfall { exec_ms: Some(20), ..Waterfall::default() };
        let fails = Health::Unhealthy { reason: "status 500".to_owned() };
        assert_eq!(new.with_health(&fails, &begun).unwrap().waterfall, None);
        let over = Waterfall { healthy_ms: Some(40), first_byte_ms: Some(41), ..begun };
        let mut wanted = new.with_health(&Health::Healthy, &over).unwrap();
        let text = serde_json::to_string(&wanted).unwrap();
        wanted = serde_json::from_str(&text).unwrap();
        assert_eq!((wanted.health(), wanted.waterfall), (Health::Healthy, Some(over)));
        wanted = wanted.with_health(&fails, &over).unwrap();
        assert_eq!(wanted.waterfall, Some(over), "of the same start");
        let anew = wanted.with_health(&Health::Starting { hint: None }, &Waterfall::default());
        assert_eq!(anew, Some(new));
    }

    #[test]
    fn wishes_follow_in_order() {
        let old = spec("a");
        assert_eq!(judge(&old, &old), Ok(None));

        let mut newer = old.clone();
        newer.generation = Generation { epoch: 1, counter: 2 };
        assert_eq!(judge(&old, &newer), Ok(Some(Change { recheck: false })));
        assert!(judge(&newer, &old).unwrap_err().contains("generation 1.1, the node has 1.2"));

        newer.size.memory_mib = 128;
        assert_eq!(judge(&old, &newer), Ok(Some(Change { recheck: false })));
        newer.health.interval_s = 9;
        assert_eq!(judge(&old, &newer), Ok(Some(Change { recheck: true })));
        newer.env.insert("A".into(), "b".into());
        assert!(judge(&old, &newer).unwrap_err().contains("only size, health check, startup boost"));
    }

    #[test]
    fn ids_cannot_leave_their_directory() {
        for (id, plain) in
            [("0af3", true), ("a-1", true), ("", false), ("../x", false), ("A", false), ("-a", false)]
        {
            assert_eq!(is_plain_id(id), plain, "{id}");
        }
        assert!(!is_plain_id(&"a".repeat(65)));
    }
}
