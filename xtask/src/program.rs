//! Programs that tasks run, without input. Cargo is one of them; what is built by it is built once.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// What `cargo run` and `cargo test` tell their child of the package that it is from. Build scripts watch some of it
/// (ring's does), so a cargo that inherited it would compile again what was compiled from a shell, and the reverse.
const OF_OUR_PACKAGE: [&str; 2] = ["CARGO_MANIFEST_", "CARGO_PKG_"];

/// The cargo that runs us, at the root of the repository. Workspace members must be selected by `--workspace`: with
/// `--package` the features of their dependencies would differ, and those would be compiled a second time.
pub(crate) fn cargo(root: &Path) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        if OF_OUR_PACKAGE.iter().any(|start| name.to_string_lossy().starts_with(start)) {
            cargo.env_remove(name);
        }
    }
    cargo.current_dir(root);
    cargo
}

/// Builds a program of the workspace and says where cargo has put it.
pub(crate) fn build(root: &Path, name: &str) -> Result<PathBuf> {
    artifact(cargo(root).args(["build", "--workspace", "--bin", name]), name, false)
}

/// The same as it is installed.
pub(crate) fn build_release(root: &Path, name: &str) -> Result<PathBuf> {
    artifact(cargo(root).args(["build", "--release", "--workspace", "--bin", name]), name, false)
}

/// Builds an example of a library of the workspace and says where cargo has put it.
pub(crate) fn build_example(root: &Path, name: &str) -> Result<PathBuf> {
    artifact(cargo(root).args(["build", "--workspace", "--example", name]), name, false)
}

/// Builds the unit tests of a library of the workspace and says where cargo has put their program.
pub(crate) fn build_unit_tests(root: &Path, library: &str) -> Result<PathBuf> {
    artifact(cargo(root).args(["test", "--workspace", "--lib", "--no-run"]), library, true)
}

fn artifact(cargo: &mut Command, target: &str, of_tests: bool) -> Result<PathBuf> {
    let messages = output(cargo.args(["--locked", "--quiet", "--message-format=json-render-diagnostics"]))?;
    let path = messages.lines().find_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        let found = message["target"]["name"] == target && message["profile"]["test"] == of_tests;
        message["executable"].as_str().filter(|_| found).map(PathBuf::from)
    });
    path.with_context(|| format!("cargo made no program of {target}"))
}

/// Runs a program to its end; its output is ours.
///
/// # Errors
/// When it cannot be run or fails, as for all of this module.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let name = name(command);
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("cannot run {name}"))?;
    ensure!(status.success(), "{name} ended with {status}");
    Ok(())
}

/// Runs a program to its end and gives its output, without space at its ends; its complaints are ours.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = ended(command.stderr(Stdio::inherit()))?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// Runs a program to its end; what it says is shown only when it fails.
pub(crate) fn quiet(command: &mut Command) -> Result<()> {
    ended(command).map(drop)
}

fn ended(command: &mut Command) -> Result<Output> {
    let name = name(command);
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {name}"))?;
    if !output.status.success() {
        bail!("{name} ended with {}\n{}", output.status, String::from_utf8_lossy(&output.stderr).trim_end());
    }
    Ok(output)
}

/// The program and its first argument, which tells one `cargo` or `git` from another.
fn name(command: &Command) -> String {
    let words = [Some(command.get_program()), command.get_args().next()];
    let words: Vec<_> = words.into_iter().flatten().map(|word| word.to_string_lossy()).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every build script would see the same from a shell: the test itself is run by cargo, which sets both.
    #[test]
    fn cargo_does_not_inherit_our_package() {
        let cargo = cargo(Path::new("/"));
        let removed: Vec<_> = cargo.get_envs().filter(|(_, value)| value.is_none()).map(|(n, _)| n).collect();
        for name in ["CARGO_MANIFEST_DIR", "CARGO_PKG_NAME", "CARGO_PKG_VERSION"] {
            assert!(removed.iter().any(|removed| *removed == name), "{name} in {removed:?}");
        }
        assert!(!removed.iter().any(|removed| *removed == "CARGO_TARGET_DIR"));
    }

    #[test]
    fn a_failure_tells_what_was_run_and_why() {
        let script = |text: &str| {
            let mut shell = Command::new("sh");
            shell.args(["-c", text]);
            shell
        };
        assert_eq!(output(&mut script("echo ' said '")).unwrap(), "said");
        let error = quiet(&mut script("echo no room >&2; exit 3")).unwrap_err().to_string();
        assert!(
            error.starts_with("sh -c ended with exit status: 3") && error.ends_with("no room"),
            "{error}"
        );
        assert!(run(&mut script("exit 1")).is_err());
        let error = run(&mut Command::new("/nonexistent/program")).unwrap_err().to_string();
        assert_eq!(error, "cannot run /nonexistent/program");
    }
}
