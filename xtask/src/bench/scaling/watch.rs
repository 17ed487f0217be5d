//! How many instances a platform has over time, by what its node and its proxy have written down.
//!
//! An instance counts from when the node has it as wanted to when it was told to end it, drains included: the application
//! ends at once when it is told to. Its start begins with the wish in control's row and is over when the proxy's table
//! names it.

use crate::bench::instances::Wanted;
use crate::bench::interrupt;
use anyhow::Result;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

/// Between two looks.
const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// What was seen.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Seen {
    pub(super) instance_seconds: f64,
    /// When each instance that came meanwhile had its place in the table, in ms since the beginning.
    pub(super) routed_ms: BTreeMap<String, f64>,
    /// The most that there were at a time.
    pub(super) most: usize,
}

/// Looks at the data directory of a platform that runs one service, from `began` on.
pub(super) fn watch(data: &Path, began: Instant, time: Duration) -> Result<Seen> {
    let routes = data.join("proxy/routes.json");
    let mut count = Count::new(instances(data)?);
    while began.elapsed() < time {
        interrupt::check()?;
        std::thread::sleep(LOOK_PAUSE);
        let now = instances(data)?;
        let routed = if count.awaits_any() { routed(&routes) } else { BTreeSet::new() };
        count.look(began.elapsed().min(time).as_secs_f64(), now, &routed);
    }
    Ok(count.seen)
}

/// Instances that the node has and was not told to end.
fn instances(data: &Path) -> Result<BTreeSet<String>> {
    let stays = |wanted: &Wanted| wanted.read().is_some_and(|wish| wish["removing"].is_null());
    let all = Wanted::list(data)?.into_iter().filter(stays);
    Ok(all.map(|wanted| wanted.id).collect())
}

/// Instances in the proxy's table, which is replaced in one step.
fn routed(routes: &Path) -> BTreeSet<String> {
    let text = std::fs::read(routes).unwrap_or_default();
    let saved: Value = serde_json::from_slice(&text).unwrap_or_default();
    let services = saved["table"]["services"].as_array().into_iter().flatten();
    let instances = services.flat_map(|service| service["instances"].as_array().into_iter().flatten());
    instances.filter_map(|instance| instance["id"].as_str().map(str::to_owned)).collect()
}

struct Count {
    seen: Seen,
    at_s: f64,
    known: BTreeSet<String>,
    /// Came, and are not routed yet.
    starting: BTreeSet<String>,
}

impl Count {
    fn new(first: BTreeSet<String>) -> Count {
        let seen = Seen { most: first.len(), ..Seen::default() };
        Count { seen, at_s: 0.0, known: first, starting: BTreeSet::new() }
    }

    fn awaits_any(&self) -> bool {
        !self.starting.is_empty()
    }

    /// `at_s` since the beginning. What changed did so since the last look: on average in the middle.
    fn look(&mut self, at_s: f64, now: BTreeSet<String>, routed: &BTreeSet<String>) {
        let mean = (self.known.len() + now.len()) as f64 / 2.0;
        self.seen.instance_seconds += mean * (at_s - self.at_s);
        self.seen.most = self.seen.most.max(now.len());
        self.starting.extend(now.difference(&self.known).cloned());
        let middle_ms = 1e3 * (self.at_s + at_s) / 2.0;
        for id in self.starting.intersection(routed) {
            self.seen.routed_ms.insert(id.clone(), middle_ms);
        }
        self.starting.retain(|id| now.contains(id) && !routed.contains(id));
        (self.known, self.at_s) = (now, at_s);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ids: &[&str]) -> BTreeSet<String> {
        ids.iter().map(|id| (*id).to_owned()).collect()
    }

    #[test]
    fn instances_are_counted_from_their_wish_and_starts_until_the_table() {
        let mut count = Count::new(set(&["a"]));
        count.look(1.0, set(&["a", "b", "c"]), &set(&[]));
        assert!(count.awaits_any());
        count.look(2.0, set(&["a", "b", "c"]), &set(&["a", "b"]));
        count.look(3.0, set(&["a"]), &set(&["a", "b"]));
        assert!(!count.awaits_any(), "what ends before it serves has no start");
        let routed_ms = BTreeMap::from([("b".to_owned(), 1_500.0)]);
        assert_eq!(count.seen, Seen { instance_seconds: 7.0, routed_ms, most: 3 });
    }

    #[test]
    fn files_say_who_is_wanted_and_who_is_routed() {
        let directory = crate::bench::process::Directory::new("watch").unwrap();
        std::fs::create_dir_all(directory.0.join("node/wanted")).unwrap();
        directory.write("node/wanted/a.json", "{\"removing\":null}").unwrap();
        directory.write("node/wanted/b.json", "{\"removing\":{\"grace_ms\":1}}").unwrap();
        directory.write("node/wanted/c.tmp", "").unwrap();
        assert_eq!(instances(&directory.0).unwrap(), set(&["a"]));
        let routes = "{\"table\":{\"services\":[{\"instances\":[{\"id\":\"a\"}]},{\"instances\":[]}]}}";
        let path = directory.write("routes", routes).unwrap();
        assert_eq!(routed(Path::new(&path)), set(&["a"]));
        assert_eq!(routed(Path::new("/nowhere")), set(&[]));
    }
}
