//! What the sleep of instances costs those who ask, and what it spares: wakes from each rung of the idle ladder, starts
//! from zero, wakes while control is dead, and the CPU of instances that are throttled or frozen.

mod alone;
mod share;
mod wakes;

use super::platform::{self, Platform};
use super::{Effort, Outcome};
use anyhow::Result;
use std::path::Path;
use std::time::Duration;

const DEPLOY_TIME_MAX: Duration = Duration::from_secs(60);
/// Throttled, frozen and stopped so soon.
const AFTER_MS: &str = "100/200/300";

pub(super) fn run(root: &Path, effort: Effort) -> Result<Outcome> {
    let platform = Platform::start(&platform::binary(root)?, "idle")?;
    platform.import_static_image(root)?;
    let (wakes, alone) = (wakes::run(&platform, effort)?, alone::run(&platform, effort)?);
    Ok(Outcome::of(vec![wakes, alone, share::run(&platform)?]))
}
