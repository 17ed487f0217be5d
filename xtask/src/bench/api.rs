//! The API with a full store: how long DescribeService and CreateService take, and what a page of a list costs when
//! the region has many services.

use super::platform::{self, Platform, STATIC_IMAGE};
use super::{Effort, Outcome, Verdict};
use crate::program;
use anyhow::{Context, Result};
use serde::Deserialize;
use std::path::Path;
use std::time::Duration;

const DEPLOY_TIME_MAX: Duration = Duration::from_secs(60);
/// What the region is filled with before calls are timed.
const SERVICES: usize = 1_000;
/// What each of them has behind it: a few more operations than are kept, as of many deployments since the last
/// housekeeping, and gone slots, of which half are over a day old.
const OPERATIONS: usize = 250;
const SLOTS: usize = 50;
const REVISIONS: usize = 5;
/// Services of the regions whose lists are timed.
const LISTED: [usize; 3] = [10, 1_000, 10_000];
const DESCRIBE_BAR_MS: f64 = 5.0;
const CREATE_BAR_MS: f64 = 20.0;
/// A page behind so many rows more may cost this many times as much: what is beside it, not the rows, differs.
const LIST_BAR_RATIO: f64 = 1.5;
const CONFIGURATION: &str = "[quotas]\nservices = 20000\n";

/// Milliseconds, as `api.py` measured them.
#[derive(Deserialize)]
struct Measured {
    rounds: usize,
    describe: Calls,
    create: Calls,
    /// Rows that housekeeping forgot while those calls were timed.
    forgotten: u64,
    /// Median of one page of ten by the number of services in the region.
    lists: Vec<(usize, f64)>,
}

#[derive(Deserialize)]
struct Calls {
    calls: usize,
    median: f64,
    p99: f64,
    /// The same call through boto3.
    boto3_median: f64,
}

pub(super) fn run(root: &Path, effort: Effort) -> Result<Outcome> {
    let platform = Platform::start_configured(&platform::binary(root)?, "api", CONFIGURATION)?;
    platform.import_static_image(root)?;
    platform.deploy("template", 1, &[STATIC_IMAGE], DEPLOY_TIME_MAX)?;
    platform.run(&["pause", "template"])?;
    let mut python = platform.script(root, "api.py")?;
    python
        .arg(platform.path("data")?)
        .arg((effort.starts * 50).to_string())
        .args([SERVICES, OPERATIONS, SLOTS, REVISIONS].map(|number| number.to_string()))
        .args(LISTED.map(|services| services.to_string()));
    let said =
        program::output(&mut python).context("api.py; scripts/test installs botocore and boto3 for it")?;
    outcome(&serde_json::from_str(&said).context("what api.py printed")?)
}

fn outcome(measured: &Measured) -> Result<Outcome> {
    let row = |what: &str, calls: &Calls| {
        let Calls { calls, median, p99, boto3_median } = calls;
        format!("| {what} | {calls} | {median:.2} | {p99:.2} | {boto3_median:.2} |\n")
    };
    let mut text = format!(
        "{SERVICES} paused services in the region, each with {OPERATIONS} operations, {SLOTS} gone slots and \
         {REVISIONS} revisions; SQLite. Housekeeping forgot {} of these rows while the calls were timed. Milliseconds \
         from the first byte of a signed request on a kept connection to the last of its answer, with a pause of 50 ms \
         after each CreateService; the same call through boto3 stands beside. Each figure is the median of {} \
         rounds, the later ones beside what the earlier ones created; calls are those of all.\n\n\
         | call | calls | median | p99 | boto3, median |\n|---|---|---|---|---|\n{}{}\n\
         A page of ten of ListServices, the last one of the list, by the number of services in its region, timed in \
         turn:\n\n\
         | services | median ms |\n|---|---|\n",
        measured.forgotten,
        measured.rounds,
        row("DescribeService", &measured.describe),
        row("CreateService, until its answer", &measured.create),
    );
    for (services, median) in &measured.lists {
        text.push_str(&format!("| {services} | {median:.2} |\n"));
    }
    let (first, last) = measured.lists.first().zip(measured.lists.last()).context("no list was measured")?;
    let verdicts = vec![
        Verdict::new("DescribeService, p99 ms", measured.describe.p99, DESCRIBE_BAR_MS),
        Verdict::new("CreateService, p99 ms", measured.create.p99, CREATE_BAR_MS),
        Verdict::new("a page of a list, 10,000 services to 10", last.1 / first.1, LIST_BAR_RATIO),
    ];
    Ok(Outcome { text, verdicts })
}
