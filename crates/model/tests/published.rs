//! `apprunner.yaml` in every form that people publish, each in `published/NAME.yaml` with what is read from it in
//! `published/NAME.expected`: the values, how the start command runs, and every problem with its place.

use apron_model::command;
use apron_model::instance::Command;
use apron_model::manifest::{self, Manifest, Severity};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

/// Runtimes that the platform offers.
const KNOWN: [&str; 3] = ["nodejs18", "python3", "python311"];

/// What was read, a line for each thing.
fn read(text: &str) -> String {
    let (found, problems) = manifest::parse(text);
    let mut out = String::new();
    for problem in &problems {
        let severity = match problem.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        writeln!(out, "{severity}: {problem}").unwrap();
    }
    if let Some(found) = found {
        values(&mut out, &found).unwrap();
    }
    out
}

fn values(out: &mut String, found: &Manifest) -> std::fmt::Result {
    let Manifest { runtime, build, run } = found;
    if KNOWN.contains(&runtime.text.as_str()) {
        writeln!(out, "runtime: {}", runtime.text)?;
    } else {
        writeln!(out, "error: {}: {}", runtime.at, manifest::unknown_runtime(&runtime.text, &KNOWN))?;
    }
    let none = Vec::new();
    let pre_run = run.pre_run.as_ref().map_or(&none, |(_, commands)| commands);
    for (phase, commands) in [
        ("pre-build", &build.pre_build),
        ("build", &build.build),
        ("post-build", &build.post_build),
        ("pre-run", pre_run),
    ] {
        for command in commands {
            writeln!(out, "{phase}: {command:?}")?;
        }
    }
    if let Some(version) = &run.runtime_version {
        writeln!(out, "runtime-version: {}", version.text)?;
    }
    match command::decide(Some(&run.command)) {
        Command::Argv(words) => writeln!(out, "runs: {words:?}")?,
        Command::Shell(text) => writeln!(out, "runs in a shell: {text:?}")?,
        Command::Image => writeln!(out, "runs what the image says")?,
    }
    if let Some(port) = run.port {
        writeln!(out, "port: {port}")?;
    }
    if let Some(name) = &run.port_env {
        writeln!(out, "port also in: {name}")?;
    }
    for (of, variables) in [("build", &build.env), ("run", &run.env)] {
        for (name, value) in variables {
            writeln!(out, "{of} env: {name}={value:?}")?;
        }
    }
    Ok(())
}

#[test]
fn every_published_form_is_read_as_expected() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/published");
    let mut files: BTreeMap<String, (Option<String>, Option<String>)> = BTreeMap::new();
    for entry in fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let (name, kind) = path.file_name().unwrap().to_str().unwrap().rsplit_once('.').unwrap();
        let pair = files.entry(name.to_owned()).or_default();
        match kind {
            "yaml" => pair.0 = Some(text),
            "expected" => pair.1 = Some(text),
            _ => panic!("{}: neither a form nor what is expected of one", path.display()),
        }
    }
    let mut wrong = String::new();
    for (name, (form, expected)) in &files {
        let form = form.as_ref().unwrap_or_else(|| panic!("{name}.expected stands alone"));
        let found = read(form);
        match expected {
            None => writeln!(wrong, "{name}.yaml: nothing says what is expected; found\n{found}").unwrap(),
            Some(expected) if *expected != found => {
                writeln!(wrong, "{name}.yaml: expected\n{expected}found\n{found}").unwrap();
            }
            Some(_) => {}
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(files.len() > 50, "only {} forms", files.len());
}
