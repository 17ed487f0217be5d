//! Tasks of the repository: `cargo xtask <task>`.

mod bench;
mod ci;
mod codegen;
mod deny;
mod facts;
mod nightly;
mod program;
mod tidy;
mod vm;

use anyhow::{Context, Result};
use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask <task>
  codegen         write crates/wire/src/generated from specs/
  tidy            dependency edges, generated files, unfinished words, long files
  deny            licences, banned crates and sources of dependencies
  bench [NAME...] [--check] [--quick] [--against FILE.py]
                  measures and writes docs/benchmarks.md; --check fails below a bar; --against runs another
                  program of the proxy bench's method beside it and fails when their ratios disagree
  vm              boots a virtual machine with cgroup version 2 and systemd, and tests the platform there
  ci [--all]      everything that CI checks; --all adds the long list and writes docs/nightly.md
";

fn main() -> ExitCode {
    run().unwrap_or_else(|e| {
        eprintln!("error: {e:#}");
        ExitCode::FAILURE
    })
}

fn run() -> Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let root = root()?;
    match arguments[..] {
        ["codegen"] => codegen::run(&root)?,
        ["tidy"] => tidy::run(&root)?,
        ["deny"] => deny::run(&root)?,
        // Without an error text after it: the count of tests is the last line.
        ["ci"] if !ci::run(&root, false)? => return Ok(ExitCode::FAILURE),
        ["ci", "--all"] if !ci::run(&root, true)? => return Ok(ExitCode::FAILURE),
        ["ci"] | ["ci", "--all"] => {}
        ["vm"] => vm::run(&root)?,
        ["bench", ref rest @ ..] if !bench::run(&root, rest)? => return Ok(ExitCode::FAILURE),
        ["bench", ..] => {}
        _ => {
            eprint!("{USAGE}");
            return Ok(ExitCode::from(2));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The root of the repository.
fn root() -> Result<PathBuf> {
    let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    Ok(manifest.parent().context("xtask lies in the repository's root")?.to_owned())
}
