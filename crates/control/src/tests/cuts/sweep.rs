//! The same done uncut, then once for each cut: it must come to the same end, and every log that its owner reads must
//! say the same.

use super::plain::plain;
use crate::tests::rig::*;
use apron_compute::sim::{Effect, World};
use apron_model::ids::{InstanceId, ServiceId};
use apron_model::instance::InstanceSpec;
use apron_model::operation::{Line, Operation, OperationKind, OperationStatus};
use apron_model::service::{ServiceConfig, State};
use apron_store::PendingLine;
use apron_telemetry::{Cursor, Stream};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::io::Write;

/// More than any operation of these tests writes.
const LINES_MAX: u32 = 1000;
/// Stands in a `Logbook` for the end of a deployment's log, of which followers are told.
const LOG_END: &str = "(no further line comes)";

/// How a service stands, as callers, its instances and the proxy's table show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stand {
    /// Oldest first, with the reasons of their ends.
    pub(super) operations: Vec<(OperationKind, OperationStatus, Option<String>)>,
    pub(super) state: State,
    pub(super) active: Option<u32>,
    pub(super) candidate: Option<u32>,
    pub(super) config: ServiceConfig,
    pub(super) images: Vec<String>,
    pub(super) routed: Vec<(u32, usize)>,
}

impl Stand {
    pub(super) async fn of(bench: &Bench, rig: &Rig, id: &ServiceId) -> Stand {
        let service = rig.service(id).await;
        let own = bench.world.specs().into_iter().filter(|spec| spec.service == *id);
        let mut images: Vec<String> = own.map(|spec| spec.image.as_str().to_owned()).collect();
        images.sort();
        let served = bench.proxy.lock().unwrap().clone();
        let routed = served.iter().flat_map(|table| &table.services).filter(|service| service.id == *id);
        let ended = |row: Operation| (row.kind, row.status, row.fault.map(|fault| fault.reason));
        Stand {
            operations: operations(rig, id).await.into_iter().map(ended).collect(),
            state: service.state,
            active: service.active,
            candidate: service.candidate,
            config: service.config,
            images,
            routed: routed.map(|service| (service.revision, service.instances.len())).collect(),
        }
    }
}

/// Of a service, oldest first.
pub(super) async fn operations(rig: &Rig, id: &ServiceId) -> Vec<Operation> {
    let mut rows = rig.store.operation_list(id, None, LINES_MAX).await.unwrap().operations;
    rows.reverse();
    rows
}

/// What the owners of services read, line by line, with how often it stands there. Times, durations and ids are left
/// out: they are other ones after a cut. Logs are named by the places of their service and operation.
#[derive(Debug, Default)]
struct Logbook(BTreeMap<(String, String), usize>);

impl Logbook {
    async fn read(rig: &Rig, services: &[ServiceId]) -> Logbook {
        let mut book = Logbook::default();
        for (service, id) in services.iter().enumerate() {
            book.add(format!("events of {service}"), rig.events(id));
            for (place, operation) in operations(rig, id).await.into_iter().enumerate() {
                let log = Stream::Deployment(id.clone(), operation.id);
                let page = rig.logs.read(&log, Cursor::START, LINES_MAX as usize).unwrap();
                let end = page.end.then(|| LOG_END.to_owned());
                let lines = page.lines.into_iter().map(|line| line.text).chain(end);
                book.add(format!("operation {place} of {service}"), lines);
            }
        }
        book
    }

    /// What waits to be taken out of the database, and may stand in the logs already.
    async fn waiting(rig: &Rig, services: &[ServiceId], late: &[PendingLine]) -> Logbook {
        let mut book = Logbook::default();
        for pending in late {
            let service = services.iter().position(|id| *id == pending.service).unwrap();
            match (&pending.line, &pending.operation) {
                (Line::Event(text), _) => book.add(format!("events of {service}"), [text.clone()]),
                (line @ (Line::Deployment(_) | Line::DeploymentEnd), Some(id)) => {
                    let rows = operations(rig, &pending.service).await;
                    let place = rows.iter().position(|row| row.id == *id).unwrap();
                    let text = if let Line::Deployment(text) = line { text } else { LOG_END };
                    book.add(format!("operation {place} of {service}"), [text.to_owned()]);
                }
                (Line::Deployment(_) | Line::DeploymentEnd, None) => {}
            }
        }
        book
    }

    fn add(&mut self, log: String, lines: impl IntoIterator<Item = String>) {
        for line in lines {
            *self.0.entry((log.clone(), plain(line.split(' ')))).or_default() += 1;
        }
    }

    fn count(&self, line: &(String, String)) -> usize {
        self.0.get(line).copied().unwrap_or_default()
    }

    /// What a cut has taken from these lines or added to them without leave; `waiting` were on their way when it came,
    /// and may have arrived without that the database knew.
    fn faults(&self, cut: &Logbook, waiting: &Logbook) -> Vec<String> {
        let lines: BTreeSet<&(String, String)> = self.0.keys().chain(cut.0.keys()).collect();
        let fault = |line: &&(String, String)| {
            let (uncut, cut, late) = (self.count(line), cut.count(line), waiting.count(line));
            let (least, most) = match leave(&line.1) {
                Leave::None => (uncut, uncut + late),
                Leave::Often => (uncut.min(1), if uncut > 0 { usize::MAX } else { late }),
                Leave::Any => (0, usize::MAX),
            };
            let right = (least..=most).contains(&cut);
            (!right).then(|| format!("{cut} in place of {uncut} times in {line:?}"))
        };
        lines.iter().filter_map(fault).collect()
    }
}

