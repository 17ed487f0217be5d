//! A small Python application that many ask at once: how soon further instances serve, what those meet who find its
//! instance frozen, and how long a start from zero takes. And POSTs to a frozen Node server.

mod bases;
mod frozen;
mod own_start;
mod scale_out;
mod zero;

use super::platform::{self, Platform};
use super::{Effort, Outcome};
use anyhow::Result;
use serde_json::json;
use std::path::Path;
use std::time::Duration;

/// The first deployment may assemble a base image.
const DEPLOY_TIME_MAX: Duration = Duration::from_secs(10 * 60);
/// A service of the Python application, and another one of it that never sleeps: what its program takes to start is
/// measured in the file system of that one.
const PYTHON: &str = "python";
const TWIN: &str = "twin";
const NODE: &str = "node";
/// Throttled, frozen and stopped so soon where an instance is to be seen asleep.
const SOON: &str = "apron:idle-after-ms=100/200/300";

pub(super) fn run(root: &Path, effort: Effort) -> Result<Outcome> {
    let program = platform::binary(root)?;
    let platform = Platform::start_prepared(&program, "burst", "", |data| bases::put(root, data))?;
    for (service, files) in [(PYTHON, PYTHON_FILES), (TWIN, PYTHON_FILES), (NODE, NODE_FILES)] {
        let source = sources(&platform, service, &files)?;
        platform.deploy(service, 1, &[&source], DEPLOY_TIME_MAX)?;
    }
    platform.run(&["tag", TWIN, "apron:idle=off"])?;
    Ok(Outcome::of(vec![
        scale_out::run(&platform, root, effort)?,
        zero::run(&platform, effort)?,
        frozen::crowd(&platform, root, effort)?,
        frozen::posts(&platform, effort)?,
    ]))
}

const PYTHON_FILES: [(&str, &str); 2] =
    [("app.py", include_str!("python/app.py")), ("apprunner.yaml", include_str!("python/apprunner.yaml"))];
const NODE_FILES: [(&str, &str); 2] =
    [("server.js", include_str!("node/server.js")), ("apprunner.yaml", include_str!("node/apprunner.yaml"))];

/// Writes a directory to deploy from. Its path.
fn sources(platform: &Platform, service: &str, files: &[(&str, &str)]) -> Result<String> {
    let directory = platform.path(&format!("source-{service}"))?;
    std::fs::create_dir_all(&directory)?;
    for (name, text) in files {
        std::fs::write(Path::new(&directory).join(name), text)?;
    }
    Ok(directory)
}

/// Gives the Python service an auto scaling configuration, which starts none of its instances anew.
fn scale(platform: &Platform, root: &Path, concurrency: usize, max_size: usize) -> Result<()> {
    let wanted = json!({ "scale": [PYTHON], "concurrency": concurrency, "max_size": max_size });
    platform.services(root, &wanted)
}
