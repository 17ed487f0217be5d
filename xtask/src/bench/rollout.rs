//! Deployments in a row under a steady load: no request may fail, and no POST may be counted twice.

use super::load::{Load, Said};
use super::platform::{self, Platform, STATIC_IMAGE};
use super::spread::Spread;
use super::{Effort, Outcome, Verdict};
use anyhow::{Result, ensure};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

const SERVICE: &str = "rollout";
const DEPLOY_TIME_MAX: Duration = Duration::from_secs(60);
/// Requests per second, and how many a whole run has at least: a hundred deployments in five minutes.
const RATE: u32 = 1_000;
const REQUESTS_PER_DEPLOYMENT: u64 = 3_000;

pub(super) fn run(root: &Path, effort: Effort) -> Result<Outcome> {
    let platform = Platform::start(&platform::binary(root)?, "rollout")?;
    platform.import_static_image(root)?;
    platform.deploy(SERVICE, 1, &[STATIC_IMAGE], DEPLOY_TIME_MAX)?;
    let load = Load::start(platform.apps(), &format!("{SERVICE}.apron.localhost"), RATE);
    let mut whole = Vec::new();
    let began = Instant::now();
    for round in 1..=effort.rollouts {
        eprintln!("deployment {round} of {}", effort.rollouts);
        let variable = format!("ROUND={round}");
        let deployed =
            platform.deploy(SERVICE, round + 1, &[STATIC_IMAGE, "--env", &variable], DEPLOY_TIME_MAX)?;
        whole.push(deployed.whole.as_secs_f64());
        // Spread over the run: each deployment has its share of the requests.
        while load.requests() < round as u64 * REQUESTS_PER_DEPLOYMENT && began.elapsed().as_secs() < 3600 {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    let said = load.stop();
    let counted = counted(&platform)?;
    let twice = counted.values().filter(|times| **times > 1).count();
    let lost = said.posts.iter().filter(|path| !counted.contains_key(path.as_str())).count();
    outcome(&said, &whole, seconds, twice, lost)
}

/// How often the application has seen each POST, by its own output.
fn counted(platform: &Platform) -> Result<BTreeMap<String, u32>> {
    // The last lines are on their way for a moment.
    std::thread::sleep(Duration::from_secs(2));
    let mut counted = BTreeMap::new();
    for line in platform.run(&["logs", SERVICE])?.lines() {
        if let Some((_, path)) = line.split_once(" POST ") {
            *counted.entry(path.to_owned()).or_default() += 1;
        }
    }
    Ok(counted)
}

fn outcome(said: &Said, whole: &[f64], seconds: f64, twice: usize, lost: usize) -> Result<Outcome> {
    for failure in said.failures.iter().take(10) {
        eprintln!("failed: {failure}");
    }
    ensure!(said.requests > 0, "no request was made");
    let text = format!(
        "`apron deploy` of the imported image of `examples/static-binary` {} times in a row, with another variable each \
         time, under {RATE} requests per second on 8 kept connections and, a fifth of them, on new ones; every tenth is a \
         POST, whose path the application prints. {seconds:.0} s.\n\n\
         | requests | failed | POSTs | counted twice | answered, not counted | deployment, lowest s | median | highest |\n\
         |---|---|---|---|---|---|---|---|\n| {} | {} | {} | {twice} | {lost} | {} |\n",
        whole.len(),
        said.requests,
        said.failed,
        said.posts.len(),
        Spread::of(whole.iter().copied())?.cells(3),
    );
    let none = |what: &str, figure: u64| Verdict::new(what, figure as f64, 0.0);
    let verdicts = vec![
        none("failed requests", said.failed),
        none("POSTs counted twice", twice as u64),
        none("answered POSTs that were not counted", lost as u64),
    ];
    Ok(Outcome { text, verdicts })
}
