//! What the Python application takes to start by itself: its program, from the same files, run without the platform.
//!
//! The files are those of an instance that lives, seen through its process: the same layers in the same overlay. The
//! program runs on the host's cores without a limit and listens on loopback.

use super::super::asks::ms;
use super::super::instances;
use super::super::platform::Platform;
use super::super::process::{self, Process, STOP_TIME_MAX};
use super::TWIN;
use anyhow::{Context, Result, ensure};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const START_TIME_MAX: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_micros(500);

/// Milliseconds from the spawn of so many at once until the last of them listens.
pub(super) fn ms_of(platform: &Platform, count: usize) -> Result<f64> {
    let root = format!("/proc/{}/root", instances::only(platform, TWIN)?.pid()?);
    let addresses = (0..count).map(|_| process::free_address()).collect::<Result<Vec<_>>>()?;
    let began = Instant::now();
    let mut processes = Vec::new();
    for address in &addresses {
        processes.push(Process::of(spawn(&root, address)?, STOP_TIME_MAX));
    }
    for address in &addresses {
        while TcpStream::connect(address).is_err() {
            ensure!(began.elapsed() < START_TIME_MAX, "the application does not listen on {address}");
            std::thread::sleep(POLL);
        }
    }
    Ok(ms(began.elapsed()))
}

fn spawn(root: &str, address: &SocketAddr) -> Result<std::process::Child> {
    // As the image has it: the runtime's own directory first.
    const PATH: &str = "/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let port = address.port().to_string();
    let ip = address.ip().to_string();
    let mut command = Command::new("chroot");
    command.arg(root).args(["/bin/sh", "-c", "cd /app && exec python3 app.py"]).env_clear();
    command.envs([
        ("PATH", PATH),
        ("LANG", "C.UTF-8"),
        ("PYTHONUNBUFFERED", "1"),
        ("HOST", &ip),
        ("PORT", &port),
    ]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
    command.spawn().context("cannot run chroot (package coreutils)")
}
