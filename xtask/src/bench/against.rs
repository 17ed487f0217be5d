//! The proxy bench beside another program of the same method, which was written apart from it: a mistake in how we
//! measure would show as a difference. The other program is a script that takes `--ours`, a command that starts our
//! proxy in front of `127.0.0.1:9000`, and leaves the figures of each round in the file of `--json`.

use super::process::Directory;
use super::proxy::{self, Case, Comparable, Front, Ratios};
use super::spread::Spread;
use super::{Effort, Outcome, Verdict, interrupt};
use crate::program::run as run_program;
use anyhow::{Context, Result};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

/// Its section on the page stays until the two are compared again.
pub(super) const SECTION: &str = "proxy --against";
/// Where the script has its origin.
const ORIGIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9000);
/// What the script calls our proxy.
const OURS: &str = "ours";
/// Per cent. Two runs of one bench on a busy machine differ by half of it.
const DIFFERENCE_BAR: f64 = 10.0;

/// One round of one proxy, as the script writes it.
#[derive(Deserialize)]
struct Round {
    /// CPU time per request.
    us: f64,
}

/// Runs the script with the proxies, rounds and load of our own bench, and compares what both say of ours.
pub(super) fn run(
    root: &Path,
    program: &str,
    script: &Path,
    effort: Effort,
    compared: &[Comparable],
) -> Result<Outcome> {
    let name = script.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut text = format!(
        "The bench above and the script `{name}`, one after the other, on the same program, with the same proxies, \
         load and rounds ({} of {} s). CPU time per request in times nginx's of the same run.\n\n\
         | case | proxy | this bench | {name} | difference |\n|---|---|---|---|---|\n",
        effort.rounds, effort.seconds
    );
    let mut verdicts = Vec::new();
    for ours in compared {
        eprintln!("{}: {name}", ours.case.name);
        let theirs = measure(root, program, script, effort, ours.case)?;
        verdicts.extend(compare(ours, &name, &theirs, &mut text)?);
    }
    Ok(Outcome { text, verdicts })
}

/// What the script says.
fn measure(root: &Path, program: &str, script: &Path, effort: Effort, case: &Case) -> Result<Ratios> {
    interrupt::check()?;
    let directory = Directory::new("against")?;
    let json = directory.0.join("figures.json");
    let (command, listen) = proxy::ours(&directory, program, ORIGIN, case.front)?;
    let command: Vec<String> = command.iter().map(|word| quoted(word)).collect();
    let url = format!("{}://{listen}/", if case.front.secure() { "https" } else { "http" });
    let mut python = Command::new("python3");
    python.arg(script).args(["--ours", &command.join(" "), "--ours-url", &url]);
    python.args(["--host", proxy::HOST, "--rounds", &effort.rounds.to_string()]);
    python.args(["--seconds", &effort.seconds.to_string(), "--body", &case.body_bytes()?.to_string()]);
    // Of HTTP/2 it has a number of its own, which is ours too.
    python.args(["--connections", &case.connections.to_string()]).args(speech(case.front));
    python.arg("--json").arg(&json);
    // What our bench measures and nothing else.
    python.arg("--envoy").arg(proxy::envoy(root).unwrap_or_default());
    run_program(&mut python)?;
    ratios(&std::fs::read_to_string(json)?)
}

/// How the script is told what clients speak.
fn speech(front: Front) -> Option<&'static str> {
    match front {
        Front::Http => None,
        Front::Https => Some("--tls"),
        Front::Http2 => Some("--h2"),
    }
}

/// A word for a shell, whatever stands in it.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// The script's figures in our terms.
fn ratios(json: &str) -> Result<Ratios> {
    let rounds: BTreeMap<String, Vec<Round>> =
        serde_json::from_str(json).context("the script's figures are not what was expected")?;
    let median = |rounds: &[Round]| Spread::of(rounds.iter().map(|round| round.us)).map(|s| s.median);
    let base = median(rounds.get("nginx").context("the script measured no nginx")?)?;
    let ratio = |(name, rounds): (&String, &Vec<Round>)| {
        let name = if name == OURS { "apron" } else { name };
        Ok((name.to_owned(), median(rounds)? / base))
    };
    rounds.iter().map(ratio).collect()
}

/// Both ratios of every proxy; that those of ours agree, and that the script's meets the bar too.
fn compare(ours: &Comparable, script: &str, theirs: &Ratios, text: &mut String) -> Result<[Verdict; 2]> {
    let Comparable { case, ratios } = ours;
    let differs = |name: &str| -> Result<(f64, f64, f64)> {
        let of = |ratios: &Ratios| ratios.get(name).copied().with_context(|| format!("no figure of {name}"));
        let (ours, theirs) = (of(ratios)?, of(theirs)?);
        Ok((ours, theirs, (ours / theirs - 1.0) * 100.0))
    };
    for name in ratios.keys().filter(|name| *name != "nginx") {
        let (ours, theirs, difference) = differs(name)?;
        writeln!(text, "| {} | {name} | {ours:.2} | {theirs:.2} | {difference:+.1} % |", case.name)?;
    }
    let (_, theirs, difference) = differs("apron")?;
    let what = |what: &str| format!("{}: {what}", case.name);
    Ok([
        Verdict::new(
            what("difference of the two ratios of apron, per cent"),
            difference.abs(),
            DIFFERENCE_BAR,
        ),
        Verdict::new(what(&format!("CPU per request by {script}, times nginx")), theirs, case.bar),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scripts_figures_are_compared_with_ours() {
        let json = r#"{"ours": [{"us": 13.0, "rps": 9}, {"us": 12.0}, {"us": 90.0}],
                       "nginx": [{"us": 10.0}], "haproxy": [{"us": 11.0}]}"#;
        let theirs = ratios(json).unwrap();
        let case = proxy::COMPARABLE.last().unwrap();
        let ours = Ratios::from([("apron".into(), 1.43), ("nginx".into(), 1.0), ("haproxy".into(), 1.1)]);
        let ours = Comparable { case, ratios: ours };
        let mut text = String::new();
        let [difference, ratio] = compare(&ours, "x.py", &theirs, &mut text).unwrap();
        assert!(text.contains("| HTTP/2 over TLS | apron | 1.43 | 1.30 | +10.0 % |"), "{text}");
        assert!(text.contains("| HTTP/2 over TLS | haproxy | 1.10 | 1.10 | +0.0 % |"), "{text}");
        assert!((difference.figure - 10.0).abs() < 1e-9);
        assert_eq!((ratio.figure, ratio.bar), (1.3, case.bar));
        assert_eq!(ratio.what, "HTTP/2 over TLS: CPU per request by x.py, times nginx");
        assert!(ratios(r#"{"ours": []}"#).is_err());
        assert!(compare(&ours, "x.py", &Ratios::new(), &mut text).is_err());
    }

    #[test]
    fn the_script_is_told_every_case() {
        let told: Vec<_> = proxy::COMPARABLE
            .iter()
            .map(|case| (case.body_bytes().unwrap(), speech(case.front), case.connections, case.bar))
            .collect();
        let kib = 1024;
        assert_eq!(
            told,
            [
                (64, None, 64, 0.95),
                (64, Some("--tls"), 64, 0.92),
                (16 * kib, None, 64, 0.90),
                (1024 * kib, None, 64, 1.00),
                (64, Some("--h2"), 16, 0.95),
            ]
        );
    }

    #[test]
    fn words_for_a_shell_stay_whole() {
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