/// How else than uncut a line may stand in a log.
enum Leave {
    None,
    /// Another number of times.
    Often,
    Any,
}

/// The one place where a line is given leave to differ.
fn leave(line: &str) -> Leave {
    // A build that is cut short begins anew, and says again what it has said; an application that ends is started
    // anew until somebody decides what becomes of it.
    let often = ["[Build] ", "[AppRunner] Stage ", "Instance ID stopped and is to be started anew."];
    if often.iter().any(|words| line.starts_with(words)) {
        return Leave::Often;
    }
    // One that was cut before it made an instance may find that it is not needed; `told_once` looks at those that were.
    let stopped = line.starts_with("Instance ID of revision ") && line.ends_with(" has stopped.");
    if stopped { Leave::Any } else { Leave::None }
}

/// Every instance that was there and is gone has stopped, and its service's events say so once, or twice where the
/// line was on its way at the cut.
fn told_once(events: &[String], before: &[InstanceSpec], world: &World, waiting: &[String]) -> Vec<String> {
    let made = world.take_effects().into_iter().filter_map(|effect| match effect {
        Effect::Ensured { id, .. } => Some(id),
        Effect::Removed(_) => None,
    });
    let there: BTreeSet<InstanceId> = world.specs().into_iter().map(|spec| spec.id).collect();
    let all: BTreeSet<InstanceId> = made.chain(before.iter().map(|spec| spec.id.clone())).collect();
    let wrong = all.difference(&there).filter(|id| {
        let of = |line: &&String| {
            line.starts_with(&format!("Instance {id} of revision ")) && line.contains(" has stopped")
        };
        let (told, late) = (events.iter().filter(of).count(), waiting.iter().filter(of).count());
        !(1..=1 + late).contains(&told)
    });
    wrong.map(|id| format!("the end of instance {id}")).collect()
}

fn event(line: Line) -> Option<String> {
    match line {
        Line::Event(text) => Some(text),
        Line::Deployment(_) | Line::DeploymentEnd => None,
    }
}

/// Runs it uncut, hands its end to `check`, then with so many cuts spread evenly, or with each. How many there were.
/// What `run` gives beside the end is of the uncut run alone: what it saw before a cut is forgotten with it.
pub(super) async fn sweep<End: PartialEq + Debug, Seen>(
    what: &str,
    template: &Bench,
    services: &[ServiceId],
    cuts_max: Option<u64>,
    run: impl AsyncFn(&Bench, &mut Rig) -> (End, Seen),
    check: impl FnOnce(&End, Seen),
) -> usize {
    let events = |rig: &Rig| services.iter().flat_map(|id| rig.events(id)).collect::<Vec<String>>();
    let before = template.world.specs();
    template.world.take_effects();
    let bench = template.fork().await;
    let mut rig = bench.start().await;
    let (done, passes) = bench.gate.alone(run(&bench, &mut rig), None).await;
    let (expect, seen) = done.expect("uncut");
    check(&expect, seen);
    let lines = Logbook::read(&rig, services).await;
    assert!(rig.store.line_list(1).await.unwrap().is_empty(), "{what}: all lines are in the logs");
    assert_eq!(told_once(&events(&rig), &before, &bench.world, &[]), Vec::<String>::new(), "{what}");

    let stride = cuts_max.map_or(1, |max| passes.div_ceil(max).max(1));
    // Other ones for each.
    let first = 1 + (what.len() as u64 + passes) % stride;
    let cuts = (first..passes).step_by(usize::try_from(stride).unwrap());
    for cut in cuts.clone() {
        let bench = template.fork().await;
        let mut rig = bench.start().await;
        let (early, _) = bench.gate.alone(run(&bench, &mut rig), Some(cut)).await;
        assert!(early.is_none(), "{what}: the same was done in fewer steps than {cut} of {passes}");
        let late = rig.store.line_list(LINES_MAX).await.unwrap();
        let waiting = Logbook::waiting(&rig, services, &late).await;
        drop(rig);
        let mut rig = bench.start().await;
        let (got, _) = run(&bench, &mut rig).await;
        assert_eq!(got, expect, "{what}: cut after {cut} of {passes} steps");
        let mut faults = lines.faults(&Logbook::read(&rig, services).await, &waiting);
        let late: Vec<String> = late.into_iter().filter_map(|pending| event(pending.line)).collect();
        faults.extend(told_once(&events(&rig), &before, &bench.world, &late));
        assert_eq!(faults, Vec::<String>::new(), "{what}: cut after {cut} of {passes} steps");
    }
    cuts.count()
}

/// Says how many cuts there were past libtest, which keeps what a test prints to itself.
pub(super) fn say(what: &str, cases: usize, cuts: usize, cuts_max: Option<u64>) {
    let which = if cuts_max.is_some() { "spread evenly" } else { "at every step" };
    let _ = writeln!(std::io::stdout(), "COUNT: {what}: {cases} cases, {cuts} cuts, {which}");
}
