//! A thousand services of a static binary on one machine: ten that are asked, 490 frozen, 500 without a process. What the
//! platform and the kernel take for them.

use super::instances::{self, Rung};
use super::many::{create, names, wait};
use super::ours::Ours;
use super::platform::{self, Platform};
use super::{Effort, Outcome, Verdict};
use anyhow::{Result, anyhow};
use serde_json::json;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const ZERO: usize = 500;
const FROZEN: usize = 490;
const ACTIVE: usize = 10;
/// Those with a process that come after the ones without; one was there before.
const KEPT: usize = FROZEN + ACTIVE - 1;
/// Each of the active ones is asked so often, which keeps it from being throttled.
const ASK_PERIOD: Duration = Duration::from_millis(500);
/// Built-in configurations and the like count.
const CONFIGURATION: &str = "[quotas]\nservices = 2000\n";
/// What began with the last deployment is over.
const SETTLE: Duration = Duration::from_secs(30);
/// MiB, and hundredths of a core.
const PSS_BAR_MIB: f64 = 384.0;
const CPU_BAR_PERCENT: f64 = 2.0;

pub(super) fn run(root: &Path, effort: Effort) -> Result<Outcome> {
    let platform = Platform::start_configured(&platform::binary(root)?, "thousand", CONFIGURATION)?;
    platform.import_static_image(root)?;
    // Until the first one is there, parts of the platform have nothing in them at all.
    let soon = |lowest: &str| json!({ "apron:idle": lowest, "apron:idle-after-ms": "100/200/300" });
    let frozen = names("frozen", FROZEN);
    let (first, others) = frozen.split_at(1);
    create(&platform, root, first, &soon("freeze"))?;
    wait(SETTLE)?;
    let none = Ours::now(&platform)?;

    eprintln!("{ZERO} services that go to zero");
    let began = Instant::now();
    create(&platform, root, &names("zero", ZERO), &soon("zero"))?;
    sleep(&platform, "zero-", Rung::Zero)?;
    wait(SETTLE)?;
    let zero = Ours::now(&platform)?;

    eprintln!("{KEPT} services that keep a process");
    create(&platform, root, others, &soon("freeze"))?;
    let active = names("active", ACTIVE);
    create(&platform, root, &active, &json!({}))?;
    sleep(&platform, "frozen-", Rung::Frozen)?;
    let created_s = began.elapsed().as_secs();
    wait(SETTLE)?;

    // Half of what is watched of a hundred: there is more to count in each minute.
    let minutes = effort.minutes.div_ceil(2);
    eprintln!("all of them for {minutes} minutes");
    let before = Ours::now(&platform)?;
    let asked = while_asked(&platform, &active, Duration::from_secs(u64::from(minutes) * 60))?;
    let all = Ours::now(&platform)?;
    let watched = Watched { none, zero, before, all, asked, created_s, minutes };
    Ok(outcome(&watched))
}

/// What there was at four moments, the last two with all services, and what happened between them.
struct Watched {
    none: Ours,
    zero: Ours,
    before: Ours,
    all: Ours,
    /// Requests.
    asked: usize,
    created_s: u64,
    minutes: u32,
}

fn sleep(platform: &Platform, kind: &str, rung: Rung) -> Result<()> {
    let mut those = instances::all(platform)?;
    those.retain(|instance| instance.service.starts_with(kind));
    instances::sleep(&those, rung)
}

/// Asks each of these all the time. How many requests that were.
fn while_asked(platform: &Platform, services: &[String], time: Duration) -> Result<usize> {
    let over = AtomicBool::new(false);
    let ask = |service: &str| {
        let mut asked = 0;
        while !over.load(Ordering::Relaxed) {
            platform.request(service)?;
            asked += 1;
            std::thread::sleep(ASK_PERIOD);
        }
        Ok::<usize, anyhow::Error>(asked)
    };
    std::thread::scope(|scope| {
        let ask = &ask;
        let clients: Vec<_> = services.iter().map(|service| scope.spawn(move || ask(service))).collect();
        let waited = wait(time);
        over.store(true, Ordering::Relaxed);
        waited?;
        let joined =
            clients.into_iter().map(|client| client.join().map_err(|_| anyhow!("a client panicked"))?);
        joined.sum()
    })
}

fn outcome(watched: &Watched) -> Outcome {
    let Watched { none, zero, before, all, asked, created_s, minutes } = watched;
    let kib_each = |mib: f64, count: usize| mib * 1024.0 / count as f64;
    let text = format!(
        "{} services of `examples/static-binary`: {ACTIVE} that are asked twice a second ({asked} requests), {FROZEN} frozen \
         and {ZERO} without a process, created in {created_s} s and watched for {minutes} minutes. What the platform's own \
         processes have at the end and took in that time; applications are not ours.\n\n{}\n\
         What each service added. The kernel's slab is what it cannot give back, of the whole machine, applications \
         included.\n\n\
         | KiB for each | memory of ours, PSS | kernel slab |\n|---|---|---|\n\
         | service without a process | {:.1} | {:.1} |\n| instance with a process, and its service | {:.1} | {:.1} |\n",
        ZERO + FROZEN + ACTIVE,
        all.table_since(before),
        kib_each(zero.pss_mib() - none.pss_mib(), ZERO),
        kib_each(zero.slab_mib - none.slab_mib, ZERO),
        kib_each(all.pss_mib() - zero.pss_mib(), KEPT),
        kib_each(all.slab_mib - zero.slab_mib, KEPT),
    );
    let verdicts = vec![
        Verdict::new("1,000 services, memory of ours, MiB of PSS", all.pss_mib(), PSS_BAR_MIB),
        Verdict::new(
            "1,000 services, CPU of ours, % of a core",
            all.cpu_percent_since(before),
            CPU_BAR_PERCENT,
        ),
    ];
    Outcome { text, verdicts }
}
