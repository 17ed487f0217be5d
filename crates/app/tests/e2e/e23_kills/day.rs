//! The scripted day: what somebody does to four services, each step until it is done, whatever is killed meanwhile.

use super::census::Census;
use super::plain::plain;
use crate::support::{Platform, eventually, http};
use apron_wire::apprunner::{
    CreateAutoScalingConfigurationRequest, CreateServiceRequest, DeleteServiceRequest,
    DescribeServiceRequest, ImageRepository, ImageRepositoryType, ListOperationsRequest, ListServicesRequest,
    OperationStatus, OperationSummary, PauseServiceRequest, ResumeServiceRequest, ServiceStatus,
    ServiceSummary, SourceConfiguration, Tag, UpdateServiceRequest,
};
use apron_wire::apron::{CancelOperationRequest, RollbackServiceRequest};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// One step, with the time that restarts take.
const STEP_MAX: Duration = Duration::from_secs(120);
/// The service that has two instances, which are replaced one by one, and whose operations may wait.
const PAIR: &str = "pair";
const NAMES: [&str; 4] = ["shop", "blog", "wiki", PAIR];

/// What somebody does in the course of the day, and what it must come to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// Create or update to an image; the text is what it answers then.
    Deploy(&'static str, &'static str),
    /// An update to an image that ends at once: the service goes on as it was.
    Break(&'static str),
    /// Back to the revision before, which answers this.
    Rollback(&'static str, &'static str),
    /// An update to an image that listens on nothing, cancelled.
    Cancel(&'static str),
    /// An update, a pause and a resumption, each behind the one before.
    Queue(&'static str, &'static str),
    Pause(&'static str),
    Resume(&'static str),
    Delete(&'static str),
}

pub(super) fn day() -> Vec<Step> {
    use Step::*;
    vec![
        Deploy(PAIR, "one"),
        Deploy("shop", "one"),
        Deploy("blog", "one"),
        Deploy("shop", "two"),
        Deploy(PAIR, "two"),
        Break("shop"),
        Pause("blog"),
        Break(PAIR),
        Deploy("wiki", "two"),
        Resume("blog"),
        Rollback(PAIR, "one"),
        Deploy("blog", "three"),
        Delete("wiki"),
        Cancel(PAIR),
        Break("blog"),
        Queue(PAIR, "three"),
        Rollback("blog", "one"),
        Pause("shop"),
        Deploy("wiki", "three"),
        Pause(PAIR),
        Resume("shop"),
        Deploy("shop", "three"),
        Resume(PAIR),
        Pause("wiki"),
        Delete("blog"),
        Deploy("blog", "two"),
    ]
}

/// How a day ends.
pub(super) struct Day {
    stands: BTreeMap<String, Stands>,
    /// How the operations of each step ended, in the order of the steps.
    operations: Vec<(&'static str, Vec<OperationStatus>)>,
    /// What the owner of the service with the longest day reads of it, and how often.
    events: BTreeMap<String, usize>,
}

/// A kill -9 that is to come within a step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kill {
    pub(super) role: &'static str,
    /// When, in thousandths of the time that the step takes without kills.
    pub(super) at: u32,
    /// From when on that is counted.
    pub(super) from: From,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum From {
    Beginning,
    /// As soon as an operation of the step is seen to be open.
    Open,
}

/// What the one who takes a step tells the one who kills.
#[derive(Default)]
struct Course {
    /// An operation of the step was open at the last look.
    open: AtomicBool,
    over: AtomicBool,
}

/// Ends a step for its killer, also where the step fails.
struct Over<'a>(&'a Course);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Relaxed);
    }
}

impl Day {
    /// What is other than on a day without kills. A line may stand there more often: a kill of control that comes between
    /// writing lines to a log and forgetting them repeats them.
    pub(super) fn faults(&self, quiet: &Day) -> Vec<String> {
        let mut faults = Vec::new();
        if self.stands != quiet.stands {
            faults.push(format!("{:?} in place of {:?}", self.stands, quiet.stands));
        }
        if self.operations != quiet.operations {
            faults.push(format!("{:?} in place of {:?}", self.operations, quiet.operations));
        }
        let count = |day: &Day, line| day.events.get(line).copied().unwrap_or_default();
        let lines: BTreeSet<&String> = self.events.keys().chain(quiet.events.keys()).collect();
        faults.extend(lines.into_iter().filter_map(|line| {
            let (got, least) = (count(self, line), count(quiet, line));
            let right = got >= least && (least > 0 || got == 0);
            (!right).then(|| format!("{got} in place of {least} times {line:?}"))
        }));
        faults
    }

    pub(super) fn operations(&self) -> usize {
        self.operations.iter().map(|(_, ended)| ended.len()).sum()
    }
}

/// How a service stands: what it shows and what it answers.
#[derive(Debug, PartialEq, Eq)]
struct Stands {
    status: String,
    image: String,
    answer: Option<String>,
    instances: usize,
}

/// A platform with what the days need, and what the kernel held of it before the first one.
pub(super) struct Town {
    pub(super) platform: Platform,
    scaling: String,
    before: Census,
}

impl Town {
    pub(super) fn new() -> Town {
        let platform = Platform::start();
        for text in ["one", "two", "three"] {
            platform.import(&format!("{text}:1"), &[("TEXT", text)]);
        }
        platform.import("broken:1", &[("MODE", "exit")]);
        platform.import("silent:1", &[("MODE", "silent")]);
        let two = CreateAutoScalingConfigurationRequest {
            min_size: Some(2),
            max_size: Some(2),
            ..CreateAutoScalingConfigurationRequest::new("pairs")
        };
        let scaling = platform.call(&two).expect("a configuration").auto_scaling_configuration;
        let scaling = scaling.auto_scaling_configuration_arn.expect("an ARN");
        let before = Census::take(&platform);
        Town { platform, scaling, before }
    }

    /// Lives the day through without kills. How it ends and how long each of its steps takes.
    pub(super) fn quiet(&self) -> (Day, Vec<Duration>) {
        let timed = |step: Step| {
            let begun = Instant::now();
            ((step.name(), statuses(&self.take(step, &Course::default()))), begun.elapsed())
        };
        let (operations, took) = day().into_iter().map(timed).unzip();
        (self.end(operations), took)
    }

    /// Lives the day through with these kills in its steps, which take so long without. How it ends, and for each step
    /// what was killed while an operation of it was open.
    pub(super) fn struck(
        &self,
        kills: &[Vec<Kill>],
        took: &[Duration],
    ) -> (Day, Vec<BTreeSet<&'static str>>) {
        let steps = day().into_iter().zip(kills.iter().zip(took));
        let lived = steps.map(|(step, (kills, took))| {
            let course = Course::default();
            std::thread::scope(|scope| {
                let killer = scope.spawn(|| self.strike(kills, *took, &course));
                let over = Over(&course);
                let ended = self.take(step, &course);
                drop(over);
                let within =
                    |at: f64| ended.iter().any(|one| one.started_at <= Some(at) && one.ended_at >= Some(at));
                let struck = killer.join().expect("the killer ends").into_iter();
                let struck = struck.filter(|(_, at)| within(*at)).map(|(role, _)| role).collect();
                ((step.name(), statuses(&ended)), struck)
            })
        });
        let (operations, struck) = lived.unzip();
        (self.end(operations), struck)
    }

    /// Makes the kills of a step, in their order. What was killed, and when, in seconds since 1970.
    fn strike(&self, kills: &[Kill], took: Duration, course: &Course) -> Vec<(&'static str, f64)> {
        let begun = Instant::now();
        let mut opened = None;
        let kill = |kill: &Kill| {
            let since = match kill.from {
                From::Beginning => begun,
                From::Open => *opened.get_or_insert_with(|| {
                    while !course.open.load(Ordering::Relaxed) && !course.over.load(Ordering::Relaxed) {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    Instant::now()
                }),
            };
            std::thread::sleep((took * kill.at / 1000).saturating_sub(since.elapsed()));
            let process = self.platform.process(kill.role);
            let at = now();
            process.kill();
            (kill.role, at)
        };
        kills.iter().map(kill).collect()
    }

    fn end(&self, operations: Vec<(&'static str, Vec<OperationStatus>)>) -> Day {
        let stands = self.stands();
        let shown = self.platform.run(&["logs", PAIR, "--events"]);
        let mut events = BTreeMap::new();
        // The first word is the time.
        let lines = shown.lines().map(|line| plain(line.split_whitespace().skip(1)));
        for line in lines.filter(|line| !may_differ(line)) {
            *events.entry(line).or_default() += 1;
        }
        Day { stands, operations, events }
    }

    /// Deletes every service; the kernel holds then what it held before there was one.
    pub(super) fn clear(&self) {
        for name in NAMES {
            let ended = self.take(Step::Delete(name), &Course::default());
            assert_eq!(statuses(&ended), [OperationStatus::Succeeded]);
        }
        self.holds(0);
    }

    /// Waits until the kernel holds what so many instances need and nothing else.
    fn holds(&self, instances: usize) {
        let expect = self.before.with(instances);
        eventually(STEP_MAX, "what the instances need and nothing else", || {
            let found = Census::take(&self.platform);
            if found == expect { Ok(()) } else { Err(format!("{found:?} in place of {expect:?}")) }
        });
    }

    /// Does the step until it is done: a call that broke with control is made again unless its operation is there. Its
    /// operations, which have ended, oldest first.
    fn take(&self, step: Step, course: &Course) -> Vec<OperationSummary> {
        let (arn, known) = eventually(STEP_MAX, "the service as it is before a step", || {
            let arn = self.find(step.name())?;
            let newest = arn.as_ref().map(|arn| self.operations(arn)).transpose()?.unwrap_or_default();
            Ok((arn, newest.into_iter().next().and_then(|newest| newest.id)))
        });
        let ended = eventually(STEP_MAX, &format!("{step:?}"), || {
            let arn = match &arn {
                Some(arn) => Some(arn.clone()),
                None => self.find(step.name())?,
            };
            let Some(arn) = arn else {
                self.create(step)?;
                return Err("it is being created".to_owned());
            };
            let mut since = self.operations(&arn)?;
            since.truncate(since.iter().position(|one| one.id == known).unwrap_or(since.len()));
            course.open.store(since.iter().any(|one| !is_ended(one)), Ordering::Relaxed);
            if since.len() < step.calls() {
                self.call(step, &arn, since.len())?;
                return Err("its calls are being made".to_owned());
            }
            // Not before its instance runs, so that every day has one revision for it.
            if matches!(step, Step::Cancel(name) if self.platform.applications(name).len() > 2)
                && !is_ended(&since[0])
            {
                self.platform.call(&CancelOperationRequest::new(&arn))?;
            }
            match since.iter().find(|one| !is_ended(one)) {
                Some(open) => Err(format!("{:?} is open", open.r#type)),
                None => {
                    since.reverse();
                    Ok(since)
                }
            }
        });
        if let Some(text) = step.text() {
            eventually(STEP_MAX, &format!("an answer after {step:?}"), || {
                let answer = http::get(&self.platform.apps, &self.platform.alias(step.name()), "/");
                let body = answer.map_err(|error| error.to_string())?.body;
                if body == text { Ok(()) } else { Err(body) }
            });
        }
        ended
    }

    /// Makes the call of this place in the step.
    fn call(&self, step: Step, arn: &str, place: usize) -> Result<(), String> {
        let call = |text| {
            let source_configuration = Some(source(text));
            let update = UpdateServiceRequest { source_configuration, ..UpdateServiceRequest::new(arn) };
            self.platform.call(&update).map(drop)
        };
        let service_arn = arn.to_owned();
        match (step, place) {
            (Step::Deploy(_, text) | Step::Queue(_, text), 0) => call(text),
            (Step::Break(_), _) => call("broken"),
            (Step::Cancel(_), _) => call("silent"),
            (Step::Rollback(..), _) => self.platform.call(&RollbackServiceRequest::new(arn)).map(drop),
            (Step::Pause(_), _) | (Step::Queue(..), 1) => {
                self.platform.call(&PauseServiceRequest { service_arn }).map(drop)
            }
            (Step::Resume(_), _) | (Step::Queue(..), _) => {
                self.platform.call(&ResumeServiceRequest { service_arn }).map(drop)
            }
            (Step::Delete(_), _) => self.platform.call(&DeleteServiceRequest { service_arn }).map(drop),
            (Step::Deploy(..), _) => Err("it has one call".to_owned()),
        }
    }

    fn create(&self, step: Step) -> Result<(), String> {
        let Step::Deploy(name, text) = step else { return Err(format!("there is no {}", step.name())) };
        let mut create = CreateServiceRequest::new(name, source(text));
        if name == PAIR {
            create.auto_scaling_configuration_arn = Some(self.scaling.clone());
            let tag = |key: &str, value: &str| Tag { key: Some(key.into()), value: Some(value.into()) };
            create.tags = Some(vec![tag("apron:deploy", "rolling"), tag("apron:queue-operations", "true")]);
        }
        self.platform.call(&create).map(drop)
    }

    /// The ARN of the service of this name, if there is one.
    fn find(&self, name: &str) -> Result<Option<String>, String> {
        let services = self.list()?;
        let found = services.into_iter().find(|service| service.service_name.as_deref() == Some(name));
        Ok(found.and_then(|service| service.service_arn))
    }

    fn list(&self) -> Result<Vec<ServiceSummary>, String> {
        Ok(self.platform.call(&ListServicesRequest::default())?.service_summary_list)
    }

    /// Newest first; no service of a day has more than a page of them.
    fn operations(&self, arn: &str) -> Result<Vec<OperationSummary>, String> {
        let page = self.platform.call(&ListOperationsRequest::new(arn))?;
        Ok(page.operation_summary_list.unwrap_or_default())
    }

    /// How all services stand once what drains is gone.
    fn stands(&self) -> BTreeMap<String, Stands> {
        let stands: BTreeMap<String, Stands> =
            NAMES.into_iter().map(|name| (name.to_owned(), self.stand(name))).collect();
        self.holds(stands.values().map(|stand| stand.instances).sum());
        stands
    }

    fn stand(&self, name: &str) -> Stands {
        let shown = eventually(STEP_MAX, "a description", || {
            let service_arn = self.find(name)?.ok_or("it is gone")?;
            Ok(self.platform.call(&DescribeServiceRequest { service_arn })?.service)
        });
        let running = shown.status == ServiceStatus::Running;
        let wished = match (running, name) {
            (false, _) => 0,
            (true, PAIR) => 2,
            (true, _) => 1,
        };
        let instances = eventually(STEP_MAX, "the instances that are wished", || {
            let living = self.platform.applications(name).len();
            if living == wished { Ok(living) } else { Err(format!("{living} of {name}")) }
        });
        let get = || http::get(&self.platform.apps, &self.platform.alias(name), "/").expect("an answer").body;
        let image = shown.source_configuration.image_repository.expect("an image").image_identifier;
        Stands { status: shown.status.to_string(), image, answer: running.then(get), instances }
    }
}

/// The one place where a line may be there in one day and lacking in another.
fn may_differ(line: &str) -> bool {
    // A call that is made again after a kill may come when the operation before it has ended, and waits for nothing; or
    // sooner or later than what drained before it has stopped.
    let waited = line.starts_with("The operation with ID : ID is next.") || line.starts_with("Draining ");
    // An instance whose node is killed while it starts begins anew, and a check that the kill cut short has failed.
    let again = ["Instance ID stopped and is to be started anew.", "Instance ID fails its health check"];
    waited || again.iter().any(|words| line.starts_with(words)) || line == "Instance ID is healthy again."
}

fn source(text: &str) -> SourceConfiguration {
    let image = ImageRepository::new(format!("{text}:1"), ImageRepositoryType::EcrPublic);
    SourceConfiguration {
        image_repository: Some(image),
        auto_deployments_enabled: Some(false),
        ..SourceConfiguration::default()
    }
}

/// By the clock that operations are stamped with.
#[expect(clippy::disallowed_methods, reason = "compared with what the API shows")]
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_secs_f64()
}

fn statuses(operations: &[OperationSummary]) -> Vec<OperationStatus> {
    operations.iter().filter_map(|one| one.status).collect()
}

fn is_ended(operation: &OperationSummary) -> bool {
    use OperationStatus::{InProgress, Pending, RollbackInProgress};
    !matches!(operation.status, None | Some(Pending | InProgress | RollbackInProgress))
}

impl Step {
    /// What is done, whatever it is done to.
    pub(super) fn kind(self) -> &'static str {
        match self {
            Step::Deploy(..) => "deploy",
            Step::Break(_) => "break",
            Step::Rollback(..) => "rollback",
            Step::Cancel(_) => "cancel",
            Step::Queue(..) => "queue",
            Step::Pause(_) => "pause",
            Step::Resume(_) => "resume",
            Step::Delete(_) => "delete",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Step::Deploy(name, _)
            | Step::Break(name)
            | Step::Rollback(name, _)
            | Step::Cancel(name)
            | Step::Queue(name, _)
            | Step::Pause(name)
            | Step::Resume(name)
            | Step::Delete(name) => name,
        }
    }

    /// What the service answers when it is done, where the step says it.
    fn text(self) -> Option<&'static str> {
        match self {
            Step::Deploy(_, text) | Step::Rollback(_, text) | Step::Queue(_, text) => Some(text),
            Step::Break(_) | Step::Cancel(_) | Step::Pause(_) | Step::Resume(_) | Step::Delete(_) => None,
        }
    }

    /// How many calls it has that begin an operation.
    fn calls(self) -> usize {
        if matches!(self, Step::Queue(..)) { 3 } else { 1 }
    }
}
