//! What people wait for beside deployments: rollback, pause, resume, and the reason of a start command that does
//! not exist.

use super::platform::{self, Platform, STATIC_IMAGE};
use super::spread::Spread;
use super::{Effort, Outcome, Verdict};
use anyhow::{Result, ensure};
use std::path::Path;
use std::time::{Duration, Instant};

const SERVICE: &str = "verbs";
/// One whose next version has a start command that does not exist.
const BROKEN: &str = "broken";
const NO_PROGRAM: &str = "/no-such-program";
const TIME_MAX: Duration = Duration::from_secs(60);
/// Seconds, as asked of the platform. The figures are those of whole commands, processes included.
const ROLLBACK_BAR_S: f64 = 0.5;
const REASON_BAR_S: f64 = 2.0;
const PAUSE_BAR_S: f64 = 1.0;
const RESUME_BAR_S: f64 = 0.3;

pub(super) fn run(root: &Path, effort: Effort) -> Result<Outcome> {
    let platform = Platform::start(&platform::binary(root)?, "verbs")?;
    platform.import_static_image(root)?;
    for revision in [1, 2] {
        let variable = format!("ROUND={revision}");
        platform.deploy(SERVICE, revision, &[STATIC_IMAGE, "--env", &variable], TIME_MAX)?;
    }
    platform.deploy(BROKEN, 1, &[STATIC_IMAGE], TIME_MAX)?;
    platform.run(&["pause", BROKEN])?;
    reason(&platform, &["deploy", "--name", BROKEN, STATIC_IMAGE, "--start-command", NO_PROGRAM])?;
    let (mut rollbacks, mut pauses, mut resumes) = (vec![], vec![], vec![]);
    let (mut deployments, mut failed_resumes) = (vec![], vec![]);
    for round in 0..effort.starts {
        eprintln!("round {} of {}", round + 1, effort.starts);
        // From the second revision to the first and back.
        let to = 1 + round % 2;
        let back = platform.bring_up(SERVICE, to, &["rollback", SERVICE], TIME_MAX)?;
        rollbacks.push(back.first_byte.as_secs_f64());
        platform.ensure_only(SERVICE, to)?;
        let began = Instant::now();
        platform.run(&["pause", SERVICE])?;
        pauses.push(began.elapsed().as_secs_f64());
        let resumed = platform.bring_up(SERVICE, to, &["resume", SERVICE], TIME_MAX)?;
        resumes.push(resumed.first_byte.as_secs_f64());
        deployments.push(reason(
            &platform,
            &["deploy", "--name", SERVICE, STATIC_IMAGE, "--start-command", NO_PROGRAM],
        )?);
        failed_resumes.push(reason(&platform, &["resume", BROKEN])?);
    }
    let text = format!(
        "The imported image of `examples/static-binary`. Seconds of whole commands, from their start: `apron rollback` \
         and `apron resume` until the revision answers through the proxy (after a rollback no answer is another \
         revision's any more), `apron pause` until it has ended (no request is in flight), `apron deploy` and `apron \
         resume` of a start command that does not exist until its reason is said. {} rounds.\n\n\
         | verb | lowest | median | highest | p95 |\n|---|---|---|---|---|\n{}{}{}{}{}",
        effort.starts,
        row("rollback to the previous revision", &rollbacks)?,
        row("pause", &pauses)?,
        row("resume", &resumes)?,
        row("a deployment that fails", &deployments)?,
        row("a resume that fails", &failed_resumes)?,
    );
    let verdict = |what: &str, values: &[f64], bar| -> Result<Verdict> {
        Ok(Verdict::new(what, Spread::percentile(values.iter().copied(), 95)?, bar))
    };
    let verdicts = vec![
        verdict("rollback, call to first byte, p95 s", &rollbacks, ROLLBACK_BAR_S)?,
        verdict("pause, p95 s", &pauses, PAUSE_BAR_S)?,
        verdict("resume, call to first byte, p95 s", &resumes, RESUME_BAR_S)?,
        verdict("a deployment's failure explained, p95 s", &deployments, REASON_BAR_S)?,
        verdict("a resume's failure explained, p95 s", &failed_resumes, REASON_BAR_S)?,
    ];
    Ok(Outcome { text, verdicts })
}

/// Seconds until a command that fails has said which program there is not.
fn reason(platform: &Platform, arguments: &[&str]) -> Result<f64> {
    let began = Instant::now();
    let said = platform.fail(arguments)?;
    let seconds = began.elapsed().as_secs_f64();
    ensure!(said.contains(NO_PROGRAM), "the reason is not said: {said}");
    Ok(seconds)
}

fn row(what: &str, seconds: &[f64]) -> Result<String> {
    let spread = Spread::of(seconds.iter().copied())?;
    let p95 = Spread::percentile(seconds.iter().copied(), 95)?;
    Ok(format!("| {what} | {} | {p95:.3} |\n", spread.cells(3)))
}
