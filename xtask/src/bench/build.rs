//! Build and deployment from source, cold and warm, from the call to the first byte of the answer.
//!
//! Cold is a new data directory: the base image is assembled from packages first. Warm is the second deployment
//! on the same platform. Both fetch dependencies from the network, so the figures tell of its speed as well; no
//! bar is set on them here.

use super::platform::{self, Platform};
use super::spread::Spread;
use super::{Effort, Outcome};
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

const SERVICE: &str = "build";
/// Base image, dependencies and start, on a slow line.
const DEPLOY_TIME_MAX: Duration = Duration::from_secs(15 * 60);
/// What is shown, in the order in which it happens; the platform says how long each of its stages took.
const STAGES: [&str; 4] = ["base", "fetch", "build", "package"];
const FIRST_BYTE: &str = "call to first byte";

/// Seconds of each stage, by its name, of several deployments.
type Stages = BTreeMap<String, Vec<f64>>;

pub(super) fn run(root: &Path, effort: Effort) -> Result<Outcome> {
    let program = platform::binary(root)?;
    let source = root.join("examples/python").display().to_string();
    let (mut cold, mut warm) = (Stages::new(), Stages::new());
    for round in 1..=effort.rounds {
        eprintln!("build {round} of {}", effort.rounds);
        let platform = Platform::start(&program, "build")?;
        for (revision, stages) in [(1, &mut cold), (2, &mut warm)] {
            let deployed = platform.deploy(SERVICE, revision, &[&source], DEPLOY_TIME_MAX)?;
            let log = platform.run(&["logs", SERVICE, "--deployment"])?;
            let seconds = deployed.first_byte.as_secs_f64();
            stages.entry(FIRST_BYTE.to_owned()).or_default().push(seconds);
            for (name, seconds) in latest_stages(&log)? {
                stages.entry(name).or_default().push(seconds);
            }
        }
    }
    outcome(&cold, &warm, effort.rounds)
}

fn outcome(cold: &Stages, warm: &Stages, rounds: usize) -> Result<Outcome> {
    let mut text = format!(
        "`apron deploy examples/python`: Flask behind gunicorn on `python311`. Cold is the first deployment of a \
         new data directory, warm the second one there. Seconds; {rounds} of each. Packages come from the \
         network.\n\n\
         | stage | cold, lowest | median | highest | warm, lowest | median | highest |\n\
         |---|---|---|---|---|---|---|\n"
    );
    let cells = |stages: &Stages, name: &str| match stages.get(name) {
        None => Ok("- | - | -".to_owned()),
        Some(seconds) => Spread::of(seconds.iter().copied()).map(|spread| spread.cells(1)),
    };
    for name in STAGES.into_iter().chain([FIRST_BYTE]) {
        writeln!(text, "| {name} | {} | {} |", cells(cold, name)?, cells(warm, name)?)?;
    }
    Ok(Outcome { text, verdicts: Vec::new() })
}

/// Names and seconds of the stages of the last deployment in the service's deployment log.
fn latest_stages(log: &str) -> Result<Vec<(String, f64)>> {
    let mut stages: Vec<(String, f64)> = Vec::new();
    for line in log.lines() {
        let Some((_, stage)) = line.split_once("Stage ") else { continue };
        let Some((name, seconds)) = stage.split_once(": ") else { continue };
        let seconds = seconds.trim_end_matches(" s");
        let seconds = seconds.parse().with_context(|| format!("a stage without its time: {line}"))?;
        // A name that comes again begins the next deployment.
        if stages.iter().any(|(known, _)| known == name) {
            stages.clear();
        }
        stages.push((name.to_owned(), seconds));
    }
    Ok(stages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_of_the_last_deployment_count() {
        let log = "a\n1 [AppRunner] Stage base: 17.5 s\n2 [AppRunner] Stage build: 4.0 s\nStage base: 0.1 s\n\
                   Stage build: 3.0 s\n";
        let expect = [("base".to_owned(), 0.1), ("build".to_owned(), 3.0)];
        assert_eq!(latest_stages(log).unwrap(), expect);
        assert!(latest_stages("nothing").unwrap().is_empty());
        assert!(latest_stages("Stage base: quick").is_err());
    }
}
