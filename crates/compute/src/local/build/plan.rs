//! What a build will do: `apprunner.yaml` or the API's values, and the runtime that they name.

use super::BuildError;
use crate::local::container::rootfs;
use apron_images::runtimes::{Catalogue, Pipeline, Runtime};
use apron_model::build::{BuildConfiguration, BuildSpec};
use apron_model::limits::{LAST_LINES, MANIFEST_BYTES_MAX};
use apron_model::manifest::{self, FILE_NAME, Manifest, Severity};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Component, Path};

#[derive(Debug)]
pub(super) struct Plan {
    pub(super) runtime: Runtime,
    pub(super) pre_build: Vec<String>,
    pub(super) build: Vec<String>,
    pub(super) pre_run: Vec<String>,
    pub(super) post_build: Vec<String>,
    pub(super) build_env: BTreeMap<String, String>,
    pub(super) start_command: Option<String>,
    pub(super) port: Option<u16>,
    pub(super) port_env: Option<String>,
    pub(super) env: BTreeMap<String, String>,
    pub(super) warnings: Vec<String>,
}

/// The source directory as it follows `/app`: "" or "/a/b".
pub(super) fn source_directory(text: &str) -> Result<String, BuildError> {
    let mut directory = String::new();
    for component in Path::new(text).components() {
        match component {
            Component::Normal(part) => {
                directory.push('/');
                directory.push_str(&part.to_string_lossy());
            }
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                return Err(BuildError::input(format!(
                    "the source directory {text:?} leaves the repository"
                )));
            }
        }
    }
    Ok(directory)
}

/// Reads what is to be done. `source` holds `app`, the repository; links are resolved inside it.
pub(super) fn plan(
    spec: &BuildSpec,
    source: &Path,
    directory: &str,
    catalogue: &Catalogue,
) -> Result<Plan, BuildError> {
    let within = format!("app{directory}");
    let root = File::open(source).map_err(|e| BuildError::Io { path: source.to_owned(), source: e })?;
    let flags = nix::fcntl::OFlag::O_RDONLY | nix::fcntl::OFlag::O_DIRECTORY;
    if rootfs::open_in_root(std::os::fd::AsFd::as_fd(&root), Path::new(&within), flags).is_err() {
        return Err(BuildError::input(format!(
            "the source directory {directory:?} does not exist in the repository"
        )));
    }
    match &spec.configuration {
        BuildConfiguration::Api { runtime, build_command, .. } => {
            let runtime = catalogue.find(runtime)?.clone();
            Ok(Plan {
                runtime,
                pre_build: Vec::new(),
                build: build_command.iter().cloned().collect(),
                pre_run: Vec::new(),
                post_build: Vec::new(),
                build_env: BTreeMap::new(),
                start_command: None,
                port: None,
                port_env: None,
                env: BTreeMap::new(),
                warnings: Vec::new(),
            })
        }
        BuildConfiguration::Repository => {
            let read = |name: &str| {
                rootfs::read_in_root(source, &format!("{within}/{name}"), MANIFEST_BYTES_MAX)
                    .map_err(|e| BuildError::input(format!("{FILE_NAME} cannot be read: {e}")))
            };
            let place = if directory.is_empty() { "the repository's root" } else { directory };
            let Some(text) = read(FILE_NAME)? else {
                let near = match read("apprunner.yml") {
                    Ok(Some(_)) => "; apprunner.yml is there: rename it",
                    _ => "",
                };
                return Err(BuildError::input(format!("{FILE_NAME} does not exist in {place}{near}")));
            };
            from_manifest(&text, catalogue)
        }
    }
}

