//! The repository into a directory: an upload unpacked, or a clone of a branch's newest commit.

use super::super::launch::{ExtraFile, HostMount};
use super::environment::{self, GIT_CONFIG, REPOSITORY};
use super::script::quoted;
use super::{APP, BuildError, Work, blocking};
use apron_images::runtimes::Runtime;
use apron_images::unpack;
use apron_model::build::{BuildConfiguration, SourceLocation};
use apron_model::instance::Exit;
use std::fs;
use std::path::{Path, PathBuf};

/// Answers with the commit where the source is git. `into` does not exist yet.
pub(super) async fn fetch(work: &Work<'_>, into: &Path) -> Result<Option<String>, BuildError> {
    let made = into.to_owned();
    blocking(move || fs::create_dir_all(&made).map_err(|source| BuildError::Io { path: made, source }))
        .await?;
    match &work.spec.source {
        SourceLocation::Upload { digest } => {
            let (content, digest, helper) =
                (work.context.content.clone(), digest.clone(), work.context.helper.clone());
            let into = into.to_owned();
            blocking(move || Ok(unpack::unpack_tree(&content, &digest, &into, &helper)?)).await?;
            Ok(None)
        }
        SourceLocation::Git { url, branch } => clone(work, url, branch, into).await.map(Some),
    }
}

async fn clone(work: &Work<'_>, url: &str, branch: &str, into: &Path) -> Result<String, BuildError> {
    let shown = without_password(url);
    let mut mounts = environment::certificates();
    mounts.push(HostMount { source: into.to_owned(), target: APP.to_owned(), read_only: false });
    let address = if let Some(path) = url.strip_prefix("file://") {
        let path = PathBuf::from(path);
        let shown = shown.clone();
        let source = blocking(move || git_directory(&path, &shown)).await?;
        mounts.push(HostMount { source, target: REPOSITORY.to_owned(), read_only: true });
        format!("file://{REPOSITORY}")
    } else if url.starts_with("https://") || url.starts_with("http://") {
        url.to_owned()
    } else {
        let reason =
            format!("{shown} is not a repository that can be fetched; expected https://, http:// or file://");
        return Err(BuildError::input(reason));
    };
    if branch.is_empty() || branch.starts_with('-') || branch.contains(char::is_whitespace) {
        return Err(BuildError::input(format!("{branch:?} is not the name of a branch")));
    }
    let runtime = runtime_with_git(work)?;
    let base = work.base(&runtime).await?;
    let layers = work.layers(&base).await?;
    work.line(format!("cloning {shown}, branch {branch}")).await;
    let command = format!(
        "git clone --quiet --depth 1 --single-branch --no-tags --branch {} -- {} {APP} && git -C {APP} rev-parse HEAD",
        quoted(branch),
        quoted(&address)
    );
    // The repository belongs to somebody else; that is why it is read in a container.
    let config = "[safe]\n\tdirectory = *\n".to_owned();
    let files = vec![ExtraFile { target: GIT_CONFIG.to_owned(), content: config }];
    let mut env = environment::variables(&runtime.base);
    env.insert("GIT_CONFIG_SYSTEM".to_owned(), GIT_CONFIG.to_owned());
    let mut commit = None;
    let argv = ["/bin/sh", "-c", &command].map(str::to_owned).to_vec();
    let launch = work.steps.launch(work, "fetch", &layers, argv, env, "/", files, mounts);
    let exit = work
        .steps
        .run(work, "fetch", launch, &mut |line| match is_commit(&line) {
            true => {
                commit = Some(line);
                Vec::new()
            }
            false => vec![line],
        })
        .await?;
    match (exit.code, commit) {
        (Some(0), Some(commit)) => Ok(commit),
        _ => Err(clone_error(&shown, branch, exit)),
    }
}

/// Any base has git; the one that the build will use, where it is known before the source is here.
fn runtime_with_git(work: &Work<'_>) -> Result<Runtime, BuildError> {
    let catalogue = &work.context.catalogue;
    if let BuildConfiguration::Api { runtime, .. } = &work.spec.configuration {
        return Ok(catalogue.find(runtime)?.clone());
    }
    let bases = work.context.node_dir.join("bases");
    let cached = catalogue
        .with_git()
        .find(|runtime| apron_images::runtimes::is_cached(&work.context.content, &bases, &runtime.base));
    let first = || catalogue.with_git().next();
    cached.or_else(first).cloned().ok_or_else(|| {
        BuildError::input("no runtime's base image has the package git, so no repository can be cloned")
    })
}

/// The directory with the repository's objects; the only one of the host that a clone gets to see.
fn git_directory(path: &Path, shown: &str) -> Result<PathBuf, BuildError> {
    if !path.is_absolute() {
        return Err(BuildError::input(format!("{shown} does not name an absolute path")));
    }
    if !path.is_dir() {
        return Err(BuildError::input(format!("the repository {shown} does not exist on this machine")));
    }
    for candidate in [path.join(".git"), path.to_owned()] {
        let Ok(found) = fs::canonicalize(candidate) else { continue };
        if found.join("HEAD").is_file() && found.join("objects").is_dir() && found.join("refs").is_dir() {
            return Ok(found);
        }
    }
    Err(BuildError::input(format!("{shown} is a directory but not a git repository")))
}

fn is_commit(line: &str) -> bool {
    (line.len() == 40 || line.len() == 64) && line.bytes().all(|b| b.is_ascii_hexdigit())
}

fn clone_error(shown: &str, branch: &str, exit: Exit) -> BuildError {
    let last_lines = exit.last_lines;
    let said = |part: &str| last_lines.iter().any(|line| line.contains(part));
    if said("not found in upstream origin") {
        let reason = format!("the repository {shown} has no branch {branch}");
        return BuildError::Input { reason, last_lines };
    }
    let fatal = last_lines.iter().rev().find(|l| l.starts_with("fatal: ")).or(last_lines.last());
    let why = fatal.map_or("git said nothing", |line| line.trim_start_matches("fatal: "));
    let reason = format!("the repository {shown} could not be cloned: {why}");
    let permanent =
        ["not found", "Authentication failed", "could not read Username", "does not appear to be a git"];
    match permanent.iter().any(|part| said(part)) {
        true => BuildError::Input { reason, last_lines },
        false => BuildError::Unreachable { reason, last_lines },
    }
}

/// The address for log and errors.
fn without_password(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let authority = rest.split('/').next().unwrap_or(rest);
            match authority.rsplit_once('@') {
                Some((_, host)) => format!("{scheme}://{host}{}", &rest[authority.len()..]),
                None => url.to_owned(),
            }
        }
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown() {
        assert_eq!(without_password("https://user:secret@host/a@b.git"), "https://host/a@b.git");
        assert_eq!(without_password("https://host/a.git"), "https://host/a.git");
        assert_eq!(without_password("file:///a"), "file:///a");
    }

    #[test]
    fn only_repositories_are_shown_to_a_clone() {
        assert!(
            git_directory(Path::new("/etc"), "x").unwrap_err().to_string().contains("not a git repository")
        );
        assert!(
            git_directory(Path::new("/nonexistent"), "x").unwrap_err().to_string().contains("does not exist")
        );
        assert!(git_directory(Path::new("a"), "x").unwrap_err().to_string().contains("absolute"));
    }
}
