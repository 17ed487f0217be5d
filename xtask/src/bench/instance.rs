//! Create and start of an instance, over the program's own start.
//!
//! The program is a static binary that listens at once, so that the platform's part is nearly all there is. Its
//! own start is measured beside: run directly on the host, from spawn to an open port. The platform's part is
//! what its waterfall says, from the moment the node was told to the listening socket, less that.

use super::platform::{self, Platform, STATIC_IMAGE};
use super::process::{self, Process};
use super::spread::Spread;
use super::{Effort, Outcome, Verdict};
use anyhow::{Context, Result, ensure};
use std::fmt::Write as _;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const SERVICE: &str = "start";
/// A port is looked for this often; well below what a start takes.
const PORT_POLL: Duration = Duration::from_micros(100);
const OWN_START_MAX: Duration = Duration::from_secs(10);
/// Milliseconds over the program's own start.
const START_BAR_MS: f64 = 80.0;
/// In the order in which an instance comes to them.
const STAGES: [&str; 5] = ["namespace", "mount", "exec", "listening", "healthy"];
const LISTENING: usize = 3;

/// Milliseconds from the node's order to each of `STAGES`.
type Waterfall = [f64; STAGES.len()];

pub(super) fn run(root: &Path, effort: Effort) -> Result<Outcome> {
    let platform = Platform::start(&platform::binary(root)?, "instance")?;
    platform.import_static_image(root)?;
    let program = root.join("target/examples/static-binary").display().to_string();

    platform.run(&["deploy", STATIC_IMAGE, "--name", SERVICE])?;
    let first = waterfall(&platform.run(&["status", SERVICE])?)?;
    let (mut own, mut starts) = (Vec::new(), Vec::new());
    for round in 1..=effort.starts {
        eprintln!("start {round} of {}", effort.starts);
        own.push(own_start_ms(&program)?);
        // A paused service has no instance: resuming it makes one from nothing but the unpacked layer.
        platform.run(&["pause", SERVICE])?;
        platform.run(&["resume", SERVICE])?;
        starts.push(waterfall(&platform.run(&["status", SERVICE])?)?);
    }
    outcome(&own, &first, &starts)
}

fn outcome(own: &[f64], first: &Waterfall, starts: &[Waterfall]) -> Result<Outcome> {
    let own = Spread::of(own.iter().copied())?;
    let over = Spread::of(starts.iter().map(|start| start[LISTENING] - own.median))?;
    let mut text = format!(
        "An instance of `examples/static-binary`, started by resuming a paused service. Milliseconds since the \
         node was told to have it; {} starts. The first start of the image, which includes unpacking its layer, \
         stands beside.\n\n\
         | stage reached | lowest | median | highest | first start |\n|---|---|---|---|---|\n",
        starts.len()
    );
    for (place, stage) in STAGES.iter().enumerate() {
        let spread = Spread::of(starts.iter().map(|start| start[place]))?;
        writeln!(text, "| {stage} | {} | {:.0} |", spread.cells(0), first[place])?;
    }
    writeln!(text, "| the program alone on the host, listening | {} | |", own.cells(1))?;
    writeln!(text, "| listening, over the program alone | {} | |", over.cells(1))?;
    let what = "create and start of an instance over the program's own start, median ms";
    let verdict = Verdict::new(what, over.median, START_BAR_MS);
    Ok(Outcome { text, verdicts: vec![verdict] })
}

/// From the spawn of the program on the host to its open port.
fn own_start_ms(program: &str) -> Result<f64> {
    let address = process::free_address()?;
    let began = Instant::now();
    let child = Command::new(program)
        .env("PORT", address.port().to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot run {program}"))?;
    let _process = Process::of(child, process::STOP_TIME_MAX);
    while TcpStream::connect(address).is_err() {
        ensure!(began.elapsed() < OWN_START_MAX, "{program} does not listen on {address}");
        std::thread::sleep(PORT_POLL);
    }
    Ok(began.elapsed().as_secs_f64() * 1e3)
}

/// The waterfall of the one healthy instance in what `apron status` prints.
fn waterfall(status: &str) -> Result<Waterfall> {
    let with_context = || format!("no healthy instance in what apron status says:\n{status}");
    let starts = status.lines().filter_map(|line| Some(line.split_once(" asked for: ")?.1));
    let mut healthy = starts.filter(|stages| stages.contains("healthy "));
    let stages = healthy.next().with_context(with_context)?;
    ensure!(healthy.next().is_none(), "more than one instance runs:\n{status}");
    let stage = |name: &str| -> Option<f64> {
        let (_, rest) = stages.split_once(&format!("{name} "))?;
        rest.split([',', ')']).next()?.parse().ok()
    };
    let mut reached = [0.0; STAGES.len()];
    for (place, name) in STAGES.iter().enumerate() {
        reached[place] = stage(name).with_context(with_context)?;
    }
    Ok(reached)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waterfall_is_read_from_the_status() {
        let status = "name    st\nrevision 6 ACTIVE  image b04f911d5c23\n  f0c58dbd awake  10.214.0.7:8080  (last start, \
                      ms after it was asked for: namespace 4, mount 20, exec 30, listening 43, healthy 44)\n";
        assert_eq!(waterfall(status).unwrap(), [4.0, 20.0, 30.0, 43.0, 44.0]);
        let starting = status.replace(", healthy 44", "");
        assert!(waterfall(&starting).is_err());
        assert!(waterfall(&format!("{status}{status}")).is_err());
    }

    #[test]
    fn the_programs_own_start_does_not_count() {
        let start = [1.0, 2.0, 3.0, 30.0, 31.0];
        let outcome = outcome(&[5.0], &start, &[start]).unwrap();
        assert_eq!(outcome.verdicts[0].figure, 25.0);
        assert!(outcome.text.contains("| healthy | 31 | 31 | 31 | 31 |"), "{}", outcome.text);
    }
}