fn from_manifest(text: &str, catalogue: &Catalogue) -> Result<Plan, BuildError> {
    let (manifest, problems) = manifest::parse(text);
    let said = |severity: Severity| {
        let of = problems.iter().filter(move |p| p.severity == severity);
        of.map(|p| format!("{FILE_NAME}: {p}")).collect::<Vec<String>>()
    };
    let Some(manifest) = manifest else {
        let mut errors = said(Severity::Error);
        errors.truncate(LAST_LINES);
        let reason = errors.first().cloned().unwrap_or_else(|| format!("{FILE_NAME} cannot be used"));
        return Err(BuildError::Input {
            reason,
            last_lines: if errors.len() > 1 { errors } else { Vec::new() },
        });
    };
    let mut warnings = said(Severity::Warning);
    let at = |position: manifest::Position| format!("{FILE_NAME}: {position}");
    let runtime = catalogue
        .find(&manifest.runtime.text)
        .map_err(|e| BuildError::input(format!("{}: {e}", at(manifest.runtime.at))))?
        .clone();
    let Manifest { build, run, .. } = manifest;
    if let Some(wanted) = &run.runtime_version
        && !agrees(&wanted.text, &runtime.version)
    {
        let (place, name, version) = (at(wanted.at), &runtime.name, &runtime.version);
        warnings
            .push(format!("{place}: runtime-version {} is asked for; {name} is {version} here", wanted.text));
    }
    let pre_run = match run.pre_run {
        Some((position, commands)) => {
            if runtime.pipeline == Pipeline::Original {
                let place = at(position);
                warnings
                    .push(format!("{place}: App Runner has no pre-run for {}; it is run here", runtime.name));
            }
            commands
        }
        None => Vec::new(),
    };
    Ok(Plan {
        runtime,
        pre_build: build.pre_build,
        build: build.build,
        pre_run,
        post_build: build.post_build,
        build_env: build.env,
        start_command: Some(run.command),
        port: run.port,
        port_env: run.port_env,
        env: run.env,
        warnings,
    })
}

/// `3`, `3.11` and `3.11.7` all agree with 3.11; a patch level is the base's own affair.
fn agrees(wanted: &str, has: &str) -> bool {
    wanted.trim().split('.').zip(has.split('.')).all(|(a, b)| a == b)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str =
        "version: 1.0\nruntime: python3\nbuild: {commands: {build: [make]}}\nrun: {command: serve}\n";

    fn check(text: &str) -> Result<Plan, BuildError> {
        from_manifest(text, &Catalogue::open(None).unwrap())
    }

    #[test]
    fn directories() {
        assert_eq!(source_directory("/").unwrap(), "");
        assert_eq!(source_directory("").unwrap(), "");
        assert_eq!(source_directory("services/web/").unwrap(), "/services/web");
        assert_eq!(source_directory("/./a").unwrap(), "/a");
        assert!(source_directory("/a/../..").is_err());
    }

    #[test]
    fn versions() {
        for wanted in ["3", "3.11", "3.11.7"] {
            assert!(agrees(wanted, "3.11"), "{wanted}");
        }
        for wanted in ["3.10", "latest", "4"] {
            assert!(!agrees(wanted, "3.11"), "{wanted}");
        }
    }

    #[test]
    fn a_file_and_its_problems() {
        let plan = check(GOOD).unwrap();
        assert_eq!((plan.runtime.name.as_str(), plan.start_command.as_deref()), ("python3", Some("serve")));
        assert!(plan.warnings.is_empty());

        let error = check(&GOOD.replace("python3", "python3.11")).unwrap_err().to_string();
        assert!(error.starts_with("apprunner.yaml: line 2, column 10: "), "{error}");
        assert!(error.contains("nodejs18, python3, python311") && error.contains("did you mean"), "{error}");

        let fault = check("runtime: python3\nbuild: 1\n").unwrap_err().fault();
        assert!(
            fault.permanent && fault.reason.starts_with("apprunner.yaml: line 1, column 1: "),
            "{fault:?}"
        );
        assert!(fault.last_lines.len() > 1);

        let plan =
            check(&GOOD.replace("command: serve", "command: serve, pre-run: [a], runtime-version: 3.10"))
                .unwrap();
        assert_eq!(plan.warnings.len(), 2, "{:?}", plan.warnings);
    }
}
