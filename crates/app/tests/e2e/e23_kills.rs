//! A scripted day of operations while control, node and proxy are killed at random moments: it ends as the same day
//! without kills ends. Real processes, kill -9; the seed of the moments is printed. Needs root.

use crate::support::{Platform, eventually, http};
use apron_wire::apprunner::{
    DescribeServiceRequest, ListOperationsRequest, ListServicesRequest, OperationStatus, Service,
    ServiceStatus, ServiceSummary,
};
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const KILLS: u32 = 50;
/// Between two kills: from a quarter of a deployment to several.
const PAUSE_MS: std::ops::Range<u64> = 50..900;
/// One step, with the time that restarts take.
const STEP_MAX: Duration = Duration::from_secs(90);

/// What somebody does in the course of the day, and what it must come to.
enum Step {
    /// Create or update to an image; the text is what it answers then.
    Deploy(&'static str, &'static str),
    /// An update to an image that ends at once: the service goes on as it was.
    Break(&'static str),
    Pause(&'static str),
    Resume(&'static str),
    Delete(&'static str),
}

fn day() -> Vec<Step> {
    use Step::*;
    vec![
        Deploy("shop", "one"),
        Deploy("blog", "one"),
        Deploy("shop", "two"),
        Break("shop"),
        Pause("blog"),
        Deploy("wiki", "two"),
        Resume("blog"),
        Deploy("blog", "three"),
        Delete("wiki"),
        Break("blog"),
        Pause("shop"),
        Deploy("wiki", "three"),
        Resume("shop"),
        Deploy("shop", "three"),
        Pause("wiki"),
        Delete("blog"),
        Deploy("blog", "two"),
    ]
}

/// How a day ends.
#[derive(Debug, PartialEq, Eq)]
struct Day {
    stands: BTreeMap<String, Stands>,
    /// How the operation of each step ended, in the order of the steps.
    operations: Vec<(&'static str, OperationStatus)>,
}

/// How a service stands: what it shows and what it answers.
#[derive(Debug, PartialEq, Eq)]
struct Stands {
    status: String,
    image: String,
    answer: Option<String>,
    instances: usize,
}

#[test]
#[ignore = "long: the long list runs it"]
fn a_day_with_fifty_kills_ends_as_one_without() {
    let quiet = Platform::start();
    prepare(&quiet);
    let (expect, _) = live(&quiet, &AtomicBool::new(true));
    drop(quiet);

    let seed = std::env::var("APRON_KILLS_SEED").map_or_else(
        |_| std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0),
        |text| text.parse().expect("APRON_KILLS_SEED is a number"),
    );
    say(&format!("SEED: APRON_KILLS_SEED={seed} repeats the moments of the kills"));
    let platform = Platform::start();
    prepare(&platform);
    let over = AtomicBool::new(false);
    let (got, days) = std::thread::scope(|scope| {
        let killer = scope.spawn(|| {
            // A failed day must not leave the killer running.
            kill(&platform, seed);
            over.store(true, Ordering::Relaxed);
        });
        let got = live(&platform, &over);
        killer.join().expect("the killer ends");
        got
    });
    assert_eq!(got, expect);
    let operations = got.operations.len();
    say(&format!(
        "COUNT: {KILLS} kills of control, node and proxy in {days} days of {operations} operations each"
    ));
    // What was routed last answers without a failure once nothing is killed any more.
    let load = http::Load::start(&platform.apps, &platform.alias("shop"), 1);
    std::thread::sleep(Duration::from_secs(1));
    let (count, failures) = load.stop();
    assert!(count > 10 && failures.is_empty(), "{} of {count}: {failures:#?}", failures.len());
}

/// A line that libtest does not keep to itself: the page of the long list has the seed also of a day that went well.
fn say(line: &str) {
    let mut out = std::io::stdout();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

fn prepare(platform: &Platform) {
    for text in ["one", "two", "three"] {
        platform.import(&format!("{text}:1"), &[("TEXT", text)]);
    }
    platform.import("broken:1", &[("MODE", "exit")]);
}

/// Lives the day through, again and again until `over`, and says how the last one ended and how many there were.
/// Whatever is killed, the operations of each day end alike.
fn live(platform: &Platform, over: &AtomicBool) -> (Day, u32) {
    let mut first = None;
    let mut days = 0;
    loop {
        days += 1;
        // Before the day: a last one that began before the end of the kills is lived to its end, too.
        let last = over.load(Ordering::Relaxed);
        let operations: Vec<_> =
            day().iter().map(|step| (name(step), take(platform, step).expect("an operation"))).collect();
        assert_eq!(operations, *first.get_or_insert_with(|| operations.clone()));
        if last {
            return (Day { stands: stands(platform), operations }, days);
        }
        for name in ["shop", "blog", "wiki"] {
            take(platform, &Step::Delete(name));
        }
    }
}

/// Does the step until it is done: a call that broke with control is made again. How its operation ended; None where
/// there was no service.
fn take(platform: &Platform, step: &Step) -> Option<OperationStatus> {
    let began = Instant::now();
    let mut said = String::new();
    // Also of a service that is deleted in the end.
    let mut arn = None;
    while began.elapsed() < STEP_MAX {
        let name = name(step);
        let shown = describe(platform, name);
        if let Ok(Some(shown)) = &shown {
            arn = Some(shown.service_arn.clone());
        }
        let status = shown.as_ref().map(|shown| shown.as_ref().map(|shown| shown.status));
        let done = match (step, &shown, status) {
            (Step::Deploy(name, text), Ok(Some(shown)), Ok(Some(ServiceStatus::Running))) => {
                image(shown) == format!("{text}:1") && answers(platform, name, text)
            }
            (Step::Pause(_), _, Ok(Some(ServiceStatus::Paused))) => true,
            (Step::Resume(_), _, Ok(Some(ServiceStatus::Running))) => true,
            (Step::Delete(_), _, Ok(None)) => true,
            // It is done when it has been tried; see below.
            _ => false,
        };
        if done {
            return arn.map(|arn| ended(platform, &arn));
        }
        match (shown, step) {
            (Err(error), _) => said = error,
            (Ok(Some(shown)), _) if shown.status == ServiceStatus::OperationInProgress => {}
            (Ok(_), step) => {
                said = act(platform, step);
                if matches!(step, Step::Break(_)) && said.contains("cannot find the database") {
                    return arn.map(|arn| ended(platform, &arn));
                }
            }
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("a step was not done within {} s: {said}", STEP_MAX.as_secs());
}

/// How the newest operation of this service ended, once it has.
fn ended(platform: &Platform, arn: &str) -> OperationStatus {
    eventually(STEP_MAX, "the end of an operation", || {
        let page = platform.call(&ListOperationsRequest::new(arn))?;
        let newest = page.operation_summary_list.and_then(|list| list.into_iter().next());
        match newest.and_then(|newest| newest.status) {
            Some(
                OperationStatus::Pending | OperationStatus::InProgress | OperationStatus::RollbackInProgress,
            ) => Err("it is open".to_owned()),
            Some(status) => Ok(status),
            None => Err("there is none".to_owned()),
        }
    })
}

fn name(step: &Step) -> &'static str {
    match step {
        Step::Deploy(name, _)
        | Step::Break(name)
        | Step::Pause(name)
        | Step::Resume(name)
        | Step::Delete(name) => name,
    }
}

/// Makes the call and gives what was said, on success and on failure.
fn act(platform: &Platform, step: &Step) -> String {
    let arguments: Vec<String> = match step {
        Step::Deploy(name, text) => {
            vec!["deploy".into(), format!("{text}:1"), "--name".into(), (*name).into()]
        }
        Step::Break(name) => vec!["deploy".into(), "broken:1".into(), "--name".into(), (*name).into()],
        Step::Pause(name) => vec!["pause".into(), (*name).into()],
        Step::Resume(name) => vec!["resume".into(), (*name).into()],
        Step::Delete(name) => vec!["rm".into(), (*name).into()],
    };
    let output = platform.apron(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// As DescribeService shows the service of this name, if there is one.
fn describe(platform: &Platform, name: &str) -> Result<Option<Service>, String> {
    let services = list(platform)?;
    let found = services.into_iter().find(|service| service.service_name.as_deref() == Some(name));
    let Some(arn) = found.and_then(|service| service.service_arn) else { return Ok(None) };
    Ok(Some(platform.call(&DescribeServiceRequest { service_arn: arn })?.service))
}

fn list(platform: &Platform) -> Result<Vec<ServiceSummary>, String> {
    Ok(platform.call(&ListServicesRequest::default())?.service_summary_list)
}

fn image(shown: &Service) -> &str {
    let repository = shown.source_configuration.image_repository.as_ref();
    repository.map_or("", |repository| repository.image_identifier.as_str())
}

fn answers(platform: &Platform, name: &str, text: &str) -> bool {
    http::get(&platform.apps, &platform.alias(name), "/").is_ok_and(|answer| answer.body == text)
}

fn stands(platform: &Platform) -> BTreeMap<String, Stands> {
    let all = eventually(STEP_MAX, "all services", || list(platform));
    let one = |service: &ServiceSummary| {
        let name = service.service_name.clone().expect("a name");
        let shown = eventually(STEP_MAX, "a description", || {
            let shown = describe(platform, &name)?.ok_or("it is gone")?;
            let busy = shown.status == ServiceStatus::OperationInProgress;
            if busy { Err("an operation is open".to_owned()) } else { Ok(shown) }
        });
        let running = shown.status == ServiceStatus::Running;
        let wished = usize::from(running);
        // What drains goes.
        let instances = eventually(STEP_MAX, "the instances that are wished", || {
            let living = platform.applications(&name).len();
            if living == wished { Ok(living) } else { Err(format!("{living} of {name}")) }
        });
        let answer =
            running.then(|| http::get(&platform.apps, &platform.alias(&name), "/").expect("an answer").body);
        let stands =
            Stands { status: shown.status.to_string(), image: image(&shown).to_owned(), answer, instances };
        (name, stands)
    };
    all.iter().map(one).collect()
}

fn kill(platform: &Platform, seed: u64) {
    let mut state = seed;
    let mut draw = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    for _ in 0..KILLS {
        let pause = PAUSE_MS.start + draw(PAUSE_MS.end - PAUSE_MS.start);
        std::thread::sleep(Duration::from_millis(pause));
        let role = ["control", "node", "proxy"][draw(3) as usize];
        platform.process(role).kill();
    }
}
