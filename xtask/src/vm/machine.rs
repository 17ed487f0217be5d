//! One boot of the machine, to its end.

use super::base::Base;
use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A run takes three to four minutes on an idle host with two cores. The unit in the machine gives up before this
/// and powers off; this is for one that hangs before it or after it.
const SECONDS_MAX: &str = "600";
/// The script's last line when all is well.
const PASSED: &str = "guest: passed";

/// Ends the machine with us, also when we fail.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            // Passed on to the machine, which SIGKILL would leave behind.
            let _ = Command::new("kill").arg(self.0.id().to_string()).status();
            let _ = self.0.wait();
        }
    }
}

/// Boots, passes on what the console says, and waits until the machine is off. Its disks are not changed.
pub(super) fn boot(base: &Base, payload: &Path) -> Result<()> {
    // It also ends the machine when we are killed without a chance to do that.
    let mut command = Command::new("timeout");
    command.args(["--foreground", "--kill-after=5", SECONDS_MAX, "qemu-system-x86_64"]);
    command.args(["-accel", "tcg,thread=multi", "-cpu", "max", "-m", "2048", "-smp", "2"]);
    command.args(["-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot"]);
    command.arg("-kernel").arg(&base.kernel).arg("-initrd").arg(&base.initrd);
    // A panic becomes a reboot, which is an end here.
    command
        .args(["-append", "root=/dev/vda rw console=ttyS0 quiet loglevel=3 systemd.show_status=0 panic=-1"]);
    for (disk, mode) in [(base.disk.as_path(), "snapshot=on"), (payload, "readonly=on")] {
        // A comma in a value is written twice.
        let file = disk.to_str().context("the path of the repository is no UTF-8")?.replace(',', ",,");
        command.args(["-drive", &format!("file={file},format=raw,if=virtio,{mode}")]);
    }
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let mut running = Running(child.context("cannot run qemu-system-x86_64 under timeout")?);
    let output = running.0.stdout.take().context("the machine has no console")?;

    let mut passed = false;
    let mut lines = BufReader::new(output).split(b'\n');
    while let Some(line) = lines.next().transpose()? {
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end();
        println!("{line}");
        passed |= line == PASSED;
    }
    let status = running.0.wait()?;
    match (status.code(), passed) {
        (Some(0), true) => Ok(()),
        (Some(124), _) => bail!("the machine did not end within {SECONDS_MAX} s"),
        (Some(0), false) => bail!("the test in the machine did not pass"),
        _ => bail!("qemu-system-x86_64 ended with {status}"),
    }
}
