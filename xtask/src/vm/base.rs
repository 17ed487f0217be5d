//! The machine's own system: Debian with its kernel and systemd, assembled once and kept until the recipe changes.

use super::{make_disk, remove};
use crate::program::quiet;
use anyhow::{Context, Result};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

const PACKAGES: &str = "linux-image-cloud-amd64,systemd-sysv,udev,kmod,iproute2,nftables,curl";
/// Room for the system, some 400 MiB, and for what a run writes, which is thrown away.
const DISK_MIB: u64 = 1536;
const FSTAB: &str = "/dev/vda / ext4 rw 0 1\n/dev/vdb /payload ext4 ro 0 0\n";
const UNIT: &str = include_str!("guest/vm-test.service");
/// Of no use to a test, and slow where a processor is emulated.
const MASKED: [&str; 10] = [
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty.target",
    "getty@tty1.service",
    "serial-getty@ttyS0.service",
    "systemd-timesyncd.service",
];
/// How this host reaches its mirror, which mmdebstrap does not read by itself.
const APT_PREFIXES: [&str; 4] =
    ["Acquire::http::", "Acquire::https::", "Acquire::Check-Valid-Until ", "Acquire::Check-Date "];

/// What a machine boots from.
pub(super) struct Base {
    pub(super) disk: PathBuf,
    pub(super) kernel: PathBuf,
    pub(super) initrd: PathBuf,
}

/// The base below `dir`, assembled if there is none of this recipe.
pub(super) fn cached(dir: &Path) -> Result<Base> {
    let at = dir.join("base");
    let base = Base { disk: at.join("disk.ext4"), kernel: at.join("vmlinuz"), initrd: at.join("initrd") };
    let recipe = recipe()?;
    let record = at.join("recipe");
    if fs::read_to_string(&record).is_ok_and(|text| text == recipe) {
        return Ok(base);
    }
    println!("assembling the virtual machine's system");
    remove(&at)?;
    fs::create_dir_all(&at)?;
    let system = at.join("system");
    assemble(&system)?;
    for (name, to) in [("vmlinuz-", &base.kernel), ("initrd.img-", &base.initrd)] {
        fs::copy(only_file(&system.join("boot"), name)?, to)?;
    }
    make_disk(&system, &base.disk, DISK_MIB)?;
    remove(&system)?;
    // Last: without it the rest is not believed.
    fs::write(record, recipe)?;
    Ok(base)
}

/// The release of the host, whose C library the programs under test are linked with.
fn suite() -> Result<String> {
    let text = fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?;
    let name = text.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    Ok(name
        .context("/etc/os-release names no release; this takes a Debian host")?
        .trim_matches('"')
        .to_owned())
}

fn recipe() -> Result<String> {
    let masked = MASKED.join(" ");
    Ok(format!("{}\n{PACKAGES}\n{DISK_MIB}\n{FSTAB}{masked}\n{UNIT}", suite()?))
}

fn assemble(system: &Path) -> Result<()> {
    let mut command = Command::new("mmdebstrap");
    command.args(["--mode=root", "--variant=minbase", "--format=directory", "--dpkgopt=force-unsafe-io"]);
    command.arg(format!("--include={PACKAGES}"));
    command.args(apt_options().iter().map(|option| format!("--aptopt={option}")));
    command.arg(suite()?).arg(system);
    let sources = ["/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list"];
    command.args(sources.into_iter().find(|path| Path::new(path).exists()));
    quiet(&mut command)?;

    let units = system.join("etc/systemd/system");
    let wants = units.join("multi-user.target.wants");
    fs::create_dir_all(&wants)?;
    for unit in MASKED {
        symlink("/dev/null", units.join(unit))?;
    }
    fs::write(units.join("vm-test.service"), UNIT)?;
    symlink("../vm-test.service", wants.join("vm-test.service"))?;
    fs::write(system.join("etc/fstab"), FSTAB)?;
    fs::create_dir(system.join("payload"))?;
    Ok(())
}

/// Settings of the host's apt; none when it cannot be asked.
fn apt_options() -> Vec<String> {
    let output = Command::new("apt-config").args(["dump", "Acquire"]).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines()
        .filter(|line| APT_PREFIXES.iter().any(|prefix| line.starts_with(prefix)) && !line.ends_with("\"\";"))
        .map(|line| line.trim_end_matches(';').to_owned())
        .collect()
}

fn only_file(directory: &Path, prefix: &str) -> Result<PathBuf> {
    let entries = fs::read_dir(directory)?.flatten().map(|entry| entry.path());
    let mut found = entries
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix)));
    found.next().with_context(|| format!("the assembled system has no {prefix}* in /boot"))
}
