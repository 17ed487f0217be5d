//! Deployment of an image that is there already: from the call to the first byte of the new revision's answer
//! through the proxy.

use super::platform::{self, Deployed, Platform, STATIC_IMAGE};
use super::spread::Spread;
use super::{Effort, Outcome, Verdict};
use anyhow::Result;
use std::path::Path;
use std::time::Duration;

const SERVICE: &str = "deploy";
const DEPLOY_TIME_MAX: Duration = Duration::from_secs(60);
/// Seconds from the call to the first byte.
const FIRST_BYTE_BAR_S: f64 = 2.0;

pub(super) fn run(root: &Path, effort: Effort) -> Result<Outcome> {
    let platform = Platform::start(&platform::binary(root)?, "deploy")?;
    platform.import_static_image(root)?;
    let deploy = |revision: usize| {
        let variable = format!("ROUND={revision}");
        platform.deploy(SERVICE, revision, &[STATIC_IMAGE, "--env", &variable], DEPLOY_TIME_MAX)
    };
    let created = deploy(1)?;
    let mut updates = Vec::new();
    for round in 1..=effort.starts {
        eprintln!("deployment {round} of {}", effort.starts);
        updates.push(deploy(round + 1)?);
    }
    outcome(&created, &updates)
}

fn outcome(created: &Deployed, updates: &[Deployed]) -> Result<Outcome> {
    let first_byte = Spread::of(updates.iter().map(|update| update.first_byte.as_secs_f64()))?;
    let whole = Spread::of(updates.iter().map(|update| update.whole.as_secs_f64()))?;
    let text = format!(
        "`apron deploy` of the imported image of `examples/static-binary` over a revision that serves, with \
         another variable each time. Seconds from the start of the command; {} deployments. The first deployment, \
         which creates the service and unpacks the layer, stands beside.\n\n\
         | until | lowest | median | highest | first deployment |\n|---|---|---|---|---|\n\
         | the new revision answers through the proxy | {} | {:.3} |\n\
         | the command has ended | {} | {:.3} |\n",
        updates.len(),
        first_byte.cells(3),
        created.first_byte.as_secs_f64(),
        whole.cells(3),
        created.whole.as_secs_f64(),
    );
    let verdict =
        Verdict::new("image deploy, call to first byte, median s", first_byte.median, FIRST_BYTE_BAR_S);
    Ok(Outcome { text, verdicts: vec![verdict] })
}
